"""Tills and bank accounts, from the gateway's form to money with a home, against the simulator's real doors."""

from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import InboxItem, Payment, Push, Transaction, TransactionSource
from portal.payments.processing import callbacks
from tests.support.clock import later, wait_until
from tests.support.daraja import c2b_body, new_phone
from tests.support.product import Product
from tests.support.visitors import csrf_of

TILL, STORE, BANK, BANK_ACCOUNT = "5123456", "7654321", "247247", "0123456789"


@pytest.fixture(autouse=True)
def _no_urls_left(served: Product) -> Any:
    """The simulator outlives a test, this till's registered addresses must not."""
    yield
    clock.reset()


def gateway(product: Product, sub_type: str, **fields: Any) -> str:
    """The uid of a gateway that an administrator added by the API, as the one for everything."""
    organisation = {
        "name": f"{sub_type} OF MLIMA", "shortcode": TILL if sub_type == "BUYGOODS" else BANK, "kind": sub_type,
        "storeNumber": STORE, "consumerKey": f"{sub_type}-key", "consumerSecret": f"{sub_type}-secret",
        "passkey": f"{sub_type}-passkey",
    }  # fmt: skip
    if sub_type == "BUYGOODS":
        assert requests.post(f"{product.daraja_url}/control/organisations", json=organisation, timeout=30).ok
        keys = {name: organisation[name] for name in ("consumerKey", "consumerSecret", "passkey", "storeNumber")}
    else:  # a bank's paybill belongs to the bank; the app and the passkey are those of our own shortcode
        keys = {
            "consumerKey": "mlima-key", "consumerSecret": "mlima-secret", "passkey": "mlima-passkey",
            "storeNumber": "600111", "accountNumber": BANK_ACCOUNT,
        }  # fmt: skip
    given = keys | {
        "type": "MPESA_API", "subType": sub_type, "name": sub_type, "displayName": "MLIMA HOUSE",
        "shortcode": organisation["shortcode"], "env": "sandbox", "baseUrl": product.daraja_url, "isDefault": True,
        "forHotspot": True, "forClinic": True,
    }  # fmt: skip
    answer = product.api("amina").post("/api/payment-gateways", given | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def buy(product: Product, phone: str, browser: FlaskClient | None = None, **told: Any) -> str:
    """The paymentId of a day's internet that was asked for and whose prompt rings. browser: the payer's, known again."""
    given = {"tenant": "mlima", "packageId": product.package(), "phone": phone}
    answer = (browser or product.client()).post("/api/portal/mpesa/initiate", json=given | told)
    assert answer.status_code == 201, answer.text
    product.work(rounds=1)
    return str(answer.json["paymentId"])


def handset(product: Product, phone: str, what: str, **given: Any) -> Any:
    return requests.post(f"{product.daraja_url}/handset/{phone}/{what}", json=given, timeout=10).json()


def register(product: Product, uid: str, version: str) -> None:
    answer = product.api("amina").post(f"/api/payment-gateways/{uid}/register-urls", {"version": version})
    assert answer.status_code == 200, answer.text


def is_paid(product: Product, token: str) -> bool:
    return bool(product.status(token)["status"] == "paid")


def money(product: Product) -> list[tuple[str | None, int, int]]:
    """(receipt, cents, cents without a home) of everything booked."""
    with product.inside():
        rows = db.session.query(Transaction).order_by(Transaction.id)
        return [(one.receipt, one.amount_cents, one.unallocated_cents) for one in rows]


@pytest.mark.parametrize("sub_type", ["BUYGOODS", "BANK"])
def test_the_connection_is_tested_and_a_wrong_secret_named(served: Product, sub_type: str) -> None:
    uid = gateway(served, sub_type)
    amina = served.api("amina")
    good = amina.post(f"/api/payment-gateways/{uid}/test")
    assert good.status_code == 200 and good.json["success"] is True, good.text
    amina.put(f"/api/payment-gateways/{uid}", {"consumerSecret": "wrong"})
    bad = amina.post(f"/api/payment-gateways/{uid}/test")
    assert bad.json["success"] is False and "consumer" in bad.text.lower()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_till_is_paid_by_a_prompt_and_its_echo_is_the_same_money(served: Product, version: str) -> None:
    register(served, gateway(served, "BUYGOODS"), version)
    phone = new_phone("00")
    token = buy(served, phone)
    handset(served, phone, "pin", pin="1234")
    served.settle_until(lambda: is_paid(served, token) and served.status(token).get("credentials"))

    def channels() -> set[str]:
        served.work(rounds=1)
        with served.inside():
            first, later = db.session.query(Transaction.channel), db.session.query(TransactionSource.channel)
            return {channel for (channel,) in first.union_all(later)}

    wait_until(lambda: channels() >= {"stk", "c2b"})
    [(receipt, cents, homeless)] = money(served)
    assert (cents, homeless) == (5_000, 0) and served.status(token)["receipt"] == receipt
    assert served.books() == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_echo_alone_pays_a_tills_prompt_when_the_callback_is_lost(served: Product, version: str) -> None:
    register(served, gateway(served, "BUYGOODS"), version)
    phone = new_phone("00")
    token = buy(served, phone)
    requests.post(f"{served.daraja_url}/control", json={"faults": {"noCallback": 1}}, timeout=30)
    try:
        handset(served, phone, "pin", pin="1234")
        served.settle_until(lambda: is_paid(served, token))
    finally:
        requests.post(f"{served.daraja_url}/control", json={"faults": {"noCallback": None}}, timeout=30)
    assert len(money(served)) == 1 and served.books() == []


def test_who_cancels_the_prompt_and_pays_the_till_by_hand_has_paid_for_it(served: Product) -> None:
    register(served, gateway(served, "BUYGOODS"), "v2")
    phone = new_phone("00")
    token = buy(served, phone)
    page = served.client().get(f"/pay/{token}").text
    assert TILL in page and "till" in page.lower(), "the page says how to pay by hand"
    handset(served, phone, "cancel")
    served.settle_until(lambda: served.status(token)["status"] == "cancelled")
    paid = handset(served, phone, "pay", shortcode=TILL, amount=50)
    assert paid["accepted"] is True
    served.settle_until(lambda: is_paid(served, token))
    assert [row[0] for row in money(served)] == [paid["receipt"]] and served.books() == []


def test_money_at_the_till_that_nobody_was_asked_for_waits_to_be_placed(served: Product) -> None:
    register(served, gateway(served, "BUYGOODS"), "v2")
    token = buy(served, new_phone("00"))
    stranger = new_phone("01")
    paid = handset(served, stranger, "pay", shortcode=TILL, amount=35)
    served.settle_until(lambda: money(served))
    assert money(served) == [(paid["receipt"], 3_500, 3_500)] and not is_paid(served, token)
    assert paid["receipt"] in served.browser_of("brian").get("/staff/unmatched").text
    assert served.books() == []


def test_two_prompts_of_one_amount_and_likeness_are_left_to_a_person(served: Product) -> None:
    """Two phones that one masked number fits, both asked for the same: nobody guesses whose money it is."""
    register(served, gateway(served, "BUYGOODS"), "v2")
    one = "254712345700"
    other = "254799345700"  # 2547 ***** 700 fits both
    first, second = buy(served, one), buy(served, other, macAddress="aa-bb-cc-dd-ee-02")
    for phone, token in ((one, first), (other, second)):
        handset(served, phone, "cancel")
        served.settle_until(lambda token=token: served.status(token)["status"] == "cancelled")  # type: ignore[misc]
    paid = handset(served, one, "pay", shortcode=TILL, amount=50)
    assert paid["accepted"]
    served.settle_until(lambda: money(served))
    assert not is_paid(served, first) and not is_paid(served, second)
    assert money(served) == [(paid["receipt"], 50_00, 50_00)], "it is there, and waits to be placed"
    brian = served.browser_of("brian")
    page = brian.get("/staff/unmatched").text
    assert "Several requests to pay fit it" in page and page.count("Place on ") == 2
    with served.inside():
        reference = db.session.query(Payment).filter_by(token=second).one().reference
        uid = db.session.query(Transaction).one().uid
    brian.post(
        f"/staff/unmatched/{uid}", data={"reference": reference, "csrf_token": csrf_of(brian, "/staff/unmatched")}
    )
    assert is_paid(served, second) and not is_paid(served, first) and served.books() == []


def two_cancelled_prompts(served: Product) -> tuple[str, str]:
    """(phone, paymentId) of a package at a till whose payer cancelled two prompts."""
    register(served, gateway(served, "BUYGOODS"), "v2")
    phone = new_phone("02")
    browser = served.client()
    token = buy(served, phone, browser)
    served.settle_until(lambda: served.status(token)["status"] == "cancelled")
    assert buy(served, phone, browser) == token, "a retry keeps the payment"
    served.settle_until(lambda: served.status(token)["status"] == "cancelled" and _prompts(served) == 2)
    return phone, token


def test_a_till_paid_by_hand_after_two_failed_prompts_opens_the_package(served: Product) -> None:
    phone, token = two_cancelled_prompts(served)
    paid = handset(served, phone, "pay", shortcode=TILL, amount=50)
    served.settle_until(lambda: is_paid(served, token))
    assert money(served) == [(paid["receipt"], 50_00, 0)] and served.books() == []
    assert served.status(token)["credentials"]


def test_a_prompt_that_a_query_calls_paid_finds_the_money_that_was_taken_for_its_payment(served: Product) -> None:
    """The echo comes first and fits both prompts of one payment; then M-Pesa says that one of them was paid."""
    phone, token = two_cancelled_prompts(served)
    handset(served, phone, "pay", shortcode=TILL, amount=50)
    served.settle_until(lambda: is_paid(served, token))
    with served.app.app_context(), transaction():
        push = db.session.query(Push).order_by(Push.id).first()
        assert push is not None
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert len(money(served)) == 1 and served.books() == []


def test_the_echo_of_one_of_two_prompts_that_a_query_called_paid_is_its_receipt(served: Product) -> None:
    phone, token = two_cancelled_prompts(served)
    with served.app.app_context(), transaction():
        push = db.session.query(Push).order_by(Push.id).first()
        assert push is not None
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert money(served) == [(None, 50_00, 0)]
    paid = handset(served, phone, "pay", shortcode=TILL, amount=50)
    served.settle_until(lambda: money(served)[0][0])
    assert money(served) == [(paid["receipt"], 50_00, 0)] and served.books() == [], "booked once"


def _prompts(product: Product) -> int:
    with product.inside():
        return db.session.query(Push).filter(Push.state == "cancelled").count()


def test_what_may_be_the_receipt_of_a_paid_request_waits_for_a_person(served: Product) -> None:
    """One of two likely requests is known to be paid, without its receipt: booked, the money might count twice."""
    register(served, gateway(served, "BUYGOODS"), "v2")
    one, other = "254712345702", "254799345702"
    tokens = [buy(served, one), buy(served, other, macAddress="aa-bb-cc-dd-ee-02")]
    for token in tokens:
        served.settle_until(lambda token=token: served.status(token)["status"] == "cancelled")  # type: ignore[misc]
    with served.app.app_context(), transaction():
        push = db.session.query(Push).order_by(Push.id).first()
        assert push is not None
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    paid = handset(served, one, "pay", shortcode=TILL, amount=50)
    wait_until(lambda: _undecided(served))
    assert money(served) == [(None, 50_00, 0)]
    brian = served.browser_of("brian")
    assert 'id="undecided"' not in brian.get("/staff/unmatched").text, "the callbacks may tell them apart meanwhile"
    later(130)
    served.work()
    page = brian.get("/staff/unmatched").text
    assert "To decide" in page and page.count('name="push"') == 2 and paid["receipt"] in page
    with served.inside():
        item_id = db.session.query(InboxItem).filter_by(state="waiting").one().id
        push_ids = [push.id for push in db.session.query(Push).order_by(Push.id)]

    def say(**given: Any) -> str:
        given["csrf_token"] = csrf_of(brian, "/staff/unmatched")
        return str(brian.post(f"/staff/unmatched/undecided/{item_id}", data=given, follow_redirects=True).text)

    assert "no longer be of that request" in say(push="999999")
    assert "Noted." in say(push=str(push_ids[0]))
    assert money(served) == [(paid["receipt"], 50_00, 0)] and served.books() == []
    again = c2b_body(receipt=paid["receipt"], amount=50, account="", shortcode=TILL, msisdn="2547 ***** 702")
    with served.inside():
        till_hook = db.session.query(Gateway).filter_by(shortcode=TILL).one().hook_token
    assert served.client().post(f"/hooks/{till_hook}/c2b/confirmation", json=again).status_code == 200
    served.work()
    assert money(served) == [(paid["receipt"], 50_00, 0)] and served.books() == [], "a second word changes nothing"
    assert (
        "decided this already"
        in brian.post(
            f"/staff/unmatched/undecided/{item_id}",
            data={"csrf_token": csrf_of(brian, "/staff/customers")},
            follow_redirects=True,
        ).text
    )
    assert is_paid(served, tokens[0]) and not is_paid(served, tokens[1])


def _undecided(product: Product) -> bool:
    product.work(rounds=1)
    with product.inside():
        return any("More than one push" in (item.outcome or "") for item in db.session.query(InboxItem))


def test_a_bank_account_is_paid_by_a_prompt_and_the_bank_reads_its_own_account_number(served: Product) -> None:
    gateway(served, "BANK")
    phone = new_phone("00")
    token = buy(served, phone)
    page = served.client().get(f"/pay/{token}").text
    assert "Business number" not in page, "a bank's paybill would not tell us of money paid by hand"
    handset(served, phone, "pin", pin="1234")
    served.settle_until(lambda: is_paid(served, token))
    told = requests.get(f"{served.daraja_url}/handset/{phone}", timeout=30).json()["messages"][0]["text"]
    assert f"for account {BANK_ACCOUNT}" in told and len(money(served)) == 1 and served.books() == []


def test_a_banks_lost_callback_is_found_by_asking(served: Product) -> None:
    gateway(served, "BANK")
    phone = new_phone("00")
    token = buy(served, phone)
    requests.post(f"{served.daraja_url}/control", json={"faults": {"noCallback": 1}}, timeout=30)
    try:
        handset(served, phone, "pin", pin="1234")
        from datetime import timedelta

        clock.move(timedelta(seconds=125))
        served.settle_until(lambda: is_paid(served, token))
    finally:
        requests.post(f"{served.daraja_url}/control", json={"faults": {"noCallback": None}}, timeout=30)
    with served.inside():
        push = db.session.query(Push).one()
        assert push.state == "succeeded"
        booked = db.session.query(Transaction).one()
        assert booked.receipt is None and booked.channel == "query", "its receipt is to follow"
        assert db.session.query(Payment).one().fulfilled_at is not None
    assert served.books() == []


def test_a_bank_registers_no_addresses_and_says_why(served: Product) -> None:
    uid = gateway(served, "BANK")
    refused = served.api("amina").post(f"/api/payment-gateways/{uid}/register-urls", {})
    assert refused.status_code in (409, 422, 502) and "nothing to register" in refused.text


def test_a_clinics_invoice_is_paid_at_its_till(served: Product) -> None:
    register(served, gateway(served, "BUYGOODS"), "v1")
    number, token = served.invoice(850)
    phone = new_phone("00")
    answer = served.api("brian").post(
        "/api/mpesa/initiate", json={"orderId": number, "amount": 850, "phoneNumber": phone}
    )
    assert answer.status_code == 201, answer.text
    served.work(rounds=1)
    handset(served, phone, "pin", pin="1234")
    served.settle_until(lambda: is_paid(served, token))
    printed = served.client().get(f"/pay/{token}/receipt").text
    assert money(served)[0][0] in printed and number in printed
