"""From booking to the confirmed appointment: what is not approved cannot be paid, what is paid is confirmed once."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.notifications import tell
from portal.notifications.models import Notice
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Payment
from portal.payments.refunds import refunds
from tests.support.appointments import book, is_wanjirus
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.visitors import csrf_of


def approved(product: Product, kind: str = "virtual", price: int = 1_500) -> dict[str, Any]:
    uid = book(product, kind, price).json["id"]
    answer = product.api("wanjiru").post(f"/api/appointments/{uid}/approve")
    assert answer.status_code == 200, answer.text
    return answer.json  # type: ignore[no-any-return]


def result_told(product: Product, kind: str) -> list[dict[str, Any]]:
    with product.inside():
        return [payload_of(item) for item in db.session.query(OutboxItem).filter_by(kind=kind).order_by(OutboxItem.id)]


@pytest.mark.property(1)
@pytest.mark.property(5)
@given(kind=st.sampled_from(["virtual", "onsite"]), price=st.integers(1, 250_000))
def test_whatever_is_booked_waits_for_approval_and_cannot_be_paid(product: Product, kind: str, price: int) -> None:
    product.begin_again()
    product.app.extensions["redis"].flushall()  # each example is a new day for the rate limits
    booked = book(product, kind, price).json
    assert booked["status"] == "pending_approval" and booked["payUrl"] is None and booked["meetingUrl"] is None
    for order in (booked["id"], booked["invoiceNumber"]):
        refused = product.api("brian").post(
            "/api/mpesa/initiate", json={"orderId": order, "amount": price, "phoneNumber": new_phone()}
        )
        assert refused.status_code == 409 and "waits for approval" in refused.json["message"]
    asked = product.client().post(
        f"{product.hook()}/c2b/validation",
        json=c2b_body(receipt=receipt(1), amount=price, account=booked["invoiceNumber"]),
    )
    assert asked.json["ResultCode"] == "C2B00012"


@pytest.mark.property(2)
def test_the_clinician_is_told_of_a_booking(product: Product) -> None:
    is_wanjirus(product)
    book(product)
    with product.inside():
        assert "waits for your approval" in db.session.query(Notice).filter(Notice.user_id.is_not(None)).one().text
    assert "waits for your approval" in product.browser_of("wanjiru").get("/staff/").text


@pytest.mark.property(2)
@pytest.mark.parametrize("decision", ["approve", "decline", "cancel"])
def test_a_notice_that_a_visit_waits_goes_with_the_decision(product: Product, decision: str) -> None:
    """The clinician's Today went on saying "waits for your approval" of visits that were approved long ago."""
    is_wanjirus(product)
    first, second = book(product).json["id"], book(product).json["id"]
    assert product.browser_of("wanjiru").get("/staff/").text.count("waits for your approval") == 2
    answer = product.api("brian" if decision == "cancel" else "wanjiru").post(
        f"/api/appointments/{first}/{decision}", json={"reason": "Away."}
    )
    assert answer.status_code == 200, answer.text
    assert product.browser_of("wanjiru").get("/staff/").text.count("waits for your approval") == 1, "the other waits on"
    assert product.api("wanjiru").get(f"/api/appointments/{second}").json["status"] == "pending_approval"


@pytest.mark.property(25)
@pytest.mark.property(35)
@pytest.mark.property(62)
def test_the_clinician_reads_of_the_payment_on_the_open_page_until_it_is_put_away(product: Product) -> None:
    """tests.md S1: the clinician was not told of a payment and no test noticed; coverage.md: notices on no page."""
    is_wanjirus(product)
    appointment = approved(product)
    doctor, desk = product.browser_of("wanjiru"), product.browser_of("brian")
    ask = re.search(r'id="live"[^>]*hx-get="([^"]+)"', doctor.get("/staff/").text)[1].replace("&amp;", "&")  # type: ignore[index]
    product.callback(product.pushed(appointment["paymentId"]), receipt=receipt(5))
    product.settle()
    news = doctor.get(ask, headers={"HX-Request": "true"}).text
    said = re.search(r"Paid and confirmed: \d\d/\d\d/\d{4} \d\d:\d\d", news)
    assert said, "by the page's own poll"
    assert "Paid and confirmed" not in desk.get("/staff/").text, "each person's own"
    page = doctor.get("/staff/").text
    last = re.search(r'name="last" value="(\d+)"', page)[1]  # type: ignore[index]
    with product.app.app_context(), transaction():
        told = db.session.get_one(Notice, int(last))
        tell.in_app(told.tenant_id, "later", user_id=told.user_id, text="Something new", locale="en")
    for browser in (desk, doctor):
        token = csrf_of(browser, "/staff/manual/new" if browser is desk else "/staff/")
        assert browser.post("/staff/notices", data={"csrf_token": token, "last": last}).status_code == 303
        assert ("Paid and confirmed" in doctor.get("/staff/").text) == (browser is desk)
    assert "Something new" in doctor.get("/staff/").text, "what came meanwhile stays"


