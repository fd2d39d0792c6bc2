"""Refunds as administrators see them, as the payer sees them, and the QR code at the desk."""

import re
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from portal.gateways.models import Gateway
from portal.kernel.db import db, transaction
from portal.payments.models import Refund, Transaction
from portal.tenants.models import Tenant
from portal.users import credentials
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

Paid = tuple[Product, str, str]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def paid(served: Product) -> Paid:
    """(product, paymentId, receipt) of an invoice of KES 1,000 that was really paid on the simulator."""
    served.give_initiator()
    number, token = served.invoice(1_000)
    phone = new_phone("00")
    given = {"orderId": number, "amount": 1_000, "phoneNumber": phone}
    assert served.api("brian").post("/api/mpesa/initiate", json=given).status_code == 201
    served.work(rounds=1)
    requests.post(f"{served.daraja_url}/handset/{phone}/pin", json={"pin": "1234"}, timeout=30)
    served.settle_until(lambda: served.status(token)["status"] == "paid")
    return served, token, served.status(token)["receipt"]


def hidden_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]*value="([^"]*)"', page)
    assert found, f"no hidden {name}"
    return found.group(1)


def asks(client: FlaskClient, path: str, **changes: Any) -> Any:
    """Fill in the form of a refund as the page offers it, with these changes."""
    page = client.get(path).text
    chosen = re.search(r'<option selected value="(\w+)"', page)
    given = {
        "csrf_token": hidden_of(page, "csrf_token"),
        "left": hidden_of(page, "left"),
        "amount": hidden_of(page, "amount"),
        "method": chosen.group(1) if chosen else "",
        "reason": "Paid for nothing",
    }
    return client.post(path, data=given | changes, follow_redirects=True)


def press(client: FlaskClient, path: str, **fields: Any) -> Any:
    given = {"csrf_token": csrf_of(client, "/staff/invoices/new"), **fields}
    return client.post(path, data=given, follow_redirects=True)


def second_administrator(product: Product, above_cents: int) -> FlaskClient:
    """Zuri, a second administrator; refunds above this need two people."""
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        tenant.refund_approval_above_cents = above_cents
        user = credentials.add_user(email="zuri@mlima.test", name="Zuri", password=PASSWORD)
        credentials.add_role(user, tenant.id, "tenant_admin")
    return product.browser_of("zuri")


def uid_of(product: Product) -> str:
    with product.inside():
        return db.session.query(Refund.uid).order_by(Refund.id.desc()).limit(1).scalar()  # type: ignore[no-any-return]


def url_of_receipt(product: Product, code: str) -> str:
    item = product.api("amina").get(f"/api/transactions?receipt={code}").json["items"][0]
    return f"/staff/payments/{item['id']}"


def refund_rows(product: Product) -> list[tuple[str, str, int]]:
    with product.inside():
        return [(one.state, one.method, one.amount_cents) for one in db.session.query(Refund).order_by(Refund.id)]


def test_a_refund_from_a_payments_page_is_followed_to_its_receipt_and_the_payer_reads_of_it(
    paid: Paid,
) -> None:
    product, token, code = paid
    client = product.browser_of("amina")
    page = client.get(url_of_receipt(product, code)).text
    path = f"/staff/refunds/of/{token}"
    assert path in page
    form = client.get(path).text
    assert hidden_of(form, "amount") == "1000" and '<option selected value="b2c"' in form
    asked = asks(client, path, amount="400")
    assert "The refund is on its way" in asked.text and "KES 400" in asked.text and "To be sent" in asked.text
    assert "Amina" in asked.text and "Paid for nothing" in asked.text and code in asked.text
    assert "KES 400 is on its way back to you." in product.client().get(f"/pay/{token}").text
    product.settle_until(lambda: refund_rows(product)[0][0] == "done")
    with product.inside():
        sent = db.session.query(Refund.receipt).scalar()
    listed = client.get("/staff/refunds").text
    assert "Sent back" in listed and sent in listed
    assert f"KES 400 was sent back, receipt {sent}." in product.client().get(f"/pay/{token}").text
    history = client.get(url_of_receipt(product, code)).text
    assert "Refund: requested" in history and "Paid for nothing" in history and f"Receipt {sent}." in history
    assert "Refund: requested" in client.get(f"/staff/attempts/{token}").text
    assert hidden_of(client.get(path).text, "amount") == "600" and product.books() == []


