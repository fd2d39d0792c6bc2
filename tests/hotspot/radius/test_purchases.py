"""What is bought, renewed and taken back through the product itself, as the router sees it."""

import re

from portal.hotspot.models import AccessGrant
from portal.kernel.db import db, transaction
from portal.payments import booking
from portal.payments.models import Transaction
from tests.support.daraja import new_phone, receipt
from tests.support.radius import Access, Hotspots, ago, seconds

MAC = "AA:BB:CC:00:77:01"
ROUTER = {"mac": MAC, "link-login-only": "http://10.5.50.1/login", "identity": "mt1"}


def bought(hotspots: Hotspots, phone: str, number: int, mac: str) -> Access:
    """A day, paid and open."""
    product = hotspots.product
    given = {"tenant": "mlima", "packageId": product.package(), "phone": phone, "macAddress": mac}
    answer = product.client().post("/api/portal/mpesa/initiate", json=given)
    token = answer.json["paymentId"]
    product.callback(product.pushed(token, phone), receipt=receipt(number))
    product.work()
    told = product.status(token)["credentials"]
    return Access(0, told["username"], told["password"], mac)


def reversed_last(hotspots: Hotspots) -> None:
    """M-Pesa says that the last money went back."""
    with hotspots.product.app.app_context(), transaction():
        last = db.session.query(Transaction).order_by(Transaction.id.desc()).first()
        assert last is not None
        booking.take_back(last, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")
    hotspots.product.work()


def test_a_payment_opens_the_router_a_renewal_extends_it_and_reversals_close_it_at_once(hotspots: Hotspots) -> None:
    phone, day_s = new_phone(), 86_400
    first = bought(hotspots, phone, 71, MAC)
    assert first.username == receipt(71) and day_s - 60 < seconds(hotspots.sign_in(first)) <= day_s
    second = bought(hotspots, phone, 72, MAC)
    for access in (first, second):
        assert 2 * day_s - 60 < seconds(hotspots.sign_in(access)) <= 2 * day_s
    reversed_last(hotspots)
    assert day_s - 60 < seconds(hotspots.sign_in(first)) <= day_s
    with hotspots.product.app.app_context(), transaction():
        one = db.session.query(Transaction).filter_by(receipt=receipt(71)).one()
        booking.take_back(one, how=booking.REVERSED, why="M-Pesa reversed it.", actor="test")
    hotspots.product.work()
    for access in (first, second):
        answer = hotspots.sign_in(access)
        assert answer.code == "Access-Reject" and answer.message.startswith("Your package was closed.")


def test_the_portals_one_time_sign_in_opens_the_router_to_that_device_once(hotspots: Hotspots) -> None:
    mac = "AA:BB:CC:00:77:02"
    sold = bought(hotspots, new_phone(), 73, mac)
    page = hotspots.product.client().post("/hotspot/mlima/connect", data={**ROUTER, "mac": mac})
    fields = dict(re.findall(r'name="(username|password)" value="([^"]+)"', page.text))
    once = Access(0, fields["username"], fields["password"], mac)
    assert once.username != sold.username
    assert hotspots.sign_in(once, mac="AA:BB:CC:00:77:03").code == "Access-Reject"
    assert hotspots.sign_in(once).code == "Access-Accept"
    again = hotspots.sign_in(once)
    assert (again.code, again.message) == (
        "Access-Reject", "This sign-in was used or is too old. Open the Wi-Fi page again.",
    )  # fmt: skip


def test_another_make_of_router_opens_the_page_that_was_wanted_just_after_the_purchase(hotspots: Hotspots) -> None:
    sold = bought(hotspots, new_phone(), 74, "AA:BB:CC:00:77:03")
    for wanted, led in (("http://example.com/news?a=1", "http://example.com/news?a=1"), ("`id`", None)):
        with hotspots.product.app.app_context(), transaction():
            grant = db.session.query(AccessGrant).filter_by(username=sold.username).one()
            assert grant.purchase is not None
            grant.purchase.wanted_url = wanted
        assert hotspots.sign_in(sold, is_mikrotik=False).attributes.get("WISPr-Redirection-URL") == led
    with hotspots.product.app.app_context(), transaction():
        grant = db.session.query(AccessGrant).filter_by(username=sold.username).one()
        assert grant.purchase is not None
        grant.purchase.wanted_url, grant.created_at = "http://example.com/", ago(minutes=11)
    assert "WISPr-Redirection-URL" not in hotspots.sign_in(sold, is_mikrotik=False).attributes
