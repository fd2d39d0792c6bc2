"""Payments by hand that wait for a person: nobody can tell what they answer, or who sent word of them.

Nothing of them is booked while they wait, so that no shilling counts twice. A till's payment may be the receipt of a
request that M-Pesa called paid when asked; and a word from an address that is not Safaricom's may be forged.
"""

import json
from dataclasses import dataclass

from flask_babel import gettext as _
from sqlalchemy import select

from portal import clock, money, personal
from portal.audit import chain
from portal.db import db
from portal.errors import Conflict, NotFound
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.payments import accounts, inbox, money_in, success
from portal.payments.models import InboxItem, Push
from portal.payments.money_in import lock_payment

SHOWN = 50


@dataclass(frozen=True)
class Undecided:
    """One such payment. candidates: the requests that it may answer."""

    item: InboxItem
    paid: messages.C2bPayment
    candidates: list[Push]


def of_tenant(tenant_id: int) -> list[Undecided]:
    """What waits, oldest first."""
    mine = select(InboxItem).where(
        InboxItem.tenant_id == tenant_id, InboxItem.state == "waiting", InboxItem.kind == "c2b"
    )
    found = []
    for item in db.session.scalars(mine.order_by(InboxItem.id).limit(SHOWN)):
        try:
            paid = _read(item)
        except messages.Malformed:
            continue
        gateway = db.session.get_one(Gateway, item.gateway_id)
        candidates = accounts.push_of(gateway, paid) if paid.shortcode in accounts.numbers_of(gateway) else []
        found.append(Undecided(item, paid, candidates))
    return found


def leave(gateway: Gateway, paid: messages.C2bPayment, *, why: str) -> None:
    """Keep what M-Pesa told of money as the confirmation that never came: it waits where such a confirmation would.

    Once for each receipt, whoever brought it. The caller commits.
    """
    body = json.dumps(
        {
            "TransID": paid.receipt,
            "TransTime": clock.daraja_timestamp(paid.occurred_at or clock.now()),
            "TransAmount": str(money.kes(paid.amount_cents)),
            "BusinessShortCode": paid.shortcode,
            "BillRefNumber": paid.account,
            "MSISDN": paid.payer.text,
            "FirstName": paid.first_name,
        }
    )
    inbox.set_aside(gateway, "c2b", body, told_by="m-pesa", key=paid.receipt, outcome=why)


def _read(item: InboxItem) -> messages.C2bPayment:
    body = personal.open_text(item.body_sealed, item.tenant_id or 0) or ""
    return messages.parse_c2b(messages.read_json(body.encode()))


def _lock(tenant_id: int, item_id: int) -> InboxItem:
    item = db.session.scalars(
        select(InboxItem).where(InboxItem.tenant_id == tenant_id, InboxItem.id == item_id, InboxItem.kind == "c2b")
    ).one_or_none()
    if item is None:
        raise NotFound(_("There is no such payment here."))
    db.session.refresh(item, with_for_update=True)
    if item.state != "waiting":
        raise Conflict(_("Somebody decided this already."))
    return item


def take(tenant_id: int, item_id: int, push_id: int | None, *, actor: str) -> None:
    """It is money that we got: for this request, or for none of them. The caller commits, then rings PAID.

    Raises NotFound, Conflict.
    """
    item = _lock(tenant_id, item_id)
    gateway, paid = db.session.get_one(Gateway, item.gateway_id), _read(item)
    arrival = success.arrival_by_hand("c2b", paid, paid.occurred_at or item.received_at, inbox_id=item.id)
    push = None
    if push_id is not None:
        push = next((one for one in accounts.push_of(gateway, paid) if one.id == push_id), None)
        if push is None:
            raise Conflict(_("It can no longer be of that request."))
    why = f"A person took it: {push.reference if push else 'for none of the requests'}."
    if money_in.find(gateway.tenant_id, gateway.environment, paid.receipt) is not None:
        why = "Its receipt is known already."
    elif push is not None:
        asked_for = lock_payment(push.payment_id)
        db.session.refresh(push)
        success.succeed(push, asked_for, gateway, arrival, why="A person said that it was paid.", actor=actor)
    else:
        _book(gateway, paid, arrival, actor=actor)
    _end(item, "done", why, actor=actor)


def _book(gateway: Gateway, paid: messages.C2bPayment, arrival: money_in.Arrival, *, actor: str) -> None:
    payment = accounts.payment_of(gateway, paid.account)
    asked_for = lock_payment(payment.id) if payment is not None else None
    booked = money_in.book(gateway, arrival)
    if asked_for is not None:
        success.give(booked, asked_for, actor=actor)
    elif booked.unallocated_cents:
        booked.unplaced_why = money_in.UNKNOWN_ACCOUNT


def refuse(tenant_id: int, item_id: int, *, actor: str) -> None:
    """It is not money that we got. The caller commits. Raises NotFound, Conflict."""
    _end(_lock(tenant_id, item_id), "rejected", "A person found that M-Pesa does not have it.", actor=actor)


def _end(item: InboxItem, state: str, why: str, *, actor: str) -> None:
    item.state, item.outcome, item.done_at = state, why[:300], clock.now()
    chain.record(item.tenant_id or 0, "inbox", item.id, f"callback_{state}", actor=actor, why=why)
    db.session.flush()
