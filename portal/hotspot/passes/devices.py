"""The devices of a pass: taking a place, adding one that has no browser, removing one, ending its stay."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.hotspot import access
from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.passes import standing
from portal.hotspot.passes.models import PassDevice
from portal.hotspot.purchases import normalise_mac
from portal.hotspot.routers import adapter_of, circuit
from portal.hotspot.routers.interface import BY_MAC, POLLED, PUSH_LOGIN, TOLD, Adapter, Outcome
from portal.hotspot.routers.models import GatewayClient
from portal.hotspot.routers.passes import read as read_passes
from portal.kernel import clock
from portal.kernel.db import db, new_uid, transaction
from portal.kernel.errors import Conflict, CoolDown, Refused
from portal.kernel.errors import Sentence as _
from portal.outbox import write
from portal.outbox.carriers import CannotCarry, Carried

MOST_MOVES, MOVES_COUNTED_FOR = 3, timedelta(days=1)
SEEN_WITHIN = timedelta(minutes=30)
MOST_SEEN = 20
LONGEST_NAME = 40
KICK_WITHIN = timedelta(hours=1)  # later its router has closed it by itself


@dataclass(frozen=True)
class Bound:
    """A device that has a place in a pass. name: what its owner calls it, perhaps empty."""

    mac: str
    name: str
    since: datetime


def of_pass(grant: AccessGrant) -> list[Bound]:
    """The devices that have a place in this grant's pass, the longest there first."""
    rows = _placed(standing.leader_of(grant))
    bound = [Bound(one.mac, one.name, one.created_at) for one in rows if one.mac]
    if grant.mac and grant.mac not in {one.mac for one in bound}:
        bound.insert(0, Bound(grant.mac, "", grant.created_at))
    return bound


def _placed(leader_id: int) -> Sequence[PassDevice]:
    mine = select(PassDevice).where(PassDevice.leader_id == leader_id, PassDevice.removed_at.is_(None))
    return db.session.scalars(mine.order_by(PassDevice.created_at, PassDevice.id)).all()


def take_place(grant: AccessGrant, mac: str, *, browser_hash: str = "") -> bool:
    """This device uses the pass from now on, since its holder showed number or code; True where it is new there.

    Where every place is taken it takes that of the longest there, which is dropped. Without a MAC address only the
    browser is remembered. The caller commits, then enqueues OUTBOX. Raises CoolDown after MOST_MOVES in a day.
    """
    leader_id = _lock(grant)
    bound = of_pass(grant)
    if not mac or mac in {one.mac for one in bound}:
        _remember_browser(grant, leader_id, mac, browser_hash)
        return False
    is_full = len(bound) >= grant.package.devices
    is_moved = is_full or _takes_what_was_left(grant, leader_id, len(bound), mac)
    if is_moved:
        _refuse_wandering(leader_id)
    if is_full:
        _drop(grant, leader_id, bound[0].mac)
    _place(grant, leader_id, mac, how="moved" if is_moved else "code", browser_hash=browser_hash)
    if not grant.mac or (is_full and bound[0].mac == grant.mac):
        access.move(grant, mac, actor="customer")
    _changed(grant, "device_moved" if is_full else "device_added")
    return True


def may_be_added(site: Site | None) -> bool:
    """Whether a device without a browser can be let in at this site: its router asks who may, or is told by its API."""
    return site is None or bool({POLLED, BY_MAC} & adapter_of(site).capabilities) or _is_told(site)


def _is_told(site: Site) -> bool:
    able = adapter_of(site).capabilities
    return PUSH_LOGIN in able and POLLED not in able and bool(site.api_username)


def add(grant: AccessGrant, mac: str, *, name: str, site: Site | None = None) -> None:
    """A place for a device without a browser, which is signed in at its site. The caller commits, then enqueues OUTBOX.

    Raises Refused: no MAC address, no place free, or CoolDown as `take_place` does.
    """
    mac = normalise_mac(mac)
    if not mac:
        raise Refused(_("This is no device address. It looks like A4:83:E7:12:34:56."), code="bad_mac")
    leader_id = _lock(grant)
    bound = of_pass(grant)
    if mac in {one.mac for one in bound}:
        raise Conflict(_("This device is there already."), code="already_there")
    if len(bound) >= grant.package.devices:
        raise Conflict(
            _("Your package is for %(number)s devices. Remove one first.", number=grant.package.devices),
            code="devices_full",
        )
    is_moved = _takes_what_was_left(grant, leader_id, len(bound), mac)
    if is_moved:
        _refuse_wandering(leader_id)
    _place(grant, leader_id, mac, how="moved" if is_moved else "added", name=_clean(name))
    _changed(grant, "device_added")
    if site is not None and _is_told(site):
        write.put(
            grant.tenant_id, "sign_in", f"sign_in/{new_uid()}", {"grant": grant.id, "site": site.id, "mac": mac},
            expires_at=clock.now() + KICK_WITHIN,
        )  # fmt: skip


