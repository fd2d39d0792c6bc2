"""The general webhook: hearsay under a key of its own, that opens, pays and credits nothing before somebody agrees."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal import fulfilment
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.kernel.logs import mask_text
from portal.payments.models import InboxItem, Transaction, TransactionSource, UnverifiedReport
from portal.payments.processing import jobs
from portal.payments.webhook import unverified_reports
from portal.tenants.models import Tenant
from portal.users import tokens
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body
from tests.support.manual import customer
from tests.support.product import Product
from tests.support.threads import together
from tests.support.visitors import csrf_of
from tests.support.webhook import KEY, balance, give_key, post, told

ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


def outcomes(product: Product) -> list[tuple[str, str]]:
    with product.inside():
        return [(item.state, item.outcome) for item in db.session.query(InboxItem).order_by(InboxItem.id)]


def mpesa_tells(
    product: Product, *, amount: float = 100, number: int = 1, account: str = "NOBODY", shown: str = ""
) -> None:
    """shown: what M-Pesa shows of the payer's number."""
    body = c2b_body(receipt=receipt(number), amount=amount, account=account, msisdn=shown)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()


def held(product: Product) -> list[str]:
    with product.inside():
        return [one.state for one in db.session.query(UnverifiedReport).order_by(UnverifiedReport.id)]


def press(product: Product, verb: str, name: str = "brian", **form: str) -> Any:
    """Agree or refuse, on the page that lists what is held."""
    browser = product.browser_of(name)
    page = browser.get("/staff/claims").text
    path = next(one for one in re.findall('action="(/staff/hearsay/[^"]+)"', page) if one.endswith(verb))
    csrf = csrf_of(browser, "/staff/claims")
    assert browser.post(path, data={"csrf_token": csrf} | form).status_code == 303
    return browser.get("/staff/claims").text


def test_what_it_alone_says_is_no_money(product: Product) -> None:
    """safety.md 6: a wallet was credited with KES 200,000, and an invented receipt opened a week of access."""
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    for code in (0, "0"):  # worded otherwise, so that it is another row of the inbox
        assert post(product, told(phone, amount=200_000, code=code) | {"note": str(type(code))}).json == ACCEPTED
        product.work()
    assert balance(product, owner) == 0 and held(product) == ["held"]
    assert product.api("amina").get("/api/transactions").json["items"] == [] and product.books() == []


def test_what_it_alone_says_cannot_be_claimed_by_a_message(product: Product) -> None:
    """safety.md 6."""
    from tests.support.sms import message

    give_key(product)
    post(product, told(new_phone(), amount=50))
    product.work()
    given = {"tenant": "mlima", "packageId": product.package(), "smsText": message(receipt(1))}
    answer = product.client().post("/api/portal/mpesa/verify-sms", json=given).json
    assert answer["status"] != "verified" and "credentials" not in answer and "paymentId" not in answer


