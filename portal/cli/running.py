"""How a command runs: in the application, on the data that the settings name, and with a sentence where it fails."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from portal.kernel.errors import Misconfigured, PortalError


def in_app(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command in the application; what it refuses becomes a sentence and exit code 1."""

    @wraps(command)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        from portal.app import create_app

        try:
            _use_demonstration()
            use_redis_of_serve()
            with create_app().app_context():
                return command(*arguments, **named)
        except Misconfigured as error:
            fail(*map(str, error.problems))
        except PortalError as error:
            fail(str(error))

    return wrapped


def _use_demonstration() -> None:
    """Where nothing is configured, a command works on the demonstration's data beside it, and says so."""
    from portal.demo.run import settings_of

    if found := settings_of(os.environ):
        os.environ.update(found)
        click.echo(f"Nothing is configured: this is the demonstration in {found['PORTAL_DATA']}.", err=True)


def use_redis_of_serve() -> None:
    """A command beside `portal serve` finds the Redis that this one brings, where the settings name none."""
    from portal.processes.embedded_redis import REDIS_FOLDER, redis_url

    folder = Path(os.environ.get("PORTAL_DATA", "var")) / REDIS_FOLDER
    if not os.environ.get("REDIS_URL") and folder.is_dir():
        os.environ["REDIS_URL"] = redis_url(folder)


def fail(*sentences: str) -> None:
    """Say why, and end with exit code 1."""
    for sentence in sentences:
        click.echo(sentence, err=True)
    raise SystemExit(1)
