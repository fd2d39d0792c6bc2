"""Money that only M-Pesa's answer to a query tells of: delivered, told apart, asked about again, and decided."""

from typing import Any

import pytest

from portal.gateways.daraja import StkAnswer
from portal.kernel.db import db, transaction
from portal.payments import transaction_status
from portal.payments.models import InboxItem, MpesaRequest, Refund, Transaction
from portal.payments.processing import request_jobs
from portal.payments.refunds import refunds
from portal.payments.stk import queries
from portal.users import credentials
from tests.support.clock import later
from tests.support.daraja import Pushed, c2b_body, receipt, stk_body
from tests.support.product import Product
from tests.support.refunds import with_initiator
from tests.support.visitors import csrf_of


def paid_by_query(product: Product, amount: int = 500) -> tuple[str, str, Pushed]:
    """(number, token, push) of an invoice that M-Pesa called paid when asked."""
    number, token = product.invoice(amount)
    push = product.pushed(token, "254712345678")
    answers_paid(product, push)
    assert product.status(token)["status"] == "paid"
    return number, token, push


def answers_paid(product: Product, push: Pushed) -> None:
    with product.app.app_context(), transaction():
        queries.take_answer(push.push_id, StkAnswer("paid", "0", "The service request is processed successfully."))


def second_administrator(product: Product) -> None:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        user = credentials.add_user(email="zuri@mlima.test", name="Zuri", password="correct horse")
        credentials.add_role(user, tenant_id, "tenant_admin")


def money(product: Product) -> Transaction:
    with product.inside():
        found = db.session.query(Transaction).one()
        db.session.expunge(found)
        return found


def press(product: Product, outcome: str) -> str:
    """Press a button of the first card on "Money to place"; the page afterwards."""
    client = product.browser_of("brian")
    page = client.get("/staff/unmatched").text
    path = next(
        part.split('"', 1)[0] for part in page.split('action="')[1:] if part.startswith("/staff/unmatched/prov")
    )
    data = {"outcome": outcome, "csrf_token": csrf_of(client, "/staff/unmatched")}
    return client.post(path, data=data, follow_redirects=True).text


def refund(product: Product, token: str, **body: Any) -> Any:
    return product.api("amina").post(f"/api/mpesa/{token}/refund", json=body)


@pytest.mark.parametrize("callback_first", [False, True])
def test_a_contradiction_holds_refunds_until_a_person_decides(product: Product, callback_first: bool) -> None:
    """fidelity.md 2: query says 0, the server's own 1032 says otherwise, in either order."""
    with_initiator(product)
    if callback_first:
        _number, token = product.invoice(500)
        push = product.pushed(token, "254712345678")
        product.callback(push, code=1032)
        product.settle()
        answers_paid(product, push)
    else:
        _number, token, push = paid_by_query(product)
        assert "without a receipt" not in product.browser_of("brian").get("/staff/unmatched").text
        product.callback(push, code=1032)
        product.settle()
    assert product.status(token)["status"] == "paid", "what it opened stays open until somebody decides"
    assert "To decide: 1 payment" in product.browser_of("brian").get("/staff/").text
    assert "paid or not?" in product.browser_of("brian").get("/staff/unmatched").text
    held = refund(product, token)
    assert held.status_code == 409 and held.json["error"] == "contradicted"
    assert 'mlango_waiting{what="payments_contradicted"} 1.0' in product.client().get("/metrics").text
    press(product, "paid")
    assert "To decide" not in product.browser_of("brian").get("/staff/").text
    answer = refund(product, token)
    assert answer.status_code == 200 and answer.json["data"]["needsApproval"] is True
    assert product.books() == []


def test_what_was_not_paid_after_all_is_owed_again(product: Product) -> None:
    """fidelity.md 2: a person finds that M-Pesa does not have it; what it bought ends."""
    number, token, push = paid_by_query(product)
    product.callback(push, code=1)
    product.settle()
    press(product, "not")
    product.work()
    assert product.status(token)["amountDue"] == 500 and product.books() == []
    assert "paid or not?" not in product.browser_of("brian").get("/staff/unmatched").text
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=500, account=number)
    )
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


