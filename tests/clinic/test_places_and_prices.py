"""Branches with hours and closed days of their own, each clinician's own price, and a price that changes meanwhile."""

import dataclasses
import re
from datetime import date, timedelta
from html import unescape
from typing import Any

from portal.clinic import appointments, branches, people, series, services, timetable
from portal.clinic.models import Appointment, AppointmentSeries, Branch, Clinician, Service
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.tenants.models import Tenant
from tests.support.booking import begin, booked, code_sent, confirm, offer, slots, starts
from tests.support.practice import SERVICE, post
from tests.support.product import Product
from tests.support.threads import together
from tests.support.visitors import csrf_of


def the_day() -> date:
    return clock.nairobi(clock.now()).date() + timedelta(days=3)


def two_places(product: Product) -> tuple[str, str, str]:
    """A service given in Westlands from 8 to 12 and in Karen from 13 to 17, every day: its id, and the places'."""
    service = offer(product, kinds=("onsite", "virtual"), needs_approval=False)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        made = [
            branches.add(tenant_id, name=name, address=address, actor="test")
            for name, address in (("Westlands", "Ring Road 4"), ("Karen", "Langata Road 9"))
        ]
        one = db.session.query(Clinician).filter_by(tenant_id=tenant_id).one()
        services.set_hours(one, [], actor="test")
        for place, begins, ends in ((made[0], 8, 12), (made[1], 13, 17)):
            week = [(day, begins * 60, ends * 60) for day in range(7)]
            services.set_hours(one, week, branch=place, actor="test")
        return service, made[0].uid, made[1].uid


def hours(product: Product, service: str, **query: Any) -> list[str]:
    return [one[11:16] for one in starts(product, service, the_day(), **query)]


def test_each_place_has_its_own_times_and_the_visit_says_where(product: Product) -> None:
    service, westlands, karen = two_places(product)
    assert hours(product, service, branchId=westlands) == [f"{8 + at // 2:02}:{at % 2 * 30:02}" for at in range(8)]
    assert hours(product, service, branchId=karen)[0] == "13:00"
    assert hours(product, service)[0] == "08:00" and hours(product, service)[-1] == "16:30"
    first = slots(product, service, the_day(), branchId=karen).json["items"][0]
    assert (first["branchId"], first["branchName"]) == (karen, "Karen")
    made = booked(product, service, first["startsAt"], branchId=karen)
    seen = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json
    assert seen["place"] == "Karen, Langata Road 9"
    page = product.client().get(f"/clinic/mlima/book/{service}", query_string={"branch": karen}).text
    assert "Westlands" in page and "13:00" in page and "08:00" not in page


def test_a_visit_that_is_moved_to_another_place_says_so(product: Product) -> None:
    service, westlands, karen = two_places(product)
    made = booked(product, service, starts(product, service, the_day(), branchId=karen)[0])
    there = starts(product, service, the_day(), branchId=westlands)[0]
    moved = product.api("brian").post(f"/api/appointments/{made['appointmentId']}/reschedule", json={"startsAt": there})
    assert (moved.status_code, moved.json["place"]) == (200, "Westlands, Ring Road 4")


def test_a_place_is_open_in_its_own_hours_and_closed_on_its_own_days(product: Product) -> None:
    service, westlands, karen = two_places(product)
    tenant_id, day = product.tenant_id(), the_day()
    with product.app.app_context(), transaction():
        place = db.session.query(Branch).filter_by(uid=westlands).one()
        branches.set_hours(place, [(weekday, 9 * 60, 11 * 60) for weekday in range(7)], actor="test")
    assert hours(product, service, branchId=westlands) == ["09:00", "09:30", "10:00", "10:30"]
    with product.app.app_context(), transaction():
        place = db.session.query(Branch).filter_by(uid=westlands).one()
        branches.add_closed_days(tenant_id, place, day, day, name="Painting", actor="test")
    assert hours(product, service, branchId=westlands) == [] and hours(product, service, branchId=karen) != []
    with product.app.app_context(), transaction():
        branches.add_closed_days(tenant_id, None, day, day + timedelta(days=1), name="Stocktaking", actor="test")
    assert hours(product, service) == []
    assert starts(product, service, day + timedelta(days=1)) == []
    assert starts(product, service, day + timedelta(days=2)) != []


