"""The queue as those who wait see it: the screen on the wall, and the page of one number. Numbers, never names."""

from flask import Blueprint, Response, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from portal.clinic.models import Branch
from portal.clinic.reception import queue_tickets
from portal.kernel import vault
from portal.kernel.db import db
from portal.kernel.errors import NotFound
from portal.tenants import find
from portal.tenants.models import Tenant

bp = Blueprint("queue", __name__, url_prefix="/clinic/<slug>/queue")


def _desk(tenant: Tenant, token: str) -> tuple[str, Branch | None]:
    """The desk whose screen has this token. Raises NotFound."""
    uid = request.args.get("branch", "")
    mine = select(Branch).where(Branch.tenant_id == tenant.id, Branch.uid == uid)
    branch = db.session.scalars(mine).one_or_none() if uid else None
    desk = queue_tickets.desk_of(branch.id if branch else None)
    if token != queue_tickets.screen_token(tenant.id, desk):
        raise NotFound(_("There is no such screen here."))
    return desk, branch


def _unkept(page: str) -> Response:
    response = make_response(page)
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/<token>")
def screen(slug: str, token: str) -> ResponseReturnValue:
    """What hangs on the wall; asks again by itself, with and without JavaScript."""
    tenant = find.by_slug(slug, kind="clinic")
    desk, branch = _desk(tenant, token)
    shown = queue_tickets.screen(tenant.id, desk)
    if "HX-Request" in request.headers and request.args.get("v") == shown.version:
        return "", 204
    page = render_template(
        "clinic/_queue.html" if "HX-Request" in request.headers else "clinic/queue.html",
        tenant=tenant,
        place=branch.name if branch else "",
        screen=shown,
        poll_url=url_for(
            "queue.screen", slug=slug, token=token, v=shown.version, branch=branch.uid if branch else None
        ),
    )
    return _unkept(page)


@bp.get("/number/<token>")
def ticket(slug: str, token: str) -> ResponseReturnValue:
    """One number: how many are before it, and where it is called."""
    tenant = find.by_slug(slug, kind="clinic")
    mine = queue_tickets.by_token(tenant.id, token)
    is_over = mine.state in (queue_tickets.SEEN, queue_tickets.LEFT) or mine.day != queue_tickets.today()
    ahead = 0 if is_over else queue_tickets.before(mine)
    version = vault.digest(f"{mine.state}/{mine.room}/{ahead}/{is_over}")[:12]
    if "HX-Request" in request.headers and request.args.get("v") == version:
        return "", 204
    page = render_template(
        "clinic/_queue_number.html" if "HX-Request" in request.headers else "clinic/queue_number.html",
        tenant=tenant,
        ticket=mine,
        ahead=ahead,
        is_over=is_over,
        poll_url=url_for("queue.ticket", slug=slug, token=token, v=version),
    )
    return _unkept(page)
