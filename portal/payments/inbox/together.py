"""Callbacks that come to one process at once are kept by one transaction, and each is acknowledged after its commit.

Flushing to disk is most of what it costs to keep a callback, and ten of them flush as fast as one. Whoever comes while
another writes waits for that one to end; the first of those that waited then writes what all of them brought. Alone,
a callback waits for nobody.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from portal.kernel import bulk
from portal.kernel.db import core_transaction, db, hurry
from portal.payments.models import InboxItem

Row = Mapping[str, Any]
Write = Callable[[Sequence[Row]], None]


class _Brought:
    """One row, and what came of it."""

    def __init__(self, row: Row) -> None:
        self.row, self.is_over = row, False
        self.error: SQLAlchemyError | None = None


class Together:
    """Writes rows of one process, those that wait at once by one call of `write`. write: commits, or raises."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._writing, self._guard = threading.Lock(), threading.Lock()
        self._waiting: list[_Brought] = []

    def keep(self, row: Row) -> None:
        """Return once this row is committed. Raises what `write` raises, where it cannot be."""
        if (error := self.keep_all([row])[0]) is not None:
            raise error

    def keep_all(self, rows: Sequence[Row]) -> list[SQLAlchemyError | None]:
        """What became of each row: None where it is committed now, else why it could not be."""
        mine = [_Brought(row) for row in rows]
        with self._guard:
            self._waiting += mine
        with self._writing:
            if not all(one.is_over for one in mine):
                self._write_those_that_wait()
        return [one.error for one in mine]

    def _write_those_that_wait(self) -> None:
        with self._guard:
            brought, self._waiting = self._waiting, []
        try:
            self._write_each(brought)
        except Exception as error:  # that nobody foresaw: all have the disk to go to, who wrote for the others as well
            _end(brought, SQLAlchemyError(f"Written with others: {error!r}"[:300]))
            return
        except BaseException:
            _end(brought, SQLAlchemyError("Whoever wrote this with others was stopped."))
            raise
        _end(brought, None)

    def _write_each(self, brought: list[_Brought]) -> None:
        try:
            self._write([one.row for one in brought])
        except (DataError, IntegrityError) as error:  # a row's own fault, which is no other's
            if len(brought) == 1:
                brought[0].error = error
                return
            for one in brought:
                self._write_each([one])
        except SQLAlchemyError as error:  # the database's: nobody need wait for it anew
            with self._guard:
                late, self._waiting = self._waiting, []
            for one in (*brought, *late):
                one.error = error
            _end(late, error)


def _end(brought: list[_Brought], error: SQLAlchemyError | None) -> None:
    for one in brought:
        one.error, one.is_over = one.error or error, True


_of_database: WeakKeyDictionary[Engine, Together] = WeakKeyDictionary()


def keep(row: Row) -> None:
    """Keep a callback in the inbox, unless the very same is kept already; committed when this returns.

    row: the columns of an `InboxItem`, the same for every callback. Raises SQLAlchemyError.
    """
    _ours().keep(row)


def keep_all(rows: Sequence[Row]) -> list[SQLAlchemyError | None]:
    """Keep many, with what others bring just now: what became of each, None where it is committed."""
    return _ours().keep_all(rows)


def _ours() -> Together:
    return _of_database.setdefault(db.engine, Together(_insert))


def _insert(rows: Sequence[Row]) -> None:
    in_one_order = sorted(rows, key=itemgetter("dedupe"))  # two processes that bring the same rows wait in no circle
    with hurry(), core_transaction() as connection:
        bulk.insert(connection, InboxItem, in_one_order, unless="dedupe")
