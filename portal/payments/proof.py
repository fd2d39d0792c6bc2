"""Proof that money is where the books say, on a live database. Every sentence found is an alarm."""

from sqlalchemy import func, select

from portal.db import db
from portal.ledger import post
from portal.ledger.models import Journal, Line
from portal.payments.models import Allocation, Payment, Transaction
from portal.tenants.models import Tenant

ENVIRONMENTS = ("sandbox", "production")


def problems() -> list[str]:
    """Every sentence that should not be true; an empty list where all is well."""
    found: list[str] = []
    for tenant in db.session.scalars(select(Tenant).order_by(Tenant.id)).all():
        found += [
            f"{tenant.slug}: journal {number} does not sum to zero."
            for number in post.unbalanced_journals(tenant.id)
        ]
        for environment in ENVIRONMENTS:
            found += _balances(tenant, environment)
    return found + _allocations()


def _balances(tenant: Tenant, environment: str) -> list[str]:
    money = select(
        func.coalesce(func.sum(Transaction.amount_cents), 0),
        func.coalesce(func.sum(Transaction.unallocated_cents), 0),
    ).where(
        Transaction.tenant_id == tenant.id,
        Transaction.environment == environment,
        Transaction.merged_into_id.is_(None),
    )
    arrived, homeless = (int(cents) for cents in db.session.execute(money).one())
    found = []
    clearing = post.balance(tenant.id, environment, post.CLEARING)
    if clearing != arrived:
        found.append(
            f"{tenant.slug} {environment}: the clearing account holds {clearing} cents, {arrived} arrived."
        )
    suspense = -post.balance(tenant.id, environment, post.SUSPENSE)
    if suspense != homeless:
        found.append(
            f"{tenant.slug} {environment}: suspense holds {suspense} cents, {homeless} have no home."
        )
    total = db.session.scalar(
        select(func.coalesce(func.sum(Line.amount_cents), 0))
        .join(Journal)
        .where(Line.tenant_id == tenant.id, Journal.environment == environment)
    )
    if total:
        found.append(f"{tenant.slug} {environment}: all lines together sum to {total} cents, not to zero.")
    return found


def _allocations() -> list[str]:
    given = select(func.coalesce(func.sum(Allocation.amount_cents), 0)).where(
        Allocation.payment_id == Payment.id
    )
    wrong = select(Payment.reference).where(Payment.allocated_cents != given.scalar_subquery())
    found = [
        f"Payment {reference} does not hold what was allocated to it."
        for reference in db.session.scalars(wrong)
    ]
    spent = select(func.coalesce(func.sum(Allocation.amount_cents), 0)).where(
        Allocation.transaction_id == Transaction.id
    )
    odd = select(Transaction.uid).where(
        Transaction.merged_into_id.is_(None),
        Transaction.amount_cents - Transaction.unallocated_cents != spent.scalar_subquery(),
    )
    return found + [
        f"Transaction {uid} does not add up with its allocations." for uid in db.session.scalars(odd)
    ]
