"""Results of what we asked M-Pesa: each finds its question, and changes what the question was about.

Decided: a result is believed from whatever address. Its own address ends in a secret that was made for this question
and told to M-Pesa alone, over the connection that M-Pesa proved itself on; and were results kept waiting, nothing
could confirm the payments that wait for them. Such a call is still logged as an alarm.
"""

from dataclasses import replace

from sqlalchemy import select

from portal.gateways import initiator, messages, result_codes
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.states import move
from portal.payments import booking, completion, daraja_requests, matching, provisional, transaction_status  # fmt: skip
from portal.payments.c2b import unresolved
from portal.payments.inbox.outcome import CallbackOutcome
from portal.payments.models import InboxItem, MpesaRequest, Push
from portal.payments.payment import lock_payment
from portal.payments.refunds import refund_results, refunds
from portal.payments.states import InboxState, RefundState, RequestState

ABOUT_WHO_ASKS = {"11", "20", "21", "29", "2001", "8006"}


def settle_result(item: InboxItem, gateway: Gateway, body: str) -> CallbackOutcome:
    """Take one result in. The caller commits."""
    result = messages.parse_result(messages.read_json(body.encode()))
    request = daraja_requests.of_result(
        gateway.id, item.request_token, result.conversation_id, result.originator_conversation_id
    )
    if request is None:
        return CallbackOutcome(InboxState.REJECTED, "No question of this gateway has that address.")
    if request.state == RequestState.ANSWERED and not _overturns(request, result):
        return CallbackOutcome(InboxState.DONE, "This question was answered already.")
    if request.refund_id is not None:
        refund = refunds.lock(request.refund_id)
        if request.kind == "status":
            why = refund_results.take_status(refund, result, request)
        else:
            why = refund_results.take_result(refund, result, gateway)
    elif request.push_id is not None:
        why = provisional.take_status(gateway, request.push_id, result)
    elif request.receipt is None:
        why = _balance(gateway, result)
    elif _cannot_tell(result) and daraja_requests.put_back(request, f"{result.result_code} {result.result_desc}"):
        initiator.note(gateway, result.result_code, result.result_desc)
        return CallbackOutcome(InboxState.DONE, f"M-Pesa cannot tell now ({result.result_code}); it is asked again.")
    else:
        why = _receipt(gateway, request.receipt, result)
    initiator.note(gateway, result.result_code, result.result_desc)
    daraja_requests.close(request, RequestState.ANSWERED, code=result.result_code, answer=why)
    return CallbackOutcome(InboxState.DONE, why)


def _cannot_tell(result: messages.ApiResult) -> bool:
    """Whether its code speaks of M-Pesa, or of who asks, and not of the receipt."""
    code = result.result_code
    return code != "0" and (result_codes.explain_b2c(code).kind == "unclear" or code in ABOUT_WHO_ASKS)


def _overturns(request: MpesaRequest, result: messages.ApiResult) -> bool:
    """Whether M-Pesa says after a failure that the money went after all: a success is never left unheard."""
    if request.kind not in refunds.METHODS or request.refund_id is None or not result.is_success:
        return False
    return refunds.lock(request.refund_id).state == RefundState.FAILED


def settle_timeout(item: InboxItem, gateway: Gateway, body: str) -> CallbackOutcome:
    """M-Pesa gave up in its own queue: the outcome is unknown, and is asked for. The caller commits."""
    request = daraja_requests.of_result(gateway.id, item.request_token, *_ids_of_timeout(body))
    if request is None or request.state == RequestState.ANSWERED:
        return CallbackOutcome(
            InboxState.DONE if request else "rejected", "No open question of this gateway has that address."
        )
    daraja_requests.close(request, RequestState.UNKNOWN, answer="M-Pesa gave up waiting in its queue.")
    if request.refund_id is not None and request.kind in refunds.METHODS:
        refunds.unknown(refunds.lock(request.refund_id), "M-Pesa gave up waiting in its queue.")
    return CallbackOutcome(InboxState.DONE, "The outcome is unknown: M-Pesa is asked.")


def _ids_of_timeout(body: str) -> tuple[str, ...]:
    """The ids in a timeout's body, which Safaricom documents nowhere; without any, its address names the question."""
    try:
        ids = messages.parse_timeout(messages.read_json(body.encode()))
    except messages.Malformed:
        return ()
    return ids.conversation_id, ids.originator_conversation_id


