"""The same burst in turns with a plain Django package, mainfinity-django-mpesa 0.1.1: how much sooner is it all done?

The peer updates one row a push within the callback's own request: what it answers, it has settled, and nothing is
delivered, booked or audited. We answer first, and workers settle and deliver. So our rate is over all, from the first
callback to the last delivery; the peer's is the rows that say `SUCCESS`, over the time of the load.

Decided: both take the very same callbacks, each 50th told twice, from the same generator; runs alternate in one run of
this program, on one PostgreSQL server with a database for each, and the ratio is that of the medians.
Decided: the peer has four of gunicorn's processes on two cores, because each waits for its database half of the time.
Its settings are those of its guide, with connections that stay open and more patience for SQLite's lock, both to its
advantage.
Decided: it lives in a virtual environment of its own (`install`), made on first use and kept beside ours: it is never a
dependency, and `make bench ARGS=all` does not ask the network for it.
"""

import shutil
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import func, literal_column, select

from bench import burst, load, stock
from bench.burst import Burst
from bench.load import Load, drive
from bench.report import Section, percentile, spread
from bench.servers import ROOT, Stage, free_port, stage
from portal.kernel.db import db
from portal.payments.models import InboxItem, Payment, Push

KEPT_IN = ROOT / ".venv-peer"
PROJECT = Path(__file__).parent / "peer_django"
INSTALL_WITHIN_S = 600
PROCESSES, FULL_RATE = 4, 1_500  # callbacks a second to have ready; more it never takes
BURST_TARGET, SQLITE_TARGET, TAKEN_TARGET = 1.2, 3.0, 4.0
MORE_WORKERS, AS_FAST = 4, 0.95  # two runs of the same differ by as much
STEADY_SHARE, STEADY_WITHIN_S, KEEPS_PACE = 0.6, 2.0, 0.97


class NotInstalled(Exception):
    """The peer is not to be had here."""


def install(directory: Path) -> Path:
    """The Python that has the peer, in a virtual environment made in `directory` once. Raises NotInstalled."""
    python, stamp, wanted = directory / "bin" / "python", directory / "installed.txt", PROJECT / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text() and python.exists():
        return python
    sys.stderr.write(f"Installing the peer into {directory} ...\n")
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(directory)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted)],
    )
    for argv in steps:
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_WITHIN_S)  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            words = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise NotInstalled(
                f"The peer could not be installed into {directory}: {words[-1] if words else 'no reason given'}\n"
                "It comes from the Python package registry, once. Try again where that answers, or name the folder of "
                "a virtual environment that was made elsewhere: --peer-venv FOLDER."
            ) from error
    shutil.copyfile(wanted, stamp)
    return python


@dataclass(frozen=True)
class Taken:
    """What the peer made of a burst."""

    load: Load
    settled: int

    @property
    def per_second(self) -> float:
        return self.settled / self.load.seconds

    @property
    def unsettled(self) -> int:
        """Callbacks sent that are in no row, those without an answer when the load ended left out."""
        return max(0, self.load.requests - self.load.made // stock.REPEAT_EVERY - self.settled)


class Peer:
    """The peer's project on a database of its own beside ours."""

    def __init__(self, python: Path, on: Stage) -> None:
        self._python, self._on, self._next = str(python), on, 1
        self._url = on.beside("peer")
        is_sqlite = on.kind == "sqlite"
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "bench.peer_django.settings",
            "PEER_ENGINE": "sqlite3" if is_sqlite else "postgresql",
            "PEER_DATABASE": str(self._url.database),
            "PEER_HOST": "" if is_sqlite else str(self._url.query["host"]),
            "PEER_USER": self._url.username or "",
        }
        self._run("-m", "django", "migrate", "--run-syncdb", "--verbosity", "0")

    def _run(self, *arguments: str) -> None:
        argv, environment = [self._python, *arguments], self._on.environment | self._environment
        ran = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True)  # noqa: S603
        if ran.returncode:
            raise RuntimeError(f"The peer's {' '.join(arguments[:3])} failed: {ran.stderr.strip()[-500:]}")

    def burst(self, seconds: float) -> Taken:
        """As fast as it answers."""
        first, count = self._next, round(seconds * FULL_RATE) + 100
        self._run("-m", "bench.peer_django.stock", str(first), str(count))
        self._next += count
        self._on.rest(self._url)
        before = self._settled()
        with self._on.episode() as now:
            port = free_port()
            argv = [self._python, "-m", "gunicorn", "--workers", str(PROCESSES), "--bind", f"127.0.0.1:{port}"]
            process = now.run("peer", [*argv, "django.core.wsgi:get_wsgi_application()"], **self._environment)
            url = now.when_ready(process, port, "/")
            script = stock.callbacks("/mpesa/stk/callback/", first=first, repeats=True)
            taken = drive(url, script, seconds=seconds, directory=self._on.directory)
        return Taken(taken, self._settled() - before)

    def _settled(self) -> int:
        asked = "SELECT count(*) FROM peer_transactions WHERE status = 'SUCCESS'"
        if self._on.kind == "sqlite":
            with closing(sqlite3.connect(str(self._url.database))) as connection:
                return int(connection.execute(asked).fetchone()[0])
        with psycopg.connect(
            host=str(self._url.query["host"]), user=self._url.username, dbname=self._url.database
        ) as server:
            row = server.execute(asked).fetchone()
            return int(row[0]) if row else 0


