"""Money taken by hand: cash, a bank transfer, a card machine; recorded, and voided with a reason.

It lies in a drawer of the ledger instead of with M-Pesa; everything after that is the same as for any money. Nothing
is ever erased: a mistake is voided through `booking.take_back`, and what it paid is owed again.

Decided: a form's key becomes the row's public id (through a keyed hash), because the unique id then makes a form that
was sent twice one record, without a column for it.
Decided: voiding money whose credit was spent leaves a wallet below zero, which is what the customer then owes.
"""

from dataclasses import dataclass, replace

from sqlalchemy import select

from portal.audit import chain
from portal.gateways import client_factory
from portal.kernel import clock, money, personal, vault
from portal.kernel.db import db, new_uid, upsert_nothing
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.phone import for_screens
from portal.ledger import post
from portal.payments import matching, search
from portal.payments.booking import VOIDED, allocate, find, take_back
from portal.payments.models import Allocation, Customer, Payment, Transaction
from portal.payments.payment import lock_payment
from portal.payments.states import PaymentState
from portal.payments.wallets import customers, wallets
from portal.tenants.counters import take_number
from portal.users import team

CHANNELS = ("cash", "bank", "card", "other")
PROVIDER = "manual"
# M-Pesa's own limit does not bind a bank transfer; a slip of the finger is still caught.
MOST_CENTS = 10_000_000 * money.CENTS
PAGE_ROWS, MOST_VOIDED_AT_ONCE = 50, 50


@dataclass(frozen=True)
class Taken:
    """Money that somebody took. amount_cents: of `read_amount`. key: of the form, so that sending it twice is once.

    gives_change: what is over is handed back at once, so only what is due is booked.
    """

    amount_cents: int
    channel: str
    actor: str
    user_id: int | None
    note: str = ""
    key: str = ""
    gives_change: bool = False


def read_amount(value: object) -> int:
    """Cents of an amount taken by hand; it may have cents. Raises Refused."""
    amount_cents = money.cents(value)
    if amount_cents <= 0:
        raise Refused(_("The amount must be more than nothing."), code="invalid_amount")
    if amount_cents > MOST_CENTS:
        raise Refused(
            _(
                "The amount is over %(limit)s. Check it, and record it in parts.",
                limit=money.format_kes(MOST_CENTS),
            ),
            code="invalid_amount",
        )
    return amount_cents


def read_channel(value: object) -> str:
    """One of CHANNELS. Raises Refused naming them."""
    if value not in CHANNELS:
        sentence = f"Must be one of {', '.join(CHANNELS)}."
        raise Refused(f"channel: {sentence}", code="invalid_fields", fields={"channel": sentence})
    return str(value)


def for_payment(tenant_id: int, reference: str, taken: Taken) -> Transaction:
    """Record money for an invoice or another open payment. The caller commits.

    What is over waits to be placed, or is not booked at all where change is given.

    reference: as staff know it, or a paymentId. Raises NotFound, or Conflict where nothing is due.
    """
    named = matching.named(tenant_id, reference)
    if named is None:
        raise NotFound(
            _(
                "There is nothing to pay called %(reference)s. Check the number.",
                reference=reference[:40] or "–",
            ),
            code="unknown_reference",
        )
    payment = lock_payment(named.id)
    if before := _recorded(tenant_id, payment.reference, taken):
        return before
    if payment.state != PaymentState.OPEN:
        raise Conflict(_("%(reference)s has nothing left to pay.", reference=payment.reference))
    if taken.gives_change:
        taken = replace(taken, amount_cents=min(taken.amount_cents, payment.due_cents))
    booked = _book(payment, payment.reference, payment.environment, taken)
    allocate(booked, payment, actor=taken.actor)
    return booked


def for_wallet(customer: Customer, taken: Taken) -> Transaction:
    """Record money that a customer keeps with the tenant, whose default gateway says whether it is test money.

    The caller commits, then enqueues PAID.
    """
    customer = wallets.lock_customer(customer.id)
    if before := _recorded(customer.tenant_id, customer.account_number, taken):
        return before
    environment = client_factory.environment_of(customer.tenant_id)
    booked = _book(customer, customer.account_number, environment, taken)
    wallets.credit(booked, customer, actor=taken.actor)
    return booked


def _uid_of(tenant_id: int, key: str) -> str:
    return vault.lookup(key, context=f"manual/{tenant_id}")[:24] if key else new_uid()


def _recorded(tenant_id: int, account: str, taken: Taken) -> Transaction | None:
    """What this form recorded before. Raises Conflict where it then said something else."""
    if not taken.key:
        return None
    before = db.session.scalars(
        select(Transaction).where(Transaction.tenant_id == tenant_id, Transaction.uid == _uid_of(tenant_id, taken.key))
    ).one_or_none()
    if before is None:
        return None
    is_amount = before.amount_cents == taken.amount_cents
    has_change = taken.gives_change and before.amount_cents < taken.amount_cents
    if (before.account, before.channel) != (account, taken.channel) or not (is_amount or has_change):
        raise Conflict(_("This form was sent for something else. Load the page again."), code="idempotency_conflict")
    return before


