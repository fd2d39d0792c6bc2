"""Fields that forms of several audiences have."""

from typing import Any

from wtforms import StringField
from wtforms.validators import ValidationError

from portal.kernel.errors import Refused
from portal.kernel.phone import EXPECTED, normalise_msisdn
from portal.web.language import said


class PhoneField(StringField):
    """A Kenyan mobile number in any form; `msisdn` once it is valid."""

    msisdn: str = ""

    def pre_validate(self, form: Any) -> None:
        if not self.data:
            return
        try:
            self.msisdn = normalise_msisdn(self.data)
        except Refused:
            raise ValidationError(said(EXPECTED)) from None
