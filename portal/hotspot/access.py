"""Opening the internet: one grant a purchase, however often it is asked for; time bought while online is added.

Decided: a second package begins when what runs on the same device is over, instead of running beside it: nobody loses
time, and each package keeps its own speed and devices. What ends early gives its place to what waits behind it.
Decided: the user name is the receipt, which the payer's own message carries and others may see; the password is random.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, update

from portal.audit import chain
from portal.hotspot.models import AccessGrant, DeviceSignIn, Purchase
from portal.kernel import clock
from portal.kernel.db import db, upsert_nothing

_CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
PASSWORD_LENGTH = 8
SIGN_IN_FOR = timedelta(seconds=60)


def _random(letters: str, length: int) -> str:
    return "".join(secrets.choice(letters) for _n in range(length))


def new_name() -> str:
    """A user name where the receipt cannot be it."""
    return "M" + _random(_CODE_LETTERS, 9)


def new_password() -> str:
    """A random password, in letters and digits that nobody mistakes for others."""
    return _random(_PASSWORD_LETTERS, PASSWORD_LENGTH)


def grant(purchase: Purchase, *, receipt: str | None) -> AccessGrant:
    """The access this purchase bought; made now, or found again. The caller commits.

    receipt: the user name, as the payer's own M-Pesa message carries it. Unknown yet, the name is random and never
    changes. The clock starts now, not at the click; or when what runs on the same device is over.
    """
    now = clock.now()
    begins = max(now, _busy_until(purchase) or now)
    insert = upsert_nothing(
        AccessGrant,
        unique=["purchase_id"],
        tenant_id=purchase.tenant_id,
        purchase_id=purchase.id,
        package_id=purchase.package_id,
        phone_hash=purchase.payment.phone_hash,
        mac=purchase.mac,
        username=receipt or new_name(),
        password=new_password(),
        starts_at=begins,
        expires_at=begins + timedelta(seconds=purchase.package.lifetime_s),
        provision_at=now,
    ).returning(AccessGrant.id)
    is_new = db.session.execute(insert).scalar() is not None
    opened = db.session.query(AccessGrant).filter_by(purchase_id=purchase.id).one()
    opened.leader_id = opened.leader_id or opened.id
    if is_new:
        chain.record(purchase.tenant_id, "payment", purchase.payment_id, "access_opened", actor="fulfilment")
    elif opened.ended_at is not None:
        _open_again(opened, now)
    return opened


def _same_device(purchase: Purchase) -> ColumnElement[bool] | None:
    """What else was bought for this device: by its MAC address, else by the browser that bought; None: unknown."""
    if purchase.mac:
        return (Purchase.tenant_id == purchase.tenant_id) & (Purchase.mac == purchase.mac)
    if purchase.browser_hash:
        return (Purchase.tenant_id == purchase.tenant_id) & (Purchase.browser_hash == purchase.browser_hash)
    return None


def _take_turn(purchase: Purchase) -> ColumnElement[bool] | None:
    """`_same_device`, with its row locked until the commit: who gives, ends or moves a device's time does so alone.

    The row is the device's first purchase, which stays the same whatever is bought meanwhile.
    """
    same = _same_device(purchase)
    if same is not None:
        first = select(Purchase.id).where(same).order_by(Purchase.id).limit(1)
        db.session.execute(first.with_for_update(key_share=True))
    return same


def _busy_until(purchase: Purchase) -> datetime | None:
    """When the other access of this device is over, or None. The device's row is locked (`_take_turn`)."""
    same = _take_turn(purchase)
    if same is None:
        return None
    others = (
        select(AccessGrant.expires_at)
        .join(Purchase)
        .where(same, AccessGrant.purchase_id != purchase.id)
        .where(AccessGrant.ended_at.is_(None), AccessGrant.expires_at > clock.now())
    )
    return db.session.scalar(others.order_by(AccessGrant.expires_at.desc()).limit(1))


