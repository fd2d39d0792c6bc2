"""Several money workers at once, and rows that fail: nobody waits in a circle, and nothing is given up too soon."""

import random
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from portal import fulfilment
from portal.kernel import bulk, clock
from portal.kernel.db import db
from portal.payments.models import InboxItem, Payment, Transaction
from portal.payments.processing import callbacks, jobs, sets
from tests.support.clock import later
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product

WORKERS = 4


def waiting(product: Product) -> int:
    with product.inside():
        return db.session.query(InboxItem).filter_by(state="new").count()


def row(product: Product, item_id: int) -> tuple[str, int, float]:
    """(state, attempts, seconds until its next turn)."""
    with product.inside():
        item = db.session.get_one(InboxItem, item_id)
        return item.state, item.attempts, round((item.next_at - clock.now()).total_seconds())


def drain(product: Product) -> None:
    with product.inside():
        fulfilment.drain()


@pytest.fixture
def row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """No set is taken: every row goes the careful way."""
    monkeypatch.setattr(jobs, "_settle_set", lambda *_given: None)


def a_rush(product: Product, payments: int) -> list[str]:
    """Callbacks and echoes of so many payments, in no order, as M-Pesa sends them; the payments' tokens."""
    chance, hook = random.Random(4), product.hook()
    tokens = [product.invoice(100)[1] for _n in range(payments)]
    pushes = [product.pushed(token) for token in tokens]
    words = [(n + chance.uniform(0, 60), kind, n) for n in range(payments) for kind in ("stk", "c2b")]
    for _at, kind, n in sorted(words):
        if kind == "stk":
            product.callback(pushes[n], receipt=receipt(100 + n))
        else:
            echo = c2b_body(receipt=receipt(100 + n), amount=100, account=pushes[n].reference)
            product.client().post(f"{hook}/c2b/confirmation", json=echo)
    return tokens


