"""RouterOS' API on a port of its own: a thread a connection, plain or with TLS, login as since 6.43."""

import contextlib
import hmac
import io
import logging
import socket
import ssl
import threading
import time
from pathlib import Path

from portal.simulator.router import console
from portal.simulator.router.hotspot import Hotspot
from portal.simulator.router.machine import Trap
from portal.simulator.router.wire import Broken, read_sentence, sentence_bytes

IDLE_S = 600
LONGEST_HANG_S = 300
WRONG_LOGIN = "invalid user name or password (6)"
logger = logging.getLogger(__name__)


class ApiServer:
    """Listens from the moment it is made until `stop()`. `port` is the one that it got."""

    def __init__(
        self, hotspot: Hotspot, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._hotspot, self._tls = hotspot, tls
        self._socket = socket.create_server((host, port), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name=f"router-api-{self.port}", daemon=True)
        hotspot.when_rebooted.append(self.drop_all)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop_all()
        self._thread.join(timeout=5)

    def drop_all(self) -> None:
        """What a reboot or a cut cable does to those that are connected."""
        with self._lock:
            connections = list(self._connections)
        for one in connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="router-api", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(IDLE_S)
            if self._hotspot.machine.strikes("unreachable"):
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with self._lock:
                self._connections.add(connection)
            with connection.makefile("rwb") as stream:
                _Conversation(self._hotspot, stream, self._stopping).run()
        except (OSError, Broken):
            pass  # the other side is gone, or was no client of this API
        except Exception:
            logger.exception("The simulated router's API failed.")
        finally:
            with self._lock:
                self._connections.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()


class _Conversation:
    """One client's commands, in turn."""

    def __init__(self, hotspot: Hotspot, stream: io.BufferedRWPair, stopping: threading.Event) -> None:
        self._hotspot, self._stream, self._stopping = hotspot, stream, stopping
        self._is_known = False

    def run(self) -> None:
        while not self._stopping.is_set():
            words = read_sentence(self._stream)
            if not words:
                continue
            tag = [word for word in words if word.startswith(".tag=")]
            words = [word for word in words if not word.startswith(".tag=")]
            goes_on = self._answer(words, tag)
            self._stream.flush()
            if not goes_on:
                return

    def _answer(self, words: list[str], tag: list[str]) -> bool:
        """Whether the conversation goes on."""
        machine = self._hotspot.machine
        if hang := machine.strikes("hang"):
            self._wait(float(hang["seconds"] or 30))
        if machine.strikes("wrongAnswers"):
            self._stream.write(b"\xffHTTP/1.1 502 Bad Gateway\r\n\r\n")
            return False
        if words[0] == "/quit":
            self._say("!fatal", "session terminated on request", tag=tag)
            return False
        if words[0] == "/login":
            return self._log_in(words, tag)
        if not self._is_known:
            self._say("!fatal", "not logged in", tag=tag)
            return False
        return self._do(console.Command.of(words), tag)

    def _do(self, command: console.Command, tag: list[str]) -> bool:
        machine = self._hotspot.machine
        try:
            if machine.strikes("trap"):
                raise Trap("failure: std failure: timeout (13)")
            answer = console.run(self._hotspot, command)
        except Trap as problem:
            self._say("!trap", f"=message={problem}", tag=tag)
            self._say("!done", tag=tag)
            return True
        if command.is_change and machine.strikes("dropAfter"):
            return False
        for row in answer.rows:
            self._say("!re", *(f"={name}={value}" for name, value in row.items()), tag=tag)
        self._say("!done", *([f"=ret={answer.ret}"] if answer.ret else []), tag=tag)
        return True

    def _log_in(self, words: list[str], tag: list[str]) -> bool:
        given = console.Command.of(words).attributes
        user = self._hotspot.machine.entry("/user", name=given.get("name", ""))
        is_right = user is not None and hmac.compare_digest(
            user.get("password", "").encode(), given.get("password", "").encode()
        )
        if is_right and user is not None and user.get("disabled") != "true":
            self._is_known = True
            self._say("!done", tag=tag)
        else:
            self._say("!trap", f"=message={WRONG_LOGIN}", tag=tag)
            self._say("!done", tag=tag)
        return True

    def _say(self, *words: str, tag: list[str]) -> None:
        self._stream.write(sentence_bytes([words[0], *tag, *words[1:]]))

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + min(LONGEST_HANG_S, seconds)
        while time.monotonic() < until and not self._stopping.wait(0.1):
            pass


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For `api-ssl`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
