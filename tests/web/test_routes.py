"""Every address there is, walked by strangers, by another tenant's administrator and by each role.

A new route is walked without a word here, unless its place in the address is of a kind that NAMES_OF does not know:
then this file fails until it is told what stands there.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.routing import Rule

from portal import api
from portal.api.guard import EVERYBODY
from portal.clinic.billing import price_list
from portal.clinic.models import Appointment, Discount, Invoice
from portal.clinic.reception import queue_tickets, shifts
from portal.gateways.models import Gateway
from portal.hotspot import access
from portal.hotspot.models import Package, Site
from portal.hotspot.places import Bid
from portal.hotspot.sites import rehearsal
from portal.hotspot.vouchers import batches, drawers
from portal.kernel import clock, personal
from portal.kernel.db import db, transaction
from portal.outbox import write
from portal.outbox.models import OutboxItem
from portal.payments.models import InboxItem, Payment, Refund, SmsSubmission, Transaction, UnverifiedReport
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.tenants.models import Tenant
from portal.users import credentials
from portal.users.models import ApiKey, User
from portal.users.tokens import new_api_key
from portal.web import assets, security, start_push
from portal.web.limits import limiter
from tests.support.application import closed, config_for, opened
from tests.support.booking import offer, place_of
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body
from tests.support.lines import line_of
from tests.support.product import Product
from tests.support.services.redis_server import fresh_redis_database
from tests.support.sessions import stay_of
from tests.support.visitors import PASSWORD, csrf_of
from tests.support.who_may import LETTERS, TABLE

# Public on purpose: nobody signs in there.
PUBLIC_API = {
    "POST /auth/token", "GET /openapi.json", "GET /portal/packages", "GET /portal/mpesa/check",
    "GET /portal/mpesa/validate",
    "GET /portal/mpesa/status", "POST /portal/mpesa/initiate", "POST /portal/mpesa/verify-sms", "POST /webhooks/mpesa",
    "GET /portal/clinic/services", "GET /portal/clinic/slots", "POST /portal/clinic/bookings",
    "POST /portal/clinic/bookings/<uid>/confirm",
}  # fmt: skip
# (part of the path before the place, name of the place) -> what of mlima's stands there.
NAMES_OF = {
    ("appointments", "uid"): "appointment",
    ("bookings", "uid"): "booking",
    ("services", "uid"): "service",
    ("places", "uid"): "place",
    ("clinicians", "uid"): "own_clinician",
    ("patients", "uid"): "patient",
    ("status", "appointment_id"): "appointment",
    ("customers", "uid"): "customer",
    ("lines", "uid"): "line",
    ("invoices", "number"): "invoice",
    ("prices", "uid"): "price",
    ("discounts", "uid"): "discount",
    ("query", "checkout_request_id"): "checkout",
    ("mpesa", "checkout_request_id"): "payment",
    ("order", "order_id"): "order",
    ("payment-gateways", "uid"): "gateway",
    ("gateways", "uid"): "gateway",
    ("manual", "uid"): "manual",
    ("refunds", "uid"): "refund",
    ("transactions", "uid"): "transaction",
    ("payments", "uid"): "transaction",
    ("unmatched", "uid"): "transaction",
    ("attempts", "token"): "payment",
    ("pay", "token"): "payment",
    ("visits", "uid"): "appointment",
    ("claim", "uid"): "transaction",
    ("queue", "uid"): "ticket",
    ("shifts", "number"): "shift",
    ("of", "token"): "payment",
    ("unplaced", "uid"): "transaction",
    ("undecided", "item_id"): "undecided",
    ("callbacks", "item_id"): "stuck_callback",
    ("messages", "item_id"): "stuck_message",
    ("unreached", "item_id"): "unreached",
    ("claims", "uid"): "claim",
    ("hearsay", "uid"): "hearsay",
    ("provisional", "uid"): "transaction",
    ("packages", "uid"): "package",
    ("vouchers", "uid"): "batch",
    ("codes", "uid"): "voucher",
    ("passes", "username"): "access",
    ("drawers", "number"): "drawer",
    ("people", "member_id"): "member",
    ("keys", "key_id"): "api_key",
    ("sites", "uid"): "site",
    ("provisioning", "uid"): "site",
    ("files", "name"): "site_file",
    ("rehearsals", "token"): "rehearsal",
    ("sessions", "uid"): "session",
    ("reconcile", "uid"): "reconciliation",
    ("reconcile", "row_id"): "statement_row",
}
# What a door needs before it looks at whose thing is named.
BODIES = {
    "api.customers_pay": {"reference": "@invoice"}, "api.customers_put_back": {"reference": "@invoice"}, "api.refunds_refund": {"amount": 1},
    "api.manual_void": {"reason": "r"},
}  # fmt: skip


FORM = {"reference": "X", "reason": "r", "phone": "0722000111"}


@pytest.fixture(scope="module")
def walked(_sqlite_template: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One furnished product with a thing of every kind in mlima, shared by this module; limits off, nobody waits."""
    folder = tmp_path_factory.mktemp("walked")
    (folder / "portal.db").write_bytes(_sqlite_template.read_bytes())
    config = config_for(f"sqlite:///{folder}/portal.db", fresh_redis_database(redis_url), folder / "data")
    product = Product(opened(config)).furnish()
    waited, start_push.WAIT_S = start_push.WAIT_S, 0
    limiter.enabled = False
    product.things = things_of(product)  # type: ignore[attr-defined]
    yield product
    limiter.enabled, start_push.WAIT_S = True, waited
    closed(product.app)


