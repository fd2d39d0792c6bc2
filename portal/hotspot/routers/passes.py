"""What a router is to know of a pass: its end, speed and what is left of it, over all of its grants and all sites.

Every user name of a pass opens the whole pass: it begins with its first grant and ends with its last, and what its
packages allow adds up. What was used under its other names, or at other sites, is taken off what this router may give.
A cap of each day in East Africa is told as what is left of it today; at midnight the router is told anew.
Of a line (PPPoE) counts what was used since its period began; at its cap it is walled, as RADIUS has it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select

from portal.hotspot.models import AccessGrant, AccessSession, Package, Provisioning
from portal.hotspot.pppoe.models import LinePeriod, PppoeLine
from portal.hotspot.routers.interface import Wanted
from portal.hotspot.sessions import bytes_today, midnight
from portal.kernel import clock
from portal.kernel.db import db

COLUMNS: tuple[Any, ...] = (
    AccessGrant.id, AccessGrant.leader_id, AccessGrant.tenant_id, AccessGrant.package_id, AccessGrant.username,
    AccessGrant.password, AccessGrant.mac, AccessGrant.starts_at, AccessGrant.expires_at, AccessGrant.suspended_at,
    AccessGrant.ended_at, Package.service, Package.rate, Package.devices, Package.online_s, Package.data_cap_bytes,
    Package.daily_cap_bytes, Package.at_cap, Package.throttled_rate,
)  # fmt: skip


@dataclass
class Pass:
    """A chain of grants with one leader. grants: its rows, oldest first, with their packages' terms.

    used: (site, user name) -> (seconds online, bytes both ways). used_today: bytes both ways, today in East Africa.
    counts_anew_at: when the next period of a line begins, which is paid already.
    """

    leader_id: int
    grants: list[Any] = field(default_factory=list)
    used: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    used_today: int = 0
    counts_anew_at: datetime | None = None

    @property
    def terms(self) -> Any:
        """The grant whose package says what is not summed: the first one's."""
        return next((one for one in self.grants if one.id == self.leader_id), self.grants[0])

    @property
    def alive(self) -> list[Any]:
        """The grants that are neither ended nor suspended."""
        return [one for one in self.grants if one.ended_at is None and one.suspended_at is None]

    def begins_at(self, now: datetime) -> datetime | None:
        """When what is left of it begins or began: what is over says nothing of the rest, which may be paused."""
        return min((one.starts_at for one in self.alive if one.expires_at > now), default=None)

    @property
    def expires_at(self) -> datetime | None:
        return max((one.expires_at for one in self.alive), default=None)

    def is_on(self, now: datetime) -> bool:
        """Whether it opens the internet now."""
        begins = self.begins_at(now)
        return begins is not None and begins <= now

    def opens(self, grant_id: int, now: datetime) -> bool:
        """Whether this user name of it opens the internet now."""
        return self.is_on(now) and any(one.id == grant_id for one in self.alive)

    @property
    def is_line(self) -> bool:
        """Whether it is a line (PPPoE), which a router goes on knowing when it is over: it dials in to pay."""
        return bool(self.terms.service == "pppoe")

    def is_known(self, grant_id: int, now: datetime) -> bool:
        """Whether a router that is told who may pass knows this user name now."""
        return any(one.id == grant_id for one in self.alive) if self.is_line else self.opens(grant_id, now)

    def to_come(self, grant_id: int, now: datetime) -> datetime | None:
        """When this user name begins to open, where that is still to come."""
        begins = self.begins_at(now)
        return begins if begins is not None and begins > now and any(one.id == grant_id for one in self.alive) else None

    @property
    def data_cap_bytes(self) -> int | None:
        return _sum([one.data_cap_bytes for one in self.alive])

    @property
    def online_cap_s(self) -> int | None:
        return _sum([one.online_s for one in self.alive])

    @property
    def is_at_cap(self) -> bool:
        cap = self.data_cap_bytes
        return cap is not None and sum(used for _seconds, used in self.used.values()) >= cap

    @property
    def is_at_daily_cap(self) -> bool:
        cap = self.terms.daily_cap_bytes
        return cap is not None and self.used_today >= cap

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left of it before its end: no data, where it stops at its cap, or no time online."""
        at_data = self.is_at_cap and self.terms.at_cap != "throttle"
        cap = self.online_cap_s
        return at_data or (cap is not None and sum(seconds for seconds, _bytes in self.used.values()) >= cap)

    @property
    def is_used_up_today(self) -> bool:
        """Whether it opens nothing before midnight, since it stops at its cap of a day."""
        return self.is_at_daily_cap and self.terms.at_cap != "throttle"

    def told_anew_at(self, now: datetime) -> datetime | None:
        """When a router has to be told of it again though nothing changed: at midnight, where a day has its cap."""
        at_midnight = None if self.terms.daily_cap_bytes is None else midnight(now) + timedelta(days=1)
        return min((at for at in (at_midnight, self.counts_anew_at) if at is not None), default=None)

    def wanted(self, row: Any, *, site_id: int, version: int, now: datetime | None = None) -> Wanted:
        """This grant of it as a site's router is to know it."""
        terms = self.terms
        throttles = terms.at_cap == "throttle"
        is_slow = throttles and terms.throttled_rate and (self.is_at_cap or self.is_at_daily_cap)
        elsewhere = [used for (site, name), used in self.used.items() if (site, name) != (site_id, row.username)]
        return Wanted(
            grant_id=row.id,
            leader_id=self.leader_id,
            username=row.username,
            password=row.password,
            mac=row.mac,
            starts_at=min(one.starts_at for one in self.grants),
            expires_at=self.expires_at or row.expires_at,
            rate=terms.throttled_rate if is_slow else terms.rate,
            devices=max(one.devices for one in self.grants),
            online_s=_left(self.online_cap_s, sum(seconds for seconds, _bytes in elsewhere)),
            data_bytes=None if throttles else self._data_left(row, site_id, sum(used for _seconds, used in elsewhere)),
            version=version,
            service=terms.service,
            is_walled=self.is_line and (self.is_used_up or self.is_used_up_today or not self.is_on(now or clock.now())),
        )

    def _data_left(self, row: Any, site_id: int, elsewhere: int) -> int | None:
        """What this router may let through under this name, beside what it counted of it: of the whole and of today."""
        whole = _left(self.data_cap_bytes, elsewhere)
        if self.terms.daily_cap_bytes is None:
            return whole
        _seconds, here = self.used.get((site_id, row.username), (0, 0))
        today = max(here + self.terms.daily_cap_bytes - self.used_today, 1)
        return today if whole is None else min(whole, today)


