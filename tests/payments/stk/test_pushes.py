"""Sending a push: every way Daraja can answer, and what becomes of the payer's money and screen."""

import json
from typing import Any

import pytest
import requests
import responses
from sqlalchemy.exc import IntegrityError

from portal.audit.models import AuditEntry
from portal.gateways import breaker
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import CoolDown
from portal.payments.closing import close_payment
from portal.payments.models import Payment, Push
from portal.payments.payment import lock_payment
from portal.payments.processing import jobs
from portal.payments.stk import pushes
from portal.users.models import User
from tests.support.clock import later
from tests.support.daraja import ACCEPTED, DARAJA, Pushed, c2b_body, new_phone, receipt
from tests.support.product import Product

PUSH = f"{DARAJA}/mpesa/stkpush/v1/processrequest"
OAUTH = f"{DARAJA}/oauth/v1/generate"


@pytest.fixture
def daraja(product: Product):  # type: ignore[no-untyped-def]
    from portal.gateways.models import Gateway
    from portal.kernel.db import transaction

    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"base_url": DARAJA})
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(OAUTH, json={"access_token": "t0ken", "expires_in": "3599"})
        yield mock


def ask(product: Product, phone: str = "") -> str:
    answer = product.client().post(
        "/api/portal/mpesa/initiate",
        json={"tenant": "mlima", "packageId": product.package(), "phone": phone or new_phone()},
    )
    assert answer.status_code == 201, answer.text
    return answer.json["paymentId"]  # type: ignore[no-any-return, index]


def push_of(product: Product) -> Push:
    with product.inside():
        push = db.session.query(Push).order_by(Push.id.desc()).first()
        db.session.expunge(push)
    return push


@pytest.mark.property(8)
@pytest.mark.property(10)
@pytest.mark.property(12)
@pytest.mark.property(13)
@pytest.mark.property(67)
def test_a_good_push_asks_for_the_exact_amount_and_keeps_its_id(product: Product, daraja: Any) -> None:
    daraja.post(PUSH, json=ACCEPTED)
    phone = new_phone()
    token = ask(product, phone)
    product.work(rounds=1)
    sent = json.loads(daraja.calls[-1].request.body)
    assert sent["Amount"] in (50, "50") and str(sent["PartyA"]) == phone == str(sent["PhoneNumber"])
    assert str(sent["BusinessShortCode"]) == "600111" and sent["TransactionType"] == "CustomerPayBillOnline"
    assert len(sent["AccountReference"]) <= 12
    assert sent["TransactionDesc"] == "Mlima House", "the business is named (coverage.md D2)"
    assert "/hooks/" in sent["CallBackURL"] and "/stk/" in sent["CallBackURL"]
    push = push_of(product)
    assert (push.state, push.checkout_request_id, push.merchant_request_id) == (
        "awaiting_pin",
        "ws_CO_1",
        "m-1",
    )
    assert (
        product.status(token)["status"] == "processing" and "enter your M-Pesa PIN" in product.status(token)["message"]
    )


# what Daraja says, the state of the push after it, whether it may be sent once more
CERTAINLY_NOT_SENT = [
    (
        {"status": 400, "json": {"errorCode": "400.002.02", "errorMessage": "Bad Request - Invalid Amount"}},
        "declined",
    ),
    (
        {"status": 401, "json": {"errorCode": "401.003.01", "errorMessage": "Invalid Access Token"}},
        "declined",
    ),
    (
        {"status": 404, "json": {"errorCode": "404.001.03", "errorMessage": "Invalid Access Token"}},
        "declined",
    ),
    ({"status": 500, "json": {"errorCode": "500.001.1001", "errorMessage": "Wrong credentials"}}, "declined"),
    (
        {"status": 500, "json": {"errorCode": "500.001.1001", "errorMessage": "Merchant does not exist"}},
        "declined",
    ),
    (
        {
            "status": 500,
            "json": {
                "errorCode": "500.001.1001",
                "errorMessage": "Unable to lock subscriber, a transaction is already in process for the current subscriber",
            },
        },
        "declined",
    ),
    (
        {
            "status": 500,
            "json": {
                "errorCode": "500.003.02",
                "errorMessage": "System is busy. Please try again in few minutes.",
            },
        },
        "created",
    ),
    ({"status": 500, "json": {"errorCode": "500.003.03", "errorMessage": "Quota Violation"}}, "created"),
    ({"body": requests.ConnectTimeout("no")}, "created"),
]
MAY_HAVE_RUNG = [
    {"status": 503, "body": "<html>Request unsuccessful. Incapsula incident ID: 1</html>"},
    {"status": 500, "body": ""},
    {"status": 200, "body": "not json"},
    {"status": 500, "json": {"errorCode": "500.001.1001", "errorMessage": "Internal Server Error"}},
    {"body": requests.ReadTimeout("slow")},
    {
        "status": 500,
        "json": {"errorCode": "500.001.1001", "errorMessage": "The transaction is being processed"},
    },
]


