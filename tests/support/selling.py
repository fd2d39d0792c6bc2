"""Internet bought on a device, without M-Pesa: the payment is made, and the access it bought is opened."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.gateways.models import Gateway
from portal.hotspot import access, packages, purchases
from portal.hotspot.models import AccessGrant, AccessSession, Package, Site
from portal.kernel import clock
from portal.kernel.db import db, new_uid, transaction
from portal.payments.models import Allocation, Transaction
from portal.tenants.models import Tenant
from tests.support.product import Product

MAC, OTHER_MAC = "AA:BB:CC:00:00:01", "AA:BB:CC:00:00:02"
PHONE, OTHER_PHONE = "254711000001", "254711000002"
T0 = datetime(2026, 3, 2, 6, 0, tzinfo=clock.NAIROBI)


@dataclass(frozen=True)
class Opened:
    """A grant as it was at one moment."""

    id: int
    leader_id: int
    starts_at: datetime
    expires_at: datetime
    mac: str
    username: str


def seen(grant: AccessGrant) -> Opened:
    assert grant.leader_id is not None
    return Opened(grant.id, grant.leader_id, grant.starts_at, grant.expires_at, grant.mac, grant.username)


def package_of(name: str, slug: str = "mlima") -> Package:
    return db.session.query(Package).join(Tenant, Tenant.id == Package.tenant_id).filter(
        Tenant.slug == slug, Package.name == name
    ).one()  # fmt: skip


def make_package(product: Product, name: str, **columns: Any) -> None:
    """A package of the first tenant with these columns."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        made = packages.create(tenant.id, packages.Offer(name, 3_000, 86_400, "2M/5M"), actor="test")
        for column, value in columns.items():
            setattr(made, column, value)


def buy(
    product: Product,
    package: str = "1 day",
    *,
    phone: str | None = PHONE,
    mac: str = MAC,
    browser: str = "",
    switches_now: bool = False,
    gift_to: str | None = None,
    receipt: str | None = None,
) -> Opened:
    """What a purchase opens that is paid this moment, by that phone."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        gateway = db.session.query(Gateway).filter_by(tenant_id=tenant.id).order_by(Gateway.id).first()
        assert gateway is not None
        device = purchases.Device(mac=mac, browser_hash=browser)
        wish = purchases.Wish(switches_now, gift_to)
        payment = purchases.for_message(tenant, gateway, package_of(package), device, msisdn=phone, wish=wish)
        purchase = purchases.of_payment(payment.id)
        assert purchase is not None
        if phone:
            money = Transaction(
                tenant_id=tenant.id, environment=payment.environment, receipt=new_uid()[:20], channel="stk",
                gateway_id=gateway.id, amount_cents=payment.amount_cents, unallocated_cents=0,
                phone_hash=payment.phone_hash, occurred_at=clock.now(),
            )  # fmt: skip
            db.session.add(money)
            db.session.flush()
            paid = {"transaction_id": money.id, "payment_id": payment.id, "amount_cents": money.amount_cents}
            db.session.add(Allocation(tenant_id=tenant.id, **paid))
            db.session.flush()
        return seen(access.grant(purchase, receipt=receipt))


def now_of(product: Product, opened: Opened) -> Opened:
    """The same grant as it is now."""
    with product.inside():
        return seen(db.session.get_one(AccessGrant, opened.id))


def refund(product: Product, opened: Opened) -> bool:
    with product.app.app_context(), transaction():
        return access.end(db.session.get_one(AccessGrant, opened.id), why="test", actor="test")


def use(product: Product, opened: Opened, *, octets: int = 0, seconds: int = 0) -> None:
    """A stay online of its pass that used so much."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        site = db.session.query(Site).filter_by(tenant_id=tenant.id).first() or Site(tenant_id=tenant.id, name="Here")
        db.session.add(site)
        db.session.flush()
        stay = AccessSession(
            tenant_id=tenant.id, uid=new_uid(), accounting_id=new_uid(), site_id=site.id, grant_id=opened.leader_id,
            username=opened.username, mac=opened.mac, started_at=clock.now(), updated_at=clock.now(),
            stopped_at=clock.now(), online_s=seconds, bytes_in=0, bytes_out=octets,
        )  # fmt: skip
        db.session.add(stay)


def days(count: float) -> timedelta:
    return timedelta(days=count)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)
