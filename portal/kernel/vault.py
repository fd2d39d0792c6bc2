"""Encryption at rest: AES-256-GCM under a key ring, and keyed hashes by which sealed values are found.

A sealed value is `v1.<key id>.<base64 of nonce and ciphertext>`, bound to its context (tenant, table and column),
so that a ciphertext moved to another tenant does not open. The first key of the ring seals, every key opens;
`portal keys rotate` seals everything anew under the first. The hash key is derived from the oldest key, so that
look-ups survive a rotation.

One ring a process, set at start by `use`: sealing is asked for by models' owners everywhere, and to carry the
ring through every call would name it a hundred times and protect nothing.
"""

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.kernel.errors import Misconfigured, PortalError

KEY_BYTES, NONCE_BYTES = 32, 12
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# What is sealed of a tenant: numbers, words, M-Pesa's names of prompts, access to the network, messages to be sent,
# meetings and what they are made with.
PHONE, TEXT, CHECKOUT, ACCESS, OUTBOX, MEETING = "phone", "personal", "checkout", "access", "outbox", "meeting"


class CannotOpen(PortalError):
    """The value was sealed under a key that is not in the ring, in another context, or was altered."""


def context(kind: str, tenant_id: int) -> str:
    """What a tenant's values of this kind are sealed in: what they are, and whose."""
    return f"{kind}/{tenant_id}"


class KeyRing:
    """Keys by id, in order: the first one seals."""

    def __init__(self, text: str) -> None:
        """text: `id:64 hex digits`, comma separated, newest first. Raises Misconfigured."""
        self._keys: dict[str, AESGCM] = {}
        oldest = b""
        for part in filter(None, (part.strip() for part in text.split(","))):
            key_id, _, digits = part.partition(":")
            try:
                oldest = bytes.fromhex(digits)
            except ValueError:
                oldest = b""
            if not key_id.isalnum() or len(oldest) != KEY_BYTES:
                raise Misconfigured(
                    "PORTAL_DATA_KEYS: each key is written id:64-hexadecimal-digits, the id in letters and digits."
                )
            self._keys[key_id] = AESGCM(oldest)
        if not self._keys:
            raise Misconfigured("PORTAL_DATA_KEYS holds no key.")
        self.current = next(iter(self._keys))
        self._hash_key = hmac.digest(oldest, b"look-up", "sha256")

    def seal(self, text: str, context: str) -> str:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._keys[self.current].encrypt(nonce, text.encode(), context.encode())
        return f"v1.{self.current}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def unseal(self, token: str, context: str) -> str:
        version, key_id, body = (token.split(".", 2) + ["", ""])[:3]
        key = self._keys.get(key_id)
        if version != "v1" or key is None:
            raise CannotOpen(f"A value sealed under key {key_id[:20]!r} cannot be opened: that key is not in the ring.")
        raw = binascii.a2b_base64(body.encode().translate(_FROM_URL_SAFE))  # as `base64` does, in a third of the time
        try:
            return key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode()).decode()
        except InvalidTag:
            raise CannotOpen("A sealed value was altered, or belongs somewhere else.") from None

    def lookup(self, text: str, context: str) -> str:
        return hmac.digest(self._hash_key, f"{context}\0{text}".encode(), "sha256").hex()


_ring: KeyRing | None = None


def use(ring: KeyRing) -> None:
    """Set this process's ring."""
    global _ring
    _ring = ring


def _the_ring() -> KeyRing:
    if _ring is None:
        raise Misconfigured("The key ring was not set before something was sealed.")
    return _ring


def seal(text: str, *, context: str) -> str:
    """The sealed form of `text`. context: where it is kept, such as `gateway.passkey/7`."""
    return _the_ring().seal(text, context)


def unseal(token: str, *, context: str) -> str:
    """The text that was sealed. Raises CannotOpen."""
    return _the_ring().unseal(token, context)


def is_current(token: str) -> bool:
    """Whether `token` is sealed under the ring's first key already."""
    return token.startswith(f"v1.{_the_ring().current}.")


def lookup(text: str, *, context: str) -> str:
    """A keyed hash by which a sealed value is found: 64 hexadecimal digits, useless without the key."""
    return _the_ring().lookup(text, context)


def digest(secret: str) -> str:
    """SHA-256 of a random secret (API key, token): enough for values that cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()
