"""What the clinic offers, who gives it and when they work, made and changed on pages."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.clinic import services
from portal.kernel import clock
from portal.kernel.errors import Refused
from tests.support.booking import booked, offer, starts
from tests.support.practice import SERVICE, post
from tests.support.product import Product
from tests.support.visitors import csrf_of

EVERY_DAY = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "8-13, 14-17:30")


def hours_path(product: Product) -> str:
    found = re.search(r'"(/staff/timetable/clinicians/\w+)"', product.browser_of("amina").get("/staff/timetable").text)
    assert found is not None
    return found.group(1)


def test_from_a_clinician_to_the_first_free_time_on_pages_alone(product: Product) -> None:
    added = post(product, "/staff/timetable/clinicians", name="Dr  Auma", title="Dentist")
    assert added.status_code == 303
    path = added.headers["Location"]
    assert post(product, path, **EVERY_DAY, works_holidays="y").status_code == 303
    uid = path.rsplit("/", 1)[1]
    made = post(product, "/staff/timetable/services/new", **SERVICE, clinicians=uid)
    assert made.status_code == 303, made.text
    (service,) = product.client().get("/api/portal/clinic/services?tenant=mlima").json["items"]
    assert (service["name"], service["price"], service["kinds"]) == ("Dressing", 500, ["onsite"])
    found = [one[11:16] for one in starts(product, service["id"])]
    assert found[0] == "08:00" and "12:30" in found and "13:00" not in found and found[-1] == "17:00"
    page = product.browser_of("amina").get("/staff/timetable").text
    assert "Dr Auma" in page and "8:00-13:00, 14:00-17:30" in page and "Dressing" in page


@pytest.mark.parametrize("hours", ["nine to five", "13-8", "8-25", "8-13, 12-17", "8:75-9", "-"])
def test_hours_that_are_none_are_named_and_what_was_typed_stays(product: Product, hours: str) -> None:
    path = hours_path(product)
    assert post(product, path, **EVERY_DAY).status_code == 303
    refused = post(product, path, **EVERY_DAY | {"wed": hours})
    assert refused.status_code == 422 and hours in refused.text
    assert "8:00-13:00, 14:00-17:30" in product.browser_of("amina").get("/staff/timetable").text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"price": "0"}, "at least"),
        ({"price": "free"}, "amount"),
        ({"duration": "3"}, "5 to 600"),
        ({"name": ""}, "name"),
    ],
)
def test_what_is_wrong_with_a_service_is_named(product: Product, change: dict[str, str], sentence: str) -> None:
    refused = post(product, "/staff/timetable/services/new", **SERVICE | change)
    assert refused.status_code == 422 and sentence in refused.text
    assert product.client().get("/api/portal/clinic/services?tenant=mlima").json["items"] == []


def test_leave_tells_who_is_booked_and_offers_no_time(product: Product) -> None:
    service = offer(product)
    day = clock.nairobi(clock.now()).date() + timedelta(days=1)
    booked(product, service, starts(product, service, day)[0])
    path = f"{hours_path(product)}/leave"
    browser = product.browser_of("amina")
    answer = browser.post(
        path, data={"first": f"{day}", "last": f"{day}", "csrf_token": csrf_of(browser, "/staff/timetable")}
    )
    assert "1 visits are booked in these days" in browser.get(answer.headers["Location"]).text
    assert starts(product, service, day) == [] and starts(product, service, day + timedelta(days=1)) != []


def test_leave_is_shown_by_its_days_and_taken_back(product: Product) -> None:
    service, path = offer(product), f"{hours_path(product)}/leave"
    day = clock.nairobi(clock.now()).date() + timedelta(days=1)
    post(product, path, first=f"{day}", last=f"{day}")
    page = product.browser_of("amina").get(hours_path(product)).text
    assert f"{day:%A} {day.day} {day:%b}</span>" in page and starts(product, service, day) == []
    leave = re.search(r'name="end" value="(\d+)"', page)[1]  # type: ignore[index]
    assert post(product, path, end="999999").status_code == 404
    assert post(product, path, end=leave).status_code == 303
    assert starts(product, service, day) != []
    assert 'name="end"' not in product.browser_of("amina").get(hours_path(product)).text


def test_a_new_clinic_is_told_what_is_missing_before_patients_can_book(product: Product) -> None:
    today = product.browser_of("amina").get("/staff/").text
    assert "Before patients can book" in today and "/staff/timetable/services/new" in today
    assert "Before patients can book" not in product.browser_of("brian").get("/staff/").text
    offer(product)
    post(product, "/staff/business", name="Mlima Clinic", address="Moi Avenue 1", locale="en", colour="#0b5d4b")
    assert "Before patients can book" not in product.browser_of("amina").get("/staff/").text
    assert (
        f"{product.app.config['PORTAL'].public_url}/clinic/mlima/"
        in product.browser_of("amina").get("/staff/timetable").text
    )


def test_a_withdrawn_service_is_offered_no_more_and_what_is_booked_stays(product: Product) -> None:
    service = offer(product)
    made = booked(product, service, starts(product, service)[0])
    assert post(product, f"/staff/timetable/services/{service}/withdraw").status_code == 303
    assert product.client().get("/api/portal/clinic/services?tenant=mlima").json["items"] == []
    seen = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json
    assert seen["status"] == "pending_approval"


@given(parts=st.lists(st.tuples(st.integers(0, 1438), st.integers(1, 1440)), max_size=4))
def test_hours_are_read_as_they_are_shown(parts: list[tuple[int, int]]) -> None:
    hours = [(begin, end) for begin, end in parts if begin < end]
    assert services.read_hours(services.hours_shown(hours)) == hours


@given(text=st.text(max_size=40))
def test_whatever_is_typed_as_hours_is_read_or_refused(text: str) -> None:
    try:
        assert all(0 <= begin < end <= 1440 for begin, end in services.read_hours(text))
    except Refused as error:
        assert str(error.message)
