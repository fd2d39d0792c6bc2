"""The captive portal: from a package to the router's login, on a browser that keeps nothing."""

import hashlib
import html
import re
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.hotspot.access import chap_response
from portal.hotspot.models import Site
from portal.hotspot.purchases import normalise_mac, safe_login_url
from portal.kernel.db import db, transaction
from portal.notifications import phone_codes
from tests.support.clock import later
from tests.support.daraja import new_phone, receipt
from tests.support.hotspot import prompt_sent
from tests.support.product import Product

ROUTER = {
    "mac": "aa-bb-cc-00-11-22",
    "identity": "m1",
    "link-login-only": "http://10.5.50.1/login",
    "link-orig": "http://example.com/x",
}


def buy(product: Product, phone: str = "", **changes: str) -> str:
    """The wait page's path."""
    form = {"package": product.package(), "phone": phone or "0712 345 678"} | ROUTER | changes
    answer = product.client().post("/hotspot/mlima/", data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


@pytest.mark.property(9)
@pytest.mark.parametrize("phone", ["", "12345", "0812345678", "+1 202 555 0100", "07123456789", "abc"])
def test_a_wrong_number_is_told_with_the_right_form_and_keeps_the_choice(product: Product, phone: str) -> None:
    package = product.package()
    answer = product.client().post("/hotspot/mlima/", data={"package": package, "phone": phone} | ROUTER)
    assert answer.status_code == 422
    assert "0712 345 678" in answer.text and f'value="{package}"' in answer.text and "10.5.50.1" in answer.text


@pytest.mark.property(11)
@pytest.mark.property(15)
@pytest.mark.property(16)
@pytest.mark.property(17)
@pytest.mark.property(18)
def test_the_page_follows_the_payment_by_small_polls_that_end_by_themselves(product: Product) -> None:
    path = buy(product)
    token = path.split("/wait/")[1].split("?")[0]
    client = product.client()
    waiting = client.get(path).text
    assert 'hx-trigger="every 1s' in waiting and "Contacting M-Pesa" in waiting
    poll = waiting.split('hx-get="', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    assert client.get(poll).status_code == 204, "nothing changed, nothing sent"
    later(25)
    slower = client.get(poll)
    assert slower.status_code == 200 and 'hx-trigger="every 3s' in slower.text
    push = prompt_sent(product, token)
    shown = client.get(poll).text
    assert "Check your phone" in shown and "Enter your M-Pesa PIN" in shown
    product.callback(push, receipt=receipt(1))
    product.settle()
    done = client.get(poll).text
    assert "hx-trigger" not in done.split("payment-said")[0] and receipt(1) in done and "Connect now" in done
    assert 'action="http://10.5.50.1/login"' in done and 'name="dst" value="http://example.com/x"' in done


@pytest.mark.property(51)
@pytest.mark.property(53)
def test_asking_answers_within_3_s_and_a_callback_is_settled_within_5(product: Product) -> None:
    """Their own work, whatever else the machine does; how long asking waits for the phone is bounded by another test."""
    started = time.thread_time()
    path = buy(product)
    assert time.thread_time() - started < 3
    push = prompt_sent(product, path.split("/wait/")[1].split("?")[0])
    started = time.thread_time()
    product.callback(push, receipt=receipt(2))
    product.settle()
    assert time.thread_time() - started < 5 and receipt(2) in product.client().get(path).text


def test_a_closed_browser_finds_its_way_back_by_its_cookie(product: Product) -> None:
    browser = product.client()
    form = {"package": product.package(), "phone": "0712 345 678"} | ROUTER
    path = str(browser.post("/hotspot/mlima/", data=form).headers["Location"])
    product.callback(prompt_sent(product, path.split("/wait/")[1].split("?")[0]), receipt=receipt(3))
    product.settle()
    again = browser.get("/hotspot/mlima/", query_string=ROUTER).text
    assert "Your internet is paid until" in again and path.split("?")[0] in again
    other = product.client().get("/hotspot/mlima/", query_string=ROUTER | {"mac": "AA:BB:CC:00:11:23"}).text
    assert "Your internet is paid until" not in other


def test_a_code_opens_the_router_until_its_time_is_over(product: Product) -> None:
    path = buy(product)
    product.callback(prompt_sent(product, path.split("/wait/")[1].split("?")[0]), receipt=receipt(4))
    product.settle()
    password = product.status(path.split("/wait/")[1].split("?")[0])["credentials"]["password"]
    code = {"code": f" {receipt(4)[:4].lower()} {receipt(4)[4:]} ", "password": f" {password.upper()} "}
    good = product.client().post("/hotspot/mlima/code", data=code | ROUTER)
    assert good.status_code == 200 and 'action="http://10.5.50.1/login"' in good.text
    assert product.client().post("/hotspot/bahari/code", data=code | ROUTER).status_code == 422
    later(90_000)
    assert product.client().post("/hotspot/mlima/code", data=code | ROUTER).status_code == 422


def test_a_strange_login_address_never_gets_a_code(product: Product) -> None:
    path = buy(product, **{"link-login-only": "https://evil.example/login"})
    product.callback(prompt_sent(product, path.split("/wait/")[1].split("?")[0]), receipt=receipt(5))
    product.settle()
    page = product.client().get(path).text
    assert receipt(5) in page and "evil.example" not in page


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://evil.example/",
        "//evil",
        "http://10.0.0.1@evil.example/",
        "",
        "http://8.8.8.8/login",
    ],
)
def test_only_private_or_registered_login_addresses_are_taken(product: Product, url: str) -> None:
    with product.inside():
        assert safe_login_url(1, url, "m1") == ""
        assert safe_login_url(1, "http://192.168.88.1/login", "m1") == "http://192.168.88.1/login"


