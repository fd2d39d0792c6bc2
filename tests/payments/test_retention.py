"""What was dealt with long ago is let go of; what waits, was given up, or keeps a double away stays."""

from datetime import timedelta
from typing import Any

import pytest

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.outbox.models import OutboxItem
from portal.payments import retention
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, MpesaRequest, Refund, Transaction
from tests.support.clock import later
from tests.support.daraja import receipt, stk_body
from tests.support.product import Product

DAY_S = 86_400


def refund_of(gateway: Gateway, number: int) -> int:
    """The id of a bare refund of money that came through this gateway."""
    paid = Transaction(
        tenant_id=gateway.tenant_id, environment="sandbox", receipt=receipt(number), channel="c2b",
        gateway_id=gateway.id, amount_cents=50_000, unallocated_cents=50_000, occurred_at=clock.now(),
    )  # fmt: skip
    db.session.add(paid)
    db.session.flush()
    back = Refund(
        tenant_id=gateway.tenant_id, transaction_id=paid.id, gateway_id=gateway.id, method="b2c", amount_cents=50_000,
        environment="sandbox", requested_by_id=1,
    )  # fmt: skip
    db.session.add(back)
    db.session.flush()
    return back.id


def sweep(product: Product) -> None:
    with product.inside():
        retention.sweep()


def test_the_bodies_of_settled_callbacks_go_after_400_days_and_a_repeat_is_still_known(either_product: Product) -> None:
    """money.md D: nothing pruned the inbox."""
    product = either_product
    token = product.invoice(100)[1]
    push = product.pushed(token)
    path, said = f"{product.hook()}/stk/{push.token}", stk_body(push, receipt=receipt(1))
    assert product.client().post(path, json=said).status_code == 200
    product.settle()
    later(399 * DAY_S)
    sweep(product)
    with product.inside():
        assert db.session.query(InboxItem).one().body_sealed != ""
    later(2 * DAY_S)
    sweep(product)
    with product.inside():
        item = db.session.query(InboxItem).one()
        assert item.body_sealed == "" and item.state == "done" and "Paid, receipt" in item.outcome
        with pytest.raises(Conflict, match="not kept any more"), transaction():
            inbox.replay(item.id)
    assert product.client().post(path, json=said).status_code == 200
    product.settle()
    with product.inside():
        assert db.session.query(InboxItem).count() == 1 and db.session.query(Transaction).count() == 1
    assert product.books() == []


def test_what_waits_or_was_given_up_keeps_its_words(either_product: Product) -> None:
    """money.md D: the sweep must never remove what somebody still has to decide."""
    product = either_product
    for n in range(5):
        product.callback(product.pushed(product.invoice(100 + n)[1]), receipt=receipt(n))
    states = ["new", "waiting", "dead", "done", "rejected"]
    with product.app.app_context():
        with transaction():
            for item, state in zip(db.session.query(InboxItem).order_by(InboxItem.id), states, strict=True):
                item.state = state
        db.session.remove()
    later(500 * DAY_S)
    sweep(product)
    with product.inside():
        kept = {item.state: item.body_sealed != "" for item in db.session.query(InboxItem)}
    assert kept == {"new": True, "waiting": True, "dead": True, "done": False, "rejected": False}


def test_what_is_decided_only_after_its_words_were_to_go_loses_them_then(either_product: Product) -> None:
    """The look went on from the newest one that it had emptied, and never came back to what had waited before it."""
    product = either_product
    for n in range(4):
        product.callback(product.pushed(product.invoice(100 + n)[1]), receipt=receipt(n))
    with product.app.app_context():
        with transaction():
            waiting, _first, dead, _last = db.session.query(InboxItem).order_by(InboxItem.id)
            for item in db.session.query(InboxItem):
                item.state = "done"
            waiting.state, dead.state = "waiting", "dead"
        db.session.remove()
    later(401 * DAY_S)
    sweep(product)
    with product.app.app_context():
        with transaction():
            left = db.session.query(InboxItem).filter(InboxItem.body_sealed != "").order_by(InboxItem.id).all()
            assert [one.state for one in left] == ["waiting", "dead"]
            left[0].state = "rejected"
        db.session.remove()
    sweep(product)
    with product.inside():
        assert [one.state for one in db.session.query(InboxItem).filter(InboxItem.body_sealed != "")] == ["dead"]
        overdue = [one.state for one in db.session.query(InboxItem).filter(InboxItem.overdue_at.is_not(None))]
        assert overdue == ["dead"], "what has gone is not gone over again at every run"


@pytest.mark.parametrize(("state", "is_due"), [("unknown", True), ("sent", False)])
def test_a_question_that_is_due_or_under_way_is_kept_whichever_of_both_is_so(
    product: Product, state: str, is_due: bool
) -> None:
    with product.app.app_context():
        with transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            whose = {"tenant_id": gateway.tenant_id, "gateway_id": gateway.id}
            row = MpesaRequest(**whose, kind="status", receipt="UKL1ABCD21", state=state)
            db.session.add(row)
            db.session.flush()
            row.next_at = clock.now() if is_due else None
        db.session.remove()
    later(401 * DAY_S)
    sweep(product)
    with product.inside():
        assert db.session.query(MpesaRequest).count() == 1


