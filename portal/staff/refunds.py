"""Refunds: asked for by an administrator, a large one approved by a second, and followed until M-Pesa says done."""

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from wtforms import HiddenField, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired, Length

from portal.kernel import money, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.payments import search
from portal.payments.models import Payment, Refund, Transaction
from portal.payments.payment import lock_payment, payment_of
from portal.payments.refunds import refunds
from portal.payments.states import RefundState
from portal.staff import audit_words, buttons, reasons
from portal.staff.guard import actor, needs, read_id
from portal.staff.kept_forms import StaffForm
from portal.users import permissions, team
from portal.users.permissions import REFUND
from portal.web.language import said
from portal.web.limits import REFUNDS, shared

METHODS = {"b2c": _l("Pay out to the phone that paid"), "reversal": _l("Reverse the payment")}
STATES = {
    "requested": ("attention", "clock", _l("To approve")),
    "approved": ("attention", "clock", _l("To be sent")),
    "sending": ("attention", "phone", _l("Being sent")),
    "sent": ("attention", "clock", _l("Sent")),
    "unknown": ("attention", "clock", _l("Being checked")),
    "done": ("success", "ok", _l("Sent back")),
    "failed": ("danger", "cross", _l("Failed")),
}


class RefundForm(StaffForm):
    """How much goes back, how, and why."""

    amount = StringField(_l("Amount in KES"), [InputRequired(_l("Enter the amount.")), Length(max=20)])
    method = SelectField(_l("How"), choices=[SelectChoice(method, label) for method, label in METHODS.items()])
    reason = StringField(_l("Reason"), [InputRequired(_l("Say why.")), Length(max=200)])
    left = HiddenField()  # what could go back when the page was made: a form sent twice finds less


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/refunds", "refunds", list_refunds)
    bp.add_url_rule("/refunds/of/<token>", "refund_new", _limited(of_payment), methods=["GET", "POST"])
    bp.add_url_rule("/refunds/unplaced/<uid>", "refund_unplaced", _limited(of_unplaced), methods=["GET", "POST"])
    bp.add_url_rule("/refunds/<uid>/approve", "refund_approve", _limited(approve), methods=["POST"])
    bp.add_url_rule("/refunds/<uid>/resolve", "refund_resolve", resolve, methods=["POST"])
    bp.add_url_rule("/refunds/<uid>/refuse", "refund_refuse", refuse, methods=["POST"])


def _limited(view: Any) -> Any:
    """As many refunds a quarter of an hour as the API lets a person make, and counted together with those."""
    return shared(REFUNDS, per=lambda: f"{g.tenant.id}:{actor()}", methods=["POST"])(view)


@needs(REFUND, looks_at="refunds")
def list_refunds() -> ResponseReturnValue:
    """Those that wait for a second administrator first, then all, newest first."""
    before_id = read_id("cursor")
    items, next_id = refunds.page(g.tenant.id, before_id=before_id)
    waiting, approve_after = refunds.to_approve(g.tenant.id, after_id=read_id("approve_after"))
    waiting = waiting if before_id is None else []
    shown = [*waiting, *items]
    names = team.names_of([*(one.requested_by_id for one in shown), *(one.approved_by_id for one in shown)])
    return render_template(
        "staff/refunds.html",
        waiting=[_row(one, names) for one in waiting],
        rows=[_row(one, names) for one in items],
        next_url=url_for("staff.refunds", cursor=next_id) if next_id else None,
        approves_from=team.approves_from(g.tenant.id, current_user.id),
        next_to_approve_url=url_for("staff.refunds", approve_after=approve_after) if approve_after else None,
    )


def _row(one: Refund, names: dict[int, str]) -> dict[str, Any]:
    is_own = one.requested_by_id == current_user.id
    return {
        "at": one.created_at,
        "ended_at": one.ended_at,
        "amount_cents": one.amount_cents,
        "state": STATES.get(one.state, ("plain", "dash", one.state)),
        "method": METHODS[one.method],
        "of": one.transaction.receipt or _("No receipt yet"),
        "of_url": url_for("staff.payment", uid=one.transaction.uid),
        "receipt": one.receipt,
        "asked_by": names.get(one.requested_by_id or 0, _("The cancellation policy")),
        "approved_by": names.get(one.approved_by_id or 0, ""),
        "why": reasons.reason(one.why),
        "failure": reasons.reason(one.failure) if one.state != RefundState.DONE else "",
        "environment": one.environment,
        "is_own": is_own,
        "resolve_url": url_for("staff.refund_resolve", uid=one.uid) if refunds.may_be_resolved(one) else None,
        "approve_url": url_for("staff.refund_approve", uid=one.uid) if not is_own else None,
        "refuse_url": url_for("staff.refund_refuse", uid=one.uid),
    }


