"""What a stranger learns or takes at the payers' doors: who knows a MAC address, a number, a receipt, or nothing."""

import re
import threading
from datetime import timedelta
from typing import Any

import pytest

from portal.gateways import client_factory
from portal.hotspot import access, places, purchases
from portal.hotspot.models import AccessGrant, DeviceSignIn, Package, Purchase, Site
from portal.hotspot.passes import standing
from portal.hotspot.purchases import is_of_browser, safe_login_url
from portal.hotspot.routers.opennds import fas
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import CoolDown
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Payment, Push
from portal.tenants.models import Tenant
from portal.web import limits
from tests.support.booking import begin, offer, starts
from tests.support.clock import later
from tests.support.daraja import c2b_body, new_phone, receipt, stk_body
from tests.support.guests import LOCAL, MAC, PHONE, ROUTER, SHOWN, buy, initiate, password_of, pay, portal, ring
from tests.support.product import Product

# --- rule 1: a MAC address is no secret


def test_wrong_guesses_of_a_network_count_for_one_tenant_and_one_door(product: Product) -> None:
    """Rule 3: sixty in a quarter of an hour; neither another business nor another door is closed by them."""
    with product.app.test_request_context(environ_base={"REMOTE_ADDR": "203.0.113.9"}):
        for _time in range(60):
            limits.refuse_guessers("code", 1)
            limits.wrong_guess("code", 1)
        with pytest.raises(CoolDown):
            limits.refuse_guessers("code", 1)
        limits.refuse_guessers("code", 2)
        limits.refuse_guessers("message", 1)
    steps = [(step.amount, step.get_expiry()) for step in limits._OF_NETWORK]
    assert steps == [(60, 900), (240, 6 * 3_600), (480, 86_400)]


def test_a_browsers_cookie_of_one_business_is_nobodys_at_another(product: Product) -> None:
    """Rule 1: its name says whose it is, and so must its signature."""
    from portal.web import browser

    browser_of_buyer = product.client()
    buy(product, browser_of_buyer)
    mlima, bahari = product.tenant_id(), product.tenant_id("bahari")
    cookie = browser_of_buyer.get_cookie(f"mlango_device_{mlima}")
    assert cookie is not None
    for name, is_known in ((mlima, True), (bahari, False)):
        sent = {"Cookie": f"mlango_device_{name}={cookie.value}"}
        with product.app.test_request_context(headers=sent):
            assert bool(browser.known(db.session.get_one(Tenant, name))) is is_known


@pytest.mark.parametrize("is_paid", [False, True])
def test_a_mac_address_tells_neither_token_nor_number_nor_receipt_nor_password(product: Product, is_paid: bool) -> None:
    """safety.md 1, money.md B22."""
    token = buy(product)
    if is_paid:
        pay(product, token)
    page = portal(product)
    for secret in (token, "723456789", LOCAL, "0723456789", receipt(1), "/wait/"):
        assert secret not in page, secret
    if is_paid:
        assert password_of(product, token) not in page and "Your internet is paid until" in page
    else:
        assert f"Your payment of KES 50 from {SHOWN} waits" in page


def test_by_its_mac_a_device_is_connected_once_for_a_minute_and_no_other(product: Product) -> None:
    """Rule 1: captive browsers lose their cookies, and need no secret to be let in again."""
    token = buy(product)
    pay(product, token)
    page = product.client().post("/hotspot/mlima/connect", data=ROUTER)
    assert page.status_code == 200 and 'action="http://10.5.50.1/login"' in page.text
    fields = dict(re.findall(r'name="(username|password)" value="([^"]+)"', page.text))
    for secret in (token, receipt(1), password_of(product, token), "723456789"):
        assert secret not in page.text
    with product.inside():  # that RADIUS lets it in once, and no other, is proved in tests/hotspot/radius
        made = db.session.query(DeviceSignIn).one()
        assert (made.mac, made.username, made.password) == (MAC, fields["username"], fields["password"])
        assert made.used_at is None and timedelta(0) < made.expires_at - clock.now() <= timedelta(seconds=60)
    later(61)
    product.client().post("/hotspot/mlima/connect", data=ROUTER)
    with product.inside():
        assert db.session.query(DeviceSignIn).count() == 1, "what is over is not kept"


def test_a_mac_address_told_at_opennds_opens_the_gateway_to_no_other_devices_challenge(product: Product) -> None:
    """What answers openNDS opens whatever device has that challenge, so it is for who showed more than a MAC address."""
    with product.app.app_context(), transaction():
        tenant_id = db.session.query(Tenant.id).filter_by(slug="mlima").scalar()
        db.session.add(Site(tenant_id=tenant_id, name="Lodge", kind="opennds", secret="a-key-of-the-site"))
    pay(product, buy(product))
    own = "ab" * 32  # the thief's own challenge, with the MAC address of who paid
    told = {"mac": MAC, "identity": "Lodge", "link-login-only": "http://10.5.50.1/opennds_auth/"}
    told |= {"chap-id": "opennds", "chap-challenge": own}
    thief = product.client()
    assert "/connect" not in thief.get("/hotspot/mlima/", query_string=told).text
    answer = thief.post("/hotspot/mlima/connect", data=told)
    assert answer.status_code == 303 and fas.rhid(own, "a-key-of-the-site") not in answer.text
    with product.inside():
        assert db.session.query(DeviceSignIn).count() == 0


