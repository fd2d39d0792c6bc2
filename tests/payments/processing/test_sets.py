"""Settled and delivered in sets: the same as row by row, in few statements, wholly or not at all, by many workers."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, update

from portal import fulfilment
from portal.audit.models import AuditEntry
from portal.clinic import invoices
from portal.clinic.models import Patient
from portal.gateways.daraja import StkAccepted
from portal.gateways.models import Gateway
from portal.hotspot import purchases
from portal.hotspot.models import AccessGrant, Package, Purchase
from portal.kernel import bulk, clock, personal, vault
from portal.kernel.db import db, transaction
from portal.ledger.models import Journal, Line
from portal.outbox import write
from portal.outbox.models import OutboxItem
from portal.payments.models import Allocation, InboxItem, Payment, Push, Transaction, TransactionSource
from portal.payments.payment import open_payment
from portal.payments.processing import jobs, sets
from portal.payments.stk import pushes
from portal.tenants.models import Tenant
from tests.support.application import KEYS, closed, config_for, opened
from tests.support.daraja import Pushed, c2b_body, receipt, stk_body
from tests.support.product import Product

MACS = ("AA:BB:CC:00:00:01", "AA:BB:CC:00:00:02", "")


def drain(product: Product) -> None:
    with product.inside():
        fulfilment.drain()


def waiting(product: Product) -> int:
    with product.inside():
        return db.session.query(InboxItem).filter_by(state="new").count()


def ticket(product: Product, msisdn: str, *, mac: str = "", slug: str = "mlima") -> str:
    """A purchase of a day's internet that a phone is to pay: its payment's token."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug=slug).one()
        gateway = db.session.query(Gateway).filter_by(tenant_id=tenant.id).order_by(Gateway.id).first()
        package = db.session.query(Package).filter_by(tenant_id=tenant.id, name="1 day").one()
        device = purchases.Device(mac=mac, browser_hash="" if mac else personal.phone_hash(msisdn, tenant.id))
        assert gateway is not None
        return purchases.open_purchase(tenant, gateway, package, msisdn=msisdn, device=device).payment.token


def order(product: Product, reference: str, amount: int) -> str:
    """Something else to be paid, that only its owner knows: its payment's token."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        gateway = db.session.query(Gateway).filter_by(tenant_id=tenant.id).order_by(Gateway.id).first()
        return open_payment(
            tenant, gateway, environment="sandbox", purpose="order", reference=reference, title="Order",
            amount_cents=amount * 100,
        ).token  # fmt: skip


# --- both ways leave the same rows behind


@dataclass
class Told:
    """What M-Pesa says. of: which payment's push, where it is about one."""

    kind: str
    of: int
    receipt: int


WORDS = st.builds(
    Told,
    kind=st.sampled_from(
        [
            *["success"] * 6, *["echo"] * 5, *["by name"] * 2, "reworded", "cancelled", "declined", "timed out",
            "unclear", "other amount", "foreign", "other id", "other gateway", "garbage", "part by name",
            "too much by name", "unknown name", "echo of another amount", "payer shown", "other number", "foreign by name",
        ]
    ),
    of=st.integers(0, 4),
    receipt=st.integers(0, 5),
)  # fmt: skip
# what is to be paid, and whether its prompt was accepted before its callback comes
PAYMENTS = st.lists(
    st.tuples(st.sampled_from(["invoice", "ticket", "order"]), st.sampled_from(MACS), st.integers(0, 9)),
    min_size=5,
    max_size=5,
)


@dataclass
class Story:
    """One product, and what was done there."""

    product: Product
    pushed: list[Pushed] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


def begin(product: Product, wanted: list[tuple[str, str, int]], number: int) -> Story:
    story, macs = Story(product), set[str]()
    for at, (kind, mac, chance) in enumerate(wanted):
        phone = f"2547{number:06d}{at:02d}"
        if kind == "invoice":
            token = product.invoice(50)[1]
        elif kind == "ticket":
            used = mac in macs  # which of two that are paid at one moment runs first is nobody's to say
            token = ticket(product, phone, mac="" if used else mac)
            macs.add(mac)
        else:
            token = order(product, f"ORD{number:04d}{at}", 50)
        pushed = product.pushed(token, phone, checkout_id=None if chance == 0 else "made-up")
        pushed.checkout_id = f"ws_CO_{number}_{at}" if chance == 0 else pushed.checkout_id
        story.pushed.append(pushed)
        with product.inside():
            story.references.append(db.session.query(Payment.reference).filter_by(token=token).scalar())
    return story


