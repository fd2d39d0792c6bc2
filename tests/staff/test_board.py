"""The reception's day on one board: who is here, who has paid, and how they pay in their row."""

import re
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from portal.clinic import people
from portal.clinic.models import Appointment, Clinician
from portal.clinic.reception import arrivals, queue_tickets, shifts
from portal.clinic.reception.models import QueueTicket
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments import manual, placing
from portal.payments.models import Payment, Push, Transaction
from tests.support.booking import place_of
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.threads import together
from tests.support.visitors import csrf_of

HTMX = {"HX-Request": "true"}


def visit(product: Product, *, price: int = 1_500, approved: bool = True, **changes: Any) -> str:
    """A visit of today's, onsite; its id."""
    api = product.api("brian")
    patient = api.post("/api/patients", json={"name": "Achieng Otieno", "phone": new_phone()}).json
    clinician = api.get("/api/clinicians").json["items"][0]
    body = {
        "patientId": patient["id"], "clinicianId": clinician["id"], "kind": "onsite",
        "startsAt": clock.rfc3339(clock.now() + timedelta(minutes=5)), "durationMinutes": 30, "price": price,
    }  # fmt: skip
    made = api.post("/api/appointments", json=body | changes)
    assert made.status_code == 201, made.text
    if approved:
        assert api.post(f"/api/appointments/{made.json['id']}/approve").status_code == 200
    return str(made.json["id"])


def token_of(product: Product, uid: str) -> str:
    """The token of what this visit costs."""
    with product.inside():
        found = db.session.query(Appointment).filter_by(uid=uid).one()
        assert found.invoice is not None
        return found.invoice.payment.token


def number_of(product: Product, uid: str) -> str:
    with product.inside():
        invoice = db.session.query(Appointment).filter_by(uid=uid).one().invoice
        assert invoice is not None
        return str(invoice.number)


def press(browser: FlaskClient, path: str, *, htmx: bool = True, **form: Any) -> Any:
    """Press a button of a row."""
    data = form | {"csrf_token": csrf_of(browser, "/staff/board"), "page": "board"}
    return browser.post(path, data=data, headers=HTMX if htmx else {})


def begin_shift(browser: FlaskClient, amount: str = "1000") -> None:
    answer = browser.post("/staff/shift", data={"float": amount, "csrf_token": csrf_of(browser, "/staff/shift")})
    assert answer.status_code == 303


def seen_of(page: str) -> str:
    return re.search(r'id="seen" value="([^"]*)"', page).group(1)  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def noon() -> None:
    """The day has hours before and after."""
    now = clock.nairobi(clock.now())
    clock.move(now.replace(hour=12, minute=0, second=0, microsecond=0) - now)


def row_of(page: str, uid: str) -> str:
    """The row of this visit, as text."""
    return page.split(f'id="row-{uid}"', 1)[1].split("</li>", 1)[0]


def test_the_day_is_one_list_with_what_is_owed_and_who_has_come(product: Product) -> None:
    uid, other = visit(product), visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(days=1)))
    brian = product.browser_of("brian")
    page = brian.get("/staff/board").text
    row = row_of(page, uid)
    assert "Achieng Otieno" in row and "12:05" in row and "KES 1,500" in row and "Due" in row
    assert f"row-{other}" not in page and "1 visit · 0 here" in page and "1 to pay, KES 1,500" in page
    answer = press(brian, f"/staff/board/visits/{uid}/arrive")
    assert answer.status_code == 200 and "Here since 12:00" in answer.text and "No. 1" in answer.text
    assert "1 visit · 1 here" in brian.get("/staff/board").text


def test_who_comes_early_can_be_seen_early(product: Product) -> None:
    uid = visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(hours=3)))
    paid_by_hand = c2b_body(receipt=receipt(1), amount=1500, account=number_of(product, uid))
    product.client().post(f"{product.hook()}/c2b/confirmation", json=paid_by_hand)
    product.settle()
    brian = product.browser_of("brian")
    assert f"{uid}/start" not in brian.get("/staff/board").text
    press(brian, f"/staff/board/visits/{uid}/arrive")
    assert f"{uid}/start" in brian.get("/staff/board").text
    begun = press(brian, f"/staff/board/visits/{uid}/start").text
    assert "With the clinician" in begun and f"{uid}/start" not in begun and 'name="page" value="board"' in begun


def test_who_declines_says_why_on_either_page_and_the_patient_reads_it(product: Product) -> None:
    first, second = (
        visit(product, approved=False),
        visit(product, approved=False, startsAt=clock.rfc3339(clock.now() + timedelta(hours=1))),
    )
    doctor = product.browser_of("wanjiru")
    assert 'name="why"' in row_of(doctor.get("/staff/board").text, first)
    assert doctor.get("/staff/appointments").text.count('name="why"') == 2
    press(doctor, f"/staff/board/visits/{first}/decline", why="We are closed then")
    press(doctor, f"/staff/appointments/{second}/decline", htmx=False, why="The doctor travels")
    with product.inside():
        told = [payload_of(one)["text"] for one in db.session.query(OutboxItem) if one.key.endswith("/declined")]
    assert "We are closed then." in told[0] and "The doctor travels." in told[1]


