"""The way back and the devices of a pass, on phones whose browsers keep nothing."""

import re

import pytest
from playwright.sync_api import expect
from sqlalchemy import update

from portal.hotspot.models import AccessGrant, Package
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from tests.support.clock import wait_until
from tests.support.daraja import new_phone
from tests.support.journeys import ROUTER, buy, local, portal

NEW_MAC = "AA:BB:CC:00:99:01"


def code_on(product, msisdn):
    """The figures that this phone was sent."""

    def found():
        with product.inside():
            texts = [payload_of(one) for one in db.session.query(OutboxItem).filter_by(kind="sms")]
        return re.findall(r"type (\d{6}) on", " ".join(one["text"] for one in texts if one["to"] == msisdn))

    wait_until(found)
    return found()[-1]


@pytest.mark.parametrize("javascript", [True, False])
def test_a_phone_with_a_new_mac_comes_back_by_its_number_alone(open_product, phones, page_at, no_problems, javascript):
    msisdn = new_phone()
    first = page_at(360)
    buy(first, open_product, msisdn)
    phones.wait_for_prompt(msisdn)
    phones.enter_pin(msisdn)
    expect(first.get_by_role("button", name="Connect now")).to_be_visible()

    page = page_at(360, javascript=javascript)
    page.goto(portal(open_product, mac=NEW_MAC))
    page.get_by_role("link", name="I lost my code").click()
    page.fill("#phone", local(msisdn))
    page.get_by_role("button", name="Send my code by SMS").click()
    expect(page.get_by_text("If this number has internet here")).to_be_visible()
    page.context.clear_cookies()
    page.get_by_label("The 6 figures from the SMS").fill(code_on(open_product, msisdn))
    page.get_by_role("button", name="Use it on this device").click()
    page.wait_for_url("**/pass/**")
    page.context.clear_cookies()
    page.reload()
    expect(page.get_by_role("heading", name="Your internet")).to_be_visible()
    expect(page.locator(".own .mono", has_text=NEW_MAC)).to_be_visible()
    expect(page.get_by_text(ROUTER["mac"])).to_have_count(0)
    way_in = page.locator("form", has=page.get_by_role("button", name="Connect now"))
    assert way_in.get_attribute("action") == ROUTER["link-login-only"]
    page.get_by_role("button", name=re.compile("^Remove")).click()
    expect(page.get_by_text("No device uses it yet.")).to_be_visible()
    page.get_by_role("button", name="Use it on this device").click()
    expect(page.locator(".own .mono", has_text=NEW_MAC)).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
def test_the_router_is_asked_by_itself_once_the_code_could_be_read(
    open_product, phones, page_at, no_problems, javascript
):
    msisdn, page = new_phone(), page_at(360, javascript=javascript)
    asked = []
    page.context.route(
        "http://10.5.50.1/**", lambda route: (asked.append(route.request), route.fulfill(body="You are in."))
    )
    buy(page, open_product, msisdn)
    phones.wait_for_prompt(msisdn)
    phones.enter_pin(msisdn)
    expect(page.locator("#wifi-word")).to_be_visible(timeout=10_000)
    expect(page.get_by_text("You are in.")).to_be_visible(timeout=15_000)
    with open_product.inside():
        grant = db.session.query(AccessGrant).one()
        told = asked[0].post_data if javascript else asked[0].url
        assert f"username={grant.username}" in told and f"password={grant.password}" in told
    assert len(asked) == 1


def test_a_tv_is_added_by_its_address_and_named(open_product, phones, page_at, no_problems):
    with open_product.app.app_context(), transaction():
        db.session.execute(update(Package).values(devices=2))
    msisdn, page = new_phone(), page_at(360)
    buy(page, open_product, msisdn)
    phones.wait_for_prompt(msisdn)
    phones.enter_pin(msisdn)
    page.get_by_role("link", name="Time left and my devices").click()
    page.locator("summary", has_text="Add my TV").click()
    page.get_by_label("What it is").fill("TV in the bar")
    page.get_by_label("Its address").fill("a4-83-e7-12-34-56")
    page.get_by_role("button", name="Add it").click()
    expect(page.locator(".own")).to_contain_text("TV in the bar")
    expect(page.locator(".own .mono")).to_have_text([ROUTER["mac"], "A4:83:E7:12:34:56"])
