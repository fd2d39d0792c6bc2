"""The gateway's agent: a small script on the router tells us who is there and is told whom to let in and whom to end.

Decided: openNDS cannot be reached from outside and offers no API, and its own authmon (FAS levels 3 and 4) only ever
lets in: nothing of it ends a session, so a refund would run on to its end. So the router asks us every few seconds by
a script of twenty lines, with the list that `ndsctl json` gives, and does what it is answered: `auth` with minutes,
speeds and quotas, or `deauth`. It needs no PHP, works at every FAS level and behind any NAT; who takes authmon alone
gets access that ends with its time, and no sooner.
Decided: what is wanted is worked out at each asking from the passes of the devices that are there: nothing is queued,
nothing can be lost, and who is online without a right is ended by the next asking, whoever let them in.
Decided: openNDS keeps minutes and quotas that a session began with; time bought meanwhile is given when it asks again,
after the old end: the device is let in once more within seconds, without its owner doing anything. Nothing lengthens
what runs (measured with 9.10: `ndsctl auth` refuses who is in, and after a `deauth` the device is unknown until it
opens a page), so ending it when time is bought would only bring the break forward, into the middle of a call.
What remains: a MAC address is all by which openNDS knows a device. Who copies one while its owner is away gets on with
what is left of that pass, and no further: not its code, its number or its page; and its owner ends that by moving the
pass. To ask for a proof at each return would ask every owner, since the windows of phones forget cookies.
"""

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, literal_column, or_, select, update

from portal.hotspot.models import AccessGrant, AccessSession, PackageSite, Provisioning, Site
from portal.hotspot.passes.models import PassDevice
from portal.hotspot.purchases import normalise_mac
from portal.hotspot.routers import circuit, passes, stays
from portal.hotspot.routers.interface import Online
from portal.hotspot.routers.models import GatewayClient
from portal.hotspot.routers.opennds.rates import kbit
from portal.hotspot.routers.passes import Pass
from portal.kernel import bulk, clock
from portal.kernel.db import db
from portal.kernel.errors import Refused

LONGEST_REPORT, MOST_CLIENTS = 1_000_000, 2_000
ENDED_BY_US = "Admin-Reset"  # RADIUS' word: it is to be ended, though its pass runs on
_SEEN_AGAIN_S, _SAID_AGAIN_S = 60, 20  # how often it is written down that a device, and the gateway, is there
_IS_ON: ColumnElement[bool] = literal_column("provisionings.wanted = 'on'")  # as its partial index has it
_TOKEN = re.compile(r"[0-9A-Za-z]{1,32}")


class Unreadable(Refused):
    """What was sent is no list of clients."""

    status = 400
    code = "unreadable"


@dataclass(frozen=True)
class Client:
    """A device behind the gateway. started_at: epoch seconds; bytes_in: what it sent, bytes_out: what it got.

    rates: (upload, download) in kbit/s that it was let in with; None where it was told none.
    """

    mac: str
    ip: str
    is_in: bool
    token: str = ""
    started_at: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    rates: tuple[int, int] | None = None


def read(report: bytes) -> list[Client]:
    """The clients of `ndsctl json`. Raises Unreadable; a single client that cannot be read is left out."""
    try:
        given = json.loads(report.decode("utf-8", "replace") or "{}")
    except (ValueError, RecursionError):
        raise Unreadable("This is not what ndsctl json says.") from None
    clients = given.get("clients", {}) if isinstance(given, dict) else None
    if not isinstance(clients, dict):
        raise Unreadable("This is not what ndsctl json says.")
    found = [_client(one) for one in list(clients.values())[:MOST_CLIENTS] if isinstance(one, dict)]
    return [one for one in found if one is not None]


