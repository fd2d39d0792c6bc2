"""Stays online that nobody ends any more, and what FreeRADIUS counted and nobody needs any more.

A router tells of each session every five minutes. One that missed three of these does not count against a package's
devices at once (the views see to that), and is closed here, at the last that was heard of it. A router that was only
cut off tells of it again, and FreeRADIUS opens the row anew.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from portal.hotspot.models import AccessGrant, AccessSession, SignInRefusal, Site
from portal.kernel import clock
from portal.kernel.db import db, transaction

SILENT_AFTER = timedelta(minutes=15)  # three missed interim updates, as the view radius_clock has it
REFUSALS_KEPT_FOR = timedelta(days=2)
SILENT = "Silent"  # the cause that is no router's word: a packet from it takes it back
BATCH_ROWS, MOST_BATCHES = 500, 20


def open_of(grant: AccessGrant) -> list[AccessSession]:
    """The sessions of its pass that run now, walled ones too, oldest first."""
    mine = select(AccessSession).where(AccessSession.grant_id == (grant.leader_id or grant.id))
    return list(db.session.scalars(mine.where(AccessSession.stopped_at.is_(None)).order_by(AccessSession.id)))


def before_today(session: AccessSession, now: datetime) -> int:
    """Its `bytes_before_today` once it is heard of at `now`: whoever counts octets into a row sets this with them."""
    midnight = clock.nairobi(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return session.bytes_in + session.bytes_out if session.updated_at < midnight else session.bytes_before_today


def sweep() -> None:
    """What the scheduler does every few minutes. Opens its own transactions; safe twice at once."""
    close_silent()
    forget_refusals()


def close_silent() -> int:
    """Close sessions of RADIUS routers that were not heard of for too long; how many.

    Other routers are asked for their lists, which say who left: one that does not answer has not lost its people.
    """
    closed = 0
    for _batch in range(MOST_BATCHES):
        with transaction():
            silent = (
                select(AccessSession.id)
                .join(Site, Site.id == AccessSession.site_id)
                .where(Site.kind == "radius", AccessSession.stopped_at.is_(None))
                .where(AccessSession.updated_at < clock.now() - SILENT_AFTER)
                .order_by(AccessSession.id)
                .limit(BATCH_ROWS)
                .with_for_update(of=AccessSession, skip_locked=True)
            )
            ids = list(db.session.scalars(silent))
            over = update(AccessSession).where(AccessSession.id.in_(ids), AccessSession.stopped_at.is_(None))
            over = over.values(stopped_at=AccessSession.updated_at, end_cause=SILENT)
            db.session.execute(over, execution_options={"synchronize_session": False})
        closed += len(ids)
        if len(ids) < BATCH_ROWS:
            break
    return closed


def forget_refusals() -> None:
    """Let go of counted refusals that are old: they hold what people typed as their names."""
    for _batch in range(MOST_BATCHES):
        with transaction():
            old = select(SignInRefusal.id).where(SignInRefusal.window_at < clock.now() - REFUSALS_KEPT_FOR)
            ids = list(db.session.scalars(old.limit(BATCH_ROWS)))
            db.session.execute(delete(SignInRefusal).where(SignInRefusal.id.in_(ids)))
        if len(ids) < BATCH_ROWS:
            return