def _open_again(opened: AccessGrant, now: datetime) -> None:
    """Paid again after its money was gone: the same code, with the time that was left when it ended."""
    assert opened.ended_at is not None  # noqa: S101 - the caller looked
    left = opened.expires_at - max(opened.ended_at, opened.starts_at)
    begins = max(now, _busy_until(opened.purchase) or now)
    if begins > now or opened.starts_at > now:
        opened.starts_at = begins
    opened.expires_at, opened.ended_at, opened.provision_at = begins + left, None, now
    purchase = opened.purchase
    chain.record(purchase.tenant_id, "payment", purchase.payment_id, "access_opened_again", actor="fulfilment")
    db.session.flush()


def end(opened: AccessGrant, *, why: str, actor: str) -> bool:
    """Close it before its time; False where it was closed or over already. The caller commits."""
    _take_turn(opened.purchase)
    db.session.refresh(opened)
    if not opened.is_open:
        return False
    opened.ended_at = opened.provision_at = clock.now()
    _move_up(opened, left=opened.expires_at - max(opened.ended_at, opened.starts_at))
    payment_id = opened.purchase.payment_id
    chain.record(opened.tenant_id, "payment", payment_id, "access_ended", actor=actor, new=opened.username, why=why)
    db.session.flush()
    return True


def _move_up(ended: AccessGrant, *, left: timedelta) -> None:
    """What waited behind the ended access begins that much earlier."""
    same = _same_device(ended.purchase)
    if same is None:
        return
    behind = select(AccessGrant).join(Purchase).where(same, AccessGrant.starts_at >= ended.expires_at)
    for waiting in db.session.scalars(behind.where(AccessGrant.ended_at.is_(None))):
        waiting.starts_at -= left
        waiting.expires_at -= left
        waiting.provision_at = clock.now()


def sign_in_once(opened: AccessGrant) -> tuple[str, str]:
    """(user name, password) that open the router to this access' own device, once, within a minute. The caller commits.

    For who shows nothing but the device's MAC address, which is no secret: it lets that very device in, no other.
    """
    now = clock.now()
    db.session.execute(delete(DeviceSignIn).where(DeviceSignIn.grant_id == opened.id, DeviceSignIn.expires_at < now))
    made = DeviceSignIn(
        tenant_id=opened.tenant_id,
        grant_id=opened.id,
        mac=opened.purchase.mac,
        username="D" + _random(_CODE_LETTERS, 15),
        password=_random(_PASSWORD_LETTERS, 16),
        expires_at=now + SIGN_IN_FOR,
    )
    db.session.add(made)
    db.session.flush()
    return made.username, made.password


def admit_once(tenant_id: int, username: str, password: str, *, mac: str) -> AccessGrant | None:
    """The access that this one-time sign-in opens to this device, used up by it; or None. The caller commits.

    mac: as the router states it, normalised. One UPDATE decides, so two routers cannot both let it in.
    """
    now = clock.now()
    found = db.session.scalars(
        select(DeviceSignIn).where(DeviceSignIn.tenant_id == tenant_id, DeviceSignIn.username == username)
    ).one_or_none()
    if found is None or not mac or found.mac != mac or not found.grant.is_open:
        return None
    if not secrets.compare_digest(found.password.encode(), password.encode()):
        return None
    use = update(DeviceSignIn).where(DeviceSignIn.id == found.id, DeviceSignIn.used_at.is_(None))
    use = use.where(DeviceSignIn.expires_at > now).values(used_at=now).returning(DeviceSignIn.id)
    return found.grant if db.session.scalar(use) is not None else None


def is_password(opened: AccessGrant | None, typed: str) -> bool:
    """Whether this is its password, typed in any case and grouped as people group it.

    None takes as long as a wrong one: the answer's duration must not tell which codes exist.
    """
    known = opened.password if opened else "-" * PASSWORD_LENGTH
    return secrets.compare_digest(known.encode(), "".join(typed.lower().split()).encode()) and opened is not None


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
