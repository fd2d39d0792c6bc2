"""Money on its way back: asked for, approved, sent, and known by M-Pesa's word. Never more than came, never twice.

Its states and their graph: `payments.states`.

A refund counts as spent from the moment it is asked for until M-Pesa says it failed. The OriginatorConversationID is
its idempotency key: made once, the same on every try, so M-Pesa itself refuses a double.
"""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select, update
from sqlalchemy.exc import IntegrityError

from portal.audit import chain
from portal.gateways import initiator, messages
from portal.gateways.models import Gateway
from portal.kernel import clock, money, personal, vault
from portal.kernel.db import db, new_token
from portal.kernel.errors import Conflict, NotFound, Refused, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.ledger import post
from portal.payments import booking, daraja_requests
from portal.payments.booking import customer_credited, lock_with_payments, to_be_spent
from portal.payments.models import (
    MOVES_MONEY,
    REFUND_DUE,
    TO_APPROVE,
    Allocation,
    MpesaRequest,
    Payment,
    Push,
    Refund,
    Transaction,
)
from portal.payments.payment import lock_payment, touch
from portal.payments.states import REFUND_UNDER_WAY, PaymentState, RefundState, RequestState
from portal.tenants.models import Tenant
from portal.users import team

MPESA_FIRST = timedelta(hours=1)  # what M-Pesa says by itself comes before what an administrator says
B2C_LEAST_CENTS = 10 * money.CENTS  # Safaricom's minimum for a pay-out
METHODS = ("b2c", "reversal")
_MOVES_MONEY: ColumnElement[bool] = literal_column(f"mpesa_requests.{MOVES_MONEY}")  # spelt as its indexes have it
REPEATED_WITHIN = timedelta(minutes=10)
MOST_PARTS = 100  # receipts that one request may send back from


@dataclass(frozen=True)
class Share:
    """How much of a transaction may still go back."""

    transaction: Transaction
    available_cents: int

    @property
    def sendable_cents(self) -> int:
        """As much of it as M-Pesa can send: whole shillings. What is left of a receipt with cents may be credit."""
        is_at_mpesa = self.transaction.provider == "mpesa" and self.available_cents > 0
        return self.available_cents - self.available_cents % money.CENTS if is_at_mpesa else 0


def shares_of(payment: Payment) -> list[Share]:
    """What of this payment's money may still go back, oldest receipt first."""
    given = (
        select(Transaction, Allocation.amount_cents)
        .join(Allocation, Allocation.transaction_id == Transaction.id)
        .where(Allocation.payment_id == payment.id, Allocation.taken_back_at.is_(None))
        .order_by(Allocation.id)
    )
    found = []
    for booked, given_cents in db.session.execute(given).all():
        spent = select(func.coalesce(func.sum(Refund.amount_cents), 0)).where(
            Refund.transaction_id == booked.id, Refund.payment_id == payment.id, Refund.state != RefundState.FAILED
        )
        found.append(Share(booked, given_cents - int(db.session.scalar(spent) or 0)))
    return found


def recommended(booked: Transaction, amount_cents: int) -> str:
    """The method that can carry it: a pay-out, or a reversal where there is no phone or too little for a pay-out."""
    return "b2c" if booked.phone_sealed and amount_cents >= B2C_LEAST_CENTS else "reversal"


def may_go_back(payment: Payment) -> tuple[int, str]:
    """(cents that may still go back by M-Pesa, the method recommended for all of them)."""
    left = [share for share in shares_of(payment) if share.sendable_cents]
    methods = {recommended(share.transaction, share.sendable_cents) for share in left}
    return sum(share.sendable_cents for share in left), "b2c" if methods == {"b2c"} else "reversal"


