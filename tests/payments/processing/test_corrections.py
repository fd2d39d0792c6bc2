"""Rare ways of money that meet: a refund and M-Pesa's own reversal, a late success, a message pasted meanwhile."""

from typing import Any

import pytest
from sqlalchemy import select

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db, transaction
from portal.ledger import post
from portal.payments import booking, daraja_requests
from portal.payments.models import Payment, Push, Refund, Transaction
from portal.payments.payment import lock_payment
from portal.payments.processing import callbacks, jobs, results
from portal.payments.refunds import refund_results, refunds
from portal.payments.wallets import wallets
from tests.support.business import House
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.refunds import paid_by_hand, payment_id_of, refund_asked, refund_of_unplaced_asked, with_initiator
from tests.support.sms import decide, message, paste, without_api
from tests.support.threads import together
from tests.support.transaction_status import answer
from tests.support.visitors import csrf_of


def ended(house: House, refund_id: int, *fates: str) -> None:
    """M-Pesa says, one after the other, how a refund ended."""
    for fate in fates:
        with house.app.app_context(), transaction():
            one = refunds.lock(refund_id)
            if fate == "done":
                refunds.done(one, receipt=None, actor="test")
            else:
                refunds.fail(one, "no", actor="test")


def reversed_by_mpesa(house: House, code: str) -> None:
    """M-Pesa says that this receipt was reversed."""
    with house.app.app_context(), transaction():
        booked = db.session.query(Transaction).filter_by(receipt=code).one()
        booking.take_back(booked, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")


def to_place(house: House) -> int:
    with house.inside():
        return sum(one.unallocated_cents for one in db.session.query(Transaction))


def balance(house: House, account: str) -> int:
    tenant_id = house.tenant_id()
    with house.inside():
        return post.balance(tenant_id, "sandbox", account)


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("fates", [("failed",), ("done",), ("failed", "done")])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_refund_and_a_reversal_of_the_same_money_leave_true_books(
    house: House, placed: bool, fates: tuple[str, ...], is_first: bool
) -> None:
    with_initiator(house)
    number, token = house.invoice(100)
    paid_by_hand(house, 100, number if placed else "NOBODY", receipt(1))
    one = refund_asked(house, token, 4_000)[0] if placed else refund_of_unplaced_asked(house, receipt(1))
    if is_first:
        ended(house, one, *fates)
    reversed_by_mpesa(house, receipt(1))
    if not is_first:
        ended(house, one, *fates)
    assert house.books() == [] and to_place(house) == 0, "nothing is invented"
    gone = 0 if fates[-1] == "failed" else 4_000 if placed else 10_000
    assert balance(house, post.CLEARING) == -gone and balance(house, post.REFUNDS_DUE) == gone
    if placed:
        assert balance(house, post.revenue("clinic")) == 0
        assert house.status(token)["amountDue"] == 100
        paid_by_hand(house, 100, number, receipt(2))
        assert house.status(token)["status"] == "paid", "the new money was not sent back"
        assert house.books() == []


def test_a_refund_not_sent_yet_is_not_sent_once_m_pesa_reversed_its_money(house: House) -> None:
    with_initiator(house)
    number, token = house.invoice(100)
    paid_by_hand(house, 100, number, receipt(1))
    one = refund_asked(house, token)[0]
    reversed_by_mpesa(house, receipt(1))
    with house.app.app_context():
        with transaction():
            assert refunds.begin(one) is None
        assert db.session.get_one(Refund, one).state == "failed"
    assert house.books() == [] and balance(house, post.REFUNDS_DUE) == 0


@pytest.mark.parametrize("fate", ["sent", "done"])
def test_our_own_reversal_is_not_m_pesas(house: House, fate: str) -> None:
    with_initiator(house)
    number, token = house.invoice(100)
    paid_by_hand(house, 100, number, receipt(1))
    one = refund_asked(house, token, method="reversal")[0]
    with house.app.app_context(), transaction():
        db.session.get_one(Refund, one).state = "sent"
    if fate == "done":
        ended(house, one, "done")
    reversed_by_mpesa(house, receipt(1))  # its own records say `Reversed` of a receipt that we had reversed
    if fate == "sent":
        ended(house, one, "done")
    assert house.status(token)["status"] == "refunded" and house.books() == []


def test_a_success_after_a_failure_finds_money_that_was_placed_meanwhile(house: House) -> None:
    with_initiator(house)
    number, token = house.invoice(100)
    paid_by_hand(house, 100, "NOBODY", receipt(1))
    one = refund_of_unplaced_asked(house, receipt(1))
    ended(house, one, "failed")
    staff = house.browser_of("brian")
    with house.inside():
        uid = db.session.query(Transaction.uid).scalar()
    form = {"reference": number, "csrf_token": csrf_of(staff, "/staff/unmatched")}
    assert staff.post(f"/staff/unmatched/{uid}", data=form).status_code == 303
    assert house.status(token)["status"] == "paid"
    ended(house, one, "done")
    assert house.books() == [] and house.status(token)["status"] == "refunded"


def test_a_success_after_a_failure_takes_money_out_of_the_wallet_it_went_into(house: House) -> None:
    with_initiator(house)
    paid_by_hand(house, 100, "NOBODY", receipt(1))
    one = refund_of_unplaced_asked(house, receipt(1))
    ended(house, one, "failed")
    with house.app.app_context(), transaction():
        booked = db.session.query(Transaction).one()
        customer = wallets.customer_of_phone(booked.tenant_id, "254712345678")
        wallets.credit(booked, customer, actor="test")
    ended(house, one, "done")
    assert house.books() == []
    with house.inside():
        assert wallets.balance_cents(wallets.find_by_phone(house.tenant_id(), "254712345678"), "sandbox") == 0  # type: ignore[arg-type]


def test_a_success_after_a_failure_of_money_that_went_back_again_is_told_not_stuck(house: House) -> None:
    with_initiator(house)
    paid_by_hand(house, 100, "NOBODY", receipt(1))
    first = refund_of_unplaced_asked(house, receipt(1))
    ended(house, first, "failed")
    ended(house, refund_of_unplaced_asked(house, receipt(1)), "done")
    ended(house, first, "done")
    assert balance(house, post.CLEARING) == -10_000 and balance(house, post.REFUNDS_DUE) == 10_000
    told = house.books()
    assert len(told) == 2 and "does not add up" in told[0] and "KES 200 were sent back" in told[1], "staff must know"


def test_two_refunds_at_once_of_money_that_paid_two_payments_are_both_counted(either_house: House) -> None:
    house = either_house
    with_initiator(house)
    number, token = house.invoice(100)
    other_number, other = house.invoice(100)
    paid_by_hand(house, 200, number, receipt(1))
    with house.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=other).one()
        booking.allocate(db.session.query(Transaction).one(), lock_payment(payment.id), actor="test")
    ids = [payment_id_of(house, one) for one in (token, other)]
    real = refunds._check

    def slow(*given: Any) -> Any:
        import time

        time.sleep(0.2)
        return real(*given)

    def click(payment_id: int) -> None:
        with transaction():
            refunds.ask_for(payment_id, amount_cents=None, method="b2c", user_id=1, why="", actor="user:1")

    refunds._check = slow  # type: ignore[assignment]
    try:
        together(house, lambda: click(ids[0]), lambda: click(ids[1]))
    finally:
        refunds._check = real
    with house.inside():
        assert db.session.query(Transaction).one().refunded_cents == 20_000


