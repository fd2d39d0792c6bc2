"""Every page, for people who see, hear or touch differently, and on the narrowest phone."""

from typing import Any

from playwright.sync_api import Page

from tests.support.billing import credit_note, discount, issued, priced
from tests.support.daraja import new_phone, receipt
from tests.support.journeys import (
    ask_for,
    buy,
    faults_of,
    local,
    portal,
    report_by_hand_payments,
    sign_in,
    visit,
)
from tests.support.product import Product
from tests.support.refunds import paid_by_hand
from tests.support.sessions import site_of, stay_of


def look_at(page: Page, product: Product, paths: dict[str, str]) -> list[str]:
    """The faults of these pages: name -> path or address."""
    found: list[str] = []
    for name, path in paths.items():
        page.goto(path if path.startswith("http") else product.url + path)
        found += faults_of(page, name)
    return found


def test_a_customers_pages_have_no_barrier(open_product, phones, page_at, no_problems):
    page: Any = page_at(360)
    found = look_at(
        page,
        open_product,
        {
            "home": "/",
            "captive portal": portal(open_product),
            "pasted message": "/hotspot/mlima/paid",
            "code": "/hotspot/mlima/code",
            "lost code": "/hotspot/mlima/lost",
            "free trial": "/hotspot/mlima/trial",
            "no such business": "/hotspot/nowhere/",
            "simulator": phones.url,
        },
    )
    page.goto(portal(open_product, router=False))
    page.fill("#phone", "12")
    page.locator("main form button.primary").click()
    found += faults_of(page, "captive portal with a mistake")
    msisdn = new_phone()
    buy(page, open_product, msisdn)
    page.wait_for_selector("[aria-current=step] >> text=Enter your M-Pesa PIN")
    page.locator("#payment summary").first.click()
    found += faults_of(page, "waiting")
    found += look_at(page_at(360), open_product, {"handset with a prompt": phones.page(msisdn)})
    phones.enter_pin(msisdn, "9999")
    page.wait_for_selector("#retry")
    page.locator("#payment summary").first.click()
    found += faults_of(page, "not paid")
    page.click("#retry")
    page.wait_for_selector("[aria-current=step] >> text=Enter your M-Pesa PIN")
    phones.enter_pin(msisdn)
    page.wait_for_selector("#connect")
    found += faults_of(page, "online")
    page.get_by_role("link", name="Time left and my devices").click()
    page.wait_for_url("**/pass/**")
    found += faults_of(page, "the pass")
    page.goto(portal(open_product))
    found += faults_of(page, "captive portal of who is online")
    page.goto(f"{open_product.url}/hotspot/mlima/lost")
    page.fill("#phone", local(msisdn))
    page.locator("main form button.primary").click()
    page.wait_for_selector("#code")
    found += faults_of(page, "the code from the SMS")
    assert found == []


def test_a_patients_pages_have_no_barrier(open_product, page_at, no_problems):
    page = page_at(360)
    online, later = visit(open_product, "virtual"), visit(open_product, "onsite", in_hours=5)
    found = look_at(page, open_product, {"clinic": "/clinic/mlima/", "sign in": "/login", "to pay": later["payUrl"]})
    ask_for(page, online["payUrl"], new_phone("01"))
    page.wait_for_selector("#join")
    found += faults_of(page, "paid appointment")
    token = (page.get_attribute("#join", "href") or "").rsplit("/", 1)[-1]
    found += look_at(page, open_product, {"receipt": online["payUrl"] + "/receipt", "join": f"/join/{token}"})
    sign_in(page, open_product, "otieno", to="/account/")
    found += faults_of(page, "account")
    assert found == []


