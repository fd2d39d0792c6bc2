"""The five nouns of money (payment, push, transaction, allocation, refund), and the inbox they come from.

Foreign keys point down: a payment knows a reference, never an invoice or a package.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.gateways.models import Gateway
from portal.kernel import clock, personal, vault
from portal.kernel.db import BigId, Model, TenantOwned, new_token, new_uid, sealed
from portal.kernel.due import Due
from portal.payments.states import (
    INBOX,
    PAYMENT,
    PUSH,
    REFUND,
    REPORT,
    REQUEST,
    SUBMISSION,
    InboxState,
    PaymentState,
    PushState,
    RefundState,
    ReportState,
    RequestState,
    SubmissionState,
)
from portal.tenants.models import Tenant


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


# The to-do lists of the jobs: index, job and sweeper (`queue.Job.waiting`) mean the same rows.
TO_SPEND = Due("customers", "spend_at", ("spend_at IS NOT NULL",))
TO_DELIVER = Due("payments", "next_fulfil_at", ("state = 'paid'", "fulfilled_at IS NULL"))
TO_LOOK_AT = Due("payments", "look_at", ("look_at IS NOT NULL",))
TO_WITHDRAW = Due("payments", "withdraw_at", ("withdraw_at IS NOT NULL",))
TO_SEND = Due("stk_pushes", "next_send_at", ("state = 'created'",))
TO_QUERY = Due("stk_pushes", "next_query_at", ("next_query_at IS NOT NULL",))
TO_TELL = Due("stk_pushes", "tell_at", ("tell_at IS NOT NULL",))
TO_SETTLE = Due("inbox", "next_at", ("state = 'new'",), by=("id",))
TO_CONFIRM = Due("inbox", "ask_at", ("ask_at IS NOT NULL",))
RECEIPT_UNKNOWN = Due("transactions", "ask_next_at", ("ask_next_at IS NOT NULL",))
REFUND_DUE = Due("refunds", "next_at", ("next_at IS NOT NULL",))
REQUEST_DUE = Due("mpesa_requests", "next_at", ("next_at IS NOT NULL",))
RINGING = Due("stk_pushes", "sent_at", ("state IN ('sending', 'awaiting_pin')",))
OFFERED = Due("payments", "created_at", ("state = 'open'", "purpose = 'hotspot'"))
# What waits for a person, by tenant.
TO_APPROVE = Due("refunds", None, ("state = 'requested'",), by=("tenant_id", "id"))
REFUND_UNKNOWN = Due("refunds", None, ("state = 'unknown'",), by=("tenant_id", "id"))
CALLBACK_WAITING = Due("inbox", None, ("state = 'waiting'",), by=("tenant_id", "push_id"))
UNCONFIRMED = Due("stk_pushes", None, ("state = 'unconfirmed'",), by=("tenant_id", "id"))
UNDELIVERED = Due(
    "payments", None, ("state = 'paid'", "fulfilled_at IS NULL", "fulfil_error <> ''"), by=("tenant_id", "id")
)
OWING = Due("payments", None, ("state = 'open'", "purpose <> 'hotspot'"), by=("tenant_id", "id"))
CALLBACK_DEAD = Due("inbox", None, ("state = 'dead'",), by=("tenant_id", "id"))
TO_CHECK = Due("sms_submissions", None, ("state = 'queued'",), by=("tenant_id", "id"))
TO_AGREE = Due("unverified_reports", None, ("state = 'held'",), by=("tenant_id", "id"))


class Payment(TenantOwned, Model):
    """One thing to be paid. `token` is its only public name: the API's paymentId, the end of `/pay/<token>`.

    `allocated_cents` repeats the sum of its allocations, so that one guarded UPDATE can refuse to pay it twice.
    `live_key` names the thing being paid for while an attempt is live: two tabs meet in its unique key.
    `withdraw_at` is the to-do list of what to end, as `next_fulfil_at` is of what to deliver. `look_at`: of a clinic's,
    where money came that does not pay it in full, or came too late: a deposit may do, another time may be found.
    `enough_cents`: this much of it is enough for what it buys, as a deposit is; None: all of it must be paid.
    `version` grows with everything a payer could see; a poll that carries the same version gets 204.
    `customer_id`: whose wallet keeps what is paid beyond what is due, where that is known; else it waits to be placed.
    """

    __tablename__ = "payments"
    GRAPH = PAYMENT
    __table_args__ = (
        UniqueConstraint("tenant_id", "reference"),
        UniqueConstraint("tenant_id", "idempotency_key"),
        UniqueConstraint("tenant_id", "live_key"),
        Index("ix_payments_order", "tenant_id", "order_id"),
        CheckConstraint("amount_cents >= 0", name="amount_not_negative"),  # nothing: see `reductions`
        CheckConstraint("allocated_cents >= 0 AND allocated_cents <= amount_cents", name="never_overpaid"),
        CheckConstraint("state IN ('open', 'paid', 'closed')", name="state"),
        TO_DELIVER.index("ix_payments_to_fulfil"),
        TO_LOOK_AT.index("ix_payments_to_look_at"),
        UNDELIVERED.index("ix_payments_undelivered"),
        TO_WITHDRAW.index("ix_payments_to_withdraw"),
        OFFERED.index("ix_payments_offered"),
        OWING.index("ix_payments_owing"),
    )

    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    environment: Mapped[str] = mapped_column(String(10))
    purpose: Mapped[str] = mapped_column(String(10))  # clinic, hotspot, pppoe, order
    reference: Mapped[str] = mapped_column(String(20))  # what a payer types as account: capitals and digits
    title: Mapped[str] = mapped_column(String(80), default="")  # neutral words: others may see them
    gateway_id: Mapped[int | None] = mapped_column(ForeignKey("gateways.id"))
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    allocated_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    refunded_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(String(10), default=PaymentState.OPEN)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    order_id: Mapped[str | None] = mapped_column(String(80))
    order_details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    idempotency_key: Mapped[str | None] = mapped_column(String(80))
    live_key: Mapped[str | None] = mapped_column(String(160))
    push_count: Mapped[int] = mapped_column(default=0)
    pushed_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)
    paid_at: Mapped[datetime | None]
    fulfilled_at: Mapped[datetime | None]
    next_fulfil_at: Mapped[datetime | None]
    fulfil_attempts: Mapped[int] = mapped_column(default=0)
    fulfil_error: Mapped[str] = mapped_column(String(300), default="")
    withdraw_at: Mapped[datetime | None]  # its money is gone again: what it bought must end
    look_at: Mapped[datetime | None]
    enough_cents: Mapped[int | None] = mapped_column(BigInteger)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
    tenant: Mapped[Tenant] = relationship()
    gateway: Mapped[Gateway | None] = relationship()
    pushes: Mapped[list["Push"]] = relationship(back_populates="payment", order_by="Push.id")

    @property
    def due_cents(self) -> int:
        return self.amount_cents - self.allocated_cents

    @property
    def deposit_due_cents(self) -> int:
        """What is still to come before that is enough which a deposit is; 0 where none is asked for, or it is here."""
        is_due = self.state == PaymentState.OPEN and self.enough_cents is not None
        return max(0, min(self.enough_cents or 0, self.amount_cents) - self.allocated_cents) if is_due else 0

    @property
    def is_sandbox(self) -> bool:
        return self.environment == "sandbox"


OPEN_PUSH = "state IN ('created', 'sending', 'awaiting_pin')"


class Push(TenantOwned, Model, is_paged=False):
    """One STK push: one request to one phone. `token` ends its callback's address; `reference` its AccountReference."""

    __tablename__ = "stk_pushes"
    GRAPH = PUSH
    __table_args__ = (
        UniqueConstraint("tenant_id", "reference"),
        UniqueConstraint("checkout_hash", "gateway_id"),
        UniqueConstraint("tenant_id", "idempotency_key"),
        Index("ix_stk_pushes_phone", "tenant_id", "phone_hash", "id"),
        Index("ix_stk_pushes_recent", "tenant_id", "created_at"),
        Index("ix_stk_pushes_of_phone", "phone_key", "created_at"),
        _partial("ix_stk_pushes_of_network", "network_key", "created_at", where="network_key IS NOT NULL"),
        _partial("ix_stk_pushes_of_device", "device_key", "created_at", where="device_key IS NOT NULL"),
        Index("ix_stk_pushes_alike", "gateway_id", "amount_cents", "sent_at"),
        _partial("uq_stk_pushes_one_open", "payment_id", where=OPEN_PUSH, unique=True),
        TO_SEND.index("ix_stk_pushes_to_send"),
        TO_QUERY.index("ix_stk_pushes_to_query"),
        RINGING.index("ix_stk_pushes_waiting"),
        UNCONFIRMED.index("ix_stk_pushes_unconfirmed"),
        TO_TELL.index("ix_stk_pushes_to_tell"),
    )

    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"))
    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    reference: Mapped[str] = mapped_column(String(20))
    idempotency_key: Mapped[str | None] = mapped_column(String(80))  # of the form that asked for it
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    phone_key: Mapped[str | None] = mapped_column(String(64))  # these three: see prompt_limits
    network_key: Mapped[str | None] = mapped_column(String(64))
    device_key: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12), default=PushState.CREATED)
    checkout_sealed: Mapped[str | None] = sealed(vault.CHECKOUT)  # M-Pesa's CheckoutRequestID spells the phone
    checkout_hash: Mapped[str | None] = mapped_column(String(64))
    merchant_request_id: Mapped[str | None] = mapped_column(String(120))
    result_code: Mapped[str | None] = mapped_column(String(20))
    failure: Mapped[str] = mapped_column(String(300), default="")  # for staff: what exactly went wrong
    sends: Mapped[int] = mapped_column(default=0)
    next_send_at: Mapped[datetime] = mapped_column(default=clock.now)
    sent_at: Mapped[datetime | None]
    next_query_at: Mapped[datetime | None]
    queries: Mapped[int] = mapped_column(default=0)
    asked_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    tell_at: Mapped[datetime | None]  # that it failed, to be told
    payment: Mapped[Payment] = relationship(back_populates="pushes")
    gateway: Mapped[Gateway] = relationship()

    @property
    def checkout_request_id(self) -> str | None:
        """M-Pesa's name for the prompt; None until M-Pesa took it."""
        return personal.open_checkout(self.checkout_sealed, self.tenant_id)

    def name_checkout(self, checkout_request_id: str) -> None:
        """Keep M-Pesa's name for the prompt, sealed and findable."""
        self.checkout_sealed = personal.seal_checkout(checkout_request_id, self.tenant_id)
        self.checkout_hash = personal.checkout_hash(checkout_request_id)


