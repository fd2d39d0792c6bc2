"""PostgreSQL's own: a connection that does not wait for ever. Loaded only where PostgreSQL is the database."""

from collections.abc import Callable
from typing import Any

import psycopg


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that is given up when its server stays silent for longer than the caller is patient.

    The server's own timeouts end what it works on; they say nothing where the server, or the way to it, is gone.
    patience_ms: asked before each wait; None for patience without end.
    """

    patience_ms: Callable[[], int | None] = staticmethod(lambda: None)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        patience_ms = self.patience_ms()
        if timeout is not None or patience_ms is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, patience_ms / 1000)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # whatever still comes on it would answer another question
            raise psycopg.OperationalError(f"The database server was silent for {patience_ms} ms.") from None
