"""Sessions of browsers, kept here and not only in the cookie, so that they end when they are said to.

Decided: a session ends at sign-out, after IDLE_FOR without a page that a person asked for, after LONGEST in any case,
and when the person's key changes (new password, `end_sessions`). The cookie carries a random token; a row its digest.
"""

from datetime import timedelta

from sqlalchemy import delete, or_, select, update

from portal.kernel import clock, vault
from portal.kernel.db import db, new_token
from portal.users.models import SignIn, User

IDLE_FOR, LONGEST = timedelta(hours=8), timedelta(hours=24)
WRITTEN_EVERY = timedelta(minutes=5)  # a page looked at is no reason to write, a session kept alive is


def begin(user_id: int, session_key: str) -> str:
    """A new session; its token for the cookie. The caller commits.

    session_key: the person's at the moment the password was checked: one changed since then ends this session too.
    """
    now, token = clock.now(), new_token()
    is_over = or_(SignIn.created_at < now - LONGEST, SignIn.seen_at < now - IDLE_FOR)
    db.session.execute(delete(SignIn).where(SignIn.user_id == user_id, is_over))
    db.session.add(SignIn(user_id=user_id, digest=vault.digest(token), session_key=session_key, seen_at=now))
    db.session.flush()
    return token


def find(token: str) -> User | None:
    """Whose session this is, or None where it has ended."""
    mine = select(User, SignIn).join(SignIn, SignIn.user_id == User.id).where(SignIn.digest == vault.digest(token))
    row = db.session.execute(mine).first()
    if row is None:
        return None
    user: User = row[0]
    sign_in: SignIn = row[1]
    now = clock.now()
    if sign_in.session_key != user.session_key or user.deactivated_at is not None:
        return None
    if sign_in.created_at < now - LONGEST or sign_in.seen_at < now - IDLE_FOR:
        return None
    user.session_token, user.seen_at = token, sign_in.seen_at
    return user


def keep(token: str) -> None:
    """Write down that the session was used. The caller commits."""
    db.session.execute(update(SignIn).where(SignIn.digest == vault.digest(token)).values(seen_at=clock.now()))


def end(token: str) -> None:
    """End one session, whoever holds its cookie. The caller commits."""
    db.session.execute(delete(SignIn).where(SignIn.digest == vault.digest(token)))


def end_all(user: User, *, but: str = "") -> None:
    """End every session and bearer token of a person at once. The caller commits.

    but: the token of the session that stays, as the one that asked does.
    """
    key = new_token()
    db.session.execute(update(User).where(User.id == user.id).values(session_key=key))
    if but:
        stays = (SignIn.user_id == user.id, SignIn.digest == vault.digest(but))
        db.session.execute(update(SignIn).where(*stays).values(session_key=key))
