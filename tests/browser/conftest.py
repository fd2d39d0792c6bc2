"""A product that works by itself, and phones to answer on: what the tests with a real browser share."""

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.application import Serving
from tests.support.journeys import Phones
from tests.support.product import Product

PAUSE_S = 0.1


@pytest.fixture
def open_product(served: Product) -> Iterator[Product]:
    """The product at work: jobs run while the page is looked at, so that it changes by itself."""
    is_over, failures = threading.Event(), []

    def work() -> None:
        while not is_over.wait(PAUSE_S):
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
