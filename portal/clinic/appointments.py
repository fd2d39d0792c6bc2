"""Appointments: booked, approved, paid, confirmed. What is not approved cannot be paid (properties 1 to 6).

pending_approval -> approved -> confirmed -> started -> completed;  confirmed -> completed | no_show
pending_approval -> declined;  pending_approval | approved | confirmed | started -> cancelled
cancelled -> approved: only for money that came late (`late`)
started -> confirmed, completed -> started | confirmed, no_show -> confirmed: only moments after a slip (`undo`)

Decided: a visit takes its time from the booking on (`timetable`) and gives it back when it is declined, cancelled, or
approved and not paid by `pay_by`. While M-Pesa may still bring its money, that hour waits: whoever is typing the PIN
must not lose the time that the prompt is for.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import CursorResult

from portal.audit import chain
from portal.clinic import invoices, notifications, policies, timetable
from portal.clinic.meetings import wanted as meetings
from portal.clinic.models import TO_RELEASE, Appointment, Branch, Clinician, Invoice, Patient, Service, WaitingWish
from portal.clinic.states import WishState
from portal.kernel import clock, money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.kernel.translations import render
from portal.payments.models import Payment, Push
from portal.payments.payment import lock_payment
from portal.payments.states import PaymentState
from portal.payments.stk.push_states import OPEN, State
from portal.tenants.models import Tenant

KINDS = ("virtual", "onsite")
ALLOWED = {
    "pending_approval": {"approved", "declined", "cancelled"},
    "approved": {"confirmed", "cancelled"},
    "confirmed": {"started", "completed", "no_show", "cancelled"},
    "started": {"completed", "confirmed", "cancelled"},
    "completed": {"started", "confirmed"},
    "no_show": {"confirmed"},
    "cancelled": {"approved"},
    "declined": set(),
}
MOVABLE = ("pending_approval", "approved", "confirmed")
PAGE_ROWS = 50
SHORTEST_HOLD, ASK_AGAIN = timedelta(minutes=15), timedelta(minutes=10)
SHORTEST_MINUTES, LONGEST_MINUTES = 5, 600
UNDO_FOR = timedelta(minutes=10)


def book(
    tenant: Tenant,
    *,
    patient: Patient,
    clinician: Clinician,
    kind: str,
    starts_at: datetime,
    duration_minutes: int,
    price_cents: int,
    service: Service | None = None,
    branch: Branch | None = None,
    series_id: int | None = None,
    overlap_why: str = "",
    actor: str,
) -> Appointment:
    """A new appointment, pending approval; the clinician is told. The caller commits, then enqueues OUTBOX.

    Its values come through `read_kind`, `read_start`, `read_minutes` and `money.payable_cents`. overlap_why: why staff
    book it beside another one, whose time it stays. Raises SlotTaken where the clinician is not free.
    """
    _refuse_who_left(clinician)
    if overlap_why:
        _refuse_twice(patient, clinician, starts_at)
    appointment = Appointment(
        tenant_id=tenant.id,
        patient_id=patient.id,
        clinician_id=clinician.id,
        kind=kind,
        starts_at=starts_at,
        duration_minutes=duration_minutes,
        price_cents=price_cents,
        status="pending_approval",
        place=place_of(tenant, branch) if kind == "onsite" else "",
        branch_id=branch.id if branch else None,
        series_id=series_id,
        invoice_number=invoices.next_number(tenant),
        service_id=service.id if service else None,
        buffer_minutes=service.buffer_minutes if service else 0,
        overlap_why=overlap_why[:200],
        **_terms(service),
    )
    db.session.add(appointment)
    db.session.flush()
    _take_time(appointment)
    chain.record(tenant.id, "appointment", appointment.id, "booked", actor=actor, new="pending_approval")
    notifications.booked(appointment)
    return appointment


def _take_time(appointment: Appointment) -> None:
    """Take its time; only what stands beside another visit for a reason, and finds the time taken, goes without."""
    if not appointment.overlap_why:
        timetable.occupy(appointment)
        return
    try:
        with db.session.begin_nested():
            timetable.occupy(appointment)
    except timetable.SlotTaken:
        return
    appointment.overlap_why = ""


def _refuse_who_left(clinician: Clinician) -> None:
    if clinician.left_at is not None:
        raise Conflict(_("%(name)s works here no more. Choose somebody else.", name=clinician.name), code="has_left")


def _refuse_twice(patient: Patient, clinician: Clinician, starts_at: datetime) -> None:
    """What takes no time of its own is kept from being booked twice by nothing else."""
    db.session.execute(select(Patient.id).where(Patient.id == patient.id).with_for_update())
    same = select(Appointment.id).where(
        Appointment.patient_id == patient.id, Appointment.clinician_id == clinician.id,
        Appointment.starts_at == starts_at, Appointment.status.not_in(("cancelled", "declined")),
    )  # fmt: skip
    if db.session.scalar(same.limit(1)) is not None:
        raise Conflict(_("This patient has this visit already."), code="booked_already")


def place_of(tenant: Tenant, branch: Branch | None) -> str:
    """Where patients come to: `Westlands, Ring Road 4`, or the clinic's address."""
    if branch is None:
        return tenant.address
    return ", ".join(filter(None, (branch.name, branch.address or tenant.address)))[:200]