def ask_for(
    payment_id: int,
    *,
    amount_cents: int | None,
    method: str,
    user_id: int | None,
    why: str,
    actor: str,
    key: str = "",
    refuses_repeats: bool = False,
) -> list[Refund]:
    """Write down refunds of a payment, one a receipt; all of what is left where no amount is given. The caller commits.

    key: the caller's idempotency key; what was asked for with it before is given again, and nothing new is written.
    refuses_repeats: without a key the same part twice is no second refund.
    user_id: who asked, and so may not approve; None: a rule that an administrator made.
    Raises Refused with what is wrong and what would be right.
    """
    payment = lock_payment(payment_id)
    asked_as = vault.lookup(f"{payment.id}/{amount_cents}/{method}", context="refund-asked")[:32]
    if key and (before := _keyed(payment.tenant_id, key)):
        if before[0].asked_as != asked_as:
            raise Conflict(_("This key was used for another refund. Use a new one."), code="idempotency_conflict")
        return before
    if refuses_repeats and not key and amount_cents is not None:
        _refuse_repeated(payment, asked_as)
    paid = select(Allocation.transaction_id).where(Allocation.payment_id == payment.id)
    locked = select(Transaction).where(Transaction.id.in_(paid)).order_by(Transaction.id).with_for_update()
    db.session.scalars(locked.execution_options(populate_existing=True)).all()  # it may have paid others as well
    shares = [share for share in shares_of(payment) if share.sendable_cents]
    available = sum(share.sendable_cents for share in shares)
    wanted = available if amount_cents is None else amount_cents
    if wanted <= 0 or available <= 0:
        raise Refused(
            _nothing_left(payment) if available <= 0 else _("The amount must be at least KES 1."),
            code="invalid_amount",
        )
    if wanted > available:
        raise Refused(
            _(
                "At most %(amount)s can go back: what was received less refunds under way or done.",
                amount=money.format_kes(available),
            ),
            code="refund_too_large",
            fields={"amount": f"At most {money.kes(available)}."},
        )
    how: dict[str, Any] = {"method": method, "user_id": user_id, "why": why, "actor": actor, "asked_as": asked_as}
    in_all_cents = wanted + sum(one.amount_cents for one in of_payment(payment.id) if one.state != RefundState.FAILED)
    made: list[Refund] = []
    for share in shares:
        part = min(wanted, share.sendable_cents)
        if not part:
            continue
        wanted -= part
        how["key"] = _row_key(key, len(made)) if key else None
        if payment.state == PaymentState.PAID:
            made.append(_write(share.transaction, payment, part, in_all_cents=in_all_cents, **how))
            continue
        _check(share.transaction, part, method)  # before anything moves
        booking.take_off(share.transaction, payment, part, actor=actor)  # else it would count as paid still
        made.append(_write(share.transaction, None, part, in_all_cents=in_all_cents, **how))
    return made


def _row_key(key: str, place: int) -> str:
    """What keeps a caller's key single in the database: its hash, and the refund's place among those of one request."""
    return f"{vault.lookup(key, context='refund-key')[:40]}/{place}"


def _keyed(tenant_id: int, key: str) -> list[Refund]:
    """What was asked for with this key before, in order."""
    names = [_row_key(key, place) for place in range(MOST_PARTS)]
    mine = select(Refund).where(Refund.tenant_id == tenant_id, Refund.idempotency_key.in_(names))
    return list(db.session.scalars(mine.order_by(Refund.id)))


def _refuse_repeated(payment: Payment, asked_as: str) -> None:
    """Raise Conflict where the very same part of this payment goes back already, or did so moments ago.

    Decided: refused, instead of answered with the refund before, where no key says which is meant. Who did not hear
    the answer learns its id; who means a second one of the same size is told how, and never believes it was made.
    """
    paid = select(Allocation.transaction_id).where(Allocation.payment_id == payment.id)
    same = select(Refund).where(Refund.transaction_id.in_(paid), Refund.asked_as == asked_as)
    is_recent = Refund.created_at > clock.now() - REPEATED_WITHIN
    found = same.where(Refund.state != RefundState.FAILED, Refund.state.in_(REFUND_UNDER_WAY) | is_recent)
    before = db.session.scalars(found.order_by(Refund.id.desc()).limit(1)).first()
    if before is not None:
        raise Conflict(
            _(
                "This very refund was asked for already: %(uid)s. For a second one of the same amount send an"
                " Idempotency-Key.",
                uid=before.uid,
            ),
            code="repeated_refund",
        )


