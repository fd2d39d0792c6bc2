"""Who is online, as routers other than RADIUS ones list it, written down as FreeRADIUS writes its accounting.

A list says who is online now, with counters since the stay began. A device that stands in one list and not in the next
has left meanwhile; counters that fell belong to a new stay.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from portal.hotspot import sessions
from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.routers.interface import Online
from portal.kernel import bulk
from portal.kernel.db import db, new_uid

LOST = "Lost-Service"  # RADIUS' word for: it is not listed any more
_SLACK_S = 5  # by which a router's count of seconds may fall behind its last one


def book(site: Site, listed: Sequence[Online], now: datetime) -> dict[int, int]:
    """Write a router's list down; {pass (leader): bytes used since the last list}. Inside a transaction.

    The number of statements does not depend on how many are online. Who calls must be alone with this site's list.
    """
    stand = select(AccessSession).where(AccessSession.site_id == site.id, AccessSession.stopped_at.is_(None))
    open_rows: dict[tuple[str, str], AccessSession] = {}
    closed: list[dict[str, Any]] = []
    for row in db.session.scalars(stand.order_by(AccessSession.id)):
        twin = open_rows.get((row.username, row.mac))
        if twin is not None:
            closed.append(_closing(twin))
        open_rows[(row.username, row.mac)] = row
    passes = _passes_of(site, {one.username for one in listed})
    new: list[dict[str, Any]] = []
    going_on: list[dict[str, Any]] = []
    used: Counter[int] = Counter()
    for one in {(one.username, one.mac): one for one in listed}.values():
        was = open_rows.pop((one.username, one.mac), None)
        if was is not None and not _is_same(was, one):
            closed.append(_closing(was))
            was = None
        leader = passes.get(one.username)
        if leader is not None:
            used[leader] += one.bytes_in + one.bytes_out - (was.bytes_in + was.bytes_out if was is not None else 0)
        if was is None:
            new.append(_beginning(site, one, leader, now))
        else:
            going_on.append(
                {"id": was.id, "updated_at": now, "ip": one.ip, "online_s": one.online_s, "bytes_in": one.bytes_in,
                 "bytes_out": one.bytes_out, "bytes_before_today": sessions.before_today(was, now)}
            )  # fmt: skip
    closed += [_closing(row) for row in open_rows.values()]
    connection = db.session.connection()
    bulk.insert(connection, AccessSession, new)
    bulk.update(connection, AccessSession, going_on)
    bulk.update(connection, AccessSession, closed)
    return dict(used)


def _passes_of(site: Site, usernames: set[str]) -> dict[str, int]:
    """{user name: leader of its pass} of the names that are ours."""
    known = select(AccessGrant.username, AccessGrant.leader_id).where(AccessGrant.tenant_id == site.tenant_id)
    rows = db.session.execute(known.where(AccessGrant.username.in_(sorted(usernames))))
    return {row.username: row.leader_id for row in rows if row.leader_id is not None}


def _is_same(was: AccessSession, one: Online) -> bool:
    return was.session_id == one.session_id and one.online_s >= was.online_s - _SLACK_S


def _closing(row: AccessSession) -> dict[str, Any]:
    return {"id": row.id, "stopped_at": row.updated_at, "end_cause": row.end_cause or LOST}


def _beginning(site: Site, one: Online, leader: int | None, now: datetime) -> dict[str, Any]:
    uid = new_uid()
    return {
        "uid": uid, "accounting_id": f"{site.id}:{uid}", "tenant_id": site.tenant_id, "site_id": site.id,
        "grant_id": leader, "username": one.username, "session_id": one.session_id, "mac": one.mac, "ip": one.ip,
        "started_at": now - timedelta(seconds=one.online_s), "updated_at": now, "created_at": now,
        "online_s": one.online_s, "bytes_in": one.bytes_in, "bytes_out": one.bytes_out,
    }  # fmt: skip
