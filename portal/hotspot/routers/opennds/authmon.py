"""openNDS' own authmon (FAS levels 3 and 4): it asks for devices to let in, and says which it did.

Decided: it asks at the address where phones are sent, with nothing of its own but the hash of the gateway's name, so
that address carries a key (`key=`), made from the site's token and written into the settings that the site's page
gives; without it nobody is answered. A phone behind that very gateway sees it in its own address line, so what it opens
is little: a line names a device by a hash that only its gateway knows and opens nothing elsewhere; and where the agent
runs, a device counts as let in when the gateway's own list says so, whatever was acknowledged here. Where authmon runs
alone, who has the key can take a waiting device's line from it, which then signs in with its code: run the agent.
A line is `rhid minutes up down upquota downquota custom`, quoted as addresses are; at most four a time.
"""

import base64
import binascii
import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import select

from portal.hotspot.models import AccessGrant, Provisioning, Purchase, Site
from portal.hotspot.routers.opennds import agent, fas
from portal.kernel import bulk, clock
from portal.kernel.db import db

AT_ONCE, LOOKED_BACK, LOOKED_AT = 4, timedelta(minutes=30), 200
AGENT_SPEAKS_WITHIN = timedelta(minutes=1)
ACKNOWLEDGED = "ack"


def key_of(token: str) -> str:
    """What the gateway of the site with this token asks with. The token does not follow from it."""
    return hmac.new(token.encode(), b"openNDS authmon", hashlib.sha256).hexdigest()[:32]


def site_of(tenant_id: int, key: str) -> Site | None:
    """The gateway whose key this is; each is compared, in a time that tells nothing of any."""
    mine = select(Site).where(Site.tenant_id == tenant_id, Site.kind == "opennds", Site.closed_at.is_(None))
    found = None
    for site in db.session.scalars(mine.order_by(Site.id)):
        if hmac.compare_digest(key_of(site.token).encode(), key.encode("utf-8", "replace")):
            found = site
    return found


def answer(site: Site, action: str, payload: str) -> str:
    """What authmon is to be told. Inside a transaction."""
    now = clock.now()
    if action == "view":
        acknowledged = _acknowledged(payload)
        if acknowledged:
            _confirm(site, acknowledged, now)
            return ACKNOWLEDGED
        return " ".join(["*", *(quote(line, safe="") for line, _row, _rhid in _lines(site, now))])
    if action == "list":
        lines = _lines(site, now)
        _confirm(site, {rhid for _line, _row, rhid in lines}, now)
        return " ".join(["*", *(quote(line, safe="") for line, _row, _rhid in lines)])
    return ACKNOWLEDGED


def _acknowledged(payload: str) -> set[str]:
    """The ids in `* rhid rhid …`; none in `none` or in what is no such list."""
    try:
        text = base64.b64decode(payload.replace(" ", "+"), validate=True).decode("utf-8", "replace")
    except (ValueError, binascii.Error):
        return set()
    words = text.split()
    return (
        {word for word in words[1 : 1 + LOOKED_AT] if re.fullmatch(r"[0-9a-f]{64}", word)}
        if words[:1] == ["*"]
        else set()
    )


def _waiting(site: Site, now: datetime) -> list[tuple[Any, str]]:
    """(grant, rhid) of devices that paid at this gateway lately and were not let in yet, the oldest first."""
    bought = (
        select(AccessGrant.id, AccessGrant.mac, Purchase.chap_challenge)
        .join(Purchase, Purchase.id == AccessGrant.purchase_id)
        .outerjoin(Provisioning, (Provisioning.grant_id == AccessGrant.id) & (Provisioning.site_id == site.id))
        .where(Purchase.tenant_id == site.tenant_id, Purchase.chap_id == fas.CHALLENGE, AccessGrant.mac != "")
        .where(AccessGrant.created_at > now - LOOKED_BACK, Provisioning.confirmed_at.is_(None))
    )
    rows = db.session.execute(bought.order_by(AccessGrant.id.desc()).limit(LOOKED_AT))
    return [(row, fas.rhid(row.chap_challenge, site.secret)) for row in reversed(list(rows))]


def _lines(site: Site, now: datetime) -> list[tuple[str, Any, str]]:
    waiting = _waiting(site, now)
    rights = agent.rights_of(site, {row.mac for row, _rhid in waiting}, now)
    found: list[tuple[str, Any, str]] = []
    for row, rhid in waiting:
        right = rights.get(row.mac)
        if right is not None and len(found) < AT_ONCE:
            custom = base64.b64encode(f"g:{right.row.id}".encode()).decode()
            found.append((f"{agent.order_for(rhid, right, now).removeprefix('auth ')} {custom}", row, rhid))
    return found


def _confirm(site: Site, rhids: set[str], now: datetime) -> None:
    """These devices are in, as authmon says; the agent's list says it better."""
    if site.last_seen_at is not None and now - site.last_seen_at < AGENT_SPEAKS_WITHIN:
        return
    ids = [row.id for row, rhid in _waiting(site, now) if rhid in rhids]
    rows = [
        {"tenant_id": site.tenant_id, "site_id": site.id, "grant_id": one, "wanted": "on", "next_at": None,
         "since": now, "created_at": now, "confirmed_at": now}
        for one in ids
    ]  # fmt: skip
    bulk.insert(db.session.connection(), Provisioning, rows, unless="site_id, grant_id")
    told = db.session.query(Provisioning).filter(Provisioning.site_id == site.id, Provisioning.grant_id.in_(ids))
    told.filter(Provisioning.confirmed_at.is_(None)).update({"confirmed_at": now}, synchronize_session=False)
