"""Signing in: guessing is slow and tells nothing, sessions end when they are ended, no form works without its token."""

from pathlib import Path
from typing import Any

import pytest

from portal import clock
from portal.accounts import signin
from portal.accounts.models import User
from portal.accounts.views import _is_ours
from portal.db import db, transaction
from tests.conftest import STRONG_HASHER
from tests.house import PASSWORD, House, config_for, csrf_of, later, made

ADDRESS = "brian@mlima.test"


def stranger(house: House) -> Any:
    """A stranger's browser."""
    return house.client()


def sign_in(house: House, email: str = ADDRESS, password: str = PASSWORD, *, goal: str = "") -> tuple[int, str, str]:
    """(status, text, where to) of the sign-in form."""
    client = stranger(house)
    token = csrf_of(client, "/login")
    answer = client.post("/login", data={"email": email, "password": password, "next": goal, "csrf_token": token})
    return answer.status_code, answer.text, answer.headers.get("Location", "")


def token_for(house: House, email: str = ADDRESS, password: str = PASSWORD) -> tuple[int, dict[str, str]]:
    """(status, body) of the API's sign-in."""
    answer = stranger(house).post("/api/auth/token", json={"email": email, "password": password})
    return answer.status_code, answer.json


def user(house: House, email: str = ADDRESS) -> User:
    with house.inside():
        return db.session.query(User).filter_by(email=email).one()


def test_each_role_comes_to_its_own_first_page(house: House) -> None:
    assert sign_in(house)[::2] == (303, "/staff/")
    assert sign_in(house, " OTIENO@mlima.test ")[::2] == (303, "/account/")
    assert sign_in(house, goal="/staff/invoices")[::2] == (303, "/staff/invoices")


