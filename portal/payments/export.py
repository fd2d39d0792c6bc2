"""Transactions as rows of a table, for a spreadsheet."""

from collections.abc import Iterator

from portal.kernel import clock, money, personal
from portal.kernel.db import db
from portal.kernel.phone import as_shown
from portal.payments import search
from portal.payments.models import Transaction

PAGE_ROWS = 500
COLUMNS = (
    "id", "receipt", "amount", "channel", "payer", "reference", "occurredAt", "state", "environment", "payerName",
    "occurredAtNairobi",
)  # fmt: skip


def rows_of(tenant_id: int, wanted: search.Wanted, *, has_names: bool) -> Iterator[list[object]]:
    """All that a search finds, one row of COLUMNS a transaction; no connection is held while the reader reads.

    has_names: payers' names too, where M-Pesa told them.
    """
    cursor: str | None = ""
    while cursor is not None:
        items, cursor = search.page(tenant_id, wanted, cursor=cursor, rows=PAGE_ROWS)
        references = search.references_of(items)
        rows = [_row(item, references[item.id], has_name=has_names) for item in items]
        db.session.remove()
        yield from rows


def _row(item: Transaction, reference: str, *, has_name: bool) -> list[object]:
    return [
        item.uid,
        item.receipt,
        money.kes(item.amount_cents),
        item.channel,
        as_shown(item.payer_shown),
        reference,
        clock.rfc3339(item.occurred_at),
        item.state,
        item.environment,
        personal.open_text(item.payer_name_sealed, item.tenant_id) if has_name else None,
        f"{clock.nairobi(item.occurred_at):%Y-%m-%d %H:%M:%S}",
    ]
