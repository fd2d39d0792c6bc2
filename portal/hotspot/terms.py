"""The terms of a package, read from a request or a form: each by its name, every mistake at once.

Names are the JSON API's: name, price (KES), duration, validity (seconds), kind (time, online, data, mixed), dataCap,
dailyCap (bytes), rate (RouterOS' form) or speed, devices, atCap (stop, throttle), throttledRate, group, hidden, sites
(ids), trial, addon, forPppoe. kind: hotspot and pppoe are taken, too, for whom it is, as it was first called.

Decided: what is left out has the value that a shop would mean. A package of time ends when its time is over. One of
online time may be used up within 30 days, one of data within its duration; `validity` says otherwise. A mixed one whose
validity is longer than its duration sells its time online.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from portal.kernel import money
from portal.kernel.errors import Refused, Text
from portal.kernel.errors import Sentence as _

T = TypeVar("T")
SERVICES, KINDS, AT_CAP = ("hotspot", "pppoe"), ("time", "online", "data", "mixed"), ("stop", "throttle")
LONGEST_NAME, LONGEST_GROUP, LONGEST_RATE = 60, 40, 60
LEAST_S, LONGEST_S = 60, 366 * 86_400
ONLINE_VALID_S = 30 * 86_400
MOST_BYTES, MOST_DEVICES, MOST_SITES = 10**15, 50, 100
# rx/tx, perhaps with burst rates, thresholds, times, priority and limit-at behind it. Source: MikroTik's queue manual.
_PAIR = r"[0-9]{1,10}[kMG]?(?:/[0-9]{1,10}[kMG]?)?"
_RATE = re.compile(rf"{_PAIR}(?: {_PAIR}){{0,5}}")
_SPEED = re.compile(r"([0-9]{1,5}) ?([kKmMgG])(?:bps|bit/s|b/s)?(?:/[0-9]{1,5} ?[kKmMgG](?:bps)?)?")
_MBPS = re.compile(r"[0-9]{1,5}(?:[.,][0-9]{1,2})?")
BURST_FROM = 0.75  # of the lasting speed: a line that is used less than that may burst


@dataclass(frozen=True)
class Offer:
    """A package as it is offered; its columns, and the sites it is for (none: all of them)."""

    name: str
    price_cents: int
    duration_s: int
    rate: str = ""
    data_cap_bytes: int | None = None
    devices: int = 1
    service: str = "hotspot"
    kind: str = "time"
    lifetime_s: int | None = None
    online_s: int | None = None
    daily_cap_bytes: int | None = None
    at_cap: str = "stop"
    throttled_rate: str = ""
    group_name: str = ""
    is_hidden: bool = False
    is_trial: bool = False
    is_addon: bool = False
    site_uids: tuple[str, ...] = ()


def read(given: Mapping[str, Any], *, limit_cents: int) -> Offer:
    """The package that is offered. limit_cents: what M-Pesa can ask for at once. Raises Refused with all at fault."""
    wrong: dict[str, Text] = {}

    def field(name: str, how: Callable[[object], T], instead: T) -> T:
        try:
            return how(given.get(name))
        except Refused as error:
            wrong[name] = error.message
            return instead

    is_trial = field("trial", read_flag, instead=False)
    service, kind = _kind(given, wrong)
    price = _read_free if is_trial else partial(money.payable_cents, limit_cents=limit_cents)
    name, price_cents = field("name", read_name, ""), field("price", price, 0)
    validity_s = field("validity", _read_validity, None)
    if given.get("duration") is None and validity_s is not None:
        duration_s = validity_s
    else:
        duration_s = field("duration", read_duration, 0)
    data_cap = field("dataCap", read_bytes, None)
    has_rate = bool(str(given.get("rate") or "").strip())
    rate = field("rate", read_rate, "") if has_rate else field("speed", rate_of_speed, "")
    at_cap, throttled = field("atCap", _read_at_cap, "stop"), field("throttledRate", read_rate, "")
    daily_cap = field("dailyCap", read_bytes, None)
    if kind in ("data", "mixed") and given.get("dataCap") is None:
        wrong["dataCap"] = _("Say how many bytes it has.")
    if kind in ("online", "mixed") and validity_s is not None and validity_s < duration_s:
        wrong["validity"] = _("It cannot be over before its time can be used up.")
    if at_cap == "throttle" and not throttled:
        wrong["throttledRate"] = _("Say how fast it is after the cap, such as 256k/512k.")
    is_addon = field("addon", read_flag, instead=False)
    if is_addon and (kind != "data" or is_trial):
        wrong["addon"] = _("Only a package of data can be added to another.")
    lifetime_s, online_s = _times(kind, duration_s, validity_s)
    offer = Offer(
        name, price_cents, duration_s, rate, data_cap, field("devices", read_devices, 1), service, kind,
        lifetime_s, online_s, daily_cap, at_cap, throttled if at_cap == "throttle" else "",
        field("group", _read_group, ""), field("hidden", read_flag, instead=False), is_trial, is_addon,
        field("sites", _read_sites, ()),
    )  # fmt: skip
    if wrong:
        raise Refused(_("The package is not complete."), code="invalid_fields", fields=wrong)
    return offer


def _kind(given: Mapping[str, Any], wrong: dict[str, Text]) -> tuple[str, str]:
    """(service, kind): `kind` names either, `forPppoe` the former."""
    for_pppoe, word = given.get("forPppoe"), given.get("kind")
    if not isinstance(for_pppoe or False, bool):
        wrong["forPppoe"] = _("Must be true or false.")
        for_pppoe = None
    service = "pppoe" if for_pppoe else "hotspot"
    if word in SERVICES:
        if for_pppoe is not None and for_pppoe != (word == "pppoe"):
            value = "true" if for_pppoe else "false"
            wrong["forPppoe"] = _("A package of kind %(kind)s cannot have it %(value)s.", kind=word, value=value)
        return str(word), "time" if given.get("dataCap") is None else "mixed"
    if word in KINDS:
        return service, str(word)
    if word not in (None, ""):
        wrong["kind"] = _("Must be time, online, data or mixed.")
    return service, "time" if given.get("dataCap") is None else "mixed"


def _times(kind: str, duration_s: int, validity_s: int | None) -> tuple[int, int | None]:
    """(how long after its opening it ends, how long online it is good for)."""
    if kind == "online":
        return validity_s or max(duration_s, ONLINE_VALID_S), duration_s
    if kind == "data":
        return validity_s or duration_s, None
    if kind == "mixed" and validity_s is not None and validity_s > duration_s:
        return validity_s, duration_s
    return duration_s, None


def read_name(value: object) -> str:
    """What it is called. Raises Refused."""
    name = " ".join(_text(value).split())
    if not name:
        raise Refused(_("Give the package a name, such as 1 hour."))
    if len(name) > LONGEST_NAME:
        raise Refused(_("At most %(count)s characters.", count=LONGEST_NAME))
    return name


def _read_group(value: object) -> str:
    name = " ".join(_text(value).split())
    if len(name) > LONGEST_GROUP:
        raise Refused(_("At most %(count)s characters.", count=LONGEST_GROUP))
    return name


def read_duration(value: object) -> int:
    """How many seconds it lasts. Raises Refused."""
    duration_s = _whole(value, LEAST_S, LONGEST_S)
    if duration_s is None:
        raise Refused(_("Seconds from 60 to one year, such as 3600."))
    return duration_s


def _read_validity(value: object) -> int | None:
    return None if value is None else read_duration(value)


def read_bytes(value: object) -> int | None:
    """After how many bytes it ends; None for no limit. Raises Refused."""
    octets = None if value is None else _whole(value, 1, MOST_BYTES)
    if value is not None and octets is None:
        raise Refused(_("Bytes, such as 1000000000, or nothing for no limit."))
    return octets


def read_devices(value: object) -> int:
    """On how many devices it may be used at once; one where nothing is said. Raises Refused."""
    devices = 1 if value is None else _whole(value, 1, MOST_DEVICES)
    if devices is None:
        raise Refused(_("A whole number from 1 to 50."))
    return devices


def read_rate(value: object) -> str:
    """MikroTik's rate limit, up/down; empty for no limit. Raises Refused."""
    rate = " ".join(_text(value).split())
    if rate and (not _RATE.fullmatch(rate) or len(rate) > LONGEST_RATE):
        raise Refused(_("MikroTik's form, up and down, such as 2M/5M; or nothing for no limit."))
    return rate


