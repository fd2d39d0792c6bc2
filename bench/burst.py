"""A burst of callbacks, taken as fast as they come, settled and delivered to the last one; then the books.

The clock for "all settled" starts when the burst ends. Nothing may be lost (every acknowledged callback is
a paid, delivered payment) and nothing doubled (every 50th callback is told twice; the books must still be
right).
"""

import time
from dataclasses import dataclass

from flask import Flask
from sqlalchemy import func, select, update

from bench import stock
from bench.load import Load, drive
from bench.report import Section
from bench.servers import Stage, stage
from portal.hotspot.models import AccessGrant
from portal.kernel.db import core_transaction, db
from portal.ledger import post
from portal.ledger.models import Line
from portal.payments.inbox.spool import Spool
from portal.payments.integrity import problems
from portal.payments.models import Allocation, InboxItem, Payment, Push, Transaction

WITHIN_S = 600
FULL_RATE = {"sqlite": 2_000, "postgresql": 2_500}  # callbacks a second to have ready; more are never taken
LOOK_EVERY_S = 0.2
RING_S = 100.0  # the pushes that nobody called back may ring so long: then the sweeper would take them up
PRICE_CENTS = stock.PRICE_KES * 100


@dataclass(frozen=True)
class Left:
    """What waits: callbacks on disk, callbacks in the inbox, paid payments without what they bought."""

    spooled: int
    new: int
    undelivered: int

    def __bool__(self) -> bool:
        return bool(self.spooled or self.new or self.undelivered)


@dataclass(frozen=True)
class Burst:
    """What came of one. took_s: from its end to the last delivery. made: rows by name, each once a callback.

    problems: what the books' own proof found.
    """

    load: Load
    at_end: Left
    last: Left
    took_s: float
    made: dict[str, int]
    problems: list[str]

    @property
    def kept(self) -> int:
        return self.made["callbacks kept"]

    @property
    def per_second(self) -> float:
        """Callbacks taken, settled and delivered, over the whole time that it took."""
        return self.made["delivered"] / (self.load.seconds + self.took_s)

    @property
    def lost_or_doubled(self) -> str:
        """What is wrong with the numbers of rows; empty where nothing is. The last ones sent may be unanswered."""
        repeats = self.load.made // stock.REPEAT_EVERY
        least, most = self.load.requests - self.load.failed - repeats, self.load.made - repeats
        if len(set(self.made.values())) == 1 and least <= self.kept <= most:
            return ""
        others = [f"{count:,} {name}" for name, count in self.made.items() if count != self.kept]
        return ", ".join([f"{self.kept:,} callbacks kept of {least:,} to {most:,} sent", *others])

    @property
    def trouble(self) -> str:
        """The first thing that may not be; empty where all is well."""
        if self.last:
            return f"not within {WITHIN_S} s: {self.last}"
        if self.load.failed:
            return f"{self.load.failed} failed"
        return self.lost_or_doubled or "; ".join(self.problems[:3])


def measure(*, seconds: int, kinds: tuple[str, ...]) -> Section:
    """One burst for each database."""
    section = Section("Burst", ("database", "figure", "value"))
    section.notes.append(
        f"{seconds} s of callbacks at full speed while the workers settle; then nothing more comes. The time to "
        f"settle counts from the end of the burst to the last delivery and must stay below {WITHIN_S} s."
    )
    for kind in kinds:
        with stage(kind) as on:
            app = on.app()
            token = stock.furnish(app)
            section.rows += [(kind, *row) for row in _figures(on, run(on, app, token, seconds=seconds))]
    return section


