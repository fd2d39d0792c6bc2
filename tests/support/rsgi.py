"""Requests as Granian hands them to our front, without a network."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from portal.processes.web_server import Door, Front


@dataclass
class Sender:
    """A request as Granian hands it over, and what it is answered."""

    body: list[bytes] = field(default_factory=list)
    never_ends: bool = False
    said: list[Any] = field(default_factory=list)

    async def __call__(self) -> bytes:
        if self.never_ends:
            await asyncio.Event().wait()
        return b"".join(self.body)

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        for piece in self.body:
            yield piece
        if self.never_ends:
            await asyncio.Event().wait()

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.said += [status, headers, b""]

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.said += [status, headers, body]

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> "Sender":
        self.said += [status, headers, b""]
        return self

    async def send_bytes(self, piece: bytes) -> None:
        self.said[2] += piece


class Headers(dict[str, str]):
    """Granian's: names in lower case, each as often as it came."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        super().__init__(pairs)
        self._pairs = list(pairs)

    def items(self) -> Any:
        return self._pairs


def scope(*headers: tuple[str, str], method: str = "POST", path: str = "/x", query: str = "") -> Any:
    return SimpleNamespace(
        proto="http", http_version="1.1", server="127.0.0.1:8000", client="10.9.8.7:51000", scheme="http",
        method=method, path=path, query_string=query, authority=None, headers=Headers(*headers),
    )  # fmt: skip


def served(application: Any, *senders: tuple[Any, Sender], threads: int = 1, door: Door | None = None) -> Front:
    """The front that these requests went through, all at once, to their ends."""
    made = Front(application, threads=threads, door=door)

    async def all_of_them() -> None:
        await asyncio.gather(*(made.__rsgi__(its_scope, sender) for its_scope, sender in senders))

    with ThreadPoolExecutor(1) as apart:  # the browser's tests keep a loop of their own in this thread
        apart.submit(asyncio.run, all_of_them()).result()
    return made
