"""Locks are taken in the one order that `payments` promises: two workers wait for each other, never on each other."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from portal.kernel.db import db, transaction
from portal.payments.processing import request_jobs
from portal.payments.refunds import refunds
from tests.support.daraja import receipt
from tests.support.environments import switch
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, refund_asked, refund_sent, result, result_told, with_initiator

ORDER = ["inbox", "mpesa_requests", "payments", "transactions", "refunds"]
LOCKING = re.compile(r"^UPDATE (\w+) |FROM (\w+)\b.* FOR (?:NO KEY )?UPDATE", re.DOTALL)


@contextmanager
def locks(product: Product) -> Iterator[list[list[str]]]:
    """The tables in which each transaction locked rows, in the order of the first lock in each."""
    with product.inside():
        engine = db.engine
    taken: list[list[str]] = [[]]

    def on_begin(_connection: Any) -> None:
        taken.append([])

    def on_execute(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if found := LOCKING.search(statement):
            table = found.group(1) or found.group(2)
            if table in ORDER and table not in taken[-1]:
                taken[-1].append(table)

    event.listen(engine, "begin", on_begin)
    event.listen(engine, "before_cursor_execute", on_execute)
    try:
        yield taken
    finally:
        event.remove(engine, "begin", on_begin)
        event.remove(engine, "before_cursor_execute", on_execute)


def in_order(taken: list[list[str]]) -> bool:
    return all(tables == sorted(tables, key=ORDER.index) for tables in taken)


@pytest.fixture
def paid(postgresql_product: Product) -> tuple[Product, str]:
    """(product, token) of an invoice of KES 1,000 that was paid."""
    with_initiator(postgresql_product)
    number, token = postgresql_product.invoice(1_000)
    paid_by_hand(postgresql_product, 1_000, number, receipt(1))
    return postgresql_product, token


@pytest.mark.parametrize("method", ["b2c", "reversal"])
@pytest.mark.parametrize("code", ["0", "2040", "1"])
def test_a_refund_from_its_asking_to_its_result(paid: tuple[Product, str], method: str, code: str) -> None:
    product, token = paid
    with locks(product) as taken:
        (refund_id,) = refund_asked(product, token, method=method)
        request = refund_sent(product, refund_id)
        result_told(product, request, result(code))
        result_told(product, request, result("0"))  # after a failure, too
    assert in_order(taken), taken
    assert any({"mpesa_requests", "payments", "transactions", "refunds"} <= set(tables) for tables in taken)


def test_a_refund_that_cannot_be_sent_and_one_that_is_ended_before_it_leaves(paid: tuple[Product, str]) -> None:
    product, token = paid
    first, second = refund_asked(product, token, 40_000)[0], refund_asked(product, token, 30_000)[0]
    with locks(product) as taken, product.app.app_context():
        request_jobs.send_due()  # nobody listens where M-Pesa should be
        with transaction():
            refunds.begin(second)
        with transaction():
            refunds.fail(refunds.lock(second), "A person said no.", actor="test")
        request_jobs.send_due()
        with transaction():
            refunds.unknown(refunds.lock(first), "No result came in time.")
    assert in_order(taken), taken
    assert any({"mpesa_requests", "payments", "transactions", "refunds"} <= set(tables) for tables in taken)


def test_a_switch_of_environments_with_refunds_that_wait(paid: tuple[Product, str]) -> None:
    product, token = paid
    product.invoice(700)
    refund_id = refund_asked(product, token, 40_000)[0]
    with product.app.app_context():
        with transaction():
            assert refunds.begin(refund_id) is not None
        with transaction():
            refunds.not_sent(refunds.lock(refund_id), "Busy.", sends=1, may_retry=True)
    with locks(product) as taken:
        switch(product)
    assert in_order(taken), taken
    assert any({"mpesa_requests", "payments", "transactions", "refunds"} <= set(tables) for tables in taken)


def test_a_prompt_that_is_answered_and_its_echo(postgresql_product: Product) -> None:
    product = postgresql_product
    number, token = product.invoice(500)
    push = product.pushed(token)
    with locks(product) as taken:
        product.callback(push, receipt=receipt(1))
        product.settle()
        paid_by_hand(product, 500, number, receipt(1))
        paid_by_hand(product, 700, number, receipt(2))
    assert in_order(taken), taken
    assert any("payments" in tables for tables in taken)
