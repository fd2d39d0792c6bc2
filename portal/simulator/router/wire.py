"""RouterOS' API on the wire: words with a length before them, sentences that end with an empty word."""

from collections.abc import Iterable
from typing import Protocol

LONGEST_WORD = 1 << 20
MOST_WORDS = 2_000


class Broken(Exception):
    """What came is no sentence, or nothing came any more."""


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


def length_bytes(length: int) -> bytes:
    """A length as RouterOS writes it: 1 to 5 bytes, the first bits of the first say how many."""
    for most, size, prefix in ((0x80, 1, 0), (0x4000, 2, 0x80), (0x20_0000, 3, 0xC0), (0x1000_0000, 4, 0xE0)):
        if length < most:
            return (length | prefix << 8 * (size - 1)).to_bytes(size, "big")
    return b"\xf0" + length.to_bytes(4, "big")


def sentence_bytes(words: Iterable[str]) -> bytes:
    """A whole sentence, its end included."""
    written = bytearray()
    for word in words:
        raw = word.encode("utf-8", "surrogateescape")
        written += length_bytes(len(raw)) + raw
    return bytes(written + b"\0")


def read_sentence(stream: Readable) -> list[str]:
    """The words of the next sentence. Raises Broken at the end of the stream and for what is none."""
    words: list[str] = []
    while (length := _read_length(stream)) > 0:
        if length > LONGEST_WORD or len(words) >= MOST_WORDS:
            raise Broken("longer than any sentence")
        words.append(_exactly(stream, length).decode("utf-8", "surrogateescape"))
    return words


def _read_length(stream: Readable) -> int:
    first = _exactly(stream, 1)[0]
    for mask, prefix, more in ((0x80, 0, 0), (0xC0, 0x80, 1), (0xE0, 0xC0, 2), (0xF0, 0xE0, 3)):
        if first & mask == prefix:
            return int.from_bytes(bytes([first & ~mask & 0xFF]) + _exactly(stream, more), "big")
    if first == 0xF0:
        return int.from_bytes(_exactly(stream, 4), "big")
    raise Broken("a control byte that nobody uses")


def _exactly(stream: Readable, size: int) -> bytes:
    raw = b""
    while len(raw) < size:
        part = stream.read(size - len(raw))
        if not part:
            raise Broken("the stream has ended")
        raw += part
    return raw
