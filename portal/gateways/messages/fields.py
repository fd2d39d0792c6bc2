"""A body read as JSON, and the values of its fields: nothing here trusts its input."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeGuard

from portal.kernel import clock, money
from portal.kernel.errors import Refused

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 12
Body = bytes | str | Mapping[str, Any]

_CODE = re.compile(r"-?[A-Za-z0-9_.]{1,40}")
_ID = re.compile(r"[\x21-\x7e]{0,128}")
_RECEIPT = re.compile(r"[A-Z0-9]{8,12}")
_WHOLE_NUMBER = re.compile(r"[0-9]{12}")
_INSTANT = re.compile(r"20[0-9]{12}|[0-9]{2}\.[0-9]{2}\.20[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


class Malformed(ValueError):
    """The message is not what M-Pesa sends. `reason`: which part, and what was wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_json(body: Body) -> dict[str, Any]:
    """The JSON object in `body`, numbers with a point as Decimal. Raises Malformed.

    Refused: more than 64 KB, more than 12 levels, NaN, a name twice in one object, anything but an object.
    """
    if isinstance(body, bytes | str):
        if len(body) > MAX_BODY_BYTES or (
            isinstance(body, str) and len(body.encode("utf-8", "replace")) > MAX_BODY_BYTES
        ):
            raise Malformed(f"The body is over {MAX_BODY_BYTES} bytes.")
        return _read_text(body)
    if not isinstance(body, Mapping):
        raise Malformed("The body is not a JSON object.")
    _check_values(body)
    return dict(body)


def _read_text(body: bytes | str) -> dict[str, Any]:
    try:
        text = body if isinstance(body, str) else body.decode(json.detect_encoding(body), "surrogatepass")
        read = _DECODER.decode(text)
    except Malformed:
        raise
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise Malformed("The body is not JSON.") from error
    if type(read) is not dict:
        raise Malformed("The body is not a JSON object.")
    if text.count("{") + text.count("[") >= MAX_DEPTH:  # with fewer it cannot be nested so far, as most are not
        _check_values(read)
    return read


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not a number.")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("A name stands twice in one object.")
    return found


# Built once: `json.loads` would build one for each body.
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twins)


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether it is a JSON object. Nearly all are dicts, which is quicker to see than that it is a Mapping."""
    return type(value) is dict or isinstance(value, Mapping)


def _check_values(value: object, level: int = 1) -> None:
    if isinstance(value, float | Decimal):
        if not Decimal(value).is_finite():
            raise Malformed("A number is infinite or none at all.")
        return
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        if level >= MAX_DEPTH:
            raise Malformed(f"The body is nested over {MAX_DEPTH} levels.")
        if type(child) is not str and type(child) is not int:  # most are
            _check_values(child, level + 1)


def key_of(name: object) -> str:
    """M-Pesa's name for a field without its changes of spelling: `Finalized Time` is `finalisedtime`."""
    bare = re.sub(r"[^a-z0-9]", "", str(name).lower())
    return bare.replace("finalized", "finalised").replace("coversation", "conversation")


def single(value: object) -> object:
    """M-Pesa writes one thing as an object or as an array of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def object_in(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under this name, alone or as an array of one. Raises Malformed."""
    found = single(parent.get(name))
    if not is_object(found):
        raise Malformed(f"{name} is missing or no object.")
    return found


def entries_of(value: object, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a list that may also be a single object, or missing."""
    for entry in value if isinstance(value, list) else ([] if value is None else [value]):
        if not is_object(entry):
            raise Malformed(f"{name} holds something that is no object.")
        yield entry


def text_of(value: object, *, limit: int = 160, strip: bool = True) -> str:
    """Text that any database takes: no control characters, no half characters. Numbers become text."""
    if type(value) is str and len(value) <= limit and value.isprintable():  # as nearly all of it is
        return value.strip() if strip else value
    if type(value) is int and abs(value) < 10**40:
        return str(value)[:limit]
    if value is None or isinstance(value, bool | Mapping | list):
        return ""
    if isinstance(value, Decimal):
        value = f"{value:f}" if value.is_finite() and -30 < value.adjusted() < 30 else ""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else ""
    text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return (text.strip() if strip else text)[:limit]


def id_in(fields: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    """An id in plain text, empty where it is missing and need not be there. Raises Malformed."""
    value = fields.get(name)
    if value is None and not required:
        return ""
    text = (
        value.strip() if isinstance(value, str) else str(value) if type(value) is int and 0 <= value < 10**40 else None
    )
    if text is None or (required and not text) or not _ID.fullmatch(text):
        raise Malformed(f"{name} is missing, too long or no plain text.")
    return text


def code_in(fields: Mapping[str, Any], name: str) -> str:
    """A result code as text, `0` in any spelling as `0`. Raises Malformed."""
    text = text_of(fields.get(name), limit=41)
    if "." in text:
        text = re.sub(r"\.0+$", "", text)
    if not _CODE.fullmatch(text):
        raise Malformed(f"{name} is missing or no code.")
    return "0" if not text.strip("0") else text


def cents_of(value: object, name: str) -> int:
    """An amount in cents. Raises Malformed naming the field."""
    try:
        return money.cents(text_of(value))
    except (Refused, ArithmeticError) as error:
        raise Malformed(f"{name} is no amount of money.") from error


def lenient_cents(text: str) -> int | None:
    """An amount in cents, None for what is none."""
    try:
        return money.cents(text)
    except (Refused, ArithmeticError):
        return None


def receipt_of(value: object, name: str) -> str:
    """A receipt number in capitals. Raises Malformed naming the field."""
    receipt = text_of(value).upper()
    if not _RECEIPT.fullmatch(receipt):
        raise Malformed(f"{name} is not a receipt number.")
    return receipt


def msisdn_of(value: object) -> str | None:
    """A whole phone number with its country, digits alone; else None."""
    text = text_of(value)
    digits = text if text.isalnum() else re.sub(r"[\s+]", "", text)
    return digits if _WHOLE_NUMBER.fullmatch(digits) else None


def instant_of(value: object) -> datetime | None:
    """A time in one of M-Pesa's two forms as UTC, else None."""
    text = text_of(value)
    if _INSTANT.fullmatch(text):
        return clock.parse_daraja_timestamp(text)
    return None
