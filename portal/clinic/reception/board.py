"""The day as the desk sees it: every visit, and every bill that was made at the desk, with how each stands.

Decided: a row's version is made of what it shows, not of when it changed: a poll compares what the page has with what
is now, row by row, so that a row in which somebody types is exchanged only when it really is another. The versions
are read by a few look-ups over the day; how many days lie behind makes no difference.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import selectinload

from portal.clinic.models import Appointment, Clinician, Invoice
from portal.clinic.reception.models import QueueTicket
from portal.kernel import clock
from portal.kernel.db import db
from portal.payments.models import Allocation, Payment, Push, Transaction
from portal.payments.states import PaymentState
from portal.payments.stk.push_states import OPEN, State
from portal.payments.stk.pushes import ANSWER_WITHIN

VERSION_DIGITS = 6
MOST_BILLS = 300  # made at the desk in one day and shown beside the visits


@dataclass(frozen=True)
class Row:
    """One visit, or one bill of somebody who walked in. key: of the row on its page.

    push: the request that tells how its payment stands. money: what paid it, oldest first.
    """

    key: str
    visit: Appointment | None
    invoice: Invoice | None
    push: Push | None
    money: tuple[Transaction, ...]
    ticket: QueueTicket | None

    @property
    def payment(self) -> Payment | None:
        return self.invoice.payment if self.invoice else None

    @property
    def receipt(self) -> str | None:
        """What the payer would name: the last one known."""
        known = [one.receipt for one in self.money if one.receipt]
        return known[-1] if known else None


def limits(first: date, days: int = 1) -> tuple[datetime, datetime]:
    """From when until when these days last, on the clinic's clock."""
    return (
        datetime.combine(first, time(), clock.NAIROBI),
        datetime.combine(first + timedelta(days=days), time(), clock.NAIROBI),
    )


@dataclass(frozen=True)
class View:
    """Which rows a page shows. days: how many from the first on. branch_id, clinician_id: None for all of them."""

    tenant_id: int
    first: date
    days: int = 1
    branch_id: int | None = None
    clinician_id: int | None = None


def _visits(view: View) -> "Select[Appointment]":
    start, end = limits(view.first, view.days)
    found = select(Appointment).where(
        Appointment.tenant_id == view.tenant_id, Appointment.starts_at >= start, Appointment.starts_at < end
    )
    if view.branch_id is not None:
        found = found.where(Appointment.branch_id == view.branch_id)
    if view.clinician_id is not None:
        found = found.where(Appointment.clinician_id == view.clinician_id)
    return found.order_by(Appointment.starts_at, Appointment.id)


def _bills(view: View) -> "Select[Invoice]":
    """What was made at the desk in these days, for no visit; the newest first."""
    start, end = limits(view.first, view.days)
    found = (
        select(Invoice)
        .outerjoin(Appointment, Appointment.invoice_id == Invoice.id)
        .where(
            Invoice.tenant_id == view.tenant_id,
            Invoice.created_at >= start,
            Invoice.created_at < end,
            Appointment.id.is_(None),
        )
    )
    if view.branch_id is not None:
        found = found.where(Invoice.branch_id == view.branch_id)
    return found.order_by(Invoice.id.desc()).limit(MOST_BILLS)


def rows(view: View) -> list[Row]:
    """The visits of these days in order, then the desk's bills; in as many look-ups however many there are."""
    whole = (
        selectinload(Appointment.patient),
        selectinload(Appointment.clinician),
        selectinload(Appointment.service),
        selectinload(Appointment.branch),
        selectinload(Appointment.invoice).selectinload(Invoice.payment),
    )
    visits = list(db.session.scalars(_visits(view).options(*whole)))
    bills = [] if view.clinician_id is not None else list(db.session.scalars(_with_payment(_bills(view))))
    return _rows(visits, bills)


def _with_payment(found: "Select[Invoice]") -> "Select[Invoice]":
    return found.options(selectinload(Invoice.payment), selectinload(Invoice.patient))


