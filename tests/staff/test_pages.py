"""Staff pages under strange hands: odd filters, links that carry too much, money placed twice or wrongly."""

import re
from datetime import timedelta
from typing import Any

import pytest

from portal.gateways.models import Gateway
from portal.hotspot import packages
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.phone import as_shown
from portal.payments.models import Allocation, Payment, Transaction
from portal.tenants.models import Tenant
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.visitors import csrf_of


def money_without_a_home(
    product: Product, amount: int = 500, *, slug: str = "mlima", n: int = 1, shortcode: str = "600111"
) -> str:
    """The id of money that arrived for nobody."""
    body = c2b_body(receipt=receipt(n), amount=amount, account="LOST", shortcode=shortcode)
    product.client().post(f"{product.hook(slug)}/c2b/confirmation", json=body)
    product.settle()
    with product.inside():
        return db.session.query(Transaction.uid).filter_by(receipt=receipt(n)).scalar()


def place(product: Product, uid: str, reference: str, name: str = "brian") -> Any:
    browser = product.browser_of(name)
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
def test_a_search_with_odd_words_is_answered_and_its_links_lead_only_here(product: Product) -> None:
    browser = product.browser_of("brian")
    for query in ODD_SEARCHES:
        answer = browser.get(f"/staff/payments?{query}")
        assert answer.status_code in (200, 422), f"{query}: {answer.status_code}"
        for link in re.findall(r'(?:href|action)="([^"]*)"', answer.text):
            assert link.startswith(("/", "#", "?", "tel:")) and not link.startswith("//"), f"{query}: {link}"


@pytest.mark.property(37)
def test_every_payment_stands_on_the_page_however_it_came(product: Product) -> None:
    number, token = product.invoice(9_000)
    for n in range(70):
        by_hand = c2b_body(receipt=receipt(n), amount=100, account=number if n % 2 else "NOBODY")
        assert product.client().post(f"{product.hook()}/c2b/confirmation", json=by_hand).status_code == 200
    product.settle()
    product.callback(product.pushed(product.invoice(300)[1]), receipt=receipt(70))
    product.settle()
    taken = product.api("brian").post(
        "/api/payments/manual", json={"amount": 40, "channel": "cash", "reference": number}
    )
    assert taken.status_code == 201, taken.text
    browser, path, seen = product.browser_of("amina"), "/staff/payments", []
    while path and len(seen) < 200:
        page = browser.get(path).text
        seen += re.findall(r'<td data-label="Receipt"><a class="mono" href="[^"]+">([^<]+)</a>', page)
        more = re.search(r'aria-label="Pages"><a[^>]*href="([^"]+)"', page)
        path = more[1].replace("&amp;", "&") if more else ""
    assert sorted(one for one in seen if one.startswith("UKL")) == [receipt(n) for n in range(71)]
    assert len(seen) == 72, "and the cash"


def test_a_search_keeps_its_filters_in_its_links(product: Product) -> None:
    browser = product.browser_of("njeri")
    text = browser.get("/staff/payments?q=WIFI&state=allocated&from=2026-01-01").text
    assert re.search(r'href="/staff/payments\.csv\?[^"]*q=WIFI', text)


def test_money_is_placed_once_and_only_within_the_business_and_its_kind_of_money(product: Product) -> None:
    number, token = product.invoice(500)
    uid = money_without_a_home(product)
    chege = place(product, uid, number, "chege")
    assert chege.status_code == 404
    assert place(product, uid, number, "njeri").status_code == 403, "the accountant only reads"
    for reference in ("", "NOTHING", "\x00", "x" * 500, "INV-0"):
        page = place(product, uid, reference)
        assert page.status_code in (200, 422) and "nothing to pay called" in page.text or page.status_code == 422
    with product.inside():
        assert db.session.query(Allocation).count() == 0
    assert "placed on" in place(product, uid, f" {number.lower()} ").text
    assert product.status(token)["status"] == "paid"
    again, _token = product.invoice(500)
    assert "placed already" in place(product, uid, again).text
    assert "nothing left to pay" in place(product, money_without_a_home(product, n=2), number).text
    assert product.books() == []


