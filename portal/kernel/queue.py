"""The queues. A job carries no state: it says "look at the database", and the sweeper would find it anyway.

`enqueue` is called after a commit. It never fails a request: with Redis away the row is found by the sweep. A job that
waits already is not enqueued again, so a burst of callbacks makes one, not thousands: what runs it takes its mark
away first and looks afterwards, so nothing committed before it looks can be missed.
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
PAUSE_S = 0.02  # in a burst: else one would be enqueued as fast as callbacks come, beside them
WAITS_S = 15  # a job whose worker died is enqueued again after this long; the sweeper is quicker


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
PAID = Job(
    "paid",
    MONEY,
    "portal.fulfilment.deliver_paid",
    ("portal.payments.models.TO_DELIVER", "portal.payments.models.TO_LOOK_AT"),
)
WITHDRAW = Job("withdraw", MONEY, "portal.fulfilment.withdraw_unpaid", ("portal.payments.models.TO_WITHDRAW",))
LINES = Job(
    "lines",
    MONEY,
    "portal.hotspot.pppoe.keeping.keep",
    ("portal.payments.models.TO_SPEND", "portal.hotspot.pppoe.models.TO_LOOK_AT"),
)
OUTBOX = Job("outbox", OUTSIDE, "portal.outbox.deliver.deliver_orders", ("portal.outbox.models.TO_CARRY",))
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
GIVE_BACK = Job(
    "give-back", OUTSIDE, "portal.hotspot.sites.outages.give_back", ("portal.hotspot.sites.models.TO_GIVE_BACK",)
)
RELEASE = Job("release", OUTSIDE, "portal.clinic.appointments.release_unpaid", ("portal.clinic.models.TO_RELEASE",))
WAITING = Job("waiting", OUTSIDE, "portal.fulfilment.offer_waiting", ("portal.clinic.models.TO_OFFER",))
CHAIN = Job("chain", OUTSIDE, "portal.audit.jobs.chain_all", ("portal.audit.models.TO_CHAIN",))
SPREAD = Job("spread", MONEY, "portal.hotspot.routers.reconcile.spread", ("portal.hotspot.models.TO_PROVISION",))
BRING_ABOUT = Job(
    "bring-about", OUTSIDE, "portal.hotspot.routers.reconcile.bring_about", ("portal.hotspot.models.TO_BRING_ABOUT",)
)
SWEEP_ROUTERS = Job(
    "sweep-routers", OUTSIDE, "portal.hotspot.routers.sweep.sweep", ("portal.hotspot.routers.models.TO_SWEEP",)
)
REMIND = Job("remind", MONEY, "portal.hotspot.reminders.remind")
MEETINGS = Job("meetings", OUTSIDE, "portal.clinic.meetings.make.make_due", ("portal.clinic.meetings.models.TO_MAKE",))
CHECK_MEETINGS = Job(
    "check-meetings", OUTSIDE, "portal.clinic.meetings.settings.check_due", ("portal.clinic.meetings.models.TO_CHECK",)
)
REMIND_VISITS = Job("remind-visits", MONEY, "portal.clinic.reminders.remind", ("portal.clinic.models.TO_REMIND",))
FAILED = Job("failed", MONEY, "portal.fulfilment.tell_failed", ("portal.payments.models.TO_TELL",))
REPORTS = Job(
    "sms-reports", OUTSIDE, "portal.notifications.reports.take_in", ("portal.notifications.models.REPORT_DUE",)
)
REPLIES = Job("sms-replies", MONEY, "portal.clinic.replies.answer", ("portal.notifications.models.REPLY_DUE",))
JOBS = (
    SEND_PUSHES, DRAIN, PAID, WITHDRAW, LINES, OUTBOX, QUERIES, REQUESTS, PULL, RELEASE, WAITING, CHAIN, SPREAD,
    BRING_ABOUT, SWEEP_ROUTERS, GIVE_BACK, REMIND, MEETINGS, CHECK_MEETINGS, REMIND_VISITS, FAILED, REPORTS, REPLIES,
)  # fmt: skip


def connection() -> redis.Redis:
    """This process's Redis client."""
    return ports.at_hand("redis", redis.Redis)


def enqueue(job: Job) -> None:
    """Ask a worker to look. After the commit; never raises."""
    try:
        if connection().set(f"waits:{job.name}", "1", nx=True, ex=WAITS_S):
            Queue(job.queue, connection=connection(), serializer=JSONSerializer).enqueue(
                "portal.kernel.queue.run", job.name, job_timeout=JOB_TIMEOUT_S, result_ttl=0, failure_ttl=86_400
            )
    except redis.RedisError as error:
        logger.warning("job_not_enqueued", job=job.name, error=type(error).__name__)


class Enqueuer:
    """Enqueues from a thread of its own: a request only says that it should, and a burst of them does so once.

    Said after the commit and cleared before it is done, so nothing committed is left alone while the process lives; if
    it dies in between, the sweeper finds the row.
    """

    def __init__(self, surroundings: Callable[[], AbstractContextManager[object]], job: Job) -> None:
        """surroundings: opens what the thread does it in (`ports.surroundings`)."""
        self._surroundings, self._job = surroundings, job
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def enqueue(self) -> None:
        """Have it enqueued within a moment. Never waits, never raises."""
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None:
            with self._guard:
                if self._thread is None:  # lazily: a server may fork after the application is made
                    self._thread = threading.Thread(target=self._run, name=f"enqueue-{self._job.name}", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            with self._surroundings():
                try:
                    enqueue(self._job)
                except Exception as error:  # this thread works for the whole process: it must not end
                    logger.error("enqueuer_failed", job=self._job.name, error=repr(error)[:300])
            time.sleep(PAUSE_S)


def run(name: str) -> None:
    """What a worker runs: take the mark away, then look."""
    job = next(job for job in JOBS if job.name == name)
    connection().delete(f"waits:{name}")
    import_attribute(job.job)()


_is_leaving = False


def leave() -> None:
    """From now on the jobs of this process begin nothing new: it is to end once what they have begun has ended."""
    global _is_leaving
    _is_leaving = True


def is_leaving() -> bool:
    """Whether a job that would go on to the next row should leave that to others."""
    return _is_leaving


# One command for all of them: each of its own would cost as much as to open what it tells of.
_PUBLISH = "for at = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[at], ARGV[at + 1]) end"


def publish(channel: str, message: str) -> None:
    """Tell whoever listens on a Redis channel (`clinic:7`, `hotspot:3`, …). Never raises."""
    publish_all([(channel, message)])


def publish_all(told: Sequence[tuple[str, str]]) -> None:
    """The same of many (channel, message) pairs at once."""
    if not told:
        return
    try:
        connection().eval(_PUBLISH, 0, *(word for pair in told for word in pair))
    except redis.RedisError as error:
        logger.warning("event_not_published", channel=told[0][0], of=len(told), error=type(error).__name__)
