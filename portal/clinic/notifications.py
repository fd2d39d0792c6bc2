"""What a clinic tells people, written to the outbox and the notices. No health detail: others may see it.

Decided: every text is in the tenant's own language, not in that of the request or job that causes it: a
receptionist who reads English must not send English to a clinic's Swahili-speaking patients.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from portal.clinic.models import Appointment, Clinician, Invoice
from portal.kernel import clock, personal
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.kernel.money import format_kes
from portal.notifications import notices, tell
from portal.payments.models import Payment
from portal.tenants.models import Tenant

PayUrl = Callable[[Payment], str]
VisitUrl = Callable[[Appointment], str]


def _when(appointment: Appointment) -> str:
    return clock.nairobi(appointment.starts_at).strftime("%d/%m/%Y %H:%M")


def _tell_patient(appointment: Appointment, event: str, subject: Text, text: Text) -> None:
    patient, tenant_id = appointment.patient, appointment.tenant_id
    key = f"appointment/{appointment.id}/{event}"
    is_test = appointment.invoice is not None and appointment.invoice.payment.is_sandbox
    locale = appointment.tenant.locale
    about: dict[str, Any] = {"expires_at": appointment.ends_at, "is_test": is_test, "locale": locale}
    if msisdn := personal.open_phone(patient.phone_sealed, tenant_id):
        tell.by_sms(tenant_id, key, msisdn=msisdn, text=text, **about)
    if address := personal.open_text(patient.email_sealed, tenant_id):
        tell.by_email(tenant_id, key, address=address, subject=subject, text=text, **about)
    if patient.user_id:
        tell.in_app(tenant_id, key, user_id=patient.user_id, text=text, locale=locale)


def _tell_clinician(appointment: Appointment, event: str, text: Text) -> None:
    clinician: Clinician = appointment.clinician
    if clinician.user_id:
        key = f"appointment/{appointment.id}/{event}/clinician"
        locale = appointment.tenant.locale
        tell.in_app(appointment.tenant_id, key, user_id=clinician.user_id, text=text, locale=locale)


def transaction(appointment: Appointment) -> None:
    """The clinician has something to approve (property 2)."""
    _tell_clinician(
        appointment,
        "booked",
        _("A new appointment waits for your approval: %(when)s.", when=_when(appointment)),
    )


def asked_for(appointment: Appointment, *, visit_url: str) -> None:
    """The patient learns that the clinic will answer, and where the visit is seen and changed."""
    text = _(
        "%(clinic)s will answer you about %(when)s. See or change it here: %(url)s",
        clinic=appointment.tenant.name, when=_when(appointment), url=visit_url,
    )  # fmt: skip
    _tell_patient(appointment, "asked_for", _("Your appointment"), text)


def decided(appointment: Appointment) -> None:
    """Nobody reads any more that it waits for approval."""
    notices.settle(appointment.tenant_id, f"appointment/{appointment.id}/booked/clinician")


def approved(appointment: Appointment, invoice: Invoice, *, pay_url: str) -> None:
    """The patient learns how to pay (properties 4 and 60)."""
    gateway = invoice.payment.gateway
    by_hand = (
        _("or paybill %(number)s, account %(account)s", number=gateway.shortcode, account=invoice.number)
        if gateway and gateway.sub_kind == "PAYBILL"
        else ""
    )
    text = _(
        "Your appointment on %(when)s is approved. Pay %(amount)s: %(url)s %(by_hand)s",
        when=_when(appointment),
        amount=format_kes(invoice.payment.due_cents),
        url=pay_url,
        by_hand=by_hand,
    )
    _tell_patient(appointment, "approved", _("Your appointment is approved"), text)


def declined(appointment: Appointment) -> None:
    """The patient learns that it cannot be."""
    text = _(
        "Your appointment on %(when)s cannot take place. Please ask for another time.",
        when=_when(appointment),
    )
    _tell_patient(appointment, "declined", _("About your appointment"), text)


def confirmed(appointment: Appointment, *, receipt: str | None) -> None:
    """Paid: receipt and place or link for the patient, a line for the clinician.

    Properties 25, 26, 35, 61 and 62.
    """
    where = appointment.meeting_url or appointment.place or appointment.tenant.name
    text = _(
        "Paid, M-Pesa receipt %(receipt)s. Your appointment on %(when)s is confirmed: %(where)s",
        receipt=receipt or _("to follow"), when=_when(appointment), where=where,
    )  # fmt: skip
    _tell_patient(appointment, "confirmed", _("Your appointment is confirmed"), text)
    _tell_clinician(appointment, "confirmed", _("Paid and confirmed: %(when)s.", when=_when(appointment)))


def cancelled(appointment: Appointment) -> None:
    """The patient learns that it will not be; who has paid learns that the clinic has the money still."""
    text = _("Your appointment on %(when)s is cancelled.", when=_when(appointment))
    if appointment.invoice is not None and appointment.invoice.payment.allocated_cents:
        text = _("%(text)s Your money is with the clinic, which will send it back or give you another time.", text=text)
    _tell_patient(appointment, "cancelled", _("Your appointment is cancelled"), text)


def cancelled_by_patient(appointment: Appointment) -> None:
    """The clinician learns that nobody comes."""
    _tell_clinician(
        appointment, "cancelled", _("The patient cancelled the appointment on %(when)s.", when=_when(appointment))
    )


def rescheduled(appointment: Appointment) -> None:
    """The patient and the clinician learn the new time."""
    text = _("Your appointment is moved to %(when)s.", when=_when(appointment))
    event = f"moved/{int(appointment.starts_at.timestamp())}"
    _tell_patient(appointment, event, _("Your appointment is moved"), text)
    _tell_clinician(appointment, event, _("An appointment is moved to %(when)s.", when=_when(appointment)))


def released(appointment: Appointment) -> None:
    """The patient learns that the time went to others, because it was not paid."""
    text = _(
        "Your appointment on %(when)s was not paid in time and is cancelled. Book again if you still want to come.",
        when=_when(appointment),
    )
    _tell_patient(appointment, "released", _("Your appointment is cancelled"), text)


def code(tenant: Tenant, booking_id: int, digits: str, *, msisdn: str, expires_at: datetime, locale: str) -> None:
    """The six digits that prove a phone. In the language of who books: they read it in a moment."""
    text = _(
        "%(digits)s is your code for the booking at %(clinic)s. Nobody from the clinic will ask you for it.",
        digits=digits, clinic=tenant.name,
    )  # fmt: skip
    tell.by_sms(tenant.id, f"booking/{booking_id}/code", msisdn=msisdn, text=text, locale=locale, expires_at=expires_at)
