"""Addresses of ours that go to others: under PUBLIC_URL, never under a name that a request brought."""

from flask import current_app

from portal.clinic.meetings import settings
from portal.clinic.models import Appointment
from portal.hotspot.sites.files import House, Tunnel
from portal.payments.models import Payment
from portal.tenants.models import Tenant


def public_url() -> str:
    """Where this product is found, without a slash at its end."""
    return str(current_app.config["PORTAL"].public_url)


def pay_url(payment: Payment) -> str:
    """Where this payment is paid, for a message to its payer."""
    return f"{public_url()}/pay/{payment.token}"


def house_of(tenant: Tenant) -> House:
    """What this tenant's routers have to know of us."""
    config = current_app.config["PORTAL"]
    tunnel = (
        Tunnel(config.tunnel_endpoint, config.tunnel_public_key, config.tunnel_address)
        if config.tunnel_endpoint
        else None
    )
    meeting_hosts = settings.hosts(tenant) if tenant.is_clinic else ()
    return House(public_url(), tenant.slug, tunnel, config.radius_address, meeting_hosts)


def visit_url(visit: Appointment) -> str:
    """The page of this visit, for a message to whoever booked it."""
    return f"{public_url()}/visit/{visit.token}"


def door_url(visit: Appointment) -> str | None:
    """The door of an online visit that is paid, whatever stands behind it; None where there is none."""
    has_door = visit.kind == "virtual" and visit.status in ("confirmed", "started")
    return f"{public_url()}/join/{visit.join_token}" if has_door else None
