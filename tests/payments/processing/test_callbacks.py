"""What callbacks do to money, in whatever order, number and shape they come."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import InboxItem, Payment, Push, Transaction
from tests.support.business import House
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body


def transactions(house: House, name: str = "amina") -> list[tuple[str, float, str, str]]:
    items = house.api(name).get("/api/transactions").json["items"]
    return [(item["receipt"], item["amount"], item["reference"], item["state"]) for item in items]


def inbox(house: House) -> list[tuple[str, str]]:
    with house.inside():
        return [(item.state, item.outcome) for item in db.session.query(InboxItem).order_by(InboxItem.id)]


@pytest.mark.property(21)
@pytest.mark.property(23)
@pytest.mark.property(56)
@pytest.mark.property(75)
def test_a_success_pays_the_invoice_once_however_often_it_is_told(house: House) -> None:
    number, token = house.invoice(1_500)
    push = house.pushed(token)
    for _again in range(3):
        assert house.callback(push, receipt=receipt(1)).json == {"ResultCode": 0, "ResultDesc": "Accepted"}
    house.work()
    assert house.status(token)["status"] == "paid" and house.status(token)["receipt"] == receipt(1)
    assert transactions(house) == [(receipt(1), 1_500, number, "allocated")]
    with house.inside():
        money = db.session.query(Transaction).one()
        assert money.phone_hash and money.phone_sealed and push.msisdn not in money.phone_sealed
    assert house.books() == []


@pytest.mark.property(56)
def test_a_payment_is_dated_by_m_pesa_not_by_when_we_heard_of_it(house: House) -> None:
    """tests.md PR56: TransactionDate, in Nairobi's time, three hours before the callback came."""
    _number, token = house.invoice(1_500)
    push = house.pushed(token)
    body = stk_body(push, receipt=receipt(1))
    paid_at = (clock.now() - timedelta(hours=3)).replace(microsecond=0)
    for item in body["Body"]["stkCallback"]["CallbackMetadata"]["Item"]:
        if item["Name"] == "TransactionDate":
            item["Value"] = int(clock.nairobi(paid_at).strftime("%Y%m%d%H%M%S"))
    house.client().post(f"{house.hook()}/stk/{push.token}", json=body)
    house.settle()
    with house.inside():
        assert db.session.query(Transaction).one().occurred_at == paid_at


def test_the_same_success_worded_otherwise_is_still_one(house: House) -> None:
    _number, token = house.invoice(1_500)
    push = house.pushed(token)
    house.callback(push, receipt=receipt(1))
    again = stk_body(push, receipt=receipt(1))
    again["Body"]["stkCallback"]["ResultDesc"] = "worded otherwise"
    house.client().post(f"{house.hook()}/stk/{push.token}", json=again)
    house.work()
    assert len(transactions(house)) == 1 and [state for state, _why in inbox(house)] == ["done", "done"]
    assert house.books() == []


@pytest.mark.parametrize("echo_first", [True, False])
def test_an_stk_payment_and_its_c2b_echo_are_one_transaction_with_two_witnesses(house: House, echo_first: bool) -> None:
    number, token = house.invoice(700)
    push = house.pushed(token)
    echo = c2b_body(receipt=receipt(2), amount=700, account=push.reference)
    if not echo_first:
        house.callback(push, receipt=receipt(2))
        house.work()
    house.client().post(f"{house.hook()}/c2b/confirmation", json=echo)
    house.work()
    if echo_first:
        assert house.status(token)["status"] == "paid", "the money is there, whoever told us"
        house.callback(push, receipt=receipt(2))
        house.work()
    assert transactions(house) == [(receipt(2), 700, number, "allocated")]
    assert house.books() == []


def test_a_callback_before_the_answer_is_taken_with_its_id(house: House) -> None:
    _number, token = house.invoice(300)
    push = house.pushed(token, checkout_id=None)
    push.checkout_id = "ws_CO_first_seen_in_the_callback"
    house.callback(push, receipt=receipt(3))
    house.work()
    assert house.status(token)["status"] == "paid"
    with house.inside():
        assert db.session.get_one(Push, push.push_id).checkout_request_id == push.checkout_id


@pytest.mark.property(27)
@pytest.mark.property(30)
@pytest.mark.property(42)
def test_a_failure_says_why_and_lets_the_payer_try_again_at_once(house: House) -> None:
    _number, token = house.invoice(300)
    push = house.pushed(token)
    house.callback(push, code=1032)
    house.work()
    said = house.status(token)
    assert said["status"] == "cancelled" and said["resultCode"] == "1032" and "You cancelled" in said["message"]
    again = house.pushed(token, push.msisdn)  # property 29: no wait
    house.callback(again, receipt=receipt(4))
    house.work()
    assert house.status(token)["status"] == "paid"
    page = house.browser_of("brian").get(f"/staff/attempts/{token}").text
    assert "1032" in page and "corrected" not in page


