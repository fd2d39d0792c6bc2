"""The doors of M-PESA Express, as any client sees them."""

import base64

import pytest

from portal.kernel import clock
from portal.simulator.engine.behaviours import BEHAVIOURS
from portal.simulator.engine.organisations import OrganisationSpec
from tests.support.simulator import PUSH, QUERY, TIMESTAMP, opened, password


@pytest.fixture
def daraja(tmp_path):
    with opened(tmp_path) as running:
        yield running


def error(answer):
    return answer.status_code, answer.json["errorCode"], answer.json["errorMessage"]


def test_a_consumer_key_and_secret_buy_a_token_of_3599_seconds(daraja):
    basic = base64.b64encode(b"simulator-key:simulator-secret").decode()
    answer = daraja.client.get(
        "/oauth/v1/generate?grant_type=client_credentials", headers={"Authorization": f"Basic {basic}"}
    )
    assert answer.status_code == 200
    assert answer.json["expires_in"] == "3599"
    assert len(answer.json["access_token"]) == 28


def test_wrong_keys_are_answered_by_http_400_and_nothing(daraja):
    basic = base64.b64encode(b"simulator-key:wrong").decode()
    answer = daraja.client.get(
        "/oauth/v1/generate?grant_type=client_credentials", headers={"Authorization": f"Basic {basic}"}
    )
    assert (answer.status_code, answer.data) == (400, b"")


def test_a_missing_basic_header_and_a_wrong_grant_have_their_own_errors(daraja):
    basic = base64.b64encode(b"simulator-key:simulator-secret").decode()
    no_header = daraja.client.get("/oauth/v1/generate?grant_type=client_credentials")
    wrong_grant = daraja.client.get(
        "/oauth/v1/generate?grant_type=password", headers={"Authorization": f"Basic {basic}"}
    )
    assert error(no_header) == (400, "400.008.01", "Invalid Authentication passed")
    assert error(wrong_grant) == (400, "400.008.02", "Invalid grant type passed")


def test_a_new_token_ends_an_older_one_but_not_one_of_the_same_minute(daraja):
    daraja.token()
    assert daraja.push().status_code == 200
    daraja.control(clock={"moveSeconds": 61})
    daraja.token()
    assert error(daraja.push("254712345699")) == (404, "404.001.03", "Invalid Access Token")


def test_a_token_dies_after_3599_seconds(daraja):
    daraja.control(clock={"moveSeconds": 3598})
    assert daraja.push().status_code == 200
    daraja.control(clock={"moveSeconds": 2})
    assert error(daraja.push("254712345699"))[1] == "404.001.03"


def test_a_push_rings_the_phone_and_is_paid_with_a_pin(daraja):
    answer = daraja.push()
    assert answer.status_code == 200
    assert answer.json["ResponseCode"] == "0"
    assert answer.json["CheckoutRequestID"].startswith("ws_CO_")
    assert answer.json["CheckoutRequestID"].endswith("712345600")
    assert len(answer.json["CheckoutRequestID"]) == len("ws_CO_") + 17 + 9
    [prompt] = daraja.handset()["prompts"]
    assert (prompt["amount"], prompt["business"], prompt["account"]) == (50, "DARAJA SIMULATOR", "INV-42")

    paid = daraja.pin()
    assert (paid.status_code, paid.json["accepted"]) == (200, True)
    [body] = daraja.hear(1)
    callback = body["Body"]["stkCallback"]
    assert callback["ResultCode"] == 0
    assert callback["CheckoutRequestID"] == answer.json["CheckoutRequestID"]
    assert callback["MerchantRequestID"] == answer.json["MerchantRequestID"]
    items = {item["Name"]: item.get("Value") for item in callback["CallbackMetadata"]["Item"]}
    assert list(items) == ["Amount", "MpesaReceiptNumber", "Balance", "TransactionDate", "PhoneNumber"]
    assert "Value" not in callback["CallbackMetadata"]["Item"][2]
    assert (items["Amount"], items["PhoneNumber"]) == (50.0, 254712345600)
    assert len(items["MpesaReceiptNumber"]) == 10
    assert daraja.handset()["messages"][0]["text"].startswith(items["MpesaReceiptNumber"] + " Confirmed. Ksh50.00")