def _nothing_left(payment: Payment) -> Text:
    """Why nothing can go back by M-Pesa."""
    shares = shares_of(payment)
    if any(share.available_cents > 0 and share.transaction.provider == "mpesa" for share in shares):
        return _("Less than a shilling is left, which M-Pesa cannot send. Keep it as credit.")
    wallet = select(Allocation.id).where(
        Allocation.payment_id == payment.id, Allocation.customer_id.is_not(None), Allocation.taken_back_at.is_(None)
    )
    if db.session.scalar(wallet.limit(1)) is not None:
        return _("This was paid from credit. Put it back into the customer's wallet instead.")
    return _("There is nothing left to refund.")


def ask_for_unplaced(booked: Transaction, *, method: str, user_id: int | None, why: str, actor: str) -> Refund:
    """Write down a refund of money that has no home, as far as M-Pesa can send it: whole shillings.

    The caller commits, holding the row's lock.
    """
    if not booked.unallocated_cents:
        raise Refused(_("This money has a home; refund what it paid instead."), code="nothing_to_refund")
    amount_cents = _whole_shillings(booked.unallocated_cents)
    how: dict[str, Any] = {"method": method, "user_id": user_id, "why": why, "actor": actor}
    return _write(booked, None, amount_cents, in_all_cents=amount_cents, **how)


def _write(
    booked: Transaction,
    payment: Payment | None,
    amount_cents: int,
    *,
    in_all_cents: int,
    method: str,
    user_id: int | None,
    why: str,
    actor: str,
    key: str | None = None,
    asked_as: str = "",
) -> Refund:
    """in_all_cents: with what the same payment sent back before, so that a limit cannot be passed in small steps."""
    if booked.gateway_id is None:
        raise Refused(_("This money did not come through a gateway; give it back by hand."), code="no_gateway")
    gateway = db.session.get_one(Gateway, booked.gateway_id)
    if gateway.environment != booked.environment:
        raise Conflict(
            _("This money came in test mode, or before it: it cannot go back through a gateway of the other money."),
            code="other_environment",
        )
    if booked.contradicted_at is not None:
        raise Conflict(
            _("M-Pesa's words about this payment differ. First decide whether it was paid: see Money to place."),
            code="contradicted",
        )
    initiator.refuse_if_halted(gateway)
    msisdn = _check(booked, amount_cents, method)
    tenant = db.session.get_one(Tenant, booked.tenant_id)
    needs_second = in_all_cents > tenant.refund_approval_above_cents or booked.receipt is None
    refund = Refund(
        tenant_id=booked.tenant_id,
        transaction_id=booked.id,
        payment_id=payment.id if payment else None,
        gateway_id=gateway.id,
        environment=booked.environment,
        method=method,
        amount_cents=amount_cents,
        state=RefundState.REQUESTED if needs_second else RefundState.APPROVED,
        why=why[:300],
        phone_sealed=personal.seal_phone(msisdn, booked.tenant_id) if msisdn else None,
        requested_by_id=user_id,
        next_at=None if needs_second else clock.now(),
        idempotency_key=key,
        asked_as=asked_as,
    )
    try:
        with db.session.begin_nested() if key else nullcontext():
            db.session.add(refund)
            db.session.flush()
    except IntegrityError:  # the same key, sent for another payment at this moment
        raise Conflict(_("This key was used for another refund. Use a new one."), code="idempotency_conflict") from None
    booked.refunded_cents += amount_cents
    if payment is None:
        booked.unallocated_cents -= amount_cents
    db.session.flush()
    _post(refund, _account_of(payment), "refund_asked", -1)
    chain.record(
        refund.tenant_id, "refund", refund.id, "requested", actor=actor, new=refund.state, why=why,
        details={"amount_cents": amount_cents, "transaction": booked.id, "method": method},
    )  # fmt: skip
    if payment is not None:
        touch(payment.id)
    return refund


