"""Hotspot payments that nobody pursued are closed after two days; what is being paid is none of them."""

import threading
from typing import Any

import pytest

from portal import fulfilment
from portal.kernel.db import db
from portal.payments.models import Payment
from portal.payments.processing import callbacks, jobs, sets
from tests.support.clock import later
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product

TWO_DAYS_S = 2 * 86_400


def asked_for(product: Product, phone: str) -> str:
    """paymentId of a package that this phone was asked to pay, however often it asks."""
    body = {"tenant": "mlima", "packageId": product.package(), "phone": phone, "macAddress": "AA:BB:CC:DD:EE:01"}
    answer = product.client().post("/api/portal/mpesa/initiate", json=body)
    assert answer.json is not None
    token: str = answer.json["paymentId"]
    return token


def close_forgotten(product: Product) -> None:
    with product.inside():
        jobs.close_forgotten()


def state_of(product: Product, token: str) -> str:
    with product.inside():
        return db.session.query(Payment).filter_by(token=token).one().state


def test_a_payment_whose_prompt_rings_is_not_forgotten(either_product: Product) -> None:
    """money.md A4: its age was counted from the first try, two days ago, though the phone rang."""
    product, phone = either_product, new_phone()
    token = asked_for(product, phone)
    product.callback(product.pushed(token, phone), code=1032)
    product.settle()
    later(TWO_DAYS_S - 60)
    with product.inside():
        jobs.close_forgotten()
    assert state_of(product, token) == "open"
    later(120)
    push = product.pushed(token, phone)
    close_forgotten(product)
    assert state_of(product, token) == "open"
    product.callback(push, receipt=receipt(5))
    product.work()
    said = product.status(token)
    assert said["status"] == "paid" and said["credentials"]["username"] and product.books() == []


def test_what_nobody_pursued_for_two_days_is_closed(either_product: Product) -> None:
    """money.md A4: the other side of it."""
    product, phone = either_product, new_phone()
    token = asked_for(product, phone)
    product.callback(product.pushed(token, phone), code=1032)
    product.settle()
    later(TWO_DAYS_S + 60)
    close_forgotten(product)
    assert state_of(product, token) == "closed"


@pytest.mark.parametrize("in_sets", [True, False])
def test_a_payment_that_is_being_settled_is_not_closed(
    either_product: Product, monkeypatch: pytest.MonkeyPatch, in_sets: bool
) -> None:
    """money.md A3: the sweep chose its rows before the payment was paid, and closed it after."""
    product, phone = either_product, new_phone()
    token = asked_for(product, phone)
    push = product.pushed(token, phone)
    later(TWO_DAYS_S + 60)
    product.callback(push, receipt=receipt(5))  # a late success
    settled, go_on, swept = threading.Event(), threading.Event(), threading.Event()
    way, name = (sets._Set, "work") if in_sets else (callbacks, "settle")
    real = getattr(way, name)

    def slow(*given: Any) -> Any:
        outcome = real(*given)
        settled.set()
        assert go_on.wait(60)  # the worker is between settling and its commit
        return outcome

    monkeypatch.setattr(way, name, slow)
    if not in_sets:
        monkeypatch.setattr(jobs, "_settle_set", lambda *_given: None)

    def drain() -> None:
        with product.inside():
            fulfilment.drain()

    def sweep() -> None:
        close_forgotten(product)
        swept.set()

    workers = [threading.Thread(target=drain), threading.Thread(target=sweep)]
    workers[0].start()
    assert settled.wait(60)
    workers[1].start()
    swept.wait(1)  # one that waits for the lock has read its rows by then; one that skips them is done
    go_on.set()
    for worker in workers:
        worker.join()
    product.work()
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=token).one()
        assert payment.state == "paid" and payment.fulfilled_at is not None
    assert product.status(token)["status"] == "paid" and product.books() == []
