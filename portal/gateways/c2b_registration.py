"""Telling Safaricom where to report payments by hand (C2B): our validation and confirmation addresses."""

from dataclasses import dataclass
from typing import Literal, cast

from portal.audit import chain
from portal.gateways import client_factory, daraja, settings
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused

VERSIONS, RESPONSE_TYPES = ("v2", "v1"), ("Completed", "Cancelled")


@dataclass(frozen=True)
class Addresses:
    """Where a gateway's payments by hand are asked about and reported."""

    validation: str
    confirmation: str


def addresses_of(gateway: Gateway, *, public_url: str) -> Addresses:
    """This gateway's secret addresses under our public one."""
    base = f"{public_url}/hooks/{gateway.hook_token}/c2b"
    return Addresses(validation=f"{base}/validation", confirmation=f"{base}/confirmation")


def register_urls(
    tenant_id: int,
    uid: str,
    *,
    actor: str,
    public_url: str,
    version: str = "v2",
    response_type: str = "Completed",
) -> None:
    """Give Safaricom our C2B addresses. Raises Refused with Daraja's reason.

    response_type: what M-Pesa does with a payment when our validation is silent. Opens its own transaction, none while
    it waits.
    """
    for name, value, allowed in (("version", version, VERSIONS), ("responseType", response_type, RESPONSE_TYPES)):
        if value not in allowed:
            sentence = f"Must be {' or '.join(allowed)}."
            raise Refused(f"{name}: {sentence}", code="invalid_fields", fields={name: sentence})
    gateway = settings.require_api(settings.get_by_uid(tenant_id, uid))
    client, ours = client_factory.client_for(gateway), addresses_of(gateway, public_url=public_url)
    db.session.remove()
    try:
        client.register_c2b_urls(
            confirmation_url=ours.confirmation,
            validation_url=ours.validation,
            response_type=cast(Literal["Completed", "Cancelled"], response_type),
            version=cast(Literal["v1", "v2"], version),
        )
    except daraja.DarajaError as error:
        raise Refused(error.message, code="mpesa_refused") from error
    with transaction():
        gateway = settings.get_by_uid(tenant_id, uid)
        gateway.urls_registered_at = clock.now()
        chain.record(tenant_id, "gateway", gateway.id, "urls_registered", actor=actor, new=f"{version} {response_type}")
