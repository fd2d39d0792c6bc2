"""Telling people: each message written once, in the transaction that causes it; a job carries it out.

Each takes its sentences with the locale of whom they are for: what is sent is text of that language. event: the name
under which a tenant may have words of its own for it (`wording`).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.kernel.db import db, upsert_nothing
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.kernel.translations import render
from portal.notifications import wording
from portal.notifications.models import Notice
from portal.notifications.wording import Words
from portal.outbox import write


@dataclass(frozen=True)
class Letter:
    """An e-mail. foot: below the words, whosever they are. sender: whose name stands before the address it comes from.

    calendar: of `calendar.Entry.as_payload`.
    """

    address: str
    subject: Text
    text: Text
    foot: str = ""
    sender: str = ""
    calendar: dict[str, Any] | None = None


def by_sms(
    tenant_id: int,
    key: str,
    *,
    msisdn: str,
    text: Text,
    locale: str,
    expires_at: datetime | None = None,
    is_test: bool = False,
    event: str = "",
    otherwise: Letter | None = None,
) -> bool:
    """A text message. False where this key was told already. is_test: it speaks of test money, and says so.

    otherwise: what is sent instead where the message cannot be brought.
    """
    said = wording.chosen(tenant_id, event, "sms", locale, Words("", text)).text
    payload: dict[str, Any] = sms_payload(msisdn, _rendered(said, locale, is_test=is_test))
    if otherwise is not None:
        letter = _letter(tenant_id, otherwise, locale, is_test=is_test, event=event)
        payload["otherwise"] = {"kind": "email", "payload": letter}
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
    letter = Letter(address, subject, text)
    return by_letter(tenant_id, key, letter, locale=locale, expires_at=expires_at, is_test=is_test)


def by_letter(
    tenant_id: int,
    key: str,
    letter: Letter,
    *,
    locale: str,
    expires_at: datetime | None = None,
    is_test: bool = False,
    event: str = "",
) -> bool:
    """The same, with all that an e-mail may have."""
    payload = _letter(tenant_id, letter, locale, is_test=is_test, event=event)
    return write.put(tenant_id, "email", f"email/{key}", payload, expires_at=expires_at)


def _letter(tenant_id: int, letter: Letter, locale: str, *, is_test: bool, event: str) -> dict[str, Any]:
    said = wording.chosen(tenant_id, event, "email", locale, Words(letter.subject, letter.text))
    text = _rendered(said.text, locale, is_test=is_test)
    payload: dict[str, Any] = {
        "to": letter.address,
        "subject": " ".join(_rendered(said.subject, locale, is_test=is_test).split()),
        "text": f"{text}\n\n{letter.foot}" if letter.foot else text,
    }
    more = {"sender": letter.sender, "calendar": letter.calendar}
    return payload | {name: value for name, value in more.items() if value}


def _rendered(text: Text, locale: str, *, is_test: bool) -> str:
    said = render(_("TEST, no real money: %(text)s", text=text) if is_test else text, locale)
    return re.sub(" {2,}", " ", said).strip()  # where a value is empty


def in_app(
    tenant_id: int,
    key: str,
    *,
    user_id: int | None = None,
    patient_id: int | None = None,
    text: Text,
    locale: str,
    url: str = "",
) -> bool:
    """A line inside the product, for one of the two. False where this key was told already."""
    insert = upsert_nothing(
        Notice,
        unique=["tenant_id", "key"],
        tenant_id=tenant_id,
        user_id=user_id,
        patient_id=patient_id,
        key=key,
        text=render(text, locale).strip()[:300],
        url=url,
    )
    return db.session.execute(insert.returning(Notice.id)).scalar() is not None
