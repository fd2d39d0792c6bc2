"""Staff pages under strange hands: odd filters, links that carry too much, money placed twice or wrongly."""

import re
from typing import Any

import pytest

from portal.db import db, transaction
from portal.gateways.models import Gateway
from portal.hotspot import packages
from portal.payments.models import Allocation, Payment, Transaction
from tests.house import House, c2b_body, csrf_of, new_phone, receipt


def money_without_a_home(
    house: House, amount: int = 500, *, slug: str = "mlima", n: int = 1, shortcode: str = "600111"
) -> str:
    """The id of money that arrived for nobody."""
    body = c2b_body(receipt=receipt(n), amount=amount, account="LOST", shortcode=shortcode)
    house.client().post(f"{house.hook(slug)}/c2b/confirmation", json=body)
    house.settle()
    with house.inside():
        return db.session.query(Transaction.uid).filter_by(receipt=receipt(n)).scalar()


def place(house: House, uid: str, reference: str, name: str = "brian") -> Any:
    browser = house.browser_of(name)
    token = csrf_of(browser, "/login")
    return browser.post(
        f"/staff/unmatched/{uid}", data={"reference": reference, "csrf_token": token}, follow_redirects=True
    )


ODD_SEARCHES = (
    "endpoint=x", "_external=1&_scheme=javascript", "_anchor=x", "_method=POST", "self=x", "lang=sw", "cursor=x",
    "state=lost",
    "from=yesterday", "to=9999-12-31", "from=0001-01-01", "q=%00", "q=" + "x" * 5000, "phone=abc", "receipt=%ED%A0%80",
    "tenant=bahari", "from=2026-01-01T00:00:00%2B03:00", "cursor=eA==",
)  # fmt: skip


@pytest.mark.property(39)
def test_a_search_with_odd_words_is_answered_and_its_links_lead_only_here(house: House) -> None:
    browser = house.browser_of("brian")
    for query in ODD_SEARCHES:
        answer = browser.get(f"/staff/payments?{query}")
        assert answer.status_code in (200, 422), f"{query}: {answer.status_code}"
        for link in re.findall(r'(?:href|action)="([^"]*)"', answer.text):
            assert link.startswith(("/", "#", "?", "tel:")) and not link.startswith("//"), f"{query}: {link}"


@pytest.mark.property(37)
def test_a_search_keeps_its_filters_in_its_links(house: House) -> None:
    browser = house.browser_of("njeri")
    text = browser.get("/staff/payments?q=WIFI&state=allocated&from=2026-01-01").text
    assert re.search(r'href="/staff/payments\.csv\?[^"]*q=WIFI', text)


def test_money_is_placed_once_and_only_within_the_business_and_its_kind_of_money(house: House) -> None:
    number, token = house.invoice(500)
    uid = money_without_a_home(house)
    chege = place(house, uid, number, "chege")
    assert chege.status_code == 404
    assert place(house, uid, number, "njeri").status_code == 403, "the accountant only reads"
    for reference in ("", "NOTHING", "\x00", "x" * 500, "INV-0"):
        page = place(house, uid, reference)
        assert page.status_code in (200, 422) and "nothing to pay called" in page.text or page.status_code == 422
    with house.inside():
        assert db.session.query(Allocation).count() == 0
    assert "placed on" in place(house, uid, f" {number.lower()} ").text
    assert house.status(token)["status"] == "paid"
    again, _token = house.invoice(500)
    assert "placed already" in place(house, uid, again).text
    assert "nothing left to pay" in place(house, money_without_a_home(house, n=2), number).text
    assert house.books() == []


@pytest.mark.property(81)
def test_test_money_never_pays_a_real_invoice(house: House) -> None:
    uid = money_without_a_home(house)
    with house.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.environment = "production"
    number, token = house.invoice(500)
    page = place(house, uid, number)
    assert page.status_code == 200
    with house.inside():
        payment = db.session.query(Payment).filter_by(token=token).one()
        assert payment.environment == "production" and payment.allocated_cents == 0, "test money paid a real invoice"
    assert house.books() == []


