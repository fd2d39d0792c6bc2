"""Payments that ask for less than at first: what need not be paid, and what was paid and becomes credit.

Decided: the amount itself becomes smaller, instead of a column beside it, so that everything that compares what came
with what is due goes on to compare the same two numbers. A prompt that was written for more is not sent any more, and
none may be ringing; what M-Pesa brings for it all the same is too much, and waits to be placed.
Decided: credit is given in the payment's own journal, not through suspense: other money that waits to be placed there
stays where it is.
"""

from sqlalchemy import select

from portal.audit import chain
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict, Refused, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.money import format_kes
from portal.ledger import post
from portal.payments.booking import customer_credited, to_be_spent
from portal.payments.models import Allocation, Customer, Payment, Push, Transaction
from portal.payments.payment import change_state, touch
from portal.payments.refunds import refunds
from portal.payments.states import PUSH_OPEN, PaymentState


def ask_less(payment: Payment, less_cents: int, *, why: str, actor: str) -> None:
    """Ask so much less for it: at most what is due. Where nothing is due then, it is paid.

    The caller commits, holding the payment's lock, then enqueues PAID. Raises Conflict while a phone is asked for the
    old amount, or where it is not open.
    """
    if payment.state != PaymentState.OPEN:
        raise Conflict(_("This has nothing left to pay."))
    if not 0 < less_cents <= payment.due_cents:
        raise Refused(over_due(payment), code="over_due")
    ringing = select(Push.id).where(Push.payment_id == payment.id, Push.state.in_(PUSH_OPEN)).limit(1)
    if db.session.scalar(ringing) is not None:
        raise Conflict(_("A phone is being asked for the old amount. Wait until it has answered."))
    left_cents = payment.amount_cents - less_cents
    chain.record(
        payment.tenant_id, "payment", payment.id, "asks_less", actor=actor, why=why,
        details={"amount_cents": less_cents},
    )  # fmt: skip
    if left_cents > payment.allocated_cents:
        touch(payment.id, amount_cents=left_cents)
        return
    now = clock.now()
    paid = {"amount_cents": left_cents, "paid_at": now, "next_fulfil_at": now, "live_key": None}
    change_state(payment, PaymentState.PAID, **paid)


def over_due(payment: Payment) -> Text:
    """What to say to who would take off more than is due."""
    return _("At most %(amount)s is still due.", amount=format_kes(payment.due_cents))


def make_credit(payment: Payment, amount_cents: int, customer: Customer, *, key: str, actor: str) -> None:
    """Put so much of what paid it into a wallet: what a wallet paid into that one again, the rest into this one.

    key: of the document that says so; what is done once. The caller commits, holding the payment's lock, and reads the
    payment anew. Raises Refused where less than that is here, and Conflict for money that was credited to another.
    """
    own = select(Allocation).where(
        Allocation.payment_id == payment.id, Allocation.customer_id.is_not(None), Allocation.taken_back_at.is_(None)
    )
    of_wallets = db.session.scalars(own.order_by(Allocation.id)).all()
    paid = select(Allocation.transaction_id).where(Allocation.payment_id == payment.id)
    locked = select(Transaction).where(Transaction.id.in_(paid)).order_by(Transaction.id).with_for_update()
    db.session.scalars(locked.execution_options(populate_existing=True)).all()
    shares = [one for one in refunds.shares_of(payment) if one.available_cents > 0]
    available_cents = sum(one.amount_cents for one in of_wallets) + sum(one.available_cents for one in shares)
    if amount_cents > available_cents:
        sentence = _(
            "At most %(amount)s can go back: what was received less refunds under way or done.",
            amount=format_kes(available_cents),
        )
        raise Refused(sentence, code="refund_too_large")
    left_cents = amount_cents
    for given in of_wallets:
        part = min(left_cents, given.amount_cents)
        if part:
            _post(payment, f"{given.customer_id}/{payment.id}/{key}", "wallet_put_back", given.customer_id or 0, part)
            _less(given, part)
            left_cents -= part
    for share in shares:
        part = min(left_cents, share.available_cents)
        if part:
            _credit(share.transaction, payment, part, customer, key=key)
            left_cents -= part
    touch(
        payment.id,
        amount_cents=Payment.amount_cents - amount_cents,
        allocated_cents=Payment.allocated_cents - amount_cents,
    )
    chain.record(
        payment.tenant_id, "payment", payment.id, "made_credit", actor=actor, new=f"customer:{customer.id}",
        details={"amount_cents": amount_cents},
    )  # fmt: skip
    db.session.flush()


def _credit(money: Transaction, payment: Payment, amount_cents: int, customer: Customer, *, key: str) -> None:
    if money.receipt is None or money.contradicted_at is not None:
        raise Conflict(_("M-Pesa has not confirmed this payment yet. Wait for its receipt."))
    if money.credited_cents and customer_credited(money) != customer.id:
        raise Conflict(_("A part of this payment is in another wallet already; refund the rest instead."))
    _post(payment, f"{money.uid}/{customer.id}/{key}", "credited", customer.id, amount_cents)
    money.credited_cents += amount_cents
    own = select(Allocation).where(
        Allocation.transaction_id == money.id, Allocation.payment_id == payment.id, Allocation.taken_back_at.is_(None)
    )
    _less(db.session.scalars(own).one(), amount_cents)


def _less(given: Allocation, amount_cents: int) -> None:
    if amount_cents == given.amount_cents:
        given.taken_back_at = clock.now()
    else:
        given.amount_cents -= amount_cents


def _post(payment: Payment, reference: str, kind: str, customer_id: int, amount_cents: int) -> None:
    lines = {post.revenue(payment.purpose): amount_cents, post.wallet(customer_id): -amount_cents}
    if not post.post(payment.tenant_id, payment.environment, kind, reference, occurred_at=clock.now(), lines=lines):
        raise Conflict(_("Somebody decided this already."))
    to_be_spent(customer_id)
