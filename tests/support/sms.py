"""M-Pesa's messages as payers paste them, and what staff do with them."""

from datetime import timedelta
from typing import Any

from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from tests.support.product import Product
from tests.support.visitors import csrf_of

MAC = "AA:BB:CC:DD:EE:01"


def without_api(product: Product, *, policy: str = "hold", slug: str = "mlima") -> None:
    """Make a tenant's gateway one that nobody can ask, such as a till of a shop."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug=slug).one()
        tenant.sms_policy = policy
        gateway = db.session.query(Gateway).filter_by(tenant_id=tenant.id).one()
        gateway.kind, gateway.sub_kind = "MPESA_NO_API", "BUYGOODS"


def message(code: str, *, amount: float = 50, to: str = "MLIMA HOUSE", ago_s: float = 60) -> str:
    at = clock.nairobi(clock.now() - timedelta(seconds=ago_s))
    when = f"{at.day}/{at.month}/{at:%y} at {at.hour % 12 or 12}:{at:%M} {at:%p}"
    return (
        f"{code} Confirmed. Ksh{amount:.2f} paid to {to}. on {when}.New M-PESA balance is Ksh1.00. "
        "Transaction cost, Ksh0.00."
    )


def paste(product: Product, text: str, *, mac: str = MAC, slug: str = "mlima", **more: Any) -> dict[str, Any]:
    body = {"tenant": slug, "packageId": product.package(slug=slug), "smsText": text, "macAddress": mac} | more
    answer = product.client().post("/api/portal/mpesa/verify-sms", json={k: v for k, v in body.items() if v})
    assert answer.status_code == 200, answer.text
    return answer.json  # type: ignore[return-value]


def decide(product: Product, verb: str, name: str = "brian", nth: int = 0, **form: str) -> str:
    """Press accept or refuse on the queue's page; the page afterwards."""
    browser = product.browser_of(name)
    page = browser.get("/staff/claims").text
    paths = [part.split('"', 1)[0] for part in page.split('action="')[1:]]
    path = [one for one in paths if one.endswith(verb)][nth]
    csrf = csrf_of(browser, "/staff/claims")
    assert browser.post(path, data={"csrf_token": csrf} | form).status_code == 303
    return browser.get("/staff/claims").text


def grants(product: Product) -> list[bool]:
    """Whether each access ever opened is open now."""
    with product.inside():
        return [one.is_open for one in db.session.query(AccessGrant).order_by(AccessGrant.id)]
