"""Patients, clinicians, appointments and what they owe."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, new_token, new_uid, sealed
from portal.kernel.due import Due
from portal.payments.models import Payment
from portal.tenants.models import Tenant


class Patient(TenantOwned, Model):
    """A person who is treated. Every personal value is sealed."""

    __tablename__ = "patients"
    __table_args__ = (Index("ix_patients_phone", "tenant_id", "phone_hash"),)

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name_sealed: Mapped[str | None] = sealed(vault.TEXT)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    email_sealed: Mapped[str | None] = sealed(vault.TEXT)
    erased_at: Mapped[datetime | None]


class Clinician(TenantOwned, Model):
    """A person who treats."""

    __tablename__ = "clinicians"

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(80))
    title: Mapped[str] = mapped_column(String(80), default="")
    fee_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    works_holidays: Mapped[bool] = mapped_column(default=False)
    left_at: Mapped[datetime | None]


class Service(TenantOwned, Model):
    """What the clinic offers. kinds: onsite, virtual, or both by a comma.

    step_minutes: how far apart its slots begin; buffer_minutes: kept free behind each visit; notice_minutes: how long
    before its beginning it can be booked at the latest; horizon_days: how far ahead. hold_minutes: how long an approved
    visit waits for its money before its time is given to others. needs_approval: a clinician decides on each booking.
    cancel_hours: until when before it a patient may cancel or move it.
    """

    __tablename__ = "services"
    __table_args__ = (
        CheckConstraint("price_cents > 0", name="price_positive"),
        CheckConstraint("duration_minutes > 0", name="duration_positive"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    name: Mapped[str] = mapped_column(String(80))
    kinds: Mapped[str] = mapped_column(String(20), default="onsite")
    price_cents: Mapped[int] = mapped_column(BigInteger)
    duration_minutes: Mapped[int]
    step_minutes: Mapped[int] = mapped_column(default=30)
    buffer_minutes: Mapped[int] = mapped_column(default=0)
    notice_minutes: Mapped[int] = mapped_column(default=60)
    horizon_days: Mapped[int] = mapped_column(default=60)
    hold_minutes: Mapped[int] = mapped_column(default=24 * 60)
    cancel_hours: Mapped[int] = mapped_column(default=24)
    needs_approval: Mapped[bool] = mapped_column(default=True)
    position: Mapped[int] = mapped_column(default=0)
    withdrawn_at: Mapped[datetime | None]


class ClinicianService(TenantOwned, Model, is_paged=False):
    """Who offers what."""

    __tablename__ = "clinician_services"
    __table_args__ = (UniqueConstraint("clinician_id", "service_id"),)

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id"), index=True)


class WorkingHours(TenantOwned, Model, is_paged=False):
    """When a clinician works, week by week, on the clinic's clock. weekday: 0 is Monday; minutes are from midnight."""

    __tablename__ = "working_hours"
    __table_args__ = (
        Index("ix_working_hours_clinician", "clinician_id", "weekday"),
        CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday"),
        CheckConstraint("starts_minute >= 0 AND starts_minute < ends_minute AND ends_minute <= 1440", name="minutes"),
    )

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    weekday: Mapped[int]
    starts_minute: Mapped[int]
    ends_minute: Mapped[int]


class Leave(TenantOwned, Model, is_paged=False):
    """When a clinician is away."""

    __tablename__ = "leaves"
    __table_args__ = (
        Index("ix_leaves_clinician", "clinician_id", "ends_at"),
        CheckConstraint("starts_at < ends_at", name="not_empty"),
    )

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class Invoice(TenantOwned, Model):
    """What somebody owes, with lines. Paid or not is its payment's to say."""

    __tablename__ = "invoices"
    __table_args__ = (UniqueConstraint("tenant_id", "number"),)

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    number: Mapped[str] = mapped_column(String(20))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"), index=True)
    payer_name_sealed: Mapped[str | None] = sealed(vault.TEXT)
    payer_phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), unique=True)
    voided_at: Mapped[datetime | None]
    payment: Mapped[Payment] = relationship()
    patient: Mapped[Patient | None] = relationship()
    lines: Mapped[list["InvoiceLine"]] = relationship(order_by="InvoiceLine.id")


