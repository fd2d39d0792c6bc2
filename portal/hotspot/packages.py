"""What is on sale."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from portal.audit import chain
from portal.hotspot.models import Package
from portal.kernel import money
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused, Text
from portal.kernel.errors import Sentence as _

LONGEST_NAME = 60
_LONGEST_S = 366 * 86_400
# rx/tx, perhaps with burst rates, thresholds, times, priority and limit-at behind it. Source: MikroTik's queue manual.
_PAIR = r"[0-9]{1,10}[kMG]?(?:/[0-9]{1,10}[kMG]?)?"
_RATE = re.compile(rf"{_PAIR}(?: {_PAIR}){{0,5}}")
_SPEED = re.compile(r"([0-9]{1,5}) ?([kKmMgG])(?:bps|bit/s|b/s)?(?:/[0-9]{1,5} ?[kKmMgG](?:bps)?)?")
_LONGEST_RATE = 30


def on_sale(tenant_id: int, kind: str = "hotspot") -> list[Package]:
    """The packages that can be bought, cheapest first."""
    mine = select(Package).where(Package.tenant_id == tenant_id, Package.kind == kind, Package.withdrawn_at.is_(None))
    return list(db.session.scalars(mine.order_by(Package.price_cents, Package.id)))


def every(tenant_id: int) -> list[Package]:
    """All of the tenant's packages, newest first."""
    mine = select(Package).where(Package.tenant_id == tenant_id, Package.withdrawn_at.is_(None))
    return list(db.session.scalars(mine.order_by(Package.id.desc())))


def for_sale(tenant_id: int, uid: str) -> Package:
    """One package that can be bought. Raises NotFound."""
    package = db.session.scalars(
        select(Package).where(
            Package.tenant_id == tenant_id,
            Package.uid == uid,
            Package.kind == "hotspot",
            Package.withdrawn_at.is_(None),
        )
    ).one_or_none()
    if package is None:
        raise NotFound(_("This package is not for sale here. Choose another one."), code="unknown_package")
    return package


def _rate(given: Mapping[str, Any], wrong: dict[str, Text]) -> str:
    """MikroTik's rate limit, up/down: as it was given, or of a speed such as `5 Mbps`; empty for no limit."""
    rate, speed = (" ".join(str(given.get(name) or "").split()) for name in ("rate", "speed"))
    if rate:
        if not _RATE.fullmatch(rate) or len(rate) > _LONGEST_RATE:
            wrong["rate"] = "MikroTik's form, up and down, such as 2M/5M; or nothing for no limit."
        return rate
    if speed and not (given_speed := _SPEED.fullmatch(speed)):
        wrong["speed"] = "Such as 5 Mbps; or nothing for no limit."
    elif speed and given_speed:
        one_way = f"{given_speed.group(1)}{given_speed.group(2).upper().replace('K', 'k')}"
        return f"{one_way}/{one_way}"
    return ""


def create(tenant_id: int, given: Mapping[str, Any], *, actor: str, push_limit_cents: int) -> Package:
    """A new package. given: name, price (KES), duration (seconds), rate, dataCap (bytes), devices, kind, forPppoe.

    Raises Refused with every field at fault. The caller commits.
    """
    wrong: dict[str, Text] = {}
    name = str(given.get("name") or "").strip()
    if not name:
        wrong["name"] = "Give the package a name, such as 1 hour."
    elif len(name) > LONGEST_NAME:
        wrong["name"] = f"At most {LONGEST_NAME} characters."
    price_cents = 0
    try:
        price_cents = money.payable_cents(given.get("price"), limit_cents=push_limit_cents)
    except Refused as error:
        wrong["price"] = error.message
    duration_s = _whole(given.get("duration"), 60, _LONGEST_S)
    if duration_s is None:
        wrong["duration"] = "Seconds from 60 to one year, such as 3600."
    data_cap = given.get("dataCap")
    data_cap_bytes = None if data_cap is None else _whole(data_cap, 1, 10**15)
    if data_cap is not None and data_cap_bytes is None:
        wrong["dataCap"] = "Bytes, such as 1000000000, or nothing for no limit."
    devices = _whole(given.get("devices", 1), 1, 50)
    if devices is None:
        wrong["devices"] = "A whole number from 1 to 50."
    rate = _rate(given, wrong)
    kind = str(given.get("kind") or ("pppoe" if given.get("forPppoe") else "hotspot"))
    if kind not in ("hotspot", "pppoe"):
        wrong["kind"] = "Must be hotspot or pppoe."
    elif given.get("forPppoe") is not None and given["forPppoe"] != (kind == "pppoe"):
        wrong["forPppoe"] = f"A package of kind {kind} cannot have it {'true' if given['forPppoe'] else 'false'}."
    if wrong or duration_s is None or devices is None:
        raise Refused("The package is not complete.", code="invalid_fields", fields=wrong)
    package = Package(
        tenant_id=tenant_id,
        kind=kind,
        name=name,
        price_cents=price_cents,
        duration_s=duration_s,
        rate=rate,
        data_cap_bytes=data_cap_bytes,
        devices=devices,
    )
    db.session.add(package)
    db.session.flush()
    chain.record(tenant_id, "package", package.id, "created", actor=actor, details={"price_cents": price_cents})
    return package


def _whole(value: object, least: int, most: int) -> int | None:
    """The whole number, if it is one within bounds."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | str)
        or not str(value)[:20].isdecimal()
        or len(str(value)) > 18
    ):
        return None
    return int(value) if least <= int(value) <= most else None
