"""What was paid for a thing that will not be, given back by its seller's own rule: a part is kept, the rest goes back.

By M-Pesa to who paid, or into a wallet, as the rule says; what came out of a wallet goes into that wallet again, either
way. What can go back by neither (cash, a phone that is not known) stays on the payment, for staff to settle.
Decided: what is kept becomes what was asked for, so that the payment is paid in full, owes nothing and holds nothing.
"""

from dataclasses import dataclass

from sqlalchemy import select

from portal.kernel import clock, money
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.payments import booking
from portal.payments.closing import close_payment
from portal.payments.models import Allocation, Payment, Transaction
from portal.payments.payment import change_state, lock_payment, touch
from portal.payments.refunds import refunds
from portal.payments.states import PaymentState
from portal.payments.wallets import wallets


@dataclass(frozen=True)
class GivenBack:
    """Cents on their way back by M-Pesa, cents in a wallet, and cents that staff must settle."""

    refunded_cents: int = 0
    credited_cents: int = 0
    left_cents: int = 0


def held_cents(payment: Payment) -> int:
    """What is here of what was paid for this: less what went back, or is on its way."""
    return sum(share.available_cents for share in refunds.shares_of(payment)) + _of_wallets(payment)


def _wallet_shares(payment: Payment) -> list[Allocation]:
    paid = select(Allocation).where(
        Allocation.payment_id == payment.id, Allocation.customer_id.is_not(None), Allocation.taken_back_at.is_(None)
    )
    return list(db.session.scalars(paid.order_by(Allocation.id)))


def _of_wallets(payment: Payment) -> int:
    return sum(one.amount_cents for one in _wallet_shares(payment))


def give_back(
    payment_id: int, *, kept_cents: int, as_credit_of: int | None, key: str, why: str, user_id: int | None, actor: str
) -> GivenBack:
    """Give back what this payment holds but `kept_cents` of it, once for one `key`.

    as_credit_of: the customer whose wallet gets it; None: it goes back to who paid. user_id: who asked, if a person
    did. The caller commits, then enqueues REQUESTS and WITHDRAW.
    """
    payment = lock_payment(payment_id)
    held = held_cents(payment)
    kept_cents = min(kept_cents, held)
    back = held - kept_cents
    if back <= 0:
        _end_at(payment, kept_cents, why=why, actor=actor)
        return GivenBack()
    into_wallets = min(back, _of_wallets(payment))
    if into_wallets:
        _to_wallets(payment, into_wallets, actor=actor)
    by_money = back - into_wallets
    refunded = credited = 0
    if by_money and as_credit_of is not None:
        credited = _to_credit(payment, by_money, as_credit_of, actor=actor)
    elif by_money:
        refunded = _by_mpesa(payment, by_money, key=key, why=why, user_id=user_id, actor=actor)
    _end_at(lock_payment(payment_id), kept_cents, why=why, actor=actor)
    return GivenBack(refunded, credited + into_wallets, by_money - refunded - credited)


def _to_wallets(payment: Payment, back_cents: int, *, actor: str) -> None:
    """Put back so much of what wallets paid. What is kept stays paid: it is asked of no wallet a second time."""
    wallets.put_back(payment.id, actor=actor, most_cents=back_cents)
    touch(payment.id, withdraw_at=None)  # who cancels it has ended what it bought


def _to_credit(payment: Payment, cents: int, customer_id: int, *, actor: str) -> int:
    """Out of the payment, into this customer's wallet; cents put. What was in a wallet before stays, for staff."""
    left = cents
    if payment.state == PaymentState.PAID:
        change_state(payment, PaymentState.OPEN)
    for share in reversed(refunds.shares_of(payment)):
        part = min(left, share.available_cents)
        if part <= 0:
            continue
        locked = select(Transaction).where(Transaction.id == share.transaction.id).with_for_update()
        transaction = db.session.scalars(locked.execution_options(populate_existing=True)).one()
        if transaction.credited_cents or transaction.unallocated_cents:
            continue
        booking.take_off(transaction, payment, part, actor=actor)
        wallets.credit(transaction, wallets.lock_customer(customer_id), actor=actor)
        left -= part
    return cents - left


def _by_mpesa(payment: Payment, cents: int, *, key: str, why: str, user_id: int | None, actor: str) -> int:
    """Ask M-Pesa to send this much back; cents that are on their way."""
    sendable, method = refunds.may_go_back(payment)
    wanted = min(cents, sendable)
    wanted -= wanted % money.CENTS
    if not wanted:
        return 0
    try:
        with db.session.begin_nested():
            made = refunds.ask_for(
                payment.id, amount_cents=wanted, method=method, user_id=user_id, why=why, actor=actor, key=key
            )
    except Refused:  # its phone is not known, its gateway is halted, …: people send it
        return 0
    return sum(one.amount_cents for one in made)


def _end_at(payment: Payment, kept_cents: int, *, why: str, actor: str) -> None:
    """It is offered no more: paid with what stayed on it, or closed where nothing did."""
    if payment.state != PaymentState.OPEN:
        return
    if not payment.allocated_cents:
        close_payment(payment, why=why, actor=actor)
        return
    now = clock.now()
    change_state(
        payment,
        PaymentState.PAID,
        amount_cents=payment.allocated_cents,
        paid_at=payment.paid_at or now,
        fulfilled_at=payment.fulfilled_at or now,
        live_key=None,
    )
