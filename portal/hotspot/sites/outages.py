"""Heartbeats of routers, outages, and the time that is given back for them.

Decided: a site whose router never sent a heartbeat has no outages: silence says something only of who used to speak.
Decided: an outage counts once it was seen twice, NOTICED_FOR apart: when we ourselves were away, every router looks
silent at our first look, and has spoken by the second.
Decided: what is given back is the whole length of the outage, to each pass that was in use there when it began; a pass
that ended meanwhile comes back for as long as the outage took. What waits behind on the same device moves with it.
"""

import re
from datetime import UTC, datetime, timedelta

from sqlalchemy import case, func, or_, select, update

from portal.audit import chain
from portal.hotspot import access, notifications
from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.pppoe import periods, telling
from portal.hotspot.pppoe.models import PppoeLine
from portal.hotspot.sites.models import TO_GIVE_BACK, GivenBack, Outage
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction, upsert_nothing
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.notifications import tell
from portal.tenants.models import Tenant

BEATS_APART = timedelta(seconds=20)  # one sooner than this changes nothing: a flood costs no write
SILENT_FOR, NOTICED_FOR = timedelta(minutes=5), timedelta(minutes=2)
LAST_TOLD_OF = timedelta(minutes=15)  # a stay whose last report is this old, at the outage, was in use there
LONGEST_STAY = timedelta(days=7)  # of those that have ended; what lasts is found however old it is
TRIED_FOR = timedelta(days=1)
MOST_OUTAGES, LONGEST_SAID = 20, 500
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_OFFSET_S = re.compile(r"(-?)(?:(\d{1,2}):(\d{2})(?::\d{2})?|(\d{1,6}))")


def beat(token: str, said: str) -> None:
    """A router says that it is there: one UPDATE, whoever it is; a token of nobody changes nothing. The caller commits.

    said: lines `name=value`; version, clock, offset and key are taken, and nothing in them is trusted for more than
    the doctor's page. The tunnel's key is taken once: another one needs a new token first.
    """
    told = dict(line.split("=", 1) for line in said[:LONGEST_SAID].splitlines() if "=" in line)
    now = clock.now()
    version = "".join(letter for letter in told.get("version", "") if letter.isprintable()).strip()[:40]
    key = told.get("key", "").strip()
    values = {"last_seen_at": now, "router_version": version, "clock_skew_s": _skew_s(told, now)}
    if _KEY.fullmatch(key):
        values["tunnel_key"] = case((Site.tunnel_key == "", key), else_=Site.tunnel_key)
    theirs = update(Site).where(Site.token == token, Site.closed_at.is_(None))
    fresh = theirs.where(or_(Site.last_seen_at.is_(None), Site.last_seen_at < now - BEATS_APART))
    db.session.execute(fresh.values(values).execution_options(synchronize_session=False))