def test_a_poll_brings_the_rows_that_changed_and_nothing_where_none_did(product: Product) -> None:
    uid, other = visit(product), visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(hours=1)))
    brian = product.browser_of("brian")
    seen = seen_of(brian.get("/staff/board").text)
    live = f"/staff/board/live?seen={seen}"
    assert brian.get(live, headers=HTMX).status_code == 204
    with product.app.app_context(), transaction():
        arrivals.arrive(db.session.query(Appointment).filter_by(uid=uid).one(), actor="test")
    answer = brian.get(live, headers=HTMX)
    assert f'id="row-{uid}"' in answer.text and f'id="row-{other}"' not in answer.text
    assert brian.get(f"/staff/board/live?seen={seen_of(answer.text)}", headers=HTMX).status_code == 204
    third = visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(hours=2)))
    whole = brian.get(f"/staff/board/live?seen={seen_of(answer.text)}", headers=HTMX).text
    assert all(f'id="row-{one}"' in whole for one in (uid, other, third)) and 'id="visits"' in whole


def test_a_number_is_called_in_the_row_after_any_poll_or_answer(product: Product) -> None:
    uid, brian = visit(product), product.browser_of("brian")
    seen = seen_of(brian.get("/staff/board").text)
    answered = press(brian, f"/staff/board/visits/{uid}/arrive").text
    polled = brian.get(f"/staff/board/live?seen={seen}", headers=HTMX).text
    for text in (answered, polled):
        assert 'name="page" value="board"' in row_of(text, uid) and 'name="page" value=""' not in text
    path = re.search(r'action="(/staff/queue/\w+/call)"', row_of(polled, uid))
    assert path is not None
    called = press(brian, path.group(1))
    assert f'id="row-{uid}"' in called.text and "Call again" in called.text


def test_a_phone_is_asked_in_the_row_and_its_answer_shows_there(product: Product) -> None:
    uid = visit(product)
    token, brian = token_of(product, uid), product.browser_of("brian")
    seen = seen_of(brian.get("/staff/board").text)
    answer = press(brian, f"/staff/board/pay/{token}/push", phone="0722 000 111", key="a", seen=seen)
    assert answer.status_code == 200 and "0722…111" in answer.text and "Waiting to be sent" in answer.text
    assert brian.get(f"/staff/board/live?seen={seen_of(answer.text)}", headers=HTMX).status_code == 204
    again = press(brian, f"/staff/board/pay/{token}/push", phone="0733000222", key="b")
    assert "0722…111 is being asked already" in again.text
    with product.inside():
        assert [one.reference[-2:] for one in db.session.query(Push)] == ["P1"]


def test_several_phones_are_asked_at_once_each_in_its_own_row(product: Product) -> None:
    first, second = visit(product), visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(hours=1)))
    brian = product.browser_of("brian")
    for uid, phone in ((first, "0722000111"), (second, "0722000112")):
        assert press(brian, f"/staff/board/pay/{token_of(product, uid)}/push", phone=phone).status_code == 200
    page = brian.get("/staff/board").text
    assert "0722…111" in row_of(page, first) and "0722…112" in row_of(page, second)


@pytest.mark.parametrize("phone", ["12", "+1 202 555 0100", "🙂", "0" * 10_000])
def test_a_number_that_is_none_is_said_in_the_row_with_what_was_typed(product: Product, phone: str) -> None:
    token = token_of(product, visit(product))
    answer = press(product.browser_of("brian"), f"/staff/board/pay/{token}/push", phone=phone)
    assert answer.status_code == 422 and "Kenyan mobile number" in answer.text and f'value="{phone}"' in answer.text


def test_cash_tells_the_change_confirms_the_visit_and_lies_in_the_shift(product: Product) -> None:
    uid = visit(product)
    token, brian = token_of(product, uid), product.browser_of("brian")
    refused = press(brian, f"/staff/board/pay/{token}/cash", tendered="2000", key="k")
    assert refused.status_code == 422 and "Open your shift first" in refused.text
    begin_shift(brian)
    seen = seen_of(brian.get("/staff/board").text)
    answer = press(brian, f"/staff/board/pay/{token}/cash", tendered="2000", key="k", seen=seen)
    assert answer.status_code == 200 and "Change to give back" in answer.text and "KES 500" in answer.text
    polled = brian.get(f"/staff/board/live?seen={seen_of(answer.text)}", headers=HTMX).text
    assert f'id="row-{uid}"' not in polled and "CASH1001" in polled  # the change stands on, the strip has the money
    again = press(brian, f"/staff/board/pay/{token}/cash", tendered="2000", key="k")
    assert "KES 500" in again.text
    product.work()
    confirmed = brian.get(f"/staff/board/live?seen={seen_of(answer.text)}", headers=HTMX).text
    assert "Confirmed" in row_of(confirmed, uid) and "KES 500" in row_of(confirmed, uid)  # and is told still
    later(61)
    assert "Change to give back" not in brian.get("/staff/board").text
    with product.inside():
        (taken,) = db.session.query(Transaction).all()
        assert (taken.amount_cents, taken.channel) == (150_000, "cash")
    report = close_shift(brian, "2500")
    assert "KES 2,500" in report and "Difference" in report and product.books() == []


