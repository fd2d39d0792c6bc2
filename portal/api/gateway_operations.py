"""What an administrator does with a gateway beside its settings: balance, pull, new addresses, its initiator."""

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.gateways import shown
from portal.api.guard import Doors, body, principal, text_of
from portal.api.schemas import contract
from portal.audit import chain
from portal.gateways import daraja, initiator, settings
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.errors import Conflict, Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments import daraja_requests
from portal.payments.c2b import pull as pulling
from portal.payments.inbox import inbox
from portal.users.permissions import MANAGE_GATEWAYS

BALANCE, GATEWAY = "balance", "gateway"  # kind and subject of the question


def open_doors(doors: Doors) -> None:
    base = "/payment-gateways/<uid>"
    doors.add("POST", f"{base}/balance", balance, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/pull", pull, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/register-pull", register_pull, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/rotate-hooks", rotate, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/release-initiator", release, who=MANAGE_GATEWAYS)


def ask_balance(tenant_id: int, uid: str, *, actor: str) -> None:
    """Ask M-Pesa for the balances; the answer follows within seconds. Raises Conflict where this gateway cannot ask."""
    with transaction():
        gateway = settings.require_api(settings.named(tenant_id, uid))
        initiator.refuse_if_halted(gateway)
        if not daraja_requests.is_open(gateway.id, GATEWAY, BALANCE):
            daraja_requests.ask(gateway, BALANCE, GATEWAY)
            chain.record(tenant_id, "gateway", gateway.id, "balance_asked", actor=actor)
    queue.ring(queue.REQUESTS)


def pull_now(tenant_id: int, uid: str, *, actor: str) -> pulling.Pulled:
    """Pull this gateway's payments. Raises Refused with Daraja's reason, Conflict where Pull was never registered."""
    gateway_id = settings.named(tenant_id, uid).id
    try:
        brought = pulling.pull(gateway_id)
    except daraja.DarajaError as error:
        raise Refused(error.message, code="mpesa_refused") from error
    with transaction():
        chain.record(
            tenant_id, "gateway", gateway_id, "pulled", actor=actor,
            details={"rows": brought.rows, "new": brought.new, "failed": brought.failed},
        )  # fmt: skip
    return brought


def register_for_pull(tenant_id: int, uid: str, msisdn: str, *, actor: str) -> None:
    """Register the gateway for Pull Transactions. Raises Refused with Daraja's reason."""
    try:
        pulling.register(settings.named(tenant_id, uid).id, msisdn, actor=actor)
    except daraja.DarajaError as error:
        raise Refused(error.message, code="mpesa_refused") from error


def rotate_hooks(tenant_id: int, uid: str, *, actor: str) -> None:
    """Give the gateway new callback addresses; those before work until the next rotation."""
    with transaction():
        settings.rotate_hooks(settings.named(tenant_id, uid), actor=actor)
    inbox.forget_doors()


def release_initiator(tenant_id: int, uid: str, *, actor: str) -> None:
    """An administrator has looked: the initiator is used again."""
    with transaction():
        gateway = settings.named(tenant_id, uid)
        if gateway.initiator_halted_at is None:
            raise Conflict("This initiator is not halted.", code="not_halted")
        initiator.release(gateway, actor=actor)
    queue.ring(queue.REQUESTS)


@contract("Done", answers=(202,))
def balance(uid: str) -> ResponseReturnValue:
    """Ask M-Pesa for the gateway's balances; GET the gateway some seconds later to read them."""
    asking = principal()
    ask_balance(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(success=True, message="M-Pesa is asked. Read the gateway again in some seconds."), 202


@contract("Pulled")
def pull(uid: str) -> ResponseReturnValue:
    """Pull what M-Pesa lists since the last pull, and book what is not known."""
    asking = principal()
    brought = pull_now(asking.tenant_id, uid, actor=asking.actor)
    message = f"M-Pesa lists {brought.rows}; {brought.new} were not known here."
    return jsonify(success=not brought.failed, message=message, rows=brought.rows, new=brought.new)


@contract("Done", takes="PullRegistration")
def register_pull(uid: str) -> ResponseReturnValue:
    """Register the gateway for Pull Transactions with the organisation's nominated number."""
    asking, given = principal(), body()
    msisdn = normalise_msisdn(text_of(given, "nominatedNumber"))
    register_for_pull(asking.tenant_id, uid, msisdn, actor=asking.actor)
    return jsonify(success=True, message="M-Pesa's list is read every quarter of an hour now.")


@contract("Done")
def rotate(uid: str) -> ResponseReturnValue:
    """New callback addresses; those before work until the next rotation."""
    asking = principal()
    rotate_hooks(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(
        success=True,
        message="The gateway has new addresses; those before work until the next rotation. Register them.",
    )


@contract("Gateway")
def release(uid: str) -> ResponseReturnValue:
    """Use a halted initiator again: an administrator has looked."""
    asking = principal()
    release_initiator(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(shown(settings.named(asking.tenant_id, uid)))
