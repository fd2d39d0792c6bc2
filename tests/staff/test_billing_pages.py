"""Invoices at the desk: found, made with several lines, discounted, credited, printed, sent; and the patient's statement."""

import csv
import re
from typing import Any

import pytest

from portal.clinic import invoices
from portal.clinic.billing import price_list, statements
from portal.clinic.models import Discount, Invoice, Patient
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments import giving_back
from portal.payments.models import Refund
from portal.payments.wallets import wallets
from portal.tenants.models import Tenant
from portal.users import credentials
from tests.support.billing import credit_note, discount, issued, looked_up, wallet
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, refund_asked, with_initiator
from tests.support.visitors import PASSWORD, csrf_of


def posted(product: Product, who: str, path: str, page: str = "/staff/invoices/new", **fields: str) -> Any:
    client = product.browser_of(who)
    return client.post(path, data={"csrf_token": csrf_of(client, page), **fields}, follow_redirects=True)


def on_list(product: Product, name: str, price: int) -> str:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        return price_list.add(tenant_id, kind="lab", name=name, price=price, actor="test").uid


def walk_in(product: Product, **fields: str) -> Any:
    return posted(product, "brian", "/staff/invoices/new", **{"name": "Achieng Otieno", **fields})


def test_a_walk_in_gets_several_lines_in_one_form(product: Product) -> None:
    uid = on_list(product, "Blood count", 450)
    lines = {
        "item": uid, "quantity": "2", "description_1": "Dressing", "amount_1": "150", "kind_1": "other",
        "description_9": "Late line", "amount_9": "50", "kind_9": "lab",
    }  # fmt: skip
    page = walk_in(product, **lines)
    assert page.status_code == 200 and "Invoice INV10019 is made" in page.text
    made = product.api("brian").get("/api/invoices/INV10019").json
    assert [(one["description"], one["quantity"], one["amount"]) for one in made["lines"]] == [
        ("Blood count", 2, 900), ("Dressing", 1, 150), ("Late line", 1, 50),
    ]  # fmt: skip
    assert made["amountDue"] == 1_100


def test_a_walk_in_that_is_sent_twice_is_one_invoice_and_another_one_after_a_step_back(either_product: Product) -> None:
    desk = either_product.browser_of("brian")
    page = desk.get("/staff/invoices/new").text
    found = re.search(r'name="idempotency_key"[^>]*value="([0-9a-f]{24})"', page)
    assert found is not None
    form = {
        "csrf_token": csrf_of(desk, "/staff/invoices/new"), "idempotency_key": found.group(1), "name": "Achieng",
        "description": "Dressing", "amount": "150",
    }  # fmt: skip
    made = [desk.post("/staff/invoices/new", data=form).headers["Location"] for _press in range(2)]
    assert made == ["/staff/invoices/INV10019"] * 2
    other = desk.post("/staff/invoices/new", data=form | {"name": "Baraka"}).headers["Location"]
    assert other not in made
    with either_product.inside():
        assert db.session.query(Invoice).count() == 2


def test_a_discount_that_is_sent_twice_is_one_and_two_at_the_desk_see_each_others(product: Product) -> None:
    number = issued(product, 1_000)
    limit(product, 1_000)
    brian, amina = product.browser_of("brian"), product.browser_of("amina")
    page = f"/staff/invoices/{number}"
    seen = re.search(r'name="seen" value="(\d+)"', brian.get(page).text)
    assert seen is not None
    form = {"amount": "200", "reason": "Hardship", "seen": seen.group(1)}
    for _press in range(2):
        brian.post(f"{page}/discount", data=form | {"csrf_token": csrf_of(brian, page)})
    assert looked_up(product, number)["amountDue"] == 800
    told = amina.post(f"{page}/discount", data=form | {"csrf_token": csrf_of(amina, page)}, follow_redirects=True).text
    assert "taken off this invoice meanwhile" in told and looked_up(product, number)["amountDue"] == 800
    brian.post(f"{page}/discount", data=form | {"csrf_token": csrf_of(brian, page), "seen": "1"})
    assert looked_up(product, number)["amountDue"] == 600, "meant a second time"