def by_many_workers(product: Product) -> list[Exception]:
    """Settle all that waits by several workers; what went wrong for them."""
    errors: list[Exception] = []

    def work() -> None:
        for _turn in range(200):
            try:
                drain(product)
            except Exception as error:
                errors.append(error)
            if not waiting(product):
                return

    workers = [threading.Thread(target=work) for _worker in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return errors


@pytest.mark.parametrize("way", ["sets", "row_by_row"])
def test_a_rush_of_callbacks_and_echoes_is_settled_by_several_workers_without_a_deadlock(
    postgresql_product: Product, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, way: str
) -> None:
    """money.md C27: two workers took payments in the order of the inbox, met in circles, and were slower than one."""
    product, met = postgresql_product, list[str]()
    if way == "row_by_row":
        request.getfixturevalue("row_by_row")
    else:
        monkeypatch.setattr(jobs, "SET_ROWS", 15)  # several at once, which meet
    about_locks = jobs._is_about_locks

    def watched(error: Exception) -> bool:
        if is_lock := about_locks(error):
            met.append(repr(error)[:200])
        return is_lock

    monkeypatch.setattr(jobs, "_is_about_locks", watched)
    tokens = a_rush(product, 90)
    assert by_many_workers(product) == [] and met == []
    with product.inside():
        assert {(item.state, item.attempts) for item in db.session.query(InboxItem)} == {("done", 0)}
    product.settle()
    assert {product.status(token)["status"] for token in tokens} == {"paid"} and product.books() == []


def test_what_another_worker_holds_hides_nothing_that_came_after_it(
    postgresql_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that is full of rows about one payment that somebody holds."""
    product = postgresql_product
    monkeypatch.setattr(jobs, "SET_ROWS", 2)
    monkeypatch.setattr(jobs, "_wait_a_moment", lambda: None)
    popular, popular_token = product.invoice(400)
    for number in range(4):
        body = c2b_body(receipt=receipt(number), amount=100, account=popular)
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    last = product.invoice(100)[1]
    product.callback(product.pushed(last), receipt=receipt(9))
    with product.app.app_context():
        held = select(Payment.id).where(Payment.token == popular_token).with_for_update()
        with db.engine.begin() as another:
            another.execute(held)
            drain(product)
            assert product.status(last)["status"] == "paid" and waiting(product) == 4
        drain(product)
    assert product.status(popular_token)["status"] == "paid" and waiting(product) == 0 and product.books() == []


def test_a_receipt_that_another_worker_booked_meanwhile_costs_no_other_row_its_set(
    postgresql_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two payments named by the same receipt, told to two workers: the second one's set met the unique key."""
    product = postgresql_product
    tokens = [product.invoice(100)[1] for _n in range(3)]
    pushes = [product.pushed(token) for token in tokens]
    product.callback(pushes[0], receipt=receipt(1))
    product.callback(pushes[1], receipt=receipt(2))
    real, insert, taken = sets.settle_set, bulk.insert, list[sets.Taken]()

    def meanwhile(connection: Any, model: Any, rows: Any, **named: Any) -> None:
        if model is Transaction:
            monkeypatch.setattr(bulk, "insert", insert)
            worker = threading.Thread(target=by_another)
            worker.start()
            worker.join()
        insert(connection, model, rows, **named)

    def by_another() -> None:
        product.callback(pushes[2], receipt=receipt(1))
        drain(product)

    def watched(*given: Any, **named: Any) -> sets.Taken:
        taken.append(real(*given, **named))
        return taken[-1]

    monkeypatch.setattr(bulk, "insert", meanwhile)
    monkeypatch.setattr(sets, "settle_set", watched)
    drain(product)
    assert [(one.settled, len(one.odd)) for one in taken if one.settled] == [(1, 0), (1, 1)], "its set, then ours"
    assert [product.status(token)["status"] for token in tokens[1:]] == ["paid", "paid"] and product.books() == []


class _Met(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__("two workers met")
        self.sqlstate = sqlstate


@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "55P03"])
def test_a_set_that_met_another_worker_is_tried_again_as_a_set(
    product: Product, monkeypatch: pytest.MonkeyPatch, sqlstate: str
) -> None:
    token = product.invoice(100)[1]
    product.callback(product.pushed(token), receipt=receipt(1))
    real, failures = sets.settle_set, [OperationalError("UPDATE", {}, _Met(sqlstate)) for _time in range(3)]
    taken: list[sets.Taken] = []

    def meet(*given: Any, **named: Any) -> sets.Taken:
        if failures:
            raise failures.pop()
        taken.append(real(*given, **named))
        return taken[-1]

    monkeypatch.setattr(sets, "settle_set", meet)
    monkeypatch.setattr(jobs, "_wait_a_moment", lambda: None)
    drain(product)
    assert failures == [] and taken[0] == sets.Taken(settled=1, paid=1)
    with product.inside():
        item = db.session.query(InboxItem).one()
        assert (item.state, item.attempts) == ("done", 0)


@pytest.mark.usefixtures("row_by_row")
@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "55P03"])
def test_a_deadlock_is_tried_again_and_counts_as_no_attempt(
    product: Product, monkeypatch: pytest.MonkeyPatch, sqlstate: str
) -> None:
    """money.md C27: it waited for the next sweep; a lock timeout counted towards giving the callback up."""
    token = product.invoice(100)[1]
    product.callback(product.pushed(token), receipt=receipt(1))
    real, failures = callbacks.settle, [OperationalError("UPDATE", {}, _Met(sqlstate)) for _time in range(3)]

    def meet(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*given)

    monkeypatch.setattr(callbacks, "settle", meet)
    monkeypatch.setattr(jobs, "_wait_a_moment", lambda: None)
    drain(product)
    assert failures == []
    with product.inside():
        item = db.session.query(InboxItem).one()
        assert (item.state, item.attempts) == ("done", 0)


