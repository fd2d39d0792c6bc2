"""The simulated router before a RADIUS server: what it asks and tells, what it believes, whose orders it takes."""

import hashlib
import hmac
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from portal.simulator.router import radius, radius_packets
from portal.simulator.router.fleet import Router
from portal.simulator.router.hotspot import NOT_ANSWERING, Proof
from portal.simulator.router.machine import RouterSpec
from tests.support import simulator
from tests.support.clock import wait_until
from tests.support.services.programs import find_program, lacking

SECRET, MAC = "secret-of-the-cafe", "AA:BB:CC:00:11:22"
RATE = b"\x00\x00\x3a\x8c" + b"\x08\x07" + b"2M/5M"  # Mikrotik-Rate-Limit
LIMIT = b"\x00\x00\x3a\x8c" + b"\x11\x06" + struct.pack("!I", 1024**3)  # Mikrotik-Total-Limit: 1 GiB and
GIGAWORDS = b"\x00\x00\x3a\x8c" + b"\x12\x06" + struct.pack("!I", 1)  # 4 GiB more


class Server:
    """Answers as it is told, and keeps what it heard: (code, {attribute number: value})."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[int, bytes]]] = []
        self.accepts, self.signs, self.reason = True, True, b"no such code"
        self._sockets = []
        while len(self._sockets) < 2:
            first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            first.bind(("127.0.0.1", 0))
            second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
                self._sockets = [first, second]
            except OSError:
                first.close()
                second.close()
        self.port = int(self._sockets[0].getsockname()[1])
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in self._sockets]
        for thread in self._threads:
            thread.start()

    def _serve(self, here: socket.socket) -> None:
        while True:
            try:
                raw, sender = here.recvfrom(4096)
            except OSError:
                return
            if not raw:
                return
            self.heard.append((raw[0], attributes(raw)))
            here.sendto(self._answer(raw), sender)

    def _answer(self, raw: bytes) -> bytes:
        code, body = (5, b"") if raw[0] == 4 else (2, self._accepted()) if self.accepts else (3, self._refused())
        signed = raw[0] == 1 and self.signs
        length = 20 + len(body) + (18 if signed else 0)
        head = struct.pack("!BBH", code, raw[1], length)
        if signed:
            proof = hmac.new(SECRET.encode(), head + raw[4:20] + b"\x50\x12" + bytes(16) + body, "md5").digest()
            body = b"\x50\x12" + proof + body
        return head + hashlib.md5(head + raw[4:20] + body + SECRET.encode()).digest() + body  # noqa: S324 - RADIUS

    def _accepted(self) -> bytes:
        plain = struct.pack("!BBI", 27, 6, 3_600) + struct.pack("!BBI", 85, 6, 300) + b"\x19\x05g:7"
        return plain + b"".join(bytes([26, len(one) + 2]) + one for one in (RATE, LIMIT, GIGAWORDS))

    def _refused(self) -> bytes:
        return bytes([18, len(self.reason) + 2]) + self.reason

    def accounted(self) -> list[dict[int, bytes]]:
        return [told for code, told in self.heard if code == 4]

    def close(self) -> None:
        for one in self._sockets:
            one.sendto(b"", one.getsockname())
        for thread in self._threads:
            thread.join(timeout=5)
        for one in self._sockets:
            one.close()


def attributes(raw: bytes) -> dict[int, bytes]:
    found, at = {}, 20
    while at < len(raw):
        found[raw[at]] = raw[at + 2 : at + raw[at + 1]]
        at += raw[at + 1]
    return found


def opened_password(hidden: bytes, authenticator_secret: bytes) -> bytes:
    mask = hashlib.md5(authenticator_secret).digest()  # noqa: S324 - RFC 2865
    return bytes(one ^ two for one, two in zip(hidden, mask, strict=True)).rstrip(b"\0")


class Cafe:
    """A router that asks this server, and one phone."""

    def __init__(self, daraja: simulator.Daraja, server: Server) -> None:
        self.daraja, self.server = daraja, server
        spec = RouterSpec(
            name="cafe", radius_address="127.0.0.1", radius_port=server.port, radius_secret=SECRET,
            login_by="http-pap,http-chap",
        )  # fmt: skip
        self.router: Router = daraja.app.extensions["simulator"].fleet.open([spec])[0]
        self.hotspot, self.store = self.router.hotspot, self.router.machine.store
        self.device = self.hotspot.join(mac=MAC)

    def sign_in(self, password: str = "secret") -> str:
        proof = Proof(password=password)
        return self.hotspot.sign_in(self.device, "UKL1ABCDEF", proof, login_by="http-pap")

    def order(self, kind: str, *lines: str, secret: str = SECRET) -> str:
        """What radclient hears; empty for silence."""
        if find_program("radclient") is None:
            lacking("radclient", package="freeradius-utils")
        said = subprocess.run(
            ["radclient", "-r1", "-t1", "-x", f"127.0.0.1:{self.router.machine.coa_port}", kind, secret],
            input="\n".join(lines) + "\n", capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        found = re.search(r"^Received (\S+) Id", said, re.MULTILINE)
        cause = re.search(r"Error-Cause = (\S+)", said)
        return "" if found is None else found[1] + (f" {cause[1]}" if cause else "")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def cafe(tmp_path: Any, server: Server) -> Iterator[Cafe]:
    with simulator.opened(tmp_path) as daraja:
        yield Cafe(daraja, server)


def test_a_router_asks_with_what_routeros_sends_and_keeps_to_what_it_is_told(cafe, server):
    assert cafe.sign_in() == ""
    code, asked = server.heard[0]
    assert code == 1
    said = {number: asked[number] for number in (1, 30, 31, 32)}
    assert said == {1: b"UKL1ABCDEF", 30: b"hotspot1", 31: MAC.encode(), 32: b"cafe"}
    assert (socket.inet_ntoa(asked[8]), asked[6]) == ("10.5.50.10", b"\x00\x00\x00\x01")
    assert asked[44] == b"80000001"
    assert b"secret" not in asked[2] and len(asked[2]) == 16

    (session,) = cafe.hotspot.sessions()
    assert (session["rate"], session["timeout_s"], session["most_bytes"]) == ("2M/5M", 3_600.0, 5 * 1024**3)
    wait_until(lambda: len(server.accounted()) == 1)
    begun = server.accounted()[0]
    assert (begun[40], begun[25], begun[44]) == (b"\0\0\0\x01", b"g:7", b"80000001")


def test_more_than_four_gigabytes_are_told_with_gigawords_and_the_end_with_its_cause(cafe, server):
    cafe.sign_in()
    cafe.hotspot.use(MAC, bytes_in=7, bytes_out=4 * 1024**3 + 5)
    cafe.store.move_clock(300)
    wait_until(lambda: len(server.accounted()) == 2)
    between = server.accounted()[1]
    assert (between[40], between[42], between[43], between[53]) == (
        b"\0\0\0\x03", b"\0\0\0\x07", b"\0\0\0\x05", b"\0\0\0\x01",
    )  # fmt: skip
    cafe.store.move_clock(4_000)
    wait_until(lambda: len(server.accounted()) == 3)
    ended = server.accounted()[2]
    assert (ended[40], ended[49], ended[46]) == (b"\0\0\0\x02", b"\0\0\0\x05", struct.pack("!I", 3_600))
    assert cafe.hotspot.sessions() == []


def test_chap_goes_through_as_the_phone_answered_it(cafe, server):
    chap_id, challenge = cafe.hotspot.challenge(cafe.device)
    response = hashlib.md5(bytes([chap_id]) + b"secret" + challenge).digest()  # noqa: S324 - CHAP
    proof = Proof(chap_id=chap_id, challenge=challenge, response=response)
    assert cafe.hotspot.sign_in(cafe.device, "UKL1ABCDEF", proof, login_by="http-chap") == ""
    _code, asked = server.heard[0]
    assert (asked[3], asked[60]) == (bytes([chap_id]) + response, challenge)
    assert 2 not in asked


def test_a_refusal_is_told_in_the_servers_words(cafe, server):
    server.accepts = False
    assert cafe.sign_in() == "no such code"
    assert cafe.hotspot.sessions() == []


def test_an_answer_without_a_signature_is_no_answer(cafe, server, monkeypatch):
    monkeypatch.setattr(radius, "TRY_S", 0.2)
    server.signs = False
    assert cafe.sign_in() == NOT_ANSWERING
    cafe.router.machine.change("/radius", cafe.router.machine.entry("/radius")["row"], {"require-message-auth": "no"})
    assert cafe.sign_in() == ""


def test_a_lost_packet_is_sent_again(cafe, server):
    cafe.daraja.client.post("/control/routers/cafe", json={"faults": {"radiusLost": 2}})
    assert cafe.sign_in() == ""
    assert [code for code, _told in server.heard][:1] == [1]


def test_orders_end_and_change_the_session_that_they_name_and_no_other(cafe, server):
    cafe.sign_in()
    who = ('User-Name = "UKL1ABCDEF"', "Framed-IP-Address = 10.5.50.10", 'Acct-Session-Id = "80000001"')
    assert cafe.order("coa", *who, "Session-Timeout = 7200", 'Mikrotik-Rate-Limit = "1M/1M"') == "CoA-ACK"
    (session,) = cafe.hotspot.sessions()
    assert (session["rate"], 7_190 < cafe.hotspot.seconds_left(session) <= 7_200) == ("1M/1M", True)
    assert cafe.order("coa", *who, "Mikrotik-Total-Limit = 5").startswith("CoA-NAK Unsupported")
    assert cafe.order("disconnect", 'User-Name = "somebody"').startswith("Disconnect-NAK Session")
    assert cafe.order("disconnect", *who, secret="guessed") == ""
    assert len(cafe.hotspot.sessions()) == 1
    assert cafe.order("disconnect", *who) == "Disconnect-ACK"
    assert cafe.hotspot.sessions() == []
    wait_until(lambda: [told[40] for told in server.accounted()][-1:] == [b"\0\0\0\x02"])
    assert server.accounted()[-1][49] == b"\0\0\0\x06"  # Admin-Reset


@pytest.mark.parametrize("raw", [b"", b"\x28" * 19, b"\x28\x01\x00\x14" + bytes(16), b"\x28\x01\x00\x16" + bytes(18)])
def test_bytes_that_are_no_order_are_not_answered(raw):
    with pytest.raises(radius_packets.Malformed):
        radius_packets.read_request(raw, SECRET.encode())


def test_a_password_is_hidden_as_the_standard_says():
    request = radius_packets.access_request({"User-Password": "secret"}, SECRET.encode())
    assert opened_password(attributes(request)[2], SECRET.encode() + request[4:20]) == b"secret"