def test_a_cancelled_push_calls_back_without_metadata(daraja):
    daraja.push()
    assert daraja.client.post("/handset/0712345600/cancel").json["resultCode"] == "1032"
    [body] = daraja.hear(1)
    assert body["Body"]["stkCallback"]["ResultCode"] == 1032
    assert "CallbackMetadata" not in body["Body"]["stkCallback"]


def test_a_query_says_processed_pending_or_how_it_ended(daraja):
    checkout = daraja.push().json["CheckoutRequestID"]
    assert error(daraja.query(checkout)) == (500, "500.001.1001", "The transaction is being processed")
    daraja.pin()
    answer = daraja.query(checkout)
    assert (answer.status_code, answer.json["ResponseCode"], answer.json["ResultCode"]) == (200, "0", "0")
    assert set(answer.json) == {
        "ResponseCode",
        "ResponseDescription",
        "MerchantRequestID",
        "CheckoutRequestID",
        "ResultCode",
        "ResultDesc",
    }
    assert error(daraja.query("ws_CO_nothing"))[1:] == (
        "400.002.02",
        "Bad Request - Invalid CheckoutRequestID",
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"BusinessShortCode": "17"}, "BusinessShortCode"),
        ({"BusinessShortCode": None}, "BusinessShortCode"),
        ({"Timestamp": "2026"}, "Timestamp"),
        ({"Timestamp": "20261399093000"}, "Timestamp"),
        ({"TransactionType": "CustomerPayBill"}, "TransactionType"),
        ({"Amount": "0"}, "Amount"),
        ({"Amount": -1}, "Amount"),
        ({"Amount": 10.5}, "Amount"),
        ({"Amount": "10.50"}, "Amount"),
        ({"Amount": 250001}, "Amount"),
        ({"Amount": True}, "Amount"),
        ({"Amount": None}, "Amount"),
        ({"PartyB": "mawingu"}, "PartyB"),
        ({"PartyB": None}, "PartyB"),
        ({"PhoneNumber": "0712345600"}, "PhoneNumber"),
        ({"PhoneNumber": "+254712345600"}, "PhoneNumber"),
        ({"PhoneNumber": "254512345600"}, "PhoneNumber"),
        ({"PartyA": "254"}, "PartyA"),
        ({"CallBackURL": "not an address"}, "CallBackURL"),
        ({"CallBackURL": "http://pay.example.org/hook"}, "CallBackURL"),
        ({"CallBackURL": None}, "CallBackURL"),
        ({"AccountReference": "A" * 21}, "AccountReference"),
        ({"AccountReference": ""}, "AccountReference"),
        ({"TransactionDesc": None}, "Remarks"),
    ],
)
def test_a_bad_field_is_named(daraja, changes, field):
    answer = daraja.push(**changes)
    assert error(answer) == (400, "400.002.02", f"Bad Request - Invalid {field}")
    assert answer.json["requestId"]


def test_twelve_characters_and_numbers_are_taken(daraja):
    assert daraja.push(AccountReference="A" * 12, Amount=1, BusinessShortCode=174379, PartyB=174379).status_code == 200
    assert daraja.push(254712345699, PartyA=254712345699, AccountReference="A" * 15).status_code == 200


def test_a_wrong_password_and_an_unknown_shortcode_are_told_apart(daraja):
    assert error(daraja.push(Password=password(passkey="x" * 64))) == (
        500,
        "500.001.1001",
        "Wrong credentials",
    )
    assert error(daraja.push(Timestamp="20261121093001")) == (500, "500.001.1001", "Wrong credentials")
    unknown = daraja.push(BusinessShortCode="600000", Password=password("600000"))
    assert error(unknown) == (500, "500.001.1001", "Merchant does not exist")


