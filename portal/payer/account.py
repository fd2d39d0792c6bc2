"""A patient's own pages: what is coming, what is to pay and was paid, the family, and how they are told.

Decided: a patient comes in by a code to phone or e-mail (`patient_sign_in`), or with a password if they chose one; both
see the same pages.
"""

from datetime import timedelta
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy import select
from wtforms import BooleanField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length

from portal.clinic import patient_access, people
from portal.clinic.models import Appointment, Invoice, Patient
from portal.fulfilment import receipt_of
from portal.gateways import client_factory
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.notifications import notices, quiet
from portal.payer import patient_sign_in
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.tenants.models import Tenant
from portal.users.permissions import Forbidden
from portal.web import statements
from portal.web.language import said
from portal.web.links import door_url
from portal.web.signin import ask_to_sign_in, keep_session

bp = Blueprint("account", __name__, url_prefix="/account")
MOST_SHOWN = 50


class MemberForm(FlaskForm):
    """A child, or somebody else whom this patient pays for."""

    name = StringField(_l("Their name"), [InputRequired(_l("Enter the name.")), Length(max=80)])


class SettingsForm(FlaskForm):
    """How this patient is told."""

    language = SelectField(_l("Messages in"), choices=[SelectChoice("en", "English"), SelectChoice("sw", "Kiswahili")])
    is_reminded = BooleanField(_l("Remind me before a visit"))


@bp.before_request
def let_in() -> ResponseReturnValue | None:
    """Signed in by code or password, or the sign-in page."""
    g.patients = _seen()
    if g.patients:
        return None
    if current_user.is_authenticated:
        keep_session()
        return redirect(url_for("home"), 302)
    if slug := session.get("clinic"):
        return redirect(url_for("patients.sign_in", slug=slug), 302)
    return ask_to_sign_in()


def _seen() -> list[Patient]:
    """Whom this browser may see."""
    if current_user.is_authenticated:
        keep_session()
        if mine := patient_access.of_user(current_user.id):
            return mine
    sign_in = patient_access.of_session(session.get(patient_sign_in.SESSION, ""))
    return patient_access.seen_by(sign_in) if sign_in is not None else []


@bp.context_processor
def around() -> dict[str, Any]:
    """What every page of the account shows around its content."""
    if not g.get("patients"):
        return {}
    urls = {"list_url": url_for("account.list_notices"), "ring_url": url_for("account.ring")}
    return {"bell": notices.bell(_whose()), **urls}


def _clinic() -> Tenant | None:
    """Theirs, where there is one alone."""
    clinics = {one.tenant_id for one in g.patients}
    return db.session.get_one(Tenant, clinics.pop()) if len(clinics) == 1 else None


def _whose() -> notices.Whose:
    return notices.of_patients([one.id for one in g.patients])


@bp.get("/statement")
def statement() -> ResponseReturnValue:
    """What was charged, paid and sent back, of each of these people."""
    return render_template(
        "accounts/statement.html",
        shown=[
            {
                "name": people.name_of(one),
                "statement": _statement(one),
                "csv_url": url_for("account.statement_csv", patient=one.uid),
            }
            for one in g.patients
        ],
        back_url=url_for("account.home"),
    )


def _statement(one: Patient) -> statements.Shown:
    return statements.of_patient(one, environment=client_factory.environment_of(one.tenant_id, "clinic"))


@bp.get("/statement.csv")
def statement_csv() -> ResponseReturnValue:
    """The same lines of one of them as a file."""
    for one in g.patients:
        if one.uid == request.args.get("patient"):
            return statements.csv(_statement(one))
    raise NotFound(_("There is no such patient here."))


@bp.get("/notices")
def list_notices() -> ResponseReturnValue:
    """What these people were told, the newest first."""
    return render_template(
        "accounts/notices.html",
        items=notices.latest(_whose()),
        read_url=url_for("account.put_away"),
        back_url=url_for("account.home"),
        tenant=_clinic(),
        test_mode=any(client_factory.environment_of(one.tenant_id) == "sandbox" for one in g.patients),
    )


@bp.post("/notices/read")
def put_away() -> ResponseReturnValue:
    """They have read what stood there."""
    last = request.form.get("last", "")
    if last.isascii() and last.isdecimal() and len(last) < 19:
        with transaction():
            notices.read_all(_whose(), int(last))
    return redirect(url_for("account.list_notices"), 303)


@bp.get("/bell")
def ring() -> ResponseReturnValue:
    """The bell anew, or 204 where nothing was told since."""
    if "HX-Request" not in request.headers:
        return redirect(url_for("account.list_notices"), 302)
    if request.args.get("v") == notices.bell(_whose()).version:
        return "", 204
    return render_template("_bell.html")


