"""Gateways: list, create, change, remove, make default, try out, register URLs."""

from typing import Any, Literal, cast

from flask import current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.api.guard import Doors, body, body_if_any, principal, text_of
from portal.api.schemas import contract, page_of
from portal.audit import chain
from portal.gateways import client_factory, connection_test, daraja, settings
from portal.gateways.models import Gateway
from portal.kernel import clock, money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payments import environments
from portal.payments.models import Claim, InboxItem, MpesaRequest, Payment, Push, Refund, Transaction
from portal.reconciliation.models import Reconciliation
from portal.users.permissions import MANAGE_GATEWAYS


def open_doors(doors: Doors) -> None:
    base = "/payment-gateways"
    doors.add("GET", base, listed, who=MANAGE_GATEWAYS)
    doors.add("POST", base, created, who=MANAGE_GATEWAYS)
    doors.add("GET", f"{base}/<uid>", one, who=MANAGE_GATEWAYS)
    doors.add("PUT", f"{base}/<uid>", changed, who=MANAGE_GATEWAYS)
    doors.add("DELETE", f"{base}/<uid>", removed, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/<uid>/default", made_default, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/<uid>/test", tested, who=MANAGE_GATEWAYS)
    doors.add("POST", f"{base}/<uid>/register-urls", registered, who=MANAGE_GATEWAYS)
    doors.add("POST", "/mpesa/test-connection", connection_tested, who=MANAGE_GATEWAYS)


def shown(gateway: Gateway) -> dict[str, Any]:
    """A gateway without its secrets; which of them are kept, under `secretsKept`."""
    values = settings.shown(gateway)
    kept = [name for name in settings.SECRET_FIELDS if values.pop(name)]
    return {
        "id": gateway.uid,
        **values,
        "secretsKept": kept,
        "testedAt": clock.rfc3339(gateway.tested_at) if gateway.tested_at else None,
        "testPassed": gateway.test_passed,
        "refusedAt": clock.rfc3339(gateway.refused_at) if gateway.refused_at else None,
        "urlsRegisteredAt": clock.rfc3339(gateway.urls_registered_at) if gateway.urls_registered_at else None,
        "certificateFingerprint": settings.fingerprint(gateway),
        "initiatorHalted": gateway.initiator_halted_why if gateway.initiator_halted_at else None,
        "balances": [
            {
                "account": one["account"],
                "available": None if one["available_cents"] is None else money.kes(one["available_cents"]),
            }
            for one in gateway.balances or []
        ],
        "balancesAt": clock.rfc3339(gateway.balances_at) if gateway.balances_at else None,
        "pullRegisteredAt": clock.rfc3339(gateway.pull_registered_at) if gateway.pull_registered_at else None,
        "pulledUntil": clock.rfc3339(gateway.pulled_until) if gateway.pulled_until else None,
    }


@contract(page_of("Gateway"))
def listed() -> ResponseReturnValue:
    """The gateways, newest first, without their secrets."""
    return jsonify(items=[shown(one) for one in settings.of_tenant(principal().tenant_id)], nextCursor=None)


