"""`portal serve` as a small clinic's machine runs it: the real programs in production, one of them killed, all stopped."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import requests

from bench.servers import free_port
from portal.demo.run import OURS
from portal.kernel.errors import Misconfigured
from portal.processes import serve
from portal.processes.embedded_redis import redis_command
from portal.processes.supervisor import is_taken
from tests.support.clock import wait_until
from tests.support.daraja import c2b_body, receipt

ROOT = Path(__file__).parents[2]
READY_WITHIN_S, STOP_WITHIN_S = 240.0, 60.0  # a busy machine is slow; what never comes fails
PROGRAMS = {"web", "push", "money", "outside"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")


def settings(data: Path) -> dict[str, str]:
    """What a person writes into /etc/mlango.env, and nothing of ours besides."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | {
        "PORTAL_SECRET_KEY": "s" * 40, "PORTAL_DATA_KEYS": "a:" + "5a" * 32, "PUBLIC_URL": "https://pay.example.co.ke",
        "PORTAL_DATA": str(data), "MPESA_CALLBACK_ADDRESSES": "127.0.0.1", "MPESA_CONSUMER_KEY": "key",
        "MPESA_CONSUMER_SECRET": "secret", "MPESA_SHORTCODE": "600111", "MPESA_PASSKEY": "passkey",
    }  # fmt: skip


@dataclass
class Served:
    """The product at work on one machine."""

    process: subprocess.Popen[str]
    data: Path
    port: int

    def door(self) -> str:
        """Where Safaricom was told to report payments by hand."""
        (token,) = self.rows("SELECT hook_token FROM gateways")[0]
        return f"/hooks/{token}/c2b/confirmation"

    def told(self, code: str) -> dict[str, object]:
        return c2b_body(receipt=code, amount=50, account="ABC", shortcode="600111")

    def pays(self, code: str) -> int:
        """M-Pesa tells of a payment by hand; the answer's status."""
        address = f"http://127.0.0.1:{self.port}{self.door()}"
        return requests.post(
            address, json=self.told(code), headers={"Host": "pay.example.co.ke"}, timeout=10
        ).status_code

    def is_settled(self, code: str) -> bool:
        return self.rows("SELECT amount_cents FROM transactions WHERE receipt = ?", code) == [(5000,)]

    def rows(self, query: str, *values: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.data}/portal.db?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def family(self) -> dict[int, str]:
        """Process ids of all that live in its group, each with what `ps` calls it."""
        found = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                before, _, after = file.read_text().rpartition(")")
                state, _parent, group = after.split()[:3]
                if group == str(self.process.pid) and state != "Z":
                    found[int(file.parent.name)] = before.partition("(")[2]
        return found

    def ids(self, name: str) -> set[int]:
        # Linux keeps fifteen characters
        return {pid for pid, called in self.family().items() if called == f"mlango-{name}"[:15]}

    def redis(self) -> "redis.Redis":
        return redis.Redis.from_url(redis_command(self.data / "redis").url, socket_timeout=5)


def started(data: Path, tmp_path: Path, **more: str) -> Served:
    """`portal serve`, once it has told systemd that everything is open."""
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(1)
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "portal", "serve", "--port", str(port)],
                env=settings(data) | {"NOTIFY_SOCKET": str(tmp_path / "notify")} | more,
                stdout=log, stderr=log, text=True, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        served = Served(process, data, port)

        def is_ready() -> bool:
            with suppress(TimeoutError):
                return systemd.recv(100) == b"READY=1"
            assert process.poll() is None, (tmp_path / "log").read_text()
            return False

        wait_until(is_ready, within_s=READY_WITHIN_S)
    (tmp_path / "notify").unlink()
    return served