def close_shift(browser: FlaskClient, counted: str) -> str:
    form = {"counted": counted, "csrf_token": csrf_of(browser, "/staff/shift/close")}
    return browser.post("/staff/shift/close", data=form, follow_redirects=True).text


def test_without_javascript_the_board_comes_back_at_its_row(product: Product) -> None:
    uid = visit(product)
    brian = product.browser_of("brian")
    answer = press(brian, f"/staff/board/visits/{uid}/arrive", htmx=False)
    assert answer.status_code == 303 and answer.headers["Location"].endswith(f"/staff/board#row-{uid}")
    assert "Here. Number 1." in brian.get("/staff/board").text


def test_without_javascript_what_is_refused_comes_back_in_its_row_as_it_was_typed(product: Product) -> None:
    token, brian = token_of(product, visit(product)), product.browser_of("brian")
    words = "UKA77 is the code, I think 🙂"
    answer = press(brian, f"/staff/board/pay/{token}/message", htmx=False, words=words)
    assert answer.status_code == 422 and "<h1>Reception" in answer.text
    assert words in answer.text and "ten letters and digits" in answer.text


# --- money that arrived by itself


def arrives(product: Product, number: int, amount: int = 1_500, account: str = "LOST") -> str:
    """Money with a wrong account; its id."""
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(number), amount=amount, account=account)
    )
    product.work()
    with product.inside():
        return db.session.query(Transaction).filter_by(receipt=receipt(number)).one().uid


def test_money_without_a_home_is_claimed_from_the_strip(product: Product) -> None:
    uid = visit(product)
    item, brian = arrives(product, 1), product.browser_of("brian")
    page = brian.get("/staff/board").text
    assert f"/staff/board/claim/{item}" in page and "For Achieng Otieno, 12:05" in page
    with product.inside():
        number = db.session.query(Appointment).filter_by(uid=uid).one().invoice_number
    form = {"reference": number, "csrf_token": csrf_of(brian, "/staff/board")}
    assert brian.post(f"/staff/board/claim/{item}", data=form).status_code == 303
    product.work()
    row = row_of(brian.get("/staff/board").text, uid)
    assert "Paid" in row and receipt(1) in row and "Confirmed" in row


def test_of_two_receptionists_who_claim_the_same_money_one_gets_it(either_product: Product) -> None:
    product = either_product
    first, second = visit(product), visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(hours=1)))
    item, tenant_id = arrives(product, 1), product.tenant_id()
    with product.inside():
        numbers = [db.session.query(Appointment).filter_by(uid=uid).one().invoice_number for uid in (first, second)]

    def claim(number: str) -> Any:
        def do() -> str:
            try:
                with transaction():
                    placing.place(tenant_id, item, number, actor=f"user:{number}")
            except Refused as error:
                return str(error.message)
            return "placed"

        return do

    said = together(product, *[claim(number) for number in numbers])
    assert sorted(said) == ["This money has been placed already.", "placed"]
    with product.inside():
        assert sorted(one.allocated_cents for one in db.session.query(Payment)) == [0, 150_000]
    assert product.books() == []


def test_two_pushes_at_once_for_one_visit_ring_once(either_product: Product) -> None:
    product = either_product
    token = token_of(product, visit(product))
    browsers = [product.browser_of(name) for name in ("brian", "amina")]
    tokens = [csrf_of(browser, "/staff/board") for browser in browsers]

    def push(at: int) -> Any:
        form = {"phone": new_phone(), "key": str(at), "csrf_token": tokens[at]}
        return lambda: browsers[at].post(f"/staff/board/pay/{token}/push", data=form, headers=HTMX).status_code

    assert together(product, push(0), push(1)) == [200, 200]
    with product.inside():
        assert db.session.query(Push).count() == 1


def test_a_code_typed_in_the_row_uses_the_money_it_names(product: Product) -> None:
    uid = visit(product)
    token, brian = token_of(product, uid), product.browser_of("brian")
    arrives(product, 1)
    typed = f"{receipt(1)[:4].lower()} {receipt(1)[4:]}"
    answer = press(brian, f"/staff/board/pay/{token}/message", words=typed)
    assert answer.status_code == 200 and "Paid" in answer.text
    other = token_of(product, visit(product, startsAt=clock.rfc3339(clock.now() + timedelta(hours=1))))
    used = press(brian, f"/staff/board/pay/{other}/message", words=receipt(1))
    assert used.status_code == 422 and "was used already" in used.text


def test_a_message_whose_amount_is_another_pays_nothing(product: Product) -> None:
    token, brian = token_of(product, visit(product)), product.browser_of("brian")
    arrives(product, 1, amount=20)
    words = (
        f"{receipt(1)} Confirmed. Ksh1,500.00 sent to MLIMA HOUSE for account LOST on"
        f" {clock.nairobi(clock.now()):%-d/%-m/%y} at 11:58 AM New M-PESA balance is Ksh10.00."
    )
    answer = press(brian, f"/staff/board/pay/{token}/message", words=words)
    assert answer.status_code == 422 and "another amount" in answer.text
    assert "Ksh1,500.00" in answer.text  # nothing that was pasted is lost
    with product.inside():
        assert db.session.query(Payment).filter_by(token=token).one().allocated_cents == 0


