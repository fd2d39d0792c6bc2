"""Paying a clinic by the private link, as a payer or patient sees it."""

import re
from datetime import timedelta

from playwright.sync_api import expect

from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from tests.support.daraja import new_phone
from tests.support.journeys import ask_for, is_same_document, remember_this_document, visit


def test_an_invoice_is_paid_by_its_link_and_its_receipt_prints(open_product, phones, page_at, no_problems):
    number, token = open_product.invoice(1_500)
    msisdn, page = new_phone(), page_at(360)
    ask_for(page, f"{open_product.url}/pay/{token}", msisdn)
    expect(page.get_by_role("heading", name=f"Invoice {number}")).to_be_visible()
    expect(page.get_by_text("TEST MODE")).to_be_visible()
    status = page.locator("#payment")
    expect(status.locator("[aria-current=step]")).to_have_text("Enter your M-Pesa PIN")
    status.locator("summary", has_text="Pay by hand").click()
    for shown in ("600111", number, "KES 1,500"):
        expect(status.get_by_text(shown, exact=True)).to_be_visible()
    remember_this_document(page)
    phones.enter_pin(msisdn)
    expect(status.get_by_role("heading", name="Paid")).to_be_visible()
    expect(page.locator("form.ready-only")).to_be_hidden()
    assert is_same_document(page)

    page.get_by_role("link", name="Receipt to print or keep").click()
    paper = page.locator("article")
    for line in ("Mlima House", "TEST: not a valid receipt", "KES 1,500", f"Invoice {number}", "M-Pesa", "Balance"):
        expect(paper).to_contain_text(line)
    expect(paper.locator("dd.mono")).to_have_text(re.compile(r"^U[A-Z0-9]{9}$"))
    page.emulate_media(media="print")
    expect(page.get_by_text("TEST MODE")).to_be_visible()  # nobody passes a trial off as money
    expect(page.locator(".masthead")).to_be_hidden()
    expect(page.get_by_text("Keep it: use your browser's Print")).to_be_hidden()
    expect(paper).to_be_visible()


def test_a_paid_online_session_shows_its_link_under_the_clinics_own_address(open_product, page_at, no_problems):
    booked = visit(open_product, "virtual")
    page = page_at(360)
    ask_for(page, booked["payUrl"], new_phone("01"))
    link = page.get_by_role("link", name="Join the session")
    expect(link).to_have_attribute("href", re.compile(r"/join/[0-9a-f]{32,}$"))
    expect(page.get_by_role("link", name="Add to calendar")).to_be_visible()
    token = (link.get_attribute("href") or "").rsplit("/", 1)[-1]

    page.goto(f"{open_product.url}/join/{token}")
    expect(page.get_by_text("You are early.")).to_be_visible()
    clock.move(timedelta(hours=3))
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_role("link", name="Join the session")).to_be_visible()
    clock.move(timedelta(hours=3))
    page.reload()
    expect(page.get_by_text("This session is over.")).to_be_visible()


def test_a_paid_visit_shows_the_place_and_an_unpaid_session_keeps_its_door_shut(open_product, page_at, no_problems):
    page = page_at(360)
    ask_for(page, visit(open_product, "onsite")["payUrl"], new_phone("01"))
    expect(page.locator("#payment")).to_contain_text("Moi Avenue 1")
    expect(page.locator("#payment")).to_contain_text("Dr Wanjiru")
    expect(page.get_by_role("link", name="Join the session")).to_have_count(0)
    unpaid = visit(open_product, "virtual", in_hours=5)
    with open_product.inside():
        token = db.session.query(Appointment).filter_by(uid=unpaid["id"]).one().join_token
    page.goto(f"{open_product.url}/join/{token}")
    expect(page.get_by_text("This session opens once it is paid.")).to_be_visible()


def test_without_a_meeting_service_the_door_itself_is_the_place(open_product, page_at, no_problems):
    with open_product.inside(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().meeting_base_url = f"{open_product.url}/join"
    page = page_at(360)
    ask_for(page, visit(open_product, "virtual", in_hours=0.1)["payUrl"], new_phone("01"))
    page.get_by_role("link", name="Join the session").click()
    expect(page.get_by_text("You are in the right place")).to_be_visible()