def let_in(grant: AccessGrant, mac: str, *, site: Site | None) -> bool:
    """Have the router sign this device in, where it is told who may pass and asks nobody; False elsewhere.

    Once a minute for a device. The caller commits, then enqueues OUTBOX.
    """
    if site is None or TOLD not in adapter_of(site).capabilities or not _is_told(site):
        return False
    now = clock.now()
    write.put(
        grant.tenant_id, "sign_in", f"sign_in/{grant.id}/{mac}/{now:%Y%m%d%H%M}",
        {"grant": grant.id, "site": site.id, "mac": mac}, expires_at=now + access.SIGN_IN_FOR,
    )  # fmt: skip
    return True


def remove(grant: AccessGrant, mac: str) -> None:
    """Give the device's place back. The caller commits. What it was never there is no error."""
    leader_id = _lock(grant)
    others = [one.mac for one in of_pass(grant) if one.mac != mac]
    _drop(grant, leader_id, mac)
    if grant.mac == mac:
        access.move(grant, others[0] if others else "", actor="customer")
    _changed(grant, "device_removed")


def _clean(name: str) -> str:
    """A name as it may be shown: one line, without control characters."""
    return re.sub(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]+", " ", name).strip()[:LONGEST_NAME]


def _lock(grant: AccessGrant) -> int:
    """Who changes a pass's devices does so alone."""
    leader_id = standing.leader_of(grant)
    db.session.execute(select(AccessGrant.id).where(AccessGrant.id == leader_id).with_for_update())
    db.session.refresh(grant)
    return leader_id


def _takes_what_was_left(grant: AccessGrant, leader_id: int, taken: int, mac: str) -> bool:
    """Whether the place that is free was another device's today: to remove one and add the next is a move too."""
    left = select(func.count(PassDevice.mac.distinct())).where(
        PassDevice.leader_id == leader_id, PassDevice.mac.not_in(("", mac)),
        PassDevice.removed_at > clock.now() - MOVES_COUNTED_FOR,
    )  # fmt: skip
    return taken + (db.session.scalar(left) or 0) >= grant.package.devices


def _refuse_wandering(leader_id: int) -> None:
    since = clock.now() - MOVES_COUNTED_FOR
    moves = select(func.count(), func.min(PassDevice.created_at)).where(
        PassDevice.leader_id == leader_id, PassDevice.how == "moved", PassDevice.created_at > since
    )
    number, first = db.session.execute(moves).one()
    if number >= MOST_MOVES:
        wait = (first + MOVES_COUNTED_FOR) - clock.now()
        raise CoolDown(
            _("This pass has moved to another device three times today. Try again tomorrow, or ask the staff."),
            retry_after_s=max(1, int(wait.total_seconds())),
            code="moved_too_often",
        )


def _place(grant: AccessGrant, leader_id: int, mac: str, *, how: str, name: str = "", browser_hash: str = "") -> None:
    db.session.add(
        PassDevice(
            tenant_id=grant.tenant_id, leader_id=leader_id, mac=mac, how=how, name=name, browser_hash=browser_hash
        )
    )
    db.session.flush()
    access.has_place(grant, mac)


def _remember_browser(grant: AccessGrant, leader_id: int, mac: str, browser_hash: str) -> None:
    """A browser that showed number or code comes back by its cookie."""
    if not browser_hash or standing.is_of_browser(grant, browser_hash):
        return
    mine = update(PassDevice).where(
        PassDevice.leader_id == leader_id, PassDevice.mac == mac, PassDevice.removed_at.is_(None)
    )
    found = db.session.execute(mine.values(browser_hash=browser_hash).returning(PassDevice.id)).first()
    if found is None:
        _place(grant, leader_id, mac, how="code", browser_hash=browser_hash)


