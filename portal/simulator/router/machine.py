"""The box itself: its settings as menu entries that survive a reboot, ids that do not, and its faults."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from portal.kernel.errors import Refused
from portal.simulator.engine.store import Store
from portal.simulator.router import values
from portal.simulator.router.menus import EVERY_POLICY, MENUS, Menu

# What /control may order, and what the number of each means.
FAULTS = {
    "unreachable": "times",  # nobody answers at its ports
    "hang": "seconds",  # a command is read and not answered for so long
    "wrongAnswers": "times",  # bytes that are no sentence
    "trap": "times",  # a command fails
    "lie": "times",  # a change is acknowledged and forgotten
    "dropAfter": "times",  # a change is made, and the connection ends before the answer
    "radiusLost": "times",  # packets to the RADIUS server get lost
}


class Trap(Exception):
    """A command that failed, in RouterOS' words."""


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """What a router is to be. Ports of 0 are chosen when it starts.

    name: in its addresses. ssid: what its Wi-Fi is called. portal_url: where its login page sends a phone; empty: it
    shows a form of its own. radius_address: empty where it does not ask a RADIUS server. source_address: its own in the
    management network, from which it asks and at which its ports listen. heartbeat_url: where it says each minute that
    it is there, as the script of a site has it; empty: nowhere.
    """

    name: str
    ssid: str = ""
    identity: str = ""
    portal_url: str = ""
    login_by: str = "http-pap,mac-cookie"
    source_address: str = "127.0.0.1"
    api_port: int = 0
    api_username: str = "mlango"
    api_password: str = "router-password"
    api_uses_tls: bool = False
    radius_address: str = ""
    radius_port: int = 1812
    radius_secret: str = ""
    coa_port: int = 0
    heartbeat_url: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "RouterSpec":
        """From JSON's camelCase names. Raises Refused."""
        known = {
            "name": "name", "ssid": "ssid", "identity": "identity", "portalUrl": "portal_url", "loginBy": "login_by",
            "sourceAddress": "source_address", "apiPort": "api_port", "apiUsername": "api_username",
            "apiPassword": "api_password", "apiUsesTls": "api_uses_tls", "radiusAddress": "radius_address",
            "radiusPort": "radius_port", "radiusSecret": "radius_secret", "coaPort": "coa_port",
            "heartbeatUrl": "heartbeat_url",
        }  # fmt: skip
        if unknown := set(given) - set(known):
            raise Refused(f"A router has no {', '.join(sorted(unknown))}.", code="invalid_router")
        chosen: dict[str, Any] = {known[name]: value for name, value in given.items() if value is not None}
        name = str(chosen.get("name", ""))
        if not name or not all(part.isascii() and part.isalnum() for part in name.split("-")):
            raise Refused("A router's name is of letters, digits and single dashes.", code="invalid_router")
        return cls(**chosen)


