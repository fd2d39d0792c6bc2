"""Payments that are offered no more: by a person, by a switch of environments, or because nobody pursued them."""

from datetime import timedelta

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.kernel import clock
from portal.kernel.db import db
from portal.payments import booking
from portal.payments.models import OFFERED, Payment
from portal.payments.payment import change_state
from portal.payments.states import PAYMENT, PaymentState
from portal.payments.wallets import wallets

UNPAID_FOR = timedelta(days=2)


def close_payment(payment: Payment, *, why: str, actor: str) -> None:
    """Stop offering it. What came for it, or comes yet, waits to be placed; what a wallet paid is in that wallet again.

    The caller commits, holding its lock.
    """
    if payment.state == PaymentState.OPEN:
        if payment.allocated_cents:
            wallets.put_back(payment.id, actor=actor)
            booking.take_all_off(payment, actor=actor)
        change_state(payment, PaymentState.CLOSED, live_key=None)
        chain.record(payment.tenant_id, "payment", payment.id, "closed", actor=actor, why=why)


def close_forgotten() -> None:
    """Stop offering hotspot payments that nobody pursued: their packages may have changed price since.

    Locked before they are closed, and looked at under the lock: one that is being paid meanwhile, or whose phone was
    asked again, is none of them.
    """
    forgotten = (
        select(Payment.id)
        .where(
            OFFERED.waits,
            Payment.allocated_cents == 0,
            Payment.paid_at.is_(None),  # what was paid once, and is owed again, is for staff to close
            Payment.created_at < clock.now() - UNPAID_FOR,
            func.coalesce(Payment.pushed_at, Payment.created_at) < clock.now() - UNPAID_FOR,
        )
        .limit(500)
        .with_for_update(skip_locked=True)
    )
    db.session.execute(
        update(Payment)
        .where(
            Payment.id.in_(db.session.scalars(forgotten).all()), Payment.state.in_(PAYMENT.before(PaymentState.CLOSED))
        )
        .values(state=PaymentState.CLOSED, live_key=None, version=Payment.version + 1)
        .execution_options(synchronize_session=False)
    )
