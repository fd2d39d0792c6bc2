"""A production gateway that is called from an address that is not Safaricom's: kept, confirmed another way, never lost."""

from dataclasses import replace
from typing import Any

import pytest

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments import transaction_status
from portal.payments.c2b import unresolved
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, MpesaRequest, Payment, Push, Transaction
from portal.payments.processing import callbacks, jobs, results
from tests.support.clock import later
from tests.support.daraja import Pushed, c2b_body, receipt
from tests.support.product import Product
from tests.support.refunds import refund_asked, refund_sent, refund_state, result, result_told, with_initiator
from tests.support.source_addresses import ANYBODY, SAFARICOM, called_back, in_production, query_says
from tests.support.transaction_status import answer
from tests.support.visitors import csrf_of


@pytest.fixture
def real(product: Product) -> tuple[Product, str, str]:
    """(product, number, paymentId) of an invoice of KES 100 in real money; these tests call from 127.0.0.1."""
    with_initiator(product)
    number, token = product.invoice(100)
    with product.app.app_context(), transaction():
        for owner in (Gateway, Payment):
            db.session.query(owner).update({"environment": "production"})
    inbox.forget_doors()
    return product, number, token


def by_hand_from_anywhere(product: Product, number: str) -> int:
    """A payment by hand that nobody may believe yet; its row."""
    body = c2b_body(receipt=receipt(1), amount=100, account=number)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    with product.inside():
        item = db.session.query(InboxItem).filter_by(kind="c2b").one()
        assert item.state == "waiting" and item.is_foreign and db.session.query(Transaction).count() == 0
        return item.id


def test_a_callback_waits_for_m_pesas_word_and_is_believed_then(real: tuple[Product, str, str]) -> None:
    product, _number, token = real
    pushed = product.pushed(token)
    product.callback(pushed, receipt=receipt(1))
    product.settle()
    assert product.status(token)["status"] != "paid"
    with product.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert (product.status(token)["status"], product.status(token)["receipt"]) == ("paid", receipt(1))
    assert product.books() == []


def test_a_payment_by_hand_is_believed_when_somebody_who_looked_replays_it(real: tuple[Product, str, str]) -> None:
    product, number, token = real
    item_id = by_hand_from_anywhere(product, number)
    with product.app.app_context(), transaction():
        inbox.replay(item_id)
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


@pytest.mark.parametrize(("given", "is_taken"), [({}, True), ({"outcome": "refuse"}, False)])
def test_staff_take_a_payment_by_hand_or_refuse_it(
    real: tuple[Product, str, str], given: dict[str, Any], is_taken: bool
) -> None:
    product, number, token = real
    item_id = by_hand_from_anywhere(product, number)
    brian = product.browser_of("brian")
    assert "that is not known" in brian.get("/staff/unmatched").text
    given = given | {"csrf_token": csrf_of(brian, "/staff/unmatched")}
    brian.post(f"/staff/unmatched/undecided/{item_id}", data=given)
    assert (product.status(token)["status"] == "paid") is is_taken
    assert "To decide" not in brian.get("/staff/unmatched").text and product.books() == []


def test_a_result_is_known_by_its_secret_address(real: tuple[Product, str, str]) -> None:
    product, number, token = real
    item_id = by_hand_from_anywhere(product, number)
    with product.app.app_context(), transaction():
        inbox.replay(item_id)
    product.settle()
    one = refund_asked(product, token, None, "reversal")[0]
    result_told(product, refund_sent(product, one), result(Amount=100))
    assert refund_state(product, one)[0] == "done" and product.books() == []