@pytest.mark.parametrize("words", ["", "hello", "x" * 10_000, "=HYPERLINK(1)", "\u202eABC"])
def test_words_that_are_no_code_are_refused_clearly(product: Product, words: str) -> None:
    token, brian = token_of(product, visit(product)), product.browser_of("brian")
    answer = press(brian, f"/staff/board/pay/{token}/message", words=words)
    assert answer.status_code == 422 and "ten letters and digits" in answer.text


def test_a_code_that_nobody_knows_is_asked_about_or_refused(product: Product) -> None:
    token, brian = token_of(product, visit(product)), product.browser_of("brian")
    answer = press(brian, f"/staff/board/pay/{token}/message", words=receipt(9))
    assert answer.status_code == 422 and "M-Pesa has not told us of" in answer.text


# --- slips


def test_an_arrival_is_taken_back_within_minutes_and_not_after(product: Product) -> None:
    uid, brian = visit(product), product.browser_of("brian")
    press(brian, f"/staff/board/visits/{uid}/arrive")
    assert press(brian, f"/staff/board/visits/{uid}/undo-arrival").status_code == 200
    with product.inside():
        found = db.session.query(Appointment).filter_by(uid=uid).one()
        assert found.arrived_at is None and db.session.query(QueueTicket).one().state == "left"
    assert "No. 1" in press(brian, f"/staff/board/visits/{uid}/arrive").text  # their number is theirs still
    later(10 * 60 + 1)
    refused = press(brian, f"/staff/board/visits/{uid}/undo-arrival")
    assert refused.status_code == 422 and "within 10 minutes" in refused.text
    assert "Not here after all" not in brian.get("/staff/board").text


def taken_cash(product: Product, brian: FlaskClient) -> tuple[str, str]:
    """(token, id of the money) of a visit that was paid in cash."""
    token = token_of(product, visit(product))
    assert press(brian, f"/staff/board/pay/{token}/cash", tendered="1500", key="k").status_code == 200
    with product.inside():
        return token, db.session.query(Transaction).one().uid


def test_cash_is_taken_back_by_who_took_it_within_minutes(product: Product) -> None:
    brian = product.browser_of("brian")
    begin_shift(brian)
    token, uid = taken_cash(product, brian)
    amina = press(product.browser_of("amina"), f"/staff/board/pay/{token}/undo-money", uid=uid)
    assert amina.status_code == 422 and "Only who took this money" in amina.text
    answer = press(brian, f"/staff/board/pay/{token}/undo-money", uid=uid)
    assert answer.status_code == 200 and "It is due again" in answer.text and "KES 1,500" in answer.text
    report = close_shift(brian, "1000")
    assert "KES 1,000" in report and "Missing" not in report and product.books() == []


@pytest.mark.parametrize("how", ["late", "closed"])
def test_cash_is_not_taken_back_after_time_or_out_of_a_closed_shift(product: Product, how: str) -> None:
    brian = product.browser_of("brian")
    begin_shift(brian)
    token, uid = taken_cash(product, brian)
    if how == "late":
        later(10 * 60 + 1)
    else:
        close_shift(brian, "2500")
    answer = press(brian, f"/staff/board/pay/{token}/undo-money", uid=uid)
    assert answer.status_code == 422 and "administrator" in answer.text
    with product.inside():
        assert db.session.query(Transaction).one().voided_at is None


def test_a_claim_is_taken_off_again_by_who_made_it(product: Product) -> None:
    uid = visit(product)
    token, brian = token_of(product, uid), product.browser_of("brian")
    item = arrives(product, 1)
    assert press(brian, f"/staff/board/pay/{token}/message", words=receipt(1)).status_code == 200
    product.work()
    assert "Undo the claim" in brian.get("/staff/board").text
    amina = press(product.browser_of("amina"), f"/staff/board/pay/{token}/undo-money", uid=item)
    assert amina.status_code == 422 and "Only who placed" in amina.text
    assert press(brian, f"/staff/board/pay/{token}/undo-money", uid=item).status_code == 200
    product.work()
    with product.inside():
        money = db.session.query(Transaction).one()
        assert (money.unallocated_cents, money.state) == (150_000, "unallocated")
    assert "KES 1,500" in row_of(brian.get("/staff/board").text, uid) and product.books() == []


def test_what_a_payer_paid_by_themselves_is_no_claim_to_undo(product: Product) -> None:
    uid = visit(product)
    with product.inside():
        number = db.session.query(Appointment).filter_by(uid=uid).one().invoice_number
    item, brian = arrives(product, 1, account=number), product.browser_of("brian")
    assert "Undo the claim" not in brian.get("/staff/board").text
    token = token_of(product, uid)
    assert press(brian, f"/staff/board/pay/{token}/undo-money", uid=item).status_code == 422
    with product.inside():
        assert db.session.query(Payment).filter_by(token=token).one().state == "paid"


# --- who, where, when


def test_the_board_shows_nobody_elses_visits_and_asks_for_no_other_tenants_money(product: Product) -> None:
    uid = visit(product)
    token = token_of(product, uid)
    chege = product.browser_of("chege")
    assert "Achieng" not in chege.get("/staff/board").text
    assert press(chege, f"/staff/board/visits/{uid}/arrive").status_code == 404
    assert press(chege, f"/staff/board/pay/{token}/push", phone="0722000111").status_code == 404


