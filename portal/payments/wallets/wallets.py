"""Customers and their wallets: money that arrived and is kept for the payer, and paying from it.

A wallet's balance is the sum of the ledger's lines on its account, never a column. Spending locks the customer's row,
so that two payments cannot spend the same shilling.
"""

from sqlalchemy import select

from portal.audit import chain
from portal.kernel import clock, personal
from portal.kernel.db import db, new_uid, upsert_nothing
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _
from portal.kernel.money import format_kes
from portal.ledger import post
from portal.payments.booking import customer_credited, paid_columns, to_be_spent
from portal.payments.models import Allocation, Customer, CustomerWord, Payment, Transaction
from portal.payments.payment import change_state, lock_payment, touch
from portal.payments.states import PaymentState
from portal.payments.wallets import accounts
from portal.tenants.counters import take_number

GUESSED = "webhook"  # the channel of another system's word, which says who paid but not for what


def customer_of_phone(tenant_id: int, msisdn: str, *, name: str = "") -> Customer:
    """The customer with this phone: the one known, or a new one with an account number. The caller commits."""
    phone_hash = personal.phone_hash(msisdn, tenant_id)
    known = find_by_phone(tenant_id, msisdn)
    if known is not None:
        return known
    db.session.execute(
        upsert_nothing(
            Customer,
            unique=["tenant_id", "phone_hash"],
            tenant_id=tenant_id,
            uid=new_uid(),
            account_number=accounts.of_number(take_number(tenant_id, "customer")),
            name_sealed=personal.seal_text(name, tenant_id),
            phone_sealed=personal.seal_phone(msisdn, tenant_id),
            phone_hash=phone_hash,
        )
    )
    made = db.session.scalars(
        select(Customer).where(Customer.tenant_id == tenant_id, Customer.phone_hash == phone_hash)
    ).one()
    name_words(made, name)
    return made


def name_words(customer: Customer, name: str) -> None:
    """Let the customer be found by the words of this name. The caller commits."""
    for word_hash in sorted(personal.word_hashes(name, customer.tenant_id)):
        db.session.execute(
            upsert_nothing(
                CustomerWord,
                unique=["tenant_id", "word_hash", "customer_id"],
                tenant_id=customer.tenant_id,
                customer_id=customer.id,
                word_hash=word_hash,
            )
        )


def find_by_phone(tenant_id: int, msisdn: str) -> Customer | None:
    """The customer with this phone, or None."""
    phone_hash = personal.phone_hash(msisdn, tenant_id)
    mine = select(Customer).where(Customer.tenant_id == tenant_id, Customer.phone_hash == phone_hash)
    return db.session.scalars(mine).one_or_none()


def find_by_account(tenant_id: int, account_number: str) -> Customer | None:
    """The customer whose account number a payer typed, normalised, or None."""
    mine = select(Customer).where(Customer.tenant_id == tenant_id, Customer.account_number == account_number)
    return db.session.scalars(mine).one_or_none()


