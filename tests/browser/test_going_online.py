"""A phone goes online: it joins the Wi-Fi, buys in the portal, is let through by its router, and is held back again.

The router is the simulator's: it asks a real FreeRADIUS, or is told by the product through RouterOS' API. The phone is a
real browser, and the customer its user.
"""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from playwright.sync_api import Page, expect
from sqlalchemy import select

from portal.hotspot.models import AccessGrant, AccessSession
from portal.hotspot.routers import reconcile
from portal.hotspot.sites import settings
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.simulator.router.fleet import Router
from portal.simulator.router.machine import RouterSpec
from tests.support.application import Serving
from tests.support.clock import later, wait_until
from tests.support.journeys import faults_of
from tests.support.product import Product
from tests.support.services.freeradius import start_freeradius

NAS, SECRET = "127.0.0.9", "secret-of-the-tower"
PAUSE_S, SLOW_MS = 0.1, 30_000
WAY_IN_MS = 20_000  # the code is left on the screen for some seconds before the router takes the page away


class Place:
    """A router of mlima's, and who looks at it from all sides."""

    def __init__(self, product: Product, simulator: Serving, router: Router) -> None:
        self.product, self.simulator, self.router = product, simulator, router
        self.store = simulator.app.extensions["simulator"].store

    def join(self, page: Page) -> str:
        """The phone's own address; its number is on the page."""
        page.goto(f"{self.simulator.url}/wifi/")
        card = page.locator(".network", has_text=self.router.ssid)
        card.get_by_role("button", name="Join with a new phone").click()
        expect(page.get_by_text("Connected, without internet.")).to_be_visible()
        return page.url

    def sessions(self) -> list[dict[str, Any]]:
        """As the router tells of them."""
        hotspot = self.router.hotspot
        return [
            hotspot.printed_session(one) | {"rate": one["rate"], "secondsLeft": hotspot.seconds_left(one)}
            for one in hotspot.sessions()
        ]

    def accounted(self, username: str) -> list[AccessSession]:
        """What the product knows of the stays under a name, oldest first."""
        with self.product.app.app_context():
            rows = select(AccessSession).where(AccessSession.username == username).order_by(AccessSession.id)
            return list(db.session.scalars(rows))

    def change_grant(self, username: str, **values: Any) -> None:
        with self.product.app.app_context(), transaction():
            grant = db.session.scalars(select(AccessGrant).where(AccessGrant.username == username)).one()
            for name, value in values.items():
                setattr(grant, name, value)

    def put_files_in(self) -> None:
        """The login page and api.json that the site's page offers, in the place of the router's own."""
        admin = self.product.api("amina")
        (site,) = admin.get("/api/sites").json["items"]
        for name in ("login.html", "api.json"):
            text = admin.get(f"/api/sites/{site['id']}/files/{name}").text
            self.router.machine.add("/file", {"name": f"hotspot/{name}", "contents": text})

    def use(self, mac: str, **bytes_of: int) -> None:
        self.router.hotspot.use(mac, **bytes_of)


@pytest.fixture
def at_work(served: Product) -> Iterator[Product]:
    """The product at work, what tells routers included."""
    is_over, failures = threading.Event(), []

    def work() -> None:
        while not is_over.wait(PAUSE_S):
            try:
                served.work(rounds=1)
                for job in (reconcile.spread, reconcile.bring_about):
                    with served.app.app_context():
                        job()
                        db.session.remove()
            except Exception as error:
                failures.append(error)
                return

    worker = threading.Thread(target=work)
    worker.start()
    yield served
    is_over.set()
    worker.join()
    assert not failures, failures


Open = Callable[..., Place]


