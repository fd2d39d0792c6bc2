"""The desk's messages: who was not reached, what became of each and what it cost; the clinic's own words."""

import re
from typing import Any

import pytest

from portal.clinic.models import Appointment, Patient
from portal.kernel import personal
from portal.kernel.db import db, transaction
from portal.notifications import wording
from portal.outbox.models import OutboxItem
from portal.tenants.models import Tenant
from tests.support.appointments import is_wanjirus
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.telling import confirmed, letters, phone_of, told
from tests.support.visitors import csrf_of


def unreached(product: Product, uid: str) -> int:
    """The confirmation did not arrive; its id."""
    with product.app.app_context(), transaction():
        item = db.session.query(OutboxItem).filter(OutboxItem.key.like("sms/appointment/%/confirmed")).one()
        item.state, item.delivery, item.cost_cents = "done", "failed", 80
        item.last_error = "Failed: UserIsInactive"
        return item.id


def press(product: Product, name: str, path: str, **form: str) -> Any:
    browser = product.browser_of(name)
    return browser.post(path, data={"csrf_token": csrf_of(browser, "/staff/manual/new"), **form})


def test_the_desk_sees_whom_nothing_reached_until_somebody_saw_to_it(product: Product) -> None:
    visit = confirmed(product)
    item = unreached(product, visit["id"])
    desk = product.browser_of("brian")
    page = desk.get("/staff/messages").text
    shown = phone_of(product, visit["id"])
    assert "Achieng" in page and "Paid and confirmed" in page and f'href="tel:+{shown}"' in page
    assert "Not reached (1)" in desk.get("/staff/appointments").text
    assert press(product, "brian", f"/staff/unreached/{item}/settled").status_code == 303
    assert "Everybody was reached." in desk.get("/staff/messages").text
    token = csrf_of(desk, "/staff/manual/new")
    said = desk.post(f"/staff/unreached/{item}/settled", data={"csrf_token": token}, follow_redirects=True).text
    assert "Somebody has seen to this message already." in said


@pytest.mark.parametrize(("channel", "to"), [("sms", "254799000111"), ("email", "achieng@example.com")])
def test_it_is_sent_again_to_where_the_patient_is_reached_now_once(product: Product, channel: str, to: str) -> None:
    visit = confirmed(product)
    item = unreached(product, visit["id"])
    with product.app.app_context(), transaction():
        patient = db.session.query(Appointment).filter_by(uid=visit["id"]).one().patient
        patient.phone_sealed = personal.seal_phone("254799000111", 1)  # corrected at the desk
    for _twice in range(2):
        press(product, "brian", f"/staff/unreached/{item}/again", channel=channel)
    [letter] = letters(product, channel, "/again/")
    assert letter["to"] == to and "is confirmed: Moi Avenue 1" in letter["text"]


def test_who_has_no_address_cannot_be_mailed_and_stays_on_the_list(product: Product) -> None:
    visit = confirmed(product)
    item = unreached(product, visit["id"])
    with product.app.app_context(), transaction():
        db.session.query(Patient).update({"email_sealed": None})
    for channel in ("email", "pigeon", ""):
        press(product, "brian", f"/staff/unreached/{item}/again", channel=channel)
    assert letters(product, "email", "/again/") == []
    assert "Achieng" in product.browser_of("brian").get("/staff/messages").text


def test_a_visits_messages_show_delivery_and_cost(product: Product) -> None:
    visit = confirmed(product)
    unreached(product, visit["id"])
    page = product.browser_of("wanjiru").get(f"/staff/appointments/{visit['id']}/messages").text
    assert "SMS cost so far: KES 0.80" in page and "Not reached" in page and "6 messages" in page
    assert (
        f"/staff/appointments/{visit['id']}/messages" in product.browser_of("wanjiru").get("/staff/appointments").text
    )


def words_of(event: str, channel: str = "sms", locale: str = "en") -> str:
    return f"/staff/messages/words/of?event={event}&channel={channel}&locale={locale}"


def test_a_clinics_own_words_are_previewed_kept_and_sent(product: Product) -> None:
    text = "Karibu {clinic}! {when}, {where}. Risiti {receipt}"
    shown = press(product, "amina", words_of("confirmed"), text=text, do="look")
    assert shown.status_code == 200
    assert "Karibu Mlima House! 21/11/2026 09:30, Moi Avenue 1. Risiti SKL1ABCD23" in shown.text
    assert "69 characters" in shown.text and "sent and paid as 1 SMS" in shown.text
    assert wording_of(product) == [], "looking keeps nothing"
    assert press(product, "amina", words_of("confirmed"), text=text, do="save").status_code == 303
    confirmed(product)
    said = re.sub(r"\d\d/\d\d/\d{4} \d\d:\d\d", "WHEN", told(product, "sms", "/confirmed")[0])
    assert said == f"TEST, no real money: Karibu Mlima House! WHEN, Moi Avenue 1. Risiti {receipt(5)}"
    assert "Paid, M-Pesa receipt" in told(product, "email", "/confirmed")[0], "the e-mail has words of its own"
    press(product, "amina", words_of("confirmed"), do="drop")
    assert wording_of(product) == []


