"""What is installed: exact versions with hashes, the product's in one file, the tests' besides in another, one truth."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pins(file: str) -> dict[str, tuple[str, frozenset[str]]]:
    """(what is asked for, its hashes) of each package."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / file).read_text()):
        wanted = entry.partition("\\")[0].strip()
        found[wanted.partition("==")[0]] = (wanted, frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
    return found


def direct(*groups: str) -> set[str]:
    """The packages that pyproject.toml itself asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [one for group in groups for one in project["optional-dependencies"][group]]
    return {re.split(r"[\[><=]", one, maxsplit=1)[0] for one in asked}


def test_both_locks_hold_every_package_with_version_and_hashes_and_no_address() -> None:
    for file, wanted in (("requirements.lock", direct()), ("tests/requirements.lock", direct("dev"))):
        held = pins(file)
        assert wanted <= held.keys()
        assert all("==" in asked and hashes for asked, hashes in held.values())
        assert "://" not in (ROOT / file).read_text()


def test_the_installer_is_pinned_as_well() -> None:
    ((wanted, hashes),) = pins("deploy/installer.lock").values()
    assert wanted.startswith("uv==") and hashes and "://" not in (ROOT / "deploy" / "installer.lock").read_text()


def test_the_product_and_its_tests_agree_on_every_version() -> None:
    product, tests = pins("requirements.lock"), pins("tests/requirements.lock")
    assert product.items() <= tests.items()
    assert {"pytest", "playwright", "mypy", "ruff", "hypothesis", "schemathesis"} <= tests.keys() - product.keys()
