"""Processes that end with the one that started them: a copy of ours that calls a function, or another's command.

Decided: forks, because what was imported and made before them is in memory once for all of them, and starting one
again costs no import. The process that forks has one thread and opens no connection, so a copy holds nobody's lock
and nobody's socket.
Decided: Linux's parent-death signal is set for a command by this file, run as a small launcher before it becomes the
command, instead of in a `preexec_fn`, which is unsafe in a process that has threads.
Decided: what a dead process leaves is handed by Linux to the nearest ancestor that asks for it (`adopt_orphans`), so
nobody need be recognized by a mark: a process group would take the shell or `make` that started us along, and a copy
shows no environment of its own.
Other systems than Linux have neither: there an orderly end works, a `kill -9` leaves children.
"""

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_EVERY_S, _DIE_WITHIN_S = 0.05, 5.0
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36


class Fork:
    """A copy of this process that calls `run` and ends, as `subprocess.Popen` is a command that runs.

    name: what `ps` and `top` call it, after `mlango-`. env: added to its environment. output: the file that its words
    go to, by default ours. forget: called first, to let go of what is the original's own.
    """

    def __init__(
        self,
        run: Callable[[], object],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        output: int | None = None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # a signal that comes before the copy has handlers of its own waits until it has
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self.pid = os.fork()
        if self.pid == 0:
            _live(run, name, env or {}, output, parent, forget)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        if self.returncode is None:
            self._take(os.waitpid(self.pid, os.WNOHANG))
        return self.returncode

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        while self.returncode is None:
            self._take(os.waitpid(self.pid, 0))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _take(self, ended: tuple[int, int]) -> None:
        if ended[0] == self.pid:
            self.returncode = os.waitstatus_to_exitcode(ended[1])


def run_in_fork(run: Callable[[], object], *, name: str) -> int:
    """Call it in a copy and wait for its end; its exit code. What it opened and loaded is gone then."""
    return Fork(run, name=name).wait()


def tied_to_us(argv: Sequence[str]) -> list[str]:
    """`argv`, wrapped: the command gets SIGTERM when the thread that starts it dies. Same process id."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def tie_to_parent(parent: int) -> None:
    """Get SIGTERM when the thread that started us dies. parent: the id of its process, which may be dead already."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked to be told
            raise SystemExit(1)


def adopt_orphans() -> None:
    """From now on what a process below us leaves when it dies becomes our own child."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def bury_orphans(known: Collection[int]) -> None:
    """Take note of the adopted that have died. known: our own children, for others to take note of."""
    with suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return  # nobody has died: no need to look who is there
    for pid in _children() - set(known):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def end_orphans(known: Collection[int], *, within_s: float) -> None:
    """End every child of ours that is not `known` and what it leaves in turn: SIGTERM, then SIGKILL when time is up."""
    deadline, asked = time.monotonic() + within_s, set[int]()
    while (found := _children() - set(known)) and time.monotonic() < deadline + _DIE_WITHIN_S:
        is_late = time.monotonic() >= deadline
        for pid in found if is_late else found - asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        asked |= found
        time.sleep(_LOOK_EVERY_S)
        bury_orphans(known)


def orphans(known: Collection[int]) -> set[int]:
    """Ids of the adopted that live."""
    bury_orphans(known)
    return _children() - set(known)


def _children() -> set[int]:
    """Ids of this process's children, with the dead that nobody took note of."""
    us, found = str(os.getpid()), set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            if stat.read_text().rpartition(")")[2].split()[1] == us:
                found.add(int(stat.parent.name))
    return found


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _live(
    run: Callable[[], object],
    name: str,
    env: Mapping[str, str],
    output: int | None,
    parent: int,
    forget: Callable[[], object],
) -> NoReturn:
    """Everything that happens in the copy, from the fork to its end."""
    code = 1
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        tie_to_parent(parent)
        if sys.platform == "linux":
            _prctl(_PR_SET_NAME, f"mlango-{name}".encode()[:15])
        forget()
        _direct(output)
        os.environ.update(env)
        gc.enable()  # the original may have switched it off, so as not to touch what is shared
        run()
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # what the original does at its end is not ours to do


def _direct(output: int | None) -> None:
    """Nothing to read, and our words to `output`."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # both are text over a file


def _code_of(end: SystemExit) -> int:
    if isinstance(end.code, int | None):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return 1


def _launch(parent: int, argv: list[str]) -> None:
    """Become `argv`, with SIGTERM to come when the parent dies."""
    tie_to_parent(parent)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell, by intention
    except OSError as error:
        raise SystemExit(f"{argv[0]} cannot be started: {error.strerror}.") from None


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2:])