def _terms(service: Service | None) -> dict[str, Any]:
    """The service's terms as they are now: they hold for this visit, whatever becomes of the service."""
    names = ("cancel_hours", "late_keeps_percent", "money_back", "deposit_cents", "hold_minutes")
    return {name: getattr(service, name) for name in names} if service is not None else {}


def read_kind(value: object) -> str:
    """virtual or onsite. Raises Refused."""
    if value not in KINDS:
        raise Refused("Must be virtual or onsite.")
    return str(value)


def read_start(value: object) -> datetime:
    """When it begins, from RFC 3339; a time without zone is on Nairobi's clock. Raises Refused for one that is over."""
    try:
        begins = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise Refused("Must be a time with its zone, such as 2026-11-21T09:30:00+03:00.") from None
    begins = (begins if begins.tzinfo else begins.replace(tzinfo=clock.NAIROBI)).astimezone(UTC)
    if begins < clock.now() - timedelta(minutes=5):
        raise Refused("Must lie in the future.")
    return begins


def read_minutes(value: object) -> int:
    """How long it lasts. Raises Refused."""
    if not isinstance(value, int) or isinstance(value, bool) or not SHORTEST_MINUTES <= value <= LONGEST_MINUTES:
        raise Refused("A whole number from 5 to 600.")
    return value


def _lock_money(appointment: Appointment) -> None:
    """Lock what pays this visit before the visit itself, as delivering does: two who do both never wait in a circle."""
    payment_id = db.session.scalar(select(Invoice.payment_id).where(Invoice.id == appointment.invoice_id))
    if payment_id is not None:
        lock_payment(payment_id)


def _move(appointment: Appointment, new: str, *, actor: str, why: str = "", **columns: Any) -> None:
    old = appointment.status
    if new not in ALLOWED[old]:
        raise Conflict(f"This appointment is {old.replace('_', ' ')}; it cannot become {new.replace('_', ' ')}.")
    guarded = update(Appointment).where(Appointment.id == appointment.id, Appointment.status == old)
    result: CursorResult[Any] = db.session.execute(guarded.values(status=new, **columns))  # type: ignore[assignment]
    if result.rowcount != 1:
        raise Conflict("Somebody else changed this appointment just now. Load it again.")
    db.session.expire(appointment)
    if old == "pending_approval":
        notifications.decided(appointment, actor=actor)
    if old == "approved":  # paying claims what the waiting list was offered; else it is the next one's
        offered = update(WaitingWish).where(
            WaitingWish.appointment_id == appointment.id, WaitingWish.state == WishState.OFFERED
        )
        is_paid = new == "confirmed"
        db.session.execute(offered.values(state=WishState.TAKEN if is_paid else WishState.OVER))
    if new in ("cancelled", "declined"):
        meetings.unwant(appointment)
    chain.record(appointment.tenant_id, "appointment", appointment.id, "moved", actor=actor, old=old, new=new, why=why)


