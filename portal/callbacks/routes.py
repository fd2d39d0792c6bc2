"""Safaricom's doors: keep the callback, acknowledge it, have it settled. Nothing here parses money.

Addresses carry no word that Safaricom refuses. The paths of the source documents carry no token either, so what
arrives there only makes us ask M-Pesa; a payment by hand is kept there too, since nobody tells of it twice. They answer
alike whatever exists here, unless a stranger has left too much.
"""

import contextlib
from collections.abc import Iterator

from flask import Blueprint, Response, current_app, jsonify, request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from portal.gateways import messages
from portal.kernel import personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.payments.c2b import validation
from portal.payments.inbox import inbox
from portal.payments.inbox.inbox import BODY_LIMIT_BYTES
from portal.payments.inbox.spool import CannotKeep, Spool
from portal.payments.models import Push
from portal.payments.stk import queries
from portal.web.security import csrf

bp = Blueprint("hooks", __name__)
ACCEPTED = b'{"ResultCode": 0, "ResultDesc": "Accepted"}'
LONGEST_TOKEN = 64


def _accepted() -> Response:
    return Response(ACCEPTED, mimetype="application/json")


def _body() -> bytes | None:
    """The body, if it is of a callback's size."""
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        return None
    body = request.stream.read(BODY_LIMIT_BYTES + 1)
    return body if len(body) <= BODY_LIMIT_BYTES else None


def _keep(
    kind: str, gateway_token: str, *, push_token: str | None = None, request_token: str | None = None
) -> Response:
    body = _body()
    tokens = (gateway_token, push_token or "", request_token or "")
    if body is None or not all(len(one) <= LONGEST_TOKEN and one.isascii() and one.isprintable() for one in tokens):
        logger.warning("callback_refused", kind=kind, why="too large, or an address of nobody's")
        return _accepted()
    callback = inbox.envelope(
        kind,
        gateway_token=gateway_token,
        body=body,
        remote_address=request.remote_addr or "",
        push_token=push_token,
        request_token=request_token,
    )
    spool: Spool = current_app.extensions["spool"]
    try:
        kept = inbox.keep(callback, spool, current_app.config["PORTAL"].callback_addresses)
    except CannotKeep as error:
        logger.error("callback_not_kept", why=str(error))
        return Response('{"ResultCode": 1, "ResultDesc": "Try again"}', status=503, mimetype="application/json")
    if kept:
        enqueuer: queue.Enqueuer = current_app.extensions["drain_enqueuer"]
        enqueuer.enqueue()
    elif kind == "stk":
        _ask_about_push(body)
    return _accepted()


@contextlib.contextmanager
def _a_claim() -> Iterator[None]:
    """A callback without a good token is a claim: M-Pesa is asked. What cannot be asked is no reason to fail it."""
    try:
        yield
    except messages.Malformed:
        pass
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.error("claim_not_looked_at", error=type(error).__name__)


def _ask_about_push(body: bytes) -> None:
    with _a_claim():
        named = personal.checkout_hash(messages.parse_stk_callback(body).checkout_request_id)
        push_ids = db.session.scalars(select(Push.id).where(Push.checkout_hash == named)).all()  # one, but for chance
        if not push_ids:
            return
        with transaction():
            hurried = [push_id for push_id in push_ids if queries.ask_now(push_id)]
        if hurried:
            queue.enqueue(queue.QUERIES)


@bp.post("/hooks/<gateway_token>/stk/<push_token>")
def stk(gateway_token: str, push_token: str) -> Response:
    """The result of one STK push."""
    return _keep("stk", gateway_token, push_token=push_token)


@bp.post("/hooks/<gateway_token>/c2b/confirmation")
def confirmation(gateway_token: str) -> Response:
    """Money paid by hand, or the echo of an STK push."""
    return _keep("c2b", gateway_token)


@bp.post("/hooks/<gateway_token>/c2b/validation")
def c2b_validation(gateway_token: str) -> Response:
    """May this account be paid? From the database alone."""
    body = _body()
    answer = validation.validate(gateway_token, body) if body is not None else validation.ACCEPTED
    return _accepted() if answer == validation.ACCEPTED else jsonify(answer)


@bp.post("/hooks/<gateway_token>/result/<token>")
def result(gateway_token: str, token: str) -> Response:
    """The result of a pay-out, reversal, status or balance request."""
    return _keep("result", gateway_token, request_token=token)


@bp.post("/hooks/<gateway_token>/timeout/<token>")
def timeout(gateway_token: str, token: str) -> Response:
    """M-Pesa gave up waiting in its own queue: the outcome is unknown."""
    return _keep("timeout", gateway_token, request_token=token)


@bp.post("/api/mpesa/callback", endpoint="legacy_stk")
@bp.post("/api/mpesa/callbacks/stk", endpoint="legacy_stk")
@bp.post("/api/portal/mpesa/callback", endpoint="legacy_stk")
def legacy_stk() -> Response:
    """The source documents' addresses: a claim, no more."""
    body = _body()
    if body is not None:
        _ask_about_push(body)
    return _accepted()


@bp.get("/api/mpesa/callback", endpoint="legacy_check")
@bp.get("/api/mpesa/callbacks/stk", endpoint="legacy_check")
@bp.get("/api/portal/mpesa/callback", endpoint="legacy_check")
@bp.get("/api/mpesa/callbacks/c2b/validation", endpoint="legacy_check")
@bp.get("/api/mpesa/callbacks/c2b/confirmation", endpoint="legacy_check")
def legacy_check() -> Response:
    """The address check that some set-ups make with GET."""
    return _accepted()


@bp.post("/api/mpesa/callbacks/c2b/validation")
def legacy_validation() -> Response:
    """Always accepts, so that it tells nobody which accounts exist."""
    return _accepted()


@bp.post("/api/mpesa/callbacks/c2b/confirmation")
def legacy_confirmation() -> Response:
    """A claim to money by hand. It is kept, and believed when M-Pesa, asked about its receipt, says the same."""
    return _keep("claim", "")


csrf.exempt(bp)
