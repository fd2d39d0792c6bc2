"""From a free time to the door of the session, as a patient and the clinic do it, each in a browser of their own."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import db
from tests.support.booking import code_sent, offer
from tests.support.clock import wait_until
from tests.support.daraja import new_phone
from tests.support.journeys import ask_for, faults_of, local, sign_in, visit
from tests.support.meetings import JITSI, meets_by


def booked(page: Page, url: str, kind: str, name: str, msisdn: str, code: object) -> None:
    """Choose the service, the way and the first free time; show the phone by its code."""
    page.goto(f"{url}/clinic/mlima/")
    page.locator("a.offer").first.click()
    if kind == "virtual":
        page.locator("nav.times a", has_text=re.compile("Online|Mtandaoni")).click()
    page.locator("details.day[open] .times a").first.click()
    page.fill("#name", name)
    page.fill("#phone", local(msisdn))
    page.locator("main form button.primary").click()
    page.wait_for_selector("#code")
    page.fill("#code", code())  # type: ignore[operator]
    page.locator("main form button.primary").click()
    page.wait_for_url("**/visit/**")


@pytest.mark.parametrize(
    ("kind", "locale", "javascript"),
    [("onsite", "en-KE", True), ("virtual", "sw-KE", True), ("virtual", "en-KE", False)],
)
def test_a_patient_books_is_approved_pays_and_comes(
    open_product, page_at, no_problems, kind: str, locale: str, javascript: bool
) -> None:
    offer(open_product)
    patient = page_at(360, javascript=javascript, locale=locale)
    msisdn = new_phone("01")
    booked(patient, open_product.url, kind, "Nafula Wekesa", msisdn, lambda: code_sent(open_product))
    visit_url = patient.url
    if javascript:
        assert faults_of(patient, "visit") == []

    desk = page_at(1280)
    sign_in(desk, open_product, "wanjiru", to="/staff/appointments")
    desk.get_by_role("button", name="Approve").first.click()
    expect(desk.get_by_text("Approved. The patient has been told how to pay.")).to_be_visible()

    patient.goto(visit_url)
    patient.locator("a.primary", has_text=re.compile("KES|Ksh")).first.click()
    patient.fill("#phone", local(msisdn))
    patient.locator("main form.ready-only button.primary").click()
    wait_until(lambda: status_of(open_product) == "confirmed")
    patient.goto(visit_url)
    if kind == "onsite":
        expect(patient.locator("main")).to_contain_text("Moi Avenue 1")
        return
    patient.locator("main a.btn", has_text=re.compile("Join the session|Jiunge")).click()
    expect(patient.locator("#door")).to_contain_text(re.compile("You are early|Umewahi", re.IGNORECASE))
    with open_product.inside():
        starts_at = db.session.query(Appointment.starts_at).scalar()
    clock.move(starts_at - timedelta(minutes=10) - clock.now())
    patient.reload()
    enter = patient.locator("#door a.primary")
    expect(enter).to_have_attribute("href", re.compile(r"/join/[0-9a-f]{32,}/enter$"))
    if javascript:
        assert faults_of(patient, "door") == []


def status_of(product) -> str:  # type: ignore[no-untyped-def]
    with product.inside():
        status: str = db.session.query(Appointment.status).scalar()
        return status


def test_the_patient_knocks_and_the_clinician_lets_them_in_on_the_page_that_is_open(
    open_product, page_at, no_problems
) -> None:
    meets_by(open_product, "jitsi", JITSI)
    seen = visit(open_product, "virtual", in_hours=0.1)
    patient, doctor = page_at(360), page_at(1280)
    ask_for(patient, seen["payUrl"], new_phone("01"))
    patient.get_by_role("link", name="Join the session").click()
    patient.get_by_role("button", name="I am here").click()
    expect(patient.locator("#door")).to_contain_text("lets you in")
    sign_in(doctor, open_product, "wanjiru", to=f"/staff/appointments/{seen['id']}/meeting")
    assert faults_of(doctor, "meeting") == []
    doctor.get_by_role("button", name="Let them in").click()
    expect(patient.get_by_role("link", name="Join the session")).to_be_visible(timeout=15_000)
