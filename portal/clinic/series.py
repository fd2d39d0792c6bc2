"""Visits every week at the same time, booked in one go: all of them, or a list of the days on which it is not free."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.audit import chain
from portal.clinic import appointments, timetable
from portal.clinic.models import Appointment, AppointmentSeries, Clinician, Patient, Service
from portal.kernel import clock
from portal.kernel.db import db
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
