"""Receipts at the counter: printed on A5 or a roll of 58 mm, and sent by SMS or e-mail."""

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.clinic import invoices, notifications
from portal.clinic.billing import receipts
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.users.permissions import SEE_CLINIC, WORK_CLINIC
from portal.web.links import pay_url
from portal.web.receipts import PAPERS, shown


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/invoices/<number>/receipt", "invoice_receipt", paper)
    bp.add_url_rule("/invoices/<number>/print", "invoice_print", count_and_print, methods=["POST"])
    bp.add_url_rule("/invoices/<number>/send", "invoice_send", send, methods=["POST"])


@needs(SEE_CLINIC, looks_at="invoices")
def paper(number: str) -> ResponseReturnValue:
    """The receipt as it comes out of the printer."""
    one = invoices.by_number(g.tenant.id, number)
    if not one.payment.allocated_cents and one.payment.amount_cents:
        return redirect(url_for("staff.invoice", number=number), 302)
    asked = request.args.get("paper", "a5")
    names = (("a5", "A5"), ("58", "58 mm"))
    return render_template(
        "payments/receipt_paper.html",
        receipt=shown(one.payment, one) | {"payer_name": invoices.payer_name(one)},
        test_mode=one.payment.is_sandbox,
        is_copy=one.prints > 1,
        paper=asked if asked in PAPERS else "a5",
        papers=[
            {"paper": each, "name": name, "url": url_for("staff.invoice_receipt", number=number, paper=each)}
            for each, name in names
        ],
        back_url=url_for("staff.invoice", number=number),
    )


@needs(SEE_CLINIC)
def count_and_print(number: str) -> ResponseReturnValue:
    """Count one print more, and show it: from the second on it says COPY."""
    with transaction():
        receipts.count_print(invoices.by_number(g.tenant.id, number), actor=actor())
    chosen = request.form.get("paper", "")
    return redirect(url_for("staff.invoice_receipt", number=number, paper=chosen if chosen in PAPERS else "a5"), 303)


@needs(WORK_CLINIC)
def send(number: str) -> ResponseReturnValue:
    """Send the receipt's address to a phone, or to an e-mail address."""
    tenant_id, to = g.tenant.id, request.form.get("to", "").strip()

    def work() -> str:
        one = invoices.by_number(tenant_id, number)
        if not one.payment.allocated_cents:
            raise Refused(_("Nothing is paid on it yet."))
        url = f"{pay_url(one.payment)}/receipt"
        if "@" in to:
            is_new = notifications.receipt_by_email(one, address=to, url=url)
        else:
            is_new = notifications.receipt_by_sms(one, msisdn=normalise_msisdn(to), url=url)
        return _("The receipt is on its way.") if is_new else _("It was sent there already.")

    return buttons.do(work, then=url_for("staff.invoice", number=number), ring=queue.OUTBOX)