def row_of_visit(visit: Appointment) -> Row:
    """This visit's row."""
    return _rows([visit], [])[0]


def row_of_bill(invoice: Invoice) -> Row:
    """This invoice's row: its visit's, where it is for one."""
    visit = db.session.scalars(select(Appointment).where(Appointment.invoice_id == invoice.id)).one_or_none()
    return _rows([visit], [])[0] if visit else _rows([], [invoice])[0]


def _rows(visits: Sequence[Appointment], bills: Sequence[Invoice]) -> list[Row]:
    invoices = [one.invoice for one in visits if one.invoice] + list(bills)
    payment_ids = [one.payment_id for one in invoices]
    pushes, money = _last_pushes(payment_ids), _money_of(payment_ids)
    tickets = _tickets([one.id for one in visits])

    def row(key: str, visit: Appointment | None, invoice: Invoice | None) -> Row:
        payment_id = invoice.payment_id if invoice else 0
        ticket = tickets.get(visit.id) if visit else None
        return Row(key, visit, invoice, pushes.get(payment_id), tuple(money.get(payment_id, ())), ticket)

    return [row(one.uid, one, one.invoice) for one in visits] + [row(one.uid, None, one) for one in bills]


def _last_pushes(payment_ids: list[int]) -> dict[int, Push]:
    """{payment: the request that tells how it stands}: see `payments.status.last_push`."""
    tells = case(
        (Push.state == State.SUCCEEDED, 2),
        (Push.state.in_(OPEN | {State.UNCONFIRMED}) & (Push.created_at > clock.now() - 5 * ANSWER_WITHIN), 1),
        else_=0,
    )
    ranked = select(
        Push.id,
        func.row_number().over(partition_by=Push.payment_id, order_by=(tells.desc(), Push.id.desc())).label("place"),
    ).where(Push.payment_id.in_(payment_ids))
    first = ranked.subquery()
    ids = db.session.scalars(select(first.c.id).where(first.c.place == 1)).all() if payment_ids else ()
    found = db.session.scalars(select(Push).where(Push.id.in_(ids))) if ids else ()
    return {one.payment_id: one for one in found}


def _money_of(payment_ids: list[int]) -> dict[int, list[Transaction]]:
    """{payment: what paid it, oldest first}"""
    if not payment_ids:
        return {}
    paid = select(Allocation.payment_id, Allocation.transaction_id).where(
        Allocation.payment_id.in_(payment_ids),
        Allocation.taken_back_at.is_(None),
        Allocation.transaction_id.is_not(None),
    )
    given = db.session.execute(paid.order_by(Allocation.id)).all()
    known = select(Transaction).where(Transaction.id.in_([row.transaction_id for row in given]))
    money = {one.id: one for one in db.session.scalars(known)} if given else {}
    found: dict[int, list[Transaction]] = {}
    for row in given:
        found.setdefault(row.payment_id, []).append(money[row.transaction_id])
    return found


def _tickets(appointment_ids: list[int]) -> dict[int, QueueTicket]:
    mine = select(QueueTicket).where(QueueTicket.appointment_id.in_(appointment_ids))
    return {one.appointment_id or 0: one for one in db.session.scalars(mine)} if appointment_ids else {}


