"""Lists that grow are paged to their end, files are whole, and what one page costs does not grow with its rows."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from bench import history
from portal.clinic.models import Appointment, Clinician, Invoice, Patient
from portal.gateways.messages import PayerId, PulledTransaction
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict
from portal.kernel.spreadsheets import harmless
from portal.payments import booking, export, matching, search
from portal.payments.c2b import pull
from portal.payments.integrity import problems
from portal.payments.models import InboxItem, Payment, Refund, SmsSubmission, Transaction, UnverifiedReport
from portal.users.models import User
from tests.support.clock import later
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product


def homeless(product: Product, first: int, last: int, *, account: str = "NOBODY") -> None:
    """Money of these numbers that fits nothing."""
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for number in range(first, last + 1):
            incoming = booking.IncomingPayment("c2b", 5_000 + number, clock.now(), receipt(number), account)
            booking.book(gateway, incoming).unplaced_why = booking.UNKNOWN_ACCOUNT


def walked(client: Any, path: str, pattern: str, by: str = "after|cursor|decide_after") -> list[str]:
    """What the pages show, each after the other by its own link; by: what such links are known by."""
    found: list[str] = []
    for _page in range(20):
        page = client.get(path).text
        found += re.findall(pattern, page)
        links = re.findall(rf'href="([^"]*\?(?:{by})=\d+)"', page)
        if not links:
            return found
        path = links[-1].replace("&amp;", "&")
    raise AssertionError(f"{path} never ends")


def test_money_to_place_is_paged_to_its_end(product: Product) -> None:
    """money.md C32: the list was cut at 50, oldest first, without a next page."""
    homeless(product, 1, 60)
    shown = walked(product.browser_of("amina"), "/staff/unmatched", r"UKL\d{7}")
    assert shown == [receipt(number) for number in range(1, 61)]


def test_what_waits_to_be_decided_is_paged_to_its_end(product: Product) -> None:
    """money.md C32, of the other list on that page."""
    for number in range(1, 61):
        body = c2b_body(receipt=receipt(number), amount=20, account="X", shortcode="999999")
        assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    shown = walked(product.browser_of("amina"), "/staff/unmatched", r"UKL\d{7}")
    assert shown == [receipt(number) for number in range(1, 61)]


def test_invoices_are_paged_to_their_end(product: Product) -> None:
    """Rule 14."""
    numbers = [product.invoice(100)[0] for _one in range(60)]
    shown = walked(product.browser_of("amina"), "/staff/invoices", r'href="/staff/invoices/(INV\d+)">')
    assert shown == numbers[::-1]


def test_appointments_are_paged_to_their_end(product: Product) -> None:
    """Rule 14."""
    with product.app.app_context(), transaction():
        patient, clinician = db.session.query(Patient).first(), db.session.query(Clinician).first()
        assert patient is not None and clinician is not None
        for number in range(60):
            db.session.add(
                Appointment(
                    tenant_id=patient.tenant_id, patient_id=patient.id, clinician_id=clinician.id, kind="onsite",
                    starts_at=clock.now() + timedelta(days=1, minutes=number), duration_minutes=30,
                    price_cents=100_000, invoice_number=f"INV-{number}",
                )
            )  # fmt: skip
    shown = walked(product.browser_of("amina"), "/staff/appointments", r'action="/staff/appointments/([^/"]+)/approve"')
    assert len(shown) == len(set(shown)) == 60


def test_messages_to_check_are_paged_to_their_end(product: Product) -> None:
    """Rule 14."""
    from portal.kernel import personal

    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.kind = "MPESA_NO_API"
    tokens = [product.invoice(100)[1] for _one in range(60)]
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for number, token in enumerate(tokens, 1):
            payment_id = db.session.query(Payment.id).filter_by(token=token).scalar()
            said = personal.seal_text("UKL Confirmed.", gateway.tenant_id)
            db.session.add(
                SmsSubmission(
                    tenant_id=gateway.tenant_id, gateway_id=gateway.id, environment="sandbox", receipt=receipt(number),
                    payment_id=payment_id, stated_cents=100, text_sealed=said,
                )
            )  # fmt: skip
    shown = walked(product.browser_of("amina"), "/staff/claims", r"UKL\d{7}")
    assert sorted(set(shown)) == [receipt(number) for number in range(1, 61)]


MANY = range(1, 61)


def test_what_another_system_told_is_paged_to_its_end(product: Product) -> None:
    """Rule 14, of the same kind as money.md C32: it was cut at 50."""
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for number in MANY:
            told = {"receipt": receipt(number), "amount_cents": 5_000, "occurred_at": clock.now(), "state": "held"}
            whose = {"tenant_id": gateway.tenant_id, "gateway_id": gateway.id, "environment": "sandbox"}
            db.session.add(UnverifiedReport(**whose, **told))
    client = product.browser_of("amina")
    assert "Told by another system (60)" in client.get("/staff/claims").text
    assert walked(client, "/staff/claims", r"UKL\d{7}", by="held_after") == [receipt(number) for number in MANY]


def test_refunds_to_approve_are_paged_to_their_end(product: Product) -> None:
    """Rule 14: the fifty-first waited until an older one was decided."""
    homeless(product, 1, 1)
    with product.app.app_context(), transaction():
        booked = db.session.query(Transaction).one()
        user_id = db.session.query(User.id).filter_by(name="Amina").scalar()
        for number in MANY:
            db.session.add(
                Refund(
                    tenant_id=booked.tenant_id, transaction_id=booked.id, gateway_id=booked.gateway_id,
                    environment="sandbox", method="b2c", amount_cents=1_000, state="requested",
                    uid=f"{number:032x}", requested_by_id=user_id,
                )
            )  # fmt: skip
    found = walked(
        product.browser_of("amina"), "/staff/refunds", r'action="/staff/refunds/(\w+)/refuse"', by="approve_after"
    )
    assert found == [f"{number:032x}" for number in MANY]


@pytest.mark.parametrize(("is_contradicted", "by"), [(True, "contradicted_after"), (False, "unproved_after")])
def test_money_without_a_receipt_is_paged_to_its_end(product: Product, is_contradicted: bool, by: str) -> None:
    """Rules 12 and 14."""
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for _number in MANY:
            one = booking.book(gateway, booking.IncomingPayment("query", 5_000, clock.now()))
            one.contradicted_at = clock.now() if is_contradicted else None
    with product.inside():
        uids = [uid for (uid,) in db.session.query(Transaction.uid).order_by(Transaction.id)]
    later(3_700)
    pattern = r'action="/staff/unmatched/provisional/(\w+)"'
    shown = walked(product.browser_of("amina"), "/staff/unmatched", pattern, by=by)
    assert len(uids) == 60 and shown == [uid for uid in uids for _button in range(2)]


def test_what_is_owed_again_is_paged_to_its_end(product: Product) -> None:
    """Rule 14."""
    numbers = [product.invoice(50)[0] for _one in MANY]
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        for nth, number in enumerate(numbers, 1):
            payment = booking.lock_payment(db.session.query(Payment.id).filter_by(reference=number).scalar())
            came = booking.book(gateway, booking.IncomingPayment("c2b", 5_000, clock.now(), receipt(nth), number))
            booking.allocate(came, payment, actor="test")
            booking.take_back(came, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")
    shown = walked(product.browser_of("amina"), "/staff/unmatched", r"M-Pesa reversed (UKL\d{7})", by="owed_before")
    assert shown == [receipt(nth) for nth in reversed(MANY)]


def test_what_was_cancelled_and_paid_is_paged_to_its_end(product: Product) -> None:
    """Rule 14."""
    numbers = [product.invoice(50)[0] for _one in MANY]
    with product.app.app_context(), transaction():
        patient, clinician = db.session.query(Patient).first(), db.session.query(Clinician).first()
        assert patient is not None and clinician is not None
        for number in numbers:
            bill = db.session.query(Invoice).filter_by(number=number).one()
            bill.payment.state, bill.payment.allocated_cents = "paid", 5_000
            db.session.add(
                Appointment(
                    tenant_id=patient.tenant_id, patient_id=patient.id, clinician_id=clinician.id, kind="onsite",
                    starts_at=clock.now(), duration_minutes=30, price_cents=5_000, invoice_number=number,
                    invoice_id=bill.id, status="cancelled", owes_since=clock.now(),
                )
            )  # fmt: skip
    shown = walked(
        product.browser_of("amina"), "/staff/unmatched", r'<h3><a href="[^"]*">([^<]+)</a></h3>', by="cancelled_after"
    )
    assert shown == numbers


def test_suggestions_are_found_with_the_same_questions_for_one_row_and_for_a_page(product: Product) -> None:
    """money.md C32, 1.1 s: what is open was read anew for every row."""
    for _one in range(5):
        product.invoice(100)
    homeless(product, 1, 1)
    with product.inside():
        asked: list[str] = []
        listener = lambda *seen: asked.append(seen[2])  # noqa: E731
        event.listen(db.engine, "before_cursor_execute", listener)
        one = db.session.query(Transaction).all()
        matching.suggestions(one, most=3)
        for_one = len(asked)
    homeless(product, 2, 40)
    with product.inside():
        asked.clear()
        many = db.session.query(Transaction).all()
        assert len(many) == 40 and len(matching.suggestions(many, most=3)) == 40
        event.remove(db.engine, "before_cursor_execute", listener)
    assert len(asked) == for_one


def test_a_file_of_payments_is_whole_and_sent_as_it_is_read(product: Product) -> None:
    """Rule 14, coverage S2: it ended after 50,000 rows without a word."""
    with product.app.app_context():
        history.fill(first=1, last=50_120, ends=50_120)
    answer = product.browser_of("amina").get("/staff/payments.csv", buffered=False)
    assert answer.status_code == 200 and answer.is_streamed and answer.content_length is None
    lines = b"".join(answer.response).decode().splitlines()
    assert len(lines) == 50_121 and len({line.split(",")[1] for line in lines[1:]}) == 50_120


def test_a_file_of_payments_has_names_and_nairobis_time(product: Product) -> None:
    """use.md 25; a program's key, which may stand in an address, reads no names."""
    body = c2b_body(receipt=receipt(1), amount=20, account="=1+1")
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    with product.inside():
        at = db.session.query(Transaction).one().occurred_at
    local = f"{at + timedelta(hours=3):%Y-%m-%d %H:%M:%S}"
    for text_of, last in (
        (product.browser_of("njeri").get("/staff/payments.csv").text, 'Payer\'s name,"When, in Nairobi"'),
        (product.api("amina").get("/api/transactions.csv").text, "payerName,occurredAtNairobi"),
    ):
        head, row = text_of.splitlines()
        assert head.endswith(last) and row.endswith(f"JOHN,{local}")
        assert ",'=1+1," in row
    with product.app.app_context():
        names = list(export.rows_of(product.tenant_id(), search.Wanted(), has_names=False))
    assert names[0][-2] is None


