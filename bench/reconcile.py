"""A month's statement of 20,000 rows against books that know most of it, and against empty ones: time and memory."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask
from sqlalchemy import insert

from bench import stock
from bench.report import Section
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import core_transaction, db, new_uid
from portal.payments.models import Transaction
from portal.reconciliation import runs

ROWS, CHARGED_OF_TEN, SWEEP_EVERY, MISSED_EVERY = 20_000, 6, 200, 50
HEAD = "Receipt No,Completion Time,Details,Transaction Status,Paid In (KSHs),Withdrawn (KSHs),Balance (KSHs)\r\n"


def statement(rows: int) -> tuple[bytes, int]:
    """(file, number of payments in it): payments, a charge for most, now and then a sweep; a month, oldest first."""
    lines, payments, start = [HEAD], 0, clock.now() - timedelta(days=30)
    while len(lines) <= rows:
        payments += 1
        local = clock.nairobi(start + timedelta(minutes=2 * payments))
        receipt, at = f"B{payments:09d}", f"{local:%d/%m/%Y %H:%M:%S}"
        paid = f'"1,{payments % 1000:03d}.00"'
        lines.append(
            f"{receipt},{at},Pay Bill from 25471****126 - JOHN DOE Acc. B{payments},Completed,{paid},,0.00\r\n"
        )
        if payments % 10 < CHARGED_OF_TEN:
            lines.append(f"{receipt},{at},Pay Bill Charge,Completed,,-5.00,0.00\r\n")
        if payments % SWEEP_EVERY == 0:
            lines.append(
                f"S{receipt[1:]},{at},Utility Account to Organization Settlement Account,Completed,,-900.00,0.00\r\n"
            )
    return "".join(lines[: rows + 1]).encode(), payments


def fill(gateway: Gateway, payments: int) -> None:
    """The books of that month, as callbacks would have written them, but for one payment in fifty."""
    start = clock.now() - timedelta(days=30)
    values = [_known(gateway, n, start) for n in range(1, payments + 1) if n % MISSED_EVERY]
    with core_transaction() as connection:
        connection.execute(insert(Transaction), values)


def _known(gateway: Gateway, number: int, start: Any) -> dict[str, Any]:
    return {
        "tenant_id": gateway.tenant_id, "uid": new_uid(), "environment": gateway.environment, "gateway_id": gateway.id,
        "receipt": f"B{number:09d}", "channel": "c2b", "amount_cents": (1_000 + number % 1000) * 100,
        "unallocated_cents": 0, "occurred_at": start + timedelta(minutes=2 * number), "created_at": clock.now(),
    }  # fmt: skip


@contextmanager
def _product(directory: Path) -> Iterator[Flask]:
    from portal.app import create_app
    from portal.kernel.config import Config
    from portal.kernel.schema import upgrade_database

    config = Config(
        development=True,
        secret_key="s" * 40,
        data_keys="bench:" + "5a" * 32,
        database_url=f"sqlite:///{directory}/bench.sqlite",
        redis_url="redis://127.0.0.1:1",
        public_url="http://127.0.0.1:1",
        data_dir=directory,
    )
    app = create_app(config)
    with app.app_context():
        upgrade_database()
        db.session.remove()
        stock.furnish(app)
        yield app
        db.session.remove()
        db.engine.dispose()


def measure(*, quick: bool = False) -> Section:
    """Both cases, each with a database of its own."""
    rows = ROWS // 10 if quick else ROWS
    section = Section(
        f"A statement of {rows:,} rows reconciled (SQLite)",
        ("books", "seconds", "of them CPU", "the same file again, s", "peak memory, MiB", "created", "matched"),
    )
    for title, is_known in (("kept by callbacks, 1 in 50 lost", True), ("empty: everything is booked", False)):
        with TemporaryDirectory() as directory, _product(Path(directory)):
            section.rows.append((title, *_run(rows, is_known=is_known)))
    section.notes.append("Memory: the highest of the whole process so far, the product's own code included.")
    return section


def _run(rows: int, *, is_known: bool) -> tuple[str, ...]:
    content, payments = statement(rows)
    gateway = db.session.query(Gateway).one()
    gateway_id = gateway.id
    if is_known:
        fill(gateway, payments)
    seconds, cpu_s = [], []
    for _again in range(2):
        started, cpu_started = time.perf_counter(), time.process_time()
        gateway = db.session.get_one(Gateway, gateway_id)
        read = runs.read_statement(content, name="month.csv", gateway=gateway)
        made = runs.run(gateway_id, read, user_id=None, actor="bench")
        runs.accept(made, user_id=None, actor="bench")
        seconds.append(time.perf_counter() - started)
        cpu_s.append(time.process_time() - cpu_started)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = runs.counts_by_id(made)
    return (
        f"{seconds[0]:.1f}",
        f"{cpu_s[0]:.1f}",
        f"{seconds[1]:.1f}",
        f"{peak_mib:.0f}",
        f"{counts['created']:,}",
        f"{counts['matched']:,}",
    )


def main() -> None:
    """Measure and print."""
    section = measure(quick="--quick" in sys.argv)
    sys.stdout.write(f"\n{section.title}\n\n{section.as_markdown()}\n")


if __name__ == "__main__":
    main()
