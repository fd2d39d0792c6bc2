"""What the product is compared with: bare Flask views that do the one thing the database must do anyway.

One durable Core insert of the body, one indexed Core select that answers 204, and one small page that lists what is on
sale by two selects: no token, no dedupe, no
sealing, no job, no headers. Same server, same database, same pool and the same pragmas as the product.

Decided: served by Granian's RSGI, the body read on the event loop and the view run in one of as many threads, because
that is how the product is served since WSGI let four idle connections stop it. Under WSGI the baseline would be quicker
by what no product that must stay up can have, and the ratio would compare two interfaces of Granian instead of what we
add to an insert. What the product's front adds of its own (deadlines, limits, answers of any length) is not given to
the baseline: that is ours to pay for.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask, Response, request
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, event, select
from sqlalchemy.engine import Connection, Engine

from portal.processes.web_server import environ_of

# The least that a page which sells packages could be: a name, what is on sale, a number, a button.
SHOP = """<!doctype html><html lang="en"><head><title>{{ tenant.name }}</title></head><body><h1>{{ tenant.name }}</h1>
<form method="post"><input type="hidden" name="mac" value="{{ mac }}">
{% for one in on_sale %}<label><input type="radio" name="package" value="{{ one.uid }}">{{ one.name }}
{{ one.rate }} KES {{ one.price_cents // 100 }}</label>{% endfor %}
<input type="tel" name="phone"><button>Pay with M-Pesa</button></form></body></html>"""
TABLE = Table("bench_rows", MetaData(), Column("id", Integer, primary_key=True), Column("body", Text))


class Bare:
    """The plainest way from RSGI to a view in a thread."""

    def __init__(self, app: Flask, *, threads: int) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(threads)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        environ = environ_of(scope, bytes(await protocol()))
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, environ)
        protocol.response_bytes(*answer)

    def _answer(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        with self._app.request_context(environ):
            response = self._app.full_dispatch_request()
            return response.status_code, list(response.headers), response.get_data()


def create() -> Bare:
    """The baseline, as Granian serves it."""
    return Bare(create_app(), threads=int(os.environ["WEB_THREADS"]))


def create_app() -> Flask:
    """The bare views, on `DATABASE_URL`."""
    url = os.environ["DATABASE_URL"]
    engine = create_engine(url, pool_size=int(os.environ["WEB_THREADS"]) + 1, max_overflow=8)
    if url.startswith("sqlite"):
        _make_durable(engine)
    app = Flask("baseline")
    # reflected, so that this side knows nothing of the product's models
    payments = Table("payments", MetaData(), autoload_with=engine)
    asked = select(payments.c.id, payments.c.version)

    @app.get("/")
    def alive() -> str:
        return "alive"

    @app.post("/insert/<path:_anything>")
    def insert(_anything: str) -> Response:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            connection.execute(TABLE.insert().values(body=request.get_data(as_text=True)))
        return Response('{"ResultCode": 0, "ResultDesc": "Accepted"}', mimetype="application/json")

    @app.get("/poll/<token>")
    def poll(token: str) -> tuple[str, int]:
        with engine.connect() as connection:
            row = connection.execute(asked.where(payments.c.token == token)).one()
        return ("", 204) if str(row.version) == request.args["v"].partition("-")[0] else ("changed", 200)

    tenants = Table("tenants", MetaData(), autoload_with=engine)
    packages = Table("packages", MetaData(), autoload_with=engine)
    shop = app.jinja_env.from_string(SHOP)

    @app.get("/shop/<slug>/")
    def page(slug: str) -> str:
        with engine.connect() as connection:
            tenant = connection.execute(select(tenants).where(tenants.c.slug == slug)).one()
            on_sale = connection.execute(select(packages).where(packages.c.tenant_id == tenant.id)).all()
        return shop.render(tenant=tenant, on_sale=on_sale, mac=request.args["mac"])

    return app


def _make_durable(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection, _record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