def limit(product: Product, shillings: int) -> None:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        db.session.get_one(Tenant, tenant_id).discount_approval_above_cents = shillings * 100


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Give at least one line."),
        ({"description_1": "Dressing"}, "The amount"),
        ({"amount_2": "50"}, "Say what it is for."),
        ({"description": "x", "amount": "12.50"}, "whole shillings"),
        ({"description": "x", "amount": "5", "quantity": "1001"}, "From 1 to 1,000."),
        ({"description": "x" * 10_000, "amount": "5"}, "longer than 200"),
        ({"description": "x", "amount": "5", "phone": "12"}, "0712 345 678"),
    ],
)
def test_what_is_wrong_in_a_line_is_said_there_and_nothing_typed_is_lost(
    product: Product, fields: dict[str, str], said: str
) -> None:
    answer = walk_in(product, description_5="Kept line", **fields) if fields else walk_in(product)
    assert answer.status_code == 422 and said in answer.text.replace("&#39;", "'")
    assert not fields or "Kept line" in answer.text
    with product.inside():
        assert db.session.query(Invoice).count() == 0


def test_odd_names_stand_on_the_page_as_they_were_typed(product: Product) -> None:
    name = "=SUM(A1) 😀 مريم <b>"
    page = posted(product, "brian", "/staff/invoices/new", name=name, description="مرهم 😀", amount="5", kind="other")
    assert "=SUM(A1) 😀 مريم &lt;b&gt;" in page.text and "مرهم 😀" in page.text


def test_a_walk_in_who_is_a_patient_here_by_phone_and_name_has_it_on_the_statement(product: Product) -> None:
    brian = product.api("brian")
    made = [brian.post("/api/patients", {"name": one, "phone": "0712345678"}).json for one in ("Amani O", "Baraka O")]
    walk_in(product, name="baraka  o", phone="0712 345 678", description="Visit", amount="300")
    client = product.browser_of("brian")
    theirs, others = (client.get(f"/staff/patients/{made[n]['id']}/statement").text for n in (1, 0))
    assert "INV10019" in theirs and "INV10019" not in others


def test_who_is_forgotten_is_found_by_nothing_and_the_money_stays(product: Product) -> None:
    brian = product.api("brian")
    uid = brian.post("/api/patients", {"name": "Achieng Otieno", "phone": "0712345678"}).json["id"]
    lines = [{"kind": "lab", "description": "x", "amount": 500}]
    number = brian.post("/api/invoices", {"patientId": uid, "lines": lines}).json["number"]
    paid_by_hand(product, 500, number, receipt(1))
    other = issued(product, 600)
    with product.app.app_context(), transaction():
        person = db.session.query(Patient).filter_by(uid=uid).one()
        assert invoices.forget_payer(person, actor="test") == 1
        person.phone_hash = None
    browser = product.browser_of("brian")
    for words in ("otieno", "0712345678"):
        page = browser.get("/staff/invoices", query_string={"q": words}).text
        assert re.findall(r'class="mono" href="/staff/invoices/(\w+)"', page) == [other]
    shown = browser.get(f"/staff/invoices/{number}").text
    assert "Anonymised" in shown and "Achieng" not in shown and receipt(1) in shown
    assert brian.get(f"/api/invoices/{number}").json["status"] == "paid" and product.books() == []


@pytest.mark.parametrize("words", ["INV10019", "10019", "0712345678", "otieno", "Achieng OTIENO", receipt(1)])
def test_an_invoice_is_found_by_number_phone_name_and_receipt(product: Product, words: str) -> None:
    number = issued(product, 500)
    issued(product, 600, payer={"name": "Somebody Else"})
    paid_by_hand(product, 500, number, receipt(1))
    page = product.browser_of("brian").get("/staff/invoices", query_string={"q": words}).text
    assert re.findall(r'class="mono" href="/staff/invoices/(\w+)"', page) == ["INV10019"]
    elsewhere = product.browser_of("chege").get("/staff/invoices", query_string={"q": words}).text
    assert "/staff/invoices/INV" not in elsewhere


def test_only_what_is_due_is_listed_where_that_is_asked(product: Product) -> None:
    paid, due = issued(product, 500), issued(product, 600)
    paid_by_hand(product, 500, paid, receipt(1))
    page = product.browser_of("brian").get("/staff/invoices?state=due").text
    assert due in page and paid not in page