# Known by a query alone: see `provisional`.
PROVISIONAL = "receipt IS NULL AND merged_into_id IS NULL AND reversed_at IS NULL"


HAS_PUSH = "push_id IS NOT NULL"


class Transaction(TenantOwned, Model):
    """Money that M-Pesa says has moved. Known by its receipt, once per tenant and environment, whoever told us.

    `receipt` is NULL while the money is known by query only; then `push_id` keeps it single.
    `unallocated_cents` is what has no home yet; `unplaced_why` says why, for staff.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "environment", "receipt"),
        Index("ix_transactions_occurred", "tenant_id", "occurred_at", "id"),
        Index("ix_transactions_payer", "tenant_id", "phone_hash"),
        # partial: of a plain one SQLite believes that it leads to a single row where there is no push
        _partial("uq_transactions_push", "push_id", where=HAS_PUSH, unique=True),
        _partial("ix_transactions_account", "tenant_id", "account", where="push_id IS NULL"),
        CheckConstraint("amount_cents > 0", name="amount_positive"),
        CheckConstraint("unallocated_cents >= 0 AND unallocated_cents <= amount_cents", name="never_overspent"),
        _partial(
            "ix_transactions_to_place",
            "tenant_id",
            "id",
            "environment",
            "unallocated_cents",
            where="unallocated_cents > 0",
        ),
        _partial("ix_transactions_manual", "tenant_id", "id", where="provider = 'manual'"),
        _partial("ix_transactions_provisional", "tenant_id", "id", where=PROVISIONAL),
        RECEIPT_UNKNOWN.index("ix_transactions_to_ask"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    provider: Mapped[str] = mapped_column(String(10), default="mpesa")
    environment: Mapped[str] = mapped_column(String(10))
    receipt: Mapped[str | None] = mapped_column(String(20))
    channel: Mapped[str] = mapped_column(String(10))  # stk, c2b, query, status, pull, webhook, statement, sms
    gateway_id: Mapped[int | None] = mapped_column(ForeignKey("gateways.id"))
    push_id: Mapped[int | None] = mapped_column(ForeignKey("stk_pushes.id"))
    inbox_id: Mapped[int | None] = mapped_column(ForeignKey("inbox.id"))  # the callback that told of it first
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    unallocated_cents: Mapped[int] = mapped_column(BigInteger)
    unplaced_why: Mapped[str] = mapped_column(String(40), default="")
    account: Mapped[str] = mapped_column(String(40), default="")  # as the payer typed it
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    payer_shown: Mapped[str] = mapped_column(String(80), default="")  # masked number, as M-Pesa or we mask it
    payer_name_sealed: Mapped[str | None] = sealed(vault.TEXT)
    occurred_at: Mapped[datetime]
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey("transactions.id"))
    credited_cents: Mapped[int] = mapped_column(BigInteger, default=0)  # put into the payer's wallet
    refunded_cents: Mapped[int] = mapped_column(BigInteger, default=0)  # sent back, or on its way
    reversed_at: Mapped[datetime | None]  # M-Pesa took it back from us
    voided_at: Mapped[datetime | None]  # a payment recorded by hand, taken back with a reason
    void_why: Mapped[str] = mapped_column(String(300), default="")
    ask_next_at: Mapped[datetime | None]  # its receipt is not known: M-Pesa is asked about its prompt
    contradicted_at: Mapped[datetime | None]  # M-Pesa's words about it differ: a person decides, no refund leaves
    seen_at: Mapped[datetime | None]  # a person has found at M-Pesa what has no receipt here
    contradiction: Mapped[str] = mapped_column(String(300), default="")
    note: Mapped[str] = mapped_column(String(300), default="")
    recorded_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    gateway: Mapped[Gateway | None] = relationship()
    push: Mapped[Push | None] = relationship()
    allocations: Mapped[list["Allocation"]] = relationship(back_populates="transaction")

    @property
    def is_gone(self) -> bool:
        return self.reversed_at is not None or self.voided_at is not None

    @property
    def is_provisional(self) -> bool:
        """Whether only M-Pesa's answer to a query tells of it."""
        return self.receipt is None and self.merged_into_id is None and not self.is_gone

    @property
    def state(self) -> str:
        """allocated, partly_allocated or unallocated; merged, reversed or void where it was taken back."""
        if self.merged_into_id:
            return "merged"
        if self.is_gone:
            return "reversed" if self.reversed_at else "void"
        if self.unallocated_cents == 0:
            return "allocated"
        return "unallocated" if self.unallocated_cents == self.amount_cents else "partly_allocated"


