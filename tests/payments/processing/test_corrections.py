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
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, payment_id_of, refund_asked, refund_of_unplaced_asked, with_initiator
from tests.support.sms import decide, message, paste, without_api
from tests.support.threads import together
from tests.support.transaction_status import answer
from tests.support.visitors import csrf_of


def ended(product: Product, refund_id: int, *fates: str) -> None:
    """M-Pesa says, one after the other, how a refund ended."""
    for fate in fates:
        with product.app.app_context(), transaction():
            one = refunds.lock(refund_id)
            if fate == "done":
                refunds.done(one, receipt=None, actor="test")
            else:
                refunds.fail(one, "no", actor="test")


def reversed_by_mpesa(product: Product, code: str) -> None:
    """M-Pesa says that this receipt was reversed."""
    with product.app.app_context(), transaction():
        booked = db.session.query(Transaction).filter_by(receipt=code).one()
        booking.take_back(booked, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")


def to_place(product: Product) -> int:
    with product.inside():
        return sum(one.unallocated_cents for one in db.session.query(Transaction))


def balance(product: Product, account: str) -> int:
    tenant_id = product.tenant_id()
    with product.inside():
        return post.balance(tenant_id, "sandbox", account)


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("fates", [("failed",), ("done",), ("failed", "done")])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_refund_and_a_reversal_of_the_same_money_leave_true_books(
    product: Product, placed: bool, fates: tuple[str, ...], is_first: bool
) -> None:
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number if placed else "NOBODY", receipt(1))
    one = refund_asked(product, token, 4_000)[0] if placed else refund_of_unplaced_asked(product, receipt(1))
    if is_first:
        ended(product, one, *fates)
    reversed_by_mpesa(product, receipt(1))
    if not is_first:
        ended(product, one, *fates)
    assert product.books() == [] and to_place(product) == 0, "nothing is invented"
    gone = 0 if fates[-1] == "failed" else 4_000 if placed else 10_000
    assert balance(product, post.CLEARING) == -gone and balance(product, post.REFUNDS_DUE) == gone
    if placed:
        assert balance(product, post.revenue("clinic")) == 0
        assert product.status(token)["amountDue"] == 100
        paid_by_hand(product, 100, number, receipt(2))
        assert product.status(token)["status"] == "paid", "the new money was not sent back"
        assert product.books() == []


def test_a_refund_not_sent_yet_is_not_sent_once_m_pesa_reversed_its_money(product: Product) -> None:
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number, receipt(1))
    one = refund_asked(product, token)[0]
    reversed_by_mpesa(product, receipt(1))
    with product.app.app_context():
        with transaction():
            assert refunds.begin(one) is None
        assert db.session.get_one(Refund, one).state == "failed"
    assert product.books() == [] and balance(product, post.REFUNDS_DUE) == 0


@pytest.mark.parametrize("fate", ["sent", "done"])
def test_our_own_reversal_is_not_m_pesas(product: Product, fate: str) -> None:
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number, receipt(1))
    one = refund_asked(product, token, method="reversal")[0]
    with product.app.app_context(), transaction():
        db.session.get_one(Refund, one).state = "sent"
    if fate == "done":
        ended(product, one, "done")
    reversed_by_mpesa(product, receipt(1))  # its own records say `Reversed` of a receipt that we had reversed
    if fate == "sent":
        ended(product, one, "done")
    assert product.status(token)["status"] == "refunded" and product.books() == []


def test_a_success_after_a_failure_finds_money_that_was_placed_meanwhile(product: Product) -> None:
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, "NOBODY", receipt(1))
    one = refund_of_unplaced_asked(product, receipt(1))
    ended(product, one, "failed")
    staff = product.browser_of("brian")
    with product.inside():
        uid = db.session.query(Transaction.uid).scalar()
    form = {"reference": number, "csrf_token": csrf_of(staff, "/staff/unmatched")}
    assert staff.post(f"/staff/unmatched/{uid}", data=form).status_code == 303
    assert product.status(token)["status"] == "paid"
    ended(product, one, "done")
    assert product.books() == [] and product.status(token)["status"] == "refunded"


def test_a_success_after_a_failure_takes_money_out_of_the_wallet_it_went_into(product: Product) -> None:
    with_initiator(product)
    paid_by_hand(product, 100, "NOBODY", receipt(1))
    one = refund_of_unplaced_asked(product, receipt(1))
    ended(product, one, "failed")
    with product.app.app_context(), transaction():
        booked = db.session.query(Transaction).one()
        customer = wallets.customer_of_phone(booked.tenant_id, "254712345678")
        wallets.credit(booked, customer, actor="test")
    ended(product, one, "done")
    assert product.books() == []
    with product.inside():
        assert wallets.balance_cents(wallets.find_by_phone(product.tenant_id(), "254712345678"), "sandbox") == 0  # type: ignore[arg-type]


