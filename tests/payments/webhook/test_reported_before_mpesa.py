"""Words of M-Pesa, or of others, that come in another order, shape or place than expected."""

import json
from typing import Any

import pytest

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.c2b import unresolved
from portal.payments.models import InboxItem, MpesaRequest, Transaction, UnverifiedReport
from portal.payments.webhook import unverified_reports
from portal.reconciliation import statements
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body
from tests.support.manual import customer
from tests.support.product import Product
from tests.support.source_addresses import ANYBODY, SAFARICOM, called_back, in_production
from tests.support.webhook import balance, give_key, told
from tests.support.webhook import post as post_webhook


def post(product: Product, path: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body)
    return product.client().post(path, data=data, content_type="application/json")


def test_an_address_that_no_database_can_look_up_is_no_outage(either_product: Product) -> None:
    hook, spool = either_product.hook(), either_product.app.extensions["spool"]
    for path in ("/hooks/%00/c2b/confirmation", f"{hook}/stk/%00", f"{hook}/result/a%00b", "/hooks/é/timeout/x"):
        assert post(either_product, path, c2b_body(receipt=receipt(9), amount=5, account="X")).status_code == 200
    assert spool.depth() == 0, "what waits on disk would wait behind it for ever"
    with either_product.inside():
        assert db.session.query(InboxItem).count() == 0


def asked_about(product: Product, number: int) -> str:
    """The token of a question about a receipt that M-Pesa is thinking about."""
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        question = MpesaRequest(
            tenant_id=gateway.tenant_id, gateway_id=gateway.id, kind="status", receipt=receipt(number),
            state="sent", next_at=clock.now(),
        )  # fmt: skip
        db.session.add(question)
        db.session.flush()
        return question.token


def status_result(number: int, **changes: Any) -> dict[str, Any]:
    """Transaction Status's answer; a change to None leaves the parameter out."""
    told_of = {
        "TransactionStatus": "Completed", "ReceiptNo": receipt(number), "Amount": 100,
        "CreditPartyName": "600111 - MLIMA HOUSE", "DebitPartyName": "254712345678 - JOHN DOE",
        "FinalisedTime": 20261121101010,
    } | changes  # fmt: skip
    items = [{"Key": key, "Value": value} for key, value in told_of.items() if value is not None]
    return {
        "Result": {
            "ResultType": 0, "ResultCode": 0, "ResultDesc": "ok", "OriginatorConversationID": "o",
            "ConversationID": f"AG_{number}", "TransactionID": "UKL0000000",
            "ResultParameters": {"ResultParameter": items}, "ReferenceData": {"ReferenceItem": {"Key": "Occasion"}},
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"CreditPartyName": None}, {"CreditPartyName": ""}, {"CreditPartyName": "600222 - X"}, {"Amount": -5}]
)
def test_a_status_that_does_not_say_that_we_were_paid_books_nothing(product: Product, changes: dict[str, Any]) -> None:
    token = asked_about(product, 7)
    assert post(product, f"{product.hook()}/result/{token}", status_result(7, **changes)).status_code == 200
    product.settle()
    with product.inside():
        assert db.session.query(Transaction).count() == 0
        (question,) = db.session.query(MpesaRequest)
        assert question.state == "answered" and "is not money for us" in question.answer


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[1]", {"Timeout": "gone"}])
def test_a_timeout_whose_body_says_nothing_is_known_by_its_address(product: Product, body: Any) -> None:
    token = asked_about(product, 7)
    assert post(product, f"{product.hook()}/timeout/{token}", body).status_code == 200
    post(product, f"{product.hook()}/timeout/{'0' * 40}", body)
    product.settle()
    with product.inside():
        assert [item.state for item in db.session.query(InboxItem).order_by(InboxItem.id)] == ["done", "rejected"]
        assert db.session.query(MpesaRequest).one().state == "unknown"


def agree(product: Product) -> None:
    """A person finds the money that another system told of."""
    product.work()
    with product.app.app_context(), transaction():
        held = db.session.query(UnverifiedReport).one()
        unverified_reports.agree(held.tenant_id, held.uid, user_id=None, actor="test")


@pytest.mark.parametrize("is_named_by_us", [True, False])
def test_a_push_that_another_system_told_of_first_is_paid_when_mpesa_says_so(
    either_product: Product, is_named_by_us: bool
) -> None:
    product, phone = either_product, new_phone()
    give_key(product)
    owner = customer(product, phone)
    _number, token = product.invoice(100)
    push = product.pushed(token, phone, checkout_id="made-up" if is_named_by_us else None)
    theirs = told(phone, amount=100) if is_named_by_us else stk_body(push, receipt=receipt(1), checkout_id="ws_CO_1")
    post_webhook(product, theirs)
    agree(product)
    assert balance(product, owner) == 100
    product.callback(push, receipt=receipt(1), checkout_id=None if is_named_by_us else "ws_CO_1")
    product.work()
    assert (product.status(token)["status"], balance(product, owner)) == ("paid", 0)
    post_webhook(product, theirs | {"again": 1})
    product.work()
    assert balance(product, owner) == 0 and product.books() == []


