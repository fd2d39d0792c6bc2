"""The JSON contract, word for word: names, kinds of values, status codes, errors, pages."""

import re
from datetime import timedelta
from typing import Any

import pytest

from portal.gateways.models import SECRETS, Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import Push
from portal.users import credentials, tokens
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.visitors import PASSWORD

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
GATEWAY = {
    "type", "subType", "name", "displayName", "shortcode", "storeNumber", "accountNumber", "initiatorName",
    "certificate",
    "b2cShortcode", "env", "baseUrl", "isDefault", "forClinic", "forHotspot", "forPppoe",
}  # fmt: skip
SECRET = {"consumerKey", "consumerSecret", "passkey", "initiatorPassword", "securityCredential"}
PAYMENT = {
    "id", "provider", "orderId", "mpesaCheckoutRequestId", "mpesaReceiptNumber", "status", "amount", "currency",
    "phoneNumber",
}  # fmt: skip
TRANSACTION = {
    "id", "receipt", "amount", "channel", "payer", "reference", "occurredAt", "state", "environment", "provisional"
}  # fmt: skip


def stranger(product: Product) -> Any:
    """A stranger's browser."""
    return product.client()


def refused(answer: Any, status: int, error: str = "") -> Any:
    """The body of an error in the contract's form."""
    assert answer.status_code == status, answer.text
    assert set(answer.json) - {"fields"} == {"error", "message"}, answer.json
    assert re.fullmatch(r"[a-z_]+", answer.json["error"]) and answer.json["message"].strip()
    if error:
        assert answer.json["error"] == error
    return answer.json


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and round(value, 2) == value


def booked(product: Product, *, days: int = 2, **changes: Any) -> dict[str, Any]:
    """A new appointment of Otieno with Dr Wanjiru."""
    api = product.api("brian")
    given = {
        "patientId": api.get("/api/patients").json["items"][0]["id"],
        "clinicianId": api.get("/api/clinicians").json["items"][0]["id"],
        "kind": "virtual",
        "startsAt": clock.rfc3339(clock.now() + timedelta(days=days)),
        "durationMinutes": 45,
        "price": 1_500,
    }
    answer = api.post("/api/appointments", given | changes)
    assert answer.status_code == 201, answer.text
    return answer.json


def test_a_sign_in_gives_a_bearer_token_and_says_how_long_it_lasts(product: Product) -> None:
    answer = stranger(product).post(
        "/api/auth/token",
        json={"email": " Amina@MLIMA.test ", "password": "correct horse", "tenant": "mlima"},
    )
    assert answer.status_code == 200 and set(answer.json) == {"accessToken", "tokenType", "expiresIn"}
    assert answer.json["tokenType"] == "Bearer" and answer.json["expiresIn"] > 900
    wrong = {"email": "amina@mlima.test", "password": "correct horse", "tenant": "bahari"}
    refused(stranger(product).post("/api/auth/token", json=wrong), 422, "unknown_tenant")


@pytest.mark.property(45)
def test_gateways_are_made_changed_and_removed_and_their_secrets_never_come_back(product: Product) -> None:
    api = product.api("amina")
    secrets = {name: f"hidden-{name}" for name in SECRET - {"initiatorPassword"}}
    given = {
        "type": "MPESA_API", "subType": "BUYGOODS", "name": "Till", "displayName": "MLIMA TILL", "shortcode": "5001234",
        "storeNumber": "600777", "initiatorName": "api", "b2cShortcode": "600778", "env": "sandbox",
        "baseUrl": "http://127.0.0.1:9", "forClinic": False, "forHotspot": False, "forPppoe": True,
    }  # fmt: skip
    made = api.post("/api/payment-gateways", given | secrets)
    assert made.status_code == 201 and set(made.json) >= GATEWAY | {"id"} and not SECRET & set(made.json)
    assert {name: made.json[name] for name in given} == given and made.json["isDefault"] is False
    uid = made.json["id"]
    changed = api.put(f"/api/payment-gateways/{uid}", {"name": "New till", "consumerSecret": ""})
    assert changed.status_code == 200 and changed.json["name"] == "New till"
    assert api.post(f"/api/payment-gateways/{uid}/default").json["isDefault"] is True
    listed = api.get("/api/payment-gateways").json
    assert set(listed) == {"items", "nextCursor"} and listed["items"][0]["id"] == uid, "newest first"
    assert [one["isDefault"] for one in listed["items"]] == [True, False], "one default"
    everything = "".join(
        answer.text
        for answer in (made, changed, api.get(f"/api/payment-gateways/{uid}"), api.get("/api/payment-gateways"),
                       api.get("/api/audit"))
    )  # fmt: skip
    assert "hidden-" not in everything
    with product.inside():
        row = db.session.query(Gateway).filter_by(uid=uid).one()
        assert row.secret("consumer_secret") == secrets["consumerSecret"], "an empty secret keeps the one before"
        assert all("hidden-" not in (getattr(row, f"{name}_sealed") or "") for name in SECRETS)
    gone = api.delete(f"/api/payment-gateways/{uid}")
    assert gone.status_code == 200 and gone.json["deleted"] is True
    refused(api.get(f"/api/payment-gateways/{uid}"), 404, "not_found")


