"""What an administrator does with a gateway beside its settings: balance, pull, new addresses, its initiator."""

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.gateways import to_json
from portal.api.guard import Router, body, principal, text_of
from portal.api.schemas import contract
from portal.gateways import initiator, settings
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.phone import normalise_msisdn
from portal.payments import daraja_requests
from portal.payments.c2b import pull as pulling
from portal.payments.inbox import inbox
from portal.users.permissions import MANAGE_GATEWAYS
from portal.web import links


def register_routes(router: Router) -> None:
    base = "/payment-gateways/<uid>"
    router.add("POST", f"{base}/balance", balance, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/pull", pull, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/register-pull", register_pull, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/rotate-hooks", rotate, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/release-initiator", release, who=MANAGE_GATEWAYS)


@contract("Done", answers=(202,))
def balance(uid: str) -> ResponseReturnValue:
    """Ask M-Pesa for the gateway's balances; GET the gateway some seconds later to read them."""
    asking = principal()
    with transaction():
        daraja_requests.ask_balance(settings.get_by_uid(asking.tenant_id, uid), actor=asking.actor)
    queue.enqueue(queue.REQUESTS)
    return jsonify(success=True, message="M-Pesa is asked. Read the gateway again in some seconds."), 202


@contract("Pulled")
def pull(uid: str) -> ResponseReturnValue:
    """Pull what M-Pesa lists since the last pull, and book what is not known."""
    asking = principal()
    brought = pulling.pull_now(settings.get_by_uid(asking.tenant_id, uid).id, actor=asking.actor)
    message = f"M-Pesa lists {brought.rows}; {brought.new} were not known here."
    return jsonify(success=not brought.failed, message=message, rows=brought.rows, new=brought.new)


@contract("Done", takes="PullRegistration")
def register_pull(uid: str) -> ResponseReturnValue:
    """Register the gateway for Pull Transactions with the organisation's nominated number."""
    asking, given = principal(), body()
    msisdn = normalise_msisdn(text_of(given, "nominatedNumber"))
    gateway_id = settings.get_by_uid(asking.tenant_id, uid).id
    pulling.register(gateway_id, msisdn, actor=asking.actor, public_url=links.public_url())
    return jsonify(success=True, message="M-Pesa's list is read every quarter of an hour now.")


@contract("Done")
def rotate(uid: str) -> ResponseReturnValue:
    """New callback addresses; those before work until the next rotation."""
    asking = principal()
    with transaction():
        settings.rotate_hooks(settings.get_by_uid(asking.tenant_id, uid), actor=asking.actor)
    inbox.forget_doors()
    return jsonify(
        success=True,
        message="The gateway has new addresses; those before work until the next rotation. Register them.",
    )


@contract("Gateway")
def release(uid: str) -> ResponseReturnValue:
    """Use a halted initiator again: an administrator has looked."""
    asking = principal()
    with transaction():
        initiator.release_halted(settings.get_by_uid(asking.tenant_id, uid), actor=asking.actor)
    queue.enqueue(queue.REQUESTS)
    return jsonify(to_json(settings.get_by_uid(asking.tenant_id, uid)))
