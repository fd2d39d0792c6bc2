"""Visits every week at the same time, booked in one go: all of them, or a list of the days on which it is not free.

Decided: a series is cancelled visit by visit, each in a transaction of its own. Each has terms, money and a payment of
its own to be locked; one that somebody changes at that moment is left and counted, and whoever asks again has the rest
done. Of two who cancel a series at once, each visit is cancelled by one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from portal.audit import chain
from portal.clinic import appointments, notifications, timetable
from portal.clinic.models import Appointment, AppointmentSeries, Clinician, Patient, Service
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.kernel.errors import Sentence as _
from portal.tenants.models import Tenant

WEEK_DAYS, MOST = 7, 26


class NotAllFree(Conflict):
    """On some of these days the time is not free; nothing was booked. days: their beginnings."""

    code = "not_all_free"

    def __init__(self, days: list[datetime]) -> None:
        shown = ", ".join(f"{clock.nairobi(one):%d/%m/%Y %H:%M}" for one in days)
        super().__init__(_("Nothing was booked. Not free: %(days)s.", days=shown))
        self.days = days


@dataclass(frozen=True)
class Plan:
    """What is to be booked week after week. leaves_out: the days that are not free are left out, not refused."""

    service: Service
    clinician: Clinician
    kind: str
    starts_at: datetime
    count: int
    leaves_out: bool = False


def book(tenant: Tenant, patient: Patient, plan: Plan, *, actor: str) -> list[Appointment]:
    """Book each week's visit, pending approval. The caller commits all or nothing. Raises Refused, NotAllFree."""
    if not 2 <= plan.count <= MOST:
        raise Refused(_("From 2 to %(most)s visits.", most=MOST), fields={"weeks": _("From 2 to 26.")})
    series = AppointmentSeries(tenant_id=tenant.id, patient_id=patient.id, every_days=WEEK_DAYS)
    db.session.add(series)
    db.session.flush()
    booked, missing = [], []
    for week in range(plan.count):  # Nairobi has no summer time: a week is seven days of the same hour
        starts_at = plan.starts_at + timedelta(days=WEEK_DAYS * week)
        try:
            with db.session.begin_nested():
                booked.append(_one(tenant, patient, plan, starts_at, series.id, actor=actor))
        except timetable.SlotTaken:
            missing.append(starts_at)
    if (missing and not plan.leaves_out) or not booked:
        raise NotAllFree(missing)
    chain.record(
        tenant.id, "series", series.id, "booked", actor=actor, details={"visits": len(booked), "left": len(missing)}
    )
    return booked


def _one(
    tenant: Tenant, patient: Patient, plan: Plan, starts_at: datetime, series_id: int, *, actor: str
) -> Appointment:
    slot = timetable.slot_at(plan.service, starts_at, kind=plan.kind, clinician=plan.clinician, by_staff=True)
    return appointments.book(
        tenant,
        patient=patient,
        clinician=slot.clinician,
        kind=plan.kind,
        starts_at=starts_at,
        duration_minutes=plan.service.duration_minutes,
        price_cents=slot.price_cents,
        service=plan.service,
        branch=slot.branch,
        series_id=series_id,
        actor=actor,
    )


def ahead(appointment: Appointment) -> list[Appointment]:
    """The visits of its series that are still to come, this one among them, in order; none where it has no series."""
    if appointment.series_id is None:
        return []
    mine = select(Appointment).where(
        Appointment.series_id == appointment.series_id,
        Appointment.status.in_(appointments.MOVABLE),
        Appointment.starts_at > clock.now(),
    )
    return list(db.session.scalars(mine.order_by(Appointment.starts_at, Appointment.id)))


def still_changeable(appointment: Appointment) -> list[Appointment]:
    """Those of them that the patient may still cancel without losing anything."""
    return [one for one in ahead(appointment) if appointments.patient_may_change(one)]


@dataclass(frozen=True)
class Cancelled:
    """How many visits were cancelled, and how many were left because somebody changed them meanwhile."""

    done: int
    left: int


def cancel(tenant_id: int, uid: str, *, why: str, by: str, user_id: int, actor: str) -> Cancelled:
    """Staff cancel what is ahead of this visit's series, each by its own terms. It commits, visit by visit.

    Then the caller enqueues OUTBOX, REQUESTS and WITHDRAW. Raises NotFound.
    """
    ids = [one.id for one in ahead(appointments.get_by_uid(tenant_id, uid))]
    return _each(
        ids, lambda one: appointments.cancel(one, why=why, by=by, user_id=user_id, actor=actor)
    )  # fmt: skip


def cancel_by_patient(token: str) -> Cancelled:
    """The patient cancels of the series what costs nothing to cancel. It commits, visit by visit.

    Then the caller enqueues OUTBOX, REQUESTS and WITHDRAW.
    """
    found = appointments.by_token(token)
    return _each([one.id for one in still_changeable(found)] if found else [], appointments.cancel_by_patient)


def _each(ids: list[int], do: Callable[[Appointment], None]) -> Cancelled:
    done = 0
    for appointment_id in ids:
        try:
            with transaction():
                do(db.session.get_one(Appointment, appointment_id))
            done += 1
        except Conflict:
            continue
    return Cancelled(done, len(ids) - done)


def tell_asked_for(booked: list[Appointment], *, visit_url: str) -> None:
    """The patient learns once that the clinic will answer, however many visits were booked in one go."""
    first, count = booked[0], len(booked)
    when = notifications.when(first)
    shown = _("%(count)s visits from %(when)s", count=count, when=when) if count > 1 else when
    notifications.asked_for(first, visit_url=visit_url, when_shown=shown)
