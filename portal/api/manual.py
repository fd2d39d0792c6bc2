"""Money taken by hand: recorded, listed, voided with a reason. Nothing is ever erased."""

from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.api.guard import Doors, body, body_if_any, principal, read_cursor, text_of
from portal.api.schemas import contract, page_of
from portal.gateways import client_factory
from portal.kernel import clock, money, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.ledger.models import Journal, Line
from portal.payments import manual, search
from portal.payments.manual import Taken
from portal.payments.models import Customer, Transaction
from portal.payments.wallets import customers
from portal.users.models import User
from portal.users.permissions import RECORD_MANUAL, SEE_MONEY, VOID_MANUAL


def open_doors(doors: Doors) -> None:
    doors.add("GET", "/payments/manual", listed, who=SEE_MONEY)
    doors.add("POST", "/payments/manual", record, who=RECORD_MANUAL)
    doors.add("DELETE", "/payments/manual/<uid>", void, who=VOID_MANUAL)
    doors.add("DELETE", "/payments/manual", void_many, who=VOID_MANUAL)


def shown(items: list[Transaction]) -> list[dict[str, Any]]:
    """Money taken by hand under the API's names."""
    references, people, owners = search.references_of(items), _names(items), _credited(items)
    return [
        {
            "id": one.uid,
            "receipt": one.receipt,
            "amount": money.kes(one.amount_cents),
            "unallocated": money.kes(one.unallocated_cents),
            "channel": one.channel,
            "reference": references[one.id],
            "customerId": owners.get(one.uid),
            "note": one.note,
            "recordedBy": people.get(one.recorded_by_id or 0),
            "occurredAt": clock.rfc3339(one.occurred_at),
            "state": one.state,
            "voidReason": one.void_why or None,
            "voidedAt": clock.rfc3339(one.voided_at) if one.voided_at else None,
            "environment": one.environment,
        }
        for one in items
    ]


def _names(items: list[Transaction]) -> dict[int, str]:
    ids = {one.recorded_by_id for one in items if one.recorded_by_id}
    found = db.session.scalars(select(User).where(User.id.in_(ids))) if ids else ()
    return {one.id: one.name for one in found}


def _credited(items: list[Transaction]) -> dict[str, str]:
    """Whose wallet each of these went into, by its id: the ledger knows."""
    numbers = {one.account for one in items}
    if not items:
        return {}
    tenant_id = items[0].tenant_id
    owners = db.session.scalars(
        select(Customer).where(Customer.tenant_id == tenant_id, Customer.account_number.in_(numbers))
    ).all()
    by_account = {one.account_number: one for one in owners}
    credited = set(
        db.session.scalars(
            select(Journal.reference)
            .join(Line)
            .where(
                Journal.tenant_id == tenant_id,
                Journal.kind == "credited",
                Journal.reference.in_(
                    [f"{one.uid}/{by_account[one.account].id}" for one in items if one.account in by_account]
                ),
            )
        )
    )
    return {
        one.uid: by_account[one.account].uid
        for one in items
        if one.account in by_account and f"{one.uid}/{by_account[one.account].id}" in credited
    }


@contract(page_of("ManualPayment"), query=("cursor",))
def listed() -> ResponseReturnValue:
    """What was recorded by hand, newest first."""
    items, cursor = manual.page(principal().tenant_id, before_id=read_cursor())
    return jsonify(items=shown(items), nextCursor=cursor)


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
        booked = record_taken(asking.tenant_id, reference, customer_id, taken)
        uid = booked.uid
    queue.ring(queue.PAID)
    return jsonify(shown([search.by_uid(asking.tenant_id, uid)])[0]), 201


def record_taken(tenant_id: int, reference: str, customer_id: str, taken: Taken) -> Transaction:
    """Record it where it belongs. The caller commits, then rings PAID."""
    if reference:
        return manual.for_payment(tenant_id, reference, taken)
    customer = customers.by_uid(tenant_id, customer_id)
    return manual.for_wallet(customer, client_factory.environment_of(tenant_id), taken)


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
    queue.ring(queue.WITHDRAW)
    found = select(Transaction).where(Transaction.id.in_(ids)).order_by(Transaction.id)
    return shown(list(db.session.scalars(found)))
