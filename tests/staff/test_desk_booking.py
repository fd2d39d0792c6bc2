"""Booking for who calls or walks in, in three actions; visits moved and cancelled at the desk; a clinician who leaves."""

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest

from portal.clinic import people, services, timetable
from portal.clinic.models import Appointment, Clinician, Patient, Service
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Refund
from portal.users import permissions
from portal.users.models import User
from tests.support.booking import booked, offer, starts
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import with_initiator
from tests.support.visitors import csrf_of

NEW = "/staff/appointments/new"
PHONE = "0712 345 678"


def ask(product: Product, service: str, browser: Any = None, **changes: Any) -> Any:
    """The desk's form, sent."""
    browser = browser or product.browser_of("brian")
    form = {
        "phone": PHONE, "name": "Achieng Otieno", "service": service, "kind": "onsite",
        "day": str(clock.nairobi(clock.now()).date() + timedelta(days=2)), "csrf_token": csrf_of(browser, NEW),
    }  # fmt: skip
    return browser.post(NEW, data=form | changes)


def free(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'name="slot" value="([^"]+)"', page)]


def visits(product: Product) -> list[Appointment]:
    return db.session.query(Appointment).order_by(Appointment.id).all()


def test_a_caller_is_booked_in_three_actions(product: Product) -> None:
    service = offer(product)
    browser = product.browser_of("brian")
    assert browser.get(NEW).status_code == 200
    page = ask(product, service, browser).text
    done = ask(product, service, browser, slot=free(page)[3])
    assert done.status_code == 303, done.text
    with product.inside():
        (one,) = visits(product)
        assert (one.status, one.price_cents, people.name_of(one.patient)) == ("approved", 150_000, "Achieng Otieno")
        assert f"{clock.nairobi(one.starts_at):%H:%M}" == "09:30"
    assert "Achieng Otieno" in browser.get("/staff/appointments").text


def test_of_what_the_desk_books_the_clinician_is_told_that_it_is_booked(product: Product) -> None:
    """They were told that it waits for their approval, of a visit that was approved as it was booked."""
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        user = db.session.query(User).filter_by(email="wanjiru@mlima.test").one()
        db.session.query(Clinician).filter_by(tenant_id=tenant_id).update({"user_id": user.id})
    service = offer(product)
    ask(product, service, slot=free(ask(product, service).text)[0])
    with product.inside():
        letters = db.session.query(OutboxItem).filter(OutboxItem.key.endswith("/clinician")).all()
        told = [payload_of(one)["text"] for one in letters if one.kind == "email" and one.state == "new"]
    assert len(told) == 1 and "A new appointment: " in told[0]
    assert "waits for your approval" not in product.browser_of("wanjiru").get("/staff/").text


def test_who_is_known_by_phone_is_chosen_and_not_made_again(product: Product) -> None:
    service = offer(product)
    ask(product, service, slot=free(ask(product, service).text)[0])
    page = ask(product, service, name="").text
    assert "Achieng Otieno" in page
    uid = re.search(r'name="patient" id="patient-1" value="(\w+)"', page)[1]  # type: ignore[index]
    assert ask(product, service, name="", patient=uid, slot=free(page)[0]).status_code == 303
    with product.inside():
        assert len({one.patient_id for one in visits(product)}) == 1
        assert len(visits(product)) == 2


def test_a_patient_of_another_phone_is_not_booked_by_a_made_up_form(product: Product) -> None:
    service = offer(product)
    ask(product, service, slot=free(ask(product, service).text)[0])
    with product.inside():
        uid = db.session.query(Patient).order_by(Patient.id.desc()).first().uid  # type: ignore[union-attr]
    page = ask(product, service, phone="0722 000 111").text
    answer = ask(product, service, phone="0722 000 111", name="", patient=uid, slot=free(page)[0])
    assert answer.status_code == 422 and "Enter the name of who comes." in answer.text


def test_a_taken_time_is_told_and_what_was_typed_stays(product: Product) -> None:
    service = offer(product)
    slot = free(ask(product, service).text)[0]
    assert ask(product, service, slot=slot).status_code == 303
    refused = ask(product, service, name="Baraka", phone="0722 000 111", slot=slot)
    assert refused.status_code == 409 and "Baraka" in refused.text and free(refused.text)


