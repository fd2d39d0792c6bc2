"""The simulator's memory: one SQLite file, one connection, one lock, and a clock that can be moved."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from portal.kernel import clock

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS organisations (
  id INTEGER PRIMARY KEY, shortcode TEXT NOT NULL UNIQUE, store_number TEXT NOT NULL, till TEXT NOT NULL,
  kind TEXT NOT NULL, name TEXT NOT NULL, consumer_key TEXT NOT NULL, consumer_secret TEXT NOT NULL,
  passkey TEXT NOT NULL, initiator_name TEXT NOT NULL, initiator_password TEXT NOT NULL,
  external_validation INTEGER NOT NULL DEFAULT 1, initiator_failures INTEGER NOT NULL DEFAULT 0,
  utility_cents INTEGER NOT NULL, working_cents INTEGER NOT NULL, charges_cents INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS tokens (
  token TEXT PRIMARY KEY, consumer_key TEXT NOT NULL, issued_at REAL NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS customers (
  msisdn TEXT PRIMARY KEY, name TEXT NOT NULL, balance_cents INTEGER NOT NULL, instruction TEXT);
CREATE TABLE IF NOT EXISTS pushes (
  id INTEGER PRIMARY KEY, merchant_request_id TEXT NOT NULL, checkout_request_id TEXT NOT NULL UNIQUE,
  organisation_id INTEGER NOT NULL, receiver_id INTEGER NOT NULL, msisdn TEXT NOT NULL,
  amount_cents INTEGER NOT NULL, reference TEXT NOT NULL, description TEXT NOT NULL, callback_url TEXT NOT
  NULL,
  created_at REAL NOT NULL, expires_at REAL NOT NULL, state TEXT NOT NULL, behaviour TEXT NOT NULL,
  result_code TEXT, result_desc TEXT, receipt TEXT, settled_at REAL);
CREATE INDEX IF NOT EXISTS pushes_by_phone ON pushes (msisdn, state);
CREATE TABLE IF NOT EXISTS transactions (
  id INTEGER PRIMARY KEY, receipt TEXT NOT NULL, role TEXT NOT NULL, kind TEXT NOT NULL, channel TEXT NOT
    NULL,
  organisation_id INTEGER NOT NULL, account TEXT NOT NULL, msisdn TEXT NOT NULL, party TEXT NOT NULL,
  reference TEXT NOT NULL, amount_cents INTEGER NOT NULL, balance_cents INTEGER NOT NULL, at REAL NOT NULL,
  conversation_id TEXT NOT NULL DEFAULT '', originator_conversation_id TEXT NOT NULL DEFAULT '',
  linked_receipt TEXT NOT NULL DEFAULT '', UNIQUE (receipt, role));
CREATE INDEX IF NOT EXISTS transactions_by_phone ON transactions (msisdn, at);
CREATE INDEX IF NOT EXISTS transactions_by_organisation ON transactions (organisation_id, at);
CREATE INDEX IF NOT EXISTS transactions_linked ON transactions (linked_receipt);
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, msisdn TEXT NOT NULL, at REAL NOT NULL, text
TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS messages_by_phone ON messages (msisdn, id);
CREATE TABLE IF NOT EXISTS mails (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL,
  text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS c2b_urls (
  organisation_id INTEGER PRIMARY KEY, shortcode TEXT NOT NULL, version INTEGER NOT NULL, response_type TEXT
  NOT NULL,
  confirmation_url TEXT NOT NULL, validation_url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, organisation_id INTEGER NOT NULL, conversation_id TEXT NOT NULL
    UNIQUE,
  originator_conversation_id TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL, result_code TEXT, receipt
  TEXT);
CREATE INDEX IF NOT EXISTS requests_by_originator ON requests (originator_conversation_id);
CREATE TABLE IF NOT EXISTS pull_registrations (shortcode TEXT PRIMARY KEY, callback_url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY, due_at REAL NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL, state TEXT NOT
    NULL);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (state, due_at);
CREATE TABLE IF NOT EXISTS faults (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, shortcode TEXT NOT NULL, endpoint TEXT NOT NULL, times INTEGER,
  value REAL, UNIQUE (name, shortcode, endpoint));
CREATE TABLE IF NOT EXISTS log (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, direction TEXT NOT NULL, door TEXT NOT NULL, method TEXT NOT NULL,
  address TEXT NOT NULL, status TEXT NOT NULL, body TEXT NOT NULL, answer TEXT NOT NULL, msisdn TEXT NOT NULL,
  elapsed_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS log_by_phone ON log (msisdn, id);
CREATE TABLE IF NOT EXISTS router_items (
  id INTEGER PRIMARY KEY, router TEXT NOT NULL, menu TEXT NOT NULL, fields TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS router_items_by_menu ON router_items (router, menu, id);
CREATE TABLE IF NOT EXISTS router_devices (
  id INTEGER PRIMARY KEY, router TEXT NOT NULL, mac TEXT NOT NULL, ip TEXT NOT NULL, msisdn TEXT NOT NULL,
  joined_at REAL NOT NULL, wanted_url TEXT NOT NULL DEFAULT '', chap_id INTEGER, chap_challenge TEXT,
  challenged_at REAL, left_at REAL, UNIQUE (router, mac));
CREATE TABLE IF NOT EXISTS router_sessions (
  id INTEGER PRIMARY KEY, router TEXT NOT NULL, session_id TEXT NOT NULL, username TEXT NOT NULL,
  mac TEXT NOT NULL, ip TEXT NOT NULL, login_by TEXT NOT NULL, is_radius INTEGER NOT NULL, started_at REAL NOT NULL,
  bytes_in INTEGER NOT NULL DEFAULT 0, bytes_out INTEGER NOT NULL DEFAULT 0, rate TEXT NOT NULL DEFAULT '',
  timeout_s REAL, most_bytes INTEGER, interim_s REAL, interim_at REAL, class TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS router_sessions_of_device ON router_sessions (router, mac);
CREATE TABLE IF NOT EXISTS router_faults (
  router TEXT NOT NULL, name TEXT NOT NULL, times INTEGER, seconds REAL, PRIMARY KEY (router, name));
"""


