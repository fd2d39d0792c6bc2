"""Confirmations at addresses that prove nothing: kept before they are acknowledged, asked about, shown, bounded."""

from dataclasses import replace
from typing import Any

import pytest

from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments import transaction_status
from portal.payments.c2b import unresolved
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, MpesaRequest, Payment, Push, Transaction
from portal.payments.processing import callbacks, jobs, request_jobs, results
from tests.support.clock import later
from tests.support.daraja import c2b_body, receipt, stk_body
from tests.support.outages import database_away
from tests.support.product import Product
from tests.support.source_addresses import SAFARICOM, in_production
from tests.support.transaction_status import answer
from tests.support.visitors import csrf_of

LEGACY = "/api/mpesa/callbacks/c2b/confirmation"
PHONE = "254712345126"


def post(product: Product, path: str, body: Any, address: str = "127.0.0.1") -> int:
    return product.client().post(path, json=body, environ_base={"REMOTE_ADDR": address}).status_code


def can_ask(product: Product) -> None:
    """An initiator of every gateway; nobody answers at their address."""
    with product.app.app_context(), transaction():
        for gateway in db.session.query(Gateway):
            gateway.initiator_name = "api"
            gateway.keep_secret("security_credential", "ready-made")


def work(product: Product) -> None:
    """What the workers do about what is due; every question to M-Pesa is accepted, and none is answered."""
    product.settle()
    with product.app.app_context():
        request_jobs.send_due()
        db.session.remove()
    product.settle()


def to_decide(product: Product) -> list[str]:
    tenant_id = product.tenant_id()
    with product.inside():
        return [one.paid.receipt for one in unresolved.of_tenant(tenant_id)]


def m_pesa_says(product: Product, code: str, amount: int, phone: str = PHONE) -> None:
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        results._receipt(gateway, code, answer(code, amount, phone))
    product.settle()


def test_every_payment_at_the_documents_address_is_kept_asked_about_and_shown(product: Product) -> None:
    """money.md A13: of 25, 5 were dropped after a 200; the others were forgotten with M-Pesa's answers."""
    can_ask(product)
    number, token = product.invoice(500)
    for n in range(1, 26):
        assert post(product, LEGACY, c2b_body(receipt=receipt(n), amount=100 + n, account=number)) == 200
    product.settle()
    with product.inside():
        assert db.session.query(InboxItem).filter_by(kind="claim", state="waiting").count() == 25
    subjects: set[str] = set()
    for _minutes in range(8):
        with product.app.app_context(), transaction():
            transaction_status.ask_due()
            subjects |= {one.receipt for one in db.session.query(MpesaRequest)}
            assert db.session.query(MpesaRequest).filter(MpesaRequest.state == "created").count() <= 20
            db.session.query(MpesaRequest).update({"state": "unknown", "next_at": None})  # never answered
        later(65)
    assert subjects == {receipt(n) for n in range(1, 26)}
    assert to_decide(product) == [receipt(n) for n in range(1, 26)]
    assert 'mlango_waiting{what="payments_to_decide"} 25.0' in product.client().get("/metrics").text
    m_pesa_says(product, receipt(25), 125)
    with product.inside():
        assert [one.receipt for one in db.session.query(Transaction)] == [receipt(25)]
    assert len(to_decide(product)) == 24 and product.status(token)["amountDue"] == 375


def test_a_question_that_was_lost_is_asked_again_and_for_days(product: Product) -> None:
    """money.md A13: until M-Pesa has answered, or a person has decided."""
    can_ask(product)
    number, _token = product.invoice(500)
    assert post(product, LEGACY, c2b_body(receipt=receipt(1), amount=500, account=number)) == 200
    product.settle()
    asked_after_h: list[float] = []
    for _turn in range(300):
        with product.app.app_context(), transaction():
            transaction_status.ask_due()
            if db.session.query(MpesaRequest).filter_by(state="created").count():
                asked_after_h.append(_turn / 3)
            db.session.query(MpesaRequest).update({"state": "unknown", "next_at": None})
        later(1_200)
    assert len(asked_after_h) >= 7 and asked_after_h[0] == 0 and asked_after_h[-1] >= 72


