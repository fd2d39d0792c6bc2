"""What a question to M-Pesa is about: one thing, of the kind that it asks for, and never two of them."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import MpesaRequest, Refund, Transaction
from tests.support.daraja import receipt
from tests.support.product import Product


def written_down(product: Product) -> dict[str, Any]:
    """(ids of a refund and of a push, a receipt) that a question could be about, by the columns' names."""
    push = product.pushed(product.invoice(500)[1])
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        whose = {"tenant_id": gateway.tenant_id, "gateway_id": gateway.id, "environment": "sandbox"}
        paid = Transaction(
            **whose, receipt=receipt(1), channel="c2b", amount_cents=500, unallocated_cents=500, occurred_at=clock.now()
        )
        db.session.add(paid)
        db.session.flush()
        back = Refund(**whose, transaction_id=paid.id, method="b2c", amount_cents=500, requested_by_id=1)
        db.session.add(back)
        db.session.flush()
        return {"refund_id": back.id, "push_id": push.push_id, "receipt": receipt(2)}


def insert(kind: str, **about: Any) -> None:
    with transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        db.session.add(MpesaRequest(tenant_id=gateway.tenant_id, gateway_id=gateway.id, kind=kind, **about))


def test_a_question_is_about_the_one_thing_that_its_kind_asks_for(either_product: Product) -> None:
    product = either_product
    things = written_down(product)
    fitting = [
        ("b2c", ["refund_id"]), ("status", ["refund_id"]), ("status", ["push_id"]), ("status", ["receipt"]),
        ("balance", []),
    ]  # fmt: skip
    wrong = [
        ("b2c", []), ("reversal", []), ("status", []), ("b2c", ["push_id"]), ("reversal", ["receipt"]),
        ("balance", ["refund_id"]), ("balance", ["receipt"]), ("status", ["refund_id", "receipt"]),
        ("status", ["push_id", "receipt"]), ("b2c", ["refund_id", "push_id"]), ("other", ["receipt"]),
    ]  # fmt: skip
    with product.app.app_context():
        for kind, about in wrong:
            with pytest.raises(IntegrityError):
                insert(kind, **{name: things[name] for name in about})
        for kind, about in fitting:
            insert(kind, **{name: things[name] for name in about})
        assert db.session.query(MpesaRequest).count() == 5


def test_one_request_moves_a_refunds_money(either_product: Product) -> None:
    """A second one, with another conversation id, M-Pesa would pay out again."""
    refund_id = written_down(either_product)["refund_id"]
    with either_product.app.app_context():
        insert("b2c", refund_id=refund_id, originator_conversation_id="o-1")
        with pytest.raises(IntegrityError):
            insert("b2c", refund_id=refund_id, originator_conversation_id="o-2")
        with pytest.raises(IntegrityError):
            insert("reversal", refund_id=refund_id)
        insert("status", refund_id=refund_id)
        insert("status", refund_id=refund_id)


def test_a_question_about_a_refund_that_is_none_cannot_be_written(either_product: Product) -> None:
    with either_product.app.app_context(), pytest.raises(IntegrityError):
        insert("b2c", refund_id=4_711)
