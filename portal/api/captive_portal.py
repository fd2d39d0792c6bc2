"""The captive portal's doors: open to everybody, limited per phone and per tenant."""

from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _

from portal.api import packages as api_packages
from portal.api.guard import EVERYBODY, Router, body, text_of
from portal.api.schemas import contract, page_of
from portal.fulfilment import receipt_of
from portal.gateways import client_factory, settings
from portal.gateways.models import Gateway
from portal.hotspot import packages, purchases
from portal.hotspot.purchases import Device
from portal.kernel import clock, money, personal
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments import status
from portal.payments.models import Payment, Push
from portal.payments.sms import submissions
from portal.payments.states import PaymentState
from portal.payments.stk import queries
from portal.tenants import find
from portal.web import browser, pasted_messages, start_push
from portal.web.language import said
from portal.web.limits import network, refuse_guessers, wrong_guess


def register_routes(router: Router) -> None:
    for path, look in (
        ("packages", on_sale),
        ("mpesa/check", check),
        ("mpesa/validate", validate),
        ("mpesa/status", poll),
    ):
        router.add("GET", f"/portal/{path}", look, who=EVERYBODY, limits=())
    router.add("POST", "/portal/mpesa/initiate", initiate, who=EVERYBODY, limits=())
    router.add("POST", "/portal/mpesa/verify-sms", verify_sms, who=EVERYBODY, limits=())


@contract(page_of("PackageOnSale"), query=("tenant",))
def on_sale() -> ResponseReturnValue:
    """What a hotspot customer can buy."""
    tenant = find.by_slug(request.args.get("tenant"))
    return jsonify(items=[api_packages.for_customers(one) for one in packages.on_sale(tenant.id)], nextCursor=None)


@contract("Configured", query=("tenant",))
def check() -> ResponseReturnValue:
    """Whether this tenant's gateway can ask a phone to pay, and whether that is a test.

    One without API is paid by hand only: what stands behind a button that prompts is not there.
    """
    tenant = find.by_slug(request.args.get("tenant"))
    try:
        gateway = client_factory.choose(tenant.id, "hotspot")
    except Refused:
        return jsonify(configured=False, env=None)
    return jsonify(configured=_can_prompt(gateway), env=gateway.environment)


def _can_prompt(gateway: Gateway) -> bool:
    return gateway.kind == "MPESA_API" and not settings.problems(settings.to_json(gateway))


@contract("Validity", query=("tenant",))
def validate() -> ResponseReturnValue:
    """Whether its gateway is complete; the names of fields that are not."""
    tenant = find.by_slug(request.args.get("tenant"))
    try:
        gateway = client_factory.choose(tenant.id, "hotspot")
    except Refused:
        return jsonify(valid=False, errors=["gateway"])
    errors = sorted(settings.problems(settings.to_json(gateway)))
    return jsonify(valid=not errors, errors=errors)


@contract("PurchaseBegun", takes="Purchase", answers=(201, 200))
def initiate() -> ResponseReturnValue:
    """Ask a phone to pay for a package. 201 for a new request, 200 where it is under way or paid already.

    A repeat names its `paymentId` to who sends the `idempotencyKey` of the first request, or the cookie that its answer
    set; to others `paymentId` and `checkoutRequestId` are null: number, package and MAC address are known to strangers.
    """
    given = body()
    tenant = find.by_slug(text_of(given, "tenant"))
    package = packages.for_sale(tenant.id, text_of(given, "packageId"))
    msisdn = normalise_msisdn(given.get("phone"))
    gateway = client_factory.choose(tenant.id, "hotspot")
    key = text_of(given, "idempotencyKey", required=False)[:80] or None
    device = Device(
        mac=_mac(given),
        browser_hash=browser.remembered(tenant),
        locale=str(get_locale() or "en"),
        nas_address=text_of(given, "nasIp", required=False)[:45],
    )
    with transaction():
        begun = purchases.buy(
            tenant, gateway, package, msisdn=msisdn, device=device, network=network(), idempotency_key=key
        )
        token, requested = begun.payment.token, begun.requested
        is_new, push_id = requested is not None and requested.is_new, requested.push.id if requested else None
    push = start_push.ring_and_wait(push_id) if push_id is not None and is_new else _push(push_id)
    payment = _by_token(token)
    stands = status.standing(payment)
    answer = {
        "paymentId": token if begun.is_own else None,
        "checkoutRequestId": push.checkout_request_id if push else None,
        "status": stands.status,
        "message": said(stands.sentence or stands.headline),
    }
    return jsonify(answer), 201 if is_new else 200


