"""Notices inside the product: what one person has not read yet, and that they read it."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, update

from portal.kernel import clock
from portal.kernel.db import db
from portal.notifications.models import Notice

MOST_SHOWN, MOST_LISTED = 10, 50


@dataclass(frozen=True)
class Bell:
    """What a bell shows: how many are unread, MOST_SHOWN at most, and the newest of them (0: none)."""

    count: int
    newest_id: int

    @property
    def version(self) -> str:
        """Tells whether it rang since: digits and a hyphen."""
        return f"{self.newest_id}-{self.count}"


Whose = ColumnElement[bool]


def of_user(user_id: int, tenant_id: int) -> Whose:
    """A member of staff's, at one of the businesses they work for."""
    return (Notice.user_id == user_id) & (Notice.tenant_id == tenant_id)


def of_patients(patient_ids: Collection[int]) -> Whose:
    """Those of patients, such as a family."""
    return Notice.patient_id.in_(patient_ids)


def bell(whose: Whose) -> Bell:
    """What their bell shows."""
    mine = select(Notice.id).where(whose, Notice.read_at.is_(None))
    ids = list(db.session.scalars(mine.order_by(Notice.id.desc()).limit(MOST_SHOWN)))
    return Bell(len(ids), ids[0] if ids else 0)


def latest(whose: Whose) -> list[Notice]:
    """The newest, read or not."""
    return list(db.session.scalars(select(Notice).where(whose).order_by(Notice.id.desc()).limit(MOST_LISTED)))


def read_all(whose: Whose, up_to_id: int) -> None:
    """Put away what was shown: one that came since stays. The caller commits."""
    mine = update(Notice).where(whose, Notice.read_at.is_(None), Notice.id <= up_to_id)
    db.session.execute(mine.values(read_at=clock.now()))


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
