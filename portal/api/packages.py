"""Packages, for administrators."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import Doors, body, principal, text_of
from portal.api.schemas import contract, page_of
from portal.hotspot import packages
from portal.hotspot.models import Package
from portal.kernel import money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.tenants.models import Tenant
from portal.users.permissions import MANAGE_PACKAGES

LONGEST_NUMBER = 18  # digits: what 64 bits hold


def open_doors(doors: Doors) -> None:
    doors.add("GET", "/packages", listed, who=MANAGE_PACKAGES)
    doors.add("POST", "/packages", created, who=MANAGE_PACKAGES)


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
        "kind": package.kind,
        "rate": package.rate,
        "forPppoe": package.kind == "pppoe",
    }


@contract(page_of("Package"))
def listed() -> ResponseReturnValue:
    """Every package."""
    return jsonify(items=[for_staff(one) for one in packages.every(principal().tenant_id)], nextCursor=None)


@contract("Package", takes="NewPackage", answers=(201,))
def created() -> ResponseReturnValue:
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
        package = packages.create(tenant.id, given, actor=asking.actor, push_limit_cents=tenant.push_limit_cents)
        answer = for_staff(package)
    return jsonify(answer), 201