def test_m_pesas_word_agrees_and_the_wallet_is_credited_once(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    with product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().refuses_unknown_accounts = False
    post(product, told(phone))
    product.work()
    mpesa_tells(product)
    assert balance(product, owner) == 100 and held(product) == ["agreed"]
    post(product, told(phone) | {"n": 2})
    product.work()
    assert balance(product, owner) == 100 and product.books() == []


def test_a_held_word_is_not_told_again_with_another_amount(product: Product) -> None:
    """What was held first stays, and the second is said to differ: a person must not agree to what was changed since."""
    give_key(product)
    phone = new_phone()
    for turn, amount in enumerate((100, 90, 100)):
        post(product, told(phone, amount=amount) | {"turn": turn})
        product.work()
    assert outcomes(product)[1:] == [
        ("rejected", f"Receipt {receipt(1)} is held with another amount."),
        ("done", f"Receipt {receipt(1)} was told before."),
    ]
    with product.inside():
        assert [one.amount_cents for one in db.session.query(UnverifiedReport)] == [10_000]


@pytest.mark.parametrize("shown", ["2547 ***** 126", "254712345126"])
@pytest.mark.parametrize(("ending", "state", "credited"), [("126", "agreed", 100), ("127", "refused", 0)])
def test_who_m_pesa_shows_as_another_payer_gets_nobody_elses_money(
    product: Product, ending: str, state: str, credited: int, shown: str
) -> None:
    """What M-Pesa shows of the number, a part or all of it, must be of the phone that the word names."""
    give_key(product)
    owner = customer(product, f"254712345{ending}")
    mpesa_tells(product, shown=shown)
    assert post(product, told(f"254712345{ending}")).json == ACCEPTED
    product.work()
    assert held(product) == [state] and balance(product, owner) == credited
    assert product.books() == []


def test_money_that_has_its_home_is_nobodys_credit(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    number, token = product.invoice(100)
    post(product, told(phone))
    product.work()
    mpesa_tells(product, account=number)
    assert product.status(token)["status"] == "paid" and balance(product, owner) == 0
    assert held(product) == ["agreed"] and product.books() == []


def test_a_person_agrees_to_no_other_amount_than_m_pesas(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-Pesa told of the receipt in the very moment: what the page shows is not what came."""
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    post(product, told(phone, amount=5_000))
    product.work()
    with monkeypatch.context() as patch:
        patch.setattr(unverified_reports, "compare", lambda: None)
        mpesa_tells(product, amount=10)
        assert "with another amount" in press(product, "agree")
    assert held(product) == ["held"] and balance(product, owner) == 0 and product.books() == []


def test_m_pesas_word_of_another_amount_refuses_it(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    post(product, told(phone, amount=200_000))
    product.work()
    mpesa_tells(product, amount=10)
    assert balance(product, owner) == 0 and held(product) == ["refused"] and product.books() == []


def test_a_person_agrees_once_or_refuses_with_a_reason(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    post(product, told(phone))
    post(product, told(phone, number=2))
    product.work()
    page = product.browser_of("brian").get("/staff/claims").text
    assert "Told by another system (2)" in page and receipt(1) in page and phone not in page
    assert "is accepted" in press(product, "agree")
    assert "Say why it is refused" in press(product, "refuse")
    assert "is refused" in press(product, "refuse", reason="Not on the statement")
    assert balance(product, owner) == 100 and held(product) == ["agreed", "refused"] and product.books() == []
    item = product.api("amina").get("/api/transactions").json["items"][0]
    assert (item["receipt"], item["channel"], item["state"]) == (receipt(1), "webhook", "allocated")
    audit = product.api("amina").get("/api/audit").json["items"]
    refused = next(row for row in audit if row["action"] == "refused" and row["why"] == "Not on the statement")
    assert refused["actor"].startswith("user:")


def test_an_accountant_and_another_business_decide_nothing(product: Product) -> None:
    give_key(product)
    post(product, told(new_phone()))
    product.work()
    with product.inside():
        uid = db.session.query(UnverifiedReport.uid).scalar()
    for name, status in (("chege", 404), ("njeri", 403)):
        browser = product.browser_of(name)
        form = {"csrf_token": csrf_of(browser, "/staff/customers"), "reason": "x"}
        for verb in ("agree", "refuse"):
            assert browser.post(f"/staff/hearsay/{uid}/{verb}", data=form).status_code == status
    assert held(product) == ["held"]


def test_agreeing_refusing_and_m_pesas_word_at_once_are_one_decision(either_product: Product) -> None:
    product = either_product
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    post(product, told(phone))
    product.work()
    tenant_id, hook = product.tenant_id(), product.hook()
    with product.inside():
        uid = db.session.query(UnverifiedReport.uid).scalar()
    product.client().post(f"{hook}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=100, account="NOBODY"))

    def decide(verb: str) -> str:
        try:
            with transaction():
                if verb == "agree":
                    return unverified_reports.agree(tenant_id, uid, user_id=None, actor="test").state
                return unverified_reports.refuse(tenant_id, uid, why="no", user_id=None, actor="test").state
        except Conflict:
            return "too late"

    together(product, *[lambda: decide("agree")] * 3, lambda: decide("refuse"), fulfilment.drain)
    product.work()
    assert len(held(product)) == 1 and product.books() == []
    with product.inside():
        assert db.session.query(Transaction).count() == 1
    assert balance(product, owner) == (100 if held(product) == ["agreed"] else 0)


def test_the_key_in_the_address_is_masked_in_logs_and_taken_in_development_only(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_key(product)
    answer = product.client().post(f"/api/webhooks/mpesa?key={KEY}", json=told(new_phone()))
    assert answer.status_code == 200 and answer.json == ACCEPTED
    line = mask_text(f"POST /api/webhooks/mpesa?a=1&key={KEY}&b=2 HTTP/1.1")
    assert KEY not in line and line == "POST /api/webhooks/mpesa?a=1&key=***&b=2 HTTP/1.1"
    real = replace(product.app.config["PORTAL"], development=False)
    monkeypatch.setitem(product.app.config, "PORTAL", real)
    assert product.client().post(f"/api/webhooks/mpesa?key={KEY}", json=told(new_phone())).status_code == 401
    assert post(product, told(new_phone(), number=2)).status_code == 200


def test_an_api_key_does_not_open_it(product: Product) -> None:
    """safety.md 6: whoever could read could say that money came."""
    with product.app.app_context(), transaction():
        key = tokens.new_api_key(product_tenant(), "their own system")
    assert post(product, told(new_phone()), key).status_code == 401 and outcomes(product) == []


def product_tenant() -> int:
    return int(db.session.query(Tenant.id).filter_by(slug="mlima").scalar())


@pytest.mark.parametrize("key", ["", "wrong", "x" * 10_000])
def test_a_bad_key_is_told_so_and_nothing_is_kept(product: Product, key: str) -> None:
    give_key(product)
    answer = post(product, told(new_phone()), key)
    assert answer.status_code == 401 and answer.json["error"] == "unauthorized"
    assert outcomes(product) == []


def test_a_key_belongs_to_one_business(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    customer(product, phone)
    give_key(product, "bahari", "key-of-bahari")
    post(product, told(phone), "key-of-bahari")
    product.work()
    with product.inside():
        assert db.session.query(UnverifiedReport).one().tenant_id == product.tenant_id("bahari")
    assert receipt(1) not in product.browser_of("brian").get("/staff/claims").text


def test_money_of_a_stranger_that_a_person_agreed_to_waits_to_be_placed(product: Product) -> None:
    give_key(product)
    post(product, told(new_phone()))
    product.work()
    assert receipt(1) not in product.browser_of("brian").get("/staff/unmatched").text
    press(product, "agree")
    assert receipt(1) in product.browser_of("brian").get("/staff/unmatched").text
    assert product.books() == []


def test_failures_and_nonsense_are_acknowledged_and_book_nothing(product: Product) -> None:
    give_key(product)
    bodies: list[Any] = [told(new_phone(), code=1032), {"Body": {"stkCallback": []}}, [], {"Body": {}}]
    for body in bodies:
        assert post(product, body).json == ACCEPTED
    headers = {"X-API-Key": KEY}
    for raw in (b"not json", b"", b"x" * 70_000):
        assert product.client().post("/api/webhooks/mpesa", headers=headers, data=raw).json == ACCEPTED
    product.work()
    assert {state for state, _why in outcomes(product)} == {"done", "rejected"}
    with product.inside():
        assert db.session.query(Transaction).count() == 0


def test_a_receipt_known_from_m_pesa_gets_a_second_witness_and_no_second_credit(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    number, token = product.invoice(100)
    body = c2b_body(receipt=receipt(1), amount=100, account=number)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()
    post(product, told(phone))
    post(product, told(phone, amount=5_000))
    product.work()
    assert balance(product, owner) == 0 and product.status(token)["status"] == "paid"
    assert outcomes(product)[-1] == ("rejected", f"Receipt {receipt(1)} is known with another amount.")
    with product.inside():
        assert [row.channel for row in db.session.query(Transaction)] == ["c2b"]
        assert [row.channel for row in db.session.query(TransactionSource)] == ["webhook"]
    assert product.books() == []


def test_it_opens_nothing_even_where_it_names_our_own_push(product: Product) -> None:
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    _number, token = product.invoice(100)
    push = product.pushed(token, phone)
    post(product, stk_body(push, receipt=receipt(1)))
    product.work(rounds=1)
    assert product.status(token)["status"] != "paid" and balance(product, owner) == 0
    product.callback(push, receipt=receipt(1))
    product.work()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_it_is_kept_on_disk_while_the_database_cannot_take_it(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    from portal.payments.inbox import inbox

    give_key(product)
    phone = new_phone()
    with monkeypatch.context() as patch:

        def away(*_any: Any) -> bool:
            raise OperationalError("INSERT", {}, Exception("away"))

        patch.setattr(inbox, "insert", away)
        assert post(product, told(phone)).json == ACCEPTED
    with product.inside():
        assert product.app.extensions["spool"].depth() == 1
        jobs.take_in_spool()
    product.work()
    assert held(product) == ["held"]


def test_delivered_eight_times_at_once_it_is_held_once(either_product: Product) -> None:
    product = either_product
    give_key(product)
    phone = new_phone()
    bodies = [json.dumps(told(phone) | {"try": index // 2}) for index in range(8)]
    calls = [
        lambda body=body: product.client().post(
            f"/api/webhooks/mpesa?key={KEY}", data=body, content_type="application/json"
        ).status_code
        for body in bodies
    ]  # fmt: skip
    assert set(together(product, *calls)) == {200}
    together(product, *[fulfilment.drain] * 4)
    product.work()
    with product.inside():
        assert db.session.query(InboxItem).count() == 4 and db.session.query(Transaction).count() == 0
    assert held(product) == ["held"] and product.books() == []


WORDS = st.lists(st.sampled_from(["webhook", "again", "c2b", "failure", "stranger"]), min_size=1, max_size=6)


@settings(max_examples=100)
@given(words=WORDS)
def test_whatever_order_words_come_in_the_receipt_is_one(product: Product, words: list[str]) -> None:
    def begun() -> tuple[str, Any]:
        give_key(product)
        phone = new_phone()
        return phone, customer(product, phone)

    phone, owner = product.begin_again(begun)
    number = 10
    for index, word in enumerate(words):
        if word == "c2b":
            body = c2b_body(receipt=receipt(number), amount=100, account=owner["accountNumber"])
            product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
        elif word == "failure":
            post(product, told(phone, number=number, code=1037))
        elif word == "stranger":
            post(product, told(new_phone(), number=number + 1))
        else:
            post(product, told(phone, number=number) | {"n": index if word == "again" else 0})
        product.settle()
    assert balance(product, owner) == (100 if "c2b" in words else 0)
    assert product.books() == []


@pytest.mark.parametrize("way", ["callback", "by hand"])
@pytest.mark.parametrize("is_agreed", [False, True])
def test_what_another_system_told_first_pays_what_it_was_meant_for(product: Product, way: str, is_agreed: bool) -> None:
    """A person's word may put the money into the payer's wallet; M-Pesa's own word then says what it was for."""
    give_key(product)
    phone = new_phone()
    owner = customer(product, phone)
    number, token = product.invoice(100)
    pushed = product.pushed(token, phone)
    post(product, told(phone, amount=100))
    product.work()
    if is_agreed:
        press(product, "agree")
    assert balance(product, owner) == (100 if is_agreed else 0) and product.status(token)["status"] != "paid"
    if way == "callback":
        product.callback(pushed, receipt=receipt(1))
    else:
        body = c2b_body(receipt=receipt(1), amount=100, account=number)
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()
    assert product.status(token)["status"] == "paid" and balance(product, owner) == 0 and product.books() == []
