"""Invoices: issuing, finding, voiding. Whether one is paid is its payment's to say."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import Connection

from portal.audit import chain
from portal.clinic import people
from portal.clinic.billing import lines as billed
from portal.clinic.billing import numbers
from portal.clinic.models import Appointment, CreditNote, Discount, Invoice, InvoiceLine, InvoiceWord, Patient
from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db, new_uid
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.phone import normalise_msisdn
from portal.payments import status
from portal.payments.closing import close_payment
from portal.payments.models import Payment
from portal.payments.payment import ReferenceTaken, lock_payment, open_payment
from portal.payments.states import PaymentState
from portal.payments.wallets import wallets
from portal.tenants.counters import skip_to, take_number
from portal.tenants.models import Tenant

PAGE_ROWS = 50
LOOK_AHEAD = 500  # numbers looked at together, past those that an import brought
MOST_TRIES = 5


def next_number(tenant: Tenant) -> str:
    """The next invoice number: `INV10019`. Short, in capitals and digits: a payer types it as account.

    Its last digit shows slips. Numbers that an import brought, or that were given without one, are passed over.
    """
    count = take_number(tenant.id, "invoice")
    if not is_taken(tenant.id, numbers.of_count(numbers.INVOICE, count)):
        return numbers.of_count(numbers.INVOICE, count)
    while (free := _free_from(tenant.id, count)) is None:
        count += LOOK_AHEAD
    skip_to(tenant.id, "invoice", free)
    return numbers.of_count(numbers.INVOICE, free)


def is_taken(tenant_id: int, number: str) -> bool:
    """Whether something to be paid is called so already."""
    named = select(Payment.id).where(Payment.tenant_id == tenant_id, Payment.reference == number)
    return db.session.scalar(named) is not None


def _free_from(tenant_id: int, count: int) -> int | None:
    """The first whose number is free of the LOOK_AHEAD from this on, or None."""
    names = {numbers.of_count(numbers.INVOICE, each): each for each in range(count, count + LOOK_AHEAD)}
    taken = select(Payment.reference).where(Payment.tenant_id == tenant_id, Payment.reference.in_(list(names)))
    return min(set(names.values()) - {names[name] for name in db.session.scalars(taken)}, default=None)


def issue(
    tenant: Tenant,
    *,
    lines: Sequence[Mapping[str, Any]],
    patient: Patient | None = None,
    payer: Mapping[str, Any] | None = None,
    number: str | None = None,
    branch_id: int | None = None,
    uid: str | None = None,
    actor: str,
) -> Invoice:
    """A new invoice with something to pay. The caller commits. Raises Refused with every field at fault.

    lines: as `billing.lines.check` reads them. payer: {name, phone} where there is no patient. uid: 24 hexadecimal
    digits of the form that makes it, which makes one.
    """
    checked = billed.check(tenant.id, lines)
    total_cents = sum(line["amount_cents"] for line in checked)
    gateway = client_factory.choose(tenant.id, "clinic")
    name, msisdn = _payer(patient, payer, tenant.id)
    payment = _numbered(
        tenant,
        gateway,
        number,
        amount_cents=total_cents,
        phone_sealed=personal.seal_phone(msisdn, tenant.id) if msisdn else None,
        phone_hash=personal.phone_hash(msisdn, tenant.id) if msisdn else None,
        actor=actor,
    )
    number = payment.reference
    invoice = Invoice(
        tenant_id=tenant.id,
        number=number,
        uid=uid or new_uid(),
        patient_id=patient.id if patient else None,
        payer_name_sealed=personal.seal_text(name, tenant.id),
        payer_phone_sealed=payment.phone_sealed,
        payer_phone_hash=payment.phone_hash,
        payment_id=payment.id,
        branch_id=branch_id,
        served_by_id=int(actor[5:]) if actor.startswith("user:") and actor[5:].isdecimal() else None,
    )
    db.session.add(invoice)
    db.session.flush()
    words = sorted(personal.word_hashes(name, tenant.id))
    db.session.add_all(InvoiceWord(tenant_id=tenant.id, invoice_id=invoice.id, word_hash=one) for one in words)
    db.session.add_all(InvoiceLine(tenant_id=tenant.id, invoice_id=invoice.id, **line) for line in checked)
    db.session.flush()
    chain.record(
        tenant.id,
        "invoice",
        invoice.id,
        "issued",
        actor=actor,
        new=number,
        details={"amount_cents": total_cents},
    )
    return invoice


def _numbered(tenant: Tenant, gateway: Gateway, number: str | None, **columns: Any) -> Payment:
    """Its payment, under this number or else the next free one. Raises ReferenceTaken for a number that is taken."""
    for _try in range(MOST_TRIES):
        reference = number or next_number(tenant)
        try:
            return open_payment(
                tenant,
                gateway,
                environment=gateway.environment,
                purpose="clinic",
                reference=reference,
                title=f"Invoice {reference}",
                **columns,
            )
        except ReferenceTaken:
            if number is not None:
                raise
    raise ReferenceTaken("Other invoices take their numbers at this moment. Try again.")


def _payer(patient: Patient | None, payer: Mapping[str, Any] | None, tenant_id: int) -> tuple[str, str | None]:
    if patient is not None:
        return (
            personal.open_text(patient.name_sealed, tenant_id) or "",
            personal.open_phone(patient.phone_sealed, tenant_id),
        )
    name = str((payer or {}).get("name") or "").strip()
    if len(name) > people.LONGEST_NAME:
        sentence = f"At most {people.LONGEST_NAME} characters."
        raise Refused(
            f"The payer's name is too long. {sentence}", code="invalid_fields", fields={"payer.name": sentence}
        )
    if not name:
        raise Refused("Name the payer.", code="invalid_fields", fields={"payer.name": "Enter the payer's name."})
    phone = (payer or {}).get("phone")
    return name, normalise_msisdn(phone) if phone else None


def by_number(tenant_id: int, number: str) -> Invoice:
    """The tenant's invoice of this number. Raises NotFound."""
    invoice = db.session.scalars(
        select(Invoice).where(Invoice.tenant_id == tenant_id, Invoice.number == number.strip().upper())
    ).one_or_none()
    if invoice is None:
        raise NotFound(f"There is no invoice {number[:20]} here.")
    return invoice


