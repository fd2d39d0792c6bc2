"""A furnished product that the tests of one module share, for tests that only look or only ask wrongly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.web import start_push
from portal.web.limits import limiter
from tests.support.application import closed, config_for, opened
from tests.support.product import Product
from tests.support.services.redis_server import fresh_redis_database


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker runs here: a push stays `created`, and waiting for its prompt would only take time."""
    monkeypatch.setattr(start_push, "WAIT_S", 0)


@pytest.fixture
def unlimited() -> Iterator[None]:
    """Rate limits off: these tests ask more often than anybody may."""
    limiter.enabled = False
    yield
    limiter.enabled = True


@pytest.fixture(scope="module")
def open_product(_sqlite_template: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One furnished product for a whole module."""
    folder = tmp_path_factory.mktemp("product")
    file = folder / "portal.db"
    file.write_bytes(_sqlite_template.read_bytes())
    product = Product(
        opened(config_for(f"sqlite:///{file}", fresh_redis_database(redis_url), folder / "data"))
    ).furnish()
    yield product
    closed(product.app)
