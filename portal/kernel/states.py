"""What a row can be, as data: an enumeration, the moves between its members, and the one way to make one.

Decided: a move is one UPDATE that names the state it believes the row to be in, instead of reading, thinking and
writing: of two who move the same row at once one wins, and the other is told. A move that is not in the graph is a
mistake of ours, and is refused before the database hears of it.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, update

from portal.kernel.db import AS_WRITTEN, db
from portal.kernel.errors import PortalError

S = TypeVar("S", bound=StrEnum)


class IllegalMove(PortalError):
    """A move that is not in the graph was asked for: a mistake of ours, not of a payer's."""


class Graph(Generic[S]):
    """The states of one kind of row, and which may follow which."""

    def __init__(self, allowed: Mapping[S, Collection[S]]) -> None:
        self.allowed = {old: frozenset(after) for old, after in allowed.items()}
        self._states = type(next(iter(allowed)))

    def before(self, new: S) -> list[S]:
        """The states that `new` may follow: for an UPDATE that moves many rows at once.

        `update(Model).where(Model.id.in_(ids), Model.state.in_(graph.before(new)))`; RETURNING tells which were moved.
        """
        return [old for old, after in self.allowed.items() if new in after]

    def check(self, old: str, new: str) -> None:
        """Raise IllegalMove for a move that is not in the graph."""
        if new not in self.allowed[self._states(old)]:
            raise IllegalMove(f"{self._states.__name__}: {old} to {new} is no move.")


def move(row: Any, new: StrEnum, *, old: StrEnum | None = None, **columns: Any) -> bool:
    """Move a row to `new`, with these columns; False where somebody else moved it first. The caller commits.

    Its class names its graph (`GRAPH`). old: what the caller saw; the state that the row has in this session otherwise.
    Afterwards the row here is as the database has it. Raises IllegalMove.
    """
    model, seen = type(row), old or row.state
    model.GRAPH.check(seen, new)
    guarded = update(model).where(model.id == row.id, model.state == seen).values(state=new, **columns)
    written = db.session.scalars(guarded.returning(model).execution_options(**AS_WRITTEN)).one_or_none()
    if written is None:
        db.session.expire(row)
    return written is not None


def is_one_of(column: Any, states: Collection[StrEnum]) -> ColumnElement[bool]:
    """The condition that a state is one of these."""
    found: ColumnElement[bool] = column.in_(sorted(states))
    return found
