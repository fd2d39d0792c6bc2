"""Patients, clinicians, appointments and what they owe."""

from datetime import date, datetime, timedelta

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.clinic.states import WishState
from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, new_token, new_uid, sealed
from portal.kernel.due import Due
from portal.payments.models import Payment
from portal.tenants.models import Tenant


class Branch(TenantOwned, Model):
    """One of a clinic's places, with hours and closed days of its own. One without any uses the tenant's address."""

    __tablename__ = "branches"

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    name: Mapped[str] = mapped_column(String(80))
    address: Mapped[str] = mapped_column(String(200), default="")
    phone: Mapped[str] = mapped_column(String(20), default="")
    position: Mapped[int] = mapped_column(default=0)
    closed_at: Mapped[datetime | None]


class BranchHours(TenantOwned, Model, is_paged=False):
    """When a branch is open, week by week, on the clinic's clock. One without rows is open whenever somebody works."""

    __tablename__ = "branch_hours"
    __table_args__ = (
        Index("ix_branch_hours_branch", "branch_id", "weekday"),
        CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday"),
        CheckConstraint("starts_minute >= 0 AND starts_minute < ends_minute AND ends_minute <= 1440", name="minutes"),
    )

    branch_id: Mapped[int] = mapped_column(ForeignKey("branches.id"))
    weekday: Mapped[int]
    starts_minute: Mapped[int]
    ends_minute: Mapped[int]


class ClosedDay(TenantOwned, Model, is_paged=False):
    """Days that a clinic, or one branch, is closed beside the public holidays; first and last day included.

    branch_id: None for all of them.
    """

    __tablename__ = "closed_days"
    __table_args__ = (
        Index("ix_closed_days_tenant", "tenant_id", "last_day"),
        CheckConstraint("first_day <= last_day", name="not_empty"),
    )

    branch_id: Mapped[int | None] = mapped_column(ForeignKey("branches.id"))
    name: Mapped[str] = mapped_column(String(80), default="")
    first_day: Mapped[date]
    last_day: Mapped[date]


class Patient(TenantOwned, Model):
    """A person who is treated. Every personal value is sealed.

    guardian_id: who books and pays for this one, as for a child. consented_at: when they, or their guardian, agreed to
    the clinic keeping these data, and consent_by says how: page, desk or import. locale: the language they are told in;
    "": the clinic's.
    """

    __tablename__ = "patients"
    __table_args__ = (
        Index("ix_patients_phone", "tenant_id", "phone_hash"),
        Index("ix_patients_email", "tenant_id", "email_hash"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name_sealed: Mapped[str | None] = sealed(vault.TEXT)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    email_sealed: Mapped[str | None] = sealed(vault.TEXT)
    email_hash: Mapped[str | None] = mapped_column(String(64))
    guardian_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"), index=True)
    consented_at: Mapped[datetime | None]
    consent_by: Mapped[str] = mapped_column(String(20), default="")
    locale: Mapped[str] = mapped_column(String(5), default="")
    erased_at: Mapped[datetime | None]


class PatientWord(TenantOwned, Model, is_paged=False):
    """A word of a patient's name, hashed with a key: the name itself is sealed, and is found by its words."""

    __tablename__ = "patient_words"
    __table_args__ = (UniqueConstraint("tenant_id", "word_hash", "patient_id"),)

    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), index=True)
    word_hash: Mapped[str] = mapped_column(String(64))


class PatientSignIn(TenantOwned, Model, is_paged=False):
    """A browser that has shown by a code whose phone or e-mail address it is. It ends when its row goes.

    digest: of the random token in the cookie. address_hash: of the phone or the address; channel says which.
    """

    __tablename__ = "patient_sign_ins"
    __table_args__ = (Index("ix_patient_sign_ins_address", "tenant_id", "address_hash"),)

    digest: Mapped[str] = mapped_column(String(64), unique=True)
    channel: Mapped[str] = mapped_column(String(10))
    address_hash: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime]


class Clinician(TenantOwned, Model):
    """A person who treats."""

    __tablename__ = "clinicians"

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(80))
    title: Mapped[str] = mapped_column(String(80), default="")
    fee_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)  # reminded an hour before each visit
    works_holidays: Mapped[bool] = mapped_column(default=False)
    left_at: Mapped[datetime | None]


