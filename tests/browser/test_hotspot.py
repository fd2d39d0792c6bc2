"""Buying internet on a phone, as a customer in front of the captive portal sees it."""

import re

from playwright.sync_api import expect

from tests.support.daraja import new_phone
from tests.support.journeys import (
    ROUTER,
    buy,
    is_same_document,
    local,
    portal,
    remember_this_document,
    report_by_hand_payments,
)

FIRST_LOAD_LIMIT_BYTES = 30 * 1024


def test_internet_is_bought_and_opens_without_a_reload(open_product, phones, page_at, no_problems):
    msisdn = new_phone()
    customer, handset = page_at(360), page_at(360)
    customer.goto(portal(open_product))
    expect(customer.get_by_text("TEST MODE")).to_be_visible()
    customer.locator(".pick", has_text="1 day").click()
    customer.fill("#phone", "")
    customer.type("#phone", local(msisdn))
    expect(customer.locator("#phone")).to_have_value(re.compile(r"^0\d{3} \d{3} \d{3}$"))
    customer.get_by_role("button", name="Pay KES 50 with M-Pesa").click()
    customer.wait_for_url("**/wait/**")
    expect(customer.get_by_text("TEST MODE")).to_be_visible()
    status = customer.locator("#payment")
    expect(status.get_by_role("heading", name="Check your phone")).to_be_visible()
    expect(status.locator("[aria-current=step]")).to_have_text("Enter your M-Pesa PIN")
    expect(status).to_contain_text("KES 50 to MLIMA HOUSE")
    assert local(msisdn) not in customer.content()  # masked: others may look over the shoulder
    remember_this_document(customer)

    handset.goto(phones.page(msisdn))
    expect(handset.locator(".prompt")).to_contain_text("MLIMA HOUSE")
    handset.fill("#pin", "1234")
    handset.locator("#pin").press("Enter")

    expect(status.get_by_role("heading", name="Paid")).to_be_visible()
    code = customer.locator("#wifi-name").inner_text().replace(" ", "").strip()
    expect(status).to_contain_text(f"Receipt {code}")
    expect(status).to_contain_text("1 day left, until")
    way_in = customer.locator("form", has=customer.get_by_role("button", name="Connect now"))
    assert way_in.get_attribute("action") == ROUTER["link-login-only"]
    password = customer.locator("#wifi-word").inner_text().replace(" ", "").strip()
    assert len(password) == 8 and password != code
    fields = {one.get_attribute("name"): one.get_attribute("value") for one in way_in.locator("input").all()}
    assert fields == {"username": code, "password": password, "dst": ROUTER["link-orig"]}
    expect(customer.get_by_role("link", name="I have paid")).to_be_hidden()
    assert is_same_document(customer)
    expect(handset.get_by_text(f"{code} Confirmed")).to_be_visible()

    back = customer.get_by_role("link", name="All packages").get_attribute("href") or ""
    customer.goto(open_product.url + back)
    expect(customer.get_by_text("Your internet is paid until")).to_be_visible()  # it knows the device again


def test_each_refusal_says_what_happened_and_lets_another_phone_pay(open_product, page_at, no_problems):
    sayings = {
        "02": ("You cancelled", "You cancelled the M-Pesa prompt.", "Try again when you are ready."),
        "04": ("Not paid", "Not enough M-Pesa balance.", "Top up your M-Pesa, then try again."),
        "16": ("Not paid", "This would pass your M-Pesa limit for today.", "Try again tomorrow"),
        "22": ("Not paid", "No answer from the phone in time.", "Unlock the phone"),
    }
    pages = {ending: page_at(360) for ending in sayings}
    for ending, page in pages.items():
        buy(page, open_product, new_phone(ending), router=False)
    for ending, (headline, sentence, what_next) in sayings.items():
        status = pages[ending].locator("#payment")
        expect(status.get_by_role("heading", name=headline)).to_be_visible()
        expect(status).to_contain_text(sentence)
        expect(status).to_contain_text(what_next)
        expect(status.get_by_role("button", name="Try again")).to_be_enabled()

    poor = pages["04"]
    poor.locator("summary", has_text="Use another number").click()
    poor.fill("#other-phone", local(new_phone("01")))
    poor.get_by_role("button", name="Try again").click()
    expect(poor.locator("#wifi-name")).to_be_visible()


def test_after_a_wrong_pin_one_press_asks_the_same_phone_again(open_product, phones, page_at, no_problems):
    msisdn, page = new_phone(), page_at(360)
    buy(page, open_product, msisdn)
    expect(page.get_by_role("heading", name="Check your phone")).to_be_visible()
    phones.enter_pin(msisdn, "9999")
    expect(page.locator("#payment")).to_contain_text("Wrong M-Pesa PIN.")
    expect(page.locator("#payment")).to_contain_text("Try again with the right PIN.")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Check your phone")).to_be_visible()
    phones.enter_pin(msisdn)
    expect(page.get_by_role("button", name="Connect now")).to_be_visible()


