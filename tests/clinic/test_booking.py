"""Patients book a free time themselves: by a proved phone, never two people at once, on the clinic's clock."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from portal import fulfilment
from portal.clinic import appointments, services, timetable
from portal.clinic.models import Appointment, Booking, Clinician, OccupiedTime, Service
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.closing import close_payment
from portal.payments.models import Payment
from portal.web import limits
from tests.support.appointments import book as book_by_staff
from tests.support.booking import begin, booked, code_sent, confirm, offer, slots, starts
from tests.support.clock import later
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product
from tests.support.threads import together

# --- the contract


def test_what_is_offered_is_told_with_its_price_and_kinds(product: Product) -> None:
    service = offer(product)
    (only,) = product.client().get("/api/portal/clinic/services?tenant=mlima").json["items"]
    assert len(only.pop("version")) == 16
    assert only == {
        "id": service, "name": "Consultation", "durationMinutes": 30, "price": 1500, "kinds": ["onsite", "virtual"],
        "deposit": None, "terms": [
            "Cancelled at least 24 hours before it begins, all that you paid comes back, by M-Pesa to the phone that paid.",
            "To cancel later, please call the clinic.",
        ],
    }  # fmt: skip
    assert product.client().get("/api/portal/clinic/services?tenant=nobody").status_code == 404


def test_free_times_are_of_the_clinics_clock_and_working_hours(product: Product) -> None:
    service = offer(product)
    day = clock.nairobi(clock.now()).date() + timedelta(days=1)
    found = slots(product, service, day).json["items"]
    assert [one["startsAt"] for one in found] == [
        f"{day}T{hour:02}:{minute:02}:00+03:00" for hour in range(8, 17) for minute in (0, 30)
    ]
    assert found[0]["endsAt"] == f"{day}T08:30:00+03:00" and found[0]["clinicianName"] == "Dr Wanjiru"
    assert found[0]["kinds"] == ["onsite", "virtual"]


def test_a_visit_is_booked_with_the_code_that_was_sent_and_waits_for_approval(product: Product) -> None:
    service = offer(product)
    when = starts(product, service)[3]
    made = booked(product, service, when, phone="0712 345 678")
    assert made["status"] == "pending_approval" and len(made["token"]) >= 32
    assert when not in starts(product, service)
    seen = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json
    assert datetime.fromisoformat(seen["startsAt"]) == datetime.fromisoformat(when)
    assert seen["price"] == 1500 and seen["kind"] == "onsite" and seen["durationMinutes"] == 30
    patient = product.api("brian").get("/api/patients").json["items"][0]
    assert (patient["name"], patient["phone"]) == ("Achieng Otieno", "254712345678")


def test_without_approval_it_can_be_paid_at_once(product: Product) -> None:
    service = offer(product, needs_approval=False)
    made = booked(product, service, starts(product, service)[0])
    assert made["status"] == "approved"
    assert product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["payUrl"]


def test_a_wrong_code_books_nothing_and_five_end_it(product: Product) -> None:
    service = offer(product)
    when = starts(product, service)[0]
    begun = begin(product, service, when).json["bookingId"]
    right = code_sent(product)
    wrong = "000000" if right != "000000" else "111111"
    for _try in range(5):
        refused = confirm(product, begun, wrong)
        assert (refused.status_code, refused.json["error"]) == (422, "wrong_code"), refused.text
    over = confirm(product, begun, right)
    assert (over.status_code, over.json["error"]) == (409, "code_over")
    assert when in starts(product, service)
    with product.inside():
        assert db.session.query(Appointment).count() == 0


def test_a_code_is_over_after_a_quarter_of_an_hour(product: Product) -> None:
    service = offer(product)
    begun = begin(product, service, starts(product, service)[5]).json["bookingId"]
    code = code_sent(product)
    later(15 * 60 + 1)
    assert confirm(product, begun, code).json["error"] == "code_over"


def test_the_same_code_twice_is_one_visit(product: Product) -> None:
    service = offer(product)
    begun = begin(product, service, starts(product, service)[0]).json["bookingId"]
    code = code_sent(product)
    first, again = confirm(product, begun, code), confirm(product, begun, code)
    assert (first.status_code, again.status_code) == (201, 201) and first.json == again.json
    with product.inside():
        assert db.session.query(Appointment).count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"startsAt": "soon"}, "startsAt"), ({"startsAt": "2020-01-01T09:00:00+03:00"}, "startsAt"),
        ({"kind": "by post"}, "kind"), ({"name": "   "}, "name"), ({"name": "x" * 10_000}, "name"),
        ({"phone": "12"}, "phone"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_booking_is_named(product: Product, change: dict[str, Any], field: str) -> None:
    service = offer(product)
    refused = begin(product, service, starts(product, service)[0], **change)
    assert refused.status_code == 422
    assert field in refused.json["fields"] or refused.json["message"].startswith(field), refused.text


def test_a_time_that_is_not_offered_cannot_be_booked(product: Product) -> None:
    service = offer(product)
    day = clock.nairobi(clock.now()).date() + timedelta(days=1)
    for when in (f"{day}T07:30:00+03:00", f"{day}T08:10:00+03:00", f"{day}T17:00:00+03:00"):
        refused = begin(product, service, when)
        assert (refused.status_code, refused.json["error"]) == (409, "slot_taken"), when


def test_a_phone_gets_five_codes_an_hour(product: Product) -> None:
    service = offer(product)
    times = starts(product, service)
    phone = new_phone()
    assert [begin(product, service, times[at], phone=phone).status_code for at in range(5)] == [202] * 5
    refused = begin(product, service, times[5], phone=phone)
    assert refused.status_code == 429 and 0 < int(refused.headers["Retry-After"]) <= 3_601
    assert begin(product, service, times[5]).status_code == 202


# --- nobody is booked twice (wishes 29 and 30)


def _asked_for(product: Product, slug: str, service: str, count: int) -> None:
    """So many bookings of other phones, a minute ago."""
    tenant_id, now = product.tenant_id(slug), clock.now()
    with product.app.app_context(), transaction():
        offered = db.session.query(Service).filter_by(uid=service).one()
        rows = [
            {
                "tenant_id": tenant_id, "service_id": offered.id, "kind": "onsite", "name_sealed": "x",
                "phone_sealed": "x", "phone_hash": f"{slug}{n}", "price_cents": 0, "code_hash": "x", "uid": f"{slug}{n}",
                "created_at": now - timedelta(minutes=1), "starts_at": now, "expires_at": now,
            }
            for n in range(count)
        ]  # fmt: skip
        db.session.execute(insert(Booking), rows)


def test_a_clinic_is_sent_three_hundred_codes_an_hour_whatever_is_asked_of_others(product: Product) -> None:
    mlima, bahari = offer(product), offer(product, "bahari")
    first, second = starts(product, mlima)[:2]
    _asked_for(product, "bahari", bahari, 300)
    _asked_for(product, "mlima", mlima, 299)
    assert begin(product, mlima, first).status_code == 202
    refused = begin(product, mlima, second)
    assert refused.status_code == 429 and 3_500 < int(refused.headers["Retry-After"]) <= 3_600
    later(3_600)
    assert begin(product, mlima, second).status_code == 202


def test_one_network_cannot_use_up_what_a_clinic_may_send_by_going_through_two_doors(product: Product) -> None:
    """The pages gave it 240 an hour and the API 60 more: all of a clinic's 300."""
    service = offer(product)
    at = starts(product, service)[0]
    with product.app.test_request_context(environ_base={"REMOTE_ADDR": "127.0.0.1"}):
        for _time in range(60):
            limits.wrong_guess("booking", product.tenant_id())
    assert begin(product, service, at).status_code == 429


