"""Who may import whom: the contracts of pyproject.toml hold, and those about Flask leave no room out."""

import tomllib
from pathlib import Path
from typing import Any

from importlinter.cli import lint_imports

from portal.kernel.errors import Sentence
from portal.kernel.translations import render

ROOT = Path(__file__).parent.parent


def contracts() -> dict[str, dict[str, Any]]:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {one["name"]: one for one in listed}


def below_the_views() -> set[str]:
    """Every package and module of the product that stands under the views, from the contract of the floors."""
    floors = contracts()["Imports only point down"]["layers"]
    under = floors[floors.index("portal.fulfilment") :]
    return {room for floor in under for room in floor.split(" | ")} - {"portal.web"}


def test_every_contract_about_imports_is_kept() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0, "run lint-imports"


def test_no_room_below_the_views_is_left_out_of_the_contract_about_flask() -> None:
    known = contracts()["The domain does not know Flask"]
    assert set(known["source_modules"]) == below_the_views() > {"portal.payments", "portal.users", "portal.kernel"}
    assert {"flask", "flask_babel", "flask_login", "werkzeug"} <= set(known["forbidden_modules"])
    assert known["ignore_imports"] == ["portal.kernel.ports -> flask"]


def test_a_sentence_is_said_without_an_application() -> None:
    assert render(Sentence("This is already paid."), "sw") == "Hii imeshalipwa."
    assert render(Sentence("This is already paid."), "en") == "This is already paid."