@pytest.mark.parametrize(("answer", "state"), CERTAINLY_NOT_SENT)
def test_what_certainly_was_not_sent_is_told_and_opens_nothing(
    product: Product, daraja: Any, answer: Any, state: str
) -> None:
    daraja.post(PUSH, **answer)
    token = ask(product)
    product.work(rounds=1)
    push = push_of(product)
    assert push.state == state and push.failure
    said = product.status(token)
    assert said["status"] in ("failed", "pending") and "credentials" not in said and said["receipt"] is None
    assert not any(code in said["message"] for code in ("400.", "401.", "404.", "500.")), "a payer never reads a code"


@pytest.mark.parametrize("answer", MAY_HAVE_RUNG)
def test_what_may_have_rung_is_asked_about_and_never_pushed_again(product: Product, daraja: Any, answer: Any) -> None:
    daraja.post(PUSH, **answer)
    token = ask(product)
    product.work(rounds=1)
    assert push_of(product).state == "unconfirmed"
    for seconds in (31, 90, 600, 3_600):
        later(seconds)
        product.work(rounds=1)
    assert sum(call.request.url == PUSH for call in daraja.calls) == 1
    assert (
        product.status(token)["status"] == "timed_out"
        and "Look for the M-Pesa message" in product.status(token)["message"]
    )


def test_an_unconfirmed_push_still_takes_its_callback(product: Product, daraja: Any) -> None:
    daraja.post(PUSH, status=503, body="<html>")
    token = ask(product)
    product.work(rounds=1)
    push = push_of(product)
    from tests.support.daraja import Pushed

    known = Pushed(push.id, push.token, "ws_CO_late", 50, "254712000000", push.reference)
    product.callback(known, receipt=receipt(1))
    product.work()
    said = product.status(token)
    assert said["status"] == "paid" and said["credentials"]["username"] == receipt(1)
    assert said["credentials"]["password"] != receipt(1) and len(said["credentials"]["password"]) == 8


@pytest.mark.property(55)
@pytest.mark.property(71)
@pytest.mark.parametrize("server", ["unreachable", "too busy"])
def test_an_unreachable_m_pesa_is_tried_once_more_after_30_s_and_then_told(
    product: Product, daraja: Any, server: str
) -> None:
    """tests.md C4, C5: once, and not before 30 s; the branch that said so was never reached."""
    busy = {"errorCode": "500.003.02", "errorMessage": "System is busy. Please try again in few minutes."}
    daraja.post(
        PUSH, **({"status": 500, "json": busy} if server == "too busy" else {"body": requests.ConnectTimeout("no")})
    )

    def calls() -> int:
        return sum(call.request.url == PUSH for call in daraja.calls)

    token = ask(product)
    product.work(rounds=1)
    first = calls()
    assert (push_of(product).state, push_of(product).sends) == ("created", 1) and first >= 1
    assert "We try again in 30 seconds; you have not been charged" in product.status(token)["message"]
    later(28)
    product.work(rounds=1)
    assert calls() == first and push_of(product).sends == 1, "not before 30 s"
    later(3)
    product.work(rounds=1)
    assert calls() == 2 * first and (push_of(product).state, push_of(product).sends) == ("declined", 2)
    assert "We could not reach M-Pesa. You have not been charged." in product.status(token)["message"]
    for seconds in (31, 60, 3_600):
        later(seconds)
        product.work(rounds=1)
    assert calls() == 2 * first, "once more, and never again"