def approve(tenant: Tenant, appointment: Appointment, *, actor: str, pay_url_of: Any) -> Invoice:
    """Approve: the invoice is issued and the patient told how to pay. The caller commits, then enqueues OUTBOX.

    pay_url_of: payment -> the address where it is paid. Raises Conflict where its clinician works here no more.
    """
    _refuse_who_left(appointment.clinician)
    invoice = _invoice(tenant, appointment, actor=actor)
    if appointment.hold_minutes is not None:
        held_until = clock.now() + timedelta(minutes=appointment.hold_minutes)
        appointment.pay_by = min(held_until, max(appointment.starts_at, clock.now() + SHORTEST_HOLD))
    db.session.flush()
    notifications.approved(appointment, invoice, pay_url=pay_url_of(invoice.payment))
    return invoice


def hold_for(tenant: Tenant, appointment: Appointment, *, pay_by: datetime, actor: str) -> Invoice:
    """Hold its time for somebody who may have it by paying until then; the caller tells them, and commits."""
    invoice = _invoice(tenant, appointment, actor=actor)
    appointment.pay_by = pay_by
    db.session.flush()
    return invoice


def _invoice(tenant: Tenant, appointment: Appointment, *, actor: str) -> Invoice:
    _move(appointment, "approved", actor=actor)
    what = render(_("Appointment"), tenant.locale)
    line = {"kind": "consultation", "description": what, "amount": money.kes(appointment.price_cents)}
    is_taken = invoices.is_taken(tenant.id, appointment.invoice_number)  # by an import, since it was booked
    number = None if is_taken else appointment.invoice_number
    invoice = invoices.issue(tenant, lines=[line], patient=appointment.patient, number=number, actor=actor)
    appointment.invoice_id, appointment.invoice_number = invoice.id, invoice.number
    if appointment.deposit_cents is not None and appointment.deposit_cents < invoice.payment.amount_cents:
        invoice.payment.enough_cents = appointment.deposit_cents
    return invoice


def decline(appointment: Appointment, *, why: str, actor: str) -> None:
    """Decline; the patient is told. The caller commits, then enqueues OUTBOX."""
    _move(appointment, "declined", actor=actor, why=why)
    timetable.release(appointment)
    notifications.declined(appointment, why=why)


def cancel(
    appointment: Appointment, *, why: str, actor: str, by: str = policies.CLINIC, user_id: int | None = None
) -> None:
    """Cancel; its money is divided by the terms, and what is not paid is no longer offered.

    by: whose doing it is, clinic or patient (`policies`). user_id: of the staff member, who then may not approve its
    refund. The caller commits, then enqueues OUTBOX, REQUESTS and WITHDRAW. Without terms a part that was paid waits to
    be placed; what is paid in full stays for staff to refund (`cancelled_with_money`).
    """
    _lock_money(appointment)
    _move(appointment, "cancelled", actor=actor, why=why)
    given = policies.settle(appointment, by=by, user_id=user_id, actor=actor)
    timetable.release(appointment)
    notifications.cancelled(appointment, money_told=policies.told(given))
    if appointment.invoice is not None and lock_payment(appointment.invoice.payment_id).state == PaymentState.OPEN:
        invoices.withdraw(appointment.invoice, why="The appointment was cancelled.", actor=actor)
    look_at_money(appointment)


def reschedule(
    appointment: Appointment, starts_at: datetime, *, clinician: Clinician | None = None, actor: str
) -> None:
    """Move it to another time; its money stays on it, the patient is told. clinician: None for the same one.

    The caller commits, then enqueues OUTBOX. Raises Conflict where it is over, and SlotTaken.
    """
    locked = select(Appointment).where(Appointment.id == appointment.id).with_for_update()
    appointment = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if appointment.status not in MOVABLE:
        raise Conflict(f"This appointment is {appointment.status.replace('_', ' ')}; it cannot be moved.")
    old, clinician = appointment.starts_at, clinician or appointment.clinician
    if old == starts_at and clinician.id == appointment.clinician_id:
        return
    _refuse_who_left(clinician)
    timetable.release(appointment)
    _put_at(appointment, starts_at, clinician)
    timetable.occupy(appointment)
    chain.record(
        appointment.tenant_id,
        "appointment",
        appointment.id,
        "rescheduled",
        actor=actor,
        old=clock.rfc3339(old),
        new=clock.rfc3339(starts_at),
    )
    meetings.move(appointment)
    notifications.rescheduled(appointment)


