"""Money taken at the counter, and customers with their credit: recorded, listed, voided, spent."""

import secrets
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from wtforms import HiddenField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Optional

from portal.clinic.reception import shifts
from portal.gateways import client_factory
from portal.hotspot.models import AccessGrant
from portal.hotspot.passes import standing
from portal.hotspot.pppoe import lines
from portal.hotspot.pppoe.models import PppoeLine
from portal.kernel import money, personal, queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.phone import for_screens, normalise_msisdn
from portal.payments import manual, matching
from portal.payments.manual import Taken
from portal.payments.models import Customer, Payment
from portal.payments.states import PaymentState
from portal.payments.wallets import customers, wallets
from portal.staff import audit_words, buttons
from portal.staff.guard import actor, needs, read_id
from portal.staff.kept_forms import StaffForm
from portal.users import permissions
from portal.users.permissions import PLACE_MONEY, RECORD_MANUAL, REQUEST_PAYMENT, SEE_MONEY, VOID_MANUAL
from portal.web.fields import PhoneField
from portal.web.language import said

CHANNELS = {
    "cash": _l("Cash"),
    "bank": _l("Bank transfer"),
    "card": _l("Card"),
    "other": _l("Other"),
}


class ManualForm(StaffForm):
    """Money that somebody took: for an invoice, or kept for a customer."""

    amount = StringField(
        _l("Amount given, in KES"),
        [InputRequired(_l("Enter the amount.")), Length(max=20)],
        description=_l("Of cash for an invoice only what is due is recorded; the change is told to you."),
    )
    channel = SelectField(_l("Taken as"), choices=[SelectChoice(*one) for one in CHANNELS.items()])
    reference = StringField(_l("Invoice number"), [Optional(), Length(max=40)])
    phone = PhoneField(_l("Or the phone of the customer to keep it for"), [Optional()])
    note = StringField(_l("Note (optional)"), [Optional(), Length(max=200)])
    idempotency_key = HiddenField(default=lambda: secrets.token_hex(16), validators=[Length(max=80)])


