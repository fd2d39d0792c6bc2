"""Lines that dial in by PPPoE: routers at people's homes, which dial again as soon as they are cut off.

A line gets its address from its profile: one address, or the first free one of a pool of this router. A session keeps
the profile that it dialled in with until it ends.
"""

import ipaddress
import json
from typing import Any

from portal.kernel.errors import Refused
from portal.simulator.router import values
from portal.simulator.router.machine import Machine

SECRET, PROFILE, POOL, ACTIVE = "/ppp/secret", "/ppp/profile", "/ip/pool", "/ppp/active"
MOST_LINES = 1_000


def plug_in(machine: Machine, name: str, password: str, caller_id: str) -> None:
    """A home router is set up with these, and dials in whenever it is not online."""
    lines = _plugged(machine)
    if name not in lines and len(lines) >= MOST_LINES:
        raise Refused("There are too many lines on this router.", code="invalid_control")
    machine.store.keep(f"router:{machine.name}:lines", lines | {name: [password, caller_id]})
    look(machine)


def unplug(machine: Machine, name: str) -> None:
    """It is switched off."""
    lines = {one: kept for one, kept in _plugged(machine).items() if one != name}
    machine.store.keep(f"router:{machine.name}:lines", lines)
    for row in sessions(machine):
        if row["name"] == name:
            end(machine, int(row["row"]))


def look(machine: Machine) -> None:
    """Who is not online dials in; who may not is refused, and dials again at the next look."""
    on = {row["name"] for row in sessions(machine)}
    for name, (password, caller_id) in _plugged(machine).items():
        if name not in on:
            _dial(machine, name, password, caller_id)


def sessions(machine: Machine) -> list[dict[str, Any]]:
    """Who is online, in the order in which they dialled in."""
    return machine.entries(ACTIVE)


def end(machine: Machine, row: int) -> None:
    """End one session. Raises Trap where there is none."""
    machine.remove(ACTIVE, row)


def printed(machine: Machine, session: dict[str, Any]) -> dict[str, str]:
    """As `/ppp/active/print` shows it."""
    return {
        ".id": machine.shown_id(int(session["row"])),
        "name": session["name"],
        "service": "pppoe",
        "caller-id": session["caller-id"],
        "address": session["address"],
        "uptime": values.duration(max(0, machine.store.timestamp() - float(session["began"]))),
        "encoding": "",
        "session-id": f"0x{0x81000000 + int(session['row']):08x}",
        "radius": "false",
    }


def _plugged(machine: Machine) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = machine.store.setting(f"router:{machine.name}:lines", {})
    return kept


def _dial(machine: Machine, name: str, password: str, caller_id: str) -> None:
    secret = machine.entry(SECRET, name=name)
    if secret is None or secret.get("disabled") == "true" or secret.get("password", "") != password:
        return
    if secret.get("service") not in ("any", "pppoe"):
        return
    profile = machine.entry(PROFILE, name=str(secret["profile"])) or {}
    address = _address(machine, str(secret.get("remote-address") or profile.get("remote-address") or ""))
    if address:
        fields = {
            "name": name, "caller-id": caller_id, "address": address, "profile": secret["profile"],
            "rate": profile.get("rate-limit", ""), "list": profile.get("address-list", ""),
            "began": machine.store.timestamp(),
        }  # fmt: skip
        machine.store.insert("router_items", router=machine.name, menu=ACTIVE, fields=json.dumps(fields))


def _address(machine: Machine, remote: str) -> str:
    """An address that nobody has: `remote` itself, or one of the pool of that name."""
    taken = {row["address"] for row in sessions(machine)}
    pool = machine.entry(POOL, name=remote)
    if pool is None:
        return remote if _is_address(remote) and remote not in taken else ""
    for part in str(pool["ranges"]).split(","):
        first, _, last = part.partition("-")
        if _is_address(first) and _is_address(last or first):
            at, until = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last or first)
            while at <= until:
                if str(at) not in taken:
                    return str(at)
                at += 1
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
