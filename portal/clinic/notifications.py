"""What a clinic tells people, written to the outbox and the notices. No health detail: others may see it.

Decided: patients are told in their own language, and where that is not known in the clinic's; never in that of the
request or job that causes it: a receptionist who reads English must not send English to a Swahili-speaking patient.
Decided: a child's guardian is told where the child has no phone or address of its own.
Each event of EVENTS is told once for each visit and change: its key has the visit's `calendar_sequence` where it can
come again. A clinic may have words of its own for each (`portal.notifications.wording`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select

from portal.clinic.models import Appointment, Clinician, Invoice, Patient
from portal.kernel import clock, personal, vault
from portal.kernel.db import db
from portal.kernel.errors import Refused, Sentence, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.money import format_kes
from portal.notifications import calendar, live, notices, quiet, tell, wording
from portal.outbox import write
from portal.payments.models import Payment
from portal.tenants.models import Tenant
from portal.users.models import Membership, User

PayUrl = Callable[[Payment], str]
VisitUrl = Callable[[Appointment], str]
FAILURE_IS_NEWS_FOR = timedelta(hours=1)
LONGEST_WHY = 160
DESK = ("receptionist", "tenant_admin")


@dataclass(frozen=True)
class Event:
    """Something that patients are told. text: with all names that a clinic's own words may use beside COMMON.

    needed: names without which nobody can act on the message.
    """

    title: Sentence
    subject: Sentence
    text: Sentence
    needed: frozenset[str] = frozenset()


COMMON = frozenset({"clinic", "when", "date", "time", "where", "phone"})
EVENTS = {
    "asked_for": Event(
        _("Asked for a visit"),
        _("Your appointment"),
        _("%(clinic)s will answer you about %(when)s. See or change it here: %(url)s"),
        frozenset({"url"}),
    ),
    "approved": Event(
        _("Approved, to be paid"),
        _("Your appointment is approved"),
        _("Your appointment on %(when)s is approved. Pay %(amount)s: %(url)s %(by_hand)s"),
        frozenset({"url", "amount"}),
    ),
    "declined": Event(
        _("Declined"),
        _("About your appointment"),
        _("Your appointment on %(when)s cannot take place. %(why)s Please ask for another time."),
    ),
    "confirmed": Event(
        _("Paid and confirmed"),
        _("Your appointment is confirmed"),
        _("Paid, M-Pesa receipt %(receipt)s. Your appointment on %(when)s is confirmed: %(where)s"),
        frozenset({"when"}),
    ),
    "paid_rest": Event(
        _("The rest is paid"),
        _("Your payment"),
        _("Paid in full, M-Pesa receipt %(receipt)s. %(clinic)s expects you on %(when)s: %(where)s"),
        frozenset({"receipt"}),
    ),
    "failed": Event(
        _("The payment failed"),
        _("Your payment did not go through"),
        _("Your payment of %(amount)s did not go through: %(why)s Try again: %(url)s"),
        frozenset({"url"}),
    ),
    "refunded": Event(
        _("Money sent back"),
        _("Your money was sent back"),
        _("%(clinic)s sent you %(amount)s back by M-Pesa, receipt %(receipt)s."),
        frozenset({"amount"}),
    ),
    "cancelled": Event(
        _("Cancelled"),
        _("Your appointment is cancelled"),
        _("Your appointment on %(when)s is cancelled. %(money)s"),
    ),
    "offered": Event(
        _("A time that got free, from the waiting list"),
        _("A time is free"),
        _("A time got free at %(clinic)s: %(when)s. It is yours if you pay %(amount)s by %(until)s: %(url)s"),
        frozenset({"url", "when"}),
    ),
    "missed": Event(
        _("Missed"),
        _("About your appointment"),
        _("You missed your appointment on %(when)s. %(money)s"),
    ),
    "late_money": Event(
        _("Paid when the time had gone"),
        _("About your appointment"),
        _("Your %(amount)s came when your time had been given up. Choose another time, or have it back: %(url)s"),
        frozenset({"url"}),
    ),
    "released": Event(
        _("Not paid in time"),
        _("Your appointment is cancelled"),
        _("Your appointment on %(when)s was not paid in time and is cancelled. Book again if you still want to come."),
    ),
    "moved": Event(
        _("Moved"), _("Your appointment is moved"), _("Your appointment is moved to %(when)s."), frozenset({"when"})
    ),
    "remind_day": Event(
        _("Reminder, a day before"),
        _("Your appointment tomorrow"),
        _("Reminder: %(clinic)s expects you on %(when)s. %(reply)s %(where)s"),
        frozenset({"when"}),
    ),
    "remind_hour": Event(
        _("Reminder, an hour before"),
        _("Your appointment in an hour"),
        _("Reminder: %(clinic)s expects you today at %(time)s: %(where)s"),
        frozenset({"time"}),
    ),
}
ONCE = ("asked_for", "approved", "confirmed")  # pointless once the visit is off
CHANGING = ("moved", "remind_day", "remind_hour")  # told anew after each change
AGAIN = ("confirmed", "cancelled")  # told anew where a visit stands again, for money that came late


def names_of(event: str) -> frozenset[str]:
    """What a clinic's own words for this event may name."""
    return COMMON | wording.names_in(wording.in_braces(EVENTS[event].text, "en"))


