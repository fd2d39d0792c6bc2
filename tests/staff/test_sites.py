"""Staff's pages of sites, sessions and usage: what they show, what they refuse, and what they keep quiet."""

from datetime import timedelta
from typing import Any

import pytest

from portal.hotspot.models import AccessSession, Package, Site
from portal.hotspot.routers import interface
from portal.hotspot.routers.interface import Finding, Health, Outcome
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.hotspot import prompt_sent
from tests.support.product import Product
from tests.support.sessions import pass_of, site_of, stay_of
from tests.support.visitors import csrf_of


class Router:
    """A router that takes every order."""

    capabilities: frozenset[str] = frozenset()

    def kick(self, _site: Any, _session: Any) -> Outcome:
        return Outcome(True, code="not_found")

    def check(self, _site: Any) -> Health:
        return Health(Outcome(True), (Finding("api_port", False, "Port 8729 is closed.", "Open it."),))


@pytest.fixture(autouse=True)
def _routers(monkeypatch: pytest.MonkeyPatch) -> None:
    interface.kinds()
    monkeypatch.setitem(interface._adapters, "radius", Router())


def sent(browser: Any, path: str, **data: Any) -> Any:
    return browser.post(path, data={"csrf_token": csrf_of(browser, "/staff/sites")} | data)


def test_a_site_is_made_with_its_files_and_its_secret_is_on_no_page(product: Product) -> None:
    browser = product.browser_of("amina")
    answer = sent(browser, "/staff/sites/new", name="Lodge", kind="radius", address="nowhere", secret="typed-secret-1")
    assert answer.status_code == 422 and "Must be an IP address" in answer.text and "typed-secret-1" not in answer.text
    answer = sent(
        browser, "/staff/sites/new", name='Rose "Bar"', kind="radius", address="10.90.0.7", secret="typed-secret-1",
        login_hosts="wifi.mlima.test", coa_port="3799", api_port="8729",
    )  # fmt: skip
    assert answer.status_code == 303
    page = browser.get(answer.headers["Location"])
    assert "routeros.rsc" in page.text and "typed-secret-1" not in page.text and "Never reported" in page.text
    script = browser.get(f"{answer.headers['Location']}/files/routeros.rsc")
    assert script.mimetype == "text/plain" and 'secret="typed-secret-1"' in script.text
    assert "attachment" in script.headers["Content-Disposition"]
    answer = sent(browser, answer.headers["Location"], name="Rose", kind="radius", address="10.90.0.7", login_hosts="")
    assert answer.status_code == 303
    with product.inside():
        site = db.session.query(Site).one()
        assert (site.name, site.secret, site.login_hosts) == ("Rose", "typed-secret-1", "")


def test_the_doctor_tells_what_is_wrong_and_what_to_do(product: Product) -> None:
    browser, uid = product.browser_of("amina"), site_of(product)
    token = csrf_of(browser, "/staff/sites")
    told = browser.post(f"/staff/sites/{uid}/check", data={"csrf_token": token}, headers={"HX-Request": "true"})
    assert "Port 8729 is closed." in told.text and "Open it." in told.text and "<html" not in told.text
    assert sent(browser, f"/staff/sites/{uid}/check").status_code == 303, "without JavaScript it is said on the page"
    assert "Port 8729 is closed." in browser.get(f"/staff/sites/{uid}").text


def test_who_is_online_is_listed_live_searched_and_ended(product: Product) -> None:
    site, grant_id = site_of(product), pass_of(product)
    first = stay_of(product, site, grant_id=grant_id)
    stay_of(product, site, username="OTHER", mac="AA:BB:CC:DD:EE:02")
    stay_of(product, site_of(product, "bahari", address="10.90.0.8"), username="STRANGER")
    browser = product.browser_of("brian")
    page = browser.get("/staff/sessions")
    assert "SKL1ABCD23" in page.text and "OTHER" in page.text and "STRANGER" not in page.text and "No pass" in page.text
    for words in ("aa-bb-cc-dd-ee-01", "skl1abcd23"):
        found = browser.get("/staff/sessions", query_string={"q": words}).text
        assert "SKL1ABCD23" in found and "OTHER" not in found, words
    poll = "/staff/sessions" + page.text.split('hx-get="/staff/sessions')[1].split('"')[0].replace("&amp;", "&")
    assert browser.get(poll, headers={"HX-Request": "true"}).status_code == 204
    answer = browser.post(
        f"/staff/sessions/{first}/disconnect", data={"csrf_token": csrf_of(browser, "/staff/sessions")}
    )
    assert answer.status_code == 303
    page = browser.get("/staff/sessions")
    assert "The device is offline." in page.text and "SKL1ABCD23" not in page.text
    assert browser.get(poll, headers={"HX-Request": "true"}).status_code == 200, "somebody left"
    assert "Disconnected by staff" in browser.get("/staff/sessions?past=1").text


