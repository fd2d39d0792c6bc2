"""Writing down an effect, in the transaction that causes it."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, update

from portal.kernel import clock, vault
from portal.kernel.db import db, upsert_nothing
from portal.outbox.models import OutboxItem, OutboxState


def put(tenant_id: int, kind: str, key: str, payload: dict[str, Any], *, expires_at: datetime | None = None) -> bool:
    """Ask for an effect, once; False where `key` was asked for already. The caller commits, then enqueues OUTBOX.

    kind: a name in `deliver.CARRIERS`. expires_at: after this it is worthless and is skipped.
    """
    columns = columns_of(tenant_id, kind, key, payload, expires_at=expires_at, now=clock.now())
    insert = upsert_nothing(OutboxItem, unique=["tenant_id", "key"], **columns).returning(OutboxItem.id)
    return db.session.execute(insert).scalar() is not None


def put_otherwise(item: OutboxItem) -> bool:
    """Ask for what was to be done where this effect cannot be had; False where there is nothing. The caller commits."""
    try:
        instead = payload_of(item).get("otherwise")
    except (vault.CannotOpen, ValueError):
        return False
    if instead is None:
        return False
    key = "/".join([instead["kind"], *item.key.split("/")[1:]])
    return put(item.tenant_id, instead["kind"], key, instead["payload"], expires_at=item.expires_at)


def withdraw(tenant_id: int, keys: Sequence[str], *, why: str) -> int:
    """Do none of these any more, unless it was done already; how many were still to do. The caller commits."""
    waiting = update(OutboxItem).where(
        OutboxItem.tenant_id == tenant_id, OutboxItem.key.in_(keys), OutboxItem.state == OutboxState.NEW
    )
    done: CursorResult[Any] = db.session.execute(waiting.values(state=OutboxState.SKIPPED, last_error=why[:300]))  # type: ignore[assignment]
    return done.rowcount


def columns_of(
    tenant_id: int, kind: str, key: str, payload: dict[str, Any], *, expires_at: datetime | None, now: datetime
) -> dict[str, Any]:
    """What is written of an effect, for who asks for many at once."""
    _kind, about, which = [*key.split("/"), "", ""][:3]
    return {
        "tenant_id": tenant_id,
        "kind": kind,
        "key": key,
        "about": about[:20],
        "about_id": int(which) if which.isascii() and which.isdigit() and len(which) < 19 else None,
        "payload_sealed": vault.seal(json.dumps(payload), context=vault.context(vault.OUTBOX, tenant_id)),
        "expires_at": expires_at,
        "created_at": now,
        "next_at": now,
    }


def payload_of(item: OutboxItem) -> dict[str, Any]:
    """The effect's own data."""
    payload: dict[str, Any] = json.loads(
        vault.unseal(item.payload_sealed, context=vault.context(vault.OUTBOX, item.tenant_id))
    )
    return payload
