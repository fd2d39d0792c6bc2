"""Whose money it is: one paybill entered twice, a busy till, an echo before its callback, what nobody can tell apart."""

import dataclasses
from typing import Any

import pytest

from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.c2b import unresolved
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, Push, Transaction
from portal.payments.processing import callbacks, results
from tests.support.clock import later
from tests.support.daraja import Pushed, c2b_body, receipt, stk_body
from tests.support.product import Product
from tests.support.refunds import with_initiator
from tests.support.transaction_status import answer

PHONE, MASKED = "254712345126", "2547 ***** 126"


def money(product: Product) -> list[tuple[str | None, int, int]]:
    """(receipt, cents, cents without a home) of everything booked."""
    with product.inside():
        rows = db.session.query(Transaction).filter_by(merged_into_id=None).order_by(Transaction.id)
        return [(one.receipt, one.amount_cents, one.unallocated_cents) for one in rows]


def as_till(product: Product) -> None:
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.sub_kind, gateway.store_number = "BUYGOODS", "600112"


def query_says_paid(product: Product, pushed: Pushed) -> None:
    with product.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))


def confirm(product: Product, hook: str, **paid: Any) -> None:
    assert product.client().post(f"{hook}/c2b/confirmation", json=c2b_body(**paid)).status_code == 200
    product.settle()


def second_gateway(product: Product) -> str:
    """The same paybill, entered once more for the hotspot; the path of the first one's hooks, where M-Pesa reports."""
    hook = product.hook()
    given = {
        "name": "hotspot side", "shortcode": "600111", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "sandbox", "forHotspot": True,
    }  # fmt: skip
    assert product.api("amina").post("/api/payment-gateways", given).status_code == 201
    with product.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(name="mlima paybill").one().for_hotspot = False
    return hook


def bought(product: Product, phone: str) -> tuple[str, Pushed]:
    """(paymentId, prompt) of a day's internet."""
    given = {"tenant": "mlima", "packageId": product.package(), "phone": phone}
    answered = product.client().post("/api/portal/mpesa/initiate", json=given)
    assert answered.status_code == 201, answered.text
    token = str(answered.json["paymentId"])  # type: ignore[index]
    return token, product.pushed(token, phone)


@pytest.mark.parametrize("is_query_first", [True, False])
@pytest.mark.parametrize("kind", ["PAYBILL", "BUYGOODS"])
def test_a_prompt_of_one_gateway_and_its_echo_at_another_of_the_same_paybill_are_one_payment(
    either_product: Product, kind: str, is_query_first: bool
) -> None:
    """money.md A9: two gateways of one tenant with the same paybill; it was booked twice."""
    product = either_product
    hook = second_gateway(product)
    with product.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").update({"sub_kind": kind})
    token, pushed = bought(product, PHONE)
    with product.inside():
        assert db.session.get_one(Push, pushed.push_id).gateway.name == "hotspot side"
    if is_query_first:
        query_says_paid(product, pushed)
    account = pushed.reference if kind == "PAYBILL" else ""
    confirm(product, hook, receipt=receipt(1), amount=50, account=account, msisdn=MASKED)
    if not is_query_first:
        query_says_paid(product, pushed)
    product.settle()
    assert money(product) == [(receipt(1), 50_00, 0)] and product.status(token)["status"] == "paid"
    assert product.books() == []
    with product.inside():
        assert db.session.query(Transaction).one().gateway.name == "hotspot side", "refunds go out where it was asked"


@pytest.mark.parametrize("is_query_first", [True, False])
def test_a_receipt_that_one_gateway_asked_about_is_money_of_the_others_prompt(
    product: Product, is_query_first: bool
) -> None:
    """money.md A9, by M-Pesa's answer about a receipt: a till's money names no account."""
    second_gateway(product)
    token, pushed = bought(product, PHONE)

    def status() -> None:
        with product.app.app_context(), transaction():
            first = db.session.query(Gateway).filter_by(name="mlima paybill").one()
            results._receipt(first, receipt(1), answer(receipt(1), 50, PHONE))

    for word in (lambda: query_says_paid(product, pushed), status)[:: 1 if is_query_first else -1]:
        word()
    product.settle()
    assert money(product) == [(receipt(1), 50_00, 0)] and product.status(token)["status"] == "paid"
    assert product.books() == []


def test_another_paybill_of_the_tenant_is_another_till(product: Product) -> None:
    """A prompt's name typed by hand at another paybill pays what the prompt was for; it is not the prompt's echo."""
    given = {
        "name": "other", "shortcode": "600333", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "sandbox",
    }  # fmt: skip
    assert product.api("amina").post("/api/payment-gateways", given).status_code == 201
    with product.inside():
        other = db.session.query(Gateway.hook_token).filter_by(shortcode="600333").scalar()
    _number, token = product.invoice(500)
    pushed = product.pushed(token, PHONE)
    confirm(
        product, f"/hooks/{other}", receipt=receipt(1), amount=500, account=pushed.reference, shortcode="600333"
    )  # fmt: skip
    assert product.status(token)["status"] == "paid" and money(product) == [(receipt(1), 500_00, 0)]
    with product.inside():
        assert db.session.get_one(Push, pushed.push_id).state == "awaiting_pin"


