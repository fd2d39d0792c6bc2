"""The routers' doors: each says once a minute that it is there, and openNDS' agents ask whom to let in.

Nothing here tells which routers exist.
"""

from flask import Blueprint, Response, request

from portal.hotspot.routers.opennds import agent
from portal.hotspot.sites import outages
from portal.kernel.db import transaction
from portal.web.limits import network, shared

bp = Blueprint("routers", __name__)
LONGEST_TOKEN, LONGEST_BODY = 64, 1_000
ASKINGS = "3000 per 5 minutes"  # of one network: dozens of gateways behind one carrier's address
NOTHING = "nothing\n"
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


@bp.post("/routers/<token>/opennds")
@shared(ASKINGS, per=lambda: f"askings:{network()}")
def ask(token: str) -> Response:
    """What the gateway has to do now, for the list of its clients. The same empty answer for a token of nobody."""
    report = request.stream.read(agent.LONGEST_REPORT + 1)
    if len(report) > agent.LONGEST_REPORT:
        return _said(NOTHING, 413)
    if len(token) > LONGEST_TOKEN or not (token.isascii() and token.isprintable()):
        return _said(NOTHING)
    clients = agent.read(report)
    with transaction():
        site = agent.site_of(token)
        orders = agent.answer(site, clients) if site is not None else []
    return _said("".join(f"{order}\n" for order in orders) or NOTHING)


def _said(text: str, status: int = 200) -> Response:
    return Response(text, status=status, mimetype="text/plain")
