"""What one row of M-Pesa's records means here: which bucket it falls into, and what is booked because of it.

Money that was missing here is booked by the rules of every other witness: its receipt once, a push that it answers
succeeds, the payment that its account names is paid, a customer's account is credited, anything else waits for staff.
What M-Pesa itself took or moved (charges, sweeps to the bank, pay-outs that we did not ask for) is booked once, against
`mpesa_settled`: `mpesa_clearing` stays the sum of the money that transactions and refunds speak of, and the two
together are what M-Pesa holds.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import select

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import personal
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.kernel.money import format_kes
from portal.kernel.phone import without_phone
from portal.ledger import post
from portal.payments import booking, completion
from portal.payments.inbox.outcome import CallbackOutcome
from portal.payments.models import MpesaRequest, Refund, Transaction
from portal.payments.refunds import refunds
from portal.payments.states import REFUND_TOLD, InboxState, RefundState
from portal.reconciliation.statements import CHARGE, COMPLETED, PAYMENT, PAYOUT, REVERSAL, SWEEP, Row

MATCHED, CREATED, DIFFERENT, MISSING_THERE, INTERNAL = (
    "matched",
    "created",
    "different",
    "missing_there",
    "internal",
)
BUCKETS = (MATCHED, CREATED, DIFFERENT, MISSING_THERE, INTERNAL)
FLAGGED = (DIFFERENT, MISSING_THERE)
SETTLED = "mpesa_settled"  # what M-Pesa moved out of, or into, the organisation's account by itself
INTERNAL_ACCOUNTS = {CHARGE: "mpesa_charges", SWEEP: "bank", PAYOUT: "mpesa_payouts"}
_COUNTED_AS = {CHARGE: "as M-Pesa's charges", SWEEP: "as moved to the bank", PAYOUT: "as paid out"}
_REFUND_WITHIN = timedelta(days=1)


@dataclass(frozen=True)
class Verdict:
    """Where a row falls, and why, in a sentence for staff."""

    bucket: str
    why: str = ""
    transaction_id: int | None = None


@dataclass
class Known:
    """What we hold about the rows of one batch. actor: who the audit names; channel: how the money became known."""

    gateway: Gateway
    channel: str
    transactions: dict[str, Transaction]
    refunds: dict[str, Refund]
    reversed_in_file: frozenset[str] = frozenset()
    names_reversed: bool = False  # whether these records say which payment a reversal undoes
    seen: set[tuple[str, str, int]] = field(default_factory=set)
    postings: list[post.Posting] = field(default_factory=list)


def look_up(gateway: Gateway, rows: list[Row], *, channel: str) -> Known:
    """What we hold under the receipts of these rows."""
    receipts = {row.receipt for row in rows} | {row.linked_receipt for row in rows if row.linked_receipt}
    mine = select(Transaction).where(
        Transaction.tenant_id == gateway.tenant_id,
        Transaction.environment == gateway.environment,
        Transaction.receipt.in_(receipts),
    )
    back = select(Refund).where(
        Refund.tenant_id == gateway.tenant_id,
        Refund.environment == gateway.environment,
        Refund.receipt.in_(receipts),
    )
    return Known(
        gateway,
        channel,
        {item.receipt or "": item for item in db.session.scalars(mine)},
        {item.receipt or "": item for item in db.session.scalars(back)},
    )


def judge(row: Row, known: Known) -> Verdict:
    """The one bucket of this row; money that was missing is booked. The caller calls `post_internal`, and commits."""
    identity = (row.receipt, row.nature, row.signed_cents)
    if identity in known.seen:
        return Verdict(MATCHED, "It is in these records twice.", _id_of(known, row.receipt))
    known.seen.add(identity)
    if not row.signed_cents or row.status.lower() not in COMPLETED:
        return _not_completed(row, known)
    if row.nature == PAYMENT:
        return _payment(row, known)
    if row.nature == REVERSAL:
        return _reversal(row, known)
    if row.nature == PAYOUT:
        return _payout(row, known)
    return _internal(row, known)


def _id_of(known: Known, receipt: str) -> int | None:
    item = known.transactions.get(receipt)
    return item.id if item else None


def _not_completed(row: Row, known: Known) -> Verdict:
    item = known.transactions.get(row.receipt)
    if item is None or item.reversed_at or item.voided_at:
        return Verdict(INTERNAL, f"M-Pesa says {row.status}: no money moved.", item.id if item else None)
    if row.nature == PAYMENT and row.status.lower().startswith("revers"):
        return _take_back(item, row, known)
    return Verdict(DIFFERENT, f"M-Pesa says {row.status}; here it is money received.", item.id)


def _payment(row: Row, known: Known) -> Verdict:
    item = known.transactions.get(row.receipt)
    if item is None:
        return _missing_here(row, known)
    if item.amount_cents != row.paid_in_cents:
        return Verdict(DIFFERENT, _amounts(row, item), item.id)
    if item.voided_at:
        return Verdict(DIFFERENT, "Here it was taken back by hand; M-Pesa received it.", item.id)
    if item.reversed_at and known.names_reversed and row.receipt not in known.reversed_in_file:
        return Verdict(DIFFERENT, "Here it is reversed; these records name no reversal of it.", item.id)
    if item.unallocated_cents == item.amount_cents and not item.account and row.account:
        outcome = _place(row, known)  # a status answer books money without a word of what it was for
        item.account = item.account or without_phone(row.account)
        return Verdict(MATCHED, outcome.why, item.id)
    return Verdict(MATCHED, "", item.id)


def _amounts(row: Row, item: Transaction) -> str:
    here, there = format_kes(item.amount_cents), format_kes(abs(row.signed_cents))
    return f"Here it is {here}, at M-Pesa {there}."


def _missing_here(row: Row, known: Known) -> Verdict:
    """Book money that nobody told us of, or teach its receipt to money known by query."""
    outcome = _place(row, known)
    if outcome.state == InboxState.WAITING:
        return Verdict(DIFFERENT, f"{outcome.why} Nothing was booked.")
    transaction = known.transactions[row.receipt]
    if transaction.channel == known.channel:
        return Verdict(CREATED, f"Booked from M-Pesa's records. {outcome.why}", transaction.id)
    if transaction.amount_cents != row.paid_in_cents:
        return Verdict(DIFFERENT, _amounts(row, transaction), transaction.id)
    return Verdict(MATCHED, "It was known without its receipt, which was learnt from here.", transaction.id)


def _place(row: Row, known: Known) -> CallbackOutcome:
    """Send the row the way of a payment by hand."""
    gateway = known.gateway
    paid = messages.C2bPayment(
        transaction_type=row.kind,
        receipt=row.receipt,
        amount_cents=row.paid_in_cents,
        occurred_at=row.completed_at,
        shortcode=gateway.shortcode,
        account=row.account,
        payer=row.payer,
        first_name=row.payer_name,
    )
    incoming = completion.incoming_by_hand(known.channel, paid, row.completed_at)
    outcome = completion.place(gateway, paid, incoming, actor=known.channel)
    transaction = booking.by_receipt(gateway.tenant_id, gateway.environment, row.receipt)
    if transaction is not None:
        known.transactions[row.receipt] = transaction
    return outcome


def _reversal(row: Row, known: Known) -> Verdict:
    """Money of a payment going back: by our own refund, or by M-Pesa without us."""
    refund = known.refunds.get(row.receipt)
    if refund is not None:
        return _of_refund(row, refund)
    item = known.transactions.get(row.linked_receipt) or known.transactions.get(row.receipt)
    if item is None:
        why = f"It reverses {row.linked_receipt or 'a payment that is not named'}, which is not known here."
        return Verdict(DIFFERENT, why)
    if item.reversed_at:
        return Verdict(MATCHED, "Reversed here too.", item.id)
    if not row.withdrawn_cents:
        return Verdict(DIFFERENT, "A reversal that pays in. Find out what it undoes.", item.id)
    ours = select(Refund).where(
        Refund.transaction_id == item.id,
        Refund.method == "reversal",
        Refund.state.in_({RefundState.APPROVED, *REFUND_TOLD, RefundState.DONE}),
        Refund.receipt.is_(None),
    )
    if (refund := db.session.scalars(ours.order_by(Refund.id).limit(1)).first()) is not None:
        if refund.state in REFUND_TOLD and refund.amount_cents == row.withdrawn_cents:
            return _went(refund, row, known)
        if refund.state != RefundState.DONE:
            return Verdict(DIFFERENT, "Our own reversal, which still waits for M-Pesa's answer.", item.id)
        return _of_refund(row, refund)  # its result was lost: only its outcome is known
    if row.withdrawn_cents != item.amount_cents:
        return Verdict(DIFFERENT, f"Reversed by M-Pesa in part. {_amounts(row, item)}", item.id)
    return _take_back(item, row, known)


def _take_back(item: Transaction, row: Row, known: Known) -> Verdict:
    """M-Pesa has the money of this transaction back: what it paid is owed again."""
    booking.lock_with_payments(item.id)
    if booking.is_reversed_by_us(item):
        is_all = item.refunded_cents >= item.amount_cents
        return Verdict(MATCHED if is_all else DIFFERENT, "A refund of ours reversed it, whole or in part.", item.id)
    why = f"Reversed by M-Pesa: {row.receipt}."
    try:
        with db.session.begin_nested():
            booking.take_back(item, how=booking.REVERSED, why=why, actor=known.channel)
    except Refused as error:
        return Verdict(DIFFERENT, f"{why} It could not be taken back: {error.message}"[:300], item.id)
    return Verdict(DIFFERENT, f"{why} What it paid is owed again.", item.id)


def _payout(row: Row, known: Known) -> Verdict:
    refund = known.refunds.get(row.receipt)
    if refund is not None:
        return _of_refund(row, refund)
    if row.receipt in known.transactions:
        item = known.transactions[row.receipt]
        return Verdict(DIFFERENT, "Here it came in; at M-Pesa it went out.", item.id)
    alike = _pay_outs_like(row, known)
    left = [refund for refund in alike if refund.state in REFUND_TOLD]
    if len(left) == 1 and _is_to(row, left[0]):
        return _went(left[0], row, known)
    if left:
        why = "It may be a refund of ours that still waits for M-Pesa's answer. Nothing was booked."
        return Verdict(DIFFERENT, why, left[0].transaction_id)
    if failed := [refund for refund in alike if refund.state == RefundState.FAILED and _is_to(row, refund)]:
        why = "A refund of this amount to this phone failed here; at M-Pesa it went out. Nothing was booked."
        return Verdict(DIFFERENT, why, failed[0].transaction_id)
    return _internal(row, known)


def _pay_outs_like(row: Row, known: Known) -> list[Refund]:
    """Refunds of about this time and of this amount, whose receipt is not known, and that this row may be."""
    alike = refunds.with_request().where(
        Refund.method == "b2c",
        Refund.amount_cents == row.withdrawn_cents,
        Refund.receipt.is_(None),
        MpesaRequest.gateway_id == known.gateway.id,
        MpesaRequest.sent_at > row.completed_at - _REFUND_WITHIN,
        MpesaRequest.sent_at < row.completed_at + _REFUND_WITHIN,
    )
    found = db.session.scalars(alike.order_by(Refund.id)).all()
    return [refund for refund in found if row.payer.kind == "missing" or _is_to(row, refund)]


def _is_to(row: Row, refund: Refund) -> bool:
    """Whether the phone that the row names is, as far as it is shown, the one that this refund goes to."""
    msisdn = personal.open_phone(refund.phone_sealed, refund.tenant_id)
    return bool(msisdn and messages.payer_matches(row.payer, msisdn))


def _went(refund: Refund, row: Row, known: Known) -> Verdict:
    """M-Pesa's own record of a refund whose outcome it never told: it is done."""
    locked = refunds.lock(refund.id)
    if locked.state in REFUND_TOLD:
        refunds.done(locked, receipt=row.receipt, actor=known.channel)
    known.refunds[row.receipt] = locked
    return _of_refund(row, locked)


