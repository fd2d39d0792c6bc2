"""What was sold and used, by day, hour, package and site: charts with their tables, and a file for a spreadsheet."""

from datetime import date, timedelta

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from portal.gateways import client_factory
from portal.hotspot.sites import figures
from portal.hotspot.sites.figures import Figures, Sum
from portal.kernel import clock, money
from portal.staff.guard import needs
from portal.users.permissions import SEE_MONEY
from portal.web import charts
from portal.web.downloads import csv_file
from portal.web.filters import data_size

DAYS = (7, 30, 90)
HEADINGS = (_l("What"), _l("Name"), _l("Revenue in KES"), _l("Sales"), _l("Sessions"), _l("Bytes"))


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/usage", "usage", usage)
    bp.add_url_rule("/usage.csv", "usage_csv", usage_csv)


@needs(SEE_MONEY)
def usage() -> ResponseReturnValue:
    """The last days, in charts."""
    days, found = _asked()
    return render_template(
        "staff/usage.html",
        days=days,
        choices=[{"days": one, "url": url_for("staff.usage", days=one)} for one in DAYS],
        whole=_row("", found.whole),
        revenue_by_day=charts.columns(
            [(_day(at), one.cents, money.format_kes(one.cents)) for at, one in found.by_day.items()]
        ),
        data_by_day=charts.columns([(_day(at), one.bytes, _size(one.bytes)) for at, one in found.by_day.items()]),
        revenue_by_hour=charts.columns(
            [(f"{hour:02d}", one.cents, money.format_kes(one.cents)) for hour, one in found.by_hour.items()]
        ),
        data_by_hour=charts.columns(
            [(f"{hour:02d}", one.bytes, _size(one.bytes)) for hour, one in found.by_hour.items()]
        ),
        packages=_rows(found.by_package),
        sites=_rows(found.by_site),
        csv_url=url_for("staff.usage_csv", days=days),
    )


def _asked() -> tuple[int, Figures]:
    given = request.args.get("days", "")
    days = int(given) if given in {str(one) for one in DAYS} else DAYS[0]
    today = clock.nairobi(clock.now()).date()
    environment = client_factory.environment_of(g.tenant.id, "hotspot")
    return days, figures.between(g.tenant.id, today - timedelta(days=days - 1), today, environment=environment)


def _day(at: date) -> str:
    return f"{at.day}/{at.month}"


def _size(size_bytes: int) -> str:
    """With one decimal, since sums are no round numbers; `0 MB` for nothing."""
    return data_size(round(size_bytes, -8) if size_bytes >= 10**9 else round(size_bytes, -5)) or "0 MB"


def _row(name: str, one: Sum) -> dict[str, object]:
    return {
        "name": name, "cents": one.cents, "sales": one.sales, "stays": one.stays, "bytes": _size(one.bytes),
    }  # fmt: skip


def _rows(sums: dict[str, Sum]) -> list[dict[str, object]]:
    """The best first."""
    return [_row(name, one) for name, one in sorted(sums.items(), key=lambda item: (-item[1].cents, item[0]))]


@needs(SEE_MONEY)
def usage_csv() -> ResponseReturnValue:
    """The same sums as a file: one line a day, hour, package and site."""
    _days, found = _asked()
    parts = (
        (_("Day"), {str(at): one for at, one in found.by_day.items()}),
        (_("Hour"), {f"{hour:02d}": one for hour, one in found.by_hour.items()}),
        (_("Package"), found.by_package),
        (_("Site"), found.by_site),
    )
    rows = [
        (what, name, money.kes(one.cents), one.sales, one.stays, one.bytes)
        for what, sums in parts
        for name, one in sums.items()
    ]
    return csv_file(HEADINGS, rows, name="usage.csv")
