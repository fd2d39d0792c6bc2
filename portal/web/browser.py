"""Knowing a browser again by a cookie of ours: proof that it began a purchase, and of nothing else.

The cookie is per tenant and signed; what is kept of it is a digest. Captive browsers may lose it: then the number
that pays is asked once more, or the message on the payer's phone has the password.
"""

import secrets

from flask import Response, after_this_request, current_app, g, request
from itsdangerous import BadSignature, URLSafeSerializer

from portal.kernel import vault
from portal.tenants.models import Tenant

KEPT_FOR_S = 90 * 86_400


def _name(tenant: Tenant) -> str:
    """`__Host-`: no neighbouring host and no plain http page plants one, whose maker would share what is bought."""
    return ("__Host-" if _is_https() else "") + f"mlango_device_{tenant.id}"


def _is_https() -> bool:
    return bool(current_app.config["SESSION_COOKIE_SECURE"])


def _signer(tenant_id: int) -> URLSafeSerializer:
    return URLSafeSerializer(current_app.secret_key or b"", salt=f"device/{tenant_id}")


def known(tenant: Tenant) -> str:
    """The digest by which this browser is known to the tenant, or an empty text."""
    try:
        identity = _signer(tenant.id).loads(request.cookies.get(_name(tenant), ""))
    except BadSignature:
        return ""
    return vault.digest(identity) if isinstance(identity, str) else ""


def remembered(tenant: Tenant) -> str:
    """The same; a browser that is new here gets its cookie with this answer."""
    if before := known(tenant):
        return before
    if "new_browser" in g:  # one a request
        return vault.digest(g.new_browser)
    identity = g.new_browser = secrets.token_hex(16)
    name, value = _name(tenant), _signer(tenant.id).dumps(identity)

    @after_this_request
    def _set(response: Response) -> Response:
        response.set_cookie(
            name, value, max_age=KEPT_FOR_S, httponly=True, secure=_is_https(), samesite="Lax", path="/"
        )
        return response

    return vault.digest(identity)
