"""Meeting links. Simple: the appointment's unguessable token under the clinic's base URL; no outside call.

A clinic without a base URL meets at our own door, whose address is absolute too: the link is sent by SMS and mail.
"""

from urllib.parse import urljoin

from portal.clinic.models import Appointment
from portal.tenants.models import Tenant


def link(tenant: Tenant, appointment: Appointment, *, public_url: str) -> str:
    """The address of this appointment's meeting; the same one whenever it is asked for. public_url: our own."""
    base = urljoin(f"{public_url}/", tenant.meeting_base_url or "join")
    return f"{base.rstrip('/')}/{appointment.join_token}"
