"""Money that arrived: booked once, whoever tells us, and given to what it pays for.

Every witness (STK callback, C2B confirmation, query) ends here. The unique receipt decides; where the receipt is not
known yet, the unique push does, and the receipt is filled in by whoever brings it. Locks are taken in one order:
payment, push, transaction.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from portal.audit import chain
from portal.audit.models import AuditEntry
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import clock, personal, vault
from portal.kernel.db import AS_WRITTEN, db, new_uid, upsert_nothing
from portal.kernel.errors import Conflict
from portal.kernel.phone import for_screens, without_phone
from portal.ledger import post
from portal.ledger.models import Journal, Line
from portal.payments.models import (
    HAS_PUSH,
    Allocation,
    Customer,
    Payment,
    Push,
    Refund,
    Transaction,
    TransactionSource,
)
from portal.payments.payment import change_state, lock_payment, touch
from portal.payments.states import REFUND_TOLD, PaymentState, RefundState
from portal.payments.stk.push_states import State

REVERSED, VOIDED = "reversed", "voided"
PAID_TWICE, OVERPAID, CLOSED = "paid twice", "overpaid", "closed"
UNKNOWN_ACCOUNT, SEVERAL_FIT = "unknown account", "several fit"
KNOWS_PAYER = frozenset({"stk", "query", "c2b", "status", "pull"})  # channels by which M-Pesa says who paid
OTHER_ENVIRONMENT = "other environment"  # test money for what real money pays now, or the reverse


FIRST_ASKED_AFTER = timedelta(minutes=2)  # a callback or an echo mostly brings the receipt before


@dataclass(frozen=True)
class IncomingPayment:
    """What a witness says of money. receipt: None where only a query speaks. Times UTC, amounts in cents.

    msisdn: of who paid, if it is known whole. payer_shown: what may be shown of it, if it is not.
    """

    channel: str
    amount_cents: int
    occurred_at: datetime
    receipt: str | None = None
    account: str = ""
    msisdn: str | None = None
    payer_shown: str = ""
    payer_name: str = ""
    payer: messages.PayerId | None = None  # as M-Pesa wrote it, where it did
    inbox_id: int | None = None
    kept_phone: tuple[str, str] | None = None  # (sealed, hash) of msisdn, where a row of ours has it already


def find(tenant_id: int, environment: str, receipt: str) -> Transaction | None:
    """The transaction of this receipt, or None: not locked, for who must lock payments before it."""
    mine = select(Transaction).where(Transaction.tenant_id == tenant_id, Transaction.environment == environment)
    return db.session.scalars(mine.where(Transaction.receipt == receipt)).one_or_none()


def by_receipt(tenant_id: int, environment: str, receipt: str) -> Transaction | None:
    """The transaction of this receipt, locked, or None."""
    return db.session.scalars(
        select(Transaction)
        .where(
            Transaction.tenant_id == tenant_id,
            Transaction.environment == environment,
            Transaction.receipt == receipt,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def of_push(push_id: int) -> Transaction | None:
    """The transaction that answers this push, locked, or None."""
    return db.session.scalars(
        select(Transaction)
        .where(Transaction.push_id == push_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


ExistingBookings = tuple[Transaction | None, Transaction | None]


def existing_bookings(gateway: Gateway, receipt: str | None, push: Push | None) -> ExistingBookings:
    """(`by_receipt`, `of_push`) by one select, both locked: every payment passes here."""
    of_receipt = and_(
        Transaction.tenant_id == gateway.tenant_id,
        Transaction.environment == gateway.environment,
        Transaction.receipt == receipt,
    )
    if push is None:
        return (by_receipt(gateway.tenant_id, gateway.environment, receipt) if receipt else None), None
    answers = Transaction.push_id == push.id
    found = db.session.scalars(
        select(Transaction)
        .where(or_(of_receipt, answers) if receipt else answers)
        .order_by(Transaction.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    known = [one for one in found if receipt and one.receipt == receipt]
    answered = [one for one in found if one.push_id == push.id]
    return (known[0] if known else None), (answered[0] if answered else None)


@dataclass(frozen=True)
class Home:
    """What new money pays as it is booked, so that one journal and one line of the history tell the whole.

    payment: locked by the caller. why, moved_from: of the push that succeeds with it, where there is one.
    """

    payment: Payment
    actor: str
    why: str = ""
    moved_from: str | None = None

    def takes_cents(self, environment: str, amount_cents: int) -> int:
        """How much of this money it is due."""
        is_due = self.payment.state == PaymentState.OPEN and self.payment.environment == environment
        return min(amount_cents, self.payment.due_cents) if is_due else 0


def book(
    gateway: Gateway, incoming: IncomingPayment, *, push: Push | None = None, before: ExistingBookings | None = None
) -> Transaction:
    """The transaction of this money: a new one, or the one booked before, with this witness added.

    push: the push it answers, if that is known; before: what `existing_bookings` said of both, if it was asked already.
    The caller commits, and has locked the push's payment.
    """
    return book_for(None, gateway, incoming, push=push, before=before)[0]


def book_for(
    home: Home | None,
    gateway: Gateway,
    incoming: IncomingPayment,
    *,
    push: Push | None = None,
    before: ExistingBookings | None = None,
) -> tuple[Transaction, bool]:
    """(the transaction, as of `book`; whether it is new and went straight to `home`)."""
    if push is not None:
        incoming = of_push_asked(push, incoming)
    known, answered = before or existing_bookings(gateway, incoming.receipt, push)
    if known is None and answered is not None and (incoming.receipt is None or answered.receipt is None):
        known = _learn_receipt(answered, incoming)
    if known is None:
        with db.session.no_autoflush:
            known, is_new = _insert(gateway, incoming, push if answered is None else None, home)
        if is_new:
            return known, home is not None and known.unallocated_cents < known.amount_cents
    elif push is not None and known.push_id is None:
        if answered is None:
            known.push_id = push.id
        elif answered.receipt is None and known.unallocated_cents == known.amount_cents:
            known = _merge(known, answered, incoming)
    if known.phone_sealed is None and incoming.msisdn is not None and incoming.channel in KNOWS_PAYER:
        _learn_payer(known, incoming.msisdn)
    _record_source(known, incoming)
    return known, False


def of_push_asked(push: Push, incoming: IncomingPayment) -> IncomingPayment:
    """The same, with the phone that this push rang, if what the witness shows of the payer is of that phone: else
    another may have paid in its name, and a refund would go astray.
    """
    if incoming.msisdn is not None or incoming.payer is None or push.phone_sealed is None or push.phone_hash is None:
        return incoming
    msisdn = personal.open_phone(push.phone_sealed, push.tenant_id)
    if not msisdn or not messages.payer_matches(incoming.payer, msisdn):
        return incoming
    return replace(incoming, msisdn=msisdn, kept_phone=(push.phone_sealed, push.phone_hash))


def _learn_payer(transaction: Transaction, msisdn: str) -> None:
    """The number of who paid, where the first witness showed it masked, or not at all."""
    shown = messages.payer_id(transaction.payer_shown)
    if messages.payer_matches(shown, msisdn) is False:
        return
    transaction.phone_sealed = personal.seal_phone(msisdn, transaction.tenant_id)
    transaction.phone_hash = personal.phone_hash(msisdn, transaction.tenant_id)
    transaction.payer_shown = for_screens(msisdn)


def columns_of(gateway: Gateway, incoming: IncomingPayment, *, push_id: int | None, now: datetime) -> dict[str, Any]:
    """What is written of new money that has no home yet. now: of this transaction."""
    tenant_id, msisdn = gateway.tenant_id, incoming.msisdn
    kept = incoming.kept_phone
    if msisdn and (kept is None or not vault.is_current(kept[0])):  # a rotation of keys may have passed here already
        kept = personal.seal_phone(msisdn, tenant_id), personal.phone_hash(msisdn, tenant_id)
    return {
        "tenant_id": tenant_id,
        "uid": new_uid(),
        "environment": gateway.environment,
        "receipt": incoming.receipt,
        "channel": incoming.channel,
        "gateway_id": gateway.id,
        "push_id": push_id,
        "inbox_id": incoming.inbox_id,
        "amount_cents": incoming.amount_cents,
        "unallocated_cents": incoming.amount_cents,
        "account": without_phone(incoming.account)[:40],
        "phone_sealed": kept[0] if msisdn and kept else None,
        "phone_hash": kept[1] if msisdn and kept else None,
        "payer_shown": for_screens(msisdn) if msisdn else incoming.payer_shown[:80],
        "payer_name_sealed": personal.seal_text(incoming.payer_name, tenant_id),
        "occurred_at": incoming.occurred_at,
        "ask_next_at": None if incoming.receipt else now + FIRST_ASKED_AFTER,
        "created_at": now,
    }


def lines_in(amount_cents: int, given_cents: int, purpose: str) -> dict[str, int]:
    """The lines of money that comes: what a payment is given earns at once, the rest is without a home."""
    lines = {
        post.CLEARING: amount_cents,
        post.revenue(purpose): -given_cents,
        post.SUSPENSE: given_cents - amount_cents,
    }
    return {account: cents for account, cents in lines.items() if cents}


def paid_columns(payment: Payment, given_cents: int, now: datetime) -> dict[str, Any]:
    """What changes of an open payment with this much money more, but its version."""
    is_paid = given_cents == payment.due_cents
    is_part = payment.purpose == "clinic" and not is_paid
    state = {"state": PaymentState.PAID, "paid_at": now, "next_fulfil_at": now, "live_key": None} if is_paid else {}
    state |= {"look_at": now} if is_part else {}
    return {"allocated_cents": payment.allocated_cents + given_cents, **state}


def told_of_straight(
    transaction_id: int, receipt: str | None, home: Home, given_cents: int, *, is_paid: bool
) -> dict[str, Any]:
    """The one line of the history that tells of money that went straight to its home. See `staff.payments`."""
    moved = {"moved_from": home.moved_from} if home.moved_from else {}
    return {
        "subject_kind": "payment",
        "subject_id": home.payment.id,
        "action": "paid" if is_paid else "part_paid",
        "actor": home.actor,
        "new": receipt or "receipt to follow",
        "why": home.why,
        "details": {"amount_cents": given_cents, "transaction": transaction_id, **moved},
    }


@dataclass(frozen=True)
class Step:
    """One step of a history, as its reader follows it."""

    subject_kind: str
    action: str
    actor: str
    why: str
    old: str | None = None
    new: str | None = None


def steps_told(row: AuditEntry) -> list[Step]:
    """The steps that one line of the history tells of: several where money went straight to its home."""
    details = row.details or {}
    own = Step(row.subject_kind, row.action, row.actor, row.why, row.old, row.new)
    moved_from, is_opened = details.get("moved_from"), details.get("opened")
    steps = [Step("push", "moved", row.actor, row.why, moved_from, State.SUCCEEDED), replace(own, why="")]
    opened = [Step("payment", "access_opened", "fulfilment", "")] if is_opened else []
    return [*(steps if moved_from else [own]), *opened]


def _insert(
    gateway: Gateway, incoming: IncomingPayment, push: Push | None, home: Home | None = None
) -> tuple[Transaction, bool]:
    """(the transaction, whether it is new). What `home` is due of it goes there at once."""
    tenant_id, now = gateway.tenant_id, clock.now()
    unique, where = (["tenant_id", "environment", "receipt"], "") if incoming.receipt else (["push_id"], HAS_PUSH)
    columns = columns_of(gateway, incoming, push_id=push.id if push else None, now=now)
    given = home.takes_cents(gateway.environment, incoming.amount_cents) if home else 0
    rest = incoming.amount_cents - given
    columns |= {"unallocated_cents": rest, "unplaced_why": OVERPAID if given and rest else ""}
    transaction = db.session.scalars(
        upsert_nothing(Transaction, unique=unique, where=where, **columns).returning(Transaction)
    ).one_or_none()
    if transaction is None:  # another worker booked it between our look and our insert
        found = by_receipt(tenant_id, gateway.environment, incoming.receipt) if incoming.receipt else None
        found = found or (of_push(push.id) if push else None)
        if found is None:
            raise Conflict(f"The money of receipt {incoming.receipt} was booked and vanished within one transaction.")
        return found, False
    post.post(
        tenant_id,
        gateway.environment,
        "money_in",
        transaction.uid,
        occurred_at=incoming.occurred_at,
        lines=lines_in(incoming.amount_cents, given, home.payment.purpose if home else ""),
    )
    if home and given:
        is_paid = given == home.payment.due_cents
        told = told_of_straight(transaction.id, transaction.receipt, home, given, is_paid=is_paid)
        _give(transaction, home.payment, given, now)
        chain.record(tenant_id, **told)
        db.session.flush()
        return transaction, True
    chain.record(
        tenant_id,
        "transaction",
        transaction.id,
        "booked",
        actor=incoming.channel,
        new=incoming.receipt or "receipt to follow",
        details={"amount_cents": incoming.amount_cents},
    )
    return transaction, True


def _give(transaction: Transaction, payment: Payment, given: int, now: datetime) -> None:
    db.session.add(
        Allocation(
            tenant_id=transaction.tenant_id, transaction_id=transaction.id, payment_id=payment.id, amount_cents=given
        )
    )
    _add_to(payment, given, now)


def _add_to(payment: Payment, given: int, now: datetime) -> None:
    paid = update(Payment).where(Payment.id == payment.id, Payment.state == PaymentState.OPEN)
    paid = paid.values(version=Payment.version + 1, **paid_columns(payment, given, now))
    db.session.scalars(paid.returning(Payment).execution_options(**AS_WRITTEN)).all()


def _learn_receipt(transaction: Transaction, incoming: IncomingPayment) -> Transaction:
    """Fill in what a query could not tell: the receipt, and the amount if it was more than we asked for."""
    if transaction.receipt is None and incoming.receipt is not None:
        if transaction.is_gone:
            _restore(transaction, incoming)
        transaction.receipt = incoming.receipt
        transaction.occurred_at = incoming.occurred_at
        transaction.ask_next_at = transaction.contradicted_at = None
        transaction.contradiction = ""
        why = ""
        if incoming.amount_cents > transaction.amount_cents:
            extra = incoming.amount_cents - transaction.amount_cents
            transaction.amount_cents += extra
            transaction.unallocated_cents += extra
            transaction.unplaced_why = OVERPAID
            post.post(
                transaction.tenant_id,
                transaction.environment,
                "amount_learnt",
                transaction.uid,
                occurred_at=incoming.occurred_at,
                lines={post.CLEARING: extra, post.SUSPENSE: -extra},
            )
        elif incoming.amount_cents < transaction.amount_cents:
            why = f"{incoming.channel} states {incoming.amount_cents} cents, less than was asked for"
        chain.record(
            transaction.tenant_id,
            "transaction",
            transaction.id,
            "receipt_learnt",
            actor=incoming.channel,
            new=incoming.receipt,
            why=why,
        )
        db.session.flush()
        for allocation in transaction.allocations:
            touch(allocation.payment_id)
    return transaction


def _restore(transaction: Transaction, incoming: IncomingPayment) -> None:
    """A person had found that M-Pesa does not have it, and its receipt came after all: it is money again.

    What went back of it meanwhile, or is on its way, is no part of what it may pay.
    """
    now = clock.now()
    for back in db.session.scalars(
        select(Refund).where(Refund.transaction_id == transaction.id, Refund.state != RefundState.FAILED)
    ).all():
        back.payment_id = None
    kept = transaction.amount_cents - transaction.refunded_cents
    lines = {
        post.CLEARING: transaction.amount_cents,
        post.SUSPENSE: -kept,
        post.REFUNDS_DUE: -transaction.refunded_cents,
    }
    lines = {account: cents for account, cents in lines.items() if cents}
    post.post(transaction.tenant_id, transaction.environment, "restored", transaction.uid, occurred_at=now, lines=lines)
    transaction.unallocated_cents, transaction.reversed_at = kept, None
    chain.record(
        transaction.tenant_id, "transaction", transaction.id, "restored", actor=incoming.channel, new=incoming.receipt,
        why="M-Pesa told its receipt after a person had found that it was not paid.",
    )  # fmt: skip


def _merge(second: Transaction, first: Transaction, incoming: IncomingPayment) -> Transaction:
    """One payment booked twice (by query, and by an echo nobody could place): take the second booking back."""
    receipt, second.receipt = second.receipt, None
    second.merged_into_id, second.unallocated_cents = first.id, 0
    db.session.flush()  # the receipt must be free before the first booking takes it
    _learn_receipt(first, replace(incoming, receipt=receipt, amount_cents=second.amount_cents))
    post.post(
        second.tenant_id,
        second.environment,
        "merged",
        second.uid,
        occurred_at=second.occurred_at,
        lines={post.CLEARING: -second.amount_cents, post.SUSPENSE: second.amount_cents},
    )
    chain.record(
        second.tenant_id,
        "transaction",
        second.id,
        "merged",
        actor=second.channel,
        new=receipt,
        why=f"into {first.uid}",
    )
    return first


def _record_source(transaction: Transaction, incoming: IncomingPayment) -> None:
    """Who told of it after the first, which the transaction itself names."""
    if incoming.channel == transaction.channel:
        return
    db.session.execute(
        upsert_nothing(
            TransactionSource,
            unique=["transaction_id", "channel"],
            tenant_id=transaction.tenant_id,
            transaction_id=transaction.id,
            channel=incoming.channel,
            inbox_id=incoming.inbox_id,
        )
    )


def allocate(transaction: Transaction, payment: Payment, *, actor: str) -> int:
    """Give a payment what it is still due from this money; cents given. What is left stays to be placed.

    The caller commits and holds the payment's lock (`lock_payment`).
    """
    if transaction.environment != payment.environment:
        raise Conflict("Test money cannot pay a real payment, nor real money a test.")
    given = min(transaction.unallocated_cents, payment.due_cents) if payment.state == PaymentState.OPEN else 0
    if given:
        with db.session.no_autoflush:  # nothing inside reads what it writes: one flush below, not four
            _move_out_of_suspense(transaction, payment, given, actor)
    if transaction.unallocated_cents and (
        given or transaction.unplaced_why != OVERPAID
    ):  # told again, it is still the rest
        transaction.unplaced_why = OVERPAID if given else (PAID_TWICE if payment.state == PaymentState.PAID else CLOSED)
        if transaction.unplaced_why == CLOSED and payment.purpose == "clinic":
            touch(payment.id, look_at=clock.now())
    db.session.flush()
    return given


def _move_out_of_suspense(transaction: Transaction, payment: Payment, given: int, actor: str) -> None:
    now, is_paid, reference = (
        clock.now(),
        given == payment.due_cents,
        f"{transaction.uid}/{payment.id}/{payment.version}",
    )
    if before := _given_before(transaction, payment):
        before.amount_cents += given
        _add_to(payment, given, now)
    else:
        _give(transaction, payment, given, now)
    transaction.unallocated_cents -= given
    transaction.unplaced_why = ""
    post.post(
        transaction.tenant_id,
        transaction.environment,
        "allocated",
        reference,  # it may give again, once other money is gone
        occurred_at=now,
        lines={post.SUSPENSE: given, post.revenue(payment.purpose): -given},
    )
    chain.record(
        transaction.tenant_id,
        "payment",
        payment.id,
        "paid" if is_paid else "part_paid",
        actor=actor,
        new=transaction.receipt or "receipt to follow",
        details={"amount_cents": given},
    )


def take_off(transaction: Transaction, payment: Payment, amount_cents: int, *, actor: str) -> None:
    """Take money off a payment that is not paid in full: it has no home again, and the payment is due that much more.

    amount_cents: at most what this money gave it. The caller commits, holding the payment's and the money's locks.
    """
    given = _given_before(transaction, payment)
    if payment.state == PaymentState.PAID or given is None or not 0 < amount_cents <= given.amount_cents:
        raise Conflict(f"{amount_cents} cents cannot be taken off payment {payment.id}.")
    if amount_cents == given.amount_cents:
        given.taken_back_at = clock.now()
    else:
        given.amount_cents -= amount_cents
    transaction.unallocated_cents += amount_cents
    db.session.flush()
    post.post(
        transaction.tenant_id,
        transaction.environment,
        "taken_off",
        f"{transaction.uid}/{payment.id}/{payment.version}",
        occurred_at=clock.now(),
        lines={post.revenue(payment.purpose): amount_cents, post.SUSPENSE: -amount_cents},
    )
    touch(payment.id, allocated_cents=Payment.allocated_cents - amount_cents)
    chain.record(
        transaction.tenant_id, "payment", payment.id, "taken_off", actor=actor, new=transaction.receipt,
        details={"amount_cents": amount_cents},
    )  # fmt: skip


def take_all_off(payment: Payment, *, actor: str) -> None:
    """Take off an open payment all the money that came for it, but what went back to its payer or is on its way.

    It waits to be placed. The caller commits, holding the payment's lock, and closes it.
    """
    paid = select(Allocation).where(Allocation.payment_id == payment.id, Allocation.taken_back_at.is_(None))
    given = db.session.scalars(paid.where(Allocation.transaction_id.is_not(None))).all()
    money = select(Transaction).where(Transaction.id.in_([one.transaction_id for one in given]))
    locked = db.session.scalars(
        money.order_by(Transaction.id).with_for_update().execution_options(populate_existing=True)
    ).all()
    for transaction in locked:
        held = sum(one.amount_cents for one in given if one.transaction_id == transaction.id)
        if left := held - _refunded_of(transaction, payment, Refund.state != RefundState.FAILED):
            take_off(transaction, payment, left, actor=actor)
            transaction.unplaced_why = CLOSED


def take_back(transaction: Transaction, *, how: str, why: str, actor: str) -> None:
    """Money that is gone again: reversed by M-Pesa, or recorded by hand in error. What it paid is owed once more.

    how: REVERSED or VOIDED. Done once, however often it is asked for; never for what a refund of ours reversed.
    What was delivered for it is withdrawn afterwards, by query (`withdraw_at`). The caller commits.
    """
    if transaction.is_gone or transaction.merged_into_id or is_reversed_by_us(transaction):
        return
    now = clock.now()
    lines = {
        (
            post.CLEARING if transaction.provider == "mpesa" else post.drawer(transaction.channel)
        ): -transaction.amount_cents
    }
    if transaction.unallocated_cents:
        lines[post.SUSPENSE] = transaction.unallocated_cents
    if transaction.credited_cents:
        customer = customer_credited(transaction)
        lines[post.wallet(customer)] = transaction.credited_cents
        to_be_spent(customer)
    for given in db.session.scalars(
        select(Allocation).where(Allocation.transaction_id == transaction.id, Allocation.taken_back_at.is_(None))
    ).all():
        payment = lock_payment(given.payment_id)
        given.taken_back_at = now
        account = post.revenue(payment.purpose)
        promised_cents = _refunded_of(transaction, payment, Refund.state != RefundState.FAILED)
        lines[account] = lines.get(account, 0) + given.amount_cents - promised_cents
        sent_back_cents = _refunded_of(transaction, payment, Refund.state == RefundState.DONE)
        columns = {
            "allocated_cents": Payment.allocated_cents - given.amount_cents,
            "refunded_cents": Payment.refunded_cents - sent_back_cents,
            "withdraw_at": now,
        }
        if payment.state == PaymentState.PAID:
            change_state(payment, PaymentState.OPEN, **columns)
        else:
            touch(payment.id, **columns)
        chain.record(transaction.tenant_id, "payment", payment.id, how, actor=actor, new=transaction.receipt, why=why)
    if gap := sum(lines.values()):
        lines[post.REFUNDS_DUE] = -gap  # promised, and owed no more; or sent back before: owed to us by the payer
    post.post(transaction.tenant_id, transaction.environment, how, transaction.uid, occurred_at=now, lines=lines)
    transaction.unallocated_cents = transaction.credited_cents = 0
    if how == REVERSED:
        transaction.reversed_at = now
    else:
        transaction.voided_at, transaction.void_why = now, why[:300]
    chain.record(
        transaction.tenant_id, "transaction", transaction.id, how, actor=actor, new=transaction.receipt, why=why
    )
    db.session.flush()


def _given_before(transaction: Transaction, payment: Payment) -> Allocation | None:
    """What this money gave this payment already: it had more left when other money of the payment was taken back."""
    if not payment.allocated_cents:
        return None
    same = select(Allocation).where(Allocation.transaction_id == transaction.id, Allocation.payment_id == payment.id)
    return db.session.scalars(same.where(Allocation.taken_back_at.is_(None))).one_or_none()


def last_taken_back(payment_id: int) -> Transaction | None:
    """The latest money that paid this and is gone again (see `take_back`), or None."""
    gone = select(Transaction).join(Allocation, Allocation.transaction_id == Transaction.id)
    gone = gone.where(Allocation.payment_id == payment_id, Allocation.taken_back_at.is_not(None))
    return db.session.scalars(gone.order_by(Allocation.id.desc()).limit(1)).first()


def is_reversed_by_us(transaction: Transaction) -> bool:
    """Whether a refund of ours reversed it, or may have: M-Pesa's records then say `reversed` of it too."""
    ours = select(Refund.id).where(
        Refund.transaction_id == transaction.id,
        Refund.method == "reversal",
        Refund.state.in_({*REFUND_TOLD, RefundState.DONE}),
    )
    return db.session.scalar(ours.limit(1)) is not None


