"""What the router told of the device in front of the portal, carried from page to page, and checked before its use."""

import unicodedata
from typing import Any

from flask import Blueprint, g, request
from flask_babel import get_locale

from portal.gateways import client_factory
from portal.hotspot import purchases
from portal.hotspot.models import Site
from portal.hotspot.purchases import Device
from portal.hotspot.routers.opennds import fas
from portal.tenants.models import Tenant
from portal.web import browser

bp = Blueprint("hotspot", __name__, url_prefix="/hotspot")
# MikroTik's names, and the site's own, carried from page to page: the browser may keep no cookies.
CARRIED = (
    "site",
    "mac",
    "ip",
    "identity",
    "server-name",
    "link-login-only",
    "link-orig",
    "chap-id",
    "chap-challenge",
)
LONGEST_CARRIED = 500
LONGEST_ERROR = 200


def carried() -> dict[str, Any]:
    """What the router told of this device, as it came; what is longer than any router's is nobody's.

    openNDS tells it in one parameter, `fas`, which it appends with a second `?` to a path that has one (`?site=…`);
    with `iv` beside it where it is encrypted.
    """
    given = {**request.values}
    site, _mark, appended = given.get("site", "").partition("?fas=")
    encoded, iv = given.get("fas") or appended, given.get("iv", "")
    keys = purchases.gateway_keys((request.view_args or {}).get("slug", ""), site_uid=site) if encoded and iv else ()
    given = {**fas.told(encoded, iv=iv, keys=keys), **given, "site": site}
    told = {name: given[name] for name in CARRIED if given.get(name) and len(given[name]) <= LONGEST_CARRIED}
    g.carried = told  # the links to other languages keep it too
    return told


def mac_of(told: dict[str, Any]) -> str:
    """The device's MAC address, or an empty text. No secret, and no proof of anything."""
    return purchases.normalise_mac(told.get("mac", ""))


def device_of(tenant: Tenant, told: dict[str, Any]) -> Device:
    """What was told, checked: nothing in it is trusted for money or tenancy."""
    identity = told.get("identity", "")
    wanted = told.get("link-orig", "")
    return Device(
        mac=mac_of(told),
        browser_hash=browser.remembered(tenant),
        locale=str(get_locale() or "en"),
        client_ip=told.get("ip", ""),
        nas_identity=identity or told.get("server-name", ""),
        login_url=device_login(tenant, told),
        wanted_url=wanted if wanted.startswith(("http://", "https://")) else "",
        chap_id=told.get("chap-id", ""),
        chap_challenge=told.get("chap-challenge", ""),
    )


def device_login(tenant: Tenant, told: dict[str, Any]) -> str:
    """The router's login address, if it may be sent a code; else an empty text."""
    return purchases.safe_login_url(
        tenant.id, told.get("link-login-only", ""), told.get("identity", ""), site_uid=told.get("site", "")
    )


def site_of(tenant: Tenant, told: dict[str, Any]) -> Site | None:
    """Where the device stands, as far as its router told; for convenience, never for money or tenancy."""
    return purchases.site_told(
        tenant.id,
        uid=told.get("site", ""),
        identity=told.get("identity", ""),
        login_url=told.get("link-login-only", ""),
    )


def site_id_of(tenant: Tenant, told: dict[str, Any]) -> int | None:
    """The site at which a guess counts; None where the router named none that is there."""
    site = site_of(tenant, told)
    return site.id if site is not None else None


def router_error() -> str | None:
    """What the router said of the last try, as one plain line: whoever made the link may have written it."""
    text = "".join(" " if unicodedata.category(one)[0] == "C" else one for one in request.values.get("error", ""))
    return " ".join(text.split())[:LONGEST_ERROR] or None


def is_test(tenant: Tenant) -> bool:
    return client_factory.environment_of(tenant.id, "hotspot") == "sandbox"
