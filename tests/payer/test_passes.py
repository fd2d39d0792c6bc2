"""A customer's own pass: what is left, the way back with a new device, the code by SMS, TVs, signing out."""

import base64
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import func, select, update

from portal.hotspot.access import chap_response
from portal.hotspot.models import AccessGrant, AccessSession, DeviceSignIn, Package, PackageSite, Site
from portal.hotspot.passes import devices, lost_codes, standing
from portal.hotspot.purchases import safe_login_url
from portal.hotspot.routers.models import RouterState
from portal.hotspot.vouchers import batches
from portal.hotspot.vouchers.models import Voucher
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import CoolDown
from portal.outbox.deliver import deliver_due
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Payment
from portal.web import assets
from tests.support.clock import later
from tests.support.daraja import receipt
from tests.support.guests import LOCAL, MAC, PHONE, ROUTER, buy, password_of, pay, portal, ring
from tests.support.product import Product

NEW_MAC, THIRD_MAC = "AA:BB:CC:00:11:33", "AA:BB:CC:00:11:44"
FIRST_LOAD_LIMIT_BYTES = 30 * 1024


def give(product: Product, **terms: Any) -> None:
    """The package "1 day" has these terms."""
    with product.app.app_context(), transaction():
        db.session.execute(update(Package).where(Package.name == "1 day").values(**terms))


def site(product: Product, slug: str = "mlima", **columns: Any) -> tuple[int, str]:
    """(id, public id) of a site."""
    tenant_id = product.tenant_id(slug)
    with product.app.app_context(), transaction():
        made = Site(tenant_id=tenant_id, **({"name": "yard", "kind": "voucher"} | columns))
        db.session.add(made)
        db.session.flush()
        return made.id, made.uid


def stay(product: Product, *, mac: str = MAC, octets: int = 0, online_s: int = 0) -> int:
    """A stay of the only pass that goes on now, at a site of its own; its id."""
    with product.inside():
        site_id = db.session.scalar(select(Site.id))
    site_id = site_id or site(product)[0]
    with product.app.app_context(), transaction():
        grant = db.session.query(AccessGrant).order_by(AccessGrant.id).first()
        assert grant is not None
        made = AccessSession(
            tenant_id=grant.tenant_id, accounting_id=f"{mac} {octets}", site_id=site_id, grant_id=grant.leader_id,
            username=grant.username, mac=mac, started_at=clock.now(), updated_at=clock.now(), bytes_out=octets,
            online_s=online_s,
        )  # fmt: skip
        db.session.add(made)
        db.session.flush()
        return made.id


def pass_of(page: str) -> str:
    """The way to the pass's page that a page offers."""
    return re.findall(r'href="(/hotspot/mlima/pass/[^"]+)"', page)[0].replace("&amp;", "&")


def sent(product: Product) -> list[dict[str, Any]]:
    """The messages that would reach somebody, newest first."""
    with product.inside():
        rows = db.session.query(OutboxItem).filter_by(kind="sms").order_by(OutboxItem.id.desc())
        return [payload_of(one) for one in rows if one.expires_at is None or one.expires_at > clock.now()]


def ask_code(product: Product, number: str, browser: Any = None, **router: str) -> Any:
    return (browser or product.client()).post("/hotspot/mlima/lost", data={"phone": number} | ROUTER | router)


def code_in(product: Product) -> str:
    return re.findall(r"type (\d{6}) on", sent(product)[0]["text"])[0]


def macs(product: Product) -> list[str]:
    with product.inside():
        return [one.mac for one in devices.of_pass(db.session.query(AccessGrant).one())]


# --- what is left, at the portal's own address


def test_the_portals_own_address_shows_time_and_data_left_to_whose_pass_it_is(product: Product) -> None:
    give(product, data_cap_bytes=1_000_000_000)
    browser = product.client()
    pay(product, buy(product, browser))
    stay(product, octets=250_123_456)
    own = portal(product, browser)
    assert "749.88 MB of 1 GB data left" in own and "23 hours" in own or "1 day" in own
    assert "My devices" in own and "Add more time" in own
    stranger = portal(product)
    assert "Your internet is paid until" in stranger, "by its MAC address alone: that it runs"
    assert "data left" not in stranger and "/pass/" not in stranger and "My devices" not in stranger


def test_whose_phone_has_a_new_mac_uses_the_pass_there_from_the_first_screen(product: Product) -> None:
    browser = product.client()
    pay(product, buy(product, browser))
    assert "Use it on this device" not in portal(product, browser), "the device that paid is there already"
    there = portal(product, browser, mac=NEW_MAC)
    assert "Use it on this device" in there and "Use it on this device" not in portal(product, mac=NEW_MAC)
    (action,) = re.findall(r'<form method="post" action="(/hotspot/mlima/pass/[^"]+)">', there)
    moved = browser.post(action, data=ROUTER | {"mac": NEW_MAC, "do": "here"})
    assert moved.status_code == 303 and macs(product) == [NEW_MAC]
    again = portal(product, browser, mac=NEW_MAC)
    assert "Use it on this device" not in again and "Connect this device" in again
    way_in = browser.post("/hotspot/mlima/connect", data=ROUTER | {"mac": NEW_MAC}).text
    assert "<h1>Connect this device</h1>" in way_in