class TransactionSource(TenantOwned, Model, is_paged=False):
    """Who told us of a transaction after the first, whom its `channel` names: an STK payment is told twice, by its
    callback and by its C2B echo.
    """

    __tablename__ = "transaction_sources"
    __table_args__ = (UniqueConstraint("transaction_id", "channel"),)

    transaction_id: Mapped[int] = mapped_column(ForeignKey("transactions.id"))
    channel: Mapped[str] = mapped_column(String(10))
    inbox_id: Mapped[int | None] = mapped_column(ForeignKey("inbox.id"))


class Allocation(TenantOwned, Model, is_paged=False):
    """How much of a transaction paid which payment."""

    __tablename__ = "allocations"
    __table_args__ = (
        _partial("uq_allocations_once", "transaction_id", "payment_id", where="taken_back_at IS NULL", unique=True),
        Index("ix_allocations_transaction", "transaction_id"),
        _partial("ix_allocations_of_wallets", "tenant_id", "created_at", where="customer_id IS NOT NULL"),
        _partial("ix_allocations_taken_back", "tenant_id", "id", where="taken_back_at IS NOT NULL"),
        CheckConstraint("amount_cents > 0", name="amount_positive"),
    )

    transaction_id: Mapped[int | None] = mapped_column(ForeignKey("transactions.id"))  # NULL: from a wallet
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))  # whose wallet
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    taken_back_at: Mapped[datetime | None]  # money reversed or voided: what it paid is owed again
    transaction: Mapped[Transaction | None] = relationship(back_populates="allocations")
    payment: Mapped[Payment] = relationship()


