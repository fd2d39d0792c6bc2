"""Asking M-Pesa about pushes: when, and what its answer changes."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import CursorResult

from portal.gateways import daraja
from portal.gateways.models import Gateway
from portal.kernel import clock, queue
from portal.kernel.db import db, transaction
from portal.payments.models import TO_QUERY, InboxItem, Push
from portal.payments.payment import touch
from portal.payments.processing import callbacks
from portal.payments.states import InboxState
from portal.payments.stk.push_states import OPEN, State
from portal.payments.stk.pushes import QUERY_AFTER

PUT_OFF_FOR = timedelta(minutes=10)
ASK_AT_MOST_EVERY = timedelta(seconds=5)
DAILY = timedelta(days=1)
TOO_EARLY_FOR_NO_ANSWER = timedelta(seconds=60)
OLD_ENOUGH_TO_ASK = timedelta(seconds=20)
_MAY_STILL_CHANGE = (*OPEN, State.UNCONFIRMED)
_LAST_PUSH = (
    select(Push.id, Push.state, Push.sent_at, Push.checkout_hash, Push.next_query_at)
    .where(Push.payment_id == bindparam("payment_id"))
    .order_by(Push.id.desc())
    .limit(1)
)


def due(without: Collection[int] = ()) -> list[tuple[int, int]]:
    """(push, its gateway) whose turn it is, most urgent first. without: gateways that have enough to do."""
    waiting = select(Push.id, Push.gateway_id).where(TO_QUERY.is_due)
    waiting = waiting.where(Push.gateway_id.not_in(without))
    return [(row.id, row.gateway_id) for row in db.session.execute(waiting.order_by(Push.next_query_at).limit(100))]


def put_off(push_id: int) -> None:
    """Asking failed in a way that nobody foresaw: not again at once. The caller commits."""
    later = update(Push).where(Push.id == push_id, TO_QUERY.is_due)
    db.session.execute(later.values(next_query_at=clock.now() + PUT_OFF_FOR))


def expedite(payment_id: int) -> None:
    """Somebody is looking at an old open push: ask M-Pesa now, at most every five seconds. One select if not yet.

    A push that stands at the head of the line already is left there: nothing is written for a second look. Opens its
    own transaction.
    """
    with db.engine.connect() as connection:
        push = connection.execute(_LAST_PUSH, {"payment_id": payment_id}).one_or_none()
    if push is None or push.state not in _MAY_STILL_CHANGE or not push.checkout_hash:
        return
    now = clock.now()
    is_old = push.sent_at is not None and now - push.sent_at >= OLD_ENOUGH_TO_ASK
    is_asked_for = push.next_query_at is not None and push.next_query_at <= now
    if not is_old or is_asked_for:
        return
    with transaction():
        is_put_first = ask_now(push.id)
    if is_put_first:
        queue.enqueue(queue.QUERIES)


def ask_now(push_id: int) -> bool:
    """Put a push at the head of the line, at most every five seconds. The caller commits, then enqueues QUERIES."""
    now = clock.now()
    hurried = (
        update(Push)
        .where(
            Push.id == push_id,
            Push.checkout_hash.is_not(None),
            Push.state != State.SUCCEEDED,
            Push.asked_at.is_(None) | (Push.asked_at < now - ASK_AT_MOST_EVERY),
        )
        .values(next_query_at=now)
    )
    result: CursorResult[tuple[int]] = db.session.execute(hurried)  # type: ignore[assignment]
    return result.rowcount == 1


def lease(push_id: int) -> tuple[int, str] | None:
    """(gateway id, CheckoutRequestID) of a push to ask about; None where another worker asks. The caller commits."""
    push = db.session.get(Push, push_id)
    now = clock.now()
    if push is None or push.checkout_request_id is None or push.next_query_at is None or push.next_query_at > now:
        return None
    sent_at = push.sent_at or push.created_at
    later = [sent_at + after for after in QUERY_AFTER if sent_at + after > now]
    is_told_paid = _is_told_paid(push)
    if is_told_paid:
        later.append(now + DAILY)
    next_query_at = later[0] if later and (is_told_paid or push.state in _MAY_STILL_CHANGE) else None
    taken = (
        update(Push)
        .where(Push.id == push_id, Push.next_query_at == push.next_query_at)
        .values(next_query_at=next_query_at, asked_at=now, queries=Push.queries + 1)
    )
    result: CursorResult[tuple[int]] = db.session.execute(taken)  # type: ignore[assignment]
    return (push.gateway_id, push.checkout_request_id) if result.rowcount == 1 else None


def _is_told_paid(push: Push) -> bool:
    """Whether a success that nobody may believe yet waits for M-Pesa's word: then it is asked until it answers."""
    waits = select(InboxItem.id).where(
        InboxItem.push_id == push.id, InboxItem.receipt.is_not(None), InboxItem.state == InboxState.WAITING
    )
    return push.state != State.SUCCEEDED and db.session.scalar(waits.limit(1)) is not None


def take_answer(push_id: int, answer: daraja.StkAnswer) -> None:
    """Let M-Pesa's answer change the push. Pending and unknown change nothing. The caller commits."""
    push = db.session.get_one(Push, push_id)
    if answer.state == "paid":
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    elif answer.state == "failed" and push.state in _MAY_STILL_CHANGE:
        young = push.sent_at is not None and clock.now() - push.sent_at < TOO_EARLY_FOR_NO_ANSWER
        if answer.result_code == "1037" and young:
            return  # seen while the prompt still stood on the phone
        callbacks.refused_by_query(push, answer.result_code, answer.result_desc)
        touch(push.payment_id)
    elif answer.state == "failed" and push.state != State.SUCCEEDED:
        callbacks.contradict(push, answer.result_code)
