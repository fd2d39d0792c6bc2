"""Where paid money meets what it bought: one function says what happens when money arrives.

    a package      -> access to the internet
    a line's time  -> the line goes on by one period; the wallet's own renewals follow what came into it (`pppoe`)
    an invoice     -> its appointment confirmed, with a place or a meeting link
    another order  -> nothing here: its owner reads the payment

What is ordinary is delivered in the set that settles it (`deliver_set`). The rest runs as a job after the payment is
paid, is found again by query (`paid` and not fulfilled) if it was interrupted, and gives exactly one of each thing,
since what it makes is unique by the payment. What money bought ends here too, once the money is gone (`withdraw_at`):
access closes, and opens again with its time left if it is paid again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from portal.clinic import appointments, invoices
from portal.clinic.models import Appointment
from portal.hotspot import access, notifications, openings, purchases
from portal.hotspot.models import TO_PROVISION, AccessGrant, Purchase
from portal.hotspot.pppoe import periods, telling
from portal.hotspot.pppoe.models import PppoeLine
from portal.hotspot.vouchers import counter
from portal.kernel import clock, personal, ports, queue, vault
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger
from portal.payments.models import TO_DELIVER, TO_SPEND, TO_WITHDRAW, Allocation, Payment, Transaction
from portal.payments.payment import touch
from portal.payments.processing import jobs
from portal.payments.processing.jobs import TURN_S, careful_rows, yield_to_writers
from portal.payments.processing.sets import Delivered, Paid
from portal.payments.states import PaymentState

RETRY_AFTER_S = (2, 10, 60, 300, 900)


def drain() -> None:
    """Settle the callbacks that wait, and deliver in the same sets what they paid."""
    jobs.drain_inbox(deliver_set)
    if TO_SPEND.has_work():
        queue.enqueue(queue.LINES)
    if TO_PROVISION.has_work():
        queue.enqueue(queue.SPREAD)
    db.session.rollback()


def deliver_set(connection: Connection, paid: Sequence[Paid], now: datetime) -> Delivered:
    """Deliver what these payments bought, where it is ordinary; the job delivers the rest. The caller commits."""
    # whose phone is told, where others paid a part of it, the job looks up
    by_id = {one.payment.id: one for one in paid if one.msisdn or one.is_alone}
    purchased = openings.of_payments(connection, list(by_id))
    buyers = {payment_id: buyer for payment_id in purchased if (buyer := _buyer(by_id[payment_id]))}
    readable = {payment_id: purchased[payment_id] for payment_id in buyers}
    opened = openings.open_all(connection, readable, buyers, now) if readable else frozenset[int]()
    of_lines = {one.payment.id for one in paid if one.payment.purpose == "pppoe"}
    others = by_id.keys() - purchased.keys() - of_lines
    issued = invoices.of_payments(connection, others) if others else {}
    owners = others - {payment_id for payment_id, invoice in issued.items() if invoice.appointment_id is not None}
    told = [_paid_access(by_id[payment_id].payment) for payment_id in sorted(opened)]
    for payment_id in sorted(owners):
        invoice = issued.get(payment_id)
        told += _paid_other(by_id[payment_id].payment, invoice.patient_id if invoice else None)
    return Delivered(opened | owners, opened, tuple(told))


def _buyer(one: Paid) -> openings.Buyer | None:
    """Who is told; None where no key of ours opens their number, which the job says."""
    payment = one.payment
    msisdn, phone_hash = one.msisdn, one.phone_hash
    if msisdn is None:
        try:
            msisdn = personal.open_phone(payment.phone_sealed, payment.tenant_id)
            phone_hash = personal.phone_hash(msisdn, payment.tenant_id) if msisdn else None
        except (vault.CannotOpen, ValueError):
            return None
    is_test = payment.environment == "sandbox"
    return openings.Buyer(payment.tenant_id, one.business, one.receipt, msisdn, phone_hash, is_test)


def deliver_paid() -> None:
    """Deliver what is paid and not delivered yet; after TURN_S it steps back in the queue, as settling does."""
    until = time.monotonic() + TURN_S
    while True:
        with transaction():
            due = (
                select(Payment)
                .where(TO_DELIVER.is_due)
                .order_by(Payment.next_fulfil_at)
                .limit(careful_rows())
                .with_for_update(skip_locked=True)
            )
            payments = db.session.scalars(due).all()
            told = [channel for payment in payments for channel in _deliver_guarded(payment.id)]
        for channel, message in told:
            queue.publish(channel, message)
        if told:
            _ring_who_provides()
        if len(payments) < careful_rows():
            return
        if time.monotonic() > until:
            queue.enqueue(queue.PAID)
            return
        yield_to_writers()


def deliver_now(payment_id: int) -> None:
    """Deliver one payment at once, where its payer waits for the answer. The job finds it if this fails."""
    with transaction():
        payment = db.session.scalars(select(Payment).where(Payment.id == payment_id).with_for_update()).one()
        told = (
            _deliver_guarded(payment.id) if payment.state == PaymentState.PAID and payment.fulfilled_at is None else []
        )
    for channel, message in told:
        queue.publish(channel, message)
    if told:
        _ring_who_provides()


def _ring_who_provides() -> None:
    for job in (queue.SPREAD, queue.OUTBOX, queue.MEETINGS):
        queue.enqueue(job)


def _deliver_guarded(payment_id: int) -> list[tuple[str, str]]:
    try:
        with db.session.begin_nested():
            payment = db.session.get_one(Payment, payment_id)
            told = deliver(payment)
            touch(payment_id, fulfilled_at=clock.now(), fulfil_error="")
            return told
    except Exception as error:
        logger.error("fulfilment_failed", payment=payment_id, error=repr(error)[:300])
        payment = db.session.get_one(Payment, payment_id)
        pause_s = RETRY_AFTER_S[min(payment.fulfil_attempts, len(RETRY_AFTER_S) - 1)]
        payment.fulfil_attempts += 1
        payment.fulfil_error = f"{type(error).__name__}: {error}"[:300]
        payment.next_fulfil_at = clock.now() + timedelta(seconds=pause_s)
        return []


def deliver(payment: Payment) -> list[tuple[str, str]]:
    """Give what this payment bought; (channel, message) pairs to publish after the commit. The caller commits."""
    receipt = receipt_of(payment)
    if purchase := purchases.of_payment(payment.id):
        opened = access.grant(purchase, receipt=_free_code(purchase, receipt))
        if opened.origin == "gift":
            notifications.given(opened, business=payment.tenant.name, is_test=payment.is_sandbox)
        elif msisdn := _who_paid(payment):
            notifications.opened(opened, business=payment.tenant.name, msisdn=msisdn, is_test=payment.is_sandbox)
        return [_paid_access(payment)]
    if line := periods.begin(payment):
        if period := periods.of_payment(payment.id):
            telling.renewed(line, period.id)
        return [_paid_access(payment)]
    invoice = invoices.of_payment(payment.id)
    told = _paid_other(payment, invoice.patient_id if invoice else None)
    if invoice and (appointment := appointments.of_invoice(invoice.id)):
        public_url = ports.settings().public_url
        appointments.confirm(payment.tenant, appointment, receipt=receipt, public_url=public_url)
        told.append((f"appointment:{appointment.id}", "confirmed"))
    return told


def _paid_access(payment: Any) -> tuple[str, str]:
    return f"hotspot:{payment.tenant_id}", f"paid {payment.token}"


def _paid_other(payment: Any, patient_id: int | None) -> list[tuple[str, str]]:
    of_clinic = [(f"clinic:{payment.tenant_id}", f"paid {payment.token}")] if payment.purpose == "clinic" else []
    return of_clinic + ([(f"patient:{patient_id}", f"paid {payment.token}")] if patient_id else [])


def _who_paid(payment: Payment) -> str | None:
    """The phone whose money paid, as M-Pesa told it; else the one that was asked, or was named by its payer."""
    paid = [money.phone_sealed for money in receipts_of(payment) if money.phone_sealed]
    return personal.open_phone(paid[-1] if paid else payment.phone_sealed, payment.tenant_id)


def withdraw_unpaid() -> None:
    """End what was delivered for money that is gone: reversed by M-Pesa, recorded in error, or all sent back."""
    while True:
        with transaction():
            due = select(Payment).where(TO_WITHDRAW.is_due).order_by(Payment.withdraw_at)
            payments = db.session.scalars(due.limit(careful_rows()).with_for_update(skip_locked=True)).all()
            told = [one for payment in payments for one in _withdraw_guarded(payment.id)]
        for channel, message in told:
            queue.publish(channel, message)
        if len(payments) < careful_rows():
            return


def _withdraw_guarded(payment_id: int) -> list[tuple[str, str]]:
    try:
        with db.session.begin_nested():
            return _withdraw(db.session.get_one(Payment, payment_id))
    except Exception as error:
        logger.error("withdrawal_failed", payment=payment_id, error=repr(error)[:300])
        payment = db.session.get_one(Payment, payment_id)
        payment.withdraw_at = clock.now() + timedelta(seconds=RETRY_AFTER_S[-1])
        return []


def _withdraw(payment: Payment) -> list[tuple[str, str]]:
    """What this payment bought ends, unless it is paid (again). A confirmed appointment stays: staff see it unpaid."""
    payment.withdraw_at = None
    is_sent_back = payment.refunded_cents >= payment.amount_cents
    if payment.state == PaymentState.PAID and not is_sent_back:
        return []
    # paid again, it is delivered again; sent back before it was delivered, it never is
    payment.fulfilled_at = None if payment.state != PaymentState.PAID else payment.fulfilled_at or clock.now()
    if (voucher := counter.take_back(payment, actor="fulfilment")) is not None:
        return [(f"hotspot:{payment.tenant_id}", f"voided {voucher.uid}")]
    opened = purchases.grant_of(payment.id)
    why = "Its money was sent back." if is_sent_back else "Its money was taken back."
    if periods.withdraw(payment, why=why):
        touch(payment.id)
        return [_ended(payment)]
    if opened is None or not access.end(opened, why=why, actor="fulfilment"):
        return []
    touch(payment.id)
    return [_ended(payment)]


def _ended(payment: Payment) -> tuple[str, str]:
    return f"hotspot:{payment.tenant_id}", f"ended {payment.token}"


def _free_code(purchase: Purchase, receipt: str | None) -> str | None:
    """The receipt, unless other access has its name already (one receipt that paid two packages)."""
    taken = select(AccessGrant.id).where(
        AccessGrant.tenant_id == purchase.tenant_id,
        AccessGrant.username == receipt,
        AccessGrant.purchase_id != purchase.id,
    )
    return None if receipt is None or db.session.scalar(taken) is not None else receipt


def receipts_of(payment: Payment) -> list[Transaction]:
    """The money that paid this payment, oldest first."""
    paid = (
        select(Transaction)
        .join(Allocation)
        .where(Allocation.payment_id == payment.id, Allocation.taken_back_at.is_(None))
    )
    return list(db.session.scalars(paid.order_by(Allocation.id)))


def receipt_of(payment: Payment) -> str | None:
    """The receipt that a payer would name: the last one known."""
    known = [money.receipt for money in receipts_of(payment) if money.receipt]
    return known[-1] if known else None


@dataclass(frozen=True)
class Bought:
    """What a payment bought, for the page that shows it. kind: access, line, appointment, invoice or order."""

    kind: str
    grant: AccessGrant | None = None
    purchase: Purchase | None = None
    appointment: Appointment | None = None
    line: PppoeLine | None = None


def bought(payment: Payment) -> Bought:
    """What this payment buys or bought."""
    if purchase := purchases.of_payment(payment.id):
        return Bought("access", purchases.grant_of(payment.id), purchase)
    if period := periods.of_payment(payment.id):
        return Bought("line", line=db.session.get_one(PppoeLine, period.line_id))
    if invoice := invoices.of_payment(payment.id):
        if appointment := appointments.of_invoice(invoice.id):
            return Bought("appointment", appointment=appointment)
        return Bought("invoice")
    return Bought("order")
