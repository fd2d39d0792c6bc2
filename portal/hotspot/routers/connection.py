"""Paid means online, proved: how far a grant has come, in one value for payer and staff alike.

paid: the money is here and the access open. told: its router is being told and was not read back yet. ready: the router
was read and has it (or asks us by itself). online: its device is online; with the first data it moves all is proved.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select

from portal.hotspot.models import AccessGrant, AccessSession, Provisioning, Site
from portal.hotspot.routers.interface import POLLED, TOLD, kinds_with
from portal.kernel import clock
from portal.kernel.db import db

PAID, TOLD_IT, READY, ONLINE = "paid", "told", "ready", "online"
TOO_LONG = timedelta(minutes=10)


@dataclass(frozen=True)
class Standing:
    """How far a grant has come. state: paid, told, ready or online. problem: what a router last said against it.

    read_back_at: when a router was read and had it; traffic_at: when its first stay with data began; None: not yet, or
    nobody can tell.
    """

    state: str
    paid_at: datetime
    told_at: datetime | None = None
    read_back_at: datetime | None = None
    traffic_at: datetime | None = None
    is_online: bool = False
    problem: str = ""


def stands(grant: AccessGrant) -> Standing:
    """How far this grant has come."""
    return stands_of([grant])[grant.id]


def stands_of(grants: Sequence[AccessGrant]) -> dict[int, Standing]:
    """{grant: how far it has come}, in three statements however many. All of one tenant."""
    if not grants:
        return {}
    must_be_told = _must_be_told(grants[0].tenant_id)
    rows: dict[int, list[Provisioning]] = {}
    told = select(Provisioning).where(Provisioning.grant_id.in_([one.id for one in grants]))
    for row in db.session.scalars(told):
        rows.setdefault(row.grant_id, []).append(row)
    seen = {
        row.grant_id: row
        for row in db.session.execute(
            select(
                AccessSession.grant_id,
                func.min(AccessSession.started_at).filter(_MOVES).label("traffic_at"),
                func.count().filter(AccessSession.stopped_at.is_(None)).label("open"),
            )
            .where(AccessSession.grant_id.in_({one.leader_id or one.id for one in grants}))
            .group_by(AccessSession.grant_id)
        )
    }
    return {
        one.id: _standing(one, rows.get(one.id, []), seen.get(one.leader_id or one.id), must_be_told) for one in grants
    }


_MOVES = AccessSession.bytes_in + AccessSession.bytes_out > 0


def _must_be_told(tenant_id: int) -> bool:
    """Whether every router of this business has to be told before anybody is let in."""
    kinds = select(Site.kind).where(Site.tenant_id == tenant_id, Site.closed_at.is_(None)).distinct()
    found = set(db.session.scalars(kinds))
    return bool(found) and found <= {*kinds_with(TOLD), *kinds_with(POLLED)}


def _standing(grant: AccessGrant, rows: Collection[Provisioning], seen: object, must_be_told: bool) -> Standing:
    on = [row for row in rows if row.wanted == "on"]
    read_back = min((row.confirmed_at for row in on if row.confirmed_at is not None), default=None)
    is_online, traffic_at = bool(getattr(seen, "open", 0)), getattr(seen, "traffic_at", None)
    if is_online:
        state = ONLINE
    elif read_back is not None or not must_be_told:
        state = READY
    else:
        state = TOLD_IT if on else PAID
    return Standing(
        state=state,
        paid_at=grant.created_at,
        told_at=min((row.since for row in on), default=None),
        read_back_at=read_back,
        traffic_at=traffic_at,
        is_online=is_online,
        problem="" if read_back or is_online else next((row.last_error for row in on if row.last_error), ""),
    )


def without_access(tenant_id: int, *, limit: int = 50) -> list[AccessGrant]:
    """Right without access: who paid more than ten minutes ago, may be online now and never was; newest first."""
    now = clock.now()
    stayed = exists().where(AccessSession.grant_id == AccessGrant.leader_id)
    running = select(AccessGrant).where(AccessGrant.tenant_id == tenant_id, AccessGrant.ended_at.is_(None))
    running = running.where(AccessGrant.suspended_at.is_(None), AccessGrant.expires_at > now, ~stayed)
    running = running.where(AccessGrant.starts_at < now - TOO_LONG, AccessGrant.created_at < now - TOO_LONG)
    running = running.where(AccessGrant.origin == "purchase")
    return list(db.session.scalars(running.order_by(AccessGrant.id.desc()).limit(limit)))


def without_right(tenant_id: int, *, limit: int = 50) -> list[AccessSession]:
    """Online without right: open sessions of no pass, or of one that is over; newest first."""
    mates = exists().where(
        AccessGrant.leader_id == AccessSession.grant_id,
        AccessGrant.ended_at.is_(None),
        AccessGrant.suspended_at.is_(None),
        AccessGrant.expires_at > clock.now(),
    )
    online = select(AccessSession).where(AccessSession.tenant_id == tenant_id, AccessSession.stopped_at.is_(None))
    online = online.where(AccessSession.grant_id.is_(None) | ~mates)
    return list(db.session.scalars(online.order_by(AccessSession.id.desc()).limit(limit)))
