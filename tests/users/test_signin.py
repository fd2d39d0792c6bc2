"""Signing in: guessing is slow and tells nothing, sessions end when they are ended, no form works without its token."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from portal.users import credentials, sessions, tokens
from portal.users.models import User
from portal.users.permissions import SignInNeeded
from portal.web.signin import _is_ours
from tests.support.application import closed, config_for, opened
from tests.support.clock import later
from tests.support.passwords import STRONG_HASHER
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

ADDRESS = "brian@mlima.test"


def stranger(product: Product) -> Any:
    """A stranger's browser."""
    return product.client()


def sign_in(
    product: Product, email: str = ADDRESS, password: str = PASSWORD, *, goal: str = ""
) -> tuple[int, str, str]:
    """(status, text, where to) of the sign-in form."""
    client = stranger(product)
    token = csrf_of(client, "/login")
    answer = client.post("/login", data={"email": email, "password": password, "next": goal, "csrf_token": token})
    return answer.status_code, answer.text, answer.headers.get("Location", "")


def token_for(product: Product, email: str = ADDRESS, password: str = PASSWORD) -> tuple[int, dict[str, str]]:
    """(status, body) of the API's sign-in."""
    answer = stranger(product).post("/api/auth/token", json={"email": email, "password": password})
    return answer.status_code, answer.json


def user(product: Product, email: str = ADDRESS) -> User:
    with product.inside():
        return db.session.query(User).filter_by(email=email).one()


def test_each_role_comes_to_its_own_first_page(product: Product) -> None:
    assert sign_in(product)[::2] == (303, "/staff/")
    assert sign_in(product, " OTIENO@mlima.test ")[::2] == (303, "/account/")
    assert sign_in(product, goal="/staff/invoices")[::2] == (303, "/staff/invoices")


