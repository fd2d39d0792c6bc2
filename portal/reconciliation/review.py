"""Reports of reconciliations, and the differences in them: who looks into each, and what they found."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from portal.audit import chain
from portal.kernel import clock
from portal.kernel.db import db, owned
from portal.kernel.errors import NotFound, Refused, Sentence
from portal.payments.models import Transaction
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.reconciliation.rows import BUCKETS, CREATED, FLAGGED, MISSING_THERE
from portal.reconciliation.statements import CHARGE, PAYMENT, PAYOUT, REVERSAL, SWEEP
from portal.users.models import Membership, User
from portal.users.permissions import OF_ROLE, RECONCILE

PAGE_ROWS = 100
NATURES = (PAYMENT, CHARGE, SWEEP, PAYOUT, REVERSAL)


def latest(tenant_id: int, *, before_id: int | None = None, limit: int = 50) -> list[Reconciliation]:
    """The tenant's reports, newest first."""
    mine = select(Reconciliation).where(Reconciliation.tenant_id == tenant_id)
    if before_id is not None:
        mine = mine.where(Reconciliation.id < before_id)
    return list(db.session.scalars(mine.order_by(Reconciliation.id.desc()).limit(limit)))


def by_uid(tenant_id: int, uid: str) -> Reconciliation:
    """The tenant's own report. Raises NotFound."""
    return owned(Reconciliation, tenant_id, uid=uid)


def rows_of(made: Reconciliation, bucket: str = "", *, after_id: int = 0, limit: int = PAGE_ROWS) -> list[StatementRow]:
    """Rows of a report in the order they were taken in; of one bucket where one is named."""
    mine = select(StatementRow).where(
        StatementRow.reconciliation_id == made.id,
        StatementRow.tenant_id == made.tenant_id,
        StatementRow.id > after_id,
    )
    if bucket in BUCKETS:
        mine = mine.where(StatementRow.bucket == bucket)
    return list(db.session.scalars(mine.order_by(StatementRow.id).limit(limit)))


def every_row_of(made: Reconciliation, bucket: str = "") -> Iterator[StatementRow]:
    """All of them, a page at a time."""
    after_id = 0
    while page := rows_of(made, bucket, after_id=after_id, limit=1_000):
        yield from page
        after_id = page[-1].id


def days_of(made: Reconciliation) -> list[dict[str, Any]]:
    """Each East African business day, oldest first: {day, payment, charge, sweep, payout, reversal, net}, in cents."""
    days: dict[Any, dict[str, Any]] = {}
    for row in _rows(made):
        if row.completed_at is None or row.bucket == MISSING_THERE:
            continue
        day = clock.nairobi(row.completed_at).date()
        sums = days.setdefault(day, {"day": day, "net": 0} | dict.fromkeys(NATURES, 0))
        moved = row.paid_in_cents - row.withdrawn_cents
        sums[row.kind] = sums.get(row.kind, 0) + moved
        sums["net"] += moved
    return [days[day] for day in sorted(days)]


def _rows(made: Reconciliation) -> Iterator[Any]:
    wanted = select(
        StatementRow.completed_at,
        StatementRow.bucket,
        StatementRow.kind,
        StatementRow.paid_in_cents,
        StatementRow.withdrawn_cents,
    )
    yield from db.session.execute(
        wanted.where(StatementRow.reconciliation_id == made.id).execution_options(yield_per=2_000)
    )


def missing_cents(made: Reconciliation) -> int:
    """What the rows sum to that were missing here."""
    missing = select(func.coalesce(func.sum(StatementRow.paid_in_cents), 0))
    of_report = (StatementRow.reconciliation_id == made.id, StatementRow.bucket == CREATED)
    return int(db.session.scalar(missing.where(*of_report)) or 0)


def transactions_of(rows: list[StatementRow]) -> dict[int, Transaction]:
    """The money that these rows are about, by its id."""
    ids = {row.transaction_id for row in rows if row.transaction_id is not None}
    found = db.session.scalars(select(Transaction).where(Transaction.id.in_(ids))) if ids else ()
    return {one.id: one for one in found}


def open_differences(made: Reconciliation) -> int:
    """How many flagged rows nobody has explained yet."""
    flagged = select(func.count()).where(
        StatementRow.reconciliation_id == made.id,
        StatementRow.bucket.in_(FLAGGED),
        StatementRow.resolved_at.is_(None),
    )
    return db.session.scalar(flagged) or 0


def people(tenant_id: int) -> list[User]:
    """Who may look into differences here."""
    roles = [role for role, allowed in OF_ROLE.items() if RECONCILE in allowed]
    mine = select(User).join(Membership).where(Membership.tenant_id == tenant_id, Membership.role.in_(roles))
    return list(db.session.scalars(mine.order_by(User.name, User.id)))


def assign(tenant_id: int, uid: str, row_id: int, *, owner_id: int, actor: str) -> StatementRow:
    """Somebody looks into this difference. Raises NotFound, Refused. The caller commits."""
    row = _flagged(tenant_id, uid, row_id)
    if owner_id not in {person.id for person in people(tenant_id)}:
        raise Refused(Sentence("Choose somebody of this business who may reconcile."), code="invalid_fields")
    old, row.owner_id = row.owner_id, owner_id
    _record(row, "assigned", actor, old=f"user:{old}" if old else None, new=f"user:{owner_id}")
    return row


def resolve(tenant_id: int, uid: str, row_id: int, *, note: str, user_id: int, actor: str) -> StatementRow:
    """What was found out about this difference. Raises NotFound, Refused. The caller commits."""
    row = _flagged(tenant_id, uid, row_id)
    note = note.replace("\0", "").strip()
    if not note:
        raise Refused(Sentence("Say what you found out."), code="invalid_fields")
    if row.resolved_at is not None:
        raise Refused(Sentence("This difference is explained already."), code="conflict")
    row.resolved_at, row.resolution = clock.now(), note[:300]
    row.owner_id = row.owner_id or user_id
    _record(row, "resolved", actor, why=row.resolution)
    return row


def _flagged(tenant_id: int, uid: str, row_id: int) -> StatementRow:
    made = by_uid(tenant_id, uid)
    row = db.session.scalars(
        select(StatementRow)
        .where(
            StatementRow.id == row_id,
            StatementRow.tenant_id == tenant_id,
            StatementRow.reconciliation_id == made.id,
            StatementRow.bucket.in_(FLAGGED),
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such difference here.")
    return row


def _record(
    row: StatementRow, action: str, actor: str, *, old: str | None = None, new: str | None = None, why: str = ""
) -> None:
    chain.record(row.tenant_id, "statement_row", row.id, action, actor=actor, old=old, new=new, why=why)