@pytest.mark.parametrize("first", [1032, 1, 1037, 2001])
def test_a_late_success_corrects_a_failure_and_a_failure_never_undoes_a_success(house: House, first: int) -> None:
    _number, token = house.invoice(300)
    push = house.pushed(token)
    house.callback(push, code=first)
    house.work()
    assert house.status(token)["status"] in ("failed", "cancelled")
    house.callback(push, receipt=receipt(5))
    house.work()
    assert house.status(token)["status"] == "paid"
    house.callback(push, code=1037)
    house.work()
    assert house.status(token)["status"] == "paid" and house.books() == []


def test_money_for_a_paid_invoice_is_kept_where_staff_see_it(house: House) -> None:
    number, token = house.invoice(300)
    first, phone = house.pushed(token), new_phone()
    house.callback(first, code=1037)
    house.work()
    second = house.pushed(token, phone)
    house.callback(second, receipt=receipt(6))
    house.work()
    house.callback(first, receipt=receipt(7))  # the first prompt was answered after all
    house.work()
    found = {row[0]: row[3] for row in transactions(house)}
    assert found == {receipt(6): "allocated", receipt(7): "unallocated"}
    page = house.browser_of("brian").get("/staff/unmatched").text
    assert receipt(7) in page and "What it names was paid already" in page
    assert "KES 300" in house.client().get(f"/pay/{token}").text
    assert house.books() == []


def test_a_part_that_a_prompt_paid_has_one_result_code_wherever_it_is_asked_for(house: House) -> None:
    """fidelity.md 4: the portal said null, the order's query "0"."""
    number, token = house.invoice(500)
    push = house.pushed(token)
    house.callback(push, receipt=receipt(1))
    house.settle()
    with house.app.app_context(), transaction():  # the invoice grew after it was asked for
        db.session.query(Payment).filter_by(token=token).update(
            {"amount_cents": 800_00, "state": "open", "paid_at": None}
        )

    def codes() -> tuple[str, str]:
        asked = house.api("brian").get(f"/api/mpesa/query/{push.checkout_id}").json["data"]
        return house.status(token)["resultCode"], asked["resultCode"]

    assert house.status(token)["amountDue"] == 300 and codes() == ("0", "0")
    by_hand = c2b_body(receipt=receipt(2), amount=300, account=number)
    house.client().post(f"{house.hook()}/c2b/confirmation", json=by_hand)
    house.settle()
    assert house.status(token)["status"] == "paid" and codes() == ("0", "0")


def test_what_was_paid_by_hand_after_a_cancelled_prompt_has_the_code_of_a_payment(house: House) -> None:
    """fidelity.md 4, its twin: "0" here, "1032" there, and both said `paid`."""
    number, token = house.invoice(500)
    house.callback(house.pushed(token), code=1032)
    house.settle()
    by_hand = c2b_body(receipt=receipt(2), amount=500, account=number)
    house.client().post(f"{house.hook()}/c2b/confirmation", json=by_hand)
    house.settle()
    asked = house.api("brian").get(f"/api/mpesa/query/{token}").json["data"]
    told = house.status(token)
    assert (told["status"], told["resultCode"]) == (asked["status"], asked["resultCode"]) == ("paid", "0")


def test_a_part_is_taken_and_the_rest_stays_due(house: House) -> None:
    number, token = house.invoice(850)
    house.client().post(
        f"{house.hook()}/c2b/confirmation",
        json=c2b_body(receipt=receipt(8), amount=800, account=f" {number.lower()[:3]}-{number[3:]} "),
    )
    house.work()
    assert house.status(token)["status"] == "pending" and house.status(token)["amountDue"] == 50
    house.client().post(
        f"{house.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(9), amount=100, account=number)
    )
    house.work()
    assert house.status(token)["status"] == "paid" and house.status(token)["amountDue"] == 0
    assert {(row[0], row[3]) for row in transactions(house)} == {
        (receipt(8), "allocated"),
        (receipt(9), "partly_allocated"),
    }
    assert house.books() == []


def test_another_amount_than_asked_waits_for_m_pesas_word_and_opens_nothing(house: House) -> None:
    _number, token = house.invoice(500)
    push = house.pushed(token)
    house.callback(push, receipt=receipt(10), amount=5)
    house.work(rounds=1)
    assert house.status(token)["status"] != "paid" and transactions(house) == []
    assert inbox(house)[0][0] == "waiting" and "another amount" in inbox(house)[0][1]
    with house.app.app_context():
        push_row = db.session.get_one(Push, push.push_id)
        assert push_row.asked_at is not None or push_row.next_query_at is not None


