"""What gets free is offered to who waits, one after the other, and paying claims it (wish 32)."""

import re
from datetime import datetime, timedelta
from typing import Any

from portal import fulfilment
from portal.clinic import appointments, services, timetable, waiting
from portal.clinic.models import Appointment, Booking, Clinician, Service, WaitingWish
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from tests.support.booking import booked, code_sent, confirm, offer, starts
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.threads import together


def full_day(product: Product, **terms: Any) -> tuple[str, str, list[dict[str, Any]]]:
    """A service whose only two times of a day are booked: its id, the day, the visits."""
    service = offer(product, needs_approval=False, kinds=("onsite",), **terms)
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        one = db.session.query(Clinician).filter_by(tenant_id=tenant_id).one()
        services.set_hours(one, [(day.weekday(), 9 * 60, 10 * 60)], actor="test")
    made = [booked(product, service, when) for when in starts(product, service, day)]
    assert len(made) == 2 and starts(product, service, day) == []
    return service, day.isoformat(), made


def join(product: Product, service: str, day: str, phone: str, name: str = "Baraka", **changes: str) -> Any:
    form = {"name": name, "phone": phone, "first": day, "last": day, "kind": "onsite"} | changes
    answer = ask(product, service, **form)
    if answer.status_code == 303:
        proved = product.client().post(f"{answer.headers['Location']}/prove", data={"code": code_sent(product)})
        assert proved.status_code == 303, proved.text
    return answer


def ask(product: Product, service: str, **form: str) -> Any:
    """The form alone: the phone is not shown to be theirs yet."""
    return product.client().post(f"/clinic/mlima/wait/{service}", data=form)


def offer_what_is_free(product: Product) -> None:
    with product.app.app_context():
        appointments.release_unpaid()
        fulfilment.offer_waiting()
        db.session.remove()


def cancel(product: Product, made: dict[str, Any]) -> None:
    assert product.api("brian").post(f"/api/appointments/{made['appointmentId']}/cancel").status_code == 200


def offers(product: Product) -> list[tuple[str, str]]:
    """(phone, text) of each offer that was sent, in order."""
    with product.inside():
        sent = [payload_of(one) for one in db.session.query(OutboxItem).filter_by(kind="sms").order_by(OutboxItem.id)]
    return [(one["to"], one["text"]) for one in sent if "A time got free" in one["text"]]


def states(product: Product) -> list[str]:
    with product.inside():
        return [one.state for one in db.session.query(WaitingWish).order_by(WaitingWish.id)]


def test_the_longest_waiting_is_asked_first_and_paying_claims_it(product: Product) -> None:
    service, day, made = full_day(product)
    first, second = join(product, service, day, "0722000001"), join(product, service, day, "0722000002")
    assert (first.status_code, second.status_code) == (303, 303)
    offer_what_is_free(product)
    assert offers(product) == [], "nothing is free"
    cancel(product, made[0])
    offer_what_is_free(product)
    ((to, text),) = offers(product)
    assert to == "254722000001" and f"{first.headers['Location']}" in text and "KES 1,500" in text
    assert states(product) == ["offered", "waiting"]
    assert starts(product, service, clock.nairobi(clock.now()).date() + timedelta(days=3)) == []
    page = product.client().get(first.headers["Location"]).text
    token = re.search(r'href="/pay/(\w+)"', page)[1]  # type: ignore[index]
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    assert states(product) == ["taken", "waiting"]
    assert "The time is yours" in product.client().get(first.headers["Location"]).text
    later(3600 * 2)
    offer_what_is_free(product)
    assert len(offers(product)) == 1


def test_who_does_not_pay_in_half_an_hour_loses_it_to_the_next_one(product: Product) -> None:
    service, day, made = full_day(product)
    for number in (1, 2):
        join(product, service, day, f"072200000{number}")
    cancel(product, made[1])
    offer_what_is_free(product)
    later(29 * 60)
    offer_what_is_free(product)
    assert [to for to, _text in offers(product)] == ["254722000001"]
    later(2 * 60)
    offer_what_is_free(product)
    assert [to for to, _text in offers(product)] == ["254722000001", "254722000002"]
    assert states(product) == ["over", "offered"]
    later(31 * 60)
    offer_what_is_free(product)
    assert states(product) == ["over", "over"]
    assert len(starts(product, service, datetime.fromisoformat(day).date())) == 1, "free for everybody again"


def test_who_says_no_thank_you_hands_it_on_at_once(product: Product) -> None:
    service, day, made = full_day(product)
    pages = [join(product, service, day, f"072200000{number}").headers["Location"] for number in (1, 2)]
    cancel(product, made[0])
    offer_what_is_free(product)
    assert product.client().post(f"{pages[0]}/withdraw").status_code == 303
    offer_what_is_free(product)
    assert [to for to, _text in offers(product)] == ["254722000001", "254722000002"]
    assert product.client().post(f"{pages[0]}/withdraw").status_code == 409


def test_who_withdraws_before_is_asked_nothing(product: Product) -> None:
    service, day, made = full_day(product)
    page = join(product, service, day, "0722000001").headers["Location"]
    assert product.client().post(f"{page}/withdraw").status_code == 303
    cancel(product, made[0])
    offer_what_is_free(product)
    assert offers(product) == [] and states(product) == ["withdrawn"]


