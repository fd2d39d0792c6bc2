"""What a line's customer is told by SMS: before the end with how to pay, of money that came, and of the wall.

Each once, by its key in the outbox; in their language; in the day's hours, for nobody wants to be woken by a bill.
"""

from datetime import datetime, time, timedelta

from portal.gateways.models import Gateway
from portal.hotspot.pppoe.models import PppoeLine
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.kernel.money import format_kes
from portal.notifications import tell
from portal.tenants.models import Tenant

DAYS_BEFORE = (3, 1, 0)
MORNING, EVENING = time(8), time(20)  # in Nairobi
TOO_LATE = timedelta(hours=12)  # what was not sent by then, because nothing ran, is old news


def remind_at(ends_at: datetime, days_before: int) -> datetime:
    """When the reminder of so many days before the end goes: at that hour, or at the evening before, never by night."""
    at = clock.nairobi(ends_at) - timedelta(days=days_before)
    if at.time() < MORNING:
        at = datetime.combine(at.date() - timedelta(days=1), EVENING, clock.NAIROBI)
    elif at.time() > EVENING:
        at = datetime.combine(at.date(), EVENING, clock.NAIROBI)
    return at.astimezone(clock.now().tzinfo)


def remind_due(line: PppoeLine, gateway: Gateway | None, *, missing_cents: int) -> int | None:
    """Send the reminder whose time has come, if one has; how many days before the end it is. The caller commits."""
    if line.paid_until is None:
        return None
    now = clock.now()
    due = [days for days in DAYS_BEFORE if now - TOO_LATE < remind_at(line.paid_until, days) <= now]
    if not due or line.paid_until < now - timedelta(hours=1):
        return None
    sentence = _(
        "%(business)s: your internet is paid until %(until)s. %(how)s",
        business=_business(line),
        until=_shown(line.paid_until),
        how=how_to_pay(line, gateway, missing_cents=missing_cents),
    )
    days = min(due)
    _say(line, f"line/{line.id}/{int(line.paid_until.timestamp())}/{days}", sentence)
    return days


def how_to_pay(line: PppoeLine, gateway: Gateway | None, *, missing_cents: int) -> Text:
    """Paybill, account number and amount, in one sentence."""
    if gateway is None or gateway.sub_kind == "BUYGOODS":
        return _("Pay %(amount)s; your account is %(account)s.", **_facts(line, missing_cents))
    return _(
        "Pay %(amount)s to paybill %(paybill)s, account %(account)s.",
        paybill=gateway.shortcode,
        **_facts(line, missing_cents),
    )


def _facts(line: PppoeLine, missing_cents: int) -> dict[str, str]:
    return {"amount": format_kes(missing_cents), "account": line.customer.account_number}


def renewed(line: PppoeLine, period_id: int) -> None:
    """Its time goes on."""
    if line.paid_until is not None:
        sentence = _(
            "%(business)s: thank you, your internet is paid until %(until)s.",
            business=_business(line),
            until=_shown(line.paid_until),
        )
        _say(line, f"line/{line.id}/period/{period_id}/{int(line.paid_until.timestamp())}", sentence)


def not_enough(line: PppoeLine, gateway: Gateway | None, *, held_cents: int, missing_cents: int, at: datetime) -> None:
    """Money came, and it is not enough. at: of that money, so that it is told once."""
    sentence = _(
        "%(business)s: your account holds %(held)s. %(how)s",
        business=_business(line),
        held=format_kes(held_cents),
        how=how_to_pay(line, gateway, missing_cents=missing_cents),
    )
    _say(line, f"line/{line.id}/short/{int(at.timestamp() * 1000)}", sentence)


def walled(line: PppoeLine, gateway: Gateway | None, *, missing_cents: int) -> None:
    """Its time is over."""
    sentence = _(
        "%(business)s: your internet has stopped. %(how)s It comes back by itself.",
        business=_business(line),
        how=how_to_pay(line, gateway, missing_cents=missing_cents),
    )
    _say(line, f"line/{line.id}/walled/{int((line.paid_until or line.created_at).timestamp())}", sentence)


def given_back(line: PppoeLine, key: str, *, began_at: datetime, ended_at: datetime) -> bool:
    """An outage's time was added to what is paid; whether a number was there to tell. The caller commits."""
    if line.paid_until is None:
        return False
    sentence = _(
        "%(business)s: the internet was down from %(begin)s to %(end)s. That time is given back: paid until %(until)s.",
        business=_business(line),
        begin=f"{clock.nairobi(began_at):%H:%M}",
        end=f"{clock.nairobi(ended_at):%H:%M}",
        until=_shown(line.paid_until),
    )
    return _say(line, key, sentence)


def _say(line: PppoeLine, key: str, sentence: Text) -> bool:
    msisdn = personal.open_phone(line.customer.phone_sealed, line.tenant_id)
    if not msisdn:
        return False
    expires_at = clock.now() + TOO_LATE
    return tell.by_sms(line.tenant_id, key, msisdn=msisdn, text=sentence, locale=line.locale, expires_at=expires_at)


def _business(line: PppoeLine) -> str:
    return db.session.get_one(Tenant, line.tenant_id).name[:30]


def _shown(at: datetime) -> str:
    return f"{clock.nairobi(at):%d/%m %H:%M}"
