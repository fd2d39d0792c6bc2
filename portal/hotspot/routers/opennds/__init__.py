"""openNDS gateways (OpenWrt), by their agent, which asks us; nothing can be sent to them.

What an order here does is to leave a mark for the next asking, seconds later (`agent`); the device's browser, where it
is still there, is let in at once besides by the address that `fas` makes.
"""

from collections.abc import Sequence

from sqlalchemy import update

from portal.hotspot.models import AccessSession, Package, Site
from portal.hotspot.routers.interface import (
    DATA_CAP,
    DEVICES,
    EXPIRY,
    KICK,
    ONLINE_TIME,
    POLLED,
    PUSH_LOGIN,
    RATE,
    Finding,
    Health,
    Listed,
    Outcome,
    Wanted,
    done,
    failed,
    register,
    unsupported,
)
from portal.hotspot.routers.opennds.agent import ENDED_BY_US
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Sentence as _

ASKS_WITHIN_S = 60
WAITS = "It is done when the router asks next, within seconds."


class OpenNDS:
    """openNDS 9 and 10 with our agent."""

    kind = "opennds"
    capabilities = frozenset({POLLED, EXPIRY, ONLINE_TIME, DATA_CAP, RATE, DEVICES, KICK, PUSH_LOGIN})

    def ensure_package(self, site: Site, package: Package) -> Outcome:
        return done("asked_for")

    def ensure_grants(self, site: Site, wanted: Sequence[Wanted]) -> list[Outcome]:
        return [done("asked_for") for _one in wanted]

    def revoke_grants(self, site: Site, gone: Sequence[Wanted]) -> list[Outcome]:
        return [done("asked_for") for _one in gone]

    def push_login(self, site: Site, wanted: Wanted, *, mac: str, ip: str) -> Outcome:
        return failed("waits_for_router", WAITS)

    def kick(self, site: Site, session: AccessSession) -> Outcome:
        """Marked, and ended by the next asking; done once the gateway lists it no more."""
        with transaction():
            mine = update(AccessSession).where(AccessSession.id == session.id, AccessSession.stopped_at.is_(None))
            marked = mine.values(end_cause=ENDED_BY_US).returning(AccessSession.id)
            is_open = db.session.scalar(marked, execution_options={"synchronize_session": False}) is not None
        return failed("waits_for_router", WAITS) if is_open else done("stopped")

    def change_live(self, site: Site, session: AccessSession, wanted: Wanted) -> Outcome:
        return self.kick(site, session)

    def sessions(self, site: Site) -> Listed:
        return Listed(unsupported("to be asked who is online: it tells by itself"))

    def check(self, site: Site) -> Health:
        last = site.last_seen_at
        is_well = last is not None and (clock.now() - last).total_seconds() < ASKS_WITHIN_S
        text = (
            _("The gateway's agent asks us.") if is_well else _("The gateway's agent has not asked us within a minute.")
        )
        remedy = "" if is_well else _("Put the agent of this page on the router and start it; check its internet.")
        outcome = done() if is_well else failed("silent", str(text))
        return Health(outcome, (Finding("agent", is_well, text, remedy),))


register(OpenNDS())
