"""An administrator's page of people: invited by a link, given roles, ended at once; never beyond their own business."""

import re
from typing import Any

from portal.audit.models import AuditEntry
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Refund
from portal.tenants.models import Tenant
from portal.users import credentials
from portal.users.models import Membership, User
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, with_initiator
from tests.support.visitors import PASSWORD, csrf_of

NEW = "battery staple words"


def post(browser: Any, path: str, **data: str) -> Any:
    return browser.post(path, data=data | {"csrf_token": csrf_of(browser, "/staff/people")})


def member_id(product: Product, name: str, slug: str = "mlima") -> int:
    tenant_id = product.tenant_id(slug)
    with product.inside():
        mine = db.session.query(Membership).join(User, User.id == Membership.user_id)
        return mine.filter(User.email == f"{name}@mlima.test", Membership.tenant_id == tenant_id).one().id


def link_in(page: Any) -> str | None:
    found = re.search(r"http://127\.0\.0\.1:1(/password/new/[\w.-]+)", page.text)
    return found.group(1) if found else None


def test_somebody_new_comes_in_by_a_link_that_works_once(product: Product) -> None:
    """coverage.md S1."""
    amina = product.browser_of("amina")
    page = post(amina, "/staff/people", name="Zuri", email="Zuri@mlima.test", role="receptionist")
    path = link_in(page)
    assert page.status_code == 200 and path
    later(6 * 86_400)
    client = product.client()
    answer = client.post(path, data={"password": NEW, "again": NEW, "csrf_token": csrf_of(client, path)})
    assert answer.status_code == 303 and client.get(path).status_code == 410
    data = {"email": "zuri@mlima.test", "password": NEW, "csrf_token": csrf_of(client, "/login")}
    assert client.post("/login", data=data).headers["Location"] == "/staff/"
    assert client.get("/staff/manual/new").status_code == 200 and client.get("/staff/people").status_code == 403


def wants_back(product: Product) -> str:
    """A refund that Amina asked for and somebody else must approve."""
    with_initiator(product)
    number, token = product.invoice(800)
    paid_by_hand(product, 800, number, receipt(1))
    with product.app.app_context(), transaction():
        db.session.query(Tenant).update({"refund_approval_above_cents": 50_000})
    answer = product.api("amina").post(f"/api/mpesa/{token}/refund", {"amount": 800})
    assert answer.json["data"]["needsApproval"] is True
    return str(answer.json["data"]["refundId"])


def choose_password(product: Product, path: str) -> None:
    client = product.client()
    given = {"password": PASSWORD, "again": PASSWORD, "csrf_token": csrf_of(client, path)}
    assert client.post(path, data=given).status_code == 303


def approves(product: Product, name: str, uid: str) -> Any:
    product.tokens.clear()  # the clock was moved, or the password was changed
    return product.api(name).post(f"/api/refunds/{uid}/approve", {})


def state_of(product: Product, uid: str) -> str:
    with product.inside():
        return db.session.query(Refund.state).filter_by(uid=uid).scalar()  # type: ignore[no-any-return]


def test_no_administrator_makes_the_second_person_for_a_refund_of_their_own(product: Product) -> None:
    """Invited by who asked for the refund, and signed in as by them, a second administrator approved it at once."""
    uid, amina = wants_back(product), product.browser_of("amina")
    invited = post(amina, "/staff/people", name="Zuri", email="zuri@mlima.test", role="tenant_admin")
    choose_password(product, link_in(invited) or "")
    refused = approves(product, "zuri", uid)
    assert (refused.status_code, refused.json["error"]) == (409, "approves_later")
    page = product.browser_of("zuri").get("/staff/refunds").text
    assert "less than a day ago" in page and f"/staff/refunds/{uid}/approve" not in page
    assert "approves no refund of a colleague for 24 hours" in amina.get("/staff/people").text
    later(86_400 - 60)
    assert approves(product, "zuri", uid).status_code == 409 and state_of(product, uid) == "requested"
    later(120)
    assert approves(product, "zuri", uid).status_code == 200 and state_of(product, uid) == "approved"


def test_a_colleague_made_administrator_is_no_second_person_for_a_day(product: Product) -> None:
    uid, amina = wants_back(product), product.browser_of("amina")
    post(amina, f"/staff/people/{member_id(product, 'brian')}/role", role="tenant_admin")
    assert approves(product, "brian", uid).json["error"] == "approves_later"
    later(86_460)
    assert approves(product, "brian", uid).status_code == 200


