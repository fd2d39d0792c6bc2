"""A program of its own: the rows of a spreadsheet on standard input (XLS or XLSX), as CSV on standard output.

Run by path, so it imports nothing of this product and knows none of its secrets. Exit codes: 0 read, PASSWORD,
DAMAGED, TOO_LARGE; a signal where the system's own bounds ended it.
"""

import csv
import io
import resource
import sys
from datetime import date, datetime
from typing import Any

PASSWORD, DAMAGED, TOO_LARGE = 3, 4, 5
MEMORY_BYTES, CPU_S, OUTPUT_BYTES = 1024**3, 60, 128 * 1024**2
SHEETS, HEAD_ROWS, COLUMNS, CELL_CHARACTERS = 8, 30, 40, 400


def main() -> int:
    """Read, write, and say by number how it went."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import python_calamine as calamine

    try:
        book = calamine.load_workbook(io.BytesIO(sys.stdin.buffer.read()))
        sheet = _chosen(book)
        return _write(sheet) if sheet is not None else 0
    except calamine.PasswordError:
        return PASSWORD
    except MemoryError:
        return TOO_LARGE
    except BaseException as error:  # a panic of the reader is no Exception
        return PASSWORD if "password" in str(error).lower() else DAMAGED


def _chosen(book: Any) -> Any:
    """The first sheet with a column of receipts, else the first that holds anything."""
    filled = None
    for index in range(min(len(book.sheet_names), SHEETS)):
        sheet = book.get_sheet_by_index(index)
        head = sheet.to_python(nrows=HEAD_ROWS)
        if any(str(cell).strip().lower().startswith("receipt") for row in head for cell in row):
            return sheet
        filled = filled or (sheet if sheet.total_height else None)
    return filled


def _write(sheet: Any) -> int:
    out = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(out)
    above, left = sheet.start or (0, 0)
    for _empty in range(above):  # rows are counted as a person sees them
        writer.writerow([])
    written = 0
    for row in sheet.iter_rows():
        cells = [""] * min(left, COLUMNS) + [_text(cell) for cell in row[:COLUMNS]]
        written += sum(map(len, cells))
        if written > OUTPUT_BYTES:
            return TOO_LARGE
        writer.writerow(cells)
    out.flush()
    return 0


def _text(cell: object) -> str:
    """What a CSV of the same sheet would hold: accounts without `.0`, cents without the dust of binary fractions."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        rounded = round(cell, 2)
        if abs(rounded - cell) < 1e-6:
            return str(int(rounded)) if rounded == int(rounded) else f"{rounded:.2f}"
        return repr(cell)
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(cell, date):
        return f"{cell.isoformat()} 00:00:00"
    return str(cell)[:CELL_CHARACTERS].replace("\0", "")


if __name__ == "__main__":
    sys.exit(main())
