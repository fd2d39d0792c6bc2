"""Several programs run as one: started in order, restarted when they die, and all gone at the end.

Invariants: no program leaves our process group; none outlives us, whatever ends us; SIGTERM and SIGINT end
all of them in `STOP_WITHIN_S` seconds, or what the caller asks for.

Decided: two processes watch, the guardian, whom others know and signal, and its copy, the supervisor. What a dead
program leaves comes to the supervisor; what a supervisor leaves that was ended by `kill -9` comes to the guardian; and
a guardian's death tells the supervisor to end everything. See `fork` for how, and for what only Linux has.
"""

import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from portal.kernel.errors import Misconfigured
from portal.processes import fork
from portal.processes.fork import Fork, tied_to_us

STOP_WITHIN_S = 7.0  # for an orderly end; then SIGKILL, so that all is over well within ten seconds
BACK_OFF_S = (0.5, 5.0)
STEADY_AFTER_S = 30.0  # a program that lived this long has not failed in a row
LAST_LINES = 15
STEP_S = 0.1
TWICE_S = 0.2  # one Ctrl-C comes twice: a terminal tells every process, and the guardian passes it on
PROGRAM = "MLANGO_PROGRAM"  # in a command's environment: what we call it
_LOG_KEPT_BYTES = 10_000_000


def is_taken(host: str, port: int) -> bool:
    """Whether another program listens there. Granian shares a port without a word (SO_REUSEPORT): ask before it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what closed a moment ago takes no port
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def refuse_taken(host: str, port: int, *, option: str = "--port") -> None:
    """Raises Misconfigured where another program listens. option: by which another port is chosen."""
    if is_taken(host, port):
        raise Misconfigured(
            f"Port {port} of {host} is taken: another program serves there. End it, or choose another by {option}."
        )


@dataclass(frozen=True)
class Process:
    """One program to keep running: another's command, or a function to call in a copy of this process.

    run: the program ends when it returns; SIGTERM ends it, unless it arranges something else. env: added to our own
    environment. is_ready: asked until it first says True; OSError counts as no, and it should answer within a second.
    needed_first: the programs without it start once all that have it are ready, and end before them.
    """

    name: str
    argv: Sequence[str] = ()
    run: Callable[[], object] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] | None = None
    needed_first: bool = False


def supervise(
    processes: Sequence[Process],
    *,
    on_ready: Callable[[], object] | None = None,
    log_directory: Path | None = None,
    shares_output: bool = False,
    give_up_after: int | None = None,
    stop_within_s: float = STOP_WITHIN_S,
    tell: Callable[[str], object] | None = None,
) -> int:
    """Keep `processes` running until SIGTERM, SIGINT or SIGHUP; 0 after such an end, 1 after giving up.

    Without `log_directory` every line is told with the program's name before it; with it, output goes to
    `<log_directory>/<name>.log` and only the last lines of a program that died are told. shares_output: programs write
    where we do, and nothing stands between.
    on_ready: called once, when every program is ready. give_up_after: that many deaths of one program in a
    row, each within 30 s of its start, end everything. stop_within_s: for an orderly end, then SIGKILL.
    tell: takes one line; default standard output.
    Call it from the main thread, of a process that has no other and no connection: it takes the signals, and what is
    given here runs in copies of this process.
    """
    output = _Output(log_directory, is_shared=shares_output)
    supervisor = _Supervisor(processes, on_ready, output, give_up_after, stop_within_s, tell or _write_line)
    return _guard(supervisor.run, stop_within_s=stop_within_s)


def _guard(run: Callable[[], int], *, stop_within_s: float) -> int:
    """Call it in a copy and answer with its exit code; if it is killed, end what it leaves behind."""
    fork.adopt_orphans()
    interrupts = 0

    def pass_on(number: int, _frame: object) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        copy.send_signal(signal.SIGINT if interrupts > 1 else signal.SIGTERM)

    signal.pthread_sigmask(signal.SIG_BLOCK, fork.STOP_SIGNALS)
    with _signals_taken(pass_on):
        copy = Fork(lambda: sys.exit(run()), name="supervisor")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, fork.STOP_SIGNALS)
        code = copy.wait()
        fork.end_orphans((), within_s=stop_within_s)
    return code if code >= 0 else 1


@dataclass(frozen=True)
class _Output:
    """Where the programs' words go: to a file each, to where ours go, or line by line through us."""

    log_directory: Path | None
    is_shared: bool

    def log_of(self, name: str) -> Path | None:
        return self.log_directory / f"{name}.log" if self.log_directory else None

    @property
    def is_passed_on(self) -> bool:
        return self.log_directory is None and not self.is_shared


