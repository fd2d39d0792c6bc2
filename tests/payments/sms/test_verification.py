"""A pasted message proves itself, or opens nothing; who proves nothing learns nothing."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from portal.gateways.models import Gateway
from portal.hotspot.models import Package, PackageSite, Site
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments import daraja_requests, transaction_status
from portal.payments.models import MpesaRequest, Payment, SmsSubmission, Transaction
from portal.payments.sms import verification
from portal.payments.sms.parser import parse_sms
from portal.tenants.models import Tenant
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.sms import grants, message, without_api

SAMPLES = json.loads((Path(__file__).parent / "sms_samples.json").read_text())
MINE, THEIRS = "254723456789", "254734567890"


def arrive(product: Product, number: int = 1, *, amount: int = 50, phone: str = MINE, account: str = "WIFI") -> None:
    """Money by hand, as M-Pesa tells of it, without a home."""
    with product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().refuses_unknown_accounts = False
    body = c2b_body(receipt=receipt(number), amount=amount, account=account)
    body |= {"TransTime": clock.daraja_timestamp(clock.now()), "MSISDN": phone}
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()


def by_paybill(code: str, *, amount: int = 50, account: str = "WIFI", to: str = "MLIMA HOUSE", ago_s: float = 0) -> str:
    at = clock.nairobi(clock.now() - timedelta(seconds=ago_s))
    when = f"{at.day}/{at.month}/{at:%y} at {at.hour % 12 or 12}:{at:%M} {at:%p}"
    return (
        f"{code} Confirmed. Ksh{amount}.00 sent to {to} for account {account} on {when} "
        "New M-PESA balance is Ksh1.00. Transaction cost, Ksh0.00."
    )


def paste(product: Product, text: str, **more: Any) -> dict[str, Any]:
    given = {"tenant": "mlima", "packageId": product.package(), "smsText": text} | more
    answer = product.client().post("/api/portal/mpesa/verify-sms", json=given)
    assert answer.status_code == 200, answer.text
    return answer.json  # type: ignore[return-value]


def able_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if an initiator were set up: questions are written down, and nobody answers them."""
    monkeypatch.setattr(transaction_status.initiator, "can_ask", lambda _gateway: True)
    monkeypatch.setattr("portal.payments.daraja_requests.initiator.refuse_if_halted", lambda _gateway: None)


# --- what a message has to say


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{receipt(1)} Confirmed. Ksh50.00 sent to M", "incomplete_message"),
        (f"{receipt(1)} Confirmed. Ksh50.00 sent to MLIMA HOUSE for account WIFI", "incomplete_message"),
        (f"{receipt(1)} Confirmed. Ksh50.00 sent to MLIMA HOUSE for account WIFI on 21/11/26", "incomplete_message"),
    ],
)
def test_a_message_without_date_time_and_business_takes_nobodys_money(product: Product, text: str, reason: str) -> None:
    """safety.md 3: `… sent to M` took somebody else's KES 20."""
    arrive(product)
    said = paste(product, text)
    assert said["status"] == "rejected" and said["reason"] in (reason, "not_a_payment")
    assert paste(product, by_paybill(receipt(1)))["status"] == "verified", "it is still there for who paid"


@pytest.mark.parametrize("to", ["M", "MLIMA", "HOUSE", "LIMA HOUSE", "SOMEBODY ELSE"])
def test_one_strict_rule_says_whose_name_it_is(product: Product, to: str) -> None:
    """safety.md 3: one letter passed."""
    arrive(product)
    assert paste(product, by_paybill(receipt(1), to=to))["reason"] == "other_merchant"


@pytest.mark.parametrize("to", ["MLIMA HOUSE", "Mlima House", "MLIMA HOUSE LIMITED-NRB 4", "MLIMA HOU"])
def test_a_name_that_m_pesa_cut_or_lengthened_is_ours(product: Product, to: str) -> None:
    arrive(product)
    assert paste(product, by_paybill(receipt(1), to=to))["status"] == "verified"


def test_at_a_banks_paybill_the_account_says_whose_it_is(product: Product) -> None:
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.sub_kind, gateway.account_number = "BANK", "412233"
    with product.inside():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        assert verification.names_us(tenant, gateway, "Equity Paybill Account", account="412233")
        assert not verification.names_us(tenant, gateway, "MLIMA HOUSE", account="999")
        assert not verification.names_us(tenant, gateway, "Equity Paybill Account")


