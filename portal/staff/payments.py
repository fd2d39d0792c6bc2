"""Money, found and explained from its first moment."""

import json
from typing import Any

from flask import Blueprint, Response, current_app, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select, union

from portal.audit import chain
from portal.clinic import appointments, invoices
from portal.fulfilment import receipts_of
from portal.gateways import result_codes
from portal.hotspot import proof
from portal.kernel import personal
from portal.kernel.db import db, transaction
from portal.kernel.phone import as_shown
from portal.payments import booking, export, manual, matching, qr, search, status
from portal.payments.models import Allocation, InboxItem, Payment, Push, Transaction, TransactionSource
from portal.payments.payment import payment_of
from portal.payments.refunds import refunds
from portal.payments.states import PaymentState, PushState
from portal.payments.stk.pushes import describe
from portal.staff import audit_words, reasons
from portal.staff import refunds as refund_pages
from portal.staff.guard import actor, needs
from portal.users import permissions, team
from portal.users.permissions import PLACE_MONEY, RECORD_MANUAL, REFUND, SEE_MONEY, VOID_MANUAL
from portal.web.downloads import csv_file

# How we learned of money, in words.
CHANNELS = {
    "stk": _l("Answer to our request"),
    "c2b": _l("M-Pesa's report of money received"),
    "query": _l("Our question to M-Pesa"),
    "status": _l("M-Pesa's answer about a receipt"),
    "pull": _l("M-Pesa's list of payments"),
    "webhook": _l("Another system"),
    "statement": _l("M-Pesa's statement"),
    "import": _l("Brought from an earlier system"),
    "sms": _l("A pasted message that staff checked"),
    "cash": _l("Cash at the counter"),
    "bank": _l("A bank transfer that staff recorded"),
    "card": _l("A card payment that staff recorded"),
    "other": _l("Staff recorded it"),
}
STATES = {
    "allocated": _l("Placed"),
    "partly_allocated": _l("Partly placed"),
    "unallocated": _l("To place"),
    "merged": _l("Counted with its receipt"),
    "reversed": _l("Reversed"),
    "void": _l("Taken back"),
}
ENVIRONMENTS = {"sandbox": _l("Test"), "production": _l("Real money")}
# Of the file that staff keep, by the API's names of its columns.
HEADINGS = {
    "id": _l("Number in Mlango"),
    "receipt": _l("Receipt"),
    "amount": _l("Amount in KES"),
    "channel": _l("How we know"),
    "payer": _l("Payer"),
    "reference": _l("Reference"),
    "occurredAt": _l("When, in UTC"),
    "state": _l("State"),
    "environment": _l("Kind of money"),
    "payerName": _l("Payer's name"),
    "occurredAtNairobi": _l("When, in Nairobi"),
}
# What a link may carry on: url_for() reads other names, such as _scheme, as its own.
FILTERS = ("receipt", "q", "phone", "from", "to", "state")


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/payments", "payments", list_transactions)
    bp.add_url_rule("/payments.csv", "payments_csv", as_csv)
    bp.add_url_rule("/payments/<uid>", "payment", show_transaction)
    bp.add_url_rule("/attempts/<token>", "attempt", attempt)
    bp.add_url_rule("/attempts/<token>/qr.png", "attempt_qr", attempt_qr)


