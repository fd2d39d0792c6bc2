"""Passwords: changed by who knows the old one, chosen by a link; either ends whatever was signed in before."""

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner

from portal.cli import main
from portal.kernel import vault
from portal.kernel.db import db
from portal.outbox.models import OutboxItem
from portal.users import links
from portal.users.models import User
from tests.support.clock import later
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

ADDRESS, NEW = "brian@mlima.test", "battery staple words"


def sign_in(product: Product, password: str, email: str = ADDRESS) -> int:
    """The status of signing in."""
    client = product.client()
    data = {"email": email, "password": password, "csrf_token": csrf_of(client, "/login")}
    return client.post("/login", data=data).status_code


def change(browser: Any, current: str, new: str, again: str = "") -> Any:
    """The answer to the form on the page of one's own password."""
    data = {"current": current, "password": new, "again": again or new, "csrf_token": csrf_of(browser, "/password/")}
    return browser.post("/password/", data=data)


def mails(product: Product) -> list[dict[str, str]]:
    """What was mailed."""
    with product.inside():
        items = db.session.query(OutboxItem).filter_by(kind="email").order_by(OutboxItem.id).all()
        return [json.loads(vault.unseal(one.payload_sealed, context=f"outbox/{one.tenant_id}")) for one in items]


def ask_for_link(product: Product, email: str) -> Any:
    client = product.client()
    return client.post(
        "/password/forgotten", data={"email": email, "csrf_token": csrf_of(client, "/password/forgotten")}
    )


def link_in(mail: dict[str, str]) -> str:
    """The path of the link in a mail."""
    found = re.search(r"http://127\.0\.0\.1:1(/password/new/\S+)", mail["text"])
    assert found, mail
    return found.group(1)


def choose(product: Product, path: str, new: str = NEW) -> Any:
    client = product.client()
    token = csrf_of(client, path)
    return client.post(path, data={"password": new, "again": new, "csrf_token": token})


@pytest.mark.parametrize("name", ["brian", "otieno"])
def test_a_changed_password_ends_every_other_session_and_token(either_product: Product, name: str) -> None:
    """safety.md 12: nothing could be changed, and nothing ended."""
    product, first_page = either_product, {"brian": "/staff/", "otieno": "/account/"}[name]
    browser, elsewhere, api = product.browser_of(name), product.browser_of(name), product.api(name)
    assert api.get("/api/mpesa/order/x").status_code == 404
    answer = change(browser, PASSWORD, NEW)
    assert answer.status_code == 303 and answer.headers["Location"] == first_page
    assert "Your password is changed" in browser.get(first_page).text, "who changed it stays"
    assert elsewhere.get(first_page).status_code == 302
    assert api.get("/api/mpesa/order/x").status_code == 401
    assert (
        sign_in(product, PASSWORD, f"{name}@mlima.test") == 422 and sign_in(product, NEW, f"{name}@mlima.test") == 303
    )
    assert product.browser_of("amina").get("/staff/").status_code == 200, "nobody else's"


def test_a_password_is_changed_only_by_who_knows_it_and_to_one_that_will_do(product: Product) -> None:
    browser = product.browser_of("brian")
    for given, said in (
        (("wrong words", NEW), "This is not your password"),
        ((PASSWORD, "short"), "at least 10 characters"),
        ((PASSWORD, NEW, "battery staple word"), "not what you entered above"),
    ):
        answer = change(browser, *given)
        assert answer.status_code == 422 and said in answer.text and NEW not in answer.text
    assert browser.post("/password/", data={"current": PASSWORD, "password": NEW, "again": NEW}).status_code == 400
    assert sign_in(product, PASSWORD) == 303 and product.client().get("/password/").status_code == 302
    assert [change(browser, "wrong words", NEW).status_code for _try in range(8)] == [422] * 8
    answer = change(browser, PASSWORD, NEW)
    assert answer.status_code == 429 and "Too many wrong passwords" in answer.text and answer.headers["Retry-After"]


