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
from sqlalchemy import delete, select, update

from portal.clinic.models import (
    Appointment,
    Branch,
    BranchHours,
    Clinician,
    ClinicianService,
    ClosedDay,
    Leave,
    OccupiedTime,
    Service,
    WaitingWish,
    WorkingHours,
)
from portal.clinic.states import WishState
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
    """A time that can be booked. branch: where its clinician works then; None: the clinic's only place."""

    starts_at: datetime
    ends_at: datetime
    clinician: Clinician
    price_cents: int
    branch: Branch | None = None


@dataclass(frozen=True)
class Shift:
    """When somebody works on a weekday, in minutes of the day. branch_id: where; None: wherever the clinic is."""

    starts_minute: int
    ends_minute: int
    branch_id: int | None


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
    """Give this visit's time back; who waits for a time of this clinician is looked at soon (`waiting`)."""
    db.session.execute(delete(OccupiedTime).where(OccupiedTime.appointment_id == appointment.id))
    given = select(ClinicianService.service_id).where(ClinicianService.clinician_id == appointment.clinician_id)
    waits = update(WaitingWish).where(WaitingWish.service_id.in_(given), WaitingWish.state == WishState.WAITING)
    db.session.execute(waits.values(look_at=clock.now()).execution_options(synchronize_session=False))


def is_holiday(day: date) -> bool:
    """Whether this is a public holiday in Kenya."""
    return day in _holidays(day.year)


@lru_cache(maxsize=8)
def _holidays(year: int) -> Collection[date]:
    return frozenset(holidays.country_holidays("KE", years=year))


def free_slots(
    service: Service,
    first: date,
    last: date,
    *,
    kind: str | None = None,
    clinician: Clinician | None = None,
    branch: Branch | None = None,
    by_staff: bool = False,
) -> list[Slot]:
    """What can be booked from the first day to the last one, both on the clinic's clock, in order of time and name.

    kind: onsite or virtual; None: any. clinician: None for whoever offers it. branch: None for any place.
    by_staff: who book what begins in a minute too, or began in this one, and as far ahead as
    they like.
    """
    if kind is not None and kind not in service.kinds.split(","):
        return []
    now = clock.now()
    horizon = last if by_staff else clock.nairobi(now).date() + timedelta(days=service.horizon_days)
    last = min(last, horizon, first + timedelta(days=LONGEST_LOOK_DAYS))
    first = max(first, clock.nairobi(now).date())
    if last < first:
        return []
    people = [one for one in offering(service) if clinician is None or one.id == clinician.id]
    if not people:
        return []
    begin, end = _midnight(first), _midnight(last + timedelta(days=1))
    ids = [one.id for one in people]
    hours = _hours(ids)
    taken = _taken(ids, begin, end + timedelta(minutes=service.buffer_minutes))  # which reaches past midnight
    away = _away(ids, begin, end)
    prices, places = prices_of(service), _Places(service.tenant_id, first, last)
    earliest = now + timedelta(minutes=service.notice_minutes) if not by_staff else now - timedelta(minutes=5)
    found = [
        Slot(
            starts_at,
            starts_at + timedelta(minutes=service.duration_minutes),
            person,
            prices.get(person.id, service.price_cents),
            places.branches.get(shift.branch_id or 0),
        )
        for day in _days(first, last)
        for person in people
        if person.works_holidays or not is_holiday(day)
        for shift in hours.get((person.id, day.weekday()), ())
        if (branch is None or shift.branch_id == branch.id) and places.is_open(shift.branch_id, day)
        for starts_at in _starts(day, places.within(shift, day), service)
        if starts_at >= earliest
        and not _is_away(starts_at, service, away.get(person.id, ()))
        and taken.isdisjoint(
            (person.id, piece) for piece in pieces(starts_at, service.duration_minutes + service.buffer_minutes)
        )
    ]
    return sorted(found, key=lambda slot: (slot.starts_at, slot.clinician.name, slot.clinician.id))


