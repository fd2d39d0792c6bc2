"""The work behind payments: send pushes, settle callbacks, ask M-Pesa, expire. Each finds its work by query.

Everything here is safe to run twice and at once with itself, and safe to be killed between any two lines.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from portal.audit import chain
from portal.gateways import breaker, client_factory, daraja, refusals
from portal.gateways.models import Gateway
from portal.kernel import clock, personal, ports, queue
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.kernel.states import move
from portal.payments import closing
from portal.payments.inbox import inbox
from portal.payments.inbox.outcome import AGAIN
from portal.payments.inbox.spool import Spool
from portal.payments.models import TO_SETTLE, InboxItem, Payment
from portal.payments.processing import callbacks, gateway_pool, sets
from portal.payments.states import InboxState
from portal.payments.stk import pushes, queries
from portal.payments.webhook import unverified_reports

T = TypeVar("T")
PUSH_THREADS, PUSHES_OF_ONE = 16, 8  # at once, and of one gateway
QUERY_THREADS, QUERIES_OF_ONE = 8, 2
SENDING_SESSION, ASKING_SESSION = timedelta(seconds=120), timedelta(seconds=120)
SET_ROWS = 200  # of a transaction that takes whole sets: some tens of milliseconds
BACKLOG_SET_ROWS = 500  # on SQLite while nobody calls: what each transaction costs is shared by more
CAREFUL_ROWS, CAREFUL_ROWS_SQLITE = 50, 10
RUSH = timedelta(milliseconds=300)  # longer than a set takes
LOOK_AGAIN_AFTER = timedelta(minutes=1)
ASK_RECEIPT_AFTER = timedelta(minutes=2)  # where an answer about the push may tell sooner
GIVE_WAY_S = 0.03  # longer than most of SQLite's naps between two tries for the lock
TURN_S = 1.0
LOCKS_MET, TRIES_AT_A_LOCK = {"40P01", "40001", "55P03"}, 5  # PostgreSQL: deadlock, serialization, lock timeout
RETRY_AFTER_S = (2, 10, 60)  # property 72: three tries with growing pauses, then staff look


def send_pushes() -> None:
    """Send every waiting push, several at once, for as long as there are some."""
    errand = gateway_pool.Errand(pushes.due_to_send, send_push, _cannot_send, _most_prompts_of)
    gateway_pool.run(errand, threads=PUSH_THREADS, lasting=SENDING_SESSION)
    queue.enqueue(queue.PAID)


def _most_prompts_of(gateway_id: int) -> int:
    """A gateway whose latest prompts got no answer is tried one at a time."""
    return 1 if breaker.is_suspect(gateway_id) else PUSHES_OF_ONE


def _cannot_send(push_id: int, error: Exception) -> None:
    """Something of ours is at fault, before M-Pesa heard of it: only where the database is, may it help to wait."""
    if not isinstance(error, SQLAlchemyError):
        with transaction():
            pushes.cannot_be_sent(push_id, f"{type(error).__name__}: {error}")


def send_push(push_id: int) -> None:
    """Send one prompt. The loser of the first move returns; a kill after it leaves `sending`, which is asked about."""
    with transaction():
        claimed = pushes.lease(push_id, hook_url=ports.settings().public_url + "/hooks")
    if claimed is None:
        return
    try:
        gateway = db.session.get_one(Gateway, claimed.gateway_id)
        client, was_refused = client_factory.client_for(gateway), gateway.refused_at is not None
        db.session.remove()  # no connection is held while M-Pesa thinks
        if breaker.is_open(claimed.gateway_id):
            raise daraja.Unreachable("M-Pesa has not answered the last prompts. This one waits a little.")
        answer = client.stk_push(claimed.prompt)
    except daraja.NotSent as error:
        if not breaker.is_open(claimed.gateway_id):
            breaker.failed(claimed.gateway_id, error)
        with transaction():
            pushes.not_sent(push_id, error)
        if refusals.is_ours(error):
            with transaction():  # after the payment's: a switch of the gateway locks payments first, too
                refusals.note(db.session.get_one(Gateway, claimed.gateway_id), error.message)
        return
    except daraja.DarajaError as error:
        breaker.failed(claimed.gateway_id, error)
        with transaction():
            pushes.outcome_unknown(push_id, error)
        return
    with transaction():
        pushes.accepted(push_id, answer)
        if was_refused:
            refusals.forget(claimed.gateway_id)
    breaker.answered(claimed.gateway_id)


def batch_rows() -> int:
    """How many rows a set may take: on SQLite, where callbacks wait for the one writer, fewer while they are coming."""
    return BACKLOG_SET_ROWS if _has_one_writer() and not _is_rush() else SET_ROWS


def careful_rows() -> int:
    """How many rows a transaction may take that goes row by row.

    SQLite has one writer: while a batch holds it, callbacks wait.
    """
    return CAREFUL_ROWS_SQLITE if _has_one_writer() else CAREFUL_ROWS


def yield_to_writers() -> None:
    """Between two full batches: where one writer is all there is, let callbacks in while they are coming."""
    if _has_one_writer() and _is_rush():
        time.sleep(GIVE_WAY_S)


def _has_one_writer() -> bool:
    return db.engine.dialect.name == "sqlite"


def _is_rush() -> bool:
    """Whether callbacks are coming."""
    latest = db.session.scalar(select(InboxItem.received_at).order_by(InboxItem.id.desc()).limit(1))
    db.session.rollback()
    return latest is not None and clock.now() - latest < RUSH


def drain_inbox(deliver: sets.Deliver | None = None) -> None:
    """Settle the callbacks that wait: what fits exactly in sets, the rest row by row.

    deliver: delivers what a set paid, in its transaction; without it the job does, afterwards. After TURN_S it steps
    back in the queue, so that in a rush the rest is done too.
    """
    until = time.monotonic() + TURN_S
    while settled := _drain_batch(deliver, most := batch_rows()):
        if time.monotonic() > until:
            queue.enqueue(queue.DRAIN)
            break
        if settled >= most:
            yield_to_writers()
    unverified_reports.compare()
    queue.enqueue(queue.PAID)
    queue.enqueue(queue.OUTBOX)
    queue.enqueue(queue.REQUESTS)


def _drain_batch(deliver: sets.Deliver | None, rows: int, after: int = 0) -> int:
    """A batch of so many rows; how many were settled. after: the id of the row behind which it begins."""
    taken = _settle_set(deliver, rows, after)
    if taken is None:
        return _settle_carefully(None)
    if taken.next_after is not None and not (taken.settled or taken.odd):  # what others hold hides none behind it
        return _drain_batch(deliver, rows, taken.next_after)
    settled, most = taken.settled, careful_rows()
    for first in range(0, len(taken.odd), most):
        settled += _settle_carefully(taken.odd[first : first + most])
        if first + most < len(taken.odd):
            yield_to_writers()
    if taken.held and not settled:  # another worker holds all that these are about: after it, they are anybody's
        _wait_a_moment()
        queue.enqueue(queue.DRAIN)
    return settled


def _settle_set(deliver: sets.Deliver | None, rows: int, after: int) -> sets.Taken | None:
    """What became of a set; None where it failed as a whole, and its rows go the careful way."""
    try:
        taken = _past_locks(lambda: _settle_what_is_left(deliver, rows, after))
        if taken is not None:
            queue.publish_all(taken.told)
        return taken
    except Exception as error:
        if is_passing(error):
            raise
        logger.error("set_not_settled", error=repr(error)[:300])
        return None


def _settle_what_is_left(deliver: sets.Deliver | None, rows: int, after: int) -> sets.Taken:
    """A set; once more where another worker was quicker with a row of it, which is known by then and leaves the set."""
    try:
        return sets.settle_set(rows, deliver, after=after)
    except IntegrityError:
        return sets.settle_set(rows, deliver, after=after)


def _settle_carefully(ids: Sequence[int] | None) -> int:
    """Row by row; how many. Without savepoints, which cost a tenth, as long as no row is at fault.

    ids: of the rows that are odd; None: whatever waits.
    """
    try:
        settled = _past_locks(lambda: _settle_due(ids, one_by_one=False))
    except Exception as error:
        if is_passing(error):
            raise
        settled = None
    return _settle_due(ids, one_by_one=True) if settled is None else settled


def _past_locks(work: Callable[[], T]) -> T | None:
    """What the work gives, tried again where two workers met; None where they met each time."""
    for _try in range(TRIES_AT_A_LOCK):
        try:
            return work()
        except DBAPIError as error:
            if not _is_about_locks(error):
                raise
            _wait_a_moment()
    return None


def is_passing(error: Exception) -> bool:
    """Whether the whole batch should be tried again later: the database was at fault, not a row."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _is_about_locks(error))


