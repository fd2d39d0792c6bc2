"""The waiting list: who would come sooner is offered what gets free, one after the other, and paying claims it.

An offer is an approved visit with a short time to pay in: it takes the clinician's time like any other
(`timetable.occupy`), so nobody is offered what somebody has. Who does not pay in time loses it by the deadline of all
visits (`appointments.release_unpaid`), leaves the list, and the next one is asked.
Decided: whoever waits longest comes first. What gets free is looked for by a job (`timetable.release` marks who may be
glad of it), so that cancelling never waits for the list.
Decided: who joins shows the phone by the code of a booking first; till then they are offered nothing, so that nobody
has a clinic text somebody else's phone.
"""

from datetime import date, timedelta

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.clinic import appointments, bookings, notifications, people, timetable
from portal.clinic.models import TO_OFFER, Appointment, Clinician, Service, WaitingWish
from portal.clinic.states import IN_LINE, WishState
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, CoolDown, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.tenants.models import Tenant

PAY_WITHIN = timedelta(minutes=30)
SOONEST = timedelta(minutes=60)  # what begins earlier is offered to nobody: they must come, too
LOOK_AGAIN, AFTER_TROUBLE = timedelta(hours=1), timedelta(minutes=10)
MOST_OF_PHONE, MOST_DAYS = 3, 62


def join(
    tenant: Tenant,
    service: Service,
    *,
    clinician: Clinician | None,
    kind: str,
    first_day: date,
    last_day: date,
    name: str,
    msisdn: str,
    locale: str,
) -> WaitingWish:
    """Ask to wait for a time from the first day to the last one, both on the clinic's clock: a code goes to the phone.

    The caller commits, then enqueues OUTBOX; `prove` is what puts them on the list. Raises Refused for days that are
    none, Conflict where these days have free times, and CoolDown for a phone that
    waits for too much already.
    """
    today = clock.nairobi(clock.now()).date()
    if not today <= last_day or last_day < first_day or (last_day - first_day).days > MOST_DAYS:
        raise Refused(_("Choose days that are not over, the last one not before the first, at most two months."))
    if timetable.free_slots(service, max(first_day, today), last_day, kind=kind, clinician=clinician):
        raise Conflict(_("These days have free times: book one of them."), code="free_now")
    phone_hash = personal.phone_hash(msisdn, tenant.id)
    _refuse_too_many(tenant.id, phone_hash)
    wish = WaitingWish(
        tenant_id=tenant.id,
        service_id=service.id,
        clinician_id=clinician.id if clinician else None,
        kind=kind,
        first_day=max(first_day, today),
        last_day=last_day,
        name_sealed=personal.seal_text(name, tenant.id),
        phone_sealed=personal.seal_phone(msisdn, tenant.id),
        phone_hash=phone_hash,
        locale=locale,
        state=WishState.UNPROVED,
    )
    db.session.add(wish)
    db.session.flush()
    bookings.begin_waiting(tenant, wish, msisdn)
    return wish


def _refuse_too_many(tenant_id: int, phone_hash: str) -> None:
    same = select(func.count()).where(
        WaitingWish.tenant_id == tenant_id,
        WaitingWish.phone_hash == phone_hash,
        WaitingWish.state.in_(IN_LINE),
        WaitingWish.last_day >= clock.nairobi(clock.now()).date(),
    )
    if (db.session.scalar(same) or 0) >= MOST_OF_PHONE:
        raise CoolDown(_("This phone waits for several times already. Withdraw one of them first."), retry_after_s=3600)


def prove(wish: WaitingWish, code: str) -> None:
    """The phone is theirs: they are on the list. The caller commits, then enqueues WAITING. Safe to run twice.

    The caller has counted the try (`bookings.count_code`). Raises Refused for a wrong code, Conflict for one that is
    over, and CoolDown as `join` does.
    """
    locked = select(WaitingWish).where(WaitingWish.id == wish.id).with_for_update()
    wish = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if wish.state != WishState.UNPROVED:
        return
    bookings.prove(bookings.of_wish(wish.id), code)
    _refuse_too_many(wish.tenant_id, wish.phone_hash)
    wish.state, wish.look_at = WishState.WAITING, clock.now()
    db.session.flush()
    chain.record(wish.tenant_id, "waiting_wish", wish.id, "joined", actor="patient")


def by_token(token: str) -> WaitingWish:
    """The wish whose page has this token in its address. Raises NotFound."""
    found = db.session.scalars(select(WaitingWish).where(WaitingWish.token == token)).one_or_none()
    if found is None:
        raise NotFound(_("This place on the waiting list is not known here."))
    return found


