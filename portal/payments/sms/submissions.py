"""Pasted messages of payments to a gateway without API: nobody can be asked, so a person looks at the till's phone.

A message that fits (to us, enough, of the last 24 hours, its receipt unused) becomes a claim with the payment it
would pay. Staff accept it, and the money is booked from it; or refuse it. Money that M-Pesa tells of later under the
same receipt settles the claim by itself: there is one transaction, whoever spoke first.

Decided: a claim never books money before somebody looked, even where the tenant's policy lets it open at once,
because the books must hold only what arrived.
Decided: one claim a receipt, for ever. Led back to its payment is the browser that began it, or the same device with
the same message whole: receipt and MAC address alone are known to others.
"""

from collections.abc import Callable

from sqlalchemy import func, select

from portal.audit import chain
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db, new_uid, upsert_nothing
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.payments import search
from portal.payments.booking import IncomingPayment, allocate, book
from portal.payments.closing import close_payment
from portal.payments.models import TO_CHECK, Payment, SmsSubmission, Transaction
from portal.payments.payment import change_state, lock_payment, touch
from portal.payments.sms.parser import MAX_TEXT, MpesaSms, parse_sms
from portal.payments.sms.verification import StatedPayment, stated_in
from portal.payments.states import PaymentState, SubmissionState
from portal.tenants.models import Tenant

# What a policy of `open` lets through unchecked in a day, in multiples of what one device may: a device names itself,
# so the network it pastes from and the tenant as a whole are counted too. What staff accepted is not counted there.
NETWORK_TIMES, TENANT_TIMES = 3, 10
CHANNEL = "sms"
SHOWN = 50  # of the messages that wait, at once


def takes(gateway: Gateway) -> bool:
    """Whether messages of payments to this gateway wait for a person: M-Pesa cannot be asked about it."""
    return gateway.kind == "MPESA_NO_API"


def of_payment(payment_id: int) -> SmsSubmission | None:
    """The claim that would pay this payment, or None."""
    return db.session.scalars(
        select(SmsSubmission).where(SmsSubmission.payment_id == payment_id).order_by(SmsSubmission.id.desc()).limit(1)
    ).first()


def device_key(tenant_id: int, mac: str, msisdn: str | None) -> str:
    """What a device is counted by: its MAC, else a keyed hash of its phone number, else nothing."""
    return mac or (personal.phone_hash(msisdn, tenant_id) if msisdn else "")


class _Lost(Exception):
    """Another request claimed this receipt between our look and our insert."""


def queue(
    gateway: Gateway,
    stated: StatedPayment,
    text: str,
    *,
    device: str,
    network_hash: str,
    open_payment: Callable[[], Payment],
    is_own: Callable[[Payment], bool] = lambda _payment: False,
) -> SmsSubmission:
    """The submission of this message, new or this sender's own. Raises Refused; its code is the reason.

    stated: what the text says (`verification.read`). is_own: whether the sender showed that they began a payment.
    open_payment: makes the payment that it would pay; undone where another request was quicker. The caller commits.
    """
    if before := _of_receipt(gateway, stated.receipt):
        return _again(before, device, text, is_own)
    try:
        with db.session.begin_nested():
            made = _insert(gateway, stated, text, device, network_hash, open_payment())
    except _Lost:
        before = _of_receipt(gateway, stated.receipt)
        if before is None:
            raise
        return _again(before, device, text, is_own)
    return made


def _insert(
    gateway: Gateway, stated: StatedPayment, text: str, device: str, network_hash: str, payment: Payment
) -> SmsSubmission:
    row_id = db.session.execute(
        upsert_nothing(
            SmsSubmission,
            unique=["tenant_id", "environment", "receipt"],
            tenant_id=gateway.tenant_id,
            uid=new_uid(),
            gateway_id=gateway.id,
            environment=gateway.environment,
            receipt=stated.receipt,
            payment_id=payment.id,
            stated_cents=stated.amount_cents,
            text_sealed=personal.seal_text(text[:MAX_TEXT], gateway.tenant_id),
            device=device[:64],
            network_hash=network_hash,
        ).returning(SmsSubmission.id)
    ).scalar()
    if row_id is None:
        raise _Lost
    chain.record(
        gateway.tenant_id,
        "payment",
        payment.id,
        "message_pasted",
        actor="payer",
        new=stated.receipt,
        details={"amount_cents": stated.amount_cents},
    )
    return db.session.get_one(SmsSubmission, row_id)