def test_a_success_after_a_failure_of_money_that_went_back_again_is_told_not_stuck(product: Product) -> None:
    with_initiator(product)
    paid_by_hand(product, 100, "NOBODY", receipt(1))
    first = refund_of_unplaced_asked(product, receipt(1))
    ended(product, first, "failed")
    ended(product, refund_of_unplaced_asked(product, receipt(1)), "done")
    ended(product, first, "done")
    assert balance(product, post.CLEARING) == -10_000 and balance(product, post.REFUNDS_DUE) == 10_000
    told = product.books()
    assert len(told) == 2 and "does not add up" in told[0] and "KES 200 were sent back" in told[1], "staff must know"


def test_two_refunds_at_once_of_money_that_paid_two_payments_are_both_counted(either_product: Product) -> None:
    product = either_product
    with_initiator(product)
    number, token = product.invoice(100)
    other_number, other = product.invoice(100)
    paid_by_hand(product, 200, number, receipt(1))
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=other).one()
        booking.allocate(db.session.query(Transaction).one(), lock_payment(payment.id), actor="test")
    ids = [payment_id_of(product, one) for one in (token, other)]
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
        together(product, lambda: click(ids[0]), lambda: click(ids[1]))
    finally:
        refunds._check = real
    with product.inside():
        assert db.session.query(Transaction).one().refunded_cents == 20_000


def test_a_refused_message_does_not_end_access_that_was_paid_in_cash(product: Product) -> None:
    without_api(product, policy="open")
    told = paste(product, message("UKL1ABCD24"))
    token = told["paymentId"]
    made = product.api("brian").post("/api/payments/manual", {"channel": "cash", "reference": token, "amount": 50})
    assert made.status_code == 201, made.text
    product.work()
    decide(product, "refuse", reason="Not on the till")
    assert product.status(token)["status"] == "paid" and product.status(token).get("credentials")
    with product.inside():
        assert db.session.query(AccessGrant).one().is_open


def test_an_old_payment_that_was_reversed_stays_for_staff_to_close(product: Product) -> None:
    phone = new_phone()
    body = {"tenant": "mlima", "packageId": product.package(), "phone": phone}
    token = product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    product.callback(product.pushed(token, phone), receipt=receipt(1))
    product.work()
    later(3 * 86_400)
    reversed_by_mpesa(product, receipt(1))
    with product.app.app_context():
        jobs.close_forgotten()
        db.session.remove()
    assert product.status(token)["amountDue"] == 50 and product.status(token)["status"] != "cancelled"
    assert "Owed again" in product.browser_of("brian").get("/staff/unmatched").text


@pytest.mark.parametrize("is_query_first", [True, False])
def test_a_message_of_money_known_by_query_opens_no_second_package(product: Product, is_query_first: bool) -> None:
    phone = new_phone()
    body = {"tenant": "mlima", "packageId": product.package(), "phone": phone}
    token = product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    pushed = product.pushed(token, phone)
    code = "UKL1ABCD25"

    def query() -> None:
        with product.app.app_context(), transaction():
            push = db.session.get_one(Push, pushed.push_id)
            callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))

    def status() -> None:
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            results._receipt(gateway, code, answer(code, 50, phone))

    for word in (query, status) if is_query_first else (status, query):
        word()
    product.work()
    told = paste(product, message(code, ago_s=0), phone=phone)
    assert told["status"] == "rejected" and told["reason"] == "already_used", told
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=code, amount=50, account=pushed.reference)
    )
    product.callback(pushed, receipt=code)
    product.work()
    with product.inside():
        assert db.session.query(AccessGrant).count() == 1
        assert [one.amount_cents for one in db.session.query(Transaction)] == [5_000]
    assert product.status(token)["receipt"] == code and product.books() == []


def test_a_merge_learns_the_surplus_as_any_receipt_does(product: Product) -> None:
    _number, token = product.invoice(100)
    pushed = product.pushed(token)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, receipt(7), answer(receipt(7), 130, pushed.msisdn))
    with product.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    product.callback(pushed, receipt=receipt(7), amount=130)
    product.work()
    with product.inside():
        stands = db.session.scalars(select(Transaction).where(Transaction.merged_into_id.is_(None))).all()
        assert [(one.amount_cents, one.unallocated_cents) for one in stands] == [(13_000, 3_000)]
    assert product.books() == []


def test_a_refund_that_m_pesa_still_works_on_is_asked_about_for_ever(product: Product) -> None:
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number, receipt(1))
    one = refund_asked(product, token)[0]
    told = messages.parse_result(
        {
            "Result": {
                "ResultCode": 0, "ResultDesc": "ok", "OriginatorConversationID": "o", "ConversationID": "c",
                "TransactionID": "T",
                "ResultParameters": {"ResultParameter": [{"Key": "TransactionStatus", "Value": "Pending"}]},
            }
        }
    )  # fmt: skip
    with product.app.app_context():
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


def test_an_invoice_whose_money_was_all_sent_back_can_be_voided(product: Product) -> None:
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 40, number, receipt(1))
    from portal.clinic import invoices
    from portal.kernel.errors import Conflict

    def void() -> None:
        with product.app.app_context(), transaction():
            invoices.void(invoices.by_number(product.tenant_id(), number), why="x", actor="test")

    with pytest.raises(Conflict):
        void()
    ended(product, refund_asked(product, token)[0], "done")
    void()
    assert product.status(token)["status"] == "cancelled" and product.books() == []
