"""Money that M-Pesa surely told us of, given its home: a push that succeeded, or a payment by hand."""

from datetime import datetime

from sqlalchemy import select

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel.db import db
from portal.payments import booking, matching
from portal.payments.booking import ExistingBookings, Home, IncomingPayment, allocate, book, book_for
from portal.payments.inbox.outcome import CallbackOutcome
from portal.payments.models import Customer, InboxItem, Payment, Push, SmsSubmission, Transaction
from portal.payments.payment import lock_payment
from portal.payments.sms import submissions
from portal.payments.states import InboxState, PaymentState
from portal.payments.stk.push_states import CORRECTIONS, State, move
from portal.payments.wallets import wallets

SECOND_WORD, FOR_PAYMENT = "A second word of receipt {receipt}.", "Receipt {receipt} for {reference}."
CONFIRMED = "M-Pesa confirmed the money ({channel})."


def succeed(
    push: Push,
    payment: Payment,
    gateway: Gateway,
    incoming: IncomingPayment,
    *,
    why: str,
    actor: str,
    before: ExistingBookings | None = None,
) -> None:
    """The one way a push succeeds: its money booked, its state moved, its payment paid. The caller commits.

    payment: the push's, locked; the push was read under that lock. before: as for `book`.
    """
    was = State(push.state)
    may_be_one_step = was != State.SUCCEEDED and (was, State.SUCCEEDED) not in CORRECTIONS
    home = Home(payment, actor, why, moved_from=was if may_be_one_step else None)
    transaction, went_straight = book_for(home, gateway, incoming, push=push, before=before)
    if was != State.SUCCEEDED:
        is_told = went_straight and may_be_one_step
        move(push, was, State.SUCCEEDED, why=why, actor=actor, is_told=is_told, result_code="0", failure="")
    give(transaction, payment, actor=actor)


def give(transaction: Transaction, payment: Payment, *, actor: str) -> None:
    """Give this money to the payment that it was sent for, out of a wallet where a guess had put it.

    What is too much, or too late, goes into the wallet of the payment's customer, where one is named.

    Money of the other environment, such as of a prompt that rang when test and real money were switched, pays
    nothing: it waits to be placed. The caller commits, and holds the payment's lock.
    """
    if transaction.environment != payment.environment:
        if transaction.unallocated_cents:
            transaction.unplaced_why = booking.OTHER_ENVIRONMENT
        return
    if payment.state == PaymentState.OPEN:
        wallets.free(transaction, actor=actor)
    if transaction.unallocated_cents:
        allocate(transaction, payment, actor=actor)
    if transaction.unallocated_cents and payment.customer_id and not transaction.credited_cents:
        wallets.credit(transaction, db.session.get_one(Customer, payment.customer_id), actor=actor)


def settle_c2b(item: InboxItem, gateway: Gateway, paid: messages.C2bPayment) -> CallbackOutcome:
    """Take money paid by hand, or an STK push's echo, that M-Pesa surely told us of. The caller commits."""
    incoming = incoming_by_hand("c2b", paid, paid.occurred_at or item.received_at, inbox_id=item.id)
    return place(gateway, paid, incoming, actor="c2b confirmation")


def incoming_by_hand(
    channel: str, paid: messages.C2bPayment, occurred_at: datetime, *, inbox_id: int | None = None
) -> IncomingPayment:
    """What such a word says of money, whichever channel brought it."""
    payer = paid.payer
    return IncomingPayment(
        channel=channel,
        amount_cents=paid.amount_cents,
        occurred_at=occurred_at,
        receipt=paid.receipt,
        account=paid.account,
        msisdn=payer.text if payer.kind == "full" else None,
        payer_shown=payer.text if payer.kind == "masked" else "",
        payer=payer,
        payer_name=" ".join(filter(None, (paid.first_name, paid.middle_name, paid.last_name))),
        inbox_id=inbox_id,
    )


