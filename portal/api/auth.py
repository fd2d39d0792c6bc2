"""Getting a bearer token."""

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from portal.accounts import tokens
from portal.accounts.models import User
from portal.accounts.views import check_and_count
from portal.api.guard import EVERYBODY, Doors, body, text_of
from portal.api.schemas import contract
from portal.db import db
from portal.limits import SIGN_INS, limiter


def open_doors(doors: Doors) -> None:
    counted = limiter.limit(SIGN_INS, key_func=lambda: request.remote_addr or "")(token)
    doors.add("POST", "/auth/token", counted, who=EVERYBODY, limit=None)


@contract("Token", takes="Credentials")
def token() -> ResponseReturnValue:
    """A bearer token for an address, a password and, where somebody works for several, a tenant."""
    given = body()
    user: User = check_and_count(text_of(given, "email"), text_of(given, "password"))
    tenant = tokens.membership_tenant(user, text_of(given, "tenant", required=False) or None)
    user = db.session.get_one(User, user.id)
    return jsonify(
        accessToken=tokens.issue(user, tenant),
        tokenType="Bearer",
        expiresIn=int(tokens.LIFETIME.total_seconds()),
    )
