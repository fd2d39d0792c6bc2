"""Money: found, explained from its first moment, and given a home."""

import json
from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from portal import money as cash
from portal import personal, queue
from portal.accounts import permissions
from portal.accounts.permissions import PLACE_MONEY, SEE_MONEY
from portal.api.transactions import csv_of
from portal.audit import chain
from portal.audit.models import AuditEntry
from portal.clinic import invoices
from portal.db import db, transaction
from portal.errors import NotFound, Refused
from portal.gateways import messages
from portal.payments import money_in, search, status, stk
from portal.payments.models import InboxItem, Payment, Push, Transaction, Witness
from portal.staff.guard import actor, needs

WHY_SHOWN = {
    "unknown account": "The account that the payer typed is not known here.",
    "paid twice": "What it names was paid already.",
    "overpaid": "More was sent than was due.",
    "closed": "What it names can no longer be paid.",
}
SUGGESTIONS = 3


def open_doors(bp: Blueprint) -> None:
    bp.add_url_rule("/payments", "payments", listed)
    bp.add_url_rule("/payments.csv", "payments_csv", as_csv)
    bp.add_url_rule("/payments/<uid>", "payment", one)
    bp.add_url_rule("/attempts/<token>", "attempt", attempt)
    bp.add_url_rule("/unmatched", "unmatched", unmatched)
    bp.add_url_rule("/unmatched/<uid>", "place", place, methods=["POST"])


@needs(SEE_MONEY)
def listed() -> ResponseReturnValue:
    """Search by receipt, phone, reference, dates and state; an attempt that failed is found by its reference too."""
    wanted = search.read_wanted(request.args)
    items, cursor = search.page(g.tenant.id, wanted, cursor=request.args.get("cursor", ""))
    if not items and wanted.words and (payment := _by_reference(wanted.words)):
        return redirect(url_for("staff.attempt", token=payment.token), 302)
    references = search.references_of(items)
    keep = {name: value for name, value in request.args.items() if name != "cursor"}
    rows = [
        {
            "at": item.occurred_at,
            "receipt": item.receipt,
            "payer": item.payer_shown,
            "reference": references[item.id],
            "state": item.state,
            "environment": item.environment,
            "amount_cents": item.amount_cents,
            "url": url_for("staff.payment", uid=item.uid),
        }
        for item in items
    ]
    return render_template(
        "staff/payments.html",
        rows=rows,
        states=[
            ("allocated", _("Placed")),
            ("partly_allocated", _("Partly placed")),
            ("unallocated", _("To place")),
        ],
        next_url=url_for("staff.payments", cursor=cursor, **keep) if cursor else None,
        csv_url=url_for("staff.payments_csv", **keep),
    )


def _by_reference(words: str) -> Payment | None:
    reference = messages.normalise_account(words)
    mine = select(Payment).where(Payment.tenant_id == g.tenant.id, Payment.reference == reference)
    return db.session.scalars(mine).one_or_none()


@needs(SEE_MONEY)
def as_csv() -> ResponseReturnValue:
    """What the search finds, for a spreadsheet."""
    text = csv_of(g.tenant.id, search.read_wanted(request.args))
    with transaction():
        chain.record(g.tenant.id, "tenant", g.tenant.id, "exported_transactions", actor=actor())
    return Response(
        text, mimetype="text/csv", headers={"Content-Disposition": 'attachment; filename="payments.csv"'}
    )


@needs(SEE_MONEY)
def one(uid: str) -> ResponseReturnValue:
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
    ]
    name = (personal.open_text(item.payer_name_sealed, tenant_id) or "") if item.payer_name_sealed else ""
    shown = {
        "receipt": item.receipt,
        "amount_cents": item.amount_cents,
        "payer": " ".join(filter(None, (name, item.payer_shown))) or "–",
        "channel": item.channel,
        "environment": item.environment,
        "reference": item.account,
        "occurred_at": item.occurred_at,
        "state": item.state,
        "allocations": [
            {
                "reference": given.payment.title or given.payment.reference,
                "amount_cents": given.amount_cents,
                "url": url_for("staff.attempt", token=given.payment.token),
            }
            for given in item.allocations
        ],
        "witnesses": _witnesses(item),
    }
    actions = (
        [{"label": _("Give it a home"), "url": url_for("staff.unmatched")}] if item.unallocated_cents else []
    )
    return render_template(
        "staff/payment.html",
        transaction=shown,
        pushes=[_push_row(push) for push in pushes],
        timeline=_timeline(subjects),
        raw=_raw(item, pushes) if permissions.allows(g.role, permissions.MANAGE_GATEWAYS) else None,
        actions=actions,
    )


def _witnesses(item: Transaction) -> list[str]:
    found = select(Witness.channel).where(Witness.transaction_id == item.id).order_by(Witness.id)
    return list(db.session.scalars(found))


def _pushes_of(payment_ids: list[int]) -> list[Push]:
    return list(db.session.scalars(select(Push).where(Push.payment_id.in_(payment_ids)).order_by(Push.id)))


