"""What all of Daraja's doors share: token, body, faults, the shape of errors, and the line in the log."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import BadRequest

from portal.simulator.api import faults
from portal.simulator.engine import journal, organisations, receipts
from portal.simulator.engine.store import Store

INCAPSULA = (
    "<html><head><title>Error</title></head><body>Request unsuccessful. Incapsula incident ID: "
    "1234000560123456789-987654321</body></html>"
)
Answer = dict[str, Any] | Response


class DarajaError(Exception):
    """A refusal in Daraja's own form. status: HTTP; code and message: as tabled from Safaricom's pages."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Call:
    """An authorised call: who calls, and what was said."""

    store: Store
    consumer_key: str
    body: dict[str, Any]

    def text(self, name: str) -> str:
        """The field as trimmed text; empty if it is missing or is neither text nor number."""
        value = self.body.get(name)
        return "" if value is None or isinstance(value, bool | dict | list) else str(value).strip()


def invalid(field: str, *, code: str = "400.002.02") -> DarajaError:
    """One field is bad, named in the text."""
    return DarajaError(400, code, f"Bad Request - Invalid {field}")


def token_error(family: str, token: str) -> DarajaError:
    """How each family of doors says that a token is worth nothing. `401.002.01` echoes the token."""
    if family == "401.002.01":
        return DarajaError(401, family, f"Error Occurred - Invalid Access Token - {token}")
    return DarajaError(400 if family.startswith("400") else 404, family, "Invalid Access Token")


def store_of_app() -> Store:
    """The running simulator's memory."""
    store: Store = current_app.extensions["simulator"].store
    return store


def door(
    blueprint: Blueprint, *paths: str, name: str, token_family: str, methods: tuple[str, ...] = ("POST",)
) -> Callable[[Callable[[Call], Answer]], Callable[[], Response]]:
    """Open a door at `paths`. The view gets a Call and answers a dict (HTTP 200) or a Response."""

    def decorate(view: Callable[[Call], Answer]) -> Callable[[], Response]:
        @wraps(view)
        def enter() -> Response:
            store, started_at = store_of_app(), store_of_app().timestamp()
            body: dict[str, Any] = {}
            problem: DarajaError | None = None
            try:
                body, problem = _read_body()
                response = _serve(store, name, token_family, body, problem, view)
            except DarajaError as refusal:
                response = error_response(refusal)
            journal.write(
                store,
                direction="received",
                door=name,
                method=request.method,
                address=request.path,
                status=str(response.status_code),
                body=body or request.get_data(as_text=True)[:500],
                answer=""
                if response.is_streamed
                else response.get_json(silent=True) or response.get_data(as_text=True),
                msisdn=_phone_in(body),
                started_at=started_at,
            )
            return response

        for path in paths:
            blueprint.add_url_rule(path, endpoint=f"{name}:{path}", view_func=enter, methods=list(methods))
        return enter

    return decorate


def _serve(
    store: Store,
    name: str,
    token_family: str,
    body: dict[str, Any],
    problem: DarajaError | None,
    view: Callable[[Call], Answer],
) -> Response:
    shortcodes = _shortcodes(store, body)
    strike_before(store, name, shortcodes)
    if faults.take(store, "tokenExpired", shortcodes=shortcodes, endpoint=name):
        raise token_error(token_family, _bearer())
    consumer_key = _authorise(store, token_family)
    if problem is not None:
        raise problem
    answer = view(Call(store, consumer_key, body))
    response = answer if isinstance(answer, Response) else jsonify(answer)
    return strike_after(store, name, shortcodes, response)


def strike_before(store: Store, name: str, shortcodes: set[str]) -> None:
    """Faults that refuse a call before anything has happened."""
    if faults.take(store, "http500", shortcodes=shortcodes, endpoint=name):
        raise DarajaError(500, "500.003.1001", "Internal Server Error")
    if faults.take(store, "http429", shortcodes=shortcodes, endpoint=name):
        raise DarajaError(429, "500.003.02", "System is busy. Please try again in few minutes.")
    if faults.take(store, "spikeArrest", shortcodes=shortcodes, endpoint=name):
        raise DarajaError(500, "500.003.02", "Error Occurred: Spike Arrest Violation")


