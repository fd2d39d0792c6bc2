"""One run: people pay, things break, it becomes quiet, and the verdict is given."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from portal import fulfilment
from portal.kernel import clock
from portal.kernel.db import db
from portal.payments.c2b import pull
from portal.payments.processing import jobs
from tests.chaos import trouble
from tests.chaos.payers import BY_HAND, Payers
from tests.chaos.trouble import Plan
from tests.chaos.verdict import Verdict, judge, waiting
from tests.chaos.world import World, world

ENDINGS = ("00", "01", "07", "00", "09", "15", "00", "08", BY_HAND, "02", "01", "25")
STEP_S = 0.1
LOOK_EVERY_S = 0.5
PAYMENTS_A_SHOP = 400  # a tenant may push 600 times in ten minutes


@dataclass
class Outcome:
    """The verdict, and how it came to it. gave_up: payers who never got through; times in seconds."""

    verdict: Verdict
    answers: Counter[str]
    gave_up: int
    slowest_start_s: float
    deaths: Counter[str]
    complaints: list[str]
    troubles: list[str] = field(default_factory=list)
    quiet_after_s: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Sentences, none of which should be there."""
        ended = [f"{name} ended by itself." for name in ("web", "simulator") if self.deaths[name]]
        return [*self.verdict.problems, *ended, *self.complaints]


def run(
    kind: str,
    directory: Path,
    *,
    payments: int,
    plan: Plan,
    people: int,
    endings: tuple[str, ...] = ENDINGS,
    patience_s: float,
    settle_s: float,
    tell: Callable[[str], object] = lambda _line: None,
) -> Outcome:
    """`payments` on a database of `kind` while `plan` happens. patience_s: a payer's; settle_s: ours at the end."""
    with world(kind, directory, shops=-(-payments // PAYMENTS_A_SHOP)) as made:
        made.control(promptSeconds=30)
        payers = Payers(
            made, count=payments, within_s=plan.lasts_s, people=people, endings=endings, patience_s=patience_s
        )
        try:
            troubles = _let_it_happen(made, plan, payers, tell)
        finally:
            made.database.give_back()
            payers.send_home()
        made.control(faults=dict.fromkeys(trouble.FAULTS))
        quiet_after_s = _wait_until_quiet(made, settle_s, tell)
        _let_time_pass(made)
        _wait_until_quiet(made, settle_s, tell)
        crowd = payers.crowd
        return Outcome(
            judge(made), crowd.answers, len(crowd.gave_up), crowd.longest_s, made.deaths(), made.complaints(),
            troubles, quiet_after_s,
        )  # fmt: skip


def _let_it_happen(made: World, plan: Plan, payers: Payers, tell: Callable[[str], object]) -> list[str]:
    coming, told = plan.troubles(), []
    began = time.monotonic()
    while coming or not payers.are_done():
        now_s = time.monotonic() - began
        while coming and coming[0].at_s <= now_s:
            happened = f"{now_s:6.1f} s: {trouble.make(coming.pop(0), made)}"
            told.append(happened)
            tell(happened)
        time.sleep(STEP_S)
    return told


def _wait_until_quiet(made: World, settle_s: float, tell: Callable[[str], object]) -> float:
    """Seconds until nothing moves: nothing waits, or only pushes that wait for a time limit."""
    began = last_change = time.monotonic()
    before = waiting(made)
    while before and time.monotonic() - began < settle_s:
        time.sleep(LOOK_EVERY_S)
        now = waiting(made)
        if now != before:
            before, last_change = now, time.monotonic()
            tell(f"         {now}")
        if not now.but_for_pushes and time.monotonic() - last_change > min(20.0, settle_s / 2):
            break
    return last_change - began


def _let_time_pass(made: World) -> None:
    """What sweeper and workers would do within a quarter of an hour, done here and now."""
    clock.move(timedelta(seconds=130))
    try:
        with made.app.app_context():
            for job in (jobs.take_in_spool, jobs.expire_pushes, jobs.ask_mpesa, fulfilment.drain):
                job()
                db.session.remove()
            for shop in made.shops:
                pull.pull(shop.gateway_id)
                db.session.remove()
            fulfilment.deliver_paid()
            db.session.remove()
    finally:
        clock.reset()
