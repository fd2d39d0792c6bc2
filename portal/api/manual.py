"""Money taken by hand: recorded, listed, voided with a reason. Nothing is ever erased."""

from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.api.guard import Router, body, body_if_any, principal, read_cursor, text_of
from portal.api.schemas import contract, page_of
from portal.clinic.reception import shifts
from portal.kernel import clock, money, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payments import manual, search
from portal.payments.manual import Taken
from portal.payments.models import Transaction
from portal.payments.wallets import customers
from portal.users.permissions import RECORD_MANUAL, SEE_MONEY, VOID_MANUAL


def register_routes(router: Router) -> None:
    router.add("GET", "/payments/manual", list_manual_payments, who=SEE_MONEY)
    router.add("POST", "/payments/manual", record, who=RECORD_MANUAL)
    router.add("DELETE", "/payments/manual/<uid>", void, who=VOID_MANUAL)
    router.add("DELETE", "/payments/manual", void_many, who=VOID_MANUAL)


def to_json(record: manual.Record) -> dict[str, Any]:
    """Money taken by hand under the API's names."""
    item = record.transaction
    return {
        "id": item.uid,
        "receipt": item.receipt,
        "amount": money.kes(item.amount_cents),
        "unallocated": money.kes(item.unallocated_cents),
        "channel": item.channel,
        "reference": record.reference,
        "customerId": record.customer_uid,
        "note": item.note,
        "recordedBy": record.recorded_by,
        "occurredAt": clock.rfc3339(item.occurred_at),
        "state": item.state,
        "voidReason": item.void_why or None,
        "voidedAt": clock.rfc3339(item.voided_at) if item.voided_at else None,
        "environment": item.environment,
    }


def _all_to_json(items: list[Transaction]) -> list[dict[str, Any]]:
    return [to_json(record) for record in manual.records_of(items)]


@contract(page_of("ManualPayment"), query=("cursor",))
def list_manual_payments() -> ResponseReturnValue:
    """What was recorded by hand, newest first."""
    items, cursor = manual.page(principal().tenant_id, before_id=read_cursor())
    return jsonify(items=_all_to_json(items), nextCursor=cursor)


@contract("ManualPayment", takes="Taken", answers=(201,))
def record() -> ResponseReturnValue:
    """Record money for `reference` (an invoice, or a paymentId) or into the wallet of `customerId`."""
    asking, given = principal(), body()
    reference = text_of(given, "reference", required=False)
    customer_id = text_of(given, "customerId", required=False)
    if bool(reference) == bool(customer_id):
        sentence = "Name either a reference or a customerId."
        raise Refused(sentence, code="invalid_fields", fields={"reference": sentence})
    taken = Taken(
        amount_cents=manual.read_amount(given.get("amount")),
        channel=manual.read_channel(given.get("channel")),
        actor=asking.actor,
        user_id=asking.user_id,
        note=text_of(given, "note", required=False),
        key=text_of(given, "idempotencyKey", required=False)[:80],
    )
    with transaction():
        shift = shifts.held(asking.tenant_id, asking.user_id) if asking.user_id else None
        booked = (
            manual.for_payment(asking.tenant_id, reference, taken)
            if reference
            else manual.for_wallet(customers.by_uid(asking.tenant_id, customer_id), taken)
        )
        if shift is not None:
            shifts.took(shift, booked, tendered_cents=taken.amount_cents)
        uid = booked.uid
    queue.enqueue(queue.PAID)
    return jsonify(_all_to_json([search.by_uid(asking.tenant_id, uid)])[0]), 201


def _reason() -> str:
    return text_of(body_if_any(), "reason", required=False) or request.args.get("reason", "")


@contract("ManualPayment", takes="Reason", query=("reason",))
def void(uid: str) -> ResponseReturnValue:
    """Take one back, with a `reason` (JSON or parameter). Voided again, it answers as it did."""
    return jsonify(_void([uid])[0])


@contract(page_of("ManualPayment"), takes="Reason", query=("ids", "reason"))
def void_many() -> ResponseReturnValue:
    """Take several back, `ids` comma separated, with one `reason`: all of them or none."""
    uids = [uid.strip() for uid in request.args.get("ids", "").split(",") if uid.strip()]
    return jsonify(items=_void(uids), nextCursor=None)


def _void(uids: list[str]) -> list[dict[str, Any]]:
    asking = principal()
    with transaction():
        ids = [one.id for one in manual.void(asking.tenant_id, uids, why=_reason(), actor=asking.actor)]
    queue.enqueue(queue.WITHDRAW)
    found = select(Transaction).where(Transaction.id.in_(ids)).order_by(Transaction.id)
    return _all_to_json(list(db.session.scalars(found)))
