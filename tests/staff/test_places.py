"""Places, closed days and prices, made and changed on pages."""

import re
from datetime import timedelta
from typing import Any

import pytest

from portal.clinic.models import Appointment, Branch, ClosedDay, Service
from portal.kernel import clock
from portal.kernel.db import db
from tests.support.booking import booked, offer, place_of, slots, starts
from tests.support.product import Product
from tests.support.visitors import csrf_of

EMPTY = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "")


def post(product: Product, path: str, **form: Any) -> Any:
    browser = product.browser_of("amina")
    return browser.post(path, data=form | {"csrf_token": csrf_of(browser, "/staff/places")})


def test_from_a_new_place_to_its_free_times_on_pages_alone(product: Product) -> None:
    service = offer(product, kinds=("onsite",))
    open_hours = dict.fromkeys(EMPTY, "9-11")
    assert (
        post(product, "/staff/places/new", name="Karen  East", address="Langata Road 9", **open_hours).status_code
        == 303
    )
    with product.inside():
        place = db.session.query(Branch).one()
        assert (place.name, place.address) == ("Karen East", "Langata Road 9")
        uid = place.uid
    page = product.browser_of("amina").get("/staff/timetable").text
    clinician = re.search(r'"(/staff/timetable/clinicians/\w+)"', page)[1]  # type: ignore[index]
    assert post(product, clinician, **EMPTY, works_holidays="y").status_code == 303
    there = f"{clinician}?place={uid}"
    assert post(product, there, **dict.fromkeys(EMPTY, "8-10"), works_holidays="y").status_code == 303
    assert "8:00-10:00" in product.browser_of("amina").get(there).text
    assert "8:00-10:00" not in product.browser_of("amina").get(clinician).text
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    assert [one[11:16] for one in starts(product, service, day)] == ["09:00", "09:30"]
    overlap = post(product, clinician, **dict.fromkeys(EMPTY, "9-12"))
    assert overlap.status_code == 422 and "overlap" in overlap.text, "nobody works in two places at once"


def test_closed_days_are_added_and_taken_back(product: Product) -> None:
    service = offer(product)
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    form = {"place": "", "first": str(day), "last": str(day), "name": "=Stocktaking()"}
    assert post(product, "/staff/places/closed", **form).status_code == 303
    assert starts(product, service, day) == []
    assert "=Stocktaking()" in product.browser_of("amina").get("/staff/places").text
    with product.inside():
        closed = db.session.query(ClosedDay.id).scalar()
    assert post(product, "/staff/places/closed/remove", closed=str(closed)).status_code == 303
    assert starts(product, service, day) != []


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/staff/places/new", EMPTY | {"name": ""}), ("/staff/places/new", EMPTY | {"name": "x" * 10_000}),
        ("/staff/places/new", EMPTY | {"name": "Karen", "mon": "17-9"}),
        ("/staff/places/closed", {"first": "2030-02-02", "last": "2030-02-01"}),
        ("/staff/places/closed", {"first": "soon", "last": "2030-02-01"}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_place_is_told(product: Product, path: str, form: dict[str, str]) -> None:
    assert post(product, path, **form).status_code == 422
    with product.inside():
        assert db.session.query(Branch).count() == 0 and db.session.query(ClosedDay).count() == 0


def test_another_clinics_place_and_closed_days_are_left_alone(product: Product) -> None:
    theirs = place_of(product, "bahari")
    assert post(product, f"/staff/places/{theirs}/close").status_code == 404
    assert post(product, f"/staff/places/{theirs}", name="Mine", **EMPTY).status_code == 404


def test_prices_are_changed_on_a_page_and_what_is_booked_keeps_its_own(product: Product) -> None:
    service = offer(product, needs_approval=False)
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    made = booked(product, service, starts(product, service, day)[0])
    path = f"/staff/timetable/services/{service}/prices"
    field = re.search(r'name="(own-\w+)"', product.browser_of("amina").get(path).text)[1]  # type: ignore[index]
    assert post(product, path, price="1800", **{field: "2500"}).status_code == 303
    assert {one["price"] for one in slots(product, service, day).json["items"]} == {2500}
    assert post(product, path, price="1800", **{field: ""}).status_code == 303
    assert {one["price"] for one in slots(product, service, day).json["items"]} == {1800}
    with product.inside():
        assert db.session.query(Appointment).filter_by(uid=made["appointmentId"]).one().price_cents == 150_000
    assert post(product, path, price="free", **{field: ""}).status_code == 422
    with product.inside():
        assert db.session.query(Service).one().price_cents == 180_000