@pytest.fixture
def place(at_work: Product, simulator: Serving) -> Iterator[Open]:
    """`place(kind)`: a site of mlima's with its router; `radius` with a FreeRADIUS over the product's database."""
    fleet = simulator.app.extensions["simulator"].fleet
    stops: list[Callable[[], None]] = []

    def open_place(kind: str, **spec: Any) -> Place:
        given: dict[str, Any] = {
            "name": f"tower-{kind}",
            "ssid": f"Mlima {kind}",
            "portal_url": f"{at_work.url}/hotspot/mlima/",
        }
        if kind == "radius":
            server = start_freeradius(at_work.app.config["PORTAL"].database_url)
            stops.append(server.stop)
            given |= {"radius_address": "127.0.0.1", "radius_port": server.port, "radius_secret": SECRET}
            given |= {"source_address": NAS}
        router = fleet.open([RouterSpec(**given | spec)])[0]
        stops.append(lambda: fleet.shut(router.spec.name))
        view = router.public_view()
        site = {"name": f"Tower {kind}", "kind": kind, "identity": view["identity"], "loginHosts": ["127.0.0.1"]}
        if kind == "radius":
            site |= {"address": NAS, "secret": SECRET, "coaPort": view["coaPort"]}
        else:
            site |= {"address": "127.0.0.1", "apiPort": view["apiPort"], "apiTls": False}
            site |= {"apiUsername": view["apiUsername"], "apiPassword": view["apiPassword"]}
        with at_work.app.app_context(), transaction():
            settings.create(at_work.tenant_id("mlima"), site, actor="test")
        return Place(at_work, simulator, router)

    yield open_place
    for stop in reversed(stops):
        stop()
    store = simulator.app.extensions["simulator"].store
    for table in ("router_items", "router_devices", "router_sessions", "router_faults"):
        store.run(f"DELETE FROM {table}")  # noqa: S608 - names are ours
    store.run("DELETE FROM settings WHERE name LIKE 'router:%'")


def open_address(phone: Page, url: str) -> None:
    """Type it into the phone's address line."""
    phone.fill("#url", url)
    phone.get_by_role("button", name="Open", exact=True).click()


def buy(phone: Page, number: str, *, package: str = "1 hour") -> None:
    """In the portal that the router led to."""
    phone.wait_for_url("**/hotspot/mlima/?**", timeout=SLOW_MS)
    phone.locator(".pick", has_text=package).click()
    phone.fill("#phone", number)
    phone.locator("main form button.primary").click()
    phone.wait_for_url("**/wait/**", timeout=SLOW_MS)


def number_of(phone: Page) -> str:
    return phone.locator(".number-is strong").inner_text()


def answer_prompt(screen: Page, home: str) -> None:
    """M-Pesa asks on the phone itself."""
    screen.goto(home)
    pin = screen.locator("#pin")
    expect(pin).to_be_visible(timeout=SLOW_MS)
    pin.fill("1234")
    pin.press("Enter")


def time_left_s(place: Place) -> float:
    (session,) = place.sessions()
    return float(session["secondsLeft"])


@pytest.mark.parametrize("login_by", ["http-pap", "http-chap"])
def test_a_phone_joins_buys_and_is_online_by_radius_until_its_time_is_over(place, page_at, no_problems, login_by):
    tower = place("radius", login_by=f"{login_by},mac-cookie")
    phone, screen = page_at(360), page_at(360)
    home = tower.join(phone)
    number = number_of(phone)
    open_address(phone, "example.com/news")
    buy(phone, number)
    answer_prompt(screen, home)

    # the page that was wanted, through the router's own login form
    expect(phone.get_by_text("The internet is open.")).to_be_visible(timeout=WAY_IN_MS)
    expect(phone.get_by_role("heading", name="example.com")).to_be_visible()
    expect(phone.locator(".figures")).to_contain_text(re.compile(r"5 Mbps\s*down\s*2 Mbps\s*up"))
    expect(phone.locator(".figures")).to_contain_text("59 min")
    (session,) = tower.sessions()
    username, mac = session["user"], session["mac-address"]
    assert (session["rate"], session["login-by"], session["radius"]) == ("2M/5M", login_by, "true")
    assert 3_500 < session["secondsLeft"] <= 3_600

    # accounting: begun, told in between by the router's clock, with more than four gigabytes
    wait_until(lambda: tower.accounted(username))
    (stay,) = tower.accounted(username)
    assert (stay.mac, stay.ip, stay.stopped_at) == (mac, "10.5.50.10", None)
    tower.use(mac, bytes_in=1_000, bytes_out=5 * 1024**3)
    tower.store.move_clock(301)
    wait_until(lambda: tower.accounted(username)[0].bytes_out > 5 * 1024**3)

    # its time is over by the router's clock
    tower.store.move_clock(3_600)
    wait_until(lambda: tower.accounted(username)[0].stopped_at is not None)
    assert tower.sessions() == []
    tower.change_grant(username, expires_at=clock.now())
    phone.goto(home)
    open_address(phone, "example.com")
    phone.wait_for_url("**/hotspot/mlima/?**", timeout=SLOW_MS)
    assert tower.sessions() == []


