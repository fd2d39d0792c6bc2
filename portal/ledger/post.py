"""Posting journals and reading balances."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select

from portal.kernel import clock
from portal.kernel.db import db, upsert_nothing
from portal.kernel.errors import PortalError
from portal.ledger.models import Journal, Line

CLEARING = "mpesa_clearing"  # money that M-Pesa holds for the tenant
SUSPENSE = "suspense"  # money that arrived and has no home yet
REFUNDS_DUE = "refunds_due"  # promised back to payers, not sent yet


def wallet(customer_id: int) -> str:
    """The account of a customer's own money with the tenant: credits are theirs, so its balance is negative."""
    return f"wallet:{customer_id}"


def drawer(channel: str) -> str:
    """Where money that was recorded by hand lies: `drawer:cash`, `drawer:bank`, …"""
    return f"drawer:{channel}"


def revenue(purpose: str) -> str:
    """The account that a purpose's payments earn into, such as `revenue:clinic`."""
    return f"revenue:{purpose}"


class Unbalanced(PortalError):
    """The lines of a journal do not sum to zero."""


def post(
    tenant_id: int,
    environment: str,
    kind: str,
    reference: str,
    *,
    occurred_at: datetime,
    lines: dict[str, int],
) -> bool:
    """Post one journal; False where it was posted already. The caller commits.

    lines: account -> cents, debits positive, credits negative, summing to zero. Raises Unbalanced.
    """
    if sum(lines.values()) != 0:
        raise Unbalanced(f"Journal {kind} {reference} sums to {sum(lines.values())} cents; it must sum to 0.")
    journal_id = db.session.execute(
        upsert_nothing(
            Journal,
            unique=["tenant_id", "environment", "kind", "reference"],
            tenant_id=tenant_id,
            environment=environment,
            kind=kind,
            reference=reference,
            occurred_at=occurred_at,
        ).returning(Journal.id)
    ).scalar()
    if journal_id is None:
        return False
    db.session.add_all(
        Line(tenant_id=tenant_id, journal_id=journal_id, account=account, amount_cents=amount_cents)
        for account, amount_cents in lines.items()
    )
    return True


@dataclass(frozen=True)
class Posting:
    """One journal to post. lines: account -> cents, debits positive, credits negative, summing to zero."""

    kind: str
    reference: str
    occurred_at: datetime
    lines: dict[str, int]


def post_all(tenant_id: int, environment: str, postings: Sequence[Posting]) -> int:
    """Post many journals at once, each unless it was posted already; how many were new. The caller commits.

    A month of M-Pesa's charges is thousands: one by one they would be most of a reconciliation. Raises Unbalanced.
    """
    for one in postings:
        if sum(one.lines.values()) != 0:
            raise Unbalanced(f"Journal {one.kind} {one.reference} sums to {sum(one.lines.values())} cents, not to 0.")
    if not postings:
        return 0
    common = {"tenant_id": tenant_id, "environment": environment, "created_at": clock.now()}
    values = [
        common | {"kind": one.kind, "reference": one.reference, "occurred_at": one.occurred_at} for one in postings
    ]
    unless_there = upsert_nothing(Journal, unique=["tenant_id", "environment", "kind", "reference"])
    posted = db.session.execute(unless_there.returning(Journal.id, Journal.kind, Journal.reference), values).all()
    ids = {(kind, reference): journal_id for journal_id, kind, reference in posted}
    told = {(one.kind, one.reference): one for one in reversed(postings)}  # the first of twins, as `post` has it
    lines = [
        {
            "tenant_id": tenant_id,
            "created_at": common["created_at"],
            "journal_id": journal_id,
            "account": account,
            "amount_cents": amount_cents,
        }
        for key, journal_id in ids.items()
        for account, amount_cents in told[key].lines.items()
    ]
    if lines:
        db.session.execute(insert(Line), lines)
    return len(posted)


def balance(tenant_id: int, environment: str, account: str) -> int:
    """Cents on an account: debits less credits."""
    total = (
        select(func.coalesce(func.sum(Line.amount_cents), 0))
        .join(Journal)
        .where(Line.tenant_id == tenant_id, Journal.environment == environment, Line.account == account)
    )
    return int(db.session.scalar(total) or 0)


def unbalanced_journals(tenant_id: int) -> list[int]:
    """Journals whose lines do not sum to zero: always an empty list, or somebody wrote past us."""
    sums = (
        select(Line.journal_id)
        .where(Line.tenant_id == tenant_id)
        .group_by(Line.journal_id)
        .having(func.sum(Line.amount_cents) != 0)
    )
    return list(db.session.scalars(sums))
