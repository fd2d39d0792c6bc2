"""`portal demo` as a newcomer meets it: started as a program, used over HTTP alone, stopped by a signal, started again."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from bench.servers import answers, free_port
from portal.demo.data import PASSWORD, ROUTER, SIGN_INS
from portal.demo.run import OURS
from tests.support.clock import wait_until

READY_WITHIN_S, STOP_WITHIN_S = 240.0, 10.0  # nine interpreters start: a busy machine is slow


@dataclass
class Demo:
    """A demonstration at work."""

    process: subprocess.Popen[bytes]
    data: Path
    url: str
    simulator_url: str

    def get(self, path: str, token: str = "", **query: Any) -> Any:
        return requests.get(self.url + path, params=query, headers=_bearer(token), timeout=10).json()

    def post(self, path: str, token: str = "", **given: Any) -> Any:
        answer = requests.post(self.url + path, json=given, headers=_bearer(token), timeout=10)
        assert answer.status_code < 300, (path, answer.status_code, answer.text)
        return answer.json()

    def sign_in(self, email: str) -> str:
        return str(self.post("/api/auth/token", email=email, password=PASSWORD)["accessToken"])

    def status(self, payment_id: str) -> dict[str, Any]:
        return self.get("/api/portal/mpesa/status", paymentId=payment_id)  # type: ignore[no-any-return]

    def phone(self, phone: str, act: str = "", **given: Any) -> Any:
        address = f"{self.simulator_url}/handset/254{phone[1:]}"
        if act:
            return requests.post(f"{address}/{act}", json=given, timeout=10).json()
        return requests.get(address, timeout=10).json()

    def router(self, **order: Any) -> Any:
        """The router of Mawingu's café, told what to do from behind the stage."""
        return requests.post(f"{self.simulator_url}/control/routers/{ROUTER['name']}", json=order, timeout=10).json()

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A `portal` command on the demonstration's data, where nothing else is configured."""
        return subprocess.run(
            [sys.executable, "-m", "portal", *words],
            env=unconfigured() | {"PORTAL_DATA": str(self.data)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> None:
        """SIGTERM ends all of it in time, and nobody is left of its process group."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_WITHIN_S) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def unconfigured() -> dict[str, str]:
    """This environment without any setting of the product."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def started(data: Path) -> Demo:
    port, simulator_port = free_port(), free_port()
    options = ["--port", str(port), "--simulator-port", str(simulator_port), "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "portal", "demo", *options],
        env=unconfigured(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    demo = Demo(process, data, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{simulator_port}")
    try:
        wait_until(lambda: process.poll() is not None or answers(f"{demo.url}/readyz"), within_s=READY_WITHIN_S)
        assert process.poll() is None, f"portal demo ended with {process.returncode}"
    except BaseException:
        demo.kill()
        raise
    return demo


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = started(tmp_path / "data")
    yield running
    running.kill()


def test_a_newcomer_buys_pays_refunds_stops_and_starts_again(demo: Demo) -> None:
    admin = demo.sign_in("admin@mawingu.test")
    package = min(demo.get("/api/portal/packages", tenant="mawingu")["items"], key=lambda one: one["price"])
    assert package["price"] >= 20

    # internet, from a phone in the demonstration's Wi-Fi that pays by itself, and that the router lets through
    device = demo.router(join={})["joined"]
    bought = demo.post(
        "/api/portal/mpesa/initiate",
        tenant="mawingu",
        packageId=package["id"],
        phone="0712345601",
        macAddress=device["mac"],
        nasIp="127.0.0.1",
    )
    wait_until(lambda: demo.status(bought["paymentId"])["status"] == "paid")
    wait_until(lambda: demo.router()["sessions"])
    assert demo.router()["sessions"][0]["mac-address"] == device["mac"]
    wait_until(lambda: "credentials" in demo.status(bought["paymentId"]))
    receipt = demo.status(bought["paymentId"])["receipt"]
    assert any(receipt in message["text"] for message in demo.phone("0712345601")["messages"])
    wait_until(lambda: any("Password" in message["text"] for message in demo.phone("0712345601")["messages"]))

    # an appointment of the clinic, paid by hand at the paybill with the invoice's number as account
    desk = demo.sign_in("reception@upendo.test")
    visits = demo.get("/api/appointments", desk)["items"]
    visit = next(one for one in visits if one["status"] == "approved" and one["kind"] == "virtual")
    gateway = demo.get("/api/payment-gateways", demo.sign_in("admin@upendo.test"))["items"][0]
    told = demo.phone(
        "0712345600", "pay", shortcode=gateway["shortcode"], account=visit["invoiceNumber"], amount=visit["amountDue"]
    )
    assert told["accepted"] is True
    wait_until(lambda: demo.get(f"/api/appointments/{visit['id']}", desk)["status"] == "confirmed")
    assert demo.get(f"/api/appointments/{visit['id']}", desk)["meetingUrl"].startswith(f"{demo.url}/join/")

    # money back: the demonstration's gateways have their initiators
    wait_until(lambda: demo.get("/api/payment-gateways", admin)["items"][0]["certificateFingerprint"])
    demo.post(f"/api/mpesa/{bought['paymentId']}/refund", admin)
    wait_until(lambda: demo.status(bought["paymentId"])["status"] == "refunded")
    assert "credentials" not in demo.status(bought["paymentId"])
    wait_until(lambda: not demo.router()["sessions"])

    for words in (("ledger", "check"), ("audit", "verify")):
        proof = demo.command(*words)
        assert proof.returncode == 0, proof.stdout + proof.stderr
        assert f"the demonstration in {demo.data}" in proof.stderr
    assert demo.command("check").returncode == 1, "a configuration is never taken from a demonstration"

    asked = time.monotonic()
    demo.stop()
    assert time.monotonic() - asked < STOP_WITHIN_S
    again = started(demo.data)
    try:
        assert again.status(bought["paymentId"])["status"] == "refunded"
        assert {again.sign_in(email) != "" for email, *_rest in SIGN_INS} == {True}
    finally:
        again.stop()


# `portal demo` up to the moment when it would start its programs; then it tells which, and what the database holds
UP_TO_THE_START = """
import json, sqlite3, sys
from pathlib import Path
from portal.demo.run import run
from portal.processes import supervisor

data = Path(sys.argv[1])
def begin(processes, **more):
    with sqlite3.connect(data / "portal.db") as database:
        counts = [database.execute(query).fetchone()[0] for query in sys.argv[2:]]
    print(json.dumps({"programs": {one.name: one.run is not None for one in processes}, "counts": counts}))
    return 0

supervisor.supervise = begin
sys.exit(run(port=1, simulator_port=2, data=data))
"""


def up_to_the_start(data: Path, *queries: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-c", UP_TO_THE_START, str(data), *queries],
        env=unconfigured(), capture_output=True, text=True, timeout=120, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a demonstration that is about to start its programs, begun where another version lies; its words."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "portal").mkdir()
    (elsewhere / "portal" / "__init__.py").write_text("raise SystemExit('another version')")
    queries = ("SELECT count(*) FROM gateways WHERE refused_at IS NULL", "SELECT count(*) FROM users")
    answer = up_to_the_start(elsewhere / "data", *queries, cwd=elsewhere)
    assert answer.returncode == 0, answer.stderr
    return elsewhere / "data", json.loads(answer.stdout)


def test_the_database_is_whole_before_the_first_program_starts(begun: tuple[Path, dict[str, Any]]) -> None:
    _data, told = begun
    assert told["counts"] == [2, 7]
    assert list(told["programs"]) == ["redis", "simulator", "web", "push", "money", "outside"]


def test_every_program_is_of_the_same_copy_wherever_the_demonstration_is_started(
    begun: tuple[Path, dict[str, Any]],
) -> None:
    """Started in the folder of another version, that version's scheduler ran on this one's schema and died."""
    _data, told = begun
    commands = [name for name, is_our_copy in told["programs"].items() if not is_our_copy]
    assert commands == ["redis"], "all others are copies of the process that was started"


def test_data_of_another_version_are_told_instead_of_a_start_that_never_ends(
    begun: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The scheduler died of "no such column: gateways.refused_at", again and again, and the web never served."""
    data = shutil.copytree(begun[0], tmp_path / "data")
    with sqlite3.connect(data / "portal.db") as database:
        database.execute("ALTER TABLE gateways DROP COLUMN refused_at")
    answer = up_to_the_start(data)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.endswith(
        f"The data in {data} are of another version of Mlango: gateways.refused_at is not there. "
        "Start with another folder (--data DIR), or remove this one.\n"
    )


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for options, option in (
            (["--port", taken, "--simulator-port", free_port()], "--port"),
            (["--port", free_port(), "--simulator-port", taken], "--simulator-port"),
        ):
            answer = subprocess.run(
                [sys.executable, "-m", "portal", "demo", "--data", str(tmp_path), *map(str, options)],
                env=unconfigured(), capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert (answer.returncode, answer.stderr) == (
                1,
                f"Port {taken} of 127.0.0.1 is taken: another program serves there. End it, or choose another by {option}.\n",
            )
