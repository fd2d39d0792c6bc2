"""RouterOS' commands, as the API sends them: print, add, set, remove and the few that do something."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from portal.kernel import clock
from portal.simulator.engine.store import instant
from portal.simulator.router import ppp, values
from portal.simulator.router.hotspot import Hotspot
from portal.simulator.router.machine import Trap
from portal.simulator.router.menus import LIVE, MENUS, SINGLES, VERSION

CHANGES = ("add", "set", "remove", "unset", "enable", "disable", "login", "reset-counters", "reset-counters-all")
Rows = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Command:
    """A sentence taken apart. attributes: `=name=value`; queries: the `?` words in their order."""

    path: str
    verb: str
    attributes: dict[str, str]
    queries: list[str]

    @classmethod
    def of(cls, words: list[str]) -> "Command":
        path, _, verb = words[0].rpartition("/")
        attributes: dict[str, str] = {}
        for word in words[1:]:
            if word.startswith("="):
                name, _, value = word[1:].partition("=")
                attributes[name] = value
        return cls(path, verb, attributes, [word[1:] for word in words[1:] if word.startswith("?")])

    @property
    def is_change(self) -> bool:
        return self.verb in CHANGES


@dataclass(frozen=True, slots=True)
class Answer:
    """rows: `!re` each; ret: the `=ret=` of `!done`."""

    rows: Rows
    ret: str = ""


def run(hotspot: Hotspot, command: Command) -> Answer:
    """Do it. Raises Trap in RouterOS' words."""
    do = _COMMANDS.get((command.path, command.verb))
    if do is not None:
        return do(hotspot, command)
    known = command.path in MENUS or command.path in SINGLES or command.path in LIVE
    if not known:
        raise Trap("no such command prefix")
    general = _GENERAL.get(command.verb)
    if general is None:
        raise Trap("no such command")
    return general(hotspot, command)


def _print(hotspot: Hotspot, command: Command) -> Answer:
    shown = [row for row in rows_of(hotspot, command.path) if matches(row, command.queries)]
    if ".id" in command.attributes:
        shown = [row for row in shown if row.get(".id") in command.attributes[".id"].split(",")]
    if "count-only" in command.attributes:
        return Answer([], ret=str(len(shown)))
    if wanted := command.attributes.get(".proplist"):
        names = wanted.split(",")
        shown = [{name: row[name] for name in names if name in row} for row in shown]
    return Answer(shown)


def rows_of(hotspot: Hotspot, path: str) -> Rows:
    """A menu as it is printed."""
    machine = hotspot.machine
    if path in SINGLES:
        return [_clock(hotspot) if path == "/system/clock" else machine.single(path)]
    if path in LIVE:
        return _LIVE_ROWS[path](hotspot)
    rows = []
    for one in machine.entries(path):
        shown = {
            name: one[name]
            for name in MENUS[path].properties
            if one.get(name, "") != "" and name not in MENUS[path].hidden
        }
        if path == "/ip/hotspot/user":
            shown |= hotspot.used_by_user(one).printed() | {"dynamic": "false"}
        if path == "/ip/hotspot/cookie":
            shown["expires-in"] = values.duration(max(0, float(one["until"]) - machine.store.timestamp()))
        rows.append({".id": machine.shown_id(int(one["row"]))} | shown)
    return rows


def _add(hotspot: Hotspot, command: Command) -> Answer:
    if command.path not in MENUS:
        raise Trap("no such command")
    if hotspot.machine.strikes("lie"):
        return Answer([], ret="*FFFF")
    row = hotspot.machine.add(command.path, _properties(command))
    return Answer([], ret=hotspot.machine.shown_id(row))


def _set(hotspot: Hotspot, command: Command) -> Answer:
    machine, given = hotspot.machine, _properties(command)
    if command.path in SINGLES:
        machine.set_single(command.path, SINGLES[command.path], given)
        return Answer([])
    rows = _named(hotspot, command)
    if not machine.strikes("lie"):
        for row in rows:
            machine.change(command.path, row, given)
    return Answer([])


