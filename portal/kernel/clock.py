"""Time: UTC inside, Nairobi for people and for Daraja. Tests and demonstrations may move it.

Every instant in the database is timezone-aware UTC. Daraja writes East Africa Time (UTC+3, no daylight
saving) as `YYYYMMDDHHmmss`. Source: Safaricom's captured callbacks.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

NAIROBI = ZoneInfo("Africa/Nairobi")
_offset = timedelta(0)


def now() -> datetime:
    """The present instant, aware, in UTC."""
    return datetime.now(UTC) + _offset


def move(by: timedelta) -> None:
    """Shift this process's clock by `by`, on top of earlier shifts. For tests and the simulator."""
    global _offset
    _offset += by


def reset() -> None:
    """Back to the true time."""
    global _offset
    _offset = timedelta(0)


def nairobi(at: datetime) -> datetime:
    """The same instant on a Nairobi wall clock."""
    return at.astimezone(NAIROBI)


def daraja_timestamp(at: datetime) -> str:
    """`YYYYMMDDHHmmss` in East Africa Time, as Daraja's Timestamp and TransactionDate are written."""
    return nairobi(at).strftime("%Y%m%d%H%M%S")


def parse_daraja_timestamp(text: object) -> datetime | None:
    """UTC instant of a Daraja time, `YYYYMMDDHHmmss` or `dd.mm.yyyy HH:MM:SS`; None if it is neither."""
    raw = str(text).strip()
    if len(raw) not in (14, 19):  # strptime would read thirteen digits too, and wrongly
        return None
    if len(raw) == 14 and raw.isascii() and raw.isdigit():  # strptime's own way takes ten times as long
        try:
            return datetime.fromisoformat(f"{raw[:8]}T{raw[8:]}+0300").astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    for form in ("%Y%m%d%H%M%S", "%d.%m.%Y %H:%M:%S"):
        try:
            return datetime.strptime(raw, form).replace(tzinfo=NAIROBI).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def rfc3339(at: datetime) -> str:
    """`2026-11-21T09:30:00Z`: how the JSON API writes an instant."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
