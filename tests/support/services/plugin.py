"""Fixtures that start the real servers and the browser: once per test process, and only when a test asks.

Every pytest-xdist worker has its own, so tests never meet in a database. A service that is missing skips the
test, with the line that installs it; with CI=true it fails it.

Override `prepare_database` in a conftest to have the schema in every database these fixtures hand out.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from portal.kernel.errors import Misconfigured
from portal.processes.embedded_redis import start_redis
from tests.support.services.browser import CHROMIUM_FLAGS, PAGE_TIMEOUT_MS, chromium_path
from tests.support.services.postgresql import PostgreSQLMissing, PostgreSQLServer, start_postgresql
from tests.support.services.programs import lacking
from tests.support.services.redis_server import fresh_redis_database
from tests.support.services.smtp import SmtpSink


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a server or the browser carries its marker: `-m "not browser"` leaves it out."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "chromium" in fixtures:
            item.add_marker("browser")
        if "postgresql_server" in fixtures and "both_databases" not in fixtures:
            item.add_marker("postgresql")


# --- databases


@pytest.fixture(scope="session")
def prepare_database() -> Callable[[str], object] | None:
    """What makes an empty database ready, given its URL; it must close its connections. Here: nothing."""
    return None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """This test process's own PostgreSQL."""
    try:
        server = start_postgresql()
    except PostgreSQLMissing:
        lacking("PostgreSQL", package="postgresql")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _postgresql_template(postgresql_server: PostgreSQLServer, prepare_database: Callable[[str], object] | None) -> str:
    if prepare_database is None:
        return "template1"
    return postgresql_server.template("prepared", prepare_database)


@pytest.fixture(scope="session")
def _sqlite_template(prepare_database: Callable[[str], object] | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlango-sqlite-") as directory:
        file = Path(directory) / "prepared.db"
        if prepare_database is None:
            file.touch()
        else:
            prepare_database(f"sqlite:///{file}")
            with sqlite3.connect(file) as connection:  # what is still in the write-ahead log is not copied
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
        yield file


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQLServer, _postgresql_template: str) -> Iterator[str]:
    """URL of a fresh, prepared PostgreSQL database for this one test."""
    url = postgresql_server.fresh_database(template=_postgresql_template)
    yield url
    postgresql_server.drop(url)


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a fresh, prepared SQLite file for this one test."""
    file = tmp_path / "portal.db"
    shutil.copyfile(_sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def both_databases(request: pytest.FixtureRequest) -> str:
    """URL of a fresh, prepared database; the test runs twice, on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# --- redis and mail


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of this test process's own Redis. Tests share it: most want `clean_redis_url`."""
    try:
        server = start_redis(tmp_path_factory.mktemp("redis"))
    except Misconfigured as error:
        lacking(f"Redis ({error})", package="redis-server")
    yield server.url
    server.stop()


@pytest.fixture
def clean_redis_url(redis_url: str) -> str:
    """URL of an emptied Redis database for this one test."""
    return fresh_redis_database(redis_url)


@pytest.fixture(scope="session")
def _smtp_sink() -> Iterator[SmtpSink]:
    sink = SmtpSink()
    yield sink
    sink.stop()


@pytest.fixture
def smtp_sink(_smtp_sink: SmtpSink) -> SmtpSink:
    """A mail server on loopback, no mail yet: `.host`, `.port`, `.mails`, `.wait_for(1)`, `.refuse_with`."""
    _smtp_sink.clear()
    return _smtp_sink


# --- the browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium for this test process."""
    program = chromium_path()
    if program is None:
        lacking("Chromium", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page_problems() -> list[str]:
    """What pages of this test complained about: script errors, refused content (CSP), failed loads."""
    return []


@pytest.fixture
def page_at(chromium: Browser, page_problems: list[str]) -> Iterator[Callable[..., Page]]:
    """`page_at(360)`: a new page of that width in px, in a context of its own (no cookies of others).

    `javascript=False` turns scripts off; further arguments go to Playwright's `new_context`, for example
    `locale="sw-KE"`. What it waits for must come within 5 s.
    """
    contexts = []

    def open_page(width: int, *, javascript: bool = True, height: int = 800, **options: Any) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=javascript, **options
        )
        contexts.append(context)
        context.set_default_timeout(PAGE_TIMEOUT_MS)
        context.route(
            "http://10.5.50.1/**", lambda asked: asked.abort("aborted")
        )  # the router of `journeys.ROUTER`: the page stays
        page = context.new_page()
        page.on("pageerror", lambda error: page_problems.append(str(error)))
        page.on(
            "console",
            lambda message: page_problems.append(message.text) if message.type == "error" else None,
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
