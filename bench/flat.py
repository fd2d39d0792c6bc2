"""What people and machines do all day, each by itself: none of it may cost more because more happened before.

`OPERATIONS` are those doors, jobs and pages; a test counts the rows that each visits, `measure` times them with a
thousand and a million payments behind them.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient

from bench import history
from bench.report import Section
from bench.servers import Stage, stage
from portal.audit import jobs as audit_jobs
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.hotspot.sites import outages
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments import matching, search, transaction_status
from portal.payments.c2b import pull, unresolved
from portal.payments.models import Payment, Push, Transaction
from portal.payments.processing import jobs, results
from portal.processes import scheduler
from portal.reconciliation import runs
from portal.web.limits import limiter
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product

FEW, MANY, AT_MOST = 1_000, 1_000_000, 2.0
REPEATED = 7
_numbers = itertools.count(100_000)


@dataclass(frozen=True)
class Operation:
    """One thing that is done again and again. prepare: what it needs, not measured; the answer does it."""

    name: str
    prepare: Callable[["Business"], Callable[[], Any]]


class NotDone(Exception):
    """What was to be measured did not happen."""


def _expect(answer: Any, allowed: set[int], what: str) -> None:
    if answer.status_code not in allowed:
        raise NotDone(f"{what} was answered with {answer.status_code}: {answer.text[:200]}")


class Business:
    """A product in daily use: who is signed in stays so."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.stranger = product.client()
        self.amina: FlaskClient = product.browser_of("amina")
        self.api = product.api("amina")
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).order_by(Gateway.id).first()
            if gateway is None:
                raise NotDone("The product has no gateway.")
            gateway.initiator_name = "api"
            gateway.keep_secret("security_credential", "ready-made")
            self.gateway_id, self.tenant_id = gateway.id, gateway.tenant_id
        self.package = product.package()

    def get(self, path: str, *, client: FlaskClient | None = None, expected: int = 200) -> Callable[[], Any]:
        def ask() -> None:
            answer = (client or self.amina).get(path)
            _expect(answer, {expected}, path)

        return ask

    def inside(self, work: Callable[[Gateway], Any]) -> Callable[[], Any]:
        """Do something with the gateway, as a worker would."""

        def do() -> None:
            with self.product.app.app_context():
                work(db.session.get_one(Gateway, self.gateway_id))
                db.session.remove()

        return do

    def written(self, work: Callable[[Gateway], Any]) -> Callable[[], Any]:
        """The same in a transaction."""

        def do() -> None:
            with self.product.app.app_context(), transaction():
                work(db.session.get_one(Gateway, self.gateway_id))

        return do


def _paid_by_hand(account: str) -> messages.C2bPayment:
    payer = messages.payer_id("254712345678")
    return messages.C2bPayment("", receipt(next(_numbers)), 2_000, clock.now(), "600111", account, payer)


def _posts(business: Business, path: str, **body: Any) -> Callable[[], Any]:
    def post() -> None:
        answer = business.stranger.post(path, **body)
        _expect(answer, {200, 201, 302, 303}, path)

    return post


def _pays_invoice(business: Business) -> Callable[[], Any]:
    _number, token = business.product.invoice(20)
    return _posts(business, f"/pay/{token}", data={"phone": new_phone(), "idempotency_key": f"{next(_numbers):032d}"})


def _buys(business: Business) -> Callable[[], Any]:
    data = {"package": business.package, "phone": new_phone(), "idempotency_key": f"{next(_numbers):032d}"}
    return _posts(business, "/hotspot/mlima/", data=data)


def _callback(business: Business) -> Callable[[], Any]:
    _number, token = business.product.invoice(20)
    pushed = business.product.pushed(token)

    def come() -> None:
        business.product.callback(pushed, receipt=receipt(next(_numbers)))
        business.product.settle()

    return come


def _confirmation(business: Business, account: str = "") -> Callable[[], Any]:
    named = account or business.product.invoice(20)[0]

    def come() -> None:
        body = c2b_body(receipt=receipt(next(_numbers)), amount=20, account=named)
        _expect(business.stranger.post(f"{business.product.hook()}/c2b/confirmation", json=body), {200}, "confirmation")
        business.product.settle()

    return come


def _strangers_claim(business: Business) -> Callable[[], Any]:
    body = c2b_body(receipt=receipt(next(_numbers)), amount=20, account="X")
    return _posts(business, "/api/mpesa/callbacks/c2b/confirmation", json=body)


def _push_of(business: Business, of: Callable[[Push], Any]) -> Callable[[], Any]:
    _number, token = business.product.invoice(20)
    push_id = business.product.pushed(token).push_id
    return business.inside(lambda _gateway: of(db.session.get_one(Push, push_id)))


