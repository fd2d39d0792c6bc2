"""What another system alone says was paid: held apart from the books until somebody who knows agrees.

A held word is no money: it opens and pays nothing, no pasted message can claim it, and no total counts it. M-Pesa is
asked about its receipt where it can be. Once M-Pesa or a statement tells of that receipt, and what came has no home,
it goes into the wallet of the phone that the word named; so it does where a person agrees, on that person's word.
"""

from sqlalchemy import func, select

from portal.audit import chain
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db, new_uid, transaction, upsert_nothing
from portal.kernel.errors import Conflict, NotFound, PortalError, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.kernel.phone import for_screens
from portal.kernel.states import move
from portal.payments import booking
from portal.payments.booking import IncomingPayment
from portal.payments.models import TO_AGREE, Customer, InboxItem, Transaction, UnverifiedReport
from portal.payments.states import ReportState
from portal.payments.wallets import wallets

BATCH, SHOWN = 200, 50
CHANNEL = wallets.GUESSED


def hold(item: InboxItem, gateway: Gateway, told: messages.StkCallback, receipt: str, amount_cents: int) -> bool:
    """Write another system's word down; False where a word of this receipt is held already. The caller commits."""
    tenant_id = gateway.tenant_id
    insert = upsert_nothing(
        UnverifiedReport,
        unique=["tenant_id", "environment", "receipt"],
        tenant_id=tenant_id,
        uid=new_uid(),
        gateway_id=gateway.id,
        environment=gateway.environment,
        receipt=receipt,
        amount_cents=amount_cents,
        phone_sealed=personal.seal_phone(told.msisdn, tenant_id) if told.msisdn else None,
        phone_hash=personal.phone_hash(told.msisdn, tenant_id) if told.msisdn else None,
        payer_shown=for_screens(told.msisdn) if told.msisdn else "",
        occurred_at=told.occurred_at or item.received_at,
    ).returning(UnverifiedReport.id)
    held_id = db.session.execute(insert).scalar()
    if held_id is None:
        return False
    chain.record(
        tenant_id, "hearsay", held_id, "held", actor=CHANNEL, new=receipt, details={"amount_cents": amount_cents}
    )
    return True


def of_receipt(gateway: Gateway, receipt: str) -> UnverifiedReport | None:
    """What was held of this receipt, whatever became of it, or None."""
    return db.session.scalars(
        select(UnverifiedReport).where(
            UnverifiedReport.tenant_id == gateway.tenant_id,
            UnverifiedReport.environment == gateway.environment,
            UnverifiedReport.receipt == receipt,
        )
    ).one_or_none()


def compare() -> None:
    """Settle the held words whose receipt M-Pesa or a statement has told of; each in a transaction of its own."""
    told_of = (
        select(Transaction.id)
        .where(
            Transaction.tenant_id == UnverifiedReport.tenant_id,
            Transaction.environment == UnverifiedReport.environment,
            Transaction.receipt == UnverifiedReport.receipt,
        )
        .scalar_subquery()  # each held word looks its receipt up; a join might begin with all the money there is
    )
    told = select(UnverifiedReport.id, told_of).where(TO_AGREE.waits, told_of.is_not(None))
    told = told.order_by(UnverifiedReport.id).limit(BATCH)
    for held_id, transaction_id in db.session.execute(told).all():
        try:
            with transaction():
                _settle(held_id, transaction_id)
        except PortalError as error:  # one that cannot be settled stays listed, and holds up no other
            logger.error("hearsay_not_settled", hearsay=held_id, error=str(error)[:200])


def _settle(held_id: int, transaction_id: int) -> None:
    held = db.session.get_one(
        UnverifiedReport, held_id, with_for_update=True
    )  # before the money, as a person's decision does
    booked = booking.lock_with_payments(transaction_id)
    fits = held.amount_cents == booked.amount_cents and _may_be_of(held, booked)
    if not _decide(held, ReportState.AGREED if fits else ReportState.REFUSED, booked, actor=booked.channel):
        return
    if fits and _has_no_home(booked) and (customer := _named_by(held)):
        wallets.credit(booked, customer, actor=CHANNEL)


def _may_be_of(held: UnverifiedReport, booked: Transaction) -> bool:
    """Whether M-Pesa does not name another payer, as far as it shows one."""
    if booked.phone_hash is not None:
        return booked.phone_hash == held.phone_hash
    named = personal.open_phone(held.phone_sealed, held.tenant_id)
    return not named or messages.payer_matches(messages.payer_id(booked.payer_shown), named) is not False


