"""The rows of an uploaded file as text, whatever kind of file it is; or a sentence saying what it is instead.

The kind is told by the first bytes, never by the name. Nothing that a file holds makes this fail otherwise than by
`StatementError`, whose sentences name the file, the row and column where there is one, and what would be right.

Decided: spreadsheets are opened by a program of its own (`sheets.py`) with bounds on memory and time, instead of in
this process: a file of 10 KB may name a cell in the last row and column, and the reader makes room for every cell
before it. The zip directory is looked at first, so that the usual bomb is refused by name.
"""

import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from portal.kernel.errors import Refused, Sentence
from portal.reconciliation import sheets

MOST_BYTES, MOST_UNPACKED_BYTES, MOST_RATIO = 20 * 1024**2, 200 * 1024**2, 200
HEAD_ROWS = 30
_OLE2, _ZIP = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\x03\x04"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_LEAST_RATIO_BYTES = 5 * 1024**2  # a small file may be as compressible as it likes
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
_SHEET_TIMEOUT_S = 90


class StatementError(Refused):
    """The file is no statement that can be taken. `problems`: a sentence for each thing that is wrong with it."""

    code = "invalid_statement"

    def __init__(self, *problems: Sentence) -> None:
        super().__init__(problems[0])
        self.problems = list(problems)


def read_rows(content: bytes, *, name: str) -> Iterator[list[str]]:
    """Each row's cells, blank rows as empty lists, so that counting them from 1 finds them in the file.

    Raises StatementError, some of it only while rows are read.
    """
    if len(content) > MOST_BYTES:
        raise StatementError(Sentence("%(file)s is over 20 MB. Export a shorter period, such as one month.", file=name))
    if not content.strip():
        raise StatementError(Sentence("%(file)s is empty. Export the statement again.", file=name))
    if content.startswith(_ZIP):
        _check_zip(content, name)
        return _sheet_rows(content, name)
    if content.startswith(_OLE2):
        if _ENCRYPTED in content:
            raise _locked(name)
        return _sheet_rows(content, name)
    return _csv_rows(_decoded(content, name), name)


def _locked(name: str) -> StatementError:
    return StatementError(
        Sentence(
            "%(file)s is locked with a password. Open it, save it without a password, and choose it again.",
            file=name,
        )
    )


def _too_large(name: str) -> StatementError:
    return StatementError(
        Sentence(
            "%(file)s unpacks to far more than a statement holds. Export a shorter period, or choose CSV.",
            file=name,
        )
    )


def _damaged(name: str) -> StatementError:
    return StatementError(
        Sentence("%(file)s cannot be read: it is damaged or incomplete. Export it again, or choose CSV.", file=name)
    )


def _check_zip(content: bytes, name: str) -> None:
    """Judge an archive by its directory, before anything in it is opened."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, OverflowError):
        raise _damaged(name) from None
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(1, min(len(content), sum(entry.compress_size for entry in entries)))
    if unpacked > MOST_UNPACKED_BYTES or (unpacked > _LEAST_RATIO_BYTES and unpacked / packed > MOST_RATIO):
        raise _too_large(name)
    if any(entry.flag_bits & 1 for entry in entries):
        raise _locked(name)
    if not any(entry.filename.startswith("xl/") for entry in entries):
        raise StatementError(
            Sentence(
                "%(file)s is an archive or a document, no spreadsheet. Choose the statement as CSV or Excel.",
                file=name,
            )
        )


def _sheet_rows(content: bytes, name: str) -> Iterator[list[str]]:
    command = [sys.executable, "-I", str(Path(sheets.__file__))]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, its arguments are fixed
            command, input=content, capture_output=True, timeout=_SHEET_TIMEOUT_S, env={}, check=False
        )
    except subprocess.TimeoutExpired:
        raise _too_large(name) from None
    if done.returncode == sheets.PASSWORD:
        raise _locked(name)
    if done.returncode == sheets.DAMAGED:
        raise _damaged(name)
    if done.returncode != 0:
        raise _too_large(name)
    return _csv_rows(done.stdout.decode("utf-8", "replace"), name, delimiter=",")


def _decoded(content: bytes, name: str) -> str:
    """The text of a CSV file. Raises StatementError for what is no text."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        start = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith(b"%pdf"):
            raise StatementError(Sentence("%(file)s is a PDF. Choose the same statement as CSV or Excel.", file=name))
        if content.startswith(_IMAGES):
            raise StatementError(Sentence("%(file)s is a picture. Choose the statement as CSV or Excel.", file=name))
        if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<table")):
            raise StatementError(Sentence("%(file)s is a web page. Open it in Excel and save it as CSV.", file=name))
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeError:
            continue
        if not any(letter < " " and letter not in "\t\r\n\x0c" for letter in text[:100_000]) and "\0" not in text:
            return text
    raise StatementError(
        Sentence("%(file)s is neither text nor a spreadsheet. Choose the statement as CSV or Excel.", file=name)
    )


def _csv_rows(text: str, name: str, *, delimiter: str = "") -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(text))
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise StatementError(
                Sentence(
                    "%(file)s, row %(row)s: a cell is too long, or a quotation mark is not closed. Export it again.",
                    file=name,
                    row=number,
                )
            ) from None
        yield [cell.strip() for cell in cells] if any(cells) else []


def _delimiter(text: str) -> str:
    """What separates cells in the line of headings; a comma where there is none."""
    for line in text[:100_000].splitlines()[:HEAD_ROWS]:
        if "receipt" in line.lower():
            return max(",;\t", key=line.count)
    return ","
