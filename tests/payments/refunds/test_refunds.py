"""Money on its way back: through the simulator's real doors, and through every way an answer can be lost."""

from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.clinic import invoices
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payments import daraja_requests
from portal.payments.models import MpesaRequest, Push, Refund, Transaction
from portal.payments.processing import callbacks, request_jobs
from portal.payments.refunds import refunds
from portal.tenants.models import Tenant
from tests.support.clock import later
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, payment_id_of, refund_of, with_initiator
from tests.support.threads import together

PHONE = "254722{:06d}"


@pytest.fixture
def paid(served: Product) -> tuple[Product, str, str]:
    """(product, paymentId, phone) of an invoice of KES 1,000 that was really paid on the simulator."""
    served.give_initiator()
    number, token = served.invoice(1_000)
    phone = new_phone("00")
    answer = served.api("brian").post(
        "/api/mpesa/initiate", json={"orderId": number, "amount": 1_000, "phoneNumber": phone}
    )
    assert answer.status_code == 201, answer.text
    served.work(rounds=1)
    requests.post(f"{served.daraja_url}/handset/{phone}/pin", json={"pin": "1234"}, timeout=30)
    served.settle_until(lambda: served.status(token)["status"] == "paid")
    return served, token, phone


def test_a_partial_and_then_the_rest_go_back_by_b2c(paid: tuple[Product, str, str]) -> None:
    product, token, phone = paid
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 400})
    assert answer.status_code == 200 and answer.json["data"]["status"] == "pending"
    assert answer.json["data"]["refundAmount"] == 400
    product.settle_until(lambda: refund_of(product, answer.json["data"]["refundId"])["status"] == "refunded")
    assert product.status(token)["status"] == "partially_refunded"
    too_much = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 601})
    assert too_much.status_code == 422 and "At most KES 600" in too_much.json["message"]
    rest = product.api("amina").post(f"/api/mpesa/{token}/refund", json={})
    product.settle_until(lambda: refund_of(product, rest.json["data"]["refundId"])["status"] == "refunded")
    assert product.status(token)["status"] == "refunded"
    again = product.api("amina").post(f"/api/mpesa/{token}/refund", json={})
    assert again.status_code == 422 and "nothing left" in again.json["message"]
    inbox = requests.get(f"{product.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    assert sum("received" in message["text"].lower() for message in inbox) == 2
    assert product.books() == []


def test_a_refund_of_a_part_leaves_the_whole_due_and_may_fail(served: Product) -> None:
    served.give_initiator()
    number, token = served.invoice(1_000)
    served.callback(served.pushed(served.invoice(400)[1]), receipt=receipt(1))
    part = served.pushed(token)
    served.callback(part, amount=400, receipt=receipt(2))
    served.work()
    with served.app.app_context(), transaction():  # M-Pesa confirms: the stated amount is a part of it
        push = db.session.get_one(Push, part.push_id)
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert served.status(token)["amountDue"] == 600
    amina = served.api("amina")
    asked = amina.post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    assert asked.status_code == 200, asked.text
    assert served.status(token)["amountDue"] == 700, "what goes back pays nothing any more"
    served.settle_until(lambda: refund_of(served, asked.json["data"]["refundId"])["status"] == "refunded")
    assert served.status(token)["amountDue"] == 700 and served.books() == []
    rest = amina.post(f"/api/mpesa/{token}/refund", json={})
    assert rest.json["data"]["refundAmount"] == 300 and served.status(token)["amountDue"] == 1_000
    served.settle_until(lambda: refund_of(served, rest.json["data"]["refundId"])["status"] == "refunded")
    page = served.client().get(f"/pay/{token}").text
    assert "KES 100 was sent back" in page and "KES 300 was sent back" in page
    assert amina.post(f"/api/mpesa/{token}/refund", json={}).status_code == 422
    with served.app.app_context(), transaction():
        invoices.void(invoices.by_number(served.tenant_id(), number), why="Went home", actor="test")
    assert served.status(token)["status"] == "cancelled" and served.books() == []


def test_a_reversal_needs_no_phone_and_takes_the_receipt(paid: tuple[Product, str, str]) -> None:
    product, token, _phone = paid
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"method": "reversal"})
    product.settle_until(lambda: refund_of(product, answer.json["data"]["refundId"])["status"] == "refunded")
    assert product.status(token)["status"] == "refunded" and product.books() == []