@bp.get("/")
def home() -> ResponseReturnValue:
    """Everything of these people, what is coming first; nobody else's."""
    patients: list[Patient] = g.patients
    ids, clinics = [one.id for one in patients], {one.tenant_id for one in patients}
    names = {one.id: people.name_of(one) for one in patients}
    mine = select(Appointment).where(Appointment.patient_id.in_(ids))
    day_ago = clock.now() - timedelta(days=1)
    coming = mine.where(Appointment.starts_at >= day_ago).order_by(Appointment.starts_at).limit(MOST_SHOWN)
    before = mine.where(Appointment.starts_at < day_ago).order_by(Appointment.starts_at.desc()).limit(MOST_SHOWN)
    owed = db.session.scalars(
        select(Invoice).join(Payment).where(Invoice.patient_id.in_(ids)).order_by(Invoice.id.desc()).limit(MOST_SHOWN)
    ).all()
    tenant = db.session.get_one(Tenant, clinics.pop()) if len(clinics) == 1 else None
    first = patients[0]
    return render_template(
        "accounts/home.html",
        appointments=[_visit(one, names) for one in db.session.scalars(coming)],
        earlier=[_visit(one, names) for one in db.session.scalars(before)],
        invoices=[_invoice(one) for one in owed],
        tenant=tenant,
        people=[{"name": names[one.id], "is_ward": one.guardian_id is not None} for one in patients],
        member_form=MemberForm(formdata=None),
        settings_form=SettingsForm(formdata=None, data=_told(first)),
        book_url=url_for("clinic.front", slug=tenant.slug) if tenant else None,
        leave_url=url_for("patients.leave", slug=tenant.slug) if tenant and not current_user.is_authenticated else None,
        test_mode=any(one.payment.is_sandbox for one in owed),
    )


def _told(patient: Patient) -> dict[str, Any]:
    tenant = db.session.get_one(Tenant, patient.tenant_id)
    is_quiet = quiet.is_quiet(patient.tenant_id, patient.phone_hash)
    return {"language": patient.locale or tenant.locale, "is_reminded": not is_quiet}


def _visit(one: Appointment, names: dict[int, str]) -> dict[str, object]:
    payment = one.invoice.payment if one.invoice else None
    may_pay = payment is not None and payment.state == PaymentState.OPEN and one.status not in ("cancelled", "declined")
    return {
        "starts_at": one.starts_at,
        "who": names[one.patient_id] if len(names) > 1 else "",
        "clinician": one.clinician.name,
        "kind": one.kind,
        "status": one.status,
        "place": one.place,
        "join_url": door_url(one),
        "url": url_for("booking.visit", token=one.token),
        "pay_url": url_for("pay.show", token=payment.token) if payment and may_pay else None,
        "calendar_url": url_for("pay.calendar", token=payment.token) if payment and one.status == "confirmed" else None,
        "due_cents": payment.due_cents if payment else 0,
    }


def _invoice(one: Invoice) -> dict[str, object]:
    return {
        "number": one.number,
        "amount_cents": one.payment.amount_cents,
        "due_cents": 0 if one.voided_at else one.payment.due_cents,
        "receipt": receipt_of(one.payment),
        "status": "paid" if one.payment.state == PaymentState.PAID else "void" if one.voided_at else "due",
        "url": url_for("pay.show", token=one.payment.token),
    }


@bp.post("/people")
def add_member() -> ResponseReturnValue:
    """A child, or somebody else whom this patient books and pays for."""
    form = MemberForm()
    guardian = next((one for one in g.patients if one.guardian_id is None), None)
    if guardian is None:
        raise Forbidden(_("Ask the clinic to add somebody."))
    if form.validate_on_submit():
        try:
            with transaction():
                people.add_ward(guardian, name=form.name.data, consent_by="page", actor="patient")
        except Refused as error:
            flash(said(error.message), "danger")
        else:
            flash(_("Added. You can book for them now."), "success")
    else:
        flash(" ".join(str(error) for errors in form.errors.values() for error in errors), "danger")
    return redirect(url_for("account.home"), 303)


@bp.post("/settings")
def settings() -> ResponseReturnValue:
    """The language of messages, and whether reminders are wanted."""
    form = SettingsForm()
    if form.validate_on_submit():
        with transaction():
            for uid in [one.uid for one in g.patients]:
                one = db.session.scalars(select(Patient).where(Patient.uid == uid)).one()
                one.locale = form.language.data
                if one.phone_hash:
                    quiet.set_quiet(one.tenant_id, one.phone_hash, is_quiet=not form.is_reminded.data)
        flash(_("Saved."), "success")
    return redirect(url_for("account.home"), 303)
