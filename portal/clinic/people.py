"""Patients and clinicians."""

from collections.abc import Sequence
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import ColumnElement, and_, delete, select

from portal.audit import chain
from portal.clinic.models import Clinician, Patient, PatientWord
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.phone import normalise_msisdn
from portal.users.models import Membership

LONGEST_NAME = 80
MOST_OF_PHONE, MOST_WORDS, PAGE_ROWS = 20, 5, 50


@dataclass(frozen=True)
class Details:
    """A patient's details, read and whole. msisdn and email: "" where there is none."""

    name: str
    msisdn: str
    email: str


def read_details(*, name: object, phone: object, email: object = None) -> Details:
    """A patient's details as they were typed. Raises Refused with every field at fault."""
    wrong: dict[str, Text] = {}
    shown = " ".join(str(name or "").split())
    if not shown:
        wrong["name"] = _("Enter the patient's name.")
    elif len(shown) > LONGEST_NAME:
        wrong["name"] = _("At most %(count)s characters.", count=LONGEST_NAME)
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
            wrong["email"] = _("Enter an address such as amina@example.co.ke, or none.")
    if wrong:
        raise Refused(_("The patient's details are not complete."), code="invalid_fields", fields=wrong)
    return Details(shown, msisdn, address)


def register(
    tenant_id: int,
    *,
    name: object,
    phone: object,
    email: object = None,
    user_id: int | None = None,
    guardian: Patient | None = None,
    consent_by: str = "",
    locale: str = "",
    actor: str,
) -> Patient:
    """A new patient. Raises Refused with every field at fault. The caller commits.

    guardian: who books and pays for them. consent_by: how they, or their guardian, agreed: page or desk; "": not yet.
    """
    details = read_details(name=name, phone=phone, email=email)
    patient = Patient(tenant_id=tenant_id, user_id=user_id, locale=locale, **_columns(details, tenant_id))
    if guardian is not None:
        patient.guardian_id = guardian.id
    if consent_by:
        patient.consented_at, patient.consent_by = clock.now(), consent_by
    db.session.add(patient)
    db.session.flush()
    _name_words(patient, details.name)
    chain.record(tenant_id, "patient", patient.id, "registered", actor=actor)
    return patient


def add_ward(guardian: Patient, *, name: object, consent_by: str, actor: str) -> Patient:
    """Somebody for whom this patient books and pays; who is there by this name already is nobody new.

    The caller commits. Raises Refused for no name, and for more than a phone's people can be.
    """
    locked = (
        select(Patient).where(Patient.id == guardian.id).with_for_update().execution_options(populate_existing=True)
    )
    guardian = db.session.scalars(locked).one()
    if guardian.guardian_id is not None:
        raise Refused(_("A guardian has no guardian of their own. Choose another person."))
    wards, called = wards_of([guardian]), " ".join(str(name or "").split()).casefold()
    if (known := next((one for one in wards if name_of(one).casefold() == called), None)) is not None:
        return known
    if len(wards) >= MOST_OF_PHONE:
        raise Refused(_("One person books and pays for at most %(count)s others.", count=MOST_OF_PHONE))
    return register(
        guardian.tenant_id, name=name, phone=personal.open_phone(guardian.phone_sealed, guardian.tenant_id),
        guardian=guardian, consent_by=consent_by, locale=guardian.locale, actor=actor,
    )  # fmt: skip


def _columns(details: Details, tenant_id: int) -> dict[str, str | None]:
    return {
        "name_sealed": personal.seal_text(details.name, tenant_id),
        "phone_sealed": personal.seal_phone(details.msisdn, tenant_id),
        "phone_hash": personal.phone_hash(details.msisdn, tenant_id),
        "email_sealed": personal.seal_text(details.email, tenant_id),
        "email_hash": personal.email_hash(details.email, tenant_id) if details.email else None,
    }


def _name_words(patient: Patient, name: str) -> None:
    """Let the patient be found by the words of this name, and by no other."""
    db.session.execute(delete(PatientWord).where(PatientWord.patient_id == patient.id))
    hashes = sorted(personal.word_hashes(name, patient.tenant_id))
    db.session.add_all(PatientWord(tenant_id=patient.tenant_id, patient_id=patient.id, word_hash=one) for one in hashes)
    db.session.flush()


def change(patient: Patient, *, name: object, phone: object, email: object, locale: str, actor: str) -> None:
    """New details. Raises Refused with every field at fault. The caller commits.

    Whoever is signed in by the phone or the address before sees this patient no more.
    """
    details = read_details(name=name, phone=phone, email=email)
    for column, value in _columns(details, patient.tenant_id).items():
        setattr(patient, column, value)
    patient.locale = locale
    _name_words(patient, details.name)
    chain.record(patient.tenant_id, "patient", patient.id, "changed", actor=actor)


def set_guardian(patient: Patient, guardian: Patient | None, *, actor: str) -> None:
    """Who books and pays for this patient from now on; None: they do so themselves. The caller commits.

    Raises Refused for oneself and for a circle: whoever has a guardian is nobody's guardian.
    """
    if guardian is not None:
        if guardian.tenant_id != patient.tenant_id:
            raise NotFound(_("There is no such patient here."))
        if guardian.id == patient.id or guardian.guardian_id is not None or wards_of([patient]):
            raise Refused(_("A guardian has no guardian of their own. Choose another person."), code="invalid_guardian")
    patient.guardian_id = guardian.id if guardian else None
    new = str(guardian.id) if guardian else ""
    chain.record(patient.tenant_id, "patient", patient.id, "guardian_set", actor=actor, new=new)


