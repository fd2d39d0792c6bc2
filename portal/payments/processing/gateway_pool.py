"""Work that waits on M-Pesa, several pieces at once: one gateway that is silent holds up no other's.

A gateway has at most so many pieces in the air, and while it has them nothing more of it is even looked for, so its
waiting rows cannot fill the list either. A piece that raises is put off and not tried again in this run.
"""

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

from portal.kernel import clock, ports, queue
from portal.kernel.db import db
from portal.kernel.logs import logger

LOOK_EVERY_S = 0.25
Piece = tuple[int, int]  # a row's id, and its gateway's


@dataclass(frozen=True)
class Errand:
    """What to do for many rows.

    due: the rows whose turn it is, without those of these gateways. work: for one row, in a thread and an application
    context of its own. put_off: what becomes of a row whose work raised, so that it does not come up again at once.
    most_of: how many rows of this gateway at once.
    """

    due: Callable[[Collection[int]], list[Piece]]
    work: Callable[[int], None]
    put_off: Callable[[int, Exception], None]
    most_of: Callable[[int], int]


def run(errand: Errand, *, threads: int, lasting: timedelta) -> int:
    """Do all that is due, and what becomes due meanwhile; how many rows. Nothing new is begun after `lasting`, or where
    this process is to end.
    """
    surroundings = ports.surroundings()
    until, done = clock.now() + lasting, 0
    in_flight: dict[int, tuple[int, Future[None]]] = {}
    failed: set[int] = set()
    with ThreadPoolExecutor(threads) as pool:
        while True:
            if clock.now() < until and not queue.is_leaving():
                for row_id, gateway_id in _next(errand, in_flight, failed, threads):
                    in_flight[row_id] = (gateway_id, pool.submit(_in, surroundings, errand.work, row_id))
            if not in_flight:
                return done
            wait([future for _gateway, future in in_flight.values()], LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            for row_id in [one for one, (_gateway, future) in in_flight.items() if future.done()]:
                done += 1
                error = in_flight.pop(row_id)[1].exception()
                if error is not None:
                    failed.add(row_id)
                    _put_off(errand, row_id, error)


def _next(
    errand: Errand, in_flight: dict[int, tuple[int, Future[None]]], failed: set[int], threads: int
) -> list[Piece]:
    """The rows to begin now."""
    of_each = Counter(gateway_id for gateway_id, _future in in_flight.values())
    full = [gateway_id for gateway_id, count in of_each.items() if count >= errand.most_of(gateway_id)]
    chosen: list[Piece] = []
    try:
        waiting = errand.due(full)
    finally:
        db.session.rollback()
    for row_id, gateway_id in waiting:
        if len(in_flight) + len(chosen) >= threads:
            break
        if row_id in in_flight or row_id in failed or of_each[gateway_id] >= errand.most_of(gateway_id):
            continue
        of_each[gateway_id] += 1
        chosen.append((row_id, gateway_id))
    return chosen


def _in(surroundings: Callable[[], AbstractContextManager[object]], work: Callable[[int], None], row_id: int) -> None:
    with surroundings():
        work(row_id)


def _put_off(errand: Errand, row_id: int, error: BaseException) -> None:
    name = getattr(errand.work, "__name__", "")
    logger.error("errand_failed", work=name, row=row_id, error=repr(error)[:300])
    if not isinstance(error, Exception):
        raise error
    try:
        errand.put_off(row_id, error)
    except Exception as again:
        db.session.rollback()
        logger.error("errand_not_put_off", work=name, row=row_id, error=repr(again)[:300])
