"""Invoices: found, made for somebody who walked in, and each with what was paid, taken off, sent back and noted."""

import json
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from wtforms import HiddenField, IntegerField, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from portal.clinic import appointments, invoices, people
from portal.clinic.billing import credit_notes, discounts, price_list, receipts, search
from portal.clinic.models import Discount, Invoice, Patient
from portal.kernel import money, queue, vault
from portal.kernel.db import db, new_uid, transaction
from portal.kernel.errors import Refused
from portal.payments.refunds import refunds
from portal.payments.states import PaymentState
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_id, read_row_id
from portal.staff.kept_forms import StaffForm
from portal.staff.refunds import STATES as REFUND_STATES
from portal.users import permissions, team
from portal.users.permissions import MANAGE_CLINIC, RECORD_MANUAL, REFUND, REQUEST_PAYMENT, SEE_CLINIC, WORK_CLINIC
from portal.web.fields import PhoneField
from portal.web.language import said
from portal.web.receipts import channel_word
from portal.web.receipts import shown as receipt_shown

STATUS_CHIPS = {"unpaid": "due"}
DUE_ONLY = "due"  # of the list: what is owed still
KINDS = {
    "consultation": _l("Consultation"),
    "lab": _l("Lab test"),
    "medication": _l("Medication"),
    "other": _l("Other"),
}
ROWS, ROWS_OPEN = 10, 3  # lines that the form holds, and how many of them stand open
DISCOUNT_STATES = {
    "requested": ("attention", "clock", _l("To approve")),
    "approved": ("success", "check", _l("Approved")),
    "refused": ("plain", "cross", _l("Refused")),
}


class WalkInForm(StaffForm):
    """Who pays, and up to ten lines: from the price list, or in words."""

    name = StringField(_l("Payer's name"), [InputRequired(_l("Enter the payer's name.")), Length(max=80)])
    phone = PhoneField(_l("M-Pesa number (optional)"), [Optional()])
    patient = HiddenField()
    idempotency_key = HiddenField(default=new_uid, validators=[Length(max=80)])


def _named(name: str, row: int) -> str:
    """What a field of this row is called: the first one has the plain name."""
    return f"{name}_{row}" if row else name


for _n in range(ROWS):
    _of_row: dict[str, Any] = {
        "item": SelectField(_l("From the price list"), [Optional()], validate_choice=False),
        "quantity": IntegerField(
            _l("How many"), [Optional(), NumberRange(1, 1_000, _l("From 1 to 1,000."))], default=1
        ),
        "kind": SelectField(
            _l("Kind"), default="other", choices=[SelectChoice(one, word) for one, word in KINDS.items()]
        ),
        "description": StringField(_l("For"), [Optional(), Length(max=200)]),
        "amount": StringField(_l("Amount in KES"), [Optional(), Length(max=20)]),
    }
    for _name, _field in _of_row.items():
        setattr(WalkInForm, _named(_name, _n), _field)


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/invoices", "invoices", list_invoices)
    bp.add_url_rule("/invoices/new", "new_invoice", new_invoice, methods=["GET", "POST"])
    bp.add_url_rule("/invoices/<number>", "invoice", show)
    bp.add_url_rule("/invoices/<number>/note", "invoice_note", note, methods=["POST"])
    bp.add_url_rule("/invoices/<number>/discount", "invoice_discount", discount, methods=["POST"])
    bp.add_url_rule("/invoices/<number>/credit-note", "invoice_credit_note", credit_note, methods=["POST"])
    bp.add_url_rule("/invoices/<number>/void", "invoice_void", void, methods=["POST"])
    bp.add_url_rule("/discounts/<uid>/approve", "discount_approve", approve_discount, methods=["POST"])
    bp.add_url_rule("/discounts/<uid>/refuse", "discount_refuse", refuse_discount, methods=["POST"])


@needs(SEE_CLINIC, looks_at="invoices")
def list_invoices() -> ResponseReturnValue:
    """The newest invoices, or those that the words find; discounts that wait for a second person come first."""
    words, is_due = request.args.get("q", "").strip()[:80], request.args.get("state") == DUE_ONLY
    found, next_id = search.page(g.tenant.id, words, is_due=is_due, before_id=read_id("cursor"))
    may_decide = permissions.allows(g.role, MANAGE_CLINIC)
    waiting = discounts.waiting(g.tenant.id) if may_decide else []
    names = team.names_of(one.requested_by for one in waiting)
    return render_template(
        "staff/invoices.html",
        invoices=[_row(one) for one in found],
        words=words,
        is_due=is_due,
        waiting=[_discount_row(one, names) | {"number": one.invoice.number} for one in waiting],
        new_url=url_for("staff.new_invoice") if permissions.allows(g.role, WORK_CLINIC) else None,
        prices_url=url_for("staff.prices") if may_decide else None,
        next_url=url_for("staff.invoices", cursor=next_id, q=words or None, state=DUE_ONLY if is_due else None)
        if next_id
        else None,
    )