def test_money_by_hand_that_another_system_told_of_first_pays_what_mpesa_says_it_was_for(product: Product) -> None:
    phone = new_phone()
    give_key(product)
    owner = customer(product, phone)
    number, token = product.invoice(60)
    post_webhook(product, told(phone, amount=100))
    agree(product)
    by_hand = c2b_body(receipt=receipt(1), amount=100, account=number)
    for turn in range(2):
        post(product, f"{product.hook()}/c2b/confirmation", by_hand | {"InvoiceNumber": str(turn)})
        product.work()
    assert (product.status(token)["status"], balance(product, owner)) == ("paid", 0)
    with product.inside():
        over = db.session.query(Transaction).one()
        assert (over.unallocated_cents, over.unplaced_why) == (4_000, "overpaid")
        uid, customer_id = over.uid, owner["id"]
    with product.app.app_context(), transaction():
        from portal.payments.wallets import customers, wallets

        again = db.session.query(Transaction).filter_by(uid=uid).one()
        wallets.credit(again, customers.by_uid(again.tenant_id, customer_id), actor="test")
    assert balance(product, owner) == 40 and product.books() == []


def test_a_success_that_a_person_decides_pays_its_prompt_out_of_the_wallet_of_another_systems_word(
    either_product: Product,
) -> None:
    """Its receipt was known by the webhook's word alone, and the prompt stayed unpaid: "known already"."""
    product, phone = either_product, new_phone()
    give_key(product)
    owner = customer(product, phone)
    _number, token = product.invoice(100)
    in_production(product)
    push = product.pushed(token, phone)
    post_webhook(product, told(phone, amount=100))
    agree(product)
    called_back(product, push, ANYBODY, receipt=receipt(1))
    assert (product.status(token)["status"], balance(product, owner)) == ("processing", 100)
    with product.app.app_context(), transaction():
        item = db.session.query(InboxItem).filter_by(state="waiting").one()
        unresolved.take(item.tenant_id or 0, item.id, push.push_id, actor="test")
    product.settle()
    assert (product.status(token)["status"], balance(product, owner)) == ("paid", 0)
    with product.inside():
        booked = db.session.query(Transaction).one()
        assert (booked.receipt, booked.push_id, booked.unallocated_cents) == (receipt(1), push.push_id, 0)
    assert product.books() == []


@pytest.mark.parametrize("why", ["spent", "another amount"])
def test_a_person_gives_a_prompt_no_money_that_is_anothers(product: Product, why: str) -> None:
    """Money that pays an invoice already, or is of another amount, stays where it is."""
    number, _other = product.invoice(100)
    _number, token = product.invoice(100)
    in_production(product)
    push = product.pushed(token)
    known = c2b_body(receipt=receipt(1), amount=100, account=number) if why == "spent" else None
    known = known or c2b_body(receipt=receipt(1), amount=90, account="NOBODYS")
    called_back(product, push, ANYBODY, receipt=receipt(1))
    path = f"{product.hook()}/c2b/confirmation"
    assert product.client().post(path, json=known, environ_base={"REMOTE_ADDR": SAFARICOM}).status_code == 200
    product.settle()
    with product.app.app_context(), transaction():
        item = db.session.query(InboxItem).filter_by(state="waiting").one()
        unresolved.take(item.tenant_id or 0, item.id, push.push_id, actor="test")
    with product.inside():
        assert db.session.query(Transaction).one().push_id is None
        assert db.session.query(InboxItem).filter_by(kind="stk").one().outcome == "Its receipt is known already."
    assert product.status(token)["status"] == "processing" and product.books() == []


def test_what_was_spent_from_the_wallet_meanwhile_stays_spent(product: Product) -> None:
    phone = new_phone()
    give_key(product)
    owner = customer(product, phone)
    number, token = product.invoice(100)
    other, _token = product.invoice(30)
    post_webhook(product, told(phone, amount=100))
    agree(product)
    assert product.api("amina").post(f"/api/customers/{owner['id']}/pay", {"reference": other}).status_code == 200
    post(product, f"{product.hook()}/c2b/confirmation", c2b_body(receipt=receipt(1), amount=100, account=number))
    product.work()
    assert (product.status(token)["amountDue"], balance(product, owner)) == (100, 70) and product.books() == []


def test_a_gateway_of_which_anything_was_ever_heard_is_archived(either_product: Product) -> None:
    amina = either_product.api("amina")
    made = amina.post(
        "/api/payment-gateways",
        {"name": "new", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p",
         "env": "sandbox", "baseUrl": "http://127.0.0.1:9", "forClinic": True},
    ).json  # fmt: skip
    with either_product.inside():
        token = db.session.query(Gateway).filter_by(uid=made["id"]).one().hook_token
    post(either_product, f"/hooks/{token}/c2b/confirmation", {})
    either_product.settle()
    answer = amina.delete(f"/api/payment-gateways/{made['id']}")
    assert (answer.status_code, answer.json["archived"]) == (200, True)


@pytest.mark.parametrize(("stated", "is_ours"), [("600111.0", True), ("600111 - SHOP 24", True), ("600222.0", False)])
def test_whose_statement_it_is_can_be_read_from_a_cell_that_a_spreadsheet_rewrote(stated: str, is_ours: bool) -> None:
    content = f"Short Code:,{stated}\nReceipt No,Completion Time,Details,Transaction Status,Paid In,Withdrawn,Balance\n"
    if is_ours:
        assert statements.read(content.encode(), name="x.csv", shortcodes={"600111"}).shortcode == "600111"
        return
    with pytest.raises(statements.StatementError, match="statement of 600222"):
        statements.read(content.encode(), name="x.csv", shortcodes={"600111"})