def test_a_gateway_that_cannot_ask_keeps_them_for_a_person(product: Product) -> None:
    """money.md A13: without initiator it kept none."""
    number, token = product.invoice(500)
    assert post(product, LEGACY, c2b_body(receipt=receipt(1), amount=500, account=number)) == 200
    assert post(product, LEGACY, c2b_body(receipt=receipt(2), amount=9, account="NOBODY")) == 200
    work(product)
    assert product.status(token)["status"] == "pending"
    later(150)
    brian = product.browser_of("brian")
    page = brian.get("/staff/unmatched").text
    assert receipt(1) in page and receipt(2) in page
    with product.inside():
        taken, refused = [one.id for one in db.session.query(InboxItem).order_by(InboxItem.id)]
    for item_id, given in ((taken, {}), (refused, {"outcome": "refuse"})):
        form = given | {"csrf_token": csrf_of(brian, "/staff/unmatched")}
        assert brian.post(f"/staff/unmatched/undecided/{item_id}", data=form).status_code == 303
    assert product.status(token)["status"] == "paid" and to_decide(product) == [] and product.books() == []
    with product.inside():
        assert [one.receipt for one in db.session.query(Transaction)] == [receipt(1)]


def test_two_gateways_of_one_paybill_are_one_business_to_a_claim(product: Product) -> None:
    """money.md A9 and A13: two gateways with the number, both of which know the account, made it nobody's."""
    can_ask(product)
    given = {
        "name": "hotspot side", "shortcode": "600111", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "sandbox",
    }  # fmt: skip
    assert product.api("amina").post("/api/payment-gateways", given).status_code == 201
    number, token = product.invoice(500)
    assert post(product, LEGACY, c2b_body(receipt=receipt(1), amount=500, account=number)) == 200
    product.settle()
    with product.app.app_context(), transaction():
        other = db.session.query(Gateway).filter_by(name="hotspot side").one()
        results._receipt(other, receipt(1), answer(receipt(1), 500, PHONE))  # asked about by a pasted message
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_stranger_cannot_flood_and_shuts_out_no_word_of_safaricoms(either_product: Product, is_listed: bool) -> None:
    """money.md A13: what is too much is refused, not acknowledged; Safaricom's own addresses have no bound."""
    product = either_product
    in_production(product)
    address = SAFARICOM if is_listed else "203.0.113.9"
    said = [post(product, LEGACY, c2b_body(receipt=receipt(n), amount=100, account="X"), address) for n in range(1, 46)]
    assert said.count(503) == (0 if is_listed else 5) and set(said) <= {200, 503}
    assert post(product, LEGACY, c2b_body(receipt=receipt(999), amount=100, account="X"), SAFARICOM) == 200
    assert post(product, LEGACY, c2b_body(receipt=receipt(998), amount=100, account="X"), "203.0.113.10") == 200
    with product.inside():
        assert db.session.query(InboxItem).filter_by(kind="claim").count() == said.count(200) + 2


@pytest.mark.parametrize("is_foreign", [True, False])
def test_four_hundred_of_strangers_shut_out_strangers_and_nobody_else(product: Product, is_foreign: bool) -> None:
    """money.md A13: of a gateway, whichever networks they come from; Safaricom's own words fill no stranger's room."""
    in_production(product)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        db.session.add_all(
            InboxItem(
                kind="claim", dedupe=f"{n}", tenant_id=gateway.tenant_id, gateway_id=gateway.id, body_sealed="",
                remote_address=f"198.51.{n // 200}.{n % 200}", is_foreign=is_foreign, receipt=receipt(n + 1),
                received_at=clock.now(), next_at=clock.now(), state="waiting", attempts=0, outcome="",
            )
            for n in range(400)
        )  # fmt: skip
    said = c2b_body(receipt=receipt(999), amount=100, account="X")
    assert post(product, LEGACY, said, "203.0.113.9") == (503 if is_foreign else 200)
    assert post(product, LEGACY, said | {"TransID": receipt(998)}, SAFARICOM) == 200


def test_forged_bodies_of_one_receipt_do_not_shut_out_the_true_one(product: Product) -> None:
    """money.md A13: three from strangers, and any number from Safaricom."""
    in_production(product)
    forged = [
        post(product, LEGACY, c2b_body(receipt=receipt(1), amount=100 + n, account="X"), f"203.0.113.{n}")
        for n in range(5)
    ]
    assert forged == [200, 200, 200, 503, 503]
    assert post(product, LEGACY, c2b_body(receipt=receipt(1), amount=500, account="X"), SAFARICOM) == 200


