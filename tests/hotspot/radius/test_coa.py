"""Orders to a router: what arrives there, and what its answers mean."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pyrad import packet

from portal.hotspot.models import AccessSession, Site
from portal.hotspot.radius import coa

SECRET = "secret-of-the-site"


class Nas:
    """A router that keeps the orders signed with its secret, and answers them as it was told to."""

    def __init__(self) -> None:
        self.orders: list[tuple[int, dict[str, Any]]] = []
        self.error_cause: int | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, source = self._socket.recvfrom(4096)
            if not data:
                return
            order = packet.CoAPacket(packet=data, dict=coa._dictionary(), secret=SECRET.encode())
            if order.VerifyCoARequest():
                self._socket.sendto(self._answer(order), source)

    def _answer(self, order: packet.CoAPacket) -> bytes:
        self.orders.append((order.code, {name: order[name][0] for name in list(order.keys())}))
        reply = order.CreateReply()
        reply.code = order.code + (1 if self.error_cause is None else 2)
        if self.error_cause:
            reply["Error-Cause"] = self.error_cause
        return bytes(reply.ReplyPacket())


@pytest.fixture
def router() -> Iterator[Nas]:
    made = Nas()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coa, "TIMEOUT_S", 0.3)


def site(port: int, **more: Any) -> Site:
    return Site(**{"tenant_id": 1, "name": "x", "address": "127.0.0.1", "secret": SECRET, "coa_port": port, **more})


SESSION = AccessSession(username="SKL1ABCD23", session_id="80f00003", ip="10.5.50.23", mac="AA:BB:CC:DD:EE:01")


def test_a_disconnect_names_the_session_in_three_ways(router: Nas) -> None:
    outcome = coa.disconnect(site(router.port), SESSION)
    assert (outcome.is_done, outcome.code) == (True, "acknowledged")
    named = {"User-Name": "SKL1ABCD23", "Acct-Session-Id": "80f00003", "Framed-IP-Address": "10.5.50.23"}
    assert router.orders == [(packet.DisconnectRequest, named)]


def test_a_change_carries_speed_and_end(router: Nas) -> None:
    outcome = coa.change(site(router.port), SESSION, rate="256k/512k", seconds_left=90)
    assert (outcome.is_done, outcome.code) == (True, "acknowledged")
    ((code, told),) = router.orders
    assert code == packet.CoARequest
    assert (told["Mikrotik-Rate-Limit"], told["Session-Timeout"]) == ("256k/512k", 90)
    assert (told["User-Name"], told["Acct-Session-Id"]) == ("SKL1ABCD23", "80f00003")


def test_no_such_session_is_as_good_as_ended_but_nothing_to_change(router: Nas) -> None:
    router.error_cause = 503
    outcome = coa.disconnect(site(router.port), SESSION)
    assert (outcome.is_done, outcome.code) == (True, "no_session")
    outcome = coa.change(site(router.port), SESSION, rate="1M/1M", seconds_left=9)
    assert (outcome.is_done, outcome.is_retryable, outcome.code) == (False, False, "no_session")


@pytest.mark.parametrize(("cause", "is_retryable"), [(0, True), (506, True), (401, False), (504, False), (777, False)])
def test_a_refusal_says_why_and_whether_to_try_again(router: Nas, cause: int, is_retryable: bool) -> None:
    router.error_cause = cause
    outcome = coa.disconnect(site(router.port), SESSION)
    assert (outcome.is_done, outcome.is_retryable, outcome.code) == (False, is_retryable, "refused")
    assert outcome.text.startswith("The router refused: ")


def test_a_wrong_secret_and_a_router_that_is_off_are_tried_again_later(router: Nas) -> None:
    wrong = coa.disconnect(site(router.port, secret="not-the-secret"), SESSION)
    gone = Nas()
    gone.stop()
    away = coa.disconnect(site(gone.port), SESSION)
    for outcome in (wrong, away):
        assert (outcome.is_done, outcome.is_retryable) == (False, True) and outcome.is_about_router
    assert wrong.code == "timed_out" and router.orders == []


def test_a_site_that_is_not_set_up_and_a_name_that_is_none_are_told_so(router: Nas) -> None:
    assert coa.disconnect(site(router.port, address=""), SESSION).code == "not_set_up"
    assert coa.disconnect(site(router.port, address="no.such.host.invalid"), SESSION).code in (
        "unreachable",
        "timed_out",
    )


def test_a_session_without_id_and_address_is_named_by_what_there_is(router: Nas) -> None:
    coa.disconnect(site(router.port), AccessSession(username="A", session_id="", ip=""))
    assert router.orders == [(packet.DisconnectRequest, {"User-Name": "A"})]