def _of_receipt(gateway: Gateway, receipt: str) -> SmsSubmission | None:
    return db.session.scalars(
        select(SmsSubmission).where(
            SmsSubmission.tenant_id == gateway.tenant_id,
            SmsSubmission.environment == gateway.environment,
            SmsSubmission.receipt == receipt,
        )
    ).one_or_none()


def _again(before: SmsSubmission, device: str, text: str, is_own: Callable[[Payment], bool]) -> SmsSubmission:
    if before.state == SubmissionState.REFUSED:
        raise Refused(_("The staff did not find this payment. Show them your M-Pesa message."), code="refused_by_staff")
    is_repeat = bool(device) and before.device == device and _text(before).split() == text[:MAX_TEXT].split()
    if not is_repeat and not is_own(before.payment):
        raise Refused(_("This payment has already been used."), code="already_used")
    return before


def may_open(claim: SmsSubmission) -> bool:
    """Whether the tenant's policy lets this claim open before anybody looked. Holds the tenant's row until the commit.

    A device without MAC and phone cannot be counted, and several messages in one are for a person to judge: both
    wait. A receipt whose letters spell another day only warns the person who checks it.
    """
    if claim.state != SubmissionState.QUEUED or claim.opened_at is not None or not claim.device:
        return False
    policy, most = db.session.execute(
        select(Tenant.sms_policy, Tenant.unverified_per_day)
        .where(Tenant.id == claim.tenant_id)
        .with_for_update(key_share=True)  # two messages of one device at once are counted one after the other
    ).one()
    if policy != "open" or parse_sms(_text(claim)).kind == "multiple":
        return False
    today = search.date_start(clock.nairobi(clock.now()).date())
    opened = select(func.count()).where(SmsSubmission.tenant_id == claim.tenant_id, SmsSubmission.opened_at >= today)
    unproved = opened.where(SmsSubmission.state != SubmissionState.ACCEPTED)
    counts = (
        (opened.where(SmsSubmission.device == claim.device), most),
        (unproved.where(SmsSubmission.network_hash == claim.network_hash), most * NETWORK_TIMES),
        (unproved, most * TENANT_TIMES),
    )
    return all((db.session.scalar(count) or 0) < limit for count, limit in counts)


def opened(claim: SmsSubmission) -> None:
    """Mark it as opened unverified. The caller commits."""
    claim.opened_at = clock.now()
    touch(claim.payment_id)
    chain.record(claim.tenant_id, "payment", claim.payment_id, "opened_unverified", actor="policy", new=claim.receipt)
    db.session.flush()


def is_open_unverified(payment: Payment) -> bool:
    """Whether this payment's access is open on the strength of a message that nobody has checked yet."""
    if payment.state == PaymentState.PAID:
        return False
    claim = of_payment(payment.id)
    return claim is not None and claim.opened_at is not None and claim.state == SubmissionState.QUEUED


def waiting(tenant_id: int, *, after_id: int | None = None, limit: int = SHOWN) -> list[SmsSubmission]:
    """Claims that staff have to look at, oldest first."""
    queued = select(SmsSubmission).where(SmsSubmission.tenant_id == tenant_id, TO_CHECK.waits)
    if after_id is not None:
        queued = queued.where(SmsSubmission.id > after_id)
    return list(db.session.scalars(queued.order_by(SmsSubmission.id).limit(limit)))


def waiting_count(tenant_id: int) -> int:
    """How many claims wait for staff."""
    queued = select(func.count()).where(SmsSubmission.tenant_id == tenant_id, TO_CHECK.waits)
    return db.session.scalar(queued) or 0


def _text(claim: SmsSubmission) -> str:
    return personal.open_text(claim.text_sealed, claim.tenant_id) or ""


def message_of(claim: SmsSubmission) -> tuple[str, MpesaSms]:
    """(the message as it was pasted, what it says), for the person who checks it."""
    text = _text(claim)
    return text, parse_sms(text)


def _locked(tenant_id: int, uid: str) -> tuple[SmsSubmission, Payment]:
    claim = db.session.scalars(
        select(SmsSubmission).where(SmsSubmission.tenant_id == tenant_id, SmsSubmission.uid == uid)
    ).one_or_none()
    if claim is None:
        raise NotFound(_("There is no such message here."))
    payment = lock_payment(claim.payment_id)
    db.session.refresh(claim, with_for_update=True)
    return claim, payment


