"""RADIUS packets (RFC 2865, 2866, 5176) as a router writes and reads them, by hand as all that a client may test."""

import hashlib
import hmac
import ipaddress
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

ACCESS_REQUEST, ACCESS_ACCEPT, ACCESS_REJECT = 1, 2, 3
ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE = 4, 5
DISCONNECT_REQUEST, DISCONNECT_ACK, DISCONNECT_NAK = 40, 41, 42
COA_REQUEST, COA_ACK, COA_NAK = 43, 44, 45
MIKROTIK, WISPR = 14988, 14122
MESSAGE_AUTHENTICATOR, VENDOR_SPECIFIC = 80, 26
Value = str | int | bytes

# name -> (vendor, number, kind)
ATTRIBUTES: dict[str, tuple[int, int, str]] = {
    "User-Name": (0, 1, "text"),
    "User-Password": (0, 2, "octets"),
    "CHAP-Password": (0, 3, "octets"),
    "NAS-IP-Address": (0, 4, "ip"),
    "NAS-Port": (0, 5, "int"),
    "Service-Type": (0, 6, "int"),
    "Framed-IP-Address": (0, 8, "ip"),
    "Reply-Message": (0, 18, "text"),
    "State": (0, 24, "octets"),
    "Class": (0, 25, "octets"),
    "Session-Timeout": (0, 27, "int"),
    "Idle-Timeout": (0, 28, "int"),
    "Called-Station-Id": (0, 30, "text"),
    "Calling-Station-Id": (0, 31, "text"),
    "NAS-Identifier": (0, 32, "text"),
    "Proxy-State": (0, 33, "octets"),
    "Acct-Status-Type": (0, 40, "int"),
    "Acct-Delay-Time": (0, 41, "int"),
    "Acct-Input-Octets": (0, 42, "int"),
    "Acct-Output-Octets": (0, 43, "int"),
    "Acct-Session-Id": (0, 44, "text"),
    "Acct-Authentic": (0, 45, "int"),
    "Acct-Session-Time": (0, 46, "int"),
    "Acct-Terminate-Cause": (0, 49, "int"),
    "Acct-Input-Gigawords": (0, 52, "int"),
    "Acct-Output-Gigawords": (0, 53, "int"),
    "CHAP-Challenge": (0, 60, "octets"),
    "NAS-Port-Type": (0, 61, "int"),
    "Port-Limit": (0, 62, "int"),
    "Message-Authenticator": (0, MESSAGE_AUTHENTICATOR, "octets"),
    "Acct-Interim-Interval": (0, 85, "int"),
    "NAS-Port-Id": (0, 87, "text"),
    "Error-Cause": (0, 101, "int"),
    "Mikrotik-Group": (MIKROTIK, 3, "text"),
    "Mikrotik-Rate-Limit": (MIKROTIK, 8, "text"),
    "Mikrotik-Host-IP": (MIKROTIK, 10, "ip"),
    "Mikrotik-Total-Limit": (MIKROTIK, 17, "int"),
    "Mikrotik-Total-Limit-Gigawords": (MIKROTIK, 18, "int"),
    "Mikrotik-Address-List": (MIKROTIK, 19, "text"),
    "WISPr-Redirection-URL": (WISPR, 4, "text"),
    "WISPr-Bandwidth-Max-Up": (WISPR, 7, "int"),
    "WISPr-Bandwidth-Max-Down": (WISPR, 8, "int"),
}
_NAMES = {(vendor, number): (name, kind) for name, (vendor, number, kind) in ATTRIBUTES.items()}


class Malformed(Exception):
    """Bytes that are no packet, or not one that who knows the secret wrote."""


@dataclass(frozen=True, slots=True)
class Packet:
    """values: by name, the last one where there are several; others: attributes of this packet without a name here."""

    code: int
    identifier: int
    authenticator: bytes
    values: dict[str, Value] = field(default_factory=dict)
    others: tuple[tuple[int, int], ...] = ()

    def text(self, name: str) -> str:
        return str(self.values.get(name, ""))

    def number(self, name: str) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) else None


def access_request(values: Mapping[str, Value], secret: bytes) -> bytes:
    """Signed by a Message-Authenticator at its front; a User-Password is hidden."""
    authenticator, identifier = secrets.token_bytes(16), secrets.randbelow(256)
    hidden = dict(values)
    if "User-Password" in hidden:
        hidden["User-Password"] = _hide(str(hidden["User-Password"]).encode(), secret, authenticator)
    rest = _attributes(hidden)
    front = _attribute(MESSAGE_AUTHENTICATOR, bytes(16))
    head = _header(ACCESS_REQUEST, identifier, front + rest) + authenticator
    signature = hmac.new(secret, head + front + rest, "md5").digest()
    return head + _attribute(MESSAGE_AUTHENTICATOR, signature) + rest