def things_of(product: Product) -> dict[str, str]:
    """One identifier of each kind, all of them mlima's."""
    amina, brian = product.api("amina"), product.api("brian")
    number, token = product.invoice(1_500)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    lost = c2b_body(receipt=receipt(2), amount=70, account="LOST")
    stranger(product).post(f"{product.hook()}/c2b/confirmation", json=lost)
    doubtful = c2b_body(receipt=receipt(3), amount=10, account="X", shortcode="600333")
    stranger(product).post(f"{product.hook()}/c2b/confirmation", json=doubtful)
    product.settle()
    patient = brian.get("/api/patients").json["items"][0]["id"]
    booking = {
        "patientId": patient, "clinicianId": brian.get("/api/clinicians").json["items"][0]["id"], "kind": "virtual",
        "startsAt": clock.rfc3339(clock.now() + timedelta(days=3)), "durationMinutes": 30, "price": 1_000,
    }  # fmt: skip
    customer = brian.post("/api/customers", {"name": "Auma", "phone": "0722000111"}).json["id"]
    by_hand = {"customerId": customer, "amount": 30, "channel": "cash"}
    order = {"orderId": "SHOP-1", "amount": 5, "phoneNumber": new_phone()}
    assert brian.post("/api/mpesa/initiate", order).status_code == 201
    site = amina.post("/api/sites", {"name": "Lodge", "address": "10.90.0.7"}).json["id"]
    return {
        "line": line_of(product, phone="254722000111").uid, "invoice": number, "payment": token, "checkout": push.checkout_id, "patient": patient, "order": "SHOP-1",
        "package": product.package(), "customer": customer, "gateway": amina.get("/api/payment-gateways").json["items"][0]["id"],
        "manual": brian.post("/api/payments/manual", by_hand).json["id"],
        "transaction": brian.get(f"/api/transactions?receipt={receipt(2)}").json["items"][0]["id"],
        "service": offer(product), "place": place_of(product), "own_clinician": amina.get("/api/clinicians").json["items"][0]["id"],
        "site": site, "site_file": "login.html", "rehearsal": rehearsed(product, site), "session": stay_of(product, site),
        "appointment": approved(product, brian.post("/api/appointments", booking).json["id"]),
        **rows_of(product, token),
    }  # fmt: skip


def rehearsed(product: Product, site_uid: str) -> str:
    """A rehearsal's payment."""
    with product.app.app_context(), transaction():
        site = db.session.query(Site).filter_by(uid=site_uid).one()
        tenant = db.session.get_one(Tenant, site.tenant_id)
        return rehearsal.begin(tenant, site, mac="", network="test").token


def approved(product: Product, appointment_id: str) -> str:
    """The same, approved: its payment exists."""
    assert product.api("wanjiru").post(f"/api/appointments/{appointment_id}/approve").status_code == 200
    return appointment_id