@pytest.mark.parametrize(
    "goal",
    ["https://evil.test", "//evil.test", "/\\evil.test", "\\\\evil.test", "///evil.test", "/\t/evil.test",
    "/\n/evil.test",
     "http:evil.test", "javascript:alert(1)", " //evil.test", "//[", "/%0d%0aSet-Cookie:x=1", "evil.test",
     "/\x00/evil", "//evil.test/%2f.."],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_signing_in(goal: str) -> None:
    assert not _is_ours(goal) or goal.startswith("/%0d"), "an encoded line break stays in the path"


def test_the_answer_to_a_sign_in_leads_only_here(house: House) -> None:
    for goal in ("https://evil.test", "//evil.test", "/\\evil.test", "/\t/evil.test", "//["):
        status, _text, where = sign_in(house, goal=goal)
        assert (status, where) == (303, "/staff/"), goal


def test_a_wrong_password_and_an_unknown_address_read_the_same(house: House) -> None:
    def said(email: str) -> tuple[int, str]:
        status, text, _where = sign_in(house, email, "wrong words")
        return status, text.replace(email, "").split("<form")[0] + "".join(text.split("error")[1:2])[:200]

    assert said(ADDRESS) == said("nobody@mlima.test") and said(ADDRESS)[0] == 422
    assert "wrong" in sign_in(house, ADDRESS, "wrong words")[1]
    assert token_for(house, ADDRESS, "wrong words") == token_for(house, "nobody@mlima.test", "wrong words")
    assert token_for(house, ADDRESS, "wrong words")[0] == 401


@pytest.mark.parametrize("email", [ADDRESS, "nobody@mlima.test"])
def test_eight_wrong_passwords_lock_the_address_for_a_while_whether_it_exists_or_not(house: House, email: str) -> None:
    for _try in range(signin.TRIES):
        assert token_for(house, email, "wrong words")[0] == 401
    locked = stranger(house).post("/api/auth/token", json={"email": email.upper(), "password": PASSWORD})
    assert locked.status_code == 429 and locked.json["error"] == "too_many_requests"
    assert 500 < int(locked.headers["Retry-After"]) <= 601
    status, text, _where = sign_in(house, email)
    assert status == 422 and "Too many wrong passwords" in text, "the right one does not help either"
    assert token_for(house, "amina@mlima.test")[0] == 200, "nobody else is locked out"


def test_a_lock_ends_and_a_right_password_starts_the_count_again(house: House) -> None:
    for _try in range(signin.TRIES):
        token_for(house, ADDRESS, "wrong words")
    later(signin.LOCKED_FOR.total_seconds() + 1)
    assert token_for(house)[0] == 200
    for _try in range(signin.TRIES - 1):
        assert token_for(house, ADDRESS, "wrong words")[0] == 401
    assert token_for(house)[0] == 200 and user(house).failed_signins == 0


def test_one_address_on_the_network_may_not_try_for_ever(house: House) -> None:
    tried = [token_for(house, f"person{n}@mlima.test", "wrong words")[0] for n in range(21)]
    assert tried == [401] * 20 + [429]
    answer = stranger(house).post("/api/auth/token", json={"email": "x@y.test", "password": "wrong words"})
    assert int(answer.headers["Retry-After"]) > 0 and set(answer.json) == {"error", "message"}


def test_with_redis_away_people_still_sign_in(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def refuse(*_given: object, **_named: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(house.app.extensions["redis"], "execute_command", refuse)
    assert sign_in(house)[0] == 303 and token_for(house, "nobody@mlima.test")[0] == 401


def test_passwords_are_kept_as_argon2_of_full_strength(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STRONG_HASHER.memory_cost >= 19 * 1024 and STRONG_HASHER.time_cost >= 2, "OWASP's least"
    monkeypatch.setattr(signin, "_hasher", STRONG_HASHER)
    with house.app.app_context(), transaction():
        kept = signin.add_user(email="New@Mlima.test", name="New", password="long enough words").password_hash
    assert kept.startswith("$argon2id$") and "long enough" not in kept
    assert token_for(house, "new@mlima.test", "long enough words")[0] == 422, "no business, no token"


def test_ended_sessions_end_everywhere_at_once(house: House) -> None:
    browser, api = house.browser_of("brian"), house.api("brian")
    assert browser.get("/staff/").status_code == 200 and api.get("/api/clinicians").status_code == 200
    with house.app.app_context(), transaction():
        signin.end_sessions(db.session.query(User).filter_by(email=ADDRESS).one())
    assert browser.get("/staff/").headers["Location"].startswith("/login")
    assert api.get("/api/clinicians").status_code == 401
    assert house.browser_of("amina").get("/staff/").status_code == 200


def test_signing_out_ends_the_session_of_this_browser(house: House) -> None:
    browser = house.browser_of("brian")
    token = csrf_of(browser, "/staff/invoices/new")
    assert browser.get("/logout").status_code == 405, "a picture's address may not sign anybody out"
    assert browser.post("/logout", data={"csrf_token": token}).status_code == 303
    assert browser.get("/staff/").status_code == 302


def test_a_sign_in_takes_nothing_over_from_the_session_before(house: House) -> None:
    client = stranger(house)
    token = csrf_of(client, "/login")
    with client.session_transaction() as session:
        session["tenant"], session["planted"] = "bahari", "x"
    client.post("/login", data={"email": ADDRESS, "password": PASSWORD, "csrf_token": token})
    with client.session_transaction() as session:
        assert "planted" not in session and session.get("tenant") != "bahari"


def test_a_form_without_its_token_is_refused_and_changes_nothing(house: House) -> None:
    _number, token = house.invoice(300)
    browser = house.browser_of("amina")
    before = house.api("amina").get("/api/payment-gateways").text
    uid = house.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    for path in (f"/staff/gateways/{uid}", "/staff/gateways/new", "/staff/invoices/new", "/logout", "/login"):
        for data in ({}, {"csrf_token": "made-up"}, {"csrf_token": csrf_of(stranger(house), "/login")}):
            answer = browser.post(path, data=data | {"name": "stolen", "shortcode": "600999"})
            assert answer.status_code == 400 and "Nothing was changed" in answer.text, path
    assert house.api("amina").get("/api/payment-gateways").text == before
    assert browser.get("/staff/").status_code == 200, "still signed in"


def test_a_session_that_was_tampered_with_or_made_with_another_key_opens_nothing(
    house: House, sqlite_url: str, clean_redis_url: str, tmp_path: Path
) -> None:
    browser = house.browser_of("amina")
    cookie = browser.get_cookie("session")
    assert cookie is not None
    other = House(made(config_for(sqlite_url, clean_redis_url, tmp_path / "other", secret_key="t" * 40)))
    for value in (cookie.value[:-2] + "xx", "x", "", cookie.value):
        client = other.client() if value == cookie.value else stranger(house)
        client.set_cookie("session", value)
        assert client.get("/staff/").status_code == 302
    with other.app.app_context():
        db.session.remove()
        db.engine.dispose()
    other.app.extensions["redis"].close()


def test_a_session_and_a_fresh_sign_in_have_their_time(house: House) -> None:
    browser = house.browser_of("amina")
    uid = house.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    page = browser.get(f"/staff/gateways/{uid}")
    assert page.status_code == 200
    later(16 * 60)
    data = {
        "name": "mlima paybill", "type": "MPESA_API", "sub_type": "PAYBILL", "shortcode": "600111", "env": "production",
        "csrf_token": csrf_of(browser, f"/staff/gateways/{uid}"),
    }  # fmt: skip
    answer = browser.post(f"/staff/gateways/{uid}", data=data)
    assert answer.status_code == 422 and "Sign in again" in answer.text
    clock.reset()
    assert house.api("amina").get(f"/api/payment-gateways/{uid}").json["env"] == "sandbox"
