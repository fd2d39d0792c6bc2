"""Stays online, as FreeRADIUS or an adapter would have written them."""

from datetime import timedelta
from typing import Any

from portal.hotspot.models import AccessGrant, AccessSession, Package, Site
from portal.hotspot.sites import settings
from portal.kernel import clock
from portal.kernel.db import db, new_uid, transaction
from tests.support.product import Product


def site_of(product: Product, slug: str = "mlima", **changes: Any) -> str:
    """The public id of a new site."""
    tenant_id = product.tenant_id(slug)
    with product.inside(), transaction():
        given = {"name": "Lodge", "address": "10.90.0.7"} | changes
        return settings.create(tenant_id, given, actor="test").uid


def pass_of(product: Product, slug: str = "mlima", *, username: str = "SKL1ABCD23", hours: float = 24) -> int:
    """The row id of access that runs, bought by nobody."""
    tenant_id = product.tenant_id(slug)
    with product.inside(), transaction():
        package = db.session.query(Package).filter_by(tenant_id=tenant_id).order_by(Package.id).first()
        assert package is not None
        now = clock.now()
        grant = AccessGrant(
            tenant_id=tenant_id, package_id=package.id, origin="staff", username=username, password="password",
            mac="AA:BB:CC:DD:EE:01", starts_at=now, expires_at=now + timedelta(hours=hours),
        )  # fmt: skip
        db.session.add(grant)
        db.session.flush()
        grant.leader_id = grant.id
        return grant.id


def stay_of(product: Product, site_uid: str, *, grant_id: int | None = None, **changes: Any) -> str:
    """The public id of a stay online that lasts."""
    with product.inside(), transaction():
        site = db.session.query(Site).filter_by(uid=site_uid).one()
        uid, now = new_uid(), clock.now()
        values: dict[str, Any] = {
            "uid": uid, "accounting_id": f"acct-{uid}", "grant_id": grant_id, "username": "SKL1ABCD23",
            "mac": "AA:BB:CC:DD:EE:01", "ip": "10.5.50.17", "session_id": "80f00003", "started_at": now,
            "updated_at": now, "online_s": 60, "bytes_in": 1_000, "bytes_out": 9_000,
        }  # fmt: skip
        db.session.add(AccessSession(tenant_id=site.tenant_id, site_id=site.id, **(values | changes)))
        return uid
