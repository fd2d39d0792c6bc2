"""The counter: money seen as it arrives, found again, and the ways to be paid set up."""

import re

from playwright.sync_api import expect

from tests.support.daraja import new_phone
from tests.support.journeys import (
    ask_for,
    is_same_document,
    local,
    remember_this_document,
    report_by_hand_payments,
    sign_in,
    visit,
)


def test_the_receptionist_sees_money_arrive_finds_it_and_reads_its_history(open_product, phones, page_at, no_problems):
    msisdn, counter, payer = new_phone(), page_at(1280), page_at(360)
    number, token = open_product.invoice(1_500)
    sign_in(counter, open_product, "brian")
    expect(counter.get_by_text("TEST MODE")).to_be_visible()
    expect(counter.get_by_text("Money that arrives shows here by itself.")).to_be_visible()
    remember_this_document(counter)

    ask_for(payer, f"{open_product.url}/pay/{token}", msisdn)
    expect(payer.get_by_role("heading", name="Check your phone")).to_be_visible()
    phones.enter_pin(msisdn, "9999")
    payer.get_by_role("button", name="Try again").click()
    expect(payer.get_by_role("heading", name="Check your phone")).to_be_visible()
    phones.enter_pin(msisdn)

    strip = counter.locator("#live")
    expect(strip).to_contain_text("KES 1,500")
    expect(strip).to_contain_text(number)
    assert is_same_document(counter)
    receipt = strip.locator(".mono").inner_text()

    counter.get_by_role("navigation", name="Sections").get_by_role("link", name="Payments").click()
    counter.get_by_label("Receipt, phone or invoice number").fill(receipt.lower())
    counter.get_by_role("button", name="Search").click()
    expect(counter.locator("tbody tr")).to_have_count(1)
    counter.get_by_role("link", name="Clear").click()
    counter.locator("summary", has_text="Phone, dates, state").click()
    counter.get_by_label("Phone", exact=True).fill(local(msisdn))
    counter.get_by_role("button", name="Search").click()
    expect(counter.locator("tbody tr")).to_have_count(1)
    counter.get_by_role("link", name=receipt).click()

    history = counter.locator("ol.line")
    told = history.inner_text()
    steps = (
        "created → sending", "sending → awaiting pin", "awaiting pin → declined",
        "created → sending", "sending → awaiting pin", "awaiting pin → succeeded",
    )  # fmt: skip
    at = 0
    for step in steps:
        at = told.index(step, at) + 1
    assert len(re.findall(r"\d\d:\d\d:\d\d · \w", told)) == history.locator("li").count()  # when, and who
    assert "M-Pesa accepted the request." in told and "M-Pesa: 2001" in told  # why
    requests = counter.get_by_role("table", name="Requests to the phone")
    expect(requests).to_contain_text("The payer entered a wrong PIN.")
    assert counter.get_by_text("Raw messages").count() == 0  # for administrators
    assert msisdn not in counter.content()


def test_a_visit_is_approved_and_paid_at_the_counter(open_product, page_at, no_problems):
    visit(open_product, "onsite", in_hours=0.5, approved=False)
    page = page_at(1280)
    sign_in(page, open_product, "amina", to="/staff/appointments")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved. The patient has been told how to pay.")).to_be_visible()
    page.get_by_role("link", name="Take payment").click()
    page.fill("#phone", local(new_phone("01")))
    page.get_by_role("button", name="Pay KES 1,500 with M-Pesa").click()
    expect(page.get_by_role("heading", name="Paid")).to_be_visible()


def test_money_for_an_unknown_account_is_placed_by_a_person(open_product, phones, page_at, no_problems):
    report_by_hand_payments(open_product, "bahari", "chege")
    number, _token = open_product.invoice(800, slug="bahari")
    phones.pay_by_hand(new_phone(), shortcode="600222", account="no idea", amount=800)
    page = page_at(1280)
    sign_in(page, open_product, "chege", slug="bahari")
    page.get_by_role("link", name="Money to place: KES 800").click()
    expect(page.get_by_text("The account that the payer typed is not known here.")).to_be_visible()
    page.get_by_role("button", name=f"Place on {number}").click()
    expect(page.get_by_text(f"KES 800 placed on {number}.")).to_be_visible()
    expect(page.get_by_text("Nothing to place.")).to_be_visible()


