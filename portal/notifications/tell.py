"""Telling people: each message written once, in the transaction that causes it; a job carries it out."""

from datetime import datetime

from flask_babel import gettext as _

from portal.kernel.db import db, upsert_nothing
from portal.notifications.models import Notice
from portal.outbox import write


def by_sms(
    tenant_id: int, key: str, *, msisdn: str, text: str, expires_at: datetime | None = None, is_test: bool = False
) -> bool:
    """A text message. False where this key was told already. is_test: it speaks of test money, and says so."""
    text = _("TEST, no real money: %(text)s", text=text) if is_test else text
    return write.put(tenant_id, "sms", f"sms/{key}", {"to": msisdn, "text": text}, expires_at=expires_at)


def by_email(
    tenant_id: int,
    key: str,
    *,
    address: str,
    subject: str,
    text: str,
    expires_at: datetime | None = None,
    is_test: bool = False,
) -> bool:
    """An e-mail. False where this key was told already. is_test: it speaks of test money, and says so first."""
    if is_test:
        subject, text = (_("TEST, no real money: %(text)s", text=said) for said in (subject, text))
    payload = {"to": address, "subject": subject, "text": text}
    return write.put(tenant_id, "email", f"email/{key}", payload, expires_at=expires_at)


def in_app(tenant_id: int, key: str, *, user_id: int, text: str, url: str = "") -> bool:
    """A line inside the product. False where this key was told already."""
    insert = upsert_nothing(
        Notice,
        unique=["tenant_id", "key"],
        tenant_id=tenant_id,
        user_id=user_id,
        key=key,
        text=text[:300],
        url=url,
    )
    return db.session.execute(insert.returning(Notice.id)).scalar() is not None