def test_a_form_sent_twice_or_filled_in_wrongly_sends_nothing_more(paid: Paid) -> None:
    product, token, _code = paid
    client, path = product.browser_of("amina"), f"/staff/refunds/of/{token}"
    page = client.get(path).text
    given = {
        "csrf_token": hidden_of(page, "csrf_token"), "left": hidden_of(page, "left"),
        "amount": "400", "method": "b2c", "reason": "Twice",
    }  # fmt: skip
    assert client.post(path, data=given).status_code == 303
    again = client.post(path, data=given)
    assert again.status_code == 422 and "Meanwhile a refund was asked for" in again.text
    for changes, sentence in (
        ({"amount": "601"}, "At most KES 600 can go back"), ({"amount": "9"}, "KES 10 or more"),
        ({"amount": "0"}, "at least KES 1"), ({"amount": "much"}, "not a number"),
        ({"amount": "10.5"}, "whole shillings"),
        ({"reason": ""}, "Say why."), ({"method": "cash"}, "Not a valid choice"),
        ({"left": ""}, "Meanwhile a refund"),
    ):  # fmt: skip
        answer = asks(client, path, **changes)
        assert answer.status_code == 422 and sentence in answer.text, (changes, answer.status_code)
    assert len(refund_rows(product)) == 1 and product.books() == []


def test_a_large_refund_waits_on_the_page_for_a_second_administrator(paid: Paid) -> None:
    product, token, _code = paid
    zuri, amina = second_administrator(product, 50_000), product.browser_of("amina")
    path = f"/staff/refunds/of/{token}"
    assert "Above KES 500 a second administrator must approve." in amina.get(path).text
    asked = asks(amina, path, amount="600")
    assert "A second administrator must approve" in asked.text and "somebody else must approve it" in asked.text
    uid = uid_of(product)
    assert f"/staff/refunds/{uid}/approve" not in asked.text
    assert "on its way back" not in product.client().get(f"/pay/{token}").text, "nobody approved it yet"
    own = press(amina, f"/staff/refunds/{uid}/approve")
    assert "Somebody else must approve" in own.text and refund_rows(product)[0][0] == "requested"
    assert f"/staff/refunds/{uid}/approve" in zuri.get("/staff/refunds").text
    assert "Approved." in press(zuri, f"/staff/refunds/{uid}/approve").text
    product.settle_until(lambda: refund_rows(product)[0][0] == "done")
    assert "Approved by Zuri" in amina.get("/staff/refunds").text
    late = press(zuri, f"/staff/refunds/{uid}/refuse", reason="Too late")
    assert "This refund was decided already." in late.text and product.books() == []


def test_a_refused_refund_frees_its_money_and_says_why(paid: Paid) -> None:
    product, token, code = paid
    zuri = second_administrator(product, 10_000)
    path = f"/staff/refunds/of/{token}"
    asks(product.browser_of("amina"), path)
    assert "nothing left" in zuri.get(path).text
    refused = press(zuri, f"/staff/refunds/{uid_of(product)}/refuse", reason="They were here")
    assert "Nothing is sent back." in refused.text and "They were here" in refused.text
    assert hidden_of(zuri.get(path).text, "amount") == "1000"
    assert "They were here" in zuri.get(url_of_receipt(product, code)).text and product.books() == []


def by_hand(product: Product, amount: int, account: str, code: str, msisdn: str) -> None:
    body = c2b_body(receipt=code, amount=amount, account=account, msisdn=msisdn)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()


def with_initiator(product: Product) -> None:
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.initiator_name = "api"
        gateway.keep_secret("security_credential", "ready-made")


@pytest.mark.parametrize(
    ("amount", "msisdn", "method"),
    [(500, "254712345678", "b2c"), (500, "2547 ***** 126", "reversal"), (9, "254712345678", "reversal")],
)
def test_the_method_that_works_is_chosen_for_the_administrator(
    product: Product, amount: int, msisdn: str, method: str
) -> None:
    with_initiator(product)
    number, token = product.invoice(amount)
    by_hand(product, amount, number, receipt(1), msisdn)
    client = product.browser_of("amina")
    assert f'<option selected value="{method}"' in client.get(f"/staff/refunds/of/{token}").text
    asks(client, f"/staff/refunds/of/{token}")
    assert refund_rows(product) == [("approved", method, amount * 100)]


