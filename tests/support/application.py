"""The product as a WSGI application under test.

To make one costs 60 ms of CPU, to compile its pages and statements for the first time half a second, so each is made
once and used by one test after another: `opened()` points it at a test's own database, Redis and directory, and
`closed()` takes it back. What a test may have changed in it, its settings and what it carries, is new each time.
Decided on the same engine for all databases of a kind because an engine keeps its compiled statements; it learns
at each connection where to connect.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES
from sqlalchemy import event, make_url
from sqlalchemy.engine import Engine
from werkzeug.serving import make_server

from portal.app import create_app
from portal.gateways.client_factory import Connections
from portal.gateways.tokens import TokenStore
from portal.kernel import db as database
from portal.kernel import vault
from portal.kernel.config import Config
from portal.kernel.db import db
from portal.payments.inbox.spool import Spool
from portal.web.limits import limiter, storage_url

KEYS = "test:" + "5a" * 32


def config_for(database_url: str, redis_url: str, data_dir: Path, **changes: Any) -> Config:
    """Settings of a product under test."""
    given: dict[str, Any] = {
        "development": True,
        "secret_key": "s" * 40,
        "data_keys": KEYS,
        "database_url": database_url.replace("postgresql://", "postgresql+psycopg://", 1),
        "redis_url": redis_url,
        "public_url": "http://127.0.0.1:1",
        "data_dir": data_dir,
    }
    return Config(**(given | changes))


# --- applications that are used again


class _CompiledPages(BytecodeCache):
    """Each page is compiled once in this process, whichever application shows it."""

    pages: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.pages:
            bucket.bytecode_from_string(self.pages[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.pages[bucket.key] = bucket.bytecode_to_string()


@dataclass
class _Made:
    """An application, with what it was made with."""

    app: Flask
    target: list[str]  # the one URL where its engine connects
    settings: dict[str, Any]
    carried: dict[str, Any]


_idle: dict[Config, list[_Made]] = defaultdict(list)
_used: dict[int, tuple[Config, _Made]] = {}


def opened(config: Config) -> Flask:
    """A product with these settings, over a database that is prepared, as if it had been made this moment."""
    kind = replace(
        config,
        database_url=make_url(config.database_url).get_backend_name(),
        redis_url="",
        data_dir=Path(),
        public_url=config.public_url.partition(":")[0],
    )
    made = _idle[kind].pop() if _idle[kind] else _make(config)
    _used[id(made.app)] = kind, made
    _point(made, config)
    return made.app


def closed(app: Flask) -> None:
    """Give back what `opened()` gave; its connections are closed."""
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    app.extensions["redis"].close()
    kind, made = _used.pop(id(app))
    _idle[kind].append(made)


def _make(config: Config) -> _Made:
    target, real = [config.database_url], database.prepare

    def prepare(engine: Engine) -> None:
        _follow(engine, target)  # first: who connects is asked in this order
        real(engine)
        _write_for_today(engine)

    with patch("portal.app.database.prepare", prepare):
        app = create_app(config)
    app.jinja_env.bytecode_cache = _CompiledPages()
    app.extensions["redis"].close()
    return _Made(app, target, dict(app.config), dict(app.extensions))


def _follow(engine: Engine, target: list[str]) -> None:
    """Have this engine connect where `target` says."""

    @event.listens_for(engine, "do_connect")
    def on_do_connect(dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> None:
        arguments[:], changed = dialect.create_connect_args(make_url(target[0]))
        named.update(changed)


def _write_for_today(engine: Engine) -> None:
    """No test's SQLite file need outlive a power cut."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous=OFF")


def _point(made: _Made, config: Config) -> None:
    """Its database, Redis, directory and address are these, and nothing is left of what a test changed."""
    app, made.target[0] = made.app, config.database_url
    config.data_dir.mkdir(parents=True, exist_ok=True)
    client = redis.Redis.from_url(config.redis_url, socket_timeout=5, socket_connect_timeout=2)
    app.config.clear()
    app.config.update(made.settings, PORTAL=config, SQLALCHEMY_DATABASE_URI=config.database_url)
    app.extensions.clear()
    app.extensions.update(
        made.carried,
        redis=client,
        daraja=Connections(TokenStore(client), config.development, lambda _seconds: None),  # retries without pauses
        spool=Spool(config.data_dir, limit_bytes=config.spool_limit_bytes),
        waiters=threading.BoundedSemaphore(max(1, config.web_threads // 2)),
    )
    app.__dict__.pop("test_client_class", None)
    vault.use(vault.KeyRing(config.data_keys))
    # Flask-Limiter can be told another storage by making the application anew, or like this.
    limiter._storage = storage_from_string(storage_url(config.redis_url))  # type: ignore[assignment]
    limiter._limiter = STRATEGIES[limiter._strategy or "moving-window"](limiter._storage)  # type: ignore[arg-type]


# --- applications that are reached over a socket


@dataclass
class Serving:
    """A WSGI application on a loopback port."""

    url: str
    server: Any
    thread: threading.Thread
    app: Any

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def _whole(app: Any) -> Any:
    """The application, its answers read and closed before they are sent.

    A browser that has gone makes werkzeug's server forget to close what it was sending.
    """

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        body = app(environ, start_response)
        try:
            return list(body)
        finally:
            if hasattr(body, "close"):
                body.close()

    return answer


def serve(app: Any) -> Serving:
    """Serve an application with threads, until `stop()`."""
    server = make_server("127.0.0.1", 0, _whole(app), threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    return Serving(f"http://127.0.0.1:{server.server_port}", server, thread, app)
