"""Wallets: what comes in, what is spent, and that nobody spends the same shilling twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.clinic import invoices
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.payments import manual
from portal.payments.closing import close_payment
from portal.payments.manual import Taken
from portal.payments.models import Customer, Payment, Transaction
from portal.payments.wallets import wallets
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.manual import cash, customer
from tests.support.product import Product
from tests.support.threads import together
from tests.support.visitors import csrf_of


def balance(product: Product, owner: dict[str, Any]) -> float:
    return product.api("amina").get(f"/api/customers/{owner['id']}").json["balance"]  # type: ignore[no-any-return]


def by_hand(product: Product, number: int, amount: float, account: str, **more: Any) -> None:
    body = c2b_body(receipt=receipt(number), amount=amount, account=account, **more)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200


def test_a_customer_pays_into_their_account_number_and_out_of_it(product: Product) -> None:
    owner = customer(product)
    assert owner["accountNumber"] == "C10019" and owner["balance"] == 0
    asked = c2b_body(receipt="", amount=300, account=" c-1001 9 ")
    asked["TransID"] = receipt(1)
    said = product.client().post(f"{product.hook()}/c2b/validation", json=asked).json
    assert str(said["ResultCode"]) == "0"
    for _twice in range(2):
        by_hand(product, 1, 300, " c-1001 9 ")
        product.work()
    assert balance(product, owner) == 300
    number, token = product.invoice(200)
    answer = product.api("brian").post(f"/api/customers/{owner['id']}/pay", {"reference": number})
    assert answer.status_code == 200 and answer.json["paid"] == 200 and answer.json["balance"] == 100
    product.work()
    assert product.status(token)["status"] == "paid"
    other, other_token = product.invoice(150)
    said = product.api("brian").post(f"/api/customers/{owner['id']}/pay", {"reference": other}).json
    assert (said["paid"], said["amountDue"], said["status"]) == (100, 50, "pending")
    assert product.api("brian").post(f"/api/customers/{owner['id']}/pay", {"reference": other}).status_code == 409
    assert product.status(other_token)["amountDue"] == 50
    entries = product.api("amina").get(f"/api/customers/{owner['id']}").json["entries"]
    assert [(one["kind"], one["amount"]) for one in entries] == [
        ("wallet_paid", -100), ("wallet_paid", -200), ("credited", 300),
    ]  # fmt: skip
    assert product.books() == []


def test_an_account_number_of_nobody_is_refused_before_payment(product: Product) -> None:
    asked = c2b_body(receipt=receipt(1), amount=300, account="C7777")
    assert product.client().post(f"{product.hook()}/c2b/validation", json=asked).json["ResultCode"] == "C2B00012"


def test_a_customer_is_found_by_phone_and_only_in_their_own_business(product: Product) -> None:
    phone = new_phone()
    owner = customer(product, phone)
    amina, chege = product.api("amina"), product.api("chege")
    again = amina.post("/api/customers", {"name": "Another name", "phone": "+" + phone})
    assert again.status_code == 200 and again.json["id"] == owner["id"] and again.json["name"] == "Mama Mboga"
    customer(product)
    found = amina.get("/api/customers", query_string={"q": "0" + phone[3:]}).json["items"]
    assert [one["id"] for one in found] == [owner["id"]]
    assert phone not in amina.get("/api/customers").text and len(amina.get("/api/customers").json["items"]) == 2
    assert chege.get("/api/customers").json["items"] == []
    assert chege.get(f"/api/customers/{owner['id']}").status_code == 404
    _number, theirs = product.invoice(50, slug="bahari")
    assert chege.post(f"/api/customers/{owner['id']}/pay", {"reference": theirs}).status_code == 404
    mine, _token = product.invoice(50)
    cash(product, customerId=owner["id"], amount=500)
    assert amina.post(f"/api/customers/{owner['id']}/pay", {"reference": theirs}).status_code == 404
    assert amina.post(f"/api/customers/{owner['id']}/pay", {"reference": mine}).status_code == 200
    assert product.api("njeri").post("/api/customers", {"name": "x", "phone": phone}).status_code == 403
    assert product.books() == []


def test_homeless_money_is_kept_as_credit_with_one_click(product: Product) -> None:
    phone = new_phone()
    by_hand(product, 5, 120, "MAMA", msisdn=phone)
    by_hand(product, 6, 80, "MAMA")  # masked: nobody knows whose
    product.work()
    brian = product.browser_of("brian")
    page = brian.get("/staff/unmatched").text
    csrf = csrf_of(brian, "/staff/unmatched")
    actions = [part.split('"', 1)[0] for part in page.split('action="')[1:] if "/keep" in part.split('"', 1)[0]]
    assert len(actions) == 2
    assert brian.post(actions[0], data={"csrf_token": csrf}).status_code == 303
    brian.post(actions[0], data={"csrf_token": csrf})
    assert brian.post(actions[1], data={"csrf_token": csrf, "phone": "not a phone"}).status_code == 303
    assert "Enter a Kenyan mobile number" in brian.get("/staff/unmatched").text
    assert brian.post(actions[1], data={"csrf_token": csrf, "phone": phone}).status_code == 303
    assert product.browser_of("chege").post(actions[1], data={"csrf_token": csrf}).status_code in (400, 404)
    owner = product.api("amina").get("/api/customers").json["items"]
    assert [one["balance"] for one in owner] == [200] and owner[0]["name"] == "JOHN"
    assert "Nothing to place" in brian.get("/staff/unmatched").text and product.books() == []


def test_the_customers_page_adds_finds_and_pays(product: Product) -> None:
    brian = product.browser_of("brian")
    csrf = csrf_of(brian, "/staff/customers")
    form = {"name": "Juma", "phone": "0712 345 678", "csrf_token": csrf}
    assert brian.post("/staff/customers", data=form).status_code == 303
    assert brian.post("/staff/customers", data=form | {"phone": "12"}).status_code == 422
    cash(product, customerId="C10019", amount=75)
    page = brian.get("/staff/customers?q=0712345678").text
    assert "Juma" in page and "KES 75" in page and "0712345678" not in page.split("<table", 1)[1]
    number, token = product.invoice(75)
    action = page.split('action="/staff/customers/', 1)[1].split('"', 1)[0]
    brian.post(f"/staff/customers/{action}", data={"reference": number, "csrf_token": csrf})
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_one_wallet_cannot_be_spent_twice_at_once(either_product: Product) -> None:
    product = either_product
    owner = customer(product)
    cash(product, customerId=owner["id"], amount=100)
    tokens = [product.invoice(100)[1] for _n in range(4)]
    with product.inside():
        customer_id = db.session.query(Customer.id).scalar()
        payments = [db.session.query(Payment.id).filter_by(token=token).scalar() for token in tokens]

    def spend(payment_id: int) -> int:
        try:
            with transaction():
                return wallets.pay(payment_id, customer_id, actor="test")
        except Conflict:
            return 0

    spent = together(product, *[lambda one=one: spend(one) for one in payments * 2])
    assert sorted(spent) == [0] * 7 + [10_000]
    assert balance(product, owner) == 0
    assert sorted(product.status(token)["amountDue"] for token in tokens) == [0, 100, 100, 100]
    assert product.books() == []


def test_one_phone_becomes_one_customer_and_money_is_credited_once(either_product: Product) -> None:
    product = either_product
    phone, tenant_id = new_phone(), product.tenant_id()
    by_hand(product, 9, 60, "X", msisdn=phone)
    product.work()

    def keep() -> int:
        try:
            with transaction():
                owner = wallets.customer_of_phone(tenant_id, phone)
                money = db.session.query(Transaction).one()
                db.session.refresh(money, with_for_update=True)
                return wallets.credit(money, owner, actor="test")
        except Conflict:
            return 0

    assert sorted(together(product, *[keep] * 8)) == [0] * 7 + [6_000]
    with product.inside():
        assert db.session.query(Customer).count() == 1
    assert product.books() == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["cash", "paybill", "pay", "void"]), st.integers(1, 90)), min_size=1, max_size=6
)


@pytest.mark.property(54)
@given(steps=STEPS)
def test_a_wallet_holds_what_went_in_less_what_went_out(product: Product, steps: list[tuple[str, int]]) -> None:
    def begun() -> tuple[int, int, str]:
        tenant_id = product.tenant_id()
        with product.app.app_context(), transaction():
            owner = wallets.customer_of_phone(tenant_id, new_phone())
            return tenant_id, owner.id, owner.account_number

    tenant_id, owner_id, account = product.begin_again(begun)
    held, taken = 0, []

    def record(amount: int) -> str:
        with product.app.app_context(), transaction():
            money = Taken(amount_cents=amount * 100, channel="cash", actor="test", user_id=None)
            return manual.for_wallet(db.session.get_one(Customer, owner_id), money).uid

    def pay(token: str) -> int:
        with product.app.app_context():
            payment_id = db.session.query(Payment.id).filter_by(token=token).scalar()
            try:
                with transaction():
                    return wallets.pay(payment_id, owner_id, actor="test") // 100
            except Conflict:
                return 0

    for kind, amount in steps:
        if kind == "cash":
            taken.append((record(amount), amount))
            held += amount
        elif kind == "paybill":
            with product.inside():
                number = db.session.query(Transaction).count() + 1
            by_hand(product, number, amount, account)
            product.settle()
            held += amount
        elif kind == "pay":
            _number, token = product.invoice(amount)
            paid = max(0, min(held, amount))
            assert pay(token) == paid and product.status(token)["amountDue"] == amount - paid
            held -= paid
        elif taken:
            uid, amount = taken.pop()
            with product.app.app_context(), transaction():
                manual.void(tenant_id, [uid], why="Mistake", actor="test")
            held -= amount
        with product.inside():
            has = wallets.balance_cents(db.session.get_one(Customer, owner_id), "sandbox")
        assert has == held * 100, "below zero is what a customer owes"
    assert product.books() == []


def paid_from_wallet(product: Product, amount: int = 1_000) -> tuple[str, str, str]:
    """(number, token, customer id) of an invoice that a customer's credit paid."""
    brian = product.api("brian")
    uid = brian.post("/api/customers", {"name": "Asha", "phone": "0712345678"}).json["id"]
    brian.post("/api/payments/manual", {"channel": "cash", "customerId": uid, "amount": 1_000})
    number, token = product.invoice(amount)
    assert brian.post(f"/api/customers/{uid}/pay", {"reference": number}).status_code == 200
    return number, token, uid