def test_a_router_that_is_told_signs_the_device_in_itself_and_knows_no_name_for_once(product: Product) -> None:
    site_id, uid = site(product, kind="routeros", address="10.90.0.7", api_username="api")
    browser = product.client()
    pay(product, buy(product, browser))
    page = product.client().post("/hotspot/mlima/connect", data=ROUTER | {"site": uid}).text
    assert "Connecting…" in page and 'action="http://10.5.50.1' not in page
    with product.inside():
        (asked,) = db.session.query(OutboxItem).filter_by(kind="sign_in")
        grant = db.session.query(AccessGrant).one()
        assert payload_of(asked) == {"grant": grant.id, "site": site_id, "mac": MAC}
        assert db.session.query(DeviceSignIn).count() == 0


def test_a_pass_adds_up_over_its_grants_and_stays(product: Product) -> None:
    give(product, data_cap_bytes=1_000, kind="mixed")
    browser = product.client()
    pay(product, buy(product, browser))
    pay(product, buy(product, browser, phone=LOCAL), 2)
    stay(product, octets=300)
    stay(product, mac=NEW_MAC, octets=400)
    with product.inside():
        leader = db.session.query(AccessGrant).order_by(AccessGrant.id).first()
        assert leader is not None
        left = standing.left_of(leader.id)
    assert left is not None and (left.data_bytes, left.used_bytes, left.is_online) == (1_300, 700, True)
    assert 47 * 3_600 < left.seconds <= 48 * 3_600


def test_the_page_of_a_pass_is_for_who_was_given_its_address(product: Product) -> None:
    give(product, lifetime_s=7 * 86_400)
    browser = product.client()
    pay(product, buy(product, browser))
    address = pass_of(portal(product, browser))
    page = product.client().get(address)
    assert page.status_code == 200 and receipt(1) in page.text, "it needs no cookie"
    token = urlsplit(address).path.rsplit("/", 1)[1]
    for made_up in (token[:-1] + ("A" if token[-1] != "A" else "B"), "1", "x" * 10_000, token.split(".")[0]):
        assert product.client().get(f"/hotspot/mlima/pass/{made_up}").status_code == 303, made_up[:20]
    assert product.client().get(f"/hotspot/bahari/pass/{token}").status_code == 303, "another business"
    later(86_300)
    assert product.client().get(address).status_code == 200
    later(101)
    assert product.client().get(address).status_code == 303, "an address that lies about is good for a day"


def test_before_paying_the_page_says_from_when_until_when(product: Product) -> None:
    browser = product.client()
    pay(product, buy(product, browser, package="1 hour"))
    page = portal(product, browser)
    assert len(re.findall(r"from [\d/ :]+ until [\d/ :]+", page)) == 2, "each package"
    assert "from " not in "".join(re.findall(r"<small>.*?</small>", portal(product))), "not to a stranger"


# --- a new device, a lost code


def test_a_new_mac_rejoins_by_number_and_sms_and_the_old_one_is_dropped(product: Product) -> None:
    pay(product, buy(product))
    old = stay(product)
    page = ask_code(product, LOCAL, mac=NEW_MAC).text
    assert "If this number has internet here" in page and receipt(1) not in page
    code = code_in(product)
    assert code not in page, "it is on the phone alone"
    answer = product.client().post(
        "/hotspot/mlima/rejoin", data=ROUTER | {"mac": NEW_MAC, "phone": LOCAL, "code": code}
    )
    assert answer.status_code == 303 and "/pass/" in answer.headers["Location"]
    assert macs(product) == [NEW_MAC]
    with product.inside():
        grant = db.session.query(AccessGrant).one()
        assert grant.mac == NEW_MAC and grant.provision_at is not None
        kick = db.session.query(OutboxItem).filter_by(kind="kick").one()
        assert payload_of(kick) == {"session": old}
    shown = product.client().get(answer.headers["Location"]).text
    assert 'action="http://10.5.50.1/login"' in shown and "Connect now" in shown
    assert product.client().post("/hotspot/mlima/connect", data=ROUTER).status_code == 303, "the old one has no right"
    again = product.client().post("/hotspot/mlima/rejoin", data=ROUTER | {"phone": LOCAL, "code": code})
    assert again.status_code == 422, "a code is used once"


def test_a_number_without_a_pass_is_answered_alike_and_gets_nothing(product: Product) -> None:
    pay(product, buy(product))
    known, unknown = ask_code(product, LOCAL), ask_code(product, "0723 000 000")
    assert known.status_code == unknown.status_code == 200
    assert known.text.replace("0723 456 789", "#") == unknown.text.replace("0723 000 000", "#")
    assert [one["to"] for one in sent(product) if "type " in one["text"]] == [PHONE]
    with product.inside():
        written = db.session.query(OutboxItem).filter(OutboxItem.key.startswith("sms/pass/")).count()
    assert written == 2, "the same rows, so that it takes the same time"


