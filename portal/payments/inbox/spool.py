"""Callbacks on this machine's disk, while the database cannot take them. Lines are sealed; the size is capped.

    spool/callbacks.jsonl            is written to
    spool/full-<when>-<lines>.jsonl  waits to be taken in, and is never written to again
    spool/set-aside.jsonl            what nobody can read or no database takes, kept for a person

Invariants: `append` returns once its line is on the disk, and the directory that names the file is too. A writer waits
for other writers' one write, never for the database: taking in holds their lock only while it closes the file. A torn
line (a full disk, a power cut) spoils no other: a failed write is cut off again, and what still ends in the middle of a
line is ended before the next. A line stays until `take` returned for it; taken twice it is one callback, by the inbox.

Decided: many small files instead of one that is cut from the front, so that an intake that stops half-way writes
little again, and the number of lines stands in the names: who asks for the depth reads one small file.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from portal.kernel import vault
from portal.kernel.errors import PortalError
from portal.kernel.logs import logger

FULL_BYTES = 1024 * 1024
TURN_S = 2.0  # how long one intake may take: the scheduler has more to do
CONTEXT = "spool"


class CannotKeep(PortalError):
    """The disk did not take it: the sender must try again."""


class Unacceptable(PortalError):
    """No database will ever take this callback: it must not keep the others out."""


@dataclass(frozen=True)
class Envelope:
    """A callback as it came. body_base64: the exact bytes. received_at: ISO 8601 with its zone."""

    kind: str
    gateway_token: str
    body_base64: str
    remote_address: str
    received_at: str
    push_token: str | None = None
    request_token: str | None = None


_FIELDS = {field.name for field in fields(Envelope)}


class Spool:
    """This machine's spool, below `directory`. Any number of threads and processes may share it."""

    def __init__(self, directory: Path, *, limit_bytes: int) -> None:
        self._directory = directory / "spool"
        self._file = self._directory / "callbacks.jsonl"
        self._aside = self._directory / "set-aside.jsonl"
        self._limit_bytes = limit_bytes

    def append(self, callback: Envelope) -> None:
        """Keep one callback, flushed to disk. Raises CannotKeep."""
        line = vault.seal(json.dumps(asdict(callback)), context=CONTEXT).encode()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with self._locked("writing"):
                if self._size_bytes() + len(line) > self._limit_bytes:
                    raise CannotKeep(f"The spool is full at {self._limit_bytes} bytes.")
                if _append(self._file, line) > FULL_BYTES:
                    self._close_file()
        except OSError as error:
            raise CannotKeep(f"The spool cannot be written: {error}.") from error

    def depth(self) -> int:
        """Callbacks on disk that the database does not have yet. Reads one small file."""
        waiting = sum(int(file.stem.rpartition("-")[2]) for file in self._full_files())
        with suppress(FileNotFoundError):
            waiting += self._file.read_bytes().count(b"\n")
        return waiting

    def set_aside_bytes(self) -> int:
        """Size of what was set aside for a person."""
        try:
            return self._aside.stat().st_size
        except FileNotFoundError:
            return 0

    def take_in(self, take: Callable[[Envelope], None], *, for_s: float = TURN_S) -> int:
        """Hand every callback to `take`, oldest first, for so long; how many lines. Zero where another is at it.

        What cannot be read, and what `take` calls Unacceptable, is set aside. Whatever else `take` raises ends the
        intake and rises; that line and all after it stay.
        """
        if not self._directory.exists():
            return 0
        taken, until = 0, time.monotonic() + for_s
        with self._locked("intake", is_patient=False) as is_mine:
            if not is_mine:
                return 0
            with self._locked("writing"):
                self._close_file()
            for file in self._full_files():
                lines, done = _lines(file), 0
                try:
                    for line in lines:
                        if time.monotonic() > until:
                            break
                        self._take(line, take)
                        done += 1
                finally:
                    taken += done
                    self._keep_rest(file, lines, done)
                if done < len(lines):
                    break
        return taken

    def retry(self) -> None:
        """Put back what was set aside, as after a key was added again: the next intake looks at it once more."""
        if self._aside.exists():
            with self._locked("intake"):
                self._aside.rename(self._full_name(len(_lines(self._aside))))
                _flush(self._directory)

    def reseal(self) -> int:
        """Seal every line anew under the newest key; how many. What no key opens stays as it is."""
        if not self._directory.exists():
            return 0
        done = 0
        with self._locked("intake"):
            with self._locked("writing"):
                self._close_file()
            for file in [*self._full_files(), *filter(Path.exists, [self._aside])]:
                lines = _lines(file)
                resealed = [_resealed(line) for line in lines]
                if resealed != lines:
                    _write(file, resealed)
                    done += sum(new != old for new, old in zip(resealed, lines, strict=True))
        return done

    def _take(self, line: bytes, take: Callable[[Envelope], None]) -> None:
        try:
            given = json.loads(vault.unseal(line.decode(), context=CONTEXT))
            callback = Envelope(**{name: value for name, value in given.items() if name in _FIELDS})
        except (vault.CannotOpen, ValueError, TypeError, AttributeError) as error:
            self._set_aside(line, error)
            return
        try:
            take(callback)
        except Unacceptable as error:
            self._set_aside(line, error)

    def _set_aside(self, line: bytes, error: Exception) -> None:
        logger.error("spooled_callback_set_aside", error=type(error).__name__, why=str(error)[:200])
        _append(self._aside, line)

    def _keep_rest(self, file: Path, lines: list[bytes], done: int) -> None:
        """What was taken in leaves the file; on a full disk it may stay, and is then taken in twice."""
        rest = lines[done:]
        if lines and not done:
            return
        try:
            if rest:
                _write(file.with_name(f"{file.stem.rpartition('-')[0]}-{len(rest)}.jsonl"), rest)
            file.unlink()
            _flush(self._directory)
        except OSError as error:
            logger.error("spool_not_shortened", error=repr(error))

    def _close_file(self) -> None:
        """Let the next line begin a new file. The caller holds the writers' lock."""
        if self._file.exists() and (count := len(_lines(self._file))):
            self._file.rename(self._full_name(count))
            _flush(self._directory)

    def _full_name(self, lines: int) -> Path:
        return self._directory / f"full-{time.time_ns():020d}-{lines}.jsonl"

    def _full_files(self) -> list[Path]:
        return sorted(self._directory.glob("full-*.jsonl"))

    def _size_bytes(self) -> int:
        sizes = 0
        for file in [self._file, *self._full_files()]:
            with suppress(FileNotFoundError):
                sizes += file.stat().st_size
        return sizes

    @contextmanager
    def _locked(self, name: str, *, is_patient: bool = True) -> Iterator[bool]:
        """Hold one of the spool's two locks; False where another holds it and we are not patient."""
        handle = os.open(self._directory / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
            is_mine = True
        except BlockingIOError:
            is_mine = False
        try:
            yield is_mine
        finally:
            os.close(handle)


def _lines(file: Path) -> list[bytes]:
    return [line for line in file.read_bytes().split(b"\n") if line]


def _append(file: Path, line: bytes) -> int:
    """Add one line, flushed, or nothing at all; the file's size. Raises OSError."""
    is_new = not file.exists()
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        is_torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        try:
            _write_all(handle, (b"\n" if is_torn else b"") + line + b"\n")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
        if is_new:
            _flush(file.parent)
            _flush(file.parent.parent)  # the spool's directory may be new as well
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def _write(file: Path, lines: list[bytes]) -> None:
    """The file with these lines, in place of what it had: all of them or none."""
    draft = file.with_suffix(".draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(handle, b"".join(line + b"\n" for line in lines))
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.rename(file)
    _flush(file.parent)


def _write_all(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _flush(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _resealed(line: bytes) -> bytes:
    try:
        text: Any = line.decode()
        if vault.is_current(text):
            return line
        return vault.seal(vault.unseal(text, context=CONTEXT), context=CONTEXT).encode()
    except (vault.CannotOpen, ValueError) as error:
        logger.error("spooled_callback_not_resealed", error=type(error).__name__)
        return line