def run(
    on: Stage,
    app: Flask,
    token: str,
    *,
    seconds: float,
    first: int = 1,
    workers: int = 0,
    per_second: float | None = None,
) -> Burst:
    """Callbacks for the pushes from number `first` on, which are made for it, at full speed or `per_second`.

    The product's programs start for it and end with it. workers: how many settle, if not as many as usual.
    """
    stock.fill(app, ready_for(on.kind, seconds, per_second), first=first)
    on.rest(on.database)
    before = _counts(app)
    with on.episode() as now:
        with now.episode() as door:
            url = door.web()
            now.workers_and_scheduler(workers)  # until they are at work: the burst should not pay for that
            stock.ring_again(app)
            script = stock.callbacks(f"/hooks/{token}/stk/{{token}}", first=first, repeats=True)
            load = drive(url, script, seconds=seconds, directory=on.directory, per_second=per_second)
            ended = time.monotonic()
            at_end = _left(app)
            last, took_s = _wait_for_all(app, load, ended)
        if _left(app):  # what was on its way when the load ended, and was kept though nobody heard the answer
            last, took_s = _wait_for_all(app, load, ended)
    _let_the_rest_decline(app)
    made = {name: count - before[name] for name, count in _counts(app).items()}
    with app.app_context():
        found = problems()
        db.session.remove()
    return Burst(load, at_end, last, took_s, made, found)


def _wait_for_all(app: Flask, load: Load, ended: float) -> tuple[Left, float]:
    """(what is left when nothing is, or when it took too long, seconds since `ended`)."""
    is_ringing = True
    while (last := _left(app)) and time.monotonic() - ended < WITHIN_S:
        if is_ringing and load.seconds + time.monotonic() - ended > RING_S:
            _let_the_rest_decline(app)
            is_ringing = False
        time.sleep(LOOK_EVERY_S)
    return last, time.monotonic() - ended


def ready_for(kind: str, seconds: float, per_second: float | None = None) -> int:
    """How many pushes a burst may reach."""
    return round(seconds * (per_second or FULL_RATE[kind])) + 1_000


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
    called_back = select(InboxItem.push_token).where(InboxItem.push_token.is_not(None))
    with app.app_context():
        with core_transaction() as connection:
            connection.execute(
                update(Push)
                .where(Push.state == "awaiting_pin", Push.token.not_in(called_back))
                .values(state="declined", result_code="1032", next_query_at=None)
            )
        db.session.remove()


def _counts(app: Flask) -> dict[str, int]:
    """Rows so far, of all that a paid callback makes one of."""
    at_mpesa = select(func.sum(Line.amount_cents) / PRICE_CENTS).where(Line.account == post.CLEARING)
    asked = {
        "callbacks kept": select(func.count(InboxItem.id)),
        "of them done": select(func.count(InboxItem.id)).where(InboxItem.state == "done"),
        "transactions": select(func.count(Transaction.id)),
        "allocations": select(func.count(Allocation.id)),
        "payments paid": select(func.count(Payment.id)).where(Payment.state == "paid"),
        "prices allocated": select(func.sum(Payment.allocated_cents) / PRICE_CENTS),
        "prices in the books": at_mpesa,
        "delivered": select(func.count(Payment.id)).where(Payment.fulfilled_at.is_not(None)),
        "accesses opened": select(func.count(AccessGrant.id)),
    }
    with app.app_context():
        counts = {name: int(db.session.scalar(rows) or 0) for name, rows in asked.items()}
        db.session.remove()
    return counts


def _figures(on: Stage, burst: Burst) -> list[tuple[str, str]]:
    load, at_end, last = burst.load, burst.at_end, burst.last
    settled_meanwhile = burst.kept - at_end.new - at_end.spooled
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
            f"{burst.took_s:,.0f} s" if not last else f"NOT WITHIN {WITHIN_S} s: {last}",
        ),
        ("settled and delivered, over all", f"{burst.per_second:,.0f}/s"),
        ("money workers, web processes", f"{on.money_workers}, {on.web_workers}"),
        (
            "nothing lost, nothing doubled",
            f"NO: {burst.lost_or_doubled}" if burst.lost_or_doubled else f"yes: {burst.kept:,} each",
        ),
        ("the books", "no problems" if not burst.problems else f"PROBLEMS: {burst.problems[:3]}"),
        ("verdict", "MISSES IT" if burst.trouble else "meets it"),
    ]