def _skew_s(told: dict[str, str], now: datetime) -> int | None:
    """How far the router's clock is ahead of ours, in seconds; None where it cannot be read."""
    offset = _OFFSET_S.fullmatch(told.get("offset", "").strip())
    if offset is None:
        return None
    if offset.group(4) is not None:
        offset_s = int(offset.group(4))
    else:
        offset_s = int(offset.group(2)) * 3_600 + int(offset.group(3)) * 60
    if offset.group(1):
        offset_s = -offset_s
    try:
        local = datetime.strptime(told.get("clock", "").strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:  # before 7.10 RouterOS wrote nov/21/2026
        return None
    skew_s = (local - timedelta(seconds=offset_s) - now).total_seconds()
    return max(-(2**31), min(2**31 - 1, round(skew_s)))


def notice() -> None:
    """Begin and end outages by the heartbeats. Safe to do twice; opens its own transaction where there is work."""
    now = clock.now()
    is_open = select(Outage.id).where(Outage.site_id == Site.id, Outage.ended_at.is_(None)).exists()
    silent = select(Site.id, Site.tenant_id, Site.last_seen_at).where(
        Site.closed_at.is_(None), Site.last_seen_at < now - SILENT_FOR, ~is_open
    )
    back = (
        select(Outage.id, Outage.noticed_at, Site.last_seen_at)
        .join(Site, Site.id == Outage.site_id)
        .where(Outage.ended_at.is_(None), Site.last_seen_at > Outage.started_at)
    )
    if db.session.execute(silent.limit(1)).first() is None and db.session.execute(back.limit(1)).first() is None:
        return
    with transaction():
        for site_id, tenant_id, last_seen_at in db.session.execute(silent).all():
            begun = upsert_nothing(
                Outage, unique=["site_id"], where="ended_at IS NULL", tenant_id=tenant_id, site_id=site_id,
                started_at=last_seen_at, noticed_at=now, created_at=now,
            )  # fmt: skip
            db.session.execute(begun)
        for outage_id, noticed_at, seen_at in db.session.execute(back).all():
            is_real = seen_at is not None and seen_at - noticed_at >= NOTICED_FOR
            over = update(Outage).where(Outage.id == outage_id, Outage.ended_at.is_(None))
            # one that was over before the second look is kept as a row, and nothing is given back for it
            db.session.execute(over.values(ended_at=seen_at, given_back_at=None if is_real else now))


def give_back() -> None:
    """Give every pass the time that outages took, once: the job. One that cannot be extended stops no other."""
    due = select(Outage.id).where(TO_GIVE_BACK.is_due).order_by(Outage.ended_at).limit(MOST_OUTAGES)
    has_told = False
    for outage_id in db.session.scalars(due).all():
        if queue.is_leaving():
            return
        outage = db.session.get_one(Outage, outage_id)
        assert outage.ended_at is not None  # noqa: S101 - that is what is due
        is_old, is_whole = clock.now() - outage.ended_at > TRIED_FOR, True
        for leader_id in _in_use_at(outage):
            try:
                with transaction():
                    has_told |= _give_back_to(outage_id, leader_id)
            except Exception as error:
                is_whole = False
                logger.error("outage_not_given_back", outage=outage_id, grant=leader_id, error=repr(error)[:300])
        if is_whole or is_old:
            with transaction():
                done = update(Outage).where(Outage.id == outage_id, Outage.given_back_at.is_(None))
                db.session.execute(done.values(given_back_at=clock.now()))
    if has_told:
        queue.enqueue(queue.OUTBOX)


def _in_use_at(outage: Outage) -> list[int]:
    """The leaders of the passes that were in use at the site when it fell silent, and have not had this back."""
    begin = outage.started_at
    there = select(AccessSession.grant_id).where(
        AccessSession.tenant_id == outage.tenant_id, AccessSession.site_id == outage.site_id,
        AccessSession.grant_id.is_not(None), AccessSession.started_at <= begin,
        AccessSession.updated_at >= begin - LAST_TOLD_OF,
    )  # fmt: skip
    lasting = there.where(AccessSession.stopped_at.is_(None))
    ended = there.where(
        AccessSession.stopped_at >= begin - LAST_TOLD_OF, AccessSession.started_at >= begin - LONGEST_STAY
    )
    had = set(db.session.scalars(select(GivenBack.leader_id).where(GivenBack.outage_id == outage.id)))
    found = {*db.session.scalars(lasting.distinct()), *db.session.scalars(ended.distinct())}
    return sorted(leader_id for leader_id in found - had if leader_id is not None)


def _give_back_to(outage_id: int, leader_id: int) -> bool:
    """Extend one pass; whether its owner was told. The caller commits."""
    outage = db.session.get_one(Outage, outage_id)
    assert outage.ended_at is not None  # noqa: S101 - the caller looked
    access.take_turn_of(db.session.get_one(AccessGrant, leader_id))
    chained = select(AccessGrant).where(AccessGrant.leader_id == leader_id).order_by(AccessGrant.id)
    running = [
        one
        for one in db.session.scalars(chained.execution_options(populate_existing=True))
        if one.ended_at is None and one.starts_at <= outage.started_at < one.expires_at
    ]
    lost_s = _lost_s(outage, leader_id)
    if not running or lost_s <= 0:
        lost_s = 0
    once = upsert_nothing(
        GivenBack, unique=["outage_id", "leader_id"], tenant_id=outage.tenant_id, outage_id=outage_id,
        leader_id=leader_id, seconds=lost_s, created_at=clock.now(),
    )  # fmt: skip
    if db.session.scalar(once.returning(GivenBack.id)) is None or not lost_s:
        return False
    grant = max(running, key=lambda one: (not access.is_addon(one), one.expires_at))
    lost = timedelta(seconds=lost_s)
    if not periods.give_back(grant.id, lost, since=outage.started_at):
        access.postpone(grant, lost, with_it=running)
    told = {"outage": outage_id, "seconds": lost_s, "grant": grant.id}
    chain.record(outage.tenant_id, "site", outage.site_id, "outage_given_back", actor="outages", details=told)
    return _tell(outage, leader_id)


def _lost_s(outage: Outage, leader_id: int) -> int:
    """The outage's seconds that this pass has not had back for another outage at the same time."""
    assert outage.ended_at is not None  # noqa: S101 - the caller looked
    others = (
        select(Outage.started_at, Outage.ended_at)
        .join(GivenBack, GivenBack.outage_id == Outage.id)
        .where(GivenBack.leader_id == leader_id, GivenBack.seconds > 0, Outage.id != outage.id)
        .where(Outage.started_at < outage.ended_at, Outage.ended_at > outage.started_at)
    )
    lost = outage.ended_at - outage.started_at
    for started_at, ended_at in db.session.execute(others):
        assert ended_at is not None  # noqa: S101 - the query asks for it
        lost -= min(ended_at, outage.ended_at) - max(started_at, outage.started_at)
    return int(lost.total_seconds())


def _tell(outage: Outage, leader_id: int) -> bool:
    """An SMS to who paid, in their language; False where there is no number."""
    assert outage.ended_at is not None  # noqa: S101 - the caller looked
    leader = db.session.get_one(AccessGrant, leader_id)
    purchase = leader.purchase if leader.purchase_id is not None else None
    key = f"outage/{outage.id}/{leader_id}"
    if purchase is None:
        line = db.session.scalars(select(PppoeLine).where(PppoeLine.grant_id == leader_id)).one_or_none()
        ends = {"began_at": outage.started_at, "ended_at": outage.ended_at}
        return line is not None and telling.given_back(line, key, **ends)
    msisdn = personal.open_phone(purchase.payment.phone_sealed, outage.tenant_id)
    if msisdn is None:
        return False
    until = db.session.scalar(select(func.max(AccessGrant.expires_at)).where(AccessGrant.leader_id == leader_id))
    assert until is not None  # noqa: S101 - the leader is one of them
    sentence = _(
        "%(business)s Wi-Fi was down from %(begin)s to %(end)s. That time is given back: valid until %(until)s.",
        business=notifications.short(db.session.get_one(Tenant, outage.tenant_id).name),
        begin=f"{clock.nairobi(outage.started_at):%H:%M}",
        end=f"{clock.nairobi(outage.ended_at):%H:%M}",
        until=f"{clock.nairobi(until):%d/%m %H:%M}",
    )
    return tell.by_sms(
        outage.tenant_id, key, msisdn=msisdn, text=sentence, locale=purchase.locale, expires_at=until,
        is_test=purchase.payment.environment == "sandbox",
    )  # fmt: skip


def of_site(site: Site, *, limit: int = 10) -> list[Outage]:
    """The site's last outages, newest first."""
    last = select(Outage).where(Outage.site_id == site.id).order_by(Outage.started_at.desc()).limit(limit)
    return list(db.session.scalars(last))
