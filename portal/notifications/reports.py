"""What became of text messages: Africa's Talking's delivery reports, kept as they come and matched by a job.

Decided: the door only keeps a report, since it may come before the answer that names its message is stored; the job
looks for the message again until it is there. A final word is never taken back by an earlier one that came later.
Source: Africa's Talking's delivery reports (id, status, failureReason): clinic.md C4.
"""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from portal.kernel import clock, queue
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.notifications.models import REPORT_DUE, SmsReport
from portal.outbox import write
from portal.outbox.models import OutboxItem

DELIVERED, UNDELIVERED = "delivered", "failed"
FINAL = {"Success": DELIVERED, "Failed": UNDELIVERED, "Rejected": UNDELIVERED}
LOOK_AGAIN, GIVE_UP_AFTER, ROWS = timedelta(seconds=10), timedelta(hours=1), 100


def keep(provider_id: str, status: str, why: str) -> None:
    """Keep a report. The caller commits, then enqueues REPORTS."""
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    told = {"status": status[:20], "why": why[:100], "look_at": clock.now()}
    insert = dialect.insert(SmsReport).values(provider_id=provider_id[:100], created_at=clock.now(), **told)
    is_open = SmsReport.status.not_in(list(FINAL))
    db.session.execute(insert.on_conflict_do_update(index_elements=["provider_id"], set_=told, where=is_open))


def take_in() -> None:
    """Tell each message what became of it. A job; it commits. What was not brought is tried another way, if it has one.

    Reports whose message has not come after an hour are of nobody's.
    """
    instead = 0
    while not queue.is_leaving():
        with transaction():
            due = select(SmsReport).where(REPORT_DUE.is_due).order_by(SmsReport.look_at).limit(ROWS)
            reports = list(db.session.scalars(due.with_for_update(skip_locked=True)))
            for report in reports:
                instead += _take_guarded(report)
        if len(reports) < ROWS:
            break
    if instead:
        queue.enqueue(queue.OUTBOX)


def _take_guarded(report: SmsReport) -> bool:
    report_id = report.id
    try:
        with db.session.begin_nested():
            return _take(report)
    except Exception as error:  # one at fault keeps no other from being matched
        logger.error("sms_report_left", report=report_id, error=repr(error)[:300])
        later = update(SmsReport).where(SmsReport.id == report_id)
        db.session.execute(later.values(look_at=clock.now() + GIVE_UP_AFTER))
        return False


def _take(report: SmsReport) -> bool:
    """Whether something else is to be sent instead."""
    became = FINAL.get(report.status)
    if became is None:  # on its way: the final word is still to come
        db.session.delete(report)
        return False
    mine = update(OutboxItem).where(
        OutboxItem.provider_id == report.provider_id, OutboxItem.provider_id != "", OutboxItem.kind == "sms"
    )
    error = f"{report.status}: {report.why}".rstrip(": ") if became == UNDELIVERED else ""
    told = mine.where(OutboxItem.delivery == "").values(delivery=became, delivered_at=clock.now(), last_error=error)
    item_id = db.session.scalar(told.returning(OutboxItem.id))
    known = select(OutboxItem.id).where(OutboxItem.provider_id == report.provider_id, OutboxItem.kind == "sms")
    if item_id is None and db.session.scalar(known) is None and clock.now() - report.created_at < GIVE_UP_AFTER:
        report.look_at = clock.now() + LOOK_AGAIN
        return False
    db.session.delete(report)
    if item_id is None:
        return False
    return became == UNDELIVERED and write.put_otherwise(db.session.get_one(OutboxItem, item_id))