@pytest.mark.parametrize(
    "goal",
    ["https://evil.test", "//evil.test", "/\\evil.test", "\\\\evil.test", "///evil.test", "/\t/evil.test",
    "/\n/evil.test",
     "http:evil.test", "javascript:alert(1)", " //evil.test", "//[", "/%0d%0aSet-Cookie:x=1", "evil.test",
     "/\x00/evil", "//evil.test/%2f.."],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_signing_in(goal: str) -> None:
    assert not _is_ours(goal) or goal.startswith("/%0d"), "an encoded line break stays in the path"


def test_the_answer_to_a_sign_in_leads_only_here(product: Product) -> None:
    for goal in ("https://evil.test", "//evil.test", "/\\evil.test", "/\t/evil.test", "//["):
        status, _text, where = sign_in(product, goal=goal)
        assert (status, where) == (303, "/staff/"), goal


def test_a_wrong_password_and_an_unknown_address_read_the_same(product: Product) -> None:
    def said(email: str) -> tuple[int, str]:
        status, text, _where = sign_in(product, email, "wrong words")
        return status, text.replace(email, "").split("<form")[0] + "".join(text.split("error")[1:2])[:200]

    assert said(ADDRESS) == said("nobody@mlima.test") and said(ADDRESS)[0] == 422
    assert "wrong" in sign_in(product, ADDRESS, "wrong words")[1]
    assert token_for(product, ADDRESS, "wrong words") == token_for(product, "nobody@mlima.test", "wrong words")
    assert token_for(product, ADDRESS, "wrong words")[0] == 401


def from_network(product: Product, address: str, email: str = ADDRESS, password: str = "wrong words") -> int:
    """The status of the API's sign-in, asked from this address."""
    client = stranger(product)
    client.environ_base["REMOTE_ADDR"] = address
    return client.post("/api/auth/token", json={"email": email, "password": password}).status_code  # type: ignore[no-any-return]


def time_passes(product: Product, seconds: int) -> None:
    """Let Redis' keys grow older: its clock is not ours to move."""
    store = product.app.extensions["redis"]
    for key in store.scan_iter("signin:*"):
        if (left := store.ttl(key) - seconds) > 0:
            store.expire(key, left)
        else:
            store.delete(key)


@pytest.mark.parametrize("email", [ADDRESS, "nobody@mlima.test"])
def test_eight_wrong_passwords_lock_the_address_for_a_while_whether_it_exists_or_not(
    product: Product, email: str
) -> None:
    for _try in range(8):
        assert token_for(product, email, "wrong words")[0] == 401
    locked = stranger(product).post("/api/auth/token", json={"email": email.upper(), "password": PASSWORD})
    assert locked.status_code == 429 and locked.json["error"] == "too_many_requests"
    assert 500 < int(locked.headers["Retry-After"]) <= 600
    status, text, _where = sign_in(product, email)
    assert status == 429 and "Too many wrong passwords" in text, "the right one does not help either"
    assert token_for(product, "amina@mlima.test")[0] == 200, "nobody else is locked out"


def test_a_lock_ends_and_a_right_password_starts_the_count_again(product: Product) -> None:
    for _try in range(8):
        token_for(product, ADDRESS, "wrong words")
    time_passes(product, 590)
    assert token_for(product)[0] == 429
    time_passes(product, 11)
    assert token_for(product)[0] == 200
    for _try in range(7):
        assert token_for(product, ADDRESS, "wrong words")[0] == 401
    assert token_for(product)[0] == 200
    assert [token_for(product, ADDRESS, "wrong words")[0] for _try in range(2)] == [401, 401], "counted anew"


def test_a_stranger_elsewhere_locks_nobody_out(product: Product) -> None:
    """safety.md 11: counts are per account and network; the guesser's own network is locked, the owner's is not."""
    assert [from_network(product, "203.0.113.9") for _try in range(9)] == [401] * 8 + [429]
    assert from_network(product, "203.0.113.9", password=PASSWORD) == 429
    assert from_network(product, "198.51.100.7", password=PASSWORD) == 200
    assert from_network(product, "203.0.113.10", password=PASSWORD) == 200


def test_a_household_has_one_count_whatever_address_of_its_64_bits_it_uses(product: Product) -> None:
    tried = [from_network(product, f"2001:db8:1:2::{n:x}") for n in range(1, 10)]
    assert tried == [401] * 8 + [429]
    assert from_network(product, "2001:db8:1:3::1", password=PASSWORD) == 200


def test_a_browser_that_signed_in_before_gets_through_a_lock_on_its_own_network(product: Product) -> None:
    """safety.md 11: whoever sits in the waiting room shares the counter's address, and cannot lock the counter out."""
    known = product.browser_of("brian")
    known.post("/logout", data={"csrf_token": csrf_of(known, "/staff/invoices/new")})
    assert [token_for(product, ADDRESS, "wrong words")[0] for _try in range(9)] == [401] * 8 + [429]
    assert [token_for(product, f"p{n}@x.test", "wrong words")[0] for n in range(30)][-1] == 429, (
        "the network's limit too"
    )

    def tries(password: str, email: str = ADDRESS) -> int:
        data = {"email": email, "password": password, "csrf_token": csrf_of(known, "/login")}
        return known.post("/login", data=data).status_code  # type: ignore[no-any-return]

    assert tries(PASSWORD) == 303
    known.post("/logout", data={"csrf_token": csrf_of(known, "/staff/invoices/new")})
    assert [tries("wrong words") for _try in range(9)] == [422] * 8 + [429], "a known one may not guess for ever"
    time_passes(product, 601)
    assert [tries("wrong words", "amina@mlima.test") for _try in range(9)] == [422] * 8 + [429], "known to brian only"


def test_a_devices_cookie_cannot_be_made_up(product: Product) -> None:
    for _try in range(8):
        token_for(product, ADDRESS, "wrong words")
    client = stranger(product)
    client.set_cookie("mlango-device", "eyJpZCI6IngiLCJhY2NvdW50cyI6WyJ4Il19.made-up")
    data = {"email": ADDRESS, "password": PASSWORD, "csrf_token": csrf_of(client, "/login")}
    assert client.post("/login", data=data).status_code == 429


def test_an_account_that_many_networks_guess_at_allows_each_fewer_tries_and_its_owner_in(product: Product) -> None:
    for n in range(13):  # 13 networks, 8 tries each
        for _try in range(8):
            assert from_network(product, f"203.0.113.{n}") == (401 if n * 8 + _try < 100 or _try < 2 else 429)
    assert [from_network(product, "198.51.100.1") for _try in range(3)] == [401, 401, 429]
    assert from_network(product, "198.51.100.2", password=PASSWORD) == 200
    assert [from_network(product, "198.51.100.1", "amina@mlima.test") for _try in range(3)] == [401] * 3


def test_a_hundred_guesses_at_once_are_not_more_than_eight(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted before the password is looked at: otherwise all that come together are looked at."""
    looked_at: list[str] = []
    real = credentials.check_password

    def counting(email: str, password: str) -> credentials.Entered:
        looked_at.append(password)
        return real(email, password)

    monkeypatch.setattr(credentials, "check_password", counting)
    start = threading.Barrier(20)

    def guess(number: int) -> int:
        start.wait()
        return token_for(either_product, ADDRESS, f"guess {number} words")[0]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(guess, range(20)))
    assert len(looked_at) == 8 and sorted(answers) == [401] * 8 + [429] * 12


def test_whoever_hits_on_the_password_that_nobody_has_is_still_nobody(product: Product) -> None:
    """tests.md, signin.py:70: an address that nobody has is checked against a hash too, and never lets in."""
    assert credentials._hasher.verify(credentials._NOBODY, "nobody")
    assert token_for(product, "nobody@mlima.test", "nobody")[0] == 401


def test_one_address_on_the_network_may_not_try_for_ever(product: Product) -> None:
    tried = [token_for(product, f"person{n}@mlima.test", "wrong words")[0] for n in range(21)]
    assert tried == [401] * 20 + [429]
    answer = stranger(product).post("/api/auth/token", json={"email": "x@y.test", "password": "wrong words"})
    assert int(answer.headers["Retry-After"]) > 0 and set(answer.json) == {"error", "message"}


def test_with_redis_away_people_still_sign_in(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def refuse(*_given: object, **_named: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(product.app.extensions["redis"], "execute_command", refuse)
    assert sign_in(product)[0] == 303 and token_for(product, "nobody@mlima.test")[0] == 401


def test_passwords_are_kept_as_argon2_of_full_strength(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STRONG_HASHER.memory_cost >= 19 * 1024 and STRONG_HASHER.time_cost >= 2, "OWASP's least"
    monkeypatch.setattr(credentials, "_hasher", STRONG_HASHER)
    with product.app.app_context(), transaction():
        kept = credentials.add_user(email="New@Mlima.test", name="New", password="long enough words").password_hash
    assert kept.startswith("$argon2id$") and "long enough" not in kept
    assert token_for(product, "new@mlima.test", "long enough words")[0] == 422, "no business, no token"


def test_ended_sessions_end_everywhere_at_once(product: Product) -> None:
    browser, api = product.browser_of("brian"), product.api("brian")
    assert browser.get("/staff/").status_code == 200 and api.get("/api/clinicians").status_code == 200
    with product.app.app_context(), transaction():
        credentials.end_sessions(db.session.query(User).filter_by(email=ADDRESS).one())
    assert browser.get("/staff/").headers["Location"].startswith("/login")
    assert api.get("/api/clinicians").status_code == 401
    assert product.browser_of("amina").get("/staff/").status_code == 200


def test_signing_out_ends_the_session_of_this_browser(product: Product) -> None:
    browser = product.browser_of("brian")
    token = csrf_of(browser, "/staff/invoices/new")
    assert browser.get("/logout").status_code == 405, "a picture's address may not sign anybody out"
    assert browser.post("/logout", data={"csrf_token": token}).status_code == 303
    assert browser.get("/staff/").status_code == 302


def copy_of(browser: Any, product: Product) -> Any:
    """Another browser with the same cookies."""
    thief = stranger(product)
    cookie = browser.get_cookie("session")
    thief.set_cookie("session", cookie.value)
    return thief


def test_signing_out_ends_the_session_for_a_copied_cookie_too_and_no_other(either_product: Product) -> None:
    """safety.md 12: the cookie that somebody copied opened staff pages after its owner had signed out."""
    browser, elsewhere = either_product.browser_of("brian"), either_product.browser_of("brian")
    thief = copy_of(browser, either_product)
    assert thief.get("/staff/").status_code == 200
    browser.post("/logout", data={"csrf_token": csrf_of(browser, "/staff/invoices/new")})
    assert thief.get("/staff/").headers["Location"].startswith("/login")
    assert elsewhere.get("/staff/").status_code == 200, "their other browser stays signed in"


def test_signing_in_again_ends_the_session_before(product: Product) -> None:
    browser = product.browser_of("brian")
    thief = copy_of(browser, product)
    data = {"email": ADDRESS, "password": PASSWORD, "csrf_token": csrf_of(browser, "/login")}
    assert browser.post("/login", data=data).status_code == 303
    assert thief.get("/staff/").status_code == 302 and browser.get("/staff/").status_code == 200


def test_a_session_ends_after_eight_hours_without_use_and_after_a_day_in_any_case(product: Product) -> None:
    """safety.md 12: there was no absolute lifetime. Polls of an open page are nobody at work."""
    browser, forgotten = product.browser_of("brian"), product.browser_of("brian")
    for _hour in range(7):
        later(3_600)
        assert browser.get("/staff/").status_code == 200
        assert forgotten.get("/staff/live", headers={"HX-Request": "true"}).status_code in (200, 204)
    later(2 * 3_600)
    assert browser.get("/staff/").status_code == 200, "nine hours old, used two hours ago"
    assert forgotten.get("/staff/live", headers={"HX-Request": "true"}).status_code == 302
    for _hour in range(14):
        later(3_600)
        assert browser.get("/staff/").status_code == 200
    later(3_601)
    assert browser.get("/staff/").status_code == 302, "a day and a second old, used an hour ago"


def test_a_patients_session_lives_and_ends_the_same(product: Product) -> None:
    browser = product.browser_of("otieno")
    for _time in range(3):
        later(7 * 3_600)
        assert browser.get("/account/").status_code == 200
    later(8 * 3_600 + 1)
    assert browser.get("/account/").status_code == 302


def test_a_sign_in_that_overlaps_a_change_of_the_password_gives_neither_session_nor_token(product: Product) -> None:
    """The password is checked, then everything of the person is ended, then the session would begin."""
    with product.app.test_request_context("/login"):
        entered = credentials.check_password(ADDRESS, PASSWORD)
        with transaction():
            credentials.end_sessions(db.session.query(User).filter_by(email=ADDRESS).one())
        with transaction():
            token = sessions.begin(entered.user_id, entered.session_key)
        bearer = tokens.issue(entered, db.session.get_one(Tenant, product.tenant_id()), product.app.secret_key)
        assert sessions.find(token) is None
        with pytest.raises(SignInNeeded):
            tokens.read(bearer, product.app.secret_key)


def test_over_https_the_cookies_can_be_set_by_nobody_else(
    sqlite_url: str, clean_redis_url: str, tmp_path: Path
) -> None:
    """safety.md 18: `__Host-` keeps a neighbouring host or a plain http page from planting a session, or a payer's."""
    product = Product(
        opened(
            config_for(sqlite_url, clean_redis_url, tmp_path / "s", public_url="https://pay.example", development=False)
        )
    ).furnish()
    client, base = stranger(product), "https://pay.example"
    text = client.get("/login", base_url=base).text
    token = text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    data = {"email": ADDRESS, "password": PASSWORD, "csrf_token": token}
    answer = client.post("/login", data=data, base_url=base)
    cookies = {one.split("=", 1)[0]: one for one in answer.headers.getlist("Set-Cookie")}
    assert set(cookies) == {"__Host-session", "__Host-mlango-device"}
    for one in cookies.values():
        assert "Secure" in one and "HttpOnly" in one and "SameSite=Lax" in one and "Path=/" in one
        assert "Domain" not in one
    assert client.get("/staff/", base_url=base).status_code == 200
    bought = {"tenant": "mlima", "packageId": product.package(), "phone": "0712000111"}
    payer = stranger(product).post("/api/portal/mpesa/initiate", json=bought, base_url=base)
    cookie = payer.headers["Set-Cookie"]
    assert payer.status_code == 201 and cookie.startswith("__Host-mlango_device_")
    assert "Secure" in cookie and "HttpOnly" in cookie and "Path=/" in cookie and "Domain" not in cookie
    closed(product.app)


def test_a_sign_in_takes_nothing_over_from_the_session_before(product: Product) -> None:
    client = stranger(product)
    token = csrf_of(client, "/login")
    with client.session_transaction() as session:
        session["tenant"], session["planted"] = "bahari", "x"
    client.post("/login", data={"email": ADDRESS, "password": PASSWORD, "csrf_token": token})
    with client.session_transaction() as session:
        assert "planted" not in session and session.get("tenant") != "bahari"


def test_a_form_without_its_token_is_refused_and_changes_nothing(product: Product) -> None:
    _number, token = product.invoice(300)
    browser = product.browser_of("amina")
    before = product.api("amina").get("/api/payment-gateways").text
    uid = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    for path in (f"/staff/gateways/{uid}", "/staff/gateways/new", "/staff/invoices/new", "/logout", "/login"):
        for data in ({}, {"csrf_token": "made-up"}, {"csrf_token": csrf_of(stranger(product), "/login")}):
            answer = browser.post(path, data=data | {"name": "stolen", "shortcode": "600999"})
            assert answer.status_code == 400 and "Nothing was changed" in answer.text, path
    assert product.api("amina").get("/api/payment-gateways").text == before
    assert browser.get("/staff/").status_code == 200, "still signed in"


def test_a_session_that_was_tampered_with_or_made_with_another_key_opens_nothing(
    product: Product, sqlite_url: str, clean_redis_url: str, tmp_path: Path
) -> None:
    browser = product.browser_of("amina")
    cookie = browser.get_cookie("session")
    assert cookie is not None
    other = Product(opened(config_for(sqlite_url, clean_redis_url, tmp_path / "other", secret_key="t" * 40)))
    for value in (cookie.value[:-2] + "xx", "x", "", cookie.value):
        client = other.client() if value == cookie.value else stranger(product)
        client.set_cookie("session", value)
        assert client.get("/staff/").status_code == 302
    closed(other.app)


def test_a_session_and_a_fresh_sign_in_have_their_time(product: Product) -> None:
    browser = product.browser_of("amina")
    uid = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    page = browser.get(f"/staff/gateways/{uid}")
    assert page.status_code == 200
    later(16 * 60)
    data = {
        "shortcode": "600111", "is_meant": "y", "consumer_key": "k", "consumer_secret": "s", "passkey": "p",
        "csrf_token": csrf_of(browser, f"/staff/gateways/{uid}/money"),
    }  # fmt: skip
    answer = browser.post(f"/staff/gateways/{uid}/money", data=data)
    assert answer.status_code == 422 and "Sign in again" in answer.text
    clock.reset()
    assert product.api("amina").get(f"/api/payment-gateways/{uid}").json["env"] == "sandbox"


def test_a_page_behind_a_sign_in_is_never_compressed(product: Product) -> None:
    """tests.md X5: its size under compression would tell of the secrets in it (BREACH)."""
    asked = {"Accept-Encoding": "gzip"}
    staff, patient = product.browser_of("amina"), product.browser_of("otieno")
    for browser, path in (
        (staff, "/staff/"), (staff, "/staff/people"), (staff, "/staff/payments.csv"), (staff, "/password/"),
        (patient, "/account/"), (stranger(product), "/login"), (stranger(product), "/password/forgotten"),
    ):  # fmt: skip
        answer = browser.get(path, headers=asked, buffered=True)
        assert answer.status_code == 200 and "Content-Encoding" not in answer.headers, path
    api = product.api("amina")
    answer = api.client.get("/api/payment-gateways", headers=api.headers | asked)
    assert answer.status_code == 200 and "Content-Encoding" not in answer.headers
    page = stranger(product).get("/hotspot/mlima/", headers=asked)
    assert page.headers["Content-Encoding"] == "gzip", "what strangers get is"
