"""Meeting links. Simple: the appointment's unguessable token under the clinic's base URL; no outside call."""

from portal.clinic.models import Appointment
from portal.tenants.models import Tenant


def link(tenant: Tenant, appointment: Appointment) -> str:
    """The address of this appointment's meeting; the same one whenever it is asked for."""
    return f"{tenant.meeting_base_url.rstrip('/')}/{appointment.join_token}"
