"""A router's circuit: after it did not answer, nothing of it is tried before its pause is over, however much waits."""

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from portal.hotspot.models import Provisioning, Site
from portal.hotspot.routers.interface import Outcome
from portal.hotspot.routers.models import RouterState
from portal.kernel.db import db, upsert_nothing
from portal.kernel.logs import logger

PAUSES_S = (1, 3, 10, 60, 300)
AFTERWARDS_S = 900  # shown to staff by then, and tried on


def pause(tries: int) -> timedelta:
    """How long to wait after so many tries that came to nothing."""
    return timedelta(seconds=PAUSES_S[tries - 1] if tries <= len(PAUSES_S) else AFTERWARDS_S)


def of_site(site: Site) -> RouterState:
    """The router's row, made where there is none. Inside a transaction."""
    mine = select(RouterState).where(RouterState.site_id == site.id)
    found = db.session.scalars(mine.with_for_update()).one_or_none()
    if found is None:
        db.session.execute(upsert_nothing(RouterState, unique=["site_id"], tenant_id=site.tenant_id, site_id=site.id))
        found = db.session.scalars(mine.with_for_update()).one()
    return found


def answered(site: Site, now: datetime) -> None:
    """It spoke to us as it should: what it kept waiting is tried at once. Inside a transaction."""
    state = of_site(site)
    state.answered_at = now
    if state.failing_since is not None:
        waiting = update(Provisioning).where(Provisioning.site_id == site.id, Provisioning.confirmed_at.is_(None))
        db.session.execute(waiting.where(Provisioning.next_at > now).values(next_at=now))
        logger.info("router_answers_again", site=site.id, away_s=int((now - state.failing_since).total_seconds()))
    state.failing_since, state.failures, state.try_at, state.last_error = None, 0, None, ""


def did_not_answer(site: Site, outcome: Outcome, now: datetime) -> None:
    """It did not, or wrongly: all that waits for it waits on. Inside a transaction."""
    state = of_site(site)
    if state.try_at is None or state.try_at <= now:  # else another try's answer, which counted already
        state.failures += 1
        state.try_at = now + pause(state.failures)
    state.failing_since = state.failing_since or now
    state.last_error = outcome.text[:300]
    waiting = update(Provisioning).where(Provisioning.site_id == site.id, Provisioning.next_at.is_not(None))
    db.session.execute(waiting.where(Provisioning.next_at < state.try_at).values(next_at=state.try_at))
    if state.failures == len(PAUSES_S):
        logger.error("router_does_not_answer", site=site.id, tenant=site.tenant_id, why=outcome.text[:200])


def may_be_tried(site_id: int, now: datetime) -> bool:
    """Whether its pause is over."""
    open_again = or_(RouterState.try_at.is_(None), RouterState.try_at <= now)
    state = select(RouterState.id, open_again.label("may")).where(RouterState.site_id == site_id)
    found = db.session.execute(state).one_or_none()
    return found is None or bool(found.may)