def _drop(grant: AccessGrant, leader_id: int, mac: str) -> None:
    """Its place is free, and its browser is a stranger's."""
    now = clock.now()
    gone = update(PassDevice).where(PassDevice.leader_id == leader_id, PassDevice.mac == mac)
    db.session.execute(gone.where(PassDevice.removed_at.is_(None)).values(removed_at=now))
    access.give_up_place(grant, mac)
    sign_out(leader_id, mac=mac)


def _changed(grant: AccessGrant, what: str) -> None:
    """Routers are told, and the books remember."""
    access.changed([grant.id])
    chain.record(grant.tenant_id, "access", standing.leader_of(grant), what, actor="customer")


def sign_out(leader_id: int, *, mac: str) -> int:
    """End the stays of one device of a pass; how many there are. The caller commits, then enqueues OUTBOX."""
    stays = stays_of(leader_id, mac=mac) if mac else []
    for one in stays:
        expires_at = clock.now() + KICK_WITHIN
        write.put(one.tenant_id, "kick", f"kick/{one.id}", {"session": one.id}, expires_at=expires_at)
    return len(stays)


def carry_kick(_config: object, _key: str, payload: dict[str, int]) -> Carried:
    """End one stay at its router. Raises CannotCarry where the router did not; a stay that is over is done."""
    stay = db.session.get(AccessSession, payload["session"])
    if stay is None or stay.stopped_at is not None:
        return Carried("")
    site = db.session.get_one(Site, stay.site_id)
    return _ordered(site, lambda adapter: adapter.kick(site, stay))


def carry_sign_in(_config: object, _key: str, payload: dict[str, Any]) -> Carried:
    """Sign a device in at its router, which cannot do it by itself. Raises CannotCarry where the router did not."""
    grant, site = db.session.get_one(AccessGrant, payload["grant"]), db.session.get_one(Site, payload["site"])
    a_pass = read_passes([standing.leader_of(grant)])[standing.leader_of(grant)]
    row = next((one for one in a_pass.alive if one.id == grant.id), None)
    if row is None or payload["mac"] not in {one.mac for one in of_pass(grant)}:
        return Carried("")
    wanted = a_pass.wanted(row, site_id=site.id, version=1)
    return _ordered(site, lambda adapter: adapter.push_login(site, wanted, mac=payload["mac"], ip=""))


def _ordered(site: Site, order: Callable[[Adapter], Outcome]) -> Carried:
    """The router took the order. One that does not answer holds up nobody's messages: its circuit's pause is kept."""
    if not circuit.may_be_tried(site.id, clock.now()):
        raise CannotCarry("The router does not answer; it is tried again later.", is_permanent=False)
    db.session.expunge_all()
    db.session.remove()  # nothing is held while we wait on a router
    adapter = adapter_of(site)
    outcome = order(adapter)
    if outcome.is_about_router:
        with transaction():
            circuit.did_not_answer(site, outcome, clock.now())
    elif outcome.is_done and POLLED not in adapter.capabilities:
        with transaction():
            circuit.answered(site, clock.now())
    if not outcome.is_done:
        raise CannotCarry(outcome.text or outcome.code, is_permanent=not outcome.is_retryable)
    return Carried("")


def seen_at(site: Site | None, *, but: Sequence[str] = ()) -> list[str]:
    """MAC addresses of devices that are at this site now and use nobody's pass. but: those that are known already."""
    if site is None:
        return []
    since = clock.now() - SEEN_WITHIN
    waiting = select(GatewayClient.mac).where(GatewayClient.site_id == site.id, GatewayClient.seen_at > since)
    online = select(AccessSession.mac).where(
        AccessSession.site_id == site.id, AccessSession.stopped_at.is_(None), AccessSession.grant_id.is_(None)
    )
    found = {mac for one in (waiting, online) for mac in db.session.scalars(one.limit(200)) if mac}
    return sorted(found - set(but))[:MOST_SEEN]


def stays_of(leader_id: int, *, mac: str = "") -> list[AccessSession]:
    """The stays of a pass that are going on, of one device where it is named."""
    mine = select(AccessSession).where(AccessSession.grant_id == leader_id, AccessSession.stopped_at.is_(None))
    if mac:
        mine = mine.where(AccessSession.mac == mac)
    return list(db.session.scalars(mine.order_by(AccessSession.started_at)))
