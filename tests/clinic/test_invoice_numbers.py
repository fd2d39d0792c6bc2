"""Invoice numbers: short, typed as account, and a slip of the finger pays nobody else's invoice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.clinic.billing import numbers
from portal.kernel.db import db
from portal.payments import matching
from portal.payments.models import Payment, Transaction
from portal.payments.payment import ReferenceTaken
from portal.payments.wallets.accounts import check_digit
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product


def is_right(digits: str) -> bool:
    return check_digit(digits[:-1]) == digits[-1]


def test_numbers_count_on_and_end_in_a_check_digit(product: Product) -> None:
    assert [product.invoice(100)[0] for _n in range(3)] == ["INV10019", "INV10024", "INV10035"]
    assert numbers.of_count("INV", 99_999) == "INV999999" and len("INV999999") == 9


@given(count=st.integers(1, 9_999_999), place=st.integers(0, 7), digit=st.sampled_from("0123456789"))
def test_every_single_wrong_digit_is_caught(count: int, place: int, digit: str) -> None:
    right = numbers.of_count("INV", count).removeprefix("INV")
    place %= len(right)
    wrong = right[:place] + digit + right[place + 1 :]
    assert is_right(right) and (wrong == right or not is_right(wrong))


@given(count=st.integers(1, 9_999_999), place=st.integers(0, 6))
def test_every_two_digits_that_changed_places_are_caught(count: int, place: int) -> None:
    right = numbers.of_count("INV", count).removeprefix("INV")
    place %= len(right) - 1
    wrong = right[:place] + right[place + 1] + right[place] + right[place + 2 :]
    assert wrong == right or not is_right(wrong)


def paid_by_hand(product: Product, account: str, amount: int) -> Any:
    body = c2b_body(receipt=receipt(1), amount=amount, account=account)
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ("INV10018", "the last digit wrong"),
        ("INV10091", "two digits changed places"),
        ("INV1009", "one digit left out"),
        ("INV100199", "one digit twice"),
        ("10019", "the letters left out"),
        ("inv 1oo19", "letters for digits"),
    ],
)
def test_a_slip_pays_nothing_and_what_was_meant_is_shown_first(
    product: Product, monkeypatch: pytest.MonkeyPatch, typed: str, what: str
) -> None:
    """An old invoice, behind those that are looked at for likeness, and not of the amount that came."""
    monkeypatch.setattr(matching, "SUGGESTED_FROM", 3)
    meant = [product.invoice(700 + n)[0] for n in range(6)][0]
    paid_by_hand(product, typed, 333)
    with product.inside():
        (money,) = db.session.query(Transaction).all()
        assert money.unallocated_cents == 33_300, what
        assert matching.suggestions([money], most=3)[money.id][0].reference == meant == "INV10019"
        assert db.session.query(Payment).filter(Payment.allocated_cents > 0).count() == 0
    assert product.books() == []


def test_a_number_without_check_digit_from_before_is_still_paid(product: Product) -> None:
    brian = product.api("brian")
    with product.app.app_context():
        from portal.clinic import invoices
        from portal.kernel.db import transaction
        from portal.tenants.models import Tenant

        with transaction():
            tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
            line = {"kind": "other", "description": "Visit", "amount": 300}
            invoices.issue(tenant, lines=[line], payer={"name": "Asha"}, number="INV1001", actor="test")
        with pytest.raises(ReferenceTaken), transaction():
            invoices.issue(tenant, lines=[line], payer={"name": "Asha"}, number="INV1001", actor="test")
    paid_by_hand(product, "inv-1001", 300)
    assert brian.get("/api/invoices/INV1001").json["status"] == "paid" and product.books() == []
