"""Asking a phone to pay: writing pushes down, sending them, and reading the answer.

A push is written and committed before M-Pesa hears of it, so a crash can lose an answer, never a payment.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, select

from portal.audit import chain
from portal.gateways import client_factory, daraja, refusals, result_codes
from portal.gateways.models import Gateway
from portal.kernel import clock, money, personal
from portal.kernel.db import db
from portal.kernel.errors import Conflict, CoolDown, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.kernel.phone import for_screens
from portal.payments.models import RINGING, TO_SEND, TO_SETTLE, InboxItem, Payment, Push
from portal.payments.payment import lock_payment, touch
from portal.payments.states import PaymentState
from portal.payments.stk import prompt_limits
from portal.payments.stk.prompt_limits import AskedFrom
from portal.payments.stk.push_states import OPEN, State, move

ANSWER_WITHIN = timedelta(seconds=120)  # then the attempt is unconfirmed (properties 14, 19)
RESEND_AFTER = timedelta(seconds=30)  # once, and only what certainly was not sent (properties 55, 71)
SAME_PHONE_WAIT = timedelta(seconds=60)  # Safaricom: at least a minute between two pushes to one phone
STUCK_SENDING = timedelta(seconds=120)  # longer than every timeout of the client together, which are 105 s
SIGNED_IN = AskedFrom()
_CODES_TO_WAIT_FOR = ("17", "26", "1001")


@dataclass(frozen=True)
class Requested:
    """The push that rings or will ring, and whether this request made it."""

    push: Push
    is_new: bool


def request_push(
    payment_id: int,
    msisdn: str,
    *,
    actor: str,
    amount_cents: int | None = None,
    idempotency_key: str | None = None,
    asked_from: AskedFrom = SIGNED_IN,
) -> Requested:
    """Write a push down for `send` to send, or return the one that is already ringing. The caller commits.

    msisdn: already through `phone.normalise_msisdn`. amount_cents: a part of what is due, such as a deposit; None: all
    of it. idempotency_key: of the form; the same form sent twice is one
    push, even if the first was declined in between. asked_from: of who asks without a sign-in.
    Raises Conflict where nothing is due, CoolDown where this phone was asked moments ago, Refused
    where there is nothing to ask with; each fit for the payer.
    """
    payment = lock_payment(payment_id)
    if idempotency_key and (before := _keyed(payment, idempotency_key)):
        return Requested(before, is_new=False)
    if payment.state != PaymentState.OPEN:
        raise Conflict(
            _("This is already paid.") if payment.state == PaymentState.PAID else _("This can no longer be paid.")
        )
    if live := _open_push(payment):
        return Requested(live, is_new=False)
    gateway = _gateway_of(payment)
    asked_cents = min(amount_cents or payment.due_cents, payment.due_cents)
    if asked_cents % money.CENTS:
        raise Refused(_("The amount due has cents, which M-Pesa cannot ask for. Ask the staff."), code="invalid_amount")
    phone_hash = personal.phone_hash(msisdn, payment.tenant_id)
    counted = prompt_limits.keys(msisdn, asked_from)
    _wait_if_too_soon(payment, phone_hash)
    prompt_limits.refuse_too_many(payment, phone_hash=phone_hash, counted=counted)
    number = payment.push_count + 1
    now = clock.now()
    push = Push(
        tenant_id=payment.tenant_id,
        payment_id=payment.id,
        gateway_id=gateway.id,
        reference=f"{payment.reference}P{number}",
        idempotency_key=idempotency_key,
        amount_cents=asked_cents,
        phone_sealed=personal.seal_phone(msisdn, payment.tenant_id),
        phone_hash=phone_hash,
        **counted,
        state=State.CREATED,
        created_at=now,
        next_send_at=now,
    )
    db.session.add(push)
    touch(payment.id, push_count=number, pushed_at=now)
    db.session.flush()
    chain.record(
        payment.tenant_id,
        "push",
        push.id,
        "requested",
        actor=actor,
        new=State.CREATED,
        details={"amount_cents": push.amount_cents, "payment": payment.id, "reference": push.reference},
    )
    return Requested(push, is_new=True)


def _gateway_of(payment: Payment) -> Gateway:
    """The gateway that asks for this: its own, or the one in its place where that was archived. Raises Refused.

    Never one of the other environment: real money would be taken for a test, or test money for a real debt.
    """
    gateway = payment.gateway
    if gateway is not None and gateway.archived_at:
        gateway = client_factory.choose(payment.tenant_id, payment.purpose)
        payment.gateway_id = gateway.id if gateway.environment == payment.environment else payment.gateway_id
    if gateway is None or gateway.kind != "MPESA_API":
        raise Refused(
            _("This business cannot send M-Pesa requests yet. Pay by hand, or ask its staff."),
            code="no_gateway",
        )
    if gateway.environment != payment.environment:
        sentence = (
            _("This was made with test money, and the business takes real money now. Ask its staff for a new one.")
            if payment.is_sandbox
            else _("The business is in test mode now, and this is paid with real money. Ask its staff.")
        )
        raise Conflict(sentence, code="other_environment")
    return gateway


def _keyed(payment: Payment, idempotency_key: str) -> Push | None:
    mine = select(Push).where(Push.tenant_id == payment.tenant_id, Push.idempotency_key == idempotency_key)
    before = db.session.scalars(mine).one_or_none()
    if before is not None and before.payment_id != payment.id:
        raise Conflict(_("This form was sent for something else. Load the page again."), code="idempotency_conflict")
    return before


def _open_push(payment: Payment) -> Push | None:
    return db.session.scalars(
        select(Push)
        .where(Push.payment_id == payment.id, Push.state.in_(OPEN))
        .execution_options(populate_existing=True)
    ).one_or_none()


def _wait_if_too_soon(payment: Payment, phone_hash: str) -> None:
    now = clock.now()
    of_phone = select(Push).where(Push.tenant_id == payment.tenant_id, Push.phone_hash == phone_hash)
    latest = db.session.scalars(of_phone.order_by(Push.id.desc()).limit(1)).first()
    if latest and (until := may_push_again_at(latest)) and until > now:
        wait_s = max(1, int((until - now).total_seconds() + 0.999))
        raise CoolDown(
            _(
                "M-Pesa was asked for this phone moments ago. Try again in %(seconds)s seconds.",
                seconds=wait_s,
            ),
            retry_after_s=wait_s,
        )


def may_push_again_at(push: Push) -> datetime | None:
    """When this push's phone may be asked again; None: at once (property 29)."""
    if push.state in OPEN or push.state == State.UNCONFIRMED:
        return (push.sent_at or push.created_at) + SAME_PHONE_WAIT
    if push.state == State.DECLINED and push.result_code in _CODES_TO_WAIT_FOR:
        return (push.ended_at or push.created_at) + timedelta(
            seconds=result_codes.explain(push.result_code).retry_after_s
        )
    return None


