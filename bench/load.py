"""The load generator: `wrk`, or Python threads where it is not installed."""

import http.client
import itertools
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.report import percentile

CONNECTIONS = 16
# A sentence, not a figure: which client made the load belongs to the result.
CLIENT = "wrk, one thread, 16 connections" if shutil.which("wrk") else "Python threads, 16 connections"

_REPORT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function done(summary, latency, requests)
  local wrong = summary.errors
  local failed = wrong.status + wrong.connect + wrong.read + wrong.write + wrong.timeout
  local line = '\\n{"requests": %d, "seconds": %f, "failed": %d, "p50_ms": %f, "p99_ms": %f, '
    .. '"max_ms": %f, "made": %d}\\n'
  io.write(string.format(line, summary.requests, summary.duration / 1e6, failed, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000, threads[1]:get("made") or 0))
end
"""


# Each request has its moment from the first on: a slow answer makes the next ones no rarer.
_PACE = """
local ffi = require("ffi")
ffi.cdef[[ typedef struct { long s; long ns; } bench_time; int clock_gettime(int clock, bench_time *now); ]]
local read = ffi.new("bench_time")
local begun, slot = nil, 0
function delay()
  ffi.C.clock_gettime(1, read)
  local now = tonumber(read.s) + tonumber(read.ns) / 1e9
  begun = begun or now
  slot = slot + 1
  return math.max(0, math.floor((begun + (slot - 1) / %f - now) * 1000))
end
"""


@dataclass(frozen=True)
class Script:
    """The requests to make. lua: defines `request()`, which counts in `made`; python: the n-th request."""

    lua: str
    python: Callable[[int], tuple[str, str, bytes | None]]


@dataclass(frozen=True)
class Load:
    """What came of it. made: requests prepared, the unanswered ones at the end included."""

    requests: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    made: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def drive(url: str, script: Script, *, seconds: float, directory: Path, per_second: float | None = None) -> Load:
    """Ask as fast as it answers, or `per_second` times a second."""
    if shutil.which("wrk") is None:
        return _drive_in_python(url, script, seconds, per_second)
    file = directory / "wrk.lua"
    file.write_text(_REPORT + script.lua + (_PACE % per_second if per_second else ""))
    argv = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "20s",
        "-s",
        str(file),
        url,
    ]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 60)  # noqa: S603
    found = [line for line in ran.stdout.splitlines() if line.startswith('{"requests"')]
    if not found:
        raise RuntimeError(f"wrk said nothing of use: {ran.stdout[-500:]} {ran.stderr[-500:]}")
    return Load(**json.loads(found[0]))


def _drive_in_python(url: str, script: Script, seconds: float, per_second: float | None) -> Load:
    took_ms: list[float] = []
    failed: list[int] = []
    numbers = itertools.count()
    begun = time.monotonic()
    until = begun + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        while time.monotonic() < until:
            number = next(numbers)
            if per_second:
                time.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            method, path, body = script.python(number)
            began = time.monotonic()
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request opens it again
                status = 0
            took_ms.append((time.monotonic() - began) * 1000)
            if not 200 <= status < 400:
                failed.append(status)
        connection.close()

    threads = [threading.Thread(target=ask) for _number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made, took_s = next(numbers), time.monotonic() - begun
    return Load(
        len(took_ms), took_s, len(failed), percentile(took_ms, 50), percentile(took_ms, 99), max(took_ms), made
    )  # fmt: skip
