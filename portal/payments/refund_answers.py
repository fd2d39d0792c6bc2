"""What M-Pesa says of money on its way back: the result it posts, and its word when it is asked."""

from datetime import timedelta

from sqlalchemy import func, select

from portal import clock, money
from portal.audit import chain
from portal.db import db
from portal.gateways import initiator, messages, results
from portal.gateways.models import Gateway
from portal.payments import refunds
from portal.payments.models import MpesaRequest, Refund

NOT_FOUND_TRIES = 3  # M-Pesa says three times, over an hour, that it knows no such pay-out
ALREADY_REVERSED = "R000001"


def take_result(refund: Refund, result: messages.ApiResult, gateway: Gateway) -> str:
    """What M-Pesa says of this refund's request; a sentence for the inbox. The caller commits."""
    code = result.result_code
    if refund.method == "reversal" and code == ALREADY_REVERSED and _an_earlier_one_did(refund):
        refunds.fail(
            refund, "M-Pesa reverses a payment once, and did: send this part by B2C.", actor="result", code=code
        )
        return f"Refund {refund.uid} failed with {code}."
    if code == "0" or (refund.method == "reversal" and code == ALREADY_REVERSED):
        stated = result.cents("TransactionAmount") if refund.method == "b2c" else result.cents("Amount")
        if stated is not None and stated != refund.amount_cents:
            chain.record(
                refund.tenant_id,
                "refund",
                refund.id,
                "odd_result",
                actor="daraja",
                why=f"It states {stated} cents.",
            )
            refunds.unknown(refund, f"The result states {money.format_kes(stated)}; M-Pesa is asked.")
            return "It states another amount than was sent: M-Pesa is asked."
        refunds.done(refund, receipt=result.text("TransactionReceipt") or result.transaction_id or None, actor="result")
        return f"Refund {refund.uid} is done."
    said = results.explain_b2c(code).for_staff or result.result_desc
    initiator.note(gateway, code, said)
    if results.explain_b2c(code).kind in ("declined", "cancelled"):
        refunds.fail(refund, f"{code}: {said}", actor="result", code=code)
        return f"Refund {refund.uid} failed with {code}."
    refunds.unknown(refund, f"{code}: {said}")
    return f"Result {code} settles nothing: M-Pesa is asked."


def take_status(refund: Refund, result: messages.ApiResult, request: MpesaRequest) -> str:
    """What M-Pesa says when asked about this refund. The caller commits, holding the locks of `lock`."""
    if refund.state in ("done", "failed"):
        return f"Refund {refund.uid} is {refund.state} already."
    status = (result.text("TransactionStatus") or "").strip().lower()
    if result.result_code == "0" and refund.method == "b2c" and status == "completed":
        refunds.done(refund, receipt=result.text("ReceiptNo") or None, actor="status")
    elif result.result_code == "0" and status == "reversed" and _an_earlier_one_did(refund):
        refund.failure = "M-Pesa says reversed, as it was before this refund. Look for it on the statement."
        refund.next_at = clock.now() + timedelta(days=1)
    elif result.result_code == "0" and refund.method == "reversal" and status == "reversed":
        refunds.done(refund, receipt=None, actor="status")
    elif result.result_code == "0" and status in ("failed", "declined", "cancelled", "expired"):
        refunds.fail(refund, f"M-Pesa says {status} when asked.", actor="status")
    elif result.result_code == "0" and refund.method == "reversal" and status == "completed":
        _ask_again(refund, "M-Pesa says that the payment still stands.", result.result_code)
    elif results.explain_b2c(result.result_code).kind in ("declined", "cancelled"):
        _ask_again(refund, f"M-Pesa does not know it yet ({result.result_code}).", result.result_code)
    else:  # it is there and not final, or M-Pesa cannot tell just now: it may still go
        refund.next_at = clock.now() + timedelta(minutes=20)
    return f"Refund {refund.uid} is {refund.state}."


def _an_earlier_one_did(refund: Refund) -> bool:
    """Whether another refund reversed a part of the same receipt: then `reversed` says nothing of this one."""
    others = select(Refund.id).where(
        Refund.transaction_id == refund.transaction_id,
        Refund.method == "reversal",
        Refund.state == "done",
        Refund.id != refund.id,
    )
    return db.session.scalars(others.limit(1)).first() is not None


def _ask_again(refund: Refund, why: str, code: str) -> None:
    """Once more in twenty minutes; after NOT_FOUND_TRIES answers of this code it surely did not go."""
    tries = db.session.scalar(
        select(func.count()).where(
            MpesaRequest.tenant_id == refund.tenant_id,
            MpesaRequest.subject == f"refund:{refund.id}",
            MpesaRequest.kind == "status",
            MpesaRequest.state == "answered",
            MpesaRequest.result_code == code,
        )
    )
    if (tries or 0) + 1 >= NOT_FOUND_TRIES:
        refunds.fail(refund, f"{why} It was asked {NOT_FOUND_TRIES} times.", actor="status")
    else:
        refund.next_at = clock.now() + timedelta(minutes=20)