def _check(booked: Transaction, amount_cents: int, method: str) -> str | None:
    """The phone that a pay-out goes to. Raises Refused where this method cannot carry it."""
    if method not in METHODS:
        raise Refused("method must be b2c or reversal.", code="invalid_fields", fields={"method": "b2c or reversal."})
    if amount_cents % money.CENTS:
        raise Refused(
            _("M-Pesa sends whole shillings only."), code="invalid_amount", fields={"amount": "Whole shillings."}
        )
    if method == "reversal":
        gateway = db.session.get(Gateway, booked.gateway_id) if booked.gateway_id else None
        if gateway is not None and gateway.sub_kind == "BANK":
            raise Refused(
                _("M-Pesa cannot take money back from a bank account. Pay it out, or keep it as credit."),
                code="no_reversal",
                fields={"method": "Use b2c."},
            )
        if not booked.receipt:
            raise Refused(_("Its receipt is not known yet; a reversal needs it. Try again later."), code="no_receipt")
        return None
    if amount_cents < B2C_LEAST_CENTS:
        raise Refused(
            _("M-Pesa pays out KES 10 or more. Choose a reversal, or keep it as credit."),
            code="below_minimum",
            fields={"method": "Use reversal."},
        )
    msisdn = personal.open_phone(booked.phone_sealed, booked.tenant_id)
    if msisdn is None:
        raise Refused(
            _("The payer's phone number is not known. Choose a reversal, or keep it as credit."),
            code="no_phone",
            fields={"method": "Use reversal."},
        )
    return msisdn


def _whole_shillings(cents: int) -> int:
    """As much of it as M-Pesa can send; all of it where that is nothing, to be refused with the reason."""
    return cents - cents % money.CENTS or cents


def _account_of(payment: Payment | None) -> str:
    return post.revenue(payment.purpose) if payment else post.SUSPENSE


def _post(refund: Refund, from_account: str, kind: str, sign: int) -> None:
    """Journals of a refund. sign -1: promised; +1: the promise taken back."""
    post.post(
        refund.tenant_id,
        refund.environment,
        kind,
        refund.uid,
        occurred_at=clock.now(),
        lines={from_account: -sign * refund.amount_cents, post.REFUNDS_DUE: sign * refund.amount_cents},
    )


def approve(refund: Refund, *, user_id: int, actor: str) -> None:
    """A second person says yes. Raises Conflict for the one who asked, and for who came by a colleague's word within
    the last day. The caller commits, then enqueues REQUESTS.
    """
    if refund.state != RefundState.REQUESTED:
        raise Conflict(_("This refund was decided already."))
    if refund.requested_by_id == user_id:
        raise Conflict(_("Somebody else must approve a refund of this size: you asked for it."), code="same_person")
    if since := team.approves_from(refund.tenant_id, user_id):
        raise Conflict(
            _(
                "You were given your role, or a link to your password, less than a day ago. From %(when)s you may"
                " approve refunds.",
                when=f"{clock.nairobi(since):%d/%m/%Y %H:%M}",
            ),
            code="approves_later",
        )
    refund.approved_by_id, refund.next_at = user_id, clock.now()
    _move(refund, RefundState.APPROVED, actor=actor, why="Approved by a second person.")


def refuse(refund: Refund, *, why: str, actor: str) -> None:
    """A second person says no. The caller commits."""
    if refund.state != RefundState.REQUESTED:
        raise Conflict(_("This refund was decided already."))
    fail(refund, why or "Refused by a second person.", actor=actor)


def may_be_resolved(refund: Refund) -> bool:
    """Whether it has been unknown for so long that an administrator may say what became of it."""
    if refund.state != RefundState.UNKNOWN or (request := request_of(refund.id)) is None:
        return False
    return request.sent_at is not None and request.sent_at < clock.now() - MPESA_FIRST


def resolve(refund: Refund, *, went: bool, receipt: str, actor: str) -> None:
    """An administrator says what became of a refund that M-Pesa does not tell of. The caller commits, holding `lock`.

    went: it is on M-Pesa's statement, under `receipt`. Raises Conflict for a refund whose end is known or may yet be.
    """
    if not may_be_resolved(refund):
        raise Conflict(_("M-Pesa is still being asked, or has told: only after an hour without a word may you say."))
    if not went:
        fail(refund, "An administrator found that it never went.", actor=actor)
        return
    if not messages.looks_like_receipt(receipt):
        raise Refused(_("Enter its receipt number from M-Pesa's statement, such as UKL1ABCD23."))
    done(refund, receipt=receipt, actor=actor)


