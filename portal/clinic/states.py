"""What rows of a clinic can be."""

from enum import StrEnum


class WishState(StrEnum):
    """Of who waits for a time: unproved until the phone is shown to be theirs."""

    UNPROVED = "unproved"
    WAITING = "waiting"
    OFFERED = "offered"
    TAKEN = "taken"
    WITHDRAWN = "withdrawn"
    OVER = "over"


IN_LINE = (WishState.WAITING, WishState.OFFERED)


class DoorState(StrEnum):
    """Of an online visit's door."""

    UNPAID = "unpaid"
    EARLY = "early"
    READY = "ready"
    ENDED = "ended"


class SentState(StrEnum):
    """What became of a message: failed is to be told another way, settled was."""

    WAITING = "waiting"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    SETTLED = "settled"
    SKIPPED = "skipped"
