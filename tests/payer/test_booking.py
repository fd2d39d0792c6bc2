"""Booking in a browser without JavaScript: service, time, phone, code, and the visit's own page."""

import re
from datetime import datetime
from html import unescape
from typing import Any

import pytest

from portal.clinic.models import Appointment
from portal.kernel.db import db
from tests.support.booking import begin, code_sent, offer, starts
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.product import Product


def path_in(page: str, pattern: str) -> str:
    """The first address on the page that matches."""
    found = re.search(rf'(?:href|action)="({pattern})"', page)
    assert found is not None, f"{pattern} is not on this page:\n{page}"
    return unescape(found.group(1))


def book_by_page(product: Product, browser: Any, *, turn: int = 0, **changes: str) -> str:
    """Walk the pages to the visit; its path."""
    times = path_in(browser.get("/clinic/mlima/").text, r"/clinic/mlima/book/\w+")
    tomorrow = path_in(browser.get(times).text, r"[^\"]*from=[^\"]*")
    links = re.findall(r'href="(/clinic/mlima/book/\w+/details[^"]*)"', browser.get(tomorrow).text)
    details = unescape(links[turn])
    page = browser.get(details).text
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    form = {name: unescape(value) for name, value in fields.items()} | {"name": "Achieng", "phone": "0712345678"}
    sent = browser.post(path_in(page, r"/clinic/mlima/book/\w+/details"), data=form | changes)
    assert sent.status_code == 303, sent.text
    code_page = sent.headers["Location"]
    assert "0712…678" in browser.get(code_page).text
    done = browser.post(code_page, data={"code": code_sent(product)})
    assert done.status_code == 303, done.text
    return str(done.headers["Location"])


def test_a_visit_is_booked_approved_paid_and_joined_by_its_own_page(product: Product) -> None:
    offer(product)
    browser = product.client()
    visit = book_by_page(product, browser)
    assert "The clinic will answer you" in browser.get(visit).text
    with product.inside():
        uid = db.session.query(Appointment.uid).scalar()
    assert product.api("wanjiru").post(f"/api/appointments/{uid}/approve").status_code == 200
    page = browser.get(visit).text
    assert "Pay KES 1,500 with M-Pesa" in page
    token = path_in(page, r"/pay/\w+").removeprefix("/pay/")
    product.callback(product.pushed(token), receipt=receipt(3))
    product.work()
    assert "Paid and confirmed" in browser.get(visit).text


def test_what_is_missing_is_said_and_what_was_typed_is_kept(product: Product) -> None:
    offer(product)
    browser = product.client()
    times = path_in(browser.get("/clinic/mlima/").text, r"/clinic/mlima/book/\w+")
    tomorrow = path_in(browser.get(times).text, r"[^\"]*from=[^\"]*")
    details = path_in(browser.get(tomorrow).text, r"/clinic/mlima/book/\w+/details[^\"]*")
    answer = browser.post(details, data={"name": "Achieng <b>", "phone": "12"})
    assert answer.status_code == 422
    assert "Achieng &lt;b&gt;" in answer.text and "0712 345 678" in answer.text


def test_a_wrong_code_is_told_on_the_page_and_the_right_one_still_works(product: Product) -> None:
    offer(product)
    browser = product.client()
    times = path_in(browser.get("/clinic/mlima/").text, r"/clinic/mlima/book/\w+")
    tomorrow = path_in(browser.get(times).text, r"[^\"]*from=[^\"]*")
    details = path_in(browser.get(tomorrow).text, r"/clinic/mlima/book/\w+/details[^\"]*")
    code_page = browser.post(details, data={"name": "Achieng", "phone": "0712345678"}).headers["Location"]
    right = code_sent(product)
    wrong = browser.post(code_page, data={"code": "000000" if right != "000000" else "111111"})
    assert wrong.status_code == 422 and "This code is not right" in wrong.text
    assert browser.post(code_page, data={"code": f"{right[:3]} {right[3:]}"}).status_code == 303