def slot_at(
    service: Service,
    starts_at: datetime,
    *,
    kind: str,
    clinician: Clinician | None,
    branch: Branch | None = None,
    price_cents: int | None = None,
    by_staff: bool = False,
) -> Slot:
    """The free slot that begins then, of this clinician or of the first one free. Raises SlotTaken.

    price_cents: what its patient was shown: who takes that price comes before who takes another.
    """
    day = clock.nairobi(starts_at).date()
    free = free_slots(service, day, day, kind=kind, clinician=clinician, branch=branch, by_staff=by_staff)
    then = [slot for slot in free if slot.starts_at == starts_at]
    if not then:
        raise SlotTaken(_("This time cannot be booked any more. Choose another one."))
    return next((slot for slot in then if slot.price_cents == price_cents), then[0])


def prices_of(service: Service) -> dict[int, int]:
    """{clinician: their own price of it} of those who have one."""
    own = select(ClinicianService.clinician_id, ClinicianService.price_cents).where(
        ClinicianService.service_id == service.id, ClinicianService.price_cents.is_not(None)
    )
    return {row.clinician_id: row.price_cents for row in db.session.execute(own)}


def branch_at(clinician: Clinician, starts_at: datetime) -> Branch | None:
    """Where this clinician works at this time, by their hours; None: nowhere in particular."""
    local = clock.nairobi(starts_at)
    minute = local.hour * 60 + local.minute
    for shift in _hours([clinician.id]).get((clinician.id, local.weekday()), ()):
        if shift.starts_minute <= minute < shift.ends_minute and shift.branch_id is not None:
            return db.session.get(Branch, shift.branch_id)
    return None


class _Places:
    """When the places of a clinic are open in some days. The branch 0 is the clinic itself."""

    def __init__(self, tenant_id: int, first: date, last: date) -> None:
        mine = select(Branch).where(Branch.tenant_id == tenant_id, Branch.closed_at.is_(None))
        self.branches = {one.id: one for one in db.session.scalars(mine)}
        self._open: dict[int, dict[int, list[tuple[int, int]]]] = {}
        hours = select(BranchHours).where(BranchHours.branch_id.in_(self.branches)).order_by(BranchHours.starts_minute)
        for one in db.session.scalars(hours) if self.branches else ():
            week = self._open.setdefault(one.branch_id, {})
            week.setdefault(one.weekday, []).append((one.starts_minute, one.ends_minute))
        closed = select(ClosedDay).where(
            ClosedDay.tenant_id == tenant_id, ClosedDay.last_day >= first, ClosedDay.first_day <= last
        )
        self._closed = [(one.branch_id, one.first_day, one.last_day) for one in db.session.scalars(closed)]

    def is_open(self, branch_id: int | None, day: date) -> bool:
        """Whether anybody is seen there on this day."""
        if branch_id is not None and branch_id not in self.branches:
            return False  # given up
        return not any(of in (None, branch_id) and first <= day <= last for of, first, last in self._closed)

    def within(self, shift: Shift, day: date) -> list[tuple[int, int]]:
        """The parts of a shift in which its place is open."""
        week = self._open.get(shift.branch_id or 0)
        if not week:
            return [(shift.starts_minute, shift.ends_minute)]
        parts = [
            (max(begin, shift.starts_minute), min(end, shift.ends_minute)) for begin, end in week.get(day.weekday(), ())
        ]
        return [(begin, end) for begin, end in parts if begin < end]


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


def _hours(clinician_ids: list[int]) -> dict[tuple[int, int], list[Shift]]:
    found: dict[tuple[int, int], list[Shift]] = {}
    theirs = select(WorkingHours).where(WorkingHours.clinician_id.in_(clinician_ids))
    for one in db.session.scalars(theirs.order_by(WorkingHours.starts_minute)):
        shift = Shift(one.starts_minute, one.ends_minute, one.branch_id)
        found.setdefault((one.clinician_id, one.weekday), []).append(shift)
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


def is_away(appointment: Appointment) -> bool:
    """Whether its clinician is on leave at its time, or its place is closed on that day."""
    day = clock.nairobi(appointment.starts_at).date()
    if not _Places(appointment.tenant_id, day, day).is_open(appointment.branch_id, day):
        return True
    away = _away([appointment.clinician_id], appointment.starts_at, appointment.ends_at)
    return bool(away)


def _is_away(starts_at: datetime, service: Service, away: Sequence[tuple[datetime, datetime]]) -> bool:
    ends_at = starts_at + timedelta(minutes=service.duration_minutes)
    return any(begin < ends_at and starts_at < end for begin, end in away)