@pytest.mark.parametrize("is_query_first", [True, False])
def test_on_a_busy_till_the_payer_is_looked_for_among_all_who_were_asked(
    either_product: Product, is_query_first: bool
) -> None:
    """money.md A8: the first fifty prompts of the same amount were looked at, and the payer among them only."""
    product = either_product
    as_till(product)
    for _other in range(51):
        _number, token = product.invoice(50)
        product.callback(product.pushed(token), code=1032)
    product.settle()
    token, pushed = bought(product, PHONE)
    if is_query_first:
        query_says_paid(product, pushed)
    confirm(product, product.hook(), receipt=receipt(9), amount=50, account="", msisdn=MASKED)
    if not is_query_first:
        query_says_paid(product, pushed)
    product.settle()
    assert money(product) == [(receipt(9), 50_00, 0)] and product.status(token)["status"] == "paid"
    assert product.books() == []


def test_of_many_payments_of_one_amount_the_prompts_own_is_found(product: Product) -> None:
    """money.md A8, the other way round: the first twenty receipts alike were looked at."""
    as_till(product)
    _number, token = product.invoice(50)
    pushed = product.pushed(token, PHONE)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for n in range(21):
            results._receipt(gateway, receipt(n), answer(receipt(n), 50, f"2547110000{n:02d}"))
        results._receipt(gateway, receipt(99), answer(receipt(99), 50, PHONE))
    query_says_paid(product, pushed)
    assert len(money(product)) == 22 and (receipt(99), 50_00, 0) in money(product) and product.books() == []


def _two_likely(product: Product) -> tuple[Pushed, Pushed]:
    """Two prompts of one phone and amount at a till, the first known to be paid, without its receipt."""
    as_till(product)
    with_initiator(product)
    (_one, first), (_two, second) = product.invoice(500), product.invoice(500)
    one = product.pushed(first, PHONE)
    later(70)
    two = product.pushed(second, PHONE)
    query_says_paid(product, one)
    return one, two


def test_a_confirmation_that_m_pesa_vouched_for_waits_for_staff_where_nobody_can_tell_whose_it_is(
    product: Product,
) -> None:
    """money.md A7: it was marked done, and nothing was booked."""
    product.app.config["PORTAL"] = dataclasses.replace(
        product.app.config["PORTAL"], callback_addresses=("198.51.100.1",)
    )  # fmt: skip
    one, two = _two_likely(product)
    with product.app.app_context(), transaction():
        from portal.payments.models import Payment

        for owner in (Gateway, Payment, Transaction):
            db.session.query(owner).update({"environment": "production"})
    inbox.forget_doors()
    confirm(product, product.hook(), receipt=receipt(9), amount=500, account="", msisdn=PHONE)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, receipt(9), answer(receipt(9), 500, PHONE))
    tenant_id = product.tenant_id()
    with product.inside():
        (waiting,) = unresolved.of_tenant(tenant_id)
        assert waiting.paid.receipt == receipt(9)
        assert {push.id for push in waiting.candidates} == {one.push_id, two.push_id}
        item_id = waiting.item.id
    assert money(product) == [(None, 500_00, 0)]
    with product.app.app_context(), transaction():
        unresolved.take(tenant_id, item_id, two.push_id, actor="test")
    assert money(product) == [(None, 500_00, 0), (receipt(9), 500_00, 0)]
    with product.inside():
        assert unresolved.of_tenant(tenant_id) == []


def test_a_receipt_that_was_asked_about_waits_for_staff_where_nobody_can_tell_whose_it_is(product: Product) -> None:
    """money.md A7, its twin: M-Pesa's answer said "staff decide", and staff never saw it."""
    one, two = _two_likely(product)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        query_push = db.session.get_one(Push, two.push_id)
        callbacks.confirmed_by_query(query_push, gateway)
    for _twice in range(2):
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            results._receipt(gateway, receipt(9), answer(receipt(9), 500, PHONE))
    tenant_id = product.tenant_id()
    with product.inside():
        (waiting,) = unresolved.of_tenant(tenant_id)
        assert (waiting.paid.receipt, waiting.paid.amount_cents) == (receipt(9), 500_00)
        assert {push.id for push in waiting.candidates} == {one.push_id, two.push_id}
        item_id = waiting.item.id
    with product.app.app_context(), transaction():
        unresolved.take(tenant_id, item_id, one.push_id, actor="test")
    assert money(product) == [(receipt(9), 500_00, 0), (None, 500_00, 0)] and product.books() == []


