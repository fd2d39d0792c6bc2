"""The simulated router's API, driven by librouteros as any program would drive a real one."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import librouteros
import pytest
from librouteros.exceptions import LibRouterosError, TrapError
from librouteros.query import Key

from portal.simulator.router.fleet import Router
from portal.simulator.router.machine import RouterSpec
from portal.simulator.router.wire import Broken, length_bytes, read_sentence, sentence_bytes
from tests.support import simulator
from tests.support.simulator import Daraja

MAC = "AA:BB:CC:00:11:22"


class Site:
    """One router, a client of its API, and the door behind the stage."""

    def __init__(self, daraja: Daraja, router: Router) -> None:
        self.daraja, self.router = daraja, router
        self._apis: list[Any] = []
        self.api = self.connect()

    def connect(self, **given: Any) -> Any:
        wanted = {"host": "127.0.0.1", "port": self.router.api.port, "timeout": 3} | given
        made = librouteros.connect(**({"username": "mlango", "password": "router-password"} | wanted))
        self._apis.append(made)
        return made

    def close(self) -> None:
        for one in self._apis:
            one.close()

    def rows(self, *path: str) -> list[dict[str, Any]]:
        return list(self.api.path(*path))

    def control(self, **order: Any) -> Any:
        answer = self.daraja.client.post(f"/control/routers/{self.router.spec.name}", json=order)
        assert answer.status_code == 200, answer.json
        return answer.json

    def join(self, mac: str = MAC) -> str:
        return str(self.control(join={"mac": mac})["joined"]["ip"])

    def sell(self, name: str = "UKL1ABCDEF", password: str = "secret", **limits: str) -> str:
        return str(self.api.path("ip", "hotspot", "user").add(name=name, password=password, **limits))

    def sign_in(self, ip: str, name: str = "UKL1ABCDEF", password: str = "secret", mac: str = MAC) -> None:
        active = self.api.path("ip", "hotspot", "active")
        tuple(active("login", user=name, password=password, ip=ip, **{"mac-address": mac}))

    def online(self) -> list[str]:
        return [row["user"] for row in self.rows("ip", "hotspot", "active")]


@contextlib.contextmanager
def opened_site(tmp_path: Any, **spec: Any) -> Iterator[Site]:
    with simulator.opened(tmp_path) as daraja:
        fleet = daraja.app.extensions["simulator"].fleet
        site = Site(daraja, fleet.open([RouterSpec(name="cafe", **spec)])[0])
        try:
            yield site
        finally:
            site.close()


@pytest.fixture
def site(tmp_path: Any) -> Iterator[Site]:
    with opened_site(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("length", "written"),
    [
        (0, "00"),
        (0x7F, "7f"),
        (0x80, "8080"),
        (0x3FFF, "bfff"),
        (0x4000, "c04000"),
        (0x1F_FFFF, "dfffff"),
        (0x20_0000, "e0200000"),
        (0x1000_0000, "f010000000"),
    ],
)
def test_lengths_are_written_as_routeros_writes_them(length, written):
    assert length_bytes(length).hex() == written


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 70_000])
def test_a_sentence_is_read_as_it_was_written(length):
    left, right = socket.socketpair()
    with left, right, right.makefile("rb") as stream:
        left.sendall(sentence_bytes(["/print", "x" * length] if length else ["/print"]))
        assert read_sentence(stream) == (["/print", "x" * length] if length else ["/print"])
        left.close()
        with pytest.raises(Broken):
            read_sentence(stream)


def test_only_the_right_password_is_let_in_and_nothing_is_said_to_strangers(site):
    with pytest.raises(TrapError, match="invalid user name or password"):
        site.connect(password="wrong")
    with socket.create_connection(("127.0.0.1", site.router.api.port), 3) as plain, plain.makefile("rb") as stream:
        plain.sendall(sentence_bytes(["/ip/hotspot/user/print"]))
        assert read_sentence(stream) == ["!fatal", "not logged in"]


def test_a_tls_port_speaks_the_same(tmp_path):
    with opened_site(tmp_path, api_uses_tls=False) as plain:
        spec = RouterSpec(name="sealed", api_uses_tls=True)
        sealed = plain.daraja.app.extensions["simulator"].fleet.open([spec])[0]
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        api = plain.connect(port=sealed.api.port, ssl_wrapper=context.wrap_socket)
        assert list(api.path("system", "identity")) == [{"name": "sealed"}]


def test_users_are_added_changed_found_and_removed(site):
    users = site.api.path("ip", "hotspot", "user")
    made = site.sell(**{"limit-uptime": "90m", "limit-bytes-total": "5368709120", "comment": "g:7"})
    assert made.startswith("*")
    (row,) = users.select(Key(".id"), Key("limit-uptime"), Key("limit-bytes-total")).where(Key("name") == "UKL1ABCDEF")
    assert row == {".id": made, "limit-uptime": "1h30m", "limit-bytes-total": 5368709120}
    with pytest.raises(TrapError, match="already have user with this name for this server"):
        site.sell()
    users.update(**{".id": made, "limit-uptime": "2h", "disabled": True})
    (row,) = [one for one in site.rows("ip", "hotspot", "user") if one["name"] == "UKL1ABCDEF"]
    assert (row["limit-uptime"], row["disabled"], row["comment"], row["profile"]) == ("2h", True, "g:7", "default")
    users.remove(made)
    assert site.rows("ip", "hotspot", "user") == []
    with pytest.raises(TrapError, match="no such item"):
        users.remove(made)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit-uptime": "soon"}, "invalid value for argument limit-uptime"),
        ({"limit-bytes-total": "-1"}, "invalid value for argument limit-bytes-total"),
        ({"mac-address": "AA:BB"}, "invalid value for argument mac-address"),
        ({"profile": "gold"}, "input does not match any value of profile"),
        ({"colour": "red"}, "unknown parameter colour"),
    ],
)
def test_what_routeros_would_not_take_is_refused_in_its_words(site, given, said):
    with pytest.raises(TrapError, match=said):
        site.sell(**given)
    assert site.rows("ip", "hotspot", "user") == []


def test_a_menu_that_is_none_and_a_command_that_is_none(site):
    with pytest.raises(TrapError, match="no such command prefix"):
        site.rows("ip", "hotpot")
    with pytest.raises(TrapError, match="no such command"):
        tuple(site.api.path("ip", "hotspot", "user")("explode"))


def test_queries_combine_as_routeros_combines_them(site):
    for name, comment in (("a", "one"), ("b", "two"), ("c", "")):
        site.sell(name, **({"comment": comment} if comment else {}))
    users = site.api.path("ip", "hotspot", "user")

    def names(*condition: Any) -> list[str]:
        return [row["name"] for row in users.select(Key("name")).where(*condition)]

    name = Key("name")
    assert names(name == "b") == ["b"]
    assert names(name != "b") == ["a", "c"]
    assert names(name.In("a", "c")) == ["a", "c"]
    assert names(Key("comment") == "two", name == "b") == ["b"]
    assert names(Key("comment") == "two", name == "a") == []


def test_the_ids_of_yesterday_name_other_entries_after_a_reboot(site):
    first, second = site.sell("first"), site.sell("second")
    site.control(reboot=True)
    with pytest.raises((LibRouterosError, OSError)):
        site.rows("ip", "hotspot", "user")
    site.api = site.connect()
    ids = {row["name"]: row[".id"] for row in site.rows("ip", "hotspot", "user")}
    assert set(ids) == {"first", "second"}
    assert ids["first"] != first
    assert ids["second"] != second


def test_a_device_is_signed_in_without_its_browser_and_kicked(site):
    profiles = site.api.path("ip", "hotspot", "user", "profile")
    profiles.add(name="day", **{"rate-limit": "2M/5M", "shared-users": "1"})
    site.sell(profile="day", **{"limit-uptime": "1h"})
    ip = site.join()
    with pytest.raises(TrapError, match="invalid username or password"):
        site.sign_in(ip, password="wrong")
    with pytest.raises(TrapError, match="unknown host IP 10.9.9.9"):
        site.sign_in("10.9.9.9")
    assert site.online() == []

    site.sign_in(ip)
    (row,) = site.rows("ip", "hotspot", "active")
    assert (row["user"], row["mac-address"], row["address"], row["login-by"]) == ("UKL1ABCDEF", MAC, ip, "admin")
    assert site.control()["sessions"][0]["rate"] == "2M/5M"
    (host,) = site.rows("ip", "hotspot", "host")
    assert (host["mac-address"], host["authorized"]) == (MAC, True)
    (cookie,) = site.rows("ip", "hotspot", "cookie")
    assert (cookie["user"], cookie["mac-address"]) == ("UKL1ABCDEF", MAC)

    site.api.path("ip", "hotspot", "active").remove(row[".id"])
    assert site.online() == []
    site.api.path("ip", "hotspot", "cookie").remove(cookie[".id"])
    assert site.rows("ip", "hotspot", "cookie") == []


def test_time_online_ends_at_its_limit_by_the_routers_own_clock(site):
    site.sell(**{"limit-uptime": "1h"})
    ip = site.join()
    site.sign_in(ip)
    site.daraja.control(clock={"moveSeconds": 1800})
    (row,) = site.rows("ip", "hotspot", "active")
    assert row["session-time-left"] in ("30m", "29m59s", "29m58s")
    site.control(leave=MAC)
    site.daraja.control(clock={"moveSeconds": 86_400})  # a day away costs nothing of it
    ip = site.join()
    site.sign_in(ip)
    site.daraja.control(clock={"moveSeconds": 1801})
    site.router.hotspot.look()
    assert site.online() == []
    with pytest.raises(TrapError, match="user UKL1ABCDEF has reached uptime limit"):
        site.sign_in(ip)
    (user,) = site.rows("ip", "hotspot", "user")
    assert user["uptime"] == "1h"
    tuple(site.api.path("ip", "hotspot", "user")("reset-counters", **{".id": user[".id"]}))
    site.sign_in(ip)
    assert site.online() == ["UKL1ABCDEF"]


def test_data_ends_at_its_limit_and_not_a_byte_later(site):
    site.sell(**{"limit-bytes-total": "6G"})
    ip = site.join()
    site.sign_in(ip)
    site.control(use={"mac": MAC, "bytesIn": 1_000, "bytesOut": 5 * 1024**3})
    (row,) = site.rows("ip", "hotspot", "active")
    assert (row["bytes-in"], row["bytes-out"]) == (1_000, 5_368_709_120)
    site.control(use={"mac": MAC, "bytesOut": 2 * 1024**3})
    assert site.online() == []
    (user,) = site.rows("ip", "hotspot", "user")
    assert user["bytes-in"] + user["bytes-out"] == 6_442_450_944
    with pytest.raises(TrapError, match="user UKL1ABCDEF has reached traffic limit"):
        site.sign_in(ip)


def test_no_more_devices_than_the_profile_says_and_only_the_bound_one(site):
    site.sell()
    here, there = site.join(), site.join("AA:BB:CC:00:11:33")
    site.sign_in(here)
    with pytest.raises(TrapError, match="no more sessions are allowed for user UKL1ABCDEF"):
        site.sign_in(there, mac="AA:BB:CC:00:11:33")
    site.sign_in(here)  # the same device again takes its own place
    assert site.online() == ["UKL1ABCDEF"]
    site.sell("bound", **{"mac-address": "aa:bb:cc:00:11:22"})
    with pytest.raises(TrapError, match="user bound is not allowed to log in from this MAC address"):
        site.sign_in(there, "bound", mac="AA:BB:CC:00:11:33")
    site.sell("anybody", **{"mac-address": "00:00:00:00:00:00"})  # RouterOS' own word for: any device
    site.sign_in(there, "anybody", mac="AA:BB:CC:00:11:33")
    assert site.online() == ["UKL1ABCDEF", "anybody"]


@pytest.mark.parametrize("fault", ["unreachable", "wrongAnswers", "hang"])
def test_a_router_that_does_not_answer_right_answers_again_afterwards(site, fault):
    site.control(faults={fault: {"times": 1, "seconds": 30}})
    with pytest.raises((LibRouterosError, OSError)):
        site.connect(timeout=0.3)
    assert site.connect() is not None


def test_a_router_may_fail_lie_or_fall_silent_after_doing_what_it_was_told(site):
    site.control(faults={"trap": 1})
    with pytest.raises(TrapError, match="std failure: timeout"):
        site.sell()
    site.control(faults={"lie": 1})
    assert site.sell().startswith("*")
    assert site.rows("ip", "hotspot", "user") == []
    site.control(faults={"dropAfter": 1})
    with pytest.raises((LibRouterosError, OSError)):
        site.sell()
    site.api = site.connect()
    assert [row["name"] for row in site.rows("ip", "hotspot", "user")] == ["UKL1ABCDEF"]


def test_the_memory_survives_a_restart_of_the_simulator(tmp_path):
    with opened_site(tmp_path) as site:
        site.sell()
        site.sign_in(site.join())
    with opened_site(tmp_path) as site:
        assert site.online() == ["UKL1ABCDEF"]


def test_bytes_that_are_no_sentence_cost_one_connection_only(site):
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\xf0\xff\xff\xff\xff"):
        with socket.create_connection(("127.0.0.1", site.router.api.port), 3) as plain:
            plain.sendall(rubbish)
            plain.shutdown(socket.SHUT_WR)
            assert plain.recv(100) == b""
    assert site.online() == []
