"""`/pay/<token>`: one payment, for whoever has its address."""

from datetime import timedelta

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from icalendar import Calendar, Event
from werkzeug.datastructures import MultiDict

from portal.clinic import invoices, policies
from portal.clinic.models import Invoice
from portal.fulfilment import bought
from portal.hotspot import purchases
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.phone import for_people
from portal.payer import view
from portal.payer.forms import PayForm
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.payments.stk import pushes, queries
from portal.payments.stk.prompt_limits import AskedFrom
from portal.web import browser, receipts
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import network
from portal.web.links import door_url

bp = Blueprint("pay", __name__, url_prefix="/pay")


def _payment(token: str) -> Payment:
    payment = db.session.query(Payment).filter_by(token=token).one_or_none()
    if payment is None:
        raise NotFound(_("This payment link is not known here. Check that you copied all of it."))
    return payment


def _title(payment: Payment, invoice: Invoice | None) -> str:
    return _("Invoice %(number)s", number=invoice.number) if invoice else payment.title or payment.reference


def _page(payment: Payment, form: PayForm, status_code: int = 200) -> ResponseReturnValue:
    if not form.phone.data and _is_own(payment):
        msisdn = personal.open_phone(payment.phone_sealed, payment.tenant_id)
        form.phone.data = for_people(msisdn) if msisdn else ""
    invoice = invoices.of_payment(payment.id)
    page = render_template(
        "payments/pay.html",
        tenant=payment.tenant,
        view=view.payment_view(payment),
        form=form,
        title=_title(payment, invoice),
        lines=[
            {
                "description": line.description + (f" × {line.quantity}" if line.quantity > 1 else ""),
                "amount_cents": line.amount_cents,
            }
            for line in invoice.lines
        ]
        if invoice
        else [],
        terms=_terms(payment),
        reductions=receipts.reductions(invoice) if invoice else [],
        test_mode=payment.is_sandbox,
    )
    return page, status_code


def _terms(payment: Payment) -> list[str]:
    """The terms of the visit that is about to be paid."""
    visit = bought(payment).appointment if payment.state == PaymentState.OPEN else None
    if visit is None or visit.service_id is None:
        return []
    return [said(one) for one in policies.terms(visit, price_cents=visit.price_cents)]


def _is_own(payment: Payment) -> bool:
    """Whether this browser began it, by its cookie: a number is prefilled for nobody else, whoever has the address."""
    begun = purchases.of_payment(payment.id)
    return begun is not None and purchases.is_of_browser(begun, browser.known(payment.tenant))


@bp.get("/<token>")
def show(token: str) -> ResponseReturnValue:
    """What is due, how to pay it, and how it goes."""
    payment = _payment(token)
    queries.expedite(payment.id)
    return _page(_payment(token), PayForm(formdata=None))


@bp.post("/<token>")
def push(token: str) -> ResponseReturnValue:
    """Ask a phone for what is due; without a phone in the form, the last one."""
    payment = _payment(token)
    form = PayForm(_filled_in(payment))
    if not form.validate():
        return _page(payment, form, 422)
    if request.form.get("part") == "deposit" and payment.allocated_cents and not payment.deposit_due_cents:
        form.form_errors.append(_("The deposit is paid already. Below is what is still due."))
        return _page(payment, form, 409)
    try:
        with transaction():
            pushes.request_push(
                payment.id,
                form.phone.msisdn,
                actor="payer",
                amount_cents=_asked_cents(payment),
                idempotency_key=form.idempotency_key.data or None,
                asked_from=AskedFrom(network()),
            )
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _page(_payment(token), form, error.status)
    queue.enqueue(queue.SEND_PUSHES)
    payment = _payment(token)
    given = bought(payment)
    if given.kind == "access":
        return redirect(url_for("hotspot.wait", slug=payment.tenant.slug, token=token), 303)
    return redirect(url_for("pay.show", token=token), 303)


