"""An SMS gateway: what is sent is on the handset at once, a delivery report follows, and the handset can answer.

Reports and answers go where the account's owner wants them (`CALLBACKS`, an address without a slash at its end):
`/delivery` and `/incoming` below it. Source: Africa's Talking's messaging documents.
"""

import secrets
from typing import Any

import requests
from flask import Blueprint, Response, jsonify, request

from portal.kernel import clock
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.simulator.api.router import store_of_app
from portal.simulator.engine import journal
from portal.simulator.engine.callback_sender import TIMEOUTS_S
from portal.simulator.engine.customers import customer, send_sms
from portal.simulator.engine.store import Store

PRICE, REPORT_AFTER_S, LONGEST_ANSWER = "KES 0.8000", 1.0, 480
CALLBACKS, SHORT_NUMBER = "sms_callbacks", "sms_short_number"
blueprint = Blueprint("sms", __name__)


@blueprint.post("/version1/messaging")
def send() -> Response:
    """Form fields `username`, `to` (numbers, by commas), `message`, `from`; header `apiKey`. 201 with one line each."""
    if not request.headers.get("apiKey") or not request.form.get("username"):
        return Response("The supplied authentication is invalid", status=401, mimetype="text/plain")
    numbers = [one.strip() for one in request.form.get("to", "").split(",") if one.strip()]
    text = request.form.get("message", "")
    if (sender := request.form.get("from", "")).isdigit():
        store_of_app().keep(SHORT_NUMBER, sender)
    if not numbers or not text:
        return Response("Both to and message are needed", status=400, mimetype="text/plain")
    recipients = [_send(number, text) for number in numbers]
    sent = sum(one["statusCode"] == 101 for one in recipients)
    summary = f"Sent to {sent}/{len(numbers)} Total Cost: KES {0.8 * sent:.4f}"
    response = jsonify({"SMSMessageData": {"Message": summary, "Recipients": recipients}})
    response.status_code = 201
    return response


def _send(number: str, text: str) -> dict[str, object]:
    told = {"number": number, "cost": "0", "messageId": "None"}
    try:
        msisdn = normalise_msisdn(number)
    except Refused:
        return {"statusCode": 403, "status": "InvalidPhoneNumber"} | told
    store = store_of_app()
    customer(store, msisdn)
    send_sms(store, msisdn, text)
    message_id = f"ATXid_{secrets.token_hex(16)}"
    if store.setting(CALLBACKS):
        form = {
            "id": message_id, "status": "Success", "phoneNumber": f"+{msisdn}", "networkCode": "63902",
            "failureReason": "", "retryCount": "0",
        }  # fmt: skip
        store.add_job("sms_post", {"to": "delivery", "form": form, "msisdn": msisdn}, after_s=REPORT_AFTER_S)
    return {"statusCode": 101, "status": "Success"} | told | {"cost": PRICE, "messageId": message_id}


def answer(store: Store, msisdn: str, text: str) -> None:
    """The handset sends a text message to the gateway's short number. Raises Refused where nobody takes them."""
    if not store.setting(CALLBACKS):
        raise Refused("Nobody takes messages here: the simulator was given no address for them.", code="no_reader")
    if not text.strip():
        raise Refused("Write a message.", code="no_text")
    form = {
        "from": f"+{msisdn}", "to": store.setting(SHORT_NUMBER, "20880"), "text": text[:LONGEST_ANSWER],
        "date": clock.rfc3339(store.now()), "id": secrets.token_hex(16), "linkId": secrets.token_hex(8),
        "networkCode": "63902",
    }  # fmt: skip
    customer(store, msisdn)
    store.insert("messages", msisdn=msisdn, at=store.timestamp(), text=f"You: {form['text']}")
    store.add_job("sms_post", {"to": "incoming", "form": form, "msisdn": msisdn})


def post_job(store: Store, payload: dict[str, Any]) -> None:
    """Post a report or an answer, as a form, and write down how it was received."""
    url, started_at = f"{store.setting(CALLBACKS)}/{payload['to']}", store.timestamp()
    status, text = "lost", ""
    try:
        with requests.Session() as session:
            session.trust_env = False
            heard = session.post(url, data=payload["form"], timeout=TIMEOUTS_S, allow_redirects=False)
            status, text = str(heard.status_code), heard.text[:4000]
    except requests.RequestException as problem:
        text = f"{type(problem).__name__}: nobody took it"
    shown = url.replace(url.split("/")[-2], "…")  # its key is nobody's to read
    journal.write(
        store, direction="sent", door=f"SMS {payload['to']}", method="POST", address=shown, status=status,
        body=payload["form"], answer=text, msisdn=payload["msisdn"], started_at=started_at,
    )  # fmt: skip
