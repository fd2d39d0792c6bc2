"""The one way to move an STK push along its graph: with a line in the audit, and its page told of it."""

from typing import Any

from portal.audit import chain
from portal.kernel import clock, states
from portal.payments.models import Push
from portal.payments.payment import touch
from portal.payments.states import PUSH_FINAL as FINAL
from portal.payments.states import PUSH_OPEN as OPEN
from portal.payments.states import PushState as State

__all__ = ["CORRECTIONS", "FINAL", "OPEN", "State", "move"]

CORRECTIONS = frozenset({(State.DECLINED, State.SUCCEEDED), (State.CANCELLED, State.SUCCEEDED)})


def move(push: Push, old: State, new: State, *, why: str, actor: str, **columns: Any) -> bool:
    """Move a push from `old` to `new`. False: someone else moved it first. The caller commits. Raises IllegalMove.

    One UPDATE guarded by the old state, so two callbacks for one push cannot both win.
    """
    if new in FINAL:
        columns = {"ended_at": clock.now(), "next_query_at": None} | columns
    won = states.move(push, new, old=old, **columns)
    if won:
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
