"""The first screen: packages and a phone number, what runs or waits here already, and every way back in."""

from datetime import datetime
from itertools import groupby
from typing import Any

from flask import g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.gateways import client_factory
from portal.hotspot import packages, places, purchases
from portal.hotspot.models import AccessGrant, Package, Purchase
from portal.hotspot.passes import standing
from portal.hotspot.places import Bid
from portal.hotspot.pppoe import lines
from portal.hotspot.routers.opennds import fas
from portal.kernel import clock, personal
from portal.kernel.errors import Refused
from portal.kernel.money import format_kes
from portal.kernel.phone import for_screens
from portal.payer.forms import BuyForm, NumberForm
from portal.payer.hotspot import passes
from portal.payer.hotspot.device import bp, carried, device_login, is_test, mac_of, router_error, site_id_of
from portal.payments import status
from portal.payments.sms import submissions
from portal.payments.states import PaymentState
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web import browser

HAND_ACCOUNT = "WIFI"  # a paybill wants some account, and nothing is matched by it where there is no API


@bp.get("/<slug>/")
def portal(slug: str) -> ResponseReturnValue:
    """Packages and a phone number, in one small page. A voucher's QR code leads to the door for codes, filled in."""
    tenant = find.by_slug(slug, kind="hotspot")
    if request.args.get("code"):
        return redirect(url_for("hotspot.code_page", slug=slug, code=request.args["code"][:40], **carried()), 303)
    return shown(tenant, BuyForm(formdata=None))


def shown(
    tenant: Tenant, form: BuyForm, status_code: int = 200, *, retry_in_s: int | None = None
) -> ResponseReturnValue:
    """The first screen, with what is wrong with the form that was sent, if one was."""
    told = carried()
    g.page_path = url_for("hotspot.portal", slug=tenant.slug)
    asked_for = form.package.data or request.args.get("package", "")
    site_id = site_id_of(tenant, told)
    on_sale = packages.on_sale(tenant.id, site_id=site_id, hidden_uid=asked_for)
    form.package.data = asked_for or (on_sale[0].uid if on_sale else None)
    returning = _returning(tenant, told)
    page = render_template(
        "hotspot/portal.html",
        tenant=tenant,
        groups=_grouped(on_sale),
        places=_places(tenant, on_sale, told) if returning and returning["left"] else {},
        form=form,
        carried=told,
        form_action=url_for("hotspot.buy", slug=tenant.slug),
        router_error=router_error(),
        test_mode=is_test(tenant),
        doors=doors(tenant, told),
        returning=returning,
        trial_url=url_for("hotspot.trial_page", slug=tenant.slug, **told)
        if returning is None and packages.trial(tenant.id, site_id=site_id)
        else None,
        by_hand=by_hand(tenant),
        retry_in_s=retry_in_s,
    )
    return page, status_code


def _places(tenant: Tenant, on_sale: list[Package], told: dict[str, Any]) -> dict[str, str]:
    """{package: when it would run}, for who has a pass that runs: said before it is paid."""
    mac, browser_hash = mac_of(told), browser.known(tenant)
    own = [one for one in standing.of_device(tenant.id, mac=mac, browser_hash=browser_hash)
           if standing.is_of_browser(one, browser_hash)]  # fmt: skip
    owner = own[0].phone_hash if own else None
    said = {}
    for package in on_sale:
        at = places.place(Bid(tenant.id, package, mac=mac, browser_hash=browser_hash, owner_hash=owner))
        if at.how == places.ADDS:
            said[package.uid] = _("added to what runs")
        elif at.how in (places.EXTENDS, places.QUEUES):
            said[package.uid] = _("from %(start)s until %(end)s", start=_hour(at.starts_at), end=_hour(at.expires_at))
    return said


def _hour(at: datetime) -> str:
    local = clock.nairobi(at)
    return f"{local:%H:%M}" if local.date() == clock.nairobi(clock.now()).date() else f"{local:%d/%m %H:%M}"


def _grouped(on_sale: list[Package]) -> list[dict[str, Any]]:
    """The packages as they are laid out: by group, in the order that staff gave them; else the cheapest first."""
    first: dict[str, int] = {}
    for package in sorted(on_sale, key=lambda one: one.position):
        first.setdefault(package.group_name, len(first))
    ordered = sorted(on_sale, key=lambda one: (first[one.group_name], one.position))
    return [{"name": name, "packages": list(own)} for name, own in groupby(ordered, key=lambda one: one.group_name)]


def doors(tenant: Tenant, told: dict[str, Any], *, but: str = "") -> list[dict[str, str]]:
    """The other ways in, the same on every screen. but: the one where the reader stands."""
    every = [
        ("paste_page", "sms", _("I have paid")),
        ("code_page", "key", _("I have a code")),
        ("lost_page", "retry", _("I lost my code")),
        ("portal", "wifi", _("All packages")),
    ]
    if lines.are_sold(tenant.id):
        every.insert(-1, ("line_page", "door", _("Home internet by account number")))
    return [
        {"url": url_for(f"hotspot.{name}", slug=tenant.slug, **told), "icon": icon, "label": label}
        for name, icon, label in every
        if name != but
    ]


def by_hand(tenant: Tenant) -> dict[str, str] | None:
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
    """What runs or waits for this device: in words for everybody, with the way to it for the browser whose it is.

    Access that runs comes before the latest attempt, which may have failed.
    """
    mac, browser_hash = mac_of(told), browser.known(tenant)
    grants = standing.of_device(tenant.id, mac=mac, browser_hash=browser_hash)
    waits = waiting(tenant, mac, browser_hash)
    if not grants and waits is None:
        return None
    mine = next((one for one in grants if standing.is_of_browser(one, browser_hash)), None)
    is_own = mine is not None if grants else waits is not None and purchases.is_of_browser(waits, browser_hash)
    is_here = bool(mac) and any(mac in passes.macs_of(one) for one in grants)
    return {
        "sentences": ([_running(grants)] if grants else []) + ([_waits(waits)] if waits else []),
        "is_running": bool(grants),
        "is_waiting": waits is not None,
        "left": passes.left_shown(mine) if mine else None,
        "pass_url": passes.url_of(tenant, mine, told) if mine else None,
        "move_url": passes.url_of(tenant, mine, {}) if mine and mac and not is_here else None,
        "url": url_for("hotspot.wait", slug=tenant.slug, token=waits.payment.token) if waits and is_own else None,
        "receipt_url": url_for("hotspot.wait", slug=tenant.slug, token=mine.purchase.payment.token)
        if mine and mine.purchase
        else None,
        "connect_url": url_for("hotspot.connect_device", slug=tenant.slug)
        if is_here and device_login(tenant, told) and told.get("chap-id") != fas.CHALLENGE
        else None,
        "number_url": url_for("hotspot.by_number", slug=tenant.slug) if mac and not is_own else None,
        "number_form": NumberForm(formdata=None),
    }


def _running(grants: list[AccessGrant]) -> str:
    shown_until = _hour(grants[-1].expires_at)
    if any(one.purchase and submissions.is_open_unverified(one.purchase.payment) for one in grants):
        return _("Your internet is open until %(time)s.", time=shown_until)
    return _("Your internet is paid until %(time)s. What you buy now is added after that.", time=shown_until)


def waiting(tenant: Tenant, mac: str, browser_hash: str) -> Purchase | None:
    """The latest purchase of this browser or device, while it may still be paid or waits to be opened."""
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