def _told_before(gateway: Gateway) -> None:
    paid = _paid_by_hand("")
    results._told_before(gateway, paid.receipt, paid.amount_cents, None, paid.payer)  # type: ignore[arg-type]


def _pulled_row(gateway: Gateway) -> None:
    row = messages.PulledTransaction(
        receipt(next(_numbers)),
        2_000,
        clock.now(),
        messages.PayerId("masked", "2547****126"),
        "c2b-pay-bill-debit",
        "X",
    )
    if not pull._take(gateway, row, clock.now()):
        raise NotDone("The row was known already.")


def _listed_by_mpesa(business: Business) -> Callable[[], Any]:
    row = messages.PulledTransaction(
        receipt(next(_numbers)),
        2_000,
        clock.now(),
        messages.PayerId("masked", "2547****126"),
        "c2b-pay-bill-debit",
        "X",
    )

    def compare(gateway: Gateway) -> None:
        gateway_id, until = gateway.id, clock.now()
        db.session.rollback()
        if not runs.run_pulled(gateway_id, [row], since=until - timedelta(hours=48), until=until, actor="bench"):
            raise NotDone("M-Pesa's list said nothing new.")

    return business.inside(compare)


def _payment_page(business: Business) -> Callable[[], Any]:
    _callback(business)()
    with business.product.app.app_context():
        uid = db.session.query(Transaction.uid).order_by(Transaction.created_at.desc()).limit(1).scalar()
    return business.get(f"/staff/payments/{uid}")


def _attempt_page(business: Business) -> Callable[[], Any]:
    _callback(business)()
    with business.product.app.app_context():
        token = db.session.query(Payment.token).order_by(Payment.created_at.desc()).limit(1).scalar()
    return business.get(f"/staff/attempts/{token}")


def _sees(path: str) -> Callable[[Business], Callable[[], Any]]:
    return lambda business: business.get(path)


def _asks(path: str) -> Callable[[Business], Callable[[], Any]]:
    def prepare(business: Business) -> Callable[[], Any]:
        def ask() -> None:
            _expect(business.api.get(path), {200}, path)

        return ask

    return prepare


def _works(job: Callable[[], Any]) -> Callable[[Business], Callable[[], Any]]:
    return lambda business: business.inside(lambda _gateway: (db.session.rollback(), job()))


OPERATIONS = (
    Operation("buy a package: its prompt is written", _buys),
    Operation("pay an invoice: its prompt is written", _pays_invoice),
    Operation("callback, kept and settled", _callback),
    Operation("payment by hand for an invoice", _confirmation),
    Operation("payment by hand for nobody", lambda business: _confirmation(business, "NOBODY")),
    Operation("echo of a till's payment", lambda b: b.inside(lambda g: matching.push_of(g, _paid_by_hand("")))),
    Operation(
        "receipt for what a query told", lambda b: b.inside(lambda g: matching.known_by_query(g, _paid_by_hand("")))
    ),
    Operation("a query says paid", lambda b: _push_of(b, matching.told_by_status)),
    Operation("a stranger's confirmation", _strangers_claim),
    Operation("what waits for M-Pesa's word, asked about", lambda b: b.written(lambda g: transaction_status.ask_due())),
    Operation("words of money that wait for a person", lambda b: b.inside(lambda g: unresolved.of_tenant(g.tenant_id))),
    Operation("M-Pesa's answer about a receipt", lambda b: b.written(_told_before)),
    Operation("a row of M-Pesa's list", lambda b: b.written(_pulled_row)),
    Operation("M-Pesa's list, compared", _listed_by_mpesa),
    Operation("tick: prompts expire", _works(jobs.expire_pushes)),
    Operation("tick: forgotten offers close", _works(jobs.close_forgotten)),
    Operation("tick: which jobs have work", _works(scheduler.waiting)),
    Operation("tick: the audit is chained", _works(audit_jobs.chain_all)),
    Operation("/metrics", lambda b: b.get("/metrics", client=b.stranger)),
    Operation("figures", lambda b: b.inside(lambda g: search.figures(g.tenant_id, "sandbox"))),
    Operation("page: today", _sees("/staff/")),
    Operation("page: payments", _sees("/staff/payments")),
    Operation("page: payments by receipt", _sees("/staff/payments?receipt=UKA77")),
    Operation("page: payments by words", _sees("/staff/payments?q=UKA77")),
    Operation("page: payments by account", _sees("/staff/payments?q=X77")),
    Operation("page: payments by phone", _sees("/staff/payments?phone=0711000999")),
    Operation("page: one payment", _payment_page),
    Operation("page: one attempt", _attempt_page),
    Operation("page: money to place", _sees("/staff/unmatched")),
    Operation("page: taken by hand", _sees("/staff/manual")),
    Operation("page: customers", _sees("/staff/customers")),
    Operation("page: messages to check", _sees("/staff/claims")),
    Operation("page: appointments", _sees("/staff/appointments")),
    Operation("page: invoices", _sees("/staff/invoices")),
    Operation("page: invoices by words", _sees("/staff/invoices?q=Payer")),
    Operation("page: invoices that are due", _sees("/staff/invoices?state=due")),
    Operation("page: figures of the clinic", _sees("/staff/figures")),
    Operation("page: refunds", _sees("/staff/refunds")),
    Operation("page: reports", _sees("/staff/reconcile")),
    Operation("page: sites", _sees("/staff/sites")),
    Operation("page: online now", _sees("/staff/sessions")),
    Operation("page: sessions, all", _sees("/staff/sessions?past=1")),
    Operation("page: sessions of a receipt", _sees("/staff/sessions?past=1&q=UKA77")),
    Operation("page: sessions of a device", _sees("/staff/sessions?past=1&q=AA:BB:CC:DD:EE:01")),
    Operation("page: sessions of a phone", _sees("/staff/sessions?past=1&q=0711000999")),
    Operation("page: usage", _sees("/staff/usage")),
    Operation("tick: outages", _works(outages.notice)),
    Operation("API: transactions", _asks("/api/transactions")),
    Operation("API: figures", _asks("/api/payments/mpesa/stats")),
    Operation("API: taken by hand", _asks("/api/payments/manual")),
    Operation("API: customers", _asks("/api/customers")),
    Operation("API: invoices", _asks("/api/invoices")),
    Operation("API: audit", _asks("/api/audit")),
    Operation("API: sessions", _asks("/api/hotspot/sessions")),
    Operation("API: sessions online", _asks("/api/hotspot/sessions?online=true")),
)


