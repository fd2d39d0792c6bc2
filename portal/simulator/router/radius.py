"""The router as a RADIUS client: it asks who may pass, tells what was used, and takes orders on a port of its own."""

import contextlib
import logging
import socket
import sqlite3
import threading
from typing import Any

from portal.simulator.router import radius_packets as packets
from portal.simulator.router.hotspot import NOT_ANSWERING, Hotspot, Proof, Terms
from portal.simulator.router.machine import Machine

TRIES, TRY_S = 3, 2.0  # a server may hold back a refusal for a second
ACCOUNTING_TRIES, ACCOUNTING_AGAIN_S = 4, 5.0
STATUS = {"Start": 1, "Stop": 2, "Interim-Update": 3, "Accounting-On": 7}
CAUSES = {"User-Request": 1, "Lost-Carrier": 2, "Session-Timeout": 5, "Admin-Reset": 6, "NAS-Reboot": 11}
LOGIN_USER, WIRELESS, BY_RADIUS = 1, 19, 1
NOT_FOUND, UNSUPPORTED = 503, 401
# What an order may change; of all else RouterOS says that it cannot.
CHANGEABLE = {"Session-Timeout", "Idle-Timeout", "Mikrotik-Rate-Limit", "Port-Limit"}
WHO = {"User-Name", "Acct-Session-Id", "Framed-IP-Address", "Calling-Station-Id", "NAS-IP-Address", "NAS-Identifier"}
IGNORED = {"Message-Authenticator", "Proxy-State"}
logger = logging.getLogger(__name__)


class RadiusClient:
    """`hotspot.Radius` over the network, with the server that `/radius` names."""

    def ask(self, hotspot: Hotspot, device: sqlite3.Row, username: str, proof: Proof, session_id: str) -> Terms | str:
        """What may be had, or the reason for a refusal, in the server's words."""
        server = _server(hotspot.machine)
        if server is None:
            return NOT_ANSWERING
        told = _who(hotspot, username, device["mac"], device["ip"], session_id) | {"Service-Type": LOGIN_USER}
        if proof.password is not None:
            told["User-Password"] = proof.password
        else:
            told["CHAP-Password"] = bytes([proof.chap_id]) + proof.response
            told["CHAP-Challenge"] = proof.challenge
        secret = server["secret"].encode()
        port = int(server["authentication-port"])
        for _ in range(TRIES):
            request = packets.access_request(told, secret)
            answer = _exchange(hotspot.machine, server, port, request, is_access=True)
            if answer is not None:
                break
        else:
            return NOT_ANSWERING
        if answer.code != packets.ACCESS_ACCEPT:
            return answer.text("Reply-Message") or "invalid username or password"
        return _terms(hotspot, answer)

    def account(self, hotspot: Hotspot, event: str, session: sqlite3.Row | None, **told: Any) -> None:
        """Owed as a job: it survives a restart, and no transaction waits for the server."""
        machine = hotspot.machine
        if event != "Accounting-On" and hotspot.profile().get("radius-accounting") == "false":
            return
        fields: dict[str, Any] = {"NAS-Identifier": machine.single("/system/identity").get("name", "")}
        if session is not None:
            fields = _who(hotspot, session["username"], session["mac"], session["ip"], session["session_id"])
            fields |= {
                "Acct-Authentic": BY_RADIUS,
                "Acct-Session-Time": int(hotspot.uptime_s(session)),
                "Acct-Input-Octets": session["bytes_in"] & 0xFFFF_FFFF,
                "Acct-Input-Gigawords": session["bytes_in"] >> 32,
                "Acct-Output-Octets": session["bytes_out"] & 0xFFFF_FFFF,
                "Acct-Output-Gigawords": session["bytes_out"] >> 32,
            }
        if "cause" in told:
            fields["Acct-Terminate-Cause"] = CAUSES[told["cause"]]
        payload = {
            "router": machine.name,
            "fields": {"Acct-Status-Type": STATUS[event]} | fields,
            "class": session["class"] if session is not None else "",
            "at": machine.store.timestamp(),
            "tries": 0,
        }
        machine.store.add_job("router_account", payload)


def account_job(machine: Machine, payload: dict[str, Any]) -> None:
    """Send one accounting packet; without an answer later again, a few times, as RouterOS does."""
    server, store = _server(machine), machine.store
    if server is None:
        return
    told: dict[str, Any] = dict(payload["fields"])
    told["Acct-Delay-Time"] = max(0, int(store.timestamp() - payload["at"]))
    if payload["class"]:
        told["Class"] = bytes.fromhex(payload["class"])
    request = packets.signed_request(packets.ACCOUNTING_REQUEST, told, server["secret"].encode())
    answer = _exchange(machine, server, int(server["accounting-port"]), request, is_access=False)
    if answer is None and payload["tries"] + 1 < ACCOUNTING_TRIES:
        store.add_job("router_account", payload | {"tries": payload["tries"] + 1}, after_s=ACCOUNTING_AGAIN_S)