def tell(story: Story, told: Told, number: int) -> None:
    product, pushed, code = story.product, story.pushed[told.of], receipt(number * 10 + told.receipt)
    stk, c2b = f"{product.hook()}/stk/{pushed.token}", f"{product.hook()}/c2b/confirmation"
    masked, whole = f"2547 ***** {pushed.msisdn[-3:]}", pushed.msisdn
    name = story.references[told.of]
    failed = {"cancelled": 1032, "declined": 1, "timed out": 1037, "unclear": 17}
    by_c2b: dict[str, dict[str, Any]] = {
        "echo": {"amount": 50, "account": pushed.reference, "msisdn": masked},
        "payer shown": {"amount": 50, "account": pushed.reference, "msisdn": whole},
        "echo of another amount": {"amount": 30, "account": pushed.reference},
        "by name": {"amount": 50, "account": name},
        "part by name": {"amount": 20, "account": name},
        "too much by name": {"amount": 80, "account": name.lower()},
        "unknown name": {"amount": 50, "account": "NOBODY"},
        "foreign by name": {"amount": 50, "account": name},
        "other number": {"amount": 50, "account": name, "shortcode": "999999"},
    }
    if told.kind in by_c2b:
        said_by_c2b = c2b_body(receipt=code, **by_c2b[told.kind]) | {"LastName": told.kind}
        product.client().post(c2b, json=said_by_c2b)
        if told.kind == "foreign by name":
            from_afar(product)
        return
    body = stk_body(pushed, receipt=code, code=failed.get(told.kind, 0))
    said = body["Body"]["stkCallback"]
    if told.kind == "reworded":
        said["ResultDesc"] = "Accepted for processing."
    elif told.kind == "other amount":
        said["CallbackMetadata"]["Item"][0]["Value"] = 49
    elif told.kind == "other id":
        said["CheckoutRequestID"] = "ws_CO_of_nobody"
    elif told.kind == "other gateway":
        stk = f"{product.hook('bahari')}/stk/{pushed.token}"
    elif told.kind == "garbage":
        body = {"Body": {"stkCallback": [1]}}
    elif told.kind == "foreign":
        said["ResultDesc"] = "From afar."
    product.client().post(stk, data=json.dumps(body), content_type="application/json")
    if told.kind == "foreign":
        from_afar(product)


def from_afar(product: Product) -> None:
    """What was kept last came from an address that is not Safaricom's."""
    with product.app.app_context(), transaction():
        newest = select(InboxItem.id).order_by(InboxItem.id.desc()).limit(1).scalar_subquery()
        db.session.execute(update(InboxItem).where(InboxItem.id == newest).values(is_foreign=True))


RANDOM = {"token", "uid", "created_at", "hash", "prev_hash", "seq", "request_id", "push_token", "dedupe"}


def plain(row: Any, *without: str) -> dict[str, Any]:
    """A row's columns; sealed values are opened, and what is random is left out."""
    found = {}
    for column in row.__table__.columns:
        name, value = column.name, getattr(row, column.name)
        if name in RANDOM or name in without:
            continue
        if name.endswith("_sealed") and value is not None:
            kind = "checkout" if name.startswith("checkout") else "phone" if name.startswith("phone") else "personal"
            value = vault.unseal(value, context=f"{kind}/{row.tenant_id}")
        found[name] = value
    return found