def accept(tenant_id: int, uid: str, *, user_id: int | None, actor: str) -> SmsSubmission:
    """Staff have seen the money: book it from the message and pay with it; once, however often it is asked for.

    Raises Conflict where it was refused before, or its money is used. The caller commits, then enqueues PAID.
    """
    claim, payment = _locked(tenant_id, uid)
    if claim.state == SubmissionState.ACCEPTED:
        return claim
    if claim.state == SubmissionState.REFUSED:
        raise Conflict(_("This message was refused already."))
    if payment.state == PaymentState.CLOSED:  # nobody looked for days, and the offer ran out meanwhile
        change_state(payment, PaymentState.OPEN)
    stated = stated_in(_text(claim))
    transaction = book(
        claim.gateway,
        IncomingPayment(
            channel=CHANNEL,
            amount_cents=claim.stated_cents,
            occurred_at=stated.occurred_at if stated else claim.created_at,
            receipt=claim.receipt,
            account=stated.account if stated else "",
            msisdn=personal.open_phone(payment.phone_sealed, tenant_id),
        ),
    )
    if not transaction.unallocated_cents:
        raise Conflict(
            _(
                "The money of receipt %(receipt)s has been used already. Refuse this message.",
                receipt=claim.receipt,
            )
        )
    allocate(transaction, payment, actor=actor)
    _decide(claim, SubmissionState.ACCEPTED, transaction, user_id=user_id, actor=actor)
    return claim


def refuse(tenant_id: int, uid: str, *, why: str, user_id: int | None, actor: str) -> SmsSubmission:
    """Staff have not found the money: the offer is closed. Raises Conflict where it was accepted before.

    The caller ends what it opened, and commits.
    """
    why = why.replace("\0", "").strip()
    if not why:
        raise Refused(_("Say why it is refused."), code="invalid_fields", fields={"reason": _("Required.")})
    claim, payment = _locked(tenant_id, uid)
    if claim.state == SubmissionState.REFUSED:
        return claim
    if claim.state == SubmissionState.ACCEPTED:
        raise Conflict(_("This message was accepted already."))
    if payment.allocated_cents == 0:
        close_payment(payment, why=f"Message refused: {why}"[:300], actor=actor)
    _decide(claim, SubmissionState.REFUSED, None, user_id=user_id, actor=actor, why=why)
    return claim


def _decide(
    claim: SmsSubmission,
    state: SubmissionState,
    transaction: Transaction | None,
    *,
    actor: str,
    user_id: int | None,
    why: str = "",
) -> None:
    of_money = transaction.id if transaction else None
    if not move(claim, state, decided_at=clock.now(), decided_by_id=user_id, transaction_id=of_money):
        raise Conflict(_("Somebody decided this already."))
    # what it had opened ends, if its money came and was not enough
    touch(claim.payment_id, **({"withdraw_at": clock.now()} if transaction and claim.opened_at else {}))
    chain.record(
        claim.tenant_id,
        "payment",
        claim.payment_id,
        f"message_{state}",
        actor=actor,
        new=claim.receipt,
        why=why,
        details={"amount_cents": claim.stated_cents},
    )
    db.session.flush()


def awaiting(tenant_id: int, environment: str, receipt: str) -> SmsSubmission | None:
    """The claim that waits for money of this receipt, with its payment, both locked; or None.

    For whoever learns of money from M-Pesa: call it before `book`, then `settled` after it.
    """
    mine = select(SmsSubmission).where(
        SmsSubmission.tenant_id == tenant_id, SmsSubmission.environment == environment, SmsSubmission.receipt == receipt
    )
    claim = db.session.scalars(mine).one_or_none()
    if claim is None or claim.state != SubmissionState.QUEUED:
        return None
    lock_payment(claim.payment_id)
    db.session.refresh(claim, with_for_update=True)
    return claim if claim.state == SubmissionState.QUEUED else None


def settled(claim: SmsSubmission, transaction: Transaction, *, actor: str) -> int:
    """M-Pesa's own word came: its money pays what the message claimed; cents given. The caller commits."""
    given = allocate(transaction, lock_payment(claim.payment_id), actor=actor) if transaction.unallocated_cents else 0
    if given:
        _decide(claim, SubmissionState.ACCEPTED, transaction, user_id=None, actor=actor)
    return given
