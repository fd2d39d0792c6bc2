"""`/receipt/<token>`: whether a printed receipt is genuine, for whoever scans its code. Nothing about the person."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.clinic.billing import receipts
from portal.kernel.errors import NotFound

bp = Blueprint("receipts", __name__)


@bp.get("/receipt/<token>")
def verify(token: str) -> ResponseReturnValue:
    """Amount, day and validity, as they are now."""
    found = receipts.verify(token)
    if found is None:
        raise NotFound(_("No receipt carries this code. Check that you copied all of it."))
    return render_template("payments/verify.html", found=found, test_mode=found.is_test)
