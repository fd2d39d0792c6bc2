"""What could not be provisioned and why: which router, since when, when it is tried next; and trying it now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update

from portal.audit import chain
from portal.hotspot.models import AccessGrant, Provisioning, Site
from portal.hotspot.routers.interface import POLLED, kinds_with
from portal.hotspot.routers.models import RouterState
from portal.hotspot.routers.routeros import connection
from portal.kernel import clock
from portal.kernel.db import db, owned
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text

SHOWN = 50
NOT_ASKED = _("The router has not asked what it should do. Check its power, its line and its agent.")
ASKS_WITHIN = timedelta(minutes=5)  # a router that asks us and has been silent for longer is shown


@dataclass(frozen=True)
class Waiting:
    """One grant that its router does not have as it should. next_at: None where the router asks by itself."""

    username: str
    wanted: str
    since: datetime
    attempts: int
    next_at: datetime | None
    why: str


@dataclass(frozen=True)
class Troubled:
    """A router with what waits for it. failing_since: None: it answers, and refuses these alone."""

    site: Site
    failing_since: datetime | None
    failures: int
    next_at: datetime | None
    why: Text
    count: int
    waiting: tuple[Waiting, ...]

    @property
    def is_certificate(self) -> bool:
        return "certificate" in str(self.why)


def _is_waiting() -> ColumnElement[bool]:
    """What was tried in vain, or found otherwise than wanted, and does not stand yet."""
    return Provisioning.confirmed_at.is_(None) & (Provisioning.last_error != "")


def count(tenant_id: int) -> int:
    """How many grants wait for their routers in vain."""
    waiting = select(func.count()).select_from(Provisioning).join(Site, Site.id == Provisioning.site_id)
    waiting = waiting.where(Provisioning.tenant_id == tenant_id, Site.closed_at.is_(None), _is_waiting())
    return db.session.scalar(waiting) or 0


def of_tenant(tenant_id: int) -> list[Troubled]:
    """Every router that does not answer or does not have what it should, the longest failing first."""
    now = clock.now()
    sites = select(Site, RouterState).outerjoin(RouterState, RouterState.site_id == Site.id)
    sites = sites.where(Site.tenant_id == tenant_id, Site.closed_at.is_(None)).order_by(Site.id)
    found = []
    for site, state in db.session.execute(sites):
        rows = select(Provisioning, AccessGrant.username).join(AccessGrant, AccessGrant.id == Provisioning.grant_id)
        rows = rows.join(Site, Site.id == Provisioning.site_id).where(Provisioning.site_id == site.id, _is_waiting())
        total = db.session.scalar(select(func.count()).select_from(rows.subquery())) or 0
        shown = db.session.execute(rows.order_by(Provisioning.since, Provisioning.id).limit(SHOWN))
        waiting = tuple(
            Waiting(name, row.wanted, row.since, row.attempts, row.next_at, row.last_error) for row, name in shown
        )
        silent_since = _silent_since(site, state, now)
        failing_since = state.failing_since or silent_since if state else silent_since
        if waiting or failing_since:
            found.append(
                Troubled(
                    site=site,
                    failing_since=failing_since,
                    failures=state.failures if state else 0,
                    next_at=state.try_at if state else None,
                    why=NOT_ASKED if silent_since else state.last_error if state else "",
                    count=total,
                    waiting=waiting,
                )
            )
    return sorted(found, key=lambda one: (one.failing_since is None, one.failing_since or now))


def _silent_since(site: Site, state: RouterState | None, now: datetime) -> datetime | None:
    """Since when a router that asks us has not asked; None: it has, or is none of those."""
    if site.kind not in kinds_with(POLLED):
        return None
    last = (state.answered_at if state else None) or site.created_at
    return last if last < now - ASKS_WITHIN else None


def try_now(tenant_id: int, site_uid: str) -> None:
    """Everything that waits for this router has its turn at once. The caller commits, and rings."""
    site = owned(Site, tenant_id, uid=site_uid)
    now = clock.now()
    db.session.execute(update(RouterState).where(RouterState.site_id == site.id).values(try_at=None, sweep_at=now))
    if site.kind not in kinds_with(POLLED):
        waiting = update(Provisioning).where(Provisioning.site_id == site.id, Provisioning.confirmed_at.is_(None))
        db.session.execute(waiting.where(Provisioning.next_at.is_not(None)).values(next_at=now))


def forget_certificate(tenant_id: int, site_uid: str, *, actor: str) -> None:
    """Take the certificate that the router shows next for its own. The caller commits, and rings."""
    site = owned(Site, tenant_id, uid=site_uid)
    connection.forget_certificate(site.id)
    chain.record(tenant_id, "site", site.id, "certificate_forgotten", actor=actor)
    try_now(tenant_id, site_uid)
