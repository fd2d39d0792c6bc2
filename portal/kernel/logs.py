"""Logs as JSON lines, each with the request or payment it belongs to; phones and secrets never reach them.

`bind(payment=...)` follows a payment through web, worker and callbacks. Masking happens in the last processor,
over every string, so that no caller can forget it: phone numbers keep their last four digits, and values of
fields that name secrets are dropped. Source: promises A3 and O4.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars as bind
from structlog.contextvars import clear_contextvars as clear

__all__ = ["bind", "clear", "configure", "logger", "mask_text"]

_GAP = r"[ \u00a0().-]{0,2}"  # people write 0712 345 678 and +254-712-345-678
_PHONES = re.compile(
    r"(?<![0-9A-Za-z])(?<!\d\.)(?!\d{1,3}(?:\.\d{1,3}){3}(?!\d))"  # not inside a word, no address of a machine
    rf"(?:(?:\+|%2B|00)?254{_GAP}|0)?([17](?:{_GAP}\d){{4}})((?:{_GAP}\d){{4}})(?!\d)",
    re.IGNORECASE,
)
_CHECKOUT_IDS = re.compile(r"(ws_CO_[0-9A-Za-z_]*?)(\d{5})(\d{4})(?![0-9A-Za-z])")
_HOOKS = re.compile(r"(/hooks/|/routers/)[0-9a-f]{6,}((?:/[a-z0-9]+)*)")
_KEYS = re.compile(r"([?&](?:api_?)?key=)[^&\s\"'<>]+", re.IGNORECASE)
_SECRETS = re.compile(r"password|secret|passkey|credential|token|authorization|api_?key|(^|_)pin($|_)", re.IGNORECASE)


def mask_text(text: str) -> str:
    """The text with phone numbers, CheckoutRequestIDs, hook tokens and keys in addresses masked."""
    text = _CHECKOUT_IDS.sub(r"\1*****\3", text)
    text = _HOOKS.sub(r"\1***", text)
    text = _KEYS.sub(r"\1***", text)
    return _PHONES.sub(lambda found: "********" + re.sub(r"\D", "", found.group(2)), text)


def _mask(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _masked_value(key, value) for key, value in entry.items()}


def _masked_value(key: str, value: Any) -> Any:
    if _SECRETS.search(key):
        return "***"
    if isinstance(value, dict):
        return {k: _masked_value(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked_value(key, item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float) and abs(value) < 10**8:
        return value
    return mask_text(str(value))


def configure(*, stream: Any = None) -> None:
    """Send everything, the libraries' own lines too, as JSON to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(), foreign_pre_chain=[*shared], keep_exc_info=False
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


logger = structlog.get_logger()