def versions(view: View) -> list[tuple[str, str]]:
    """[(key, version)] of the rows that the page shows, in its order; nothing sealed is opened for it.

    Each table is asked by the keys that the one before named: joined, a planner may rather read all of one.
    """
    stands = (
        Appointment.id, Appointment.uid, Appointment.invoice_id, Appointment.status, Appointment.starts_at,
        Appointment.clinician_id, Appointment.meeting_url, Appointment.arrived_at, Appointment.started_at,
        Appointment.ended_at, Appointment.attending_at,
    )  # fmt: skip
    visits = db.session.execute(_visits(view).with_only_columns(*stands)).all()
    bills = () if view.clinician_id else db.session.execute(_bills(view).with_only_columns(Invoice.uid, Invoice.id))
    bill_ids = {row.id: row.uid for row in bills}
    paid = _paid([*(row.invoice_id for row in visits if row.invoice_id), *bill_ids])
    queued = _queued([row.id for row in visits])
    nothing_paid, nothing_queued = (None,) * 5, (None,) * 3
    found = [
        (row.uid, _digest((*row[3:], *paid.get(row.invoice_id, nothing_paid), *queued.get(row.id, nothing_queued))))
        for row in visits
    ]
    return found + [(uid, _digest(paid[invoice_id])) for invoice_id, uid in bill_ids.items()]


def _paid(invoice_ids: list[int]) -> dict[int, tuple[object, ...]]:
    """{invoice: what of it and its payment is shown}"""
    if not invoice_ids:
        return {}
    asked = select(Invoice.id, Invoice.payment_id, Invoice.voided_at).where(Invoice.id.in_(invoice_ids))
    invoices = db.session.execute(asked).all()
    columns = (Payment.version, Payment.state, Payment.allocated_cents, Payment.refunded_cents)
    of = select(Payment.id, *columns).where(Payment.id.in_([row.payment_id for row in invoices]))
    payments = {row.id: tuple(row[1:]) for row in db.session.execute(of)}
    return {row.id: (row.voided_at, *payments[row.payment_id]) for row in invoices}


def _queued(appointment_ids: list[int]) -> dict[int, tuple[object, ...]]:
    if not appointment_ids:
        return {}
    columns = (QueueTicket.appointment_id, QueueTicket.number, QueueTicket.state, QueueTicket.room)
    asked = select(*columns).where(QueueTicket.appointment_id.in_(appointment_ids))
    return {row.appointment_id or 0: tuple(row[1:]) for row in db.session.execute(asked)}


def version_of(row: Row) -> str:
    """The same of one row."""
    payment, visit, ticket = row.payment, row.visit, row.ticket
    paid: tuple[object, ...] = (None,) * 4
    if payment is not None:
        paid = (payment.version, payment.state, payment.allocated_cents, payment.refunded_cents)
    voided_at = row.invoice.voided_at if row.invoice else None
    if visit is None:
        return _digest((voided_at, *paid))
    stands = (
        visit.status, visit.starts_at, visit.clinician_id, visit.meeting_url, visit.arrived_at, visit.started_at,
        visit.ended_at, visit.attending_at,
    )  # fmt: skip
    queued: tuple[object, ...] = (ticket.number, ticket.state, ticket.room) if ticket else (None,) * 3
    return _digest((*stands, voided_at, *paid, *queued))


def _digest(shown: Sequence[object]) -> str:
    told = [one.isoformat() if isinstance(one, datetime) else str(one) for one in shown]
    return f"{zlib.crc32(repr(told).encode()):08x}"[:VERSION_DIGITS]


@dataclass(frozen=True)
class Sums:
    """How the day stands. visits: those that are not off; due_cents: of visits and bills that can be paid."""

    visits: int
    arrived: int
    unpaid: int
    due_cents: int


OFF = ("cancelled", "declined")


def sums(found: Sequence[Row]) -> Sums:
    """How these rows stand together."""
    visits = [one.visit for one in found if one.visit is not None and one.visit.status not in OFF]
    owed = [one.payment.due_cents for one in found if one.payment and one.payment.state == PaymentState.OPEN]
    return Sums(len(visits), sum(1 for one in visits if one.arrived_at), len(owed), sum(owed))


def clinician_of(tenant_id: int, user_id: int) -> Clinician | None:
    """Who signs in as this person and treats here, or None."""
    mine = select(Clinician).where(
        Clinician.tenant_id == tenant_id, Clinician.user_id == user_id, Clinician.left_at.is_(None)
    )
    return db.session.scalars(mine.order_by(Clinician.id).limit(1)).one_or_none()
