"""The work behind refunds and questions to M-Pesa: of each gateway one at a time, each outside any transaction."""

from datetime import timedelta
from typing import Any

from portal.gateways import client_factory, daraja, initiator
from portal.gateways.models import Gateway
from portal.kernel import clock, money, personal, ports, queue, vault
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.payments import daraja_requests, provisional, transaction_status
from portal.payments.models import MpesaRequest, Push, Refund, Transaction
from portal.payments.processing import gateway_pool
from portal.payments.refunds import refunds
from portal.payments.states import REFUND_TOLD, RefundState, RequestState

ASK_ABOUT_AFTER = timedelta(minutes=5)
THREADS, SENDING_SESSION = 8, timedelta(seconds=120)


def send_due() -> None:
    """Send what waits, and ask about what has no answer. One that fails is put off and stops no other."""
    _ask_about_receipts()
    with transaction():
        provisional.ask_due()
    due = refunds.due()
    db.session.rollback()
    for refund_id in due:
        try:
            _refund(refund_id)
        except Exception as error:
            logger.error("refund_put_off", refund=refund_id, error=repr(error)[:300])
            db.session.rollback()
            with transaction():
                refunds.put_off(refund_id)
    errand = gateway_pool.Errand(daraja_requests.due, send_request, _send_later, lambda _gateway_id: 1)
    gateway_pool.run(errand, threads=THREADS, lasting=SENDING_SESSION)
    queue.enqueue(queue.PAID)


def _ask_about_receipts() -> None:
    with transaction():
        looked_at = transaction_status.ask_due()
    if looked_at:
        queue.enqueue(queue.DRAIN)


def _send_later(request_id: int, _error: Exception) -> None:
    with transaction():
        daraja_requests.put_off(request_id)


def _refund(refund_id: int) -> None:
    state = db.session.get_one(Refund, refund_id).state
    db.session.rollback()
    if state == RefundState.APPROVED:
        with transaction():
            refunds.begin(refund_id)
        return
    with transaction():  # sending, sent or unknown, and nothing heard: its outcome is asked for
        refund = refunds.lock(refund_id)
        if refund.next_at is None or refund.next_at > clock.now() or refund.state not in REFUND_TOLD:
            return
        gateway = db.session.get_one(Gateway, refund.gateway_id)
        refunds.unknown(refund, "No result came in time.")
        refund.next_at = clock.now() + ASK_ABOUT_AFTER
        subject = daraja_requests.Subject(refund_id=refund.id)
        if initiator.can_ask(gateway) and not daraja_requests.is_open(gateway.id, daraja_requests.STATUS, subject):
            daraja_requests.ask(gateway, daraja_requests.STATUS, subject)


def send_request(request_id: int) -> None:
    """Send one question. A kill after the claim leaves it `sent`: it is asked about, never sent again."""
    with transaction():
        request = db.session.get_one(MpesaRequest, request_id)
        if request.state == RequestState.SENT and request.next_at is not None and request.next_at <= clock.now():
            daraja_requests.close(request, RequestState.UNKNOWN, answer="No answer came in time.")
            return
        if (
            request.state == RequestState.CREATED
            and request.kind in refunds.METHODS
            and not refunds.may_still_go(request)
        ):
            if request.state == RequestState.CREATED:  # else another worker sent it meanwhile
                daraja_requests.close(request, RequestState.FAILED, answer="Its refund was ended before it was sent.")
            return
        claimed = daraja_requests.lease(request_id, public_url=ports.settings().public_url)
        gateway_id, is_halted = request.gateway_id, not initiator.can_ask(request.gateway)
    if claimed is None:
        return
    try:
        call = _call_for(claimed, client_factory.client_for(db.session.get_one(Gateway, gateway_id)))
        db.session.remove()
        if is_halted:  # since this was begun: one more wrong try could lock the account
            raise daraja.Unreachable("Nothing is sent with this initiator until an administrator has looked.")
        answer: daraja.RequestAccepted = call()
    except daraja.NotSent as error:
        with transaction():
            _not_sent(claimed, error)
        return
    except daraja.DarajaError as error:
        with transaction():
            _unknown(claimed, error)
        return
    with transaction():
        daraja_requests.accepted(
            db.session.get_one(MpesaRequest, request_id),
            answer.conversation_id,
            answer.originator_conversation_id,
        )
        if claimed.kind in refunds.METHODS:
            refunds.sent(_refund_of(claimed))


