"""An SMS gateway: what is sent through it is on the handset at once. Source: Africa's Talking's messaging documents."""

import secrets

from flask import Blueprint, Response, jsonify, request

from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.simulator.api.router import store_of_app
from portal.simulator.engine.customers import customer, send_sms

PRICE = "KES 0.8000"
blueprint = Blueprint("sms", __name__)


@blueprint.post("/version1/messaging")
def send() -> Response:
    """Form fields `username`, `to` (numbers, by commas), `message`, `from`; header `apiKey`. 201 with one line each."""
    if not request.headers.get("apiKey") or not request.form.get("username"):
        return Response("The supplied authentication is invalid", status=401, mimetype="text/plain")
    numbers = [one.strip() for one in request.form.get("to", "").split(",") if one.strip()]
    text = request.form.get("message", "")
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
    return (
        {"statusCode": 101, "status": "Success"} | told | {"cost": PRICE, "messageId": f"ATXid_{secrets.token_hex(16)}"}
    )
