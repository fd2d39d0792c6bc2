"""Where bought time goes on a device: at once, at the end of the pass that it extends, or behind what runs there.

Decided: the same package bought again by the same number for the same device extends: its end moves on and its caps are
added, and what waits behind makes room. Another package waits until what runs is over; or, where its payer chose so,
begins at once, and what runs of the same payer's goes on after it with all that was left: a pause, second for second.
A data add-on adds data to the pass that runs and moves no end.
Decided: only the number that owns a pass extends, pauses or adds to it, and a number owns what its money paid; one that
was only typed (another phone paid, or a message tells of money that names nobody) counts in the same browser alone. A
MAC address is no secret: who buys for a neighbour's gets time of their own behind it.
Decided: a pass whose data or online time is used up holds up nothing: what is bought then begins at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select

from portal.hotspot.models import AccessGrant, AccessSession, Package, Purchase
from portal.kernel import clock
from portal.kernel.db import db
from portal.payments.models import Allocation, Push, Transaction
from portal.payments.stk.push_states import State

OPENS, EXTENDS, ADDS, QUEUES, SWITCHES = "opens", "extends", "adds", "queues", "switches"
MOST_ON_A_DEVICE = 200


@dataclass(frozen=True)
class Bid:
    """What is to be placed, on which device. owner_hash: of the number whose pass it becomes.

    switches_now: it begins at once, and what runs of the same number's goes on after it. is_gift: its device is the one
    on which that number has this package open; none, where that has not been used yet. is_typed: the number was typed,
    and nothing shows that it paid.
    """

    tenant_id: int
    package: Package
    mac: str = ""
    browser_hash: str = ""
    owner_hash: str | None = None
    switches_now: bool = False
    is_gift: bool = False
    is_typed: bool = False


@dataclass(frozen=True)
class Place:
    """Where it goes. how: opens, extends, adds, queues or switches. leader_id: of the pass that it joins, if it does.

    gives_way: {grant id: how much later it begins and ends}; what has begun is paused. runs_until: what is there now.
    """

    how: str
    starts_at: datetime
    expires_at: datetime
    leader_id: int | None = None
    mac: str = ""
    gives_way: dict[int, timedelta] = field(default_factory=dict)
    runs_until: datetime | None = None


def place(bid: Bid, *, now: datetime | None = None, lasts: timedelta | None = None) -> Place:
    """Where this goes. Nothing is written: the page that offers it says the same as who grants it.

    lasts: what is left of it, where it is opened again; its package's whole time otherwise.
    """
    now = now or clock.now()
    lasts = timedelta(seconds=bid.package.lifetime_s) if lasts is None else lasts
    here = open_on(bid.tenant_id, mac=bid.mac, browser_hash=bid.browser_hash)
    if bid.is_gift and not bid.mac and (unused := open_of_owner(bid.tenant_id, bid.owner_hash or "", bid.package.id)):
        here = [unused]
    own = _own(here, bid)
    until = max((one.expires_at for one in here), default=None)
    if bid.package.is_addon and (running := _with_cap(own)):
        return _added(running, own, now)
    if same := [one for one in own if one.package_id == bid.package.id]:
        return _behind_pass(same[-1], here, lasts, now)
    if bid.switches_now and own:
        return Place(SWITCHES, now, now + lasts, None, bid.mac, _waits_for_switch(own, here, lasts, now), until)
    used_up = used_up_passes([one for one in here if one.starts_at <= now])
    begins = max([now, *(one.expires_at for one in here if one.leader_id not in used_up)])
    return Place(QUEUES if begins > now else OPENS, begins, begins + lasts, None, bid.mac, runs_until=until)


def _own(here: Sequence[AccessGrant], bid: Bid) -> list[AccessGrant]:
    """Of these what belongs to whose this becomes: to the number that paid for both, or to the same browser."""
    named = [one for one in here if bid.owner_hash and one.phone_hash == bid.owner_hash]
    if not named:
        return []
    bought = select(AccessGrant.id).join(Purchase, Purchase.id == AccessGrant.purchase_id)
    bought = bought.where(AccessGrant.id.in_([one.id for one in named]), AccessGrant.origin == "purchase")
    typed = set(db.session.scalars(bought.where(~_has_paid(Purchase.payment_id, AccessGrant.phone_hash))))
    return [
        one
        for one in named
        if (one.id not in typed and not bid.is_typed)
        or (bid.browser_hash and one.purchase and one.purchase.browser_hash == bid.browser_hash)
    ]


def _has_paid(payment_id: Any, phone_hash: Any) -> ColumnElement[bool]:
    """Whether this number paid this payment, as M-Pesa tells: whose money it was, or whose prompt was answered."""
    money = exists().where(
        Allocation.payment_id == payment_id, Allocation.taken_back_at.is_(None),
        Transaction.id == Allocation.transaction_id, Transaction.phone_hash == phone_hash,
    )  # fmt: skip
    answered = exists().where(
        Push.payment_id == payment_id, Push.state == State.SUCCEEDED, Push.phone_hash == phone_hash
    )
    return or_(money, answered)


def payers_of(payment_id: int) -> list[str]:
    """The numbers whose money paid this payment, as far as M-Pesa tells; the first one first."""
    money = (
        select(Transaction.phone_hash)
        .join(Allocation, Allocation.transaction_id == Transaction.id)
        .where(Allocation.payment_id == payment_id, Allocation.taken_back_at.is_(None))
        .where(Transaction.phone_hash.is_not(None))
    )
    answered = select(Push.phone_hash).where(Push.payment_id == payment_id, Push.state == State.SUCCEEDED)
    found = [*db.session.scalars(money.order_by(Allocation.id)), *db.session.scalars(answered.order_by(Push.id))]
    return [one for one in found if one is not None]


def place_again(opened: AccessGrant, *, left: timedelta, now: datetime) -> Place:
    """Where access that was closed goes, with the time that it has left: to its pass, or behind what runs."""
    browser = opened.purchase.browser_hash if opened.purchase else ""
    here = [one for one in open_on(opened.tenant_id, mac=opened.mac, browser_hash=browser) if one.id != opened.id]
    mates = [one for one in here if one.leader_id == opened.leader_id]
    if opened.package.is_addon and (sold := [one for one in mates if not one.package.is_addon]):
        return _added(sold[0], mates, now)
    if mates:
        return _behind_pass(mates[-1], here, left, now)
    begins = max([now, *(one.expires_at for one in here)])
    return Place(QUEUES if begins > now else OPENS, begins, begins + left, opened.leader_id, opened.mac)


def _added(to: AccessGrant, own: Sequence[AccessGrant], now: datetime) -> Place:
    """In the pass of `to`, as long as that is: one that waits is not begun by what is added to it."""
    mates = [one for one in own if one.leader_id == to.leader_id]
    begins, ends = max(now, min(one.starts_at for one in mates)), max(one.expires_at for one in mates)
    return Place(ADDS, begins, ends, to.leader_id, to.mac, runs_until=ends)


def _behind_pass(last: AccessGrant, here: Sequence[AccessGrant], lasts: timedelta, now: datetime) -> Place:
    """At the end of the pass of `last`, where what waits behind it makes room."""
    begins = max(one.expires_at for one in here if one.leader_id == last.leader_id)
    waits = {one.id: lasts for one in _waiting_passes(here, behind=begins, now=now)}
    return Place(EXTENDS, begins, begins + lasts, last.leader_id, last.mac, waits, begins)


def _waits_for_switch(
    own: Sequence[AccessGrant], here: Sequence[AccessGrant], lasts: timedelta, now: datetime
) -> dict[int, timedelta]:
    """How much later each begins: what is paused, and as much later all that waits behind it, strangers' too.

    Where nothing of the payer's own has begun, nothing is paused: what waits makes room only as far as it must.
    """
    has_begun = any(one.starts_at <= now for one in own)
    moved = {one.id: one for one in [*_waiting_passes(here, behind=now, now=now), *own]}
    first = min((one.starts_at for one in moved.values()), default=now)
    longer = lasts if has_begun else max(timedelta(), now + lasts - first)
    return dict.fromkeys(moved, longer) if longer else {}


def _waiting_passes(grants: Sequence[AccessGrant], *, behind: datetime, now: datetime) -> list[AccessGrant]:
    """Of these the passes, each whole, that have not begun and go on behind this instant.

    Whole: a part that waits longer than the part before it would leave a gap in what was paid for.
    """
    begun = {one.leader_id for one in grants if one.starts_at <= now}
    later = {one.leader_id for one in grants if one.starts_at >= behind} - begun
    return [one for one in grants if one.leader_id in later]


def _with_cap(own: Sequence[AccessGrant]) -> AccessGrant | None:
    """The pass whose data an add-on adds to: what runs, else what waits first."""
    capped = [one for one in own if one.package.data_cap_bytes is not None]
    return capped[0] if capped else None


def open_on(tenant_id: int, *, mac: str = "", browser_hash: str = "") -> list[AccessGrant]:
    """What has time left on this device, in the order in which it is used: by its MAC address, else by its browser."""
    found = select(AccessGrant).where(AccessGrant.tenant_id == tenant_id)
    if mac:
        found = found.where(AccessGrant.mac == mac)
    elif browser_hash:
        found = found.join(Purchase).where(Purchase.tenant_id == tenant_id, Purchase.browser_hash == browser_hash)
        found = found.where(AccessGrant.origin != "gift")  # which is on another device
    else:
        return []
    running = found.where(AccessGrant.ended_at.is_(None), AccessGrant.expires_at > clock.now())
    in_order = running.order_by(AccessGrant.starts_at, AccessGrant.id).limit(MOST_ON_A_DEVICE)
    return list(db.session.scalars(in_order.execution_options(populate_existing=True)))


def open_of_owner(tenant_id: int, owner_hash: str, package_id: int) -> AccessGrant | None:
    """The pass of this package that this number has open, the last of several."""
    found = (
        select(AccessGrant)
        .where(AccessGrant.tenant_id == tenant_id, AccessGrant.phone_hash == owner_hash)
        .where(AccessGrant.package_id == package_id, AccessGrant.ended_at.is_(None))
        .where(AccessGrant.expires_at > clock.now())
    )
    last = found.order_by(AccessGrant.expires_at.desc(), AccessGrant.id.desc()).limit(1)
    return db.session.scalars(last.execution_options(populate_existing=True)).one_or_none()


def used_up_passes(grants: Sequence[AccessGrant]) -> set[int | None]:
    """Of the passes of these grants, by their leaders, those that are over because data or online time is used up."""
    metered = {
        one.leader_id
        for one in grants
        if one.leader_id and (one.package.online_s or (one.package.data_cap_bytes and one.package.at_cap == "stop"))
    }
    if not metered:
        return set()
    sold = (
        select(AccessGrant.leader_id, func.sum(Package.data_cap_bytes), func.sum(Package.online_s))
        .join(Package)
        .where(AccessGrant.leader_id.in_(metered), AccessGrant.ended_at.is_(None))
        .group_by(AccessGrant.leader_id)
    )
    octets, seconds = func.sum(AccessSession.bytes_in + AccessSession.bytes_out), func.sum(AccessSession.online_s)
    used = select(AccessSession.grant_id, octets, seconds).where(AccessSession.grant_id.in_(metered))
    had = {row[0]: (row[1] or 0, row[2] or 0) for row in db.session.execute(used.group_by(AccessSession.grant_id))}
    stops = {one.leader_id for one in grants if one.package.at_cap == "stop"}
    over = set[int | None]()
    for leader_id, cap, online_s in db.session.execute(sold):
        used_bytes, used_s = had.get(leader_id, (0, 0))
        if (cap is not None and leader_id in stops and used_bytes >= cap) or (online_s and used_s >= online_s):
            over.add(leader_id)
    return over
