"""Reminders: a day and an hour before, once each, at the time that holds, in words and to people that are right."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from portal.clinic import notifications, reminders
from portal.clinic.models import Appointment, Clinician, Patient
from portal.kernel import clock, personal
from portal.kernel.db import db, transaction
from portal.notifications import quiet
from portal.outbox.deliver import deliver_due
from tests.support.clock import later
from tests.support.product import Product
from tests.support.telling import confirmed, letters, phone_of, remind, starts_of, states, told
from tests.support.threads import together
from tests.support.visitors import csrf_of


def reminders_of(product: Product) -> list[str]:
    return told(product, "sms", "/remind_")


@pytest.mark.property(64)
def test_a_day_before_the_patient_is_reminded_by_sms_once(product: Product) -> None:
    visit = confirmed(product, in_hours=48)
    begins = starts_of(product, visit["id"])
    later(24 * 3_600 - 120)
    remind(product)
    assert reminders_of(product) == [], "not before its time"
    later(240)
    for _again in range(2):
        remind(product)
    when = f"{clock.nairobi(begins):%d/%m/%Y %H:%M}"
    assert reminders_of(product) == [f"TEST, no real money: Reminder: Mlima House expects you on {when}. Moi Avenue 1"]


@pytest.mark.property(65)
def test_an_hour_before_patient_and_clinician_are_reminded_by_sms_once(product: Product) -> None:
    with product.app.app_context(), transaction():
        doctor = db.session.query(Clinician).filter_by(tenant_id=1).one()
        doctor.phone_sealed = personal.seal_phone("254722000009", 1)
    visit = confirmed(product, in_hours=20)
    time = f"{clock.nairobi(starts_of(product, visit['id'])):%H:%M}"
    later(19 * 3_600 + 60)
    for _again in range(2):
        remind(product)
    assert reminders_of(product) == [
        f"TEST, no real money: Reminder: Mlima House expects you today at {time}: Moi Avenue 1",
        f"Reminder: your next appointment is today at {time}.",
    ], "and none a day before: it was paid for less than a day before"
    assert [letter["to"] for letter in letters(product, "sms", "/remind_")] == [
        phone_of(product, visit["id"]), "254722000009",
    ]  # fmt: skip


def test_a_visit_that_was_moved_is_reminded_of_at_its_new_time_alone(product: Product) -> None:
    visit = confirmed(product, in_hours=48)
    later(24 * 3_600 + 60)
    remind(product)
    assert states(product, "/remind_day/0") == ["new"], "the provider is away: it waits"
    to = clock.now() + timedelta(hours=30)
    product.tokens.clear()  # a day later everybody signs in anew
    moved = product.api("brian").post(f"/api/appointments/{visit['id']}/reschedule", json={"startsAt": to.isoformat()})
    assert moved.status_code == 200, moved.text
    assert states(product, "/remind_day/0") == ["skipped"], "the old time is told to nobody any more"
    later(5 * 3_600)
    remind(product)
    assert states(product, "/remind_day") == ["skipped"]
    later(3_600 + 60)
    remind(product)
    assert states(product, "/remind_day/1") == ["new"]
    assert f"{clock.nairobi(to):%d/%m/%Y %H:%M}" in reminders_of(product)[-1]


@pytest.mark.parametrize("ending", ["cancel", "no-show", "complete"])
def test_nobody_is_reminded_of_what_will_not_be(product: Product, ending: str) -> None:
    visit = confirmed(product, in_hours=48)
    answer = product.api("brian").post(f"/api/appointments/{visit['id']}/{ending}", json={"reason": "Away."})
    assert answer.status_code == 200, answer.text
    later(47 * 3_600 + 60)
    remind(product)
    assert reminders_of(product) == []


def test_a_reminder_that_waited_for_the_provider_until_it_was_pointless_is_not_sent(product: Product) -> None:
    """Its time ends where the next one's begins; the desk sees that it never went."""
    confirmed(product, in_hours=48)
    later(24 * 3_600 + 60)
    remind(product)
    later(23 * 3_600)
    with product.app.app_context():
        deliver_due()
    assert states(product, "sms/appointment/1/remind_day") == ["skipped"]


def test_what_nobody_ran_for_a_night_is_made_up_for_in_the_words_of_now(product: Product) -> None:
    confirmed(product, in_hours=48)
    later(47 * 3_600 + 600)  # past both
    remind(product)
    assert [re.sub(r"\d\d:\d\d", "", text) for text in reminders_of(product)] == [
        "TEST, no real money: Reminder: Mlima House expects you today at : Moi Avenue 1"
    ]
    later(7_200)
    remind(product)
    assert len(reminders_of(product)) == 1