class Service(TenantOwned, Model):
    """What the clinic offers. kinds: onsite, virtual, or both by a comma.

    step_minutes: how far apart its slots begin; buffer_minutes: kept free behind each visit; notice_minutes: how long
    before its beginning it can be booked at the latest; horizon_days: how far ahead. hold_minutes: how long an approved
    visit waits for its money before its time is given to others. needs_approval: a clinician decides on each booking.
    cancel_hours: until when before it a patient may cancel or move it freely. late_keeps_percent: of what was paid, the
    part that the clinic keeps of a later cancellation or a no-show. money_back: whether what it does not keep goes back
    by M-Pesa (refund) or into the patient's wallet (credit). deposit_cents: paying this much confirms the visit, the
    rest is due there; None: the whole price does.
    """

    __tablename__ = "services"
    __table_args__ = (
        CheckConstraint("price_cents > 0", name="price_positive"),
        CheckConstraint("duration_minutes > 0", name="duration_positive"),
        CheckConstraint("late_keeps_percent BETWEEN 0 AND 100", name="late_keeps"),
        CheckConstraint("money_back IN ('refund', 'credit')", name="money_back"),
        CheckConstraint("deposit_cents > 0 AND deposit_cents < price_cents", name="deposit"),
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
    late_keeps_percent: Mapped[int] = mapped_column(default=0)
    money_back: Mapped[str] = mapped_column(String(10), default="refund")
    deposit_cents: Mapped[int | None] = mapped_column(BigInteger)
    needs_approval: Mapped[bool] = mapped_column(default=True)
    position: Mapped[int] = mapped_column(default=0)
    withdrawn_at: Mapped[datetime | None]


class ClinicianService(TenantOwned, Model, is_paged=False):
    """Who offers what. price_cents: this clinician's own price; None: the service's."""

    __tablename__ = "clinician_services"
    __table_args__ = (UniqueConstraint("clinician_id", "service_id"),)

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id"), index=True)
    price_cents: Mapped[int | None] = mapped_column(BigInteger)


class WorkingHours(TenantOwned, Model, is_paged=False):
    """When a clinician works, week by week, on the clinic's clock. weekday: 0 is Monday; minutes are from midnight.

    branch_id: where; None: wherever the clinic is.
    """

    __tablename__ = "working_hours"
    __table_args__ = (
        Index("ix_working_hours_clinician", "clinician_id", "weekday"),
        CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday"),
        CheckConstraint("starts_minute >= 0 AND starts_minute < ends_minute AND ends_minute <= 1440", name="minutes"),
    )

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    branch_id: Mapped[int | None] = mapped_column(ForeignKey("branches.id"))
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
    """What somebody owes, with lines. Paid or not is its payment's to say.

    verify_token: of the page that says whether a printed receipt is genuine. prints: how often a receipt was printed;
    the second one says COPY. notes_sealed: what staff add to it, a line each. served_by_id: who made it at the desk.
    """

    __tablename__ = "invoices"
    __table_args__ = (
        UniqueConstraint("tenant_id", "number"),
        Index("ix_invoices_payer", "tenant_id", "payer_phone_hash"),
        Index("ix_invoices_issued", "tenant_id", "created_at"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    number: Mapped[str] = mapped_column(String(20))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"), index=True)
    payer_name_sealed: Mapped[str | None] = sealed(vault.TEXT)
    payer_phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    payer_phone_hash: Mapped[str | None] = mapped_column(String(64))
    served_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), unique=True)
    voided_at: Mapped[datetime | None]
    verify_token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    prints: Mapped[int] = mapped_column(default=0)
    notes_sealed: Mapped[str | None] = sealed(vault.TEXT)
    branch_id: Mapped[int | None] = mapped_column(ForeignKey("branches.id"))
    payment: Mapped[Payment] = relationship()
    patient: Mapped[Patient | None] = relationship()
    lines: Mapped[list["InvoiceLine"]] = relationship(order_by="InvoiceLine.id")


class InvoiceWord(TenantOwned, Model, is_paged=False):
    """A word of a payer's name, hashed with a key: the name itself is sealed, and is found by its words."""

    __tablename__ = "invoice_words"
    __table_args__ = (UniqueConstraint("tenant_id", "word_hash", "invoice_id"),)

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), index=True)
    word_hash: Mapped[str] = mapped_column(String(64))


class InvoiceLine(TenantOwned, Model, is_paged=False):
    """One line: consultation, lab, medication or other. amount_cents: of all its pieces together."""

    __tablename__ = "invoice_lines"
    __table_args__ = (
        CheckConstraint("amount_cents > 0", name="amount_positive"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
    )

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(String(200))
    quantity: Mapped[int] = mapped_column(default=1)
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    price_item_id: Mapped[int | None] = mapped_column(ForeignKey("price_items.id"))
    price_item: Mapped["PriceItem | None"] = relationship()


class PriceItem(TenantOwned, Model):
    """A line of the price list. One whose price changes is withdrawn, and a new one takes its place."""

    __tablename__ = "price_items"
    __table_args__ = (CheckConstraint("price_cents > 0", name="price_positive"),)

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(200))
    price_cents: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(default=0)
    withdrawn_at: Mapped[datetime | None]


