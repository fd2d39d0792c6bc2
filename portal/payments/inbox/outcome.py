"""Where a settled inbox row goes."""

from dataclasses import dataclass

AGAIN = "again"  # no state: it stays new


@dataclass(frozen=True)
class CallbackOutcome:
    """Where an inbox row goes, and why. state: an InboxState, or AGAIN.

    AGAIN: it is looked at once more in a minute. asks: M-Pesa is asked about its push now; asks_receipt: and about this
    receipt, now or once the push could have been told of, until M-Pesa has answered.
    """

    state: str
    why: str
    push_id: int | None = None
    asks: bool = False
    asks_receipt: str = ""