@pytest.mark.parametrize("told_by", ["callback", "echo"])
def test_a_receipt_that_comes_after_a_person_found_nothing_is_money_again(product: Product, told_by: str) -> None:
    """Its payer paid: what M-Pesa has is never booked as gone, whoever looked too early."""
    _number, token, push = paid_by_query(product)
    product.callback(push, code=1)
    product.settle()
    press(product, "not")
    product.work()
    assert "M-Pesa does not have this payment" in product.status(token)["message"]
    if told_by == "callback":
        product.callback(push, receipt=receipt(1))
    else:
        body = c2b_body(receipt=receipt(1), amount=500, account=push.reference)
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()
    assert product.status(token)["status"] == "paid" and product.status(token)["receipt"] == receipt(1)
    found = money(product)
    assert (found.amount_cents, found.unallocated_cents, found.reversed_at) == (50_000, 0, None)
    assert product.books() == []


def test_what_went_back_before_its_receipt_came_is_no_part_of_the_money_again(product: Product) -> None:
    """A refund that was on its way when a person found nothing counts, and only what is left pays."""
    with_initiator(product)
    second_administrator(product)
    _number, token, push = paid_by_query(product)
    uid = refund(product, token, amount=200).json["data"]["refundId"]
    assert product.api("zuri").post(f"/api/refunds/{uid}/approve", json={}).status_code == 200
    with product.app.app_context(), transaction():
        refund_id = db.session.query(Refund.id).scalar()
        assert refunds.begin(refund_id) is not None
    product.callback(push, code=1)
    product.settle()
    press(product, "not")
    product.callback(push, receipt=receipt(1))
    product.settle()
    with product.app.app_context(), transaction():
        refunds.done(refunds.lock(refund_id), receipt=receipt(2), actor="test")
    assert product.status(token)["amountDue"] == 200 and product.books() == []


def test_an_approved_refund_waits_while_m_pesa_contradicts_itself(product: Product) -> None:
    """fidelity.md 2: money must not go out on it, though two people said yes before."""
    with_initiator(product)
    second_administrator(product)
    _number, token, push = paid_by_query(product)
    uid = refund(product, token).json["data"]["refundId"]
    assert product.api("zuri").post(f"/api/refunds/{uid}/approve", json={}).status_code == 200
    product.callback(push, code=1032)
    product.settle()
    with product.app.app_context():
        with transaction():
            assert refunds.begin(db.session.query(Refund.id).scalar()) is None
        one = db.session.query(Refund).one()
        assert one.state == "approved" and "differ" in one.failure and one.next_at is not None


def test_money_without_a_receipt_goes_back_only_with_a_second_persons_yes(product: Product) -> None:
    """fidelity.md 2: below the limit too; with its receipt the limit alone decides."""
    with_initiator(product)
    _number, token, push = paid_by_query(product)
    first = refund(product, token, amount=100)
    assert first.status_code == 200 and first.json["data"]["needsApproval"] is True
    product.callback(push, receipt=receipt(1))
    product.settle()
    second = refund(product, token, amount=200)
    assert second.json["data"]["needsApproval"] is False


def test_a_failure_after_a_receipt_contradicts_nothing(product: Product) -> None:
    """fidelity.md 2: M-Pesa's record of the money stands; its refunds are not held."""
    _number, token = product.invoice(500)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    product.settle()
    product.callback(push, code=1032)
    product.settle()
    found = money(product)
    assert (found.receipt, found.contradicted_at, found.contradiction) == (receipt(1), None, "")
    assert product.status(token)["status"] == "paid"