@pytest.mark.parametrize(
    ("listed", "caller", "is_foreign"),
    [
        ("196.201.214.0/24", "196.201.214.200", False),
        ("196.201.214.77/24", "196.201.214.200", False),
        ("196.201.214.0/24", "196.201.213.200", True),
        ("196.201.214.200", "::ffff:196.201.214.200", False),
        ("196.201.214.200", "::ffff:196.201.214.201", True),
        ("2001:db8:5::/48", "2001:db8:5::9", False),
        ("2001:db8:5::/48", "2001:db8:6::9", True),
        ("196.201.214.200", "not an address", True),
    ],
)
def test_the_list_of_addresses_takes_ranges_and_knows_mapped_ones(
    product: Product, listed: str, caller: str, is_foreign: bool
) -> None:
    """money.md C33: ranges matched nothing, and neither did a listed address written as ::ffff:."""
    product.app.config["PORTAL"] = replace(product.app.config["PORTAL"], callback_addresses=("10.9.9.9", listed))
    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"environment": "production"})
    inbox.forget_doors()
    answer = product.client().post(
        f"{product.hook()}/c2b/confirmation", data=b"{}", environ_base={"REMOTE_ADDR": caller}
    )
    assert answer.status_code == 200
    with product.inside():
        assert db.session.query(InboxItem).one().is_foreign is is_foreign


def money(product: Product) -> list[tuple[str | None, int, int]]:
    with product.inside():
        rows = db.session.query(Transaction).order_by(Transaction.id)
        return [(one.receipt, one.amount_cents, one.unallocated_cents) for one in rows]


def to_decide(product: Product) -> list[tuple[str, int]]:
    """(receipt, cents) of what waits for a person."""
    tenant_id = product.tenant_id()
    with product.inside():
        return [(one.paid.receipt, one.paid.amount_cents) for one in unresolved.of_tenant(tenant_id)]


def asked_prompt(product: Product, amount: int = 20) -> tuple[str, Pushed]:
    in_production(product)
    _number, token = product.invoice(amount)
    in_production(product)
    return token, product.pushed(token, "254712345126")


def test_after_a_prompt_has_paid_another_success_of_it_is_not_believed_from_anywhere(either_product: Product) -> None:
    """money.md A10: paid 20, then from an unlisted address another receipt and 250,000: it was booked."""
    product = either_product
    token, pushed = asked_prompt(product)
    called_back(product, pushed, SAFARICOM, receipt=receipt(1))
    assert product.status(token)["status"] == "paid"
    called_back(product, pushed, ANYBODY, receipt=receipt(2), amount=250_000)
    assert money(product) == [(receipt(1), 20_00, 0)]
    later(150)
    assert to_decide(product) == [(receipt(2), 250_000_00)] and product.books() == []


@pytest.mark.parametrize("address", [SAFARICOM, ANYBODY])
@pytest.mark.parametrize("is_query_first", [True, False])
def test_a_query_never_cures_an_amount_whichever_came_first(
    either_product: Product, is_query_first: bool, address: str
) -> None:
    """money.md A10: a prompt of KES 20 that a query called paid became 250,000."""
    product = either_product
    token, pushed = asked_prompt(product)
    words = [
        lambda: query_says(product, pushed, "0"),
        lambda: called_back(product, pushed, address, receipt=receipt(2), amount=250_000),
    ]
    for word in words if is_query_first else words[::-1]:
        word()
    product.settle()
    assert product.status(token)["status"] == "paid" and money(product) == [(None, 20_00, 0)]
    later(150)
    assert to_decide(product) == [(receipt(2), 250_000_00)] and product.books() == []
    called_back(product, pushed, SAFARICOM, receipt=receipt(1))
    assert money(product) == [(receipt(1), 20_00, 0)] and product.books() == [], "its own receipt is still learnt"


@pytest.mark.parametrize("is_query_first", [True, False])
def test_an_odd_amount_that_m_pesa_confirms_is_booked(product: Product, is_query_first: bool) -> None:
    """money.md A10: what M-Pesa says of the receipt itself is believed, with its amount."""
    token, pushed = asked_prompt(product)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.initiator_name = "api"
        gateway.keep_secret("security_credential", "ready-made")
    called_back(product, pushed, ANYBODY, receipt=receipt(2), amount=30)
    if is_query_first:
        query_says(product, pushed, "0")
    later(130)
    with product.app.app_context(), transaction():
        assert transaction_status.ask_due() == 1
    with product.app.app_context(), transaction():
        assert db.session.query(MpesaRequest).one().receipt == receipt(2)
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, receipt(2), answer(receipt(2), 30, "254712345126"))
    product.settle()
    assert product.status(token)["status"] == "paid" and money(product) == [(receipt(2), 30_00, 10_00)]
    assert to_decide(product) == [] and product.books() == []


