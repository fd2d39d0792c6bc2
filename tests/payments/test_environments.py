"""Test money and real money: what a gateway's switch between them does to what is open, and to what is on its way."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments import booking, daraja_requests
from portal.payments.models import InboxItem, Payment, Push, Refund, Transaction
from portal.payments.payment import lock_payment
from portal.payments.processing import request_jobs
from portal.payments.refunds import refunds
from portal.payments.stk import pushes, queries
from portal.payments.wallets import wallets
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body
from tests.support.environments import SECRETS, gateway_of, switch
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, with_initiator


@pytest.fixture
def calls(product: Product, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What leaves for M-Pesa: (address, JSON), each accepted."""
    sent: list[tuple[str, dict[str, Any]]] = []

    def accept(_session: Any, _method: str, url: str, **given: Any) -> requests.Response:
        sent.append((url, given.get("json") or {}))
        answer = requests.Response()
        answer.status_code = 200
        answer.raw = io.BytesIO(
            b'{"access_token": "t", "expires_in": "3599"}'
            if "oauth" in url
            else b'{"ConversationID": "AG_1", "OriginatorConversationID": "o", "ResponseCode": "0"}'
        )
        return answer

    monkeypatch.setattr(requests.Session, "request", accept)
    yield sent


def money(product: Product) -> list[tuple[Any, ...]]:
    with product.inside():
        found = db.session.query(Transaction).order_by(Transaction.id)
        return [(one.receipt, one.environment, one.amount_cents, one.unallocated_cents) for one in found]


def dead(product: Product) -> int:
    with product.inside():
        return db.session.query(InboxItem).filter_by(state="dead").count()


def turn(product: Product, times: int = 5) -> None:
    """Let a row that fails use up its tries."""
    for _time in range(times):
        product.settle()
        later(120)


def test_test_money_goes_back_to_the_test_server_after_the_switch(
    product: Product, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    """money.md A1: real money never goes out for test money; it goes back where it came in."""
    with_initiator(product)
    with product.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").one().base_url = ""  # Safaricom's own servers
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    switch(product)
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 1_000})
    assert answer.status_code == 200, answer.text
    with product.app.app_context():
        request_jobs.send_due()
        db.session.remove()
    assert [url for url, _body in calls if "b2c" in url] == [
        "https://sandbox.safaricom.co.ke/mpesa/b2c/v3/paymentrequest"
    ]
    assert not [url for url, _body in calls if "api.safaricom" in url]
    with product.inside():
        refund = db.session.query(Refund).one()
        assert (refund.environment, refund.state) == ("sandbox", "sent")


def test_a_refund_that_was_approved_before_the_switch_is_stopped_by_name(
    product: Product, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    """money.md A1: what was approved and not sent is asked for anew, and may be."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    refund = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 400}).json["data"]["refundId"]
    assert switch(product)["switched"]["refundsStopped"] == [receipt(1)]
    with product.app.app_context():
        request_jobs.send_due()
        db.session.remove()
    assert not [url for url, _body in calls if "b2c" in url]
    shown = product.api("amina").get(f"/api/refunds/{refund}").json
    assert shown["status"] == "failed" and "Ask for it anew" in shown["reason"]
    assert product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 400}).status_code == 200
    assert product.books() == []


@pytest.mark.parametrize("is_begun", [False, True])
def test_no_refund_passes_from_one_money_to_the_other_whoever_changed_the_row(product: Product, is_begun: bool) -> None:
    """money.md A1: the guards that stand even where a gateway's row was changed behind our back."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    amina, path = product.api("amina"), f"/api/mpesa/{token}/refund"
    if is_begun:
        assert amina.post(path, json={"amount": 400}).status_code == 200
    with product.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").one().environment = "production"
    if not is_begun:
        refused = amina.post(path, json={"amount": 400})
        assert refused.status_code == 409 and refused.json["error"] == "other_environment"
        return
    with product.app.app_context():
        with transaction():
            assert refunds.begin(db.session.query(Refund).one().id) is None
        assert db.session.query(Refund).one().state == "failed"


def test_an_invoice_from_before_go_live_is_paid_with_real_money_after_it(either_product: Product) -> None:
    """money.md A2: the same number and link; nothing is refused, dead or unbooked."""
    product = either_product
    number, token = product.invoice(500)
    assert product.status(token)["testMode"] is True
    assert switch(product)["switched"] == {
        "closed": [], "askedAnew": [number], "waitingForRealMoney": [], "refundsStopped": [],
    }  # fmt: skip
    assert "TEST MODE" not in product.client().get(f"/pay/{token}").text
    assert product.status(token)["testMode"] is False
    validation = c2b_body(receipt=receipt(2), amount=500, account=number)
    assert product.client().post(f"{product.hook()}/c2b/validation", json=validation).json["ResultCode"] in (0, "0")
    push = product.pushed(token, "254712345678")
    product.client().post(f"{product.hook()}/stk/{push.token}", json=stk_body(push, receipt=receipt(1)))
    turn(product)
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=500, account=push.reference)
    )
    turn(product)
    assert money(product) == [(receipt(1), "production", 50_000, 0)]
    assert product.status(token)["status"] == "paid" and dead(product) == 0 and product.books() == []


