"""The tenant's general webhook: somebody else's word, under the tenant's own key, that a customer paid.

It is hearsay: held apart (`portal.payments.webhook.unverified_reports`) until M-Pesa, a statement or a person
agrees. Its receipt is as unique as any: money that M-Pesa told us of already gets a second witness and nothing else.
"""

from sqlalchemy import select

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import personal
from portal.kernel.db import db
from portal.payments import booking, transaction_status
from portal.payments.booking import IncomingPayment
from portal.payments.inbox.outcome import CallbackOutcome
from portal.payments.models import InboxItem, Push, Transaction
from portal.payments.states import InboxState
from portal.payments.webhook import unverified_reports

CHANNEL = unverified_reports.CHANNEL


def settle(item: InboxItem, gateway: Gateway, callback: messages.StkCallback) -> CallbackOutcome:
    """Hold what it says, and ask M-Pesa about it; or add its word to money that is known. The caller commits."""
    if callback.result_code != "0":
        return CallbackOutcome(InboxState.DONE, f"Result {callback.result_code}: nothing was paid.")
    if callback.receipt is None or not callback.amount_cents:
        return CallbackOutcome(InboxState.REJECTED, "A success without receipt or amount.")
    if own := _own_push(gateway, callback.checkout_request_id):
        # Credited here, its money would be missing from what it was asked for.
        return CallbackOutcome(InboxState.REJECTED, "It names a push of ours: M-Pesa is asked.", own.id, asks=True)
    known = booking.by_receipt(gateway.tenant_id, gateway.environment, callback.receipt)
    if known is not None:
        return _second_word(item, gateway, callback, known)
    if unverified_reports.hold(item, gateway, callback, callback.receipt, callback.amount_cents):
        why = f"Receipt {callback.receipt} is held until M-Pesa, a statement or a person agrees."
        transaction_status.ask(gateway, callback.receipt)
        return CallbackOutcome(InboxState.DONE, why)
    held = unverified_reports.of_receipt(gateway, callback.receipt)
    if held is not None and held.amount_cents != callback.amount_cents:
        return CallbackOutcome(InboxState.REJECTED, f"Receipt {callback.receipt} is held with another amount.")
    return CallbackOutcome(InboxState.DONE, f"Receipt {callback.receipt} was told before.")


def _second_word(
    item: InboxItem, gateway: Gateway, callback: messages.StkCallback, known: Transaction
) -> CallbackOutcome:
    if known.amount_cents != callback.amount_cents:
        return CallbackOutcome(InboxState.REJECTED, f"Receipt {callback.receipt} is known with another amount.")
    unverified_reports.hold(
        item, gateway, callback, known.receipt or "", known.amount_cents
    )  # M-Pesa agrees: see `compare`
    booking.book(
        gateway,
        IncomingPayment(
            channel=CHANNEL,
            amount_cents=known.amount_cents,
            occurred_at=callback.occurred_at or item.received_at,
            receipt=callback.receipt,
            inbox_id=item.id,
        ),
    )
    return CallbackOutcome(InboxState.DONE, f"A second word of receipt {callback.receipt}.")


def _own_push(gateway: Gateway, checkout_request_id: str) -> Push | None:
    hashed = personal.checkout_hash(checkout_request_id)
    named = select(Push).where(Push.tenant_id == gateway.tenant_id, Push.checkout_hash == hashed)
    return db.session.scalars(named.limit(1)).first()