def _refund_of(claimed: daraja_requests.Leased) -> Refund:
    """The refund whose money this request moves, locked."""
    return refunds.lock(claimed.subject.refund_id or 0)


def _call_for(claimed: daraja_requests.Leased, client: daraja.DarajaClient):  # type: ignore[no-untyped-def]
    """The call to make, its values read now and its network later."""
    doors: dict[str, Any] = {"result_url": claimed.result_url, "timeout_url": claimed.timeout_url}
    try:
        return _call_about(claimed, client, doors)
    except vault.CannotOpen as error:
        raise daraja.ConfigurationRefused("The payer's number cannot be opened: its key is not in the ring.") from error


def _call_about(  # type: ignore[no-untyped-def]
    claimed: daraja_requests.Leased, client: daraja.DarajaClient, doors: dict[str, Any]
):
    if claimed.kind == daraja_requests.BALANCE:
        return lambda: client.account_balance(**doors)
    if claimed.kind == daraja_requests.STATUS:
        return _status_call(client, claimed.subject, doors)
    refund = db.session.get_one(Refund, claimed.subject.refund_id)
    booked = db.session.get_one(Transaction, refund.transaction_id)
    shillings, remarks = money.shillings(refund.amount_cents), "Refund"
    if claimed.kind == "reversal":
        receipt = booked.receipt or ""
        return lambda: client.reverse(receipt=receipt, amount_shillings=shillings, remarks=remarks, **doors)
    msisdn = personal.open_phone(refund.phone_sealed, refund.tenant_id) or ""
    originator = claimed.originator_conversation_id or ""
    return lambda: client.b2c_payment(
        originator_conversation_id=originator,
        msisdn=msisdn,
        amount_shillings=shillings,
        remarks=remarks,
        result_url=claimed.result_url,
        timeout_url=claimed.timeout_url,
    )


def _status_call(  # type: ignore[no-untyped-def]
    client: daraja.DarajaClient, subject: daraja_requests.Subject, doors: dict[str, Any]
):
    if subject.receipt is not None:
        return lambda: client.transaction_status(transaction_id=subject.receipt, **doors)
    if subject.push_id is not None:
        merchant_id = db.session.get_one(Push, subject.push_id).merchant_request_id or ""
        return lambda: client.transaction_status(originator_conversation_id=merchant_id, **doors)
    refund = db.session.get_one(Refund, subject.refund_id)
    if refund.method == "reversal":
        receipt = db.session.get_one(Transaction, refund.transaction_id).receipt or ""
        return lambda: client.transaction_status(transaction_id=receipt, **doors)
    request = refunds.request_of(refund.id)
    originator = (request and request.originator_conversation_id) or ""
    return lambda: client.transaction_status(originator_conversation_id=originator, is_pay_out=True, **doors)


def _not_sent(claimed: daraja_requests.Leased, error: daraja.NotSent) -> None:
    request = db.session.get_one(MpesaRequest, claimed.request_id)
    may_retry = isinstance(error, daraja.Unreachable | daraja.Throttled | daraja.SubscriberBusy)
    logger.warning("mpesa_request_not_sent", kind=claimed.kind, error=error.message)
    if claimed.kind in refunds.METHODS:
        daraja_requests.close(request, RequestState.FAILED, answer=error.message)
        refunds.not_sent(_refund_of(claimed), error.message, sends=request.sends, may_retry=may_retry)
    elif not may_retry or not daraja_requests.put_back(request, error.message):
        daraja_requests.close(request, RequestState.FAILED, answer=error.message)


def _unknown(claimed: daraja_requests.Leased, error: daraja.DarajaError) -> None:
    request = db.session.get_one(MpesaRequest, claimed.request_id)
    logger.warning("mpesa_request_unknown", kind=claimed.kind, error=error.message)
    if claimed.kind not in refunds.METHODS:
        daraja_requests.put_back(request, error.message)
        return
    refund = _refund_of(claimed)
    if isinstance(error, daraja.DuplicateConversation):
        refunds.sent(refund)  # the first request with this id exists
        refund.next_at = clock.now()
        return
    refunds.unknown(refund, error.message)
    refund.next_at = clock.now() + timedelta(seconds=30)
