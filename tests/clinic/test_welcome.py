"""Both doors together: who checks in is given the Wi-Fi, and an online session opens without a bundle left."""

from typing import Any

from portal import welcome
from portal.clinic.meetings import settings
from portal.clinic.models import Appointment
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.tenants.models import Tenant
from tests.support.appointments import book
from tests.support.product import Product
from tests.support.threads import together
from tests.support.visitors import csrf_of


def gives(product: Product, package: str) -> Any:
    browser = product.browser_of("amina")
    form = {"package": package, "csrf_token": csrf_of(browser, "/staff/packages")}
    return browser.post("/staff/packages/checkin", data=form)


def checked_in(product: Product, uid: str) -> str | None:
    with product.app.app_context(), transaction():
        tenant = db.session.get_one(Tenant, product.tenant_id())
        visit = db.session.query(Appointment).filter_by(uid=uid).one()
        opened = welcome.wifi_for(tenant, visit, actor="test")
        return opened.username if opened else None


def test_who_checks_in_is_given_one_pass_and_told_its_name_and_password(product: Product) -> None:
    assert gives(product, product.package()).status_code == 303
    uid = book(product, "onsite").json["id"]
    name = checked_in(product, uid)
    assert name is not None and checked_in(product, uid) == name
    with product.inside():
        opened = db.session.query(AccessGrant).one()
        assert opened.origin == "staff" and opened.package.name == "1 day" and opened.is_open
        told = [payload_of(one)["text"] for one in db.session.query(OutboxItem).filter_by(kind="sms", about="access")]
        assert len(told) == 1 and opened.username in told[0] and opened.password in told[0]


def test_without_a_package_nothing_is_given_and_another_tenants_cannot_be_chosen(product: Product) -> None:
    assert checked_in(product, book(product, "onsite").json["id"]) is None
    assert gives(product, product.package(slug="bahari")).status_code == 404
    with product.inside():
        assert db.session.query(AccessGrant).count() == 0


def test_two_who_check_one_visit_in_give_one_pass(either_product: Product) -> None:
    product = either_product
    gives(product, product.package())
    uid = book(product, "onsite").json["id"]
    names = together(product, lambda: checked_in(product, uid), lambda: checked_in(product, uid))
    assert names[0] == names[1] is not None
    with product.inside():
        assert db.session.query(AccessGrant).count() == 1


def test_an_online_sessions_address_is_open_before_paying(product: Product) -> None:
    with product.app.app_context(), transaction():
        tenant = db.session.get_one(Tenant, product.tenant_id())
        zoom = {"account": "a", "client": "c", "secret": "s", "host": "d@mlima.example"}
        terms = {"fallback": "simple", "opens_minutes": 15, "base_url": "https://rooms.mlima.example"}
        settings.change(tenant, provider="zoom", given=zoom, actor="test", **terms)  # type: ignore[arg-type]
    amina = product.api("amina")
    site = amina.post("/api/sites", {"name": "Lodge", "address": "10.90.0.7", "kind": "radius"}).json["id"]
    script = amina.get(f"/api/sites/{site}/files/routeros.rsc").text
    for host in ("zoom.us", "*.zoom.us", "rooms.mlima.example"):
        assert f'dst-host="{host}" comment="mlango: meetings"' in script
    assert script.count('walled-garden remove [/ip hotspot walled-garden find comment="mlango: meetings"]') == 1