@contract("Gateway", takes="NewGateway", answers=(201,))
def created() -> ResponseReturnValue:
    """Add a way to be paid."""
    asking = principal()
    given = body()
    with transaction():
        gateway = environments.create(asking.tenant_id, given, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = shown(gateway)
    return jsonify(answer), 201


@contract("Gateway")
def one(uid: str) -> ResponseReturnValue:
    """One gateway, without its secrets."""
    return jsonify(shown(settings.named(principal().tenant_id, uid)))


@contract("Gateway", takes="GatewayChange")
def changed(uid: str) -> ResponseReturnValue:
    """Change a gateway; what is not named stays.

    Switching test and real money needs a fresh sign-in, and tells by name what it closed.
    """
    asking, given = principal(), body()
    with transaction():
        gateway = settings.named(asking.tenant_id, uid)
        gateway, switched = environments.change(gateway, given, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = shown(gateway) | ({"switched": _switched(switched)} if switched else {})
    return jsonify(answer)


def _switched(done: environments.Switched) -> dict[str, list[str]]:
    """What was open, by name, and what became of it when test and real money were switched."""
    return {
        "closed": done.closed,
        "askedAnew": done.asked_anew,
        "waitingForRealMoney": done.waiting,
        "refundsStopped": done.refunds_stopped,
    }


def is_used(gateway: Gateway) -> bool:
    """Whether money, a payment or a callback points at it: then it is archived, never deleted."""
    pointing = (Payment, Push, Transaction, Refund, MpesaRequest, Claim, InboxItem, Reconciliation)
    of = (select(one.gateway_id).where(one.gateway_id == gateway.id).limit(1) for one in pointing)
    return any(db.session.scalar(found) for found in of)


@contract("GatewayRemoved")
def removed(uid: str) -> ResponseReturnValue:
    """Remove a gateway: deleted, or archived where payments point at it."""
    asking = principal()
    with transaction():
        gateway = settings.named(asking.tenant_id, uid)
        was_deleted = environments.archive(
            gateway, is_used=is_used(gateway), actor=asking.actor, is_fresh_signin=asking.is_fresh
        )
    message = (
        "The gateway is deleted." if was_deleted else "Payments point at this gateway: it is archived, not deleted."
    )
    return jsonify(success=True, deleted=was_deleted, archived=not was_deleted, message=message)


@contract("Gateway")
def made_default(uid: str) -> ResponseReturnValue:
    """Make it the default one."""
    asking = principal()
    with transaction():
        gateway = settings.named(asking.tenant_id, uid)
        environments.make_default(gateway, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = shown(gateway)
    return jsonify(answer)


def try_out(tenant_id: int, uid: str, *, actor: str) -> connection_test.Trial:
    """Try one gateway against its server and remember the outcome; no transaction is open while it waits."""
    gateway = settings.require_api(settings.named(tenant_id, uid))
    client, environment = client_factory.client_for(gateway), gateway.environment
    db.session.remove()
    outcome = connection_test.run(client, environment=environment)
    with transaction():
        gateway = settings.named(tenant_id, uid)
        connection_test.remember(gateway, outcome)
        chain.record(tenant_id, "gateway", gateway.id, "tested", actor=actor, new="passed" if outcome.ok else "failed")
    return outcome


@contract("GatewayTest")
def tested(uid: str) -> ResponseReturnValue:
    """Try it out against its server: each step, and what is wrong. No money moves."""
    asking = principal()
    outcome = try_out(asking.tenant_id, uid, actor=asking.actor)
    steps = [{"label": step.label, "ok": step.ok, "detail": step.detail} for step in outcome.steps]
    return jsonify(success=outcome.ok, message=outcome.message, steps=steps)


@contract("Done", takes="WhichGateway")
def connection_tested() -> ResponseReturnValue:
    """Try out one gateway, by default the default one. No money moves."""
    asking = principal()
    uid = text_of(body_if_any(), "gatewayId", required=False) or _default_uid(asking.tenant_id)
    outcome = try_out(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(success=outcome.ok, message=outcome.message)


def _default_uid(tenant_id: int) -> str:
    return client_factory.choose(tenant_id, "").uid


C2B_VERSIONS, RESPONSE_TYPES = ("v2", "v1"), ("Completed", "Cancelled")


def register_urls(
    tenant_id: int, uid: str, *, actor: str, version: str = "v2", response_type: str = "Completed"
) -> None:
    """Give Safaricom our C2B addresses. Raises Refused with Daraja's reason.

    response_type: what M-Pesa does with a payment when our validation is silent.
    """
    for name, value, allowed in (
        ("version", version, C2B_VERSIONS),
        ("responseType", response_type, RESPONSE_TYPES),
    ):
        if value not in allowed:
            sentence = f"Must be {' or '.join(allowed)}."
            raise Refused(f"{name}: {sentence}", code="invalid_fields", fields={name: sentence})
    gateway = settings.require_api(settings.named(tenant_id, uid))
    client = client_factory.client_for(gateway)
    base = f"{current_app.config['PORTAL'].public_url}/hooks/{gateway.hook_token}/c2b"
    db.session.remove()
    try:
        client.register_c2b_urls(
            confirmation_url=f"{base}/confirmation",
            validation_url=f"{base}/validation",
            response_type=cast(Literal["Completed", "Cancelled"], response_type),
            version=cast(Literal["v1", "v2"], version),
        )
    except daraja.DarajaError as error:
        raise Refused(error.message, code="mpesa_refused") from error
    with transaction():
        gateway = settings.named(tenant_id, uid)
        gateway.urls_registered_at = clock.now()
        chain.record(tenant_id, "gateway", gateway.id, "urls_registered", actor=actor, new=f"{version} {response_type}")


@contract("Done", takes="Registration")
def registered(uid: str) -> ResponseReturnValue:
    """Give Safaricom our addresses for payments by hand."""
    asking = principal()
    given = body_if_any()
    register_urls(
        asking.tenant_id,
        uid,
        actor=asking.actor,
        version=text_of(given, "version", required=False) or "v2",
        response_type=text_of(given, "responseType", required=False) or "Completed",
    )
    return jsonify(success=True, message="Safaricom reports payments by hand to us now.")
