"""Patients as the desk knows them: found by phone or name, written down, changed; families and their guardians."""

import json
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from wtforms import BooleanField, HiddenField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Optional

from portal.clinic import invoices, people
from portal.clinic.models import Appointment, Invoice, Patient
from portal.gateways import client_factory
from portal.kernel import personal, vault
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.kernel.phone import for_screens
from portal.payments.wallets import wallets
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_id
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import SEE_CLINIC, WORK_CLINIC
from portal.web.fields import PhoneField
from portal.web.language import said

MOST_SHOWN = 20


class PatientForm(StaffForm):
    """A patient's details."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    phone = PhoneField(_l("Phone"), [InputRequired(_l("Enter the phone number."))])
    email = StringField(_l("E-mail address"), [Optional(), Length(max=254)])
    language = SelectField(
        _l("Messages in"),
        choices=[
            SelectChoice("", _l("The clinic's language")),
            SelectChoice("en", "English"),
            SelectChoice("sw", "Kiswahili"),
        ],
    )
    agreed = BooleanField(
        _l("Agreed to the clinic keeping these data"), description=_l("Asked at the desk; it is written down when.")
    )
    seen = HiddenField()


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/patients", "patients", list_patients)
    bp.add_url_rule("/patients/new", "new_patient", new, methods=["GET", "POST"])
    bp.add_url_rule("/patients/<uid>", "patient", patient, methods=["GET", "POST"])
    bp.add_url_rule("/patients/<uid>/guardian", "set_guardian", set_guardian, methods=["POST"])
    bp.add_url_rule("/patients/<uid>/family", "add_to_family", add_to_family, methods=["POST"])


@needs(SEE_CLINIC, looks_at="patients")
def list_patients() -> ResponseReturnValue:
    """Patients, newest first, or those that a phone, an address or a name finds."""
    words = request.args.get("q", "").strip()[:100]
    found = people.search(g.tenant.id, words, before_id=read_id("cursor"))
    has_more = len(found) == people.PAGE_ROWS
    return render_template(
        "staff/patients.html",
        patients=[_row(one) for one in found],
        words=words,
        new_url=url_for("staff.new_patient"),
        next_url=url_for("staff.patients", q=words or None, cursor=found[-1].id) if has_more else None,
    )


def _row(one: Patient) -> dict[str, Any]:
    msisdn = personal.open_phone(one.phone_sealed, one.tenant_id)
    return {
        "name": people.name_of(one),
        "phone": for_screens(msisdn) if msisdn else "",
        "url": url_for("staff.patient", uid=one.uid),
        "has_guardian": one.guardian_id is not None,
    }


@needs(WORK_CLINIC)
def new() -> ResponseReturnValue:
    """Somebody new at the desk; who is known by this phone and name already is shown instead."""
    form = PatientForm()
    if form.validate_on_submit():
        try:
            with transaction():
                one = people.find_or_register(
                    g.tenant.id,
                    name=form.name.data,
                    phone=form.phone.msisdn,
                    email=form.email.data,
                    consent_by="desk" if form.agreed.data else "",
                    actor=actor(),
                )
                one.locale = form.language.data or one.locale
                uid = one.uid
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved."), "success")
            return redirect(url_for("staff.patient", uid=uid), 303)
    page = render_template("staff/patient_form.html", form=form, back_url=url_for("staff.patients"))
    return page, 422 if form.errors or form.form_errors else 200


def _blame(form: PatientForm, error: Refused) -> None:
    for name, sentence in error.fields.items():
        if name in form:
            form[name].errors = [*form[name].errors, said(sentence)]
    if not any(name in form for name in error.fields):
        form.form_errors.append(said(error.message))


@needs(SEE_CLINIC, looks_at="patients")
def patient(uid: str) -> ResponseReturnValue:
    """One patient: details, family, visits and invoices."""
    one = people.patient(g.tenant.id, uid)
    form = PatientForm()
    if form.validate_on_submit():
        try:
            with transaction():
                one = people.patient(g.tenant.id, uid)
                _save(one, form)
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved."), "success")
            return redirect(url_for("staff.patient", uid=uid), 303)
    elif request.method == "GET":
        form = PatientForm(data=_details(one) | {"seen": _version(one)})
    return _page(people.patient(g.tenant.id, uid), form)


def _save(one: Patient, form: PatientForm) -> None:
    """Raises Conflict where somebody saved other details since this page was made: theirs are not written over."""
    db.session.refresh(one, with_for_update=True)
    if form.seen.data and form.seen.data != _version(one):
        form.seen.data = _version(one)
        told = ", ".join(str(value) for name, value in _details(one).items() if name in ("name", "phone", "email"))
        raise Conflict(_("Somebody changed this meanwhile: %(told)s. Look at it, then save again.", told=told))
    people.change(
        one,
        name=form.name.data,
        phone=form.phone.msisdn,
        email=form.email.data,
        locale=form.language.data,
        actor=actor(),
    )
    if bool(form.agreed.data) != (one.consented_at is not None):
        people.consent(one, by="desk" if form.agreed.data else "", actor=actor())


def _version(one: Patient) -> str:
    return vault.digest(json.dumps(_details(one)))[:16]


def _details(one: Patient) -> dict[str, Any]:
    return {
        "name": people.name_of(one),
        "phone": personal.open_phone(one.phone_sealed, one.tenant_id) or "",
        "email": personal.open_text(one.email_sealed, one.tenant_id) or "",
        "language": one.locale,
        "agreed": one.consented_at is not None,
    }


def _page(one: Patient, form: PatientForm) -> ResponseReturnValue:
    guardian = db.session.get(Patient, one.guardian_id) if one.guardian_id else None
    visits = select(Appointment).where(Appointment.patient_id == one.id).order_by(Appointment.starts_at.desc())
    owed = select(Invoice).where(Invoice.patient_id == one.id).order_by(Invoice.id.desc())
    page = render_template(
        "staff/patient.html",
        form=form,
        name=people.name_of(one),
        patient=one,
        guardian=_row(guardian) if guardian else None,
        wards=[_row(ward) for ward in people.wards_of([one])],
        visits=list(db.session.scalars(visits.limit(MOST_SHOWN))),
        invoices=[
            {
                "number": bill.number,
                "amount_cents": bill.payment.amount_cents,
                "due_cents": 0 if invoices.status_of(bill) == "void" else bill.payment.due_cents,
                "status": invoices.status_of(bill),
                "url": url_for("staff.invoice", number=bill.number),
            }
            for bill in db.session.scalars(owed.limit(MOST_SHOWN))
        ],
        credit=_credit(one),
        guardian_url=url_for("staff.set_guardian", uid=one.uid),
        family_url=url_for("staff.add_to_family", uid=one.uid),
        statement_url=url_for("staff.statement", uid=one.uid),
        bill_url=url_for("staff.new_invoice", patient=one.uid),
        back_url=url_for("staff.patients"),
    )
    return page, 422 if form.errors or form.form_errors else 200


def _credit(one: Patient) -> dict[str, Any] | None:
    """What the clinic keeps for this patient's phone, and where it is used; None where that is nothing."""
    msisdn = personal.open_phone(one.phone_sealed, one.tenant_id)
    customer = wallets.find_by_phone(one.tenant_id, msisdn) if msisdn else None
    if customer is None:
        return None
    kept_cents = wallets.balance_cents(customer, client_factory.environment_of(one.tenant_id))
    return (
        {"cents": kept_cents, "url": url_for("staff.customers", q=customer.account_number)} if kept_cents > 0 else None
    )


