"""What an STK push can be, which moves are legal, and the one way to make one.

    created -> sending -> awaiting_pin -> succeeded | declined | cancelled
    sending | awaiting_pin -> unconfirmed            its answer was lost, or 120 s passed
    unconfirmed -> succeeded | declined | cancelled  when M-Pesa's word arrives
    sending -> created                               it certainly was not sent
    created | sending -> declined                    M-Pesa refused it before any phone rang
    created -> cancelled                             paid by other means before it was sent
    declined | cancelled | created -> succeeded      corrections: money that arrived is a fact

Nothing leaves succeeded. The graph is data; a test tries every pair that is not in it.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import update

from portal.audit import chain
from portal.kernel import clock
from portal.kernel.db import AS_WRITTEN, db
from portal.kernel.errors import PortalError
from portal.payments.models import Push
from portal.payments.payment import touch


class State(StrEnum):
    CREATED = "created"
    SENDING = "sending"
    AWAITING_PIN = "awaiting_pin"
    UNCONFIRMED = "unconfirmed"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"


_ANSWERS = frozenset({State.SUCCEEDED, State.DECLINED, State.CANCELLED})
ALLOWED: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.SENDING}) | _ANSWERS,
    State.SENDING: frozenset({State.AWAITING_PIN, State.UNCONFIRMED, State.CREATED}) | _ANSWERS,
    State.AWAITING_PIN: frozenset({State.UNCONFIRMED}) | _ANSWERS,
    State.UNCONFIRMED: _ANSWERS,
    State.DECLINED: frozenset({State.SUCCEEDED}),
    State.CANCELLED: frozenset({State.SUCCEEDED}),
    State.SUCCEEDED: frozenset(),
}
CORRECTIONS = frozenset({(State.DECLINED, State.SUCCEEDED), (State.CANCELLED, State.SUCCEEDED)})
OPEN = frozenset({State.CREATED, State.SENDING, State.AWAITING_PIN})
FINAL = _ANSWERS


class IllegalMove(PortalError):
    """A move that is not in ALLOWED was asked for: a mistake of ours, not of a payer's."""


def move(push: Push, old: State, new: State, *, why: str, actor: str, **columns: Any) -> bool:
    """Move a push from `old` to `new`. False: someone else moved it first. The caller commits.

    One UPDATE guarded by the old state, so two callbacks for one push cannot both win.
    """
    if new not in ALLOWED[old]:
        raise IllegalMove(f"Push {push.id}: {old} to {new} is not in ALLOWED.")
    if new in FINAL:
        columns = {"ended_at": clock.now(), "next_query_at": None} | columns
    guarded = update(Push).where(Push.id == push.id, Push.state == old).values(state=new, **columns)
    written = db.session.scalars(guarded.returning(Push).execution_options(**AS_WRITTEN)).one_or_none()
    won = written is not None
    if not won:
        db.session.expire(push)
    else:
        touch(push.payment_id)
        chain.record(
            push.tenant_id,
            "push",
            push.id,
            "corrected" if (old, new) in CORRECTIONS else "moved",
            actor=actor,
            old=old,
            new=new,
            why=why,
        )
    return won