def _balance(gateway: Gateway, result: messages.ApiResult) -> str:
    if result.result_code != "0":
        return f"M-Pesa did not tell the balance: {result.result_code} {result.result_desc}"
    gateway.balances = [
        {"account": one.account, "available_cents": one.available_cents}
        for one in messages.parse_balances(result.text("AccountBalance") or "")
    ]
    gateway.balances_at = clock.now()
    return "The balance is known."


def _receipt(gateway: Gateway, receipt: str, result: messages.ApiResult) -> str:
    """A receipt that we asked about: if M-Pesa completed it for our number, its money is booked by the normal rules."""
    if result.result_code != "0":
        _disbelieve(gateway, receipt, is_unknown=True)
        return f"M-Pesa does not know receipt {receipt}: {result.result_code}."
    status = (result.text("TransactionStatus") or "").strip().lower()
    stated, amount_cents = result.text("ReceiptNo") or receipt, result.cents("Amount")
    to = (result.text("CreditPartyName") or "").split("-")[0].strip()
    known = booking.find(gateway.tenant_id, gateway.environment, receipt)
    if known is not None and status == "reversed":
        known = booking.lock_with_payments(known.id)
        if booking.is_reversed_by_us(known):
            return f"Receipt {receipt} was reversed by our own refund."
        booking.take_back(known, how=booking.REVERSED, why="M-Pesa reversed it.", actor="status")
        return f"Receipt {receipt} was reversed by M-Pesa."
    if (
        status != "completed"
        or stated != receipt
        or not amount_cents
        or amount_cents < 0
        or to not in matching.numbers_of(gateway)
    ):
        _disbelieve(gateway, receipt)
        return f"Receipt {receipt} is not money for us: {status or 'no status'}, to {to[:20] or 'nobody'}."
    payer = messages.payer_id((result.text("DebitPartyName") or "").split("-")[0].strip())
    incoming = booking.IncomingPayment(
        channel="status",
        amount_cents=amount_cents,
        occurred_at=result.instant("FinalisedTime") or result.instant("InitiatedTime") or clock.now(),
        receipt=receipt,
        msisdn=payer.text if payer.kind == "full" else None,
        payer_shown=payer.text if payer.kind == "masked" else "",
    )
    if told := _told_before(gateway, receipt, amount_cents, incoming, payer):
        return told
    if known is None and (told := _learnt(gateway, incoming, payer)):
        return told
    transaction = booking.book(gateway, incoming)
    if transaction.unallocated_cents and not transaction.unplaced_why:
        transaction.unplaced_why = booking.UNKNOWN_ACCOUNT
    return f"Receipt {receipt} is booked."


def _learnt(gateway: Gateway, incoming: booking.IncomingPayment, payer: messages.PayerId) -> str:
    """The receipt of money that was known by query only: never a second booking. Empty where it is other money."""
    paid = messages.C2bPayment(
        transaction_type="",
        receipt=incoming.receipt or "",
        amount_cents=incoming.amount_cents,
        occurred_at=incoming.occurred_at,
        shortcode=gateway.shortcode,
        account="",
        payer=payer,
    )
    pushes = matching.known_by_query(gateway, paid)
    if not pushes:
        return ""
    if len(pushes) > 1:
        unresolved.leave(gateway, paid, why="M-Pesa has it. More than one push could be its origin; staff decide.")
        return f"Receipt {paid.receipt}: more than one push could be its origin; staff decide."
    payment = lock_payment(pushes[0].payment_id)
    db.session.refresh(pushes[0])
    completion.succeed(pushes[0], payment, gateway, incoming, why="M-Pesa told its receipt.", actor="status")
    return f"Receipt {paid.receipt} is of money that was known without it."


