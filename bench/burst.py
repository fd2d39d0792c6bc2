"""A burst of callbacks, taken as fast as they come, settled and delivered to the last one; then the books.

The clock for "all settled" starts when the burst ends. Nothing may be lost (every acknowledged callback is
a paid, delivered payment) and nothing doubled (every 50th callback is told twice; the books must still be
right).
"""

import time
from dataclasses import dataclass

from flask import Flask
from sqlalchemy import func, select, text, update

from bench import stock
from bench.load import Load, drive
from bench.report import Section
from bench.servers import Stage, stage
from portal.hotspot.models import AccessGrant
from portal.kernel.db import core_transaction, db
from portal.ledger.models import Journal
from portal.payments.inbox.spool import Spool
from portal.payments.integrity import problems
from portal.payments.models import Allocation, InboxItem, Payment, Push, Transaction

WITHIN_S = 600
FULL_RATE = {"sqlite": 1_200, "postgresql": 1_600}  # callbacks a second to have ready; more are never taken
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Left:
    """What waits: callbacks on disk, callbacks in the inbox, paid payments without what they bought."""

    spooled: int
    new: int
    undelivered: int

    def __bool__(self) -> bool:
        return bool(self.spooled or self.new or self.undelivered)


def measure(*, seconds: int, kinds: tuple[str, ...]) -> Section:
    """One burst for each database."""
    section = Section("Burst", ("database", "figure", "value"))
    section.notes.append(
        f"{seconds} s of callbacks at full speed while the workers settle; then nothing more comes. The time to "
        f"settle counts from the end of the burst to the last delivery and must stay below {WITHIN_S} s."
    )
    for kind in kinds:
        with stage(kind) as on:
            section.rows += [(kind, *row) for row in _burst(on, seconds)]
    return section


def _burst(on: Stage, seconds: int) -> list[tuple[str, str]]:
    app = on.app()
    token = stock.furnish(app)
    stock.fill(app, seconds * FULL_RATE[on.kind] + 1_000)
    with app.app_context(), core_transaction() as connection:
        connection.execute(text("ANALYZE"))
    url = on.web()
    on.workers_and_scheduler()
    time.sleep(3)  # they start up: the burst should not pay for that
    stock.ring_again(app)
    script = stock.callbacks(f"/hooks/{token}/stk/{{token}}", first=1, repeats=True)
    load = drive(url, script, seconds=seconds, directory=on.directory)
    ended = time.monotonic()
    at_end = _left(app)
    _let_the_rest_decline(app)
    last, took_s = at_end, 0.0
    while last and took_s < WITHIN_S:
        time.sleep(LOOK_EVERY_S)
        last = _left(app)
        took_s = time.monotonic() - ended
    return _figures(app, on, load, at_end, last, took_s)


def _left(app: Flask) -> Left:
    with app.app_context():
        spool: Spool = app.extensions["spool"]
        new = db.session.scalar(select(func.count()).where(InboxItem.state == "new")) or 0
        paid = select(func.count()).where(Payment.state == "paid", Payment.fulfilled_at.is_(None))
        left = Left(spool.depth(), new, db.session.scalar(paid) or 0)
        db.session.remove()
    return left


def _let_the_rest_decline(app: Flask) -> None:
    """Pushes that the burst did not reach end here: else the sweeper would spend its time expiring them."""
    called_back = select(InboxItem.push_token)
    with app.app_context():
        with core_transaction() as connection:
            connection.execute(
                update(Push)
                .where(Push.token.not_in(called_back))
                .values(state="declined", result_code="1032", next_query_at=None)
            )
        db.session.remove()


def _figures(app: Flask, on: Stage, load: Load, at_end: Left, last: Left, took_s: float) -> list[tuple[str, str]]:
    with app.app_context():
        counts = {
            name: int(db.session.scalar(rows) or 0)
            for name, rows in {
                "callbacks kept": select(func.count(InboxItem.id)),
                "of them done": select(func.count(InboxItem.id)).where(InboxItem.state == "done"),
                "transactions": select(func.count(Transaction.id)),
                "allocations": select(func.count(Allocation.id)),
                "payments paid": select(func.count(Payment.id)).where(Payment.state == "paid"),
                "delivered": select(func.count(Payment.id)).where(Payment.fulfilled_at.is_not(None)),
                "accesses opened": select(func.count(AccessGrant.id)),
                "journals / 2": select(func.count(Journal.id) / 2),
            }.items()
        }
        cents = int(db.session.scalar(select(func.sum(Payment.allocated_cents))) or 0)
        found = problems()
        db.session.remove()
    kept = counts["callbacks kept"]
    repeats = load.made // stock.REPEAT_EVERY
    least, most = load.requests - repeats, load.made - repeats
    whole_s = load.seconds + took_s
    is_whole = len(set(counts.values())) == 1 and cents == kept * stock.PRICE_KES * 100 and least <= kept <= most
    settled_meanwhile = kept - at_end.new - at_end.spooled
    return [
        (
            "callbacks answered (each 50th a repeat)",
            f"{load.requests:,}, {load.per_second:,.0f}/s, {load.failed} failed",
        ),
        (
            "answered within, p50 / p99 / most",
            f"{load.p50_ms:,.0f} / {load.p99_ms:,.0f} / {load.max_ms:,.0f} ms",
        ),
        ("settled during the burst", f"{settled_meanwhile:,}, {settled_meanwhile / load.seconds:,.0f}/s"),
        (
            "left at its end",
            f"{at_end.new:,} to settle, {at_end.undelivered:,} to deliver, {at_end.spooled:,} spooled",
        ),
        (
            "all settled and delivered after",
            f"{took_s:,.0f} s" if not last else f"NOT WITHIN {WITHIN_S} s: {last}",
        ),
        ("settled and delivered, over all", f"{counts['delivered'] / whole_s:,.0f}/s"),
        ("money workers, web processes", f"{on.money_workers}, {on.web_workers}"),
        (
            "nothing lost, nothing doubled",
            f"yes: {kept:,} each" if is_whole else f"NO: {counts}, {least} to {most} sent",
        ),
        ("the books", "no problems" if not found else f"PROBLEMS: {found[:3]}"),
        ("verdict", "meets it" if not last and is_whole and not found and not load.failed else "MISSES IT"),
    ]
