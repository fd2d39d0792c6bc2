"""What callbacks do to money, in whatever order, number and shape they come."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import InboxItem, Payment, Push, Transaction
from tests.support.daraja import Pushed, c2b_body, new_phone, receipt, stk_body
from tests.support.product import Product


def transactions(product: Product, name: str = "amina") -> list[tuple[str, float, str, str]]:
    items = product.api(name).get("/api/transactions").json["items"]
    return [(item["receipt"], item["amount"], item["reference"], item["state"]) for item in items]


def inbox(product: Product) -> list[tuple[str, str]]:
    with product.inside():
        return [(item.state, item.outcome) for item in db.session.query(InboxItem).order_by(InboxItem.id)]


@pytest.mark.property(21)
@pytest.mark.property(23)
@pytest.mark.property(56)
@pytest.mark.property(75)
def test_a_success_pays_the_invoice_once_however_often_it_is_told(product: Product) -> None:
    number, token = product.invoice(1_500)
    push = product.pushed(token)
    for _again in range(3):
        assert product.callback(push, receipt=receipt(1)).json == {"ResultCode": 0, "ResultDesc": "Accepted"}
    product.work()
    assert product.status(token)["status"] == "paid" and product.status(token)["receipt"] == receipt(1)
    assert transactions(product) == [(receipt(1), 1_500, number, "allocated")]
    with product.inside():
        money = db.session.query(Transaction).one()
        assert money.phone_hash and money.phone_sealed and push.msisdn not in money.phone_sealed
    assert product.books() == []


@pytest.mark.property(56)
def test_a_payment_is_dated_by_m_pesa_not_by_when_we_heard_of_it(product: Product) -> None:
    """tests.md PR56: TransactionDate, in Nairobi's time, three hours before the callback came."""
    _number, token = product.invoice(1_500)
    push = product.pushed(token)
    body = stk_body(push, receipt=receipt(1))
    paid_at = (clock.now() - timedelta(hours=3)).replace(microsecond=0)
    for item in body["Body"]["stkCallback"]["CallbackMetadata"]["Item"]:
        if item["Name"] == "TransactionDate":
            item["Value"] = int(clock.nairobi(paid_at).strftime("%Y%m%d%H%M%S"))
    product.client().post(f"{product.hook()}/stk/{push.token}", json=body)
    product.settle()
    with product.inside():
        assert db.session.query(Transaction).one().occurred_at == paid_at


def test_the_same_success_worded_otherwise_is_still_one(product: Product) -> None:
    _number, token = product.invoice(1_500)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    again = stk_body(push, receipt=receipt(1))
    again["Body"]["stkCallback"]["ResultDesc"] = "worded otherwise"
    product.client().post(f"{product.hook()}/stk/{push.token}", json=again)
    product.work()
    assert len(transactions(product)) == 1 and [state for state, _why in inbox(product)] == ["done", "done"]
    assert product.books() == []


@pytest.mark.parametrize("echo_first", [True, False])
def test_an_stk_payment_and_its_c2b_echo_are_one_transaction_with_two_witnesses(
    product: Product, echo_first: bool
) -> None:
    number, token = product.invoice(700)
    push = product.pushed(token)
    echo = c2b_body(receipt=receipt(2), amount=700, account=push.reference)
    if not echo_first:
        product.callback(push, receipt=receipt(2))
        product.work()
    product.client().post(f"{product.hook()}/c2b/confirmation", json=echo)
    product.work()
    if echo_first:
        assert product.status(token)["status"] == "paid", "the money is there, whoever told us"
        product.callback(push, receipt=receipt(2))
        product.work()
    assert transactions(product) == [(receipt(2), 700, number, "allocated")]
    assert product.books() == []


def test_a_callback_before_the_answer_is_taken_with_its_id(product: Product) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token, checkout_id=None)
    push.checkout_id = "ws_CO_first_seen_in_the_callback"
    product.callback(push, receipt=receipt(3))
    product.work()
    assert product.status(token)["status"] == "paid"
    with product.inside():
        assert db.session.get_one(Push, push.push_id).checkout_request_id == push.checkout_id


@pytest.mark.property(27)
@pytest.mark.property(30)
@pytest.mark.property(42)
def test_a_failure_says_why_and_lets_the_payer_try_again_at_once(product: Product) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token)
    product.callback(push, code=1032)
    product.work()
    said = product.status(token)
    assert said["status"] == "cancelled" and said["resultCode"] == "1032" and "You cancelled" in said["message"]
    again = product.pushed(token, push.msisdn)  # property 29: no wait
    product.callback(again, receipt=receipt(4))
    product.work()
    assert product.status(token)["status"] == "paid"
    page = product.browser_of("brian").get(f"/staff/attempts/{token}").text
    assert "1032" in page and "corrected" not in page


