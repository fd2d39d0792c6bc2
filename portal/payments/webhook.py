"""The tenant's general webhook: somebody else's word, under the tenant's own key, that a customer paid.

It is a witness that credits a wallet and never opens access. Its receipt is as unique as any: money that M-Pesa
told us of already gets a second witness and nothing else.
"""

from sqlalchemy import select

from portal import personal
from portal.db import db
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.payments import money_in, wallets
from portal.payments.models import InboxItem, Push
from portal.payments.money_in import Arrival
from portal.payments.outcome import Outcome

CHANNEL = wallets.GUESSED


def settle(item: InboxItem, gateway: Gateway, callback: messages.StkCallback) -> Outcome:
    """Book the payment and credit the wallet of the phone that paid. The caller commits.

    Where no customer has that phone, it waits for staff.
    """
    if callback.result_code != "0":
        return Outcome("done", f"Result {callback.result_code}: nothing was paid.")
    if callback.receipt is None or not callback.amount_cents:
        return Outcome("rejected", "A success without receipt or amount.")
    if own := _own_push(gateway, callback.checkout_request_id):
        # Credited here, its money would be missing from what it was asked for.
        return Outcome("rejected", "It names a push of ours: M-Pesa is asked.", own.id, asks=True)
    known = money_in.by_receipt(gateway.tenant_id, gateway.environment, callback.receipt)
    if known is not None and known.amount_cents != callback.amount_cents:
        return Outcome("rejected", f"Receipt {callback.receipt} is known with another amount.")
    booked = money_in.book(
        gateway,
        Arrival(
            channel=CHANNEL,
            amount_cents=callback.amount_cents,
            occurred_at=callback.occurred_at or item.received_at,
            receipt=callback.receipt,
            msisdn=callback.msisdn,
            inbox_id=item.id,
        ),
    )
    if booked.channel != CHANNEL:
        return Outcome("done", f"A second word of receipt {callback.receipt}.")
    if booked.unallocated_cents != booked.amount_cents or booked.voided_at or booked.reversed_at:
        return Outcome("done", f"Receipt {callback.receipt} was told before.")
    customer = wallets.find_by_phone(gateway.tenant_id, callback.msisdn) if callback.msisdn else None
    if customer is None:
        booked.unplaced_why = money_in.UNKNOWN_ACCOUNT
        return Outcome("done", f"Receipt {callback.receipt} waits to be placed: nobody here has that phone.")
    wallets.credit(booked, customer, actor=CHANNEL)
    return Outcome("done", f"Receipt {callback.receipt} credited to {customer.account_number}.")


def _own_push(gateway: Gateway, checkout_request_id: str) -> Push | None:
    hashed = personal.checkout_hash(checkout_request_id)
    named = select(Push).where(Push.tenant_id == gateway.tenant_id, Push.checkout_hash == hashed)
    return db.session.scalars(named.limit(1)).first()
