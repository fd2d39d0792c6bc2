"""The page of what routers do not have as they should: why, since when, and trying it now."""

from collections.abc import Iterator

import pytest

from portal.hotspot.models import AccessGrant, Site
from portal.hotspot.routers import connection
from portal.kernel.db import db, transaction
from tests.support.product import Product
from tests.support.routeros import StubRouter, router
from tests.support.routers import grant, later, package, reconciled, routeros_site, row_of, session
from tests.support.visitors import csrf_of

PAGE = "/staff/provisioning"


@pytest.fixture
def stub() -> Iterator[StubRouter]:
    with router() as made:
        yield made


def test_a_router_that_does_not_answer_is_shown_with_why_and_who_waits(product: Product) -> None:
    amina = product.browser_of("amina")
    assert "Every router has what it should." in amina.get(PAGE).text
    assert "Paid and not online" not in amina.get("/staff/").text
    routeros_site(product)
    grant(product, package(product))
    reconciled(product)
    page = amina.get(PAGE).text
    assert "Shop" in page and "cannot be reached" in page and "UGRANT0001" in page and "let in" in page
    assert "Paid and not online (1)" in amina.get("/staff/").text
    assert "UGRANT0001" not in product.browser_of("chege").get(PAGE).text


def test_tried_now_it_has_its_turn_at_once(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product)
    sold = grant(product, package(product))
    reconciled(product)
    with product.inside(), transaction():
        site = db.session.get_one(Site, shop)
        site.api_port, uid = stub.port, site.uid
    reconciled(product)
    assert stub.connections == 0  # its pause is not over
    brian = product.browser_of("brian")
    answer = brian.post(f"{PAGE}/{uid}/try", data={"csrf_token": csrf_of(brian, PAGE)}, follow_redirects=True)
    assert "It is being tried again." in answer.text
    reconciled(product)
    assert list(stub.users()) == ["UGRANT0001"] and row_of(product, sold).confirmed_at is not None


def test_how_far_a_sale_has_come_is_one_value(product: Product, stub: StubRouter) -> None:
    shop = routeros_site(product, stub)
    sold = grant(product, package(product), origin="purchase")

    def stands() -> connection.Standing:
        with product.inside():
            return connection.stands(db.session.get_one(AccessGrant, sold))

    assert stands().state == "paid"
    stub.fault = "trap"
    reconciled(product)
    told = stands()
    assert told.state == "told" and "refused" in told.problem and told.read_back_at is None
    stub.fault = ""
    later(seconds=2)
    reconciled(product)
    assert stands().state == "ready" and stands().read_back_at is not None and stands().problem == ""
    later(minutes=11)
    with product.inside():
        tenant_id = db.session.get_one(AccessGrant, sold).tenant_id
        assert [one.id for one in connection.without_access(tenant_id)] == [sold]
    session(product, shop, sold, bytes_in=10)
    assert stands().state == "online" and stands().traffic_at is not None
    with product.inside():
        assert connection.without_access(tenant_id) == [] and connection.without_right(tenant_id) == []
    later(hours=1)
    with product.inside():
        assert [one.grant_id for one in connection.without_right(tenant_id)] == [sold]
