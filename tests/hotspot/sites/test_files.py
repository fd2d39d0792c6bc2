"""What a router is given to take: whole, safe whatever a site is called, and run twice without doubling anything."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.hotspot.models import Site
from portal.hotspot.sites import files, quoting
from portal.hotspot.sites.files import House, Tunnel
from portal.kernel.errors import Conflict, NotFound

KEY = "A" * 43 + "="
TUNNEL = Tunnel("vpn.mlango.test:51820", "B" * 43 + "=", "10.90.0.1")
HOUSE = House("https://pay.mlango.test", "mlima", TUNNEL)
HOSTILE = [
    'Rose "Bar"', "Cost $(rm) $x", 'a"; /system reset-configuration; "', "back\\slash", "line\nbreak\r", "Kahawa № 1 ☕",
    "'; DROP TABLE sites; --", "</script><script>alert(1)</script>", "[/system reboot]", "$(if 1)x$(endif)", "}{", "#",
]  # fmt: skip


def site(**changes: Any) -> Site:
    values = {
        "uid": "ab12cd34", "name": "Lodge", "kind": "radius", "address": "10.90.0.7", "secret": "s3cret-of-32-letters",
        "coa_port": 3799, "login_hosts": "wifi.mlima.test 10.5.50.1", "token": "f" * 40, "api_port": 8729,
        "api_uses_tls": True, "api_username": "mlango", "tunnel_key": "", "tenant_id": 1,
    }  # fmt: skip
    return Site(**(values | changes))


def strings_of(script: str) -> list[str]:
    """What RouterOS reads as strings of a script, by its own rules. Fails where a quote is never closed."""
    found, inside, letters = [], False, ""
    position = 0
    while position < len(script):
        letter = script[position]
        if not inside and letter == "#" and (position == 0 or script[position - 1] == "\n"):
            position = script.index("\n", position)
        elif not inside:
            inside, letters = letter == '"', ""
        elif letter == "\\":
            escaped = re.compile(r'\\(["\\$?nrt]|[0-9A-F]{2})').match(script, position)
            assert escaped, script[position : position + 10]
            letters += escaped.group(0)
            position = escaped.end() - 1
        elif letter == '"':
            found.append(letters)
            inside = False
        else:
            assert letter not in "\n$", "a line or a variable inside a string that was meant as text"
            letters += letter
        position += 1
    assert not inside, "a quote that is never closed"
    return found


def read_back(quoted: str) -> str:
    """The text that RouterOS makes of a quoted string."""
    raw = bytearray()
    position = 1
    while position < len(quoted) - 1:
        if quoted[position] == "\\":
            if quoted[position + 1] in '"\\$?':
                raw += quoted[position + 1].encode()
                position += 2
            else:
                raw.append(int(quoted[position + 1 : position + 3], 16))
                position += 3
        else:
            raw += quoted[position].encode()
            position += 1
    return raw.decode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_is_quoted_for_routeros_stays_a_value(value: str) -> None:
    quoted = quoting.routeros(value)
    assert re.fullmatch(r'"([^"\\$?\x00-\x1f\x7f-\U0010ffff]|\\["\\$?]|\\[0-9A-F]{2})*"', quoted)
    assert read_back(quoted) == value


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["radius", "routeros", "opennds", "voucher"])
def test_a_hostile_name_changes_no_line_of_a_script(name: str, kind: str, product: Any) -> None:
    with product.inside():
        plain, hostile = site(kind=kind, name="N"), site(kind=kind, name=name)
        for one in (plain, hostile):
            one.api_password = "api-password-1"
        for file in files.names(plain):
            if file == "wireguard.conf":
                plain.tunnel_key = hostile.tunnel_key = KEY
            expected, got = files.of_name(plain, file, HOUSE), files.of_name(hostile, file, HOUSE)
            assert len(got.split("\n")) == len(expected.split("\n")), file
            if file == "routeros.rsc":
                assert len(strings_of(got)) == len(strings_of(expected))
            if file == "login.html":
                assert "<script>alert" not in got and "$(if 1)" not in got and "$(rm)" not in got


def test_the_script_of_a_radius_site_holds_all_that_the_router_needs() -> None:
    script = files.of_name(site(), "routeros.rsc", HOUSE)
    for line in (
        'use-radius=yes radius-accounting=yes radius-interim-update=received radius-mac-format=XX:XX:XX:XX:XX:XX',
        "login-by=mac,http-pap,mac-cookie", "mac-auth-mode=mac-as-username", 'secret="s3cret-of-32-letters" src-address="10.90.0.7"', "timeout=3s", "require-message-auth=yes-for-request-resp",
        "/radius incoming set accept=yes port=3799", 'dns-name="wifi.mlima.test"', 'dst-host="pay.mlango.test"',
        'endpoint-address="vpn.mlango.test" endpoint-port=51820', 'allowed-address="10.90.0.1/32"',
        "persistent-keepalive=25s", "code=114 value=\"'https://wifi.mlima.test/api.json'\"", "interval=1m",
        "/routers/" + "f" * 40 + "/heartbeat", "mlango-heartbeat",
    ):  # fmt: skip
        assert line in script, line
    for opened in ("captive.apple.com", "gstatic.com", "msftconnecttest"):
        assert opened not in script
    assert "private-key" not in script, "the router makes its own"


def test_what_the_script_adds_it_adds_only_where_it_is_not_there() -> None:
    for line in files.of_name(site(), "routeros.rsc", HOUSE).splitlines():
        if re.search(r"\sadd\s", line) and not line.startswith("#"):
            assert ":if" in line or 'comment="mlango: tunnel"' in line or line.startswith("/ip hotspot add"), line


@pytest.mark.parametrize("kind", ["radius", "routeros"])
def test_lines_that_are_over_reach_names_and_the_portal_alone(kind: str, product: Any) -> None:
    """hotspot.md B9. The rule that drops is written first: each of the next ones goes before it."""
    with product.inside():
        one = site(kind=kind)
        one.api_password = "api-password-1"
        script = files.of_name(one, "routeros.rsc", HOUSE)
    assert '/ip pool add name="expired" ranges="10.5.52.10-10.5.55.254"' in script
    assert 'list="mlango-portal" address="pay.mlango.test"' in script
    rules = re.findall(r"/ip firewall filter add chain=forward src-address-list=\"expired\" (.*?) comment", script)
    assert rules[::2] == [
        "action=drop", 'dst-address-list="mlango-portal" action=accept', "protocol=udp dst-port=53 action=accept",
    ]  # fmt: skip
    assert script.count("place-before=0") >= 3


def test_a_site_without_radius_is_told_by_its_api_and_knows_no_radius(product: Any) -> None:
    with product.inside():
        one = site(kind="routeros")
        one.api_password = 'pass"word'
        script = files.of_name(one, "routeros.rsc", HOUSE)
    assert "use-radius=no" in script and "/radius" not in script and "login-by=http-pap,mac-cookie" in script
    assert 'password="pass\\"word"' in script and "/ip service set api-ssl disabled=no port=8729" in script


def test_without_a_tunnel_radius_is_asked_at_the_portals_own_name() -> None:
    script = files.of_name(site(), "routeros.rsc", House("https://pay.mlango.test", "mlima"))
    assert 'address=[:resolve "pay.mlango.test"]' in script and "wireguard peers" not in script


class Form(HTMLParser):
    """The inputs of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inputs: dict[str, str] = {}
        self.action = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input":
            self.inputs[str(given["name"])] = str(given["value"])
        if tag == "form":
            self.action = str(given["action"])


