"""Opening the internet: one grant a purchase, however often it is asked for."""

import hashlib
import secrets
from datetime import datetime, timedelta

from portal import clock, vault
from portal.audit import chain
from portal.db import db, upsert_nothing
from portal.hotspot.models import AccessGrant, Purchase

_CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def grant(purchase: Purchase, *, receipt: str | None) -> AccessGrant:
    """The access this purchase bought; made now, or found again. The caller commits.

    receipt: the username and password, as the payer's own M-Pesa message carries it. Unknown yet, they are random
    and never change. The clock starts now, not at the click.
    """
    code = receipt or "M" + "".join(secrets.choice(_CODE_LETTERS) for _n in range(9))
    now = clock.now()
    insert = upsert_nothing(
        AccessGrant,
        unique=["purchase_id"],
        tenant_id=purchase.tenant_id,
        purchase_id=purchase.id,
        username=code,
        password_sealed=vault.seal(code, context=f"access/{purchase.tenant_id}"),
        starts_at=now,
        expires_at=now + timedelta(seconds=purchase.package.duration_s),
    ).returning(AccessGrant.id)
    is_new = db.session.execute(insert).scalar() is not None
    opened = db.session.query(AccessGrant).filter_by(purchase_id=purchase.id).one()
    if is_new:
        chain.record(purchase.tenant_id, "payment", purchase.payment_id, "access_opened", actor="fulfilment")
    elif opened.ended_at is not None:
        _open_again(opened, now)
    return opened


def _open_again(opened: AccessGrant, now: datetime) -> None:
    """Paid again after its money was gone: the same code, with the time that was left when it ended."""
    assert opened.ended_at is not None  # noqa: S101 - the caller looked
    opened.expires_at += now - opened.ended_at
    opened.ended_at = None
    purchase = opened.purchase
    chain.record(purchase.tenant_id, "payment", purchase.payment_id, "access_opened_again", actor="fulfilment")
    db.session.flush()


def end(opened: AccessGrant, *, why: str, actor: str) -> bool:
    """Close it before its time; False where it was closed or over already. The caller commits."""
    if not opened.is_open:
        return False
    opened.ended_at = clock.now()
    payment_id = opened.purchase.payment_id
    chain.record(opened.tenant_id, "payment", payment_id, "access_ended", actor=actor, new=opened.username, why=why)
    db.session.flush()
    return True


def password_of(opened: AccessGrant) -> str:
    """The password, for the page of the person who paid."""
    return vault.unseal(opened.password_sealed, context=f"access/{opened.tenant_id}")


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
