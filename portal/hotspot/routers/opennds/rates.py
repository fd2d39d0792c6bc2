"""RouterOS' words for speed as openNDS takes them: kilobits a second, each way; 0 for no limit."""

import re

_RATE = re.compile(r"(\d+(?:\.\d+)?)([kKMG]?)")
_KBIT = {"": 0.001, "k": 1, "K": 1, "M": 1_000, "G": 1_000_000}


def kbit(rate: str) -> tuple[int, int]:
    """(upload, download) in kbit/s of `2M/5M`, whatever burst follows, or of `5M` for both ways."""
    up, _, down = rate.strip().split(" ", 1)[0].partition("/") if rate.strip() else ("", "", "")
    return _one(up), _one(down or up)


def _one(text: str) -> int:
    found = _RATE.fullmatch(text)
    return max(1, round(float(found[1]) * _KBIT[found[2]])) if found and float(found[1]) else 0
