"""The web process as the network meets it: slow senders, slow readers, odd requests, and a port that is taken."""

import asyncio
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from flask import Flask, Response, request

from bench.servers import answers, free_port
from portal.kernel.db import db
from portal.kernel.paths import ROOT
from portal.payments.models import InboxItem
from portal.processes import web_server
from portal.processes.web_server import environ_of
from tests.support.application import KEYS
from tests.support.clock import wait_until
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product
from tests.support.rsgi import Sender, scope, served

PATIENCE_S = 30


def settings_of(product: Product) -> dict[str, str]:
    config = product.app.config["PORTAL"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PORTAL_", "MPESA_"))}
    return clean | {
        "PORTAL_ENV": "development", "PORTAL_SECRET_KEY": "s" * 40, "PORTAL_DATA_KEYS": KEYS, "WEB_THREADS": "4",
        "DATABASE_URL": config.database_url, "REDIS_URL": config.redis_url, "PORTAL_DATA": str(config.data_dir),
        "PUBLIC_URL": "http://127.0.0.1:1",
    }  # fmt: skip


@dataclass
class Web:
    """`portal web` in a process of its own, over a product's database."""

    product: Product
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def started(product: Product, port: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "portal", "web", "--port", str(port), "--workers", "1"]
    return subprocess.Popen(argv, cwd=ROOT, env=settings_of(product), stderr=subprocess.PIPE)


@pytest.fixture
def web(product: Product) -> Iterator[Web]:
    port = free_port()
    process = started(product, port)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz") or process.poll() is not None, within_s=90)
        assert process.poll() is None
        yield Web(product, port, process)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def test_fifty_slow_bodies_and_fifty_slow_headers_hold_up_no_callback(web: Web) -> None:
    """safety.md 4: four sockets with one byte of their bodies stopped the web process for 75 s."""
    hook = web.product.hook()
    nobody = f"/hooks/{'0' * 40}/stk/{'1' * 40}"
    with ExitStack() as held:
        for number in range(100):
            slow = held.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE_S))
            path = nobody if number % 4 else f"{hook}/c2b/confirmation"
            whole = f"POST {path} HTTP/1.1\r\nHost: pay.test\r\nContent-Length: 60000\r\n\r\n{{"
            slow.sendall((whole if number % 2 else whole[:40]).encode())
        session = requests.Session()
        for number in range(1, 21):
            paid = c2b_body(receipt=receipt(number), amount=20, account="LOST")
            told = session.post(f"{web.url}{hook}/c2b/confirmation", json=paid, timeout=PATIENCE_S)
            assert told.status_code == 200 and told.json()["ResultCode"] == 0
        assert session.get(f"{web.url}/healthz", timeout=PATIENCE_S).json() == {"status": "ok"}
        assert session.get(f"{web.url}/hotspot/mlima/", timeout=PATIENCE_S).status_code == 200
    with web.product.inside():
        assert db.session.query(InboxItem).count() == 20, "what came half is no callback"


def test_a_second_web_server_on_a_taken_port_says_so_and_ends(web: Web) -> None:
    """safety.md 20: it shared the port, and took half of the requests."""
    second = started(web.product, web.port)
    try:
        with suppress(subprocess.TimeoutExpired):
            second.wait(timeout=PATIENCE_S)
        assert second.poll() is not None, "it serves beside the first"
    finally:
        second.terminate()
        _out, said = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1 and f"Port {web.port}" in said.decode() and "taken" in said.decode()
    assert web.process.poll() is None and answers(f"{web.url}/healthz")


def test_the_real_server_tells_the_product_all_of_a_request(web: Web) -> None:
    session = requests.Session()
    page = session.get(f"{web.url}/hotspot/mlima/?mac=aa-bb-cc-00-11-22&identity=%C3%A9", timeout=PATIENCE_S)
    assert page.status_code == 200 and "Content-Security-Policy" in page.headers
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert session.head(f"{web.url}/healthz", timeout=PATIENCE_S).text == ""
    given = {"email": "amina@mlima.test", "password": "correct horse"}
    token = session.post(f"{web.url}/api/auth/token", json=given, timeout=PATIENCE_S).json()["accessToken"]
    named = session.get(
        f"{web.url}/api/mpesa/order/SHOP%201%2F2/%C3%A9",
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE_S,
    )
    assert named.status_code == 404 and named.json()["error"] == "not_found"
    chunks = session.post(f"{web.url}/api/auth/token", data=iter([b"{", b"}"]), timeout=PATIENCE_S)
    assert chunks.status_code in (400, 415, 422)
    large = session.post(f"{web.url}/login", data={"email": "x" * 1_200_000}, timeout=PATIENCE_S)
    assert large.status_code == 413


