"""openNDS' own authmon, which asks at the address where the gateway sends its devices, in the same words each time."""

from flask import Response, request

from portal.hotspot.routers.opennds import authmon
from portal.kernel.db import transaction
from portal.tenants.models import Tenant

LONGEST_FIELD, LONGEST_KEY = 20_000, 100


def is_asking() -> bool:
    """Whether this is a gateway, and no person's form."""
    return "auth_get" in request.form


def answered(tenant: Tenant) -> Response:
    """What the gateway is told; nobody is who asks without its key."""
    given = {name: request.form.get(name, "")[:LONGEST_FIELD] for name in ("auth_get", "payload")}
    with transaction():
        site = authmon.site_of(tenant.id, request.args.get("key", "")[:LONGEST_KEY])
        answer = authmon.answer(site, given["auth_get"], given["payload"]) if site is not None else None
    return Response(answer or "refused", 403 if answer is None else 200, mimetype="text/plain")