def test_a_message_of_the_future_is_none(product: Product) -> None:
    """A phone's clock may be ten minutes ahead, not a day."""
    arrive(product)
    text = by_paybill(receipt(1))
    later(-12 * 60)
    assert paste(product, text)["reason"] == "too_old"
    later(3 * 60)
    assert paste(product, text)["reason"] == "verified"


@pytest.mark.parametrize(("ago_s", "reason"), [(0, "verified"), (86_300, "verified"), (86_500, "too_old")])
def test_a_message_is_good_for_as_long_as_the_tenant_says(product: Product, ago_s: int, reason: str) -> None:
    arrive(product)
    text = by_paybill(receipt(1))
    later(ago_s)
    assert paste(product, text)["reason"] == reason
    with product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().message_hours = 48
    assert paste(product, text)["reason"] in ("verified", "already_used")


@pytest.mark.parametrize(("off_s", "status"), [(-540, "verified"), (-780, "rejected"), (540, "verified")])
def test_its_time_is_m_pesas_time_within_ten_minutes(product: Product, off_s: int, status: str) -> None:
    """tests.md F3: ten days of tolerance were noticed by no test."""
    arrive(product)
    assert paste(product, by_paybill(receipt(1), ago_s=-off_s))["status"] == status


def test_a_message_of_another_account_is_not_its_money(product: Product) -> None:
    """tests.md F4."""
    arrive(product, account="WIFI7")
    assert paste(product, by_paybill(receipt(1), account="WIFI8"))["status"] == "rejected"
    assert paste(product, by_paybill(receipt(1), account="wifi 7"))["status"] == "verified"


def test_the_payers_number_is_compared_where_both_are_known(product: Product) -> None:
    """safety.md 3: the payer's phone was never compared."""
    arrive(product)
    assert paste(product, by_paybill(receipt(1)), phone=THEIRS)["status"] == "rejected"
    assert paste(product, by_paybill(receipt(1)), phone=MINE)["status"] == "verified"


def test_every_real_message_to_a_business_says_all_that_is_asked_for() -> None:
    """None of the real forms lacks anything: who pastes all of it is never refused for what M-Pesa left out."""
    texts = [one["text"] for one in SAMPLES]
    assert len(texts) == 51
    to_business = [text for text in texts if parse_sms(text).is_payment_to_business]
    assert len(to_business) >= 19 and all(verification.stated_in(text) is not None for text in to_business)


def test_every_real_message_to_a_business_takes_the_money_that_m_pesa_told_of(product: Product) -> None:
    """From end to end: whose business, account or phone number stands in it, its payer is let in."""
    to_business = [one for one in SAMPLES if one["is_payment_to_business"]]
    assert len(to_business) == 20
    for one in to_business:
        with product.app.app_context(), transaction():
            tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
            tenant.name, tenant.refuses_unknown_accounts = one["paid_to"], False
            for package in db.session.query(Package):
                package.price_cents = 100
        at = datetime.fromisoformat(f"{one['date']}T{one['time']}").replace(tzinfo=clock.NAIROBI)
        clock.reset()
        clock.move(at + timedelta(minutes=3) - clock.now())
        body = c2b_body(receipt=one["receipt"], amount=one["amount"], account=one["account"] or "")
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body | {"TransTime": f"{at:%Y%m%d%H%M}37"})
        product.settle()
        assert paste(product, one["text"])["status"] == "verified", one["text"]


@pytest.mark.parametrize(("typed", "status"), [("0723456789", "verified"), ("0723456111", "rejected")])
def test_who_typed_a_phone_number_for_an_account_is_not_locked_out(product: Product, typed: str, status: str) -> None:
    """Accounts that are phone numbers are kept shortened; the message has all of it."""
    arrive(product, account="0723 456 789")
    assert paste(product, by_paybill(receipt(1), account=typed))["status"] == status


