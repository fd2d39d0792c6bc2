"""Orders and bodies that no sane client sends: refused by name, and the stage stands as before."""

import json

import pytest

from tests.support.simulator import PUSH, opened

PHONE = "254712345601"


@pytest.fixture
def daraja(tmp_path):
    with opened(tmp_path) as running:
        yield running


def orders():
    return [
        {"clock": {"moveSeconds": 1e12}}, {"clock": {"moveSeconds": -1e12}}, {"clock": {"moveSeconds": float("nan")}},
        {"clock": {"moveSeconds": float("inf")}}, {"promptSeconds": float("nan")},
        {"clock": {"moveSeconds": 3600}, "faults": {"nothing": 1}},
        {"faults": {"slowAnswer": -5}}, {"faults": {"noCallback": float("inf")}},
        {"faults": {"noCallback": {"times": float("inf")}}}, {"faults": {"lateCallback": float("nan")}},
        {"phones": {PHONE: {"answer": "pay", "afterSeconds": "soon"}}},
        {"phones": {PHONE: {"answer": "pay", "afterSeconds": float("inf")}}},
    ]  # fmt: skip


@pytest.mark.parametrize("order", orders(), ids=json.dumps)
def test_an_order_that_cannot_be_followed_is_refused_and_changes_nothing(daraja, order):
    before = daraja.client.get("/control").json
    answer = daraja.client.post("/control", data=json.dumps(order), content_type="application/json")
    assert answer.status_code == 422 and answer.json["message"], answer.json
    after = daraja.client.get("/control").json
    assert after["clock"]["movedSeconds"] == 0 and after["faults"] == before["faults"] == []
    assert after["promptSeconds"] == 180
    assert daraja.push(PHONE).status_code == 200


def test_a_duplicate_of_any_number_stays_a_few_copies(daraja):
    daraja.control(faults={"duplicateCallback": 1e9})
    daraja.push(PHONE)
    daraja.hear(2, path="/hooks/abc/stk/def")


def test_bodies_that_no_client_sends_are_refused_in_darajas_form(daraja):
    pull = {"ShortCode": "174379", "StartDate": "2026-11-20 08:00:00", "EndDate": "2026-11-21 08:00:00"}
    qr = {"MerchantName": "A", "RefNo": "b", "Amount": 1, "TrxCode": "BG", "CPI": "12345", "Size": "300"}
    bodies = [
        ("/pulltransactions/v1/query", pull | {"OffSetValue": "²"}), ("/mpesa/qrcode/v1/generate", qr | {"CPI": "²"}),
        ("/pulltransactions/v1/query", pull | {"OffSetValue": "9" * 30}),
        ("/mpesa/qrcode/v1/generate", qr | {"Size": "²"}), (PUSH, daraja.fields(AccountReference="\ud800")),
    ]  # fmt: skip
    for path, body in bodies:
        answer = daraja.post(path, body)
        assert answer.status_code == 400 and answer.json["errorCode"].startswith("400.002."), (path, answer.json)
    large = b'{"a":"' + b"x" * 300_000 + b'"}'
    answer = daraja.client.post(PUSH, data=large, content_type="application/json", headers=daraja.headers)
    assert answer.status_code == 413 and set(answer.json) == {"requestId", "errorCode", "errorMessage"}


@pytest.mark.parametrize("named", ["", "?shortcode=", "?shortcode=999"])
def test_a_statement_is_of_an_organisation_that_was_named(daraja, named):
    assert daraja.client.get(f"/control/statement{named}").status_code == 404
