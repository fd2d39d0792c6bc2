"""Opening the internet for many purchases at once: the ordinary ones, in a few statements. Others: `access.grant`.

Ordinary is a purchase that opened nothing yet, and whose device nobody else gives, ends or moves time of meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, case, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from portal.hotspot import access, notifications
from portal.hotspot.models import AccessGrant, Package, Purchase
from portal.kernel import bulk
from portal.kernel.db import Instant
from portal.notifications import tell
from portal.outbox import write
from portal.outbox.models import OutboxItem
from portal.payments.models import Payment


@dataclass(frozen=True)
class Buyer:
    """Who paid for a purchase. business: the seller's name; receipt: of the money; msisdn: whose money it was."""

    tenant_id: int
    business: str
    receipt: str | None
    msisdn: str | None
    is_test: bool


def of_payments(connection: Connection, payment_ids: Sequence[int]) -> dict[int, Any]:
    """What these payments buy here: {payment: purchase}, with its package's time and its device's first purchase."""
    return {row.payment_id: row for row in connection.execute(_bought(), {"payments": payment_ids})}


@cache
def _bought() -> Select[Any]:
    """Built once: to build it anew for each set costs as much as to run it."""
    other = aliased(Purchase)
    first = select(other.id).where(other.tenant_id == Purchase.tenant_id).order_by(other.id).limit(1)
    turn = case(
        (Purchase.mac != "", first.where(other.mac == Purchase.mac).scalar_subquery()),
        (Purchase.browser_hash != "", first.where(other.browser_hash == Purchase.browser_hash).scalar_subquery()),
    )
    columns: tuple[Any, ...] = (
        Purchase.id, Purchase.payment_id, Purchase.tenant_id, Purchase.mac, Purchase.browser_hash, Purchase.locale,
        Purchase.package_id, Package.lifetime_s, Payment.phone_hash,
        AccessGrant.id.label("grant_id"), turn.label("turn_id"),
    )  # fmt: skip
    bought = (
        select(*columns)
        .join(Package, Package.id == Purchase.package_id)
        .join(Payment, Payment.id == Purchase.payment_id)
        .outerjoin(AccessGrant, AccessGrant.purchase_id == Purchase.id)
    )
    return bought.where(Purchase.payment_id.in_(bindparam("payments", expanding=True))).order_by(Purchase.id)


def open_all(
    connection: Connection, purchases: Mapping[int, Any], buyers: Mapping[int, Buyer], now: datetime
) -> frozenset[int]:
    """Open what these payments bought, and tell who paid; the payments whose access is open now. The caller commits.

    purchases: as of `of_payments`. A purchase that is not ordinary is left out.
    """
    free = _take_turns(connection, {one.turn_id for one in purchases.values() if one.turn_id is not None})
    wanted = [
        one for one in purchases.values() if one.grant_id is None and (one.turn_id is None or one.turn_id in free)
    ]
    if not wanted:
        return frozenset()
    with_device = [one.id for one in wanted if one.turn_id is not None]
    asked = {"purchases": with_device, "now": now}
    busy_until = {row[0]: row[1] for row in connection.execute(_busy(), asked)} if with_device else {}
    taken = _taken(connection, [buyers[one.payment_id] for one in wanted])
    until: dict[int, datetime] = {}  # of a device that buys twice in one set
    ids = bulk.new_ids(connection, grants=(AccessGrant, len(wanted)))["grants"]
    grants, messages = [], []
    for one, grant_id in zip(wanted, ids, strict=True):
        buyer = buyers[one.payment_id]
        begins = max(now, busy_until.get(one.id) or now, until.get(one.turn_id) or now)
        ends = begins + timedelta(seconds=one.lifetime_s)
        if one.turn_id is not None:
            until[one.turn_id] = ends
        name = buyer.receipt if buyer.receipt and (one.tenant_id, buyer.receipt) not in taken else access.new_name()
        taken.add((one.tenant_id, name))
        password = access.new_password()
        grants.append(
            {
                "id": grant_id, "leader_id": grant_id, "tenant_id": one.tenant_id, "purchase_id": one.id,
                "package_id": one.package_id, "phone_hash": one.phone_hash, "mac": one.mac, "username": name,
                "password": password, "starts_at": begins, "expires_at": ends, "provision_at": now, "created_at": now,
            }
        )  # fmt: skip
        if buyer.msisdn:
            messages.append((one.locale, buyer, name, password, ends, grant_id))
    bulk.insert(connection, AccessGrant, grants)
    _tell(connection, messages, now)
    return frozenset(one.payment_id for one in wanted)


def _take_turns(connection: Connection, first_ids: set[int]) -> set[int]:
    """Lock the rows by which one device's time is given by one at a time; those that nobody else holds."""
    if not first_ids:
        return set()
    rows = select(Purchase.id).where(Purchase.id.in_(first_ids)).order_by(Purchase.id)
    return set(connection.scalars(rows.with_for_update(key_share=True, skip_locked=True)))


@cache
def _busy() -> Select[Any]:
    """(purchase, when the last other access of its device is over), None where there is none."""
    other = aliased(Purchase)
    latest = (
        select(func.max(AccessGrant.expires_at))
        .join(other, other.id == AccessGrant.purchase_id)
        .where(other.tenant_id == Purchase.tenant_id, other.id != Purchase.id)
        .where(AccessGrant.ended_at.is_(None), AccessGrant.expires_at > bindparam("now", type_=Instant()))
    )
    until = case(
        (Purchase.mac != "", latest.where(other.mac == Purchase.mac).scalar_subquery()),
        (Purchase.browser_hash != "", latest.where(other.browser_hash == Purchase.browser_hash).scalar_subquery()),
    )
    return select(Purchase.id, until).where(Purchase.id.in_(bindparam("purchases", expanding=True)))


def _taken(connection: Connection, buyers: Sequence[Buyer]) -> set[tuple[int, str]]:
    """(tenant, user name) that other access has already."""
    names = {buyer.receipt for buyer in buyers if buyer.receipt}
    there = select(AccessGrant.tenant_id, AccessGrant.username).where(
        AccessGrant.tenant_id.in_({buyer.tenant_id for buyer in buyers}), AccessGrant.username.in_(names)
    )
    return {(row.tenant_id, row.username) for row in connection.execute(there)}


def _tell(connection: Connection, messages: Sequence[tuple[Any, ...]], now: datetime) -> None:
    rows = []
    for locale, buyer, name, password, ends, grant_id in messages:
        text = notifications.way_in(
            business=buyer.business, name=name, password=password, until=ends, is_test=buyer.is_test, locale=locale
        )
        payload, key = tell.sms_payload(buyer.msisdn, text), f"sms/{notifications.key_of(grant_id)}"
        rows.append(write.columns_of(buyer.tenant_id, "sms", key, payload, expires_at=ends, now=now))
    bulk.insert(connection, OutboxItem, rows)
