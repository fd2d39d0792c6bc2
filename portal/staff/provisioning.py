"""Paid means online: what routers do not have as they should, why, since when, and when it is tried again."""

from flask import Blueprint, g, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.hotspot.routers import connection, trouble
from portal.kernel import queue
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.users import permissions
from portal.users.permissions import MANAGE_SITES, WORK_HOTSPOT


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/provisioning", "provisioning", list_trouble)
    bp.add_url_rule("/provisioning/<uid>/try", "provisioning_try", try_now, methods=["POST"])
    bp.add_url_rule("/provisioning/<uid>/certificate", "provisioning_certificate", forget, methods=["POST"])


@needs(WORK_HOTSPOT)
def list_trouble() -> ResponseReturnValue:
    """Routers that do not have what they should, who is online without a right, and who paid and never came online."""
    return render_template(
        "staff/provisioning.html",
        routers=trouble.of_tenant(g.tenant.id),
        without_right=connection.without_right(g.tenant.id),
        without_access=connection.without_access(g.tenant.id),
        may_manage=permissions.allows(g.role, MANAGE_SITES),
    )


@needs(WORK_HOTSPOT)
def try_now(uid: str) -> ResponseReturnValue:
    """Give everything that waits for this router its turn."""

    def work() -> str:
        trouble.try_now(g.tenant.id, uid)
        return _("It is being tried again. Load this page in a moment.")

    return buttons.do(work, then=url_for("staff.provisioning"), ring=queue.BRING_ABOUT)


@needs(MANAGE_SITES)
def forget(uid: str) -> ResponseReturnValue:
    """Take the certificate that the router shows now."""

    def work() -> str:
        trouble.forget_certificate(g.tenant.id, uid, actor=actor())
        return _("The router's next certificate will be taken for its own.")

    return buttons.do(work, then=url_for("staff.provisioning"), ring=queue.BRING_ABOUT)
