"""Patients at the desk: found by phone or name, written down once, changed without losing what was typed."""

import re
from typing import Any

import pytest

from portal.clinic import people
from portal.clinic.models import Clinician, Patient
from portal.clinic.people import name_of
from portal.kernel import personal
from portal.kernel.db import db
from portal.tenants.models import Tenant
from portal.users.models import User
from tests.support.product import Product
from tests.support.visitors import csrf_of


def saved(product: Product, who: str = "brian", path: str = "/staff/patients/new", **form: Any) -> Any:
    browser = product.browser_of(who)
    given = {"name": "Achieng Otieno", "phone": "0712 000 333", "email": "", "language": ""} | form
    return browser.post(path, data=given | {"csrf_token": csrf_of(browser, path)})


def found(product: Product, words: str) -> str:
    page: str = product.browser_of("brian").get("/staff/patients", query_string={"q": words}).text
    return page


def test_a_patient_is_written_down_once_and_found_by_phone_name_and_address(product: Product) -> None:
    first = saved(product, email="a@example.co.ke", agreed="y")
    again = saved(product, name="achieng  OTIENO")
    assert first.status_code == 303 and first.headers["Location"] == again.headers["Location"]
    for words in ("0712000333", "+254 712 000 333", "otieno", "OTIENO achieng", "A@example.co.ke"):
        assert "Achieng Otieno" in found(product, words), words
    for words in ("0712000334", "wafula", "otieno wafula", "b@example.co.ke", "%", "' OR 1=1"):
        assert "Achieng Otieno" not in found(product, words), words
    with product.inside():
        one = db.session.query(Patient).filter_by(consent_by="desk").one()
        assert one.consented_at is not None and name_of(one) == "Achieng Otieno"


def test_another_clinics_patients_are_not_found(product: Product) -> None:
    product.api("chege").post("/api/patients", json={"name": "Elsewhere Person", "phone": "0712000333"})
    assert "Elsewhere" not in found(product, "0712000333") and "Elsewhere" not in found(product, "person")


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": ""}, "name"), ({"name": "x" * 10_000}, "name"), ({"phone": "12"}, "phone"), ({"phone": ""}, "phone"),
        ({"email": "nobody"}, "email"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_typed_is_lost(product: Product, form: dict[str, str], field: str) -> None:
    answer = saved(product, **form)
    assert answer.status_code == 422 and f'id="{field}-error"' in answer.text
    if field != "name":
        assert "Achieng Otieno" in answer.text


@pytest.mark.parametrize(
    "name", ["=HYPERLINK(1)", "😀 Amina", "محمد علي", "<script>alert(1)</script>", "O'Brien & Söhne"]
)
def test_names_of_every_kind_are_kept_as_they_are(product: Product, name: str) -> None:
    assert saved(product, name=name).status_code == 303
    with product.inside():
        assert name in [name_of(one) for one in db.session.query(Patient)]
    assert "<script>alert" not in found(product, "0712000333")


def test_a_guardian_is_nobodys_ward(product: Product) -> None:
    mother = saved(product).headers["Location"]
    child = saved(product, name="Junior", phone="0712000555").headers["Location"]
    browser = product.browser_of("brian")

    def guards(path: str, words: str) -> str:
        browser.post(f"{path}/guardian", data={"guardian": words, "csrf_token": csrf_of(browser, path)})
        page: str = browser.get(path).text
        return page

    assert "books and pays for this patient" in guards(child, "Achieng Otieno")
    assert "Nobody is found by that" in guards(mother, "Junior")  # who has a guardian is offered to nobody
    grandchild = saved(product, name="Baby", phone="0712000666").headers["Location"]
    assert "Nobody is found by that" in guards(grandchild, "Junior")
    assert "A guardian has no guardian of their own" in guards(mother, "Baby")
    with product.inside():
        assert db.session.query(Patient).filter(Patient.guardian_id.is_not(None)).count() == 1


def test_two_at_the_desk_do_not_write_over_each_other(either_product: Product) -> None:
    product = either_product
    path = saved(product).headers["Location"]
    brian, amina = product.browser_of("brian"), product.browser_of("amina")
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', brian.get(path).text)
    assert seen is not None
    form = {"name": "Achieng Otieno", "phone": "0712000333", "email": "", "language": "", "seen": seen.group(1)}
    theirs = form | {"phone": "0712000999", "csrf_token": csrf_of(amina, path)}
    assert amina.post(path, data=theirs).status_code == 303
    ours = form | {"name": "Achieng O. Otieno", "csrf_token": csrf_of(brian, path)}
    refused = brian.post(path, data=ours)
    assert refused.status_code == 422 and "254712000999" in refused.text and "Achieng O. Otieno" in refused.text
    newer = re.search(r'name="seen"[^>]*value="([^"]+)"', refused.text)
    assert newer is not None
    assert brian.post(path, data=ours | {"phone": "0712000999", "seen": newer.group(1)}).status_code == 303
    with product.inside():
        one = db.session.query(Patient).order_by(Patient.id.desc()).first()
        assert one is not None and people.name_of(one) == "Achieng O. Otieno"
        assert personal.open_phone(one.phone_sealed, one.tenant_id) == "254712000999"


def test_a_business_says_who_it_is(product: Product) -> None:
    form = {
        "name": "Mlima Clinic", "address": "Oginga Odinga St, Kisumu", "help_phone": "0700 000 001", "locale": "sw",
        "colour": "#123456", "tax_number": "p051234567x", "consent_text": "We keep your visits.",
    }  # fmt: skip
    assert saved(product, "amina", "/staff/business", **form).status_code == 303
    with product.inside():
        one = db.session.query(Tenant).filter_by(slug="mlima").one()
        assert (one.name, one.tax_number, one.locale, one.colour) == ("Mlima Clinic", "P051234567X", "sw", "#123456")
    for wrong, field in (
        ({"tax_number": "123"}, "tax_number"),
        ({"colour": "red;}"}, "colour"),
        ({"help_phone": "<b>"}, "help_phone"),
    ):
        answer = saved(product, "amina", "/staff/business", **(form | wrong))
        assert answer.status_code == 422 and f'id="{field}-error"' in answer.text


def test_a_clinician_is_given_a_sign_in_of_the_clinics_own(product: Product) -> None:
    with product.inside():
        uid = db.session.query(Clinician).filter_by(tenant_id=product.tenant_id()).first().uid  # type: ignore[union-attr]
        wanjiru = db.session.query(User).filter_by(email="wanjiru@mlima.test").one().id
        stranger = db.session.query(User).filter_by(email="chege@bahari.test").one().id
    path = f"/staff/timetable/clinicians/{uid}"
    for user_id, kept in ((wanjiru, wanjiru), (stranger, wanjiru), ("", None), ("99999999999999", None)):
        browser = product.browser_of("amina")
        browser.post(f"{path}/sign-in", data={"user": str(user_id), "csrf_token": csrf_of(browser, path)})
        with product.inside():
            assert db.session.query(Clinician).filter_by(uid=uid).one().user_id == kept
