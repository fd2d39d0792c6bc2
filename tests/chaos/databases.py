"""A database that can be taken away for a while and comes back at the same address."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.support.services.postgresql import PostgreSQLServer, libpq_url, start_postgresql

BACK_WITHIN_S = 20.0


class PostgreSQL:
    """A server of its own, since nobody else survives what is done to it."""

    kind = "postgresql"

    def __init__(self, server: PostgreSQLServer) -> None:
        self._server = server
        self._argv = list(server.process.args)  # type: ignore[arg-type]  # a list, as it was started
        self._frozen: list[int] = []
        self.url = server.fresh_database()

    def take_away(self) -> str:
        """A fast shutdown: every connection is cut, new ones are refused."""
        self._server.process.send_signal(signal.SIGINT)
        self._server.process.wait(BACK_WITHIN_S)
        return "PostgreSQL shut down"

    def freeze(self) -> str:
        """Every process stands still: connections stay open, and nothing answers on them."""
        postmaster = self._server.process.pid
        os.kill(postmaster, signal.SIGSTOP)  # first, or it would start others
        self._frozen = [postmaster, *_children(postmaster)]
        for pid in self._frozen[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return "PostgreSQL frozen"

    def give_back(self) -> None:
        """It answers again, at the same address."""
        for pid in reversed(self._frozen):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen = []
        if self._server.process.poll() is None:
            return
        with (self._server.directory / "log").open("ab") as log:
            self._server.process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self._server.directory
            )
        until = time.monotonic() + BACK_WITHIN_S
        while not self._answers():
            assert time.monotonic() < until, "PostgreSQL did not come back"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(libpq_url(self._server.url), connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False


class SQLite:
    """The embedded default. It is taken away by a writer that does not let go."""

    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        self._file = file
        self._holder: sqlite3.Connection | None = None
        self.url = f"sqlite:///{file}"

    def take_away(self) -> str:
        """A connection of nobody's holds the lock: nobody else can write."""
        self._holder = sqlite3.connect(self._file, timeout=BACK_WITHIN_S, isolation_level=None)
        self._holder.execute("BEGIN EXCLUSIVE")
        return "SQLite locked"

    freeze = take_away

    def give_back(self) -> None:
        """The lock is let go."""
        if self._holder is not None:
            self._holder.execute("ROLLBACK")
            self._holder.close()
            self._holder = None


Database = PostgreSQL | SQLite


@contextmanager
def database(kind: str, directory: Path) -> Iterator[Database]:
    """A fresh, empty database. Raises PostgreSQLMissing."""
    if kind == "sqlite":
        lockable = SQLite(directory / "portal.db")
        yield lockable
        lockable.give_back()
        return
    server = start_postgresql()
    stoppable = PostgreSQL(server)
    try:
        yield stoppable
    finally:
        stoppable.give_back()
        server.stop()


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found
