"""A patient's own pages: in by a code, seeing the family's visits and nobody else's."""

import re
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from portal.clinic.models import Patient, PatientSignIn
from portal.kernel import clock
from portal.kernel.db import db
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from tests.support.appointments import book
from tests.support.product import Product
from tests.support.visitors import csrf_of

PHONE = "254712000333"


def patient(product: Product, name: str = "Achieng", phone: str = PHONE, email: str = "achieng@example.com") -> str:
    answer = product.api("brian").post("/api/patients", json={"name": name, "phone": phone, "email": email})
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def asked(browser: FlaskClient, address: str) -> Any:
    page = "/clinic/mlima/sign-in"
    return browser.post(page, data={"address": address, "csrf_token": csrf_of(browser, page)})


def messages(product: Product) -> list[tuple[str, str]]:
    """(to, text) of the codes that are sent; one that was over when it was written reaches nobody."""
    with product.inside():
        sent = db.session.query(OutboxItem).filter(OutboxItem.about == "sign_in", OutboxItem.expires_at > clock.now())
        sent = sent.order_by(OutboxItem.id)
        return [(str(payload_of(one)["to"]), str(payload_of(one)["text"])) for one in sent]


def code_in(text: str) -> str:
    found = re.search(r"\b\d{6}\b", text)
    assert found is not None
    return found.group()


def signed_in(product: Product, address: str = "0712 000 333") -> FlaskClient:
    browser = product.client()
    page = asked(browser, address).headers["Location"]
    entered = browser.post(page, data={"code": code_in(messages(product)[-1][1]), "csrf_token": csrf_of(browser, page)})
    assert entered.status_code == 303 and entered.headers["Location"] == "/account/", entered.text
    return browser


@pytest.mark.parametrize("address", ["0712 000 333", "Achieng@Example.com"])
def test_a_code_to_the_phone_or_address_that_the_clinic_knows_opens_the_page(product: Product, address: str) -> None:
    uid = patient(product)
    book(product, "onsite", patientId=uid)
    page = signed_in(product, address).get("/account/").text
    assert "My appointments" in page and 'href="/visit/' in page and "No appointments" not in page


def test_an_unknown_address_reads_the_same_and_is_sent_nothing(product: Product) -> None:
    patient(product)
    known, unknown = product.client(), product.client()
    pages = []
    for browser, number in ((known, "0712 000 333"), (unknown, "0712 999 999")):
        answer = asked(browser, number)
        assert answer.status_code == 303
        page = browser.get(answer.headers["Location"]).text
        pages.append(re.sub(r'name="csrf_token" value="[^"]*"|carried=[^"&]*|/sign-in/[^"?]*', "", page))
    assert pages[0] == pages[1] and len(messages(product)) == 1


@pytest.mark.parametrize(("known", "unknown"), [("0712 000 333", "0712 999 999"), ("achieng@example.com", "a@b.co.ke")])
def test_an_unknown_address_costs_the_same_work_so_that_time_tells_nothing(
    product: Product, known: str, unknown: str
) -> None:
    """Six tries each: the last is one too many, and that must not show either."""
    patient(product)
    written: list[list[str]] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            written[-1].append(statement)

    with product.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    for address in (known, unknown) * 6:
        written.append([])
        assert asked(product.client(), address).status_code == 303
    event.remove(engine, "before_cursor_execute", note)
    assert written[0] and all(one == written[0] for one in written)
    assert len(messages(product)) == 5 and unknown not in str(messages(product))


def test_a_link_in_an_email_opens_with_its_code_and_a_press_is_needed(product: Product) -> None:
    """Mail programs open links by themselves: looking signs nobody in and uses nothing up."""
    patient(product)
    asked(product.client(), "achieng@example.com")
    link = re.search(r"http://\S+", messages(product)[0][1])
    assert link is not None
    path = link.group().removeprefix("http://127.0.0.1:1")
    elsewhere = product.client()
    for _look in range(3):
        looked = elsewhere.get(path)
        assert looked.status_code == 200 and elsewhere.get("/account/").status_code == 302
    code = code_in(messages(product)[0][1])
    assert f'value="{code}"' in looked.text
    form = {"code": code, "csrf_token": csrf_of(elsewhere, path)}
    assert elsewhere.post(path, data=form).headers["Location"] == "/account/"
    assert product.client().post(path, data=form).status_code in (400, 422)  # once


def test_a_code_is_guessed_at_five_times_and_is_over_after_ten_minutes(product: Product) -> None:
    patient(product)
    browser = product.client()
    page = asked(browser, "0712 000 333").headers["Location"]
    right = code_in(messages(product)[0][1])
    wrong = "000000" if right != "000000" else "111111"
    for _try in range(5):
        assert browser.post(page, data={"code": wrong, "csrf_token": csrf_of(browser, page)}).status_code == 422
    assert browser.post(page, data={"code": right, "csrf_token": csrf_of(browser, page)}).status_code == 422
    asked(browser, "0712 000 333")
    newer = code_in(messages(product)[1][1])
    clock.move(timedelta(minutes=10, seconds=1))
    assert browser.post(page, data={"code": newer, "csrf_token": csrf_of(browser, page)}).status_code == 422


