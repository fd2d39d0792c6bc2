"""Lines by PPPoE: renewed by what comes to their account, each shilling once; walled when it is over, never before.

wishes.md 21 to 24; hotspot.md B9 and D5 (10, 12).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.pppoe import keeping, lines, periods, telling
from portal.hotspot.pppoe.models import LinePeriod, PppoeLine
from portal.hotspot.routers.interface import Outcome
from portal.hotspot.routers.radius import Radius
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.payments import booking
from portal.payments.models import TO_SPEND, Payment, Transaction
from portal.payments.wallets import accounts
from tests.support.daraja import Pushed, new_phone, receipt
from tests.support.lines import (
    MadeLine,
    line_of,
    messages_to,
    pppoe_package,
    standing,
    typed_at_the_paybill,
)
from tests.support.product import Product
from tests.support.refunds import refund_asked, refund_sent, refund_state, result, result_told, with_initiator
from tests.support.routers import reconciled, session, site
from tests.support.threads import together


def reverse(product: Product, code: str) -> None:
    with product.app.app_context(), transaction():
        money = db.session.query(Transaction).filter_by(receipt=code).one()
        booking.take_back(money, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")


def prompted(product: Product, line: MadeLine) -> tuple[str, Pushed]:
    """(paymentId, prompt) of the line's next period."""
    with product.app.app_context(), transaction():
        found = periods.locked_with_payment(line.id)
        assert found is not None
        token = periods.offer(*found, actor="payer").token
    return token, product.pushed(token, line.phone)


def at_noon() -> None:
    """Move on to tomorrow's noon in Nairobi, so that nothing of this test falls into the night."""
    tomorrow = clock.nairobi(clock.now()).replace(hour=12, minute=0) + timedelta(days=1)
    clock.move(tomorrow - clock.now())


def pass_days(product: Product, days: float) -> None:
    clock.move(timedelta(days=days))
    product.work()


def test_money_typed_for_the_account_renews_the_line_at_once_without_asking(either_product: Product) -> None:
    product = either_product
    line = line_of(product, price=1_000, days=30)
    product.work()
    before = standing(product, line)
    assert (before.state, before.periods, before.is_refused) == ("walled", 0, False)
    for _twice in range(2):  # M-Pesa says everything twice
        typed_at_the_paybill(product, 1, 1_250, line.account)
        product.work()
    after = standing(product, line)
    assert (after.state, after.days_paid, after.periods, after.wallet) == ("active", 30, 1, 250)
    assert after.grant_until == after.paid_until
    assert "paid until" in messages_to(product, line)[-1] and product.books() == []


def test_what_is_not_enough_waits_in_the_wallet_and_is_told_once(product: Product) -> None:
    line = line_of(product, price=1_000)
    typed_at_the_paybill(product, 1, 300, line.account)
    product.work()
    product.work()
    assert standing(product, line).state == "walled" and standing(product, line).wallet == 300
    assert messages_to(product, line) == [
        f"Mlima House: your account holds KES 300. Pay KES 700 to paybill 600111, account {line.account}."
    ]
    with product.inside():
        assert not TO_SPEND.has_work()  # looked at, and done with
    typed_at_the_paybill(product, 2, 700, line.account)
    product.work()
    assert (standing(product, line).state, standing(product, line).wallet) == ("active", 0)
    assert product.books() == []


def test_three_months_at_once_are_three_periods_and_each_renewal_is_one_debit(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 3_100, line.account)
    product.work()
    after = standing(product, line)
    assert (after.days_paid, after.periods, after.wallet) == (90, 3, 100)
    entries = product.api("amina").get(f"/api/customers/{line.account}").json["entries"]
    assert [(one["kind"], one["amount"]) for one in entries] == [
        ("wallet_paid", -1_000), ("wallet_paid", -1_000), ("wallet_paid", -1_000), ("credited", 3_100),
    ]  # fmt: skip