def test_forms_broken_json_wrong_methods_and_paths_have_darajas_errors(daraja):
    form = daraja.client.post(PUSH, data=daraja.fields(), headers=daraja.headers)
    broken = daraja.client.post(PUSH, data="{", headers=daraja.headers | {"Content-Type": "application/json"})
    assert error(form) == (400, "400.002.02", "Bad Request - Invalid BusinessShortCode")
    assert error(broken)[:2] == (400, "400.002.05")
    assert error(daraja.client.get(PUSH))[:2] == (405, "405.001")
    assert error(daraja.client.post("/mpesa/stkpush/v9/processrequest"))[:2] == (404, "404.001.01")
    assert error(daraja.client.post(PUSH, json={}))[:2] == (404, "404.001.03")
    assert error(daraja.client.post(QUERY, json={}, headers={"Authorization": "Bearer x"}))[1] == "404.001.03"


def test_a_phone_with_an_open_prompt_is_locked(daraja):
    daraja.push()
    answer = daraja.push()
    assert answer.status_code == 500
    assert "Unable to lock subscriber" in answer.json["errorMessage"]


def test_the_same_amount_twice_in_two_minutes_is_rule_limited(daraja):
    daraja.push()
    daraja.pin()
    checkout = daraja.push().json["CheckoutRequestID"]
    assert daraja.hear(2)[1]["Body"]["stkCallback"]["ResultCode"] == 17
    assert daraja.query(checkout).json["ResultCode"] == "17"
    daraja.control(clock={"moveSeconds": 121})
    daraja.headers = {"Authorization": f"Bearer {daraja.token()}"}
    daraja.push()
    assert daraja.pin().json["accepted"]


def test_nobody_answers_and_the_prompt_expires(daraja):
    checkout = daraja.push("254712345603").json["CheckoutRequestID"]
    daraja.control(clock={"moveSeconds": 61})
    [body] = daraja.hear(1)
    assert body["Body"]["stkCallback"]["ResultCode"] == 1037
    assert daraja.query(checkout).json["ResultCode"] == "1037"
    assert daraja.handset("254712345603")["prompts"] == []


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("01", 0),
        ("02", 1032),
        ("04", 1),
        ("05", 2001),
        ("16", 4),
        ("17", 17),
        ("19", 26),
        ("20", 8006),
        ("26", "E3008"),
    ],
)
def test_a_phone_answers_by_its_last_two_digits(daraja, ending, code):
    daraja.push(f"2547123456{ending}")
    [body] = daraja.hear(1)
    assert body["Body"]["stkCallback"]["ResultCode"] == code


def test_safaricoms_test_number_pays(daraja):
    daraja.push("254708374149")
    assert daraja.hear(1)[0]["Body"]["stkCallback"]["ResultCode"] == 0


def test_every_ending_up_to_27_is_in_the_table():
    assert list(BEHAVIOURS) == [f"{ending:02d}" for ending in range(28)]


def test_callbacks_twice_never_and_before_the_answer(daraja):
    daraja.push("254712345607")
    first, second = daraja.hear(2)
    assert first == second
    checkout = daraja.push("254712345608").json["CheckoutRequestID"]
    daraja.control(clock={"moveSeconds": 5})
    answer = daraja.push("254712345609")
    assert daraja.listener.heard[-1][1]["Body"]["stkCallback"]["CheckoutRequestID"] == answer.json["CheckoutRequestID"]
    assert daraja.query(checkout).json["ResultCode"] == "0"
    assert len(daraja.listener.heard) == 3


def test_answers_that_mislead(daraja):
    html = daraja.push("254712345610")
    assert (html.status_code, html.mimetype) == (500, "text/html")
    assert error(daraja.push("254712345612"))[1] == "500.003.02"
    assert "Unable to lock" in error(daraja.push("254712345613"))[2]
    assert daraja.hear(1)[0]["Body"]["stkCallback"]["ResultCode"] == 0


