"""Money that M-Pesa called paid when asked, and of which no receipt came yet: booked, delivered, and provisional.

A query states neither receipt nor amount, and some answer 0 for what nobody paid. So such money is told apart in the
figures, asked about again by transaction status, listed to staff after an hour, and goes back only with a second
person's yes. A word of M-Pesa's that contradicts the query moves it to "To decide": nothing of it is sent back until
a receipt comes, or a person says what is true.

Decided: what it opened stays open meanwhile, because most such money is real, and its payer stands at the door.
Decided: a prompt is asked about by its MerchantRequestID. No document says that M-Pesa finds one by it; an answer that
knows none says nothing, and the question costs the payer nothing.
"""

from datetime import timedelta

from sqlalchemy import Select, select

from portal.audit import chain
from portal.gateways import initiator, messages
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _
from portal.payments import booking, completion, daraja_requests, matching
from portal.payments.models import RECEIPT_UNKNOWN, Push, Transaction
from portal.payments.payment import lock_payment, touch
from portal.payments.search import is_provisional

ASK_AFTER = (booking.FIRST_ASKED_AFTER, timedelta(minutes=10), *(timedelta(hours=hours) for hours in (1, 6, 24)))
LISTED_AFTER = timedelta(hours=1)
SHOWN = 50


def contradict(push: Push, why: str) -> bool:
    """M-Pesa says otherwise of this push: its money waits for a person, unless a receipt is known. The caller commits.

    The caller holds the payment's lock.
    """
    transaction = booking.of_push(push.id)
    if transaction is None or transaction.receipt is not None or transaction.is_gone:
        return False
    if transaction.contradicted_at is None:
        transaction.contradicted_at, transaction.contradiction = clock.now(), why[:300]
        chain.record(transaction.tenant_id, "transaction", transaction.id, "contradicted", actor="daraja", why=why)
        db.session.flush()
        touch(push.payment_id)
    return True


Page = tuple[list[Transaction], int | None]  # a page of money, oldest first, and the id to go on after or None


def to_decide(tenant_id: int, *, after_id: int | None = None, rows: int = SHOWN) -> Page:
    """Money that M-Pesa says contradictory things of."""
    mine = select(Transaction).where(
        Transaction.tenant_id == tenant_id, is_provisional(), Transaction.contradicted_at.is_not(None)
    )
    return _page(mine, after_id, rows)


def without_receipt(tenant_id: int, *, after_id: int | None = None, rows: int = SHOWN) -> Page:
    """Money of which no receipt came within an hour, and that nothing contradicts."""
    mine = select(Transaction).where(
        Transaction.tenant_id == tenant_id,
        is_provisional(),
        Transaction.contradicted_at.is_(None),
        Transaction.seen_at.is_(None),
        Transaction.created_at < clock.now() - LISTED_AFTER,
    )
    return _page(mine, after_id, rows)


def _page(mine: Select[Transaction], after_id: int | None, rows: int) -> Page:
    if after_id is not None:
        mine = mine.where(Transaction.id > after_id)
    found = list(db.session.scalars(mine.order_by(Transaction.id).limit(rows + 1)))
    return found[:rows], found[rows - 1].id if len(found) > rows else None


def decide(tenant_id: int, uid: str, *, was_paid: bool, actor: str) -> None:
    """A person says, by M-Pesa's statement or portal, whether it was paid. The caller commits, then enqueues WITHDRAW.

    Not paid: what it paid is owed again, and what it bought ends. Raises NotFound, Conflict.
    """
    found = db.session.scalars(
        select(Transaction.id).where(Transaction.tenant_id == tenant_id, Transaction.uid == uid)
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such payment here."))
    transaction = booking.lock_with_payments(found)
    if transaction.receipt is not None or transaction.is_gone or transaction.merged_into_id is not None:
        raise Conflict(_("Somebody decided this already."))
    if was_paid:
        transaction.contradicted_at, transaction.contradiction = None, ""
        transaction.seen_at = clock.now()
        chain.record(tenant_id, "transaction", transaction.id, "confirmed_by_hand", actor=actor, new="paid")
        db.session.flush()
        return
    booking.take_back(
        transaction, how=booking.REVERSED, why="A person found that M-Pesa does not have it.", actor=actor
    )
    transaction.ask_next_at = None


def ask_due() -> None:
    """Ask M-Pesa about each prompt whose money has no receipt yet and whose turn it is. The caller commits."""
    now = clock.now()
    due = select(Transaction).where(RECEIPT_UNKNOWN.is_due).order_by(Transaction.ask_next_at)
    for transaction in db.session.scalars(due.limit(SHOWN).with_for_update(skip_locked=True)).all():
        turns = [transaction.created_at + after for after in ASK_AFTER if transaction.created_at + after > now]
        is_settled = transaction.receipt is not None or transaction.is_gone or transaction.merged_into_id is not None
        transaction.ask_next_at = turns[0] if turns and not is_settled else None
        push = transaction.push
        if is_settled or push is None or not push.merchant_request_id or not initiator.can_ask(push.gateway):
            continue
        subject = daraja_requests.Subject(push_id=push.id)
        if not daraja_requests.is_open(push.gateway_id, daraja_requests.STATUS, subject):
            daraja_requests.ask(push.gateway, daraja_requests.STATUS, subject)


def take_status(gateway: Gateway, push_id: int, result: messages.ApiResult) -> str:
    """What M-Pesa says of a prompt whose receipt is not known; a sentence for the inbox. The caller commits."""
    push = db.session.get_one(Push, push_id)
    payment = lock_payment(push.payment_id)
    db.session.refresh(push)
    status = result.text("TransactionStatus").strip().lower()
    receipt, amount_cents = result.text("ReceiptNo").strip().upper(), result.cents("Amount")
    to = result.text("CreditPartyName").split("-")[0].strip()
    if result.result_code != "0":
        return f"M-Pesa does not tell of this prompt: {result.result_code}."
    if status in ("failed", "declined", "cancelled", "expired"):
        contradict(push, f"M-Pesa says {status} when asked about it.")
        return f"M-Pesa says {status} of this prompt."
    is_ours = to in matching.numbers_of(gateway) and messages.looks_like_receipt(receipt)
    if status != "completed" or not is_ours or not amount_cents or amount_cents != push.amount_cents:
        return f"M-Pesa's answer does not fit this prompt: {status or 'no status'}, to {to[:20] or 'nobody'}."
    incoming = booking.IncomingPayment(
        channel="status",
        amount_cents=amount_cents,
        occurred_at=result.instant("FinalisedTime") or result.instant("InitiatedTime") or clock.now(),
        receipt=receipt,
        account=push.reference,
        msisdn=personal.open_phone(push.phone_sealed, push.tenant_id),
    )
    known = booking.find(gateway.tenant_id, gateway.environment, receipt)
    if known is not None and known.push_id not in (None, push.id):
        return f"Receipt {receipt} has paid another prompt."
    completion.succeed(push, payment, gateway, incoming, why="M-Pesa told its receipt.", actor="status")
    return f"Receipt {receipt} is of this prompt."
