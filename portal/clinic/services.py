"""What a clinic offers, by whom, and when they work."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select

from portal.audit import chain
from portal.clinic.models import Appointment, Branch, Clinician, ClinicianService, Leave, Service, WorkingHours
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _

KINDS = ("onsite", "virtual")
MINUTES_OF_DAY = 1_440
_RANGE = re.compile(r"(\d{1,2})(?:[:.](\d{2}))?\s*[-–]\s*(\d{1,2})(?:[:.](\d{2}))?")
MOST_SHOWN = 50


@dataclass(frozen=True)
class Offer:
    """A service as it is offered. kinds: onsite, virtual, or both; the others as in `models.Service`."""

    name: str
    price_cents: int
    duration_minutes: int
    kinds: tuple[str, ...] = ("onsite",)
    step_minutes: int = 30
    buffer_minutes: int = 0
    notice_minutes: int = 60
    horizon_days: int = 60
    hold_minutes: int = 24 * 60
    cancel_hours: int = 24
    late_keeps_percent: int = 0
    money_back: str = "refund"
    deposit_cents: int | None = None
    needs_approval: bool = True
    position: int = 0


def create(tenant_id: int, offer: Offer, *, by: Iterable[Clinician], actor: str) -> Service:
    """Offer a service. by: who gives it. The caller commits. Raises Refused."""
    service = Service(tenant_id=tenant_id, **_columns(offer))
    db.session.add(service)
    db.session.flush()
    give(service, by, actor=actor)
    chain.record(tenant_id, "service", service.id, "created", actor=actor, details={"price_cents": offer.price_cents})
    return service


def _columns(offer: Offer) -> dict[str, Any]:
    if not offer.kinds or set(offer.kinds) - set(KINDS):
        raise Refused("A service is onsite, virtual, or both.", fields={"kinds": "onsite, virtual, or both."})
    if not 0 <= offer.late_keeps_percent <= 100:
        raise Refused(_("Between 0 and 100 percent."), fields={"late_keeps": _("Between 0 and 100 percent.")})
    if offer.deposit_cents is not None and not 0 < offer.deposit_cents < offer.price_cents:
        sentence = _("A deposit is less than the price; leave it empty where all is paid first.")
        raise Refused(sentence, fields={"deposit": sentence})
    return asdict(offer) | {"kinds": ",".join(kind for kind in KINDS if kind in offer.kinds)}


def offer_of(service: Service) -> Offer:
    """It as it is offered now."""
    own = {one.name: getattr(service, one.name) for one in fields(Offer)}
    return Offer(**own | {"kinds": tuple(service.kinds.split(","))})


def change(service: Service, offer: Offer, *, by: Iterable[Clinician], seen: str, actor: str) -> None:
    """Offer it like this from now on. The caller commits. What is booked keeps its time, its price and its terms.

    by: who gives it; they keep their own prices. seen: `state_of` it when it was shown. Raises Refused, and Conflict
    where somebody else has changed it since.
    """
    locked = select(Service).where(Service.id == service.id).with_for_update()
    service = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if state_of(service) != seen:
        raise Conflict(_("Somebody else changed this service meanwhile. Load it again."), code="changed_meanwhile")
    new, old = _columns(offer), asdict(offer_of(service)) | {"kinds": service.kinds}
    for name, value in new.items():
        setattr(service, name, value)
    db.session.flush()
    give(service, by, actor=actor)
    changed = [name for name in new if new[name] != old[name]]
    chain.record(service.tenant_id, "service", service.id, "changed", actor=actor, details={"what": changed})


def version_of(service: Service) -> str:
    """Another one whenever what its patients are told before they book is another, beside the price of each time."""
    told = (
        service.name, service.kinds, service.duration_minutes, service.needs_approval, service.hold_minutes,
        service.cancel_hours, service.late_keeps_percent, service.money_back, service.deposit_cents,
    )  # fmt: skip
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def state_of(service: Service) -> str:
    """Another one whenever anything of it is another, and who gives it."""
    given = select(ClinicianService.clinician_id).where(ClinicianService.service_id == service.id)
    whole = (offer_of(service), sorted(db.session.scalars(given)))
    return hashlib.sha256(repr(whole).encode()).hexdigest()[:16]


def give(service: Service, by: Iterable[Clinician], *, actor: str) -> None:
    """Have these clinicians, and no others, offer it; who did before keeps their own price. The caller commits."""
    wanted = {one.id for one in by}
    mine = ClinicianService.service_id == service.id
    db.session.execute(delete(ClinicianService).where(mine, ClinicianService.clinician_id.not_in(wanted)))
    there = set(db.session.scalars(select(ClinicianService.clinician_id).where(mine)))
    db.session.add_all(
        ClinicianService(tenant_id=service.tenant_id, clinician_id=one, service_id=service.id)
        for one in sorted(wanted - there)
    )
    db.session.flush()


def offered(tenant_id: int) -> list[Service]:
    """What can be booked, in the clinic's order."""
    mine = select(Service).where(Service.tenant_id == tenant_id, Service.withdrawn_at.is_(None))
    return list(db.session.scalars(mine.order_by(Service.position, Service.name, Service.id)))