def test_an_invoice_at_the_desk_says_what_is_wrong_and_is_made_once_right(house: House) -> None:
    browser = house.browser_of("brian")
    right = {"name": "Auma", "phone": "0722 000 111", "kind": "lab", "description": "Test", "amount": "500"}
    for wrong in ({"amount": "0"}, {"amount": "-5"}, {"amount": "1.5"}, {"amount": "NaN"}, {"amount": "1e99"},
            {"amount": "text"},
                  {"amount": "Infinity"}, {"phone": "0812345678"}, {"name": ""}, {"kind": "gift"},
                  {"description": ""}, {"name": "x" * 500}):  # fmt: skip
        data = right | wrong | {"csrf_token": csrf_of(browser, "/staff/invoices/new")}
        answer = browser.post("/staff/invoices/new", data=data)
        assert answer.status_code == 422, wrong
    with house.inside():
        assert db.session.query(Payment).count() == 0
    answer = browser.post("/staff/invoices/new", data=right | {"csrf_token": csrf_of(browser, "/staff/invoices/new")})
    assert answer.status_code == 303 and answer.headers["Location"].startswith("/staff/attempts/")


@pytest.mark.property(45)
def test_a_gateways_page_never_shows_what_is_kept_and_names_each_field_at_fault(house: House) -> None:
    browser, api = house.browser_of("amina"), house.api("amina")
    uid = api.get("/api/payment-gateways").json["items"][0]["id"]
    page = browser.get(f"/staff/gateways/{uid}").text
    assert "mlima-secret" not in page and "mlima-passkey" not in page and "mlima-key" not in page
    data = {"name": "New", "type": "MPESA_API", "sub_type": "PAYBILL", "shortcode": "600333", "env": "sandbox"}
    data |= {"consumer_key": "hidden-key", "consumer_secret": "hidden-secret", "passkey": "hidden-passkey"}
    for wrong in (
        {"base_url": "http://["},
        {"base_url": "ftp://x"},
        {"shortcode": "12"},
        {"certificate": "rubbish"},
        {"env": "mars"},
    ):
        token = csrf_of(browser, "/staff/gateways/new")
        answer = browser.post("/staff/gateways/new", data=data | wrong | {"csrf_token": token})
        assert answer.status_code == 422 and "hidden-" not in answer.text, wrong
    token = csrf_of(browser, "/staff/gateways/new")
    made = browser.post("/staff/gateways/new", data=data | {"csrf_token": token}, follow_redirects=True)
    assert made.status_code == 200 and "hidden-" not in made.text


def test_an_appointment_is_approved_once_and_a_strangers_is_not_there(house: House) -> None:
    api = house.api("brian")
    booking = {
        "patientId": api.get("/api/patients").json["items"][0]["id"],
        "clinicianId": api.get("/api/clinicians").json["items"][0]["id"],
        "kind": "onsite", "startsAt": "2035-01-01T09:00:00+03:00", "durationMinutes": 30, "price": 700,
    }  # fmt: skip
    uid = api.post("/api/appointments", booking).json["id"]
    browser = house.browser_of("wanjiru")

    def press(action: str, which: str = uid) -> Any:
        data = {"csrf_token": csrf_of(browser, "/staff/invoices/new")}
        return browser.post(f"/staff/appointments/{which}/{action}", data=data, follow_redirects=True)

    assert press("approve", "nobody").status_code == press("decline", "nobody").status_code == 404
    assert "Approved." in press("approve").text
    assert "cannot become" in press("approve").text and "cannot become" in press("decline").text
    assert len(api.get("/api/invoices").json["items"]) == 1, "one invoice"


@pytest.mark.property(34)
@pytest.mark.property(36)
@pytest.mark.property(43)
def test_paid_and_failed_are_told_apart_with_receipt_reason_and_time(house: House) -> None:
    _number, failed = house.invoice(300)
    house.callback(house.pushed(failed, new_phone()), code=2001)
    _number, paid = house.invoice(300)
    house.callback(house.pushed(paid), receipt=receipt(9))
    house.settle()
    browser = house.browser_of("wanjiru")
    page = browser.get(f"/staff/attempts/{failed}").text
    assert "2001" in page and "PIN" in page and re.search(r"\d\d:\d\d", page)
    assert receipt(9) in browser.get("/staff/payments").text


