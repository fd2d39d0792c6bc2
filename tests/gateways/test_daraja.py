"""The Daraja client: what it sends, and what each of M-Pesa's answers means for the caller."""

import base64
import dataclasses
import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import redis
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from responses.matchers import header_matcher

from portal.gateways import daraja
from portal.gateways.daraja import (
    DarajaAccount,
    DarajaClient,
    StkAnswer,
    StkPrompt,
    clean,
    redact,
    stk_password,
    transport,
)
from portal.gateways.daraja import client as asking
from portal.gateways.daraja.connections import shared_session
from portal.gateways.tokens import FreshToken, TokenKey, TokenStore
from portal.kernel import clock
from portal.processes.embedded_redis import start_redis

BASE = "https://sandbox.safaricom.co.ke"
OAUTH = BASE + "/oauth/v1/generate"
PUSH = BASE + "/mpesa/stkpush/v1/processrequest"
QUERY = BASE + "/mpesa/stkpushquery/v1/query"
B2C = BASE + "/mpesa/b2c/v3/paymentrequest"
REGISTER = BASE + "/mpesa/c2b/v2/registerurl"
PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
PORTAL_SAMPLE = (
    "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMjEwNjI4MDkyNDA4"
)
MSISDN = "254708374149"
PROMPT = StkPrompt(MSISDN, 150, "INV-42", "Invoice 42", "https://pay.example.org/hooks/3f9a")
ACCEPTED = {
    "MerchantRequestID": "2654-4b64-97ff-b827b542881d3130",
    "CheckoutRequestID": "ws_CO_1007202409152617708374149",
    "ResponseCode": "0",
    "ResponseDescription": "Success. Request accepted for processing",
    "CustomerMessage": "Success. Request accepted for processing",
}
ACK = {
    "ConversationID": "AG_1",
    "OriginatorConversationID": "o-1",
    "ResponseCode": "0",
    "ResponseDescription": "ok",
}


def account(**changes):
    given = {
        "gateway_id": 7, "environment": "sandbox", "base_url": BASE, "consumer_key": "the-consumer-key",
        "consumer_secret": "the-consumer-secret", "shortcode": "174379", "passkey": PASSKEY,
        "initiator_name": "testapi", "security_credential": "c2VjcmV0" * 40,
    }  # fmt: skip
    return DarajaAccount(**{**given, **changes})


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def web():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def signed_on(web):
    tokens = iter(range(1, 100))
    web.add_callback(
        "GET",
        OAUTH,
        lambda _: (200, {}, json.dumps({"access_token": f"token-{next(tokens)}", "expires_in": "3599"})),
    )
    return web


@pytest.fixture
def client(pauses):
    return client_of(pauses)


def client_of(pauses, **changes):
    return DarajaClient(account(**changes), TokenStore(), sleep=pauses.append)


def calls(web, url):
    return [call.request for call in web.calls if call.request.url.partition("?")[0] == url]


def sent(web, url):
    return json.loads(calls(web, url)[-1].body)


def failure(code, message, request_id="1c5b-4ba8"):
    return {"requestId": request_id, "errorCode": code, "errorMessage": message}


# ---- what is sent


def test_the_password_is_the_one_of_safaricom_s_sample():
    assert stk_password("174379", PASSKEY, "20210628092408") == PORTAL_SAMPLE


def test_a_prompt_for_a_paybill_carries_nairobi_s_time_and_whole_shillings(signed_on, client, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: datetime(2021, 6, 28, 6, 24, 8, tzinfo=UTC))
    signed_on.add("POST", PUSH, json=ACCEPTED)
    accepted = client.stk_push(PROMPT)
    assert accepted.checkout_request_id == ACCEPTED["CheckoutRequestID"]
    assert sent(signed_on, PUSH) == {
        "BusinessShortCode": "174379", "Password": PORTAL_SAMPLE, "Timestamp": "20210628092408",
        "TransactionType": "CustomerPayBillOnline", "Amount": 150, "PartyA": MSISDN, "PartyB": "174379",
        "PhoneNumber": MSISDN, "CallBackURL": PROMPT.callback_url, "AccountReference": "INV-42",
        "TransactionDesc": "Invoice 42",
    }  # fmt: skip
    assert calls(signed_on, PUSH)[0].headers["Authorization"] == "Bearer token-1"


def test_a_prompt_for_a_till_is_signed_by_the_store_and_paid_to_the_till(signed_on, pauses):
    signed_on.add("POST", PUSH, json=ACCEPTED)
    client_of(pauses, sub_type="BUYGOODS", shortcode="5512345", store_number="600111").stk_push(PROMPT)
    body = sent(signed_on, PUSH)
    assert (body["BusinessShortCode"], body["PartyB"]) == ("600111", "5512345")
    assert body["TransactionType"] == "CustomerBuyGoodsOnline"
    assert base64.b64decode(body["Password"]).startswith(b"600111" + PASSKEY.encode())