def _is_about_locks(error: Exception) -> bool:
    """Whether two workers met: a deadlock, or a lock that was not to be had. No row is to blame for it."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in LOCKS_MET


def _wait_a_moment() -> None:
    time.sleep(random.uniform(GIVE_WAY_S, 4 * GIVE_WAY_S))  # noqa: S311 (keeps two workers apart, keeps no secret)


def _settle_due(ids: Sequence[int] | None, *, one_by_one: bool) -> int:
    """Settle a batch; how many rows. one_by_one: each row in its own savepoint, so that one at fault spoils no other.

    Where several workers write, a batch takes the payments that its rows are about before it settles the first of
    them, and leaves to the next look what another worker holds: no worker waits for one that waits for it. Rows that do
    not tell their payment beforehand are settled each in a transaction of its own, for the same reason.
    """
    with transaction():
        due = (
            select(InboxItem)
            .where(TO_SETTLE.is_due)
            .order_by(InboxItem.id)
            .limit(careful_rows())
            .with_for_update(skip_locked=True)
        )
        items = db.session.scalars(due if ids is None else due.where(InboxItem.id.in_(ids))).all()
        mine = Gateway.id.in_({item.gateway_id for item in items})
        _held = db.session.scalars(select(Gateway).where(mine)).all()  # else each row reads its gateway anew
        now, alone = (list(items), []) if db.engine.dialect.name == "sqlite" else _divided(items)
        hurried = _settle_each(now, one_by_one=one_by_one)
    settled = len(now)
    for item_id in alone:
        with transaction():
            mine_alone = select(InboxItem).where(InboxItem.id == item_id, InboxItem.state == InboxState.NEW)
            found = db.session.scalars(mine_alone.with_for_update(skip_locked=True)).all()
            hurried += _settle_each(list(found), one_by_one=True)
        settled += len(found)
    for push_id in hurried:
        with transaction():
            queries.ask_now(push_id)
    if hurried:
        queue.enqueue(queue.QUERIES)
    if items and not settled:  # another worker holds all that these are about: after it, they are anybody's
        _wait_a_moment()
        queue.enqueue(queue.DRAIN)
    return settled


def _divided(items: Sequence[InboxItem]) -> tuple[list[InboxItem], list[int]]:
    """(rows whose payments are locked now, ids of those to settle alone). The rest is left: another worker has it."""
    about = callbacks.payments_of(items)
    wanted = select(Payment.id).where(Payment.id.in_(set(about.values()))).order_by(Payment.id)
    held = set(db.session.scalars(wanted.with_for_update(skip_locked=True)))
    return [one for one in items if about.get(one.id) in held], [one.id for one in items if one.id not in about]


def _settle_each(items: list[InboxItem], *, one_by_one: bool) -> list[int]:
    """Settle these; the pushes about which M-Pesa is to be asked."""
    hurried: list[int] = []
    for item in items:
        item_id = item.id
        try:
            with db.session.begin_nested() if one_by_one else nullcontext():
                if asked := _settle(item):
                    hurried.append(asked)
        except Exception as error:
            if not one_by_one or is_passing(error):
                raise
            _put_off(item_id, error)
    return hurried


def _settle(item: InboxItem) -> int | None:
    body = personal.open_text(item.body_sealed, item.tenant_id or 0) or ""
    outcome = callbacks.settle(item, body)
    if outcome.state == AGAIN:
        item.outcome, item.next_at = outcome.why[:300], clock.now() + LOOK_AGAIN_AFTER
        db.session.flush()
        return None
    settled: dict[str, Any] = {"outcome": outcome.why[:300], "push_id": outcome.push_id, "ask_at": None}
    if outcome.state in (InboxState.WAITING, InboxState.REJECTED) and item.tenant_id is not None:
        subject = ("push", outcome.push_id) if outcome.push_id else ("inbox", item.id)
        chain.record(item.tenant_id, *subject, f"callback_{outcome.state}", actor="daraja", why=outcome.why)
    if outcome.asks_receipt:
        settled["receipt"] = outcome.asks_receipt  # by which M-Pesa's answer finds it
        settled["ask_at"] = clock.now() + (ASK_RECEIPT_AFTER if outcome.asks else timedelta())
    if outcome.state != InboxState.WAITING:
        settled["done_at"] = clock.now()
    move(item, InboxState(outcome.state), **settled)
    return outcome.push_id if outcome.asks else None


def _put_off(item_id: int, error: Exception) -> None:
    logger.error("callback_not_settled", inbox=item_id, error=repr(error)[:300])
    item = db.session.get_one(InboxItem, item_id)
    item.attempts += 1
    item.outcome = f"{type(error).__name__}: {error}"[:300]
    if item.attempts > len(RETRY_AFTER_S):
        move(item, InboxState.DEAD)
    else:
        item.next_at = clock.now() + timedelta(seconds=RETRY_AFTER_S[item.attempts - 1])
    db.session.flush()


def ask_mpesa() -> None:
    """Query every push whose turn it is."""
    errand = gateway_pool.Errand(queries.due, ask_about, _ask_later, lambda _gateway_id: QUERIES_OF_ONE)
    if gateway_pool.run(errand, threads=QUERY_THREADS, lasting=ASKING_SESSION):
        queue.enqueue(queue.PAID)


def _ask_later(push_id: int, _error: Exception) -> None:
    with transaction():
        queries.put_off(push_id)


def ask_about(push_id: int) -> None:
    """Ask M-Pesa about one push. No answer, and an answer that is none, change nothing: its next turn comes."""
    with transaction():
        claimed = queries.lease(push_id)
    if claimed is None:
        return
    try:
        client = client_factory.client_for(db.session.get_one(Gateway, claimed[0]))
        db.session.remove()
        answer = client.stk_query(claimed[1])
    except daraja.DarajaError as error:
        logger.warning("query_without_answer", push=push_id, error=error.message)
        return
    with transaction():
        queries.take_answer(push_id, answer)


def expire_pushes() -> None:
    """Let time pass: pushes without an answer become unconfirmed, and M-Pesa is asked about them."""
    with transaction():
        pushes.expire()


def take_in_spool() -> int:
    """Bring this machine's spooled callbacks into the database."""
    return inbox.take_in(ports.at_hand("spool", Spool), ports.settings().callback_addresses)


def close_forgotten() -> None:
    """Stop offering hotspot payments that nobody pursued."""
    with transaction():
        closing.close_forgotten()
