"""Money that an earlier system had received and used: known here by its receipt, so that it cannot be used again."""

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db
from portal.ledger import post
from portal.payments import booking
from portal.payments.booking import IncomingPayment
from portal.payments.models import Customer, Payment
from portal.payments.payment import lock_payment, new_reference

CHANNEL, OPENING = "import", "opening"


def record_past(gateway: Gateway, incoming: IncomingPayment, *, actor: str) -> bool:
    """Book it as paid for and delivered; False where its receipt is known already. The caller commits."""
    assert incoming.receipt is not None and incoming.channel == CHANNEL  # noqa: S101 - the caller's own words
    if booking.find(gateway.tenant_id, gateway.environment, incoming.receipt) is not None:
        return False
    payment = Payment(
        tenant_id=gateway.tenant_id,
        environment=gateway.environment,
        purpose="order",
        reference=new_reference("W"),
        title="Before Mlango",
        gateway_id=gateway.id,
        amount_cents=incoming.amount_cents,
        fulfilled_at=clock.now(),
    )
    db.session.add(payment)
    db.session.flush()
    transaction = booking.book(gateway, incoming)
    booking.allocate(transaction, lock_payment(payment.id), actor=actor)
    return True


def open_balance(customer: Customer, environment: str, balance_cents: int) -> bool:
    """What this customer had with the earlier system, into the wallet, once. The caller commits."""
    return post.post(
        customer.tenant_id,
        environment,
        OPENING,
        f"customer:{customer.uid}",
        occurred_at=clock.now(),
        lines={OPENING: balance_cents, post.wallet(customer.id): -balance_cents},
    )
