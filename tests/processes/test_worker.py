"""A worker that is asked to end: what it has begun ends, and nothing new is begun."""

from collections.abc import Collection
from datetime import timedelta

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from portal.kernel import queue
from portal.kernel.db import db, transaction
from portal.outbox.deliver import deliver_due
from portal.outbox.models import OutboxItem
from portal.outbox.write import put
from portal.payments.processing import gateway_pool
from portal.processes.worker import AppWorker
from tests.support.product import Product


@pytest.fixture
def worker(product: Product, monkeypatch: pytest.MonkeyPatch) -> AppWorker:
    monkeypatch.setattr(queue, "_is_leaving", False)
    client = product.app.extensions["redis"]
    AppWorker.app = product.app
    queues = [Queue("outside", connection=client, serializer=JSONSerializer)]
    return AppWorker(queues, connection=client, serializer=JSONSerializer)


def test_of_what_waits_for_mpesa_only_the_piece_in_the_air_is_ended(product: Product, worker: AppWorker) -> None:
    waiting, done = [1, 2, 3], []

    def work(row_id: int) -> None:
        worker.handle_warm_shutdown_request()  # SIGTERM, while the first is in the air
        done.append(row_id)
        waiting.remove(row_id)

    def due(_full: Collection[int]) -> list[tuple[int, int]]:
        return [(row_id, 1) for row_id in waiting]

    errand = gateway_pool.Errand(due, work, lambda _row, _error: None, lambda _gateway: 1)
    with product.inside():
        assert gateway_pool.run(errand, threads=4, lasting=timedelta(seconds=120)) == 1
    assert (done, waiting) == ([1], [2, 3])


def test_no_further_message_is_taken_up(product: Product, worker: AppWorker) -> None:
    with product.inside():
        with transaction():
            put(1, "sms", "first", {"to": "254712345678", "text": "One."})
        worker.handle_warm_shutdown_request()
        deliver_due()
        assert db.session.query(OutboxItem.state, OutboxItem.attempts).all() == [("new", 0)]