@pytest.mark.property(78)
def test_messages_about_test_money_say_so_and_those_about_real_money_do_not(product: Product) -> None:
    """coverage.md G6: no TEST in SMS or mail."""
    appointment = approved(product)
    product.callback(product.pushed(appointment["paymentId"]), receipt=receipt(5))
    product.settle()
    for channel in ("sms", "email"):
        letters = [
            letter
            for letter in result_told(product, channel)
            if "1,500" in letter["text"] or receipt(5) in letter["text"]
        ]
        assert len(letters) == 2
        for letter in letters:
            assert letter["text"].startswith("TEST, no real money: ")
            assert letter.get("subject", "TEST, no real money: ").startswith("TEST, no real money: ")
    with product.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").update({"environment": "production"})
    approved(product)
    assert (
        "TEST" not in result_told(product, "sms")[-1]["text"]
        and "TEST" not in result_told(product, "email")[-1]["subject"]
    )


@pytest.mark.property(36)
def test_paid_and_unpaid_are_told_apart_at_a_glance_in_the_clinicians_table(product: Product) -> None:
    """tests.md 36: texts were there, not that paid and unpaid differ: icon, word and colour."""
    paid = approved(product)
    product.callback(product.pushed(paid["paymentId"]), receipt=receipt(5))
    product.settle()
    approved(product, "onsite")
    page = product.browser_of("wanjiru").get("/staff/appointments").text
    cells = re.findall(r'data-label="Payment">(.*?)</td>', page, re.DOTALL)
    looks = [re.search(r'class="chip (t-\w+)"><svg.*?d="([^"]+)".*?</svg>([^<]+)<', cell, re.DOTALL) for cell in cells]
    unpaid, done = (look.groups() for look in looks if look)
    assert (unpaid[0], unpaid[2]) == ("t-attention", "Due") and (done[0], done[2]) == ("t-success", "Paid")
    assert unpaid[1] != done[1], "another icon"
    assert receipt(5) in cells[1] and receipt(5) not in cells[0] and "KES 1,500" in cells[0]


@pytest.mark.property(38)
def test_a_payments_page_names_client_and_therapist(product: Product) -> None:
    """tests.md 38: no clinician was shown."""
    appointment = approved(product)
    product.callback(product.pushed(appointment["paymentId"]), receipt=receipt(5))
    product.settle()
    page = product.browser_of("brian").get(f"/staff/attempts/{appointment['paymentId']}").text
    assert "Achieng" in page and "Dr Wanjiru" in page and receipt(5) in page


@pytest.mark.property(3)
@pytest.mark.property(4)
@pytest.mark.property(6)
@pytest.mark.property(60)
def test_approval_issues_the_invoice_and_tells_the_patient_how_to_pay(product: Product) -> None:
    appointment = approved(product)
    assert appointment["status"] == "approved" and appointment["amountDue"] == 1_500
    sms, mail = result_told(product, "sms")[-1], result_told(product, "email")[-1]
    for text in (sms["text"], mail["text"]):
        assert appointment["payUrl"] in text and "600111" in text and appointment["invoiceNumber"] in text
    page = product.client().get(appointment["payUrl"].removeprefix("http://127.0.0.1:1")).text
    assert "Pay KES 1,500 with M-Pesa" in page


@pytest.mark.property(22)
@pytest.mark.property(24)
@pytest.mark.property(25)
@pytest.mark.property(26)
@pytest.mark.property(32)
@pytest.mark.property(34)
@pytest.mark.property(35)
@pytest.mark.parametrize("kind", ["virtual", "onsite"])
def test_payment_confirms_the_appointment_and_everybody_hears_of_it_once(product: Product, kind: str) -> None:
    appointment = approved(product, kind)
    push = product.pushed(appointment["paymentId"])
    for _again in range(2):
        product.callback(push, receipt=receipt(5))
        product.settle()
    now = product.api("wanjiru").get(f"/api/appointments/{appointment['id']}").json
    assert now["status"] == "confirmed" and now["amountDue"] == 0
    assert (now["meetingUrl"] or "").startswith("https://meet.example/") == (kind == "virtual")
    assert (now["place"] == "Moi Avenue 1") == (kind == "onsite")
    confirmations = [mail for mail in result_told(product, "email") if receipt(5) in mail["text"]]
    assert len(confirmations) == 1 and (now["meetingUrl"] or now["place"]) in confirmations[0]["text"]
    page = product.client().get(f"/pay/{appointment['paymentId']}").text
    assert receipt(5) in page and "Paid" in page
    seen = product.browser_of("wanjiru").get("/staff/appointments").text
    assert receipt(5) in seen and "Confirmed" in seen


