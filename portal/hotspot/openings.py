"""Opening the internet for many purchases at once: the ordinary ones, in a few statements. Others: `access.grant`.

Ordinary is a purchase that opened nothing yet, for a device on which nothing is open, and whose time nobody else gives,
ends or moves meanwhile: it begins now, as a pass of its own. What extends, waits, adds, pauses or is given away is no
matter of sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, case, false, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from portal.hotspot import access, notifications, turns
from portal.hotspot.models import AccessGrant, Package, Purchase
from portal.kernel import bulk
from portal.kernel.db import Instant
from portal.notifications import tell
from portal.outbox import write
from portal.outbox.models import OutboxItem
from portal.payments.models import Payment


@dataclass(frozen=True)
class Buyer:
    """Who paid for a purchase. business: the seller's name; receipt: of the money; msisdn: whose money it was, and
    what that is found by.
    """

    tenant_id: int
    business: str
    receipt: str | None
    msisdn: str | None
    phone_hash: str | None
    is_test: bool


def of_payments(connection: Connection, payment_ids: Sequence[int]) -> dict[int, Any]:
    """What these payments buy here: {payment: purchase}, with its package's time and its device's first purchase."""
    return {row.payment_id: row for row in bulk.rows_of(connection, _bought(), payments=payment_ids)}


@cache
def _bought() -> Select[Any]:
    """Built once: to build it anew for each set costs as much as to run it."""
    columns: tuple[Any, ...] = (
        Purchase.id, Purchase.payment_id, Purchase.tenant_id, Purchase.mac, Purchase.browser_hash, Purchase.locale,
        Purchase.package_id, Package.lifetime_s, Payment.phone_hash,
        AccessGrant.id.label("grant_id"), Purchase.gift_phone_hash,
    )  # fmt: skip
    bought = (
        select(*columns)
        .join(Package, Package.id == Purchase.package_id)
        .join(Payment, Payment.id == Purchase.payment_id)
        .outerjoin(AccessGrant, AccessGrant.purchase_id == Purchase.id)
    )
    return bought.where(bulk.among(Purchase.payment_id, "payments")).order_by(Purchase.id)


def open_all(
    connection: Connection, purchases: Mapping[int, Any], buyers: Mapping[int, Buyer], now: datetime
) -> frozenset[int]:
    """Open what these payments bought, and tell who paid; the payments whose access is open now. The caller commits.

    purchases: as of `of_payments`. A purchase that is not ordinary is left out.
    """
    wanted = _ordinary(connection, list(purchases.values()), now)
    if not wanted:
        return frozenset()
    taken = _taken(connection, [buyers[one.payment_id] for one in wanted])
    ids = bulk.new_ids(connection, grants=(AccessGrant, len(wanted)))["grants"]
    ends_after = {lifetime_s: now + timedelta(seconds=lifetime_s) for lifetime_s in {one.lifetime_s for one in wanted}}
    grants, messages = [], []
    for one, grant_id in zip(wanted, ids, strict=True):
        buyer = buyers[one.payment_id]
        ends = ends_after[one.lifetime_s]
        name = buyer.receipt if buyer.receipt and (one.tenant_id, buyer.receipt) not in taken else access.new_name()
        taken.add((one.tenant_id, name))
        password = access.new_password()
        grants.append(
            {
                "id": grant_id, "leader_id": grant_id, "tenant_id": one.tenant_id, "purchase_id": one.id,
                "package_id": one.package_id, "phone_hash": buyer.phone_hash or one.phone_hash, "mac": one.mac,
                "username": name, "password": password, "starts_at": now, "expires_at": ends, "provision_at": now,
                "created_at": now,
            }
        )  # fmt: skip
        if buyer.msisdn:
            messages.append((one.locale, buyer, name, password, ends, grant_id))
    bulk.insert(connection, AccessGrant, grants)
    _tell(connection, messages, now)
    return frozenset(one.payment_id for one in wanted)


def _ordinary(connection: Connection, purchases: Sequence[Any], now: datetime) -> list[Any]:
    """Those whose device nobody else has a turn with, has nothing open, and buys once in this set."""
    turns_of = {
        one.id: turns.names(one.tenant_id, mac=one.mac, browser_hash=one.browser_hash)
        for one in purchases
        if one.grant_id is None and one.gift_phone_hash is None
    }
    free = turns.take_free(connection, [name for names in turns_of.values() for name in names])
    ready, met = [], set[str]()
    for one in purchases:
        names = turns_of.get(one.id)
        if names is not None and met.isdisjoint(names) and free.issuperset(names):
            ready.append(one)
        met.update(names or ())
    with_device = [one.id for one in ready if turns_of[one.id]]
    busy = set(connection.scalars(_busy(), {"purchases": with_device, "now": now})) if with_device else set()
    return [one for one in ready if one.id not in busy]


@cache
def _busy() -> Select[Any]:
    """The purchases on whose device something has time left: by its MAC address, else by its browser."""
    other = aliased(Purchase)
    running = select(AccessGrant.id).where(AccessGrant.tenant_id == Purchase.tenant_id)
    running = running.where(AccessGrant.ended_at.is_(None), AccessGrant.expires_at > bindparam("now", type_=Instant()))
    by_mac = running.where(AccessGrant.mac == Purchase.mac)
    by_browser = running.join(other, other.id == AccessGrant.purchase_id).where(
        other.tenant_id == Purchase.tenant_id, other.browser_hash == Purchase.browser_hash, AccessGrant.origin != "gift"
    )
    is_busy = case(
        (Purchase.mac != "", by_mac.exists()),
        (Purchase.browser_hash != "", by_browser.exists()),
        else_=false(),
    )
    return select(Purchase.id).where(bulk.among(Purchase.id, "purchases"), is_busy)


def _taken(connection: Connection, buyers: Sequence[Buyer]) -> set[tuple[int, str]]:
    """(tenant, user name) that other access has already."""
    names = {buyer.receipt for buyer in buyers if buyer.receipt}
    tenants = sorted({buyer.tenant_id for buyer in buyers})
    there = connection.execute(_named(), {"tenants": tenants, "names": names})
    return {(tenant_id, username) for tenant_id, username in there.all()}


@cache
def _named() -> Select[Any]:
    columns: tuple[Any, ...] = (AccessGrant.tenant_id, AccessGrant.username)
    return select(*columns).where(bulk.few(AccessGrant.tenant_id, "tenants"), bulk.among(AccessGrant.username, "names"))


def _tell(connection: Connection, messages: Sequence[tuple[Any, ...]], now: datetime) -> None:
    rows = []
    for locale, buyer, name, password, ends, grant_id in messages:
        text = notifications.way_in(
            business=buyer.business, name=name, password=password, until=ends, is_test=buyer.is_test, locale=locale
        )
        payload, key = tell.sms_payload(buyer.msisdn, text), f"sms/{notifications.key_of(grant_id)}"
        rows.append(write.columns_of(buyer.tenant_id, "sms", key, payload, expires_at=ends, now=now))
    bulk.insert(connection, OutboxItem, rows)