@needs(SEE_MONEY, looks_at="payments")
def list_transactions() -> ResponseReturnValue:
    """Search by receipt, phone, reference, dates and state; an attempt that failed is found by its reference too."""
    wanted = search.read_wanted(request.args)
    items, cursor = search.page(g.tenant.id, wanted, cursor=request.args.get("cursor", ""))
    if not items and wanted.words and (payment := matching.named(g.tenant.id, wanted.words)):
        return redirect(url_for("staff.attempt", token=payment.token), 302)
    references = search.references_of(items)
    keep: dict[str, Any] = {name: request.args[name] for name in FILTERS if request.args.get(name)}
    rows = [
        {
            "at": item.occurred_at,
            "receipt": item.receipt,
            "payer": as_shown(item.payer_shown),
            "reference": references[item.id],
            "state": item.state,
            "environment": item.environment,
            "is_provisional": item.is_provisional,
            "amount_cents": item.amount_cents,
            "url": url_for("staff.payment", uid=item.uid),
        }
        for item in items
    ]
    return render_template(
        "staff/payments.html",
        asked={name: request.args.get(name, "") for name in FILTERS},
        rows=rows,
        states=[
            ("allocated", _("Placed")),
            ("partly_allocated", _("Partly placed")),
            ("unallocated", _("To place")),
        ],
        next_url=url_for("staff.payments", cursor=cursor, **keep) if cursor else None,
        csv_url=url_for("staff.payments_csv", **keep),
    )


@needs(SEE_MONEY)
def as_csv() -> ResponseReturnValue:
    """What the search finds, for a spreadsheet."""
    wanted = search.read_wanted(request.args)
    with transaction():
        chain.record(g.tenant.id, "tenant", g.tenant.id, "exported_transactions", actor=actor())
    rows = export.rows_of(g.tenant.id, wanted, has_names=True)
    return csv_file([HEADINGS[name] for name in export.COLUMNS], map(_in_words, rows), name="payments.csv")


def _in_words(row: list[object]) -> list[object]:
    """A row of the file with words for its reader in the place of the API's."""
    told = dict(zip(export.COLUMNS, row, strict=True))
    words = {"channel": CHANNELS, "state": STATES, "environment": ENVIRONMENTS}
    return [words.get(name, {}).get(str(value), value) for name, value in told.items()]


@needs(SEE_MONEY)
def show_transaction(uid: str) -> ResponseReturnValue:
    """One receipt: what it paid, who told us, and every step with its time and reason. The look is recorded."""
    tenant_id = g.tenant.id
    item = search.by_uid(tenant_id, uid)
    with transaction():
        chain.record(tenant_id, "transaction", item.id, "looked_at", actor=actor())
    item = search.by_uid(tenant_id, uid)
    paid = [given.payment for given in item.allocations]
    pushes = _pushes_of([payment.id for payment in paid] or ([item.push.payment_id] if item.push else []))
    subjects = [
        ("transaction", item.id),
        *(("payment", one.id) for one in paid),
        *(("push", one.id) for one in pushes),
        *(("refund", one.id) for one in refunds.of_transaction(item.id)),
    ]
    name = (personal.open_text(item.payer_name_sealed, tenant_id) or "") if item.payer_name_sealed else ""
    shown = {
        "receipt": item.receipt,
        "amount_cents": item.amount_cents,
        "payer": " ".join(filter(None, (name, as_shown(item.payer_shown)))) or "–",
        "channel": CHANNELS.get(item.channel, item.channel),
        "environment": item.environment,
        "is_provisional": item.is_provisional,
        "reference": item.account,
        "occurred_at": item.occurred_at,
        "state": item.state,
        "allocations": [
            {
                "reference": audit_words.title_of(given.payment),
                "amount_cents": given.amount_cents,
                "url": url_for("staff.attempt", token=given.payment.token),
            }
            for given in item.allocations
        ],
        "witnesses": _witnesses(item),
    }
    actions = [{"label": _("Give it a home"), "url": url_for("staff.unmatched")}] if item.unallocated_cents else []
    actions = [*actions, *refund_pages.actions(item, list({one.id: one for one in paid}.values()))]
    return render_template(
        "staff/payment.html",
        transaction=shown,
        pushes=[_push_row(push) for push in pushes],
        timeline=_timeline(subjects),
        raw=_raw(item, pushes) if permissions.allows(g.role, permissions.MANAGE_GATEWAYS) else None,
        actions=actions,
        void_url=_void_url(item),
    )