def test_a_gateway_that_payments_point_at_is_archived_and_every_missing_field_is_named(product: Product) -> None:
    product.invoice()
    api = product.api("amina")
    uid = api.get("/api/payment-gateways").json["items"][0]["id"]
    assert api.delete(f"/api/payment-gateways/{uid}").json["archived"] is True
    assert api.get("/api/payment-gateways").json["items"] == []
    said = refused(
        api.post("/api/payment-gateways", {"subType": "BANK", "shortcode": "12", "env": "mars"}), 422, "invalid_fields"
    )
    assert set(said["fields"]) == {
        "name", "shortcode", "env", "accountNumber", "storeNumber", "consumerKey", "consumerSecret", "passkey"
    }  # fmt: skip


@pytest.mark.property(80)
def test_test_and_real_money_are_switched_only_after_a_fresh_sign_in(product: Product) -> None:
    api = product.api("amina")
    uid = api.get("/api/payment-gateways").json["items"][0]["id"]
    later(16 * 60)
    refused(api.put(f"/api/payment-gateways/{uid}", {"env": "production"}), 422, "fresh_signin_required")
    assert api.get(f"/api/payment-gateways/{uid}").json["env"] == "sandbox"
    product.tokens.clear()
    keys = {"consumerKey": "real-key", "consumerSecret": "real-secret", "passkey": "real-passkey"}
    said = refused(
        product.api("amina").put(f"/api/payment-gateways/{uid}", {"env": "production"}), 422, "invalid_fields"
    )
    assert set(said["fields"]) == set(keys), "test money's secrets are not real money's"
    switched = product.api("amina").put(f"/api/payment-gateways/{uid}", {"env": "production"} | keys)
    assert switched.json["env"] == "production"