def test_what_a_package_costs_is_asked_for_anew_with_real_money(product: Product) -> None:
    """money.md A2, test_t2b: a purchase begun in test mode is not reused after go-live."""
    phone = new_phone()
    body = {"tenant": "mlima", "packageId": product.package(), "phone": phone, "macAddress": "AA:BB:CC:DD:EE:01"}
    begun = product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    pushed = product.pushed(begun, phone)
    product.callback(pushed, code=1032)
    product.settle()
    with product.inside():
        reference = db.session.query(Payment).filter_by(token=begun).one().reference
    assert switch(product)["switched"]["closed"] == [reference]
    later(200)
    anew = product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    assert anew != begun and product.status(anew)["testMode"] is False
    push = product.pushed(anew, phone)
    product.client().post(f"{product.hook()}/stk/{push.token}", json=stk_body(push, receipt=receipt(1)))
    turn(product)
    assert product.status(anew)["status"] == "paid" and dead(product) == 0
    assert money(product) == [(receipt(1), "production", 5_000, 0)]


def test_a_prompt_that_rang_at_the_switch_is_booked_as_the_test_money_it_was(product: Product) -> None:
    """Rule 11: money that fits no payment of its environment waits to be placed, and pays no real debt."""
    _number, token = product.invoice(500)
    push, hook = product.pushed(token), product.hook()
    switch(product)
    product.client().post(f"{hook}/stk/{push.token}", json=stk_body(push, receipt=receipt(1)))
    turn(product)
    assert money(product) == [(receipt(1), "sandbox", 50_000, 50_000)]
    assert product.status(token)["amountDue"] == 500 and dead(product) == 0 and product.books() == []
    with product.inside():
        assert db.session.query(Transaction).one().unplaced_why == "other environment"


def test_m_pesas_answer_about_a_test_prompt_or_receipt_is_never_real_money(product: Product) -> None:
    """Rule 11: a query and a status answer that come after the switch are booked as what they were asked about."""
    with_initiator(product)
    _number, token = product.invoice(500)
    push, hook = product.pushed(token), product.hook()
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        question = daraja_requests.ask(gateway, "status", daraja_requests.Subject(receipt=receipt(7)))
        address = f"{hook}/result/{question.token}"
    switch(product)
    with product.app.app_context(), transaction():
        from portal.gateways.daraja import StkAnswer

        queries.take_answer(push.push_id, StkAnswer("paid", "0", ""))
    given = {
        "TransactionStatus": "Completed", "ReceiptNo": receipt(7), "Amount": 70, "CreditPartyName": "600111 - MLIMA",
    }  # fmt: skip
    result = {
        "ResultType": 0, "ResultCode": 0, "ResultDesc": "", "TransactionID": "T", "ConversationID": "AG_1",
        "OriginatorConversationID": "o",
        "ResultParameters": {"ResultParameter": [{"Key": key, "Value": value} for key, value in given.items()]},
    }  # fmt: skip
    product.client().post(address, json={"Result": result})
    turn(product)
    assert money(product) == [(None, "sandbox", 50_000, 50_000), (receipt(7), "sandbox", 7_000, 7_000)]
    assert dead(product) == 0 and product.books() == []


