"""What the product is compared with: bare Flask views that do the one thing the database must do anyway.

One durable Core insert of the body, and one indexed Core select that answers 204: no token, no dedupe, no
sealing, no bell, no headers. Same server, same database, same pool and the same pragmas as the product.
"""

import os

from flask import Flask, Response, request
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, event, select
from sqlalchemy.engine import Connection, Engine

TABLE = Table("bench_rows", MetaData(), Column("id", Integer, primary_key=True), Column("body", Text))


def create_app() -> Flask:
    """The baseline as a WSGI application, on `DATABASE_URL`."""
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