def test_a_visit_of_the_last_minute_before_midnight_is_of_that_day_in_nairobi(product: Product) -> None:
    now = clock.nairobi(clock.now())
    uid = visit(product, startsAt=now.replace(hour=23, minute=55).isoformat())
    brian = product.browser_of("brian")
    assert f"row-{uid}" in brian.get("/staff/board").text
    later(12 * 3600 + 60)  # the next day has begun
    brian = product.browser_of("brian")
    assert f"row-{uid}" not in brian.get("/staff/board").text
    assert f"row-{uid}" in brian.get(f"/staff/board?day={now.date()}").text


@pytest.mark.parametrize("words", ["achieng", "OTIENO dr", "1,500", "inv", "#1"])
def test_a_row_is_found_by_what_it_says_and_polls_go_on(product: Product, words: str) -> None:
    uid, other = visit(product), visit(product, price=70, startsAt=clock.rfc3339(clock.now() + timedelta(hours=1)))
    brian = product.browser_of("brian")
    press(brian, f"/staff/board/visits/{uid}/arrive")
    page = brian.get("/staff/board", query_string={"q": words}).text
    assert f'id="row-{uid}"' in page
    assert "Nothing on this day says that" in brian.get("/staff/board?q=nobody").text
    assert f'id="row-{other}"' not in brian.get("/staff/board?q=1500").text
    with product.app.app_context(), transaction():
        arrivals.arrive(db.session.query(Appointment).filter_by(uid=other).one(), actor="test")
    live = brian.get("/staff/board/live", query_string={"q": "1500", "seen": seen_of(page)}, headers=HTMX)
    assert live.status_code == 200 and f'id="row-{other}"' not in live.text


@pytest.mark.parametrize("day", ["tomorrow", "2026-02-31", "9999-12-31", "0001-01-01", "🙂"])
def test_a_day_that_is_none_shows_today(product: Product, day: str) -> None:
    uid = visit(product)
    assert f"row-{uid}" in product.browser_of("brian").get("/staff/board", query_string={"day": day}).text


def test_two_who_write_the_same_arrival_down_give_one_number(either_product: Product) -> None:
    product = either_product
    uid = visit(product)

    def arrive() -> bool:
        with transaction():
            return arrivals.arrive(db.session.query(Appointment).filter_by(uid=uid).one(), actor="test")

    assert sorted(together(product, arrive, arrive)) == [False, True]
    with product.inside():
        assert [one.number for one in db.session.query(QueueTicket)] == [1]


def test_numbers_given_at_once_are_different_ones_and_begin_anew_each_day(either_product: Product) -> None:
    product = either_product
    tenant_id = product.tenant_id()

    def give() -> int:
        with transaction():
            return queue_tickets.give(tenant_id, actor="test").number

    assert sorted(together(product, give, give, give, give)) == [1, 2, 3, 4]
    later(24 * 3600)
    assert together(product, give) == [1]


def test_two_who_call_the_next_one_call_two(either_product: Product) -> None:
    product = either_product
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        for _one in range(2):
            queue_tickets.give(tenant_id, actor="test")

    def call() -> Any:
        with transaction():
            called = queue_tickets.call_next(tenant_id, "", room="2", actor="test")
            return called and called.number

    assert sorted(together(product, call, call)) == [1, 2]
    assert together(product, call) == [None]


def test_the_next_one_is_called_once_by_a_button_that_is_pressed_twice(either_product: Product) -> None:
    """Who was called has just got up, and nobody else comes into the room with them."""
    tenant_id = either_product.tenant_id()
    with either_product.app.app_context(), transaction():
        for _one in range(3):
            queue_tickets.give(tenant_id, actor="test")
    brian = either_product.browser_of("brian")
    page = brian.get("/staff/queue").text
    first = re.search(r'name="first" value="([0-9a-f]{24})"', page)
    assert first is not None
    form = {"room": "1", "first": first.group(1), "csrf_token": csrf_of(brian, "/staff/queue")}

    def called() -> list[int]:
        with either_product.inside():
            found = db.session.query(QueueTicket).filter_by(state="called").order_by(QueueTicket.number)
            return [one.number for one in found]

    together(either_product, *[lambda: brian.post("/staff/queue/next", data=form)] * 2)
    assert called() == [1]
    brian.post("/staff/queue/next", data=form | {"room": "2"})
    assert called() == [1, 2], "another room from the same page"
    newer = re.search(r'name="first" value="([0-9a-f]{24})"', brian.get("/staff/queue").text)
    assert newer is not None
    brian.post("/staff/queue/next", data=form | {"first": newer.group(1)})
    assert called() == [1, 2, 3]


