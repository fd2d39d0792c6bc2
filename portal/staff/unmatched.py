"""Money that fits nothing, and what is owed again: given a home, kept as credit, or let go, with one click."""

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from portal.clinic import appointments, people
from portal.clinic.models import Appointment
from portal.gateways import client_factory, messages
from portal.kernel import money as cash
from portal.kernel import personal, queue
from portal.kernel.db import transaction
from portal.kernel.phone import as_shown, for_screens
from portal.payments import matching, placing, provisional, search
from portal.payments.c2b import unresolved
from portal.payments.closing import close_payment
from portal.payments.models import Payment, Transaction
from portal.payments.payment import lock_payment, payment_of
from portal.payments.refunds import refunds
from portal.payments.stk import pushes
from portal.payments.wallets import wallets
from portal.staff import audit_words, buttons
from portal.staff.guard import actor, needs, read_id, read_row_id
from portal.users import permissions
from portal.users.permissions import PLACE_MONEY, REFUND, SEE_MONEY

WHY_SHOWN = {
    "unknown account": _l("The account that the payer typed is not known here."),
    "several fit": _l("Several requests to pay fit it. Ask the payer which one it was."),
    "paid twice": _l("What it names was paid already."),
    "overpaid": _l("More was sent than was due."),
    "closed": _l("What it names can no longer be paid."),
    "other environment": _l("It came as test money, and what it names is paid with real money, or the reverse."),
}
SUGGESTIONS = 3


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/attempts/<token>/close", "attempt_close", close, methods=["POST"])
    bp.add_url_rule("/attempts/<token>/put-back", "put_back", put_back, methods=["POST"])
    bp.add_url_rule("/unmatched", "unmatched", unmatched)
    bp.add_url_rule("/unmatched/provisional/<uid>", "decide_paid", decide_paid, methods=["POST"])
    bp.add_url_rule("/unmatched/undecided/<int:item_id>", "decide", decide, methods=["POST"])
    bp.add_url_rule("/unmatched/<uid>", "place", place, methods=["POST"])
    bp.add_url_rule("/unmatched/<uid>/keep", "keep", keep, methods=["POST"])


@needs(SEE_MONEY, looks_at="money_to_place")
def unmatched() -> ResponseReturnValue:
    """Money that fits nothing exactly, with what it may be for."""
    may_refund = permissions.allows(g.role, REFUND)
    homeless, after_id = search.to_place(
        g.tenant.id, client_factory.environment_of(g.tenant.id), after_id=read_id("after")
    )
    likely = matching.suggestions(homeless, most=SUGGESTIONS)
    items = [
        {
            "receipt": item.receipt or _("No receipt yet"),
            "amount_cents": item.unallocated_cents,
            "at": item.occurred_at,
            "payer": as_shown(item.payer_shown) or personal.open_text(item.payer_name_sealed, g.tenant.id) or "–",
            "account": item.account,
            "why": WHY_SHOWN.get(item.unplaced_why, _l("It is not known yet what it was for.")),
            "suggestions": _suggestions(item, likely[item.id]),
            "form_action": url_for("staff.place", uid=item.uid),
            "keep_url": url_for("staff.keep", uid=item.uid) if not item.credited_cents else None,
            "is_test": item.environment == "sandbox",
            "has_phone": bool(item.phone_sealed),
            "refund_url": url_for("staff.refund_unplaced", uid=item.uid)
            if may_refund and item.provider == "mpesa" and item.gateway_id is not None
            else None,
        }
        for item in homeless
    ]
    skipped = read_id("decide_after") or 0
    waiting = unresolved.of_tenant(g.tenant.id, skipped=skipped)
    more = skipped + unresolved.SHOWN if len(waiting) == unresolved.SHOWN else None
    return render_template(
        "staff/unmatched.html",
        items=items,
        next_url=url_for("staff.unmatched", after=after_id) if after_id else None,
        next_to_decide_url=url_for("staff.unmatched", decide_after=more) if more else None,
        undecided=_undecided(waiting),
        **_queues(may_refund),
    )


