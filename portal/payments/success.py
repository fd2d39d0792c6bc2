"""Money that M-Pesa surely told us of, given its home: a push that succeeded, or a payment by hand."""

from contextlib import suppress
from datetime import datetime

from portal.db import db
from portal.errors import Conflict
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.payments import accounts, claims, money_in, wallets
from portal.payments.models import Claim, InboxItem, Payment, Push, Transaction
from portal.payments.money_in import Arrival, Before, allocate, book, lock_payment
from portal.payments.outcome import Outcome
from portal.payments.states import State, move


def succeed(
    push: Push,
    payment: Payment,
    gateway: Gateway,
    arrival: Arrival,
    *,
    why: str,
    actor: str,
    before: Before | None = None,
) -> None:
    """The one way a push succeeds: its money booked, its state moved, its payment paid. The caller commits.

    payment: the push's, locked; the push was read under that lock. before: as for `book`.
    """
    booked = book(gateway, arrival, push=push, before=before)
    if push.state != State.SUCCEEDED:
        move(push, State(push.state), State.SUCCEEDED, why=why, actor=actor, result_code="0", failure="")
    if booked.unallocated_cents:
        allocate(booked, payment, actor=actor)
    else:
        _pay_from_wallet(booked, payment, actor=actor)


def _pay_from_wallet(booked: Transaction, payment: Payment, *, actor: str) -> None:
    """Another system's word came first, and its money went into the payer's wallet: it pays what it was meant for."""
    if not booked.credited_cents or payment.state != "open":
        return
    with suppress(Conflict):  # the wallet was used meanwhile: then this stays due
        wallets.pay(payment.id, money_in.customer_credited(booked), actor=actor)


def settle_c2b(item: InboxItem, gateway: Gateway, paid: messages.C2bPayment) -> Outcome:
    """Take money paid by hand, or an STK push's echo, that M-Pesa surely told us of. The caller commits."""
    arrival = arrival_by_hand("c2b", paid, paid.occurred_at or item.received_at, inbox_id=item.id)
    return place(gateway, paid, arrival, actor="c2b confirmation")


def arrival_by_hand(
    channel: str, paid: messages.C2bPayment, occurred_at: datetime, *, inbox_id: int | None = None
) -> Arrival:
    """What such a word says of money, whichever channel brought it."""
    payer = paid.payer
    return Arrival(
        channel=channel,
        amount_cents=paid.amount_cents,
        occurred_at=occurred_at,
        receipt=paid.receipt,
        account=paid.account,
        msisdn=payer.text if payer.kind == "full" else None,
        payer_shown=payer.text if payer.kind == "masked" else "",
        payer_name=" ".join(filter(None, (paid.first_name, paid.middle_name, paid.last_name))),
        inbox_id=inbox_id,
    )


def place(gateway: Gateway, paid: messages.C2bPayment, arrival: Arrival, *, actor: str) -> Outcome:
    """Book this money and give it its home: the push it echoes, the payment it names, a wallet, or staff's queue.

    Outcome `waiting`: more than one push could be its origin, and nothing was booked. The caller commits.
    """
    claim = claims.awaiting(gateway.tenant_id, gateway.environment, paid.receipt)
    known = money_in.find(gateway.tenant_id, gateway.environment, paid.receipt)
    if known is not None and known.push_id is not None:
        book(gateway, arrival)
        return Outcome("done", f"A second word of receipt {paid.receipt}.", known.push_id)
    echoed = accounts.push_of(gateway, paid)
    if len(echoed) > 1:
        return Outcome("waiting", "More than one push could be its origin; staff decide.")
    if echoed:
        push = echoed[0]
        asked_for = lock_payment(push.payment_id)
        own = money_in.of_push(push.id)
        if own is None or own.receipt in (None, paid.receipt):
            db.session.refresh(push)
            why = f"M-Pesa confirmed the money ({arrival.channel})."
            succeed(push, asked_for, gateway, arrival, why=why, actor=actor)
            return Outcome("done", f"Paid, receipt {paid.receipt}.", push.id)
    payment = accounts.payment_of(gateway, paid.account)
    if payment is not None:
        payment = lock_payment(payment.id)
    booked = book(gateway, arrival)
    if payment is None:
        return _without_payment(gateway, paid, booked, claim, actor=actor)
    if booked.unallocated_cents:
        allocate(booked, payment, actor=actor)
    else:
        _pay_from_wallet(booked, payment, actor=actor)
    return Outcome("done", f"Receipt {paid.receipt} for {payment.reference}.")


def _without_payment(
    gateway: Gateway, paid: messages.C2bPayment, booked: Transaction, claim: Claim | None, *, actor: str
) -> Outcome:
    """Money whose account is no payment's: of a pasted message, of a customer's wallet, or for staff to place."""
    if claim is not None and claims.settled(claim, booked, actor=actor):
        return Outcome("done", f"Receipt {paid.receipt} settles the message that claimed it.")
    customer = wallets.find_by_account(gateway.tenant_id, messages.normalise_account(paid.account))
    if customer is not None and booked.unallocated_cents and not booked.credited_cents:
        wallets.credit(booked, customer, actor=actor)
        return Outcome("done", f"Receipt {paid.receipt} credited to {customer.account_number}.")
    if booked.unallocated_cents:
        booked.unplaced_why = money_in.UNKNOWN_ACCOUNT
    return Outcome("done", f"Receipt {paid.receipt} waits to be placed.")