def test_a_discount_above_the_limit_stands_before_the_manager_until_decided(product: Product) -> None:
    number = issued(product)
    posted(product, "brian", f"/staff/invoices/{number}/discount", amount="700", reason="Hardship")
    assert "Discounts to approve" not in product.browser_of("brian").get("/staff/invoices").text
    amina = product.browser_of("amina")
    (path,) = re.findall(r'action="(/staff/discounts/\w+/approve)"', amina.get("/staff/invoices").text)
    chege = product.browser_of("chege")
    theirs = chege.get("/staff/invoices")
    assert "Discounts to approve" not in theirs.text and number not in theirs.text
    for foreign in (path, f"/staff/invoices/{number}/discount"):
        form = {"amount": "100", "reason": "x", "csrf_token": csrf_of(chege, "/staff/invoices")}
        chege.post(foreign, data=form)
    with product.inside():
        assert [one.status for one in db.session.query(Discount)] == ["requested"]
    assert product.api("brian").get(f"/api/invoices/{number}").json["amountDue"] == 1_000
    said = amina.post(path, data={"csrf_token": csrf_of(amina, "/staff/invoices")}, follow_redirects=True).text
    assert "Approved. It is taken off." in said and "Hardship" in said
    assert product.api("brian").get(f"/api/invoices/{number}").json["amountDue"] == 300


def test_a_manager_makes_a_credit_note_and_the_invoice_lists_all_of_it(product: Product) -> None:
    with_initiator(product)
    number = issued(product)
    paid_by_hand(product, 1_000, number, receipt(1))
    form = {"amount": "250", "reason": "Test not done", "key": "k1"}
    for money_back in ("refund", "refund"):  # pressed twice
        page = posted(
            product, "amina", f"/staff/invoices/{number}/credit-note", "/staff/invoices", money_back=money_back, **form
        ).text
    assert "Credit note CN10019 is made" in page and page.count("Test not done") == 1 and receipt(1) in page
    with product.inside():
        assert [one.amount_cents for one in db.session.query(Refund)] == [25_000]


def test_what_cannot_be_is_said_and_changes_nothing(product: Product) -> None:
    number = issued(product, 300)
    brian = f"/staff/invoices/{number}"
    assert (
        "At most KES 300 is still due" in posted(product, "brian", f"{brian}/discount", amount="301", reason="x").text
    )
    assert "Say why." in posted(product, "brian", f"{brian}/void", reason=" ").text
    assert "Say why." in posted(product, "brian", f"{brian}/note", note="").text
    assert "Invoice INV10019 is void" in posted(product, "brian", f"{brian}/void", reason="Wrong patient").text
    assert "VOID" in product.browser_of("brian").get(brian).text.upper()


def test_payments_are_appended_to_the_notes_and_gone_money_is_not(product: Product) -> None:
    number = issued(product)
    posted(product, "brian", f"/staff/invoices/{number}/note", note="Insurance wants a copy")
    paid_by_hand(product, 1_000, number, receipt(1))
    page = product.browser_of("brian").get(f"/staff/invoices/{number}").text
    assert re.search(rf"paid KES 1,000, M-Pesa {receipt(1)}", page) and "Brian" in page
    assert "Insurance wants a copy" in page


def printed(product: Product, number: str, paper: str) -> str:
    return str(posted(product, "brian", f"/staff/invoices/{number}/print", paper=paper).text)


def test_a_receipt_is_printed_once_as_itself_then_as_a_copy(product: Product) -> None:
    number = issued(product)
    discount(product, number, 100)
    paid_by_hand(product, 900, number, receipt(1))
    first, second = printed(product, number, "58"), printed(product, number, "a5")
    assert "COPY" not in first and "COPY" in second
    assert 'class="paper p58 roll200' in first and 'class="paper pa5' in second
    for shown in (first, second):
        assert "TEST: not a valid receipt" in shown and receipt(1) in shown and "Served by" in shown
        assert "−" in shown and "KES 900" in shown and "Achieng Otieno" in shown and "<svg" in shown