def test_staffs_files_speak_their_readers_language_and_programs_keep_their_names(product: Product) -> None:
    body = c2b_body(receipt=receipt(1), amount=20, account="WIFI")
    assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    head, row = product.browser_of("njeri").get("/staff/payments.csv?lang=sw").text.splitlines()
    assert head.startswith("Namba ndani ya Mlango,Risiti,Kiasi kwa KES,Tulivyojua,")
    assert "Taarifa ya M-Pesa ya pesa zilizopokelewa" in row and "sandbox" not in row and "unallocated" not in row
    assert ",Ya kupangwa,Majaribio,JOHN," in row
    head, row = product.api("amina").get("/api/transactions.csv?lang=sw").text.splitlines()
    assert head == (
        "id,receipt,amount,channel,payer,reference,occurredAt,state,environment,payerName,occurredAtNairobi"
    )
    assert ",c2b," in row and ",unallocated,sandbox,JOHN," in row
    used = product.browser_of("amina").get("/staff/usage.csv?lang=sw").text.splitlines()
    assert used[0] == "Nini,Jina,Mapato kwa KES,Mauzo,Vipindi,Baiti" and used[1].startswith("Siku,")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝"])
def test_no_cell_of_any_file_is_run_by_a_spreadsheet(start: str) -> None:
    """house.md: the guard stood twice, with different sets."""
    assert harmless(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"
    assert (harmless("JOHN"), harmless(None), harmless(5)) == ("JOHN", "", "5")


def test_a_row_of_m_pesas_list_that_cannot_be_taken_is_shown_and_stops_no_other(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 11: it was only logged, and asked for again until M-Pesa listed it no more."""
    number, token = product.invoice(1_500)
    book = booking._insert

    def refuse(gateway: Any, incoming: Any, *more: Any) -> Any:
        if incoming.receipt == receipt(2):
            raise Conflict("Test money cannot pay a real payment.")
        return book(gateway, incoming, *more)

    monkeypatch.setattr(booking, "_insert", refuse)
    payer = PayerId("masked", "2547****126")
    rows = [
        PulledTransaction(receipt(one), 150_000, clock.now(), payer, "c2b-pay-bill-debit", account)
        for one, account in ((1, "X"), (2, "BAD"), (3, number))
    ]
    with product.app.app_context():
        gateway_id = db.session.query(Gateway.id).filter_by(shortcode="600111").scalar()
        db.session.rollback()
        since, until = clock.now() - timedelta(hours=1), clock.now() + timedelta(seconds=5)
        assert pull._take_batch(gateway_id, rows, since, until) == pull.Pulled(rows=3, new=2, failed=0)
        why = "From M-Pesa's list: it could not be taken. Test money cannot pay a real payment."
        assert db.session.query(InboxItem).filter_by(state="waiting").one().outcome == why
    product.settle()
    assert product.status(token)["status"] == "paid"
    assert receipt(2) in product.browser_of("amina").get("/staff/unmatched").text and product.books() == []


def test_the_last_24_hours_are_24_hours_at_any_time_of_day(product: Product) -> None:
    """house.md, money.md E: they began at midnight in Greenwich, three in the morning in Nairobi."""
    _number, token = product.invoice(20)
    product.pushed(token)
    now = clock.now()
    clock.move(now.replace(hour=0, minute=30) + timedelta(days=1) - now)  # half an hour after that midnight
    if clock.now() - now < timedelta(minutes=31):
        clock.move(timedelta(hours=1))
    with product.inside():
        made_at = clock.now() - timedelta(hours=23)
    with product.app.app_context(), transaction():
        db.session.execute(text("UPDATE stk_pushes SET created_at = :at"), {"at": made_at.replace(tzinfo=None)})
    assert 'mlango_pushes{state="awaiting_pin"} 1.0' in metrics(product)
    with product.app.app_context(), transaction():
        earlier = (clock.now() - timedelta(hours=25)).replace(tzinfo=None)
        db.session.execute(text("UPDATE stk_pushes SET created_at = :at"), {"at": earlier})
    assert "mlango_pushes{" not in metrics(product)


def metrics(product: Product) -> str:
    """What a night watch reads."""
    from portal.operations import health

    with product.app.app_context(), product.app.test_request_context("/metrics"):
        view = health.metrics
        return view().get_data(as_text=True)  # type: ignore[union-attr]


def test_the_check_of_the_books_takes_all_the_time_it_needs(either_product: Product) -> None:
    """money.md D: on a large ledger PostgreSQL ended it after 15 seconds."""
    product = either_product
    with product.app.app_context():
        if db.engine.dialect.name == "sqlite":
            assert problems() == []
            return
        limits: list[str] = []

        def look(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
            if "FROM ledger" in statement or "FROM allocations" in statement or "FROM payments" in statement:
                limits.append(cursor.execute("SHOW statement_timeout").fetchone()[0])

        event.listen(db.engine, "before_cursor_execute", look)
        assert problems() == []
        event.remove(db.engine, "before_cursor_execute", look)
        db.session.remove()
        assert limits and set(limits) == {"0"}
        assert db.session.scalar(text("SHOW statement_timeout")) == "15s"


def test_payments_of_one_moment_are_paged_to_their_end(product: Product) -> None:
    """M-Pesa tells seconds: a page may end between two payments of one."""
    from portal.payments import search
    from portal.payments.models import Transaction as Booked

    number, _token = product.invoice(500)
    for n in range(3):
        body = c2b_body(receipt=receipt(n + 1), amount=100, account=number)
        assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    product.settle()
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        db.session.query(Booked).update({"occurred_at": clock.now()})
    with product.inside():
        found, cursor = search.page(tenant_id, search.Wanted(), rows=2)
        rest, end = search.page(tenant_id, search.Wanted(), cursor=cursor or "", rows=2)
        assert [one.receipt for one in (*found, *rest)] == [receipt(3), receipt(2), receipt(1)] and end is None
