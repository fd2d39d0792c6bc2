"""Callbacks, kept before they are acknowledged: in the database, or on this machine's disk while that is away.

`keep` is the hot path: one indexed look-up (remembered for half a minute), one durable insert, no ORM. A spooled
line is as good as a row: appended, flushed to disk, and taken in by `take_in_spool` of the same machine. Only when
both fail is the sender told so.
"""

import base64
import fcntl
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path

from sqlalchemy import bindparam, func, or_, select, text
from sqlalchemy.exc import DataError, SQLAlchemyError

from portal import clock, personal, vault
from portal.db import Instant, core_transaction, db, hurry, upsert_nothing
from portal.errors import PortalError
from portal.gateways.models import Gateway
from portal.logs import logger
from portal.payments.models import InboxItem

BODY_LIMIT_BYTES = 64 * 1024
REMEMBERED_S = 30.0


class CannotKeep(PortalError):
    """Neither the database nor the disk took it: the sender must try again."""


@dataclass(frozen=True)
class Door:
    """The gateway behind a hook token: all that intake needs to know of it."""

    gateway_id: int
    tenant_id: int
    is_production: bool


@dataclass(frozen=True)
class Envelope:
    """A callback as it came. body_base64: the exact bytes. The spool keeps it sealed."""

    kind: str
    gateway_token: str
    push_token: str | None
    body_base64: str
    remote_address: str
    is_foreign: bool
    received_at: str

    @property
    def body(self) -> bytes:
        return base64.b64decode(self.body_base64)


# The hot path's one statement, written out: to build it anew for each callback would cost more than to run it.
_INSERT = text(
    "INSERT INTO inbox (kind, dedupe, tenant_id, gateway_id, push_token, body_sealed, remote_address, is_foreign, "
    "received_at, next_at, state, attempts, outcome) VALUES (:kind, :dedupe, :tenant_id, :gateway_id, :push_token, "
    ":body_sealed, :remote_address, :is_foreign, :received_at, :next_at, 'new', 0, '') ON CONFLICT (dedupe) DO NOTHING"
).bindparams(bindparam("received_at", type_=Instant()), bindparam("next_at", type_=Instant()))

_doors: dict[str, tuple[float, Door | None]] = {}


def door_of(gateway_token: str) -> Door | None:
    """The gateway that this token opens, or None. Remembered for half a minute."""
    known = _doors.get(gateway_token)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    row = db.session.execute(
        select(Gateway.id, Gateway.tenant_id, Gateway.environment).where(
            or_(Gateway.hook_token == gateway_token, Gateway.previous_hook_token == gateway_token)
        )
    ).one_or_none()
    found = Door(row[0], row[1], row[2] == "production") if row else None
    if found is not None:  # strangers' guesses are not worth remembering
        _doors[gateway_token] = (time.monotonic() + REMEMBERED_S, found)
    return found


def forget_doors() -> None:
    """Look every token up again: after a rotation, and between tests."""
    _doors.clear()


def envelope(
    kind: str,
    *,
    gateway_token: str,
    push_token: str | None,
    body: bytes,
    remote_address: str,
    is_foreign: bool,
) -> Envelope:
    """Wrap a callback's bytes with all that is known of it."""
    return Envelope(
        kind,
        gateway_token,
        push_token,
        base64.b64encode(body).decode(),
        remote_address[:45],
        is_foreign,
        clock.now().isoformat(),
    )


def insert(letter: Envelope, door: Door) -> bool:
    """Insert and commit; False where the very same callback is kept already. Raises SQLAlchemyError."""
    content = letter.body.decode("utf-8", "replace")
    digest = hashlib.sha256(
        f"{letter.kind}\0{door.gateway_id}\0{letter.push_token or ''}\0{content}".encode()
    ).hexdigest()
    now = clock.now()
    row = {
        "kind": letter.kind,
        "dedupe": digest,
        "tenant_id": door.tenant_id,
        "gateway_id": door.gateway_id,
        "push_token": letter.push_token,
        "body_sealed": vault.seal(content, context=f"personal/{door.tenant_id}"),
        "remote_address": letter.remote_address,
        "is_foreign": letter.is_foreign,
        "received_at": now,
        "next_at": now,
    }
    with hurry(), core_transaction() as connection:
        return connection.execute(_INSERT, row).rowcount == 1


