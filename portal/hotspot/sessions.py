"""Stays online that nobody ends any more, or that use up their pass; and what FreeRADIUS counted, once it is old.

A router tells of each session every five minutes. One that missed three of these does not count against a package's
devices at once (the views see to that), and is closed here, at the last that was heard of it. A router that was only
cut off tells of it again, and FreeRADIUS opens the row anew.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, false, func, or_, select, update

from portal.hotspot import access
from portal.hotspot.models import AccessGrant, AccessSession, DeviceHold, Package, SignInRefusal, Site
from portal.kernel import clock
from portal.kernel.db import db, transaction

SILENT_AFTER = timedelta(minutes=15)  # three missed interim updates, as the view radius_clock has it
REFUSALS_KEPT_FOR = timedelta(days=2)
GIVEN_UP_KEPT_FOR = timedelta(days=7)  # a stay may go on for long at a router that cannot be told to end it
SILENT = "Silent"  # the cause that is no router's word: a packet from it takes it back
BATCH_ROWS, MOST_BATCHES = 500, 20


def open_of(grant: AccessGrant) -> list[AccessSession]:
    """The sessions of its pass that run now, walled ones too, oldest first."""
    mine = select(AccessSession).where(AccessSession.grant_id == (grant.leader_id or grant.id))
    return list(db.session.scalars(mine.where(AccessSession.stopped_at.is_(None)).order_by(AccessSession.id)))


def midnight(now: datetime) -> datetime:
    """When the day of `now` began in East Africa."""
    return clock.nairobi(now).replace(hour=0, minute=0, second=0, microsecond=0)


def bytes_today(now: datetime) -> ColumnElement[int]:
    """Of a session's octets, both ways, those of the day of `now` in East Africa."""
    octets = AccessSession.bytes_in + AccessSession.bytes_out
    return case((AccessSession.updated_at >= midnight(now), octets - AccessSession.bytes_before_today), else_=0)


def before_today(session: AccessSession, now: datetime) -> int:
    """Its `bytes_before_today` once it is heard of at `now`: whoever counts octets into a row sets this with them."""
    octets = session.bytes_in + session.bytes_out
    return octets if session.updated_at < midnight(now) else session.bytes_before_today


def sweep() -> None:
    """What the scheduler does every few minutes. Opens its own transactions; safe twice at once."""
    close_silent()
    end_used_up()
    forget_refusals()


def close_silent() -> int:
    """Close sessions of RADIUS routers that were not heard of for too long; how many.

    Other routers are asked for their lists, which say who left: one that does not answer has not lost its people.
    """
    closed = 0
    for _batch in range(MOST_BATCHES):
        with transaction():
            silent = (
                select(AccessSession.id)
                .join(Site, Site.id == AccessSession.site_id)
                .where(Site.kind == "radius", AccessSession.stopped_at.is_(None))
                .where(AccessSession.updated_at < clock.now() - SILENT_AFTER)
                .order_by(AccessSession.id)
                .limit(BATCH_ROWS)
                .with_for_update(of=AccessSession, skip_locked=True)
            )
            ids = list(db.session.scalars(silent))
            over = update(AccessSession).where(AccessSession.id.in_(ids), AccessSession.stopped_at.is_(None))
            over = over.values(stopped_at=AccessSession.updated_at, end_cause=SILENT)
            db.session.execute(over, execution_options={"synchronize_session": False})
        closed += len(ids)
        if len(ids) < BATCH_ROWS:
            break
    return closed


def end_used_up() -> int:
    """Have routers that ask RADIUS told of passes that are used up while somebody is online with them; how many.

    A session ends by its own limits, which are of what was left when it began: two devices of one pass each have the
    whole of it, and a pass that goes on slowly after its cap has none. Each session gives its pass one turn.
    """
    used_up: set[int] = set()
    after = 0
    while True:
        with transaction():
            rows = list(db.session.execute(_of_capped_passes(after)))
            totals = _totals({row.grant_id for row in rows})
            over = [row for row in rows if _is_used_up(totals[row.grant_id])]
            told = update(AccessSession).where(AccessSession.id.in_([row.id for row in over]))
            told = told.where(AccessSession.capped_at.is_(None)).values(capped_at=clock.now())
            db.session.execute(told, execution_options={"synchronize_session": False})
            access.changed(row.grant_id for row in over)
        used_up |= {row.grant_id for row in over}
        if len(rows) < BATCH_ROWS:
            return len(used_up)
        after = rows[-1].id


