"""Telling people: each message written once, in the transaction that causes it; a job carries it out.

Each takes its sentences with the locale of whom they are for: what is sent is text of that language.
"""

from datetime import datetime

from portal.kernel.db import db, upsert_nothing
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.kernel.translations import render
from portal.notifications.models import Notice
from portal.outbox import write


def by_sms(
    tenant_id: int,
    key: str,
    *,
    msisdn: str,
    text: Text,
    locale: str,
    expires_at: datetime | None = None,
    is_test: bool = False,
) -> bool:
    """A text message. False where this key was told already. is_test: it speaks of test money, and says so."""
    payload = sms_payload(msisdn, _rendered(text, locale, is_test=is_test))
    return write.put(tenant_id, "sms", f"sms/{key}", payload, expires_at=expires_at)


def sms_payload(msisdn: str, text: str) -> dict[str, str]:
    """A text message as its carrier takes it."""
    return {"to": msisdn, "text": text}


def by_email(
    tenant_id: int,
    key: str,
    *,
    address: str,
    subject: Text,
    text: Text,
    locale: str,
    expires_at: datetime | None = None,
    is_test: bool = False,
) -> bool:
    """An e-mail. False where this key was told already. is_test: it speaks of test money, and says so first."""
    payload = {
        "to": address,
        "subject": _rendered(subject, locale, is_test=is_test),
        "text": _rendered(text, locale, is_test=is_test),
    }
    return write.put(tenant_id, "email", f"email/{key}", payload, expires_at=expires_at)


def _rendered(text: Text, locale: str, *, is_test: bool) -> str:
    return render(_("TEST, no real money: %(text)s", text=text) if is_test else text, locale).strip()


def in_app(tenant_id: int, key: str, *, user_id: int, text: Text, locale: str, url: str = "") -> bool:
    """A line inside the product. False where this key was told already."""
    insert = upsert_nothing(
        Notice,
        unique=["tenant_id", "key"],
        tenant_id=tenant_id,
        user_id=user_id,
        key=key,
        text=render(text, locale).strip()[:300],
        url=url,
    )
    return db.session.execute(insert.returning(Notice.id)).scalar() is not None
