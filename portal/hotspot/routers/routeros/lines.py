"""Lines (PPPoE) in RouterOS: a secret each, in the profile of its speed, or in the one behind the wall.

Decided: a line that is over keeps its secret, in a profile whose address pool and list lead to the portal alone (the
site's `expired_pool`), and its session is ended so that it dials in anew and lands there: a rejected line would redial
for ever and show its owner nothing. Paid again it changes back in the same way.
Decided: the addresses of our profiles are those of the router's own profile `default`; only the pool behind the wall is
ours to name. RouterOS tells no bytes of a PPPoE session here, so caps of data are left to sites that ask RADIUS.
"""

from collections.abc import Sequence

from librouteros.exceptions import MultiTrapError, TrapError

from portal.hotspot.routers.interface import Online, Outcome, Wanted, done, failed, refused
from portal.hotspot.routers.routeros.connection import Conversation, Row
from portal.hotspot.routers.routeros.terms import comment_of, differing, grant_of, plain, seconds

SECRET, PROFILE, ACTIVE = "/ppp/secret", "/ppp/profile", "/ppp/active"
WALLED = "mlango expired"
SECRET_COLUMNS = ("name", "password", "service", "profile", "comment", "disabled")
ADDRESSES = ("local-address", "remote-address", "dns-server")
PROFILE_COLUMNS = ("name", "rate-limit", "address-list", *ADDRESSES)
ENDS_STAY = frozenset({"password", "profile", "disabled"})  # a session keeps what it dialled in with


def profile_name(wanted: Wanted) -> str:
    return WALLED if wanted.is_walled else f"mlango ppp {wanted.rate.replace(' ', ',') or 'full'}"


def _profile_row(wanted: Wanted, addresses: dict[str, str], pool: str) -> dict[str, str]:
    row = {"name": profile_name(wanted), "rate-limit": "" if wanted.is_walled else wanted.rate, "address-list": ""}
    return row | addresses | ({"remote-address": pool, "address-list": pool} if wanted.is_walled else {})


def secret_row(wanted: Wanted) -> dict[str, str]:
    """The secret as it is to stand there."""
    return {
        "name": wanted.username,
        "password": wanted.password,
        "service": "pppoe",
        "profile": profile_name(wanted),
        "comment": comment_of(wanted),
        "disabled": "no",
    }


def ensure(talk: Conversation, wanted: Sequence[Wanted], *, pool: str) -> list[Outcome]:
    """Bring the secrets about, end the sessions that began otherwise, then read all of it back."""
    _ensure_profiles(talk, wanted, pool)
    stand = _secrets(talk)
    tried = [_ensure_secret(talk, one, stand.get(one.username)) for one in wanted]
    changed = {
        one.username for one, outcome in zip(wanted, tried, strict=True) if outcome.code in ("added", "dials_anew")
    }
    _end_stays(talk, changed)
    stand = _secrets(talk)
    outcomes = []
    for one, outcome in zip(wanted, tried, strict=True):
        there = stand.get(one.username)
        if not outcome.is_done:
            outcomes.append(outcome)
        elif there is None:
            outcomes.append(failed("differs", "The router took the line and does not have it."))
        elif wrong := differing(there, secret_row(one)):
            outcomes.append(
                failed("differs", f"The router has the line otherwise than it was told: {', '.join(wrong)}.")
            )
        else:
            outcomes.append(outcome)
    return outcomes


