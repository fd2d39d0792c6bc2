"""What happened, written in the transaction it describes, chained afterwards."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel.db import Model, TenantOwned
from portal.kernel.due import Due

TO_CHAIN = Due("audit_entries", None, ("seq IS NULL",), by=("tenant_id", "id"))


class AuditEntry(TenantOwned, Model):
    """Who did what to which object, and why. Carries identifiers and amounts, never a person's values.

    `seq`, `prev_hash` and `hash` are empty until the chaining job reaches the row.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        UniqueConstraint("tenant_id", "seq"),
        Index("ix_audit_entries_subject", "tenant_id", "subject_kind", "subject_id"),
        TO_CHAIN.index("ix_audit_entries_unchained"),
    )

    actor: Mapped[str] = mapped_column(String(60))  # "user:3", "payer", "daraja", "sweeper"
    action: Mapped[str] = mapped_column(String(40))
    subject_kind: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[int]
    old: Mapped[str | None] = mapped_column(String(40))
    new: Mapped[str | None] = mapped_column(String(40))
    why: Mapped[str] = mapped_column(String(300), default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    request_id: Mapped[str] = mapped_column(String(40), default="")
    seq: Mapped[int | None]
    prev_hash: Mapped[str | None] = mapped_column(String(64))
    hash: Mapped[str | None] = mapped_column(String(64))


class ChainHead(Model):
    """Where a tenant's chain ends, signed with the vault's key: a cut-off tail does not fit it."""

    __tablename__ = "audit_chain_heads"

    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(default=0)
    hash: Mapped[str] = mapped_column(String(64), default="0" * 64)
    signature: Mapped[str] = mapped_column(String(64), default="")
    chained_at: Mapped[datetime | None]