def _move(refund: Refund, new: RefundState, *, actor: str, why: str) -> None:
    old = refund.state
    if not move(refund, new):
        raise Conflict(_("This refund was decided already."))
    chain.record(refund.tenant_id, "refund", refund.id, "moved", actor=actor, old=old, new=new, why=why)
    db.session.flush()


def lock(refund_id: int) -> Refund:
    """The refund, locked after its request, the payments that its money paid, and its transaction, in that order."""
    lock_requests([refund_id])
    refund = db.session.get_one(Refund, refund_id)
    told_of = refund.payment_id or taken_off(refund)
    lock_with_payments(refund.transaction_id, *([told_of] if told_of is not None else []))
    return db.session.scalars(
        select(Refund).where(Refund.id == refund_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def lock_requests(refund_ids: Collection[int]) -> None:
    """Lock the requests that move these refunds' money: before any payment, as M-Pesa's results do."""
    mine = select(MpesaRequest).where(MpesaRequest.refund_id.in_(refund_ids), _MOVES_MONEY)
    locked = mine.order_by(MpesaRequest.id).with_for_update().execution_options(populate_existing=True)
    db.session.scalars(locked).all()


def due() -> list[int]:
    """Refunds that wait to be sent, or to be asked about, oldest first."""
    waiting = select(Refund.id).where(REFUND_DUE.is_due, Refund.state.in_(REFUND_UNDER_WAY - {RefundState.REQUESTED}))
    return list(db.session.scalars(waiting.order_by(Refund.next_at).limit(50)))


def put_off(refund_id: int) -> None:
    """Its work failed in a way that nobody foresaw: not again at once. The caller commits."""
    later = update(Refund).where(Refund.id == refund_id, REFUND_DUE.is_due)
    db.session.execute(later.values(next_at=clock.now() + daraja_requests.PUT_OFF_FOR))


def begin(refund_id: int) -> MpesaRequest | None:
    """Take an approved refund for sending: its one request, written before the call. None where there is nothing to do.

    The same request, with the same OriginatorConversationID, is sent again where it certainly was not sent before.
    The caller commits.
    """
    refund = lock(refund_id)
    if refund.state != RefundState.APPROVED or refund.next_at is None or refund.next_at > clock.now():
        return None
    if db.session.get_one(Transaction, refund.transaction_id).is_gone:
        fail(refund, "M-Pesa has reversed this payment itself meanwhile.", actor="worker")
        return None
    if db.session.get_one(Transaction, refund.transaction_id).contradicted_at is not None:
        refund.failure = "M-Pesa's words about this payment differ: it waits until a person decides."
        refund.next_at = clock.now() + timedelta(minutes=10)
        return None
    gateway = db.session.get_one(Gateway, refund.gateway_id)
    if not initiator.can_ask(gateway):
        refund.failure = gateway.initiator_halted_why or "The gateway's initiator is missing."
        refund.next_at = clock.now() + timedelta(minutes=10)
        return None
    if gateway.environment != refund.environment:
        fail(refund, "Its gateway takes other money now than it came in as.", actor="worker")
        return None
    request = request_of(refund.id) or daraja_requests.ask(
        gateway, refund.method, daraja_requests.Subject(refund_id=refund.id), originator_conversation_id=new_token()
    )
    move(request, RequestState.CREATED, next_at=clock.now(), sent_at=clock.now())
    refund.next_at = clock.now() + daraja_requests.NO_ANSWER_AFTER
    _move(refund, RefundState.SENDING, actor="worker", why="Claimed by a worker.")
    return request


def request_of(refund_id: int) -> MpesaRequest | None:
    """The request that moves this refund's money: it knows how, when and how often that was told to M-Pesa.

    None before it was first begun.
    """
    mine = select(MpesaRequest).where(MpesaRequest.refund_id == refund_id, _MOVES_MONEY)
    return db.session.scalars(mine).one_or_none()


def with_request() -> Select[Refund]:
    """Refunds joined with the requests that move their money: those that were begun."""
    return select(Refund).join(MpesaRequest, (MpesaRequest.refund_id == Refund.id) & _MOVES_MONEY)


def may_still_go(request: MpesaRequest) -> bool:
    """Whether the refund that this request is of is not over, now that its request leaves: who was killed in between
    may be back after an administrator has ended it. The caller commits.
    """
    return lock(request.refund_id or 0).state in (RefundState.SENDING, RefundState.UNKNOWN)


def sent(refund: Refund) -> None:
    """M-Pesa took it; its result follows. A result may have been quicker. The caller commits."""
    if refund.state == RefundState.SENDING:
        _move(refund, RefundState.SENT, actor="daraja", why="M-Pesa accepted the request.")


def not_sent(refund: Refund, why: str, *, sends: int, may_retry: bool) -> None:
    """It certainly was not sent: later again with the same id, or failed. The caller commits.

    sends: how often it was tried, with this time.
    """
    if refund.state != RefundState.SENDING:
        return
    refund.failure = why[:300]
    if may_retry and sends <= len(daraja_requests.RETRY_AFTER_S):
        refund.next_at = clock.now() + timedelta(seconds=daraja_requests.RETRY_AFTER_S[sends - 1])
        _move(refund, RefundState.APPROVED, actor="daraja", why=why)
    else:
        fail(refund, why, actor="daraja")


def unknown(refund: Refund, why: str) -> None:
    """It may have gone: asked about, never sent again. The caller commits."""
    if refund.state in (RefundState.SENDING, RefundState.SENT):
        refund.failure, refund.next_at = why[:300], clock.now()
        _move(refund, RefundState.UNKNOWN, actor="daraja", why=why)


def done(refund: Refund, *, receipt: str | None, actor: str) -> None:
    """M-Pesa says that the money went back. The caller commits, holding the locks of `lock`."""
    if refund.state in (RefundState.DONE, RefundState.REQUESTED):
        return
    booked = db.session.get_one(Transaction, refund.transaction_id)
    if refund.state == RefundState.FAILED:  # a success after a failure: the money is gone, so it counts again
        _count_again(refund, booked)
    refund.receipt, refund.failure = receipt, ""
    refund.next_at, refund.ended_at = None, clock.now()
    post.post(
        refund.tenant_id,
        refund.environment,
        "refund_sent",
        refund.uid,
        occurred_at=clock.now(),
        lines={post.REFUNDS_DUE: refund.amount_cents, post.CLEARING: -refund.amount_cents},
    )
    _move(refund, RefundState.DONE, actor=actor, why=f"Receipt {receipt}." if receipt else "M-Pesa confirmed it.")
    if refund.payment_id is not None and booked.is_gone:
        touch(refund.payment_id)
    elif refund.payment_id is not None:
        refunded = Payment.refunded_cents + refund.amount_cents
        touch(refund.payment_id, refunded_cents=refunded, withdraw_at=clock.now())
    elif (payment_id := taken_off(refund)) is not None:
        touch(payment_id, withdraw_at=clock.now())


def taken_off(refund: Refund) -> int | None:
    """The clinic's bill that this money was taken off before it went back, as a deposit is: its payer is told, too."""
    if refund.payment_id is not None:
        return None
    paid = select(Allocation.payment_id).join(Payment, Payment.id == Allocation.payment_id)
    paid = paid.where(Allocation.transaction_id == refund.transaction_id, Payment.purpose == "clinic")
    return db.session.scalar(paid.order_by(Allocation.id.desc()).limit(1))


def _count_again(refund: Refund, booked: Transaction) -> None:
    """Count it as spent again: of its payment, or wherever money without a home was put in the meantime.

    Of money that is not there any more (reversed, or sent back once more) REFUNDS_DUE shows what the payer owes us.
    """
    booked.refunded_cents += refund.amount_cents
    if booked.is_gone:
        return
    payment = db.session.get(Payment, refund.payment_id) if refund.payment_id else None
    if payment is None and booked.unallocated_cents < refund.amount_cents:
        payment = _placed_on(booked, refund.amount_cents)
        refund.payment_id = payment.id if payment else None
        if payment is None and booked.credited_cents >= refund.amount_cents:
            booked.credited_cents -= refund.amount_cents
            _post(refund, post.wallet(customer_credited(booked)), "refund_counted", -1)
            to_be_spent(customer_credited(booked))
        if payment is None:
            return
    if payment is None:
        booked.unallocated_cents -= refund.amount_cents
    _post(refund, _account_of(payment), "refund_counted", -1)


def _placed_on(booked: Transaction, amount_cents: int) -> Payment | None:
    """The payment that got this much of money which had no home before, or None."""
    given = (
        select(Payment)
        .join(Allocation)
        .where(
            Allocation.transaction_id == booked.id,
            Allocation.taken_back_at.is_(None),
            Allocation.amount_cents >= amount_cents,
        )
    )
    return db.session.scalars(given.order_by(Allocation.id.desc()).limit(1)).first()


def fail(refund: Refund, why: str, *, actor: str) -> None:
    """It did not go: what it held is free again. The caller commits, holding the locks of `lock`."""
    if refund.state in (RefundState.FAILED, RefundState.DONE):
        return
    booked = db.session.get_one(Transaction, refund.transaction_id)
    payment = db.session.get(Payment, refund.payment_id) if refund.payment_id else None
    booked.refunded_cents -= refund.amount_cents
    if not booked.is_gone:  # else M-Pesa has all of it back, and `take_back` has settled the promise
        if payment is None:
            booked.unallocated_cents += refund.amount_cents
        _post(refund, _account_of(payment), "refund_failed", 1)
    refund.failure = why[:300]
    refund.next_at, refund.ended_at = None, clock.now()
    _move(refund, RefundState.FAILED, actor=actor, why=why)
    if refund.payment_id is not None:
        touch(refund.payment_id)


def get_by_uid(tenant_id: int, uid: str) -> Refund:
    """One of the tenant's refunds. Raises NotFound."""
    found = db.session.scalars(select(Refund).where(Refund.tenant_id == tenant_id, Refund.uid == uid)).one_or_none()
    if found is None:
        raise NotFound(_("There is no such refund here."))
    return found


def to_approve(tenant_id: int, *, after_id: int | None = None, rows: int = 50) -> tuple[list[Refund], int | None]:
    """(refunds that wait for a second person, oldest first, the id to go on after or None)."""
    mine = select(Refund).where(Refund.tenant_id == tenant_id, TO_APPROVE.waits)
    if after_id is not None:
        mine = mine.where(Refund.id > after_id)
    items = list(db.session.scalars(mine.order_by(Refund.id).limit(rows + 1)))
    return items[:rows], items[rows - 1].id if len(items) > rows else None


def page(tenant_id: int, *, before_id: int | None = None, rows: int = 50) -> tuple[list[Refund], int | None]:
    """(refunds newest first, the id to go on before or None)."""
    mine = select(Refund).where(Refund.tenant_id == tenant_id)
    if before_id is not None:
        mine = mine.where(Refund.id < before_id)
    items = list(db.session.scalars(mine.order_by(Refund.id.desc()).limit(rows + 1)))
    return items[:rows], items[rows - 1].id if len(items) > rows else None


def of_payment(payment_id: int) -> list[Refund]:
    """Refunds of what a payment received, and of what came for it beyond what was due; oldest first."""
    surplus = (
        select(Transaction.id)
        .join(Push, Transaction.push_id == Push.id)
        .where(Push.payment_id == payment_id)
        .union(select(Allocation.transaction_id).where(Allocation.payment_id == payment_id))
    )
    own = (Refund.payment_id == payment_id) | (Refund.payment_id.is_(None) & Refund.transaction_id.in_(surplus))
    return list(db.session.scalars(select(Refund).where(own).order_by(Refund.id)))


def of_transaction(transaction_id: int) -> list[Refund]:
    """Every refund of one receipt, oldest first."""
    mine = select(Refund).where(Refund.transaction_id == transaction_id)
    return list(db.session.scalars(mine.order_by(Refund.id)))
