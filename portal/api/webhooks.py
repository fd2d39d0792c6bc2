"""The general webhook: another system's word, under the tenant's own key, that a customer paid.

Its key is the tenant's webhook key and opens nothing else; an API key is not taken: who may read may not say that money
came. Outside production the key may stand in the address, as Safaricom sends no headers; there it would
end in the logs of proxies. Kept before it is acknowledged, as every callback; what it comes to is decided by the worker
(`portal.payments.webhook.webhook`).
"""

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.api.guard import EVERYBODY, Router
from portal.api.schemas import contract
from portal.gateways import client_factory
from portal.kernel import queue, vault
from portal.kernel.db import db
from portal.kernel.logs import bind, logger
from portal.payments.inbox import inbox
from portal.payments.inbox.inbox import BODY_LIMIT_BYTES
from portal.payments.inbox.spool import CannotKeep
from portal.payments.webhook import webhook
from portal.tenants.models import Tenant
from portal.users.permissions import SignInNeeded

ACCEPTED = b'{"ResultCode": 0, "ResultDesc": "Accepted"}'
LONGEST_KEY = 200


def register_routes(router: Router) -> None:
    router.add("POST", "/webhooks/mpesa", take, who=EVERYBODY, limits=())  # the key is looked up before anything


@contract("Accepted", takes="Callback", query=("key",))
def take() -> ResponseReturnValue:
    """Take an STK callback's body as another system passed it on; key: `X-API-Key`.

    It is hearsay, held until M-Pesa, a statement or a person agrees. The address may carry the key outside production.
    """
    key = request.headers.get("X-API-Key") or ""
    if not key and current_app.config["PORTAL"].development:
        key = request.args.get("key") or ""
    tenant_id = _tenant_of(key)
    bind(tenant=tenant_id)
    body = request.stream.read(BODY_LIMIT_BYTES + 1)
    if len(body) > BODY_LIMIT_BYTES:
        logger.warning("callback_refused", kind=webhook.CHANNEL, why="too large")
        return _accepted()
    gateway = client_factory.choose(tenant_id, "")
    callback = inbox.envelope(
        webhook.CHANNEL,
        gateway_token=gateway.hook_token,
        body=body,
        remote_address=request.remote_addr or "",
    )
    db.session.rollback()
    try:
        inbox.keep(callback, current_app.extensions["spool"], current_app.config["PORTAL"].callback_addresses)
    except CannotKeep as error:
        logger.error("callback_not_kept", why=str(error))
        return Response('{"ResultCode": 1, "ResultDesc": "Try again"}', status=503, mimetype="application/json")
    queue.enqueue(queue.DRAIN)
    return _accepted()


def _accepted() -> Response:
    return Response(ACCEPTED, mimetype="application/json")


def _tenant_of(key: str) -> int:
    """The tenant whose webhook key this is. Raises SignInNeeded."""
    key = key.strip()
    mine = select(Tenant.id).where(Tenant.webhook_key_hash == vault.digest(key))
    tenant_id = db.session.scalar(mine) if key and len(key) <= LONGEST_KEY else None
    if tenant_id is None:
        raise SignInNeeded("Send the webhook's key as an X-API-Key header.")
    return tenant_id