def test_wrong_figures_are_five_whoever_asks_from_wherever(product: Product) -> None:
    pay(product, buy(product))
    ask_code(product, LOCAL)
    code = code_in(product)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    said = set()
    for last in range(5):
        form = {"phone": LOCAL, "code": wrong, "mac": f"AA:BB:CC:00:12:{last:02X}"}
        answer = product.client().post("/hotspot/mlima/rejoin", data=form)
        said.add((answer.status_code, "These figures are not right" in answer.text))
    assert said == {(422, True)}
    with product.app.app_context(), transaction():
        tenant = db.session.get_one(AccessGrant, 1).tenant_id
        from portal.tenants.models import Tenant

        assert lost_codes.passes_by(db.session.get_one(Tenant, tenant), PHONE, code) == [], (
            "the right one came too late"
        )


def test_a_phone_gets_five_codes_an_hour(product: Product) -> None:
    pay(product, buy(product))
    with product.inside():
        from portal.tenants.models import Tenant

        tenant = db.session.get_one(Tenant, product.tenant_id())
    for _n in range(7):
        with product.app.app_context(), transaction():
            lost_codes.send(db.session.merge(tenant), PHONE, locale="en")
    assert len([one for one in sent(product) if "type " in one["text"]]) == 5
    later(3_601)
    with product.app.app_context(), transaction():
        lost_codes.send(db.session.merge(tenant), PHONE, locale="en")
    assert "type " in sent(product)[0]["text"]


def test_the_sms_with_the_way_back_is_one_message_in_both_languages(product: Product) -> None:
    pay(product, buy(product))
    for language in ("en", "sw"):
        product.client().post(f"/hotspot/mlima/lost?lang={language}", data={"phone": LOCAL})
        text = sent(product)[0]["text"]
        assert len(text) <= 160 and receipt(1) in text and password_shown(product) in text, text


def password_shown(product: Product) -> str:
    with product.inside():
        return str(db.session.query(AccessGrant.password).scalar())


def test_a_pass_moves_three_times_a_day(either_product: Product) -> None:
    product = either_product
    pay(product, buy(product))
    for last in range(3):
        with product.app.app_context(), transaction():
            devices.take_place(db.session.query(AccessGrant).one(), f"AA:BB:CC:00:13:0{last}")
    with product.app.app_context(), pytest.raises(CoolDown), transaction():
        devices.take_place(db.session.query(AccessGrant).one(), NEW_MAC)
    assert macs(product) == ["AA:BB:CC:00:13:02"]
    later(86_000)
    with product.app.app_context(), transaction():
        grant = db.session.query(AccessGrant).one()
        grant.expires_at += timedelta(days=2)
    later(500)
    with product.app.app_context(), transaction():
        devices.take_place(db.session.query(AccessGrant).one(), NEW_MAC)
    assert macs(product) == [NEW_MAC]


def test_removing_a_device_first_is_no_way_to_move_more_often(product: Product) -> None:
    """One pass went round a whole house, each guest removed before the next came."""
    browser = product.client()
    pay(product, buy(product, browser))
    address, last, answers = pass_of(portal(product, browser)).split("?")[0], MAC, []
    for number in range(6):
        browser.post(address, data={"do": "remove", "of": last})
        last = f"AA:BB:CC:00:14:0{number}"
        answers.append(browser.post(address, data={"do": "here", "mac": last}).status_code)
    assert answers == [303] * 4 + [429] * 2
    assert browser.post(address, data={"do": "add", "address": NEW_MAC}).status_code == 429


def test_the_code_on_another_device_takes_its_place_too(product: Product) -> None:
    pay(product, token := buy(product))
    form = {"code": receipt(1), "password": password_of(product, token), "mac": NEW_MAC}
    assert product.client().post("/hotspot/mlima/code", data=ROUTER | form).status_code == 200
    assert macs(product) == [NEW_MAC]
    away = {"code": receipt(1), "password": form["password"]}
    assert product.client().post("/hotspot/mlima/code", data=away).status_code == 200, "from a computer at home"
    assert macs(product) == [NEW_MAC], "which has no MAC address here and takes nobody's place"


def test_a_copied_mac_gains_neither_place_nor_page(product: Product) -> None:
    pay(product, buy(product))
    thief = product.client()
    page = portal(product, thief)
    assert "/pass/" not in page and "/wait/" not in page
    connected = thief.post("/hotspot/mlima/connect", data=ROUTER)
    with product.inside():
        made = db.session.query(DeviceSignIn).one()
        assert made.mac == MAC and made.username in connected.text, "for that very device, once"
    assert receipt(1) not in connected.text and "/pass/" not in connected.text


def voucher(product: Product, **columns: Any) -> str:
    """A new voucher's code, of the package of one day."""
    with product.app.app_context(), transaction():
        package = db.session.query(Package).filter_by(tenant_id=product.tenant_id(), name="1 day").one()
        batch = batches.make(package, 1, actor="test")
        made = db.session.query(Voucher).filter_by(batch_id=batch.id).one()
        for name, value in columns.items():
            setattr(made, name, value)
        return made.code