def strike_after(store: Store, name: str, shortcodes: set[str], response: Response) -> Response:
    """Faults that lose or spoil the answer to a call that was carried out."""
    if slow := faults.take(store, "slowAnswer", shortcodes=shortcodes, endpoint=name):
        time.sleep(min(120.0, slow.value or 10.0))
    if faults.take(store, "htmlAnswer", shortcodes=shortcodes, endpoint=name):
        return html_answer(503)
    if faults.take(store, "emptyAnswer", shortcodes=shortcodes, endpoint=name):
        return Response("", status=200)
    if faults.take(store, "dropConnection", shortcodes=shortcodes, endpoint=name):
        return dropped()
    return response


def html_answer(status: int) -> Response:
    """The firewall's page in front of Daraja."""
    return Response(INCAPSULA, status=status, mimetype="text/html")


def dropped() -> Response:
    """An answer that promises more than it sends, so that the caller's connection breaks in the middle."""

    def half() -> Iterator[bytes]:
        yield b'{"MerchantRequestID":'

    return Response(half(), status=200, mimetype="application/json", headers={"Content-Length": "400"})


def error_response(refusal: DarajaError) -> Response:
    """Daraja's three strings."""
    response = jsonify({"requestId": receipts.request_id(), "errorCode": refusal.code, "errorMessage": refusal.message})
    response.status_code = refusal.status
    return response


def ack(*, conversation_id: str, originator_id: str) -> dict[str, Any]:
    """Accepted and queued, no more."""
    return {
        "ConversationID": conversation_id,
        "OriginatorConversationID": originator_id,
        "ResponseCode": "0",
        "ResponseDescription": "Accept the service request successfully.",
    }


def new_token() -> str:
    """28 characters, as Apigee makes them."""
    return secrets.token_urlsafe(21).replace("-", "a").replace("_", "b")


def _bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _authorise(store: Store, family: str) -> str:
    token = _bearer()
    row = store.one("SELECT * FROM tokens WHERE token = ?", token)
    if row is None or row["expires_at"] <= store.timestamp():
        raise token_error(family, token)
    return str(row["consumer_key"])


def _read_body() -> tuple[dict[str, Any], DarajaError | None]:
    """The JSON object, or what is wrong with it. The token is looked at first, so the error waits."""
    if request.method == "GET" and not request.get_data():
        return dict(request.args), None
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return {}, invalid("BusinessShortCode")
    try:
        body = request.get_json(force=True)
        json.dumps(body, ensure_ascii=False).encode()  # half of a surrogate pair is text to nobody but Python
    except (BadRequest, UnicodeError, RecursionError):
        return {}, DarajaError(400, "400.002.05", "Invalid Request Payload")
    if not isinstance(body, dict):
        return {}, DarajaError(400, "400.002.05", "Invalid Request Payload")
    return body, None


def _shortcodes(store: Store, body: dict[str, Any]) -> set[str]:
    named = {
        str(body[name])
        for name in ("BusinessShortCode", "ShortCode", "PartyA", "PartyB", "ReceiverParty")
        if name in body
    }
    numbers = {number for number in named if number.isdigit() and len(number) <= 7}
    for number in list(numbers):
        known = organisations.payee(store, number)
        if known is not None:
            numbers |= organisations.numbers_of(known)
    return numbers


def _phone_in(body: dict[str, Any]) -> str:
    for name in ("PhoneNumber", "Msisdn", "PartyB", "PartyA"):
        value = str(body.get(name, ""))
        if value.isdigit() and len(value) == 12:
            return value
    # A query names its payer only by the digits that end its CheckoutRequestID.
    checkout = str(body.get("CheckoutRequestID", ""))
    return "254" + checkout[-9:] if checkout.startswith("ws_CO_") and checkout[-9:].isdigit() else ""
