"""Writing the audit, chaining it, and checking the chain.

`record` joins the transaction that it describes and takes no lock, so that payments never queue behind the audit.
`chain_tenant` runs afterwards, one at a time per tenant, and gives each committed row the next number and a hash
over the row before it. The head is signed with the vault's key: who can write to the database but does not hold the
key can neither rewrite the chain nor cut off its tail unseen.
"""

import hashlib
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import func, select
from structlog.contextvars import get_contextvars

from portal.audit.models import TO_CHAIN, AuditEntry, ChainHead
from portal.kernel import bulk, clock, vault
from portal.kernel.db import db, upsert_nothing

GENESIS = "0" * 64
BATCH_ROWS = 500


def record(
    tenant_id: int,
    subject_kind: str,
    subject_id: int,
    action: str,
    *,
    actor: str,
    old: str | None = None,
    new: str | None = None,
    why: str = "",
    details: dict[str, Any] | None = None,
) -> None:
    """Write down what happens in this transaction. details: identifiers and amounts only, never personal values."""
    told = columns_of(
        tenant_id, subject_kind, subject_id, action, actor=actor, old=old, new=new, why=why, details=details
    )
    db.session.add(AuditEntry(**told))


def columns_of(
    tenant_id: int,
    subject_kind: str,
    subject_id: int,
    action: str,
    *,
    actor: str,
    old: str | None = None,
    new: str | None = None,
    why: str = "",
    details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What is written down, for who writes many at once; all but when."""
    return {
        "tenant_id": tenant_id,
        "subject_kind": subject_kind,
        "subject_id": subject_id,
        "action": action,
        "actor": actor[:60],
        "old": old[:40] if old else old,
        "new": new[:40] if new else new,
        "why": why[:300],
        "details": details or {},
        "request_id": str(get_contextvars().get("request_id", ""))[:40],
    }


def history(tenant_id: int, *subjects: tuple[str, int]) -> list[AuditEntry]:
    """Everything recorded of these (kind, id) pairs, oldest first."""
    if not subjects:
        return []
    wanted = [(AuditEntry.subject_kind == kind) & (AuditEntry.subject_id == number) for kind, number in subjects]
    found = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id)
    anyone = wanted[0]
    for more in wanted[1:]:
        anyone = anyone | more
    return list(db.session.scalars(found.where(anyone).order_by(AuditEntry.id)))


def chain_tenant(tenant_id: int) -> int:
    """Chain what is committed and not chained yet; how many rows. The caller commits."""
    db.session.execute(
        upsert_nothing(ChainHead, unique=["tenant_id"], tenant_id=tenant_id, seq=0, hash=GENESIS, signature="")
    )
    head = db.session.scalars(
        select(ChainHead)
        .where(ChainHead.tenant_id == tenant_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    waiting = (
        select(*AuditEntry.__table__.columns)
        .where(AuditEntry.tenant_id == tenant_id, TO_CHAIN.waits)
        .order_by(AuditEntry.id)
        .limit(BATCH_ROWS)
    )
    connection, rows = db.session.connection(), []
    for row in connection.execute(waiting):
        link = SimpleNamespace(**row._mapping)
        link.seq, link.prev_hash = head.seq + 1, head.hash
        head.seq, head.hash = link.seq, hash_of(link)
        rows.append({"id": link.id, "seq": link.seq, "prev_hash": link.prev_hash, "hash": head.hash})
    bulk.update(connection, AuditEntry, rows)
    if rows:
        head.chained_at = clock.now()
        head.signature = _sign(head)
    return len(rows)


def hash_of(row: Any) -> str:
    """SHA-256 over the canonical JSON of an audit entry, which includes the hash before it."""
    fields = {
        "version": 1,
        "tenant": row.tenant_id,
        "seq": row.seq,
        "prev": row.prev_hash,
        "at": clock.rfc3339(row.created_at),
        "actor": row.actor,
        "action": row.action,
        "subject": [row.subject_kind, row.subject_id],
        "old": row.old,
        "new": row.new,
        "why": row.why,
        "details": row.details,
        "request": row.request_id,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sign(head: ChainHead) -> str:
    return vault.lookup(f"{head.tenant_id}/{head.seq}/{head.hash}", context="audit-head")


@dataclass(frozen=True)
class Verdict:
    """What a walk over one tenant's chain found. `broken_at`: first number that does not fit, or None."""

    tenant_id: int
    rows: int
    not_chained_yet: int
    broken_at: int | None
    problem: str

    @property
    def holds(self) -> bool:
        return self.broken_at is None


def verify(tenant_id: int) -> Verdict:
    """Walk the chain from its first row to its signed head."""
    waiting = db.session.scalar(select(func.count()).where(AuditEntry.tenant_id == tenant_id, TO_CHAIN.waits))
    head = db.session.get(ChainHead, tenant_id)
    expected_hash, seq = GENESIS, 0

    def broken(at: int, problem: str) -> Verdict:
        return Verdict(tenant_id, seq, waiting or 0, at, problem)

    rows = db.session.scalars(
        select(AuditEntry)
        .where(AuditEntry.tenant_id == tenant_id, AuditEntry.seq.is_not(None))
        .order_by(AuditEntry.seq)
        .execution_options(yield_per=BATCH_ROWS)
    )
    for row in rows:
        if row.seq != seq + 1:
            return broken(seq + 1, f"Row {seq + 1} is missing.")
        if row.prev_hash != expected_hash or row.hash != hash_of(row):
            return broken(row.seq, f"Row {row.seq} was changed after it was chained.")
        seq, expected_hash = row.seq, row.hash or ""
    if head is None:
        return Verdict(tenant_id, seq, waiting or 0, None, "") if seq == 0 else broken(seq, "The head is missing.")
    if (head.seq, head.hash) != (seq, expected_hash):
        return broken(seq + 1, f"The chain ends at row {seq}, its head at row {head.seq}: the tail was cut off.")
    if head.seq and head.signature != _sign(head):
        return broken(seq, "The head's signature is not ours.")
    return Verdict(tenant_id, seq, waiting or 0, None, "")
