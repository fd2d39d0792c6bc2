"""Everything that can happen to money, in random order, against the simulator with a moved clock.

After every step the books balance: what came in equals what was allocated, credited, kept in suspense and sent back.
At the end, with faults gone and time passed, nothing that the simulator moved is missing, nothing is there twice, and
each thing bought was delivered exactly once.
"""

import os
import sqlite3
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, make_url, select

from portal.gateways.daraja import DarajaError
from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant, Purchase
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.payments import booking
from portal.payments.c2b import pull
from portal.payments.models import InboxItem, Payment, Push, Refund, Transaction
from portal.payments.stk import pushes
from portal.payments.wallets import wallets
from tests.support.application import Serving
from tests.support.clock import later
from tests.support.daraja import new_phone
from tests.support.product import Product

FAULTS = {
    "noCallback": 1,
    "duplicateCallback": 3,
    "callbackBeforeAnswer": 1,
    "outOfOrder": 1,
    "htmlAnswer": {"times": 1, "endpoint": "stkpush"},
    "dropConnection": {"times": 1, "endpoint": "stkpush"},
    "spikeArrest": {"times": 1, "endpoint": "stkpush"},
    "http500": {"times": 1, "endpoint": "stkquery"},
    "tokenExpired": {"times": 1, "endpoint": "stkpush"},
    "resultLost": {"times": 1, "endpoint": "b2c"},
    "emptyAnswer": {"times": 1, "endpoint": "b2c"},
}
MOST = int(os.environ.get("MACHINE_EXAMPLES", "100"))  # a night may take thousands, and longer ones
STEPS = int(os.environ.get("MACHINE_STEPS", "10"))
ANSWERS = st.sampled_from(["pin", "pin", "pin", "pin", "cancel", "wrong", "later"])


