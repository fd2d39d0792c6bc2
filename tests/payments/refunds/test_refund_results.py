"""What M-Pesa says of a refund, and what it does not say: money is given up only on its word about this very refund."""

from typing import Any

import pytest

from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.payments import daraja_requests
from portal.payments.models import MpesaRequest, Payment, Refund, Transaction
from portal.payments.refunds import refunds
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import (
    HOUR_S,
    paid_by_hand,
    refund_asked,
    refund_of_unplaced_asked,
    refund_sent,
    refund_state,
    result,
    result_told,
    with_initiator,
)
from tests.support.visitors import csrf_of


@pytest.fixture
def paid(product: Product) -> tuple[Product, str]:
    """(product, paymentId) of an invoice of KES 100 that was paid by hand."""
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number, receipt(1))
    return product, token


def asked_about(product: Product, refund_id: int, body: dict[str, Any]) -> None:
    """M-Pesa is asked about it, and answers."""
    with product.app.app_context(), transaction():
        refund = refunds.lock(refund_id)
        question = daraja_requests.ask(
            db.session.get_one(Gateway, refund.gateway_id), "status", daraja_requests.Subject(refund_id=refund_id)
        )
        question.state = "sent"
        token = question.token
    result_told(product, token, body)


@pytest.mark.parametrize("code", ["1", "2", "11", "17", "20", "21", "26", "29", "2006", "2028", "SFC_IC0003"])
def test_a_code_about_our_question_says_nothing_of_the_money(paid: tuple[Product, str], code: str) -> None:
    product, token = paid
    one = refund_asked(product, token)[0]
    refund_sent(product, one, state="unknown")
    for _time in range(4):
        asked_about(product, one, result(code))
    state, failure = refund_state(product, one)
    assert state == "unknown" and code in failure
    with product.app.app_context(), transaction(), pytest.raises(Refused):
        payment_id = db.session.query(Payment).filter_by(token=token).one().id
        refunds.ask_for(payment_id, amount_cents=None, method="b2c", user_id=1, why="", actor="user:1")


def test_what_m_pesa_does_not_know_after_three_questions_never_went(paid: tuple[Product, str]) -> None:
    product, token = paid
    one = refund_asked(product, token)[0]
    refund_sent(product, one, state="unknown")
    for state in ("unknown", "unknown", "failed"):
        asked_about(product, one, result("R000002"))
        assert refund_state(product, one)[0] == state
    assert product.books() == []


@pytest.mark.parametrize("method", ["b2c", "reversal"])
def test_a_success_after_a_failure_is_heard(paid: tuple[Product, str], method: str) -> None:
    product, token = paid
    one = refund_asked(product, token, None, method)[0]
    address = refund_sent(product, one)
    result_told(product, address, result("1"))
    assert refund_state(product, one)[0] == "failed"
    result_told(product, address, result(TransactionReceipt=receipt(5), TransactionAmount=100, Amount=100))
    assert refund_state(product, one)[0] == "done"
    result_told(product, address, result("1", again=1))
    assert (
        refund_state(product, one)[0] == "done"
        and product.status(token)["status"] == "refunded"
        and product.books() == []
    )


@pytest.mark.parametrize(("method", "name"), [("b2c", "TransactionAmount"), ("reversal", "Amount")])
def test_another_amount_than_was_asked_for_is_ended_by_a_person(
    paid: tuple[Product, str], method: str, name: str
) -> None:
    product, token = paid
    one = refund_asked(product, token, 50_00, method)[0]
    result_told(product, refund_sent(product, one), result(**{name: 30, "TransactionReceipt": receipt(5)}))
    state, failure = refund_state(product, one)
    assert state == "unknown" and "KES 30" in failure
    for status in ("Completed", "Reversed", "Failed"):
        asked_about(product, one, result(TransactionStatus=status, Amount=50))
        assert refund_state(product, one)[0] == "unknown", "no answer cures a differing amount"
    asked_about(product, one, result("R000002"))
    assert refund_state(product, one)[0] == "unknown" and product.books() == []