@pytest.mark.parametrize(
    "changes", [{"mac": "AA:BB:CC:00:11:23"}, {"mac": ""}, {"link-login-only": "https://evil.example/login"}]
)
def test_another_device_or_a_strange_router_is_not_connected(product: Product, changes: dict[str, str]) -> None:
    pay(product, buy(product))
    answer = product.client().post("/hotspot/mlima/connect", data=ROUTER | changes)
    assert answer.status_code == 303 and "/wait/" not in answer.headers["Location"]
    with product.inside():
        assert db.session.query(DeviceSignIn).count() == 0


def test_who_tries_many_addresses_holds_up_no_device_that_has_paid(product: Product) -> None:
    """Behind one hotspot all have one address: sixty made-up devices kept everybody there from connecting."""
    pay(product, buy(product))
    stranger = product.client()
    tried = [
        stranger.post("/hotspot/mlima/connect", data=ROUTER | {"mac": f"AA:BB:CC:05:00:{n:02X}"}).status_code
        for n in range(61)
    ]
    assert tried == [303] * 60 + [429]
    page = product.client().post("/hotspot/mlima/connect", data=ROUTER)
    assert page.status_code == 200 and 'name="password"' in page.text


def test_the_browsers_cookie_leads_back_and_is_worth_nothing_elsewhere(product: Product) -> None:
    browser = product.client()
    token = buy(product, browser)
    assert f"/wait/{token}" in portal(product, browser)
    cookie = next(one for one in browser._cookies.values() if one.key.startswith("mlango_device_"))
    assert cookie.http_only and cookie.same_site == "Lax"
    forger = product.client()
    forger.set_cookie(cookie.key, cookie.value[:-2] + "xx")
    assert token not in portal(product, forger)
    other = product.client()
    with product.inside():
        bahari = db.session.query(Tenant.id).filter_by(slug="bahari").scalar()
    other.set_cookie(f"mlango_device_{bahari}", cookie.value)
    assert "waits" not in other.get("/hotspot/bahari/", query_string=ROUTER).text


def test_without_its_cookie_the_number_leads_back_five_tries_an_hour(product: Product) -> None:
    """The window that the PIN prompt closed had no cookie; its owner knows the number, a neighbour has few guesses."""
    token = buy(product)
    wrong = product.client().post("/hotspot/mlima/mine", data=ROUTER | {"phone": "0723 999 789"})
    assert wrong.status_code == 422 and token not in wrong.text
    elsewhere = {"mac": "AA:BB:CC:00:11:29", "phone": LOCAL}
    assert product.client().post("/hotspot/mlima/mine", data=ROUTER | elsewhere).status_code == 422
    right = product.client().post("/hotspot/mlima/mine", data=ROUTER | {"phone": LOCAL})
    assert right.status_code == 303 and f"/wait/{token}" in right.headers["Location"]
    pay(product, token)
    assert f"/wait/{token}" in product.client().post("/hotspot/mlima/mine", data=ROUTER | {"phone": LOCAL}).location
    said = [
        product.client().post("/hotspot/mlima/mine", data=ROUTER | {"phone": f"0723 00{n} 789"}).status_code
        for n in range(6)
    ]
    assert said == [422, 422, 422, 422, 429, 429], "with the one above, five"


def test_a_number_is_never_prefilled_for_who_did_not_type_it(product: Product) -> None:
    """safety.md 1: /pay/<token> held the full number."""
    browser = product.client()
    token = buy(product, browser)
    assert "723 456 789" not in product.client().get(f"/pay/{token}").text
    assert "0723 456 789" in browser.get(f"/pay/{token}").text


@pytest.mark.parametrize("mac", [MAC, ""])
def test_a_repeat_by_a_stranger_gets_a_status_and_changes_nothing(product: Product, mac: str) -> None:
    """safety.md 7: with package, number and MAC address the victim's token and router were to be had."""
    token = buy(product, mac=mac)
    theirs = {"link-login-only": "http://192.168.66.6/steal", "identity": "evil", "mac": mac}
    page = product.client().post(
        "/hotspot/mlima/", data={"package": product.package(), "phone": LOCAL} | ROUTER | theirs
    )
    assert page.status_code == 200 and token not in page.text and "This payment is under way already" in page.text
    told = initiate(product, macAddress=mac) if mac else initiate(product, macAddress="")
    assert told.status_code == 200 and told.json["paymentId"] is None and told.json["checkoutRequestId"] is None
    assert told.json["status"] == "pending" and token not in told.text
    with product.inside():
        bought = db.session.query(Purchase).one()
        assert (bought.login_url, bought.nas_identity, bought.mac) == ("http://10.5.50.1/login", "m1", mac)
        assert db.session.query(Payment).count() == 1 and db.session.query(Push).count() == 1
    pay(product, token)
    assert "192.168.66.6" not in product.client().get(f"/hotspot/mlima/wait/{token}").text


