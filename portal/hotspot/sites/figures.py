"""What was sold and used: by day, hour, package and site, in Nairobi's time.

Costs as much as the days that are asked for hold, whatever lies before them: each question goes by an index on when.
Decided: a sale counts where its pass was first used; what was not used yet is nowhere.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, select

from portal.hotspot.models import AccessGrant, AccessSession, Package, Purchase, Site
from portal.hotspot.vouchers.models import Voucher
from portal.kernel import clock
from portal.kernel.db import db
from portal.payments.models import Allocation, Transaction
from portal.payments.search import date_start

MOST_DAYS = 92


@dataclass
class Sum:
    """Money in cents, sales, stays online, and bytes of both directions."""

    cents: int = 0
    sales: int = 0
    stays: int = 0
    bytes: int = 0


@dataclass
class Figures:
    """Sums by day, by hour of the day (0 to 23), by package's and by site's name; all of them together."""

    whole: Sum = field(default_factory=Sum)
    by_day: dict[date, Sum] = field(default_factory=dict)
    by_hour: dict[int, Sum] = field(default_factory=lambda: {hour: Sum() for hour in range(24)})
    by_package: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    by_site: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))


def between(tenant_id: int, first: date, last: date, *, environment: str) -> Figures:
    """The figures of these days, both included, at most MOST_DAYS of them. environment: whose money."""
    first = max(first, last - timedelta(days=MOST_DAYS - 1))
    found = Figures(by_day={first + timedelta(days=n): Sum() for n in range((last - first).days + 1)})
    since, until = date_start(first), date_start(last + timedelta(days=1))
    _add_sales(found, tenant_id, environment, since, until)
    _add_stays(found, tenant_id, since, until)
    return found


def _hour_of(column: Any) -> ColumnElement[str]:
    """`2026-11-21 09` in UTC, of an instant's column."""
    if db.engine.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD HH24")
    return func.substr(cast(column, Text), 1, 13)


def _local(hour: str) -> datetime:
    return clock.nairobi(datetime.strptime(hour, "%Y-%m-%d %H").replace(tzinfo=UTC))


def _add_sales(found: Figures, tenant_id: int, environment: str, since: datetime, until: datetime) -> None:
    """Money that paid for packages when it was paid, by package; by site where the pass was used."""
    hour = _hour_of(Transaction.occurred_at)
    first_site = (
        select(AccessSession.site_id)
        .where(AccessSession.grant_id == AccessGrant.leader_id)
        .order_by(AccessSession.started_at)
        .limit(1)
        .correlate(AccessGrant)
        .scalar_subquery()
    )
    names = _site_names(tenant_id)
    for bought, opened in (
        (Purchase, AccessGrant.purchase_id == Purchase.id),
        (Voucher, AccessGrant.voucher_id == Voucher.id),  # sold for cash
    ):
        sold = (
            select(
                hour.label("hour"), Package.name, first_site.label("site_id"), func.sum(Allocation.amount_cents),
                func.count(Allocation.payment_id.distinct()),
            )
            .select_from(Transaction)
            .join(Allocation, Allocation.transaction_id == Transaction.id)
            .join(bought, bought.payment_id == Allocation.payment_id)
            .join(Package, Package.id == bought.package_id)
            .outerjoin(AccessGrant, opened)
            .where(Transaction.tenant_id == tenant_id, Transaction.environment == environment)
            .where(Transaction.occurred_at >= since, Transaction.occurred_at < until)
            .where(Allocation.taken_back_at.is_(None))
            .group_by("hour", Package.name, "site_id")
        )  # fmt: skip
        for at, package, site_id, cents, sales in db.session.execute(sold):
            when = _local(at)
            sums = [found.whole, found.by_hour[when.hour], found.by_package[package]]
            sums += [found.by_day[when.date()]] if when.date() in found.by_day else []
            sums += [found.by_site[names[site_id]]] if site_id in names else []
            for one in sums:
                one.cents += int(cents)
                one.sales += int(sales)


def _add_stays(found: Figures, tenant_id: int, since: datetime, until: datetime) -> None:
    """Stays that began then, with all that they used."""
    hour = _hour_of(AccessSession.started_at)
    used = (
        select(
            hour.label("hour"), AccessSession.site_id, func.count(),
            func.sum(AccessSession.bytes_in + AccessSession.bytes_out),
        )
        .where(AccessSession.tenant_id == tenant_id)
        .where(AccessSession.started_at >= since, AccessSession.started_at < until)
        .group_by("hour", AccessSession.site_id)
    )  # fmt: skip
    names = _site_names(tenant_id)
    for at, site_id, stays, size in db.session.execute(used):
        when = _local(at)
        sums = [found.whole, found.by_hour[when.hour], found.by_site[names[site_id]]]
        sums += [found.by_day[when.date()]] if when.date() in found.by_day else []
        for one in sums:
            one.stays += int(stays)
            one.bytes += int(size or 0)


def _site_names(tenant_id: int) -> dict[int, str]:
    """Every site's name, those of closed ones too."""
    return {row[0]: row[1] for row in db.session.execute(select(Site.id, Site.name).where(Site.tenant_id == tenant_id))}
