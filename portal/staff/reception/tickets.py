"""The queue at the desk: numbers given, called into a room, printed and sent."""

import segno
from flask import Blueprint, g, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from markupsafe import Markup

from portal.clinic import notifications, people
from portal.clinic.models import Appointment, Branch
from portal.clinic.reception import board, queue_tickets
from portal.clinic.reception.models import QueueTicket
from portal.kernel import personal, queue
from portal.kernel.db import db, owned
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.reception import rows
from portal.staff.reception.board import branches
from portal.staff.reception.rows import Done
from portal.users.permissions import SEE_CLINIC, WORK_CLINIC
from portal.web.links import public_url


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/queue", "queue", show)
    bp.add_url_rule("/queue", "ticket_give", give, methods=["POST"])
    bp.add_url_rule("/queue/next", "ticket_next", call_next, methods=["POST"])
    bp.add_url_rule("/queue/<uid>/call", "ticket_call", call, methods=["POST"])
    bp.add_url_rule("/queue/<uid>/seen", "ticket_seen", seen, methods=["POST"])
    bp.add_url_rule("/queue/<uid>/left", "ticket_left", left, methods=["POST"])
    bp.add_url_rule("/queue/<uid>/sms", "ticket_sms", send, methods=["POST"])
    bp.add_url_rule("/queue/<uid>/print", "ticket_print", print_one)


def _branch() -> Branch | None:
    uid = request.values.get("branch", "")
    return owned(Branch, g.tenant.id, uid=uid) if uid else None


def _here(branch: Branch | None) -> str:
    return url_for("staff.queue", branch=branch.uid if branch else None)


@needs(SEE_CLINIC, looks_at="appointments")
def show() -> ResponseReturnValue:
    """Who waits, who was called where, and what hangs on the wall."""
    branch = _branch()
    desk = queue_tickets.desk_of(branch.id if branch else None)
    tickets = queue_tickets.open_ones(g.tenant.id, desk)
    return render_template(
        "staff/reception/queue.html",
        tickets=[
            {
                "number": one.number,
                "state": one.state,
                "room": one.room,
                "at": one.created_at,
                "who": people.name_of(one.appointment.patient) if one.appointment else "",
                "with": one.appointment.clinician.name if one.appointment else "",
                "uid": one.uid,
            }
            for one in tickets
        ],
        first_uid=next((one.uid for one in tickets if one.state == queue_tickets.WAITING), ""),
        room=session.get("room", ""),
        branch=branch,
        places=branches(g.tenant.id),
        screen_url=screen_url(branch),
        may_work=rows.may(WORK_CLINIC),
    )


def screen_url(branch: Branch | None) -> str:
    """The address of the screen on the wall of this place."""
    token = queue_tickets.screen_token(g.tenant.id, queue_tickets.desk_of(branch.id if branch else None))
    return url_for("queue.screen", slug=g.tenant.slug, token=token, branch=branch.uid if branch else None)


@needs(WORK_CLINIC)
def give() -> ResponseReturnValue:
    """A number for somebody without a visit: who asks, or brings something."""
    branch = _branch()
    branch_id = branch.id if branch else None

    def work() -> str:
        ticket = queue_tickets.give(g.tenant.id, branch_id=branch_id, actor=actor())
        return _("Number %(number)s.", number=ticket.number)

    return buttons.do(work, then=_here(branch))


def _room() -> str:
    """Where to, as the screen shows it; kept for the next call."""
    room = queue_tickets.read_room(request.form.get("room", ""))
    session["room"] = room
    return room


@needs(WORK_CLINIC)
def call_next() -> ResponseReturnValue:
    """Call who waits longest into this room."""
    branch, room, first_uid = _branch(), _room(), request.form.get("first", "")
    desk = queue_tickets.desk_of(branch.id if branch else None)

    def work() -> str:
        ticket = queue_tickets.call_next(g.tenant.id, desk, room=room, actor=actor(), first_uid=first_uid)
        if ticket is None:
            raise Refused(_("Nobody waits."))
        return _("Number %(number)s is called.", number=ticket.number)

    return buttons.do(work, then=_here(branch))


@needs(WORK_CLINIC)
def call(uid: str) -> ResponseReturnValue:
    """Call this number, from the queue's page or from its row on the board."""
    room = _room() if "room" in request.form else session.get("room", "")
    ticket = queue_tickets.get(g.tenant.id, uid)
    visit_id, desk_branch = ticket.appointment_id, _branch()

    def work() -> str:
        called = queue_tickets.get(g.tenant.id, uid)
        queue_tickets.call(called, room=room, actor=actor())
        return _("Number %(number)s is called.", number=called.number)

    if request.form.get("page") and visit_id is not None:
        return rows.do(
            lambda: board.row_of_visit(db.session.get_one(Appointment, visit_id)), lambda: Done(work())
        )  # fmt: skip
    return buttons.do(work, then=_here(desk_branch))


def _moved(uid: str, new: str, sentence: str) -> ResponseReturnValue:
    branch = _branch()

    def work() -> str:
        queue_tickets.move(queue_tickets.get(g.tenant.id, uid), new, actor=actor())
        return sentence

    queue_tickets.get(g.tenant.id, uid)
    return buttons.do(work, then=_here(branch))


@needs(WORK_CLINIC)
def seen(uid: str) -> ResponseReturnValue:
    """They are in."""
    return _moved(uid, queue_tickets.SEEN, _("Seen."))


@needs(WORK_CLINIC)
def left(uid: str) -> ResponseReturnValue:
    """They are gone."""
    return _moved(uid, queue_tickets.LEFT, _("Gone."))


@needs(WORK_CLINIC)
def send(uid: str) -> ResponseReturnValue:
    """The number and where it is watched, to the patient's phone or another one."""
    branch = _branch()
    queue_tickets.get(g.tenant.id, uid)

    def work() -> str:
        ticket = queue_tickets.get(g.tenant.id, uid)
        typed = request.form.get("phone", "").strip()
        msisdn = normalise_msisdn(typed) if typed else _phone_of(ticket)
        is_new = notifications.queue_number(
            g.tenant, ticket.uid, ticket.number, msisdn=msisdn, url=_address_of(ticket)
        )  # fmt: skip
        if not is_new:
            return _("It was sent to this phone already.")
        return _("Sent.")

    return buttons.do(work, then=_here(branch), ring=queue.OUTBOX)


def _phone_of(ticket: QueueTicket) -> str:
    visit = ticket.appointment
    msisdn = personal.open_phone(visit.patient.phone_sealed, g.tenant.id) if visit else None
    if not msisdn:
        raise Refused(_("Enter a phone number."), code="invalid_phone")
    return msisdn


@needs(SEE_CLINIC)
def print_one(uid: str) -> ResponseReturnValue:
    """The number on paper: large, with the hour, and no name."""
    ticket = queue_tickets.get(g.tenant.id, uid)
    drawn = segno.make(_address_of(ticket), error="m", micro=False)
    qr = Markup(drawn.svg_inline(border=2, svgclass="qr", lineclass="qr-line", omitsize=True))  # noqa: S704 - segno's own
    return render_template("staff/reception/ticket.html", ticket=ticket, qr=qr)


def _address_of(ticket: QueueTicket) -> str:
    """Where its holder sees how many are before them."""
    return f"{public_url()}{url_for('queue.ticket', slug=g.tenant.slug, token=ticket.token)}"
