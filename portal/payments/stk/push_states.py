"""The one way to move an STK push along its graph: with a line in the audit, and its page told of it."""

from datetime import datetime
from typing import Any

from portal.audit import chain
from portal.kernel import clock, states
from portal.payments.models import Push
from portal.payments.payment import touch
from portal.payments.states import PUSH_FINAL as FINAL
from portal.payments.states import PUSH_OPEN as OPEN
from portal.payments.states import PushState as State

__all__ = ["CORRECTIONS", "FAILED", "FINAL", "OPEN", "State", "move", "moved_columns", "told_of_move"]

FAILED = frozenset({State.DECLINED, State.CANCELLED})
CORRECTIONS = frozenset({(State.DECLINED, State.SUCCEEDED), (State.CANCELLED, State.SUCCEEDED)})


def move(push: Push, old: State, new: State, *, why: str, actor: str, is_told: bool = False, **columns: Any) -> bool:
    """Move a push from `old` to `new`. False: someone else moved it first. The caller commits. Raises IllegalMove.

    One UPDATE guarded by the old state, so two callbacks for one push cannot both win. is_told: another line of the
    history tells of it already.
    """
    won = states.move(push, new, old=old, **moved_columns(new, now=clock.now(), **columns))
    if won:
        touch(push.payment_id)
        if not is_told:
            chain.record(push.tenant_id, **told_of_move(push.id, old, new, why=why, actor=actor))
    return won


def moved_columns(new: State, *, now: datetime, **columns: Any) -> dict[str, Any]:
    """What changes of a push that moves to `new`, but its state."""
    ended = {"ended_at": now, "next_query_at": None, "tell_at": now if new in FAILED else None}
    return (ended if new in FINAL else {}) | columns


def told_of_move(push_id: int, old: State, new: State, *, why: str, actor: str) -> dict[str, Any]:
    """The line of the history that tells of it."""
    action = "corrected" if (old, new) in CORRECTIONS else "moved"
    return {
        "subject_kind": "push", "subject_id": push_id, "action": action, "actor": actor, "old": old, "new": new,
        "why": why,
    }  # fmt: skip