def test_of_two_successes_that_nobody_may_believe_a_query_chooses_none(product: Product) -> None:
    """Its address is secret, and might have leaked: which receipt is true, M-Pesa says of each, or a person."""
    token, pushed = asked_prompt(product)
    for n in (1, 2):
        called_back(product, pushed, ANYBODY, receipt=receipt(n))
    query_says(product, pushed, "0")
    assert product.status(token)["status"] == "paid" and money(product) == [(None, 20_00, 0)]
    later(150)
    assert to_decide(product) == [(receipt(1), 20_00), (receipt(2), 20_00)]
    called_back(product, pushed, SAFARICOM, receipt=receipt(2))
    assert money(product) == [(receipt(2), 20_00, 0)] and product.books() == []


def test_a_part_that_is_stated_from_anywhere_is_not_booked_by_a_query(product: Product) -> None:
    """A query states no amount: a forged part would make a payer who paid all owe the rest."""
    token, pushed = asked_prompt(product)
    called_back(product, pushed, ANYBODY, receipt=receipt(2), amount=5)
    query_says(product, pushed, "0")
    assert product.status(token)["status"] == "paid" and money(product) == [(None, 20_00, 0)]
    later(150)
    assert to_decide(product) == [(receipt(2), 5_00)] and product.books() == []


def test_a_query_after_the_success_books_no_second_receipt(product: Product) -> None:
    """A query that was under way tells again what is known: that word is of the receipt that paid, not of another."""
    token, pushed = asked_prompt(product)
    called_back(product, pushed, ANYBODY, receipt=receipt(2))
    called_back(product, pushed, SAFARICOM, receipt=receipt(1))
    query_says(product, pushed, "0")
    assert product.status(token)["status"] == "paid" and money(product) == [(receipt(1), 20_00, 0)]
    assert product.books() == []


def test_a_query_gives_no_prompt_the_receipt_that_paid_another(product: Product) -> None:
    """The waiting success named a receipt that M-Pesa since told of another prompt: both are paid, each by its own."""
    token, pushed = asked_prompt(product)
    other = product.invoice(20)[1]
    in_production(product)
    rings = product.pushed(other)
    called_back(product, pushed, ANYBODY, receipt=receipt(1))
    called_back(product, rings, SAFARICOM, receipt=receipt(1))
    query_says(product, pushed, "0")
    assert [product.status(one)["status"] for one in (token, other)] == ["paid", "paid"]
    assert money(product) == [(receipt(1), 20_00, 0), (None, 20_00, 0)] and product.books() == []


def test_what_m_pesa_told_of_this_prompt_counts_above_a_receipt_from_anywhere(product: Product) -> None:
    """M-Pesa told of the money by its receipt; a forged one waits beside it: a query speaks of the first."""
    token, pushed = asked_prompt(product)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, receipt(1), answer(receipt(1), 20, "254712345126"))
    assert money(product) == [(receipt(1), 20_00, 20_00)]
    called_back(product, pushed, ANYBODY, receipt=receipt(2))
    query_says(product, pushed, "0")
    assert product.status(token)["status"] == "paid" and money(product) == [(receipt(1), 20_00, 0)]
    assert product.books() == []


def test_a_known_receipt_with_another_amount_is_not_believed_from_anywhere(product: Product) -> None:
    """Who learnt the receipt of money that waits to be placed could name a prompt of theirs, and its amount."""
    token, pushed = asked_prompt(product)
    known = c2b_body(receipt=receipt(1), amount=5, account="NOBODYS")
    forged = c2b_body(receipt=receipt(1), amount=20, account=pushed.reference)
    for body, address in ((known, SAFARICOM), (forged, ANYBODY)):
        path = f"{product.hook()}/c2b/confirmation"
        assert product.client().post(path, json=body, environ_base={"REMOTE_ADDR": address}).status_code == 200
        product.settle()
    assert product.status(token)["status"] == "processing" and money(product) == [(receipt(1), 5_00, 5_00)]
    with product.inside():
        assert db.session.get_one(Push, pushed.push_id).state == "awaiting_pin"
        assert [one.state for one in db.session.query(InboxItem).order_by(InboxItem.id)] == ["done", "rejected"]
    assert product.books() == []


