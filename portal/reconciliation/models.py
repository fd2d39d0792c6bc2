"""A comparison with M-Pesa's records, and every row of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.gateways.models import Gateway
from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, new_uid, sealed
from portal.kernel.errors import Sentence

STATEMENT, PULL = "statement", "pull"


class Reconciliation(TenantOwned, Model):
    """One look at M-Pesa's own records: an uploaded statement, or pulled transactions. Every row is in one bucket.

    A statement is a draft until an administrator accepts it: its rows say what would be booked, and nothing is.
    `content_sealed` is its file, kept until then. `unproved`: what its totals lack or where they do not add up.
    """

    __tablename__ = "reconciliations"
    __table_args__ = (UniqueConstraint("tenant_id", "gateway_id", "environment", "digest"),)

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"))
    environment: Mapped[str] = mapped_column(String(10))  # as the gateway was: a switch to real money accepts no test
    source: Mapped[str] = mapped_column(String(20))  # statement, pull
    layout: Mapped[str] = mapped_column(String(20), default="")
    digest: Mapped[str] = mapped_column(String(64))  # of the file: the same one twice is one reconciliation
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    counts: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    name: Mapped[str] = mapped_column(String(80), default="")  # of the file
    content_sealed: Mapped[str | None] = sealed(vault.TEXT, deferred=True)
    unproved: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # a sentence's template and values
    accepted_at: Mapped[datetime | None]
    accepted_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    booked_at: Mapped[datetime | None]  # all that was accepted is booked
    made_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    gateway: Mapped[Gateway] = relationship()

    @property
    def why_unproved(self) -> Sentence | None:
        """Why its totals cannot be checked; None where they were, and add up."""
        template = self.unproved.get("template")
        return Sentence(template, **self.unproved["values"]) if template else None

    @property
    def is_draft(self) -> bool:
        return self.source == STATEMENT and self.booked_at is None


class StatementRow(TenantOwned, Model, is_paged=False):
    """A row of M-Pesa's records, or money of ours that they lack, in exactly one bucket.

    Buckets: matched, created (was missing here), different, missing_there, internal (charges, sweeps, pay-outs).
    """

    __tablename__ = "statement_rows"
    __table_args__ = (
        Index("ix_statement_rows_bucket", "reconciliation_id", "bucket"),
        Index("ix_statement_rows_receipt", "tenant_id", "receipt"),
        Index(
            "ix_statement_rows_missing",
            "transaction_id",
            sqlite_where=text("bucket = 'missing_there'"),
            postgresql_where=text("bucket = 'missing_there'"),
        ),
    )

    is_draft: Mapped[bool] = mapped_column(default=False)  # it says what would be booked
    reconciliation_id: Mapped[int] = mapped_column(ForeignKey("reconciliations.id"))
    row_number: Mapped[int]
    receipt: Mapped[str] = mapped_column(String(20), default="")
    completed_at: Mapped[datetime | None]
    kind: Mapped[str] = mapped_column(String(60), default="")
    details_sealed: Mapped[str | None] = sealed(vault.TEXT)
    account: Mapped[str] = mapped_column(String(40), default="")
    paid_in_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    withdrawn_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    balance_cents: Mapped[int | None] = mapped_column(BigInteger)
    bucket: Mapped[str] = mapped_column(String(15))
    why: Mapped[str] = mapped_column(String(300), default="")
    transaction_id: Mapped[int | None] = mapped_column(ForeignKey("transactions.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # who looks into a difference
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str] = mapped_column(String(300), default="")
