"""Words of money that wait for a person: nobody can tell what they answer, or who sent them.

Nothing of them is booked while they wait, so that no shilling counts twice. A till's payment may be the receipt of a
request that M-Pesa called paid when asked; a word from an address that is not Safaricom's, or without a token, may be
forged; a prompt's success may state another amount than was asked for. M-Pesa is asked about the last three first, and
they are shown here once it has had the time to answer.
"""

import json
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, case, select

from portal.audit import chain
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import clock, money, personal
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.payments import booking, completion, matching
from portal.payments.inbox import inbox
from portal.payments.models import CALLBACK_WAITING, InboxItem, Push, Transaction
from portal.payments.payment import lock_payment
from portal.payments.states import InboxState
from portal.payments.wallets import wallets

SHOWN = 50
M_PESA_ANSWERS_WITHIN = timedelta(minutes=2)


def waits() -> ColumnElement[bool]:
    """The condition of an inbox row that waits for a person: money that somebody told of, and nobody could place."""
    is_asked = InboxItem.kind.in_(("claim", "stk")) & InboxItem.receipt.is_not(None)
    is_waiting = CALLBACK_WAITING.waits
    return is_waiting & (
        (InboxItem.kind == "c2b") | (is_asked & (InboxItem.received_at < clock.now() - M_PESA_ANSWERS_WITHIN))
    )


@dataclass(frozen=True)
class UnresolvedPayment:
    """One such payment. candidates: the requests that it may answer."""

    item: InboxItem
    paid: messages.C2bPayment
    candidates: list[Push]


def of_tenant(tenant_id: int, *, skipped: int = 0) -> list[UnresolvedPayment]:
    """What waits, oldest first, SHOWN at once; what anybody could have sent comes last, so that it hides nothing."""
    mine = select(InboxItem).where(InboxItem.tenant_id == tenant_id, waits())
    by_trust = case((InboxItem.kind == "claim", 1), else_=0)
    found = []
    for item in db.session.scalars(mine.order_by(by_trust, InboxItem.id).offset(skipped).limit(SHOWN)):
        paid = _read(item)
        found.append(UnresolvedPayment(item, paid, _candidates(item, paid)))
    return found


def _candidates(item: InboxItem, paid: messages.C2bPayment) -> list[Push]:
    """The requests that it may answer: of a prompt's own callback, that prompt."""
    if item.kind == "stk":
        return [db.session.get_one(Push, item.push_id)]
    gateway = db.session.get_one(Gateway, item.gateway_id)
    return matching.push_of(gateway, paid) if paid.shortcode in matching.numbers_of(gateway) else []


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
    inbox.set_aside(gateway, "c2b", body, told_by="m-pesa", key=paid.receipt, outcome=why, receipt=paid.receipt)


def _read(item: InboxItem) -> messages.C2bPayment:
    """What it says, as a payment by hand would say it."""
    body = personal.open_text(item.body_sealed, item.tenant_id or 0) or ""
    if item.kind != "stk":
        return messages.parse_c2b(messages.read_json(body.encode()))
    callback, push = messages.parse_stk_callback(body.encode()), db.session.get_one(Push, item.push_id)
    return messages.C2bPayment(
        transaction_type="",
        receipt=callback.receipt or "",
        amount_cents=callback.amount_cents or 0,
        occurred_at=callback.occurred_at,
        shortcode=push.gateway.shortcode,
        account=push.reference,
        payer=messages.payer_id(personal.open_phone(push.phone_sealed, push.tenant_id)),
    )


def _lock(tenant_id: int, item_id: int) -> InboxItem:
    item = db.session.scalars(
        select(InboxItem).where(
            InboxItem.tenant_id == tenant_id,
            InboxItem.id == item_id,
            (InboxItem.kind == "c2b") | InboxItem.receipt.is_not(None),
        )
    ).one_or_none()
    if item is None:
        raise NotFound(_("There is no such payment here."))
    db.session.refresh(item, with_for_update=True)
    if item.state != InboxState.WAITING:
        raise Conflict(_("Somebody decided this already."))
    return item


def take(tenant_id: int, item_id: int, push_id: int | None, *, actor: str) -> None:
    """It is money that we got: for this request, or for none of them. The caller commits, then enqueues PAID.

    Raises NotFound, Conflict.
    """
    item = _lock(tenant_id, item_id)
    gateway, paid = db.session.get_one(Gateway, item.gateway_id), _read(item)
    channel = "stk" if item.kind == "stk" else "c2b"
    incoming = completion.incoming_by_hand(channel, paid, paid.occurred_at or item.received_at, inbox_id=item.id)
    push = None
    if push_id is not None:
        push = next((one for one in _candidates(item, paid) if one.id == push_id), None)
        if push is None:
            raise Conflict(_("It can no longer be of that request."))
    asked_for = lock_payment(push.payment_id) if push is not None else None
    known = booking.by_receipt(gateway.tenant_id, gateway.environment, paid.receipt)
    why = f"A person took it: {push.reference if push else 'for none of the requests'}."
    if known is not None and (push is None or not _may_yet_be_of(known, push, paid)):
        why = "Its receipt is known already."
    elif push is not None and asked_for is not None:
        db.session.refresh(push)
        completion.succeed(push, asked_for, gateway, incoming, why="A person said that it was paid.", actor=actor)
    else:
        _book(gateway, paid, incoming, actor=actor)
    _end(item, InboxState.DONE, why, actor=actor)


def _may_yet_be_of(known: Transaction, push: Push, paid: messages.C2bPayment) -> bool:
    """Whether money that was booked before may be what this request asked for: nobody has used it, or it is in a
    wallet only because another system said so.
    """
    is_free = known.unallocated_cents == known.amount_cents or known.channel == wallets.GUESSED
    is_unclaimed = known.push_id in (None, push.id) and known.merged_into_id is None and not known.is_gone
    return is_free and is_unclaimed and known.amount_cents == paid.amount_cents


def _book(gateway: Gateway, paid: messages.C2bPayment, incoming: booking.IncomingPayment, *, actor: str) -> None:
    payment = matching.payment_of(gateway, paid.account)
    asked_for = lock_payment(payment.id) if payment is not None else None
    transaction = booking.book(gateway, incoming)
    if asked_for is not None:
        completion.give(transaction, asked_for, actor=actor)
    elif transaction.unallocated_cents:
        transaction.unplaced_why = booking.UNKNOWN_ACCOUNT


def refuse(tenant_id: int, item_id: int, *, actor: str) -> None:
    """It is not money that we got. The caller commits. Raises NotFound, Conflict."""
    _end(_lock(tenant_id, item_id), InboxState.REJECTED, "A person found that M-Pesa does not have it.", actor=actor)


def _end(item: InboxItem, state: InboxState, why: str, *, actor: str) -> None:
    if not move(item, state, outcome=why[:300], done_at=clock.now(), ask_at=None):
        raise Conflict(_("Somebody decided this already."))
    chain.record(item.tenant_id or 0, "inbox", item.id, f"callback_{state}", actor=actor, why=why)
    db.session.flush()
