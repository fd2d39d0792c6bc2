"""Who is online and who was: lists of stays, and ending one with what really came of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, update

from portal.audit import chain
from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.purchases import normalise_mac
from portal.hotspot.routers import adapter_of, circuit
from portal.hotspot.routers.interface import Outcome, failed
from portal.kernel import clock, personal
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, PortalError, Refused, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger
from portal.kernel.phone import normalise_msisdn

PAGE_ROWS = 50
MOST_PASSES = 200  # of a device or a number, the newest
BY_STAFF = "Admin-Reset"  # RFC 2866's word for it
ONLY_ASKED = frozenset({"acknowledged", "still_open"})  # the router said yes; its accounting has not said so yet


@dataclass(frozen=True)
class Stay:
    """One stay online, with where it was and the end of the pass that it is on. uid: its public id."""

    id: int
    uid: str
    username: str
    mac: str
    ip: str
    site: str
    site_name: str
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    online_s: int
    bytes_in: int
    bytes_out: int
    end_cause: str
    expires_at: datetime | None


def page(
    tenant_id: int, *, is_online: bool, before_id: int | None = None, words: str = "", site_uid: str = ""
) -> tuple[list[Stay], int | None]:
    """(stays, newest first; what the next page begins before). words: a user name, receipt, MAC or phone number."""
    found = _of_tenant(tenant_id)
    if is_online:
        found = found.where(AccessSession.stopped_at.is_(None))
    if site_uid:
        found = found.where(Site.uid == site_uid)
    if words.strip():
        found = found.where(_about(tenant_id, words.strip(), is_online=is_online))
    if before_id is not None:
        last = select(AccessSession.started_at).where(
            AccessSession.tenant_id == tenant_id, AccessSession.id == before_id
        )
        if (at := db.session.scalar(last)) is None:
            return [], None
        found = found.where(
            AccessSession.started_at <= at, or_(AccessSession.started_at < at, AccessSession.id < before_id)
        )
    newest = found.order_by(AccessSession.started_at.desc(), AccessSession.id.desc()).limit(PAGE_ROWS + 1)
    rows = list(db.session.execute(newest))
    shown = rows[:PAGE_ROWS]
    ends = _ends({row.AccessSession.grant_id for row in shown} - {None})
    return [_stay(row, ends) for row in shown], (shown[-1].AccessSession.id if len(rows) > PAGE_ROWS else None)


def _of_tenant(tenant_id: int) -> Select[Any]:
    columns: tuple[Any, ...] = (AccessSession, Site.uid.label("site_uid"), Site.name.label("site_name"))
    found: Select[Any] = select(*columns).join(Site, Site.id == AccessSession.site_id)
    return found.where(AccessSession.tenant_id == tenant_id).execution_options(populate_existing=True)


def _stay(row: Any, ends: dict[int, datetime]) -> Stay:
    one: AccessSession = row.AccessSession
    return Stay(
        id=one.id, uid=one.uid or one.accounting_id, username=one.username, mac=one.mac, ip=one.ip, site=row.site_uid,
        site_name=row.site_name, started_at=one.started_at, updated_at=one.updated_at, ended_at=one.stopped_at,
        online_s=one.online_s, bytes_in=one.bytes_in, bytes_out=one.bytes_out, end_cause=one.end_cause,
        expires_at=ends.get(one.grant_id or 0),
    )  # fmt: skip


def _ends(leader_ids: set[int]) -> dict[int, datetime]:
    """When each pass is over, by the grant that leads it."""
    if not leader_ids:
        return {}
    last = select(AccessGrant.leader_id, func.max(AccessGrant.expires_at)).where(AccessGrant.leader_id.in_(leader_ids))
    rows = db.session.execute(last.group_by(AccessGrant.leader_id))
    return {leader_id: until for leader_id, until in rows if leader_id is not None}


def _about(tenant_id: int, words: str, *, is_online: bool) -> ColumnElement[bool]:
    """Stays of this user name, receipt, device or phone number: by the passes that it names, however long ago.

    Of who is online also what the router says itself; of all that ever was, that has no index and needs none.
    """
    names = {words, words.upper()}
    theirs: Select[Any] = select(AccessGrant.leader_id).where(AccessGrant.tenant_id == tenant_id)
    if mac := normalise_mac(words):
        theirs, told = theirs.where(AccessGrant.mac == mac), AccessSession.mac == mac
    elif msisdn := _msisdn(words):
        theirs = theirs.where(AccessGrant.phone_hash == personal.phone_hash(msisdn, tenant_id))
        told = AccessSession.username.in_(names)
    else:
        theirs, told = theirs.where(AccessGrant.username.in_(names)), AccessSession.username.in_(names)
    newest = theirs.order_by(AccessGrant.expires_at.desc()).limit(MOST_PASSES)
    leaders = {leader_id for leader_id in db.session.scalars(newest) if leader_id is not None}
    of_passes = AccessSession.grant_id.in_(leaders)
    return or_(of_passes, told) if is_online else of_passes


def _msisdn(words: str) -> str:
    """The phone number that these words are, or an empty text."""
    try:
        return normalise_msisdn(words)
    except Refused:
        return ""


def version(tenant_id: int) -> str:
    """Changes whenever what the page of who is online shows does: cheap, of what is open alone."""
    open_now = select(
        func.count(), func.max(AccessSession.id), func.sum(AccessSession.bytes_in + AccessSession.bytes_out)
    ).where(AccessSession.tenant_id == tenant_id, AccessSession.stopped_at.is_(None))
    return "-".join(str(value or 0) for value in db.session.execute(open_now).one())


def get_by_uid(tenant_id: int, uid: str) -> tuple[AccessSession, Site]:
    """One of the tenant's stays and where it is. Raises NotFound."""
    mine = (
        select(AccessSession, Site)
        .join(Site, Site.id == AccessSession.site_id)
        .where(AccessSession.tenant_id == tenant_id, or_(AccessSession.uid == uid, AccessSession.accounting_id == uid))
    )
    if not uid or (row := db.session.execute(mine.limit(1)).one_or_none()) is None:
        raise NotFound(_("There is no such session here."))
    return row[0], row[1]


