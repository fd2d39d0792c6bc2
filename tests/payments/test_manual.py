"""Money taken by hand: recorded once, placed by the normal rules, voided with a reason, never erased."""

import re
from typing import Any

import pytest

from portal.kernel.db import db, transaction
from portal.ledger import post
from portal.payments import manual
from portal.payments.models import Customer, Transaction
from tests.support.manual import cash, customer
from tests.support.product import Product
from tests.support.threads import together
from tests.support.visitors import csrf_of


def drawer(product: Product, channel: str = "cash") -> int:
    with product.inside():
        return post.balance(product.tenant_id(), "sandbox", post.drawer(channel))


def test_cash_for_an_invoice_pays_it_and_delivers_it(product: Product) -> None:
    number, token = product.invoice(1_500)
    answer = cash(product, reference=number.lower(), amount=1500, note="Counted twice")
    assert answer.status_code == 201
    said = answer.json
    assert (said["receipt"], said["reference"], said["state"]) == ("CASH1001", number, "allocated")
    assert said["recordedBy"] == "Brian" and said["note"] == "Counted twice"
    product.work()
    assert product.status(token)["status"] == "paid" and product.status(token)["receipt"] == "CASH1001"
    assert product.api("amina").get("/api/payments/manual").json["items"] == [said]
    assert drawer(product) == 150_000 and product.books() == []
    printed = product.client().get(f"/pay/{token}/receipt").text
    assert "CASH1001" in printed and "<dd>Cash</dd>" in printed and "M-Pesa" not in printed


def test_a_part_leaves_the_rest_due_and_too_much_waits_to_be_placed(product: Product) -> None:
    number, token = product.invoice(850)
    assert cash(product, reference=number, amount=800.50).status_code == 201
    assert product.status(token)["amountDue"] == 49.5
    over = cash(product, reference=number, amount=100, channel="bank").json
    assert over["receipt"] == "BANK1002" and over["unallocated"] == 50.5
    assert "BANK1002" in product.browser_of("brian").get("/staff/unmatched").text
    assert cash(product, reference=number, amount=1).status_code == 409
    assert product.books() == []


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"amount": 0}, 422), ({"amount": -5}, 422), ({"amount": "ten"}, 422), ({"amount": 10**9}, 422),
        ({"amount": 1.005}, 422), ({"channel": "mpesa"}, 422), ({"channel": None}, 422), ({"reference": "NOPE1"}, 404),
        ({"customerId": "C9999"}, 422), ({"reference": ""}, 422), ({"reference": "", "customerId": "C9999"}, 404),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_books_nothing(product: Product, given: dict[str, Any], status: int) -> None:
    number, _token = product.invoice(100)
    answer = cash(product, **({"reference": number, "amount": 100} | given))
    assert answer.status_code == status and answer.json["error"]
    with product.inside():
        assert db.session.query(Transaction).count() == 0


def test_the_same_form_sent_twice_is_one_record(product: Product) -> None:
    number, _token = product.invoice(500)
    first = cash(product, reference=number, amount=200, idempotencyKey="form-1")
    again = cash(product, reference=number, amount=200, idempotencyKey="form-1")
    assert first.json == again.json and again.status_code == 201
    assert cash(product, reference=number, amount=201, idempotencyKey="form-1").status_code == 409
    assert cash(product, reference=number, amount=200).json["receipt"] != first.json["receipt"]
    assert product.books() == []


def test_a_void_takes_back_what_was_paid_and_says_why_for_ever(product: Product) -> None:
    number, token = product.invoice(500)
    made = cash(product, reference=number, amount=500).json
    product.work()
    amina, path = product.api("amina"), f"/api/payments/manual/{made['id']}"
    assert amina.delete(path).status_code == 422
    answer = amina.delete(path, json={"reason": "Counted wrongly"})
    assert answer.status_code == 200 and answer.json["state"] == "void"
    assert answer.json["voidReason"] == "Counted wrongly"
    assert amina.delete(f"{path}?reason=Other").json == answer.json
    assert product.status(token)["status"] == "pending" and product.status(token)["amountDue"] == 500
    assert [row["state"] for row in amina.get("/api/payments/manual").json["items"]] == ["void"]
    assert drawer(product) == 0 and product.books() == []
    assert cash(product, reference=number, amount=500).json["receipt"] == "CASH1002"
    product.work()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_several_are_voided_together_or_not_at_all(product: Product) -> None:
    (one, _first), (two, second) = product.invoice(100), product.invoice(200)
    ids = [
        cash(product, reference=one, amount=100).json["id"],
        cash(product, reference=two, amount=200).json["id"],
    ]
    amina = product.api("amina")
    assert amina.delete(f"/api/payments/manual?ids={ids[0]},unknown&reason=Mistake").status_code == 404
    assert product.status(second)["status"] == "paid"
    answer = amina.delete("/api/payments/manual?ids=" + ",".join(ids), json={"reason": "Wrong day"})
    assert [row["state"] for row in answer.json["items"]] == ["void", "void"]
    assert amina.delete("/api/payments/manual?reason=Mistake").status_code == 422
    assert product.books() == []