def _refunded_of(transaction: Transaction, payment: Payment, is_counted: ColumnElement[bool]) -> int:
    """How much of what this money paid here was sent back, or promised."""
    total = select(func.coalesce(func.sum(Refund.amount_cents), 0))
    total = total.where(Refund.transaction_id == transaction.id, Refund.payment_id == payment.id, is_counted)
    return int(db.session.scalar(total) or 0)


def lock_with_payments(transaction_id: int, *also: int) -> Transaction:
    """The transaction, locked after the payments that it paid: payments before money, as everywhere.

    also: ids of more payments.
    """
    paid = select(Allocation.payment_id).where(
        Allocation.transaction_id == transaction_id, Allocation.taken_back_at.is_(None)
    )
    for payment_id in sorted({*also, *db.session.scalars(paid)}):
        lock_payment(payment_id)
    return db.session.scalars(
        select(Transaction)
        .where(Transaction.id == transaction_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def customer_credited(transaction: Transaction) -> int:
    """The id of the customer into whose wallet this money went."""
    account = db.session.scalar(
        select(Line.account)
        .join(Journal)
        .where(
            Line.tenant_id == transaction.tenant_id,
            Journal.kind == "credited",
            Journal.reference.startswith(f"{transaction.uid}/"),
            Line.account.startswith("wallet:"),
        )
        .order_by(Journal.id.desc())  # it may have been in another wallet before
        .limit(1)
    )
    return int(str(account).partition(":")[2])


def to_be_spent(customer_id: int) -> None:
    """A wallet holds more or less than before: who spends from it by itself looks (`TO_SPEND`). The caller commits."""
    db.session.execute(update(Customer).where(Customer.id == customer_id).values(spend_at=clock.now()))