def test_a_prompt_for_a_bank_pays_the_bank_s_paybill_for_the_whole_account_number(signed_on, pauses):
    signed_on.add("POST", PUSH, json=ACCEPTED)
    bank = {
        "sub_type": "BANK",
        "shortcode": "247247",
        "store_number": "600111",
        "account_number": "0312345678901",
    }
    client_of(pauses, **bank).stk_push(PROMPT)
    body = sent(signed_on, PUSH)
    assert (body["BusinessShortCode"], body["PartyB"]) == ("600111", "247247")
    assert (body["AccountReference"], body["TransactionType"]) == ("0312345678901", "CustomerPayBillOnline")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("INV#42 & co@home", "INV42 cohome"), ("Café  Ünal", "Cafe Unal"), ("", "Payment"),
        ("@#&", "Payment"),
        ("ABCDEFGHIJKLMNOP", "ABCDEFGHIJKL"), ("Jina\nMpya", "Jina Mpya"),
    ],
)  # fmt: skip
def test_references_keep_only_what_prompts_can_show(text, kept):
    assert clean(text, 12) == kept


@given(st.text(), st.integers(1, 20))
def test_what_is_sent_is_never_empty_or_too_long_or_strange(text, limit):
    kept = clean(text, limit)
    assert kept == "Payment" or (1 <= len(kept) <= limit and kept.isascii())


@pytest.mark.parametrize("amount", [0, -1, 1.5, "150", True, None])
def test_an_amount_that_is_no_whole_shillings_is_never_sent(web, client, amount):
    with pytest.raises(daraja.Rejected) as refused:
        client.stk_push(StkPrompt(MSISDN, amount, "a", "b", "https://x"))
    assert refused.value.field == "Amount" and not web.calls


def test_an_account_and_a_prompt_print_no_secret():
    shown = repr(account(account_number="0312345678901")) + repr(PROMPT) + repr(daraja.StkAccepted("ws_CO_9", "m", "c"))
    for hidden in ("the-consumer", PASSKEY, "c2VjcmV0", "0312345678901", MSISDN, "3f9a", "ws_CO_9"):
        assert hidden not in shown
    assert "174379" in shown


# ---- answers to a prompt


def push_error(client):
    with pytest.raises(daraja.DarajaError) as caught:
        client.stk_push(PROMPT)
    return caught.value


BAD_ANSWERS = [
    # status, body, error, words of its message
    (503, "<html>Request unsuccessful. Incapsula incident ID: 1</html>", daraja.OutcomeUnknown, "HTTP 503"),
    (500, "", daraja.OutcomeUnknown, "HTTP 500"),
    (200, "<html>hello</html>", daraja.OutcomeUnknown, "nothing is sent again"),
    (200, "", daraja.OutcomeUnknown, "no clear answer"),
    (200, "[]", daraja.OutcomeUnknown, "no clear answer"),
    (200, "{}", daraja.OutcomeUnknown, "no ResponseCode"),
    (200, {**ACCEPTED, "CheckoutRequestID": ""}, daraja.OutcomeUnknown, "without naming it"),
    (302, "", daraja.OutcomeUnknown, "HTTP 302"),
    (408, "", daraja.OutcomeUnknown, "HTTP 408"),
    (400, "", daraja.Rejected, "HTTP 400 and no reason"),
    (403, "<html>blocked</html>", daraja.Rejected, "firewall"),
    (200, {**ACCEPTED, "ResponseCode": "1"}, daraja.Rejected, "did not accept the request: 1"),
    (
        400,
        failure("400.002.02", "Bad Request - Invalid BusinessShortCode"),
        daraja.Rejected,
        "field BusinessShortCode",
    ),
    (400, failure("400.002.02", "Bad Request - Invalid CallBackURL"), daraja.Rejected, "must be https"),
    (400, failure("400.002.05", "Invalid Request Payload"), daraja.Rejected, "400.002.05"),
    (404, failure("404.001.01", "Resource not found"), daraja.Rejected, "404.001.01"),
    (
        500,
        failure("500.001.1001", "The transaction is being processed"),
        daraja.OutcomeUnknown,
        "500.001.1001",
    ),
    (
        500,
        failure("500.001.1001", "Unable to lock subscriber, a transaction is already in process for the current"),
        daraja.SubscriberBusy,
        "open on this phone",
    ),
    (
        500,
        failure("500.001.1001", "[MerchantValidate] - Wrong credentials"),
        daraja.ConfigurationRefused,
        "passkey",
    ),
    (
        500,
        failure("500.001.1001", "Merchant does not exist"),
        daraja.ConfigurationRefused,
        "shortcode 174379",
    ),
    (500, failure("500.001.1001", "Internal Server Error"), daraja.OutcomeUnknown, "the result is asked for"),
    (
        500,
        failure("500.003.02", "System is busy. Please try again in few minutes."),
        daraja.Throttled,
        "Wait 30 s",
    ),
    (500, failure("500.003.03", "Error Occurred: Quota Violation"), daraja.Throttled, "Nothing was done"),
    (429, "", daraja.Throttled, "Nothing was done"),
    (
        500,
        {
            "fault": {
                "faultstring": "Spike arrest violation. Allowed rate : 5ps",
                "detail": {"errorcode": "policies"},
            }
        },
        daraja.Throttled,
        "limit is reached",
    ),
    (
        403,
        {"fault": {"faultstring": "Invalid API call as no apiproduct match found", "detail": {}}},
        daraja.ConfigurationRefused,
        "does not have this product",
    ),
    (500, failure("999.9", "Something new"), daraja.OutcomeUnknown, "no clear answer"),
]


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    BAD_ANSWERS,
    ids=lambda v: str(v)[:60] if not isinstance(v, type) else v.__name__,
)
def test_a_bad_answer_to_a_prompt_says_what_to_do_and_is_never_sent_again(
    signed_on, client, pauses, status, body, kind, words
):
    signed_on.add("POST", PUSH, status=status, body=body if isinstance(body, str) else json.dumps(body))
    error = push_error(client)
    assert type(error) is kind and words in error.message == str(error)
    assert isinstance(error, daraja.NotSent) is not isinstance(error, daraja.OutcomeUnknown)
    assert len(calls(signed_on, PUSH)) == 1 and pauses == []
    assert (error.path, error.http_status) == ("/mpesa/stkpush/v1/processrequest", status)