def test_a_prompt_that_waited_two_minutes_rings_no_more(product: Product, daraja: Any) -> None:
    """tests.md C7: workers were away for an hour; the payer is gone, and would be asked out of the blue."""
    daraja.post(PUSH, json=ACCEPTED)
    _number, token = product.invoice(500)
    with product.app.app_context():
        with transaction():
            payment_id = db.session.query(Payment.id).filter_by(token=token).scalar()
            waiting = pushes.request_push(payment_id, new_phone(), actor="test").push.id
        later(119)
        with transaction():
            assert pushes.lease(waiting, hook_url="http://test/hooks") is not None, "within two minutes it rings"
    other = product.invoice(500)[1]
    with product.app.app_context(), transaction():
        payment_id = db.session.query(Payment.id).filter_by(token=other).scalar()
        late = pushes.request_push(payment_id, new_phone(), actor="test").push.id
    later(121)
    product.work(rounds=1)
    assert not any(call.request.url == PUSH for call in daraja.calls)
    with product.inside():
        assert db.session.get_one(Push, late).state == "declined"
    assert "We could not reach M-Pesa. You have not been charged." in product.status(other)["message"]


def test_what_is_due_less_since_it_was_asked_for_is_not_asked_for(product: Product, daraja: Any) -> None:
    """tests.md C3: a part was paid by hand before the prompt was sent; the old amount was on the phone."""
    daraja.post(PUSH, json=ACCEPTED)
    number, token = product.invoice(250)
    with product.app.app_context(), transaction():
        payment_id = db.session.query(Payment.id).filter_by(token=token).scalar()
        push_id = pushes.request_push(payment_id, new_phone(), actor="test").push.id
    by_hand = c2b_body(receipt=receipt(2), amount=100, account=number)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=by_hand)
    product.settle()
    product.work(rounds=1)
    assert not any(call.request.url == PUSH for call in daraja.calls)
    with product.inside():
        assert db.session.get_one(Push, push_id).state == "cancelled"
    assert product.status(token)["amountDue"] == 150
    product.pushed(token)
    assert push_of(product).amount_cents == 150_00, "what is due now can be asked for at once"


def test_one_phone_is_asked_at_most_once_a_minute(product: Product) -> None:
    """tests.md C8: Safaricom's minute, counted from the sending."""
    phone = new_phone()
    (_one, first), (_two, second) = product.invoice(100), product.invoice(200)
    product.pushed(first, phone)

    def again() -> int:
        with product.app.app_context():
            try:
                with transaction():
                    payment_id = db.session.query(Payment.id).filter_by(token=second).scalar()
                    pushes.request_push(payment_id, phone, actor="test")
            except CoolDown as error:
                return error.retry_after_s or 0
            return -1

    said = []
    for seconds in (0, 30, 28, 3):
        later(seconds)
        said.append(again())
    assert 59 <= said[0] <= 60 and 29 <= said[1] <= 30 and 1 <= said[2] <= 2 and said[3] == -1


@pytest.mark.property(67)
def test_who_asked_a_phone_to_pay_is_on_record(product: Product) -> None:
    """tests.md PR67: the record of the asking itself, and not only of what came of it."""
    _number, token = product.invoice(500)
    brian = product.api("brian")
    answer = brian.post("/api/mpesa/initiate", {"orderId": _number, "amount": 500, "phoneNumber": new_phone()})
    assert answer.status_code == 201, answer.text
    push = push_of(product)
    with product.inside():
        brians = db.session.query(User.id).filter_by(email="brian@mlima.test").scalar()
        mine = db.session.query(AuditEntry).filter_by(subject_kind="push", subject_id=push.id, action="requested")
        (entry,) = mine
        assert (entry.actor, entry.new) == (f"user:{brians}", "created")
        assert (entry.details["amount_cents"], entry.details["reference"]) == (500_00, push.reference)


