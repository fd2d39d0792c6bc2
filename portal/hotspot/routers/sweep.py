"""Comparing what routers really do with what is right: who is online without a right to, who paid and is not known.

Each enough alone (wish 9): the router's own limits, the reconciler's turn at the end of a pass, and this sweep, which
trusts neither. What it finds wrong it does not mend by itself: it gives the row its turn, and the reconciler mends,
reads back and tries again.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.engine import CursorResult

from portal.hotspot.models import AccessGrant, AccessSession, Package, Provisioning, Site
from portal.hotspot.routers import circuit, passes, stays
from portal.hotspot.routers.interface import SESSIONS, Knows, Listed, adapter_of, done
from portal.hotspot.routers.models import TO_SWEEP, RouterState
from portal.kernel import bulk, clock, queue
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.payments.processing import gateway_pool

EVERY, LEASE = timedelta(seconds=60), timedelta(minutes=5)
ROUTERS_AT_ONCE, LASTING, AT_ONCE = 8, timedelta(seconds=120), 500
CLOCKS_DIFFER_BY = timedelta(seconds=30)  # so much later a router that ends a session itself may do so


def sweep() -> None:
    """Every router whose list is due is compared, several at once; and whoever is online past its pass is ended."""
    end_past_right()
    errand = gateway_pool.Errand(_due, compare, _put_off, lambda _site_id: 1)
    gateway_pool.run(errand, threads=ROUTERS_AT_ONCE, lasting=LASTING)


def end_past_right() -> int:
    """At sites that ask RADIUS: sessions whose pass is over get their turn to be ended; how many passes."""
    with transaction():
        now = clock.now()
        mates = exists().where(
            AccessGrant.leader_id == AccessSession.grant_id,
            AccessGrant.ended_at.is_(None),
            AccessGrant.suspended_at.is_(None),
            AccessGrant.expires_at > now - CLOCKS_DIFFER_BY,
        )
        leader = select(Package.service).join(AccessGrant, AccessGrant.package_id == Package.id)
        over = (
            select(AccessSession.tenant_id, AccessSession.site_id, AccessSession.grant_id)
            .join(Site, Site.id == AccessSession.site_id)
            .outerjoin(
                Provisioning,
                (Provisioning.site_id == AccessSession.site_id) & (Provisioning.grant_id == AccessSession.grant_id),
            )
            .where(AccessSession.stopped_at.is_(None), AccessSession.grant_id.is_not(None))
            .where(Site.kind == "radius", Site.closed_at.is_(None), Provisioning.next_at.is_(None), ~mates)
            .where(leader.where(AccessGrant.id == AccessSession.grant_id).scalar_subquery() == "hotspot")
            .distinct()
            .limit(AT_ONCE)
        )
        rows = list(db.session.execute(over))
        for site_id in sorted({row.site_id for row in rows}):
            here = [row for row in rows if row.site_id == site_id]
            _give_turn(site_id, here[0].tenant_id, [row.grant_id for row in here], now, "Online after the end.")
    if rows:
        queue.enqueue(queue.BRING_ABOUT)
    return len(rows)


def _due(without: Collection[int]) -> list[tuple[int, int]]:
    due = select(RouterState.site_id).where(TO_SWEEP.is_due).order_by(RouterState.sweep_at).limit(2 * ROUTERS_AT_ONCE)
    if without:
        due = due.where(RouterState.site_id.not_in(without))
    return [(site_id, site_id) for site_id in db.session.scalars(due)]


def _put_off(site_id: int, error: Exception) -> None:
    with transaction():
        late = update(RouterState).where(RouterState.site_id == site_id)
        db.session.execute(late.values(sweep_at=clock.now() + EVERY))


def compare(site_id: int) -> None:
    """Read one router's lists and set right what they show."""
    site = _take(site_id)
    if site is None:
        return
    adapter = adapter_of(site)
    listed, known = adapter.sessions(site), adapter.known(site) if isinstance(adapter, Knows) else (done(), None)
    now = clock.now()
    with transaction():
        is_mine = update(RouterState).where(RouterState.site_id == site_id)
        bad = next((one for one in (listed.outcome, known[0]) if not one.is_done), None)
        if bad is not None:
            circuit.did_not_answer(site, bad, now)
            db.session.flush()
            db.session.execute(is_mine.values(sweep_at=RouterState.try_at))
            return
        circuit.answered(site, now)
        wrong = set_right(site, listed, known[1], now)
        db.session.execute(is_mine.values(sweep_at=now + EVERY))
    if wrong:
        logger.warning("router_set_right", site=site_id, passes=wrong)
        queue.enqueue(queue.BRING_ABOUT)


