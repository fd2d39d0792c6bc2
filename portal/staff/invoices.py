"""Invoices: the newest, and one for somebody who walked in."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import DecimalField, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired, Length, Optional

from portal.clinic import invoices
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.staff.guard import actor, needs, read_id
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import SEE_CLINIC, WORK_CLINIC
from portal.web.fields import PhoneField
from portal.web.language import said

STATUS_CHIPS = {"unpaid": "due", "part_paid": "part_paid"}


class WalkInForm(StaffForm):
    name = StringField(_l("Payer's name"), [InputRequired(_l("Enter the payer's name.")), Length(max=80)])
    phone = PhoneField(_l("M-Pesa number (optional)"), [Optional()])
    kind = SelectField(
        _l("Kind"),
        choices=[
            SelectChoice("consultation", _l("Consultation")),
            SelectChoice("lab", _l("Lab test")),
            SelectChoice("medication", _l("Medication")),
            SelectChoice("other", _l("Other")),
        ],
    )
    description = StringField(_l("For"), [InputRequired(_l("Say what it is for.")), Length(max=200)])
    amount = DecimalField(_l("Amount in KES"), [InputRequired(_l("Enter the amount."))], places=None)


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/invoices", "invoices", list_invoices)
    bp.add_url_rule("/invoices/new", "new_invoice", new_invoice, methods=["GET", "POST"])


@needs(SEE_CLINIC, looks_at="invoices")
def list_invoices() -> ResponseReturnValue:
    """The newest invoices."""
    found = invoices.latest(g.tenant.id, before_id=read_id("cursor"))
    rows = [
        {
            "number": one.number,
            "payer": invoices.payer_name(one),
            "created_at": one.created_at,
            "status": STATUS_CHIPS.get(invoices.status_of(one), invoices.status_of(one)),
            "amount_cents": one.payment.amount_cents,
            "due_cents": 0 if one.voided_at else one.payment.due_cents,
            "url": url_for("staff.attempt", token=one.payment.token),
            "pay_url": url_for("pay.show", token=one.payment.token),
        }
        for one in found
    ]
    return render_template(
        "staff/invoices.html",
        invoices=rows,
        new_url=url_for("staff.new_invoice"),
        next_url=url_for("staff.invoices", cursor=found[-1].id) if len(found) == invoices.PAGE_ROWS else None,
    )


@needs(WORK_CLINIC)
def new_invoice() -> ResponseReturnValue:
    """An invoice for somebody at the desk; then the page where it is paid."""
    form = WalkInForm()
    if form.validate_on_submit():
        line = {"kind": form.kind.data, "description": form.description.data, "amount": str(form.amount.data)}
        try:
            with transaction():
                one = invoices.issue(
                    g.tenant,
                    lines=[line],
                    payer={"name": form.name.data, "phone": form.phone.msisdn},
                    actor=actor(),
                )
                number, token = one.number, one.payment.token
        except Refused as error:
            form.form_errors.extend(said(one) for one in error.fields.values() or [error.message])
        else:
            flash(_("Invoice %(number)s is made.", number=number), "success")
            return redirect(url_for("staff.attempt", token=token), 303)
    status = 422 if request.method == "POST" else 200
    return render_template("staff/invoice_form.html", form=form, back_url=url_for("staff.invoices")), status
