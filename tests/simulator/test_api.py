"""C2B, B2C, reversal, status, balance, pull, QR and statements: where money goes and what is told of it."""

import base64
import csv
import hashlib
import io
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from portal.simulator import OrganisationSpec
from portal.simulator.engine.receipts import date_letters
from tests.support.simulator import opened


@pytest.fixture
def daraja(tmp_path):
    with opened(tmp_path) as running:
        yield running


def sealed(daraja, password="Safaricom123!"):
    pem = daraja.client.get("/certificate").data
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return base64.b64encode(key.encrypt(password.encode(), padding.PKCS1v15())).decode()


def asked(daraja, path, **changes):
    url = daraja.listener.url
    common = {
        "SecurityCredential": sealed(daraja),
        "Remarks": "Refund",
        "ResultURL": f"{url}/result",
        "QueueTimeOutURL": f"{url}/timeout",
    }
    return daraja.post(path, {name: value for name, value in (common | changes).items() if value is not None})


def pay_out(daraja, version=3, **changes):
    fields = {
        "OriginatorConversationID": "refund-1",
        "InitiatorName": "testapi",
        "CommandID": "BusinessPayment",
        "Amount": "50",
        "PartyA": "174379",
        "PartyB": "254712345600",
        "Occassion": "Refund",
    }
    return asked(daraja, f"/mpesa/b2c/v{version}/paymentrequest", **fields | changes)


def status(daraja, **changes):
    fields = {
        "Initiator": "testapi",
        "CommandID": "TransactionStatusQuery",
        "PartyA": "174379",
        "IdentifierType": "4",
    }
    return asked(daraja, "/mpesa/transactionstatus/v1/query", **fields | changes)


def reverse(daraja, receipt, amount, **changes):
    fields = {
        "Initiator": "testapi",
        "CommandID": "TransactionReversal",
        "TransactionID": receipt,
        "Amount": amount,
        "ReceiverParty": "174379",
        "RecieverIdentifierType": "11",
    }
    return asked(daraja, "/mpesa/reversal/v1/request", **fields | changes)


def result(daraja, count=1, path="/result"):
    return daraja.hear(count, path=path)[count - 1]["Result"]


def parameters(told):
    return {item["Key"]: item.get("Value") for item in told["ResultParameters"]["ResultParameter"]}


def test_registered_urls_hear_a_payment_by_hand_first_as_a_question_then_as_a_fact(daraja):
    answer = daraja.register()
    assert set(answer.json) == {"OriginatorCoversationID", "ResponseCode", "ResponseDescription"}
    assert daraja.register().status_code == 200
    paid = daraja.pay().json
    assert paid["accepted"] is True
    [confirmation] = daraja.hear(1, path="/confirmation")
    [question] = daraja.listener.at("/validation")
    assert confirmation["TransID"] == paid["receipt"] == question["TransID"]
    assert confirmation["TransAmount"] == "50.00"
    assert confirmation["BillRefNumber"] == "INV-42"
    assert confirmation["MSISDN"] == "2547 ***** 600"
    assert confirmation["OrgAccountBalance"] == "1000050.00"
    assert question["OrgAccountBalance"] == ""
    assert all(isinstance(value, str) for value in confirmation.values())
    assert paid["message"].startswith(
        f"{paid['receipt']} Confirmed. Ksh50.00 sent to DARAJA SIMULATOR for account INV-42"
    )


def test_version_1_sends_a_hash_of_the_phone(daraja):
    daraja.register(version=1)
    daraja.pay()
    [confirmation] = daraja.hear(1, path="/confirmation")
    assert confirmation["MSISDN"] == hashlib.sha256(b"254712345600").hexdigest()


def test_a_refused_payment_moves_nothing_and_says_so(daraja):
    daraja.register()
    daraja.listener.answers["/validation"] = {"ResultCode": "C2B00012", "ResultDesc": "Rejected"}
    refused = daraja.pay().json
    assert refused["accepted"] is False
    assert refused["receipt"] is None
    assert refused["message"].startswith("Failed.")
    assert daraja.handset()["messages"][0]["text"] == refused["message"]
    assert daraja.control()["phones"]["254712345600"]["balance"] == 100000


@pytest.mark.parametrize(("default", "accepted"), [("Completed", True), ("Cancelled", False)])
def test_a_validation_that_says_nothing_gets_the_registered_default(daraja, default, accepted):
    daraja.register(ResponseType=default, ValidationURL="http://127.0.0.1:9/nobody")
    assert daraja.pay().json["accepted"] is accepted