def facts(product: Product) -> dict[str, Any]:
    """Every table that settling and delivering write, by the names of things instead of their numbers."""
    with product.inside():
        money = {one.id: one for one in db.session.query(Transaction)}
        name = {key: one.receipt or f"push {one.push_id}" for key, one in money.items()}
        uids = {one.uid: name[key] for key, one in money.items()}
        lines: dict[int, list[tuple[str, int]]] = {}
        for line in db.session.query(Line):
            lines.setdefault(line.journal_id, []).append((line.account, line.amount_cents))
        grants = {one.id: one.purchase_id for one in db.session.query(AccessGrant)}
        payments = {one.purchase_id: one.payment_id for one in _purchased()}
        subject: dict[str, dict[int, Any]] = {"transaction": name}

        def about(row: AuditEntry) -> Any:
            return subject.get(row.subject_kind, {}).get(row.subject_id, row.subject_id)

        steps = Counter[Any]()
        for row in db.session.query(AuditEntry):
            details = dict(row.details)
            if "transaction" in details:
                details["transaction"] = name[details["transaction"]]
            if details.pop("opened", False):  # told with the payment, or by itself where the job delivers
                steps["payment", row.subject_id, "access_opened"] += 1
            is_opened = row.action == "access_opened"
            told = () if is_opened else (row.actor, row.old, row.new, row.why, json.dumps(details, sort_keys=True))
            steps[row.subject_kind, about(row), row.action, *told] += 1
        return {
            "payments": {one.id: plain(one) for one in db.session.query(Payment)},
            "pushes": {one.id: plain(one) for one in db.session.query(Push)},
            "inbox": {one.id: plain(one) for one in db.session.query(InboxItem)},
            "transactions": {
                name[key]: plain(one, "id", "merged_into_id") | {"merged": name.get(one.merged_into_id or 0)}
                for key, one in money.items()
            },
            "allocations": Counter(
                (name.get(one.transaction_id or 0), one.payment_id, one.amount_cents, one.taken_back_at)
                for one in db.session.query(Allocation)
            ),
            "journals": Counter(
                (
                    one.tenant_id, one.environment, one.kind, uids.get(one.reference.split("/")[0]),
                    one.reference.split("/")[1:2], one.occurred_at, str(sorted(lines[one.id])),
                ).__repr__()
                for one in db.session.query(Journal)
            ),
            "witnesses": Counter(
                (name[one.transaction_id], one.channel, one.inbox_id) for one in db.session.query(TransactionSource)
            ),
            "history": steps,
            "grants": {
                payments[one.purchase_id]: plain(one, "id", "leader_id", "password")
                | {"username": one.username if not one.username.startswith("M") else "random"}
                for one in db.session.query(AccessGrant)
            },
            "messages": {
                payments[grants[int(one.key.split("/")[2])]]: plain(one, "id", "key", "payload_sealed", "about_id")
                | {"payload": _without_password(one), "about_id": grants[one.about_id or 0]}
                for one in db.session.query(OutboxItem)
            },
        }  # fmt: skip


def _purchased() -> list[Any]:
    return list(db.session.execute(select(Purchase.id.label("purchase_id"), Purchase.payment_id)))


def _without_password(item: OutboxItem) -> str:
    said = vault.unseal(item.payload_sealed, context=f"outbox/{item.tenant_id}")
    said = re.sub(r"Password: .{8}", "", said)
    return re.sub(r"Name: M\w{9}", "Name: random", said)