def end(served: Served) -> None:
    with suppress(ProcessLookupError):
        os.killpg(served.process.pid, signal.SIGKILL)
    served.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that is left in peace."""
    directory = tmp_path_factory.mktemp("served")
    running = started(directory / "data", directory)
    yield running
    end(running)


def test_a_payment_is_settled_and_whoever_is_killed_comes_back(tmp_path: Path) -> None:
    first, second, third = (receipt(number) for number in (1, 2, 3))
    served = started(tmp_path / "data", tmp_path)
    try:
        assert served.pays(first) == 200
        wait_until(lambda: served.is_settled(first))
        assert "Traceback" not in (tmp_path / "log").read_text()
        kill_every_program(served)
        wait_until(lambda: takes(served, second), within_s=READY_WITHIN_S)
        wait_until(lambda: served.is_settled(second), within_s=READY_WITHIN_S)

        with half_told(served, third) as say_the_rest:
            served.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_taken("127.0.0.1", served.port))
            assert say_the_rest().startswith(b"HTTP/1.1 200 "), "who is inside is answered, though the door is closed"
        assert served.process.wait(STOP_WITHIN_S) == 0
        assert served.family() == {}
    finally:
        end(served)
    log = (tmp_path / "log").read_text()
    assert "Mlango is open" in log
    died = set(re.findall(r"^(\w+) was ended by SIGKILL", log, re.MULTILINE))
    assert {"push", "money", "outside", "redis"} <= died, "who died is told in the one log"

    again = started(served.data, tmp_path)
    try:
        assert again.is_settled(first) and again.is_settled(second)
        wait_until(lambda: again.is_settled(third))
        (supervisor,) = again.ids("supervisor")
        os.kill(supervisor, signal.SIGKILL)
        assert again.process.wait(STOP_WITHIN_S) == 1, "systemd is to start it again"
        assert again.family() == {}, "and nobody is left who would be in its way"
    finally:
        end(again)


@contextmanager
def half_told(served: Served, code: str) -> Iterator[Callable[[], bytes]]:
    """A callback of which the product has read the head and waits for the body; what says that gives its answer."""
    body = json.dumps(served.told(code)).encode()
    head = f"POST {served.door()} HTTP/1.1\r\nHost: pay.example.co.ke\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")

        def say_the_rest() -> bytes:
            connection.sendall(body)
            return connection.recv(1000)

        yield say_the_rest


def kill_every_program(served: Served) -> None:
    """Each at once, Redis too; back when each is another process than before."""
    before = {name: served.ids(name) for name in PROGRAMS}
    assert all(before.values()), "each program is a process of its own"
    with served.redis() as client:
        victims = {int(client.info("server")["process_id"])}.union(*before.values())
    for pid in victims:
        with suppress(ProcessLookupError):  # the web's own copy may have left with it
            os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: all(served.ids(name) and not served.ids(name) & before[name] for name in PROGRAMS),
        within_s=READY_WITHIN_S,
    )


def takes(served: Served, code: str) -> bool:
    with suppress(requests.ConnectionError):
        return served.pays(code) == 200
    return False


def test_everything_is_its_own_users_alone_and_redis_is_on_no_port(served: Served) -> None:
    open_to_others = [
        file for file in [served.data, *served.data.rglob("*")] if stat.S_IMODE(file.lstat().st_mode) & 0o077
    ]
    assert open_to_others == []
    with served.redis() as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_a_second_one_is_told_what_is_in_its_way(served: Served) -> None:
    taken = portal("serve", "--port", str(served.port), data=served.data)
    assert (taken.returncode, taken.stderr) == (
        1,
        f"Port {served.port} of 127.0.0.1 is taken: another program serves there. End it, or choose another by --port.\n",
    )
    same = portal("serve", "--port", str(free_port()), data=served.data)
    assert same.returncode == 1 and f"Another Redis already uses {served.data}/redis/" in same.stderr


def test_commands_beside_it_find_its_redis_and_make_a_copy_of_its_data(served: Served, tmp_path: Path) -> None:
    assert served.pays(receipt(1)) == 200
    wait_until(lambda: served.is_settled(receipt(1)))
    made = portal("tenant", "create", "upendo", "--name", "Upendo", "--clinic", data=served.data)
    assert made.returncode == 0, made.stderr
    assert portal("check", data=served.data).returncode == 0
    copied = portal("db", "backup", str(tmp_path / "copy.db"), data=served.data)
    assert copied.returncode == 0, copied.stderr
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT receipt FROM transactions").fetchall() == [(receipt(1),)]
        assert copy.execute("SELECT slug FROM tenants ORDER BY slug").fetchall() == [("main",), ("upendo",)]
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"PORTAL_SECRET_KEY": ""}, "PORTAL_SECRET_KEY"),
        ({"PORTAL_DATA_KEYS": ""}, "PORTAL_DATA_KEYS"),
        ({"PUBLIC_URL": "http://pay.example.co.ke"}, "PUBLIC_URL"),
        ({"PORTAL_ENV": "development"}, "PORTAL_ENV=development"),
        ({"PORTAL_DEMO_SIMULATOR": "http://127.0.0.1:1"}, "PORTAL_DEMO_SIMULATOR"),
    ],
)
def test_production_is_demanded(
    more: dict[str, str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", settings(tmp_path) | more)
    with pytest.raises(Misconfigured) as refused:
        serve.run(host="127.0.0.1", port=free_port(), data=tmp_path)
    assert len(refused.value.problems) == 1 and named in refused.value.problems[0]


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    nobody = "postgresql://nobody:secret@127.0.0.1:1/none"
    answer = portal("serve", "--port", str(free_port()), data=tmp_path / "data", DATABASE_URL=nobody)
    assert answer.returncode == 1 and answer.stderr.startswith("The database does not answer: "), answer.stderr
    assert "Traceback" not in answer.stderr and "secret" not in answer.stderr


def portal(*words: str, data: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """A `portal` command with the same settings."""
    return subprocess.run(
        [sys.executable, "-m", "portal", *words],
        env=settings(data) | more, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip


def test_what_is_shared_by_all_programs_holds_no_thread_and_no_connection(tmp_path: Path) -> None:
    """A copy of a process with either would hold a lock that nobody gives back, or talk on another's connection."""
    look = (
        "import os, sys; from pathlib import Path; from portal.kernel.config import Config; from portal.processes import serve\n"
        "serve.use_data(Path(sys.argv[1])); app = serve.preload(Config.from_environment())\n"
        "serve.run_in_fork(lambda: serve.prepare(app), name='prepare'); serve.warm_up(app)\n"
        "files = [os.readlink(one) for one in Path('/proc/self/fd').iterdir() if one.exists()]\n"
        "print(len(os.listdir('/proc/self/task')), [one for one in files if one.startswith(('socket', sys.argv[1]))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", look, str(tmp_path)], env=settings(tmp_path),
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip
    assert answer.stdout == "1 []\n", answer.stdout + answer.stderr


def test_a_worker_by_itself_has_what_its_jobs_need_before_its_first_one(tmp_path: Path) -> None:
    """The first payer after a start waited 0.7 s of its processor for imports; so did each of several workers."""
    look = (
        "import gc, sys; from rq.utils import import_attribute; from portal import cli; from portal.kernel import queue\n"
        "from portal.processes import worker\n"
        "def work(app, names):\n"
        "    before = set(sys.modules)\n"
        "    for job in queue.JOBS: import_attribute(job.job)\n"
        "    print(names, gc.isenabled(), [one for one in sys.modules if one not in before])\n"
        "worker.work = work; cli.main(['worker', '--queues', 'money, push'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", look], env=settings(tmp_path) | {"REDIS_URL": "redis://127.0.0.1:1"},
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip
    assert answer.stdout == "['money', 'push'] True []\n", answer.stdout + answer.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_its_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "mlango.service").read_text()
    assert "ExecStart=/opt/mlango/.venv/bin/portal serve " in text
    unit = tmp_path / "mlango.service"
    unit.write_text(text.replace("/opt/mlango/.venv/bin/portal", sys.executable).replace("User=mlango", "User=root"))
    answer = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in answer.stderr.splitlines() if "mlango.service" in line]
    assert complaints == []
