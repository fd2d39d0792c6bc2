"""What this process was given at its start and cannot be a plain argument: the ports to what is outside it.

Decided: rooms are handed values (an address, a list, a key) by the views, jobs and commands that call them.
A port (Redis, the connections to Daraja, the spool, the settings for a job that nobody calls with arguments) would be
an argument of every function on the way and mean nothing to most of them. It is set up once, by `create_app`, belongs
to the application whose context is open like `db.session` does, and is taken here by two kinds of modules only: the
one that owns the port, and those whose jobs and commands are called by name. An import contract names them.
This is the one module under the views that knows Flask.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from flask import Flask, current_app

from portal.kernel.config import Config

Port = TypeVar("Port")


def settings() -> Config:
    """The settings, for a job or command. Views and jobs hand on the values that a room needs."""
    found: Config = current_app.config["PORTAL"]
    return found


def at_hand(name: str, kind: type[Port]) -> Port:
    """The port that `create_app` set up under this name."""
    found = current_app.extensions[name]
    if not isinstance(found, kind):
        raise TypeError(f"{name} is a {type(found).__name__}, no {kind.__name__}.")
    return found


def surroundings() -> Callable[[], AbstractContextManager[object]]:
    """What a thread of ours opens to have the same ports, and a database session of its own."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app.app_context
