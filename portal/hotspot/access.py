"""Opening the internet: one grant a purchase, however often it is asked for; time bought while online is added.

Decided: a second package begins when what runs on the same device is over, instead of running beside it: nobody loses
time, and each package keeps its own speed and devices. What ends early gives its place to what waits behind it.
Decided: a pass whose first grant was ended keeps that one as its leader: sessions and caps are counted by it.
Decided: the user name is the receipt, which the payer's own message carries and others may see; the password is random.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update

from portal.audit import chain
from portal.hotspot import places, turns
from portal.hotspot.models import AccessGrant, DeviceHold, DeviceSignIn, Purchase
from portal.hotspot.places import Bid, Place
from portal.kernel import clock
from portal.kernel.db import db, upsert_nothing

_CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
PASSWORD_LENGTH = 8
SIGN_IN_FOR = timedelta(seconds=60)
_NO_LIMIT = 32_767


def _random(letters: str, length: int) -> str:
    number, written = secrets.randbelow(len(letters) ** length), ""
    for _n in range(length):
        number, at = divmod(number, len(letters))
        written += letters[at]
    return written


def new_name() -> str:
    """A user name where the receipt cannot be it."""
    return "M" + _random(_CODE_LETTERS, 9)


def new_password() -> str:
    """A random password, in letters and digits that nobody mistakes for others."""
    return _random(_PASSWORD_LETTERS, PASSWORD_LENGTH)


def grant(purchase: Purchase, *, receipt: str | None) -> AccessGrant:
    """The access this purchase bought; made now, or found again. The caller commits.

    receipt: the user name, as the payer's own M-Pesa message carries it. Unknown yet, the name is random and never
    changes. The clock starts now, not at the click; where on the device, says `places`.
    """
    now = clock.now()
    bid = bid_of(purchase)
    bid = _take_turn_for_gift(bid) if bid.is_gift else _take_turn(bid)
    opened = _of_purchase(purchase)
    if opened is not None:
        if opened.ended_at is not None:
            _open_again(opened, now)
        return opened
    place = places.place(bid, now=now)
    is_gift = purchase.gift_phone_hash is not None
    insert = upsert_nothing(
        AccessGrant,
        unique=["purchase_id"],
        purchase_id=purchase.id,
        origin="gift" if is_gift else "purchase",
        username=new_name() if is_gift or not receipt else receipt,  # whom it was given does not hold the payer's
        **_placed(bid, place, now),
    ).returning(AccessGrant.id)
    is_new = db.session.execute(insert).scalar() is not None
    opened = db.session.query(AccessGrant).filter_by(purchase_id=purchase.id).one()
    if is_new:
        opened.leader_id = opened.leader_id or opened.id
        _give_way(place, now)
        chain.record(purchase.tenant_id, "payment", purchase.payment_id, "access_opened", actor="fulfilment")
    return opened


def issue(bid: Bid, *, origin: str, actor: str, username: str = "", password: str = "", **more: Any) -> AccessGrant:
    """Access that no payment of its own bought: of a voucher, a trial, or by staff. The caller commits.

    more: further columns, such as voucher_id. username, password: random where none is given.
    """
    now = clock.now()
    place = places.place(_take_turn(bid), now=now)
    columns = _placed(bid, place, now) | ({"password": password} if password else {}) | more
    opened = AccessGrant(origin=origin, username=username or new_name(), **columns)
    db.session.add(opened)
    db.session.flush()
    opened.leader_id = opened.leader_id or opened.id
    _give_way(place, now)
    chain.record(bid.tenant_id, "access", opened.id, "access_opened", actor=actor, new=origin)
    db.session.flush()
    return opened


def bid_of(purchase: Purchase) -> Bid:
    """What this purchase wants placed: on its payer's device, or for the number that it is given to."""
    tenant_id, package = purchase.tenant_id, purchase.package
    if purchase.gift_phone_hash:
        return Bid(tenant_id, package, owner_hash=purchase.gift_phone_hash, is_gift=True)
    typed, payers = purchase.payment.phone_hash, places.payers_of(purchase.payment_id)
    return Bid(
        tenant_id,
        package,
        mac=purchase.mac,
        browser_hash=purchase.browser_hash,
        owner_hash=typed if typed in payers or not payers else payers[0],
        switches_now=purchase.switches_now,
        is_typed=not payers,
    )


