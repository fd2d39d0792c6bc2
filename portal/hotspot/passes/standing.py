"""Which passes a device has, and what is left of each."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from portal.hotspot.models import AccessGrant, AccessSession, Package, Purchase
from portal.hotspot.passes.models import PassDevice
from portal.kernel import clock
from portal.kernel.db import db

MOST_SHOWN = 50


@dataclass(frozen=True)
class Left:
    """What is left of a pass. expires_at: of its last grant. online_s, data_bytes: None where there is no limit.

    used_bytes: of both directions, over all its stays. is_online: whether the router tells of a stay now.
    """

    starts_at: datetime
    expires_at: datetime
    online_s: int | None
    data_bytes: int | None
    used_bytes: int
    devices: int
    is_suspended: bool
    is_online: bool

    @property
    def seconds(self) -> int:
        """Seconds until it ends by the clock, never below zero."""
        return max(0, int((self.expires_at - clock.now()).total_seconds()))


def leader_of(grant: AccessGrant) -> int:
    """What names a pass: the first grant of its chain."""
    return grant.leader_id or grant.id


def grants_of(leader_id: int) -> list[AccessGrant]:
    """The grants of a pass that have time left, in the order in which they are used up."""
    return _ordered(AccessGrant.leader_id == leader_id, *_has_time_left())


def of_device(tenant_id: int, *, mac: str = "", browser_hash: str = "") -> list[AccessGrant]:
    """Access with time left that this device or this browser uses, in the order in which it is used up.

    A MAC address is no secret: by it alone nothing of these may be shown but that they run.
    """
    ways: list[Select[Any]] = []  # each by an index of its own: together they would be a walk through all grants
    if mac:
        ways.append(select(AccessGrant.id).where(AccessGrant.tenant_id == tenant_id, AccessGrant.mac == mac))
        ways.append(_with_device(tenant_id, PassDevice.mac == mac))
    if browser_hash:
        bought = select(AccessGrant.id).join(Purchase, Purchase.id == AccessGrant.purchase_id)
        bought = bought.where(Purchase.tenant_id == tenant_id, Purchase.browser_hash == browser_hash)
        ways.append(bought.where(AccessGrant.origin != "gift"))
        ways.append(_with_device(tenant_id, PassDevice.browser_hash == browser_hash))
    ids = {one for way in ways for one in db.session.scalars(way.where(*_has_time_left()))}
    return _ordered(AccessGrant.id.in_(ids)) if ids else []


def of_number(tenant_id: int, phone_hash: str) -> list[AccessGrant]:
    """Access with time left that this number paid for or was given, in the order in which it is used up."""
    return _ordered(AccessGrant.tenant_id == tenant_id, AccessGrant.phone_hash == phone_hash, *_has_time_left())


def _with_device(tenant_id: int, is_same: ColumnElement[bool]) -> Select[Any]:
    of_pass = select(AccessGrant.id).join(PassDevice, PassDevice.leader_id == AccessGrant.leader_id)
    return of_pass.where(PassDevice.tenant_id == tenant_id, PassDevice.removed_at.is_(None), is_same)


def _has_time_left() -> tuple[ColumnElement[bool], ...]:
    return AccessGrant.ended_at.is_(None), AccessGrant.expires_at > clock.now()


def _ordered(*wanted: ColumnElement[bool]) -> list[AccessGrant]:
    mine = select(AccessGrant).where(*wanted).order_by(AccessGrant.starts_at, AccessGrant.id)
    return list(db.session.scalars(mine.limit(MOST_SHOWN)))


def is_of_browser(grant: AccessGrant, browser_hash: str) -> bool:
    """Whether this browser, by its cookie, bought a part of the pass or showed its number or code."""
    if not browser_hash:
        return False
    bought = select(Purchase.id).join(AccessGrant, AccessGrant.purchase_id == Purchase.id)
    bought = bought.where(AccessGrant.leader_id == leader_of(grant), Purchase.browser_hash == browser_hash)
    bought = bought.where(AccessGrant.origin != "gift")
    showed = select(PassDevice.id).where(
        PassDevice.leader_id == leader_of(grant),
        PassDevice.browser_hash == browser_hash,
        PassDevice.removed_at.is_(None),
    )
    return any(db.session.scalar(one.limit(1)) is not None for one in (bought, showed))


def left_of(leader_id: int) -> Left | None:
    """What is left of a pass, summed over its grants and its stays; None where nothing is."""
    grants = grants_of(leader_id)
    if not grants:
        return None
    chain = select(Package, AccessGrant).join(AccessGrant, AccessGrant.package_id == Package.id)
    packages = [row[0] for row in db.session.execute(
        chain.where(AccessGrant.leader_id == leader_id, AccessGrant.ended_at.is_(None))
    )]  # fmt: skip
    used_s, used_bytes, open_stays = db.session.execute(
        select(
            func.coalesce(func.sum(AccessSession.online_s), 0),
            func.coalesce(func.sum(AccessSession.bytes_in + AccessSession.bytes_out), 0),
            func.count().filter(AccessSession.stopped_at.is_(None)),
        ).where(AccessSession.grant_id == leader_id)
    ).one()
    return Left(
        starts_at=grants[0].starts_at,
        expires_at=grants[-1].expires_at,
        online_s=_rest([one.online_s for one in packages], int(used_s)),
        data_bytes=_rest([one.data_cap_bytes for one in packages], int(used_bytes)),
        used_bytes=int(used_bytes),
        devices=grants[0].package.devices,
        is_suspended=any(one.suspended_at is not None for one in grants),
        is_online=bool(open_stays),
    )


def _rest(caps: list[int | None], used: int) -> int | None:
    """What is left of caps that add up; None where one of them is no limit."""
    limits = [cap for cap in caps if cap is not None]
    return max(0, sum(limits) - used) if limits and len(limits) == len(caps) else None
