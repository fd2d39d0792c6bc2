"""Asking M-Pesa about a receipt: one that a pasted message names, or a callback that nobody may believe yet.

Whoever names a receipt makes us ask, so the questions are bounded: one at a time for a receipt, and so many open ones a
gateway; callbacks, which are asked about until M-Pesa answers, leave room for pasted messages, which are asked about a
few times in all. What M-Pesa answers is booked by `processing.results`; until then nothing opens.
"""

from datetime import datetime, timedelta

from sqlalchemy import func, literal_column, select

from portal.gateways import initiator
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.logs import logger
from portal.kernel.states import move
from portal.payments import booking, daraja_requests
from portal.payments.daraja_requests import STATUS
from portal.payments.models import OPEN_REQUEST, TO_CONFIRM, InboxItem, MpesaRequest
from portal.payments.states import InboxState, RequestState
from portal.payments.wallets import wallets

MOST_TIMES = 3  # a receipt may be asked for before M-Pesa's own records have it
NOT_AGAIN_WITHIN = timedelta(seconds=60)
MOST_OPEN, MOST_OPEN_FOR_CALLBACKS = 40, 20  # status questions of one gateway
MOST_OPEN_OF_NETWORK = 8  # forged messages of one sender must leave room for everybody else's
ASK_AGAIN_AFTER = tuple(timedelta(seconds=one) for one in (60, 300, 1_800, 7_200, 21_600, 86_400))  # after it came
HOURLY, DAILY = timedelta(hours=1), timedelta(days=1)


def ask(gateway: Gateway, receipt: str, *, network_hash: str = "") -> bool:
    """Whether M-Pesa is being asked about the receipt that somebody pasted; asks where it may be. The caller commits,
    then enqueues REQUESTS.

    network_hash: of who named the receipt; so many open questions come from one network. False where this gateway
    cannot ask, where M-Pesa was asked often enough and knows nothing, or where too many questions are open.
    """
    if not _can_ask(gateway) or _was_asked_enough(gateway, receipt):
        return False
    is_asked = _ask_once(gateway, receipt, most_open=MOST_OPEN, network_hash=network_hash)
    if not is_asked:
        logger.warning("receipt_not_asked", gateway=gateway.id, why="too many questions are open")
    return is_asked


def _can_ask(gateway: Gateway) -> bool:
    return gateway.kind == "MPESA_API" and initiator.can_ask(gateway)


def _ask_once(gateway: Gateway, receipt: str, *, most_open: int, network_hash: str = "") -> bool:
    """Whether M-Pesa is asked about this receipt now: by the question that is open, or by one more where there is room.

    Whoever makes us ask about a receipt, asks here. most_open: status questions of this gateway.
    """
    subject = daraja_requests.Subject(receipt=receipt)
    if daraja_requests.is_open(gateway.id, STATUS, subject):
        return True
    if not _has_room(gateway, most_open, network_hash):
        return False
    daraja_requests.ask(gateway, STATUS, subject, network_hash=network_hash)
    return True


def _was_asked_enough(gateway: Gateway, receipt: str) -> bool:
    """Whether M-Pesa was asked lately, or so often that it will not know this receipt; no question is open."""
    if daraja_requests.is_open(gateway.id, STATUS, daraja_requests.Subject(receipt=receipt)):
        return False
    times, last = db.session.execute(
        select(func.count(), func.max(MpesaRequest.created_at)).where(
            MpesaRequest.gateway_id == gateway.id,
            MpesaRequest.receipt == receipt,
            # a question whose answer was lost long ago is no reason never to ask again
            (MpesaRequest.state == RequestState.ANSWERED) | (MpesaRequest.created_at > clock.now() - HOURLY),
        )
    ).one()
    return times >= MOST_TIMES or (last is not None and last > clock.now() - NOT_AGAIN_WITHIN)


def may_be_asked_later(gateway: Gateway, *, network_hash: str) -> bool:
    """Whether it is only for want of room that M-Pesa is not asked now: an honest payer is told to try again."""
    return _can_ask(gateway) and not _has_room(gateway, MOST_OPEN, network_hash)


def _has_room(gateway: Gateway, most_open: int, network_hash: str) -> bool:
    return _open(gateway) < most_open and (
        not network_hash or _open(gateway, network_hash=network_hash) < MOST_OPEN_OF_NETWORK
    )


def ask_due(limit: int = 50) -> int:
    """Ask about the receipts of callbacks that wait for M-Pesa's word; how many callbacks were looked at.

    Again and again, until M-Pesa has answered or a person has decided: soon at first, then once a day. Where its
    gateway cannot ask, it waits for the person, and for an initiator. The caller commits, then enqueues DRAIN.
    """
    due = select(InboxItem).where(TO_CONFIRM.is_due).order_by(InboxItem.ask_at)
    items = db.session.scalars(due.limit(limit).with_for_update(skip_locked=True)).all()
    for item in items:
        try:
            with db.session.begin_nested():
                _ask_about(item)
        except Exception as error:  # one bad row stops no other
            logger.error("receipt_not_asked", inbox=item.id, error=repr(error)[:300])
            item.ask_at = clock.now() + HOURLY
    db.session.flush()
    return len(items)


def _ask_about(item: InboxItem) -> None:
    if item.state != InboxState.WAITING:
        item.ask_at = None
    elif _is_known_now(item):  # it is settled anew, by the rules of money that is known
        move(item, InboxState.NEW, next_at=clock.now(), ask_at=None)
    else:
        item.ask_at = _next_turn(item)


def _is_known_now(item: InboxItem) -> bool:
    gateway = db.session.get_one(Gateway, item.gateway_id)
    known = booking.find(gateway.tenant_id, gateway.environment, item.receipt or "")
    return known is not None and known.channel != wallets.GUESSED


def _next_turn(item: InboxItem) -> datetime:
    """When to ask about it again; asks now, where it may."""
    now, gateway = clock.now(), db.session.get_one(Gateway, item.gateway_id)
    later = [item.received_at + after for after in ASK_AGAIN_AFTER if item.received_at + after > now]
    if not _can_ask(gateway):
        return now + HOURLY
    if not _ask_once(gateway, item.receipt or "", most_open=MOST_OPEN_FOR_CALLBACKS):
        return now + NOT_AGAIN_WITHIN
    return later[0] if later else now + DAILY


def is_unknown_for_good(gateway: Gateway, receipt: str) -> bool:
    """Whether M-Pesa has said MOST_TIMES that it does not know this receipt, the answer that is read now included."""
    answered = select(func.count()).where(
        MpesaRequest.gateway_id == gateway.id,
        MpesaRequest.receipt == receipt,
        MpesaRequest.kind == STATUS,
        MpesaRequest.state == RequestState.ANSWERED,
    )
    return (db.session.scalar(answered) or 0) + 1 >= MOST_TIMES


def _open(gateway: Gateway, *, network_hash: str | None = None) -> int:
    questions = select(func.count()).where(
        MpesaRequest.gateway_id == gateway.id,
        MpesaRequest.kind == STATUS,
        literal_column(f"mpesa_requests.{OPEN_REQUEST}"),
    )
    if network_hash is not None:
        questions = questions.where(MpesaRequest.network_hash == network_hash)
    return db.session.scalar(questions) or 0
