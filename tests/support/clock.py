"""Time: moved for the product, waited for where another thread works."""

import time
from datetime import timedelta
from typing import Any

from portal.kernel import clock


def wait_until(is_true: Any, *, within_s: float = 30.0) -> None:
    """Wait for something another thread does. The limit is for what never comes: a busy machine is slow."""
    until = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def later(seconds: float) -> None:
    """Move the product's clock."""
    clock.move(timedelta(seconds=seconds))
