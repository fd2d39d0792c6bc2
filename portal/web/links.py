"""Addresses of ours that go to others: under PUBLIC_URL, never under a name that a request brought."""

from flask import current_app

from portal.payments.models import Payment


def public_url() -> str:
    """Where this product is found, without a slash at its end."""
    return str(current_app.config["PORTAL"].public_url)


def pay_url(payment: Payment) -> str:
    """Where this payment is paid, for a message to its payer."""
    return f"{public_url()}/pay/{payment.token}"