def rows_of(product: Product, token: str) -> dict[str, str]:
    """A refund, a claim and a compared statement, put where they would lie."""
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        paid = db.session.query(Transaction).filter_by(receipt=receipt(1)).one()
        payment = db.session.query(Payment).filter_by(token=token).one()
        common = {
            "tenant_id": gateway.tenant_id,
            "gateway_id": gateway.id,
            "payment_id": payment.id,
            "environment": "sandbox",
        }
        person = db.session.query(User).filter_by(email="amina@mlima.test").one()
        refund = Refund(**common, transaction_id=paid.id, method="b2c", amount_cents=100, requested_by_id=person.id)
        text = personal.seal_text("SKL1ABCD23 Confirmed.", gateway.tenant_id)
        claim = SmsSubmission(**common, receipt="SKL1ABCD23", stated_cents=5_000, text_sealed=text)
        whose = {"tenant_id": gateway.tenant_id}
        told = {"environment": "sandbox", "source": "statement", "digest": "d" * 64}
        compared = Reconciliation(**whose, gateway_id=gateway.id, **told)
        helper = credentials.add_user(email="zuri@mlima.test", name="Zuri", password="long enough words")
        member = credentials.add_role(helper, gateway.tenant_id, "receptionist")
        seller = credentials.add_user(email="sifa@mlima.test", name="Sifa", password=PASSWORD)
        credentials.add_role(seller, gateway.tenant_id, "seller")
        batch = batches.make(db.session.query(Package).filter_by(**whose).first(), 1, actor="test")
        opened = access.issue(Bid(gateway.tenant_id, batch.package), origin="staff", actor="test")
        ticket = queue_tickets.give(gateway.tenant_id, actor="test")
        shift = shifts.begin(gateway.tenant_id, seller.id, float_cents=0, actor="test")
        shift = shifts.close(shift, counted_cents=0, actor="test")
        drawer = drawers.open_drawer(gateway.tenant_id, seller.id, float_cents=0, actor="test")
        report = drawers.close(drawer, counted_cents=0, actor="test")
        new_api_key(gateway.tenant_id, "shop")
        told = {**whose, "receipt": receipt(9), "amount_cents": 500, "occurred_at": clock.now()}
        hearsay = UnverifiedReport(**told, gateway_id=gateway.id, environment="sandbox", state="held")
        db.session.add_all([refund, claim, compared, hearsay])
        db.session.flush()
        bill = db.session.query(Invoice).filter_by(**whose).first()
        less = Discount(**whose, invoice_id=bill.id, amount_cents=100, why="Hardship")
        price = price_list.add(gateway.tenant_id, kind="lab", name="Test", price=300, actor="test")
        db.session.add(less)
        row = StatementRow(**whose, reconciliation_id=compared.id, row_number=1, bucket="different")
        db.session.add(row)
        db.session.flush()
        dead = {"kind": "stk", "dedupe": "d" * 64, "gateway_id": gateway.id, "body_sealed": text, "state": "dead"}
        callback = InboxItem(**whose, **dead)
        message = OutboxItem(**whose, kind="sms", key="k", payload_sealed=text, state="dead")
        visit = db.session.query(Appointment.id).filter_by(**whose).first()
        write.put(gateway.tenant_id, "sms", f"sms/appointment/{visit.id}/told", {"to": "254712345678", "text": "Come"})
        unreached = db.session.query(OutboxItem).filter(OutboxItem.key.endswith("/told")).one()
        unreached.state, unreached.delivery = "dead", "failed"
        db.session.add_all([callback, message])
        db.session.flush()
        return {
            "member": str(member.id), "api_key": str(db.session.query(ApiKey).filter_by(name="shop").one().id),
            "stuck_callback": str(callback.id), "stuck_message": str(message.id),
            "unreached": str(unreached.id),
            "booking": "0" * 24,  # who holds a booking's id may try a code: it is nobody's but theirs
            "access": opened.username, "batch": batch.uid, "voucher": batches.vouchers_of(batch)[0].uid, "drawer": str(report.number),
            "ticket": ticket.uid, "shift": str(shift.number),
            "undecided": str(db.session.query(InboxItem).filter_by(state="waiting").one().id),
            "discount": less.uid, "price": price.uid, "refund": refund.uid, "claim": claim.uid, "hearsay": hearsay.uid, "reconciliation": compared.uid, "statement_row": str(row.id)
        }  # fmt: skip


def rules(product: Product, *prefixes: str) -> list[tuple[str, Rule]]:
    """Every method and rule under these paths, the destroying ones last."""
    found = [
        (method, rule)
        for rule in product.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(prefixes) and not rule.endpoint.startswith("hooks.")
    ]
    order = {"GET": 0, "PUT": 1, "POST": 2, "DELETE": 3}
    return sorted(
        found, key=lambda one: (order[one[0]], one[1].rule.endswith(("/remove", "/close", "/withdraw")), one[1].rule)
    )


PLACE = re.compile(r"<(?:(\w+):)?(\w+)>")


def path_of(product: Product, rule: Rule) -> str:
    """The rule with mlima's things in its places."""
    literal, path = "", []
    for part in rule.rule.split("/"):
        found = PLACE.search(part)
        if found is None:
            literal = part
        else:
            kind = NAMES_OF.get((literal, found.group(2)))
            assert kind, f"{rule.rule}: say in NAMES_OF what stands in the place {found.group(2)} after {literal}."
            part = PLACE.sub(product.things[kind], part)  # type: ignore[attr-defined]
        path.append(part)
    return "/".join(path)


def path_of_nobody(rule: Rule) -> str:
    """The rule with what is nobody's in its places."""
    return PLACE.sub(lambda found: "999999" if found.group(1) == "int" else "nobody", rule.rule)


def body_of(product: Product, rule: Rule) -> dict[str, Any]:
    """A body that the door reads without complaint."""
    given = BODIES.get(rule.endpoint, {})
    return {name: product.things["invoice"] if value == "@invoice" else value for name, value in given.items()}  # type: ignore[attr-defined]


def rows_owned(product: Product, slug: str = "mlima") -> dict[str, list[Any]]:
    """Every row of a tenant, as the database has it."""
    tenant_id = product.tenant_id(slug)
    tables = [table for table in db.metadata.sorted_tables if {"tenant_id", "id"} <= set(table.c.keys())]
    with product.inside():
        return {
            table.name: [
                tuple(row)
                for row in db.session.execute(select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.id))
            ]
            for table in tables
        }


def stranger(product: Product) -> Any:
    """A stranger's browser."""
    return product.client()


# --- strangers


