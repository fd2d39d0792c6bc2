"""Callbacks that come at once: kept by one transaction, acknowledged after it, and none at another's cost."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError

from portal.kernel import bulk, clock
from portal.kernel.db import db
from portal.payments.inbox import inbox, together
from portal.payments.inbox.together import Row, Together
from portal.payments.models import InboxItem
from tests.support.clock import wait_until
from tests.support.product import Product


class Slow:
    """A database whose first answer is held until it may go on."""

    def __init__(self, *, fails: Callable[[Sequence[Row]], Exception | None] = lambda _rows: None) -> None:
        self.written: list[list[Any]] = []
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.fails = fails

    def __call__(self, rows: Sequence[Row]) -> None:
        self.written.append([row["n"] for row in rows])
        if not self.asked.is_set():
            self.asked.set()
            assert self.may_answer.wait(30)
        if error := self.fails(rows):
            raise error


def kept_at_once(slow: Slow, count: int) -> dict[int, Exception | None]:
    """Bring row 0, and while that is being written the others; what each was told."""
    keeps, told = Together(slow), dict[int, Exception | None]()

    def bring(number: int) -> None:
        try:
            keeps.keep({"n": number})
            told[number] = None
        except Exception as error:
            told[number] = error

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(count)]
    threads[0].start()
    assert slow.asked.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(keeps._waiting) == count - 1)
    assert told == {}, "nobody is acknowledged before the commit"
    slow.may_answer.set()
    for thread in threads:
        thread.join()
    return told


def test_who_comes_while_another_writes_is_written_with_all_that_wait() -> None:
    slow = Slow()
    assert kept_at_once(slow, 9) == dict.fromkeys(range(9))
    assert slow.written[0] == [0] and [sorted(rows) for rows in slow.written[1:]] == [[1, 2, 3, 4, 5, 6, 7, 8]]


def test_a_row_that_no_database_takes_costs_no_other_its_place() -> None:
    slow = Slow(fails=lambda rows: DataError("", {}, Exception()) if 4 in [row["n"] for row in rows] else None)
    told = kept_at_once(slow, 6)
    assert {number for number, error in told.items() if error is not None} == {4} and isinstance(told[4], DataError)


def test_who_waits_while_the_database_is_away_need_not_ask_it_again() -> None:
    slow = Slow(fails=lambda _rows: OperationalError("", {}, Exception()))
    told = kept_at_once(slow, 6)
    assert {type(error) for error in told.values()} == {OperationalError} and slow.written == [[0]]


def test_a_fault_that_nobody_foresaw_is_told_to_each_in_words_that_send_it_to_the_disk() -> None:
    """Whoever happens to write for the others is not the one who brought what cannot be written."""
    slow = Slow(fails=lambda rows: ValueError("half a character") if len(rows) > 1 else None)
    told = kept_at_once(slow, 5)
    assert told.pop(0) is None and {type(error) for error in told.values()} == {SQLAlchemyError} and len(told) == 4


class _Stopped(BaseException):
    pass


def test_who_was_written_by_one_that_was_stopped_is_told_that_it_failed() -> None:
    def stop(rows: Sequence[Row]) -> Exception | None:
        if len(rows) > 1:
            raise _Stopped
        return None

    slow, told = Slow(fails=stop), list[str]()
    keeps = Together(slow)

    def bring(number: int) -> None:
        try:
            keeps.keep({"n": number})
        except BaseException as error:
            told.append(type(error).__name__)

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(4)]
    threads[0].start()
    assert slow.asked.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(keeps._waiting) == 3)
    slow.may_answer.set()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["SQLAlchemyError", "SQLAlchemyError", "_Stopped"]


def test_callbacks_of_many_threads_are_kept_each_once(either_product: Product) -> None:
    product, hook = either_product, either_product.hook()
    paths = [f"{hook}/stk/{number:040x}" for number in range(12)] * 2  # each is told twice

    def bring(path: str) -> None:
        assert product.client().post(path, json={"of": path}).status_code == 200

    threads = [threading.Thread(target=bring, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with product.inside():
        kept = db.session.query(InboxItem).all()
        assert sorted(one.push_token or "" for one in kept) == [f"{number:040x}" for number in range(12)]
        assert {(one.state, one.attempts, one.outcome, one.is_foreign) for one in kept} == {("new", 0, "", False)}
        assert inbox.depth() == 12 and all(one.received_at <= clock.now() for one in kept)


def test_a_row_at_fault_is_refused_and_its_neighbours_are_kept(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the real database: half of what is written together has a gateway that does not exist."""
    product, rows = either_product, list[Row]()
    monkeypatch.setattr(together, "keep", rows.append)
    hook = product.hook()
    for number in range(4):
        product.client().post(f"{hook}/stk/{number:040x}", json={"n": number})
    with product.inside():
        mixed = [row | ({"gateway_id": 999_999} if at % 2 else {}) for at, row in enumerate(rows)]
        brought = [together._Brought(row) for row in mixed]
        Together(together._insert)._write_each(brought)
        assert [type(one.error).__name__ for one in brought] == ["NoneType", "IntegrityError"] * 2
        assert db.session.query(InboxItem).count() == 2


def test_two_processes_that_bring_the_same_callbacks_wait_in_no_circle(
    postgresql_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-Pesa tells twice, and each process has both words at once: a deadlock sent all of it to the disk."""
    product, rows, errors = postgresql_product, list[Row](), list[Exception]()
    monkeypatch.setattr(together, "keep", rows.append)
    for number in range(3):
        product.client().post(f"{product.hook()}/stk/{number:040x}", json={"n": number})
    one, between, other = sorted(rows, key=lambda row: str(row["dedupe"]))

    def bring(brought: list[Row]) -> None:
        with product.app.app_context():
            try:
                together._insert(brought)
            except OperationalError as error:
                errors.append(error)

    orders = [[one, between, other], [other, between, one]]
    threads = [threading.Thread(target=bring, args=(order,)) for order in orders]
    with product.app.app_context(), db.engine.connect() as third, db.engine.connect() as looker:
        bulk.insert(third, InboxItem, [between], unless="dedupe")  # and holds both up in the middle
        for thread in threads:
            thread.start()

        def both_wait() -> bool:
            waiting = looker.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).scalar_one()
            looker.rollback()
            return waiting == 2

        wait_until(both_wait)
        third.rollback()
        for thread in threads:
            thread.join()
        assert errors == [] and db.session.query(InboxItem).count() == 3
