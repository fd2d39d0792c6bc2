"""Two callers at once, on both databases: threads released together, and the database decides."""

import threading
from typing import Any

import pytest

from portal import fulfilment
from portal.api import orders
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db
from portal.payments.models import Payment, Push, Transaction
from portal.payments.payment import open_payment
from tests.support.daraja import Pushed, c2b_body, new_phone, receipt, stk_body
from tests.support.product import Product
from tests.support.threads import together

THREADS = 8


def test_the_same_callback_from_many_threads_is_one_payment(either_product: Product) -> None:
    product = either_product
    _number, token = product.invoice(900)
    push = product.pushed(token)
    hook = product.hook()
    path = f"{hook}/stk/{push.token}"
    echo = c2b_body(receipt=receipt(1), amount=900, account=push.reference)
    calls = [
        lambda: product.client().post(path, json=stk_body(push, receipt=receipt(1))).status_code
        for _n in range(THREADS // 2)
    ]
    calls += [
        lambda: product.client().post(f"{hook}/c2b/confirmation", json=echo).status_code for _n in range(THREADS // 2)
    ]
    assert set(together(product, *calls)) == {200}
    together(product, *[fulfilment.drain] * 4, *[fulfilment.deliver_paid] * 2)
    product.work()
    with product.inside():
        assert db.session.query(Transaction).filter_by(merged_into_id=None).count() == 1
        assert db.session.get_one(Push, push.push_id).state == "succeeded"
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_many_pushes_settled_by_many_workers_each_pay_their_own(either_product: Product) -> None:
    product = either_product
    pushes = []
    for index in range(12):
        _number, token = product.invoice(100 + index)
        pushes.append((token, product.pushed(token)))
    for index, (_token, push) in enumerate(pushes):
        product.callback(push, receipt=receipt(100 + index))
        product.client().post(
            f"{product.hook()}/c2b/confirmation",
            json=c2b_body(receipt=receipt(100 + index), amount=push.amount, account=push.reference),
        )
    together(product, *[fulfilment.drain] * 4)
    product.work()
    assert {product.status(token)["status"] for token, _push in pushes} == {"paid"}
    with product.inside():
        assert db.session.query(Transaction).filter(Transaction.receipt.is_not(None)).count() == 12
    assert product.books() == []


def test_two_tabs_and_a_double_click_make_one_push(either_product: Product) -> None:
    product = either_product
    package, phone = product.package(), new_phone()
    body = {"tenant": "mlima", "packageId": package, "phone": phone, "macAddress": "AA:BB:CC:DD:EE:FF"}
    body |= {"idempotencyKey": "one-form"}
    answers = together(product, *[lambda: product.client().post("/api/portal/mpesa/initiate", json=body)] * THREADS)
    assert sorted(answer.status_code for answer in answers) == [200] * (THREADS - 1) + [201]
    assert len({answer.json["paymentId"] for answer in answers}) == 1
    with product.inside():
        assert db.session.query(Push).count() == 1 and db.session.query(Payment).count() == 1


def test_one_form_sent_by_many_threads_is_one_push_even_after_a_decline(either_product: Product) -> None:
    product = either_product
    _number, token = product.invoice(300)
    form = {"phone": new_phone(), "idempotency_key": "k" * 32}
    answers = together(product, *[lambda: product.client().post(f"/pay/{token}", data=form).status_code] * 4)
    assert set(answers) == {303}
    with product.inside():
        push = db.session.query(Push).one()
        pushed = Pushed(push.id, push.token, "ws_CO_1", 300, push.reference, push.reference)
    declined = stk_body(pushed, code=2001)
    assert product.client().post(f"{product.hook()}/stk/{pushed.token}", json=declined).status_code == 200
    product.settle()
    assert product.status(token)["status"] == "failed"
    answers = together(product, *[lambda: product.client().post(f"/pay/{token}", data=form).status_code] * 4)
    assert set(answers) == {303}, "the form that was declined, sent again"
    with product.inside():
        assert [push.state for push in db.session.query(Push)] == ["declined"]


@pytest.mark.parametrize("amount", [50, 60])
def test_one_pasted_message_opens_one_package_however_many_paste_it(either_product: Product, amount: int) -> None:
    product = either_product
    package = product.package(slug="bahari")
    product.client().post(
        f"{product.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(7), amount=amount, account="X", shortcode="600222"),
    )
    product.work()
    from portal.kernel import clock

    local = clock.nairobi(clock.now())
    text = f"{receipt(7)} Confirmed. Ksh{amount}.00 sent to BAHARI HOUSE for account X on {local.day}/{local.month}/{local:%y} at {local.hour % 12 or 12}:{local:%M} {local:%p} New M-PESA balance is Ksh1.00. Transaction cost, Ksh0.00."
    calls = [
        lambda n=n: product.client().post(
            "/api/portal/mpesa/verify-sms",
            json={
                "tenant": "bahari",
                "packageId": package,
                "smsText": text,
                "macAddress": f"AA:BB:CC:DD:EE:{n:02X}",
            },
        )
        for n in range(THREADS)
    ]
    said = [answer.json for answer in together(product, *calls)]
    assert sorted(one["reason"] for one in said) == ["already_used"] * (THREADS - 1) + ["verified"]
    with product.inside():
        assert db.session.query(AccessGrant).count() == 1
        assert db.session.query(Transaction).one().unallocated_cents == (amount - 50) * 100
    assert product.books() == []


def test_money_is_placed_once_however_many_click(either_product: Product) -> None:
    product = either_product
    from portal.kernel.db import transaction
    from portal.payments.booking import allocate
    from portal.payments.payment import lock_payment

    _number, token = product.invoice(400, slug="bahari")
    product.client().post(
        f"{product.hook('bahari')}/c2b/confirmation",
        json=c2b_body(receipt=receipt(8), amount=1_000, account="X", shortcode="600222"),
    )
    product.work()

    def place() -> int:
        with transaction():
            payment = lock_payment(db.session.query(Payment.id).filter_by(token=token).scalar())
            money = db.session.query(Transaction).one()
            db.session.refresh(money, with_for_update=True)
            return allocate(money, payment, actor="test")

    assert sorted(together(product, *[place] * 6)) == [0] * 5 + [40_000]
    assert product.books() == []


def test_a_query_and_a_callback_at_once_book_the_money_once(either_product: Product) -> None:
    product = either_product
    from portal.gateways.daraja import StkAnswer
    from portal.kernel.db import transaction
    from portal.payments.stk import queries

    _number, token = product.invoice(450)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(9))
    said = StkAnswer(state="paid", result_code="0", result_desc="ok")

    def answer() -> None:
        with transaction():
            queries.take_answer(push.push_id, said)

    together(product, fulfilment.drain, answer, answer, fulfilment.drain)
    product.work()
    with product.inside():
        money = db.session.query(Transaction).filter_by(merged_into_id=None).one()
        assert money.receipt == receipt(9) and money.unallocated_cents == 0
    assert product.books() == []


def test_an_order_that_is_paid_while_it_is_asked_for_again_is_not_charged_twice(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A21: the look whether it is paid was over before the payment came, and a second one was opened."""
    product = either_product
    brian, order = product.api("brian"), {"orderId": "SHOP-1", "amount": 300, "phoneNumber": "0712345678"}
    token = brian.post("/api/mpesa/initiate", order).json["data"]["paymentId"]
    pushed = product.pushed(token, "254712345678")
    product.callback(pushed, receipt=receipt(1))
    opened = open_payment
    worker = threading.Thread(target=product.settle)

    def paid_in_between(*given: Any, **named: Any) -> Payment:
        worker.start()
        if "postgresql" in product.app.config["PORTAL"].database_url:
            worker.join()  # on SQLite it waits for this very transaction
        return opened(*given, **named)

    monkeypatch.setattr(orders, "open_payment", paid_in_between)
    answer = brian.post("/api/mpesa/initiate", order)
    worker.join()
    said = answer.json.get("error") or answer.json["data"]["paymentId"]
    assert (answer.status_code, said) in ((409, "already_paid"), (200, token)), answer.text
    product.settle()
    with product.inside():
        assert [one.state for one in db.session.query(Payment)] == ["paid"]
        assert db.session.query(Push).count() == 1