def test_the_receipt_ends_the_contradiction(product: Product) -> None:
    """fidelity.md 2: M-Pesa's own record of the money is above both of its words."""
    _number, token, push = paid_by_query(product)
    product.callback(push, code=1032)
    product.settle()
    assert money(product).contradicted_at is not None
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=500, account=push.reference)
    )
    product.settle()
    found = money(product)
    assert (found.receipt, found.contradicted_at, found.ask_next_at) == (receipt(1), None, None)
    assert "To decide" not in product.browser_of("brian").get("/staff/").text and product.books() == []


def test_a_second_success_with_another_receipt_is_asked_about_before_it_is_booked(product: Product) -> None:
    """fidelity.md 3: one prompt is paid once; M-Pesa confirms the other receipt, or does not."""
    with_initiator(product)
    _number, token = product.invoice(500)
    push = product.pushed(token, "254712345678")
    product.callback(push, receipt=receipt(1))
    product.settle()
    for other in (2, 3):
        product.callback(push, receipt=receipt(other))
    product.settle()
    assert money(product).receipt == receipt(1), "nothing of the others is booked"
    later(130)
    assert receipt(2) in product.browser_of("brian").get("/staff/unmatched").text
    with product.app.app_context(), transaction():
        transaction_status.ask_due()
    with product.inside():
        asked = [one.receipt for one in db.session.query(MpesaRequest).order_by(MpesaRequest.id)]
        assert asked == [receipt(2), receipt(3)]
    _status_of(product, {"receipt": receipt(2)}, ReceiptNo=receipt(2), Amount=500)
    _status_of(product, {"receipt": receipt(3)}, code=2032)
    with product.inside():
        booked = {one.receipt: one for one in db.session.query(Transaction)}
        assert sorted(booked) == [receipt(1), receipt(2)]
        assert (booked[receipt(2)].unallocated_cents, booked[receipt(2)].unplaced_why) == (50_000, "paid twice")
    assert product.books() == []


def test_the_same_success_twice_asks_nobody(product: Product) -> None:
    """fidelity.md 3: a repetition is none."""
    with_initiator(product)
    _number, token = product.invoice(500)
    push = product.pushed(token)
    path = f"{product.hook()}/stk/{push.token}"
    body = stk_body(push, receipt=receipt(1))
    product.client().post(path, json=body)
    product.client().post(path, json=body | {"again": 1})
    product.settle()
    with product.inside():
        assert db.session.query(MpesaRequest).count() == 0
        assert db.session.query(InboxItem).filter_by(state="waiting").count() == 0
    assert money(product).receipt == receipt(1)


def _status_of(product: Product, subject: dict[str, Any], code: int = 0, **told: Any) -> None:
    """M-Pesa's answer to the question about this subject."""
    with product.inside():
        question = db.session.query(MpesaRequest).filter_by(**subject).order_by(MpesaRequest.id.desc()).first()
        assert question is not None, subject
        token = question.token
    given = {"TransactionStatus": "Completed", "CreditPartyName": "600111 - MLIMA", "DebitPartyName": "254712345678"}
    values = [{"Key": key, "Value": value} for key, value in (given | told).items()] if code == 0 else []
    result = {
        "ResultType": 0, "ResultCode": code, "ResultDesc": "", "TransactionID": "T", "ConversationID": f"AG_{token}",
        "OriginatorConversationID": f"o-{token}", "ResultParameters": {"ResultParameter": values},
    }  # fmt: skip
    answer = product.client().post(f"{product.hook()}/result/{token}", json={"Result": result})
    assert answer.status_code == 200
    product.settle()


def ask(product: Product) -> list[int | None]:
    """Let the worker ask what is due; the prompts that were asked about."""
    with product.app.app_context():
        with transaction():
            from portal.payments import provisional

            provisional.ask_due()
        found = [one.push_id for one in db.session.query(MpesaRequest).order_by(MpesaRequest.id)]
        with transaction():
            db.session.query(MpesaRequest).filter(MpesaRequest.state == "created").update(
                {"state": "answered", "next_at": None}
            )
        return found


