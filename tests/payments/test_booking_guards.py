"""Second guards of money: each refuses by itself, though another stands before it."""

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from portal.gateways import result_codes
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.ledger import post
from portal.payments import booking
from portal.payments.models import MpesaRequest, Payment, Push, Refund, Transaction
from portal.payments.payment import lock_payment
from portal.payments.refunds import refunds
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, with_initiator


@pytest.fixture
def approved(product: Product) -> int:
    """The id of an approved refund of KES 400 of 1,000."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 400})
    assert answer.status_code == 200, answer.text
    with product.inside():
        return db.session.query(Refund.id).scalar()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "standing",
    [
        {"state": "requested", "next_at": None},
        {"state": "approved", "next_at": None},
        {"state": "sent"},
        {"state": "unknown"},
        {"state": "done", "next_at": None},
    ],
)
def test_only_an_approved_refund_whose_turn_it_is_is_begun(
    product: Product, approved: int, standing: dict[str, Any]
) -> None:
    """tests.md, refunds.py:307: a job that was rung late, or by hand, sends nothing."""
    with product.app.app_context():
        with transaction():
            db.session.execute(update(Refund).values(**standing))
        with transaction():
            assert refunds.begin(approved) is None
        assert db.session.query(MpesaRequest).count() == 0
        one = db.session.query(Refund).one()
        assert one.state == standing["state"]


def test_a_refund_is_begun_by_one_of_two_workers(product: Product, approved: int) -> None:
    """tests.md, refunds.py:307: the second worker finds it begun."""
    with product.app.app_context():
        begun = []
        for _worker in range(2):
            with transaction():
                begun.append(refunds.begin(approved) is not None)
        assert begun == [True, False]
        assert db.session.query(MpesaRequest).one().state == "created"


def test_what_was_booked_before_is_locked(either_product: Product) -> None:
    """tests.md, money_in.py:98: nobody else changes this money while it is being told of again."""
    product = either_product
    _number, token = product.invoice(500)
    pushed = product.pushed(token)
    product.callback(pushed, receipt=receipt(1))
    product.settle()
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        push = db.session.get_one(Push, pushed.push_id)
        known, answered = booking.existing_bookings(gateway, receipt(1), push)
        assert known is not None and known is answered
        if db.engine.dialect.name == "sqlite":  # where one writer is all there is, the whole database is locked
            assert db.session.connection().connection.in_transaction  # type: ignore[attr-defined]
            return
        with db.engine.connect() as another:
            free = select(Transaction.id).with_for_update(skip_locked=True)
            assert another.execute(free).all() == []


def test_only_what_money_gave_is_taken_off_and_nothing_that_is_paid(product: Product) -> None:
    """tests.md, money_in.py:309."""
    number, token = product.invoice(1_000)
    _other, unpaid = product.invoice(1_000)
    paid_by_hand(product, 400, number, receipt(1))

    def take(of: str, cents: int) -> None:
        with product.app.app_context(), transaction():
            payment = lock_payment(db.session.query(Payment).filter_by(token=of).one().id)
            booked = db.session.query(Transaction).filter_by(receipt=receipt(1)).one()
            booking.take_off(booked, payment, cents, actor="test")

    for of, cents in ((token, 0), (token, -1), (token, 40_001), (unpaid, 100)):
        with pytest.raises(Conflict):
            take(of, cents)
    take(token, 10_000)
    assert product.status(token)["amountDue"] == 700 and product.books() == []
    paid_by_hand(product, 700, number, receipt(2))
    with pytest.raises(Conflict):
        take(token, 10_000)
    assert product.status(token)["status"] == "paid" and product.books() == []


@pytest.mark.parametrize("allocated_cents", [100_001, -1])
def test_the_database_itself_refuses_what_is_overpaid(either_product: Product, allocated_cents: int) -> None:
    """tests.md, the check never_overpaid, on both databases."""
    _number, token = either_product.invoice(1_000)
    with (
        either_product.app.app_context(),
        pytest.raises(IntegrityError, match="never_overpaid"),
        transaction(),
    ):
        db.session.execute(update(Payment).where(Payment.token == token).values(allocated_cents=allocated_cents))


def test_a_journal_that_does_not_sum_to_zero_is_not_posted(product: Product) -> None:
    """tests.md, ledger/post.py:51: one by one, and many at once."""
    tenant_id = product.tenant_id()
    crooked = {post.CLEARING: 100, post.SUSPENSE: -99}
    with product.app.app_context():
        with pytest.raises(post.Unbalanced), transaction():
            post.post(tenant_id, "sandbox", "money_in", "x", occurred_at=clock.now(), lines=crooked)
        with pytest.raises(post.Unbalanced), transaction():
            good = post.Posting("money_in", "y", clock.now(), {post.CLEARING: 1, post.SUSPENSE: -1})
            post.post_all(tenant_id, "sandbox", [good, post.Posting("money_in", "x", clock.now(), crooked)])
        assert post.balance(tenant_id, "sandbox", post.CLEARING) == 0
    assert product.books() == []


@pytest.mark.parametrize("code", ["8", "2040"])
def test_staff_are_told_what_they_can_do_with_a_refund_that_cannot_arrive(code: str) -> None:
    """coverage.md P-10: a refund goes to who paid, so no other number is asked for."""
    assert "Reverse the payment, or keep it as credit." in result_codes.explain_b2c(code).for_staff