@pytest.mark.property(28)
@pytest.mark.property(29)
@pytest.mark.property(33)
@pytest.mark.property(36)
@pytest.mark.property(43)
@pytest.mark.parametrize("code", [1, 1032, 1037, 2001])
def test_a_failed_payment_leaves_the_appointment_approved_and_payable_at_once(product: Product, code: int) -> None:
    appointment = approved(product)
    push = product.pushed(appointment["paymentId"])
    product.callback(push, code=code)
    product.settle()
    assert product.api("brian").get(f"/api/appointments/{appointment['id']}").json["status"] == "approved"
    again = product.client().post(f"/pay/{appointment['paymentId']}", data={"phone": push.msisdn})
    assert again.status_code == 303, "no wait after a plain decline"
    attempt = product.browser_of("wanjiru").get(f"/staff/attempts/{appointment['paymentId']}").text
    reason = {
        1: "lacks the money", 1032: "The payer cancelled", 1037: "Phone off, busy", 2001: "a wrong PIN",
    }[code]  # fmt: skip
    assert f'<code class="muted">{code}</code>' in attempt and reason in attempt
    listed = product.browser_of("wanjiru").get("/staff/appointments").text
    assert "Due" in listed and "KES 1,500" in listed


def test_a_cancelled_appointment_can_no_longer_be_paid_and_late_money_waits(product: Product) -> None:
    appointment = approved(product)
    assert (
        product.api("brian").post(f"/api/appointments/{appointment['id']}/cancel", json={"reason": "ill"}).status_code
        == 200
    )
    refused = product.api("brian").post(
        "/api/mpesa/initiate",
        json={"orderId": appointment["id"], "amount": 1_500, "phoneNumber": new_phone()},
    )
    assert refused.status_code == 409
    product.client().post(
        f"{product.hook()}/c2b/confirmation",
        json=c2b_body(receipt=receipt(6), amount=1_500, account=appointment["invoiceNumber"]),
    )
    product.settle()
    assert receipt(6) in product.browser_of("brian").get("/staff/unmatched").text and product.books() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "by post"}, "kind"), ({"startsAt": "soon"}, "startsAt"), ({"startsAt": "2020-01-01T00:00:00Z"}, "startsAt"),
        ({"durationMinutes": 0}, "durationMinutes"), ({"durationMinutes": "45"}, "durationMinutes"),
        ({"price": 0}, "price"), ({"price": 10.5}, "price"), ({"price": 250_001}, "price"), ({"price": "free"}, "price"),
    ],
)  # fmt: skip
def test_a_wrong_booking_names_its_field(product: Product, changes: dict[str, Any], field: str) -> None:
    answer = book(product, **changes)
    assert answer.status_code == 422 and field in answer.json["fields"]


def test_the_calendar_file_is_discreet_and_complete(product: Product) -> None:
    from icalendar import Calendar

    appointment = approved(product)
    assert product.client().get(f"/pay/{appointment['paymentId']}/calendar.ics").status_code == 404
    product.callback(product.pushed(appointment["paymentId"]), receipt=receipt(7))
    product.settle()
    answer = product.client().get(f"/pay/{appointment['paymentId']}/calendar.ics")
    event = Calendar.from_ical(answer.data).walk("VEVENT")[0]
    assert str(event["SUMMARY"]) == "Mlima House" and str(event["URL"]).startswith("http://127.0.0.1:1/join/")
    assert (event["DTEND"].dt - event["DTSTART"].dt) == timedelta(minutes=45)


def test_a_meeting_opens_only_when_paid_and_near(product: Product) -> None:
    from portal.clinic.models import Appointment

    appointment = approved(product)
    with product.inside():
        token = db.session.query(Appointment.join_token).filter_by(uid=appointment["id"]).scalar()
    assert "opens once it is paid" in product.client().get(f"/join/{token}").text
    product.callback(product.pushed(appointment["paymentId"]), receipt=receipt(8))
    product.settle()
    assert "You are early" in product.client().get(f"/join/{token}").text
    clock.move(timedelta(days=2))
    assert f"/join/{token}/enter" in product.client().get(f"/join/{token}").text
    assert product.client().get(f"/join/{token}/enter").headers["Location"] == f"https://meet.example/{token}"
    clock.move(timedelta(hours=3))
    assert "This session is over" in product.client().get(f"/join/{token}").text