def _client(given: dict[str, Any]) -> Client | None:
    mac = normalise_mac(str(given.get("mac", "")))
    if not mac:
        return None
    token = str(given.get("token", ""))
    rates = (_count(given.get("upload_rate_limit_threshold")), _count(given.get("download_rate_limit_threshold")))
    return Client(
        mac=mac,
        ip=str(given.get("ip", ""))[:45],
        is_in=given.get("state") == "Authenticated",
        token=token if _TOKEN.fullmatch(token) else "",
        started_at=_count(given.get("session_start")),
        bytes_in=1_024 * _count(given.get("upload_this_session")),
        bytes_out=1_024 * _count(given.get("download_this_session")),
        rates=rates if any(rates) else None,
    )


def _count(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 13 else 0


@dataclass(frozen=True)
class Right:
    """What a device may have here now. row: its grant with its package's terms."""

    row: Any
    a_pass: Pass


def site_of(token: str) -> Site | None:
    """The gateway that holds this token."""
    mine = select(Site).where(Site.token == token, Site.kind == "opennds", Site.closed_at.is_(None))
    return db.session.scalars(mine).one_or_none()


def answer(site: Site, clients: Sequence[Client]) -> list[str]:
    """What the gateway has to do now: lines `auth MAC minutes up down upquota downquota` and `deauth MAC`.

    Rates in kbit/s, quotas in kB, 0 for no limit. Writes down what it said: who is online, who was let in or ended.
    Inside a transaction; the number of statements does not depend on how many are there.
    """
    now = clock.now()
    if site.last_seen_at is None or (now - site.last_seen_at).total_seconds() > _SAID_AGAIN_S:
        circuit.answered(site, now)
        site.last_seen_at = now
    _see(site, clients, now)
    rights = rights_of(site, {one.mac for one in clients}, now)
    stand = _open_stays(site)
    online = [_online(one, stand.get(one.mac), rights.get(one.mac), now) for one in clients if one.is_in]
    used = stays.book(site, online, now)
    slower = {leader for leader in used if _has_just_reached(rights, leader, used[leader])}
    slower |= {
        right.a_pass.leader_id for one in clients if (right := rights.get(one.mac)) and _is_kept_slow(one, right)
    }
    orders: list[str] = []
    told: dict[int, str] = {}
    for one in clients:
        right = rights.get(one.mac)
        if one.is_in and (right is None or _is_to_go(stand.get(one.mac), right) or right.a_pass.leader_id in slower):
            orders.append(f"deauth {one.mac.lower()}")
        elif right is not None:
            told[right.row.id] = "confirmed" if one.is_in else told.get(right.row.id, "told")
            if not one.is_in:
                orders.append(order_for(one.mac.lower(), right, now))
    _write_down(site, told, now)
    _confirm_ended(site, {one.mac for one in clients if one.is_in}, now)
    return orders


def order_for(whom: str, right: Right, now: datetime) -> str:
    """The line that lets a device in for what is left of its pass. Quotas are of each way: what is used up first."""
    wanted = right.a_pass.wanted(right.row, site_id=0, version=1)
    left_s = (wanted.expires_at - now).total_seconds()
    if wanted.online_s is not None:
        left_s = min(left_s, wanted.online_s)
    up, down = kbit(wanted.rate)
    quota_kb = math.ceil(wanted.data_bytes / 1_024) if wanted.data_bytes is not None else 0
    return f"auth {whom} {max(1, math.ceil(left_s / 60))} {up} {down} {quota_kb} {quota_kb}"


def rights_of(site: Site, macs: Collection[str], now: datetime) -> dict[str, Right]:
    """{MAC: what it may have here now}, of those that may have anything."""
    if not macs:
        return {}
    named = select(AccessGrant.leader_id, AccessGrant.mac).where(AccessGrant.mac.in_(macs))
    named = named.where(AccessGrant.tenant_id == site.tenant_id, AccessGrant.expires_at > now)
    named = named.where(AccessGrant.ended_at.is_(None))  # what has ended does not move with its pass
    added = select(PassDevice.leader_id, PassDevice.mac).where(PassDevice.mac.in_(macs))
    added = added.where(PassDevice.tenant_id == site.tenant_id, PassDevice.removed_at.is_(None))
    pairs = {(row.leader_id, row.mac) for row in (*db.session.execute(named), *db.session.execute(added))}
    found = passes.read(leader for leader, _mac in pairs if leader is not None)
    elsewhere = _valid_only_elsewhere(site, {one.package_id for a_pass in found.values() for one in a_pass.grants})
    rights: dict[str, Right] = {}
    for leader, mac in sorted(pairs, key=lambda pair: pair[0] or 0):
        a_pass = found.get(leader)
        if a_pass is None or not a_pass.is_on(now) or a_pass.is_used_up or a_pass.is_used_up_today:
            continue
        rows = [one for one in a_pass.alive if one.service == "hotspot" and one.package_id not in elsewhere]
        if rows:
            rights.setdefault(mac, Right(rows[0], a_pass))
    return rights


def _valid_only_elsewhere(site: Site, package_ids: Collection[int]) -> set[int]:
    bound = select(PackageSite.package_id, PackageSite.site_id).where(PackageSite.package_id.in_(package_ids))
    rows = list(db.session.execute(bound))
    return {row.package_id for row in rows} - {row.package_id for row in rows if row.site_id == site.id}


def _has_just_reached(rights: dict[str, Right], leader_id: int, used: int) -> bool:
    """Whether this pass reached a cap with this report and runs on, slower: it is let in anew."""
    a_pass = next((one.a_pass for one in rights.values() if one.a_pass.leader_id == leader_id), None)
    if a_pass is None or a_pass.terms.at_cap != "throttle":
        return False
    before = sum(count for _seconds, count in a_pass.used.values())  # read before this report was written down
    pairs = ((a_pass.data_cap_bytes, before), (a_pass.terms.daily_cap_bytes, a_pass.used_today))
    return any(cap is not None and had < cap <= had + used for cap, had in pairs)


def _is_kept_slow(client: Client, right: Right) -> bool:
    """Whether it has the speed of who used up the day, and another day has begun: it is let in anew, faster."""
    terms = right.a_pass.terms
    if not client.is_in or terms.daily_cap_bytes is None or not client.rates or client.rates == kbit(terms.rate):
        return False
    is_slow = right.a_pass.is_at_cap or right.a_pass.is_at_daily_cap
    return client.rates == kbit(terms.throttled_rate) and not is_slow


def _online(client: Client, stay: Any, right: Right | None, now: datetime) -> Online:
    """Under the name that its stay began with, whatever its right is by now."""
    started = min(client.started_at or int(now.timestamp()), int(now.timestamp()))
    return Online(
        username=stay.username if stay else right.row.username if right else "",
        mac=client.mac,
        ip=client.ip,
        session_id=f"{client.started_at}:{client.token}",
        online_s=int(now.timestamp()) - started,
        bytes_in=client.bytes_in,
        bytes_out=client.bytes_out,
    )


def _open_stays(site: Site) -> dict[str, Any]:
    """{MAC: user name and end cause of the stay that runs}."""
    stays_here = select(AccessSession.mac, AccessSession.username, AccessSession.end_cause)
    running = stays_here.where(AccessSession.site_id == site.id, AccessSession.stopped_at.is_(None))
    return {row.mac: row for row in db.session.execute(running)}


def _is_to_go(stay: Any, right: Right) -> bool:
    """Whether staff or its owner signed it out, or another pass began on it, with terms of its own."""
    if stay is None:
        return False
    return stay.end_cause == ENDED_BY_US or stay.username not in {one.username for one in right.a_pass.grants}


def _see(site: Site, clients: Sequence[Client], now: datetime) -> None:
    """Remember who is there: one row a device, touched at most once a minute."""
    macs = {one.mac for one in clients}
    seen = select(GatewayClient.mac, GatewayClient.seen_at).where(GatewayClient.site_id == site.id)
    known = {row.mac: row.seen_at for row in db.session.execute(seen.where(GatewayClient.mac.in_(macs)))}
    here = {"tenant_id": site.tenant_id, "site_id": site.id, "seen_at": now, "created_at": now}
    new = [
        here | {"mac": one.mac, "ip": one.ip}
        for one in {one.mac: one for one in clients if one.mac not in known}.values()
    ]
    bulk.insert(db.session.connection(), GatewayClient, new, unless="site_id, mac")
    old = [mac for mac, at in known.items() if (now - at).total_seconds() > _SEEN_AGAIN_S]
    if old:
        again = update(GatewayClient).where(GatewayClient.site_id == site.id, GatewayClient.mac.in_(old))
        db.session.execute(again.values(seen_at=now), execution_options={"synchronize_session": False})


def _write_down(site: Site, told: dict[int, str], now: datetime) -> None:
    """One row a grant and gateway: told when it is let in, confirmed when the gateway's own list has it in."""
    if not told:
        return
    stand = select(Provisioning.id, Provisioning.grant_id, Provisioning.wanted, Provisioning.confirmed_at)
    rows = {
        row.grant_id: row
        for row in db.session.execute(stand.where(Provisioning.site_id == site.id, Provisioning.grant_id.in_(told)))
    }
    new = [
        {"tenant_id": site.tenant_id, "site_id": site.id, "grant_id": grant_id, "wanted": "on", "next_at": None,
         "since": now, "created_at": now, "confirmed_at": now if what == "confirmed" else None}
        for grant_id, what in told.items() if grant_id not in rows
    ]  # fmt: skip
    bulk.insert(db.session.connection(), Provisioning, new, unless="site_id, grant_id")
    anew = [
        {"id": row.id, "wanted": "on", "confirmed_at": now if told[grant_id] == "confirmed" else row.confirmed_at}
        for grant_id, row in rows.items()
        if row.wanted == "off" or (row.confirmed_at is None and told[grant_id] == "confirmed")
    ]
    bulk.update(db.session.connection(), Provisioning, anew)


def _confirm_ended(site: Site, online: Collection[str], now: datetime) -> None:
    """Grants that were let in, are over and are not in any more: read back."""
    over = (
        select(Provisioning.id, AccessGrant.mac)
        .join(AccessGrant, AccessGrant.id == Provisioning.grant_id)
        .where(Provisioning.site_id == site.id, _IS_ON)
        .where(
            or_(AccessGrant.ended_at.is_not(None), AccessGrant.suspended_at.is_not(None), AccessGrant.expires_at <= now)
        )
        .limit(200)
    )
    gone = [row.id for row in db.session.execute(over) if row.mac not in online]
    if gone:
        mine = update(Provisioning).where(Provisioning.id.in_(gone))
        values = {"wanted": "off", "confirmed_at": now, "since": now}
        db.session.execute(mine.values(**values), execution_options={"synchronize_session": False})


SCRIPT = """\
#!/bin/sh
# Mlango: tells the portal who is behind this gateway, and lets in or ends whom it says. Keep it secret: the address
# below is this router's own. Into /usr/bin/mlango-agent, then into /etc/rc.local: /usr/bin/mlango-agent &
ask() {
    ndsctl json 2>/dev/null >/tmp/mlango-report || echo '{}' >/tmp/mlango-report
    wget -q -T 20 -O - --post-file=/tmp/mlango-report '@URL@' 2>/dev/null
}
is_plain() { case "$1" in '' | *[!0-9a-f:]*) return 1 ;; esac; }
while :; do
    ask | while read -r what who minutes up down upquota downquota; do
        is_plain "$who" || continue
        case "$what" in
            deauth) ndsctl deauth "$who" >/dev/null ;;
            auth)
                is_plain "$minutes$up$down$upquota$downquota" || continue
                ndsctl auth "$who" "$minutes" "$up" "$down" "$upquota" "$downquota" >/dev/null
                ;;
        esac
    done
    sleep @EVERY_S@
done
"""


def script(url: str, *, every_s: int = 5) -> str:
    """The agent for one gateway, which asks at its own address. url: ours, of letters that a shell takes literally."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.:/_\[\]-]+", url):
        raise Refused("The portal's address cannot be written into a script.")
    return SCRIPT.replace("@URL@", url).replace("@EVERY_S@", str(every_s))
