"""Many rows by one statement, on both databases: what settles and delivers in sets writes by nothing else.

PostgreSQL takes each column as one array (`unnest`): the statement's text is the same however many rows there are, so
it is parsed once, and a hundred rows cost one round trip. SQLite runs one prepared statement over all rows. The ORM's
defaults that are plain values are written into the statement; what differs by row is given by the caller.

What is read for a set is read by lists, too (`among`): one parameter each, however long.

Nothing here looks at what is there: a unique key that is taken raises IntegrityError, and the caller's transaction is
over. Decided: ids are taken beforehand (`new_ids`), because who writes a row and its children at once needs them, and
to read them back would cost a statement a table.
"""

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ARRAY, JSON, BigInteger, Boolean, Column, ColumnElement, DateTime, String, Table, Text, bindparam
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.types import TypeDecorator

from portal.kernel.db import Base, Instant
from portal.kernel.errors import PortalError

Row = Mapping[str, Any]
_UTC = Instant()


class Changed(PortalError):
    """Somebody else changed one of these rows meanwhile: nothing of the set holds any more."""


class _Many(TypeDecorator[Any]):
    """A list of numbers or of texts as one parameter: an array for PostgreSQL, JSON for SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, of: type[BigInteger] | type[Text]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return Text() if dialect.name == "sqlite" else ARRAY(self.of)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return json.dumps(list(value)) if dialect.name == "sqlite" else list(value)


class _Among(FunctionElement[bool]):
    name = "among"
    type = Boolean()
    inherit_cache = True
    _is_implicitly_boolean = True  # else SQLAlchemy writes `... = 1` for SQLite, which then looks at every row


@compiles(_Among, "sqlite")
def _among_json(element: _Among, compiler: Any, **more: Any) -> str:
    column, given = (compiler.process(one, **more) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({given}))"  # noqa: S608 - our own names


@compiles(_Among, "postgresql")
def _among_array(element: _Among, compiler: Any, **more: Any) -> str:
    column, given = (compiler.process(one, **more) for one in element.clauses)
    return f"{column} = ANY({given})"


def among(column: Any, name: str) -> ColumnElement[bool]:
    """That the column is one of the list that is given under this name.

    Unlike with `in_` the statement is the same for a list of any length: it is built and prepared once, and to write
    out hundreds of parameters costs as much as to look them up.
    """
    of = Text if isinstance(column.type, String) else BigInteger  # a cast to varchar(n) would cut what is too long
    return _Among(column, bindparam(name, type_=_Many(of)))


def few(column: Any, name: str) -> ColumnElement[bool]:
    """The same for a list of a few, such as the tenants of a set: written out, so that SQLite knows how short it is.

    Of two lists of unknown length at once it expects so much that it reads a whole table of thousands of rows instead.
    """
    return column.in_(bindparam(name, expanding=True, type_=column.type))


def rows_of(connection: Connection, statement: Any, **given: Any) -> list[Any]:
    """The rows of a statement as plain named tuples: their columns are read in a third of the time."""
    result = connection.execute(statement, given)
    made = _named(tuple(result.keys()))
    return [made(row) for row in result.all()]


def things_of(connection: Connection, statement: Any, **given: Any) -> list[Any]:
    """The rows of a statement as things whose columns may be changed here."""
    result = connection.execute(statement, given)
    names = tuple(result.keys())
    return [SimpleNamespace(**dict(zip(names, row, strict=False))) for row in result.all()]


@cache
def _named(names: tuple[str, ...]) -> Callable[[Iterable[Any]], Any]:
    made: Any = namedtuple("Row", names)  # type: ignore[misc]  # which columns, the statement says
    return made._make


def new_ids(connection: Connection, **wanted: tuple[type[Base], int]) -> dict[str, list[int]]:
    """Ids for rows to be inserted, by name: {name: as many ids as were wanted}.

    On SQLite the transaction must have the write lock, as `transaction()` has from its beginning: the next id is the
    highest one's successor, and nobody else can take it.
    """
    asked = {name: (_table(model).name, count) for name, (model, count) in wanted.items() if count}
    found: dict[str, list[int]] = {name: [] for name in wanted}
    if not asked:
        return found
    if connection.dialect.name == "sqlite":
        tops = ", ".join(f"(SELECT coalesce(max(id), 0) FROM {table})" for table, _count in asked.values())  # noqa: S608
        row = connection.exec_driver_sql(f"SELECT {tops}").one()
        for (name, (_name, count)), top in zip(asked.items(), row, strict=True):
            found[name] = list(range(top + 1, top + 1 + count))
        return found
    each = " UNION ALL ".join(
        f"SELECT {at}, nextval('{table}_id_seq') FROM generate_series(1, {int(count)})"  # noqa: S608 - our own names
        for at, (table, count) in enumerate(asked.values())
    )
    names = list(asked)
    for at, new_id in connection.exec_driver_sql(each):
        found[names[at]].append(new_id)
    return {name: sorted(ids) for name, ids in found.items()}


def insert(connection: Connection, model: type[Base], rows: Sequence[Row], *, unless: str = "") -> None:
    """Insert rows of the same columns. Raises IntegrityError, or skips what is there by the unique key `unless`.

    unless: the key's columns, such as `transaction_id, channel`.
    """
    if not rows:
        return
    names = tuple(rows[0])
    table = _table(model)
    conflict = f" ON CONFLICT ({unless}) DO NOTHING" if unless else ""
    if connection.dialect.name == "sqlite":
        given = _tuples(table, names, rows)
        connection.exec_driver_sql(_sqlite_insert(table, names) + conflict, given)
    else:
        connection.exec_driver_sql(_postgresql_insert(table, names) + conflict, _arrays(table, names, rows))


def update(connection: Connection, model: type[Base], rows: Sequence[Row], *, still: str = "", also: str = "") -> None:
    """Update rows by `id` to what each gives for its other columns. Raises Changed unless each was found as expected.

    still: what must be true of each row, in SQL, such as `payments.state = 'open'`; a name that begins with `was_`
    must be what the column is now. also: more to set, in SQL.
    """
    if not rows:
        return
    names, table = tuple(rows[0]), _table(model)
    if connection.dialect.name == "sqlite":
        order = tuple(sorted(names, key=lambda name: name == "id" or name.startswith("was_")))
        statement = _sqlite_update(table, order, still, also)
        result = connection.exec_driver_sql(statement, _tuples(table, order, rows))
    else:
        result = connection.exec_driver_sql(_postgresql_update(table, names, still, also), _arrays(table, names, rows))
    if result.rowcount != len(rows):
        raise Changed(f"Of {len(rows)} rows of {table.name} only {result.rowcount} were as they had been read.")


def _table(model: type[Base]) -> Table:
    table = model.__table__
    if not isinstance(table, Table):
        raise PortalError(f"{model.__name__} is no table.")
    return table


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _column(table: Table, name: str) -> Column[Any]:
    return table.columns[name.removeprefix("was_")]


def _is_instant(column: Column[Any]) -> bool:
    return isinstance(getattr(column.type, "impl", column.type), DateTime)


def _fixed(table: Table, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The columns that are not given and have a plain default, with that in SQL."""
    others = [column for column in table.columns if column.name not in names]
    return [
        (one.name, _literal(one.default.arg)) for one in others if isinstance(one.default, ScalarElementColumnDefault)
    ]