@contextmanager
def row_by_row() -> Iterator[None]:
    """No set is taken: every row goes the careful way."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jobs, "_settle_set", lambda *_given: None)
        yield


def settled_and_delivered(product: Product) -> None:
    with product.app.app_context():
        while True:
            fulfilment.drain()
            fulfilment.deliver_paid()
            db.session.remove()
            if (
                not db.session.query(InboxItem.id)
                .filter(InboxItem.state == "new", InboxItem.next_at <= clock.now())
                .count()
            ):
                break
        db.session.remove()


@pytest.fixture
def two_products(
    request: pytest.FixtureRequest, both_databases: str, clean_redis_url: str, tmp_path: Path
) -> Iterator[tuple[Product, Product]]:
    """The product twice, on two databases of one kind."""
    if both_databases.startswith("sqlite"):
        other = f"sqlite:///{tmp_path / 'other.db'}"
        (tmp_path / "other.db").write_bytes(Path(both_databases.removeprefix("sqlite:///")).read_bytes())
    else:
        server = request.getfixturevalue("postgresql_server")
        other = server.fresh_database(template=request.getfixturevalue("_postgresql_template"))
    products = [
        Product(opened(config_for(url, clean_redis_url, tmp_path / str(number)))).furnish()
        for number, url in enumerate((both_databases, other))
    ]
    yield products[0], products[1]
    for one in products:
        closed(one.app)
    if not both_databases.startswith("sqlite"):
        server.drop(other)


@pytest.mark.property(54)
def test_sets_leave_the_same_rows_behind_as_the_careful_way(
    two_products: tuple[Product, Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words, in whatever order, once in sets and once row by row: every table is compared."""
    numbers, at = iter(range(1, 10_000)), [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: at[0])
    in_sets = Counter[str]()
    take = sets.settle_set

    def counted(*given: Any, **named: Any) -> sets.Taken:
        taken = take(*given, **named)
        in_sets.update(settled=taken.settled, odd=len(taken.odd), paid=taken.paid)
        return taken

    monkeypatch.setattr(sets, "settle_set", counted)
    names = {"next": iter(range(0))}
    monkeypatch.setattr(purchases, "new_reference", lambda letter: f"{letter}{next(names['next']):07d}")

    @settings(max_examples=25, phases=[Phase.explicit, Phase.generate])  # what was before stays: nothing to shrink
    @given(wanted=PAYMENTS, turns=st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=3))
    def same(wanted: list[tuple[str, str, int]], turns: list[list[Told]]) -> None:
        number = next(numbers)
        at[0] = at[0].replace(microsecond=0) + pushes.SAME_PHONE_WAIT
        stories = []
        for product in two_products:
            names["next"] = iter(range(number * 10, number * 10 + 10))
            stories.append(begin(product, wanted, number))
        for words in turns:
            for told in words:
                for story in stories:
                    tell(story, told, number)
            settled_and_delivered(two_products[0])
            with row_by_row():
                settled_and_delivered(two_products[1])
        one, other = (facts(product) for product in two_products)
        for table in one:
            assert one[table] == other[table], table

    same()
    assert [product.books() for product in two_products] == [[], []]
    assert in_sets["settled"] > 5 and in_sets["paid"] > 5 and in_sets["odd"] > 5, in_sets


# --- few statements


@contextmanager
def statements_of(product: Product) -> Iterator[list[str]]:
    """What is asked of the database meanwhile. A statement over many rows is one."""
    with product.inside():
        engine, seen = db.engine, list[str]()

    def on_statement(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", on_statement)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", on_statement)


def called_back(product: Product, count: int) -> None:
    """So many purchases of internet, each paid by its phone, whose callbacks wait."""
    answer = StkAccepted(checkout_request_id="", merchant_request_id="m", customer_message="")
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        gateway = db.session.query(Gateway).filter_by(tenant_id=tenant.id).one()
        package = db.session.query(Package).filter_by(tenant_id=tenant.id, name="1 day").one()
        asked = []
        for number in range(count):
            msisdn, device = f"2547110{number:05d}", purchases.Device(mac=f"AA:BB:CC:DD:00:{number:02X}")
            bought = purchases.open_purchase(tenant, gateway, package, msisdn=msisdn, device=device).payment
            push = pushes.request_push(bought.id, msisdn, actor="test").push
            pushes.lease(push.id, hook_url="http://test/hooks")
            name = f"ws_CO_{number:020d}"
            pushes.accepted(push.id, replace(answer, checkout_request_id=name))
            asked.append(Pushed(push.id, push.token, name, 50, msisdn, push.reference))
    for number, pushed in enumerate(asked):
        assert product.callback(pushed, receipt=receipt(number)).status_code == 200


def test_a_full_set_is_settled_and_delivered_in_at_most_one_statement_for_each_callback(
    either_product: Product,
) -> None:
    """money.md C: a callback cost 18 statements to settle and 10 to deliver."""
    product = either_product
    called_back(product, 100)
    with statements_of(product) as seen:
        drain(product)
    with product.inside():
        assert {one.state for one in db.session.query(InboxItem)} == {"done"}
        assert db.session.query(Payment).filter(Payment.fulfilled_at.is_not(None)).count() == 100
        assert db.session.query(AccessGrant).count() == db.session.query(OutboxItem).count() == 100
    assert len(seen) <= 40, Counter(seen)
    assert product.books() == []


# --- wholly or not at all


class Killed(BaseException):
    """What no line of ours catches, as a kill."""