def test_the_code_on_a_receipt_says_amount_date_and_validity_and_no_name(product: Product) -> None:
    number = issued(product)
    paid_by_hand(product, 1_000, number, receipt(1))
    (path,) = set(re.findall(r"/receipt/\w+", printed(product, number, "58")))
    page = product.client().get(path).text
    assert "KES 1,000" in page and number in page and "TEST: not a valid receipt" in page
    assert "Achieng" not in page and "Test</dt>" not in page and receipt(1) not in page
    assert product.client().get(f"/receipt/{'0' * 40}").status_code == 404


def test_a_receipt_is_sent_once_to_each_phone_and_address(product: Product) -> None:
    number = issued(product)
    assert (
        "Nothing is paid on it yet" in posted(product, "brian", f"/staff/invoices/{number}/send", to="0712345678").text
    )
    paid_by_hand(product, 1_000, number, receipt(1))
    said = [
        posted(product, "brian", f"/staff/invoices/{number}/send", to=to).text
        for to in ("0712345678", "0712 345 678", "asha@example.co.ke", "nobody")
    ]
    assert ["on its way" in one for one in said] == [True, False, True, False]
    with product.inside():
        sent = [payload_of(one) for one in db.session.query(OutboxItem).filter(OutboxItem.key.contains("/receipt/"))]
    assert len(sent) == 2 and all("KES 1,000" in one["text"] and "/receipt" in one["text"] for one in sent)
    assert all("Test" not in one["text"] for one in sent), "what it was for is nobody's to read on a screen"


def test_a_statement_comes_to_what_is_due(product: Product) -> None:
    with_initiator(product)
    brian = product.api("brian")
    uid = brian.post("/api/patients", {"name": "Asha", "phone": "0712345678"}).json["id"]
    numbers = []
    for amount in (1_000, 600, 400):
        lines = [{"kind": "lab", "description": "=1+1", "amount": amount}]
        numbers.append(brian.post("/api/invoices", {"patientId": uid, "lines": lines}).json["number"])
    paid_by_hand(product, 1_000, numbers[0], receipt(1))
    credit_note(product, numbers[0], 300)
    discount(product, numbers[1], 100)
    paid_by_hand(product, 200, numbers[1], receipt(2))
    posted(product, "brian", f"/staff/invoices/{numbers[2]}/void", reason="Wrong patient")
    page = product.browser_of("brian").get(f"/staff/patients/{uid}/statement").text
    tiles = re.findall(r"<dt>([\w ]+)</dt><dd><span class=\"money \">KES ([\d,]+)", page)
    assert tiles == [
        ("Charged", "2,000"), ("Taken off", "800"), ("Paid", "900"), ("Sent back", "0"), ("Still due", "300"),
        ("Kept as credit", "300"),
    ]  # fmt: skip
    assert wallet(product) == 300
    table = product.browser_of("brian").get(f"/staff/patients/{uid}/statement.csv").text.splitlines()
    assert table[0] == "Time,Invoice,What,Reference,Amount in KES,Still due in KES" and table[-1].endswith(",300")
    assert len(table) == 1 + 3 + 1 + 1 + 2 + 1


def test_what_went_back_without_a_credit_note_leaves_nothing_due_on_the_statement(product: Product) -> None:
    """As after a cancelled visit; and what is sent back by a credit note stands there once."""
    with_initiator(product)
    brian = product.api("brian")
    uid = brian.post("/api/patients", {"name": "Asha", "phone": "0712345678"}).json["id"]
    lines = [{"kind": "lab", "description": "x", "amount": 1_000}]
    for n in (1, 2):
        made = brian.post("/api/invoices", {"patientId": uid, "lines": lines}).json
        paid_by_hand(product, 1_000, made["number"], receipt(n))
        if n == 1:
            refund_asked(product, made["paymentId"], 40_000)
        else:
            credit_note(product, made["number"], 300, "refund")
    with product.app.app_context(), transaction():
        db.session.query(Refund).update({"state": "done", "ended_at": clock.now()})
    lines = product.browser_of("brian").get(f"/staff/patients/{uid}/statement.csv").text.splitlines()[1:]
    told = [line.split(",")[2] for line in lines]
    assert told.count("Taken off: given back") == 1 and told.count("Credit note") == 1 and told.count("Sent back") == 2
    assert lines[-1].endswith(",0"), lines