def _row(one: Invoice) -> dict[str, Any]:
    status = invoices.status_of(one)
    return {
        "number": one.number,
        "payer": invoices.payer_name(one),
        "created_at": one.created_at,
        "status": STATUS_CHIPS.get(status, status),
        "amount_cents": one.payment.amount_cents,
        "due_cents": 0 if status == "void" else one.payment.due_cents,
        "url": url_for("staff.invoice", number=one.number),
        "pay_url": url_for("pay.show", token=one.payment.token),
    }


@needs(WORK_CLINIC)
def new_invoice() -> ResponseReturnValue:
    """An invoice for somebody at the desk; then the page where it is paid."""
    items = price_list.items(g.tenant.id)
    form = WalkInForm(patient=request.args.get("patient", ""))
    choices = [SelectChoice("", _("Choose"))]
    choices += [
        SelectChoice(one.uid, f"{one.name}: {money.format_kes(one.price_cents)}", optgroup=str(KINDS[one.kind]))
        for one in items
    ]
    for row in range(ROWS):
        form[_named("item", row)].choices = choices
    person = people.patient(g.tenant.id, form.patient.data) if form.patient.data else None
    if person is not None and request.method == "GET":
        form.name.data = people.name_of(person)
    if form.validate_on_submit():
        uid = _uid_of_form(form)
        try:
            number = _made_before(uid) or _issue(form, person, uid)
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Invoice %(number)s is made.", number=number), "success")
            return redirect(url_for("staff.invoice", number=number), 303)
    page = render_template(
        "staff/invoice_form.html",
        form=form,
        rows=[_fields_of(form, row) for row in range(ROWS)],
        rows_open=ROWS_OPEN,
        has_list=bool(items),
        person=people.name_of(person) if person else "",
        back_url=url_for("staff.invoices"),
    )
    return page, 422 if request.method == "POST" else 200


def _fields_of(form: WalkInForm, row: int) -> dict[str, Any]:
    fields = {name: form[_named(name, row)] for name in _of_row}
    is_used = any(fields[name].data for name in ("item", "description", "amount"))
    return fields | {"is_used": is_used or any(field.errors for field in fields.values())}


def _uid_of_form(form: WalkInForm) -> str:
    """Of the invoice that this form makes: sent twice as it is, it is one; changed after a step back, it is another."""
    if not form.idempotency_key.data:
        return new_uid()
    told = sorted((name, value) for name, value in request.form.items(multi=True) if name != "csrf_token")
    typed = json.dumps([told, current_user.id, g.tenant.id])
    return vault.lookup(typed, context="walk-in")[:24]


def _made_before(uid: str) -> str | None:
    return db.session.scalar(select(Invoice.number).where(Invoice.tenant_id == g.tenant.id, Invoice.uid == uid))


def _issue(form: WalkInForm, person: Patient | None, uid: str) -> str:
    """Its number; that of the same form, where it was sent twice and the other was quicker."""
    person_uid = person.uid if person else None
    try:
        with transaction():
            return _issued(form, people.patient(g.tenant.id, person_uid) if person_uid else None, uid)
    except IntegrityError:
        if number := _made_before(uid):
            return number
        raise


def _issued(form: WalkInForm, person: Patient | None, uid: str) -> str:
    lines = []
    for row in range(ROWS):
        fields = {name: form[_named(name, row)].data for name in _of_row}
        quantity = fields["quantity"] or 1
        if fields["item"]:
            lines.append({"priceItemId": fields["item"], "quantity": quantity, "row": row})
        elif fields["description"] or fields["amount"]:
            wanted = {"kind": fields["kind"], "description": fields["description"], "amount": fields["amount"]}
            lines.append(wanted | {"quantity": quantity, "row": row})
    form.used_rows = [line["row"] for line in lines]
    payer = {"name": form.name.data, "phone": form.phone.msisdn}
    patient = person or search.patient_called(g.tenant.id, name=form.name.data or "", msisdn=form.phone.msisdn)
    made = invoices.issue(g.tenant, lines=lines, patient=patient, payer=payer, uid=uid, actor=actor())
    return made.number