def test_a_prompt_without_a_receipt_is_asked_about_again(product: Product) -> None:
    """fidelity.md 6: by transaction status, five times in a day, as long as no receipt is known."""
    with_initiator(product)
    _number, _token, push = paid_by_query(product)
    assert ask(product) == [], "a callback mostly brings it within two minutes"
    for turn, seconds in enumerate((121, 480, 3_000, 18_000, 64_801), 1):
        later(seconds)
        assert ask(product) == [push.push_id] * turn
    later(86_400)
    assert len(ask(product)) == 5
    assert money(product).ask_next_at is None


def test_the_scheduler_finds_what_is_to_be_asked(product: Product) -> None:
    """fidelity.md 6: the row is the to-do list."""
    from portal.kernel import queue
    from portal.processes import scheduler

    with_initiator(product)
    paid_by_query(product)
    with product.inside():
        assert queue.REQUESTS not in scheduler.waiting()
    later(121)
    with product.inside():
        assert queue.REQUESTS in scheduler.waiting()
    with product.app.app_context():
        request_jobs.send_due()
        db.session.remove()
        assert db.session.query(MpesaRequest).count() == 1


def test_m_pesas_answer_brings_the_receipt(product: Product) -> None:
    """fidelity.md 6: what is asked by its MerchantRequestID is answered with receipt and amount."""
    with_initiator(product)
    _number, token, push = paid_by_query(product)
    later(121)
    ask(product)
    _reopen(product, push)
    _status_of(product, {"push_id": push.push_id}, ReceiptNo=receipt(7), Amount=400)
    assert money(product).receipt is None, "another amount than was asked for proves nothing"
    assert _results(product) == ["M-Pesa's answer does not fit this prompt: completed, to 600111."]
    _reopen(product, push)
    _status_of(product, {"push_id": push.push_id}, ReceiptNo=receipt(7), Amount=500)
    assert money(product).receipt == receipt(7) and product.status(token)["receipt"] == receipt(7)
    assert product.books() == []


def test_m_pesas_failing_answer_contradicts_and_its_ignorance_says_nothing(product: Product) -> None:
    """fidelity.md 6: nobody documents that a prompt is found so."""
    with_initiator(product)
    _number, _token, push = paid_by_query(product)
    later(121)
    ask(product)
    _reopen(product, push)
    _status_of(product, {"push_id": push.push_id}, code=2032)
    assert _results(product) == ["M-Pesa does not tell of this prompt: 2032."]
    assert money(product).contradicted_at is None
    _reopen(product, push)
    _status_of(product, {"push_id": push.push_id}, TransactionStatus="Failed")
    assert money(product).contradicted_at is not None


@pytest.mark.parametrize(
    "told",
    [
        {"CreditPartyName": "600222 - BAHARI"},
        {"TransactionStatus": "Pending"},
        {"ReceiptNo": "none"},
    ],
    ids=lambda told: next(iter(told)),
)
def test_an_answer_of_other_money_brings_no_receipt(product: Product, told: dict[str, Any]) -> None:
    """What went to another business, or is not completed, is not this prompt's money."""
    with_initiator(product)
    _number, _token, push = paid_by_query(product)
    later(121)
    ask(product)
    _reopen(product, push)
    _status_of(product, {"push_id": push.push_id}, **({"ReceiptNo": receipt(7), "Amount": 500} | told))
    found = money(product)
    assert (found.receipt, found.contradicted_at) == (None, None) and product.books() == []
    assert "does not fit this prompt" in _results(product)[0]


def test_a_receipt_that_paid_another_prompt_is_not_this_ones(product: Product) -> None:
    """Two prompts, one receipt: what M-Pesa told before stays, and this one waits for its own."""
    with_initiator(product)
    _number, _token, push = paid_by_query(product)
    other = product.pushed(product.invoice(500)[1])
    product.callback(other, receipt=receipt(7))
    product.settle()
    later(121)
    ask(product)
    _reopen(product, push)
    _status_of(product, {"push_id": push.push_id}, ReceiptNo=receipt(7), Amount=500)
    with product.inside():
        booked = {one.push_id: (one.receipt, one.amount_cents) for one in db.session.query(Transaction)}
        assert booked == {push.push_id: (None, 50_000), other.push_id: (receipt(7), 50_000)}
    assert _results(product) == [f"Receipt {receipt(7)} has paid another prompt."] and product.books() == []