def test_an_error_carries_what_m_pesa_said(signed_on, client):
    signed_on.add("POST", PUSH, status=400, json=failure("400.002.02", "Bad Request - Invalid PhoneNumber"))
    error = push_error(client)
    assert (error.code, error.request_id, error.field) == ("400.002.02", "1c5b-4ba8", "PhoneNumber")
    assert error.text == "Bad Request - Invalid PhoneNumber"


def test_an_all_zero_response_code_is_a_success(signed_on, client):
    signed_on.add("POST", PUSH, json={**ACCEPTED, "ResponseCode": "00000000"})
    assert client.stk_push(PROMPT).merchant_request_id == ACCEPTED["MerchantRequestID"]


def test_a_busy_phone_waits_a_minute_and_a_throttle_as_long_as_it_is_told(signed_on, client):
    signed_on.add("POST", PUSH, status=500, json=failure("500.001.1001", "Unable to lock subscriber, a transaction"))
    signed_on.add("POST", PUSH, status=429, headers={"Retry-After": "90"})
    assert push_error(client).retry_after_s == 60
    assert push_error(client).retry_after_s == 90


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (requests.ReadTimeout(), daraja.OutcomeUnknown),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("aborted", ConnectionResetError())),
            daraja.OutcomeUnknown,
        ),
        (requests.exceptions.ChunkedEncodingError(), daraja.OutcomeUnknown),
        (requests.ConnectionError("nobody knows"), daraja.OutcomeUnknown),
        (requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred")), daraja.OutcomeUnknown),
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError("self-signed")), daraja.Unreachable),
        (requests.exceptions.SSLError("handshake"), daraja.Unreachable),
        (requests.exceptions.ProxyError(), daraja.Unreachable),
        (requests.ConnectTimeout(), daraja.Unreachable),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_a_broken_connection_is_unknown_unless_nothing_can_have_left(signed_on, client, pauses, trouble, kind):
    signed_on.add("POST", PUSH, body=trouble)
    error = push_error(client)
    assert type(error) is kind and len(calls(signed_on, PUSH)) == 1 and pauses == []
    assert ("Nothing was sent" in error.message) is (kind is daraja.Unreachable)


def test_every_call_has_both_timeouts(signed_on, client):
    signed_on.add("POST", PUSH, json=ACCEPTED)
    signed_on.add("POST", QUERY, json={"ResponseCode": "0", "ResultCode": "0"})
    client.stk_push(PROMPT)
    client.stk_query("ws_CO_1")
    assert [call.request.req_kwargs["timeout"] for call in signed_on.calls] == [
        (5.0, 10.0),
        (5.0, 30.0),
        (5.0, 20.0),
    ]


def test_a_redirect_is_not_followed_since_it_could_prompt_twice(signed_on, client):
    signed_on.add("POST", PUSH, status=307, headers={"Location": PUSH})
    assert type(push_error(client)) is daraja.OutcomeUnknown and len(calls(signed_on, PUSH)) == 1


# ---- over a real loopback connection


