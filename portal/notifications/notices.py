"""Notices inside the product: what one person has not read yet, and that they read it."""

from sqlalchemy import select, update

from portal.kernel import clock
from portal.kernel.db import db
from portal.notifications.models import Notice

MOST_SHOWN = 10


def unread(tenant_id: int, user_id: int) -> list[Notice]:
    """A person's notices that they have not put away, the newest first."""
    mine = select(Notice).where(Notice.tenant_id == tenant_id, Notice.user_id == user_id, Notice.read_at.is_(None))
    return list(db.session.scalars(mine.order_by(Notice.id.desc()).limit(MOST_SHOWN)))


def read(tenant_id: int, user_id: int, up_to_id: int) -> None:
    """Put away what was shown: one that came since stays. The caller commits."""
    mine = update(Notice).where(Notice.tenant_id == tenant_id, Notice.user_id == user_id, Notice.read_at.is_(None))
    db.session.execute(mine.where(Notice.id <= up_to_id).values(read_at=clock.now()))


def settle(tenant_id: int, key: str) -> None:
    """Put away what is true no longer. The caller commits."""
    told = update(Notice).where(Notice.tenant_id == tenant_id, Notice.key == key, Notice.read_at.is_(None))
    db.session.execute(told.values(read_at=clock.now()))
