"""The database: one session, one way to write (`transaction()`), the same behaviour on SQLite and PostgreSQL.

Reading happens outside `transaction()`; writing inside it and nowhere else. On SQLite a writer takes the lock at
BEGIN (IMMEDIATE), since a reader that turns writer fails at once with "database is locked"; and a connection that
only reads is told so (`query_only`), so a write outside `transaction()` fails in the first test that meets it.
No transaction may be open while we wait on a network: `assert_no_transaction()` guards every call to M-Pesa.
A PostgreSQL that goes silent without closing its connections is given up after as long as a writer of SQLite waits for
its lock: `hurry()` shortens both.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Insert, Integer, MetaData, Text, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, Session, SessionTransaction, mapped_column
from sqlalchemy.types import TypeDecorator

from portal.kernel import clock
from portal.kernel.errors import NotFound, PortalError

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
BUSY_TIMEOUT_MS, HURRIED_MS = 30_000, 2_000
SAMPLED_ROWS = 400  # of an index: what SQLite recommends

BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER key

# An UPDATE that brings the row back as it was written: the session's copy is right without being read again.
AS_WRITTEN: dict[str, Any] = {"synchronize_session": False, "populate_existing": True}


class Instant(TypeDecorator[datetime]):
    """A timezone-aware UTC instant on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise PortalError(f"The instant {value} has no time zone; use clock.now().")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


SEALED_AS, _FOLLOWS = "sealed_as", "follows"


def sealed(kind: str, **more: Any) -> MappedColumn[Any]:
    """A column of values that are sealed in `vault.context(kind, ...)`: under that, the rotation of keys opens them."""
    return mapped_column(Text, info={SEALED_AS: kind}, **more)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


db = SQLAlchemy(model_class=Base, disable_autonaming=True)
Base.registry.update_type_annotation_map({datetime: Instant()})
if TYPE_CHECKING:
    Model = Base  # what every table derives from
else:
    Model = db.Model

_writing: ContextVar[bool] = ContextVar("writing", default=False)
_patience_ms: ContextVar[int | None] = ContextVar("patience_ms", default=BUSY_TIMEOUT_MS)  # None: without end


def new_uid() -> str:
    """A random public identifier of 96 bits, in hexadecimal: safe in any URL, spells no forbidden word."""
    return secrets.token_hex(12)


def new_token() -> str:
    """An unguessable token of 160 bits, in hexadecimal."""
    return secrets.token_hex(20)


class Row:
    """Key and birth of every table."""

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class TenantOwned(Row):
    """A row that belongs to one tenant, and says so."""

    __table_args__: Any = ()

    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))

    def __init_subclass__(cls, *, is_paged: bool = True, **more: Any) -> None:
        """Index each table by tenant, newest last: a page of one tenant's rows is read without all the others.

        is_paged: False where nobody reads such pages, and each row that is written would pay for them.
        """
        if is_paged and (name := cls.__dict__.get("__tablename__")):
            own = Index(f"ix_{name}_tenant_id", "tenant_id", "id")
            cls.__table_args__ = (own, *getattr(cls, "__table_args__", ()))
        super().__init_subclass__(**more)


Owned = TypeVar("Owned", bound=TenantOwned)


@contextmanager
def transaction() -> Iterator[None]:
    """Everything inside is committed together, or not at all. Not nestable: domain functions never commit."""
    if _writing.get():
        raise PortalError("transaction() inside transaction(): only views, callbacks and jobs open one.")
    db.session.rollback()  # what was read before is read again, under the lock
    marker = _writing.set(True)
    try:
        yield
        db.session.commit()
    except BaseException:
        db.session.rollback()
        _take_what_follows()
        raise
    finally:
        _writing.reset(marker)
    for work in _take_what_follows():
        work()


def after_commit(work: Callable[[], object]) -> None:
    """Do this once what is written in this `transaction()` is committed, and never where that, or the savepoint that
    it is said in, is rolled back. It opens no transaction and raises nothing.
    """
    session = db.session()
    within, savepoint = [], session.get_nested_transaction()
    while savepoint is not None:
        within.append(savepoint)
        savepoint = savepoint.parent
    session.info.setdefault(_FOLLOWS, []).append((within, work))


def _take_what_follows() -> list[Callable[[], object]]:
    return [work for _within, work in db.session().info.pop(_FOLLOWS, [])]


