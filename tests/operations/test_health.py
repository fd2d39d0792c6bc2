"""`/readyz` asks for a worker of each queue: a dead push worker is not hidden by one that settles."""

from typing import Any

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from portal.kernel import queue
from portal.operations import health
from portal.processes.worker import AppWorker
from tests.support.product import Product


def worker_of(product: Product, *names: str) -> AppWorker:
    client = product.app.extensions["redis"]
    AppWorker.app = product.app
    queues = [Queue(name, connection=client, serializer=JSONSerializer) for name in names]
    return AppWorker(queues, connection=client, serializer=JSONSerializer)


def checks(product: Product) -> dict[str, Any]:
    answer = product.client().get("/readyz").json
    assert answer is not None
    found: dict[str, Any] = answer["checks"]
    return found


def test_each_queue_must_have_a_worker(product: Product) -> None:
    """coverage.md O2: any worker stood for all."""
    with product.inside():
        health.say_alive("scheduler")
    worker_of(product, "money", "outside").heartbeat()
    said = checks(product)
    assert (said["worker_push"], said["worker_money"], said["worker_outside"]) == (False, True, True)
    assert product.client().get("/readyz").status_code == 503
    worker_of(product, "push").heartbeat()
    assert checks(product)["worker_push"] is True and product.client().get("/readyz").status_code == 200


def test_a_worker_that_is_busy_sending_counts_as_alive_for_as_long_as_that_takes(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md O2: a session of sending lasts longer than a sign of life."""
    redis = product.app.extensions["redis"]
    seen: list[int] = []
    monkeypatch.setattr(
        "rq.SimpleWorker.perform_job", lambda *_given: seen.append(redis.ttl("alive:worker_push")) or True
    )
    worker_of(product, "push").perform_job(None, None)  # type: ignore[arg-type]
    assert len(seen) == 1 and 170 <= seen[0] <= 180


def test_the_thread_that_rings_outlives_a_bell_that_cannot_be_rung(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md C30, the same kind: the enqueuer's thread died of the first error and never rang again."""
    from tests.support.clock import wait_until

    enqueued: list[str] = []

    def enqueue(job: queue.Job) -> None:
        enqueued.append(job.name)
        if len(enqueued) == 1:
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(queue, "enqueue", enqueue)
    enqueuer = queue.Enqueuer(product.app.app_context, queue.DRAIN)
    enqueuer.enqueue()
    wait_until(lambda: len(enqueued) == 1)
    enqueuer.enqueue()
    wait_until(lambda: len(enqueued) == 2)