@dataclass(frozen=True)
class Leased:
    """A push that this worker alone may send: plain values, readable without a transaction."""

    push_id: int
    gateway_id: int
    prompt: daraja.StkPrompt


def lease(push_id: int, *, hook_url: str) -> Leased | None:
    """Take a created push for sending; None where another did, or there is nothing left to ask for.

    hook_url: the address of hooks, `https://host/hooks`. The caller commits before sending.
    """
    push = db.session.get(Push, push_id)
    if push is None or push.state != State.CREATED or push.next_send_at > clock.now():
        return None
    payment = lock_payment(push.payment_id)
    db.session.refresh(push)
    is_asked_for = push.amount_cents in (payment.due_cents, payment.deposit_due_cents)
    is_still_due = payment.state == PaymentState.OPEN and is_asked_for
    if not is_still_due or payment.environment != push.gateway.environment:
        move(
            push,
            State.CREATED,
            State.CANCELLED,
            why="What was due changed before it was sent.",
            actor="worker",
        )
        return None
    if clock.now() - push.created_at > ANSWER_WITHIN:
        move(
            push,
            State.CREATED,
            State.DECLINED,
            why="M-Pesa could not be reached in time.",
            actor="worker",
            failure="Not sent within 120 s.",
        )
        return None
    if not move(
        push,
        State.CREATED,
        State.SENDING,
        why="Claimed by a worker.",
        actor="worker",
        sends=push.sends + 1,
        sent_at=clock.now(),
    ):
        return None
    gateway = push.gateway
    return Leased(
        push.id,
        gateway.id,
        daraja.StkPrompt(
            msisdn=personal.open_phone(push.phone_sealed, push.tenant_id) or "",
            amount_shillings=money.shillings(push.amount_cents),
            reference=push.reference,
            description=payment.tenant.name,  # the 13 characters that M-Pesa takes of who asks (property 12)
            callback_url=f"{hook_url}/{gateway.hook_token}/stk/{push.token}",
        ),
    )


def accepted(push_id: int, answer: daraja.StkAccepted) -> None:
    """M-Pesa took the request: the phone rings. A callback may have been quicker. The caller commits."""
    push = db.session.get_one(Push, push_id)
    lock_payment(push.payment_id)
    db.session.refresh(push)
    if push.state in (State.SENDING, State.UNCONFIRMED) or push.checkout_hash is None:
        if push.checkout_hash is None:
            push.name_checkout(answer.checkout_request_id)
            push.merchant_request_id = answer.merchant_request_id
            db.session.flush()
        next_query_at = (push.sent_at or clock.now()) + QUERY_AFTER[0]
        if push.state == State.SENDING:
            move(
                push,
                State.SENDING,
                State.AWAITING_PIN,
                why="M-Pesa accepted the request.",
                actor="daraja",
                next_query_at=next_query_at,
            )
        elif push.state == State.UNCONFIRMED:
            push.next_query_at = next_query_at
            touch(push.payment_id)