def test_a_rehearsal_is_paid_proved_and_cut(product: Product) -> None:
    browser, uid = product.browser_of("amina"), site_of(product)
    answer = sent(browser, f"/staff/sites/{uid}/rehearsal", mac="aabbccddee01")
    assert answer.status_code == 303
    address = answer.headers["Location"]
    token = address.rsplit("/", 1)[1]
    assert "Access opened" in browser.get(address).text
    product.callback(prompt_sent(product, token), receipt="SKL1ABCD23")
    product.work()
    page = browser.get(address)
    assert "SKL1ABCD23" in page.text and "Cut it off now" in page.text
    with product.inside():
        grant_id = db.session.execute(db.text("SELECT id FROM access_grants")).scalar_one()
    stay_of(product, uid, grant_id=grant_id)
    line = browser.get(address).text
    assert line.count("(done)") == 4, "paid, opened, router, online"
    assert sent(browser, f"{address}/cut").status_code == 303
    assert "Time over, being disconnected" in browser.get(address).text, "a stay that lasts is not offline"
    with product.inside(), transaction():
        db.session.query(AccessSession).update({"stopped_at": clock.now()})
    assert "Offline" in browser.get(address).text


def test_a_customers_purchase_is_no_rehearsal(product: Product) -> None:
    begun = product.client().post(
        "/api/portal/mpesa/initiate",
        json={
            "tenant": "mlima",
            "packageId": product.package(),
            "phone": "0712345678",
            "macAddress": "AA:BB:CC:DD:EE:07",
        },
    )
    token = begun.json["paymentId"]  # type: ignore[index]
    browser = product.browser_of("amina")
    assert browser.get(f"/staff/sites/rehearsals/{token}").status_code == 404
    sent(browser, f"/staff/sites/rehearsals/{token}/cut")
    assert "Access opened" in browser.get(f"/staff/attempts/{token}").text, "staff see the line of every purchase"


def test_usage_counts_money_sales_and_data_by_day_hour_package_and_site(either_product: Product) -> None:
    product = either_product
    begun = product.client().post(
        "/api/portal/mpesa/initiate",
        json={"tenant": "mlima", "packageId": product.package("1 day"), "phone": "0712345678"},
    )
    token = begun.json["paymentId"]  # type: ignore[index]
    product.callback(prompt_sent(product, token), receipt="SKL1ABCD23")
    product.work()
    with product.inside():
        grant_id = db.session.execute(db.text("SELECT id FROM access_grants")).scalar_one()
        price_kes = db.session.query(Package.price_cents).filter_by(name="1 day").first()[0] // 100  # type: ignore[index]
    site = site_of(product)
    stay_of(product, site, grant_id=grant_id, bytes_in=10**9, bytes_out=10**9)
    stay_of(product, site, started_at=clock.now() - timedelta(days=8), bytes_in=10**12)
    stay_of(product, site_of(product, "bahari", address="10.90.0.8"), bytes_in=10**12)
    browser = product.browser_of("amina")
    page = browser.get("/staff/usage").text
    assert f"KES {price_kes}" in page and "2 GB" in page and "Lodge" in page and "<svg" in page
    assert "style=" not in page, "the content security policy allows none"
    lines = browser.get("/staff/usage.csv").text.splitlines()
    today = clock.nairobi(clock.now()).date()
    assert f"Day,{today},{price_kes},1,1,2000000000" in [line.replace(".00", "") for line in lines]
    assert f"Package,1 day,{price_kes},1,0,0" in [line.replace(".00", "") for line in lines]
    assert f"Site,Lodge,{price_kes},1,1,2000000000" in [line.replace(".00", "") for line in lines]
    assert len([line for line in lines if line.startswith("Hour,")]) == 24
    assert len([line for line in lines if line.startswith("Day,")]) == 7


def test_a_phone_number_finds_the_stays_of_its_passes_however_long_ago(either_product: Product) -> None:
    product = either_product
    begun = product.client().post(
        "/api/portal/mpesa/initiate",
        json={"tenant": "mlima", "packageId": product.package("1 day"), "phone": "0712345678"},
    )
    product.callback(prompt_sent(product, begun.json["paymentId"]), receipt="SKL1ABCD23")  # type: ignore[index]
    product.work()
    site = site_of(product)
    with product.inside():
        grant_id = db.session.execute(db.text("SELECT id FROM access_grants")).scalar_one()
    long_ago = clock.now() - timedelta(days=400)
    stay_of(product, site, grant_id=grant_id, started_at=long_ago, stopped_at=long_ago, username="FIRST")
    stay_of(product, site, grant_id=grant_id, username="SECOND", mac="AA:BB:CC:DD:EE:09")
    stay_of(product, site, username="OTHER")
    browser = product.browser_of("brian")
    online = browser.get("/staff/sessions?q=0712 345 678").text
    assert "SECOND" in online and "FIRST" not in online and "OTHER" not in online
    everything = browser.get("/staff/sessions?q=%2B254712345678&past=1").text
    assert "SECOND" in everything and "FIRST" in everything and "OTHER" not in everything
    assert "FIRST" in browser.get("/staff/sessions?q=skl1abcd23&past=1").text
    assert "SECOND" in browser.get("/staff/sessions?q=aabbccddee09").text, "as the router says"