def wards_of(guardians: Sequence[Patient]) -> list[Patient]:
    """Whom these book and pay for."""
    if not guardians:
        return []
    theirs = select(Patient).where(Patient.guardian_id.in_([one.id for one in guardians]), Patient.erased_at.is_(None))
    return list(db.session.scalars(theirs.order_by(Patient.id)))


def consent(patient: Patient, *, by: str, actor: str) -> None:
    """They agreed to the clinic keeping their data, or took it back (by: ""). The caller commits."""
    patient.consented_at, patient.consent_by = (clock.now(), by) if by else (None, "")
    chain.record(patient.tenant_id, "patient", patient.id, "consented" if by else "consent_withdrawn", actor=actor)


def of_phone(tenant_id: int, phone_hash: str) -> list[Patient]:
    """The people who share this phone, as families do."""
    mine = select(Patient).where(Patient.tenant_id == tenant_id, Patient.phone_hash == phone_hash)
    return list(db.session.scalars(mine.where(Patient.erased_at.is_(None)).order_by(Patient.id).limit(MOST_OF_PHONE)))


def of_email(tenant_id: int, email_hash: str) -> list[Patient]:
    """The people who share this address."""
    mine = select(Patient).where(Patient.tenant_id == tenant_id, Patient.email_hash == email_hash)
    return list(db.session.scalars(mine.where(Patient.erased_at.is_(None)).order_by(Patient.id).limit(MOST_OF_PHONE)))


def find_or_register(
    tenant_id: int, *, name: object, phone: object, email: object = None, consent_by: str = "", actor: str
) -> Patient:
    """The patient of this phone and name, or a new one. Raises Refused with every field at fault. The caller commits.

    Phone and name together: families share a phone.
    """
    details = read_details(name=name, phone=phone, email=email)
    for known in of_phone(tenant_id, personal.phone_hash(details.msisdn, tenant_id)):
        if name_of(known).casefold() == details.name.casefold():
            if consent_by and known.consented_at is None:
                consent(known, by=consent_by, actor=actor)
            return known
    return register(
        tenant_id, name=details.name, phone=details.msisdn, email=details.email, consent_by=consent_by, actor=actor
    )


def search(tenant_id: int, words: str, *, before_id: int | None = None) -> list[Patient]:
    """Patients, newest first, by a phone, an e-mail address or the words of a name; all of them without any."""
    found = select(Patient).where(Patient.tenant_id == tenant_id, Patient.erased_at.is_(None))
    if words.strip():
        found = found.where(_is_called(tenant_id, words.strip()))
    if before_id is not None:
        found = found.where(Patient.id < before_id)
    return list(db.session.scalars(found.order_by(Patient.id.desc()).limit(PAGE_ROWS)))


def _is_called(tenant_id: int, words: str) -> ColumnElement[bool]:
    if "@" in words:
        return Patient.email_hash == personal.email_hash(words, tenant_id)
    try:
        return Patient.phone_hash == personal.phone_hash(normalise_msisdn(words), tenant_id)
    except Refused:
        hashes = sorted(personal.word_hashes(words, tenant_id))[:MOST_WORDS]
    named = [
        Patient.id.in_(
            select(PatientWord.patient_id).where(PatientWord.tenant_id == tenant_id, PatientWord.word_hash == one)
        )
        for one in hashes
    ]
    return and_(*named)


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


def sign_in_as(clinician: Clinician, user_id: int | None, *, actor: str) -> None:
    """Whose sign-in this clinician's is: theirs are the notices and the day. The caller commits.

    Raises Refused for who is no clinician here, and for a sign-in that another clinician has.
    """
    if user_id is not None:
        mine = select(Membership.id).where(
            Membership.tenant_id == clinician.tenant_id,
            Membership.user_id == user_id,
            Membership.role.in_(("clinician", "tenant_admin")),
            Membership.deactivated_at.is_(None),
        )
        if db.session.scalar(mine) is None:
            raise Refused(_("Choose somebody who signs in here as a clinician."))
        other = select(Clinician.id).where(
            Clinician.tenant_id == clinician.tenant_id, Clinician.user_id == user_id, Clinician.id != clinician.id
        )
        if db.session.scalar(other.where(Clinician.left_at.is_(None)).limit(1)) is not None:
            raise Refused(_("Another clinician has this sign-in already."))
    clinician.user_id = user_id
    chain.record(clinician.tenant_id, "clinician", clinician.id, "sign_in_set", actor=actor, new=str(user_id or ""))


def leave(person: Clinician, *, actor: str) -> None:
    """They work here no more: nothing is booked with them; what is booked stays, for staff to move (`visits_left`).

    The caller commits. Raises Conflict where they left already.
    """
    if person.left_at is not None:
        raise Conflict(_("This clinician has left already."))
    person.left_at = clock.now()
    chain.record(person.tenant_id, "clinician", person.id, "left", actor=actor)


def come_back(person: Clinician, *, actor: str) -> None:
    """They work here again. The caller commits."""
    person.left_at = None
    chain.record(person.tenant_id, "clinician", person.id, "came_back", actor=actor)


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


def remind_at(clinician: Clinician, msisdn: str | None) -> None:
    """Where this clinician is reminded of visits; None: nowhere. The caller commits."""
    clinician.phone_sealed = personal.seal_phone(msisdn, clinician.tenant_id) if msisdn else None
