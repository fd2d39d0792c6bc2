"""Refunds on M-Pesa's statement: what it shows is how they ended, and what it lacks is flagged."""

import pytest

from portal.kernel.db import db
from portal.payments.models import Refund
from tests.support.business import House
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.refunds import refund_asked, refund_sent, refund_state, result, result_told, with_initiator
from tests.support.statements import CHARGE, PAY, PAYOUT, REVERSAL, ago, counted, rows, run

PHONE = "254711000126"  # as the statements of these tests show their other party: 25471****126


@pytest.fixture
def paid(house: House) -> tuple[House, str]:
    """(house, paymentId) of an invoice of KES 100 that this phone paid."""
    with_initiator(house)
    _number, token = house.invoice(100)
    house.callback(house.pushed(token, PHONE), receipt=receipt(1))
    house.settle()
    return house, token


def paid_line(house: House) -> tuple[str, object, str, int, str, str]:
    return receipt(1), ago(1), PAY, 10_000, "", ""


def around(*lines: object) -> list[object]:
    """The lines between two rows that make the statement's time long enough."""
    return [(receipt(90), ago(60), CHARGE, -1, "", ""), *lines, (receipt(91), ago(-30), CHARGE, -1, "", "")]


@pytest.mark.parametrize("state", ["sending", "sent", "unknown"])
def test_a_pay_out_on_the_statement_ends_the_refund_that_m_pesa_never_told_of(
    paid: tuple[House, str], state: str
) -> None:
    house, token = paid
    one = refund_asked(house, token, 40_00)[0]
    address = refund_sent(house, one, state=state)
    counts = run(house, around(paid_line(house), (receipt(5), ago(0), PAYOUT, -4_000, "", "")))  # type: ignore[arg-type]
    assert counts == counted(matched=2, internal=2) and refund_state(house, one)[0] == "done"
    with house.inside():
        assert db.session.get_one(Refund, one).receipt == receipt(5)
    result_told(house, address, result(TransactionReceipt=receipt(5), TransactionAmount=40))
    assert refund_state(house, one)[0] == "done" and house.books() == []


def test_two_refunds_that_one_pay_out_may_be_are_left_to_people(paid: tuple[House, str]) -> None:
    house, token = paid
    both = [refund_asked(house, token, 40_00)[0] for _time in range(2)]
    for one in both:
        refund_sent(house, one, state="unknown")
    counts = run(house, around(paid_line(house), (receipt(5), ago(0), PAYOUT, -4_000, "", "")))  # type: ignore[arg-type]
    assert counts == counted(matched=1, different=1, internal=2)
    assert {refund_state(house, one)[0] for one in both} == {"unknown"} and house.books() == []


def test_a_refund_that_failed_here_and_went_out_there_is_flagged(paid: tuple[House, str]) -> None:
    house, token = paid
    one = refund_asked(house, token, 40_00)[0]
    result_told(house, refund_sent(house, one), result("1"))
    counts = run(house, around(paid_line(house), (receipt(5), ago(0), PAYOUT, -4_000, "", "")))  # type: ignore[arg-type]
    assert counts == counted(matched=1, different=1, internal=2)
    assert "failed here" in rows(house, "different")[0].why and house.books() == []


def test_our_reversal_on_the_statement_ends_the_refund(paid: tuple[House, str]) -> None:
    house, token = paid
    one = refund_asked(house, token, None, "reversal")[0]
    refund_sent(house, one, state="unknown")
    reversal = (receipt(5), ago(0), REVERSAL, -10_000, "", receipt(1))
    assert run(house, around(paid_line(house), reversal)) == counted(matched=2, internal=2)  # type: ignore[arg-type]
    assert refund_state(house, one)[0] == "done" and house.status(token)["status"] == "refunded" and house.books() == []


@pytest.mark.parametrize("method", ["b2c", "reversal"])
def test_a_refund_that_the_statement_lacks_is_flagged(paid: tuple[House, str], method: str) -> None:
    house, token = paid
    one = refund_asked(house, token, None, method)[0]
    result_told(
        house, refund_sent(house, one), result(TransactionReceipt=receipt(5), TransactionAmount=100, Amount=100)
    )
    later(3_600)
    other = (receipt(7), ago(1), REVERSAL, -500, "", receipt(8))
    counts = run(house, around((receipt(1), ago(61), PAY, 10_000, "", ""), other))  # type: ignore[arg-type]
    flagged = [row for row in rows(house, "missing_there") if row.receipt]
    assert counts["missing_there"] == len(flagged) == 1 and "refund went out" in flagged[0].why
    assert refund_state(house, one)[0] == "done" and house.books() == []