def test_what_the_clinics_terms_gave_back_as_credit_leaves_nothing_due_on_statement_and_receipt(
    product: Product,
) -> None:
    """A cancelled visit of which a part is kept: no credit note stands for the rest."""
    brian = product.api("brian")
    uid = brian.post("/api/patients", {"name": "Asha", "phone": "0712345678"}).json["id"]
    lines = [{"kind": "lab", "description": "x", "amount": 1_000}]
    number = brian.post("/api/invoices", {"patientId": uid, "lines": lines}).json["number"]
    paid_by_hand(product, 1_000, number, receipt(1))
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        payment = invoices.by_number(tenant_id, number).payment
        owner = wallets.customer_of_phone(tenant_id, "254712345678")
        giving_back.give_back(
            payment.id, kept_cents=25_000, as_credit_of=owner.id, key="k", why="x", user_id=None, actor="t"
        )
    rows = list(csv.reader(product.browser_of("brian").get(f"/staff/patients/{uid}/statement.csv").text.splitlines()))[
        1:
    ]
    assert sorted(int(row[4]) for row in rows) == [-750, -250, 1_000] and rows[-1][5] == "0", rows
    shown = product.browser_of("brian").get(f"/staff/invoices/{number}/receipt").text
    assert "KES 750" in shown and "KES 250" in shown and wallet(product) == 750


def test_the_price_list_is_kept_on_a_page_and_no_made_invoice_changes(product: Product) -> None:
    page = "/staff/prices"
    posted(product, "amina", page, page, kind="lab", name="  Blood   count ", price="450")
    (uid,) = re.findall(r'action="/staff/prices/(\w{10,})"', product.browser_of("amina").get(page).text)
    walk_in(product, item=uid)
    assert "Changed." in posted(product, "amina", f"{page}/{uid}", page, name="Blood count", price="500").text
    assert "changed this price just now" in posted(product, "amina", f"{page}/{uid}", page, name="x", price="1").text
    for wrong in ("0", "12.5", "x", "-3"):
        assert posted(product, "amina", page, page, kind="lab", name="Odd", price=wrong).status_code == 422
    assert product.api("brian").get("/api/invoices/INV10019").json["amount"] == 450
    shown = product.browser_of("amina").get(page).text
    assert 'value="500"' in shown and 'value="450"' not in shown
    saved = posted(product, "amina", f"{page}/terms", page, limit="0").text
    assert "Saved." in saved
    number = issued(product, 300)
    discount(product, number, 1)
    assert product.api("brian").get(f"/api/invoices/{number}").json["amountDue"] == 300, "even this waits now"
    for wrong in ("-1", "1000001", "x", ""):
        assert posted(product, "amina", f"{page}/terms", page, limit=wrong).status_code == 422


def test_a_patient_sees_their_own_statement_and_nobody_elses(product: Product) -> None:
    desk = product.api("brian")
    mine, other = (
        desk.post("/api/patients", {"name": name, "phone": phone}).json["id"]
        for name, phone in (("Asha", "0712345678"), ("Rehema", "0722000111"))
    )
    numbers = []
    for uid in (mine, other):
        body = {"patientId": uid, "lines": [{"kind": "lab", "description": "x", "amount": 700}]}
        numbers.append(desk.post("/api/invoices", body).json["number"])
    with product.app.app_context(), transaction():
        owner = credentials.add_user(email="asha@example.test", name="Asha", password=PASSWORD)
        db.session.query(Patient).filter_by(uid=mine).one().user_id = owner.id
    browser = product.client()
    sign_in = {"csrf_token": csrf_of(browser, "/login"), "email": "asha@example.test", "password": PASSWORD}
    browser.post("/login", data=sign_in)
    with product.inside():
        person = db.session.query(Patient).filter_by(uid=mine).one()
        assert statements.of_patient(person, environment="production").entries == (), "test money is no real debt"
    page = browser.get("/account/statement").text
    assert numbers[0] in page and numbers[1] not in page and "KES 700" in page
    assert 'href="/account/statement"' in browser.get("/account/").text
    assert browser.get(f"/account/statement.csv?patient={mine}").text.count(numbers[0]) == 1
    assert browser.get(f"/account/statement.csv?patient={other}").status_code == 404
    assert product.client().get("/account/statement").status_code == 302