def test_the_strip_of_arriving_money_answers_only_what_is_new(house: House) -> None:
    browser = house.browser_of("brian")
    assert browser.get("/staff/live").status_code == 302
    first = browser.get("/staff/live", headers={"HX-Request": "true"})
    version = re.search(r"v=([0-9-]+)", first.text)
    assert version
    assert browser.get(f"/staff/live?v={version.group(1)}", headers={"HX-Request": "true"}).status_code == 204
    money_without_a_home(house)
    later = browser.get(f"/staff/live?v={version.group(1)}", headers={"HX-Request": "true"})
    assert later.status_code == 200 and receipt(1) in later.text


def test_names_and_accounts_with_markup_are_shown_as_text(house: House) -> None:
    evil = "<script>alert(1)</script>"
    body = c2b_body(receipt=receipt(1), amount=50, account='"><img src=x onerror=alert(1)>') | {"FirstName": evil}
    house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
    house.settle()
    house.api("brian").post("/api/patients", {"name": evil, "phone": "0722000111"})
    lines = [{"kind": "lab", "description": evil, "amount": 5}]
    made = house.api("brian").post("/api/invoices", {"payer": {"name": evil}, "lines": lines}).json
    uid = house.api("brian").get("/api/transactions").json["items"][0]["id"]
    browser = house.browser_of("amina")
    token = made["payUrl"].rsplit("/", 1)[1]
    for path in ("/staff/", "/staff/payments", f"/staff/payments/{uid}", "/staff/unmatched", "/staff/invoices",
            "/staff/customers",
                 f"/staff/attempts/{token}", f"/pay/{token}", "/staff/payments?q=" + evil,
                 "/login?next=" + evil):  # fmt: skip
        text = browser.get(path).text
        assert "<script>alert" not in text and "<img src=x" not in text, path


@pytest.mark.property(36)
def test_an_invoice_paid_in_part_reads_the_same_on_its_page_and_in_the_list(house: House) -> None:
    """use.md, drawn wrongly: "Pending" on its page, "Part paid" in the list."""
    number, token = house.invoice(1_000)
    body = c2b_body(receipt=receipt(1), amount=400, account=number)
    house.client().post(f"{house.hook()}/c2b/confirmation", json=body)
    house.settle()
    browser = house.browser_of("brian")
    for path in (f"/staff/attempts/{token}", "/staff/invoices"):
        page = browser.get(path).text
        assert "Part paid" in page and "Pending" not in page, path


def test_a_package_whose_name_says_its_time_does_not_say_it_again(house: House) -> None:
    """use.md, drawn wrongly: "10 Mbps · 2 devices · 7 days" under "1 week"."""
    for name in ("1 week", "7 days", "Weekend"):
        with house.app.app_context(), transaction():
            given = {"name": name, "price": 300, "duration": 7 * 86_400, "rate": "2M/5M"}
            packages.create(1, given, actor="test", push_limit_cents=25_000_000)
    page = house.client().get("/hotspot/mlima/").text
    lines = dict(re.findall(r"<b>([^<]+)</b><small>\s*([^<]*?)\s*</small>", page))
    assert "days" not in lines["1 week"] and "days" not in lines["7 days"]
    assert lines["Weekend"].endswith("7 days")
    in_swahili = house.client().get("/hotspot/mlima/?lang=sw").text
    assert "siku 7" in dict(re.findall(r"<b>([^<]+)</b><small>\s*([^<]*?)\s*</small>", in_swahili))["1 week"]


def test_taking_back_and_taken_back_are_two_words_in_swahili(house: House) -> None:
    """use.md 13: the button said "Imebatilishwa", it has been voided."""
    number, _token = house.invoice(300)
    taken = house.api("brian").post("/api/payments/manual", {"reference": number, "amount": 300, "channel": "cash"})
    uid, browser = taken.json["id"], house.browser_of("amina")
    for path in ("/staff/manual?lang=sw", f"/staff/payments/{uid}?lang=sw"):
        page = browser.get(path).text
        assert "Batilisha" in page and "Imebatilishwa" not in page, path
    house.api("amina").delete(f"/api/payments/manual/{uid}?reason=x")
    page = browser.get("/staff/manual?lang=sw").text
    assert "Imebatilishwa" in page and ">Batilisha" not in page
