"""Asking a phone for a package's price, and the way back to a payment by the number that pays it."""

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.gateways import client_factory
from portal.hotspot import packages, purchases
from portal.hotspot.passes import standing
from portal.hotspot.purchases import Wish
from portal.kernel import personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payer.forms import BuyForm, HandForm, NumberForm
from portal.payer.hotspot import gateway as gateway_asks
from portal.payer.hotspot import passes
from portal.payer.hotspot.device import bp, carried, device_of, mac_of, site_id_of
from portal.payer.hotspot.front import shown, waiting
from portal.payments import status
from portal.payments.models import Payment
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import network, refuse_guessers, wrong_guess


@bp.post("/<slug>/")
def buy(slug: str) -> ResponseReturnValue:
    """Ask the phone to pay for a package; then the page that waits with the customer."""
    tenant = find.by_slug(slug, kind="hotspot")
    if gateway_asks.is_asking():
        return gateway_asks.answered(tenant)
    if request.form.get("by_hand"):
        return _by_hand(tenant)
    form = BuyForm()
    if not form.validate():
        return shown(tenant, form, 422)
    try:
        gateway = client_factory.choose(tenant.id, "hotspot")
        told = carried()
        package = packages.for_sale(tenant.id, form.package.data, site_id=site_id_of(tenant, told))
        with transaction():
            begun = purchases.buy(
                tenant,
                gateway,
                package,
                msisdn=form.phone.msisdn,
                device=device_of(tenant, told),
                network=network(),
                idempotency_key=form.idempotency_key.data or None,
                wish=Wish(switches_now=form.starts_now.data, gift_msisdn=form.gift_phone.msisdn or None),
            )
            token, payment_id = begun.payment.token, begun.payment.id
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return shown(find.by_slug(slug), form, error.status, retry_in_s=getattr(error, "retry_after_s", None))
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
    return shown(tenant, form, 200)


def _by_hand(tenant: Tenant) -> ResponseReturnValue:
    """A short code to pay by hand with, for who has no phone that can be asked: the page shows it and waits."""
    form = HandForm()
    try:
        told = carried()
        site_id = site_id_of(tenant, told)
        refuse_guessers("by_hand", tenant.id, site_id=site_id)  # each makes a row, so each is counted
        gateway = client_factory.choose(tenant.id, "hotspot")
        package = packages.for_sale(tenant.id, form.package.data or "", site_id=site_id)
        wrong_guess("by_hand", tenant.id, site_id=site_id)
        with transaction():
            device = device_of(tenant, told)
            payment = purchases.by_hand(
                tenant, gateway, package, device, idempotency_key=form.idempotency_key.data or None
            )
            token = payment.token
    except Refused as error:
        again = BuyForm(formdata=None)
        again.form_errors.append(said(error.message))
        tell_wait(error)
        return shown(find.by_slug(tenant.slug), again, error.status)
    return redirect(url_for("hotspot.wait", slug=tenant.slug, token=token), 303)


@bp.post("/<slug>/mine")
def by_number(slug: str) -> ResponseReturnValue:
    """The way back for a browser without its cookie: the number that pays, typed once more."""
    tenant = find.by_slug(slug, kind="hotspot")
    told, form = carried(), NumberForm()
    mac, site_id = mac_of(told), site_id_of(tenant, told)
    refuse_guessers("number", tenant.id, mac, site_id=site_id)
    if form.validate() and (url := _own_page(tenant, mac, form.phone.msisdn)):
        return redirect(url, 303)
    wrong_guess("number", tenant.id, mac, site_id=site_id)
    again = BuyForm(formdata=None)
    again.form_errors.append(_("No payment from this number waits or runs on this device."))
    return shown(tenant, again, 422)


def _own_page(tenant: Tenant, mac: str, msisdn: str) -> str | None:
    """The page of what this number pays or paid for on this device: the payment that waits, else the pass."""
    if not mac:
        return None
    typed, waits = personal.phone_hash(msisdn, tenant.id), waiting(tenant, mac, "")
    if waits is not None and typed in _numbers_of(waits.payment):
        return url_for("hotspot.wait", slug=tenant.slug, token=waits.payment.token)
    for grant in reversed(standing.of_device(tenant.id, mac=mac)):
        bought = grant.purchase
        if bought is not None and typed in _numbers_of(bought.payment):
            return url_for("hotspot.wait", slug=tenant.slug, token=bought.payment.token)
        if bought is None and grant.phone_hash == typed:
            return passes.url_of(tenant, grant, carried())
    return None


def _numbers_of(payment: Payment) -> set[str | None]:
    return {payment.phone_hash, *(push.phone_hash for push in payment.pushes)}
