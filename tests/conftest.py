"""What every test may ask for. `product` is the product without M-Pesa, `served` has the simulator and a real port."""

import gc
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import has_app_context
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import make_url

from portal.app import create_app
from portal.kernel import clock, logs
from portal.kernel.db import db
from portal.payments.inbox import inbox
from portal.simulator import OrganisationSpec, create_simulator
from portal.web import start_push
from tests.support import passwords
from tests.support.application import Serving, config_for, serve
from tests.support.product import Product, closed_product, opened_product
from tests.support.services.postgresql import PostgreSQLServer

passwords.hash_cheaply()
start_push.WAIT_S = start_push.LOOK_EVERY_S = 0.002  # no worker runs beside these tests: nobody need wait for one

gc.freeze()  # what is imported stays: to look through it for garbage again and again took a fifth of the tests' time
gc.set_threshold(100000, 20, 100)

pytest_plugins = ["tests.support.services.plugin"]

hypothesis_settings.register_profile(
    "mlango",
    deadline=None,
    max_examples=100,
    derandomize="CI" in os.environ,  # who gates on the tests wants the same answer twice; who develops wants surprises
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hypothesis_settings.load_profile("mlango")


@pytest.fixture(scope="session")
def prepare_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], object]:
    """The migrations make the schema of every test's database."""

    def prepare(url: str) -> None:
        from portal.kernel.schema import upgrade_database

        app = create_app(config_for(url, "redis://127.0.0.1:1", tmp_path_factory.mktemp("prepare")))
        with app.app_context():
            upgrade_database()
            db.session.remove()
            db.engine.dispose()

    return prepare


@pytest.fixture(autouse=True)
def _true_time() -> Iterator[None]:
    """Every test starts at the true time, remembering no other test's gateways, and leaves no application open."""
    inbox.forget_doors()
    yield
    clock.reset()
    logs.clear()
    assert not has_app_context(), "this test left an application context open: the next one would read its session"


NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], object]:
    """Furnish a prepared database, its gateways at an address."""

    def furnish(url: str, daraja_url: str) -> None:
        product = opened_product(url, "redis://127.0.0.1:1", tmp_path_factory.mktemp("furnished"))
        product.daraja_url = daraja_url
        product.furnish()
        closed_product(product)

    return furnish


@pytest.fixture
def product(sqlite_url: str, furnished_sqlite: Path, clean_redis_url: str, tmp_path: Path) -> Iterator[Product]:
    """The product on SQLite, furnished; nobody answers at its gateways' address."""
    shutil.copyfile(furnished_sqlite, tmp_path / "portal.db")
    made = opened_product(sqlite_url, clean_redis_url, tmp_path)
    yield made
    closed_product(made)


@pytest.fixture(scope="session")
def furnished_sqlite(
    _sqlite_template: Path, furnished: Callable[[str, str], object], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file with the furnished tenants, to be copied."""
    return _furnished_file(_sqlite_template, furnished, tmp_path_factory, NOBODY_LISTENS)


@pytest.fixture(scope="session")
def served_sqlite(
    _sqlite_template: Path,
    furnished: Callable[[str, str], object],
    tmp_path_factory: pytest.TempPathFactory,
    simulator: Serving,
) -> Path:
    """The same, its gateways at the simulator."""
    return _furnished_file(_sqlite_template, furnished, tmp_path_factory, simulator.url)


def _furnished_file(
    prepared: Path, furnished: Callable[[str, str], object], directories: pytest.TempPathFactory, daraja_url: str
) -> Path:
    file = directories.mktemp("furnished") / "furnished.db"
    shutil.copyfile(prepared, file)
    furnished(f"sqlite:///{file}", daraja_url)
    with closing(sqlite3.connect(file)) as connection:  # what is still in the write-ahead log is not copied
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture(scope="session")
def _furnished_postgresql(
    postgresql_server: PostgreSQLServer, _postgresql_template: str, furnished: Callable[[str, str], object]
) -> str:
    url = postgresql_server.fresh_database(template=_postgresql_template)
    furnished(url, NOBODY_LISTENS)
    return str(make_url(url).database)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def either_product(request: pytest.FixtureRequest) -> Product:
    """The product on SQLite, then on PostgreSQL."""
    made: Product = request.getfixturevalue("product" if request.param == "sqlite" else "postgresql_product")
    return made


@pytest.fixture
def postgresql_product(
    postgresql_server: PostgreSQLServer, _furnished_postgresql: str, clean_redis_url: str, tmp_path: Path
) -> Iterator[Product]:
    """The product on PostgreSQL, furnished."""
    url = postgresql_server.fresh_database(template=_furnished_postgresql)
    made = opened_product(url, clean_redis_url, tmp_path)
    yield made
    closed_product(made)
    postgresql_server.drop(url)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One simulated M-Pesa for this test process, with the organisations of `Product`."""
    organisations = [
        OrganisationSpec(
            name=f"{slug.upper()} HOUSE",
            shortcode=shortcode,
            consumer_key=f"{slug}-key",
            consumer_secret=f"{slug}-secret",
            passkey=f"{slug}-passkey",
            initiator_name=f"{slug}-api",
            initiator_password="Safaricom123!",
        )
        for slug, shortcode in (("mlima", "600111"), ("bahari", "600222"))
    ]
    app = create_simulator(
        data_dir=tmp_path_factory.mktemp("simulator"), public_url="http://127.0.0.1:1", organisations=organisations
    )
    serving = serve(app)
    yield serving
    serving.stop()
    app.extensions["simulator"].close()


@pytest.fixture
def served(
    sqlite_url: str, served_sqlite: Path, clean_redis_url: str, tmp_path: Path, simulator: Serving
) -> Iterator[Product]:
    """The product on a loopback port, its gateways on the simulator: callbacks really arrive."""
    shutil.copyfile(served_sqlite, tmp_path / "portal.db")
    holder: dict[str, object] = {}
    serving = serve(lambda environ, start: holder["app"].wsgi_app(environ, start))  # type: ignore[attr-defined]
    made = opened_product(sqlite_url, clean_redis_url, tmp_path, public_url=serving.url)
    holder["app"] = made.app
    made.daraja_url, made.url = simulator.url, serving.url
    yield made
    serving.stop()
    store = simulator.app.extensions["simulator"].store
    store.move_clock(None)  # M-Pesa's clock is the next test's too
    store.run("DELETE FROM faults")
    closed_product(made)