def _queues(may_refund: bool) -> dict[str, Any]:
    """The other lists of this page, each with the address of what follows it."""

    def later(name: str, row_id: int | None) -> str | None:
        return url_for("staff.unmatched") + f"?{name}={row_id}" if row_id else None

    tenant_id = g.tenant.id
    contradicted, contradicted_after = provisional.to_decide(tenant_id, after_id=read_id("contradicted_after"))
    unproved, unproved_after = provisional.without_receipt(tenant_id, after_id=read_id("unproved_after"))
    cancelled, cancelled_after = appointments.cancelled_with_money(tenant_id, after_id=read_id("cancelled_after"))
    owed, owed_before = search.owed_again(tenant_id, before_id=read_id("owed_before"))
    return {
        "contradicted": [_unproved(one) for one in contradicted],
        "next_contradicted_url": later("contradicted_after", contradicted_after),
        "without_receipt": [_unproved(one) for one in unproved],
        "next_without_receipt_url": later("unproved_after", unproved_after),
        "cancelled": _cancelled(cancelled, may_refund),
        "next_cancelled_url": later("cancelled_after", cancelled_after),
        "owed": _owed(owed),
        "next_owed_url": later("owed_before", owed_before),
    }


def _unproved(one: Transaction) -> dict[str, Any]:
    """Money that M-Pesa called paid when asked, and of which it told no receipt."""
    return {
        "reference": search.references_of([one])[one.id],
        "amount_cents": one.amount_cents,
        "at": one.occurred_at,
        "payer": one.payer_shown or "–",
        "why": one.contradiction,
        "url": url_for("staff.payment", uid=one.uid),
        "decide_url": url_for("staff.decide_paid", uid=one.uid),
    }


@needs(PLACE_MONEY)
def decide_paid(uid: str) -> ResponseReturnValue:
    """Say whether M-Pesa has money of which it told no receipt, or contradictory things."""

    def work() -> str:
        was_paid = request.form.get("outcome") == "paid"
        provisional.decide(g.tenant.id, uid, was_paid=was_paid, actor=actor())
        return _("Noted. The books say so too.")

    return buttons.do(work, then=url_for("staff.unmatched"), ring=queue.WITHDRAW)


def _cancelled(found: list[tuple[Appointment, Payment]], may_refund: bool) -> list[dict[str, Any]]:
    """Appointments that were cancelled after they were paid: nobody has the money's worth."""
    return [
        {
            "reference": one.invoice_number,
            "patient": people.name_of(one.patient),
            "kept_cents": payment.allocated_cents - payment.refunded_cents,
            "at": one.starts_at,
            "url": url_for("staff.attempt", token=payment.token),
            "refund_url": url_for("staff.refund_new", token=payment.token)
            if may_refund and refunds.may_go_back(payment)[0]
            else None,
        }
        for one, payment in found
    ]


@needs(PLACE_MONEY)
def put_back(token: str) -> ResponseReturnValue:
    """Undo what was paid from credit: it is the customer's again, and due again."""
    payment_id = payment_of(g.tenant.id, token).id
    with transaction():
        put = wallets.put_back(payment_id, actor=actor())
    queue.enqueue(queue.WITHDRAW)
    if put:
        flash(_("%(amount)s is the customer's credit again.", amount=cash.format_kes(put)), "success")
    else:
        flash(_("Nothing of this was paid from credit."), "info")
    return redirect(url_for("staff.attempt", token=token), 303)


def _undecided(waiting: list[unresolved.UnresolvedPayment]) -> list[dict[str, Any]]:
    """Payments by hand of which nothing is booked until somebody says what they are."""
    return [
        {
            "receipt": one.paid.receipt,
            "amount_cents": one.paid.amount_cents,
            "at": one.paid.occurred_at or one.item.received_at,
            "payer": _payer(one.paid.payer),
            "account": one.paid.account,
            "shortcode": one.paid.shortcode,
            "is_doubtful": not one.candidates,
            "candidates": [
                {
                    "id": push.id,
                    "label": audit_words.title_of(push.payment),
                    "phone": pushes.describe(push),
                    "at": push.created_at,
                }
                for push in one.candidates
            ],
            "decide_url": url_for("staff.decide", item_id=one.item.id),
        }
        for one in waiting
    ]