def test_who_wants_no_reminders_by_sms_gets_an_email_and_who_has_no_address_gets_none(product: Product) -> None:
    visit = confirmed(product, in_hours=20)
    other = confirmed(product, in_hours=21, number=6)
    with product.app.app_context(), transaction():
        for uid in (visit["id"], other["id"]):
            patient = db.session.query(Appointment).filter_by(uid=uid).one().patient
            quiet.set_quiet(1, patient.phone_hash or "", is_quiet=True)
        patient.email_sealed = None
    later(20 * 3_600 + 60 - 3_600)
    remind(product)
    later(3_600)
    remind(product)
    assert reminders_of(product) == []
    assert [letter["to"] for letter in letters(product, "email", "/remind_")] == ["achieng@example.com"]


def test_a_child_is_reminded_of_at_its_guardians_phone_in_the_guardians_language(product: Product) -> None:
    visit = confirmed(product, in_hours=20)
    with product.app.app_context(), transaction():
        child = db.session.query(Appointment).filter_by(uid=visit["id"]).one().patient
        guardian = db.session.query(Patient).filter(Patient.id != child.id, Patient.tenant_id == 1).first()
        assert guardian is not None
        guardian.locale = "sw"
        child.guardian_id, child.phone_sealed, child.email_sealed = guardian.id, None, None
    later(19 * 3_600 + 60)
    remind(product)
    [letter] = letters(product, "sms", "/remind_hour")
    assert letter["to"] == "254711000001"
    assert letter["text"].startswith("MAJARIBIO, si pesa halisi: Ukumbusho: Mlima House inakutarajia leo saa ")


def test_one_that_cannot_be_told_stops_no_other(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    first = confirmed(product, in_hours=20)
    confirmed(product, in_hours=21, number=6)
    tell = notifications.reminded

    def reminded(visit: Appointment, **how: bool) -> bool:
        if visit.uid == first["id"]:
            raise ValueError("at fault")
        return tell(visit, **how)

    monkeypatch.setattr(notifications, "reminded", reminded)
    later(20 * 3_600 + 60)
    remind(product)
    assert len(reminders_of(product)) == 1
    monkeypatch.undo()
    remind(product)
    assert len(reminders_of(product)) == 1, "and it is not tried again at once"
    with product.inside():
        assert db.session.query(Appointment).filter_by(uid=first["id"]).one().remind_at > clock.now()


def test_two_schedulers_remind_once(either_product: Product) -> None:
    confirmed(either_product, in_hours=20)
    later(19 * 3_600 + 60)
    together(either_product, reminders.remind, reminders.remind)
    assert len(reminders_of(either_product)) == 1


@pytest.mark.parametrize(
    ("starts", "paid", "due"),
    [
        ("2027-03-04T00:05:00+03:00", "2027-03-02T23:50:00+03:00", "2027-03-03T00:05:00+03:00"),  # over midnight
        ("2027-03-08T00:30:00+03:00", "2027-03-07T23:00:00+03:00", "2027-03-07T23:30:00+03:00"),  # over the week
        ("2027-03-04T09:00:00+03:00", "2027-03-03T09:00:00+03:00", "2027-03-04T08:00:00+03:00"),  # a day to the minute
        ("2027-03-04T09:00:00+03:00", "2027-03-04T08:00:00+03:00", None),
        ("2027-03-04T09:00:00+03:00", "2027-03-04T10:00:00+03:00", None),
    ],
)
def test_when_the_next_reminder_is_due(starts: str, paid: str, due: str | None) -> None:
    found = notifications.next_reminder(datetime.fromisoformat(starts), after=datetime.fromisoformat(paid))
    assert found == (datetime.fromisoformat(due) if due else None)


def test_an_answer_is_asked_for_only_where_it_finds_its_way_back(product: Product) -> None:
    config = product.app.config["PORTAL"]
    for sender, key, is_asked in (("20880", "k" * 32, True), ("MLANGO", "k" * 32, False), ("20880", "", False)):
        product.app.config["PORTAL"] = replace(config, sms_sender=sender, sms_key=key)
        assert product.app.config["PORTAL"].takes_sms_replies is is_asked
    product.app.config["PORTAL"] = replace(config, sms_sender="20880", sms_key="k" * 32)
    confirmed(product, in_hours=48)
    later(24 * 3_600 + 60)
    remind(product)
    assert reminders_of(product)[0].endswith(". Reply 1 to confirm, 2 to cancel. Moi Avenue 1")


def test_a_clinicians_own_phone_is_set_on_their_page(product: Product) -> None:
    with product.inside():
        uid = db.session.query(Clinician).filter_by(tenant_id=1).one().uid
    browser, url = product.browser_of("amina"), f"/staff/timetable/clinicians/{uid}"
    token = csrf_of(browser, url)
    assert browser.post(url, data={"csrf_token": token, "reminder_phone": "0722 000"}).status_code == 422
    for typed, kept in (("0722 000 009", "254722000009"), (None, "254722000009"), ("", None)):
        form = {"csrf_token": token} | ({"reminder_phone": typed} if typed is not None else {})
        assert browser.post(url, data=form).status_code == 303
        with product.inside():
            assert personal.open_phone(db.session.query(Clinician).filter_by(uid=uid).one().phone_sealed, 1) == kept
        assert ('value="0722 000 009"' in browser.get(url).text) is (kept is not None)