def _void_url(item: Transaction) -> str | None:
    may = permissions.allows(g.role, VOID_MANUAL) and item.provider == manual.PROVIDER and item.voided_at is None
    return url_for("staff.manual_void", uid=item.uid) if may else None


def _witnesses(item: Transaction) -> list[str]:
    later = (
        select(TransactionSource.channel)
        .where(TransactionSource.transaction_id == item.id)
        .order_by(TransactionSource.id)
    )
    channels = dict.fromkeys([item.channel, *db.session.scalars(later)])
    return [str(CHANNELS.get(channel, channel)) for channel in channels]


def _pushes_of(payment_ids: list[int]) -> list[Push]:
    return list(db.session.scalars(select(Push).where(Push.payment_id.in_(payment_ids)).order_by(Push.id)))


def _push_row(push: Push) -> dict[str, Any]:
    failed = push.result_code if push.state != PushState.SUCCEEDED else None  # what was paid needs no reason
    reason = result_codes.explain(failed).for_staff if failed else push.failure
    return {
        "phone": describe(push),
        "state": push.state,
        "result_code": failed,
        "reason": reason,
        "amount_cents": push.amount_cents,
        "created_at": push.created_at,
    }


def _timeline(subjects: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Every step, with people by name. Who merely looked is in the audit, not among the steps."""
    rows = [row for row in chain.history(g.tenant.id, *subjects) if row.action != "looked_at"]
    names = _names_of({row.actor for row in rows})
    return [
        {
            "at": row.created_at,
            "what": audit_words.what(step.subject_kind, step.action),
            "who": names.get(step.actor) or audit_words.who(step.actor),
            "why": reasons.reason(step.why),
            "old": audit_words.state(step.old),
            "new": audit_words.state(step.new),
        }
        for row in rows
        for step in booking.steps_told(row)
    ]


def _names_of(actors: set[str]) -> dict[str, str]:
    ids = [int(actor[5:]) for actor in actors if actor.startswith("user:") and actor[5:].isdigit()]
    return {f"user:{user_id}": name for user_id, name in team.names_of(ids).items()}


def _raw(item: Transaction, pushes: list[Push]) -> list[dict[str, Any]]:
    told = select(TransactionSource.inbox_id).where(
        TransactionSource.transaction_id == item.id, TransactionSource.inbox_id.is_not(None)
    )
    of_pushes = select(InboxItem.id).where(InboxItem.push_id.in_([push.id for push in pushes]))
    first = select(Transaction.inbox_id).where(Transaction.id == item.id, Transaction.inbox_id.is_not(None))
    own = select(InboxItem).where(InboxItem.tenant_id == g.tenant.id, InboxItem.id.in_(union(first, told, of_pushes)))
    return [
        {"at": one.received_at, "kind": f"{one.kind}: {one.state}, {one.outcome}", "body": _pretty(one)}
        for one in db.session.scalars(own.order_by(InboxItem.id))
    ]


def _pretty(item: InboxItem) -> str:
    body = personal.open_text(item.body_sealed, g.tenant.id) or ""
    try:
        return json.dumps(json.loads(body), indent=2)
    except ValueError:
        return body


@needs(SEE_MONEY, looks_at="attempt")
def attempt(token: str) -> ResponseReturnValue:
    """One thing to be paid: its requests, what came, and every step with its time and reason; live as it changes."""
    payment = payment_of(g.tenant.id, token)
    pushes = _pushes_of([payment.id])
    line = proof.of_payment(payment.id) if payment.purpose == "hotspot" else None
    version = f"{payment.version}-{payment.due_cents}-{len(pushes)}-{pushes[-1].state if pushes else ''}"
    version += f"-{line.version}" if line else ""
    is_poll = "HX-Request" in request.headers
    if is_poll and request.args.get("v") == version:
        return "", 204
    invoice = invoices.of_payment(payment.id)
    visit = appointments.of_invoice(invoice.id) if invoice else None
    subjects = [
        ("payment", payment.id),
        *(("push", push.id) for push in pushes),
        *(("refund", one.id) for one in refunds.of_payment(payment.id)),
        *((("invoice", invoice.id),) if invoice else ()),
        *((("appointment", visit.id),) if visit else ()),
    ]
    is_open = payment.state == PaymentState.OPEN
    shown = {
        "reference": audit_words.title_of(payment),
        "amount_cents": payment.amount_cents,
        "due_cents": payment.due_cents,
        "status": _state_of(payment, pushes[-1] if pushes else None),
        "receipts": [one.receipt for one in receipts_of(payment) if one.receipt],
        "created_at": payment.created_at,
        "payer": invoices.payer_name(invoice) if invoice else "",
        "invoice_url": url_for("staff.invoice", number=invoice.number)
        if invoice and permissions.allows(g.role, permissions.SEE_CLINIC)
        else None,
        "poll_url": url_for("staff.attempt", token=token, v=version),
        "put_back_url": url_for("staff.put_back", token=token)
        if permissions.allows(g.role, PLACE_MONEY) and any(one.customer_id for one in _standing(payment))
        else None,
        "qr_url": url_for("staff.attempt_qr", token=token) if is_open else None,
    }
    return render_template(
        "staff/_attempt.html" if is_poll else "staff/attempt.html",
        payment=shown,
        proof=line,
        proof_for_staff=True,
        visit={"starts_at": visit.starts_at, "kind": visit.kind, "clinician": visit.clinician.name} if visit else None,
        pushes=[_push_row(push) for push in pushes],
        timeline=_timeline(subjects),
        acts=_acts(payment),
        actions=_refund_action(payment),
    )


def _acts(payment: Payment) -> list[dict[str, str]]:
    """What the counter does with it next."""
    if payment.state == PaymentState.PAID:
        receipt_url = url_for("pay.receipt", token=payment.token)
        return [{"label": _("Print receipt"), "url": receipt_url, "kind": "primary", "symbol": "print"}]
    if payment.state != PaymentState.OPEN:
        return []
    acts = []
    if permissions.allows(g.role, permissions.REQUEST_PAYMENT):
        pay_url = url_for("pay.show", token=payment.token)
        acts.append({"label": _("Send a request to a phone"), "url": pay_url, "kind": "primary", "symbol": "phone"})
    if permissions.allows(g.role, RECORD_MANUAL):
        cash_url = url_for("staff.manual_new", reference=payment.reference)
        acts.append({"label": _("Take cash"), "url": cash_url, "kind": "", "symbol": "money"})
    return acts


def _state_of(payment: Payment, push: Push | None) -> str:
    """How it stands, in the words of the lists: what was paid in part is not merely pending."""
    word = status.status_word(payment, push)
    has_part = payment.state == PaymentState.OPEN and payment.allocated_cents > 0
    return "part_paid" if has_part and word not in ("processing", "timed_out") else word


def _standing(payment: Payment) -> list[Allocation]:
    """What pays it now."""
    given = select(Allocation).where(Allocation.payment_id == payment.id, Allocation.taken_back_at.is_(None))
    return list(db.session.scalars(given))


def _refund_action(payment: Payment) -> list[dict[str, str]]:
    may = permissions.allows(g.role, REFUND) and refunds.may_go_back(payment)[0]
    return [{"label": _("Refund"), "url": url_for("staff.refund_new", token=payment.token)}] if may else []


@needs(SEE_MONEY)
def attempt_qr(token: str) -> ResponseReturnValue:
    """A QR code to pay this at the desk: M-Pesa's own where the gateway has API, else the payer's page."""
    payment_id = payment_of(g.tenant.id, token).id
    link = current_app.config["PORTAL"].public_url + url_for("pay.show", token=token)
    picture = qr.to_pay(payment_id, link=link, waiters=current_app.extensions["waiters"])
    response = Response(picture, mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=300"
    return response
