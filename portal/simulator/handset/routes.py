"""The telephone: as JSON for programs, as a drawn phone for people. Both do the same things."""

import re
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for

from portal.kernel import clock
from portal.kernel.errors import Refused
from portal.kernel.money import cents, kes
from portal.kernel.phone import normalise_msisdn
from portal.simulator.api.router import store_of_app
from portal.simulator.engine import behaviours, hand_payments, prompts
from portal.simulator.engine.customers import instruct
from portal.simulator.engine.store import Store, instant
from portal.simulator.handset.pages import draw, phone_parts, wants_html
from portal.simulator.post import sms

WRONG_PIN = "9999"
_PHONE_IN_WIFI = re.compile(r"/wifi/[A-Za-z0-9-]+/[0-9A-F]{12}/")
PARTS = ("status", "screen", "inbox", "log")
blueprint = Blueprint("handset", __name__)


@blueprint.get("/handset/<number>")
def show(number: str) -> Response:
    """`{prompts: [{id, amount, business, account}], messages: [{text, at}]}`, or the page for a browser."""
    store, msisdn = store_of_app(), normalise_msisdn(number)
    if wants_html():
        shown = phone_parts(store, msisdn)
        return Response(render_template("handset.html", **shown, parts=draw(PARTS, shown), note=_note()))
    prompt = prompts.open_prompt(store, msisdn)
    return jsonify({"prompts": [_prompt(prompt)] if prompt is not None else [], "messages": messages(store, msisdn)})


@blueprint.get("/handset/<number>/live")
def live(number: str) -> Response:
    """The page's moving parts as `{name: {version, html}}`, for its script."""
    return jsonify(draw(PARTS, phone_parts(store_of_app(), normalise_msisdn(number))))


@blueprint.post("/handset/<number>/pin")
def enter_pin(number: str) -> Response:
    """Answer the prompt on the screen. Any four digits are right; 9999 is wrong."""
    store, msisdn = store_of_app(), normalise_msisdn(number)
    pin = str(_given().get("pin", "")).strip()
    if not (pin.isascii() and pin.isdigit() and len(pin) == 4):
        raise Refused(
            "Enter the four digits of the PIN, for example 1234.",
            code="invalid_pin",
            fields={"pin": "Four digits."},
        )
    return _answer_prompt(store, msisdn, code="2001" if pin == WRONG_PIN else "0")


@blueprint.post("/handset/<number>/cancel")
def cancel(number: str) -> Response:
    """Close the prompt on the screen without paying."""
    return _answer_prompt(store_of_app(), normalise_msisdn(number), code="1032")


@blueprint.post("/handset/<number>/pay")
def pay(number: str) -> Response:
    """Lipa na M-Pesa by hand -> `{accepted, receipt, message}`; a refusal is HTTP 200 too."""
    store, msisdn, given = store_of_app(), normalise_msisdn(number), _given()
    shortcode = str(given.get("shortcode", "")).strip()
    account = str(given.get("account") or "").strip()
    amount_cents = cents(given.get("amount"))
    if not (shortcode.isascii() and shortcode.isdigit()):
        raise Refused("Enter a paybill or till number.", code="invalid_shortcode", fields={"shortcode": "Digits only."})
    if len(account) > 20:
        raise Refused("An account number has at most 20 characters.", code="invalid_account")
    if not 0 < amount_cents <= 250_000_00:
        raise Refused("Pay between KES 1 and KES 250,000.", code="invalid_amount", fields={"amount": "1 to 250,000."})
    outcome = hand_payments.pay_by_hand(
        store, msisdn=msisdn, shortcode=shortcode, account=account, amount_cents=amount_cents
    )
    said = {"accepted": outcome.accepted, "receipt": outcome.receipt, "message": outcome.message}
    return _after(msisdn, said, note="paid" if outcome.accepted else "refused")


@blueprint.post("/handset/<number>/behaviour")
def choose(number: str) -> Response:
    """What this phone does with the next prompts; an empty `behaviour` goes by its last two digits again."""
    store, msisdn = store_of_app(), normalise_msisdn(number)
    name = str(_given().get("behaviour", ""))
    instruct(store, msisdn, name or None)
    return _after(msisdn, {"behaviour": behaviours.of_phone(store, msisdn).says}, note="set")


@blueprint.post("/handset/<number>/sms")
def send_message(number: str) -> Response:
    """Send a text message, such as the answer to a reminder: `{text}`."""
    store, msisdn = store_of_app(), normalise_msisdn(number)
    sms.answer(store, msisdn, str(_given().get("text", "")))
    return _after(msisdn, {"accepted": True}, note="sent")


def messages(store: Store, msisdn: str, limit: int = 50) -> list[dict[str, str]]:
    """The inbox, newest first."""
    rows = store.all("SELECT * FROM messages WHERE msisdn = ? ORDER BY id DESC LIMIT ?", msisdn, limit)
    return [{"text": row["text"], "at": clock.rfc3339(instant(row["at"]))} for row in rows]


def _prompt(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "amount": kes(row["amount_cents"]),
        "business": row["business"],
        "account": row["reference"],
    }


def _answer_prompt(store: Store, msisdn: str, *, code: str) -> Response:
    prompt = prompts.open_prompt(store, msisdn)
    settled = prompts.settle(store, prompt["id"], code) if prompt is not None else None
    if settled is None:
        if _is_form():
            return redirect(url_for("handset.show", number=msisdn, note="nothing"), 303)  # type: ignore[return-value]
        response = jsonify({"error": "no_prompt", "message": "No prompt is waiting on this phone."})
        response.status_code = 409
        return response
    said = {
        "id": settled["id"],
        "accepted": settled["result_code"] == "0",
        "resultCode": settled["result_code"],
        "receipt": settled["receipt"] or None,
        "message": behaviours.describe(settled["result_code"]),
    }
    return _after(msisdn, said, note="answered")


def _after(msisdn: str, said: dict[str, Any], *, note: str) -> Response:
    if _is_form():
        if _PHONE_IN_WIFI.fullmatch(back := request.form.get("back", "")):
            return redirect(back, 303)  # type: ignore[return-value]
        return redirect(url_for("handset.show", number=msisdn, note=note), 303)  # type: ignore[return-value]
    return jsonify(said)


def _is_form() -> bool:
    return request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")


def _given() -> dict[str, Any]:
    """The fields of a form or of a JSON object."""
    if _is_form():
        return dict(request.form)
    body = request.get_json(force=True, silent=True)
    return body if isinstance(body, dict) else {}


_NOTES = {
    "nothing": "No prompt was waiting on this phone.",
    "refused": "M-Pesa refused it. The newest message says why.",
    "paid": "Paid. The message is in the inbox.",
    "sent": "The message is sent.",
    "invalid": "That could not be sent. Check what you entered.",
}


def _note() -> str:
    return _NOTES.get(request.args.get("note", ""), "")
