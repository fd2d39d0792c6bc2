"""Nonsense of every kind at every door of the API: refused with a reason, never a mistake of ours."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.users import credentials
from tests.support.api_client import Api
from tests.support.daraja import new_phone
from tests.support.product import Product

pytestmark = pytest.mark.usefixtures("unlimited")
NASTY: list[Any] = [
    None, True, -1.5, 10**30, "a\x00b", "9" * 3_999, ["a"], {"a": {"b": [1]}}, "\ud800", "http://[",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
]  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "POST /api/auth/token": {"email": "amina@mlima.test", "password": "no such word", "tenant": "mlima"},
    "POST /api/payment-gateways": {
        "name": "n", "displayName": "d", "type": "MPESA_API", "subType": "PAYBILL", "shortcode": "600999",
        "storeNumber": "600998", "accountNumber": "1", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "initiatorName": "i", "initiatorPassword": "", "certificate": "", "securityCredential": "c",
        "b2cShortcode": "600997", "env": "sandbox", "baseUrl": "http://127.0.0.1:9", "isDefault": False,
        "forClinic": False, "forHotspot": False, "forPppoe": False,
    },
    "POST /api/packages": {
        "name": "p", "price": 20, "duration": 3600, "rate": "1M/1M", "speed": "", "dataCap": 1, "devices": 1,
        "kind": "data", "forPppoe": False, "validity": 3600, "dailyCap": 1, "atCap": "throttle",
        "throttledRate": "256k", "sites": [], "group": "g", "hidden": False, "trial": False, "addon": False,
    },
    "POST /api/vouchers": {"packageId": "@package", "count": 1, "note": "n"},
    "POST /api/portal/mpesa/initiate": {
        "tenant": "mlima", "packageId": "@package", "phone": "@phone", "macAddress": "AA:BB:CC:DD:EE:FF",
        "nasIp": "10.0.0.1", "idempotencyKey": "@key",
    },
    "POST /api/portal/mpesa/verify-sms": {
        "tenant": "mlima", "packageId": "@package", "smsText": "SKL1ABCD23 Confirmed. Ksh50.00 sent to MLIMA",
        "phone": "0712345678", "macAddress": "AA:BB:CC:DD:EE:FF",
    },
    "POST /api/mpesa/initiate": {
        "orderId": "O-1", "amount": 5, "phoneNumber": "@phone", "description": "d", "metadata": {"a": 1},
    },
    "POST /api/mpesa/<checkout_request_id>/refund": {"amount": 1, "method": "b2c", "reason": "r"},
    "POST /api/mpesa/test-connection": {"gatewayId": "nobody"},
    "POST /api/patients": {"name": "A", "phone": "0712345678", "email": "a@b.test"},
    "POST /api/appointments": {
        "patientId": "@patient", "clinicianId": "@clinician", "kind": "virtual",
        "startsAt": "2030-01-01T09:00:00+03:00",
        "durationMinutes": 30, "price": 100,
    },
    "POST /api/appointments/<uid>/decline": {"reason": "r"},
    "POST /api/appointments/<uid>/cancel": {"reason": "r"},
    "POST /api/invoices": {
        "patientId": "@patient", "payer": {"name": "A", "phone": "0712345678"}, "appointmentId": "",
        "lines": [{"kind": "other", "description": "d", "amount": 5}],
    },
}  # fmt: skip
BODIES["PUT /api/payment-gateways/<uid>"] = BODIES["POST /api/payment-gateways"]
QUERIES = ("tenant", "cursor", "receipt", "q", "phone", "from", "to", "state", "paymentId", "checkoutRequestId", "lang")


def doors(product: Product) -> list[tuple[str, str]]:
    """Every method and path under /api."""
    return sorted(
        (method, rule.rule)
        for rule in product.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/")
    )


def filled(product: Product, value: Any) -> Any:
    """A body's placeholders replaced by things of the product."""
    if isinstance(value, dict):
        return {key: filled(product, inner) for key, inner in value.items()}
    if value == "@phone":
        return new_phone()
    if value == "@package":
        return product.package()
    if value == "@key":
        return new_phone()
    if value in ("@patient", "@clinician"):
        return product.api("amina").get(f"/api/{value[1:]}s").json["items"][0]["id"]
    return value


def send(api: Api, method: str, path: str, body: Any, query: dict[str, Any] | None = None) -> Any:
    """One request with any JSON, also what no well-behaved client writes."""
    path = re.sub("<[^>]+>", "nobody", path)
    data = None if method in ("GET", "DELETE") else json.dumps(body)
    return api.client.open(
        path, method=method, headers=api.headers, data=data, content_type="application/json",
        query_string=query or {}, buffered=True,
    )  # fmt: skip


def check(answer: Any, what: str) -> None:
    """Not our mistake, and said in JSON."""
    assert answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:300]}"
    if answer.status_code >= 400:
        assert set(answer.json) <= {"error", "message", "fields", "requestId"} and answer.json["message"], what


@pytest.fixture(autouse=True)
def _quick_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of nobody is hashed at import, with production's strength."""
    monkeypatch.setattr(credentials, "_NOBODY", credentials._hasher.hash("nobody"))


def test_no_field_of_any_door_takes_nonsense_for_our_mistake(open_product: Product) -> None:
    api = open_product.api("amina")
    wrong = []
    for method, path in doors(open_product):
        body = filled(open_product, BODIES.get(f"{method} {path}", {}))
        for name in body:
            for value in NASTY:
                fresh = {"phone": new_phone()} if "initiate" in path else {}
                answer = send(api, method, path, body | fresh | {name: value})
                if answer.status_code >= 500:
                    wrong.append(f"{method} {path} {name}={str(value)[:40]!r}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


def test_no_filter_of_any_list_takes_nonsense_for_our_mistake(open_product: Product) -> None:
    api = open_product.api("amina")
    values = ("\ud800".encode("utf-8", "surrogatepass"), "a\x00b", "9" * 60, *NASTY[-3:])
    wrong = []
    for path in sorted({path for method, path in doors(open_product) if method == "GET" and "<" not in path}):
        for name in QUERIES:
            for value in values:
                answer = send(api, "GET", path, None, {name: value})
                if answer.status_code >= 500:
                    wrong.append(f"{path} {name}={value!r}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_whatever_json_comes_to_whatever_door_is_answered_with_a_reason(open_product: Product, data: Any) -> None:
    method, path = data.draw(st.sampled_from(doors(open_product)))
    api = open_product.api(data.draw(st.sampled_from(["amina", "brian", "njeri", "otieno"])))
    body = data.draw(json_values)
    if example := BODIES.get(f"{method} {path}"):
        changes = data.draw(st.dictionaries(st.sampled_from(sorted(example)), json_values, max_size=4))
        body = filled(open_product, example) | changes
    place = data.draw(
        st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=30)
    )
    answer = send(api, method, re.sub("<[^>]+>", quote(place), path), body)
    check(answer, f"{method} {path} {body!r}")
