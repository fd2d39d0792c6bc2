"""Who may pass: phones in the Wi-Fi, sign-ins, sessions and the limits at which they end by the router's own clock."""

import hashlib
import hmac
import ipaddress
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from portal.simulator.router import values
from portal.simulator.router.machine import Machine, Trap

CHALLENGE_LIFE_S = 3_600
ANY_MAC = "00:00:00:00:00:00"  # a user without a device of its own
NETWORK = ipaddress.ip_network("10.5.50.0/24")
# RouterOS' sentences, from its errors.txt.
INVALID = "invalid username or password"
NO_CHALLENGE = "web browser did not send challenge response (try again, enable JavaScript)"
NOT_ANSWERING = "RADIUS server is not responding"


@dataclass(frozen=True, slots=True)
class Proof:
    """That somebody knows a password: the password itself, or the answer to a challenge."""

    password: str | None = None
    chap_id: int = 0
    challenge: bytes = b""
    response: bytes = b""

    def shows(self, password: str) -> bool:
        """Whether it is this password."""
        if self.password is not None:
            return hmac.compare_digest(self.password.encode(), password.encode())
        wanted = hashlib.md5(bytes([self.chap_id]) + password.encode() + self.challenge).digest()  # noqa: S324 - CHAP
        return hmac.compare_digest(wanted, self.response)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session may have. timeout_s and most_bytes: None without end. class_: what RADIUS wants told back, hex."""

    rate: str = ""
    timeout_s: float | None = None
    most_bytes: int | None = None
    shared_users: int | None = 1
    interim_s: float | None = None
    class_: str = ""
    is_radius: bool = False
    cookie_s: float | None = None
    redirect_url: str = ""


@dataclass(frozen=True, slots=True)
class Used:
    """Time online in seconds, and bytes from (in) and to (out) the customer."""

    uptime_s: float
    bytes_in: int
    bytes_out: int

    def printed(self) -> dict[str, str]:
        return {
            "uptime": values.duration(self.uptime_s),
            "bytes-in": str(self.bytes_in),
            "bytes-out": str(self.bytes_out),
        }


class Radius(Protocol):
    """The RADIUS server, as a router sees it. Waits on the network."""

    def ask(self, hotspot: "Hotspot", device: sqlite3.Row, username: str, proof: Proof, session_id: str) -> Terms | str:
        """What may be had, or the reason for a refusal."""
        ...

    def account(self, hotspot: "Hotspot", event: str, session: sqlite3.Row | None, **told: Any) -> None:
        """Owe the server an accounting packet: Start, Interim-Update, Stop or Accounting-On."""
        ...


@dataclass(slots=True)
class Hotspot:
    """One router's hotspot."""

    machine: Machine
    radius: Radius | None = None
    when_rebooted: list[Callable[[], None]] = field(default_factory=list)

    # --- phones in the Wi-Fi

    def join(self, *, mac: str = "", msisdn: str = "") -> sqlite3.Row:
        """A phone in this Wi-Fi, with an address of its own and, unless told, a random MAC address as phones make."""
        store, name = self.machine.store, self.machine.name
        mac = values.mac(mac) if mac else random_mac()
        with store.transaction():
            known = store.one("SELECT * FROM router_devices WHERE router = ? AND mac = ?", name, mac)
            if known is None:
                store.insert(
                    "router_devices",
                    router=name,
                    mac=mac,
                    ip=self._free_ip(),
                    msisdn=msisdn or f"2547{secrets.randbelow(1_000_000):06d}00",
                    joined_at=store.timestamp(),
                )
            elif known["left_at"] is not None:
                store.update("router_devices", known["id"], left_at=None, joined_at=store.timestamp())
            return store.must("SELECT * FROM router_devices WHERE router = ? AND mac = ?", name, mac)

    def _free_ip(self) -> str:
        row = self.machine.store.must("SELECT count(*) AS n FROM router_devices WHERE router = ?", self.machine.name)
        hosts = NETWORK.num_addresses - 12
        return str(NETWORK[10 + int(row["n"]) % hosts])

    def device(self, mac: str) -> sqlite3.Row | None:
        """The phone with this MAC address, in the Wi-Fi or not."""
        return self.machine.store.one(
            "SELECT * FROM router_devices WHERE router = ? AND mac = ?", self.machine.name, mac
        )

    def device_at(self, ip: str) -> sqlite3.Row | None:
        """The phone in the Wi-Fi that has this address now."""
        return self.machine.store.one(
            "SELECT * FROM router_devices WHERE router = ? AND ip = ? AND left_at IS NULL ORDER BY id DESC LIMIT 1",
            self.machine.name,
            ip,
        )

    def devices(self) -> list[sqlite3.Row]:
        """Those in the Wi-Fi."""
        return self.machine.store.all(
            "SELECT * FROM router_devices WHERE router = ? AND left_at IS NULL ORDER BY id", self.machine.name
        )

    def leave(self, device: sqlite3.Row) -> None:
        """Wi-Fi off, or out of reach."""
        session = self.session_of(device["mac"])
        if session is not None:
            self.end(session, cause="Lost-Carrier")
        self.machine.store.update("router_devices", device["id"], left_at=self.machine.store.timestamp())

    def forget_device(self, row: int) -> None:
        """Removing a host ends its session; the phone itself stays in the Wi-Fi."""
        device = self.machine.store.one("SELECT * FROM router_devices WHERE id = ?", row)
        session = self.session_of(device["mac"]) if device is not None else None
        if session is not None:
            self.end(session, cause="Admin-Reset")

    def is_bypassed(self, mac: str) -> bool:
        """Let through without any sign-in."""
        return any(
            one.get("mac-address") == mac and one.get("type") == "bypassed" and one.get("disabled") != "true"
            for one in self.machine.entries("/ip/hotspot/ip-binding")
        )

    def is_blocked(self, mac: str) -> bool:
        """Never let through."""
        return any(
            one.get("mac-address") == mac and one.get("type") == "blocked" and one.get("disabled") != "true"
            for one in self.machine.entries("/ip/hotspot/ip-binding")
        )

    # --- signing in

    def profile(self) -> dict[str, str]:
        """The hotspot server's own profile."""
        server = self.machine.entry("/ip/hotspot") or {}
        return self.machine.entry("/ip/hotspot/profile", name=server.get("profile", "default")) or {}

    def ways_in(self) -> set[str]:
        """`login-by` of that profile."""
        return set(self.profile().get("login-by", "").split(","))

    def challenge(self, device: sqlite3.Row) -> tuple[int, bytes]:
        """A new CHAP id and challenge for this phone; the one before is dead."""
        chap_id, challenge = secrets.randbelow(256), secrets.token_bytes(16)
        self.machine.store.update(
            "router_devices",
            device["id"],
            chap_id=chap_id,
            chap_challenge=challenge.hex(),
            challenged_at=self.machine.store.timestamp(),
        )
        return chap_id, challenge

    def plain(self, password: str) -> Proof:
        return Proof(password=password)

    def browser_proof(self, device: sqlite3.Row, password: str) -> Proof | None:
        """What a login form's `password` shows; None where a challenge was asked for and not answered."""
        ways, store = self.ways_in(), self.machine.store
        is_hash = len(password) == 32 and all(letter in "0123456789abcdef" for letter in password)
        if "http-chap" in ways and is_hash and device["chap_challenge"]:
            is_alive = store.timestamp() - device["challenged_at"] <= CHALLENGE_LIFE_S
            store.update("router_devices", device["id"], chap_challenge=None)
            if not is_alive:
                return None
            challenge = bytes.fromhex(device["chap_challenge"])
            return Proof(chap_id=device["chap_id"], challenge=challenge, response=bytes.fromhex(password))
        return self.plain(password) if "http-pap" in ways else None

    def sign_in(self, device: sqlite3.Row, username: str, proof: Proof, *, login_by: str) -> str:
        """Begin a session; answers the refusal in RouterOS' words, empty where there is none."""
        if self.is_blocked(device["mac"]):
            return INVALID
        if _looks_like_mac(username) and values.mac(username) != device["mac"]:
            return f"invalid username ({username}): this MAC address is not yours"
        user = self.machine.entry("/ip/hotspot/user", name=username)
        session_id = self._next_session_id()
        if user is not None:
            terms = self._terms_of_user(user, device, proof)
        elif self.radius is not None and self.profile().get("use-radius") == "true":
            terms = self.radius.ask(self, device, username, proof, session_id)
        else:
            terms = INVALID
        if isinstance(terms, str):
            return terms
        return self._begin(device, username, session_id, proof, terms, login_by)

    def _terms_of_user(self, user: dict[str, str], device: sqlite3.Row, proof: Proof) -> Terms | str:
        """By the router's own table: what is left of the user's limits."""
        name = user["name"]
        if user.get("disabled") == "true" or not proof.shows(user.get("password", "")):
            return INVALID
        if user.get("mac-address", ANY_MAC) not in (ANY_MAC, device["mac"]):
            return f"user {name} is not allowed to log in from this MAC address"
        profile = self.machine.entry("/ip/hotspot/user/profile", name=user.get("profile", "default")) or {}
        used = self.used_by_user(user)
        timeouts = []
        if limit := _seconds(user.get("limit-uptime")):
            if used.uptime_s >= limit:
                return f"user {name} has reached uptime limit"
            timeouts.append(limit - used.uptime_s)
        if limit := _seconds(profile.get("session-timeout")):
            timeouts.append(float(limit))
        most_bytes = None
        if limit_bytes := int(user.get("limit-bytes-total") or 0):
            most_bytes = limit_bytes - used.bytes_in - used.bytes_out
            if most_bytes <= 0:
                return f"user {name} has reached traffic limit"
        shared = profile.get("shared-users", "1")
        has_cookie = profile.get("add-mac-cookie") == "true"
        return Terms(
            rate=profile.get("rate-limit", ""),
            timeout_s=min(timeouts) if timeouts else None,
            most_bytes=most_bytes,
            shared_users=None if shared == "unlimited" else int(shared),
            cookie_s=_seconds(profile.get("mac-cookie-timeout")) or None if has_cookie else None,
        )

    def _begin(
        self, device: sqlite3.Row, username: str, session_id: str, proof: Proof, terms: Terms, login_by: str
    ) -> str:
        store, now = self.machine.store, self.machine.store.timestamp()
        with store.transaction():
            before = self.session_of(device["mac"])
            others = [one for one in self.sessions() if one["username"] == username and one["mac"] != device["mac"]]
            if terms.shared_users is not None and len(others) >= terms.shared_users:
                return f"no more sessions are allowed for user {username}"
            if before is not None:
                self.end(before, cause="User-Request")
            row = store.insert(
                "router_sessions",
                router=self.machine.name,
                session_id=session_id,
                username=username,
                mac=device["mac"],
                ip=device["ip"],
                login_by=login_by,
                is_radius=int(terms.is_radius),
                started_at=now,
                rate=terms.rate,
                timeout_s=terms.timeout_s,
                most_bytes=terms.most_bytes,
                interim_s=terms.interim_s,
                interim_at=None if terms.interim_s is None else now + terms.interim_s,
                **{"class": terms.class_},
            )
            if terms.cookie_s and "mac-cookie" in self.ways_in() and proof.password is not None:
                self._keep_cookie(device["mac"], username, proof.password, terms.cookie_s)
            session = store.must("SELECT * FROM router_sessions WHERE id = ?", row)
            self._account("Start", session)
            self.look_again()
        return ""

    def _next_session_id(self) -> str:
        """`80100003`: the second digit is another after each boot."""
        store, key = self.machine.store, f"router:{self.machine.name}:sessions"
        with store.transaction():
            count = int(store.setting(key, 0)) + 1
            store.keep(key, count)
        return f"8{self.machine.boots % 16:x}{count % 0x100_0000:06x}"

    def _keep_cookie(self, mac: str, username: str, password: str, life_s: float) -> None:
        self.drop_cookies(mac)
        row = self.machine.add("/ip/hotspot/cookie", {"user": username, "mac-address": mac, "mac-cookie": "yes"})
        self.machine.keep_beside(row, until=self.machine.store.timestamp() + life_s, password=password)

    def drop_cookies(self, mac: str) -> None:
        """What lets this phone in silently."""
        for one in self.machine.entries("/ip/hotspot/cookie"):
            if one.get("mac-address") == mac:
                self.machine.remove("/ip/hotspot/cookie", int(one["row"]))

    def sign_in_silently(self, device: sqlite3.Row) -> str:
        """At the phone's first packet: by its MAC cookie or its MAC address, where the profile says so.

        Answers the refusal; empty where nothing was tried.
        """
        ways, now, refusal = self.ways_in(), self.machine.store.timestamp(), ""
        cookie = self.machine.entry("/ip/hotspot/cookie", **{"mac-address": device["mac"]})
        if "mac-cookie" in ways and cookie is not None:
            if float(cookie["until"]) > now:
                proof = self.plain(str(cookie["password"]))
                refusal = self.sign_in(device, cookie["user"], proof, login_by="mac-cookie")
                if not refusal:
                    return ""
            self.drop_cookies(device["mac"])
        if "mac" in ways:
            password = self.profile().get("mac-auth-password", "")
            return self.sign_in(device, device["mac"], self.plain(password), login_by="mac")
        return refusal

    # --- sessions

    def sessions(self) -> list[sqlite3.Row]:
        """Those that run."""
        return self.machine.store.all("SELECT * FROM router_sessions WHERE router = ? ORDER BY id", self.machine.name)

    def session_of(self, mac: str) -> sqlite3.Row | None:
        """The one of this phone."""
        return self.machine.store.one(
            "SELECT * FROM router_sessions WHERE router = ? AND mac = ?", self.machine.name, mac
        )

    def uptime_s(self, session: sqlite3.Row) -> float:
        """How long it has run, never longer than it may."""
        ran_s = max(0.0, self.machine.store.timestamp() - float(session["started_at"]))
        return ran_s if session["timeout_s"] is None else min(ran_s, float(session["timeout_s"]))

    def seconds_left(self, session: sqlite3.Row) -> float | None:
        """Until it ends by its time; None: it does not."""
        return None if session["timeout_s"] is None else max(0.0, session["timeout_s"] - self.uptime_s(session))

    def bytes_left(self, session: sqlite3.Row) -> int | None:
        """Until it ends by its data; None: it does not."""
        if session["most_bytes"] is None:
            return None
        return max(0, int(session["most_bytes"] - session["bytes_in"] - session["bytes_out"]))

    def use(self, mac: str, *, bytes_in: int = 0, bytes_out: int = 0) -> bool:
        """Traffic of a phone; what passes its limit does not pass the router. Whether its session still runs."""
        with self.machine.store.transaction():
            session = self.session_of(mac)
            if session is None:
                return False
            left = self.bytes_left(session)
            if left is not None:
                bytes_out = min(bytes_out, left)
                bytes_in = min(bytes_in, left - bytes_out)
            self.machine.store.update(
                "router_sessions",
                session["id"],
                bytes_in=session["bytes_in"] + bytes_in,
                bytes_out=session["bytes_out"] + bytes_out,
            )
            session = self.machine.store.must("SELECT * FROM router_sessions WHERE id = ?", session["id"])
            if self.bytes_left(session) == 0:
                self.end(session, cause="Session-Timeout")
                return False
        return True

    def end(self, session: sqlite3.Row, *, cause: str) -> None:
        """Close a session. cause: RADIUS' Acct-Terminate-Cause."""
        with self.machine.store.transaction():
            if not self.machine.store.run("DELETE FROM router_sessions WHERE id = ?", session["id"]):
                return
            user = self.machine.entry("/ip/hotspot/user", name=session["username"])
            if user is not None and not session["is_radius"]:
                self.machine.keep_beside(
                    int(user["row"]),
                    used_s=float(user.get("used_s", 0)) + self.uptime_s(session),
                    used_in=int(user.get("used_in", 0)) + session["bytes_in"],
                    used_out=int(user.get("used_out", 0)) + session["bytes_out"],
                )
            self._account("Stop", session, cause=cause)

    def end_by_id(self, row: int, *, cause: str) -> None:
        """Raises Trap where there is none."""
        session = self.machine.store.one(
            "SELECT * FROM router_sessions WHERE id = ? AND router = ?", row, self.machine.name
        )
        if session is None:
            raise Trap("no such item")
        self.end(session, cause=cause)

    def used_by_user(self, user: dict[str, Any]) -> Used:
        """By all sessions of a user of the router's own table, those that run included."""
        running = [one for one in self.sessions() if one["username"] == user["name"] and not one["is_radius"]]
        return Used(
            float(user.get("used_s", 0)) + sum(self.uptime_s(one) for one in running),
            int(user.get("used_in", 0)) + sum(one["bytes_in"] for one in running),
            int(user.get("used_out", 0)) + sum(one["bytes_out"] for one in running),
        )

    def reset_counters(self, row: int) -> None:
        """What the user has used counts anew."""
        self.machine.keep_beside(row, used_s=0, used_in=0, used_out=0)

    def printed_session(self, session: sqlite3.Row) -> dict[str, str]:
        """A row of `/ip/hotspot/active`."""
        shown = {
            "server": "hotspot1",
            "user": session["username"],
            "address": session["ip"],
            "mac-address": session["mac"],
            "login-by": session["login_by"],
            "uptime": values.duration(self.uptime_s(session)),
            "idle-time": "0s",
            "keepalive-timeout": "2m",
            "bytes-in": str(session["bytes_in"]),
            "bytes-out": str(session["bytes_out"]),
            "packets-in": str(session["bytes_in"] // 700),
            "packets-out": str(session["bytes_out"] // 1200),
            "radius": "true" if session["is_radius"] else "false",
        }
        if session["timeout_s"] is not None:
            shown["session-time-left"] = values.duration(self.seconds_left(session) or 0)
        if session["most_bytes"] is not None:
            shown["limit-bytes-total"] = str(session["most_bytes"])
        return shown

    # --- time

    def look(self) -> None:
        """End what is over by the router's clock, tell RADIUS what it wants told, and look again when next due."""
        store = self.machine.store
        with store.transaction():
            for session in self.sessions():
                left_s = self.seconds_left(session)
                if left_s is not None and left_s <= 0:
                    self.end(session, cause="Session-Timeout")
                elif session["interim_at"] is not None and session["interim_at"] <= store.timestamp():
                    store.update("router_sessions", session["id"], interim_at=store.timestamp() + session["interim_s"])
                    self._account("Interim-Update", session)
            self.look_again()

    def look_again(self) -> None:
        """One job at the next instant at which something is due."""
        store = self.machine.store
        payload = {"router": self.machine.name}
        with store.transaction():
            store.run(
                "DELETE FROM jobs WHERE kind = 'router_look' AND state = 'due' AND payload = ?",
                f'{{"router": "{self.machine.name}"}}',
            )
            due = [left for one in self.sessions() if (left := self.seconds_left(one)) is not None]
            due += [
                max(0.0, one["interim_at"] - store.timestamp())
                for one in self.sessions()
                if one["interim_at"] is not None
            ]
            if due:
                store.add_job("router_look", payload, after_s=min(due))

    def reboot(self) -> None:
        """Sessions are gone, untold; every id is another; phones come back by themselves."""
        store = self.machine.store
        with store.transaction():
            for session in self.sessions():
                store.run("DELETE FROM router_sessions WHERE id = ?", session["id"])
            self.machine.boot()
            self._account("Accounting-On", None)
        for tell in self.when_rebooted:
            tell()

    def _account(self, event: str, session: sqlite3.Row | None, **told: Any) -> None:
        if self.radius is not None and (session is None or session["is_radius"]):
            self.radius.account(self, event, session, **told)


def random_mac() -> str:
    """As a phone makes one for each Wi-Fi: locally administered."""
    first = secrets.randbelow(256) & 0xFC | 0x02
    return ":".join(f"{one:02X}" for one in (first, *secrets.token_bytes(5)))


def _looks_like_mac(username: str) -> bool:
    try:
        values.mac(username)
    except values.Invalid:
        return False
    return True


def _seconds(text: str | None) -> int:
    return 0 if not text or text == "none" else values.seconds(text)
