"""The supervisor: what a person who starts, kills and stops `portal demo` sees."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.processes.supervisor import STOP_WITHIN_S

# A supervisor in a process of its own, because it takes the signals of whoever calls it.
SUPERVISOR = """
import sys
from pathlib import Path
from portal.processes.supervisor import Process, supervise
python, folder = sys.executable, Path(sys.argv[1])
options = eval(sys.argv[2])
sys.exit(supervise([Process(**each) for each in options.pop("processes")],
                   on_ready=lambda: print("everything is ready", flush=True), **options))
"""
SAYS_HELLO = "import time; print('hello', flush=True); time.sleep(60)"
DIES = "import sys; print('out of luck', flush=True); sys.exit(3)"
IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
HAS_CHILD = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {SAYS_HELLO!r}])
time.sleep(60)
"""
# a child of the program that ignores SIGTERM, so that nothing but the watchman can end it
HAS_DEAF_CHILD = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', {IGNORES_TERM!r}])
print('child', child.pid, flush=True)
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
Start = Callable[..., subprocess.Popen[str]]
OfKind = Callable[..., dict[str, object]]
# What is proved here is the order of things, never their speed: a busy machine is slow, and only what never comes fails.
NEVER_S, PATIENCE_S = 3_600.0, 60.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def start_supervisor(*processes: dict[str, object], **options: object) -> subprocess.Popen[str]:
        # paths are given as text, and a group of its own keeps our signals from pytest
        arguments = repr({**options, "processes": list(processes)}).replace("PosixPath", "Path")
        supervisor = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(tmp_path), arguments],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(supervisor)
        return supervisor

    yield start_supervisor
    for supervisor in started:
        try:
            os.killpg(supervisor.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        supervisor.communicate()


def program(name: str, code: str, **options: object) -> dict[str, object]:
    return {"name": name, "argv": [sys.executable, "-c", code], **options}


def forked(name: str, code: str, **options: object) -> dict[str, object]:
    """The same as a function of the supervisor's own, called in a copy of it."""
    return {"name": name, "run": _Code(f"lambda: exec({code!r}, {{}})"), **options}


either_kind = pytest.mark.parametrize("of_kind", [program, forked], ids=["command", "copy"])


def read_until(supervisor: subprocess.Popen[str], words: str) -> list[str]:
    assert supervisor.stdout is not None
    lines = []
    for line in supervisor.stdout:
        lines.append(line.rstrip())
        if words in line:
            return lines
    raise AssertionError(f"{words!r} was never said: {lines}")


def group_of(supervisor: subprocess.Popen[str]) -> set[int]:
    """Ids of all that live in the supervisor's process group, without the dead that await their parent."""
    living = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        state, _, group = _state(stat)
        if group == str(supervisor.pid) and state != "Z":
            living.add(int(stat.parent.name))
    return living


def _state(stat: Path) -> list[str]:
    """State letter, parent and process group; a process that is gone reads as a dead one."""
    try:
        return stat.read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return ["Z", "", ""]


def wait_until_gone(pid: int, *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if _state(Path(f"/proc/{pid}/stat"))[0] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} still lives after {within_s} s")


def test_everything_starts_and_says_so_once(start: Start) -> None:
    supervisor = start(program("web", SAYS_HELLO), program("worker", SAYS_HELLO))
    said = read_until(supervisor, "worker     | hello")
    said += [] if any("web        | hello" in line for line in said) else read_until(supervisor, "web        |")
    assert said.count("everything is ready") == 1


def test_programs_wait_for_those_needed_first(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "up"
    first = f"import time, pathlib; time.sleep(0.5); pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"
    looks = f"import time, pathlib; print(pathlib.Path({str(mark)!r}).exists(), flush=True); time.sleep(60)"
    foundation = program("redis", first, needed_first=True)
    supervisor = start(program("worker", looks), foundation | {"is_ready": _Code(f"Path({str(mark)!r}).exists")})
    assert "worker     | True" in read_until(supervisor, "worker     |")


class _Code:
    """Written into the supervisor's arguments as the code it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


@either_kind
def test_a_program_that_dies_is_started_again_and_its_death_is_told(start: Start, of_kind: OfKind) -> None:
    supervisor = start(of_kind("worker", DIES))
    said = read_until(supervisor, "starting it again")
    said += read_until(supervisor, "starting it again")
    deaths = [line for line in said if line.startswith("worker ended with exit code 3: starting it again in ")]
    pauses_s = [float(line.split()[-2]) for line in deaths]
    assert 0 <= pauses_s[0] <= 0.5 < pauses_s[1] <= 1.0, "each pause is twice the one before"
    assert said.count("worker     | out of luck") == 2


@either_kind
def test_a_killed_program_is_replaced_while_the_others_live_on(start: Start, of_kind: OfKind) -> None:
    tells_pid = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
    supervisor = start(of_kind("web", tells_pid))
    first = int(read_until(supervisor, "pid")[-1].split()[-1])
    os.kill(first, signal.SIGKILL)
    said = read_until(supervisor, "| pid")
    assert any("web was ended by SIGKILL" in line for line in said)
    assert int(said[-1].split()[-1]) != first


def test_a_program_that_keeps_dying_ends_everything_where_that_is_wanted(start: Start) -> None:
    supervisor = start(program("web", DIES), program("worker", SAYS_HELLO), give_up_after=2)
    said = read_until(supervisor, "stopping everything")
    assert "web ended with exit code 3, 2 times in a row: stopping everything." in said
    assert supervisor.wait(PATIENCE_S) == 1
    assert group_of(supervisor) == set()


@either_kind
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_in_time_with_exit_code_0(start: Start, number: signal.Signals, of_kind: OfKind) -> None:
    supervisor = start(of_kind("web", SAYS_HELLO), of_kind("worker", HAS_CHILD), stop_within_s=NEVER_S)
    read_until(supervisor, "worker     | hello")
    assert len(group_of(supervisor)) >= 4
    supervisor.send_signal(number)
    assert supervisor.wait(PATIENCE_S) == 0, "programs that obey end at once, long before they would be killed"
    assert group_of(supervisor) == set()


@either_kind
def test_a_program_that_ignores_sigterm_is_killed_when_its_time_is_up(start: Start, of_kind: OfKind) -> None:
    assert STOP_WITHIN_S == 7.0, "the default leaves room to be done in ten seconds"
    supervisor = start(of_kind("web", IGNORES_TERM), stop_within_s=1.5)
    read_until(supervisor, "deaf")
    asked = time.monotonic()
    supervisor.terminate()
    assert supervisor.wait(PATIENCE_S) == 0
    assert time.monotonic() - asked > 1, "not before its time was up"
    assert group_of(supervisor) == set()


def test_a_second_ctrl_c_ends_a_stubborn_program_at_once(start: Start) -> None:
    supervisor = start(program("web", IGNORES_TERM), stop_within_s=NEVER_S)
    read_until(supervisor, "deaf")
    supervisor.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        supervisor.wait(0.3)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(PATIENCE_S) == 0


def test_nothing_leaves_the_process_group(start: Start) -> None:
    supervisor = start(program("worker", HAS_DEAF_CHILD))
    said = read_until(supervisor, "child")
    grandchild = int(said[-1].split()[-1])
    assert os.getpgid(grandchild) == supervisor.pid


@either_kind
@pytest.mark.parametrize("killed", ["whom we know", "its copy"])
def test_grandchildren_are_gone_after_kill_9_of_either_that_watches(start: Start, killed: str, of_kind: OfKind) -> None:
    supervisor = start(of_kind("worker", HAS_DEAF_CHILD), stop_within_s=2.0)
    said = read_until(supervisor, "child")
    grandchild = int(said[-1].split()[-1])
    said += [] if any("deaf" in line for line in said) else read_until(supervisor, "deaf")
    everyone = group_of(supervisor) - {supervisor.pid}
    assert grandchild in everyone
    copy = next(pid for pid in everyone if _state(Path(f"/proc/{pid}/stat"))[1] == str(supervisor.pid))
    os.kill(supervisor.pid if killed == "whom we know" else copy, signal.SIGKILL)
    for pid in everyone:
        wait_until_gone(pid, within_s=PATIENCE_S)
    assert supervisor.wait(PATIENCE_S) == (-signal.SIGKILL if killed == "whom we know" else 1)


@either_kind
def test_what_a_dead_program_leaves_is_gone_before_it_starts_again(start: Start, of_kind: OfKind) -> None:
    supervisor = start(of_kind("web", HAS_DEAF_CHILD.replace("time.sleep(60)\n", "time.sleep(0.3)\n")))
    orphan = int(read_until(supervisor, "child")[-1].split()[-1])
    read_until(supervisor, "starting it again")
    wait_until_gone(orphan, within_s=PATIENCE_S)


def test_several_that_die_at_once_are_started_again_without_delay(start: Start) -> None:
    """One's death hid what another had left, and everything stood still for five seconds."""
    tells_pid = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
    supervisor = start(forked("web", HAS_DEAF_CHILD), forked("worker", tells_pid))
    said = read_until(supervisor, "child")
    said += [] if any("| pid" in line for line in said) else read_until(supervisor, "| pid")
    said += [] if any("deaf" in line for line in said) else read_until(supervisor, "deaf")
    members = {pid: _state(Path(f"/proc/{pid}/stat"))[1] for pid in group_of(supervisor)}
    copy = next(pid for pid, parent in members.items() if parent == str(supervisor.pid))
    os.kill(copy, signal.SIGSTOP)
    for pid in [pid for pid, parent in members.items() if parent == str(copy)]:
        os.kill(pid, signal.SIGKILL)
    os.kill(copy, signal.SIGCONT)
    said = read_until(supervisor, "starting it again") + read_until(supervisor, "starting it again")
    deaths = [line for line in said if "starting it again" in line]
    assert sorted(line.split()[0] for line in deaths) == ["web", "worker"]
    assert all(-3 < float(line.split()[-2]) <= 0.5 for line in deaths), deaths


@either_kind
def test_a_quiet_run_writes_logs_and_tells_only_last_words(start: Start, tmp_path: Path, of_kind: OfKind) -> None:
    chatty = "import sys; [print('line', n) for n in range(100)]; sys.exit(3)"
    supervisor = start(of_kind("web", SAYS_HELLO), of_kind("worker", chatty), log_directory=tmp_path / "log")
    said = read_until(supervisor, "starting it again")
    assert "worker     | line 99" in said
    assert "worker     | line 50" not in said
    assert not any("hello" in line for line in said)
    assert (tmp_path / "log" / "worker.log").read_text().startswith("line 0\n")


def test_a_program_that_does_not_exist_is_named(start: Start) -> None:
    supervisor = start({"name": "web", "argv": ["no-such-program"]})
    said = read_until(supervisor, "starting it again")
    assert "web        | no-such-program cannot be started: No such file or directory." in said


@either_kind
def test_one_log_for_all_has_their_words_as_they_said_them(start: Start, of_kind: OfKind) -> None:
    supervisor = start(of_kind("web", SAYS_HELLO), of_kind("worker", DIES), shares_output=True)
    said = read_until(supervisor, "starting it again")
    said += [] if any("hello" in line for line in said) else read_until(supervisor, "hello")
    assert "hello" in "".join(said) and "out of luck" in "".join(said)
    assert not any("|" in line for line in said)


def test_a_copy_goes_by_its_name_and_has_its_own_environment(start: Start) -> None:
    tells = "import os; print(os.environ['WHOSE'], open('/proc/self/comm').read().strip(), flush=True)"
    supervisor = start(forked("web", tells, env={"WHOSE": "its own"}))
    assert "web        | its own mlango-web" in read_until(supervisor, "its own")


def test_a_copy_that_fails_tells_why(start: Start) -> None:
    supervisor = start(forked("web", "raise SystemExit('No database.')"), forked("worker", "1 / 0"))
    said = read_until(supervisor, "web ended with exit code 1: starting it again")
    said += (
        [] if any("worker ended" in line for line in said) else read_until(supervisor, "worker ended with exit code 1")
    )
    assert "web        | No database." in said and "worker     | ZeroDivisionError: division by zero" in said


def test_a_function_may_run_in_a_copy_that_is_waited_for() -> None:
    """What it changes is its own: here, a list."""
    code = (
        "import sys; from portal.processes.fork import run_in_fork; seen = []\n"
        "print(run_in_fork(lambda: seen.append(1), name='x'), run_in_fork(lambda: sys.exit(3), name='x'), seen)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "0 3 []\n"