QUERY_AFTER = tuple(
    timedelta(seconds=seconds) for seconds in (15, 30, 60, 120, 300, 900, 3_600, 21_600, 86_400)
)  # after sending; then only a callback, an echo or a statement can tell


def not_sent(push_id: int, error: daraja.NotSent) -> None:
    """It certainly did not reach a phone: try once more in 30 s if that can help, else say so. The caller commits."""
    push = db.session.get_one(Push, push_id)
    lock_payment(push.payment_id)
    db.session.refresh(push)
    may_help = isinstance(error, daraja.Unreachable | daraja.Throttled)
    if (
        may_help
        and push.state == State.SENDING
        and push.sends < 2
        and clock.now() + RESEND_AFTER - push.created_at < ANSWER_WITHIN
    ):
        move(
            push, State.SENDING, State.CREATED, why=error.message, actor="daraja",
            next_send_at=clock.now() + RESEND_AFTER, failure=error.message[:300],
        )  # fmt: skip
        return
    code = "1001" if isinstance(error, daraja.SubscriberBusy) else None
    if refusals.is_ours(error):
        code = result_codes.NOT_SET_UP
    move(
        push,
        State.UNCONFIRMED if push.state == State.UNCONFIRMED else State.SENDING,  # the sweeper may have been quicker
        State.DECLINED,
        why=error.message,
        actor="daraja",
        result_code=code,
        failure=error.message[:300],
    )


def cannot_be_sent(push_id: int, why: str) -> None:
    """A fault of ours before M-Pesa heard of it, which waiting does not mend. The caller commits."""
    push = db.session.get_one(Push, push_id)
    lock_payment(push.payment_id)
    db.session.refresh(push)
    if push.state == State.CREATED:
        move(push, State.CREATED, State.DECLINED, why=why, actor="worker", failure=why[:300])


def outcome_unknown(push_id: int, error: daraja.DarajaError) -> None:
    """It may have rung: ask about it, never push it again. The caller commits."""
    push = db.session.get_one(Push, push_id)
    lock_payment(push.payment_id)  # before the push, as everywhere
    move(push, State.SENDING, State.UNCONFIRMED, why=error.message, actor="daraja", failure=error.message[:300])


def expire(limit: int = 200) -> int:
    """Move pushes whose time is over to unconfirmed, and ask about them; how many. The caller commits.

    Not those whose answer is here and waits its turn in a rush, nor those that somebody holds: they settle anyway.
    """
    now = clock.now()
    moved = 0
    is_here = exists().where(TO_SETTLE.waits, InboxItem.push_token == Push.token)
    late = (
        select(Push)
        .join(Push.payment)
        .where(
            RINGING.waits,
            Push.sent_at < now - min(ANSWER_WITHIN, STUCK_SENDING),
            ((Push.state == State.AWAITING_PIN) & (Push.sent_at < now - ANSWER_WITHIN))
            | ((Push.state == State.SENDING) & (Push.sent_at < now - STUCK_SENDING)),
            ~is_here,
        )
        .order_by(Push.sent_at, Push.id)  # by the index of those that wait, not by all there ever were
        .limit(limit)
        .with_for_update(of=Payment, skip_locked=True)
    )
    for push in db.session.scalars(late).all():
        push_id = push.id
        try:
            with db.session.begin_nested():
                moved += _expire(push)
        except Exception as error:  # one at fault keeps no other from being asked about
            logger.error("push_not_expired", push=push_id, error=repr(error)[:300])
    return moved


def _expire(push: Push) -> bool:
    why = "No answer within 120 seconds."
    if push.state == State.SENDING:
        why = "Its sender vanished before the answer."
    ask_at = clock.now() if push.checkout_hash else None
    return move(push, State(push.state), State.UNCONFIRMED, why=why, actor="sweeper", next_query_at=ask_at)


def due_to_send(without: Collection[int] = ()) -> list[tuple[int, int]]:
    """(push, its gateway) that wait to be sent, oldest first. without: gateways that have enough to do."""
    waiting = select(Push.id, Push.gateway_id).where(TO_SEND.is_due)
    waiting = waiting.where(Push.gateway_id.not_in(without))
    return [(row.id, row.gateway_id) for row in db.session.execute(waiting.order_by(Push.id).limit(100))]


def describe(push: Push) -> str:
    """For a page of staff: the phone that was asked."""
    msisdn = personal.open_phone(push.phone_sealed, push.tenant_id)
    return for_screens(msisdn) if msisdn else "erased"
