"""Bringing the database's schema up to date."""

from flask_migrate import upgrade

from portal.db import migrating
from portal.web import ROOT


def upgrade_database() -> None:
    """Run every migration that this database lacks. Inside an application context."""
    with migrating():
        upgrade(directory=str(ROOT / "migrations"))