def _payer(payer: messages.PayerId) -> str:
    return for_screens(payer.text) if payer.kind == "full" else as_shown(payer.text[:20]) or "–"


@needs(PLACE_MONEY)
def decide(item_id: int) -> ResponseReturnValue:
    """Say what a payment by hand is: the money of a request, money of its own, or none of ours."""

    def work() -> str:
        if request.form.get("outcome") == "refuse":
            unresolved.refuse(g.tenant.id, item_id, actor=actor())
        else:
            unresolved.take(g.tenant.id, item_id, read_row_id(request.form.get("push", "")), actor=actor())
        return _("Noted. The books say so too.")

    return buttons.do(work, then=url_for("staff.unmatched"), ring=queue.PAID)


def _owed(found: list[tuple[Payment, Transaction]]) -> list[dict[str, Any]]:
    """What was paid and is not any more. An invoice is not closed here: it is voided where it is kept."""
    return [
        {
            "reference": audit_words.title_of(payment),
            "due_cents": payment.due_cents,
            "why": _("M-Pesa reversed %(receipt)s.", receipt=gone.receipt)
            if gone.reversed_at
            else _("%(receipt)s was recorded by mistake: %(why)s", receipt=gone.receipt, why=gone.void_why),
            "at": gone.reversed_at or gone.voided_at,
            "url": url_for("staff.attempt", token=payment.token),
            "close_url": None if payment.purpose == "clinic" else url_for("staff.attempt_close", token=payment.token),
        }
        for payment, gone in found
    ]


@needs(PLACE_MONEY)
def close(token: str) -> ResponseReturnValue:
    """Stop waiting for money that went back: it is not asked for any more."""
    payment = payment_of(g.tenant.id, token)
    if payment.purpose == "clinic":
        flash(_("An invoice is not closed here; void it where it is kept."), "danger")
        return redirect(url_for("staff.unmatched"), 303)
    with transaction():
        payment = lock_payment(payment.id)
        close_payment(payment, why="Staff wait for it no longer.", actor=actor())
    flash(_("%(reference)s is closed.", reference=payment.reference), "success")
    return redirect(url_for("staff.unmatched"), 303)


def _suggestions(item: Transaction, likely: list[Payment]) -> list[dict[str, Any]]:
    """What it may be for; a person decides."""
    return [
        {
            "reference": payment.reference,
            "label": audit_words.title_of(payment),
            "due_cents": payment.due_cents,
            "action_url": url_for("staff.place", uid=item.uid),
        }
        for payment in likely
    ]


@needs(PLACE_MONEY)
def place(uid: str) -> ResponseReturnValue:
    """Give homeless money to the payment that a person named."""

    def work() -> str:
        reference = messages.normalise_account(request.form.get("reference", ""))
        given_cents = placing.place(g.tenant.id, uid, reference, actor=actor())
        return _("%(amount)s placed on %(reference)s.", amount=cash.format_kes(given_cents), reference=reference)

    return buttons.do(work, then=url_for("staff.unmatched"), ring=queue.PAID)


@needs(PLACE_MONEY)
def keep(uid: str) -> ResponseReturnValue:
    """Keep homeless money as the payer's credit: of the phone that paid, else of the phone that staff entered."""

    def work() -> str:
        kept = placing.keep_as_credit(g.tenant.id, uid, request.form.get("phone", ""), actor=actor())
        amount, number = cash.format_kes(kept.amount_cents), kept.customer.account_number
        return _("%(amount)s kept as credit of %(number)s.", amount=amount, number=number)

    return buttons.do(work, then=url_for("staff.unmatched"))