def test_a_place_that_is_given_up_is_booked_no_more(product: Product) -> None:
    service, westlands, _karen = two_places(product)
    with product.app.app_context(), transaction():
        branches.close(db.session.query(Branch).filter_by(uid=westlands).one(), actor="test")
    assert hours(product, service)[0] == "13:00"
    assert slots(product, service, the_day(), branchId=westlands).status_code == 404


def test_another_clinics_place_is_not_known(product: Product) -> None:
    service, westlands, _karen = two_places(product)
    asked = product.client().get(
        "/api/portal/clinic/slots", query_string={"tenant": "bahari", "serviceId": service, "branchId": westlands}
    )
    assert asked.status_code == 404


# --- prices


def with_a_professor(product: Product) -> tuple[str, str]:
    """The service's id, and that of a clinician who takes 3,000 for it."""
    service = offer(product, needs_approval=False)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        professor = people.add_clinician(tenant_id, name="Prof Auma", actor="test")
        services.set_hours(professor, [(day, 18 * 60, 20 * 60) for day in range(7)], actor="test")
        professor.works_holidays = True
        mine = db.session.query(Service).filter_by(uid=service).one()
        services.give(mine, [*timetable.offering(mine), professor], actor="test")
        services.set_prices(mine, {professor.id: 300_000}, actor="test")
        return service, professor.uid


def test_a_clinicians_own_price_is_shown_and_booked(product: Product) -> None:
    service, professor = with_a_professor(product)
    items = slots(product, service, the_day()).json["items"]
    assert {(one["clinicianName"], one["price"]) for one in items} == {("Dr Wanjiru", 1500), ("Prof Auma", 3000)}
    evening = next(one["startsAt"] for one in items if one["clinicianId"] == professor)
    page = product.client().get(f"/clinic/mlima/book/{service}/details", query_string={"at": evening}).text
    assert "KES 3,000" in page and "KES 1,500" not in page
    made = booked(product, service, evening)
    assert product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["price"] == 3000


def change_price(product: Product, service: str, cents: int) -> None:
    with product.app.app_context(), transaction():
        services.set_price(db.session.query(Service).filter_by(uid=service).one(), cents, actor="test")


def test_a_price_that_changed_before_the_code_is_asked_for_again_and_nothing_is_lost(product: Product) -> None:
    service = offer(product, needs_approval=False)
    when = starts(product, service, the_day())[0]
    browser = product.client()
    page = browser.get(f"/clinic/mlima/book/{service}/details", query_string={"at": when}).text
    carried = {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)}
    change_price(product, service, 180_000)
    form = carried | {"name": "Achieng", "phone": "0712345678"}
    told = browser.post(f"/clinic/mlima/book/{service}/details", data=form)
    assert told.status_code == 409 and "The price is KES 1,800 now" in told.text and 'value="Achieng"' in told.text
    again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', told.text))
    sent = browser.post(
        f"/clinic/mlima/book/{service}/details",
        data={name: unescape(value) for name, value in again.items()} | {"name": "Achieng", "phone": "0712345678"},
    )
    assert sent.status_code == 303


def test_a_price_that_changed_after_the_code_is_shown_before_it_is_booked(product: Product) -> None:
    service = offer(product, needs_approval=False)
    when = starts(product, service, the_day())[0]
    begun = begin(product, service, when).json
    code = code_sent(product)
    assert begun["price"] == 1500
    change_price(product, service, 180_000)
    refused = confirm(product, begun["bookingId"], code)
    assert (refused.status_code, refused.json["error"]) == (409, "price_changed") and "KES 1,800" in refused.text
    page = product.client().post(f"/clinic/mlima/booking/{begun['bookingId']}", data={"code": code})
    assert page.status_code == 409 and 'name="price" value="180000"' in page.text
    with product.inside():
        assert db.session.query(Appointment).count() == 0
    agreed = product.client().post(
        f"/clinic/mlima/booking/{begun['bookingId']}", data={"code": code, "price": "180000"}
    )
    assert agreed.status_code == 303
    with product.inside():
        assert db.session.query(Appointment).one().price_cents == 180_000


def test_a_price_that_changes_while_a_visit_is_paid_changes_nothing_of_it(product: Product) -> None:
    service = offer(product, needs_approval=False)
    made = booked(product, service, starts(product, service, the_day())[0])
    change_price(product, service, 900_000)
    seen = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json
    assert (seen["price"], seen["amountDue"]) == (1500, 1500)


