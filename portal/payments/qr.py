"""A QR code to pay by: M-Pesa's own, which fills in its app, or one that opens the payer's page.

Decided: M-Pesa's picture is asked for when somebody looks, kept in Redis for a day, and never waited for twice: after a
failure, and while other web threads wait too, the payer's page stands in, because it always works.
"""

import io
import threading

import redis
import segno

from portal.gateways import client_factory, daraja
from portal.gateways.models import Gateway
from portal.kernel import money, queue
from portal.kernel.db import db
from portal.kernel.logs import logger
from portal.payments.models import Payment
from portal.payments.states import PaymentState

KEPT_S, FAILURE_KEPT_S = 86_400, 300
LARGEST_BYTES = 200_000
SIZE_PX = 300
_NONE = b"-"


def to_pay(payment_id: int, *, link: str, waiters: threading.BoundedSemaphore) -> bytes:
    """A PNG. Opens no transaction; waits on M-Pesa at most once for a payment and amount.

    link: the payer's page. waiters: what each web thread that waits holds one of.
    """
    payment = db.session.get_one(Payment, payment_id)
    gateway = payment.gateway
    if (
        gateway is None
        or gateway.kind != "MPESA_API"
        or payment.state != PaymentState.OPEN
        or payment.due_cents % money.CENTS
    ):
        return of_link(link)
    key = f"qr:{payment.id}:{gateway.id}:{payment.due_cents}:{gateway.shortcode}"
    kept = _kept(key)
    if kept is None:
        kept = _ask_if_free(payment, gateway, waiters)
        if kept is not None:
            _keep(key, kept)
    return of_link(link) if kept is None or kept == _NONE else kept


def of_link(link: str) -> bytes:
    """A PNG that opens this address."""
    picture = io.BytesIO()
    segno.make(link, error="m", micro=False).save(picture, kind="png", scale=8, border=4)
    return picture.getvalue()


def _ask_if_free(payment: Payment, gateway: Gateway, waiters: threading.BoundedSemaphore) -> bytes | None:
    """M-Pesa's picture, _NONE where it gave none, or None where as many web threads wait as may."""
    if not waiters.acquire(blocking=False):
        return None
    try:
        return _ask(payment, gateway)
    finally:
        waiters.release()


def _ask(payment: Payment, gateway: Gateway) -> bytes:
    client, name, reference = client_factory.client_for(gateway), gateway.shown_name, payment.reference
    shillings = money.shillings(payment.due_cents)
    db.session.remove()
    try:
        picture = client.dynamic_qr(
            merchant_name=name, reference=reference, amount_shillings=shillings, size_px=SIZE_PX
        )
    except daraja.DarajaError as error:
        logger.warning("qr_not_made", error=error.message)
        return _NONE
    return picture if len(picture) <= LARGEST_BYTES else _NONE


def _kept(key: str) -> bytes | None:
    try:
        found = queue.connection().get(key)
    except redis.RedisError:
        return None
    return found if isinstance(found, bytes) else None


def _keep(key: str, picture: bytes) -> None:
    try:
        queue.connection().set(key, picture, ex=FAILURE_KEPT_S if picture == _NONE else KEPT_S)
    except redis.RedisError as error:
        logger.warning("qr_not_kept", error=type(error).__name__)
