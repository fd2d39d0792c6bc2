"""Staff pages fit where they are read: any window from the narrowest phone to a desk, either language, either way up on A4."""

from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import InboxItem, Refund, Transaction
from portal.reconciliation.models import Reconciliation
from portal.users.models import User
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.journeys import portal, sign_in
from tests.support.product import Product
from tests.support.statements import ago, run

WIDTHS_PX = (320, 360, 414, 600, 641, 700, 768, 820, 900, 1024, 1100, 1240, 1280, 1366)
A4_PX = (703, 1032)  # A4 upright and across, less 12 mm on either side, at 96 px to the inch
LONG = "Nyambura wa Kamau-Odhiambo"
OVER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def busy_clinic(product: Product) -> dict[str, str]:
    """The paths of every staff page of a clinic with long names, large amounts and all that a row can hold."""
    api = product.api("amina")
    patient = api.post("/api/patients", {"name": LONG, "phone": "0722000111"}).json["id"]
    clinician = api.get("/api/clinicians").json["items"][0]["id"]
    for hours, kind in ((1, "virtual"), (2, "onsite"), (30, "virtual")):
        start = (clock.now() + timedelta(hours=hours)).isoformat()
        booked = {"patientId": patient, "clinicianId": clinician, "kind": kind, "startsAt": start,
                  "durationMinutes": 45, "price": 112_500}  # fmt: skip
        uid = api.post("/api/appointments", booked).json["id"]
        if hours < 30:
            api.post(f"/api/appointments/{uid}/approve")
    number, token = product.invoice(112_500)
    product.callback(product.pushed(token), code=2001)
    _number, paid = product.invoice(248_000)
    product.callback(product.pushed(paid, new_phone()), receipt=receipt(1))
    for n, account in ((2, "NO SUCH ACCOUNT 99"), (3, number)):
        body = c2b_body(receipt=receipt(n), amount=112_000, account=account)
        product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()
    taken = []
    for channel, note in (("bank", f"Slip 1234567890 of {LONG}, branch Moi Avenue"), ("cash", "")):
        made = api.post(
            "/api/payments/manual",
            {"reference": product.invoice(98_765)[0], "amount": 98_765, "channel": channel, "note": note},
        )
        assert made.status_code == 201, made.text
        taken.append(made.json["id"])
    gone = api.delete(f"/api/payments/manual/{taken[1]}", json={"reason": f"It was for {LONG}"})
    assert gone.status_code == 200, gone.text
    api.post("/api/customers", {"name": LONG, "phone": "0722000112"})
    gateway = api.get("/api/payment-gateways").json["items"][0]["id"]
    run(
        product,
        [(receipt(1), ago(9), "Pay Bill", 112_500, LONG, ""), (receipt(9), ago(8), "Pay Bill", 9_876_500, "Y", "")],
    )
    with product.app.app_context(), transaction():
        booked = db.session.query(Transaction).filter_by(receipt=receipt(1)).one()
        asked = {"method": "b2c", "amount_cents": 11_250_000, "state": "requested", "why": f"Asked for by {LONG}"}
        user_id = db.session.query(User.id).filter_by(name="Amina").scalar()
        whose = {"tenant_id": booked.tenant_id, "transaction_id": booked.id, "gateway_id": booked.gateway_id}
        db.session.add(Refund(**whose, **asked, environment="sandbox", requested_by_id=user_id))
        dead = {"kind": "stk", "dedupe": "d", "body_sealed": "x", "state": "dead", "outcome": "OperationalError: " * 9}
        db.session.add(InboxItem(tenant_id=booked.tenant_id, gateway_id=booked.gateway_id, **dead))
    with product.inside():
        report = db.session.query(Reconciliation.uid).scalar()
        money = db.session.query(Transaction.uid).filter_by(receipt=receipt(1)).scalar()
        by_hand = db.session.query(Transaction.uid).filter_by(uid=taken[0]).scalar()
    return {
        "today": "/staff/", "appointments": "/staff/appointments", "payments": "/staff/payments",
        "money to place": "/staff/unmatched", "messages to check": "/staff/claims", "taken by hand": "/staff/manual",
        "record a payment": "/staff/manual/new", "refunds": "/staff/refunds", "customers": "/staff/customers",
        "invoices": "/staff/invoices", "new invoice": "/staff/invoices/new", "reports": "/staff/reconcile", "report": f"/staff/reconcile/{report}",
        "gateways": "/staff/gateways", "gateway": f"/staff/gateways/{gateway}", "new gateway": "/staff/gateways/new",
        "stuck": "/staff/stuck", "people": "/staff/people", "real money": f"/staff/gateways/{gateway}/money",
        "money": f"/staff/payments/{money}", "money by hand": f"/staff/payments/{by_hand}",
        "invoice": f"/staff/invoices/{number}", "price list": "/staff/prices", "figures": "/staff/figures",
        "invoice's history": f"/staff/attempts/{token}", "statement": f"/staff/patients/{patient}/statement", "refund": f"/staff/refunds/of/{paid}",
    }  # fmt: skip


