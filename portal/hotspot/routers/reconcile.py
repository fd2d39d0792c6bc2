"""The reconciler: `spread` turns changed grants into what each router is to know, `bring_about` makes it so.

Decided: a row of `Provisioning` comes up when something has to be done for it: to be told, tried again, to begin or to
end with its pass. So the end of access is one more turn of the same row, found by the same index, and a router that
was away for a day is told what holds when it is back, not what would have been told meanwhile.
Decided: what is to be told is worked out from the grants when it is told, never kept: an order that is late or repeated
says what is true now. Its version is compared when the answer is written down, so that an answer to what was wanted
before changes nothing.
Decided: a row is taken by moving its turn on by a lease, not by holding a lock while a router answers: who is killed
between any two lines leaves a row that comes up again, and every order may be given twice.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import aliased

from portal.hotspot.models import (
    TO_BRING_ABOUT,
    TO_PROVISION,
    AccessGrant,
    AccessSession,
    PackageSite,
    Provisioning,
    Purchase,
    Site,
)
from portal.hotspot.pppoe.models import PppoeLine
from portal.hotspot.routers import circuit, passes
from portal.hotspot.routers.interface import (
    PUSH_LOGIN,
    TOLD,
    Adapter,
    Outcome,
    Wanted,
    adapter_of,
    failed,
    kinds_with,
)
from portal.hotspot.routers.models import RouterState
from portal.hotspot.routers.passes import Pass
from portal.kernel import bulk, clock, queue
from portal.kernel.db import assert_no_transaction, db, transaction
from portal.kernel.logs import logger
from portal.payments.processing import gateway_pool

SPREAD_AT_ONCE, TOLD_AT_ONCE, ROUTERS_AT_ONCE = 500, 100, 8
LEASE, SESSION_LASTS = timedelta(seconds=180), timedelta(seconds=120)
SIGN_IN_WITHIN = timedelta(minutes=3)  # of the money: later nobody waits for it
SIGN_IN_AGAIN = timedelta(seconds=5)
WALLED_AGAIN = timedelta(days=1)  # a line behind the wall is looked at again, though it may stay there for months
LIVE = "radius"  # asks by itself: only what runs has to be told of a change


# --- from grants to rows


def spread() -> None:
    """Write down, for every grant that changed, which routers have to know of it."""
    while not queue.is_leaving() and _spread_some():
        pass


def _spread_some() -> int:
    """One batch in one transaction, in a number of statements that does not depend on its size; how many grants."""
    with transaction():
        now = clock.now()
        due = select(AccessGrant.id, AccessGrant.leader_id, AccessGrant.tenant_id, AccessGrant.provision_at)
        due = due.where(TO_PROVISION.is_due).order_by(AccessGrant.provision_at).limit(SPREAD_AT_ONCE)
        changed = list(db.session.execute(due.with_for_update(skip_locked=True)))
        if not changed:
            return 0
        leaders = {row.leader_id or row.id for row in changed}
        since = min(row.provision_at for row in changed)
        sites = _told_sites({row.tenant_id for row in changed})
        if sites:
            _write_rows(passes.read(leaders), sites, now)
        _write_live(leaders, since, now)
        ids = [row.id for row in changed]
        settled = update(AccessGrant).where(AccessGrant.id.in_(ids), AccessGrant.provision_at <= now)
        db.session.execute(settled.values(provision_at=None), execution_options={"synchronize_session": False})
    queue.enqueue(queue.BRING_ABOUT)
    return len(changed)


def _told_sites(tenant_ids: Collection[int]) -> dict[int, list[Any]]:
    """{tenant: its sites whose router has to be told of each pass}: by kind, or because we sign devices in there."""
    sites = select(Site.id, Site.tenant_id, Site.kind, RouterState.id.label("state_id"), RouterState.try_at)
    sites = sites.outerjoin(RouterState, RouterState.site_id == Site.id)
    sites = sites.where(Site.tenant_id.in_(tenant_ids), Site.closed_at.is_(None))
    told = Site.kind.in_(kinds_with(TOLD)) | ((Site.kind == LIVE) & (Site.api_username != ""))
    found: dict[int, list[Any]] = {}
    missing = []
    for row in db.session.execute(sites.where(told)):
        found.setdefault(row.tenant_id, []).append(row)
        if row.state_id is None:
            missing.append(
                {"tenant_id": row.tenant_id, "site_id": row.id, "created_at": clock.now(), "sweep_at": clock.now()}
            )
    bulk.insert(db.session.connection(), RouterState, missing, unless="site_id")
    return found


def _write_rows(found: dict[int, Pass], sites: dict[int, list[Any]], now: datetime) -> None:
    """A row for each of these passes' grants and each site where it is valid; what was told has its turn anew."""
    grants = [(a_pass, one) for a_pass in found.values() for one in a_pass.grants]
    only_at: dict[int, set[int]] = {}
    bound = select(PackageSite.package_id, PackageSite.site_id)
    for row in db.session.execute(bound.where(PackageSite.package_id.in_({one.package_id for _pass, one in grants}))):
        only_at.setdefault(row.package_id, set()).add(row.site_id)
    ids = [one.id for _pass, one in grants]
    lines = dict(_line_sites(one.id for a_pass, one in grants if a_pass.is_line))
    told = select(
        Provisioning.id, Provisioning.site_id, Provisioning.grant_id, Provisioning.wanted, Provisioning.confirmed_at,
        Provisioning.next_at,
    )  # fmt: skip
    told = told.where(Provisioning.grant_id.in_(ids)).with_for_update()
    stand = {(row.site_id, row.grant_id): row for row in db.session.execute(told)}
    new: list[dict[str, Any]] = []
    anew: list[dict[str, Any]] = []
    for a_pass, one in grants:
        is_on, begins = a_pass.is_known(one.id, now), a_pass.to_come(one.id, now)
        for site in sites.get(one.tenant_id, ()):
            is_valid = one.package_id not in only_at or site.id in only_at[one.package_id]
            if a_pass.is_line:  # a router that asks RADIUS asks for its lines too
                is_valid = is_valid and site.kind != LIVE and lines.get(one.id) in (None, site.id)
            wanted = "on" if is_valid and (is_on or begins) else "off"
            there = stand.get((site.id, one.id))
            # one that is paused goes off the router first, if that may know it
            turn = max(now if begins is None or _may_be_known(there, now) else begins, site.try_at or now)
            if there is not None and there.wanted == wanted == "off" and there.confirmed_at is not None:
                continue
            if there is not None:
                anew.append({"id": there.id, "wanted": wanted, "next_at": turn, "since": now, "attempts": 0})
            elif wanted == "on":
                new.append(
                    {"tenant_id": one.tenant_id, "site_id": site.id, "grant_id": one.id, "wanted": wanted,
                     "next_at": turn, "since": now, "created_at": now}
                )  # fmt: skip
    connection = db.session.connection()
    bulk.insert(connection, Provisioning, new, unless="site_id, grant_id")
    bulk.update(connection, Provisioning, anew, also="version = provisionings.version + 1, confirmed_at = NULL")