class CustomerForm(StaffForm):
    """Somebody who keeps money here."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    phone = PhoneField(_l("M-Pesa number"), [InputRequired(_l("Enter the M-Pesa number."))])


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/manual", "manual", list_manual_payments)
    bp.add_url_rule("/manual/new", "manual_new", new, methods=["GET", "POST"])
    bp.add_url_rule("/manual/<uid>/void", "manual_void", void, methods=["POST"])
    bp.add_url_rule("/customers", "customers", customer_list)
    bp.add_url_rule("/customers", "customer_add", customer_add, methods=["POST"])
    bp.add_url_rule("/customers/<uid>/pay", "customer_pay", customer_pay, methods=["POST"])


@needs(SEE_MONEY, looks_at="money_by_hand")
def list_manual_payments() -> ResponseReturnValue:
    """What was recorded by hand, newest first."""
    items, cursor = manual.page(g.tenant.id, before_id=read_id("cursor"))
    return render_template(
        "staff/manual.html",
        rows=[_row(record) for record in manual.records_of(items)],
        channels=CHANNELS,
        may_void=permissions.allows(g.role, VOID_MANUAL),
        new_url=url_for("staff.manual_new") if permissions.allows(g.role, RECORD_MANUAL) else None,
        next_url=url_for("staff.manual", cursor=cursor) if cursor else None,
    )


def _row(record: manual.Record) -> dict[str, Any]:
    item = record.transaction
    return {
        "at": item.occurred_at,
        "receipt": item.receipt,
        "channel": item.channel,
        "reference": record.reference,
        "note": item.note,
        "recorded_by": record.recorded_by,
        "is_credit": record.customer_uid is not None,
        "state": item.state,
        "environment": item.environment,
        "void_why": item.void_why,
        "amount_cents": item.amount_cents,
        "url": url_for("staff.payment", uid=item.uid),
        "void_url": url_for("staff.payment", uid=item.uid, _anchor="void") if item.state != "void" else None,
    }


@needs(RECORD_MANUAL)
def new() -> ResponseReturnValue:
    """The form at the counter: one form is one record, however often it is sent."""
    form = ManualForm(reference=request.args.get("reference", ""))
    if form.validate_on_submit():
        try:
            with transaction():
                receipt, is_over, change_cents = _record(form)
        except Refused as error:
            form.form_errors.append(said(error.message))
        else:
            queue.enqueue(queue.PAID)
            flash(_("Recorded as %(receipt)s.", receipt=receipt), "success")
            if change_cents:
                flash(money.format_kes(change_cents), "change")
            if is_over:
                flash(_("More was taken than was due. Say what the rest is for."), "info")
            return redirect(url_for("staff.unmatched" if is_over else "staff.manual"), 303)
    page = render_template(
        "staff/manual_form.html", form=form, due=_due(form.reference.data or ""), back_url=url_for("staff.manual")
    )
    return page, 422 if request.method == "POST" else 200


def _due(reference: str) -> dict[str, Any] | None:
    """What the named invoice still wants, for whoever counts the money."""
    payment = matching.named(g.tenant.id, reference) if reference else None
    if payment is None or payment.state != PaymentState.OPEN:
        return None
    return {"what": audit_words.title_of(payment), "due_cents": payment.due_cents}


def _record(form: ManualForm) -> tuple[str, bool, int]:
    """(receipt, whether some of it waits to be placed, the change to hand back in cents)."""
    if bool(form.reference.data) == bool(form.phone.msisdn):
        raise Refused(_("Enter either an invoice number or a customer's phone."))
    taken = Taken(
        amount_cents=manual.read_amount(form.amount.data),
        channel=manual.read_channel(form.channel.data),
        actor=actor(),
        user_id=current_user.id,
        note=(form.note.data or "").replace("\0", ""),
        key=form.idempotency_key.data or "",
        gives_change=form.channel.data == "cash" and bool(form.reference.data),
    )
    shift = shifts.held(g.tenant.id, current_user.id)
    if form.reference.data:
        booked = manual.for_payment(g.tenant.id, form.reference.data, taken)
    else:
        customer = wallets.customer_of_phone(g.tenant.id, form.phone.msisdn)
        booked = manual.for_wallet(customer, taken)
    if shift is not None:
        shifts.took(shift, booked, tendered_cents=taken.amount_cents)
    change_cents = taken.amount_cents - booked.amount_cents if taken.gives_change else 0
    return booked.receipt or "", booked.unallocated_cents > 0, change_cents


@needs(VOID_MANUAL)
def void(uid: str) -> ResponseReturnValue:
    """Take one back, with a reason. What it paid is owed again."""

    def work() -> str:
        voided = manual.void(g.tenant.id, [uid], why=request.form.get("reason", ""), actor=actor())
        return _("%(receipt)s is void. What it paid is owed again.", receipt=voided[0].receipt or "")

    return buttons.do(work, then=url_for("staff.manual"), ring=queue.WITHDRAW)


@needs(SEE_MONEY, looks_at="customers")
def customer_list() -> ResponseReturnValue:
    """Customers and what they have with the business."""
    return _customers(CustomerForm(formdata=None))


def _customers(form: CustomerForm, status_code: int = 200) -> ResponseReturnValue:
    tenant_id, words = g.tenant.id, request.args.get("q", "")
    environment = client_factory.environment_of(tenant_id)
    found, cursor = customers.page(tenant_id, words, before_id=read_id("cursor"))
    held = customers.balances(tenant_id, environment, found)
    own = lines.of_customers(tenant_id, [one.id for one in found])
    page = render_template(
        "staff/customers.html",
        rows=[_customer(one, held[one.id], own[one.id]) for one in found],
        passes=_passes_of(words) if not found else [],
        form=form,
        may_add=permissions.allows(g.role, REQUEST_PAYMENT),
        may_pay=permissions.allows(g.role, PLACE_MONEY),
        next_url=url_for("staff.customers", cursor=cursor, q=words or None) if cursor else None,
    )
    return page, status_code


def _passes_of(words: str) -> list[AccessGrant]:
    """What runs at the hotspot for who is no customer with an account: by the number that bought it."""
    try:
        return standing.of_number(g.tenant.id, personal.phone_hash(normalise_msisdn(words), g.tenant.id))
    except Refused:
        return []


def _customer(one: Customer, balance_cents: int, own: list[PppoeLine]) -> dict[str, Any]:
    msisdn = personal.open_phone(one.phone_sealed, one.tenant_id)
    return {
        "name": personal.open_text(one.name_sealed, one.tenant_id) or "–",
        "phone": for_screens(msisdn) if msisdn else "–",
        "account_number": one.account_number,
        "url": url_for("staff.customer", uid=one.uid),
        "balance_cents": balance_cents,
        "lines": [{"username": line.grant.username, "state": line.state} for line in own],
        "pay_url": url_for("staff.customer_pay", uid=one.uid),
    }


@needs(REQUEST_PAYMENT)
def customer_add() -> ResponseReturnValue:
    """A customer with an account number to pay into."""
    form = CustomerForm()
    if not form.validate_on_submit():
        return _customers(form, 422)
    with transaction():
        customer, _is_new = customers.add(g.tenant.id, name=form.name.data, msisdn=form.phone.msisdn, actor=actor())
        number = customer.account_number
    flash(_("Their account number is %(number)s.", number=number), "success")
    return redirect(url_for("staff.customers", q=number), 303)


@needs(PLACE_MONEY)
def customer_pay(uid: str) -> ResponseReturnValue:
    """Pay an invoice from a customer's credit."""

    def work() -> str:
        customer_id = customers.by_uid(g.tenant.id, uid).id
        payment = _payable(request.form.get("reference", ""))
        reference = payment.reference
        paid_cents = wallets.pay(payment.id, customer_id, actor=actor())
        return _("%(amount)s paid on %(reference)s.", amount=money.format_kes(paid_cents), reference=reference)

    return buttons.do(work, then=url_for("staff.customers"), ring=queue.PAID)


def _payable(reference: str) -> Payment:
    """What staff typed; a slip of theirs is said on the page that they are on."""
    try:
        return matching.payable(g.tenant.id, reference)
    except NotFound as error:
        raise Refused(error.message, code=error.code) from error
