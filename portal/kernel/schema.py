"""The database as a whole: its schema brought up to date, and a copy of it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from flask_migrate import upgrade
from sqlalchemy import inspect

from portal.kernel.db import db, migrating
from portal.kernel.errors import Refused
from portal.kernel.paths import ROOT


def upgrade_database() -> None:
    """Run every migration that this database lacks. Inside an application context."""
    with migrating():
        upgrade(directory=str(ROOT / "migrations"))


def lacking() -> list[str]:
    """What this database has not, as `table` or `table.column`: another version of the product made it."""
    found = inspect(db.engine)
    there = {table: {one["name"] for one in found.get_columns(table)} for table in found.get_table_names()}
    wanted = db.metadata.tables.values()
    return sorted(
        [table.name for table in wanted if table.name not in there]
        + [str(one) for table in wanted if table.name in there for one in table.c if one.name not in there[table.name]]
    )


def back_up(file: Path) -> None:
    """Copy an SQLite database as it is at one moment, while others write to it. Raises Refused for PostgreSQL.

    The file appears whole, in place of an older one: a copy that is interrupted leaves the older one alone.
    """
    if db.engine.dialect.name != "sqlite":
        raise Refused("PostgreSQL is copied by pg_dump, or by archiving its write-ahead log.")
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{db.engine.url.database}?mode=ro", uri=True)) as source:
        with closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy)
    unfinished.replace(file)