def test_only_administrators_refund_and_never_below_m_pesas_minimum(paid: tuple[Product, str, str]) -> None:
    product, token, _phone = paid
    for name in ("brian", "wanjiru", "njeri", "otieno"):
        assert product.api(name).post(f"/api/mpesa/{token}/refund", json={"amount": 100}).status_code == 403
    assert product.api("chege").post(f"/api/mpesa/{token}/refund", json={"amount": 100}).status_code == 404
    small = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 9})
    assert (
        small.status_code == 422 and "KES 10 or more" in small.json["message"] and "reversal" in small.json["message"]
    )
    for amount in (0, -5, "x", 10.5, True):
        assert product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": amount}).status_code == 422
    with product.inside():
        assert db.session.query(Refund).count() == 0


def test_a_large_refund_waits_for_a_second_administrator(paid: tuple[Product, str, str]) -> None:
    product, token, _phone = paid
    from portal.tenants.models import Tenant
    from portal.users import credentials

    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        tenant.refund_approval_above_cents = 50_000
        user = credentials.add_user(email="zuri@mlima.test", name="Zuri", password="correct horse")
        credentials.add_role(user, tenant.id, "tenant_admin")
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 600})
    uid = answer.json["data"]["refundId"]
    assert answer.json["data"]["needsApproval"] is True
    product.work()
    assert refund_of(product, uid)["state"] == "requested"
    own = product.api("amina").post(f"/api/refunds/{uid}/approve", json={})
    assert own.status_code == 409 and "Somebody else" in own.json["message"]
    assert product.api("zuri").post(f"/api/refunds/{uid}/approve", json={}).status_code == 200
    product.settle_until(lambda: refund_of(product, uid)["status"] == "refunded")
    assert product.books() == []


def test_the_limit_is_not_passed_in_small_steps(paid: tuple[Product, str, str]) -> None:
    product, token, _phone = paid
    with product.app.app_context(), transaction():
        db.session.query(Tenant).update({"refund_approval_above_cents": 50_000})
    amina, path = product.api("amina"), f"/api/mpesa/{token}/refund"
    steps = [amina.post(path, json={"amount": 300, "idempotencyKey": n}).json["data"] for n in "123"]
    assert [step["needsApproval"] for step in steps] == [False, True, True]


def test_a_halt_stops_what_was_begun_before_it(paid: tuple[Product, str, str]) -> None:
    """Claimed, not sent yet, and then the initiator is halted: not one more try goes out until somebody looked."""
    product, token, phone = paid
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    uid = answer.json["data"]["refundId"]
    with product.app.app_context():
        with transaction():
            refund = refunds.get_by_uid(product_id := db.session.query(Tenant.id).filter_by(slug="mlima").scalar(), uid)
            assert refunds.begin(refund.id) is not None
        with transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            gateway.initiator_halted_at, gateway.initiator_halted_why = clock.now(), "8006"
        db.session.remove()
    product.work(rounds=3)
    assert refund_of(product, uid)["state"] == "approved"
    assert not [one for one in inbox_of(product, phone) if "received" in one.lower()]
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(tenant_id=product_id, shortcode="600111").one()
        gateway.initiator_halted_at, gateway.initiator_halted_why = None, ""
    later(700)
    product.settle_until(lambda: refund_of(product, uid)["status"] == "refunded")
    assert len([one for one in inbox_of(product, phone) if "received" in one.lower()]) == 1 and product.books() == []


