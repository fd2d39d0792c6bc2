"""A rehearsal before the first customer: a real purchase with test money, on the real router, from payment to cut.

It is an ordinary purchase of the cheapest package, paid by M-Pesa's own test number, which the simulator answers by
itself. Decided: nothing is played. Every step of it is one that a customer's purchase takes, and is proved by the same
line; only the money is test money, which no revenue counts. Real money has no rehearsal.
"""

from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.hotspot import access, packages, purchases
from portal.hotspot.models import AccessGrant, Purchase, Site
from portal.hotspot.purchases import Device
from portal.kernel.db import new_token
from portal.kernel.errors import Conflict, Refused
from portal.kernel.errors import Sentence as _
from portal.payments.models import Payment
from portal.tenants.models import Tenant

TEST_NUMBER = "254708374149"  # Safaricom's own, of its sandbox
IDENTITY = "rehearsal"


def gateway_of(tenant: Tenant) -> Gateway | None:
    """The gateway that a rehearsal is paid by: the hotspot's, where it takes test money and can ask a phone."""
    try:
        gateway = client_factory.choose(tenant.id, "hotspot")
    except Refused:
        return None
    return gateway if gateway.is_sandbox and gateway.kind == "MPESA_API" else None


def begin(tenant: Tenant, site: Site, *, mac: str, network: str) -> Payment:
    """Ask the test number to pay. mac: of the device that is to go online, or empty. The caller commits, then rings.

    Raises Conflict where there is no test money or nothing on sale.
    """
    gateway = gateway_of(tenant)
    if gateway is None:
        raise Conflict(_("A rehearsal needs a gateway for test money. Real money has none."))
    on_sale = sorted(packages.on_sale(tenant.id, site_id=site.id), key=lambda one: one.price_cents)
    if not on_sale:
        raise Conflict(_("Put a package on sale first: the rehearsal buys the cheapest."))
    device = Device(mac=purchases.normalise_mac(mac), nas_address=site.address, nas_identity=IDENTITY)
    key = f"rehearsal/{new_token()}"
    begun = purchases.buy(
        tenant, gateway, on_sale[0], msisdn=TEST_NUMBER, device=device, network=network, idempotency_key=key
    )
    return begun.payment


def cut(tenant_id: int, payment_id: int, *, actor: str) -> bool:
    """End the rehearsal's access now, as a refund would; False where it was over. The caller commits, then rings.

    Raises Conflict for a purchase that is a customer's.
    """
    purchase = purchases.of_payment(payment_id)
    if purchase is None or not is_rehearsal(purchase) or purchase.tenant_id != tenant_id:
        raise Conflict(_("This is no rehearsal."))
    opened: AccessGrant | None = purchases.grant_of(payment_id)
    return opened is not None and access.end(opened, why="The rehearsal's end.", actor=actor)


def is_rehearsal(purchase: Purchase) -> bool:
    """Whether staff made it, with test money."""
    return purchase.nas_identity == IDENTITY and purchase.payment.environment == "sandbox"