def test_a_stale_price_of_a_program_is_refused(product: Product) -> None:
    service = offer(product)
    when = starts(product, service, the_day())[0]
    refused = begin(product, service, when, price=1400)
    assert (refused.status_code, refused.json["error"]) == (409, "price_changed")
    assert begin(product, service, when, price=1500).status_code == 202


# --- series


def weekly(product: Product, service: str, when: str, count: int, *, leaves_out: bool = False) -> list[str]:
    """The beginnings of what was booked."""
    from datetime import datetime

    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        patient = people.register(tenant.id, name="Achieng", phone="0712345678", actor="test")
        mine = db.session.query(Service).filter_by(uid=service).one()
        (clinician,) = timetable.offering(mine)
        plan = series.Plan(mine, clinician, "onsite", datetime.fromisoformat(when), count, leaves_out)
        made = series.book(tenant, patient, plan, actor="test")
        return [f"{clock.nairobi(one.starts_at):%Y-%m-%dT%H:%M}" for one in made]


def test_eight_weeks_are_booked_in_one_go_on_the_clinics_clock(product: Product) -> None:
    service = offer(product, horizon_days=10)
    when = starts(product, service, the_day())[4]
    expected = [f"{the_day() + timedelta(days=7 * week)}T10:00" for week in range(8)]
    assert weekly(product, service, when, 8) == expected
    with product.inside():
        made = db.session.query(Appointment).all()
        assert len({one.series_id for one in made}) == 1 and {one.status for one in made} == {"pending_approval"}


def test_where_one_week_is_not_free_nothing_is_booked_and_the_week_is_named(product: Product) -> None:
    service = offer(product)
    when = starts(product, service, the_day())[4]
    taken = the_day() + timedelta(days=14)
    booked(product, service, f"{taken}T10:00:00+03:00")
    try:
        weekly(product, service, when, 4)
    except series.NotAllFree as error:
        assert f"{taken:%d/%m/%Y} 10:00" in str(error.message) and len(error.days) == 1
    else:
        raise AssertionError("it was booked")
    with product.inside():
        assert db.session.query(Appointment).count() == 1 and db.session.query(AppointmentSeries).count() == 0
    assert len(weekly(product, service, when, 4, leaves_out=True)) == 3


# --- a whole series cancelled


def in_series(product: Product, count: int = 3, **terms: Any) -> list[tuple[str, str]]:
    """(id, token) of each of some weekly visits, approved."""
    service = offer(product, **terms)
    weekly(product, service, starts(product, service, the_day())[4], count)
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        found = db.session.query(Appointment).order_by(Appointment.starts_at).all()
        for one in found:
            appointments.approve(tenant, one, actor="test", pay_url_of=lambda payment: payment.token)
        return [(one.uid, one.token) for one in found]


def statuses(product: Product) -> list[str]:
    with product.inside():
        return [one.status for one in db.session.query(Appointment).order_by(Appointment.starts_at)]


def test_staff_cancel_all_that_is_ahead_of_a_series(product: Product) -> None:
    visits = in_series(product)
    path = f"/staff/appointments/{visits[1][0]}"
    browser = product.browser_of("brian")
    page = browser.get(f"{path}/change").text
    assert "Cancel all 3 visits" in page
    answer = browser.post(
        f"{path}/cancel-series", data={"by": "clinic", "csrf_token": csrf_of(browser, "/staff/appointments/new")}
    )
    assert "3 visits cancelled" in browser.get(answer.headers["Location"]).text
    assert statuses(product) == ["cancelled"] * 3
    answer = browser.post(
        f"{path}/cancel-series", data={"by": "clinic", "csrf_token": csrf_of(browser, "/staff/appointments/new")}
    )
    assert "Nothing of this series is ahead any more" in browser.get(answer.headers["Location"]).text


def test_a_patient_cancels_of_a_series_what_may_still_be_changed(product: Product) -> None:
    visits = in_series(product, cancel_hours=120)
    token = visits[2][1]
    page = product.client().get(f"/visit/{token}").text
    assert "Cancel the 2 that can still be changed" in page, "the first one is too near"
    assert product.client().post(f"/visit/{token}/cancel-series").status_code == 303
    assert statuses(product) == ["approved", "cancelled", "cancelled"]
    assert product.client().post(f"/visit/{visits[0][1]}/cancel-series").status_code == 409


