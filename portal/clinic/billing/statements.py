"""A patient's statement: what was charged, taken off, paid and sent back, day by day, and what is still due.

Decided: what went back without a credit note, as after a cancelled visit, is taken off what was charged, and stands
once more where M-Pesa sent it back. So all entries together are what is due, less what is on its way back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from portal.clinic.billing import credit_notes, discounts, receipts
from portal.clinic.models import Invoice, Patient
from portal.kernel.db import db
from portal.payments.models import Payment
from portal.payments.states import PaymentState

MOST_INVOICES = 100


@dataclass(frozen=True)
class Entry:
    """One line. kind: charged, discount, credit_note, taken_off, void, paid, sent_back. Cents: owed more positive.

    about: the invoice's number; reference: of the receipt, or the credit note.
    """

    at: datetime
    kind: str
    about: str
    amount_cents: int
    reference: str = ""
    channel: str = ""


@dataclass(frozen=True)
class Statement:
    """Entries, oldest first, and what they come to."""

    entries: tuple[Entry, ...]
    due_cents: int
    has_more: bool

    def total_cents(self, *kinds: str) -> int:
        """The sum of the entries of these kinds, without its sign."""
        return abs(sum(one.amount_cents for one in self.entries if one.kind in kinds))


def of_patient(patient: Patient, *, environment: str, since: datetime | None = None) -> Statement:
    """The newest MOST_INVOICES invoices of a patient, in the money of this environment; since: issued from then on."""
    mine = select(Invoice).join(Payment).where(Invoice.patient_id == patient.id, Payment.environment == environment)
    if since is not None:
        mine = mine.where(Invoice.created_at >= since)
    found = db.session.scalars(mine.order_by(Invoice.id.desc()).limit(MOST_INVOICES + 1)).all()
    shown = found[:MOST_INVOICES]
    entries = sorted((one for invoice in shown for one in _entries(invoice)), key=lambda one: one.at)
    due_cents = sum(one.payment.due_cents for one in shown if one.payment.state == PaymentState.OPEN)
    return Statement(tuple(entries), due_cents, has_more=len(found) > MOST_INVOICES)


def _entries(invoice: Invoice) -> Iterable[Entry]:
    number, payment = invoice.number, invoice.payment
    charged_cents = sum(line.amount_cents for line in invoice.lines)
    yield Entry(invoice.created_at, "charged", number, charged_cents)
    for one in discounts.of_invoice(invoice.id):
        if one.status == discounts.APPROVED:
            yield Entry(one.decided_at or one.created_at, "discount", number, -one.amount_cents)
    noted = credit_notes.of_invoice(invoice.id)
    for note in noted:
        yield Entry(note.created_at, "credit_note", number, -note.amount_cents, note.number)
    for money in receipts.received(payment):
        yield Entry(money.at, "paid", number, -money.amount_cents, money.receipt or "", money.channel)
    sent = receipts.sent_back(payment)
    for cents, receipt, at in sent:
        yield Entry(at, "sent_back", number, cents, receipt or "")
    if payment.state == PaymentState.CLOSED:
        off_cents = sum(one.amount_cents for one in noted)
        off_cents += sum(one.amount_cents for one in discounts.of_invoice(invoice.id) if one.status == "approved")
        yield Entry(invoice.voided_at or payment.created_at, "void", number, off_cents - charged_cents)
        return
    noted_back = sum(one.amount_cents - one.less_due_cents for one in noted if one.money_back == credit_notes.REFUND)
    without_note = max(0, sum(cents for cents, _receipt, _at in sent) - noted_back)
    if off_cents := without_note + receipts.taken_off_cents(invoice):
        last = max((at for _cents, _receipt, at in sent), default=payment.paid_at or invoice.created_at)
        yield Entry(last, "taken_off", number, -off_cents)
