"""A gateway without API: pasted messages wait for a person, or open unverified, and money is booked once."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal import fulfilment
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.payments.models import Payment, SmsSubmission, Transaction
from portal.payments.processing import jobs
from portal.payments.sms import submissions
from portal.tenants.models import Tenant
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.sms import MAC, decide, grants, message, paste, without_api
from tests.support.threads import together
from tests.support.visitors import csrf_of

_numbers = itertools.count(1)


def test_the_captive_portal_says_how_to_pay_by_hand_and_offers_no_phone_form(product: Product) -> None:
    without_api(product)
    page = product.client().get(f"/hotspot/mlima/?mac={MAC}").text
    assert "Till number" in page and "600111" in page and 'name="phone"' not in page
    assert "paste the message" in page and "/hotspot/mlima/paid?" in page and "KES 50" in page
    assert "The staff check it" in product.client().get("/hotspot/mlima/paid").text
    assert 'name="phone"' in product.client().get("/hotspot/bahari/").text


def test_a_pasted_message_waits_for_the_counter_which_books_and_delivers(product: Product) -> None:
    without_api(product)
    text = message(receipt(1))  # it states its minute, which may pass meanwhile
    said = paste(product, text)
    assert (said["status"], said["reason"]) == ("queued", "waits_for_staff") and "credentials" not in said
    token = said["paymentId"]
    assert product.status(token)["status"] == "pending" and grants(product) == []
    assert "Waiting for the staff" in product.client().get(f"/hotspot/mlima/wait/{token}").text
    again = paste(product, text)
    assert (again["status"], again["paymentId"]) == ("queued", token), "the payer finds their way back"
    page = product.browser_of("brian").get("/staff/claims").text
    assert receipt(1) in page and "Messages to check (1)" in page and product.books() == []
    page = decide(product, "accept")
    assert f"{receipt(1)} is accepted" in page and "No message waits" in page
    product.work()
    assert product.status(token)["status"] == "paid"
    assert product.status(token)["credentials"]["username"] == receipt(1)
    item = product.api("amina").get("/api/transactions").json["items"][0]
    assert (item["receipt"], item["channel"], item["amount"]) == (receipt(1), "sms", 50)
    assert paste(product, text)["reason"] == "already_used"
    assert product.books() == []


def test_a_refusal_needs_a_reason_closes_the_offer_and_is_remembered(product: Product) -> None:
    without_api(product)
    token = paste(product, message(receipt(2)))["paymentId"]
    assert "Say why it is refused" in decide(product, "refuse")
    decide(product, "refuse", reason="Not on the till's phone")
    assert product.status(token)["status"] == "cancelled" and "did not find" in product.status(token)["message"]
    assert "did not find" in product.client().get(f"/hotspot/mlima/wait/{token}").text
    assert paste(product, message(receipt(2)))["reason"] == "refused_by_staff"
    audit = product.api("amina").get("/api/audit").json["items"]
    refused = next(row for row in audit if row["action"] == "message_refused")
    assert refused["why"] == "Not on the till's phone" and refused["actor"].startswith("user:")
    with product.inside():
        assert db.session.query(Transaction).count() == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lambda: message(receipt(1), amount=49), "wrong_amount"),
        (lambda: message(receipt(1), to="SOMEBODY ELSE"), "other_merchant"),
        (lambda: message(receipt(1), to="HOUSE"), "other_merchant"),
        (lambda: message(receipt(1), ago_s=90_000), "too_old"),
        (lambda: message(receipt(1), ago_s=-90_000), "too_old"),
        (lambda: "hello", "not_an_mpesa_message"),
        (lambda: f"{receipt(1)} Confirmed. Ksh50.00 sent to JOHN 0712345678 on 1/1/26 at 1:00 PM.", "not_a_payment"),
        (lambda: f"{receipt(1)} Confirmed. Ksh50.00 paid to MLIMA HOUSE.", "incomplete_message"),
    ],
)  # fmt: skip
def test_what_is_no_payment_to_us_is_refused_at_once(product: Product, text: Any, reason: str) -> None:
    without_api(product, policy="open")
    said = paste(product, text())
    assert (said["status"], said["reason"]) == ("rejected", reason) and grants(product) == []
    with product.inside():
        assert db.session.query(SmsSubmission).count() == 0 and db.session.query(Payment).count() == 0


def test_another_device_cannot_use_the_message(product: Product) -> None:
    without_api(product)
    paste(product, message(receipt(1)))
    assert paste(product, message(receipt(1)), mac="AA:BB:CC:DD:EE:02")["reason"] == "already_used"
    assert paste(product, message(receipt(1)), mac="")["reason"] == "already_used"
    without_api(product, slug="bahari")
    theirs = paste(product, message(receipt(1), to="BAHARI HOUSE"), slug="bahari")
    assert theirs["status"] == "queued", "another business has its own receipts"


@pytest.mark.parametrize("policy", ["hold", "open"])
def test_receipt_and_mac_address_lead_no_stranger_to_somebody_elses_page(product: Product, policy: str) -> None:
    """Rules 1 and 2: both are known to others; with them a message made up gave payment token and password."""
    without_api(product, policy=policy)
    mine, cut = message(receipt(1)), message(receipt(1)).split(".New M-PESA")[0]
    browser = product.client()
    form = {"package": product.package(), "sms_text": mine, "mac": MAC}
    told = browser.post("/hotspot/mlima/paid", data=form)
    token = told.headers["Location"].split("/wait/")[1].split("?")[0]
    for made_up in (cut, mine.replace("Ksh1.00", "Ksh2.00"), message(receipt(1), amount=60)):
        said = paste(product, made_up)
        assert (said["status"], said["reason"]) == ("rejected", "already_used") and token not in str(said)
        assert product.client().post("/hotspot/mlima/paid", data=form | {"sms_text": made_up}).status_code == 422
    back = browser.post("/hotspot/mlima/paid", data=form | {"sms_text": cut})
    assert token in back.headers["Location"], "its own browser finds back"
    assert paste(product, mine.replace(" ", "\n"))["paymentId"] == token, "and so does who has the message itself"


def test_the_policy_opens_at_once_marked_unverified_and_acceptance_keeps_the_code(product: Product) -> None:
    without_api(product, policy="open")
    said = paste(product, message(receipt(3)))
    assert (said["status"], said["reason"]) == ("verified", "unverified_policy")
    assert said["credentials"]["username"] == receipt(3)
    status = product.status(said["paymentId"])
    assert status["status"] == "pending" and status["credentials"] == said["credentials"]
    page = product.client().get(f"/hotspot/mlima/wait/{said['paymentId']}").text
    assert "Open until we have checked your payment" in page and "Connect" in page or receipt(3) in page
    assert "Your internet is open until" in product.client().get(f"/hotspot/mlima/?mac={MAC}").text
    assert paste(product, message(receipt(3)))["credentials"] == said["credentials"]
    assert "open already" in product.browser_of("brian").get("/staff/claims").text
    assert product.books() == [] and product.api("amina").get("/api/transactions").json["items"] == []
    decide(product, "accept")
    product.work()
    paid = product.status(said["paymentId"])
    assert paid["status"] == "paid" and paid["credentials"] == said["credentials"]
    assert grants(product) == [True] and product.books() == []


def test_a_refusal_ends_what_the_policy_had_opened(product: Product) -> None:
    without_api(product, policy="open")
    token = paste(product, message(receipt(4)))["paymentId"]
    assert grants(product) == [True]
    decide(product, "refuse", reason="No such payment")
    assert grants(product) == [False] and "credentials" not in product.status(token)
    assert "Wi-Fi code" not in product.client().get(f"/hotspot/mlima/wait/{token}").text


def test_a_device_opens_so_often_a_day_and_then_waits(product: Product) -> None:
    without_api(product, policy="open")
    assert [paste(product, message(receipt(n)))["status"] for n in range(1, 5)] == ["verified"] * 2 + ["queued"] * 2
    assert paste(product, message(receipt(9)), mac="AA:BB:CC:DD:EE:09")["status"] == "verified"
    assert paste(product, message(receipt(10)), mac="")["status"] == "queued", "nobody to count"
    phone = new_phone()
    said = [paste(product, message(receipt(n)), mac="", phone=phone)["status"] for n in (11, 12, 13)]
    assert said == ["verified", "verified", "queued"]
    later(86_400)
    assert paste(product, message(receipt(14)))["status"] == "verified"


def test_two_messages_in_one_paste_are_for_a_person_to_judge(product: Product) -> None:
    without_api(product, policy="open")
    both = message(receipt(1)) + " " + message(receipt(2))
    assert paste(product, both)["status"] in ("queued", "rejected") and grants(product) == []


@pytest.mark.parametrize("amount", [50, 60])
def test_m_pesas_own_word_settles_the_claim_without_a_second_booking(product: Product, amount: int) -> None:
    without_api(product)
    token = paste(product, message(receipt(5), amount=amount))["paymentId"]
    body = c2b_body(receipt=receipt(5), amount=amount, account="")
    for _twice in range(2):
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body | {"n": _twice})
        product.work()
    assert product.status(token)["status"] == "paid"
    assert "No message waits" in product.browser_of("brian").get("/staff/claims").text
    with product.inside():
        money = db.session.query(Transaction).one()
        assert (money.channel, money.unallocated_cents) == ("c2b", (amount - 50) * 100)
        assert db.session.query(SmsSubmission).one().transaction_id == money.id
    assert product.books() == []


def test_m_pesas_word_after_acceptance_is_a_second_witness(product: Product) -> None:
    without_api(product)
    token = paste(product, message(receipt(6)))["paymentId"]
    decide(product, "accept")
    body = c2b_body(receipt=receipt(6), amount=50, account="")
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()
    assert product.status(token)["status"] == "paid"
    assert len(product.api("amina").get("/api/transactions").json["items"]) == 1 and product.books() == []


def test_a_message_found_after_days_still_pays_what_it_was_pasted_for(product: Product) -> None:
    without_api(product)
    token = paste(product, message(receipt(7)))["paymentId"]
    later(3 * 86_400)
    with product.inside():
        jobs.close_forgotten()
    decide(product, "accept")
    product.work()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_the_queue_belongs_to_one_business_and_its_counter(product: Product) -> None:
    without_api(product)
    paste(product, message(receipt(8)))
    with product.inside():
        uid = db.session.query(SmsSubmission.uid).scalar()
    for name, status in (("chege", 404), ("wanjiru", 403), ("njeri", 403)):
        browser = product.browser_of(name)
        form = {"csrf_token": csrf_of(browser, "/staff/customers"), "reason": "x"}
        for verb in ("accept", "refuse"):
            assert browser.post(f"/staff/claims/{uid}/{verb}", data=form).status_code == status
    assert receipt(8) not in product.browser_of("chege").get("/staff/claims").text
    with product.inside():
        assert db.session.query(SmsSubmission.state).scalar() == "queued"


def test_a_claim_is_accepted_once_however_many_click(either_product: Product) -> None:
    product = either_product
    without_api(product)
    token, tenant_id = paste(product, message(receipt(1)))["paymentId"], product.tenant_id()
    with product.inside():
        uid = db.session.query(SmsSubmission.uid).scalar()

    def accept() -> str:
        with transaction():
            return submissions.accept(tenant_id, uid, user_id=None, actor="test").state

    def refuse() -> str:
        try:
            with transaction():
                return submissions.refuse(tenant_id, uid, why="no", user_id=None, actor="test").state
        except Conflict:
            return "too late"

    with product.app.app_context():
        assert accept() == "accepted"
    assert set(together(product, *[accept] * 6, refuse, refuse)) == {"accepted", "too late"}
    product.work()
    assert product.status(token)["status"] == "paid" and grants(product) == [True]
    with product.inside():
        assert db.session.query(Transaction).count() == 1
    assert product.books() == []


def test_accepting_refusing_and_m_pesas_word_at_once_agree(either_product: Product) -> None:
    product = either_product
    without_api(product)
    tenant_id, hook = product.tenant_id(), product.hook()
    for number in range(1, 5):
        token = paste(product, message(receipt(number)))["paymentId"]
        with product.inside():
            uid = db.session.query(SmsSubmission.uid).filter_by(receipt=receipt(number)).scalar()
        body = c2b_body(receipt=receipt(number), amount=50, account="")
        product.client().post(f"{hook}/c2b/confirmation", json=body)

        def attempt(verb: str, uid: str = uid) -> str:
            try:
                with transaction():
                    if verb == "accept":
                        return submissions.accept(tenant_id, uid, user_id=None, actor="test").state
                    return submissions.refuse(tenant_id, uid, why="no", user_id=None, actor="test").state
            except Conflict:
                return "too late"

        work = [
            lambda: attempt("accept"),
            fulfilment.drain,
            lambda: attempt("refuse"),
            lambda: attempt("accept"),
        ]
        together(product, *work)
        product.work()
        with product.inside():
            claim = db.session.query(SmsSubmission).filter_by(receipt=receipt(number)).one()
            assert db.session.query(Transaction).filter_by(receipt=receipt(number)).count() == 1
            assert (product_state(token) == "paid") == (claim.state == "accepted")
    assert product.books() == []


def product_state(token: str) -> str:
    return str(db.session.query(Payment.state).filter_by(token=token).scalar())


@pytest.mark.parametrize("policy", ["hold", "open"])
def test_one_message_is_one_claim_however_many_paste_it(either_product: Product, policy: str) -> None:
    product = either_product
    without_api(product, policy=policy)
    package, text = product.package(), message(receipt(1))
    bodies = [
        {"tenant": "mlima", "packageId": package, "smsText": text, "macAddress": f"AA:BB:CC:DD:EE:{n:02X}"}
        for n in range(8)
    ]
    calls = [lambda body=body: product.client().post("/api/portal/mpesa/verify-sms", json=body) for body in bodies]
    said = [answer.json["reason"] for answer in together(product, *calls)]
    first = "unverified_policy" if policy == "open" else "waits_for_staff"
    assert sorted(said) == ["already_used"] * 7 + [first]
    with product.inside():
        assert db.session.query(SmsSubmission).count() == 1 and db.session.query(Payment).count() == 1
        assert db.session.query(AccessGrant).count() == (1 if policy == "open" else 0)


def test_one_device_with_many_messages_at_once_opens_no_more_than_its_share(either_product: Product) -> None:
    product = either_product
    without_api(product, policy="open")
    package = product.package()
    bodies = [
        {"tenant": "mlima", "packageId": package, "smsText": message(receipt(n)), "macAddress": MAC}
        for n in range(1, 7)
    ]
    calls = [lambda body=body: product.client().post("/api/portal/mpesa/verify-sms", json=body) for body in bodies]
    said = sorted(answer.json["status"] for answer in together(product, *calls))
    assert said == ["queued"] * 4 + ["verified"] * 2 and grants(product) == [True, True]


STEPS = st.lists(st.sampled_from(["paste", "accept", "refuse", "c2b", "close"]), min_size=1, max_size=6)


@settings(max_examples=100)
@given(steps=STEPS)
def test_whatever_happens_to_a_claim_money_is_booked_once(product: Product, steps: list[str]) -> None:
    product.begin_again(lambda: without_api(product, policy="open"))
    number = 1_000 + next(_numbers)
    mac = f"AA:BB:{number // 256:02X}:{number % 256:02X}:00:01"
    token, is_told, state = None, False, None
    for step in ["paste", *steps]:
        with product.inside():
            uid = db.session.query(SmsSubmission.uid).filter_by(receipt=receipt(number)).scalar()
        if step == "paste":
            token = token or paste(product, message(receipt(number)), mac=mac).get("paymentId")
        elif step == "c2b":
            body = c2b_body(receipt=receipt(number), amount=50, account="")
            product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
            product.settle()
            is_told = True
            state = state or "accepted"
        else:
            with product.app.app_context():
                try:
                    with transaction():
                        if step == "accept":
                            submissions.accept(product_tenant(), uid, user_id=None, actor="test")
                        elif step == "refuse":
                            submissions.refuse(product_tenant(), uid, why="no", user_id=None, actor="test")
                except Conflict:
                    assert state in ("accepted", "refused")
                else:
                    state = state or {"accept": "accepted", "refuse": "refused"}.get(step)
            product.settle()
    with product.inside():
        money = db.session.query(Transaction).filter_by(receipt=receipt(number)).all()
        assert len(money) == int(is_told or state == "accepted")
        claim = db.session.query(SmsSubmission).filter_by(receipt=receipt(number)).one()
        assert claim.state == (state or "queued")
    assert token and (product.status(token)["status"] == "paid") == (state == "accepted")
    assert product.books() == []


def product_tenant() -> int:
    return int(db.session.query(Tenant.id).filter_by(slug="mlima").scalar())