def test_a_callback_can_state_another_amount_or_a_code_as_text(daraja):
    daraja.push("254712345614")
    items = daraja.hear(1)[0]["Body"]["stkCallback"]["CallbackMetadata"]["Item"]
    assert items[0]["Value"] == 49.0
    daraja.push("254712345625")
    assert daraja.hear(2)[1]["Body"]["stkCallback"]["ResultCode"] == "0"


def test_a_failure_can_turn_into_money(daraja):
    checkout = daraja.push("254712345618").json["CheckoutRequestID"]
    daraja.control(clock={"moveSeconds": 5})
    assert daraja.hear(1)[0]["Body"]["stkCallback"]["ResultCode"] == 1037
    daraja.control(clock={"moveSeconds": 15})
    assert daraja.hear(2)[1]["Body"]["stkCallback"]["ResultCode"] == 0
    assert daraja.query(checkout).json["ResultCode"] == "0"


def test_a_query_can_answer_4999_while_it_is_open(daraja):
    checkout = daraja.push("254712345627").json["CheckoutRequestID"]
    assert daraja.query(checkout).json["ResultCode"] == "4999"


def test_tills_sign_with_the_store_number_and_are_paid_at_the_till(tmp_path):
    till = OrganisationSpec(
        name="UPENDO PHARMACY",
        shortcode="5123456",
        store_number="7654321",
        kind="BUYGOODS",
        consumer_key="till-key",
        consumer_secret="till-secret",
        passkey="till-passkey",
    )
    with opened(tmp_path, till) as daraja:
        daraja.headers = {"Authorization": f"Bearer {daraja.token('till-key', 'till-secret')}"}
        signed = {"BusinessShortCode": "7654321", "Password": password("7654321", "till-passkey")}
        goods = signed | {"TransactionType": "CustomerBuyGoodsOnline", "PartyB": "5123456"}
        daraja.push("254712345600", **goods)
        daraja.pin()
        [body] = daraja.hear(1)
        assert body["Body"]["stkCallback"]["ResultCode"] == 0
        assert " paid to UPENDO PHARMACY. on " in daraja.handset()["messages"][0]["text"]
        assert "M.New M-PESA balance is Ksh99,950.00." in daraja.handset()["messages"][0]["text"]

        mixed_up = daraja.push("254712345699", **signed | {"PartyB": "5123456"})
        assert mixed_up.status_code == 200
        assert daraja.hear(2)[1]["Body"]["stkCallback"]["ResultCode"] == 2028
        with_till = {"BusinessShortCode": "5123456", "Password": password("5123456", "till-passkey")}
        assert error(daraja.push("254712345699", **goods | with_till))[2] == "Merchant does not exist"


def test_a_push_can_pay_a_bank_and_tells_no_c2b(daraja):
    daraja.register()
    daraja.push(PartyB="247247", AccountReference="0123456789")
    daraja.pin()
    daraja.hear(1, path="/hooks")
    assert "sent to Equity Paybill Account for account 0123456789" in daraja.handset()["messages"][0]["text"]
    assert daraja.push("254712345699", PartyB="880100").status_code == 200
    daraja.control(clock={"moveSeconds": 10})
    assert [path for path, _ in daraja.listener.heard if path == "/confirmation"] == []


def now_signed(**changes):
    """Signature of this minute, and an address that strict takes."""
    timestamp = clock.daraja_timestamp(clock.now())
    signed = {"Timestamp": timestamp, "Password": password(timestamp=timestamp)}
    return signed | {"CallBackURL": "https://pay.example.invalid/hook"} | changes


