"""Booking a visit in a browser: service, time, phone, code; then the visit's own page, for whoever has its address.

Plain pages and forms, so that it works on any phone and without JavaScript. Nothing here carries authority but the
code that was sent to the phone, and the visit's token.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _

from portal.clinic import appointments, bookings, branches, late, people, policies, series, services, timetable, waiting
from portal.clinic.models import Appointment, Branch, Clinician, Service, WaitingWish
from portal.clinic.states import IN_LINE, WishState
from portal.clinic.timetable import Slot
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.phone import for_screens
from portal.payer.forms import BookForm, BookingCodeForm, WaitForm
from portal.payments.states import PaymentState
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import count_code, refuse_guessers, wrong_guess
from portal.web.links import door_url, pay_url, visit_url

DAYS_SHOWN = 7
bp = Blueprint("booking", __name__)


@bp.get("/clinic/<slug>/book/<service_uid>")
def times(slug: str, service_uid: str) -> ResponseReturnValue:
    """A week of free times, by day; each leads to the form."""
    tenant = find.by_slug(slug, kind="clinic")
    service = services.for_booking(tenant.id, service_uid)
    kind = _kind(service)
    clinician, branch = _clinician(tenant), _branch(tenant)
    first, offering = _first_day(), timetable.offering(service)
    last = first + timedelta(days=DAYS_SHOWN - 1)
    found = timetable.free_slots(service, first, last, kind=kind, clinician=clinician, branch=branch)
    chosen = {
        "kind": kind, "clinician": clinician.uid if clinician else None, "branch": branch.uid if branch else None,
    }  # fmt: skip
    here: dict[str, Any] = {"slug": slug, "service_uid": service_uid} | chosen
    today = clock.nairobi(clock.now()).date()
    return render_template(
        "clinic/times.html",
        tenant=tenant,
        service=service,
        kind=kind,
        days=_days(found, here),
        ways=[
            {"kind": one, "url": url_for("booking.times", **here | {"kind": one, "from": first}), "is_on": one == kind}
            for one in service.kinds.split(",")
        ],
        branches=[
            {
                "name": one.name if one else _("Any place"),
                "url": url_for("booking.times", **here | {"branch": one.uid if one else None, "from": first}),
                "is_on": (one.id if one else None) == (branch.id if branch else None),
            }
            for one in (None, *branches.of_tenant(tenant.id))
        ]
        if kind == "onsite"
        else [],
        is_gone="gone" in request.args,
        wait_url=url_for("booking.wait", **here),
        clinicians=[
            {
                "name": one.name if one else _("Whoever is free first"),
                "url": url_for("booking.times", **here | {"clinician": one.uid if one else None, "from": first}),
                "is_on": (one.id if one else None) == (clinician.id if clinician else None),
            }
            for one in (None, *offering)
        ],
        earlier_url=url_for("booking.times", **here | {"from": max(today, first - timedelta(days=DAYS_SHOWN))})
        if first > today
        else None,
        later_url=url_for("booking.times", **here | {"from": first + timedelta(days=DAYS_SHOWN)})
        if first + timedelta(days=DAYS_SHOWN) <= today + timedelta(days=service.horizon_days)
        else None,
        first=first,
        last=first + timedelta(days=DAYS_SHOWN - 1),
        front_url=url_for("clinic.front", slug=slug),
    )


def _days(found: Sequence[Slot], here: dict[str, Any]) -> list[dict[str, object]]:
    """Each day with its times; of several clinicians free at once the first one is offered."""
    days = []
    for day, of_day in groupby(found, key=lambda slot: clock.nairobi(slot.starts_at).date()):
        seen: dict[datetime, Slot] = {}
        for slot in of_day:
            seen.setdefault(slot.starts_at, slot)
        hours = [
            {
                "shown": f"{clock.nairobi(slot.starts_at):%H:%M}",
                "clinician": slot.clinician.name,
                "branch": slot.branch.name if slot.branch else "",
                "price_cents": slot.price_cents,
                "url": url_for("booking.details", **here | {"at": clock.nairobi(slot.starts_at).isoformat()}),
            }
            for slot in seen.values()
        ]
        days.append({"day": day, "hours": hours})
    return days


def _kind(service: Service) -> str:
    asked = request.values.get("kind", "")
    offered = service.kinds.split(",")
    return asked if asked in offered else offered[0]


def _clinician(tenant: Tenant) -> Clinician | None:
    uid = request.values.get("clinician")
    return people.clinician(tenant.id, uid) if uid else None


def _branch(tenant: Tenant) -> Branch | None:
    return branches.of_uid(tenant.id, request.values.get("branch"))


def _first_day() -> date:
    today = clock.nairobi(clock.now()).date()
    try:
        return max(today, date.fromisoformat(request.args.get("from", "")[:10]))
    except ValueError:
        return today


@bp.get("/clinic/<slug>/book/<service_uid>/details")
def details(slug: str, service_uid: str) -> ResponseReturnValue:
    """Who comes: name and phone, and what it costs until when it can be changed."""
    tenant = find.by_slug(slug, kind="clinic")
    return _details(tenant, services.for_booking(tenant.id, service_uid), BookForm(formdata=None))


def _details(tenant: Tenant, service: Service, form: BookForm, status_code: int = 200) -> ResponseReturnValue:
    at = request.values.get("at", "")
    try:
        starts_at = appointments.read_start(at)
    except Refused:
        return redirect(url_for("booking.times", slug=tenant.slug, service_uid=service.uid), 303)
    clinician, branch, kind = _clinician(tenant), _branch(tenant), _kind(service)
    try:
        slot = timetable.slot_at(service, starts_at, kind=kind, clinician=clinician, branch=branch)
    except timetable.SlotTaken:
        if request.method == "GET":
            return redirect(url_for("booking.times", slug=tenant.slug, service_uid=service.uid, kind=kind, gone=1), 303)
        slot = None
    price_cents = slot.price_cents if slot else service.price_cents
    carried = {"at": at, "kind": kind, "price": str(price_cents), "shown": services.version_of(service)}
    carried |= {"clinician": clinician.uid} if clinician else {}
    carried |= {"branch": branch.uid} if branch else {}
    page = render_template(
        "clinic/details.html",
        tenant=tenant,
        service=service,
        kind=kind,
        starts_at=starts_at,
        clinician=clinician,
        price_cents=price_cents,
        place=appointments.place_of(tenant, slot.branch) if slot and kind == "onsite" else "",
        terms=[said(each) for each in policies.terms(service, price_cents=price_cents)],
        form=form,
        carried=carried,
        form_action=url_for("booking.book", slug=tenant.slug, service_uid=service.uid),
        times_url=url_for("booking.times", slug=tenant.slug, service_uid=service.uid, kind=_kind(service)),
    )
    return page, status_code


@bp.post("/clinic/<slug>/book/<service_uid>/details")
def book(slug: str, service_uid: str) -> ResponseReturnValue:
    """Ask for the time: the code goes to the phone."""
    tenant = find.by_slug(slug, kind="clinic")
    service = services.for_booking(tenant.id, service_uid)
    form = BookForm()
    if not form.validate():
        return _details(tenant, service, form, 422)
    try:
        wish = bookings.Wish(
            service,
            appointments.read_start(request.values.get("at")),
            _kind(service),
            bookings.read_name(form.name.data),
            form.phone.msisdn,
            _clinician(tenant),
            _branch(tenant),
            _shown_cents(),
            _shown_version(),
        )
        refuse_guessers("booking", tenant.id)
        wrong_guess("booking", tenant.id)  # each costs the clinic a message: a network's are counted
        count_code(wish.msisdn)
        with transaction():
            uid = bookings.begin(tenant, wish, locale=str(get_locale() or tenant.locale)).uid
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _details(find.by_slug(slug), services.for_booking(tenant.id, service_uid), form, error.status)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("booking.code", slug=slug, uid=uid), 303)


def _shown_cents() -> int | None:
    """The price that stood on the page which this form was on; None where none did."""
    return _cents_in("price")


def _shown_version() -> str | None:
    """Which state of the service stood on that page; None where none did."""
    return request.form.get("shown", "")[:16] or None


def _cents_in(name: str) -> int | None:
    shown = request.form.get(name, "")
    return int(shown) if shown.isascii() and shown.isdecimal() and len(shown) < 15 else None


@bp.get("/clinic/<slug>/booking/<uid>")
def code(slug: str, uid: str) -> ResponseReturnValue:
    """The code that was sent."""
    return _code(find.by_slug(slug, kind="clinic"), uid, BookingCodeForm(formdata=None))


def _code(
    tenant: Tenant,
    uid: str,
    form: BookingCodeForm,
    status_code: int = 200,
    *,
    price_cents: int | None = None,
    is_changed: bool = False,
) -> ResponseReturnValue:
    """price_cents: what it costs now, where that is not what was shown. is_changed: nor is the service."""
    booking = bookings.get(uid)
    if booking.tenant_id != tenant.id:
        raise NotFound(_("There is no such booking here. Begin again."))
    if booking.appointment_id is not None and not form.errors and request.method == "GET":
        form.form_errors.append(_("This visit is booked already; its page is in the message that you got."))
    msisdn = personal.open_phone(booking.phone_sealed, tenant.id) or ""
    service = db.session.get_one(Service, booking.service_id)
    price_cents = price_cents or _shown_cents()
    shown = services.version_of(service) if is_changed else _shown_version()
    page = render_template(
        "clinic/code.html",
        tenant=tenant,
        service=service,
        starts_at=booking.starts_at,
        price_cents=price_cents or booking.price_cents,
        carried=({"price": str(price_cents)} if price_cents else {}) | ({"shown": shown} if shown else {}),
        terms=[said(one) for one in policies.terms(service, price_cents=price_cents or booking.price_cents)],
        phone=for_screens(msisdn) if msisdn else "",
        form=form,
        times_url=url_for("booking.times", slug=tenant.slug, service_uid=service.uid, kind=booking.kind),
    )
    return page, status_code


@bp.post("/clinic/<slug>/booking/<uid>")
def confirm(slug: str, uid: str) -> ResponseReturnValue:
    """Show the code: the time is taken."""
    tenant = find.by_slug(slug, kind="clinic")
    form = BookingCodeForm()
    if not form.validate():
        return _code(tenant, uid, form, 422)
    try:
        booking = bookings.get(uid)
        if booking.tenant_id != tenant.id:
            raise NotFound(_("There is no such booking here. Begin again."))
        with transaction():
            bookings.count_code(booking.id)
        with transaction():
            tenant = find.by_slug(slug)
            booked = bookings.confirm(
                tenant,
                bookings.get(uid),
                form.code.data or "",
                pay_url_of=pay_url,
                visit_url_of=visit_url,
                price_cents=_shown_cents(),
                shown=_shown_version(),
            )
            token = booked.token
    except bookings.ServiceChanged as error:
        form.form_errors.append(said(error.message))
        return _code(find.by_slug(slug), uid, form, error.status, is_changed=True)
    except bookings.PriceChanged as error:
        form.form_errors.append(said(error.message))
        return _code(find.by_slug(slug), uid, form, error.status, price_cents=error.price_cents)
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _code(find.by_slug(slug), uid, form, error.status)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("booking.visit", token=token), 303)


def _visit(token: str) -> Appointment:
    found = appointments.by_token(token)
    if found is None:
        raise NotFound(_("This visit is not known here. Check that you copied all of the address."))
    return found


@bp.get("/visit/<token>")
def visit(token: str) -> ResponseReturnValue:
    """One visit: how it stands, what to pay, where to come, and how to change it."""
    return _visit_page(_visit(token))


def _visit_page(one: Appointment, *, problem: str = "", status_code: int = 200) -> ResponseReturnValue:
    payment = one.invoice.payment if one.invoice else None
    may_change, late_cents = appointments.patient_may_change(one), late.held_cents(one)
    page = render_template(
        "clinic/visit.html",
        tenant=one.tenant,
        visit=one,
        problem=problem,
        due_cents=payment.due_cents if payment and one.status == "approved" else 0,
        pay_url=url_for("pay.show", token=payment.token) if payment and payment.state == PaymentState.OPEN else None,
        receipt_url=url_for("pay.show", token=payment.token) if payment and payment.allocated_cents else None,
        join_url=door_url(one),
        is_over=one.status in ("cancelled", "declined", "completed", "no_show"),
        may_change=may_change,
        cancel_url=url_for("booking.cancel", token=one.token) if appointments.patient_may_cancel(one) else None,
        cancel_share=policies.share_now(one) if appointments.patient_may_cancel(one) else None,
        terms=[said(each) for each in policies.terms(one, price_cents=one.price_cents)] if one.service else [],
        deposit_due_cents=payment.deposit_due_cents if payment and one.status == "approved" else 0,
        rest_cents=payment.due_cents if payment and one.status in ("confirmed", "started") else 0,
        late_cents=late_cents,
        take_days=_moves(one) if late_cents and late.may_choose(one) else None,
        take_action=url_for("booking.take", token=one.token),
        back_action=url_for("booking.money_back", token=one.token),
        move_days=_moves(one) if may_change and one.service is not None and "move" in request.args else None,
        move_url=url_for("booking.visit", token=one.token, move=1) if may_change and one.service else None,
        move_action=url_for("booking.move", token=one.token),
        series=[
            {"starts_at": each.starts_at, "url": url_for("booking.visit", token=each.token), "is_this": each is one}
            for each in series.ahead(one)
        ],
        series_free=len(series.still_changeable(one)),
        series_url=url_for("booking.cancel_series", token=one.token),
        change_until=until if (until := policies.change_until(one)) > clock.now() else None,
        again_url=url_for("clinic.front", slug=one.tenant.slug),
        test_mode=bool(payment and payment.is_sandbox),
    )
    return page, status_code


def _moves(one: Appointment) -> list[dict[str, object]]:
    """Free times of the same clinician in the next fortnight."""
    assert one.service is not None  # noqa: S101 - the caller looked
    today = clock.nairobi(clock.now()).date()
    found = timetable.free_slots(one.service, today, today + timedelta(days=13), kind=one.kind, clinician=one.clinician)
    return [
        {
            "day": day,
            "hours": [
                {
                    "at": clock.nairobi(slot.starts_at).isoformat(),
                    "shown": f"{clock.nairobi(slot.starts_at):%H:%M}",
                }
                for slot in of_day
            ],
        }
        for day, of_day in groupby(found, key=lambda slot: clock.nairobi(slot.starts_at).date())
    ]


@bp.post("/visit/<token>/cancel")
def cancel(token: str) -> ResponseReturnValue:
    """The patient cannot come."""
    try:
        with transaction():
            appointments.cancel_by_patient(_visit(token), accepts_cents=_cents_in("kept") or 0)
    except Refused as error:
        return _visit_page(_visit(token), problem=said(error.message), status_code=error.status)
    queue.enqueue(queue.OUTBOX)
    queue.enqueue(queue.WITHDRAW)
    queue.enqueue(queue.REQUESTS)
    return redirect(url_for("booking.visit", token=token), 303)


@bp.post("/visit/<token>/cancel-series")
def cancel_series(token: str) -> ResponseReturnValue:
    """None of the visits that may still be changed."""
    ended = series.cancel_by_patient(_visit(token).token)
    for job in (queue.OUTBOX, queue.WITHDRAW, queue.REQUESTS):
        queue.enqueue(job)
    if not ended.done:
        problem = _("None of these visits can be cancelled here any more. Please call the clinic.")
        return _visit_page(_visit(token), problem=problem, status_code=409)
    return redirect(url_for("booking.visit", token=token), 303)


@bp.post("/visit/<token>/take")
def take(token: str) -> ResponseReturnValue:
    """Money came when the time had gone: its payer takes another one with it."""
    try:
        starts_at = appointments.read_start(request.form.get("at"))
        with transaction():
            late.choose(_visit(token), starts_at)
    except Refused as error:
        return _visit_page(_visit(token), problem=said(error.message), status_code=error.status)
    queue.enqueue(queue.PAID)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("booking.visit", token=token), 303)


@bp.post("/visit/<token>/money-back")
def money_back(token: str) -> ResponseReturnValue:
    """Money came when the time had gone: its payer has it back."""
    try:
        with transaction():
            late.send_back(_visit(token))
    except Refused as error:
        return _visit_page(_visit(token), problem=said(error.message), status_code=error.status)
    queue.enqueue(queue.REQUESTS)
    return redirect(url_for("booking.visit", token=token), 303)


@bp.post("/visit/<token>/move")
def move(token: str) -> ResponseReturnValue:
    """The patient comes at another time; the money stays on the visit."""
    try:
        starts_at = appointments.read_start(request.form.get("at"))
        with transaction():
            appointments.move_by_patient(_visit(token), starts_at)
    except Refused as error:
        return _visit_page(_visit(token), problem=said(error.message), status_code=error.status)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("booking.visit", token=token), 303)


@bp.get("/clinic/<slug>/wait/<service_uid>")
def wait(slug: str, service_uid: str) -> ResponseReturnValue:
    """No time that suits: who would come when one gets free, and on which days."""
    tenant = find.by_slug(slug, kind="clinic")
    today = clock.nairobi(clock.now()).date()
    form = WaitForm(formdata=None, first=today, last=today + timedelta(days=DAYS_SHOWN - 1))
    return _wait_page(tenant, services.for_booking(tenant.id, service_uid), form)


def _wait_page(tenant: Tenant, service: Service, form: WaitForm, status_code: int = 200) -> ResponseReturnValue:
    clinician, kind = _clinician(tenant), _kind(service)
    page = render_template(
        "clinic/wait.html",
        tenant=tenant,
        service=service,
        kind=kind,
        clinician=clinician,
        form=form,
        minutes_to_pay=int(waiting.PAY_WITHIN.total_seconds()) // 60,
        carried={"kind": kind} | ({"clinician": clinician.uid} if clinician else {}),
        times_url=url_for("booking.times", slug=tenant.slug, service_uid=service.uid, kind=kind),
    )
    return page, status_code


@bp.post("/clinic/<slug>/wait/<service_uid>")
def join(slug: str, service_uid: str) -> ResponseReturnValue:
    """Wait for a time."""
    tenant = find.by_slug(slug, kind="clinic")
    service = services.for_booking(tenant.id, service_uid)
    form = WaitForm()
    if not form.validate() or form.first.data is None or form.last.data is None:
        return _wait_page(tenant, service, form, 422)
    try:
        refuse_guessers("booking", tenant.id)
        wrong_guess("booking", tenant.id)  # each costs the clinic a message: a network's are counted
        count_code(form.phone.msisdn)
        name = bookings.read_name(form.name.data)
        with transaction():
            wish = waiting.join(
                find.by_slug(slug),
                services.for_booking(tenant.id, service_uid),
                clinician=_clinician(tenant),
                kind=_kind(service),
                first_day=form.first.data,
                last_day=form.last.data,
                name=name,
                msisdn=form.phone.msisdn,
                locale=str(get_locale() or tenant.locale),
            )
            token = wish.token
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _wait_page(find.by_slug(slug), services.for_booking(tenant.id, service_uid), form, error.status)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("booking.wish", token=token), 303)


@bp.get("/waiting/<token>")
def wish(token: str) -> ResponseReturnValue:
    """One's place on the waiting list, and what is offered."""
    return _wish_page(waiting.by_token(token))