@contextmanager
def killed_at(product: Product, number: int) -> Iterator[list[str]]:
    """The process dies before this statement, counted from 0, or before its commit; what it had asked until then."""
    with product.inside():
        engine, seen = db.engine, list[str]()

    def on_statement(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)
        if len(seen) == number + 1:
            raise Killed

    def on_commit(_connection: Any) -> None:
        seen.append("COMMIT")
        if len(seen) == number + 1:
            raise Killed

    event.listen(engine, "before_cursor_execute", on_statement)
    event.listen(engine, "commit", on_commit)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", on_statement)
        event.remove(engine, "commit", on_commit)


def several(product: Product) -> list[str]:
    """Callbacks of each ordinary kind, waiting; the tokens of the payments that they pay."""
    phones = [f"25471100000{at}" for at in range(6)]
    paid = [ticket(product, phones[0], mac=MACS[0]), ticket(product, phones[1], mac=MACS[0]), product.invoice(50)[1]]
    pushed = [product.pushed(token, phone) for token, phone in zip(paid, phones, strict=False)]
    for at, one in enumerate(pushed):
        product.callback(one, receipt=receipt(at))
    echo = c2b_body(receipt=receipt(0), amount=50, account=pushed[0].reference)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=echo)
    number, by_name = product.invoice(70)
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(9), amount=70, account=number)
    )
    product.callback(product.pushed(product.invoice(90)[1], phones[4]), code=1032)
    return [*paid, by_name]


def test_whoever_is_killed_between_two_statements_has_settled_nothing_or_all(either_product: Product) -> None:
    product = either_product
    paid = several(product)
    before = facts(product)
    for number in range(200):
        with killed_at(product, number) as seen:
            try:
                with product.inside():
                    taken = sets.settle_set(100, fulfilment.deliver_set)
            except Killed:
                taken = None
            finally:
                with product.inside():
                    db.session.rollback()
                    db.engine.dispose()
        if taken is not None:
            break
        assert facts(product) == before, seen[-1]
    assert number > 20 and taken == sets.Taken(settled=6, paid=4), (number, taken)
    assert {product.status(token)["status"] for token in paid} == {"paid"} and product.books() == []


def test_a_set_that_fails_is_settled_row_by_row(either_product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad row never stops the others, and nothing of the set is lost or doubled."""
    product = either_product
    paid = several(product)
    insert = bulk.insert

    def refuse(connection: Any, model: Any, rows: Any, **named: Any) -> None:
        insert(connection, model, rows, **named)
        if model is Transaction:
            insert(connection, model, [{**rows[0], "id": 10_000}], **named)  # its receipt is taken

    monkeypatch.setattr(bulk, "insert", refuse)
    drain(product)
    with product.inside():
        fulfilment.deliver_paid()
        assert {one.state for one in db.session.query(InboxItem)} == {"done"}
        assert db.session.query(Transaction).count() == 4
    assert {product.status(token)["status"] for token in paid} == {"paid"} and product.books() == []


@pytest.mark.parametrize("spoilt", ["v1.gone.AAAA", "v1.test.A"])
def test_what_no_key_opens_is_odd_and_costs_no_other_its_set(product: Product, spoilt: str) -> None:
    """A body, a prompt's phone and a buyer's phone: the first two are a person's, the third is paid all the same."""
    body, phone, buyer, good = (ticket(product, f"25471100000{at}", mac=f"AA:BB:CC:00:01:{at:02X}") for at in range(4))
    for at, token in enumerate((body, phone, good)):
        product.callback(product.pushed(token, f"25472200000{at}"), receipt=receipt(at))
    with product.app.app_context(), transaction():
        reference = db.session.query(Payment.reference).filter_by(token=buyer).scalar()
    by_name = c2b_body(receipt=receipt(9), amount=50, account=reference)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=by_name)
    with product.app.app_context(), transaction():
        first = select(InboxItem.id).order_by(InboxItem.id).limit(1).scalar_subquery()
        db.session.execute(update(InboxItem).where(InboxItem.id == first).values(body_sealed=spoilt))
        of_phone = select(Payment.id).where(Payment.token == phone).scalar_subquery()
        db.session.execute(update(Push).where(Push.payment_id == of_phone).values(phone_sealed=spoilt))
        db.session.execute(update(Payment).where(Payment.token == buyer).values(phone_sealed=spoilt))
    with product.inside():
        taken = sets.settle_set(100, fulfilment.deliver_set)
        assert (taken.settled, len(taken.odd), taken.paid) == (2, 2, 2)
        paid = {one.token: one.fulfilled_at for one in db.session.query(Payment).filter_by(state="paid")}
    assert set(paid) == {buyer, good} and paid[good] is not None and paid[buyer] is None and product.books() == []


