"""One pass by its code, while it runs: more time, another package, another device, a stop. Each change is recorded."""

from typing import Any

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.audit import chain
from portal.hotspot import live, packages
from portal.hotspot.models import AccessGrant
from portal.hotspot.passes import standing
from portal.kernel.errors import Refused
from portal.payments import booking
from portal.staff import audit_words, buttons
from portal.staff.guard import actor, needs
from portal.users import team
from portal.users.permissions import WORK_HOTSPOT

UNITS_S = {"m": 60, "h": 3_600, "d": 86_400}


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/passes/<username>", "pass_", show)
    bp.add_url_rule("/passes/<username>", "pass_change", change, methods=["POST"])


@needs(WORK_HOTSPOT, looks_at="pass")
def show(username: str) -> ResponseReturnValue:
    """A pass: its periods, its device, what is left, and what may be done about it."""
    opened = live.find(g.tenant.id, username)
    periods = live.pass_of(opened)
    bought = [("payment", one.purchase.payment_id) for one in periods if one.purchase]
    subjects = bought + [("access", one.id) for one in periods]
    return render_template(
        "staff/pass.html",
        grant=opened,
        periods=periods,
        left=standing.left_of(standing.leader_of(opened)),
        packages=packages.for_counter(g.tenant.id),
        history=_history(subjects),
        is_open=is_open(opened),
    )


def _history(subjects: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Every step, with people by name."""
    rows = [row for row in chain.history(g.tenant.id, *subjects) if row.action != "looked_at"]
    steps = [(row.created_at, step) for row in rows for step in booking.steps_told(row)]
    ids = {int(one.actor[5:]) for _at, one in steps if one.actor.startswith("user:") and one.actor[5:].isdigit()}
    names = {f"user:{user_id}": name for user_id, name in team.names_of(ids).items()}
    return [
        {
            "at": at,
            "what": audit_words.what(one.subject_kind, one.action),
            "who": names.get(one.actor) or audit_words.who(one.actor),
            "why": one.why,
            "old": audit_words.state(one.old),
            "new": audit_words.state(one.new),
        }
        for at, one in steps
    ]


@needs(WORK_HOTSPOT)
def change(username: str) -> ResponseReturnValue:
    """One change, with its reason."""
    tenant_id, who, form = g.tenant.id, actor(), request.form
    why = form.get("reason", "")[:200].replace("\0", "").strip()

    def work() -> str:
        opened = live.find(tenant_id, username)
        what = form.get("what", "")
        if what != "lift" and not why:
            raise Refused(_("Say why."))
        if what == "extend":
            live.extend(opened, _seconds(), why=why, actor=who)
        elif what == "package":
            live.change_package(opened, form.get("package", ""), why=why, actor=who)
        elif what == "move":
            live.move(opened, form.get("mac", ""), actor=who)
        elif what == "suspend":
            live.suspend(opened, why=why, actor=who)
        elif what == "lift":
            live.lift(opened, actor=who)
        elif what == "end":
            live.end(opened, why=why, actor=who)
        else:
            raise Refused(_("Choose what is to be done."))
        return _("Done. The router is told.")

    return buttons.do(work, then=url_for("staff.pass_", username=username))


def _seconds() -> int:
    typed, unit = request.form.get("number", ""), UNITS_S.get(request.form.get("unit", "h"), 3_600)
    if not typed.isascii() or not typed.isdecimal() or len(typed) > 5:
        raise Refused(_("From one minute to 31 days."))
    return int(typed) * unit


def is_open(grant: AccessGrant) -> bool:
    """Whether its pass has time left."""
    return any(one.is_open for one in live.pass_of(grant))
