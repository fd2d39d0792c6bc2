"""The payers' forms. They carry no authority and work without cookies, hence no CSRF token but an idempotency key."""

import secrets

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, HiddenField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional

from portal.web.fields import PhoneField

_TOO_LONG = _l("This is too long.")


def _key() -> str:
    return secrets.token_hex(16)


class PayerForm(FlaskForm):
    class Meta:
        csrf = False


class PayForm(PayerForm):
    """One phone to ask."""

    phone = PhoneField(_l("M-Pesa number"), [InputRequired(_l("Enter the M-Pesa number to ask."))])
    idempotency_key = HiddenField(default=_key, validators=[Length(max=80)])


class BuyForm(PayForm):
    """A package and a phone."""

    package = RadioField(_l("Package"), validate_choice=False, validators=[InputRequired(_l("Choose a package."))])
    starts_now = BooleanField(_l("Start it now. What runs goes on after it, with all that is left."))
    gift_phone = PhoneField(_l("Whose number it is for"), [Optional()])


class HandForm(PayerForm):
    """A package that is paid from M-Pesa's own menu."""

    package = StringField(validators=[Optional(), Length(max=40)])
    idempotency_key = HiddenField(default=_key, validators=[Length(max=80)])


class PhoneCodeForm(PayerForm):
    """The figures that a phone was sent."""

    phone = HiddenField()
    code = StringField(_l("The 6 figures from the SMS"), [InputRequired(_l("Enter the 6 figures.")), Length(max=20)])


class DeviceForm(PayerForm):
    """A device that has no browser. None of its fields has a name that the router's own words have (`mac`)."""

    name = StringField(_l("What it is"), [Optional(), Length(max=40, message=_TOO_LONG)])
    of = StringField(validators=[Optional(), Length(max=20)])
    seen = StringField(validators=[Optional(), Length(max=20)])
    address = StringField(_l("Its address"), [Optional(), Length(max=40, message=_TOO_LONG)])


class NumberForm(PayerForm):
    """The number that pays, once more."""

    phone = PhoneField(_l("M-Pesa number"), [InputRequired(_l("Enter the M-Pesa number that pays."))])


class PasteForm(PayerForm):
    """A pasted M-Pesa message."""

    sms_text = TextAreaField(
        _l("M-Pesa message"),
        [InputRequired(_l("Paste the M-Pesa message.")), Length(max=2000, message=_TOO_LONG)],
    )
    package = SelectField(_l("Package"), validate_choice=False)
    phone = PhoneField(_l("M-Pesa number (optional)"), [Optional()])


class CodeForm(PayerForm):
    """A code that opens the internet."""

    code = StringField(_l("Code"), [InputRequired(_l("Enter your code.")), Length(max=40, message=_TOO_LONG)])
    password = StringField(_l("Password, if your SMS has one"), [Optional(), Length(max=40, message=_TOO_LONG)])


class AccountForm(PayerForm):
    """The account number of a line, as it is typed at the paybill."""

    account = StringField(
        _l("Account number"), [InputRequired(_l("Enter the account number.")), Length(max=20, message=_TOO_LONG)]
    )


class LinePayForm(PayForm):
    """Which line, and the phone that pays for it."""

    line = HiddenField(validators=[Length(max=24)])


class BookForm(PayerForm):
    """Who comes to the clinic."""

    name = StringField(
        _l("Name of who comes"), [InputRequired(_l("Enter the name.")), Length(max=80, message=_TOO_LONG)]
    )
    phone = PhoneField(_l("Phone number"), [InputRequired(_l("Enter the phone number."))])


class WaitForm(BookForm):
    """Who would come when a time gets free, and from which day to which."""

    first = DateField(_l("From"), [InputRequired(_l("Choose a day."))])
    last = DateField(_l("Until"), [InputRequired(_l("Choose a day."))])


class BookingCodeForm(PayerForm):
    """The six figures that prove the phone."""

    code = StringField(_l("The 6 figures from the SMS"), [InputRequired(_l("Enter the 6 figures.")), Length(max=20)])