def _results(product: Product) -> list[str]:
    """What became of M-Pesa's answers, oldest first."""
    with product.inside():
        return [one.outcome for one in db.session.query(InboxItem).filter_by(kind="result").order_by(InboxItem.id)]


def _reopen(product: Product, push: Pushed) -> None:
    """The question was sent, and waits for its answer."""
    with product.app.app_context(), transaction():
        db.session.query(MpesaRequest).filter_by(push_id=push.push_id).update({"state": "sent"})


def test_a_gateway_that_cannot_ask_is_not_asked_with(product: Product) -> None:
    """fidelity.md 6: re-asked where the gateway can."""
    paid_by_query(product)
    later(121)
    assert ask(product) == []


def test_money_without_a_receipt_is_told_apart(product: Product) -> None:
    """fidelity.md 6: in the lists, the figures and the metrics; listed to staff after an hour."""
    _number, _token, push = paid_by_query(product)
    amina, brian = product.api("amina"), product.browser_of("brian")
    assert amina.get("/api/transactions").json["items"][0]["provisional"] is True
    stats = amina.get("/api/payments/mpesa/stats").json
    assert stats["provisional"] == {"amount": 500, "count": 1} and stats["today"] == {"amount": 0, "count": 0}
    assert "Without a receipt" in brian.get("/staff/payments").text
    uid = amina.get("/api/transactions").json["items"][0]["id"]
    assert "may prove not to have been paid" in brian.get(f"/staff/payments/{uid}").text
    assert 'mlango_waiting{what="paid_without_receipt"} 1.0' in product.client().get("/metrics").text
    assert "for an hour" not in brian.get("/staff/unmatched").text
    later(3_601)
    brian, amina = product.browser_of("brian"), product.api("amina")
    assert "for an hour" in brian.get("/staff/unmatched").text and "To decide: 1 payment" in brian.get("/staff/").text
    product.callback(push, receipt=receipt(1))
    product.settle()
    stats = amina.get("/api/payments/mpesa/stats").json
    assert stats["provisional"] == {"amount": 0, "count": 0} and stats["today"] == {"amount": 500, "count": 1}
    assert amina.get("/api/transactions").json["items"][0]["provisional"] is False
    assert "for an hour" not in brian.get("/staff/unmatched").text
    assert 'mlango_waiting{what="paid_without_receipt"} 0.0' in product.client().get("/metrics").text


def test_another_business_decides_nothing_here(product: Product) -> None:
    """What a person says of money is said by the business's own people."""
    from portal.kernel.errors import NotFound
    from portal.payments import provisional

    _number, token, _push = paid_by_query(product)
    uid, theirs = money(product).uid, product.tenant_id("bahari")
    with product.app.app_context(), pytest.raises(NotFound), transaction():
        provisional.decide(theirs, uid, was_paid=False, actor="user:9")
    assert product.status(token)["status"] == "paid"


def test_a_decision_is_made_once(either_product: Product) -> None:
    """On both databases: two people press at once, one of them is told."""
    from portal.kernel.errors import Conflict
    from portal.payments import provisional
    from tests.support.threads import together

    product, tenant_id = either_product, either_product.tenant_id()
    _number, _token, push = paid_by_query(product)
    product.callback(push, code=1032)
    product.settle()
    uid = money(product).uid

    def press_not() -> str:
        try:
            with transaction():
                provisional.decide(tenant_id, uid, was_paid=False, actor="user:1")
            return "taken back"
        except Conflict:
            return "too late"

    assert sorted(together(product, *([press_not] * 4))) == ["taken back", *["too late"] * 3]
    assert product.books() == []
