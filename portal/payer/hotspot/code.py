"""The door for who has a code: a voucher's one short code, or the user name and password of a receipt.

One field first: most codes stand alone. A user name that needs its password is asked for it in the same form.
"""

from typing import Any

from flask import g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import joinedload

from portal.hotspot import access
from portal.hotspot.models import AccessGrant
from portal.hotspot.passes import devices, standing
from portal.hotspot.routers.opennds import fas
from portal.hotspot.vouchers import redeeming as vouchers
from portal.kernel import clock, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import CoolDown, NotFound, Refused
from portal.payer import view
from portal.payer.forms import CodeForm
from portal.payer.hotspot import passes
from portal.payer.hotspot.device import bp, carried, device_of, is_test, router_error, site_id_of, site_of
from portal.payer.hotspot.front import doors
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import refuse_guessers, wrong_guess


@bp.get("/<slug>/code")
def code_page(slug: str) -> ResponseReturnValue:
    """The door for who has a code; a QR code brings it along (`?code=`)."""
    form = CodeForm(formdata=None)
    form.code.data = request.args.get("code", "")[:40]
    return coded(find.by_slug(slug, kind="hotspot"), form)


@bp.post("/<slug>/code")
def redeem(slug: str) -> ResponseReturnValue:
    """Look the code up; where the router told of itself, the way into it."""
    tenant = find.by_slug(slug, kind="hotspot")
    form = CodeForm()
    if not form.validate():
        return coded(tenant, form, status_code=422)
    told = carried()
    device, site_id = device_of(tenant, told), site_id_of(tenant, told)
    refuse_guessers("code", tenant.id, device.mac, site_id=site_id)
    code = "".join((form.code.data or "").upper().split())
    known = db.session.query(AccessGrant).options(joinedload(AccessGrant.purchase))  # in one step, found or not
    grant = known.filter_by(tenant_id=tenant.id, username=code).one_or_none()
    is_own = grant is not None and standing.is_of_browser(grant, device.browser_hash)
    is_right = access.is_password(grant, form.password.data or "") or (is_own and not form.password.data)
    if grant is not None and is_right and grant.is_open:
        return let_in(tenant, grant, form)
    tenant_id, why = tenant.id, _("This code and password are not known here, or their time is over.")
    if form.password.data in ("", None, form.code.data):
        try:
            with transaction():
                opened = vouchers.redeem(
                    tenant_id, code, mac=device.mac, browser_hash=device.browser_hash, site_id=site_id
                )
                opened_id = opened.id
            queue.enqueue(queue.OUTBOX)
            return let_in(find.by_slug(slug), db.session.get_one(AccessGrant, opened_id), form)
        except NotFound:
            pass
        except Refused as error:  # who has a voucher's code is told why it opens nothing
            why = said(error.message)
    wrong_guess("code", tenant_id, device.mac, site_id=site_id)
    form.code.errors = [why]
    return coded(find.by_slug(slug), form, status_code=422)


def let_in(tenant: Tenant, grant: AccessGrant, form: CodeForm) -> ResponseReturnValue:
    """This device has shown that it may use the pass: it gets a place in it, and the way into the router."""
    device = device_of(tenant, carried())
    grant_id, slug = grant.id, tenant.slug
    try:
        with transaction():
            devices.take_place(db.session.get_one(AccessGrant, grant_id), device.mac, browser_hash=device.browser_hash)
    except Refused as error:
        form.form_errors.append(said(error.message))
        if isinstance(error, CoolDown):
            tell_wait(error)
        return coded(find.by_slug(slug), form, status_code=error.status)
    queue.enqueue(queue.OUTBOX)
    tenant, grant = find.by_slug(slug), db.session.get_one(AccessGrant, grant_id)
    left = standing.left_of(standing.leader_of(grant))
    login: dict[str, Any] = {
        "username": grant.username,
        "password": grant.password,
        "method": "post",
        "fields": {},
        "begins_at": None if grant.has_begun else grant.starts_at,
        "expires_at": left.expires_at if left else grant.expires_at,
        "seconds_left": left.seconds if left else int((grant.expires_at - clock.now()).total_seconds()),
        "devices": grant.package.devices,
        "pass_url": passes.url_of(tenant, grant, carried()),
    }
    if device.login_url and grant.has_begun:
        g.posts_to_router = True
        fields = view.login_fields(grant.username, grant.password, device, tenant_id=tenant.id)
        login |= {"url": device.login_url, "method": view.login_method(device), "fields": fields}
    return coded(tenant, form, login=login)


@bp.post("/<slug>/connect")
def connect_device(slug: str) -> ResponseReturnValue:
    """Let the device that paid in again, by a sign-in that works for its MAC address only, once, for a minute.

    Not at openNDS: its answer opens the gateway to whoever's challenge was told, and nothing binds that to the MAC
    address. There the agent lets the device in by itself.
    """
    tenant = find.by_slug(slug, kind="hotspot")
    told = carried()
    device, site = device_of(tenant, told), site_of(tenant, told)
    grants = standing.of_device(tenant.id, mac=device.mac) if device.mac else []
    begun_ids = [one.id for one in grants if one.has_begun]
    if (
        not begun_ids or not device.login_url or device.chap_id == fas.CHALLENGE
    ):  # only these: a guest's wrong ones hold up nobody behind the same address
        refuse_guessers("device", tenant.id, site_id=site.id if site else None)
        wrong_guess("device", tenant.id, site_id=site.id if site else None)
        return redirect(url_for("hotspot.portal", slug=slug, **told), 303)
    with transaction():
        grant = db.session.get_one(AccessGrant, begun_ids[0])
        is_asked = devices.let_in(grant, device.mac, site=site)
        username, password = ("", "") if is_asked else access.sign_in_once(grant, mac=device.mac)
    if is_asked:
        queue.enqueue(queue.OUTBOX)
        return coded(find.by_slug(slug), CodeForm(formdata=None), login={"is_asked": True})
    g.posts_to_router = True
    fields = view.login_fields(username, password, device, tenant_id=tenant.id)
    login = {"url": device.login_url, "method": view.login_method(device), "fields": fields}
    return coded(find.by_slug(slug), CodeForm(formdata=None), login=login)


def coded(
    tenant: Tenant, form: CodeForm, *, login: dict[str, Any] | None = None, status_code: int = 200
) -> ResponseReturnValue:
    """The page of this door: the form, or the way in that it opened."""
    told = carried()
    g.page_path = url_for("hotspot.code_page", slug=tenant.slug)
    page = render_template(
        "hotspot/code.html",
        tenant=tenant,
        form=form,
        carried=told,
        login=login,
        form_action=url_for("hotspot.redeem", slug=tenant.slug),
        router_error=router_error(),
        doors=doors(tenant, told, but="code_page"),
        test_mode=is_test(tenant),
    )
    return page, status_code