def _of_capped_passes(after: int) -> Any:
    """Open sessions at RADIUS routers of passes that have a cap, and no turn in them yet."""
    capped = or_(
        Package.data_cap_bytes.is_not(None), Package.daily_cap_bytes.is_not(None), Package.online_s.is_not(None)
    )
    found = (
        select(AccessSession.id, AccessSession.grant_id)
        .join(Site, Site.id == AccessSession.site_id)
        .join(AccessGrant, AccessGrant.id == AccessSession.grant_id)
        .join(Package, Package.id == AccessGrant.package_id)
        .where(Site.kind == "radius", AccessSession.stopped_at.is_(None), AccessSession.capped_at.is_(None))
        .where(Package.service == "hotspot", capped, AccessSession.id > after)
        .order_by(AccessSession.id)
        .limit(BATCH_ROWS)
    )
    return found


@dataclass
class _Total:
    """What a pass was sold and has used. Caps: None for none."""

    data_cap: int | None = None
    online_cap: int | None = None
    daily_cap: int | None = None
    octets: int = 0
    octets_today: int = 0
    online_s: int = 0


def _totals(leader_ids: set[int]) -> defaultdict[int, _Total]:
    """Of these passes, in two statements; as the views of RADIUS have it."""
    found: defaultdict[int, _Total] = defaultdict(_Total)
    wanted = sorted(leader_ids)
    sold = (
        select(
            AccessGrant.leader_id,
            func.sum(Package.data_cap_bytes).label("data"),
            func.sum(Package.online_s).label("online"),
            func.max(Package.daily_cap_bytes).label("daily"),
        )
        .join(Package, Package.id == AccessGrant.package_id)
        .where(AccessGrant.leader_id.in_(wanted), AccessGrant.ended_at.is_(None))
        .group_by(AccessGrant.leader_id)
    )
    for row in db.session.execute(sold):
        data, online, daily = (None if cap is None else int(cap) for cap in (row.data, row.online, row.daily))
        found[row.leader_id] = _Total(data, online, daily)
    octets = AccessSession.bytes_in + AccessSession.bytes_out
    used = (
        select(
            AccessSession.grant_id,
            func.sum(octets).label("octets"),
            func.sum(bytes_today(clock.now())).label("today"),
            func.sum(AccessSession.online_s).label("online"),
        )
        .where(AccessSession.grant_id.in_(wanted), AccessSession.is_walled.is_(False))
        .group_by(AccessSession.grant_id)
    )
    for row in db.session.execute(used):
        total = found[row.grant_id]
        total.octets, total.octets_today, total.online_s = int(row.octets), int(row.today), int(row.online)
    return found


def _is_used_up(total: _Total) -> bool:
    pairs = ((total.data_cap, total.octets), (total.daily_cap, total.octets_today), (total.online_cap, total.online_s))
    return any(cap is not None and used >= cap for cap, used in pairs)


def forget_refusals() -> None:
    """Let go of what FreeRADIUS wrote for itself and is old: counted refusals, which hold what people typed as their
    names, and places that devices held until their stay was told of."""
    now = clock.now()
    _forget(SignInRefusal, SignInRefusal.window_at < now - REFUSALS_KEPT_FOR)
    is_given_up = DeviceHold.given_up_at > now - GIVEN_UP_KEPT_FOR
    _forget(DeviceHold, (DeviceHold.held_at < now - SILENT_AFTER) & ~func.coalesce(is_given_up, false()))


def _forget(model: type[SignInRefusal] | type[DeviceHold], is_old: ColumnElement[bool]) -> None:
    for _batch in range(MOST_BATCHES):
        with transaction():
            ids = list(db.session.scalars(select(model.id).where(is_old).limit(BATCH_ROWS)))
            db.session.execute(delete(model).where(model.id.in_(ids)))
        if len(ids) < BATCH_ROWS:
            return