def test_a_link_by_mail_sets_a_password_once_and_ends_what_was_signed_in(either_product: Product) -> None:
    product = either_product
    browser, api = product.browser_of("brian"), product.api("brian")
    assert ask_for_link(product, " Brian@mlima.test").status_code == 200
    (mail,) = mails(product)
    assert mail["to"] == ADDRESS and "Mlima House" in mail["text"]
    path = link_in(mail)
    assert product.client().get(path).status_code == 200 == product.client().get(path).status_code, (
        "looking uses nothing up"
    )
    assert choose(product, path, "short").status_code == 422
    assert choose(product, path).headers["Location"] == "/login"
    assert browser.get("/staff/").status_code == 302 and api.get("/api/clinicians").status_code == 401
    assert product.client().get(path).status_code == 410, "once"
    assert sign_in(product, NEW) == 303 and sign_in(product, PASSWORD) == 422


def test_a_link_is_over_after_an_hour_or_a_newer_password_and_is_no_bearer_token(product: Product) -> None:
    ask_for_link(product, ADDRESS)
    path = link_in(mails(product)[0])
    later(3_599)
    assert product.client().get(path).status_code == 200
    later(2)
    assert product.client().get(path).status_code == 410
    ask_for_link(product, ADDRESS)
    path = link_in(mails(product)[1])
    assert change(product.browser_of("brian"), PASSWORD, NEW).status_code == 303
    assert product.client().get(path).status_code == 410
    with product.inside():
        person = db.session.query(User).filter_by(email=ADDRESS).one()
        token = links.make(person, product.app.secret_key, good_for=links.MAILED_FOR)
    headers = {"Authorization": f"Bearer {token}"}
    assert product.client().get("/api/clinicians", headers=headers).status_code == 401
    bearer = product.client().post("/api/auth/token", json={"email": ADDRESS, "password": NEW}).json["accessToken"]
    assert product.client().get(f"/password/new/{bearer}").status_code == 410
    assert product.client().get(f"/password/new/{token[:-3]}xxx").status_code == 410


def test_asking_for_a_link_tells_nobody_who_signs_in_and_fills_nobodys_mailbox(product: Product) -> None:
    known, unknown = ask_for_link(product, ADDRESS), ask_for_link(product, "nobody@mlima.test")
    assert (known.status_code, known.text) == (200, unknown.text)
    assert len(mails(product)) == 1
    for _time in range(5):
        ask_for_link(product, ADDRESS)
    assert len(mails(product)) <= 2, "one in ten minutes"
    assert [ask_for_link(product, "x@y.test").status_code for _time in range(16)][-1] == 429


def test_whoever_is_locked_out_by_a_neighbour_comes_in_by_a_link(product: Product) -> None:
    """safety.md 11: a new browser on a network where somebody guesses."""
    for _try in range(9):
        product.client().post("/api/auth/token", json={"email": ADDRESS, "password": "wrong words"})
    assert sign_in(product, PASSWORD) == 429
    ask_for_link(product, ADDRESS)
    client, path = product.client(), link_in(mails(product)[0])
    client.post(path, data={"password": NEW, "again": NEW, "csrf_token": csrf_of(client, path)})
    data = {"email": ADDRESS, "password": NEW, "csrf_token": csrf_of(client, "/login")}
    assert client.post("/login", data=data).status_code == 303


def test_the_newest_of_two_changes_at_once_wins_and_the_other_is_told(product: Product) -> None:
    ask_for_link(product, ADDRESS)
    path = link_in(mails(product)[0])
    first, second = product.client(), product.client()
    tokens = [csrf_of(client, path) for client in (first, second)]
    answers = [
        client.post(path, data={"password": f"{NEW} {n}", "again": f"{NEW} {n}", "csrf_token": token})
        for n, (client, token) in enumerate(zip((first, second), tokens, strict=True))
    ]
    assert [answer.status_code for answer in answers] == [303, 410]
    assert sign_in(product, f"{NEW} 0") == 303


