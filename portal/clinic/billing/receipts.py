"""What was received for an invoice, as every receipt shows it: on screen, on paper, and to whoever verifies one.

Decided: payment details are read from the books where notes are shown, instead of being copied into them: they are
appended exactly once, and a reversal is never left standing as a payment.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from portal.audit import chain
from portal.clinic.billing import credit_notes, discounts
from portal.clinic.billing.discounts import read_reason
from portal.clinic.models import Invoice
from portal.kernel import clock, personal
from portal.kernel.db import AS_WRITTEN, db
from portal.kernel.errors import Conflict
from portal.kernel.errors import Sentence as _
from portal.payments.models import Allocation, Payment, Transaction
from portal.payments.refunds import refunds
from portal.payments.states import RefundState

WALLET = "wallet"
MOST_NOTES = 5_000  # characters


@dataclass(frozen=True)
class Received:
    """Money that paid it. receipt: None while M-Pesa has not told it. channel: c2b, stk, cash, … or wallet."""

    receipt: str | None
    channel: str
    amount_cents: int
    at: datetime
    payer_shown: str = ""
    recorded_by_id: int | None = None
    uid: str = ""


def received(payment: Payment) -> list[Received]:
    """What stands on this payment now, oldest first."""
    given = (
        select(Allocation, Transaction)
        .outerjoin(Transaction, Transaction.id == Allocation.transaction_id)
        .where(Allocation.payment_id == payment.id, Allocation.taken_back_at.is_(None))
        .order_by(Allocation.id)
    )
    found = []
    for one, money in db.session.execute(given).all():
        if money is None:
            found.append(Received(None, WALLET, one.amount_cents, one.created_at))
        else:
            told = (money.receipt, money.channel, one.amount_cents, money.occurred_at)
            found.append(Received(*told, money.payer_shown, money.recorded_by_id, money.uid))
    return found


def count_print(invoice: Invoice, *, actor: str) -> int:
    """A receipt is printed: how many times with this one. From the second on it is a COPY. The caller commits."""
    counted = update(Invoice).where(Invoice.id == invoice.id).values(prints=Invoice.prints + 1)
    (now,) = db.session.scalars(counted.returning(Invoice).execution_options(**AS_WRITTEN)).all()
    chain.record(invoice.tenant_id, "invoice", invoice.id, "printed", actor=actor, details={"prints": now.prints})
    return now.prints


@dataclass(frozen=True)
class Verified:
    """What a receipt's QR code tells whoever scans it: no name, no lines.

    standing: valid, part (paid in part), unpaid, void. kept_cents: received and not sent back. paid_at: None if unpaid.
    """

    clinic: str
    number: str
    standing: str
    kept_cents: int
    sent_back_cents: int
    paid_at: datetime | None
    is_test: bool
    is_changed: bool


def verify(token: str) -> Verified | None:
    """What is true now of the invoice whose receipts carry this token, or None."""
    invoice = db.session.scalars(select(Invoice).where(Invoice.verify_token == token)).one_or_none()
    if invoice is None:
        return None
    payment = invoice.payment
    parts = received(payment)
    kept_cents = payment.allocated_cents - payment.refunded_cents
    standing = "valid" if payment.due_cents == 0 else "part" if kept_cents else "unpaid"
    return Verified(
        clinic=payment.tenant.name,
        number=invoice.number,
        standing="void" if invoice.voided_at else standing,
        kept_cents=kept_cents,
        sent_back_cents=payment.refunded_cents,
        paid_at=max((one.at for one in parts), default=payment.paid_at),
        is_test=payment.is_sandbox,
        is_changed=bool(payment.refunded_cents),
    )


def sent_back(payment: Payment) -> list[tuple[int, str | None, datetime]]:
    """(cents, M-Pesa's receipt, when) of what went back of it."""
    of_it = [one for one in refunds.of_payment(payment.id) if one.payment_id == payment.id]
    done = [one for one in of_it if one.state == RefundState.DONE]
    return [(one.amount_cents, one.receipt, one.ended_at or one.created_at) for one in done]


def taken_off_cents(invoice: Invoice) -> int:
    """How much less than its lines the invoice asks for, beside discounts and credit notes: given back by policy."""
    charged_cents = sum(line.amount_cents for line in invoice.lines)
    given = [one for one in discounts.of_invoice(invoice.id) if one.status == discounts.APPROVED]
    noted_cents = sum(
        one.less_due_cents if one.money_back == credit_notes.REFUND else one.amount_cents
        for one in credit_notes.of_invoice(invoice.id)
    )
    return charged_cents - sum(one.amount_cents for one in given) - noted_cents - invoice.payment.amount_cents


def add_note(invoice: Invoice, text: str, *, who: str, actor: str) -> None:
    """A line more in its notes, with day and name. Nothing there is ever changed. The caller commits.

    Raises Refused for no text, Conflict where they are full.
    """
    line = f"{clock.nairobi(clock.now()):%d/%m/%Y %H:%M} {who}: {read_reason(text)}"
    db.session.refresh(invoice, with_for_update=True)
    before = personal.open_text(invoice.notes_sealed, invoice.tenant_id) or ""
    if len(before) + len(line) > MOST_NOTES:
        raise Conflict(_("The notes of this invoice are full."))
    invoice.notes_sealed = personal.seal_text(f"{before}\n{line}".strip(), invoice.tenant_id)
    chain.record(invoice.tenant_id, "invoice", invoice.id, "noted", actor=actor)


def local(at: datetime) -> datetime:
    """On the clinic's clock."""
    return clock.nairobi(at)


def notes_of(invoice: Invoice) -> list[str]:
    """What staff added to it, a line each, oldest first."""
    return (personal.open_text(invoice.notes_sealed, invoice.tenant_id) or "").splitlines()
