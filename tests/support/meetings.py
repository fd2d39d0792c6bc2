"""How a clinic meets online."""

from typing import Any

from portal.clinic.meetings import settings
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from tests.support.product import Product

JITSI = {"domain": "meet.mlima.example", "app_id": "mlima", "secret": "a-long-secret-of-the-server-and-more"}


def meets_by(product: Product, provider: str, given: dict[str, Any], **changes: Any) -> None:
    with product.app.app_context(), transaction():
        tenant = db.session.get_one(Tenant, product.tenant_id())
        terms = {"fallback": "simple", "opens_minutes": 15, "base_url": ""} | changes
        settings.change(tenant, provider=provider, given=given, actor="test", **terms)
