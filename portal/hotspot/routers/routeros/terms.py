"""A grant in RouterOS' words: the rows of its hotspot menus, and how it writes numbers and durations.

Decided: one profile for each speed and number of devices, named by them, so that a profile never changes and packages
of the same terms share it. Decided: `limit-uptime` is given to every user, though the reconciler takes the user away at
the end: who is online all the time is then cut off by the router alone, whatever becomes of us (wish 9).
"""

import math
import re

from portal.hotspot.routers.interface import Wanted
from portal.kernel import clock

OURS = re.compile(r"g:(\d+)(?: |$)")  # the comment of our rows; no other row is ever touched
USER_COLUMNS = (
    "name", "password", "profile", "mac-address", "limit-uptime", "limit-bytes-total", "comment", "disabled",
)  # fmt: skip
PROFILE_COLUMNS = ("name", "rate-limit", "shared-users", "add-mac-cookie")
_UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def grant_of(comment: object) -> int | None:
    """The grant that a row of ours is for; None: the row is not ours."""
    found = OURS.match(str(comment or ""))
    return int(found[1]) if found else None


def comment_of(wanted: Wanted) -> str:
    return f"g:{wanted.grant_id} exp:{clock.rfc3339(wanted.expires_at)}"


def profile_name(wanted: Wanted) -> str:
    return f"mlango {wanted.rate.replace(' ', ',') or 'full'} x{wanted.devices}"


def profile_row(wanted: Wanted) -> dict[str, str]:
    return {
        "name": profile_name(wanted),
        "rate-limit": wanted.rate,
        "shared-users": str(wanted.devices),
        "add-mac-cookie": "yes",
    }


def user_row(wanted: Wanted) -> dict[str, str]:
    """The user as it is to stand there. A MAC is bound only where the package is for one device."""
    whole_s = wanted.online_s if wanted.online_s is not None else lasting_s(wanted)
    return {
        "name": wanted.username,
        "password": wanted.password,
        "profile": profile_name(wanted),
        "mac-address": wanted.mac if wanted.devices == 1 and wanted.mac else "00:00:00:00:00:00",
        "limit-uptime": f"{whole_s}s",
        "limit-bytes-total": str(wanted.data_bytes or 0),
        "comment": comment_of(wanted),
        "disabled": "no",
    }


def lasting_s(wanted: Wanted) -> int:
    return max(1, math.ceil((wanted.expires_at - wanted.starts_at).total_seconds()))


def seconds(value: object) -> int:
    """`1w2d3h4m5s`, `01:02:03` or a number as seconds. Raises ValueError for anything else."""
    text = str(value).strip()
    if text.isdigit():
        return int(text)
    if re.fullmatch(r"(\d+d)?\d+:\d\d:\d\d", text):
        days, _, clock_part = text.rpartition("d") if "d" in text else ("0", "", text)
        hours, minutes, rest = clock_part.split(":")
        return int(days) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + int(rest)
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text[:40]!r} is no duration of RouterOS.")
    return sum(int(count or 0) * unit for count, unit in zip(found.groups(), _UNITS_S.values(), strict=False))


def plain(value: object) -> str:
    """A value as we would have written it: the reader turns yes and numbers into Python's own."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def differing(stands: dict[str, object], wanted: dict[str, str]) -> tuple[str, ...]:
    """The columns in which a row of the router is not as wanted; what RouterOS leaves out is its default."""
    return tuple(
        name for name, value in wanted.items() if _normal(name, plain(stands.get(name))) != _normal(name, value)
    )


def _normal(name: str, value: str) -> str:
    if name == "limit-uptime":
        return str(seconds(value or "0"))
    if name == "limit-bytes-total":
        return value or "0"
    if name == "mac-address":
        return value.upper() or "00:00:00:00:00:00"
    if name == "shared-users":
        return value or "1"
    if name in ("disabled", "add-mac-cookie"):
        return "yes" if value in ("yes", "true") else "no"
    return value
