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

from sqlalchemy import or_, select
from sqlalchemy.engine import Connection

from portal.clinic import appointments, invoices, late, waiting
from portal.clinic import notifications as visits
from portal.clinic.models import Appointment
from portal.gateways import result_codes
from portal.hotspot import access, notifications, openings, purchases
from portal.hotspot.models import TO_PROVISION, AccessGrant, Purchase
from portal.hotspot.pppoe import periods, telling
from portal.hotspot.pppoe.models import PppoeLine
from portal.hotspot.vouchers import counter
from portal.kernel import clock, money, personal, ports, queue, vault
from portal.kernel.db import after_commit, db, transaction
from portal.kernel.logs import logger
from portal.notifications import live
from portal.payments.models import (
    TO_DELIVER,
    TO_LOOK_AT,
    TO_SPEND,
    TO_TELL,
    TO_WITHDRAW,
    Allocation,
    Payment,
    Push,
    Refund,
    Transaction,
)
from portal.payments.payment import lock_payment, touch
from portal.payments.processing import jobs
from portal.payments.processing.jobs import TURN_S, careful_rows, yield_to_writers
from portal.payments.processing.sets import Delivered, Paid
from portal.payments.refunds import refunds
from portal.payments.states import PaymentState, RefundState
from portal.payments.stk.push_states import FAILED

RETRY_AFTER_S = (2, 10, 60, 300, 900)


def drain() -> None:
    """Settle the callbacks that wait, and deliver in the same sets what they paid."""
    jobs.drain_inbox(deliver_set)
    if TO_SPEND.has_work():
        queue.enqueue(queue.LINES)
    if TO_PROVISION.has_work():
        queue.enqueue(queue.SPREAD)
    if TO_TELL.has_work():
        queue.enqueue(queue.FAILED)
    if TO_LOOK_AT.has_work():
        queue.enqueue(queue.PAID)
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
    told = [_paid_access(by_id[payment_id].payment, by_id[payment_id].receipt) for payment_id in sorted(opened)]
    for payment_id in sorted(owners):
        invoice, one = issued.get(payment_id), by_id[payment_id]
        told += _paid_other(
            one.payment, one.receipt, [f"patient:{invoice.patient}"] if invoice and invoice.patient else []
        )
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
    look_at_parts()
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


def look_at_parts() -> None:
    """A visit whose deposit is here is confirmed; one whose money came too late finds another time, or none."""
    while True:
        with transaction():
            due = select(Payment.id).where(TO_LOOK_AT.is_due).order_by(Payment.look_at).limit(careful_rows())
            payment_ids = db.session.scalars(due.with_for_update(skip_locked=True)).all()
            told = [one for payment_id in payment_ids for one in _look_guarded(payment_id)]
        for channel, message in told:
            queue.publish(channel, message)
        if payment_ids:
            queue.enqueue(queue.OUTBOX)
        if len(payment_ids) < careful_rows():
            return


def _look_guarded(payment_id: int) -> list[tuple[str, str]]:
    try:
        with db.session.begin_nested():
            return _look(lock_payment(payment_id))
    except Exception as error:
        logger.error("look_failed", payment=payment_id, error=repr(error)[:300])
        touch(payment_id, look_at=clock.now() + timedelta(seconds=RETRY_AFTER_S[-1]))
        return []


def _look(payment: Payment) -> list[tuple[str, str]]:
    payment.look_at = None
    appointment = _appointment_of(payment)
    if appointment is None:
        return []
    public_url = ports.settings().public_url
    is_enough = bool(payment.enough_cents) and payment.allocated_cents >= (payment.enough_cents or 0)
    if payment.state == PaymentState.OPEN and is_enough and appointment.status == "approved":
        receipt = receipt_of(payment)
        appointments.confirm(payment.tenant, appointment, receipt=receipt, public_url=public_url)
        return _paid_other(payment, receipt, _channels_of(payment)[1:])
    if payment.state == PaymentState.CLOSED:
        late.came(appointment, visit_url=f"{public_url}/visit/{appointment.token}")
    return []


def offer_waiting() -> None:
    """Offer what got free at clinics to who waits for it. A job."""
    waiting.offer_due(ports.settings().public_url)


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
        return [_paid_access(payment, receipt)]
    if line := periods.begin(payment):
        if period := periods.of_payment(payment.id):
            telling.renewed(line, period.id)
        return [_paid_access(payment, receipt)]
    told = _paid_other(payment, receipt, _channels_of(payment)[1:])
    if appointment := _appointment_of(payment):
        public_url = ports.settings().public_url
        appointments.confirm(payment.tenant, appointment, receipt=receipt, public_url=public_url)
    return told


def _appointment_of(payment: Payment) -> Appointment | None:
    invoice = invoices.of_payment(payment.id)
    return appointments.of_invoice(invoice.id) if invoice else None


