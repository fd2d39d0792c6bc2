"""The clinic's front page, and the door of an online session."""

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.clinic import people, services
from portal.clinic.meetings import door as doors
from portal.clinic.meetings.door import Door
from portal.clinic.states import DoorState
from portal.kernel import clock
from portal.kernel.db import transaction
from portal.tenants import find

bp = Blueprint("clinic", __name__)
POLL_S, POLL_EARLY_S = 5, 30


@bp.get("/clinic/<slug>/")
def front(slug: str) -> ResponseReturnValue:
    """Who the clinic is, and how to book."""
    tenant = find.by_slug(slug, kind="clinic")
    offered = services.offered(tenant.id)
    return render_template(
        "clinic/front.html", tenant=tenant, clinicians=people.clinicians(tenant.id), services=offered
    )


@bp.get("/join/<token>")
def join(token: str) -> ResponseReturnValue:
    """The door of an online session: closed until it is paid, open from shortly before it begins."""
    door = doors.by_token(token)
    payment = door.appointment.invoice.payment if door.appointment.invoice else None
    return render_template(
        "clinic/join.html",
        starts_at=door.appointment.starts_at,
        clinician=door.appointment.clinician.name,
        test_mode=bool(payment and payment.is_sandbox),
        **_shown(door),
    )


@bp.get("/join/<token>/door")
def look(token: str) -> ResponseReturnValue:
    """The door alone, or 204 where it looks as it did."""
    shown = _shown(doors.by_token(token))
    if request.args.get("seen") == shown["looks"]:
        return "", 204
    return render_template("clinic/_door.html", **shown)


@bp.post("/join/<token>/knock")
def knock(token: str) -> ResponseReturnValue:
    """The patient is here: the clinician sees it."""
    with transaction():
        doors.knock(doors.by_token(token))
    return redirect(url_for("clinic.join", token=token), 303)


@bp.get("/join/<token>/enter")
def enter(token: str) -> ResponseReturnValue:
    """On to the meeting behind it; back to the door while that is not open."""
    url = doors.address_of_guest(doors.by_token(token))
    return redirect(url or url_for("clinic.join", token=token), 302 if url else 303)


def _shown(door: Door) -> dict[str, object]:
    """What the door shows. phase: unpaid, early, ended; enter, knock, wait, here (nothing stands behind it) or soon."""
    token = door.appointment.join_token
    phase = door.state if door.state != DoorState.READY else _phase(door)
    has_room = phase in ("early", "knock", "wait", "soon", "here")
    return {
        "phase": phase,
        "looks": phase,
        "tenant": door.appointment.tenant,
        "opens_shown": _opens(door),
        "enter_url": url_for("clinic.enter", token=token),
        "knock_url": url_for("clinic.knock", token=token),
        "again_url": url_for("clinic.join", token=token),
        "poll_url": url_for("clinic.look", token=token, seen=phase) if has_room else None,
        "poll_s": POLL_EARLY_S if phase == "early" else POLL_S,
    }


def _phase(door: Door) -> str:
    meeting = door.meeting
    if meeting is None or not door.leads_to:
        return "soon"
    if door.knocks and meeting.admitted_at is None:
        return "wait" if meeting.knocked_at is not None else "knock"
    return "enter" if doors.address_of_guest(door) is not None else "here"


def _opens(door: Door) -> str:
    """When the door opens: `17:50`, with the date where that is another day."""
    at = clock.nairobi(door.appointment.starts_at - door.chosen.opens_before)
    return at.strftime("%H:%M" if at.date() == clock.nairobi(clock.now()).date() else "%d/%m/%Y %H:%M")
