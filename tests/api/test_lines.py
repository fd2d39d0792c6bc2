"""Lines over the API: made for a customer, changed, suspended; their password is in one answer alone."""

from portal.hotspot.models import Package
from portal.kernel.db import db
from tests.support.lines import pppoe_package, typed_at_the_paybill
from tests.support.manual import customer
from tests.support.product import Product


def uid_of(product: Product, package_id: int) -> str:
    with product.inside():
        return db.session.get_one(Package, package_id).uid


def test_a_program_makes_a_line_and_reads_how_it_stands(product: Product) -> None:
    package = uid_of(product, pppoe_package(product, 1_500, 30))
    owner, brian = customer(product), product.api("brian")
    made = brian.post("/api/lines", {"customerId": owner["accountNumber"], "packageId": package, "graceDays": 3})
    assert made.status_code == 201, made.text
    assert len(made.json["password"]) == 8 and made.json["username"] == owner["accountNumber"].lower()
    line = made.json["id"]
    shown = product.api("njeri").get(f"/api/lines/{line}").json
    assert "password" not in shown
    assert {name: shown[name] for name in ("state", "amountDue", "price", "graceDays", "autoRenew", "paidUntil")} == {
        "state": "walled", "amountDue": 1_500, "price": 1_500, "graceDays": 3, "autoRenew": True, "paidUntil": None,
    }  # fmt: skip
    typed_at_the_paybill(product, 1, 1_600, owner["accountNumber"])
    product.work()
    paid = brian.get("/api/lines", query_string={"customerId": owner["id"]}).json["items"]
    assert [(one["id"], one["state"], one["amountDue"]) for one in paid] == [(line, "active", 1_400)]
    assert paid[0]["onUntil"] > paid[0]["paidUntil"]


def test_what_is_wrong_is_named_and_another_business_sees_nothing(product: Product) -> None:
    package = uid_of(product, pppoe_package(product, 1_500, 30))
    owner, brian, chege = customer(product), product.api("brian"), product.api("chege")
    given = {"customerId": owner["id"], "packageId": package}
    for wrong, field in (
        ({"graceDays": "3"}, "graceDays"),
        ({"autoRenew": "yes"}, "autoRenew"),
        ({"language": "fr"}, "language"),
    ):
        refused = brian.post("/api/lines", given | wrong)
        assert refused.status_code == 422 and list(refused.json["fields"]) == [field]
    assert brian.post("/api/lines", given | {"graceDays": 32}).status_code == 422
    assert brian.post("/api/lines", given | {"packageId": product.package()}).status_code == 404
    line = brian.post("/api/lines", given | {"username": "otieno"}).json["id"]
    assert brian.post("/api/lines", given | {"username": "otieno"}).json["error"] == "username_taken"
    assert chege.get(f"/api/lines/{line}").status_code == 404 and chege.get("/api/lines").json["items"] == []
    assert chege.post("/api/lines", given).status_code == 404
    changed = brian.put(f"/api/lines/{line}", {"promptsBeforeEnd": True})
    assert changed.json["promptsBeforeEnd"] is True and changed.json["autoRenew"] is True
    assert brian.post(f"/api/lines/{line}/suspend", {"reason": "Abuse"}).json["state"] == "suspended"
    assert brian.post(f"/api/lines/{line}/lift").json["state"] == "walled"