def when(appointment: Appointment) -> str:
    """Its beginning on the clinic's clock, the same in every language."""
    return clock.nairobi(appointment.starts_at).strftime("%d/%m/%Y %H:%M")


def _values(appointment: Appointment) -> dict[str, Text]:
    tenant, begins = appointment.tenant, clock.nairobi(appointment.starts_at)
    return {
        "clinic": tenant.name,
        "when": when(appointment),
        "date": f"{begins:%d/%m/%Y}",
        "time": f"{begins:%H:%M}",
        "where": appointment.meeting_url or appointment.place or tenant.name,
        "phone": tenant.help_phone,
    }


def said(event: str, **values: object) -> Sentence:
    """The event's sentence with these values; what the clinic's own words may use more than ours is among them."""
    return Sentence(EVENTS[event].text.template, **values)


@dataclass(frozen=True)
class Contact:
    """How a patient is reached: their own, or their guardian's."""

    msisdn: str | None
    address: str | None
    phone_hash: str | None
    locale: str


def contact_of(patient: Patient, tenant: Tenant) -> Contact:
    """Whom to tell what concerns this patient."""
    msisdn, address = _phone(patient), _address(patient)
    guardian = db.session.get(Patient, patient.guardian_id) if patient.guardian_id else None
    if guardian is None:
        return Contact(msisdn, address, patient.phone_hash, patient.locale or tenant.locale)
    return Contact(
        msisdn or _phone(guardian),
        address or _address(guardian),
        patient.phone_hash or guardian.phone_hash,
        patient.locale or guardian.locale or tenant.locale,
    )


def _phone(patient: Patient) -> str | None:
    return personal.open_phone(patient.phone_sealed, patient.tenant_id)


def _address(patient: Patient) -> str | None:
    return personal.open_text(patient.email_sealed, patient.tenant_id)


def _foot(tenant: Tenant) -> str:
    return "\n".join(line for line in (tenant.name, tenant.address, tenant.help_phone) if line)


def entry_of(appointment: Appointment) -> calendar.Entry:
    """The visit for a calendar: under the clinic's name and nothing else, since others may see it."""
    return calendar.Entry(
        uid=f"appt-{appointment.uid}@mlango",
        sequence=appointment.calendar_sequence,
        starts_at=appointment.starts_at,
        ends_at=appointment.ends_at,
        summary=appointment.tenant.name,
        place="" if appointment.meeting_url else appointment.place,
        url=appointment.meeting_url or "",
    )


def _key(appointment: Appointment, event: str) -> str:
    return f"appointment/{appointment.id}/{event}{_change(appointment.calendar_sequence, event)}"


def _change(sequence: int, event: str) -> str:
    return f"/{sequence}" if event in CHANGING or (event in AGAIN and sequence) else ""


def _tell_patient(
    appointment: Appointment,
    event: str,
    *,
    key: str = "",
    expires_at: datetime | None = None,
    method: str = "",
    has_notice: bool = True,
    notice_url: str = "",
    **values: Text,
) -> bool:
    """By SMS, e-mail and inside the product; whether any of it was new. method: of the calendar file that it brings."""
    tenant = appointment.tenant
    to, key = contact_of(appointment.patient, tenant), key or _key(appointment, event)
    text = said(event, **_values(appointment) | values)
    about: dict[str, Any] = {
        "expires_at": expires_at or appointment.ends_at, "is_test": _is_test(appointment), "locale": to.locale,
        "event": event,
    }  # fmt: skip
    told = []
    if to.msisdn:
        told.append(tell.by_sms(tenant.id, key, msisdn=to.msisdn, text=text, **about))
    if to.address:
        told.append(tell.by_letter(tenant.id, key, _letter(appointment, event, to, text, method), **about))
    if has_notice:
        told.append(_notice(appointment, key, text, to.locale, url=notice_url))
    return any(told)