def _put_at(appointment: Appointment, starts_at: datetime, clinician: Clinician) -> None:
    """It begins then, where this clinician works then. A reason to be beside another visit was for its old time."""
    appointment.starts_at, appointment.clinician_id, appointment.overlap_why = starts_at, clinician.id, ""
    there = timetable.branch_at(clinician, starts_at)
    if appointment.kind == "onsite" and there is not None and there.id != appointment.branch_id:
        appointment.branch_id, appointment.place = there.id, place_of(appointment.tenant, there)
    db.session.flush()


def stand_again(appointment: Appointment, starts_at: datetime, *, actor: str) -> None:
    """A cancelled visit whose money came after all is approved again, at a time that it takes. The caller commits.

    Raises SlotTaken where somebody has that time. Its money is the caller's to place (`late`).
    """
    _move(appointment, "approved", actor=actor, why="Its money came.", released_at=None, pay_by=None, kept_cents=None,
          owes_since=None)  # fmt: skip
    if appointment.starts_at != starts_at:
        _put_at(appointment, starts_at, appointment.clinician)
    if appointment.invoice is not None:
        appointment.invoice.voided_at = None
    db.session.flush()
    _take_time(appointment)


def start(appointment: Appointment, *, actor: str) -> None:
    """The patient is with the clinician. The caller commits. Raises Conflict unless it is confirmed."""
    came = appointment.arrived_at or clock.now()
    _move(appointment, "started", actor=actor, started_at=clock.now(), arrived_at=came)


def may_undo(appointment: Appointment) -> bool:
    """Whether what was said of this visit last can still be taken back: moments ago, and no money went back for it."""
    at = appointment.started_at if appointment.status == "started" else appointment.ended_at
    if appointment.status not in ("started", "completed", "no_show") or at is None or clock.now() - at > UNDO_FOR:
        return False
    return appointment.status != "no_show" or not _was_given_back(appointment)


def _was_given_back(appointment: Appointment) -> bool:
    """Whether some of its money may have left it, or is not asked for any more: the clinic kept less than the bill."""
    if appointment.kept_cents is None or appointment.invoice is None:
        return False
    return appointment.kept_cents < invoices.billed_cents(appointment.invoice)


def undo(appointment: Appointment, *, actor: str) -> None:
    """It was started, completed or missed by a slip: it stands as before. The caller commits.

    Raises Conflict where that is too long ago, or its money went back already.
    """
    _lock_money(appointment)
    if not may_undo(appointment):
        raise Conflict(_("This can no longer be taken back here. Ask an administrator."), code="too_late")
    if appointment.status == "completed" and appointment.started_at is not None:
        _move(appointment, "started", actor=actor, why="Undone.", ended_at=None)
    else:
        _move(appointment, "confirmed", actor=actor, why="Undone.", started_at=None, ended_at=None, kept_cents=None,
              owes_since=None)  # fmt: skip


def complete(appointment: Appointment, *, actor: str) -> None:
    """It took place. The caller commits. Raises Conflict unless it is confirmed or in progress."""
    _move(appointment, "completed", actor=actor, ended_at=clock.now())


def no_show(appointment: Appointment, *, actor: str, user_id: int | None = None) -> None:
    """The patient did not come: its money is divided by the terms. The caller commits, then enqueues REQUESTS, OUTBOX.

    Raises Conflict unless it is confirmed.
    """
    _lock_money(appointment)
    _move(appointment, "no_show", actor=actor, ended_at=clock.now())
    given = policies.settle(appointment, by=policies.NO_SHOW, user_id=user_id, actor=actor)
    if money_told := policies.told(given):
        notifications.missed(appointment, money_told=money_told)
    look_at_money(appointment)


def by_token(token: str) -> Appointment | None:
    """The visit whose page has this token in its address, or None."""
    return db.session.scalars(select(Appointment).where(Appointment.token == token)).one_or_none()


def patient_may_change(appointment: Appointment) -> bool:
    """Whether the patient may cancel or move it now, and loses nothing."""
    return appointment.status in MOVABLE and not policies.is_late(appointment)


def patient_may_cancel(appointment: Appointment) -> bool:
    """Whether the patient may cancel it now: later than its terms say only where these say what that costs."""
    is_priced = appointment.late_keeps_percent > 0 and clock.now() < appointment.starts_at
    return patient_may_change(appointment) or (appointment.status in MOVABLE and is_priced)


