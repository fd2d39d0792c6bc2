"""What every kind of router can be asked for, in the same words, and which kinds there are.

Another kind is one folder beside this file, whose `__init__` calls `register`.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from portal.hotspot.models import AccessSession, Package, Site
from portal.kernel.errors import PortalError, Text

# What an adapter can do; who asks for more gets the outcome `unsupported`.
EXPIRY = "expiry"  # the router itself ends access when its time is over
ONLINE_TIME, DATA_CAP, RATE, DEVICES = "online_time", "data_cap", "rate", "devices"
LIVE_CHANGE, KICK, PUSH_LOGIN, SESSIONS = "live_change", "kick", "push_login", "sessions"
TOLD = "told"  # the router has to know each pass beforehand: it has rows of `Provisioning`
BY_MAC = "by_mac"  # it asks us for each device by its MAC address, without a browser
POLLED = "polled"  # it asks us: nothing can be sent to it


@dataclass(frozen=True)
class Outcome:
    """What came of asking a router. Nothing of a network raises: it is one of these.

    is_done: so it is now, where the call says so read back from the router. is_retryable: worth trying again as it
    stands. code: short, snake_case, for programs (`done`, `unreachable`, `timed_out`, `refused`, `differs`,
    `not_found`, `unsupported`, `signed_on_failed`, …). text: English, for staff and logs; no secrets.
    """

    is_done: bool
    is_retryable: bool = False
    code: str = "done"
    text: str = ""

    @property
    def is_about_router(self) -> bool:
        """Whether the router itself is to blame, so that its other rows would fare no better now."""
        return self.code in ABOUT_ROUTER


ABOUT_ROUTER = frozenset({"unreachable", "timed_out", "sign_on_failed", "certificate_changed", "broken_answer"})


def done(code: str = "done", text: str = "") -> Outcome:
    return Outcome(True, code=code, text=text)


def failed(code: str, text: str) -> Outcome:
    """Not now; worth trying again."""
    return Outcome(False, is_retryable=True, code=code, text=text[:300])


def refused(code: str, text: str) -> Outcome:
    """Not as it stands, however often it is tried."""
    return Outcome(False, code=code, text=text[:300])


def unsupported(what: str) -> Outcome:
    return refused("unsupported", f"This kind of router cannot do that: {what}.")


@dataclass(frozen=True)
class Wanted:
    """All that a router has to know of one grant: a grant that is one of a pass has the end and the rest of the pass.

    mac: `AA:BB:CC:DD:EE:FF` of the device it is used on now, or "". starts_at, expires_at: of the whole pass, UTC.
    rate: RouterOS' form, upload/download with burst; "" for no limit. online_s: seconds that may still be spent online
    under this name, besides what the router itself has counted of it; data_bytes: the same of both directions' bytes;
    None: no limit. version: of its row; an older one changes nothing. service: hotspot or pppoe. is_walled: let in to
    pay and nowhere else, which a line is that is over.
    """

    grant_id: int
    leader_id: int
    username: str
    password: str = field(repr=False)
    mac: str
    starts_at: datetime
    expires_at: datetime
    rate: str = ""
    devices: int = 1
    online_s: int | None = None
    data_bytes: int | None = None
    version: int = 1
    service: str = "hotspot"
    is_walled: bool = False


@dataclass(frozen=True)
class Online:
    """One device that a router says is online now. bytes_in: what it sent; bytes_out: what it got. session_id: the
    router's own, as far as it has one; the same for as long as the stay lasts."""

    username: str
    mac: str
    ip: str
    session_id: str
    online_s: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True)
class Listed:
    """Who is online, as a router says; empty where the outcome is not done."""

    outcome: Outcome
    sessions: tuple[Online, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that a check looked at. name: snake_case; text, remedy: for the administrator who reads it."""

    name: str
    is_well: bool
    text: Text
    remedy: Text = ""


@dataclass(frozen=True)
class Health:
    """What a check of a router found, in the order it was looked at."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()


class Adapter(Protocol):
    """A kind of router. No call raises for what a network or a router does; none is made inside a transaction.

    site: its row, loaded, which need not belong to a session. Calls that take several are one conversation with the
    router, and answer one outcome for each, in order.
    """

    kind: str
    capabilities: frozenset[str]

    def ensure_package(self, site: Site, package: Package) -> Outcome:
        """The router knows this package's speed and devices. Idempotent."""
        ...

    def ensure_grants(self, site: Site, wanted: Sequence[Wanted]) -> list[Outcome]:
        """The router lets these in, exactly so; done means read back. Idempotent: each is the whole wanted state."""
        ...

    def revoke_grants(self, site: Site, gone: Sequence[Wanted]) -> list[Outcome]:
        """The router knows none of these, and nobody is online with them; done means read back. Idempotent."""
        ...

    def push_login(self, site: Site, wanted: Wanted, *, mac: str, ip: str) -> Outcome:
        """Sign the waiting device in, without its browser; done means that the router lists it as online."""
        ...

    def kick(self, site: Site, session: AccessSession) -> Outcome:
        """End one stay. That there is no such session is done too."""
        ...

    def change_live(self, site: Site, session: AccessSession, wanted: Wanted) -> Outcome:
        """What runs gets the new end, speed and limits; where that cannot be, it is ended, to sign in anew."""
        ...

    def sessions(self, site: Site) -> Listed:
        """Who is online now, as the router says."""
        ...

    def check(self, site: Site) -> Health:
        """Whether it can be worked with: for the button "test the connection"."""
        ...


@runtime_checkable
class Knows(Protocol):
    """A kind of router that can also list which grants it has, so that one it lost is noticed."""

    def known(self, site: Site) -> tuple[Outcome, frozenset[int]]:
        """The grants that have a row of ours there; none where the outcome is not done."""
        ...


_adapters: dict[str, Adapter] = {}


def register(adapter: Adapter) -> None:
    """Make a kind of router known. Called once by its folder."""
    _adapters[adapter.kind] = adapter


def adapter_of(site: Site) -> Adapter:
    """Who speaks to this site's router."""
    return adapter(site.kind)


def adapter(kind: str) -> Adapter:
    _load_all()
    if kind not in _adapters:
        raise PortalError(f"There is no kind of router called {kind!r}; there are: {', '.join(sorted(_adapters))}.")
    return _adapters[kind]


def kinds() -> tuple[str, ...]:
    """Every kind of router there is, by name."""
    _load_all()
    return tuple(sorted(_adapters))


def kinds_with(capability: str) -> tuple[str, ...]:
    """The kinds of router that can do this."""
    return tuple(kind for kind in kinds() if capability in adapter(kind).capabilities)


@cache
def _load_all() -> None:
    """Each folder here is a kind of router, and registers itself as it is imported."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if found.ispkg:
            importlib.import_module(f"portal.hotspot.routers.{found.name}")
