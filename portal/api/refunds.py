"""Refunds: administrators only, never above what came, never twice."""

from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body_if_any, principal, read_cursor, text_of
from portal.api.orders import find_payment
from portal.api.schemas import answered, contract, page_of, ref
from portal.kernel import clock, money, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.payments.models import Refund
from portal.payments.refunds import refunds
from portal.payments.states import RefundState
from portal.users.permissions import REFUND
from portal.web.limits import REFUNDS, STANDARD

PUBLIC_STATES = {"done": "refunded", "failed": "failed"}


def register_routes(router: Router) -> None:
    router.add("POST", "/mpesa/<checkout_request_id>/refund", refund, who=REFUND, limits=(STANDARD, REFUNDS))
    router.add("GET", "/refunds", list_refunds, who=REFUND)
    router.add("GET", "/refunds/<uid>", show_refund, who=REFUND)
    router.add("POST", "/refunds/<uid>/approve", approve, who=REFUND, limits=(STANDARD, REFUNDS))


def to_json(one_refund: Refund) -> dict[str, Any]:
    """A refund as the contract writes it. status: pending until M-Pesa's result, then refunded or failed."""
    return {
        "refundId": one_refund.uid,
        "status": PUBLIC_STATES.get(one_refund.state, "pending"),
        "state": one_refund.state,
        "refundAmount": money.kes(one_refund.amount_cents),
        "method": one_refund.method,
        "receipt": one_refund.receipt,
        "originalReceipt": one_refund.transaction.receipt,
        "reason": one_refund.failure or None,
        "needsApproval": one_refund.state == RefundState.REQUESTED,
        "requestedAt": clock.rfc3339(one_refund.created_at),
        "endedAt": clock.rfc3339(one_refund.ended_at) if one_refund.ended_at else None,
    }


@contract(answered(data=ref("Refund")), takes="NewRefund")
def refund(checkout_request_id: str) -> ResponseReturnValue:
    """Send a payment's money back, whole or in part; without a body all that is left. It is done when M-Pesa says so.

    The same `Idempotency-Key` (or `idempotencyKey`) twice is one refund. Without one, the same amount is refused
    while the one before is under way, and for ten minutes.
    """
    asking, given = principal(), body_if_any()
    amount = given.get("amount")
    amount_cents = None if amount is None else money.cents(amount)
    if amount_cents is not None and amount_cents <= 0:
        raise Refused("The amount must be at least KES 1.", code="invalid_amount", fields={"amount": "At least 1."})
    method = text_of(given, "method", required=False) or "b2c"
    if asking.user_id is None:
        raise Refused("A refund is asked for by a person: sign in.", code="person_needed")
    with transaction():
        payment, _push = find_payment(asking.tenant_id, checkout_request_id)
        if payment is None:
            raise NotFound("There is no such payment here.")
        made = refunds.ask_for(
            payment.id,
            amount_cents=amount_cents,
            method=method,
            user_id=asking.user_id,
            why=text_of(given, "reason", required=False),
            actor=asking.actor,
            key=(request.headers.get("Idempotency-Key", "") or text_of(given, "idempotencyKey", required=False))[:200],
            refuses_repeats=True,
        )
        data = to_json(made[0]) | {"refundAmount": money.kes(sum(one.amount_cents for one in made))}
        data["refundIds"] = [one.uid for one in made]
        waits = any(one.state == RefundState.REQUESTED for one in made)
    queue.enqueue(queue.REQUESTS)
    message = (
        "A second administrator must approve a refund of this size."
        if waits
        else "The refund is on its way; it is done when M-Pesa confirms it."
    )
    return jsonify(success=True, message=message, data=data)


@contract(page_of("Refund"), query=("cursor",))
def list_refunds() -> ResponseReturnValue:
    """Refunds, newest first."""
    found, next_id = refunds.page(principal().tenant_id, before_id=read_cursor())
    return jsonify(items=[to_json(one_refund) for one_refund in found], nextCursor=str(next_id) if next_id else None)


@contract("Refund")
def show_refund(uid: str) -> ResponseReturnValue:
    """One refund."""
    return jsonify(to_json(refunds.get_by_uid(principal().tenant_id, uid)))


@contract(answered(data=ref("Refund")))
def approve(uid: str) -> ResponseReturnValue:
    """The second person's yes."""
    asking = principal()
    if asking.user_id is None:
        raise Refused("A refund is approved by a person: sign in.", code="person_needed")
    with transaction():
        locked = refunds.lock(refunds.get_by_uid(asking.tenant_id, uid).id)
        refunds.approve(locked, user_id=asking.user_id, actor=asking.actor)
        data = to_json(db.session.get_one(Refund, locked.id))
    queue.enqueue(queue.REQUESTS)
    return jsonify(success=True, message="Approved.", data=data)