def _has_no_home(booked: Transaction) -> bool:
    return (
        booked.unallocated_cents == booked.amount_cents
        and booked.unplaced_why in ("", booking.UNKNOWN_ACCOUNT)
        and not booked.is_gone
        and booked.merged_into_id is None
    )


def _named_by(held: UnverifiedReport) -> Customer | None:
    if held.phone_hash is None:
        return None
    mine = select(Customer).where(Customer.tenant_id == held.tenant_id, Customer.phone_hash == held.phone_hash)
    return db.session.scalars(mine).one_or_none()


def _decide(
    held: UnverifiedReport,
    state: ReportState,
    booked: Transaction | None,
    *,
    actor: str,
    user_id: int | None = None,
    why: str = "",
) -> bool:
    """Decide it, once: False where somebody else did. One UPDATE, so two who press at once are one decision."""
    of_money = booked.id if booked else None
    decided = {"decided_at": clock.now(), "decided_by_id": user_id, "transaction_id": of_money}
    if not move(held, state, old=ReportState.HELD, **decided):
        return False
    chain.record(
        held.tenant_id, "hearsay", held.id, state, actor=actor, old=ReportState.HELD, new=held.receipt, why=why
    )
    return True


def agree(tenant_id: int, uid: str, *, user_id: int | None, actor: str) -> UnverifiedReport:
    """A person has found the money: it is booked, and goes into the wallet of who paid, or waits to be placed.

    Raises Conflict where it was decided otherwise. The caller commits.
    """
    held = _of_tenant(tenant_id, uid)
    if held.state == ReportState.HELD:
        booked = booking.book(
            held.gateway,
            IncomingPayment(
                channel=CHANNEL,
                amount_cents=held.amount_cents,
                occurred_at=held.occurred_at,
                receipt=held.receipt,
                msisdn=personal.open_phone(held.phone_sealed, tenant_id),
            ),
        )
        if booked.amount_cents != held.amount_cents:
            raise Conflict(_("M-Pesa told of this receipt with another amount. Refuse it."))
        if _decide(held, ReportState.AGREED, booked, actor=actor, user_id=user_id) and _has_no_home(booked):
            if customer := _named_by(held):
                wallets.credit(booked, customer, actor=actor)
            else:
                booked.unplaced_why = booking.UNKNOWN_ACCOUNT
        db.session.refresh(held)
    if held.state != ReportState.AGREED:
        raise Conflict(_("This was refused already."))
    return held


def refuse(tenant_id: int, uid: str, *, why: str, user_id: int | None, actor: str) -> UnverifiedReport:
    """A person has not found the money. Raises Conflict where it was agreed to. The caller commits."""
    why = why.replace("\0", "").strip()
    if not why:
        raise Refused(_("Say why it is refused."), code="invalid_fields", fields={"reason": _("Required.")})
    held = _of_tenant(tenant_id, uid)
    if held.state == ReportState.HELD:
        _decide(held, ReportState.REFUSED, None, actor=actor, user_id=user_id, why=why[:300])
        db.session.refresh(held)
    if held.state != ReportState.REFUSED:
        raise Conflict(_("This was agreed to already."))
    return held


def _of_tenant(tenant_id: int, uid: str) -> UnverifiedReport:
    held = db.session.scalars(
        select(UnverifiedReport)
        .where(UnverifiedReport.tenant_id == tenant_id, UnverifiedReport.uid == uid)
        .with_for_update()
    ).one_or_none()
    if held is None:
        raise NotFound(_("There is no such message here."))
    return held


def waiting(
    tenant_id: int, *, after_id: int | None = None, rows: int = SHOWN
) -> tuple[list[UnverifiedReport], int | None]:
    """(words that wait for M-Pesa, a statement or a person, oldest first, the id to go on after or None)."""
    held = select(UnverifiedReport).where(UnverifiedReport.tenant_id == tenant_id, TO_AGREE.waits)
    if after_id is not None:
        held = held.where(UnverifiedReport.id > after_id)
    found = list(db.session.scalars(held.order_by(UnverifiedReport.id).limit(rows + 1)))
    return found[:rows], found[rows - 1].id if len(found) > rows else None


def waiting_count(tenant_id: int) -> int:
    """How many of them wait."""
    held = select(func.count()).where(UnverifiedReport.tenant_id == tenant_id, TO_AGREE.waits)
    return db.session.scalar(held) or 0