class _Child:
    def __init__(self, spec: Process, output: _Output) -> None:
        self.spec = spec
        self.log = output.log_of(spec.name)
        self.is_passed_on = output.is_passed_on
        self.process: Fork | subprocess.Popen[bytes] | None = None
        self.words: IO[bytes] | None = None  # of a program whose lines are passed on
        self.start_at = 0.0
        self.started_at = 0.0
        self.deaths_in_a_row = 0
        self.ready = False
        self._half_line = b""

    def start(self, forget: Callable[[], object]) -> None:
        """Begin. forget: lets a copy go of what is the supervisor's own."""
        reads, writes = os.pipe() if self.is_passed_on else (None, self._open_log())

        def forget_all() -> None:
            forget()
            if reads is not None:
                os.close(reads)

        try:
            self.process = self._begin(writes, forget_all)
        finally:
            if writes is not None:
                os.close(writes)
        self.words = os.fdopen(reads, "rb", buffering=0) if reads is not None else None
        self.started_at = time.monotonic()
        self.ready = self.spec.is_ready is None

    def _begin(self, output: int | None, forget: Callable[[], object]) -> "Fork | subprocess.Popen[bytes]":
        if self.spec.run is not None:
            return Fork(self.spec.run, name=self.spec.name, env=self.spec.env, output=output, forget=forget)
        return subprocess.Popen(  # noqa: S603 - our own programs, no shell
            tied_to_us(self.spec.argv),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.spec.env, PROGRAM: self.spec.name},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def _open_log(self) -> int | None:
        if self.log is None:
            return None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_KEPT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def look(self) -> None:
        """Ask once more whether it is ready, unless it already was."""
        if self.ready or self.spec.is_ready is None or not self.alive():
            return
        with suppress(OSError):
            self.ready = self.spec.is_ready()

    def bury(self) -> str:
        """Take note of a death and plan the next start; how it died, for people."""
        assert self.process is not None  # noqa: S101 - for the type checker; only what was started can die
        code = self.process.wait()
        self.process, self.ready = None, False
        quick = time.monotonic() - self.started_at < STEADY_AFTER_S
        self.deaths_in_a_row = self.deaths_in_a_row + 1 if quick else 1
        least, most = BACK_OFF_S
        self.start_at = time.monotonic() + min(most, least * 2 ** (self.deaths_in_a_row - 1))
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def take_output(self, data: bytes) -> Iterator[str]:
        """The whole lines that `data` completes; no data means the end, which completes a line too."""
        end = b"\n" if not data and self._half_line else b""
        *lines, self._half_line = (self._half_line + data + end).split(b"\n")
        for raw in lines:
            yield raw.decode(errors="replace").rstrip("\r")

    def last_words(self) -> list[str]:
        if self.log is None:
            return []
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            return log.read().decode(errors="replace").splitlines()[-LAST_LINES:]


