"""The clinician's own day and week: who comes, who has paid, and the way into a meeting; own hours and leave."""

from datetime import date, datetime, time, timedelta
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from portal.clinic import branches, people, services
from portal.clinic.models import Clinician
from portal.clinic.reception import board
from portal.clinic.reception.board import View
from portal.kernel import clock, personal
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.phone import for_people
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.reception import rows
from portal.staff.reception.board import read_day
from portal.staff.reception.rows import Seen
from portal.staff.timetable import WEEKDAYS, HoursForm, LeaveForm, end_leave, leaves_shown, places_shown
from portal.users.permissions import SEE_CLINIC, WORK_CLINIC
from portal.web.language import said

WEEK_DAYS = 7


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/own/day", "own_day", day)
    bp.add_url_rule("/own/week", "own_week", week)
    bp.add_url_rule("/own/live", "own_live", live)
    bp.add_url_rule("/own/hours", "own_hours", hours)
    bp.add_url_rule("/own/hours", "own_hours_set", set_hours, methods=["POST"])
    bp.add_url_rule("/own/leave", "own_leave", add_leave, methods=["POST"])


def _me() -> Clinician:
    """Who is signed in, as a clinician here. Raises NotFound for others."""
    mine = board.clinician_of(g.tenant.id, current_user.id)
    if mine is None:
        raise NotFound(_("You are not among the clinicians here. An administrator links your sign-in to one."))
    return mine


def _view(page: str) -> View:
    first = read_day(request.values.get("day", ""))
    if page == "week":
        first -= timedelta(days=first.weekday())
    return View(g.tenant.id, first, days=WEEK_DAYS if page == "week" else 1, clinician_id=_me().id)


@needs(SEE_CLINIC, looks_at="appointments")
def day() -> ResponseReturnValue:
    """Today, or another day."""
    return _page("day")


@needs(SEE_CLINIC, looks_at="appointments")
def week() -> ResponseReturnValue:
    """Monday to Sunday."""
    return _page("week")


def _page(page: str) -> ResponseReturnValue:
    view = _view(page)
    return render_template("staff/reception/own.html", **_shown(view, page, rows.seen_now(view)))


def _shown(view: View, page: str, seen: Seen) -> dict[str, Any]:
    found = board.rows(view)
    now = clock.nairobi(clock.now()).date()
    step = timedelta(days=view.days)

    def on(first: date) -> str:
        return url_for(f"staff.own_{page}", day=None if first == now else first)

    return {
        "rows": rows.shown(found),
        "sums": board.sums(found),
        "seen": str(seen),
        "page": page,
        "day": view.first,
        "last": view.first + step - timedelta(days=1),
        "is_today": view.first <= now < view.first + step,
        "days": {"before": on(view.first - step), "after": on(view.first + step), "now": on(now)},
        "poll_url": url_for("staff.own_live", day=view.first, page=page),
    }


@needs(SEE_CLINIC, looks_at="appointments")
def live() -> ResponseReturnValue:
    """The rows that are different from what the page has; 204 where none is."""
    page = "week" if request.args.get("page") == "week" else "day"
    if "HX-Request" not in request.headers:
        return redirect(url_for(f"staff.own_{page}"), 302)
    view = _view(page)
    before, now = Seen.read(request.args.get("seen", "")), rows.seen_now(view)
    if before.rows == now.rows and list(before.rows) == list(now.rows):
        return "", 204
    shown = _shown(view, page, now)
    return render_template("staff/reception/_live.html", **shown | rows.changes(before, now, shown["rows"]))


@needs(WORK_CLINIC)
def hours() -> ResponseReturnValue:
    """When I work, and when I am away."""
    mine = _me()
    week = services.week_at(mine, branches.of_uid(g.tenant.id, request.args.get("place")))
    kept: dict[str, Any] = {name: services.hours_shown(week.get(at, [])) for at, name in enumerate(WEEKDAYS)}
    msisdn = personal.open_phone(mine.phone_sealed, g.tenant.id)
    kept |= {"works_holidays": mine.works_holidays, "reminder_phone": for_people(msisdn) if msisdn else ""}
    form = HoursForm(formdata=None, data=kept)
    return _hours_page(mine, form, LeaveForm(formdata=None))


def _hours_page(mine: Clinician, form: HoursForm, leave: LeaveForm, status_code: int = 200) -> ResponseReturnValue:
    page = render_template(
        "staff/clinician.html",
        clinician=mine,
        form=form,
        leave=leave,
        leaves=leaves_shown(mine),
        hours_url=url_for("staff.own_hours_set", place=request.args.get("place") or None),
        places=places_shown("staff.own_hours"),
        leave_url=url_for("staff.own_leave"),
        back_url=url_for("staff.own_day"),
    )
    return page, status_code


@needs(WORK_CLINIC)
def set_hours() -> ResponseReturnValue:
    """Work so from now on."""
    form, mine = HoursForm(), _me()
    wanted: list[tuple[int, int, int]] = []
    for at, name in enumerate(WEEKDAYS):
        try:
            wanted += [(at, begin, end) for begin, end in services.read_hours(form[name].data)]
        except Refused as error:
            form[name].errors = [said(error.message)]
    if not form.reminder_phone.validate(form) or form.errors:
        return _hours_page(mine, form, LeaveForm(formdata=None), 422)
    try:
        with transaction():
            mine = _me()
            if form.reminder_phone.name in request.form:
                people.remind_at(mine, form.reminder_phone.msisdn if form.reminder_phone.data else None)
            branch = branches.of_uid(g.tenant.id, request.args.get("place"))
            services.set_hours(mine, wanted, branch=branch, actor=actor())
            mine.works_holidays = bool(form.works_holidays.data)
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _hours_page(_me(), form, LeaveForm(formdata=None), error.status)
    flash(_("Written down."), "success")
    return redirect(url_for("staff.own_hours", place=request.args.get("place") or None), 303)


@needs(WORK_CLINIC)
def add_leave() -> ResponseReturnValue:
    """Days away; who is booked on them is said, since the patients must be called."""
    if "end" in request.form:
        return end_leave(_me, then=url_for("staff.own_hours"))
    form, mine = LeaveForm(), _me()
    if not form.validate() or form.first.data is None or form.last.data is None:
        return _hours_page(mine, HoursForm(formdata=None), form, 422)
    begin = datetime.combine(form.first.data, time(), clock.NAIROBI)
    end = datetime.combine(form.last.data, time(), clock.NAIROBI) + timedelta(days=1)

    def work() -> str:
        me = _me()
        services.add_leave(me, begin, end, actor=actor())
        booked = services.booked_between(me, begin, end)
        db.session.flush()
        if booked:
            return _("Written down. %(count)s visits are booked in these days: move or cancel them.", count=booked)
        return _("Written down. Nobody is booked in these days.")

    return buttons.do(work, then=url_for("staff.own_hours"))
