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
from portal.payments.models import Hearsay, InboxItem, Transaction, Witness
from portal.payments.processing import jobs
from portal.payments.webhook import unverified_reports
from portal.tenants.models import Tenant
from portal.users import tokens
from tests.support.business import House
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body
from tests.support.manual import customer
from tests.support.threads import together
from tests.support.visitors import csrf_of
from tests.support.webhook import KEY, balance, give_key, post, told

ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


def outcomes(house: House) -> list[tuple[str, str]]:
    with house.inside():
        return [(item.state, item.outcome) for item in db.session.query(InboxItem).order_by(InboxItem.id)]


def mpesa_tells(
    house: House, *, amount: float = 100, number: int = 1, account: str = "NOBODY", shown: str = ""
) -> None:
    """shown: what M-Pesa shows of the payer's number."""
    body = c2b_body(receipt=receipt(number), amount=amount, account=account, msisdn=shown)
    house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
    house.work()


def held(house: House) -> list[str]:
    with house.inside():
        return [one.state for one in db.session.query(Hearsay).order_by(Hearsay.id)]


def press(house: House, verb: str, name: str = "brian", **form: str) -> Any:
    """Agree or refuse, on the page that lists what is held."""
    browser = house.browser_of(name)
    page = browser.get("/staff/claims").text
    path = next(one for one in re.findall('action="(/staff/hearsay/[^"]+)"', page) if one.endswith(verb))
    csrf = csrf_of(browser, "/staff/claims")
    assert browser.post(path, data={"csrf_token": csrf} | form).status_code == 303
    return browser.get("/staff/claims").text


def test_what_it_alone_says_is_no_money(house: House) -> None:
    """safety.md 6: a wallet was credited with KES 200,000, and an invented receipt opened a week of access."""
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    for code in (0, "0"):  # worded otherwise, so that it is another row of the inbox
        assert post(house, told(phone, amount=200_000, code=code) | {"note": str(type(code))}).json == ACCEPTED
        house.work()
    assert balance(house, owner) == 0 and held(house) == ["held"]
    assert house.api("amina").get("/api/transactions").json["items"] == [] and house.books() == []


def test_what_it_alone_says_cannot_be_claimed_by_a_message(house: House) -> None:
    """safety.md 6."""
    from tests.support.sms import message

    give_key(house)
    post(house, told(new_phone(), amount=50))
    house.work()
    given = {"tenant": "mlima", "packageId": house.package(), "smsText": message(receipt(1))}
    answer = house.client().post("/api/portal/mpesa/verify-sms", json=given).json
    assert answer["status"] != "verified" and "credentials" not in answer and "paymentId" not in answer


def test_m_pesas_word_agrees_and_the_wallet_is_credited_once(house: House) -> None:
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    with house.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().refuses_unknown_accounts = False
    post(house, told(phone))
    house.work()
    mpesa_tells(house)
    assert balance(house, owner) == 100 and held(house) == ["agreed"]
    post(house, told(phone) | {"n": 2})
    house.work()
    assert balance(house, owner) == 100 and house.books() == []


def test_a_held_word_is_not_told_again_with_another_amount(house: House) -> None:
    """What was held first stays, and the second is said to differ: a person must not agree to what was changed since."""
    give_key(house)
    phone = new_phone()
    for turn, amount in enumerate((100, 90, 100)):
        post(house, told(phone, amount=amount) | {"turn": turn})
        house.work()
    assert outcomes(house)[1:] == [
        ("rejected", f"Receipt {receipt(1)} is held with another amount."),
        ("done", f"Receipt {receipt(1)} was told before."),
    ]
    with house.inside():
        assert [one.amount_cents for one in db.session.query(Hearsay)] == [10_000]


