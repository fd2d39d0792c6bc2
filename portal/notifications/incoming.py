"""Text messages to us: kept once, whatever the provider repeats; what they mean is for the clinic to say."""

from portal.kernel.db import db, upsert_nothing
from portal.notifications.models import IncomingSms

NOBODYS = 0  # sealed under no tenant: one short number serves them all, and whose it is turns out later


def keep(provider_id: str, body_sealed: str | None) -> None:
    """Keep one, once. body_sealed: JSON with `from` and `text`. The caller commits, then enqueues REPLIES."""
    first = upsert_nothing(IncomingSms, unique=["provider_id"], provider_id=provider_id, body_sealed=body_sealed)
    db.session.execute(first)
