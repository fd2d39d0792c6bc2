"""Buying a package: one payment per tenant, package, phone and device while it is live."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask_babel import gettext as _
from sqlalchemy import select

from portal import personal
from portal.db import db
from portal.errors import Conflict
from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant, Package, Purchase, Router
from portal.payments import stk
from portal.payments.models import Payment, Transaction
from portal.payments.money_in import allocate, lock_payment
from portal.tenants.models import Tenant

_MAC = re.compile(r"(?:[0-9A-F]{2}[:-]?){5}[0-9A-F]{2}")


@dataclass(frozen=True)
class Device:
    """What the router's redirect told of the device. Nothing in it is trusted for money or tenancy."""

    mac: str = ""
    nas_address: str = ""
    nas_identity: str = ""
    login_url: str = ""
    wanted_url: str = ""
    chap_id: str = ""
    chap_challenge: str = ""


def normalise_mac(text: str) -> str:
    """`AA:BB:CC:DD:EE:FF`, or an empty text for what is no MAC address."""
    raw = text.strip().upper()
    if not _MAC.fullmatch(raw):
        return ""
    digits = re.sub(r"[^0-9A-F]", "", raw)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def safe_login_url(tenant_id: int, url: str, identity: str) -> str:
    """The router's login address, if it may be sent a code: a private address, or a host the tenant registered.

    Anything else is dropped: an invented address would hand the customer's code to a stranger.
    """
    try:
        address = urlsplit(url)
    except ValueError:  # such as http://[
        return ""
    if address.scheme not in ("http", "https") or not address.hostname or address.username:
        return ""
    if _is_private(address.hostname):
        return url[:300]
    known = select(Router.id).where(Router.tenant_id == tenant_id, Router.login_host == address.hostname.lower())
    return url[:300] if db.session.scalar(known.limit(1)) is not None else ""


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def open_purchase(
    tenant: Tenant,
    gateway: Gateway,
    package: Package,
    *,
    msisdn: str,
    device: Device,
    idempotency_key: str | None = None,
) -> Payment:
    """The payment for this package, phone and device: the live one, or a new one. The caller commits.

    Raises Conflict where the idempotency key was used for something else.
    """
    phone_hash = personal.phone_hash(msisdn, tenant.id)
    live_key = f"hotspot/{package.id}/{phone_hash}/{device.mac}"
    if idempotency_key and (before := _keyed(tenant.id, idempotency_key)):
        if before.phone_hash != phone_hash or before.amount_cents != package.price_cents:
            raise Conflict(
                _("This idempotencyKey was used for another request. Use a new one."),
                code="idempotency_conflict",
            )
        return before
    payment = _open(tenant, gateway, package, msisdn, phone_hash, live_key, idempotency_key)
    if payment.amount_cents != package.price_cents or payment.gateway_id != gateway.id:
        stk.close_payment(lock_payment(payment.id), why="The package or its gateway changed.", actor="payer")
        payment = _open(tenant, gateway, package, msisdn, phone_hash, live_key, idempotency_key)
    _remember_device(payment, package, device)
    return payment


def _keyed(tenant_id: int, idempotency_key: str) -> Payment | None:
    return db.session.scalars(
        select(Payment).where(Payment.tenant_id == tenant_id, Payment.idempotency_key == idempotency_key)
    ).one_or_none()


def _open(
    tenant: Tenant,
    gateway: Gateway,
    package: Package,
    msisdn: str,
    phone_hash: str,
    live_key: str,
    key: str | None,
) -> Payment:
    return stk.open_payment(
        tenant,
        gateway,
        environment=gateway.environment,
        purpose="hotspot",
        reference=stk.new_reference("W"),
        title=package.name,
        amount_cents=package.price_cents,
        live_key=live_key,
        phone_sealed=personal.seal_phone(msisdn, tenant.id),
        phone_hash=phone_hash,
        idempotency_key=key,
    )


def _remember_device(payment: Payment, package: Package, device: Device) -> None:
    purchase = of_payment(payment.id)
    if purchase is None:
        purchase = Purchase(tenant_id=payment.tenant_id, payment_id=payment.id, package_id=package.id)
        db.session.add(purchase)
    purchase.mac = device.mac
    purchase.nas_address, purchase.nas_identity = device.nas_address[:45], device.nas_identity[:60]
    purchase.login_url, purchase.wanted_url = device.login_url, device.wanted_url[:500]
    purchase.chap_id, purchase.chap_challenge = device.chap_id[:8], device.chap_challenge[:100]
    db.session.flush()


def claimed(
    tenant: Tenant,
    gateway: Gateway,
    package: Package,
    money: Transaction,
    device: Device,
    *,
    msisdn: str | None,
) -> Payment:
    """A payment for this package, paid at once with money that a pasted message claimed. The caller commits."""
    payment = for_message(tenant, gateway, package, device, msisdn=msisdn)
    allocate(money, lock_payment(payment.id), actor="pasted message")
    return payment


def for_message(tenant: Tenant, gateway: Gateway, package: Package, device: Device, *, msisdn: str | None) -> Payment:
    """A payment for this package that no phone is asked for: a pasted message pays it. The caller commits."""
    payment = stk.open_payment(
        tenant,
        gateway,
        environment=gateway.environment,
        purpose="hotspot",
        reference=stk.new_reference("W"),
        title=package.name,
        amount_cents=package.price_cents,
        phone_sealed=personal.seal_phone(msisdn, tenant.id) if msisdn else None,
        phone_hash=personal.phone_hash(msisdn, tenant.id) if msisdn else None,
    )
    _remember_device(payment, package, device)
    return payment


def of_payment(payment_id: int) -> Purchase | None:
    """What this payment buys here, or None."""
    return db.session.scalars(select(Purchase).where(Purchase.payment_id == payment_id)).one_or_none()


def grant_of(payment_id: int) -> AccessGrant | None:
    """The access that this payment opened, or None."""
    return db.session.scalars(select(AccessGrant).join(Purchase).where(Purchase.payment_id == payment_id)).one_or_none()


def latest_of_device(tenant_id: int, mac: str) -> Payment | None:
    """The last payment this device began here: a captive browser that was closed finds its way back by it."""
    if not mac:
        return None
    return db.session.scalars(
        select(Payment)
        .join(Purchase, Purchase.payment_id == Payment.id)
        .where(Purchase.tenant_id == tenant_id, Purchase.mac == mac)
        .order_by(Payment.id.desc())
        .limit(1)
    ).first()
