"""Tables of figures: printed, and kept in `results.md`; a run replaces the sections that it measured."""

import importlib.metadata
import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results.md"
PACKAGES = ("flask", "sqlalchemy", "psycopg", "granian", "rq", "redis")
HEAD = """# Measurements

Written by `make bench`. Ratios compare with a baseline of the same run; figures a second and times belong to
the machine named under each heading and vary by half between runs, the more the busier it was.
"""


@dataclass
class Section:
    """One measurement's table. columns, rows: text as shown; notes: sentences below; closing: printed last of all."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closing: str = ""

    def as_markdown(self) -> str:
        """The table with padded columns, readable as text."""
        lines = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        padded = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        text = "\n".join([padded[0], rule, *padded[1:]])
        return text + "".join(f"\n\n{note}" for note in self.notes)


def machine() -> str:
    """Date, cores, memory and versions, in one line; nothing that names this machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {pages / 2**30:.0f} GiB, "
        f"load {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, {versions}."
    )


def keep(sections: Sequence[Section], *, remark: str) -> None:
    """Write the sections into `results.md`, in place of older ones of the same title."""
    kept = _sections_of(RESULTS.read_text() if RESULTS.exists() else "")
    for section in sections:
        kept[section.title] = f"{machine()}{remark}\n\n{section.as_markdown()}\n"
    RESULTS.write_text(HEAD + "".join(f"\n## {title}\n\n{text}" for title, text in kept.items()))


def _sections_of(text: str) -> dict[str, str]:
    found = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found[title.strip()] = body.strip() + "\n"
    return found


def spread(values: Sequence[float], *, digits: int = 0) -> str:
    """`median (least to most)`."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]
