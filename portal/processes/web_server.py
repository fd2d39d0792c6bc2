"""The first steps of a request in the web process: it is taken whole, within a deadline, before a thread sees it.

The product's threads are few, because more of them answer slower, and each is somebody's payment. So nobody may hold
one by sending slowly: a body is read on the event loop, where a thousand that wait cost nothing, and only what has
come completely goes to a thread. What is answered is sent from the loop again, however slowly it is read.

Decided: Granian's RSGI and not WSGI, because there a thread waits for the body, four idle connections stopped the
whole process, and nothing above WSGI can take the thread back.
Decided: a body has ten seconds and what its length needs at 8 KB a second: a statement of 20 MB may come over a slow
line, a callback that comes slower than that comes again.
Decided: the deadline moves with what has come, and so does the room that is taken: who announces 20 MB and sends
nothing has ten seconds, and keeps nobody else's statement out.
Decided: Granian's workers are forks, whatever Python's own choice, so that what was imported and made before is in
memory once for all of them; each is tied to its master, because Linux ties a copy to nobody.
Decided: what comes most may have a door of its own (`Door`) before the threads: Safaricom's callbacks, whose views
cost more than it costs to keep them.
Decided: large bodies share 64 MB in each process, so that strangers cannot fill its memory before anybody looks at who
they are; callbacks are small and are never turned away by it.
"""

import asyncio
import io
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from portal.kernel.logs import logger
from portal.processes.fork import tie_to_parent

BACKLOG = 1024
HEADERS_WITHIN_S = 10  # enforced by the server
BODY_WITHIN_S, SLOWEST_BYTES_A_S = 10.0, 8 * 1024
SMALL_BYTES = 64 * 1024  # a callback's
LARGEST_BYTES = 21 * 1024 * 1024  # a statement's, and its form
LARGE_TOGETHER_BYTES = 64 * 1024 * 1024
IN_MEMORY_BYTES, PIECE_BYTES = 4 * 1024 * 1024, 64 * 1024
Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, IO[bytes]]
# Answers a request (its WSGI environment, its whole body) from the event loop, or leaves it to the application: None.
Door = Callable[[dict[str, Any], bytes], Awaitable[tuple[int, Headers, bytes] | None]]


class _Refused(Exception):
    """The request is answered here. status: with what."""

    def __init__(self, status: int) -> None:
        self.status = status


