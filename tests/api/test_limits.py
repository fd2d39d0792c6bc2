"""How often a program may ask: counted for whoever is signed in, over every door together."""

from typing import Any

from portal.kernel.db import transaction
from portal.users.tokens import new_api_key
from tests.support.product import Product
from tests.support.visitors import csrf_of


def test_a_hundred_requests_in_fifteen_minutes_count_over_every_door_together(product: Product) -> None:
    """coverage.md S5: each door had a count of its own, so that a principal had hundreds."""
    amina = product.api("amina")
    doors = ("/api/transactions", "/api/packages", "/api/payment-gateways", "/api/customers")
    assert [amina.get(doors[n % 4]).status_code for n in range(100)] == [200] * 100
    for answer in (amina.get("/api/invoices/x"), amina.post("/api/packages", {}), amina.get("/api/audit")):
        assert answer.status_code == 429 and answer.json["error"] == "too_many_requests"
        assert 0 < int(answer.headers["Retry-After"]) <= 900
    amina.client.environ_base["REMOTE_ADDR"] = "203.0.113.7"
    assert amina.get("/api/packages").status_code == 429, "wherever it calls from"
    assert product.api("brian").get("/api/transactions").status_code == 200, "nobody else waits"


def test_what_payers_and_mpesa_need_stands_outside(product: Product) -> None:
    amina, client = product.api("amina"), product.client()
    _number, token = product.invoice(300)
    for _n in range(101):
        amina.get("/api/packages")
    open_doors: list[Any] = [
        client.get("/api/portal/packages?tenant=mlima"), client.get("/api/portal/mpesa/check?tenant=mlima"),
        client.get(f"/api/portal/mpesa/status?paymentId={token}"), client.get(f"/pay/{token}/status"),
    ]  # fmt: skip
    assert {answer.status_code for answer in open_doors} == {200}
    for _n in range(120):
        assert client.get("/api/portal/mpesa/check?tenant=mlima").status_code == 200
        assert client.post(f"{product.hook()}/c2b/validation", json={}).status_code == 200


def test_an_api_key_has_a_count_of_its_own(product: Product) -> None:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        keys = [new_api_key(tenant_id, name) for name in ("shop", "till")]
    shop, till = ({"X-API-Key": key} for key in keys)
    client = product.client()
    assert [client.get("/api/transactions", headers=shop).status_code for _n in range(101)] == [200] * 100 + [429]
    assert client.get("/api/transactions", headers=till).status_code == 200


def test_ten_refunds_in_fifteen_minutes_over_the_api_and_the_pages_together(product: Product) -> None:
    amina, browser = product.api("amina"), product.browser_of("amina")
    token = csrf_of(browser, "/staff/gateways/new")
    for n in range(5):
        assert amina.post(f"/api/mpesa/nobody{n}/refund", {"amount": 1}).status_code == 404
        assert browser.post("/staff/refunds/nobody/approve", data={"csrf_token": token}).status_code == 404
    refused = amina.post("/api/mpesa/nobody/refund", {"amount": 1})
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert browser.post("/staff/refunds/nobody/approve", data={"csrf_token": token}).status_code == 429
    assert amina.get("/api/refunds").status_code == 200, "looking is no refund"
