"""What M-Pesa says of money on its way back: the result it posts, and its word when it is asked."""

from datetime import timedelta

from sqlalchemy import func, select

from portal.audit import chain
from portal.gateways import initiator, messages, result_codes
from portal.gateways.models import Gateway
from portal.kernel import clock, money
from portal.kernel.db import db
from portal.payments.models import MpesaRequest, Refund, Transaction
from portal.payments.refunds import refunds
from portal.payments.states import RefundState, RequestState

NOT_FOUND_TRIES = 3  # M-Pesa says three times, over an hour, that it knows no such pay-out
ALREADY_REVERSED, NOT_KNOWN = "R000001", "R000002"
ASK_AGAIN_AFTER, REST = timedelta(minutes=20), timedelta(days=1)


def take_result(refund: Refund, result: messages.ApiResult, gateway: Gateway) -> str:
    """What M-Pesa says of this refund's request; a sentence for the inbox. The caller commits."""
    code = result.result_code
    if refund.method == "reversal" and code == ALREADY_REVERSED and not _can_be_this_one(refund):
        refunds.fail(refund, "M-Pesa reverses a payment once, and did: pay this out by B2C.", actor="result")
        return f"Refund {refund.uid} failed with {code}."
    if code == "0" or (refund.method == "reversal" and code == ALREADY_REVERSED):
        stated = result.cents("TransactionAmount") if refund.method == "b2c" else result.cents("Amount")
        if stated is not None and stated != refund.amount_cents:
            return _odd_amount(refund, stated)
        told = result.text("TransactionReceipt") or result.transaction_id
        refunds.done(refund, receipt=told if messages.looks_like_receipt(told) else None, actor="result")
        return f"Refund {refund.uid} is done."
    said = result_codes.explain_b2c(code).for_staff or result.result_desc
    initiator.note(gateway, code, said)
    if result_codes.explain_b2c(code).kind in ("declined", "cancelled"):
        refunds.fail(refund, f"{code}: {said}", actor="result")
        return f"Refund {refund.uid} failed with {code}."
    refunds.unknown(refund, f"{code}: {said}")
    return f"Result {code} settles nothing: M-Pesa is asked."


def take_status(refund: Refund, result: messages.ApiResult, request: MpesaRequest) -> str:
    """What M-Pesa says when asked about this refund. The caller commits, holding the locks of `lock`.

    Only M-Pesa's word of this very refund ends it. A failing code speaks of our question, not of the money, unless it
    says that there is no such transaction, and says so again and again.
    """
    code, status = result.result_code, result.text("TransactionStatus").strip().lower()
    if refund.state in (RefundState.DONE, RefundState.FAILED):
        return f"Refund {refund.uid} is {refund.state} already."
    if refund.stated_cents is not None:
        refund.next_at = clock.now() + REST
    elif code == NOT_KNOWN:
        _not_known(refund, f"M-Pesa does not know it ({code}).", code)
    elif code != "0":
        refund.failure = f"M-Pesa does not answer the question about it ({code} {result.result_desc})."[:300]
        refund.next_at = clock.now() + ASK_AGAIN_AFTER
    elif status in ("failed", "declined", "cancelled", "expired"):
        refunds.fail(refund, f"M-Pesa says {status} when asked.", actor="status")
    elif refund.method == "reversal":
        _reversal_status(refund, status)
    elif status == "completed":
        stated = result.cents("Amount")
        if stated is not None and stated != refund.amount_cents:
            return _odd_amount(refund, stated)
        refunds.done(refund, receipt=result.text("ReceiptNo") or None, actor="status")
    else:  # it is there and not final: it may still go
        refund.next_at = clock.now() + ASK_AGAIN_AFTER
    return f"Refund {refund.uid} is {refund.state}."


def _reversal_status(refund: Refund, status: str) -> None:
    """The question was about the payment that is to be reversed."""
    if status == "reversed" and _an_earlier_one_did(refund):
        refund.failure = "M-Pesa says reversed, as it was before this refund. Look for it on the statement."
        refund.next_at = clock.now() + REST
    elif status == "reversed":
        refunds.done(refund, receipt=None, actor="status")
    elif status == "completed" and _is_of_all(refund):
        _not_known(refund, "M-Pesa says that the payment still stands.", "0")
    elif status == "completed":  # of a part that went back the payment may well stay completed
        refund.failure = "M-Pesa does not tell whether this part went back. Look for it on the statement."
        refund.next_at = clock.now() + REST
    else:
        refund.next_at = clock.now() + ASK_AGAIN_AFTER


def _odd_amount(refund: Refund, stated_cents: int) -> str:
    """M-Pesa moved another amount than we asked for: no answer cures that, an administrator ends it."""
    why = f"M-Pesa states {money.format_kes(stated_cents)}. Compare with the statement, then say what became of it."
    chain.record(
        refund.tenant_id, "refund", refund.id, "odd_result", actor="daraja", why=f"It states {stated_cents} cents."
    )
    refunds.unknown(refund, why)
    refund.failure, refund.stated_cents, refund.next_at = why, stated_cents, clock.now() + REST
    return "It states another amount than was sent."


def _is_of_all(refund: Refund) -> bool:
    return refund.amount_cents == db.session.get_one(Transaction, refund.transaction_id).amount_cents


def _can_be_this_one(refund: Refund) -> bool:
    """Whether `reversed already` may be said of this very request: all of the money, and no other refund did it."""
    return _is_of_all(refund) and not _an_earlier_one_did(refund)


def _an_earlier_one_did(refund: Refund) -> bool:
    """Whether another refund reversed a part of the same receipt: then `reversed` says nothing of this one."""
    others = select(Refund.id).where(
        Refund.transaction_id == refund.transaction_id,
        Refund.method == "reversal",
        Refund.state == RefundState.DONE,
        Refund.id != refund.id,
    )
    return db.session.scalars(others.limit(1)).first() is not None


def _not_known(refund: Refund, why: str, code: str) -> None:
    """Once more in twenty minutes; after NOT_FOUND_TRIES answers of this code it surely did not go."""
    tries = db.session.scalar(
        select(func.count()).where(
            MpesaRequest.tenant_id == refund.tenant_id,
            MpesaRequest.refund_id == refund.id,
            MpesaRequest.kind == "status",
            MpesaRequest.state == RequestState.ANSWERED,
            MpesaRequest.result_code == code,
        )
    )
    if (tries or 0) + 1 >= NOT_FOUND_TRIES:
        refunds.fail(refund, f"{why} It was asked {NOT_FOUND_TRIES} times.", actor="status")
    else:
        refund.next_at = clock.now() + ASK_AGAIN_AFTER