def test_without_javascript_and_cookies_everything_is_there(open_product, phones, page_at, no_problems):
    msisdn, page = new_phone(), page_at(360, javascript=False)
    buy(page, open_product, msisdn)
    phones.wait_for_prompt(msisdn)
    phones.enter_pin(msisdn)
    # the page asks again by itself every five seconds
    expect(page.get_by_role("button", name="Connect now")).to_be_visible(timeout=8_000)
    code, word = (page.locator(one).inner_text().strip() for one in ("#wifi-name", "#wifi-word"))
    page.context.clear_cookies()
    page.goto(portal(open_product).replace("/mlima/", "/mlima/code"))
    page.fill("#code", code.lower())
    page.get_by_label("Password").fill(word)
    page.context.clear_cookies()
    page.get_by_role("button", name="Connect now").click()
    expect(page.locator(f"form[action='{ROUTER['link-login-only']}']")).to_be_visible()


def test_the_keyboard_alone_buys(open_product, phones, page_at, no_problems):
    msisdn, page = new_phone(), page_at(360)
    page.goto(portal(open_product))
    keys = page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    expect(page.get_by_role("radio").first).to_be_focused()
    keys.press("ArrowDown")
    keys.press("Tab")
    keys.type(local(msisdn))
    keys.press("Tab")
    expect(page.get_by_role("button", name="Pay KES 50 with M-Pesa")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Check your phone")).to_be_visible()
    phones.enter_pin(msisdn)
    expect(page.get_by_role("button", name="Connect now")).to_be_visible()
    for _press in range(8):
        keys.press("Tab")
        if page.evaluate("document.activeElement.id") == "connect":
            return
    raise AssertionError("the keyboard does not reach the button that connects")


def test_a_message_of_a_payment_by_hand_opens_the_internet_once(open_product, phones, page_at, no_problems):
    report_by_hand_payments(open_product, "bahari", "chege")
    paid = phones.pay_by_hand(new_phone(), shortcode="600222", account="wifi", amount=50)
    page = page_at(360)
    page.goto(portal(open_product, slug="bahari"))
    page.get_by_role("link", name="I have paid").click()

    def paste(message: str, package: str) -> None:
        page.get_by_label("M-Pesa message").fill(message)
        page.get_by_label("Package").select_option(package)
        page.get_by_role("button", name="Check my message").click()

    paste("Hello, I have paid, open it", "1 day, KES 50")
    expect(page.get_by_role("alert")).to_contain_text("This is not an M-Pesa message.")
    paste(paid["message"].replace("Ksh50.00", "Ksh500.00"), "1 day, KES 50")
    expect(page.get_by_role("alert")).to_contain_text("M-Pesa has not told us of this payment.")
    paste(paid["message"], "1 day, KES 50")
    expect(page.get_by_role("heading", name="Paid")).to_be_visible()
    expect(page.get_by_role("button", name="Connect now")).to_be_visible()
    page.goto(portal(open_product, slug="bahari").replace("/bahari/", "/bahari/paid"))
    paste(paid["message"], "1 day, KES 50")
    expect(page.get_by_role("alert")).to_contain_text("This payment has already been used.")


def test_a_customer_away_from_the_router_learns_how_to_use_the_code(open_product, page_at, no_problems):
    page = page_at(360)
    buy(page, open_product, new_phone("01"), router=False)
    expect(page.get_by_text("On its sign-in page choose “I have a code”")).to_be_visible()
    code = page.locator("#wifi-name").inner_text()
    page.goto(f"{open_product.url}/hotspot/mlima/code")
    page.fill("#code", "NOT A CODE")
    page.get_by_role("button", name="Connect now").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "This code and password are not known here, or their time is over."
    )
    page.fill("#code", code)
    page.get_by_role("button", name="Connect now").click()
    expect(page.get_by_text("Your code is good.")).to_be_visible()


def test_english_and_swahili_are_one_tap_apart_and_stay(open_product, phones, page_at, no_problems):
    msisdn, page = new_phone(), page_at(360)
    page.goto(portal(open_product))
    page.get_by_role("link", name="Kiswahili").click()
    expect(page.locator("html")).to_have_attribute("lang", "sw")
    expect(page.get_by_role("heading", name="Choose your internet")).to_have_count(0)
    page.fill("#phone", local(msisdn))
    page.locator("main form button.primary").click()
    page.wait_for_url("**/wait/**")
    expect(page.locator("html")).to_have_attribute("lang", "sw")
    expect(page.locator("#payment-head")).to_have_text("Angalia simu yako")
    phones.enter_pin(msisdn)
    expect(page.locator("#payment-head")).to_have_text("Imelipwa")  # polls speak the page's language too
    assert page_at(360, locale="sw-KE").goto(portal(open_product)).text().count('lang="sw"') >= 1
    page.get_by_role("link", name="EN, English").click()
    expect(page.locator("#payment-head")).to_have_text("Paid")


def test_the_first_load_is_light(open_product, page_at, no_problems):
    page = page_at(360)
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    names: dict[str, str] = {}
    sizes: dict[str, int] = {}
    wire.on("Network.requestWillBeSent", lambda told: names.update({told["requestId"]: told["request"]["url"]}))
    wire.on("Network.loadingFinished", lambda told: sizes.update({told["requestId"]: told["encodedDataLength"]}))
    page.goto(portal(open_product), wait_until="networkidle")
    first = {names[one].split("?")[0].rsplit("/", 1)[-1] or "document": sizes[one] for one in sizes if one in names}
    assert len(first) == 4 and not any(name.startswith("htmx.") for name in first), first
    assert sum(first.values()) <= FIRST_LOAD_LIMIT_BYTES, first
    print("first load, bytes:", sum(first.values()), first)  # noqa: T201 - read with -s