def test_questions_whose_answers_were_lost_lock_nobody_out(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three unheard answers were the last word for ever; now only three that M-Pesa gave are."""
    able_to_ask(monkeypatch)
    asked = []
    for state in ("unknown", "unknown", "unknown", "answered", "answered", "answered", "unknown"):
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            asked.append(transaction_status.ask(gateway, receipt(1)))
            for one in db.session.query(MpesaRequest).filter_by(state="created"):
                daraja_requests.close(one, state)
        later(7_200)
    assert asked == [True, True, True, True, True, True, False]


# --- who proves nothing learns nothing


@pytest.mark.parametrize("asks", [False, True])
def test_wrong_guesses_get_one_answer_and_cost_the_same(
    product: Product, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """safety.md 2: `amount_differs`, `already_used` and `asking_mpesa` told a guesser which receipts exist."""
    for number in (1, 2, 3, 4):
        arrive(product, number)
    if asks:
        able_to_ask(monkeypatch)
    assert paste(product, by_paybill(receipt(2)))["status"] == "verified"
    wrong = {
        "unknown": by_paybill(receipt(9)),
        "amount": by_paybill(receipt(1), amount=60),
        "time": by_paybill(receipt(3), ago_s=3_600),
        "account": by_paybill(receipt(4), account="OTHER"),
        "used, with another time": by_paybill(receipt(2), ago_s=3_600),
    }
    answers, statements = {}, {}
    for what, text in wrong.items():
        count = [0]

        def counted(*_any: Any, count: list[int] = count) -> None:
            count[0] += 1

        with product.app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", counted)
        answers[what] = paste(product, text)
        event.remove(engine, "before_cursor_execute", counted)
        statements[what] = count[0]
    assert len({json.dumps(one, sort_keys=True) for one in answers.values()}) == 1, answers
    assert set(answers["unknown"]) == {"status", "reason", "message"}
    assert len(set(statements.values())) == 1, statements


def test_only_who_holds_the_whole_message_is_told_that_it_was_used(product: Product) -> None:
    arrive(product)
    assert paste(product, by_paybill(receipt(1)))["status"] == "verified"
    assert paste(product, by_paybill(receipt(1)))["reason"] == "already_used"


def test_messages_with_a_new_mac_each_time_are_counted_by_the_network(product: Product) -> None:
    """safety.md 2, money.md B24 (t10)."""
    body = {"tenant": "mlima", "packageId": product.package()}
    said = [
        product.client()
        .post(
            "/api/portal/mpesa/verify-sms",
            json=body
            | {"smsText": by_paybill(receipt(n)), "macAddress": f"AA:BB:CC:00:00:{n:02X}", "phone": new_phone()},
        )
        .status_code
        for n in range(62)
    ]
    assert said == [200] * 60 + [429] * 2


def test_forged_messages_of_one_network_leave_room_for_an_honest_payers_question(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md B24 (h1): 40 of them filled the gateway's open questions."""
    able_to_ask(monkeypatch)
    for n in range(41):
        assert paste(product, by_paybill(receipt(n)))["status"] in ("queued", "rejected")
    with product.inside():
        assert db.session.query(MpesaRequest).count() == 8
    same = paste(product, by_paybill(receipt(77)))
    assert (same["status"], same["reason"]) == ("queued", "asking_mpesa"), "not refused for others' forgeries"
    body = {"tenant": "mlima", "packageId": product.package(), "smsText": by_paybill(receipt(78))}
    other = (
        product.client()
        .post("/api/portal/mpesa/verify-sms", json=body, environ_base={"REMOTE_ADDR": "198.51.100.7"})
        .json
    )
    assert other["status"] == "queued"
    with product.inside():
        assert db.session.query(MpesaRequest).count() == 9, "M-Pesa is asked about it"


# --- a policy of `open`


def test_a_policy_of_open_counts_the_network_and_the_tenant(product: Product) -> None:
    """money.md B24 (t13): twelve accesses for twelve MAC addresses of one browser."""
    without_api(product, policy="open")
    body = {"tenant": "mlima", "packageId": product.package()}

    def opened(n: int, address: str) -> bool:
        given = body | {"smsText": message(receipt(n)), "macAddress": f"AA:BB:CC:DD:{n // 256:02X}:{n % 256:02X}"}
        answer = product.client().post(
            "/api/portal/mpesa/verify-sms", json=given, environ_base={"REMOTE_ADDR": address}
        )
        return "credentials" in (answer.json or {})

    assert sum(opened(n, "192.0.2.1") for n in range(12)) == 6
    assert sum(opened(n, f"198.51.100.{n}") for n in range(20, 50)) == 14, "20 a day in all"
    with product.app.app_context(), transaction():
        for claim in db.session.query(SmsSubmission).filter(SmsSubmission.opened_at.is_not(None)).limit(5):
            claim.state = "accepted"
    assert opened(60, "203.0.113.9"), "what the staff found is not counted any more"
    assert len(grants(product)) == 21


def test_a_message_that_contradicts_m_pesa_is_never_opened_unchecked(product: Product) -> None:
    without_api(product, policy="open")
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        db.session.add(
            Transaction(
                tenant_id=gateway.tenant_id, gateway_id=gateway.id, environment=gateway.environment, channel="c2b",
                receipt=receipt(1), amount_cents=500, unallocated_cents=500, occurred_at=clock.now(),
            )
        )  # fmt: skip
    said = paste(product, message(receipt(1)), macAddress="AA:BB:CC:DD:EE:01")
    assert said["status"] == "queued" and grants(product) == []


# --- by the amount


@pytest.mark.parametrize(("amount", "name"), [(20, "1 hour"), (49, "1 hour"), (50, "1 day"), (500, "1 day")])
def test_i_have_paid_takes_the_dearest_package_that_the_money_covers(product: Product, amount: int, name: str) -> None:
    """use.md 3: who paid KES 50 got one hour."""
    arrive(product, amount=amount)
    page = product.client().get("/hotspot/mlima/paid").text
    assert '<option value="">' in page and "What my payment covers" in page
    answer = product.client().post("/hotspot/mlima/paid", data={"sms_text": by_paybill(receipt(1), amount=amount)})
    assert answer.status_code == 303, answer.text
    token = answer.location.split("/wait/")[1].split("?")[0]
    with product.inside():
        assert db.session.query(Payment.title).filter_by(token=token).scalar() == name


def test_i_have_paid_takes_none_that_is_not_valid_where_the_payer_is(product: Product) -> None:
    """The dearest package, of one day, is for another site: the money buys the hour that is valid here."""
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        market, yard = (Site(tenant_id=tenant_id, name=name, kind="voucher") for name in ("market", "yard"))
        db.session.add_all([market, yard])
        package = db.session.query(Package).filter_by(tenant_id=tenant_id, name="1 day").one()
        db.session.flush()
        db.session.add(PackageSite(tenant_id=tenant_id, package_id=package.id, site_id=market.id))
        package_uid = package.uid
    arrive(product, amount=50)
    given = {"sms_text": by_paybill(receipt(1), amount=50), "identity": "yard"}
    named = product.client().post("/hotspot/mlima/paid", data=given | {"package": package_uid})
    assert named.status_code == 422
    assert product.client().post("/hotspot/mlima/paid", data=given).status_code == 303
    with product.inside():
        assert db.session.query(Payment.title).scalar() == "1 hour"


def test_money_that_covers_no_package_is_told_the_price(product: Product) -> None:
    arrive(product, amount=10)
    for chosen in ("", product.package("1 hour"), product.package("1 day")):
        given = {"sms_text": by_paybill(receipt(1), amount=10), "package": chosen}
        answer = product.client().post("/hotspot/mlima/paid", data=given)
        assert answer.status_code == 422 and "You paid KES 10; the cheapest package costs KES 20." in answer.text
        assert "Choose one that your payment covers" not in answer.text, "there is none to choose"
        assert "Ask the staff to keep your money for you or send it back." in answer.text


def test_money_that_covers_another_package_is_told_to_choose_it(product: Product) -> None:
    arrive(product, amount=49)
    given = {"sms_text": by_paybill(receipt(1), amount=49), "package": product.package("1 day")}
    answer = product.client().post("/hotspot/mlima/paid", data=given)
    told = "You paid KES 49; this package costs KES 50. Choose one that your payment covers."
    assert answer.status_code == 422 and told in answer.text


def test_a_message_used_before_leads_to_the_code(product: Product) -> None:
    """use.md 24: the second device read that the payment was used, and nothing of how to go on."""
    arrive(product, amount=50)
    given = {"sms_text": by_paybill(receipt(1), amount=50)}
    assert product.client().post("/hotspot/mlima/paid", data=given).status_code == 303
    second = product.client().post("/hotspot/mlima/paid", data=given)
    assert second.status_code == 422 and "choose “I have a code” and enter its code and password" in second.text