def _notice(appointment: Appointment, key: str, text: Text, locale: str, *, url: str = "") -> bool:
    """Inside the product, on the pages of the patient and of who acts for them."""
    return tell.in_app(
        appointment.tenant_id, key, patient_id=appointment.patient_id, text=text, locale=locale,
        url=url or f"/visit/{appointment.token}",
    )  # fmt: skip


def _is_test(appointment: Appointment) -> bool:
    return appointment.invoice is not None and appointment.invoice.payment.is_sandbox


def _letter(appointment: Appointment, event: str, to: Contact, text: Text, method: str = "") -> tell.Letter:
    tenant = appointment.tenant
    card = entry_of(appointment).as_payload(method) if method else None
    return tell.Letter(
        to.address or "", EVENTS[event].subject, text, foot=_foot(tenant), sender=tenant.name, calendar=card
    )


def _tell_clinician(appointment: Appointment, event: str, text: Text, *, is_mailed: bool = False) -> None:
    clinician: Clinician = appointment.clinician
    if not clinician.user_id:
        return
    tenant = appointment.tenant
    key = f"appointment/{appointment.id}/{event}/clinician"
    tell.in_app(
        tenant.id, key, user_id=clinician.user_id, text=text, locale=tenant.locale, url="/staff/appointments"
    )  # fmt: skip
    if is_mailed and (user := db.session.get(User, clinician.user_id)) is not None:
        letter = tell.Letter(user.email, _("An appointment"), text, foot=_foot(tenant), sender=tenant.name)
        tell.by_letter(tenant.id, key, letter, locale=tenant.locale, expires_at=appointment.ends_at)


def tell_desk(tenant: Tenant, key: str, text: Text, *, url: str) -> None:
    """Whoever works at the desk reads it inside the product."""
    team = select(Membership.user_id).where(
        Membership.tenant_id == tenant.id, Membership.role.in_(DESK), Membership.deactivated_at.is_(None)
    )
    for user_id in db.session.scalars(team):
        tell.in_app(tenant.id, f"{key}/{user_id}", user_id=user_id, text=text, locale=tenant.locale, url=url)


def channels_of(appointment: Appointment) -> list[str]:
    """Where it is heard live that something became of this visit."""
    tenant_id = appointment.tenant_id
    return [f"clinic:{tenant_id}", f"patient:{appointment.patient.uid}", f"appointment:{appointment.uid}"]


def _live(appointment: Appointment, event: str, **facts: Any) -> None:
    live.tell(
        channels_of(appointment), event, appointmentId=appointment.uid, status=appointment.public_status,
        startsAt=clock.rfc3339(appointment.starts_at), **facts,
    )  # fmt: skip


def _drop(appointment: Appointment, events: tuple[str, ...], why: str) -> None:
    """What was not sent yet is not sent any more."""
    keys = {
        f"{channel}/appointment/{appointment.id}/{event}{_change(sequence, event)}"
        for channel in ("sms", "email")
        for event in events
        for sequence in range(appointment.calendar_sequence + 1)
    }
    write.withdraw(appointment.tenant_id, sorted(keys), why=why)


def booked(appointment: Appointment) -> None:
    """The clinician has something to approve (property 2)."""
    text = _("A new appointment waits for your approval: %(when)s.", when=when(appointment))
    _tell_clinician(appointment, "booked", text, is_mailed=True)


def asked_for(appointment: Appointment, *, visit_url: str, when_shown: Text = "") -> None:
    """The patient learns that the clinic will answer, and where the visit is seen and changed.

    when_shown: of several visits that were booked in one go; else its own beginning.
    """
    _tell_patient(appointment, "asked_for", url=visit_url, when=when_shown or when(appointment))


