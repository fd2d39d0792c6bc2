"""Lines by PPPoE: what customers subscribe to, how each stands, and changing it."""

from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body, principal, read_cursor, text_of
from portal.api.schemas import contract, page_of
from portal.gateways import client_factory
from portal.hotspot.pppoe import lines, periods
from portal.hotspot.pppoe.models import PppoeLine
from portal.kernel import clock, money, queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.payments.wallets import customers
from portal.users.permissions import SEE_MONEY, WORK_HOTSPOT

FLAGS = {"autoRenew": "is_renewed", "promptsBeforeEnd": "is_prompted"}


def register_routes(router: Router) -> None:
    router.add("GET", "/lines", list_lines, who=SEE_MONEY)
    router.add("POST", "/lines", create_line, who=WORK_HOTSPOT)
    router.add("GET", "/lines/<uid>", show_line, who=SEE_MONEY)
    router.add("PUT", "/lines/<uid>", change_line, who=WORK_HOTSPOT)
    router.add("POST", "/lines/<uid>/suspend", suspend, who=WORK_HOTSPOT)
    router.add("POST", "/lines/<uid>/lift", lift, who=WORK_HOTSPOT)


def to_json(line: PppoeLine) -> dict[str, Any]:
    """One line under the API's names, without its password."""
    until = periods.on_until(line)
    return {
        "id": line.uid,
        "customerId": line.customer.uid,
        "accountNumber": line.customer.account_number,
        "username": line.grant.username,
        "packageId": line.package.uid,
        "package": line.package.name,
        "price": money.kes(line.package.price_cents),
        "state": line.state,
        "paidUntil": clock.rfc3339(line.paid_until) if line.paid_until else None,
        "onUntil": clock.rfc3339(until) if until else None,
        "amountDue": money.kes(lines.due_cents(line, client_factory.environment_of(line.tenant_id, "pppoe"))),
        "graceDays": line.grace_days,
        "autoRenew": line.is_renewed,
        "promptsBeforeEnd": line.is_prompted,
        "language": line.locale,
        "createdAt": clock.rfc3339(line.created_at),
    }


@contract(page_of("Line"), query=("customerId", "cursor"))
def list_lines() -> ResponseReturnValue:
    """Lines, newest first; of one customer, by id or account number, where that is named."""
    tenant_id, whose = principal().tenant_id, request.args.get("customerId", "")
    customer_id = customers.by_uid(tenant_id, whose).id if whose else None
    found, cursor = lines.page(tenant_id, customer_id=customer_id, before_id=read_cursor())
    return jsonify(items=[to_json(one) for one in found], nextCursor=cursor)


@contract("Line")
def show_line(uid: str) -> ResponseReturnValue:
    """One line. Its state is active, walled (its time is over), suspended or closed."""
    return jsonify(to_json(lines.by_uid(principal().tenant_id, uid)))


@contract("LineWithPassword", takes="NewLine", answers=(201,))
def create_line() -> ResponseReturnValue:
    """A new line of a customer, walled until its first period is paid. Its password is in this answer alone."""
    asking, given = principal(), body()
    with transaction():
        customer = customers.by_uid(asking.tenant_id, text_of(given, "customerId"))
        package = lines.package_for(asking.tenant_id, text_of(given, "packageId"))
        username = lines.read_username(given["username"]) if given.get("username") else ""
        wanted = _wanted(given, lines.Wanted(package.id))
        made = lines.create(customer, wanted, username=username, actor=asking.actor)
        answer = to_json(made) | {"password": lines.password_of(made, actor=asking.actor)}
    queue.enqueue(queue.LINES)
    return jsonify(answer), 201


@contract("Line", takes="LineChange")
def change_line(uid: str) -> ResponseReturnValue:
    """Other terms; what is not named stays. Another package begins with the next period."""
    asking, given = principal(), body()
    with transaction():
        line = lines.by_uid(asking.tenant_id, uid)
        package_id = line.package_id
        if given.get("packageId"):
            package_id = lines.package_for(asking.tenant_id, text_of(given, "packageId")).id
        wanted = _wanted(given, lines.terms_of(line), package_id=package_id)
        answer = to_json(lines.change(line.id, wanted, actor=asking.actor))
    queue.enqueue(queue.LINES)
    return jsonify(answer)


@contract("Line", takes="LineSuspension")
def suspend(uid: str) -> ResponseReturnValue:
    """Refuse it until that is lifted, whatever is paid."""
    asking, given = principal(), body()
    with transaction():
        line = lines.by_uid(asking.tenant_id, uid)
        answer = to_json(lines.suspend(line.id, why=text_of(given, "reason"), actor=asking.actor))
    return jsonify(answer)


@contract("Line")
def lift(uid: str) -> ResponseReturnValue:
    """Undo a suspension: the line is what its time says."""
    asking = principal()
    with transaction():
        answer = to_json(lines.lift(lines.by_uid(asking.tenant_id, uid).id, actor=asking.actor))
    queue.enqueue(queue.LINES)
    return jsonify(answer)


def _wanted(given: dict[str, Any], before: lines.Wanted, *, package_id: int | None = None) -> lines.Wanted:
    """These terms with what the body names changed. Raises Refused."""
    wrong = {
        name: "true or false."
        for name in FLAGS
        if given.get(name) is not None and not isinstance(given[name], bool)
    }  # fmt: skip
    days = given.get("graceDays")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
        wrong["graceDays"] = "A whole number from 0 to 31."
    language = given.get("language")
    if language is not None and language not in lines.LOCALES:
        wrong["language"] = "en or sw."
    if wrong:
        sentence = " ".join(f"{name}: {said}" for name, said in wrong.items())
        raise Refused(sentence, code="invalid_fields", fields=wrong)
    return lines.Wanted(
        package_id or before.package_id,
        site_id=before.site_id,
        grace_days=before.grace_days if days is None else days,
        is_renewed=before.is_renewed if given.get("autoRenew") is None else given["autoRenew"],
        is_prompted=before.is_prompted if given.get("promptsBeforeEnd") is None else given["promptsBeforeEnd"],
        locale=language or before.locale,
    )
