"""Money that arrived: list, CSV, one; the audit; figures."""

from dataclasses import replace
from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.api.guard import Router, principal, read_cursor
from portal.api.schemas import FILTERS, contract, page_of
from portal.audit import chain
from portal.audit.models import AuditEntry
from portal.gateways import client_factory
from portal.kernel import clock, money
from portal.kernel.db import db, transaction
from portal.kernel.phone import as_shown
from portal.payments import export, search
from portal.payments.models import Transaction
from portal.users.permissions import SEE_AUDIT, SEE_MONEY
from portal.web.downloads import csv_file


def register_routes(router: Router) -> None:
    router.add("GET", "/transactions", list_transactions, who=SEE_MONEY)
    router.add("GET", "/transactions.csv", as_csv, who=SEE_MONEY)
    router.add("GET", "/transactions/<uid>", show_transaction, who=SEE_MONEY)
    router.add("GET", "/payments/electronic", electronic, who=SEE_MONEY)
    router.add("GET", "/payments/mpesa/stats", stats, who=SEE_MONEY)
    router.add("GET", "/audit", audit, who=SEE_AUDIT)


def to_json(item: Transaction, reference: str) -> dict[str, Any]:
    """One receipt."""
    return {
        "id": item.uid,
        "receipt": item.receipt,
        "amount": money.kes(item.amount_cents),
        "channel": item.channel,
        "payer": as_shown(item.payer_shown),
        "reference": reference,
        "occurredAt": clock.rfc3339(item.occurred_at),
        "state": item.state,
        "environment": item.environment,
        "provisional": item.is_provisional,
    }


@contract(page_of("Transaction"), query=(*FILTERS, "cursor"))
def list_transactions(provider: str = "") -> ResponseReturnValue:
    """Money that arrived, one item a receipt, newest first. That a person looked is recorded."""
    asking, wanted = principal(), replace(search.read_wanted(request.args), provider=provider)
    if asking.user_id is not None:
        with transaction():
            chain.record(asking.tenant_id, "tenant", asking.tenant_id, "looked_at_payments", actor=asking.actor)
    items, cursor = search.page(asking.tenant_id, wanted, cursor=request.args.get("cursor", ""))
    references = search.references_of(items)
    return jsonify(items=[to_json(item, references[item.id]) for item in items], nextCursor=cursor)


@contract(page_of("Transaction"), query=(*FILTERS, "cursor"))
def electronic() -> ResponseReturnValue:
    """What M-Pesa moved: the list without money that staff recorded by hand."""
    return list_transactions(provider="mpesa")


@contract("TransactionWithAllocations")
def show_transaction(uid: str) -> ResponseReturnValue:
    """One receipt and what it paid. The look is recorded."""
    asking = principal()
    item = search.by_uid(asking.tenant_id, uid)
    answer = to_json(item, search.references_of([item])[item.id]) | {
        "unallocated": money.kes(item.unallocated_cents),
        "allocations": [
            {
                "reference": given.payment.reference,
                "paymentId": given.payment.token,
                "amount": money.kes(given.amount_cents),
            }
            for given in item.allocations
        ],
    }
    with transaction():
        chain.record(asking.tenant_id, "transaction", item.id, "looked_at", actor=asking.actor)
    return jsonify(answer)


@contract("TransactionsCsv", query=FILTERS)
def as_csv() -> ResponseReturnValue:
    """The same list for a spreadsheet; cells that a spreadsheet would run are made text."""
    asking = principal()
    wanted = search.read_wanted(request.args)
    with transaction():
        chain.record(asking.tenant_id, "tenant", asking.tenant_id, "exported_transactions", actor=asking.actor)
    rows = export.rows_of(asking.tenant_id, wanted, has_names=asking.role != "api_key")
    return csv_file(export.COLUMNS, rows, name="transactions.csv")


@contract("Figures")
def stats() -> ResponseReturnValue:
    """Today, this month, success, what is pending, and when M-Pesa last called."""
    tenant_id = principal().tenant_id
    environment = client_factory.environment_of(tenant_id)
    found = search.figures(tenant_id, environment, provider="mpesa")
    return jsonify(
        today={"amount": money.kes(found.today_cents), "count": found.today_count},
        month={"amount": money.kes(found.month_cents), "count": found.month_count},
        successRate=found.success_rate,
        provisional={"amount": money.kes(found.provisional_cents), "count": found.provisional_count},
        pending=found.pending,
        lastCallbackAt=clock.rfc3339(found.last_callback_at) if found.last_callback_at else None,
        environment=environment,
    )


@contract(page_of("AuditRow"), query=("cursor",))
def audit() -> ResponseReturnValue:
    """The newest audit rows, with their place in the chain."""
    newest = select(AuditEntry).where(AuditEntry.tenant_id == principal().tenant_id)
    if (before_id := read_cursor()) is not None:
        newest = newest.where(AuditEntry.id < before_id)
    rows = db.session.scalars(newest.order_by(AuditEntry.id.desc()).limit(search.PAGE_ROWS)).all()
    items = [
        {
            "id": row.id,
            "at": clock.rfc3339(row.created_at),
            "actor": row.actor,
            "action": row.action,
            "subject": f"{row.subject_kind}:{row.subject_id}",
            "old": row.old,
            "new": row.new,
            "why": row.why,
            "details": row.details,
            "requestId": row.request_id,
            "seq": row.seq,
            "hash": row.hash,
        }
        for row in rows
    ]
    return jsonify(items=items, nextCursor=str(rows[-1].id) if len(rows) == search.PAGE_ROWS else None)