def _line_sites(grant_ids: Iterable[int]) -> list[tuple[int, int | None]]:
    """(grant, the only site where this line dials in; None: at any)."""
    mine = select(PppoeLine.grant_id, PppoeLine.site_id).where(PppoeLine.grant_id.in_(list(grant_ids)))
    return [(row.grant_id, row.site_id) for row in db.session.execute(mine)]


def _may_be_known(row: Any, now: datetime) -> bool:
    """Whether a router has this row's user, or is just being told of it."""
    return row is not None and (row.confirmed_at is not None or (row.next_at or now) <= now + LEASE)


def _write_live(leader_ids: Collection[int], since: datetime, now: datetime) -> None:
    """At sites that ask by themselves only what was online before the change has to be told of it."""
    running = (
        select(AccessSession.site_id, AccessSession.grant_id, AccessSession.tenant_id, Provisioning.id)
        .join(Site, Site.id == AccessSession.site_id)
        .outerjoin(
            Provisioning,
            (Provisioning.site_id == AccessSession.site_id) & (Provisioning.grant_id == AccessSession.grant_id),
        )
        .where(AccessSession.grant_id.in_(leader_ids), AccessSession.stopped_at.is_(None))
        .where(Site.kind == LIVE, Site.closed_at.is_(None), AccessSession.started_at <= now)
        .distinct()
    )
    rows = list(db.session.execute(running))
    common = {"wanted": "on", "next_at": now, "since": now}
    new = [
        common | {"tenant_id": row.tenant_id, "site_id": row.site_id, "grant_id": row.grant_id, "created_at": now}
        for row in rows
        if row.id is None
    ]
    anew = [common | {"id": row.id, "attempts": 0} for row in rows if row.id is not None]
    connection = db.session.connection()
    bulk.insert(connection, Provisioning, new, unless="site_id, grant_id")
    bulk.update(connection, Provisioning, anew, also="version = provisionings.version + 1, confirmed_at = NULL")


