"""Wanted state is rows, and routers are made so: whatever fails, whoever is killed, however often it is told."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select

from portal.hotspot.models import AccessGrant, AccessSession, PackageSite, Provisioning, Purchase, Site
from portal.hotspot.routers import reconcile
from portal.hotspot.routers.interface import Outcome
from portal.hotspot.routers.models import RouterState
from portal.hotspot.routers.radius import Radius
from portal.hotspot.routers.routeros import RouterOS
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.payment import open_payment
from portal.tenants.models import Tenant
from tests.support.product import Product
from tests.support.routeros import StubRouter, router
from tests.support.routers import (
    PHONE,
    change,
    grant,
    later,
    package,
    reconciled,
    routeros_site,
    row_of,
    session,
    site,
    swept,
)
from tests.support.threads import together


@pytest.fixture
def stub() -> Iterator[StubRouter]:
    with router() as made:
        yield made


def _waits(product: Product) -> list[int]:
    with product.inside():
        return list(db.session.scalars(select(AccessGrant.id).where(AccessGrant.provision_at.is_not(None))))


def test_what_was_sold_stands_on_the_router_read_back_and_goes_at_its_end(
    either_product: Product, stub: StubRouter
) -> None:
    product = either_product
    shop = routeros_site(product, stub)
    sold = grant(product, package(product))
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"]
    row = row_of(product, sold, shop)
    assert row.wanted == "on" and row.confirmed_at is not None and row.attempts == 0 and not _waits(product)
    stub.menus["/ip/hotspot/active"].append({".id": "*A", "user": "UGRANT0001", "mac-address": PHONE})
    later(minutes=59)
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"]
    later(minutes=2)
    reconciled(product)
    assert stub.users() == {} and stub.online() == []
    row = row_of(product, sold, shop)
    assert row.wanted == "off" and row.next_at is None and row.confirmed_at is not None


@pytest.mark.parametrize("column", ["ended_at", "suspended_at"])
def test_ended_or_suspended_it_is_taken_away_and_lifted_it_is_back(
    product: Product, stub: StubRouter, column: str
) -> None:
    routeros_site(product, stub)
    sold = grant(product, package(product))
    reconciled(product)
    change(product, sold, **{column: clock.now()})
    reconciled(product)
    assert stub.users() == {} and row_of(product, sold).wanted == "off"
    change(product, sold, **{column: None})
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"] and row_of(product, sold).wanted == "on"


def test_what_begins_later_is_told_when_it_begins(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    begins = clock.now() + timedelta(hours=1)
    sold = grant(product, package(product), starts_at=begins, expires_at=begins + timedelta(hours=1))
    reconciled(product)
    assert stub.users() == {} and stub.connections == 0
    assert row_of(product, sold).next_at == begins
    later(hours=1, seconds=1)
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"]


def test_a_pass_that_is_paused_goes_off_the_router_until_it_goes_on(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    sold = grant(product, package(product))
    reconciled(product)
    stub.menus["/ip/hotspot/active"].append({".id": "*A", "user": "UGRANT0001", "mac-address": PHONE})
    goes_on = clock.now() + timedelta(hours=2)
    change(product, sold, starts_at=goes_on, expires_at=goes_on + timedelta(minutes=50))
    reconciled(product)
    assert stub.users() == {} and stub.online() == []
    assert row_of(product, sold).next_at == goes_on
    later(hours=2, seconds=1)
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"]


def test_a_pass_that_is_paused_is_ended_where_it_asked_radius(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    kicked: list[str] = []

    def kick(_self: Radius, _site: Site, stay: AccessSession) -> Outcome:
        kicked.append(stay.username)
        return Outcome(is_done=True)

    monkeypatch.setattr(Radius, "kick", kick)
    shop = site(product, kind="radius", address="127.0.0.1")
    sold = grant(product, package(product))
    session(product, shop, sold)
    reconciled(product)
    kicked.clear()
    goes_on = clock.now() + timedelta(hours=2)
    change(product, sold, starts_at=goes_on, expires_at=goes_on + timedelta(minutes=50))
    reconciled(product)
    assert kicked == ["UGRANT0001"]


def test_what_is_used_up_under_one_name_of_a_pass_is_given_under_no_other(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product, stub)
    kind = package(product, kind="data", data_cap_bytes=1_000_000)
    first = grant(product, kind)
    with product.inside():
        ends = db.session.get_one(AccessGrant, first).expires_at
    grant(product, kind, username="UGRANT0002", leader_id=first, starts_at=ends, expires_at=ends + timedelta(hours=1))
    reconciled(product)
    assert stub.users()["UGRANT0002"]["limit-bytes-total"] == "2000000"
    session(product, shop, first, bytes_out=2_000_000, stopped_at=clock.now())
    stub.menus["/ip/hotspot/active"].append(
        {".id": "*B", "user": "UGRANT0002", "mac-address": PHONE, "bytes-in": "0", "bytes-out": "1000", "uptime": "5s"}
    )
    later(minutes=2)
    swept(product)
    assert stub.users() == {} and stub.online() == []
    change(product, first)
    reconciled(product)
    assert stub.users() == {}, "asked again, there is still nothing left of it"
    grant(
        product, kind, username="UGRANT0003", leader_id=first, starts_at=ends + timedelta(hours=1),
        expires_at=ends + timedelta(hours=2),
    )  # fmt: skip
    reconciled(product)
    assert set(stub.users()) == {"UGRANT0001", "UGRANT0002", "UGRANT0003"}


def test_every_name_of_a_pass_opens_the_whole_of_it_and_its_caps_add_up(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product, stub)
    kind = package(product, kind="data", data_cap_bytes=1_000_000)
    first = grant(product, kind)
    with product.inside():
        ends = db.session.get_one(AccessGrant, first).expires_at
    reconciled(product)
    session(product, shop, first, bytes_in=100_000, bytes_out=300_000)
    more = grant(
        product, kind, username="UGRANT0002", leader_id=first, starts_at=ends, expires_at=ends + timedelta(hours=1)
    )
    reconciled(product)
    users = stub.users()
    assert users["UGRANT0001"]["limit-bytes-total"] == "2000000"  # the router itself has counted what went by this name
    assert users["UGRANT0002"]["limit-bytes-total"] == "1600000"  # and not what went by the other
    assert users["UGRANT0001"]["comment"].split("exp:")[1] == users["UGRANT0002"]["comment"].split("exp:")[1]
    later(minutes=90)
    reconciled(product)
    assert set(stub.users()) == {"UGRANT0001", "UGRANT0002"}
    change(product, more, ended_at=clock.now())
    reconciled(product)
    assert stub.users() == {}


def test_a_package_of_some_sites_is_told_to_no_other_and_no_other_business(product: Product, stub: StubRouter) -> None:
    with router() as other, router() as theirs:
        shop, _elsewhere = routeros_site(product, stub), routeros_site(product, other, name="Market")
        routeros_site(product, theirs, slug="bahari")
        kind = package(product)
        with product.inside(), transaction():
            db.session.add(
                PackageSite(tenant_id=db.session.get_one(Site, shop).tenant_id, package_id=kind, site_id=shop)
            )
        grant(product, kind)
        reconciled(product)
        assert list(stub.users()) == ["UGRANT0001"] and other.users() == {} and theirs.connections == 0


def test_a_dead_router_holds_up_no_other_and_is_not_tried_for_each_sale(
    either_product: Product, stub: StubRouter
) -> None:
    product = either_product
    dead, living = routeros_site(product, name="Dead"), routeros_site(product, stub)
    kind = package(product)
    for number in range(30):
        grant(product, kind, username=f"UGRANT{number:04d}", mac="")
    tries: list[int] = []
    real = RouterOS.ensure_grants

    def counted(self: RouterOS, site: Site, wanted: Any) -> list[Outcome]:
        tries.append(site.id)
        return real(self, site, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RouterOS, "ensure_grants", counted)
        reconciled(product)
        assert len(stub.users()) == 30 and tries.count(dead) == 1
        grant(product, kind, username="ULATER", mac="")
        reconciled(product)  # within its pause: the sale waits with the others
        assert tries.count(dead) == 1 and len(stub.users()) == 31
        for seconds in (1, 3, 10, 60, 300, 900):
            later(seconds=seconds + 0.1)
            reconciled(product)
        assert tries.count(dead) == 7 and tries.count(living) == 2
    with product.inside():
        state = db.session.query(RouterState).filter_by(site_id=dead).one()
        assert state.failures == 7 and state.failing_since is not None and "cannot be reached" in state.last_error
        assert state.try_at is not None and timedelta(minutes=14) < state.try_at - clock.now() <= timedelta(minutes=15)
        assert db.session.query(Provisioning).filter_by(site_id=dead, confirmed_at=None).count() == 31


def test_a_router_gone_for_a_day_is_told_what_holds_when_it_is_back(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product)
    kind = package(product)
    short = grant(product, kind, username="USHORT")
    long = grant(product, kind, username="ULONG", expires_at=clock.now() + timedelta(days=7))
    for _hour in range(24):
        reconciled(product)
        later(hours=1)
    with product.inside(), transaction():
        db.session.get_one(Site, shop).api_port = stub.port
    reconciled(product)
    assert list(stub.users()) == ["ULONG"]
    assert row_of(product, short).wanted == "off" and row_of(product, long).confirmed_at is not None
    with product.inside():
        assert db.session.query(RouterState).one().failing_since is None


@pytest.mark.parametrize("fault", ["liar", "trap", "fatal", "close", "nonsense"])
def test_a_router_that_does_wrong_is_tried_again_and_shown(product: Product, stub: StubRouter, fault: str) -> None:
    routeros_site(product, stub)
    sold = grant(product, package(product))
    stub.fault = fault
    reconciled(product)
    row = row_of(product, sold)
    assert row.confirmed_at is None and row.attempts == 1 and row.last_error and row.next_at is not None
    stub.fault = ""
    later(seconds=2)
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"]
    row = row_of(product, sold)
    assert row.confirmed_at is not None and row.last_error == "" and row.attempts == 0


def test_one_user_that_the_router_refuses_stops_no_other(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    stub.menus["/ip/hotspot/user"].append({".id": "*9", "name": "UGRANT0001", "comment": "somebody's"})
    kind = package(product)
    bad, good = grant(product, kind), grant(product, kind, username="UGRANT0002")
    reconciled(product)
    assert row_of(product, good).confirmed_at is not None
    assert "not ours" in row_of(product, bad).last_error
    with product.inside():
        assert db.session.query(RouterState).one().failing_since is None


def test_an_answer_to_what_was_wanted_before_changes_nothing(either_product: Product, stub: StubRouter) -> None:
    product = either_product
    routeros_site(product, stub)
    sold = grant(product, package(product))
    real = RouterOS.ensure_grants

    def meanwhile(self: RouterOS, site: Site, wanted: Any) -> list[Outcome]:
        told = real(self, site, wanted)
        change(product, sold, ended_at=clock.now())
        with product.inside():
            reconcile.spread()
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RouterOS, "ensure_grants", meanwhile)
        with product.inside():
            reconcile.spread()
            (row,) = db.session.scalars(select(Provisioning))
            site_id = row.site_id
            db.session.remove()
            reconcile.tell(site_id)
    row = row_of(product, sold)
    assert row.wanted == "off" and row.confirmed_at is None and row.next_at is not None
    reconciled(product)
    assert stub.users() == {} and row_of(product, sold).confirmed_at is not None


class Killed(BaseException):
    """Nothing that a program could catch and go on from."""


@pytest.mark.parametrize("at", range(1, 40))
def test_killed_between_any_two_statements_nothing_is_lost(product: Product, stub: StubRouter, at: int) -> None:
    routeros_site(product, stub)
    sold = grant(product, package(product))
    count = 0

    def kill(*_args: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed

    with product.inside():
        engine = db.engine
        event.listen(engine, "before_cursor_execute", kill)
        try:
            reconcile.spread()
            db.session.remove()
            for site_id in [one for one, _same in reconcile._sites_due(())]:
                reconcile.tell(site_id)
            died = False
        except Killed:
            died = True
        finally:
            event.remove(engine, "before_cursor_execute", kill)
        db.session.rollback()
        db.session.remove()
    assert died == (count >= at)
    later(minutes=4)  # a lease is over by then
    reconciled(product)
    row = row_of(product, sold)
    assert list(stub.users()) == ["UGRANT0001"] and row.confirmed_at is not None and not _waits(product)


def test_two_workers_at_once_bring_the_same_about(either_product: Product, stub: StubRouter) -> None:
    product = either_product
    routeros_site(product, stub)
    kind = package(product)
    ids = [grant(product, kind, username=f"UGRANT{number:04d}", mac="") for number in range(20)]

    def work() -> None:
        reconcile.spread()
        db.session.remove()
        reconcile.bring_about()

    together(product, *[work] * 4)
    reconciled(product)
    assert len(stub.users()) == 20
    with product.inside():
        assert db.session.query(Provisioning).filter(Provisioning.confirmed_at.is_not(None)).count() == len(ids)


def _statements(product: Product, work: Any) -> int:
    count = 0

    def counted(*_args: object) -> None:
        nonlocal count
        count += 1

    with product.inside():
        event.listen(db.engine, "before_cursor_execute", counted)
        try:
            work()
        finally:
            event.remove(db.engine, "before_cursor_execute", counted)
    return count


def _many(product: Product, kind: int, count: int, *, first: int = 0) -> None:
    now = clock.now()
    with product.inside(), transaction():
        tenant_id = db.session.query(Site.tenant_id).limit(1).scalar()
        top = db.session.scalar(select(func.coalesce(func.max(AccessGrant.id), 0))) or 0
        db.session.execute(
            AccessGrant.__table__.insert(),  # type: ignore[attr-defined]
            [
                {
                    "id": top + 1 + number, "leader_id": top + 1 + number, "tenant_id": tenant_id, "package_id": kind,
                    "username": f"UMANY{first + number:05d}", "password": "p", "mac": "", "origin": "staff",
                    "starts_at": now, "expires_at": now + timedelta(hours=1), "provision_at": now, "created_at": now,
                }
                for number in range(count)
            ],
        )  # fmt: skip


@pytest.mark.parametrize(("kind", "most"), [("radius", 6), ("routeros", 11)])
def test_a_batch_of_hundreds_costs_as_many_statements_as_one_of_ten(product: Product, kind: str, most: int) -> None:
    site(product, kind=kind, address="10.9.0.2")
    sold = package(product)
    counts = []
    for number, size in enumerate((10, 500)):
        _many(product, sold, size, first=number * 1_000)
        counts.append(_statements(product, reconcile._spread_some))
    assert counts[1] <= counts[0] <= most  # the first also makes the router's row
    with product.inside():
        assert db.session.query(Provisioning).count() == (510 if kind == "routeros" else 0)
    assert not _waits(product)


def test_thousands_of_grants_reach_a_router_in_conversations_of_a_hundred(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    _many(product, package(product), 1_000)
    reconciled(product)
    assert len(stub.users()) == 1_000 and stub.connections == 10


# --- signing in


def _bought(product: Product, kind: int, *, nas: str = "127.0.0.1") -> int:
    """Access of a device that paid at a site a moment ago."""
    sold = grant(product, kind)
    with product.inside(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        payment = open_payment(
            tenant, None, environment="sandbox", purpose="hotspot", reference="T1", title="Internet", amount_cents=2_000
        )
        bought = Purchase(
            tenant_id=tenant.id,
            payment_id=payment.id,
            package_id=kind,
            mac=PHONE,
            client_ip="10.5.50.99",
            nas_address=nas,
        )
        db.session.add(bought)
        db.session.flush()
        db.session.get_one(AccessGrant, sold).purchase_id = bought.id
    return sold


def test_when_the_money_lands_the_server_signs_the_device_in_though_its_window_is_gone(
    product: Product, stub: StubRouter
) -> None:
    shop = routeros_site(product, stub)
    sold = _bought(product, package(product))
    reconciled(product)  # the phone left the Wi-Fi to pay
    assert row_of(product, sold, shop).confirmed_at is not None and stub.online() == []
    stub.joins(PHONE, "10.5.50.7")
    later(seconds=6)
    reconciled(product)
    assert stub.online() == ["UGRANT0001"]
    assert row_of(product, sold, shop).signed_in_at is not None
    later(seconds=6)
    reconciled(product)
    assert stub.online() == ["UGRANT0001"]


def test_a_device_is_signed_in_only_where_it_paid(product: Product, stub: StubRouter) -> None:
    with router() as other:
        routeros_site(product, stub)
        routeros_site(product, other, name="Market", identity="market")
        for one in (stub, other):
            one.joins(PHONE, "10.5.50.7")
        with product.inside(), transaction():
            db.session.query(Site).filter_by(name="Market").one().address = "localhost"
        _bought(product, package(product))
        reconciled(product)
        assert stub.online() == ["UGRANT0001"] and other.online() == [] and list(other.users()) == ["UGRANT0001"]


# --- the sweep


def test_what_a_router_lost_is_told_again_and_what_it_should_not_have_is_taken(
    product: Product, stub: StubRouter
) -> None:
    routeros_site(product, stub)
    sold = grant(product, package(product))
    reconciled(product)
    stub.menus["/ip/hotspot/user"].clear()
    later(seconds=61)
    swept(product)
    assert list(stub.users()) == ["UGRANT0001"]
    change(product, sold, ended_at=clock.now())
    reconciled(product)
    stub.menus["/ip/hotspot/user"].append({".id": "*77", "name": "UGRANT0001", "comment": f"g:{sold} exp:whenever"})
    later(seconds=61)
    swept(product)
    assert stub.users() == {}


def test_who_is_online_is_written_down_and_who_has_no_right_is_ended(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product, stub)
    sold = grant(product, package(product))
    reconciled(product)
    stub.menus["/ip/hotspot/active"] = [
        {".id": "*A", "user": "UGRANT0001", "mac-address": PHONE.lower(), "address": "10.5.50.7", "uptime": "1m",
         "bytes-in": "1000", "bytes-out": "5000000000"},
        {".id": "*B", "user": "owner", "mac-address": "AA:BB:CC:00:00:99", "uptime": "2h"},
    ]  # fmt: skip
    later(seconds=61)
    swept(product)
    with product.inside():
        stay = db.session.query(AccessSession).filter_by(username="UGRANT0001").one()
        assert (stay.grant_id, stay.site_id, stay.mac, stay.online_s) == (sold, shop, PHONE, 60)
        assert (stay.bytes_in, stay.bytes_out) == (1_000, 5_000_000_000)
        assert db.session.query(AccessSession).filter_by(username="owner").one().grant_id is None
    change(product, sold, ended_at=clock.now(), provision_at=None)  # and nobody told the router
    later(seconds=61)
    swept(product)
    assert stub.online() == ["owner"] and stub.users() == {}
    later(seconds=61)
    swept(product)
    with product.inside():
        assert db.session.query(AccessSession).filter_by(username="UGRANT0001").one().stopped_at is not None


def test_a_stay_that_began_anew_is_another_one_and_usage_adds_up(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    grant(product, package(product))
    reconciled(product)
    stay = {
        ".id": "*A",
        "user": "UGRANT0001",
        "mac-address": PHONE,
        "uptime": "10m",
        "bytes-in": "100",
        "bytes-out": "0",
    }
    stub.menus["/ip/hotspot/active"] = [stay]
    for uptime, used in (("10m", "100"), ("11m", "150"), ("5s", "30")):
        later(seconds=61)
        stay.update({"uptime": uptime, "bytes-in": used})
        swept(product)
    with product.inside():
        rows = db.session.query(AccessSession).order_by(AccessSession.id).all()
        assert [(row.bytes_in, row.stopped_at is None) for row in rows] == [(150, False), (30, True)]


def test_at_its_cap_a_pass_that_is_throttled_runs_on_slower(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    kind = package(product, kind="data", data_cap_bytes=1_000, at_cap="throttle", throttled_rate="256k/256k")
    grant(product, kind)
    reconciled(product)
    assert stub.users()["UGRANT0001"]["limit-bytes-total"] == "0"
    stub.joins(PHONE, "10.5.50.7")
    stub.menus["/ip/hotspot/active"] = [
        {
            ".id": "*A",
            "user": "UGRANT0001",
            "mac-address": PHONE,
            "uptime": "10m",
            "bytes-in": "900",
            "bytes-out": "200",
        }
    ]
    later(seconds=61)
    swept(product)
    assert stub.users()["UGRANT0001"]["profile"] == "mlango 256k/256k x1"
    (stay,) = stub.menus["/ip/hotspot/active"]
    assert stay[".id"] != "*A" and stay["user"] == "UGRANT0001"  # ended, and signed in anew


def _uses(stub: StubRouter, octets: int, *, uptime: str = "10m") -> None:
    """As the router lists its one device that is online, with so many bytes since the stay began."""
    stay = {".id": "*D", "user": "UGRANT0001", "mac-address": PHONE, "uptime": uptime, "bytes-in": "0"}
    stub.menus["/ip/hotspot/active"] = [stay | {"bytes-out": str(octets)}]


@pytest.fixture
def in_the_morning() -> None:
    """Nine o'clock in Nairobi: what a test uses after that is all of one day."""
    now = clock.nairobi(clock.now())
    clock.move((now + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0) - now)


