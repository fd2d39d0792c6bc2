"""The audit: what is recorded, and what a change, a gap or a cut-off tail looks like."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from portal.audit import chain
from portal.audit.models import AuditEntry
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.users.models import User
from tests.support.daraja import receipt
from tests.support.product import Product


def lived(product: Product) -> int:
    number, token = product.invoice(100)
    product.callback(product.pushed(token), receipt=receipt(1))
    product.work()
    return product.tenant_id()


@pytest.mark.property(66)
def test_what_a_person_does_with_money_is_recorded_with_when_who_and_what(product: Product) -> None:
    number, _token = product.invoice(100)
    clock.move(timedelta(days=3))
    began = clock.now()
    taken = product.api("brian").post(
        "/api/payments/manual", json={"amount": 40, "channel": "cash", "reference": number}
    )
    assert taken.status_code == 201, taken.text
    clock.move(timedelta(hours=1))
    with product.inside():
        brian = db.session.query(User).filter_by(email="brian@mlima.test").one()
        rows = db.session.query(AuditEntry).filter(AuditEntry.created_at >= began).order_by(AuditEntry.id).all()
        of_money = [(row.actor, row.action) for row in rows if row.subject_kind == "transaction"]
        assert (f"user:{brian.id}", "booked") in of_money, of_money
        assert all(began <= row.created_at < began + timedelta(minutes=30) for row in rows)


@pytest.mark.property(70)
def test_everything_is_chained_and_the_chain_holds(product: Product) -> None:
    tenant_id = lived(product)
    with product.inside():
        verdict = chain.verify(tenant_id)
        assert verdict.holds and verdict.rows >= 5 and verdict.not_chained_yet == 0
        for row in db.session.query(AuditEntry).filter_by(tenant_id=tenant_id):
            assert row.created_at and row.actor and row.action and row.hash and len(row.hash) == 64


def tamper(product: Product, statement: str) -> None:
    """What somebody with the database's own keys could do, triggers or not."""
    with product.app.app_context(), transaction():
        for trigger in ("audit_entries_no_change", "audit_entries_no_delete"):
            db.session.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
        db.session.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET why = 'nothing happened' WHERE tenant_id = 1 AND seq = 3",
        "DELETE FROM audit_entries WHERE tenant_id = 1 AND seq = 3",
        "DELETE FROM audit_entries WHERE tenant_id = 1 AND seq = (SELECT max(seq) FROM audit_entries WHERE tenant_id = 1)",
        "UPDATE audit_entries SET hash = '0000000000000000000000000000000000000000000000000000000000000000' WHERE tenant_id = 1 AND seq = 2",
        "UPDATE audit_chain_heads SET signature = 'forged' WHERE tenant_id = 1",
        "DELETE FROM audit_chain_heads WHERE tenant_id = 1",
    ],
)
def test_a_change_a_gap_and_a_cut_tail_are_found(product: Product, statement: str) -> None:
    tenant_id = lived(product)
    tamper(product, statement)
    with product.inside():
        verdict = chain.verify(tenant_id)
        assert not verdict.holds and verdict.problem


@pytest.mark.property(69)
def test_looking_at_a_payment_is_recorded_with_who_and_what(product: Product) -> None:
    tenant_id = lived(product)
    item = product.api("amina").get("/api/transactions").json["items"][0]
    product.api("njeri").get(f"/api/transactions/{item['id']}")
    product.browser_of("brian").get(f"/staff/payments/{item['id']}")
    with product.inside():
        looks = [row.actor for row in db.session.query(AuditEntry).filter_by(tenant_id=tenant_id, action="looked_at")]
    assert len(looks) == 2 and len(set(looks)) == 2 and all(actor.startswith("user:") for actor in looks)


def test_the_audit_carries_no_phone_and_no_name(product: Product) -> None:
    number, token = product.invoice(100)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    product.work()
    with product.inside():
        for row in db.session.query(AuditEntry):
            words = f"{row.why} {row.details} {row.old} {row.new} {row.actor}"
            assert push.msisdn not in words and push.msisdn[3:] not in words and "Payer" not in words


@pytest.mark.property(69)
def test_the_header_of_a_poll_hides_no_look(product: Product) -> None:
    """With it from the first request on, all of the payments were read and nobody had looked."""
    browser, tokens = product.browser_of("brian"), [product.invoice(300)[1] for _n in range(2)]
    for path in ["/staff/payments", *(f"/staff/attempts/{token}" for token in tokens)] * 3:
        assert browser.get(path, headers={"HX-Request": "true"}).status_code == 200
    with product.inside():
        assert db.session.query(AuditEntry).filter_by(action="looked_at_payments").count() == 1
        assert db.session.query(AuditEntry).filter_by(action="looked_at_attempt").count() == 2


def test_who_looked_at_a_list_of_payments_is_recorded_with_the_person(product: Product) -> None:
    """tests.md 69: lists and attempts were looked at and nothing was written."""
    _number, token = product.invoice(300)
    browser, tenant_id = product.browser_of("brian"), product.tenant_id()
    pages = {
        "/staff/": "today", "/staff/payments": "payments", "/staff/unmatched": "money_to_place",
        "/staff/manual": "money_by_hand", "/staff/customers": "customers", "/staff/invoices": "invoices",
        "/staff/appointments": "appointments", f"/staff/attempts/{token}": "attempt",
    }  # fmt: skip
    for path in pages:
        assert browser.get(path).status_code == 200, path
    assert browser.get("/staff/live", headers={"HX-Request": "true"}).status_code == 200  # the same look goes on
    assert browser.get("/staff/refunds").status_code == 403
    assert product.api("njeri").get("/api/transactions").status_code == 200
    with product.inside():
        looks = db.session.query(AuditEntry.action, AuditEntry.actor).filter(
            AuditEntry.tenant_id == tenant_id, AuditEntry.action.startswith("looked_at_")
        )
        rows = [(row.action, row.actor) for row in looks.order_by(AuditEntry.id)]
        ids = {user.email.split("@")[0]: f"user:{user.id}" for user in db.session.query(User)}
    assert rows == [(f"looked_at_{what}", ids["brian"]) for what in pages.values()] + [
        ("looked_at_payments", ids["njeri"])
    ]
