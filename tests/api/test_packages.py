"""Packages through the API: made, changed under the same id, withdrawn; what was sold keeps its own terms."""

from typing import Any

import pytest

from portal.hotspot.models import Package, Purchase
from portal.kernel.db import db
from tests.support.product import Product
from tests.support.selling import buy, now_of
from tests.support.threads import together

HOUR = {"name": "Hour", "price": 20, "duration": 3_600}


def made(product: Product, **given: Any) -> dict[str, Any]:
    answer = product.api("amina").post("/api/packages", HOUR | given)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_every_term_comes_back_as_it_was_given(product: Product) -> None:
    site = product.api("amina").post("/api/sites", {"name": "Lodge", "kind": "voucher"}).json["id"]
    given = {
        "name": "Month", "price": 1_500, "duration": 108_000, "kind": "online", "validity": 2_592_000,
        "dataCap": 5 * 2**30, "dailyCap": 2**30, "atCap": "throttle", "throttledRate": "256k/512k",
        "rate": "2M/5M 4M/10M 1500k/3750k 27/27", "devices": 3, "sites": [site], "group": "Monthly", "hidden": True,
    }  # fmt: skip
    got = made(product, **given)
    assert {name: got[name] for name in given} == given
    assert got["speed"] == "5 Mbps" and got["forPppoe"] is False and got["trial"] is False
    assert product.api("amina").get(f"/api/packages/{got['id']}").json == got
    assert got in product.api("amina").get("/api/packages").json["items"]


@pytest.mark.parametrize(
    ("given", "kind", "validity"),
    [
        ({}, "time", 3_600),
        ({"kind": "hotspot"}, "time", 3_600),
        ({"kind": "time", "validity": 86_400}, "time", 3_600),
        ({"dataCap": 10**9}, "mixed", 3_600),
        ({"kind": "data", "dataCap": 10**9}, "data", 3_600),
        ({"kind": "data", "dataCap": 10**9, "validity": 86_400}, "data", 86_400),
        ({"kind": "online"}, "online", 30 * 86_400),
        ({"kind": "online", "validity": 7_200}, "online", 7_200),
        ({"kind": "mixed", "dataCap": 10**9, "validity": 7_200}, "mixed", 7_200),
        ({"kind": "pppoe", "duration": 2_592_000}, "time", 2_592_000),
    ],
)
def test_when_it_ends_where_nothing_is_said(product: Product, given: dict[str, Any], kind: str, validity: int) -> None:
    got = made(product, **given)
    assert (got["kind"], got["validity"]) == (kind, validity)
    assert got["forPppoe"] is (given.get("kind") == "pppoe")


