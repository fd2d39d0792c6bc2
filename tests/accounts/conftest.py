"""The password of nobody, hashed at import with production's strength, as weak as the others' here."""

import pytest

from portal.accounts import signin


@pytest.fixture(autouse=True)
def _quick_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "_NOBODY", signin._hasher.hash("nobody"))