def rate_of_speed(value: object) -> str:
    """MikroTik's rate limit of a speed such as `5 Mbps`; empty for none. Raises Refused."""
    speed = " ".join(_text(value).split())
    if not speed:
        return ""
    stated = _SPEED.fullmatch(speed)
    if stated is None:
        raise Refused(_("Such as 5 Mbps; or nothing for no limit."))
    one_way = f"{stated.group(1)}{stated.group(2).upper().replace('K', 'k')}"
    return f"{one_way}/{one_way}"


def read_kbps(value: object) -> int | None:
    """Kilobits of a speed in Mbps as people write it (`5`, `0.5`); None for none. Raises Refused."""
    written = _text(value).strip().removesuffix("Mbps").strip()
    if not written:
        return None
    if not _MBPS.fullmatch(written) or not (kbps := round(float(written.replace(",", ".")) * 1_000)):
        raise Refused(_("Mbps, such as 5 or 0.5."))
    return kbps


def rate_of(down_kbps: int | None, up_kbps: int | None, burst_kbps: int | None = None, burst_s: int = 10) -> str:
    """MikroTik's rate limit of speeds in kilobits: up/down, and for a burst what it reaches and how long it lasts.

    The line may burst while its mean over the last seconds is under three quarters of its speed: so it bursts for
    `burst_s` after it was idle. Source: MikroTik's queue manual, burst time = burst_s * burst / threshold.
    """
    if not down_kbps:
        return ""
    up_kbps = up_kbps or down_kbps
    plain = f"{_short(up_kbps)}/{_short(down_kbps)}"
    if not burst_kbps or burst_kbps <= down_kbps:
        return plain
    up_burst = up_kbps * burst_kbps // down_kbps
    thresholds = [int(one * BURST_FROM) for one in (up_kbps, down_kbps)]
    window_s = max(1, round(burst_s * burst_kbps / thresholds[1]))
    bursts = f"{_short(up_burst)}/{_short(burst_kbps)}"
    return f"{plain} {bursts} {_short(thresholds[0])}/{_short(thresholds[1])} {window_s}/{window_s}"


