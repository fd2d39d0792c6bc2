"""FreeRADIUS over SQLite, then over PostgreSQL: started once a module."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product import closed_product, opened_product
from tests.support.radius import Hotspots
from tests.support.services.freeradius import start_freeradius


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def hotspots(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hotspots]:
    """Routers, access and a server that lets in; each test sells its own."""
    directory = tmp_path_factory.mktemp("radius")
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("furnished_sqlite")
        shutil.copyfile(template, directory / "portal.db")
        url = f"sqlite:///{directory}/portal.db"
    else:
        server = request.getfixturevalue("postgresql_server")
        url = server.fresh_database(template=request.getfixturevalue("_furnished_postgresql"))
    product = opened_product(url, redis_url, directory)
    radius = start_freeradius(product.app.config["PORTAL"].database_url)
    yield Hotspots(product, radius)
    radius.stop()
    closed_product(product)