class InvoiceLine(TenantOwned, Model, is_paged=False):
    """One line: consultation, lab, medication or other."""

    __tablename__ = "invoice_lines"
    __table_args__ = (CheckConstraint("amount_cents > 0", name="amount_positive"),)

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(String(200))
    amount_cents: Mapped[int] = mapped_column(BigInteger)


_CANCELLED = text("status = 'cancelled'")
TO_RELEASE = Due("appointments", "pay_by", ("status = 'approved'", "pay_by IS NOT NULL"))


class Appointment(TenantOwned, Model):
    """A time with a clinician. `join_token` is the meeting's unguessable name; it opens only once confirmed.

    token: opens the visit's own page to who booked it. pay_by: an approved one that is not paid by then gives its time
    to others; None: it waits. overlap_why: staff booked it beside another one, and said why.
    """

    __tablename__ = "appointments"
    __table_args__ = (
        Index("ix_appointments_day", "tenant_id", "starts_at"),
        Index("ix_appointments_cancelled", "tenant_id", "id", sqlite_where=_CANCELLED, postgresql_where=_CANCELLED),
        TO_RELEASE.index("ix_appointments_release"),
        UniqueConstraint("tenant_id", "invoice_number"),
        CheckConstraint("kind IN ('virtual', 'onsite')", name="kind"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), index=True)
    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    starts_at: Mapped[datetime]
    duration_minutes: Mapped[int]
    price_cents: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20), default="pending_approval")
    place: Mapped[str] = mapped_column(String(200), default="")
    join_token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    meeting_url: Mapped[str | None] = mapped_column(String(300))
    invoice_number: Mapped[str] = mapped_column(String(20))  # reserved at booking, issued at approval
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"), unique=True)
    confirmed_at: Mapped[datetime | None]
    service_id: Mapped[int | None] = mapped_column(ForeignKey("services.id"))
    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    pay_by: Mapped[datetime | None]
    buffer_minutes: Mapped[int] = mapped_column(default=0)
    overlap_why: Mapped[str] = mapped_column(String(200), default="")
    service: Mapped[Service | None] = relationship()
    patient: Mapped[Patient] = relationship()
    clinician: Mapped[Clinician] = relationship()
    invoice: Mapped[Invoice | None] = relationship()
    tenant: Mapped[Tenant] = relationship()

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + timedelta(minutes=self.duration_minutes)


class OccupiedTime(TenantOwned, Model, is_paged=False):
    """Five minutes of a clinician that one appointment has: the unique key is what makes double booking impossible."""

    __tablename__ = "occupied_times"
    __table_args__ = (UniqueConstraint("clinician_id", "starts_at"),)

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    appointment_id: Mapped[int] = mapped_column(ForeignKey("appointments.id"), index=True)
    starts_at: Mapped[datetime]


class Booking(TenantOwned, Model, is_paged=False):
    """What somebody wants to book, until they show by a code that the phone is theirs. It holds no slot.

    code_hash: of the six digits that were sent, keyed by the booking's uid. clinician_id: None for whoever is free.
    appointment_id: what came of it.
    """

    __tablename__ = "bookings"
    __table_args__ = (
        Index("ix_bookings_phone", "tenant_id", "phone_hash", "created_at"),
        Index("ix_bookings_recent", "tenant_id", "created_at"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id"))
    clinician_id: Mapped[int | None] = mapped_column(ForeignKey("clinicians.id"))
    kind: Mapped[str] = mapped_column(String(10))
    starts_at: Mapped[datetime]
    name_sealed: Mapped[str] = sealed(vault.TEXT)
    phone_sealed: Mapped[str] = sealed(vault.PHONE)
    phone_hash: Mapped[str] = mapped_column(String(64))
    locale: Mapped[str] = mapped_column(String(5), default="en")
    code_hash: Mapped[str] = mapped_column(String(64))
    wrong_codes: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]
    appointment_id: Mapped[int | None] = mapped_column(ForeignKey("appointments.id"), unique=True)
