"""Test money and real money: what a switch of a gateway between the two does to what is open.

A switch makes a second row of the gateway (`settings.change`): each row stays in its environment for ever. So a prompt
that rings, a question that M-Pesa has not answered and a refund on its way end where they began, with the secrets of
that time, and are booked as that money. What has not begun is dealt with here, by name, in the same transaction.

Decided: invoices that no money ever came for are asked for with real money when a business goes live, under the same
number and link, because what was brought from an earlier system (`portal import`) is owed for real.
So are those of a test gateway that was archived beside a real one: a business may go live by a new gateway as well.
What else such a gateway left open is closed then, as by a switch: nobody could ever pay it.
Decided: the other way round a real invoice stays a real one, and waits: test money must never pay it.
Decided: all else is closed. Who buys a package or sends an order begins anew in the same moment; money on it waits to
be placed.
Decided: refunds that are not sent yet fail, instead of being sent by the archived gateway: whoever asked for them looks
at them again. Asked for anew, they go out where their money came in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from portal.audit import chain
from portal.gateways import client_factory, settings
from portal.gateways.models import Gateway
from portal.kernel.db import db
from portal.kernel.errors import Conflict, Refused
from portal.payments.closing import close_payment
from portal.payments.models import Payment, Refund
from portal.payments.payment import lock_payment, touch
from portal.payments.refunds import refunds
from portal.payments.states import REFUND_UNSENT, PaymentState


@dataclass
class Switched:
    """What a switch did, by the references of payments, and by the receipts of refunds."""

    closed: list[str] = field(default_factory=list)
    asked_anew: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    refunds_stopped: list[str] = field(default_factory=list)


def change(
    gateway: Gateway, given: Mapping[str, Any], *, actor: str, is_fresh_signin: bool
) -> tuple[Gateway, Switched | None]:
    """`settings.change`, and what it did to what was open where test and real money were switched, else None.

    Gives the gateway that stands for it now. The caller commits. Raises Refused; Conflict where another switch was
    quicker.
    """
    wanted = settings.read(given).get("env")
    if wanted in (None, gateway.environment):
        return settings.change(gateway, given, actor=actor, is_fresh_signin=is_fresh_signin), None
    unsent = _unsent(gateway)
    refunds.lock_requests(unsent)
    payments = _lock_open(gateway)  # payments and refunds before their gateway, as whoever uses them has it
    waiting_refunds = _lock_unsent(unsent)
    db.session.refresh(gateway, with_for_update=True)
    if gateway.archived_at is not None:
        raise Conflict("Somebody else switched this gateway just now. Load it again.")
    successor = settings.change(gateway, given, actor=actor, is_fresh_signin=is_fresh_signin)
    db.session.flush()
    switched = Switched()
    for payment in payments:
        _deal_with(payment, successor, switched, actor=actor)
    _follow(gateway.tenant_id, switched, actor=actor)
    for refund in waiting_refunds:
        refunds.fail(refund, "Test and real money were switched before it was sent. Ask for it anew.", actor=actor)
        switched.refunds_stopped.append(refund.transaction.receipt or refund.transaction.account)
    chain.record(
        gateway.tenant_id, "gateway", successor.id, "switched", actor=actor, old=gateway.environment,
        new=successor.environment, details={name: len(named) for name, named in vars(switched).items()},
    )  # fmt: skip
    return successor, switched


def _lock_open(gateway: Gateway) -> list[Payment]:
    mine = (
        select(Payment).where(Payment.gateway_id == gateway.id, Payment.state == PaymentState.OPEN).order_by(Payment.id)
    )
    return list(db.session.scalars(mine.with_for_update().execution_options(populate_existing=True)))


def _unsent(gateway: Gateway) -> list[int]:
    unsent = select(Refund.id).where(Refund.gateway_id == gateway.id, Refund.state.in_(REFUND_UNSENT))
    return list(db.session.scalars(unsent.order_by(Refund.id)))


def _lock_unsent(refund_ids: list[int]) -> list[Refund]:
    locked = [refunds.lock(refund_id) for refund_id in refund_ids]
    return [refund for refund in locked if refund.state in REFUND_UNSENT]


def _deal_with(payment: Payment, successor: Gateway, switched: Switched, *, actor: str) -> None:
    if payment.purpose == "clinic" and payment.environment == "production":
        if payment.reference not in switched.waiting:  # it waits since an earlier switch
            switched.waiting.append(payment.reference)
    elif payment.purpose == "clinic" and not payment.allocated_cents and payment.paid_at is None:
        _ask_anew(payment, successor, actor=actor)
        switched.asked_anew.append(payment.reference)
    else:
        close_payment(lock_payment(payment.id), why="Test and real money were switched.", actor=actor)
        switched.closed.append(payment.reference if not payment.order_id else payment.order_id)


def _ask_anew(payment: Payment, successor: Gateway, *, actor: str) -> None:
    touch(payment.id, environment=successor.environment, gateway_id=successor.id)
    chain.record(
        payment.tenant_id, "payment", payment.id, "asked_anew", actor=actor, new=successor.environment,
        why="Test and real money were switched.",
    )  # fmt: skip


def create(tenant_id: int, given: Mapping[str, Any], *, actor: str, is_fresh_signin: bool) -> Gateway:
    """`settings.create`; a real gateway asks for what an archived test one has left open. The caller commits."""
    made = settings.create(tenant_id, given, actor=actor, is_fresh_signin=is_fresh_signin)
    _follow(tenant_id, Switched(), actor=actor)
    return made


def archive(gateway: Gateway, *, actor: str, is_fresh_signin: bool) -> bool:
    """`settings.archive`; the real gateway in its place asks for the invoices it leaves open. The caller commits."""
    _lock_open(gateway)  # payments before their gateway, as above
    tenant_id = gateway.tenant_id
    was_deleted = settings.archive(gateway, actor=actor, is_fresh_signin=is_fresh_signin)
    _follow(tenant_id, Switched(), actor=actor)
    return was_deleted


def make_default(gateway: Gateway, *, actor: str, is_fresh_signin: bool) -> None:
    """`settings.make_default`; a real one asks for what archived test ones have left open. The caller commits."""
    settings.make_default(gateway, actor=actor, is_fresh_signin=is_fresh_signin)
    _follow(gateway.tenant_id, Switched(), actor=actor)


def _follow(tenant_id: int, switched: Switched, *, actor: str) -> None:
    """Deal with what archived gateways left open, where other money is taken for it now, as at a switch.

    A business may also go live by a new gateway, with the test one removed before or after: its debts are as real.
    """
    left = (
        select(Payment)
        .join(Payment.gateway)
        .where(Payment.tenant_id == tenant_id, Payment.state == PaymentState.OPEN, Gateway.archived_at.is_not(None))
        .order_by(Payment.id)
        .with_for_update(of=Payment)
        .execution_options(populate_existing=True)
    )
    payments = list(db.session.scalars(left))
    chosen = {purpose: _chosen(tenant_id, purpose) for purpose in {payment.purpose for payment in payments}}
    for payment in payments:
        gateway = chosen[payment.purpose]
        if gateway is not None and gateway.environment != payment.environment:
            _deal_with(payment, gateway, switched, actor=actor)


def _chosen(tenant_id: int, purpose: str) -> Gateway | None:
    try:
        return client_factory.choose(tenant_id, purpose)
    except Refused:
        return None