def inbox_of(product: Product, phone: str) -> list[str]:
    messages = requests.get(f"{product.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    return [message["text"] for message in messages]


def fault(product: Product, **faults: Any) -> None:
    answer = requests.post(f"{product.daraja_url}/control", json={"faults": faults}, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("spoiled", ["htmlAnswer", "emptyAnswer", "dropConnection"])
def test_a_refund_whose_answer_was_lost_is_found_by_its_result_and_sent_once(
    paid: tuple[Product, str, str], spoiled: str
) -> None:
    product, token, phone = paid
    fault(product, **{spoiled: {"times": 1, "endpoint": "b2c"}})
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    product.settle_until(lambda: refund_of(product, answer.json["data"]["refundId"])["status"] == "refunded")
    inbox = requests.get(f"{product.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    assert sum("received" in message["text"].lower() for message in inbox) == 1 and product.books() == []


@pytest.mark.parametrize("lost", ["resultLost", "timeoutInsteadOfResult"])
def test_a_refund_whose_result_was_lost_is_resolved_by_transaction_status(
    paid: tuple[Product, str, str], lost: str
) -> None:
    from tests.support.clock import later

    product, token, phone = paid
    fault(product, **{lost: {"times": 1, "endpoint": "b2c"}})
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    uid = answer.json["data"]["refundId"]
    product.work(rounds=1)
    product.settle_until(lambda: refund_of(product, uid)["state"] in ("sent", "unknown"))
    later(120)
    product.settle_until(lambda: refund_of(product, uid)["status"] == "refunded")
    inbox = requests.get(f"{product.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    assert sum("received" in message["text"].lower() for message in inbox) == 1 and product.books() == []


def test_a_busy_m_pesa_gets_the_same_id_again_and_pays_once(paid: tuple[Product, str, str]) -> None:
    from tests.support.clock import later

    product, token, phone = paid
    fault(product, spikeArrest={"times": 1, "endpoint": "b2c"})
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    uid = answer.json["data"]["refundId"]
    product.work(rounds=2)
    assert refund_of(product, uid)["status"] == "pending"
    later(40)
    product.settle_until(lambda: refund_of(product, uid)["status"] == "refunded")
    with product.inside():
        assert db.session.query(MpesaRequest).filter_by(kind="b2c").count() == 1
    assert product.books() == []


def test_the_first_wrong_initiator_password_halts_everything_until_an_administrator_looks(
    paid: tuple[Product, str, str],
) -> None:
    product, token, _phone = paid
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.initiator_name = "nobody"
    first = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    product.settle_until(lambda: refund_of(product, first.json["data"]["refundId"])["status"] == "failed")
    second = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 200})
    assert second.status_code == 409 and "until an administrator looks" in second.json["message"]
    gateway_uid = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    initiator = {
        "initiatorName": "mlima-api", "initiatorPassword": "Safaricom123!",
        "consumerKey": "mlima-key", "consumerSecret": "mlima-secret", "passkey": "mlima-passkey",
    }  # fmt: skip
    changed = product.api("amina").put(f"/api/payment-gateways/{gateway_uid}", json=initiator)
    assert changed.status_code == 200, changed.text
    third = product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 300})
    product.settle_until(lambda: refund_of(product, third.json["data"]["refundId"])["status"] == "refunded")
    assert product.books() == []


def test_a_result_for_an_unknown_conversation_or_of_the_wrong_shape_changes_nothing(product: Product) -> None:
    for body in (
        {
            "Result": {
                "ResultCode": 0,
                "ConversationID": "AG_x",
                "OriginatorConversationID": "y",
                "TransactionID": "UKL0000001",
            }
        },
        {"Result": []},
        [],
        "x",
        {"Result": {"ResultParameters": {"ResultParameter": "no"}}},
    ):
        for door in ("result", "timeout"):
            answer = product.client().post(f"{product.hook()}/{door}/{'a' * 40}", json=body)
            assert answer.status_code == 200 and answer.json == {"ResultCode": 0, "ResultDesc": "Accepted"}
    product.work()
    with product.inside():
        assert db.session.query(Transaction).count() == 0 and db.session.query(Refund).count() == 0