def _placed(bid: Bid, place: Place, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": bid.tenant_id,
        "package_id": bid.package.id,
        "leader_id": place.leader_id,
        "phone_hash": bid.owner_hash,
        "mac": place.mac,
        "password": new_password(),
        "starts_at": place.starts_at,
        "expires_at": place.expires_at,
        "is_waiting": place.starts_at > now,
        "provision_at": now,
    }


def _of_purchase(purchase: Purchase) -> AccessGrant | None:
    found = select(AccessGrant).where(AccessGrant.purchase_id == purchase.id)
    return db.session.scalars(found.execution_options(populate_existing=True)).one_or_none()


def _take_turn(bid: Bid) -> Bid:
    turns.take(turns.names(bid.tenant_id, mac=bid.mac, browser_hash=bid.browser_hash))
    return bid


def _take_turn_for_gift(bid: Bid) -> Bid:
    """A gift goes to the device on which its number has this package open, if there is one: its turn is taken."""
    turns.take(turns.names(bid.tenant_id, owner_hash=bid.owner_hash or ""))
    while True:
        known = places.open_of_owner(bid.tenant_id, bid.owner_hash or "", bid.package.id)
        mac = known.mac if known else ""
        if mac == bid.mac:
            return bid
        bid = _take_turn(replace(bid, mac=mac))


def _turns_of(opened: AccessGrant) -> list[str]:
    browser = opened.purchase.browser_hash if opened.purchase and opened.origin != "gift" else ""
    return turns.names(opened.tenant_id, mac=opened.mac, browser_hash=browser)


def take_turn_with(opened: AccessGrant) -> None:
    """Take the turn of the device that it is used on, which may have changed meanwhile."""
    while True:
        mac = opened.mac
        turns.take(_turns_of(opened))
        db.session.refresh(opened)
        if opened.mac == mac:
            return


def _give_way(place: Place, now: datetime) -> None:
    """What was there makes room: what has begun is paused, what waits waits longer. No end comes nearer."""
    if not place.gives_way:
        return
    for one in db.session.scalars(select(AccessGrant).where(AccessGrant.id.in_(place.gives_way))):
        longer = place.gives_way[one.id]
        one.starts_at = max(one.starts_at, now) + longer
        one.expires_at += longer
        one.provision_at, one.is_waiting = now, True
    db.session.flush()


def _open_again(opened: AccessGrant, now: datetime) -> None:
    """Paid again after its money was gone: the same code, with the time that was left when it ended."""
    assert opened.ended_at is not None  # noqa: S101 - the caller looked
    left = max(opened.expires_at - max(opened.ended_at, opened.starts_at), timedelta())
    if mates := open_of_pass(opened):  # which may be used on another device by now
        opened.mac = mates[0].mac
        turns.take(turns.names(opened.tenant_id, mac=opened.mac))
    place = places.place_again(opened, left=left, now=now)
    if place.starts_at > now or opened.starts_at > now:
        opened.starts_at = place.starts_at
    opened.expires_at, opened.ended_at, opened.provision_at = place.expires_at, None, now
    opened.is_waiting = opened.starts_at > now
    _give_way(place, now)
    record(opened, "access_opened_again", actor="fulfilment")
    db.session.flush()


def end(opened: AccessGrant, *, why: str, actor: str) -> bool:
    """Close it before its time; False where it was closed or over already. The caller commits.

    What follows it begins that much earlier; the rest of its pass runs on, under the same leader.
    """
    take_turn_with(opened)
    if not opened.is_open:
        return False
    opened.ended_at = opened.provision_at = clock.now()
    if not is_addon(opened):  # which has no time of its own
        _move_up(opened, left=opened.expires_at - max(opened.ended_at, opened.starts_at))
    _hold_addons(opened)
    record(opened, "access_ended", actor=actor, new=opened.username, why=why)
    db.session.flush()
    return True