def decided(appointment: Appointment, *, actor: str) -> None:
    """Nobody reads any more that it waits for approval; of what others approved as it was booked the clinician is told.

    actor: who decided, as the audit names them.
    """
    key = f"appointment/{appointment.id}/booked/clinician"
    notices.settle(appointment.tenant_id, key)
    was_unsent = write.withdraw(appointment.tenant_id, [f"email/{key}"], why="It was decided before.")
    is_own = actor == f"user:{appointment.clinician.user_id}"
    if was_unsent and appointment.status == "approved" and not is_own:
        text = _("A new appointment: %(when)s.", when=when(appointment))
        _tell_clinician(appointment, "booked_for_them", text, is_mailed=True)


def approved(appointment: Appointment, invoice: Invoice, *, pay_url: str) -> None:
    """The patient learns how to pay (properties 4 and 60)."""
    gateway = invoice.payment.gateway
    by_hand: Text = (
        _("or paybill %(number)s, account %(account)s", number=gateway.shortcode, account=invoice.number)
        if gateway and gateway.sub_kind == "PAYBILL"
        else ""
    )
    amount = format_kes(invoice.payment.deposit_due_cents or invoice.payment.due_cents)
    notice_url = f"/pay/{invoice.payment.token}"
    _tell_patient(appointment, "approved", notice_url=notice_url, amount=amount, url=pay_url, by_hand=by_hand)


def declined(appointment: Appointment, *, why: str = "") -> None:
    """The patient learns that it cannot be. why: the clinic's own words."""
    _drop(appointment, ONCE, "It was declined.")
    why = why.strip()[:LONGEST_WHY]
    _tell_patient(appointment, "declined", why=f"{why}." if why and why[-1] not in ".!?" else why)
    _live(appointment, live.CANCELLED)


def confirmed(appointment: Appointment, *, receipt: str | None) -> None:
    """Paid: receipt, calendar file and place or link for the patient, a line for the clinician; then the reminders.

    Properties 25, 26, 35, 61 and 62.
    """
    _drop(appointment, ("approved",), "It is paid.")
    _tell_patient(appointment, "confirmed", method=calendar.REQUEST, receipt=receipt or _("to follow"))
    again = f"confirmed{_change(appointment.calendar_sequence, 'confirmed')}"
    _tell_clinician(appointment, again, _("Paid and confirmed: %(when)s.", when=when(appointment)))
    _live(appointment, live.CONFIRMED, receipt=receipt)
    appointment.remind_at = next_reminder(appointment.starts_at, after=clock.now())


def paid_rest(appointment: Appointment, *, receipt: str | None) -> None:
    """The rest of a visit that its deposit confirmed is here: a receipt for the patient."""
    until = clock.now() + timedelta(days=1)  # also after the visit, when it is paid at the desk
    _tell_patient(appointment, "paid_rest", expires_at=until, receipt=receipt or _("to follow"))


REMINDERS = {"remind_day": timedelta(hours=24), "remind_hour": timedelta(hours=1)}


def next_reminder(starts_at: datetime, *, after: datetime) -> datetime | None:
    """When the next reminder of a visit is due, later than `after`; None where all have had their time."""
    return min((due for before in REMINDERS.values() if (due := starts_at - before) > after), default=None)


def reminded(appointment: Appointment, *, takes_replies: bool) -> bool:
    """A day before the patient, an hour before the patient and the clinician (properties 64 and 65); False where it is
    too late for any. By SMS; by e-mail to whom no SMS reaches. takes_replies: an answer by SMS finds its way back.
    """
    left = appointment.starts_at - clock.now()
    due = next((event for event, before in sorted(REMINDERS.items(), reverse=True) if left <= before), None)
    if due is None or left <= timedelta(0):
        return False
    tenant, key = appointment.tenant, _key(appointment, due)
    to = contact_of(appointment.patient, tenant)
    reply: Text = _("Reply 1 to confirm, 2 to cancel.") if takes_replies else ""
    text = said(due, **_values(appointment) | {"reply": reply})
    pointless_at = appointment.starts_at - (REMINDERS["remind_hour"] if due == "remind_day" else timedelta(0))
    about: dict[str, Any] = {
        "expires_at": pointless_at, "is_test": _is_test(appointment), "locale": to.locale, "event": due,
    }  # fmt: skip
    letter = _letter(appointment, due, to, text) if to.address else None
    if to.msisdn and not quiet.is_quiet(tenant.id, to.phone_hash):
        tell.by_sms(tenant.id, key, msisdn=to.msisdn, text=text, otherwise=letter, **about)
    elif letter is not None:
        tell.by_letter(tenant.id, key, letter, **about)
    _notice(appointment, key, text, to.locale)
    if due == "remind_hour":
        _remind_clinician(appointment, key, pointless_at)
    return True


