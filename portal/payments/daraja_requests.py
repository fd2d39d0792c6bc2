"""Questions that M-Pesa answers later: written down, sent once, and matched with their results.

A request's token ends the two addresses that we give M-Pesa (result and timeout), so an answer finds its question even
where the conversation ids differ from those we were told. A timeout is not a failure: the outcome is unknown, and is
asked about by transaction status.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, or_, select, update

from portal.audit import chain
from portal.gateways import initiator, settings
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.states import move
from portal.payments.models import REQUEST_DUE, MpesaRequest
from portal.payments.states import REQUEST_OPEN, RequestState

STATUS, BALANCE = "status", "balance"
PUT_OFF_FOR = timedelta(minutes=10)
RETRY_AFTER_S = (30, 120, 600, 1_800)
NO_ANSWER_AFTER = timedelta(seconds=90)  # results come within seconds; then the outcome is asked for


@dataclass(frozen=True)
class Subject:
    """What a question is about: one refund, one prompt, or one receipt; none of them: its gateway."""

    refund_id: int | None = None
    push_id: int | None = None
    receipt: str | None = None

    @classmethod
    def of(cls, request: MpesaRequest) -> "Subject":
        return cls(request.refund_id, request.push_id, request.receipt)

    @property
    def is_asked(self) -> ColumnElement[bool]:
        """The condition that a request is about this."""
        if self.refund_id is not None:
            return MpesaRequest.refund_id == self.refund_id
        if self.push_id is not None:
            return MpesaRequest.push_id == self.push_id
        if self.receipt is not None:
            return MpesaRequest.receipt == self.receipt
        return MpesaRequest.kind == BALANCE


def ask(
    gateway: Gateway,
    kind: str,
    subject: Subject,
    *,
    originator_conversation_id: str | None = None,
    network_hash: str = "",
) -> MpesaRequest:
    """Write a question down for a worker to send. The caller commits, then enqueues REQUESTS.

    kind: b2c, reversal, status or balance. Raises Conflict where this gateway may not ask.
    """
    initiator.refuse_if_halted(gateway)
    request = MpesaRequest(
        tenant_id=gateway.tenant_id,
        gateway_id=gateway.id,
        kind=kind,
        refund_id=subject.refund_id,
        push_id=subject.push_id,
        receipt=subject.receipt,
        originator_conversation_id=originator_conversation_id,
        network_hash=network_hash,
        next_at=clock.now(),
    )
    db.session.add(request)
    db.session.flush()
    return request


def ask_balance(gateway: Gateway, *, actor: str) -> None:
    """Ask for the gateway's balances, unless that is under way. The caller commits, then enqueues REQUESTS.

    Raises Conflict where this gateway has no API, or its initiator may not ask.
    """
    initiator.refuse_if_halted(settings.require_api(gateway))
    if not is_asking_balance(gateway):
        ask(gateway, BALANCE, Subject())
        chain.record(gateway.tenant_id, "gateway", gateway.id, "balance_asked", actor=actor)


def is_asking_balance(gateway: Gateway) -> bool:
    """Whether M-Pesa is asked for this gateway's balances just now."""
    return is_open(gateway.id, BALANCE, Subject())


@dataclass(frozen=True)
class Leased:
    """A question that this worker alone may send, as plain values."""

    request_id: int
    kind: str
    subject: Subject
    originator_conversation_id: str | None
    result_url: str
    timeout_url: str


def due(without: Collection[int] = ()) -> list[tuple[int, int]]:
    """(question, its gateway) whose turn it is: to be sent, or without an answer for too long.

    without: gateways that have enough to do.
    """
    waiting = select(MpesaRequest.id, MpesaRequest.gateway_id).where(REQUEST_DUE.is_due)
    waiting = waiting.where(MpesaRequest.gateway_id.not_in(without))
    return [(row.id, row.gateway_id) for row in db.session.execute(waiting.order_by(MpesaRequest.next_at).limit(50))]


def put_off(request_id: int) -> None:
    """Sending failed in a way that nobody foresaw: not again at once. The caller commits."""
    later = update(MpesaRequest).where(MpesaRequest.id == request_id, REQUEST_DUE.is_due)
    db.session.execute(later.values(next_at=clock.now() + PUT_OFF_FOR))


def lease(request_id: int, *, public_url: str) -> Leased | None:
    """Take a question for sending; None where another did. The row is `sent` before the call. The caller commits.

    public_url: under which M-Pesa finds us to answer.
    """
    request = db.session.get(MpesaRequest, request_id)
    now = clock.now()
    is_due = request is not None and request.next_at is not None and request.next_at <= now
    if request is None or not is_due or request.state != RequestState.CREATED:
        return None
    sends = MpesaRequest.sends + 1
    if not move(request, RequestState.SENT, sends=sends, sent_at=now, next_at=now + NO_ANSWER_AFTER):
        return None
    gateway = db.session.get_one(Gateway, request.gateway_id)
    base = f"{public_url}/hooks/{gateway.hook_token}"
    return Leased(
        request.id,
        request.kind,
        Subject.of(request),
        request.originator_conversation_id,
        f"{base}/result/{request.token}",
        f"{base}/timeout/{request.token}",
    )


def accepted(request: MpesaRequest, conversation_id: str, originator_conversation_id: str) -> None:
    """M-Pesa took the question. The caller commits."""
    request.conversation_id = conversation_id or request.conversation_id
    request.originator_conversation_id = request.originator_conversation_id or originator_conversation_id


def put_back(request: MpesaRequest, why: str) -> bool:
    """It certainly was not sent: later again; False once its tries are used up. The caller commits.

    What was answered meanwhile stays so.
    """
    if request.state == RequestState.ANSWERED:
        return True
    if request.sends > len(RETRY_AFTER_S):
        move(request, RequestState.FAILED, answer=why[:300], next_at=None)
        return False
    pause = timedelta(seconds=RETRY_AFTER_S[request.sends - 1])
    move(request, RequestState.CREATED, answer=why[:300], next_at=clock.now() + pause)
    return True


def close(request: MpesaRequest, state: RequestState, *, code: str | None = None, answer: str = "") -> None:
    """The end of a question: answered, failed or unknown. What was answered stays so. The caller commits."""
    if state == RequestState.ANSWERED or request.state != RequestState.ANSWERED:
        move(request, state, result_code=code, answer=answer[:300], next_at=None, answered_at=clock.now())


def of_result(gateway_id: int, token: str | None, *ids: str) -> MpesaRequest | None:
    """The question that a result answers: by its address, or by one of its conversation ids; locked."""
    mine = select(MpesaRequest).where(MpesaRequest.gateway_id == gateway_id).with_for_update()
    if token and (found := db.session.scalars(mine.where(MpesaRequest.token == token)).one_or_none()):
        return found
    known = [one for one in ids if one]
    if not known:
        return None
    by_id = or_(MpesaRequest.conversation_id.in_(known), MpesaRequest.originator_conversation_id.in_(known))
    return db.session.scalars(mine.where(by_id).order_by(MpesaRequest.id.desc()).limit(1)).first()


def is_open(gateway_id: int, kind: str, subject: Subject) -> bool:
    """Whether this question is under way already."""
    asked = select(MpesaRequest.id).where(
        MpesaRequest.gateway_id == gateway_id,
        subject.is_asked,
        MpesaRequest.kind == kind,
        MpesaRequest.state.in_(REQUEST_OPEN),
    )
    return db.session.scalar(asked.limit(1)) is not None