def cancelled(product: Product, uid: str) -> None:
    answer = product.api("brian").post(f"/api/appointments/{uid}/cancel", {"reason": "ill"})
    assert answer.status_code == 200 and answer.json["status"] == "cancelled", answer.text


def paid_by_hand(product: Product, amount: int, number: str, code: str) -> None:
    body = c2b_body(receipt=code, amount=amount, account=number)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.work()


def test_a_part_paid_appointment_that_is_cancelled_is_payable_no_more(product: Product) -> None:
    """money.md A18: its part waits to be placed, and so does what still comes for it."""
    one = approved(product, "onsite", 1_000)
    token = one["payUrl"].rpartition("/")[2]
    paid_by_hand(product, 300, one["invoiceNumber"], receipt(1))
    ringing = product.pushed(token)
    cancelled(product, one["id"])
    assert product.status(token)["status"] == "cancelled"
    assert product.client().post(f"/pay/{token}", data={"phone": "0712345678"}).status_code == 409
    product.callback(ringing, receipt=receipt(2))
    product.work()
    page = product.browser_of("brian").get("/staff/unmatched").text
    for code, amount in ((receipt(1), "KES 300"), (receipt(2), "KES 700")):
        assert code in page and amount in page
    assert "can no longer be paid" in page and product.books() == []


def test_a_paid_appointment_that_is_cancelled_waits_for_its_refund(product: Product) -> None:
    """money.md A18: nobody forgets the money of what will not take place."""
    from tests.support.refunds import with_initiator

    with_initiator(product)
    one = approved(product, "onsite", 1_000)
    token = one["payUrl"].rpartition("/")[2]
    push = product.pushed(token, "254712345678")
    product.callback(push, receipt=receipt(1))
    product.work()
    amina = product.browser_of("amina")
    assert "Cancelled, and paid" not in amina.get("/staff/unmatched").text
    cancelled(product, one["id"])
    page = amina.get("/staff/unmatched").text
    assert "Cancelled, and paid" in page and one["invoiceNumber"] in page and f"/staff/refunds/of/{token}" in page
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        sent = refunds.ask_for(payment.id, amount_cents=None, method="b2c", user_id=1, why="", actor="user:1")
        refunds.done(refunds.lock(sent[0].id), receipt=None, actor="test")
    assert "Cancelled, and paid" not in amina.get("/staff/unmatched").text and product.books() == []


def test_an_appointment_is_approved_once_by_two_at_once(either_product: Product) -> None:
    """tests.md S2, on both databases: one invoice, one conflict."""
    from tests.support.threads import together

    product = either_product
    uid = book(product).json["id"]
    headers = product.api("wanjiru").headers
    path = f"/api/appointments/{uid}/approve"
    said = together(product, *([lambda: product.client().post(path, headers=headers).status_code] * 4))
    assert sorted(said) == [200, 409, 409, 409]
    with product.inside():
        assert db.session.query(Payment).count() == 1


def test_of_a_move_that_lost_its_race_nothing_is_written(product: Product) -> None:
    """tests.md S2: read as it was, changed by somebody else since: the guarded UPDATE decides."""
    from sqlalchemy import update
    from sqlalchemy.orm.attributes import set_committed_value

    from portal.clinic import appointments
    from portal.clinic.models import Appointment
    from portal.kernel.errors import Conflict

    book(product)
    with product.app.app_context(), pytest.raises(Conflict, match="Somebody else"), transaction():
        stale = db.session.query(Appointment).one()
        db.session.execute(update(Appointment).values(status="declined").execution_options(synchronize_session=False))
        set_committed_value(stale, "status", "pending_approval")
        appointments.cancel(stale, why="", actor="test")


def test_an_early_guest_is_told_when_the_door_opens(product: Product) -> None:
    """use.md: the early join page named no time."""
    day = clock.nairobi(clock.now() + timedelta(days=2))
    uid = book(product, startsAt=f"{day:%Y-%m-%d}T18:05:00+03:00").json["id"]
    appointment = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json
    product.callback(product.pushed(appointment["paymentId"]), receipt=receipt(5))
    product.settle()
    link = product.api("wanjiru").get(f"/api/appointments/{uid}").json["meetingUrl"]
    page = product.client().get(f"/join/{link.rsplit('/', 1)[1]}").text
    assert f"The door opens here at {day:%d/%m/%Y} 17:50." in page
