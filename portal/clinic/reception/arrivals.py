"""Who has come: written down at the desk, and taken back where it was a slip."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.engine import CursorResult

from portal.audit import chain
from portal.clinic.appointments import UNDO_FOR
from portal.clinic.models import Appointment
from portal.clinic.reception import queue_tickets
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict
from portal.kernel.errors import Sentence as _

COMING = ("approved", "confirmed", "pending_approval")


def may_undo(at: datetime | None) -> bool:
    """Whether what was done then can still be taken back by who works at the desk."""
    return at is not None and clock.now() - at <= UNDO_FOR


def refuse_late_undo(at: datetime | None) -> None:
    """Raise Conflict where this is too long ago to be a slip."""
    if not may_undo(at):
        minutes = UNDO_FOR // timedelta(minutes=1)
        sentence = _("This can be taken back within %(minutes)s minutes. Ask an administrator.", minutes=minutes)
        raise Conflict(sentence, code="too_late")


def arrive(visit: Appointment, *, actor: str) -> bool:
    """The patient is here, and has a number where they come in person. False: was here already. The caller commits.

    Raises Conflict where the visit is over or off.
    """
    mine = update(Appointment).where(
        Appointment.id == visit.id, Appointment.status.in_(COMING), Appointment.arrived_at.is_(None)
    )
    result: CursorResult[Any] = db.session.execute(mine.values(arrived_at=clock.now()))  # type: ignore[assignment]
    db.session.refresh(visit)
    if not result.rowcount:
        if visit.status not in COMING:
            raise Conflict(_("This visit is over or off. Load the page again."))
        return False
    chain.record(visit.tenant_id, "appointment", visit.id, "arrived", actor=actor)
    if visit.kind == "onsite":
        queue_tickets.give(visit.tenant_id, visit=visit, actor=actor)
    return True


def undo_arrival(visit: Appointment, *, actor: str) -> None:
    """They are not here after all; their number is not called any more. The caller commits.

    Raises Conflict where it is too long ago, or the visit has begun.
    """
    refuse_late_undo(visit.arrived_at)
    mine = update(Appointment).where(
        Appointment.id == visit.id,
        Appointment.status.in_(COMING),
        Appointment.arrived_at.is_not(None),
        Appointment.started_at.is_(None),
    )
    result: CursorResult[Any] = db.session.execute(mine.values(arrived_at=None))  # type: ignore[assignment]
    db.session.refresh(visit)
    if not result.rowcount:
        raise Conflict(_("This visit has begun, or was changed just now. Load the page again."))
    queue_tickets.take_back(visit, actor=actor)
    chain.record(visit.tenant_id, "appointment", visit.id, "arrival_undone", actor=actor)