def test_a_thousand_clicks_never_refund_more_than_came(either_product: Product) -> None:
    product = either_product
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    payment_id = payment_id_of(product, token)

    def click() -> int:
        try:
            with transaction():
                made = refunds.ask_for(
                    payment_id, amount_cents=30_000, method="reversal", user_id=2, why="", actor="user:2"
                )
                return sum(one.amount_cents for one in made)
        except Exception as error:
            assert "At most" in str(error), error
            return 0

    assert sum(together(product, *[click] * 6)) == 90_000
    assert product.books() == []


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 60_000), st.sampled_from(["done", "fail", "leave", "done fail", "fail done"])),
        max_size=6,
    )
)
@settings(max_examples=100)
def test_refunds_in_any_order_leave_books_that_add_up(product: Product, steps: list[tuple[int, str]]) -> None:
    def begun() -> int:
        with_initiator(product)
        number, token = product.invoice(500)
        paid_by_hand(product, 500, number, receipt(10))
        return payment_id_of(product, token)

    payment_id = product.begin_again(begun)
    gone = 0
    for cents, fate in steps:
        with product.app.app_context():
            try:
                with transaction():
                    made = refunds.ask_for(
                        payment_id,
                        amount_cents=cents - cents % 100 or 100,
                        method="reversal",
                        user_id=2,
                        why="",
                        actor="user:2",
                    )[0]
                    uid, amount = made.id, made.amount_cents
            except Refused as error:
                assert "At most" in str(error) or "nothing left" in str(error)
                continue
            for step in fate.split():
                with transaction():
                    if step == "done":
                        refunds.done(refunds.lock(uid), receipt=None, actor="test")
                    elif step == "fail":
                        refunds.fail(refunds.lock(uid), "no", actor="test")
            gone += amount if "done" in fate else 0
    assert product.books() == [] and gone <= 50_000


# --- sent twice, asked for twice, and cents


def test_the_books_tell_of_money_that_went_back_twice(product: Product) -> None:
    """money.md A14: a refund that M-Pesa called failed, and sent after all."""
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number, receipt(1))
    payment_id = payment_id_of(product, token)
    ids = []
    for fate in ("failed", "done"):
        with product.app.app_context(), transaction():
            made = refunds.ask_for(payment_id, amount_cents=None, method="b2c", user_id=1, why="", actor="user:1")
            ids.append(made[0].id)
        with product.app.app_context(), transaction():
            one = refunds.lock(ids[-1])
            refunds.fail(one, "no", actor="test") if fate == "failed" else refunds.done(one, receipt=None, actor="test")
    assert product.books() == []
    with product.app.app_context(), transaction():
        refunds.done(refunds.lock(ids[0]), receipt=None, actor="test")  # M-Pesa had sent the first one after all
    assert product.books() == [f"Of receipt {receipt(1)} KES 200 were sent back; KES 100 had come."]


def test_the_same_part_is_not_sent_back_again_for_want_of_an_answer(product: Product) -> None:
    """money.md A15: a program that did not hear the answer asks again; the first id is told, no second is made."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    amina, path = product.api("amina"), f"/api/mpesa/{token}/refund"
    first = amina.post(path, json={"amount": 400})
    again = amina.post(path, json={"amount": 400})
    assert first.status_code == 200 and again.status_code == 409
    assert again.json["error"] == "repeated_refund" and first.json["data"]["refundId"] in again.json["message"]
    assert amina.post(path, json={"amount": 300}).status_code == 200, "another amount is another refund"
    with product.app.app_context(), transaction():
        for (one_id,) in db.session.query(Refund.id).all():
            refunds.done(refunds.lock(one_id), receipt=None, actor="test")
    assert amina.post(path, json={"amount": 300}).status_code == 409, "done a moment ago"
    later(601)
    assert amina.post(path, json={"amount": 300}).status_code == 200
    with product.inside():
        assert [one.amount_cents for one in db.session.query(Refund).order_by(Refund.id)] == [40_000, 30_000, 30_000]


def test_a_part_that_failed_may_be_asked_for_again_at_once(product: Product) -> None:
    """money.md A15: only what goes back, or went, is a repetition."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    amina, path = product.api("amina"), f"/api/mpesa/{token}/refund"
    assert amina.post(path, json={"amount": 400}).status_code == 200
    with product.app.app_context(), transaction():
        refunds.fail(refunds.lock(db.session.query(Refund.id).scalar()), "no", actor="test")
    assert amina.post(path, json={"amount": 400}).status_code == 200