@pytest.mark.property(81)
def test_test_money_never_pays_a_real_invoice(product: Product) -> None:
    uid = money_without_a_home(product)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.environment = "production"
    number, token = product.invoice(500)
    page = place(product, uid, number)
    assert page.status_code == 200
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=token).one()
        assert payment.environment == "production" and payment.allocated_cents == 0, "test money paid a real invoice"
    assert product.books() == []


def test_an_invoice_at_the_desk_says_what_is_wrong_and_is_made_once_right(product: Product) -> None:
    browser = product.browser_of("brian")
    right = {"name": "Auma", "phone": "0722 000 111", "kind": "lab", "description": "Test", "amount": "500"}
    for wrong in ({"amount": "0"}, {"amount": "-5"}, {"amount": "1.5"}, {"amount": "NaN"}, {"amount": "1e99"},
            {"amount": "text"},
                  {"amount": "Infinity"}, {"phone": "0812345678"}, {"name": ""}, {"kind": "gift"},
                  {"description": ""}, {"name": "x" * 500}):  # fmt: skip
        data = right | wrong | {"csrf_token": csrf_of(browser, "/staff/invoices/new")}
        answer = browser.post("/staff/invoices/new", data=data)
        assert answer.status_code == 422, wrong
    with product.inside():
        assert db.session.query(Payment).count() == 0
    answer = browser.post("/staff/invoices/new", data=right | {"csrf_token": csrf_of(browser, "/staff/invoices/new")})
    assert answer.status_code == 303 and answer.headers["Location"] == "/staff/invoices/INV10019"


@pytest.mark.property(45)
def test_a_gateways_page_never_shows_what_is_kept_and_names_each_field_at_fault(product: Product) -> None:
    browser, api = product.browser_of("amina"), product.api("amina")
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


def test_an_appointment_is_approved_once_and_a_strangers_is_not_there(product: Product) -> None:
    api = product.api("brian")
    booking = {
        "patientId": api.get("/api/patients").json["items"][0]["id"],
        "clinicianId": api.get("/api/clinicians").json["items"][0]["id"],
        "kind": "onsite", "startsAt": "2035-01-01T09:00:00+03:00", "durationMinutes": 30, "price": 700,
    }  # fmt: skip
    uid = api.post("/api/appointments", booking).json["id"]
    browser = product.browser_of("wanjiru")

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
def test_paid_and_failed_are_told_apart_with_receipt_reason_and_time(product: Product) -> None:
    _number, failed = product.invoice(300)
    product.callback(product.pushed(failed, new_phone()), code=2001)
    _number, paid = product.invoice(300)
    product.callback(product.pushed(paid), receipt=receipt(9))
    product.settle()
    browser = product.browser_of("wanjiru")
    page = browser.get(f"/staff/attempts/{failed}").text
    assert "2001" in page and "PIN" in page and re.search(r"\d\d:\d\d", page)
    assert receipt(9) in browser.get("/staff/payments").text


def test_the_strip_of_arriving_money_answers_only_what_is_new(product: Product) -> None:
    browser = product.browser_of("brian")
    assert browser.get("/staff/live").status_code == 302
    first = browser.get("/staff/live", headers={"HX-Request": "true"})
    version = re.search(r"v=([0-9-]+)", first.text)
    assert version
    assert browser.get(f"/staff/live?v={version.group(1)}", headers={"HX-Request": "true"}).status_code == 204
    money_without_a_home(product)
    later = browser.get(f"/staff/live?v={version.group(1)}", headers={"HX-Request": "true"})
    assert later.status_code == 200 and receipt(1) in later.text


