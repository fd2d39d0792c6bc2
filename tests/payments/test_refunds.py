"""Money on its way back: through the simulator's real doors, and through every way an answer can be lost."""

from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from portal import clock
from portal.clinic import invoices
from portal.db import db, transaction
from portal.errors import Refused
from portal.gateways.models import Gateway
from portal.payments import refunds, settle
from portal.payments.models import MpesaRequest, Payment, Push, Refund, Transaction
from portal.tenants.models import Tenant
from tests.house import House, c2b_body, later, new_phone, receipt
from tests.payments.test_races import together

PHONE = "254722{:06d}"


@pytest.fixture
def paid(served: House) -> tuple[House, str, str]:
    """(house, paymentId, phone) of an invoice of KES 1,000 that was really paid on the simulator."""
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


def refund_of(house: House, uid: str) -> dict[str, Any]:
    return house.api("amina").get(f"/api/refunds/{uid}").json  # type: ignore[no-any-return]


def test_a_partial_and_then_the_rest_go_back_by_b2c(paid: tuple[House, str, str]) -> None:
    house, token, phone = paid
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 400})
    assert answer.status_code == 200 and answer.json["data"]["status"] == "pending"
    assert answer.json["data"]["refundAmount"] == 400
    house.settle_until(lambda: refund_of(house, answer.json["data"]["refundId"])["status"] == "refunded")
    assert house.status(token)["status"] == "partially_refunded"
    too_much = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 601})
    assert too_much.status_code == 422 and "At most KES 600" in too_much.json["message"]
    rest = house.api("amina").post(f"/api/mpesa/{token}/refund", json={})
    house.settle_until(lambda: refund_of(house, rest.json["data"]["refundId"])["status"] == "refunded")
    assert house.status(token)["status"] == "refunded"
    again = house.api("amina").post(f"/api/mpesa/{token}/refund", json={})
    assert again.status_code == 422 and "nothing left" in again.json["message"]
    inbox = requests.get(f"{house.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    assert sum("received" in message["text"].lower() for message in inbox) == 2
    assert house.books() == []


def test_a_refund_of_a_part_leaves_the_whole_due_and_may_fail(served: House) -> None:
    served.give_initiator()
    number, token = served.invoice(1_000)
    served.callback(served.pushed(served.invoice(400)[1]), receipt=receipt(1))
    part = served.pushed(token)
    served.callback(part, amount=400, receipt=receipt(2))
    served.work()
    with served.app.app_context(), transaction():  # M-Pesa confirms: the stated amount is a part of it
        push = db.session.get_one(Push, part.push_id)
        settle.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
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


def test_a_reversal_needs_no_phone_and_takes_the_receipt(paid: tuple[House, str, str]) -> None:
    house, token, _phone = paid
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"method": "reversal"})
    house.settle_until(lambda: refund_of(house, answer.json["data"]["refundId"])["status"] == "refunded")
    assert house.status(token)["status"] == "refunded" and house.books() == []


def test_only_administrators_refund_and_never_below_m_pesas_minimum(paid: tuple[House, str, str]) -> None:
    house, token, _phone = paid
    for name in ("brian", "wanjiru", "njeri", "otieno"):
        assert house.api(name).post(f"/api/mpesa/{token}/refund", json={"amount": 100}).status_code == 403
    assert house.api("chege").post(f"/api/mpesa/{token}/refund", json={"amount": 100}).status_code == 404
    small = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 9})
    assert (
        small.status_code == 422 and "KES 10 or more" in small.json["message"] and "reversal" in small.json["message"]
    )
    for amount in (0, -5, "x", 10.5, True):
        assert house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": amount}).status_code == 422
    with house.inside():
        assert db.session.query(Refund).count() == 0