def test_a_stranger_at_a_staff_page_is_sent_to_sign_in_and_back(walked: Product) -> None:
    for method, rule in rules(walked, "/staff", "/account"):
        client = stranger(walked)
        data = {"csrf_token": csrf_of(client, "/login")} if method == "POST" else None
        answer = client.open(path_of(walked, rule), method=method, data=data, buffered=True)
        assert answer.status_code == 302 and answer.headers["Location"].startswith("/login?next="), rule.rule


@pytest.mark.property(50)
def test_a_stranger_at_the_api_is_told_to_sign_in_but_for_the_written_list(walked: Product) -> None:
    open_doors = set()
    for method, rule in rules(walked, "/api/"):
        answer = stranger(walked).open(path_of(walked, rule), method=method, json=body_of(walked, rule))
        if answer.status_code == 401 and answer.json["error"] == "unauthorized":
            continue
        open_doors.add(f"{method} {rule.rule.removeprefix('/api')}")
    assert open_doors <= PUBLIC_API
    declared = {f"{door.method} {door.path}" for door in api.router.routes if door.who == EVERYBODY}
    assert declared == PUBLIC_API


# --- another tenant


def test_another_tenants_administrator_reads_and_changes_nothing_of_ours(walked: Product) -> None:
    before = rows_owned(walked)
    secrets = [walked.things[kind] for kind in ("invoice", "payment")]  # type: ignore[attr-defined]
    chege, browser = walked.api("chege"), walked.browser_of("chege")
    token = csrf_of(browser, "/staff/gateways/new")
    for method, rule in rules(walked, "/api/"):
        if not rule.arguments:
            continue
        path = path_of(walked, rule)
        named: Any = {"method": method, "headers": chege.headers, "json": body_of(walked, rule)}
        answer = chege.client.open(path, **named)
        if answer.status_code not in (403, 404):  # refused before it looked whose it is: then as for what is nobody's
            nobody = chege.client.open(path_of_nobody(rule), **named)
            said = f"{method} {rule.rule}: {answer.status_code} {answer.text[:200]}"
            assert answer.status_code == 422 and answer.json == nobody.json, said
        assert not any(secret in answer.text and secret not in path for secret in secrets), rule.rule
    for method, rule in rules(walked, "/staff"):
        if not rule.arguments:
            continue
        data = FORM | {"csrf_token": token} if method == "POST" else None
        answer = browser.open(path_of(walked, rule), method=method, data=data, buffered=True)
        assert answer.status_code in (403, 404), f"{method} {rule.rule}: {answer.status_code}"
    for method, rule in rules(walked, "/api/", "/staff"):
        if rule.arguments or method != "GET":
            continue
        is_api = rule.rule.startswith("/api/")
        text = (chege.get(rule.rule) if is_api else browser.get(rule.rule)).text
        for kind, name in walked.things.items():  # type: ignore[attr-defined]
            guessable = (
                "drawer shift invoice order statement_row undecided member api_key stuck_callback stuck_message unreached"
            ).split()
            is_guessable = kind in guessable
            assert is_guessable or name not in text, f"{rule.rule} shows mlima's {kind}"
        assert receipt(1) not in text and "Otieno" not in text, rule.rule
    assert rows_owned(walked) == before


# Where an address has no place for it: mlima's things named in a body, a form or a query by another tenant.
# `@kind` is mlima's, `&kind` is bahari's own; written by hand, as is what may be answered.
NAMED_IN_BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/appointments", {"patientId": "@patient", "clinicianId": "&clinician"}),
    ("POST", "/api/appointments", {"patientId": "&patient", "clinicianId": "@clinician"}),
    ("POST", "/api/invoices", {"patientId": "@patient", "lines": [{"kind": "lab", "description": "x", "amount": 5}]}),
    ("POST", "/api/invoices", {"patientId": "&patient", "appointmentId": "@appointment",
                               "lines": [{"kind": "lab", "description": "x", "amount": 5}]}),
    ("POST", "/api/mpesa/test-connection", {"gatewayId": "@gateway"}),
    ("POST", "/api/payments/manual", {"customerId": "@customer", "amount": 5, "channel": "cash"}),
    ("POST", "/api/payments/manual", {"reference": "@invoice", "amount": 5, "channel": "cash"}),
    ("DELETE", "/api/payments/manual?ids=@manual&reason=r", {}),
    ("DELETE", "/api/payments/manual?ids=&manual,@manual&reason=r", {}),
    ("POST", "/api/customers/&customer/pay", {"reference": "@invoice"}),
    ("POST", "/api/customers/@customer/pay", {"reference": "&invoice"}),
    ("POST", "/api/portal/mpesa/initiate", {"tenant": "bahari", "packageId": "@package", "phone": "0722000444"}),
    ("POST", "/api/portal/mpesa/verify-sms",
     {"tenant": "bahari", "packageId": "@package", "smsText": "UKL0000002 Confirmed."}),
    ("POST", "/staff/manual/new", {"reference": "@invoice", "amount": "5", "channel": "cash"}),
    ("POST", "/staff/customers/&customer/pay", {"reference": "@invoice"}),
    ("POST", "/staff/unmatched/&transaction", {"reference": "@invoice"}),
    ("POST", "/staff/reconcile/list", {"gateway": "@gateway"}),
    ("POST", "/staff/reconcile", {"gateway": "@gateway"}),
]  # fmt: skip
NAMED_IN_QUERIES = [
    "/api/transactions?receipt=@receipt", "/api/transactions?q=@receipt", "/api/transactions?q=@invoice",
    "/api/transactions.csv?receipt=@receipt", "/api/customers?q=@account", "/api/patients?cursor=999999",
    "/api/transactions?phone=0722000111", "/api/appointments?cursor=999999", "/api/audit?cursor=999999",
    "/api/payments/manual?cursor=999999", "/staff/payments?q=@receipt", "/staff/payments?q=@invoice",
    "/staff/payments.csv?q=@receipt", "/staff/customers?q=@account", "/staff/unmatched?cursor=999999",
    "/staff/manual?cursor=999999", "/staff/refunds?cursor=999999",
]  # fmt: skip


