"""The pages of packages, vouchers and the seller's counter."""

import re
from datetime import timedelta
from typing import Any

import pytest

from portal.hotspot.models import Package
from portal.hotspot.sites import figures
from portal.hotspot.vouchers.models import DrawerReport, Voucher
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import Transaction
from portal.users import credentials
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

FORM = {
    "name": "Weekend", "price": "120", "kind": "time", "duration": "2", "duration_unit": "d", "volume": "", "volume_unit": "GB",
    "validity": "", "down": "5", "up": "2", "burst": "", "burst_s": "10", "devices": "2", "daily": "", "at_cap": "stop",
    "throttled": "", "group": "Days",
}  # fmt: skip


def seller(product: Product) -> Any:
    """Sifa's browser: she sells codes, and that is all."""
    with product.app.app_context(), transaction():
        sifa = credentials.add_user(email="sifa@mlima.test", name="Sifa", password=PASSWORD)
        credentials.add_role(sifa, product_tenant(), "seller")
    return product.browser_of("sifa")


def product_tenant() -> int:
    from portal.tenants.models import Tenant

    return db.session.query(Tenant.id).filter_by(slug="mlima").scalar()  # type: ignore[no-any-return]


def post(browser: Any, page: str, path: str, **data: Any) -> Any:
    return browser.post(path, data={"csrf_token": csrf_of(browser, page), **data})


# --- packages


def test_a_package_is_made_in_a_shops_words(product: Product) -> None:
    amina = product.browser_of("amina")
    made = post(amina, "/staff/packages/new", "/staff/packages/new", **FORM | {"burst": "10", "volume": "1.5"})
    assert made.status_code == 303, made.text
    with product.inside():
        one = db.session.query(Package).filter_by(name="Weekend").one()
        assert (one.duration_s, one.price_cents, one.devices, one.group_name) == (172_800, 12_000, 2, "Days")
        assert one.data_cap_bytes == 1_500_000_000
        assert one.rate == "2M/5M 4M/10M 1500k/3750k 27/27", "ten seconds of burst at 10 of 5 Mbps"
    page = amina.get(f"/staff/packages/{product.package('Weekend')}").text
    for name, value in (
        ("down", "5"),
        ("up", "2"),
        ("burst", "10"),
        ("burst_s", "10"),
        ("volume", "1.5"),
        ("duration", "2"),
    ):
        assert re.search(rf'<input[^>]*name="{name}"[^>]*value="{value}"', page), name


