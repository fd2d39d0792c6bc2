"""What Daraja accepts in a field. Each answers the value or None; the doors say which field was wrong."""

import ipaddress
import math
import re
from typing import Any
from urllib.parse import urlsplit

FORBIDDEN_WORDS = ("mpesa", "m-pesa", "safaricom", "exe", "exec", "cmd", "sql", "query")
MAX_SHILLINGS = 250_000
_MSISDN = re.compile(r"254[17]\d{8}", re.ASCII)
_SHORTCODE = re.compile(r"\d{5,7}", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


def shortcode(value: Any) -> str | None:
    """Five to seven digits, as text or number."""
    text = _plain(value)
    return text if _SHORTCODE.fullmatch(text) else None


def msisdn(value: Any) -> str | None:
    """`2547XXXXXXXX` or `2541XXXXXXXX`, as text or number."""
    text = _plain(value)
    return text if _MSISDN.fullmatch(text) else None


def whole_shillings(value: Any, *, most: int | None = MAX_SHILLINGS) -> int | None:
    """A whole amount of at least 1, without a decimal point."""
    text = _plain(value)
    if not _WHOLE.fullmatch(text) or int(text) < 1:
        return None
    return int(text) if most is None or int(text) <= most else None


def registered_url(value: Any, *, is_strict: bool) -> str | None:
    """An address for C2B. Safaricom refuses there, and only there, those that hold certain words, in any case."""
    url = callback_url(value, is_strict=is_strict)
    return None if url is None or any(word in url.lower() for word in FORBIDDEN_WORDS) else url


def callback_url(value: Any, *, is_strict: bool) -> str | None:
    """An address that Daraja would call: https to a public host; loopback and private hosts unless strict."""
    if not isinstance(value, str) or len(value) > 2000 or any(character.isspace() for character in value):
        return None
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises where the port is no number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    private = _is_private(host)
    if is_strict and (private or parts.scheme != "https"):
        return None
    return value if parts.scheme == "https" or private else None


def is_digits(text: str) -> bool:
    """Whether it is a number of 1 to 9 digits, as SQLite and `int` take it."""
    return bool(_WHOLE.fullmatch(text))


def finite(value: Any) -> float:
    """The number that a control door was given. Raises ValueError or TypeError for none, and for one without end."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} has no end.")
    return number


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".localhost", ".local", ".internal"))


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).strip()