def measure(*, quick: bool, kinds: Sequence[str]) -> Section:
    """Each operation with a thousand and with a million old payments, on each database."""
    many = MANY // 20 if quick else MANY
    section = Section(
        f"What is done all day, with {FEW:,} and with {many:,} old payments",
        ("operation", *(f"{kind} {what}" for kind in kinds for what in ("few, ms", "many, ms", "ratio"))),
    )
    times: dict[str, list[str]] = {operation.name: [] for operation in OPERATIONS}
    for kind in kinds:
        with stage(kind) as young, stage(kind) as old:
            businesses = [_with_history(young, FEW), _with_history(old, many)]
            for name, (few_ms, many_ms) in times_ms(businesses, OPERATIONS).items():
                ratio = many_ms / few_ms
                verdict = "" if ratio <= AT_MOST else " MISSES IT"
                times[name] += [f"{few_ms:.2f}", f"{many_ms:.2f}", f"{ratio:.2f}{verdict}"]
            for business in businesses:
                with business.product.app.app_context():
                    db.session.remove()
                    db.engine.dispose()
    section.rows += [(name, *cells) for name, cells in times.items()]
    section.notes.append(
        f"The best of {REPEATED}, in turns, in this process, the page's own work included. Aim: a ratio of at most "
        f"{AT_MOST:g}. "
        "The old payments ended 40 days ago: the figures of today and of this month are this month's business."
    )
    return section


def _with_history(on: Stage, payments: int) -> Business:
    product = Product(on.app()).furnish()  # its M-Pesa is a port that refuses at once
    carried = product.app.extensions
    carried["daraja"] = replace(carried["daraja"], sleep=lambda _seconds: None)  # and is asked again at once
    with product.app.app_context():
        history.fill(first=1, last=payments, ends=payments)
    return Business(product)


def times_ms(businesses: Sequence[Any], operations: Sequence[Operation]) -> dict[str, list[float]]:
    """The best time of each operation in each of the businesses, in turns: the machine is as busy for all."""
    found = {}
    for operation in operations:
        for business in businesses:
            operation.prepare(business)()  # what is remembered and compiled is, now
            business.product.work(rounds=1)
        limiter.reset()  # nobody asks so often in earnest
        best_s = [float("inf")] * len(businesses)
        for _again in range(REPEATED):
            for nth, business in enumerate(businesses):
                do = operation.prepare(business)
                started = time.perf_counter()
                do()
                best_s[nth] = min(best_s[nth], time.perf_counter() - started)
        found[operation.name] = [each * 1_000 for each in best_s]
    return found