def test_a_change_on_the_page_is_for_who_buys_from_now_on(product: Product) -> None:
    amina, uid = product.browser_of("amina"), product.package("1 day")
    path = f"/staff/packages/{uid}"
    changed = post(amina, path, path, **FORM | {"name": "1 day", "price": "60", "duration": "1"})
    assert changed.status_code == 303
    with product.inside():
        rows = db.session.query(Package).filter_by(tenant_id=product_tenant(), name="1 day").order_by(Package.id).all()
        assert [(one.price_cents, one.withdrawn_at is None) for one in rows] == [(5_000, False), (6_000, True)]
        assert rows[1].uid == uid


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"), ({"price": "0"}, "price"), ({"price": "abc"}, "price"), ({"duration": ""}, "duration"),
        ({"duration": "-1"}, "duration"), ({"duration": "nan"}, "duration"), ({"down": "fast"}, "down"),
        ({"kind": "data"}, "volume"), ({"devices": "0"}, "devices"), ({"at_cap": "throttle"}, "throttled"),
        ({"volume": "1e400"}, "volume"), ({"is_addon": "y"}, "is_addon"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_form_is_said_at_its_field(product: Product, given: dict[str, str], field: str) -> None:
    amina = product.browser_of("amina")
    answer = post(amina, "/staff/packages/new", "/staff/packages/new", **FORM | given)
    assert answer.status_code == 422 and f'id="{field}-error"' in answer.text


def test_the_preview_says_what_the_customer_will_read_or_what_is_missing(product: Product) -> None:
    amina = product.browser_of("amina")
    shown = amina.get("/staff/packages/preview", query_string=FORM).text
    assert "Weekend" in shown and "KES 120" in shown and "5 Mbps" in shown and "2M/5M" in shown
    assert "Ends 2 days after the payment." in shown
    assert "Give the package a name" in amina.get("/staff/packages/preview", query_string=FORM | {"name": ""}).text


def test_packages_are_put_in_order_and_withdrawn(product: Product) -> None:
    amina, uid = product.browser_of("amina"), product.package("1 day")
    names = re.compile(r'/staff/packages/\w{24}">([^<]+)</a>')
    assert names.findall(amina.get("/staff/packages").text) == ["1 hour", "1 day"]
    post(amina, "/staff/packages", f"/staff/packages/{uid}/up")
    assert names.findall(amina.get("/staff/packages").text) == ["1 day", "1 hour"]
    on_sale = product.client().get("/api/portal/packages?tenant=mlima").json["items"]  # type: ignore[index]
    assert [one["name"] for one in on_sale] == ["1 day", "1 hour"]
    post(amina, f"/staff/packages/{uid}", f"/staff/packages/{uid}/withdraw")
    assert names.findall(amina.get("/staff/packages").text) == ["1 hour"]


# --- vouchers


def test_a_batch_is_made_looked_at_printed_and_voided(product: Product) -> None:
    brian = product.browser_of("brian")
    made = post(
        brian, "/staff/vouchers", "/staff/vouchers", package=product.package("1 hour"), count="3", shelf_days="30"
    )
    assert made.status_code == 303
    page = made.headers["Location"]
    with product.inside():
        code, shown = [(one.code, one.shown) for one in db.session.query(Voucher)][0]
    assert shown in brian.get(page).text
    for paper in ("a4", "58", "80"):
        sheet = brian.get(f"{page}/print?paper={paper}").text
        assert sheet.count('class="slip"') == 3 and shown in sheet and "<svg" in sheet and f"p{paper}" in sheet
    assert brian.get(f"{page}/print?paper=a5").status_code == 422
    assert "Made" in brian.get(f"/staff/vouchers/code?code={code.lower()}").text
    post(brian, "/staff/vouchers", "/staff/vouchers/code/void", code=code, reason="torn")
    assert brian.get(f"{page}/print?paper=a4").text.count('class="slip"') == 2
    post(brian, page, f"{page}/void", reason="lost")
    with product.inside():
        assert {one.state for one in db.session.query(Voucher)} == {"void"}


def test_the_codes_picture_opens_the_portal_filled_in(product: Product) -> None:
    from portal.staff.vouchers import sheet
    from portal.tenants.models import Tenant

    voucher = Voucher(code="ABC23DEFG")
    with product.app.test_request_context():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        link = sheet.link_of(tenant, voucher)
        assert link.endswith("/hotspot/mlima/code?code=ABC23DEFG") and link.startswith("http")
    assert "ABC" in product.client().get("/hotspot/mlima/code?code=ABC23DEFG").text


# --- the seller


def test_a_seller_opens_sells_counts_and_sees_the_report_and_nothing_else(product: Product) -> None:
    sifa = seller(product)
    assert sifa.get("/staff/").headers["Location"] == "/staff/sell"
    rail = sifa.get("/staff/sell").text
    stops = rail.partition('<nav class="rail"')[2].partition("</nav>")[0]
    assert re.findall(r'href="(/staff/[^"]*)"', stops) == ["/staff/sell"]
    assert post(sifa, "/staff/sell", "/staff/sell/open", float="500").status_code == 303
    page = sifa.get("/staff/sell").text
    key = re.search(r'name="key" value="(\w+)"', page)
    assert key and page.count('class="btn primary sellone"') == 2
    sale = {"package": product.package("1 hour"), "key": key.group(1)}
    sold = post(sifa, "/staff/sell", "/staff/sell", **sale)
    again = post(sifa, "/staff/sell", "/staff/sell", **sale)
    assert sold.headers["Location"] == again.headers["Location"], "tapped twice, sold once"
    with product.inside():
        shown = db.session.query(Voucher).one().shown
        assert db.session.query(Transaction).one().amount_cents == 2_000
    assert shown in sifa.get(sold.headers["Location"]).text
    assert 'class="slip"' in sifa.get(sold.headers["Location"] + "/print?paper=58").text
    counting = sifa.get("/staff/sell/close").text
    assert "520" not in counting, "who counts is not told what should be there"
    closed = post(sifa, "/staff/sell/close", "/staff/sell/close", counted="510", note="ten short")
    report = sifa.get(closed.headers["Location"]).text
    assert "Drawer report 1" in report and "KES 520" in report and "KES 510" in report and "Missing" in report
    with product.inside():
        assert db.session.query(DrawerReport).one().variance_cents == -1_000
    assert product.books() == []
    for hidden in ("/staff/payments", "/staff/vouchers", "/staff/drawers", "/staff/packages", "/staff/customers"):
        assert sifa.get(hidden).status_code == 403, hidden
    assert "Sifa" in product.browser_of("amina").get("/staff/drawers").text


def test_what_a_seller_takes_in_cash_is_revenue_of_its_package_until_it_is_voided(product: Product) -> None:
    brian, package = product.browser_of("brian"), product.package("1 hour")
    post(brian, "/staff/sell", "/staff/sell/open", float="0")
    for key in ("a" * 10, "b" * 10):
        post(brian, "/staff/sell", "/staff/sell", package=package, key=key)

    def taken() -> list[tuple[int, int]]:
        today = clock.nairobi(clock.now()).date()
        with product.inside():
            found = figures.between(product.tenant_id("mlima"), today - timedelta(days=1), today, environment="sandbox")
            return [(one.cents, one.sales) for one in (found.whole, found.by_package["1 hour"])]

    assert taken() == [(4_000, 2)] * 2
    api = product.api("amina")
    voided = api.get("/api/payments/manual").json["items"][0]["id"]
    assert api.delete(f"/api/payments/manual/{voided}", json={"reason": "given back"}).status_code == 200
    assert taken() == [(2_000, 1)] * 2


def test_a_seller_sees_no_code_of_another(product: Product) -> None:
    brian = product.browser_of("brian")
    post(brian, "/staff/sell", "/staff/sell/open", float="0")
    sold = post(brian, "/staff/sell", "/staff/sell", package=product.package("1 hour"), key="k" * 10)
    sifa = seller(product)
    assert sifa.get(sold.headers["Location"]).status_code == 404
    assert sifa.get(sold.headers["Location"] + "/print").status_code == 404


def test_without_a_drawer_nothing_is_sold(product: Product) -> None:
    sifa = seller(product)
    answer = post(sifa, "/staff/sell", "/staff/sell", package=product.package("1 hour"), key="k")
    assert answer.headers["Location"] == "/staff/sell"
    assert "Open your drawer first." in sifa.get("/staff/sell").text
    with product.inside():
        assert db.session.query(Voucher).count() == 0


@pytest.mark.parametrize("amount", ["", "-1", "abc", "1e99", "10000000000"])
def test_what_cannot_lie_in_a_drawer_is_not_counted(product: Product, amount: str) -> None:
    sifa = seller(product)
    post(sifa, "/staff/sell", "/staff/sell/open", float=amount)
    assert "Open your drawer" in sifa.get("/staff/sell").text
