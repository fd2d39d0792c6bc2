"""M-Pesa's own list of what customers paid."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from portal.gateways.messages.fields import MAX_DEPTH, Malformed, cents_of, instant_of, key_of, receipt_of, text_of
from portal.gateways.messages.payer import PayerId, payer_id
from portal.kernel import clock


@dataclass(frozen=True)
class PulledTransaction:
    """One row of Pull Transactions."""

    receipt: str
    amount_cents: int
    occurred_at: datetime | None
    payer: PayerId
    transaction_type: str
    account: str
    sender: str = field(default="", repr=False)
    organisation: str = ""


def parse_pulled(rows: object) -> tuple[list[PulledTransaction], int]:
    """The rows of a Pull answer, and how many were unreadable. `rows`: arrays of arrays, or that as text."""
    if isinstance(rows, str):
        try:
            rows = json.loads(rows, parse_float=Decimal)
        except (ValueError, RecursionError):
            return [], 1
    read, unreadable = [], 0
    for row in _flatten(rows):
        try:
            read.append(_pulled(row))
        except Malformed:
            unreadable += 1
    return read, unreadable


def _pulled(row: object) -> PulledTransaction:
    if not isinstance(row, Mapping):
        raise Malformed("A pulled row is no object.")
    fields = {key_of(name): value for name, value in row.items()}
    amount_cents = cents_of(fields.get("amount"), "amount")
    if amount_cents <= 0:
        raise Malformed("A pulled row's amount is not above zero.")
    return PulledTransaction(
        receipt=receipt_of(fields.get("transactionid"), "transactionId"),
        amount_cents=amount_cents,
        occurred_at=_pulled_at(fields.get("trxdate")),
        payer=payer_id(fields.get("msisdn")),
        transaction_type=text_of(fields.get("transactiontype")),
        account=text_of(fields.get("billreference")),
        sender=text_of(fields.get("sender")),
        organisation=text_of(fields.get("organizationname")),
    )


def _pulled_at(value: object) -> datetime | None:
    """Safaricom's samples end in Z, and nobody says whether that is meant. Without a zone it is Nairobi's."""
    text = text_of(value)
    if not text.startswith("20"):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return instant_of(text)
    return (at if at.tzinfo else at.replace(tzinfo=clock.NAIROBI)).astimezone(UTC)


def _flatten(value: object, depth: int = 0) -> Iterator[object]:
    if isinstance(value, list) and depth < MAX_DEPTH:
        for entry in value:
            yield from _flatten(entry, depth + 1)
    elif value not in (None, ""):
        yield value
