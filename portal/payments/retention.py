"""What is not kept for ever: words and questions that were dealt with long ago, and messages that were delivered.

    callbacks          their bodies go after 400 days; the rows stay, small, since their digests keep a repeat from
                       being settled anew and transactions point at them
    questions          about receipts and balances go after 400 days; those of refunds stay: their conversation ids are
                       what keeps a pay-out from being sent twice
    messages           go after 180 days, once delivered or skipped

Nothing that waits, is under way or was given up is touched: a person or M-Pesa still has a word to say about it.
Decided: 400 days, because a year's books are closed and disputed within a year and a month; what the money was, who
paid and who decided what stays in transactions, ledger and audit for good.
Callbacks are looked at in the order of their ids, in small transactions, from where the last look ended: the cost is
that of what became old since, not of all there is. One that was not settled yet is marked, and goes when it is.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Delete, delete, func, literal_column, select, update

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem, OutboxState
from portal.payments.models import InboxItem, MpesaRequest
from portal.payments.states import REQUEST_OPEN, InboxState

WORDS_KEPT_FOR, MESSAGES_KEPT_FOR = timedelta(days=400), timedelta(days=180)
_SETTLED = (InboxState.DONE, InboxState.REJECTED)
BATCH_ROWS, MOST_BATCHES = 500, 20


def sweep() -> None:
    """Let go of what is old enough, as much as one run may take. Opens its own transactions; safe twice at once."""
    _each_old(InboxItem, InboxItem.received_at, WORDS_KEPT_FOR, _empty, after=_looked_at_until())
    _empty_overdue()
    _each_old(MpesaRequest, MpesaRequest.created_at, WORDS_KEPT_FOR, _forget_questions)
    _each_old(OutboxItem, OutboxItem.created_at, MESSAGES_KEPT_FOR, _forget_messages)


def _looked_at_until() -> int:
    """The last callback that a look has passed: emptied, or marked as overdue."""
    passed = ("inbox.body_sealed = ''", "inbox.overdue_at IS NOT NULL")  # spelt as the indexes have it
    newest = (db.session.scalar(select(func.max(InboxItem.id)).where(literal_column(which))) for which in passed)
    return max(one or 0 for one in newest)


def _each_old(
    model: Any, at: Any, kept_for: timedelta, let_go: Callable[[Sequence[int]], bool], *, after: int = 0
) -> None:
    """let_go: whether it changed anything. Batches of nothing but what is kept are only read, and count for nothing."""
    before, changed = clock.now() - kept_for, 0
    while changed < MOST_BATCHES:
        with transaction():
            rows = db.session.execute(select(model.id, at).where(model.id > after).order_by(model.id).limit(BATCH_ROWS))
            old = [row_id for row_id, came in rows if came < before]
            if old:
                changed += let_go(old)
                after = old[-1]
        if len(old) < BATCH_ROWS:
            return


def _empty(ids: Sequence[int]) -> bool:
    """What is settled is emptied; what is not, is marked, to be found again when it is."""
    is_settled = InboxItem.state.in_(_SETTLED)
    mine = update(InboxItem).where(InboxItem.id.in_(ids))
    for which, values in ((is_settled, {"body_sealed": ""}), (~is_settled, {"overdue_at": clock.now()})):
        db.session.execute(mine.where(which).values(**values).execution_options(synchronize_session=False))
    return True


def _empty_overdue() -> None:
    with transaction():
        settled = update(InboxItem).where(literal_column("inbox.overdue_at IS NOT NULL"), InboxItem.state.in_(_SETTLED))
        settled = settled.values(body_sealed="", overdue_at=None)
        db.session.execute(settled.execution_options(synchronize_session=False))


def _forget_questions(ids: Sequence[int]) -> bool:
    answered = delete(MpesaRequest).where(
        MpesaRequest.id.in_(ids),
        MpesaRequest.state.not_in(REQUEST_OPEN),
        MpesaRequest.next_at.is_(None),
        MpesaRequest.refund_id.is_(None),  # what moves money is of a refund, always
    )
    return _changed(answered)


def _forget_messages(ids: Sequence[int]) -> bool:
    return _changed(
        delete(OutboxItem).where(OutboxItem.id.in_(ids), OutboxItem.state.in_((OutboxState.DONE, OutboxState.SKIPPED)))
    )


def _changed(deleting: Delete) -> bool:
    result: Any = db.session.execute(deleting.execution_options(synchronize_session=False))
    return bool(result.rowcount)