def test_a_status_with_another_amount_is_not_this_refund(paid: tuple[Product, str]) -> None:
    product, token = paid
    one = refund_asked(product, token, 50_00)[0]
    refund_sent(product, one, state="unknown")
    asked_about(product, one, result(TransactionStatus="Completed", Amount=30, ReceiptNo=receipt(5)))
    assert refund_state(product, one)[0] == "unknown"


def test_reversed_already_ends_a_refund_of_everything_and_no_part(paid: tuple[Product, str]) -> None:
    product, token = paid
    part = refund_asked(product, token, 40_00, "reversal")[0]
    result_told(product, refund_sent(product, part), result("R000001"))
    assert refund_state(product, part)[0] == "failed"
    first = refund_asked(product, token, 40_00, "reversal")[0]
    result_told(product, refund_sent(product, first), result(Amount=40))
    assert refund_state(product, first)[0] == "done"
    with product.inside():
        assert db.session.get_one(Refund, first).receipt is None, "a filler is no receipt"
    rest = refund_asked(product, token, 60_00, "reversal")[0]
    result_told(product, refund_sent(product, rest), result("R000001"))
    assert refund_state(product, rest)[0] == "failed"
    again = refund_asked(product, token, 60_00, "reversal")[0]
    refund_sent(product, again, state="unknown")
    asked_about(product, again, result(TransactionStatus="Reversed"))
    state, failure = refund_state(product, again)
    assert state == "unknown" and "statement" in failure and product.books() == []


def test_all_of_it_reversed_already_is_refunded(paid: tuple[Product, str]) -> None:
    product, token = paid
    one = refund_asked(product, token, None, "reversal")[0]
    result_told(product, refund_sent(product, one), result("R000001"))
    assert refund_state(product, one)[0] == "done" and product.books() == []


def test_an_administrator_ends_what_m_pesa_never_tells(paid: tuple[Product, str]) -> None:
    product, token = paid
    went, never = refund_asked(product, token, 40_00)[0], refund_asked(product, token, 60_00)[0]
    for one in (went, never):
        refund_sent(product, one, state="unknown")
    browser = product.browser_of("amina")
    assert "What became of it?" not in browser.get("/staff/refunds").text
    with product.app.app_context(), transaction(), pytest.raises(Conflict):
        refunds.resolve(refunds.lock(went), went=True, receipt=receipt(5), actor="user:1")
    later(HOUR_S)
    page = browser.get("/staff/refunds").text
    assert page.count("What became of it?") == 2
    with product.inside():
        uids = [db.session.get_one(Refund, one).uid for one in (went, never)]

    def say(client: Any, uid: str, **given: str) -> str:
        given["csrf_token"] = csrf_of(client, "/staff/refunds")
        return str(client.post(f"/staff/refunds/{uid}/resolve", data=given, follow_redirects=True).text)

    assert "Enter its receipt number" in say(browser, uids[0], outcome="went", receipt="no")
    assert refund_state(product, went)[0] == "unknown"
    say(browser, uids[0], outcome="went", receipt=receipt(5).lower())
    say(browser, uids[1], outcome="never")
    assert (refund_state(product, went)[0], refund_state(product, never)[0]) == ("done", "failed")
    assert "only after an hour" in say(browser, uids[1], outcome="went", receipt=receipt(6))
    assert refund_state(product, never)[0] == "failed" and product.books() == []
    with product.inside():
        assert db.session.get_one(Refund, went).receipt == receipt(5)
        assert db.session.query(Payment).filter_by(token=token).one().refunded_cents == 40_00


def test_cents_without_a_home_stay_and_the_shillings_go_back(product: Product) -> None:
    with_initiator(product)
    paid_by_hand(product, 30.5, "nobody knows", receipt(2))  # type: ignore[arg-type]
    one = refund_of_unplaced_asked(product, receipt(2))
    with product.inside():
        assert db.session.get_one(Refund, one).amount_cents == 30_00
        assert db.session.query(Transaction).one().unallocated_cents == 50
    assert product.books() == []


def test_a_bank_account_is_not_reversed(paid: tuple[Product, str]) -> None:
    product, token = paid
    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"sub_kind": "BANK"})
    with pytest.raises(Refused, match="bank account"):
        refund_asked(product, token, None, "reversal")
    with product.inside():
        assert db.session.query(Refund).count() == db.session.query(MpesaRequest).count() == 0
