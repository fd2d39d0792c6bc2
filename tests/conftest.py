"""What every test may ask for. `house` is the product without M-Pesa, `served` has the simulator and a real port."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from portal.kernel import clock, logs
from portal.kernel.db import db
from portal.payments.inbox import inbox
from portal.simulator import OrganisationSpec, create_simulator
from portal.users import credentials
from portal.web import start_push
from tests.house import House, Serving, config_for, made, serve

# As slow as production's, argon2 would be most of what these tests do; one test checks the real strength.
STRONG_HASHER = credentials._hasher
credentials._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

start_push.WAIT_S = 0.05  # no worker runs beside these tests: nobody need wait for one

pytest_plugins = ["tests.plugin_services"]

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

        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        app = made(config_for(url, "redis://127.0.0.1:1", tmp_path_factory.mktemp("prepare")))
        with app.app_context():
            upgrade_database()
            db.session.remove()
            db.engine.dispose()

    return prepare


@pytest.fixture(autouse=True)
def _true_time() -> Iterator[None]:
    """Every test starts at the true time, remembering no other test's gateways."""
    inbox.forget_doors()
    yield
    clock.reset()
    logs.clear()


def _house(database_url: str, redis_url: str, tmp_path: Path, **changes: object) -> House:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    return House(made(config_for(url, redis_url, tmp_path / "data", **changes)))


def _close(house: House) -> None:
    with house.app.app_context():
        db.session.remove()
        db.engine.dispose()
    house.app.extensions["redis"].close()


@pytest.fixture
def house(sqlite_url: str, clean_redis_url: str, tmp_path: Path) -> Iterator[House]:
    """The product on SQLite, furnished; nobody answers at its gateways' address."""
    made_house = _house(sqlite_url, clean_redis_url, tmp_path).furnish()
    yield made_house
    _close(made_house)


@pytest.fixture
def either_house(both_databases: str, clean_redis_url: str, tmp_path: Path) -> Iterator[House]:
    """The product on SQLite, then on PostgreSQL."""
    made_house = _house(both_databases, clean_redis_url, tmp_path).furnish()
    yield made_house
    _close(made_house)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One simulated M-Pesa for this test process, with the organisations of `House`."""
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
def served(sqlite_url: str, clean_redis_url: str, tmp_path: Path, simulator: Serving) -> Iterator[House]:
    """The product on a loopback port, its gateways on the simulator: callbacks really arrive."""
    holder: dict[str, object] = {}
    serving = serve(lambda environ, start: holder["app"].wsgi_app(environ, start))  # type: ignore[attr-defined]
    made_house = _house(sqlite_url, clean_redis_url, tmp_path, public_url=serving.url)
    holder["app"] = made_house.app
    made_house.daraja_url, made_house.url = simulator.url, serving.url
    yield made_house.furnish()
    serving.stop()
    _close(made_house)
