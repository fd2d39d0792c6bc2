"""How the product writes: inside one transaction and nowhere else, and durably (tests.md: db.py:117, 152, 162)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from portal import fulfilment
from portal.app import create_app
from portal.audit import chain
from portal.audit import jobs as audit_jobs
from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.kernel.db import core_transaction, db, transaction
from portal.kernel.errors import PortalError
from portal.payments.models import Payment, Push
from portal.payments.processing import jobs
from portal.payments.stk import pushes
from portal.tenants.models import Tenant
from tests.support.application import config_for
from tests.support.clock import later
from tests.support.product import Product


@pytest.fixture
def inside(product: Product) -> Iterator[None]:
    with product.inside():
        yield


def test_a_transaction_inside_a_transaction_is_refused(inside: None) -> None:
    """tests.md, second guards: db.py:117. The inner one would commit half of the outer one's work."""
    with transaction():
        with pytest.raises(PortalError, match="inside transaction"), transaction():
            pytest.fail("the inner one began")
        db.session.query(Tenant).update({"name": "kept"})
    assert db.session.query(Tenant).filter_by(name="kept").count() == 2


def test_nobody_waits_for_m_pesa_inside_a_transaction(inside: None) -> None:
    """tests.md, second guards: db.py:126. It would hold locks for as long as M-Pesa thinks; nothing asked for it."""
    client = client_factory.client_for(db.session.query(Gateway).filter_by(shortcode="600111").one())
    with pytest.raises(PortalError, match="A call to M-Pesa inside transaction"), transaction():
        client.test_connection()


def test_on_sqlite_what_is_committed_is_on_the_disk(sqlite_url: str, clean_redis_url: str, tmp_path: Path) -> None:
    """tests.md, second guards: db.py:152 (synchronous=FULL): else a power cut takes acknowledged callbacks back."""
    app = create_app(config_for(sqlite_url, clean_redis_url, tmp_path / "data"))  # the other tests' writes may be lost
    with app.app_context():
        with db.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        db.engine.dispose()
    app.extensions["redis"].close()


def test_on_sqlite_nothing_is_written_outside_a_transaction(inside: None) -> None:
    """tests.md, second guards: db.py:162 (query_only): it would wait in no line for the one writer's lock."""
    write = text("UPDATE tenants SET name = 'written'")
    with pytest.raises(OperationalError, match="readonly"):
        db.session.execute(write)
    db.session.rollback()
    with core_transaction() as connection:
        connection.execute(write)
    assert db.session.query(Tenant).filter_by(name="written").count() == 2
    db.session.rollback()
    with pytest.raises(OperationalError, match="readonly"):
        db.session.execute(write)


def test_a_prompt_that_cannot_be_expired_keeps_no_other_from_it(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md C30, the same kind: all that was late was moved in one piece."""
    first, second = (product.pushed(product.invoice(100)[1]).push_id for _n in range(2))
    later(130)
    real = pushes.move

    def move(push: Push, *given: object, **named: object) -> bool:
        if push.id == first:
            raise ValueError("a bad row")
        return real(push, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(pushes, "move", move)
    with product.inside():
        jobs.expire_pushes()
        assert [db.session.get_one(Push, one).state for one in (first, second)] == ["awaiting_pin", "unconfirmed"]


def test_a_withdrawal_that_fails_is_put_off_and_stops_no_other(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md C30, the same kind."""
    from portal.kernel import clock

    tokens = [product.invoice(100)[1] for _n in range(2)]
    with product.app.app_context():
        with transaction():
            db.session.query(Payment).update({"withdraw_at": clock.now()})
        bad = db.session.query(Payment.id).filter_by(token=tokens[0]).scalar()
        db.session.remove()
    real = fulfilment._withdraw

    def withdraw(payment: Payment) -> list[tuple[str, str]]:
        if payment.id == bad:
            raise ValueError("a bad row")
        return real(payment)

    monkeypatch.setattr(fulfilment, "_withdraw", withdraw)
    with product.inside():
        fulfilment.withdraw_unpaid()
        left = {payment.id: payment.withdraw_at for payment in db.session.query(Payment)}
        assert left.pop(bad) > clock.now() and set(left.values()) == {None}


def test_one_tenants_audit_that_cannot_be_chained_stops_no_others(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md C30, the same kind."""
    chained: list[int] = []

    def chain_tenant(tenant_id: int) -> int:
        chained.append(tenant_id)
        if len(chained) == 1:
            raise ValueError("a bad row")
        return 0

    monkeypatch.setattr(chain, "chain_tenant", chain_tenant)
    with product.inside():
        audit_jobs.chain_all()
    assert len(chained) == 2 and len(set(chained)) == 2