def _told_before(
    gateway: Gateway, receipt: str, amount_cents: int, incoming: booking.IncomingPayment, payer: messages.PayerId
) -> str:
    """A confirmation of this receipt that waited for M-Pesa's word: it knows the account. Empty where none waits.

    A claim anybody can send. Where M-Pesa reports to our own secret addresses, a claim's account is believed only if
    the payer whom M-Pesa names owes that payment: else who learns a stranger's receipt could pay an own bill with it.
    """
    for item in _waiting_for(gateway, receipt):
        owner = db.session.get_one(Gateway, item.gateway_id)
        body = personal.open_text(item.body_sealed, owner.tenant_id) or ""
        if item.kind == "stk":
            if told := _of_prompt(item, messages.parse_stk_callback(body.encode()), incoming, payer):
                return told
            continue
        paid = messages.parse_c2b(messages.read_json(body.encode()))
        if paid.amount_cents != amount_cents or paid.shortcode not in matching.numbers_of(owner):
            _end(item, InboxState.REJECTED, "M-Pesa says otherwise when asked.")
            continue
        is_hearsay = item.kind == "claim" and owner.urls_registered_at is not None
        if is_hearsay and not _is_payers_own(owner, paid, payer):
            _suggest(owner, incoming, paid.account)
            _end(item, InboxState.DONE, "M-Pesa has the money, and says nothing of its account: staff place it.")
            return item.outcome
        outcome = completion.settle_c2b(item, owner, paid)
        if outcome.state == InboxState.WAITING:  # M-Pesa has it, and nothing is booked: staff say whose it is
            item.outcome, item.is_foreign, item.ask_at = f"M-Pesa has it. {outcome.why}"[:300], False, None
        else:
            _end(item, InboxState.DONE, f"Confirmed by M-Pesa. {outcome.why}")
        return outcome.why
    return ""


def _waiting_for(gateway: Gateway, receipt: str) -> list[InboxItem]:
    """What waits for M-Pesa's word about this receipt, at any gateway of this tenant and environment."""
    waiting = (
        select(InboxItem)
        .join(Gateway, Gateway.id == InboxItem.gateway_id)
        .where(
            InboxItem.tenant_id == gateway.tenant_id,
            InboxItem.receipt == receipt,
            InboxItem.state == InboxState.WAITING,
            Gateway.environment == gateway.environment,
        )
    )
    return list(db.session.scalars(waiting.order_by(InboxItem.id)))


def _end(item: InboxItem, state: InboxState, why: str) -> None:
    """It waits no longer; where a person decided meanwhile, that stands."""
    move(item, state, outcome=why[:300], done_at=clock.now(), ask_at=None)


def _of_prompt(
    item: InboxItem, callback: messages.StkCallback, incoming: booking.IncomingPayment, payer: messages.PayerId
) -> str:
    """A prompt's success that waited, because of its amount or where it came from: M-Pesa's amount is booked for it."""
    push = db.session.get_one(Push, item.push_id)
    asked = personal.open_phone(push.phone_sealed, push.tenant_id)
    if callback.receipt != incoming.receipt or (asked and messages.payer_matches(payer, asked) is False):
        _end(item, InboxState.REJECTED, "M-Pesa names another payer when asked.")
        return ""
    payment = lock_payment(push.payment_id)
    db.session.refresh(push)
    incoming = replace(incoming, account=push.reference, msisdn=asked, inbox_id=item.id)
    why = "M-Pesa confirmed its receipt when asked."
    completion.succeed(push, payment, push.gateway, incoming, why=why, actor="status")
    _end(item, InboxState.DONE, why)
    return f"Receipt {incoming.receipt} is that of {push.reference}."


def _is_payers_own(gateway: Gateway, paid: messages.C2bPayment, payer: messages.PayerId) -> bool:
    """Whether the phone that M-Pesa names is the one that this account's payment, or a request for it, belongs to."""
    payment = matching.payment_of(gateway, paid.account)
    if payment is None:
        return False
    asked = select(Push.phone_sealed).where(Push.payment_id == payment.id)
    for sealed in (payment.phone_sealed, *db.session.scalars(asked)):
        msisdn = personal.open_phone(sealed, gateway.tenant_id)
        if msisdn and payer.kind == "full" and messages.payer_matches(payer, msisdn):
            return True
    return False


def _suggest(gateway: Gateway, incoming: booking.IncomingPayment, account: str) -> None:
    """Book money whose account only a stranger states: shown to staff with it, and placed by nobody else."""
    transaction = booking.book(gateway, replace(incoming, account=account))
    if transaction.unallocated_cents:
        transaction.unplaced_why = booking.UNKNOWN_ACCOUNT


def _disbelieve(gateway: Gateway, receipt: str, *, is_unknown: bool = False) -> None:
    """Claims of this receipt that M-Pesa does not bear out wait no longer; but its records may be late to know one.

    What came to a secret address of ours waits on, for a person.
    """
    if is_unknown and not transaction_status.is_unknown_for_good(gateway, receipt):
        return
    for item in _waiting_for(gateway, receipt):
        if item.kind == "claim":
            _end(item, InboxState.REJECTED, "M-Pesa says otherwise when asked.")
        else:
            item.outcome = "M-Pesa says otherwise when asked: staff decide."
