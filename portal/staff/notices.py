"""The bell: what this person was told inside the product, on every page, and all of it on one."""

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from portal.kernel.db import transaction
from portal.notifications import notices
from portal.staff.guard import needs, read_row_id
from portal.users.permissions import SEE_MONEY


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/notices", "notices", list_notices)
    bp.add_url_rule("/notices/read", "notices_put_away", put_away, methods=["POST"])
    bp.add_url_rule("/bell", "bell", ring)


@needs(SEE_MONEY)
def list_notices() -> ResponseReturnValue:
    """The newest, and which of them are new."""
    return render_template(
        "staff/notices.html",
        items=notices.latest(notices.of_user(current_user.id, g.tenant.id)),
        read_url=url_for("staff.notices_put_away"),
    )


@needs(SEE_MONEY)
def put_away() -> ResponseReturnValue:
    """This person has read what stood there."""
    if (last_id := read_row_id(request.form.get("last", ""))) is not None:
        with transaction():
            notices.read_all(notices.of_user(current_user.id, g.tenant.id), last_id)
    return redirect(url_for("staff.notices"), 303)


@needs(SEE_MONEY)
def ring() -> ResponseReturnValue:
    """The bell anew, or 204 where nothing was told since."""
    if "HX-Request" not in request.headers:
        return redirect(url_for("staff.notices"), 302)
    bell = notices.bell(notices.of_user(current_user.id, g.tenant.id))
    if request.args.get("v") == bell.version:
        return "", 204
    return render_template("_bell.html", bell=bell, list_url=url_for("staff.notices"), ring_url=url_for("staff.bell"))