def _blame(form: WalkInForm, error: Refused) -> None:
    """Say what is wrong at the field that is at fault: `lines.1.amount` is of the second row that was filled in."""
    names = {"priceItemId": "item"}
    for path, sentence in error.fields.items():
        parts = path.split(".")
        if len(parts) == 3 and parts[0] == "lines":
            field = form[_named(names.get(parts[2], parts[2]), form.used_rows[int(parts[1])])]
            field.errors = [*field.errors, said(sentence)]
        elif path == "lines":
            form.form_errors.append(said(sentence))
        else:
            form.form_errors.append(said(sentence))
    if not error.fields:
        form.form_errors.append(said(error.message))


@needs(SEE_CLINIC, looks_at="invoices")
def show(number: str) -> ResponseReturnValue:
    """One invoice: its lines, what was taken off, what was paid and sent back, its notes, and what may be done."""
    one = invoices.by_number(g.tenant.id, number)
    payment, status = one.payment, invoices.status_of(one)
    visit = appointments.of_invoice(one.id)
    asked = discounts.of_invoice(one.id)
    noted = credit_notes.of_invoice(one.id)
    names = team.names_of([*(each.requested_by for each in asked), *(each.decided_by for each in asked)])
    names |= team.names_of(each.made_by for each in noted)
    return render_template(
        "staff/invoice.html",
        invoice={
            "number": one.number,
            "payer": invoices.payer_name(one),
            "statement_url": url_for("staff.statement", uid=one.patient.uid) if one.patient else None,
            "created_at": one.created_at,
            "status": STATUS_CHIPS.get(status, status),
            "amount_cents": payment.amount_cents,
            "due_cents": 0 if status == "void" else payment.due_cents,
            "prints": one.prints,
            "history_url": url_for("staff.attempt", token=payment.token)
            if permissions.allows(g.role, permissions.SEE_MONEY)
            else None,
        },
        receipt=receipt_shown(payment, one),
        visit={"starts_at": visit.starts_at, "clinician": visit.clinician.name, "status": visit.status}
        if visit
        else None,
        discounts=[_discount_row(each, names) for each in asked],
        credit_notes=[
            {
                "number": each.number,
                "amount_cents": each.amount_cents,
                "why": each.why,
                "by": names.get(each.made_by or 0, ""),
                "at": each.created_at,
                "money_back": each.money_back,
            }
            for each in noted
        ],
        refunds=[
            {"amount_cents": each.amount_cents, "state": REFUND_STATES[each.state], "at": each.created_at}
            for each in refunds.of_payment(payment.id)
        ],
        notes=[*receipts.notes_of(one), *_payment_notes(one)],
        can=_may(one),
        acts=_acts(one),
        discounts_seen=len(asked),
        discount_limit_cents=g.tenant.discount_approval_above_cents,
        form_key=f"{one.uid}-{len(noted)}",
    )


def _discount_row(one: Discount, names: dict[int, str]) -> dict[str, Any]:
    may_decide = permissions.allows(g.role, MANAGE_CLINIC) and one.status == discounts.REQUESTED
    return {
        "amount_cents": one.amount_cents,
        "why": one.why,
        "state": DISCOUNT_STATES[one.status],
        "at": one.created_at,
        "asked_by": names.get(one.requested_by or 0, ""),
        "decided_by": names.get(one.decided_by or 0, "") if one.decided_by != one.requested_by else "",
        "url": url_for("staff.invoice", number=one.invoice.number),
        "approve_url": url_for("staff.discount_approve", uid=one.uid)
        if may_decide and one.requested_by != current_user.id
        else None,
        "refuse_url": url_for("staff.discount_refuse", uid=one.uid) if may_decide else None,
    }


def _payment_notes(one: Invoice) -> list[str]:
    """The payments' details, appended to its notes."""
    return [
        _(
            "%(when)s: paid %(amount)s, %(method)s %(receipt)s",
            when=f"{money_at:%d/%m/%Y %H:%M}",
            amount=money.format_kes(part.amount_cents),
            method=channel_word(part.channel),
            receipt=part.receipt or "",
        ).strip()
        for part in receipts.received(one.payment)
        for money_at in [receipts.local(part.at)]
    ]


def _may(one: Invoice) -> dict[str, bool]:
    """Which forms stand on its page."""
    payment, is_void = one.payment, one.voided_at is not None
    is_open = payment.state == PaymentState.OPEN and not is_void
    works = permissions.allows(g.role, WORK_CLINIC)
    has_money = payment.allocated_cents > 0 and not is_void
    return {
        "note": works,
        "discount": works and is_open,
        "credit_note": permissions.allows(g.role, REFUND) and has_money,
        "send_back": refunds.may_go_back(payment)[0] > 0,
        "void": works and is_open and not payment.allocated_cents,
        "send": works and payment.allocated_cents > 0,
    }