class Ours:
    """The product, one burst after another on the same database."""

    def __init__(self, on: Stage) -> None:
        self.on, self.app = on, on.app()
        self._token, self._next = stock.furnish(self.app), 1
        self.troubles: list[str] = []
        self.bursts = 0

    def takes(self, seconds: float) -> Load:
        """Callbacks acknowledged while nobody settles; forgotten afterwards."""
        self.on.rest(self.on.database)
        with self.on.episode() as now:
            script = stock.callbacks(f"/hooks/{self._token}/stk/{{token}}", first=1)
            taken = drive(now.web(), script, seconds=seconds, directory=self.on.directory)
        if taken.failed:
            self.troubles.append(f"{taken.failed} failed")
        stock.empty_inbox(self.app)
        return taken

    def burst(self, seconds: float, *, workers: int = 0, per_second: float | None = None) -> Burst:
        """Taken, settled and delivered to the last one, and the books proved."""
        first = self._next
        self._next += burst.ready_for(self.on.kind, seconds, per_second)
        came = burst.run(
            self.on, self.app, self._token, seconds=seconds, first=first, workers=workers, per_second=per_second
        )
        self.bursts += 1
        if came.trouble:
            self.troubles.append(came.trouble)
        return came

    def delays_s(self, latest: int) -> list[float]:
        """Seconds from each of the `latest` callbacks to its delivery, sorted.

        PostgreSQL knows when the row was committed, hence to be seen by its payer; on SQLite it is as the row says.
        """
        committed = func.pg_xact_commit_timestamp(literal_column(f"{Payment.__tablename__}.xmin"))
        delivered_at = Payment.fulfilled_at if self.on.kind == "sqlite" else committed
        asked = (
            select(InboxItem.received_at, delivered_at)
            .join(Push, Push.token == InboxItem.push_token)
            .join(Payment, Payment.id == Push.payment_id)
            .where(Payment.fulfilled_at.is_not(None))
            .order_by(InboxItem.id.desc())
            .limit(latest)
        )
        with self.app.app_context():
            times = db.session.execute(asked).all()
            db.session.remove()
        return sorted((last - first).total_seconds() for first, last in times)


def measure(*, quick: bool, seconds: float, kinds: tuple[str, ...], directory: Path) -> list[Section]:
    """The bursts, and a steady stream on PostgreSQL. directory: where the peer is installed. Raises NotInstalled."""
    python, rounds = install(directory), 1 if quick else 3
    columns = ("database", "figure", "Mlango/s", "against", "against/s", "ratio", "target", "verdict")
    section = Section("Against a peer", columns)
    steady = Section(
        "Steady callbacks",
        ("database", "callbacks/s", "n", "50 % within s", "95 %", "99 %", "most s", "target", "verdict"),
    )
    if "postgresql" in kinds:
        _on_postgresql(section, steady, python, seconds, rounds)
    if "sqlite" in kinds:
        _on_sqlite(section, python, seconds, rounds)
    section.notes.append(
        f"Load: {load.CLIENT}, {seconds:g} s of callbacks at full speed, each 50th a repeat; medians of {rounds} "
        f"(least to most), in turns. The peer: mainfinity-django-mpesa 0.1.1 under gunicorn, {PROCESSES} processes; "
        "counted are its rows that say SUCCESS, over the time of the load. Ours: taken, settled and delivered, over "
        f"the time until the last delivery. Four workers count as not slower from {AS_FAST:g} on: runs differ by that."
    )
    return [one for one in (section, steady) if one.rows]