def test_the_real_server_speaks_http_1_alone(web: Web) -> None:
    """A thousand idle connections of HTTP/2, which nothing ends, held every place there is."""
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    with socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE_S) as idle:
        idle.sendall(hello)
        said = b""
        while piece := idle.recv(4096):  # until it is closed
            said += piece
    assert said == b"" or said.startswith(b"HTTP/1.1 400")


# ---- without a network


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


def test_a_body_that_does_not_come_is_answered_408_and_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """safety.md 4: a deadline on reading bodies; with one thread, sixty slow ones and one that comes."""
    monkeypatch.setattr(web_server, "BODY_WITHIN_S", 0.2)
    monkeypatch.setattr(web_server, "SLOWEST_BYTES_A_S", 1e9)
    slow = [(scope(("content-length", "60000")), Sender(never_ends=True)) for _n in range(30)]
    slow += [(scope(("transfer-encoding", "chunked")), Sender([b"x"], never_ends=True)) for _n in range(3)]
    quick = Sender([b"whole"])
    made = served(echo, *slow, (scope(("content-length", "5")), quick))
    assert quick.said[0] == 200 and quick.said[2] == b"whole"
    assert [sender.said[0] for _scope, sender in slow] == [408] * 33
    assert made._large_bytes == 0, "the room that they took is free again"


def test_a_body_has_ten_seconds_and_what_its_length_needs_at_8_kb_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """safety.md 4: the figures themselves, of small bodies and large ones."""
    given: list[float | None] = []
    moved: list[float] = []
    opened = asyncio.timeout

    class Deadline:
        """asyncio's own, whose times are written down as seconds since it began."""

        def __init__(self, within_s: float | None) -> None:
            given.append(within_s)
            self._real = opened(60)

        def when(self) -> float:
            return 0.0

        def reschedule(self, at: float) -> None:
            moved.append(at)

        async def __aenter__(self) -> "Deadline":
            await self._real.__aenter__()
            return self

        async def __aexit__(self, *raised: Any) -> bool | None:
            return await self._real.__aexit__(*raised)

    monkeypatch.setattr(web_server.asyncio, "timeout", Deadline)
    small, large = Sender([b"x" * 100]), Sender([b"x" * 81_920] * 2)
    served(echo, (scope(("content-length", "100")), small), (scope(("content-length", "163840")), large))
    assert (small.said[0], large.said[0]) == (200, 200)
    assert given == [10.0, 10.0] and moved == [10.0, 20.0], "from the first ten, ten more for each 80 KB that came"


def test_large_bodies_share_their_room_and_small_ones_always_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "BODY_WITHIN_S", 0.2)
    monkeypatch.setattr(web_server, "SLOWEST_BYTES_A_S", 1e12)
    size = 20 * 1024 * 1024
    for method, header in (("POST", ("content-length", str(size))), ("GET", ("transfer-encoding", "chunked"))):
        large = [(scope(header, method=method), Sender([b"x" * size], never_ends=True)) for _n in range(5)]
        callback = Sender([b"x" * 60_000])
        made = served(echo, *large, (scope(("content-length", "60000")), callback))
        assert sorted(sender.said[0] for _scope, sender in large) == [408, 408, 408, 503, 503], method
        assert callback.said[0] == 200 and made._large_bytes == 0


def test_64_kb_come_in_where_no_room_for_large_bodies_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No callback is turned away because strangers send much."""
    monkeypatch.setattr(web_server, "LARGE_TOGETHER_BYTES", 0)
    sizes = (65_536, 65_537)
    declared = [(scope(("content-length", str(size))), Sender([b"x" * size])) for size in sizes]
    chunked = [(scope(("transfer-encoding", "chunked")), Sender([b"x" * size])) for size in sizes]
    served(echo, *declared, *chunked)
    assert [sender.said[0] for _scope, sender in (*declared, *chunked)] == [200, 503, 200, 503]


def test_a_large_body_that_is_announced_and_does_not_come_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three that announced 20 MB held all the room for 45 minutes, and a callback in chunks was turned away."""
    monkeypatch.setattr(web_server, "BODY_WITHIN_S", 0.2)
    announced = [(scope(("content-length", str(20 * 1024 * 1024))), Sender([b"x"], never_ends=True)) for _n in range(5)]
    statement, callback = Sender([b"x" * 100_000] * 3), Sender([b"x" * 100])
    several = (scope(("content-length", "300000")), statement), (scope(("transfer-encoding", "chunked")), callback)
    served(echo, *announced, *several)
    assert [sender.said[0] for _scope, sender in announced] == [408] * 5, "at once, not after 20 MB at 8 KB a second"
    assert (statement.said[0], len(statement.said[2])) == (200, 300_000) and callback.said[0] == 200