@pytest.mark.usefixtures("in_the_morning")
def test_a_days_cap_is_told_as_what_is_left_of_today_and_anew_at_midnight_in_nairobi(
    product: Product, stub: StubRouter
) -> None:
    routeros_site(product, stub)
    kind = package(product, kind="data", data_cap_bytes=10_000, daily_cap_bytes=1_000, lifetime_s=5 * 86_400)
    sold = grant(product, kind, expires_at=clock.now() + timedelta(days=5))
    reconciled(product)
    assert stub.users()["UGRANT0001"]["limit-bytes-total"] == "1000"
    stub.joins(PHONE, "10.5.50.7")
    _uses(stub, 400)
    later(seconds=61)
    swept(product)
    change(product, sold)
    reconciled(product)
    assert stub.users()["UGRANT0001"]["limit-bytes-total"] == "1000", "the router counted those 400 itself"
    _uses(stub, 1_000, uptime="12m")
    later(seconds=61)
    swept(product)
    assert "UGRANT0001" not in stub.users() and stub.menus["/ip/hotspot/active"] == []
    later(seconds=61)
    swept(product)
    assert "UGRANT0001" not in stub.users(), "the sweep does not take its pause for a loss"
    later(hours=14)
    reconciled(product)
    assert "UGRANT0001" not in stub.users(), "it is eleven at night"
    later(hours=1)
    reconciled(product)
    assert stub.users()["UGRANT0001"]["limit-bytes-total"] == "2000", "1000 of today beside 1000 of yesterday"
    later(days=3)
    reconciled(product)
    later(days=1, hours=10)
    reconciled(product)
    assert "UGRANT0001" not in stub.users() and row_of(product, sold).wanted == "off", "and it ends with its pass"


