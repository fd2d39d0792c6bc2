"""A gateway's server is on the public internet: the form takes no other address, and no connection is made to one."""

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from portal.gateways import allowed_servers, daraja
from portal.gateways.daraja import DarajaAccount, DarajaClient, connections
from portal.gateways.tokens import TokenStore
from tests.support.clock import later
from tests.support.product import Product, closed_product, opened_product
from tests.support.services.certificates import make_certificate

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",  # noqa: S104
    "100.64.0.1", "100.100.100.200", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "192.88.99.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::a00:1", "2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "localhost", "",
]  # fmt: skip
OUTSIDE = ["196.201.214.200", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2c0f:fe38::1"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_is_not_plainly_public_is_inside(address: str) -> None:
    """safety.md 5"""
    assert not allowed_servers.is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_is_outside(address: str) -> None:
    assert allowed_servers.is_public(address)


REFUSED = [
    "http://api.safaricom.co.ke", "http://127.0.0.1:8001", "https://127.0.0.1", "https://localhost", "https://redis",
    "https://169.254.169.254/latest/meta-data/#", "https://10.0.0.1:6379", "https://[::ffff:127.0.0.1]:8443",
    "https://[::1]", "https://user:pw@api.safaricom.co.ke", "https://api.safaricom.co.ke@127.0.0.1/",
    "https://api.safaricom.co.ke/?", "https://api.safaricom.co.ke/?a=b", "https://api.safaricom.co.ke/#x",
    "https://api.safaricom.co.ke#", "https://api.safaricom.co.ke\\@127.0.0.1", "https://2130706433", "https://127.1",
    "https://api.safaricom.co.ke/a b", "https://api.safaricom.co.ke:0", "https://api.safaricom.co.ke:99999",
    "https://[", "ftp://api.safaricom.co.ke", "//api.safaricom.co.ke", "api.safaricom.co.ke", "https://",
    "https://api.safaricom.co.ke/\nx", "https://ａpi.safaricom.co.ke", "file:///etc/passwd", "https://a..b",
]  # fmt: skip


@pytest.fixture
def in_production(sqlite_url: str, clean_redis_url: str, tmp_path: Path) -> Iterator[Product]:
    """The product as an operator runs it; its gateways were moved to Safaricom's own servers."""
    product = opened_product(
        sqlite_url, clean_redis_url, tmp_path, development=False, public_url="https://pay.test"
    ).furnish()
    yield product
    closed_product(product)


NEW_KEYS = {"consumerKey": "new-key", "consumerSecret": "new-secret", "passkey": "new-passkey"}


def test_production_takes_no_base_url_but_a_plain_public_https_one(in_production: Product) -> None:
    """safety.md 5: http, loopback, link-local, mapped, user, query and fragment were taken in production too."""
    amina = in_production.api("amina")
    uid = amina.get("/api/payment-gateways").json["items"][0]["id"]
    new = NEW_KEYS | {"name": "n", "shortcode": "600999"}
    for url in REFUSED:
        said = amina.put(f"/api/payment-gateways/{uid}", NEW_KEYS | {"baseUrl": url})
        assert said.status_code == 422 and set(said.json["fields"]) == {"baseUrl"}, (url, said.text)
        made = amina.post("/api/payment-gateways", new | {"baseUrl": url})
        assert made.status_code == 422 and set(made.json["fields"]) == {"baseUrl"}, url
    assert [one["baseUrl"] for one in amina.get("/api/payment-gateways").json["items"]] == [""]
    for url in ("https://api.safaricom.co.ke", "https://daraja.example.co.ke:8443/m/v1", ""):
        made = amina.post("/api/payment-gateways", new | {"baseUrl": url})
        assert made.status_code == 201 and made.json["baseUrl"] == url


def test_development_keeps_the_simulator_on_its_loopback(product: Product) -> None:
    made = product.api("amina").post(
        "/api/payment-gateways", NEW_KEYS | {"name": "n", "shortcode": "600999", "baseUrl": "http://127.0.0.1:8001"}
    )
    assert made.status_code == 201


# ---- at connect time


def client_at(base_url: str, *, is_development: bool = False) -> DarajaClient:
    account = DarajaAccount(
        gateway_id=1, environment="production", base_url=base_url, consumer_key="k", consumer_secret="s",
        shortcode="600111", passkey="p",
    )  # fmt: skip
    session = connections.shared_session(is_development=is_development)
    return DarajaClient(account, TokenStore(), session=session, sleep=lambda _s: None)


class Listener:
    """A server of our own network, counting who connects."""

    def __init__(self) -> None:
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            self.count += 1
            connection.close()

    def stop(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.stop()


def names_are(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let every name resolve to the answers in turn, the last one for ever; the names that were asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_rest: object, **_named: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("resolved", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"]])
def test_a_name_that_leads_inside_is_not_connected_to(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, resolved: list[str]
) -> None:
    """safety.md 5: the name is public, what it resolves to is not."""
    names_are(monkeypatch, resolved)
    with pytest.raises(daraja.ConfigurationRefused, match="public internet"):
        client_at(f"https://daraja.example.co.ke:{listener.port}").test_connection()
    assert listener.count == 0


def test_the_address_that_was_checked_is_the_one_connected_to(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safety.md, DNS rebinding: the second look-up would lead inside, and there is none."""
    asked = names_are(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *_rest: object, **_named: object) -> socket.socket:
        connected.append(address)
        raise OSError("nobody there")

    monkeypatch.setattr(connections, "create_connection", connect)
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        connections.Outward("daraja.example.co.ke", listener.port)._new_conn()
    assert connected == [("93.184.216.34", listener.port)] and asked == ["daraja.example.co.ke"]
    assert listener.count == 0


def test_a_stored_http_address_of_a_test_installation_is_not_called_in_production(listener: Listener) -> None:
    with pytest.raises(daraja.ConfigurationRefused, match="https"):
        client_at(f"http://127.0.0.1:{listener.port}").test_connection()
    assert listener.count == 0


class Answering(BaseHTTPRequestHandler):
    """A server that answers as its test says, and keeps what it was asked."""

    asked: list[str]
    answers: list[tuple[int, dict[str, str], bytes]]

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path} {self.headers['Host']}")  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answers = self.server.answers  # type: ignore[attr-defined]
        status, headers, body = answers[min(len(self.server.asked), len(answers)) - 1]  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_arguments: object) -> None:
        """Silence."""


@pytest.fixture
def somebody() -> Iterator[Any]:
    """A server of somebody's own: `url`, `asked`, `answers`."""
    server: Any = HTTPServer(("127.0.0.1", 0), Answering)
    server.asked, server.answers = [], [(200, {}, b"{}")]
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


TOKEN = (200, {}, b'{"access_token": "t", "expires_in": "3599"}')


def test_the_checked_connection_speaks_tls_to_the_name_not_to_the_number(
    somebody: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is connected to is a number; whose certificate is asked for is the name's."""
    key, pem = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate("daraja.example.co.ke", key, pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    somebody.socket = context.wrap_socket(somebody.socket, server_side=True)
    somebody.answers = [TOKEN]
    names_are(monkeypatch, ["127.0.0.1"])
    monkeypatch.setattr(allowed_servers, "is_public", lambda _address: True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    monkeypatch.setattr(connections, "_sessions", {})
    port = somebody.server_port
    assert client_at(f"https://daraja.example.co.ke:{port}").test_connection().expires_in_s == 3599
    assert somebody.asked == [f"GET /oauth/v1/generate?grant_type=client_credentials daraja.example.co.ke:{port}"]
    with pytest.raises(daraja.Unreachable):
        client_at(f"https://another.example.co.ke:{port}").test_connection()


# ---- what comes back


def test_a_redirect_is_not_followed(somebody: Any, listener: Listener) -> None:
    """safety.md 5: an outside server that points inside is not obeyed."""
    there = {"Location": f"http://127.0.0.1:{listener.port}/latest/meta-data"}
    for status in (301, 302, 303, 307, 308):
        somebody.answers = [(status, there, b"")]
        with pytest.raises(daraja.DarajaError):
            client_at(somebody.url, is_development=True).test_connection()
    assert listener.count == 0


ECHOES = [
    b'{"errorCode": "400.002.05", "errorMessage": "root:x:0:0 words of an inner server"}',
    b'{"errorCode": "root:x:0:0 words of an inner server", "errorMessage": "root:x:0:0"}',
    b'{"ResponseCode": "root:x:0:0 words", "ResponseDescription": "root:x:0:0"}',
    b'{"ResponseCode": "7", "ResponseDescription": "root:x:0:0"}',
    b"root:x:0:0:root:/root:/bin/bash",
]


def test_what_a_server_answers_is_not_read_out_on_a_page(product: Product, somebody: Any) -> None:
    """safety.md 5: 200 characters of an answer stood in our own."""
    amina = product.api("amina")
    new = NEW_KEYS | {"name": "n", "shortcode": "600999", "baseUrl": somebody.url}
    uid = amina.post("/api/payment-gateways", new).json["id"]
    browser = product.browser_of("amina")
    for status in (200, 400, 404, 500):
        for answer in ECHOES:
            for door in ("test", "register-urls"):
                somebody.asked.clear()
                somebody.answers = [TOKEN, (status, {}, answer)]
                assert "root:x" not in amina.post(f"/api/payment-gateways/{uid}/{door}").text, (door, status, answer)
                assert len(somebody.asked) > 0
            assert "root:x" not in browser.get(f"/staff/gateways/{uid}").text
    assert "root:x" not in browser.get("/staff/gateways").text


def test_safaricoms_own_words_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_at("https://api.safaricom.co.ke")
    assert client._words("400.002.05", "Invalid Request Payload") == "400.002.05 Invalid Request Payload"
    assert "Payload" not in client_at("https://api.safaricom.co.ke.evil.example")._words("400.002.05", "Payload")


# ---- who may send the secrets elsewhere


def kept(product: Product) -> tuple[Any, str]:
    """Amina's API, and her gateway with an initiator."""
    amina = product.api("amina")
    uid = amina.get("/api/payment-gateways").json["items"][0]["id"]
    first = {"initiatorName": "api-user", "securityCredential": "c2VjcmV0"}
    assert amina.put(f"/api/payment-gateways/{uid}", first).status_code == 200
    return amina, uid


ELSEWHERE = {"baseUrl": "https://daraja.example.co.ke"}
ANOTHER = {"initiatorName": "another-api"}


@pytest.mark.property(80)
@pytest.mark.parametrize("change", [ELSEWHERE, ANOTHER, {"env": "production"}])
def test_another_server_initiator_or_real_money_asks_for_a_fresh_sign_in_and_all_secrets(
    product: Product, change: dict[str, str]
) -> None:
    """safety.md 5: a stale sign-in sent the stored secrets to a server of its own."""
    amina, uid = kept(product)
    path = f"/api/payment-gateways/{uid}"
    said = amina.put(path, change)
    assert said.status_code == 422 and set(said.json["fields"]) == {
        "consumerKey", "consumerSecret", "passkey", "securityCredential"
    }  # fmt: skip
    some = amina.put(path, change | NEW_KEYS)
    assert some.status_code == 422 and set(some.json["fields"]) == {"securityCredential"}
    everything = change | NEW_KEYS | {"securityCredential": "bmV3ZXI="}
    later(16 * 60)
    stale = amina.put(path, everything)
    assert (stale.status_code, stale.json["error"]) == (422, "fresh_signin_required")
    before = amina.get(path).json
    assert all(before[name] != value for name, value in change.items())
    product.tokens.clear()
    done = product.api("amina").put(path, everything)
    assert done.status_code == 200 and all(done.json[name] == value for name, value in change.items())


def test_what_changes_neither_server_nor_initiator_keeps_its_secrets(product: Product) -> None:
    amina, uid = kept(product)
    later(16 * 60)
    for change in ({"name": "Front desk"}, {"initiatorName": "api-user"}, {"baseUrl": product.daraja_url}):
        assert amina.put(f"/api/payment-gateways/{uid}", change).status_code == 200


def test_the_page_asks_for_the_secrets_again_too(product: Product) -> None:
    """safety.md 5: by form as by API."""
    from tests.support.visitors import csrf_of

    _amina, uid = kept(product)
    browser = product.browser_of("amina")
    page = f"/staff/gateways/{uid}"
    form = {
        "name": "n", "type": "MPESA_API", "sub_type": "PAYBILL", "shortcode": "600111", "env": "sandbox",
        "base_url": "https://daraja.example.co.ke", "initiator_name": "api-user", "csrf_token": csrf_of(browser, page),
    }  # fmt: skip
    refused = browser.post(page, data=form)
    assert refused.status_code == 422 and refused.text.count("Enter it again") >= 4
    with product.inside():
        from portal.gateways.models import Gateway
        from portal.kernel.db import db

        assert db.session.query(Gateway).filter_by(uid=uid).one().base_url == product.daraja_url
    later(16 * 60)
    assert "Sign in again" in browser.post(page, data=form).text