def named(things: dict[str, str], own: dict[str, str], text: Any) -> Any:
    """The same with identifiers where `@kind` and `&kind` stood."""
    if isinstance(text, dict):
        return {name: named(things, own, value) for name, value in text.items()}
    if not isinstance(text, str):
        return text
    text = re.sub(r"@(\w+)", lambda found: things[found.group(1)], text)
    return re.sub(
        r"&(customer|clinician|patient|invoice|manual|transaction)\b", lambda found: own[found.group(1)], text
    )


def own_things(product: Product) -> dict[str, str]:
    """Bahari's own: what it may name."""
    chege = product.api("chege")
    lost = c2b_body(receipt=receipt(51), amount=70, account="LOST", shortcode="600222")
    stranger(product).post(f"{product.hook('bahari')}/c2b/confirmation", json=lost)
    product.settle()
    customer = chege.post("/api/customers", {"name": "Own", "phone": "0733000999"}).json["id"]
    by_hand = {"customerId": customer, "amount": 30, "channel": "cash"}
    return {
        "customer": customer, "manual": chege.post("/api/payments/manual", by_hand).json["id"],
        "patient": chege.post("/api/patients", {"name": "Own", "phone": "0733000998"}).json["id"],
        "clinician": chege.get("/api/clinicians").json["items"][0]["id"],
        "invoice": product.invoice(5, "bahari")[0],
        "transaction": chege.get(f"/api/transactions?receipt={receipt(51)}").json["items"][0]["id"],
    }  # fmt: skip


def test_what_another_tenant_names_in_a_body_a_form_or_a_query_is_nobodys(walked: Product) -> None:
    """coverage.md G1: the walk had gone through the places of addresses only."""
    own, chege, browser = own_things(walked), walked.api("chege"), walked.browser_of("chege")
    theirs = dict(walked.things)  # type: ignore[attr-defined]
    theirs |= {"receipt": receipt(1), "package": walked.package()}
    theirs["clinician"] = walked.api("brian").get("/api/clinicians").json["items"][0]["id"]
    theirs["invoice"] = next(number for number in numbers(walked, "mlima") if number not in numbers(walked, "bahari"))
    theirs["account"] = walked.api("brian").get("/api/customers").json["items"][0]["accountNumber"]
    booking = {
        "kind": "onsite", "startsAt": clock.rfc3339(clock.now() + timedelta(days=5)), "durationMinutes": 30, "price": 5
    }  # fmt: skip
    before, token = rows_owned(walked), csrf_of(browser, "/staff/gateways/new")
    for method, path, given in NAMED_IN_BODIES:
        path, given = named(theirs, own, path), named(theirs, own, given)
        if path == "/api/appointments":
            given |= booking
        if path.startswith("/api/"):
            answer: Any = chege.client.open(path, method=method, headers=chege.headers, json=given)
            assert answer.status_code in (404, 422), f"{method} {path}: {answer.status_code} {answer.text[:200]}"
        else:
            answer = browser.open(path, method=method, data=given | {"csrf_token": token})
            assert answer.status_code in (303, 404, 422), f"{method} {path}: {answer.status_code}"
        assert rows_owned(walked) == before, f"{method} {path}"
    for path in NAMED_IN_QUERIES:
        path = named(theirs, own, path)
        answer = chege.get(path) if path.startswith("/api/") else browser.get(path)
        assert answer.status_code == 200, path
        text = answer.text.replace(path.partition("=")[2], "")
        for name in (receipt(1), "Otieno", "Auma", theirs["transaction"], theirs["customer"], theirs["payment"]):
            assert name not in text, f"{path} shows mlima's {name}"


def numbers(product: Product, slug: str) -> list[str]:
    """Invoice numbers of a tenant."""
    who = "chege" if slug == "bahari" else "brian"
    return [item["number"] for item in product.api(who).get("/api/invoices").json["items"]]