@pytest.fixture
def raw_server():
    """A server that does `behave(connection)` once a connection is there; gives its base URL."""
    opened = []

    def start(behave):
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        opened.append((listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener, thread in opened:
        listener.close()
        thread.join(5)


def with_token(pauses, base_url):
    """A client that has its token already, so that its first connection is the call itself."""
    session = requests.Session()
    client = DarajaClient(account(base_url=base_url), TokenStore(), session=session, sleep=pauses.append)
    client._tokens.put(client._token_key, FreshToken("token-1", 3599))
    return client, session


def test_a_refused_connection_was_never_sent(pauses):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client, session = with_token(pauses, f"http://127.0.0.1:{port}")
    with session:
        error = push_error(client)
    assert type(error) is daraja.Unreachable and "could not be reached" in error.message


def test_a_name_that_does_not_exist_was_never_sent(pauses):
    client, session = with_token(pauses, "http://no-such-host.invalid")
    with session:
        assert type(push_error(client)) is daraja.Unreachable


def test_an_answer_that_never_comes_is_unknown(pauses, raw_server, monkeypatch):
    monkeypatch.setattr(asking, "PUSH_READ_S", 0.2)
    over = threading.Event()
    client, session = with_token(pauses, raw_server(lambda _: over.wait(5)))
    with session:
        error = push_error(client)
    over.set()
    assert type(error) is daraja.OutcomeUnknown and "It may have acted" in error.message


@pytest.mark.parametrize("answer", [b"", b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"Respo', b"rubbish\r\n\r\n"])
def test_a_connection_that_dies_after_sending_is_unknown(pauses, raw_server, answer):
    client, session = with_token(pauses, raw_server(lambda connection: connection.sendall(answer)))
    with session:
        assert type(push_error(client)) is daraja.OutcomeUnknown


def test_an_endless_answer_is_cut_off(pauses, raw_server, monkeypatch):
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 10_000)
    flood = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    client, session = with_token(pauses, raw_server(lambda connection: connection.sendall(flood)))
    with session:
        assert type(push_error(client)) is daraja.OutcomeUnknown


# ---- sign-on


@pytest.mark.parametrize("status", [400, 401])
def test_wrong_keys_are_named_with_their_environment(web, client, pauses, status):
    web.add("GET", OAUTH, status=status, body="")
    with pytest.raises(daraja.SignOnFailed, match="consumer key or secret was refused by the SANDBOX server"):
        client.test_connection()
    error = push_error(client)
    assert type(error) is daraja.SignOnFailed and isinstance(error, daraja.NotSent) and pauses == []
    with pytest.raises(daraja.SignOnFailed, match="PRODUCTION server"):
        client_of(pauses, environment="production").test_connection()


def test_a_wrong_grant_is_a_failed_sign_on(web, client):
    web.add("GET", OAUTH, status=400, json=failure("400.008.02", "Invalid grant type passed"))
    with pytest.raises(daraja.SignOnFailed) as error:
        client.test_connection()
    assert error.value.code == "400.008.02"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"status": 503, "body": "<html>Incapsula</html>"}, daraja.Unreachable),
        ({"status": 403, "body": "<html>blocked</html>"}, daraja.Unreachable),
        ({"status": 200, "body": "{}"}, daraja.Unreachable),
        (
            {"body": requests.ConnectionError(urllib3.exceptions.NewConnectionError(None, "refused"))},
            daraja.Unreachable,
        ),
        ({"status": 500, "json": failure("500.003.02", "System is busy")}, daraja.Throttled),
    ],
)
def test_without_a_token_nothing_was_sent_after_three_repeats(web, client, pauses, answer, kind):
    web.add("GET", OAUTH, **answer)
    error = push_error(client)
    assert type(error) is kind and isinstance(error, daraja.NotSent)
    assert len(calls(web, OAUTH)) == 4 and not calls(web, PUSH)
    assert len(pauses) == 3 and pauses == sorted(pauses) and pauses[0] >= 0.5


@pytest.mark.parametrize("silence", [requests.ReadTimeout(), requests.ConnectTimeout()])
def test_a_sign_on_without_an_answer_is_not_repeated(web, client, pauses, silence):
    """money.md C29: a silent server held the thread of every tenant's prompts four times as long."""
    web.add("GET", OAUTH, body=silence)
    error = push_error(client)
    assert type(error) is daraja.Unreachable
    assert len(calls(web, OAUTH)) == 1 and not calls(web, PUSH) and pauses == []