def test_a_large_refund_waits_for_a_second_administrator(paid: tuple[House, str, str]) -> None:
    house, token, _phone = paid
    from portal.accounts import signin
    from portal.tenants.models import Tenant

    with house.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        tenant.refund_approval_above_cents = 50_000
        user = signin.add_user(email="zuri@mlima.test", name="Zuri", password="correct horse")
        signin.add_role(user, tenant.id, "tenant_admin")
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 600})
    uid = answer.json["data"]["refundId"]
    assert answer.json["data"]["needsApproval"] is True
    house.work()
    assert refund_of(house, uid)["state"] == "requested"
    own = house.api("amina").post(f"/api/refunds/{uid}/approve", json={})
    assert own.status_code == 409 and "Somebody else" in own.json["message"]
    assert house.api("zuri").post(f"/api/refunds/{uid}/approve", json={}).status_code == 200
    house.settle_until(lambda: refund_of(house, uid)["status"] == "refunded")
    assert house.books() == []


def test_the_limit_is_not_passed_in_small_steps(paid: tuple[House, str, str]) -> None:
    house, token, _phone = paid
    with house.app.app_context(), transaction():
        db.session.query(Tenant).update({"refund_approval_above_cents": 50_000})
    steps = [house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 300}).json["data"] for _n in "123"]
    assert [step["needsApproval"] for step in steps] == [False, True, True]


def test_a_halt_stops_what_was_begun_before_it(paid: tuple[House, str, str]) -> None:
    """Claimed, not sent yet, and then the initiator is halted: not one more try goes out until somebody looked."""
    house, token, phone = paid
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    uid = answer.json["data"]["refundId"]
    with house.app.app_context():
        with transaction():
            refund = refunds.named(house_id := db.session.query(Tenant.id).filter_by(slug="mlima").scalar(), uid)
            assert refunds.begin(refund.id) is not None
        with transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            gateway.initiator_halted_at, gateway.initiator_halted_why = clock.now(), "8006"
        db.session.remove()
    house.work(rounds=3)
    assert refund_of(house, uid)["state"] == "approved"
    assert not [one for one in inbox_of(house, phone) if "received" in one.lower()]
    with house.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(tenant_id=house_id, shortcode="600111").one()
        gateway.initiator_halted_at, gateway.initiator_halted_why = None, ""
    later(700)
    house.settle_until(lambda: refund_of(house, uid)["status"] == "refunded")
    assert len([one for one in inbox_of(house, phone) if "received" in one.lower()]) == 1 and house.books() == []


