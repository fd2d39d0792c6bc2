"""Reminding of visits: a day before, and an hour before. A job; it commits.

What is due stands on the visit (`remind_at`), written when it is confirmed or moved, so that looking costs what is due
and not what there is. One whose time has passed while nothing ran is skipped for the next.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from portal.clinic import notifications
from portal.clinic.models import TO_REMIND, Appointment, VisitQuestion
from portal.kernel import clock, personal, ports, queue
from portal.kernel.db import db, transaction, upsert_nothing
from portal.kernel.logs import logger

ASK_AGAIN = timedelta(minutes=5)


def remind() -> None:
    """Remind of every visit whose turn it is, one by one: one at fault stops no other."""
    takes_replies = ports.settings().takes_sms_replies
    told = 0
    while not queue.is_leaving() and (appointment_id := _next()) is not None:
        try:
            with transaction():
                told += _remind(appointment_id, takes_replies=takes_replies)
        except Exception as error:
            logger.error("visit_not_reminded", appointment=appointment_id, error=repr(error)[:300])
            with transaction():
                later = update(Appointment).where(Appointment.id == appointment_id)
                db.session.execute(later.values(remind_at=clock.now() + ASK_AGAIN))
    if told:
        queue.enqueue(queue.OUTBOX)


def _next() -> int | None:
    due = select(Appointment.id).where(TO_REMIND.is_due).order_by(Appointment.remind_at).limit(1)
    found = db.session.scalar(due)
    db.session.rollback()
    return found


def _remind(appointment_id: int, *, takes_replies: bool) -> bool:
    locked = select(Appointment).where(Appointment.id == appointment_id).with_for_update()
    visit = db.session.scalars(locked.execution_options(populate_existing=True)).one()
    if visit.status != "confirmed" or visit.remind_at is None or visit.remind_at > clock.now():
        return False
    visit.remind_at = notifications.next_reminder(visit.starts_at, after=clock.now())
    is_told = notifications.reminded(visit, takes_replies=takes_replies)
    if is_told and takes_replies:
        _expect_reply(visit)
    return is_told


def _expect_reply(visit: Appointment) -> None:
    msisdn = notifications.contact_of(visit.patient, visit.tenant).msisdn
    if msisdn is None:
        return
    asked: dict[str, Any] = {"phone_key": personal.prompt_key("replies", msisdn), "until": visit.starts_at}
    first = upsert_nothing(
        VisitQuestion, unique=["appointment_id"], tenant_id=visit.tenant_id, appointment_id=visit.id, **asked
    )
    if db.session.execute(first.returning(VisitQuestion.id)).scalar() is None:
        again = update(VisitQuestion).where(VisitQuestion.appointment_id == visit.id)
        db.session.execute(again.values(**asked))
