"""What a clinic's patients were told, and whether it reached them."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import literal_column, select

from portal.api.guard import Router, principal, read_cursor
from portal.api.schemas import contract, page_of
from portal.kernel import clock, money, phone, vault
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.outbox.models import OutboxItem, OutboxState
from portal.outbox.write import payload_of
from portal.tenants.models import Tenant
from portal.users.permissions import SEE_CLINIC

PAGE_ROWS = 50
STATES = {
    OutboxState.NEW: "waiting",
    OutboxState.DONE: "sent",
    OutboxState.SKIPPED: "skipped",
    OutboxState.DEAD: "failed",
}


def register_routes(router: Router) -> None:
    router.add("GET", "/notifications", notifications, who=SEE_CLINIC)


@contract(page_of("Notification"), query=("cursor",))
def notifications() -> ResponseReturnValue:
    """Messages to patients, newest first: waiting, sent, skipped (too late to be of use) or failed."""
    tenant = db.session.get_one(Tenant, principal().tenant_id)
    if not tenant.is_clinic:
        raise Refused("This business is not a clinic.", code="not_a_clinic")
    mine = select(OutboxItem).where(OutboxItem.tenant_id == tenant.id, literal_column("outbox.about <> 'access'"))
    if (before_id := read_cursor()) is not None:
        mine = mine.where(OutboxItem.id < before_id)
    found = list(db.session.scalars(mine.order_by(OutboxItem.id.desc()).limit(PAGE_ROWS)))
    next_cursor = str(found[-1].id) if len(found) == PAGE_ROWS else None
    return jsonify(items=[notification_to_json(one) for one in found], nextCursor=next_cursor)


def notification_to_json(one: OutboxItem) -> dict[str, Any]:
    """A message as the contract writes it. kind: what it tells, such as `appointment_approved`."""
    parts = [part for part in one.key.split("/")[1:] if not part.isdigit()]
    return {
        "id": str(one.id),
        "channel": one.kind,
        "to": _masked(_address(one)),
        "kind": "_".join(parts[:2]),
        "state": STATES[OutboxState(one.state)],
        "sentAt": clock.rfc3339(one.done_at) if one.state == OutboxState.DONE and one.done_at else None,
        "delivery": one.delivery or None,
        "cost": money.kes(one.cost_cents) if one.cost_cents is not None else None,
    }


def _address(one: OutboxItem) -> str:
    """Where it goes; an empty text where no key of ours opens it any more."""
    try:
        return str(payload_of(one).get("to", ""))
    except (vault.CannotOpen, ValueError):
        return ""


def _masked(to: str) -> str:
    """Enough to know it again: `********5678`, `a***@example.com`."""
    name, at, host = to.partition("@")
    return f"{name[:1]}***@{host}" if at else phone.mask(to)