def speeds_of(rate: str) -> tuple[int | None, int | None, int | None, int]:
    """(down, up, burst down in kilobits, seconds of burst) of a rate that `rate_of` or people wrote."""
    if not rate:
        return None, None, None, 10
    pairs = [_kbps_pair(pair) for pair in rate.split()[:3]]
    up, down = pairs[0]
    if len(pairs) < 3 or len(rate.split()) < 4 or not pairs[1][1]:
        return down, up, None, 10
    window_s = int(rate.split()[3].split("/")[-1].rstrip("kMG"))
    return down, up, pairs[1][1], max(1, round(window_s * pairs[2][1] / pairs[1][1]))


def _kbps_pair(pair: str) -> tuple[int, int]:
    up, _slash, down = pair.partition("/")
    return _kbps(up), _kbps(down or up)


def _kbps(text: str) -> int:
    factors = {"k": 1, "M": 1_000, "G": 1_000_000}
    return int(text[:-1]) * factors[text[-1]] if text[-1] in factors else int(text) // 1_000


def _short(kbps: int) -> str:
    return f"{kbps // 1_000}M" if kbps % 1_000 == 0 else f"{kbps}k"


def read_flag(value: object) -> bool:
    """Whether it is so; nothing said: not. Raises Refused."""
    if value is not None and not isinstance(value, bool):
        raise Refused(_("Must be true or false."))
    return bool(value)


def _read_at_cap(value: object) -> str:
    if value in (None, ""):
        return "stop"
    if value not in AT_CAP:
        raise Refused(_("Must be stop or throttle."))
    return str(value)


def _read_free(value: object) -> int:
    if value is not None and money.cents(value) != 0:
        raise Refused(_("A free trial costs nothing."))
    return 0


def _read_sites(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_SITES or not all(isinstance(one, str) for one in value):
        raise Refused(_("A list of the ids of sites, or nothing for all of them."))
    return tuple(dict.fromkeys(value))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refused(_("Must be text."))
    return str(value)


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
