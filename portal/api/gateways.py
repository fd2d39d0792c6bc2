"""Gateways: list, create, change, remove, make default, try out, register URLs."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body, body_if_any, principal, text_of
from portal.api.schemas import contract, page_of
from portal.gateways import c2b_registration, client_factory, connection_test, settings
from portal.gateways.models import Gateway
from portal.kernel import clock, money
from portal.kernel.db import transaction
from portal.payments import environments
from portal.users.permissions import MANAGE_GATEWAYS
from portal.web import links


def register_routes(router: Router) -> None:
    base = "/payment-gateways"
    router.add("GET", base, list_gateways, who=MANAGE_GATEWAYS)
    router.add("POST", base, created, who=MANAGE_GATEWAYS)
    router.add("GET", f"{base}/<uid>", show_gateway, who=MANAGE_GATEWAYS)
    router.add("PUT", f"{base}/<uid>", changed, who=MANAGE_GATEWAYS)
    router.add("DELETE", f"{base}/<uid>", removed, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/<uid>/default", made_default, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/<uid>/test", tested, who=MANAGE_GATEWAYS)
    router.add("POST", f"{base}/<uid>/register-urls", registered, who=MANAGE_GATEWAYS)
    router.add("POST", "/mpesa/test-connection", connection_tested, who=MANAGE_GATEWAYS)


def to_json(gateway: Gateway) -> dict[str, Any]:
    """A gateway without its secrets; which of them are kept, under `secretsKept`."""
    values = settings.to_json(gateway)
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
def list_gateways() -> ResponseReturnValue:
    """The gateways, newest first, without their secrets."""
    return jsonify(items=[to_json(one) for one in settings.of_tenant(principal().tenant_id)], nextCursor=None)


@contract("Gateway", takes="NewGateway", answers=(201,))
def created() -> ResponseReturnValue:
    """Add a way to be paid."""
    asking = principal()
    given = body()
    with transaction():
        gateway = environments.create(asking.tenant_id, given, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = to_json(gateway)
    return jsonify(answer), 201


@contract("Gateway")
def show_gateway(uid: str) -> ResponseReturnValue:
    """One gateway, without its secrets."""
    return jsonify(to_json(settings.get_by_uid(principal().tenant_id, uid)))


@contract("Gateway", takes="GatewayChange")
def changed(uid: str) -> ResponseReturnValue:
    """Change a gateway; what is not named stays.

    Switching test and real money needs a fresh sign-in, and tells by name what it closed.
    """
    asking, given = principal(), body()
    with transaction():
        gateway = settings.get_by_uid(asking.tenant_id, uid)
        gateway, switched = environments.change(gateway, given, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = to_json(gateway) | ({"switched": _switched(switched)} if switched else {})
    return jsonify(answer)


def _switched(done: environments.Switched) -> dict[str, list[str]]:
    """What was open, by name, and what became of it when test and real money were switched."""
    return {
        "closed": done.closed,
        "askedAnew": done.asked_anew,
        "waitingForRealMoney": done.waiting,
        "refundsStopped": done.refunds_stopped,
    }


@contract("GatewayRemoved")
def removed(uid: str) -> ResponseReturnValue:
    """Remove a gateway: deleted, or archived where payments point at it."""
    asking = principal()
    with transaction():
        gateway = settings.get_by_uid(asking.tenant_id, uid)
        was_deleted = environments.archive(gateway, actor=asking.actor, is_fresh_signin=asking.is_fresh)
    message = (
        "The gateway is deleted." if was_deleted else "Payments point at this gateway: it is archived, not deleted."
    )
    return jsonify(success=True, deleted=was_deleted, archived=not was_deleted, message=message)


@contract("Gateway")
def made_default(uid: str) -> ResponseReturnValue:
    """Make it the default one."""
    asking = principal()
    with transaction():
        gateway = settings.get_by_uid(asking.tenant_id, uid)
        environments.make_default(gateway, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = to_json(gateway)
    return jsonify(answer)


@contract("GatewayTest")
def tested(uid: str) -> ResponseReturnValue:
    """Try it out against its server: each step, and what is wrong. No money moves."""
    asking = principal()
    outcome = connection_test.try_out(asking.tenant_id, uid, actor=asking.actor)
    steps = [{"label": step.label, "ok": step.ok, "detail": step.detail} for step in outcome.steps]
    return jsonify(success=outcome.ok, message=outcome.message, steps=steps)


@contract("Done", takes="WhichGateway")
def connection_tested() -> ResponseReturnValue:
    """Try out one gateway, by default the default one. No money moves."""
    asking = principal()
    uid = text_of(body_if_any(), "gatewayId", required=False) or _default_uid(asking.tenant_id)
    outcome = connection_test.try_out(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(success=outcome.ok, message=outcome.message)


def _default_uid(tenant_id: int) -> str:
    return client_factory.choose(tenant_id, "").uid


@contract("Done", takes="Registration")
def registered(uid: str) -> ResponseReturnValue:
    """Give Safaricom our addresses for payments by hand."""
    asking = principal()
    given = body_if_any()
    c2b_registration.register_urls(
        asking.tenant_id,
        uid,
        actor=asking.actor,
        public_url=links.public_url(),
        version=text_of(given, "version", required=False) or "v2",
        response_type=text_of(given, "responseType", required=False) or "Completed",
    )
    return jsonify(success=True, message="Safaricom reports payments by hand to us now.")
