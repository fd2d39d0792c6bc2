"""How RouterOS writes what it knows: times, sizes, rates, addresses, yes and no."""

import ipaddress
import re
from collections.abc import Callable

_UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TIME = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_CLOCK = re.compile(r"(?:(?:(\d+)w)?(\d+)d ?)?(\d{1,3}):(\d\d)(?::(\d\d))?", re.ASCII)
_SIZE = re.compile(r"(\d+)([kKMG]?)", re.ASCII)
_RATE = re.compile(r"\d+[kM]?(/\d+[kM]?)?", re.ASCII)
_MAC = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}", re.ASCII)
_FACTORS = {"": 1, "k": 1024, "K": 1024, "M": 1024**2, "G": 1024**3}


class Invalid(ValueError):
    """Not a value of its kind; the text is RouterOS' word for that kind."""


def seconds(text: str) -> int:
    """`1w2d3h4m5s`, `01:30:00`, `1d 02:00:00` or plain seconds. Raises Invalid."""
    if text.isascii() and text.isdigit():
        return int(text)
    if found := _CLOCK.fullmatch(text):
        weeks, days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        return weeks * 604_800 + days * 86_400 + hours * 3_600 + minutes * 60 + rest
    found = _TIME.fullmatch(text)
    if not text or found is None:
        raise Invalid("time")
    return sum(int(part or 0) * unit for part, unit in zip(found.groups(), _UNITS_S.values(), strict=True))


def duration(length_s: float) -> str:
    """`1h1m1s`; `0s` for nothing."""
    rest, said = int(length_s), ""
    for letter, unit in _UNITS_S.items():
        count, rest = divmod(rest, unit)
        said += f"{count}{letter}" if count else ""
    return said or "0s"


def size(text: str) -> int:
    """Bytes, `500M` and `2G` of 1024 as well. Raises Invalid."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Invalid("number")
    return int(found[1]) * _FACTORS[found[2]]


def _size(text: str) -> str:
    return str(size(text))


def _time(text: str) -> str:
    return text if text == "none" else duration(seconds(text))


def _flag(text: str) -> str:
    if text not in ("yes", "no", "true", "false"):
        raise Invalid("bool")
    return "true" if text in ("yes", "true") else "false"


def _number(text: str) -> str:
    if not (text.isascii() and text.isdigit()) and text != "unlimited":
        raise Invalid("number")
    return text


def mac(text: str) -> str:
    """`AA:BB:CC:DD:EE:FF` of any case and separator. Raises Invalid."""
    canonical = text.upper().replace("-", ":")
    if not _MAC.fullmatch(canonical):
        raise Invalid("mac-address")
    return canonical


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text)).removesuffix("/32")
    except ValueError:
        raise Invalid("ip-address") from None


def _rate(text: str) -> str:
    """Up and down, then burst, threshold, time, priority and least: six parts at most, the first three a pair each."""
    parts = text.split(" ")
    if len(parts) > 6 or any(not _RATE.fullmatch(part) for part in parts):
        raise Invalid("rate-limit")
    return text


def _text(text: str) -> str:
    return text


KINDS: dict[str, Callable[[str], str]] = {
    "text": _text,
    "time": _time,
    "bytes": _size,
    "flag": _flag,
    "number": _number,
    "mac": mac,
    "address": _address,
    "rate": _rate,
}


def canonical(kind: str, text: str) -> str:
    """What is kept of a value that was given. Raises Invalid."""
    return KINDS[kind](text)


def rate_pair(rate: str) -> tuple[str, str]:
    """(up, down) of `2M/5M 4M/10M …`; one figure is both."""
    up, _, down = rate.split(" ")[0].partition("/")
    return up, down or up
