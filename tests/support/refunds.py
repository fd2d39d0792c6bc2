"""Refunds on their way, and M-Pesa's results of them."""

from typing import Any

from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.models import Payment, Refund, Transaction
from portal.payments.refunds import refunds
from tests.support.daraja import c2b_body
from tests.support.product import Product


def refund_of(product: Product, uid: str) -> dict[str, Any]:
    return product.api("amina").get(f"/api/refunds/{uid}").json


def paid_by_hand(product: Product, amount: int, number: str, code: str) -> None:
    body = c2b_body(receipt=code, amount=amount, account=number, msisdn="254712345678")
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()


def with_initiator(product: Product) -> None:
    with product.app.app_context(), transaction():
        for gateway in db.session.query(Gateway):
            gateway.initiator_name = "api"
            gateway.keep_secret("security_credential", "ready-made")


def payment_id_of(product: Product, token: str) -> int:
    with product.inside():
        return db.session.query(Payment.id).filter_by(token=token).scalar()


def refund_asked(product: Product, token: str, cents: int | None = None, method: str = "b2c") -> list[int]:
    """Refunds of a payment, asked for."""
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        made = refunds.ask_for(payment.id, amount_cents=cents, method=method, user_id=1, why="", actor="user:1")
        return [one.id for one in made]


def refund_of_unplaced_asked(product: Product, code: str) -> int:
    """A refund of money without a home, asked for."""
    with product.app.app_context(), transaction():
        booked = db.session.query(Transaction).filter_by(receipt=code).one()
        return refunds.ask_for_unplaced(booked, method="b2c", user_id=1, why="", actor="user:1").id


HOUR_S = 3_601


def result(code: str = "0", **parameters: Any) -> dict[str, Any]:
    """A Result as M-Pesa posts it."""
    items = [{"Key": name, "Value": value} for name, value in parameters.items()]
    return {
        "Result": {
            "ResultType": 0, "ResultCode": code, "ResultDesc": "so it is", "OriginatorConversationID": "o",
            "ConversationID": "c", "TransactionID": "UKL0000000", "ResultParameters": {"ResultParameter": items},
        }
    }  # fmt: skip


def refund_sent(product: Product, refund_id: int, *, state: str = "sent") -> str:
    """The refund is on its way; the token of its request."""
    with product.app.app_context(), transaction():
        request = refunds.begin(refund_id)
        assert request is not None
        db.session.get_one(Refund, refund_id).state = state
        request.state = "sent"
        return request.token


def result_told(product: Product, token: str, body: dict[str, Any]) -> None:
    answer = product.client().post(f"{product.hook()}/result/{token}", json=body)
    assert answer.status_code == 200
    product.settle()


def refund_state(product: Product, refund_id: int) -> tuple[str, str]:
    with product.inside():
        refund = db.session.get_one(Refund, refund_id)
        return refund.state, refund.failure