def test_a_page_made_for_another_clinic_or_by_another_hand_opens_nothing(product: Product) -> None:
    patient(product)
    browser = product.client()
    page = asked(browser, "0712 000 333").headers["Location"]
    assert browser.get(page.replace("/mlima/", "/bahari/")).status_code == 404
    assert browser.get(page[:-3] + ("aaa" if page[-3:] != "aaa" else "bbb")).status_code == 404
    clock.move(timedelta(minutes=30, seconds=2))
    assert browser.get(page).status_code == 404, "its time is over"


def test_a_family_shares_a_phone_and_sees_each_other_and_nobody_else(product: Product) -> None:
    mother = patient(product)
    child = patient(product, name="Otieno Junior", email="")
    other = patient(product, name="Stranger Wafula", phone="254712000444", email="")
    for uid in (mother, child, other):
        book(product, "onsite", patientId=uid)
    browser = signed_in(product)
    page = browser.get("/account/").text
    assert "Achieng" in page and "Otieno Junior" in page and "Wafula" not in page
    lines = [{"kind": "lab", "description": "x", "amount": 700}]
    bills = [
        product.api("brian").post("/api/invoices", {"patientId": uid, "lines": lines}).json["number"]
        for uid in (mother, child)
    ]
    for uid, mine, sibling in ((mother, *bills), (child, *bills[::-1])):
        statement = browser.get(f"/account/statement.csv?patient={uid}").text
        assert mine in statement and sibling not in statement
    assert browser.get(f"/account/statement.csv?patient={other}").status_code == 404


def test_a_guardian_sees_whom_they_pay_for_though_the_phone_is_another(product: Product) -> None:
    patient(product)
    child = patient(product, name="Otieno Junior", phone="254712000555", email="")
    desk = product.browser_of("brian")
    page = f"/staff/patients/{child}"
    desk.post(f"{page}/guardian", data={"guardian": "0712 000 333", "csrf_token": csrf_of(desk, page)})
    assert "Achieng" in desk.get(page).text
    assert "Otieno Junior" in signed_in(product).get("/account/").text
    assert "Achieng" not in signed_in(product, "0712 000 555").get("/account/").text


def test_a_patient_adds_a_child_and_says_how_they_are_told(product: Product) -> None:
    patient(product)
    browser = signed_in(product)
    token = csrf_of(browser, "/account/")
    browser.post("/account/people", data={"name": "Baby Akinyi", "csrf_token": token})
    assert "Baby Akinyi" in browser.get("/account/").text
    browser.post("/account/settings", data={"language": "sw", "csrf_token": token})
    with product.inside():
        from portal.notifications import quiet

        child = db.session.query(Patient).order_by(Patient.id.desc()).first()
        assert child is not None and child.guardian_id is not None and child.consent_by == "page"
        assert child.locale == "sw" and quiet.is_quiet(child.tenant_id, child.phone_hash)


def test_signing_out_ends_the_session_on_the_server(product: Product) -> None:
    patient(product)
    browser = signed_in(product)
    with browser.session_transaction() as kept:
        token = kept["patient"]
    browser.post("/clinic/mlima/sign-out", data={"csrf_token": csrf_of(browser, "/account/")})
    with browser.session_transaction() as again:
        again["patient"] = token  # somebody copied the cookie
    assert browser.get("/account/").status_code == 302
    with product.inside():
        assert db.session.query(PatientSignIn).count() == 0


def test_a_session_of_one_clinic_is_none_of_another_and_ends_by_itself(product: Product) -> None:
    patient(product)
    product.api("chege").post("/api/patients", json={"name": "Elsewhere", "phone": PHONE})
    browser = signed_in(product)
    assert "Elsewhere" not in browser.get("/account/").text
    clock.move(timedelta(days=14, seconds=1))
    assert browser.get("/account/").status_code == 302


def test_a_number_that_changed_hands_at_the_desk_shows_nothing_more(product: Product) -> None:
    uid = patient(product)
    book(product, "onsite", patientId=uid)
    browser = signed_in(product)
    desk = product.browser_of("brian")
    form = {
        "name": "Achieng",
        "phone": "0712000777",
        "email": "",
        "language": "",
        "csrf_token": csrf_of(desk, f"/staff/patients/{uid}"),
    }
    assert desk.post(f"/staff/patients/{uid}", data=form).status_code == 303
    assert browser.get("/account/").status_code == 302


def test_a_child_who_is_added_twice_is_one_and_one_patient_does_not_fill_the_clinics_list(product: Product) -> None:
    patient(product)
    browser = signed_in(product)
    token = csrf_of(browser, "/account/")
    for name in ("Baby", " baby ", *(f"Child {at}" for at in range(25))):
        answer = browser.post("/account/people", data={"name": name, "csrf_token": token})
        assert answer.status_code == 303
    assert "at most 20 others" in browser.get("/account/").text
    with product.inside():
        assert db.session.query(Patient).filter(Patient.guardian_id.is_not(None)).count() == 20