class Discount(TenantOwned, Model):
    """Less to pay on an invoice, or nothing at all (a waiver): asked for with a reason, approved by somebody else.

    status: requested, approved or refused. One that waits changes nothing.
    """

    __tablename__ = "invoice_discounts"
    __table_args__ = (CheckConstraint("amount_cents > 0", name="amount_positive"),)

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), index=True)
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    why: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(10), default="requested")
    requested_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    invoice: Mapped[Invoice] = relationship()


class CreditNote(TenantOwned, Model):
    """What an issued invoice asks too much: it is not changed, this stands against it. number: a series of its own.

    less_due_cents: how much of it was not paid yet, and is not due any more. The rest had been paid and goes back:
    money_back says how, by M-Pesa (refund) or into the patient's wallet (credit); "": nothing does.
    """

    __tablename__ = "credit_notes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "number"),
        CheckConstraint("amount_cents > 0", name="amount_positive"),
        CheckConstraint("less_due_cents >= 0 AND less_due_cents <= amount_cents", name="less_due"),
        CheckConstraint("money_back IN ('', 'refund', 'credit')", name="money_back"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    number: Mapped[str] = mapped_column(String(20))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), index=True)
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    less_due_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    money_back: Mapped[str] = mapped_column(String(10), default="")
    why: Mapped[str] = mapped_column(String(200))
    made_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    key: Mapped[str | None] = mapped_column(String(80), unique=True)
    invoice: Mapped[Invoice] = relationship()


_OWES = text("owes_since IS NOT NULL")
TO_RELEASE = Due("appointments", "pay_by", ("status = 'approved'", "pay_by IS NOT NULL"))
TO_REMIND = Due("appointments", "remind_at", ("status = 'confirmed'", "remind_at IS NOT NULL"))
TO_OFFER = Due("waiting_wishes", "look_at", ("state = 'waiting'", "look_at IS NOT NULL"))


class Appointment(TenantOwned, Model):
    """A time with a clinician. `join_token` is the meeting's unguessable name; it opens only once confirmed.

    token: opens the visit's own page to who booked it. pay_by: an approved one that is not paid by then gives its time
    to others; None: it waits. overlap_why: staff booked it beside another one, and said why.

    cancel_hours, late_keeps_percent, money_back, deposit_cents, hold_minutes: the service's terms when it was booked,
    which hold.
    remind_at: when the next reminder is due. attending_at: the patient answered that they come. calendar_sequence: of
    the calendar file, one more at each change. released_at: it was not paid in time, and its time went to others.
    kept_cents: what the clinic keeps of its money by those terms, once it was cancelled or missed; None: staff decide.
    owes_since: since when it is off while money of its payer is still here; None once that has gone back.
    arrived_at, started_at, ended_at: what the desk and the clinician saw.
    """

    __tablename__ = "appointments"
    __table_args__ = (
        Index("ix_appointments_day", "tenant_id", "starts_at"),
        Index("ix_appointments_owes", "tenant_id", "id", sqlite_where=_OWES, postgresql_where=_OWES),
        TO_RELEASE.index("ix_appointments_release"),
        TO_REMIND.index("ix_appointments_remind"),
        Index("ix_appointments_clinician_day", "clinician_id", "starts_at"),
        UniqueConstraint("tenant_id", "invoice_number"),
        CheckConstraint("kind IN ('virtual', 'onsite')", name="kind"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), index=True)
    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
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
    branch_id: Mapped[int | None] = mapped_column(ForeignKey("branches.id"))
    series_id: Mapped[int | None] = mapped_column(ForeignKey("appointment_series.id"), index=True)
    cancel_hours: Mapped[int] = mapped_column(default=24)
    late_keeps_percent: Mapped[int] = mapped_column(default=0)
    money_back: Mapped[str] = mapped_column(String(10), default="refund")
    deposit_cents: Mapped[int | None] = mapped_column(BigInteger)
    hold_minutes: Mapped[int | None]
    remind_at: Mapped[datetime | None]
    attending_at: Mapped[datetime | None]
    calendar_sequence: Mapped[int] = mapped_column(default=0)
    arrived_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]
    kept_cents: Mapped[int | None] = mapped_column(BigInteger)
    owes_since: Mapped[datetime | None]
    service: Mapped[Service | None] = relationship()
    patient: Mapped[Patient] = relationship()
    clinician: Mapped[Clinician] = relationship()
    invoice: Mapped[Invoice | None] = relationship()
    branch: Mapped[Branch | None] = relationship()
    tenant: Mapped[Tenant] = relationship()

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + timedelta(minutes=self.duration_minutes)

    @property
    def public_status(self) -> str:
        """The word that API and events have for it: one under way is `confirmed` there, with its `started_at`."""
        return "confirmed" if self.status == "started" else self.status