def test_the_screen_shows_numbers_and_rooms_and_never_a_name(product: Product) -> None:
    uid, brian = visit(product), product.browser_of("brian")
    press(brian, f"/staff/board/visits/{uid}/arrive")
    screen = re.search(r'href="(/clinic/mlima/queue/\w+)"', brian.get("/staff/queue").text)
    assert screen is not None
    wall = product.client().get(screen.group(1))
    assert wall.status_code == 200 and "1 wait" in wall.text and "no-store" in wall.headers["Cache-Control"]
    form = {"room": "Room 2", "csrf_token": csrf_of(brian, "/staff/queue")}
    assert brian.post("/staff/queue/next", data=form).status_code == 303
    page = product.client().get(screen.group(1)).text
    assert '<span class="queue-number">1</span>' in page and "Room 2" in page and "Achieng" not in page
    again = re.search(r'hx-get="([^"]+)"', page).group(1)  # type: ignore[union-attr]
    assert product.client().get(again, headers=HTMX).status_code == 204
    assert product.client().get("/clinic/mlima/queue/" + "0" * 32).status_code == 404
    bahari = screen.group(1).replace("mlima", "bahari")
    assert product.client().get(bahari).status_code == 404


def test_a_number_knows_how_many_are_before_it_and_where_it_is_called(product: Product) -> None:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        tokens = [queue_tickets.give(tenant_id, actor="test").token for _one in range(3)]
    pages = [f"/clinic/mlima/queue/number/{token}" for token in tokens]
    assert "2 are before you" in product.client().get(pages[2]).text
    with product.app.app_context(), transaction():
        queue_tickets.call_next(tenant_id, "", room="Room 1", actor="test")
    assert "It is your turn" in product.client().get(pages[0]).text
    assert "You are next" in product.client().get(pages[1]).text
    assert "1 is before you" in product.client().get(pages[2]).text
    assert product.client().get(pages[2].replace("mlima", "bahari")).status_code == 404
    with product.app.app_context():
        waiting = db.session.query(QueueTicket).filter_by(token=tokens[2]).one()
        with pytest.raises(NotFound):
            queue_tickets.get(product.tenant_id("bahari"), waiting.uid)
        later(24 * 3_600)
        with pytest.raises(Conflict, match="not of today"):
            queue_tickets.call(db.session.merge(waiting), room="", actor="test")
        db.session.remove()


def test_a_number_is_sent_to_a_phone_once_with_the_address_of_its_page(product: Product) -> None:
    uid, brian = visit(product), product.browser_of("brian")
    press(brian, f"/staff/board/visits/{uid}/arrive")
    with product.inside():
        ticket = db.session.query(QueueTicket).one()
        path, token = f"/staff/queue/{ticket.uid}/sms", ticket.token
    for _twice in range(2):
        form = {"phone": "0722000111", "csrf_token": csrf_of(brian, "/staff/queue")}
        assert brian.post(path, data=form).status_code == 303
    with product.inside():
        sent = [payload_of(one) for one in db.session.query(OutboxItem) if one.key.startswith("sms/queue/")]
    assert len(sent) == 1 and sent[0]["to"] == "254722000111"
    assert "is 1." in sent[0]["text"] and f"/clinic/mlima/queue/number/{token}" in sent[0]["text"]


# --- shifts


def test_a_count_that_differs_is_explained_once_before_the_next_shift(product: Product) -> None:
    brian = product.browser_of("brian")
    begin_shift(brian, "1000")
    assert "1,000" not in brian.get("/staff/shift/close").text  # the count is blind
    report = close_shift(brian, "900")
    assert "Shift report 1" in report and "Missing" in report and "KES 100" in report and "Why it differs" in report
    again = brian.post(
        "/staff/shift", data={"float": "900", "csrf_token": csrf_of(brian, "/staff/board")}, follow_redirects=True
    )
    assert "Say first why the count of report 1 differed" in again.text
    amina = product.browser_of("amina")
    told = amina.post("/staff/shifts/1/why", data={"why": "Mine", "csrf_token": csrf_of(amina, "/staff/shifts/1")})
    assert told.status_code == 422 and "Only who counted says why" in told.text
    assert product.browser_of("chege").get("/staff/shifts/1").status_code == 404
    why = {"why": "=1+1 a note was torn", "csrf_token": csrf_of(brian, "/staff/shifts/1")}
    assert brian.post("/staff/shifts/1/why", data=why).status_code == 303
    second = brian.post("/staff/shifts/1/why", data=why | {"why": "another"})
    assert second.status_code == 422 and "said already" in second.text and "a note was torn" in second.text
    begin_shift(brian, "900")
    assert "Shift report 2" in close_shift(brian, "900")


@pytest.mark.parametrize("counted", ["", "many", "-1", "1e9", "100000000000"])
def test_a_count_that_cannot_be_closes_nothing(product: Product, counted: str) -> None:
    brian = product.browser_of("brian")
    begin_shift(brian)
    assert "Count and close" in close_shift(brian, counted)
    with product.inside():
        assert shifts.reports(product_tenant(product))[0] == []


def product_tenant(product: Product) -> int:
    from portal.tenants.models import Tenant

    return int(db.session.query(Tenant.id).filter_by(slug="mlima").scalar())


def test_of_two_who_close_a_shift_at_once_one_is_told_it_is_closed(either_product: Product) -> None:
    product, tenant_id = either_product, either_product.tenant_id()
    with product.app.app_context(), transaction():
        shift_id = shifts.begin(tenant_id, user_of(product, "brian"), float_cents=0, actor="test").id

    def close() -> Any:
        from portal.clinic.reception.models import Shift

        try:
            with transaction():
                return shifts.close(db.session.get_one(Shift, shift_id), counted_cents=0, actor="test").number
        except Conflict as error:
            return str(error.message)

    assert sorted(together(product, close, close), key=str) == [1, "This shift is closed already."]