def place(gateway: Gateway, paid: messages.C2bPayment, incoming: IncomingPayment, *, actor: str) -> CallbackOutcome:
    """Book this money and give it its home: the push it echoes, the payment it names, a wallet, or staff's queue.

    Outcome `waiting`: more than one push could be its origin, and nothing was booked. The caller commits.
    """
    claim = submissions.awaiting(gateway.tenant_id, gateway.environment, paid.receipt)
    known = booking.find(gateway.tenant_id, gateway.environment, paid.receipt)
    if known is not None and known.push_id is not None:
        book(gateway, incoming)
        return CallbackOutcome(InboxState.DONE, SECOND_WORD.format(receipt=paid.receipt), known.push_id)
    echoed = matching.push_of(gateway, paid)
    asked_for_ids = {push.payment_id for push in echoed}
    if len(asked_for_ids) > 1 and known is not None:
        book(gateway, incoming)
        return CallbackOutcome(InboxState.DONE, SECOND_WORD.format(receipt=paid.receipt))
    if len(asked_for_ids) > 1:
        return _of_several(gateway, incoming, echoed)
    if len(echoed) > 1:
        echoed = _without_receipt(echoed) or echoed
    if len(echoed) > 1:  # all of them asked for the same: whichever it answers, it pays that
        asked_for = lock_payment(asked_for_ids.pop())
        give(book_for(Home(asked_for, actor), gateway, incoming)[0], asked_for, actor=actor)
        return CallbackOutcome(
            InboxState.DONE, f"Receipt {paid.receipt} for {asked_for.reference}, by one of its prompts or by hand."
        )
    if echoed:
        push = echoed[0]
        asked_for = lock_payment(push.payment_id)
        own = booking.of_push(push.id)
        if own is None or own.receipt in (None, paid.receipt):
            db.session.refresh(push)
            why = CONFIRMED.format(channel=incoming.channel)
            succeed(push, asked_for, push.gateway, incoming, why=why, actor=actor)
            return CallbackOutcome(InboxState.DONE, f"Paid, receipt {paid.receipt}.", push.id)
    payment = matching.payment_of(gateway, paid.account)
    if payment is not None:
        payment = lock_payment(payment.id)
    if payment is None:
        return _without_payment(gateway, paid, book(gateway, incoming), claim, actor=actor)
    give(book_for(Home(payment, actor), gateway, incoming)[0], payment, actor=actor)
    return CallbackOutcome(InboxState.DONE, FOR_PAYMENT.format(receipt=paid.receipt, reference=payment.reference))


def _without_receipt(pushes: list[Push]) -> list[Push]:
    """The first of these that M-Pesa called paid when asked: its receipt is still to come."""
    known = select(Transaction.push_id).where(
        Transaction.push_id.in_([push.id for push in pushes]), Transaction.receipt.is_(None)
    )
    answered = set(db.session.scalars(known))
    return [push for push in pushes if push.id in answered][:1]


def _of_several(gateway: Gateway, incoming: IncomingPayment, echoed: list[Push]) -> CallbackOutcome:
    """Several payments fit. Where none of them is known to be paid, it is new money, and staff say whose.

    Where one is paid and waits for its receipt, this may be that receipt: booked, it would count twice.
    """
    if _without_receipt(echoed):
        return CallbackOutcome(InboxState.WAITING, "More than one push could be its origin; staff decide.")
    transaction = book(gateway, incoming)
    if transaction.unallocated_cents:
        transaction.unplaced_why = booking.SEVERAL_FIT
    return CallbackOutcome(InboxState.DONE, f"Receipt {incoming.receipt} fits several prompts: it waits to be placed.")


def _without_payment(
    gateway: Gateway, paid: messages.C2bPayment, transaction: Transaction, claim: SmsSubmission | None, *, actor: str
) -> CallbackOutcome:
    """Money whose account is no payment's: of a pasted message, of a customer's wallet, or for staff to place."""
    if claim is not None and submissions.settled(claim, transaction, actor=actor):
        return CallbackOutcome(InboxState.DONE, f"Receipt {paid.receipt} settles the message that claimed it.")
    customer = wallets.find_by_account(gateway.tenant_id, messages.normalise_account(paid.account))
    if customer is not None and transaction.unallocated_cents and not transaction.credited_cents:
        wallets.credit(transaction, customer, actor=actor)
        return CallbackOutcome(InboxState.DONE, f"Receipt {paid.receipt} credited to {customer.account_number}.")
    if transaction.unallocated_cents:
        transaction.unplaced_why = booking.UNKNOWN_ACCOUNT
    return CallbackOutcome(InboxState.DONE, f"Receipt {paid.receipt} waits to be placed.")