def test_the_key_or_the_cookie_proves_a_repeat(product: Product) -> None:
    first = initiate(product, idempotencyKey="k-1").json["paymentId"]
    again = initiate(product, idempotencyKey="k-1")
    assert (again.status_code, again.json["paymentId"]) == (200, first)
    assert initiate(product, idempotencyKey="k-2").json["paymentId"] is None
    browser = product.client()
    own = initiate(product, browser, phone=new_phone()).json["paymentId"]
    with product.inside():
        phone = db.session.query(Purchase).count()
    assert own and own != first and phone == 2


def test_a_browser_repeats_its_own_purchase_by_its_cookie(product: Product) -> None:
    browser = product.client()
    first = initiate(product, browser)
    again = initiate(product, browser)
    assert (again.status_code, again.json["paymentId"]) == (200, first.json["paymentId"])


def test_after_a_cancel_a_stranger_to_it_begins_anew_and_the_old_one_may_still_be_paid(product: Product) -> None:
    """A payer whose browser kept nothing tries again at once; what M-Pesa tells late still finds its own payment."""
    old = buy(product)
    pushed = ring(product, old)
    product.callback(pushed, code=1032)
    product.settle()
    new = buy(product)
    assert new != old
    product.callback(pushed, receipt=receipt(8))
    product.settle()
    assert product.status(old)["status"] == "paid" and product.status(new)["status"] != "paid" and product.books() == []


def test_what_a_part_was_paid_for_is_not_over_though_its_prompt_was_cancelled(product: Product) -> None:
    """A new purchase beside it would ask the same phone for all of it again."""
    token = buy(product)
    product.callback(ring(product, token), code=1032)
    product.settle()
    with product.inside():
        reference = db.session.query(Payment).one().reference
    product.client().post(
        f"{product.hook()}/c2b/confirmation", json=c2b_body(receipt=receipt(1), amount=20, account=reference)
    )
    product.settle()
    answer = initiate(product, packageId=product.package("1 day"))
    assert (answer.status_code, answer.json["paymentId"]) == (200, None)
    with product.inside():
        assert db.session.query(Payment).count() == 1


def test_a_browser_without_a_cookie_began_nothing() -> None:
    """What was bought without a cookie, such as by a pasted message, is not everybody's."""
    assert not is_of_browser(Purchase(browser_hash=""), "")


def test_access_at_another_business_takes_no_time_from_this_ones(product: Product) -> None:
    """The same device at two businesses: each begins when it is paid."""
    pay(product, buy(product))
    form = {"package": product.package("1 day", "bahari"), "phone": LOCAL} | ROUTER
    token = product.client().post("/hotspot/bahari/", data=form).headers["Location"].split("/wait/")[1].split("?")[0]
    body = stk_body(ring(product, token), receipt=receipt(2))
    with product.inside():
        push_token = db.session.query(Push).join(Payment).filter(Payment.token == token).one().token
    product.client().post(f"{product.hook('bahari')}/stk/{push_token}", json=body)
    product.settle()
    with product.inside():
        begun = [one.has_begun for one in db.session.query(AccessGrant).order_by(AccessGrant.id)]
        assert begun == [True, True]


def test_two_at_once_begin_one_purchase_and_one_of_them_owns_it(either_product: Product) -> None:
    from tests.support.threads import together

    product = either_product
    package = product.package()
    body = {"tenant": "mlima", "packageId": package, "phone": PHONE, "macAddress": MAC}
    calls = [lambda: product.client().post("/api/portal/mpesa/initiate", json=body).json for _n in range(6)]
    owners = [one["paymentId"] for one in together(product, *calls) if one["paymentId"]]
    with product.inside():
        assert len(owners) == 1 and db.session.query(Payment).count() == 1 and db.session.query(Push).count() == 1


def test_running_access_is_shown_before_a_later_try_that_failed(product: Product) -> None:
    """use.md 9."""
    pay(product, buy(product))
    failed = buy(product, package="1 hour")
    product.callback(ring(product, failed), code=1032)
    product.settle()
    page = portal(product)
    assert "Your internet is paid until" in page and "Connect this device" in page


# --- rule 2: the receipt is a user name


def test_the_password_is_random_short_and_not_the_receipt(product: Product) -> None:
    """money.md B23: the receipt opened the router."""
    passwords = set()
    for number in (1, 2, 3):
        token = buy(product, phone=new_phone(), mac=f"AA:BB:CC:00:12:0{number}")
        pay(product, token, number)
        told = product.status(token)["credentials"]
        assert told["username"] == receipt(number) and re.fullmatch("[a-hjkmnp-z2-9]{8}", told["password"])
        assert told["password"] in product.client().get(f"/hotspot/mlima/wait/{token}").text.replace(
            "</span><span>", ""
        )
        passwords.add(told["password"])
    assert len(passwords) == 3