# --- from rows to routers


@dataclass(frozen=True)
class Turn:
    """A row whose turn it is, with what holds for it now. is_on: whether its user name opens the internet now.

    begins_at: when it begins, or goes on after a day's cap. anew_at: when it is told again though nothing changes.
    """

    id: int
    version: int
    attempts: int
    since: datetime
    is_on: bool
    wanted: Wanted
    begins_at: datetime | None
    anew_at: datetime | None
    sign_in: tuple[str, str] | None  # (MAC, IP) of the device that waits to be signed in
    running: tuple[AccessSession, ...]


def bring_about() -> None:
    """Tell every router what it has to know and does not: each for itself, several at once."""
    errand = gateway_pool.Errand(_sites_due, tell, _put_off, lambda _site_id: 1)
    gateway_pool.run(errand, threads=ROUTERS_AT_ONCE, lasting=SESSION_LASTS)


def _sites_due(without: Collection[int]) -> list[tuple[int, int]]:
    due = select(Provisioning.site_id).where(TO_BRING_ABOUT.is_due)
    if without:
        due = due.where(Provisioning.site_id.not_in(without))
    first = due.group_by(Provisioning.site_id).order_by(func.min(Provisioning.next_at)).limit(2 * ROUTERS_AT_ONCE)
    return [(site_id, site_id) for site_id in db.session.scalars(first)]


def _put_off(site_id: int, error: Exception) -> None:
    """What we ourselves stumble over stops this router for a moment, and no other."""
    with transaction():
        circuit.did_not_answer(
            db.session.get_one(Site, site_id), failed("our_fault", f"{type(error).__name__}: {error}"), clock.now()
        )


def tell(site_id: int) -> None:
    """One conversation with one router: what is due there, in order; then what came of it is written down."""
    taken = _take(site_id)
    if taken is None:
        return
    site, turns = taken
    adapter = adapter_of(site)
    assert_no_transaction("Speaking to a router")
    outcomes = _speak(adapter, site, turns)
    _record(site, turns, outcomes)


def _take(site_id: int) -> tuple[Site, list[Turn]] | None:
    now = clock.now()
    with transaction():
        site = db.session.get(Site, site_id)
        due = select(Provisioning).where(TO_BRING_ABOUT.is_due, Provisioning.site_id == site_id)
        due = due.order_by(Provisioning.next_at).limit(TOLD_AT_ONCE).with_for_update(skip_locked=True)
        rows = list(db.session.scalars(due))
        if site is None or not rows:
            return None
        if site.closed_at is not None:
            for row in rows:
                row.next_at = None
            return None
        if not circuit.may_be_tried(site_id, now):
            state = circuit.of_site(site)
            for row in rows:
                row.next_at = state.try_at
            return None
        turns = _turns(site, rows, now)
        for row in rows:
            row.next_at = now + LEASE
        db.session.flush()
        db.session.expunge_all()  # as they are now: what speaks to the router reads nothing more
    db.session.remove()
    return site, turns