def _push_row(push: Push) -> dict[str, Any]:
    return {
        "phone": stk.describe(push),
        "state": push.state,
        "result_code": push.result_code,
        "reason": push.failure,
        "amount_cents": push.amount_cents,
        "created_at": push.created_at,
    }


def _timeline(subjects: list[tuple[str, int]]) -> list[dict[str, Any]]:
    return [
        {
            "at": row.created_at,
            "what": _what(row),
            "who": row.actor,
            "why": row.why,
            "old": row.old,
            "new": row.new,
        }
        for row in chain.history(g.tenant.id, *subjects)
    ]


def _what(row: AuditEntry) -> str:
    subject = {
        "push": _("Request"),
        "payment": _("Payment"),
        "transaction": _("Money"),
        "invoice": _("Invoice"),
    }
    return f"{subject.get(row.subject_kind, row.subject_kind)}: {row.action.replace('_', ' ')}"


def _raw(item: Transaction, pushes: list[Push]) -> list[dict[str, Any]]:
    told = select(Witness.inbox_id).where(Witness.transaction_id == item.id)
    own = select(InboxItem).where(
        InboxItem.tenant_id == g.tenant.id,
        InboxItem.id.in_(told) | InboxItem.push_id.in_([push.id for push in pushes]),
    )
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


@needs(SEE_MONEY)
def attempt(token: str) -> ResponseReturnValue:
    """One thing to be paid: its requests, what came, and every step with its time and reason."""
    payment = db.session.scalars(
        select(Payment).where(Payment.tenant_id == g.tenant.id, Payment.token == token)
    ).one_or_none()
    if payment is None:
        raise NotFound(_("There is no such payment here."))
    pushes = _pushes_of([payment.id])
    invoice = invoices.of_payment(payment.id)
    subjects = [
        ("payment", payment.id),
        *(("push", push.id) for push in pushes),
        *((("invoice", invoice.id),) if invoice else ()),
    ]
    shown = {
        "reference": payment.title or payment.reference,
        "amount_cents": payment.amount_cents,
        "due_cents": payment.due_cents,
        "status": status.status_word(payment, pushes[-1] if pushes else None),
        "created_at": payment.created_at,
        "payer": invoices.payer_name(invoice) if invoice else "",
        "pay_url": url_for("pay.show", token=token) if payment.state == "open" else None,
    }
    return render_template(
        "staff/attempt.html",
        payment=shown,
        pushes=[_push_row(push) for push in pushes],
        timeline=_timeline(subjects),
    )


@needs(SEE_MONEY)
def unmatched() -> ResponseReturnValue:
    """Money that fits nothing exactly, with what it may be for."""
    items = [
        {
            "receipt": item.receipt or _("No receipt yet"),
            "amount_cents": item.unallocated_cents,
            "at": item.occurred_at,
            "payer": item.payer_shown or personal.open_text(item.payer_name_sealed, g.tenant.id) or "–",
            "account": item.account,
            "why": _(WHY_SHOWN.get(item.unplaced_why, "It is not known yet what it was for.")),
            "suggestions": _suggestions(item),
            "form_action": url_for("staff.place", uid=item.uid),
        }
        for item in search.to_place(g.tenant.id)
    ]
    return render_template("staff/unmatched.html", items=items)


def _suggestions(item: Transaction) -> list[dict[str, Any]]:
    """Open payments of the same amount or the same phone; a person decides."""
    alike = select(Payment).where(
        Payment.tenant_id == g.tenant.id,
        Payment.environment == item.environment,
        Payment.state == "open",
        Payment.purpose != "hotspot",
        (Payment.amount_cents - Payment.allocated_cents == item.unallocated_cents)
        | ((Payment.phone_hash == item.phone_hash) & (Payment.phone_hash.is_not(None))),
    )
    return [
        {
            "reference": payment.reference,
            "label": payment.title,
            "due_cents": payment.due_cents,
            "action_url": url_for("staff.place", uid=item.uid),
        }
        for payment in db.session.scalars(alike.order_by(Payment.id.desc()).limit(SUGGESTIONS))
    ]


@needs(PLACE_MONEY)
def place(uid: str) -> ResponseReturnValue:
    """Give homeless money to the payment that a person named."""
    reference = messages.normalise_account(request.form.get("reference", ""))
    try:
        with transaction():
            given = _place(uid, reference)
    except Refused as error:
        flash(error.message, "danger")
        return redirect(url_for("staff.unmatched"), 303)
    queue.ring(queue.PAID)
    flash(
        _("%(amount)s placed on %(reference)s.", amount=cash.format_kes(given), reference=reference),
        "success",
    )
    return redirect(url_for("staff.unmatched"), 303)


def _place(uid: str, reference: str) -> int:
    payment = _by_reference(reference)
    if payment is None:
        raise Refused(
            _("There is nothing to pay called %(reference)s. Check the number.", reference=reference or "–")
        )
    payment = money_in.lock_payment(payment.id)
    item = search.by_uid(g.tenant.id, uid)
    db.session.refresh(item, with_for_update=True)
    if payment.state != "open":
        raise Refused(_("%(reference)s has nothing left to pay.", reference=reference))
    given = money_in.allocate(item, payment, actor=actor())
    if not given:
        raise Refused(_("This money has been placed already."))
    return given
