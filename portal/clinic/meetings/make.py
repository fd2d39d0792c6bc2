"""Making the meetings that are wanted: claimed, asked for outside any transaction, recorded.

A worker that dies on the way leaves its row to come up again by the lease, and the next one asks under the same
request id. What changed while the provider was asked (`version`) is told to it afterwards.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult

from portal.audit import chain
from portal.clinic.meetings import settings
from portal.clinic.meetings.models import TO_MAKE, Meeting
from portal.clinic.meetings.providers import CannotMeet, Made, Wish
from portal.clinic.meetings.providers.wire import Refusal
from portal.clinic.models import Appointment
from portal.kernel import clock, queue, vault
from portal.kernel.db import db, new_token, transaction
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.kernel.translations import render
from portal.tenants.models import Tenant

LEASE = timedelta(seconds=90)  # longer than the calls of one try
RETRY_AFTER_S = (2, 5, 15, 60, 300, 900, 1_800)
FALLS_BACK_AFTER = 3  # tries
FALLS_BACK_BEFORE = timedelta(minutes=30)  # of the beginning: then there is no time to wait for a provider
GONE = (404, 410)


@dataclass(frozen=True)
class Task:
    """One meeting as it is wanted, and by whom it is made."""

    meeting_id: int
    tenant_id: int
    provider: str
    config: Any
    wish: Wish
    version: int
    is_wanted: bool
    is_over: bool
    fallback: str
    starts_at: datetime


def make_due() -> None:
    """Make, move and cancel every meeting that is due, one at a time. A job; it commits."""
    while not queue.is_leaving() and (meeting_id := _claim()) is not None:
        try:
            _bring_about(meeting_id)
        except Exception as error:  # one bad row never stops the others; it comes up again by its lease
            db.session.rollback()
            logger.error("meeting_left", meeting=meeting_id, error=repr(error)[:300])


def _claim() -> int | None:
    now = clock.now()
    with transaction():
        due = select(Meeting.id, Meeting.next_at).where(TO_MAKE.is_due).order_by(Meeting.next_at).limit(1)
        row = db.session.execute(due.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        taken = update(Meeting).where(Meeting.id == row.id, Meeting.next_at == row.next_at)
        result: CursorResult[Any] = db.session.execute(  # type: ignore[assignment]
            taken.values(next_at=now + LEASE, attempts=Meeting.attempts + 1)
        )
        return row.id if result.rowcount == 1 else None


def _bring_about(meeting_id: int) -> None:
    task = _read(meeting_id)
    db.session.remove()
    if task is None:
        return
    asked = settings.ASKED[task.provider]
    try:
        if not task.is_wanted:
            if task.wish.external_id:
                asked.cancel(task.config, task.wish.external_id)
            _record(task, None)
        elif task.is_over:
            _record(task, None)
        elif task.wish.external_id:
            _record(task, asked.change(task.config, task.wish))
        else:
            _record(task, asked.make(task.config, task.wish))
    except CannotMeet as cannot:
        if isinstance(cannot, Refusal) and cannot.status in GONE and task.wish.external_id and task.is_wanted:
            _forget(task)  # somebody deleted it there: another one is made
            return
        _failed(task, str(cannot), is_permanent=cannot.is_permanent)
    except Exception as error:
        _failed(task, f"The answer cannot be read: {type(error).__name__}.", is_permanent=False)


def _read(meeting_id: int) -> Task | None:
    """What is to be done, or None where there is nothing to ask anybody."""
    meeting = db.session.get_one(Meeting, meeting_id)
    visit = db.session.get_one(Appointment, meeting.appointment_id)
    tenant = db.session.get_one(Tenant, meeting.tenant_id)
    chosen = settings.of(tenant)
    provider = meeting.provider if meeting.external_id else chosen.provider  # until it is made, as the clinic wants now
    if provider not in settings.ASKED:
        with transaction():
            db.session.execute(_mine(meeting_id, meeting.version).values(provider=provider, next_at=None))
        return None
    title = render(_("Appointment"), tenant.locale)  # discreet: others see a calendar
    wish = Wish(
        meeting.request_id, title, visit.starts_at, visit.duration_minutes, meeting.external_id, meeting.attempts - 1
    )
    return Task(
        meeting.id,
        meeting.tenant_id,
        provider,
        chosen.configs.get(provider, {}),
        wish,
        meeting.version,
        is_wanted=meeting.wanted == "made",
        is_over=visit.ends_at < clock.now(),
        fallback=chosen.fallback,
        starts_at=visit.starts_at,
    )


def _mine(meeting_id: int, version: int) -> Any:
    return update(Meeting).where(Meeting.id == meeting_id, Meeting.version == version)


def _record(task: Task, made: Made | None) -> None:
    """Write down what the provider did. What changed meanwhile stays due, and finds what was made."""
    columns: dict[str, Any] = {"provider": task.provider, "last_error": ""}
    if made is not None:
        columns |= {"external_id": made.external_id[:120]}
        if made.join_url is not None:
            context = vault.context(vault.MEETING, task.tenant_id)
            columns |= {"join_url_sealed": vault.seal(made.join_url, context=context), "fell_back": False}
    is_pending = made is not None and made.join_url is None
    with transaction():
        done = {"told_version": task.version, "next_at": _next_at(task) if is_pending else None}
        result: CursorResult[Any] = db.session.execute(  # type: ignore[assignment]
            _mine(task.meeting_id, task.version).values(**columns, **done)
        )
        if result.rowcount != 1:
            late = update(Meeting).where(Meeting.id == task.meeting_id)
            db.session.execute(late.values(**columns, next_at=clock.now()))
        elif made is not None and not is_pending:
            chain.record(task.tenant_id, "meeting", task.meeting_id, "made", actor="meetings", new=task.provider)


def _forget(task: Task) -> None:
    with transaction():
        mine = update(Meeting).where(Meeting.id == task.meeting_id)
        gone = {"external_id": "", "join_url_sealed": None, "request_id": new_token(), "next_at": clock.now()}
        db.session.execute(mine.values(**gone))


def _failed(task: Task, error: str, *, is_permanent: bool) -> None:
    """Write down why, when it is tried again, and whether the fallback stands in until then."""
    logger.warning("meeting_failed", meeting=task.meeting_id, provider=task.provider, error=error[:200])
    is_urgent = task.starts_at - clock.now() < FALLS_BACK_BEFORE
    falls_back = task.is_wanted and (is_permanent or is_urgent or task.wish.tries + 1 >= FALLS_BACK_AFTER)
    with transaction():
        columns: dict[str, Any] = {"last_error": error[:300], "next_at": _next_at(task)}
        if falls_back and task.fallback:
            columns["fell_back"] = True
        db.session.execute(_mine(task.meeting_id, task.version).values(**columns))


def _next_at(task: Task) -> datetime | None:
    """When it is tried again; None once the visit has begun and nobody waits for it any more."""
    pause = timedelta(seconds=RETRY_AFTER_S[min(task.wish.tries, len(RETRY_AFTER_S) - 1)])
    at = clock.now() + pause
    return at if at < task.starts_at + timedelta(minutes=task.wish.minutes) else None
