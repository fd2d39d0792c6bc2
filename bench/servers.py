"""The real programs, each in a process of its own, ended with the measurement, whatever happens to it.

PostgreSQL here is durable, unlike the tests' one: fsync is on, as it must be for money.
"""

import os
import pwd
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import redis
from flask import Flask
from sqlalchemy import URL, make_url

from portal.processes.embedded_redis import start_redis
from portal.processes.fork import tied_to_us

ROOT = Path(__file__).parent.parent
THREADS = 4  # the product's default, WEB_THREADS
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 30.0  # a server that is killed leaves its workers behind: on a busy machine an end takes its time
_PG_SETTINGS = {
    "listen_addresses": "", "shared_buffers": "128MB", "max_connections": "60", "timezone": "UTC",
    "track_commit_timestamp": "on",  # when a delivery was really there for all to see
}  # fmt: skip


@dataclass
class Stage:
    """One database with all that runs on it. web_workers: as `portal web` chooses on two cores."""

    kind: str
    directory: Path
    environment: dict[str, str]
    exits: ExitStack

    @property
    def web_workers(self) -> int:
        return 1 if self.kind == "sqlite" else 2

    @property
    def money_workers(self) -> int:
        return 1 if self.kind == "sqlite" else 2

    def app(self) -> Flask:
        """The product in this process, for looking at rows and for filling the database."""
        from portal.app import create_app
        from portal.kernel.config import Config

        return create_app(Config.from_environment(self.environment))

    @property
    def database(self) -> URL:
        """Where the product's rows are."""
        return make_url(self.environment["DATABASE_URL"])

    def beside(self, name: str) -> URL:
        """A second database, empty, on the same server and the same disk."""
        if self.kind == "sqlite":
            return self.database.set(database=str(self.directory / f"{name}.db"))
        host = str(self.database.query["host"])
        with psycopg.connect(host=host, user="mlango", dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.database.set(database=name)

    def on_database(self, url: URL) -> "Stage":
        """The same stage with the product on another database, which gets its schema."""
        other = {**self.environment, "DATABASE_URL": url.render_as_string(hide_password=False)}
        made = replace(self, environment=other)
        _make_schema(made.app())
        return made

    def rest(self, url: URL) -> None:
        """Have the database write out what it holds and look at its rows: no run pays for the one before it."""
        if self.kind == "sqlite":
            with closing(sqlite3.connect(str(url.database))) as file:
                file.execute("ANALYZE")
                file.commit()
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        host = str(url.query["host"])
        with psycopg.connect(host=host, user=url.username, dbname=url.database, autocommit=True) as server:
            server.execute("VACUUM ANALYZE")
            server.execute("CHECKPOINT")

    @contextmanager
    def episode(self) -> Iterator["Stage"]:
        """The same stage; what is started within ends with it."""
        with ExitStack() as exits:
            yield replace(self, exits=exits)

    def run(self, name: str, argv: list[str], **more: str) -> subprocess.Popen[bytes]:
        """Start a program; it is ended with the stage."""
        process = start(argv, self.environment | more, log=self.directory / "log" / f"{name}.log")
        self.exits.callback(stop, process)
        return process

    def web(self) -> str:
        """Address of the product's own web server."""
        port = free_port()
        argv = [*PORTAL, "web", "--port", str(port), "--workers", str(self.web_workers)]
        process = self.run("web", argv)
        return self.when_ready(process, port, "/healthz")

    def baseline(self) -> str:
        """Address of the bare Flask views, on the same server with as many processes and threads."""
        port = free_port()
        argv = [
            sys.executable, "-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(self.web_workers), "--backlog", "1024", "--no-ws", "--http", "1",
            "--no-access-log", "--log-level", "warning", "--factory", "bench.baseline:create",
        ]  # fmt: skip
        process = self.run("baseline", argv)
        return self.when_ready(process, port, "/")

    def when_ready(self, process: subprocess.Popen[bytes], port: int, path: str) -> str:
        """Address of a web server that answers now."""
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url + path), of=process, what=path)
        return url

    def workers_at_work(self) -> int:
        """How many have said so."""
        with redis.Redis.from_url(self.environment["REDIS_URL"]) as client:
            return int(client.scard("rq:workers"))

    def money_worker(self, number: int = 0) -> subprocess.Popen[bytes]:
        """One that settles and delivers."""
        return self.run(f"money{number}", [*PORTAL, "worker", "--queues", "money"])

    def workers_and_scheduler(self, workers: int = 0) -> None:
        """The money workers and the sweeper, as in production. workers: another number of them."""
        wanted = workers or self.money_workers
        started = [self.money_worker(number) for number in range(wanted)]
        self.run("scheduler", [*PORTAL, "scheduler"])
        wait_until(lambda: self.workers_at_work() >= wanted, of=started[-1], what="workers")


