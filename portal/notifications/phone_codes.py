"""Six figures by SMS: that a person holds the phone they name.

Counted in the database, so it holds whatever becomes of Redis: five codes an hour for each phone, five tries at each,
ten minutes, once. A guesser has 25 of a million an hour, whoever's number it is.
"""

import hmac
import secrets
from datetime import timedelta

from sqlalchemy import ColumnElement, case, update

from portal.kernel import clock, personal, vault
from portal.kernel.db import db, upsert_nothing
from portal.notifications.models import PhoneCode

VALID_FOR = timedelta(minutes=10)
MOST_TRIES = 5
MOST_SENDS, COUNTED_FOR = 5, timedelta(hours=1)


def issue(tenant_id: int, purpose: str, msisdn: str) -> str | None:
    """A new code for this phone, which replaces the last one; None where it had too many already.

    The caller sends it, and commits. purpose: at most 20 letters; a code of one is none of another.
    """
    return issue_to(tenant_id, purpose, personal.phone_hash(msisdn, tenant_id))


def issue_to(tenant_id: int, purpose: str, phone_hash: str) -> str | None:
    """The same for a phone, or an e-mail address, by its keyed hash."""
    now = clock.now()
    first = upsert_nothing(
        PhoneCode,
        unique=["tenant_id", "purpose", "phone_hash"],
        tenant_id=tenant_id, purpose=purpose, phone_hash=phone_hash, sends=0, counted_from=now, expires_at=now,
    )  # fmt: skip
    db.session.execute(first)
    code = f"{secrets.randbelow(1_000_000):06d}"
    is_over = PhoneCode.counted_from <= now - COUNTED_FOR
    renewed = (
        update(PhoneCode)
        .where(*_of(tenant_id, purpose, phone_hash), is_over | (PhoneCode.sends < MOST_SENDS))
        .values(
            code_hash=_hash(tenant_id, purpose, code),
            tries=0,
            sends=case((is_over, 1), else_=PhoneCode.sends + 1),
            counted_from=case((is_over, now), else_=PhoneCode.counted_from),
            expires_at=now + VALID_FOR,
        )
    )
    return code if db.session.scalar(renewed.returning(PhoneCode.id)) is not None else None


def redeem(tenant_id: int, purpose: str, msisdn: str, code: str) -> bool:
    """Whether this is the code that the phone was sent; it is used up by it. The caller commits either way."""
    return redeem_of(tenant_id, purpose, personal.phone_hash(msisdn, tenant_id), code)


def redeem_of(tenant_id: int, purpose: str, phone_hash: str, code: str) -> bool:
    """The same for a phone, or an e-mail address, by its keyed hash."""
    now = clock.now()
    mine = _of(tenant_id, purpose, phone_hash)
    try_it = update(PhoneCode).where(*mine, PhoneCode.tries < MOST_TRIES, PhoneCode.expires_at > now)
    counted = try_it.values(tries=PhoneCode.tries + 1).returning(PhoneCode.code_hash)
    sent = db.session.scalar(counted)  # None too where there were too many tries
    given = _hash(tenant_id, purpose, "".join(code.split()))
    if not hmac.compare_digest(given, sent or "-" * 64):
        return False
    use = update(PhoneCode).where(*mine, PhoneCode.code_hash == given)
    return db.session.scalar(use.values(code_hash=None).returning(PhoneCode.id)) is not None


def _of(tenant_id: int, purpose: str, phone_hash: str) -> tuple[ColumnElement[bool], ...]:
    return (PhoneCode.tenant_id == tenant_id, PhoneCode.purpose == purpose, PhoneCode.phone_hash == phone_hash)


def _hash(tenant_id: int, purpose: str, code: str) -> str:
    return vault.lookup(code, context=f"phone code/{purpose}/{tenant_id}")