def is_addon(opened: AccessGrant) -> bool:
    """Whether it adds data to a pass, and no time."""
    return opened.package.is_addon and opened.leader_id != opened.id


def _move_up(ended: AccessGrant, *, left: timedelta) -> None:
    """What waited behind the ended access begins that much earlier, as far as nothing else is still before it."""
    here = sorted(_beside(ended), key=lambda one: (one.starts_at, one.id))
    over = places.used_up_passes([one for one in here if one.has_begun])
    lasting = [(one.starts_at, one) for one in here if not is_addon(one) and one.leader_id not in over]
    for waiting in [one for one in here if one.starts_at >= ended.expires_at]:
        before = [one.expires_at for starts_at, one in lasting if starts_at < waiting.starts_at]
        earlier = min(left, waiting.starts_at - max([ended.ended_at or clock.now(), *before]))
        if earlier > timedelta():
            waiting.starts_at -= earlier
            waiting.expires_at -= earlier
            waiting.provision_at = ended.ended_at


def _beside(opened: AccessGrant) -> list[AccessGrant]:
    """What else is open on its device or of its pass."""
    browser = opened.purchase.browser_hash if opened.purchase and opened.origin != "gift" else ""
    here = {one.id: one for one in places.open_on(opened.tenant_id, mac=opened.mac, browser_hash=browser)}
    here |= {one.id: one for one in open_of_pass(opened)}
    return [one for one in here.values() if one.id != opened.id]


def open_of_pass(opened: AccessGrant) -> list[AccessGrant]:
    """The grants of its pass that have time left, in the order in which it is used."""
    mates = select(AccessGrant).where(AccessGrant.leader_id == opened.leader_id, AccessGrant.ended_at.is_(None))
    running = mates.where(AccessGrant.expires_at > clock.now())
    return list(db.session.scalars(running.order_by(AccessGrant.starts_at, AccessGrant.id)))


def _hold_addons(ended: AccessGrant) -> None:
    """Added data ends with its pass; where the pass is gone, after its own time."""
    mates = open_of_pass(ended)
    ends = max((one.expires_at for one in mates if not is_addon(one)), default=None)
    for one in mates:
        if is_addon(one):
            own = one.starts_at + timedelta(seconds=one.package.lifetime_s)
            one.expires_at = min(one.expires_at, ends or own)
            one.provision_at = ended.ended_at


def move(opened: AccessGrant, mac: str, *, actor: str) -> bool:
    """Use its pass on another device from now on; False where it is there already. The caller commits.

    mac: normalised. What the same number has waiting behind it on the old device comes along; of strangers' nothing.
    Sessions of the old device are ended by whoever provisions.
    """
    take_turn_with(opened)
    old = opened.mac
    if old == mac:
        return False
    turns.take(turns.names(opened.tenant_id, mac=mac))
    own = open_of_pass(opened)
    if old and opened.phone_hash:
        there = places.open_on(opened.tenant_id, mac=old)
        own += [one for one in there if one.phone_hash == opened.phone_hash and one.leader_id != opened.leader_id]
    now = clock.now()
    for one in {one.id: one for one in [opened, *own]}.values():
        one.mac, one.provision_at = mac, now
    give_up_place(opened, old)
    has_place(opened, mac)
    record(opened, "access_moved", actor=actor, old=old or None, new=mac)
    db.session.flush()
    return True


def give_up_place(opened: AccessGrant, mac: str) -> None:
    """The place of this device of its pass is free for another at RADIUS, though it may still be online.

    The caller commits.
    """
    if not mac:
        return
    now = clock.now()
    place: dict[str, Any] = {"leader_id": opened.leader_id or opened.id, "mac": mac}
    unheld = upsert_nothing(
        DeviceHold, unique=list(place), tenant_id=opened.tenant_id, places=_NO_LIMIT, held_at=now, **place
    )
    db.session.execute(unheld)
    db.session.execute(update(DeviceHold).filter_by(**place).values(given_up_at=now))


