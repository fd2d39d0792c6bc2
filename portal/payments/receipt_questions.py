"""Asking M-Pesa about a receipt that a stranger named: a pasted message, or a confirmation at an address without token.

Whoever names a receipt makes us ask, so the questions are bounded: one at a time for a receipt, a few in all, and so
many open ones a gateway; claims without a token, which anybody can send, leave room for pasted messages. What M-Pesa
answers is booked by `results_in`; until then nothing opens.
"""

from datetime import timedelta

from sqlalchemy import func, literal_column, or_, select

from portal import clock
from portal.db import db
from portal.gateways import initiator, messages
from portal.gateways.models import Gateway
from portal.logs import logger
from portal.payments import accounts, inbox, money_in, requests
from portal.payments.models import OF_A_RECEIPT, OPEN_REQUEST, InboxItem, MpesaRequest

MOST_TIMES = 3  # a receipt may be asked for before M-Pesa's own records have it
NOT_AGAIN_WITHIN = timedelta(seconds=60)
MOST_OPEN, MOST_OPEN_FOR_CLAIMS = 40, 20  # status questions of one gateway
MOST_CLAIMS = 3  # bodies kept of one receipt: a forged one must not shut out the true one
MOST_GATEWAYS = 10


def ask(gateway: Gateway, receipt: str, *, most_open: int = MOST_OPEN) -> bool:
    """Whether M-Pesa is being asked about this receipt; asks where it may be. The caller commits, then rings REQUESTS.

    False where this gateway cannot ask, where M-Pesa was asked often enough and knows nothing, or where too many
    questions are open.
    """
    if gateway.kind != "MPESA_API" or not initiator.can_ask(gateway):
        return False
    subject = f"receipt:{receipt}"
    if requests.is_open(gateway.id, subject, "status"):
        return True
    times, last = db.session.execute(
        select(func.count(), func.max(MpesaRequest.created_at)).where(
            MpesaRequest.gateway_id == gateway.id, MpesaRequest.subject == subject
        )
    ).one()
    if times >= MOST_TIMES or (last is not None and last > clock.now() - NOT_AGAIN_WITHIN):
        return False
    if _open(gateway) >= most_open:
        logger.warning("receipt_not_asked", gateway=gateway.id, why="too many questions are open")
        return False
    requests.ask(gateway, "status", subject)
    return True


def take_claim(body: bytes, *, remote_address: str) -> bool:
    """A C2B confirmation that came without a token: kept, and M-Pesa asked about its receipt; False where it is not.

    It opens nothing: the account that it names is believed once M-Pesa states the same receipt, number and amount.
    The caller commits, then rings REQUESTS. Raises Malformed.
    """
    paid = messages.parse_c2b(messages.read_json(body))
    gateway = _gateway_of(paid)
    if gateway is None or not messages.looks_like_receipt(paid.receipt):
        return False
    if money_in.by_receipt(gateway.tenant_id, gateway.environment, paid.receipt) is not None:
        return False
    if _claims_kept(gateway, paid.receipt) >= MOST_CLAIMS:
        return False
    if not ask(gateway, paid.receipt, most_open=MOST_OPEN_FOR_CLAIMS):
        return False
    _keep(gateway, paid.receipt, body, remote_address)
    return True


def _gateway_of(paid: messages.C2bPayment) -> Gateway | None:
    """The one gateway that could have been paid. Of several with this number, the one that knows the account."""
    own = select(Gateway).where(
        or_(Gateway.shortcode == paid.shortcode, Gateway.store_number == paid.shortcode),
        Gateway.archived_at.is_(None),
        Gateway.kind == "MPESA_API",
    )
    able = [one for one in db.session.scalars(own.order_by(Gateway.id).limit(MOST_GATEWAYS)) if initiator.can_ask(one)]
    if len(able) > 1:
        able = [one for one in able if accounts.payment_of(one, paid.account) is not None]
    return able[0] if len(able) == 1 else None


def _claims_kept(gateway: Gateway, receipt: str) -> int:
    kept = select(func.count()).where(
        InboxItem.gateway_id == gateway.id,
        InboxItem.push_token == receipt,
        literal_column(OF_A_RECEIPT),
        InboxItem.kind == "claim",
    )
    return db.session.scalar(kept) or 0


def _open(gateway: Gateway) -> int:
    questions = select(func.count()).where(
        MpesaRequest.gateway_id == gateway.id,
        MpesaRequest.kind == "status",
        literal_column(f"mpesa_requests.{OPEN_REQUEST}"),
    )
    return db.session.scalar(questions) or 0


def _keep(gateway: Gateway, receipt: str, body: bytes, remote_address: str) -> None:
    content = body.decode("utf-8", "replace")
    inbox.set_aside(
        gateway,
        "claim",
        content,
        told_by="claim",
        key=content,
        outcome="It came without a token: M-Pesa is asked.",
        push_token=receipt,
        remote_address=remote_address,
    )