def test_a_refused_message_does_not_end_access_that_was_paid_in_cash(house: House) -> None:
    without_api(house, policy="open")
    told = paste(house, message("UKL1ABCD24"))
    token = told["paymentId"]
    made = house.api("brian").post("/api/payments/manual", {"channel": "cash", "reference": token, "amount": 50})
    assert made.status_code == 201, made.text
    house.work()
    decide(house, "refuse", reason="Not on the till")
    assert house.status(token)["status"] == "paid" and house.status(token).get("credentials")
    with house.inside():
        assert db.session.query(AccessGrant).one().is_open


def test_an_old_payment_that_was_reversed_stays_for_staff_to_close(house: House) -> None:
    phone = new_phone()
    body = {"tenant": "mlima", "packageId": house.package(), "phone": phone}
    token = house.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    house.callback(house.pushed(token, phone), receipt=receipt(1))
    house.work()
    later(3 * 86_400)
    reversed_by_mpesa(house, receipt(1))
    with house.app.app_context():
        jobs.close_forgotten()
        db.session.remove()
    assert house.status(token)["amountDue"] == 50 and house.status(token)["status"] != "cancelled"
    assert "Owed again" in house.browser_of("brian").get("/staff/unmatched").text


@pytest.mark.parametrize("is_query_first", [True, False])
def test_a_message_of_money_known_by_query_opens_no_second_package(house: House, is_query_first: bool) -> None:
    phone = new_phone()
    body = {"tenant": "mlima", "packageId": house.package(), "phone": phone}
    token = house.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    pushed = house.pushed(token, phone)
    code = "UKL1ABCD25"

    def query() -> None:
        with house.app.app_context(), transaction():
            push = db.session.get_one(Push, pushed.push_id)
            callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))

    def status() -> None:
        with house.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            results._receipt(gateway, code, answer(code, 50, phone))

    for word in (query, status) if is_query_first else (status, query):
        word()
    house.work()
    told = paste(house, message(code, ago_s=0), phone=phone)
    assert told["status"] == "rejected" and told["reason"] == "already_used", told
    house.client().post(
        f"{house.hook()}/c2b/confirmation", json=c2b_body(receipt=code, amount=50, account=pushed.reference)
    )
    house.callback(pushed, receipt=code)
    house.work()
    with house.inside():
        assert db.session.query(AccessGrant).count() == 1
        assert [one.amount_cents for one in db.session.query(Transaction)] == [5_000]
    assert house.status(token)["receipt"] == code and house.books() == []