def test_m_pesas_word_about_a_receipt_of_another_payer_pays_nobodys_prompt(product: Product) -> None:
    """A callback that names a stranger's receipt: its money is the stranger's."""
    token, pushed = asked_prompt(product)
    called_back(product, pushed, ANYBODY, receipt=receipt(2))
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, receipt(2), answer(receipt(2), 20, "254799999999"))
    product.settle()
    assert product.status(token)["status"] != "paid" and money(product) == [(receipt(2), 20_00, 20_00)]
    assert product.books() == []


@pytest.mark.parametrize("code", [1032, 1, 1037])
def test_a_failure_from_anywhere_ends_no_prompt(product: Product, code: int) -> None:
    """tests.md A3: an unlisted address's failure would tell a payer to pay again."""
    token, pushed = asked_prompt(product)
    called_back(product, pushed, ANYBODY, code=code)
    with product.inside():
        push = db.session.get_one(Push, pushed.push_id)
        assert push.state == "awaiting_pin" and push.next_query_at is not None and push.next_query_at <= clock.now()
    called_back(product, pushed, SAFARICOM, receipt=receipt(1))
    assert product.status(token)["status"] == "paid"


def test_a_late_success_from_a_new_address_is_asked_about_until_m_pesa_answers(either_product: Product) -> None:
    """money.md A12: it was asked about once, and then never again; it was on no page and in no figure."""
    product = either_product
    token, pushed = asked_prompt(product)
    called_back(product, pushed, SAFARICOM, code=1032)
    assert product.status(token)["status"] == "cancelled"
    later(60)
    called_back(product, pushed, ANYBODY, receipt=receipt(1))
    asked_after: list[int] = []
    for hour in range(80):
        with product.app.app_context():
            jobs.ask_mpesa()  # nobody answers at this gateway's address
            asked_at = db.session.get_one(Push, pushed.push_id).asked_at
            db.session.remove()
        if asked_at is not None and (clock.now() - asked_at).total_seconds() < 1:
            asked_after.append(hour)
        later(3_600)
    assert len(asked_after) >= 6 and asked_after[-1] >= 50, asked_after
    assert to_decide(product) == [(receipt(1), 20_00)]
    page = product.browser_of("brian").get("/staff/unmatched").text
    assert "To decide" in page and receipt(1) in page
    assert 'mlango_waiting{what="payments_to_decide"} 1.0' in product.client().get("/metrics").text
    query_says(product, pushed, "0")
    product.settle()
    assert product.status(token)["status"] == "paid" and money(product) == [(receipt(1), 20_00, 0)]
    assert to_decide(product) == [] and product.books() == []


def test_a_success_that_m_pesas_query_denies_is_left_to_a_person_and_asked_about_no_more(product: Product) -> None:
    """money.md A12: the answer ends the asking, and loses nothing."""
    token, pushed = asked_prompt(product)
    called_back(product, pushed, SAFARICOM, code=1032)
    called_back(product, pushed, ANYBODY, receipt=receipt(1))
    query_says(product, pushed, "1032")
    later(150)
    with product.inside():
        assert db.session.get_one(Push, pushed.push_id).next_query_at is None
        item = db.session.query(InboxItem).filter_by(state="waiting").one()
        assert "1032" in item.outcome
        item_id = item.id
    assert to_decide(product) == [(receipt(1), 20_00)]
    brian = product.browser_of("brian")
    given = {"push": str(pushed.push_id), "csrf_token": csrf_of(brian, "/staff/unmatched")}
    brian.post(f"/staff/unmatched/undecided/{item_id}", data=given)
    product.settle()
    assert product.status(token)["status"] == "paid" and money(product) == [(receipt(1), 20_00, 0)]
    assert to_decide(product) == [] and product.books() == []