@pytest.mark.usefixtures("in_the_morning")
def test_at_a_days_cap_that_throttles_it_is_slow_until_midnight(product: Product, stub: StubRouter) -> None:
    routeros_site(product, stub)
    slow = {"at_cap": "throttle", "throttled_rate": "256k/256k", "daily_cap_bytes": 1_000}
    grant(product, package(product, **slow), expires_at=clock.now() + timedelta(days=5))
    reconciled(product)
    stub.joins(PHONE, "10.5.50.7")
    _uses(stub, 1_000)
    later(seconds=61)
    swept(product)
    assert stub.users()["UGRANT0001"]["profile"] == "mlango 256k/256k x1"
    later(hours=15, seconds=1)
    reconciled(product)
    assert stub.users()["UGRANT0001"]["profile"] == "mlango 2M/5M x1"


# --- sites that ask RADIUS


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a RADIUS router is ordered; it does as told."""
    given: list[tuple[str, str]] = []

    def kick(self: Radius, site: Site, session: AccessSession) -> Outcome:
        given.append(("kick", session.session_id))
        with transaction():
            db.session.get_one(AccessSession, session.id).stopped_at = clock.now()
        return Outcome(True)

    def change_live(self: Radius, site: Site, session: AccessSession, wanted: Any) -> Outcome:
        given.append(("change", session.session_id))
        return Outcome(True)

    monkeypatch.setattr(Radius, "kick", kick)
    monkeypatch.setattr(Radius, "change_live", change_live)
    return given


def test_a_radius_router_is_told_of_what_runs_and_of_nothing_else(
    either_product: Product, orders: list[tuple[str, str]]
) -> None:
    product = either_product
    nas = site(product, kind="radius", address="10.9.0.2", secret="s" * 24)
    sold = grant(product, package(product))
    reconciled(product)
    with product.inside():
        assert db.session.query(Provisioning).count() == 0 and orders == []
    session(product, nas, sold)
    with product.inside():
        ends = db.session.get_one(AccessGrant, sold).expires_at
    change(product, sold, expires_at=ends + timedelta(hours=1))
    reconciled(product)
    assert orders == [("change", "80f00003")]
    change(product, sold, ended_at=clock.now())
    reconciled(product)
    assert orders == [("change", "80f00003"), ("kick", "80f00003")]
    later(minutes=20)
    swept(product)
    assert len(orders) == 2


def test_who_is_online_at_a_radius_site_after_the_end_is_ended_by_the_sweep(
    product: Product, orders: list[tuple[str, str]]
) -> None:
    nas = site(product, kind="radius", address="10.9.0.2", secret="s" * 24)
    sold = grant(product, package(product))
    reconciled(product)
    session(product, nas, sold)
    swept(product)
    assert orders == []
    later(hours=1, minutes=1)
    swept(product)
    assert orders == [("kick", "80f00003")]


def test_moved_to_another_device_the_old_one_is_ended(product: Product, orders: list[tuple[str, str]]) -> None:
    nas = site(product, kind="radius", address="10.9.0.2", secret="s" * 24)
    sold = grant(product, package(product))
    session(product, nas, sold)
    change(product, sold, mac="AA:BB:CC:00:00:02")
    reconciled(product)
    assert orders == [("kick", "80f00003")]


def test_a_site_that_was_closed_is_told_nothing_more(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product, stub)
    sold = grant(product, package(product))
    with product.inside():
        reconcile.spread()
    with product.inside(), transaction():
        db.session.get_one(Site, shop).closed_at = clock.now()
    reconciled(product)
    assert stub.connections == 0 and row_of(product, sold).next_at is None


def test_a_pass_goes_on_though_one_of_its_purchases_was_refunded(
    product: Product, orders: list[tuple[str, str]]
) -> None:
    nas = site(product, kind="radius", address="10.9.0.2", secret="s" * 24)
    kind = package(product)
    first = grant(product, kind)
    grant(product, kind, username="UGRANT0002", leader_id=first, provision_at=None)
    session(product, nas, first)
    change(product, first, ended_at=clock.now())
    reconciled(product)
    assert orders == [("change", "80f00003")]