def for_booking(tenant_id: int, uid: object) -> Service:
    """One that can be booked. Raises NotFound."""
    mine = select(Service).where(Service.tenant_id == tenant_id, Service.uid == str(uid or ""))
    service = db.session.scalars(mine.where(Service.withdrawn_at.is_(None))).one_or_none()
    if service is None:
        raise NotFound(_("This service is not offered here. Choose another one."), code="unknown_service")
    return service


def withdraw(service: Service, *, actor: str) -> None:
    """Stop offering it; what is booked stays. The caller commits."""
    service.withdrawn_at = clock.now()
    chain.record(service.tenant_id, "service", service.id, "withdrawn", actor=actor)


def set_prices(service: Service, own: dict[int, int | None], *, actor: str) -> None:
    """What these clinicians take for it, by id, in cents; None: the service's price. The caller commits.

    What is booked keeps its price.
    """
    for offer in db.session.scalars(select(ClinicianService).where(ClinicianService.service_id == service.id)):
        offer.price_cents = own.get(offer.clinician_id)
    db.session.flush()
    chain.record(service.tenant_id, "service", service.id, "prices_set", actor=actor)


def set_price(service: Service, price_cents: int, *, actor: str) -> None:
    """It costs this much from now on; what is booked keeps its price. The caller commits. Raises Refused."""
    if service.deposit_cents is not None and service.deposit_cents >= price_cents:
        raise Refused(_("A deposit is less than the price; leave it empty where all is paid first."))
    old, service.price_cents = service.price_cents, price_cents
    chain.record(service.tenant_id, "service", service.id, "priced", actor=actor, old=str(old), new=str(price_cents))


