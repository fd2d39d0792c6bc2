"""Live events: what just happened, as JSON on Redis channels, for whoever follows along. docs/events.md has the list.

    clinic:{id}, hotspot:{id}    the tenant's number
    patient:{id}, appointment:{id}    the id that the API gives

Published after the commit, so what is heard is so; nobody waits for a listener, and who was not listening asks the API.
An event names no person and no phone.
"""

import json
from collections.abc import Iterable
from typing import Any

from portal.kernel import clock, queue
from portal.kernel.db import after_commit

PAID, FAILED, REFUNDED = "paid", "failed", "refunded"
CONFIRMED, CANCELLED = "confirmed", "cancelled"
ENDED, VOIDED = "ended", "voided"  # what money bought is over: access to the internet, a code that was sold


def message(event: str, **facts: Any) -> str:
    """The event as it goes over the wire. Amounts are KES, times RFC 3339."""
    return json.dumps({"event": event, **facts, "at": clock.rfc3339(clock.now())})


def tell(channels: Iterable[str], event: str, **facts: Any) -> None:
    """Publish it on these channels once what is written now is committed."""
    said = message(event, **facts)
    told = [(channel, said) for channel in channels]
    after_commit(lambda: queue.publish_all(told))