def test_what_is_sold_by_time_online_is_kept_as_such(product: Product) -> None:
    made(product, kind="online")
    made(product, kind="mixed", dataCap=10**9, validity=7_200)
    made(product, kind="mixed", dataCap=10**9)
    with product.inside():
        kept = db.session.query(Package.online_s).order_by(Package.id.desc()).limit(3)
        assert [one.online_s for one in kept] == [None, 3_600, 3_600]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "forever"}, "kind"), ({"kind": "data"}, "dataCap"), ({"kind": "mixed"}, "dataCap"),
        ({"kind": "online", "validity": 3_599}, "validity"), ({"validity": 59}, "validity"),
        ({"dataCap": 0}, "dataCap"), ({"dataCap": -1}, "dataCap"), ({"dataCap": 1.5}, "dataCap"),
        ({"dailyCap": "much"}, "dailyCap"), ({"dataCap": 10**16}, "dataCap"),
        ({"atCap": "shout"}, "atCap"), ({"atCap": "throttle"}, "throttledRate"),
        ({"atCap": "throttle", "throttledRate": "slow"}, "throttledRate"),
        ({"sites": ["nobody"]}, "sites"), ({"sites": "all"}, "sites"), ({"sites": [1]}, "sites"),
        ({"hidden": "yes"}, "hidden"), ({"group": "g" * 41}, "group"), ({"addon": True}, "addon"),
        ({"trial": True}, "price"), ({"price": 0}, "price"), ({"devices": 0}, "devices"), ({"name": []}, "name"),
        ({"duration": 366 * 86_400 + 1}, "duration"), ({"duration": None}, "duration"), ({"rate": {"a": 1}}, "rate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(product: Product, given: dict[str, Any], field: str) -> None:
    answer = product.api("amina").post("/api/packages", HOUR | given)
    assert answer.status_code == 422 and set(answer.json["fields"]) == {field}, answer.text


def test_another_business_site_is_nobodys(product: Product) -> None:
    theirs = product.api("chege", "bahari").post("/api/sites", {"name": "Beach", "kind": "voucher"}).json["id"]
    answer = product.api("amina").post("/api/packages", HOUR | {"sites": [theirs]})
    assert answer.status_code == 422 and set(answer.json["fields"]) == {"sites"}


def test_a_change_keeps_the_id_and_leaves_what_was_sold_alone(product: Product) -> None:
    uid, sold = product.package("1 day"), buy(product)
    changed = product.api("amina").put(f"/api/packages/{uid}", {"price": 60, "duration": 7_200})
    assert changed.status_code == 200
    assert (changed.json["id"], changed.json["price"], changed.json["duration"], changed.json["validity"]) == (
        uid, 60, 7_200, 7_200
    )  # fmt: skip
    assert changed.json["name"] == "1 day" and changed.json["rate"] == "2M/5M"
    assert now_of(product, sold) == sold
    with product.inside():
        was = db.session.query(Purchase).one().package
        assert (was.duration_s, was.price_cents) == (86_400, 5_000) and was.withdrawn_at is not None
        assert was.uid != uid and db.session.query(Package).filter_by(uid=uid).one().id != was.id
    assert product.package("1 day") == uid
    assert len(product.api("amina").get("/api/packages").json["items"]) == 2


def test_hiding_and_grouping_sells_the_same_package(product: Product) -> None:
    uid = product.package("1 day")
    with product.inside():
        before = db.session.query(Package.id).filter_by(uid=uid).scalar()
    changed = product.api("amina").put(f"/api/packages/{uid}", {"hidden": True, "group": "Daily"}).json
    assert changed["hidden"] is True and changed["group"] == "Daily"
    with product.inside():
        assert db.session.query(Package.id).filter_by(uid=uid).scalar() == before
    on_sale = product.client().get("/api/portal/packages?tenant=mlima").json["items"]
    assert [one["name"] for one in on_sale] == ["1 hour"]


def test_the_portal_lists_what_is_paid_and_shown_and_for_the_hotspot(product: Product) -> None:
    made(product, name="Secret", hidden=True)
    made(product, name="Free", price=0, trial=True)
    made(product, name="Home", forPppoe=True)
    made(product, name="Shown", price=10)
    on_sale = product.client().get("/api/portal/packages?tenant=mlima").json["items"]
    assert [one["name"] for one in on_sale] == ["Shown", "1 hour", "1 day"]


def test_a_withdrawn_package_is_sold_no_more_and_runs_on(product: Product) -> None:
    uid, sold = product.package("1 day"), buy(product)
    gone = product.api("amina").delete(f"/api/packages/{uid}")
    assert gone.status_code == 200 and gone.json["success"] is True
    assert product.api("amina").get(f"/api/packages/{uid}").status_code == 404
    assert product.api("amina").delete(f"/api/packages/{uid}").status_code == 404
    assert product.api("amina").put(f"/api/packages/{uid}", {"price": 60}).status_code == 404
    asked = {"tenant": "mlima", "packageId": uid, "phone": "0711000001"}
    assert product.client().post("/api/portal/mpesa/initiate", json=asked).status_code == 404
    assert now_of(product, sold) == sold


def test_a_free_trial_is_bought_by_nobody(product: Product) -> None:
    uid = made(product, price=0, trial=True)["id"]
    asked = {"tenant": "mlima", "packageId": uid, "phone": "0711000001"}
    assert product.client().post("/api/portal/mpesa/initiate", json=asked).status_code == 404


def test_two_changes_at_once_leave_one_package(either_product: Product) -> None:
    product = either_product
    uid, amina, tenant_id = product.package("1 day"), product.api("amina"), product.tenant_id()
    answers = together(
        product, *[lambda at=at: amina.put(f"/api/packages/{uid}", {"price": 60 + at}) for at in range(4)]
    )  # type: ignore[misc]
    assert {one.status_code for one in answers} == {200}, [one.text for one in answers]
    with product.inside():
        assert db.session.query(Package).filter_by(uid=uid).count() == 1
        offered = db.session.query(Package).filter_by(tenant_id=tenant_id, name="1 day", withdrawn_at=None)
        assert offered.count() == 1
