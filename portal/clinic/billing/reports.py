"""A manager's figures: what came and went, what is unpaid, who did not come, how long people waited.

By day, by clinician, by service, by branch and by method. Costs as much as the days that are asked for hold, whatever
lies before them: each question goes by an index on when.
Decided: money counts on the day it came, as in the drawer and on M-Pesa's statement; what is billed on the day of its
invoice; a visit on the day it begins.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, literal_column, select

from portal.clinic.models import Appointment, Branch, Clinician, Invoice, Service
from portal.kernel.db import db
from portal.payments.models import OWING, Allocation, Payment, Refund, Transaction
from portal.payments.search import date_start
from portal.payments.states import PaymentState

MOST_DAYS = 92
WALLET = "wallet"
OFFSET = "+3 hours"  # East Africa Time, which knows no summer time


@dataclass
class Sum:
    """Cents received, billed and due; visits that took place or were to, and how they ended; waits in seconds."""

    received_cents: int = 0
    billed_cents: int = 0
    due_cents: int = 0
    visits: int = 0
    missed: int = 0
    cancelled: int = 0
    waits: int = 0
    waited_s: int = 0

    @property
    def wait_minutes(self) -> int | None:
        """The mean wait from arrival to the beginning of the visit; None where nobody was timed."""
        return round(self.waited_s / self.waits / 60) if self.waits else None

    @property
    def missed_percent(self) -> int | None:
        """Of the visits that were due, those to which nobody came."""
        return round(100 * self.missed / self.visits) if self.visits else None


@dataclass
class Report:
    """Sums of all together and by day, clinician, service and branch; received by method; sent back; due by now.

    A name of "" is of what has none: an invoice without a visit, a visit without a branch.
    """

    whole: Sum = field(default_factory=Sum)
    by_day: dict[date, Sum] = field(default_factory=dict)
    by_clinician: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    by_service: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    by_branch: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    by_method: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    sent_back_cents: int = 0
    outstanding_cents: int = 0
    outstanding: int = 0


def between(tenant_id: int, first: date, last: date, *, environment: str) -> Report:
    """The figures of these days, both included, at most MOST_DAYS of them. environment: whose money."""
    first = max(first, last - timedelta(days=MOST_DAYS - 1))
    found = Report(by_day={first + timedelta(days=n): Sum() for n in range((last - first).days + 1)})
    since, until = date_start(first), date_start(last + timedelta(days=1))
    _add_received(found, tenant_id, environment, since, until)
    _add_billed(found, tenant_id, environment, since, until)
    _add_visits(found, tenant_id, since, until)
    found.sent_back_cents = _sent_back(tenant_id, environment, since, until)
    found.outstanding, found.outstanding_cents = _outstanding(tenant_id, environment)
    return found


def _day_of(column: Any) -> ColumnElement[str]:
    """`2026-11-21` in Nairobi, of an instant's column."""
    if db.engine.dialect.name == "postgresql":
        return func.to_char(func.timezone("Africa/Nairobi", column), "YYYY-MM-DD")
    return cast(func.date(column, OFFSET), Text)


def _seconds(later: Any, earlier: Any) -> Any:
    if db.engine.dialect.name == "postgresql":
        return func.extract("epoch", later - earlier)
    return (func.julianday(later) - func.julianday(earlier)) * 86_400


_WHOSE = (Clinician.name.label("clinician"), Service.name.label("service"), Branch.name.label("branch"))
_BY = ("day", "clinician", "service", "branch")


def _of_invoices(asked: Any) -> Any:
    """The same with whose visit each invoice is of, and at which branch."""
    return (
        asked.outerjoin(Appointment, Appointment.invoice_id == Invoice.id)
        .outerjoin(Clinician, Clinician.id == Appointment.clinician_id)
        .outerjoin(Service, Service.id == Appointment.service_id)
        .outerjoin(Branch, Branch.id == func.coalesce(Appointment.branch_id, Invoice.branch_id))
    )


def _sums_of(found: Report, row: Any) -> list[Sum]:
    """Everything that a row counts in."""
    sums = [
        found.whole,
        found.by_clinician[row.clinician or ""],
        found.by_service[row.service or ""],
        found.by_branch[row.branch or ""],
    ]
    day = date.fromisoformat(row.day)
    return sums + ([found.by_day[day]] if day in found.by_day else [])