def too_wide(page: Page, name: str) -> list[str]:
    """Where a page is wider than its window, or its content squeezed on paper."""
    found = []
    page.emulate_media(media="screen")
    for width in WIDTHS_PX:
        page.set_viewport_size({"width": width, "height": 800})
        if over := page.evaluate(OVER):
            found.append(f"{name}: {over} px beyond {width}")
    page.emulate_media(media="print")
    for width in A4_PX:
        page.set_viewport_size({"width": width, "height": 800})
        if over := page.evaluate(OVER):
            found.append(f"{name}: {over} px beyond paper of {width}")
        if (wide := page.evaluate("document.querySelector('main').clientWidth")) < width * 0.9:
            found.append(f"{name}: {wide} px of paper of {width} are used")
    page.emulate_media(media="screen")
    return found


@pytest.mark.parametrize("language", ["en", "sw"])
def test_every_staff_page_fits_its_window_and_its_paper(served: Product, page_at: Any, language: str) -> None:
    """use.md, drawn wrongly: up to 368 px beyond a window of 820, Swahili 105 px beyond 1366, main 216 px on paper."""
    paths = busy_clinic(served)
    page: Any = page_at(1280)
    sign_in(page, served, "amina")
    found = []
    for name, path in paths.items():
        answer = page.goto(f"{served.url}{path}?lang={language}")
        assert answer.status == 200, name
        page.locator("main details").evaluate_all("all => all.forEach(fold => { fold.open = true })")
        found += too_wide(page, name)
    assert page.locator("html").get_attribute("lang") == language
    assert not found, "\n".join(found)


def lines_of(page: Page, selector: str) -> int:
    """On how many lines the text of an element stands."""
    count = """all => { const range = document.createRange(); range.selectNodeContents(all[0]);
        return new Set([...range.getClientRects()].filter(box => box.width).map(box => Math.round(box.top))).size }"""
    return int(page.locator(selector).evaluate_all(count))


@pytest.mark.parametrize("language", ["en", "sw"])
def test_the_narrowest_phone_breaks_neither_the_band_nor_m_pesas_name(
    served: Product, page_at: Any, language: str
) -> None:
    """use.md, drawn wrongly at 320: the band wrapped, and "M-/Pesa" broke in the Swahili button."""
    page: Any = page_at(320)
    page.goto(portal(served, lang=language))
    assert lines_of(page, ".band span") == 1
    page.evaluate("""() => { const label = document.querySelector("[data-with-price]"), text = label.firstChild;
        const at = text.data.search(/M.Pesa/), name = document.createElement("b");
        const range = document.createRange(); range.setStart(text, at); range.setEnd(text, at + 6);
        range.surroundContents(name); name.id = "name" }""")
    assert page.locator("#name").inner_text() in ("M-Pesa", "M\u2011Pesa")
    for width in (320, 360, 414):
        page.set_viewport_size({"width": width, "height": 640})
        assert lines_of(page, "#name") == 1, width