def test_a_prompt_that_was_not_sent_at_the_switch_is_not_sent(product: Product) -> None:
    """Rule 11: neither the test server nor the real one is asked for what changed its money."""
    _number, token = product.invoice(500)
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        push_id = pushes.request_push(payment.id, new_phone(), actor="test").push.id
    switch(product)
    with product.app.app_context(), transaction():
        assert pushes.lease(push_id, hook_url="http://test/hooks") is None
        assert db.session.get_one(Push, push_id).state == "cancelled"


def test_a_part_paid_test_invoice_is_closed_and_its_test_money_waits(product: Product) -> None:
    """Rule 11: what test money touched is closed by name."""
    number, token = product.invoice(500)
    paid_by_hand(product, 200, number, receipt(1))
    assert switch(product)["switched"]["closed"] == [number]
    assert product.status(token)["status"] == "cancelled"
    assert money(product) == [(receipt(1), "sandbox", 20_000, 20_000)] and product.books() == []


def test_a_test_invoice_whose_money_is_gone_again_is_closed(product: Product) -> None:
    """Rule 11: it was paid and perhaps delivered in test mode; nobody owes it for real."""
    number, token = product.invoice(500)
    paid_by_hand(product, 500, number, receipt(1))
    assert product.status(token)["status"] == "paid"
    with product.app.app_context(), transaction():
        booked = booking.lock_with_payments(db.session.query(Transaction).one().id)
        booking.take_back(booked, how="reversed", why="M-Pesa reversed it.", actor="test")
    switched = switch(product)["switched"]
    assert (switched["closed"], switched["askedAnew"]) == ([number], []) and product.books() == []


def test_a_real_debt_is_never_paid_with_test_money_and_waits_for_real_money(product: Product) -> None:
    """Rule 11, the other direction: back to test mode, and to real money again."""
    switch(product)
    number, token = product.invoice(500)
    assert switch(product, "sandbox")["switched"]["waitingForRealMoney"] == [number]
    answer = product.client().post(f"/pay/{token}", data={"phone": "0712345678", "idempotency_key": "k" * 32})
    assert answer.status_code == 409 and "test mode" in answer.text
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=500, account=number)
    )
    turn(product)
    assert money(product) == [(receipt(1), "sandbox", 50_000, 50_000)] and product.status(token)["amountDue"] == 500
    switch(product)
    push = product.pushed(token)
    product.client().post(f"{product.hook()}/stk/{push.token}", json=stk_body(push, receipt=receipt(2)))
    turn(product)
    assert product.status(token)["status"] == "paid" and dead(product) == 0 and product.books() == []


def test_an_order_tested_before_go_live_is_a_new_order_after_it(product: Product) -> None:
    """money.md A2, of the same kind: a test pays no real order, and its open payment is not asked for again."""
    brian = product.api("brian")
    tried = {"orderId": "SHOP-1", "amount": 300, "phoneNumber": new_phone()}
    open_one = {"orderId": "SHOP-2", "amount": 300, "phoneNumber": new_phone()}
    paid = brian.post("/api/mpesa/initiate", json=tried).json["data"]["paymentId"]
    left = brian.post("/api/mpesa/initiate", json=open_one).json["data"]["paymentId"]
    with product.inside():
        reference = db.session.query(Payment).filter_by(token=paid).one().reference
    paid_by_hand(product, 300, reference, receipt(1))
    assert switch(product)["switched"]["closed"] == ["SHOP-2"]
    later(120)
    for body, before in ((tried, paid), (open_one, left)):
        answer = product.api("brian").post("/api/mpesa/initiate", json=body)
        assert answer.status_code == 201 and answer.json["data"]["paymentId"] != before
        assert answer.json["data"]["payment"]["testMode"] is False


def test_what_one_m_pesa_knows_of_a_gateway_is_not_believed_of_the_other(product: Product) -> None:
    """money.md D, proved and mended: registered addresses, Pull and its place stayed after a switch."""
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for name in ("urls_registered_at", "pull_registered_at", "pulled_until", "tested_at", "balances_at"):
            setattr(gateway, name, gateway.created_at)
        gateway.balances = [{"account": "Utility", "available_cents": 100}]
        before = gateway.hook_token
    shown = switch(product)
    unknown = ("urlsRegisteredAt", "pullRegisteredAt", "pulledUntil", "testedAt", "balancesAt")
    assert [shown[name] for name in unknown] == [None] * 5 and shown["balances"] == []
    assert product.hook() != f"/hooks/{before}", "what the test server may call is not what the real one is given"