def test_beside_another_visit_only_with_a_reason(product: Product) -> None:
    service = offer(product)
    slot = free(ask(product, service).text)[0]
    ask(product, service, slot=slot)
    uid, _bar, at = slot.partition("|")
    without = ask(product, service, name="Baraka", at=at[:16], clinician=uid)
    assert without.status_code == 200, "no reason, nothing booked"
    done = ask(product, service, name="Baraka", at=at[:16], clinician=uid, overlap_why="An emergency")
    assert done.status_code == 303
    with product.inside():
        first, second = visits(product)
        assert first.starts_at == second.starts_at and second.overlap_why == "An emergency"


def test_a_visit_beside_another_that_is_sent_twice_is_one(product: Product) -> None:
    """It takes no time of its own, so nothing else keeps a second press from booking it again."""
    service = offer(product)
    slot = free(ask(product, service).text)[0]
    uid, _bar, at = slot.partition("|")
    form = {"at": at[:16], "clinician": uid, "overlap_why": "An emergency"}
    assert ask(product, service, **form).status_code == 303
    again = ask(product, service, **form)
    assert again.status_code == 409 and "has this visit already" in again.text
    with product.inside():
        assert len(visits(product)) == 1


def test_eight_weeks_in_one_go_or_a_list_of_what_is_not_free(product: Product) -> None:
    service = offer(product)
    page = ask(product, service).text
    slot = free(page)[2]
    _uid, _bar, at = slot.partition("|")
    taken = datetime.fromisoformat(at) + timedelta(days=14)
    booked(product, service, taken.isoformat())
    refused = ask(product, service, slot=slot, weeks="4")
    assert refused.status_code == 409 and f"Not free: {taken:%d/%m/%Y %H:%M}" in refused.text
    done = ask(product, service, slot=slot, weeks="4", leaves_out="y")
    assert done.status_code == 303
    with product.inside():
        assert [one.status for one in visits(product)][1:] == ["approved"] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"phone": "12"}, {"name": "x" * 10_000}, {"service": ""}, {"kind": "by post"}, {"weeks": "500"},
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(product: Product, changes: dict[str, str]) -> None:
    service = offer(product)
    answer = ask(product, changes.pop("service", service), **changes)
    assert answer.status_code == 422


@pytest.mark.parametrize("slot", ["nobody|2030-01-01T09:00:00+03:00", "|", "x", "|2020-01-01T09:00", "=1+1|😀"])
def test_a_made_up_time_books_nothing(product: Product, slot: str) -> None:
    service = offer(product)
    assert ask(product, service, slot=slot).status_code in (404, 409, 422)
    with product.inside():
        assert visits(product) == []


def test_names_in_other_scripts_are_kept_as_they_are(product: Product) -> None:
    service = offer(product)
    name = "عائشة 😀 =SUM(A1)"
    assert ask(product, service, name=name, slot=free(ask(product, service, name=name).text)[0]).status_code == 303
    with product.inside():
        assert people.name_of(visits(product)[0].patient) == name


def paid_visit(product: Product, **terms: Any) -> tuple[str, str]:
    """(a confirmed visit, its service)."""
    with_initiator(product)
    service = offer(product, needs_approval=False, **terms)
    day = clock.nairobi(clock.now()).date() + timedelta(days=2)
    made = booked(product, service, starts(product, service, day)[0])
    token = product.api("brian").get(f"/api/appointments/{made['appointmentId']}").json["paymentId"]
    product.callback(product.pushed(token), receipt=receipt(1))
    product.settle()
    return made["appointmentId"], service


def test_the_desk_moves_a_paid_visit_to_a_colleague_and_the_money_goes_with_it(product: Product) -> None:
    uid, service = paid_visit(product)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        auma = people.add_clinician(tenant_id, name="Dr Auma", actor="test")
        services.set_hours(auma, [(day, 18 * 60, 20 * 60) for day in range(7)], actor="test")
        auma.works_holidays = True
        mine = db.session.query(Service).filter_by(uid=service).one()
        services.give(mine, [*timetable.offering(mine), auma], actor="test")
        auma_uid = auma.uid
    browser = product.browser_of("brian")
    page = browser.get(f"/staff/appointments/{uid}/change").text
    slot = next(one for one in free(page) if one.startswith(auma_uid))
    moved = browser.post(f"/staff/appointments/{uid}/move", data={"slot": slot, "csrf_token": csrf_of(browser, NEW)})
    assert moved.status_code == 303
    with product.inside():
        one = db.session.query(Appointment).filter_by(uid=uid).one()
        assert (one.clinician.name, one.status) == ("Dr Auma", "confirmed")
        assert one.starts_at == datetime.fromisoformat(slot.partition("|")[2])


