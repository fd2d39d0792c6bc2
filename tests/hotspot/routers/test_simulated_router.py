"""The whole way at the simulated router, which keeps RouterOS' rules: sold, signed in, changed, taken back."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.pppoe import lines
from portal.hotspot.pppoe.models import PppoeLine
from portal.hotspot.routers import connection
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.simulator.router.fleet import Router
from portal.simulator.router.machine import RouterSpec
from tests.support import simulator
from tests.support.lines import MadeLine, line_of, typed_at_the_paybill
from tests.support.product import Product
from tests.support.routers import PHONE, change, grant, later, package, reconciled, row_of, site, swept
from tests.support.simulator import Daraja


class Cafe:
    """A simulated router, and the door behind the stage."""

    def __init__(self, daraja: Daraja, router: Router) -> None:
        self.daraja, self.router = daraja, router

    def control(self, **order: object) -> dict[str, object]:
        answer = self.daraja.client.post(f"/control/routers/{self.router.spec.name}", json=order)
        assert answer.status_code == 200, answer.json
        return dict(answer.json)


@pytest.fixture
def cafe(tmp_path: Path) -> Iterator[Cafe]:
    with simulator.opened(tmp_path) as daraja:
        fleet = daraja.app.extensions["simulator"].fleet
        yield Cafe(daraja, fleet.open([RouterSpec(name="cafe", portal_url="https://pay.mlango.test/")])[0])


def _line_at(cafe: Cafe) -> dict[str, object]:
    """How the line stands at the router: dialled in from where, in which profile; empty: not."""
    found = cafe.control()["lines"]
    assert isinstance(found, list) and len(found) <= 1
    if not found:
        return {}
    return {name: found[0][name] for name in ("name", "address", "profile", "rate", "list")}


def _lines_of_a_router(product: Product, cafe: Cafe) -> tuple[int, MadeLine]:
    """A site whose router has a pool for homes and one behind the wall, and a line there that has not paid."""
    machine = cafe.router.machine
    machine.add("/ip/pool", {"name": "homes", "ranges": "10.64.0.10-10.64.0.20"})
    machine.add("/ip/pool", {"name": "expired", "ranges": "10.99.0.10-10.99.0.20"})
    default = machine.entry("/ppp/profile", name="default")
    assert default is not None
    machine.change("/ppp/profile", default["row"], {"remote-address": "homes", "local-address": "10.64.0.1"})
    shop = site(
        product, kind="routeros", address="127.0.0.1", api_port=cafe.router.api.port, api_uses_tls=False,
        api_username="mlango", api_password="router-password",
    )  # fmt: skip
    line = line_of(product, price=1_000, days=30, site_id=shop)
    reconciled(product)
    with product.inside():
        grant = db.session.get_one(PppoeLine, line.id).grant
        cafe.control(plugIn={"name": grant.username, "password": grant.password, "mac": PHONE})
    return shop, line


def test_a_line_dials_in_at_a_router_without_radius_and_is_walled_when_its_time_is_over(
    product: Product, cafe: Cafe
) -> None:
    shop, line = _lines_of_a_router(product, cafe)
    walled = {"profile": "mlango expired", "rate": "", "list": "expired", "address": "10.99.0.10"}
    assert _line_at(cafe) == walled | {"name": line.account.lower()}
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    reconciled(product)
    paid = {"profile": "mlango ppp 5M/10M", "rate": "5M/10M", "list": "", "address": "10.64.0.10"}
    assert _line_at(cafe) == paid | {"name": line.account.lower()}
    later(seconds=61)
    swept(product)
    with product.inside():
        grant_id = db.session.get_one(PppoeLine, line.id).grant_id
        (stay,) = db.session.query(AccessSession).all()
        assert (stay.grant_id, stay.mac, stay.ip, stay.stopped_at) == (grant_id, PHONE, "10.64.0.10", None)
    before = cafe.control()["lines"]
    typed_at_the_paybill(product, 2, 1_000, line.account)
    product.work()
    reconciled(product)
    after = cafe.control()["lines"]
    assert [one["session-id"] for one in after] == [one["session-id"] for one in before], "paid in time: nothing is cut"
    later(days=60, seconds=1)
    product.work()
    reconciled(product)
    assert _line_at(cafe) == walled | {"name": line.account.lower()}, "over: it dialled in anew, behind the wall"
    assert row_of(product, grant_id, shop).confirmed_at is not None
    walled_id = cafe.control()["lines"]
    later(seconds=61)
    swept(product)
    later(days=1, seconds=1)
    reconciled(product)
    assert cafe.control()["lines"][0]["session-id"] == walled_id[0]["session-id"], "and there it is left in peace"
    with product.app.app_context(), transaction():
        lines.suspend(line.id, why="Abuse.", actor="test")
    reconciled(product)
    assert _line_at(cafe) == {} and cafe.router.machine.entries("/ppp/secret") == []


def test_a_line_is_told_to_its_own_site_alone_and_again_where_its_router_lost_it(product: Product, cafe: Cafe) -> None:
    shop, line = _lines_of_a_router(product, cafe)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    reconciled(product)
    machine = cafe.router.machine
    (secret,) = machine.entries("/ppp/secret")
    machine.remove("/ppp/secret", secret["row"])
    later(seconds=61)
    swept(product)
    assert [one["name"] for one in machine.entries("/ppp/secret")] == [line.account.lower()]
    with product.app.app_context(), transaction():
        row = db.session.get_one(PppoeLine, line.id)
        other = Site(tenant_id=row.tenant_id, name="Other", kind="voucher")
        db.session.add(other)
        db.session.flush()
        lines.change(line.id, replace(lines.terms_of(row), site_id=other.id), actor="test")
    reconciled(product)
    assert machine.entries("/ppp/secret") == [] and _line_at(cafe) == {}
    assert row_of(product, secret_grant(product, line), shop).wanted == "off"


@pytest.mark.parametrize(
    ("terms", "at_cap"),
    [({"at_cap": "stop"}, "mlango expired"), ({"at_cap": "throttle", "throttled_rate": "1M/1M"}, "mlango ppp 1M/1M")],
)
def test_a_line_at_its_cap_is_walled_or_slowed_until_its_next_period(
    product: Product, cafe: Cafe, terms: dict[str, str], at_cap: str
) -> None:
    shop, line = _lines_of_a_router(product, cafe)
    with product.app.app_context(), transaction():
        db.session.get_one(PppoeLine, line.id).package.data_cap_bytes = 1_000
        for name, value in terms.items():
            setattr(db.session.get_one(PppoeLine, line.id).package, name, value)
    typed_at_the_paybill(product, 1, 2_000, line.account)
    product.work()
    reconciled(product)
    assert _line_at(cafe)["profile"] == "mlango ppp 5M/10M"
    later(seconds=61)
    with product.app.app_context(), transaction():
        grant = db.session.get_one(PppoeLine, line.id).grant
        db.session.add(
            AccessSession(
                tenant_id=grant.tenant_id, uid="used", accounting_id="used", site_id=shop, grant_id=grant.id,
                username=grant.username, started_at=clock.now(), updated_at=clock.now(), stopped_at=clock.now(),
                online_s=60, bytes_in=400, bytes_out=600,
            )
        )  # fmt: skip
        grant.provision_at = clock.now()
    reconciled(product)
    assert _line_at(cafe)["profile"] == at_cap
    later(days=30)
    product.work()
    reconciled(product)
    assert _line_at(cafe)["profile"] == "mlango ppp 5M/10M", "each period has its own"


def secret_grant(product: Product, line: MadeLine) -> int:
    with product.inside():
        return int(db.session.get_one(PppoeLine, line.id).grant_id)


def test_a_secret_that_somebody_else_made_is_left_alone(product: Product, cafe: Cafe) -> None:
    machine = cafe.router.machine
    shop, line = _lines_of_a_router(product, cafe)
    (secret,) = machine.entries("/ppp/secret")
    machine.change("/ppp/secret", secret["row"], {"comment": "the owner's own", "password": "his"})
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    reconciled(product)
    (secret,) = machine.entries("/ppp/secret")
    assert (secret["comment"], secret["password"]) == ("the owner's own", "his")
    row = row_of(product, secret_grant(product, line), shop)
    assert row.confirmed_at is None and "not ours" in row.last_error


def test_a_pass_is_told_used_changed_and_taken_back(product: Product, cafe: Cafe) -> None:
    shop = site(
        product, kind="routeros", address="127.0.0.1", api_port=cafe.router.api.port, api_uses_tls=False,
        api_username="mlango", api_password="router-password",
    )  # fmt: skip
    sold = grant(product, package(product, kind="data", data_cap_bytes=5_368_709_120))
    reconciled(product)
    assert row_of(product, sold, shop).confirmed_at is not None, row_of(product, sold, shop).last_error
    cafe.control(join={"mac": PHONE})
    with product.inside():
        from portal.hotspot.models import Site
        from portal.hotspot.routers import adapter_of, passes

        here = db.session.get_one(Site, shop)
        a_pass = passes.read([sold])[sold]
        wanted = a_pass.wanted(a_pass.grants[0], site_id=shop, version=1)
        db.session.expunge_all()
        db.session.remove()
        signed = adapter_of(here).push_login(here, wanted, mac=PHONE, ip="")
        assert signed.is_done, signed
        (online,) = adapter_of(here).sessions(here).sessions
        assert (online.username, online.mac) == ("UGRANT0001", PHONE)
        assert adapter_of(here).check(here).outcome.is_done, adapter_of(here).check(here)
    later(seconds=61)
    swept(product)
    with product.inside():
        assert connection.stands(db.session.get_one(AccessGrant, sold)).is_online
        assert db.session.query(AccessSession).one().stopped_at is None
    reconciled(product)
    assert row_of(product, sold, shop).confirmed_at is not None, "told again it is as it was"
    change(product, sold, ended_at=clock.now())
    reconciled(product)
    assert row_of(product, sold, shop).confirmed_at is not None, row_of(product, sold, shop).last_error
    with product.inside():
        here = db.session.get_one(Site, shop)
        db.session.expunge_all()
        db.session.remove()
        assert adapter_of(here).sessions(here).sessions == ()