def set_aside(
    gateway: Gateway,
    kind: str,
    body: str,
    *,
    told_by: str,
    key: str,
    outcome: str,
    push_token: str | None = None,
    remote_address: str = "",
) -> None:
    """Keep `body` as a callback that waits for staff or for M-Pesa's word, once for each `key` of a gateway.

    told_by: who brought it (`pull`, `claim`).
    """
    db.session.execute(
        upsert_nothing(
            InboxItem,
            unique=["dedupe"],
            kind=kind,
            dedupe=hashlib.sha256(f"{told_by}\0{gateway.id}\0{key}".encode()).hexdigest(),
            tenant_id=gateway.tenant_id,
            gateway_id=gateway.id,
            push_token=push_token,
            body_sealed=personal.seal_text(body, gateway.tenant_id),
            remote_address=remote_address[:45],
            is_foreign=False,
            state="waiting",
            outcome=outcome[:300],
            received_at=clock.now(),
            next_at=clock.now(),
            attempts=0,
        )
    )


class Spool:
    """This machine's file of callbacks that the database could not take. Lines are sealed; the size is capped."""

    def __init__(self, directory: Path, *, limit_bytes: int) -> None:
        self._file = directory / "spool" / "callbacks.jsonl"
        self._limit_bytes = limit_bytes

    def append(self, letter: Envelope) -> None:
        """Keep one callback, flushed to disk. Raises CannotKeep."""
        line = vault.seal(json.dumps(asdict(letter)), context="spool").encode() + b"\n"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._locked() as handle:
                if handle.seek(0, os.SEEK_END) + len(line) > self._limit_bytes:
                    raise CannotKeep(f"The spool is full at {self._limit_bytes} bytes.")
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise CannotKeep(f"The spool cannot be written: {error}.") from error

    def depth(self) -> int:
        """Callbacks on disk that the database does not have yet."""
        try:
            return self._file.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def take_in(self) -> int:
        """Bring what is on disk into the database; how many lines. What fails stays. Raises SQLAlchemyError."""
        if not self._file.exists() or self._file.stat().st_size == 0:
            return 0
        with self._locked() as handle:
            handle.seek(0)
            lines = handle.read().splitlines()
            for line in lines:
                letter = Envelope(**json.loads(vault.unseal(line.decode(), context="spool")))
                try:
                    door = door_of(letter.gateway_token)
                except DataError as error:
                    db.session.rollback()
                    self._set_aside(line, error)
                    continue
                if door is None:
                    logger.warning("spooled_callback_refused", why="unknown gateway token")
                    continue
                try:
                    insert(letter, door)
                except DataError as error:  # no database will ever take it: it must not keep the others out
                    db.session.rollback()
                    self._set_aside(line, error)
            handle.truncate(0)
            os.fsync(handle.fileno())
        return len(lines)

    def _set_aside(self, line: bytes, error: DataError) -> None:
        """Keep what cannot be taken in beside the spool, for a person."""
        logger.error("spooled_callback_set_aside", error=type(error.orig).__name__)
        with self._file.with_name("set-aside.jsonl").open("ab") as handle:
            handle.write(line + b"\n")
            handle.flush()
            os.fsync(handle.fileno())

    def _locked(self) -> BufferedRandom:
        handle = self._file.open("a+b")
        fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
        return handle


def keep(letter: Envelope, spool: Spool) -> bool:
    """Keep a callback durably; False where its token opens nothing of ours. Raises CannotKeep.

    True means that it may be acknowledged.
    """
    try:
        with hurry():
            door = door_of(letter.gateway_token)
        if door is None:
            return False
        insert(letter, door)
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.error("inbox_away", error=type(error).__name__)
        spool.append(letter)
    return True


def replay(item_id: int) -> None:
    """Put a callback back to the start, whatever became of it. The caller commits, then rings DRAIN.

    Whoever asks for this has looked at it: that it came from an unlisted address counts no more.
    """
    item = db.session.get_one(InboxItem, item_id)
    item.is_foreign = False
    item.state, item.attempts, item.next_at = "new", 0, clock.now()


def depth() -> int:
    """Callbacks in the database that nobody has settled yet."""
    return db.session.scalar(select(func.count()).where(InboxItem.state == "new")) or 0