def test_keys_in_any_letters_are_sent_as_utf_8(web, pauses):
    web.add("GET", OAUTH, json={"access_token": "t", "expires_in": 3599})
    client_of(pauses, consumer_key="ключ", consumer_secret="ü").test_connection()
    header = calls(web, OAUTH)[0].headers["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "ключ:ü"


def test_a_base_url_that_is_no_address_is_named(pauses):
    with pytest.raises(daraja.ConfigurationRefused, match="base URL"):
        client_of(pauses, base_url="sandbox").test_connection()


@pytest.mark.parametrize(("said", "read"), [("3599", 3599), (1800, 1800), ("soon", 3599), (None, 3599)])
def test_a_connection_test_signs_on_anew_and_replaces_the_token(web, client, said, read):
    web.add("GET", OAUTH, json={"access_token": "a", "expires_in": 3599})
    web.add("GET", OAUTH, json={"access_token": "b", "expires_in": said})
    web.add("POST", PUSH, json=ACCEPTED, match=[header_matcher({"Authorization": "Bearer b"})])
    client.test_connection()
    assert client.test_connection() == daraja.ConnectionOk("sandbox", read)
    client.stk_push(PROMPT)


TOKEN_ANSWERS = [
    (404, failure("404.001.03", "Invalid Access Token")),
    (400, failure("400.003.01", "Invalid Access Token")),
    (401, failure("401.002.01", "Error Occurred - Invalid Access Token - token-1")),
    (401, failure("401.003.01", "Invalid Access Token")),
    (401, ""),
]


@pytest.mark.parametrize(("status", "body"), TOKEN_ANSWERS)
def test_a_refused_token_is_renewed_once_and_the_prompt_sent_once_more(signed_on, client, status, body):
    signed_on.add("POST", PUSH, status=status, body=json.dumps(body) if body else "")
    signed_on.add("POST", PUSH, json=ACCEPTED)
    client.stk_push(PROMPT)
    assert [call.headers["Authorization"] for call in calls(signed_on, PUSH)] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


@pytest.mark.parametrize(("status", "body"), TOKEN_ANSWERS)
def test_a_token_refused_twice_is_a_matter_for_the_administrator(signed_on, client, status, body):
    signed_on.add("POST", PUSH, status=status, body=json.dumps(body) if body else "")
    error = push_error(client)
    assert type(error) is daraja.SignOnFailed and "Go-Live" in error.message and "SANDBOX" in error.message
    assert len(calls(signed_on, PUSH)) == 2 and "token-" not in error.text


# ---- queries


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, {"ResponseCode": "0", "ResultCode": "0", "ResultDesc": "ok"}, StkAnswer("paid", "0", "ok")),
        (200, {"ResponseCode": "0", "ResultCode": 0, "ResultDesc": "ok"}, StkAnswer("paid", "0", "ok")),
        (
            200,
            {"ResponseCode": "0", "ResultCode": "1032", "ResultDesc": "x"},
            StkAnswer("failed", "1032", "x"),
        ),
        (200, {"ResponseCode": "0", "ResultCode": "17", "ResultDesc": "x"}, StkAnswer("failed", "17", "x")),
        (200, {"ResponseCode": "0", "ResultCode": "26", "ResultDesc": "x"}, StkAnswer("pending", "26", "x")),
        (
            200,
            {"ResponseCode": "0", "ResultCode": "4999", "ResultDesc": "x"},
            StkAnswer("pending", "4999", "x"),
        ),
        (
            200,
            {"ResponseCode": "0", "ResultCode": "NEW", "ResultDesc": "x"},
            StkAnswer("pending", "NEW", "x"),
        ),
        (200, {"ResponseCode": "0", "ResponseDescription": "x"}, StkAnswer("pending", "", "x")),
        (200, {"ResponseCode": "1", "ResultCode": "0", "ResultDesc": "x"}, StkAnswer("pending", "0", "x")),
        (
            500,
            failure("500.001.1001", "The transaction is being processed"),
            StkAnswer("pending", "500.001.1001", "The transaction is being processed"),
        ),
        (
            500,
            failure("500.001.1001", "Anything else"),
            StkAnswer("pending", "500.001.1001", "Anything else"),
        ),
        (500, failure("500.003.02", "System is busy"), StkAnswer("pending", "500.003.02", "System is busy")),
        (503, "<html>", StkAnswer("pending", "", "<html>")),
        (200, "<html>", StkAnswer("pending", "", "<html>")),
    ],
)
def test_a_query_answers_paid_failed_or_pending(signed_on, client, status, body, answer):
    signed_on.add("POST", QUERY, status=status, body=body if isinstance(body, str) else json.dumps(body))
    assert client.stk_query("ws_CO_1") == answer
    assert set(sent(signed_on, QUERY)) == {"BusinessShortCode", "Password", "Timestamp", "CheckoutRequestID"}


def test_a_query_that_cannot_be_asked_raises(signed_on, client):
    signed_on.add("POST", QUERY, status=500, json=failure("500.001.1001", "Wrong credentials"))
    with pytest.raises(daraja.ConfigurationRefused):
        client.stk_query("ws_CO_1")


def test_a_query_is_repeated_with_growing_pauses_until_it_is_answered(signed_on, client, pauses):
    refused = urllib3.exceptions.NewConnectionError(None, "refused")
    signed_on.add("POST", QUERY, body=requests.ConnectionError(refused))
    signed_on.add("POST", QUERY, status=503)
    signed_on.add("POST", QUERY, status=500, json=failure("500.003.02", "System is busy"))
    signed_on.add("POST", QUERY, json={"ResponseCode": "0", "ResultCode": "0"})
    assert client.stk_query("ws_CO_1").state == "paid"
    assert len(pauses) == 3 and pauses[0] < pauses[1] < pauses[2]


# ---- everything else


