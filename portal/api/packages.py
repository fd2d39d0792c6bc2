"""Packages, for administrators."""

from functools import partial
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import Fields, Router, body, principal, text_of
from portal.api.schemas import contract, page_of
from portal.hotspot import packages
from portal.hotspot.models import Package
from portal.kernel import money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.tenants.models import Tenant
from portal.users.permissions import MANAGE_PACKAGES

LONGEST_NUMBER = 18  # digits: what 64 bits hold


def register_routes(router: Router) -> None:
    router.add("GET", "/packages", list_packages, who=MANAGE_PACKAGES)
    router.add("POST", "/packages", create_package, who=MANAGE_PACKAGES)


def for_customers(package: Package) -> dict[str, Any]:
    """A package as everybody may see it. duration: seconds, dataCap: bytes or null."""
    return {
        "id": package.uid,
        "name": package.name,
        "price": money.kes(package.price_cents),
        "duration": package.duration_s,
        "speed": package.speed,
        "dataCap": package.data_cap_bytes,
        "devices": package.devices,
    }


def for_staff(package: Package) -> dict[str, Any]:
    """The same with kind and rate."""
    return for_customers(package) | {
        "kind": package.service,
        "rate": package.rate,
        "forPppoe": package.service == "pppoe",
    }


@contract(page_of("Package"))
def list_packages() -> ResponseReturnValue:
    """Every package."""
    return jsonify(items=[for_staff(one) for one in packages.every(principal().tenant_id)], nextCursor=None)


@contract("Package", takes="NewPackage", answers=(201,))
def create_package() -> ResponseReturnValue:
    """Offer a package."""
    asking, given = principal(), body()
    for name in ("name", "rate", "speed", "kind"):
        text_of(given, name, required=False)
    for name in ("duration", "dataCap", "devices"):
        if len(str(given.get(name))) > LONGEST_NUMBER:
            raise Refused(f"{name} is too large.", code="invalid_fields", fields={name: "Is too large."})
    if not isinstance(given.get("forPppoe") or False, bool):
        sentence = "Must be true or false."
        raise Refused(f"forPppoe: {sentence}", code="invalid_fields", fields={"forPppoe": sentence})
    with transaction():
        tenant = db.session.get_one(Tenant, asking.tenant_id)
        offer = _read_offer(given, limit_cents=tenant.push_limit_cents)
        answer = for_staff(packages.create(tenant.id, offer, actor=asking.actor))
    return jsonify(answer), 201


def _read_offer(given: dict[str, Any], *, limit_cents: int) -> packages.Offer:
    """The package that is offered. Raises Refused with every field at fault."""
    fields = Fields({"devices": 1} | given)
    name = fields.read("name", packages.read_name, "")
    price_cents = fields.read("price", partial(money.payable_cents, limit_cents=limit_cents), 0)
    duration_s = fields.read("duration", packages.read_duration, 0)
    data_cap_bytes = fields.read("dataCap", packages.read_data_cap, None)
    devices = fields.read("devices", packages.read_devices, 0)
    has_rate = bool(str(given.get("rate") or "").strip())
    rate = fields.read("rate", packages.read_rate, "") if has_rate else fields.read("speed", packages.rate_of_speed, "")
    for_pppoe = given.get("forPppoe")
    kind = str(given.get("kind") or ("pppoe" if for_pppoe else "hotspot"))
    if kind not in packages.SERVICES:
        fields.wrong["kind"] = "Must be hotspot or pppoe."
    elif for_pppoe is not None and for_pppoe != (kind == "pppoe"):
        fields.wrong["forPppoe"] = f"A package of kind {kind} cannot have it {'true' if for_pppoe else 'false'}."
    fields.refuse_wrong("The package is not complete.")
    return packages.Offer(name, price_cents, duration_s, rate, data_cap_bytes, devices, kind)