def _of_refund(row: Row, refund: Refund) -> Verdict:
    if refund.amount_cents != abs(row.signed_cents):
        here, there = format_kes(refund.amount_cents), format_kes(abs(row.signed_cents))
        return Verdict(DIFFERENT, f"The refund here is {here}, at M-Pesa {there}.", refund.transaction_id)
    if refund.state != RefundState.DONE:
        return Verdict(DIFFERENT, f"M-Pesa sent it; the refund here is {refund.state}.", refund.transaction_id)
    return Verdict(MATCHED, "Our refund.", refund.transaction_id)


def _internal(row: Row, known: Known) -> Verdict:
    """What M-Pesa moved by itself, to be booked once: the same row in two files has the same reference."""
    account = INTERNAL_ACCOUNTS[row.nature]
    known.postings.append(
        post.Posting(
            kind=f"mpesa_{row.nature}",
            reference=f"{row.receipt}/{row.signed_cents}",
            occurred_at=row.completed_at,
            lines={account: -row.signed_cents, SETTLED: row.signed_cents},
        )
    )
    return Verdict(INTERNAL, f"{row.kind}: counted {_COUNTED_AS[row.nature]}.")


def post_internal(known: Known) -> None:
    """Book what `judge` found to be M-Pesa's own doing. The caller commits."""
    post.post_all(known.gateway.tenant_id, known.gateway.environment, known.postings)
    known.postings.clear()