class Machine(RuleBasedStateMachine):
    """One product and one M-Pesa; examples follow each other in the same database, as days do."""

    product: Product
    simulator: Serving
    gateway_id: int
    watch: sqlite3.Connection

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[tuple[str, str]] = []  # (token, phone)
        self.numbers: list[str] = []
        self.store = self.simulator.app.extensions["simulator"].store
        self.wallet_phone = new_phone()
        self.packages = [self.product.package("1 hour"), self.product.package("1 day")]
        self.books_at = -1
        self.handsets = self.simulator.app.test_client()
        self.first_transaction = self.store.must("SELECT coalesce(max(id), 0) AS n FROM transactions")["n"]

    def ask(self, path: str, **body: Any) -> None:
        assert self.handsets.post(path, json=body).status_code < 500

    # --- people

    @rule(index=st.integers(0, 1), answer=ANSWERS)
    def buy_internet(self, index: int, answer: str) -> None:
        phone = new_phone()
        body = {"tenant": "mlima", "packageId": self.packages[index], "phone": phone}
        asked = self.product.client().post("/api/portal/mpesa/initiate", json=body)
        assert asked.status_code == 201, asked.text
        self.attempts.append((asked.json["paymentId"], phone))  # type: ignore[index]
        self.work()
        self.answer(phone, answer)

    @rule(amount=st.integers(10, 900), answer=ANSWERS)
    def issue_an_invoice_and_push(self, amount: int, answer: str) -> None:
        number, token = self.product.invoice(amount)
        phone = new_phone()
        self.product.client().post(f"/pay/{token}", data={"phone": phone})
        self.numbers.append(number)
        self.attempts.append((token, phone))
        self.work()
        self.answer(phone, answer)

    @precondition(lambda self: self.attempts)
    @rule(which=st.integers(0, 99), answer=ANSWERS)
    def the_phone_answers(self, which: int, answer: str) -> None:
        _token, phone = self.attempts[which % len(self.attempts)]
        self.answer(phone, answer)

    def answer(self, phone: str, answer: str) -> None:
        if answer == "cancel":
            self.ask(f"/handset/{phone}/cancel")
        elif answer != "later":
            self.ask(f"/handset/{phone}/pin", pin="9999" if answer == "wrong" else "1234")

    @precondition(lambda self: self.attempts)
    @rule(which=st.integers(0, 99))
    def try_again(self, which: int) -> None:
        token, phone = self.attempts[which % len(self.attempts)]
        self.product.client().post(f"/pay/{token}", data={"phone": phone})
        self.work()

    @precondition(lambda self: self.numbers)
    @rule(which=st.integers(0, 99), amount=st.integers(1, 1_200), mistyped=st.booleans())
    def pay_by_hand(self, which: int, amount: int, mistyped: bool) -> None:
        number = self.numbers[which % len(self.numbers)]
        account = f"{number}9" if mistyped else number.lower()
        self.ask(f"/handset/{new_phone()}/pay", shortcode="600111", account=account, amount=amount)

    @precondition(lambda self: self.attempts)
    @rule(which=st.integers(0, 99), method=st.sampled_from(["b2c", "reversal"]), part=st.integers(1, 4))
    def refund(self, which: int, method: str, part: int) -> None:
        token, _phone = self.attempts[which % len(self.attempts)]
        due = self.product.status(token)["amountDue"]
        self.redis_is_emptied()  # or the limit of ten refunds in a quarter of an hour would end this early
        self.product.api("amina").post(
            f"/api/mpesa/{token}/refund", json={"method": method, "amount": 10 * part if due == 0 else None}
        )

    # --- staff

    @rule()
    def staff_keep_what_has_no_home_as_credit(self) -> None:
        with self.product.app.app_context(), transaction():
            homeless = select(Transaction).where(Transaction.unallocated_cents > 0, Transaction.credited_cents == 0)
            if money := db.session.scalars(homeless.order_by(Transaction.id).limit(1)).first():
                customer = wallets.customer_of_phone(money.tenant_id, self.wallet_phone)
                wallets.credit(money, customer, actor="staff")

    @precondition(lambda self: self.numbers)
    @rule(which=st.integers(0, 99))
    def staff_pay_an_invoice_from_the_wallet(self, which: int) -> None:
        number = self.numbers[which % len(self.numbers)]
        with self.product.app.app_context(), suppress(Conflict), transaction():
            payment_id = db.session.query(Payment.id).filter_by(reference=number).scalar()
            tenant_id = db.session.get_one(Payment, payment_id).tenant_id
            wallets.pay(payment_id, wallets.customer_of_phone(tenant_id, self.wallet_phone).id, actor="staff")

    # --- M-Pesa

    @rule(back=st.integers(0, 5))
    def m_pesa_reverses(self, back: int) -> None:
        """Its word is believed whoever brings it: a statement, a pull, an answer about a receipt."""
        with self.product.app.app_context(), transaction():
            known = select(Transaction).where(Transaction.receipt.is_not(None))
            known = known.where(Transaction.merged_into_id.is_(None), Transaction.reversed_at.is_(None))
            if money := db.session.scalars(known.order_by(Transaction.id.desc()).offset(back).limit(1)).first():
                booking.take_back(money, how=booking.REVERSED, why="M-Pesa reversed it.", actor="status")
        self.work()

    @rule()
    def m_pesas_own_list_is_read(self) -> None:
        with self.product.app.app_context():
            with suppress(DarajaError):
                pull.pull(self.gateway_id)
            db.session.remove()

    # --- the world

    @rule(name=st.sampled_from(sorted(FAULTS)))
    def something_breaks(self, name: str) -> None:
        self.ask("/control", faults={name: FAULTS[name]})

    @rule(seconds=st.sampled_from([5, 31, 70, 130, 400]))
    def time_passes(self, seconds: int) -> None:
        later(seconds)
        self.ask("/control", clock={"moveSeconds": 1})
        self.work()

    @rule()
    def redis_is_emptied(self) -> None:
        self.product.app.extensions["redis"].flushall()

    @rule()
    def a_worker_is_killed_before_it_sends(self) -> None:
        with self.product.app.app_context():
            for push_id, _gateway_id in pushes.due_to_send()[:1]:
                with transaction():
                    pushes.lease(push_id, hook_url=f"{self.product.url}/hooks")
            db.session.remove()

    @rule(back=st.integers(1, 6))
    def old_callbacks_come_again(self, back: int) -> None:
        with self.product.inside():
            rows = db.session.query(InboxItem).order_by(InboxItem.id.desc()).limit(back).all()
            with transaction():
                for row in rows:
                    if row.state == "done":
                        db.session.query(InboxItem).filter_by(id=row.id).update(
                            {"state": "new", "next_at": clock.now()}
                        )

    @rule()
    def work(self) -> None:
        self.product.work(rounds=1)

    # --- what holds at every step

    @invariant()
    def the_books_balance(self) -> None:
        at = self.watch.execute("PRAGMA data_version").fetchone()[0]  # moves with whatever anybody has written
        if at != self.books_at:
            assert self.product.books() == []
            self.nothing_is_delivered_unpaid()
            self.books_at = at

    def nothing_is_delivered_unpaid(self) -> None:
        with self.product.inside():
            unpaid = (
                select(func.count(AccessGrant.id))
                .join(AccessGrant.purchase)
                .join(Purchase.payment)
                .where(Payment.allocated_cents < Payment.amount_cents, AccessGrant.ended_at.is_(None))
                .where(AccessGrant.expires_at > clock.now())
            )
            assert db.session.scalar(unpaid) == 0

    def teardown(self) -> None:
        self.store.run("DELETE FROM faults")
        for step in (65, 400, 4_000, 22_000):
            later(step)
            self.ask("/control", clock={"moveSeconds": 1})
            self.idle()
            self.work()
        self.idle()
        self.work()
        self.the_books_balance()
        self.nothing_that_moved_is_missing()

    def idle(self) -> None:
        """Wait until the simulator has delivered what was due."""
        for _turn in range(200):
            due = self.store.must("SELECT count(*) AS n FROM jobs WHERE due_at <= ?", self.store.timestamp())["n"]
            if not due:
                return
            clock_sleep()

    def nothing_that_moved_is_missing(self) -> None:
        moved = self.store.all(
            "SELECT m.receipt, m.amount_cents, m.channel, m.role, m.linked_receipt FROM transactions m "
            "JOIN organisations o ON o.id = m.organisation_id "
            "WHERE o.shortcode = '600111' AND m.id > ? AND m.amount_cents > 0 AND m.linked_receipt = ''",
            self.first_transaction,
        )
        arrived = {row["receipt"]: row["amount_cents"] for row in moved}
        type(self).seen = getattr(type(self), "seen", 0) + len(arrived)
        with self.product.inside():
            booked = dict(
                db.session.execute(
                    select(Transaction.receipt, Transaction.amount_cents).where(Transaction.receipt.in_(arrived))
                ).all()
            )
            by_query = db.session.scalar(
                select(func.count(Transaction.id)).where(
                    Transaction.receipt.is_(None), Transaction.merged_into_id.is_(None)
                )
            )
            missing = set(arrived) - set(booked)
            assert len(missing) <= (by_query or 0), f"money that M-Pesa moved is not here: {missing}"
            assert all(arrived[code] == cents for code, cents in booked.items())
            paid = select(func.count(Payment.id)).where(Payment.purpose == "hotspot", Payment.state == "paid")
            grants = select(func.count(AccessGrant.id)).join(AccessGrant.purchase).join(Purchase.payment)
            opened = db.session.scalar(grants.where(Payment.state == "paid"))
            assert opened == db.session.scalar(paid), "each paid package was opened, once"
            stuck = db.session.query(Push).filter(Push.state.in_(("created", "sending", "awaiting_pin"))).count()
            assert stuck == 0
            assert db.session.query(InboxItem).filter(InboxItem.state.in_(("new", "dead"))).count() == 0
            over = select(func.count(Transaction.id)).where(Transaction.refunded_cents > Transaction.amount_cents)
            assert db.session.scalar(over) == 0
            assert db.session.query(Refund).filter(Refund.state == "sending").count() == 0


