"""Afterwards: what M-Pesa moved against what is booked, and all that must be empty."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from sqlalchemy import func, select

from portal.hotspot.models import AccessGrant, Purchase
from portal.kernel.db import db
from portal.payments import integrity
from portal.payments.inbox.spool import Spool
from portal.payments.models import InboxItem, Payment, Push, Transaction
from tests.chaos.world import World

# what M-Pesa still means to do; the end of a prompt that was answered before is nothing any more
_ERRANDS = """
SELECT count(*) AS n FROM jobs WHERE NOT (kind = 'answer' AND json_extract(payload, '$.late_success') IS NULL
  AND json_extract(payload, '$.push_id') IN (SELECT id FROM pushes WHERE state = 'settled'))
"""
UNDER_WAY = ("created", "sending", "awaiting_pin")


@dataclass(frozen=True)
class Waiting:
    """What is not finished: M-Pesa's own errands, callbacks on disk and in the inbox, pushes, deliveries."""

    errands: int
    spooled: int
    new: int
    pushes: int
    undelivered: int

    def __bool__(self) -> bool:
        return any((self.errands, self.spooled, self.new, self.pushes, self.undelivered))

    @property
    def but_for_pushes(self) -> bool:
        return any((self.errands, self.spooled, self.new, self.undelivered))


@dataclass
class Verdict:
    """problems: sentences, none of which should be there. Delays in seconds, from M-Pesa's movement."""

    moved: int = 0
    by_channel: Counter[str] = field(default_factory=Counter)
    grants: int = 0
    push_states: Counter[str] = field(default_factory=Counter)
    hook_answers: Counter[str] = field(default_factory=Counter)
    slowest_hook_s: float = 0.0
    booking_delays_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def waiting(made: World) -> Waiting:
    """What is not finished now. Opens no transaction for writing."""
    spool: Spool = made.app.extensions["spool"]
    errands = _from_simulator(made, _ERRANDS)[0]["n"]
    with made.app.app_context():
        new = db.session.scalar(select(func.count()).where(InboxItem.state == "new")) or 0
        pushes = db.session.scalar(select(func.count()).where(Push.state.in_(UNDER_WAY))) or 0
        undelivered = select(func.count()).where(Payment.state == "paid", Payment.fulfilled_at.is_(None))
        left = Waiting(errands, spool.depth(), new, pushes, db.session.scalar(undelivered) or 0)
        db.session.remove()
    return left


def judge(made: World) -> Verdict:
    """Compare everything."""
    verdict = Verdict()
    _judge_hooks(made, verdict)
    with made.app.app_context():
        _judge_money(made, verdict)
        _judge_access(verdict)
        _judge_rest(verdict)
        verdict.problems += integrity.problems()
        db.session.remove()
    if left := waiting(made):
        verdict.problems.append(f"Something still waits: {left}.")
    return verdict


def _from_simulator(made: World, sql: str) -> list[sqlite3.Row]:
    file = made.directory / "simulator" / "simulator.sqlite3"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql).fetchall()


def _judge_hooks(made: World, verdict: Verdict) -> None:
    """What Safaricom would have seen of us. `lost`: no answer in time."""
    sent = _from_simulator(
        made, "SELECT status, elapsed_ms FROM log WHERE direction = 'sent' AND address LIKE '%/hooks/%'"
    )
    verdict.hook_answers = Counter(row["status"] for row in sent)
    verdict.slowest_hook_s = max((row["elapsed_ms"] for row in sent), default=0) / 1000
    verdict.problems += [
        f"{count} callbacks were answered {status}."
        for status, count in verdict.hook_answers.items()
        if status not in ("200", "lost")
    ]


def _judge_money(made: World, verdict: Verdict) -> None:
    numbers = ", ".join(f"'{shop.shortcode}'" for shop in made.shops)
    moved = _from_simulator(
        made,
        "SELECT m.receipt, m.reference, m.amount_cents, m.at FROM transactions m JOIN organisations o "  # noqa: S608 - ours
        f"ON o.id = m.organisation_id WHERE m.role = 'payment' AND o.shortcode IN ({numbers})",
    )
    booked = db.session.execute(
        select(
            Transaction.receipt, Push.reference, Transaction.amount_cents, Transaction.created_at, Transaction.channel
        )
        .outerjoin(Push, Push.id == Transaction.push_id)
        .where(Transaction.merged_into_id.is_(None))
    ).all()
    verdict.moved, verdict.by_channel = len(moved), Counter(row.channel for row in booked)
    for movement in moved:
        mine = [
            row
            for row in booked
            if row.receipt == movement["receipt"] or (row.receipt is None and row.reference == movement["reference"])
        ]
        if [row.amount_cents for row in mine] != [movement["amount_cents"]]:
            verdict.problems.append(f"{movement['receipt']} for {movement['reference']} is booked {len(mine)} times.")
        verdict.booking_delays_s += [row.created_at.timestamp() - movement["at"] for row in mine]
    if len(booked) != len(moved):
        verdict.problems.append(f"M-Pesa moved money {len(moved)} times; {len(booked)} transactions are booked.")


def _judge_access(verdict: Verdict) -> None:
    grants = (
        select(Payment.reference, Payment.state, func.count(AccessGrant.id))
        .outerjoin(Purchase, Purchase.payment_id == Payment.id)
        .outerjoin(AccessGrant, AccessGrant.purchase_id == Purchase.id)
        .where(Payment.purpose == "hotspot")
        .group_by(Payment.id, Payment.reference, Payment.state)
    )
    for reference, state, count in db.session.execute(grants):
        verdict.grants += count
        if count != (1 if state == "paid" else 0):
            verdict.problems.append(f"Payment {reference} is {state} and has {count} accesses.")


def _judge_rest(verdict: Verdict) -> None:
    rows = db.session.execute(select(InboxItem.state, func.count()).group_by(InboxItem.state)).all()
    verdict.problems += [f"{count} callbacks are {state}." for state, count in rows if state in ("new", "dead")]
    states = db.session.execute(select(Push.state, func.count()).group_by(Push.state)).all()
    verdict.push_states = Counter(dict(states))
    verdict.problems += [f"{count} pushes are {state}." for state, count in states if state in UNDER_WAY]
