"""A way to PostgreSQL that can go silent: nothing is refused or closed, nothing arrives, as on a network that drops."""

import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url


class SilenceableWay:
    """A socket in front of a PostgreSQL's own. `url` goes through it; `silent` stops every byte, both ways."""

    def __init__(self, url: str) -> None:
        straight = make_url(url.replace("postgresql://", "postgresql+psycopg://", 1))
        directory = tempfile.mkdtemp(prefix="mlango-way-")
        self._target = str(Path(str(straight.query["host"])) / f".s.PGSQL.{straight.port or 5432}")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(Path(directory) / f".s.PGSQL.{straight.port or 5432}"))
        self._listening.listen(50)
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = [self._listening]
        self.url = straight.set(query={"host": directory}).render_as_string(hide_password=False)
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        self._open.clear()

    def speak(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        for one in self._sockets:
            with suppress(OSError):
                one.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _address = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._sockets += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65_536):
                self._open.wait()
                sink.sendall(chunk)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
