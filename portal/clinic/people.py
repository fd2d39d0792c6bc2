"""Patients and clinicians."""

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select

from portal.audit import chain
from portal.clinic.models import Clinician, Patient
from portal.kernel import personal
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused, Text
from portal.kernel.phone import normalise_msisdn

LONGEST_NAME = 80


def register(
    tenant_id: int,
    *,
    name: object,
    phone: object,
    email: object = None,
    user_id: int | None = None,
    actor: str,
) -> Patient:
    """A new patient. Raises Refused with every field at fault. The caller commits."""
    wrong: dict[str, Text] = {}
    shown = str(name or "").strip()
    if not shown:
        wrong["name"] = "Enter the patient's name."
    elif len(shown) > LONGEST_NAME:
        wrong["name"] = f"At most {LONGEST_NAME} characters."
    msisdn = ""
    try:
        msisdn = normalise_msisdn(phone)
    except Refused as error:
        wrong["phone"] = error.message
    address = str(email or "").strip()
    if address:
        try:
            address = validate_email(address, check_deliverability=False, test_environment=True).normalized
        except EmailNotValidError:
            wrong["email"] = "Enter an address such as amina@example.co.ke, or none."
    if wrong:
        raise Refused("The patient's details are not complete.", code="invalid_fields", fields=wrong)
    patient = Patient(
        tenant_id=tenant_id,
        user_id=user_id,
        name_sealed=personal.seal_text(shown, tenant_id),
        phone_sealed=personal.seal_phone(msisdn, tenant_id),
        phone_hash=personal.phone_hash(msisdn, tenant_id),
        email_sealed=personal.seal_text(address, tenant_id),
    )
    db.session.add(patient)
    db.session.flush()
    chain.record(tenant_id, "patient", patient.id, "registered", actor=actor)
    return patient


def patient(tenant_id: int, uid: object) -> Patient:
    """The tenant's patient. Raises NotFound."""
    found = db.session.scalars(
        select(Patient).where(Patient.tenant_id == tenant_id, Patient.uid == str(uid or ""))
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such patient here.")
    return found


def patients(tenant_id: int, limit: int = 50, before_id: int | None = None) -> list[Patient]:
    """The newest patients."""
    mine = select(Patient).where(Patient.tenant_id == tenant_id)
    if before_id:
        mine = mine.where(Patient.id < before_id)
    return list(db.session.scalars(mine.order_by(Patient.id.desc()).limit(limit)))


def clinician(tenant_id: int, uid: object) -> Clinician:
    """The tenant's clinician. Raises NotFound."""
    found = db.session.scalars(
        select(Clinician).where(Clinician.tenant_id == tenant_id, Clinician.uid == str(uid or ""))
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such clinician here.")
    return found


def add_clinician(tenant_id: int, *, name: str, title: str = "", actor: str) -> Clinician:
    """Somebody new who treats. The caller commits."""
    made = Clinician(tenant_id=tenant_id, name=" ".join(name.split()), title=" ".join(title.split()))
    db.session.add(made)
    db.session.flush()
    chain.record(tenant_id, "clinician", made.id, "added", actor=actor)
    return made


def clinicians(tenant_id: int) -> list[Clinician]:
    """Everybody who treats here, by name."""
    return list(
        db.session.scalars(
            select(Clinician)
            .where(Clinician.tenant_id == tenant_id, Clinician.left_at.is_(None))
            .order_by(Clinician.name)
        )
    )


def name_of(person: Patient) -> str:
    """The patient's name, for staff and for the patient."""
    return personal.open_text(person.name_sealed, person.tenant_id) or "Anonymised patient"
