"""The manager's figures: what came, what is due, who did not come, how long people waited; each on its day in Nairobi."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import event

from portal.clinic import invoices
from portal.clinic.billing import reports
from portal.clinic.models import Appointment, Branch, Clinician, Invoice, Patient, Service
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import Refund
from portal.tenants.models import Tenant
from tests.support.appointments import book
from tests.support.billing import credit_note, issued
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, with_initiator


def today() -> date:
    return clock.nairobi(clock.now()).date()


def report(product: Product, days: int = 7) -> reports.Report:
    tenant_id = product.tenant_id()
    with product.inside():
        return reports.between(tenant_id, today() - timedelta(days=days - 1), today(), environment="sandbox")


def visit(product: Product, clinician: str, status: str, *, wait_minutes: int | None = None, price: int = 500) -> str:
    """A visit of today with this clinician, approved; its invoice's number."""
    tenant_id, uid = product.tenant_id(), book(product, "onsite", price).json["id"]
    number = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json["invoiceNumber"]
    with product.app.app_context(), transaction():
        one = db.session.query(Appointment).filter_by(uid=uid).one()
        known = db.session.query(Clinician).filter_by(tenant_id=tenant_id, name=clinician).one_or_none()
        if known is None:
            known = Clinician(tenant_id=tenant_id, name=clinician)
            db.session.add(known)
            db.session.flush()
        one.clinician_id, one.status, one.starts_at = known.id, status, clock.now()
        if wait_minutes is not None:
            one.arrived_at = clock.now() - timedelta(minutes=wait_minutes)
            one.started_at = clock.now()
    return str(number)


def test_money_visits_and_waits_count_where_they_belong(either_product: Product) -> None:
    product = either_product
    first = visit(product, "Dr. Kamau", "completed", wait_minutes=10)
    visit(product, "Dr. Kamau", "no_show")
    visit(product, "Dr. Achieng", "completed", wait_minutes=30, price=800)
    visit(product, "Dr. Achieng", "cancelled")
    walk_in = issued(product, 300)
    paid_by_hand(product, 500, first, receipt(1))
    product.api("brian").post("/api/payments/manual", {"reference": walk_in, "amount": 100, "channel": "cash"})
    found = report(product)
    whole = found.whole
    assert (whole.received_cents, whole.billed_cents) == (60_000, 260_000)
    assert (whole.visits, whole.missed, whole.cancelled) == (3, 1, 1)
    assert (whole.wait_minutes, whole.missed_percent) == (20, 33)
    kamau, achieng, nobody = (found.by_clinician[name] for name in ("Dr. Kamau", "Dr. Achieng", ""))
    assert (kamau.received_cents, kamau.visits, kamau.missed, kamau.wait_minutes) == (50_000, 2, 1, 10)
    assert (achieng.received_cents, achieng.due_cents, achieng.wait_minutes) == (0, 130_000, 30)
    assert (nobody.received_cents, nobody.due_cents, nobody.visits) == (10_000, 20_000, 0)
    assert dict(found.by_method) == {"mpesa": 50_000, "cash": 10_000}
    assert found.by_day[today()].received_cents == 60_000 and len(found.by_day) == 7
    assert (found.outstanding, found.outstanding_cents) == (4, 200_000)


def test_services_and_branches_have_their_sums(either_product: Product) -> None:
    product, tenant_id = either_product, either_product.tenant_id()
    number = visit(product, "Dr. Kamau", "completed")
    with product.app.app_context(), transaction():
        place = Branch(tenant_id=tenant_id, name="Kisumu")
        offered = Service(tenant_id=tenant_id, name="Check-up", price_cents=50_000, duration_minutes=30)
        db.session.add_all([place, offered])
        db.session.flush()
        db.session.query(Appointment).update({"branch_id": place.id, "service_id": offered.id})
        tenant = db.session.get_one(Tenant, tenant_id)
        line = {"kind": "other", "description": "x", "amount": 70}
        invoices.issue(tenant, lines=[line], payer={"name": "A"}, branch_id=place.id, actor="test")
    paid_by_hand(product, 500, number, receipt(1))
    found = report(product)
    assert found.by_service["Check-up"].received_cents == 50_000 and found.by_service[""].billed_cents == 7_000
    assert (found.by_branch["Kisumu"].received_cents, found.by_branch["Kisumu"].billed_cents) == (50_000, 57_000)


