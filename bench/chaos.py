"""Thousands pay while programs are killed, Redis goes, and the database is away for 20 s, twice.

What happens and what is judged is `tests.chaos`; here it is long enough for every time limit of the product to
pass by itself. The worst delay from M-Pesa's movement of money to our booking of it is the figure that counts.
"""

import statistics
import sys

from bench.report import Section, percentile
from bench.servers import scratch
from tests.chaos.run import ENDINGS, Outcome, run
from tests.chaos.trouble import Plan

PAYMENTS = 2_000
PER_SECOND = 10
PEOPLE = 24
OUTAGE_S = 20.0
# beside the tests' phones: slow ones, late callbacks, a failure that turns into a payment, an answer of HTTP 500
BENCH_ENDINGS = (*ENDINGS, *ENDINGS, *ENDINGS, "24", "18", "10", "23", "27", "04")


def measure(*, payments: int, kinds: tuple[str, ...]) -> Section:
    """One run for each database."""
    section = Section("Chaos", ("database", "figure", "value"))
    section.notes.append(
        f"While {payments:,} people pay: `kill -9` of a worker or the scheduler every 4 s, Redis emptied every 17 s "
        f"and killed every 23 s, callbacks doubled, late and out of order, and the database away for {OUTAGE_S:g} s, "
        "twice (PostgreSQL: shut down, then frozen; SQLite: locked by another). Delays count from M-Pesa's movement."
    )
    for kind in kinds:
        with scratch() as directory:
            outcome = run(
                kind, directory, payments=payments, plan=plan(payments), people=PEOPLE, endings=BENCH_ENDINGS,
                patience_s=120, settle_s=300, tell=_say,
            )  # fmt: skip
        section.rows += [(kind, *row) for row in _figures(outcome)]
    return section


def plan(payments: int) -> Plan:
    """Two outages, in a run that is long enough for both."""
    lasts_s = max(3.5 * OUTAGE_S, payments / PER_SECOND)
    return Plan(
        lasts_s=lasts_s,
        outages=((lasts_s * 0.15, "take_away"), (lasts_s * 0.6, "freeze")),
        outage_s=OUTAGE_S,
        kill_every_s=4,
        flush_every_s=17,
        kill_redis_every_s=23,
        faults_every_s=2,
    )


def _figures(outcome: Outcome) -> list[tuple[str, str]]:
    verdict = outcome.verdict
    delays = verdict.booking_delays_s or [0.0]
    found = outcome.problems
    return [
        ("M-Pesa moved, booked", f"{verdict.moved:,}, {sum(verdict.by_channel.values()):,}"),
        ("booked first by", _counts(verdict.by_channel)),
        ("accesses opened", f"{verdict.grants:,}"),
        ("pushes ended", _counts(verdict.push_states)),
        ("ended by kill or by themselves", _counts(outcome.deaths)),
        ("answers to Safaricom", f"{_counts(verdict.hook_answers)}; slowest {verdict.slowest_hook_s:.1f} s"),
        ("answers to payers", f"{_counts(outcome.answers)}; {outcome.gave_up} gave up"),
        ("longest until a payer's request was taken", f"{outcome.slowest_start_s:.0f} s"),
        ("from money to booking, median", f"{statistics.median(delays):.1f} s"),
        ("from money to booking, 95 % within", f"{percentile(delays, 95):.1f} s"),
        ("from money to booking, worst", f"{max(delays):.1f} s"),
        ("quiet after the last trouble", f"{outcome.quiet_after_s:.0f} s"),
        ("nothing lost, nothing doubled", "yes" if not found else f"NO: {found[:5]}"),
        ("verdict", "meets it" if not found and not outcome.gave_up else "MISSES IT"),
    ]


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counted.items())) or "none"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
