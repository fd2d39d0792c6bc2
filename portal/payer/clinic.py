"""The clinic's front page, and the door of an online session."""

from datetime import timedelta

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.clinic import people, services
from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import NotFound
from portal.tenants import find
from portal.tenants.models import Tenant

bp = Blueprint("clinic", __name__)
OPENS_BEFORE, CLOSES_AFTER = timedelta(minutes=15), timedelta(minutes=60)


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
    appointment = db.session.query(Appointment).filter_by(join_token=token, kind="virtual").one_or_none()
    if appointment is None:
        raise NotFound(_("This session link is not known here. Check that you copied all of it."))
    tenant = db.session.get_one(Tenant, appointment.tenant_id)
    own = f"/join/{token}"
    elsewhere = (
        appointment.meeting_url if appointment.meeting_url and not appointment.meeting_url.endswith(own) else None
    )
    return render_template(
        "clinic/join.html",
        tenant=tenant,
        state=_state(appointment),
        opens_shown=_opens(appointment),
        meeting={
            "url": elsewhere,
            "is_here": bool(appointment.meeting_url) and elsewhere is None,
            "starts_at": appointment.starts_at,
            "clinician": appointment.clinician.name,
        },
        test_mode=bool(appointment.invoice and appointment.invoice.payment.is_sandbox),
    )


def _opens(appointment: Appointment) -> str:
    """When the door opens: `17:50`, with the date where that is another day."""
    at = clock.nairobi(appointment.starts_at - OPENS_BEFORE)
    return at.strftime("%H:%M" if at.date() == clock.nairobi(clock.now()).date() else "%d/%m/%Y %H:%M")


def _state(appointment: Appointment) -> str:
    if appointment.status not in ("confirmed", "completed"):
        return "unpaid"
    if clock.now() < appointment.starts_at - OPENS_BEFORE:
        return "early"
    return "ended" if clock.now() > appointment.ends_at + CLOSES_AFTER or appointment.status == "completed" else "ready"
