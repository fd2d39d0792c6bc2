"""Money that comes for a visit whose time is not kept any more: the visit again, another time, or the money back.

A prompt that was answered late, a payment by hand after the deadline: where nobody has the time yet, the visit stands
again as if it had been paid in time. Else its payer chooses on the visit's own page; never do two people get one time,
for a visit comes back only with the pieces of its clinician's time (`timetable.occupy`).
"""

from datetime import datetime

from sqlalchemy import or_, select

from portal.clinic import appointments, notifications, timetable
from portal.clinic.models import Appointment
from portal.gateways import messages
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict
from portal.kernel.errors import Sentence as _
from portal.payments import booking
from portal.payments.models import Payment, Push, Refund, Transaction
from portal.payments.payment import change_state, lock_payment
from portal.payments.refunds import refunds
from portal.payments.states import PaymentState

MOST_READ = 200


def money_of(payment: Payment) -> list[Transaction]:
    """What came for this closed payment and has no home, the oldest first."""
    mine = select(Transaction).outerjoin(Push, Push.id == Transaction.push_id)
    mine = mine.where(
        Transaction.tenant_id == payment.tenant_id,
        Transaction.environment == payment.environment,
        Transaction.unallocated_cents > 0,
        Transaction.unplaced_why == booking.CLOSED,
        or_(Push.payment_id == payment.id, Transaction.push_id.is_(None)),
    )
    found = reversed(db.session.scalars(mine.order_by(Transaction.id.desc()).limit(MOST_READ)).all())
    return [
        one for one in found if one.push_id is not None or messages.normalise_account(one.account) == payment.reference
    ]


def held_cents(appointment: Appointment) -> int:
    """What is here for a cancelled visit, and may pay another time of it. Reads, never writes."""
    if appointment.status != "cancelled" or appointment.invoice is None:
        return 0
    payment = appointment.invoice.payment
    return sum(one.unallocated_cents for one in money_of(payment)) if payment.state == PaymentState.CLOSED else 0


def _is_enough(appointment: Appointment, held: int) -> bool:
    payment = appointment.invoice.payment if appointment.invoice else None
    return payment is not None and held >= min(payment.enough_cents or payment.amount_cents, payment.amount_cents)


def may_choose(appointment: Appointment) -> bool:
    """Whether another time may be taken with what is here. Reads, never writes."""
    return appointment.service is not None and _is_enough(appointment, held_cents(appointment))


def came(appointment: Appointment, *, visit_url: str) -> None:
    """Money came for this visit after it was cancelled: stand again, or have its payer choose. The caller commits.

    Only a visit that ran out of time stands again by itself; whom a person cancelled did not ask for it.
    """
    held = held_cents(appointment)
    if not held:
        return
    is_to_come = appointment.released_at is not None and appointment.starts_at > clock.now()
    is_there = appointment.clinician.left_at is None and not timetable.is_away(appointment)
    if is_to_come and is_there and _is_enough(appointment, held):
        try:
            with db.session.begin_nested():
                _stand_again(appointment, appointment.starts_at, actor="late money")
            return
        except timetable.SlotTaken:
            db.session.expire_all()
    notifications.late_money(appointment, held, visit_url=visit_url)


def _stand_again(appointment: Appointment, starts_at: datetime, *, actor: str) -> None:
    assert appointment.invoice is not None  # noqa: S101 - the callers looked
    payment = lock_payment(appointment.invoice.payment_id)
    money = money_of(payment)
    locked = select(Transaction).where(Transaction.id.in_([one.id for one in money])).order_by(Transaction.id)
    money = list(db.session.scalars(locked.with_for_update().execution_options(populate_existing=True)))
    held = sum(one.unallocated_cents for one in money)
    if payment.state != PaymentState.CLOSED or not _is_enough(appointment, held):
        raise Conflict(_("This money has been placed or sent back already."))
    appointments.stand_again(appointment, starts_at, actor=actor)
    change_state(payment, PaymentState.OPEN)
    for one in money:
        booking.allocate(one, payment, actor=actor)


def choose(appointment: Appointment, starts_at: datetime) -> None:
    """Its payer takes another free time with the money that is here. The caller commits, then enqueues PAID, OUTBOX.

    Raises SlotTaken, and Conflict where the money is gone from here.
    """
    if not may_choose(appointment) or appointment.service is None:
        raise Conflict(_("This money has been placed or sent back already."))
    timetable.slot_at(appointment.service, starts_at, kind=appointment.kind, clinician=appointment.clinician)
    _stand_again(appointment, starts_at, actor="patient")


def send_back(appointment: Appointment) -> list[Refund]:
    """Its payer wants the money back. The caller commits, then enqueues REQUESTS. Raises Conflict, Refused."""
    if appointment.status != "cancelled" or appointment.invoice is None:
        raise Conflict(_("This money has been placed or sent back already."))
    payment = lock_payment(appointment.invoice.payment_id)
    ids = [one.id for one in money_of(payment)]
    locked = select(Transaction).where(Transaction.id.in_(ids)).order_by(Transaction.id).with_for_update()
    made = [
        refunds.ask_for_unplaced(
            one,
            method=refunds.recommended(one, one.unallocated_cents),
            user_id=None,
            why="It came for a visit whose time had gone; its payer asked for it.",
            actor="patient",
        )
        for one in db.session.scalars(locked.execution_options(populate_existing=True))
        if one.unallocated_cents
    ]
    if not made:
        raise Conflict(_("This money has been placed or sent back already."))
    return made
