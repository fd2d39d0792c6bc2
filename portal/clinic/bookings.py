"""Booking by patients themselves: a time is asked for, the phone is proved by a code, and then the time is taken.

Decided: nothing is held before the phone is proved. Who asks for a hundred times blocks none of them; of two patients
who want one slot, the first to show the code has it and the other is told at once.
Decided: who books is known by phone and name together, because families share a phone.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from sqlalchemy import func, select, update

from portal.clinic import appointments, notifications, people, services, timetable
from portal.clinic.models import Appointment, Booking, Branch, Clinician, Patient, Service, WaitingWish
from portal.kernel import clock, personal, vault
from portal.kernel.db import db
from portal.kernel.errors import Conflict, CoolDown, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.money import format_kes
from portal.tenants.models import Tenant

CODE_FOR = timedelta(minutes=15)
MOST_WRONG = 5
WINDOW, OF_PHONE, OF_TENANT = timedelta(hours=1), 5, 300  # codes that are sent


@dataclass(frozen=True)
class Wish:
    """What somebody wants to book. clinician: None for whoever is free; branch: None for any place.

    price_cents, shown: the price and the state of the service (`services.version_of`) that they were shown; None: they
    were shown nothing, and learn it from the answer.
    """

    service: Service
    starts_at: datetime
    kind: str
    name: str
    msisdn: str
    clinician: Clinician | None = None
    branch: Branch | None = None
    price_cents: int | None = None
    shown: str | None = None


class ServiceChanged(Conflict):
    """The service is another now than its patient was shown."""

    code = "service_changed"

    def __init__(self) -> None:
        super().__init__(_("The clinic changed this service just now. Look at its terms, and send this again."))


class PriceChanged(Conflict):
    """It costs something else now than its patient was shown. price_cents: what it costs."""

    code = "price_changed"

    def __init__(self, price_cents: int) -> None:
        sentence = _("The price is %(price)s now. Look at it, and send this again.", price=format_kes(price_cents))
        super().__init__(sentence, fields={"price": sentence})
        self.price_cents = price_cents


def read_name(value: object) -> str:
    """What the patient is called. Raises Refused."""
    name = " ".join(str(value or "").split())
    if not name:
        raise Refused(_("Enter the patient's name."))
    if len(name) > people.LONGEST_NAME:
        raise Refused(_("At most %(count)s characters.", count=people.LONGEST_NAME))
    return name


def begin(tenant: Tenant, wish: Wish, *, locale: str) -> Booking:
    """Ask for a time: a code goes to the phone. The caller commits, then enqueues OUTBOX.

    Raises ServiceChanged, SlotTaken, PriceChanged, and CoolDown where phone or clinic were sent too many codes.
    """
    version = services.version_of(wish.service)
    if wish.shown is not None and wish.shown != version:
        raise ServiceChanged
    slot = timetable.slot_at(
        wish.service, wish.starts_at, kind=wish.kind, clinician=wish.clinician, branch=wish.branch,
        price_cents=wish.price_cents,
    )  # fmt: skip
    if wish.price_cents is not None and wish.price_cents != slot.price_cents:
        raise PriceChanged(slot.price_cents)
    phone_hash = personal.phone_hash(wish.msisdn, tenant.id)
    _refuse_too_many(tenant.id, phone_hash)
    sealed_name = personal.seal_text(wish.name, tenant.id)
    booking = Booking(
        tenant_id=tenant.id,
        service_id=wish.service.id,
        clinician_id=wish.clinician.id if wish.clinician else None,
        kind=wish.kind,
        starts_at=wish.starts_at,
        name_sealed=sealed_name or "",
        phone_sealed=personal.seal_phone(wish.msisdn, tenant.id),
        phone_hash=phone_hash,
        locale=locale,
        branch_id=slot.branch.id if slot.branch else None,
        price_cents=slot.price_cents,
        shown=version,
        code_hash="",
        expires_at=clock.now() + CODE_FOR,
    )
    _send_code(tenant, booking, wish.msisdn)
    return booking


def begin_waiting(tenant: Tenant, wish: WaitingWish, msisdn: str) -> Booking:
    """A code goes to the phone of who wants to wait. The caller commits, then enqueues OUTBOX. Raises CoolDown."""
    _refuse_too_many(tenant.id, wish.phone_hash)
    booking = Booking(
        tenant_id=tenant.id,
        service_id=wish.service_id,
        clinician_id=wish.clinician_id,
        kind=wish.kind,
        starts_at=datetime.combine(wish.first_day, time(), clock.NAIROBI),
        name_sealed=wish.name_sealed,
        phone_sealed=wish.phone_sealed,
        phone_hash=wish.phone_hash,
        locale=wish.locale,
        price_cents=db.session.get_one(Service, wish.service_id).price_cents,
        wish_id=wish.id,
        code_hash="",
        expires_at=clock.now() + CODE_FOR,
    )
    _send_code(tenant, booking, msisdn)
    return booking


def _send_code(tenant: Tenant, booking: Booking, msisdn: str) -> None:
    code = f"{secrets.randbelow(1_000_000):06}"
    db.session.add(booking)
    db.session.flush()
    booking.code_hash = _hash_of(booking, code)
    db.session.flush()
    notifications.code(
        tenant, booking.id, code, msisdn=msisdn, expires_at=booking.expires_at, locale=booking.locale
    )  # fmt: skip


def _refuse_too_many(tenant_id: int, phone_hash: str) -> None:
    since = clock.now() - WINDOW
    sent = select(func.count(), func.min(Booking.created_at)).where(
        Booking.tenant_id == tenant_id, Booking.created_at > since
    )
    for counted, most in ((sent.where(Booking.phone_hash == phone_hash), OF_PHONE), (sent, OF_TENANT)):
        count, oldest = db.session.execute(counted).one()
        if count >= most:
            wait_s = int((oldest + WINDOW - clock.now()).total_seconds()) + 1
            raise CoolDown(
                _("Too many codes were sent. Wait a little, or call the clinic."), retry_after_s=max(1, wait_s)
            )


def _hash_of(booking: Booking, code: str) -> str:
    return vault.lookup(code, context=f"booking/{booking.uid}")


def get(uid: str) -> Booking:
    """What somebody asked for; its id is unguessable. Raises NotFound."""
    found = db.session.scalars(select(Booking).where(Booking.uid == uid, Booking.wish_id.is_(None))).one_or_none()
    if found is None:
        raise NotFound(_("There is no such booking here. Begin again."), code="unknown_booking")
    return found


def count_code(booking_id: int) -> None:
    """Count a try at a code, before it is looked at. The caller commits. Raises Conflict after too many.

    In a transaction of its own, so that a wrong code is counted although its answer is an error.
    """
    tries = update(Booking).where(Booking.id == booking_id, Booking.wrong_codes < MOST_WRONG)
    counted = db.session.scalar(tries.values(wrong_codes=Booking.wrong_codes + 1).returning(Booking.id))
    if counted is None:
        raise Conflict(_("This code was tried too often. Book again to get a new one."), code="code_over")


def confirm(
    tenant: Tenant,
    booking: Booking,
    code: str,
    *,
    pay_url_of: notifications.PayUrl,
    visit_url_of: notifications.VisitUrl,
    price_cents: int | None = None,
    shown: str | None = None,
) -> Appointment:
    """The phone is proved: take the time. The caller commits, then enqueues OUTBOX. Safe to run twice.

    price_cents, shown: what it costs and the service's state now, where its patient was told so and agrees.
    Raises Refused for a wrong code, SlotTaken, ServiceChanged and PriceChanged where it is not what was shown, and
    Conflict for a code whose time is over.
    """
    locked = select(Booking).where(Booking.id == booking.id).with_for_update()
    booking = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    _refuse_wrong(booking, code)
    if booking.appointment_id is not None:
        return db.session.get_one(Appointment, booking.appointment_id)
    _refuse_over(booking)
    service = services.for_booking(tenant.id, db.session.get_one(Service, booking.service_id).uid)
    if services.version_of(service) != (shown or booking.shown):
        raise ServiceChanged
    clinician = db.session.get_one(Clinician, booking.clinician_id) if booking.clinician_id else None
    shown_cents = booking.price_cents if price_cents is None else price_cents
    branch = db.session.get_one(Branch, booking.branch_id) if booking.branch_id else None
    slot = timetable.slot_at(
        service, booking.starts_at, kind=booking.kind, clinician=clinician, branch=branch, price_cents=shown_cents
    )
    if slot.price_cents != shown_cents:
        raise PriceChanged(slot.price_cents)
    appointment = appointments.book(
        tenant,
        patient=_patient(tenant.id, booking),
        clinician=slot.clinician,
        kind=booking.kind,
        starts_at=slot.starts_at,
        duration_minutes=service.duration_minutes,
        price_cents=slot.price_cents,
        service=service,
        branch=slot.branch,
        actor="patient",
    )
    booking.appointment_id = appointment.id
    db.session.flush()
    if not service.needs_approval:
        appointments.approve(tenant, appointment, actor="booking", pay_url_of=pay_url_of)
    else:
        notifications.asked_for(appointment, visit_url=visit_url_of(appointment))
    return appointment


def of_wish(wish_id: int) -> Booking:
    """What proves the phone of who wants to wait."""
    return db.session.scalars(select(Booking).where(Booking.wish_id == wish_id)).one()


def prove(booking: Booking, code: str) -> None:
    """The phone is the one that the code went to. Raises Refused for a wrong code, Conflict for one that is over."""
    _refuse_wrong(booking, code)
    _refuse_over(booking)


def _refuse_wrong(booking: Booking, code: str) -> None:
    typed = "".join(letter for letter in code if letter.isdigit())
    if not secrets.compare_digest(_hash_of(booking, typed), booking.code_hash):
        sentence = _("This code is not right. Type the six digits of the message.")
        raise Refused(sentence, code="wrong_code", fields={"code": sentence})


def _refuse_over(booking: Booking) -> None:
    if booking.expires_at < clock.now():
        raise Conflict(_("This code is over. Book again to get a new one."), code="code_over")


def _patient(tenant_id: int, booking: Booking) -> Patient:
    name = personal.open_text(booking.name_sealed, tenant_id)
    msisdn = personal.open_phone(booking.phone_sealed, tenant_id)
    # who types the code has read on its page what the clinic keeps, and agrees
    return people.find_or_register(tenant_id, name=name, phone=msisdn, consent_by="page", actor="patient")