def test_a_payment_has_one_open_prompt_whatever_the_code_forgets(either_product: Product) -> None:
    """tests.md, second guards: the database's own index."""
    _number, token = either_product.invoice(500)
    pushed = either_product.pushed(token)
    with either_product.app.app_context():
        with pytest.raises(IntegrityError), transaction():
            first = db.session.get_one(Push, pushed.push_id)
            db.session.add(
                Push(
                    tenant_id=first.tenant_id, payment_id=first.payment_id, gateway_id=first.gateway_id,
                    reference="ANOTHER", amount_cents=first.amount_cents, state="created",
                )
            )  # fmt: skip
            db.session.flush()
        db.session.remove()


@pytest.mark.parametrize("is_paid", [True, False])
def test_what_is_paid_is_not_closed(product: Product, is_paid: bool) -> None:
    """tests.md C6: closing is for what nobody paid; it would hide the money's payment from its page."""
    number, token = product.invoice(500)
    if is_paid:
        body = c2b_body(receipt=receipt(1), amount=500, account=number)
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
        product.settle()
    with product.app.app_context(), transaction():
        payment = lock_payment(db.session.query(Payment.id).filter_by(token=token).scalar())
        close_payment(payment, why="test", actor="test")
    assert product.status(token)["status"] == ("paid" if is_paid else "cancelled")


@pytest.mark.property(55)
def test_while_m_pesa_does_not_answer_nobody_else_waits_for_it(product: Product, daraja: Any) -> None:
    """Five prompts without an answer open the breaker; what it held back goes out once M-Pesa answers again."""
    daraja.post(PUSH, status=503, body="<html>")
    for _person in range(5):
        ask(product)
        product.work(rounds=1)
    sent = sum(call.request.url == PUSH for call in daraja.calls)
    token = ask(product)
    product.work(rounds=1)
    assert sum(call.request.url == PUSH for call in daraja.calls) == sent == 5, "nothing more was sent"
    assert "M-Pesa is not answering. We try again in 30 seconds" in product.status(token)["message"]
    assert push_of(product).state == "created" and push_of(product).sends == 1
    daraja.replace(responses.POST, PUSH, json=ACCEPTED)
    with product.inside():
        gateway_id = db.session.query(Push.gateway_id).first()[0]
        assert breaker.is_open(gateway_id)
        product.app.extensions["redis"].delete(f"breaker:{gateway_id}:open")  # as time would
    later(31)
    product.work(rounds=1)
    assert push_of(product).state == "awaiting_pin"
    with product.inside():
        assert not breaker.is_open(gateway_id)
        assert product.app.extensions["redis"].get(f"breaker:{gateway_id}:failures") is None


@pytest.mark.parametrize("status", [400, 500])
def test_a_refusal_is_an_answer_and_opens_no_breaker(product: Product, daraja: Any, status: int) -> None:
    said = {"requestId": "1", "errorCode": "500.001.1001", "errorMessage": "Wrong credentials"}
    daraja.post(PUSH, status=status, json=said)
    for _person in range(7):
        ask(product)
        product.work(rounds=1)
    assert sum(call.request.url == PUSH for call in daraja.calls) == 7


def test_a_push_whose_sender_was_killed_is_asked_about_not_sent_again(product: Product, daraja: Any) -> None:
    from portal.kernel.db import transaction
    from portal.payments.stk import pushes

    daraja.post(PUSH, json=ACCEPTED)
    ask(product)
    push_id = push_of(product).id
    with product.app.app_context(), transaction():
        assert pushes.lease(push_id, hook_url="http://h/hooks") is not None  # and here the worker dies
    later(121)
    product.work(rounds=1)
    assert push_of(product).state == "unconfirmed" and not any(call.request.url == PUSH for call in daraja.calls)