def _asked_cents(payment: Payment) -> int | None:
    """The deposit, where one is asked for and the payer did not choose all of it; None: all that is due.

    "Try again" means what was asked for last.
    """
    part, last = request.form.get("part", ""), payment.pushes[-1] if payment.pushes else None
    is_deposit = part == "deposit" or (not part and last is not None and last.amount_cents < payment.due_cents)
    return payment.deposit_due_cents or None if is_deposit else None


def _filled_in(payment: Payment) -> MultiDict[str, str]:
    """The form as sent; "Try again" without a number means the one that was asked last."""
    given = MultiDict(request.form)
    if not given.get("phone") and given.get("idempotency_key", "").startswith(payment.token):
        given["phone"] = _last_phone(payment)
    return given


def _last_phone(payment: Payment) -> str:
    push = payment.pushes[-1] if payment.pushes else None
    sealed = push.phone_sealed if push else payment.phone_sealed
    return personal.open_phone(sealed, payment.tenant_id) or ""


@bp.get("/<token>/status")
def poll(token: str) -> ResponseReturnValue:
    """The status fragment, or 204 where nothing that shows has changed."""
    known = view.version_of(token)
    if known is None:
        return "", 204
    payment_id, version = known
    if request.args.get("v") == version:
        if version.endswith(("-1", "-2")) and view.is_time_to_look(payment_id):
            queries.expedite(payment_id)
        return "", 204
    payment = db.session.get_one(Payment, payment_id)
    shown = view.payment_view(payment)
    answer = make_response(render_template("payments/_status.html", view=shown, tenant=payment.tenant))
    if shown["word"] == "ready" and shown["paid_cents"] and not _is_of_row(request.args.get("v", ""), version):
        # a part came: the form below, which is no part of this, asks for the rest
        answer.headers["HX-Refresh"] = "true"
    return answer


def _is_of_row(known: str, version: str) -> bool:
    """Whether a page that polls with `known` has what the row says now, and only hints are new."""
    return known.partition("-")[0] == version.partition("-")[0]


@bp.get("/<token>/receipt")
def receipt(token: str) -> ResponseReturnValue:
    """A receipt to print or keep; of what was paid in part too."""
    payment = _payment(token)
    if payment.state != PaymentState.PAID and not payment.allocated_cents:
        return redirect(url_for("pay.show", token=token), 302)
    paper = request.args.get("paper", "")
    papers = [
        {"paper": one, "name": name, "url": url_for("pay.receipt", token=token, paper=one)}
        for one, name in (("a5", "A5"), ("58", "58 mm"))
    ]
    return render_template(
        "payments/receipt_paper.html" if paper in receipts.PAPERS else "payments/receipt.html",
        tenant=payment.tenant,
        receipt=receipts.shown(payment, invoices.of_payment(payment.id)),
        test_mode=payment.is_sandbox,
        papers=papers,
        paper=paper,
        back_url=url_for("pay.receipt", token=token),
    )


@bp.get("/<token>/calendar.ics")
def calendar(token: str) -> ResponseReturnValue:
    """The confirmed appointment for the patient's own calendar; discreet, since others may see it."""
    payment = _payment(token)
    appointment = bought(payment).appointment
    if appointment is None or appointment.status != "confirmed":
        raise NotFound(_("There is no confirmed appointment here."))
    event = Event()
    event.add("uid", f"appt-{appointment.uid}@mlango")
    event.add("dtstamp", clock.now())
    event.add("dtstart", appointment.starts_at)
    event.add("dtend", appointment.starts_at + timedelta(minutes=appointment.duration_minutes))
    event.add("summary", payment.tenant.name)
    event.add("status", "CONFIRMED")
    if url := door_url(appointment):
        event.add("url", url)
    elif appointment.place:
        event.add("location", appointment.place)
    book = Calendar()
    book.add("prodid", "-//Mlango//EN")
    book.add("version", "2.0")
    book.add("method", "PUBLISH")
    book.add_component(event)
    response = Response(book.to_ical(), mimetype="text/calendar")
    response.headers["Content-Disposition"] = 'attachment; filename="appointment.ics"'
    return response