def checked_hours(hours: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The hours of a week in order: (weekday from Monday 0, first minute, last minute).

    Raises Refused for hours that are none or overlap.
    """
    wanted = sorted(hours)
    for weekday, starts_minute, ends_minute in wanted:
        if not 0 <= weekday <= 6 or not 0 <= starts_minute < ends_minute <= MINUTES_OF_DAY:
            raise Refused(_("Hours begin before they end, on the same day."), code="invalid_hours")
    for (day, _begin, end), (next_day, begin, _end) in zip(wanted, wanted[1:], strict=False):
        if day == next_day and begin < end:
            raise Refused(_("Two of these hours overlap."), code="invalid_hours")
    return wanted


def set_hours(
    clinician: Clinician, hours: Iterable[tuple[int, int, int]], *, branch: Branch | None = None, actor: str
) -> None:
    """Work in these hours from now on: (weekday from Monday 0, first minute, last minute). The caller commits.

    branch: where; the hours at other places stay. What is booked outside of them stays. Raises Refused for hours that
    are none or overlap, each other or those at another place.
    """
    wanted = sorted(hours)
    here = WorkingHours.branch_id == branch.id if branch else WorkingHours.branch_id.is_(None)
    is_elsewhere = WorkingHours.branch_id.is_distinct_from(branch.id if branch else None)
    elsewhere = select(WorkingHours).where(WorkingHours.clinician_id == clinician.id, is_elsewhere)
    others = [(one.weekday, one.starts_minute, one.ends_minute) for one in db.session.scalars(elsewhere)]
    checked_hours([*wanted, *others])
    db.session.execute(delete(WorkingHours).where(WorkingHours.clinician_id == clinician.id, here))
    db.session.add_all(
        WorkingHours(
            tenant_id=clinician.tenant_id,
            clinician_id=clinician.id,
            branch_id=branch.id if branch else None,
            weekday=day,
            starts_minute=begin,
            ends_minute=end,
        )
        for day, begin, end in wanted
    )
    db.session.flush()
    chain.record(clinician.tenant_id, "clinician", clinician.id, "hours_set", actor=actor)


def add_leave(clinician: Clinician, starts_at: datetime, ends_at: datetime, *, actor: str) -> Leave:
    """Be away; what is booked then stays, and staff see it. The caller commits. Raises Refused."""
    if ends_at <= starts_at:
        raise Refused(_("Leave begins before it ends."), code="invalid_leave")
    leave = Leave(tenant_id=clinician.tenant_id, clinician_id=clinician.id, starts_at=starts_at, ends_at=ends_at)
    db.session.add(leave)
    db.session.flush()
    chain.record(clinician.tenant_id, "clinician", clinician.id, "leave_added", actor=actor)
    return leave


def end_leave(clinician: Clinician, leave_id: object, *, actor: str) -> None:
    """They work in these days after all. The caller commits. Raises NotFound for leave that is not theirs."""
    text = str(leave_id)
    row_id = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
    leave = db.session.scalar(select(Leave).where(Leave.id == row_id, Leave.clinician_id == clinician.id))
    if leave is None:
        raise NotFound(_("There is no such leave."))
    db.session.delete(leave)
    chain.record(clinician.tenant_id, "clinician", clinician.id, "leave_ended", actor=actor)


def read_hours(text: object) -> list[tuple[int, int]]:
    """(first minute, last minute) of each part of `8-13, 14-17:30`. Raises Refused for what cannot be read."""
    found = []
    for part in filter(None, (part.strip() for part in str(text or "").split(","))):
        stated = _RANGE.fullmatch(part)
        if stated is None:
            raise Refused(_("Write hours such as 8-13, 14-17:30."))
        begin_hour, begin_minute, end_hour, end_minute = (int(figure or 0) for figure in stated.groups())
        begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
        if max(begin_minute, end_minute) > 59 or not begin < end <= MINUTES_OF_DAY:
            raise Refused(_("Hours begin before they end, on the same day."))
        found.append((begin, end))
    return found


def hours_shown(hours: Iterable[tuple[int, int]]) -> str:
    """`8:00-13:00, 14:00-17:30`, as `read_hours` reads it."""
    return ", ".join(f"{begin // 60}:{begin % 60:02}-{end // 60}:{end % 60:02}" for begin, end in hours)


def week_at(clinician: Clinician, branch: Branch | None) -> dict[int, list[tuple[int, int]]]:
    """{weekday: this clinician's hours at this place}; None: those of no place in particular."""
    found: dict[int, list[tuple[int, int]]] = {}
    here = WorkingHours.branch_id == branch.id if branch else WorkingHours.branch_id.is_(None)
    mine = select(WorkingHours).where(WorkingHours.clinician_id == clinician.id, here)
    for one in db.session.scalars(mine.order_by(WorkingHours.starts_minute)):
        found.setdefault(one.weekday, []).append((one.starts_minute, one.ends_minute))
    return found


def weeks_of(tenant_id: int) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """{(clinician, weekday): their hours on it} of the whole clinic, wherever they are."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    mine = select(WorkingHours).join(Clinician, Clinician.id == WorkingHours.clinician_id)
    for one in db.session.scalars(mine.where(Clinician.tenant_id == tenant_id).order_by(WorkingHours.starts_minute)):
        found.setdefault((one.clinician_id, one.weekday), []).append((one.starts_minute, one.ends_minute))
    return found


def leaves_of(clinician: Clinician) -> list[Leave]:
    """Leave that is not over yet, the next one first."""
    coming = select(Leave).where(Leave.clinician_id == clinician.id, Leave.ends_at > clock.now())
    return list(db.session.scalars(coming.order_by(Leave.starts_at).limit(MOST_SHOWN)))


def booked_between(clinician: Clinician, begin: datetime, end: datetime) -> int:
    """How many visits wait for this clinician between two instants."""
    theirs = select(func.count(Appointment.id)).where(
        Appointment.tenant_id == clinician.tenant_id,
        Appointment.clinician_id == clinician.id,
        Appointment.starts_at >= begin,
        Appointment.starts_at < end,
        Appointment.status.in_(("pending_approval", "approved", "confirmed")),
    )
    return db.session.scalar(theirs) or 0
