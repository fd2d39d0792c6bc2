"""Telling who is online at the hotspot what they would not notice: ten minutes before the end, and at four fifths of
the data. One of each for a pass, never after its end, never to a number that wants none.

Decided: nothing remembers who was told but the outbox' own unique key: what is told already is not found again, and two
that look at once tell it once.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, String, cast, exists, func, literal, or_, select
from sqlalchemy.orm import aliased

from portal.hotspot import notifications
from portal.hotspot.models import AccessGrant, AccessSession, Package, Purchase
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.notifications.models import QuietPhone
from portal.outbox.models import OutboxItem
from portal.payments.models import Payment

BEFORE = timedelta(minutes=10)
SHORTEST_S = 1_800  # of a pass: who buys a quarter of an hour knows when it ends
USED_PERCENT = 80
ROWS = 200


def remind() -> None:
    """Tell whoever is to be told now."""
    told = 0
    for find, tell in ((_ending, notifications.ends_soon), (_used_up, notifications.data_runs_out)):
        skipped = 0
        while not queue.is_leaving():
            with transaction():
                rows = list(db.session.scalars(find(clock.now()).offset(skipped).limit(ROWS)))
                for grant in rows:
                    if _told(grant, tell):
                        told += 1
                    else:
                        skipped += 1
            if len(rows) < ROWS:
                break
    if told:
        queue.enqueue(queue.OUTBOX)


def _told(grant: AccessGrant, tell: Any) -> bool:
    """Whether it was written down; what one pass stumbles over stops no other."""
    grant_id = grant.id
    try:
        with db.session.begin_nested():
            payment = grant.purchase.payment if grant.purchase else None
            msisdn = personal.open_phone(payment.phone_sealed, payment.tenant_id) if payment else None
            if payment is None or msisdn is None:
                return False
            return bool(tell(grant, business=payment.tenant.name, msisdn=msisdn, is_test=payment.is_sandbox))
    except Exception as error:
        logger.error("pass_not_reminded", grant=grant_id, error=repr(error)[:300])
        return False


def _reachable(what: str) -> Select[Any]:
    """Grants that were bought by a number that may be reminded, and was not of this."""
    key = literal("sms/access/") + cast(AccessGrant.id, String) + literal(f"/{what}")
    was_told = exists().where(OutboxItem.tenant_id == AccessGrant.tenant_id, OutboxItem.key == key)
    is_quiet = exists().where(
        QuietPhone.tenant_id == AccessGrant.tenant_id, QuietPhone.phone_hash == Payment.phone_hash
    )
    return (
        select(AccessGrant)
        .join(Package, Package.id == AccessGrant.package_id)
        .join(Purchase, Purchase.id == AccessGrant.purchase_id)
        .join(Payment, Payment.id == Purchase.payment_id)
        .where(Payment.phone_sealed.is_not(None), AccessGrant.origin != "gift", ~was_told, ~is_quiet)
        .where(AccessGrant.ended_at.is_(None), AccessGrant.suspended_at.is_(None))
        .order_by(AccessGrant.expires_at, AccessGrant.id)
    )


def _ending(now: datetime) -> Select[Any]:
    """The last grants of passes that end within ten minutes, with nothing that runs on behind them."""
    return _reachable("ends").where(
        AccessGrant.purchase_id.is_not(None),
        AccessGrant.expires_at > now,
        AccessGrant.expires_at <= now + BEFORE,
        Package.lifetime_s >= SHORTEST_S,
        ~_goes_on(),
    )


def _goes_on() -> ColumnElement[bool]:
    later = aliased(AccessGrant)
    same_device = (later.tenant_id == AccessGrant.tenant_id) & (later.mac == AccessGrant.mac) & (AccessGrant.mac != "")
    return or_(
        exists().where(
            later.leader_id == AccessGrant.leader_id, later.ended_at.is_(None),
            later.expires_at > AccessGrant.expires_at,
        ),
        exists().where(same_device, later.ended_at.is_(None), later.expires_at > AccessGrant.expires_at),
    )  # fmt: skip


def _used_up(now: datetime) -> Select[Any]:
    """The newest grants of passes that are online, have a cap of data, and have used most of it."""
    online = select(AccessSession.grant_id).where(AccessSession.stopped_at.is_(None)).distinct()
    mate, cap = aliased(AccessGrant), aliased(Package)
    of_pass = (mate.leader_id == AccessGrant.leader_id, mate.ended_at.is_(None))
    capped = select(func.sum(cap.data_cap_bytes)).join(mate, mate.package_id == cap.id).where(*of_pass)
    newest = select(func.max(mate.id)).where(*of_pass)
    used = select(func.sum(AccessSession.bytes_in + AccessSession.bytes_out)).where(
        AccessSession.grant_id == AccessGrant.leader_id
    )
    return _reachable("data").where(
        AccessGrant.leader_id.in_(online),
        AccessGrant.expires_at > now,
        Package.data_cap_bytes.is_not(None),
        AccessGrant.id == newest.correlate(AccessGrant).scalar_subquery(),
        used.correlate(AccessGrant).scalar_subquery() * 100
        >= capped.correlate(AccessGrant).scalar_subquery() * USED_PERCENT,
    )
