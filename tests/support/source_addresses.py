"""Callbacks from Safaricom's addresses and from anybody's."""

from dataclasses import replace
from typing import Any

from portal.gateways.daraja import StkAnswer
from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.inbox import inbox
from portal.payments.models import Payment
from portal.payments.stk import queries
from tests.support.business import House
from tests.support.daraja import Pushed, stk_body

SAFARICOM, ANYBODY = "196.201.214.200", "203.0.113.9"


def in_production(house: House) -> None:
    """Real money, and Safaricom's addresses listed; what was asked for already is real too."""
    house.app.config["PORTAL"] = replace(house.app.config["PORTAL"], callback_addresses=(SAFARICOM,))
    with house.app.app_context(), transaction():
        for owner in (Gateway, Payment):
            db.session.query(owner).update({"environment": "production"})
    inbox.forget_doors()


def called_back(house: House, pushed: Pushed, address: str, **said: Any) -> None:
    """A callback of this prompt from an address."""
    path, body = f"{house.hook()}/stk/{pushed.token}", stk_body(pushed, **said)
    assert house.client().post(path, json=body, environ_base={"REMOTE_ADDR": address}).status_code == 200
    house.settle()


def query_says(house: House, pushed: Pushed, code: str) -> None:
    state = "paid" if code == "0" else "failed"
    with house.app.app_context(), transaction():
        queries.take_answer(pushed.push_id, StkAnswer(state=state, result_code=code, result_desc="said"))  # type: ignore[arg-type]
