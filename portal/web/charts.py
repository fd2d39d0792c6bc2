"""Charts as numbers that a template draws: columns of one height at most, on a canvas of fixed size."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP = 600, 160, 0.25


@dataclass(frozen=True)
class Column:
    """One column. shown: its value in words. x, y, width, height: on the canvas."""

    label: str
    shown: str
    x: float
    y: float
    width: float
    height: float
    has_label: bool


@dataclass(frozen=True)
class Chart:
    """Columns, and what the highest of them says."""

    columns: tuple[Column, ...]
    highest: str
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_empty(self) -> bool:
        return not self.highest


def columns(points: Sequence[tuple[str, int, str]], *, most_labels: int = 6) -> Chart:
    """A chart of (label, value, value in words); values are not negative."""
    most = max((value for _label, value, _shown in points), default=0)
    step = WIDTH / max(1, len(points))
    every = max(1, -(-len(points) // most_labels))
    drawn = tuple(
        Column(
            label, shown, round(n * step + step * GAP / 2, 1),
            round(HEIGHT - (HEIGHT * value / most if most else 0), 1), round(step * (1 - GAP), 1),
            round(HEIGHT * value / most if most else 0, 1), n % every == 0,
        )
        for n, (label, value, shown) in enumerate(points)
    )  # fmt: skip
    highest = next((shown for _label, value, shown in points if most and value == most), "")
    return Chart(drawn, highest)
