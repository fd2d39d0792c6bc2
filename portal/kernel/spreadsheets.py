"""Tables for spreadsheets: CSV written line by line, however long, with no cell that a spreadsheet would run."""

import csv
import io
from collections.abc import Iterable, Iterator

_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also as wide characters


def harmless(value: object) -> str:
    """A cell that no spreadsheet takes for a formula; a number stays one, below nothing too."""
    if isinstance(value, int | float):
        return str(value)
    text = "" if value is None else str(value)
    return "'" + text if text.lstrip(" ").startswith(_RUN) else text


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The lines of a CSV file, headings first; each is made when it is asked for."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(map(harmless, row))
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    if out.tell():
        yield out.getvalue()
