"""Several programs run as one: started in order, restarted when they die, and all gone at the end.

Invariants: no program leaves our process group; none outlives us, whatever ends us; SIGTERM and SIGINT end
all of them in `STOP_WITHIN_S` seconds.

Decided: Linux's parent-death signal is set by this file, run as a small launcher before it becomes the
program, instead of in a `preexec_fn`, which is unsafe in a process that has threads.
Decided: a watchman, a second small process, ends what a `kill -9` of the supervisor would leave, because the
parent-death signal reaches children only, not their children. It knows them by a mark in their environment:
a process group would take the shell or `make` that started us along, and a parent's id changes when it dies.
Other systems than Linux have neither: an orderly end works, a `kill -9` of the supervisor leaves children.
"""

import ctypes
import errno
import os
import secrets
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

STOP_WITHIN_S = 7.0  # for an orderly end; then SIGKILL, so that all is over well within ten seconds
BACK_OFF_S = (0.5, 5.0)
STEADY_AFTER_S = 30.0  # a program that lived this long has not failed in a row
LAST_LINES = 15
STEP_S = 0.1
MARK = "MLANGO_SUPERVISOR"
_PR_SET_PDEATHSIG = 1
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


@dataclass(frozen=True)
class Process:
    """One program to keep running.

    env: added to our own environment. is_ready: asked until it first says True; OSError counts as no, and it
    should answer within a second. needed_first: the programs without it start once all that have it are
    ready, and end before them.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] | None = None
    needed_first: bool = False


def supervise(
    processes: Sequence[Process],
    *,
    on_ready: Callable[[], object] | None = None,
    log_directory: Path | None = None,
    give_up_after: int | None = None,
    stop_within_s: float = STOP_WITHIN_S,
    tell: Callable[[str], object] | None = None,
) -> int:
    """Keep `processes` running until SIGTERM, SIGINT or SIGHUP; 0 after such an end, 1 after giving up.

    Without `log_directory` every line is told with the program's name before it; with it, output goes to
    `<log_directory>/<name>.log` and only the last lines of a program that died are told.
    on_ready: called once, when every program is ready. give_up_after: that many deaths of one program in a
    row, each within 30 s of its start, end everything. stop_within_s: for an orderly end, then SIGKILL.
    tell: takes one line; default standard output.
    Call it from the main thread: it takes the signals.
    """
    return _Supervisor(processes, on_ready, log_directory, give_up_after, stop_within_s, tell or _write_line).run()


def tied_to_us(argv: Sequence[str]) -> list[str]:
    """`argv`, wrapped: the program gets SIGTERM when the thread that starts it dies. Same process id."""
    return [sys.executable, "-I", "-S", __file__, "launch", str(os.getpid()), *argv]


class _Child:
    def __init__(self, spec: Process, *, mark: str, log_directory: Path | None) -> None:
        self.spec = spec
        self.mark = f"{mark}:{spec.name}"
        self.log = log_directory / f"{spec.name}.log" if log_directory else None
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self.started_at = 0.0
        self.deaths_in_a_row = 0
        self.ready = False
        self._half_line = b""

    def start(self) -> None:
        output = self._open_log() if self.log else subprocess.PIPE
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.spec.env, MARK: self.mark}
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                tied_to_us(self.spec.argv),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        finally:
            if output != subprocess.PIPE:
                os.close(output)
        self.started_at = time.monotonic()
        self.ready = self.spec.is_ready is None

    def _open_log(self) -> int:
        assert self.log is not None  # noqa: S101 - for the type checker; the only caller has looked
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
        code = self.process.returncode
        self.process = None
        quick = time.monotonic() - self.started_at < STEADY_AFTER_S
        self.deaths_in_a_row = self.deaths_in_a_row + 1 if quick else 1
        least, most = BACK_OFF_S
        self.start_at = time.monotonic() + min(most, least * 2 ** (self.deaths_in_a_row - 1))
        _signal_marked(self.mark, signal.SIGKILL)
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
        log_directory: Path | None,
        give_up_after: int | None,
        stop_within_s: float,
        tell: Callable[[str], object],
    ) -> None:
        self.mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        self.children = [_Child(spec, mark=self.mark, log_directory=log_directory) for spec in processes]
        self.on_ready = on_ready
        self.give_up_after = give_up_after
        self.stop_within_s = stop_within_s
        self.tell = tell
        self.output = selectors.DefaultSelector()
        self.stop_asked = False
        self.hurry = False
        self.gave_up = False

    def run(self) -> int:
        with self._signals_taken(), self._watchman():
            try:
                while not (self.stop_asked or self.gave_up):
                    self._step()
            finally:
                self._end_all()
                self.output.close()
        return 1 if self.gave_up else 0

    def _step(self) -> None:
        self._pass_output_on(STEP_S)
        for child in self.children:
            if child.process is not None and not child.alive():
                self._mourn(child)
        foundation_stands = all(child.ready for child in self.children if child.spec.needed_first)
        for child in self.children:
            may_start = child.spec.needed_first or foundation_stands
            if child.process is None and may_start and time.monotonic() >= child.start_at and not self.stop_asked:
                self._start(child)
            child.look()
        if self.on_ready and all(child.ready for child in self.children):
            announce, self.on_ready = self.on_ready, None
            announce()

    def _start(self, child: _Child) -> None:
        child.start()
        if child.process is not None and child.process.stdout is not None:
            os.set_blocking(child.process.stdout.fileno(), False)
            self.output.register(child.process.stdout, selectors.EVENT_READ, child)

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
        if self.stop_asked:
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
                    child.process.terminate()
            # the foundation keeps some of the time for itself
            self._wait_for(wave, deadline - (0.0 if wave is foundation else self.stop_within_s / 7))
        _signal_marked(f"{self.mark}:", signal.SIGKILL)
        for child in self.children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()

    def _wait_for(self, wave: list[_Child], deadline: float) -> None:
        marks = tuple(child.mark for child in wave)
        asked_orphans = False
        while time.monotonic() < deadline and not self.hurry:
            if not any(child.alive() for child in wave):
                left = [mark for mark in marks if _marked(mark)]
                if not left:
                    return
                if not asked_orphans:
                    asked_orphans = True
                    for mark in left:
                        _signal_marked(mark, signal.SIGTERM)
            self._pass_output_on(0.05)

    @contextmanager
    def _signals_taken(self) -> Iterator[None]:
        def stop(number: int, _frame: object) -> None:
            # make and a closing terminal send SIGTERM twice; only a person presses Ctrl-C twice
            self.hurry = self.stop_asked and number == signal.SIGINT
            self.stop_asked = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _watchman(self) -> Iterator[None]:
        watchman = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", __file__, "watch", f"{self.mark}:", str(self.stop_within_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            watchman.communicate()


def _write_line(line: str) -> None:
    with suppress(BrokenPipeError):  # the reader of our output may go before we do
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _marked(mark: str) -> list[int]:
    """Ids of the living processes with this mark in their environment; one ending in `:` is a beginning."""
    start = f"{MARK}={mark}".encode() + (b"" if mark.endswith(":") else b"\0")
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone meanwhile, or another user's
            held = environment.read_bytes()
            if held.startswith(start) or b"\0" + start in held:
                found.append(int(environment.parent.name))
    return found


def _signal_marked(mark: str, number: signal.Signals) -> None:
    for pid in _marked(mark):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _launch(parent: int, argv: list[str]) -> None:
    """Become `argv`, with SIGTERM to come when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked to be told
            raise SystemExit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell, by intention
    except OSError as error:
        raise SystemExit(f"{argv[0]} cannot be started: {error.strerror}.") from None


def _watch(mark: str, stop_within_s: float) -> None:
    """Wait until the supervisor at the other end of standard input is gone; then end what it left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    deadline = time.monotonic() + stop_within_s
    _signal_marked(mark, signal.SIGTERM)
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(STEP_S)
    _signal_marked(mark, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "launch":
        _launch(int(sys.argv[2]), sys.argv[3:])
    else:
        _watch(sys.argv[2], float(sys.argv[3]))