@pytest.mark.parametrize("shown", ["2547 ***** 126", "254712345126"])
@pytest.mark.parametrize(("ending", "state", "credited"), [("126", "agreed", 100), ("127", "refused", 0)])
def test_who_m_pesa_shows_as_another_payer_gets_nobody_elses_money(
    house: House, ending: str, state: str, credited: int, shown: str
) -> None:
    """What M-Pesa shows of the number, a part or all of it, must be of the phone that the word names."""
    give_key(house)
    owner = customer(house, f"254712345{ending}")
    mpesa_tells(house, shown=shown)
    assert post(house, told(f"254712345{ending}")).json == ACCEPTED
    house.work()
    assert held(house) == [state] and balance(house, owner) == credited
    assert house.books() == []


def test_money_that_has_its_home_is_nobodys_credit(house: House) -> None:
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    number, token = house.invoice(100)
    post(house, told(phone))
    house.work()
    mpesa_tells(house, account=number)
    assert house.status(token)["status"] == "paid" and balance(house, owner) == 0
    assert held(house) == ["agreed"] and house.books() == []


def test_a_person_agrees_to_no_other_amount_than_m_pesas(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-Pesa told of the receipt in the very moment: what the page shows is not what came."""
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    post(house, told(phone, amount=5_000))
    house.work()
    with monkeypatch.context() as patch:
        patch.setattr(unverified_reports, "compare", lambda: None)
        mpesa_tells(house, amount=10)
        assert "with another amount" in press(house, "agree")
    assert held(house) == ["held"] and balance(house, owner) == 0 and house.books() == []


def test_m_pesas_word_of_another_amount_refuses_it(house: House) -> None:
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    post(house, told(phone, amount=200_000))
    house.work()
    mpesa_tells(house, amount=10)
    assert balance(house, owner) == 0 and held(house) == ["refused"] and house.books() == []


def test_a_person_agrees_once_or_refuses_with_a_reason(house: House) -> None:
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    post(house, told(phone))
    post(house, told(phone, number=2))
    house.work()
    page = house.browser_of("brian").get("/staff/claims").text
    assert "Told by another system (2)" in page and receipt(1) in page and phone not in page
    assert "is accepted" in press(house, "agree")
    assert "Say why it is refused" in press(house, "refuse")
    assert "is refused" in press(house, "refuse", reason="Not on the statement")
    assert balance(house, owner) == 100 and held(house) == ["agreed", "refused"] and house.books() == []
    item = house.api("amina").get("/api/transactions").json["items"][0]
    assert (item["receipt"], item["channel"], item["state"]) == (receipt(1), "webhook", "allocated")
    audit = house.api("amina").get("/api/audit").json["items"]
    refused = next(row for row in audit if row["action"] == "refused" and row["why"] == "Not on the statement")
    assert refused["actor"].startswith("user:")


def test_an_accountant_and_another_business_decide_nothing(house: House) -> None:
    give_key(house)
    post(house, told(new_phone()))
    house.work()
    with house.inside():
        uid = db.session.query(Hearsay.uid).scalar()
    for name, status in (("chege", 404), ("njeri", 403)):
        browser = house.browser_of(name)
        form = {"csrf_token": csrf_of(browser, "/staff/customers"), "reason": "x"}
        for verb in ("agree", "refuse"):
            assert browser.post(f"/staff/hearsay/{uid}/{verb}", data=form).status_code == status
    assert held(house) == ["held"]


def test_agreeing_refusing_and_m_pesas_word_at_once_are_one_decision(either_house: House) -> None:
    house = either_house
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    post(house, told(phone))
    house.work()
    tenant_id, hook = house.tenant_id(), house.hook()
    with house.inside():
        uid = db.session.query(Hearsay.uid).scalar()
    house.client().post(f"{hook}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=100, account="NOBODY"))

    def decide(verb: str) -> str:
        try:
            with transaction():
                if verb == "agree":
                    return unverified_reports.agree(tenant_id, uid, user_id=None, actor="test").state
                return unverified_reports.refuse(tenant_id, uid, why="no", user_id=None, actor="test").state
        except Conflict:
            return "too late"

    together(house, *[lambda: decide("agree")] * 3, lambda: decide("refuse"), fulfilment.drain)
    house.work()
    assert len(held(house)) == 1 and house.books() == []
    with house.inside():
        assert db.session.query(Transaction).count() == 1
    assert balance(house, owner) == (100 if held(house) == ["agreed"] else 0)


def test_the_key_in_the_address_is_masked_in_logs_and_taken_in_development_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_key(house)
    answer = house.client().post(f"/api/webhooks/mpesa?key={KEY}", json=told(new_phone()))
    assert answer.status_code == 200 and answer.json == ACCEPTED
    line = mask_text(f"POST /api/webhooks/mpesa?a=1&key={KEY}&b=2 HTTP/1.1")
    assert KEY not in line and line == "POST /api/webhooks/mpesa?a=1&key=***&b=2 HTTP/1.1"
    real = replace(house.app.config["PORTAL"], development=False)
    monkeypatch.setitem(house.app.config, "PORTAL", real)
    assert house.client().post(f"/api/webhooks/mpesa?key={KEY}", json=told(new_phone())).status_code == 401
    assert post(house, told(new_phone(), number=2)).status_code == 200


def test_an_api_key_does_not_open_it(house: House) -> None:
    """safety.md 6: whoever could read could say that money came."""
    with house.app.app_context(), transaction():
        key = tokens.new_api_key(house_tenant(), "their own system")
    assert post(house, told(new_phone()), key).status_code == 401 and outcomes(house) == []


def house_tenant() -> int:
    return int(db.session.query(Tenant.id).filter_by(slug="mlima").scalar())


@pytest.mark.parametrize("key", ["", "wrong", "x" * 10_000])
def test_a_bad_key_is_told_so_and_nothing_is_kept(house: House, key: str) -> None:
    give_key(house)
    answer = post(house, told(new_phone()), key)
    assert answer.status_code == 401 and answer.json["error"] == "unauthorized"
    assert outcomes(house) == []


def test_a_key_belongs_to_one_business(house: House) -> None:
    give_key(house)
    phone = new_phone()
    customer(house, phone)
    give_key(house, "bahari", "key-of-bahari")
    post(house, told(phone), "key-of-bahari")
    house.work()
    with house.inside():
        assert db.session.query(Hearsay).one().tenant_id == house.tenant_id("bahari")
    assert receipt(1) not in house.browser_of("brian").get("/staff/claims").text


def test_money_of_a_stranger_that_a_person_agreed_to_waits_to_be_placed(house: House) -> None:
    give_key(house)
    post(house, told(new_phone()))
    house.work()
    assert receipt(1) not in house.browser_of("brian").get("/staff/unmatched").text
    press(house, "agree")
    assert receipt(1) in house.browser_of("brian").get("/staff/unmatched").text
    assert house.books() == []


def test_failures_and_nonsense_are_acknowledged_and_book_nothing(house: House) -> None:
    give_key(house)
    bodies: list[Any] = [told(new_phone(), code=1032), {"Body": {"stkCallback": []}}, [], {"Body": {}}]
    for body in bodies:
        assert post(house, body).json == ACCEPTED
    headers = {"X-API-Key": KEY}
    for raw in (b"not json", b"", b"x" * 70_000):
        assert house.client().post("/api/webhooks/mpesa", headers=headers, data=raw).json == ACCEPTED
    house.work()
    assert {state for state, _why in outcomes(house)} == {"done", "rejected"}
    with house.inside():
        assert db.session.query(Transaction).count() == 0


def test_a_receipt_known_from_m_pesa_gets_a_second_witness_and_no_second_credit(house: House) -> None:
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    number, token = house.invoice(100)
    body = c2b_body(receipt=receipt(1), amount=100, account=number)
    house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
    house.work()
    post(house, told(phone))
    post(house, told(phone, amount=5_000))
    house.work()
    assert balance(house, owner) == 0 and house.status(token)["status"] == "paid"
    assert outcomes(house)[-1] == ("rejected", f"Receipt {receipt(1)} is known with another amount.")
    with house.inside():
        assert [row.channel for row in db.session.query(Transaction)] == ["c2b"]
        assert [row.channel for row in db.session.query(Witness)] == ["webhook"]
    assert house.books() == []


def test_it_opens_nothing_even_where_it_names_our_own_push(house: House) -> None:
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    _number, token = house.invoice(100)
    push = house.pushed(token, phone)
    post(house, stk_body(push, receipt=receipt(1)))
    house.work(rounds=1)
    assert house.status(token)["status"] != "paid" and balance(house, owner) == 0
    house.callback(push, receipt=receipt(1))
    house.work()
    assert house.status(token)["status"] == "paid" and house.books() == []


def test_it_is_kept_on_disk_while_the_database_cannot_take_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    from portal.payments.inbox import inbox

    give_key(house)
    phone = new_phone()
    with monkeypatch.context() as patch:

        def away(*_any: Any) -> bool:
            raise OperationalError("INSERT", {}, Exception("away"))

        patch.setattr(inbox, "insert", away)
        assert post(house, told(phone)).json == ACCEPTED
    with house.inside():
        assert house.app.extensions["spool"].depth() == 1
        jobs.take_in_spool()
    house.work()
    assert held(house) == ["held"]


def test_delivered_eight_times_at_once_it_is_held_once(either_house: House) -> None:
    house = either_house
    give_key(house)
    phone = new_phone()
    bodies = [json.dumps(told(phone) | {"try": index // 2}) for index in range(8)]
    calls = [
        lambda body=body: house.client().post(
            f"/api/webhooks/mpesa?key={KEY}", data=body, content_type="application/json"
        ).status_code
        for body in bodies
    ]  # fmt: skip
    assert set(together(house, *calls)) == {200}
    together(house, *[fulfilment.drain] * 4)
    house.work()
    with house.inside():
        assert db.session.query(InboxItem).count() == 4 and db.session.query(Transaction).count() == 0
    assert held(house) == ["held"] and house.books() == []


WORDS = st.lists(st.sampled_from(["webhook", "again", "c2b", "failure", "stranger"]), min_size=1, max_size=6)


@settings(max_examples=100)
@given(words=WORDS)
def test_whatever_order_words_come_in_the_receipt_is_one(house: House, words: list[str]) -> None:
    house.begin_again()
    house.app.extensions["redis"].flushdb()  # the limit on requests is not what is tried here
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    with house.inside():
        number = (db.session.query(InboxItem).count() + 1) * 10
    for index, word in enumerate(words):
        if word == "c2b":
            body = c2b_body(receipt=receipt(number), amount=100, account=owner["accountNumber"])
            house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
        elif word == "failure":
            post(house, told(phone, number=number, code=1037))
        elif word == "stranger":
            post(house, told(new_phone(), number=number + 1))
        else:
            post(house, told(phone, number=number) | {"n": index if word == "again" else 0})
        house.settle()
    assert balance(house, owner) == (100 if "c2b" in words else 0)
    assert house.books() == []


@pytest.mark.parametrize("way", ["callback", "by hand"])
@pytest.mark.parametrize("is_agreed", [False, True])
def test_what_another_system_told_first_pays_what_it_was_meant_for(house: House, way: str, is_agreed: bool) -> None:
    """A person's word may put the money into the payer's wallet; M-Pesa's own word then says what it was for."""
    give_key(house)
    phone = new_phone()
    owner = customer(house, phone)
    number, token = house.invoice(100)
    pushed = house.pushed(token, phone)
    post(house, told(phone, amount=100))
    house.work()
    if is_agreed:
        press(house, "agree")
    assert balance(house, owner) == (100 if is_agreed else 0) and house.status(token)["status"] != "paid"
    if way == "callback":
        house.callback(pushed, receipt=receipt(1))
    else:
        body = c2b_body(receipt=receipt(1), amount=100, account=number)
        house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
    house.work()
    assert house.status(token)["status"] == "paid" and balance(house, owner) == 0 and house.books() == []