def test_money_without_a_home_goes_back_whole(product: Product) -> None:
    with_initiator(product)
    by_hand(product, 350, "no idea", receipt(1), "254712345678")
    client = product.browser_of("amina")
    found = re.search(r"/staff/refunds/unplaced/\w+", client.get("/staff/unmatched").text)
    assert found and "All of it" in client.get(found.group(0)).text
    asks(client, found.group(0), amount="1")
    assert refund_rows(product) == [("approved", "b2c", 35_000)]
    assert "Nothing to place" in client.get("/staff/unmatched").text
    assert "nothing left" in client.get(found.group(0)).text and product.books() == []
    brian = product.browser_of("brian")
    by_hand(product, 60, "no idea", receipt(2), "254712345678")
    assert "/staff/refunds/" not in brian.get("/staff/unmatched").text


def test_without_an_initiator_the_page_says_what_is_missing(product: Product) -> None:
    number, token = product.invoice(500)
    by_hand(product, 500, number, receipt(1), "254712345678")
    answer = asks(product.browser_of("amina"), f"/staff/refunds/of/{token}")
    assert answer.status_code == 422 and "an administrator adds them" in answer.text
    assert refund_rows(product) == []


def test_refunds_are_for_administrators_of_the_same_business(product: Product) -> None:
    with_initiator(product)
    number, token = product.invoice(500)
    by_hand(product, 500, number, receipt(1), "254712345678")
    amina = product.browser_of("amina")
    asks(amina, f"/staff/refunds/of/{token}", amount="100")
    uid = uid_of(product)
    with product.inside():
        transaction_uid = db.session.query(Transaction.uid).scalar()
    pages = ("/staff/refunds", f"/staff/refunds/of/{token}", f"/staff/refunds/unplaced/{transaction_uid}")
    for name in ("brian", "wanjiru", "njeri"):
        client = product.browser_of(name)
        assert "/staff/refunds" not in client.get("/staff/payments").text
        assert [client.get(page).status_code for page in pages] == [403] * 3
        assert "/staff/refunds/of/" not in client.get(f"/staff/payments/{transaction_uid}").text
    chege = product.browser_of("chege")
    assert [chege.get(page).status_code for page in pages] == [200, 404, 404]
    assert uid not in chege.get("/staff/refunds").text
    given = {"csrf_token": csrf_of(chege, "/staff/invoices/new")}
    for act in ("approve", "refuse"):
        assert chege.post(f"/staff/refunds/{uid}/{act}", data=given).status_code == 404
    assert amina.post(f"/staff/refunds/of/{token}", data={"amount": "1"}).status_code == 400, "no CSRF token"


def test_an_administrator_sends_at_most_ten_refunds_in_a_quarter_of_an_hour(product: Product) -> None:
    with_initiator(product)
    number, token = product.invoice(5_000)
    by_hand(product, 5_000, number, receipt(1), "254712345678")
    client, path = product.browser_of("amina"), f"/staff/refunds/of/{token}"
    answers = [asks(client, path, amount="20") for _n in range(11)]
    assert [one.status_code for one in answers] == [200] * 10 + [429]
    assert client.get("/staff/refunds").status_code == 200


# --- the QR code at the desk


def test_the_desk_shows_m_pesas_own_qr_code_and_asks_for_it_once(served: Product) -> None:
    _number, token = served.invoice(800)
    client = served.browser_of("brian")
    page = client.get(f"/staff/attempts/{token}").text
    assert f'src="/staff/attempts/{token}/qr.png"' in page and "KES 800" in page
    first = client.get(f"/staff/attempts/{token}/qr.png")
    assert first.status_code == 200 and first.mimetype == "image/png" and first.data.startswith(PNG)
    stop = {"faults": {"http500": {"times": 20, "endpoint": "qr"}}}
    requests.post(f"{served.daraja_url}/control", json=stop, timeout=30)
    try:
        assert client.get(f"/staff/attempts/{token}/qr.png").data == first.data, "kept for a day"
        _other, second = served.invoice(900)
        instead = client.get(f"/staff/attempts/{second}/qr.png")
        assert instead.status_code == 200 and instead.data.startswith(PNG) and instead.data != first.data
    finally:
        requests.post(f"{served.daraja_url}/control", json={"faults": {"http500": None}}, timeout=30)
    assert client.get(f"/staff/attempts/{second}/qr.png").data == instead.data, "not asked again at once"


def test_where_m_pesa_is_away_the_code_opens_the_payers_page(product: Product) -> None:
    _number, token = product.invoice(800)
    client = product.browser_of("brian")
    answer = client.get(f"/staff/attempts/{token}/qr.png")
    assert answer.status_code == 200 and answer.data.startswith(PNG)
    assert product.browser_of("chege").get(f"/staff/attempts/{token}/qr.png").status_code == 404
    assert client.get("/staff/attempts/nobody/qr.png").status_code == 404