def test_a_stk_payment_is_confirmed_with_the_same_receipt(daraja):
    daraja.register()
    daraja.push()
    receipt = daraja.pin().json["receipt"]
    [confirmation] = daraja.hear(1, path="/confirmation")
    assert (confirmation["TransID"], confirmation["BillRefNumber"]) == (receipt, "INV-42")
    assert daraja.listener.at("/validation") == []
    assert daraja.listener.heard[0][0].startswith("/hooks")


def test_the_confirmation_can_come_first(daraja):
    daraja.register()
    daraja.push("254712345615")
    daraja.hear(2)
    assert [path.split("/")[1] for path, _ in daraja.listener.heard] == ["confirmation", "hooks"]


@pytest.mark.parametrize("word", ["mpesa", "M-Pesa", "safaricom", "exe", "cmd", "sql", "Query"])
def test_forbidden_words_in_registered_urls_are_refused(daraja, word):
    answer = daraja.register(ConfirmationURL=f"https://pay.example.org/{word}/c")
    assert (answer.status_code, answer.json["errorCode"]) == (400, "400.003.02")


def test_registration_checks_type_shortcode_and_token(daraja):
    assert daraja.register(ResponseType="completed").status_code == 400
    assert daraja.register(shortcode="600000").status_code == 400
    daraja.headers = {"Authorization": "Bearer nothing"}
    answer = daraja.register()
    assert (answer.status_code, answer.json["errorCode"]) == (400, "400.003.01")


def test_simulate_makes_a_payment(daraja):
    daraja.register()
    body = {"ShortCode": 174379, "CommandID": "CustomerPayBillOnline", "Amount": 20}
    answer = daraja.post("/mpesa/c2b/v2/simulate", body | {"Msisdn": 254708374149, "BillRefNumber": "A1"})
    assert answer.json["ResponseDescription"] == "Accept the service request successfully."
    [confirmation] = daraja.hear(1, path="/confirmation")
    assert (confirmation["TransAmount"], confirmation["BillRefNumber"]) == ("20.00", "A1")


def test_a_till_is_paid_by_hand_without_an_account(tmp_path):
    till = OrganisationSpec("UPENDO PHARMACY", "5123456", "BUYGOODS", "7654321", consumer_key="k", consumer_secret="s")
    with opened(tmp_path, till) as daraja:
        daraja.headers = {"Authorization": f"Bearer {daraja.token('k', 's')}"}
        daraja.register(shortcode="7654321")
        paid = daraja.pay(shortcode="5123456", account="").json
        [confirmation] = daraja.hear(1, path="/confirmation")
        assert confirmation["BillRefNumber"] == ""
        assert confirmation["BusinessShortCode"] == "7654321"
        assert " paid to UPENDO PHARMACY. on " in paid["message"]


def test_a_payment_over_the_balance_or_to_nobody_fails(daraja):
    daraja.control(balances={"254712345600": 10})
    assert daraja.pay().json["message"].startswith("Failed. You do not have enough money")
    assert daraja.pay(shortcode="999999").json["accepted"] is False
    assert daraja.pay(amount="many").status_code == 422


def test_receipts_begin_with_the_letters_of_their_date(daraja):
    store = daraja.app.extensions["simulator"].store
    assert daraja.pay().json["receipt"][:3] == date_letters(store.now())


