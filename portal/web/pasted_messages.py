"""A pasted M-Pesa message, as the captive portal's page and its JSON take it."""

from portal.fulfilment import deliver_now
from portal.gateways import client_factory
from portal.hotspot import sms_purchases
from portal.hotspot.purchases import Device
from portal.hotspot.sms_purchases import Outcome
from portal.kernel import personal, queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.tenants.models import Tenant
from portal.web.limits import network, refuse_guessers, wrong_guess


def buy(
    tenant: Tenant, package_uid: str, text: str, device: Device, msisdn: str | None, *, site_id: int | None = None
) -> Outcome:
    """Examine a pasted message and use its money, in one transaction; what it paid is delivered at once.

    package_uid: empty for the dearest package that the message's money covers. site_id: where its device stands, as far
    as its router told. Raises NotFound for an unknown one, CoolDown after many messages that opened nothing.
    """
    refuse_guessers("message", tenant.id, device.mac, msisdn or "", site_id=site_id)
    tenant_id = tenant.id
    outcome = _bought(tenant, package_uid, text, device, msisdn, site_id)
    if outcome.token is None:
        wrong_guess("message", tenant_id, device.mac, msisdn or "", site_id=site_id)
    return outcome


def _bought(
    tenant: Tenant, package_uid: str, text: str, device: Device, msisdn: str | None, site_id: int | None
) -> Outcome:
    gateway = client_factory.choose(tenant.id, "hotspot")
    network_hash = personal.network_hash(network(), tenant.id)
    try:
        message = sms_purchases.read(tenant, gateway, text, package_uid=package_uid, site_id=site_id)
    except NotFound:
        raise
    except Refused as error:
        return Outcome("rejected", error.code, error.message)
    with transaction():
        outcome = sms_purchases.pay(tenant, gateway, message, device, msisdn=msisdn, network_hash=network_hash)
    if outcome.paid_id is not None:
        deliver_now(outcome.paid_id)
        queue.enqueue(queue.PAID)
    elif outcome.reason == "asking_mpesa":
        queue.enqueue(queue.REQUESTS)
    return outcome
