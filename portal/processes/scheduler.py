"""The scheduler: finds by query what a lost job, a crash or a restart left behind, every few seconds and at start.

Several machines may run one each: everything it does is safe to do twice.
"""

import signal
import time
from collections.abc import Callable
from types import FrameType

from flask import Flask

from portal.hotspot import sessions, upkeep
from portal.hotspot.sites import outages
from portal.kernel import queue
from portal.kernel.db import db, refresh_statistics
from portal.kernel.logs import logger
from portal.operations import health
from portal.payments import retention
from portal.payments.processing import jobs

EVERY_S = 2.0
CHAIN_EVERY = 5
CLOSE_EVERY = 300
STATISTICS_EVERY = 1_800  # rounds: an hour
FORGET_EVERY = 1_800  # an hour
SWEEP_ROUTERS_EVERY = 30  # rounds: a minute
NOTICE_EVERY = 15  # rounds: half a minute
CLOSE_SILENT_EVERY = 30  # rounds: a minute
BEGIN_EVERY = 5  # rounds: ten seconds
PULL_EVERY = 450  # rounds: a quarter of an hour
REMIND_EVERY = 15


def waiting() -> list[queue.Job]:
    """The jobs that have work now."""
    found = [job for job in queue.JOBS if job.has_work()]
    db.session.rollback()
    return found


def sweep(turn: int) -> bool:
    """One round: every job with work is enqueued, time passes for pushes, and the spool is taken in.

    Each step for itself: whatever stops one of them stops no other. False where not even the jobs could be enqueued.
    """
    is_well = _guarded("enqueue_jobs", lambda: _enqueue_waiting(turn))
    _guarded("expire_pushes", jobs.expire_pushes)
    _guarded("take_in_spool", _take_in_spool)
    if turn % NOTICE_EVERY == 0:
        _guarded("notice_outages", outages.notice)
    if turn % BEGIN_EVERY == 0:
        _guarded("begin_waiting", upkeep.begin_waiting)
    if turn % CLOSE_SILENT_EVERY == 0:
        _guarded("close_silent_sessions", sessions.sweep)
    if turn % CLOSE_EVERY == 0:
        _guarded("close_forgotten", jobs.close_forgotten)
        _guarded("expire_vouchers", upkeep.expire_vouchers)
    if turn % STATISTICS_EVERY == 0:
        _guarded("refresh_statistics", refresh_statistics)
    if turn % FORGET_EVERY == 0:
        _guarded("let_go_of_old", retention.sweep)
    if turn % SWEEP_ROUTERS_EVERY == 0:
        queue.enqueue(queue.SWEEP_ROUTERS)
    if turn % PULL_EVERY == 0:
        queue.enqueue(queue.PULL)
    if turn % REMIND_EVERY == 0:
        queue.enqueue(queue.REMIND)
    return is_well


def _guarded(step: str, work: Callable[[], object]) -> bool:
    try:
        work()
        return True
    except Exception as error:
        logger.error("sweep_step_failed", step=step, error=repr(error)[:300])
        return False
    finally:
        db.session.remove()


def _enqueue_waiting(turn: int) -> None:
    for job in waiting():
        if job is not queue.CHAIN or turn % CHAIN_EVERY == 0:
            queue.enqueue(job)


def _take_in_spool() -> None:
    if jobs.take_in_spool():
        queue.enqueue(queue.DRAIN)


def run(app: Flask) -> None:
    """Sweep until told to stop, as a program of its own."""
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sweep_until(app, lambda: stopped)


def sweep_until(app: Flask, is_over: Callable[[], bool]) -> None:
    """Sweep every few seconds, in any thread. is_over: asked after each round."""
    turn = 0
    while not is_over():
        with app.app_context():
            if sweep(turn):
                health.say_alive("scheduler")
        turn += 1
        time.sleep(EVERY_S)
