"""Passwords: set, checked, and slowed down for who guesses."""

from datetime import timedelta

import redis
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import select, update

from portal import clock, vault
from portal.accounts.models import Membership, User
from portal.accounts.permissions import STAFF_ROLES, SignInNeeded
from portal.db import db, new_token
from portal.errors import CoolDown, Refused
from portal.logs import logger

_hasher = PasswordHasher()
_NOBODY = _hasher.hash(new_token())  # checked when nobody has that address, so that time tells nothing
SHORTEST_PASSWORD = 10
TRIES, LOCKED_FOR = 8, timedelta(minutes=10)
STRANGERS_KEPT_FOR = timedelta(days=1)


def add_user(*, email: str, name: str, password: str, is_platform_admin: bool = False) -> User:
    """A new person. Raises Refused for a short password or an address that is taken. The caller commits."""
    address = email.strip().lower()
    if len(password) < SHORTEST_PASSWORD:
        raise Refused(
            f"The password must have at least {SHORTEST_PASSWORD} characters.",
            fields={"password": "Too short."},
        )
    if db.session.scalar(select(User.id).where(User.email == address)) is not None:
        raise Refused(f"Somebody with the address {address} signs in already.", fields={"email": "Taken."})
    user = User(
        email=address,
        name=name.strip(),
        password_hash=_hasher.hash(password),
        is_platform_admin=is_platform_admin,
        session_key=new_token(),
    )
    db.session.add(user)
    db.session.flush()
    return user


def add_role(user: User, tenant_id: int, role: str) -> Membership:
    """Give a person a role in a tenant. The caller commits."""
    membership = Membership(tenant_id=tenant_id, user_id=user.id, role=role)
    db.session.add(membership)
    db.session.flush()
    return membership


def check_password(email: str, password: str) -> User:
    """The person of this address and password. Raises SignInNeeded, or CoolDown after many wrong ones.

    Commits nothing itself: the caller opens the transaction, and lets it commit when this raises `WrongPassword`.
    """
    address = email.strip().lower()
    user = db.session.scalars(select(User).where(User.email == address)).one_or_none()
    if wait_s := _locked_for_s(user) if user else _strangers_wait_s(address):
        raise CoolDown(
            _("Too many wrong passwords. Wait a few minutes, then try again."),
            retry_after_s=wait_s,
            code="too_many_requests",
        )
    try:
        _hasher.verify(user.password_hash if user else _NOBODY, password)
    except (Argon2Error, InvalidHashError):
        if user is not None:
            _count_failure(user)
        else:
            _count_stranger(address)
        raise WrongPassword("Address or password is wrong.") from None
    if user is None:
        raise WrongPassword("Address or password is wrong.")
    if user.failed_signins:
        user.failed_signins, user.locked_until = 0, None
    return user


class WrongPassword(SignInNeeded):
    """Address or password is wrong; which of them is not told."""

    code = "wrong_password"


def _count_failure(user: User) -> None:
    user.failed_signins += 1
    if user.failed_signins >= TRIES:
        user.failed_signins, user.locked_until = 0, clock.now() + LOCKED_FOR
    db.session.flush()


def _locked_for_s(user: User) -> int:
    if user.locked_until is None or user.locked_until <= clock.now():
        return 0
    return int((user.locked_until - clock.now()).total_seconds()) + 1


def _count_stranger(address: str) -> None:
    """Count for an address that nobody has, as for one that somebody has: a lock must not tell them apart."""
    key = _strangers_key(address)
    try:
        tries = current_app.extensions["redis"].incr(key)
        if tries in (1, TRIES):
            current_app.extensions["redis"].expire(key, LOCKED_FOR if tries == TRIES else STRANGERS_KEPT_FOR)
    except redis.RedisError:
        logger.warning("redis_away", what="wrong sign-ins of strangers are not counted")


def _strangers_wait_s(address: str) -> int:
    key = _strangers_key(address)
    try:
        is_locked = int(current_app.extensions["redis"].get(key) or 0) >= TRIES
        return max(1, current_app.extensions["redis"].ttl(key)) if is_locked else 0
    except redis.RedisError:
        return 0


def _strangers_key(address: str) -> str:
    return "signin:" + vault.lookup(address, context="strangers")


def end_sessions(user: User) -> None:
    """End every session and token of a person at once. The caller commits."""
    db.session.execute(update(User).where(User.id == user.id).values(session_key=new_token()))


def staff_membership(user: User, tenant_slug: str | None) -> Membership | None:
    """The membership that a sign-in is for: of the tenant named, else the first as staff, else any."""
    mine = sorted(user.memberships, key=lambda m: (m.role not in STAFF_ROLES, m.id))
    if tenant_slug:
        return next((m for m in mine if m.tenant.slug == tenant_slug), None)
    return mine[0] if mine else None
