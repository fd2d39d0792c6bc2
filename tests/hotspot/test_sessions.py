"""Stays that nobody ends any more are closed; what FreeRADIUS counted is let go of."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from portal.hotspot import sessions
from portal.hotspot.models import AccessGrant, AccessSession, DeviceHold, Package, SignInRefusal, Site
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.product import Product


def _site(tenant_id: int, kind: str = "radius") -> int:
    site = Site(tenant_id=tenant_id, name=kind, kind=kind, address="10.9.9.9", secret="secret-of-it")
    db.session.add(site)
    db.session.flush()
    return site.id


def _stay(tenant_id: int, site_id: int, name: str, heard: timedelta) -> None:
    at = clock.now() - heard
    db.session.add(
        AccessSession(
            tenant_id=tenant_id, site_id=site_id, accounting_id=name, username=name, started_at=at, updated_at=at
        )
    )


def test_a_stay_that_missed_three_interims_is_closed_where_it_was_last_heard_of(either_product: Product) -> None:
    tenant_id = either_product.tenant_id()
    with either_product.app.app_context():
        with transaction():
            radius, listed = _site(tenant_id), _site(tenant_id, "routeros")
            _stay(tenant_id, radius, "silent", timedelta(minutes=16))
            _stay(tenant_id, radius, "heard", timedelta(minutes=14))
            _stay(tenant_id, listed, "listed", timedelta(minutes=16))
        assert sessions.close_silent() == 1
        assert sessions.close_silent() == 0
        rows = {one.username: one for one in db.session.query(AccessSession)}
        assert (rows["silent"].stopped_at, rows["silent"].end_cause) == (rows["silent"].updated_at, "Silent")
        assert rows["heard"].stopped_at is None and rows["listed"].stopped_at is None
        db.session.remove()


def test_refusals_are_let_go_of_after_two_days(either_product: Product) -> None:
    tenant_id = either_product.tenant_id()
    with either_product.app.app_context():
        with transaction():
            site_id = _site(tenant_id)
            for days in (1, 3):
                at = clock.now() - timedelta(days=days)
                db.session.add(
                    SignInRefusal(tenant_id=tenant_id, site_id=site_id, window_at=at, about="site", subject="")
                )
        sessions.forget_refusals()
        (left,) = db.session.query(SignInRefusal)
        assert clock.now() - left.window_at < timedelta(days=2)
        db.session.remove()


def test_places_are_forgotten_and_given_up_ones_only_when_no_stay_of_theirs_can_go_on(either_product: Product) -> None:
    tenant_id = either_product.tenant_id()
    now = clock.now()
    with either_product.app.app_context():
        with transaction():
            leader_id = _sold(tenant_id).id
            for mac, held, given_up in (
                ("HELD", 14, None),
                ("OLD", 16, None),
                ("LEFT", 9_000, 9_000),
                ("GONE", 11_000, 11_000),
            ):
                db.session.add(
                    DeviceHold(
                        tenant_id=tenant_id, leader_id=leader_id, mac=mac, places=99,
                        held_at=now - timedelta(minutes=held),
                        given_up_at=None if given_up is None else now - timedelta(minutes=given_up),
                    )
                )  # fmt: skip
        sessions.forget_refusals()
        assert sorted(db.session.scalars(select(DeviceHold.mac))) == ["HELD", "LEFT"]
        db.session.remove()


def _sold(tenant_id: int, **terms: Any) -> AccessGrant:
    package = Package(tenant_id=tenant_id, name="x", price_cents=1, duration_s=60, lifetime_s=60, devices=2, **terms)
    db.session.add(package)
    db.session.flush()
    number, now = db.session.query(AccessGrant).count(), clock.now()
    grant = AccessGrant(
        tenant_id=tenant_id, package_id=package.id, username=f"NAME{number}", password="x", starts_at=now,
        expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    db.session.add(grant)
    db.session.flush()
    grant.leader_id, grant.provision_at = grant.id, None
    db.session.flush()
    return grant


def test_what_is_used_up_by_two_devices_is_told_to_routers_once(either_product: Product) -> None:
    """Each of them was let in with all that was left."""
    tenant_id, now = either_product.tenant_id(), clock.now()
    with either_product.app.app_context():
        with transaction():
            site_id = _site(tenant_id)
            capped = [
                _sold(tenant_id, data_cap_bytes=1000), _sold(tenant_id, daily_cap_bytes=1000),
                _sold(tenant_id, online_s=1000), _sold(tenant_id),
            ]  # fmt: skip
            half = _sold(tenant_id, data_cap_bytes=1000, daily_cap_bytes=1000, online_s=1000)
            ids, half_id = [one.id for one in capped], half.id
            for grant in (*capped, *capped, half):
                db.session.add(
                    AccessSession(
                        tenant_id=tenant_id,
                        site_id=site_id,
                        accounting_id=f"{grant.id}/{clock.now().timestamp()}",
                        grant_id=grant.id,
                        username=grant.username,
                        started_at=now,
                        updated_at=clock.now(),
                        bytes_in=250,
                        bytes_out=250,
                        online_s=500,
                    )  # fmt: skip
                )
        assert sessions.end_used_up() == 3
        told = {one.id: one.provision_at is not None for one in db.session.query(AccessGrant)}
        assert told == {ids[0]: True, ids[1]: True, ids[2]: True, ids[3]: False, half_id: False}
        assert sessions.end_used_up() == 0
        db.session.remove()
