"""What the clinic offers, who gives it and when they work: for whoever runs the practice."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, time, timedelta
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, DateField, HiddenField, IntegerField, SelectField, SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from portal.clinic import appointments, branches, people, services, timetable, waiting
from portal.clinic.models import Appointment, Clinician, Service
from portal.clinic.states import WishState
from portal.kernel import clock, money, personal
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import for_people
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users import team
from portal.users.permissions import MANAGE_CLINIC, SEE_CLINIC
from portal.web.fields import PhoneField
from portal.web.language import said
from portal.web.links import public_url

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS_HINT = _l("Such as 8-13, 14-17:30; empty: does not work.")


class ServiceForm(StaffForm):
    """Something that can be booked."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    price = StringField(_l("Price in KES"), [InputRequired(_l("Enter the price.")), Length(max=20)])
    duration = IntegerField(
        _l("Minutes"), [InputRequired(), NumberRange(5, 600, _l("From 5 to 600 minutes."))], default=30
    )
    kinds = SelectField(
        _l("Where"),
        choices=[
            SelectChoice("onsite", _l("At the clinic")),
            SelectChoice("virtual", _l("Online")),
            SelectChoice("onsite,virtual", _l("At the clinic or online")),
        ],
    )
    clinicians = SelectMultipleField(
        _l("Given by"), widget=ListWidget(prefix_label=False), option_widget=CheckboxInput(), validate_choice=False
    )
    needs_approval = BooleanField(_l("A clinician decides on each booking"), default=True)
    buffer = IntegerField(
        _l("Minutes kept free after it"), [NumberRange(0, 240, _l("From 0 to 240 minutes."))], default=0
    )
    notice = IntegerField(
        _l("Can be booked until how many hours before"), [NumberRange(0, 720, _l("From 0 to 720 hours."))], default=1
    )
    hold = IntegerField(
        _l("Hours to pay in, before the time goes to others"),
        [NumberRange(1, 720, _l("From 1 to 720 hours."))],
        default=24,
    )
    cancel = IntegerField(
        _l("Patients cancel and move until how many hours before"),
        [NumberRange(0, 720, _l("From 0 to 720 hours."))],
        default=24,
    )
    late_keeps = IntegerField(
        _l("Of a later cancellation or a no-show the clinic keeps, in percent"),
        [Optional(), NumberRange(0, 100, _l("Between 0 and 100 percent."))],
        default=0,
        description=_l("0: patients cannot cancel later by themselves, and get everything back."),
    )
    money_back = SelectField(
        _l("What it does not keep goes"),
        choices=[
            SelectChoice("refund", _l("back by M-Pesa to who paid")),
            SelectChoice("credit", _l("into the patient's credit")),
        ],
        validate_choice=False,
    )
    deposit = StringField(
        _l("Deposit in KES that confirms a visit"), [Length(max=20)], description=_l("Empty: all of it is paid first.")
    )

    position = IntegerField(
        _l("Place in the list"),
        [Optional(), NumberRange(0, 999, _l("From 0 to 999."))],
        default=0,
        description=_l("The lowest number is shown first."),
    )
    seen = HiddenField(validators=[Length(max=16)])

    @classmethod
    def of(cls, service: Service) -> "ServiceForm":
        """The service as it stands, to be changed."""
        kept = asdict(services.offer_of(service)) | {
            "price": f"{money.kes(service.price_cents)}",
            "duration": service.duration_minutes,
            "kinds": service.kinds,
            "buffer": service.buffer_minutes,
            "notice": service.notice_minutes // 60,
            "hold": max(1, service.hold_minutes // 60),
            "cancel": service.cancel_hours,
            "late_keeps": service.late_keeps_percent,
            "deposit": f"{money.kes(service.deposit_cents)}" if service.deposit_cents else "",
            "clinicians": [one.uid for one in timetable.offering(service)],
            "seen": services.state_of(service),
        }
        return cls(data=kept)

    def change_of(self, service: Service) -> services.Offer:
        """What was typed; of what has no field the service keeps its own. Raises Refused."""
        is_as_long = self.duration.data == service.duration_minutes
        new = replace(self.offer(), horizon_days=service.horizon_days)
        return replace(new, step_minutes=service.step_minutes) if is_as_long else new

    def offer(self) -> services.Offer:
        """What was typed. Raises Refused."""
        minutes = self.duration.data or 0
        return services.Offer(
            " ".join((self.name.data or "").split()),
            money.payable_cents(self.price.data, limit_cents=g.tenant.push_limit_cents),
            minutes,
            kinds=tuple(self.kinds.data.split(",")),
            step_minutes=minutes,
            buffer_minutes=self.buffer.data or 0,
            notice_minutes=(self.notice.data or 0) * 60,
            hold_minutes=(self.hold.data or 1) * 60,
            cancel_hours=self.cancel.data or 0,
            late_keeps_percent=self.late_keeps.data or 0,
            money_back="credit" if self.money_back.data == "credit" else "refund",
            deposit_cents=money.payable_cents(self.deposit.data, limit_cents=g.tenant.push_limit_cents)
            if (self.deposit.data or "").strip()
            else None,
            needs_approval=bool(self.needs_approval.data),
            position=self.position.data or 0,
        )


class ClinicianForm(StaffForm):
    """Somebody who treats."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    title = StringField(_l("What they do"), [Length(max=80)])


class HoursForm(StaffForm):
    """A week, each day's hours in one line."""

    mon = StringField(_l("Monday"), [Length(max=100)], description=_HOURS_HINT)
    tue = StringField(_l("Tuesday"), [Length(max=100)])
    wed = StringField(_l("Wednesday"), [Length(max=100)])
    thu = StringField(_l("Thursday"), [Length(max=100)])
    fri = StringField(_l("Friday"), [Length(max=100)])
    sat = StringField(_l("Saturday"), [Length(max=100)])
    sun = StringField(_l("Sunday"), [Length(max=100)])
    works_holidays = BooleanField(_l("Works on public holidays too"))
    reminder_phone = PhoneField(
        _l("Own phone"), [Optional()], description=_l("Reminded by SMS an hour before each visit. Nobody else sees it.")
    )


class LeaveForm(StaffForm):
    """Days away."""

    first = DateField(_l("First day away"), [InputRequired(_l("Choose a day."))])
    last = DateField(_l("Last day away"), [InputRequired(_l("Choose a day."))])


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/timetable", "timetable", overview)
    bp.add_url_rule("/timetable/services/new", "service_new", service_form)
    bp.add_url_rule("/timetable/services/new", "service_create", create_service, methods=["POST"])
    bp.add_url_rule("/timetable/services/<uid>", "service", change_service, methods=["GET", "POST"])
    bp.add_url_rule("/timetable/services/<uid>/withdraw", "service_withdraw", withdraw_service, methods=["POST"])
    bp.add_url_rule("/timetable/clinicians", "clinician_add", add_clinician, methods=["POST"])
    bp.add_url_rule("/timetable/clinicians/<uid>", "clinician_hours", hours)
    bp.add_url_rule("/timetable/clinicians/<uid>", "clinician_hours_set", set_hours, methods=["POST"])
    bp.add_url_rule("/timetable/clinicians/<uid>/sign-in", "clinician_sign_in", sign_in_as, methods=["POST"])
    bp.add_url_rule("/timetable/clinicians/<uid>/left", "clinician_left", left, methods=["POST"])
    bp.add_url_rule("/timetable/left", "visits_left", visits_left)
    bp.add_url_rule("/timetable/clinicians/<uid>/leave", "clinician_leave", add_leave, methods=["POST"])


@needs(MANAGE_CLINIC, looks_at="timetable")
def overview() -> ResponseReturnValue:
    """Services, and who works when."""
    return _overview(ClinicianForm(formdata=None))


def _overview(form: ClinicianForm, status_code: int = 200) -> ResponseReturnValue:
    weeks = services.weeks_of(g.tenant.id)
    named = {one.id: one.name for one in services.offered(g.tenant.id)}
    page = render_template(
        "staff/timetable.html",
        services=[
            {
                "name": one.name,
                "price_cents": one.price_cents,
                "minutes": one.duration_minutes,
                "by": [who.name for who in timetable.offering(one)],
                "url": url_for("staff.service", uid=one.uid),
                "withdraw_url": url_for("staff.service_withdraw", uid=one.uid),
                "prices_url": url_for("staff.service_prices", uid=one.uid),
            }
            for one in services.offered(g.tenant.id)
        ],
        clinicians=[
            {
                "name": one.name,
                "title": one.title,
                "week": [services.hours_shown(weeks.get((one.id, day), [])) for day in range(7)],
                "url": url_for("staff.clinician_hours", uid=one.uid),
            }
            for one in people.clinicians(g.tenant.id)
        ],
        weekdays=_("Mon Tue Wed Thu Fri Sat Sun").split(),
        form=form,
        patients_url=f"{public_url()}/clinic/{g.tenant.slug}/",
        new_url=url_for("staff.service_new"),
        places_url=url_for("staff.branches"),
        left_url=url_for("staff.visits_left"),
        left_count=len(appointments.of_who_left(g.tenant.id)),
        waiting=[
            {
                "service": named.get(one.service_id, "–"),
                "first": one.first_day,
                "last": one.last_day,
                "name": personal.open_text(one.name_sealed, one.tenant_id) or "",
                "is_offered": one.state == WishState.OFFERED,
            }
            for one in waiting.of_tenant(g.tenant.id)
        ],
        add_url=url_for("staff.clinician_add"),
    )
    return page, status_code


@needs(MANAGE_CLINIC)
def service_form() -> ResponseReturnValue:
    """A new service."""
    return _service_page(ServiceForm())


def _service_page(form: ServiceForm, status_code: int = 200, *, service: Service | None = None) -> ResponseReturnValue:
    form.clinicians.choices = [(one.uid, one.name) for one in people.clinicians(g.tenant.id)]
    page = render_template(
        "staff/service_form.html",
        form=form,
        service=service,
        prices_url=url_for("staff.service_prices", uid=service.uid) if service else None,
        back_url=url_for("staff.timetable"),
    )
    return page, status_code


@needs(MANAGE_CLINIC)
def change_service(uid: str) -> ResponseReturnValue:
    """Another name, length, price or other terms of it; what is booked keeps its own."""
    service = services.for_booking(g.tenant.id, uid)
    if request.method == "GET":
        return _service_page(ServiceForm.of(service), service=service)
    form = ServiceForm()
    form.clinicians.choices = [(one.uid, one.name) for one in people.clinicians(g.tenant.id)]
    if not form.validate():
        return _service_page(form, 422, service=service)
    try:
        with transaction():
            service = services.for_booking(g.tenant.id, uid)
            by = [people.clinician(g.tenant.id, one) for one in form.clinicians.data or []]
            services.change(service, form.change_of(service), by=by, seen=form.seen.data or "", actor=actor())
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _service_page(form, error.status, service=services.for_booking(g.tenant.id, uid))
    flash(_("Changed. What is booked keeps its own terms."), "success")
    return redirect(url_for("staff.timetable"), 303)


@needs(MANAGE_CLINIC)
def create_service() -> ResponseReturnValue:
    """Offer it."""
    form = ServiceForm()
    form.clinicians.choices = [(one.uid, one.name) for one in people.clinicians(g.tenant.id)]
    if not form.validate():
        return _service_page(form, 422)
    try:
        with transaction():
            by = [people.clinician(g.tenant.id, uid) for uid in form.clinicians.data or []]
            services.create(g.tenant.id, form.offer(), by=by, actor=actor())
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _service_page(form, error.status)
    return redirect(url_for("staff.timetable"), 303)


@needs(MANAGE_CLINIC)
def withdraw_service(uid: str) -> ResponseReturnValue:
    """Offer it no more."""

    def work() -> str:
        services.withdraw(services.for_booking(g.tenant.id, uid), actor=actor())
        return _("It is offered no more. What is booked stays.")

    return buttons.do(work, then=url_for("staff.timetable"))


@needs(MANAGE_CLINIC)
def add_clinician() -> ResponseReturnValue:
    """Somebody new who treats."""
    form = ClinicianForm()
    if not form.validate():
        return _overview(form, 422)
    with transaction():
        made = people.add_clinician(g.tenant.id, name=form.name.data or "", title=form.title.data or "", actor=actor())
        uid = made.uid
    return redirect(url_for("staff.clinician_hours", uid=uid), 303)


@needs(MANAGE_CLINIC)
def hours(uid: str) -> ResponseReturnValue:
    """One clinician's week and leave."""
    clinician = people.clinician(g.tenant.id, uid)
    week = services.week_at(clinician, branches.of_uid(g.tenant.id, request.args.get("place")))
    kept: dict[str, Any] = {name: services.hours_shown(week.get(day, [])) for day, name in enumerate(WEEKDAYS)}
    msisdn = personal.open_phone(clinician.phone_sealed, g.tenant.id)
    kept |= {"works_holidays": clinician.works_holidays, "reminder_phone": for_people(msisdn) if msisdn else ""}
    form = HoursForm(formdata=None, data=kept)
    return _hours_page(clinician, form, LeaveForm(formdata=None))


def _hours_page(clinician: Clinician, form: HoursForm, leave: LeaveForm, status_code: int = 200) -> ResponseReturnValue:
    page = render_template(
        "staff/clinician.html",
        clinician=clinician,
        form=form,
        leave=leave,
        leaves=leaves_shown(clinician),
        hours_url=url_for("staff.clinician_hours_set", uid=clinician.uid, place=request.args.get("place") or None),
        places=places_shown("staff.clinician_hours", uid=clinician.uid),
        leave_url=url_for("staff.clinician_leave", uid=clinician.uid),
        left_url=url_for("staff.clinician_left", uid=clinician.uid) if clinician.left_at is None else None,
        back_url=url_for("staff.timetable"),
        sign_in_url=url_for("staff.clinician_sign_in", uid=clinician.uid),
        who_may_sign_in=_who_may_sign_in(),
    )
    return page, status_code


def places_shown(endpoint: str, **more: Any) -> list[dict[str, Any]]:
    """Where hours may be: each place of the clinic, the chosen one (`place` in the address) marked."""
    return [
        {
            "name": one.name if one else _("No place in particular"),
            "url": url_for(endpoint, place=one.uid if one else None, **more),
            "is_on": (one.uid if one else "") == request.args.get("place", ""),
        }
        for one in (None, *branches.of_tenant(g.tenant.id))
    ]


def leaves_shown(clinician: Clinician) -> list[dict[str, Any]]:
    """Leave that is not over yet, by its first and last day."""
    return [
        {
            "id": one.id,
            "first": clock.nairobi(one.starts_at).date(),
            "last": clock.nairobi(one.ends_at - timedelta(seconds=1)).date(),
        }
        for one in services.leaves_of(clinician)
    ]


def end_leave(find: Callable[[], Clinician], *, then: str) -> ResponseReturnValue:
    """What the button beside a leave does: they work in these days after all."""

    def work() -> str:
        services.end_leave(find(), request.form.get("end"), actor=actor())
        return _("Taken back. These days can be booked again.")

    return buttons.do(work, then=then)


@needs(MANAGE_CLINIC)
def set_hours(uid: str) -> ResponseReturnValue:
    """Work so from now on."""
    form = HoursForm()
    clinician = people.clinician(g.tenant.id, uid)
    week: list[tuple[int, int, int]] = []
    for day, name in enumerate(WEEKDAYS):
        try:
            week += [(day, begin, end) for begin, end in services.read_hours(form[name].data)]
        except Refused as error:
            form[name].errors = [said(error.message)]
    if not form.reminder_phone.validate(form) or form.errors:
        return _hours_page(clinician, form, LeaveForm(formdata=None), 422)
    try:
        with transaction():
            clinician = people.clinician(g.tenant.id, uid)
            if form.reminder_phone.name in request.form:
                people.remind_at(clinician, form.reminder_phone.msisdn if form.reminder_phone.data else None)
            branch = branches.of_uid(g.tenant.id, request.args.get("place"))
            services.set_hours(clinician, week, branch=branch, actor=actor())
            clinician.works_holidays = bool(form.works_holidays.data)
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _hours_page(people.clinician(g.tenant.id, uid), form, LeaveForm(formdata=None), error.status)
    flash(_("Written down."), "success")
    return redirect(url_for("staff.timetable"), 303)


@needs(MANAGE_CLINIC)
def sign_in_as(uid: str) -> ResponseReturnValue:
    """Whose sign-in this clinician's is."""

    def work() -> str:
        chosen = request.form.get("user", "")
        user_id = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 10 else None
        people.sign_in_as(people.clinician(g.tenant.id, uid), user_id, actor=actor())
        return _("Saved.")

    return buttons.do(work, then=url_for("staff.clinician_hours", uid=uid))


def _who_may_sign_in() -> list[dict[str, Any]]:
    treating = [one for one in team.members(g.tenant.id) if one.role == "clinician" and one.deactivated_at is None]
    return [{"id": one.user_id, "name": one.user.name} for one in treating]


@needs(MANAGE_CLINIC)
def left(uid: str) -> ResponseReturnValue:
    """They work here no more; whom they were to see is listed, to be moved or cancelled."""

    def work() -> str:
        mine = people.clinician(g.tenant.id, uid)
        people.leave(mine, actor=actor())
        db.session.flush()
        ahead = len(appointments.of_who_left(g.tenant.id, mine.id))
        if ahead:
            return _(
                "%(name)s takes no bookings any more. %(count)s visits are ahead: move or cancel them.",
                name=mine.name,
                count=ahead,
            )
        return _("%(name)s takes no bookings any more. No visits are ahead.", name=mine.name)

    return buttons.do(work, then=url_for("staff.visits_left"))


@needs(SEE_CLINIC, looks_at="appointments")
def visits_left() -> ResponseReturnValue:
    """Visits ahead with clinicians who work here no more."""
    rows = [
        {
            "starts_at": one.starts_at,
            "patient": people.name_of(one.patient),
            "phone": as_shown_to_staff(one),
            "clinician": one.clinician.name,
            "status": one.status,
            "url": url_for("staff.appointment_change", uid=one.uid),
        }
        for one in appointments.of_who_left(g.tenant.id)
    ]
    return render_template("staff/visits_left.html", rows=rows, back_url=url_for("staff.appointments"))


def as_shown_to_staff(one: Appointment) -> str:
    """The patient's phone, to be called."""
    msisdn = personal.open_phone(one.patient.phone_sealed, one.tenant_id)
    return for_people(msisdn) if msisdn else ""


@needs(MANAGE_CLINIC)
def add_leave(uid: str) -> ResponseReturnValue:
    """Days away; who is booked on them is said, since the patients must be called."""
    if "end" in request.form:
        back = url_for("staff.clinician_hours", uid=uid)
        return end_leave(lambda: people.clinician(g.tenant.id, uid), then=back)
    form = LeaveForm()
    clinician = people.clinician(g.tenant.id, uid)
    if not form.validate() or form.first.data is None or form.last.data is None:
        return _hours_page(clinician, HoursForm(formdata=None), form, 422)
    begin = datetime.combine(form.first.data, time(), clock.NAIROBI)
    end = datetime.combine(form.last.data, time(), clock.NAIROBI) + timedelta(days=1)

    def work() -> str:
        mine = people.clinician(g.tenant.id, uid)
        services.add_leave(mine, begin, end, actor=actor())
        booked = services.booked_between(mine, begin, end)
        db.session.flush()
        if booked:
            return _("Written down. %(count)s visits are booked in these days: move or cancel them.", count=booked)
        return _("Written down. Nobody is booked in these days.")

    return buttons.do(work, then=url_for("staff.clinician_hours", uid=uid))
