"""How often phones are asked to pay, so that nobody makes strangers' phones ring or uses up a tenant's turn.

Decided, since anybody may ask any phone to pay and names phone, MAC address and browser as they please:
- A phone counts over all tenants: it is one person's, whoever rings it.
- A network is never limited as such: a hotspot, a clinic's waiting room or a mobile operator's gateway is thousands of
  people behind one address. What counts is how many *different strangers' phones* were asked from it that *did not
  pay*; each that pays gives room for more, so a busy place earns what it needs and an invented number earns nothing.
- The same is asked of one device, with less room. What it tells of itself is its own choice, so this only adds.
- Who has paid this tenant before is no stranger and waits for no stranger; nor does who signed in, as staff or with
  an API key. Strangers may use up the strangers' part of a tenant's ten minutes, never the rest.
These are counts of committed rows, a moment old where many ask at once: limits of abuse, not of money.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, select

from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import CoolDown, Text
from portal.kernel.errors import Sentence as _
from portal.payments.models import Payment, Push
from portal.payments.stk.push_states import State

WINDOW = timedelta(minutes=10)
OF_PHONE = 6
OF_STRANGERS, OF_TENANT = 600, 1_200
UNPAID_OF_NETWORK, UNPAID_OF_DEVICE = 60, 5  # different strangers' phones that did not pay
ROOM_FOR_EACH_PAID = 2


@dataclass(frozen=True)
class AskedFrom:
    """Where a payer's request came from; blank for who is signed in. device: what it is known by there, if anything."""

    network: str = ""
    device: str = ""


def keys(msisdn: str, asked_from: AskedFrom) -> dict[str, Any]:
    """The columns of a push by which it is counted here: keyed hashes, alike in every tenant."""
    network = asked_from.network
    at_network = f"{network}/{asked_from.device}" if network and asked_from.device else ""
    return {
        "phone_key": personal.prompt_key("phone", msisdn),
        "network_key": personal.prompt_key("network", network) if network else None,
        "device_key": personal.prompt_key("device", at_network) if at_network else None,
    }


def refuse_too_many(payment: Payment, *, phone_hash: str, counted: dict[str, Any]) -> None:
    """Raise CoolDown, fit for the payer, where this phone, network, device or tenant has asked enough for now."""
    since = clock.now() - WINDOW
    _look_at_phone(counted["phone_key"], since)
    is_stranger = counted["network_key"] is not None and not _has_paid(payment.tenant_id, phone_hash)
    if is_stranger:
        mine = counted["phone_key"]
        if counted["device_key"] is not None:
            _look_at_place(Push.device_key == counted["device_key"], UNPAID_OF_DEVICE, mine, since)
        _look_at_place(Push.network_key == counted["network_key"], UNPAID_OF_NETWORK, mine, since)
    _look_at_tenant(payment.tenant_id, OF_STRANGERS if is_stranger else OF_TENANT, since)


def _look_at_phone(phone_key: str, since: datetime) -> None:
    of_phone = select(Push.created_at).where(Push.phone_key == phone_key, Push.created_at > since)
    latest = db.session.scalars(of_phone.order_by(Push.created_at.desc()).limit(OF_PHONE)).all()
    if len(latest) == OF_PHONE:
        sentence = _(
            "This phone was asked %(count)s times in ten minutes. Wait a little, or pay by hand.", count=OF_PHONE
        )
        raise _wait(sentence, latest[-1])


def _has_paid(tenant_id: int, phone_hash: str) -> bool:
    paid = exists().where(Push.tenant_id == tenant_id, Push.phone_hash == phone_hash, Push.state == State.SUCCEEDED)
    return bool(db.session.scalar(select(paid)))


def _look_at_place(is_there: ColumnElement[bool], most: int, mine: str, since: datetime) -> None:
    has_paid = case((Push.state == State.SUCCEEDED, Push.phone_key))
    asked = select(
        func.count(Push.phone_key.distinct()),
        func.count(has_paid.distinct()),
        func.min(Push.created_at),
        func.max(case((Push.phone_key == mine, 1), else_=0)),
    ).where(is_there, Push.created_at > since)
    phones, paid, first, is_among_them = db.session.execute(asked).one()
    if is_among_them or phones - paid < most + ROOM_FOR_EACH_PAID * paid:
        return
    sentence = _("Many phones were asked from here and did not pay. Pay by hand, or try again in some minutes.")
    raise _wait(sentence, first)


def _look_at_tenant(tenant_id: int, most: int, since: datetime) -> None:
    recent = select(Push.id).where(Push.tenant_id == tenant_id, Push.created_at > since).limit(most)
    if (db.session.scalar(select(func.count()).select_from(recent.subquery())) or 0) >= most:
        raise CoolDown(
            _("Very many people are paying at once. Try again in a minute."),
            retry_after_s=60,
            code="too_many_requests",
        )


def _wait(sentence: Text, first: datetime) -> CoolDown:
    seconds = (first + WINDOW - clock.now()).total_seconds()
    return CoolDown(sentence, retry_after_s=max(1, int(seconds + 0.999)), code="too_many_requests")