class OrderServer:
    """Takes CoA and Disconnect requests from the moment it is made until `stop()`."""

    def __init__(self, hotspot: Hotspot, *, host: str, port: int = 0) -> None:
        self._hotspot = hotspot
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self._socket.settimeout(0.5)
        self.port: int = self._socket.getsockname()[1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"router-orders-{self.port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                raw, address = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            except OSError:
                return
            try:
                answer = self._answer(raw)
            except packets.Malformed:
                continue  # as RouterOS does: who does not know the secret hears nothing
            except Exception:
                logger.exception("The simulated router could not carry out an order.")
                continue
            if answer is not None:
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, address)

    def _answer(self, raw: bytes) -> bytes | None:
        machine = self._hotspot.machine
        server = _server(machine)
        if (
            server is None
            or machine.single("/radius/incoming").get("accept") != "true"
            or machine.strikes("unreachable")
        ):
            return None
        secret = server["secret"].encode()
        request = packets.read_request(raw, secret)
        if request.code == packets.DISCONNECT_REQUEST:
            ack, nak, problem = packets.DISCONNECT_ACK, packets.DISCONNECT_NAK, disconnect(self._hotspot, request)
        elif request.code == packets.COA_REQUEST:
            ack, nak, problem = packets.COA_ACK, packets.COA_NAK, change(self._hotspot, request)
        else:
            return None
        told: dict[str, packets.Value] = {"Error-Cause": problem} if problem else {}
        return packets.response(nak if problem else ack, request, told, secret)


def disconnect(hotspot: Hotspot, request: packets.Packet) -> int:
    """End the sessions that the order names; the Error-Cause where it cannot be done, 0 where it was."""
    found = _named(hotspot, request)
    for session in found:
        hotspot.end(session, cause="Admin-Reset")
    return 0 if found else NOT_FOUND


def change(hotspot: Hotspot, request: packets.Packet) -> int:
    """Change what the order names; as `disconnect`. Session-Timeout counts from now on."""
    found = _named(hotspot, request)
    if not found:
        return NOT_FOUND
    if set(request.values) - WHO - IGNORED - CHANGEABLE or request.others:
        return UNSUPPORTED
    with hotspot.machine.store.transaction():
        for session in found:
            changed: dict[str, Any] = {}
            timeout_s = request.number("Session-Timeout")
            if timeout_s is not None:
                changed["timeout_s"] = hotspot.uptime_s(session) + timeout_s
            if rate := request.text("Mikrotik-Rate-Limit"):
                changed["rate"] = rate
            if changed:
                hotspot.machine.store.update("router_sessions", session["id"], **changed)
        hotspot.look_again()
    return 0


def _named(hotspot: Hotspot, request: packets.Packet) -> list[sqlite3.Row]:
    columns = {
        "User-Name": "username",
        "Acct-Session-Id": "session_id",
        "Framed-IP-Address": "ip",
        "Calling-Station-Id": "mac",
    }
    wanted = {column: request.text(name) for name, column in columns.items() if name in request.values}
    if not wanted:
        return []
    return [one for one in hotspot.sessions() if all(one[column] == value for column, value in wanted.items())]


def _server(machine: Machine) -> dict[str, Any] | None:
    for one in machine.entries("/radius"):
        if "hotspot" in one.get("service", "") and one.get("disabled") != "true":
            return one
    return None


def _who(hotspot: Hotspot, username: str, mac: str, ip: str, session_id: str) -> dict[str, Any]:
    return {
        "User-Name": username,
        "NAS-Identifier": hotspot.machine.single("/system/identity").get("name", ""),
        "NAS-IP-Address": hotspot.machine.spec.source_address,
        "NAS-Port-Type": WIRELESS,
        "NAS-Port-Id": "bridge-guests",
        "Called-Station-Id": "hotspot1",
        "Calling-Station-Id": mac,
        "Framed-IP-Address": ip,
        "Mikrotik-Host-IP": ip,
        "Acct-Session-Id": session_id,
    }


def _terms(hotspot: Hotspot, answer: packets.Packet) -> Terms:
    low, high = answer.number("Mikrotik-Total-Limit"), answer.number("Mikrotik-Total-Limit-Gigawords")
    most_bytes = None if low is None and high is None else (low or 0) + ((high or 0) << 32)
    group = hotspot.machine.entry("/ip/hotspot/user/profile", name=answer.text("Mikrotik-Group") or "default") or {}
    rate = answer.text("Mikrotik-Rate-Limit") or _wispr_rate(answer) or group.get("rate-limit", "")
    timeout_s, port_limit = answer.number("Session-Timeout"), answer.number("Port-Limit")
    class_ = answer.values.get("Class", b"")
    is_told = hotspot.profile().get("radius-interim-update", "received") == "received"
    return Terms(
        rate=rate,
        timeout_s=None if timeout_s is None else float(timeout_s),
        most_bytes=most_bytes or None,
        shared_users=port_limit or 1,
        interim_s=answer.number("Acct-Interim-Interval") if is_told else None,
        class_=class_.hex() if isinstance(class_, bytes) else "",
        is_radius=True,
        cookie_s=3 * 86_400.0,
        redirect_url=answer.text("WISPr-Redirection-URL"),
    )


def _wispr_rate(answer: packets.Packet) -> str:
    up, down = answer.number("WISPr-Bandwidth-Max-Up"), answer.number("WISPr-Bandwidth-Max-Down")
    return f"{up or 0}/{down or 0}" if up or down else ""


def _exchange(
    machine: Machine, server: dict[str, Any], port: int, request: bytes, *, is_access: bool
) -> packets.Packet | None:
    """One packet there and one back; None where none came that may be believed."""
    if machine.strikes("radiusLost"):
        return None
    needs = is_access and server.get("require-message-auth") != "no"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(TRY_S)
        try:
            asking.bind((machine.spec.source_address, 0))
            asking.sendto(request, (server["address"], port))
            raw = asking.recv(4096)
            return packets.read_response(raw, request, server["secret"].encode(), needs_message_authenticator=needs)
        except (OSError, packets.Malformed):
            return None
