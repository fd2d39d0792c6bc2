"""RFC 8908: whether a device is captive, and for how long it is not.

A token is a payment's, or the public id of a site (never its token, which its router alone may know): a network tells
one address to all its devices (DHCP option 114), before anything is bought. Whose device asks is not told by the
request, so a site's answer is of the device only where the router writes its MAC address into the address (`?mac=`);
what runs is told by MAC address alone, as on the page: that it runs, until when, and nothing of whose it is.
"""

from typing import Any

from flask import Response, current_app, jsonify, request, url_for
from sqlalchemy import select

from portal.hotspot import purchases
from portal.hotspot.models import AccessGrant, Site
from portal.hotspot.passes import standing
from portal.kernel.db import db
from portal.payer.hotspot.device import bp
from portal.payments.models import Payment
from portal.tenants import find
from portal.tenants.models import Tenant


@bp.get("/<slug>/api/<token>")
def captive_api(slug: str, token: str) -> Response:
    """RFC 8908: whether this payment's, or this site's, device is captive, and for how long it is not."""
    tenant = find.by_slug(slug, kind="hotspot")
    is_site = _is_site(tenant, token)
    grant = _of_device(tenant) if is_site else _of_payment(tenant, token)
    named: dict[str, Any] = {"site": token} if is_site else {}
    answer: dict[str, Any] = {
        "captive": True,
        "user-portal-url": current_app.config["PORTAL"].public_url + url_for("hotspot.portal", slug=slug, **named),
        "can-extend-session": True,
    }
    left = standing.left_of(standing.leader_of(grant)) if grant is not None else None
    if left is not None and not left.is_suspended and left.data_bytes != 0 and left.online_s != 0:
        seconds = left.seconds if left.online_s is None else min(left.seconds, left.online_s)
        answer |= {"captive": False, "seconds-remaining": seconds}
        if left.data_bytes is not None:
            answer["bytes-remaining"] = left.data_bytes
    response: Response = jsonify(answer)
    response.headers["Content-Type"] = "application/captive+json"
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _of_payment(tenant: Tenant, token: str) -> AccessGrant | None:
    payment = db.session.query(Payment).filter_by(tenant_id=tenant.id, token=token).one_or_none()
    grant = purchases.grant_of(payment.id) if payment else None
    return grant if grant is not None and grant.is_open and grant.origin != "gift" else None


def _is_site(tenant: Tenant, token: str) -> bool:
    mine = select(Site.id).where(Site.tenant_id == tenant.id, Site.uid == token, Site.closed_at.is_(None))
    return db.session.scalar(mine) is not None


def _of_device(tenant: Tenant) -> AccessGrant | None:
    """What runs on the device that the site's router names."""
    mac = purchases.normalise_mac(request.args.get("mac", ""))
    running = standing.of_device(tenant.id, mac=mac) if mac else []
    return next((one for one in running if one.has_begun), None)
