"""The simulated Wi-Fi as a phone meets it: intercepted, signed in by its login form, counted, and held back again."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.simulator.router import hotspot_files
from portal.simulator.router.fleet import Router
from portal.simulator.router.machine import RouterSpec
from tests.support import simulator
from tests.support.simulator import Daraja

MAC, AT = "AA:BB:CC:00:11:22", "/wifi/cafe/AABBCC001122"
PORTAL = "http://portal.example/hotspot/mlima/"


class Wifi:
    """One router and one phone in its Wi-Fi."""

    def __init__(self, daraja: Daraja, **spec: Any) -> None:
        self.daraja, self.client = daraja, daraja.client
        given: dict[str, Any] = {"name": "cafe", "portal_url": PORTAL} | spec
        self.router: Router = daraja.app.extensions["simulator"].fleet.open([RouterSpec(**given)])[0]
        self.control(join={"mac": MAC})

    def control(self, **order: Any) -> Any:
        answer = self.client.post("/control/routers/cafe", json=order)
        assert answer.status_code == 200, answer.json
        return answer.json

    def sell(self, name: str = "UKL1ABCDEF", password: str = "secret", **limits: str) -> None:
        self.router.machine.add("/ip/hotspot/user", {"name": name, "password": password} | limits)

    def open(self, url: str, **given: Any) -> Any:
        return self.client.get(f"{AT}/open", query_string={"url": url}, **given)

    def portal_parameters(self, url: str = "http://example.com/a?b=c&d") -> dict[str, str]:
        page = self.client.get(self.open(url).location)
        link = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.text)
        assert link is not None
        address = link[1].replace("&amp;", "&")
        assert address.startswith(PORTAL)
        return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}

    def sign_in(self, password: str = "secret", name: str = "UKL1ABCDEF", method: str = "post", **more: str) -> Any:
        given = {"username": name, "password": password} | more
        if method == "get":
            return self.client.get(f"{AT}/login", query_string=given)
        return self.client.post(f"{AT}/login", data=given)

    def is_online(self) -> bool:
        return self.open("http://example.com/").status_code == 200

    def capport(self) -> Any:
        answer = self.client.get(f"{AT}/api.json")
        assert answer.mimetype == "application/captive+json"
        return answer.json


@pytest.fixture
def wifi(tmp_path: Any) -> Iterator[Wifi]:
    with simulator.opened(tmp_path) as daraja:
        yield Wifi(daraja)


def chap(challenge_id: str, challenge: str, password: str) -> str:
    """The answer to a challenge whose bytes are written as `\\ooo`."""
    said = [bytes(int(one, 8) for one in re.findall(r"\\([0-7]{3})", text)) for text in (challenge_id, challenge)]
    return hashlib.md5(said[0] + password.encode() + said[1]).hexdigest()  # noqa: S324 - CHAP is of MD5


def test_whatever_a_phone_opens_leads_to_the_portal_with_what_the_router_knows(wifi):
    told = wifi.portal_parameters()
    assert told == {
        "mac": MAC,
        "ip": "10.5.50.10",
        "identity": "cafe",
        "server-name": "hotspot1",
        "link-login-only": f"http://localhost{AT}/login",
        "link-orig": "http://example.com/a?b=c&d",
    }


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_signs_in_gets_the_page_that_was_wanted(wifi, method):
    wifi.sell()
    wifi.portal_parameters()
    assert not wifi.is_online()
    page = wifi.sign_in(method=method, dst="http://example.com/")
    assert "url=http://localhost/wifi/cafe/AABBCC001122/open?url=http://example.com/" in page.text
    shown = wifi.open("http://example.com/", headers={"Accept": "text/html"})
    assert "The internet is open." in shown.text
    assert wifi.control()["sessions"][0]["login-by"] == "http-pap"


def test_a_wrong_password_leads_back_with_the_routers_words(wifi):
    wifi.sell()
    page = wifi.sign_in(password="guessed")
    assert "error=invalid%20username%20or%20password" in page.text
    assert not wifi.is_online()


def test_chap_takes_the_answer_to_its_own_challenge_once_and_not_the_password(tmp_path):
    with simulator.opened(tmp_path) as daraja:
        wifi = Wifi(daraja, login_by="http-chap")
        wifi.sell()
        told = wifi.portal_parameters()
        assert "did%20not%20send%20challenge%20response" in wifi.sign_in("secret").text
        old = chap(told["chap-id"], told["chap-challenge"], "secret")
        told = wifi.portal_parameters()
        assert "invalid%20username" in wifi.sign_in(old).text  # of a challenge that is gone
        told = wifi.portal_parameters()
        answer = chap(told["chap-id"], told["chap-challenge"], "secret")
        wifi.sign_in(answer)
        assert wifi.is_online()
        assert wifi.control()["sessions"][0]["login-by"] == "http-chap"
        wifi.client.post(f"{AT}/logout")
        assert not wifi.is_online()
        wifi.sign_in(answer)
        assert not wifi.is_online()


def test_the_status_page_and_the_capport_door_tell_what_is_left(wifi):
    assert wifi.capport() == {
        "captive": True,
        "user-portal-url": f"http://localhost{AT}/login",
        "can-extend-session": True,
    }
    wifi.sell(**{"limit-uptime": "1h", "limit-bytes-total": "1G"})
    wifi.sign_in()
    wifi.control(use={"mac": MAC, "bytesOut": 512 * 1024**2})
    wifi.daraja.control(clock={"moveSeconds": 1800})
    said = wifi.capport()
    assert (said["captive"], said["bytes-remaining"]) == (False, 536_870_912)
    assert 1_790 <= said["seconds-remaining"] <= 1_800
    status = wifi.client.get(f"{AT}/status").text
    assert "512.0 MiB" in status
    assert "UKL1ABCDEF" in status


def test_time_that_runs_out_closes_the_page_that_was_open(wifi):
    wifi.sell(**{"limit-uptime": "1h"})
    wifi.sign_in()
    assert wifi.is_online()
    wifi.client.post(f"{AT}/do", data={"seconds": "3600"})
    answer = wifi.open("http://example.com/")
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer.location).query)["error"] == ["user UKL1ABCDEF has reached uptime limit"]


def test_a_phone_that_comes_back_is_let_in_silently_until_it_signs_out(wifi):
    wifi.sell()
    wifi.sign_in()
    wifi.client.post(f"{AT}/do", data={"act": "leave"})
    assert wifi.control()["sessions"] == []
    wifi.client.post(f"{AT}/do", data={"act": "join"})
    assert wifi.is_online()
    assert wifi.control()["sessions"][0]["login-by"] == "mac-cookie"
    wifi.client.post(f"{AT}/logout")
    assert not wifi.is_online()


def test_a_new_mac_address_is_a_stranger(wifi):
    wifi.sell()
    wifi.sign_in()
    answer = wifi.client.post(f"{AT}/do", data={"act": "renew"})
    assert AT not in answer.location
    new = urlsplit(answer.location).path
    assert wifi.client.get(f"{new}open?url=http://example.com/").status_code == 302


def test_what_the_walled_garden_names_needs_no_sign_in(wifi):
    wifi.router.machine.add("/ip/hotspot/walled-garden", {"dst-host": "*.portal.example"})
    assert wifi.open("https://www.portal.example/").status_code == 200
    assert wifi.open("https://portal.example.evil.test/").status_code == 302


def test_probes_of_phones_are_answered_as_the_internet_would(wifi):
    assert wifi.open("http://connectivitycheck.gstatic.com/generate_204").status_code == 302
    wifi.sell()
    wifi.sign_in()
    assert wifi.open("http://connectivitycheck.gstatic.com/generate_204").status_code == 204


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://[", "file:///etc/passwd", "http://x:99999/", ""])
def test_what_is_no_web_address_opens_nothing(wifi, url):
    answer = wifi.open(url)
    assert answer.status_code == 302
    assert answer.location == f"http://localhost{AT}/"


def test_an_own_login_page_stands_in_the_place_of_the_one_that_came(wifi):
    own = "$(if error)no: $(error)$(else)hello $(mac) <$(link-orig)>$(endif) $(if login-by == 'http-chap')x$(endif)"
    wifi.router.machine.add("/file", {"name": "hotspot/login.html", "contents": own})
    page = wifi.client.get(wifi.open("http://example.com/?a=<b>").location).text
    assert page.startswith("hello AA:BB:CC:00:11:22 <http://example.com/?a=")
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("$(if a)1$(elif b)2$(else)3$(endif)", "2"),
        ("$(if a)$(if b)x$(endif)$(else)y$(endif)z", "yz"),
        ("$(if b)$(if a)x$(else)w$(endif)$(endif)", "w"),
        ("$(if b == 'yes')eq$(endif)$(if b != 'yes')ne$(endif)", "eq"),
        ("$(c-esc) $(missing)|", "a%26b%2Fc |"),
    ],
)
def test_the_template_language_of_the_hotspot_directory(text, written):
    assert hotspot_files.render(text, {"b": "yes", "c": "a&b/c"}) == written


def test_a_prompt_stays_while_the_time_beside_it_runs(wifi):
    """Or a PIN that is being typed would be gone with the next second."""
    wifi.sell(**{"limit-uptime": "1h"})
    wifi.sign_in()
    wifi.daraja.push(wifi.control()["phones"][0]["phone"])
    before = wifi.client.get(f"{AT}/live").json
    wifi.daraja.control(clock={"moveSeconds": 7})
    after = wifi.client.get(f"{AT}/live").json
    assert "Enter M-PESA PIN" in after["wifi_prompt"]["html"]
    assert after["wifi_prompt"] == before["wifi_prompt"]
    assert after["wifi_glass"] != before["wifi_glass"]


def test_the_phone_shows_its_prompt_and_returns_to_itself(wifi):
    number = wifi.control()["phones"][0]["phone"]
    wifi.daraja.push(number)
    page = wifi.client.get(f"{AT}/").text
    assert "Enter M-PESA PIN" in page
    back = {"pin": "1234", "back": f"{AT}/"}
    assert wifi.client.post(f"/handset/{number}/pin", data=back).location == f"{AT}/"
    elsewhere = {"pin": "1234", "back": "https://evil.test/"}
    assert "evil" not in wifi.client.post(f"/handset/{number}/pin", data=elsewhere).location
