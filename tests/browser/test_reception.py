"""The reception's board in a browser: several prompts at once, each with its answer in its row, and nothing typed lost."""

from datetime import timedelta
from typing import Any

from playwright.sync_api import expect

from portal.kernel import clock
from tests.support.daraja import new_phone
from tests.support.journeys import (
    faults_of,
    is_same_document,
    local,
    remember_this_document,
    sign_in,
)
from tests.support.product import Product


def bill(product: Product, amount: int) -> str:
    """Somebody at the desk who owes this; the selector of their row."""
    number, _token = product.invoice(amount)
    return f".visit:has-text('{number}')"


def test_two_phones_ring_at_once_and_each_row_says_what_came(open_product, phones, page_at, no_problems):
    first, second, third = (bill(open_product, amount) for amount in (900, 700, 500))
    paying, refusing, desk = new_phone(), new_phone(), page_at(1280)
    sign_in(desk, open_product, "brian")
    desk.goto(f"{open_product.url}/staff/board")
    remember_this_document(desk)
    for row, phone in ((first, paying), (second, refusing)):
        desk.locator(row).get_by_text("Take payment").click()
        desk.locator(row).get_by_label("Ask a phone").fill(local(phone))
        desk.locator(row).get_by_role("button", name="Ask for").click()
        expect(desk.locator(row)).to_contain_text("Waiting for the PIN")
    desk.locator(third).get_by_text("Take payment").click()
    words = desk.locator(third).get_by_label("M-Pesa code or message")
    words.fill("half a co")
    phones.enter_pin(paying)
    phones.enter_pin(refusing, "9999")
    expect(desk.locator(first)).to_contain_text("Paid")
    expect(desk.locator(second)).to_contain_text("Declined")
    expect(words).to_have_value("half a co")
    expect(words).to_be_focused()
    expect(desk.locator("#strip")).to_contain_text("KES 900")
    assert is_same_document(desk)


def test_cash_and_its_change_by_keyboard_alone_from_the_open_shift_to_the_count(open_product, page_at, no_problems):
    row, desk = bill(open_product, 700), page_at(1280)
    sign_in(desk, open_product, "brian")
    desk.goto(f"{open_product.url}/staff/shift")
    desk.get_by_label("What lies in the drawer now").fill("1000")
    desk.keyboard.press("Enter")
    desk.wait_for_url("**/staff/board")
    desk.locator(row).locator("summary").focus()
    desk.keyboard.press("Enter")
    desk.locator(row).get_by_label("Cash").focus()
    desk.keyboard.type("1000")
    desk.keyboard.press("Enter")
    expect(desk.locator(row)).to_contain_text("Change to give back")
    expect(desk.locator(row)).to_contain_text("KES 300")
    expect(desk.locator("#board-said")).to_contain_text("KES 300")
    desk.goto(f"{open_product.url}/staff/shift/close")
    desk.get_by_label("Counted").fill("1700")
    desk.keyboard.press("Enter")
    expect(desk.locator("main")).to_contain_text("KES 1,700")


def test_the_desks_pages_have_no_barrier_in_both_languages_and_widths(open_product, page_at, no_problems):
    api = open_product.api("brian")
    patient = api.post("/api/patients", json={"name": "Achieng Otieno", "phone": new_phone()}).json
    at = clock.rfc3339(clock.now() + timedelta(minutes=2))
    booked = {
        "patientId": patient["id"], "clinicianId": api.get("/api/clinicians").json["items"][0]["id"], "kind": "onsite",
        "startsAt": at, "durationMinutes": 30, "price": 1_500,
    }  # fmt: skip
    visit = api.post("/api/appointments", json=booked).json["id"]
    assert api.post(f"/api/appointments/{visit}/approve").status_code == 200
    found: list[str] = []
    for width in (360, 1280):
        desk: Any = page_at(width)
        sign_in(desk, open_product, "brian")
        for language in ("en", "sw"):
            desk.goto(f"{open_product.url}/staff/board?lang={language}")
            if desk.locator("form[action*='/arrive'] button").count():
                desk.locator("form[action*='/arrive'] button").first.click()
                expect(desk.locator(".visit.here")).to_have_count(1)
            desk.locator(".visit-ways summary").first.click()
            found += faults_of(desk, f"board {width} {language}")
            for name in ("queue", "shift", "shifts"):
                desk.goto(f"{open_product.url}/staff/{name}?lang={language}")
                found += faults_of(desk, f"{name} {width} {language}")
        desk.goto(f"{open_product.url}/staff/queue")
        desk.goto(open_product.url + desk.locator("a[href*='/queue/']").first.get_attribute("href"))
        found += faults_of(desk, f"screen {width}")
    assert found == []
