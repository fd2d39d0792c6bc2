"""Vouchers, the batches they are printed in, and the drawers their money lies in."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.hotspot.models import Package
from portal.hotspot.vouchers.states import VOUCHER, VoucherState
from portal.kernel.db import Model, TenantOwned, new_uid
from portal.kernel.due import Due

TO_EXPIRE = Due("vouchers", "expires_at", ("state IN ('made', 'sold')",))


class VoucherBatch(TenantOwned, Model):
    """Vouchers that were made together. expires_at: of those that are not redeemed until then."""

    __tablename__ = "voucher_batches"

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    made_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    count: Mapped[int]
    note: Mapped[str] = mapped_column(String(80), default="")
    expires_at: Mapped[datetime]
    package: Mapped[Package] = relationship()


class Drawer(TenantOwned, Model):
    """One seller's drawer, from its opening to its count. One a seller is open at a time.

    float_cents: what lay in it when it was opened. What should lie in it is counted from its sales.
    """

    __tablename__ = "drawers"
    __table_args__ = (
        CheckConstraint("float_cents >= 0", name="float_positive"),
        Index(
            "uq_drawers_open",
            "tenant_id",
            "user_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    float_cents: Mapped[int] = mapped_column(BigInteger)
    closed_at: Mapped[datetime | None]


class DrawerReport(TenantOwned, Model):
    """What was counted in a drawer and what should have been there. Written once: the database refuses any change.

    number: of the business, in a row. lines: [{package, count, cents}] of what was sold and not taken back.
    """

    __tablename__ = "drawer_reports"
    __table_args__ = (UniqueConstraint("tenant_id", "number"),)

    number: Mapped[int]
    drawer_id: Mapped[int] = mapped_column(ForeignKey("drawers.id"), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime]
    float_cents: Mapped[int] = mapped_column(BigInteger)
    sales_cents: Mapped[int] = mapped_column(BigInteger)
    expected_cents: Mapped[int] = mapped_column(BigInteger)
    counted_cents: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    note: Mapped[str] = mapped_column(String(200), default="")

    @property
    def variance_cents(self) -> int:
        """Above zero: there is more than should be."""
        return self.counted_cents - self.expected_cents


class VoucherOpening(TenantOwned, Model, is_paged=False):
    """A voucher whose code was typed at a router: FreeRADIUS writes the row, and a trigger opens the voucher by it.

    So FreeRADIUS needs no right to vouchers or access. What is open, void or expired by then is opened no more.
    """

    __tablename__ = "voucher_openings"

    voucher_id: Mapped[int] = mapped_column(ForeignKey("vouchers.id"), index=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    mac: Mapped[str] = mapped_column(String(17), default="")


class Voucher(TenantOwned, Model):
    """One code. It opens one pass of its package, once (`access_grants.voucher_id`).

    payment_id: of its sale at a counter; None: printed, and sold by hands of which we know nothing. expires_at: until
    when it may be redeemed.
    """

    __tablename__ = "vouchers"
    GRAPH = VOUCHER
    __table_args__ = (
        UniqueConstraint("tenant_id", "code"),
        CheckConstraint("state IN ('made', 'sold', 'redeemed', 'void', 'expired')", name="state"),
        Index("ix_vouchers_batch", "batch_id", "id"),
        Index("ix_vouchers_drawer", "drawer_id", "id"),
        TO_EXPIRE.index("ix_vouchers_to_expire"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("voucher_batches.id"))
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    payment_id: Mapped[int | None] = mapped_column(ForeignKey("payments.id"), unique=True)
    drawer_id: Mapped[int | None] = mapped_column(ForeignKey("drawers.id"))
    code: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(10), default=VoucherState.MADE)
    expires_at: Mapped[datetime]
    sold_at: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    package: Mapped[Package] = relationship()

    @property
    def shown(self) -> str:
        """The code as it is printed and read aloud: in threes."""
        return " ".join(self.code[at : at + 3] for at in range(0, len(self.code), 3))
