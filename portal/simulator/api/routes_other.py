"""The doors that answer at once: QR code, pull of past transactions, the certificate, health."""

import base64
import io
from datetime import datetime

import segno
from flask import Blueprint, Response, current_app, jsonify

from portal.kernel import clock
from portal.simulator.api import validation
from portal.simulator.api.router import Answer, Call, door, invalid
from portal.simulator.engine import organisations, receipts
from portal.simulator.engine.callbacks import two_decimals
from portal.simulator.engine.store import instant

PULL_WINDOW_S = 48 * 3600
PULL_ROWS = 500
CODES = ("BG", "PB", "WA", "SM", "SB")
blueprint = Blueprint("other", __name__)


@door(blueprint, "/mpesa/qrcode/v1/generate", name="qr", token_family="404.001.03")
def generate_qr(call: Call) -> Answer:
    """A PNG in base64. Its ResponseCode is an id, not `0`, in Daraja too."""
    name, reference, payee = call.text("MerchantName"), call.text("RefNo"), call.text("CPI")
    if not name:
        raise invalid("MerchantName")
    if not reference:
        raise invalid("RefNo")
    shillings = validation.whole_shillings(call.body.get("Amount"))
    if shillings is None:
        raise invalid("Amount")
    kind = call.text("TrxCode")
    if kind not in CODES:
        raise invalid("TrxCode")
    if not validation.is_digits(payee):
        raise invalid("CPI")
    size = call.text("Size") or "300"
    if not validation.is_digits(size) or not 1 <= int(size) <= 2000:
        raise invalid("Size")
    code = segno.make("|".join((kind, payee, name[:60], reference[:40], str(shillings))), error="m", micro=False)
    picture = io.BytesIO()
    code.save(picture, kind="png", scale=max(1, int(size) // code.symbol_size()[0]))
    return {
        "ResponseCode": receipts.conversation_id(call.store.now()),
        "RequestID": receipts.request_id(),
        "ResponseDescription": "QR Code Successfully Generated.",
        "QRCode": base64.b64encode(picture.getvalue()).decode(),
    }


@door(blueprint, "/pulltransactions/v1/register", name="pullregister", token_family="404.001.03")
def register_pull(call: Call) -> Answer:
    """1000 the first time, 1001 after that; both are fine."""
    number = validation.shortcode(call.body.get("ShortCode"))
    if number is None or organisations.owned(call.store, number, consumer_key=call.consumer_key) is None:
        raise invalid("ShortCode")
    if call.text("RequestType") != "Pull":
        raise invalid("RequestType")
    if not call.text("NominatedNumber"):
        raise invalid("NominatedNumber")
    url = validation.callback_url(call.body.get("CallBackURL"), is_strict=bool(call.store.setting("strict", False)))
    if url is None:
        raise invalid("CallBackURL")
    is_new = call.store.run(
        "INSERT OR IGNORE INTO pull_registrations (shortcode, callback_url) VALUES (?, ?)", number, url
    )
    return {
        "ResponseRefID": receipts.request_id(),
        "ResponseStatus": "1000" if is_new else "1001",
        "ShortCode": number,
        "ResponseDescription": "Shortcode Registered Successfully" if is_new else "Shortcode already Registered",
    }


@door(
    blueprint,
    "/pulltransactions/v1/query",
    name="pull",
    token_family="404.001.03",
    methods=("GET", "POST"),
)
def query_pull(call: Call) -> Answer:
    """Customers' payments between two Nairobi times, of the last 48 hours; OffSetValue counts rows."""
    number = validation.shortcode(call.body.get("ShortCode"))
    owner = organisations.owned(call.store, number, consumer_key=call.consumer_key) if number else None
    if owner is None:
        raise invalid("ShortCode")
    start, end = _time(call, "StartDate"), _time(call, "EndDate")
    offset = call.text("OffSetValue") or "0"
    if not validation.is_digits(offset):
        raise invalid("OffSetValue")
    rows = call.store.all(
        "SELECT * FROM transactions WHERE organisation_id = ? AND role = 'payment' AND kind = 'collection'"
        " AND at >= ? AND at < ? + 1 ORDER BY at, id LIMIT ? OFFSET ?",
        owner["id"],
        max(start, call.store.timestamp() - PULL_WINDOW_S),
        end,
        PULL_ROWS,
        int(offset),
    )
    listed = [
        {
            "transactionId": row["receipt"],
            "trxDate": f"{instant(row['at']):%Y-%m-%dT%H:%M:%SZ}",
            "msisdn": int(row["msisdn"][3:]),
            "sender": row["party"],
            "transactiontype": "c2b-buy-goods-debit" if row["account"] == "working" else "c2b-pay-bill-debit",
            "billreference": row["reference"],
            "amount": two_decimals(row["amount_cents"]),
            "organizationname": owner["name"],
        }
        for row in rows
    ]
    return {
        "ResponseRefID": receipts.request_id(),
        "ResponseCode": "1000" if listed else "1001",
        "ResponseMessage": "Success" if listed else "No transactions found for the period",
        "Response": [listed],
    }


@blueprint.get("/certificate")
def certificate() -> Response:
    """The X.509 certificate (PEM) that seals an initiator's password."""
    return Response(current_app.extensions["simulator"].certificate.pem, mimetype="application/x-pem-file")


@blueprint.get("/healthz")
def healthz() -> Response:
    """`{"status": "ok"}`."""
    return jsonify({"status": "ok"})


def _time(call: Call, field: str) -> float:
    try:
        given = datetime.strptime(call.text(field), "%Y-%m-%d %H:%M:%S").replace(tzinfo=clock.NAIROBI)
    except ValueError:
        raise invalid(field) from None
    return given.timestamp()