def _refuse_late_change(appointment: Appointment) -> None:
    if appointment.status not in MOVABLE:
        raise Conflict(_("This visit is over or cancelled already."))
    if not patient_may_change(appointment):
        raise Conflict(_("It is too late to change this visit here. Please call the clinic."), code="too_late")


def cancel_by_patient(appointment: Appointment, *, accepts_cents: int = 0) -> None:
    """The patient cannot come. The caller commits, then enqueues OUTBOX, REQUESTS and WITHDRAW.

    accepts_cents: what they were shown that the clinic keeps. Raises Conflict when too late, and where it keeps more.
    """
    if not patient_may_cancel(appointment):
        _refuse_late_change(appointment)
    _lock_money(appointment)
    kept_cents = policies.share_now(appointment).kept_cents
    if kept_cents > accepts_cents:
        raise Conflict(
            _("It is late now: the clinic keeps %(kept)s if you cancel.", kept=money.format_kes(kept_cents)),
            code="too_late",
        )
    cancel(appointment, why="The patient cancelled.", by=policies.PATIENT, actor="patient")
    notifications.cancelled_by_patient(appointment)


def move_by_patient(appointment: Appointment, starts_at: datetime) -> None:
    """The patient comes at another free time. The caller commits, then enqueues OUTBOX. Raises Conflict, SlotTaken."""
    _refuse_late_change(appointment)
    if appointment.service is None:
        raise Conflict(_("Please call the clinic to move this visit."))
    timetable.slot_at(appointment.service, starts_at, kind=appointment.kind, clinician=appointment.clinician)
    reschedule(appointment, starts_at, actor="patient")


def release_unpaid() -> None:
    """Give the time of approved visits that were not paid in time to others, one by one. A job; it commits."""
    while (appointment_id := _next_unpaid()) is not None:
        try:
            with transaction():
                _release(appointment_id)
        except Exception as error:
            logger.error("release_failed", appointment=appointment_id, error=repr(error)[:300])
            with transaction():
                later = {"pay_by": clock.now() + ASK_AGAIN}
                db.session.execute(update(Appointment).where(Appointment.id == appointment_id).values(**later))


def _next_unpaid() -> int | None:
    due = select(Appointment.id).where(TO_RELEASE.is_due).order_by(Appointment.pay_by).limit(1)
    return db.session.scalar(due)


def _release(appointment_id: int) -> None:
    _lock_money(db.session.get_one(Appointment, appointment_id))
    locked = select(Appointment).where(Appointment.id == appointment_id).with_for_update()
    appointment = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if appointment.status != "approved" or appointment.pay_by is None or appointment.pay_by > clock.now():
        return
    payment = lock_payment(appointment.invoice.payment_id) if appointment.invoice else None
    if payment is not None and (payment.state == PaymentState.PAID or payment.allocated_cents or _may_ring(payment)):
        appointment.pay_by = clock.now() + ASK_AGAIN  # its money is on the way, or here in part: people decide
        return
    _move(appointment, "cancelled", actor="deadline", why="It was not paid in time.", released_at=clock.now())
    timetable.release(appointment)
    if appointment.invoice is not None:
        invoices.withdraw(appointment.invoice, why="It was not paid in time.", actor="deadline")
    notifications.released(appointment)


def _may_ring(payment: Payment) -> bool:
    open_ones = select(Push.id).where(Push.payment_id == payment.id, Push.state.in_(OPEN | {State.UNCONFIRMED}))
    return db.session.scalar(open_ones.limit(1)) is not None


def cancelled_with_money(
    tenant_id: int, *, after_id: int | None = None, rows: int = 50
) -> tuple[list[tuple[Appointment, Payment]], int | None]:
    """([(cancelled appointment, its payment)] whose payer's money is still here: to be refunded, the oldest first,
    the id to go on after or None). What the clinic keeps by its terms is none of it.
    """
    kept = (
        select(Appointment, Payment)
        .join(Invoice, Invoice.id == Appointment.invoice_id)
        .join(Payment, Payment.id == Invoice.payment_id)
        .where(
            Appointment.tenant_id == tenant_id,
            Appointment.owes_since.is_not(None),  # as the index has it
            Payment.state == PaymentState.PAID,
            Payment.refunded_cents + func.coalesce(Appointment.kept_cents, 0) < Payment.amount_cents,
        )
    )
    if after_id is not None:
        kept = kept.where(Appointment.id > after_id)
    found = [(one, payment) for one, payment in db.session.execute(kept.order_by(Appointment.id).limit(rows + 1))]
    return found[:rows], found[rows - 1][0].id if len(found) > rows else None