def test_an_administrator_adds_a_gateway_and_sees_exactly_what_is_wrong(open_product, phones, page_at, no_problems):
    page = page_at(1280)
    sign_in(page, open_product, "amina", to="/staff/gateways")
    page.get_by_role("link", name="Add one").click()
    page.get_by_label("Name", exact=True).fill("Second paybill")
    page.get_by_label("Paybill or till number").fill("12")
    page.get_by_label("Another server than Safaricom's").fill("ftp://there")
    page.get_by_role("button", name="Save").click()
    mistakes = page.get_by_role("alert")
    for mistake in (
        "Paybill or till number: The shortcode has 5 to 7 digits and nothing else.",
        "Another server than Safaricom's: Must be a public https address",
        "Consumer key: Enter the consumer key",
        "Passkey: Enter the passkey",
    ):
        expect(mistakes).to_contain_text(mistake)
    expect(page.get_by_label("Name", exact=True)).to_have_value("Second paybill")  # nothing is typed twice

    page.get_by_label("Paybill or till number").fill("600111")
    page.get_by_label("Another server than Safaricom's").fill(phones.url)
    secrets = {"Consumer key": "mlima-key", "Consumer secret": "not-the-secret", "Passkey": "not-the-passkey"}
    for label, secret in secrets.items():
        page.get_by_label(label).fill(secret)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. Test the connection now.")).to_be_visible()
    assert not [secret for secret in secrets.values() if secret in page.content()]
    for label in secrets:
        expect(page.get_by_label(label)).to_have_value("")

    def tested() -> str:
        page.get_by_role("navigation", name="Sections").get_by_role("link", name="Settings").click()
        page.get_by_role("button", name="Test the connection Second paybill").click()
        outcome = page.locator("[id^=test-] .alert")
        expect(outcome).to_be_visible()
        return " ".join(outcome.inner_text().split()).replace(" : ", ": ")

    told = tested()
    assert told.startswith("The consumer key or secret was refused by the SANDBOX server."), told
    assert "Sign-on with consumer key and secret: fails" in told, told
    page.get_by_role("listitem").filter(has_text="Second paybill").get_by_role("link", name="Change").click()
    page.get_by_label("Consumer secret").fill("mlima-secret")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    told = tested()
    assert "Sign-on with consumer key and secret: works" in told, told
    assert "Shortcode and passkey: fails" in told, told
    page.get_by_role("listitem").filter(has_text="Second paybill").get_by_role("link", name="Change").click()
    page.get_by_label("Passkey").fill("mlima-passkey")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert "Keys, shortcode and passkey are right." in tested()


def test_the_phones_menu_closes_on_escape_outside_and_when_it_led_somewhere(served, page_at, no_problems):
    """use.md, drawn wrongly at 360: "More" overlaid the page and stayed."""
    page = page_at(360)
    sign_in(page, served, "amina")
    more, inside = page.locator(".more summary"), page.locator(".more ul")
    more.click()
    expect(inside).to_be_visible()
    page.keyboard.press("Escape")
    expect(inside).to_be_hidden()
    expect(more).to_be_focused()
    more.click()
    page.get_by_role("heading", name="Today").click()
    expect(inside).to_be_hidden()
    more.click()
    inside.get_by_role("link", name="Taken by hand").click()
    page.wait_for_url("**/staff/manual")
    page.go_back()
    expect(inside).to_be_hidden()
    page.set_viewport_size({"width": 700, "height": 800})  # seven sections stand in the bar itself
    shown = [link for link in page.locator(".rail > ul > li > a").all() if link.is_visible()]
    assert len(shown) == 7
    more.click()
    links = inside.locator("a").all()
    seen = [link.inner_text() for link in links if link.is_visible()]
    assert seen[-5:-1] == ["Sites", "Settings", "Business", "People"]
    assert len(seen) == 20  # those from the eighth on, and the password


def test_a_gateways_form_asks_for_what_its_kind_has(served, page_at, no_problems):
    """use.md: 22 fields always; nothing that is at fault is ever hidden."""
    page = page_at(1280)
    sign_in(page, served, "amina", to="/staff/gateways/new")

    def asked() -> set[str]:
        found = page.locator("main form :is(input, select, textarea)[id]").all()
        return {one.get_attribute("id") or "" for one in found if one.is_visible()}

    always = {"type", "sub_type", "name", "display_name", "shortcode", "env"}
    purposes = {"for_clinic", "for_hotspot", "for_pppoe", "is_default"}
    keys = {"base_url", "consumer_key", "consumer_secret", "passkey"}
    assert asked() == always | purposes | keys
    page.select_option("#sub_type", "BUYGOODS")
    assert asked() == always | purposes | keys | {"store_number"}
    page.select_option("#sub_type", "BANK")
    page.select_option("#type", "MPESA_NO_API")
    assert asked() == always | purposes | {"store_number", "account_number"}
    page.select_option("#type", "MPESA_API")
    page.locator("summary", has_text="Payouts and refunds").click()
    page.fill("#certificate", "rubbish")
    page.fill("#name", "Second")
    page.fill("#shortcode", "600333")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#certificate")).to_be_visible()
