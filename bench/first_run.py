"""From a fresh copy of the tree to the demonstration's first page, in seconds, against the way it used to be.

Ours is what the README says: `make demo`. The old way installs every locked package, those of the tests too, with pip,
and starts the demonstration. Each gets a copy of the tree without a virtual environment, and caches of its own that are
empty, as on a fresh machine; so most of the time is the registry's, which both pay in turns. A faster installer that
happens to be on this machine is hidden from both.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from bench.report import Section, spread
from bench.servers import ROOT, answers, free_port, scratch, start, stop, wait_until
from portal.processes.supervisor import is_taken

TARGET = 0.5
WITHIN_S = 900
NOT_COPIED = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "var", "build", "dist")
INSTALLERS = ("uv",)
# what this program's own `make` and virtual environment would hand down
INHERITED_NOT = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS")

Way = Callable[[Path, Mapping[str, str], list[str]], subprocess.Popen[bytes]]  # tree, environment, the demo's options


def measure(*, quick: bool) -> Section:
    """In turns, once if quick, else three times."""
    section = Section("First run", ("from a fresh copy to the first page", "seconds", "ratio", "target", "verdict"))
    rounds = 1 if quick else 3
    ours_s, old_s = [], []
    for _round in range(rounds):
        ours_s.append(_timed(_make_demo))
        old_s.append(_timed(_everything_by_pip))
    ratio = statistics.median(ours_s) / statistics.median(old_s)
    verdict = "meets it" if ratio <= TARGET else "MISSES IT"
    section.rows += [
        ("`make demo`", spread(ours_s), f"{ratio:.2f}", f"<= {TARGET:g}", verdict),
        ("pip installs every locked package, then `portal demo`", spread(old_s), "", "", ""),
    ]
    section.notes.append(
        f"Nothing cached or compiled, packages from the registry; {rounds} of each in turns, medians (least to most)."
    )
    return section


def _timed(way: Way) -> float:
    with scratch() as directory:
        tree = directory / "mlango"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
        environment = fresh_environment(os.environ, directory / "cache")
        port, simulator_port = free_port(), free_port()
        options = ["--port", str(port), "--simulator-port", str(simulator_port), "--data", str(directory / "data")]
        began = time.monotonic()
        process = way(tree, environment, options)
        try:
            page = f"http://127.0.0.1:{port}/"
            wait_until(lambda: answers(page), of=process, what="first page", within_s=WITHIN_S)
            return time.monotonic() - began
        except RuntimeError as error:
            raise RuntimeError(f"{error} {_last_words(tree)}") from error
        finally:
            stop(process)
            _wait_for_the_end(port)


def _make_demo(tree: Path, environment: Mapping[str, str], options: list[str]) -> subprocess.Popen[bytes]:
    argv = ["make", f"PYTHON={_python()}", "demo", f"ARGS={' '.join(options)}"]
    return start(argv, {}, log=tree / "log", inherited=environment, cwd=tree)


def _everything_by_pip(tree: Path, environment: Mapping[str, str], options: list[str]) -> subprocess.Popen[bytes]:
    python = str(tree / ".venv" / "bin" / "python")
    locks = ["-r", str(tree / "tests" / "requirements.lock")]
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for argv in (
        [_python(), "-m", "venv", str(tree / ".venv")],
        [*pip, "--require-hashes", *locks],
        [*pip, "--no-deps", "-e", str(tree)],
    ):
        ran = subprocess.run(argv, env=environment, cwd=tree, capture_output=True, text=True, timeout=WITHIN_S)  # noqa: S603
        if ran.returncode:
            raise RuntimeError(f"Installing by pip failed: {ran.stderr.strip()[-500:]}")
    return start([python, "-m", "portal", "demo", *options], {}, log=tree / "log", inherited=environment, cwd=tree)


def fresh_environment(given: Mapping[str, str], cache: Path) -> dict[str, str]:
    """`given`, without what our own virtual environment and `make` set, and with nothing cached yet, but in `cache`."""
    kept = {name: value for name, value in given.items() if name not in INHERITED_NOT}
    folders = [folder for folder in kept.get("PATH", "").split(os.pathsep) if not _has_installer(Path(folder))]
    caches = {"XDG_CACHE_HOME": "all", "PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv"}
    return {
        **kept,
        "PATH": os.pathsep.join(folders),
        "REDIS_URL": "",
        "DATABASE_URL": "",
        **{name: str(cache / folder) for name, folder in caches.items()},
    }


def _has_installer(folder: Path) -> bool:
    """Whether it should be left out: the system's own folders never are."""
    is_system = str(folder) in ("/bin", "/usr/bin", "/sbin", "/usr/sbin")
    return not is_system and any((folder / name).exists() for name in INSTALLERS)


def _python() -> str:
    """The interpreter below our virtual environment."""
    return str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]


def _last_words(tree: Path) -> str:
    with suppress(OSError):
        return (tree / "log").read_text(errors="replace")[-500:]
    return ""


def _wait_for_the_end(port: int) -> None:
    """`make` may be gone before the programs that it started: the next measurement shall not meet them."""
    until = time.monotonic() + 15
    while is_taken("127.0.0.1", port) and time.monotonic() < until:
        time.sleep(0.2)
