"""The captive portal: packages, phone, live status, a pasted message, a code.

A MAC address is no secret: anybody near can read it. By it alone these pages say that a payment waits or access runs,
and connect that very device, once. A payment's own page, receipt and password are for the browser that began it (by
its cookie), or for who types the number that pays once more.
"""

from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _
from sqlalchemy.orm import joinedload

from portal.gateways import client_factory
from portal.hotspot import access, packages, purchases
from portal.hotspot.models import AccessGrant, Purchase
from portal.hotspot.purchases import Device
from portal.hotspot.sms_purchases import Outcome
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.money import format_kes
from portal.kernel.phone import for_screens
from portal.payer import view
from portal.payer.forms import BuyForm, CodeForm, NumberForm, PasteForm
from portal.payments import status
from portal.payments.models import Payment
from portal.payments.sms import submissions
from portal.payments.states import PaymentState
from portal.payments.stk import queries
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web import browser, pasted_messages
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import network, refuse_guessers, wrong_guess

bp = Blueprint("hotspot", __name__, url_prefix="/hotspot")
# MikroTik's names, carried from page to page: the browser may keep no cookies.
CARRIED = (
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
HAND_ACCOUNT = "WIFI"  # a paybill wants some account, and nothing is matched by it where there is no API


def carried() -> dict[str, Any]:
    """What the router told of this device, as it came."""
    given = request.values
    told = {name: given[name][:LONGEST_CARRIED] for name in CARRIED if given.get(name)}
    g.carried = told  # the links to other languages keep it too
    return told


def device_of(tenant: Tenant, told: dict[str, Any]) -> Device:
    """The same, checked: nothing in it is trusted for money or tenancy."""
    identity = told.get("identity", "")
    return Device(
        mac=purchases.normalise_mac(told.get("mac", "")),
        browser_hash=browser.remembered(tenant),
        locale=str(get_locale() or "en"),
        client_ip=told.get("ip", ""),
        nas_identity=identity or told.get("server-name", ""),
        login_url=purchases.safe_login_url(tenant.id, told.get("link-login-only", ""), identity),
        wanted_url=told.get("link-orig", "") if told.get("link-orig", "").startswith(("http://", "https://")) else "",
        chap_id=told.get("chap-id", ""),
        chap_challenge=told.get("chap-challenge", ""),
    )


def _is_test(tenant: Tenant) -> bool:
    return client_factory.environment_of(tenant.id, "hotspot") == "sandbox"


def _shown(
    tenant: Tenant, form: BuyForm, status_code: int = 200, *, retry_in_s: int | None = None
) -> ResponseReturnValue:
    told = carried()
    g.page_path = url_for("hotspot.portal", slug=tenant.slug)
    on_sale = packages.on_sale(tenant.id)
    if not form.package.data and on_sale:
        form.package.data = on_sale[0].uid
    page = render_template(
        "hotspot/portal.html",
        tenant=tenant,
        packages=on_sale,
        form=form,
        carried=told,
        form_action=url_for("hotspot.buy", slug=tenant.slug),
        router_error=request.values.get("error", "")[:200] or None,
        test_mode=_is_test(tenant),
        sms_url=url_for("hotspot.paste_page", slug=tenant.slug, **told),
        code_url=url_for("hotspot.code_page", slug=tenant.slug, **told),
        returning=_returning(tenant, told),
        by_hand=_by_hand(tenant),
        retry_in_s=retry_in_s,
    )
    return page, status_code


def _by_hand(tenant: Tenant) -> dict[str, str] | None:
    """What to type into M-Pesa's own menu, where the gateway has no API and so no phone can be asked."""
    try:
        gateway = client_factory.choose(tenant.id, "hotspot")
    except Refused:
        return None
    if not submissions.takes(gateway):
        return None
    is_till = gateway.sub_kind == "BUYGOODS"
    account = "" if is_till else gateway.account_number or HAND_ACCOUNT
    return {"method": "till" if is_till else "paybill", "number": gateway.shortcode, "account": account}


def _returning(tenant: Tenant, told: dict[str, Any]) -> dict[str, Any] | None:
    """What runs or waits for this device: in words for everybody, with the way to it for the browser that began it.

    Access that runs comes before the latest attempt, which may have failed.
    """
    mac, browser_hash = purchases.normalise_mac(told.get("mac", "")), browser.known(tenant)
    grants = purchases.open_grants_of_device(tenant.id, mac=mac, browser_hash=browser_hash)
    waits = _waiting(tenant, mac, browser_hash)
    if not grants and waits is None:
        return None
    purchase = grants[0].purchase if grants else waits
    is_own = purchase is not None and purchases.is_of_browser(purchase, browser_hash)
    may_connect = bool(grants and mac and grants[0].mac == mac and device_login(tenant, told))
    return {
        "sentences": ([_running(grants)] if grants else []) + ([_waits(waits)] if waits else []),
        "is_running": bool(grants),
        "is_waiting": waits is not None,
        "url": url_for("hotspot.wait", slug=tenant.slug, token=purchase.payment.token) if purchase and is_own else None,
        "connect_url": url_for("hotspot.connect_device", slug=tenant.slug) if may_connect else None,
        "number_url": url_for("hotspot.by_number", slug=tenant.slug) if mac and not is_own else None,
        "number_form": NumberForm(formdata=None),
    }


def _running(grants: list[AccessGrant]) -> str:
    until = clock.nairobi(grants[-1].expires_at)
    shown = f"{until:%H:%M}" if until.date() == clock.nairobi(clock.now()).date() else f"{until:%d/%m %H:%M}"
    if any(one.purchase and submissions.is_open_unverified(one.purchase.payment) for one in grants):
        return _("Your internet is open until %(time)s.", time=shown)
    return _("Your internet is paid until %(time)s. What you buy now is added after that.", time=shown)


def _waiting(tenant: Tenant, mac: str, browser_hash: str) -> Purchase | None:
    latest = purchases.latest_of_device(tenant.id, mac=mac, browser_hash=browser_hash)
    if latest is None or purchases.grant_of(latest.payment_id) is not None:
        return None
    payment = latest.payment
    return latest if payment.state == PaymentState.PAID or status.standing(payment).is_settling else None


def _waits(purchase: Purchase) -> str:
    payment = purchase.payment
    if payment.state == PaymentState.PAID:
        return _("Your payment has arrived. We are opening the internet.")
    amount, msisdn = format_kes(payment.due_cents), personal.open_phone(payment.phone_sealed, payment.tenant_id)
    if msisdn is None:
        return _("Your payment of %(amount)s waits.", amount=amount)
    return _("Your payment of %(amount)s from %(phone)s waits.", amount=amount, phone=for_screens(msisdn))


def device_login(tenant: Tenant, told: dict[str, Any]) -> str:
    """The router's login address, if it may be sent a code; else an empty text."""
    return purchases.safe_login_url(tenant.id, told.get("link-login-only", ""), told.get("identity", ""))


@bp.get("/<slug>/")
def portal(slug: str) -> ResponseReturnValue:
    """Packages and a phone number, in one small page."""
    return _shown(find.by_slug(slug, kind="hotspot"), BuyForm(formdata=None))


@bp.post("/<slug>/")
def buy(slug: str) -> ResponseReturnValue:
    """Ask the phone to pay for a package; then the page that waits with the customer."""
    tenant = find.by_slug(slug, kind="hotspot")
    form = BuyForm()
    if not form.validate():
        return _shown(tenant, form, 422)
    try:
        gateway = client_factory.choose(tenant.id, "hotspot")
        package = packages.for_sale(tenant.id, form.package.data)
        with transaction():
            begun = purchases.buy(
                tenant,
                gateway,
                package,
                msisdn=form.phone.msisdn,
                device=device_of(tenant, carried()),
                network=network(),
                idempotency_key=form.idempotency_key.data or None,
            )
            token, payment_id = begun.payment.token, begun.payment.id
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _shown(find.by_slug(slug), form, error.status, retry_in_s=getattr(error, "retry_after_s", None))
    if not begun.is_own:
        return _under_way(tenant, form, payment_id)
    if begun.requested is not None:
        queue.enqueue(queue.SEND_PUSHES)
    return redirect(url_for("hotspot.wait", slug=slug, token=token), 303)


def _under_way(tenant: Tenant, form: BuyForm, payment_id: int) -> ResponseReturnValue:
    """Somebody asked for this very thing before: how it stands, and no way to its page but by the number."""
    tenant = find.by_slug(tenant.slug)
    payment = db.session.get_one(Payment, payment_id)
    stands = status.standing(payment)
    form.form_errors.append(_("This payment is under way already.") + " " + said(stands.sentence or stands.headline))
    return _shown(tenant, form, 200)


@bp.post("/<slug>/mine")
def by_number(slug: str) -> ResponseReturnValue:
    """The way back to a payment's page for a browser without its cookie: the number that pays, typed once more."""
    tenant = find.by_slug(slug, kind="hotspot")
    told, form = carried(), NumberForm()
    mac = purchases.normalise_mac(told.get("mac", ""))
    refuse_guessers("number", tenant.id, mac)
    if form.validate() and (token := _token_of_number(tenant, mac, form.phone.msisdn)):
        return redirect(url_for("hotspot.wait", slug=slug, token=token), 303)
    wrong_guess("number", tenant.id, mac)
    shown = BuyForm(formdata=None)
    shown.form_errors.append(_("No payment from this number waits or runs on this device."))
    return _shown(tenant, shown, 422)


def _token_of_number(tenant: Tenant, mac: str, msisdn: str) -> str | None:
    if not mac:
        return None
    grants = purchases.open_grants_of_device(tenant.id, mac=mac)
    waits = _waiting(tenant, mac, "")
    typed = personal.phone_hash(msisdn, tenant.id)
    mine = [one.purchase for one in grants if one.purchase] + ([waits] if waits else [])
    tokens = [one.payment.token for one in mine if typed in _numbers_of(one.payment)]
    return tokens[-1] if tokens else None


def _numbers_of(payment: Payment) -> set[str | None]:
    return {payment.phone_hash, *(push.phone_hash for push in payment.pushes)}


@bp.post("/<slug>/connect")
def connect_device(slug: str) -> ResponseReturnValue:
    """Let the device that paid in again, by a sign-in that works for its MAC address only, once, for a minute."""
    tenant = find.by_slug(slug, kind="hotspot")
    told = carried()
    device = device_of(tenant, told)
    grants = purchases.open_grants_of_device(tenant.id, mac=device.mac) if device.mac else []
    begun_ids = [one.id for one in grants if one.has_begun]
    if not begun_ids or not device.login_url:  # only these: a guest's wrong ones hold up nobody behind the same address
        refuse_guessers("device", tenant.id)
        wrong_guess("device", tenant.id)
        return redirect(url_for("hotspot.portal", slug=slug, **told), 303)
    with transaction():
        username, password = access.sign_in_once(db.session.get_one(AccessGrant, begun_ids[0]))
    g.posts_to_router = True
    fields = view.login_fields(username, password, device)
    return _coded(
        find.by_slug(slug), CodeForm(formdata=None), login={"url": device.login_url, "method": "post", "fields": fields}
    )


@bp.get("/<slug>/wait/<token>")
def wait(slug: str, token: str) -> ResponseReturnValue:
    """The payment, live: prompt, receipt, credentials, and the way into the router."""
    tenant = find.by_slug(slug, kind="hotspot")
    payment = db.session.query(Payment).filter_by(tenant_id=tenant.id, token=token).one_or_none()
    if payment is None:
        return redirect(url_for("hotspot.portal", slug=slug), 302)
    queries.expedite(payment.id)
    payment = db.session.query(Payment).filter_by(token=token).one()
    shown = view.payment_view(payment)
    told = _told_before(payment)
    return render_template(
        "hotspot/wait.html",
        tenant=tenant,
        view=shown,
        test_mode=payment.is_sandbox,
        sms_url=url_for("hotspot.paste_page", slug=slug, **told) if payment.state == PaymentState.OPEN else None,
        back_url=url_for("hotspot.portal", slug=slug, **told),
    )


def _told_before(payment: Payment) -> dict[str, Any]:
    """What the router told when this was bought: the way back to the packages must not lose the router."""
    bought = purchases.of_payment(payment.id)
    if bought is None:
        return {}
    told = zip(
        CARRIED,
        (bought.mac, bought.client_ip, bought.nas_identity, "", bought.login_url, bought.wanted_url,
         bought.chap_id, bought.chap_challenge),
        strict=True,
    )  # fmt: skip
    return {name: value for name, value in told if value}


def _paste_form(tenant: Tenant, *, is_new: bool = False) -> PasteForm:
    form = PasteForm(formdata=None) if is_new else PasteForm()
    form.package.choices = [("", _("What my payment covers"))] + [
        (one.uid, f"{one.name}, {format_kes(one.price_cents)}") for one in packages.on_sale(tenant.id)
    ]
    return form


def _pasted(tenant: Tenant, form: PasteForm, outcome: Outcome | None, status_code: int = 200) -> ResponseReturnValue:
    told = carried()
    page = render_template(
        "hotspot/sms.html",
        tenant=tenant,
        form=form,
        carried=told,
        form_action=url_for("hotspot.paste", slug=tenant.slug),
        outcome=outcome,
        test_mode=_is_test(tenant),
        by_hand=_by_hand(tenant),
        code_url=url_for("hotspot.code_page", slug=tenant.slug, **told),
        back_url=url_for("hotspot.portal", slug=tenant.slug, **told),
    )
    return page, status_code


@bp.get("/<slug>/paid")
def paste_page(slug: str) -> ResponseReturnValue:
    """The door for who has paid by hand."""
    tenant = find.by_slug(slug, kind="hotspot")
    return _pasted(tenant, _paste_form(tenant, is_new=True), None)


@bp.post("/<slug>/paid")
def paste(slug: str) -> ResponseReturnValue:
    """Open the package if, and only if, the message's money is known to have arrived and is unused."""
    tenant = find.by_slug(slug, kind="hotspot")
    form = _paste_form(tenant)
    if not form.validate():
        return _pasted(tenant, form, None, 422)
    told = carried()
    device = device_of(tenant, told)
    outcome = pasted_messages.buy(
        tenant, form.package.data or "", form.sms_text.data, device, form.phone.msisdn or None
    )
    if outcome.token:
        return redirect(url_for("hotspot.wait", slug=slug, token=outcome.token), 303)
    tenant = find.by_slug(slug)
    return _pasted(tenant, _paste_form(tenant), outcome, 422 if outcome.status == "rejected" else 200)


@bp.get("/<slug>/code")
def code_page(slug: str) -> ResponseReturnValue:
    """The door for who has a code."""
    return _coded(find.by_slug(slug, kind="hotspot"), CodeForm(formdata=None))


@bp.post("/<slug>/code")
def redeem(slug: str) -> ResponseReturnValue:
    """Look the code up; where the router told of itself, the way into it."""
    tenant = find.by_slug(slug, kind="hotspot")
    form = CodeForm()
    if not form.validate():
        return _coded(tenant, form, status_code=422)
    told = carried()
    device = device_of(tenant, told)
    refuse_guessers("code", tenant.id, device.mac)
    code = "".join((form.code.data or "").upper().split())
    known = db.session.query(AccessGrant).options(joinedload(AccessGrant.purchase))  # in one step, found or not
    grant = known.filter_by(tenant_id=tenant.id, username=code).one_or_none()
    begun = grant.purchase if grant else None
    is_own = begun is not None and purchases.is_of_browser(begun, device.browser_hash)
    is_right = access.is_password(grant, form.password.data or "") or (is_own and not form.password.data)
    if grant is None or not is_right or not grant.is_open:
        wrong_guess("code", tenant.id, device.mac)
        form.code.errors = [_("This code and password are not known here, or their time is over.")]
        return _coded(tenant, form, status_code=422)
    password = grant.password
    login: dict[str, Any] = {
        "username": code,
        "password": password,
        "method": "post",
        "fields": {},
        "begins_at": None if grant.has_begun else grant.starts_at,
        "expires_at": grant.expires_at,
        "seconds_left": int((grant.expires_at - clock.now()).total_seconds()),
        "devices": grant.package.devices,
    }
    if device.login_url and grant.has_begun:
        g.posts_to_router = True
        login |= {"url": device.login_url, "fields": view.login_fields(code, password, device)}
    return _coded(tenant, form, login=login)


def _coded(
    tenant: Tenant, form: CodeForm, *, login: dict[str, Any] | None = None, status_code: int = 200
) -> ResponseReturnValue:
    told = carried()
    g.page_path = url_for("hotspot.code_page", slug=tenant.slug)
    page = render_template(
        "hotspot/code.html",
        tenant=tenant,
        form=form,
        carried=told,
        login=login,
        form_action=url_for("hotspot.redeem", slug=tenant.slug),
        sms_url=url_for("hotspot.paste_page", slug=tenant.slug, **told),
        back_url=url_for("hotspot.portal", slug=tenant.slug, **told),
        test_mode=_is_test(tenant),
    )
    return page, status_code


@bp.get("/<slug>/api/<token>")
def captive_api(slug: str, token: str) -> ResponseReturnValue:
    """RFC 8908: whether this payment's device is captive, and for how long it is not."""
    tenant = find.by_slug(slug, kind="hotspot")
    payment = db.session.query(Payment).filter_by(tenant_id=tenant.id, token=token).one_or_none()
    grant = purchases.grant_of(payment.id) if payment else None
    answer: dict[str, Any] = {
        "captive": True,
        "user-portal-url": current_app.config["PORTAL"].public_url + url_for("hotspot.portal", slug=slug),
        "can-extend-session": True,
    }
    if grant is not None and grant.is_open:
        answer |= {
            "captive": False,
            "seconds-remaining": int((grant.expires_at - clock.now()).total_seconds()),
        }
    response: Response = jsonify(answer)
    response.headers["Content-Type"] = "application/captive+json"
    response.headers["Cache-Control"] = "private, no-store"
    return response