def _sum(caps: Sequence[int | None]) -> int | None:
    """Caps add up; what is without a limit stays so, whatever is added to it."""
    limits = [cap for cap in caps if cap is not None]
    return sum(limits) if limits and len(limits) == len(caps) else None


def _left(cap: int | None, used: int) -> int | None:
    """Never nothing: to RouterOS and openNDS 0 means without a limit."""
    return None if cap is None else max(cap - used, 1)


def read(leader_ids: Iterable[int]) -> dict[int, Pass]:
    """These passes as they stand now, in two statements."""
    wanted = sorted(set(leader_ids))
    found: dict[int, Pass] = defaultdict(lambda: Pass(0))
    if not wanted:
        return found
    rows = select(*COLUMNS).join(Package, Package.id == AccessGrant.package_id)
    for row in db.session.execute(rows.where(AccessGrant.leader_id.in_(wanted)).order_by(AccessGrant.id)):
        found.setdefault(row.leader_id, Pass(row.leader_id)).grants.append(row)
    capped = [one.leader_id for one in found.values() if any(_is_metered(grant) for grant in one.grants)]
    of_lines = [one for one in capped if found[one].is_line]
    now = clock.now()
    statements = [
        _used(ids, now, is_line=ids is of_lines) for ids in (of_lines, sorted({*capped} - {*of_lines})) if ids
    ]
    for statement in statements:
        for row in db.session.execute(statement):
            found[row.grant_id].used[(row.site_id, row.username)] = (int(row.seconds), int(row.bytes))
            found[row.grant_id].used_today += int(row.today)
    if of_lines:
        for grant_id, begins in db.session.execute(_next_periods(of_lines, now)):
            found[grant_id].counts_anew_at = begins
    return found


def _next_periods(grant_ids: Sequence[int], now: datetime) -> Any:
    to_come = select(PppoeLine.grant_id, func.min(LinePeriod.starts_at)).join(LinePeriod)
    to_come = to_come.where(PppoeLine.grant_id.in_(grant_ids), LinePeriod.starts_at > now)
    return to_come.where(LinePeriod.withdrawn_at.is_(None)).group_by(PppoeLine.grant_id)


def _is_metered(grant: Any) -> bool:
    return any(cap is not None for cap in (grant.data_cap_bytes, grant.online_s, grant.daily_cap_bytes))


def _used(leader_ids: Sequence[int], now: datetime, *, is_line: bool) -> Any:
    used = select(
        AccessSession.grant_id,
        AccessSession.site_id,
        AccessSession.username,
        func.sum(AccessSession.online_s).label("seconds"),
        func.sum(AccessSession.bytes_in + AccessSession.bytes_out).label("bytes"),
        func.sum(bytes_today(now)).label("today"),
    )
    if is_line:  # of the period that runs
        period = select(func.max(LinePeriod.starts_at)).join(PppoeLine, PppoeLine.id == LinePeriod.line_id)
        period = period.where(PppoeLine.grant_id == AccessSession.grant_id, LinePeriod.starts_at <= now)
        begun = period.where(LinePeriod.withdrawn_at.is_(None)).correlate(AccessSession).scalar_subquery()
        used = used.where(or_(begun.is_(None), AccessSession.started_at >= begun))
    return used.where(AccessSession.grant_id.in_(leader_ids)).group_by(
        AccessSession.grant_id, AccessSession.site_id, AccessSession.username
    )


def of_rows(rows: Sequence[Provisioning]) -> dict[int, tuple[Pass, Any]]:
    """{grant: (its pass, its own row)} of what routers are to be told."""
    ids = [row.grant_id for row in rows]
    own = select(AccessGrant.id, AccessGrant.leader_id).where(AccessGrant.id.in_(ids))
    leaders = {row.id: row.leader_id for row in db.session.execute(own)}
    found = read(leader for leader in leaders.values() if leader is not None)
    return {one.id: (a_pass, one) for a_pass in found.values() for one in a_pass.grants if one.id in leaders}
