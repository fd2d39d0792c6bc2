"""What the page of a payer does while nothing has happened yet, and that it stops when all has."""

from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from portal.kernel.db import db, transaction
from portal.payments.models import Payment
from portal.payments.payment import touch
from tests.support.clock import later
from tests.support.daraja import new_phone
from tests.support.journeys import buy, portal
from tests.support.product import Product


def asked_of(page: Page, part: str) -> list[str]:
    """The addresses with this part that the page asks for from now on."""
    seen: list[str] = []

    def note(request: Request) -> None:
        if part in request.url:
            seen.append(request.url)

    page.on("request", note)
    return seen


@pytest.mark.property(8)
def test_a_wrong_number_is_told_while_it_is_typed_and_nobody_is_asked(served, page_at, no_problems):
    """tests.md 8: nothing showed that a wrong number is told at once: it needs no answer from anywhere."""
    page: Any = page_at(360)
    page.goto(portal(served))
    asked, hint = asked_of(page, "/"), page.locator("#phone-live")
    page.type("#phone", "0812")
    expect(hint).to_have_text("Write it like 0712 345 678 or 0110 123 456.")
    expect(hint).to_have_class("hint live bad")
    page.fill("#phone", "")
    page.type("#phone", "0712 345")
    expect(hint).to_have_text("")  # not wrong yet
    page.locator("#phone").blur()
    expect(hint).to_have_class("hint live bad")
    page.fill("#phone", "")
    page.type("#phone", "0712345678")
    expect(hint).to_have_text("This number looks right.")
    assert [one for one in asked if "/static/" not in one] == []  # a picture may come late


@pytest.mark.property(17)
def test_a_button_says_that_it_works_until_the_answer_is_there(served, page_at, no_problems):
    """tests.md 17: no indicator was looked for."""
    page: Any = page_at(360)
    page.goto(portal(served))
    # the answer is long in coming: what leaves the page is counted and held
    page.evaluate("""() => { window.sent = 0; document.querySelector("main form").addEventListener("submit",
        event => { event.preventDefault(); window.sent += 1 }) }""")
    page.fill("#phone", "0712345678")
    pay = page.locator("main form button.primary")
    pay.click()
    expect(pay).to_have_text("Sending…")
    expect(pay).to_have_class("btn primary wide big busy")
    pay.click()  # an impatient second tap
    assert page.evaluate("window.sent") == 1


@pytest.mark.property(16)
@pytest.mark.property(18)
def test_the_page_asks_while_it_waits_and_never_again_once_it_is_paid(open_product, phones, page_at, no_problems):
    """tests.md 16, 18: that polling ends was read off an attribute; here the page is given ten minutes more."""
    page: Any = page_at(360)
    page.clock.install()
    msisdn = new_phone()
    buy(page, open_product, msisdn)
    expect(page.locator("#payment [aria-current=step]")).to_have_text("Enter your M-Pesa PIN")
    asked = asked_of(page, "/status")
    page.clock.run_for(5_000)
    page.wait_for_function("true")
    assert asked, "within five seconds it asks"
    phones.enter_pin(msisdn)
    expect(page.get_by_role("heading", name="Paid")).to_be_visible()
    asked.clear()
    page.clock.run_for(600_000)
    page.evaluate("new Promise(done => requestAnimationFrame(() => done()))")
    assert [one for one in asked if "/static/" not in one] == []  # a picture may come late


def news(product: Product) -> None:
    """The next poll brings the page's part anew."""
    with product.app.app_context(), transaction():
        touch(db.session.query(Payment).one().id)


def test_a_poll_closes_nothing_that_the_reader_opened(open_product, phones, page_at, no_problems):
    """use.md 19: what came in by itself closed the help that somebody was reading."""
    page: Any = page_at(360)
    msisdn = new_phone()
    buy(page, open_product, msisdn)
    phones.wait_for_prompt(msisdn)
    help_ = page.locator("details.fold", has_text="No prompt on your phone?")
    later(25)  # then the page offers it, open
    news(open_product)
    expect(help_).to_have_attribute("open", "")
    by_hand = page.locator("#payment details.fold").filter(has_not_text="No prompt on your phone?").first
    help_.locator("summary").click()
    by_hand.locator("summary").click()
    page.evaluate("document.querySelector('#payment details').setAttribute('data-before', '')")
    news(open_product)
    expect(page.locator("#payment [data-before]")).to_have_count(0)
    expect(by_hand).to_have_attribute("open", "")
    expect(help_).not_to_have_attribute("open", "")
