"""A router that speaks RouterOS' API on a port of its own, with what a real one does wrong: for adapters' tests.

The wire is the real one (length-prefixed words, sentences ended by an empty word); its menus are lists of rows.
"""

import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Row = dict[str, str]


class StubRouter:
    """faults: what it does wrong. hang: answers nothing; close: hangs up after the sign-on; trap, fatal: refuses every
    change; nonsense: answers bytes that are no sentence; trickle: a byte now and then; liar: says yes, does nothing;
    keeps_sessions: says yes to ending a session, and does not."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.fault = ""
        self.menus: dict[str, list[Row]] = {
            "/ip/hotspot/user": [], "/ip/hotspot/user/profile": [{".id": "*0", "name": "default", "shared-users": "1"}],
            "/ip/hotspot/active": [], "/ip/hotspot/cookie": [], "/ip/hotspot/host": [],
            "/ip/hotspot": [{".id": "*1", "name": "hs1", "profile": "mlango"}],
            "/ip/hotspot/profile": [{".id": "*1", "name": "mlango", "use-radius": "no"}],
            "/ip/hotspot/walled-garden": [
                {".id": "*1", "dst-host": "pay.mlango.test", "action": "allow", "comment": "mlango: portal"}
            ],
            "/ip/hotspot/walled-garden/ip": [],
            "/system/resource": [{".id": "*1", "version": "7.15.3 (stable)"}],
            "/system/clock": [],
            "/ppp/secret": [], "/ppp/active": [], "/ppp/profile": [{".id": "*0", "name": "default"}],
        }  # fmt: skip
        self.said: list[str] = []  # commands, as they came
        self.connections = 0
        self._ids = itertools.count(16)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._open: list[socket.socket] = []
        self._stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def users(self) -> dict[str, Row]:
        return {row["name"]: row for row in self.menus["/ip/hotspot/user"]}

    def joins(self, mac: str, ip: str) -> None:
        self.menus["/ip/hotspot/host"].append({".id": self._new_id(), "mac-address": mac, "address": ip})

    def online(self) -> list[str]:
        return [row["user"] for row in self.menus["/ip/hotspot/active"]]

    def _new_id(self) -> str:
        return f"*{next(self._ids):X}"

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                plain, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        wire = plain
        try:
            wire = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            self._open.append(wire)
            while sentence := _read(wire):
                self.said.append(sentence[0])
                if not self._answer(wire, sentence[0], sentence[1:]):
                    return
        except (OSError, EOFError, ssl.SSLError):
            return
        finally:
            wire.close()

    def _broken(self, wire: socket.socket) -> bool:
        """Whether it answers nothing that could be read."""
        if self.fault == "hang":
            self._stopped.wait(30)
        elif self.fault == "nonsense":
            wire.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif self.fault == "trickle":
            while not self._stopped.wait(0.05):
                wire.sendall(b"\x03!re\x05=a=bc\x00")
        return self.fault in ("hang", "nonsense", "trickle")

    def _answer(self, wire: socket.socket, command: str, words: list[str]) -> bool:
        if self._broken(wire):
            return False
        given = dict(word[1:].split("=", 1) for word in words if word.startswith("=") and word.count("=") > 1)
        if command == "/login":
            if given.get("password") != "router-secret":
                return self._say(wire, ["!trap", "=message=invalid user name or password (6)"], ["!done"])
            return self._say(wire, ["!done"])
        if self.fault == "close":
            return False
        menu, verb = command.rsplit("/", 1)
        if verb == "print":
            return self._print(wire, menu, words)
        if self.fault == "trap":
            return self._say(wire, ["!trap", "=message=failure: not enough permissions (9)"], ["!done"])
        if self.fault == "fatal":
            self._say(wire, ["!fatal", "session terminated on request"])
            return False
        if self.fault == "liar" or (self.fault == "keeps_sessions" and command == "/ip/hotspot/active/remove"):
            return self._say(wire, ["!done", "=ret=*FF"] if verb == "add" else ["!done"])
        return self._change(wire, menu, verb, given)

    def _print(self, wire: socket.socket, menu: str, words: list[str]) -> bool:
        asked = [word[2:].split("=", 1) for word in words if word.startswith("?=")]
        rows = [row for row in self.menus[menu] if not asked or any(row.get(name) == value for name, value in asked)]
        return self._say(
            wire, *(["!re", *(f"={name}={value}" for name, value in row.items())] for row in rows), ["!done"]
        )

    def _change(self, wire: socket.socket, menu: str, verb: str, given: Row) -> bool:
        rows = self.menus[menu]
        if verb == "add":
            if any(row.get("name") == given.get("name") for row in rows):
                return self._say(
                    wire, ["!trap", "=message=failure: already have user with this name for this server"], ["!done"]
                )
            rows.append({".id": self._new_id()} | given)
            return self._say(wire, ["!done", f"=ret={rows[-1]['.id']}"])
        if verb == "login":
            self.menus["/ip/hotspot/active"].append(
                {".id": self._new_id(), "user": given["user"], "mac-address": given["mac-address"],
                 "address": given["ip"], "uptime": "0s", "bytes-in": "0", "bytes-out": "0"}
            )  # fmt: skip
            return self._say(wire, ["!done"])
        found = [row for row in rows if row[".id"] == given[".id"]]
        if not found:
            return self._say(wire, ["!trap", "=message=no such item"], ["!done"])
        if verb == "set":
            found[0].update(given)
        else:
            rows.remove(found[0])
        return self._say(wire, ["!done"])

    def _say(self, wire: socket.socket, *sentences: list[str]) -> bool:
        wire.sendall(b"".join(b"".join(_word(word) for word in sentence) + b"\0" for sentence in sentences))
        return True


def _word(word: str) -> bytes:
    raw = word.encode()
    if len(raw) < 0x80:
        return bytes([len(raw)]) + raw
    assert len(raw) < 0x4000
    return (len(raw) | 0x8000).to_bytes(2, "big") + raw


def _exactly(wire: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        piece = wire.recv(count - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


def _read(wire: socket.socket) -> list[str]:
    words: list[str] = []
    while True:
        first = _exactly(wire, 1)[0]
        length = first if first < 0x80 else ((first & 0x3F) << 8) + _exactly(wire, 1)[0]
        if not length:
            return words
        words.append(_exactly(wire, length).decode())


@contextmanager
def router(**more: Any) -> Iterator[StubRouter]:
    made = StubRouter(**more)
    try:
        yield made
    finally:
        made.stop()