def of_payment(payment_id: int) -> Invoice | None:
    """The invoice that this payment pays, or None."""
    return db.session.scalars(select(Invoice).where(Invoice.payment_id == payment_id)).one_or_none()


def of_payments(connection: Connection, payment_ids: Collection[int]) -> dict[int, Any]:
    """{payment: (patient, appointment_id)} of those that an invoice asks for; each None where there is none.

    patient: the id that the API gives.
    """
    issued = select(Invoice.payment_id, Patient.uid.label("patient"), Appointment.id.label("appointment_id"))
    issued = issued.outerjoin(Appointment, Appointment.invoice_id == Invoice.id)
    issued = issued.outerjoin(Patient, Patient.id == Invoice.patient_id)
    return {row.payment_id: row for row in connection.execute(issued.where(Invoice.payment_id.in_(payment_ids)))}


def void(invoice: Invoice, *, why: str, actor: str) -> None:
    """Take an unpaid invoice back. What wallets paid is in them again.

    Raises Conflict while other money is on it, or a visit that waits for it. The caller commits, then enqueues
    WITHDRAW.
    """
    payment = lock_payment(invoice.payment_id)
    if invoice.voided_at is not None:
        raise Conflict(_("This invoice is void."))
    waits = select(Appointment.id).where(Appointment.invoice_id == invoice.id, Appointment.status == "approved")
    if db.session.scalar(waits) is not None:
        raise Conflict(_("A visit waits for this invoice to be paid: cancel the visit instead."))
    wallets.put_back(payment.id, actor=actor)
    if payment.allocated_cents > payment.refunded_cents:
        raise Conflict(_("Invoice %(number)s has money on it; refund that first.", number=invoice.number))
    withdraw(invoice, why=why, actor=actor)


def withdraw(invoice: Invoice, *, why: str, actor: str) -> None:
    """Stop offering an invoice that is not paid in full: a part that came waits to be placed. The caller commits."""
    close_payment(lock_payment(invoice.payment_id), why=why, actor=actor)
    invoice.voided_at = clock.now()
    chain.record(invoice.tenant_id, "invoice", invoice.id, "voided", actor=actor, why=why)


def status_of(invoice: Invoice) -> str:
    """unpaid, part_paid, paid, partially_refunded, refunded, waived, credited or void.

    Void as well: what can no longer be paid and was not, as of a visit that was cancelled.
    """
    payment = invoice.payment
    if invoice.voided_at or (payment.state == PaymentState.CLOSED and not payment.allocated_cents):
        return "void"
    if payment.amount_cents == 0:
        noted = select(CreditNote.id).where(CreditNote.invoice_id == invoice.id).limit(1)
        return "waived" if db.session.scalar(noted) is None else "credited"
    if payment.state == PaymentState.PAID:
        return status.status_word(payment, None)
    return "part_paid" if payment.allocated_cents else "unpaid"


def billed_cents(invoice: Invoice) -> int:
    """What its documents ask for, whatever became of its payment: lines, less discounts and credit notes."""
    given = select(func.coalesce(func.sum(Discount.amount_cents), 0))
    given = given.where(Discount.invoice_id == invoice.id, Discount.status == "approved")
    noted = select(func.coalesce(func.sum(CreditNote.amount_cents), 0)).where(CreditNote.invoice_id == invoice.id)
    less = int(db.session.scalar(given) or 0) + int(db.session.scalar(noted) or 0)
    return sum(line.amount_cents for line in invoice.lines) - less


def payer_name(invoice: Invoice) -> str:
    """The payer's name, for staff."""
    return personal.open_text(invoice.payer_name_sealed, invoice.tenant_id) or "Anonymised"


def forget_payer(patient: Patient, *, actor: str) -> int:
    """Erase who this person is from their invoices: name, phone, the words they are found by, notes; how many.

    Numbers, amounts, receipts and the books stay. For whoever erases the patient; what the payments' own rows know of a
    phone is theirs to erase. The caller commits.
    """
    mine = select(Invoice.id).where(Invoice.patient_id == patient.id)
    db.session.execute(delete(InvoiceWord).where(InvoiceWord.invoice_id.in_(mine)))
    gone = dict.fromkeys(("payer_name_sealed", "payer_phone_sealed", "payer_phone_hash", "notes_sealed"))
    ids = db.session.scalars(update(Invoice).where(Invoice.patient_id == patient.id).values(gone).returning(Invoice.id))
    forgotten = len(ids.all())
    chain.record(patient.tenant_id, "patient", patient.id, "invoices_forgot", actor=actor)
    return forgotten


def latest(tenant_id: int, limit: int = PAGE_ROWS, before_id: int | None = None) -> list[Invoice]:
    """The newest invoices."""
    mine = select(Invoice).join(Payment).where(Invoice.tenant_id == tenant_id)
    if before_id is not None:
        mine = mine.where(Invoice.id < before_id)
    return list(db.session.scalars(mine.order_by(Invoice.id.desc()).limit(limit)))
