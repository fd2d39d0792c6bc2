"""Africa's Talking's doors: what became of a text message, and what somebody answered. Kept at once, dealt with later.

The posts carry no signature, hence a long key in the address (AT_CALLBACK_KEY), as the provider's dashboard takes it.
Nothing here tells which messages or phones exist. Source: Africa's Talking's documents: clinic.md C4.
"""

import hmac
import json
from collections.abc import Callable

from flask import Blueprint, Response, abort, current_app, request

from portal.kernel import personal, queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.notifications import incoming, reports

bp = Blueprint("sms", __name__)
LONGEST_ID, LONGEST_BODY, LONGEST_TEXT = 100, 8_000, 1_000


@bp.post("/sms/<key>/delivery")
def delivery(key: str) -> Response:
    """A delivery report: form fields `id`, `status`, `failureReason`. 204, whosever message it is."""
    _let_in(key)
    message_id, status = _field("id", LONGEST_ID), _field("status", 20)
    if message_id and status:
        _keep(lambda: reports.keep(message_id, status, _field("failureReason", 100)), queue.REPORTS)
    return Response(status=204)


@bp.post("/sms/<key>/incoming")
def incoming_sms(key: str) -> Response:
    """A text message to us: form fields `from`, `text`, `id`. 204, and an answer by SMS where there is one."""
    _let_in(key)
    message_id, text = _field("id", LONGEST_ID), _field("text", LONGEST_TEXT)
    try:
        sender = normalise_msisdn(_field("from", 20))
    except Refused:
        return Response(status=204)
    if message_id:
        sealed = personal.seal_text(json.dumps({"from": sender, "text": text}), incoming.NOBODYS)
        _keep(lambda: incoming.keep(message_id, sealed), queue.REPLIES)
    return Response(status=204)


def _let_in(key: str) -> None:
    ours = current_app.config["PORTAL"].sms_key
    if not ours or not hmac.compare_digest(key.encode(), ours.encode()):
        abort(404)
    if (request.content_length or 0) > LONGEST_BODY:
        abort(413)


def _field(name: str, longest: int) -> str:
    return request.form.get(name, "").replace("\0", "").strip()[:longest]


def _keep(work: Callable[[], object], ring: queue.Job) -> None:
    with transaction():
        work()
    queue.enqueue(ring)
