"""One worker settles and delivers what was kept, against bare inserts of the very rows that it wrote.

The rows are not guessed: after each round those that the worker wrote are read, and the same rows go into a second
database of the same schema, constraints and indexes, a hundred callbacks' to a transaction, in statements of many
rows. So the baseline stays right when the product writes other rows. It is the strict one: what the worker changes in
the rows of callback, push and payment, and all that it reads and decides, the baseline does not do.

The worker is the product's own program. It is held (SIGSTOP) while callbacks are kept, and let go when all of them
wait; baseline and product take turns in one run.
"""

import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from psycopg.types.json import Json
from rq.utils import import_attribute
from sqlalchemy import URL, Table, event, func, select

from bench import stock
from bench.report import Section, spread
from bench.servers import THREADS, Stage, stage, wait_until
from portal.kernel import queue
from portal.kernel.db import Base, db
from portal.payments.models import InboxItem, Payment

SET = 100  # callbacks
ROUNDS, CALLBACKS = 3, 4_000
QUICK_ROUNDS, QUICK_CALLBACKS = 2, 300
TARGET, STATEMENTS_TARGET = 0.4, 1.0
KEEPERS = THREADS  # by which callbacks are kept
LOOK_EVERY_S, PAUSE_S = 0.05, 0.5
MOST_TURNS = 60
WITHIN_S = 600
_MOST_ROWS = {"sqlite": 5_000, "postgresql": 500}  # of one statement

Rows = dict[str, list[dict[str, Any]]]  # by table, in the order in which tables refer to each other


@dataclass(frozen=True)
class Round:
    """So many callbacks: by the worker and by bare inserts, and the processor time of each; all in seconds.

    rows: it wrote.
    """

    callbacks: int
    rows: int
    took_s: float
    cpu_s: float
    bare_s: float
    bare_cpu_s: float


def measure(*, quick: bool, kinds: tuple[str, ...]) -> Section:
    """Both databases."""
    columns = (
        "database", "callbacks", "settled and delivered/s", "bare inserts/s", "rows each", "CPU ms each", "of CPU",
        "ratio", "target", "statements each", "rows sent each", "target", "verdict",
    )  # fmt: skip
    section = Section("Settled in sets", columns)
    for kind in kinds:
        with stage(kind) as on:
            section.rows.append(_one_worker(on, quick=quick))
    rounds = QUICK_ROUNDS if quick else ROUNDS
    section.notes.append(
        f"One worker, {rounds} rounds, medians (least to most). Bare: the rows that it wrote, inserted once more into "
        f"a second database of the same schema, {SET} callbacks to a transaction, many rows to a statement. Rows each: "
        "inserted; what it changes in the rows of callback, push and payment comes beside. Of CPU: the ratio of "
        "processor time, without a server's; it tells more than the clock where the machine is busy."
    )
    section.notes.append(
        f"Statements: of a full set of {SET}, each call of the driver counted once; rows sent counts each parameter "
        "set of a call that has many."
    )
    return section


def _one_worker(on: Stage, *, quick: bool) -> tuple[str, ...]:
    rounds, count = (QUICK_ROUNDS, QUICK_CALLBACKS) if quick else (ROUNDS, CALLBACKS)
    app = on.app()
    token = stock.furnish(app)
    stock.fill(app, SET + rounds * count + 2 * SET)
    copy = Copy(on)
    written = Written(app)
    copy.take_over(written.since_last())
    on.rest(on.database)
    on.rest(copy.url)
    measured, first = [], 1
    with on.episode() as now:
        worker = now.money_worker()
        wait_until(lambda: now.workers_at_work() > 0, of=worker, what="worker")
        for callbacks in (SET, *[count] * rounds):  # the first is for imports, caches and prepared statements
            measured.append(_round(app, worker.pid, token, copy, written, range(first, first + callbacks)))
            first += callbacks
    statements, sent = _statements(app, token, first)
    return _row(on, measured[1:], statements, sent)


