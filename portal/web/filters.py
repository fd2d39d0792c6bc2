"""How templates write what they are given: money, times, lengths and sizes in the reader's language."""

from collections.abc import Callable
from datetime import date, datetime

from flask import Flask
from flask_babel import gettext as _
from flask_babel import ngettext

from portal.kernel import clock, money


def set_up(app: Flask) -> None:
    """Give the templates their filters; `test_mode` is what a page says where it shows test money."""
    filters: dict[str, Callable[..., str | bool]] = {
        "kes": money.format_kes,
        "when": when,
        "on_day": on_day,
        "clock_time": clock_time,
        "day": day,
        "duration": duration,
        "says_duration": says_duration,
        "data_size": data_size,
        "grouped": grouped,
    }
    for name, shown_as in filters.items():
        app.add_template_filter(shown_as, name)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(lambda: {"test_mode": False})


def grouped(code: str | None) -> str:
    """A code in groups that can be read out: `SKL1 ABCD 23`; a voucher's nine as on its paper: `67X G63 XU4`."""
    text = code or ""
    size = 3 if len(text) == 9 else 4
    return " ".join(text[at : at + size] for at in range(0, len(text), size))


def when(at: datetime | None) -> str:
    """`21 Nov 2026, 15:42` on a Nairobi clock."""
    if at is None:
        return "–"
    local = clock.nairobi(at)
    months = _("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
    return f"{local.day} {months[local.month - 1]} {local.year}, {local:%H:%M}"


def on_day(at: datetime | None) -> str:
    """`21 Nov 2026`, the day in Nairobi."""
    return when(at).partition(",")[0]


def clock_time(at: datetime | None) -> str:
    """`15:42` on a Nairobi clock."""
    return f"{clock.nairobi(at):%H:%M}" if at else "–"


def day(on: date) -> str:
    """`Monday 23 Nov`."""
    weekdays = _("Monday Tuesday Wednesday Thursday Friday Saturday Sunday").split()
    months = _("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
    return f"{weekdays[on.weekday()]} {on.day} {months[on.month - 1]}"


def duration(seconds: float) -> str:
    """`1 hour`, `7 days`: the largest unit that fits."""
    minutes = max(0, int(seconds) // 60)
    if minutes and minutes % 1440 == 0:
        return ngettext("%(num)s day", "%(num)s days", minutes // 1440)
    if minutes and minutes % 60 == 0:
        return ngettext("%(num)s hour", "%(num)s hours", minutes // 60)
    if minutes > 60:
        hours = ngettext("%(num)s hour", "%(num)s hours", minutes // 60)
        return hours + " " + ngettext("%(num)s minute", "%(num)s minutes", minutes % 60)
    return ngettext("%(num)s minute", "%(num)s minutes", minutes)


def says_duration(name: str, seconds: float) -> bool:
    """Whether a package's name says its time already, in the reader's words: `7 days`, or `1 week`."""
    days = int(seconds) // 86_400
    in_weeks = ngettext("%(num)s week", "%(num)s weeks", days // 7) if days and days % 7 == 0 else ""
    return name.strip().casefold() in (duration(seconds).casefold(), in_weeks.casefold())


def data_size(size_bytes: int | None) -> str:
    """`5 GB`, `500 MB`."""
    if not size_bytes:
        return ""
    if size_bytes >= 10**9:
        return f"{round(size_bytes / 10**9, 2):g} GB"
    return f"{round(size_bytes / 10**6, 2):g} MB"