def test_a_second_administrator_whose_password_a_link_changed_is_none_for_a_day(product: Product) -> None:
    """The link may be a week old when it is used: the day begins with the password."""
    with product.app.app_context(), transaction():
        user = credentials.add_user(email="zuri@mlima.test", name="Zuri", password=PASSWORD)
        credentials.add_role(user, db.session.query(Tenant.id).filter_by(slug="mlima").scalar(), "tenant_admin")
    path = link_in(post(product.browser_of("amina"), f"/staff/people/{member_id(product, 'zuri')}/link"))
    later(6 * 86_400)
    uid = wants_back(product)
    choose_password(product, path or "")
    assert approves(product, "zuri", uid).json["error"] == "approves_later"
    later(86_460)
    assert approves(product, "zuri", uid).status_code == 200


def test_the_same_address_is_invited_once_and_wrong_ones_are_named(product: Product) -> None:
    amina = product.browser_of("amina")
    for email, status in (("brian@mlima.test", 409), ("no address", 422), ("", 422)):
        answer = post(amina, "/staff/people", name="Z", email=email, role="receptionist")
        assert answer.status_code == status and link_in(answer) is None
    assert post(amina, "/staff/people", name="Z", email="z@mlima.test", role="platform").status_code == 422
    assert post(amina, "/staff/people", name="Z", email="z@mlima.test", role="patient").status_code == 422


def test_a_role_changes_and_ends_from_the_next_request_on(either_product: Product) -> None:
    product = either_product
    amina, brian, api = product.browser_of("amina"), product.browser_of("brian"), product.api("brian")
    row = f"/staff/people/{member_id(product, 'brian')}"
    assert post(amina, f"{row}/role", role="accountant").status_code == 303
    assert brian.get("/staff/manual/new").status_code == 403 and api.get("/api/clinicians").status_code == 403
    assert api.get("/api/audit").status_code == 200
    assert post(amina, f"{row}/deactivate").status_code == 303
    assert brian.get("/staff/").status_code == 403 and api.get("/api/audit").status_code == 401
    assert post(amina, f"{row}/role", role="receptionist").status_code == 303
    assert brian.get("/staff/manual/new").status_code == 200
    with product.inside():
        told = [
            (one.action, one.old, one.new)
            for one in db.session.query(AuditEntry).filter_by(subject_kind="user").order_by(AuditEntry.id)
        ]
    assert told == [
        ("role_changed", "receptionist", "accountant"),
        ("deactivated", "accountant", "deactivated"),
        ("role_changed", "deactivated", "receptionist"),
    ]


def test_nobody_changes_their_own_role_another_businesss_people_or_patients(product: Product) -> None:
    amina, chege = product.browser_of("amina"), product.browser_of("chege")
    own, brian, otieno = (member_id(product, name) for name in ("amina", "brian", "otieno"))
    for what in ("role", "deactivate", "link"):
        assert post(amina, f"/staff/people/{own}/{what}", role="receptionist").status_code == 409
        assert post(chege, f"/staff/people/{brian}/{what}", role="receptionist").status_code == 404
        assert post(amina, f"/staff/people/{otieno}/{what}", role="tenant_admin").status_code == 404
    assert post(amina, f"/staff/people/{brian}/role", role="patient").status_code == 422
    assert "Brian" not in chege.get("/staff/people").text and "Otieno" not in amina.get("/staff/people").text


def test_an_administrators_link_takes_over_nobody_who_belongs_to_others_too(product: Product) -> None:
    """Otherwise a tenant invites another tenant's administrator, or the platform's, and takes a link for them."""
    with product.app.app_context(), transaction():
        credentials.add_user(email="root@mlango.test", name="Root", password=NEW, is_platform_admin=True)
    chege = product.browser_of("chege")
    for email in ("amina@mlima.test", "root@mlango.test"):
        page = post(chege, "/staff/people", name="Mine now", email=email, role="receptionist")
        assert page.status_code == 303 and link_in(page) is None
    amina_there = member_id(product, "amina", "bahari")
    assert post(chege, f"/staff/people/{amina_there}/link").status_code == 303
    with product.inside():
        assert db.session.query(OutboxItem).filter_by(kind="email").count() >= 1, "it went to their own address"
        assert db.session.query(User).filter_by(email="amina@mlima.test").one().name == "Amina"
    assert post(chege, f"/staff/people/{amina_there}/deactivate").status_code == 303
    assert product.browser_of("amina").get("/staff/gateways").status_code == 200, "only there"