def test_only_money_recorded_by_hand_can_be_voided(product: Product) -> None:
    _number, token = product.invoice(500)
    product.callback(product.pushed(token))
    product.work()
    uid = product.api("amina").get("/api/transactions").json["items"][0]["id"]
    assert product.api("amina").delete(f"/api/payments/manual/{uid}?reason=x").status_code == 404
    assert product.status(token)["status"] == "paid"


def test_roles_and_strangers(product: Product) -> None:
    number, _token = product.invoice(500)
    for name in ("wanjiru", "njeri", "otieno"):
        assert cash(product, name, reference=number, amount=5).status_code == 403
    assert cash(product, "chege", reference=number, amount=5).status_code == 404
    owner = customer(product)
    assert cash(product, "chege", customerId=owner["id"], amount=5).status_code == 404
    made = cash(product, reference=number, amount=5).json
    assert product.api("brian").delete(f"/api/payments/manual/{made['id']}?reason=x").status_code == 403
    assert product.api("chege").delete(f"/api/payments/manual/{made['id']}?reason=x").status_code == 404
    assert product.api("chege").get("/api/payments/manual").json["items"] == []
    assert product.client().get("/api/payments/manual").status_code == 401


def test_the_counter_records_lists_and_voids(product: Product) -> None:
    number, token = product.invoice(300)
    brian = product.browser_of("brian")
    page = brian.get("/staff/manual/new").text
    key = page.split('name="idempotency_key"', 1)[1].split('value="', 1)[1].split('"', 1)[0]
    csrf = csrf_of(brian, "/staff/manual/new")
    form = {
        "amount": "300",
        "channel": "card",
        "reference": number,
        "idempotency_key": key,
        "csrf_token": csrf,
    }
    for _twice in range(2):
        assert brian.post("/staff/manual/new", data=form).status_code == 303
    assert product.status(token)["status"] == "paid"
    assert brian.post("/staff/manual/new", data=form | {"phone": "0712345678"}).status_code == 422
    listed = brian.get("/staff/manual").text
    assert listed.count(">CARD1001<") == 1 and "Brian" in listed and "/void" not in listed
    amina = product.browser_of("amina")
    page = re.search(r'href="(/staff/payments/\w+)#void"', amina.get("/staff/manual").text)[1]  # type: ignore[index]
    assert "/void" not in brian.get(page).text, "administrators void"
    action = re.search(r'action="(/staff/manual/\w+/void)"', amina.get(page).text)[1]  # type: ignore[index]
    void = {"csrf_token": csrf_of(amina, page), "reason": "Card declined"}
    assert amina.post(action, data=void).status_code == 303
    assert "/void" not in amina.get(page).text, "once"
    assert "Card declined" in amina.get("/staff/manual").text
    assert product.status(token)["status"] == "pending" and product.books() == []


def test_money_is_voided_once_however_many_ask(either_product: Product) -> None:
    product = either_product
    number, token = product.invoice(400)
    made = cash(product, reference=number, amount=400).json
    owner = customer(product)
    kept = cash(product, customerId=owner["id"], amount=70).json

    def void() -> str:
        with transaction():
            found = manual.void(tenant_id, [made["id"], kept["id"]], why="Mistake", actor="test")
            return ",".join(sorted(one.state for one in found))

    tenant_id = product.tenant_id()
    assert set(together(product, *[void] * 8)) == {"void,void"}
    assert product.status(token)["amountDue"] == 400
    assert product.api("amina").get(f"/api/customers/{owner['id']}").json["balance"] == 0
    assert drawer(product) == 0 and product.books() == []


def test_a_void_and_a_payment_of_the_same_invoice_at_once_leave_true_books(either_product: Product) -> None:
    product = either_product
    number, token = product.invoice(400)
    made = cash(product, reference=number, amount=400).json
    tenant_id = product.tenant_id()
    brian = product.api("brian")

    def void() -> None:
        with transaction():
            manual.void(tenant_id, [made["id"]], why="Mistake", actor="test")

    def record() -> int:
        client = product.client()
        body = {"channel": "cash", "reference": number, "amount": 400}
        status: int = client.post("/api/payments/manual", headers=brian.headers, json=body).status_code
        return status

    said = together(product, void, record, record, void, record)
    assert {one for one in said if one is not None} <= {201, 409}
    assert said.count(201) <= 1
    assert product.status(token)["amountDue"] == (0 if 201 in said else 400)
    assert product.books() == []


def test_one_form_from_many_threads_is_one_record(either_product: Product) -> None:
    product = either_product
    owner = customer(product)
    brian = product.api("brian")

    def record() -> str:
        body = {"channel": "cash", "customerId": owner["id"], "amount": 100, "idempotencyKey": "k" * 20}
        answer = product.client().post("/api/payments/manual", headers=brian.headers, json=body)
        return str(answer.json["id"])

    assert len(set(together(product, *[record] * 8))) == 1
    with product.inside():
        assert db.session.query(Transaction).count() == 1 and db.session.query(Customer).count() == 1
    assert product.api("amina").get(f"/api/customers/{owner['id']}").json["balance"] == 100
    assert product.books() == []


