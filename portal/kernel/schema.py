"""Bringing the database's schema up to date."""

from flask_migrate import upgrade
from sqlalchemy import inspect

from portal.kernel.db import db, migrating
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
