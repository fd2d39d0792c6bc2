"""Prompts of the captive portal."""

from portal.gateways.daraja import StkAccepted
from portal.kernel.db import db, transaction
from portal.payments.models import Payment, Push
from portal.payments.stk import pushes
from tests.support.daraja import Pushed
from tests.support.product import Product


def prompt_sent(product: Product, token: str) -> Pushed:
    """The prompt of a purchase, as if M-Pesa had accepted it."""
    with product.app.app_context():
        push = db.session.query(Push).join(Payment).filter(Payment.token == token).one()
        push_id = push.id
        with transaction():
            pushes.lease(push_id, hook_url="http://h/hooks")
        with transaction():
            pushes.accepted(
                push_id,
                StkAccepted(checkout_request_id=f"ws_CO_{push_id}", merchant_request_id="m", customer_message=""),
            )
        push = db.session.get_one(Push, push_id)
        found = Pushed(
            push.id, push.token, f"ws_CO_{push_id}", push.amount_cents // 100, "254712345678", push.reference
        )
    return found
