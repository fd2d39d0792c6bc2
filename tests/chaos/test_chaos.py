"""Thirty people pay while everything around them fails: no shilling is lost, none is counted twice."""

from pathlib import Path

import pytest

from tests.chaos.run import run
from tests.chaos.trouble import Plan
from tests.support.services.postgresql import PostgreSQLMissing
from tests.support.services.programs import lacking

PAYMENTS = 30
# the database goes for 4 s in the middle; workers and scheduler are killed before, during and after
PLAN = Plan(
    lasts_s=10.0,
    outages=((3.0, "take_away"),),
    outage_s=4.0,
    kill_every_s=2.2,
    flush_every_s=3.1,
    kill_redis_every_s=8.0,
    faults_every_s=2.0,
)


@pytest.mark.property(54)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_no_shilling_is_lost_or_doubled_while_everything_fails(kind: str, tmp_path: Path) -> None:
    try:
        outcome = run(kind, tmp_path, payments=PAYMENTS, plan=PLAN, people=8, patience_s=60, settle_s=60)
    except PostgreSQLMissing:
        lacking("PostgreSQL", package="postgresql")
    assert outcome.problems == [], outcome.troubles
    assert outcome.gave_up == 0, f"every payer got through: {outcome.answers}"
    assert outcome.verdict.moved >= PAYMENTS * 2 // 3, "money moved at all"
    assert {"push", "money", "outside"} <= set(outcome.deaths), "and workers died meanwhile"
