"""Patients, clinicians, appointments and what they owe."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, new_token, new_uid, sealed
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


class Appointment(TenantOwned, Model):
    """A time with a clinician. `join_token` is the meeting's unguessable name; it opens only once confirmed."""

    __tablename__ = "appointments"
    __table_args__ = (
        Index("ix_appointments_day", "tenant_id", "starts_at"),
        Index("ix_appointments_cancelled", "tenant_id", "id", sqlite_where=_CANCELLED, postgresql_where=_CANCELLED),
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
    patient: Mapped[Patient] = relationship()
    clinician: Mapped[Clinician] = relationship()
    invoice: Mapped[Invoice | None] = relationship()
    tenant: Mapped[Tenant] = relationship()

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + timedelta(minutes=self.duration_minutes)