def test_b2c_pays_a_customer_and_tells_both(daraja):
    answer = pay_out(daraja)
    assert answer.json["OriginatorConversationID"] == "refund-1"
    assert answer.json["ResponseCode"] == "0"
    told = result(daraja)
    assert (told["ResultCode"], told["ConversationID"]) == (0, answer.json["ConversationID"])
    found = parameters(told)
    assert (found["TransactionAmount"], found["TransactionReceipt"]) == (50, told["TransactionID"])
    assert re.fullmatch(r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d", found["TransactionCompletedDateTime"])
    assert found["B2CUtilityAccountAvailableFunds"] == 999950.0
    assert "You have received Ksh50.00 from DARAJA SIMULATOR. on " in daraja.handset()["messages"][0]["text"]


def test_b2c_refuses_an_id_twice_and_bad_fields(daraja):
    pay_out(daraja)
    again = pay_out(daraja)
    assert again.status_code == 500
    assert again.json["errorCode"] == "500.002.1001"
    assert again.json["errorMessage"] == "Duplicate OriginatorConversationID."
    assert pay_out(daraja, OriginatorConversationID=None).json["errorMessage"].endswith("OriginatorConversationID")
    assert pay_out(daraja, OriginatorConversationID="b", Remarks="x").json["errorMessage"].endswith("Remarks")
    assert pay_out(daraja, version=1, OriginatorConversationID=None).json["ResponseCode"] == "0"


@pytest.mark.parametrize(("amount", "code"), [(9, 2), (250001, 3)])
def test_b2c_has_limits(daraja, amount, code):
    pay_out(daraja, Amount=amount)
    told = result(daraja)
    assert told["ResultCode"] == code
    assert "ResultParameters" not in told


def test_a_token_error_of_b2c_echoes_the_token(daraja):
    daraja.headers = {"Authorization": "Bearer nothing"}
    answer = pay_out(daraja)
    assert (answer.status_code, answer.json["errorCode"]) == (401, "401.002.01")
    assert answer.json["errorMessage"] == "Error Occurred - Invalid Access Token - nothing"
    assert "nothing" not in daraja.client.get("/control/log").json["items"][0]["answer"]["errorMessage"]


def test_a_wrong_initiator_is_2001_and_the_third_time_locked(daraja):
    wrong = sealed(daraja, "guess")
    for count, code in ((1, 2001), (2, 2001), (3, 8006)):
        pay_out(daraja, OriginatorConversationID=f"try-{count}", SecurityCredential=wrong)
        assert result(daraja, count)["ResultCode"] == code
    pay_out(daraja, OriginatorConversationID="right")
    assert result(daraja, 4)["ResultCode"] == 8006
    daraja.control(reset=True)
    pay_out(daraja, OriginatorConversationID="again", InitiatorName="testapi")
    assert result(daraja, 5)["ResultCode"] == 0


def test_status_finds_every_kind_of_receipt(daraja):
    by_hand = daraja.pay().json["receipt"]
    daraja.push(Amount=70)
    by_push = daraja.pin().json["receipt"]
    pay_out(daraja)
    paid_out = result(daraja)["TransactionID"]
    for count, (receipt, amount) in enumerate(((by_hand, 50), (by_push, 70), (paid_out, 50)), start=2):
        status(daraja, TransactionID=receipt)
        told = result(daraja, count)
        found = parameters(told)
        assert (told["ResultCode"], found["ReceiptNo"], found["Amount"]) == (0, receipt, amount)
        assert found["TransactionStatus"] == "Completed"
        assert told["TransactionID"].endswith("0000000")
    status(daraja, OriginatorConversationID="refund-1")
    assert parameters(result(daraja, 5))["ReceiptNo"] == paid_out


def test_status_of_an_unknown_receipt_is_acknowledged_then_fails(daraja):
    assert status(daraja, TransactionID="UKL0000AAA").json["ResponseCode"] == "0"
    assert result(daraja)["ResultCode"] == "R000002"
    assert status(daraja).json["errorMessage"].endswith("Invalid TransactionID")


def test_another_organisations_receipt_does_not_exist(tmp_path):
    other = OrganisationSpec("OTHER", "600100", consumer_key="k", consumer_secret="s")
    with opened(tmp_path, other) as daraja:
        receipt = daraja.pay(shortcode="600100").json["receipt"]
        status(daraja, TransactionID=receipt)
        assert result(daraja)["ResultCode"] == "R000002"


def test_a_reversal_gives_back_part_and_then_no_more_than_the_rest(daraja):
    receipt = daraja.pay(amount=50).json["receipt"]
    reverse(daraja, receipt, 20)
    told = result(daraja)
    assert (told["ResultCode"], parameters(told)["OriginalTransactionID"]) == (0, receipt)
    assert (
        f"Reversal of transaction {receipt} has been successfully reversed" in daraja.handset()["messages"][0]["text"]
    )
    reverse(daraja, receipt, 31)
    assert result(daraja, 2)["ResultCode"] == 25
    reverse(daraja, receipt, 30)
    assert result(daraja, 3)["ResultCode"] == 0
    reverse(daraja, receipt, 1)
    assert result(daraja, 4)["ResultCode"] == "R000001"
    reverse(daraja, "UKL0000AAA", 1)
    assert result(daraja, 5)["ResultCode"] == "R000002"
    assert daraja.control()["phones"]["254712345600"]["balance"] == 100000
    status(daraja, TransactionID=receipt)
    assert parameters(result(daraja, 6))["TransactionStatus"] == "Reversed"


def test_the_right_spelling_of_receiver_is_wrong_for_daraja(daraja):
    answer = reverse(daraja, "UKL0000AAA", 1, RecieverIdentifierType=None, ReceiverIdentifierType="11")
    assert answer.json["errorMessage"] == "Bad Request - Invalid RecieverIdentifierType"


def test_the_balance_is_one_line_of_pipes(daraja):
    fields = {
        "Initiator": "testapi",
        "CommandID": "AccountBalance",
        "PartyA": "174379",
        "IdentifierType": "4",
    }
    asked(daraja, "/mpesa/accountbalance/v1/query", **fields)
    line = parameters(result(daraja))["AccountBalance"]
    assert "Utility Account|KES|1000000.00|1000000.00|0.00|0.00" in line.split("&")


def test_results_can_be_lost_or_time_out(daraja):
    daraja.control(faults={"timeoutInsteadOfResult": 1})
    pay_out(daraja)
    told = result(daraja, path="/timeout")
    assert told["OriginatorConversationID"] == "refund-1"
    daraja.control(faults={"resultLost": 1})
    pay_out(daraja, OriginatorConversationID="refund-2")
    status(daraja, OriginatorConversationID="refund-1")
    assert parameters(result(daraja))["TransactionStatus"] == "Completed"


def test_a_fault_meets_the_requests_that_came_first(daraja):
    daraja.control(faults={"resultLost": 5})
    for number in range(8):
        pay_out(daraja, OriginatorConversationID=f"refund-{number}")
    told = daraja.hear(3, path="/result")
    assert {body["Result"]["OriginatorConversationID"] for body in told} == {"refund-5", "refund-6", "refund-7"}


def test_pull_lists_what_customers_paid(daraja):
    receipt = daraja.pay().json["receipt"]
    register = {"ShortCode": "174379", "RequestType": "Pull", "NominatedNumber": "254722000000"}
    register |= {"CallBackURL": f"{daraja.listener.url}/pull"}
    assert daraja.post("/pulltransactions/v1/register", register).json["ResponseStatus"] == "1000"
    assert daraja.post("/pulltransactions/v1/register", register).json["ResponseStatus"] == "1001"
    period = {"ShortCode": "174379", "StartDate": "2020-01-01 00:00:00", "EndDate": "2099-01-01 00:00:00"}
    pulled = daraja.post("/pulltransactions/v1/query", period | {"OffSetValue": "0"}).json
    assert pulled["ResponseCode"] == "1000"
    [[row]] = pulled["Response"]
    assert (row["transactionId"], row["amount"], row["billreference"]) == (receipt, "50.00", "INV-42")
    assert row["transactiontype"] == "c2b-pay-bill-debit"
    none = daraja.post("/pulltransactions/v1/query", period | {"OffSetValue": "1"}).json
    assert (none["ResponseCode"], none["Response"]) == ("1001", [[]])
    daraja.control(clock={"moveSeconds": 49 * 3600})
    daraja.headers = {"Authorization": f"Bearer {daraja.token()}"}
    assert daraja.post("/pulltransactions/v1/query", period | {"OffSetValue": "0"}).json["ResponseCode"] == "1001"


def test_a_qr_code_is_a_png(daraja):
    fields = {
        "MerchantName": "MAWINGU",
        "RefNo": "INV-42",
        "Amount": 50,
        "TrxCode": "PB",
        "CPI": "174379",
        "Size": "300",
    }
    answer = daraja.post("/mpesa/qrcode/v1/generate", fields).json
    assert base64.b64decode(answer["QRCode"]).startswith(b"\x89PNG")
    assert answer["ResponseCode"].startswith("AG_")
    assert daraja.post("/mpesa/qrcode/v1/generate", fields | {"TrxCode": "XX"}).status_code == 400


@pytest.mark.parametrize(
    ("layout", "heading", "column"), [("1", "Receipt No.", 0), ("2", "Receipt No", 0), ("3", "STORE_NAME", 1)]
)
def test_statements_come_in_three_layouts(daraja, layout, heading, column):
    receipt = daraja.pay(amount=1500).json["receipt"]
    answer = daraja.client.get(f"/control/statement?shortcode=174379&layout={layout}&format=csv")
    rows = list(csv.reader(io.StringIO(answer.text)))
    start = next(number for number, row in enumerate(rows) if row[0] == heading)
    found = [row for row in rows[start + 1 :] if row[column] == receipt]
    assert len(found) == 2, "the payment and its charge share a receipt"
    assert any("1500.00" in row or "1,500.00" in row for row in found)


def test_a_legacy_statement_adds_up(daraja):
    daraja.pay(amount=1500)
    answer = daraja.client.get("/control/statement?shortcode=174379&layout=1")
    rows = list(csv.reader(io.StringIO(answer.text)))
    totals = next(row for row in rows if row[0] == "Opening Balance:")
    opening, closing, _, paid_in, withdrawn = (float(cell) for cell in totals[1::2])
    assert opening + paid_in + withdrawn == closing
    assert (paid_in, withdrawn) == (1500.0, -8.25)
