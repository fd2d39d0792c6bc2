"""The units that are installed: systemd can read every line of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[1] / "deploy").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name
    # the programs are not installed where the suite runs
    copy.write_text(re.sub(r"(?m)^(Exec\w+=)\S+", r"\1/bin/true", unit.read_text()))
    said = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=30)
    ours = [line for line in said.stderr.splitlines() if unit.name in line]
    assert (said.returncode, ours) == (0, []), said.stderr


def test_there_are_units_to_look_at() -> None:
    assert [unit.name for unit in UNITS] == ["mlango-radius.service", "mlango.service"]