class Ending(StrEnum):
    """How far the ending of a stay has come."""

    GONE = "gone"
    ASKED = "asked"  # the router said yes, and is not seen to have done it
    FAILED = "failed"


@dataclass(frozen=True)
class Ended:
    """What came of ending a stay."""

    state: Ending
    sentence: Text

    @property
    def is_under_way(self) -> bool:
        """Whether the device is offline, or its router is seeing to it."""
        return self.state != Ending.FAILED


def disconnect(tenant_id: int, uid: str, *, actor: str, why: str = "") -> Ended:
    """End one stay. Opens its own transactions, and none while the router is asked. Raises NotFound."""
    stay, site = get_by_uid(tenant_id, uid)
    if stay.stopped_at is not None:
        return Ended(Ending.GONE, _("This stay had ended already."))
    stay_id = stay.id
    db.session.expunge_all()  # the adapter is handed plain rows
    outcome = _kick(site, stay)
    with transaction():
        now = db.session.get(AccessSession, stay_id)
        is_gone = now is None or now.stopped_at is not None
        if not is_gone and outcome.is_done and outcome.code not in ONLY_ASKED:
            is_gone = _close(stay_id)
        state = Ending.GONE if is_gone else Ending.ASKED if outcome.code in ONLY_ASKED else Ending.FAILED
        told = {"outcome": outcome.code, "state": state}
        chain.record(tenant_id, "session", stay_id, "disconnected", actor=actor, new=state, why=why, details=told)
    sentences: dict[str, Text] = {
        Ending.GONE: _("The device is offline."),
        Ending.ASKED: _("The router took the order. It is gone once the router's next report says so."),
        Ending.FAILED: _("The router could not be told: %(why)s", why=outcome.text or outcome.code),
    }
    return Ended(state, sentences[state])


def _kick(site: Site, stay: AccessSession) -> Outcome:
    """A router that did not answer is left alone for its pause: who presses again and again would hold up the pages."""
    if not circuit.may_be_tried(site.id, clock.now()):
        return failed("timed_out", "It did not answer a moment ago. Try again in a minute.")
    db.session.remove()  # nothing is held while we wait on a router
    outcome = _asked_to_kick(site, stay)
    if outcome.is_about_router:
        with transaction():
            circuit.did_not_answer(site, outcome, clock.now())
    elif outcome.is_done:
        with transaction():
            circuit.answered(site, clock.now())
    return outcome


def _asked_to_kick(site: Site, stay: AccessSession) -> Outcome:
    try:
        return adapter_of(site).kick(site, stay)
    except PortalError as error:
        return failed("unsupported", str(error))
    except Exception as error:  # whatever a router does, who pressed the button is told
        logger.error("kick_failed", site=site.id, error=repr(error)[:300])
        return failed("broken_answer", _broken(error))


def _broken(error: Exception) -> str:
    return f"its answer could not be read ({type(error).__name__})."


def _close(stay_id: int) -> bool:
    now = clock.now()
    over = update(AccessSession).where(AccessSession.id == stay_id, AccessSession.stopped_at.is_(None))
    db.session.execute(over.values(stopped_at=now, updated_at=now, end_cause=BY_STAFF))
    return True
