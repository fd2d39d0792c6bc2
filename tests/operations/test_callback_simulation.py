"""Callbacks without M-Pesa: from the command line into the same inbox, for test money only."""

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from portal import cli
from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.models import Payment, Transaction
from tests.support.daraja import new_phone
from tests.support.product import Product


@pytest.fixture
def run(product: Product, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The `portal` command over this product."""
    monkeypatch.setattr("portal.app.create_app", lambda: product.app)
    yield lambda *words: CliRunner().invoke(cli.main, ["simulate", *words])


def test_an_invoice_is_paid_from_the_command_line_as_by_a_phone(product: Product, run: Any) -> None:
    number, token = product.invoice(1_500)
    said = run("stk", "mlima", number.lower(), "--phone", "0712 345 678")
    assert said.exit_code == 0 and "paid, receipt T" in said.output, said.output
    product.settle()
    assert product.status(token)["status"] == "paid" and product.status(token)["receipt"] in said.output
    again = run("stk", "mlima", number, "--phone", "0712345678")
    assert again.exit_code == 1 and "already paid" in again.output and product.books() == []


def test_a_package_is_bought_or_cancelled_and_its_internet_opens(product: Product, run: Any) -> None:
    cancelled = run("stk", "mlima", "1 hour", "--phone", new_phone(), "--result", "1032")
    assert cancelled.exit_code == 0 and "result 1032" in cancelled.output
    paid = run("stk", "mlima", "1 hour", "--phone", new_phone())
    assert paid.exit_code == 0, paid.output
    product.work()
    with product.inside():
        tokens = [payment.token for payment in db.session.query(Payment).order_by(Payment.id)]
    assert [product.status(token)["status"] for token in tokens] == ["cancelled", "paid"]
    assert product.status(tokens[1])["credentials"]["username"] and product.books() == []


def test_a_payment_by_hand_is_told_of(product: Product, run: Any) -> None:
    number, token = product.invoice(800)
    said = run("c2b", "mlima", number, "800", "--phone", new_phone())
    assert said.exit_code == 0 and "Receipt T" in said.output, said.output
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_real_money_and_unknown_names_are_refused(product: Product, run: Any) -> None:
    number, _token = product.invoice(800)
    assert (
        "no invoice, payment or package called Nothing" in run("stk", "mlima", "Nothing", "--phone", new_phone()).output
    )
    assert "0712 345 678" in run("stk", "mlima", number, "--phone", "12").output, "the right form of a number"
    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"environment": "production"})
        db.session.query(Payment).update({"environment": "production"})
    for words in (("stk", "mlima", number), ("stk", "mlima", "1 hour"), ("c2b", "mlima", number, "5")):
        said = run(*words, "--phone", new_phone())
        assert said.exit_code == 1 and "only test money" in said.output, said.output
    with product.inside():
        assert db.session.query(Transaction).count() == 0