@pytest.mark.parametrize("as_header", [True, False])
def test_a_refund_with_a_key_is_made_once_and_told_again(product: Product, as_header: bool) -> None:
    """money.md A15: Idempotency-Key, as a header or in the body; of a payment by two receipts both parts."""
    with_initiator(product)
    number, token = product.invoice(100)
    other, other_token = product.invoice(100)
    for amount, account, code in ((60, number, 1), (40, number, 2), (100, other, 3)):
        paid_by_hand(product, amount, account, receipt(code))
    client, amina = product.client(), product.api("amina")

    def ask(of: str, amount: int, key: str) -> Any:
        body = {"amount": amount} | ({} if as_header else {"idempotencyKey": key})
        named = {"Idempotency-Key": key} if as_header else {}
        return client.post(f"/api/mpesa/{of}/refund", json=body, headers=amina.headers | named)

    first, again = ask(token, 80, "k1"), ask(token, 80, "k1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert (
        again.json["data"]["refundIds"] == first.json["data"]["refundIds"] and len(again.json["data"]["refundIds"]) == 2
    )
    assert again.json["data"]["refundAmount"] == 80
    for of, amount in ((token, 20), (other_token, 80)):
        refused = ask(of, amount, "k1")
        assert refused.status_code == 409 and refused.json["error"] == "idempotency_conflict"
    second = ask(other_token, 30, "k2"), ask(other_token, 30, "k3")
    assert [one.status_code for one in second] == [200, 200], "two keys are two refunds that are meant"
    with product.inside():
        assert sum(one.amount_cents for one in db.session.query(Refund)) == (80 + 30 + 30) * 100


def test_one_key_at_once_is_one_refund(either_product: Product) -> None:
    """money.md A15 on both databases: of one payment the same refund, of two payments a conflict for one."""
    product = either_product
    with_initiator(product)
    numbers = [product.invoice(100) for _n in range(2)]
    for index, (number, _token) in enumerate(numbers):
        paid_by_hand(product, 100, number, receipt(index))
    amina = product.api("amina")

    def ask(token: str) -> Any:
        body = {"amount": 50, "idempotencyKey": "k"}
        return product.client().post(f"/api/mpesa/{token}/refund", json=body, headers=amina.headers).status_code

    one, two = (token for _number, token in numbers)
    said = together(product, *([lambda: ask(one)] * 3), *([lambda: ask(two)] * 3))
    assert sorted(said) == [200, 200, 200, 409, 409, 409], said
    with product.inside():
        assert db.session.query(Refund).count() == 1


def test_an_empty_body_means_all_that_is_left(product: Product) -> None:
    """coverage.md, contract differences: no JSON at all."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    amina = product.api("amina")
    assert amina.post(f"/api/mpesa/{token}/refund", json={"amount": 100}).status_code == 200
    answer = product.client().post(f"/api/mpesa/{token}/refund", headers=amina.headers)
    assert answer.status_code == 200 and answer.json["data"]["refundAmount"] == 900


def test_receipts_with_cents_go_back_as_far_as_m_pesa_sends(product: Product) -> None:
    """money.md A16: 50.50 and 49.50 pay 100; after 50 went back the next receipt's shillings still go."""
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 50.5, number, receipt(1))  # type: ignore[arg-type]
    paid_by_hand(product, 49.5, number, receipt(2))  # type: ignore[arg-type]
    amina, path = product.api("amina"), f"/api/mpesa/{token}/refund"
    too_much = amina.post(path, json={"amount": 100, "method": "reversal"})
    assert too_much.status_code == 422 and "At most KES 99" in too_much.json["message"]
    assert amina.post(path, json={"amount": 50, "method": "reversal"}).status_code == 200
    rest = amina.post(path, json={"method": "reversal"})
    assert rest.status_code == 200 and rest.json["data"]["refundAmount"] == 49
    left = amina.post(path, json={"method": "reversal"})
    assert left.status_code == 422 and "Less than a shilling" in left.json["message"] and product.books() == []