def test_mlimas_own_administrator_does_find_what_the_bodies_name(walked: Product) -> None:
    """An identifier that is nobody's would prove nothing. One that was used up above is found and refused."""
    amina = walked.api("amina")
    things = dict(walked.things)  # type: ignore[attr-defined]
    things["clinician"] = amina.get("/api/clinicians").json["items"][0]["id"]
    when = {"kind": "onsite", "startsAt": clock.rfc3339(clock.now() + timedelta(days=9)), "durationMinutes": 30}
    for method, path, given in NAMED_IN_BODIES:
        if not path.startswith("/api/") or "/portal/" in path:
            continue
        given = named(things, things, given) | (when | {"price": 5} if path == "/api/appointments" else {})
        path = named(things, things, path)
        answer = amina.client.open(path, method=method, headers=amina.headers, json=given)
        assert answer.status_code not in (403, 404) and "no such" not in answer.text, f"{path}: {answer.text[:200]}"


def test_a_callback_through_another_tenants_gateway_moves_nothing_of_ours(walked: Product) -> None:
    """The hooks' addresses name a gateway and a push: of two tenants, they fit nothing."""
    _number, token = walked.invoice(700)
    push = walked.pushed(token)
    before = rows_owned(walked)
    for body in (stk_body(push, receipt=receipt(61)), stk_body(push, code=1032)):
        answer = stranger(walked).post(f"{walked.hook('bahari')}/stk/{push.token}", json=body)
        assert answer.status_code == 200
    confirmation = c2b_body(receipt=receipt(62), amount=700, account=push.reference)
    stranger(walked).post(f"{walked.hook('bahari')}/c2b/confirmation", json=confirmation)
    walked.settle()
    assert rows_owned(walked) == before


def test_the_tenant_in_an_address_or_a_session_gives_nobody_another_business(walked: Product) -> None:
    browser = walked.browser_of("chege")
    assert "Bahari House" in browser.get("/staff/?tenant=mlima").text
    with browser.session_transaction() as session:
        session["tenant"] = "mlima"
    page = browser.get("/staff/payments").text
    assert "Mlima House" not in page and receipt(1) not in page
    answer = stranger(walked).post(
        "/api/auth/token", json={"email": "chege@bahari.test", "password": "correct horse", "tenant": "mlima"}
    )
    assert answer.status_code == 422 and answer.json["error"] == "unknown_tenant"


def test_a_payment_is_shown_only_under_its_own_business(walked: Product) -> None:
    ask = {"tenant": "mlima", "packageId": walked.package(), "phone": new_phone()}
    token = stranger(walked).post("/api/portal/mpesa/initiate", json=ask).json["paymentId"]
    assert stranger(walked).get(f"/hotspot/mlima/wait/{token}").status_code == 200
    assert stranger(walked).get(f"/hotspot/bahari/wait/{token}").status_code == 302
    assert stranger(walked).get(f"/hotspot/bahari/api/{token}").json["captive"] is True
    secret = walked.things["payment"]  # type: ignore[attr-defined]
    assert stranger(walked).get(f"/hotspot/mlima/api/{secret}").json["captive"] is True


# --- roles

ROLES = {
    "amina": "tenant_admin", "brian": "receptionist", "wanjiru": "clinician", "njeri": "accountant",
    "otieno": "patient", "a program": "api_key", "sifa": "seller",
}  # fmt: skip
# What a door reads before it knows whether this role may.
ASKED_WITH: dict[str, Any] = {
    "POST /api/mpesa/initiate": {"orderId": "WALK-1", "amount": 5, "phoneNumber": "0722000333"}
}


def test_every_address_behind_a_sign_in_has_its_line_in_the_table_and_no_line_is_left_over(walked: Product) -> None:
    """tests.md Q2, Q3: a new address without a line fails here, as does a line without its address."""
    there = {f"{method} {rule.rule}" for method, rule in rules(walked, "/staff", "/api/")}
    public = {f"{one.split()[0]} /api{one.split()[1]}" for one in PUBLIC_API}
    assert there - public - set(TABLE) == set(), "write down in tests/support/who_may.py who may use these"
    assert set(TABLE) - there == set() and not public & set(TABLE)
    assert all(set(letters) <= set("ARCBPSK") and "A" in letters for letters in TABLE.values())


@pytest.mark.parametrize("name", ROLES)
def test_a_role_passes_the_doors_of_its_lines_and_no_other(walked: Product, name: str) -> None:
    """tests.md Q2, Q3: a receptionist who may void money fails this, whatever the product's own table says."""
    headers, browser = credentials_of(walked, name)
    token = csrf_of(browser, "/login") if browser else ""
    for method, rule in rules(walked, "/staff", "/api/"):
        line = f"{method} {rule.rule}"
        if line not in TABLE or (rule.rule.startswith("/staff") and browser is None):
            continue
        answer: Any
        if rule.rule.startswith("/api/"):
            asked = {"method": method, "headers": headers, "json": ASKED_WITH.get(line, {})}
            answer = stranger(walked).open(path_of_nobody(rule), **asked)
        else:
            assert browser is not None
            data = {"csrf_token": token} if method == "POST" else None
            answer = browser.open(path_of_nobody(rule), method=method, data=data, buffered=True)
        may = LETTERS[ROLES[name]] in TABLE[line]
        assert (answer.status_code != 403) == may, f"{name} {line}: {answer.status_code}"
        assert answer.status_code != 401 and "/login" not in answer.headers.get("Location", ""), line
        assert may or not answer.is_json or answer.json["error"] == "forbidden"