def test_strict_takes_only_public_https(tmp_path):
    with opened(tmp_path, strict=True) as daraja:
        local = f"{daraja.listener.url}/hook"
        assert error(daraja.push(**now_signed(CallBackURL=local)))[2] == "Bad Request - Invalid CallBackURL"
        assert daraja.push(**now_signed(CallBackURL="https://10.0.0.1/hook")).status_code == 400
        assert daraja.push(**now_signed()).status_code == 200


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"AccountReference": "INV-123456789"}, "AccountReference"),
        ({"TransactionDesc": "Payment of 123"}, "Remarks"),
        ({"Timestamp": "20200101000000", "Password": password(timestamp="20200101000000")}, "Timestamp"),
    ],
)
def test_strict_refuses_what_the_documents_refuse_and_the_default_takes_it(tmp_path, changes, named):
    """fidelity.md, simulator against the documents: 13 characters, 14 characters, a Timestamp of 2020."""
    with opened(tmp_path, strict=True) as daraja:
        assert error(daraja.push(**now_signed(**changes)))[2] == f"Bad Request - Invalid {named}"
        longest = now_signed(AccountReference="INV-12345678", TransactionDesc="Payment of 12")
        assert daraja.push("254712345601", **longest).status_code == 200
        daraja.control(strict=False)
        assert daraja.push(**now_signed(**changes)).status_code == 200, "any client works by default"


@pytest.mark.parametrize("strict", [True, False])
def test_the_words_of_c2b_registration_are_no_fault_in_a_callback_address(tmp_path, strict):
    """fidelity.md: Safaricom states them for C2B registration only."""
    with opened(tmp_path, strict=strict) as daraja:
        url = "https://pay.example.invalid/mpesa/query/sql/exe"
        assert daraja.push(**now_signed(CallBackURL=url)).status_code == 200
        assert daraja.register(ConfirmationURL=url, ValidationURL=url).status_code == 400


@pytest.mark.parametrize(("party", "code"), [("999888", "SFC_IC0003"), ("600000", 2028)])
def test_strict_lets_a_paybill_ask_for_itself_alone(tmp_path, party, code):
    """fidelity.md: CustomerPayBillOnline with another PartyB was paid; 2028 and SFC_IC0003 are documented."""
    other = OrganisationSpec("OTHER", "600000", "PAYBILL", consumer_key="o", consumer_secret="o", passkey="o")
    with opened(tmp_path, other) as daraja:
        url = f"{daraja.listener.url}/hooks"
        daraja.control(strict=True)
        # strict takes no loopback address: the listener's is put in the place of the one that it took
        assert daraja.push(**now_signed(PartyB=party)).status_code == 200
        daraja.app.extensions["simulator"].store.run("UPDATE pushes SET callback_url = ?", url)
        daraja.control(clock={"moveSeconds": 5})
        told = daraja.hear(1)[0]["Body"]["stkCallback"]
        assert told["ResultCode"] == code and "CallbackMetadata" not in told


def test_strict_registers_and_simulates_as_documented(tmp_path):
    """fidelity.md: a plain "Bad Request"; a till payment on a paybill was accepted."""
    with opened(tmp_path, strict=True) as daraja:
        url = "https://pay.example.invalid/hook"
        for wrong in (
            {"ShortCode": "1"},
            {"ResponseType": "x"},
            {"ConfirmationURL": "http://x"},
            {"ValidationURL": "sql"},
        ):
            told = error(daraja.register(**{"ConfirmationURL": url, "ValidationURL": url} | wrong))
            assert told[1:] == ("400.003.02", "Bad Request"), wrong
        assert daraja.register(ConfirmationURL=url, ValidationURL=url).status_code == 200
        by_hand = {"ShortCode": "174379", "Amount": 5, "Msisdn": "254712345601", "BillRefNumber": "A"}
        till = daraja.post("/mpesa/c2b/v2/simulate", by_hand | {"CommandID": "CustomerBuyGoodsOnline"})
        assert till.status_code == 400
        paybill = daraja.post("/mpesa/c2b/v2/simulate", by_hand | {"CommandID": "CustomerPayBillOnline"})
        assert paybill.status_code == 200


def test_the_password_is_the_portals_own_test_vector():
    assert password(timestamp="20210628092408") == (
        "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMjEw"
        "NjI4MDkyNDA4"
    )
    assert TIMESTAMP.isdigit()
