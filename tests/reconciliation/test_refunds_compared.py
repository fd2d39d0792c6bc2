"""Refunds on M-Pesa's statement: what it shows is how they ended, and what it lacks is flagged."""

import pytest

from portal.kernel.db import db
from portal.payments.models import Refund
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import refund_asked, refund_sent, refund_state, result, result_told, with_initiator
from tests.support.statements import CHARGE, PAY, PAYOUT, REVERSAL, ago, counted, rows, run

PHONE = "254711000126"  # as the statements of these tests show their other party: 25471****126


@pytest.fixture
def paid(product: Product) -> tuple[Product, str]:
    """(product, paymentId) of an invoice of KES 100 that this phone paid."""
    with_initiator(product)
    _number, token = product.invoice(100)
    product.callback(product.pushed(token, PHONE), receipt=receipt(1))
    product.settle()
    return product, token


def paid_line(product: Product) -> tuple[str, object, str, int, str, str]:
    return receipt(1), ago(1), PAY, 10_000, "", ""


def around(*lines: object) -> list[object]:
    """The lines between two rows that make the statement's time long enough."""
    return [(receipt(90), ago(60), CHARGE, -1, "", ""), *lines, (receipt(91), ago(-30), CHARGE, -1, "", "")]


@pytest.mark.parametrize("state", ["sending", "sent", "unknown"])
def test_a_pay_out_on_the_statement_ends_the_refund_that_m_pesa_never_told_of(
    paid: tuple[Product, str], state: str
) -> None:
    product, token = paid
    one = refund_asked(product, token, 40_00)[0]
    address = refund_sent(product, one, state=state)
    counts = run(product, around(paid_line(product), (receipt(5), ago(0), PAYOUT, -4_000, "", "")))  # type: ignore[arg-type]
    assert counts == counted(matched=2, internal=2) and refund_state(product, one)[0] == "done"
    with product.inside():
        assert db.session.get_one(Refund, one).receipt == receipt(5)
    result_told(product, address, result(TransactionReceipt=receipt(5), TransactionAmount=40))
    assert refund_state(product, one)[0] == "done" and product.books() == []


def test_two_refunds_that_one_pay_out_may_be_are_left_to_people(paid: tuple[Product, str]) -> None:
    product, token = paid
    both = [refund_asked(product, token, 40_00)[0] for _time in range(2)]
    for one in both:
        refund_sent(product, one, state="unknown")
    counts = run(product, around(paid_line(product), (receipt(5), ago(0), PAYOUT, -4_000, "", "")))  # type: ignore[arg-type]
    assert counts == counted(matched=1, different=1, internal=2)
    assert {refund_state(product, one)[0] for one in both} == {"unknown"} and product.books() == []


def test_a_refund_that_failed_here_and_went_out_there_is_flagged(paid: tuple[Product, str]) -> None:
    product, token = paid
    one = refund_asked(product, token, 40_00)[0]
    result_told(product, refund_sent(product, one), result("1"))
    counts = run(product, around(paid_line(product), (receipt(5), ago(0), PAYOUT, -4_000, "", "")))  # type: ignore[arg-type]
    assert counts == counted(matched=1, different=1, internal=2)
    assert "failed here" in rows(product, "different")[0].why and product.books() == []


def test_our_reversal_on_the_statement_ends_the_refund(paid: tuple[Product, str]) -> None:
    product, token = paid
    one = refund_asked(product, token, None, "reversal")[0]
    refund_sent(product, one, state="unknown")
    reversal = (receipt(5), ago(0), REVERSAL, -10_000, "", receipt(1))
    assert run(product, around(paid_line(product), reversal)) == counted(matched=2, internal=2)  # type: ignore[arg-type]
    assert (
        refund_state(product, one)[0] == "done"
        and product.status(token)["status"] == "refunded"
        and product.books() == []
    )


@pytest.mark.parametrize("method", ["b2c", "reversal"])
def test_a_refund_that_the_statement_lacks_is_flagged(paid: tuple[Product, str], method: str) -> None:
    product, token = paid
    one = refund_asked(product, token, None, method)[0]
    result_told(
        product, refund_sent(product, one), result(TransactionReceipt=receipt(5), TransactionAmount=100, Amount=100)
    )
    later(3_600)
    other = (receipt(7), ago(1), REVERSAL, -500, "", receipt(8))
    counts = run(product, around((receipt(1), ago(61), PAY, 10_000, "", ""), other))  # type: ignore[arg-type]
    flagged = [row for row in rows(product, "missing_there") if row.receipt]
    assert counts["missing_there"] == len(flagged) == 1 and "refund went out" in flagged[0].why
    assert refund_state(product, one)[0] == "done" and product.books() == []
