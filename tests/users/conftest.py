"""The password of nobody, hashed at import with production's strength, as weak as the others' here."""

import pytest

from portal.users import credentials


@pytest.fixture(autouse=True)
def _quick_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_NOBODY", credentials._hasher.hash("nobody"))
