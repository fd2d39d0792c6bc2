"""What the business is called, where it is and how it speaks: on its pages, its messages and its receipts."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Optional, Regexp

from portal.audit import chain
from portal.kernel.db import transaction
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import MANAGE_PEOPLE


class BusinessForm(StaffForm):
    """The business itself. Its short name stands in printed addresses and stays."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    address = StringField(_l("Where it is"), [Length(max=200)], description=_l("As patients and customers find it."))
    help_phone = StringField(
        _l("Phone for questions"),
        [Optional(), Length(max=20), Regexp(r"[0-9 +()-]+$", message=_l("A phone number, such as 0700 000 111."))],
    )
    locale = SelectField(
        _l("Language of messages"), choices=[SelectChoice("en", "English"), SelectChoice("sw", "Kiswahili")]
    )
    colour = StringField(
        _l("Colour"),
        [InputRequired(_l("Enter a colour.")), Regexp(r"#[0-9a-fA-F]{6}$", message=_l("Such as #0b5d4b."))],
        description=_l("Of buttons and headings, such as #0b5d4b."),
    )
    tax_number = StringField(
        _l("KRA PIN"),
        [Optional(), Regexp(r"[A-Za-z][0-9]{9}[A-Za-z]$", message=_l("A letter, nine digits and a letter."))],
        description=_l("Printed on receipts."),
    )
    consent_text = TextAreaField(
        _l("What patients agree to"),
        [Length(max=1_000)],
        description=_l("Shown where they book. Empty: our own words."),
    )


FIELDS = ("name", "address", "help_phone", "locale", "colour", "tax_number", "consent_text")


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/business", "business", business, methods=["GET", "POST"])


@needs(MANAGE_PEOPLE)
def business() -> ResponseReturnValue:
    """Look at it and change it."""
    form = BusinessForm()
    if not g.tenant.is_clinic:
        del form.consent_text
    names = [name for name in FIELDS if name in form]
    if form.validate_on_submit():
        with transaction():
            for name in names:
                setattr(g.tenant, name, " ".join((form[name].data or "").split()))
            g.tenant.tax_number = g.tenant.tax_number.upper()
            chain.record(g.tenant.id, "tenant", g.tenant.id, "changed", actor=actor())
        flash(_("Saved."), "success")
        return redirect(url_for("staff.business"), 303)
    if request.method == "GET":
        for name in names:
            form[name].data = form[name].data or getattr(g.tenant, name)
    return render_template("staff/business.html", form=form), 422 if form.errors else 200