def test_names_and_accounts_with_markup_are_shown_as_text(product: Product) -> None:
    evil = "<script>alert(1)</script>"
    body = c2b_body(receipt=receipt(1), amount=50, account='"><img src=x onerror=alert(1)>') | {"FirstName": evil}
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()
    product.api("brian").post("/api/patients", {"name": evil, "phone": "0722000111"})
    lines = [{"kind": "lab", "description": evil, "amount": 5}]
    made = product.api("brian").post("/api/invoices", {"payer": {"name": evil}, "lines": lines}).json
    uid = product.api("brian").get("/api/transactions").json["items"][0]["id"]
    browser = product.browser_of("amina")
    token = made["payUrl"].rsplit("/", 1)[1]
    for path in ("/staff/", "/staff/payments", f"/staff/payments/{uid}", "/staff/unmatched", "/staff/invoices",
            "/staff/customers",
                 f"/staff/attempts/{token}", f"/pay/{token}", "/staff/payments?q=" + evil,
                 "/login?next=" + evil):  # fmt: skip
        text = browser.get(path).text
        assert "<script>alert" not in text and "<img src=x" not in text, path


@pytest.mark.property(36)
def test_an_invoice_paid_in_part_reads_the_same_on_its_page_and_in_the_list(product: Product) -> None:
    """use.md, drawn wrongly: "Pending" on its page, "Part paid" in the list."""
    number, token = product.invoice(1_000)
    body = c2b_body(receipt=receipt(1), amount=400, account=number)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()
    browser = product.browser_of("brian")
    for path in (f"/staff/attempts/{token}", "/staff/invoices"):
        page = browser.get(path).text
        assert "Part paid" in page and "Pending" not in page, path


def test_a_package_whose_name_says_its_time_does_not_say_it_again(product: Product) -> None:
    """use.md, drawn wrongly: "10 Mbps · 2 devices · 7 days" under "1 week"."""
    for name in ("1 week", "7 days", "Weekend"):
        with product.app.app_context(), transaction():
            packages.create(1, packages.Offer(name, 300_00, 7 * 86_400, "2M/5M"), actor="test")
    page = product.client().get("/hotspot/mlima/").text
    lines = dict(re.findall(r"<b>([^<]+)</b><small>\s*([^<]*?)\s*</small>", page))
    assert "days" not in lines["1 week"] and "days" not in lines["7 days"]
    assert lines["Weekend"].endswith("7 days")
    in_swahili = product.client().get("/hotspot/mlima/?lang=sw").text
    assert "siku 7" in dict(re.findall(r"<b>([^<]+)</b><small>\s*([^<]*?)\s*</small>", in_swahili))["1 week"]


def test_taking_back_and_taken_back_are_two_words_in_swahili(product: Product) -> None:
    """use.md 13: the button said "Imebatilishwa", it has been voided."""
    number, _token = product.invoice(300)
    taken = product.api("brian").post("/api/payments/manual", {"reference": number, "amount": 300, "channel": "cash"})
    uid, browser = taken.json["id"], product.browser_of("amina")
    for path in ("/staff/manual?lang=sw", f"/staff/payments/{uid}?lang=sw"):
        page = browser.get(path).text
        assert "Batilisha" in page and "Imebatilishwa" not in page, path
    product.api("amina").delete(f"/api/payments/manual/{uid}?reason=x")
    page = browser.get("/staff/manual?lang=sw").text
    assert "Imebatilishwa" in page and ">Batilisha" not in page


POLLED = {"HX-Request": "true"}


def polled(page: str, element: str) -> str:
    """Where an element of a page asks again."""
    found = re.search(rf'id="{element}"[^>]*hx-get="([^"]+)"', page)
    assert found, element
    return found.group(1).replace("&amp;", "&")


def test_an_invoices_page_tells_its_own_news_and_acts(product: Product) -> None:
    """use.md 5: stale after payment, nothing to act with, three clicks to a receipt."""
    number, token = product.invoice(1_000)
    browser = product.browser_of("brian")
    page = browser.get(f"/staff/attempts/{token}").text
    assert f'href="/staff/manual/new?reference={number}"' in page and f'href="/pay/{token}"' in page
    ask = polled(page, "attempt")
    assert browser.get(ask, headers=POLLED).status_code == 204
    product.callback(product.pushed(token), receipt=receipt(1))
    moved = browser.get(ask, headers=POLLED)
    assert moved.status_code == 200 and "<html" not in moved.text
    product.settle()
    paid = browser.get(polled(moved.text, "attempt"), headers=POLLED).text
    assert "Print receipt" in paid and f'href="/pay/{token}/receipt"' in paid and receipt(1) in paid
    assert '<td data-label="Reason"><span>–</span></td>' in paid, "what was paid needs no reason"
    assert "Take cash" not in paid
    assert browser.get(polled(paid, "attempt"), headers=POLLED).status_code == 204
    accountant = product.browser_of("njeri").get(f"/staff/attempts/{product.invoice(10)[1]}").text
    assert "Take cash" not in accountant
    assert "Send a request to a phone" not in accountant, "who only reads is offered nothing to do"