def test_credit_that_pays_counts_as_such_and_what_went_back_is_said(either_product: Product) -> None:
    product = either_product
    with_initiator(product)
    first, second = issued(product, 1_000), issued(product, 300)
    paid_by_hand(product, 1_000, first, receipt(1))
    credit_note(product, first, 300)
    (customer,) = product.api("brian").get("/api/customers").json["items"]
    product.api("brian").post(f"/api/customers/{customer['id']}/pay", {"reference": second})
    credit_note(product, first, 200, "refund")
    with product.app.app_context(), transaction():
        db.session.query(Refund).update({"state": "done", "ended_at": clock.now()})
    found = report(product)
    assert dict(found.by_method) == {"mpesa": 70_000, "wallet": 30_000}
    assert found.whole.received_cents == 100_000 and found.sent_back_cents == 20_000


def test_a_day_begins_at_midnight_in_nairobi(either_product: Product) -> None:
    """21:30 UTC is half past midnight there: the next day's."""
    product = either_product
    issued(product, 300)
    at = datetime.combine(today() - timedelta(days=2), datetime.min.time(), UTC) - timedelta(hours=2, minutes=30)
    with product.app.app_context(), transaction():
        db.session.query(Invoice).update({"created_at": at})
    found = report(product)
    assert found.by_day[today() - timedelta(days=2)].billed_cents == 30_000
    assert found.by_day[today() - timedelta(days=3)].billed_cents == 0


def test_nothing_of_another_clinic_or_of_other_days_counts(product: Product) -> None:
    number = issued(product, 300)
    paid_by_hand(product, 300, number, receipt(1))
    with product.inside():
        theirs = reports.between(product.tenant_id("bahari"), today(), today(), environment="sandbox")
        real = reports.between(product.tenant_id(), today(), today(), environment="production")
        before = reports.between(
            product.tenant_id(), today() - timedelta(days=9), today() - timedelta(days=1), environment="sandbox"
        )
    for found in (theirs, real, before):
        assert (found.whole.received_cents, found.whole.billed_cents) == (0, 0)


def test_a_long_past_makes_no_more_questions_and_no_scan(product: Product) -> None:
    """Each question is answered by an index on when; the number of questions does not grow."""
    asked: list[str] = []
    tenant_id = product.tenant_id()
    with product.inside():

        def listen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.startswith("SELECT"):
                asked.append(statement)

        event.listen(db.engine, "before_cursor_execute", listen)
        reports.between(tenant_id, today() - timedelta(days=91), today(), environment="sandbox")
        event.remove(db.engine, "before_cursor_execute", listen)
        plans = []
        for statement in asked:
            given = ("1",) * statement.count("?")
            rows = db.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
            plans += [row[3] for row in rows]
    assert len(asked) == 6, asked
    assert not [one for one in plans if one.startswith("SCAN")], plans


def test_the_page_shows_them_and_the_file_cannot_be_run(product: Product) -> None:
    number = visit(product, "=Kamau", "completed", wait_minutes=10)
    paid_by_hand(product, 500, number, receipt(1))
    page = product.browser_of("amina").get("/staff/figures?days=30").text
    assert re.search(r"Received</dt><dd><span class=\"money \">KES 500", page) and "10 min" in page
    assert page.count("<svg viewBox") >= 3 and "By clinician" in page
    lines = product.browser_of("amina").get("/staff/figures.csv").text.splitlines()
    assert lines[0] == (
        "What,Name,Received in KES,Billed in KES,Still due in KES,Visits,Did not come,Cancelled,Mean wait in minutes"
    )
    assert "Clinician,'=Kamau,500,500,0,1,0,0,10" in lines
    swahili = product.browser_of("amina").get("/staff/figures.csv?lang=sw").text.splitlines()
    assert "Mhudumu wa afya,'=Kamau,500,500,0,1,0,0,10" in swahili
    assert product.browser_of("brian").get("/staff/figures").status_code == 403
    with product.inside():
        assert db.session.query(Patient).count() > 0