def test_two_workers_offer_one_time_to_one_person(either_product: Product) -> None:
    product = either_product
    service, day, made = full_day(product)
    for number in (1, 2, 3):
        join(product, service, day, f"072200000{number}")
    cancel(product, made[0])
    together(product, fulfilment.offer_waiting, fulfilment.offer_waiting, fulfilment.offer_waiting)
    assert sorted(states(product)) == ["offered", "waiting", "waiting"]
    with product.inside():
        held = db.session.query(Appointment).filter_by(status="approved").count()
    assert held == 2, "the one that stays booked, and the one that is offered"


def test_days_with_free_times_are_booked_not_waited_for(product: Product) -> None:
    service, day, made = full_day(product)
    cancel(product, made[0])
    refused = join(product, service, day, "0722000001")
    assert refused.status_code == 409 and "These days have free times" in refused.text


def test_bad_days_and_too_many_wishes_are_told(product: Product) -> None:
    service, day, _made = full_day(product)
    assert join(product, service, day, "0722000001", last="2020-01-01").status_code == 422
    assert join(product, service, day, "0722000001", name="x" * 10_000).status_code == 422
    assert join(product, service, day, "12").status_code == 422
    for number in range(3):
        assert join(product, service, day, "0722000001", name=f"Child {number}").status_code == 303
    assert join(product, service, day, "0722000001").status_code == 429
    assert join(product, service, day, "0722000002").status_code == 303, "another phone's wishes are not counted"


def test_what_is_offered_no_more_is_offered_to_nobody_who_waits(product: Product) -> None:
    service, day, made = full_day(product)
    join(product, service, day, "0722000001")
    with product.app.app_context(), transaction():
        services.withdraw(db.session.query(Service).filter_by(uid=service).one(), actor="test")
    cancel(product, made[0])
    offer_what_is_free(product)
    assert offers(product) == [] and states(product) == ["over"]


def test_who_waits_is_listed_to_the_clinic_and_to_no_other(product: Product) -> None:
    service, day, _made = full_day(product)
    join(product, service, day, "0722000001")
    assert "Baraka" in product.browser_of("amina").get("/staff/timetable").text
    assert "Baraka" not in product.browser_of("chege").get("/staff/timetable").text


def test_one_wish_that_cannot_be_offered_holds_up_no_other(product: Product, monkeypatch: Any) -> None:
    service, day, made = full_day(product)
    for number in (1, 2):
        join(product, service, day, f"072200000{number}")
    cancel(product, made[0])
    hold = waiting._hold

    def fails_for_the_first(wish: WaitingWish, *rest: Any) -> None:
        if wish.id == 1:
            raise RuntimeError("broken")
        hold(wish, *rest)

    monkeypatch.setattr(waiting, "_hold", fails_for_the_first)
    offer_what_is_free(product)
    assert states(product) == ["waiting", "offered"]


def test_a_time_in_the_next_hour_is_offered_to_nobody(product: Product) -> None:
    service, day, made = full_day(product)
    join(product, service, day, "0722000001")
    with product.inside():
        begins = db.session.query(Appointment).filter_by(uid=made[0]["appointmentId"]).one().starts_at
    later((begins - timedelta(minutes=50) - clock.now()).total_seconds())
    product.tokens.clear()
    with product.app.app_context(), transaction():
        one = db.session.query(Appointment).filter_by(uid=made[0]["appointmentId"]).one()
        timetable.release(one)
    offer_what_is_free(product)
    assert [text for _to, text in offers(product) if "09:00" in text] == []


def test_a_phone_that_nobody_showed_to_be_theirs_is_offered_nothing(product: Product) -> None:
    service, day, made = full_day(product)
    asked = ask(product, service, name="Baraka", phone="0722000001", first=day, last=day, kind="onsite")
    page = asked.headers["Location"]
    assert asked.status_code == 303 and "Enter the code" in product.client().get(page).text
    cancel(product, made[0])
    offer_what_is_free(product)
    assert offers(product) == [] and states(product) == ["unproved"]
    digits = code_sent(product)
    wrong = product.client().post(f"{page}/prove", data={"code": f"{(int(digits) + 1) % 1_000_000:06}"})
    assert wrong.status_code == 422 and "This code is not right" in wrong.text and states(product) == ["unproved"]
    for _again in range(2):
        assert product.client().post(f"{page}/prove", data={"code": digits}).status_code == 303
    offer_what_is_free(product)
    assert len(offers(product)) == 1 and states(product) == ["offered"]


def test_a_code_for_the_list_is_tried_five_times_and_books_nothing(product: Product) -> None:
    service, day, _made = full_day(product)
    page = ask(product, service, name="Baraka", phone="0722000001", first=day, last=day, kind="onsite").headers[
        "Location"
    ]
    digits = code_sent(product)
    with product.inside():
        booking = db.session.query(Booking).filter(Booking.wish_id.is_not(None)).one().uid
    assert confirm(product, booking, digits).status_code == 404, "a place on the list is no visit"
    for _wrong in range(5):
        product.client().post(f"{page}/prove", data={"code": f"{(int(digits) + 1) % 1_000_000:06}"})
    assert product.client().post(f"{page}/prove", data={"code": digits}).status_code == 409
    assert states(product) == ["unproved"]
