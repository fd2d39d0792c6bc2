"""Booking by patients' own programs and pages: services, free times, and a visit booked by a proved phone."""

from datetime import date, timedelta
from functools import partial
from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from flask_babel import get_locale

from portal.api.guard import EVERYBODY, Fields, Router, body, text_of
from portal.api.schemas import contract, page_of
from portal.clinic import appointments, bookings, branches, people, policies, services, timetable
from portal.clinic.models import Clinician, Service
from portal.clinic.timetable import Slot
from portal.kernel import clock, money, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.language import said
from portal.web.limits import count_code, refuse_guessers, wrong_guess
from portal.web.links import pay_url, visit_url

CODES = "60 per 1 hour"  # of a network; a phone and a clinic have counts of their own
MOST_DAYS = 31


def register_routes(router: Router) -> None:
    router.add("GET", "/portal/clinic/services", offered, who=EVERYBODY, limits=())
    router.add("GET", "/portal/clinic/slots", slots, who=EVERYBODY, limits=())
    router.add("POST", "/portal/clinic/bookings", begin, who=EVERYBODY, limits=(CODES,))
    router.add("POST", "/portal/clinic/bookings/<uid>/confirm", confirm, who=EVERYBODY, limits=())


def service_to_json(one: Service) -> dict[str, Any]:
    """A service as the contract writes it."""
    return {
        "id": one.uid,
        "name": one.name,
        "durationMinutes": one.duration_minutes,
        "price": money.kes(one.price_cents),
        "kinds": one.kinds.split(","),
        "deposit": money.kes(one.deposit_cents) if one.deposit_cents else None,
        "version": services.version_of(one),
        "terms": [said(each) for each in policies.terms(one, price_cents=one.price_cents)],
    }


def slot_to_json(one: Slot, service: Service) -> dict[str, Any]:
    """A free time as the contract writes it, on the clinic's clock."""
    return {
        "startsAt": clock.nairobi(one.starts_at).isoformat(timespec="seconds"),
        "endsAt": clock.nairobi(one.ends_at).isoformat(timespec="seconds"),
        "clinicianId": one.clinician.uid,
        "clinicianName": one.clinician.name,
        "kinds": service.kinds.split(","),
        "price": money.kes(one.price_cents),
        "branchId": one.branch.uid if one.branch else None,
        "branchName": one.branch.name if one.branch else None,
    }


def _clinic(slug: str | None) -> Tenant:
    return find.by_slug(slug, kind="clinic")


@contract(page_of("Service"), query=("tenant",))
def offered() -> ResponseReturnValue:
    """What can be booked."""
    tenant = _clinic(request.args.get("tenant"))
    return jsonify(items=[service_to_json(one) for one in services.offered(tenant.id)], nextCursor=None)


@contract(page_of("Slot"), query=("tenant", "serviceId", "from", "to", "clinicianId", "kind", "branchId"))
def slots() -> ResponseReturnValue:
    """Free times from one day to another one, both on the clinic's clock and both included."""
    tenant = _clinic(request.args.get("tenant"))
    service = services.for_booking(tenant.id, request.args.get("serviceId"))
    today = clock.nairobi(clock.now()).date()
    first = _day("from", today)
    last = _day("to", first + timedelta(days=6))
    if last < first or (last - first).days >= MOST_DAYS:
        sentence = f"At most {MOST_DAYS} days, the last one not before the first."
        raise Refused(f"to: {sentence}", code="invalid_fields", fields={"to": sentence})
    clinician = _clinician(tenant, request.args.get("clinicianId"))
    kind = request.args.get("kind") or None
    branch = branches.of_uid(tenant.id, request.args.get("branchId"))
    found = timetable.free_slots(service, first, last, kind=kind, clinician=clinician, branch=branch)
    return jsonify(items=[slot_to_json(one, service) for one in found], nextCursor=None)


def _day(name: str, default: date) -> date:
    text = request.args.get(name, "")
    if not text:
        return default
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        sentence = "Must be a day such as 2026-11-21."
        raise Refused(f"{name}: {sentence}", code="invalid_fields", fields={name: sentence}) from None


def _clinician(tenant: Tenant, uid: object) -> Clinician | None:
    return people.clinician(tenant.id, uid) if uid else None


@contract("BookingBegun", takes="NewBooking", answers=(202,))
def begin() -> ResponseReturnValue:
    """Ask for a time; a code of six digits goes to the phone."""
    given = body()
    tenant = _clinic(text_of(given, "tenant"))
    service = services.for_booking(tenant.id, text_of(given, "serviceId"))
    fields = Fields(given)
    starts_at = fields.read("startsAt", appointments.read_start, clock.now())
    kind = fields.read("kind", appointments.read_kind, "")
    name = fields.read("name", bookings.read_name, "")
    msisdn = fields.read("phone", normalise_msisdn, "")
    price_cents = (
        fields.read("price", partial(money.payable_cents, limit_cents=10**12), 0)
        if given.get("price") is not None
        else None
    )
    fields.refuse_wrong("The booking is not complete.")
    clinician = _clinician(tenant, text_of(given, "clinicianId", required=False))
    branch = branches.of_uid(tenant.id, text_of(given, "branchId", required=False))
    shown = text_of(given, "version", required=False) or None
    wish = bookings.Wish(service, starts_at, kind, name, msisdn, clinician, branch, price_cents, shown)
    refuse_guessers("booking", tenant.id)
    wrong_guess("booking", tenant.id)  # with those of the pages: one network cannot use up what a clinic may send
    count_code(msisdn)
    with transaction():
        begun = bookings.begin(tenant, wish, locale=str(get_locale() or tenant.locale))
        answer = {
            "bookingId": begun.uid,
            "expiresAt": clock.rfc3339(begun.expires_at),
            "price": money.kes(begun.price_cents),
        }
    queue.enqueue(queue.OUTBOX)
    return jsonify(answer), 202


@contract("Booked", takes="BookingCode", answers=(201,))
def confirm(uid: str) -> ResponseReturnValue:
    """Show the code: the time is taken, or was taken by somebody else meanwhile (409 `slot_taken`)."""
    given = body()
    code = text_of(given, "code")
    price_cents = money.payable_cents(given["price"], limit_cents=10**12) if given.get("price") is not None else None
    shown = text_of(given, "version", required=False) or None
    booking_id = bookings.get(uid).id
    with transaction():
        bookings.count_code(booking_id)
    with transaction():
        booking = bookings.get(uid)
        tenant = db.session.get_one(Tenant, booking.tenant_id)
        booked = bookings.confirm(
            tenant, booking, code, pay_url_of=pay_url, visit_url_of=visit_url, price_cents=price_cents, shown=shown
        )
        answer = {"appointmentId": booked.uid, "status": booked.public_status, "token": booked.token}
    queue.enqueue(queue.OUTBOX)
    return jsonify(answer), 201