def test_a_status_by_checkout_id_tells_neither_receipt_nor_credentials(product: Product) -> None:
    """safety.md 8, money.md B23 (t11)."""
    token = initiate(product, macAddress="").json["paymentId"]
    pushed = ring(product, token)
    product.callback(pushed, receipt=receipt(1))
    product.work()
    named = {"checkoutRequestId": pushed.checkout_id}
    told = product.client().get("/api/portal/mpesa/status", query_string=named).json
    assert told["status"] == "paid" and told["receipt"] is None and "credentials" not in told
    assert receipt(1) not in str(told)
    own = product.client().get("/api/portal/mpesa/status", query_string={"checkoutRequestId": token}).json
    assert own["receipt"] == receipt(1) and own["credentials"]["password"], "the paymentId proves it under either name"


def test_on_another_device_the_password_is_asked_and_the_receipt_alone_opens_nothing(product: Product) -> None:
    browser = product.client()
    token = buy(product, browser)
    pay(product, token)
    password = password_of(product, token)
    code = {"code": receipt(1)} | ROUTER
    for typed in ("", receipt(1), password[:-1]):
        refused = product.client().post("/hotspot/mlima/code", data=code | {"password": typed})
        assert refused.status_code == 422 and password not in refused.text and "Connect now" in refused.text
        assert 'action="http://10.5.50.1/login"' not in refused.text
    good = product.client().post("/hotspot/mlima/code", data=code | {"password": f"{password[:4]} {password[4:]}"})
    assert good.status_code == 200 and 'action="http://10.5.50.1/login"' in good.text
    assert "24 hours left" in good.text or "1 day left" in good.text and "1 device" in good.text
    assert browser.post("/hotspot/mlima/code", data=code).status_code == 200, "the device that paid is known"


@pytest.mark.parametrize(("language", "word"), [("en", "Password"), ("sw", "Nenosiri")])
def test_name_and_password_go_to_the_phone_that_paid_in_its_language(
    product: Product, language: str, word: str
) -> None:
    form = {"package": product.package(), "phone": LOCAL, "lang": language} | ROUTER
    token = product.client().post("/hotspot/mlima/", data=form).location.split("/wait/")[1].split("?")[0]
    pay(product, token)
    product.settle()
    with product.inside():
        told = [payload_of(item) for item in db.session.query(OutboxItem).filter_by(kind="sms")]
    assert len(told) == 1 and told[0]["to"] == PHONE
    text = told[0]["text"]
    assert text.startswith(("TEST", "JARIBIO"))
    assert receipt(1) in text and password_of(product, token) in text and word in text
    assert len(text) <= 160 and text.isascii()


def test_one_receipt_that_paid_two_packages_gives_two_names(product: Product) -> None:
    """tests.md R5."""
    names = set()
    with product.app.app_context():
        from portal import fulfilment

        for mac in ("AA:BB:CC:00:13:01", "AA:BB:CC:00:13:02"):
            token = buy(product, phone=new_phone(), mac=mac)
            with transaction():
                purchase = db.session.query(Purchase).join(Payment).filter(Payment.token == token).one()
                free = fulfilment._free_code(purchase, receipt(1))
                names.add(access.grant(purchase, receipt=free).username)
    assert len(names) == 2 and receipt(1) in names


# --- time bought while online


def test_time_bought_while_online_is_added_and_the_page_says_so_before(product: Product) -> None:
    """use.md 2: both codes ended at the same minute."""
    first = buy(product)
    pay(product, first, 1)
    assert "What you buy now is added after that" in portal(product)
    later(3_600)
    second = buy(product, phone=new_phone(), package="1 hour")
    pay(product, second, 2)
    with product.inside():
        one, two = db.session.query(AccessGrant).order_by(AccessGrant.id)
        assert two.starts_at == one.expires_at and two.expires_at - two.starts_at == timedelta(hours=1)
    page = product.client().get(f"/hotspot/mlima/wait/{second}").text
    assert "It begins on" in page and "Connect now" not in page
    other = buy(product, phone=new_phone(), package="1 hour", mac="AA:BB:CC:00:11:99")
    pay(product, other, 3)
    with product.inside():
        third = db.session.query(AccessGrant).order_by(AccessGrant.id.desc()).first()
        assert third is not None and third.has_begun, "another device has its own time"


def test_what_ends_early_gives_its_place_to_what_waits_and_comes_back_with_what_was_left(product: Product) -> None:
    """tests.md R1: the time left is compared exactly."""
    first, second = buy(product), ""
    pay(product, first, 1)
    later(600)
    second = buy(product, phone=new_phone(), package="1 hour")
    pay(product, second, 2)
    later(1_200)
    with product.app.app_context(), transaction():
        one, two = db.session.query(AccessGrant).order_by(AccessGrant.id)
        was = one.expires_at
        access.end(one, why="test", actor="test")
        ended = one.ended_at
        assert ended is not None and two.starts_at == ended and two.expires_at == ended + timedelta(hours=1)
        left = was - ended
    later(7_200)
    with product.app.app_context(), transaction():
        one = db.session.query(AccessGrant).order_by(AccessGrant.id).first()
        assert one is not None
        before = clock.now()
        again = access.grant(one.purchase, receipt=receipt(1))
        after = clock.now()
        assert again.id == one.id and again.ended_at is None
        assert before + left <= again.expires_at <= after + left