class Customer(TenantOwned, Model):
    """Somebody who pays, with a wallet: its balance is the ledger's account `wallet:<id>`.

    spend_at: money came into the wallet, or went: since when what it pays for by itself is to be looked at.
    """

    __tablename__ = "customers"
    __table_args__ = (
        UniqueConstraint("tenant_id", "phone_hash"),
        UniqueConstraint("tenant_id", "account_number"),
        TO_SPEND.index("ix_customers_to_spend"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    account_number: Mapped[str] = mapped_column(String(12))  # what they type at the paybill: see `accounts`
    name_sealed: Mapped[str | None] = sealed(vault.TEXT)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    erased_at: Mapped[datetime | None]
    spend_at: Mapped[datetime | None]


class CustomerWord(TenantOwned, Model, is_paged=False):
    """A word of a customer's name, hashed with a key: the name itself is sealed, and is found by its words."""

    __tablename__ = "customer_words"
    __table_args__ = (UniqueConstraint("tenant_id", "word_hash", "customer_id"),)

    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    word_hash: Mapped[str] = mapped_column(String(64))


class Refund(TenantOwned, Model):
    """Money on its way back. Its own entity: asked for, approved, sent, and known by M-Pesa's result.

    How it was told to M-Pesa, when, and under which conversation ids, its one request knows: `refunds.request_of`.
    """

    __tablename__ = "refunds"
    GRAPH = REFUND
    __table_args__ = (
        _partial("ix_refunds_done", "tenant_id", "ended_at", where="state = 'done'"),
        UniqueConstraint("tenant_id", "idempotency_key"),
        CheckConstraint("amount_cents > 0", name="amount_positive"),
        CheckConstraint("method IN ('b2c', 'reversal')", name="method"),
        REFUND_DUE.index("ix_refunds_due"),
        TO_APPROVE.index("ix_refunds_requested"),
        REFUND_UNKNOWN.index("ix_refunds_unknown"),
        _partial("ix_refunds_receipt", "tenant_id", "receipt", where="receipt IS NOT NULL"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    transaction_id: Mapped[int] = mapped_column(ForeignKey("transactions.id"), index=True)
    payment_id: Mapped[int | None] = mapped_column(ForeignKey("payments.id"), index=True)
    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"))
    method: Mapped[str] = mapped_column(String(10))
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(12), default=RefundState.REQUESTED)
    why: Mapped[str] = mapped_column(String(300), default="")
    environment: Mapped[str] = mapped_column(String(10))
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)  # who gets it, by B2C
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # None: a clinic's policy
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    idempotency_key: Mapped[str | None] = mapped_column(String(60))  # of the caller, hashed, with a place
    asked_as: Mapped[str] = mapped_column(String(32), default="")  # digest of payment, amount and method as asked for
    receipt: Mapped[str | None] = mapped_column(String(20))
    stated_cents: Mapped[int | None] = mapped_column(BigInteger)  # M-Pesa moved this instead of what we asked for
    failure: Mapped[str] = mapped_column(String(300), default="")
    next_at: Mapped[datetime | None]  # when it is sent, or asked about
    ended_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]  # that it was sent back
    transaction: Mapped[Transaction] = relationship()


OPEN_REQUEST = "state IN ('created', 'sent')"
MOVES_MONEY = "kind IN ('b2c', 'reversal')"
OF_ITS_KIND = (  # b2c and reversal: of a refund; status: of one thing; balance: of the gateway alone
    "CASE WHEN refund_id IS NULL THEN 0 ELSE 1 END + CASE WHEN push_id IS NULL THEN 0 ELSE 1 END"
    " + CASE WHEN receipt IS NULL THEN 0 ELSE 1 END = CASE WHEN kind = 'balance' THEN 0 ELSE 1 END"
    " AND (kind IN ('status', 'balance') OR refund_id IS NOT NULL)"
)


class MpesaRequest(TenantOwned, Model, is_paged=False):
    """A question M-Pesa answers later, at our result or timeout door: pay-out, reversal, status, balance.

    `token` ends both doors' addresses. Written before it is sent. It is about one refund, one prompt, or one receipt
    that somebody named; a question about the balance is about its gateway alone. A refund has one request that moves
    its money, sent again with the same originator_conversation_id, and any number that ask what became of it.

    """

    __tablename__ = "mpesa_requests"
    GRAPH = REQUEST
    __table_args__ = (
        CheckConstraint("kind IN ('b2c', 'reversal', 'status', 'balance')", name="kind"),
        CheckConstraint(OF_ITS_KIND, name="of_its_kind"),
        _partial("uq_mpesa_requests_moves_refund", "refund_id", where=MOVES_MONEY, unique=True),
        _partial("ix_mpesa_requests_refund", "refund_id", where="refund_id IS NOT NULL"),
        _partial("ix_mpesa_requests_push", "push_id", where="push_id IS NOT NULL"),
        _partial("ix_mpesa_requests_receipt", "receipt", "gateway_id", where="receipt IS NOT NULL"),
        _partial("ix_mpesa_requests_moved", "gateway_id", "sent_at", where=MOVES_MONEY),
        _partial("ix_mpesa_requests_open", "gateway_id", "kind", where=OPEN_REQUEST),
        REQUEST_DUE.index("ix_mpesa_requests_due"),
    )

    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"))
    kind: Mapped[str] = mapped_column(String(10))  # b2c, reversal, status, balance
    refund_id: Mapped[int | None] = mapped_column(ForeignKey("refunds.id"))
    push_id: Mapped[int | None] = mapped_column(ForeignKey("stk_pushes.id"))
    receipt: Mapped[str | None] = mapped_column(String(20))
    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    originator_conversation_id: Mapped[str | None] = mapped_column(String(60), index=True)
    conversation_id: Mapped[str | None] = mapped_column(String(60), index=True)
    network_hash: Mapped[str] = mapped_column(String(64), default="")  # of the stranger who made us ask
    state: Mapped[str] = mapped_column(String(10), default=RequestState.CREATED)
    result_code: Mapped[str | None] = mapped_column(String(20))
    answer: Mapped[str] = mapped_column(String(300), default="")
    next_at: Mapped[datetime | None] = mapped_column(default=clock.now)
    sends: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    gateway: Mapped[Gateway] = relationship()


class SmsSubmission(TenantOwned, Model, is_paged=False):
    """A pasted message of a payment to a gateway without API: it waits for the counter, or opened unverified.

    `opened_at` where the tenant's policy opened before anybody looked.
    """

    __tablename__ = "sms_submissions"
    GRAPH = SUBMISSION
    __table_args__ = (
        UniqueConstraint("tenant_id", "environment", "receipt"),
        Index("ix_sms_submissions_device", "tenant_id", "device", "created_at"),
        TO_CHECK.index("ix_sms_submissions_queued"),
        Index("ix_sms_submissions_opened", "tenant_id", "opened_at"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"))
    environment: Mapped[str] = mapped_column(String(10))
    receipt: Mapped[str] = mapped_column(String(20))
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    stated_cents: Mapped[int] = mapped_column(BigInteger)
    text_sealed: Mapped[str] = sealed(vault.TEXT)
    device: Mapped[str] = mapped_column(String(64), default="")  # MAC, or keyed hash of the phone
    network_hash: Mapped[str] = mapped_column(String(64), default="")  # where it was pasted from
    state: Mapped[str] = mapped_column(String(10), default=SubmissionState.QUEUED)
    opened_at: Mapped[datetime | None]
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    transaction_id: Mapped[int | None] = mapped_column(ForeignKey("transactions.id"))
    payment: Mapped[Payment] = relationship()
    gateway: Mapped[Gateway] = relationship()


class UnverifiedReport(TenantOwned, Model, is_paged=False):
    """What another system alone says was paid (the general webhook): held apart, outside the books.

    It becomes money, in the wallet of the phone that it names, once M-Pesa or a statement tells of the same receipt,
    or a person agrees.
    """

    __tablename__ = "unverified_reports"
    GRAPH = REPORT
    __table_args__ = (
        UniqueConstraint("tenant_id", "environment", "receipt"),
        TO_AGREE.index("ix_unverified_reports_held"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    gateway_id: Mapped[int] = mapped_column(ForeignKey("gateways.id"))
    environment: Mapped[str] = mapped_column(String(10))
    receipt: Mapped[str] = mapped_column(String(20))
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    phone_sealed: Mapped[str | None] = sealed(vault.PHONE)
    phone_hash: Mapped[str | None] = mapped_column(String(64))
    payer_shown: Mapped[str] = mapped_column(String(80), default="")
    occurred_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(10), default=ReportState.HELD)
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    transaction_id: Mapped[int | None] = mapped_column(ForeignKey("transactions.id"))
    gateway: Mapped[Gateway] = relationship()


OPEN_CLAIM = "kind = 'claim' AND done_at IS NULL"


class InboxItem(Model):
    """A callback as it came, kept before it is acknowledged. `body_sealed` carries phones, hence sealed.

    `dedupe`: digest of kind, address and body: the same callback twice is one row, counted.
    What waits and names a receipt has it in `receipt`, and `ask_at` says when M-Pesa is asked about it next.
    """

    __tablename__ = "inbox"
    GRAPH = INBOX
    __table_args__ = (
        UniqueConstraint("dedupe"),
        CheckConstraint("push_token IS NULL OR kind = 'stk'", name="push_token"),
        CheckConstraint("request_token IS NULL OR kind IN ('result', 'timeout')", name="request_token"),
        TO_SETTLE.index("ix_inbox_new"),
        CALLBACK_WAITING.index("ix_inbox_waiting"),
        _partial("ix_inbox_emptied", "id", where="body_sealed = ''"),
        _partial("ix_inbox_overdue", "id", where="overdue_at IS NOT NULL"),
        CALLBACK_DEAD.index("ix_inbox_dead"),
        _partial("ix_inbox_push", "push_id", where="push_id IS NOT NULL"),
        _partial("ix_inbox_receipt", "tenant_id", "receipt", where="receipt IS NOT NULL"),
        TO_CONFIRM.index("ix_inbox_to_ask"),
        _partial("ix_inbox_claims", "gateway_id", "remote_address", where=OPEN_CLAIM),
        Index("ix_inbox_tenant", "tenant_id", "received_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(default=clock.now)
    kind: Mapped[str] = mapped_column(String(12))  # stk, c2b, claim (came without a token), result, timeout
    dedupe: Mapped[str] = mapped_column(String(64))
    tenant_id: Mapped[int | None] = mapped_column(ForeignKey("tenants.id"))
    gateway_id: Mapped[int | None] = mapped_column(ForeignKey("gateways.id"))
    push_token: Mapped[str | None] = mapped_column(String(40))  # of the address it came to: a prompt's callback
    request_token: Mapped[str | None] = mapped_column(String(40))  # or what answers a question of ours
    push_id: Mapped[int | None] = mapped_column(ForeignKey("stk_pushes.id"))
    body_sealed: Mapped[str] = sealed(vault.TEXT)
    remote_address: Mapped[str] = mapped_column(String(45), default="")
    is_foreign: Mapped[bool] = mapped_column(default=False)  # in production, not from Safaricom's; or a retired door
    receipt: Mapped[str | None] = mapped_column(String(20))
    ask_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(10), default=InboxState.NEW)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(default=clock.now)
    outcome: Mapped[str] = mapped_column(String(300), default="")
    done_at: Mapped[datetime | None]
    overdue_at: Mapped[datetime | None]  # when its words were to go, and it was not settled yet