def user_of(product: Product, name: str) -> int:
    from portal.users.models import User

    return int(db.session.query(User.id).filter_by(email=f"{name}@mlima.test").scalar())


def test_cash_taken_while_the_shift_closes_is_in_the_report_or_in_no_drawer(either_product: Product) -> None:
    product = either_product
    token, brian = token_of(product, visit(product)), product.browser_of("brian")
    begin_shift(brian, "0")
    cash = {"tendered": "1500", "key": "k", "csrf_token": csrf_of(brian, "/staff/board")}
    count = {"counted": "0", "csrf_token": cash["csrf_token"]}
    closing = product.browser_of("brian")
    count["csrf_token"] = csrf_of(closing, "/staff/shift/close")
    taken, _closed = together(
        product,
        lambda: brian.post(f"/staff/board/pay/{token}/cash", data=cash, headers=HTMX).status_code,
        lambda: closing.post("/staff/shift/close", data=count).status_code,
    )
    with product.inside():
        (shift,), _next = shifts.reports(product_tenant(product))
        booked = db.session.query(Transaction).count()
        assert (taken, booked, shift.expected_cents) in ((200, 1, 150_000), (422, 0, 0))


def test_a_receipt_is_printed_and_sent_from_the_row_once_something_is_paid(product: Product) -> None:
    uid, brian = visit(product), product.browser_of("brian")
    token = token_of(product, uid)
    assert "/print" not in row_of(brian.get("/staff/board").text, uid)
    assert press(brian, f"/staff/board/pay/{token}/send").status_code == 422
    pay_in_cash(product, uid)
    row = row_of(brian.get("/staff/board").text, uid)
    printed = re.search(r'action="(/staff/invoices/\w+/print)"', row)
    assert printed is not None
    assert press(brian, printed.group(1), htmx=False, paper="58").headers["Location"].endswith("receipt?paper=58")
    assert "The receipt is on its way to 07" in press(brian, f"/staff/board/pay/{token}/send").text
    assert "already" in press(brian, f"/staff/board/pay/{token}/send").text


# --- the clinician's own day


def make_clinician(product: Product) -> None:
    """Wanjiru signs in as the clinician who treats."""
    with product.app.app_context(), transaction():
        mine = db.session.query(Clinician).filter_by(tenant_id=product_tenant(product)).one()
        mine.user_id = user_of(product, "wanjiru")


def pay_in_cash(product: Product, uid: str) -> None:
    with product.app.app_context(), transaction():
        number = db.session.query(Appointment).filter_by(uid=uid).one().invoice_number
        manual.for_payment(product_tenant(product), number, manual.Taken(150_000, "cash", "test", None))
    product.work()


def status_of(product: Product, uid: str) -> str:
    with product.inside():
        return db.session.query(Appointment).filter_by(uid=uid).one().status


def test_a_clinician_sees_their_own_day_and_who_has_paid_within_one_poll(product: Product) -> None:
    make_clinician(product)
    with product.app.app_context(), transaction():
        other = people.add_clinician(product_tenant(product), name="Dr Zawadi", actor="test").uid
    mine, theirs = visit(product), visit(product, clinicianId=other)
    wanjiru = product.browser_of("wanjiru")
    page = wanjiru.get("/staff/own/day").text
    assert f"row-{mine}" in page and f"row-{theirs}" not in page and "Due" in row_of(page, mine)
    assert "every 3s" in page
    pay_in_cash(product, mine)
    live = wanjiru.get(f"/staff/own/live?page=day&seen={seen_of(page)}", headers=HTMX).text
    assert "Paid" in row_of(live, mine) and "CASH1001" in row_of(live, mine) and f"row-{theirs}" not in live
    nothing = wanjiru.get(f"/staff/own/live?page=day&seen={seen_of(live)}", headers=HTMX)
    assert nothing.status_code == 204


