"""The manager's figures: charts with their tables, and a file for a spreadsheet."""

from datetime import date, timedelta

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.clinic.billing import reports
from portal.clinic.billing.reports import Report, Sum
from portal.gateways import client_factory
from portal.kernel import clock, money
from portal.staff.guard import needs
from portal.users.permissions import RECONCILE
from portal.web import charts
from portal.web.downloads import csv_file
from portal.web.receipts import channel_word

DAYS = (7, 30, 90)


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/figures", "clinic_figures", figures)
    bp.add_url_rule("/figures.csv", "clinic_figures_csv", figures_csv)


@needs(RECONCILE)
def figures() -> ResponseReturnValue:
    """The last days, in charts."""
    days, found = _asked()
    by_day = [(f"{at.day}/{at.month}", one) for at, one in found.by_day.items()]
    methods = sorted(found.by_method.items(), key=lambda item: -item[1])
    return render_template(
        "staff/clinic_figures.html",
        days=days,
        choices=[{"days": one, "url": url_for("staff.clinic_figures", days=one)} for one in DAYS],
        whole=found.whole,
        report=found,
        received_by_day=charts.columns(
            [(at, one.received_cents, money.format_kes(one.received_cents)) for at, one in by_day]
        ),
        visits_by_day=charts.columns([(at, one.visits, str(one.visits)) for at, one in by_day]),
        missed_by_day=charts.columns([(at, one.missed, str(one.missed)) for at, one in by_day]),
        wait_by_day=charts.columns(
            [(at, one.wait_minutes or 0, _("%(minutes)s min", minutes=one.wait_minutes or 0)) for at, one in by_day]
        ),
        methods=[(_method(name), cents) for name, cents in methods],
        clinicians=_rows(found.by_clinician, _("Without a visit")),
        services=_rows(found.by_service, _("Without a service")),
        branches=_rows(found.by_branch, _("Without a branch")),
        csv_url=url_for("staff.clinic_figures_csv", days=days),
    )


def _method(name: str) -> str:
    return "M-Pesa" if name == "mpesa" else channel_word(name)


def _asked() -> tuple[int, Report]:
    given = request.args.get("days", "")
    days = int(given) if given in {str(one) for one in DAYS} else DAYS[0]
    today: date = clock.nairobi(clock.now()).date()
    environment = client_factory.environment_of(g.tenant.id, "clinic")
    return days, reports.between(g.tenant.id, today - timedelta(days=days - 1), today, environment=environment)


def _rows(sums: dict[str, Sum], nobody: str) -> list[tuple[str, Sum]]:
    """What earned most first."""
    ordered = sorted(sums.items(), key=lambda item: (-item[1].received_cents, -item[1].visits, item[0]))
    return [(name or nobody, one) for name, one in ordered]


@needs(RECONCILE)
def figures_csv() -> ResponseReturnValue:
    """The same sums as a file: one line a day, clinician, service and branch."""
    _days, found = _asked()
    parts = (
        (_("Day"), {str(at): one for at, one in found.by_day.items()}),
        (_("Clinician"), found.by_clinician),
        (_("Service"), found.by_service),
        (_("Branch"), found.by_branch),
    )
    rows = [
        (
            what, name, money.kes(one.received_cents), money.kes(one.billed_cents), money.kes(one.due_cents),
            one.visits, one.missed, one.cancelled, one.wait_minutes,
        )
        for what, sums in parts
        for name, one in sums.items()
    ]  # fmt: skip
    heads = (
        _("What"), _("Name"), _("Received in KES"), _("Billed in KES"), _("Still due in KES"), _("Visits"),
        _("Did not come"), _("Cancelled"), _("Mean wait in minutes"),
    )  # fmt: skip
    return csv_file(heads, rows, name="figures.csv")