def test_of_two_patients_who_want_one_time_the_first_code_has_it(product: Product) -> None:
    service = offer(product)
    when = starts(product, service)[0]
    one = begin(product, service, when).json["bookingId"]
    code_of_one = code_sent(product)
    other = begin(product, service, when).json["bookingId"]
    code_of_other = code_sent(product)
    assert confirm(product, other, code_of_other).status_code == 201
    late = confirm(product, one, code_of_one)
    assert (late.status_code, late.json["error"]) == (409, "slot_taken")


def test_patients_who_show_their_codes_at_once_never_share_a_time(either_product: Product) -> None:
    product = either_product
    service = offer(product)
    when = starts(product, service)[0]
    codes = []
    for _n in range(6):
        begun = begin(product, service, when).json["bookingId"]
        codes.append((begun, code_sent(product)))
    answers = together(
        product,
        *[lambda one=one: confirm(product, *one).status_code for one in codes],  # type: ignore[misc]
    )
    assert sorted(answers) == [201, 409, 409, 409, 409, 409]
    with product.inside():
        assert db.session.query(Appointment).count() == 1
        assert db.session.query(OccupiedTime).count() == 6, "half an hour is six pieces of five minutes"


def test_staff_cannot_book_a_taken_time_but_with_a_reason(product: Product) -> None:
    made = book_by_staff(product).json
    begins = datetime.fromisoformat(made["startsAt"])
    overlapping = (begins + timedelta(minutes=40)).isoformat()
    refused = book_by_staff(product, startsAt=overlapping)
    assert (refused.status_code, refused.json["error"]) == (409, "slot_taken")
    allowed = book_by_staff(product, startsAt=overlapping, overlapReason="An emergency")
    assert allowed.status_code == 201
    behind = book_by_staff(product, startsAt=(begins + timedelta(minutes=50)).isoformat())
    assert behind.status_code == 201, "what overlaps with a reason takes no time of its own"