def _turns(site: Site, rows: Sequence[Provisioning], now: datetime) -> list[Turn]:
    known = passes.of_rows(rows)
    waiting = _waiting_devices(site, [row.grant_id for row in rows if row.signed_in_at is None], now)
    running = _running(site, {known[row.grant_id][0].leader_id for row in rows if row.grant_id in known})
    turns = []
    for row in rows:
        a_pass, grant = known[row.grant_id]
        is_whole = site.kind == LIVE and row.grant_id == a_pass.leader_id  # the row of all that runs of its pass
        is_on = row.wanted == "on" and (a_pass.is_on(now) if is_whole else a_pass.is_known(row.grant_id, now))
        if site.kind != LIVE and a_pass.is_used_up and not a_pass.is_line:
            is_on = False  # what one name of it used is counted for every other, on this router too
        anew_at = a_pass.told_anew_at(now) if site.kind != LIVE else None
        begins_at = a_pass.to_come(row.grant_id, now) if row.wanted == "on" else None
        if is_on and anew_at is not None and a_pass.is_used_up_today and not a_pass.is_line:
            is_on, begins_at = False, anew_at
        names = {one.username for one in a_pass.grants} if is_whole else {grant.username}
        turns.append(
            Turn(
                id=row.id,
                version=row.version,
                attempts=row.attempts,
                since=row.since,
                is_on=is_on,
                wanted=a_pass.wanted(grant, site_id=site.id, version=row.version, now=now),
                begins_at=begins_at,
                anew_at=anew_at,
                sign_in=waiting.get(row.grant_id) if is_on else None,
                running=tuple(one for one in running if one.username in names and one.started_at <= row.since)
                if is_on
                else tuple(one for one in running if one.username in names),
            )
        )
    return turns


def _running(site: Site, leader_ids: Iterable[int]) -> list[AccessSession]:
    running = select(AccessSession).where(AccessSession.site_id == site.id, AccessSession.stopped_at.is_(None))
    return list(db.session.scalars(running.where(AccessSession.grant_id.in_(sorted(leader_ids)))))


def _waiting_devices(site: Site, grant_ids: Sequence[int], now: datetime) -> dict[int, tuple[str, str]]:
    """{grant: (MAC, IP)} of the devices that paid here just now and wait for the internet."""
    later = aliased(Site)
    others = select(func.count()).select_from(later).where(later.tenant_id == site.tenant_id, later.closed_at.is_(None))
    is_only = (db.session.scalar(others) or 0) <= 1
    bought = select(AccessGrant.id, AccessGrant.mac, Purchase.client_ip, Purchase.nas_address, Purchase.nas_identity)
    bought = bought.join(Purchase, Purchase.id == AccessGrant.purchase_id)
    bought = bought.where(AccessGrant.id.in_(grant_ids), AccessGrant.mac != "")
    fresh = bought.where(AccessGrant.created_at > now - SIGN_IN_WITHIN)
    here = {site.address, site.identity, site.name} - {""}
    return {
        row.id: (row.mac, row.client_ip)
        for row in db.session.execute(fresh)
        if is_only or row.nas_address in here or row.nas_identity in here
    }


def _speak(adapter: Adapter, site: Site, turns: Sequence[Turn]) -> dict[int, Outcome]:
    """{row: what came of it}. After the router itself fails, nothing more is asked of it."""
    outcomes: dict[int, Outcome] = {}
    for are_on, order in ((False, adapter.revoke_grants), (True, adapter.ensure_grants)):
        some = [turn for turn in turns if turn.is_on == are_on]
        if not some:
            continue
        told = _guarded(lambda order=order, some=some: order(site, [turn.wanted for turn in some]), len(some))
        for turn, outcome in zip(some, told, strict=True):
            outcomes[turn.id] = outcome
        if any(outcome.is_about_router for outcome in told):
            return outcomes
    for turn in turns:
        if turn.running and turn.id in outcomes and outcomes[turn.id].is_done:
            outcomes[turn.id] = _live(adapter, site, turn, outcomes[turn.id])
            if outcomes[turn.id].is_about_router:
                return outcomes
    return outcomes


def _guarded(order: Any, count: int) -> list[Outcome]:
    """An adapter raises nothing; should one, its rows are tried again like any other."""
    try:
        told: list[Outcome] = order()
        return told
    except Exception as error:
        logger.error("adapter_raised", error=repr(error)[:300])
        return [failed("our_fault", f"{type(error).__name__}: {error}")] * count