@bp.post("/waiting/<token>/prove")
def prove(token: str) -> ResponseReturnValue:
    """Show the code: now they are on the list."""
    form = BookingCodeForm()
    if not form.validate():
        return _wish_page(waiting.by_token(token), form=form, status_code=422)
    try:
        with transaction():
            bookings.count_code(bookings.of_wish(waiting.by_token(token).id).id)
        with transaction():
            waiting.prove(waiting.by_token(token), form.code.data or "")
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _wish_page(waiting.by_token(token), form=form, status_code=error.status)
    queue.enqueue(queue.WAITING)
    return redirect(url_for("booking.wish", token=token), 303)


def _wish_page(
    one: WaitingWish, *, problem: str = "", form: BookingCodeForm | None = None, status_code: int = 200
) -> ResponseReturnValue:
    tenant, service = db.session.get_one(Tenant, one.tenant_id), db.session.get_one(Service, one.service_id)
    held = db.session.get(Appointment, one.appointment_id) if one.appointment_id else None
    payment = held.invoice.payment if held is not None and held.invoice is not None else None
    page = render_template(
        "clinic/waiting.html",
        tenant=tenant,
        service=service,
        wish=one,
        visit=held,
        problem=problem,
        form=form or BookingCodeForm(formdata=None),
        phone=for_screens(msisdn) if (msisdn := personal.open_phone(one.phone_sealed, tenant.id)) else "",
        prove_url=url_for("booking.prove", token=one.token) if one.state == WishState.UNPROVED else None,
        wait_url=url_for("booking.wait", slug=tenant.slug, service_uid=service.uid, kind=one.kind),
        due_cents=(payment.deposit_due_cents or payment.due_cents) if payment else 0,
        pay_url=url_for("pay.show", token=payment.token) if payment and payment.state == PaymentState.OPEN else None,
        visit_url=url_for("booking.visit", token=held.token) if held else None,
        terms=[said(each) for each in policies.terms(held, price_cents=held.price_cents)] if held else [],
        withdraw_url=url_for("booking.withdraw", token=one.token) if one.state in IN_LINE else None,
        again_url=url_for("clinic.front", slug=tenant.slug),
    )
    return page, status_code


@bp.post("/waiting/<token>/withdraw")
def withdraw(token: str) -> ResponseReturnValue:
    """Wait no more."""
    try:
        with transaction():
            waiting.withdraw(waiting.by_token(token), actor="patient")
    except Refused as error:
        return _wish_page(waiting.by_token(token), problem=said(error.message), status_code=error.status)
    queue.enqueue(queue.WAITING)
    return redirect(url_for("booking.wish", token=token), 303)