def test_what_cannot_be_delivered_in_a_set_is_delivered_by_the_job(product: Product) -> None:
    """Paid again after its money was gone: the same code opens again, which is no matter of sets."""
    token = ticket(product, "254711000001", mac=MACS[0])
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        purchase = db.session.query(Purchase).filter_by(payment_id=payment.id).one()
        made = AccessGrant(
            tenant_id=payment.tenant_id, purchase_id=purchase.id, package_id=purchase.package_id,
            username="BEFORE", password="before", starts_at=clock.now(), expires_at=clock.now(),
        )  # fmt: skip
        db.session.add(made)
    product.callback(product.pushed(token), receipt=receipt(1))
    drain(product)
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=token).one()
        assert (payment.state, payment.fulfilled_at) == ("paid", None) and payment.next_fulfil_at is not None


# --- what else is told, and to whom


@pytest.mark.parametrize("way", ["sets", "row_by_row"])
def test_who_listens_on_redis_hears_of_what_was_paid_whichever_way_it_was_settled(product: Product, way: str) -> None:
    """N2: of each payment on its business' channel, and on its patient's."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        patient = db.session.query(Patient).filter_by(tenant_id=tenant.id).one()
        line = {"kind": "other", "description": "Visit", "amount": 70}
        of_patient = invoices.issue(tenant, lines=[line], patient=patient, actor="test").payment.token
        patient_id, tenant_id = patient.uid, tenant.id
    of_stranger, internet = product.invoice(50)[1], ticket(product, "254711000001", mac=MACS[0])
    for at, token in enumerate((of_patient, of_stranger, internet)):
        product.callback(product.pushed(token, f"25471100000{at}"), receipt=receipt(at))
    listener = product.app.extensions["redis"].pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("*:*")
    listener.get_message(timeout=5)  # that it listens now
    with row_by_row() if way == "row_by_row" else nullcontext():
        settled_and_delivered(product)
    heard = [listener.get_message(timeout=5) for _message in range(4)]
    listener.close()
    told = [(one["channel"].decode(), json.loads(one["data"])) for one in heard]
    assert all(event["event"] == "paid" and event["testMode"] is True for _channel, event in told)
    assert sorted((channel, event["paymentId"], event["amount"], event["receipt"]) for channel, event in told) == sorted(
        [
            (f"clinic:{tenant_id}", of_patient, 70, receipt(0)), (f"patient:{patient_id}", of_patient, 70, receipt(0)),
            (f"clinic:{tenant_id}", of_stranger, 50, receipt(1)), (f"hotspot:{tenant_id}", internet, 50, receipt(2)),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("way", ["sets", "row_by_row"])
def test_the_way_in_goes_to_who_paid_also_where_the_last_part_shows_no_number(product: Product, way: str) -> None:
    token = ticket(product, "254711000001", mac=MACS[0])
    with product.inside():
        reference = db.session.query(Payment.reference).filter_by(token=token).scalar()
    for number, amount, msisdn in ((1, 20, "254722000002"), (2, 30, "2547 ***** 002")):
        body = c2b_body(receipt=receipt(number), amount=amount, account=reference, msisdn=msisdn)
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
        with row_by_row() if way == "row_by_row" else nullcontext():
            settled_and_delivered(product)
    with product.inside():
        assert write.payload_of(db.session.query(OutboxItem).one())["to"] == "254722000002"


def test_money_settled_while_keys_are_rotated_is_sealed_by_the_new_key(product: Product) -> None:
    """Its number is copied from the prompt; a rotation that has been through the money does not come back for it."""
    product.callback(product.pushed(product.invoice(50)[1], "254711000001"), receipt=receipt(1))
    vault.use(vault.KeyRing(f"newer:{'11' * 32},{KEYS}"))
    drain(product)
    with product.inside():
        money = db.session.query(Transaction).one()
        assert money.phone_sealed is not None and vault.is_current(money.phone_sealed)
        assert personal.open_phone(money.phone_sealed, money.tenant_id) == "254711000001"