def test_a_voucher_is_one_code_in_one_field_however_it_is_typed(product: Product) -> None:
    code = voucher(product)
    typed = f" {code[:3].lower()}-{code[3:6]} {code[6:]} "
    browser = product.client()
    shown = browser.post("/hotspot/mlima/code", data=ROUTER | {"code": typed})
    assert shown.status_code == 200 and 'action="http://10.5.50.1/login"' in shown.text and "1 day left" in shown.text
    assert macs(product) == [MAC]
    assert "My devices" in portal(product, browser), "its browser is known again"
    assert product.client().post("/hotspot/bahari/code", data={"code": code}).status_code == 422
    with product.inside():
        first = db.session.query(AccessGrant.expires_at).scalar()
    later(60)
    again = product.client().post("/hotspot/mlima/code", data=ROUTER | {"mac": NEW_MAC, "code": code})
    assert again.status_code == 200 and macs(product) == [NEW_MAC], "on a new phone it moves"
    with product.inside():
        assert db.session.query(AccessGrant.expires_at).scalar() == first, "and begins no second time"


def test_a_voucher_that_is_over_says_why_and_stays_in_the_field(product: Product) -> None:
    old = product.client().post("/hotspot/mlima/code", data={"code": voucher(product, expires_at=clock.now())})
    assert old.status_code == 422 and "This code was not used in time." in old.text
    code = voucher(product)
    product.client().post("/hotspot/mlima/code", data=ROUTER | {"code": code})
    later(86_401)
    over = product.client().post("/hotspot/mlima/code", data=ROUTER | {"code": code})
    assert over.status_code == 422 and "The time of this code is over." in over.text and code in over.text


def test_a_vouchers_qr_code_opens_its_door_filled_in(product: Product) -> None:
    opened = product.client().get("/hotspot/mlima/", query_string=ROUTER | {"code": "ABC234XYZ"}, follow_redirects=True)
    assert 'value="ABC234XYZ"' in opened.text and f'name="mac" value="{MAC}"' in opened.text


# --- at which site


def limit_to_market(product: Product, name: str = "1 day") -> str:
    """The package is for the site "market" alone; there is a "yard" too. Its public id."""
    market_id, _uid = site(product, name="market")
    site(product)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        package = db.session.query(Package).filter_by(tenant_id=tenant_id, name=name).one()
        db.session.add(PackageSite(tenant_id=tenant_id, package_id=package.id, site_id=market_id))
        return package.uid


AT_YARD, AT_MARKET = {"identity": "yard"}, {"identity": "market"}


def test_a_vouchers_time_begins_at_a_site_where_its_package_is_valid_and_nowhere_else(product: Product) -> None:
    limit_to_market(product)
    code = voucher(product)
    refused = product.client().post("/hotspot/mlima/code", data=ROUTER | AT_YARD | {"code": code})
    assert refused.status_code == 422 and "This package is not valid at this place." in refused.text
    with product.inside():
        assert db.session.query(Voucher.state).filter_by(code=code).scalar() == "made"
        assert db.session.query(AccessGrant).count() == 0
    assert product.client().post("/hotspot/mlima/code", data=ROUTER | AT_MARKET | {"code": code}).status_code == 200


def test_where_a_package_is_not_valid_it_is_neither_shown_nor_sold(product: Product) -> None:
    package_uid = limit_to_market(product)
    for at, is_there in ((AT_YARD, False), (AT_MARKET, True), ({"identity": "nobody knows"}, True)):
        for page in ("", "paid"):
            shown = product.client().get(f"/hotspot/mlima/{page}", query_string=ROUTER | at)
            assert (package_uid in shown.text) is is_there, (page, at)
    for ways in ({"phone": LOCAL}, {"by_hand": "1"}):
        asked = product.client().post("/hotspot/mlima/", data=ROUTER | AT_YARD | {"package": package_uid} | ways)
        assert asked.status_code == 422 and "This package is not valid at this place." in asked.text
    with product.inside():
        assert db.session.query(Payment).count() == 0
    asked = product.client().post("/hotspot/mlima/", data=ROUTER | AT_MARKET | {"package": package_uid, "phone": LOCAL})
    assert asked.status_code == 303


def test_a_hidden_package_is_shown_to_who_was_given_its_address_alone(product: Product) -> None:
    package_uid = product.package("1 day")
    give(product, is_hidden=True)
    assert package_uid not in portal(product)
    shown = product.client().get("/hotspot/mlima/", query_string=ROUTER | {"package": package_uid}).text
    assert f'value="{package_uid}"' in shown and "1 hour" in shown


# --- a free trial


def start_trial(product: Product, number: str, **router: str) -> Any:
    browser = product.client()
    assert browser.post("/hotspot/mlima/trial", data=ROUTER | router | {"phone": number}).status_code == 200
    form = ROUTER | router | {"phone": number, "code": code_in(product)}
    return browser.post("/hotspot/mlima/trial/start", data=form)


def offer_trial(product: Product) -> None:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        db.session.add(
            Package(tenant_id=tenant_id, name="Taste", price_cents=0, duration_s=1_800, lifetime_s=1_800, is_trial=True)
        )


def test_a_free_trial_is_offered_at_its_own_sites_alone(product: Product) -> None:
    offer_trial(product)
    limit_to_market(product, "Taste")
    for at, is_there in ((AT_YARD, False), (AT_MARKET, True)):
        page = product.client().get("/hotspot/mlima/", query_string=ROUTER | at).text
        assert ("Try it free" in page) is is_there, at
    product.client().post("/hotspot/mlima/trial", data=ROUTER | AT_MARKET | {"phone": LOCAL})
    form = ROUTER | AT_YARD | {"phone": LOCAL, "code": code_in(product)}
    refused = product.client().post("/hotspot/mlima/trial/start", data=form)
    assert refused.status_code == 404 and "There is no free trial here at the moment." in refused.text
    with product.inside():
        assert db.session.query(AccessGrant).count() == 0