def test_a_receipt_that_paid_one_push_cannot_pay_another(house: House) -> None:
    _number, token = house.invoice(500)
    _other, second_token = house.invoice(500)
    first, second = house.pushed(token), house.pushed(second_token)
    house.callback(first, receipt=receipt(11))
    house.work()
    house.callback(second, receipt=receipt(11))
    house.work(rounds=1)
    assert house.status(second_token)["status"] != "paid"
    assert len(transactions(house)) == 1 and "has paid another push" in inbox(house)[1][1]


@pytest.mark.property(20)
@pytest.mark.property(46)
def test_another_pushs_id_on_this_pushs_address_proves_nothing(house: House) -> None:
    _number, token = house.invoice(500)
    push = house.pushed(token)
    house.callback(push, receipt=receipt(12), checkout_id="ws_CO_somebody_elses")
    house.work(rounds=1)
    assert house.status(token)["status"] != "paid" and inbox(house)[0][0] == "rejected"


def test_an_unknown_account_waits_for_staff_who_place_it_with_one_click(house: House) -> None:
    number, token = house.invoice(400, slug="bahari")
    house.client().post(
        f"{house.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(13), amount=400, account="MAMA MBOGA", shortcode="600222"),
    )
    house.work()
    browser = house.browser_of("chege")
    page = browser.get("/staff/unmatched").text
    assert receipt(13) in page and "MAMA MBOGA" in page and f"Place on {number}" in page
    action = page.split('action="/staff/unmatched/', 1)[1].split('"', 1)[0]
    csrf = page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    answer = browser.post(f"/staff/unmatched/{action}", data={"reference": number, "csrf_token": csrf})
    assert answer.status_code == 303
    house.work()
    assert house.status(token)["status"] == "paid" and "Nothing to place" in browser.get("/staff/unmatched").text
    assert house.books() == []


def test_a_mistyped_account_is_suggested_to_staff(house: House) -> None:
    number, _token = house.invoice(999, slug="bahari")
    mistyped = f"1NV{number[3:]}"
    body = c2b_body(receipt=receipt(17), amount=400, account=mistyped, shortcode="600222")
    house.client().post(f"{house.hook('bahari')}/c2b/confirmation", json=body)
    house.settle()
    assert f"Place on {number}" in house.browser_of("chege").get("/staff/unmatched").text


def test_money_at_another_shortcode_waits(house: House) -> None:
    number, token = house.invoice(400)
    house.client().post(
        f"{house.hook()}/c2b/confirmation",
        json=c2b_body(receipt=receipt(14), amount=400, account=number, shortcode="999999"),
    )
    house.work()
    assert house.status(token)["status"] == "pending" and inbox(house)[0][0] == "waiting" and transactions(house) == []


@pytest.mark.property(81)
def test_test_money_never_pays_a_real_invoice(house: House) -> None:
    from portal.kernel.errors import Conflict
    from portal.payments.booking import allocate
    from portal.payments.payment import lock_payment

    number, token = house.invoice(400, slug="bahari")
    house.client().post(
        f"{house.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(15), amount=400, account="X", shortcode="600222"),
    )
    house.work()
    with house.app.app_context():
        with transaction():
            db.session.query(Payment).filter_by(token=token).update({"environment": "production"})
        with pytest.raises(Conflict), transaction():
            payment = lock_payment(db.session.query(Payment).filter_by(token=token).one().id)
            allocate(db.session.query(Transaction).one(), payment, actor="test")
    house.client().post(
        f"{house.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(16), amount=400, account=number, shortcode="600222"),
    )
    house.work()
    assert house.status(token)["status"] == "pending"


ORDERS = st.lists(
    st.sampled_from(["success", "twice", "echo", "failure", "cancel", "garbage", "other amount"]),
    min_size=1,
    max_size=7,
)


@pytest.mark.property(54)
@given(order=ORDERS)
def test_whatever_order_words_come_in_money_is_counted_once(house: House, order: list[str]) -> None:
    house.begin_again()
    number, token = house.invoice(600)
    push = house.pushed(token)
    code = receipt(push.push_id + 5_000)
    for word in order:
        if word in ("success", "twice"):
            house.callback(push, receipt=code)
        elif word == "echo":
            house.client().post(
                f"{house.hook()}/c2b/confirmation",
                json=c2b_body(receipt=code, amount=600, account=push.reference),
            )
        elif word == "failure":
            house.callback(push, code=1037)
        elif word == "cancel":
            house.callback(push, code=1032)
        elif word == "other amount":
            house.callback(push, receipt=receipt(push.push_id + 90_000), amount=1)
        else:
            house.client().post(
                f"{house.hook()}/stk/{push.token}",
                data=json.dumps({"Body": {"stkCallback": [1]}}),
                content_type="application/json",
            )
        house.settle()
    has_money = bool({"success", "twice", "echo"} & set(order))
    assert (house.status(token)["status"] == "paid") == has_money
    found = [row for row in transactions(house) if row[2] == number]
    assert found == ([(code, 600, number, "allocated")] if has_money else [])
    assert house.books() == []