def signed_request(code: int, values: Mapping[str, Value], secret: bytes) -> bytes:
    """An accounting, CoA or Disconnect request."""
    attributes, identifier = _attributes(values), secrets.randbelow(256)
    header = _header(code, identifier, attributes)
    return header + hashlib.md5(header + bytes(16) + attributes + secret).digest() + attributes  # noqa: S324 - RFC 2866


def response(code: int, request: Packet, values: Mapping[str, Value], secret: bytes) -> bytes:
    """The answer to a request that was read."""
    attributes = _attributes(values)
    header = _header(code, request.identifier, attributes)
    signature = hashlib.md5(header + request.authenticator + attributes + secret).digest()  # noqa: S324 - RFC 2865
    return header + signature + attributes


def read_response(raw: bytes, request: bytes, secret: bytes, *, needs_message_authenticator: bool) -> Packet:
    """Raises Malformed for what does not answer this request, or not in the name of who knows the secret."""
    packet = _read(raw)
    signed = hashlib.md5(raw[:4] + request[4:20] + raw[20:] + secret).digest()  # noqa: S324 - RFC 2865
    if packet.identifier != request[1] or not hmac.compare_digest(signed, packet.authenticator):
        raise Malformed("not signed by the server")
    at = _position(raw, MESSAGE_AUTHENTICATOR)
    if at is None:
        if needs_message_authenticator:
            raise Malformed("without a Message-Authenticator")
        return packet
    blank = raw[:4] + request[4:20] + raw[20 : at + 2] + bytes(16) + raw[at + 18 :]
    if not hmac.compare_digest(hmac.new(secret, blank, "md5").digest(), raw[at + 2 : at + 18]):
        raise Malformed("with a wrong Message-Authenticator")
    return packet


def read_request(raw: bytes, secret: bytes) -> Packet:
    """A CoA or Disconnect request. Raises Malformed."""
    packet = _read(raw)
    signed = hashlib.md5(raw[:4] + bytes(16) + raw[20:] + secret).digest()  # noqa: S324 - RFC 5176
    if not hmac.compare_digest(signed, packet.authenticator):
        raise Malformed("not signed with our secret")
    return packet


def _header(code: int, identifier: int, attributes: bytes) -> bytes:
    return struct.pack("!BBH", code, identifier, 20 + len(attributes))


def _attributes(values: Mapping[str, Value]) -> bytes:
    written = b""
    for name, value in values.items():
        vendor, number, kind = ATTRIBUTES[name]
        raw = _write(kind, value)
        if vendor:
            inner = struct.pack("!BB", number, len(raw) + 2) + raw
            written += _attribute(VENDOR_SPECIFIC, struct.pack("!I", vendor) + inner)
        else:
            written += _attribute(number, raw)
    return written


def _attribute(number: int, raw: bytes) -> bytes:
    return struct.pack("!BB", number, len(raw[:253]) + 2) + raw[:253]


def _write(kind: str, value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    if kind == "int":
        return struct.pack("!I", int(value) & 0xFFFF_FFFF)
    return ipaddress.IPv4Address(str(value)).packed if kind == "ip" else str(value).encode()


def _parse(kind: str, raw: bytes) -> Value:
    if kind == "int" and len(raw) == 4:
        return int.from_bytes(raw, "big")
    if kind == "ip" and len(raw) == 4:
        return str(ipaddress.IPv4Address(raw))
    return raw.decode("utf-8", "replace") if kind == "text" else raw


def _read(raw: bytes) -> Packet:
    if len(raw) < 20 or struct.unpack("!H", raw[2:4])[0] != len(raw):
        raise Malformed("of a wrong length")
    values: dict[str, Value] = {}
    others: list[tuple[int, int]] = []
    for vendor, number, value in _each(raw):
        if known := _NAMES.get((vendor, number)):
            values[known[0]] = _parse(known[1], value)
        else:
            others.append((vendor, number))
    return Packet(raw[0], raw[1], raw[4:20], values, tuple(others))


def _each(raw: bytes) -> list[tuple[int, int, bytes]]:
    found, at = [], 20
    while at < len(raw):
        if at + 2 > len(raw) or not 2 <= raw[at + 1] <= len(raw) - at:
            raise Malformed("with a broken attribute")
        value = raw[at + 2 : at + raw[at + 1]]
        if raw[at] == VENDOR_SPECIFIC and len(value) >= 6:
            vendor, number, size = int.from_bytes(value[:4], "big"), value[4], value[5]
            found.append((vendor, number, value[6 : 4 + size]))
        else:
            found.append((0, raw[at], value))
        at += raw[at + 1]
    return found


def _position(raw: bytes, number: int) -> int | None:
    at = 20
    while at < len(raw):
        if raw[at] == number:
            return at
        at += raw[at + 1]
    return None


def _hide(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    padded = password + bytes(-len(password) % 16 or (16 if not password else 0))
    hidden, before = b"", authenticator
    for start in range(0, len(padded), 16):
        mask = hashlib.md5(secret + before).digest()  # noqa: S324 - RFC 2865
        before = bytes(one ^ two for one, two in zip(padded[start : start + 16], mask, strict=True))
        hidden += before
    return hidden
