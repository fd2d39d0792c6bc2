"""Many rows by one statement: nothing is cut, and nothing is written over what somebody else changed."""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError

from portal.kernel import bulk
from portal.kernel.db import db, transaction
from portal.payments.models import Payment
from tests.support.product import Product


def changed(product: Product, **row: object) -> None:
    with product.app.app_context(), transaction():
        payment_id = db.session.query(Payment.id).scalar()
        bulk.update(db.session.connection(), Payment, [{"id": payment_id, **row}])


def test_a_row_that_is_not_as_it_was_read_undoes_the_whole(either_product: Product) -> None:
    product = either_product
    product.invoice(100)
    with pytest.raises(bulk.Changed):
        changed(product, was_state="paid", title="Other")
    with product.inside():
        assert db.session.query(Payment.title).scalar() != "Other"
    changed(product, was_state="open", title="Other")
    with product.inside():
        assert db.session.query(Payment.title).scalar() == "Other"


def test_what_the_table_forbids_is_refused_and_not_cut(either_product: Product) -> None:
    product = either_product
    product.invoice(100)
    with pytest.raises(IntegrityError):
        changed(product, state="lost")
    with product.inside():
        if db.engine.dialect.name == "sqlite":  # which has no longest text
            return
    with pytest.raises(DataError):
        changed(product, title="x" * 81)


def test_what_is_looked_for_by_a_list_is_found_and_by_its_index(either_product: Product) -> None:
    product = either_product
    product.invoice(100)
    product.invoice(200)
    by_token = select(Payment.id, Payment.amount_cents).where(bulk.among(Payment.token, "tokens"))
    by_id = select(Payment.token).where(bulk.among(Payment.id, "ids")).order_by(Payment.id)
    with product.inside():
        first, second = db.session.scalars(select(Payment).order_by(Payment.id))
        connection = db.session.connection()
        found = bulk.rows_of(connection, by_token, tokens={second.token, second.token + "x", "'"})
        assert [(one.id, one.amount_cents) for one in found] == [(second.id, second.amount_cents)]
        tokens = [one.token for one in bulk.things_of(connection, by_id, ids=[second.id, first.id, 10**12])]
        assert tokens == [first.token, second.token]
        assert bulk.rows_of(connection, by_id, ids=[]) == []
        if connection.dialect.name == "sqlite":
            asked = f"EXPLAIN QUERY PLAN {by_token.compile(dialect=connection.dialect)}"
            plan = [row.detail for row in connection.exec_driver_sql(asked, ("[]",))]
            assert plan[0].startswith("SEARCH payments USING INDEX") and "(token=?)" in plan[0]
