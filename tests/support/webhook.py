"""Another system's reports at the general webhook."""

from typing import Any

from portal.kernel import vault
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from tests.support.daraja import Pushed, receipt, stk_body
from tests.support.product import Product

KEY = "webhook-key-of-mlima"


def give_key(product: Product, slug: str = "mlima", key: str = KEY) -> None:
    with product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug=slug).one().webhook_key_hash = vault.digest(key)


def told(msisdn: str, *, amount: float = 100, number: int = 1, **more: Any) -> dict[str, Any]:
    paid = Pushed(0, "", f"ws_CO_elsewhere_{number}", int(amount), msisdn, "")
    return stk_body(paid, receipt=receipt(number), amount=amount, **more)


def post(product: Product, body: Any, key: str = KEY, **named: Any) -> Any:
    return product.client().post("/api/webhooks/mpesa", headers={"X-API-Key": key}, json=body, **named)


def balance(product: Product, owner: dict[str, Any]) -> float:
    return product.api("amina").get(f"/api/customers/{owner['id']}").json["balance"]