PORTAL = [sys.executable, "-m", "portal"]


def start(
    argv: list[str],
    environment: Mapping[str, str],
    *,
    log: Path,
    inherited: Mapping[str, str] = os.environ,
    cwd: Path = ROOT,
) -> subprocess.Popen[bytes]:
    """A program that gets SIGTERM should we die; its words go to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own programs, no shell
            tied_to_us(argv),
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it, kindly first."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(
    is_true: Callable[[], bool], *, of: subprocess.Popen[bytes], what: str, within_s: float = READY_WITHIN_S
) -> None:
    """Wait for a program to be ready. Raises RuntimeError."""
    deadline = time.monotonic() + within_s
    while not is_true():
        if of.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"A program did not get ready ({what}); exit code {of.poll()}.")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether a loopback address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own loopback address
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """A loopback port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="mlango-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


_DATA_KEY = secrets.token_hex(32)  # one for all stages: two may stand side by side in this process


@contextmanager
def stage(kind: str) -> Iterator[Stage]:
    """A fresh database of `kind` (`sqlite` or `postgresql`) with the product's schema, and a Redis."""
    with scratch() as directory, ExitStack() as exits:
        redis_server = start_redis(directory / "redis")
        exits.callback(redis_server.stop)
        url = f"sqlite:///{directory}/portal.db"
        if kind == "postgresql":
            url = exits.enter_context(_postgresql(directory / "pg"))
        environment = {
            "PORTAL_ENV": "development",
            "PORTAL_DATA": str(directory / "data"),
            "PORTAL_SECRET_KEY": secrets.token_hex(32),
            "PORTAL_DATA_KEYS": f"bench:{_DATA_KEY}",
            "DATABASE_URL": url,
            "REDIS_URL": redis_server.url,
            "PUBLIC_URL": "http://127.0.0.1:9",
            "WEB_THREADS": str(THREADS),
        }
        made = Stage(kind, directory, environment, exits)
        _make_schema(made.app())
        yield made


def _make_schema(app: Flask) -> None:
    from portal.kernel.db import db
    from portal.kernel.schema import upgrade_database

    with app.app_context():
        upgrade_database()
        db.session.remove()
        db.engine.dispose()


@contextmanager
def _postgresql(home: Path) -> Iterator[str]:
    """URL of a private, durable server on a unix socket."""
    home.mkdir()
    home.chmod(0o755)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
    options = ["-D", str(home / "data"), "-U", "mlango", "-A", "trust", "-E", "UTF8", "--no-locale"]
    subprocess.run(  # noqa: S603 - PostgreSQL's own program
        _as_postgres([_program("initdb"), *options]), check=True, capture_output=True, cwd=home
    )
    settings = [f"--{name}={value}" for name, value in {**_PG_SETTINGS, "unix_socket_directories": str(home)}.items()]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            _as_postgres([_program("postgres"), "-D", str(home / "data"), *settings]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=home,
        )  # fmt: skip
    try:
        wait_until(lambda: _listens(home), of=process, what="PostgreSQL")
        yield f"postgresql+psycopg://mlango@/postgres?host={home}"
    finally:
        process.send_signal(3)  # SIGQUIT: at once, there is nothing to save
        process.wait(STOP_WITHIN_S)


def _listens(home: Path) -> bool:
    try:
        psycopg.connect(host=str(home), user="mlango", dbname="postgres", connect_timeout=2).close()
        return True
    except psycopg.OperationalError:
        return False


def _program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: -float(found.parent.name))
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        raise RuntimeError(f"{name} is not installed: sudo apt-get install -y postgresql")
    return found


def _as_postgres(argv: list[str]) -> list[str]:
    """PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return tied_to_us(argv)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "QUIT", *argv]
