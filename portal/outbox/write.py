"""Writing down an effect, in the transaction that causes it."""

import json
from datetime import datetime
from typing import Any

from portal.kernel import clock, vault
from portal.kernel.db import db, upsert_nothing
from portal.outbox.models import OutboxItem, OutboxState


def put(tenant_id: int, kind: str, key: str, payload: dict[str, Any], *, expires_at: datetime | None = None) -> bool:
    """Ask for an effect, once; False where `key` was asked for already. The caller commits, then rings OUTBOX.

    kind: a name in `deliver.CARRIERS`. expires_at: after this it is worthless and is skipped.
    """
    now = clock.now()
    insert = upsert_nothing(
        OutboxItem,
        unique=["tenant_id", "key"],
        tenant_id=tenant_id,
        kind=kind,
        key=key,
        payload_sealed=vault.seal(json.dumps(payload), context=f"outbox/{tenant_id}"),
        expires_at=expires_at,
        created_at=now,
        next_at=now,
        state=OutboxState.NEW,
        attempts=0,
        last_error="",
        provider_id="",
    ).returning(OutboxItem.id)
    return db.session.execute(insert).scalar() is not None


def payload_of(item: OutboxItem) -> dict[str, Any]:
    """The effect's own data."""
    payload: dict[str, Any] = json.loads(vault.unseal(item.payload_sealed, context=f"outbox/{item.tenant_id}"))
    return payload
