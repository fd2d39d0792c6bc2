"""The front page: who has a phone, which prompts ring, what an ending means, what was said on the wire."""

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, request, url_for

from portal.kernel.phone import normalise_msisdn
from portal.simulator.api.router import store_of_app
from portal.simulator.handset.pages import draw, overview_parts

PARTS = ("phones", "log")
blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def front() -> Response:
    """The page."""
    shown = overview_parts(store_of_app())
    return Response(
        render_template("front.html", **shown, parts=draw(PARTS, shown), public_url=_public_url(), routers=_routers())
    )


@blueprint.get("/live")
def live() -> Response:
    """Its moving parts as `{name: {version, html}}`, for its script."""
    return jsonify(draw(PARTS, overview_parts(store_of_app())))


@blueprint.get("/handset")
def find() -> Response:
    """The form that opens a phone by its number."""
    return redirect(url_for("handset.show", number=normalise_msisdn(request.args.get("phone", ""))), 303)  # type: ignore[return-value]


def _routers() -> int:
    return len(current_app.extensions["simulator"].fleet.all())


def _public_url() -> str:
    return str(current_app.extensions["simulator"].public_url)
