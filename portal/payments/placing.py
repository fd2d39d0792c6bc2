"""A person gives homeless money a home: the payment that it was for, or the payer's wallet."""

from dataclasses import dataclass

from portal.kernel import personal
from portal.kernel.db import db
from portal.kernel.errors import Refused, Sentence
from portal.kernel.phone import normalise_msisdn
from portal.payments import matching, search
from portal.payments.booking import allocate
from portal.payments.models import Customer
from portal.payments.payment import lock_payment
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
