"""Bearer tokens of the JSON API, and API keys of programs."""

from dataclasses import dataclass
from datetime import timedelta

import jwt
from sqlalchemy import select

from portal.kernel import clock, vault
from portal.kernel.db import db, new_token
from portal.kernel.errors import Refused
from portal.tenants.models import Tenant
from portal.users.credentials import Entered
from portal.users.models import ApiKey, User
from portal.users.permissions import SignInNeeded

LIFETIME = timedelta(hours=8)
FRESH_FOR = timedelta(minutes=15)
ALGORITHM, ISSUER = "HS256", "mlango"
NO_TENANT = 0


@dataclass(frozen=True)
class Principal:
    """Who asks, and for which tenant. actor: how the audit names them. is_fresh: signed in within 15 minutes."""

    tenant_id: int
    role: str
    actor: str
    user_id: int | None = None
    is_fresh: bool = False


def issue(entered: Entered, tenant: Tenant | None, secret_key: str) -> str:
    """A bearer token for a person in a tenant; without one it is good for nobody's doors.

    secret_key: this product's, as in `read`.
    """
    now = clock.now()
    claims = {
        "iss": ISSUER,
        "sub": str(entered.user_id),
        "tenant": tenant.id if tenant else NO_TENANT,
        "key": entered.session_key[:16],
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
    }
    return jwt.encode(claims, _key(secret_key), ALGORITHM)


def read(token: str, secret_key: str) -> Principal:
    """Whom a bearer token stands for. Raises SignInNeeded with what is wrong."""
    try:
        claims = jwt.decode(
            token,
            _key(secret_key),
            [ALGORITHM],
            issuer=ISSUER,
            options={"require": ["sub", "exp", "iat"], "verify_exp": False, "verify_iat": False},
        )
        user_id, tenant_id, issued = int(claims["sub"]), int(claims["tenant"]), int(claims["iat"])
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise SignInNeeded("The bearer token is not ours. Get one from POST /api/auth/token.") from None
    now_s = clock.now().timestamp()  # our clock, which may be moved, and not the machine's
    if int(claims["exp"]) < now_s:
        raise SignInNeeded("The bearer token has expired. Get a new one from POST /api/auth/token.")
    user = db.session.get(User, user_id)
    if user is None or user.deactivated_at is not None or claims.get("key") != user.session_key[:16]:
        raise SignInNeeded("This sign-in has ended. Get a new token from POST /api/auth/token.")
    role = "tenant_admin" if user.is_platform_admin else user.role_in(tenant_id)
    if role is None:
        raise SignInNeeded("This person no longer works for that business.")
    is_fresh = now_s - issued < FRESH_FOR.total_seconds()
    return Principal(tenant_id, role, f"user:{user.id}", user.id, is_fresh)


def _key(secret_key: str) -> str:
    return str(vault.lookup("bearer", context=secret_key))


def new_api_key(tenant_id: int, name: str) -> str:
    """A new key for a program; shown once, only its digest is kept. The caller commits."""
    key = "mlango_" + new_token()
    db.session.add(ApiKey(tenant_id=tenant_id, name=name[:60], digest=vault.digest(key)))
    db.session.flush()
    return key


def read_api_key(key: str) -> Principal:
    """Whom an API key stands for. Raises SignInNeeded."""
    row = db.session.scalars(select(ApiKey).where(ApiKey.digest == vault.digest(key))).one_or_none()
    if row is None or row.revoked_at is not None:
        raise SignInNeeded("This API key is not valid here.")
    return Principal(row.tenant_id, "api_key", f"api_key:{row.id}")


def membership_tenant(user: User, slug: str | None) -> Tenant | None:
    """The tenant that a token is for: the one named, else the person's only one. Raises Refused.

    None for a platform administrator who names none: such a token opens no business's door.
    """
    if user.is_platform_admin:
        if not slug:
            return None
        if tenant := db.session.scalars(select(Tenant).where(Tenant.slug == slug)).first():
            return tenant
        raise Refused("There is no such business.", code="unknown_tenant", fields={"tenant": "Unknown."})
    mine = [m.tenant for m in user.memberships if not slug or m.tenant.slug == slug]
    if not mine:
        raise Refused("You do not belong to that business.", code="unknown_tenant", fields={"tenant": "Unknown."})
    if len(mine) > 1:
        names = ", ".join(sorted(tenant.slug for tenant in mine))
        raise Refused(f"Name the tenant: one of {names}.", code="tenant_needed", fields={"tenant": f"One of {names}."})
    return mine[0]
