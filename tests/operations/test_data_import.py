"""An earlier system's files: checked whole before anything is written, and never written twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from portal import cli
from portal.kernel.db import db
from portal.payments.models import Customer, Payment, Transaction
from portal.payments.wallets import wallets
from tests.support.daraja import receipt
from tests.support.product import Product

CUSTOMERS = "Name,Phone,Balance\nMama Mboga,0712 000 111,250.50\nBaba Yetu,0733000222,\n"
INVOICES = "number;name;phone;description;amount\ninv-77;Njoki;0711 000 333;Lab test;1500\n"
TRANSACTIONS = (
    f"receipt,amount,phone,account,time\n{receipt(1)},300,0712000111,old,2026-01-05 09:30\n"
    f"{receipt(2)},120.50,,,05/02/2026 17:45\n"
)
INVOICE_HEAD = "number,name,phone,description,amount\n"
MONEY_HEAD = "receipt,amount,phone,account,time\n"


@pytest.fixture
def bring(product: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """`portal import mlima` over this product, with files of these contents."""
    monkeypatch.setattr("portal.app.create_app", lambda: product.app)

    def run(*flags: str, **contents: str) -> Any:
        words = []
        for kind, content in contents.items():
            file = tmp_path / f"{kind}.csv"
            file.write_bytes(content.encode("latin-1"))
            words += [f"--{kind}", str(file)]
        return CliRunner().invoke(cli.main, ["import", "mlima", *words, *flags])

    yield run


def held(product: Product) -> tuple[int, ...]:
    with product.inside():
        return tuple(db.session.query(model).count() for model in (Customer, Payment, Transaction))


def test_everything_is_brought_once_and_the_books_hold(product: Product, bring: Any) -> None:
    files = {"customers": CUSTOMERS, "invoices": INVOICES, "transactions": TRANSACTIONS}
    said = bring(**files)
    assert said.exit_code == 0 and "Nothing wrong with 2 customers, 1 invoices, 2 transactions" in said.output
    assert held(product) == (0, 0, 0), "only checked"
    said = bring("--write", **files)
    assert said.exit_code == 0, said.output
    assert "2 new customers, 1 new invoices, 2 new transactions" in said.output and product.books() == []
    before, tenant_id = held(product), product.tenant_id()
    assert "0 new customers, 0 new invoices, 0 new transactions" in bring("--write", **files).output
    assert held(product) == before and product.books() == []
    with product.inside():
        customer = wallets.find_by_phone(tenant_id, "254712000111")
        assert customer is not None and wallets.balance_cents(customer, "sandbox") == 25_050
    amina = product.api("amina")
    uid = amina.get("/api/customers?q=0712000111").json["items"][0]["id"]
    paid = amina.post(f"/api/customers/{uid}/pay", {"reference": "INV77"})
    assert paid.status_code == 200 and paid.json["amountDue"] == 1_249.5, "its balance pays, its invoice is due"
    assert product.books() == []
    found = amina.get(f"/api/transactions?receipt={receipt(2)}").json["items"][0]
    assert found["amount"] == 120.5 and found["state"] == "allocated"
    assert found["occurredAt"].startswith("2026-02-05T14:45")


def test_a_message_of_the_past_opens_nothing(product: Product, bring: Any) -> None:
    assert bring("--write", transactions=TRANSACTIONS).exit_code == 0
    text = (
        f"{receipt(1)} Confirmed. Ksh300.00 sent to MLIMA HOUSE for account old on 5/1/26 at 9:30 AM "
        "New M-PESA balance is Ksh1.00. Transaction cost, Ksh0.00."
    )
    said = product.client().post(
        "/api/portal/mpesa/verify-sms", json={"tenant": "mlima", "packageId": product.package(), "smsText": text}
    )
    assert said.json["reason"] == "too_old" and product.books() == []


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        ("customers", "name,phone\nA,0712000111\n", "the heading balance is missing"),
        ("customers", "name,phone,balance\nA,12,5\n", "line 2: phone: Enter a Kenyan mobile number"),
        ("customers", "name,phone,balance\nA,0712000111,-5\n", "bring it as an open invoice"),
        (
            "customers",
            "name,phone,balance\nA,0712000111,5\nB,+254712000111,5\n",
            "line 3: +254712000111 is there twice",
        ),
        ("customers", "name,phone,balance\nA,,5\n", "phone: fill it in"),
        ("customers", "name,phone,balance\nJos\xe9,0712000111,5\n", "no CSV file in UTF-8"),
        ("invoices", f"{INVOICE_HEAD}X!,A,,Lab,5\n", "3 to 9 letters and digits"),
        ("invoices", f"{INVOICE_HEAD}INV9,A,,Lab,ten\n", "amount: "),
        ("invoices", f"{INVOICE_HEAD}INV9,A,,Lab,0\n", "more than 0"),
        ("invoices", f"{INVOICE_HEAD}INV9,A,,Lab,9000000\n", "INV9"),
        ("transactions", f"{MONEY_HEAD}UKL1ABCD23,5,,,yesterday\n", "write it like 2026-11-21 14:05"),
        ("transactions", f"{MONEY_HEAD}UKL1ABCD23,5,,,2099-01-01 10:00\n", "has not come yet"),
    ],
)
def test_one_mistake_is_named_with_its_line_and_nothing_is_written(
    product: Product, bring: Any, kind: str, content: str, told: str
) -> None:
    good = {"customers": CUSTOMERS, "invoices": INVOICES, "transactions": TRANSACTIONS}
    said = bring("--write", **good | {kind: content})
    assert said.exit_code == 1 and told in said.output and "Nothing was written." in said.output, said.output
    assert held(product) == (0, 0, 0)


def test_a_number_that_is_taken_here_is_not_overwritten(product: Product, bring: Any) -> None:
    number, _token = product.invoice(900)
    said = bring("--write", invoices=INVOICES.replace("inv-77", number))
    assert said.exit_code == 1 and f"{number} is something else here already" in said.output


def test_what_was_brought_in_test_mode_is_brought_again_after_going_live(product: Product, bring: Any) -> None:
    """money.md A2: balances and past payments of an earlier system are real; the command says when they are not."""
    files = {"customers": CUSTOMERS, "invoices": INVOICES, "transactions": TRANSACTIONS}
    assert "Bring the same files again once it takes real money" in bring("--write", **files).output
    from tests.support.environments import switch

    assert switch(product)["switched"]["askedAnew"] == ["INV77"]
    said = bring("--write", **files)
    assert said.exit_code == 0 and "test mode" not in said.output
    assert "0 new invoices, 2 new transactions" in said.output
    amina = product.api("amina")
    assert amina.get("/api/customers?q=0712000111").json["items"][0]["balance"] == 250.5
    assert product.books() == []
    assert "0 new customers, 0 new invoices, 0 new transactions" in bring("--write", **files).output


def issue(product: Product, amount: int = 300) -> Any:
    body = {"payer": {"name": "New"}, "lines": [{"kind": "other", "description": "x", "amount": amount}]}
    return product.api("brian").post("/api/invoices", body)


def test_an_imported_number_stops_no_invoice(either_product: Product, tmp_path: Path) -> None:
    """money.md A17, on both databases: numbers that were brought are passed over, however many there are."""
    from portal.clinic.billing import numbers
    from portal.operations import data_import
    from portal.tenants.models import Tenant

    brought = [numbers.of_count("INV", count) for count in (*range(1001, 1504), 1505)]
    rows = "".join(f"{number},Asha,,Old visit,700\n" for number in brought)
    with either_product.inside():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        plan = data_import.check(tenant, {"invoices": f"{INVOICE_HEAD}{rows}".encode()})
        assert data_import.write(tenant, plan, actor="test") == {"invoices": 504}
        db.session.remove()
    made = [issue(either_product) for _n in range(3)]
    assert [one.status_code for one in made] == [201, 201, 201], made[0].text
    assert [one.json["number"] for one in made] == ["INV15044", "INV15066", "INV15077"]
    with either_product.inside():
        assert db.session.query(Payment).filter_by(reference="INV10019").one().amount_cents == 70_000


def test_an_appointment_whose_number_was_imported_since_gets_another(product: Product, bring: Any) -> None:
    """money.md A17, of the same kind: the number is taken when it is booked, the invoice issued when it is approved."""
    from tests.support.appointments import book

    booked = book(product, price=1_500).json
    number = booked["invoiceNumber"]
    assert bring("--write", invoices=f"{INVOICE_HEAD}{number},Asha,,Old visit,700\n").exit_code == 0
    approved = product.api("wanjiru").post(f"/api/appointments/{booked['id']}/approve")
    assert approved.status_code == 200 and approved.json["invoiceNumber"] not in ("", number)
    assert approved.json["amountDue"] == 1_500


def test_money_recorded_by_hand_passes_over_imported_receipts(product: Product, bring: Any) -> None:
    """money.md A17, of the same kind: CASH1001 of an earlier system stops no cash here."""
    said = bring("--write", transactions=f"{MONEY_HEAD}CASH1001,300,,,2026-01-05 09:30\n")
    assert said.exit_code == 0, said.output
    number, _token = product.invoice(500)
    given = {"channel": "cash", "reference": number, "amount": 500}
    recorded = product.api("brian").post("/api/payments/manual", given)
    assert recorded.status_code == 201 and recorded.json["receipt"] == "CASH1002"


def test_an_invoice_is_not_brought_under_the_name_of_a_customers_account(product: Product, bring: Any) -> None:
    """What a payer types to pay into a wallet pays no invoice of the same name."""
    said = bring("--write", invoices=f"{INVOICE_HEAD}C1001,A,,Lab,5\n")
    assert said.exit_code == 1 and "C1001 is how customers' accounts are called" in said.output
