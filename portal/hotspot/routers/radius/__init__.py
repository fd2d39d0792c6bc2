"""Sites whose router asks FreeRADIUS: nothing is told beforehand, only what runs is changed or ended.

Decided: an ACK is not the end of a session (wish 10): it is over once accounting says so, or the router says that it
knows none such. Until then the disconnect is tried again; and where the site has an API as well, by that.
Decided: what RADIUS cannot change in a session that runs is changed by ending it: more data (Mikrotik-Total-Limit is
none of the attributes that a CoA may carry). The device's MAC cookie brings it back by itself, under its new limits.
"""

import time
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select

from portal.hotspot.models import AccessSession, Package, SignInRefusal, Site
from portal.hotspot.radius import coa
from portal.hotspot.routers import routeros
from portal.hotspot.routers.interface import (
    BY_MAC,
    DATA_CAP,
    DEVICES,
    EXPIRY,
    KICK,
    LIVE_CHANGE,
    ONLINE_TIME,
    PUSH_LOGIN,
    RATE,
    Finding,
    Health,
    Listed,
    Online,
    Outcome,
    Wanted,
    done,
    failed,
    register,
    unsupported,
)
from portal.kernel import clock
from portal.kernel.db import assert_no_transaction, db
from portal.kernel.errors import Sentence as _

# of the room beside: it speaks RADIUS to the router and builds on this room's outcomes
HEARD_WITHIN = timedelta(days=7)
DISCONNECT, CHANGE = "portal.hotspot.radius.coa.disconnect", "portal.hotspot.radius.coa.change"
STOP_WITHIN_S, LOOK_EVERY_S = 2.0, 0.1


class Radius:
    """A router that asks FreeRADIUS."""

    kind = "radius"
    capabilities = frozenset({EXPIRY, ONLINE_TIME, DATA_CAP, RATE, DEVICES, LIVE_CHANGE, KICK, PUSH_LOGIN, BY_MAC})

    def ensure_package(self, site: Site, package: Package) -> Outcome:
        return done("asked_for")

    def ensure_grants(self, site: Site, wanted: Sequence[Wanted]) -> list[Outcome]:
        return [done("asked_for") for _one in wanted]

    def revoke_grants(self, site: Site, gone: Sequence[Wanted]) -> list[Outcome]:
        return [done("asked_for") for _one in gone]

    def push_login(self, site: Site, wanted: Wanted, *, mac: str, ip: str) -> Outcome:
        return routeros.sign_in(site, wanted, mac=mac) if site.api_username else unsupported("to sign a device in")

    def kick(self, site: Site, session: AccessSession) -> Outcome:
        """Ended by a disconnect, else by the API; done once accounting has it so, or the router knows of no such."""
        outcome = coa.disconnect(site, session)
        if outcome.is_done and outcome.code != "acknowledged":
            return outcome
        if outcome.is_done and _has_stopped(session):
            return done("stopped")
        if site.api_username:
            return routeros.end_stay(site, session)
        if outcome.is_done:
            return failed("still_open", "The router agreed to end the session, and its accounting has not ended it.")
        return outcome

    def change_live(self, site: Site, session: AccessSession, wanted: Wanted) -> Outcome:
        if wanted.data_bytes is not None:
            return self.kick(site, session)
        left_s = max(1, int((wanted.expires_at - clock.now()).total_seconds()))
        if wanted.online_s is not None:
            left_s = min(left_s, max(1, wanted.online_s))
        changed = coa.change(site, session, rate=wanted.rate, seconds_left=left_s)
        return changed if changed.is_done or changed.is_about_router else self.kick(site, session)

    def sessions(self, site: Site) -> Listed:
        """As its accounting has it: what FreeRADIUS wrote down."""
        stand = select(AccessSession).where(AccessSession.site_id == site.id, AccessSession.stopped_at.is_(None))
        online = tuple(
            Online(one.username, one.mac, one.ip, one.session_id, one.online_s, one.bytes_in, one.bytes_out)
            for one in db.session.scalars(stand)
        )
        db.session.rollback()
        return Listed(done(), online)

    def check(self, site: Site) -> Health:
        heard = _has_asked(site)
        text = (
            _("The router has asked our RADIUS server.")
            if heard
            else _("The router has not asked our RADIUS server yet.")
        )
        remedy = "" if heard else _("Check its RADIUS address and secret: /radius print.")
        finding = Finding("radius", heard, text, remedy)
        if not site.api_username:
            return Health(done() if heard else failed("not_heard", str(text)), (finding,))
        health = routeros.RouterOS().check(site)
        return Health(health.outcome if heard else failed("not_heard", str(text)), (finding, *health.findings))


def _has_asked(site: Site) -> bool:
    """Whether it asked within the last days: a stay that it accounted for, or somebody whom we refused."""
    since = clock.now() - HEARD_WITHIN
    stays = select(AccessSession.id).where(
        AccessSession.tenant_id == site.tenant_id, AccessSession.started_at > since, AccessSession.site_id == site.id
    )
    refusals = select(SignInRefusal.id).where(SignInRefusal.site_id == site.id, SignInRefusal.window_at > since)
    heard = any(db.session.scalar(one.limit(1)) is not None for one in (stays, refusals))
    db.session.rollback()
    return heard


def _has_stopped(session: AccessSession) -> bool:
    """Whether accounting ends it within a moment."""
    assert_no_transaction("Waiting for a router's accounting")
    until = time.monotonic() + STOP_WITHIN_S
    while True:
        stopped = db.session.scalar(select(AccessSession.stopped_at).where(AccessSession.id == session.id))
        db.session.rollback()
        if stopped is not None or time.monotonic() >= until:
            return stopped is not None
        time.sleep(LOOK_EVERY_S)


register(Radius())