@needs(REFUND)
def of_payment(token: str) -> ResponseReturnValue:
    """Send back what a payment received, whole or in part."""
    payment = payment_of(g.tenant.id, token)
    payment_id, title = payment.id, audit_words.title_of(payment)
    available_cents, method = refunds.may_go_back(payment)
    form = RefundForm(amount=money.kes(available_cents), method=method, left=str(available_cents))
    if form.validate_on_submit():
        try:
            with transaction():
                _refuse_if_changed(payment_id, form)
                made = refunds.ask_for(
                    payment_id,
                    amount_cents=money.cents(form.amount.data),
                    method=form.method.data,
                    user_id=current_user.id,
                    why=_reason(form),
                    actor=actor(),
                )
                waits = any(one.state == RefundState.REQUESTED for one in made)
        except Refused as error:
            _blame(form, error)
            available_cents = refunds.may_go_back(db.session.get_one(Payment, payment_id))[0]
            form.left.data = str(available_cents)
        else:
            return _asked(waits)
    return _form_page(form, title, available_cents, url_for("staff.attempt", token=token))


def _refuse_if_changed(payment_id: int, form: RefundForm) -> None:
    available_cents = refunds.may_go_back(lock_payment(payment_id))[0]
    if form.left.data != str(available_cents):
        raise Conflict(
            _(
                "Meanwhile a refund was asked for: %(amount)s may still go back. Check before you send this.",
                amount=money.format_kes(available_cents),
            )
        )


@needs(REFUND)
def of_unplaced(uid: str) -> ResponseReturnValue:
    """Send back all of the money that has no home."""
    item = search.by_uid(g.tenant.id, uid)
    available_cents, title = item.unallocated_cents, item.receipt or _("No receipt yet")
    method = refunds.recommended(item, available_cents)
    form = RefundForm(method=method)
    form.amount.data = str(money.kes(available_cents))  # all of it: a part would leave money without a home
    if form.validate_on_submit():
        try:
            with transaction():
                item = search.by_uid(g.tenant.id, uid)
                db.session.refresh(item, with_for_update=True)
                one = refunds.ask_for_unplaced(
                    item, method=form.method.data, user_id=current_user.id, why=_reason(form), actor=actor()
                )
                waits = one.state == RefundState.REQUESTED
        except Refused as error:
            _blame(form, error)
        else:
            return _asked(waits)
    return _form_page(form, title, available_cents, url_for("staff.unmatched"), is_whole=True)


def _reason(form: RefundForm) -> str:
    return str(form.reason.data or "").replace("\0", "").strip()


def _blame(form: RefundForm, error: Refused) -> None:
    fields = error.fields or ({"amount": error.message} if error.code == "invalid_amount" else {})
    form.form_errors.append(said(error.message))
    for name in fields:
        if name in form:
            form[name].errors = [*form[name].errors, said(fields[name])]


def _asked(waits: bool) -> ResponseReturnValue:
    queue.enqueue(queue.REQUESTS)
    sentence = (
        _("A second administrator must approve a refund of this size.")
        if waits
        else _("The refund is on its way; it is done when M-Pesa confirms it.")
    )
    flash(sentence, "success")
    return redirect(url_for("staff.refunds"), 303)


def _form_page(
    form: RefundForm, title: str, available_cents: int, back_url: str, *, is_whole: bool = False
) -> ResponseReturnValue:
    page = render_template(
        "staff/refund_form.html",
        form=form,
        title=title,
        available_cents=available_cents,
        is_whole=is_whole,
        approval_above_cents=g.tenant.refund_approval_above_cents,
        back_url=back_url,
    )
    return page, 422 if request.method == "POST" else 200


@needs(REFUND)
def approve(uid: str) -> ResponseReturnValue:
    """The second administrator's yes."""

    def work() -> str:
        refund_id = refunds.get_by_uid(g.tenant.id, uid).id
        refunds.approve(refunds.lock(refund_id), user_id=current_user.id, actor=actor())
        return _("Approved. It is done when M-Pesa confirms it.")

    return buttons.do(work, then=url_for("staff.refunds"), ring=queue.REQUESTS)


@needs(REFUND)
def resolve(uid: str) -> ResponseReturnValue:
    """What became of a refund that M-Pesa does not tell of, as its statement says."""
    went = request.form.get("outcome") == "went"
    receipt = request.form.get("receipt", "").strip().upper()[:20]

    def work() -> str:
        refund_id = refunds.get_by_uid(g.tenant.id, uid).id
        refunds.resolve(refunds.lock(refund_id), went=went, receipt=receipt, actor=actor())
        return _("Noted. The books say so too.") if went else _("Noted. The money may be refunded again.")

    return buttons.do(work, then=url_for("staff.refunds"), ring=queue.WITHDRAW)


@needs(REFUND)
def refuse(uid: str) -> ResponseReturnValue:
    """The second administrator's no, or the first one's second thought."""
    why = request.form.get("reason", "").replace("\0", "").strip()[:200]

    def work() -> str:
        refund_id = refunds.get_by_uid(g.tenant.id, uid).id
        refunds.refuse(refunds.lock(refund_id), why=why, actor=actor())
        return _("Refused. Nothing is sent back.")

    return buttons.do(work, then=url_for("staff.refunds"))


def actions(item: Transaction, payments: list[Payment]) -> list[dict[str, str]]:
    """The buttons of a receipt's page: one for each payment whose money may still go back."""
    if not permissions.allows(g.role, REFUND) or item.provider != "mpesa" or item.gateway_id is None:
        return []
    return [
        {"label": _("Refund"), "url": url_for("staff.refund_new", token=payment.token)}
        for payment in payments
        if refunds.may_go_back(payment)[0]
    ]
