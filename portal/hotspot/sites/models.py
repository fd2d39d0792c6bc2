"""Outages of sites, and the time that was given back for them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.hotspot.models import Site
from portal.kernel.db import Model, TenantOwned
from portal.kernel.due import Due

TO_GIVE_BACK = Due("outages", "ended_at", ("given_back_at IS NULL", "ended_at IS NOT NULL"))


class Outage(TenantOwned, Model):
    """A router that was silent. started_at: its last heartbeat before; ended_at: its first one seen after.

    noticed_at: when we noticed. given_back_at: when all passes that were running there had the time back.
    """

    __tablename__ = "outages"
    __table_args__ = (
        Index(
            "uq_outages_open",
            "site_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        UniqueConstraint("site_id", "started_at"),
        TO_GIVE_BACK.index("ix_outages_to_give_back"),
    )

    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    started_at: Mapped[datetime]
    noticed_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    given_back_at: Mapped[datetime | None]
    site: Mapped[Site] = relationship()


class GivenBack(TenantOwned, Model, is_paged=False):
    """Time that one pass had back for one outage: the row is what makes it once. leader_id: of the pass."""

    __tablename__ = "outage_credits"
    __table_args__ = (UniqueConstraint("outage_id", "leader_id"),)

    outage_id: Mapped[int] = mapped_column(ForeignKey("outages.id"))
    leader_id: Mapped[int] = mapped_column(ForeignKey("access_grants.id"), index=True)
    seconds: Mapped[int] = mapped_column(BigInteger)
    outage: Mapped[Outage] = relationship()
