"""One OAuth token for each gateway, shared by every process.

Safaricom says that a new token ends the one before it, so with a cache per process the processes would log
each other out. The token lives in Redis; while one process renews it the others wait for its result.

Decided to seal the token with a key made from the consumer secret, because whoever holds that secret can sign
on anyway, and a copy of Redis alone then gives nothing away.
Decided that Redis is never needed for a payment: when it fails, this process keeps its own token.
Source: Safaricom's Daraja documentation, "Authorization", and its questions and answers.
"""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
from cryptography.fernet import Fernet, InvalidToken

KEEP_S = 50 * 60
EARLY_S = 120  # renewed this long before Daraja lets it lapse
LOCK_S = 10
WAIT_S = 5.0
POLL_S = 0.1
_REDIS_FAILURES = (redis.RedisError, OSError)
_DELETE_IF_SAME = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"


@dataclass(frozen=True)
class TokenKey:
    """Whose token: another gateway, environment, server or consumer key never shares it."""

    gateway_id: int
    environment: str
    base_url: str
    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)

    @property
    def name(self) -> str:
        """The Redis key; says nothing about the consumer key."""
        digest = hashlib.sha256(f"{self.base_url}\n{self.consumer_key}".encode()).hexdigest()[:24]
        return f"daraja:token:{self.gateway_id}:{self.environment}:{digest}"


@dataclass(frozen=True)
class FreshToken:
    """What Daraja's sign-on gave. `expires_in_s`: its own word for how long it lasts."""

    token: str = field(repr=False)
    expires_in_s: int

    @property
    def keep_s(self) -> int:
        return min(KEEP_S, self.expires_in_s - EARLY_S)


class TokenStore:
    """The gateways' tokens. `client`: a redis client, or None for a store inside this process."""

    def __init__(self, client: Any = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._redis = client
        self._sleep = sleep
        self._own: dict[str, tuple[str, float]] = {}
        self._own_locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: TokenKey, fetch: Callable[[], FreshToken]) -> str:
        """A token that works as far as we know. `fetch` runs in one process at a time; its errors rise."""
        if self._redis is None:
            return self._get_own(key, fetch)
        try:
            token = self._read(key)
            if token is None and not self._lock(key, mine := secrets.token_hex(8)):
                return self._wait(key) or self._fetch_and_keep(key, fetch)
        except _REDIS_FAILURES:
            return self._get_own(key, fetch)
        if token is not None:
            return token
        try:
            return self._fetch_and_keep(key, fetch)
        finally:
            self._delete_if_same(key.name + ":lock", mine)

    def put(self, key: TokenKey, fresh: FreshToken) -> None:
        """Keep a token that was fetched elsewhere, in place of the one before."""
        if fresh.keep_s < 1:
            return
        self._own[key.name] = (fresh.token, time.monotonic() + fresh.keep_s)
        if self._redis is not None:
            try:
                self._redis.set(key.name, self._sealed(key, fresh.token), ex=fresh.keep_s)
            except _REDIS_FAILURES:
                return  # this process has it; the others fetch their own

    def drop(self, key: TokenKey, token: str) -> None:
        """Forget `token`, and only that one: another process may have renewed it already."""
        with self._guard:
            if self._own.get(key.name, ("", 0.0))[0] == token:
                del self._own[key.name]
        if self._redis is None:
            return
        try:
            stored = _text(self._redis.get(key.name))
        except _REDIS_FAILURES:
            return
        if stored is not None and self._unsealed(key, stored) == token:
            self._delete_if_same(key.name, stored)

    def _get_own(self, key: TokenKey, fetch: Callable[[], FreshToken]) -> str:
        with self._guard:
            lock = self._own_locks.setdefault(key.name, threading.Lock())
        with lock:
            token, until = self._own.get(key.name, ("", 0.0))
            return token if token and time.monotonic() < until else self._fetch_and_keep(key, fetch)

    def _fetch_and_keep(self, key: TokenKey, fetch: Callable[[], FreshToken]) -> str:
        fresh = fetch()
        self.put(key, fresh)
        return fresh.token

    def _read(self, key: TokenKey) -> str | None:
        stored = _text(self._redis.get(key.name))
        return None if stored is None else self._unsealed(key, stored)

    def _lock(self, key: TokenKey, mine: str) -> bool:
        return bool(self._redis.set(key.name + ":lock", mine, nx=True, ex=LOCK_S))

    def _wait(self, key: TokenKey) -> str | None:
        for _ in range(int(WAIT_S / POLL_S)):
            self._sleep(POLL_S)
            if token := self._read(key):
                return token
        return None

    def _delete_if_same(self, name: str, value: str) -> None:
        try:
            self._redis.eval(_DELETE_IF_SAME, 1, name, value)
        except _REDIS_FAILURES:
            return  # it lapses by itself

    def _sealed(self, key: TokenKey, token: str) -> str:
        return _fernet(key).encrypt(token.encode()).decode("ascii")

    def _unsealed(self, key: TokenKey, stored: str) -> str | None:
        try:
            return _fernet(key).decrypt(stored.encode()).decode()
        except (InvalidToken, ValueError):  # sealed under another secret, or no longer whole: fetched anew
            return None


def _fernet(key: TokenKey) -> Fernet:
    digest = hashlib.sha256(b"mlango daraja token\n" + key.consumer_secret.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def _text(stored: bytes | str | None) -> str | None:
    return stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored
