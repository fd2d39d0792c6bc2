"""The log that the pages show: what Daraja received and sent, secrets and address tokens hidden."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from portal.kernel import clock
from portal.simulator.engine.store import Store, instant

KEPT = 2000
_SECRETS = {"Password", "SecurityCredential", "access_token"}
_TOKEN = re.compile(r"[0-9A-Za-z_-]{16,}")
_ECHOED = re.compile(r"(Invalid Access Token - ).+")


def write(
    store: Store,
    *,
    direction: str,
    door: str,
    method: str,
    address: str,
    status: str,
    body: Any,
    answer: Any,
    msisdn: str,
    started_at: float,
) -> None:
    """One line. direction: `received` or `sent`; started_at: seconds, from `store.timestamp()`."""
    row_id = store.insert(
        "log",
        at=started_at,
        direction=direction,
        door=door,
        method=method,
        address=hide_tokens(address),
        status=status,
        body=_dump(body),
        answer=_dump(answer),
        msisdn=msisdn,
        elapsed_ms=max(0, round((store.timestamp() - started_at) * 1000)),
    )
    if row_id % 200 == 0:
        store.run("DELETE FROM log WHERE id <= ?", row_id - KEPT)


def latest(store: Store, *, msisdn: str = "", limit: int = 200) -> list[dict[str, Any]]:
    """Newest first; of one phone if it is named."""
    if msisdn:
        rows = store.all("SELECT * FROM log WHERE msisdn = ? ORDER BY id DESC LIMIT ?", msisdn, limit)
    else:
        rows = store.all("SELECT * FROM log ORDER BY id DESC LIMIT ?", limit)
    return [
        {
            "id": row["id"],
            "at": clock.rfc3339(instant(row["at"])),
            "time": f"{clock.nairobi(instant(row['at'])):%H:%M:%S}",
            "direction": row["direction"],
            "door": row["door"],
            "method": row["method"],
            "address": row["address"],
            "status": row["status"],
            "body": _load(row["body"]),
            "answer": _load(row["answer"]),
            "elapsedMs": row["elapsed_ms"],
        }
        for row in rows
    ]


def hide_tokens(address: str) -> str:
    """The address with every long path segment cut to its last four characters, and no query values."""
    parts = urlsplit(address)
    path = "/".join(
        f"…{segment[-4:]}" if _TOKEN.fullmatch(segment) and _looks_secret(segment) else segment
        for segment in parts.path.split("/")
    )
    return (f"{parts.scheme}://{parts.netloc}" if parts.netloc else "") + path


def _looks_secret(segment: str) -> bool:
    return any(character.isdigit() for character in segment)


def _dump(value: Any) -> str:
    if isinstance(value, str):
        return _ECHOED.sub(r"\1…", value)[:4000]
    return json.dumps(_redact(value), ensure_ascii=False)[:6000]


def _redact(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "…" if key in _SECRETS else hide_tokens(item) if _is_url(key, item) else _redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_redact(item) for item in value]
    return _ECHOED.sub(r"\1…", value) if isinstance(value, str) else value


def _is_url(key: str, value: Any) -> bool:
    return isinstance(value, str) and key.upper().endswith("URL") and "://" in value


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