def _unset(hotspot: Hotspot, command: Command) -> Answer:
    for row in _named(hotspot, command):
        hotspot.machine.change(command.path, row, {command.attributes.get("value-name", ""): ""})
    return Answer([])


def _switch(is_disabled: str) -> Callable[[Hotspot, Command], Answer]:
    def switch(hotspot: Hotspot, command: Command) -> Answer:
        for row in _named(hotspot, command):
            hotspot.machine.change(command.path, row, {"disabled": is_disabled})
        return Answer([])

    return switch


def _remove(hotspot: Hotspot, command: Command) -> Answer:
    machine, rows = hotspot.machine, _named(hotspot, command)
    if machine.strikes("lie"):
        return Answer([])
    for row in rows:
        if command.path == "/ip/hotspot/active":
            hotspot.end_by_id(row, cause="Admin-Reset")
        elif command.path == ppp.ACTIVE:
            ppp.end(machine, row)
        elif command.path == "/ip/hotspot/host":
            hotspot.forget_device(row)
        elif command.path in MENUS:
            machine.remove(command.path, row)
        else:
            raise Trap("no such command")
    return Answer([])


def _properties(command: Command) -> dict[str, str]:
    return {name: value for name, value in command.attributes.items() if name not in (".id", "numbers")}


def _named(hotspot: Hotspot, command: Command) -> list[int]:
    """The rows that `.id` or `numbers` name, by id or by name."""
    listed = command.attributes.get(".id") or command.attributes.get("numbers") or ""
    if not listed:
        raise Trap("missing value(s) of argument(s) numbers")
    rows = []
    for one in listed.split(","):
        if one.startswith("*"):
            rows.append(hotspot.machine.row_of(one))
        elif found := hotspot.machine.entry(command.path, name=one):
            rows.append(int(found["row"]))
        else:
            raise Trap("no such item")
    return rows


def matches(row: Mapping[str, str], queries: list[str]) -> bool:
    """RouterOS' queries: a stack of truths, `#` words combine its top ones; what is left must all be true."""
    stack: list[bool] = []
    for query in queries:
        if query.startswith("#"):
            _combine(stack, query[1:])
        else:
            stack.append(_holds(row, query))
    return all(stack)


def _holds(row: Mapping[str, str], query: str) -> bool:
    if query.startswith("-"):
        return query[1:] not in row
    sign = query[0] if query[:1] in ("=", "<", ">") else ""
    name, has_value, value = query[len(sign) :].partition("=")
    if not has_value:
        return name in row
    here = row.get(name)
    if here is None:
        return False
    if sign in ("<", ">"):
        left, right = (int(text) if text.isdigit() else text for text in (here, value))
        if type(left) is not type(right):
            left, right = here, value
        return left < right if sign == "<" else left > right  # type: ignore[operator]
    return here == value


def _combine(stack: list[bool], signs: str) -> None:
    try:
        for sign in signs:
            if sign == "!":
                stack.append(not stack.pop())
            elif sign in "&|":
                right, left = stack.pop(), stack.pop()
                stack.append(left and right if sign == "&" else left or right)
            else:
                raise Trap("bad query")
    except IndexError:
        raise Trap("bad query") from None


# --- commands that do something


def _sign_in(hotspot: Hotspot, command: Command) -> Answer:
    given = command.attributes
    unknown = set(given) - {"user", "password", "mac-address", "ip", "domain"}
    if unknown:
        raise Trap(f"unknown parameter {sorted(unknown)[0]}")
    if not given.get("user") or not given.get("ip"):
        raise Trap(f"missing value(s) of argument(s) {'user' if not given.get('user') else 'ip'}")
    device = hotspot.device_at(given["ip"])
    wanted_mac = given.get("mac-address", "")
    if device is None or (wanted_mac and device["mac"] != wanted_mac.upper()):
        raise Trap(f"unknown host IP {given['ip']}")
    if hotspot.machine.strikes("lie"):
        return Answer([])
    refusal = hotspot.sign_in(device, given["user"], hotspot.plain(given.get("password", "")), login_by="admin")
    if refusal:
        raise Trap(f"failure: {refusal}")
    return Answer([])