def test_what_was_paid_by_hand_meanwhile_is_not_asked_for(product: Product, daraja: Any) -> None:
    from tests.support.daraja import c2b_body

    daraja.post(PUSH, json=ACCEPTED)
    number, token = product.invoice(250)
    headers = product.api("brian")
    answer = headers.post("/api/mpesa/initiate", json={"orderId": number, "amount": 250, "phoneNumber": new_phone()})
    assert answer.status_code == 201
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(2), amount=250, account=number)
    )
    product.settle()
    product.work(rounds=1)
    assert not any(call.request.url == PUSH for call in daraja.calls)
    assert push_of(product).state == "cancelled" and product.status(token)["status"] == "paid"


def test_no_transaction_is_open_while_m_pesa_is_called(product: Product, daraja: Any) -> None:
    from portal.kernel.db import _writing

    seen: list[bool] = []

    def look(_request: Any) -> Any:
        seen.append(_writing.get())
        return 200, {}, json.dumps(ACCEPTED)

    daraja.add_callback(responses.POST, PUSH, callback=look)
    ask(product)
    product.work(rounds=1)
    assert seen == [False]


@pytest.mark.property(14)
@pytest.mark.property(19)
@pytest.mark.property(31)
@pytest.mark.property(74)
def test_after_120_s_it_is_timed_out_and_asked_about_until_m_pesa_tells(product: Product, daraja: Any) -> None:
    daraja.post(PUSH, json=ACCEPTED)
    pending = {"errorCode": "500.001.1001", "errorMessage": "The transaction is being processed"}
    query = daraja.post(f"{DARAJA}/mpesa/stkpushquery/v1/query", status=500, json=pending)
    token = ask(product)
    product.work(rounds=1)
    later(16)
    product.work(rounds=1)
    assert query.call_count >= 1 and product.status(token)["status"] == "processing"
    later(110)
    product.work(rounds=1)
    assert push_of(product).state == "unconfirmed" and product.status(token)["status"] == "timed_out"
    daraja.replace(
        responses.POST,
        f"{DARAJA}/mpesa/stkpushquery/v1/query",
        json={
            "ResponseCode": "0",
            "ResultCode": "0",
            "ResultDesc": "ok",
            "MerchantRequestID": "m-1",
            "CheckoutRequestID": "ws_CO_1",
        },
    )
    later(200)
    product.work(rounds=2)
    said = product.status(token)
    assert said["status"] == "paid" and said["receipt"] is None and said["credentials"]["username"]
    kept = said["credentials"]["username"]
    push = push_of(product)
    from tests.support.daraja import Pushed

    product.callback(Pushed(push.id, push.token, "ws_CO_1", 50, "254712000000", push.reference), receipt=receipt(3))
    product.work()
    said = product.status(token)
    assert said["receipt"] == receipt(3) and said["credentials"]["username"] == kept, "credentials given never change"
    items = product.api("amina").get("/api/transactions").json["items"]
    assert len(items) == 1 and product.books() == []


def test_an_answer_that_waits_its_turn_in_a_rush_is_not_called_late(either_product: Product) -> None:
    _number, token = either_product.invoice(50)
    pushed = either_product.pushed(token)
    other = either_product.pushed(either_product.invoice(50)[1])
    either_product.callback(pushed)
    later(125)
    with either_product.app.app_context():
        jobs.expire_pushes()
        states = {push.id: push.state for push in db.session.query(Push)}
        assert states == {pushed.push_id: "awaiting_pin", other.push_id: "unconfirmed"}
        db.session.remove()
    either_product.settle()
    assert either_product.status(token)["status"] == "paid"


@pytest.mark.property(76)
def test_queries_go_on_for_a_day_on_schedule_and_after_a_restart(product: Product, daraja: Any) -> None:
    daraja.post(PUSH, json=ACCEPTED)
    pending = {"errorCode": "500.001.1001", "errorMessage": "The transaction is being processed"}
    query = daraja.post(f"{DARAJA}/mpesa/stkpushquery/v1/query", status=500, json=pending)
    ask(product)
    product.work(rounds=1)
    started = clock.now()
    asked_at: list[int] = []
    for step in [5] * 40 + [60] * 20 + [3_600] * 30:
        before = query.call_count
        later(step)
        product.app.extensions["redis"].flushall()  # a restart of everything but the database
        product.work(rounds=1)
        if query.call_count > before:
            asked_at.append(round((clock.now() - started).total_seconds()))
    assert len(asked_at) >= 9 and asked_at[0] <= 20 and asked_at[-1] >= 86_000


