"""What is on sale."""

import re
from dataclasses import asdict, dataclass

from sqlalchemy import select

from portal.audit import chain
from portal.hotspot.models import Package
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _

SERVICES = ("hotspot", "pppoe")
LONGEST_NAME = 60
_LONGEST_S = 366 * 86_400
# rx/tx, perhaps with burst rates, thresholds, times, priority and limit-at behind it. Source: MikroTik's queue manual.
_PAIR = r"[0-9]{1,10}[kMG]?(?:/[0-9]{1,10}[kMG]?)?"
_RATE = re.compile(rf"{_PAIR}(?: {_PAIR}){{0,5}}")
_SPEED = re.compile(r"([0-9]{1,5}) ?([kKmMgG])(?:bps|bit/s|b/s)?(?:/[0-9]{1,5} ?[kKmMgG](?:bps)?)?")
_LONGEST_RATE = 30


def on_sale(tenant_id: int, service: str = "hotspot") -> list[Package]:
    """The packages that can be bought, cheapest first."""
    mine = select(Package).where(
        Package.tenant_id == tenant_id, Package.service == service, Package.withdrawn_at.is_(None)
    )
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
            Package.service == "hotspot",
            Package.withdrawn_at.is_(None),
        )
    ).one_or_none()
    if package is None:
        raise NotFound(_("This package is not for sale here. Choose another one."), code="unknown_package")
    return package


@dataclass(frozen=True)
class Offer:
    """A package as it is offered. rate: MikroTik's limit, up/down, empty for none. service: hotspot or pppoe.

    Its values come through the readers below, and the price through `money.payable_cents`.
    """

    name: str
    price_cents: int
    duration_s: int
    rate: str = ""
    data_cap_bytes: int | None = None
    devices: int = 1
    service: str = "hotspot"


def read_name(value: object) -> str:
    """What it is called. Raises Refused."""
    name = str(value or "").strip()
    if not name:
        raise Refused("Give the package a name, such as 1 hour.")
    if len(name) > LONGEST_NAME:
        raise Refused(f"At most {LONGEST_NAME} characters.")
    return name


def read_duration(value: object) -> int:
    """How many seconds it lasts. Raises Refused."""
    duration_s = _whole(value, 60, _LONGEST_S)
    if duration_s is None:
        raise Refused("Seconds from 60 to one year, such as 3600.")
    return duration_s


def read_data_cap(value: object) -> int | None:
    """After how many bytes it ends; None for no limit. Raises Refused."""
    data_cap_bytes = None if value is None else _whole(value, 1, 10**15)
    if value is not None and data_cap_bytes is None:
        raise Refused("Bytes, such as 1000000000, or nothing for no limit.")
    return data_cap_bytes


def read_devices(value: object) -> int:
    """On how many devices it may be used at once. Raises Refused."""
    devices = _whole(value, 1, 50)
    if devices is None:
        raise Refused("A whole number from 1 to 50.")
    return devices


def read_rate(value: object) -> str:
    """MikroTik's rate limit, up/down; empty for no limit. Raises Refused."""
    rate = " ".join(str(value or "").split())
    if rate and (not _RATE.fullmatch(rate) or len(rate) > _LONGEST_RATE):
        raise Refused("MikroTik's form, up and down, such as 2M/5M; or nothing for no limit.")
    return rate


def rate_of_speed(value: object) -> str:
    """MikroTik's rate limit of a speed such as `5 Mbps`; empty for none. Raises Refused."""
    speed = " ".join(str(value or "").split())
    if not speed:
        return ""
    stated = _SPEED.fullmatch(speed)
    if stated is None:
        raise Refused("Such as 5 Mbps; or nothing for no limit.")
    one_way = f"{stated.group(1)}{stated.group(2).upper().replace('K', 'k')}"
    return f"{one_way}/{one_way}"


def create(tenant_id: int, offer: Offer, *, actor: str) -> Package:
    """Offer a package. The caller commits."""
    package = Package(tenant_id=tenant_id, lifetime_s=offer.duration_s, **asdict(offer))
    db.session.add(package)
    db.session.flush()
    details = {"price_cents": offer.price_cents}
    chain.record(tenant_id, "package", package.id, "created", actor=actor, details=details)
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