@pytest.mark.parametrize("first", [1032, 1, 1037, 2001])
def test_a_late_success_corrects_a_failure_and_a_failure_never_undoes_a_success(product: Product, first: int) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token)
    product.callback(push, code=first)
    product.work()
    assert product.status(token)["status"] in ("failed", "cancelled")
    product.callback(push, receipt=receipt(5))
    product.work()
    assert product.status(token)["status"] == "paid"
    product.callback(push, code=1037)
    product.work()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_money_for_a_paid_invoice_is_kept_where_staff_see_it(product: Product) -> None:
    number, token = product.invoice(300)
    first, phone = product.pushed(token), new_phone()
    product.callback(first, code=1037)
    product.work()
    second = product.pushed(token, phone)
    product.callback(second, receipt=receipt(6))
    product.work()
    product.callback(first, receipt=receipt(7))  # the first prompt was answered after all
    product.work()
    found = {row[0]: row[3] for row in transactions(product)}
    assert found == {receipt(6): "allocated", receipt(7): "unallocated"}
    page = product.browser_of("brian").get("/staff/unmatched").text
    assert receipt(7) in page and "What it names was paid already" in page
    assert "KES 300" in product.client().get(f"/pay/{token}").text
    assert product.books() == []


def test_a_part_that_a_prompt_paid_has_one_result_code_wherever_it_is_asked_for(product: Product) -> None:
    """fidelity.md 4: the portal said null, the order's query "0"."""
    number, token = product.invoice(500)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    product.settle()
    with product.app.app_context(), transaction():  # the invoice grew after it was asked for
        db.session.query(Payment).filter_by(token=token).update(
            {"amount_cents": 800_00, "state": "open", "paid_at": None}
        )

    def codes() -> tuple[str, str]:
        asked = product.api("brian").get(f"/api/mpesa/query/{push.checkout_id}").json["data"]
        return product.status(token)["resultCode"], asked["resultCode"]

    assert product.status(token)["amountDue"] == 300 and codes() == ("0", "0")
    by_hand = c2b_body(receipt=receipt(2), amount=300, account=number)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=by_hand)
    product.settle()
    assert product.status(token)["status"] == "paid" and codes() == ("0", "0")


def test_what_was_paid_by_hand_after_a_cancelled_prompt_has_the_code_of_a_payment(product: Product) -> None:
    """fidelity.md 4, its twin: "0" here, "1032" there, and both said `paid`."""
    number, token = product.invoice(500)
    product.callback(product.pushed(token), code=1032)
    product.settle()
    by_hand = c2b_body(receipt=receipt(2), amount=500, account=number)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=by_hand)
    product.settle()
    asked = product.api("brian").get(f"/api/mpesa/query/{token}").json["data"]
    told = product.status(token)
    assert (told["status"], told["resultCode"]) == (asked["status"], asked["resultCode"]) == ("paid", "0")


def test_a_part_is_taken_and_the_rest_stays_due(product: Product) -> None:
    number, token = product.invoice(850)
    product.client().post(
        f"{product.hook()}/c2b/confirmation",
        json=c2b_body(receipt=receipt(8), amount=800, account=f" {number.lower()[:3]}-{number[3:]} "),
    )
    product.work()
    assert product.status(token)["status"] == "pending" and product.status(token)["amountDue"] == 50
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(9), amount=100, account=number)
    )
    product.work()
    assert product.status(token)["status"] == "paid" and product.status(token)["amountDue"] == 0
    assert {(row[0], row[3]) for row in transactions(product)} == {
        (receipt(8), "allocated"),
        (receipt(9), "partly_allocated"),
    }
    assert product.books() == []


def test_another_amount_than_asked_waits_for_m_pesas_word_and_opens_nothing(product: Product) -> None:
    _number, token = product.invoice(500)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(10), amount=5)
    product.work(rounds=1)
    assert product.status(token)["status"] != "paid" and transactions(product) == []
    assert inbox(product)[0][0] == "waiting" and "another amount" in inbox(product)[0][1]
    with product.app.app_context():
        push_row = db.session.get_one(Push, push.push_id)
        assert push_row.asked_at is not None or push_row.next_query_at is not None


def test_a_receipt_that_paid_one_push_cannot_pay_another(product: Product) -> None:
    _number, token = product.invoice(500)
    _other, second_token = product.invoice(500)
    first, second = product.pushed(token), product.pushed(second_token)
    product.callback(first, receipt=receipt(11))
    product.work()
    product.callback(second, receipt=receipt(11))
    product.work(rounds=1)
    assert product.status(second_token)["status"] != "paid"
    assert len(transactions(product)) == 1 and "has paid another push" in inbox(product)[1][1]