class VisitQuestion(TenantOwned, Model, is_paged=False):
    """A reminder that asks for an answer by SMS: 1 to come, 2 to cancel.

    phone_key: of the number that was asked, the same in every tenant, since all of them are answered at one short
    number. until: the visit's beginning.
    """

    __tablename__ = "visit_questions"
    __table_args__ = (UniqueConstraint("appointment_id"), Index("ix_visit_questions_phone", "phone_key", "until"))

    appointment_id: Mapped[int] = mapped_column(ForeignKey("appointments.id"))
    phone_key: Mapped[str] = mapped_column(String(64))
    until: Mapped[datetime]
    appointment: Mapped[Appointment] = relationship()


class AppointmentSeries(TenantOwned, Model, is_paged=False):
    """Visits that were booked in one go, such as eight Tuesdays."""

    __tablename__ = "appointment_series"

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    every_days: Mapped[int]


class WaitingWish(TenantOwned, Model, is_paged=False):
    """Somebody who would come earlier, or at all: offered what becomes free, one after the other, and paying claims it.

    state: unproved until the phone is shown to be theirs, then waiting, offered, taken, withdrawn or over. look_at:
    when a time that became free is to be looked for.
    appointment_id: the visit that is held for them while offered, and theirs once taken. token: of their own page.
    """

    __tablename__ = "waiting_wishes"
    __table_args__ = (
        Index("ix_waiting_wishes_service", "service_id", "state", "id"),
        Index("ix_waiting_wishes_phone", "tenant_id", "phone_hash"),
        TO_OFFER.index("ix_waiting_wishes_offer"),
        CheckConstraint("first_day <= last_day", name="not_empty"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id"))
    clinician_id: Mapped[int | None] = mapped_column(ForeignKey("clinicians.id"))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"))
    kind: Mapped[str] = mapped_column(String(10))
    first_day: Mapped[date]
    last_day: Mapped[date]
    name_sealed: Mapped[str] = sealed(vault.TEXT)
    phone_sealed: Mapped[str] = sealed(vault.PHONE)
    phone_hash: Mapped[str] = mapped_column(String(64))
    locale: Mapped[str] = mapped_column(String(5), default="en")
    state: Mapped[str] = mapped_column(String(10), default=WishState.WAITING)
    look_at: Mapped[datetime | None]
    appointment_id: Mapped[int | None] = mapped_column(ForeignKey("appointments.id"), unique=True)


class OccupiedTime(TenantOwned, Model, is_paged=False):
    """Five minutes of a clinician that one appointment has: the unique key is what makes double booking impossible."""

    __tablename__ = "occupied_times"
    __table_args__ = (UniqueConstraint("clinician_id", "starts_at"),)

    clinician_id: Mapped[int] = mapped_column(ForeignKey("clinicians.id"))
    appointment_id: Mapped[int] = mapped_column(ForeignKey("appointments.id"), index=True)
    starts_at: Mapped[datetime]


class Booking(TenantOwned, Model, is_paged=False):
    """What somebody wants to book or to wait for, until they show by a code that the phone is theirs. It holds no slot.

    wish_id: of who joins the waiting list; None: a visit is booked. shown: which state of the service they were shown
    (`services.version_of`). code_hash: of the six digits that were sent, keyed by the booking's uid. clinician_id:
    None for whoever is free.
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
    branch_id: Mapped[int | None] = mapped_column(ForeignKey("branches.id"))
    price_cents: Mapped[int] = mapped_column(BigInteger)  # as it was shown: what changes meanwhile is shown again
    shown: Mapped[str] = mapped_column(String(16), default="")
    wish_id: Mapped[int | None] = mapped_column(ForeignKey("waiting_wishes.id"), unique=True)
    code_hash: Mapped[str] = mapped_column(String(64))
    wrong_codes: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]
    appointment_id: Mapped[int | None] = mapped_column(ForeignKey("appointments.id"), unique=True)
