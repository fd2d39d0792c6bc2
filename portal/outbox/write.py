"""Writing down an effect, in the transaction that causes it."""

import json
from datetime import datetime
from typing import Any

from portal.kernel import clock, vault
from portal.kernel.db import db, upsert_nothing
from portal.outbox.models import OutboxItem


def put(tenant_id: int, kind: str, key: str, payload: dict[str, Any], *, expires_at: datetime | None = None) -> bool:
    """Ask for an effect, once; False where `key` was asked for already. The caller commits, then enqueues OUTBOX.

    kind: a name in `deliver.CARRIERS`. expires_at: after this it is worthless and is skipped.
    """
    columns = columns_of(tenant_id, kind, key, payload, expires_at=expires_at, now=clock.now())
    insert = upsert_nothing(OutboxItem, unique=["tenant_id", "key"], **columns).returning(OutboxItem.id)
    return db.session.execute(insert).scalar() is not None


def columns_of(
    tenant_id: int, kind: str, key: str, payload: dict[str, Any], *, expires_at: datetime | None, now: datetime
) -> dict[str, Any]:
    """What is written of an effect, for who asks for many at once."""
    return {
        "tenant_id": tenant_id,
        "kind": kind,
        "key": key,
        "about": key.split("/")[1][:20] if "/" in key else "",
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