def test_a_wallet_of_test_money_pays_nothing_real(product: Product) -> None:
    """money.md D, refuted: a wallet's test money stays in the books of the test, out of sight and out of reach."""
    tenant_id = product.tenant_id()
    amina = product.api("amina")
    uid = amina.post("/api/customers", {"name": "Asha", "phone": "0712345678"}).json["id"]
    amina.post("/api/payments/manual", {"channel": "cash", "customerId": uid, "amount": 900})
    assert amina.get(f"/api/customers/{uid}").json["balance"] == 900
    number, _token = product.invoice(500)
    switch(product)
    amina = product.api("amina")
    shown = amina.get(f"/api/customers/{uid}").json
    assert (shown["balance"], shown["environment"], shown["entries"]) == (0, "production", [])
    assert amina.post(f"/api/customers/{uid}/pay", {"reference": number}).status_code == 409
    with product.inside():
        customer = wallets.find_by_phone(tenant_id, "254712345678")
        assert customer is not None and wallets.balance_cents(customer, "sandbox") == 90_000
    assert product.books() == []


def test_staff_do_not_see_test_money_among_real_money(product: Product) -> None:
    """coverage.md G6: the live strip and the list to place; real money is always shown."""
    paid_by_hand(product, 77, "NOBODY", receipt(1))
    brian = product.browser_of("brian")
    assert all(receipt(1) in brian.get(page).text for page in ("/staff/", "/staff/unmatched"))
    switch(product)
    paid_by_hand(product, 88, "NOBODY", receipt(2))
    for page in ("/staff/", "/staff/unmatched"):
        text = brian.get(page).text
        assert receipt(2) in text and receipt(1) not in text
    switch(product, "sandbox")
    for page in ("/staff/", "/staff/unmatched"):
        text = brian.get(page).text
        assert receipt(2) in text and receipt(1) in text and "TEST" in text


def test_the_page_tells_by_name_what_a_switch_closed(product: Product) -> None:
    """Rule 11: in the page's answer too."""
    number, _token = product.invoice(500)
    body = {"tenant": "mlima", "packageId": product.package(), "phone": new_phone()}
    product.client().post("/api/portal/mpesa/initiate", json=body)
    with product.inside():
        reference = db.session.query(Payment).filter_by(purpose="hotspot").one().reference
    client, path = product.browser_of("amina"), f"/staff/gateways/{gateway_of(product)}/money"
    from tests.support.visitors import csrf_of

    given = {
        "csrf_token": csrf_of(client, path), "shortcode": "600111", "is_meant": "y",
        "consumer_key": "k", "consumer_secret": "s", "passkey": "p", "base_url": "",
    }  # fmt: skip
    page = client.post(path, data=given, follow_redirects=True).text
    assert f"Closed, to be asked for anew: {reference}." in page
    assert f"Asked for with real money now, under the same number and link: {number}." in page


def test_two_switches_at_once_make_one_gateway(either_product: Product) -> None:
    """Rule 11: the database decides."""
    from portal.kernel.errors import Refused
    from portal.payments import environments
    from tests.support.threads import together

    product, tenant_id = either_product, either_product.tenant_id()
    number, _token = product.invoice(500)
    uid = gateway_of(product)

    def go() -> list[str] | str:
        try:
            with transaction():
                gateway = settings.get_by_uid(tenant_id, uid)
                given = {"env": "production"} | SECRETS
                _gateway, done = environments.change(gateway, given, actor="test", is_fresh_signin=True)
                return done.asked_anew if done else "nothing to switch"
        except Refused as error:
            return error.code

    work: list[Callable[[], Any]] = [go] * 4
    said = together(product, *work)
    assert said.count([number]) == 1, said
    with product.inside():
        live = db.session.query(Gateway).filter_by(tenant_id=tenant_id, archived_at=None).all()
        assert [(one.uid, one.environment, one.is_default) for one in live] == [(uid, "production", True)]
        assert db.session.query(Gateway).filter_by(tenant_id=tenant_id).count() == 2, "the old row and its successor"