def credentials_of(product: Product, name: str) -> tuple[dict[str, str], FlaskClient | None]:
    """(headers for the API, browser that is signed in); a program has no browser."""
    if name == "a program":
        tenant_id = product.tenant_id()
        with product.app.app_context(), transaction():
            return {"X-API-Key": new_api_key(tenant_id, "walker")}, None
    return product.api(name).headers, product.browser_of(name)


@pytest.mark.property(50)
def test_a_patient_sees_only_their_own_payments(walked: Product) -> None:
    brian = walked.api("brian")
    own = walked.things["patient"]  # type: ignore[attr-defined]
    lines = [{"kind": "lab", "description": "Test", "amount": 400}]
    mine = brian.post("/api/invoices", {"patientId": own, "lines": lines}).json
    other_id = brian.post("/api/patients", {"name": "Other", "phone": "0733000222"}).json["id"]
    other = brian.post("/api/invoices", {"patientId": other_id, "lines": lines}).json
    otieno = walked.api("otieno")
    assert otieno.get(f"/api/mpesa/order/{mine['number']}").json["data"]["amount"] == 400
    assert otieno.get(f"/api/mpesa/query/{mine['paymentId']}").status_code == 200
    for path in (f"order/{other['number']}", f"query/{other['paymentId']}", "order/SHOP-1",
                 f"query/{walked.things['checkout']}"):  # type: ignore[attr-defined]  # fmt: skip
        answer = otieno.get(f"/api/mpesa/{path}")
        nobody = otieno.get("/api/mpesa/order/nobody")
        assert (answer.status_code, answer.json) == (404, nobody.json), "existence is not revealed"
    page = walked.browser_of("otieno").get("/account/").text
    assert mine["number"] in page and other["number"] not in page
    ask = {"orderId": mine["number"], "amount": 400, "phoneNumber": new_phone()}
    assert otieno.post("/api/mpesa/initiate", ask).status_code == 201


def test_mlimas_own_administrator_does_find_each_of_these_things(walked: Product) -> None:
    """The walk above proves nothing if the identifiers are wrong. This one changes and destroys: it comes last."""
    amina, browser = walked.api("amina"), walked.browser_of("amina")
    token = csrf_of(browser, "/staff/gateways/new")
    for method, rule in rules(walked, "/staff", "/api/"):
        gone = {("DELETE", f"/api/{what}/<uid>") for what in ("payment-gateways", "packages", "sites")}
        if not rule.arguments or (method, rule.rule) in gone:
            continue  # the pages have removed these by then
        if rule.rule.startswith("/api/"):
            given = body_of(walked, rule)
            answer = amina.client.open(path_of(walked, rule), method=method, headers=amina.headers, json=given)
        else:
            data = FORM | {"csrf_token": token} if method == "POST" else None
            answer = browser.open(path_of(walked, rule), method=method, data=data, buffered=True)
        assert answer.status_code not in (401, 403, 404) and answer.status_code < 500, (
            f"{method} {rule.rule}: {answer.text[:200]}"
        )


# --- forged requests


# Written by hand: the payers' forms, which carry no authority, and M-Pesa's callbacks, which carry tokens.
WITHOUT_CSRF = {
    "booking.book", "booking.confirm", "booking.cancel", "booking.move", "booking.take", "booking.money_back",
     "booking.join", "booking.prove", "booking.cancel_series", "booking.withdraw",
    "clinic.knock",
    "hotspot.act", "hotspot.buy", "hotspot.by_number", "hotspot.connect_device", "hotspot.line", "hotspot.line_pay", "hotspot.lost", "hotspot.rejoin", "hotspot.start_trial", "hotspot.trial", "hotspot.paste", "hotspot.redeem", "pay.push", "hooks.stk", "hooks.c2b_validation",
    "hooks.confirmation", "hooks.legacy_stk", "hooks.legacy_validation", "hooks.legacy_confirmation", "hooks.result",
    "hooks.timeout", "routers.heartbeat", "routers.ask", "sms.delivery", "sms.incoming_sms",
}  # fmt: skip


def test_every_form_without_a_token_changes_nothing_but_for_the_written_list(walked: Product) -> None:
    """tests.md CS1: two staff forms in CSRF_EXEMPT went unseen, since the list was compared with itself."""
    unprotected = set()
    for method, rule in rules(walked, "/"):
        if method == "GET" or rule.rule.startswith(("/api/", "/routers/", "/sms/")):
            continue
        path = path_of_nobody(rule)
        answer = walked.browser_of("amina").open(path, method=method, data={"reason": "r"})
        if answer.status_code != 400 or "Nothing was changed" not in answer.text:
            unprotected.add(rule.endpoint)
    payers = {endpoint for endpoint in WITHOUT_CSRF if not endpoint.startswith(("hooks.", "routers.", "sms."))}
    assert unprotected == payers, "a form without protection, or one that no cookieless payer could send"
    assert security.CSRF_EXEMPT == WITHOUT_CSRF


