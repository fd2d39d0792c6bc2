"""What the product gave up, or waits for without end, is listed to staff, counted, and set going by administrators."""

import re
from datetime import timedelta
from typing import Any

import pytest

from portal import fulfilment
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import put
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, Push
from portal.payments.processing import callbacks, jobs, sets
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.visitors import csrf_of


def page(product: Product, who: str = "amina") -> str:
    return product.browser_of(who).get("/staff/stuck").text


def a_dead_callback(product: Product, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """(payment, row) of a callback that failed until it was given up; what made it fail is mended."""
    token = product.invoice(100)[1]
    product.callback(product.pushed(token), receipt=receipt(1))

    def fail(*_given: Any, **_named: Any) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(sets, "settle_set", fail)
        patch.setattr(callbacks, "settle", fail)
        for _time in range(4):
            with product.inside():
                fulfilment.drain()
            later(61)
    with product.inside():
        item = db.session.query(InboxItem).one()
        assert item.state == "dead"
        return token, item.id


def alert_on_today(product: Product) -> str:
    """The alert of stuck things on the page that a receptionist keeps open; empty where there is none."""
    found = re.findall(r'<a class="alert [^>]*>.*?</a>', product.browser_of("brian").get("/staff/").text, re.S)
    return next((one for one in found if "Stuck" in one), "")


def test_what_gets_stuck_comes_up_on_todays_page_by_its_poll(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps the page open all day does not load it anew."""
    brian = product.browser_of("brian")
    page = brian.get("/staff/").text
    assert alert_on_today(product) == ""
    poll = re.findall(r'hx-get="(/staff/live[^"]*)"', page)[0].replace("&amp;", "&")
    assert brian.get(poll, headers={"HX-Request": "true"}).status_code == 204
    a_dead_callback(product, monkeypatch)
    told = brian.get(poll, headers={"HX-Request": "true"})
    assert told.status_code == 200 and "Stuck: 1 thing that did not go by itself" in told.text


def metric(product: Product, what: str) -> float:
    found = re.search(rf'^mlango_waiting{{what="{what}"}} ([\d.]+)$', product.client().get("/metrics").text, re.M)
    assert found, what
    return float(found.group(1))


@pytest.mark.property(72)
def test_a_dead_callback_is_listed_counted_and_replayed_by_an_administrator(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md P-3, property 72: it was on no staff page."""
    product = either_product
    assert "Nothing is stuck." in page(product) and "Stuck (" not in page(product)
    token, item_id = a_dead_callback(product, monkeypatch)
    shown = page(product)
    assert "ZeroDivisionError: a mistake of ours" in shown and "Stuck (1)" in shown
    assert 'href="/staff/stuck">' in alert_on_today(product) and "Stuck: 1 thing that did not" in alert_on_today(
        product
    )
    assert "Look the payment up in M-Pesa" in shown and metric(product, "stuck_callback") == 1
    assert "Stuck (1)" in product.browser_of("brian").get("/staff/").text, "every page leads there"
    assert "/staff/stuck/callbacks/" not in page(product, "brian"), "who may not replay sees it without the button"
    amina = product.browser_of("amina")
    path = f"/staff/stuck/callbacks/{item_id}"
    answer = amina.post(path, data={"csrf_token": csrf_of(amina, "/staff/stuck")})
    assert answer.status_code == 303
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []
    assert "Nothing is stuck." in page(product) and metric(product, "stuck_callback") == 0
    again = amina.post(path, data={"csrf_token": csrf_of(amina, "/staff/")}, follow_redirects=True)
    assert "It is not stuck any more." in again.text


def test_another_tenants_stuck_things_are_not_seen_and_not_touched(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md P-3."""
    _token, item_id = a_dead_callback(product, monkeypatch)
    chege = product.browser_of("chege")
    assert "Nothing is stuck." in chege.get("/staff/stuck").text
    answer = chege.post(f"/staff/stuck/callbacks/{item_id}", data={"csrf_token": csrf_of(chege, "/staff/")})
    assert answer.status_code == 404


def test_an_answer_from_an_unlisted_address_is_listed_while_it_waits(product: Product) -> None:
    """coverage.md P-3: waiting STK callbacks were on no staff page."""
    push = product.pushed(product.invoice(100)[1])
    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"environment": "production"})
    inbox.forget_doors()
    product.callback(push, code=1032)
    product.settle()
    assert "It came from an address that is not Safaricom" in page(product) and metric(product, "stuck_callback") == 1


def test_a_dead_message_is_listed_counted_and_sent_again(product: Product) -> None:
    """coverage.md P-3: dead messages were on no staff page."""
    tenant_id = product.tenant_id()
    with product.app.app_context():
        with transaction():
            put(tenant_id, "sms", "k", {"to": "x"}, expires_at=clock.now() + timedelta(minutes=1))
            db.session.query(OutboxItem).update({"state": "dead", "attempts": 7, "last_error": "no such number"})
        item_id = db.session.query(OutboxItem.id).scalar()
        db.session.remove()
    assert "no such number" in page(product) and metric(product, "stuck_message") == 1
    later(3_600)
    amina = product.browser_of("amina")
    amina.post(f"/staff/stuck/messages/{item_id}", data={"csrf_token": csrf_of(amina, "/staff/stuck")})
    with product.inside():
        item = db.session.get_one(OutboxItem, item_id)
        assert (item.state, item.attempts, item.expires_at) == ("new", 0, None) and item.next_at <= clock.now()


def test_what_was_paid_and_not_given_out_is_listed_until_it_is(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md P-3: `fulfil_error` was on no staff page."""
    token = product.invoice(100)[1]
    product.callback(product.pushed(token), receipt=receipt(1))

    def fail(*_given: Any, **_named: Any) -> Any:
        raise RuntimeError("the router's codes are used up")

    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "deliver_set", fail)
        patch.setattr(fulfilment, "deliver", fail)
        product.settle()
    assert "codes are used up" in page(product) and metric(product, "stuck_delivery") == 1
    later(3)
    product.settle()
    assert "Nothing is stuck." in page(product) and metric(product, "stuck_delivery") == 0


def test_a_prompt_without_an_outcome_is_pending_until_the_last_question_then_listed(product: Product) -> None:
    """coverage.md P-5: after the last question it counted as pending for ever."""
    push_id = product.pushed(product.invoice(100)[1]).push_id
    later(130)
    with product.inside():
        jobs.expire_pushes()

    def pending() -> Any:
        product.tokens.clear()  # a day passes
        return product.api("amina").get("/api/payments/mpesa/stats").json["pending"]

    assert pending() == 1 and "Nothing is stuck." in page(product)
    later(86_400)
    with product.inside():
        jobs.ask_mpesa()  # nobody answers there; it was the last time
        push = db.session.get_one(Push, push_id)
        assert push.state == "unconfirmed" and push.next_query_at is None
    assert pending() == 0 and metric(product, "stuck_prompt") == 1
    shown = page(product)
    assert "Requests without an outcome" in shown and "Look the payer up in M-Pesa" in shown
    later(31 * 86_400)
    assert "Nothing is stuck." in page(product), "then a statement tells of it, or nobody does"
