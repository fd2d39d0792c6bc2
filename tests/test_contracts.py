"""Who may import whom: the contracts of pyproject.toml hold, and those about Flask leave no room out."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from importlinter.cli import lint_imports

import portal
from portal.kernel.errors import Sentence
from portal.kernel.translations import render

ROOT = Path(__file__).parent.parent


def contracts() -> dict[str, dict[str, Any]]:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {one["name"]: one for one in listed}


def below_the_views() -> set[str]:
    """Every package and module of the product that stands under the views, from the contract of the floors."""
    floors = contracts()["Imports only point down"]["layers"]
    under = floors[floors.index("portal.welcome") :]
    return {room for floor in under for room in floor.split(" | ")} - {"portal.web"}


def test_every_contract_about_imports_is_kept() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0, "run lint-imports"


def test_no_room_below_the_views_is_left_out_of_the_contract_about_flask() -> None:
    known = contracts()["The domain does not know Flask"]
    rooms = below_the_views()
    assert rooms > {"portal.payments", "portal.users", "portal.kernel"}
    commands = {"bootstrap", "callback_simulation", "data_import", "rotation"}  # `health` is a door: /healthz, /metrics
    assert set(known["source_modules"]) == rooms | {f"portal.operations.{name}" for name in commands}
    assert {"flask", "flask_babel", "flask_login", "werkzeug"} <= set(known["forbidden_modules"])
    assert known["ignore_imports"] == ["portal.kernel.ports -> flask"]


def test_a_sentence_is_said_without_an_application() -> None:
    assert render(Sentence("This is already paid."), "sw") == "Hii imeshalipwa."
    assert render(Sentence("This is already paid."), "en") == "This is already paid."


def plan_in_readme() -> list[str]:
    """The floors of README's plan, from the top, each as the contract writes it: `clinic | hotspot`."""
    text = (ROOT / "README.md").read_text().partition("## How it is built")[2].partition("\n## ")[0]
    drawn = [line for line in text.splitlines() if line.startswith("    ")]
    return [" | ".join(re.split(r"\s{2,}", line.strip())[0].split(" · ")) for line in drawn]


def test_the_plan_in_readme_is_the_contract() -> None:
    """house.md: README drew api, staff, payer and hooks as one floor; the contract and the code had three."""
    floors = contracts()["Imports only point down"]["layers"]
    assert floors[0] == "portal.__main__", "which only starts the command line"
    assert plan_in_readme() == [floor.replace("portal.", "") for floor in floors[1:]] + ["simulator"]


def test_every_room_has_its_floor_and_says_what_it_is() -> None:
    on_plan = {room for floor in plan_in_readme() for room in floor.split(" | ")}
    rooms = {
        path.stem for path in (ROOT / "portal").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__", "__main__"} == {room.partition(".")[0] for room in on_plan}
    for package in sorted((ROOT / "portal").rglob("__init__.py")):
        assert ast.get_docstring(ast.parse(package.read_text())), f"{package}: its docstring is its decision record"


def test_the_doors_do_not_know_each_other() -> None:
    floors = contracts()["Imports only point down"]["layers"]
    doors = contracts()["The doors do not know each other"]
    assert doors["type"] == "independence"
    assert " | ".join(doors["modules"]) == "portal.staff | portal.api | portal.payer | portal.callbacks" in floors


def test_the_map_of_the_rooms_names_what_is_there() -> None:
    named = re.findall(r"\b[a-z0-9_]+(?:/[a-z0-9_]+)*(?:/|\.py)(?!\w)", portal.__doc__ or "")
    assert len(named) > 20 and "payments/payment.py" in named
    assert [path for path in named if not ((ROOT / "portal" / path).exists() or (ROOT / path).exists())] == []


def test_the_command_line_loads_nothing_before_a_command_needs_it() -> None:
    """`portal sms parse` needs no configuration, and `--help` waits for no database driver."""
    look = "import sys, portal.cli; print([name for name in ('flask', 'sqlalchemy', 'redis') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_what_tests_share_stands_in_support_and_no_test_imports_from_another() -> None:
    """house.md: about twenty did."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            room = (
                "tests.chaos" if "chaos" in file.parts else "tests.support"
            )  # the chaos proof is a program of its own
            if module.startswith("tests") and not f"{module}.".startswith(("tests.support.", f"{room}.")):
                found.append(f"{file.relative_to(ROOT)} imports from {module}")
    assert found == []
