"""Money on its way back, in a real browser: a refund asked for at the counter, money that M-Pesa took, the balance."""

import os
from pathlib import Path
from typing import Any

from portal.kernel.db import db, transaction
from portal.payments import booking
from portal.payments.models import Transaction
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.journeys import buy, faults_of, is_same_document, remember_this_document, sign_in
from tests.support.product import Product
from tests.support.refunds import HOUR_S, paid_by_hand, refund_asked, refund_sent, refund_state, with_initiator
from tests.support.sms import message, paste, without_api

SHOTS = os.environ.get("SCREENSHOTS")


def look(page: Any, name: str) -> list[str]:
    """Its faults; and a picture on a phone and on a desk where somebody wants to see them."""
    if SHOTS:
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=Path(SHOTS) / f"{name.replace(' ', '-')}-{width}.png", full_page=True)
    return faults_of(page, name)


def reverse_the_last(product: Product) -> str:
    """M-Pesa's word that it took money back; its receipt."""
    with product.app.app_context(), transaction():
        last = db.session.query(Transaction).order_by(Transaction.id.desc()).first()
        assert last is not None and last.receipt
        booking.take_back(last, how=booking.REVERSED, why="M-Pesa reversed it.", actor="statement")
        return last.receipt


def test_a_refund_is_asked_for_at_the_counter_and_the_payer_reads_of_it(open_product, phones, page_at, no_problems):
    open_product.give_initiator()
    payer, page, msisdn = page_at(360), page_at(1280), new_phone()
    buy(payer, open_product, msisdn)
    payer.wait_for_selector("[aria-current=step] >> text=Enter your M-Pesa PIN")
    phones.enter_pin(msisdn)
    payer.wait_for_selector("#connect")
    sign_in(page, open_product, "amina")
    page.locator("#live a").first.click()
    page.get_by_role("link", name="Refund", exact=True).click()
    found = look(page, "refund form")
    page.get_by_label("Amount").fill("5000")
    page.get_by_label("Reason").fill("Did not work at the stage")
    page.get_by_role("button", name="Send the money back").click()
    page.get_by_text("At most").first.wait_for()
    found += look(page, "refund form with a mistake")
    page.get_by_label("Amount").fill("20")
    page.get_by_role("button", name="Send the money back").click()
    page.wait_for_url("**/staff/refunds**")
    for _turn in range(60):
        if page.locator("td .mono", has_text="–").count() == 0 and page.get_by_text("Sent back").count():
            break
        page.wait_for_timeout(200)
        page.reload()
    found += look(page, "refunds")
    payer.reload()
    payer.get_by_text("was sent back").first.wait_for()
    assert payer.locator("#wifi-name").count() == 0, "the code is gone with the money"
    found += look(payer, "payer refunded")
    assert found == []


def test_who_lost_their_money_to_a_reversal_reads_why_and_staff_see_it_owed(open_product, phones, page_at, no_problems):
    payer, page, msisdn = page_at(360), page_at(1280), new_phone()
    buy(payer, open_product, msisdn)
    payer.wait_for_selector("[aria-current=step] >> text=Enter your M-Pesa PIN")
    phones.enter_pin(msisdn)
    payer.wait_for_selector("#connect")
    receipt = reverse_the_last(open_product)
    payer.reload()
    payer.get_by_text("Your money went back").first.wait_for()
    payer.get_by_text(f"M-Pesa reversed your payment {receipt}").first.wait_for()
    found = look(payer, "payer reversed")
    sign_in(page, open_product, "brian")
    page.goto(f"{open_product.url}/staff/unmatched")
    page.get_by_text(f"M-Pesa reversed {receipt}").wait_for()
    found += look(page, "owed again")
    page.get_by_role("button", name="Wait for it no longer").click()
    page.get_by_text("is closed").wait_for()
    assert found == []


def test_the_balance_appears_by_itself(open_product, page_at, no_problems):
    open_product.give_initiator()
    page = page_at(1280)
    sign_in(page, open_product, "amina")
    page.goto(f"{open_product.url}/staff/gateways")
    page.get_by_role("link", name="Change").first.click()
    page.get_by_role("button", name="Ask for the balance").click()
    page.get_by_text("Its answer appears here by itself").wait_for()
    remember_this_document(page)
    page.get_by_text("Utility Account").wait_for()
    assert is_same_document(page)
    assert look(page, "gateway with its balance") == []


def test_a_pasted_message_of_a_shop_without_api_is_decided_at_the_counter(open_product, page_at, no_problems):
    without_api(open_product)
    page = page_at(1280)
    paste(open_product, message("UKL1ABCD77"))
    sign_in(page, open_product, "brian")
    page.goto(f"{open_product.url}/staff/claims")
    page.get_by_text("UKL1ABCD77").first.wait_for()
    assert look(page, "messages to check") == []


def test_staff_say_what_m_pesa_does_not(served: Product, page_at: Any, no_problems: Any) -> None:
    """A payment that nobody can place for certain, and a refund of which M-Pesa never tells."""
    product = served
    with_initiator(product)
    number, token = product.invoice(100)
    paid_by_hand(product, 100, number, receipt(1))
    one = refund_asked(product, token)[0]
    refund_sent(product, one, state="unknown")
    later(HOUR_S)
    doubtful = c2b_body(receipt=receipt(3), amount=10, account="X", shortcode="600333")
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=doubtful).status_code == 200
    product.settle()
    page = page_at(1280)
    sign_in(page, product, "amina")
    page.goto(f"{product.url}/staff/unmatched")
    found = look(page, "to decide")
    page.get_by_role("button", name="M-Pesa does not have it").click()
    page.get_by_text("Nothing to place").wait_for()
    page.goto(f"{product.url}/staff/refunds")
    page.get_by_text("What became of it?").click()
    found += look(page, "refund without an answer")
    page.get_by_label("Its receipt on the statement").fill(receipt(5).lower())
    page.get_by_role("button", name="It went", exact=True).click()
    page.get_by_text("Noted.").wait_for()
    assert refund_state(product, one)[0] == "done" and found == []
