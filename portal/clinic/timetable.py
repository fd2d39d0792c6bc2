"""When a clinician can be seen: working hours, leave, public holidays, and the times that are taken.

Decided: a clinician's time is kept in pieces of five minutes, one row each with a unique key, because both databases
know unique keys while only one knows ranges: two patients who take one slot at once meet in the key, and one is told.
A visit takes each piece that it touches, its buffer included; a visit that ends gives them back.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

import holidays
from sqlalchemy import delete, select

from portal.clinic.models import Appointment, Clinician, ClinicianService, Leave, OccupiedTime, Service, WorkingHours
from portal.kernel import clock
from portal.kernel.db import db, insert_nothing
from portal.kernel.errors import Conflict
from portal.kernel.errors import Sentence as _

PIECE = timedelta(minutes=5)
LONGEST_LOOK_DAYS = 62


class SlotTaken(Conflict):
    """Somebody else has this time."""

    code = "slot_taken"


@dataclass(frozen=True)
class Slot:
    """A time that can be booked."""

    starts_at: datetime
    ends_at: datetime
    clinician: Clinician


def pieces(starts_at: datetime, minutes: int) -> list[datetime]:
    """The beginnings of the pieces that these minutes touch, in order."""
    first = starts_at - timedelta(
        minutes=starts_at.minute % 5, seconds=starts_at.second, microseconds=starts_at.microsecond
    )
    ends_at = starts_at + timedelta(minutes=minutes)
    count = -(-(ends_at - first) // PIECE)
    return [first + PIECE * at for at in range(count)]


def occupy(appointment: Appointment) -> None:
    """Take this visit's time. Raises SlotTaken where somebody has a piece of it; the caller rolls back, or commits."""
    wanted = pieces(appointment.starts_at, appointment.duration_minutes + appointment.buffer_minutes)
    rows = [
        {
            "tenant_id": appointment.tenant_id,
            "clinician_id": appointment.clinician_id,
            "appointment_id": appointment.id,
            "starts_at": starts_at,
            "created_at": clock.now(),
        }
        for starts_at in wanted  # in order, so that two who overlap wait for each other and never in a circle
    ]
    insert = insert_nothing(OccupiedTime, rows, unique=["clinician_id", "starts_at"]).returning(OccupiedTime.id)
    if len(db.session.execute(insert).all()) < len(rows):
        raise SlotTaken(_("This time has just been taken. Choose another one."))


def release(appointment: Appointment) -> None:
    """Give this visit's time back."""
    db.session.execute(delete(OccupiedTime).where(OccupiedTime.appointment_id == appointment.id))


def is_holiday(day: date) -> bool:
    """Whether this is a public holiday in Kenya."""
    return day in _holidays(day.year)


@lru_cache(maxsize=8)
def _holidays(year: int) -> Collection[date]:
    return frozenset(holidays.country_holidays("KE", years=year))


def free_slots(
    service: Service, first: date, last: date, *, kind: str | None = None, clinician: Clinician | None = None
) -> list[Slot]:
    """What can be booked from the first day to the last one, both on the clinic's clock, in order of time and name.

    kind: onsite or virtual; None: any. clinician: None for whoever offers it.
    """
    if kind is not None and kind not in service.kinds.split(","):
        return []
    now = clock.now()
    last = min(
        last,
        clock.nairobi(now).date() + timedelta(days=service.horizon_days),
        first + timedelta(days=LONGEST_LOOK_DAYS),
    )
    first = max(first, clock.nairobi(now).date())
    if last < first:
        return []
    people = [one for one in offering(service) if clinician is None or one.id == clinician.id]
    if not people:
        return []
    begin, end = _midnight(first), _midnight(last + timedelta(days=1))
    ids = [one.id for one in people]
    hours = _hours(ids)
    taken = _taken(ids, begin, end)
    away = _away(ids, begin, end)
    found = [
        Slot(starts_at, starts_at + timedelta(minutes=service.duration_minutes), person)
        for day in _days(first, last)
        for person in people
        if person.works_holidays or not is_holiday(day)
        for starts_at in _starts(day, hours.get((person.id, day.weekday()), ()), service)
        if starts_at >= now + timedelta(minutes=service.notice_minutes)
        and not _is_away(starts_at, service, away.get(person.id, ()))
        and taken.isdisjoint(
            (person.id, piece) for piece in pieces(starts_at, service.duration_minutes + service.buffer_minutes)
        )
    ]
    return sorted(found, key=lambda slot: (slot.starts_at, slot.clinician.name, slot.clinician.id))


def slot_at(service: Service, starts_at: datetime, *, kind: str, clinician: Clinician | None) -> Slot:
    """The free slot that begins then, of this clinician or of the first one free. Raises SlotTaken."""
    day = clock.nairobi(starts_at).date()
    for slot in free_slots(service, day, day, kind=kind, clinician=clinician):
        if slot.starts_at == starts_at:
            return slot
    raise SlotTaken(_("This time cannot be booked any more. Choose another one."))


def offering(service: Service) -> list[Clinician]:
    """Who offers it, by name."""
    who = select(Clinician).join(ClinicianService, ClinicianService.clinician_id == Clinician.id)
    who = who.where(ClinicianService.service_id == service.id, Clinician.left_at.is_(None))
    return list(db.session.scalars(who.order_by(Clinician.name, Clinician.id)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), clock.NAIROBI)


def _days(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=at) for at in range((last - first).days + 1))


def _starts(day: date, hours: Sequence[tuple[int, int]], service: Service) -> Iterable[datetime]:
    for starts_minute, ends_minute in hours:
        for minute in range(starts_minute, ends_minute - service.duration_minutes + 1, service.step_minutes):
            yield _midnight(day) + timedelta(minutes=minute)


def _hours(clinician_ids: list[int]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    theirs = select(WorkingHours).where(WorkingHours.clinician_id.in_(clinician_ids))
    for one in db.session.scalars(theirs.order_by(WorkingHours.starts_minute)):
        found.setdefault((one.clinician_id, one.weekday), []).append((one.starts_minute, one.ends_minute))
    return found


def _taken(clinician_ids: list[int], begin: datetime, end: datetime) -> set[tuple[int, datetime]]:
    theirs = select(OccupiedTime.clinician_id, OccupiedTime.starts_at).where(
        OccupiedTime.clinician_id.in_(clinician_ids), OccupiedTime.starts_at >= begin, OccupiedTime.starts_at < end
    )
    return {(row.clinician_id, row.starts_at) for row in db.session.execute(theirs)}


def _away(clinician_ids: list[int], begin: datetime, end: datetime) -> dict[int, list[tuple[datetime, datetime]]]:
    found: dict[int, list[tuple[datetime, datetime]]] = {}
    theirs = select(Leave).where(Leave.clinician_id.in_(clinician_ids), Leave.ends_at > begin, Leave.starts_at < end)
    for one in db.session.scalars(theirs):
        found.setdefault(one.clinician_id, []).append((one.starts_at, one.ends_at))
    return found


def _is_away(starts_at: datetime, service: Service, away: Sequence[tuple[datetime, datetime]]) -> bool:
    ends_at = starts_at + timedelta(minutes=service.duration_minutes)
    return any(begin < ends_at and starts_at < end for begin, end in away)
