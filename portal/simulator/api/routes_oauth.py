"""The sign-on door: a consumer key and secret for a token of 3599 seconds."""

import hmac

from flask import Blueprint, Response, jsonify, request

from portal.simulator.api import faults
from portal.simulator.api.router import (
    DarajaError,
    error_response,
    new_token,
    store_of_app,
    strike_after,
    strike_before,
)
from portal.simulator.engine import journal
from portal.simulator.engine.store import Store

LIFE_S = 3599
# Safaricom says that a new token ends the one before; tokens of the same moment live on together.
OVERLAP_S = 60
blueprint = Blueprint("oauth", __name__)


@blueprint.get("/oauth/v1/generate")
def generate() -> Response:
    """`{"access_token": "...", "expires_in": "3599"}`."""
    store, started_at = store_of_app(), store_of_app().timestamp()
    try:
        strike_before(store, "oauth", set())
        response = strike_after(store, "oauth", set(), _generate(store))
    except DarajaError as refusal:
        response = error_response(refusal)
    answer = "" if response.is_streamed else response.get_json(silent=True) or response.get_data(as_text=True)
    journal.write(
        store,
        direction="received",
        door="oauth",
        method="GET",
        address=request.path,
        status=str(response.status_code),
        body={"grant_type": request.args.get("grant_type", "")},
        answer=answer,
        msisdn="",
        started_at=started_at,
    )
    return response


def _generate(store: Store) -> Response:
    given = request.authorization
    if given is None or given.type != "basic":
        raise DarajaError(400, "400.008.01", "Invalid Authentication passed")
    if request.args.get("grant_type") != "client_credentials":
        raise DarajaError(400, "400.008.02", "Invalid grant type passed")
    key, secret = given.username or "", given.password or ""
    secrets_of_key = store.all("SELECT consumer_secret FROM organisations WHERE consumer_key = ?", key)
    if not any(hmac.compare_digest(row["consumer_secret"].encode(), secret.encode()) for row in secrets_of_key):
        return Response("", status=400)
    if faults.take(store, "tokenExpired", shortcodes=set(), endpoint="oauth"):
        return Response("", status=400)
    now, token = store.timestamp(), new_token()
    with store.transaction():
        store.run("DELETE FROM tokens WHERE consumer_key = ? AND issued_at < ?", key, now - OVERLAP_S)
        store.insert("tokens", token=token, consumer_key=key, issued_at=now, expires_at=now + LIFE_S)
    return jsonify({"access_token": token, "expires_in": str(LIFE_S)})