def test_the_counter_makes_an_invoice_from_today_and_who_only_reads_is_offered_no_payment_to_take(
    product: Product,
) -> None:
    """use.md 6: Today had no way to a new invoice; the accountant was offered "Take payment" there."""
    _approved_today(product)
    desk, books = (product.browser_of(name).get("/staff/").text for name in ("brian", "njeri"))
    assert "Take payment" in desk and 'href="/staff/invoices/new"' in desk
    assert "KES 1,500" in books and "Take payment" not in books and "/staff/invoices/new" not in books


def _approved_today(product: Product) -> None:
    desk = product.api("brian")
    given = {
        "patientId": desk.get("/api/patients").json["items"][0]["id"],
        "clinicianId": desk.get("/api/clinicians").json["items"][0]["id"],
        "kind": "onsite",
        "startsAt": (clock.now() + timedelta(minutes=1)).isoformat(),
        "durationMinutes": 30,
        "price": 1_500,
    }
    uid = desk.post("/api/appointments", given).json["id"]
    assert product.api("wanjiru").post(f"/api/appointments/{uid}/approve").status_code == 200


@pytest.mark.property(32)
def test_money_that_arrives_changes_its_row_and_the_figures_of_today(product: Product) -> None:
    """use.md 6: the row still said "Take payment" 9 s after it was paid; tiles stale."""
    now = clock.nairobi(clock.now())
    later(((9 - now.hour) % 24 or 24) * 3_600)  # in the morning: late in the evening no visit of today is to come
    api = product.api("brian")
    booking = {
        "patientId": api.get("/api/patients").json["items"][0]["id"],
        "clinicianId": api.get("/api/clinicians").json["items"][0]["id"],
        "kind": "onsite", "startsAt": f"{clock.nairobi(clock.now()):%Y-%m-%d}T23:30:00+03:00",
        "durationMinutes": 20, "price": 700,
    }  # fmt: skip
    uid = api.post("/api/appointments", booking).json["id"]
    token = api.post(f"/api/appointments/{uid}/approve").json["payUrl"].rsplit("/", 1)[1]
    browser = product.browser_of("brian")
    page = browser.get("/staff/?lang=en").text
    assert "Take payment" in page and "KES 700" in page and receipt(1) not in page
    ask = polled(page, "live")
    assert browser.get(ask, headers=POLLED).status_code == 204
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    news = browser.get(ask, headers=POLLED).text
    visits = re.search(r'<section id="visits-today"[^>]* hx-swap-oob="true".*?</section>', news, re.DOTALL)
    figures = re.search(r'<section id="figures" [^>]*hx-swap-oob="true".*?</section>', news, re.DOTALL)
    assert visits and figures
    assert receipt(1) in visits[0] and "Paid" in visits[0] and "Take payment" not in visits[0]
    assert "Confirmed" in visits[0] and "KES 700" in figures[0]
    assert browser.get(polled(news, "live"), headers=POLLED).status_code == 204


def test_the_history_of_an_invoice_names_who_made_it(product: Product) -> None:
    """It said "Payment: opened · the payer" of what the desk had made a moment ago."""
    given = {"payer": {"name": "Otieno", "phone": "0712345678"}, "lines": [{"description": "Visit", "amount": 300}]}
    made = product.api("brian").post("/api/invoices", json=given)
    assert made.status_code == 201, made.text
    token = made.json["payUrl"].rsplit("/", 1)[1]
    page = product.browser_of("amina").get(f"/staff/attempts/{token}").text
    history = re.sub(r"<[^>]+>", " ", page.split('id="history"', 1)[1])
    assert "opened" in history and "the payer" not in history