def _take(site_id: int) -> Site | None:
    """This router's list is ours to read, for as long as the lease."""
    now = clock.now()
    with transaction():
        mine = update(RouterState).where(RouterState.site_id == site_id, RouterState.sweep_at <= now)
        taken: CursorResult[Any] = db.session.execute(mine.values(sweep_at=now + LEASE))  # type: ignore[assignment]
        site = db.session.get(Site, site_id)
        if taken.rowcount == 0 or site is None:
            return None
        state = update(RouterState).where(RouterState.site_id == site_id)
        if site.closed_at is not None or SESSIONS not in adapter_of(site).capabilities:
            db.session.execute(state.values(sweep_at=None))
            return None
        if not circuit.may_be_tried(site_id, now):
            db.session.execute(state.values(sweep_at=RouterState.try_at))
            return None
        db.session.flush()
        db.session.expunge_all()
    db.session.remove()
    return site


def set_right(site: Site, listed: Listed, known: frozenset[int] | None, now: datetime) -> int:
    """Write the list down and give a turn to each grant that is not as it should be; how many. Inside a transaction.

    known: the grants that the router has a user of; None: it has no such list.
    """
    used = stays.book(site, listed.sessions, now)
    wrong = dict.fromkeys(_without_right(site, used, now), "Online without a right to it.")
    wrong |= dict.fromkeys(_at_cap(site, used), "At its cap.")
    if known is not None:
        wrong |= _unlike(site, known, now)
    for why in sorted(set(wrong.values())):
        _give_turn(site.id, site.tenant_id, [one for one, reason in wrong.items() if reason == why], now, why)
    return len(wrong)


def _without_right(site: Site, leader_ids: Iterable[int], now: datetime) -> list[int]:
    """The grants of passes that are online here and do not open anything now."""
    found = passes.read(leader_ids)
    over = [one for one in found.values() if not one.is_on(now - CLOCKS_DIFFER_BY) and not one.is_on(now)]
    over = [one for one in over if not (one.is_line and one.alive)]  # behind the wall, where its router put it
    return [grant.id for one in over for grant in one.grants]


def _at_cap(site: Site, used: Mapping[int, int]) -> list[int]:
    """The grants of passes that reached their cap with this list and run on, slower, and of those that are used up.

    A router counts what went by one user name since it has it; a pass may have several, and more than one router.
    """
    reached = []
    for leader_id, one in passes.read(used).items():
        is_over = (one.is_used_up or one.is_used_up_today) and not one.is_line  # which goes on behind the wall
        if is_over or has_reached(one, used[leader_id]):
            reached += [grant.id for grant in one.grants]
    return reached


def has_reached(one: passes.Pass, since_last: int) -> bool:
    """Whether it reached a cap with its last so many bytes and goes on, slower or behind the wall."""
    total = sum(count for _seconds, count in one.used.values())
    pairs = ((one.data_cap_bytes, total), (one.terms.daily_cap_bytes, one.used_today))
    return (one.is_line or one.terms.at_cap == "throttle") and any(
        cap is not None and used >= cap > used - since_last for cap, used in pairs
    )


def _unlike(site: Site, known: frozenset[int], now: datetime) -> dict[int, str]:
    """Grants whose row on the router is missing, or should be."""
    on = select(Provisioning.grant_id).where(Provisioning.site_id == site.id, Provisioning.next_at.is_not(None))
    on = on.where(Provisioning.wanted == "on")
    confirmed = set(db.session.scalars(on.where(Provisioning.confirmed_at.is_not(None), Provisioning.next_at > now)))
    wanted = set(db.session.scalars(on))
    too_many = sorted(known - wanted)[:AT_ONCE]
    ours = select(AccessGrant.id).where(AccessGrant.tenant_id == site.tenant_id, AccessGrant.id.in_(too_many))
    found = dict.fromkeys(sorted(confirmed - known), "The router had it and has lost it.")
    return found | dict.fromkeys(db.session.scalars(ours), "The router has it and should not.")


def _give_turn(site_id: int, tenant_id: int, grant_ids: Collection[int], now: datetime, why: str) -> None:
    """These grants are looked at anew at this router; who has no row there gets one that says off."""
    if not grant_ids:
        return
    mine = update(Provisioning).where(Provisioning.site_id == site_id, Provisioning.grant_id.in_(grant_ids))
    anew = {"next_at": now, "confirmed_at": None, "version": Provisioning.version + 1, "last_error": why, "since": now}
    db.session.execute(mine.values(**anew), execution_options={"synchronize_session": False})
    rows = [
        {"tenant_id": tenant_id, "site_id": site_id, "grant_id": one, "wanted": "off", "next_at": now, "since": now,
         "created_at": now, "last_error": why}
        for one in grant_ids
    ]  # fmt: skip
    bulk.insert(db.session.connection(), Provisioning, rows, unless="site_id, grant_id")