@needs(WORK_CLINIC)
def set_guardian(uid: str) -> ResponseReturnValue:
    """Who books and pays for this patient: found by phone and, where a family shares it, by name."""

    def work() -> str:
        one = people.patient(g.tenant.id, uid)
        words = request.form.get("guardian", "").strip()
        if not words:
            people.set_guardian(one, None, actor=actor())
            return _("This patient books and pays alone now.")
        found = [other for other in people.search(g.tenant.id, words) if other.id != one.id and not other.guardian_id]
        if len(found) != 1:
            raise Refused(
                _("Nobody is found by that. Write their phone number, or register them first.")
                if not found
                else _("Several people are found by that. Write the guardian's whole name.")
            )
        people.set_guardian(one, found[0], actor=actor())
        return _("Saved. %(name)s books and pays for this patient.", name=people.name_of(found[0]))

    return buttons.do(work, then=url_for("staff.patient", uid=uid))


@needs(WORK_CLINIC)
def add_to_family(uid: str) -> ResponseReturnValue:
    """A child, or somebody else for whom this patient books and pays."""

    def work() -> str:
        one = people.patient(g.tenant.id, uid)
        people.add_ward(one, name=request.form.get("name", ""), consent_by="desk", actor=actor())
        return _("Added to the family.")

    return buttons.do(work, then=url_for("staff.patient", uid=uid))