def look_at_money(appointment: Appointment) -> None:
    """Note whether money is still here of a visit that is off. The caller commits, holding its payment's lock.

    To be called whenever it was called off, and whenever its money went: then the list of those who are owed
    something (`cancelled_with_money`) holds no others, however many were cancelled before.
    """
    is_off = appointment.status == "cancelled" or (
        appointment.status == "no_show" and appointment.kept_cents is not None
    )
    payment = lock_payment(appointment.invoice.payment_id) if is_off and appointment.invoice else None
    is_here = (
        payment is not None
        and payment.state == PaymentState.PAID
        and payment.refunded_cents + (appointment.kept_cents or 0) < payment.amount_cents
    )
    appointment.owes_since = (appointment.owes_since or clock.now()) if is_here else None
    db.session.flush()


def confirm(tenant: Tenant, appointment: Appointment, *, receipt: str | None, public_url: str) -> None:
    """Paid: confirmed, with a meeting link where it is virtual; everybody is told. Safe to run twice.

    public_url: under which our own meeting room is found.
    """
    if appointment.status == "approved":
        link = meetings.want(tenant, appointment, public_url=public_url) if appointment.kind == "virtual" else None
        _move(appointment, "confirmed", actor="fulfilment", confirmed_at=clock.now(), meeting_url=link)
        notifications.confirmed(appointment, receipt=receipt)
    elif appointment.status in ("confirmed", "started", "completed") and appointment.deposit_cents is not None:
        notifications.paid_rest(appointment, receipt=receipt)


def of_invoice(invoice_id: int) -> Appointment | None:
    """The appointment that this invoice is for, or None."""
    return db.session.scalars(select(Appointment).where(Appointment.invoice_id == invoice_id)).one_or_none()


def get_by_uid(tenant_id: int, uid: str) -> Appointment:
    """The tenant's appointment. Raises NotFound."""
    found = db.session.scalars(
        select(Appointment).where(Appointment.tenant_id == tenant_id, Appointment.uid == uid)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such appointment here.")
    return found


def between(tenant_id: int, start: datetime, end: datetime) -> list[Appointment]:
    """Appointments that begin within [start, end), in order."""
    mine = select(Appointment).where(
        Appointment.tenant_id == tenant_id, Appointment.starts_at >= start, Appointment.starts_at < end
    )
    return list(db.session.scalars(mine.order_by(Appointment.starts_at, Appointment.id)))


def of_who_left(tenant_id: int, clinician_id: int | None = None, rows: int = 200) -> list[Appointment]:
    """Visits ahead with clinicians who work here no more, the next first: to be moved or cancelled."""
    theirs = select(Appointment).join(Clinician, Clinician.id == Appointment.clinician_id)
    theirs = theirs.where(
        Clinician.tenant_id == tenant_id,
        Clinician.left_at.is_not(None),
        Appointment.starts_at >= clock.now(),
        Appointment.status.in_(MOVABLE),
    )
    if clinician_id is not None:
        theirs = theirs.where(Appointment.clinician_id == clinician_id)
    return list(db.session.scalars(theirs.order_by(Appointment.starts_at, Appointment.id).limit(rows)))


def states_between(tenant_id: int, start: datetime, end: datetime) -> list[tuple[int, str]]:
    """(id, status) of those between two instants: enough to tell whether a list of them is old."""
    found = select(Appointment.id, Appointment.status).where(
        Appointment.tenant_id == tenant_id, Appointment.starts_at >= start, Appointment.starts_at < end
    )
    return [(row.id, row.status) for row in db.session.execute(found.order_by(Appointment.id))]


def latest(tenant_id: int, limit: int = PAGE_ROWS, before_id: int | None = None) -> list[Appointment]:
    """The newest appointments."""
    mine = select(Appointment).where(Appointment.tenant_id == tenant_id)
    if before_id:
        mine = mine.where(Appointment.id < before_id)
    return list(db.session.scalars(mine.order_by(Appointment.id.desc()).limit(limit)))