def test_a_free_trial_is_for_a_phone_that_is_there_once_whatever_its_mac(product: Product) -> None:
    assert "Try it free" not in portal(product)
    offer_trial(product)
    page = portal(product)
    assert "Try it free" in page and "Taste" not in page, "it is not for sale"
    begun = start_trial(product, LOCAL)
    assert begun.status_code == 303 and "/pass/" in begun.headers["Location"]
    assert "30 minutes" in product.client().get(begun.headers["Location"]).text and macs(product) == [MAC]
    again = start_trial(product, LOCAL, mac=NEW_MAC)
    assert again.status_code == 303 and macs(product) == [NEW_MAC], "while it runs it comes along"
    later(1_801)
    over = start_trial(product, LOCAL, mac=THIRD_MAC)
    assert over.status_code == 422 and "This number has had its free trial." in over.text
    assert start_trial(product, "0723 000 111", mac=MAC).status_code == 303, "another phone has its own"


def test_a_trial_needs_the_figures_of_its_own_phone(product: Product) -> None:
    offer_trial(product)
    product.client().post("/hotspot/mlima/trial", data=ROUTER | {"phone": LOCAL})
    form = ROUTER | {"phone": "0723 000 111", "code": code_in(product)}
    assert product.client().post("/hotspot/mlima/trial/start", data=form).status_code == 422
    lost = product.client().post("/hotspot/mlima/rejoin", data=form | {"phone": LOCAL})
    assert lost.status_code == 422, "nor do they open another door"
    with product.inside():
        assert db.session.query(AccessGrant).count() == 0


# --- devices without a browser


def test_a_tv_takes_a_place_and_gives_it_back(product: Product) -> None:
    give(product, devices=2)
    browser = product.client()
    pay(product, buy(product, browser))
    address = pass_of(portal(product, browser))
    add = {"do": "add", "name": "TV \u202egnoL\n" + "x" * 20, "address": "aa-bb-cc-00-11-33"} | ROUTER
    assert browser.post(address, data=add).status_code == 303
    page = browser.get(address).text
    assert NEW_MAC in page and "2 / 2" in page and "\u202e" not in page
    full = browser.post(address, data=ROUTER | {"do": "add", "name": "Console", "address": THIRD_MAC})
    assert full.status_code == 409 and "Your package is for 2 devices. Remove one first." in full.text
    assert browser.post(address, data={"do": "remove", "of": NEW_MAC}).status_code == 303
    assert macs(product) == [MAC]
    bad = browser.post(address, data=ROUTER | {"do": "add", "address": "'; DROP TABLE pass_devices; --"})
    assert bad.status_code == 422 and "This is no device address." in bad.text


def test_a_tv_is_picked_from_the_devices_seen_at_this_site_just_now(product: Product) -> None:
    from portal.hotspot.routers.models import GatewayClient

    site_id, uid = site(product, kind="opennds")
    give(product, devices=2)
    browser = product.client()
    pay(product, buy(product, browser))
    with product.app.app_context(), transaction():
        tenant_id = db.session.query(AccessGrant.tenant_id).scalar()
        for mac, ago in ((NEW_MAC, 1), (THIRD_MAC, 120), (MAC, 1)):
            seen = clock.now() - timedelta(minutes=ago)
            db.session.add(GatewayClient(tenant_id=tenant_id, site_id=site_id, mac=mac, seen_at=seen))
    page = browser.get(pass_of(portal(product, browser, site=uid))).text
    assert re.findall(r"<option>([^<]+)</option>", page) == [NEW_MAC]


