"""What the product gave up on, or waits for without asking again: for people, with the reason. Nothing here is lost.

    callback   a word of M-Pesa's that could not be settled, or that waits for M-Pesa's own word about a prompt
    message    an SMS or a mail that no carrier took
    delivery   something paid that could not be given out; it is tried again by itself
    prompt     a request whose outcome M-Pesa never told, after the last question about it

Money that somebody told of, and that waits, is not here: it is decided where money is placed (`c2b.unresolved`).
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from portal.audit import chain
from portal.kernel import clock
from portal.kernel.db import Model, TenantOwned, db
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.outbox.models import MESSAGE_DEAD, OutboxItem, OutboxState
from portal.payments.inbox import inbox
from portal.payments.models import CALLBACK_DEAD, CALLBACK_WAITING, UNCONFIRMED, UNDELIVERED, InboxItem, Payment, Push
from portal.tenants.models import Tenant

SHOWN = 50
STILL_RINGING_FOR = timedelta(minutes=10)  # a callback may yet come, without our asking
LISTED_FOR = timedelta(days=30)  # older prompts: M-Pesa's statement is what tells of them


@dataclass(frozen=True)
class Stuck:
    """One such thing. about: whose it is, in words of ours; why: what went wrong, for staff."""

    kind: str
    id: int
    at: datetime
    about: str
    why: str
    payment_token: str | None = None


def _kinds() -> list[tuple[str, type[Any], ColumnElement[bool]]]:
    """(kind, table, which rows): found by the index of each."""
    is_decided_elsewhere = InboxItem.kind.in_(("c2b", "claim")) | (
        (InboxItem.kind == "stk") & InboxItem.receipt.is_not(None)
    )
    return [
        ("callback", InboxItem, CALLBACK_DEAD.waits),
        ("callback", InboxItem, and_(CALLBACK_WAITING.waits, ~is_decided_elsewhere)),
        ("message", OutboxItem, MESSAGE_DEAD.waits),
        ("delivery", Payment, UNDELIVERED.waits),
        ("prompt", Push, is_without_end()),
    ]


def is_without_end() -> ColumnElement[bool]:
    """Whether a push's outcome is unknown and nobody asks for it any more."""
    return and_(
        UNCONFIRMED.waits,
        Push.next_query_at.is_(None),
        Push.sent_at < clock.now() - STILL_RINGING_FOR,
        Push.created_at > clock.now() - LISTED_FOR,
    )


def counts(tenant_id: int | None = None) -> dict[str, int]:
    """How many of each kind, of a tenant or of all."""
    found: Counter[str] = Counter()
    for kind, model, condition in _kinds():
        mine = select(func.count()).select_from(model).where(condition)
        if tenant_id is not None:
            mine = mine.where(model.tenant_id == tenant_id)
        elif issubclass(model, TenantOwned):  # by each one's index; a callback may be nobody's
            mine = mine.where(model.tenant_id.in_(select(Tenant.id)))
        found[kind] += db.session.scalar(mine) or 0
    return dict(found)


def of_tenant(tenant_id: int) -> list[Stuck]:
    """What is stuck, each kind's newest first."""
    found: list[Stuck] = []
    for kind, model, condition in _kinds():
        newest = select(model).where(model.tenant_id == tenant_id, condition).order_by(model.id.desc()).limit(SHOWN)
        found += [_shown(kind, row) for row in db.session.scalars(newest)]
    return found


def _shown(kind: str, row: Any) -> Stuck:
    if kind == "callback":
        return Stuck(kind, row.id, row.received_at, row.kind, row.outcome, _token_of(row.push_id))
    if kind == "message":
        return Stuck(kind, row.id, row.created_at, row.kind, row.last_error)
    if kind == "delivery":
        return Stuck(
            kind, row.id, row.paid_at or row.created_at, row.title or row.reference, row.fulfil_error, row.token
        )
    why = row.failure or "M-Pesa did not tell."
    return Stuck(kind, row.id, row.sent_at or row.created_at, row.reference, why, row.payment.token)


def _token_of(push_id: int | None) -> str | None:
    if push_id is None:
        return None
    return db.session.scalar(select(Payment.token).join(Push).where(Push.id == push_id))


def replay_callback(tenant_id: int, item_id: int, *, actor: str) -> None:
    """Settle it again, believed whatever address it came from. The caller commits, then enqueues DRAIN.

    Raises NotFound, Conflict.
    """
    item = _mine(InboxItem, tenant_id, item_id)
    is_stuck = [which for kind, _model, which in _kinds() if kind == "callback"]
    if db.session.scalar(select(InboxItem.id).where(InboxItem.id == item.id, or_(*is_stuck))) is None:
        raise Conflict(_("It is not stuck any more."))
    inbox.replay(item.id)
    chain.record(tenant_id, "inbox", item.id, "replayed", actor=actor, why=item.outcome)


def send_message_again(tenant_id: int, item_id: int, *, actor: str) -> None:
    """Try a message from the start, whenever it was to be there. The caller commits, then enqueues OUTBOX.

    Raises NotFound, Conflict.
    """
    item = _mine(OutboxItem, tenant_id, item_id)
    if item.state != OutboxState.DEAD:
        raise Conflict(_("It is not stuck any more."))
    move(item, OutboxState.NEW, attempts=0, next_at=clock.now(), expires_at=None, delivery="")
    chain.record(tenant_id, "message", item.id, "sent_again", actor=actor, why=item.last_error)


def _mine(model: type[Model], tenant_id: int, row_id: int) -> Any:
    found = db.session.scalars(
        select(model).where(model.tenant_id == tenant_id, model.id == row_id).with_for_update()  # type: ignore[attr-defined]
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such thing here."))
    return found
