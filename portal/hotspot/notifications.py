"""What a hotspot tells the one who paid: the way back in, in their language, in one message of 160 letters."""

import re
from datetime import datetime
from functools import lru_cache

from portal.hotspot.models import AccessGrant
from portal.kernel import clock, personal
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.kernel.translations import render
from portal.notifications import tell

_OWN_WORD = re.compile(r"\s*\bwi-?fi$", re.IGNORECASE)


def opened(grant: AccessGrant, *, business: str, msisdn: str, is_test: bool) -> None:
    """User name, password and end, to the phone that paid; told once. The caller commits, then enqueues OUTBOX."""
    locale = grant.purchase.locale if grant.purchase else "en"
    text = way_in(
        business=business, name=grant.username, password=grant.password, until=grant.expires_at,
        is_test=is_test, locale=locale,
    )  # fmt: skip
    tell.by_sms(grant.tenant_id, key_of(grant.id), msisdn=msisdn, text=text, locale=locale, expires_at=grant.expires_at)


def given(grant: AccessGrant, *, business: str, is_test: bool) -> None:
    """A gift, to the number it is given to: told once. Where it extends their pass, the name that they have works on.

    The caller commits, then enqueues OUTBOX.
    """
    purchase = grant.purchase
    msisdn = personal.open_phone(purchase.gift_phone_sealed, grant.tenant_id) if purchase else None
    if purchase is None or msisdn is None:
        return
    sentences = [_("TEST, no real money.")] if is_test else []
    sentences.append(
        _(
            "%(business)s Wi-Fi, paid for you. Name: %(name)s Password: %(password)s Valid until %(until)s.",
            business=short(business),
            name=grant.username,
            password=grant.password,
            until=_at(grant.expires_at),
        )
    )
    text = " ".join(render(sentence, purchase.locale) for sentence in sentences)
    key, ends = key_of(grant.id), grant.expires_at
    tell.by_sms(grant.tenant_id, key, msisdn=msisdn, text=text, locale=purchase.locale, expires_at=ends)


def ends_soon(grant: AccessGrant, *, business: str, msisdn: str, is_test: bool) -> bool:
    """A pass is about to end: told once; False where it was. The caller commits, then enqueues OUTBOX."""
    sentence = _(
        "%(business)s Wi-Fi: your internet ends at %(time)s. Buy again on the Wi-Fi page and it goes on.",
        business=short(business),
        time=f"{clock.nairobi(grant.expires_at):%H:%M}",
    )
    return _remind(grant, "ends", sentence, msisdn=msisdn, is_test=is_test)


def data_runs_out(grant: AccessGrant, *, business: str, msisdn: str, is_test: bool) -> bool:
    """Four fifths of a pass' data are used: told once; False where it was. The caller commits, then enqueues OUTBOX."""
    sentence = _(
        "%(business)s Wi-Fi: you have used 80%% of your data. Buy more on the Wi-Fi page and it goes on.",
        business=short(business),
    )
    return _remind(grant, "data", sentence, msisdn=msisdn, is_test=is_test)


def _remind(grant: AccessGrant, what: str, sentence: Text, *, msisdn: str, is_test: bool) -> bool:
    return tell.by_sms(
        grant.tenant_id,
        f"access/{grant.id}/{what}",
        msisdn=msisdn,
        text=sentence,
        locale=grant.purchase.locale if grant.purchase else "en",
        expires_at=grant.expires_at,
        is_test=is_test,
    )


@lru_cache
def short(business: str) -> str:
    """Its name, for sentences that say Wi-Fi themselves: Mawingu of Mawingu Wi-Fi."""
    return (_OWN_WORD.sub("", business.strip()) or business)[:40]


@lru_cache  # many passes that are opened together end together
def _at(instant: datetime) -> str:
    return f"{clock.nairobi(instant):%d/%m %H:%M}"


def key_of(grant_id: int) -> str:
    """What makes it be told once."""
    return f"access/{grant_id}/opened"


def way_in(*, business: str, name: str, password: str, until: datetime, is_test: bool, locale: str) -> str:
    """The message itself, in this language."""
    sentences = [_("TEST, no real money.")] if is_test else []
    sentences.append(
        _(
            "%(business)s Wi-Fi. Name: %(name)s Password: %(password)s Valid until %(until)s.",
            business=short(business),
            name=name,
            password=password,
            until=_at(until),
        )
    )
    return " ".join(render(sentence, locale) for sentence in sentences)
