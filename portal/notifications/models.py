"""Notices that a person reads inside the product."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel import clock, vault
from portal.kernel.db import Model, Row, TenantOwned, sealed
from portal.kernel.due import Due


class Notice(TenantOwned, Model, is_paged=False):
    """A line for one member of staff, or for one patient and who acts for them; unique by `key`, so told once."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("tenant_id", "key"),
        Index("ix_notices_unread", "user_id", "read_at"),
        Index("ix_notices_of_user", "user_id", "id"),
        Index("ix_notices_of_patient", "patient_id", "id"),
        CheckConstraint("(user_id IS NULL) <> (patient_id IS NULL)", name="whose"),
    )

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"))
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


class MessageTemplate(TenantOwned, Model, is_paged=False):
    """A tenant's own words for one event, channel and language; without it the product's own are sent."""

    __tablename__ = "message_templates"
    __table_args__ = (UniqueConstraint("tenant_id", "event", "channel", "locale"),)

    event: Mapped[str] = mapped_column(String(30))
    channel: Mapped[str] = mapped_column(String(10))  # sms, email
    locale: Mapped[str] = mapped_column(String(5))
    subject: Mapped[str] = mapped_column(String(200), default="")
    text: Mapped[str] = mapped_column(String(1_000))


REPORT_DUE = Due("sms_reports", "look_at", ("look_at IS NOT NULL",))
REPLY_DUE = Due("incoming_sms", "look_at", ("look_at IS NOT NULL",))


class SmsReport(Row, Model):
    """What the provider says became of a text message, until the message knows it: it may come before the answer that
    names the message. status: the provider's word. look_at: when the message is to be looked for.
    """

    __tablename__ = "sms_reports"
    __table_args__ = (UniqueConstraint("provider_id"), REPORT_DUE.index("ix_sms_reports_due"))

    provider_id: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(20))
    why: Mapped[str] = mapped_column(String(100), default="")
    look_at: Mapped[datetime | None] = mapped_column(default=clock.now)


class IncomingSms(Row, Model):
    """A text message that somebody sent us, once. tenant_id: whose it is, where that is known.

    body_sealed: JSON with `from` and `text`, until it was dealt with; outcome: what came of it. look_at: when it is to
    be dealt with.
    """

    __tablename__ = "incoming_sms"
    __table_args__ = (UniqueConstraint("provider_id"), REPLY_DUE.index("ix_incoming_sms_due"))

    tenant_id: Mapped[int | None] = mapped_column(ForeignKey("tenants.id"))
    provider_id: Mapped[str] = mapped_column(String(100))
    body_sealed: Mapped[str | None] = sealed(vault.TEXT)
    outcome: Mapped[str] = mapped_column(String(20), default="")
    look_at: Mapped[datetime | None] = mapped_column(default=clock.now)
