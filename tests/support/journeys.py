"""What people do on the pages, in their own words, so that a test reads as their story."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from portal.kernel import clock
from tests.support.clock import wait_until
from tests.support.product import Product
from tests.support.visitors import PASSWORD

# What MikroTik's login page passes on; the tests' browser can reach neither address.
ROUTER = {
    "mac": "AA:BB:CC:00:11:22",
    "identity": "mlima-1",
    "link-login-only": "http://10.5.50.1/login",
    "link-orig": "http://example.com/",
}
_AXE = Axe().axe_script
_TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return "";
  const beyond = [...document.body.querySelectorAll("*")].filter(one => one.getBoundingClientRect().right > width);
  return beyond.length ? beyond.at(-1).outerHTML.slice(0, 160) : "something";
}"""


@dataclass
class Phones:
    """The simulator's handsets, by number."""

    url: str

    def page(self, msisdn: str) -> str:
        return f"{self.url}/handset/{msisdn}"

    def wait_for_prompt(self, msisdn: str) -> None:
        """Return once M-Pesa's prompt is on the phone."""
        json = {"Accept": "application/json"}
        wait_until(lambda: requests.get(self.page(msisdn), headers=json, timeout=30).json()["prompts"])

    def enter_pin(self, msisdn: str, pin: str = "1234") -> None:
        """Answer the prompt that is on the phone now."""
        answer = requests.post(f"{self.page(msisdn)}/pin", json={"pin": pin}, timeout=30)
        assert answer.ok, answer.text

    def pay_by_hand(self, msisdn: str, *, shortcode: str, account: str, amount: int) -> dict[str, Any]:
        """Lipa na M-Pesa from the phone's own menu: {accepted, receipt, message}."""
        given = {"shortcode": shortcode, "account": account, "amount": amount}
        paid: dict[str, Any] = requests.post(f"{self.page(msisdn)}/pay", json=given, timeout=30).json()
        assert paid["accepted"], paid
        return paid


def local(msisdn: str) -> str:
    """As a customer types it: 0712345600."""
    return f"0{msisdn[3:]}"


def portal(product: Product, *, slug: str = "mlima", router: bool = True, **more: str) -> str:
    """The captive portal's address, as a router or as a plain browser calls it."""
    given = (ROUTER if router else {}) | more
    return requests.Request("GET", f"{product.url}/hotspot/{slug}/", params=given).prepare().url or ""


def buy(page: Page, product: Product, msisdn: str, *, package: str = "1 hour", **where: Any) -> None:
    """Choose, type the number, pay; then the page that waits is there."""
    page.goto(portal(product, **where))
    page.locator(".pick", has_text=package).click()
    page.fill("#phone", local(msisdn))
    page.locator("main form button.primary").click()
    page.wait_for_url("**/wait/**")


def ask_for(page: Page, url: str, msisdn: str) -> None:
    """Open a payment's page and send the request to a phone."""
    page.goto(url)
    page.fill("#phone", local(msisdn))
    page.locator("main form.ready-only button.primary").click()
    page.wait_for_selector("#payment:not(.is-ready)")


def sign_in(page: Page, product: Product, name: str, *, slug: str = "mlima", to: str = "/staff/") -> None:
    """Through the sign-in page, like everybody."""
    page.goto(f"{product.url}/login?next={to}")
    page.fill("#email", f"{name}@{slug}.test")
    page.fill("#password", PASSWORD)
    page.locator("main form button.primary").click()
    page.wait_for_url(f"**{to}*")


def visit(
    product: Product, kind: str, *, in_hours: float = 3, approved: bool = True, price: int = 1_500
) -> dict[str, Any]:
    """An appointment of Otieno's, as the API shows it."""
    desk, doctor = product.api("brian"), product.api("wanjiru")
    given = {
        "patientId": desk.get("/api/patients").json["items"][0]["id"],
        "clinicianId": desk.get("/api/clinicians").json["items"][0]["id"],
        "kind": kind,
        "startsAt": (clock.now() + timedelta(hours=in_hours)).isoformat(),
        "durationMinutes": 45,
        "price": price,
    }
    booked = desk.post("/api/appointments", given)
    assert booked.status_code == 201, booked.text
    if not approved:
        return dict(booked.json)
    answer = doctor.post(f"/api/appointments/{booked.json['id']}/approve")
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def report_by_hand_payments(product: Product, slug: str, name: str) -> None:
    """Register the tenant's addresses, so that payments from the phone's menu are reported."""
    owner = product.api(name, slug)
    for gateway in owner.get("/api/payment-gateways").json["items"]:
        answer = owner.post(f"/api/payment-gateways/{gateway['id']}/register-urls")
        assert answer.status_code == 200, answer.text


def faults_of(page: Page, name: str) -> list[str]:
    """What is wrong with a page for people who see, hear or touch differently: axe on a phone in daylight and on a
    desk in the dark, and anything that must be scrolled sideways on the narrowest phone."""
    found: list[str] = []
    before = page.viewport_size
    for width, scheme in ((360, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        if not page.evaluate("'axe' in window"):
            page.evaluate(_AXE)
        for fault in page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]:
            where = fault["nodes"][0]["target"]
            found.append(f"{name}, {width} px, {scheme}: {fault['id']} at {where} ({len(fault['nodes'])})")
    page.set_viewport_size({"width": 320, "height": 640})
    if beyond := page.evaluate(_TOO_WIDE):
        found.append(f"{name}: wider than a 320 px screen: {beyond}")
    if before:
        page.set_viewport_size(before)
    page.emulate_media(color_scheme="light")
    return found


def remember_this_document(page: Page) -> None:
    """Mark the document, so that `is_same_document` tells whether it was ever left or loaded again."""
    page.evaluate("window.isTheSame = true")


def is_same_document(page: Page) -> bool:
    return bool(page.evaluate("window.isTheSame === true"))