@event.listens_for(db.session, "after_soft_rollback")
def _forget_what_followed(session: Session, undone: SessionTransaction) -> None:
    if (waiting := session.info.get(_FOLLOWS)) and undone.nested:
        session.info[_FOLLOWS] = [one for one in waiting if undone not in one[0]]


def assert_no_transaction(what: str) -> None:
    """Refuse to wait on the network while a transaction is open: it would hold locks for seconds."""
    if _writing.get():
        raise PortalError(f"{what} inside transaction(): no transaction may be open while we wait on a network.")


def upsert_nothing(model: type[Base], *, unique: list[str], where: str = "", **values: Any) -> Insert:
    """An INSERT that does nothing where the unique key exists; `.returning(...)` tells whether it did.

    where: the condition of a key that is partial, as its index spells it.
    """
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    insert: Insert = (
        dialect.insert(model)
        .values(**values)
        .on_conflict_do_nothing(index_elements=unique, index_where=text(where) if where else None)
    )
    return insert


def insert_nothing(model: type[Base], rows: list[dict[str, Any]], *, unique: list[str]) -> Insert:
    """An INSERT of many rows of which those do nothing whose unique key exists; `.returning(...)` tells which did."""
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    insert: Insert = dialect.insert(model).values(rows).on_conflict_do_nothing(index_elements=unique)
    return insert


def owned(model: type[Owned], tenant_id: int, **by: Any) -> Owned:
    """The tenant's own row. Raises NotFound for another tenant's: existence is not revealed."""
    row = db.session.query(model).filter_by(tenant_id=tenant_id, **by).one_or_none()
    if row is None:
        raise NotFound(f"There is no such {model.__name__.lower()} here.")
    return row


def prepare(engine: Engine) -> None:
    """Set up connections of this engine: pragmas and BEGIN for SQLite, patience for PostgreSQL."""
    if engine.dialect.name != "sqlite":
        from portal.kernel.postgresql import ImpatientConnection  # with libpq, which SQLite has no use for

        @event.listens_for(engine, "do_connect")
        def on_do_connect(_dialect: Any, _record: Any, arguments: Any, named: Any) -> Any:
            connection = ImpatientConnection.connect(*arguments, **named)
            connection.patience_ms = _patience_ms.get
            return connection

        ask_if_alive = engine.dialect.do_ping

        def ping(connection: Any) -> bool:
            with hurry():  # before each use of a pooled connection: a silent server is noticed here
                return ask_if_alive(connection)

        engine.dialect.do_ping = ping  # type: ignore[assignment]
        return

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writing, patience_ms = _writing.get(), _patience_ms.get()
        if connection.info.get("set_up_for") != (writing, patience_ms):
            connection.exec_driver_sql(f"PRAGMA busy_timeout={patience_ms or BUSY_TIMEOUT_MS}")
            connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writing else 'ON'}")
            connection.info["set_up_for"] = (writing, patience_ms)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def core_transaction() -> Iterator[Connection]:
    """A bare connection for the hot paths, committed at the end: the same rules without the ORM's weight."""
    marker = _writing.set(True)
    try:
        with db.engine.begin() as connection:
            yield connection
    finally:
        _writing.reset(marker)


def take_all_the_time() -> None:
    """Let PostgreSQL's statements of this transaction last as long as they need: a person waits, no payer does."""
    if db.engine.dialect.name == "postgresql":
        db.session.execute(text("SET LOCAL statement_timeout = 0"))


def refresh_statistics() -> None:
    """Have SQLite look anew at how many rows its indexes lead to: without, it walks years where it need not.

    It reads a sample of each index, whatever their size. PostgreSQL does this by itself.
    """
    if db.engine.dialect.name == "sqlite":
        with core_transaction() as connection:
            connection.exec_driver_sql(f"PRAGMA analysis_limit={SAMPLED_ROWS}")
            connection.exec_driver_sql("ANALYZE")


@contextmanager
def hurry() -> Iterator[None]:
    """Wait for the database no longer than HURRIED_MS: a callback has a spool to go to, and M-Pesa is waiting."""
    marker = _patience_ms.set(HURRIED_MS)
    try:
        yield
    finally:
        _patience_ms.reset(marker)


@contextmanager
def migrating() -> Iterator[None]:
    """Let the migrations write: they run on this engine, outside `transaction()`, and take as long as they take."""
    marker, patience = _writing.set(True), _patience_ms.set(None)
    try:
        yield
    finally:
        _writing.reset(marker)
        _patience_ms.reset(patience)
