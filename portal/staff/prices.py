"""The price list, and what a discount may be without a second person."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired, Length

from portal.clinic.billing import price_list, terms
from portal.kernel import money
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.invoices import KINDS
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import MANAGE_CLINIC
from portal.web.language import said


class PriceForm(StaffForm):
    """A line of the price list."""

    kind = SelectField(_l("Kind"), choices=[SelectChoice(one, word) for one, word in KINDS.items()])
    name = StringField(_l("Name"), [InputRequired(_l("Enter a name.")), Length(max=price_list.LONGEST_NAME)])
    price = StringField(_l("Price in KES"), [InputRequired(_l("Enter the price.")), Length(max=20)])


class TermsForm(StaffForm):
    """What holds for all invoices."""

    limit = StringField(
        _l("Discounts up to this many KES of one invoice need no second person"),
        [InputRequired(_l("Enter the amount, or 0."))],
    )


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/prices", "prices", list_prices, methods=["GET"])
    bp.add_url_rule("/prices", "price_add", add, methods=["POST"])
    bp.add_url_rule("/prices/terms", "billing_terms", change_terms, methods=["POST"])
    bp.add_url_rule("/prices/<uid>", "price_change", change, methods=["POST"])
    bp.add_url_rule("/prices/<uid>/withdraw", "price_withdraw", withdraw, methods=["POST"])


@needs(MANAGE_CLINIC)
def list_prices() -> ResponseReturnValue:
    """What is sold, by kind."""
    return _page(PriceForm(formdata=None), _terms_form())


def _terms_form() -> TermsForm:
    limit = money.kes(g.tenant.discount_approval_above_cents)
    return TermsForm(formdata=None, limit=str(limit))


def _page(form: PriceForm, terms_form: TermsForm, status_code: int = 200) -> ResponseReturnValue:
    rows = [
        {
            "kind": KINDS[one.kind],
            "name": one.name,
            "price": money.kes(one.price_cents),
            "price_cents": one.price_cents,
            "uid": one.uid,
            "change_url": url_for("staff.price_change", uid=one.uid),
            "withdraw_url": url_for("staff.price_withdraw", uid=one.uid),
        }
        for one in price_list.items(g.tenant.id)
    ]
    page = render_template(
        "staff/prices.html",
        form=form,
        terms_form=terms_form,
        rows=rows,
        add_url=url_for("staff.price_add"),
        terms_url=url_for("staff.billing_terms"),
        back_url=url_for("staff.invoices"),
    )
    return page, status_code


@needs(MANAGE_CLINIC)
def add() -> ResponseReturnValue:
    """One line more."""
    form = PriceForm()
    if not form.validate_on_submit():
        return _page(form, _terms_form(), 422)
    try:
        with transaction():
            price_list.add(g.tenant.id, kind=form.kind.data, name=form.name.data, price=form.price.data, actor=actor())
    except Refused as error:
        form.form_errors.extend(said(one) for one in error.fields.values() or [error.message])
        return _page(form, _terms_form(), 422)
    flash(_("It is on the list."), "success")
    return redirect(url_for("staff.prices"), 303)


@needs(MANAGE_CLINIC)
def change(uid: str) -> ResponseReturnValue:
    """Another name or price from now on; invoices that were made keep what they say."""
    tenant_id, by, given = g.tenant.id, actor(), request.form

    def work() -> str:
        found = price_list.item(tenant_id, uid)
        price_list.change(found, name=given.get("name", ""), price=given.get("price", ""), actor=by)
        return _("Changed. Invoices that were made keep their prices.")

    return buttons.do(work, then=url_for("staff.prices"))


@needs(MANAGE_CLINIC)
def withdraw(uid: str) -> ResponseReturnValue:
    """Off the list."""
    tenant_id, by = g.tenant.id, actor()

    def work() -> str:
        price_list.withdraw(price_list.item(tenant_id, uid), actor=by)
        return _("It is off the list.")

    return buttons.do(work, then=url_for("staff.prices"))


@needs(MANAGE_CLINIC)
def change_terms() -> ResponseReturnValue:
    """The limit of discounts."""
    form = TermsForm()
    if not form.validate_on_submit():
        return _page(PriceForm(formdata=None), form, 422)
    try:
        with transaction():
            terms.change(g.tenant.id, limit=form.limit.data, actor=actor())
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _page(PriceForm(formdata=None), form, 422)
    flash(_("Saved."), "success")
    return redirect(url_for("staff.prices"), 303)
