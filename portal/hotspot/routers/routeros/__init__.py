"""MikroTik routers by their API, for sites without RADIUS: users, profiles, sign-ins and disconnects in RouterOS.

Decided: `.id`s are looked up anew in each conversation, since they change when the router starts; rows are found by
name and known as ours by their comment `g:<grant>`. A user of the same name that somebody else made is left alone, and
staff are told.
Decided: what is read back decides. After a set of changes the rows are printed once more and compared with what was
wanted, column by column; an answer `!done` alone counts for nothing.
Decided: calendar time is ours to end (RouterOS counts only time online): the reconciler's row comes up when the pass is
over, and `limit-uptime` stands behind it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from librouteros.exceptions import MultiTrapError, TrapError

from portal.hotspot.models import AccessSession, Package, Site
from portal.hotspot.routers.interface import (
    DATA_CAP,
    DEVICES,
    KICK,
    LIVE_CHANGE,
    ONLINE_TIME,
    PUSH_LOGIN,
    RATE,
    SESSIONS,
    TOLD,
    Finding,
    Health,
    Listed,
    Online,
    Outcome,
    Wanted,
    done,
    failed,
    refused,
    register,
)
from portal.hotspot.routers.routeros import doctor, lines
from portal.hotspot.routers.routeros.connection import CONVERSATION_S, Conversation, Row, Trouble, conversation
from portal.hotspot.routers.routeros.terms import (
    PROFILE_COLUMNS,
    USER_COLUMNS,
    differing,
    grant_of,
    plain,
    profile_row,
    seconds,
    user_row,
)

USER, PROFILE = "/ip/hotspot/user", "/ip/hotspot/user/profile"
ACTIVE, COOKIE, HOST = "/ip/hotspot/active", "/ip/hotspot/cookie", "/ip/hotspot/host"
ORDER_S = 10.0  # of one order: a person, or everybody's messages, wait behind it
ASKED_BY_NAME = 25  # more users at once: the whole list is read
LIMITS = frozenset({"profile", "limit-uptime", "limit-bytes-total", "mac-address"})  # a stay keeps what it began with


_Order = Callable[[Conversation, Sequence[Wanted]], list[Outcome]]


class RouterOS:
    """RouterOS 6.43 and later, by its API."""

    kind = "routeros"
    capabilities = frozenset({TOLD, ONLINE_TIME, DATA_CAP, RATE, DEVICES, LIVE_CHANGE, KICK, PUSH_LOGIN, SESSIONS})

    def ensure_package(self, site: Site, package: Package) -> Outcome:
        row = {
            "name": f"mlango {package.rate.replace(' ', ',') or 'full'} x{package.devices}",
            "rate-limit": package.rate, "shared-users": str(package.devices), "add-mac-cookie": "yes",
        }  # fmt: skip

        def ensure(talk: Conversation) -> Outcome:
            _ensure_profiles(talk, [row])
            return done()

        return _try(site, ensure)

    def ensure_grants(self, site: Site, wanted: Sequence[Wanted]) -> list[Outcome]:
        return _each_service(site, wanted, _ensure, lambda talk, some: lines.ensure(talk, some, pool=site.expired_pool))

    def revoke_grants(self, site: Site, gone: Sequence[Wanted]) -> list[Outcome]:
        return _each_service(site, gone, _revoke, lines.revoke)

    def push_login(self, site: Site, wanted: Wanted, *, mac: str, ip: str) -> Outcome:
        return _try(site, lambda talk: _sign_in(talk, wanted, mac))

    def kick(self, site: Site, session: AccessSession) -> Outcome:
        return _try(site, lambda talk: _kick(talk, user=session.username, mac=session.mac), lasting_s=ORDER_S)

    def change_live(self, site: Site, session: AccessSession, wanted: Wanted) -> Outcome:
        def change(talk: Conversation) -> Outcome:
            """A stay keeps the limits that it began with: it is ended, and the device signed in anew at once."""
            ended = _kick(talk, user=session.username, mac=session.mac)
            if ended.is_done and session.mac and (wanted.devices > 1 or wanted.mac in ("", session.mac)):
                _sign_in(talk, wanted, session.mac)
            return ended

        return _try(site, change)

    def sessions(self, site: Site) -> Listed:
        found: list[Online] = []

        def read(talk: Conversation) -> Outcome:
            found.extend(_online(talk) + lines.online(talk))
            return done()

        outcome = _try(site, read)
        return Listed(outcome, tuple(found) if outcome.is_done else ())

    def known(self, site: Site) -> tuple[Outcome, frozenset[int]]:
        """The grants that have a row of ours there."""
        found: set[int] = set()

        def read(talk: Conversation) -> Outcome:
            rows = talk.print(USER, ("name", "comment"))
            found.update(grant for row in rows if (grant := grant_of(row.get("comment"))) is not None)
            found.update(lines.known(talk))
            return done()

        return _try(site, read), frozenset(found)

    def check(self, site: Site) -> Health:
        findings: list[Finding] = []
        outcome = _try(site, lambda talk: doctor.look(talk, findings))
        if not findings:
            findings.append(doctor.cannot_be_reached(outcome))
        return Health(outcome, tuple(findings))


def _try(site: Site, work: Callable[[Conversation], Outcome], *, lasting_s: float = CONVERSATION_S) -> Outcome:
    try:
        with conversation(site, lasting_s=lasting_s) as talk:
            return work(talk)
    except Trouble as trouble:
        return trouble.outcome


def _each_service(site: Site, some: Sequence[Wanted], hotspot: _Order, pppoe: _Order) -> list[Outcome]:
    """Users of the hotspot and lines are different menus: each in its own words, in one conversation."""
    found: dict[int, Outcome] = {}

    def talk_of_both(talk: Conversation) -> Outcome:
        for order, is_line in ((hotspot, False), (pppoe, True)):
            own = [one for one in some if (one.service == "pppoe") == is_line]
            if own:
                found.update(zip((one.grant_id for one in own), order(talk, own), strict=True))
        return done()

    trouble = _try(site, talk_of_both)
    return [found.get(one.grant_id, trouble) if trouble.is_done else trouble for one in some]


# --- users and profiles


def _users(talk: Conversation, wanted: Sequence[Wanted]) -> dict[str, Row]:
    names = sorted({one.username for one in wanted})
    asked = {"name": names} if len(names) <= ASKED_BY_NAME else None
    return {plain(row.get("name")): row for row in talk.print(USER, USER_COLUMNS, any_of=asked)}


def _ensure_profiles(talk: Conversation, rows: Sequence[dict[str, str]]) -> None:
    stand = {plain(row.get("name")): row for row in talk.print(PROFILE, PROFILE_COLUMNS)}
    for row in {row["name"]: row for row in rows}.values():
        there = stand.get(row["name"])
        if there is None:
            talk.call(f"{PROFILE}/add", **row)
        elif differing(there, row):
            talk.call(f"{PROFILE}/set", **{".id": there[".id"]}, **row)


def _ensure(talk: Conversation, wanted: Sequence[Wanted]) -> list[Outcome]:
    """Bring the users about, then read them all back. One that is refused stops no other."""
    outcomes: list[Outcome] = []
    _ensure_profiles(talk, [profile_row(one) for one in wanted])
    stand = _users(talk, wanted)
    tried = [_ensure_user(talk, one, stand.get(one.username)) for one in wanted]
    stand = _users(talk, wanted)
    for one, outcome in zip(wanted, tried, strict=True):
        there = stand.get(one.username)
        if not outcome.is_done:
            outcomes.append(outcome)
        elif there is None:
            outcomes.append(failed("differs", "The router took the user and does not have it."))
        elif wrong := differing(there, user_row(one)):
            outcomes.append(
                failed("differs", f"The router has the user otherwise than it was told: {', '.join(wrong)}.")
            )
        else:
            outcomes.append(outcome)
    return outcomes


def _ensure_user(talk: Conversation, one: Wanted, there: Row | None) -> Outcome:
    row = user_row(one)
    try:
        if there is None:
            talk.call(f"{USER}/add", **row)
            return done("added")
        if grant_of(there.get("comment")) != one.grant_id:
            return refused("name_taken", f"The router has a user {one.username} that is not ours; it is left alone.")
        if not (wrong := differing(there, row)):
            return done("as_it_was")
        talk.call(f"{USER}/set", **{".id": there[".id"]}, **{name: row[name] for name in wrong})
        return done("limits_changed" if LIMITS & set(wrong) else "changed")
    except (TrapError, MultiTrapError) as error:
        return failed("refused_by_router", f"The router refused the user: {str(error)[:150]}")


def _revoke(talk: Conversation, gone: Sequence[Wanted]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    stand = _users(talk, gone)
    ours = {
        one.username: stand[one.username]
        for one in gone
        if one.username in stand and grant_of(stand[one.username].get("comment")) == one.grant_id
    }
    not_ours = {one.username for one in gone} & set(stand) - set(ours)
    for row in ours.values():
        _remove(talk, USER, [row])
    theirs = [one for one in gone if one.username not in not_ours]
    _end_stays(talk, {one.username for one in theirs})
    stand, active = _users(talk, gone), {plain(row.get("user")) for row in talk.print(ACTIVE, ("user",))}
    for one in gone:
        if one.username in not_ours:
            outcomes.append(done("not_ours"))
        elif one.username in stand:
            outcomes.append(failed("differs", "The router said it removed the user, and still has it."))
        elif one.username in active:
            outcomes.append(failed("still_online", "The router said it ended the session, and still lists it."))
        else:
            outcomes.append(done("removed" if one.username in ours else "was_gone"))
    return outcomes


def _remove(talk: Conversation, menu: str, rows: Sequence[Row]) -> None:
    """Take rows away; one that went by itself meanwhile is gone as well."""
    for row in rows:
        try:
            talk.call(f"{menu}/remove", **{".id": row[".id"]})
        except TrapError as error:
            if "no such item" not in str(error):
                raise


def _end_stays(talk: Conversation, users: set[str]) -> None:
    """Cookies first: a device that loses its session comes straight back with one."""
    for menu in (COOKIE, ACTIVE):
        _remove(talk, menu, [row for row in talk.print(menu, ("user",)) if plain(row.get("user")) in users])


# --- stays


def _is(row: Row, user: str, mac: str) -> bool:
    return plain(row.get("user")) == user and (not mac or plain(row.get("mac-address")).upper() == mac)


def _kick(talk: Conversation, *, user: str, mac: str) -> Outcome:
    for menu in (COOKIE, ACTIVE):
        _remove(talk, menu, [row for row in talk.print(menu, ("user", "mac-address")) if _is(row, user, mac)])
    is_on = any(_is(row, user, mac) for row in talk.print(ACTIVE, ("user", "mac-address")))
    if not lines.kick(talk, user) or is_on:
        return failed("still_online", "The router said it ended the session, and still lists it.")
    return done()


def _sign_in(talk: Conversation, wanted: Wanted, mac: str) -> Outcome:
    """The address is the router's own word: what a browser says of itself could sign in somebody else's device."""
    if any(_is(row, wanted.username, mac) for row in talk.print(ACTIVE, ("user", "mac-address"))):
        return done("as_it_was")
    hosts = [
        row for row in talk.print(HOST, ("mac-address", "address")) if plain(row.get("mac-address")).upper() == mac
    ]
    if not hosts:
        return failed("not_here", "The device is not on this router's network now.")
    words = {"user": wanted.username, "password": wanted.password, "mac-address": mac, "ip": plain(hosts[0]["address"])}
    talk.call(f"{ACTIVE}/login", **words)
    if not any(_is(row, wanted.username, mac) for row in talk.print(ACTIVE, ("user", "mac-address"))):
        return failed("differs", "The router said it signed the device in, and does not list it.")
    return done("signed_in")


def _online(talk: Conversation) -> list[Online]:
    columns = ("user", "address", "mac-address", "uptime", "bytes-in", "bytes-out")
    return [
        Online(
            username=plain(row.get("user"))[:64],
            mac=plain(row.get("mac-address")).upper()[:17],
            ip=plain(row.get("address"))[:45],
            session_id=plain(row.get(".id"))[:64],
            online_s=seconds(row.get("uptime", 0)),
            bytes_in=int(row.get("bytes-in", 0)),
            bytes_out=int(row.get("bytes-out", 0)),
        )
        for row in talk.print(ACTIVE, columns)
    ]


register(RouterOS())


def sign_in(site: Site, wanted: Wanted, *, mac: str) -> Outcome:
    """Sign a device in at any RouterOS router whose API we may use, one that asks RADIUS included."""
    return _try(site, lambda talk: _sign_in(talk, wanted, mac))


def end_stay(site: Site, session: AccessSession) -> Outcome:
    """End a stay at any such router: for where RADIUS did not."""
    return _try(site, lambda talk: _kick(talk, user=session.username, mac=session.mac))


__all__: list[Any] = ["RouterOS", "end_stay", "sign_in"]