def test_staff_pages_have_no_barrier(open_product, phones, page_at, no_problems):
    report_by_hand_payments(open_product, "bahari", "chege")
    phones.pay_by_hand(new_phone(), shortcode="600222", account="no idea", amount=800)
    other = page_at(1280)
    sign_in(other, open_product, "chege", slug="bahari")
    found = look_at(other, open_product, {"money to place": "/staff/unmatched"})
    visit(open_product, "onsite", in_hours=0.5, approved=False)
    _number, token = open_product.invoice(1_500)
    ask_for(page_at(360), f"{open_product.url}/pay/{token}", new_phone("01"))
    site = site_of(open_product)
    stay_of(open_product, site)
    page = page_at(1280)
    sign_in(page, open_product, "amina")
    page.locator("#live .mono").wait_for()
    found += faults_of(page, "today")
    page.locator("#live a").first.click()
    page.locator("summary", has_text="Raw messages").click()
    found += faults_of(page, "payment's history")
    found += look_at(
        page,
        open_product,
        {
            "payments": "/staff/payments",
            "search without result": "/staff/payments?q=nothing",
            "attempt": f"/staff/attempts/{token}",
            "appointments": "/staff/appointments",
            "invoices": "/staff/invoices",
            "new invoice": "/staff/invoices/new",
            "taken by hand": "/staff/manual",
            "record a payment": "/staff/manual/new",
            "customers": "/staff/customers",
            "messages to check": "/staff/claims",
            "new gateway": "/staff/gateways/new",
            "sites": "/staff/sites",
            "new site": "/staff/sites/new",
            "site": f"/staff/sites/{site}",
            "online now": "/staff/sessions",
            "earlier sessions": "/staff/sessions?past=1",
            "usage": "/staff/usage",
            "gateways": "/staff/gateways",
        },
    )
    page.get_by_role("button", name="Test the connection").click()
    page.locator("[id^=test-] .alert").wait_for()
    found += faults_of(page, "tested gateway")
    page.get_by_role("link", name="Change").click()
    found += faults_of(page, "gateway")
    page.fill("#shortcode", "1")
    page.get_by_role("button", name="Save").click()
    found += faults_of(page, "gateway with a mistake")
    assert found == []


def test_what_is_billed_has_no_barrier(open_product, page_at, no_problems):
    """Price list, an invoice with a discount that waits and one that is paid, receipts, statement and figures."""
    number = issued(open_product, 2_000)
    priced(open_product)
    discount(open_product, number, 700)
    discount(open_product, number, 100)
    paid = issued(open_product, 600)
    paid_by_hand(open_product, 600, paid, receipt(1))
    credit_note(open_product, paid, 100)
    patient = open_product.api("brian").post("/api/patients", {"name": "Asha", "phone": "0712345678"}).json["id"]
    page = page_at(360)
    sign_in(page, open_product, "amina")
    paths = {
        "price list": "/staff/prices",
        "invoices with a discount to approve": "/staff/invoices",
        "new invoice from the list": "/staff/invoices/new",
        "invoice with a discount": f"/staff/invoices/{number}",
        "paid invoice": f"/staff/invoices/{paid}",
        "receipt on A5": f"/staff/invoices/{paid}/receipt?paper=a5",
        "receipt on a roll": f"/staff/invoices/{paid}/receipt?paper=58",
        "statement": f"/staff/patients/{patient}/statement",
        "figures": "/staff/figures",
    }
    found = look_at(page, open_product, paths)
    page.goto(f"{open_product.url}/staff/invoices/{paid}/receipt")
    page.goto(page.get_attribute(".verify a", "href"))
    assert faults_of(page, "verification") + found == []


def test_what_sells_has_no_barrier(open_product, page_at, no_problems):
    """Packages with their preview, vouchers, the seller's counter and drawer, one pass."""
    page = page_at(360)
    sign_in(page, open_product, "amina")
    paths = {"packages": "/staff/packages", "vouchers": "/staff/vouchers", "drawers": "/staff/drawers"}
    found = look_at(page, open_product, paths)
    page.goto(open_product.url + "/staff/packages/new")
    page.fill("#name", "Weekend")
    page.fill("#price", "100")
    page.fill("#duration", "48")
    page.wait_for_selector("#preview >> text=Weekend")
    found += faults_of(page, "new package")
    page.goto(open_product.url + "/staff/sell")
    found += faults_of(page, "drawer to open")
    page.fill("#float", "500")
    page.locator("main form button.primary").click()
    page.wait_for_selector(".sellone")
    found += faults_of(page, "counter")
    page.locator(".sellone").first.click()
    page.wait_for_selector(".bigcode")
    found += faults_of(page, "sold code")
    code = page.inner_text(".bigcode")
    page.goto(open_product.url + "/staff/vouchers")
    page.select_option("#package", index=0)
    page.locator("form.card button").click()
    page.wait_for_url("**/staff/vouchers/*")
    found += faults_of(page, "batch")
    found += look_at(page, open_product, {"one code": f"/staff/vouchers/code?code={code}"})
    page.goto(open_product.url + "/staff/sell/close")
    page.fill("#counted", "510")
    page.locator("main form button.primary").click()
    page.wait_for_selector("text=Drawer report 1")
    found += faults_of(page, "drawer report")
    assert found == []
