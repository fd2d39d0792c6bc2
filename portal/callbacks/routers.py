"""The routers' door: each says once a minute that it is there. Nothing here tells which routers exist."""

from flask import Blueprint, Response, request

from portal.hotspot.sites import outages
from portal.kernel.db import transaction
from portal.web.limits import network, shared

bp = Blueprint("routers", __name__)
LONGEST_TOKEN, LONGEST_BODY = 64, 1_000
BEATS = "600 per 5 minutes"  # of one network: a hundred routers behind one carrier's address


@bp.route("/routers/<token>/heartbeat", methods=["GET", "POST"])
@shared(BEATS, per=lambda: f"beats:{network()}")
def heartbeat(token: str) -> Response:
    """Here I am. The same answer for a token of nobody."""
    said = request.stream.read(LONGEST_BODY).decode("utf-8", "replace").replace("\0", "")
    if len(token) <= LONGEST_TOKEN and token.isascii() and token.isprintable():
        with transaction():
            outages.beat(token, said)
    return Response(status=204)
