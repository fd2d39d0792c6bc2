"""The captive portal: packages, phone, live status, a pasted message, a code."""

from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal import clock, queue
from portal.db import db, transaction
from portal.errors import Refused
from portal.fulfilment import deliver_now
from portal.gateways import connect
from portal.gateways.models import Gateway
from portal.hotspot import access, packages, purchases, unverified
from portal.hotspot.models import AccessGrant, Package
from portal.hotspot.purchases import Device
from portal.limits import limit_pastes, network
from portal.money import format_kes
from portal.payer import view
from portal.payer.forms import BuyForm, CodeForm, PasteForm
from portal.payments import claims, receipt_questions, sms_claim, status, stk
from portal.payments.models import Payment
from portal.payments.prompt_limits import AskedFrom
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.translations import said
from portal.web import tell_wait

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
    return {name: given[name][:LONGEST_CARRIED] for name in CARRIED if given.get(name)}


def device_of(tenant: Tenant, told: dict[str, Any]) -> Device:
    """The same, checked: nothing in it is trusted for money or tenancy."""
    identity = told.get("identity", "")
    return Device(
        mac=purchases.normalise_mac(told.get("mac", "")),
        nas_address=told.get("ip", ""),
        nas_identity=identity or told.get("server-name", ""),
        login_url=purchases.safe_login_url(tenant.id, told.get("link-login-only", ""), identity),
        wanted_url=told.get("link-orig", "") if told.get("link-orig", "").startswith(("http://", "https://")) else "",
        chap_id=told.get("chap-id", ""),
        chap_challenge=told.get("chap-challenge", ""),
    )


def _is_test(tenant: Tenant) -> bool:
    return connect.environment_of(tenant.id, "hotspot") == "sandbox"


def _shown(tenant: Tenant, form: BuyForm, status_code: int = 200) -> ResponseReturnValue:
    told = carried()
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
    )
    return page, status_code


def _by_hand(tenant: Tenant) -> dict[str, str] | None:
    """What to type into M-Pesa's own menu, where the gateway has no API and so no phone can be asked."""
    try:
        gateway = connect.choose(tenant.id, "hotspot")
    except Refused:
        return None
    if not claims.takes(gateway):
        return None
    is_till = gateway.sub_kind == "BUYGOODS"
    account = "" if is_till else gateway.account_number or HAND_ACCOUNT
    return {"method": "till" if is_till else "paybill", "number": gateway.shortcode, "account": account}


def _returning(tenant: Tenant, told: dict[str, Any]) -> dict[str, str] | None:
    payment = purchases.latest_of_device(tenant.id, purchases.normalise_mac(told.get("mac", "")))
    if payment is None:
        return None
    url = url_for("hotspot.wait", slug=tenant.slug, token=payment.token)
    grant = purchases.grant_of(payment.id)
    if grant is not None:
        if not grant.is_open:
            return None
        until = clock.nairobi(grant.expires_at).strftime("%H:%M")
        sentence = (
            _("Your internet is paid until %(time)s.", time=until)
            if payment.state == "paid"
            else _("Your internet is open until %(time)s.", time=until)
        )
        return {"sentence": sentence, "url": url}
    if payment.state == "paid" or status.standing(payment).is_settling:
        return {"sentence": _("Your payment is under way."), "url": url}
    return None


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
        gateway = connect.choose(tenant.id, "hotspot")
        package = packages.for_sale(tenant.id, form.package.data)
        with transaction():
            payment = purchases.open_purchase(
                tenant,
                gateway,
                package,
                msisdn=form.phone.msisdn,
                device=device_of(tenant, carried()),
                idempotency_key=form.idempotency_key.data or None,
            )
            token, payment_id, is_open = payment.token, payment.id, payment.state == "open"
            push_id = (
                stk.request_push(
                    payment_id,
                    form.phone.msisdn,
                    actor="payer",
                    idempotency_key=form.idempotency_key.data or None,
                    asked_from=AskedFrom(network(), purchases.normalise_mac(carried().get("mac", ""))),
                ).push.id
                if is_open
                else None
            )
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _shown(find.by_slug(slug), form, error.status)
    if push_id is not None:
        queue.ring(queue.SEND_PUSHES)
    return redirect(url_for("hotspot.wait", slug=slug, token=token), 303)


@bp.get("/<slug>/wait/<token>")
def wait(slug: str, token: str) -> ResponseReturnValue:
    """The payment, live: prompt, receipt, credentials, and the way into the router."""
    tenant = find.by_slug(slug, kind="hotspot")
    payment = db.session.query(Payment).filter_by(tenant_id=tenant.id, token=token).one_or_none()
    if payment is None:
        return redirect(url_for("hotspot.portal", slug=slug), 302)
    view.hurry_up(payment.id)
    payment = db.session.query(Payment).filter_by(token=token).one()
    shown = view.of(payment)
    told = _told_before(payment)
    return render_template(
        "hotspot/wait.html",
        tenant=tenant,
        view=shown,
        test_mode=payment.is_sandbox,
        sms_url=url_for("hotspot.paste_page", slug=slug, **told) if payment.state == "open" else None,
        back_url=url_for("hotspot.portal", slug=slug, **told),
    )


