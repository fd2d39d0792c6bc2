"""A to-do list that is a table: which of its rows wait for work, said once for index, job and sweeper.

Decided: the condition is text, spelled in a query exactly as its partial index has it, because SQLite uses a partial
index only where the query says the same words; a bound parameter in place of one would make it read the whole table.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Index, Select, and_, func, literal_column, select, table, text

from portal.kernel import clock
from portal.kernel.db import Instant, db


@dataclass(frozen=True)
class Due:
    """The rows of `table` that wait. at: the column that says since when it is a row's turn; None: at once.

    conditions: of SQL, each beginning with a column of the table, such as `state = 'new'`; all must hold.
    by: the columns of its index, where that is not `at`.
    """

    table: str
    at: str | None
    conditions: tuple[str, ...]
    by: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its index."""
        return self.by or (self.at or "id",)

    def index(self, name: str) -> Index:
        """The partial index that holds nothing but what waits."""
        where = text(" AND ".join(self.conditions))
        return Index(name, *self.columns, sqlite_where=where, postgresql_where=where)

    @property
    def waits(self) -> ColumnElement[bool]:
        """The condition of the index, whether or not it is the row's turn."""
        return literal_column(" AND ".join(f"{self.table}.{one}" for one in self.conditions))

    @property
    def is_due(self) -> ColumnElement[bool]:
        """The condition that it is the row's turn now."""
        if self.at is None:
            return self.waits
        instant = Instant()
        turn: ColumnElement[bool] = literal_column(f"{self.table}.{self.at}", type_=instant) <= clock.now()
        return and_(self.waits, turn)

    def has_work(self) -> bool:
        """Whether a row's turn has come."""
        return db.session.scalar(self.first) is not None

    @property
    def count(self) -> Select[Any]:
        """How many wait, whether or not it is their turn."""
        return select(func.count()).select_from(table(self.table)).where(self.waits)

    @property
    def first(self) -> Select[Any]:
        """The first of them, in the order of the index: without that, SQLite might read another, longer one."""
        found: Select[Any] = select(literal_column("1")).select_from(table(self.table)).where(self.is_due)
        return found.order_by(*(literal_column(f"{self.table}.{one}") for one in self.columns)).limit(1)
