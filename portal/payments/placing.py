"""A person gives homeless money a home: the payment that it was for, or the payer's wallet."""

from dataclasses import dataclass

from sqlalchemy import select

from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import Conflict, Refused, Sentence
from portal.kernel.phone import normalise_msisdn
from portal.payments import matching, search
from portal.payments.booking import allocate, take_off
from portal.payments.models import Allocation, Customer
from portal.payments.payment import change_state, lock_payment
from portal.payments.states import PaymentState
from portal.payments.wallets import wallets

PLACED_ALREADY = Sentence("This money has been placed already.")


def place(tenant_id: int, uid: str, reference: str, *, actor: str) -> int:
    """Give this transaction's money to the payment of that reference; the cents given.

    Raises NotFound where there is no such transaction, Refused where nothing can be given. The caller commits, then
    enqueues PAID.
    """
    search.by_uid(tenant_id, uid)
    payment = matching.named(tenant_id, reference)
    if payment is None:
        called = reference or "–"
        raise Refused(Sentence("There is nothing to pay called %(reference)s. Check the number.", reference=called))
    payment = lock_payment(payment.id)  # payments before money, as everywhere
    transaction = search.by_uid(tenant_id, uid)
    db.session.refresh(transaction, with_for_update=True)
    if payment.state != PaymentState.OPEN:
        raise Refused(Sentence("%(reference)s has nothing left to pay.", reference=reference))
    given_cents = allocate(transaction, payment, actor=actor)
    if not given_cents:
        raise Refused(PLACED_ALREADY)
    return given_cents


def undo(tenant_id: int, uid: str, payment_id: int, *, actor: str) -> int:
    """Take money off a payment that a person gave it to by mistake: it waits to be placed again; the cents taken off.

    What was delivered for it is withdrawn afterwards, by query. Raises Conflict where this money does not pay it, or
    some of it is on its way back to its payer. The caller commits, then enqueues WITHDRAW.
    """
    search.by_uid(tenant_id, uid)
    payment = lock_payment(payment_id)  # payments before money, as everywhere
    transaction = search.by_uid(tenant_id, uid)
    db.session.refresh(transaction, with_for_update=True)
    given = select(Allocation.amount_cents).where(
        Allocation.transaction_id == transaction.id,
        Allocation.payment_id == payment.id,
        Allocation.taken_back_at.is_(None),
    )
    given_cents = db.session.scalar(given)
    if given_cents is None or payment.refunded_cents or transaction.refunded_cents:
        raise Conflict(Sentence("This money does not pay it any more, or is being sent back."))
    if payment.state == PaymentState.PAID:
        change_state(payment, PaymentState.OPEN, withdraw_at=clock.now())
    take_off(transaction, payment, given_cents, actor=actor)
    return given_cents


@dataclass(frozen=True)
class Kept:
    """What became a customer's credit."""

    amount_cents: int
    customer: Customer


def keep_as_credit(tenant_id: int, uid: str, phone: str, *, actor: str) -> Kept:
    """Keep this transaction's money as the payer's credit: of the phone that paid, else of the phone given here.

    The caller commits. Raises NotFound where there is no such transaction, Refused where nothing is left of it or the
    phone is none.
    """
    transaction = search.by_uid(tenant_id, uid)
    msisdn = personal.open_phone(transaction.phone_sealed, tenant_id)
    name = personal.open_text(transaction.payer_name_sealed, tenant_id) if msisdn else ""
    customer = wallets.customer_of_phone(tenant_id, msisdn or normalise_msisdn(phone), name=name or "")
    db.session.refresh(transaction, with_for_update=True)
    put_cents = wallets.credit(transaction, customer, actor=actor)
    if not put_cents:
        raise Refused(PLACED_ALREADY)
    return Kept(put_cents, customer)