@pytest.mark.parametrize(("by", "back"), [("patient", 75_000), ("clinic", 150_000)])
def test_the_desk_says_by_whose_doing_a_visit_is_cancelled(product: Product, by: str, back: int) -> None:
    uid, _service = paid_visit(product, cancel_hours=96, late_keeps_percent=50)
    browser = product.browser_of("brian")
    page = browser.get(f"/staff/appointments/{uid}/change").text
    assert "KES 750 goes back, the clinic keeps KES 750" in page and "KES 1,500 goes back" in page
    form = {"by": by, "reason": "Ill", "csrf_token": csrf_of(browser, NEW)}
    assert browser.post(f"/staff/appointments/{uid}/cancel", data=form).status_code == 303
    with product.inside():
        assert [one.amount_cents for one in db.session.query(Refund)] == [back]


def test_who_leaves_takes_no_bookings_and_staff_have_the_list_of_visits_ahead(product: Product) -> None:
    uid, service = paid_visit(product)
    with product.inside():
        clinician = db.session.query(Appointment).filter_by(uid=uid).one().clinician.uid
    browser = product.browser_of("amina")
    page = f"/staff/timetable/clinicians/{clinician}"
    gone = browser.post(f"{page}/left", data={"csrf_token": csrf_of(browser, page)})
    assert gone.status_code == 303
    left = browser.get(gone.headers["Location"]).text
    assert "1 visits are ahead" in left and "Achieng Otieno" in left and f"/staff/appointments/{uid}/change" in left
    assert starts(product, service) == []
    patient = product.api("brian").get("/api/patients").json["items"][0]["id"]
    refused = product.api("brian").post(
        "/api/appointments",
        json={
            "patientId": patient, "clinicianId": clinician, "kind": "onsite", "durationMinutes": 30, "price": 100,
            "startsAt": (clock.now() + timedelta(days=9)).isoformat(),
        },
    )  # fmt: skip
    assert (refused.status_code, refused.json["error"]) == (409, "has_left")
    assert product.api("brian").get(f"/api/appointments/{uid}").json["status"] == "confirmed", "what is booked stays"
    form = {"by": "clinic", "csrf_token": csrf_of(browser, NEW)}
    assert browser.post(f"/staff/appointments/{uid}/cancel", data=form).status_code == 303
    assert "No visits are ahead" in browser.get("/staff/timetable/left").text
    with product.inside():
        assert db.session.query(Clinician).filter_by(uid=clinician).one().left_at is not None


def test_two_at_the_desk_never_give_one_time_twice(either_product: Product) -> None:
    from tests.support.threads import together

    product = either_product
    service = offer(product)
    browsers = [product.browser_of(who) for who in ("brian", "wanjiru", "amina")]
    slot = free(ask(product, service, browsers[0]).text)[0]
    answers = together(
        product,
        *[
            lambda at=at, one=one: (
                ask(  # type: ignore[misc]
                    product, service, one, name=f"Patient {at}", phone=f"072200000{at}", slot=slot
                ).status_code
            )
            for at, one in enumerate(browsers)
        ],
    )
    assert sorted(answers) == [303, 409, 409]


@pytest.mark.parametrize("may_approve", [True, False])
def test_who_is_booked_in_one_go_is_told_once_of_each_visit_or_once_of_all(
    product: Product, may_approve: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = offer(product)
    slot = free(ask(product, service).text)[2]
    if not may_approve:
        fewer = permissions.OF_ROLE["receptionist"] - {permissions.APPROVE_APPOINTMENTS}
        monkeypatch.setitem(permissions.OF_ROLE, "receptionist", fewer)
    assert ask(product, service, slot=slot, weeks="3").status_code == 303
    with product.inside():
        sms = db.session.query(OutboxItem).filter_by(kind="sms").order_by(OutboxItem.id)
        told = [payload_of(one)["text"] for one in sms]
    if may_approve:
        assert len(told) == 3 and all("is approved. Pay KES 1,500" in text for text in told)
    else:
        (text,) = told
        assert "will answer you about 3 visits from" in text and "/visit/" in text