def _add_received(found: Report, tenant_id: int, environment: str, since: datetime, until: datetime) -> None:
    """Money that paid invoices, and what wallets paid of them, when it did."""
    came = (
        select(
            _day_of(Transaction.occurred_at).label("day"), *_WHOSE, Transaction.provider, Transaction.channel,
            func.sum(Allocation.amount_cents).label("cents"),
        )
        .select_from(Transaction)
        .join(Allocation, and_(Allocation.transaction_id == Transaction.id, Allocation.taken_back_at.is_(None)))
        .join(Invoice, Invoice.payment_id == Allocation.payment_id)
        .where(Transaction.tenant_id == tenant_id, Transaction.environment == environment)
        .where(Transaction.occurred_at >= since, Transaction.occurred_at < until)
        .group_by(*_BY, Transaction.provider, Transaction.channel)
    )  # fmt: skip
    spent = (
        select(_day_of(Allocation.created_at).label("day"), *_WHOSE, func.sum(Allocation.amount_cents).label("cents"))
        .select_from(Allocation)
        .join(Payment, Payment.id == Allocation.payment_id)
        .join(Invoice, Invoice.payment_id == Payment.id)
        .where(Allocation.tenant_id == tenant_id, Payment.environment == environment)
        .where(Allocation.customer_id.is_not(None), Allocation.taken_back_at.is_(None))
        .where(Allocation.created_at >= since, Allocation.created_at < until)
        .group_by(*_BY)
    )
    for row in db.session.execute(_of_invoices(came)):
        found.by_method["mpesa" if row.provider == "mpesa" else row.channel] += int(row.cents)
        for one in _sums_of(found, row):
            one.received_cents += int(row.cents)
    for row in db.session.execute(_of_invoices(spent)):
        found.by_method[WALLET] += int(row.cents)
        for one in _sums_of(found, row):
            one.received_cents += int(row.cents)


def _add_billed(found: Report, tenant_id: int, environment: str, since: datetime, until: datetime) -> None:
    """What invoices of these days ask for, and what of it is still due."""
    is_open = Payment.state == PaymentState.OPEN
    due = case((is_open, Payment.amount_cents - Payment.allocated_cents), else_=0)
    asked = (
        select(
            _day_of(Invoice.created_at).label("day"), *_WHOSE, func.sum(Payment.amount_cents).label("billed"),
            func.sum(due).label("due"),
        )
        .select_from(Invoice)
        .join(Payment, Payment.id == Invoice.payment_id)
        .where(Invoice.tenant_id == tenant_id, Payment.environment == environment, Invoice.voided_at.is_(None))
        .where(Invoice.created_at >= since, Invoice.created_at < until)
        .group_by(*_BY)
    )  # fmt: skip
    for row in db.session.execute(_of_invoices(asked)):
        for one in _sums_of(found, row):
            one.billed_cents += int(row.billed)
            one.due_cents += int(row.due)


def _add_visits(found: Report, tenant_id: int, since: datetime, until: datetime) -> None:
    """Visits that were to begin in these days, and how long who came had waited."""
    is_timed = Appointment.arrived_at.is_not(None) & Appointment.started_at.is_not(None)
    waited = case((is_timed, _seconds(Appointment.started_at, Appointment.arrived_at)), else_=0)
    seen = (
        select(
            _day_of(Appointment.starts_at).label("day"), *_WHOSE, Appointment.status, func.count().label("visits"),
            func.sum(case((is_timed, 1), else_=0)).label("waits"), func.sum(waited).label("waited_s"),
        )
        .select_from(Appointment)
        .join(Clinician, Clinician.id == Appointment.clinician_id)
        .outerjoin(Service, Service.id == Appointment.service_id)
        .outerjoin(Branch, Branch.id == Appointment.branch_id)
        .where(Appointment.tenant_id == tenant_id)
        .where(Appointment.starts_at >= since, Appointment.starts_at < until)
        .group_by(*_BY, Appointment.status)
    )  # fmt: skip
    for row in db.session.execute(seen):
        for one in _sums_of(found, row):
            is_due = row.status in ("confirmed", "started", "completed", "no_show")
            one.visits += int(row.visits) if is_due else 0
            one.missed += int(row.visits) if row.status == "no_show" else 0
            one.cancelled += int(row.visits) if row.status == "cancelled" else 0
            one.waits += int(row.waits)
            one.waited_s += max(0, round(row.waited_s or 0))


def _sent_back(tenant_id: int, environment: str, since: datetime, until: datetime) -> int:
    """Cents that went back to payers of invoices in these days."""
    gone = (
        select(func.coalesce(func.sum(Refund.amount_cents), 0))
        .join(Invoice, Invoice.payment_id == Refund.payment_id)
        .where(Refund.tenant_id == tenant_id, Refund.environment == environment)
        .where(literal_column("refunds.state = 'done'"), Refund.ended_at >= since, Refund.ended_at < until)
    )
    return int(db.session.scalar(gone) or 0)


def _outstanding(tenant_id: int, environment: str) -> tuple[int, int]:
    """(invoices that are not paid in full now, cents that they still want), whenever they were issued."""
    owed = (
        select(func.count(), func.coalesce(func.sum(Payment.amount_cents - Payment.allocated_cents), 0))
        .select_from(Payment)
        .join(Invoice, Invoice.payment_id == Payment.id)
        .where(Payment.tenant_id == tenant_id, OWING.waits, Payment.environment == environment)
    )
    count, cents = db.session.execute(owed).one()
    return int(count), int(cents)
