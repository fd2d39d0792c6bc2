"""Finding invoices: by number, M-Pesa receipt, phone or the payer's name; and the patient that a payer is."""

from sqlalchemy import ColumnElement, and_, or_, select, union_all

from portal.clinic import people
from portal.clinic.models import Invoice, InvoiceWord, Patient
from portal.gateways import messages
from portal.gateways.settings import ENVIRONMENTS
from portal.kernel import personal
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments.models import OWING, Allocation, Payment, Transaction

PAGE_ROWS, MOST_WORDS, MOST_FAMILY = 50, 5, 20


def page(
    tenant_id: int, words: str = "", *, is_due: bool = False, before_id: int | None = None
) -> tuple[list[Invoice], int | None]:
    """(invoices newest first, the id to go on before or None). words: what names them; is_due: only those to be paid.

    Each way of finding has an index of its own: it costs as much as what it finds.
    """
    found = select(Invoice).where(Invoice.tenant_id == tenant_id)
    if words.strip():
        found = found.where(_is_called(tenant_id, words.replace("\0", " ")))
    if is_due:
        owing = select(Payment.id).where(Payment.tenant_id == tenant_id, OWING.waits)
        found = found.where(Invoice.payment_id.in_(owing), Invoice.voided_at.is_(None))
    if before_id is not None:
        found = found.where(Invoice.id < before_id)
    rows = list(db.session.scalars(found.order_by(Invoice.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None


def _is_called(tenant_id: int, words: str) -> ColumnElement[bool]:
    code = messages.normalise_account(words)
    mine = select(Invoice.id).where(Invoice.tenant_id == tenant_id)
    by_receipt = (
        mine.join(Allocation, Allocation.payment_id == Invoice.payment_id)
        .join(Transaction, Transaction.id == Allocation.transaction_id)
        .where(
            Transaction.tenant_id == tenant_id,
            Transaction.environment.in_(ENVIRONMENTS),
            Transaction.receipt == code,
        )
    )
    ways = [mine.where(Invoice.number.in_({code, f"INV{code}"})), by_receipt]
    try:
        phone_hash = personal.phone_hash(normalise_msisdn(words), tenant_id)
    except Refused:
        named = [
            Invoice.id.in_(select(InvoiceWord.invoice_id).where(*_word(tenant_id, one)))
            for one in sorted(personal.word_hashes(words, tenant_id))[:MOST_WORDS]
        ]
        ways.append(mine.where(and_(*named)))
    else:
        of_phone = select(Patient.id).where(Patient.tenant_id == tenant_id, Patient.phone_hash == phone_hash)
        ways.append(mine.where(or_(Invoice.payer_phone_hash == phone_hash, Invoice.patient_id.in_(of_phone))))
    return Invoice.id.in_(union_all(*ways))


def _word(tenant_id: int, word_hash: str) -> tuple[ColumnElement[bool], ...]:
    return InvoiceWord.tenant_id == tenant_id, InvoiceWord.word_hash == word_hash


def patient_called(tenant_id: int, *, name: str, msisdn: str) -> Patient | None:
    """The one patient with this phone and name, or None: a family may share the phone."""
    if not msisdn:
        return None
    mine = select(Patient).where(
        Patient.tenant_id == tenant_id,
        Patient.phone_hash == personal.phone_hash(msisdn, tenant_id),
        Patient.erased_at.is_(None),
    )
    called = " ".join(name.split()).casefold()
    found = db.session.scalars(mine.order_by(Patient.id).limit(MOST_FAMILY)).all()
    same = [one for one in found if " ".join(people.name_of(one).split()).casefold() == called]
    return same[0] if len(same) == 1 else None
