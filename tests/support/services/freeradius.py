"""A real FreeRADIUS on a port of its own, over the database that a test names, and `radclient` to ask it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from portal.hotspot.radius import config, server
from portal.kernel.errors import Refused
from portal.processes.fork import tied_to_us
from tests.support.services.programs import find_program, lacking

PACKAGES = "freeradius freeradius-postgresql freeradius-utils"
READY, STOP_WITHIN_S = "Ready to process requests", 5.0


@dataclass(frozen=True)
class Answer:
    """What came back. code: such as Access-Accept, empty for silence."""

    code: str
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        return self.attributes.get("Reply-Message", "")


@dataclass
class RadiusServer:
    """A server that runs; accounting is on the next port."""

    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    def ask(self, kind: str, lines: Sequence[str], *, secret: str, source: str = "127.0.0.1") -> Answer:
        """One packet, sent once. kind: auth, acct, status. lines: `Attribute = value`."""
        port = self.port + (1 if kind == "acct" else 0)
        is_v6 = ":" in source
        here = f"Packet-Src-IPv6-Address = {source}" if is_v6 else f"Packet-Src-IP-Address = {source}"
        packet = "\n".join([here, *lines]) + "\n"
        said = subprocess.run(
            ["radclient", "-r1", "-t2", "-x", f"{'[::1]' if is_v6 else '127.0.0.1'}:{port}", kind, secret],
            input=packet, capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        received = re.search(r"^Received (\S+) Id", said, re.MULTILINE)
        if received is None:
            return Answer("")
        found = re.findall(r'^\t(\S+) = "?(.*?)"?$', said[received.start() :], re.MULTILINE)
        return Answer(received.group(1), dict(found))

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_freeradius(database_url: str, *, secret_key: str = "k" * 40) -> RadiusServer:
    """FreeRADIUS over this database, refusing at once. Skips the test where it is not installed."""
    try:
        server.program()
    except Refused:
        lacking("FreeRADIUS", package=PACKAGES)
    if find_program("radclient") is None:
        lacking("radclient", package=PACKAGES)
    directory = Path(tempfile.mkdtemp(prefix="mlango-radius-"))
    port = _two_free_ports()
    settings = config.Settings(
        database_url, port=port, listen=("127.0.0.1", "::1"), networks=("127.0.0.0/8", "::/96"), reject_delay_s=0
    )
    assert server.configure(settings, directory, secret_key=secret_key) == []
    argv = server.arguments(directory)
    with (directory / "log").open("wb") as output:
        process = subprocess.Popen(
            tied_to_us(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
    started = RadiusServer(port, directory, process)
    deadline = time.monotonic() + 20
    while READY not in started.log:
        if process.poll() is not None or time.monotonic() > deadline:
            last_words = started.log[-2000:]
            started.stop()
            raise RuntimeError(f"FreeRADIUS did not start: {last_words}")
        time.sleep(0.02)
    return started


def _two_free_ports() -> int:
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
                try:
                    second.bind(("127.0.0.1", port + 1))
                    return port
                except OSError:
                    continue