def withdraw(wish: WaitingWish, *, actor: str) -> None:
    """Wait no more; what is offered and not paid goes to the next one. The caller commits, then enqueues WAITING.

    Raises Conflict where it was taken or is over.
    """
    if wish.state == WishState.OFFERED and wish.appointment_id is not None:
        held = db.session.get_one(Appointment, wish.appointment_id)
        if held.status == "approved":  # which ends the wish, too
            appointments.cancel(held, why="The patient does not want it.", actor=actor)
            return
    gone = update(WaitingWish).where(WaitingWish.id == wish.id, WaitingWish.state.in_(IN_LINE))
    if db.session.scalar(gone.values(state=WishState.WITHDRAWN, look_at=None).returning(WaitingWish.id)) is None:
        raise Conflict(_("This place on the waiting list was taken or given up already."))
    db.session.expire(wish)
    chain.record(wish.tenant_id, "waiting_wish", wish.id, "withdrawn", actor=actor)


def of_tenant(tenant_id: int, rows: int = 50) -> list[WaitingWish]:
    """Who waits, or was offered something, the longest first; for staff."""
    mine = select(WaitingWish).where(
        WaitingWish.tenant_id == tenant_id,
        WaitingWish.state.in_(IN_LINE),
        WaitingWish.last_day >= clock.nairobi(clock.now()).date(),
    )
    return list(db.session.scalars(mine.order_by(WaitingWish.id).limit(rows)))


def offer_due(public_url: str) -> None:
    """Offer what is free to who waits for it, the longest waiting first, one by one. It commits.

    public_url: under which their own pages are found.
    """
    while (wish_id := _next_due()) is not None:
        try:
            with transaction():
                _offer(wish_id, public_url)
        except Exception as error:
            logger.error("offer_failed", wish=wish_id, error=repr(error)[:300])
            with transaction():
                later = {"look_at": clock.now() + AFTER_TROUBLE}
                db.session.execute(update(WaitingWish).where(WaitingWish.id == wish_id).values(**later))
        queue.enqueue(queue.OUTBOX)


def _next_due() -> int | None:
    due = select(WaitingWish.id).where(TO_OFFER.is_due).order_by(WaitingWish.look_at, WaitingWish.id).limit(1)
    return db.session.scalar(due)


def _offer(wish_id: int, public_url: str) -> None:
    locked = select(WaitingWish).where(WaitingWish.id == wish_id).with_for_update()
    wish = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if wish.state != WishState.WAITING or wish.look_at is None:
        return
    now = clock.now()
    today = clock.nairobi(now).date()
    service = db.session.get_one(Service, wish.service_id)
    if wish.last_day < today or service.withdrawn_at is not None:
        wish.state, wish.look_at = WishState.OVER, None
        return
    wish.look_at = now + LOOK_AGAIN
    clinician = db.session.get(Clinician, wish.clinician_id) if wish.clinician_id else None
    first = max(wish.first_day, today)
    for slot in timetable.free_slots(service, first, wish.last_day, kind=wish.kind, clinician=clinician):
        if slot.starts_at < now + SOONEST:
            continue
        try:
            with db.session.begin_nested():
                _hold(wish, service, slot, public_url)
            return
        except timetable.SlotTaken:  # between our look and our taking it
            db.session.expire(wish)


def _hold(wish: WaitingWish, service: Service, slot: timetable.Slot, public_url: str) -> None:
    tenant = db.session.get_one(Tenant, wish.tenant_id)
    name = personal.open_text(wish.name_sealed, tenant.id) or ""
    msisdn = personal.open_phone(wish.phone_sealed, tenant.id) or ""
    patient = people.find_or_register(tenant.id, name=name, phone=msisdn, consent_by="page", actor="waiting list")
    held = appointments.book(
        tenant,
        patient=patient,
        clinician=slot.clinician,
        kind=wish.kind,
        starts_at=slot.starts_at,
        duration_minutes=service.duration_minutes,
        price_cents=slot.price_cents,
        service=service,
        branch=slot.branch,
        actor="waiting list",
    )
    pay_by = min(clock.now() + PAY_WITHIN, slot.starts_at)
    appointments.hold_for(tenant, held, pay_by=pay_by, actor="waiting list")
    wish.patient_id, wish.appointment_id = patient.id, held.id
    wish.state, wish.look_at = WishState.OFFERED, pay_by
    db.session.flush()
    chain.record(tenant.id, "waiting_wish", wish.id, "offered", actor="waiting list", new=held.uid)
    notifications.offered(held, pay_by=pay_by, wish_url=f"{public_url}/waiting/{wish.token}")