def test_a_tv_is_signed_in_by_its_router_and_not_promised_where_that_cannot_be(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.hotspot.routers import routeros
    from portal.hotspot.routers.interface import done

    give(product, devices=2)
    browser = product.client()
    pay(product, buy(product, browser))
    _id, radius = site(product, kind="radius", address="10.90.0.8", name="roof")
    _id, unasked = site(product, kind="voucher", name="kiosk")
    _id, uid = site(product, kind="routeros", address="10.90.0.7", api_username="api")
    assert "Add my TV" not in browser.get(pass_of(portal(product, browser, site=unasked))).text
    assert "Add my TV" in browser.get(pass_of(portal(product, browser, site=radius))).text, "its router asks by the MAC"
    address = pass_of(portal(product, browser, site=uid))
    assert "Add my TV" in browser.get(address).text
    asked = []

    def sign_in(_self: object, at: Site, wanted: Any, *, mac: str, ip: str) -> Any:
        asked.append((at.address, wanted.username, mac))
        return done()

    monkeypatch.setattr(routeros.RouterOS, "push_login", sign_in)
    assert browser.post(address, data=ROUTER | {"do": "add", "address": NEW_MAC}).status_code == 303
    with product.app.app_context():
        deliver_due()
    assert asked == [("10.90.0.7", receipt(1), NEW_MAC)]
    with product.inside():
        assert db.session.query(OutboxItem.state).filter_by(kind="sign_in").one().state == "done", (
            "and is asked no more"
        )


def test_a_router_that_does_not_answer_is_not_tried_for_each_order_before_the_next_message_goes(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process carries all messages of all tenants: thirty orders to a dead router held them up for minutes."""
    from portal.hotspot.routers import routeros
    from portal.hotspot.routers.interface import done, failed

    give(product, devices=40)
    browser = product.client()
    pay(product, buy(product, browser))
    site_id, uid = site(product, kind="routeros", address="10.90.0.7", api_username="api")
    address = pass_of(portal(product, browser, site=uid))
    stays = [stay(product, mac=f"AA:BB:CC:00:22:{number:02X}") for number in range(5)]
    for number in range(5):
        browser.post(address, data={"do": "sign_out", "of": f"AA:BB:CC:00:22:{number:02X}"})
    tried: list[int] = []

    def hang(_self: object, _site: Site, asked: AccessSession) -> Any:
        tried.append(asked.id)
        return failed("timed_out", "The router did not answer in time.")

    monkeypatch.setattr(routeros.RouterOS, "kick", hang)
    with product.app.app_context():
        deliver_due()
    assert len(tried) == 1 and tried[0] in stays, "then its pause is kept"
    with product.inside():
        assert {one.state for one in db.session.query(OutboxItem).filter_by(kind="kick")} == {"new"}, "none is lost"
        assert db.session.query(RouterState).filter_by(site_id=site_id).one().failures == 1
    monkeypatch.setattr(routeros.RouterOS, "kick", lambda _self, _site, asked: tried.append(asked.id) or done())
    later(121)
    with product.app.app_context():
        deliver_due()
    assert sorted(tried[1:]) == stays, "it is there again, and each is carried"
    with product.inside():
        assert db.session.query(RouterState).filter_by(site_id=site_id).one().failures == 0


def test_signing_a_device_out_ends_its_stay_and_no_other(product: Product) -> None:
    give(product, devices=2)
    browser = product.client()
    pay(product, buy(product, browser))
    address = pass_of(portal(product, browser))
    browser.post(address, data=ROUTER | {"do": "add", "address": NEW_MAC})
    stay(product)
    wanted = stay(product, mac=NEW_MAC)
    assert browser.post(address, data={"do": "sign_out", "of": NEW_MAC}).status_code == 303
    with product.inside():
        assert [payload_of(one) for one in db.session.query(OutboxItem).filter_by(kind="kick")] == [{"session": wanted}]


def test_a_gift_is_nobodys_but_its_receivers(product: Product) -> None:
    giver = product.client()
    token = buy(product, giver, gift_phone="0711 222 333")
    pay(product, token)
    page = giver.get(f"/hotspot/mlima/wait/{token}").text
    assert "It is a gift" in page and password_shown(product) not in page
    own = giver.get(f"/hotspot/mlima/own/{token}")
    assert own.status_code == 303 and "/pass/" not in own.headers["Location"]
    assert "/login" not in giver.get(f"/hotspot/mlima/go/{token}").headers["Location"]
    assert "/pass/" not in portal(product, giver)
    assert giver.get(f"/hotspot/mlima/api/{token}").json["captive"] is True


# --- the way into the router


def test_the_way_by_an_address_goes_to_the_router_that_was_checked_and_nowhere_else(product: Product) -> None:
    challenge = "".join(f"\\{value:03o}" for value in range(16))
    token = buy(
        product, **{"chap-id": "\\371", "chap-challenge": challenge, "link-orig": "http://example.com/?a=1&b=2"}
    )
    before = product.client().get(f"/hotspot/mlima/go/{token}")
    assert before.headers["Location"].startswith(f"/hotspot/mlima/wait/{token}")
    pay(product, token)
    forged = product.client().get(
        f"/hotspot/mlima/go/{token}", query_string={"link-login-only": "https://evil.example/"}
    )
    address = urlsplit(forged.headers["Location"])
    assert (address.scheme, address.netloc, address.path) == ("http", "10.5.50.1", "/login")
    hashed = chap_response(password_of(product, token), chap_id="\\371", chap_challenge=challenge)
    assert dict(parse_qsl(address.query)) == {
        "username": receipt(1), "password": hashed, "dst": "http://example.com/?a=1&b=2",
    }  # fmt: skip


def test_a_code_is_sent_to_hosts_of_the_site_that_the_router_names(product: Product) -> None:
    _id, uid = site(product, name="yard", identity="r1", login_hosts="10.5.50.1 wifi.mlima.example 127.0.0.1:8081")
    site(product, name="roof", identity="r2", login_hosts="10.6.0.1")
    tenant_id = product.tenant_id()
    with product.inside():
        for url, identity, is_taken in (
            ("http://10.5.50.1/login", "r1", True), ("http://10.5.50.1/login", "r2", False),
            ("http://WIFI.mlima.example/login", "r1", True), ("http://127.0.0.1:8081/login", "", True),
            ("http://127.0.0.1:8082/login", "", False), ("http://10.6.0.1/login", "someone", True),
            ("http://192.168.1.66/login", "", False), ("http://10.5.50.1@evil.example/", "r1", False),
            ("http://10.5.50.1\\@evil.example/", "r1", False), ("http://10.5.50.1/lo\ngin", "r1", False),
            ("http://10.5.50.1/" + "x" * 300, "r1", False), ("javascript:alert(1)", "r1", False),
        ):  # fmt: skip
            assert bool(safe_login_url(tenant_id, url, identity)) is is_taken, (url, identity)
        assert safe_login_url(tenant_id, "http://10.6.0.1/login", "r2", site_uid=uid) == "", "the site's id comes first"


def test_over_https_no_form_goes_to_a_router_without(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    token = buy(product)
    pay(product, token)
    assert (
        '<form method="post" action="http://10.5.50.1/login">'
        in product.client().get(f"/hotspot/mlima/wait/{token}").text
    )
    config = product.app.config["PORTAL"]
    from dataclasses import replace

    monkeypatch.setitem(product.app.config, "PORTAL", replace(config, public_url="https://pay.example.test"))
    page = product.client().get(f"/hotspot/mlima/wait/{token}", base_url="https://pay.example.test").text
    assert 'action="http://10.5.50.1' not in page and f'href="/hotspot/mlima/go/{token}"' in page


def test_paid_it_opens_by_itself_with_a_script_and_without_and_not_once_it_is_online(product: Product) -> None:
    token = buy(product)
    pay(product, token)
    page = product.client().get(f"/hotspot/mlima/wait/{token}").text
    assert 'data-opens-in="5"' in page and f'content="10;url=/hotspot/mlima/go/{token}"' in page
    assert password_of(product, token) in page, "the code is there before"
    stay(product)
    online = product.client().get(f"/hotspot/mlima/wait/{token}").text
    assert "You are online" in online and "data-opens-in" not in online and "refresh" not in online


def test_paid_says_connecting_until_the_router_was_read_back(product: Product) -> None:
    from portal.hotspot.models import Provisioning

    site_id, _uid = site(product, kind="routeros", address="10.90.0.7")
    token = buy(product)
    pay(product, token)
    page = product.client().get(f"/hotspot/mlima/wait/{token}").text
    assert "Paid, connecting." in page and password_of(product, token) in page, "with the code at once"
    assert 'hx-trigger="every 2s' in page and "data-opens-in" not in page
    with product.app.app_context(), transaction():
        grant = db.session.query(AccessGrant).one()
        db.session.add(
            Provisioning(tenant_id=grant.tenant_id, site_id=site_id, grant_id=grant.id, wanted="on",
                         confirmed_at=clock.now(), next_at=None)
        )  # fmt: skip
    poll = re.findall(r'hx-get="([^"]+)"', page)[0].replace("&amp;", "&")
    ready = product.client().get(poll).text
    assert "Connect now" in ready and "The Wi-Fi is being told" not in ready and "hx-get" not in ready


# --- by hand, hints


def test_a_short_code_to_pay_by_hand_with_is_shown_and_opens_what_it_paid(product: Product) -> None:
    from tests.support.daraja import c2b_body

    form = ROUTER | {"package": product.package(), "by_hand": "1", "idempotency_key": "k1"}
    answer = product.client().post("/hotspot/mlima/", data=form)
    assert answer.status_code == 303, answer.text
    again = product.client().post("/hotspot/mlima/", data=form)
    assert again.headers["Location"] == answer.headers["Location"], "the same form, the same code"
    page = product.client().get(answer.headers["Location"]).text
    account = re.findall(r'id="own-account">(\w+)<', page)[0]
    assert re.fullmatch(r"W[A-Z0-9]{7}", account) and "600111" in page and 'hx-trigger="every 10s' in page
    product.client().post(
        f"{product.hook()}/c2b/confirmation",
        json=c2b_body(receipt=receipt(5), amount=50, account=account, shortcode="600111", msisdn=PHONE),
    )
    product.settle()
    assert receipt(5) in product.client().get(answer.headers["Location"]).text
    with product.inside():
        assert db.session.query(AccessGrant).one().mac == MAC


def test_without_a_prompt_the_page_says_what_to_do_after_20_s_and_shows_the_menu_after_40(product: Product) -> None:
    token = buy(product)
    ring(product, token)
    client = product.client()

    def poll() -> str:
        page = client.get(f"/hotspot/mlima/wait/{token}").text
        return re.findall(r'hx-get="([^"]+)"', page)[0].replace("&amp;", "&")

    assert "*234#" not in client.get(f"/hotspot/mlima/wait/{token}").text
    first = poll()
    later(20)
    told = client.get(first)
    assert told.status_code == 200 and "*234#" in told.text, "without anybody asking for it"
    assert '<details class="fold"><summary>Pay by hand' in told.text
    second = poll()
    assert client.get(second).status_code == 204
    later(20)
    assert '<details class="fold" open><summary>Pay by hand' in client.get(second).text


# --- RFC 8908


def test_a_sites_address_answers_before_anything_is_bought(product: Product) -> None:
    _id, uid = site(product)
    address = f"/hotspot/mlima/api/{uid}"
    captive = product.client().get(address, headers={"Accept": "application/captive+json"})
    assert captive.mimetype == "application/captive+json" and "no-store" in captive.headers["Cache-Control"]
    assert captive.json["captive"] is True and captive.json["user-portal-url"].endswith(f"?site={uid}")
    give(product, data_cap_bytes=1_000)
    pay(product, buy(product))
    stay(product, octets=400)
    online = product.client().get(address, query_string={"mac": "aa-bb-cc-00-11-22"}).json
    assert online["captive"] is False and online["bytes-remaining"] == 600
    assert 86_000 < online["seconds-remaining"] <= 86_400
    assert product.client().get(address).json["captive"] is True, "whose device, nobody knows"
    assert product.client().get(address, query_string={"mac": NEW_MAC}).json["captive"] is True
    stay(product, mac=NEW_MAC, octets=600)
    used_up = product.client().get(address, query_string={"mac": MAC}).json
    assert used_up["captive"] is True and used_up["can-extend-session"] is True


# --- small, and bad input


@pytest.mark.parametrize("language", ["en", "sw"])
def test_the_first_load_is_30_kb_uncompressed_with_all_it_asks_for(product: Product, language: str) -> None:
    with product.app.app_context(), transaction():
        tenant_id = db.session.query(Package.tenant_id).first()[0]  # type: ignore[index]
        for number in range(4):
            db.session.add(
                Package(tenant_id=tenant_id, name=f"{number + 2} days of internet", price_cents=10_000, rate="5M/10M",
                        duration_s=172_800, lifetime_s=172_800, data_cap_bytes=5_000_000_000, devices=3,
                        group_name="Days")
            )  # fmt: skip
    client = product.client()
    page = client.get("/hotspot/mlima/", query_string=ROUTER | {"lang": language})
    asked = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="(?!data:)([^"]+)"', page.text)
    assert len(asked) == 3 and all(one.startswith("/") for one in asked), "nothing from another host"
    sizes = [len(page.data) + len(str(page.headers))]
    for address in asked:
        got = client.get(address)
        assert got.status_code == 200 and "Content-Encoding" not in got.headers
        sizes.append(len(got.data) + len(str(got.headers)))
    assert sum(sizes) <= FIRST_LOAD_LIMIT_BYTES, sizes
    assert "target=" not in page.text and "localStorage" not in page.text
    assert not {"localStorage", "sessionStorage", "alert(", "window.open", "document.cookie"} & set(
        re.findall(
            r"localStorage|sessionStorage|alert\(|window\.open|document\.cookie", assets.pack_file("captive.js")[1]
        )
    )


@pytest.mark.parametrize(
    "bad",
    [
        "x" * 10_000, "'; DROP TABLE access_grants; --", "\u202e\u2066مرحبا😀", "<script>alert(1)</script>", "%00", "{{7*7}}",
        "AA:BB:CC:00:11:22:33", "http://[",
    ],
)  # fmt: skip
def test_whatever_a_router_or_a_guest_sends_is_clear_and_nothing_is_lost(product: Product, bad: str) -> None:
    client = product.client()
    keys = ["site", "mac", "ip", "identity", "server-name", "link-login-only", "link-orig", "error", "chap-id",
            "chap-challenge", "fas", "code", "package"]  # fmt: skip
    for key in keys:
        for page in ("", "code", "paid", "lost"):
            answer = client.get(f"/hotspot/mlima/{page}", query_string={key: bad}, follow_redirects=True)
            assert answer.status_code == 200, (key, page)
            assert "<script>alert" not in answer.text
    posts = {"code": {"code": bad}, "lost": {"phone": bad}, "mine": {"phone": bad} | ROUTER, "paid": {"sms_text": bad},
             "rejoin": {"phone": bad, "code": bad}, "": {"package": bad, "phone": bad, "gift_phone": bad}}  # fmt: skip
    for page, form in posts.items():
        answer = client.post(f"/hotspot/mlima/{page}", data=form)
        assert answer.status_code in (404, 422), (page, answer.status_code)
        assert "<script>alert" not in answer.text
    pay(product, buy(product, mac=bad))
    with product.inside():
        assert db.session.scalar(select(func.count(AccessGrant.id))) == 1, "it is bought and opened all the same"


def test_opennds_appends_what_it_tells_to_a_path_that_names_the_site(product: Product) -> None:
    _id, uid = site(product, kind="opennds", login_hosts="10.77.0.1")
    told = "hid=abcdef0123456789, clientip=10.77.0.50, clientmac=aa:bb:cc:00:11:22, gatewayname=x, originurl=http%3a%2f%2fa.example%2f, gatewayaddress=10.77.0.1:2050"
    fas = base64.b64encode(told.encode()).decode()
    page = product.client().get(f"/hotspot/mlima/?site={uid}?fas={fas}").text
    carried = dict(re.findall(r'<input type="hidden" name="([a-z-]+)" value="([^"]*)"', page))
    assert carried["site"] == uid and carried["mac"] == "aa:bb:cc:00:11:22"
    assert carried["link-login-only"] == "http://10.77.0.1:2050/opennds_auth/"


def test_what_the_router_says_is_shown_as_one_plain_line(product: Product) -> None:
    page = (
        product.client().get("/hotspot/mlima/", query_string={"error": "Time\u202e is\n\tover <b>" + "x" * 10_000}).text
    )
    shown = re.findall(r"<bdi>(.*?)</bdi>", page)[0]
    assert shown.startswith("Time is over &lt;b&gt;xxx") and len(shown) < 220