@pytest.mark.property(20)
@pytest.mark.property(46)
def test_another_pushs_id_on_this_pushs_address_proves_nothing(product: Product) -> None:
    _number, token = product.invoice(500)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(12), checkout_id="ws_CO_somebody_elses")
    product.work(rounds=1)
    assert product.status(token)["status"] != "paid" and inbox(product)[0][0] == "rejected"


def test_an_unknown_account_waits_for_staff_who_place_it_with_one_click(product: Product) -> None:
    number, token = product.invoice(400, slug="bahari")
    product.client().post(
        f"{product.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(13), amount=400, account="MAMA MBOGA", shortcode="600222"),
    )
    product.work()
    browser = product.browser_of("chege")
    page = browser.get("/staff/unmatched").text
    assert receipt(13) in page and "MAMA MBOGA" in page and f"Place on {number}" in page
    action = page.split('action="/staff/unmatched/', 1)[1].split('"', 1)[0]
    csrf = page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    answer = browser.post(f"/staff/unmatched/{action}", data={"reference": number, "csrf_token": csrf})
    assert answer.status_code == 303
    product.work()
    assert product.status(token)["status"] == "paid" and "Nothing to place" in browser.get("/staff/unmatched").text
    assert product.books() == []


def test_a_mistyped_account_is_suggested_to_staff(product: Product) -> None:
    number, _token = product.invoice(999, slug="bahari")
    mistyped = f"1NV{number[3:]}"
    body = c2b_body(receipt=receipt(17), amount=400, account=mistyped, shortcode="600222")
    product.client().post(f"{product.hook('bahari')}/c2b/confirmation", json=body)
    product.settle()
    assert f"Place on {number}" in product.browser_of("chege").get("/staff/unmatched").text


def test_money_at_another_shortcode_waits(product: Product) -> None:
    number, token = product.invoice(400)
    product.client().post(
        f"{product.hook()}/c2b/confirmation",
        json=c2b_body(receipt=receipt(14), amount=400, account=number, shortcode="999999"),
    )
    product.work()
    assert (
        product.status(token)["status"] == "pending"
        and inbox(product)[0][0] == "waiting"
        and transactions(product) == []
    )


@pytest.mark.property(81)
def test_test_money_never_pays_a_real_invoice(product: Product) -> None:
    from portal.kernel.errors import Conflict
    from portal.payments.booking import allocate
    from portal.payments.payment import lock_payment

    number, token = product.invoice(400, slug="bahari")
    product.client().post(
        f"{product.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(15), amount=400, account="X", shortcode="600222"),
    )
    product.work()
    with product.app.app_context():
        with transaction():
            db.session.query(Payment).filter_by(token=token).update({"environment": "production"})
        with pytest.raises(Conflict), transaction():
            payment = lock_payment(db.session.query(Payment).filter_by(token=token).one().id)
            allocate(db.session.query(Transaction).one(), payment, actor="test")
    product.client().post(
        f"{product.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(16), amount=400, account=number, shortcode="600222"),
    )
    product.work()
    assert product.status(token)["status"] == "pending"


ORDERS = st.lists(
    st.sampled_from(["success", "twice", "echo", "failure", "cancel", "garbage", "other amount"]),
    min_size=1,
    max_size=7,
)


def invoice_with_prompt(product: Product) -> tuple[tuple[str, str], Pushed]:
    made = product.invoice(600)
    return made, product.pushed(made[1])


@pytest.mark.property(54)
@given(order=ORDERS)
def test_whatever_order_words_come_in_money_is_counted_once(product: Product, order: list[str]) -> None:
    (number, token), push = product.begin_again(lambda: invoice_with_prompt(product))
    code = receipt(push.push_id + 5_000)
    for word in order:
        if word in ("success", "twice"):
            product.callback(push, receipt=code)
        elif word == "echo":
            product.client().post(
                f"{product.hook()}/c2b/confirmation",
                json=c2b_body(receipt=code, amount=600, account=push.reference),
            )
        elif word == "failure":
            product.callback(push, code=1037)
        elif word == "cancel":
            product.callback(push, code=1032)
        elif word == "other amount":
            product.callback(push, receipt=receipt(push.push_id + 90_000), amount=1)
        else:
            product.client().post(
                f"{product.hook()}/stk/{push.token}",
                data=json.dumps({"Body": {"stkCallback": [1]}}),
                content_type="application/json",
            )
        product.settle()
    has_money = bool({"success", "twice", "echo"} & set(order))
    assert (product.status(token)["status"] == "paid") == has_money
    found = [row for row in transactions(product) if row[2] == number]
    assert found == ([(code, 600, number, "allocated")] if has_money else [])
    assert product.books() == []
