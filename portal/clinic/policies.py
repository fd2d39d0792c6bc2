"""What a clinic keeps of a visit that does not take place, and what goes back: the service's terms, told before paying.

Who cancels in time, and whom the clinic cancels, gets everything back. Of a later cancellation and of a no-show the
clinic keeps the part that it said when the visit was booked; the terms stand on the visit, so that a change of the
service changes no bargain that was made. Visits without a service have no terms: staff settle their money.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.clinic.models import Appointment, Service
from portal.kernel import clock, money, personal
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.kernel.money import format_kes
from portal.payments import giving_back
from portal.payments.giving_back import GivenBack
from portal.payments.payment import lock_payment
from portal.payments.wallets import wallets

CLINIC, PATIENT, NO_SHOW = "clinic", "patient", "no_show"  # by whose doing it does not take place


@dataclass(frozen=True)
class Share:
    """Of what was paid: what the clinic keeps, and what goes back; in cents."""

    kept_cents: int
    back_cents: int


def change_until(appointment: Appointment) -> datetime:
    """Until when the patient may cancel or move it without losing anything."""
    return appointment.starts_at - timedelta(hours=appointment.cancel_hours)


def is_late(appointment: Appointment) -> bool:
    """Whether a cancellation by the patient costs them what the terms say."""
    return appointment.status != "pending_approval" and clock.now() >= change_until(appointment)


def share(appointment: Appointment, paid_cents: int, *, by: str) -> Share:
    """How what was paid is divided. What goes back is of whole shillings, since M-Pesa sends no others."""
    costs = by == NO_SHOW or (by == PATIENT and is_late(appointment))
    back = paid_cents * (100 - appointment.late_keeps_percent) // 100 if costs else paid_cents
    back -= back % money.CENTS if costs else 0
    return Share(paid_cents - back, back)


def share_now(appointment: Appointment, *, by: str = PATIENT) -> Share:
    """The same of what is here of this visit's money now. Reads, never writes."""
    held = giving_back.held_cents(appointment.invoice.payment) if appointment.invoice else 0
    return share(appointment, held, by=by)


def settle(appointment: Appointment, *, by: str, user_id: int | None, actor: str) -> GivenBack | None:
    """Divide its money by its terms, once. None where it has none, or no terms. The caller commits, holding its locks.

    Then the caller enqueues REQUESTS and OUTBOX.
    """
    if appointment.service_id is None or appointment.invoice is None or appointment.kept_cents is not None:
        return None
    payment = lock_payment(appointment.invoice.payment_id)
    held = giving_back.held_cents(payment)
    if not held:
        return None
    divided = share(appointment, held, by=by)
    appointment.kept_cents = divided.kept_cents
    return giving_back.give_back(
        payment.id,
        kept_cents=divided.kept_cents,
        as_credit_of=_wallet_of(appointment) if appointment.money_back == "credit" else None,
        key=f"appointment/{appointment.id}/{payment.version}",  # it may stand again for late money, and be off again
        why="The clinic's cancellation policy.",
        user_id=user_id,
        actor=actor,
    )


def _wallet_of(appointment: Appointment) -> int | None:
    """The wallet of the patient's phone; None where no phone is known: then the money goes back to who paid."""
    patient = appointment.patient
    msisdn = personal.open_phone(patient.phone_sealed, patient.tenant_id)
    if msisdn is None:
        return None
    name = personal.open_text(patient.name_sealed, patient.tenant_id) or ""
    return wallets.customer_of_phone(patient.tenant_id, msisdn, name=name).id


def told(given: GivenBack | None) -> Text:
    """What became of the money, for its payer; "" where there was none to divide."""
    told: Text = ""
    for sentence, cents in (
        (
            (
                _("%(amount)s goes back to the phone that paid.", amount=format_kes(given.refunded_cents)),
                given.refunded_cents,
            ),
            (
                _("%(amount)s is your credit at the clinic now.", amount=format_kes(given.credited_cents)),
                given.credited_cents,
            ),
            (_("The clinic gives you %(amount)s back.", amount=format_kes(given.left_cents)), given.left_cents),
        )
        if given
        else ()
    ):
        if cents:
            told = _("%(text)s %(more)s", text=told, more=sentence) if told else sentence
    return told


def terms(of: Service | Appointment, *, price_cents: int) -> list[Text]:
    """The terms in sentences, for whoever is about to book or pay: what is paid when, and what comes back."""
    sentences: list[Text] = []
    if of.deposit_cents is not None and of.deposit_cents < price_cents:
        sentences.append(
            _(
                "A deposit of %(deposit)s keeps the time; the rest, %(rest)s, is paid at the visit or before.",
                deposit=format_kes(of.deposit_cents),
                rest=format_kes(price_cents - of.deposit_cents),
            )  # fmt: skip
        )
    back = (
        _("by M-Pesa to the phone that paid") if of.money_back == "refund" else _("as credit for your next visit here")
    )
    hours = of.cancel_hours
    if hours:
        sentences.append(
            _(
                "Cancelled at least %(hours)s hours before it begins, all that you paid comes back, %(how)s.",
                hours=hours,
                how=back,
            )  # fmt: skip
        )
    else:
        sentences.append(_("Cancelled before it begins, all that you paid comes back, %(how)s.", how=back))
    kept = of.late_keeps_percent
    if kept == 100:
        sentences.append(_("Cancelled later, or missed, nothing comes back."))
    elif kept:
        sentences.append(
            _(
                "Cancelled later, or missed, the clinic keeps %(percent)s %% of what you paid; the rest comes back.",
                percent=kept,
            )
        )
    elif hours:
        sentences.append(_("To cancel later, please call the clinic."))
    return sentences