def _row(on: Stage, rounds: Sequence[Round], statements: float, sent: float) -> tuple[str, ...]:
    ratios = [one.bare_s / one.took_s for one in rounds]
    is_met = statistics.median(ratios) >= TARGET and statements <= STATEMENTS_TARGET
    return (
        on.kind,
        f"{sum(one.callbacks for one in rounds):,}",
        spread([one.callbacks / one.took_s for one in rounds]),
        spread([one.callbacks / one.bare_s for one in rounds]),
        f"{sum(one.rows for one in rounds) / sum(one.callbacks for one in rounds):.1f}",
        spread([1000 * one.cpu_s / one.callbacks for one in rounds], digits=1),
        spread([one.bare_cpu_s / one.cpu_s for one in rounds], digits=2),
        spread(ratios, digits=2),
        f">= {TARGET:g}",
        f"{statements:.2f}",
        f"{sent:.2f}",
        f"<= {STATEMENTS_TARGET:g}",
        "meets it" if is_met else "MISSES IT",
    )


def _round(app: Flask, worker: int, token: str, copy: "Copy", written: "Written", numbers: range) -> Round:
    with _held(worker):
        _keep(app, token, numbers)
        copy.take_over(written.since_last())  # the callbacks, to which rows refer
        cpu_s = _cpu_s(worker)
    began = time.perf_counter()
    while _left(app):
        if time.perf_counter() - began > WITHIN_S:
            raise RuntimeError(f"The worker has not settled {len(numbers):,} callbacks within {WITHIN_S} s.")
        time.sleep(LOOK_EVERY_S)
    took_s = time.perf_counter() - began
    cpu_s = _cpu_s(worker) - cpu_s
    rows = written.since_last()
    sets = in_sets(rows, copy.references, -(-len(numbers) // SET))
    began, cpu_began = time.perf_counter(), time.process_time()
    for one in sets:
        copy.take_over(one)
    bare_s, bare_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return Round(len(numbers), sum(map(len, rows.values())), took_s, cpu_s, bare_s, bare_cpu_s)


@contextmanager
def _held(process_id: int) -> Iterator[None]:
    """The process sleeps meanwhile, between two jobs."""
    time.sleep(PAUSE_S)  # it may still be looking for more; stopped there it would hold its locks
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def _cpu_s(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _keep(app: Flask, token: str, numbers: range) -> None:
    """Have these pushes called back through the product's own door."""
    script = stock.callbacks(f"/hooks/{token}/stk/{{token}}", first=numbers.start)

    def tell(number: int) -> int:
        _method, path, body = script.python(number)
        return app.test_client().post(path, data=body, content_type="application/json").status_code

    with ThreadPoolExecutor(KEEPERS) as keepers:
        answers = set(keepers.map(tell, range(len(numbers))))
    with app.app_context():
        kept = db.session.scalar(select(func.count()).where(InboxItem.state == "new"))
        db.session.remove()
    if answers != {200} or kept != len(numbers):
        raise RuntimeError(f"Of {len(numbers):,} callbacks, answered with {answers}, {kept:,} were kept.")


def _left(app: Flask) -> bool:
    new = select(InboxItem.id).where(InboxItem.state == "new").limit(1)
    undelivered = select(Payment.id).where(Payment.state == "paid", Payment.fulfilled_at.is_(None)).limit(1)
    with app.app_context():
        left = db.session.execute(new).first() or db.session.execute(undelivered).first()
        db.session.remove()
    return left is not None


class Written:
    """What is new in the product's tables, as the driver reads it."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._newest: dict[str, int] = {}

    def since_last(self) -> Rows:
        """Rows that were not there when this was asked before."""
        found: Rows = {}
        with self._app.app_context(), db.engine.connect() as connection:
            for table in tables():
                newest = self._newest.get(table.name, 0)
                # no types of ours: what is read so can be written so
                asked = f"SELECT * FROM {table.name} WHERE id > {newest} ORDER BY id"  # noqa: S608 - our own names
                rows = [dict(row) for row in connection.exec_driver_sql(asked).mappings()]
                if rows:
                    found[table.name] = rows
                    self._newest[table.name] = rows[-1]["id"]
        return found


def tables() -> list[Table]:
    """Those with numbered rows, parents first."""
    return [table for table in Base.metadata.sorted_tables if "id" in table.c]


def in_sets(rows: Rows, references: Mapping[str, Mapping[str, str]], count: int) -> list[Rows]:
    """The rows in `count` portions, each table's in its order, and none before a row that it refers to.

    references: {table: {column: the table that it names}}.
    """
    portions: list[Rows] = [{} for _number in range(count)]
    portion_of: dict[tuple[str, int], int] = {}
    for table, ones in rows.items():
        for number, row in enumerate(ones):
            named = [(parent, row[column]) for column, parent in references.get(table, {}).items()]
            own = number * count // len(ones)
            portion = max([own, *(portion_of[parent] for parent in named if parent in portion_of)])
            portion_of[table, row["id"]] = portion
            portions[portion].setdefault(table, []).append(row)
    return [portion for portion in portions if portion]


class Copy:
    """A second database of the product's schema, and the plainest way to put rows into it."""

    def __init__(self, on: Stage) -> None:
        self.kind = on.kind
        self.url: URL = on.beside("copy")
        on.on_database(self.url)
        self.references = {
            table.name: {
                key.parent.name: key.column.table.name for key in table.foreign_keys if key.column.name == "id"
            }
            for table in tables()
        }
        self._connection = self._connect()
        on.exits.callback(self._connection.close)

    def _connect(self) -> Any:
        if self.kind == "postgresql":
            host = str(self.url.query["host"])
            return psycopg.connect(host=host, user=self.url.username, dbname=self.url.database)
        connection = sqlite3.connect(str(self.url.database))
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):  # as the product's
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def take_over(self, rows: Rows) -> None:
        """All of these in one transaction."""
        with closing(self._connection.cursor()) as cursor:
            for table, ones in rows.items():
                for start in range(0, len(ones), _MOST_ROWS[self.kind]):
                    self._insert(cursor, table, ones[start : start + _MOST_ROWS[self.kind]])
        self._connection.commit()

    def _insert(self, cursor: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(rows[0])
        into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608 - our own names
        if self.kind == "sqlite":
            values = f"({', '.join('?' * len(columns))})"
            cursor.executemany(into + values, [tuple(row.values()) for row in rows])
        else:
            values = f"({', '.join(['%s'] * len(columns))})"
            cursor.execute(into + ", ".join([values] * len(rows)), _parameters(rows))


def _parameters(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [Json(value) if isinstance(value, dict | list) else value for row in rows for value in row.values()]


def _statements(app: Flask, token: str, first: int) -> tuple[float, float]:
    """(calls of the driver, parameter sets sent) for each callback of a full set, settled and delivered."""
    for start in (first, first + SET):  # the first is for what is looked up once
        _keep(app, token, range(start, start + SET))
        counted = Counted()
        while _left(app) and counted.turns < MOST_TURNS:
            counted.turn(app)
        if _left(app):
            raise RuntimeError(f"A set was not settled and delivered in {MOST_TURNS} turns.")
    return counted.calls / SET, counted.sent / SET


class Counted:
    """Statements of the jobs that settle and deliver, run here. A turn ends after a second: it may take several."""

    def __init__(self) -> None:
        self.turns = self.calls = self.sent = 0

    def turn(self, app: Flask) -> None:
        """Both jobs once."""
        self.turns += 1
        with app.app_context():
            event.listen(db.engine, "before_cursor_execute", self._count)
            try:
                for job in (queue.DRAIN, queue.PAID):
                    import_attribute(job.job)()
            finally:
                event.remove(db.engine, "before_cursor_execute", self._count)
                db.session.remove()

    def _count(self, _connection: Any, _cursor: Any, _said: str, values: Any, _context: Any, is_many: bool) -> None:
        self.calls += 1
        self.sent += len(values) if is_many else 1
