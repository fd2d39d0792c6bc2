"""A shift's pages: opened, counted and closed, explained; and the reports that stand for ever."""

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from portal.clinic.models import Branch
from portal.clinic.reception import shifts
from portal.clinic.reception.models import Shift
from portal.kernel.db import db, owned, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_id
from portal.staff.manual import CHANNELS
from portal.staff.reception.board import branches
from portal.users import permissions, team
from portal.users.permissions import RECORD_MANUAL, SEE_MONEY
from portal.web.language import said


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/shift", "shift", show)
    bp.add_url_rule("/shift", "shift_open", begin, methods=["POST"])
    bp.add_url_rule("/shift/close", "shift_close", close_page)
    bp.add_url_rule("/shift/close", "shift_count", close, methods=["POST"])
    bp.add_url_rule("/shifts", "shifts", list_reports)
    bp.add_url_rule("/shifts/<int:number>", "shift_report", one_report)
    bp.add_url_rule("/shifts/<int:number>/why", "shift_why", say_why, methods=["POST"])


@needs(RECORD_MANUAL)
def show() -> ResponseReturnValue:
    """The shift that is open, or the form that opens one. What should lie in the drawer is not told."""
    tenant_id, user_id = g.tenant.id, current_user.id
    last = shifts.latest_of(tenant_id, user_id)
    return render_template(
        "staff/reception/shift.html",
        shift=shifts.of(tenant_id, user_id),
        last=last,
        needs_why=last is not None and shifts.needs_why(last),
        places=branches(tenant_id),
    )


@needs(RECORD_MANUAL)
def begin() -> ResponseReturnValue:
    """Begin with what lies in the drawer."""
    tenant_id, user_id, who = g.tenant.id, current_user.id, actor()

    def work() -> str:
        branch = owned(Branch, tenant_id, uid=uid) if (uid := request.form.get("branch", "")) else None
        float_cents = shifts.read_cash(request.form.get("float", ""))
        branch_id = branch.id if branch else None
        shifts.begin(tenant_id, user_id, float_cents=float_cents, branch_id=branch_id, actor=who)
        return _("Your shift is open. Cash that you take is counted into it.")

    return buttons.do(work, then=url_for("staff.board" if _may_see_board() else "staff.shift"))


def _may_see_board() -> bool:
    return permissions.allows(g.role, permissions.SEE_CLINIC)


@needs(RECORD_MANUAL)
def close_page() -> ResponseReturnValue:
    """The count: what should be there is told afterwards."""
    return render_template("staff/reception/shift_close.html", shift=shifts.of(g.tenant.id, current_user.id))


@needs(RECORD_MANUAL)
def close() -> ResponseReturnValue:
    """Count, close, and see the report."""
    tenant_id, user_id, who = g.tenant.id, current_user.id, actor()
    try:
        with transaction():
            shift = shifts.of(tenant_id, user_id)
            if shift is None:
                raise Refused(_("This shift is closed already."))
            counted_cents = shifts.read_cash(request.form.get("counted", ""))
            number = shifts.close(shift, counted_cents=counted_cents, actor=who).number
    except Refused as error:
        flash(said(error.message), "danger")
        return redirect(url_for("staff.shift_close"), 303)
    return redirect(url_for("staff.shift_report", number=number), 303)


@needs(SEE_MONEY)
def list_reports() -> ResponseReturnValue:
    """What was counted, shift by shift."""
    items, cursor = shifts.reports(g.tenant.id, before_id=read_id("cursor"))
    names = team.names_of(one.user_id for one in items)
    return render_template(
        "staff/reception/shifts.html",
        rows=[_row(one, names) for one in items],
        own_url=url_for("staff.shift") if permissions.allows(g.role, RECORD_MANUAL) else None,
        next_url=url_for("staff.shifts", cursor=cursor) if cursor else None,
    )


def _row(shift: Shift, names: dict[int, str]) -> dict[str, Any]:
    return {
        "shift": shift,
        "who": names.get(shift.user_id, ""),
        "needs_why": shifts.needs_why(shift),
        "url": url_for("staff.shift_report", number=shift.number),
    }


@needs(SEE_MONEY)
def one_report(number: int) -> ResponseReturnValue:
    """One report, as it was counted."""
    return _report_page(shifts.report(g.tenant.id, number))


def _report_page(shift: Shift, problem: str = "", status_code: int = 200) -> ResponseReturnValue:
    is_mine = shift.user_id == current_user.id and permissions.allows(g.role, RECORD_MANUAL)
    page = render_template(
        "staff/reception/shift_report.html",
        shift=shift,
        channels=CHANNELS,
        who=team.names_of([shift.user_id]).get(shift.user_id, ""),
        why_url=url_for("staff.shift_why", number=shift.number) if is_mine and shifts.needs_why(shift) else None,
        problem=problem,
        typed=request.form.get("why", ""),
    )
    return page, status_code


@needs(RECORD_MANUAL)
def say_why(number: int) -> ResponseReturnValue:
    """Why the count differed, by who counted."""
    user_id, who = current_user.id, actor()
    try:
        with transaction():
            shift = shifts.report(g.tenant.id, number)
            if shift.user_id != user_id:
                raise Conflict(_("Only who counted says why it differs."), code="not_yours")
            shifts.say_why(shift, request.form.get("why", ""), actor=who)
    except NotFound:
        raise
    except Refused as error:
        db.session.rollback()
        return _report_page(shifts.report(g.tenant.id, number), said(error.message), 422)
    flash(_("Written down."), "success")
    return redirect(url_for("staff.shift_report", number=number), 303)