@cache
def _sqlite_insert(table: Table, names: tuple[str, ...]) -> str:
    fixed = _fixed(table, names)
    columns = ", ".join([*names, *(name for name, _value in fixed)])
    values = ", ".join(["?"] * len(names) + [value for _name, value in fixed])
    return f"INSERT INTO {table.name} ({columns}) VALUES ({values})"  # noqa: S608 - our own names


@cache
def _sqlite_update(table: Table, names: tuple[str, ...], still: str, also: str) -> str:
    fields = [f"{name} = ?" for name in names if name != "id" and not name.startswith("was_")]
    found = [f"{name.removeprefix('was_')} = ?" for name in names if name == "id" or name.startswith("was_")]
    fields, found = fields + ([also] if also else []), found + ([still] if still else [])
    return f"UPDATE {table.name} SET {', '.join(fields)} WHERE {' AND '.join(found)}"  # noqa: S608 - our own names


@cache
def _given(table: Table, names: tuple[str, ...]) -> str:
    """The rows as PostgreSQL takes them: an array a column."""
    arrays = ", ".join(f"%({name})s::{_array_type(_column(table, name))}[]" for name in names)
    return f"unnest({arrays}) AS given({', '.join(names)})"


def _array_type(column: Column[Any]) -> str:
    kind = column.type
    if _is_instant(column):
        return "timestamptz"
    if isinstance(kind, JSON | String | Text):
        return "text"  # a cast to varchar(n) would cut what is too long; assigning it fails, as it should
    return "boolean" if isinstance(kind, Boolean) else "bigint"


def _from_array(column: Column[Any], name: str) -> str:
    return f"given.{name}::json" if isinstance(column.type, JSON) else f"given.{name}"


@cache
def _postgresql_insert(table: Table, names: tuple[str, ...]) -> str:
    fixed = _fixed(table, names)
    columns = ", ".join([*names, *(name for name, _value in fixed)])
    values = ", ".join(
        [*(_from_array(_column(table, name), name) for name in names), *(value for _name, value in fixed)]
    )
    return f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM {_given(table, names)}"  # noqa: S608


@cache
def _postgresql_update(table: Table, names: tuple[str, ...], still: str, also: str) -> str:
    fields = [
        f"{name} = {_from_array(_column(table, name), name)}"
        for name in names
        if name != "id" and not name.startswith("was_")
    ]
    found = [
        f"{table.name}.{name.removeprefix('was_')} = given.{name}"
        for name in names
        if name == "id" or name.startswith("was_")
    ]
    fields, found = fields + ([also] if also else []), found + ([still] if still else [])
    return f"UPDATE {table.name} SET {', '.join(fields)} FROM {_given(table, names)} WHERE {' AND '.join(found)}"  # noqa: S608


def _arrays(table: Table, names: Iterable[str], rows: Sequence[Row]) -> dict[str, list[Any]]:
    arrays = {}
    for name in names:
        column, values = _column(table, name), [row[name] for row in rows]
        arrays[name] = [_json(value) for value in values] if isinstance(column.type, JSON) else values
    return arrays


def _tuples(table: Table, names: Sequence[str], rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    columns = []
    for name in names:
        column, values = _column(table, name), [row[name] for row in rows]
        if isinstance(column.type, JSON):
            values = [_json(value) for value in values]
        elif _is_instant(column):
            values = _instants(values)
        columns.append(values)
    return list(zip(*columns, strict=True))


def _instants(values: list[datetime | None]) -> list[str | None]:
    """As SQLAlchemy writes them for SQLite. Most columns of a set hold one instant: it is written out once."""
    if values.count(values[0]) == len(values):
        return [_instant(values[0])] * len(values)
    return [_instant(value) for value in values]


def _instant(value: datetime | None) -> str | None:
    at = _UTC.process_bind_param(value, None)
    return at.replace(tzinfo=None).isoformat(" ", "microseconds") if at else None


def _json(value: Any) -> str:
    return json.dumps(value)
