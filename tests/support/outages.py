"""A database that is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from portal.kernel.db import db
from portal.payments.inbox import inbox
from tests.support.product import Product


@contextmanager
def database_away(product: Product, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every new look into the database fails, as when its server is gone."""
    inbox.forget_doors()
    with product.app.app_context():
        engine = db.engine
        db.session.remove()

    def refuse(*_given: Any, **_named: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("the server is away"))

    with monkeypatch.context() as patch:
        patch.setattr(engine, "connect", refuse)
        patch.setattr(engine, "begin", refuse)
        patch.setattr(engine.pool, "connect", refuse)
        yield
    inbox.forget_doors()