def test_a_reason_to_be_beside_another_visit_leaves_no_free_time_to_others(product: Product) -> None:
    """Where nobody is at that time, it is taken like any other: else somebody books it, and two people come."""
    service = offer(product)
    when = starts(product, service)[4]
    made = book_by_staff(product, startsAt=when, durationMinutes=30, overlapReason="An emergency")
    assert made.status_code == 201 and when not in starts(product, service)
    assert begin(product, service, when).status_code == 409


@pytest.mark.parametrize("ending", ["decline", "cancel"])
def test_a_visit_that_ends_gives_its_time_back(product: Product, ending: str) -> None:
    service = offer(product)
    when = starts(product, service)[2]
    made = booked(product, service, when)
    assert product.api("wanjiru").post(f"/api/appointments/{made['appointmentId']}/{ending}").status_code == 200
    assert when in starts(product, service)


def test_a_moved_visit_takes_its_new_time_and_gives_the_old_one_back(product: Product) -> None:
    service = offer(product)
    first, second, third = starts(product, service)[:3]
    made = booked(product, service, first)
    booked(product, service, third)
    path = f"/api/appointments/{made['appointmentId']}/reschedule"
    refused = product.api("brian").post(path, json={"startsAt": third})
    assert (refused.status_code, refused.json["error"]) == (409, "slot_taken")
    assert first not in starts(product, service), "what was refused changed nothing"
    moved = product.api("brian").post(path, json={"startsAt": second})
    assert moved.status_code == 200
    assert datetime.fromisoformat(moved.json["startsAt"]) == datetime.fromisoformat(second)
    assert first in starts(product, service) and second not in starts(product, service)


def test_a_visit_beside_another_one_takes_the_time_that_it_is_moved_to(product: Product) -> None:
    """The reason was for its first time: two people in the next one would need another."""
    service = offer(product, needs_approval=False)
    free = starts(product, service)
    booked(product, service, free[0])
    with product.app.app_context(), transaction():
        first = db.session.query(Appointment).one()
        beside = appointments.book(
            first.tenant, patient=first.patient, clinician=first.clinician, kind="onsite",
            starts_at=first.starts_at + timedelta(minutes=10), duration_minutes=30, price_cents=100,
            service=first.service, overlap_why="An emergency", actor="test",
        )  # fmt: skip
        appointments.reschedule(beside, first.starts_at + timedelta(hours=1), actor="test")
        assert beside.overlap_why == ""
    assert free[2] not in starts(product, service) and free[3] in starts(product, service)


def test_who_works_here_no_more_is_booked_with_by_no_approval(product: Product) -> None:
    service = offer(product)
    made = booked(product, service, starts(product, service)[0])
    with product.app.app_context(), transaction():
        db.session.query(Appointment).one().clinician.left_at = clock.now()
    refused = product.api("amina").post(f"/api/appointments/{made['appointmentId']}/approve")
    assert (refused.status_code, refused.json["error"]) == (409, "has_left")


def test_a_code_books_no_service_that_was_withdrawn_meanwhile(product: Product) -> None:
    service = offer(product)
    begun = begin(product, service, starts(product, service)[0])
    with product.app.app_context(), transaction():
        services.withdraw(db.session.query(Service).one(), actor="test")
    refused = confirm(product, begun.json["bookingId"], code_sent(product))
    assert (refused.status_code, refused.json["error"]) == (404, "unknown_service")


def test_what_a_visit_keeps_free_behind_it_reaches_past_midnight(product: Product) -> None:
    service = offer(product, needs_approval=False, buffer_minutes=15)
    with product.app.app_context(), transaction():
        for one in db.session.query(Clinician):
            services.set_hours(one, [(day, 0, 1_440) for day in range(7)], actor="test")
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    assert starts(product, service, day)[-1] == f"{day}T23:30:00+03:00"
    booked(product, service, starts(product, service, day + timedelta(days=1))[0])
    assert starts(product, service, day)[-1] == f"{day}T23:00:00+03:00"


