"""What is paid when, and what comes back: deposit, cancellation, no-show, and money that came too late (wishes 30, 31)."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.clinic import appointments, invoices, people, policies, services
from portal.clinic.models import Appointment, Branch, Patient, WorkingHours
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments import manual
from portal.payments.models import Payment, Refund, Transaction
from portal.payments.wallets import wallets
from portal.users.models import User
from tests.support.billing import decided, discount
from tests.support.booking import booked, offer, place_of, starts
from tests.support.clock import later
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product
from tests.support.refunds import refund_sent, result, result_told, with_initiator
from tests.support.threads import together

PHONE = "0712345678"


def visit(product: Product, at: int = 2, *, phone: str = PHONE, **terms: Any) -> dict[str, Any]:
    """An approved visit three days ahead: what the desk's API says of it, and its page's token."""
    with_initiator(product)
    service = offer(product, needs_approval=False, **terms)
    made = booked(product, service, times(product, service)[at], phone=phone)
    return seen(product, made["appointmentId"]) | {"token": made["token"], "service": service}


def times(product: Product, service: str) -> list[str]:
    """Free times three days ahead."""
    return starts(product, service, clock.nairobi(clock.now()).date() + timedelta(days=3))


def seen(product: Product, uid: str) -> dict[str, Any]:
    return product.api("brian").get(f"/api/appointments/{uid}").json  # type: ignore[no-any-return]


def pay(product: Product, token: str, number: int = 1) -> None:
    product.callback(product.pushed(token, "254712345678"), receipt=receipt(number))
    product.settle()


def paid_by_hand(product: Product, account: str, amount: int, number: int) -> None:
    body = c2b_body(receipt=receipt(number), amount=amount, account=account, msisdn="254712345678")
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()


def refunds_of(product: Product) -> list[tuple[int, str]]:
    with product.inside():
        return [(one.amount_cents, one.state) for one in db.session.query(Refund).order_by(Refund.id)]


def wallet(product: Product, msisdn: str = "254712345678") -> int:
    with product.inside():
        customer = wallets.find_by_phone(product.tenant_id(), msisdn)
        return wallets.balance_cents(customer, "sandbox") if customer else 0


def texts(product: Product) -> list[str]:
    with product.inside():
        return [payload_of(one)["text"] for one in db.session.query(OutboxItem).filter_by(kind="sms")]


def hours_before(product: Product, one: dict[str, Any], hours: float) -> None:
    """The clock is moved to so many hours before the visit."""
    with product.inside():
        begins = db.session.query(Appointment).filter_by(uid=one["id"]).one().starts_at
    later((begins - timedelta(hours=hours) - clock.now()).total_seconds())
    product.tokens.clear()  # who was signed in is not any more


def cancel(product: Product, one: dict[str, Any], **given: Any) -> Any:
    return product.api("brian").post(f"/api/appointments/{one['id']}/cancel", json=given)


# --- the terms are told before anything is paid


def test_deposit_and_policy_are_told_before_the_code_and_before_paying(product: Product) -> None:
    one = visit(product, deposit_cents=50_000, late_keeps_percent=50)
    when = times(product, one["service"])[0]
    details = product.client().get(f"/clinic/mlima/book/{one['service']}/details", query_string={"at": when}).text
    pay_page = product.client().get(f"/pay/{one['paymentId']}").text
    visit_page = product.client().get(f"/visit/{one['token']}").text
    (told,) = product.client().get("/api/portal/clinic/services?tenant=mlima").json["items"]
    for sentence in (
        "A deposit of KES 500 keeps the time; the rest, KES 1,000, is paid at the visit or before.",
        "Cancelled at least 24 hours before it begins, all that you paid comes back, by M-Pesa to the phone that paid.",
        "Cancelled later, or missed, the clinic keeps 50 % of what you paid; the rest comes back.",
    ):
        assert sentence in details and sentence in pay_page and sentence in visit_page and sentence in told["terms"]
    assert told["deposit"] == 500
    assert details.index("A deposit of KES 500") < details.index("Send me the code")


def test_what_the_service_asks_later_changes_no_visit_that_is_booked(product: Product) -> None:
    one = visit(product, late_keeps_percent=50)
    with product.app.app_context(), transaction():
        service = db.session.query(Appointment).filter_by(uid=one["id"]).one().service
        service.late_keeps_percent, service.money_back, service.cancel_hours = 100, "credit", 96
    pay(product, one["paymentId"])
    hours_before(product, one, 3)
    assert cancel(product, one, by="patient").status_code == 200
    assert refunds_of(product) == [(75_000, "approved")]


# --- a deposit


def test_the_deposit_confirms_and_the_rest_stays_due_on_the_same_invoice(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    page = product.client().get(f"/pay/{one['paymentId']}").text
    assert "Pay the deposit of KES 500" in page and "Pay all KES 1,500 now" in page
    sent = product.client().post(f"/pay/{one['paymentId']}", data={"phone": PHONE, "part": "deposit"})
    assert sent.status_code == 303, sent.text
    paid_by_hand(product, one["invoiceNumber"], 500, 1)
    now = seen(product, one["id"])
    assert (now["status"], now["amountDue"], now["deposit"]) == ("confirmed", 1000, 500)
    page = product.client().get(f"/visit/{one['token']}").text
    assert "The deposit is paid, your visit is confirmed" in page and "Pay KES 1,000 with M-Pesa" in page
    paid_by_hand(product, one["invoiceNumber"], 1000, 2)
    now = seen(product, one["id"])
    assert (now["status"], now["amountDue"]) == ("confirmed", 0)
    assert product.books() == []
    with product.inside():
        told = [
            payload_of(item)["text"] for item in db.session.query(OutboxItem).filter_by(kind="sms", about="appointment")
        ]
    assert len([text for text in told if f"Paid in full, M-Pesa receipt {receipt(2)}" in text]) == 1


def test_the_page_says_that_the_deposit_is_paid_and_asks_for_it_no_more(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    client, path = product.client(), f"/pay/{one['paymentId']}"
    stale = client.get(f"{path}/status?v=0-0-0")
    assert "HX-Refresh" not in stale.headers
    paid_by_hand(product, one["invoiceNumber"], 500, 1)
    page = client.get(path).text
    assert "The deposit is paid" in page and "Part paid" not in page and "Pay the deposit" not in page
    polled = client.get(f"{path}/status?v=0-0-0")
    assert polled.headers["HX-Refresh"] == "true", "the form below still asks for the deposit"
    known = re.search(r"/status\?v=([\w-]+)", page)[1].split("-")[0]  # type: ignore[index]
    assert "HX-Refresh" not in client.get(f"{path}/status?v={known}-2-2").headers, "what is typed there is not lost"
    again = client.post(path, data={"phone": PHONE, "part": "deposit"})
    assert again.status_code == 409 and "The deposit is paid already" in again.text
    with product.inside():
        assert db.session.query(Payment).filter_by(token=one["paymentId"]).one().pushes == []


def test_the_prompt_asks_for_the_deposit_and_its_callback_confirms(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    asked = product.api("brian").post(
        "/api/mpesa/initiate", json={"orderId": one["invoiceNumber"], "amount": 500, "phoneNumber": PHONE}
    )
    assert asked.status_code == 201, asked.text
    wrong = product.api("brian").post(
        "/api/mpesa/initiate", json={"orderId": one["invoiceNumber"], "amount": 600, "phoneNumber": "0722000001"}
    )
    assert wrong.status_code == 422
    with product.inside():
        push = db.session.query(Payment).filter_by(token=one["paymentId"]).one().pushes[-1]
        assert push.amount_cents == 50_000


def test_less_than_the_deposit_confirms_nothing(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    paid_by_hand(product, one["invoiceNumber"], 400, 1)
    assert seen(product, one["id"])["status"] == "approved"
    paid_by_hand(product, one["invoiceNumber"], 100, 2)
    assert seen(product, one["id"])["status"] == "confirmed"


@pytest.mark.parametrize(("deposit", "price"), [("1500", "1500"), ("2000", "1500"), ("0", "1500")])
def test_a_deposit_is_less_than_the_price(product: Product, deposit: str, price: str) -> None:
    from tests.support.practice import SERVICE, post

    refused = post(product, "/staff/timetable/services/new", **SERVICE | {"price": price, "deposit": deposit})
    assert refused.status_code == 422


# --- cancelled, or missed


@pytest.mark.parametrize(
    ("by", "hours", "percent", "back"),
    [
        ("patient", 25, 50, 150_000), ("patient", 23, 50, 75_000), ("patient", 23, 100, 0), ("patient", 23, 33, 100_500),
        ("clinic", 1, 100, 150_000), ("patient", 24.01, 100, 150_000), ("patient", 24, 100, 0),
    ],
)  # fmt: skip
def test_who_cancels_and_when_decides_what_goes_back(
    product: Product, by: str, hours: float, percent: int, back: int
) -> None:
    one = visit(product, -1, late_keeps_percent=percent)
    pay(product, one["paymentId"])
    hours_before(product, one, hours)
    assert cancel(product, one, by=by).status_code == 200
    assert refunds_of(product) == ([(back, "approved")] if back else [])
    assert cancel(product, one, by=by).status_code == 409
    assert len(refunds_of(product)) == bool(back)
    assert product.books() == []
    to_place = product.browser_of("amina").get("/staff/unmatched").text
    kept_all = back == 0
    assert (one["invoiceNumber"] in to_place) == (not kept_all)


def test_a_late_cancellation_on_the_page_says_what_it_costs_first(product: Product) -> None:
    one = visit(product, late_keeps_percent=50)
    pay(product, one["paymentId"])
    hours_before(product, one, 3)
    page = product.client().get(f"/visit/{one['token']}").text
    assert "the clinic keeps KES 750; KES 750 comes back to you" in page and "Choose another time" not in page
    unseen = product.client().post(f"/visit/{one['token']}/cancel")
    assert unseen.status_code == 409 and "the clinic keeps KES 750 if you cancel" in unseen.text
    assert refunds_of(product) == [] and seen(product, one["id"])["status"] == "confirmed"
    assert 'name="kept" value="75000"' in page
    assert product.client().post(f"/visit/{one['token']}/cancel", data={"kept": "75000"}).status_code == 303
    assert refunds_of(product) == [(75_000, "approved")]
    assert any("KES 750 goes back to the phone that paid." in text for text in texts(product))


def test_credit_goes_into_the_patients_wallet_and_pays_the_next_visit(product: Product) -> None:
    one = visit(product, money_back="credit", late_keeps_percent=40)
    pay(product, one["paymentId"])
    hours_before(product, one, 3)
    assert cancel(product, one, by="patient").status_code == 200
    assert refunds_of(product) == [] and wallet(product) == 90_000
    assert any("KES 900 is your credit at the clinic now." in text for text in texts(product))
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=one["paymentId"]).one()
        assert (payment.amount_cents, payment.allocated_cents, payment.state) == (60_000, 60_000, "paid")
    assert product.books() == []


def test_what_was_paid_from_credit_is_credit_again_though_the_rest_goes_by_mpesa(product: Product) -> None:
    first = visit(product, money_back="credit")
    pay(product, first["paymentId"])
    assert cancel(product, first, by="patient").status_code == 200
    assert wallet(product) == 150_000
    made = booked(product, first["service"], times(product, first["service"])[7], phone=PHONE)
    second = seen(product, made["appointmentId"])
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        one = db.session.query(Appointment).filter_by(uid=second["id"]).one()
        one.late_keeps_percent, one.money_back = 50, "refund"
        customer = wallets.find_by_phone(tenant_id, "254712345678")
        assert customer is not None and one.invoice is not None
        wallets.pay(one.invoice.payment_id, customer.id, actor="test")
        wallets.put_back(one.invoice.payment_id, actor="test")  # counted no more once it is paid anew
        wallets.pay(one.invoice.payment_id, customer.id, actor="test")
    product.settle()
    assert seen(product, second["id"])["status"] == "confirmed" and wallet(product) == 0
    hours_before(product, second, 2)
    assert cancel(product, second, by="patient").status_code == 200
    assert wallet(product) == 75_000 and refunds_of(product) == []
    assert product.books() == []


def test_a_wallet_below_nothing_keeps_no_visit_from_being_called_off(product: Product) -> None:
    """The cash that filled it was voided after it was spent; what the clinic keeps is paid already."""
    one = visit(product, late_keeps_percent=50)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        customer = wallets.customer_of_phone(tenant_id, "254712345678", name="Achieng")
        cash = manual.for_wallet(customer, manual.Taken(150_000, "cash", "test", None)).uid
        invoice = db.session.query(Appointment).one().invoice
        assert invoice is not None
        wallets.pay(invoice.payment_id, customer.id, actor="test")
    product.settle()
    with product.app.app_context(), transaction():
        manual.void(tenant_id, [cash], why="Never came.", actor="test")
    assert wallet(product) == -150_000
    hours_before(product, one, 2)
    assert cancel(product, one, by="patient").status_code == 200
    assert wallet(product) == -75_000 and product.books() == []
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=one["paymentId"]).one()
        assert (payment.state, payment.amount_cents, payment.allocated_cents) == ("paid", 75_000, 75_000)


def test_what_came_too_much_becomes_nobodys_credit_by_a_cancellation(product: Product) -> None:
    one = visit(product, money_back="credit")
    paid_by_hand(product, one["invoiceNumber"], 2000, 1)
    assert cancel(product, one).status_code == 200
    assert wallet(product) == 0 and product.books() == []
    assert any("The clinic gives you KES 1,500 back." in text for text in texts(product))


def test_a_no_show_is_settled_once(product: Product) -> None:
    one = visit(product, late_keeps_percent=80)
    pay(product, one["paymentId"])
    hours_before(product, one, -1)
    late = product.client().post(f"/visit/{one['token']}/cancel", data={"kept": "150000"})
    assert late.status_code == 409 and "too late" in late.text, "who did not come has not cancelled"
    assert product.api("brian").post(f"/api/appointments/{one['id']}/no-show").status_code == 200
    assert product.api("brian").post(f"/api/appointments/{one['id']}/no-show").status_code == 409
    assert refunds_of(product) == [(30_000, "approved")]
    assert any("You missed your appointment" in text and "KES 300 goes back" in text for text in texts(product))


def test_a_deposit_that_is_kept_leaves_nothing_due(product: Product) -> None:
    one = visit(product, deposit_cents=50_000, late_keeps_percent=100)
    paid_by_hand(product, one["invoiceNumber"], 500, 1)
    hours_before(product, one, -1)
    assert product.api("brian").post(f"/api/appointments/{one['id']}/no-show").status_code == 200
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=one["paymentId"]).one()
        assert (payment.state, payment.due_cents, payment.allocated_cents) == ("paid", 0, 50_000)
    assert refunds_of(product) == [] and product.books() == []


@pytest.mark.parametrize(
    ("terms", "paid"),
    [
        ({"money_back": "credit", "late_keeps_percent": 50}, 1500),
        ({"deposit_cents": 50_000, "late_keeps_percent": 100}, 500),
        ({"deposit_cents": 50_000, "late_keeps_percent": 60}, 500),
    ],
)
def test_a_no_show_whose_money_was_divided_is_not_undone(product: Product, terms: dict[str, Any], paid: int) -> None:
    """It would stand again as paid in full, with a part in a wallet, on its way back, or asked for no more."""
    one = visit(product, **terms)
    paid_by_hand(product, one["invoiceNumber"], paid, 1)
    hours_before(product, one, -1)
    assert product.api("brian").post(f"/api/appointments/{one['id']}/no-show").status_code == 200
    with product.app.app_context(), transaction(), pytest.raises(Conflict, match="can no longer be taken back"):
        appointments.undo(db.session.query(Appointment).one(), actor="test")
    assert seen(product, one["id"])["status"] == "no_show"


def test_a_no_show_of_which_all_was_kept_is_undone_also_after_a_discount(product: Product) -> None:
    one = visit(product, late_keeps_percent=100)
    discount(product, one["invoiceNumber"], 100)
    paid_by_hand(product, one["invoiceNumber"], 1400, 1)
    hours_before(product, one, -1)
    assert product.api("brian").post(f"/api/appointments/{one['id']}/no-show").status_code == 200
    with product.app.app_context(), transaction():
        appointments.undo(db.session.query(Appointment).one(), actor="test")
    assert seen(product, one["id"])["status"] == "confirmed"


def test_a_deposit_is_never_more_than_what_a_discount_left(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    asked = discount(product, one["invoiceNumber"], 1200)
    decided(product, asked, "amina")
    page = product.client().get(f"/pay/{one['paymentId']}").text
    assert "Pay all KES 300 now" in page and "Pay the deposit of KES 500" not in page
    with product.inside():
        assert db.session.query(Payment).filter_by(token=one["paymentId"]).one().deposit_due_cents == 30_000


def test_a_deposit_of_which_a_part_is_kept_gives_back_the_rest(product: Product) -> None:
    one = visit(product, deposit_cents=50_000, late_keeps_percent=60)
    paid_by_hand(product, one["invoiceNumber"], 500, 1)
    hours_before(product, one, 2)
    assert cancel(product, one, by="patient").status_code == 200
    assert refunds_of(product) == [(20_000, "approved")]
    with product.inside():
        payment = db.session.query(Payment).filter_by(token=one["paymentId"]).one()
        assert (payment.state, payment.due_cents, payment.allocated_cents) == ("paid", 0, 30_000)
    assert product.books() == []


def test_a_deposit_that_went_back_is_told_to_its_payer_once(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    paid_by_hand(product, one["invoiceNumber"], 500, 1)
    assert cancel(product, one).status_code == 200
    with product.inside():
        refund_id = db.session.query(Refund).one().id
    token = refund_sent(product, refund_id)
    for _time in range(2):
        result_told(product, token, result(TransactionReceipt="UKLBACK001"))
        product.work()
    assert refunds_of(product) == [(50_000, "done")]
    assert sum("sent you KES 500 back by M-Pesa, receipt UKLBACK001" in text for text in texts(product)) == 1
    assert product.books() == []


def test_who_cancels_may_not_approve_the_large_refund_that_follows(product: Product) -> None:
    one = visit(product)
    with product.app.app_context(), transaction():
        db.session.query(Appointment).filter_by(uid=one["id"]).one().tenant.refund_approval_above_cents = 100_000
        amina = db.session.query(User).filter_by(email="amina@mlima.test").one().id
    pay(product, one["paymentId"])
    assert product.api("amina").post(f"/api/appointments/{one['id']}/cancel").status_code == 200
    assert refunds_of(product) == [(150_000, "requested")]
    with product.inside():
        assert db.session.query(Refund).one().requested_by_id == amina


def test_cash_waits_for_the_desk_to_give_it_back(product: Product) -> None:
    one = visit(product)
    taken = product.api("brian").post(
        "/api/payments/manual",
        json={"channel": "cash", "amount": 1500, "reference": one["invoiceNumber"]},
    )
    assert taken.status_code in (200, 201), taken.text
    product.settle()
    assert seen(product, one["id"])["status"] == "confirmed"
    assert cancel(product, one).status_code == 200
    assert refunds_of(product) == []
    assert any("The clinic gives you KES 1,500 back." in text for text in texts(product))
    assert one["invoiceNumber"] in product.browser_of("amina").get("/staff/unmatched").text


def test_of_two_who_cancel_at_once_one_gives_the_money_back(either_product: Product) -> None:
    product = either_product
    one = visit(product, late_keeps_percent=50, money_back="credit")
    pay(product, one["paymentId"])
    hours_before(product, one, 2)
    for who in ("brian", "wanjiru"):
        product.api(who)

    def by_desk(who: str, path: str) -> Any:
        return lambda: (
            product.api(who).post(f"/api/appointments/{one['id']}/{path}", json={"by": "patient"}).status_code
        )

    answers = together(
        product,
        by_desk("brian", "cancel"), by_desk("wanjiru", "cancel"), by_desk("wanjiru", "no-show"),
        lambda: product.client().post(f"/visit/{one['token']}/cancel", data={"kept": "75000"}).status_code,
    )  # fmt: skip
    assert sorted(answers)[1:] == [409, 409, 409] and sorted(answers)[0] in (200, 303), answers
    assert wallet(product) == 75_000 and product.books() == []


@given(percent=st.integers(0, 100), paid=st.integers(1, 5_000_000))
def test_what_goes_back_and_what_is_kept_are_what_was_paid(percent: int, paid: int) -> None:
    begins = clock.now() + timedelta(hours=1)
    one = Appointment(starts_at=begins, cancel_hours=24, late_keeps_percent=percent, status="confirmed")
    late = policies.share(one, paid, by="patient")
    assert late.kept_cents + late.back_cents == paid and 0 <= late.back_cents <= paid
    assert late.back_cents % 100 == 0 and abs(late.kept_cents - paid * percent / 100) < 101
    assert policies.share(one, paid, by="clinic").back_cents == paid


# --- money that came too late


def run_deadline(product: Product) -> None:
    with product.app.app_context():
        appointments.release_unpaid()
        db.session.remove()


def gone(product: Product, **terms: Any) -> dict[str, Any]:
    """A visit that was not paid in time, with a prompt that may yet be answered."""
    one = visit(product, hold_minutes=30, **terms)
    later(31 * 60)
    run_deadline(product)
    assert seen(product, one["id"])["status"] == "cancelled"
    return one


def test_late_money_whose_time_is_free_still_is_the_visit_again(either_product: Product) -> None:
    product = either_product
    one = gone(product)
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    product.settle()
    now = seen(product, one["id"])
    assert (now["status"], now["amountDue"], now["startsAt"]) == ("confirmed", 0, one["startsAt"])
    assert product.api("brian").get(f"/api/invoices/{one['invoiceNumber']}").json["status"] == "paid"
    assert product.books() == []


@pytest.mark.parametrize("why", ["its time is over", "its clinician has left"])
def test_late_money_brings_back_no_visit_that_cannot_take_place(product: Product, why: str) -> None:
    one = gone(product)
    if why == "its time is over":
        hours_before(product, one, -1)
    else:
        with product.app.app_context(), transaction():
            people.leave(db.session.query(Appointment).one().clinician, actor="test")
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    assert seen(product, one["id"])["status"] == "cancelled"
    assert "KES 1,500 of yours is here" in product.client().get(f"/visit/{one['token']}").text


def test_money_for_another_closed_invoice_is_no_late_money_of_this_visit(product: Product) -> None:
    """Neither what came for somebody else here, nor at another clinic for an invoice of the same number."""
    one = gone(product)
    lines = [{"kind": "lab", "description": "Test", "amount": 1500}]
    given = {"payer": {"name": "Baraka", "phone": "0722000111"}, "lines": lines}
    for number, who, slug, shortcode in ((1, "brian", "mlima", "600111"), (2, "chege", "bahari", "600222")):
        account = product.api(who).post("/api/invoices", given).json["number"]
        tenant_id = product.tenant_id(slug)
        with product.app.app_context(), transaction():
            invoices.void(invoices.by_number(tenant_id, account), why="Wrong", actor="test")
        assert (account == one["invoiceNumber"]) == (slug == "bahari")
        body = c2b_body(
            receipt=receipt(number), amount=1500, account=account, shortcode=shortcode, msisdn="254722000111"
        )
        product.client().post(f"{product.hook(slug)}/c2b/confirmation", json=body)
        product.settle()
    page = f"/visit/{one['token']}"
    assert "of yours is here" not in product.client().get(page).text
    free = times(product, one["service"])[4]
    assert product.client().post(f"{page}/take", data={"at": free}).status_code == 409
    assert product.client().post(f"{page}/money-back").status_code == 409
    assert refunds_of(product) == []


def test_a_visit_that_is_taken_up_again_is_settled_again(product: Product) -> None:
    """What was kept of it when it was cancelled first is no reason to keep what was paid since."""
    one = visit(product, money_back="credit")
    paid_by_hand(product, one["invoiceNumber"], 700, 1)
    assert cancel(product, one).status_code == 200
    assert wallet(product) == 70_000
    paid_by_hand(product, one["invoiceNumber"], 1500, 2)
    free = times(product, one["service"])[4]
    assert product.client().post(f"/visit/{one['token']}/take", data={"at": free}).status_code == 303
    product.settle()
    assert seen(product, one["id"])["status"] == "confirmed"
    assert cancel(product, one).status_code == 200
    assert wallet(product) == 220_000 and product.books() == []


def test_late_money_whose_time_has_gone_takes_another_time_and_never_the_same(either_product: Product) -> None:
    product = either_product
    one = gone(product)
    same = times(product, one["service"])[2]
    other = booked(product, one["service"], same, phone="0722000999")
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    assert seen(product, one["id"])["status"] == "cancelled"
    assert any(f"/visit/{one['token']}" in text and "KES 1,500 came when" in text for text in texts(product))
    page = product.client().get(f"/visit/{one['token']}").text
    assert "KES 1,500 of yours is here" in page and "Send my money back" in page
    refused = product.client().post(f"/visit/{one['token']}/take", data={"at": same})
    assert refused.status_code == 409
    night = same[:11] + "03:00:00+03:00"
    assert product.client().post(f"/visit/{one['token']}/take", data={"at": night}).status_code == 409
    free = times(product, one["service"])[4]
    assert product.client().post(f"/visit/{one['token']}/take", data={"at": free}).status_code == 303
    product.settle()
    assert seen(product, one["id"])["status"] == "confirmed"
    assert free not in times(product, one["service"])
    assert seen(product, other["appointmentId"])["status"] == "approved"
    again = product.client().post(f"/visit/{one['token']}/money-back")
    assert again.status_code == 409 and refunds_of(product) == []
    assert product.books() == []


def test_late_money_goes_back_where_its_payer_asks_for_it_once(product: Product) -> None:
    one = gone(product)
    booked(product, one["service"], times(product, one["service"])[2], phone="0722000999")
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    assert product.client().post(f"/visit/{one['token']}/money-back").status_code == 303
    assert product.client().post(f"/visit/{one['token']}/money-back").status_code == 409
    free = times(product, one["service"])[4]
    assert product.client().post(f"/visit/{one['token']}/take", data={"at": free}).status_code == 409
    assert refunds_of(product) == [(150_000, "approved")]
    assert product.books() == []


def test_late_money_finds_no_visit_in_the_clinicians_leave(product: Product) -> None:
    """Who went on leave was told that nobody is booked in it."""
    one = gone(product)
    with product.app.app_context(), transaction():
        released = db.session.query(Appointment).one()
        begin = released.starts_at - timedelta(hours=1)
        services.add_leave(released.clinician, begin, begin + timedelta(hours=3), actor="test")
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    assert seen(product, one["id"])["status"] == "cancelled"
    assert "KES 1,500 of yours is here" in product.client().get(f"/visit/{one['token']}").text


def test_another_time_for_late_money_is_where_the_clinician_works_then(product: Product) -> None:
    place_of(product, name="Westlands"), place_of(product, name="Karen")
    service = offer(product, needs_approval=False, hold_minutes=30)
    day = clock.nairobi(clock.now()).date() + timedelta(days=3)
    with product.app.app_context(), transaction():
        places = {one.name: one.id for one in db.session.query(Branch)}
        for hours in db.session.query(WorkingHours):
            hours.branch_id = places["Westlands" if hours.weekday == day.weekday() else "Karen"]
    made = booked(product, service, times(product, service)[2], phone=PHONE)
    one = seen(product, made["appointmentId"])
    later(31 * 60)
    run_deadline(product)
    booked(product, service, times(product, service)[2], phone="0722000999")
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    next_day = starts(product, service, day + timedelta(days=1))[0]
    assert product.client().post(f"/visit/{made['token']}/take", data={"at": next_day}).status_code == 303
    product.settle()
    now = seen(product, one["id"])
    assert (now["status"], now["place"]) == ("confirmed", "Karen, Ring Road 4")


def test_a_visit_that_stood_again_and_is_off_again_gives_its_money_back_again_and_says_so(product: Product) -> None:
    one = visit(product, deposit_cents=50_000)
    paid_by_hand(product, one["invoiceNumber"], 500, 1)
    assert cancel(product, one).status_code == 200
    paid_by_hand(product, one["invoiceNumber"], 500, 2)
    free = times(product, one["service"])[4]
    assert product.client().post(f"/visit/{one['token']}/take", data={"at": free}).status_code == 303
    product.settle()
    assert cancel(product, one).status_code == 200
    assert refunds_of(product) == [(50_000, "approved"), (50_000, "approved")]
    said = texts(product)
    assert sum("KES 500 goes back to the phone that paid." in text for text in said) == 2
    assert sum("is confirmed" in text for text in said) == 2
    assert product.books() == []


def test_a_prompt_answered_after_the_deadline_is_late_money_too(product: Product) -> None:
    one = visit(product, hold_minutes=30)
    push = product.pushed(one["paymentId"], "254712345678")
    later(26 * 3_600)
    product.tokens.clear()
    product.work()
    run_deadline(product)
    if seen(product, one["id"])["status"] == "approved":  # while it is being asked about, its time waits
        with product.app.app_context(), transaction():
            appointments.cancel(db.session.query(Appointment).one(), why="Away.", actor="test")
    product.callback(push, receipt=receipt(9))
    product.settle()
    with product.inside():
        assert db.session.query(Appointment).one().status == "cancelled", "whom a person cancelled is not booked again"
        assert db.session.query(Transaction).one().unallocated_cents == 150_000
    assert "KES 1,500 of yours is here" in product.client().get(f"/visit/{one['token']}").text


def test_too_little_late_money_books_nothing(product: Product) -> None:
    one = gone(product)
    paid_by_hand(product, one["invoiceNumber"], 700, 1)
    assert seen(product, one["id"])["status"] == "cancelled"
    page = product.client().get(f"/visit/{one['token']}").text
    assert "KES 700 of yours is here" in page and "/take" not in page


def test_of_a_choice_and_a_refund_at_once_one_has_the_late_money(either_product: Product) -> None:
    product = either_product
    one = gone(product)
    booked(product, one["service"], times(product, one["service"])[2], phone="0722000999")
    paid_by_hand(product, one["invoiceNumber"], 1500, 1)
    free = times(product, one["service"])[4]
    answers = together(
        product,
        lambda: product.client().post(f"/visit/{one['token']}/take", data={"at": free}).status_code,
        lambda: product.client().post(f"/visit/{one['token']}/money-back").status_code,
        lambda: product.client().post(f"/visit/{one['token']}/take", data={"at": free}).status_code,
    )
    assert sorted(answers) == [303, 409, 409]
    assert product.books() == []


# --- in progress


def test_a_visit_is_started_then_completed(product: Product) -> None:
    one = visit(product)
    refused = product.api("wanjiru").post(f"/api/appointments/{one['id']}/start")
    assert refused.status_code == 409, "not paid"
    assert one["startedAt"] is None
    pay(product, one["paymentId"])
    begun = product.api("wanjiru").post(f"/api/appointments/{one['id']}/start")
    assert (begun.status_code, begun.json["status"]) == (200, "confirmed"), "the contract has seven words"
    assert datetime.fromisoformat(begun.json["startedAt"]).tzinfo is not None
    assert seen(product, one["id"])["startedAt"] == begun.json["startedAt"]
    assert product.api("wanjiru").post(f"/api/appointments/{one['id']}/no-show").status_code == 409
    hours_before(product, one, 0)
    page = product.browser_of("wanjiru").get("/staff/appointments").text
    assert f"/staff/appointments/{one['id']}/complete" in page
    assert f"/staff/appointments/{one['id']}/no-show" not in page
    done = product.api("wanjiru").post(f"/api/appointments/{one['id']}/complete")
    assert (done.status_code, done.json["status"]) == (200, "completed")
    with product.inside():
        kept = db.session.query(Appointment).one()
        assert kept.started_at is not None and kept.ended_at is not None and kept.arrived_at is not None


def test_no_phone_known_sends_credit_back_to_who_paid(product: Product) -> None:
    one = visit(product, money_back="credit")
    pay(product, one["paymentId"])
    with product.app.app_context(), transaction():
        for each in db.session.query(Patient):
            each.phone_sealed = None
    assert cancel(product, one).status_code == 200
    assert refunds_of(product) == [(150_000, "approved")]
