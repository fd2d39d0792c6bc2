"""Slowing down who guesses passwords, without a lock that a stranger could hold against somebody.

Wrong passwords count per account and network, never per account alone: whoever guesses locks their own network out of
that account, and its owner comes in from elsewhere. On the owner's network (a clinic's waiting room shares it with
the counter) a browser that signed in to this account before has a count of its own, by a signed cookie.
An account that many networks guess at allows each of them less; that is no lock either.
Nothing here tells an account that exists from one that does not. Counted in Redis; without it nobody is slowed down.
"""

from dataclasses import dataclass
from datetime import timedelta

import redis
from itsdangerous import BadSignature, URLSafeSerializer

from portal.kernel import queue, vault
from portal.kernel.db import new_uid
from portal.kernel.errors import CoolDown
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger

TRIES, LOCKED_FOR = 8, timedelta(minutes=10)
MANY, TRIES_THEN = 100, 2  # so many wrong ones from strange networks in a day, and each has so many tries
COUNTED_FOR = timedelta(days=1)
ACCOUNTS_OF_A_DEVICE = 10  # a counter's computer is shared


@dataclass(frozen=True)
class Device:
    """A browser that signed in before. accounts: hashes of the accounts it signed in to, newest first."""

    id: str
    accounts: tuple[str, ...]


def device_of(cookie: str, secret_key: str) -> Device | None:
    """The device that this cookie of ours names, or None. secret_key: this product's, as in `cookie_for`."""
    try:
        given = _signer(secret_key).loads(cookie)
        return Device(str(given["id"]), tuple(str(one) for one in given["accounts"]))
    except (BadSignature, KeyError, TypeError):
        return None


def cookie_for(device: Device | None, email: str, secret_key: str) -> str:
    """The cookie of a device after somebody signed in on it."""
    mine = _account(email)
    others = [one for one in device.accounts if one != mine] if device else []
    accounts = [mine, *others][:ACCOUNTS_OF_A_DEVICE]
    return str(_signer(secret_key).dumps({"id": device.id if device else new_uid(), "accounts": accounts}))


def _signer(secret_key: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret_key, salt="known device")


def _account(email: str) -> str:
    return vault.lookup(email.strip().lower(), context="sign-in")[:24]


def count_one(email: str, *, network: str, device: Device | None) -> None:
    """Count a try before the password is looked at, so that many at once are not more. Raises CoolDown."""
    account = _account(email)
    is_known = device is not None and account in device.accounts
    try:
        store = queue.connection()
        most = TRIES if is_known or int(store.get(_strangers(account)) or 0) < MANY else TRIES_THEN
        key = _place(account, network, device)
        tries = int(store.incr(key))
        if tries == 1 or tries == most:
            store.expire(key, LOCKED_FOR if tries == most else COUNTED_FOR)
        wait_s = max(1, int(store.ttl(key))) if tries > most else 0
        if wait_s > LOCKED_FOR.total_seconds():  # fewer tries are allowed than when this count began
            store.expire(key, LOCKED_FOR)
            wait_s = int(LOCKED_FOR.total_seconds())
        if not is_known and not wait_s and int(store.incr(_strangers(account))) == 1:
            store.expire(_strangers(account), COUNTED_FOR)
    except redis.RedisError:
        logger.warning("redis_away", what="wrong passwords are not counted")
        return
    if wait_s:
        raise CoolDown(
            _("Too many wrong passwords. Wait a few minutes, then try again."),
            retry_after_s=wait_s,
            code="too_many_requests",
        )


def forget(email: str, *, network: str, device: Device | None) -> None:
    """The password was right: what was counted against this place begins anew."""
    account = _account(email)
    try:
        store = queue.connection()
        store.delete(_place(account, network, device))
        if not (device is not None and account in device.accounts) and store.exists(_strangers(account)):
            store.decr(_strangers(account))
    except redis.RedisError:
        logger.warning("redis_away", what="wrong passwords are not counted")


def _place(account: str, network: str, device: Device | None) -> str:
    if device is not None and account in device.accounts:
        return f"signin:{account}:device:{device.id}"
    return f"signin:{account}:network:{vault.lookup(network, context='network')[:24]}"


def _strangers(account: str) -> str:
    return f"signin:{account}:strangers"
