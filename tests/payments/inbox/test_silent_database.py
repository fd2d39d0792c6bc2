"""A PostgreSQL that goes silent without closing its connections: callbacks go to the disk, and come back from it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from portal.app import _engine_options
from portal.kernel import db as database
from portal.kernel.db import db, hurry, migrating
from portal.payments.inbox import inbox
from portal.payments.processing import jobs
from tests.support.application import config_for, opened
from tests.support.daraja import receipt, stk_body
from tests.support.product import Product, closed_product
from tests.support.services.silence import SilenceableWay


@pytest.fixture
def way(postgresql_url: str) -> Iterator[SilenceableWay]:
    one = SilenceableWay(postgresql_url)
    yield one
    one.close()


@pytest.fixture
def behind(way: SilenceableWay, clean_redis_url: str, tmp_path: Path) -> Iterator[Product]:
    product = Product(opened(config_for(way.url, clean_redis_url, tmp_path / "data"))).furnish()
    yield product
    way.speak()
    closed_product(product)


def test_a_silent_database_is_given_up_and_callbacks_go_to_the_disk(behind: Product, way: SilenceableWay) -> None:
    """money.md A6: after 75 s of silence there was no answer and nothing spooled."""
    tokens = [behind.invoice(100 + n)[1] for n in range(3)]
    pushes = [behind.pushed(token) for token in tokens]
    hook = behind.hook()
    answers: list[int] = []

    def call_back() -> None:
        for n, push in enumerate(pushes):
            body = stk_body(push, receipt=receipt(n))
            answers.append(behind.client().post(f"{hook}/stk/{push.token}", json=body).status_code)

    assert behind.callback(pushes[0], code=1).status_code == 200, "a connection is open, and its token remembered"
    way.silence()
    caller = threading.Thread(target=call_back, daemon=True)
    caller.start()
    caller.join(40)
    assert answers == [200, 200, 200] and behind.app.extensions["spool"].depth() == 3
    way.speak()
    inbox.forget_doors()
    with behind.inside():
        assert jobs.take_in_spool() == 3
    behind.settle()
    assert [behind.status(token)["status"] for token in tokens] == ["paid"] * 3 and behind.books() == []


def test_a_page_is_told_soon_that_the_database_is_silent(
    behind: Product, way: SilenceableWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A6: pages that wait for half a minute hold every thread, and callbacks wait behind them."""
    _number, token = behind.invoice(100)
    assert behind.client().get(f"/pay/{token}").status_code == 200
    monkeypatch.setattr(database, "HURRIED_MS", 100)
    way.silence()
    answers: list[int] = []
    reader = threading.Thread(
        target=lambda: answers.append(behind.client().get(f"/pay/{token}").status_code), daemon=True
    )
    reader.start()
    reader.join(20)  # the connect timeout of 3 s, not the 30 s that a statement may take
    assert answers == [503]


def test_after_one_callback_found_the_database_away_the_next_ones_do_not_wait_for_it(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A6: with every thread waiting for a silent database, nobody answers M-Pesa."""
    asked: list[str] = []

    def away(token: str) -> Any:
        asked.append(token)
        raise OperationalError("SELECT", {}, Exception("silent"))

    monkeypatch.setattr(inbox, "gateway_by_token", away)
    for _time in range(3):
        answer = product.client().post("/hooks/abc/c2b/confirmation", data=b"{}")
        assert answer.status_code == 200
    assert asked == ["abc"] and product.app.extensions["spool"].depth() == 3
    inbox.forget_doors()  # as a moment's time would
    product.client().post("/hooks/abc/c2b/confirmation", data=b"{}")
    assert asked == ["abc", "abc"]


def test_who_is_in_a_hurry_gives_up_soon_and_who_migrates_never(
    behind: Product, way: SilenceableWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A6."""
    monkeypatch.setattr(database, "HURRIED_MS", 100)
    with behind.inside():
        with pytest.raises(OperationalError, match="silent for 100 ms") as gone, hurry():
            db.session.execute(text("SELECT pg_sleep(30)"))
        assert gone.value.connection_invalidated, "the pool throws it away"
        db.session.rollback()
        assert db.session.execute(text("SELECT 1")).scalar() == 1
        monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
        with migrating():
            assert database._patience_ms.get() is None
            db.session.execute(text("SELECT pg_sleep(0.3)"))
        db.session.rollback()


def test_the_operating_system_too_gives_a_vanished_server_up_within_ten_seconds(tmp_path: Path) -> None:
    """money.md A6: rule 15 names tcp_user_timeout, keepalives and the connect timeout."""
    config = config_for("postgresql+psycopg://u:p@db.example/portal", "redis://127.0.0.1:1", tmp_path)
    asked: dict[str, Any] = _engine_options(config)["connect_args"]
    assert {name: asked[name] for name in asked if name != "options"} == {
        "connect_timeout": 3,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "tcp_user_timeout": 9_000,
    }
