"""Booking for who calls or walks in, in three actions: who and what, then a time. And changing what is booked.

Nothing of the patient stands in an address: the first form is sent, not asked for.
"""

from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from wtforms import BooleanField, DateField, IntegerField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from portal.clinic import appointments, people, policies, series, services, timetable
from portal.clinic.models import Appointment, Clinician, Patient, Service
from portal.kernel import clock, personal, queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users import permissions
from portal.users.permissions import APPROVE_APPOINTMENTS, WORK_CLINIC
from portal.web.fields import PhoneField
from portal.web.language import said
from portal.web.links import pay_url, visit_url

DAYS_SHOWN = 7


class DeskForm(StaffForm):
    """Who comes, and for what."""

    phone = PhoneField(_l("Phone number"), [InputRequired(_l("Enter the phone number."))])
    name = StringField(_l("Name of who comes"), [Optional(), Length(max=80)])
    patient = StringField(validators=[Optional(), Length(max=24)])
    service = SelectField(_l("Service"), validate_choice=False, validators=[InputRequired(_l("Choose a service."))])
    kind = SelectField(
        _l("Where"), choices=[SelectChoice("onsite", _l("At the clinic")), SelectChoice("virtual", _l("Online"))]
    )
    day = DateField(_l("From day"), [Optional()])
    weeks = IntegerField(
        _l("Weekly, how many times"), [Optional(), NumberRange(1, series.MOST, _l("From 1 to 26."))], default=1
    )
    leaves_out = BooleanField(_l("Leave out the weeks that are not free"))
    slot = StringField(validators=[Optional(), Length(max=80)])
    at = StringField(_l("Another time, beside other visits"), [Optional(), Length(max=40)])
    clinician = SelectField(_l("With"), validate_choice=False)
    overlap_why = StringField(_l("Why it is booked beside another visit"), [Optional(), Length(max=200)])


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/appointments/new", "appointment_new", new)
    bp.add_url_rule("/appointments/new", "appointment_book", book, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/change", "appointment_change", change)
    bp.add_url_rule("/appointments/<uid>/move", "appointment_move", move, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/cancel", "appointment_cancel", cancel, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/cancel-series", "series_cancel", cancel_series, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/start", "appointment_start", start, methods=["POST"])


def _form(**given: Any) -> DeskForm:
    form = DeskForm(**given)
    form.service.choices = [SelectChoice(one.uid, one.name) for one in services.offered(g.tenant.id)]
    form.clinician.choices = [SelectChoice(one.uid, one.name) for one in people.clinicians(g.tenant.id)]
    return form


@needs(WORK_CLINIC)
def new() -> ResponseReturnValue:
    """Who comes, and for what."""
    form = _form(day=clock.nairobi(clock.now()).date())
    return render_template("staff/desk_booking.html", form=form, days=None, known=[], **_addresses())


def _addresses() -> dict[str, str]:
    return {"action": url_for("staff.appointment_book"), "back_url": url_for("staff.appointments")}


@needs(WORK_CLINIC)
def book() -> ResponseReturnValue:
    """The free times for what was asked; with one of them chosen, it is booked."""
    form = _form()
    if not form.validate():
        return _times_page(form, 422)
    if not form.slot.data and not (form.at.data and form.overlap_why.data):
        return _times_page(form)
    try:
        with transaction():
            booked = _book(form)
            name = people.name_of(booked[0].patient)
            shown = f"{clock.nairobi(booked[0].starts_at):%d/%m/%Y %H:%M}"
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _times_page(form, error.status)
    queue.enqueue(queue.OUTBOX)
    if len(booked) > 1:
        flash(
            _("Booked: %(name)s, %(count)s visits from %(when)s.", name=name, count=len(booked), when=shown), "success"
        )
    else:
        flash(_("Booked: %(name)s, %(when)s.", name=name, when=shown), "success")
    return redirect(url_for("staff.appointments"), 303)


def _times_page(form: DeskForm, status_code: int = 200) -> ResponseReturnValue:
    days, known, service = None, [], None
    if form.phone.data and not form.phone.errors:
        known = people.of_phone(g.tenant.id, personal.phone_hash(form.phone.msisdn, g.tenant.id))
    if form.service.data and not form.service.errors:
        service = services.for_booking(g.tenant.id, form.service.data)
        today = clock.nairobi(clock.now()).date()
        days = _days(service, max(form.day.data or today, today), form.kind.data)
    page = render_template(
        "staff/desk_booking.html",
        form=form,
        service=service,
        days=days,
        known=[{"uid": one.uid, "name": people.name_of(one)} for one in known],
        **_addresses(),
    )
    return page, status_code


def _days(service: Service, first: date, kind: str, *, clinician: Clinician | None = None) -> list[dict[str, object]]:
    """A week of free times of everybody, each with whom it is with."""
    last = first + timedelta(days=DAYS_SHOWN - 1)
    found = timetable.free_slots(service, first, last, kind=kind, clinician=clinician, by_staff=True)
    return [
        {
            "day": day,
            "hours": [
                {
                    "value": f"{slot.clinician.uid}|{clock.nairobi(slot.starts_at).isoformat()}",
                    "shown": f"{clock.nairobi(slot.starts_at):%H:%M}",
                    "clinician": slot.clinician.name,
                    "branch": slot.branch.name if slot.branch else "",
                    "price_cents": slot.price_cents,
                }
                for slot in of_day
            ],
        }
        for day, of_day in groupby(found, key=lambda slot: clock.nairobi(slot.starts_at).date())
    ]


def _chosen(value: str) -> tuple[Clinician, datetime]:
    """Whom and when a button stands for. Raises Refused."""
    uid, _bar, at = value.partition("|")
    try:
        return people.clinician(g.tenant.id, uid), appointments.read_start(at)
    except NotFound:
        raise Refused(_("Choose a time.")) from None


def _book(form: DeskForm) -> list[Appointment]:
    tenant = g.tenant
    service = services.for_booking(tenant.id, form.service.data)
    patient = _patient(form)
    if form.slot.data:
        clinician, starts_at = _chosen(form.slot.data)
    else:
        clinician = people.clinician(tenant.id, form.clinician.data)
        starts_at = appointments.read_start(form.at.data)
    if form.slot.data and (form.weeks.data or 1) > 1:
        plan = series.Plan(
            service, clinician, form.kind.data, starts_at, form.weeks.data or 1, bool(form.leaves_out.data)
        )
        booked = series.book(tenant, patient, plan, actor=actor())
    else:
        booked = [_one(form, service, patient, clinician, starts_at)]
    if permissions.allows(g.role, APPROVE_APPOINTMENTS):
        for one in booked:  # which tells the patient how to pay: that it was asked for says nothing more
            appointments.approve(tenant, one, actor=actor(), pay_url_of=pay_url)
    else:
        series.tell_asked_for(booked, visit_url=visit_url(booked[0]))
    return booked


def _one(form: DeskForm, service: Service, patient: Patient, clinician: Clinician, starts_at: datetime) -> Appointment:
    how: dict[str, Any] = {
        "patient": patient, "kind": form.kind.data, "starts_at": starts_at, "service": service, "actor": actor(),
        "duration_minutes": service.duration_minutes, "clinician": clinician,
    }  # fmt: skip
    if form.slot.data:
        slot = timetable.slot_at(service, starts_at, kind=form.kind.data, clinician=clinician, by_staff=True)
        return appointments.book(g.tenant, price_cents=slot.price_cents, branch=slot.branch, **how)
    return appointments.book(
        g.tenant,
        price_cents=timetable.prices_of(service).get(clinician.id, service.price_cents),
        branch=timetable.branch_at(clinician, starts_at),
        overlap_why=form.overlap_why.data or "",
        **how,
    )


def _patient(form: DeskForm) -> Patient:
    if form.patient.data:
        known = people.patient(g.tenant.id, form.patient.data)
        if known.phone_hash == personal.phone_hash(form.phone.msisdn, g.tenant.id):
            return known
    if not (form.name.data or "").strip():
        sentence = _("Enter the name of who comes.")
        form.name.errors = [sentence]
        raise Refused(sentence)
    return people.find_or_register(g.tenant.id, name=form.name.data, phone=form.phone.msisdn, actor=actor())


@needs(WORK_CLINIC, looks_at="appointments")
def change(uid: str) -> ResponseReturnValue:
    """Another time, another clinician, or none: one visit's."""
    one = appointments.get_by_uid(g.tenant.id, uid)
    today = clock.nairobi(clock.now()).date()
    first = clock.nairobi(one.starts_at).date()
    if asked := request.args.get("from", ""):
        try:
            first = date.fromisoformat(asked[:10])
        except ValueError:
            first = today
    is_movable = one.status in appointments.MOVABLE
    first = max(first, today)
    by_patient, by_clinic = (policies.share_now(one, by=by) for by in (policies.PATIENT, policies.CLINIC))
    return render_template(
        "staff/visit_change.html",
        visit=one,
        patient=people.name_of(one.patient),
        is_movable=is_movable,
        may_cancel="cancelled" in appointments.ALLOWED[one.status],
        days=_days(one.service, first, one.kind) if is_movable and one.service is not None else [],
        by_patient=by_patient,
        by_clinic=by_clinic,
        move_url=url_for("staff.appointment_move", uid=uid),
        cancel_url=url_for("staff.appointment_cancel", uid=uid),
        series_days=[each.starts_at for each in series.ahead(one)],
        series_url=url_for("staff.series_cancel", uid=uid),
        later_url=url_for("staff.appointment_change", uid=uid) + f"?from={first + timedelta(days=DAYS_SHOWN)}",
        back_url=url_for("staff.appointments"),
    )


@needs(WORK_CLINIC)
def move(uid: str) -> ResponseReturnValue:
    """Its money goes with it; the patient is told."""

    def work() -> str:
        one = appointments.get_by_uid(g.tenant.id, uid)
        clinician, starts_at = _chosen(request.form.get("slot", ""))
        appointments.reschedule(one, starts_at, clinician=clinician, actor=actor())
        return _("Moved. The patient has been told.")

    return buttons.do(work, then=url_for("staff.appointment_change", uid=uid), ring=queue.OUTBOX)


@needs(WORK_CLINIC)
def cancel(uid: str) -> ResponseReturnValue:
    """By whose doing it is cancelled decides what goes back."""
    by = policies.PATIENT if request.form.get("by") == policies.PATIENT else policies.CLINIC
    why = request.form.get("reason", "").replace("\0", "").strip()[:200]

    def work() -> str:
        one = appointments.get_by_uid(g.tenant.id, uid)
        appointments.cancel(one, why=why, by=by, actor=actor(), user_id=current_user.id)
        return _("Cancelled. The patient has been told.")

    answer = buttons.do(work, then=url_for("staff.appointment_change", uid=uid), ring=queue.OUTBOX)
    queue.enqueue(queue.REQUESTS)
    queue.enqueue(queue.WITHDRAW)
    return answer


@needs(WORK_CLINIC)
def cancel_series(uid: str) -> ResponseReturnValue:
    """All that is ahead of a series, each visit by its own terms."""
    by = policies.PATIENT if request.form.get("by") == policies.PATIENT else policies.CLINIC
    why = request.form.get("reason", "").replace("\0", "").strip()[:200]
    tenant_id, who, user_id = g.tenant.id, actor(), current_user.id

    def work() -> str:
        ended = series.cancel(tenant_id, uid, why=why, by=by, user_id=user_id, actor=who)
        if ended.left:
            return _(
                "%(count)s visits cancelled; %(left)s were changed by somebody else meanwhile: look again.",
                count=ended.done,
                left=ended.left,
            )
        if not ended.done:
            raise Refused(_("Nothing of this series is ahead any more."))
        return _("%(count)s visits cancelled. The patient has been told.", count=ended.done)

    answer = buttons.do_outside(work, then=url_for("staff.appointment_change", uid=uid))
    for job in (queue.OUTBOX, queue.REQUESTS, queue.WITHDRAW):
        queue.enqueue(job)
    return answer


@needs(WORK_CLINIC)
def start(uid: str) -> ResponseReturnValue:
    """The patient is with the clinician."""

    def work() -> str:
        appointments.start(appointments.get_by_uid(g.tenant.id, uid), actor=actor())
        return _("Written down: the visit has begun.")

    return buttons.do(work, then=url_for("staff.appointments"))