def test_a_paid_visit_that_is_moved_stays_paid(product: Product) -> None:
    service = offer(product, needs_approval=False)
    first, second = starts(product, service)[:2]
    made = booked(product, service, first)
    pay(product, made["appointmentId"])
    path = f"/api/appointments/{made['appointmentId']}/reschedule"
    moved = product.api("brian").post(path, json={"startsAt": second}).json
    assert (moved["status"], moved["amountDue"]) == ("confirmed", 0)


def pay(product: Product, appointment: str) -> None:
    token = product.api("brian").get(f"/api/appointments/{appointment}").json["paymentId"]
    product.callback(product.pushed(token), receipt=receipt(77))
    product.work()


# --- the deadline


def test_an_approved_visit_that_is_not_paid_in_time_gives_its_time_to_others(either_product: Product) -> None:
    product = either_product
    service = offer(product, needs_approval=False, hold_minutes=30)
    when = starts(product, service)[4]
    made = booked(product, service, when)
    later(29 * 60)
    run(product)
    assert when not in starts(product, service)
    later(2 * 60)
    run(product)
    seen = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json
    assert (seen["status"], seen["amountDue"], seen["payUrl"]) == ("cancelled", 0, None)
    assert when in starts(product, service)
    with product.inside():
        told = [payload_of(one)["text"] for one in db.session.query(OutboxItem).filter_by(about="appointment")]
    assert any("not paid in time" in text for text in told)


def test_a_time_is_held_for_its_payer_until_the_visit_begins_and_no_longer(product: Product) -> None:
    service = offer(product, needs_approval=False, hold_minutes=10 * 24 * 60)
    made = booked(product, service, starts(product, service)[4])
    with product.inside():
        one = db.session.query(Appointment).filter_by(uid=made["appointmentId"]).one()
        assert one.pay_by == one.starts_at


def test_a_visit_whose_payment_was_closed_keeps_no_time_from_others(product: Product) -> None:
    service = offer(product, needs_approval=False, hold_minutes=30)
    when = starts(product, service)[4]
    made = booked(product, service, when)
    token = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["paymentId"]
    with product.app.app_context(), transaction():
        close_payment(db.session.query(Payment).filter_by(token=token).one(), why="Switched.", actor="test")
    later(31 * 60)
    run(product)
    assert product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["status"] == "cancelled"
    assert when in starts(product, service)


def test_while_a_prompt_may_still_bring_the_money_the_time_waits(product: Product) -> None:
    service = offer(product, needs_approval=False, hold_minutes=30)
    when = starts(product, service)[4]
    made = booked(product, service, when)
    token = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["paymentId"]
    later(29 * 60)
    push = product.pushed(token)
    later(2 * 60)
    run(product)
    assert when not in starts(product, service)
    product.callback(push, receipt=receipt(5))
    product.work()
    assert product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["status"] == "confirmed"
    later(60 * 60)
    run(product)
    assert product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["status"] == "confirmed"


def run(product: Product) -> None:
    with product.app.app_context():
        appointments.release_unpaid()
        db.session.remove()


def test_one_visit_that_cannot_be_released_holds_up_no_other(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    service = offer(product, needs_approval=False, hold_minutes=30)
    first, second = starts(product, service)[:2]
    stuck, _other = booked(product, service, first), booked(product, service, second)
    released = appointments._release

    def fails_for_the_first(appointment_id: int) -> None:
        if db.session.get_one(Appointment, appointment_id).uid == stuck["appointmentId"]:
            raise RuntimeError("broken")
        released(appointment_id)

    monkeypatch.setattr(appointments, "_release", fails_for_the_first)
    later(31 * 60)
    run(product)
    found = starts(product, service)
    assert second in found and first not in found


# --- hours, leave, holidays, notice


def service_of(product: Product, uid: str) -> Service:
    return db.session.query(Service).filter_by(uid=uid).one()


def test_leave_and_public_holidays_have_no_free_times(product: Product) -> None:
    service = offer(product)
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    with product.app.app_context(), transaction():
        (one,) = db.session.query(Clinician).filter_by(tenant_id=product.tenant_id()).all()
        noon = datetime.combine(day, datetime.min.time(), clock.NAIROBI) + timedelta(hours=12)
        services.add_leave(one, noon, noon + timedelta(hours=2), actor="test")
    hours = {one[11:16] for one in starts(product, service, day)}
    assert "11:30" in hours and "14:00" in hours
    assert hours.isdisjoint({"12:00", "12:30", "13:00", "13:30"})


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2026, 12, 12), True), (date(2026, 12, 25), True), (date(2026, 6, 1), True), (date(2026, 12, 11), False)],
)
def test_kenyas_public_holidays_are_known(day: date, expected: bool) -> None:
    """Jamhuri, Christmas and Madaraka Day."""
    assert timetable.is_holiday(day) is expected


