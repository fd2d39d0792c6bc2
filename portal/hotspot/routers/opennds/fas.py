"""What an openNDS gateway tells with a device (its `fas` parameter), in the portal's own words, and the way back in.

Levels 1 and 4 tell it plainly; levels 2 and 3 under AES-256-CBC with the site's key, and base64 once more around it.

Decided: it becomes what a MikroTik would have told, so that the pages know one kind of router: the device's hashed id
is its challenge, and the answer to it (`rhid`) is made with the site's key, as CHAP's is with a password. The address
that the device is sent back to is checked like every login address: a host of the site, or a private one.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from urllib.parse import unquote

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

LONGEST_FAS, _BLOCK = 6_000, 16
AUTH_FOLDER = "opennds_auth"  # what the gateway takes answers under, unless its owner renames it
CHALLENGE = "opennds"  # stands where RouterOS gives CHAP's id: the answer is a `tok`
_NAME = re.compile(r"[a-z_]{1,40}")
_HID = re.compile(r"[0-9a-f]{8,128}")
_ADDRESS = re.compile(r"[A-Za-z0-9.-]{1,60}(:[0-9]{1,5})?")
_NODE = re.compile(r"\s*Node:[0-9a-f]{12}\s*$")


def decode(encoded: str) -> dict[str, str]:
    """The values of a `fas` of level 1 or 4, unquoted; empty for what is none."""
    return _values(_bytes(encoded))


def decrypt(encoded: str, iv: str, keys: Iterable[str]) -> dict[str, str]:
    """The values of a `fas` of level 2 or 3, by the key of these that fits; empty where none does.

    As PHP's openssl_encrypt writes it: the key filled up with zeros to 32 bytes, `iv` taken as its 16 letters.
    """
    outer = _bytes(encoded)
    sealed = _bytes(outer.decode("ascii", "replace")) or outer
    vector = iv.encode("utf-8", "replace")[:_BLOCK]
    if len(vector) < _BLOCK or not sealed or len(sealed) % _BLOCK:
        return {}
    for key in keys:
        filled = key.strip().encode()[:32].ljust(32, b"\0")
        opener = Cipher(algorithms.AES(filled), modes.CBC(vector)).decryptor()
        opened = opener.update(sealed) + opener.finalize()
        padding = opened[-1]
        if 1 <= padding <= _BLOCK and opened.endswith(bytes([padding]) * padding):
            values = _values(opened[:-padding])
            if "hid" in values:
                return values
    return {}


def _bytes(encoded: str) -> bytes:
    """What base64 stands for, in any of its alphabets and with or without its end; nothing for what is none."""
    text = encoded.strip().replace(" ", "+").replace("-", "+").replace("_", "/")
    if not text or len(text) > LONGEST_FAS:
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _values(told: bytes) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in told.decode("utf-8", "replace").split(", ") if "=" in part)
    return {name: _plain(value) for name, value in pairs if _NAME.fullmatch(name)}


def _plain(value: str) -> str:
    """Unquoted, without what no line has; `(null)` is openNDS' word for nothing."""
    text = "".join(one for one in unquote(value) if one.isprintable()).strip()
    return "" if text in ("(null)", "null", "na") else text


def told(encoded: str, *, iv: str = "", keys: Iterable[str] = ()) -> dict[str, str]:
    """The same as MikroTik's names: mac, ip, identity, link-login-only, link-orig, chap-id, chap-challenge.

    iv, keys: where it came encrypted, as levels 2 and 3 do.
    """
    given = decrypt(encoded, iv, keys) if iv else decode(encoded)
    hid, address = given.get("hid", ""), given.get("gatewayaddress", "")
    found = {
        "mac": given.get("clientmac", ""),
        "ip": given.get("clientip", ""),
        "identity": _NODE.sub("", given.get("gatewayname", "")),
        "link-orig": given.get("originurl", ""),
    }
    if _HID.fullmatch(hid) and _ADDRESS.fullmatch(address):
        folder = given.get("authdir", "")
        folder = folder if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", folder) else AUTH_FOLDER
        found |= {"link-login-only": f"http://{address}/{folder}/", "chap-id": CHALLENGE, "chap-challenge": hid}
    return {name: value for name, value in found.items() if value}


def rhid(hid: str, key: str) -> str:
    """The answer that opens the gateway to the device of this id: SHA-256 of both, in hexadecimal."""
    return hashlib.sha256((hid.strip() + key.strip()).encode()).hexdigest()


def login_fields(hid: str, key: str, wanted_url: str) -> dict[str, str]:
    """What the device's browser takes back to the gateway, in the address."""
    return {"tok": rhid(hid, key)} | ({"redir": wanted_url} if wanted_url else {})
