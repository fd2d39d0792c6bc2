"""Sites, and access that their routers have to know of."""

from datetime import timedelta
from typing import Any

from portal.hotspot.models import AccessGrant, AccessSession, Package, Provisioning, Site
from portal.hotspot.routers import reconcile, sweep
from portal.kernel import clock
from portal.kernel.db import db, new_uid, transaction
from portal.tenants.models import Tenant
from tests.support.product import Product
from tests.support.routeros import StubRouter

PHONE = "AA:BB:CC:00:00:01"


def routeros_site(product: Product, router: StubRouter | None = None, *, name: str = "Shop", **more: Any) -> int:
    """A site whose router is told by its API; its id."""
    given: dict[str, Any] = {"kind": "routeros", "api_port": router.port if router else 9, "api_uses_tls": False} | more
    return site(product, name=name, address="127.0.0.1", api_username="mlango", api_password="router-secret", **given)


def site(product: Product, *, name: str = "Shop", slug: str = "mlima", **columns: Any) -> int:
    with product.inside(), transaction():
        tenant_id = db.session.query(Tenant.id).filter_by(slug=slug).scalar()
        password = columns.pop("api_password", "")
        made = Site(tenant_id=tenant_id, name=name, **columns)
        if password:
            made.api_password = password
        db.session.add(made)
        db.session.flush()
        return made.id


def package(product: Product, *, slug: str = "mlima", **columns: Any) -> int:
    given = {
        "name": "1 hour",
        "price_cents": 2_000,
        "duration_s": 3_600,
        "lifetime_s": 3_600,
        "rate": "2M/5M",
    } | columns
    with product.inside(), transaction():
        tenant_id = db.session.query(Tenant.id).filter_by(slug=slug).scalar()
        made = Package(tenant_id=tenant_id, **given)
        db.session.add(made)
        db.session.flush()
        return made.id


def grant(product: Product, package_id: int, *, username: str = "UGRANT0001", **columns: Any) -> int:
    """Access that is open from now on for an hour; its id."""
    now = clock.now()
    given = {
        "mac": PHONE, "password": "pass1234", "starts_at": now, "expires_at": now + timedelta(hours=1), "origin": "staff",
        "provision_at": now,
    } | columns  # fmt: skip
    with product.inside(), transaction():
        tenant_id = db.session.get_one(Package, package_id).tenant_id
        made = AccessGrant(tenant_id=tenant_id, package_id=package_id, username=username, **given)
        db.session.add(made)
        db.session.flush()
        made.leader_id = made.leader_id or made.id
        return made.id


def change(product: Product, grant_id: int, **columns: Any) -> None:
    """Something of it changed, and routers have to know."""
    with product.inside(), transaction():
        row = db.session.get_one(AccessGrant, grant_id)
        for name, value in ({"provision_at": clock.now()} | columns).items():
            setattr(row, name, value)


def session(product: Product, site_id: int, grant_id: int, **columns: Any) -> int:
    """One stay online that runs, begun a moment ago; its id."""
    began = clock.now() - timedelta(seconds=10)
    with product.inside(), transaction():
        row = db.session.get_one(AccessGrant, grant_id)
        given = {"username": row.username, "mac": PHONE, "ip": "10.5.50.7", "session_id": "80f00003"} | columns
        uid = new_uid()
        made = AccessSession(
            tenant_id=row.tenant_id, site_id=site_id, grant_id=row.leader_id, uid=uid, accounting_id=uid,
            started_at=began, updated_at=began, **given,
        )  # fmt: skip
        db.session.add(made)
        db.session.flush()
        return made.id


def reconciled(product: Product) -> None:
    """What the workers would do: spread, then bring about, once."""
    with product.inside():
        reconcile.spread()
        db.session.remove()
        reconcile.bring_about()


def swept(product: Product) -> None:
    with product.inside():
        sweep.sweep()
        db.session.remove()
        reconcile.bring_about()


def row_of(product: Product, grant_id: int, site_id: int | None = None) -> Provisioning:
    with product.inside():
        found = db.session.query(Provisioning).filter_by(grant_id=grant_id)
        row = (found.filter_by(site_id=site_id) if site_id else found).one()
        db.session.expunge(row)
        return row


def later(**by: float) -> None:
    clock.move(timedelta(**by))
