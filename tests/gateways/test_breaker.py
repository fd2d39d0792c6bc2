"""The breaker of a gateway: it opens when M-Pesa does not answer, closes at the first word, and never stops a payment."""

from collections.abc import Iterator

import pytest
import redis

from portal.gateways import breaker
from portal.gateways.daraja import (
    ConfigurationRefused,
    DarajaError,
    OutcomeUnknown,
    Rejected,
    SignOnFailed,
    SubscriberBusy,
    Throttled,
    Unreachable,
)
from portal.kernel import queue
from tests.support.product import Product

MINE, ANOTHERS = 1, 2
SILENT = [Unreachable("away"), OutcomeUnknown("lost")]
ANSWERED = [
    Rejected("no"), ConfigurationRefused("no"), SignOnFailed("no"), Throttled("slow"), SubscriberBusy("busy"),
]  # fmt: skip


@pytest.fixture
def inside(product: Product) -> Iterator[Product]:
    with product.app.app_context():
        yield product


def fail(times: int, error: DarajaError = SILENT[0], gateway_id: int = MINE) -> None:
    for _n in range(times):
        breaker.failed(gateway_id, error)


@pytest.mark.parametrize("error", SILENT)
def test_five_silences_open_it_for_less_than_the_wait_of_a_second_try(inside: Product, error: DarajaError) -> None:
    """tests.md, coverage: opens at the fifth, not at the fourth nor the sixth."""
    fail(4, error)
    assert not breaker.is_open(MINE)
    fail(1, error)
    assert breaker.is_open(MINE) and not breaker.is_open(ANOTHERS)
    assert 20 < queue.connection().ttl(f"breaker:{MINE}:open") <= 25, "a prompt is tried again after 30 s"


@pytest.mark.parametrize("error", ANSWERED)
def test_any_answer_in_between_begins_the_count_anew(inside: Product, error: DarajaError) -> None:
    fail(4)
    breaker.failed(MINE, error)
    fail(4)
    assert not breaker.is_open(MINE)


def test_the_first_answer_closes_it(inside: Product) -> None:
    fail(5)
    breaker.answered(MINE)
    assert not breaker.is_open(MINE)
    fail(4)
    assert not breaker.is_open(MINE), "and forgets what was counted"


def test_silences_are_remembered_for_two_minutes(inside: Product) -> None:
    fail(1)
    assert 115 < queue.connection().ttl(f"breaker:{MINE}:failures") <= 120


def test_after_its_time_the_next_prompt_tries_and_one_more_silence_opens_it_again(inside: Product) -> None:
    fail(5)
    queue.connection().delete(f"breaker:{MINE}:open")  # as it lapses by itself
    assert not breaker.is_open(MINE)
    fail(1)
    assert breaker.is_open(MINE)


def test_without_redis_it_is_closed_and_nothing_fails(inside: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> redis.Redis:
        raise redis.ConnectionError("away")

    fail(5)
    monkeypatch.setattr(queue, "connection", away)
    assert not breaker.is_open(MINE)
    fail(1)
    breaker.answered(MINE)
