"""A real PostgreSQL server for the tests: fresh, private, on a unix socket, gone at the end.

Decided: no fsync, because nothing here must survive a power cut; everything else is as in production.
Decided: its files lie in memory where there is room, because each test copies a database of nearly a thousand files:
on a disk that was a sixth of a second of CPU a test, in memory a fortieth.
Decided: `postgres` runs as our own child, not under pg_ctl, so that a killed test run takes it along.
"""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

from portal.processes.fork import tied_to_us
from tests.support.services.programs import find_program

_USER = "mlango"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # it wakes up in the middle of a race test
    "shared_buffers": "32MB",
    "max_connections": "200",  # the races take 100 at once
    "max_wal_size": "256MB",  # in memory, too
    "timezone": "UTC",
}
_MEMORY = Path("/dev/shm")  # Linux's; each server's folder in it is its own
_ROOM_BYTES = 2 << 30  # a worker takes a fifth of it; where a container has 64 MB, the disk is used


class PostgreSQLMissing(Exception):
    """No PostgreSQL server programs on this machine."""


@dataclass
class PostgreSQLServer:
    """A running server. `url` is its maintenance database, in SQLAlchemy's form, for psycopg 3."""

    url: str
    directory: Path
    process: subprocess.Popen[bytes]
    _names: Iterator[int] = field(default_factory=itertools.count)

    def fresh_database(self, *, template: str = "template1") -> str:
        """URL of a new database, a copy of `template`."""
        return fresh_postgresql_database(self.url, name=f"test_{next(self._names)}", template=template)

    def template(self, name: str, prepare: Callable[[str], object]) -> str:
        """`name`, now a template: a fresh database that `prepare` was given the URL of, once.

        `prepare` must close its connections: PostgreSQL copies no database that is in use.
        """
        prepare(fresh_postgresql_database(self.url, name=name))
        return name

    def drop(self, url: str) -> None:
        """Remove that database, whoever is still connected."""
        _execute(self.url, f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def stop(self) -> None:
        """End the server and remove its files."""
        self.process.send_signal(3)  # SIGQUIT: at once; there is nothing to save
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_postgresql(directory: Path | None = None, *, within_s: float = 20.0) -> PostgreSQLServer:
    """A running server, its files in a new folder under `directory` (default: in memory, else a temporary one).

    As root it runs as the user postgres, which needs every folder above to be traversable: pytest's own
    temporary folders are not. Raises PostgreSQLMissing, or RuntimeError with the server's last words.
    """
    initdb, postgres = _program("initdb"), _program("postgres")
    home = Path(tempfile.mkdtemp(prefix=f"mlango-pg-{os.getpid()}-", dir=directory or _memory()))
    home.chmod(0o755)  # the tests connect as somebody else than the server's user
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
    data, log = home / "data", home / "log"
    options = ["-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    made = subprocess.run(
        _as_server_user([str(initdb), *options]), capture_output=True, text=True, cwd=home, check=False
    )
    if made.returncode:
        shutil.rmtree(home, ignore_errors=True)
        raise RuntimeError(f"initdb failed: {made.stderr[-2000:]}")
    settings = {**_SETTINGS, "unix_socket_directories": str(home)}
    argv = [str(postgres), "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            _as_server_user(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=home
        )
    url = URL.create("postgresql+psycopg", username=_USER, database="postgres", query={"host": str(home)})
    server = PostgreSQLServer(url.render_as_string(hide_password=False), home, process)
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:
        try:
            _execute(server.url, "SELECT 1")
            return server
        except psycopg.OperationalError:
            time.sleep(0.02)
    last_words = log.read_text(errors="replace")[-2000:]
    server.stop()
    raise RuntimeError(f"PostgreSQL did not start: {last_words}")


def _memory() -> Path | None:
    """Where files are in memory, freed of what killed runs left there; None where there is no such place or room."""
    if not os.access(_MEMORY, os.W_OK):
        return None
    for left in _MEMORY.glob("mlango-pg-*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES else None


def fresh_postgresql_database(url: str, *, name: str, template: str = "template1") -> str:
    """URL of the new database `name` on the server of `url`, a copy of `template`. Replaces an older one."""
    with psycopg.connect(libpq_url(url), autocommit=True, connect_timeout=30) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        # from version 15 on it can write the copy to its log instead, which is dearer unless a template is tiny
        how = "STRATEGY FILE_COPY" if connection.info.server_version >= 150_000 else ""
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {how}')
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def libpq_url(url: str) -> str:
    """The same address without SQLAlchemy's driver name: for psycopg, psql and FreeRADIUS."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(libpq_url(url), autocommit=True, connect_timeout=30) as connection:
        connection.execute(statement)


def _program(name: str) -> Path:
    # the highest version first: Debian keeps them side by side
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: -float(found.parent.name))
    found = find_program(name, folders=versions)
    if found is None:
        raise PostgreSQLMissing(name)
    return found


def _as_server_user(argv: list[str]) -> list[str]:
    """PostgreSQL refuses root. setpriv sets the parent-death signal itself: a change of user clears it."""
    if os.geteuid() != 0:
        return tied_to_us(argv)
    return [
        *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "QUIT"),
        *argv,
    ]