def test_a_person_whom_another_business_made_up_brings_no_password_or_link_of_theirs(product: Product) -> None:
    """Chege invites an address that is not his, chooses its password, and waits until Amina gives it a role.

    Nor may Amina's invitation lock out who really works for Chege: with it alone their password ended.
    """
    chege, client = product.browser_of("chege"), product.client()
    path = link_in(post(chege, "/staff/people", name="Zuri", email="zuri@mlima.test", role="receptionist"))
    assert path
    client.post(path, data={"password": NEW, "again": NEW, "csrf_token": csrf_of(client, path)})
    data = {"email": "zuri@mlima.test", "password": NEW, "csrf_token": csrf_of(client, "/login")}
    assert client.post("/login", data=data).status_code == 303
    with product.inside():
        mine = db.session.query(Membership).join(User, User.id == Membership.user_id)
        there = mine.filter(User.email == "zuri@mlima.test").one().id
    held = link_in(post(chege, f"/staff/people/{there}/link"))
    assert held and client.get(held).status_code == 200
    amina, invited = product.browser_of("amina"), {"name": "Z", "email": "zuri@mlima.test", "role": "tenant_admin"}
    answer = post(amina, "/staff/people", **invited)
    assert answer.status_code == 303 and link_in(answer) is None
    page = amina.get("/staff/people").text
    assert "a link went to it" in page and "zuri@mlima.test" not in page, "no role before the address has answered"
    assert client.get("/staff/").status_code == 200 and client.get(held).status_code == 200
    assert client.post("/login", data=data | {"csrf_token": csrf_of(client, "/login")}).status_code == 303
    with product.inside():
        item = db.session.query(OutboxItem).filter_by(kind="email").one()
        mail = payload_of(item)
    assert mail["to"] == "zuri@mlima.test"
    path = str(re.search(r"/password/new/\S+", mail["text"]).group(0))  # type: ignore[union-attr]
    client.post(path, data={"password": "her own words", "again": "her own words", "csrf_token": csrf_of(client, path)})
    assert client.get("/staff/").status_code == 302 and client.get(held).status_code == 410
    assert client.post("/login", data=data | {"csrf_token": csrf_of(client, "/login")}).status_code == 422
    assert post(amina, "/staff/people", **invited).status_code == 303
    assert "zuri@mlima.test" in amina.get("/staff/people").text
    data |= {"password": "her own words", "csrf_token": csrf_of(client, "/login")}
    assert client.post("/login", data=data).status_code == 303
    with product.inside():
        assert db.session.query(User).filter_by(email="zuri@mlima.test").one().is_proven


def test_a_password_that_an_administrator_may_have_chosen_opens_no_other_business(product: Product) -> None:
    """Chege set the password of somebody long known by a link of his, and came in where they were invited next."""
    with product.app.app_context(), transaction():
        zuri = credentials.add_user(email="zuri@mlima.test", name="Zuri", password="her own words")
        bahari = db.session.query(Tenant).filter_by(slug="bahari").one()
        there = credentials.add_role(zuri, bahari.id, "receptionist").id
    chege, client = product.browser_of("chege"), product.client()
    path = link_in(post(chege, f"/staff/people/{there}/link"))
    assert path
    client.post(path, data={"password": NEW, "again": NEW, "csrf_token": csrf_of(client, path)})
    amina = product.browser_of("amina")
    post(amina, "/staff/people", name="Z", email="zuri@mlima.test", role="tenant_admin")
    data = {"email": "zuri@mlima.test", "password": NEW, "csrf_token": csrf_of(client, "/login")}
    assert client.post("/login", data=data).status_code == 303
    assert "Bahari" in client.get("/staff/?tenant=mlima").text, "no role at Amina's"
    assert "zuri@mlima.test" not in amina.get("/staff/people").text


def test_an_open_browser_makes_nobody_an_administrator(product: Product) -> None:
    amina, brian = product.browser_of("amina"), member_id(product, "brian")
    later(16 * 60)
    for path, data in (
        ("/staff/people", {"name": "Z", "email": "z@mlima.test", "role": "tenant_admin"}),
        (f"/staff/people/{brian}/role", {"role": "tenant_admin"}),
        (f"/staff/people/{brian}/link", {}),
        (f"/staff/people/{brian}/deactivate", {}),
        ("/staff/people/keys", {"name": "shop"}),
    ):
        answer = post(amina, path, **data)
        assert answer.status_code == 302 and answer.headers["Location"].startswith(
            "/login?next=/staff/people?kept%3D"
        ), path
    assert product.browser_of("brian").get("/staff/gateways").status_code == 403


def test_a_programs_key_is_shown_once_and_revoked_at_once(product: Product) -> None:
    amina, client = product.browser_of("amina"), product.client()
    page = post(amina, "/staff/people/keys", name="shop").text
    key = re.search(r"mlango_[0-9a-f]+", page)
    assert key and key.group(0) not in amina.get("/staff/people").text
    headers = {"X-API-Key": key.group(0)}
    assert client.get("/api/transactions", headers=headers).status_code == 200
    number = re.search(r"/staff/people/keys/(\d+)/revoke", page)
    assert number
    assert post(product.browser_of("chege"), number.group(0)).status_code == 404
    assert post(amina, number.group(0)).status_code == 303
    assert client.get("/api/transactions", headers=headers).status_code == 401
    assert post(amina, "/staff/people/keys", name="").status_code == 422