def _remind_clinician(appointment: Appointment, key: str, expires_at: datetime) -> None:
    clinician, tenant = appointment.clinician, appointment.tenant
    text = _("Reminder: your next appointment is today at %(time)s.", time=_values(appointment)["time"])
    if msisdn := personal.open_phone(clinician.phone_sealed, tenant.id):
        tell.by_sms(
            tenant.id, f"{key}/clinician", msisdn=msisdn, text=text, locale=tenant.locale, expires_at=expires_at
        )
    if clinician.user_id:
        tell.in_app(
            tenant.id, f"{key}/clinician", user_id=clinician.user_id, text=text, locale=tenant.locale,
            url="/staff/appointments",
        )  # fmt: skip


def failed(appointment: Appointment, payment: Payment, push_id: int, *, why: Text, pay_url: str) -> None:
    """The patient learns why the payment failed, and where to try again (property 63).

    Each failure inside the product; by SMS and e-mail the first one alone: who types a wrong PIN three times has one.
    """
    values: dict[str, Text] = {"amount": format_kes(payment.due_cents), "why": why, "url": pay_url}
    until = clock.now() + FAILURE_IS_NEWS_FOR
    _tell_patient(appointment, "failed", key="", expires_at=until, method="", has_notice=False, notice_url="", **values)
    to = contact_of(appointment.patient, appointment.tenant)
    text = said("failed", **_values(appointment) | values)
    key = f"appointment/{appointment.id}/failed/{push_id}"
    _notice(appointment, key, text, to.locale, url=f"/pay/{payment.token}")


def refunded(appointment: Appointment, *, refund_id: int, amount_cents: int, receipt: str | None) -> None:
    """The patient learns that money went back."""
    _tell_patient(
        appointment, "refunded", key=f"appointment/{appointment.id}/refunded/{refund_id}",
        expires_at=clock.now() + timedelta(days=7), amount=format_kes(amount_cents), receipt=receipt or _("to follow"),
    )  # fmt: skip


def cancelled(appointment: Appointment, *, money_told: Text = "") -> None:
    """The patient learns that it will not be, and what becomes of the money.

    money_told: of money that goes back by the clinic's terms; who has paid without any learns that the clinic has it.
    """
    key = _key(appointment, "cancelled")
    _off(appointment, "It was cancelled.")
    money = money_told
    if not money_told and appointment.invoice is not None and appointment.invoice.payment.allocated_cents:
        money = _("Your money is with the clinic, which will send it back or give you another time.")
    _tell_patient(appointment, "cancelled", key=key, method=_cancel_method(appointment), money=money)
    _live(appointment, live.CANCELLED)


def _off(appointment: Appointment, why: str) -> None:
    """Nothing of what was to be said of the visit is true any more."""
    _drop(appointment, ONCE + CHANGING, why)
    appointment.remind_at = None
    appointment.calendar_sequence += 1
    db.session.flush()


def _cancel_method(appointment: Appointment) -> str:
    """Taken out of the calendar of whom it was sent to."""
    return calendar.CANCEL if appointment.confirmed_at is not None else ""


def late_money(appointment: Appointment, cents: int, *, visit_url: str) -> None:
    """Money came when the time had gone: its payer chooses another one, or has it back."""
    key = f"appointment/{appointment.id}/late_money/{cents}"
    until = clock.now() + timedelta(days=7)
    _tell_patient(appointment, "late_money", key=key, expires_at=until, amount=format_kes(cents), url=visit_url)


def offered(appointment: Appointment, *, pay_by: datetime, wish_url: str) -> None:
    """Who waits learns of a time that got free, and until when it can be paid."""
    payment = appointment.invoice.payment if appointment.invoice else None
    cents = (payment.deposit_due_cents or payment.due_cents) if payment else appointment.price_cents
    until = f"{clock.nairobi(pay_by):%H:%M}"
    _tell_patient(
        appointment, "offered", expires_at=pay_by, amount=format_kes(cents), until=until, url=wish_url,
    )  # fmt: skip


