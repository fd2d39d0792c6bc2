"""Passes at the hotspot: ten minutes before the end and at 80 % of the data, one message each, never too late."""

from datetime import timedelta

from portal.hotspot import reminders
from portal.hotspot.models import AccessGrant, Package
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.notifications import quiet
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product
from tests.support.sessions import site_of, stay_of
from tests.support.threads import together

_buys = iter(range(40, 90))


def bought(product: Product, *, mac: str = "", package: str = "1 hour", language: str = "en") -> str:
    """The phone that bought a pass."""
    phone = new_phone()
    told = {"tenant": "mlima", "packageId": product.package(package), "phone": phone}
    told |= {"macAddress": mac} if mac else {}
    answer = product.client().post("/api/portal/mpesa/initiate", json=told, headers={"Accept-Language": language})
    product.callback(product.pushed(answer.json["paymentId"], phone), receipt=receipt(next(_buys)))
    product.settle()
    return phone


def reminded(product: Product, phone: str) -> list[str]:
    with product.app.app_context():
        reminders.remind()
        db.session.remove()
    with product.inside():
        sent = [(one.key, payload_of(one)) for one in db.session.query(OutboxItem).order_by(OutboxItem.id)]
    return [one["text"] for key, one in sent if one["to"] == phone and key.endswith(("/ends", "/data"))]


def test_a_pass_is_reminded_of_ten_minutes_before_its_end_and_once(either_product: Product) -> None:
    product = either_product
    phone = bought(product)
    clock.move(timedelta(minutes=49))
    assert reminded(product, phone) == []
    clock.move(timedelta(minutes=2))
    together(product, *[lambda: queue.run("remind")] * 3)
    told = reminded(product, phone)
    assert len(told) == 1 and "ends at" in told[0] and "TEST" in told[0]


def test_nobody_is_reminded_after_the_end(product: Product) -> None:
    phone = bought(product)
    clock.move(timedelta(minutes=61))
    assert reminded(product, phone) == []


def test_what_goes_on_is_not_said_to_end(product: Product) -> None:
    phone = bought(product, mac="AA:BB:CC:00:00:07")
    bought(product, mac="AA:BB:CC:00:00:07", package="1 day")
    clock.move(timedelta(minutes=55))
    assert reminded(product, phone) == []


def test_a_number_that_wants_no_reminders_gets_none(product: Product) -> None:
    phone, other = bought(product), bought(product)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        quiet.set_quiet(tenant_id, personal.phone_hash(phone, tenant_id), is_quiet=True)
    clock.move(timedelta(minutes=55))
    assert reminded(product, phone) == [] and len(reminded(product, other)) == 1


def test_four_fifths_of_the_data_are_told_once_while_it_is_online(either_product: Product) -> None:
    product = either_product
    with product.app.app_context(), transaction():
        hour = db.session.query(Package).filter_by(name="1 day", tenant_id=product_tenant(product)).one()
        hour.data_cap_bytes = 1_000_000
    phone = bought(product, package="1 day")
    with product.inside():
        grant = db.session.query(AccessGrant).one()
        grant_id, username = grant.id, grant.username
    site = site_of(product)
    stay_of(product, site, grant_id=grant_id, username=username, bytes_in=100_000, bytes_out=699_999)
    assert reminded(product, phone) == []
    stay_of(product, site, grant_id=grant_id, username=username, bytes_in=1, bytes_out=0)
    assert ["80% of your data" in one for one in reminded(product, phone)] == [True]
    assert len(reminded(product, phone)) == 1


def product_tenant(product: Product) -> int:
    from portal.tenants.models import Tenant

    return int(db.session.query(Tenant.id).filter_by(slug="mlima").scalar())