@pytest.fixture
def portal(product: Product, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `portal ...` in this product; (exit code, what it said)."""
    monkeypatch.setattr("portal.app.create_app", lambda *_given: product.app)
    monkeypatch.setattr("portal.cli.running._use_demonstration", lambda: None)

    def run(*words: str, typed: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(main, words, input=typed)
        return done.exit_code, done.output

    return run


def test_the_command_gives_a_new_password_or_a_link(product: Product, portal: Any) -> None:
    browser, api = product.browser_of("brian"), product.api("brian")
    code, said = portal("user", "password", ADDRESS, typed=f"{NEW}\n{NEW}\n")
    assert code == 0 and NEW not in said
    assert browser.get("/staff/").status_code == 302 and api.get("/api/clinicians").status_code == 401
    assert sign_in(product, NEW) == 303
    code, said = portal("user", "password", ADDRESS, "--link")
    assert code == 0 and said.startswith("http://127.0.0.1:1/password/new/")
    assert choose(product, said.strip().removeprefix("http://127.0.0.1:1"), PASSWORD).status_code == 303
    assert sign_in(product, PASSWORD) == 303
    assert portal("user", "password", "nobody@mlima.test", "--link") == (1, "Nobody signs in with nobody@mlima.test.\n")
    assert portal("user", "password", ADDRESS, typed="short\nshort\n")[0] == 1


def test_commands_change_roles_and_end_them_at_once(product: Product, portal: Any) -> None:
    """coverage.md S1: nothing changed a role, deactivated or revoked; a known address had no second tenant."""
    browser, api = product.browser_of("brian"), product.api("brian")
    assert api.get("/api/payment-gateways").status_code == 403
    assert portal("user", "role", ADDRESS, "--tenant", "mlima", "--role", "tenant_admin")[0] == 0
    assert api.get("/api/payment-gateways").status_code == 200 and browser.get("/staff/gateways").status_code == 200
    assert portal("user", "role", ADDRESS, "--tenant", "bahari", "--role", "accountant")[0] == 0
    assert browser.get("/staff/").status_code == 302, "whoever joins another business signs in anew"
    browser = product.browser_of("brian")
    assert "Bahari House" in browser.get("/staff/?tenant=bahari").text
    assert portal("user", "deactivate", ADDRESS, "--tenant", "mlima")[0] == 0
    assert browser.get("/staff/gateways").status_code == 403
    assert "Bahari House" in browser.get("/staff/?tenant=mlima").text, "what is left is the other business"
    assert portal("user", "deactivate", ADDRESS)[0] == 0
    assert browser.get("/staff/").status_code == 302 and sign_in(product, PASSWORD) == 422
    assert portal("user", "activate", ADDRESS)[0] == 0
    assert sign_in(product, PASSWORD) == 303


def test_a_revoked_key_opens_nothing(product: Product, portal: Any) -> None:
    key = portal("key", "create", "mlima", "--name", "shop")[1].strip()
    client = product.client()
    assert client.get("/api/transactions", headers={"X-API-Key": key}).status_code == 200
    number = portal("key", "list", "mlima")[1].split()[0]
    assert portal("key", "revoke", "bahari", number)[0] == 1, "another tenant's"
    assert client.get("/api/transactions", headers={"X-API-Key": key}).status_code == 200
    assert portal("key", "revoke", "mlima", number) == (0, "The key shop is revoked.\n")
    assert client.get("/api/transactions", headers={"X-API-Key": key}).status_code == 401
    assert "revoked" in portal("key", "list", "mlima")[1]


def test_a_sign_in_page_carries_the_name_of_the_clinic_that_led_to_it(product: Product) -> None:
    """use.md: a patient who signs in read "Mlango" instead of the clinic."""
    assert 'href="/clinic/mlima/sign-in"' in product.client().get("/clinic/mlima/").text
    by_code = product.client().get("/clinic/mlima/sign-in").text
    assert 'href="/login?next=/account/&amp;tenant=mlima"' in by_code
    assert "<title>Sign in · Mlima House</title>" in product.client().get("/login?tenant=mlima").text
    browser = product.browser_of("otieno")
    assert "Mlima House</title>" in browser.get("/account/").text
    later(25 * 3_600)
    assert "<title>Sign in · Mlima House</title>" in browser.get(browser.get("/account/").headers["Location"]).text
    assert "<title>Sign in · Mlango</title>" in product.client().get("/login?tenant=nobody").text
