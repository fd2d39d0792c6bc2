"""The doorbell. A job carries no state: it says "look at the database", and the sweeper would find it anyway.

`ring` is called after a commit. It never fails a request: with Redis away the row is found by the sweep. A bell that
is already ringing is not rung again, so a burst of callbacks makes one job, not thousands: the job takes the bell
down first and looks afterwards, so nothing committed before it looks can be missed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import redis
from rq import Queue
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from portal.kernel import ports
from portal.kernel.logs import logger

PUSH, MONEY, OUTSIDE = "push", "money", "outside"  # push carries nothing but pushes; outside waits on others
QUEUES = (PUSH, MONEY, OUTSIDE)
JOB_TIMEOUT_S = 600
BETWEEN_RINGS_S = 0.02  # in a burst: else it would ring as fast as callbacks come, beside them
BELL_SECONDS = 15  # a bell whose worker died is rung again after this long; the sweeper is quicker


@dataclass(frozen=True)
class Job:
    """A job that may be wanted many times but needs to run once.

    job: dotted name of a function without arguments. waiting: of the to-do lists (`due.Due`) that it works off.
    """

    name: str
    queue: str
    job: str
    waiting: tuple[str, ...] = ()

    def has_work(self) -> bool:
        """Whether a row waits for it whose turn has come."""
        todos: list[Any] = [import_attribute(name) for name in self.waiting]
        return any(todo.has_work() for todo in todos)


# What stands above this floor is named, not imported.
SEND_PUSHES = Job(
    "send-pushes", PUSH, "portal.payments.processing.jobs.send_pushes", ("portal.payments.models.TO_SEND",)
)
DRAIN = Job("drain", MONEY, "portal.fulfilment.drain", ("portal.payments.models.TO_SETTLE",))
PAID = Job("paid", MONEY, "portal.fulfilment.deliver_paid", ("portal.payments.models.TO_DELIVER",))
WITHDRAW = Job("withdraw", MONEY, "portal.fulfilment.withdraw_unpaid", ("portal.payments.models.TO_WITHDRAW",))
OUTBOX = Job("outbox", OUTSIDE, "portal.outbox.deliver.deliver_due", ("portal.outbox.models.TO_CARRY",))
QUERIES = Job("queries", OUTSIDE, "portal.payments.processing.jobs.ask_mpesa", ("portal.payments.models.TO_QUERY",))
REQUESTS = Job(
    "requests",
    OUTSIDE,
    "portal.payments.processing.request_jobs.send_due",
    (
        "portal.payments.models.REQUEST_DUE",
        "portal.payments.models.TO_CONFIRM",
        "portal.payments.models.REFUND_DUE",
        "portal.payments.models.RECEIPT_UNKNOWN",
    ),
)
PULL = Job("pull", OUTSIDE, "portal.payments.c2b.pull.pull_due")
CHAIN = Job("chain", OUTSIDE, "portal.audit.jobs.chain_all", ("portal.audit.models.TO_CHAIN",))
JOBS = (SEND_PUSHES, DRAIN, PAID, WITHDRAW, OUTBOX, QUERIES, REQUESTS, PULL, CHAIN)


def connection() -> redis.Redis:
    """This process's Redis client."""
    return ports.at_hand("redis", redis.Redis)


def enqueue(bell: Job) -> None:
    """Ask a worker to look. After the commit; never raises."""
    try:
        if connection().set(f"bell:{bell.name}", "1", nx=True, ex=BELL_SECONDS):
            Queue(bell.queue, connection=connection(), serializer=JSONSerializer).enqueue(
                "portal.kernel.queue.answer", bell.name, job_timeout=JOB_TIMEOUT_S, result_ttl=0, failure_ttl=86_400
            )
    except redis.RedisError as error:
        logger.warning("bell_not_rung", bell=bell.name, error=type(error).__name__)


class Enqueuer:
    """Rings from a thread of its own: a request only says that it should, and a burst of them is rung once.

    Said after the commit and cleared before the ring, so nothing committed is left unrung while the process lives;
    if it dies in between, the sweeper finds the row.
    """

    def __init__(self, surroundings: Callable[[], AbstractContextManager[object]], bell: Job) -> None:
        """surroundings: opens what the thread rings with (`ports.surroundings`)."""
        self._surroundings, self._bell = surroundings, bell
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def enqueue(self) -> None:
        """Have it rung within a moment. Never waits, never raises."""
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None:
            with self._guard:
                if self._thread is None:  # lazily: a server may fork after the application is made
                    self._thread = threading.Thread(target=self._run, name=f"ring-{self._bell.name}", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            with self._surroundings():
                try:
                    enqueue(self._bell)
                except Exception as error:  # this thread rings for the whole process: it must not end
                    logger.error("enqueuer_failed", bell=self._bell.name, error=repr(error)[:300])
            time.sleep(BETWEEN_RINGS_S)


def answer(name: str) -> None:
    """What a worker runs: take the bell down, then look."""
    bell = next(bell for bell in JOBS if bell.name == name)
    connection().delete(f"bell:{name}")
    import_attribute(bell.job)()


_is_leaving = False


def leave() -> None:
    """From now on the jobs of this process begin nothing new: it is to end once what they have begun has ended."""
    global _is_leaving
    _is_leaving = True


def is_leaving() -> bool:
    """Whether a job that would go on to the next row should leave that to others."""
    return _is_leaving


def publish(channel: str, message: str) -> None:
    """Tell whoever listens on a Redis channel (`clinic:7`, `hotspot:3`, …). Never raises."""
    publish_all([(channel, message)])


def publish_all(told: Sequence[tuple[str, str]]) -> None:
    """The same of many (channel, message) pairs at once."""
    if not told:
        return
    try:
        with connection().pipeline(transaction=False) as pipeline:
            for channel, message in told:
                pipeline.publish(channel, message)
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("event_not_published", channel=told[0][0], of=len(told), error=type(error).__name__)