def test_a_reversal_in_part_that_m_pesa_calls_completed_stays_unknown(product: Product) -> None:
    """money.md D, proved: the payment may stay Completed while a part of it went back; nothing is freed."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    answered = _status_answers(product, token, amount=400, times=5)
    assert answered.state == "unknown" and answered.next_at is not None
    assert product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 700}).status_code == 422
    later(3_601)
    with product.app.app_context(), transaction():
        assert refunds.may_be_resolved(refunds.lock(answered.id)), "an administrator looks at the statement"


def test_a_reversal_of_all_that_m_pesa_calls_completed_did_not_go(product: Product) -> None:
    """money.md D: of a whole payment `Completed` is M-Pesa's word that it still stands."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    assert _status_answers(product, token, amount=1_000, times=3).state == "failed"


def _status_answers(product: Product, token: str, *, amount: int, times: int) -> Refund:
    """A reversal whose answer was lost, and M-Pesa's `Completed` about its payment, so often."""
    from portal.gateways import messages
    from portal.payments.refunds import refund_results

    told = messages.parse_result(
        {
            "Result": {
                "ResultCode": 0, "ResultDesc": "", "ConversationID": "c", "OriginatorConversationID": "o",
                "TransactionID": "T",
                "ResultParameters": {"ResultParameter": [{"Key": "TransactionStatus", "Value": "Completed"}]},
            }
        }
    )  # fmt: skip
    payment_id = payment_id_of(product, token)
    with product.app.app_context():
        with transaction():
            one_id = refunds.ask_for(
                payment_id, amount_cents=amount * 100, method="reversal", user_id=1, why="", actor="user:1"
            )[0].id
        with transaction():
            assert refunds.begin(one_id) is not None
            refunds.unknown(refunds.lock(one_id), "Its answer was lost.")
        for _time in range(times):
            with transaction():
                one = refunds.lock(one_id)
                question = daraja_requests.ask(
                    db.session.get_one(Gateway, one.gateway_id), "status", daraja_requests.Subject(refund_id=one_id)
                )
                refund_results.take_status(one, told, question)
                daraja_requests.close(question, "answered", code="0")
        return db.session.get_one(Refund, one_id)


def begun(product: Product) -> tuple[int, int]:
    """(refund, request) of a refund whose request is written, and not yet sent."""
    with_initiator(product)
    number, token = product.invoice(1_000)
    paid_by_hand(product, 1_000, number, receipt(1))
    assert product.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 1_000}).status_code == 200
    with product.app.app_context(), transaction():
        refund_id = db.session.query(Refund.id).scalar()
        request = refunds.begin(refund_id)
        assert request is not None
        return refund_id, request.id


def test_a_refund_that_an_administrator_ended_is_not_sent_by_a_worker_that_comes_back(product: Product) -> None:
    """Killed between two lines, its request waited; an hour later it was said not to have gone, and then went."""
    refund_id, request_id = begun(product)
    with product.app.app_context():
        later(4_000)
        with transaction():
            refunds.unknown(refunds.lock(refund_id), "No result came in time.")
        with transaction():
            refunds.resolve(refunds.lock(refund_id), went=False, receipt="", actor="test")
        request_jobs.send_request(request_id)
        one = db.session.get_one(MpesaRequest, request_id)
        assert (one.state, one.sends, one.next_at) == ("failed", 0, None)
    assert product.books() == []


def test_an_hour_without_a_word_begins_when_a_refund_truly_leaves(product: Product) -> None:
    refund_id, request_id = begun(product)
    with product.app.app_context():
        later(4_000)
        with transaction():
            refunds.unknown(refunds.lock(refund_id), "No result came in time.")
            assert refunds.may_be_resolved(refunds.lock(refund_id))
        with transaction():
            assert refunds.may_still_go(db.session.get_one(MpesaRequest, request_id))
            assert daraja_requests.lease(request_id, public_url="https://mlango.example") is not None
            assert not refunds.may_be_resolved(refunds.lock(refund_id))
