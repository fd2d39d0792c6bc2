"""What fits exactly, settled and delivered in sets: by far the most callbacks there are.

One transaction takes many rows of the inbox, reads what they are about in a few statements, decides in memory, and
writes all of it in bulk. Whatever is odd leaves the set and goes the careful way (`callbacks`), row by row, and so does
every row where a set fails: the transaction holds all of it or nothing.

What a row means is decided by the careful way's own functions (`callbacks.judged`, `callbacks.ending_of`,
`booking.columns_of`, …); here stands only what makes a row ordinary. Both ways leave the same rows behind, which a
property test holds them to.

    an STK success        its push, gateway, id and amount fit, its payment is open and due exactly that
    its C2B echo          of a push by name and amount, or a second word of a receipt that a push has
    a failure             of a push that is waiting for its answer
    a C2B confirmation    names one open payment, and is exactly what is due there
    any of them again     changes nothing

Locks are taken in one order: inbox rows, payments by id, then what is written. What another worker holds is left for
the next look, so no worker waits for one that waits for it.
Decided: once a payment, or a receipt, has an odd row, its later rows of the same set are left with it: they are settled
in the order in which they came.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.engine import Connection

from portal.audit import chain
from portal.audit.models import AuditEntry
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.gateways.settings import ENVIRONMENTS
from portal.kernel import bulk, clock, personal, vault
from portal.kernel.db import db, transaction
from portal.ledger.models import Journal, Line
from portal.payments import booking, completion, matching
from portal.payments.booking import Home, IncomingPayment
from portal.payments.inbox.outcome import CallbackOutcome
from portal.payments.models import (
    TO_SETTLE,
    Allocation,
    InboxItem,
    Payment,
    Push,
    SmsSubmission,
    Transaction,
    TransactionSource,
)
from portal.payments.processing import callbacks
from portal.payments.states import PaymentState
from portal.payments.stk.push_states import State, moved_columns, told_of_move
from portal.payments.webhook import webhook
from portal.tenants.models import Tenant

ANSWERABLE = frozenset({State.SENDING, State.AWAITING_PIN, State.UNCONFIRMED})
UNREADABLE = (vault.CannotOpen, ValueError)  # sealed under a key that is gone, or altered; or malformed
Thing = Any  # a row that was read, as its model has it; what this set changes of it is changed in it, too


@dataclass(frozen=True)
class Paid:
    """A payment that this set paid in full, for who delivers. msisdn: whose money it was, as far as M-Pesa told.

    phone_hash: what that is found by. is_alone: whether this money paid all of it.
    """

    payment: Thing
    business: str
    receipt: str
    msisdn: str | None
    phone_hash: str | None
    is_alone: bool


@dataclass(frozen=True)
class Delivered:
    """The ids of payments that were delivered, and of those whose delivery opened access.

    told: (channel, message) pairs to publish after the commit.
    """

    payments: frozenset[int] = frozenset()
    opened: frozenset[int] = frozenset()
    told: tuple[tuple[str, str], ...] = ()


# Built once: to build a statement anew for each set costs as much as to run it.
_GATEWAYS = (
    select(
        Gateway.id, Gateway.tenant_id, Gateway.environment, Gateway.shortcode, Gateway.store_number,
        Tenant.name.label("business"),
    )
    .join(Tenant, Tenant.id == Gateway.tenant_id)
    .where(bulk.among(Gateway.id, "ids"))
)  # fmt: skip
_BY_TOKEN = select(Push.id, Push.gateway_id, Push.token, Push.payment_id).where(bulk.among(Push.token, "tokens"))
_BY_NAME = select(Push.id, Push.tenant_id, Push.reference, Push.payment_id).where(
    bulk.few(Push.tenant_id, "tenants"), bulk.among(Push.reference, "names")
)
_NAMED = select(Payment.id, Payment.tenant_id, Payment.reference).where(
    bulk.few(Payment.tenant_id, "tenants"),
    bulk.among(Payment.reference, "names"),
)
_LOCKED = (
    select(
        Payment.id, Payment.token, Payment.tenant_id, Payment.environment, Payment.purpose, Payment.reference,
        Payment.amount_cents, Payment.allocated_cents, Payment.state, Payment.version, Payment.phone_sealed,
        and_(Payment.paid_at.is_(None), Payment.fulfilled_at.is_(None), Payment.withdraw_at.is_(None)).label("is_new"),
    )
    .where(bulk.among(Payment.id, "ids"))
    .order_by(Payment.id)
    .with_for_update(skip_locked=True)
)  # fmt: skip
_PUSHES = select(
    Push.id, Push.tenant_id, Push.gateway_id, Push.payment_id, Push.reference, Push.amount_cents, Push.phone_sealed,
    Push.phone_hash, Push.state, Push.checkout_hash,
).where(bulk.among(Push.id, "ids"))  # fmt: skip
_MONEY = select(
    Transaction.id, Transaction.tenant_id, Transaction.environment, Transaction.receipt, Transaction.push_id,
    Transaction.channel, Transaction.amount_cents, Transaction.unallocated_cents, Transaction.phone_hash,
)  # fmt: skip
_MONEY_OF_RECEIPTS = _MONEY.where(
    bulk.few(Transaction.tenant_id, "tenants"),
    Transaction.environment.in_(ENVIRONMENTS),  # of three lists at once SQLite expects too much to use its index
    bulk.among(Transaction.receipt, "receipts"),
)
_MONEY_OF_PUSHES = _MONEY.where(bulk.among(Transaction.push_id, "pushes"))
_CLAIMED = select(SmsSubmission.tenant_id, SmsSubmission.environment, SmsSubmission.receipt).where(
    bulk.few(SmsSubmission.tenant_id, "tenants"),
    SmsSubmission.environment.in_(ENVIRONMENTS),
    bulk.among(SmsSubmission.receipt, "receipts"),
)

Deliver = Callable[[Connection, Sequence[Paid], datetime], Delivered]


@dataclass(frozen=True)
class Taken:
    """What became of the rows that a set took. odd: ids to be settled one by one; held: how many others hold.

    told: of what was delivered, to be published (`Delivered`). next_after: the id of its last row, where more may wait.
    """

    settled: int = 0
    odd: tuple[int, ...] = ()
    held: int = 0
    paid: int = 0
    told: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    next_after: int | None = None


@dataclass
class _Word:
    """One row of the inbox, read. payment_id: what it is about, as far as that is known before it is settled."""

    row: Thing
    told: messages.StkCallback | messages.C2bPayment | None
    account: str = ""
    payment_id: int | None = None

    @property
    def receipt(self) -> str | None:
        return self.told.receipt if self.told else None


@dataclass
class _Booking:
    """New money that goes straight to its home."""

    columns: dict[str, Any]
    changes: dict[str, Any]  # of the payment
    home: Home
    given_cents: int
    msisdn: str | None
    money: Thing


@dataclass
class _Decided:
    """What is to be written."""

    bookings: list[_Booking] = field(default_factory=list)
    second_words: list[tuple[Thing, str, int]] = field(default_factory=list)  # (money, channel, inbox row)
    told: list[tuple[int, dict[str, Any] | _Booking]] = field(default_factory=list)  # (tenant, line of the history)
    pushes: dict[int, dict[str, Any]] = field(default_factory=dict)
    touched: dict[int, Thing] = field(default_factory=dict)
    outcomes: list[tuple[int, CallbackOutcome]] = field(default_factory=list)


def settle_set(limit: int, deliver: Deliver | None = None, *, after: int = 0) -> Taken:
    """Take at most so many rows and settle those that fit, in one transaction; deliver what they paid.

    after: the id of the row behind which it looks.
    """
    with transaction():
        return _Set(db.session.connection(), clock.now()).work(limit, after, deliver)


class _Set:
    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection, self.now = connection, now
        self.decided = _Decided()
        self.gateways: dict[int, Thing] = {}
        self.payments: dict[int, Thing] = {}
        self.pushes: dict[int, Thing] = {}
        self.by_token: dict[tuple[int, str], int] = {}
        self.by_name: dict[tuple[int, str], int] = {}
        self.payment_of_name: dict[tuple[int, str], int] = {}
        self.by_receipt: dict[tuple[int, str, str], Thing] = {}
        self.by_push: dict[int, Thing] = {}
        self.claimed: set[tuple[int, str, str]] = set()

    def work(self, limit: int, after: int, deliver: Deliver | None) -> Taken:
        words = self._take(limit, after)
        if not words:
            return Taken()
        self._find_payments(words)
        self._lock_and_read(words)
        odd, held = self._decide(words)
        told = self._write(deliver) if self.decided.outcomes else ()
        paid = sum(1 for one in self.decided.bookings if one.home.payment.state == PaymentState.PAID)
        next_after = words[-1].row.id if len(words) == limit else None
        return Taken(len(self.decided.outcomes), tuple(odd), held, paid, told, next_after)

    # --- reading

    def _rows(self, statement: Any, **given: Collection[Any]) -> list[Thing]:
        return bulk.rows_of(self.connection, statement, **given)

    def _things(self, statement: Any, **given: Collection[Any]) -> list[Thing]:
        """The same, where this set may change them."""
        return bulk.things_of(self.connection, statement, **given)

    def _take(self, limit: int, after: int) -> list[_Word]:
        due = (
            select(
                InboxItem.id, InboxItem.kind, InboxItem.tenant_id, InboxItem.gateway_id, InboxItem.push_token,
                InboxItem.body_sealed, InboxItem.is_foreign, InboxItem.received_at,
            )
            .where(TO_SETTLE.is_due, *([InboxItem.id > after] if after else []))
            .order_by(InboxItem.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )  # fmt: skip
        rows = self._rows(due)
        if not rows:
            return []
        self.gateways = {one.id: one for one in self._rows(_GATEWAYS, ids={row.gateway_id for row in rows})}
        return [_read(row) for row in rows]

    def _find_payments(self, words: Sequence[_Word]) -> None:
        """Which payment each row is about, before anything is locked."""
        tokens = {word.row.push_token for word in words if word.row.kind == "stk" and word.row.push_token}
        if tokens:
            for push in self._rows(_BY_TOKEN, tokens=tokens):
                self.by_token[push.gateway_id, push.token] = push.id
                self.pushes[push.id] = push
        names = {(word.row.tenant_id, word.account) for word in words if word.account}
        if names:
            tenants, accounts_typed = {tenant_id for tenant_id, _name in names}, {name for _tenant_id, name in names}
            for push in self._rows(_BY_NAME, tenants=tenants, names=accounts_typed):
                self.by_name[push.tenant_id, push.reference] = push.id
                self.pushes[push.id] = push
            for one in self._rows(_NAMED, tenants=tenants, names=accounts_typed):
                self.payment_of_name[one.tenant_id, one.reference] = one.id
        for word in words:
            if word.row.kind == "stk":
                push_id = self.by_token.get((word.row.gateway_id, word.row.push_token))
                word.payment_id = self.pushes[push_id].payment_id if push_id else None
            elif word.account:
                name = (word.row.tenant_id, word.account)
                push_id = self.by_name.get(name)
                word.payment_id = self.pushes[push_id].payment_id if push_id else self.payment_of_name.get(name)

    def _lock_and_read(self, words: Sequence[_Word]) -> None:
        """Lock the payments that nobody else holds, in the order of their ids, and read what is known of them."""
        wanted = {word.payment_id for word in words if word.payment_id is not None}
        if wanted:
            for one in self._things(_LOCKED, ids=wanted):
                one.due_cents = one.amount_cents - one.allocated_cents
                self.payments[one.id] = one
        mine = {push_id for push_id, push in self.pushes.items() if push.payment_id in self.payments}
        self.pushes = {}
        if mine:
            self.pushes = {push.id: push for push in self._things(_PUSHES, ids=mine)}
        self._read_money(words)

    def _read_money(self, words: Sequence[_Word]) -> None:
        receipts = {word.receipt for word in words if word.receipt}
        tenants = sorted({gateway.tenant_id for gateway in self.gateways.values()})
        found: list[Thing] = []
        if receipts:
            found += self._rows(_MONEY_OF_RECEIPTS, receipts=receipts, tenants=tenants)
        if self.pushes:
            found += self._rows(_MONEY_OF_PUSHES, pushes=self.pushes.keys())
        for money in {one.id: one for one in found}.values():
            self._remember(money)
        by_hand = {word.receipt for word in words if word.row.kind == "c2b" and word.receipt}
        if by_hand:
            queued = self._rows(_CLAIMED, tenants=tenants, receipts=by_hand)
            self.claimed = {(one.tenant_id, one.environment, one.receipt) for one in queued}

    def _remember(self, money: Thing) -> None:
        if money.receipt:
            self.by_receipt[money.tenant_id, money.environment, money.receipt] = money
        if money.push_id is not None:
            self.by_push[money.push_id] = money

    # --- deciding

    def _decide(self, words: Sequence[_Word]) -> tuple[list[int], int]:
        """(ids of odd rows, how many rows others hold)."""
        odd, held = list[int](), 0
        left: set[Any] = set()
        for word in words:
            about = {one for one in (word.payment_id, word.receipt) if one is not None}
            if word.payment_id is not None and word.payment_id not in self.payments:
                held += 1
                left |= about
                continue
            outcome = None if about & left else self._outcome_of(word)
            if outcome is None:
                odd.append(word.row.id)
                left |= about
            else:
                self.decided.outcomes.append((word.row.id, outcome))
        return odd, held

    def _outcome_of(self, word: _Word) -> CallbackOutcome | None:
        """Where this row goes; None where it is odd, and nothing is decided."""
        gateway = self.gateways.get(word.row.gateway_id)
        if gateway is None or gateway.tenant_id != word.row.tenant_id:
            return None
        try:
            if isinstance(word.told, messages.StkCallback):
                return self._of_stk(word.row, gateway, word.told)
            if isinstance(word.told, messages.C2bPayment):
                return self._of_c2b(word, gateway, word.told)
        except UNREADABLE:  # what is sealed is opened before anything is decided
            return None
        return None

    def _of_stk(self, row: Thing, gateway: Thing, callback: messages.StkCallback) -> CallbackOutcome | None:
        push = self.pushes.get(self.by_token.get((gateway.id, row.push_token), 0))
        if push is None or push.checkout_hash != personal.checkout_hash(callback.checkout_request_id):
            return None
        if callback.result_code != "0":
            return self._of_failure(row, push, callback)
        known = self.by_receipt.get((gateway.tenant_id, gateway.environment, callback.receipt or ""))
        answered = self.by_push.get(push.id)
        if callbacks.judged(row, push, callback, known, answered) is not None:
            return None
        outcome = CallbackOutcome("done", callbacks.PAID.format(receipt=callback.receipt), push.id)
        if known is not None:
            is_settled = known.push_id == push.id and push.state == State.SUCCEEDED
            return outcome if is_settled and self._again(known, "stk", row) else None
        payment = self.payments[push.payment_id]
        if answered is not None or not self._takes(payment, gateway, callback.amount_cents, push):
            return None
        incoming = callbacks.incoming_payment_of(callback, push, row)
        self._book(gateway, incoming, payment, push, why=callbacks.CALLED_BACK, actor="stk callback")
        return outcome

    def _of_failure(self, row: Thing, push: Thing, callback: messages.StkCallback) -> CallbackOutcome | None:
        code, old = callback.result_code, State(push.state)
        has_receipt = push.id in self.by_push and self.by_push[push.id].receipt is not None
        if old in (State.DECLINED, State.CANCELLED) or (old == State.SUCCEEDED and has_receipt):
            return None if row.is_foreign and old != State.SUCCEEDED else callbacks.changes_nothing(code, old, push.id)
        ending = callbacks.ending_of(code)
        if row.is_foreign or ending is None or old not in ANSWERABLE:
            return None
        why = f"M-Pesa: {code} {callback.result_desc}"
        self._move(push, ending, result_code=code, failure=f"{code} {callback.result_desc}"[:300])
        told = told_of_move(push.id, old, ending, why=why, actor="stk callback")
        self.decided.told.append((push.tenant_id, told))
        return CallbackOutcome("done", f"Result {code}.", push.id)

    def _of_c2b(self, word: _Word, gateway: Thing, paid: messages.C2bPayment) -> CallbackOutcome | None:
        row, receipt = word.row, (gateway.tenant_id, gateway.environment, paid.receipt)
        if row.is_foreign or paid.shortcode not in matching.numbers_of(gateway) or receipt in self.claimed:
            return None
        known = self.by_receipt.get(receipt)
        if known is not None:
            is_again = known.push_id is not None and self._again(known, "c2b", row)
            return (
                CallbackOutcome("done", completion.SECOND_WORD.format(receipt=paid.receipt), known.push_id)
                if is_again
                else None
            )
        if word.payment_id is None:
            return None
        payment = self.payments[word.payment_id]
        incoming = completion.incoming_by_hand("c2b", paid, paid.occurred_at or row.received_at, inbox_id=row.id)
        push = self.pushes.get(self.by_name.get((gateway.tenant_id, word.account), 0))
        if not self._takes(payment, gateway, paid.amount_cents, push):
            return None
        if push is None:
            self._book(gateway, incoming, payment, None, why="", actor="c2b confirmation")
            return CallbackOutcome(
                "done", completion.FOR_PAYMENT.format(receipt=paid.receipt, reference=payment.reference)
            )
        if push.gateway_id != gateway.id or push.amount_cents != paid.amount_cents or push.id in self.by_push:
            return None
        why = completion.CONFIRMED.format(channel="c2b")
        self._book(gateway, booking.of_push_asked(push, incoming), payment, push, why=why, actor="c2b confirmation")
        return CallbackOutcome("done", callbacks.PAID.format(receipt=paid.receipt), push.id)

    def _takes(self, payment: Thing, gateway: Thing, amount_cents: int | None, push: Thing | None) -> bool:
        """Whether this money is exactly what the payment is due, for the first time."""
        return (
            payment.state == PaymentState.OPEN
            and payment.due_cents == amount_cents
            and payment.environment == gateway.environment
            and payment.tenant_id == gateway.tenant_id
            and payment.is_new
            and (push is None or push.state in ANSWERABLE)
        )

    def _again(self, known: Thing, channel: str, row: Thing) -> bool:
        """Take a second word of money that is known whole; False where it may have more to tell."""
        if known.unallocated_cents or known.phone_hash is None or known.channel == webhook.CHANNEL:
            return False
        if channel != known.channel:
            self.decided.second_words.append((known, channel, row.id))
        return True

    def _book(
        self, gateway: Thing, incoming: IncomingPayment, payment: Thing, push: Thing | None, *, why: str, actor: str
    ) -> None:
        was = push.state if push is not None else None
        home = Home(payment, actor, why, moved_from=was)
        given = payment.due_cents
        columns = booking.columns_of(gateway, incoming, push_id=push.id if push else None, now=self.now)
        columns |= {"unallocated_cents": 0}
        money = SimpleNamespace(**columns)
        self._remember(money)
        if push is not None:
            self._move(push, State.SUCCEEDED, result_code="0", failure="")
        changes = booking.paid_columns(payment, given, self.now)
        payment.state, payment.allocated_cents, payment.due_cents = PaymentState.PAID, payment.amount_cents, 0
        self._touch(payment)
        made = _Booking(columns, changes, home, given, incoming.msisdn, money)
        self.decided.bookings.append(made)
        self.decided.told.append((gateway.tenant_id, made))

    def _move(self, push: Thing, new: State, **columns: Any) -> None:
        Push.GRAPH.check(push.state, new)
        moved = moved_columns(new, now=self.now, **columns)
        self.decided.pushes[push.id] = {"id": push.id, "was_state": push.state, "state": str(new), **moved}
        push.state = new
        self._touch(self.payments[push.payment_id])

    def _touch(self, payment: Thing) -> None:
        payment.version += 1
        self.decided.touched[payment.id] = payment

    # --- writing

    def _write(self, deliver: Deliver | None) -> tuple[tuple[str, str], ...]:
        """Everything, in one order. What is delivered with it is delivered by `deliver`; what is to be told of that."""
        paid = [
            Paid(
                one.home.payment, self.gateways[one.columns["gateway_id"]].business, one.columns["receipt"], one.msisdn,
                one.columns["phone_hash"], one.given_cents == one.home.payment.amount_cents,
            )
            for one in self.decided.bookings
        ]  # fmt: skip
        delivered = deliver(self.connection, paid, self.now) if deliver and paid else Delivered()
        self._write_payments(delivered)
        bulk.update(self.connection, Push, list(self.decided.pushes.values()))
        self._write_money()
        self._write_history(delivered)
        settled = [
            {
                "id": row_id, "state": outcome.state, "outcome": outcome.why[:300], "push_id": outcome.push_id,
                "ask_at": None, "done_at": self.now,
            }
            for row_id, outcome in self.decided.outcomes
        ]  # fmt: skip
        bulk.update(self.connection, InboxItem, settled)
        return delivered.told

    def _write_payments(self, delivered: Delivered) -> None:
        paid = {one.home.payment.id for one in self.decided.bookings}
        told = [one for one in self.decided.touched.values() if one.id not in paid]
        bulk.update(self.connection, Payment, [{"id": one.id, "version": one.version} for one in told])
        rows = []
        for made in self.decided.bookings:
            payment_id = made.home.payment.id
            is_delivered = payment_id in delivered.payments
            version = self.decided.touched[payment_id].version + is_delivered
            fulfilled_at = self.now if is_delivered else None
            rows.append({"id": payment_id, **made.changes, "version": version, "fulfilled_at": fulfilled_at})
        bulk.update(self.connection, Payment, rows)

    def _write_money(self) -> None:
        bookings, now = self.decided.bookings, self.now
        ids = bulk.new_ids(
            self.connection, transactions=(Transaction, len(bookings)), journals=(Journal, len(bookings))
        )
        journals, lines, allocations = [], [], []
        for one, money_id, journal_id in zip(bookings, ids["transactions"], ids["journals"], strict=True):
            columns, payment = one.columns, one.home.payment
            columns["id"] = one.money.id = money_id
            own = {"tenant_id": columns["tenant_id"], "created_at": now}
            journals.append(
                own | {
                    "id": journal_id, "environment": columns["environment"], "kind": "money_in",
                    "reference": columns["uid"], "occurred_at": columns["occurred_at"],
                }
            )  # fmt: skip
            lines += [
                own | {"journal_id": journal_id, "account": account, "amount_cents": cents}
                for account, cents in booking.lines_in(
                    columns["amount_cents"], one.given_cents, payment.purpose
                ).items()
            ]
            allocations.append(
                own | {"transaction_id": money_id, "payment_id": payment.id, "amount_cents": one.given_cents}
            )
        bulk.insert(self.connection, Transaction, [one.columns for one in bookings])
        bulk.insert(self.connection, Journal, journals)
        bulk.insert(self.connection, Line, lines)
        bulk.insert(self.connection, Allocation, allocations)
        witnesses = [
            {
                "tenant_id": money.tenant_id, "transaction_id": money.id, "channel": channel, "inbox_id": row_id,
                "created_at": now,
            }
            for money, channel, row_id in self.decided.second_words
        ]  # fmt: skip
        bulk.insert(self.connection, TransactionSource, witnesses, unless="transaction_id, channel")

    def _write_history(self, delivered: Delivered) -> None:
        rows = []
        for tenant_id, told in self.decided.told:
            if isinstance(told, _Booking):
                home, columns = told.home, told.columns
                line = booking.told_of_straight(columns["id"], columns["receipt"], home, told.given_cents, is_paid=True)
                if home.payment.id in delivered.opened:
                    line["details"]["opened"] = True
            else:
                line = told
            rows.append(chain.columns_of(tenant_id, **line) | {"created_at": self.now})
        bulk.insert(self.connection, AuditEntry, rows)


def _read(row: Thing) -> _Word:
    """The row with what it tells; what cannot be read is odd."""
    try:
        if row.kind == "stk" and row.tenant_id is not None:
            body = personal.open_text(row.body_sealed, row.tenant_id) or ""
            return _Word(row, messages.parse_stk_callback(body.encode()))
        if row.kind == "c2b" and row.tenant_id is not None:
            body = personal.open_text(row.body_sealed, row.tenant_id) or ""
            paid = messages.parse_c2b(messages.read_json(body.encode()))
            return _Word(row, paid, account=messages.normalise_account(paid.account))
    except UNREADABLE:
        pass
    return _Word(row, None)