@pytest.mark.usefixtures("row_by_row")
def test_a_lock_that_is_never_to_be_had_leaves_the_callback_as_it_was(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md C27: no row is to blame for two workers that meet, however often they do."""
    token = product.invoice(100)[1]
    product.callback(product.pushed(token), receipt=receipt(1))

    def meet(*_given: Any) -> Any:
        raise OperationalError("UPDATE", {}, _Met("40P01"))

    with monkeypatch.context() as busy:
        busy.setattr(callbacks, "settle", meet)
        busy.setattr(jobs, "_wait_a_moment", lambda: None)
        with pytest.raises(OperationalError):
            drain(product)
    with product.inside():
        item = db.session.query(InboxItem).one()
        assert (item.state, item.attempts, item.outcome) == ("new", 0, "")
    product.settle()
    assert product.status(token)["status"] == "paid"


@pytest.mark.property(72)
@pytest.mark.usefixtures("row_by_row")
def test_a_row_at_fault_is_tried_after_2_10_and_60_s_then_dead_and_stops_no_other(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests.md C9: three tries with growing pauses; the mutation RETRY_AFTER_S=() went unnoticed."""
    product = either_product
    bad, good = product.invoice(100)[1], product.invoice(200)[1]
    bad_push, good_push = product.pushed(bad), product.pushed(good)
    product.callback(bad_push, receipt=receipt(1))
    product.callback(good_push, receipt=receipt(2))
    real = callbacks.settle

    def fail(item: InboxItem, body: str) -> Any:
        if item.push_token == bad_push.token:
            raise ZeroDivisionError("a mistake of ours")
        return real(item, body)

    monkeypatch.setattr(callbacks, "settle", fail)
    with product.inside():
        item_id = db.session.query(InboxItem.id).filter_by(push_token=bad_push.token).scalar()
    drain(product)
    assert product.status(good)["status"] == "paid"
    seen = [row(product, item_id)]
    for pause_s in (2, 10, 60):
        later(pause_s - 1)
        drain(product)
        assert row(product, item_id)[:2] == seen[-1][:2], "not before its time"
        later(1.5)
        drain(product)
        seen.append(row(product, item_id))
    assert [(state, attempts) for state, attempts, _wait in seen] == [("new", 1), ("new", 2), ("new", 3), ("dead", 4)]
    assert [wait for _state, _attempts, wait in seen[:3]] == [2, 10, 60]
    with product.inside():
        assert "ZeroDivisionError: a mistake of ours" in db.session.get_one(InboxItem, item_id).outcome
    later(86_400)
    drain(product)
    assert row(product, item_id)[:2] == ("dead", 4), "only a person brings it back"


@pytest.mark.parametrize(("rush_s", "on_sqlite"), [(3_600, [2, 2, 2, 0]), (0, [4, 2, 0])])
def test_a_backlog_is_taken_in_larger_sets_where_no_callback_would_wait_for_one(
    either_product: Product, monkeypatch: pytest.MonkeyPatch, rush_s: int, on_sqlite: list[int]
) -> None:
    product, sizes, settle_set = either_product, list[int](), sets.settle_set
    monkeypatch.setattr(jobs, "SET_ROWS", 2)
    monkeypatch.setattr(jobs, "BACKLOG_SET_ROWS", 4)
    monkeypatch.setattr(jobs, "RUSH", timedelta(seconds=rush_s))

    def watched(limit: int, *given: Any, **named: Any) -> sets.Taken:
        taken = settle_set(limit, *given, **named)
        sizes.append(taken.settled)
        return taken

    monkeypatch.setattr(sets, "settle_set", watched)
    for number, token in enumerate([product.invoice(100)[1] for _n in range(6)]):
        product.callback(product.pushed(token), receipt=receipt(number))
    drain(product)
    with product.inside():
        has_one_writer = db.engine.dialect.name == "sqlite"
    assert sizes == (on_sqlite if has_one_writer else [2, 2, 2, 0]) and product.books() == []