def _acts(one: Invoice) -> list[dict[str, str]]:
    """What the counter does with it next."""
    payment, acts = one.payment, []
    is_open = payment.state == PaymentState.OPEN and one.voided_at is None
    if is_open and permissions.allows(g.role, REQUEST_PAYMENT):
        url = url_for("pay.show", token=payment.token)
        acts.append({"label": _("Send a request to a phone"), "url": url, "kind": "primary", "symbol": "phone"})
    if is_open and permissions.allows(g.role, RECORD_MANUAL):
        url = url_for("staff.manual_new", reference=payment.reference)
        acts.append({"label": _("Take cash"), "url": url, "kind": "", "symbol": "money"})
    return acts


def _back(number: str) -> str:
    return url_for("staff.invoice", number=number)


@needs(WORK_CLINIC)
def note(number: str) -> ResponseReturnValue:
    """A line more in its notes."""
    tenant_id, text, who, by = g.tenant.id, request.form.get("note", ""), current_user.name, actor()

    def work() -> str:
        receipts.add_note(invoices.by_number(tenant_id, number), text, who=who, actor=by)
        return _("Noted.")

    return buttons.do(work, then=_back(number))


@needs(WORK_CLINIC)
def discount(number: str) -> ResponseReturnValue:
    """Less to pay, or nothing: at once up to the limit, else when a manager approves it."""
    tenant_id, by, user_id = g.tenant.id, actor(), current_user.id
    amount, why, seen = (request.form.get(name, "") for name in ("amount", "reason", "seen"))

    def work() -> str:
        one = invoices.by_number(tenant_id, number)
        amount_cents = one.payment.due_cents if request.form.get("whole") else money.payable_cents(amount)
        asked = discounts.ask(
            one, amount_cents=amount_cents, why=why, user_id=user_id, actor=by, seen=read_row_id(seen)
        )
        if asked.status == discounts.REQUESTED:
            return _("A manager must approve a discount of this size.")
        return _("%(amount)s are taken off.", amount=money.format_kes(asked.amount_cents))

    return buttons.do(work, then=_back(number), ring=queue.PAID)


@needs(REFUND)
def credit_note(number: str) -> ResponseReturnValue:
    """Take off an invoice what it asks too much; what was paid of it goes back."""
    tenant_id, by, user_id, given = g.tenant.id, actor(), current_user.id, request.form

    def work() -> str:
        made = credit_notes.make(
            invoices.by_number(tenant_id, number),
            amount_cents=money.cents(given.get("amount", "")),
            money_back=given.get("money_back", ""),
            why=given.get("reason", ""),
            key=given.get("key", ""),
            user_id=user_id,
            actor=by,
        )
        return _("Credit note %(number)s is made.", number=made.number)

    answer = buttons.do(work, then=_back(number), ring=queue.PAID)
    queue.enqueue(queue.REQUESTS)
    return answer


@needs(WORK_CLINIC)
def void(number: str) -> ResponseReturnValue:
    """Take back an invoice on which nothing was paid."""
    tenant_id, by, why = g.tenant.id, actor(), request.form.get("reason", "")

    def work() -> str:
        invoices.void(invoices.by_number(tenant_id, number), why=discounts.read_reason(why), actor=by)
        return _("Invoice %(number)s is void.", number=number)

    return buttons.do(work, then=_back(number), ring=queue.WITHDRAW)


@needs(MANAGE_CLINIC)
def approve_discount(uid: str) -> ResponseReturnValue:
    """The second person's yes."""
    return _decide(uid, is_yes=True)


@needs(MANAGE_CLINIC)
def refuse_discount(uid: str) -> ResponseReturnValue:
    """The second person's no, or the first one's second thought."""
    return _decide(uid, is_yes=False)


def _decide(uid: str, *, is_yes: bool) -> ResponseReturnValue:
    tenant_id, by, user_id = g.tenant.id, actor(), current_user.id
    number = discounts.by_uid(tenant_id, uid).invoice.number

    def work() -> str:
        discounts.decide(tenant_id, uid, is_yes=is_yes, user_id=user_id, actor=by)
        return _("Approved. It is taken off.") if is_yes else _("Refused. Nothing is taken off.")

    return buttons.do(work, then=_back(number), ring=queue.PAID)