class Front:
    """A WSGI application behind Granian's RSGI. threads: how many requests are worked on at once.

    door: asked first; what it answers, the application never sees.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], *, threads: int, door: Door | None = None) -> None:
        self._app, self._door = app, door
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._large_bytes = 0

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """One request, from its first byte to the last of its answer."""
        if scope.proto != "http":
            return
        try:
            body = await self._taken(scope, protocol)
        except _Refused as refused:
            protocol.response_empty(refused.status, [("connection", "close"), ("retry-after", "5")])
            return
        loop = asyncio.get_running_loop()
        environ = environ_of(scope, body)
        if self._door is not None and (at_once := await self._door(environ, body)) is not None:
            protocol.response_bytes(*at_once)
            return
        try:
            status, headers, content = await loop.run_in_executor(self._threads, self._answer, environ)
        except Exception:
            logger.exception("front_failed")
            protocol.response_empty(500, [])
            return
        await _send(protocol, status, headers, content)

    async def _taken(self, scope: Any, protocol: Any) -> bytes:
        """The whole body. Raises _Refused where it comes too slowly, is too large, or there is no room for it."""
        declared = _declared_length(scope.headers)
        if declared is not None and declared > LARGEST_BYTES:
            return b""  # not read: the application sees its length and says that it is too large
        try:
            async with asyncio.timeout(BODY_WITHIN_S) as deadline:
                if declared is not None and declared <= SMALL_BYTES:
                    return bytes(await protocol())
                return await self._large(protocol, deadline)
        except TimeoutError:
            logger.warning("slow_body", client=_address(scope.client), declared=declared)
            raise _Refused(408) from None

    async def _large(self, protocol: Any, deadline: asyncio.Timeout) -> bytes:
        """A body of many pieces, as fast as they must come. What has come takes its room until all is there."""
        ends_at, body, reserved = deadline.when() or 0.0, bytearray(), 0
        try:
            async for piece in protocol:
                body += piece
                if len(body) > LARGEST_BYTES:
                    raise _Refused(413)
                if len(body) > SMALL_BYTES:
                    if self._large_bytes + len(body) - reserved > LARGE_TOGETHER_BYTES:
                        raise _Refused(503)
                    self._large_bytes += len(body) - reserved
                    reserved = len(body)
                deadline.reschedule(ends_at + len(body) / SLOWEST_BYTES_A_S)
            return bytes(body)
        finally:
            self._large_bytes -= reserved

    def _answer(self, environ: dict[str, Any]) -> Answer:
        """What the application says, complete. Runs in a thread."""
        started: list[Any] = []

        def start_response(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
            started[:] = [int(status.split(" ", 1)[0]), [(name.lower(), value) for name, value in headers]]
            return lambda _data: None

        given = self._app(environ, start_response)
        content = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)
        try:
            for piece in given:
                content.write(piece)
        except BaseException:
            content.close()
            raise
        finally:
            if (close := getattr(given, "close", None)) is not None:
                close()
        content.seek(0)
        return started[0], started[1], content


async def _send(protocol: Any, status: int, headers: Headers, content: IO[bytes]) -> None:
    with content:
        piece = content.read(IN_MEMORY_BYTES)
        if len(piece) < IN_MEMORY_BYTES:
            protocol.response_bytes(status, headers, piece)
            return
        stream = protocol.response_stream(status, headers)
        while piece:
            for start in range(0, len(piece), PIECE_BYTES):
                await stream.send_bytes(piece[start : start + PIECE_BYTES])
            piece = content.read(IN_MEMORY_BYTES)


def _declared_length(headers: Any) -> int | None:
    """Content-Length; None for a body in chunks. Without either there is no body."""
    if "transfer-encoding" in headers:
        return None
    text = headers.get("content-length") or "0"
    return int(text) if text.isdigit() else 0


def _address(client: str) -> str:
    return client.rpartition(":")[0].strip("[]")


def environ_of(scope: Any, body: bytes) -> dict[str, Any]:
    """The request as WSGI tells it (PEP 3333): texts are bytes spelled in Latin-1."""
    server, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": _address(scope.client),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:  # reads like another's name here: X_Forwarded_For as the proxy's X-Forwarded-For
            continue
        key = "HTTP_" + name.upper().replace("-", "_")
        joined = "; " if name == "cookie" else ","
        environ[key] = f"{environ[key]}{joined}{value}" if key in environ else value
    if scope.authority and "HTTP_HOST" not in environ:
        environ["HTTP_HOST"] = scope.authority
    if (kind := environ.pop("HTTP_CONTENT_TYPE", None)) is not None:
        environ["CONTENT_TYPE"] = kind
    declared = environ.pop("HTTP_CONTENT_LENGTH", None)
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None or declared is not None:
        is_unread = not body and declared is not None and declared.isdigit()
        environ["CONTENT_LENGTH"] = declared if is_unread else str(len(body))
    return environ


def serve_front(make: Callable[[], Front], *, host: str, port: int, processes: int) -> None:
    """Serve the product until SIGTERM. make: called in each of the processes."""
    _serve(
        make,
        interface=Interfaces.RSGI,
        address=host,
        port=port,
        workers=processes,
        websockets=False,
        http=HTTPModes.http1,  # an idle connection of HTTP/2 would hold its place for ever
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_S * 1000),
    )


def serve_wsgi(make: Callable[[], Any], *, host: str, port: int, threads: int) -> None:
    """Serve a WSGI application from one process until SIGTERM. make: called in that process."""
    _serve(make, interface=Interfaces.WSGI, address=host, port=port, workers=1, blocking_threads=threads)


def _serve(make: Callable[[], Any], **settings: Any) -> None:
    multiprocessing.set_start_method("fork", force=True)
    master = os.getpid()

    def load() -> Any:
        tie_to_parent(master)
        return make()

    server = Server("", backlog=BACKLOG, log_level=LogLevels.warning, log_access=False, **settings)
    server.serve(target_loader=load, wrap_loader=False)