def inbox_of(house: House, phone: str) -> list[str]:
    messages = requests.get(f"{house.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    return [message["text"] for message in messages]


def fault(house: House, **faults: Any) -> None:
    answer = requests.post(f"{house.daraja_url}/control", json={"faults": faults}, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("spoiled", ["htmlAnswer", "emptyAnswer", "dropConnection"])
def test_a_refund_whose_answer_was_lost_is_found_by_its_result_and_sent_once(
    paid: tuple[House, str, str], spoiled: str
) -> None:
    house, token, phone = paid
    fault(house, **{spoiled: {"times": 1, "endpoint": "b2c"}})
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    house.settle_until(lambda: refund_of(house, answer.json["data"]["refundId"])["status"] == "refunded")
    inbox = requests.get(f"{house.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    assert sum("received" in message["text"].lower() for message in inbox) == 1 and house.books() == []


@pytest.mark.parametrize("lost", ["resultLost", "timeoutInsteadOfResult"])
def test_a_refund_whose_result_was_lost_is_resolved_by_transaction_status(
    paid: tuple[House, str, str], lost: str
) -> None:
    from tests.house import later

    house, token, phone = paid
    fault(house, **{lost: {"times": 1, "endpoint": "b2c"}})
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    uid = answer.json["data"]["refundId"]
    house.work(rounds=1)
    house.settle_until(lambda: refund_of(house, uid)["state"] in ("sent", "unknown"))
    later(120)
    house.settle_until(lambda: refund_of(house, uid)["status"] == "refunded")
    inbox = requests.get(f"{house.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    assert sum("received" in message["text"].lower() for message in inbox) == 1 and house.books() == []


def test_a_busy_m_pesa_gets_the_same_id_again_and_pays_once(paid: tuple[House, str, str]) -> None:
    from tests.house import later

    house, token, phone = paid
    fault(house, spikeArrest={"times": 1, "endpoint": "b2c"})
    answer = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    uid = answer.json["data"]["refundId"]
    house.work(rounds=2)
    assert refund_of(house, uid)["status"] == "pending"
    later(40)
    house.settle_until(lambda: refund_of(house, uid)["status"] == "refunded")
    with house.inside():
        assert db.session.query(MpesaRequest).filter_by(kind="b2c").count() == 1
    assert house.books() == []


def test_the_first_wrong_initiator_password_halts_everything_until_an_administrator_looks(
    paid: tuple[House, str, str],
) -> None:
    house, token, _phone = paid
    with house.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.initiator_name = "nobody"
    first = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    house.settle_until(lambda: refund_of(house, first.json["data"]["refundId"])["status"] == "failed")
    second = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    assert second.status_code == 409 and "until an administrator looks" in second.json["message"]
    gateway_uid = house.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    house.api("amina").put(f"/api/payment-gateways/{gateway_uid}", json={"initiatorName": "mlima-api"})
    third = house.api("amina").post(f"/api/mpesa/{token}/refund", json={"amount": 100})
    house.settle_until(lambda: refund_of(house, third.json["data"]["refundId"])["status"] == "refunded")
    assert house.books() == []


def test_a_result_for_an_unknown_conversation_or_of_the_wrong_shape_changes_nothing(house: House) -> None:
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
            answer = house.client().post(f"{house.hook()}/{door}/{'a' * 40}", json=body)
            assert answer.status_code == 200 and answer.json == {"ResultCode": 0, "ResultDesc": "Accepted"}
    house.work()
    with house.inside():
        assert db.session.query(Transaction).count() == 0 and db.session.query(Refund).count() == 0


def by_hand(house: House, amount: int, number: str, code: str) -> None:
    body = c2b_body(receipt=code, amount=amount, account=number, msisdn="254712345678")
    house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
    house.settle()


def with_initiator(house: House) -> None:
    with house.app.app_context(), transaction():
        for gateway in db.session.query(Gateway):
            gateway.initiator_name = "api"
            gateway.keep_secret("security_credential", "ready-made")


def test_a_thousand_clicks_never_refund_more_than_came(either_house: House) -> None:
    house = either_house
    with_initiator(house)
    number, token = house.invoice(1_000)
    by_hand(house, 1_000, number, receipt(1))
    payment_id = _payment_id(house, token)

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

    assert sum(together(house, *[click] * 6)) == 90_000
    assert house.books() == []


def _payment_id(house: House, token: str) -> int:
    with house.inside():
        return db.session.query(Payment.id).filter_by(token=token).scalar()  # type: ignore[no-any-return]


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 60_000), st.sampled_from(["done", "fail", "leave", "done fail", "fail done"])),
        max_size=6,
    )
)
@settings(max_examples=100)
def test_refunds_in_any_order_leave_books_that_add_up(house: House, steps: list[tuple[int, str]]) -> None:
    with_initiator(house)
    number, token = house.invoice(500)
    with house.inside():
        count = db.session.query(Transaction).count()
    by_hand(house, 500, number, receipt(count + 10))
    payment_id = _payment_id(house, token)
    gone = 0
    for cents, fate in steps:
        with house.app.app_context():
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
                assert "At most" in error.message or "nothing left" in error.message
                continue
            for step in fate.split():
                with transaction():
                    if step == "done":
                        refunds.done(refunds.lock(uid), receipt=None, actor="test")
                    elif step == "fail":
                        refunds.fail(refunds.lock(uid), "no", actor="test")
            gone += amount if "done" in fate else 0
    assert house.books() == [] and gone <= 50_000
