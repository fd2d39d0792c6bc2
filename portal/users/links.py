"""One-time links by which a person chooses a password: mailed to who forgot theirs, handed to who is new.

Signed, and good until they are used: choosing a password changes the person's session key, which the link names.
So no table holds them, and the newest password ends every link that was made before it.
"""

from dataclasses import dataclass
from datetime import timedelta

import jwt

from portal.kernel import clock, vault
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.users.models import User

MAILED_FOR, WELCOME_FOR = timedelta(hours=1), timedelta(days=7)
ALGORITHM, ISSUER = "HS256", "mlango-link"


@dataclass(frozen=True)
class Linked:
    """Who may choose a password. key: what `signin.change_password` wants to be told. is_mailed: it was, to them."""

    user_id: int
    key: str
    email: str
    is_mailed: bool


def make(user: User, secret_key: str, *, good_for: timedelta, is_mailed: bool = False) -> str:
    """The token that ends the link's address. is_mailed: it goes to the person's own address, unseen by others.

    secret_key: this product's, as in `read`.
    """
    claims = {
        "iss": ISSUER,
        "sub": str(user.id),
        "key": vault.digest(user.session_key),
        "mailed": is_mailed,
        "exp": int((clock.now() + good_for).timestamp()),
    }
    return jwt.encode(claims, _key(secret_key), ALGORITHM)


def read(token: str, secret_key: str) -> Linked:
    """Whom a link stands for. Raises Refused where it was used, is too old, or is not ours."""
    gone = Refused("This link was used already, or is too old. Ask for a new one.", code="link_over")
    options = {"require": ["sub", "key", "exp"], "verify_exp": False}
    try:
        claims = jwt.decode(token, _key(secret_key), [ALGORITHM], issuer=ISSUER, options=options)  # type: ignore[arg-type]
        user_id, until = int(claims["sub"]), int(claims["exp"])
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise gone from None
    user = db.session.get(User, user_id)
    is_over = until < clock.now().timestamp()  # our clock, which may be moved, and not the machine's
    if is_over or user is None or user.deactivated_at is not None or claims["key"] != vault.digest(user.session_key):
        raise gone
    return Linked(user.id, user.session_key, user.email, claims.get("mailed") is True)


def _key(secret_key: str) -> str:
    return str(vault.lookup("password link", context=secret_key))
