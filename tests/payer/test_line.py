"""Home internet by account number: no sign-in, no more than a paybill tells, and a prompt that renews the line."""

import re

from portal.kernel.db import db
from portal.payments.models import Payment, Push
from tests.support.daraja import Pushed, new_phone, receipt
from tests.support.lines import line_of, standing, typed_at_the_paybill
from tests.support.product import Product


def test_an_account_number_shows_the_line_masked_and_its_prompt_renews_it(product: Product) -> None:
    line = line_of(product, price=1_000)
    typed_at_the_paybill(product, 1, 300, line.account)
    product.work()
    visitor = product.client()
    page = visitor.post("/hotspot/mlima/line", data={"account": line.account.lower()}).text
    assert "A•••••• H•••" in page and "Achieng" not in page and line.phone not in page and "Home 1000" in page
    assert "Pay KES 700 with M-Pesa" in page  # 300 are in the wallet
    form = dict(re.findall(r'name="(account|line|idempotency_key)" value="([^"]*)"', page))
    answers = [visitor.post("/hotspot/mlima/line/pay", data=form | {"phone": new_phone()}) for _twice in range(2)]
    assert {one.status_code for one in answers} == {303} and len({one.location for one in answers}) == 1
    with product.inside():
        push = db.session.query(Push).one()
        payment = db.session.get_one(Payment, push.payment_id)
        assert (push.amount_cents, payment.due_cents, payment.purpose) == (70_000, 70_000, "pppoe")
        asked = Pushed(push.id, push.token, f"ws_CO_{push.id}", 700, "254712345678", push.reference)
        from portal.kernel.db import transaction
        from portal.payments.stk import pushes

        with transaction():
            pushes.lease(asked.push_id, hook_url="http://test/hooks")
    product.callback(asked, receipt=receipt(2))
    product.work()
    assert (standing(product, line).state, standing(product, line).wallet) == ("active", 0)
    assert product.books() == []


def test_an_unknown_account_and_too_many_guesses_are_refused_and_nothing_is_shown(product: Product) -> None:
    line = line_of(product)
    visitor = product.client()
    wrong = visitor.post("/hotspot/mlima/line", data={"account": line.account[:-1] + "X"})
    assert wrong.status_code == 422 and "not known here" in wrong.text
    assert "not known here" in visitor.post("/hotspot/bahari/line", data={"account": line.account}).text
    for _guess in range(60):
        answer = visitor.post("/hotspot/mlima/line", data={"account": "C9"})
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0
    refused = visitor.post("/hotspot/mlima/line", data={"account": line.account})
    assert refused.status_code == 429 and "A••" not in refused.text


def test_a_line_of_another_account_is_not_paid_by_this_form(product: Product) -> None:
    mine, other = line_of(product), line_of(product)
    form = {"account": mine.account, "line": other.uid, "phone": new_phone(), "idempotency_key": "k"}
    assert product.client().post("/hotspot/mlima/line/pay", data=form).status_code == 422
    with product.inside():
        assert db.session.query(Push).count() == 0


def test_the_first_screen_leads_there_only_where_lines_are_sold(product: Product) -> None:
    assert "/hotspot/mlima/line" not in product.client().get("/hotspot/mlima/").text
    line_of(product)
    assert "/hotspot/mlima/line" in product.client().get("/hotspot/mlima/").text
