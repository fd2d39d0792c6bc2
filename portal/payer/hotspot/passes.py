"""The page of a pass: what is left, this device, the other devices, more time.

Its address is a signed text, good for a day: it needs no cookie, and nobody makes one up. It is given to who showed the
cookie, the number or the code, never by a MAC address.
"""

from typing import Any

from flask import current_app, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from itsdangerous import BadSignature, URLSafeSerializer

from portal.hotspot.models import AccessGrant
from portal.hotspot.passes import devices, standing
from portal.kernel import clock, queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.payer import view
from portal.payer.forms import DeviceForm
from portal.payer.hotspot.device import bp, carried, device_of, is_test, mac_of, site_of
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web import browser
from portal.web.errors import tell_wait
from portal.web.language import said

GOOD_FOR_S = 86_400


def _signer(tenant_id: int) -> URLSafeSerializer:
    return URLSafeSerializer(current_app.secret_key or b"", salt=f"pass/{tenant_id}")


def url_of(tenant: Tenant, grant: AccessGrant, told: dict[str, Any]) -> str:
    """The address of this grant's pass, for whose it is."""
    token = _signer(tenant.id).dumps([standing.leader_of(grant), int(clock.now().timestamp())])
    return url_for("hotspot.pass_page", slug=tenant.slug, token=token, **told)


def _grant_of(tenant: Tenant, token: str) -> AccessGrant | None:
    """The pass's grant that is used now; None where the address is not ours or too old, or nothing is left."""
    try:
        leader_id, given_at = _signer(tenant.id).loads(token)
    except BadSignature:
        return None
    grants = standing.grants_of(leader_id) if clock.now().timestamp() - given_at < GOOD_FOR_S else []
    mine = [one for one in grants if one.tenant_id == tenant.id]
    return next((one for one in mine if one.has_begun), mine[0] if mine else None)


def macs_of(grant: AccessGrant) -> set[str]:
    """The MAC addresses that have a place in this grant's pass."""
    return {one.mac for one in devices.of_pass(grant)}


def left_shown(grant: AccessGrant) -> dict[str, Any] | None:
    """What is left of this grant's pass, for its owner's page."""
    left = standing.left_of(standing.leader_of(grant))
    if left is None:
        return None
    total = left.used_bytes + left.data_bytes if left.data_bytes is not None else None
    return {
        "name": grant.package.name,
        "speed": grant.package.speed,
        "seconds": left.seconds,
        "online_s": left.online_s,
        "begins_at": None if grant.has_begun else grant.starts_at,
        "expires_at": left.expires_at,
        "data_bytes": left.data_bytes,
        "used_bytes": left.used_bytes,
        "total_bytes": total,
        "is_over_cap": left.data_bytes == 0 or left.online_s == 0,
        "is_suspended": left.is_suspended,
        "is_online": left.is_online,
        "devices": left.devices,
    }


@bp.get("/<slug>/pass/<token>")
def pass_page(slug: str, token: str) -> ResponseReturnValue:
    """What is left of a pass and what can be done with it."""
    tenant = find.by_slug(slug, kind="hotspot")
    grant = _grant_of(tenant, token)
    if grant is None:
        return redirect(url_for("hotspot.portal", slug=slug, **carried()), 303)
    return _shown(tenant, grant, token, DeviceForm(formdata=None))


@bp.post("/<slug>/pass/<token>")
def act(slug: str, token: str) -> ResponseReturnValue:
    """Use it here, add a device, remove one, sign one out."""
    tenant = find.by_slug(slug, kind="hotspot")
    grant, form, told = _grant_of(tenant, token), DeviceForm(), carried()
    if grant is None:
        return redirect(url_for("hotspot.portal", slug=slug, **told), 303)
    try:
        if not form.validate():
            return _shown(tenant, grant, token, form, 422)
        with transaction():
            _do(tenant, grant, request.form.get("do", ""), form, told)
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        tenant = find.by_slug(slug)
        grant = _grant_of(tenant, token)
        assert grant is not None  # noqa: S101 - nothing was changed
        return _shown(tenant, grant, token, form, error.status)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("hotspot.pass_page", slug=slug, token=token, **told), 303)


def _do(tenant: Tenant, grant: AccessGrant, what: str, form: DeviceForm, told: dict[str, Any]) -> None:
    named = form.of.data or ""
    if what == "here":
        devices.take_place(grant, mac_of(told), browser_hash=browser.remembered(tenant))
    elif what == "add":
        mac, site = form.seen.data or form.address.data or "", site_of(tenant, told)
        devices.add(grant, mac, name=form.name.data or _("TV"), site=site)
    elif what == "remove":
        devices.remove(grant, named)
    elif what == "sign_out":
        devices.sign_out(standing.leader_of(grant), mac=named)


def _shown(
    tenant: Tenant, grant: AccessGrant, token: str, form: DeviceForm, status_code: int = 200
) -> ResponseReturnValue:
    told = carried()
    g.page_path = url_for("hotspot.pass_page", slug=tenant.slug, token=token)
    device, bound = device_of(tenant, told), devices.of_pass(grant)
    online = {one.mac for one in devices.stays_of(standing.leader_of(grant))}
    is_here = bool(device.mac) and device.mac in {one.mac for one in bound}
    login = None
    if is_here and device.login_url and grant.has_begun and device.mac not in online:
        g.posts_to_router = True
        fields = view.login_fields(grant.username, grant.password, device, tenant_id=tenant.id)
        login = {"url": device.login_url, "method": view.login_method(device), "fields": fields}
    is_full, site = len(bound) >= grant.package.devices, site_of(tenant, told)
    page = render_template(
        "hotspot/pass.html",
        tenant=tenant,
        form=form,
        carried=told,
        left=left_shown(grant),
        login=login,
        username=grant.username,
        password=grant.password,
        is_here=is_here,
        is_online=device.mac in online,
        may_move=bool(device.mac) and not is_here,
        is_full=is_full,
        may_add=not is_full and devices.may_be_added(site),
        devices=[
            {
                "mac": one.mac,
                "name": one.name,
                "is_this": one.mac == device.mac,
                "is_online": one.mac in online,
                "since": one.since,
            }
            for one in bound
        ],
        seen=[] if is_full else devices.seen_at(site, but=[one.mac for one in bound]),
        form_action=url_for("hotspot.act", slug=tenant.slug, token=token),
        refresh_url=url_for("hotspot.pass_page", slug=tenant.slug, token=token, **told),
        more_url=url_for("hotspot.portal", slug=tenant.slug, **told),
        test_mode=is_test(tenant),
    )
    return page, status_code
