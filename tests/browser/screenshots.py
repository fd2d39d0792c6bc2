"""`python -m tests.browser.screenshots`: the pictures of docs/, taken from a demo that is running (`make demo`).

It buys internet and pays one open invoice, which stays in the demo's books. The files in docs/ were then reduced to
a palette of their 110 commonest colours, which halves their size.
"""

import argparse
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from portal.demo.data import PASSWORD
from tests.support.journeys import ROUTER, Phones, local
from tests.support.services.browser import CHROMIUM_FLAGS, chromium_path

PHONE, DESK = (360, 720), (1280, 800)


def main() -> None:
    """Take every picture."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--web", default="http://127.0.0.1:8000")
    asked.add_argument("--simulator", default="http://127.0.0.1:8001")
    asked.add_argument("--to", type=Path, default=Path("docs"))
    given = asked.parse_args()
    given.to.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS)
        take_all(browser, given.web, Phones(given.simulator), given.to)
        browser.close()


def take_all(browser: Browser, web: str, phones: Phones, folder: Path) -> None:
    """The customer's way from the packages to the internet, the bill, and the counter that sees the money."""
    # M-Pesa takes one equal prompt to a phone in two minutes: each run has phones of its own
    first = f"2547{int(time.time()) % 1_000_000:06d}"
    counter = _page(browser, DESK)
    _sign_in(counter, web)

    customer = _page(browser, PHONE)
    customer.goto(f"{web}/hotspot/mawingu/?" + "&".join(f"{name}={value}" for name, value in ROUTER.items()))
    customer.locator(".pick", has_text="1 day").click()
    customer.fill("#phone", local(f"{first}00"))
    _take(customer, folder / "captive-portal.png")
    customer.locator("main form button.primary").click()
    customer.wait_for_selector("[aria-current=step] >> text=Enter your M-Pesa PIN")
    _take(customer, folder / "waiting.png")
    handset = _page(browser, (1000, 720))
    handset.goto(phones.page(f"{first}00"))
    _take(handset, folder / "simulator-handset.png")
    phones.enter_pin(f"{first}00")
    customer.wait_for_selector("#connect")
    _take(customer, folder / "online.png")

    _go_online(browser, phones, folder)

    _at_the_clinic(browser, web, folder)

    customer.goto(_open_invoice(customer, web))
    customer.fill("#phone", local(f"{first}01"))
    customer.locator("#phone").blur()
    _take(customer, folder / "pay-an-invoice.png")
    customer.locator("main form.ready-only button.primary").click()
    customer.wait_for_selector("#payment.is-paid")
    counter.wait_for_selector("#live .fresh")
    counter.reload()
    _take(counter, folder / "counter.png")


def _at_the_clinic(browser: Browser, web: str, folder: Path) -> None:
    """Free times on a patient's phone, and the reception's day, somebody of which is here."""
    patient = _page(browser, PHONE)
    patient.goto(f"{web}/clinic/upendo/")
    patient.locator("a.offer", has_text="Consultation").click()
    _take(patient, folder / "book-a-visit.png")
    desk = _page(browser, DESK)
    _sign_in(desk, web)
    desk.goto(f"{web}/staff/board")
    here = desk.get_by_role("button", name="Here")
    if here.count():
        here.first.click()
        desk.wait_for_selector(".visit.here")
        desk.reload()
    _take(desk, folder / "reception.png")


def _go_online(browser: Browser, phones: Phones, folder: Path) -> None:
    """A phone joins the simulated Wi-Fi, pays in the portal, and is let through by the router."""
    phone = _page(browser, (1000, 720))
    phone.goto(f"{phones.url}/wifi/")
    phone.get_by_role("button", name="Join with a new phone").first.click()
    home, number = phone.url, phone.locator(".number-is strong").inner_text()
    phone.fill("#url", "example.com")
    phone.get_by_role("button", name="Open", exact=True).click()
    phone.wait_for_url("**/hotspot/mawingu/?**")
    phone.fill("#phone", number)
    phone.locator("main form button.primary").click()
    phone.wait_for_url("**/wait/**")
    phone.goto(home)
    phone.fill("#pin", "1234")
    phone.locator("#pin").press("Enter")
    phone.get_by_role("link", name="Open http://example.com").click(timeout=60_000)
    _take(phone, folder / "going-online.png")


def _page(browser: Browser, size: tuple[int, int]) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="light", reduced_motion="reduce"
    )
    return context.new_page()


def _sign_in(page: Page, web: str) -> None:
    page.goto(f"{web}/login")
    page.fill("#email", "reception@upendo.test")
    page.fill("#password", PASSWORD)
    page.locator("main form button.primary").click()
    page.wait_for_selector("#live")


def _open_invoice(page: Page, web: str) -> str:
    """The address of a bill that is still to be paid: the last that the front page offers."""
    page.goto(web)
    return web + (page.locator("a[href*='/pay/']").last.get_attribute("href") or "")


def _take(page: Page, file: Path) -> None:
    page.screenshot(path=str(file))


if __name__ == "__main__":
    main()
