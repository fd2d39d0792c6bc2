"""Where the servers and the browser are, and what to say when one is not there."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest


def find_program(*names: str, folders: Iterable[Path] = ()) -> Path | None:
    """The first of `names` that can be run: in `folders`, else on PATH, else where Debian keeps daemons."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    return None


def lacking(what: str, *, package: str) -> NoReturn:
    """Skip the test, naming what it lacks and the line that installs it. With CI=true it fails instead."""
    reason = f"{what} is not installed: sudo apt-get install -y {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