def _reset_counters(hotspot: Hotspot, command: Command) -> Answer:
    rows = (
        _named(hotspot, command)
        if command.verb == "reset-counters"
        else [int(one["row"]) for one in hotspot.machine.entries(command.path)]
    )
    for row in rows:
        hotspot.reset_counters(row)
    return Answer([])


def _reboot(hotspot: Hotspot, _command: Command) -> Answer:
    hotspot.reboot()
    return Answer([])


def _no_such(_hotspot: Hotspot, _command: Command) -> Answer:
    raise Trap("no such command")


# --- what is read from what happens


def _active(hotspot: Hotspot) -> Rows:
    return [
        {".id": hotspot.machine.shown_id(session["id"])} | hotspot.printed_session(session)
        for session in hotspot.sessions()
    ]


def _hosts(hotspot: Hotspot) -> Rows:
    machine, rows = hotspot.machine, []
    for device in hotspot.devices():
        is_in = hotspot.session_of(device["mac"]) is not None
        rows.append(
            {
                ".id": machine.shown_id(device["id"]),
                "mac-address": device["mac"],
                "address": device["ip"],
                "to-address": device["ip"],
                "server": "hotspot1",
                "uptime": values.duration(max(0, machine.store.timestamp() - device["joined_at"])),
                "authorized": "true" if is_in else "false",
                "bypassed": "true" if hotspot.is_bypassed(device["mac"]) else "false",
                "DHCP": "true",
            }
        )
    return rows


def _clock(hotspot: Hotspot) -> dict[str, str]:
    now = clock.nairobi(hotspot.machine.store.now())
    return {"time": f"{now:%H:%M:%S}", "date": f"{now:%Y-%m-%d}", "time-zone-name": "Africa/Nairobi"} | {
        "time-zone-autodetect": "true",
        "gmt-offset": "+03:00",
        "dst-active": "false",
    }


def _resource(hotspot: Hotspot) -> Rows:
    machine = hotspot.machine
    booted = instant(machine.booted_at)
    return [
        {
            "uptime": values.duration(max(0, machine.store.timestamp() - booted.timestamp())),
            "version": VERSION,
            "board-name": "hAP ax lite",
            "architecture-name": "arm",
            "platform": "MikroTik",
            "cpu-load": "3",
            "free-memory": "146800640",
            "total-memory": "268435456",
            "free-hdd-space": "94371840",
            "total-hdd-space": "134217728",
        }
    ]


def _packages(_hotspot: Hotspot) -> Rows:
    return [{".id": "*1", "name": "routeros", "version": VERSION.split(" ")[0], "disabled": "false"}]


def _lines(hotspot: Hotspot) -> Rows:
    ppp.look(hotspot.machine)
    return [ppp.printed(hotspot.machine, one) for one in ppp.sessions(hotspot.machine)]


_LIVE_ROWS: dict[str, Callable[[Hotspot], Rows]] = {
    "/ip/hotspot/active": _active,
    "/ip/hotspot/host": _hosts,
    "/ppp/active": _lines,
    "/system/resource": _resource,
    "/system/package": _packages,
}
_GENERAL: dict[str, Callable[[Hotspot, Command], Answer]] = {
    "print": _print,
    "getall": _print,
    "add": _add,
    "set": _set,
    "unset": _unset,
    "enable": _switch("no"),
    "disable": _switch("yes"),
    "remove": _remove,
}
_COMMANDS: dict[tuple[str, str], Callable[[Hotspot, Command], Any]] = {
    ("/ip/hotspot/active", "login"): _sign_in,
    ("/ip/hotspot/user", "reset-counters"): _reset_counters,
    ("/ip/hotspot/user", "reset-counters-all"): _reset_counters,
    ("/system", "reboot"): _reboot,
    ("/ip/hotspot/active", "add"): _no_such,
    ("/ip/hotspot/active", "set"): _no_such,
    ("/ip/hotspot/host", "add"): _no_such,
    ("/ip/hotspot/cookie", "add"): _no_such,
}