def has_place(opened: AccessGrant, mac: str) -> None:
    """A stay of this device of its pass takes a place, though it gave one up before. The caller commits."""
    mine = update(DeviceHold).where(DeviceHold.leader_id == (opened.leader_id or opened.id), DeviceHold.mac == mac)
    db.session.execute(mine.values(given_up_at=None))


def take_turn_of(opened: AccessGrant) -> None:
    """Give, end and move its device's time alone from here until the commit."""
    take_turn_with(opened)


def postpone(opened: AccessGrant, by: timedelta, *, with_it: Iterable[AccessGrant] = ()) -> None:
    """Its end comes so much later, though it may be over, and what waits behind it waits so much longer.

    with_it: of its pass, what ends with it. The caller has its device's turn, and commits.
    """
    was, now = opened.expires_at, clock.now()
    for one in {one.id: one for one in [opened, *with_it]}.values():
        one.expires_at, one.provision_at = one.expires_at + by, now
    db.session.flush()
    for waiting in _beside(opened):
        if waiting.starts_at >= was:
            waiting.starts_at, waiting.expires_at, waiting.provision_at = (
                waiting.starts_at + by,
                waiting.expires_at + by,
                now,
            )
    db.session.flush()


def changed(grant_ids: Iterable[int]) -> None:
    """Have routers told of the passes of these grants anew. The caller commits."""
    leaders = select(AccessGrant.leader_id).where(AccessGrant.id.in_(sorted(set(grant_ids))))
    tell = update(AccessGrant).where(AccessGrant.leader_id.in_(leaders), AccessGrant.ended_at.is_(None))
    db.session.execute(tell.where(AccessGrant.expires_at > clock.now()).values(provision_at=clock.now()))


def record(opened: AccessGrant, action: str, *, actor: str, **more: Any) -> None:
    """Written down with the payment that bought it, or by itself where none did."""
    subject = ("payment", opened.purchase.payment_id) if opened.purchase else ("access", opened.id)
    chain.record(opened.tenant_id, *subject, action, actor=actor, **more)


def sign_in_once(opened: AccessGrant, *, mac: str) -> tuple[str, str]:
    """(user name, password) that open the router to this device of the access, once, within a minute.

    For who shows nothing but the device's MAC address, which is no secret: it lets that very device in, no other. The
    caller commits.
    """
    now = clock.now()
    db.session.execute(delete(DeviceSignIn).where(DeviceSignIn.grant_id == opened.id, DeviceSignIn.expires_at < now))
    made = DeviceSignIn(
        tenant_id=opened.tenant_id,
        grant_id=opened.id,
        mac=mac,
        username="D" + _random(_CODE_LETTERS, 15),
        password=_random(_PASSWORD_LETTERS, 16),
        expires_at=now + SIGN_IN_FOR,
    )
    db.session.add(made)
    db.session.flush()
    return made.username, made.password


def is_password(opened: AccessGrant | None, typed: str) -> bool:
    """Whether this is its password, typed in any case and grouped as people group it.

    None takes as long as a wrong one: the answer's duration must not tell which codes exist.
    """
    known = opened.password if opened else "-" * PASSWORD_LENGTH
    bare = "".join(typed.lower().split()).replace("-", "")
    return secrets.compare_digest(known.lower().encode(), bare.encode()) and opened is not None


def chap_response(password: str, *, chap_id: str, chap_challenge: str) -> str:
    """What RouterOS's http-chap login takes: MD5 of id byte, password and challenge bytes, in hexadecimal.

    chap_id, chap_challenge: as the router writes them, with octal escapes such as `\\371`. Source: MikroTik's
    hotspot customisation manual.
    """
    material = _octal_bytes(chap_id) + password.encode() + _octal_bytes(chap_challenge)
    return hashlib.md5(material, usedforsecurity=False).hexdigest()


def _octal_bytes(text: str) -> bytes:
    out = bytearray()
    position = 0
    while position < len(text):
        digits = text[position + 1 : position + 4]
        if text[position] == "\\" and len(digits) == 3 and all(digit in "01234567" for digit in digits):
            out.append(int(digits, 8) & 0xFF)
            position += 4
        else:
            out += text[position].encode("latin-1", "replace")
            position += 1
    return bytes(out)
