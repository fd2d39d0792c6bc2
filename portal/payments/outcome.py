"""Where a settled inbox row goes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Where an inbox row goes: `done`, `waiting`, `rejected` or `again`, and why.

    again: it is looked at once more in a minute. asks: about its push, asks_receipt: about this receipt, M-Pesa is
    asked now.
    """

    state: str
    why: str
    push_id: int | None = None
    asks: bool = False
    asks_receipt: str = ""
