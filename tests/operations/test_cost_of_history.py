"""What is done all day costs no more because more happened before (rule 16): counted in rows and steps, not seconds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, text

from bench import clinic, history
from bench.flat import OPERATIONS, Business, Operation
from portal.kernel.db import db
from tests.support.product import Product

FEW, MANY = 300, 6_000
AT_MOST, BESIDE = 2.0, {"sqlite": 4_000, "postgresql": 60}  # what a page of rows, or luck, may add


class _Meter:
    """Work done in the database: SQLite's steps, PostgreSQL's rows read."""

    def __init__(self, product: Product) -> None:
        self.product = product
        with product.app.app_context():
            self.engine = db.engine
        self.kind = self.engine.dialect.name
        self.steps = 0
        self.engine.dispose()
        event.listen(self.engine, "connect", self._connected)
        if self.kind == "postgresql":
            event.listen(self.engine, "after_cursor_execute", self._ran)

    def close(self) -> None:
        event.remove(self.engine, "connect", self._connected)
        if self.kind == "postgresql":
            event.remove(self.engine, "after_cursor_execute", self._ran)
        self.engine.dispose()

    def _connected(self, connection: Any, _record: Any) -> None:
        if self.kind == "sqlite":
            connection.set_progress_handler(self._step, 10)
        else:
            connection.execute("SET enable_seqscan = off")  # where an index can be used, this one says so
            connection.commit()

    def _step(self) -> int:
        self.steps += 10
        return 0

    @staticmethod
    def _ran(connection: Any, *_more: Any) -> None:
        connection.connection.cursor().execute("SELECT pg_stat_force_next_flush()")

    def _read(self) -> int:
        if self.kind == "sqlite":
            return self.steps
        with self.product.app.app_context():
            db.session.remove()
        with self.engine.connect() as connection:
            read = "SELECT sum(seq_tup_read) + sum(idx_tup_fetch) FROM pg_stat_user_tables"
            index = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
            return int(connection.scalar(text(read)) or 0) + int(connection.scalar(text(index)) or 0)

    def work_of(self, do: Any) -> int:
        before = self._read()
        do()
        return self._read() - before


@contextmanager
def _measuring(product: Product) -> Iterator[_Meter]:
    meter = _Meter(product)
    try:
        yield meter
    finally:
        meter.close()


def _costs(product: Product, business: Any, operations: Sequence[Operation] = OPERATIONS) -> dict[str, int]:
    costs = {}
    with _measuring(product) as meter:
        for operation in operations:
            operation.prepare(business)()  # what is remembered and compiled is, now
            product.work(rounds=1)
            do = operation.prepare(business)
            costs[operation.name] = meter.work_of(do)
    return costs


def test_what_is_done_all_day_costs_the_same_after_years_of_business(either_product: Product) -> None:
    """money.md C28: each door, job and page, with 300 and with 6,000 old payments behind it."""
    product = either_product
    with product.app.app_context():
        kind = db.engine.dialect.name
        history.fill(first=1, last=FEW, ends=MANY)
    business = Business(product)
    few = _costs(product, business)
    with product.app.app_context():
        history.fill(first=FEW + 1, last=MANY, ends=MANY)
    many = _costs(product, business)
    grown = {name: (few[name], many[name]) for name in few if many[name] > AT_MOST * few[name] + BESIDE[kind]}
    assert grown == {}


def test_the_desk_of_a_clinic_costs_the_same_after_many_full_days(either_product: Product) -> None:
    """Board, polls, claims, a clinician's day and week, the queue and the free times, 5 and 120 days behind them."""
    product = either_product
    with product.app.app_context():
        kind = db.engine.dialect.name
    busy = clinic.clinic_with(product, 5, per_day=20)
    few = _costs(product, busy, clinic.OPERATIONS)
    with product.app.app_context():
        clinic.fill(first=6, last=120, per_day=20)
    many = _costs(product, busy, clinic.OPERATIONS)
    grown = {name: (few[name], many[name]) for name in few if many[name] > AT_MOST * few[name] + BESIDE[kind]}
    assert grown == {}
