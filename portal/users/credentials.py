"""Passwords: set, checked and changed; roles given."""

from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult

from portal.audit import chain
from portal.kernel.db import db, new_token
from portal.kernel.errors import Conflict, Refused
from portal.kernel.errors import Sentence as _
from portal.users import sessions
from portal.users.models import Membership, User
from portal.users.permissions import STAFF_ROLES, SignInNeeded

_hasher = PasswordHasher()
_NOBODY = _hasher.hash(new_token())  # checked when nobody has that address, so that time tells nothing
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200


class WrongPassword(SignInNeeded):
    """Address or password is wrong; which of them is not told."""

    code = "wrong_password"


@dataclass(frozen=True)
class Entered:
    """Who gave the right password. session_key: theirs at that moment; a newer one ends what follows from this."""

    user_id: int
    session_key: str


def hash_of(password: str) -> str:
    """What is kept of a password. Raises Refused for one that is too short or too long."""
    if len(password) < SHORTEST_PASSWORD:
        sentence = _("The password must have at least %(count)s characters.", count=SHORTEST_PASSWORD)
        raise Refused(sentence, fields={"password": _("Too short.")})
    if len(password) > LONGEST_PASSWORD:
        sentence = _("The password may have at most %(count)s characters.", count=LONGEST_PASSWORD)
        raise Refused(sentence, fields={"password": _("Too long.")})
    return _hasher.hash(password)


def add_user(*, email: str, name: str, password: str, is_platform_admin: bool = False) -> User:
    """A new person. Raises Refused for a short password or an address that is taken. The caller commits."""
    address = email.strip().lower()
    password_hash = hash_of(password)
    if by_email(address) is not None:
        raise Refused(f"Somebody with the address {address} signs in already.", fields={"email": "Taken."})
    user = User(
        email=address,
        name=name.strip(),
        password_hash=password_hash,
        is_platform_admin=is_platform_admin,
        session_key=new_token(),
    )
    db.session.add(user)
    db.session.flush()
    return user


def by_email(email: str) -> User | None:
    """The person of this address, or None."""
    return db.session.scalars(select(User).where(User.email == email.strip().lower())).one_or_none()


def add_role(user: User, tenant_id: int, role: str) -> Membership:
    """Give a person a role in a tenant. The caller commits."""
    membership = Membership(tenant_id=tenant_id, user_id=user.id, role=role)
    db.session.add(membership)
    db.session.flush()
    db.session.expire(user, ["memberships"])
    return membership


def check_password(email: str, password: str) -> Entered:
    """Who has this address and password. Raises WrongPassword. Outside any transaction: hashing takes its time."""
    user = by_email(email)
    kept = user.password_hash if user is not None else _NOBODY
    is_nobody = user is None or user.deactivated_at is not None
    entered = Entered(user.id, user.session_key) if user is not None else Entered(0, "")
    db.session.rollback()
    try:
        _hasher.verify(kept, password)
    except (Argon2Error, InvalidHashError):
        raise WrongPassword("Address or password is wrong.") from None
    if is_nobody:
        raise WrongPassword("Address or password is wrong.")
    return entered


def change_password(user_id: int, password_hash: str, *, key: str, actor: str, but: str = "") -> None:
    """Set a new password and end the person's other sessions and every bearer token. The caller commits.

    password_hash: of `hash_of`, made before the transaction. key: the person's session key when the old password, or
    the link, was checked: of two changes at once one wins. but: the token of the session that stays.
    Raises Conflict for the loser.
    """
    changed = update(User).where(User.id == user_id, User.session_key == key).values(password_hash=password_hash)
    result: CursorResult[tuple[int]] = db.session.execute(changed)  # type: ignore[assignment]
    if result.rowcount != 1:
        raise Conflict(_("The password was changed meanwhile. Sign in with the new one."))
    user = db.session.get_one(User, user_id)
    sessions.end_all(user, but=but)
    for membership in user.memberships:
        chain.record(membership.tenant_id, "user", user_id, "password_changed", actor=actor)


def end_sessions(user: User) -> None:
    """End every session and token of a person at once. The caller commits."""
    sessions.end_all(user)


def first_membership(user: User) -> Membership | None:
    """The membership that a sign-in without a tenant's name is for: the first as staff, else any."""
    return next(iter(sorted(user.memberships, key=lambda m: (m.role not in STAFF_ROLES, m.id))), None)