# --- headers


def answers(product: Product, client: FlaskClient) -> dict[str, Any]:
    """One response of every kind."""
    number, token = product.invoice(300)
    product.callback(product.pushed(token), receipt=receipt(77))
    product.settle()
    staff = product.browser_of("amina")
    big = b"x" * (1024 * 1024 + 1)
    poll = re.search(r"/pay/[^\"]+/status\?v=[^\"&]+", client.get(f"/pay/{product.invoice()[1]}").text)
    return {
        "page": client.get("/"), "portal": client.get("/hotspot/mlima/"), "payment": client.get(f"/pay/{token}"),
        "receipt": client.get(f"/pay/{token}/receipt"), "clinic": client.get("/clinic/mlima/"),
        "unknown": client.get("/nothing"), "method": client.put("/login"), "large": client.post("/login", data=big),
        "forged": client.post("/login", data={"email": "a"}), "wrong": client.post("/hotspot/mlima/",
        data={"phone": "x"}),
        "away": client.get("/staff/"), "slash": client.get("/hotspot/mlima"), "json": client.get("/api/openapi.json"),
        "refused": client.get("/api/transactions"), "missing": client.get("/api/nothing"),
        "hook": client.post("/hooks/0/c2b/confirmation"),
        "style": client.get("/static/css/mlango.css", buffered=True), "brand": client.get("/brand/mlima.css"),
        "script": client.get(f"/vendor/{assets.htmx_file()[0]}"),
        "staff": staff.get("/staff/"), "sheet": staff.get("/staff/payments.csv"),
        "forbidden": product.browser_of("otieno").get("/staff/"),
        "poll": client.get(poll.group(0)) if poll else client.get(f"/pay/{'0' * 40}/status"),
        "captive": client.get(f"/hotspot/mlima/api/{token}"),
        "metrics": client.get("/metrics"), "health": client.get("/healthz"),
    }  # fmt: skip


def test_every_kind_of_answer_carries_the_headers_that_guard_it(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("a mistake of ours")

    seen = answers(product, stranger(product))
    for answer in seen.values():
        answer.get_data()  # a file that is sent as it is read keeps its application open until its end
    monkeypatch.setitem(product.app.view_functions, "home", fail)
    seen["mistake"] = stranger(product).get("/")
    assert seen["mistake"].status_code == 500 and "a mistake of ours" not in seen["mistake"].text
    assert {answer.status_code for answer in seen.values()} >= {200, 302, 308, 400, 401, 403, 404, 405, 413, 422, 500}
    for name, answer in seen.items():
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "script-src 'self'" in policy, name
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy, name
        assert "form-action 'self'" in policy and ("http:" not in policy), name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["Referrer-Policy"] == "no-referrer", name
        assert "Strict-Transport-Security" not in answer.headers, "not over plain http"
        assert answer.headers["Cache-Control"] == "no-store" or name in ("style", "brand", "script", "captive"), name
        if answer.mimetype == "text/html":
            text = answer.text
            assert "<script>" not in text and " style=" not in text and not re.search(r"<[^>]+ on\w+=", text), name
            assert "//unpkg" not in text and "googleapis" not in text and "://cdn" not in text, name


def test_over_https_cookies_are_secure_and_browsers_told_to_stay(
    sqlite_url: str, clean_redis_url: str, tmp_path: Path
) -> None:
    config = config_for(
        sqlite_url, clean_redis_url, tmp_path / "data", public_url="https://pay.example.test", development=False
    )
    product = Product(opened(config)).furnish()
    client = stranger(product)
    for path in ("/", "/login", "/nothing", "/api/transactions", "/static/css/mlango.css"):
        answer = client.get(path, base_url="https://pay.example.test", buffered=True)
        assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]
    cookies = stranger(product).get("/login", base_url="https://pay.example.test").headers.getlist("Set-Cookie")
    assert cookies and all("Secure" in one and "HttpOnly" in one and "SameSite=Lax" in one for one in cookies)
    closed(product.app)


def test_over_http_cookies_are_still_out_of_scripts_reach(product: Product) -> None:
    cookies = stranger(product).get("/login").headers.getlist("Set-Cookie")
    assert cookies and all("HttpOnly" in one and "SameSite=Lax" in one for one in cookies)
    for path in ("/", "/hotspot/mlima/", "/clinic/mlima/", f"/pay/{product.invoice()[1]}"):
        assert not stranger(product).get(path).headers.getlist("Set-Cookie"), "payers need no cookies"


def test_the_description_of_health_tells_nothing_about_anybody(product: Product) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    product.settle()
    for path in ("/healthz", "/readyz", "/metrics"):
        text = stranger(product).get(path).text
        for secret in (push.msisdn, token, receipt(1), push.checkout_id, "mlima"):
            assert secret not in text, path
    assert json.loads(stranger(product).get("/healthz").text) == {"status": "ok"}