def test_with_the_database_away_it_waits_on_disk_or_is_refused(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A13: it was acknowledged, and looked at by nobody."""
    in_production(product)
    number, _token = product.invoice(500)
    with database_away(product, monkeypatch):
        assert post(product, LEGACY, c2b_body(receipt=receipt(1), amount=500, account=number), SAFARICOM) == 200
        assert post(product, LEGACY, c2b_body(receipt=receipt(2), amount=500, account=number), "203.0.113.9") == 503
    with product.inside():
        assert jobs.take_in_spool() == 1
    product.settle()
    with product.inside():
        (item,) = db.session.query(InboxItem)
        assert (item.kind, item.state, item.receipt) == ("claim", "waiting", receipt(1))


def test_a_claim_that_m_pesas_records_do_not_have_yet_is_asked_about_again(product: Product) -> None:
    """money.md A13: one "not found" ended it, though M-Pesa's own records may be late."""
    can_ask(product)
    number, token = product.invoice(500)
    body = c2b_body(receipt=receipt(1), amount=500, account=number)
    unknown = replace(answer(receipt(1), 500, PHONE), result_code="R000002", result_desc="unknown", parameters={})
    assert post(product, LEGACY, body) == 200
    product.settle()

    def not_found() -> str:
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            results._receipt(gateway, receipt(1), unknown)
            db.session.add(
                MpesaRequest(
                    tenant_id=gateway.tenant_id, gateway_id=gateway.id, kind="status",
                    receipt=receipt(1), state="answered", next_at=None, answered_at=clock.now(),
                )
            )  # fmt: skip
        with product.inside():
            return str(db.session.query(InboxItem).one().state)

    assert [not_found(), not_found()] == ["waiting", "waiting"]
    m_pesa_says(product, receipt(1), 500)
    assert product.status(token)["status"] == "paid" and product.books() == []


def rotate(product: Product) -> None:
    with product.app.app_context(), transaction():
        settings.rotate_hooks(db.session.query(Gateway).filter_by(shortcode="600111").one(), actor="test")
    inbox.forget_doors()


def test_money_told_to_an_address_of_two_rotations_ago_does_not_vanish(either_product: Product) -> None:
    """money.md D: it was answered 200 and stored nowhere; Safaricom changes a production address by hand only."""
    product = either_product
    old = product.hook()
    number, token = product.invoice(500)
    for _turn in range(3):
        rotate(product)
    assert post(product, f"{old}/c2b/confirmation", c2b_body(receipt=receipt(1), amount=500, account=number)) == 200
    product.settle()
    assert product.status(token)["status"] == "pending", "a token that was replaced may be known to anybody"
    with product.inside():
        (item,) = db.session.query(InboxItem)
        assert (item.kind, item.state, item.is_foreign) == ("claim", "waiting", True)
    later(150)
    assert to_decide(product) == [receipt(1)]
    m_pesa_says(product, receipt(1), 500)
    assert product.status(token)["status"] == "paid" and to_decide(product) == [] and product.books() == []


def test_a_prompt_that_reports_to_an_address_of_two_rotations_ago_is_asked_about(product: Product) -> None:
    """money.md D, for a prompt: M-Pesa keeps the address that each was sent with."""
    old = product.hook()
    _number, token = product.invoice(500)
    pushed = product.pushed(token)
    for _turn in range(2):
        rotate(product)
    assert post(product, f"{old}/stk/{pushed.token}", stk_body(pushed, receipt=receipt(1))) == 200
    product.settle()
    assert product.status(token)["status"] == "processing"
    with product.inside():
        push = db.session.get_one(Push, pushed.push_id)
        assert push.next_query_at is not None and push.next_query_at <= clock.now()
    with product.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        callbacks.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert (product.status(token)["status"], product.status(token)["receipt"]) == ("paid", receipt(1))


def test_a_gateway_with_retired_addresses_can_still_be_removed(either_product: Product) -> None:
    """money.md D: what is kept of old addresses holds up nothing."""
    product = either_product
    amina = product.api("amina")
    given = {
        "name": "unused", "shortcode": "600444", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
        "env": "sandbox",
    }  # fmt: skip
    uid = amina.post("/api/payment-gateways", given).json["id"]
    for _turn in range(3):
        with product.app.app_context(), transaction():
            settings.rotate_hooks(db.session.query(Gateway).filter_by(shortcode="600444").one(), actor="test")
    assert amina.delete(f"/api/payment-gateways/{uid}").status_code == 200
    with product.inside():
        assert db.session.query(Gateway).filter_by(shortcode="600444").count() == 0
        assert db.session.query(Payment).count() == 0