def test_what_is_kept_for_good_does_not_hide_what_may_go(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run looked at so many rows: once as many refunds' questions and dead messages were kept, nothing went."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    monkeypatch.setattr(retention, "MOST_BATCHES", 2)
    with product.app.app_context():
        with transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            tenant_id, gateway_id = gateway.tenant_id, gateway.id
            refund_id = refund_of(gateway, 1)
            for n in range(9):
                is_kept = n < 8
                about: dict[str, Any] = {"refund_id": refund_id} if is_kept else {"receipt": "UKL1ABCD21"}
                asked = {"kind": "status", "state": "answered"} | about
                question = MpesaRequest(tenant_id=tenant_id, gateway_id=gateway_id, **asked)
                db.session.add(question)
                sent = {"kind": "sms", "key": f"{n}", "payload_sealed": "x", "state": "dead" if is_kept else "done"}
                db.session.add(OutboxItem(tenant_id=tenant_id, **sent))
                db.session.flush()
                question.next_at = None
        db.session.remove()
    later(401 * DAY_S)
    sweep(product)
    with product.inside():
        assert db.session.query(MpesaRequest).count() == 8 and db.session.query(OutboxItem).count() == 8


def test_old_questions_go_but_not_those_of_refunds_nor_those_under_way(either_product: Product) -> None:
    """money.md D: nothing pruned mpesa_requests; a pay-out's conversation id is what keeps a second one away."""
    product = either_product
    asked: list[tuple[str, str | int | None, str]] = [  # kind, receipt or refund, state
        ("status", "UKL1ABCD21", "answered"), ("status", "UKL1ABCD22", "failed"), ("balance", None, "unknown"),
        ("status", "UKL1ABCD23", "sent"), ("status", 7, "answered"), ("b2c", 7, "answered"),
        ("reversal", 8, "unknown"), ("status", "UKL1ABCD24", "created"),
    ]  # fmt: skip
    with product.app.app_context():
        with transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            refund_ids = {7: refund_of(gateway, 7), 8: refund_of(gateway, 8)}
            for kind, subject, state in asked:
                about: dict[str, Any] = {"receipt": subject}
                if isinstance(subject, int):
                    about = {"refund_id": refund_ids[subject]}
                is_open = state in ("sent", "created")
                whose: dict[str, Any] = {"tenant_id": gateway.tenant_id, "gateway_id": gateway.id}
                row = MpesaRequest(**whose, kind=kind, state=state, **about)
                db.session.add(row)
                db.session.flush()
                row.next_at = clock.now() if is_open else None
        db.session.remove()
    later(399 * DAY_S)
    sweep(product)
    with product.inside():
        assert db.session.query(MpesaRequest).count() == 8
    later(2 * DAY_S)
    sweep(product)
    with product.inside():
        rows = db.session.query(MpesaRequest).order_by(MpesaRequest.id)
        left = [(one.kind, one.receipt or one.refund_id) for one in rows]
    assert left == [
        ("status", "UKL1ABCD23"), ("status", refund_ids[7]), ("b2c", refund_ids[7]), ("reversal", refund_ids[8]),
        ("status", "UKL1ABCD24"),
    ]  # fmt: skip


def test_delivered_messages_go_after_180_days_and_what_waits_or_is_dead_stays(either_product: Product) -> None:
    """money.md D: nothing pruned the outbox."""
    product, tenant_id = either_product, either_product.tenant_id()
    with product.app.app_context():
        with transaction():
            for state in ("done", "skipped", "new", "dead"):
                db.session.add(OutboxItem(tenant_id=tenant_id, kind="sms", key=state, payload_sealed="x", state=state))
        db.session.remove()
    later(179 * DAY_S)
    sweep(product)
    with product.inside():
        assert db.session.query(OutboxItem).count() == 4
    later(2 * DAY_S)
    sweep(product)
    with product.inside():
        assert {item.state for item in db.session.query(OutboxItem)} == {"new", "dead"}


def test_a_run_takes_bounded_batches_and_the_next_goes_on_from_there(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md D: letting go must not hold the database for long, and must come to its end."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    monkeypatch.setattr(retention, "MOST_BATCHES", 2)
    tenant_id, long_ago = product.tenant_id(), clock.now() - timedelta(days=500)
    with product.app.app_context():
        with transaction():
            for n in range(9):
                said = {"kind": "stk", "dedupe": f"{n}", "body_sealed": "x", "state": "done"}
                db.session.add(InboxItem(**said, tenant_id=tenant_id, received_at=long_ago))
        db.session.remove()
    emptied = []
    for _run in range(3):
        sweep(product)
        with product.inside():
            emptied.append(db.session.query(InboxItem).filter_by(body_sealed="").count())
    assert emptied == [4, 8, 9]