def test_a_payments_history_is_told_in_swahili(product: Product) -> None:
    """use.md 14: "opened", "booked", the actors and "Invoice INV1004" stayed English."""
    number, token = product.invoice(300)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    page = product.browser_of("amina").get(f"/staff/attempts/{token}?lang=sw").text
    history = re.sub(r"<[^>]+>", " ", page.split('id="history"', 1)[1])
    for word in ("Ombi: imesogea", "inasubiri PIN", "imefaulu", "Ankara: imetolewa", "jibu la M-Pesa kwa ombi"):
        assert word in " ".join(history.split()), word
    for word in ("moved", "issued", "opened", "awaiting", "succeeded", "stk callback", "Invoice"):
        assert word not in history, word
    assert f"Ankara {number}" in page and f"Invoice {number}" not in page


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("2547 ***** 126", "07…126"), ("25472****111", "072…111"), ("254708***126", "0708…126"),
        ("0708***126", "0708…126"), ("0712…601", "0712…601"), ("", ""), ("****", "****"), ("a" * 64, "a" * 64),
    ],
)  # fmt: skip
def test_a_number_masked_by_m_pesa_is_shown_in_our_one_form(told: str, shown: str) -> None:
    """use.md: `0712…601`, `2547 ***** 777`, `25472****111` on one page."""
    assert as_shown(told) == shown


def test_every_list_and_answer_shows_a_payer_in_one_form(product: Product) -> None:
    """use.md: one phone format, pages and API."""
    money_without_a_home(product)  # from 2547 ***** 126
    number, token = product.invoice(300)
    product.callback(product.pushed(token, "254712345601"), receipt=receipt(2))
    product.settle()
    browser, api = product.browser_of("brian"), product.api("brian")
    for path in ("/staff/", "/staff/payments", "/staff/unmatched", f"/pay/{token}/receipt"):
        text = browser.get(path).text
        assert "***" not in text and "…" in text, path
    assert {row["payer"] for row in api.get("/api/transactions").json["items"]} == {"07…126", "0712…601"}
    assert api.get(f"/api/mpesa/order/{number}").json["data"]["phoneNumber"] == "0712…601"
    made = api.post("/api/customers", {"name": "Auma", "phone": "0712345601"})
    assert made.json["phone"] == "0712…601"


def test_a_name_that_is_too_long_is_refused_and_never_cut(product: Product) -> None:
    """use.md 25: a name was cut silently to 60 characters."""
    api = product.api("amina")
    line = [{"kind": "lab", "description": "x", "amount": 5}]
    for path, body, field, longest in (
        ("/api/packages", {"price": 20, "duration": 3600, "rate": "2M"}, "name", 60),
        ("/api/patients", {"phone": "0722000111"}, "name", 80),
        ("/api/customers", {"phone": "0722000111"}, "name", 80),
        ("/api/invoices", {"lines": line}, "payer.name", 80),
    ):
        for length, status in ((longest, 201), (longest + 1, 422)):
            name = "n" * length
            given = body | ({"payer": {"name": name}} if field == "payer.name" else {"name": name})
            answer = api.post(path, given)
            assert answer.status_code == status, (path, answer.text)
        assert answer.json["fields"] == {field: f"At most {longest} characters."}, path


def test_nobody_speaks_of_health_at_a_wifi_business(product: Product) -> None:
    """use.md, refund: "Write nothing about health" at a Wi-Fi business."""
    _number, token = product.invoice(300)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    paths = ("/staff/manual/new", f"/staff/refunds/of/{token}")
    browser = product.browser_of("amina")
    assert all("about health" in browser.get(path).text for path in paths)
    with product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().is_clinic = False
    assert not any("about health" in browser.get(path).text for path in paths)


def test_a_payer_of_too_much_is_promised_only_what_is_so(product: Product) -> None:
    """use.md 23: the page promised credit, while the money waited for staff to place or return it."""
    number, token = product.invoice(300)
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=500, account=number)
    )
    product.settle()
    page = product.client().get(f"/pay/{token}").text
    assert "You sent KES 200 more than was due. The staff see it, and place it or send it back." in page
    assert "credit" not in page
