"""Carrying out what the outbox holds: claimed, done outside any transaction, recorded."""

import time
from collections.abc import Callable, Collection
from datetime import timedelta

from rq.utils import import_attribute
from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult

from portal.kernel import clock, ports, queue
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.outbox import write
from portal.outbox.carriers import CannotCarry, NothingToCarryWith
from portal.outbox.models import OUTBOX, TO_CARRY, OutboxItem, OutboxState
from portal.outbox.write import payload_of

# Each takes (config, key, payload) and returns `Carried`; they stand above this floor, hence by name.
CARRIERS = {
    "email": "portal.notifications.channels.send_email",
    "sign_in": "portal.hotspot.passes.devices.carry_sign_in",
    "kick": "portal.hotspot.passes.devices.carry_kick",
    "sms": "portal.notifications.channels.send_sms",
}
MESSAGES, LOOK_EVERY_S = ("email", "sms"), 0.5
RETRY_AFTER_S = (5, 30, 120, 600, 3_600, 21_600)
TOO_LATE, UNDELIVERED = "Too late to be of use.", "failed"
LEASE = timedelta(seconds=90)  # longer than any carrier's timeouts: a killed worker's item comes up again


def deliver_due(kinds: Collection[str] = ()) -> None:
    """Carry out what is due of these kinds (of all where none is named), one at a time.

    What cannot even be written down comes up again by its lease.
    """
    while not queue.is_leaving() and (item_id := _claim(kinds)):
        try:
            deliver(item_id)
        except Exception as error:
            db.session.rollback()
            logger.error("outbox_item_left", item=item_id, error=repr(error)[:300])


def deliver_orders() -> None:
    """Carry out all but messages, which have carriers of their own beside that worker."""
    deliver_due([kind for kind in CARRIERS if kind not in MESSAGES])


def deliver_messages(kind: str, is_over: Callable[[], bool]) -> None:
    """Carry the messages of one kind until it is over, looking every LOOK_EVERY_S: a thread's work.

    Decided: e-mail and SMS have a thread each, beside the jobs: a pull, a sweep of routers or a gateway that hangs for
    minutes keeps no receipt from anybody.
    """
    while not is_over():
        try:
            if TO_CARRY.has_work():
                deliver_due([kind])
        except Exception as error:  # the database may be away: it is looked for again
            logger.error("messages_not_carried", kind=kind, error=repr(error)[:300])
        finally:
            db.session.remove()
        time.sleep(LOOK_EVERY_S)


def _claim(kinds: Collection[str] = ()) -> int | None:
    now = clock.now()
    with transaction():
        due = select(OutboxItem.id, OutboxItem.next_at).where(TO_CARRY.is_due)
        if kinds:
            due = due.where(OutboxItem.kind.in_(kinds))
        row = db.session.execute(due.order_by(OutboxItem.next_at).limit(1).with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        taken = update(OutboxItem).where(OutboxItem.id == row.id, OutboxItem.next_at == row.next_at)
        result: CursorResult[tuple[int]] = db.session.execute(  # type: ignore[assignment]
            taken.values(next_at=now + LEASE, attempts=OutboxItem.attempts + 1)
        )
        return row.id if result.rowcount == 1 else None


def deliver(item_id: int) -> None:
    """Carry out one claimed item and write down what came of it."""
    item = db.session.get_one(OutboxItem, item_id)
    kind, key, attempts, expires_at = item.kind, item.key, item.attempts, item.expires_at
    if item.state != OutboxState.NEW:  # withdrawn since it was claimed
        return
    if expires_at is not None and expires_at < clock.now():
        _record(item_id, OutboxState.SKIPPED, error=TOO_LATE, delivery=UNDELIVERED)
        return
    try:
        payload = payload_of(item)
        db.session.remove()
        carried = import_attribute(CARRIERS[kind])(ports.settings(), key, payload)
    except NothingToCarryWith as error:
        _record(item_id, OutboxState.SKIPPED, error=str(error), is_over=True)
        return
    except Exception as error:
        is_permanent = (isinstance(error, CannotCarry) and error.is_permanent) or attempts > len(RETRY_AFTER_S)
        logger.warning("outbox_failed", item=item_id, kind=kind, error=str(error)[:200], final=is_permanent)
        pause = timedelta(seconds=RETRY_AFTER_S[min(attempts, len(RETRY_AFTER_S)) - 1])
        if is_permanent:
            _record(item_id, OutboxState.DEAD, error=str(error), is_over=True, delivery=UNDELIVERED)
        else:
            _record(item_id, OutboxState.NEW, error=str(error), next_at=clock.now() + pause)
        return
    told = {"provider_id": carried.provider_id[:100], "cost_cents": carried.cost_cents}
    _record(item_id, OutboxState.DONE, done_at=clock.now(), **told)


def _record(item_id: int, state: OutboxState, *, error: str = "", is_over: bool = False, **columns: object) -> None:
    """is_over: it will never be carried, and what was to be done instead is asked for."""
    with transaction():
        mine = update(OutboxItem).where(OutboxItem.id == item_id, OutboxItem.state.in_(OUTBOX.before(state)))
        written = mine.values(state=state, last_error=error[:300], **columns).returning(OutboxItem.id)
        if db.session.execute(written).scalar() is not None and is_over:
            write.put_otherwise(db.session.get_one(OutboxItem, item_id))
