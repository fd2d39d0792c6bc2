"""One purchase, live: prompt, receipt, credentials, and the way into the router."""

from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from flask import g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from portal.hotspot import purchases
from portal.hotspot.models import AccessGrant, Purchase
from portal.kernel.db import db
from portal.payer import view
from portal.payer.hotspot import passes
from portal.payer.hotspot.device import bp, carried
from portal.payer.hotspot.front import doors
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.payments.stk import queries
from portal.tenants import find
from portal.tenants.models import Tenant


def _payment_of(tenant: Tenant, token: str) -> Payment | None:
    return db.session.query(Payment).filter_by(tenant_id=tenant.id, token=token).one_or_none()


@bp.get("/<slug>/wait/<token>")
def wait(slug: str, token: str) -> ResponseReturnValue:
    """The payment, live: prompt, receipt, credentials, and the way into the router."""
    tenant = find.by_slug(slug, kind="hotspot")
    payment = _payment_of(tenant, token)
    if payment is None:
        return redirect(url_for("hotspot.portal", slug=slug), 302)
    queries.expedite(payment.id)
    payment = db.session.query(Payment).filter_by(token=token).one()
    shown = view.payment_view(payment)
    told = _told_before(payment)
    if told.get("link-login-only"):
        g.posts_to_router = True  # the page that waits now gets the way in later, under the policy that it came with
    is_open = payment.state == PaymentState.OPEN
    return render_template(
        "hotspot/wait.html",
        tenant=tenant,
        view=shown,
        test_mode=payment.is_sandbox,
        doors=[one for one in doors(tenant, told) if is_open or one["icon"] == "wifi"],
        pass_url=url_for("hotspot.own_pass", slug=slug, token=token, **told),
    )


def _own_grant(payment: Payment | None) -> AccessGrant | None:
    """The access that this payment opened for its payer. A gift is nobody's but its receiver's."""
    grant = purchases.grant_of(payment.id) if payment is not None and payment.state == PaymentState.PAID else None
    return grant if grant is not None and grant.origin != "gift" else None


@bp.get("/<slug>/own/<token>")
def own_pass(slug: str, token: str) -> ResponseReturnValue:
    """From a payment's page to the page of the pass that it opened, once there is one."""
    tenant = find.by_slug(slug, kind="hotspot")
    grant = _own_grant(_payment_of(tenant, token))
    if grant is None or not grant.is_open:
        return redirect(url_for("hotspot.wait", slug=slug, token=token), 303)
    return redirect(passes.url_of(tenant, grant, carried()), 303)


@bp.get("/<slug>/go/<token>")
def go(slug: str, token: str) -> ResponseReturnValue:
    """Into the router by an address, where a form cannot go: from https to a router without, or without a script.

    Only to the address that was checked when this was bought; never to one that comes along.
    """
    tenant = find.by_slug(slug, kind="hotspot")
    payment = _payment_of(tenant, token)
    grant = _own_grant(payment)
    bought = grant.purchase if grant else None
    if grant is None or bought is None or not (bought.login_url and grant.is_open and grant.has_begun):
        return redirect(url_for("hotspot.wait", slug=slug, token=token), 303)
    return redirect(login_address(grant, bought), 303)


def login_address(grant: AccessGrant, device: Purchase) -> str:
    """The router's login address with what its form would send."""
    fields = view.login_fields(grant.username, grant.password, device, tenant_id=device.tenant_id)
    address = urlsplit(device.login_url)
    asked = [part for part in (address.query, urlencode(fields)) if part]
    return urlunsplit(address._replace(query="&".join(asked), fragment=""))


def _told_before(payment: Payment) -> dict[str, Any]:
    """What the router told when this was bought: the way back to the packages must not lose the router."""
    bought = purchases.of_payment(payment.id)
    if bought is None:
        return {}
    told = {
        "mac": bought.mac,
        "ip": bought.client_ip,
        "identity": bought.nas_identity,
        "link-login-only": bought.login_url,
        "link-orig": bought.wanted_url,
        "chap-id": bought.chap_id,
        "chap-challenge": bought.chap_challenge,
    }
    return {name: value for name, value in told.items() if value}