def test_money_never_crosses_over_where_a_person_places_it(product: Product) -> None:
    """Rule 11: the guard under the pages, whoever asks."""
    from portal.kernel.errors import Conflict

    paid_by_hand(product, 500, "NOBODY", receipt(1))
    switch(product)
    _number, token = product.invoice(500)
    with product.app.app_context(), pytest.raises(Conflict), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        booking.allocate(db.session.query(Transaction).one(), lock_payment(payment.id), actor="test")


@pytest.mark.parametrize("is_real_one_first", [True, False])
def test_who_goes_live_by_a_new_gateway_is_paid_for_the_invoices_of_before(
    either_product: Product, is_real_one_first: bool
) -> None:
    """money.md A2: M-Pesa was told that there is no such account, and the page spoke of test money for ever."""
    product = either_product
    number, token = product.invoice(500)
    paid, paid_token = product.invoice(300)
    paid_by_hand(product, 300, paid, receipt(1))
    amina = product.api("amina")
    (test_one,) = amina.get("/api/payment-gateways").json["items"]
    real = {
        "name": "real", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "production", "forClinic": True, "isDefault": True,
    }  # fmt: skip
    if is_real_one_first:
        assert amina.post("/api/payment-gateways", real).status_code == 201
        assert product.status(token)["testMode"] is True, "the test gateway still asks for it"
    assert amina.delete(f"/api/payment-gateways/{test_one['id']}").status_code == 200
    if not is_real_one_first:
        assert amina.post("/api/payment-gateways", real).status_code == 201
    assert (product.status(token)["testMode"], product.status(paid_token)["testMode"]) == (False, True)
    with product.inside():
        gateway = db.session.query(Gateway).filter_by(shortcode="600999").one()
        hook = f"/hooks/{gateway.hook_token}"
    body = c2b_body(receipt=receipt(2), amount=500, account=number, shortcode="600999")
    assert product.client().post(f"{hook}/c2b/validation", json=body).json["ResultCode"] == 0
    pushed = product.pushed(token)
    with product.inside():
        assert db.session.get_one(Push, pushed.push_id).gateway.environment == "production"


@pytest.mark.parametrize("is_real_one_first", [True, False])
def test_who_goes_live_by_a_new_gateway_leaves_no_test_purchase_open(product: Product, is_real_one_first: bool) -> None:
    """Rule 11: packages, orders and part-paid invoices of a removed test gateway stayed open, and nobody could pay."""
    number, part_paid = product.invoice(500)
    paid_by_hand(product, 200, number, receipt(1))
    body = {"tenant": "mlima", "packageId": product.package(), "phone": new_phone()}
    package = product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    given = {"orderId": "SHOP-1", "amount": 300, "phoneNumber": new_phone()}
    order = product.api("brian").post("/api/mpesa/initiate", json=given).json["data"]["paymentId"]
    amina = product.api("amina")
    (test_one,) = amina.get("/api/payment-gateways").json["items"]
    real = {
        "name": "real", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "production", "forClinic": True, "forHotspot": True, "isDefault": True,
    }  # fmt: skip
    steps = [
        lambda: amina.post("/api/payment-gateways", real),
        lambda: amina.delete(f"/api/payment-gateways/{test_one['id']}"),
    ]
    for step in steps if is_real_one_first else steps[::-1]:
        assert step().status_code in (200, 201)
    with product.inside():
        states = dict(db.session.query(Payment.token, Payment.state).all())
    assert {states[token] for token in (part_paid, package, order)} == {"closed"}
    assert money(product) == [(receipt(1), "sandbox", 20_000, 20_000)] and product.books() == []


def test_a_real_purchase_stays_open_where_the_gateway_is_replaced_by_another_real_one(product: Product) -> None:
    switch(product)
    body = {"tenant": "mlima", "packageId": product.package(), "phone": new_phone()}
    package = product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"]
    amina = product.api("amina")
    (old,) = amina.get("/api/payment-gateways").json["items"]
    real = {
        "name": "real", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "production", "forClinic": True, "forHotspot": True, "isDefault": True,
    }  # fmt: skip
    assert amina.post("/api/payment-gateways", real).status_code == 201
    assert amina.delete(f"/api/payment-gateways/{old['id']}").status_code == 200
    with product.inside():
        assert db.session.query(Payment).filter_by(token=package).one().state == "open"