def test_who_does_not_work_on_holidays_has_no_free_time_then(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    service = offer(product)
    with product.app.app_context(), transaction():
        db.session.query(Clinician).update({"works_holidays": False})
    day = clock.nairobi(clock.now()).date() + timedelta(days=2)
    monkeypatch.setattr(timetable, "is_holiday", lambda asked: asked == day)
    assert starts(product, service, day) == []
    assert starts(product, service, day + timedelta(days=1)) != []


def test_notice_horizon_and_buffer_are_kept(product: Product) -> None:
    service = offer(product, notice_minutes=24 * 60, horizon_days=5, buffer_minutes=15)
    today = clock.nairobi(clock.now()).date()
    assert starts(product, service, today) == []
    assert starts(product, service, today + timedelta(days=6)) == []
    day = today + timedelta(days=3)
    booked(product, service, f"{day}T10:00:00+03:00")
    hours = [one[11:16] for one in starts(product, service, day)]
    assert "10:00" not in hours and "10:30" not in hours and "09:30" not in hours and "11:00" in hours


@pytest.mark.parametrize("query", [{"from": "soon"}, {"to": "2020-01-01"}, {"to": "2099-01-01"}])
def test_days_that_are_none_or_too_many_are_named(product: Product, query: dict[str, str]) -> None:
    refused = slots(product, offer(product), **query)
    assert refused.status_code == 422 and set(refused.json["fields"]) <= {"from", "to"}


@given(minute=st.integers(0, 1439), minutes=st.integers(5, 600))
def test_the_pieces_of_a_visit_cover_it_and_nothing_more(minute: int, minutes: int) -> None:
    begins = datetime(2026, 11, 23, tzinfo=clock.NAIROBI) + timedelta(minutes=minute)
    found = timetable.pieces(begins, minutes)
    assert found[0] <= begins < found[0] + timedelta(minutes=5)
    assert found[-1] < begins + timedelta(minutes=minutes) <= found[-1] + timedelta(minutes=5)
    assert all(after - before == timedelta(minutes=5) for before, after in zip(found, found[1:], strict=False))
    assert all(one.minute % 5 == 0 for one in found)


# --- after the visit, and what was told


def test_a_confirmed_visit_is_completed_or_missed_once(product: Product) -> None:
    service = offer(product, needs_approval=False)
    first, second = starts(product, service)[:2]
    came, missed = booked(product, service, first), booked(product, service, second)
    refused = product.api("brian").post(f"/api/appointments/{came['appointmentId']}/complete")
    assert refused.status_code == 409, "not paid yet"
    for made in (came, missed):
        token = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["paymentId"]
        product.callback(product.pushed(token), receipt=receipt(200 + (made is missed)))
        product.work()
    done = product.api("wanjiru").post(f"/api/appointments/{came['appointmentId']}/complete")
    assert (done.status_code, done.json["status"]) == (200, "completed")
    gone = product.api("brian").post(f"/api/appointments/{missed['appointmentId']}/no-show")
    assert (gone.status_code, gone.json["status"]) == (200, "no_show")
    assert product.api("brian").post(f"/api/appointments/{missed['appointmentId']}/complete").status_code == 409


def test_what_patients_were_told_is_listed_with_masked_numbers(product: Product) -> None:
    service = offer(product)
    booked(product, service, starts(product, service)[0], phone="0712345678")
    answer = product.api("brian").get("/api/notifications")
    told = answer.json["items"]
    assert [one["kind"] for one in told] == ["appointment_asked_for", "booking_code"]
    only = told[1]
    assert only["channel"] == "sms" and only["kind"] == "booking_code" and only["to"] == "********5678"
    assert only["state"] in ("waiting", "sent", "skipped") and only["cost"] is None
    assert "712345678" not in answer.text
    assert product.api("chege", slug="bahari").get("/api/notifications").json["items"] == []


def test_a_family_that_shares_a_phone_is_told_apart_by_name(product: Product) -> None:
    service = offer(product)
    times, phone = starts(product, service), new_phone()
    for at, name in enumerate(("Achieng Otieno", "Baraka Otieno", "achieng  otieno")):
        booked(product, service, times[at], phone=phone, name=name)
    with product.inside():
        of_visits = [one.patient_id for one in db.session.query(Appointment).order_by(Appointment.id)]
        assert of_visits[0] == of_visits[2] != of_visits[1]
        assert db.session.query(Booking).filter(Booking.appointment_id.is_(None)).count() == 0
        fulfilment.deliver_paid()