def test_the_login_page_leads_to_the_portal_with_all_that_the_router_knows() -> None:
    page = files.of_name(site(), "login.html", HOUSE)
    form = Form(page)
    assert form.action == "https://pay.mlango.test/hotspot/mlima/"
    assert form.inputs == {
        "site": "ab12cd34", "mac": "$(mac)", "ip": "$(ip)", "identity": "$(identity)", "server-name": "$(server-name)",
        "link-login-only": "$(link-login-only)", "link-orig": "$(link-orig)", "error": "$(error)", "chap-id": "$(chap-id)",
        "chap-challenge": "$(chap-challenge)",
    }  # fmt: skip
    assert page.index("$(if chap-id)") < page.index('name="chap-id"') < page.index("$(endif)")
    assert len(page) < 4_000, "RouterOS' /file set takes 4095 letters"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, {"captive": True}),
        (
            {"logged-in": "yes", "session-time-left-secs": "60", "remain-bytes-total": "7"},
            {"captive": False, "seconds-remaining": 60, "bytes-remaining": 7},
        ),
    ],
)
def test_the_captive_api_is_json_whatever_the_router_knows(state: dict[str, str], expected: dict[str, Any]) -> None:
    text = files.of_name(site(name='R "B"'), "api.json", HOUSE)
    text = re.sub(r"\$\(if logged-in == 'yes'\)(.*?)\$\(else\)(.*?)\$\(endif\)", r"\1" if state else r"\2", text)
    text = re.sub(
        r"\$\(if ([a-z-]+)\)\n(.*?)\$\(endif\)\n", lambda m: m.group(2) if m.group(1) in state else "", text, flags=re.S
    )
    told = json.loads(re.sub(r"\$\(([a-z-]+)\)", lambda m: state[m.group(1)], text))
    address = "https://pay.mlango.test/hotspot/mlima/?site=ab12cd34"
    assert told == expected | {"can-extend-session": True, "user-portal-url": address}


def test_opennds_and_freeradius_have_their_settings() -> None:
    settings = files.of_name(site(kind="opennds", address=""), "opennds.conf", HOUSE)
    for line in (
        "option fasremotefqdn 'pay.mlango.test'", "option fasport '443'", "option fas_secure_enabled '4'",
        "option faskey 's3cret-of-32-letters'", "option faspath '/hotspot/mlima/?key=69d7f01fa7007b071c89c0dfbdaa30d7&site=ab12cd34'",
    ):  # fmt: skip
        assert line in settings, line
    client = files.of_name(site(), "freeradius-client.conf", HOUSE)
    assert "ipaddr = 10.90.0.7" in client and 'secret = "s3cret-of-32-letters"' in client


def test_our_tunnels_peer_waits_for_the_routers_own_key() -> None:
    with pytest.raises(Conflict):
        files.of_name(site(), "wireguard.conf", HOUSE)
    peer = files.of_name(site(tunnel_key=KEY), "wireguard.conf", HOUSE)
    assert f"PublicKey = {KEY}\nAllowedIPs = 10.90.0.7/32\n" in peer


def test_a_file_of_another_kind_of_router_is_nowhere() -> None:
    for kind, name in (("radius", "opennds.conf"), ("opennds", "routeros.rsc"), ("voucher", "../../etc/passwd")):
        with pytest.raises(NotFound):
            files.of_name(site(kind=kind), name, HOUSE)