@pytest.mark.parametrize("code", ["1032", "1037", "1", "2001"])
def test_a_failure_known_by_query_is_told_like_one_called_back(product: Product, daraja: Any, code: str) -> None:
    daraja.post(PUSH, json=ACCEPTED)
    daraja.post(
        f"{DARAJA}/mpesa/stkpushquery/v1/query",
        json={
            "ResponseCode": "0",
            "ResultCode": code,
            "ResultDesc": "said",
            "MerchantRequestID": "m-1",
            "CheckoutRequestID": "ws_CO_1",
        },
    )
    token = ask(product)
    product.work(rounds=1)
    later(61)
    product.work(rounds=1)
    later(61)
    product.work(rounds=1)
    assert product.status(token)["status"] == ("cancelled" if code == "1032" else "failed")


def test_an_odd_amount_is_booked_as_stated_once_m_pesa_confirms_the_success(product: Product, daraja: Any) -> None:
    from tests.support.daraja import Pushed

    daraja.post(PUSH, json=ACCEPTED)
    daraja.post(
        f"{DARAJA}/mpesa/stkpushquery/v1/query",
        json={
            "ResponseCode": "0",
            "ResultCode": "0",
            "ResultDesc": "ok",
            "MerchantRequestID": "m-1",
            "CheckoutRequestID": "ws_CO_1",
        },
    )
    token = ask(product)
    product.work(rounds=1)
    push = push_of(product)
    product.callback(
        Pushed(push.id, push.token, "ws_CO_1", 50, "254712000000", push.reference),
        receipt=receipt(4),
        amount=30,
    )
    product.work()
    said = product.status(token)
    assert said["status"] == "pending" and said["amountDue"] == 20 and "credentials" not in said
    items = product.api("amina").get("/api/transactions").json["items"]
    assert [(item["receipt"], item["amount"]) for item in items] == [(receipt(4), 30)] and product.books() == []


def said_when_asked(daraja: Any, code: str) -> None:
    daraja.post(
        f"{DARAJA}/mpesa/stkpushquery/v1/query",
        json={
            "ResponseCode": "0", "ResultCode": code, "ResultDesc": "said", "MerchantRequestID": "m-1",
            "CheckoutRequestID": "ws_CO_1",
        },
    )  # fmt: skip


@pytest.mark.parametrize("code", ["17", "1025", "9999"])
def test_an_unclear_answer_leaves_it_unconfirmed_and_a_second_of_the_same_ends_it(
    product: Product, daraja: Any, code: str
) -> None:
    """money.md C31: where no callback came, it stayed unconfirmed for ever. tests.md A6: one answer proves nothing."""
    daraja.post(PUSH, json=ACCEPTED)
    token = ask(product)
    product.work(rounds=1)
    later(125)
    with product.app.app_context():
        jobs.expire_pushes()
        db.session.remove()
    assert push_of(product).state == "unconfirmed"
    said_when_asked(daraja, code)
    product.work(rounds=1)
    assert (push_of(product).state, push_of(product).result_code) == ("unconfirmed", code)
    later(700)
    product.work(rounds=1)
    assert (push_of(product).state, push_of(product).result_code) == ("declined", code)
    assert "You have not been charged" in product.status(token)["message"]


def test_two_unclear_answers_that_differ_leave_it_unconfirmed(product: Product, daraja: Any) -> None:
    """tests.md A6."""
    daraja.post(PUSH, json=ACCEPTED)
    ask(product)
    product.work(rounds=1)
    push = push_of(product)
    product.callback(Pushed(push.id, push.token, "ws_CO_1", 50, "254712000000", push.reference), code=17)
    product.settle()
    said_when_asked(daraja, "9999")
    product.work(rounds=1)
    assert (push_of(product).state, push_of(product).result_code) == ("unconfirmed", "9999")