def _live(adapter: Adapter, site: Site, turn: Turn, outcome: Outcome) -> Outcome:
    """What is online under this name is told too: ended where it is over, changed where its limits changed."""
    for session in turn.running:
        is_elsewhere = turn.wanted.devices == 1 and turn.wanted.mac and session.mac not in ("", turn.wanted.mac)
        if session.is_walled and not turn.is_on:
            continue  # a line whose time is over dialled in already, to where it pays; out of there it has to dial anew
        if not turn.is_on or is_elsewhere or session.is_walled:
            came = _guarded(lambda session=session: [adapter.kick(site, session)], 1)[0]
        elif site.kind == LIVE or outcome.code == "limits_changed":
            came = _guarded(lambda session=session: [adapter.change_live(site, session, turn.wanted)], 1)[0]
        else:
            continue
        if not came.is_done:
            return came
    return outcome


def _sign_in(adapter: Adapter, site: Site, turn: Turn) -> Outcome:
    mac, ip = turn.sign_in or ("", "")
    return _guarded(lambda: [adapter.push_login(site, turn.wanted, mac=mac, ip=ip)], 1)[0]


def _record(site: Site, turns: Sequence[Turn], outcomes: dict[int, Outcome]) -> None:
    """Sign in who waits, then write down what came of all of it; an answer to an older version changes nothing."""
    adapter = adapter_of(site)
    signed: dict[int, Outcome] = {}
    about_router = next((one for one in outcomes.values() if one.is_about_router), None)
    if about_router is None and PUSH_LOGIN in adapter.capabilities:
        for turn in turns:
            if turn.sign_in and turn.id in outcomes and outcomes[turn.id].is_done:
                signed[turn.id] = _sign_in(adapter, site, turn)
    with transaction():
        now = clock.now()
        for turn in sorted(turns, key=lambda one: one.id):
            values = _result(turn, outcomes.get(turn.id), signed.get(turn.id), now)
            _write(turn, values, now)
        if about_router is not None:
            circuit.did_not_answer(site, about_router, now)
        elif outcomes:
            circuit.answered(site, now)


def _write(turn: Turn, values: dict[str, Any], now: datetime) -> None:
    mine = update(Provisioning).where(Provisioning.id == turn.id)
    answered: CursorResult[Any] = db.session.execute(  # type: ignore[assignment]
        mine.where(Provisioning.version == turn.version).values(**values),
        execution_options={"synchronize_session": False},
    )
    if answered.rowcount == 0:  # what is wanted changed meanwhile, and this may have overtaken who told the newer
        again = mine.values(next_at=now, confirmed_at=None)
        db.session.execute(again, execution_options={"synchronize_session": False})


def _result(turn: Turn, outcome: Outcome | None, signed: Outcome | None, now: datetime) -> dict[str, Any]:
    """What a row says after its turn."""
    if outcome is None:  # the router failed before this row's turn came
        return {"next_at": now}
    if not outcome.is_done:
        tries = turn.attempts + 1
        if tries == len(circuit.PAUSES_S):
            logger.error("grant_not_provisioned", row=turn.id, why=outcome.text[:200])
        return {
            "attempts": tries,
            "next_at": now + circuit.pause(tries),
            "last_error": outcome.text,
            "confirmed_at": None,
        }
    if turn.begins_at is not None:
        return {"attempts": 0, "last_error": "", "next_at": turn.begins_at}
    ends = now + WALLED_AGAIN if turn.wanted.is_walled else turn.wanted.expires_at
    values: dict[str, Any] = {
        "attempts": 0, "last_error": "", "confirmed_at": now,
        "wanted": "on" if turn.is_on else "off",
        "next_at": min(ends, turn.anew_at or ends) if turn.is_on else None,
    }  # fmt: skip
    if signed is not None and signed.is_done:
        values["signed_in_at"] = now
    elif signed is not None and signed.is_retryable and turn.since > now - SIGN_IN_WITHIN:
        values["next_at"] = min(now + SIGN_IN_AGAIN, turn.wanted.expires_at)
    return values
