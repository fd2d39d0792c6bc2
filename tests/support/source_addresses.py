"""Callbacks from Safaricom's addresses and from anybody's."""

from dataclasses import replace
from typing import Any

from portal.gateways.daraja import StkAnswer
from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.inbox import inbox
from portal.payments.models import Payment
from portal.payments.stk import queries
from tests.support.daraja import Pushed, stk_body
from tests.support.product import Product

SAFARICOM, ANYBODY = "196.201.214.200", "203.0.113.9"


def in_production(product: Product) -> None:
    """Real money, and Safaricom's addresses listed; what was asked for already is real too."""
    product.app.config["PORTAL"] = replace(product.app.config["PORTAL"], callback_addresses=(SAFARICOM,))
    with product.app.app_context(), transaction():
        for owner in (Gateway, Payment):
            db.session.query(owner).update({"environment": "production"})
    inbox.forget_doors()


def called_back(product: Product, pushed: Pushed, address: str, **said: Any) -> None:
    """A callback of this prompt from an address."""
    path, body = f"{product.hook()}/stk/{pushed.token}", stk_body(pushed, **said)
    assert product.client().post(path, json=body, environ_base={"REMOTE_ADDR": address}).status_code == 200
    product.settle()


def query_says(product: Product, pushed: Pushed, code: str) -> None:
    state = "paid" if code == "0" else "failed"
    with product.app.app_context(), transaction():
        queries.take_answer(pushed.push_id, StkAnswer(state=state, result_code=code, result_desc="said"))  # type: ignore[arg-type]