def wording_of(product: Product) -> list[str]:
    with product.inside():
        return [one.text for one in wording.all_of(1)]


@pytest.mark.parametrize(
    ("event", "text", "says"),
    [
        ("approved", "Pay {amount} now", "must have {url}"),
        ("approved", "Pay {amount}: {url} {diagnosis}", "no {diagnosis}"),
        ("approved", "", "Write the message"),
        ("approved", "Pay {amount}: {url} " + "é" * 700, "is sent as 6 messages"),
        ("approved", "Pay {amount}: {url} " + "x" * 1_000, "At most 1000 characters"),
        ("approved", "Pay {amount}: {url} " + "مرحبا" * 60, "is sent as 6 messages"),
    ],
)
def test_words_that_could_not_be_sent_are_refused_and_stay_in_the_form(
    product: Product, event: str, text: str, says: str
) -> None:
    answer = press(product, "amina", words_of(event), text=text, do="save")
    assert answer.status_code == 422 and says in answer.text
    assert text in answer.text, "nothing typed is lost"
    assert wording_of(product) == []


def test_short_names_that_stand_for_long_words_are_counted_as_they_are_sent(product: Product) -> None:
    """Sixty {clinic} fit the limit as they are typed, and each message would have been paid as eighteen."""
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        db.session.get_one(Tenant, tenant_id).name = "Mlima Family Practice and Diagnostic Centre"
    answer = press(product, "amina", words_of("confirmed"), text="{clinic}" * 60 + " {when} {receipt}", do="save")
    assert answer.status_code == 422 and "is sent as 18 messages; at most 4" in answer.text


def test_markup_in_words_is_text(product: Product) -> None:
    answer = press(product, "amina", words_of("declined"), text="<script>alert(1)</script> =1+1", do="look")
    assert "<script>alert" not in answer.text and "&lt;script&gt;" in answer.text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 160, 1), ("a" * 161, 2), ("a" * 306, 2), ("a" * 307, 3), ("[" * 80, 1), ("[" * 81, 2),
        ("ü" * 160, 1), ("’" * 70, 1), ("’" * 71, 2), ("😊" * 35, 1), ("😊" * 36, 2), ("", 1),
    ],
)  # fmt: skip
def test_a_text_is_counted_as_the_network_bills_it(text: str, parts: int) -> None:
    assert wording.parts_of(text) == parts


@pytest.mark.property(62)
def test_the_bell_rings_on_the_next_poll_and_is_silent_once_read(product: Product) -> None:
    is_wanjirus(product)
    doctor = product.browser_of("wanjiru")
    ask = re.search(r'id="bell"[^>]*hx-get="([^"]+)"', doctor.get("/staff/appointments").text)
    assert ask is not None
    url = ask[1].replace("&amp;", "&")
    assert doctor.get(url, headers={"HX-Request": "true"}).status_code == 204
    confirmed(product)
    rung = doctor.get(url, headers={"HX-Request": "true"})
    assert rung.status_code == 200 and "1 new notice" in rung.text, "approving took the first one away, paying is new"
    page = doctor.get("/staff/notices").text
    assert re.search(r"Paid and confirmed: \d\d/\d\d/\d{4}", page)
    last = re.search(r'name="last" value="(\d+)"', page)
    assert last is not None
    doctor.post("/staff/notices/read", data={"csrf_token": csrf_of(doctor, "/staff/notices"), "last": last[1]})
    assert "No new notices" in doctor.get("/staff/appointments").text
    assert "Paid and confirmed" in doctor.get("/staff/notices").text, "read ones stay"


def test_the_patients_bell_shows_their_own_and_their_childs_alone(product: Product) -> None:
    with product.app.app_context(), transaction():
        guardian_id = db.session.query(Patient).filter_by(tenant_id=1).one().id
    visit = confirmed(product)
    before = product.browser_of("otieno").get("/account/notices").text
    with product.app.app_context(), transaction():
        db.session.query(Appointment).filter_by(uid=visit["id"]).one().patient.guardian_id = guardian_id
    assert "Nothing was told yet." in before, "what strangers are told is theirs"
    answer = product.api("brian").post(f"/api/appointments/{visit['id']}/cancel", json={"reason": "Away."})
    assert answer.status_code == 200
    patient_page = product.browser_of("otieno")
    page = patient_page.get("/account/notices").text
    assert "is cancelled. Your money is with the clinic" in page and "TEST MODE" in page
    last = re.search(r'name="last" value="(\d+)"', page)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert last is not None and token is not None
    patient_page.post("/account/notices/read", data={"csrf_token": token[1], "last": last[1]})
    assert "No new notices" in patient_page.get("/account/").text