def test_a_lost_race_between_two_purchases_of_one_device_loses_no_time(either_product: Product) -> None:
    from tests.support.threads import together

    product = either_product
    tokens = [buy(product, phone=new_phone(), package=name) for name in ("1 hour", "1 day")]
    with product.inside():
        ids = [db.session.query(Purchase.id).join(Payment).filter(Payment.token == one).scalar() for one in tokens]

    def open_(purchase_id: int) -> None:
        with transaction():
            access.grant(db.session.get_one(Purchase, purchase_id), receipt=None)

    together(product, *[lambda one=one: open_(one) for one in ids])  # type: ignore[misc]
    with product.inside():
        one, two = db.session.query(AccessGrant).order_by(AccessGrant.starts_at)
        assert two.starts_at == one.expires_at


def test_who_buys_in_the_moment_that_other_access_ends_begins_at_once(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second was to begin when the first, which was sent back, would have been over: a day later."""
    from tests.support.threads import together

    product = either_product
    first = buy(product)
    pay(product, first, 1)
    second = buy(product, phone=new_phone(), package="1 hour")
    with product.inside():
        first_grant_id = db.session.query(AccessGrant.id).scalar()
        second_id = db.session.query(Purchase.id).join(Payment).filter(Payment.token == second).scalar()
    has_looked, has_ended, looked = threading.Event(), threading.Event(), places.place

    def look(*given: Any, **named: Any) -> Any:
        found = looked(*given, **named)
        has_looked.set()
        has_ended.wait(1)  # it cannot end meanwhile: its turn comes after this
        return found

    def give() -> None:
        with transaction():
            access.grant(db.session.get_one(Purchase, second_id), receipt=None)

    def end() -> None:
        has_looked.wait(30)
        with transaction():
            access.end(db.session.get_one(AccessGrant, first_grant_id), why="test", actor="test")
        has_ended.set()

    monkeypatch.setattr(places, "place", look)
    together(product, give, end)
    with product.inside():
        one, two = db.session.query(AccessGrant).order_by(AccessGrant.id)
        assert two.starts_at == one.ended_at and two.expires_at - two.starts_at == timedelta(hours=1)


def test_a_prompt_that_rings_while_the_price_changes_is_delivered_at_its_own(product: Product) -> None:
    """It was closed as soon as its payer tapped again: paid, and told that it can no longer be paid."""
    token = buy(product)
    ringing = ring(product, token)
    with product.app.app_context(), transaction():
        for package in db.session.query(Package):
            package.price_cents += 1_000
    later(70)
    assert buy(product) != token, "who begins now pays the new price"
    product.callback(ringing, receipt=receipt(1))
    product.settle()
    assert product.status(token)["status"] == "paid" and product.status(token)["credentials"]
    assert product.books() == []


def test_what_nobody_was_asked_for_is_closed_when_its_price_changes(product: Product) -> None:
    token = buy(product)
    product.callback(ring(product, token), code=1032)
    product.settle()
    with product.app.app_context(), transaction():
        for package in db.session.query(Package):
            package.price_cents += 1_000
    assert buy(product) != token
    with product.inside():
        assert db.session.query(Payment.state).filter_by(token=token).scalar() == "closed"


# --- rule 3: guesses


def test_codes_with_a_new_mac_each_time_are_counted_by_the_network(product: Product) -> None:
    """safety.md 2, money.md B24 (t10): 120 guesses with changing MAC addresses met no limit."""
    said = []
    for n in range(62):
        form = ROUTER | {"mac": f"AA:BB:CC:01:{n // 256:02X}:{n % 256:02X}", "code": receipt(n), "password": "x"}
        said.append(product.client().post("/hotspot/mlima/code", data=form).status_code)
    assert said == [422] * 60 + [429] * 2


def test_the_31st_wrong_code_of_a_device_waits(product: Product) -> None:
    """tests.md V2."""
    said = [
        product.client().post("/hotspot/mlima/code", data=ROUTER | {"code": receipt(n)}).status_code for n in range(32)
    ]
    assert said == [422] * 30 + [429] * 2


def test_a_busy_hotspot_behind_one_address_is_not_counted_for_what_is_right(product: Product) -> None:
    token = buy(product)
    pay(product, token)
    form = {"code": receipt(1), "password": password_of(product, token)}
    said = {
        product.client().post("/hotspot/mlima/code", data=form | {"mac": "AA:BB:CC:02:00:01"}).status_code
        for _n in range(80)
    }
    assert said == {200}


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1:4711", "192.0.2.1:4712", True),
        ("[2001:db8:1:2::1]:4711", "2001:db8:1:2::2", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("unix:", "", True),
        ("", "192.0.2.1", False),
    ],
)
def test_a_network_is_an_ipv4_address_or_an_ipv6_64(product: Product, first: str, second: str, is_one: bool) -> None:
    from portal.web.limits import network

    seen = []
    for address in (first, second):
        with product.app.test_request_context(environ_base={"REMOTE_ADDR": address}):
            seen.append(network())
    assert (seen[0] == seen[1]) is is_one and all(seen)


def test_guessed_payment_ids_meet_a_limit_and_true_ones_do_not(product: Product) -> None:
    """safety.md 8: 121 guesses at a CheckoutRequestID met none."""
    token = initiate(product).json["paymentId"]
    look = product.client().get
    path = "/api/portal/mpesa/status"
    said = [look(path, query_string={"checkoutRequestId": f"ws_CO_{n}"}).status_code for n in range(62)]
    assert said == [404] * 60 + [429] * 2
    assert look(path, query_string={"paymentId": "0" * 40}).status_code == 429
    assert look(path, query_string={"paymentId": token}).status_code == 200


def test_a_wrong_code_and_a_wrong_password_are_told_alike(product: Product) -> None:
    token = buy(product)
    pay(product, token)
    pages = {
        product.client()
        .post("/hotspot/mlima/code", data=ROUTER | {"code": code, "password": "wrongone"})
        .text.replace(code, "")
        for code in (receipt(1), receipt(2))
    }
    assert len(pages) == 1


# --- routers


def test_only_the_tenants_own_router_host_gets_codes(product: Product) -> None:
    """tests.md R3."""
    mlima, bahari = product.tenant_id(), product.tenant_id("bahari")
    with product.app.app_context(), transaction():
        db.session.add(
            Site(tenant_id=bahari, name="b1", login_hosts="wifi.bahari.example h.bahari.example", kind="voucher")
        )
    with product.inside():
        assert safe_login_url(bahari, "https://wifi.bahari.example/login", "b1") == "https://wifi.bahari.example/login"
        assert safe_login_url(mlima, "https://wifi.bahari.example/login", "b1") == ""


def test_the_latest_purchase_of_this_tenant_is_found_and_of_no_other(product: Product) -> None:
    """tests.md R4."""
    from portal.hotspot import purchases

    tokens = [buy(product, phone=new_phone(), package=name) for name in ("1 hour", "1 day")]
    with product.inside():
        latest = purchases.latest_of_device(product.tenant_id(), mac=MAC)
        assert latest is not None and latest.payment.token == tokens[1]
    with product.inside():
        assert purchases.latest_of_device(product.tenant_id("bahari"), mac=MAC) is None


def test_the_devices_own_address_is_not_kept_as_the_routers(product: Product) -> None:
    """coverage.md H3."""
    buy(product)
    with product.inside():
        bought = db.session.query(Purchase).one()
        assert (bought.client_ip, bought.nas_address, bought.nas_identity) == ("10.5.50.77", "", "m1")


def test_language_links_keep_what_the_router_told_after_an_error(product: Product) -> None:
    """use.md 8."""
    for path in ("/hotspot/mlima/", "/hotspot/mlima/code", "/hotspot/mlima/paid"):
        page = product.client().post(path, data=ROUTER | {"phone": "1"})
        assert page.status_code == 422
        link = re.search(r'href="([^"]+)" lang="sw"', page.text)
        assert link is not None and link[1].startswith(path)
        for part in ("mac=AA", "identity=m1", "link-login-only=http"):
            assert part in link[1]
        assert product.client().get(link[1].replace("&amp;", "&")).status_code == 200


# --- pages that keep their word


@pytest.mark.parametrize("is_clinic", [False, True])
def test_a_page_that_promises_to_show_a_payment_by_hand_goes_on_asking(product: Product, is_clinic: bool) -> None:
    """use.md 1: after a cancel, and on a clinic's "Ready to pay", it promised and asked no more."""
    token = product.invoice(50)[1] if is_clinic else buy(product)
    path = f"/pay/{token}" if is_clinic else f"/hotspot/mlima/wait/{token}"
    if not is_clinic:
        product.callback(ring(product, token), code=1032)
        product.settle()
    page = product.client().get(path).text
    assert "This page shows the payment when it has arrived." in page and 'hx-trigger="every 10s' in page
    assert 'http-equiv="refresh"' not in page, "without JavaScript nothing typed is lost"
    with product.inside():
        reference = db.session.query(Payment.reference).filter_by(token=token).scalar()
    poll = page.split('hx-get="', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    assert product.client().get(poll).status_code == 204
    body = c2b_body(receipt=receipt(5), amount=50, account=reference)
    product.client().post(f"{product.hook()}/c2b/confirmation", json=body)
    product.settle()
    shown = product.client().get(poll)
    assert shown.status_code == 200 and receipt(5) in shown.text and "hx-trigger" not in shown.text
    assert "<title>Paid · Mlima House</title>" in shown.text, "the tab's title stays true"


def test_a_waiting_prompt_is_named_with_its_countdown_when_another_package_is_chosen(product: Product) -> None:
    """use.md 12."""
    browser = product.client()
    token = buy(product, browser)
    ring(product, token)
    form = {"package": product.package("1 hour"), "phone": LOCAL} | ROUTER
    page = browser.post("/hotspot/mlima/", data=form)
    assert page.status_code == 429 and 'data-countdown="' in page.text
    assert f"/wait/{token}" in page.text and "Wrong package? Cancel the request on your phone" in page.text


def test_a_number_that_was_only_typed_extends_nobodys_pass_and_opens_no_page_of_it(product: Product) -> None:
    """Who asks a neighbour's phone for the neighbour's device, and then pays by another one, buys time of their own."""
    pay(product, buy(product))
    thief = product.client()
    token = buy(product, thief)  # the neighbour's number and device; the neighbour does not answer
    with product.app.app_context(), transaction():
        first = db.session.query(Push).join(Payment).filter(Payment.token == token).one()
        first.state = "cancelled"
    product.callback(product.pushed(token, "254733000111"), receipt=receipt(2))
    product.settle()
    with product.inside():
        neighbours, bought = db.session.query(AccessGrant).order_by(AccessGrant.id)
        assert bought.leader_id == bought.id != neighbours.id, "a pass of its own"
        assert bought.starts_at == neighbours.expires_at and bought.phone_hash != neighbours.phone_hash
        thiefs = db.session.query(Purchase).order_by(Purchase.id.desc()).limit(1).one().browser_hash
        assert standing.is_of_browser(bought, thiefs) and not standing.is_of_browser(neighbours, thiefs)


@pytest.mark.parametrize("is_first", [False, True])
def test_money_that_names_nobody_extends_a_pass_in_the_same_browser_alone(product: Product, is_first: bool) -> None:
    """A pasted message tells of money whose payer M-Pesa hides: the number beside it is what somebody typed."""

    def paste(browser_hash: str) -> None:
        with product.app.app_context(), transaction():
            tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
            package = db.session.query(Package).filter_by(uid=product.package()).one()
            gateway = client_factory.choose(tenant.id, "hotspot")
            device = purchases.Device(mac=MAC, browser_hash=browser_hash)
            payment = purchases.for_message(tenant, gateway, package, device, msisdn=PHONE)
            purchase = purchases.of_payment(payment.id)
            assert purchase is not None
            access.grant(purchase, receipt=None)

    if is_first:  # it was there before the neighbour came, and would be extended by the neighbour's money
        paste("a stranger's")
    pay(product, buy(product))
    if not is_first:
        paste("a stranger's")
    with product.inside():
        leaders = [one.leader_id for one in db.session.query(AccessGrant).order_by(AccessGrant.id)]
        assert len(set(leaders)) == 2, "each has a pass of its own"
    paste("a stranger's")
    with product.inside():
        again = [one.leader_id for one in db.session.query(AccessGrant).order_by(AccessGrant.id)]
        assert again[2] == leaders[0 if is_first else 1], "their own browser extends their own"


def test_a_strangers_phone_is_sent_so_many_codes_an_hour_by_all_businesses_and_doors_together(product: Product) -> None:
    """Each business counts for itself; whoever walks through all of them would ring one phone all night."""
    services = {slug: offer(product, slug) for slug in ("mlima", "bahari")}
    with product.app.app_context(), transaction():
        trial = {"name": "Taste", "price_cents": 0, "duration_s": 1_800, "lifetime_s": 1_800, "is_trial": True}
        db.session.add(Package(tenant_id=db.session.query(Tenant.id).filter_by(slug="mlima").scalar(), **trial))
    answers = [
        begin(product, service, starts(product, service, tenant=slug)[at], tenant=slug, phone=PHONE)
        for slug, service in services.items()
        for at in range(5)
    ]
    assert [one.status_code for one in answers] == [202] * 8 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 3_600
    refused = product.client().post("/hotspot/mlima/trial", data=ROUTER | {"phone": LOCAL})
    assert refused.status_code == 429 and "This phone was sent many codes." in refused.text
    assert begin(product, services["bahari"], starts(product, services["bahari"], tenant="bahari")[0],
                 tenant="bahari").status_code == 202, "another phone is another person's"  # fmt: skip
    with product.inside():
        assert db.session.query(OutboxItem).filter_by(kind="sms").count() == 9


def test_no_message_is_known_by_the_code_that_it_carries(product: Product) -> None:
    """Its key stands in the database as it is, and in lists and logs; what the message says is sealed."""
    with product.app.app_context(), transaction():
        trial = {"name": "Taste", "price_cents": 0, "duration_s": 1_800, "lifetime_s": 1_800, "is_trial": True}
        db.session.add(Package(tenant_id=db.session.query(Tenant.id).filter_by(slug="mlima").scalar(), **trial))
    product.client().post("/hotspot/mlima/trial", data=ROUTER | {"phone": LOCAL})
    with product.inside():
        sent = db.session.query(OutboxItem).filter_by(about="trial").one()
        (code,) = re.findall(r"type (\d{6}) on", payload_of(sent)["text"])
        assert code not in sent.key


# --- rule 3: guesses count by network and, told by the router, by site


def _sites(product: Product, *names: str) -> list[int]:
    with product.app.app_context(), transaction():
        made = [Site(tenant_id=product.tenant_id(), name=name, kind="voucher") for name in names]
        db.session.add_all(made)
        db.session.flush()
        return [one.id for one in made]


def _guessed(product: Product, what: str, address: str, times: int, *, site_id: int | None) -> bool:
    """Whether this network could guess so many times at mlima's door; each guess is asked about first, and wrong."""
    with product.app.test_request_context(environ_base={"REMOTE_ADDR": address}):
        try:
            for _time in range(times):
                limits.refuse_guessers(what, product.tenant_id(), site_id=site_id)
                limits.wrong_guess(what, product.tenant_id(), site_id=site_id)
        except CoolDown:
            return False
        return True


def test_many_networks_that_guess_at_one_site_have_a_third_of_their_steps_each(product: Product) -> None:
    lodge, cafe = _sites(product, "Lodge", "Cafe")
    for n in range(3):
        assert _guessed(product, "code", f"198.51.100.{n}", 20, site_id=lodge)
    assert not _guessed(product, "code", "198.51.100.1", 1, site_id=lodge), "sixty at this site, twenty of them its own"
    assert _guessed(product, "code", "198.51.100.9", 20, site_id=lodge), "whose network has not guessed, comes in"
    assert not _guessed(product, "code", "198.51.100.9", 1, site_id=lodge)
    assert _guessed(product, "code", "198.51.100.1", 40, site_id=cafe), "nobody guessed there: its sixty in all"
    assert not _guessed(product, "code", "198.51.100.1", 1, site_id=cafe), "another site's name buys not one more"


def test_a_busy_hotspot_behind_one_address_has_its_sixty_mistakes(product: Product) -> None:
    lodge, _cafe = _sites(product, "Lodge", "Cafe")
    assert _guessed(product, "code", "203.0.113.9", 60, site_id=lodge)
    assert not _guessed(product, "code", "203.0.113.9", 1, site_id=lodge)


def test_sites_that_are_not_there_are_one_place_together_and_no_real_ones_customers_notice(product: Product) -> None:
    lodge, _cafe = _sites(product, "Lodge", "Cafe")
    invented = [{"site": "no-such-site"}, {"identity": "Lodge 2"}, {}]
    for n in range(60):
        told = invented[n % 3] | {"code": f"WRONG{n}", "link-login-only": "http://10.5.50.1/login"}
        answer = product.client().post(
            "/hotspot/mlima/code", data=told, environ_base={"REMOTE_ADDR": f"198.51.100.{n // 20}"}
        )
        assert answer.status_code == 422
    fresh = {"code": "WRONG-A", "site": "yet-another"}
    again = product.client().post("/hotspot/mlima/code", data=fresh, environ_base={"REMOTE_ADDR": "198.51.100.1"})
    assert again.status_code == 429, "a name that nobody used before is no count of its own"
    assert _guessed(product, "code", "203.0.113.9", 60, site_id=lodge), "a real site's have all their steps"


@pytest.mark.parametrize(
    ("door", "what", "sent", "status"),
    [
        ("code", "code", {"code": "WRONG-CODE"}, 422),
        ("connect", "device", {}, 303),
        ("mine", "number", {"phone": LOCAL}, 422),
        ("lost", "lost", {"phone": LOCAL}, 200),
        ("rejoin", "phone_code", {"phone": LOCAL, "code": "123456"}, 422),
        ("trial", "trial", {"phone": LOCAL}, 200),
        ("trial/start", "phone_code", {"phone": LOCAL, "code": "123456"}, 422),
        ("line", "account", {"account": "1000001"}, 422),
        ("paid", "message", {"sms_text": "QKC1234567 Confirmed. Ksh50.00"}, 422),
        ("", "by_hand", {"by_hand": "1"}, 303),
    ],
)
def test_each_door_counts_at_the_site_that_its_router_names(
    product: Product, door: str, what: str, sent: dict[str, str], status: int
) -> None:
    lodge, _cafe = _sites(product, "Lodge", "Cafe")
    with product.app.app_context(), transaction():
        trial = {"name": "Taste", "price_cents": 0, "duration_s": 1_800, "lifetime_s": 1_800, "is_trial": True}
        db.session.add(Package(tenant_id=product.tenant_id(), **trial))
    for address, times in (("198.51.100.1", 20), ("198.51.100.2", 20), ("127.0.0.1", 19)):
        assert _guessed(product, what, address, times, site_id=lodge)
    told = {"identity": "Lodge", "package": product.package()} | sent
    if door == "paid":
        told |= {"package": ""}
    said = [product.client().post(f"/hotspot/mlima/{door}", data=told).status_code for _time in range(2)]
    assert said == [status, 429], "the sixtieth at this site, and the network's twentieth; then one more"


def test_who_asks_for_codes_from_far_away_shuts_no_site_for_its_own_customers(product: Product) -> None:
    """Thirty requests with anybody's numbers, naming a site, kept all its customers from theirs for a quarter hour."""
    _sites(product, "Lodge", "Cafe")

    def asked(address: str) -> int:
        told = {"identity": "Lodge", "phone": new_phone()}
        answer = product.client().post("/hotspot/mlima/lost", data=told, environ_base={"REMOTE_ADDR": address})
        return answer.status_code

    assert [asked(f"198.51.100.{n % 2}") for n in range(60)] == [200] * 60
    assert asked("203.0.113.9") == 200
