"""The devices of a pass besides the one that its grant names."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel.db import Model, TenantOwned


class PassDevice(TenantOwned, Model, is_paged=False):
    """One device that took a place of a pass. Kept when it was removed: moves are counted from these rows.

    leader_id: of the pass. mac: `AA:BB:CC:DD:EE:FF`, or "" where only the browser is known. name: what its owner calls
    it, such as TV. how: moved (it took the place of another), code (its owner showed number or code on it), added (by
    its owner, from another device: it may have no browser, and is let in by its MAC address alone).
    browser_hash: as in Purchase, of the browser on it.
    """

    __tablename__ = "pass_devices"
    __table_args__ = (
        CheckConstraint("how IN ('moved', 'code', 'added')", name="how"),
        Index("ix_pass_devices_leader", "leader_id", "created_at"),
        Index(
            "ix_pass_devices_mac",
            "tenant_id",
            "mac",
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index(
            "ix_pass_devices_browser",
            "tenant_id",
            "browser_hash",
            sqlite_where=text("browser_hash != ''"),
            postgresql_where=text("browser_hash != ''"),
        ),
        Index(
            "uq_pass_devices_place",
            "leader_id",
            "mac",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    leader_id: Mapped[int] = mapped_column(ForeignKey("access_grants.id"))
    mac: Mapped[str] = mapped_column(String(17), default="")
    name: Mapped[str] = mapped_column(String(40), default="")
    how: Mapped[str] = mapped_column(String(10))
    browser_hash: Mapped[str] = mapped_column(String(64), default="")
    removed_at: Mapped[datetime | None]
