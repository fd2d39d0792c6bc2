"""Appointments: what waits for approval, what is paid."""

from datetime import timedelta

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from portal.clinic import appointments
from portal.clinic.models import Appointment
from portal.kernel import clock, queue
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_id
from portal.staff.today import row_of
from portal.users import permissions
from portal.users.permissions import APPROVE_APPOINTMENTS, SEE_CLINIC, WORK_CLINIC
from portal.web.links import pay_url

EARLY = timedelta(minutes=30)


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/appointments", "appointments", list_appointments)
    bp.add_url_rule("/appointments/<uid>/approve", "approve", approve, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/decline", "decline", decline, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/complete", "complete", complete, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/no-show", "no_show", no_show, methods=["POST"])


@needs(SEE_CLINIC, looks_at="appointments")
def list_appointments() -> ResponseReturnValue:
    """The newest appointments; those that wait come with their buttons."""
    may_approve, may_work = (permissions.allows(g.role, one) for one in (APPROVE_APPOINTMENTS, WORK_CLINIC))
    found = appointments.latest(g.tenant.id, before_id=read_id("cursor"))
    rows = []
    for one in found:
        waits = one.status == "pending_approval" and may_approve
        rows.append(
            row_of(one)
            | {
                "url": url_for("staff.appointment_change", uid=one.uid) if may_work else None,
                "start_url": url_for("staff.appointment_start", uid=one.uid)
                if is_now(one) and one.status == "confirmed" and may_work
                else None,
                "messages_url": url_for("staff.visit_messages", uid=one.uid),
                "approve_url": url_for("staff.approve", uid=one.uid) if waits else None,
                "decline_url": url_for("staff.decline", uid=one.uid) if waits else None,
                "complete_url": url_for("staff.complete", uid=one.uid) if is_now(one) else None,
                "no_show_url": url_for("staff.no_show", uid=one.uid)
                if is_now(one) and one.status == "confirmed"
                else None,
            }
        )
    next_url = url_for("staff.appointments", cursor=found[-1].id) if len(found) == appointments.PAGE_ROWS else None
    new_url = url_for("staff.appointment_new") if may_work else None
    return render_template("staff/appointments.html", appointments=rows, next_url=next_url, new_url=new_url)


@needs(APPROVE_APPOINTMENTS)
def approve(uid: str) -> ResponseReturnValue:
    """Approve: the invoice is issued and the patient told."""

    def work() -> str:
        appointments.approve(g.tenant, appointments.get_by_uid(g.tenant.id, uid), actor=actor(), pay_url_of=pay_url)
        return _("Approved. The patient has been told how to pay.")

    return buttons.do(work, then=url_for("staff.appointments"), ring=queue.OUTBOX)


@needs(APPROVE_APPOINTMENTS)
def decline(uid: str) -> ResponseReturnValue:
    """Decline: the patient is told."""

    def work() -> str:
        why = request.form.get("why", "").replace("\0", "")[:200]
        appointments.decline(appointments.get_by_uid(g.tenant.id, uid), why=why, actor=actor())
        return _("Declined. The patient has been told.")

    return buttons.do(work, then=url_for("staff.appointments"), ring=queue.OUTBOX)


def is_now(one: Appointment) -> bool:
    """Whether it is time to say how the visit went."""
    return one.status in ("confirmed", "started") and clock.now() >= one.starts_at - EARLY


@needs(WORK_CLINIC)
def complete(uid: str) -> ResponseReturnValue:
    """It took place."""

    def work() -> str:
        appointments.complete(appointments.get_by_uid(g.tenant.id, uid), actor=actor())
        return _("Written down: the visit took place.")

    return buttons.do(work, then=url_for("staff.appointments"))


@needs(WORK_CLINIC)
def no_show(uid: str) -> ResponseReturnValue:
    """The patient did not come."""

    def work() -> str:
        one = appointments.get_by_uid(g.tenant.id, uid)
        appointments.no_show(one, actor=actor(), user_id=current_user.id)
        queue.enqueue(queue.REQUESTS)
        return _("Written down: the patient did not come.")

    return buttons.do(work, then=url_for("staff.appointments"), ring=queue.OUTBOX)