def test_of_two_who_cancel_a_series_at_once_each_visit_is_cancelled_by_one(either_product: Product) -> None:
    product = either_product
    visits = in_series(product)
    tenant_id = product.tenant_id()

    def by_staff() -> int:
        how: dict[str, Any] = {"why": "", "by": "clinic", "user_id": 1, "actor": "user:1"}
        return series.cancel(tenant_id, visits[0][0], **how).done

    done = together(product, by_staff, by_staff, lambda: series.cancel_by_patient(visits[1][1]).done)
    assert sum(done) == 3 and statuses(product) == ["cancelled"] * 3
    with product.inside():
        told = db.session.query(OutboxItem).filter(OutboxItem.key.like("sms/appointment/%/cancelled")).count()
        assert told == 3


# --- a service that is changed


def test_a_service_is_changed_and_what_is_booked_keeps_its_own_terms(product: Product) -> None:
    service = offer(product, deposit_cents=50_000, late_keeps_percent=20)
    made = booked(product, service, starts(product, service, the_day())[0])
    path = f"/staff/timetable/services/{service}"
    seen = re.search(r'name="seen"[^>]*value="(\w+)"', product.browser_of("amina").get(path).text)[1]  # type: ignore[index]
    with product.inside():
        uids = [one.uid for one in db.session.query(Clinician).filter_by(tenant_id=product.tenant_id())]
    form = SERVICE | {
        "name": "Longer visit", "price": "2000", "duration": "60", "late_keeps": "100", "deposit": "", "hold": "2",
        "position": "3", "clinicians": uids, "seen": seen,
    }  # fmt: skip
    assert post(product, path, **form).status_code == 303
    (shown,) = product.client().get("/api/portal/clinic/services?tenant=mlima").json["items"]
    assert (shown["name"], shown["price"], shown["durationMinutes"], shown["deposit"]) == (
        "Longer visit",
        2000,
        60,
        None,
    )
    refused = post(product, path, **form | {"name": "Lost"})
    assert refused.status_code == 409 and "Lost" in refused.text, "somebody changed it since that page was made"
    product.api("brian").post(f"/api/appointments/{made['appointmentId']}/approve")
    with product.inside():
        one = db.session.query(Appointment).one()
        kept = (one.duration_minutes, one.price_cents, one.deposit_cents, one.late_keeps_percent, one.hold_minutes)
        assert kept == (30, 150_000, 50_000, 20, 1_440)
        assert one.pay_by is not None and one.pay_by > clock.now() + timedelta(hours=23), "not the new two hours"


def test_who_gives_it_keeps_their_own_price_when_it_is_changed(product: Product) -> None:
    service = offer(product)
    with product.app.app_context(), transaction():
        mine = db.session.query(Service).filter_by(uid=service).one()
        (clinician,) = timetable.offering(mine)
        services.set_prices(mine, {clinician.id: 200_000}, actor="test")
        new = dataclasses.replace(services.offer_of(mine), name="Another name")
        services.change(mine, new, by=[clinician], seen=services.state_of(mine), actor="test")
        assert timetable.prices_of(mine) == {clinician.id: 200_000}


def test_terms_that_changed_while_somebody_books_are_shown_before_it_is_booked(product: Product) -> None:
    service = offer(product)
    begun = begin(product, service, starts(product, service, the_day())[0])
    with product.app.app_context(), transaction():
        mine = db.session.query(Service).filter_by(uid=service).one()
        new = dataclasses.replace(services.offer_of(mine), late_keeps_percent=100)
        services.change(mine, new, by=timetable.offering(mine), seen=services.state_of(mine), actor="test")
    uid, digits = begun.json["bookingId"], code_sent(product)
    refused = confirm(product, uid, digits)
    assert (refused.status_code, refused.json["error"]) == (409, "service_changed")
    page = product.client().post(f"/clinic/mlima/booking/{uid}", data={"code": digits})
    assert page.status_code == 409 and "Cancelled later, or missed, nothing comes back." in page.text
    shown = re.search(r'name="shown" value="(\w+)"', page.text)[1]  # type: ignore[index]
    assert (
        product.client().post(f"/clinic/mlima/booking/{uid}", data={"code": digits, "shown": shown}).status_code == 303
    )
    with product.inside():
        assert db.session.query(Appointment).one().late_keeps_percent == 100