def test_the_payer_is_known_by_the_prompt_when_the_echo_comes_first(either_product: Product) -> None:
    """money.md A20: the echo shows the number masked, and what it left out was never learnt."""
    product = either_product
    with_initiator(product)
    _number, token = product.invoice(500)
    pushed = product.pushed(token, PHONE)
    confirm(product, product.hook(), receipt=receipt(1), amount=500, account=pushed.reference, msisdn=MASKED)
    found = product.api("amina").get("/api/transactions", query_string={"phone": PHONE}).json["items"]
    assert [one["receipt"] for one in found] == [receipt(1)]
    refund = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    assert refund.status_code in (200, 201, 202), refund.text


def test_a_callback_after_an_echo_that_hid_the_payer_tells_who_paid(product: Product) -> None:
    """money.md A20, where the echo shows nothing that could be compared."""
    _number, token = product.invoice(500)
    pushed = product.pushed(token, PHONE)
    confirm(product, product.hook(), receipt=receipt(1), amount=500, account=pushed.reference, msisdn="")
    with product.inside():
        assert db.session.query(Transaction).one().phone_sealed is None
    product.callback(pushed, receipt=receipt(1))
    product.settle()
    with product.inside():
        booked = db.session.query(Transaction).one()
        assert booked.phone_sealed and booked.payer_shown == "0712…126"
    found = product.api("amina").get("/api/transactions", query_string={"phone": PHONE}).json["items"]
    assert [one["receipt"] for one in found] == [receipt(1)]


def test_who_pays_by_hand_in_a_prompts_name_is_not_taken_for_its_phone(product: Product) -> None:
    """A refund would go to the wrong person."""
    _number, token = product.invoice(500)
    pushed = product.pushed(token, PHONE)
    confirm(product, product.hook(), receipt=receipt(1), amount=500, account=pushed.reference, msisdn="2547 ***** 999")
    assert product.status(token)["status"] == "paid"
    with product.inside():
        booked = db.session.query(Transaction).one()
        assert booked.phone_sealed is None and booked.payer_shown == "2547 ***** 999"


def test_the_same_receipt_may_be_money_of_two_tenants(either_product: Product) -> None:
    """tests.md B4: receipts are looked up within a tenant; two businesses share a test shortcode, or a bank's."""
    product = either_product
    (number, token), (other, second) = product.invoice(100), product.invoice(100, slug="bahari")
    confirm(product, product.hook(), receipt=receipt(1), amount=100, account=number)
    confirm(product, product.hook("bahari"), receipt=receipt(1), amount=100, account=other, shortcode="600222")
    assert product.status(token)["status"] == product.status(second)["status"] == "paid"
    with product.inside():
        assert db.session.query(Transaction).filter_by(receipt=receipt(1)).count() == 2
        assert db.session.query(InboxItem).filter_by(state="done").count() == 2
    assert product.books() == []


def test_the_same_receipt_may_answer_prompts_of_two_tenants(either_product: Product) -> None:
    """tests.md B4, the look-up that the callback of a prompt makes: another tenant's money would refuse it."""
    product = either_product
    token, second = product.invoice(100)[1], product.invoice(100, slug="bahari")[1]
    for one, slug in ((token, "mlima"), (second, "bahari")):
        pushed = product.pushed(one)
        product.client().post(f"{product.hook(slug)}/stk/{pushed.token}", json=stk_body(pushed, receipt=receipt(1)))
        product.settle()
    assert [product.status(one)["receipt"] for one in (token, second)] == [receipt(1), receipt(1)]
    with product.inside():
        assert db.session.query(Transaction).filter_by(receipt=receipt(1)).count() == 2
    assert product.books() == []


def test_two_prompts_that_a_query_calls_paid_are_the_two_payments_the_till_took(either_product: Product) -> None:
    """Both echoes came first and fitted both; booked once more, staff would have sent two payments back."""
    product = either_product
    as_till(product)
    tokens = [product.invoice(500)[1] for _prompt in range(2)]
    first = product.pushed(tokens[0], PHONE)
    later(61)
    second = product.pushed(tokens[1], PHONE)
    for number in (1, 2):
        confirm(product, product.hook(), receipt=receipt(number), amount=500, account="", msisdn=MASKED)
    assert money(product) == [(receipt(1), 50_000, 50_000), (receipt(2), 50_000, 50_000)]
    for pushed in (first, second):
        query_says_paid(product, pushed)
    assert money(product) == [(receipt(1), 50_000, 0), (receipt(2), 50_000, 0)]
    product.callback(first, receipt=receipt(2))
    product.callback(second, receipt=receipt(1))
    product.settle()
    assert [product.status(token)["status"] for token in tokens] == ["paid", "paid"]
    assert money(product) == [(receipt(1), 50_000, 0), (receipt(2), 50_000, 0)] and product.books() == []
