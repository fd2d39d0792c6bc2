"""Whose turn it is with a device's time: who gives, ends or moves it does so alone, until the commit.

Decided: PostgreSQL's advisory locks by the device's name, not a row's lock: a voucher or a gift comes to a device of
which no purchase ever told, and there is nothing else of the device that every one of them would meet. SQLite has one
writer; there is nothing to lock. Turns are taken in the order of their names, so that two wait for each other never.
"""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.engine import Connection

from portal.kernel.db import db

_TAKE = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest(CAST(:names AS text[]))"
    " WITH ORDINALITY AS given(name, at) ORDER BY at"
)
_TAKE_FREE = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS given(name)"
    " WHERE pg_try_advisory_xact_lock(hashtextextended(name, 0))"
)


def names(tenant_id: int, *, mac: str = "", browser_hash: str = "", owner_hash: str = "") -> list[str]:
    """What this device's turns are called: by its MAC address, and by the browser on it; or by whom a gift is for."""
    given = {"browser": browser_hash, "gift": owner_hash, "mac": mac}
    return [f"hotspot/{tenant_id}/{kind}/{value}" for kind, value in given.items() if value]


def take(wanted: Iterable[str]) -> None:
    """Take these turns, waiting for whoever has one of them. The caller commits, which gives them back."""
    ordered = sorted(set(wanted))
    if ordered and db.engine.dialect.name == "postgresql":
        db.session.execute(_TAKE, {"names": ordered})


def take_free(connection: Connection, wanted: Iterable[str]) -> set[str]:
    """Take those of these turns that nobody has, and wait for none. The caller commits, which gives them back."""
    ordered = sorted(set(wanted))
    if not ordered or connection.dialect.name != "postgresql":
        return set(ordered)
    return set(connection.scalars(_TAKE_FREE, {"names": ordered}))