def _on_postgresql(section: Section, steady: Section, python: Path, seconds: float, rounds: int) -> None:
    with stage("postgresql") as on:
        ours, peer = Ours(on), Peer(python, on)
        taken: list[Load] = []
        two: list[Burst] = []
        four: list[Burst] = []
        theirs: list[Taken] = []
        for _round in range(rounds):
            taken.append(ours.takes(seconds / 2))
            theirs.append(peer.burst(seconds))
        for _round in range(rounds):
            two.append(ours.burst(seconds))
            theirs.append(peer.burst(seconds))
            four.append(ours.burst(seconds, workers=MORE_WORKERS))
        of_two, of_four = [one.per_second for one in two], [one.per_second for one in four]
        of_peer = [one.per_second for one in theirs]
        settled = ratio(of_two, of_peer[rounds:])
        section.closing = f"settled against peer: {settled:.2f}"
        what = f"settled and delivered, {on.web_workers} web processes, {on.money_workers} workers"
        section.rows += [
            _row(ours, what, of_two, "the peer", of_peer[rounds:], BURST_TARGET),
            _row(ours, f"the same, {MORE_WORKERS} workers", of_four, "two workers", of_two, 1.0, AS_FAST),
            _row(
                ours, "acknowledged, nobody settles", [one.per_second for one in taken], "the peer",
                [one.load.per_second for one in theirs[:rounds]], TAKEN_TARGET,
            ),
        ]  # fmt: skip
        pace = STEADY_SHARE * statistics.median(of_two)
        stream = ours.burst(3 * seconds, per_second=pace)
        steady.rows.append(_steady_row(on, pace, stream, ours.delays_s(stream.kept)))
        steady.notes.append(
            f"{3 * seconds:g} s of callbacks at {STEADY_SHARE:.0%} of the rate at which a burst was settled and "
            "delivered in this run; from the callback's arrival until its delivery was committed."
        )
        section.notes.append(_checked(ours, theirs))


def _on_sqlite(section: Section, python: Path, seconds: float, rounds: int) -> None:
    with stage("sqlite") as on:
        ours, peer = Ours(on), Peer(python, on)
        mine, theirs = [], []
        for _round in range(rounds):
            mine.append(ours.burst(seconds))
            theirs.append(peer.burst(seconds))
        what = f"settled and delivered, {on.web_workers} web process, {on.money_workers} worker"
        mine_per_s, theirs_per_s = [one.per_second for one in mine], [one.per_second for one in theirs]
        section.rows.append(_row(ours, what, mine_per_s, "the peer", theirs_per_s, SQLITE_TARGET))
        section.notes.append(_checked(ours, theirs))


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """That of the medians; endless where the others did nothing."""
    below = statistics.median(others)
    return statistics.median(ours) / below if below else float("inf")


def _row(
    product: Ours,
    what: str,
    ours: Sequence[float],
    against: str,
    others: Sequence[float],
    target: float,
    enough: float = 0.0,
) -> tuple[str, ...]:
    """enough: from where on it counts as the target. What was lost or doubled meets nothing."""
    found = ratio(ours, others)
    verdict = "meets it" if found >= (enough or target) and not product.troubles else "MISSES IT"
    return (product.on.kind, what, spread(ours), against, spread(others), f"{found:.2f}", f">= {target:g}", verdict)


def _steady_row(on: Stage, pace: float, stream: Burst, delays_s: Sequence[float]) -> tuple[str, ...]:
    shown = [percentile(delays_s, percent) for percent in (50, 95, 99)]
    verdict = "meets it" if shown[1] < STEADY_WITHIN_S and not stream.trouble else "MISSES IT"
    if stream.load.per_second < KEEPS_PACE * pace:
        verdict = f"NOT MEASURED: {pace:,.0f}/s were to come"
    return (
        on.kind,
        f"{stream.load.per_second:,.0f}",
        f"{len(delays_s):,}",
        *(f"{delay_s:.2f}" for delay_s in (*shown, delays_s[-1])),
        f"95 % < {STEADY_WITHIN_S:g} s",
        verdict,
    )


def _checked(ours: Ours, theirs: Sequence[Taken]) -> str:
    answered = sum(one.load.requests - one.load.failed for one in theirs)
    repeats = sum(one.load.made // stock.REPEAT_EVERY for one in theirs)
    said = (
        f"On {ours.on.kind}: in {ours.bursts} bursts of ours nothing was lost and nothing doubled, and the books "
        "proved right after each."
    )
    if ours.troubles:
        said = f"On {ours.on.kind}: LOST, DOUBLED OR FAILED: {'; '.join(ours.troubles)}."
    return (
        f"{said} The peer was asked {sum(one.load.requests for one in theirs):,} times, answered {answered:,} with 200 "
        f"(some {repeats:,} of them repeats), settled {sum(one.settled for one in theirs):,} and lost "
        f"{sum(one.unsettled for one in theirs):,}."
    )
