"""Money that is gone again: what it bought ends once, the payer reads a sentence, staff see what is owed again."""

from typing import Any

import pytest

from portal import fulfilment
from portal.audit.models import AuditEntry
from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db, transaction
from portal.payments import booking
from portal.payments.models import Payment, Transaction
from portal.payments.refunds import refunds
from portal.tenants.models import Tenant
from portal.users.models import User
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.refunds import refund_of
from tests.support.threads import together
from tests.support.visitors import csrf_of


def bought(product: Product) -> tuple[str, str]:
    """(paymentId, device code) of a hotspot day that is paid and open."""
    phone = new_phone()
    answer = product.client().post(
        "/api/portal/mpesa/initiate", json={"tenant": "mlima", "packageId": product.package(), "phone": phone}
    )
    token: str = answer.json["paymentId"]
    product.callback(product.pushed(token, phone), receipt=receipt(1))
    product.work()
    return token, credentials(product, token)["username"]


def credentials(product: Product, token: str) -> dict[str, Any]:
    return product.status(token).get("credentials") or {}


def reverse(product: Product) -> None:
    """M-Pesa says that the last money was reversed."""
    with product.app.app_context(), transaction():
        last = db.session.query(Transaction).order_by(Transaction.id.desc()).first()
        assert last is not None
        booking.take_back(last, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")


def actions(product: Product, action: str) -> int:
    with product.inside():
        return db.session.query(AuditEntry).filter_by(action=action).count()


def test_access_ends_when_m_pesa_reverses_its_money_and_the_payer_reads_why(product: Product) -> None:
    token, code = bought(product)
    reverse(product)
    product.work()
    assert credentials(product, token) == {} and product.status(token)["amountDue"] == 50
    page = product.client().get(f"/pay/{token}").text
    assert "Your money went back" in page and f"M-Pesa reversed your payment {code}" in page and code in page
    refused = product.client().post("/hotspot/mlima/code", data={"code": code})
    assert refused.status_code == 422 and "or their time is over" in refused.text
    told = product.client().get(f"/hotspot/mlima/api/{token}").json
    assert told["captive"] is True and actions(product, "access_ended") == 1 and product.books() == []


def test_paid_again_the_same_code_opens_with_the_time_that_was_left(product: Product) -> None:
    token, code = bought(product)
    with product.inside():
        before = db.session.query(AccessGrant).one().expires_at
    reverse(product)
    product.work()
    product.callback(product.pushed(token, new_phone()), receipt=receipt(2))
    product.work()
    assert credentials(product, token)["username"] == code and product.status(token)["status"] == "paid"
    with product.inside():
        again = db.session.query(AccessGrant).one()
        assert again.is_open and before <= again.expires_at
        assert db.session.query(AuditEntry).filter_by(action="access_opened_again").count() == 1
    assert product.books() == []


def test_a_voided_record_ends_what_it_paid_and_says_so(product: Product) -> None:
    phone = new_phone()
    answer = product.client().post(
        "/api/portal/mpesa/initiate", json={"tenant": "mlima", "packageId": product.package(), "phone": phone}
    )
    token = answer.json["paymentId"]
    made = product.api("brian").post("/api/payments/manual", {"channel": "cash", "reference": token, "amount": 50})
    assert made.status_code == 201, made.text
    product.work()
    assert credentials(product, token)
    product.api("amina").delete(f"/api/payments/manual/{made.json['id']}", json={"reason": "Wrong person"})
    product.work()
    assert credentials(product, token) == {}
    assert "by mistake" in product.client().get(f"/pay/{token}").text and product.books() == []


def test_staff_see_what_is_owed_again_and_close_it_with_one_click(product: Product) -> None:
    token, code = bought(product)
    number, invoice = product.invoice(500)
    product.callback(product.pushed(invoice, new_phone()), receipt=receipt(2))
    product.work()
    reverse(product)
    with product.app.app_context(), transaction():
        first = db.session.query(Transaction).order_by(Transaction.id).first()
        assert first is not None
        booking.take_back(first, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")
    staff = product.browser_of("brian")
    page = staff.get("/staff/unmatched").text
    assert "Owed again" in page and f"M-Pesa reversed {code}" in page and number in page
    assert page.count("/close") == 1, "an invoice is voided, not closed here"
    secret = {"csrf_token": csrf_of(staff, "/staff/unmatched")}
    answer = staff.post(f"/staff/attempts/{token}/close", data=secret, follow_redirects=True)
    assert "is closed" in answer.text and f"M-Pesa reversed {code}" not in answer.text
    assert "not closed here" in staff.post(f"/staff/attempts/{invoice}/close", data=secret, follow_redirects=True).text
    assert staff.post("/staff/attempts/nothing/close", data=secret).status_code == 404


def test_a_full_refund_ends_access_and_a_part_does_not(served: Product) -> None:
    served.give_initiator()
    token, _code = bought(served)
    amina = served.api("amina")
    for amount in (20, 30):
        sent = amina.post(f"/api/mpesa/{token}/refund", json={"amount": amount})
        assert sent.status_code == 200, sent.text
        uid = sent.json["data"]["refundId"]
        served.settle_until(lambda uid=uid: refund_of(served, uid)["status"] == "refunded")  # type: ignore[misc]
        served.work()
        assert bool(credentials(served, token)) == (amount == 20)
    assert served.status(token)["status"] == "refunded"
    assert "was sent back" in served.client().get(f"/pay/{token}").text
    with served.inside():
        assert not db.session.query(AccessGrant).one().is_open
        assert db.session.query(Payment).one().fulfilled_at is not None, "nor is it delivered again"


def test_an_appointment_stays_confirmed_for_staff_to_decide(product: Product) -> None:
    _number, token = product.invoice(500)
    product.callback(product.pushed(token, new_phone()), receipt=receipt(2))
    product.work()
    reverse(product)
    product.work()
    assert product.status(token)["amountDue"] == 500 and actions(product, "access_ended") == 0


def test_two_workers_end_access_once_and_a_payment_in_between_keeps_it_open(either_product: Product) -> None:
    token, _code = bought(either_product)
    reverse(either_product)

    together(either_product, fulfilment.withdraw_unpaid, fulfilment.withdraw_unpaid)
    assert actions(either_product, "access_ended") == 1
    either_product.callback(either_product.pushed(token, new_phone()))
    either_product.work()
    assert credentials(either_product, token) and actions(either_product, "access_ended") == 1
    assert either_product.books() == []


def test_the_rest_of_money_that_pays_already_can_pay_more_once_other_money_is_gone(product: Product) -> None:
    number, token = product.invoice(600)
    amina = product.api("amina")

    def cash(amount: int) -> dict[str, Any]:
        answer = amina.post("/api/payments/manual", {"channel": "cash", "reference": number, "amount": amount})
        assert answer.status_code == 201, answer.text
        return answer.json  # type: ignore[no-any-return]

    first, second = cash(400), cash(500)
    assert second["unallocated"] == 300
    amina.delete(f"/api/payments/manual/{first['id']}", json={"reason": "Counted wrongly"})
    assert product.status(token)["amountDue"] == 400
    staff = product.browser_of("brian")
    given = {"reference": number, "csrf_token": csrf_of(staff, "/staff/unmatched")}
    for _twice in range(2):
        assert staff.post(f"/staff/unmatched/{second['id']}", data=given).status_code == 303
    assert product.status(token)["amountDue"] == 100 and product.books() == []
    assert cash(100)["unallocated"] == 0 and product.status(token)["status"] == "paid" and product.books() == []


def test_a_phone_number_typed_as_account_is_not_kept_readable(product: Product) -> None:
    with product.app.app_context(), transaction():
        db.session.query(Tenant).update({"refuses_unknown_accounts": False})
    body = c2b_body(receipt=receipt(1), amount=70, account="0733 456 789")
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()
    with product.inside():
        assert db.session.query(Transaction.account).scalar() == "0733…789"
    page = product.browser_of("brian").get("/staff/unmatched").text
    assert "0733…789" in page and "0733 456" not in page


@pytest.mark.parametrize("ending", ["done", "failed"])
@pytest.mark.parametrize("placed", [True, False])
def test_money_that_m_pesa_takes_while_a_refund_of_it_is_under_way(product: Product, placed: bool, ending: str) -> None:
    """Gone twice if the refund was done: a loss that the books show. Gone once if it failed; never to be placed."""
    with product.app.app_context(), transaction():
        db.session.query(Tenant).update({"refuses_unknown_accounts": False})
        operator = {"initiatorName": "api", "securityCredential": "c2VjcmV0" * 40}
        for gateway in db.session.query(Gateway):
            settings.change(gateway, operator, actor="test", is_fresh_signin=True)
    number, _token = product.invoice(300)
    body = c2b_body(receipt=receipt(1), amount=300, account=number if placed else "NOBODY", msisdn="254712345678")
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()
    with product.app.app_context(), transaction():
        money = db.session.query(Transaction).one()
        amina = db.session.query(User).filter_by(name="Amina").one()
        if placed:
            payment_id = db.session.query(Payment.id).filter_by(reference=number).scalar()
            [refund] = refunds.ask_for(
                payment_id, amount_cents=10_000, method="b2c", user_id=amina.id, why="", actor="test"
            )
        else:
            refund = refunds.ask_for_unplaced(money, method="b2c", user_id=amina.id, why="", actor="test")
        refund_id = refund.id
    assert product.books() == []
    reverse(product)
    assert product.books() == []
    with product.app.app_context(), transaction():
        refund = refunds.lock(refund_id)
        if ending == "done":
            refunds.done(refund, receipt=receipt(2), actor="test")
        else:
            refunds.fail(refund, "M-Pesa said no.", actor="test")
    assert product.books() == []
    with product.inside():
        money = db.session.query(Transaction).one()
        assert money.unallocated_cents == 0 and money.state == "reversed", "it is not offered to staff again"