def test_what_credit_paid_is_put_back(product: Product) -> None:
    """money.md A19: the invoice is due again, the wallet has its money, and the refund says where to look."""
    number, token, uid = paid_from_wallet(product)
    assert product.status(token)["status"] == "paid"
    said = product.api("amina").post(f"/api/mpesa/{token}/refund", json={})
    assert said.status_code == 422 and "Put it back into the customer's wallet" in said.json["message"]
    brian = product.api("brian")
    for put in (1_000, 0):  # sent twice, it is once
        answer = brian.post(f"/api/customers/{uid}/put-back", {"reference": number})
        assert answer.status_code == 200 and answer.json["putBack"] == put
        assert (answer.json["amountDue"], answer.json["balance"]) == (1_000, 1_000)
    assert product.books() == []
    assert brian.post(f"/api/customers/{uid}/pay", {"reference": number}).json["status"] == "paid", "and paid again"
    assert product.books() == []


def test_staff_put_back_what_credit_paid(product: Product) -> None:
    """money.md A19: from the page of what was paid."""
    _number, token, uid = paid_from_wallet(product)
    client = product.browser_of("brian")
    assert f"/staff/attempts/{token}/put-back" in client.get(f"/staff/attempts/{token}").text
    data = {"csrf_token": csrf_of(client, f"/staff/attempts/{token}")}
    page = client.post(f"/staff/attempts/{token}/put-back", data=data, follow_redirects=True).text
    assert "KES 1,000 is the customer&#39;s credit again" in page
    assert f"{token}/put-back" not in page
    assert product.api("brian").get(f"/api/customers/{uid}").json["balance"] == 1_000
    assert product.status(token)["amountDue"] == 1_000 and product.books() == []


