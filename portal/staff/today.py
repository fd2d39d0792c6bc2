"""The counter: today's figures and appointments, and money as it arrives."""

import zlib
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import ColumnElement, func, select

from portal.clinic import appointments, people, services
from portal.clinic.models import Appointment
from portal.fulfilment import receipt_of
from portal.gateways import client_factory, settings
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.phone import as_shown
from portal.notifications import notices
from portal.payments import provisional, search, stuck
from portal.payments.models import Transaction
from portal.payments.states import PaymentState
from portal.staff.guard import needs, read_row_id
from portal.tenants.models import Tenant
from portal.users import permissions
from portal.users.permissions import MANAGE_CLINIC, REQUEST_PAYMENT, SEE_MONEY, WORK_CLINIC

LIVE_ROWS, NEW_FOR = 12, timedelta(seconds=60)


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/", "today", today)
    bp.add_url_rule("/live", "live", live)
    bp.add_url_rule("/notices", "notices_read", notices_read, methods=["POST"])


@needs(SEE_MONEY, looks_at="today")
def today() -> ResponseReturnValue:
    """What a receptionist keeps open all day."""
    return render_template("staff/today.html", first_steps=_first_steps(), **_shown(_version(g.tenant)))


def _first_steps() -> list[dict[str, Any]]:
    """What a new clinic still needs before anybody can book, for who may do it; nothing once all is there."""
    if not g.tenant.is_clinic or not permissions.allows(g.role, MANAGE_CLINIC):
        return []
    steps = [
        (_("Say where the clinic is"), "staff.business", bool(g.tenant.address)),
        (_("Choose how you are paid"), "staff.gateways", bool(settings.of_tenant(g.tenant.id))),
        (_("Add who treats, and their hours"), "staff.timetable", bool(services.weeks_of(g.tenant.id))),
        (_("Offer a service"), "staff.service_new", bool(services.offered(g.tenant.id))),
    ]
    if all(is_done for *_names, is_done in steps):
        return []
    return [{"label": label, "url": url_for(endpoint), "is_done": is_done} for label, endpoint, is_done in steps]


def _shown(version: str) -> dict[str, Any]:
    """Everything that arriving money changes on this page."""
    tenant = g.tenant
    environment = client_factory.environment_of(tenant.id)
    seen = appointments.between(tenant.id, *_day()) if tenant.is_clinic else None
    return {
        "stats": search.figures(tenant.id, environment),
        "unproved_count": _unproved(tenant.id),
        "stuck_count": _stuck(tenant.id),
        "stuck_url": url_for("staff.stuck"),
        "appointments": None if seen is None else [row_of(one) for one in seen],
        "items": items_of(arrived_money(tenant.id)),
        "notices": notices.unread(tenant.id, current_user.id),
        "live_url": url_for("staff.live", v=version),
        "to_place_url": url_for("staff.unmatched"),
        "refused": [one.name for one in settings.of_tenant(tenant.id) if one.refused_at],
        "gateways_url": url_for("staff.gateways"),
        "new_url": url_for("staff.new_invoice")
        if tenant.is_clinic and permissions.allows(g.role, WORK_CLINIC)
        else None,
    }


def row_of(one: Appointment) -> dict[str, Any]:
    """One appointment for a staff page."""
    payment = one.invoice.payment if one.invoice else None
    may_ask = permissions.allows(g.role, REQUEST_PAYMENT)
    is_paid = payment is not None and payment.state == PaymentState.PAID
    return {
        "time": one.starts_at,
        "starts_at": one.starts_at,
        "patient": people.name_of(one.patient),
        "clinician": one.clinician.name,
        "kind": one.kind,
        "status": one.status,
        "due_cents": payment.due_cents if payment and payment.state != PaymentState.CLOSED else 0,
        "part_paid": bool(payment and payment.allocated_cents),
        "paid": is_paid,
        "receipt": receipt_of(payment) if payment and is_paid else None,
        "url": url_for("staff.attempt", token=payment.token) if payment else url_for("staff.appointments"),
        "pay_url": url_for("pay.show", token=payment.token)
        if may_ask and payment and payment.state == PaymentState.OPEN
        else None,
    }


def _arrived(tenant_id: int) -> ColumnElement[bool]:
    return (Transaction.tenant_id == tenant_id) & search.is_for_staff(client_factory.environment_of(tenant_id))


def _day() -> tuple[datetime, datetime]:
    start = search.date_start(clock.nairobi(clock.now()).date())
    return start, start + timedelta(days=1)


def _version(tenant: Tenant) -> str:
    """What tells whether anything on this page changed: digits and hyphens."""
    visits = appointments.states_between(tenant.id, *_day()) if tenant.is_clinic else []
    told = [one.id for one in notices.unread(tenant.id, current_user.id)]
    also = zlib.crc32(repr((visits, told, _unproved(tenant.id), _stuck(tenant.id))).encode())
    return f"{money_version(tenant.id)}-{also}"


def _unproved(tenant_id: int) -> int:
    """How many payments without a receipt wait for a person's word; beyond a hundred it does not matter."""
    return sum(len(page) for page, _next in (provisional.to_decide(tenant_id), provisional.without_receipt(tenant_id)))


def _stuck(tenant_id: int) -> int:
    """How many things the product gave up on, or waits for without end."""
    return sum(stuck.counts(tenant_id).values())


def money_version(tenant_id: int) -> str:
    """Tells whether money came or was placed."""
    newest = select(func.max(Transaction.id)).where(_arrived(tenant_id))
    to_place = select(func.coalesce(func.sum(Transaction.unallocated_cents), 0)).where(
        _arrived(tenant_id), Transaction.unallocated_cents > 0
    )
    return f"{db.session.scalar(newest) or 0}-{db.session.scalar(to_place)}"


def arrived_money(tenant_id: int, most: int = LIVE_ROWS) -> list[Transaction]:
    """The money that came last, newest first."""
    newest = select(Transaction).where(_arrived(tenant_id), Transaction.merged_into_id.is_(None))
    return list(db.session.scalars(newest.order_by(Transaction.id.desc()).limit(most)))


def items_of(money: list[Transaction]) -> list[dict[str, Any]]:
    """Each of these for a strip of arriving money."""
    references = search.references_of(money)
    return [
        {
            "receipt": one.receipt,
            "amount_cents": one.amount_cents,
            "at": one.occurred_at,
            "payer": as_shown(one.payer_shown),
            "reference": references[one.id],
            "state": one.state,
            "url": url_for("staff.payment", uid=one.uid),
            "is_test": one.environment == "sandbox",
            "is_new": clock.now() - one.created_at < NEW_FOR,
        }
        for one in money
    ]


@needs(SEE_MONEY)
def live() -> ResponseReturnValue:
    """The strip of arriving money with the rows and figures that it changed, or 204 where nothing arrived."""
    if "HX-Request" not in request.headers:
        return redirect(url_for("staff.today"), 302)
    version = _version(g.tenant)
    if request.args.get("v") == version:
        return "", 204
    return render_template("staff/_live.html", **_shown(version))


@needs(SEE_MONEY)
def notices_read() -> ResponseReturnValue:
    """Somebody has read what stands on their page."""
    if (last_id := read_row_id(request.form.get("last", ""))) is not None:
        with transaction():
            notices.read(g.tenant.id, current_user.id, last_id)
    return redirect(url_for("staff.today"), 303)
