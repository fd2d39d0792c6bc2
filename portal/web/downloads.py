"""Files that a browser keeps, sent as they are made."""

from collections.abc import Iterable

from flask import Response, stream_with_context

from portal.kernel.spreadsheets import csv_lines


def csv_file(columns: Iterable[object], rows: Iterable[Iterable[object]], *, name: str) -> Response:
    """A table for a spreadsheet, however long: each row is made when it is sent."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(
        stream_with_context(csv_lines([str(one) for one in columns], rows)), mimetype="text/csv", headers=headers
    )