def test_an_invoice_that_credit_paid_may_be_voided(product: Product) -> None:
    """money.md A19: voiding says "refund first" no longer."""
    number, token, uid = paid_from_wallet(product)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        invoices.void(invoices.by_number(tenant_id, number), why="Wrong patient", actor="test")
    assert product.status(token)["status"] == "cancelled"
    assert product.api("brian").get(f"/api/customers/{uid}").json["balance"] == 1_000 and product.books() == []


def test_credit_put_back_ends_what_it_bought(product: Product) -> None:
    """money.md A19: access that a wallet paid for closes."""
    brian = product.api("brian")
    uid = brian.post("/api/customers", {"name": "Asha", "phone": "0712345678"}).json["id"]
    brian.post("/api/payments/manual", {"channel": "cash", "customerId": uid, "amount": 1_000})
    begun = {"tenant": "mlima", "packageId": product.package(), "phone": new_phone()}
    token = product.client().post("/api/portal/mpesa/initiate", json=begun).json["paymentId"]
    assert brian.post(f"/api/customers/{uid}/pay", {"reference": token}).json["status"] == "paid"
    product.work()
    with product.inside():
        assert db.session.query(AccessGrant).one().ended_at is None
    assert brian.post(f"/api/customers/{uid}/put-back", {"reference": token}).json["putBack"] == 50
    product.work()
    with product.inside():
        assert db.session.query(AccessGrant).one().ended_at is not None
    assert product.books() == []


def test_a_part_that_credit_paid_returns_when_the_offer_closes(product: Product) -> None:
    """money.md A18, of the same kind: closed with credit on it, the credit is its owner's again."""
    from portal.payments.payment import lock_payment

    _number, token, uid = paid_from_wallet(product, 1_500)
    assert product.status(token)["amountDue"] == 500
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        close_payment(lock_payment(payment.id), why="test", actor="test")
    assert product.api("brian").get(f"/api/customers/{uid}").json["balance"] == 1_000 and product.books() == []


def test_a_wallet_is_put_back_once_by_two_at_once(either_product: Product) -> None:
    """money.md A19 on both databases."""
    product = either_product
    number, _token, uid = paid_from_wallet(product)
    headers = product.api("brian").headers
    path = f"/api/customers/{uid}/put-back"
    ask = lambda: product.client().post(path, json={"reference": number}, headers=headers).json["putBack"]  # noqa: E731
    assert sorted(together(product, *([ask] * 4))) == [0, 0, 0, 1_000]
    assert product.books() == []