def test_a_merge_learns_the_surplus_as_any_receipt_does(house: House) -> None:
    _number, token = house.invoice(100)
    pushed = house.pushed(token)
    with house.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, receipt(7), answer(receipt(7), 130, pushed.msisdn))
    with house.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    house.callback(pushed, receipt=receipt(7), amount=130)
    house.work()
    with house.inside():
        stands = db.session.scalars(select(Transaction).where(Transaction.merged_into_id.is_(None))).all()
        assert [(one.amount_cents, one.unallocated_cents) for one in stands] == [(13_000, 3_000)]
    assert house.books() == []


def test_a_refund_that_m_pesa_still_works_on_is_asked_about_for_ever(house: House) -> None:
    with_initiator(house)
    number, token = house.invoice(100)
    paid_by_hand(house, 100, number, receipt(1))
    one = refund_asked(house, token)[0]
    told = messages.parse_result(
        {
            "Result": {
                "ResultCode": 0, "ResultDesc": "ok", "OriginatorConversationID": "o", "ConversationID": "c",
                "TransactionID": "T",
                "ResultParameters": {"ResultParameter": [{"Key": "TransactionStatus", "Value": "Pending"}]},
            }
        }
    )  # fmt: skip
    with house.app.app_context():
        with transaction():
            db.session.get_one(Refund, one).state = "unknown"
        for _time in range(5):
            with transaction():
                refund = refunds.lock(one)
                gateway = db.session.get_one(Gateway, refund.gateway_id)
                question = daraja_requests.ask(gateway, "status", daraja_requests.Subject(refund_id=one))
                refund_results.take_status(refund, told, question)
                daraja_requests.close(question, "answered", code="0")
        assert db.session.get_one(Refund, one).state == "unknown"


def test_an_invoice_whose_money_was_all_sent_back_can_be_voided(house: House) -> None:
    with_initiator(house)
    number, token = house.invoice(100)
    paid_by_hand(house, 40, number, receipt(1))
    from portal.clinic import invoices
    from portal.kernel.errors import Conflict

    def void() -> None:
        with house.app.app_context(), transaction():
            invoices.void(invoices.by_number(house.tenant_id(), number), why="x", actor="test")

    with pytest.raises(Conflict):
        void()
    ended(house, refund_asked(house, token)[0], "done")
    void()
    assert house.status(token)["status"] == "cancelled" and house.books() == []