FURTHEST_S = 50 * 366 * 24 * 3600.0  # how far the clock may be moved


class Store:
    """Rows by plain SQL. `transaction()` may be nested; the outermost one commits."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._rings = False
        self.doorbell = threading.Event()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(SCHEMA)
        # A job that was being done when the process ended is done again: twice told is better than never.
        self._connection.execute("UPDATE jobs SET state = 'due' WHERE state = 'running'")
        self._offset_s = float(self.setting("clock_offset_s", 0))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing for the statements inside; other threads wait."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                self._rings = False
                self._offset_s = float(self.setting("clock_offset_s", 0))
                raise
            else:
                self._connection.execute("COMMIT")
            finally:
                self._depth = 0
            if self._rings:
                self._rings = False
                self.doorbell.set()

    def run(self, sql: str, *values: Any) -> int:
        """Number of rows changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, **columns: Any) -> int:
        """The new row's id."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        with self._lock:
            cursor = self._connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - names are ours
                tuple(columns.values()),
            )
            return int(cursor.lastrowid or 0)

    def update(self, table: str, row_id: int, **columns: Any) -> None:
        """Change columns of one row."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE {table} SET {assignments} WHERE id = ?"  # noqa: S608 - names are ours
        self.run(sql, *columns.values(), row_id)

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row, if there is one."""
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def must(self, sql: str, *values: Any) -> sqlite3.Row:
        """The row that is known to exist."""
        row = self.one(sql, *values)
        if row is None:
            raise LookupError(f"no row for: {sql}")
        return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Every row."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def setting(self, name: str, default: Any = None) -> Any:
        """A kept value, or `default`."""
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(row["value"]) if row else default

    def keep(self, name: str, value: Any) -> None:
        """Remember a value across restarts."""
        self.run("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", name, json.dumps(value))

    def now(self) -> datetime:
        """The simulator's present instant, aware UTC."""
        return clock.now() + timedelta(seconds=self._offset_s)

    def timestamp(self) -> float:
        """`now()` as seconds since 1970, the form of every instant in the tables."""
        return self.now().timestamp()

    @property
    def offset_s(self) -> float:
        """Seconds by which this clock is ahead of the machine's."""
        return self._offset_s

    def move_clock(self, seconds: float | None) -> None:
        """Ahead (or back) by `seconds`; None: the machine's time, and what is waiting comes along.

        Raises OverflowError beyond FURTHEST_S: every door reads this clock, and one that has no time answers nobody.
        """
        moved_s = 0.0 if seconds is None else self._offset_s + seconds
        if not abs(moved_s) <= FURTHEST_S:
            raise OverflowError(f"The clock cannot be moved by {seconds} seconds.")
        with self.transaction():
            if seconds is None:
                self.run("UPDATE jobs SET due_at = due_at - ? WHERE state = 'due'", self._offset_s)
                self.run("UPDATE pushes SET expires_at = expires_at - ? WHERE state = 'ringing'", self._offset_s)
                self.run(
                    "UPDATE tokens SET expires_at = expires_at - ?, issued_at = issued_at - ?",
                    *[self._offset_s] * 2,
                )
                self.run(
                    "UPDATE router_sessions SET started_at = started_at - ?, interim_at = interim_at - ?",
                    *[self._offset_s] * 2,
                )
            self._offset_s = moved_s
            self.keep("clock_offset_s", self._offset_s)
            self._rings = True

    def add_job(self, kind: str, payload: dict[str, Any], *, after_s: float = 0) -> None:
        """Work for the callback sender, durable, due `after_s` seconds from now."""
        with self.transaction():
            due_at = self.timestamp() + after_s
            self.insert("jobs", due_at=due_at, kind=kind, payload=json.dumps(payload), state="due")
            self._rings = True

    def claim_due_jobs(self, limit: int = 32) -> list[sqlite3.Row]:
        """Jobs whose time has come, now marked as running."""
        with self.transaction():
            rows = self.all(
                "SELECT * FROM jobs WHERE state = 'due' AND due_at <= ? ORDER BY due_at, id LIMIT ?",
                self.timestamp(),
                limit,
            )
            for row in rows:
                self.run("UPDATE jobs SET state = 'running' WHERE id = ?", row["id"])
            return rows

    def next_due_in_s(self) -> float | None:
        """Seconds until the next job, None if there is none."""
        row = self.one("SELECT min(due_at) AS at FROM jobs WHERE state = 'due'")
        return None if row is None or row["at"] is None else max(0.0, row["at"] - self.timestamp())

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._connection.close()


def instant(seconds: float) -> datetime:
    """Aware UTC of a table's instant."""
    return datetime.fromtimestamp(seconds, UTC)
