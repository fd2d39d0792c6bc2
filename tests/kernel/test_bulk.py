"""Many rows by one statement: nothing is cut, and nothing is written over what somebody else changed."""

import pytest
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
