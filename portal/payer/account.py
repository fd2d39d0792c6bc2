"""A patient's own page: appointments, invoices, what to pay and what was paid."""

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import select

from portal.clinic.models import Appointment, Invoice, Patient
from portal.fulfilment import receipt_of
from portal.kernel.db import db
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.tenants.models import Tenant
from portal.web.links import door_url
from portal.web.signin import ask_to_sign_in, keep_session

bp = Blueprint("account", __name__, url_prefix="/account")


@bp.before_request
def let_in() -> ResponseReturnValue | None:
    """Signed in, or the sign-in page."""
    if not current_user.is_authenticated:
        return ask_to_sign_in()
    keep_session()
    return None


@bp.get("/")
def home() -> ResponseReturnValue:
    """Everything of this person, newest first; nobody else's."""
    mine = select(Patient.id, Patient.tenant_id).where(Patient.user_id == current_user.id)
    found = db.session.execute(mine).all()
    if not found:
        return redirect(url_for("home"), 302)
    patients, clinics = [row.id for row in found], {row.tenant_id for row in found}
    visits = db.session.scalars(
        select(Appointment).where(Appointment.patient_id.in_(patients)).order_by(Appointment.starts_at.desc()).limit(50)
    )
    owed = db.session.scalars(
        select(Invoice).join(Payment).where(Invoice.patient_id.in_(patients)).order_by(Invoice.id.desc()).limit(50)
    ).all()
    return render_template(
        "accounts/home.html",
        appointments=[_visit(one) for one in visits],
        invoices=[
            {
                "number": one.number,
                "amount_cents": one.payment.amount_cents,
                "due_cents": 0 if one.voided_at else one.payment.due_cents,
                "receipt": receipt_of(one.payment),
                "status": "paid" if one.payment.state == PaymentState.PAID else "void" if one.voided_at else "due",
                "url": url_for("pay.show", token=one.payment.token),
            }
            for one in owed
        ],
        tenant=db.session.get_one(Tenant, clinics.pop()) if len(clinics) == 1 else None,
        test_mode=any(one.payment.is_sandbox for one in owed),
    )


def _visit(one: Appointment) -> dict[str, object]:
    payment = one.invoice.payment if one.invoice else None
    return {
        "starts_at": one.starts_at,
        "clinician": one.clinician.name,
        "kind": one.kind,
        "status": one.status,
        "place": one.place,
        "join_url": door_url(one),
        "pay_url": url_for("pay.show", token=payment.token) if payment and payment.state == PaymentState.OPEN else None,
        "due_cents": payment.due_cents if payment else 0,
    }
