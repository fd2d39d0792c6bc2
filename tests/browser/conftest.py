"""A product that works by itself, and phones to answer on: what the tests with a real browser share."""

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import make_url

from tests.support.application import Serving
from tests.support.journeys import Phones
from tests.support.product import Product

PAUSE_S, IDLE_PAUSES = 0.1, 10


@pytest.fixture
def open_product(served: Product) -> Iterator[Product]:
    """The product at work: jobs run while the page is looked at, so that it changes by itself.

    Where nobody has written anything they look once a second, for what became due.
    """
    is_over, failures = threading.Event(), []
    file = make_url(served.app.config["PORTAL"].database_url).database or ""

    def work() -> None:
        with closing(sqlite3.connect(file)) as watch:
            seen = 0
            for pause in itertools.count():
                if is_over.wait(PAUSE_S):
                    return
                written = watch.execute("PRAGMA data_version").fetchone()[0]  # moves with whatever anybody writes
                if written != seen or pause % IDLE_PAUSES == 0:
                    seen = written
                    try:
                        served.work(rounds=1)
                    except Exception as error:
                        failures.append(error)
                        return

    worker = threading.Thread(target=work)
    worker.start()
    yield served
    is_over.set()
    worker.join()
    assert not failures, failures


@pytest.fixture
def phones(simulator: Serving) -> Phones:
    """The handsets of the simulated M-Pesa."""
    return Phones(simulator.url)


@pytest.fixture
def no_problems(page_problems: list[str]) -> Iterator[Callable[[], None]]:
    """At the end no page has complained: no script error, nothing that the content security policy refused."""

    def check() -> None:
        # a form that was refused on purpose answers 4xx, which Chromium notes as a failed load
        assert [told for told in page_problems if "status of 4" not in told] == []

    yield check
    check()
