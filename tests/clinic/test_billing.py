"""Price list, discounts, credit notes: an issued invoice is never changed, and never more goes back than was paid."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.clinic import invoices
from portal.clinic.billing import credit_notes, discounts, price_list
from portal.clinic.models import CreditNote, Discount
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.payments import reductions
from portal.payments.models import Payment, Refund, Transaction
from portal.payments.payment import lock_payment
from portal.payments.wallets import wallets
from tests.support.appointments import book
from tests.support.billing import PAYER, credit_note, decided, discount, issued, looked_up, priced, user_id, wallet
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, with_initiator
from tests.support.threads import together


def test_lines_come_from_the_price_list_by_the_piece(product: Product) -> None:
    uid = priced(product)
    lines = [
        {"priceItemId": uid, "quantity": 3},
        {"kind": "medication", "description": "Syrup", "quantity": 2, "amount": 300},
    ]
    made = product.api("brian").post("/api/invoices", {"payer": PAYER, "lines": lines})
    assert made.status_code == 201 and made.json["amount"] == made.json["amountDue"] == 1_650
    assert made.json["lines"] == [
        {"kind": "lab", "description": "Blood count", "quantity": 3, "amount": 1_350, "priceItemId": uid},
        {"kind": "medication", "description": "Syrup", "quantity": 2, "amount": 300, "priceItemId": None},
    ]


def test_a_price_that_changed_meanwhile_is_shown_not_charged(product: Product) -> None:
    uid, tenant_id = priced(product), product.tenant_id()
    brian = product.api("brian")
    stale = brian.post("/api/invoices", {"payer": PAYER, "lines": [{"priceItemId": uid, "quantity": 2, "amount": 800}]})
    assert stale.status_code == 422 and "The price list says KES 900" in stale.json["fields"]["lines.0.amount"]
    with product.app.app_context(), transaction():
        item = price_list.item(tenant_id, uid)
        price_list.change(item, name=item.name, price=500, actor="test")
    gone = brian.post("/api/invoices", {"payer": PAYER, "lines": [{"priceItemId": uid}]})
    assert gone.status_code == 422 and "not on the price list any more" in gone.json["fields"]["lines.0.priceItemId"]
    with product.inside():
        (left,) = price_list.items(tenant_id)
        assert (left.name, left.price_cents) == ("Blood count", 50_000)
    assert brian.get("/api/invoices").json["items"] == []


@pytest.mark.parametrize("quantity", [0, -1, 1.5, True, "2", 1_001])
def test_an_odd_quantity_is_refused_by_name(product: Product, quantity: object) -> None:
    lines = [{"kind": "lab", "description": "x", "amount": 5, "quantity": quantity}]
    refused = product.api("brian").post("/api/invoices", {"payer": PAYER, "lines": lines})
    assert refused.status_code in (400, 422) and "quantity" in refused.text


def test_another_clinics_price_is_unknown_here(product: Product) -> None:
    uid = priced(product)
    lines = [{"priceItemId": uid}]
    refused = product.api("chege").post("/api/invoices", {"payer": PAYER, "lines": lines})
    assert refused.status_code == 422 and refused.json["fields"] == {
        "lines.0.priceItemId": "There is no such price here."
    }


def test_a_small_discount_holds_at_once_and_is_what_is_asked_for(product: Product) -> None:
    number = issued(product)
    discount(product, number, 400)
    found = looked_up(product, number)
    assert (found["amount"], found["amountDue"], found["status"]) == (600, 600, "unpaid")
    paid_by_hand(product, 600, number, receipt(1))
    assert looked_up(product, number)["status"] == "paid" and product.books() == []


def test_above_the_limit_another_person_approves_also_in_small_steps(product: Product) -> None:
    """KES 500 of one invoice need nobody else; the second step passes it, and waits."""
    number = issued(product)
    discount(product, number, 400)
    waits = discount(product, number, 200)
    assert looked_up(product, number)["amountDue"] == 600
    with pytest.raises(Refused, match="Somebody else must approve"):
        decided(product, waits, "brian")
    decided(product, waits, "amina")
    assert looked_up(product, number)["amountDue"] == 400
    with pytest.raises(Conflict, match="decided this already"):
        decided(product, waits, "amina", is_yes=False)


def test_a_discount_without_reason_or_beyond_what_is_due_is_refused(product: Product) -> None:
    number = issued(product, 300)
    for amount, why in ((100, "  "), (301, "Hardship"), (0, "Hardship"), (-5, "Hardship")):
        with pytest.raises(Refused):
            discount(product, number, amount, why=why)
    assert looked_up(product, number)["amountDue"] == 300
    with product.inside():
        assert db.session.query(Discount).count() == 0


def test_what_is_waived_whole_confirms_the_visit_and_no_money_is_booked(product: Product) -> None:
    uid = book(product, "onsite", 450).json["id"]
    number = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json["invoiceNumber"]
    discount(product, number, 450)
    product.work()
    assert product.api("brian").get(f"/api/appointments/{uid}").json["status"] == "confirmed"
    found = looked_up(product, number)
    assert (found["amount"], found["amountDue"], found["status"], found["paymentStatus"]) == (0, 0, "waived", "paid")
    assert product.books() == []
    paid_by_hand(product, 450, number, receipt(1))
    assert looked_up(product, number)["status"] == "waived" and product.books() == []


def test_nothing_is_discounted_while_a_phone_is_asked_for_the_old_amount(product: Product) -> None:
    number = issued(product)
    product.pushed(looked_up(product, number)["paymentId"])
    with pytest.raises(Conflict, match="A phone is being asked"):
        discount(product, number, 100)


def test_a_credit_note_on_what_was_paid_becomes_the_payers_credit_once(product: Product) -> None:
    number = issued(product)
    paid_by_hand(product, 1_000, number, receipt(1))
    assert [credit_note(product, number, 300, key="form-1") for _n in range(2)] == ["CN10019", "CN10019"]
    with pytest.raises(Conflict, match="sent for something else"):
        credit_note(product, number, 301, key="form-1")
    found = looked_up(product, number)
    assert (found["amount"], found["amountDue"], found["status"]) == (700, 0, "paid")
    assert wallet(product) == 300 and product.books() == []
    assert credit_note(product, number, 700) == "CN10024"
    assert looked_up(product, number)["status"] == "credited" and wallet(product) == 1_000 and product.books() == []
    with pytest.raises(Refused, match="At most KES 0"):
        credit_note(product, number, 1)


def test_a_credit_note_takes_off_what_is_due_before_money_moves(product: Product) -> None:
    number = issued(product)
    with pytest.raises(Conflict, match="Nothing is paid on it yet"):
        credit_note(product, number, 100)
    paid_by_hand(product, 400, number, receipt(1))
    credit_note(product, number, 500)
    assert looked_up(product, number)["amountDue"] == 100 and wallet(product) == 0
    credit_note(product, number, 200)
    found = looked_up(product, number)
    assert (found["amountDue"], found["status"]) == (0, "paid") and wallet(product) == 100 and product.books() == []


def test_a_credit_note_by_m_pesa_is_a_refund_like_any_other(product: Product) -> None:
    with_initiator(product)
    number = issued(product)
    paid_by_hand(product, 1_000, number, receipt(1))
    credit_note(product, number, 400, "refund", key="form-1")
    credit_note(product, number, 400, "refund", key="form-1")
    with product.inside():
        (refund,) = db.session.query(Refund).all()
        assert (refund.amount_cents, refund.why) == (40_000, "CN10019: Test not done")
    with pytest.raises(Refused, match="At most KES 600"):
        credit_note(product, number, 601, "credit")
    credit_note(product, number, 600, "credit")
    assert wallet(product) == 600 and product.books() == []


def test_what_m_pesa_did_not_send_back_may_still_become_credit(product: Product) -> None:
    with_initiator(product)
    number = issued(product)
    paid_by_hand(product, 1_000, number, receipt(1))
    credit_note(product, number, 400, "refund")
    with product.app.app_context(), transaction():
        db.session.query(Refund).one().state = "failed"
    credit_note(product, number, 1_000, "credit")
    assert wallet(product) == 1_000 and product.books() == []


def test_what_credit_paid_is_in_that_wallet_again(product: Product) -> None:
    brian = product.api("brian")
    uid = brian.post("/api/customers", {"name": "Asha", "phone": "0722000111"}).json["id"]
    brian.post("/api/payments/manual", {"channel": "cash", "customerId": uid, "amount": 250})
    number = issued(product, 600)
    brian.post(f"/api/customers/{uid}/pay", {"reference": number})
    paid_by_hand(product, 350, number, receipt(1))
    credit_note(product, number, 300)
    assert wallet(product, "254722000111") == 250 and wallet(product) == 50 and product.books() == []


@pytest.mark.parametrize("doubt", [{"receipt": None}, {"contradicted_at": clock.now()}])
def test_money_that_m_pesa_has_not_confirmed_becomes_nobodys_credit(product: Product, doubt: dict[str, Any]) -> None:
    number = issued(product)
    paid_by_hand(product, 1_000, number, receipt(1))
    with product.app.app_context(), transaction():
        db.session.query(Transaction).update(doubt)
    with pytest.raises(Conflict, match="has not confirmed this payment yet"):
        credit_note(product, number, 300)
    assert wallet(product) == 0 and looked_up(product, number)["amount"] == 1_000


def test_of_money_that_is_in_anothers_wallet_in_part_the_rest_becomes_nobody_elses_credit(product: Product) -> None:
    number = issued(product)
    paid_by_hand(product, 1_500, number, receipt(1))
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        asha = wallets.customer_of_phone(tenant_id, "254722000111", name="Asha")
        wallets.credit(db.session.query(Transaction).one(), asha, actor="test")
    with pytest.raises(Conflict, match="in another wallet already"):
        credit_note(product, number, 300)
    assert (wallet(product), wallet(product, "254722000111")) == (0, 500) and product.books() == []


def test_no_more_becomes_credit_than_was_paid(product: Product) -> None:
    number = issued(product)
    paid_by_hand(product, 400, number, receipt(1))
    tenant_id = product.tenant_id()
    with product.app.app_context():
        with pytest.raises(Refused, match="At most KES 400 can go back"), transaction():
            payment = lock_payment(invoices.by_number(tenant_id, number).payment_id)
            payer = wallets.customer_of_phone(tenant_id, "254712345678")
            reductions.make_credit(payment, 40_100, payer, key="x", actor="test")
        db.session.remove()
    assert wallet(product) == 0 and product.books() == []


def test_an_invoice_that_a_visit_waits_for_is_not_voided_but_another_unpaid_one_is(product: Product) -> None:
    uid = book(product, "onsite", 450).json["id"]
    number = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json["invoiceNumber"]
    tenant_id = product.tenant_id()
    with product.app.app_context():
        with pytest.raises(Conflict, match="cancel the visit instead"), transaction():
            invoices.void(invoices.by_number(tenant_id, number), why="x", actor="test")
        db.session.remove()
    other = issued(product)
    with product.app.app_context(), transaction():
        invoices.void(invoices.by_number(tenant_id, other), why="Wrong patient", actor="test")
    assert looked_up(product, other)["status"] == "void"
    with pytest.raises(Conflict, match="void"):
        discount(product, other, 5)
    with pytest.raises(Conflict, match="is void"):
        credit_note(product, other, 5)
    in_part = issued(product)
    paid_by_hand(product, 400, in_part, receipt(1))
    with product.app.app_context():
        with pytest.raises(Conflict, match="has money on it"), transaction():
            invoices.void(invoices.by_number(tenant_id, in_part), why="x", actor="test")
        db.session.remove()
    assert looked_up(product, in_part)["status"] == "part_paid"


def test_what_a_wallet_paid_on_an_invoice_that_is_voided_is_in_it_again(product: Product) -> None:
    brian, tenant_id = product.api("brian"), product.tenant_id()
    uid = brian.post("/api/customers", {"name": "Asha", "phone": "0722000111"}).json["id"]
    brian.post("/api/payments/manual", {"channel": "cash", "customerId": uid, "amount": 250})
    number = issued(product, 600)
    brian.post(f"/api/customers/{uid}/pay", {"reference": number})
    assert wallet(product, "254722000111") == 0
    with product.app.app_context():
        with transaction():
            invoices.void(invoices.by_number(tenant_id, number), why="Wrong", actor="test")
        with pytest.raises(Conflict, match="is void"), transaction():
            invoices.void(invoices.by_number(tenant_id, number), why="Again", actor="test")
        db.session.remove()
    assert wallet(product, "254722000111") == 250 and product.books() == []


def quietly(work: Callable[[], Any]) -> Callable[[], bool]:
    """Whether it was done; what is refused is not."""

    def try_it() -> bool:
        try:
            with transaction():
                work()
        except Refused:
            return False
        return True

    return try_it


def test_two_persons_who_approve_at_once_take_it_off_once(either_product: Product) -> None:
    product = either_product
    number = issued(product, 2_000)
    uid, tenant_id = discount(product, number, 700), product.tenant_id()
    approvers = [user_id(product, "amina"), user_id(product, "wanjiru")]
    work = [
        quietly(lambda by=by: discounts.decide(tenant_id, uid, is_yes=True, user_id=by, actor="t")) for by in approvers
    ]
    assert sorted(together(product, *work)) == [False, True]
    assert looked_up(product, number)["amountDue"] == 1_300


def test_a_discount_and_the_payers_money_at_once_leave_the_books_right(either_product: Product) -> None:
    """Whoever is first: the surplus waits to be placed, or the discount is refused."""
    product = either_product
    number, tenant_id = issued(product, 1_000), product.tenant_id()

    def less() -> None:
        one = invoices.by_number(tenant_id, number)
        discounts.ask(one, amount_cents=30_000, why="Hardship", user_id=1, actor="t")

    together(product, quietly(less), lambda: paid_by_hand(product, 1_000, number, receipt(1)))
    product.work()
    found = looked_up(product, number)
    assert found["amountDue"] == 0 and found["amount"] in (700, 1_000) and product.books() == []


def test_credit_and_refund_at_once_never_give_back_more_than_came(either_product: Product) -> None:
    product = either_product
    with_initiator(product)
    number, tenant_id = issued(product, 1_000), product.tenant_id()
    paid_by_hand(product, 1_000, number, receipt(1))

    def back(how: str) -> None:
        one = invoices.by_number(tenant_id, number)
        credit_notes.make(one, amount_cents=60_000, money_back=how, why="x", key="", user_id=1, actor="t")

    results = together(product, *[quietly(lambda how=how: back(how)) for how in ("credit", "refund", "credit")])
    assert sorted(results) == [False, False, True]
    with product.inside():
        sent = sum(one.amount_cents for one in db.session.query(Refund)) // 100
        assert db.session.query(CreditNote).count() == 1
    assert sent + wallet(product) == 600 and product.books() == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["pay", "discount", "credit", "refund"]), st.integers(1, 700)), min_size=1, max_size=8
)


@settings(max_examples=40)
@given(steps=STEPS)
def test_whatever_is_discounted_or_credited_no_more_flows_back_than_was_paid(
    product: Product, steps: list[tuple[str, int]]
) -> None:
    product.begin_again()
    with_initiator(product)
    number, came = issued(product, 1_000), 0
    for index, (what, amount) in enumerate(steps):
        try:
            if what == "pay":
                paid_by_hand(product, amount, number, receipt(index + 1))
                came += amount
            elif what == "discount":
                discount(product, number, amount)
            else:
                credit_note(product, number, amount, what)
        except Refused:
            continue
    with product.inside():
        sent = sum(one.amount_cents for one in db.session.query(Refund)) // 100
        payment = db.session.query(Payment).filter_by(reference=number).one()
        assert 0 <= payment.allocated_cents <= payment.amount_cents
        assert sent + wallet(product) <= came, steps
    assert product.books() == []
