"""The database: its schema and its copies."""

from pathlib import Path

import click

from portal.cli.running import in_app


@click.group("db")
def database() -> None:
    """The database."""


@database.command("upgrade")
@in_app
def db_upgrade() -> None:
    """Bring the schema up to date."""
    from portal.kernel.schema import upgrade_database

    upgrade_database()
    click.echo("The schema is up to date.")


@database.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@in_app
def db_backup(file: Path) -> None:
    """Copy the SQLite database into a file while everything runs; an older copy there is replaced."""
    from portal.kernel.schema import back_up

    back_up(file)
    click.echo(f"The database is copied to {file}.")


COMMANDS = (database,)