def clock_sleep() -> None:
    """A moment for the simulator's own thread."""
    import time

    time.sleep(0.02)


@pytest.mark.property(54)
@pytest.mark.property(72)
@pytest.mark.property(73)
@pytest.mark.property(76)
def test_money_in_random_order_is_never_lost_or_doubled(served: Product, simulator: Serving) -> None:
    served.give_initiator()
    api = served.api("amina")
    gateway = api.get("/api/payment-gateways").json["items"][0]["id"]
    assert api.post(f"/api/payment-gateways/{gateway}/register-urls").status_code == 200
    with served.app.app_context():
        gateway_id = db.session.query(Gateway.id).filter_by(uid=gateway).scalar()
        pull.register(gateway_id, "254700000001", actor="test", public_url=served.url)
        db.session.remove()
    file = make_url(served.app.config["PORTAL"].database_url).database or ""
    with closing(sqlite3.connect(file)) as watch:
        own = {"product": served, "simulator": simulator, "gateway_id": gateway_id, "watch": watch}
        machine = type("Ours", (Machine,), own)
        run_state_machine_as_test(
            machine, settings=settings(max_examples=MOST, stateful_step_count=STEPS, deadline=None)
        )
    assert machine.seen > 10, "money moved at all"  # type: ignore[attr-defined]