def _mac(given: dict[str, Any]) -> str:
    text = text_of(given, "macAddress", required=False)
    mac = purchases.normalise_mac(text)
    if text and not mac:
        sentence = "Must be a MAC address such as AA:BB:CC:DD:EE:FF."
        raise Refused(f"macAddress: {sentence}", code="invalid_fields", fields={"macAddress": sentence})
    return mac


def _push(push_id: int | None) -> Push | None:
    return db.session.get(Push, push_id) if push_id is not None else None


def _by_token(token: str) -> Payment:
    payment = db.session.query(Payment).filter_by(token=token).one_or_none()
    if payment is None:
        raise NotFound(_("There is no such payment."), code="unknown_payment")
    return payment


@contract("PurchaseStatus", query=("paymentId", "checkoutRequestId"))
def poll() -> ResponseReturnValue:
    """How a payment stands. Its receipt and credentials only for who holds its paymentId."""
    token, checkout_id = request.args.get("paymentId", ""), request.args.get("checkoutRequestId", "")
    payment = db.session.query(Payment).filter_by(token=token or checkout_id).one_or_none()
    is_token = payment is not None
    if payment is None:
        refuse_guessers("status", 0)  # a wrong token has no tenant
        named = personal.checkout_hash(checkout_id)
        push = db.session.query(Push).filter_by(checkout_hash=named).first() if checkout_id and not token else None
        payment = push.payment if push is not None else None
    if payment is None:
        wrong_guess("status", 0)
        raise NotFound(_("There is no such payment."), code="unknown_payment")
    known = payment.token
    queries.expedite(payment.id)
    return jsonify(told(_by_token(known), is_proven=is_token))


def told(payment: Payment, *, is_proven: bool) -> dict[str, Any]:
    """The status contract of the captive portal. is_proven: asked by its token, which its payer alone was given."""
    stands = status.standing(payment)
    sentence = stands.sentence if is_proven or payment.state == PaymentState.PAID or payment.paid_at is None else ""
    answer: dict[str, Any] = {
        "status": stands.status,
        "amountDue": money.kes(payment.due_cents),
        "resultCode": stands.result_code,
        "message": " ".join(filter(None, map(said, (sentence or stands.headline, stands.next_step)))),
        "receipt": receipt_of(payment) if is_proven else None,
        "testMode": payment.is_sandbox,
    }
    credentials = credentials_of(payment) if is_proven else None
    return answer | ({"credentials": credentials} if credentials else {})


def credentials_of(payment: Payment) -> dict[str, Any] | None:
    """Username, password, end and the router's login address, once they exist."""
    is_paid = payment.state == PaymentState.PAID and payment.refunded_cents < payment.amount_cents
    is_open = is_paid or submissions.is_open_unverified(payment)
    grant = purchases.grant_of(payment.id) if is_open else None
    if grant is None or grant.purchase is None or grant.ended_at is not None or grant.origin == "gift":
        return None  # a gift's are sent to whom it is given, and opened with them is the pass that it joined
    return {
        "username": grant.username,
        "password": grant.password,
        "expiresAt": clock.rfc3339(grant.expires_at),
        "loginUrl": grant.purchase.login_url or None,
    }


@contract("PastedAnswer", takes="PastedMessage")
def verify_sms() -> ResponseReturnValue:
    """Open a package for a pasted message, if its money is known to have arrived and is unused.

    Where M-Pesa cannot be asked, it waits for staff: `queued`, or `verified` by the tenant's own policy meanwhile.
    """
    given = body()
    tenant = find.by_slug(text_of(given, "tenant"))
    text = text_of(given, "smsText")
    package_uid = text_of(given, "packageId")
    phone = text_of(given, "phone", required=False)
    msisdn = normalise_msisdn(phone) if phone else None
    mac = _mac(given)
    device = Device(mac=mac, browser_hash=browser.remembered(tenant), locale=str(get_locale() or "en"))
    site = purchases.site_told(tenant.id)
    outcome = pasted_messages.buy(tenant, package_uid, text, device, msisdn, site_id=site.id if site else None)
    answer: dict[str, Any] = {"status": outcome.status, "reason": outcome.reason, "message": outcome.sentence}
    if outcome.token is None:
        return jsonify(answer)
    payment = _by_token(outcome.token)
    answer["paymentId"] = payment.token
    credentials = credentials_of(payment)
    return jsonify(answer | ({"credentials": credentials} if credentials else {}))
