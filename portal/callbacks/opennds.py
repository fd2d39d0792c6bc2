"""The door of openNDS gateways' agents, which hold their site's token."""

from flask import Response, request

from portal.callbacks.routers import bp
from portal.hotspot.routers.opennds import agent
from portal.kernel.db import transaction
from portal.web.limits import network, shared

LONGEST_TOKEN = 64
ASKINGS = "3000 per 5 minutes"  # of one network: dozens of gateways behind one carrier's address
NOTHING = "nothing\n"


def _said(text: str, status: int = 200) -> Response:
    return Response(text, status=status, mimetype="text/plain")


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
