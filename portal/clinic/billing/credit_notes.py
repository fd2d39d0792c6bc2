"""Credit notes: what an issued invoice asks too much, taken off it by a document with a number of its own.

What was not paid yet is not due any more. What was paid goes back: by M-Pesa through `refunds`, or into the payer's
wallet through `reductions`; both count under the payment's lock what came and what went back before.
"""

from sqlalchemy import select

from portal.audit import chain
from portal.clinic.billing import numbers
from portal.clinic.billing.discounts import read_reason
from portal.clinic.models import CreditNote, Invoice
from portal.kernel import personal, vault
from portal.kernel.db import db
from portal.kernel.errors import Conflict, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.money import format_kes
from portal.payments import reductions
from portal.payments.models import Payment
from portal.payments.payment import lock_payment
from portal.payments.refunds import refunds
from portal.payments.states import PaymentState, RefundState
from portal.payments.wallets import wallets
from portal.tenants.counters import take_number

REFUND, CREDIT = "refund", "credit"


def make(
    invoice: Invoice, *, amount_cents: int, money_back: str, why: str, key: str, user_id: int, actor: str
) -> CreditNote:
    """Take so much off an invoice. The caller commits, then enqueues REQUESTS and PAID.

    money_back: refund or credit, for the part that was paid already. key: of the form: sent twice, it is one note.
    Raises Refused for more than the invoice asks or than may still go back, Conflict for a void invoice, one on which
    nothing was paid (void it, or give a discount), or a key that was used for something else.
    """
    why = read_reason(why)
    payment = lock_payment(invoice.payment_id)
    keyed = vault.lookup(f"{invoice.id}/{key}", context="credit-note")[:40] if key else None
    if keyed and (before := _keyed(keyed)):
        if before.amount_cents != amount_cents:
            raise Conflict(
                _("This form was sent for something else. Load the page again."), code="idempotency_conflict"
            )
        return before
    _check(invoice, payment, amount_cents, money_back)
    less_due_cents = min(amount_cents, payment.due_cents) if payment.state == PaymentState.OPEN else 0
    back_cents = amount_cents - less_due_cents
    note = CreditNote(
        tenant_id=invoice.tenant_id,
        number=numbers.of_count(numbers.CREDIT_NOTE, take_number(invoice.tenant_id, "credit_note")),
        invoice_id=invoice.id,
        amount_cents=amount_cents,
        less_due_cents=less_due_cents,
        money_back=money_back if back_cents else "",
        why=why,
        made_by=user_id,
        key=keyed,
    )
    db.session.add(note)
    db.session.flush()
    if less_due_cents:
        reductions.ask_less(payment, less_due_cents, why=why, actor=actor)
    if back_cents:
        _give_back(invoice, payment, note, back_cents, user_id=user_id, actor=actor)
    chain.record(
        invoice.tenant_id, "invoice", invoice.id, "credit_note", actor=actor, new=note.number, why=why,
        details={"amount_cents": amount_cents},
    )  # fmt: skip
    return note


def _check(invoice: Invoice, payment: Payment, amount_cents: int, money_back: str) -> None:
    if invoice.voided_at is not None or payment.state == PaymentState.CLOSED:
        raise Conflict(_("This invoice is void."))
    if money_back not in (REFUND, CREDIT):
        raise Refused(_("Say where paid money goes: back by M-Pesa, or into the patient's credit."))
    if payment.state == PaymentState.OPEN and not payment.allocated_cents:
        raise Conflict(_("Nothing is paid on it yet: void it, or give a discount."))
    may_be_cents = payment.amount_cents - _sent_back_cents(payment)
    if not 0 < amount_cents <= may_be_cents:
        sentence = _("At most %(amount)s can be taken off this invoice.", amount=format_kes(may_be_cents))
        raise Refused(sentence, code="over_invoice")


def _sent_back_cents(payment: Payment) -> int:
    """What went back by M-Pesa, or is on its way: that part of the invoice is taken off already."""
    of_it = [one for one in refunds.of_payment(payment.id) if one.payment_id == payment.id]
    return sum(one.amount_cents for one in of_it if one.state != RefundState.FAILED)


def _give_back(
    invoice: Invoice, payment: Payment, note: CreditNote, back_cents: int, *, user_id: int, actor: str
) -> None:
    if note.money_back == REFUND:
        method = refunds.may_go_back(payment)[1]
        refunds.ask_for(
            payment.id, amount_cents=back_cents, method=method, user_id=user_id, why=f"{note.number}: {note.why}",
            actor=actor, key=f"credit-note/{note.number}",
        )  # fmt: skip
        return
    msisdn = personal.open_phone(invoice.payer_phone_sealed, invoice.tenant_id)
    if msisdn is None:
        raise Refused(_("The payer's phone is not known, so there is no credit to keep it in. Send it back instead."))
    name = personal.open_text(invoice.payer_name_sealed, invoice.tenant_id) or ""
    customer = wallets.customer_of_phone(invoice.tenant_id, msisdn, name=name)
    reductions.make_credit(payment, back_cents, customer, key=note.number, actor=actor)


def _keyed(key: str) -> CreditNote | None:
    return db.session.scalars(select(CreditNote).where(CreditNote.key == key)).one_or_none()


def of_invoice(invoice_id: int) -> list[CreditNote]:
    """All of them, oldest first."""
    mine = select(CreditNote).where(CreditNote.invoice_id == invoice_id)
    return list(db.session.scalars(mine.order_by(CreditNote.id)))
