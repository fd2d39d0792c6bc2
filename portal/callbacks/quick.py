"""The way that most callbacks take: from the event loop into the database, past the views.

A view costs more than it costs to keep a callback, and each thread that waits for a commit is one that serves nobody.
So what is ordinary in every way (a POST to a door of a gateway that is remembered, of a callback's size, under our own
name, from whom it may come) is written by one thread, all that came meanwhile by one transaction, and acknowledged
after its commit in the words and headers of the views. Everything else, and whatever could not be written, goes to the
views as if it had come there first: they look, refuse, ask, spool and log.
"""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from portal.callbacks.routes import ACCEPTED, LONGEST_TOKEN
from portal.kernel import queue
from portal.kernel.config import Config
from portal.kernel.logs import logger
from portal.payments.inbox import inbox, together
from portal.payments.inbox.inbox import BODY_LIMIT_BYTES
from portal.web.security import is_our_name, request_id

Answer = tuple[int, list[tuple[str, str]], bytes]
_TOKEN = rf"[0-9A-Za-z]{{1,{LONGEST_TOKEN}}}"
_DOORS = re.compile(
    rf"/hooks/(?P<gateway>{_TOKEN})/"
    rf"(?:stk/(?P<stk>{_TOKEN})|(?P<c2b>c2b/confirmation)|result/(?P<result>{_TOKEN})|timeout/(?P<timeout>{_TOKEN}))"
)


class QuickDoor:
    """The door of one web process, for its `Front`."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._config: Config = app.config["PORTAL"]
        self._headers: list[tuple[str, str]] = []
        self._waiting: list[tuple[together.Row, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="callbacks")

    async def __call__(self, environ: dict[str, Any], body: bytes) -> Answer | None:
        """The acknowledgement of a callback that is committed; None for what the views are to answer."""
        row = self._row_of(environ, body)
        if row is None or not await self._is_kept(row):
            return None
        enqueuer: queue.Enqueuer = self._app.extensions["drain_enqueuer"]
        enqueuer.enqueue()
        own = ("x-request-id", request_id(environ.get("HTTP_X_REQUEST_ID", "")))
        return 200, [*self._headers_of_views(), own], ACCEPTED

    def _row_of(self, environ: dict[str, Any], body: bytes) -> together.Row | None:
        """What is to be kept; None where anything is not as usual."""
        if environ["REQUEST_METHOD"] != "POST" or environ["QUERY_STRING"]:
            return None
        door = _DOORS.fullmatch(environ["PATH_INFO"])
        is_whole = environ.get("CONTENT_LENGTH") == str(len(body)) and len(body) <= BODY_LIMIT_BYTES
        if door is None or not is_whole or not is_our_name(environ.get("HTTP_HOST", ""), self._config):
            return None
        kind = door.lastgroup or ""
        callback = inbox.envelope(
            kind,
            gateway_token=door["gateway"],
            body=body,
            remote_address=self._caller(environ),
            push_token=door["stk"],
            request_token=door["result"] or door["timeout"],
        )
        return inbox.ordinary_row(callback, self._config.callback_addresses)

    def _caller(self, environ: dict[str, Any]) -> str:
        """The address that the views would see, behind as many proxies as are trusted."""
        seen = environ
        if hops := self._config.trusted_proxies:
            seen = dict(environ)
            ProxyFix(lambda _environ, _start: [], x_for=hops, x_proto=hops)(seen, lambda *_answer: lambda _data: None)
        return str(seen.get("REMOTE_ADDR") or "")

    async def _is_kept(self, row: together.Row) -> bool:
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((row, kept))
        if self._writer is None:
            self._writer = loop.create_task(self._write_while_some_wait())
        return await kept

    async def _write_while_some_wait(self) -> None:
        brought: list[tuple[together.Row, asyncio.Future[bool]]] = []
        try:
            while self._waiting:
                brought, self._waiting = self._waiting, []
                rows = [row for row, _kept in brought]
                became = await asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)
                for (_row, kept), is_kept in zip(brought, became, strict=True):
                    _tell(kept, is_kept)
                if not any(became):  # who waits behind them need not wait for the same database
                    return
        except Exception:
            logger.exception("callbacks_not_written_together")
        finally:
            self._writer = None
            left, self._waiting = [*brought, *self._waiting], []
            for _row, kept in left:
                _tell(kept, False)

    def _write(self, rows: Sequence[together.Row]) -> list[bool]:
        """Which of them are committed. In the thread that writes."""
        with self._app.app_context():
            errors = together.keep_all(rows)
        for error in errors:
            if error is not None and inbox.note_whose_fault(error):
                break
        return [error is None for error in errors]

    def _headers_of_views(self) -> list[tuple[str, str]]:
        """What the views' own acknowledgement carries, but for the id of its request."""
        if not self._headers:
            with self._app.test_request_context("/", method="POST"):
                said = self._app.process_response(Response(ACCEPTED, mimetype="application/json"))
            lower = [(name.lower(), value) for name, value in said.headers]
            self._headers = [one for one in lower if one[0] != "x-request-id"]
        return self._headers


def _tell(kept: "asyncio.Future[bool]", is_kept: bool) -> None:
    if not kept.done():  # nobody hung up meanwhile
        kept.set_result(is_kept)