def test_the_week_is_monday_to_sunday_in_nairobi(product: Product) -> None:
    now = clock.nairobi(clock.now())
    monday = (now + timedelta(days=7 - now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    clock.move(monday - now)
    make_clinician(product)
    first = visit(product, startsAt=(monday + timedelta(minutes=1)).isoformat())
    last = visit(product, startsAt=(monday + timedelta(days=7, minutes=-45)).isoformat())
    after = visit(product, startsAt=(monday + timedelta(days=7)).isoformat())
    page = product.browser_of("wanjiru").get("/staff/own/week").text
    assert f"row-{first}" in page and f"row-{last}" in page and f"row-{after}" not in page


def test_a_clinician_sets_their_own_hours_and_phone_and_nobodys_sign_in(product: Product) -> None:
    make_clinician(product)
    wanjiru, path = product.browser_of("wanjiru"), "/staff/own/hours"
    assert "Signs in as" not in wanjiru.get(path).text
    form = {"mon": "8-13", "reminder_phone": "0712 000 444", "csrf_token": csrf_of(wanjiru, path)}
    assert wanjiru.post(path, data=form).status_code == 303
    page = wanjiru.get(path).text
    assert 'value="8:00-13:00"' in page and "0712 000 444" in page


def test_who_is_no_clinician_has_no_day_of_their_own(product: Product) -> None:
    assert product.browser_of("brian").get("/staff/own/day").status_code == 404
    assert "My day" not in product.browser_of("brian").get("/staff/board").text


def test_a_visit_is_started_completed_and_each_is_undone_within_minutes(product: Product) -> None:
    make_clinician(product)
    uid, wanjiru = visit(product), product.browser_of("wanjiru")
    assert press(wanjiru, f"/staff/board/visits/{uid}/start").status_code == 422  # not paid: not confirmed
    pay_in_cash(product, uid)
    press(wanjiru, f"/staff/board/visits/{uid}/arrive")
    begun = press(wanjiru, f"/staff/board/visits/{uid}/start")
    assert begun.status_code == 200 and "With the clinician" in begun.text
    with product.inside():
        assert db.session.query(QueueTicket).one().state == "seen"
    assert press(wanjiru, f"/staff/board/visits/{uid}/complete").status_code == 200
    assert status_of(product, uid) == "completed"
    for state in ("started", "confirmed"):
        assert press(wanjiru, f"/staff/board/visits/{uid}/undo").status_code == 200
        assert status_of(product, uid) == state
    assert press(wanjiru, f"/staff/board/visits/{uid}/complete").status_code == 200
    later(10 * 60 + 1)
    refused = press(wanjiru, f"/staff/board/visits/{uid}/undo")
    assert refused.status_code == 422 and "no longer be taken back" in refused.text
    assert status_of(product, uid) == "completed"


def test_a_missed_visit_is_undone_unless_its_money_went_back(product: Product) -> None:
    make_clinician(product)
    uid, wanjiru = visit(product), product.browser_of("wanjiru")
    pay_in_cash(product, uid)
    press(wanjiru, f"/staff/board/visits/{uid}/no-show")
    assert status_of(product, uid) == "no_show"
    assert press(wanjiru, f"/staff/board/visits/{uid}/undo").status_code == 200
    assert status_of(product, uid) == "confirmed"
    press(wanjiru, f"/staff/board/visits/{uid}/no-show")
    with product.app.app_context(), transaction():
        db.session.query(Appointment).filter_by(uid=uid).one().kept_cents = 50_000  # the rest is on its way back
    assert press(wanjiru, f"/staff/board/visits/{uid}/undo").status_code == 422
    assert status_of(product, uid) == "no_show"


def test_an_online_visit_leads_into_its_meeting(product: Product) -> None:
    make_clinician(product)
    uid = visit(product, kind="virtual")
    pay_in_cash(product, uid)
    assert "/meeting" in row_of(product.browser_of("wanjiru").get("/staff/own/day").text, uid)


def test_a_clinician_sets_their_own_hours_and_leave_and_nobody_elses(product: Product) -> None:
    make_clinician(product)
    wanjiru = product.browser_of("wanjiru")
    week = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "9-12")
    form = week | {"csrf_token": csrf_of(wanjiru, "/staff/own/hours")}
    assert wanjiru.post("/staff/own/hours", data=form).status_code == 303
    assert "9:00-12:00" in wanjiru.get("/staff/own/hours").text
    wrong = wanjiru.post("/staff/own/hours", data=form | {"wed": "12-9"})
    assert wrong.status_code == 422 and "12-9" in wrong.text
    first = (clock.nairobi(clock.now()) + timedelta(days=3)).date().isoformat()
    leave = {"first": first, "last": first, "csrf_token": form["csrf_token"]}
    assert wanjiru.post("/staff/own/leave", data=leave).status_code == 303
    assert "Nobody is booked in these days" in wanjiru.get("/staff/own/hours").text
    place = place_of(product)
    there = f"/staff/own/hours?place={place}"
    assert "Westlands" in wanjiru.get("/staff/own/hours").text
    assert wanjiru.post(there, data=form | dict.fromkeys(week, "14-16")).headers["Location"] == there
    assert "14:00-16:00" in wanjiru.get(there).text and "9:00-12:00" not in wanjiru.get(there).text
    assert "9:00-12:00" in wanjiru.get("/staff/own/hours").text, "those at no place in particular stay"
    brian = product.browser_of("brian")
    assert brian.post("/staff/own/hours", data=week | {"csrf_token": csrf_of(brian, "/staff/board")}).status_code == 404


@pytest.mark.parametrize("door", ["page", "api"])
def test_cash_that_is_recorded_elsewhere_lies_in_the_open_shift_too(product: Product, door: str) -> None:
    brian = product.browser_of("brian")
    begin_shift(brian, "0")
    number, _token = product.invoice(300)
    if door == "page":
        form = {"reference": number, "amount": "500", "channel": "cash", "idempotency_key": "k" * 32}
        csrf = csrf_of(brian, "/staff/manual/new")
        assert brian.post("/staff/manual/new", data=form | {"csrf_token": csrf}).status_code == 303
    else:
        given = {"reference": number, "amount": 300, "channel": "cash"}
        assert product.api("brian").post("/api/payments/manual", given).status_code == 201
    report = close_shift(brian, "300")
    assert "Should be there" in report and "KES 300" in report and "Missing" not in report
