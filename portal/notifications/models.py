"""Notices that a person reads inside the product."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel.db import Model, TenantOwned


class Notice(TenantOwned, Model, is_paged=False):
    """A line for one member of staff or patient; unique by `key`, so that it is told once."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("tenant_id", "key"),
        Index("ix_notices_unread", "user_id", "read_at"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    key: Mapped[str] = mapped_column(String(120))
    text: Mapped[str] = mapped_column(String(300))
    url: Mapped[str] = mapped_column(String(200), default="")
    read_at: Mapped[datetime | None]


class PhoneCode(TenantOwned, Model, is_paged=False):
    """The code by which a phone shows that it is whose it says: one at a time for each phone and purpose.

    code_hash: of the code in force; None once it was used. tries: wrong ones since it was sent. sends: codes sent since
    `counted_from`.
    """

    __tablename__ = "phone_codes"
    __table_args__ = (UniqueConstraint("tenant_id", "purpose", "phone_hash"),)

    purpose: Mapped[str] = mapped_column(String(20))
    phone_hash: Mapped[str] = mapped_column(String(64))
    code_hash: Mapped[str | None] = mapped_column(String(64))
    tries: Mapped[int] = mapped_column(default=0)
    sends: Mapped[int] = mapped_column(default=0)
    counted_from: Mapped[datetime]
    expires_at: Mapped[datetime]


class QuietPhone(TenantOwned, Model, is_paged=False):
    """A number that is not to be reminded."""

    __tablename__ = "quiet_phones"
    __table_args__ = (UniqueConstraint("tenant_id", "phone_hash"),)

    phone_hash: Mapped[str] = mapped_column(String(64))