def test_the_server_signs_in_a_phone_whose_portal_was_closed_before_the_money_came(place, page_at, no_problems):
    tower = place("routeros")
    tower.put_files_in()
    phone, screen = page_at(360), page_at(360)
    home = tower.join(phone)
    assert faults_of(phone, "joined") == []
    assert requests.get(f"{home}api.json", timeout=10).json()["captive"] is True
    number = number_of(phone)
    open_address(phone, "http://example.com/")
    buy(phone, number, package="1 day")
    phone.close()
    answer_prompt(screen, home)

    expect(screen.get_by_text("Time left", exact=True)).to_be_visible(timeout=SLOW_MS)
    (session,) = tower.sessions()
    assert (session["login-by"], session["rate"], session["radius"]) == ("admin", "2M/5M", "false")
    assert 86_000 < session["secondsLeft"] <= 86_400
    screen.get_by_role("link", name="Open http://example.com/").click()
    expect(screen.get_by_text("The internet is open.")).to_be_visible()
    assert faults_of(screen, "online") == []
    said = requests.get(f"{home}api.json", timeout=10).json()
    assert (said["captive"], said["seconds-remaining"] > 86_000) == (False, True)
    assert said["user-portal-url"].startswith(f"{tower.product.url}/hotspot/mlima/")


def test_without_javascript_and_without_cookies_a_phone_goes_online(place, page_at, no_problems):
    tower = place("routeros")
    phone = page_at(360, javascript=False)
    home = tower.join(phone)
    number = number_of(phone).replace(" ", "")
    open_address(phone, "http://example.com/")
    phone.wait_for_url("**/hotspot/mlima/?**", timeout=SLOW_MS)
    phone.context.clear_cookies()
    buy(phone, number[:-2] + "01")  # a phone that pays by itself after a second
    phone.context.clear_cookies()
    wait_until(tower.sessions)
    phone.context.clear_cookies()
    phone.goto(home)
    open_address(phone, "http://example.com/")
    expect(phone.get_by_text("The internet is open.")).to_be_visible()


def test_staff_end_a_session_and_the_phone_is_offline(place, page_at, no_problems):
    tower = place("radius", login_by="http-pap")
    phone, screen = page_at(360), page_at(360)
    home = tower.join(phone)
    number = number_of(phone)
    open_address(phone, "http://example.com/")
    buy(phone, number)
    answer_prompt(screen, home)
    expect(phone.get_by_text("The internet is open.")).to_be_visible(timeout=WAY_IN_MS)
    username = tower.sessions()[0]["user"]
    wait_until(lambda: tower.accounted(username))

    admin = tower.product.api("amina")
    (online,) = admin.get("/api/hotspot/sessions?online=true").json["items"]
    assert online["username"] == username
    answer = admin.post(f"/api/hotspot/sessions/{online['id']}/disconnect")
    assert answer.status_code in (200, 202), answer.text
    wait_until(lambda: not tower.sessions())
    wait_until(lambda: tower.accounted(username)[0].stopped_at is not None)
    assert admin.get("/api/hotspot/sessions?online=true").json["items"] == []


def test_more_time_bought_while_online_is_told_to_the_router(place, page_at, no_problems):
    tower = place("radius", login_by="http-pap")
    phone, screen = page_at(360), page_at(360)
    home = tower.join(phone)
    number = number_of(phone)
    open_address(phone, "http://example.com/")
    buy(phone, number)
    answer_prompt(screen, home)
    expect(phone.get_by_text("The internet is open.")).to_be_visible(timeout=WAY_IN_MS)
    username = tower.sessions()[0]["user"]
    wait_until(lambda: tower.accounted(username))
    assert time_left_s(tower) <= 3_600

    device = tower.router.hotspot.devices()[0]
    query = {"mac": device["mac"], "ip": device["ip"], "identity": tower.router.identity}
    later(130)  # M-Pesa takes one equal prompt to a phone in two minutes
    phone.goto(f"{tower.product.url}/hotspot/mlima/?{urlencode(query)}")
    buy(phone, number)
    answer_prompt(screen, home)
    wait_until(lambda: bool(tower.sessions()) and time_left_s(tower) > 6_800)
    assert tower.sessions()[0]["user"] == username
    assert time_left_s(tower) <= 7_200
