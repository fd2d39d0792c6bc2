"""The JSON API: the public contract, for the tenants' own programs and for the captive portal.

Bearer tokens or API keys; never cookies, so nothing here can be forged from another page. Every door names the
permission it needs, or that it is open to everybody: a door that names neither does not start (`router.add`).
Amounts are KES, times RFC 3339, names camelCase, errors `{"error", "message", "fields"?}`.
"""

from flask import Blueprint

from portal.api import (
    auth,
    bookings,
    captive_portal,
    clinic,
    customers,
    gateway_operations,
    gateways,
    lines,
    manual,
    notifications,
    openapi,
    orders,
    packages,
    refunds,
    sites,
    transactions,
    vouchers,
    webhooks,
)
from portal.api.guard import Router

bp = Blueprint("api", __name__, url_prefix="/api")
router = Router(bp)
for _module in (
    auth,
    gateways,
    gateway_operations,
    packages,
    vouchers,
    sites,
    captive_portal,
    orders,
    refunds,
    manual,
    customers,
    lines,
    webhooks,
    transactions,
    clinic,
    bookings,
    notifications,
    openapi,
):
    _module.register_routes(router)