def missed(appointment: Appointment, *, money_told: Text) -> None:
    """The patient who did not come learns what becomes of the money."""
    _tell_patient(appointment, "missed", expires_at=clock.now() + timedelta(days=7), money=money_told)


def cancelled_by_patient(appointment: Appointment) -> None:
    """The clinician learns that nobody comes."""
    text = _("The patient cancelled the appointment on %(when)s.", when=when(appointment))
    _tell_clinician(appointment, "cancelled", text, is_mailed=True)


def rescheduled(appointment: Appointment) -> None:
    """The patient and the clinician learn the new time; calendar and reminders follow it."""
    _drop(appointment, CHANGING, "It was moved.")
    appointment.calendar_sequence += 1
    appointment.attending_at = None
    is_confirmed = appointment.confirmed_at is not None
    appointment.remind_at = next_reminder(appointment.starts_at, after=clock.now()) if is_confirmed else None
    db.session.flush()
    _tell_patient(appointment, "moved", method=calendar.REQUEST if is_confirmed else "")
    text = _("An appointment is moved to %(when)s.", when=when(appointment))
    _tell_clinician(appointment, f"moved/{appointment.calendar_sequence}", text)


def released(appointment: Appointment) -> None:
    """The patient learns that the time went to others, because it was not paid."""
    _drop(appointment, ONCE, "It was not paid in time.")
    _tell_patient(appointment, "released")
    _live(appointment, live.CANCELLED)


def receipt_by_sms(invoice: Invoice, *, msisdn: str, url: str) -> bool:
    """The desk sends a receipt to a phone: once for each phone and each standing of the invoice. The caller commits."""
    payment = invoice.payment
    key = f"{_receipt_key(invoice)}/{personal.phone_hash(msisdn, invoice.tenant_id)[:16]}"
    text = _receipt_text(invoice, url)
    return tell.by_sms(
        invoice.tenant_id, key, msisdn=msisdn, text=text, locale=payment.tenant.locale, is_test=payment.is_sandbox
    )


def receipt_by_email(invoice: Invoice, *, address: str, url: str) -> bool:
    """The same to an e-mail address. Raises Refused for one that is none."""
    payment = invoice.payment
    try:
        to = validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise Refused(_("Enter a phone like 0712 345 678 or an address like amina@example.co.ke.")) from None
    key = f"{_receipt_key(invoice)}/{vault.lookup(to.casefold(), context='receipt-to')[:16]}"
    subject = _("Your receipt from %(clinic)s", clinic=payment.tenant.name)
    text, locale = _receipt_text(invoice, url), payment.tenant.locale
    about: dict[str, Any] = {"subject": subject, "text": text, "locale": locale, "is_test": payment.is_sandbox}
    return tell.by_email(invoice.tenant_id, key, address=to, **about)


def _receipt_key(invoice: Invoice) -> str:
    return f"invoice/{invoice.id}/receipt/{invoice.payment.version}"


def _receipt_text(invoice: Invoice, url: str) -> Text:
    return _(
        "%(clinic)s received %(amount)s, invoice %(number)s. Receipt: %(url)s",
        clinic=invoice.payment.tenant.name,
        amount=format_kes(invoice.payment.allocated_cents),
        number=invoice.number,
        url=url,
    )


def code(tenant: Tenant, booking_id: int, digits: str, *, msisdn: str, expires_at: datetime, locale: str) -> None:
    """The six digits that prove a phone. In the language of who books: they read it in a moment."""
    text = _(
        "%(digits)s is your code for the booking at %(clinic)s. Nobody from the clinic will ask you for it.",
        digits=digits, clinic=tenant.name,
    )  # fmt: skip
    tell.by_sms(tenant.id, f"booking/{booking_id}/code", msisdn=msisdn, text=text, locale=locale, expires_at=expires_at)


def queue_number(tenant: Tenant, ticket_uid: str, number: int, *, msisdn: str, url: str) -> bool:
    """The number of somebody who waits, and where they see how many are before them. False where it was sent there."""
    text = _("Your number at %(clinic)s is %(number)s. See when it is your turn: %(url)s",
             clinic=tenant.name, number=number, url=url)  # fmt: skip
    key = f"queue/{ticket_uid}/{personal.phone_hash(msisdn, tenant.id)[:16]}"
    return tell.by_sms(
        tenant.id, key, msisdn=msisdn, text=text, locale=tenant.locale, expires_at=clock.now() + timedelta(hours=2)
    )
