"""A form whose session had ended keeps what was typed through the sign-in, for that person alone."""

from typing import Any

import pytest
from flask import g
from werkzeug.datastructures import MultiDict
from wtforms import PasswordField, StringField

from portal.kernel import vault
from portal.kernel.db import db, transaction
from portal.staff.kept_forms import StaffForm
from portal.tenants.models import Tenant
from portal.users import credentials
from tests.support.clock import later
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

OURS = {"Sec-Fetch-Site": "same-origin"}
TYPED = {"amount": "1234", "channel": "bank", "reference": "INV-7777", "note": "Paid by her sister"}


def sign_in(browser: Any, where: str, email: str = "brian@mlima.test") -> Any:
    """Sign in on the page that an answer led to; the answer."""
    assert where.startswith("/login?next=")
    page = browser.get(where).text
    goal = page.split('name="next"', 1)[1].split('value="', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    data = {"email": email, "password": PASSWORD, "next": goal, "csrf_token": csrf_of(browser, where)}
    return browser.post("/login", data=data)


def taken_by_hand(product: Product) -> int:
    return len(product.api("amina").get("/api/payments/manual").json["items"])


def typed_form(browser: Any) -> dict[str, str]:
    """The form at the counter, filled in."""
    return TYPED | {"csrf_token": csrf_of(browser, "/staff/manual/new"), "idempotency_key": "k" * 32}


def test_a_form_sent_after_the_session_ended_comes_back_as_it_was_typed(product: Product) -> None:
    """use.md 20. Nothing is sent by itself, and what is sent twice is one record."""
    number, _token = product.invoice(1_234)
    browser = product.browser_of("brian")
    form = typed_form(browser) | {"reference": number}
    later(9 * 3_600)
    answer = browser.post("/staff/manual/new", data=form)
    assert answer.status_code == 302
    assert "What you typed is kept" in browser.get(answer.headers["Location"]).text
    answer = sign_in(browser, answer.headers["Location"])
    assert answer.headers["Location"].startswith("/staff/manual/new?kept=")
    page = browser.get(answer.headers["Location"]).text
    assert "This was not sent" in page and taken_by_hand(product) == 0
    for value in ('value="1234"', f'value="{number}"', 'value="Paid by her sister"', f'value="{"k" * 32}"'):
        assert value in page, value
    assert '<option selected value="bank">' in page
    again = form | {"csrf_token": csrf_of(browser, answer.headers["Location"])}
    assert [browser.post("/staff/manual/new", data=again).status_code for _time in range(2)] == [303, 303]
    assert taken_by_hand(product) == 1


def test_so_does_one_sent_after_signing_out_or_in_again_in_another_tab(product: Product) -> None:
    browser = product.browser_of("brian")
    form = typed_form(browser)
    browser.post("/logout", data={"csrf_token": form["csrf_token"]})
    answer = browser.post("/staff/manual/new", data=form, headers=OURS)
    assert answer.status_code == 302
    answer = sign_in(browser, answer.headers["Location"])
    assert 'value="Paid by her sister"' in browser.get(answer.headers["Location"]).text
    answer = browser.post("/staff/manual/new", data=form, headers=OURS)  # signed in again: another token
    assert answer.status_code == 303 and 'value="Paid by her sister"' in browser.get(answer.headers["Location"]).text
    assert taken_by_hand(product) == 0


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_what_another_site_posts_is_kept_for_nobody(product: Product, headers: dict[str, str]) -> None:
    browser = product.browser_of("brian")
    for is_signed_in in (True, False):
        answer = browser.post("/staff/manual/new", data=TYPED | {"csrf_token": "made-up"}, headers=headers)
        assert answer.status_code == 400 and "Nothing was changed" in answer.text
        if is_signed_in:
            browser.post("/logout", data={"csrf_token": csrf_of(browser, "/staff/manual/new")})
    assert not list(product.app.extensions["redis"].scan_iter("kept:*"))
    stranger = product.client()
    assert stranger.post("/staff/manual/new", data=TYPED, headers=OURS).status_code == 400, "nobody's form"
    assert not list(product.app.extensions["redis"].scan_iter("kept:*"))


def test_what_was_typed_is_shown_to_nobody_else_nowhere_else_and_not_for_long(product: Product) -> None:
    browser = product.browser_of("brian")
    form = typed_form(browser)
    later(9 * 3_600)
    where = browser.post("/staff/manual/new", data=form).headers["Location"]
    for email in ("amina@mlima.test", "njeri@mlima.test"):
        answer = sign_in(browser, where, email)
        assert "her sister" not in browser.get(answer.headers["Location"]).text
    (key,) = product.app.extensions["redis"].scan_iter("kept:*")
    assert 0 < product.app.extensions["redis"].ttl(key) <= 900
    assert b"sister" not in product.app.extensions["redis"].get(key), "sealed"
    token = key.decode().removeprefix("kept:")
    again = product.browser_of("brian")
    assert "her sister" in again.get(f"/staff/manual/new?kept={token}").text
    assert "her sister" not in again.get(f"/staff/invoices/new?kept={token}").text
    product.app.extensions["redis"].delete(key)
    assert "her sister" not in again.get(f"/staff/manual/new?kept={token}").text


@pytest.mark.parametrize("is_signed_out", [False, True])
def test_who_works_for_two_businesses_comes_back_to_the_one_they_typed_it_for(
    product: Product, is_signed_out: bool
) -> None:
    """What was typed about one business' customer came back in the other's form."""
    with product.app.app_context(), transaction():
        brian = credentials.by_email("brian@mlima.test")
        bahari = db.session.query(Tenant).filter_by(slug="bahari").one()
        assert brian is not None
        credentials.add_role(brian, bahari.id, "receptionist")
    browser = product.browser_of("brian")
    assert "Bahari" in browser.get("/staff/manual/new?tenant=bahari").text
    form = typed_form(browser)
    if is_signed_out:
        browser.post("/logout", data={"csrf_token": form["csrf_token"]})
    later(9 * 3_600)
    answer = sign_in(browser, browser.post("/staff/manual/new", data=form, headers=OURS).headers["Location"])
    page = browser.get(answer.headers["Location"]).text
    assert 'value="Paid by her sister"' in page and "Bahari" in page and "Mlima" not in page


def test_secrets_are_never_kept(product: Product) -> None:
    browser = product.browser_of("amina")
    secrets = {
        "consumer_key": "hush-1", "consumer_secret": "hush-2", "passkey": "hush-3", "initiator_password": "hush-4",
        "security_credential": "hush-5", "certificate": "hush-6",
    }  # fmt: skip
    form = secrets | {"name": "New till", "shortcode": "600999", "csrf_token": csrf_of(browser, "/staff/gateways/new")}
    later(9 * 3_600)
    where = browser.post("/staff/gateways/new", data=form).headers["Location"]
    (key,) = product.app.extensions["redis"].scan_iter("kept:*")
    token = key.decode().removeprefix("kept:")
    with product.inside():
        kept = vault.unseal(product.app.extensions["redis"].get(key).decode(), context=f"kept/{token}")
    assert "hush" not in kept and "New till" in kept
    answer = sign_in(browser, where, "amina@mlima.test")
    page = browser.get(answer.headers["Location"]).text
    assert 'value="New till"' in page and "hush" not in page


def test_a_button_pressed_after_the_session_ended_does_nothing_and_leads_back_to_its_page(product: Product) -> None:
    browser = product.browser_of("amina")
    token = csrf_of(browser, "/staff/gateways/new")
    later(9 * 3_600)
    where = browser.post("/staff/manual/x/void", data={"reason": "r", "csrf_token": token}).headers["Location"]
    answer = sign_in(browser, where, "amina@mlima.test")
    assert answer.headers["Location"].startswith("/staff/manual?kept=")
    assert "That was not done" in browser.get(answer.headers["Location"]).text


def kept_from(product: Product, browser: Any, path: str, form: dict[str, str], email: str) -> str:
    """Send a form after the session's end and sign in; the token of what is kept."""
    later(9 * 3_600)
    answer = sign_in(browser, browser.post(path, data=form).headers["Location"], email)
    return str(answer.headers["Location"].partition("kept=")[2].partition("&")[0])


def test_what_was_typed_on_one_page_fills_no_other_pages_form(product: Product) -> None:
    """A refund has an amount too: what a link of somebody's brings must not stand in it."""
    number, token = product.invoice(1_000)
    body = c2b_body(receipt=receipt(1), amount=1_000, account=number)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    browser = product.browser_of("amina")
    kept = kept_from(product, browser, "/staff/manual/new", typed_form(browser), "amina@mlima.test")
    assert 'value="1234"' in browser.get(f"/staff/manual/new?kept={kept}").text
    assert 'value="1000"' in browser.get(f"/staff/refunds/of/{token}?kept={kept}").text


def test_what_a_page_knew_when_it_was_made_does_not_come_back(product: Product) -> None:
    """How much could go back then: carried through the sign-in, it would let a refund of that time through."""
    number, token = product.invoice(1_000)
    body = c2b_body(receipt=receipt(1), amount=1_000, account=number)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    browser, path = product.browser_of("amina"), f"/staff/refunds/of/{token}"
    form = {"csrf_token": csrf_of(browser, path), "amount": "400", "reason": "Too much", "left": "77"}
    kept = kept_from(product, browser, path, form, "amina@mlima.test")
    page = browser.get(f"{path}?kept={kept}").text
    assert 'value="400"' in page and 'value="Too much"' in page
    assert 'value="77"' not in page and 'value="100000"' in page


def test_more_than_a_form_can_hold_and_what_a_page_sends_by_itself_is_not_kept(product: Product) -> None:
    store, browser = product.app.extensions["redis"], product.browser_of("brian")
    form = typed_form(browser)
    polled = browser.post(
        "/staff/manual/new", data=form | {"csrf_token": "made-up"}, headers=OURS | {"HX-Request": "true"}
    )
    assert polled.status_code == 400 and not list(store.scan_iter("kept:*"))
    later(9 * 3_600)
    where = browser.post("/staff/manual/new", data=form | {"note": "x" * 20_000}).headers["Location"]
    (key,) = store.scan_iter("kept:*")
    assert len(store.get(key)) < 1_000
    assert "That was not done" in browser.get(sign_in(browser, where).headers["Location"]).text


def test_a_field_for_a_password_is_never_filled_whatever_it_is_called(product: Product) -> None:
    class Form(StaffForm):
        word = PasswordField()
        note = StringField()

    with product.app.test_request_context("/staff/manual/new"):
        g.typed_before = MultiDict({"word": "hush", "note": "kept"})
        form = Form()
        assert (form.word.data, form.note.data) == (None, "kept")