def test_registering_urls(signed_on, client, pauses):
    signed_on.add(
        "POST",
        REGISTER,
        json={"OriginatorCoversationID": "6", "ResponseCode": "0", "ResponseDescription": "Success"},
    )
    assert client.register_c2b_urls("https://x/c", "https://x/v", "Completed") == "Success"
    assert sent(signed_on, REGISTER) == {
        "ShortCode": "174379", "ResponseType": "Completed", "ConfirmationURL": "https://x/c",
        "ValidationURL": "https://x/v",
    }  # fmt: skip
    client_of(pauses, sub_type="BUYGOODS", shortcode="5512345", store_number="600111").register_c2b_urls(
        "https://x/c", "https://x/v", "Cancelled"
    )
    assert sent(signed_on, REGISTER)["ShortCode"] == "600111"
    with pytest.raises(daraja.ConfigurationRefused, match="bank account"):
        client_of(pauses, sub_type="BANK").register_c2b_urls("https://x/c", "https://x/v", "Completed")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (failure("500.003.1001", "Urls are already registered."), "URL Management"),
        (failure("500.003.1001", "Duplicate notification info, SP ID is 1"), "older platform"),
        (
            {"Envelope": {"Body": {"Fault": {"faultcode": "soap:Server", "faultstring":
             "Execution of ServiceCallout SC failed. Reason: ResponseCode 409 is treated as error"}}}},
            "cannot take C2B",
        ),
    ],
)  # fmt: skip
def test_a_registration_that_safaricom_refuses_says_where_to_go(signed_on, client, body, words):
    signed_on.add("POST", REGISTER, status=500, json=body)
    with pytest.raises(daraja.ConfigurationRefused, match=words):
        client.register_c2b_urls("https://x/c", "https://x/v", "Completed")


def test_simulating_is_for_the_sandbox(signed_on, client, pauses):
    signed_on.add("POST", BASE + "/mpesa/c2b/v2/simulate", json={**ACK})
    assert client.simulate_c2b(msisdn=MSISDN, amount_shillings=5, account="INV42") == "ok"
    assert sent(signed_on, BASE + "/mpesa/c2b/v2/simulate") == {
        "ShortCode": 174379, "CommandID": "CustomerPayBillOnline", "Amount": 5, "Msisdn": 254708374149,
        "BillRefNumber": "INV42",
    }  # fmt: skip
    with pytest.raises(daraja.ConfigurationRefused, match="Only the sandbox"):
        client_of(pauses, environment="production").simulate_c2b(msisdn=MSISDN, amount_shillings=5, account="a")


def pay_out(client):
    return client.b2c_payment(
        originator_conversation_id="o-1", msisdn=MSISDN, amount_shillings=100, remarks="Refund #7",
        result_url="https://x/r", timeout_url="https://x/t",
    )  # fmt: skip


