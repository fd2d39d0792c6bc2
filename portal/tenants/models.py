"""A tenant: a clinic, a hotspot operator, or both."""

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel.db import Model, Row
from portal.kernel.money import DEFAULT_PUSH_LIMIT_CENTS


class Tenant(Row, Model):
    """Who we work for. `slug` stands in its addresses; `colour` is its brand, `#rrggbb`."""

    __tablename__ = "tenants"
    __table_args__ = (CheckConstraint("push_limit_cents > 0", name="push_limit_positive"),)

    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    is_clinic: Mapped[bool] = mapped_column(default=False)
    is_hotspot: Mapped[bool] = mapped_column(default=False)
    colour: Mapped[str] = mapped_column(String(7), default="#0b5d4b")
    help_phone: Mapped[str] = mapped_column(String(20), default="")
    address: Mapped[str] = mapped_column(String(200), default="")
    locale: Mapped[str] = mapped_column(String(5), default="en")
    push_limit_cents: Mapped[int] = mapped_column(default=DEFAULT_PUSH_LIMIT_CENTS)
    refuses_unknown_accounts: Mapped[bool] = mapped_column(default=True)  # at C2B validation
    tax_number: Mapped[str] = mapped_column(String(20), default="")  # KRA's, printed on receipts
    consent_text: Mapped[str] = mapped_column(String(1_000), default="")  # what a patient agrees to; "": our own words
    checkin_package_uid: Mapped[str] = mapped_column(String(24), default="")  # given at check-in, where both doors are
    meeting_base_url: Mapped[str] = mapped_column(String(200), default="")
    refund_approval_above_cents: Mapped[int] = mapped_column(default=500_000)  # above it a second person approves
    discount_approval_above_cents: Mapped[int] = mapped_column(default=50_000)  # of one invoice; above it likewise
    sms_policy: Mapped[str] = mapped_column(String(10), default="hold")  # without API: hold, or open unverified
    unverified_per_day: Mapped[int] = mapped_column(default=2)  # a device, while sms_policy is open
    message_hours: Mapped[int] = mapped_column(default=24)  # a pasted M-Pesa message may be this old
    webhook_key_hash: Mapped[str | None] = mapped_column(String(64), unique=True)


class Counter(Model):
    """The next number of a tenant's series (invoices, accounts), taken by one UPDATE."""

    __tablename__ = "counters"

    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    series: Mapped[str] = mapped_column(String(20), primary_key=True)
    next_number: Mapped[int] = mapped_column(default=1)
