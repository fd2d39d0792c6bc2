"""FreeRADIUS: its configuration, and the server itself."""

from pathlib import Path

import click

from portal.cli.running import in_app


@click.group()
def radius() -> None:
    """FreeRADIUS, for routers that ask who may go online."""


@radius.command("config")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--port", default=1812, show_default=True, help="Of authentication; accounting is the next one.")
@click.option("--listen", multiple=True, default=("127.0.0.1",), show_default=True, help="Address to listen on.")
@click.option(
    "--from", "networks", multiple=True, default=("127.0.0.0/8",), show_default=True, help="Network of the routers."
)
@in_app
def write_config(directory: Path, port: int, listen: tuple[str, ...], networks: tuple[str, ...]) -> None:
    """Write FreeRADIUS' configuration for the database in use into DIRECTORY.

    Which routers may ask, and their secrets, are read from the database when they do: a site that is added or changed
    needs no new configuration, and acts within 15 seconds.
    """
    from flask import current_app

    from portal.hotspot.radius import server
    from portal.hotspot.radius.config import Settings

    portal = current_app.config["PORTAL"]
    settings = Settings(portal.database_url, port=port, listen=listen, networks=networks)
    directory = directory.absolute()
    for sentence in server.configure(settings, directory, secret_key=portal.secret_key):
        click.echo(sentence, err=True)
    click.echo(f"The configuration is in {directory}. Start it with: freeradius -f -l stdout -d {directory} -n radiusd")


@radius.command("run")
@click.option("--port", default=1812, show_default=True, help="Of authentication; accounting is the next one.")
@in_app
def run_server(port: int) -> None:
    """Run FreeRADIUS on loopback, in the foreground, until SIGTERM."""
    from flask import current_app

    from portal.hotspot.radius import server
    from portal.hotspot.radius.config import Settings
    from portal.kernel.db import db

    portal = current_app.config["PORTAL"]
    settings = Settings(portal.database_url, port=port)
    directory = portal.data_dir.absolute() / f"radius-{port}"
    argv = server.arguments(directory)
    for sentence in server.configure(settings, directory, secret_key=portal.secret_key):
        click.echo(sentence, err=True)
    who = server.owner(portal.data_dir, directory)
    db.engine.dispose()
    click.echo(f"FreeRADIUS listens on 127.0.0.1, ports {port} and {port + 1}.", err=True)
    server.become(argv, who)


COMMANDS = (radius,)