def test_a_pay_out_uses_safaricom_s_spelling_and_the_b2c_shortcode(signed_on, pauses):
    signed_on.add("POST", B2C, json=ACK)
    accepted = pay_out(client_of(pauses, b2c_shortcode="600997"))
    assert (accepted.conversation_id, accepted.originator_conversation_id) == ("AG_1", "o-1")
    body = sent(signed_on, B2C)
    assert body["PartyA"] == "600997" and body["Remarks"] == "Refund 7" and "Occassion" in body
    assert body["OriginatorConversationID"] == "o-1" and body["SecurityCredential"] == "c2VjcmV0" * 40


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, failure("500.002.1001", "Duplicate OriginatorConversationID."), daraja.DuplicateConversation),
        (500, failure("500.002.1001", "Service is currently under maintenance"), daraja.OutcomeUnknown),
        (200, {**ACK, "ResponseCode": "1"}, daraja.OutcomeUnknown),
        (503, "<html>", daraja.OutcomeUnknown),
        (500, failure("500.003.02", "System is busy"), daraja.Throttled),
    ],
)
def test_a_pay_out_is_sent_once_whatever_is_answered(signed_on, client, pauses, status, body, kind):
    signed_on.add("POST", B2C, status=status, body=body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(kind) as caught:
        pay_out(client)
    assert type(caught.value) is kind and len(calls(signed_on, B2C)) == 1 and pauses == []


def test_a_pay_out_without_an_initiator_is_never_sent(web, pauses):
    with pytest.raises(daraja.ConfigurationRefused, match="no initiator"):
        pay_out(client_of(pauses, security_credential=None))
    with pytest.raises(daraja.ConfigurationRefused, match="no passkey"):
        client_of(pauses, passkey="").stk_push(PROMPT)
    assert not web.calls


def test_a_reversal_keeps_safaricom_s_misspelling(signed_on, client):
    url = BASE + "/mpesa/reversal/v1/request"
    signed_on.add("POST", url, json=ACK)
    client.reverse(
        receipt="UIT5K2M9QX",
        amount_shillings=100,
        remarks="Refund",
        result_url="https://x/r",
        timeout_url="https://x/t",
    )
    body = sent(signed_on, url)
    assert (body["RecieverIdentifierType"], body["ReceiverParty"], body["Amount"]) == ("11", "174379", 100)
    assert body["CommandID"] == "TransactionReversal" and body["TransactionID"] == "UIT5K2M9QX"


def test_a_status_is_asked_by_receipt_or_by_our_own_id(signed_on, client):
    url = BASE + "/mpesa/transactionstatus/v1/query"
    urls = {"result_url": "https://x/r", "timeout_url": "https://x/t"}
    signed_on.add("POST", url, json=ACK)
    client.transaction_status(transaction_id="UIT5K2M9QX", **urls)
    assert sent(signed_on, url)["TransactionID"] == "UIT5K2M9QX" and sent(signed_on, url)["IdentifierType"] == "4"
    client.transaction_status(originator_conversation_id="o-1", **urls)
    body = sent(signed_on, url)
    assert body["OriginatorConversationID"] == body["OriginalConversationID"] == "o-1" and "TransactionID" not in body
    with pytest.raises(daraja.Rejected, match="Say which transaction"):
        client.transaction_status(**urls)


def test_a_balance_is_asked_for(signed_on, client):
    url = BASE + "/mpesa/accountbalance/v1/query"
    signed_on.add("POST", url, json=ACK)
    assert client.account_balance(result_url="https://x/r", timeout_url="https://x/t").conversation_id == "AG_1"
    assert sent(signed_on, url)["CommandID"] == "AccountBalance"


def test_a_qr_code_is_an_image_or_an_error(signed_on, client):
    url, png = BASE + "/mpesa/qrcode/v1/generate", b"\x89PNG\r\n\x1a\n rest"
    signed_on.add("POST", url, json={"ResponseCode": "AG_2019", "QRCode": base64.b64encode(png).decode()})
    signed_on.add("POST", url, json={"ResponseCode": "AG_2019", "QRCode": ""})
    qr = {"merchant_name": "UPENDO", "reference": "INV-42", "amount_shillings": 5}
    assert client.dynamic_qr(**qr) == png
    assert sent(signed_on, url)["TrxCode"] == "PB" and sent(signed_on, url)["CPI"] == "174379"
    with pytest.raises(daraja.OutcomeUnknown, match="no QR image"):
        client.dynamic_qr(**qr)


def test_pulling_transactions(signed_on, client):
    url, start = BASE + "/pulltransactions/v1/query", datetime(2026, 9, 20, 5, tzinfo=UTC)
    row = {
        "transactionId": "UIK5K2M9QX",
        "trxDate": "2026-09-20T08:00:00",
        "msisdn": 722000000,
        "amount": "168.00",
    }
    signed_on.add("POST", url, json={"ResponseCode": "1000", "Response": [[row, {"amount": "?"}]]})
    signed_on.add("POST", url, json={"ResponseCode": "1001", "Response": "[[]]"})
    signed_on.add("POST", url, json={"ResponseCode": "4002", "ResponseMessage": "No"})
    span = {"start": start, "end": start + timedelta(days=1)}
    (pulled,), unreadable = client.pull_transactions(**span, offset=100)
    assert unreadable == 1
    assert (pulled.receipt, pulled.amount_cents, pulled.occurred_at) == ("UIK5K2M9QX", 16_800, start)
    assert sent(signed_on, url) == {
        "ShortCode": "174379", "StartDate": "2026-09-20 08:00:00", "EndDate": "2026-09-21 08:00:00",
        "OffSetValue": "100",
    }  # fmt: skip
    assert client.pull_transactions(**span) == ([], 0)
    with pytest.raises(daraja.Rejected, match="4002 No"):
        client.pull_transactions(**span)


@pytest.mark.parametrize("status", [{"ResponseStatus": "1000"}, {"Response Status": 1001}])
def test_pull_is_switched_on_once_or_already(signed_on, client, status):
    signed_on.add("POST", BASE + "/pulltransactions/v1/register", json={**status, "ResponseDescription": "Registered"})
    assert client.pull_register(nominated_msisdn=MSISDN, callback_url="https://x/p") == "Registered"


# ---- nothing secret leaves


def test_errors_show_neither_tokens_nor_keys_nor_phones(signed_on, client):
    leak = f"Invalid Access Token - AbC the-consumer-key {PASSKEY} {PORTAL_SAMPLE} 254712345678 0712345678 "
    signed_on.add("POST", PUSH, status=500, json=failure("500.001.1001", leak + "ws_CO_1712345678" + " x" * 5000))
    error = push_error(client)
    for hidden in ("AbC", "the-consumer-key", PASSKEY, PORTAL_SAMPLE, "12345678"):
        assert hidden not in error.text + error.message
    assert "Invalid Access Token" in error.text and len(error.text) <= 2048


def test_redaction_leaves_request_ids_and_amounts_alone():
    assert redact("2654-4b64-97ff-b827b542881d3130 KES 250000 on 20240812103801") == (
        "2654-4b64-97ff-b827b542881d3130 KES 250000 on 20240812103801"
    )


def test_the_shared_session_belongs_to_its_process_and_keeps_no_cookies(web):
    web.add("GET", "https://sandbox.safaricom.co.ke/x", headers={"Set-Cookie": "visid_incap=1; Path=/"})
    session = shared_session()
    session.get("https://sandbox.safaricom.co.ke/x")
    assert not session.cookies and shared_session() is session


# ---- the token store


KEY = TokenKey(7, "sandbox", BASE, "the-consumer-key", "the-consumer-secret")


class SignOn:
    """Counts how often a token was fetched."""

    def __init__(self, expires_in_s=3599):
        self.count, self.expires_in_s = 0, expires_in_s

    def __call__(self):
        self.count += 1
        return FreshToken(f"token-{self.count}", self.expires_in_s)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def store_client(redis_server):
    with redis.Redis.from_url(redis_server.url) as connection:
        connection.flushdb()
        yield connection


class Broken:
    """A Redis that is down."""

    def __getattr__(self, name):
        def fail(*args, **kwargs):
            raise redis.ConnectionError("down")

        return fail


@pytest.mark.parametrize("where", ["process", "redis", "broken"])
def test_one_token_serves_until_it_is_dropped(where, store_client):
    client = {"process": None, "redis": store_client, "broken": Broken()}[where]
    store, fetch = TokenStore(client), SignOn()
    assert [store.get(KEY, fetch) for _ in range(3)] == ["token-1"] * 3
    store.drop(KEY, "another")
    assert store.get(KEY, fetch) == "token-1"
    store.drop(KEY, "token-1")
    assert store.get(KEY, fetch) == "token-2" and fetch.count == 2


def test_processes_share_one_token_and_redis_never_sees_it_in_clear(store_client):
    fetch = SignOn()
    assert TokenStore(store_client).get(KEY, fetch) == TokenStore(store_client).get(KEY, fetch) == "token-1"
    (name,) = store_client.keys("*")
    assert b"token-1" not in store_client.get(name) and b"the-consumer" not in name
    assert 0 < store_client.ttl(name) <= 50 * 60


def test_a_token_is_kept_fifty_minutes_or_two_minutes_less_than_it_lasts(store_client):
    for expires_in_s, ttl in ((3599, 3000), (1000, 880)):
        store_client.flushdb()
        TokenStore(store_client).get(KEY, SignOn(expires_in_s))
        assert ttl - 2 <= store_client.ttl(KEY.name) <= ttl
    fetch = SignOn(60)
    store = TokenStore(None)
    assert [store.get(KEY, fetch), store.get(KEY, fetch)] == ["token-1", "token-2"]


def test_another_gateway_environment_server_or_key_has_its_own_token():
    others = [TokenKey(8, "sandbox", BASE, "k", "s"), TokenKey(8, "production", BASE, "k", "s")]
    others += [
        TokenKey(8, "sandbox", "http://127.0.0.1:8001", "k", "s"),
        TokenKey(8, "sandbox", BASE, "k2", "s"),
    ]
    assert len({key.name for key in (KEY, *others)}) == 5 and "the-consumer" not in repr(KEY)


@pytest.mark.parametrize("kept", ["another's", "", "no seal \u00e9", "b'gAAAA"])
def test_a_kept_token_that_cannot_be_opened_is_fetched_anew(store_client, kept):
    fetch = SignOn()
    store = TokenStore(store_client)
    assert store.get(KEY, fetch) == store.get(KEY, fetch) == "token-1"
    other = dataclasses.replace(KEY, consumer_secret="another's")
    sealed = TokenStore(store_client)._sealed(other, "token-0") if kept == "another's" else kept
    store_client.set(KEY.name, sealed)
    assert store.get(KEY, fetch) == "token-2"


def test_while_one_process_signs_on_the_others_wait_for_its_token(store_client):
    started, go_on = threading.Event(), threading.Event()

    def slow():
        started.set()
        go_on.wait(5)
        return FreshToken("token-slow", 3599)

    thread = threading.Thread(target=lambda: TokenStore(store_client).get(KEY, slow))
    thread.start()
    started.wait(5)

    def sleep(_):
        go_on.set()
        thread.join(5)

    waiting = TokenStore(store_client, sleep=sleep)
    unused = SignOn()
    assert waiting.get(KEY, unused) == "token-slow" and unused.count == 0


def test_who_waits_in_vain_signs_on_itself(store_client):
    store_client.set(KEY.name + ":lock", "a process that died", ex=10)
    waited: list[float] = []
    assert TokenStore(store_client, sleep=waited.append).get(KEY, SignOn()) == "token-1"
    assert sum(waited) == pytest.approx(5)


def test_a_failed_sign_on_leaves_no_lock_behind(store_client):
    def fail():
        raise daraja.SignOnFailed("no")

    for _ in range(2):
        with pytest.raises(daraja.SignOnFailed):
            TokenStore(store_client, sleep=lambda _: pytest.fail("it waited")).get(KEY, fail)
    assert store_client.keys("*") == []


def test_threads_of_one_process_sign_on_once():
    store, fetch = TokenStore(), SignOn()
    found = SimpleNamespace(tokens=[])
    threads = [threading.Thread(target=lambda: found.tokens.append(store.get(KEY, fetch))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert found.tokens == ["token-1"] * 8 and fetch.count == 1