def _next_receipt(tenant_id: int, environment: str, channel: str) -> str:
    """`CASH1001`: the next number of this channel's that no import brought."""
    while True:
        receipt = f"{channel.upper()}{take_number(tenant_id, 'manual')}"
        if find(tenant_id, environment, receipt) is None:
            return receipt


def _book(owner: Payment | Customer, account: str, environment: str, taken: Taken) -> Transaction:
    tenant_id = owner.tenant_id
    msisdn = personal.open_phone(owner.phone_sealed, tenant_id)
    now, uid = clock.now(), _uid_of(tenant_id, taken.key)
    receipt = _next_receipt(tenant_id, environment, taken.channel)
    row_id = db.session.execute(
        upsert_nothing(
            Transaction,
            unique=["uid"],
            tenant_id=tenant_id,
            uid=uid,
            provider=PROVIDER,
            environment=environment,
            receipt=receipt,
            channel=taken.channel,
            amount_cents=taken.amount_cents,
            unallocated_cents=taken.amount_cents,
            account=account,
            phone_sealed=owner.phone_sealed,
            phone_hash=owner.phone_hash,
            payer_shown=for_screens(msisdn) if msisdn else "",
            occurred_at=now,
            note=taken.note[:300],
            recorded_by_id=taken.user_id,
        ).returning(Transaction.id)
    ).scalar()
    if row_id is None:  # the same form, sent a moment ago: for the same, its lock would have let us see it
        raise Conflict(_("This form was sent for something else. Load the page again."), code="idempotency_conflict")
    booked = db.session.get_one(Transaction, row_id)
    post.post(
        tenant_id,
        environment,
        "money_in",
        uid,
        occurred_at=now,
        lines={post.drawer(taken.channel): taken.amount_cents, post.SUSPENSE: -taken.amount_cents},
    )
    chain.record(
        tenant_id,
        "transaction",
        booked.id,
        "booked",
        actor=taken.actor,
        new=receipt,
        details={"amount_cents": taken.amount_cents, "channel": taken.channel},
    )
    return booked


def void(tenant_id: int, uids: list[str], *, why: str, actor: str) -> list[Transaction]:
    """Take back money recorded in error, all of these or none; what was void before stays as it was voided.

    Raises NotFound where one of them was not recorded by hand here, Refused without a reason. The caller commits.
    """
    why, wanted = why.replace("\0", "").strip(), sorted({uid for uid in uids if uid.isprintable()})
    if not why:
        raise Refused(_("Say why it is taken back."), code="invalid_fields", fields={"reason": _("Required.")})
    if not wanted or len(wanted) > MOST_VOIDED_AT_ONCE:
        raise Refused(f"Name 1 to {MOST_VOIDED_AT_ONCE} payments.", code="invalid_fields", fields={"ids": "Required."})
    own = (
        Transaction.tenant_id == tenant_id,
        Transaction.provider == PROVIDER,
        Transaction.uid.in_(wanted),
    )
    ids = list(db.session.scalars(select(Transaction.id).where(*own)))
    if len(ids) != len(wanted):
        raise NotFound(_("There is no such payment recorded by hand here."))
    paid = select(Allocation.payment_id).where(Allocation.transaction_id.in_(ids), Allocation.taken_back_at.is_(None))
    for payment_id in sorted(set(db.session.scalars(paid))):  # payments before money, as everywhere
        lock_payment(payment_id)
    locked = db.session.scalars(
        select(Transaction)
        .where(*own)
        .order_by(Transaction.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for one in locked:
        take_back(one, how=VOIDED, why=why, actor=actor)
    return list(locked)


@dataclass(frozen=True)
class Record:
    """Money taken by hand as its lists show it. customer_uid: whose wallet it went into, if into one."""

    transaction: Transaction
    reference: str
    recorded_by: str | None
    customer_uid: str | None


def records_of(items: list[Transaction]) -> list[Record]:
    """Each with what it was for, who recorded it, and whose wallet it went into: three look-ups for all of them."""
    references, owners = search.references_of(items), customers.owners_of(items)
    names = team.names_of(one.recorded_by_id for one in items)
    return [Record(one, references[one.id], names.get(one.recorded_by_id or 0), owners.get(one.uid)) for one in items]


def page(tenant_id: int, *, before_id: int | None = None) -> tuple[list[Transaction], str | None]:
    """(what was recorded by hand, newest first, cursor of the next page or None)."""
    found = select(Transaction).where(Transaction.tenant_id == tenant_id, Transaction.provider == PROVIDER)
    if before_id is not None:
        found = found.where(Transaction.id < before_id)
    rows = list(db.session.scalars(found.order_by(Transaction.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None
