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
from tests.support.business import House
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.visitors import csrf_of


def page(house: House, who: str = "amina") -> str:
    return house.browser_of(who).get("/staff/stuck").text


def a_dead_callback(house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """(payment, row) of a callback that failed until it was given up; what made it fail is mended."""
    token = house.invoice(100)[1]
    house.callback(house.pushed(token), receipt=receipt(1))

    def fail(*_given: Any) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(sets, "settle_set", fail)
        patch.setattr(callbacks, "settle", fail)
        for _time in range(4):
            with house.inside():
                fulfilment.drain()
            later(61)
    with house.inside():
        item = db.session.query(InboxItem).one()
        assert item.state == "dead"
        return token, item.id


def alert_on_today(house: House) -> str:
    """The alert of stuck things on the page that a receptionist keeps open; empty where there is none."""
    found = re.findall(r'<a class="alert [^>]*>.*?</a>', house.browser_of("brian").get("/staff/").text, re.S)
    return next((one for one in found if "Stuck" in one), "")


def test_what_gets_stuck_comes_up_on_todays_page_by_its_poll(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps the page open all day does not load it anew."""
    brian = house.browser_of("brian")
    page = brian.get("/staff/").text
    assert alert_on_today(house) == ""
    poll = re.findall(r'hx-get="(/staff/live[^"]*)"', page)[0].replace("&amp;", "&")
    assert brian.get(poll, headers={"HX-Request": "true"}).status_code == 204
    a_dead_callback(house, monkeypatch)
    told = brian.get(poll, headers={"HX-Request": "true"})
    assert told.status_code == 200 and "Stuck: 1 thing that did not go by itself" in told.text


def metric(house: House, what: str) -> float:
    found = re.search(rf'^mlango_waiting{{what="{what}"}} ([\d.]+)$', house.client().get("/metrics").text, re.M)
    assert found, what
    return float(found.group(1))


@pytest.mark.property(72)
def test_a_dead_callback_is_listed_counted_and_replayed_by_an_administrator(
    either_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md P-3, property 72: it was on no staff page."""
    house = either_house
    assert "Nothing is stuck." in page(house) and "Stuck (" not in page(house)
    token, item_id = a_dead_callback(house, monkeypatch)
    shown = page(house)
    assert "ZeroDivisionError: a mistake of ours" in shown and "Stuck (1)" in shown
    assert 'href="/staff/stuck">' in alert_on_today(house) and "Stuck: 1 thing that did not" in alert_on_today(house)
    assert "Look the payment up in M-Pesa" in shown and metric(house, "stuck_callback") == 1
    assert "Stuck (1)" in house.browser_of("brian").get("/staff/").text, "every page leads there"
    assert "/staff/stuck/callbacks/" not in page(house, "brian"), "who may not replay sees it without the button"
    amina = house.browser_of("amina")
    path = f"/staff/stuck/callbacks/{item_id}"
    answer = amina.post(path, data={"csrf_token": csrf_of(amina, "/staff/stuck")})
    assert answer.status_code == 303
    house.settle()
    assert house.status(token)["status"] == "paid" and house.books() == []
    assert "Nothing is stuck." in page(house) and metric(house, "stuck_callback") == 0
    again = amina.post(path, data={"csrf_token": csrf_of(amina, "/staff/")}, follow_redirects=True)
    assert "It is not stuck any more." in again.text


def test_another_tenants_stuck_things_are_not_seen_and_not_touched(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md P-3."""
    _token, item_id = a_dead_callback(house, monkeypatch)
    chege = house.browser_of("chege")
    assert "Nothing is stuck." in chege.get("/staff/stuck").text
    answer = chege.post(f"/staff/stuck/callbacks/{item_id}", data={"csrf_token": csrf_of(chege, "/staff/")})
    assert answer.status_code == 404


def test_an_answer_from_an_unlisted_address_is_listed_while_it_waits(house: House) -> None:
    """coverage.md P-3: waiting STK callbacks were on no staff page."""
    push = house.pushed(house.invoice(100)[1])
    with house.app.app_context(), transaction():
        db.session.query(Gateway).update({"environment": "production"})
    inbox.forget_doors()
    house.callback(push, code=1032)
    house.settle()
    assert "It came from an address that is not Safaricom" in page(house) and metric(house, "stuck_callback") == 1


def test_a_dead_message_is_listed_counted_and_sent_again(house: House) -> None:
    """coverage.md P-3: dead messages were on no staff page."""
    tenant_id = house.tenant_id()
    with house.app.app_context():
        with transaction():
            put(tenant_id, "sms", "k", {"to": "x"}, expires_at=clock.now() + timedelta(minutes=1))
            db.session.query(OutboxItem).update({"state": "dead", "attempts": 7, "last_error": "no such number"})
        item_id = db.session.query(OutboxItem.id).scalar()
        db.session.remove()
    assert "no such number" in page(house) and metric(house, "stuck_message") == 1
    later(3_600)
    amina = house.browser_of("amina")
    amina.post(f"/staff/stuck/messages/{item_id}", data={"csrf_token": csrf_of(amina, "/staff/stuck")})
    with house.inside():
        item = db.session.get_one(OutboxItem, item_id)
        assert (item.state, item.attempts, item.expires_at) == ("new", 0, None) and item.next_at <= clock.now()


def test_what_was_paid_and_not_given_out_is_listed_until_it_is(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """coverage.md P-3: `fulfil_error` was on no staff page."""
    token = house.invoice(100)[1]
    house.callback(house.pushed(token), receipt=receipt(1))

    def fail(*_given: Any) -> Any:
        raise RuntimeError("the router's codes are used up")

    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "deliver_set", fail)
        patch.setattr(fulfilment, "deliver", fail)
        house.settle()
    assert "codes are used up" in page(house) and metric(house, "stuck_delivery") == 1
    later(3)
    house.settle()
    assert "Nothing is stuck." in page(house) and metric(house, "stuck_delivery") == 0


def test_a_prompt_without_an_outcome_is_pending_until_the_last_question_then_listed(house: House) -> None:
    """coverage.md P-5: after the last question it counted as pending for ever."""
    push_id = house.pushed(house.invoice(100)[1]).push_id
    later(130)
    with house.inside():
        jobs.expire_pushes()

    def pending() -> Any:
        house.tokens.clear()  # a day passes
        return house.api("amina").get("/api/payments/mpesa/stats").json["pending"]

    assert pending() == 1 and "Nothing is stuck." in page(house)
    later(86_400)
    with house.inside():
        jobs.ask_mpesa()  # nobody answers there; it was the last time
        push = db.session.get_one(Push, push_id)
        assert push.state == "unconfirmed" and push.next_query_at is None
    assert pending() == 0 and metric(house, "stuck_prompt") == 1
    shown = page(house)
    assert "Requests without an outcome" in shown and "Look the payer up in M-Pesa" in shown
    later(31 * 86_400)
    assert "Nothing is stuck." in page(house), "then a statement tells of it, or nobody does"
