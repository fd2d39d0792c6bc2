"""Bad input: each wrong thing is refused by name, with what would be right, and nothing is opened, lost or doubled."""

import base64
import json
import runpy
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments.models import Payment, Push
from portal.users import credentials
from portal.users.models import User
from portal.users.tokens import ALGORITHM
from tests.support.clock import later
from tests.support.daraja import new_phone
from tests.support.product import Product

pytestmark = pytest.mark.usefixtures("unlimited")
GOOD_PHONES = (
    "0712345678", "0112345678", "712345678", "254712345678", "+254712345678", "0712 345 678", "+254 712-345-678",
    "(0712) 345678", " 0712345678 ", "0712.345.678", "\u202a+254712345678\u202c",
)  # fmt: skip
BAD_PHONES: tuple[Any, ...] = (
    "", " ", None, "0", "07123456", "071234567890", "0812345678", "0212345678", "+255712345678", "+44 7700 900123",
    "25471234567", "00254712345678", "254 0712345678", "07123A5678", "٠٧١٢٣٤٥٦٧٨", "0712345678,0712345679",
    "tel:0712345678",
    "0712345678;", True, [], {}, ["0712345678"], 1.5, "nobody",
)  # fmt: skip
BAD_AMOUNTS: tuple[Any, ...] = (
    0, -1, 1.5, "1.50", 250_001, 10**30, 1e300, "text", "", None, True, False, [], [5], {}, {"KES": 5}, "1e999999",
    "0x10",
    "-0", 0.001, "١٢٫٥",
)  # fmt: skip


def stranger(product: Product) -> Any:
    """A stranger's browser."""
    return product.client()


def counted(product: Product) -> tuple[int, int]:
    """(payments, pushes) there are."""
    with product.inside():
        return db.session.query(Payment).count(), db.session.query(Push).count()


def is_refused(answer: Any, *statuses: int) -> Any:
    """The body of a refusal: a short name and a sentence, in JSON."""
    assert answer.status_code in (statuses or (422,)), f"{answer.status_code} {answer.text[:200]}"
    assert answer.mimetype == "application/json" and answer.json["error"] and len(answer.json["message"]) > 8
    return answer.json


@pytest.mark.property(7)
@pytest.mark.property(8)
def test_every_kenyan_way_to_write_a_phone_is_one_number(open_product: Product) -> None:
    tokens, browser = set(), stranger(open_product)  # known again by its cookie
    for text in GOOD_PHONES:
        ask = {"tenant": "mlima", "packageId": open_product.package(), "phone": text}
        answer = browser.post("/api/portal/mpesa/initiate", json=ask)
        if answer.status_code == 201 or "112345678" not in text:
            tokens.add(answer.json.get("paymentId", answer.json.get("error")))
    assert len(tokens) == 2, "0712345678 and 0112345678, each asked once"


@pytest.mark.property(9)
@pytest.mark.parametrize("phone", BAD_PHONES, ids=repr)
def test_a_phone_that_is_not_kenyan_is_told_the_right_form(open_product: Product, phone: Any) -> None:
    before = counted(open_product)
    ask = {"tenant": "mlima", "packageId": open_product.package(), "phone": phone}
    said = is_refused(stranger(open_product).post("/api/portal/mpesa/initiate", json=ask))
    assert said["error"] == "invalid_phone" and "0712 345 678" in said["message"] and "phone" in said["fields"]
    order = {"orderId": "A", "amount": 5, "phoneNumber": phone}
    said = is_refused(open_product.api("brian").post("/api/mpesa/initiate", order))
    assert "0712 345 678" in said["message"]
    said = is_refused(open_product.api("brian").post("/api/patients", {"name": "A", "phone": phone}))
    assert "0712 345 678" in said["fields"]["phone"]
    assert counted(open_product) == before


digits = st.text("0123456789", min_size=8, max_size=8)