def _told_before(payment: Payment) -> dict[str, Any]:
    """What the router told when this was bought: the way back to the packages must not lose the router."""
    bought = purchases.of_payment(payment.id)
    if bought is None:
        return {}
    told = zip(
        CARRIED,
        (bought.mac, bought.nas_address, bought.nas_identity, "", bought.login_url, bought.wanted_url,
         bought.chap_id, bought.chap_challenge),
        strict=True,
    )  # fmt: skip
    return {name: value for name, value in told if value}


def _paste_form(tenant: Tenant, *, is_new: bool = False) -> PasteForm:
    form = PasteForm(formdata=None) if is_new else PasteForm()
    form.package.choices = [
        (one.uid, f"{one.name}, {format_kes(one.price_cents)}") for one in packages.on_sale(tenant.id)
    ]
    return form


def _pasted(
    tenant: Tenant, form: PasteForm, outcome: dict[str, str] | None, status_code: int = 200
) -> ResponseReturnValue:
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
    limit_pastes(tenant.id, told.get("mac") or request.remote_addr or "")
    outcome = claim(tenant, form.package.data, form.sms_text.data, device_of(tenant, told), form.phone.msisdn or None)
    if outcome["token"]:
        return redirect(url_for("hotspot.wait", slug=slug, token=outcome["token"]), 303)
    tenant = find.by_slug(slug)
    shown = {"status": outcome["status"], "sentence": outcome["sentence"]}
    return _pasted(tenant, _paste_form(tenant), shown, 422 if outcome["status"] == "rejected" else 200)


def claim(tenant: Tenant, package_uid: str, text: str, device: Device, msisdn: str | None) -> dict[str, Any]:
    """Examine a pasted message and use its money, in one transaction; {status, reason, sentence, token or None}.

    status: verified, queued (for a person, where M-Pesa cannot be asked) or rejected.
    """
    gateway = connect.choose(tenant.id, "hotspot")
    package = packages.for_sale(tenant.id, package_uid)
    payment_id = None
    with transaction():
        examined = sms_claim.examine(tenant, gateway, text, price_cents=package.price_cents)
        if examined.money is not None:
            payment = purchases.claimed(tenant, gateway, package, examined.money, device, msisdn=msisdn)
            payment_id = payment.id
            outcome = _outcome("verified", examined.reason, examined.sentence, payment.token)
        elif examined.reason == "unknown_payment" and claims.takes(gateway):
            outcome = _queued(tenant, gateway, package, text, device, msisdn)
        elif examined.reason == "unknown_payment" and receipt_questions.ask(gateway, examined.receipt or ""):
            sentence = _("We are asking M-Pesa about this payment. Try again in half a minute.")
            outcome = _outcome("queued", "asking_mpesa", sentence)
        else:
            outcome = _outcome("rejected", examined.reason, examined.sentence)
    if payment_id is not None:
        deliver_now(payment_id)
        queue.ring(queue.PAID)
    elif outcome["reason"] == "asking_mpesa":
        queue.ring(queue.REQUESTS)
    return outcome


def _outcome(word: str, reason: str, sentence: str, token: str | None = None) -> dict[str, Any]:
    return {"status": word, "reason": reason, "sentence": sentence, "token": token}


def _queued(
    tenant: Tenant, gateway: Gateway, package: Package, text: str, device: Device, msisdn: str | None
) -> dict[str, Any]:
    """The message put before the staff, and the internet opened meanwhile where the tenant's policy says so."""
    try:
        claim = claims.queue(
            tenant,
            gateway,
            text,
            price_cents=package.price_cents,
            device=claims.device_key(tenant.id, device.mac, msisdn),
            open_payment=lambda: purchases.for_message(tenant, gateway, package, device, msisdn=msisdn),
        )
    except Refused as error:
        return _outcome("rejected", error.code, said(error.message))
    token = claim.payment.token
    if claims.is_open_unverified(claim.payment) or unverified.open_access(claim):
        sentence = _("Your internet is open. The staff still check your message.")
        return _outcome("verified", "unverified_policy", sentence, token)
    sentence = _("We have your message. The staff check it, then your internet opens.")
    return _outcome("queued", "waits_for_staff", sentence, token)


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
    limit_pastes(tenant.id, told.get("mac") or request.remote_addr or "")
    code = "".join((form.code.data or "").upper().split())
    grant = db.session.query(AccessGrant).filter_by(tenant_id=tenant.id, username=code).one_or_none()
    if grant is None or not grant.is_open:
        form.code.errors = [_("This code is not known here, or its time is over.")]
        return _coded(tenant, form, status_code=422)
    device = device_of(tenant, told)
    password = access.password_of(grant)
    login: dict[str, Any] = {"username": code, "password": password, "method": "post", "fields": {}}
    if device.login_url:
        g.posts_to_router = True
        login |= {"url": device.login_url, "fields": view.login_fields(code, password, device)}
    return _coded(tenant, form, login=login)


def _coded(
    tenant: Tenant, form: CodeForm, *, login: dict[str, Any] | None = None, status_code: int = 200
) -> ResponseReturnValue:
    told = carried()
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
