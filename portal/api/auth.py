"""Getting a bearer token."""

from flask import current_app, jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import EVERYBODY, Router, body, text_of
from portal.api.schemas import contract
from portal.kernel.db import db
from portal.users import tokens
from portal.users.models import User
from portal.web.limits import SIGN_INS, network, shared
from portal.web.signin import enter


def register_routes(router: Router) -> None:
    counted = shared(SIGN_INS, per=lambda: f"network:{network()}")(token)
    router.add("POST", "/auth/token", counted, who=EVERYBODY, limits=())


@contract("Token", takes="Credentials")
def token() -> ResponseReturnValue:
    """A bearer token for an address, a password and, where somebody works for several, a tenant."""
    given = body()
    entered = enter(text_of(given, "email"), text_of(given, "password"))
    user = db.session.get_one(User, entered.user_id)
    tenant = tokens.membership_tenant(user, text_of(given, "tenant", required=False) or None)
    return jsonify(
        accessToken=tokens.issue(entered, tenant, current_app.config["SECRET_KEY"]),
        tokenType="Bearer",
        expiresIn=int(tokens.LIFETIME.total_seconds()),
    )