def revoke(talk: Conversation, gone: Sequence[Wanted]) -> list[Outcome]:
    """The router knows none of these lines, and none of them is online."""
    stand = _secrets(talk)
    ours = {
        one.username: stand[one.username]
        for one in gone
        if one.username in stand and grant_of(stand[one.username].get("comment")) == one.grant_id
    }
    not_ours = {one.username for one in gone} & set(stand) - set(ours)
    for row in ours.values():
        remove(talk, SECRET, row)
    _end_stays(talk, {one.username for one in gone} - not_ours)
    stand, online = _secrets(talk), {plain(row.get("name")) for row in talk.print(ACTIVE, ("name",))}
    outcomes = []
    for one in gone:
        if one.username in not_ours:
            outcomes.append(done("not_ours"))
        elif one.username in stand:
            outcomes.append(failed("differs", "The router said it removed the line, and still has it."))
        elif one.username in online:
            outcomes.append(failed("still_online", "The router said it ended the session, and still lists it."))
        else:
            outcomes.append(done("removed" if one.username in ours else "was_gone"))
    return outcomes


def known(talk: Conversation) -> set[int]:
    """The grants that have a secret of ours there."""
    rows = talk.print(SECRET, ("name", "comment"))
    return {grant for row in rows if (grant := grant_of(row.get("comment"))) is not None}


def online(talk: Conversation) -> list[Online]:
    """The lines that are dialled in."""
    columns = ("name", "caller-id", "address", "uptime")
    return [
        Online(
            username=plain(row.get("name"))[:64],
            mac=plain(row.get("caller-id")).upper()[:17],
            ip=plain(row.get("address"))[:45],
            session_id=plain(row.get(".id"))[:64],
            online_s=seconds(row.get("uptime", 0)),
        )
        for row in talk.print(ACTIVE, columns)
    ]


def kick(talk: Conversation, name: str) -> bool:
    """End this line's session; whether it is gone."""
    before = {plain(row.get(".id")) for row in talk.print(ACTIVE, ("name",)) if plain(row.get("name")) == name}
    _end_stays(talk, {name})
    after = {plain(row.get(".id")) for row in talk.print(ACTIVE, ("name",)) if plain(row.get("name")) == name}
    return not before & after  # it may have dialled in anew meanwhile


def remove(talk: Conversation, menu: str, row: Row) -> None:
    """Take a row away; one that went by itself meanwhile is gone as well."""
    try:
        talk.call(f"{menu}/remove", **{".id": row[".id"]})
    except TrapError as error:
        if "no such item" not in str(error):
            raise


def _secrets(talk: Conversation) -> dict[str, Row]:
    return {plain(row.get("name")): row for row in talk.print(SECRET, SECRET_COLUMNS)}


def _ensure_profiles(talk: Conversation, wanted: Sequence[Wanted], pool: str) -> None:
    stand = {plain(row.get("name")): row for row in talk.print(PROFILE, PROFILE_COLUMNS)}
    default = stand.get("default", {})
    addresses = {name: plain(default.get(name)) for name in ADDRESSES}
    for row in {profile_name(one): _profile_row(one, addresses, pool) for one in wanted}.values():
        there = stand.get(row["name"])
        if there is None:
            talk.call(f"{PROFILE}/add", **{name: value for name, value in row.items() if value})
        elif wrong := differing(there, row):
            talk.call(f"{PROFILE}/set", **{".id": there[".id"]}, **{name: row[name] for name in wrong})


def _ensure_secret(talk: Conversation, one: Wanted, there: Row | None) -> Outcome:
    row = secret_row(one)
    try:
        if there is None:
            talk.call(f"{SECRET}/add", **row)
            return done("added")
        if grant_of(there.get("comment")) != one.grant_id:
            return refused("name_taken", f"The router has a line {one.username} that is not ours; it is left alone.")
        if not (wrong := differing(there, row)):
            return done("as_it_was")
        talk.call(f"{SECRET}/set", **{".id": there[".id"]}, **{name: row[name] for name in wrong})
        return done("dials_anew" if ENDS_STAY & set(wrong) else "changed")
    except (TrapError, MultiTrapError) as error:
        return failed("refused_by_router", f"The router refused the line: {str(error)[:150]}")


def _end_stays(talk: Conversation, names: set[str]) -> None:
    if names:
        for row in talk.print(ACTIVE, ("name",)):
            if plain(row.get("name")) in names:
                remove(talk, ACTIVE, row)