@dataclass(slots=True)
class Machine:
    """One router's memory. Every statement goes through the simulator's store, so a restart keeps it."""

    store: Store
    spec: RouterSpec
    api_port: int = 0
    coa_port: int = 0

    @property
    def name(self) -> str:
        return self.spec.name

    # --- entries of menus

    def entries(self, path: str) -> list[dict[str, Any]]:
        """All of a menu, in order, each with its row number as `row`."""
        rows = self.store.all("SELECT * FROM router_items WHERE router = ? AND menu = ? ORDER BY id", self.name, path)
        return [json.loads(row["fields"]) | {"row": row["id"]} for row in rows]

    def entry(self, path: str, **wanted: str) -> dict[str, Any] | None:
        """The first with these values."""
        for one in self.entries(path):
            if all(one.get(name.replace("_", "-")) == value for name, value in wanted.items()):
                return one
        return None

    def add(self, path: str, given: Mapping[str, str]) -> int:
        """The new entry's row number. Raises Trap."""
        menu = MENUS[path]
        fields = menu.defaults | self._checked(menu, given)
        for name in menu.needed:
            if not fields.get(name):
                raise Trap(f"missing value(s) of argument(s) {name}")
        with self.store.transaction():
            self._refuse_second(path, menu, fields, row=None)
            self._refuse_unknown(menu, fields)
            return self.store.insert("router_items", router=self.name, menu=path, fields=json.dumps(fields))

    def change(self, path: str, row: int, given: Mapping[str, str]) -> None:
        """Set the properties that are given; an empty one is taken away. Raises Trap."""
        menu = MENUS[path]
        checked = self._checked(menu, given)
        with self.store.transaction():
            found = self.store.one("SELECT * FROM router_items WHERE id = ? AND menu = ?", row, path)
            if found is None or found["router"] != self.name:
                raise Trap("no such item")
            fields = {name: value for name, value in (json.loads(found["fields"]) | checked).items() if value != ""}
            fields = menu.defaults | fields
            self._refuse_second(path, menu, fields, row=row)
            self._refuse_unknown(menu, fields)
            self.store.update("router_items", row, fields=json.dumps(fields))

    def keep_beside(self, row: int, **figures: Any) -> None:
        """Figures of an entry that no command sets, such as what a user has used up."""
        with self.store.transaction():
            found = self.store.one("SELECT fields FROM router_items WHERE id = ?", row)
            if found is not None:
                self.store.update("router_items", row, fields=json.dumps(json.loads(found["fields"]) | figures))

    def remove(self, path: str, row: int) -> None:
        """Raises Trap where there is none."""
        if not self.store.run(
            "DELETE FROM router_items WHERE id = ? AND router = ? AND menu = ?", row, self.name, path
        ):
            raise Trap("no such item")

    def _checked(self, menu: Menu, given: Mapping[str, str]) -> dict[str, str]:
        checked = {}
        for name, text in given.items():
            kind = menu.properties.get(name)
            if kind is None:
                raise Trap(f"unknown parameter {name}")
            try:
                checked[name] = values.canonical(kind, text) if text else ""
            except values.Invalid as problem:
                raise Trap(f"invalid value for argument {name}: not a {problem}") from None
        return checked

    def _refuse_second(self, path: str, menu: Menu, fields: Mapping[str, str], *, row: int | None) -> None:
        if not menu.unique:
            return
        wanted = [fields.get(name) for name in menu.unique]
        for other in self.entries(path):
            if other["row"] != row and [other.get(name) for name in menu.unique] == wanted:
                raise Trap(menu.taken)

    def _refuse_unknown(self, menu: Menu, fields: Mapping[str, str]) -> None:
        for name, path in menu.references.items():
            if fields.get(name) and self.entry(path, name=fields[name]) is None:
                raise Trap(f"input does not match any value of {name}")

    # --- single settings

    def single(self, path: str) -> dict[str, str]:
        """A menu of one entry."""
        kept: dict[str, str] = self.store.setting(f"router:{self.name}:{path}", {})
        return kept

    def set_single(self, path: str, menu: Menu, given: Mapping[str, str]) -> None:
        """Raises Trap."""
        self.store.keep(f"router:{self.name}:{path}", self.single(path) | self._checked(menu, given))

    # --- ids and reboots

    @property
    def boots(self) -> int:
        return int(self.store.setting(f"router:{self.name}:boots", 0))

    @property
    def booted_at(self) -> float:
        return float(self.store.setting(f"router:{self.name}:booted_at", self.store.timestamp()))

    def shown_id(self, row: int) -> str:
        """`*1A`: another after each boot, and one that was another entry's before."""
        return f"*{row ^ self.boots:X}"

    def row_of(self, shown: str) -> int:
        """The row number behind a shown id. Raises Trap."""
        try:
            return int(shown.removeprefix("*"), 16) ^ self.boots
        except ValueError:
            raise Trap("no such item") from None

    def boot(self) -> None:
        """Counts one more boot: every id is another now."""
        self.store.keep(f"router:{self.name}:boots", self.boots + 1)
        self.store.keep(f"router:{self.name}:booted_at", self.store.timestamp())

    # --- faults

    def strikes(self, name: str) -> sqlite3.Row | None:
        """The fault if it is set, one time fewer left; None if it is not."""
        with self.store.transaction():
            row = self.store.one("SELECT * FROM router_faults WHERE router = ? AND name = ?", self.name, name)
            if row is not None and row["times"] is not None:
                if row["times"] <= 1:
                    self.store.run("DELETE FROM router_faults WHERE router = ? AND name = ?", self.name, name)
                else:
                    self.store.run(
                        "UPDATE router_faults SET times = times - 1 WHERE router = ? AND name = ?", self.name, name
                    )
            return row

    def has_fault(self, name: str) -> bool:
        """Whether the fault is set; it is not used up by that."""
        found = self.store.one("SELECT 1 FROM router_faults WHERE router = ? AND name = ?", self.name, name)
        return found is not None

    def furnish(self) -> None:
        """What a router has before anybody sets it up, and what its specification says of it, at every start."""
        spec = self.spec
        with self.store.transaction():
            if self.store.setting(f"router:{self.name}:boots") is None:
                self._furnish_anew()
            self._allow(spec.api_username, spec.api_password)
            profile = self.entry("/ip/hotspot/profile", name="hsprof1")
            asks_radius = "yes" if spec.radius_address else "no"
            if profile is not None:
                given = {
                    "login-by": spec.login_by, "use-radius": asks_radius, "radius-accounting": asks_radius,
                    "radius-interim-update": "received",
                }  # fmt: skip
                self.change("/ip/hotspot/profile", int(profile["row"]), given)
            if spec.radius_address:
                self._ask(spec)
            if host := urlsplit(spec.portal_url).hostname:
                self._open_before_paying(host)

    def _furnish_anew(self) -> None:
        spec = self.spec
        self.store.keep(f"router:{self.name}:boots", 0)
        self.store.keep(f"router:{self.name}:booted_at", self.store.timestamp())
        identity = {"name": spec.identity or spec.name}
        self.store.keep(f"router:{self.name}:/system/identity", identity)
        self.store.keep(f"router:{self.name}:/radius/incoming", {"accept": "false", "port": "3799"})
        self.store.keep(f"router:{self.name}:/system/ntp/client", {"enabled": "true", "servers": ""})
        self.add("/user/group", {"name": "full", "policy": EVERY_POLICY})
        self.add("/user/group", {"name": "read", "policy": "local,ssh,reboot,read,test,winbox,password,web,sniff,api"})
        self.add("/ip/hotspot/profile", {"name": "default"})
        self.add(
            "/ip/hotspot/profile",
            {"name": "hsprof1", "hotspot-address": "10.5.50.1", "dns-name": "wifi.login", "login-by": "http-pap"},
        )
        self.add("/ip/hotspot/user/profile", {"name": "default"})
        self.add("/ppp/profile", {"name": "default"})
        self.add("/ip/hotspot", {"name": "hotspot1", "interface": "bridge-guests", "profile": "hsprof1"})
        for service, port in (("api", "8728"), ("api-ssl", "8729"), ("www", "80")):
            self.add("/ip/service", {"name": service, "port": port, "disabled": "no"})

    def _allow(self, username: str, password: str) -> None:
        known = self.entry("/user", name=username)
        if known is None:
            self.add("/user", {"name": username, "password": password, "group": "full"})
        else:
            self.change("/user", int(known["row"]), {"password": password})

    def _open_before_paying(self, host: str) -> None:
        """As the site's script does."""
        menu = "/ip/hotspot/walled-garden"
        known, given = self.entry(menu, comment="mlango: portal"), {"dst-host": host, "comment": "mlango: portal"}
        if known is None:
            self.add(menu, given)
        else:
            self.change(menu, int(known["row"]), given)

    def _ask(self, spec: RouterSpec) -> None:
        given = {
            "service": "hotspot,ppp",
            "address": spec.radius_address,
            "secret": spec.radius_secret,
            "src-address": spec.source_address,
            "authentication-port": str(spec.radius_port),
            "accounting-port": str(spec.radius_port + 1),
            "timeout": "3s",
            "comment": "simulator",
        }
        known = self.entry("/radius", comment="simulator")
        if known is None:
            self.add("/radius", given)
        else:
            self.change("/radius", int(known["row"]), given)
        self.store.keep(f"router:{self.name}:/radius/incoming", {"accept": "true", "port": str(self.coa_port)})
