"""Lines: a customer with a PPPoE package, and what a router would be told of it."""

from dataclasses import dataclass
from datetime import datetime

from portal.hotspot import packages
from portal.hotspot.models import AccessGrant, Package
from portal.hotspot.pppoe import lines
from portal.hotspot.pppoe.models import LinePeriod, PppoeLine
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Customer
from portal.payments.wallets import wallets
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product

DAY_S = 86_400


@dataclass(frozen=True)
class MadeLine:
    """A line as a test needs it."""

    id: int
    uid: str
    account: str
    phone: str
    customer_id: int


def pppoe_package(product: Product, price: int = 1_000, days: int = 30, slug: str = "mlima") -> int:
    with product.app.app_context(), transaction():
        offer = packages.Offer(
            f"Home {price}", price * 100, days * DAY_S, "5M/10M", service="pppoe"
        )  # fmt: skip
        return packages.create(product_tenant(slug), offer, actor="test").id


def product_tenant(slug: str) -> int:
    from portal.tenants.models import Tenant

    return int(db.session.query(Tenant.id).filter_by(slug=slug).scalar())


def line_of(
    product: Product, *, package_id: int = 0, phone: str = "", price: int = 1_000, days: int = 30, **wanted: object
) -> MadeLine:
    """A new line of a new customer, or of the one with this phone."""
    package_id = package_id or pppoe_package(product, price, days)
    phone = phone or new_phone()
    with product.app.app_context(), transaction():
        tenant_id = db.session.get_one(Package, package_id).tenant_id
        owner = wallets.customer_of_phone(tenant_id, phone, name="Achieng Home")
        made = lines.create(owner, lines.Wanted(package_id, **wanted), username="", actor="test")  # type: ignore[arg-type]
        return MadeLine(made.id, made.uid, owner.account_number, phone, owner.id)


def typed_at_the_paybill(product: Product, number: int, amount: float, account: str, **more: str) -> None:
    body = c2b_body(receipt=receipt(number), amount=amount, account=account, **more)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200


@dataclass(frozen=True)
class Standing:
    """How a line stands. days_paid: from now to its end, rounded; periods: that run or will."""

    state: str
    paid_until: datetime | None
    days_paid: int | None
    periods: int
    wallet: int
    grant_until: datetime
    is_refused: bool


def standing(product: Product, line: MadeLine) -> Standing:
    with product.inside():
        row = db.session.get_one(PppoeLine, line.id)
        runs = db.session.query(LinePeriod).filter(
            LinePeriod.line_id == line.id, LinePeriod.starts_at.is_not(None), LinePeriod.withdrawn_at.is_(None)
        )
        grant = db.session.get_one(AccessGrant, row.grant_id)
        held = wallets.balance_cents(db.session.get_one(Customer, row.customer_id), "sandbox")
        left = round((row.paid_until - clock.now()).total_seconds() / DAY_S) if row.paid_until else None
        return Standing(
            row.state, row.paid_until, left, runs.count(), held // 100, grant.expires_at,
            grant.suspended_at is not None or grant.ended_at is not None,
        )  # fmt: skip


def messages_to(product: Product, line: MadeLine) -> list[str]:
    """The texts of SMS to this line's customer, oldest first."""
    with product.inside():
        rows = db.session.query(OutboxItem).filter_by(kind="sms").order_by(OutboxItem.id)
        sent = [payload_of(one) for one in rows]
    return [str(one["text"]) for one in sent if one["to"] == line.phone]