class _Supervisor:
    def __init__(
        self,
        processes: Sequence[Process],
        on_ready: Callable[[], object] | None,
        output: _Output,
        give_up_after: int | None,
        stop_within_s: float,
        tell: Callable[[str], object],
    ) -> None:
        self.children = [_Child(spec, output) for spec in processes]
        self.on_ready = on_ready
        self.give_up_after = give_up_after
        self.stop_within_s = stop_within_s
        self.tell = tell
        self.stop_asked_at: float | None = None
        self.hurry = False
        self.gave_up = False

    def run(self) -> int:
        fork.adopt_orphans()
        with selectors.DefaultSelector() as self.output, _signals_taken(self._stop):
            try:
                while not (self.stop_asked_at or self.gave_up):
                    self._step()
            finally:
                self._end_all()
        return 1 if self.gave_up else 0

    def _stop(self, number: int, _frame: object) -> None:
        # make and a closing terminal send SIGTERM twice; only a person presses Ctrl-C twice
        now = time.monotonic()
        self.stop_asked_at = self.stop_asked_at or now
        self.hurry = self.hurry or (number == signal.SIGINT and now - self.stop_asked_at > TWICE_S)

    def _step(self) -> None:
        self._pass_output_on(STEP_S)
        fork.bury_orphans(self._known())
        for child in self.children:
            if child.process is not None and not child.alive():
                self._mourn(child)
        foundation_stands = all(child.ready for child in self.children if child.spec.needed_first)
        for child in self.children:
            may_start = child.spec.needed_first or foundation_stands
            if child.process is None and may_start and time.monotonic() >= child.start_at and not self.stop_asked_at:
                self._start(child)
            child.look()
        if self.on_ready and all(child.ready for child in self.children):
            announce, self.on_ready = self.on_ready, None
            announce()

    def _known(self) -> set[int]:
        return {child.process.pid for child in self.children if child.process is not None}

    def _start(self, child: _Child) -> None:
        child.start(self._forget)
        if child.words is not None:
            os.set_blocking(child.words.fileno(), False)
            self.output.register(child.words, selectors.EVENT_READ, child)

    def _forget(self) -> None:
        """In a copy: let go of the ends of the others' pipes. `unregister` would reach into the original's list."""
        for key in list(self.output.get_map().values()):
            os.close(key.fd)
        self.output.close()

    def _pass_output_on(self, wait_s: float) -> None:
        if not self.output.get_map():
            time.sleep(wait_s)  # an empty selector would return at once on some systems
            return
        for key, _ in self.output.select(wait_s):
            child: _Child = key.data
            data = os.read(key.fd, 65536)
            for line in child.take_output(data):
                self.tell(f"{child.spec.name:<10} | {line}")
            if not data:
                self.output.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # what we register are pipes

    def _mourn(self, child: _Child) -> None:
        self._pass_output_on(0)
        how = child.bury()
        fork.end_orphans(self._known(), within_s=0)
        if self.stop_asked_at:
            return
        for line in child.last_words():
            self.tell(f"{child.spec.name:<10} | {line}")
        if self.give_up_after is not None and child.deaths_in_a_row >= self.give_up_after:
            self.gave_up = True
            self.tell(f"{child.spec.name} {how}, {child.deaths_in_a_row} times in a row: stopping everything.")
        else:
            self.tell(f"{child.spec.name} {how}: starting it again in {child.start_at - time.monotonic():.1f} s.")

    def _end_all(self) -> None:
        deadline = time.monotonic() + self.stop_within_s
        foundation = [child for child in self.children if child.spec.needed_first]
        for wave in ([child for child in self.children if not child.spec.needed_first], foundation):
            for child in wave:
                if child.process is not None:
                    child.process.send_signal(signal.SIGTERM)
            # the foundation keeps some of the time for itself
            self._wait_for(wave, deadline - (0.0 if wave is foundation else self.stop_within_s / 7))
        for child in self.children:
            if child.process is not None:
                child.process.send_signal(signal.SIGKILL)
                child.process.wait()
        fork.end_orphans((), within_s=0)

    def _wait_for(self, wave: list[_Child], deadline: float) -> None:
        asked = set[int]()
        while time.monotonic() < deadline and not self.hurry:
            if not any(child.alive() for child in wave):
                left = fork.orphans(self._known())
                if not left:
                    return
                for pid in left - asked:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                asked |= left
            self._pass_output_on(0.05)


@contextmanager
def _signals_taken(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in fork.STOP_SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _write_line(line: str) -> None:
    with suppress(BrokenPipeError):  # the reader of our output may go before we do
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
