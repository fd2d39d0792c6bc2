"""The whole way at the simulated router, which keeps RouterOS' rules: sold, signed in, changed, taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.hotspot.models import AccessGrant, AccessSession
from portal.hotspot.routers import connection
from portal.kernel import clock
from portal.kernel.db import db
from portal.simulator.router.fleet import Router
from portal.simulator.router.machine import RouterSpec
from tests.support import simulator
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
        yield Cafe(daraja, fleet.open([RouterSpec(name="cafe")])[0])


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