def test_a_prompt_renews_it_too_and_what_was_paid_beyond_goes_to_the_wallet(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    _token, push = prompted(product, line)
    typed_at_the_paybill(product, 1, 1_000, line.account)  # paid by hand while the phone rings
    product.work()
    assert standing(product, line).periods == 1
    product.callback(push, receipt=receipt(2))
    product.work()
    after = standing(product, line)
    assert (after.days_paid, after.periods, after.wallet) == (60, 2, 0)  # the second thousand renews once more
    assert product.books() == []


def test_two_callbacks_at_once_renew_twice_and_the_same_one_once(either_product: Product) -> None:
    product = either_product
    line = line_of(product, price=1_000, days=30)
    for number, amount in ((1, 1_000), (2, 600), (3, 400)):
        typed_at_the_paybill(product, number, amount, line.account)
    with product.app.app_context():
        product._drain()
    together(product, *[keeping.keep] * 4)
    product.work()
    after = standing(product, line)
    assert (after.days_paid, after.periods, after.wallet) == (60, 2, 0)
    assert product.books() == []


def test_a_prompt_and_the_wallet_pay_one_period_together_never_twice(either_product: Product) -> None:
    """Both find the same open payment: one of them pays it, the other's money renews the next period."""
    product = either_product
    line = line_of(product, price=1_000, days=30)
    _token, push = prompted(product, line)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.callback(push, receipt=receipt(2))

    def settle() -> None:
        product.work(rounds=2)

    together(product, settle, settle, settle)
    product.work()
    after = standing(product, line)
    assert (after.days_paid, after.periods, after.wallet) == (60, 2, 0)
    assert product.books() == []


def test_a_reversal_takes_the_period_back_whichever_way_it_was_paid(either_product: Product) -> None:
    product = either_product
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    token, push = prompted(product, line)
    product.callback(push, receipt=receipt(2))
    product.work()
    assert (standing(product, line).days_paid, standing(product, line).periods) == (60, 2)
    reverse(product, receipt(2))  # paid by the prompt
    product.work()
    assert (standing(product, line).days_paid, standing(product, line).periods) == (30, 1)
    reverse(product, receipt(1))  # paid from the wallet
    product.work()
    after = standing(product, line)
    assert (after.state, after.periods, after.wallet) == ("walled", 0, 0)
    assert product.books() == []
    typed_at_the_paybill(product, 3, 1_000, line.account)
    product.work()
    assert (standing(product, line).state, standing(product, line).periods) == ("active", 1)
    with product.inside():
        assert {one.state for one in db.session.query(Payment).filter_by(purpose="pppoe")} == {"paid", "open"}


def test_what_was_paid_behind_a_reversed_period_moves_up(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    tokens = []
    for number in (1, 2):
        token, push = prompted(product, line)
        product.callback(push, receipt=receipt(number))
        product.work()
        clock.move(timedelta(minutes=2))
        tokens.append(token)
    reverse(product, receipt(1))
    product.work()
    after = standing(product, line)
    assert (after.state, after.days_paid, after.periods) == ("active", 30, 1)


def test_a_line_is_walled_after_its_grace_and_paying_begins_a_new_period_now(product: Product) -> None:
    line = line_of(product, price=1_000, days=30, grace_days=3)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    pass_days(product, 32)
    assert standing(product, line).state == "active"  # in its days of grace
    pass_days(product, 1.01)
    walled = standing(product, line)
    assert walled.state == "walled" and not walled.is_refused and walled.grant_until <= clock.now()
    with product.inside():
        assert db.session.get_one(AccessGrant, db.session.get_one(PppoeLine, line.id).grant_id).provision_at is not None
    assert "internet has stopped" in messages_to(product, line)[-1]
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    assert (standing(product, line).state, standing(product, line).days_paid) == ("active", 30)


def test_who_pays_in_the_days_of_grace_continues_where_the_last_period_ended(product: Product) -> None:
    line = line_of(product, price=1_000, days=30, grace_days=3)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    pass_days(product, 32)
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    assert standing(product, line).days_paid == 28


@pytest.mark.parametrize("how", ["put back on", "promise"])
def test_who_pays_after_being_put_on_again_does_not_pay_for_the_time_it_was_off(product: Product, how: str) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    pass_days(product, 100)
    assert standing(product, line).state == "walled"
    with product.app.app_context(), transaction():
        if how == "promise":
            lines.promise(line.id, clock.now() + timedelta(days=2), actor="user:1")
        else:
            lines.put_back_on(line.id, actor="user:1")
    clock.move(timedelta(hours=10))
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    after = standing(product, line)
    assert (after.state, after.days_paid) == ("active", 30)  # less the ten hours
    assert after.paid_until is not None and after.paid_until - clock.now() < timedelta(days=29, hours=14, minutes=1)


def test_a_payment_that_is_taken_back_gives_neither_days_of_grace_nor_a_promise_anew(product: Product) -> None:
    line = line_of(product, price=1_000, days=30, grace_days=3)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    ended = standing(product, line).paid_until
    pass_days(product, 34)
    with product.app.app_context(), transaction():
        lines.promise(line.id, clock.now() + timedelta(days=1), actor="user:1")
    pass_days(product, 2)
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    assert standing(product, line).state == "active"
    reverse(product, receipt(2))
    product.work()
    after = standing(product, line)
    assert (after.state, after.paid_until) == ("walled", ended)
    with pytest.raises(Conflict), product.app.app_context(), transaction():
        lines.promise(line.id, clock.now() + timedelta(days=1), actor="user:1")


def test_a_promise_is_accepted_once_a_period_and_keeps_the_line_on_until_then(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    pass_days(product, 30.5)
    assert standing(product, line).state == "walled"

    def promise(days: float) -> None:
        with product.app.app_context(), transaction():
            lines.promise(line.id, clock.now() + timedelta(days=days), actor="user:1")

    with pytest.raises(Refused):
        promise(15)
    promise(2)
    with pytest.raises(Conflict):
        promise(4)
    assert standing(product, line).state == "active"
    pass_days(product, 1.9)
    assert standing(product, line).state == "active"
    pass_days(product, 0.2)
    assert standing(product, line).state == "walled"
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    promise(31)  # of the new period


def test_a_line_is_not_walled_while_money_that_may_be_theirs_has_no_home(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    clock.move(timedelta(days=29, hours=23))
    typed_at_the_paybill(product, 2, 1_000, line.account[:-1])  # without the check digit: nobody's account
    product.work()
    pass_days(product, 1)
    held = standing(product, line)
    assert (
        held.state == "active" and held.days_paid is not None and held.days_paid < 0 and held.grant_until > clock.now()
    )
    with product.inside():
        assert db.session.get_one(PppoeLine, line.id).held_why == "homeless"
        money = db.session.query(Transaction).filter_by(receipt=receipt(2)).one()
        assert money.unplaced_why == "unknown account"
    pass_days(product, 3)
    assert standing(product, line).state == "active"  # as long as a person has not decided


def test_a_shilling_in_the_wrong_place_holds_no_line(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    typed_at_the_paybill(product, 2, 1, line.account[:-1])
    pass_days(product, 30.01)
    assert standing(product, line).state == "walled"


def test_a_line_is_not_walled_while_its_prompt_may_still_be_answered(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    clock.move(timedelta(days=30) - timedelta(seconds=30))
    _token, push = prompted(product, line)
    clock.move(timedelta(seconds=60))
    with product.app.app_context():
        keeping.keep()
    assert standing(product, line).state == "active"
    product.callback(push, receipt=receipt(2))
    product.work()
    assert (standing(product, line).state, standing(product, line).days_paid) == ("active", 30)


def test_one_prompt_after_the_other_holds_a_line_no_longer_than_one(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    clock.move(timedelta(days=30) - timedelta(seconds=90))
    states = []
    for _quarter in range(5):
        _token, push = prompted(product, line)
        with product.app.app_context():
            keeping.keep()
        clock.move(timedelta(minutes=1))
        product.callback(push, code=1032)
        product.work()
        clock.move(timedelta(minutes=13))
        states.append(standing(product, line).state)
    assert states[0] == "active" and states[-1] == "walled"


def test_staff_undo_a_walling_suspend_lift_and_close(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    product.work()

    def do(step: object) -> None:
        with product.app.app_context(), transaction():
            step()  # type: ignore[operator]

    do(lambda: lines.put_back_on(line.id, actor="user:1"))
    assert standing(product, line).state == "active"
    pass_days(product, 0.9)
    assert standing(product, line).state == "active"
    pass_days(product, 0.2)
    assert standing(product, line).state == "walled"
    do(lambda: lines.suspend(line.id, why="Abuse.", actor="user:1"))
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    suspended = standing(product, line)
    assert (suspended.state, suspended.is_refused, suspended.periods) == ("suspended", True, 1)
    do(lambda: lines.lift(line.id, actor="user:1"))
    lifted = standing(product, line)
    assert (lifted.state, lifted.is_refused) == ("active", False)
    do(lambda: lines.close(line.id, actor="user:1"))
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    closed = standing(product, line)
    assert (closed.state, closed.is_refused, closed.wallet) == ("closed", True, 1_000)
    do(lambda: lines.lift(line.id, actor="user:1"))
    product.work()
    assert (standing(product, line).state, standing(product, line).wallet) == ("active", 0)


def test_one_wallet_renews_the_line_first_whose_time_ends_first(product: Product) -> None:
    phone = new_phone()
    package = pppoe_package(product, 1_000, 30)
    first = line_of(product, phone=phone, package_id=package)
    second = line_of(product, phone=phone, package_id=package)
    assert first.account == second.account
    typed_at_the_paybill(product, 1, 1_000, first.account)
    product.work()
    typed_at_the_paybill(product, 2, 1_000, first.account)
    product.work()
    assert [standing(product, one).state for one in (first, second)] == ["active", "active"]


def test_a_new_price_holds_from_the_next_period_on(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    prompted(product, line)  # opened at the old price, paid by nobody
    dearer = pppoe_package(product, 1_500, 30)
    with product.app.app_context(), transaction():
        lines.change(line.id, lines.Wanted(dearer), actor="user:1")
    typed_at_the_paybill(product, 1, 1_499, line.account)
    product.work()
    assert standing(product, line).state == "walled"
    typed_at_the_paybill(product, 2, 1, line.account)
    product.work()
    assert (standing(product, line).state, standing(product, line).wallet) == ("active", 0)
    with product.inside():
        grant = db.session.get_one(AccessGrant, db.session.get_one(PppoeLine, line.id).grant_id)
        assert grant.package_id == dearer
        assert sorted(one.state for one in db.session.query(Payment).filter_by(purpose="pppoe")) == ["closed", "paid"]
    assert product.books() == []


@pytest.mark.parametrize(
    ("ends_at", "days_before", "at"),
    [  # Nairobi is three hours ahead
        (datetime(2026, 3, 3, 12, 0, tzinfo=UTC), 3, datetime(2026, 2, 28, 12, 0, tzinfo=UTC)),
        (datetime(2028, 3, 2, 12, 0, tzinfo=UTC), 3, datetime(2028, 2, 28, 12, 0, tzinfo=UTC)),
        (datetime(2026, 5, 1, 9, 0, tzinfo=UTC), 1, datetime(2026, 4, 30, 9, 0, tzinfo=UTC)),
        (datetime(2026, 4, 30, 21, 0, tzinfo=UTC), 1, datetime(2026, 4, 29, 17, 0, tzinfo=UTC)),  # 0:00 on 1 May
        (datetime(2026, 4, 30, 20, 59, tzinfo=UTC), 1, datetime(2026, 4, 29, 17, 0, tzinfo=UTC)),  # 23:59
        (datetime(2026, 5, 1, 4, 59, tzinfo=UTC), 0, datetime(2026, 4, 30, 17, 0, tzinfo=UTC)),  # 7:59
        (datetime(2026, 5, 1, 5, 0, tzinfo=UTC), 0, datetime(2026, 5, 1, 5, 0, tzinfo=UTC)),  # 8:00
    ],
)
def test_a_reminder_goes_at_that_hour_or_the_evening_before_and_never_by_night(
    ends_at: datetime, days_before: int, at: datetime
) -> None:
    assert telling.remind_at(ends_at, days_before) == at


def test_reminders_go_three_days_one_day_and_none_before_the_end_each_once(product: Product) -> None:
    line = line_of(product, price=1_000, days=30)
    at_noon()
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    told = len(messages_to(product, line))
    for days, count in ((26.9, 0), (0.2, 1), (1.8, 1), (0.2, 2), (0.8, 2), (0.1, 3)):
        pass_days(product, days)
        product.work()
        reminders = [text for text in messages_to(product, line)[told:] if "Pay KES 1,000" in text and "until" in text]
        assert len(reminders) == count, days
    assert f"Pay KES 1,000 to paybill 600111, account {line.account}." in messages_to(product, line)[told]


def test_who_agreed_to_it_is_asked_by_a_prompt_the_day_before_once(product: Product) -> None:
    at_noon()
    agreed, silent = line_of(product, is_prompted=True), line_of(product)
    for number, line in ((1, agreed), (2, silent)):
        typed_at_the_paybill(product, number, 1_000, line.account)
    product.work()
    clock.move(timedelta(days=29, minutes=-10))
    for grace_days in range(3):
        clock.move(timedelta(minutes=20))
        with product.app.app_context(), transaction():  # staff change something, so that it is looked at again
            wanted = replace(lines.terms_of(db.session.get_one(PppoeLine, agreed.id)), grace_days=grace_days + 1)
            lines.change(agreed.id, wanted, actor="user:1")
        product.work()  # nobody answers there: the first prompt is given up before the second look
    with product.inside():
        asked = [len(db.session.query(Payment).join(LinePeriod, LinePeriod.payment_id == Payment.id)
                     .filter(LinePeriod.line_id == line.id, Payment.push_count > 0).all())
                 for line in (agreed, silent)]  # fmt: skip
        assert asked == [1, 0]
        assert db.session.query(Payment.push_count).filter(Payment.push_count > 0).all() == [(1,)]


@pytest.mark.parametrize("number", [1, 572, 1001, 99_999])
def test_one_wrong_digit_or_two_that_changed_places_are_nobody_s_account(number: int) -> None:
    account = accounts.of_number(number)
    digits = account[1:]
    slips = {digits[:i] + other + digits[i + 1 :] for i in range(len(digits)) for other in "0123456789"}
    slips |= {digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :] for i in range(len(digits) - 1)}
    valid = [one for one in slips - {digits} if accounts.check_digit(one[:-1]) == one[-1]]
    assert valid == []


def test_the_check_digit_is_damm_s() -> None:
    assert accounts.check_digit("572") == "4" and accounts.of_number(1001) == "C10019"


def test_a_line_dials_anew_into_the_wall_and_out_of_it_and_is_not_cut_when_it_renews_in_time(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[tuple[str, str]] = []

    def ordered(what: str) -> Callable[..., Outcome]:
        def order(_self: Radius, _site: Site, session: AccessSession, *_more: object) -> Outcome:
            orders.append((what, session.session_id))
            if what == "kick":
                with transaction():
                    db.session.get_one(AccessSession, session.id).stopped_at = clock.now()
            return Outcome(True)

        return order

    monkeypatch.setattr(Radius, "kick", ordered("kick"))
    monkeypatch.setattr(Radius, "change_live", ordered("change"))
    line = line_of(product, price=1_000, days=30)
    with product.inside():
        grant_id = db.session.get_one(PppoeLine, line.id).grant_id
    nas = site(product, kind="radius", address="10.9.0.2", secret="s" * 24)
    session(product, nas, grant_id, session_id="walled", is_walled=True)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    reconciled(product)
    assert orders == [("kick", "walled")]  # paid: out of the wall
    session(product, nas, grant_id, session_id="on")
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    reconciled(product)
    assert orders[1:] == [("change", "on")]  # paid in time: nothing is cut
    pass_days(product, 60.1)
    reconciled(product)
    assert orders[2:] == [("kick", "on")]  # over: into the wall
    session(product, nas, grant_id, session_id="again", is_walled=True)
    reconciled(product)
    with product.app.app_context(), transaction():
        lines.suspend(line.id, why="Abuse.", actor="test")
    reconciled(product)
    assert len(orders) == 3  # and there it stays


def test_a_full_refund_takes_the_period_back(product: Product) -> None:
    with_initiator(product)
    line = line_of(product, price=1_000, days=30)
    token, push = prompted(product, line)
    product.callback(push, receipt=receipt(1))
    product.work()
    assert standing(product, line).state == "active"
    [refund_id] = refund_asked(product, token)
    told = refund_sent(product, refund_id)
    result_told(product, told, result(TransactionAmount="1000", TransactionReceipt="UKL0000009"))
    assert refund_state(product, refund_id)[0] == "done"
    product.work()
    after = standing(product, line)
    assert (after.state, after.periods, after.wallet) == ("walled", 0, 0) and product.books() == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["typed", "again", "prompt", "callback", "reverse", "keep", "work"]), st.integers(1, 4)),
    min_size=2,
    max_size=7,
)


@pytest.mark.property(54)
@given(steps=STEPS)
def test_no_order_of_words_loses_or_doubles_a_renewal(product: Product, steps: list[tuple[str, int]]) -> None:
    """Periods = what came and stayed, by the price; the rest is in the wallet. Whatever came twice, late or went back."""
    line = product.begin_again(lambda: line_of(product, price=1_000, days=30))
    came: dict[str, int] = {}
    gone: set[str] = set()
    push: Pushed | None = None
    for kind, number in steps:
        if kind == "typed":
            amount = (400, 1_000, 1_700, 600)[number - 1]
            typed_at_the_paybill(product, number, amount, line.account)
            came.setdefault(receipt(number), amount)
        elif kind == "again" and receipt(number) in came and number < 5:
            typed_at_the_paybill(product, number, (400, 1_000, 1_700, 600)[number - 1], line.account)
        elif kind == "prompt" and push is None:
            _token, push = prompted(product, line)
        elif kind == "callback" and push is not None:
            product.callback(push, receipt=receipt(90))
            came[receipt(90)] = push.amount
        elif kind == "reverse" and came:
            product.work()
            code = sorted(came)[number % len(came)]
            if code not in gone:
                reverse(product, code)
                gone.add(code)
        elif kind == "keep":
            with product.app.app_context():
                keeping.keep()
        else:
            product.work()
    product.work()
    product.work()
    total = sum(amount for code, amount in came.items() if code not in gone)
    after = standing(product, line)
    assert (after.periods, after.wallet) == divmod_of(total)
    may_be_paid_yet = push is not None and receipt(90) not in came  # holds a line that was on
    assert after.state == "active" if total >= 1_000 else after.state == "walled" or may_be_paid_yet
    assert product.books() == []
    if after.periods:
        assert after.days_paid == 30 * after.periods


def divmod_of(total: int) -> tuple[int, int]:
    return total // 1_000, total % 1_000
