"""How values are written for Daraja, and how its answers are read, whatever they turn out to be."""

import base64
import json
import re
import unicodedata
from decimal import Decimal
from typing import Any

from portal.gateways.daraja.errors import Rejected

DEFAULT_TOKEN_S = 3599
Answer = dict[str, Any]


def stk_password(shortcode: str, passkey: str, timestamp: str) -> str:
    """Daraja's Password: base64 of the three, one after the other."""
    return base64.b64encode(f"{shortcode}{passkey}{timestamp}".encode()).decode("ascii")


def clean(text: str, limit: int) -> str:
    """`text` as it is sent: letters, digits, spaces, hyphens, at most `limit`; `Payment` if nothing is left.

    Other characters have made prompts fail without a word. Accents are dropped from their letters.
    """
    plain = unicodedata.normalize("NFKD", text)
    kept = " ".join(re.sub(r"[^A-Za-z0-9 -]", "", re.sub(r"\s", " ", plain)).split())
    return kept[:limit].strip() or "Payment"


def redact(text: str) -> str:
    """`text` without tokens, phone numbers and checkout ids, which end in the payer's number."""
    text = re.sub(r"(?i)(invalid access token\s*-\s*)\S+", r"\1[hidden]", text)
    text = re.sub(r"ws_CO_\w+", "ws_CO_[hidden]", text)
    text = re.sub(r"(?<![A-Za-z0-9])[A-Za-z0-9+/=]{28,}(?![A-Za-z0-9])", "[hidden]", text)
    return re.sub(r"(?<!\d)(?:\+?254|0)?([17])\d{5}(\d{3})(?!\d)", r"0\1…\2", text)


def whole_shillings(amount_shillings: int, path: str) -> int:
    if type(amount_shillings) is not int or amount_shillings < 1:
        raise Rejected(
            f"The amount {amount_shillings!r} is not whole shillings of at least 1.",
            field="Amount",
            path=path,
        )
    return amount_shillings


def as_number(digits: str) -> int | str:
    return int(digits) if digits.isascii() and digits.isdecimal() else digits


def read_json(raw: bytes) -> Answer | None:
    try:
        body = json.loads(raw, parse_float=Decimal, parse_constant=lambda name: None)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return body if isinstance(body, dict) else None


def word_of(body: Answer | None, name: str) -> str:
    value = (body or {}).get(name)
    return str(value).strip() if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else ""


def error_code_of(body: Answer | None) -> str:
    return word_of(body, "errorCode")[:32]


def error_message_of(body: Answer | None) -> str:
    """What M-Pesa or the gateway before it says: errorMessage, an Apigee fault, or a SOAP fault in JSON."""
    if body is None:
        return ""
    if message := word_of(body, "errorMessage"):
        return message
    envelope = body.get("Envelope")
    inner = envelope.get("Body") if isinstance(envelope, dict) else None
    for fault in (body.get("fault"), inner.get("Fault") if isinstance(inner, dict) else None):
        if isinstance(fault, dict):
            return f"{word_of(fault, 'faultstring')} {json.dumps(fault.get('detail'), default=str)}"
    return ""


def is_zero(code: object) -> bool:
    return re.fullmatch(r"0+", str(code).strip()) is not None


def seconds_of(expires_in: object) -> int:
    try:
        return int(str(expires_in))
    except ValueError:
        return DEFAULT_TOKEN_S