def counter_form(browser: Any, **given: str) -> dict[str, str]:
    """The counter's form as its page gave it, filled in."""
    page = browser.get("/staff/manual/new").text
    key = page.split('name="idempotency_key"', 1)[1].split('value="', 1)[1].split('"', 1)[0]
    return {"channel": "cash", "idempotency_key": key, "csrf_token": csrf_of(browser, "/staff/manual/new")} | given


def test_of_cash_only_what_is_due_is_booked_and_the_change_is_told(product: Product) -> None:
    """use.md, cash 1,000 given 2,000: 1,000 landed in "Money to place" and nobody said what to hand back."""
    number, token = product.invoice(1_000)
    brian = product.browser_of("brian")
    assert "KES 1,000" in brian.get(f"/staff/manual/new?reference={number}").text, "what is due, while counting"
    form = counter_form(brian, amount="2000", reference=number)
    for _twice in range(2):
        answer = brian.post("/staff/manual/new", data=form)
        assert answer.headers["Location"].startswith("/staff/manual"), "nothing is left to place"
    page = brian.get("/staff/manual").text
    assert re.search(r'Change to give back</strong></p><p class="money huge">KES 1,000<', page)
    with product.inside():
        booked = db.session.query(Transaction).one()
        assert (booked.amount_cents, booked.unallocated_cents) == (100_000, 0)
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_a_part_in_cash_and_more_by_bank_are_booked_whole(product: Product) -> None:
    number, token = product.invoice(1_000)
    brian = product.browser_of("brian")
    assert brian.post("/staff/manual/new", data=counter_form(brian, amount="400", reference=number)).status_code == 303
    assert "Change to give back" not in brian.get("/staff/manual").text
    bank = counter_form(brian, amount="700", reference=number, channel="bank")
    assert brian.post("/staff/manual/new", data=bank).headers["Location"] == "/staff/unmatched"
    with product.inside():
        booked = db.session.query(Transaction).order_by(Transaction.id).all()
        assert [(one.amount_cents, one.unallocated_cents) for one in booked] == [(40_000, 0), (70_000, 10_000)]
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_the_api_books_all_cash_and_keeps_what_is_over_to_be_placed(product: Product) -> None:
    number, _token = product.invoice(1_000)
    assert cash(product, reference=number, amount=2_000).json["amount"] == 2_000
    with product.inside():
        assert db.session.query(Transaction).one().unallocated_cents == 100_000


def test_a_key_is_for_one_reference(product: Product) -> None:
    """money.md B26: the same key for another invoice, or for a wallet, is a conflict and records nothing."""
    (first, _token), (second, other) = product.invoice(500), product.invoice(500)
    brian = product.api("brian")
    given = {"channel": "cash", "amount": 500, "idempotencyKey": "x1"}
    assert brian.post("/api/payments/manual", given | {"reference": first}).status_code == 201
    assert brian.post("/api/payments/manual", given | {"reference": first}).status_code == 201, "told again"
    customer = brian.post("/api/customers", {"name": "Asha", "phone": "0712345678"}).json["id"]
    for named in ({"reference": second}, {"customerId": customer}):
        refused = brian.post("/api/payments/manual", given | named)
        assert refused.status_code == 409 and refused.json["error"] == "idempotency_conflict"
    assert product.status(other)["amountDue"] == 500
    with product.inside():
        assert db.session.query(Transaction).count() == 1


def test_a_form_that_is_sent_again_with_another_amount_is_another(product: Product) -> None:
    """Of cash, more than was booked may be the same note and its change; less is not, nor is another bank slip."""
    (number, _token), (other, _other) = product.invoice(1_000), product.invoice(1_000)
    brian = product.browser_of("brian")
    for channel, reference, again in (("cash", number, "500"), ("bank", other, "1200")):
        form = counter_form(brian, amount="1000", reference=reference, channel=channel)
        assert brian.post("/staff/manual/new", data=form).status_code == 303
        refused = brian.post("/staff/manual/new", data=form | {"amount": again})
        assert refused.status_code != 303 and "sent for something else" in refused.text
    with product.inside():
        assert [one.amount_cents for one in db.session.query(Transaction)] == [100_000, 100_000]


def test_one_key_for_two_references_at_once_records_one(either_product: Product) -> None:
    """money.md B26 on both databases: no lock is shared, the unique id decides."""
    from tests.support.threads import together

    product = either_product
    numbers = [product.invoice(500)[0] for _n in range(4)]
    headers = product.api("brian").headers

    def record(number: str) -> int:
        body = {"channel": "cash", "amount": 500, "idempotencyKey": "x1", "reference": number}
        return product.client().post("/api/payments/manual", json=body, headers=headers).status_code

    said = together(product, *[lambda number=number: record(number) for number in numbers])  # type: ignore[misc]
    assert sorted(said) == [201, 409, 409, 409]
    assert product.books() == []
