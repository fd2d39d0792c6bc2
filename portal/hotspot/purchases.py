"""Buying a package: one payment per tenant, package, phone and device while it is live.

Decided: who repeats a live purchase learns how it stands and nothing else, unless they show that they began it, by the
idempotency key or the browser's cookie: package, number and MAC address are known to others too. What was tried and is
over (cancelled, declined, nothing paid) is left to its own page, and a new purchase begins.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, select

from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant, Package, Purchase, Site
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import Conflict
from portal.kernel.errors import Sentence as _
from portal.payments.booking import allocate
from portal.payments.closing import close_payment
from portal.payments.models import Payment, Push, Transaction
from portal.payments.payment import lock_payment, new_reference, open_payment, touch
from portal.payments.states import PaymentState
from portal.payments.stk import pushes
from portal.payments.stk.prompt_limits import AskedFrom
from portal.payments.stk.push_states import OPEN, State
from portal.tenants.models import Tenant

MOST_GRANTS_SHOWN = 50
LONGEST_LOGIN_URL = 300
MOST_GATEWAYS = 50  # whose keys are tried on what a device brings
_MAC = re.compile(r"(?:[0-9A-F]{2}[:-]?){5}[0-9A-F]{2}")


@dataclass(frozen=True)
class Device:
    """What the request told of the device. Nothing in it is trusted for money or tenancy, but `browser_hash`.

    browser_hash: of the id in a cookie of ours. mac, client_ip: the device's own; nas_address: the router's.
    """

    mac: str = ""
    browser_hash: str = ""
    locale: str = "en"
    client_ip: str = ""
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


def safe_login_url(tenant_id: int, url: str, identity: str, *, site_uid: str = "") -> str:
    """The router's login address, if it may be sent a code: on a host of the site that its router names.

    Where no site of that name is known, on a host of any of the tenant's sites; a site that has registered no host yet
    has private addresses taken. Anything else is dropped: an invented address would hand the customer's code to a
    stranger.
    """
    host = _login_host(url)
    if not host:
        return ""
    sites = _open_sites(tenant_id)
    named = _named(sites, site_uid, identity)
    meant = named or sites
    hosts = {known for one in meant for known in one.login_hosts.lower().split()}
    is_known = host in hosts or urlsplit(url).netloc.lower() in hosts
    has_none = not meant or any(not one.login_hosts.strip() for one in meant)
    return url if is_known or (has_none and _is_private(host)) else ""


def site_told(tenant_id: int, *, uid: str = "", identity: str = "", login_url: str = "") -> Site | None:
    """The site that a router's own words name: by its id or identity, by its login address' host, or the only one."""
    sites, host = _open_sites(tenant_id), _login_host(login_url)
    named = _named(sites, uid, identity)
    hosting = [one for one in sites if host and host in one.login_hosts.lower().split()]
    return next(iter(named or hosting or (sites if len(sites) == 1 else [])), None)


def gateway_keys(slug: str, *, site_uid: str = "") -> list[str]:
    """The keys under which openNDS gateways of this business tell of a device; of the named one alone, if it is."""
    mine = select(Site).join(Tenant, Tenant.id == Site.tenant_id).where(Tenant.slug == slug, Site.closed_at.is_(None))
    sites = list(db.session.scalars(mine.where(Site.kind == "opennds").order_by(Site.id).limit(MOST_GATEWAYS)))
    return [one.secret for one in _named(sites, site_uid, "") or sites if one.secret]


def _named(sites: list[Site], uid: str, identity: str) -> list[Site]:
    by_uid = [one for one in sites if uid and one.uid == uid]
    return by_uid or [one for one in sites if identity and identity in (one.identity, one.name)]


def _open_sites(tenant_id: int) -> list[Site]:
    mine = select(Site).where(Site.tenant_id == tenant_id, Site.closed_at.is_(None)).order_by(Site.id)
    return list(db.session.scalars(mine))


def _login_host(url: str) -> str:
    """The host of what could be a login address, in small letters; else an empty text."""
    if len(url) > LONGEST_LOGIN_URL or not all("!" <= one <= "~" and one != "\\" for one in url):
        return ""
    try:
        address = urlsplit(url)
        host = address.hostname or ""
    except ValueError:  # such as http://[
        return ""
    return host if address.scheme in ("http", "https") and "@" not in address.netloc else ""


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


@dataclass(frozen=True)
class Begun:
    """A purchase, and whether the caller may hold its payment's token: it is new, or they showed that they began it.

    requested: the push that asks for it, where one does.
    """

    payment: Payment
    is_own: bool
    requested: pushes.Requested | None = None


@dataclass(frozen=True)
class Wish:
    """How its payer wants it, as they were told before they pay. Nothing said: it waits for what runs, or extends it.

    switches_now: it begins at once, and what runs goes on after it. gift_msisdn: the number it is given to.
    """

    switches_now: bool = False
    gift_msisdn: str | None = None


NO_WISH = Wish()


def buy(
    tenant: Tenant,
    gateway: Gateway,
    package: Package,
    *,
    msisdn: str,
    device: Device,
    network: str,
    idempotency_key: str | None = None,
    wish: Wish = NO_WISH,
) -> Begun:
    """Open the purchase and ask the phone to pay for it, where the caller may. network: whose limits it counts to.

    The caller commits, then enqueues SEND_PUSHES. Raises Refused where the phone may not be asked now, and Conflict.
    """
    begun = open_purchase(
        tenant, gateway, package, msisdn=msisdn, device=device, idempotency_key=idempotency_key, wish=wish
    )
    if not begun.is_own or begun.payment.state != PaymentState.OPEN:
        return begun
    requested = pushes.request_push(
        begun.payment.id,
        msisdn,
        actor="payer",
        idempotency_key=idempotency_key,
        asked_from=AskedFrom(network, device.mac),
    )
    return replace(begun, requested=requested)


def open_purchase(
    tenant: Tenant,
    gateway: Gateway,
    package: Package,
    *,
    msisdn: str,
    device: Device,
    idempotency_key: str | None = None,
    wish: Wish = NO_WISH,
) -> Begun:
    """The payment for this package, phone and device: the live one, or a new one. The caller commits.

    Raises Conflict where the idempotency key was used for something else.
    """
    phone_hash = personal.phone_hash(msisdn, tenant.id)
    live_key = f"hotspot/{package.id}/{phone_hash}/{device.mac}" + ("/now" if wish.switches_now else "")
    if wish.gift_msisdn:
        live_key = f"hotspot/{package.id}/{phone_hash}/gift/{personal.phone_hash(wish.gift_msisdn, tenant.id)}"
    if idempotency_key and (before := _keyed(tenant.id, idempotency_key)):
        if before.phone_hash != phone_hash or before.amount_cents != package.price_cents:
            raise Conflict(
                _("This idempotencyKey was used for another request. Use a new one."),
                code="idempotency_conflict",
            )
        return Begun(before, is_own=True)
    while True:
        payment = _open(tenant, gateway, package, msisdn, phone_hash, live_key, idempotency_key)
        begun = of_payment(payment.id)
        if begun is None:
            _remember_device(payment, package, device, wish)
            return Begun(payment, is_own=True)
        payment = lock_payment(payment.id)
        if payment.amount_cents != package.price_cents or payment.gateway_id != gateway.id:
            _let_go(payment, gateway)
        elif is_of_browser(begun, device.browser_hash) or (
            idempotency_key and payment.idempotency_key == idempotency_key  # the same form at the same time
        ):
            return Begun(payment, is_own=True)
        elif _is_over(payment):
            touch(payment.id, live_key=None)
        else:
            return Begun(payment, is_own=False)


def is_of_browser(purchase: Purchase, browser_hash: str) -> bool:
    """Whether this browser, by its cookie, is the one that began the purchase."""
    return bool(browser_hash) and purchase.browser_hash == browser_hash


def _let_go(payment: Payment, gateway: Gateway) -> None:
    """Begin anew where the package or its gateway changed: but what a phone was asked for and may still be paid is
    delivered at its own price, since its payer was asked for no other. The caller holds its lock.
    """
    may_ring = db.session.scalar(
        select(Push.id).where(Push.payment_id == payment.id, Push.state.in_(OPEN | {State.UNCONFIRMED})).limit(1)
    )
    if may_ring is None or payment.environment != gateway.environment:
        close_payment(payment, why="The package or its gateway changed.", actor="payer")
    else:
        touch(payment.id, live_key=None)


def _is_over(payment: Payment) -> bool:
    """Whether each of its requests ended, and nothing was paid. The caller holds its lock."""
    states = db.session.scalars(select(Push.state).where(Push.payment_id == payment.id)).all()
    return bool(states) and not payment.allocated_cents and set(states) <= {State.DECLINED, State.CANCELLED}


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
    return open_payment(
        tenant,
        gateway,
        environment=gateway.environment,
        purpose="hotspot",
        reference=new_reference("W"),
        title=package.name,
        amount_cents=package.price_cents,
        live_key=live_key,
        phone_sealed=personal.seal_phone(msisdn, tenant.id),
        phone_hash=phone_hash,
        idempotency_key=key,
    )


def _remember_device(payment: Payment, package: Package, device: Device, wish: Wish = NO_WISH) -> None:
    """Written once: nobody who comes later changes whose device is let in, or where its password is sent."""
    made = Purchase(
        tenant_id=payment.tenant_id,
        payment_id=payment.id,
        package_id=package.id,
        mac=device.mac,
        browser_hash=device.browser_hash,
        locale=device.locale,
        client_ip=device.client_ip[:45],
        nas_address=device.nas_address[:45],
        nas_identity=device.nas_identity[:60],
        login_url=device.login_url,
        wanted_url=device.wanted_url[:500],
        chap_id=device.chap_id[:8],
        chap_challenge=device.chap_challenge[:100],
        switches_now=wish.switches_now,
    )
    if wish.gift_msisdn:
        made.gift_phone_sealed = personal.seal_phone(wish.gift_msisdn, payment.tenant_id)
        made.gift_phone_hash = personal.phone_hash(wish.gift_msisdn, payment.tenant_id)
    db.session.add(made)
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


def for_message(
    tenant: Tenant,
    gateway: Gateway,
    package: Package,
    device: Device,
    *,
    msisdn: str | None,
    wish: Wish = NO_WISH,
) -> Payment:
    """A payment for this package that no phone is asked for: a pasted message pays it. The caller commits."""
    payment = open_payment(
        tenant,
        gateway,
        environment=gateway.environment,
        purpose="hotspot",
        reference=new_reference("W"),
        title=package.name,
        amount_cents=package.price_cents,
        phone_sealed=personal.seal_phone(msisdn, tenant.id) if msisdn else None,
        phone_hash=personal.phone_hash(msisdn, tenant.id) if msisdn else None,
    )
    _remember_device(payment, package, device, wish)
    return payment


def by_hand(
    tenant: Tenant, gateway: Gateway, package: Package, device: Device, *, idempotency_key: str | None = None
) -> Payment:
    """A payment that is paid from M-Pesa's own menu: its reference is the account to type there. The caller commits.

    The same form again finds the same payment. Raises Conflict where the key was used for something else.
    """
    before = _keyed(tenant.id, idempotency_key) if idempotency_key else None
    if before is not None:
        if before.amount_cents != package.price_cents or before.phone_hash is not None:
            raise Conflict(
                _("This idempotencyKey was used for another request. Use a new one."), code="idempotency_conflict"
            )
        return before
    payment = open_payment(
        tenant,
        gateway,
        environment=gateway.environment,
        purpose="hotspot",
        reference=new_reference("W"),
        title=package.name,
        amount_cents=package.price_cents,
        idempotency_key=idempotency_key,
    )
    _remember_device(payment, package, device)
    return payment


def of_payment(payment_id: int) -> Purchase | None:
    """What this payment buys here, or None."""
    return db.session.scalars(select(Purchase).where(Purchase.payment_id == payment_id)).one_or_none()


def grant_of(payment_id: int) -> AccessGrant | None:
    """The access that this payment opened, or None."""
    return db.session.scalars(select(AccessGrant).join(Purchase).where(Purchase.payment_id == payment_id)).one_or_none()


def latest_of_device(tenant_id: int, *, mac: str = "", browser_hash: str = "") -> Purchase | None:
    """The last purchase of this browser, else of this device: who was closed finds the way back by it."""
    for is_same in _ways_to_know(mac, browser_hash):
        mine = select(Purchase).where(Purchase.tenant_id == tenant_id, is_same)
        if latest := db.session.scalars(mine.order_by(Purchase.id.desc()).limit(1)).first():
            return latest
    return None


def open_grants_of_device(tenant_id: int, *, mac: str = "", browser_hash: str = "") -> list[AccessGrant]:
    """Access of this browser or this device that has time left, in the order in which it is used up.

    Its purchase may be None: vouchers, trials and staff open access too.
    """
    here = []
    if mac:
        here.append(select(AccessGrant.id).where(AccessGrant.tenant_id == tenant_id, AccessGrant.mac == mac))
    if browser_hash:
        of_browser = select(AccessGrant.id).join(Purchase).where(Purchase.tenant_id == tenant_id)
        here.append(of_browser.where(Purchase.browser_hash == browser_hash, AccessGrant.origin != "gift"))
    if not here:
        return []
    ids = {one for ways in here for one in db.session.scalars(ways.where(*_has_time_left()))}
    running = select(AccessGrant).where(AccessGrant.id.in_(ids)).order_by(AccessGrant.starts_at, AccessGrant.id)
    return list(db.session.scalars(running.limit(MOST_GRANTS_SHOWN)))


def _has_time_left() -> tuple[ColumnElement[bool], ...]:
    return AccessGrant.ended_at.is_(None), AccessGrant.expires_at > clock.now()


def _ways_to_know(mac: str, browser_hash: str) -> list[ColumnElement[bool]]:
    by_browser = [Purchase.browser_hash == browser_hash] if browser_hash else []
    return by_browser + ([Purchase.mac == mac] if mac else [])
