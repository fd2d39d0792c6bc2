"""The doors whose answer comes later: B2C, reversal, transaction status, account balance."""

import hmac
import json
import sqlite3
from typing import Any

from flask import Blueprint, current_app, request

from portal.simulator.api import validation
from portal.simulator.api.router import Answer, Call, DarajaError, ack, door, invalid
from portal.simulator.engine import organisations, receipts

RESULT_AFTER_S = 0.5
LOCKED_AFTER = 3
blueprint = Blueprint("requests", __name__)


@door(
    blueprint,
    "/mpesa/b2c/v1/paymentrequest",
    "/mpesa/b2c/v3/paymentrequest",
    name="b2c",
    token_family="401.002.01",
)
def pay_out(call: Call) -> Answer:
    """Money from an organisation to a phone. Version 3 takes the caller's own id and refuses it twice."""
    originator_id = receipts.request_id()
    if "/v3/" in request.path:
        originator_id = call.text("OriginatorConversationID")
        if not 1 <= len(originator_id) <= 100:
            raise invalid("OriginatorConversationID")
    _need_initiator(call, "InitiatorName")
    if call.text("CommandID") not in ("BusinessPayment", "SalaryPayment", "PromotionPayment"):
        raise invalid("CommandID")
    shillings = validation.whole_shillings(call.body.get("Amount"), most=None)
    if shillings is None:
        raise invalid("Amount")
    payer = _own_organisation(call, "PartyA")
    msisdn = validation.msisdn(call.body.get("PartyB"))
    if msisdn is None:
        raise invalid("PartyB")
    _need_remarks(call)
    details = {"msisdn": msisdn, "amount_cents": shillings * 100}
    return _queue(call, "b2c", payer, "InitiatorName", originator_id, details, is_unique=True)


@door(blueprint, "/mpesa/reversal/v1/request", name="reversal", token_family="400.003.01")
def reverse(call: Call) -> Answer:
    """Money of a collection back to its payer. `RecieverIdentifierType` is Daraja's spelling."""
    _need_initiator(call, "Initiator")
    if call.text("CommandID") != "TransactionReversal":
        raise invalid("CommandID")
    if not call.text("TransactionID"):
        raise invalid("TransactionID")
    if call.text("RecieverIdentifierType") != "11":
        raise invalid("RecieverIdentifierType")
    shillings = validation.whole_shillings(call.body.get("Amount"))
    if shillings is None:
        raise invalid("Amount")
    owner = _own_organisation(call, "ReceiverParty")
    _need_remarks(call)
    details = {"receipt": call.text("TransactionID").upper(), "amount_cents": shillings * 100}
    return _queue(call, "reversal", owner, "Initiator", receipts.request_id(), details)


@door(blueprint, "/mpesa/transactionstatus/v1/query", name="status", token_family="400.003.01")
def transaction_status(call: Call) -> Answer:
    """What became of a receipt, or of a request by its OriginatorConversationID (two spellings are known)."""
    _need_initiator(call, "Initiator")
    if call.text("CommandID") != "TransactionStatusQuery":
        raise invalid("CommandID")
    receipt = call.text("TransactionID").upper()
    looked_for = call.text("OriginatorConversationID") or call.text("OriginalConversationID")
    if not receipt and not looked_for:
        raise invalid("TransactionID")
    if call.text("IdentifierType") not in ("1", "2", "4"):
        raise invalid("IdentifierType")
    owner = _own_organisation(call, "PartyA")
    details = {"receipt": receipt, "looked_for": looked_for}
    return _queue(call, "status", owner, "Initiator", receipts.request_id(), details)


@door(blueprint, "/mpesa/accountbalance/v1/query", name="balance", token_family="401.002.01")
def account_balance(call: Call) -> Answer:
    """What is in an organisation's accounts."""
    _need_initiator(call, "Initiator")
    if call.text("CommandID") != "AccountBalance":
        raise invalid("CommandID")
    if call.text("IdentifierType") not in ("1", "2", "4"):
        raise invalid("IdentifierType")
    return _queue(call, "balance", _own_organisation(call, "PartyA"), "Initiator", receipts.request_id(), {})


def _need_initiator(call: Call, field: str) -> None:
    if not call.text(field):
        raise invalid(field)
    if not call.text("SecurityCredential"):
        raise invalid("SecurityCredential")


def _need_remarks(call: Call) -> None:
    if not 2 <= len(call.text("Remarks")) <= 100:
        raise invalid("Remarks")


def _own_organisation(call: Call, field: str) -> sqlite3.Row:
    number = validation.shortcode(call.body.get(field))
    owner = organisations.owned(call.store, number, consumer_key=call.consumer_key) if number else None
    if owner is None:
        raise invalid(field)
    return owner


def _queue(
    call: Call,
    kind: str,
    organisation: sqlite3.Row,
    initiator_field: str,
    originator_id: str,
    details: dict[str, Any],
    *,
    is_unique: bool = False,
) -> Answer:
    store = call.store
    is_strict = bool(store.setting("strict", False))
    urls = {}
    for field in ("QueueTimeOutURL", "ResultURL"):
        url = validation.callback_url(call.body.get(field), is_strict=is_strict)
        if url is None:
            raise invalid(field)
        urls[field] = url
    conversation_id = receipts.conversation_id(store.now())
    with store.transaction():
        if is_unique and store.one(
            "SELECT 1 FROM requests WHERE originator_conversation_id = ? AND organisation_id = ? AND kind = ?",
            originator_id,
            organisation["id"],
            kind,
        ):
            raise DarajaError(500, "500.002.1001", "Duplicate OriginatorConversationID.")
        # The credential is opened now and forgotten; only the verdict is kept until the result is due.
        verdict = _check_initiator(call, organisation, call.text(initiator_field))
        request_id = store.insert(
            "requests",
            kind=kind,
            organisation_id=organisation["id"],
            conversation_id=conversation_id,
            originator_conversation_id=originator_id,
            body=json.dumps(
                details | urls | {"verdict": verdict, "occasion": call.text("Occasion") or call.text("Occassion")}
            ),
            at=store.timestamp(),
        )
        store.add_job("settle", {"request_id": request_id}, after_s=RESULT_AFTER_S)
    return ack(conversation_id=conversation_id, originator_id=originator_id)


def _check_initiator(call: Call, organisation: sqlite3.Row, name: str) -> str:
    """`0`, `2001` where name or password are wrong, `8006` from the third wrong one in a row on."""
    store = call.store
    failures = store.must("SELECT initiator_failures FROM organisations WHERE id = ?", organisation["id"])[0]
    if failures >= LOCKED_AFTER:
        return "8006"
    password = current_app.extensions["simulator"].certificate.open_credential(call.text("SecurityCredential"))
    is_right = (
        password is not None
        and hmac.compare_digest(password.encode(), organisation["initiator_password"].encode())
        and name == organisation["initiator_name"]
    )
    failures = 0 if is_right else failures + 1
    store.run("UPDATE organisations SET initiator_failures = ? WHERE id = ?", failures, organisation["id"])
    if is_right:
        return "0"
    return "8006" if failures >= LOCKED_AFTER else "2001"