def test_chap_is_answered_as_the_router_expects() -> None:
    expected = hashlib.md5(b"\xf9" + b"SECRET" + bytes(range(16)), usedforsecurity=False).hexdigest()
    challenge = "".join(f"\\{value:03o}" for value in range(16))
    assert chap_response("SECRET", chap_id="\\371", chap_challenge=challenge) == expected


@given(st.text(max_size=30))
def test_no_text_makes_a_mac_of_the_wrong_form(text: str) -> None:
    mac = normalise_mac(text)
    assert mac == "" or (len(mac) == 17 and mac == normalise_mac(mac))


def test_rfc_8908_tells_what_is_left(product: Product) -> None:
    path = buy(product)
    token = path.split("/wait/")[1].split("?")[0]
    captive = product.client().get(f"/hotspot/mlima/api/{token}")
    assert captive.mimetype == "application/captive+json" and captive.json["captive"] is True
    product.callback(prompt_sent(product, token), receipt=receipt(6))
    product.settle()
    open_ = product.client().get(f"/hotspot/mlima/api/{token}").json
    assert open_["captive"] is False and 86_000 < open_["seconds-remaining"] <= 86_400
    assert product.client().get("/hotspot/mlima/api/nonsense").json["captive"] is True


def test_two_tenants_sell_their_own(product: Product) -> None:
    strange = product.package(slug="bahari")
    answer = product.client().post("/hotspot/mlima/", data={"package": strange, "phone": new_phone()})
    assert answer.status_code == 404 and "not for sale here" in answer.text


@pytest.mark.parametrize("door", ["", "code", "paid"])
def test_the_language_links_of_an_error_page_keep_the_router_whatever_language_was_asked_for(
    product: Product, door: str
) -> None:
    """use.md 8: after `?lang=sw` and a wrong entry the way back to English had lost the router, behind a second `?`."""
    given = {"phone": "0712 34", "code": "WRONG", "password": "wrong", "sms_text": "Confirmed"}
    page = product.client().post(f"/hotspot/mlima/{door}?lang=sw", data=given | ROUTER)
    assert page.status_code == 422
    back = next(href for href in _hrefs(page.text) if href.endswith("lang=en"))
    address = urlsplit(back)
    assert address.path == f"/hotspot/mlima/{door}"
    assert dict(parse_qsl(address.query)) == ROUTER | {"lang": "en"}
    assert 'value="aa-bb-cc-00-11-22"' in product.client().get(back).text


def _hrefs(page: str) -> list[str]:
    return [html.unescape(href) for href in re.findall(r'href="([^"]+)"', page)]


def test_another_businesss_site_is_no_token_of_this_ones(product: Product) -> None:
    with product.app.app_context(), transaction():
        theirs = Site(tenant_id=product.tenant_id("bahari"), name="Theirs", kind="voucher")
        db.session.add(theirs)
        db.session.flush()
        uid = theirs.uid
    here = product.client().get(f"/hotspot/mlima/api/{uid}").json
    there = product.client().get(f"/hotspot/bahari/api/{uid}").json
    assert "site=" not in here["user-portal-url"] and f"site={uid}" in there["user-portal-url"]


def test_the_six_figures_of_a_phone_are_good_for_ten_minutes(product: Product) -> None:
    tenant_id, told = product.tenant_id(), []
    for waited_s in (590, 601):
        with product.app.app_context(), transaction():
            code = phone_codes.issue(tenant_id, "hotspot pass", "254711000001")
        assert code is not None
        later(waited_s)
        with product.app.app_context(), transaction():
            told.append(phone_codes.redeem(tenant_id, "hotspot pass", "254711000001", code))
    assert told == [True, False]
