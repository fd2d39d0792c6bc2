"""The worker: RQ jobs, each in its own application context, hence with its own database session."""

import gc
import threading
import time
from typing import Any

from flask import Flask
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from portal.kernel import queue
from portal.kernel.db import db
from portal.operations import health
from portal.outbox import deliver

BUSY_S = 180  # how long one job may keep a worker from saying so: longer than a session of sending
COLLECT_AFTER = 20_000, 10, 10  # new objects: a set makes thousands and keeps them; 700 would walk them all each time
LAST_MESSAGE_S = 5  # a message in the air is brought to its end: else it would be sent again
IDLE_S = 45  # how long an idle worker sleeps before it says that it is alive; its maintenance runs between


class AppWorker(SimpleWorker):
    """Runs jobs in its own process: no fork, so a job costs a millisecond. A crash is the supervisor's to mend."""

    app: Flask

    def heartbeat(self, *arguments: Any, **named: Any) -> None:
        super().heartbeat(*arguments, **named)
        self._say_alive(health.SEEN_WITHIN_S)

    def _say_alive(self, for_s: int) -> None:
        with self.app.app_context():
            for name in self.queue_names():
                health.say_alive(f"worker_{name}", for_s=for_s)

    def handle_warm_shutdown_request(self) -> None:
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]  # RQ says none
        queue.leave()

    def perform_job(self, job: Job, queue: Queue) -> bool:
        self._say_alive(BUSY_S)
        with self.app.app_context():
            try:
                return super().perform_job(job, queue)
            finally:
                db.session.remove()


def work(app: Flask, names: list[str]) -> None:
    """Run the jobs of these queues until told to stop."""
    gc.set_threshold(*COLLECT_AFTER)
    unknown = [name for name in names if name not in queue.QUEUES]
    if unknown:
        raise SystemExit(f"There is no queue {unknown[0]}. Queues: {', '.join(queue.QUEUES)}.")
    client = app.extensions["redis"].__class__.from_url(app.config["PORTAL"].redis_url)
    queues = [Queue(name, connection=client, serializer=JSONSerializer) for name in names]
    AppWorker.app = app
    worker = AppWorker(queues, connection=client, serializer=JSONSerializer, worker_ttl=IDLE_S, maintenance_interval=30)
    worker._say_alive(health.SEEN_WITHIN_S)
    over = threading.Event()
    carriers = _carriers_of_messages(app, over) if queue.OUTSIDE in names else []
    worker.work(logging_level="WARNING")
    over.set()
    until = time.monotonic() + LAST_MESSAGE_S
    for thread in carriers:
        thread.join(max(0.0, until - time.monotonic()))


def _carriers_of_messages(app: Flask, over: threading.Event) -> list[threading.Thread]:
    """A thread for each kind of message, beside the jobs of the worker that waits on others."""

    def carry(kind: str) -> None:
        with app.app_context():
            deliver.deliver_messages(kind, lambda: over.is_set() or queue.is_leaving())

    threads = [threading.Thread(target=carry, args=(kind,), name=kind, daemon=True) for kind in deliver.MESSAGES]
    for thread in threads:
        thread.start()
    return threads
