"""The handset, the pages, faults, control, and what a restart keeps."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from portal.simulator import OrganisationSpec, from_environment
from portal.simulator.engine import sms_text
from tests.support.simulator import PUSH, opened, password

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def daraja(tmp_path):
    with opened(tmp_path) as running:
        yield running


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_programs_get_json_of_any_phone_in_any_form(daraja, accept):
    headers = {"Accept": accept} if accept else {}
    for written in ("0799 000 111", "+254799000111", "254799000111", "799000111"):
        answer = daraja.client.get(f"/handset/{written}", headers=headers)
        assert answer.json == {"prompts": [], "messages": []}
    assert daraja.client.get("/handset/12").status_code == 422


def test_browsers_get_a_drawn_phone(daraja):
    daraja.push()
    page = daraja.client.get("/handset/0712345600", headers=BROWSER).text
    assert "KES 50" in page
    assert "DARAJA SIMULATOR" in page
    assert 'name="pin"' in page
    assert "<script>" not in page
    assert " style=" not in page


def test_the_front_page_lists_phones_prompts_and_endings(daraja):
    daraja.push()
    page = daraja.client.get("/", headers=BROWSER).text
    assert "0712 345 600" in page
    assert "waiting for an answer" in page
    assert "pays after 150 s" in page
    parts = daraja.client.get("/live").json
    assert set(parts) == {"phones", "log"}
    assert set(daraja.client.get("/handset/0712345600/live").json) == {"status", "screen", "inbox", "log"}


def test_forms_lead_back_to_the_phone(daraja):
    daraja.push()
    wrong = daraja.client.post("/handset/0712345600/pin", data={"pin": "12"})
    right = daraja.client.post("/handset/0712345600/pin", data={"pin": "1234"})
    paid = daraja.client.post("/handset/0712345600/pay", data={"shortcode": "174379", "account": "A1", "amount": "20"})
    for answer in (wrong, right, paid):
        assert answer.status_code == 303
        assert answer.location.startswith("/handset/254712345600") or answer.location.startswith("/handset/0712345600")
    assert len(daraja.handset()["messages"]) == 2


def test_a_pin_is_four_digits_and_9999_is_wrong(daraja):
    daraja.push()
    answer = daraja.pin(pin="12a4")
    assert answer.status_code == 422
    assert "four digits" in answer.json["message"]
    assert daraja.pin(pin="9999").json["resultCode"] == "2001"
    assert daraja.pin().status_code == 409


def test_messages_are_newest_first(daraja):
    first = daraja.pay(amount=10).json["message"]
    second = daraja.pay(amount=11).json["message"]
    assert [message["text"] for message in daraja.handset()["messages"]] == [second, first]


def test_two_pushes_at_once_ring_one_phone_once(daraja):
    answers = []

    def push():
        answers.append(daraja.app.test_client().post(PUSH, json=daraja.fields(), headers=daraja.headers).status_code)

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [500] * 7


def test_an_instruction_overrides_the_last_two_digits(daraja):
    daraja.control(phones={"0712345601": "cancel"})
    daraja.push("254712345601")
    assert daraja.hear(1)[0]["Body"]["stkCallback"]["ResultCode"] == 1032
    daraja.control(phones={"0712345601": {"answer": "pay", "afterSeconds": 3, "callback": "twice"}})
    daraja.push("254712345601")
    assert len(daraja.hear(3)) == 3
    answer = daraja.client.post("/control", json={"phones": {"0712345601": "dance"}})
    assert (answer.status_code, answer.json["error"]) == (422, "unknown_behaviour")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("http500", 500, "500.003.1001"),
        ("http429", 429, "500.003.02"),
        ("spikeArrest", 500, "500.003.02"),
        ("tokenExpired", 404, "404.001.03"),
    ],
)
def test_a_fault_strikes_as_often_as_ordered_and_rings_nothing(daraja, fault, status, code):
    daraja.control(faults={fault: 1})
    daraja.token()
    answer = daraja.push()
    assert (answer.status_code, answer.json["errorCode"]) == (status, code)
    assert daraja.handset()["prompts"] == []
    assert daraja.push().status_code == 200


@pytest.mark.parametrize(("fault", "status"), [("htmlAnswer", 503), ("emptyAnswer", 200)])
def test_a_lost_answer_rings_all_the_same(daraja, fault, status):
    daraja.control(faults={fault: {"times": 1, "shortcode": "174379", "endpoint": "stkpush"}})
    answer = daraja.push()
    assert answer.status_code == status
    assert answer.get_json(silent=True) is None
    assert len(daraja.handset()["prompts"]) == 1


def test_faults_belong_to_one_shortcode_if_it_is_named(daraja):
    daraja.control(faults={"600999": {"http500": True}})
    assert daraja.push().status_code == 200


def test_callbacks_can_be_lost_late_doubled_and_overtaken(daraja):
    daraja.control(faults={"noCallback": 1})
    checkout = daraja.push("254712345650").json["CheckoutRequestID"]
    daraja.pin("254712345650")
    daraja.control(faults={"duplicateCallback": {"copies": 3, "times": 1}})
    daraja.push("254712345651", Amount=20)
    daraja.pin("254712345651")
    heard = daraja.hear(3)
    assert checkout not in str(heard)
    daraja.control(faults={"lateCallback": {"seconds": 300, "times": 1}})
    daraja.push("254712345652", Amount=30)
    daraja.pin("254712345652")
    daraja.control(faults={"outOfOrder": 2})
    for phone in ("254712345653", "254712345654"):
        daraja.push(phone)
        daraja.pin(phone)
    order = [body["Body"]["stkCallback"]["CheckoutRequestID"][-2:] for body in daraja.hear(5)[3:]]
    assert order == ["54", "53"]
    daraja.control(clock={"moveSeconds": 300})
    assert daraja.hear(6)[5]["Body"]["stkCallback"]["CheckoutRequestID"].endswith("52")


def test_a_callback_can_come_before_any_answer_and_state_any_amount(daraja):
    daraja.control(faults={"callbackBeforeAnswer": 1, "callbackAmount": {"amount": 7, "times": 1}})
    daraja.push()
    [(_, body)] = daraja.listener.heard
    assert body["Body"]["stkCallback"]["CallbackMetadata"]["Item"][0]["Value"] == 7.0


def test_an_unknown_fault_is_named(daraja):
    answer = daraja.client.post("/control", json={"faults": {"earthquake": 1}})
    assert answer.status_code == 422
    assert "earthquake" in answer.json["message"]


def test_an_organisation_is_opened_with_keys_and_kept_when_named_again(daraja):
    answer = daraja.client.post(
        "/control/organisations", json={"name": "MAWINGU NET", "shortcode": "600123", "kind": "PAYBILL"}
    )
    assert answer.status_code == 201
    made = answer.json
    assert made["consumerKey"] and made["passkey"] and made["initiatorPassword"]
    again = daraja.client.post(
        "/control/organisations", json={"name": "MAWINGU", "shortcode": "600123", "passkey": "abc"}
    ).json
    assert (again["consumerKey"], again["name"], again["passkey"]) == (made["consumerKey"], "MAWINGU", "abc")
    daraja.headers = {"Authorization": f"Bearer {daraja.token(made['consumerKey'], made['consumerSecret'])}"}
    signed = {"BusinessShortCode": "600123", "PartyB": "600123", "Password": password("600123", "abc")}
    assert daraja.push(**signed).status_code == 200
    bad = daraja.client.post("/control/organisations", json={"name": "X", "shortcode": "1", "kind": "SHOP"})
    assert bad.status_code == 422
    assert set(bad.json["fields"]) == {"shortcode", "kind"}


def test_callbacks_made_by_hand(daraja):
    url = f"{daraja.listener.url}/hooks/abc/stk/def"
    checkout = daraja.push().json["CheckoutRequestID"]
    sent = daraja.client.post("/control/callbacks", json={"kind": "stk", "checkoutRequestID": checkout}).json
    assert sent["status"] == 200
    heard = daraja.listener.at("/hooks")[0]["Body"]["stkCallback"]
    assert (heard["CheckoutRequestID"], heard["ResultCode"]) == (checkout, 0)
    daraja.client.post("/control/callbacks", json={"url": url, "kind": "c2b", "account": "A1", "amount": 5})
    assert daraja.listener.at("/hooks")[1]["BillRefNumber"] == "A1"
    assert daraja.client.post("/control/callbacks", json={"kind": "c2b"}).status_code == 422


def test_the_log_hides_tokens_and_secrets(daraja):
    token = "0123456789abcdef0123456789abcdef"
    daraja.push("254712345601", CallBackURL=f"{daraja.listener.url}/hooks/{token}/stk/{token}")
    daraja.hear(1)
    for _ in range(100):
        text = daraja.client.get("/control/log").text
        if "STK callback" in text:
            break
    assert token not in text
    assert "cdef" in text
    assert password() not in text
    assert daraja.headers["Authorization"].split()[1] not in text


def test_a_restart_keeps_money_prompts_messages_and_what_is_due(tmp_path):
    with opened(tmp_path, OrganisationSpec("MAWINGU", "600123", consumer_key="k", consumer_secret="s")) as daraja:
        daraja.control(clock={"moveSeconds": 30})
        receipt = daraja.pay().json["receipt"]
        daraja.push("254712345699")
        daraja.control(faults={"lateCallback": {"seconds": 1000, "times": 1}})
        daraja.push("254712345698")
        daraja.pin("254712345698")
        assert daraja.control()["callbacksDue"] == 1
        headers = daraja.headers
    with opened(tmp_path) as again:
        again.headers = headers
        state = again.control()
        assert state["clock"]["movedSeconds"] >= 30
        assert state["callbacksDue"] == 1
        assert [row["shortcode"] for row in state["organisations"]].count("600123") == 1
        assert len(again.handset("254712345699")["prompts"]) == 1
        assert receipt in again.handset()["messages"][0]["text"]
        assert again.push("254712345697").status_code == 200


def test_reset_brings_the_stage_back(daraja):
    daraja.control(
        faults={"http500": True},
        phones={"0712345600": "cancel"},
        clock={"moveSeconds": 500},
        balances={"0712345600": 1},
    )
    state = daraja.control(reset=True)
    assert state["faults"] == []
    assert state["clock"]["movedSeconds"] == 0
    assert state["phones"]["254712345600"]["balance"] == 100000
    assert daraja.push().status_code == 200


def test_it_is_healthy_and_opens_from_the_environment(tmp_path, monkeypatch, daraja):
    assert daraja.client.get("/healthz").json == {"status": "ok"}
    monkeypatch.setenv("SIMULATOR_DATA", str(tmp_path / "other"))
    monkeypatch.setenv("SIMULATOR_ORGANISATIONS", '[{"name": "MAWINGU NET", "shortcode": "600123"}]')
    app = from_environment()
    try:
        assert '"600123"' in app.test_client().get("/control/organisations").text
        assert app.test_client().get("/certificate").text.startswith("-----BEGIN CERTIFICATE-----")
    finally:
        app.extensions["simulator"].close()


def test_messages_are_worded_and_punctuated_as_m_pesas():
    at = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
    common: dict[str, Any] = {
        "amount_cents": 285_000,
        "at": at,
        "balance_cents": 9_715_000,
        "left_cents": 49_715_000,
    }
    assert sms_text.paid_paybill("UKLABCDEFG", business="MAWINGU NET", account="ABC 1", **common) == (
        "UKLABCDEFG Confirmed. Ksh2,850.00 sent to MAWINGU NET for account ABC 1 on"
        " 21/11/26 at 9:30 AM New M-PESA"
        " balance is Ksh97,150.00. Transaction cost, Ksh0.00.Amount you can transact"
        " within the day is 497,150.00."
        " Save frequent paybills for quick payment on M-PESA app https://bit.ly/mpesalnk"
    )
    assert sms_text.paid_till("UKLABCDEFG", business="UPENDO PHARMACY", **common) == (
        "UKLABCDEFG Confirmed. Ksh2,850.00 paid to UPENDO PHARMACY. on 21/11/26 at 9:30"
        " AM.New M-PESA balance is"
        " Ksh97,150.00. Transaction cost, Ksh0.00. Amount you can transact within the day is 497,150.00."
        " Save frequent Tills for quick payment on M-PESA app https://bit.ly/mpesalnk"
    )
    assert sms_text.reversed_payment("R", original="S", amount_cents=100, at=at, balance_cents=177_812) == (
        "R confirmed. Reversal of transaction S has been successfully reversed  on"
        " 21/11/26  at 9:30 AM and Ksh1.00 is"
        " credited to your M-PESA account. New M-PESA account balance is Ksh1,778.12."
    )
    assert sms_text.received("R", amount_cents=1_595_000, business="LOOP B2C", at=at, balance_cents=1_678_529) == (
        "Congratulations! R confirmed.You have received Ksh15,950.00 from LOOP B2C. on"
        " 21/11/26 at 9:30 AM.New M-PESA"
        " balance is Ksh16,785.29. Separate personal and business funds through Pochi la Biashara on *334#."
    )
    assert sms_text.no_funds(amount_cents=5000, business="JANE DOE", balance_cents=2050) == (
        "Failed. You do not have enough money in your M-PESA account to pay Ksh50.00 to"
        " JANE DOE. Your M-PESA balance"
        " is Ksh20.50.  Dial *334# to register for the M-PESA overdraw Services Fuliza."
    )


def test_what_is_no_number_is_refused_by_name_and_the_clock_goes_on(tmp_path):
    with opened(tmp_path) as daraja:
        wrong = ({"clock": {"moveSeconds": 1e12}}, {"clock": {"moveSeconds": "soon"}}, {"faults": {"slowAnswer": -5}})
        for number, order in enumerate(wrong):
            assert daraja.client.post("/control", json=order).status_code == 422
            assert daraja.push(f"25471234{number}622").status_code == 200
        daraja.control(reset=True)
        daraja.headers = {"Authorization": f"Bearer {daraja.token()}"}
        assert daraja.push("254712345633", AccountReference="\ud800").status_code == 400
