"""Double entry: a journal and its lines, append-only, summing to zero."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.kernel.db import Model, TenantOwned


class Journal(TenantOwned, Model, is_paged=False):
    """One thing that happened to money. Unique by kind and reference: posting it twice is posting it once."""

    __tablename__ = "ledger_journals"
    __table_args__ = (UniqueConstraint("tenant_id", "environment", "kind", "reference"),)

    environment: Mapped[str] = mapped_column(String(10))
    kind: Mapped[str] = mapped_column(String(20))
    reference: Mapped[str] = mapped_column(String(60))
    occurred_at: Mapped[datetime]
    lines: Mapped[list["Line"]] = relationship(back_populates="journal")


class Line(TenantOwned, Model, is_paged=False):
    """Cents on an account: debits positive, credits negative."""

    __tablename__ = "ledger_lines"
    __table_args__ = (Index("ix_ledger_lines_account", "tenant_id", "account"),)

    journal_id: Mapped[int] = mapped_column(ForeignKey("ledger_journals.id"))
    account: Mapped[str] = mapped_column(String(80))
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    journal: Mapped[Journal] = relationship(back_populates="lines")
