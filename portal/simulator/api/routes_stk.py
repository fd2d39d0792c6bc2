"""The doors of M-PESA Express: a prompt on a phone, and the question how it ended."""

import base64
import binascii
import json
import re
import sqlite3
import time
from dataclasses import dataclass
from datetime import timedelta

from flask import Blueprint, Response

from portal.kernel import clock
from portal.simulator.api import faults, validation
from portal.simulator.api.router import Answer, Call, DarajaError, door, html_answer, invalid
from portal.simulator.engine import behaviours, organisations, prompts
from portal.simulator.engine.behaviours import Behaviour

TYPES = ("CustomerPayBillOnline", "CustomerBuyGoodsOnline")
HANG_S = 35.0
# Documented as 12 and 13; Safaricom's sandbox was seen to take 15, so a little more is let through unless strict.
MAX_REFERENCE, STRICT_REFERENCE, STRICT_DESCRIPTION = 20, 12, 13
STRICT_AGE = timedelta(days=1)  # a Timestamp is the time of the request
MISPAID = "mispaid"
SUBSCRIBER_LOCKED = "Unable to lock subscriber, a transaction is already in process for the current subscriber"
_TIMESTAMP = re.compile(r"\d{14}", re.ASCII)
blueprint = Blueprint("stk", __name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A push whose fields are all well formed."""

    kind: str
    shillings: int
    payee_number: str
    msisdn: str
    callback_url: str
    reference: str
    description: str


@door(blueprint, "/mpesa/stkpush/v1/processrequest", name="stkpush", token_family="404.001.03")
def push(call: Call) -> Answer:
    """Ring a phone."""
    store = call.store
    number = validation.shortcode(call.body.get("BusinessShortCode"))
    if number is None:
        raise invalid("BusinessShortCode")
    timestamp = _timestamp(call)
    asked = _read_push(call)
    organisation = _merchant(call, number, timestamp)
    behaviour = _of_parties(call, organisation, asked) or behaviours.of_phone(store, asked.msisdn)
    if faults.take(store, "callbackBeforeAnswer", shortcodes=organisations.numbers_of(organisation)):
        behaviour = behaviours.BEHAVIOURS["09"]
    if behaviour.door == "busy":
        raise DarajaError(500, "500.003.02", "System is busy. Please try again in few minutes.")
    made = None
    if behaviour.door != "locked":
        made = prompts.ring(
            store,
            organisation=organisation,
            receiver=organisation if behaviour.name == MISPAID else _receiver(call, organisation, asked),
            kind=asked.kind,
            msisdn=asked.msisdn,
            amount_cents=asked.shillings * 100,
            reference=asked.reference,
            description=asked.description,
            callback_url=asked.callback_url,
            behaviour=behaviour,
        )
    if made is None:
        raise DarajaError(500, "500.001.1001", SUBSCRIBER_LOCKED)
    return _answer(made, behaviour)


def _read_push(call: Call) -> _Asked:
    """The fields in order; the first bad one is named. Daraja calls a missing TransactionDesc Remarks."""
    body, is_strict = call.body, bool(call.store.setting("strict", False))
    reference, description = call.text("AccountReference"), call.text("TransactionDesc")
    kind, most_reference = call.text("TransactionType"), STRICT_REFERENCE if is_strict else MAX_REFERENCE
    found = {
        "TransactionType": kind if kind in TYPES else None,
        "Amount": validation.whole_shillings(body.get("Amount")),
        "PartyA": validation.msisdn(body.get("PartyA")),
        "PartyB": validation.shortcode(body.get("PartyB")),
        "PhoneNumber": validation.msisdn(body.get("PhoneNumber")),
        "CallBackURL": validation.callback_url(body.get("CallBackURL"), is_strict=is_strict),
        "AccountReference": reference if 1 <= len(reference) <= most_reference else None,
        "Remarks": None if is_strict and len(description) > STRICT_DESCRIPTION else description or None,
    }
    for field, value in found.items():
        if value is None:
            raise invalid(field)
    return _Asked(
        kind=kind,
        shillings=int(found["Amount"] or 0),
        payee_number=str(found["PartyB"]),
        msisdn=str(found["PhoneNumber"]),
        callback_url=str(found["CallBackURL"]),
        reference=reference,
        description=description,
    )


@door(blueprint, "/mpesa/stkpushquery/v1/query", name="stkquery", token_family="404.001.03")
def query(call: Call) -> Answer:
    """How a push ended. No receipt, amount or phone is told here."""
    number = validation.shortcode(call.body.get("BusinessShortCode"))
    if number is None:
        raise invalid("BusinessShortCode")
    organisation = _merchant(call, number, _timestamp(call))
    row = call.store.one(
        "SELECT * FROM pushes WHERE checkout_request_id = ? AND organisation_id = ?",
        call.text("CheckoutRequestID"),
        organisation["id"],
    )
    if row is None:
        raise invalid("CheckoutRequestID")
    code, description = row["result_code"], row["result_desc"]
    if row["state"] == "ringing":
        if Behaviour(**json.loads(row["behaviour"])).door != "underProcessing":
            raise DarajaError(500, "500.001.1001", "The transaction is being processed")
        code, description = "4999", "The transaction is still under processing"
    return {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successsfully",
        "MerchantRequestID": row["merchant_request_id"],
        "CheckoutRequestID": row["checkout_request_id"],
        "ResultCode": code,
        "ResultDesc": description,
    }


def _timestamp(call: Call) -> str:
    timestamp = call.text("Timestamp")
    at = clock.parse_daraja_timestamp(timestamp) if _TIMESTAMP.fullmatch(timestamp) else None
    is_old = at is not None and abs(call.store.now() - at) > STRICT_AGE and call.store.setting("strict", False)
    if at is None or is_old:
        raise invalid("Timestamp")
    return timestamp


def _merchant(call: Call, number: str, timestamp: str) -> sqlite3.Row:
    """The organisation behind BusinessShortCode, whose password this is."""
    organisation = organisations.live_on_daraja(call.store, number, consumer_key=call.consumer_key)
    if organisation is None:
        raise DarajaError(500, "500.001.1001", "Merchant does not exist")
    try:
        password = base64.b64decode(call.text("Password"), validate=True)
    except (binascii.Error, ValueError):
        password = b""
    if password != f"{number}{organisation['passkey']}{timestamp}".encode():
        raise DarajaError(500, "500.001.1001", "Wrong credentials")
    return organisation


def _of_parties(call: Call, organisation: sqlite3.Row, asked: _Asked) -> Behaviour | None:
    """Strict: a paybill asks for itself alone. Another's number is refused by callback, as Safaricom documents."""
    if (
        not call.store.setting("strict", False)
        or asked.kind != "CustomerPayBillOnline"
        or asked.payee_number in organisations.numbers_of(organisation)
    ):
        return None
    code = "2028" if organisations.payee(call.store, asked.payee_number) is not None else "SFC_IC0003"
    return Behaviour(MISPAID, f"the receiving number is not the asking one's ({code})", code, 0.5)


def _receiver(call: Call, organisation: sqlite3.Row, asked: _Asked) -> sqlite3.Row:
    number, kind = asked.payee_number, asked.kind
    if number in organisations.numbers_of(organisation) and (
        organisation["kind"] != "BUYGOODS" or number == organisation["till"]
    ):
        return organisation
    known = organisations.payee(call.store, number)
    if known is not None:
        return known
    if kind == "CustomerBuyGoodsOnline":
        raise invalid("PartyB")
    return organisations.open_or_update(call.store, organisations.OrganisationSpec("", number, "BANK"))


def _answer(made: sqlite3.Row, behaviour: Behaviour) -> Answer:
    if behaviour.callback == "first":
        time.sleep(1)
    if behaviour.door == "html500":
        return html_answer(500)
    if behaviour.door == "hang":
        time.sleep(HANG_S)
        return Response("<html><body>504 Gateway Time-out</body></html>", status=504, mimetype="text/html")
    return {
        "MerchantRequestID": made["merchant_request_id"],
        "CheckoutRequestID": made["checkout_request_id"],
        "ResponseCode": "0",
        "ResponseDescription": "Success. Request accepted for processing",
        "CustomerMessage": "Success. Request accepted for processing",
    }