@pytest.mark.property(80)
def test_a_new_gateway_or_another_default_switches_no_money_without_a_fresh_sign_in(product: Product) -> None:
    """coverage.md, property 80: the same switch, made by adding a gateway, choosing another default, or removing."""
    new = {"name": "n", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p"}
    real = product.api("amina").post("/api/payment-gateways", new | {"env": "production"}).json["id"]
    test = product.api("amina").get("/api/payment-gateways").json["items"][1]["id"]
    later(16 * 60)
    amina = product.api("amina")
    stale = "fresh_signin_required"
    refused(amina.post("/api/payment-gateways", new | {"env": "production", "isDefault": True}), 422, stale)
    refused(amina.post("/api/payment-gateways", new | {"env": "production"}), 422, stale)
    refused(amina.post(f"/api/payment-gateways/{real}/default"), 422, stale)
    refused(amina.put(f"/api/payment-gateways/{real}", {"isDefault": True}), 422, stale)
    refused(amina.delete(f"/api/payment-gateways/{test}"), 422, stale)
    listed = {one["id"]: one["isDefault"] for one in amina.get("/api/payment-gateways").json["items"]}
    assert listed == {real: False, test: True}
    product.tokens.clear()
    assert product.api("amina").post(f"/api/payment-gateways/{real}/default").json["isDefault"] is True


@pytest.mark.property(80)
@pytest.mark.parametrize(
    "change",
    [
        {"shortcode": "600666"}, {"storeNumber": "600666"}, {"b2cShortcode": "600666"}, {"type": "MPESA_NO_API"},
        {"subType": "BANK", "accountNumber": "0123456789", "storeNumber": "600666"},
        {"consumerKey": "k2", "consumerSecret": "s2", "passkey": "p2"}, {"securityCredential": "c2Vj"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_where_real_money_goes_is_changed_only_after_a_fresh_sign_in(product: Product, change: dict[str, str]) -> None:
    """A browser left open at the counter sent every payer to another till, or bank account."""
    new = {"name": "n", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p"}
    real = product.api("amina").post("/api/payment-gateways", new | {"env": "production"}).json["id"]
    later(16 * 60)
    amina, path = product.api("amina"), f"/api/payment-gateways/{real}"
    before = amina.get(path).json
    refused(amina.put(path, change), 422, "fresh_signin_required")
    assert amina.get(path).json == before
    everything = {name: before[name] for name in ("type", "subType", "shortcode", "storeNumber", "b2cShortcode")}
    assert amina.put(path, everything | {"name": "Front desk"}).status_code == 200, "a form sends every field back"
    product.tokens.clear()
    assert product.api("amina").put(path, change).status_code == 200


@pytest.mark.property(80)
def test_a_gateway_of_test_money_takes_no_purpose_of_real_money_without_a_fresh_sign_in(product: Product) -> None:
    """By its purpose a new gateway took the hotspot over, and its page named another till to pay to."""
    new = {"name": "n", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p"}
    amina, stale = product.api("amina"), "fresh_signin_required"
    test = amina.get("/api/payment-gateways").json["items"][0]["id"]
    real = amina.post("/api/payment-gateways", new | {"env": "production", "isDefault": True}).json["id"]
    amina.put(f"/api/payment-gateways/{test}", {"forHotspot": False, "forClinic": False, "forPppoe": False})
    assert amina.get(f"/api/payment-gateways/{real}").json["isDefault"] is True
    later(16 * 60)
    till = {"name": "t", "type": "MPESA_NO_API", "subType": "BUYGOODS", "shortcode": "600666", "forHotspot": True}
    refused(amina.post("/api/payment-gateways", till), 422, stale)
    refused(amina.put(f"/api/payment-gateways/{test}", {"forHotspot": True}), 422, stale)
    assert amina.post("/api/payment-gateways", till | {"forHotspot": False}).status_code == 201
    product.tokens.clear()
    assert product.api("amina").put(f"/api/payment-gateways/{test}", {"forHotspot": True}).status_code == 200
    later(16 * 60)
    refused(amina.delete(f"/api/payment-gateways/{test}"), 422, stale)


@pytest.mark.property(41)
def test_a_connection_test_says_what_is_wrong(product: Product) -> None:
    api = product.api("amina")
    answer = api.post("/api/mpesa/test-connection", {})
    assert answer.status_code == 200 and set(answer.json) == {"success", "message"}
    assert answer.json["success"] is False and answer.json["message"]
    refused(api.post("/api/mpesa/test-connection", {"gatewayId": "nobody"}), 404)
    uid = api.get("/api/payment-gateways").json["items"][0]["id"]
    assert set(api.post(f"/api/payment-gateways/{uid}/test").json) >= {"success", "message"}
    refused(api.post(f"/api/payment-gateways/{uid}/register-urls"), 422, "mpesa_refused")


def test_packages_are_sold_to_everybody_and_made_by_administrators(product: Product) -> None:
    api = product.api("amina")
    given = {
        "name": "Home", "price": 1_000, "duration": 2_592_000, "rate": "5M/10M", "dataCap": 10**9, "devices": 2,
        "forPppoe": True,
    }  # fmt: skip
    made = api.post("/api/packages", given)
    assert made.status_code == 201 and made.json["kind"] == "mixed" and made.json["forPppoe"] is True
    public = {"id", "name", "price", "duration", "speed", "dataCap", "devices"}
    assert set(made.json) == public | {
        "kind", "rate", "forPppoe", "validity", "sites", "group", "hidden", "dailyCap", "atCap", "throttledRate",
        "trial", "addon",
    }  # fmt: skip
    on_sale = stranger(product).get("/api/portal/packages?tenant=mlima").json
    assert all(set(item) == public for item in on_sale["items"]) and on_sale["nextCursor"] is None
    assert [(item["name"], item["price"], item["duration"]) for item in on_sale["items"]] == [
        ("1 hour", 20, 3_600), ("1 day", 50, 86_400)
    ]  # fmt: skip
    refused(stranger(product).get("/api/portal/packages?tenant=nobody"), 404, "unknown_tenant")
    refused(stranger(product).get("/api/portal/packages"), 404, "unknown_tenant")


def test_the_portal_says_whether_mpesa_is_configured_and_what_is_missing(product: Product) -> None:
    client = stranger(product)
    assert client.get("/api/portal/mpesa/check?tenant=mlima").json == {"configured": True, "env": "sandbox"}
    assert client.get("/api/portal/mpesa/validate?tenant=mlima").json == {"valid": True, "errors": []}
    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"passkey_sealed": None})
    assert client.get("/api/portal/mpesa/check?tenant=mlima").json["configured"] is False
    assert client.get("/api/portal/mpesa/validate?tenant=mlima").json == {"valid": False, "errors": ["passkey"]}


@pytest.mark.property(51)
def test_a_purchase_is_asked_for_once_however_often_it_is_repeated(product: Product) -> None:
    client, phone = stranger(product), new_phone()
    given = {"tenant": "mlima", "packageId": product.package(), "phone": phone, "macAddress": "aa-bb-cc-dd-ee-01"}
    first = client.post("/api/portal/mpesa/initiate", json=given)
    assert first.status_code == 201
    assert set(first.json) == {"paymentId", "checkoutRequestId", "status", "message"}
    assert first.json["checkoutRequestId"] is None and first.json["status"] == "pending"
    assert len(first.json["paymentId"]) >= 32
    again = client.post("/api/portal/mpesa/initiate", json=given | {"phone": "+" + phone})
    assert again.status_code == 200 and again.json["paymentId"] == first.json["paymentId"]
    with product.inside():
        assert db.session.query(Push).count() == 1
    other = client.post("/api/portal/mpesa/initiate", json=given | {"packageId": product.package("1 hour")})
    said = refused(other, 429, "cool_down")
    assert 0 < int(other.headers["Retry-After"]) <= 60 and "seconds" in said["message"]


def test_an_idempotency_key_names_one_request_for_ever(product: Product) -> None:
    client, phone = stranger(product), new_phone()
    given = {"tenant": "mlima", "packageId": product.package(), "phone": phone, "idempotencyKey": "form-1"}
    first = client.post("/api/portal/mpesa/initiate", json=given)
    assert first.status_code == 201
    assert client.post("/api/portal/mpesa/initiate", json=given).status_code == 200
    other = client.post("/api/portal/mpesa/initiate", json=given | {"packageId": product.package("1 hour")})
    refused(other, 409, "idempotency_conflict")
    refused(client.post("/api/portal/mpesa/initiate", json=given | {"phone": new_phone()}), 409)
    chege = given | {"tenant": "bahari", "packageId": product.package("1 day", "bahari")}
    assert client.post("/api/portal/mpesa/initiate", json=chege).json["paymentId"] != first.json["paymentId"]


def test_a_phone_is_asked_at_most_six_times_in_ten_minutes(product: Product) -> None:
    number, token = product.invoice()
    api, phone = product.api("brian"), new_phone()
    for _try in range(6):
        product.callback(product.pushed(token, phone), code=1032)
        product.settle()
    answer = api.post("/api/mpesa/initiate", {"orderId": number, "amount": 1_500, "phoneNumber": phone})
    refused(answer, 429, "too_many_requests")
    assert 590 <= int(answer.headers["Retry-After"]) <= 600
    later(500)
    again = api.post("/api/mpesa/initiate", {"orderId": number, "amount": 1_500, "phoneNumber": phone})
    assert 0 < int(again.headers["Retry-After"]) <= 100, "it tells what is left of the wait"
    later(int(again.headers["Retry-After"]))
    last = api.post("/api/mpesa/initiate", {"orderId": number, "amount": 1_500, "phoneNumber": phone})
    assert last.status_code == 201, "and who waited that long may"


@pytest.mark.property(78)
def test_credentials_are_only_for_who_holds_the_payment_id(product: Product) -> None:
    given = {"tenant": "mlima", "packageId": product.package(), "phone": new_phone()}
    token = stranger(product).post("/api/portal/mpesa/initiate", json=given).json["paymentId"]
    with product.app.app_context(), transaction():
        from portal.gateways.daraja import StkAccepted
        from portal.payments.stk import pushes

        push = db.session.query(Push).one()
        pushes.lease(push.id, hook_url="http://test/hooks")
        pushes.accepted(
            push.id, StkAccepted(checkout_request_id="ws_CO_1", merchant_request_id="m-1", customer_message="")
        )
        push_token = push.token
    waiting = product.status(token)
    assert set(waiting) == {"status", "amountDue", "resultCode", "message", "receipt", "testMode"}
    assert waiting["status"] == "processing" and waiting["amountDue"] == 50 and waiting["testMode"] is True
    from tests.support.daraja import Pushed

    product.callback(Pushed(1, push_token, "ws_CO_1", 50, given["phone"], ""), receipt=receipt(1))
    product.settle()
    paid = product.status(token)
    assert paid["status"] == "paid" and paid["receipt"] == receipt(1) and paid["amountDue"] == 0
    assert set(paid["credentials"]) == {"username", "password", "expiresAt", "loginUrl"}
    assert RFC3339.fullmatch(paid["credentials"]["expiresAt"])
    by_checkout = stranger(product).get("/api/portal/mpesa/status?checkoutRequestId=ws_CO_1")
    assert by_checkout.json["status"] == "paid" and "credentials" not in by_checkout.json
    refused(stranger(product).get("/api/portal/mpesa/status?paymentId=nobody"), 404)
    refused(stranger(product).get("/api/portal/mpesa/status"), 404)


def test_an_order_is_paid_by_push_and_read_back_under_three_names(product: Product) -> None:
    api, phone = product.api("brian"), new_phone()
    given = {
        "orderId": "SHOP/1", "amount": 250, "phoneNumber": phone, "description": "Order 1", "metadata": {"till": 4}
    }  # fmt: skip
    made = api.post("/api/mpesa/initiate", given)
    assert made.status_code == 201 and set(made.json) == {"success", "message", "data"}
    data = made.json["data"]
    assert set(data) == {"paymentId", "checkoutRequestId", "merchantRequestId", "responseCode", "payment"}
    again = api.post("/api/mpesa/initiate", given)
    assert again.status_code == 200 and again.json["data"]["paymentId"] == data["paymentId"]
    for path in (f"query/{data['paymentId']}", "order/SHOP/1"):
        found = api.get(f"/api/mpesa/{path}").json
        assert set(found) == {"success", "data"} and set(found["data"]) >= PAYMENT
        assert found["data"]["id"] == data["paymentId"] and found["data"]["provider"] == "mpesa"
        assert found["data"]["amount"] == 250 and found["data"]["currency"] == "kes"
        assert phone not in str(found) and found["data"]["phoneNumber"] == f"0{phone[3:6]}…{phone[-3:]}"
        assert found["data"]["metadata"] == {"till": 4}
    for path in ("query/nobody", "order/nobody", "status/nobody"):
        refused(api.get(f"/api/mpesa/{path}"), 404)
        refused(product.api("chege").get(f"/api/mpesa/{path.replace('nobody', data['paymentId'])}"), 404)


def test_an_invoice_is_paid_whole_and_by_who_may(product: Product) -> None:
    number, token = product.invoice(1_500)
    ask = {"orderId": number, "amount": 1_500, "phoneNumber": new_phone()}
    said = refused(product.api("brian").post("/api/mpesa/initiate", ask | {"amount": 1_499}), 422, "wrong_amount")
    assert "1,500" in said["fields"]["amount"]
    refused(product.api("njeri").post("/api/mpesa/initiate", ask), 403, "forbidden")  # the accountant only reads
    refused(product.api("otieno").post("/api/mpesa/initiate", ask), 404)  # another person's invoice
    refused(product.api("otieno").post("/api/mpesa/initiate", ask | {"orderId": "own"}), 403)
    with product.inside():
        assert db.session.query(Push).count() == 0, "nobody's phone rang"
    assert product.api("wanjiru").post("/api/mpesa/initiate", ask).status_code == 201
    chege = product.api("chege").post("/api/mpesa/initiate", ask | {"phoneNumber": new_phone()})
    assert chege.status_code == 201 and chege.json["data"]["paymentId"] != token, "his own order of that name"


@pytest.mark.property(50)
def test_an_api_key_is_a_program_of_its_tenant_and_no_administrator(product: Product) -> None:
    with product.app.app_context(), transaction():
        key = tokens.new_api_key(product_tenant(product), "shop")
    client, with_key = stranger(product), {"X-API-Key": key}
    given = {"orderId": "A1", "amount": 10, "phoneNumber": new_phone()}
    made = client.post("/api/mpesa/initiate", json=given, headers=with_key)
    assert made.status_code == 201
    assert client.get("/api/transactions", headers=with_key).status_code == 200
    refused(client.get("/api/payment-gateways", headers=with_key), 403, "forbidden")
    refused(client.get("/api/audit", headers=with_key), 403)
    for header in ({"X-API-Key": key + "0"}, {"X-API-Key": "é"}, {}):
        refused(client.get("/api/transactions", headers=header), 401, "unauthorized")


def product_tenant(product: Product, slug: str = "mlima") -> int:
    from portal.tenants.models import Tenant

    return db.session.query(Tenant.id).filter_by(slug=slug).scalar()


@pytest.mark.property(1)
@pytest.mark.property(3)
@pytest.mark.property(5)
def test_an_appointment_goes_from_asked_to_confirmed_and_shows_each_address_in_its_time(product: Product) -> None:
    api = product.api("wanjiru")
    made = booked(product)
    assert set(made) >= {"id", "status", "invoiceNumber", "amountDue", "payUrl", "meetingUrl", "place"}
    assert made["status"] == "pending_approval" and made["amountDue"] == 1_500
    assert made["payUrl"] is None and made["meetingUrl"] is None and made["place"] is None
    assert RFC3339.fullmatch(made["startsAt"])
    for name in (made["id"], made["invoiceNumber"]):
        ask = {"orderId": name, "amount": 1_500, "phoneNumber": new_phone()}
        refused(product.api("brian").post("/api/mpesa/initiate", ask), 409, "not_approved")
    approved = api.post(f"/api/appointments/{made['id']}/approve").json
    assert approved["status"] == "approved" and approved["payUrl"].startswith("http://127.0.0.1:1/pay/")
    assert approved["meetingUrl"] is None and approved["invoiceNumber"] == made["invoiceNumber"]
    refused(api.post(f"/api/appointments/{made['id']}/approve"), 409, "conflict")
    status = product.api("otieno").get(f"/api/mpesa/status/{made['id']}").json
    assert set(status["data"]) >= PAYMENT and status["data"]["status"] == "pending"
    token = approved["payUrl"].rsplit("/", 1)[1]
    product.callback(product.pushed(token), receipt=receipt(5))
    product.settle()
    confirmed = api.get(f"/api/appointments/{made['id']}").json
    assert confirmed["status"] == "confirmed" and confirmed["meetingUrl"].startswith("https://meet.example/")
    assert confirmed["amountDue"] == 0
    for other in ("chege",):
        for action in ("", "/approve", "/decline", "/cancel"):
            path = f"/api/appointments/{made['id']}{action}"
            refused(product.api(other).post(path) if action else product.api(other).get(path), 404)
    assert api.post(f"/api/appointments/{made['id']}/cancel", {"reason": "ill"}).json["status"] == "cancelled"


def test_an_appointment_on_site_has_a_place_and_can_be_declined_without_a_body(product: Product) -> None:
    made = booked(product, kind="onsite")
    assert made["place"] == "Moi Avenue 1"
    path = f"/api/appointments/{made['id']}/decline"
    refused(product.api("wanjiru").post(path, ["no"]), 422, "invalid_json")
    answer: Any = product.api("wanjiru").client.post(path, headers=product.api("wanjiru").headers)
    assert answer.json["status"] == "declined"


def test_patients_and_invoices_come_a_page_at_a_time_newest_first(product: Product) -> None:
    api = product.api("brian")
    person = api.post("/api/patients", {"name": "Auma", "phone": "0722 000 111", "email": "auma@mail.test"})
    assert person.status_code == 201 and set(person.json) == {"id", "name", "phone", "email"}
    assert person.json["phone"] == "254722000111"
    payer = {"payer": {"name": "Walk-in", "phone": "0722000112"}}
    lines = [{"kind": "lab", "description": "Test", "amount": 300}, {"description": "Bandage", "amount": 50}]
    made = api.post("/api/invoices", payer | {"lines": lines})
    assert made.status_code == 201
    assert set(made.json) >= {"id", "number", "amount", "amountDue", "status", "payUrl"}
    assert made.json["amount"] == made.json["amountDue"] == 350 and made.json["status"] == "unpaid"
    assert api.get(f"/api/invoices/{made.json['number'].lower()}").json == made.json
    refused(product.api("chege").get(f"/api/invoices/{made.json['number']}"), 404)
    numbers = [made.json["number"], *(product.invoice()[0] for _one in range(51))]
    seen, cursor = [], ""
    for _page in range(3):
        page = api.get(f"/api/invoices?cursor={cursor}").json
        seen += [item["number"] for item in page["items"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert seen == numbers[::-1] and cursor is None
    refused(api.get("/api/invoices?cursor=" + "9" * 40), 422, "invalid_cursor")


@pytest.mark.property(38)
@pytest.mark.property(39)
@pytest.mark.property(40)
def test_transactions_are_listed_filtered_paged_and_exported(product: Product) -> None:
    number, token = product.invoice(10_000)
    for n in range(52):
        account = number if n else "=cmd|' /C calc'!A1"
        stranger(product).post(
            f"{product.hook()}/c2b/confirmation",
            json=c2b_body(receipt=receipt(n), amount=10 + n, account=account, msisdn="254708374149"),
        )
    product.settle()
    api = product.api("njeri")
    first = api.get("/api/transactions").json
    assert set(first) == {"items", "nextCursor"} and all(set(item) == TRANSACTION for item in first["items"])
    rest = api.get(f"/api/transactions?cursor={first['nextCursor']}").json
    receipts = [item["receipt"] for item in first["items"] + rest["items"]]
    assert rest["nextCursor"] is None and sorted(receipts) == [receipt(n) for n in range(52)]
    times = [item["occurredAt"] for item in first["items"] + rest["items"]]
    assert times == sorted(times, reverse=True) and all(RFC3339.fullmatch(at) for at in times)
    assert all(is_number(item["amount"]) and item["environment"] == "sandbox" for item in first["items"])
    assert "254708374149" not in str(first) and first["items"][0]["payer"].endswith("149")
    for query, count in (
        (f"receipt={receipt(7)}", 1), (f"q={number}", 50), ("phone=0708374149", 50), ("state=unallocated", 1),
        ("from=2020-01-01&to=2020-01-02", 0), ("phone=x", 0), ("phone=0711000999", 0),
    ):  # fmt: skip
        assert len(api.get(f"/api/transactions?{query}").json["items"]) == count, query
    for query in ("state=lost", "from=yesterday", "to=2026-13-01"):
        refused(api.get(f"/api/transactions?{query}"), 422, "invalid_fields")
    for cursor in ("x", "eA==", "OTk5OS0xMi0zMVQyMzo1OTo1OS0xNDowMCAx"):
        assert api.get(f"/api/transactions?cursor={cursor}").status_code == 422, cursor
    for query in ("from=0001-01-01", "to=9999-12-31", "from=9999-12-31T23:59:59-14:00"):
        assert api.get(f"/api/transactions?{query}").status_code in (200, 422), query
    sheet = api.get("/api/transactions.csv")
    assert sheet.mimetype == "text/csv" and "attachment" in sheet.headers["Content-Disposition"]
    rows = sheet.text.splitlines()
    assert (
        set(rows[0].split(",")) == TRANSACTION - {"provisional"} | {"payerName", "occurredAtNairobi"}
        and len(rows) == 53
    )
    assert "'=cmd" in sheet.text and ",=cmd" not in sheet.text, "a spreadsheet must not run it"
    one = api.get(f"/api/transactions/{first['items'][0]['id']}").json
    assert set(one) >= TRANSACTION
    refused(product.api("chege").get(f"/api/transactions/{one['id']}"), 404)
    assert product.api("chege").get("/api/transactions").json["items"] == []
    electronic = api.get("/api/payments/electronic").json["items"]
    assert [item["receipt"] for item in electronic] == receipts[:50]


def test_figures_tell_today_and_this_month_and_start_empty(product: Product) -> None:
    path = "/api/payments/mpesa/stats"
    empty = product.api("njeri").get(path).json
    assert set(empty) >= {"today", "month", "successRate", "pending", "lastCallbackAt"}
    assert empty["today"] == empty["month"] == {"amount": 0, "count": 0} and empty["lastCallbackAt"] is None
    _number, token = product.invoice(70)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    _number, token = product.invoice(70)
    product.callback(product.pushed(token), code=1)
    product.settle()
    product.pushed(product.invoice(70)[1])
    found = product.api("njeri").get(path).json
    assert found["today"] == {"amount": 70, "count": 1} and found["successRate"] == 0.5
    assert found["pending"] == 1 and RFC3339.fullmatch(found["lastCallbackAt"])
    assert product.api("chege").get(path).json["month"] == {"amount": 0, "count": 0}


@pytest.mark.property(66)
@pytest.mark.property(69)
def test_the_audit_is_for_who_may_see_it_and_says_who_looked(product: Product) -> None:
    _number, token = product.invoice(70)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    uid = product.api("brian").get("/api/transactions").json["items"][0]["id"]
    product.api("brian").get(f"/api/transactions/{uid}")
    refused(product.api("brian").get("/api/audit"), 403, "forbidden")
    newest = product.api("njeri").get("/api/audit").json
    assert set(newest) == {"items", "nextCursor"} and newest["items"][0]["action"] == "looked_at"
    assert all(item["actor"] and item["action"] and RFC3339.fullmatch(item["at"]) for item in newest["items"])
    assert [item["id"] for item in newest["items"]] == sorted((item["id"] for item in newest["items"]), reverse=True)
    before = product.api("njeri").get(f"/api/audit?cursor={newest['items'][0]['id']}").json["items"]
    assert newest["items"][0] not in before and before == newest["items"][1:]
    refused(product.api("njeri").get("/api/audit?cursor=" + "9" * 40), 422, "invalid_cursor")
    assert "looked_at" not in product.api("chege").get("/api/audit").text


def test_the_description_names_every_door_and_needs_no_sign_in(product: Product) -> None:
    described = stranger(product).get("/api/openapi.json")
    assert described.status_code == 200 and described.json["openapi"].startswith("3.")
    told = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, methods in described.json["paths"].items()
        for method in methods
    }
    assert "/api/mpesa/{checkoutRequestId}/refund" in described.json["paths"]
    for rule in product.app.url_map.iter_rules():
        if rule.endpoint.startswith("api."):
            path = re.sub(r"<(?:\w+:)?\w+>", "{}", rule.rule)
            assert told >= {(method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}, path


def test_a_principal_has_a_hundred_requests_in_a_quarter_of_an_hour_and_nobody_elses(product: Product) -> None:
    api = product.api("brian")
    answers = [api.get("/api/clinicians") for _n in range(101)]
    assert [one.status_code for one in answers] == [200] * 100 + [429]
    refused(answers[-1], 429, "too_many_requests")
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 900
    assert product.api("wanjiru").get("/api/clinicians").status_code == 200
    assert stranger(product).get("/api/portal/packages?tenant=mlima").status_code == 200


def test_electronic_payments_are_those_that_m_pesa_moved(product: Product) -> None:
    number, _token = product.invoice(500)
    amina = product.api("amina")
    amina.post("/api/payments/manual", {"channel": "cash", "reference": number, "amount": 200})
    body = c2b_body(receipt=receipt(1), amount=300, account=number)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    both = amina.get("/api/transactions").json["items"]
    assert {one["channel"] for one in both} == {"cash", "c2b"}
    assert [one["channel"] for one in amina.get("/api/payments/electronic").json["items"]] == ["c2b"]
    assert amina.get("/api/payments/mpesa/stats").json["today"] == {"amount": 300, "count": 1}


def test_the_default_gateway_is_tested_without_a_body(product: Product) -> None:
    answer = product.api("amina").post("/api/mpesa/test-connection")
    assert answer.status_code == 200 and answer.json["success"] is False and answer.json["message"]


def test_an_order_that_is_paid_is_not_charged_again(product: Product) -> None:
    brian, order = product.api("brian"), {"orderId": "SHOP-7", "amount": 12, "phoneNumber": new_phone()}
    first = brian.post("/api/mpesa/initiate", order)
    assert first.status_code == 201
    token = first.json["data"]["paymentId"]
    product.callback(product.pushed(token), receipt=receipt(1), amount=12)
    product.settle()
    refused(brian.post("/api/mpesa/initiate", order), 409, "already_paid")
    other = brian.post("/api/mpesa/initiate", order | {"orderId": "SHOP-8"})
    assert other.status_code in (201, 429), "another order is another payment"
    wrong = refused(brian.post("/api/mpesa/initiate", order | {"phoneNumber": "12"}), 422)
    assert set(wrong["fields"]) == {"phoneNumber"}
    assert set(refused(brian.post("/api/mpesa/initiate", order | {"amount": -1}), 422)["fields"]) == {"amount"}


def test_a_platform_administrator_names_the_business(product: Product) -> None:
    with product.app.app_context(), transaction():
        credentials.add_user(email="root@mlango.test", name="Root", password=PASSWORD, is_platform_admin=True)
    who = {"email": "root@mlango.test", "password": PASSWORD}
    nobodys = stranger(product).post("/api/auth/token", json=who).json["accessToken"]
    for path in ("/api/payment-gateways", "/api/transactions", "/api/mpesa/order/X"):
        told = refused(
            stranger(product).get(path, headers={"Authorization": f"Bearer {nobodys}"}), 422, "tenant_needed"
        )
        assert set(told["fields"]) == {"tenant"}
    named = stranger(product).post("/api/auth/token", json=who | {"tenant": "bahari"}).json["accessToken"]
    headers = {"Authorization": f"Bearer {named}"}
    mine = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    assert stranger(product).delete(f"/api/payment-gateways/{mine}", headers=headers).status_code == 404


def test_an_api_key_asks_for_payments_and_reads_no_patients(product: Product) -> None:
    with product.app.app_context(), transaction():
        key = tokens.new_api_key(product.tenant_id(), "shop")
    headers = {"X-API-Key": key}
    for path in ("/api/patients", "/api/appointments", "/api/invoices", "/api/clinicians"):
        refused(stranger(product).get(path, headers=headers), 403, "forbidden")
    order = {"orderId": "SHOP-9", "amount": 12, "phoneNumber": new_phone()}
    assert stranger(product).post("/api/mpesa/initiate", headers=headers, json=order).status_code == 201


@pytest.mark.parametrize(
    ("given", "rate", "speed"),
    [
        ({"rate": "2M/10M"}, "2M/10M", "10 Mbps"),
        ({"speed": "7 Mbps"}, "7M/7M", "7 Mbps"),
        ({"speed": "512kbps"}, "512k/512k", "512 kbps"),
        ({"rate": "1M/2M 2M/4M 1M/2M 8/8"}, "1M/2M 2M/4M 1M/2M 8/8", "2 Mbps"),
        ({}, "", ""),
    ],
)
def test_a_packages_rate_is_one_that_a_router_reads(
    product: Product, given: dict[str, str], rate: str, speed: str | None
) -> None:
    package = {"name": "p", "price": 20, "duration": 3_600} | given
    made = product.api("amina").post("/api/packages", package).json
    assert made["rate"] == rate and (speed is None or made["speed"] == speed)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"rate": "bogus"}, "rate"), ({"rate": "2M;/system reset"}, "rate"), ({"speed": "very fast"}, "speed"),
        ({"kind": "hotspot", "forPppoe": True}, "forPppoe"), ({"kind": "pppoe", "forPppoe": False}, "forPppoe"),
    ],
)  # fmt: skip
def test_a_package_that_contradicts_itself_is_refused(product: Product, given: dict[str, Any], field: str) -> None:
    package = {"name": "p", "price": 20, "duration": 3_600} | given
    told = refused(product.api("amina").post("/api/packages", package), 422, "invalid_fields")
    assert set(told["fields"]) == {field}


def test_a_failed_second_try_does_not_hide_a_first_that_may_still_be_paid(product: Product) -> None:
    _number, token = product.invoice(100)
    first = product.pushed(token)
    with product.app.app_context(), transaction():
        db.session.get_one(Push, first.push_id).state = "unconfirmed"
    second = product.pushed(token, checkout_id="second")
    product.callback(second, code=1)
    product.settle()
    assert product.status(token)["status"] in ("processing", "timed_out")
    later(601)
    assert product.status(token)["status"] == "failed", "what M-Pesa never told of hides no refusal for ever"


def test_who_need_not_wait_is_told_of_no_waiting(product: Product) -> None:
    assert "Retry-After" not in product.api("brian").get("/api/clinicians").headers


def test_the_source_documents_addresses_answer_their_check(product: Product) -> None:
    for path in ("callback", "callbacks/stk", "callbacks/c2b/validation", "callbacks/c2b/confirmation"):
        assert stranger(product).get(f"/api/mpesa/{path}").status_code == 200


def test_a_payment_id_stands_wherever_a_checkout_id_does(product: Product) -> None:
    _number, token = product.invoice(100)
    told = stranger(product).get(f"/api/portal/mpesa/status?checkoutRequestId={token}")
    assert told.status_code == 200 and told.json["status"] == "pending"


def test_a_payment_read_back_spells_no_phone_in_its_checkout_id(product: Product) -> None:
    """safety.md 9: the number was masked, and stood in full at the end of the CheckoutRequestID beside it.

    Who names the CheckoutRequestID holds it already, and finds it unchanged in the answer.
    """
    number, token = product.invoice(100)
    push = product.pushed(token, "254722345678")
    assert push.checkout_id.endswith("722345678")
    for path in (f"query/{token}", f"order/{number}"):
        told = product.api("brian").get(f"/api/mpesa/{path}")
        assert told.status_code == 200 and told.json["data"]["id"] == token
        assert told.json["data"]["mpesaCheckoutRequestId"] == push.checkout_id[:-9] + "*****5678"
        assert "722345678" not in told.text
    told = product.api("brian").get(f"/api/mpesa/query/{push.checkout_id}")
    assert told.json["data"]["id"] == token
    assert told.json["data"]["mpesaCheckoutRequestId"] == push.checkout_id
    assert told.text.count("722345678") == 1


def test_what_is_cancelled_is_due_nothing(product: Product) -> None:
    made = booked(product)
    over = product.api("brian").post(f"/api/appointments/{made['id']}/cancel").json
    assert over["status"] == "cancelled" and over["amountDue"] == 0 and over["payUrl"] is None


def test_another_gateway_becomes_the_default_when_it_is_removed(product: Product) -> None:
    amina = product.api("amina")
    first = amina.get("/api/payment-gateways").json["items"][0]
    made = {
        "name": "n",
        "shortcode": "600999",
        "consumerKey": "k",
        "consumerSecret": "s",
        "passkey": "p",
        "env": "sandbox",
    }
    second = amina.post("/api/payment-gateways", made).json
    assert first["isDefault"] and not second["isDefault"]
    assert amina.delete(f"/api/payment-gateways/{first['id']}").status_code == 200
    assert [one["isDefault"] for one in amina.get("/api/payment-gateways").json["items"]] == [True]


def test_a_portal_is_told_whether_phones_can_be_asked_to_pay(product: Product) -> None:
    """coverage.md: `mpesa/check` said configured for a gateway that can prompt nobody."""

    def check(slug: str = "mlima") -> dict[str, Any]:
        return stranger(product).get(f"/api/portal/mpesa/check?tenant={slug}").json  # type: ignore[no-any-return]

    assert check() == {"configured": True, "env": "sandbox"}
    amina = product.api("amina")
    by_hand = {"type": "MPESA_NO_API", "name": "Till", "subType": "BUYGOODS", "shortcode": "500100", "forHotspot": True}
    made = amina.post("/api/payment-gateways", by_hand | {"isDefault": True})
    assert made.status_code == 201 and check() == {"configured": False, "env": "sandbox"}
    valid = stranger(product).get("/api/portal/mpesa/validate?tenant=mlima").json
    assert valid == {"valid": True, "errors": []}, "it is complete for what it is"
    for one in amina.get("/api/payment-gateways").json["items"]:
        amina.delete(f"/api/payment-gateways/{one['id']}")
    assert check() == {"configured": False, "env": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "n" * 61), ("displayName", "n" * 61), ("initiatorName", "n" * 61), ("accountNumber", "1" * 21),
        ("accountNumber", "no digits"), ("accountNumber", "12;34"), ("accountNumber", "-12"),
        ("baseUrl", "https://a.example/" + "x" * 200),
    ],
)  # fmt: skip
def test_a_gateways_overlong_or_malformed_field_is_named(product: Product, field: str, value: str) -> None:
    """coverage.md G7: named to whoever wrote it, before a database refuses or cuts it."""
    given = {
        "type": "MPESA_API", "subType": "BANK", "name": "n", "shortcode": "600999", "storeNumber": "600111",
        "accountNumber": "0102 03-A4", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
    }  # fmt: skip
    amina = product.api("amina")
    said = refused(amina.post("/api/payment-gateways", given | {field: value}), 422, "invalid_fields")
    assert set(said["fields"]) == {field}
    uid = amina.post("/api/payment-gateways", given).json["id"]
    assert set(refused(amina.put(f"/api/payment-gateways/{uid}", {field: value}), 422, "invalid_fields")["fields"]) == {
        field
    }