def test_the_patient_moves_and_cancels_until_the_day_before(product: Product) -> None:
    offer(product, cancel_hours=0)
    browser = product.client()
    visit = book_by_page(product, browser)
    choices = browser.get(f"{visit}?move=1").text
    at = re.findall(r'name="at" value="([^"]+)"', choices)[-1]
    night = unescape(at)[:11] + "03:00:00+03:00"
    assert browser.post(f"{visit}/move", data={"at": night}).status_code == 409, "nobody works then"
    assert browser.post(f"{visit}/move", data={"at": unescape(at)}).status_code == 303
    with product.inside():
        moved = db.session.query(Appointment).one()
        assert moved.starts_at == datetime.fromisoformat(unescape(at))
    assert browser.post(f"{visit}/cancel").status_code == 303
    assert "This visit is cancelled" in browser.get(visit).text
    again = browser.post(f"{visit}/cancel")
    assert again.status_code == 409 and "cancelled already" in again.text


def test_too_late_the_patient_is_asked_to_call(product: Product) -> None:
    service = offer(product, needs_approval=False, cancel_hours=100)
    assert service
    browser = product.client()
    visit = book_by_page(product, browser)
    page = browser.get(visit).text
    assert "please call the clinic" in page and "Cancel this visit" not in page
    refused = browser.post(f"{visit}/cancel")
    assert refused.status_code == 409 and "too late" in refused.text
    with product.inside():
        assert db.session.query(Appointment.status).scalar() == "approved"


def test_what_the_clinic_has_not_approved_yet_is_withdrawn_at_any_time(product: Product) -> None:
    offer(product, cancel_hours=100)
    browser = product.client()
    assert browser.post(f"{book_by_page(product, browser)}/cancel").status_code == 303


@pytest.mark.parametrize("path", ["/visit/nobody", "/clinic/mlima/booking/nobody", "/clinic/nobody/"])
def test_what_nobody_has_is_not_found(product: Product, path: str) -> None:
    assert product.client().get(path).status_code == 404


def test_another_clinics_booking_is_not_shown(product: Product) -> None:
    offer(product)
    browser = product.client()
    times = path_in(browser.get("/clinic/mlima/").text, r"/clinic/mlima/book/\w+")
    tomorrow = path_in(browser.get(times).text, r"[^\"]*from=[^\"]*")
    details = path_in(browser.get(tomorrow).text, r"/clinic/mlima/book/\w+/details[^\"]*")
    code_page = browser.post(details, data={"name": "Achieng", "phone": "0712345678"}).headers["Location"]
    assert browser.get(code_page.replace("mlima", "bahari")).status_code == 404


def test_a_page_left_open_for_a_day_offers_other_times(product: Product) -> None:
    offer(product)
    browser = product.client()
    times = path_in(browser.get("/clinic/mlima/").text, r"/clinic/mlima/book/\w+")
    tomorrow = path_in(browser.get(times).text, r"[^\"]*from=[^\"]*")
    details = path_in(browser.get(tomorrow).text, r"/clinic/mlima/book/\w+/details[^\"]*")
    later(15 * 86_400)
    answer = browser.post(details, data={"name": "Achieng", "phone": "0712345678"})
    assert answer.status_code == 303 and answer.headers["Location"].startswith(times)
    with product.inside():
        assert db.session.query(Appointment).count() == 0


def test_a_code_is_taken_at_the_clinic_that_sent_it_alone(product: Product) -> None:
    """At another one's address it would be booked there, with this one's service."""
    service = offer(product)
    begun = begin(product, service, starts(product, service)[0])
    path, code = f"booking/{begun.json['bookingId']}", code_sent(product)
    strange = product.client().post(f"/clinic/bahari/{path}", data={"code": code})
    assert strange.status_code == 404
    with product.inside():
        assert db.session.query(Appointment).filter_by(status="pending_approval").count() == 0
    assert product.client().post(f"/clinic/mlima/{path}", data={"code": code}).status_code == 303