def test_more_than_was_ever_allowed_is_not_read() -> None:
    app = Flask("t")
    app.config["MAX_CONTENT_LENGTH"] = 1024
    app.add_url_rule("/x", view_func=lambda: request.get_data(), methods=["POST"])
    declared, in_chunks = Sender(never_ends=True), Sender([b"x" * 1024 * 1024] * 22)
    served(app, (scope(("content-length", str(10**9))), declared), (scope(("transfer-encoding", "chunked")), in_chunks))
    assert declared.said[0] == 413 and in_chunks.said[0] == 413


def test_a_request_is_told_as_wsgi_tells_it() -> None:
    body = "Habari é".encode()
    environ = environ_of(
        scope(
            ("host", "pay.test"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("cookie", "a=1"),
            ("cookie", "b=2"), ("content-type", "text/plain"), ("content-length", str(len(body))),
            path="/a/b c/é", query="x=%41&y",
        ),
        body,
    )  # fmt: skip
    assert environ["PATH_INFO"] == "/a/b c/Ã©" and environ["QUERY_STRING"] == "x=%41&y"
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("10.9.8.7", "127.0.0.1", "8000")
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1,2.2.2.2" and environ["HTTP_COOKIE"] == "a=1; b=2"
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "9")
    assert "HTTP_CONTENT_TYPE" not in environ and "HTTP_CONTENT_LENGTH" not in environ
    assert environ["wsgi.input"].read() == body
    ipv6 = scope()
    ipv6.client = "[2001:db8::1]:51000"
    assert environ_of(ipv6, b"")["REMOTE_ADDR"] == "2001:db8::1"


def test_a_name_with_an_underscore_is_nobody_elses_header() -> None:
    """`X_Forwarded_For` passes some proxies as it is, and became the last of what the proxy itself had said."""
    environ = environ_of(
        scope(
            ("x-forwarded-for", "41.90.1.1"), ("x_forwarded_for", "1.2.3.4"), ("x_forwarded_proto", "http"),
            ("content-length", "2"), ("content_length", "900"), ("x_api_key", "k"), ("wsgi_input", "x"),
        ),
        b"{}",
    )  # fmt: skip
    assert environ["HTTP_X_FORWARDED_FOR"] == "41.90.1.1" and environ["CONTENT_LENGTH"] == "2"
    assert not {"HTTP_X_FORWARDED_PROTO", "HTTP_X_API_KEY", "HTTP_WSGI_INPUT"} & set(environ)


def test_an_answer_of_any_size_arrives_whole_with_each_of_its_headers() -> None:
    app = Flask("t")

    def large() -> Response:
        answer = Response((b"y" * 100_000 for _n in range(100)), mimetype="text/csv")
        answer.headers.add("Set-Cookie", "a=1")
        answer.headers.add("Set-Cookie", "b=2")
        return answer

    app.add_url_rule("/x", view_func=large)
    reader = Sender()
    served(app, (scope(method="GET"), reader))
    assert reader.said[0] == 200 and reader.said[2] == b"y" * 10_000_000
    assert [value for name, value in reader.said[1] if name == "set-cookie"] == ["a=1", "b=2"]


def test_an_application_that_fails_answers_500_and_the_next_request_is_served() -> None:
    def broken(environ: dict[str, Any], _start: Callable[..., Any]) -> Iterable[bytes]:
        raise RuntimeError(environ["PATH_INFO"])

    first, second = Sender(), Sender()
    served(broken, (scope(), first), (scope(), second))
    assert first.said[0] == second.said[0] == 500


def test_an_iterable_is_closed_even_where_it_fails() -> None:
    closed = []

    class Breaks(io.BytesIO):
        def __next__(self) -> bytes:
            raise RuntimeError

        def close(self) -> None:
            closed.append(True)

    def breaks(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Breaks()

    sender = Sender()
    served(breaks, (scope(), sender))
    assert sender.said[0] == 500 and closed