def lock_customer(customer_id: int) -> Customer:
    """The customer, locked until the end of the transaction: the balance cannot change meanwhile."""
    return db.session.scalars(
        select(Customer).where(Customer.id == customer_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def balance_cents(customer: Customer, environment: str) -> int:
    """What a customer has with the tenant, in cents."""
    return -post.balance(customer.tenant_id, environment, post.wallet(customer.id))


def credit(transaction: Transaction, customer: Customer, *, actor: str) -> int:
    """Put all of this money that has no home into a wallet; cents put. The caller commits."""
    if transaction.tenant_id != customer.tenant_id:
        raise NotFound(_("There is no such customer here."))
    if transaction.credited_cents:
        raise Conflict(_("A part of this payment is in a wallet already; place the rest on an invoice, or refund it."))
    put = transaction.unallocated_cents
    if not put:
        return 0
    lines = {post.SUSPENSE: put, post.wallet(customer.id): -put}
    for again in ("", "/again"):  # what `free` took out of this wallet, put back into it
        reference = f"{transaction.uid}/{customer.id}{again}"
        if post.post(
            transaction.tenant_id, transaction.environment, "credited", reference, occurred_at=clock.now(), lines=lines
        ):
            break
    else:
        raise Conflict(_("This payment was in this wallet twice already; place it on an invoice, or refund it."))
    transaction.credited_cents += put
    transaction.unallocated_cents, transaction.unplaced_why = 0, ""
    to_be_spent(customer.id)
    chain.record(
        transaction.tenant_id,
        "transaction",
        transaction.id,
        "credited",
        actor=actor,
        new=f"customer:{customer.id}",
        details={"amount_cents": put},
    )
    db.session.flush()
    return put


def free(transaction: Transaction, *, actor: str) -> None:
    """Take money out of the wallet that it was put into on another system's word: M-Pesa says what it was for.

    What its owner has spent of it meanwhile cannot be: then all of it stays, for staff to settle. The caller commits.
    """
    if transaction.channel != GUESSED or not transaction.credited_cents:
        return
    customer = lock_customer(customer_credited(transaction))
    taken = transaction.credited_cents
    if balance_cents(customer, transaction.environment) < taken:
        return
    lines = {post.wallet(customer.id): taken, post.SUSPENSE: -taken}
    reference = f"{transaction.uid}/{customer.id}"
    if not post.post(
        transaction.tenant_id, transaction.environment, "credit_undone", reference, occurred_at=clock.now(), lines=lines
    ):
        return
    transaction.credited_cents, transaction.unallocated_cents = 0, taken
    chain.record(
        transaction.tenant_id,
        "transaction",
        transaction.id,
        "credit_undone",
        actor=actor,
        old=f"customer:{customer.id}",
        details={"amount_cents": taken},
    )
    db.session.flush()


def pay(payment_id: int, customer_id: int, *, actor: str) -> int:
    """Pay what is due from a wallet, as far as it reaches; cents paid. Raises Conflict for an empty one.

    The caller commits, then enqueues PAID.
    """
    payment = lock_payment(payment_id)
    customer = lock_customer(customer_id)
    if payment.tenant_id != customer.tenant_id:
        raise NotFound(_("There is no such customer here."))
    if payment.state != PaymentState.OPEN:
        raise Conflict(_("This has nothing left to pay."))
    available = balance_cents(customer, payment.environment)
    given = min(available, payment.due_cents)
    if given <= 0:
        raise Conflict(_("The wallet holds %(amount)s.", amount=format_kes(available)))
    now = clock.now()
    paid_before = _wallet_allocation(payment, customer)
    if paid_before is None:
        db.session.add(
            Allocation(
                tenant_id=payment.tenant_id,
                customer_id=customer.id,
                payment_id=payment.id,
                amount_cents=given,
            )
        )
    else:
        paid_before.amount_cents += given
    post.post(
        payment.tenant_id,
        payment.environment,
        "wallet_paid",
        f"{customer.id}/{payment.id}/{payment.version}",
        occurred_at=now,
        lines={post.wallet(customer.id): given, post.revenue(payment.purpose): -given},
    )
    is_paid = given == payment.due_cents
    touch(payment.id, **paid_columns(payment, given, now))
    chain.record(
        payment.tenant_id,
        "payment",
        payment.id,
        "paid" if is_paid else "part_paid",
        actor=actor,
        new="wallet",
        details={"amount_cents": given, "customer": customer.id},
    )
    db.session.flush()
    return given


def put_back(payment_id: int, *, actor: str, customer_id: int | None = None, most_cents: int | None = None) -> int:
    """Undo what wallets paid here: it is their owners' money again, and due again; cents put back.

    customer_id: only what this customer's wallet paid. most_cents: no more than this; None: all. What was delivered for
    it is withdrawn afterwards, by query (`withdraw_at`). The caller commits, then enqueues WITHDRAW.
    """
    payment = lock_payment(payment_id)
    paid = select(Allocation).where(
        Allocation.payment_id == payment.id, Allocation.customer_id.is_not(None), Allocation.taken_back_at.is_(None)
    )
    if customer_id is not None:
        paid = paid.where(Allocation.customer_id == customer_id)
    put = 0
    for given in db.session.scalars(paid.order_by(Allocation.customer_id)).all():
        customer, amount_cents = lock_customer(given.customer_id or 0), given.amount_cents
        if most_cents is not None:
            amount_cents = min(amount_cents, most_cents - put)
        if not amount_cents:
            break
        if amount_cents < given.amount_cents:
            given.amount_cents -= amount_cents
        else:
            given.taken_back_at = clock.now()
        post.post(
            payment.tenant_id,
            payment.environment,
            "wallet_put_back",
            f"{customer.id}/{payment.id}/{payment.version}",
            occurred_at=clock.now(),
            lines={post.revenue(payment.purpose): amount_cents, post.wallet(customer.id): -amount_cents},
        )
        left_cents = Payment.allocated_cents - amount_cents
        if payment.state == PaymentState.PAID:
            change_state(payment, PaymentState.OPEN, allocated_cents=left_cents, withdraw_at=clock.now())
        else:
            touch(payment.id, allocated_cents=left_cents)
        chain.record(
            payment.tenant_id, "payment", payment.id, "put_back", actor=actor, new="wallet",
            details={"amount_cents": amount_cents, "customer": customer.id},
        )  # fmt: skip
        put += amount_cents
    db.session.flush()
    return put


def _wallet_allocation(payment: Payment, customer: Customer) -> Allocation | None:
    return db.session.scalars(
        select(Allocation).where(
            Allocation.payment_id == payment.id,
            Allocation.customer_id == customer.id,
            Allocation.taken_back_at.is_(None),
        )
    ).one_or_none()
