"""Posting journals and reading balances."""

from datetime import datetime

from sqlalchemy import func, select

from portal.db import db, upsert_nothing
from portal.errors import PortalError
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
