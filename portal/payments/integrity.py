"""Proof that money is where the books say, on a live database. Every sentence found is an alarm."""

from sqlalchemy import func, or_, select

from portal.kernel.db import db, take_all_the_time
from portal.kernel.money import format_kes
from portal.ledger import post
from portal.ledger.models import Journal, Line
from portal.payments.imported_payments import OPENING
from portal.payments.models import Allocation, Payment, Refund, Transaction
from portal.payments.states import RefundState
from portal.tenants.models import Tenant

ENVIRONMENTS = ("sandbox", "production")


def problems() -> list[str]:
    """Every sentence that should not be true; an empty list where all is well."""
    take_all_the_time()  # it reads every line that there is
    found: list[str] = []
    for tenant in db.session.scalars(select(Tenant).order_by(Tenant.id)).all():
        found += [
            f"{tenant.slug}: journal {number} does not sum to zero." for number in post.unbalanced_journals(tenant.id)
        ]
        for environment in ENVIRONMENTS:
            if _has_any(tenant, environment):
                found += _balances(tenant, environment)
    return found + _allocations() + _sent_back()


def _has_any(tenant: Tenant, environment: str) -> bool:
    """Whether there is any money, or anything to be paid with it: else every sum is nothing."""
    rows = (
        select(kept.id).where(kept.tenant_id == tenant.id, kept.environment == environment).exists()
        for kept in (Journal, Transaction, Refund, Payment)
    )
    return bool(db.session.scalar(select(or_(*rows))))


def _balances(tenant: Tenant, environment: str) -> list[str]:
    mine = (
        Transaction.tenant_id == tenant.id,
        Transaction.environment == environment,
        Transaction.merged_into_id.is_(None),
        Transaction.reversed_at.is_(None),
        Transaction.voided_at.is_(None),
    )
    at_mpesa = select(func.coalesce(func.sum(Transaction.amount_cents), 0)).where(
        *mine, Transaction.provider == "mpesa"
    )
    unplaced = select(func.coalesce(func.sum(Transaction.unallocated_cents), 0)).where(*mine)
    arrived, homeless = int(db.session.scalar(at_mpesa) or 0), int(db.session.scalar(unplaced) or 0)
    found = []
    sent_back = select(func.coalesce(func.sum(Refund.amount_cents), 0)).where(
        Refund.tenant_id == tenant.id, Refund.environment == environment, Refund.state == RefundState.DONE
    )
    expected = arrived - int(db.session.scalar(sent_back) or 0)
    clearing = post.balance(tenant.id, environment, post.CLEARING)
    if clearing != expected:
        found.append(f"{tenant.slug} {environment}: clearing holds {clearing} cents; {expected} should be there.")
    suspense = -post.balance(tenant.id, environment, post.SUSPENSE)
    if suspense != homeless:
        found.append(f"{tenant.slug} {environment}: suspense holds {suspense} cents, {homeless} have no home.")
    by_hand = select(func.coalesce(func.sum(Transaction.amount_cents), 0)).where(
        *mine, Transaction.provider == "manual"
    )
    drawers = select(func.coalesce(func.sum(Line.amount_cents), 0)).join(Journal)
    drawers = drawers.where(
        Line.tenant_id == tenant.id, Journal.environment == environment, Line.account.startswith("drawer:")
    )
    if (held := int(db.session.scalar(drawers) or 0)) != (recorded := int(db.session.scalar(by_hand) or 0)):
        found.append(f"{tenant.slug} {environment}: the drawers hold {held} cents; {recorded} were recorded.")
    found += _wallets(tenant, environment)
    total = db.session.scalar(
        select(func.coalesce(func.sum(Line.amount_cents), 0))
        .join(Journal)
        .where(Line.tenant_id == tenant.id, Journal.environment == environment)
    )
    if total:
        found.append(f"{tenant.slug} {environment}: all lines together sum to {total} cents, not to zero.")
    return found


def _wallets(tenant: Tenant, environment: str) -> list[str]:
    """What customers keep: all that was credited to them or brought along, less what they paid with it."""
    credited = select(func.coalesce(func.sum(Transaction.credited_cents), 0)).where(
        Transaction.tenant_id == tenant.id, Transaction.environment == environment
    )
    paid = (
        select(func.coalesce(func.sum(Allocation.amount_cents), 0))
        .join(Payment, Payment.id == Allocation.payment_id)
        .where(Payment.tenant_id == tenant.id, Payment.environment == environment)
        .where(Allocation.customer_id.is_not(None), Allocation.taken_back_at.is_(None))
    )
    posted = (
        select(func.coalesce(func.sum(Line.amount_cents), 0))
        .join(Journal)
        .where(Line.tenant_id == tenant.id, Journal.environment == environment, Line.account.startswith("wallet:"))
    )
    brought = post.balance(tenant.id, environment, OPENING)  # from an earlier system
    expected = int(db.session.scalar(credited) or 0) + brought - int(db.session.scalar(paid) or 0)
    held = -int(db.session.scalar(posted) or 0)
    if held != expected:
        return [f"{tenant.slug} {environment}: the wallets hold {held} cents; {expected} should be there."]
    return []


def _sent_back() -> list[str]:
    """Money that went back more than once: a refund that M-Pesa called failed, and sent after all."""
    gone = (
        select(Transaction.receipt, Transaction.uid, Transaction.amount_cents, func.sum(Refund.amount_cents))
        .join(Refund, Refund.transaction_id == Transaction.id)
        .where(Refund.state == RefundState.DONE)
        .group_by(Transaction.id, Transaction.receipt, Transaction.uid, Transaction.amount_cents)
        .having(func.sum(Refund.amount_cents) > Transaction.amount_cents)
    )
    return [
        f"Of receipt {receipt or uid} {format_kes(int(cents))} were sent back; {format_kes(amount_cents)} had come."
        for receipt, uid, amount_cents, cents in db.session.execute(gone)
    ]


def _allocations() -> list[str]:
    given = select(func.coalesce(func.sum(Allocation.amount_cents), 0)).where(Allocation.payment_id == Payment.id)
    given = given.where(Allocation.taken_back_at.is_(None))
    wrong = select(Payment.reference).where(Payment.allocated_cents != given.scalar_subquery())
    found = [f"Payment {reference} does not hold what was allocated to it." for reference in db.session.scalars(wrong)]
    spent = select(func.coalesce(func.sum(Allocation.amount_cents), 0)).where(
        Allocation.transaction_id == Transaction.id, Allocation.taken_back_at.is_(None)
    )
    sent_back_unplaced = select(func.coalesce(func.sum(Refund.amount_cents), 0)).where(
        Refund.transaction_id == Transaction.id, Refund.payment_id.is_(None), Refund.state != RefundState.FAILED
    )
    homes = (
        Transaction.unallocated_cents
        + Transaction.credited_cents
        + spent.scalar_subquery()
        + sent_back_unplaced.scalar_subquery()
    )
    stands = (
        Transaction.merged_into_id.is_(None),
        Transaction.reversed_at.is_(None),
        Transaction.voided_at.is_(None),
    )
    odd = select(Transaction.uid).where(*stands, Transaction.amount_cents != homes)
    return found + [f"Transaction {uid} does not add up with its allocations." for uid in db.session.scalars(odd)]
