"""Packages, for administrators."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body, principal
from portal.api.schemas import contract, page_of
from portal.hotspot import packages, terms
from portal.hotspot.models import Package, Site
from portal.kernel import money
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from portal.users.permissions import MANAGE_PACKAGES


def register_routes(router: Router) -> None:
    router.add("GET", "/packages", list_packages, who=MANAGE_PACKAGES)
    router.add("POST", "/packages", create_package, who=MANAGE_PACKAGES)
    router.add("GET", "/packages/<uid>", show_package, who=MANAGE_PACKAGES)
    router.add("PUT", "/packages/<uid>", change_package, who=MANAGE_PACKAGES)
    router.add("DELETE", "/packages/<uid>", withdraw_package, who=MANAGE_PACKAGES)


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


def for_staff(package: Package, sites: list[Site] | None = None) -> dict[str, Any]:
    """The same with everything else that it is. sites: that it is limited to, where they were looked up already."""
    limited_to = packages.sites_of([package])[package.id] if sites is None else sites
    return for_customers(package) | {
        "kind": package.kind,
        "rate": package.rate,
        "validity": package.lifetime_s,
        "dailyCap": package.daily_cap_bytes,
        "atCap": package.at_cap,
        "throttledRate": package.throttled_rate,
        "sites": [site.uid for site in limited_to],
        "group": package.group_name,
        "hidden": package.is_hidden,
        "trial": package.is_trial,
        "addon": package.is_addon,
        "forPppoe": package.service == "pppoe",
    }


@contract(page_of("Package"))
def list_packages() -> ResponseReturnValue:
    """Every package."""
    mine = packages.every(principal().tenant_id)
    sites = packages.sites_of(mine)
    return jsonify(items=[for_staff(one, sites[one.id]) for one in mine], nextCursor=None)


@contract("Package")
def show_package(uid: str) -> ResponseReturnValue:
    """One package, as it is offered now."""
    return jsonify(for_staff(packages.get(principal().tenant_id, uid)))


@contract("Package", takes="NewPackage", answers=(201,))
def create_package() -> ResponseReturnValue:
    """Offer a package."""
    asking, given = principal(), body()
    with transaction():
        offer = terms.read(given, limit_cents=_limit_cents(asking.tenant_id))
        answer = for_staff(packages.create(asking.tenant_id, offer, actor=asking.actor))
    return jsonify(answer), 201


@contract("Package", takes="PackageChange")
def change_package(uid: str) -> ResponseReturnValue:
    """Offer it under other terms from now on; what is not named stays. What was sold keeps its own terms."""
    asking, given = principal(), body()
    with transaction():
        was = for_staff(packages.get(asking.tenant_id, uid))
        offer = terms.read(_merged(was, given), limit_cents=_limit_cents(asking.tenant_id))
        answer = for_staff(packages.change(asking.tenant_id, uid, offer, actor=asking.actor))
    return jsonify(answer)


def _merged(was: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, and for the rest what was. What follows from something that is named, follows anew."""
    kept = {name: value for name, value in was.items() if name != "speed"}
    if "speed" in given and "rate" not in given:
        del kept["rate"]
    if ("duration" in given or "kind" in given) and "validity" not in given and was["validity"] == was["duration"]:
        del kept["validity"]
    if given.get("kind") in terms.SERVICES and "forPppoe" not in given:
        del kept["forPppoe"]
    return kept | given


@contract("Done")
def withdraw_package(uid: str) -> ResponseReturnValue:
    """Sell it no more; what was sold runs on."""
    asking = principal()
    with transaction():
        packages.withdraw(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(success=True, message="The package is withdrawn. What was sold runs on.")


def _limit_cents(tenant_id: int) -> int:
    return db.session.get_one(Tenant, tenant_id).push_limit_cents