@pytest.mark.property(7)
@given(rest=digits, first=st.sampled_from("71"), prefix=st.sampled_from(["0", "254", "+254", ""]), data=st.data())
def test_whatever_separators_stand_in_a_kenyan_number_it_is_read(rest: str, first: str, prefix: str, data: Any) -> None:
    number = prefix + first + rest
    for _dash in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(number)))
        number = number[:at] + data.draw(st.sampled_from(" -().\u00a0\t")) + number[at:]
    assert normalise_msisdn(number) == "254" + first + rest


@pytest.mark.property(7)
@pytest.mark.property(9)
@given(st.one_of(st.text(), st.integers(), st.from_regex(r"\+?[0-9]{0,14}", fullmatch=True)))
def test_what_is_accepted_has_twelve_digits_and_the_rest_is_told_the_form(text: object) -> None:
    try:
        found = normalise_msisdn(text)
    except Refused as error:
        assert "0712 345 678" in str(error) and "phone" in error.fields
        return
    assert found.isascii() and found.isdecimal() and len(found) == 12 and found[:4] in ("2547", "2541")
    assert "".join(letter for letter in str(text) if letter.isdigit()).endswith(found[3:])


@pytest.mark.property(13)
@pytest.mark.parametrize("amount", BAD_AMOUNTS, ids=repr)
def test_an_amount_that_mpesa_cannot_ask_for_is_refused_everywhere(open_product: Product, amount: Any) -> None:
    before = counted(open_product)
    api = open_product.api("amina")
    order = {"orderId": "B", "amount": amount, "phoneNumber": new_phone()}
    said = is_refused(api.post("/api/mpesa/initiate", order))
    assert "amount" in said["message"].lower() or "KES" in said["message"]
    line = {"payer": {"name": "A"}, "lines": [{"kind": "other", "description": "d", "amount": amount}]}
    if amount != 250_001:  # an invoice may be paid in parts by hand
        assert is_refused(api.post("/api/invoices", line))
    said = is_refused(api.post("/api/packages", {"name": "p", "price": amount, "duration": 3_600}))
    assert "price" in said["fields"]
    assert counted(open_product) == before


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_no_json(open_product: Product, value: str) -> None:
    api = open_product.api("brian")
    raw = '{"orderId": "C", "amount": 5, "phoneNumber": "0712345678", "metadata": {"a": VALUE}}'.replace("VALUE", value)
    for body in (raw, raw.replace("5", value, 1), '{"amount": 1e400}'):
        answer = api.client.post("/api/mpesa/initiate", headers=api.headers, data=body, content_type="application/json")
        is_refused(answer)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("", "application/json"), ("{", "application/json"), ("[]", "application/json"), ("null", "application/json"),
        ('"text"', "application/json"), ("1", "application/json"), ("[" * 100_000, "application/json"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "application/json"), ("{}", "text/plain"), ("a=1",
        "application/x-www-form-urlencoded"),
        ("\xff\xfe", "application/json"), ('{"a": ' + "9" * 6_000 + "}", "application/json"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/mpesa/initiate", "/api/portal/mpesa/initiate", "/api/payment-gateways"])
def test_a_body_that_is_no_json_object_is_refused(open_product: Product, raw: str, kind: str, path: str) -> None:
    api = open_product.api("amina")
    data = raw.encode("latin-1")
    is_refused(api.client.post(path, headers=api.headers, data=data, content_type=kind))


def test_more_than_a_megabyte_is_too_much(open_product: Product) -> None:
    api = open_product.api("amina")
    body = json.dumps({"name": "x" * (1024 * 1024)})
    for path in ("/api/packages", "/api/portal/mpesa/initiate", "/api/auth/token"):
        answer = api.client.post(path, headers=api.headers, data=body, content_type="application/json")
        assert is_refused(answer, 413)["error"] == "too_large"


def test_texts_that_no_database_keeps_are_refused_by_name(open_product: Product) -> None:
    api = open_product.api("amina")
    for value in ("a\x00b", "\ud800", "x" * 4_001):
        body = json.dumps({"name": value, "phone": "0712345678"})
        answer = api.client.post("/api/patients", headers=api.headers, data=body, content_type="application/json")
        assert "name" in is_refused(answer)["fields"]


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_an_unknown_path_is_said_in_json(open_product: Product, method: str) -> None:
    for path in (
        "/api/nothing",
        "/api/",
        "/api/mpesa",
        "/api/payment-gateways/1/2/3",
        "/api/%00",
        "/api/portal/../audit",
    ):
        is_refused(getattr(stranger(open_product), method)(path), 404, 405)
    assert is_refused(stranger(open_product).get("/api/nothing"), 404)["error"] == "not_found"


def test_a_method_that_a_door_does_not_take_is_said_in_json(open_product: Product) -> None:
    for method, path in (
        ("put", "/api/packages"),
        ("get", "/api/portal/mpesa/initiate"),
        ("delete", "/api/transactions"),
    ):
        answer = getattr(stranger(open_product), method)(path)
        assert is_refused(answer, 405)["error"] == "method_not_allowed" and answer.headers["Allow"]


def forged(claims: dict[str, Any], key: str = "k" * 40, algorithm: str = ALGORITHM) -> str:
    return jwt.encode(claims, key, algorithm)


def unsigned(claims: dict[str, Any], **header: Any) -> str:
    """A token of the algorithm `none`, or with a signature of rubbish."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"typ": "JWT", "alg": "none"} | header, claims)
    ]
    return ".".join([*parts, ""])


@pytest.mark.property(50)
def test_no_forged_expired_or_ended_token_opens_anything(open_product: Product) -> None:
    good = open_product.api("amina").headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(good, options={"verify_signature": False})
    wrong = [
        "", " ", "Bearer", "Bearer ", "bearer x", "Basic YTpi", "Token " + good, good, "Bearer " + good[:-4] + "AAAA",
        "Bearer a.b.c", "Bearer " + "a" * 8_000, "Bearer é.é.é", "Bearer null", "Bearer " + good + " x",
        "Bearer " + forged(claims), "Bearer " + forged(claims, "s" * 40), "Bearer " + unsigned(claims),
        "Bearer " + unsigned(claims, alg="None"), "Bearer " + unsigned(claims, alg="HS256"),
        "Bearer " + forged(claims, "s" * 64, "HS512"),
        "Bearer " + unsigned(claims, alg="none") + good.rsplit(".", 1)[1],
    ]  # fmt: skip
    for header in wrong:
        answer = stranger(open_product).get("/api/transactions", headers={"Authorization": header})
        assert is_refused(answer, 401)["error"] == "unauthorized", header
    assert open_product.api("amina").get("/api/transactions").status_code == 200


def test_a_token_ends_with_its_time_with_the_persons_sessions_and_with_the_membership(product: Product) -> None:
    api = product.api("brian")
    assert api.get("/api/clinicians").status_code == 200
    later(8 * 3_600 + 60)
    assert "expired" in is_refused(api.get("/api/clinicians"), 401)["message"]
    clock.reset()
    with product.app.app_context(), transaction():
        credentials.end_sessions(db.session.query(User).filter_by(email="brian@mlima.test").one())
    assert "ended" in is_refused(api.get("/api/clinicians"), 401)["message"]
    product.tokens.clear()
    fresh = product.api("brian")
    with product.app.app_context(), transaction():
        user = db.session.query(User).filter_by(email="brian@mlima.test").one()
        db.session.delete(user.memberships[0])
    is_refused(fresh.get("/api/clinicians"), 401)


def test_a_cookie_alone_opens_no_door_of_the_api(open_product: Product) -> None:
    browser = open_product.browser_of("amina")
    for path in ("/api/transactions", "/api/payment-gateways", "/api/audit"):
        is_refused(browser.get(path), 401)


def test_unknown_packages_and_tenants_are_not_told_apart_from_others(open_product: Product) -> None:
    ask = {"tenant": "mlima", "packageId": "nothing", "phone": new_phone()}
    assert (
        is_refused(stranger(open_product).post("/api/portal/mpesa/initiate", json=ask), 404)["error"]
        == "unknown_package"
    )
    chege = ask | {"packageId": open_product.package("1 day", "bahari")}
    assert (
        is_refused(stranger(open_product).post("/api/portal/mpesa/initiate", json=chege), 404)["error"]
        == "unknown_package"
    )
    said = is_refused(stranger(open_product).post("/api/portal/mpesa/initiate", json=ask | {"tenant": "mlimani"}), 404)
    assert said["error"] == "unknown_tenant"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"kind": "phone"}, {"kind"}), ({"startsAt": "tomorrow"}, {"startsAt"}),
        ({"startsAt": "2020-01-01T09:00:00Z"}, {"startsAt"}),
        ({"startsAt": None}, {"startsAt"}), ({"durationMinutes": 4}, {"durationMinutes"}),
        ({"durationMinutes": "30"}, {"durationMinutes"}),
        ({"durationMinutes": 1e9}, {"durationMinutes"}), ({"price": 0}, {"price"}), ({"kind": ["virtual"]}, {"kind"}),
        ({"kind": "x", "price": -1, "startsAt": 5}, ["kind", "price", "startsAt"]),
    ],
    ids=str,
)  # fmt: skip
def test_an_appointment_names_every_field_at_fault(open_product: Product, given: dict[str, Any], fields: Any) -> None:
    api = open_product.api("brian")
    right = {
        "patientId": api.get("/api/patients").json["items"][0]["id"],
        "clinicianId": api.get("/api/clinicians").json["items"][0]["id"],
        "kind": "virtual", "startsAt": "2035-01-01T09:00:00+03:00", "durationMinutes": 30, "price": 100,
    }  # fmt: skip
    assert set(is_refused(api.post("/api/appointments", right | given))["fields"]) == set(fields)
    for name in ("patientId", "clinicianId"):
        is_refused(api.post("/api/appointments", right | {name: "nobody"}), 404)


class HandClock:
    """A clock that only waiting moves, so that what is waited for is measured on any machine."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def test_a_purchase_answers_within_three_seconds_even_where_nobody_sends_it(
    open_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.web import start_push

    as_shipped = runpy.run_path(start_push.__file__)["WAIT_S"]  # these tests wait less
    hand = HandClock()
    monkeypatch.setattr(start_push, "WAIT_S", as_shipped)
    monkeypatch.setattr(start_push, "time", hand)
    ask = {"tenant": "mlima", "packageId": open_product.package(), "phone": new_phone()}
    answer = stranger(open_product).post("/api/portal/mpesa/initiate", json=ask)
    assert answer.json["status"] == "pending" and 2 < hand.at_s < 3


def test_what_is_too_long_or_no_text_is_refused_on_both_databases(either_product: Product) -> None:
    api = either_product.api("amina")
    uid = api.get("/api/payment-gateways").json["items"][0]["id"]
    for name in ("name", "accountNumber", "initiatorName"):
        answer = api.put(f"/api/payment-gateways/{uid}", {name: "1" * 500})
        assert answer.status_code == 200 or is_refused(answer)
    for path in (
        "/api/transactions?q=%00",
        "/api/transactions?receipt=a%00b",
        "/api/mpesa/query/%00",
        "/api/invoices/%00",
    ):
        assert api.get(path).status_code in (200, 404, 422), path
    assert stranger(either_product).get("/api/portal/packages?tenant=%00").status_code in (404, 422)
    assert stranger(either_product).get("/pay/%00").status_code in (404, 422)
    assert stranger(either_product).get("/hotspot/%00/").status_code in (404, 422)
    assert api.get(f"/api/payment-gateways/{uid}").status_code == 200, "the next request is served as ever"