def _channels_of(payment: Payment) -> list[str]:
    """Where it is heard live what becomes of this payment: its business' channel first."""
    if payment.purpose != "clinic":
        return [f"hotspot:{payment.tenant_id}"]
    channels = [f"clinic:{payment.tenant_id}"]
    if (invoice := invoices.of_payment(payment.id)) is None:
        return channels
    if invoice.patient is not None:
        channels.append(f"patient:{invoice.patient.uid}")
    if appointment := appointments.of_invoice(invoice.id):
        channels.append(f"appointment:{appointment.uid}")
    return channels


def _facts_of(payment: Any, receipt: str | None) -> dict[str, Any]:
    return {
        "paymentId": payment.token,
        "reference": payment.reference,
        "amount": money.kes(payment.amount_cents),
        "receipt": receipt,
        "testMode": payment.environment == "sandbox",
    }


def _paid_access(payment: Any, receipt: str | None) -> tuple[str, str]:
    return f"hotspot:{payment.tenant_id}", live.message(live.PAID, **_facts_of(payment, receipt))


def _paid_other(payment: Any, receipt: str | None, of_people: list[str]) -> list[tuple[str, str]]:
    """Money for other orders than those of a clinic is told to nobody but who owes it."""
    channels = ([f"clinic:{payment.tenant_id}"] if payment.purpose == "clinic" else []) + of_people
    said = live.message(live.PAID, **_facts_of(payment, receipt))
    return [(channel, said) for channel in channels]


def tell_failed() -> None:
    """Tell why a payment failed, each failure once: live, and to the patient who owes it (property 63). A job."""
    told = 0
    while not queue.is_leaving():
        with transaction():
            due = select(Push).where(TO_TELL.is_due).order_by(Push.tell_at).limit(careful_rows())
            pushes = db.session.scalars(due.with_for_update(skip_locked=True)).all()
            for push in pushes:
                told += _tell_failed_guarded(push)
        if len(pushes) < careful_rows():
            break
    if told:
        queue.enqueue(queue.OUTBOX)


def _tell_failed_guarded(push: Push) -> bool:
    push_id, push.tell_at = push.id, None
    db.session.flush()
    try:
        with db.session.begin_nested():
            return _tell_failed(push)
    except Exception as error:  # one at fault keeps no other from being told
        logger.error("failure_not_told", push=push_id, error=repr(error)[:300])
        return False


def _tell_failed(push: Push) -> bool:
    """Whether it was news: what was paid, asked for again, or taken back meanwhile failed for nobody."""
    payment = push.payment
    newer = select(Push.id).where(Push.payment_id == payment.id, Push.id > push.id).limit(1)
    if payment.state != PaymentState.OPEN or push.state not in FAILED or db.session.scalar(newer) is not None:
        return False
    explained = result_codes.explain(push.result_code or "1037")
    facts = _facts_of(payment, None) | {"resultCode": push.result_code, "reason": str(explained.sentence)}
    live.tell(_channels_of(payment), live.FAILED, **facts)
    if payment.purpose == "clinic" and (appointment := _appointment_of(payment)):
        url = f"{ports.settings().public_url}/pay/{payment.token}"
        visits.failed(appointment, payment, push.id, why=explained.sentence, pay_url=url)
    return True


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
    _tell_refunds(payment)
    if (visit := _appointment_of(payment)) is not None:
        appointments.look_at_money(visit)
    is_sent_back = payment.refunded_cents >= payment.amount_cents
    if payment.state == PaymentState.PAID and not is_sent_back:
        return []
    # paid again, it is delivered again; sent back before it was delivered, it never is
    payment.fulfilled_at = None if payment.state != PaymentState.PAID else payment.fulfilled_at or clock.now()
    if (voucher := counter.take_back(payment, actor="fulfilment")) is not None:
        return [(f"hotspot:{payment.tenant_id}", live.message(live.VOIDED, voucherId=voucher.uid))]
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
    return f"hotspot:{payment.tenant_id}", live.message(live.ENDED, **_facts_of(payment, receipt_of(payment)))


def _tell_refunds(payment: Payment) -> None:
    """What was sent back, each refund once: live, and to the patient whose visit it was for."""
    paid = select(Allocation.transaction_id).where(Allocation.payment_id == payment.id)
    of_it = or_(Refund.payment_id == payment.id, Refund.payment_id.is_(None) & Refund.transaction_id.in_(paid))
    sent = select(Refund).where(of_it, Refund.state == RefundState.DONE, Refund.told_at.is_(None))
    for refund in db.session.scalars(sent).all():
        if refund.payment_id is None and refunds.taken_off(refund) != payment.id:
            continue
        refund.told_at = clock.now()
        facts = _facts_of(payment, refund.receipt) | {"amount": money.kes(refund.amount_cents)}
        live.tell(_channels_of(payment), live.REFUNDED, **facts)
        if appointment := _appointment_of(payment):
            visits.refunded(appointment, refund_id=refund.id, amount_cents=refund.amount_cents, receipt=refund.receipt)
            after_commit(lambda: queue.enqueue(queue.OUTBOX))


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
