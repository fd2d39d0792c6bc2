"""What is bought while something runs: extended, queued, switched to, added, given; and what a refund leaves behind."""

import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal import fulfilment
from portal.gateways.models import Gateway
from portal.hotspot import access, notifications, purchases
from portal.hotspot.models import AccessGrant, Purchase, Site
from portal.hotspot.routers import passes as passes_at_routers
from portal.hotspot.routers.opennds import agent
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox import write
from portal.outbox.models import OutboxItem
from portal.payments.models import Payment, Push
from portal.tenants.models import Tenant
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product
from tests.support.routers import site
from tests.support.selling import (
    MAC,
    OTHER_MAC,
    OTHER_PHONE,
    PHONE,
    T0,
    Opened,
    buy,
    days,
    hours,
    make_package,
    now_of,
    package_of,
    refund,
    seen,
    use,
)  # fmt: skip
from tests.support.threads import together


@pytest.mark.parametrize(
    ("drawn", "password"), [(0, "aaaaaaaa"), (1, "baaaaaaa"), (31, "abaaaaaa"), (31**8 - 1, "99999999")]
)
def test_each_number_drawn_is_a_password_of_its_own(drawn: int, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def draw(below: int) -> int:
        asked.append(below)
        return drawn

    monkeypatch.setattr(secrets, "randbelow", draw)
    assert access.new_password() == password
    assert asked == [852_891_037_441]  # 31 letters and digits, eight times


class Time:
    """The clock of a test: it stands until it is moved."""

    def __init__(self) -> None:
        self.at = T0

    def pass_by(self, by: timedelta) -> None:
        self.at += by

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    standing = Time()
    monkeypatch.setattr(clock, "now", standing.now)
    yield standing


# --- extending


def test_the_same_package_again_extends_the_pass(product: Product, time: Time) -> None:
    first = buy(product)
    time.pass_by(hours(5))
    second = buy(product)
    assert second.leader_id == first.id == first.leader_id
    assert (second.starts_at, second.expires_at) == (T0 + days(1), T0 + days(2))
    third = buy(product)
    assert third.leader_id == first.id and third.expires_at == T0 + days(3)
    assert now_of(product, first) == first


def test_a_pass_that_is_over_is_extended_no_more(product: Product, time: Time) -> None:
    first = buy(product)
    time.pass_by(days(1))
    second = buy(product)
    assert second.leader_id == second.id and second.starts_at == T0 + days(1) and first.id != second.id


@pytest.mark.parametrize(("phone", "browser"), [(OTHER_PHONE, ""), (None, ""), (OTHER_PHONE, "b" * 64)])
def test_a_strangers_purchase_for_a_copied_mac_joins_nobodys_pass_and_waits(
    product: Product, time: Time, phone: str | None, browser: str
) -> None:
    mine = buy(product, browser="b" * 64)
    theirs = buy(product, phone=phone, browser=browser)
    assert theirs.leader_id == theirs.id
    assert (theirs.starts_at, theirs.expires_at) == (T0 + days(1), T0 + days(2))
    again = buy(product)
    assert again.leader_id == mine.id and again.starts_at == T0 + days(1), "theirs makes room"
    assert now_of(product, theirs).starts_at == T0 + days(2) == now_of(product, theirs).expires_at - days(1)


def test_the_same_number_on_another_device_has_another_pass(product: Product, time: Time) -> None:
    buy(product)
    other = buy(product, mac=OTHER_MAC)
    assert other.leader_id == other.id and other.starts_at == T0


def test_a_device_is_known_by_its_browser_where_no_router_told_its_mac(product: Product, time: Time) -> None:
    first = buy(product, mac="", browser="a" * 64)
    again = buy(product, mac="", browser="a" * 64)
    unknown = buy(product, mac="", browser="")
    assert again.leader_id == first.id and again.expires_at == T0 + days(2)
    assert unknown.leader_id == unknown.id and unknown.starts_at == T0


# --- another package: behind, or at once with the rest kept


def test_another_package_waits_until_what_runs_is_over(product: Product, time: Time) -> None:
    day = buy(product)
    hour = buy(product, "1 hour")
    assert hour.leader_id == hour.id and (hour.starts_at, hour.expires_at) == (T0 + days(1), T0 + days(1) + hours(1))
    longer = buy(product)
    assert longer.leader_id == day.id and longer.expires_at == T0 + days(2)
    assert now_of(product, hour).starts_at == T0 + days(2), "what waits makes room for what runs"


def test_switching_begins_now_and_keeps_every_second_of_what_ran(product: Product, time: Time) -> None:
    first, second = buy(product), buy(product)
    time.pass_by(hours(10))
    hour = buy(product, "1 hour", switches_now=True)
    assert (hour.starts_at, hour.expires_at, hour.leader_id) == (T0 + hours(10), T0 + hours(11), hour.id)
    paused, behind = now_of(product, first), now_of(product, second)
    assert (paused.starts_at, paused.expires_at) == (T0 + hours(11), T0 + hours(25))
    assert (behind.starts_at, behind.expires_at) == (T0 + hours(25), T0 + hours(49))


def test_switching_pauses_nothing_of_a_strangers(product: Product, time: Time) -> None:
    mine = buy(product)
    theirs = buy(product, "1 hour", phone=OTHER_PHONE, switches_now=True)
    assert theirs.starts_at == T0 + days(1) and now_of(product, mine) == mine


def test_what_waits_behind_the_paused_waits_as_much_longer_a_strangers_too(product: Product, time: Time) -> None:
    paused, neighbours = buy(product, "1 day"), buy(product, "1 day", phone=OTHER_PHONE)
    buy(product, "1 hour", switches_now=True)
    assert now_of(product, paused).expires_at == T0 + hours(25)
    assert now_of(product, neighbours).starts_at == T0 + hours(25)
    assert now_of(product, neighbours).expires_at == T0 + hours(49)


def test_switching_delays_nothing_that_waits_where_nothing_is_paused(product: Product, time: Time) -> None:
    buy(product, "1 day", phone=OTHER_PHONE)
    waiting = buy(product, "1 day")
    assert buy(product, "1 hour", switches_now=True).starts_at == T0
    assert now_of(product, waiting).starts_at == T0 + days(1)
    time.pass_by(hours(23.5))
    buy(product, "1 hour", phone=PHONE, switches_now=True)
    assert now_of(product, waiting).starts_at == T0 + hours(24.5)


def test_refunding_what_was_switched_to_gives_the_paused_its_time_at_once(product: Product, time: Time) -> None:
    day = buy(product)
    hour = buy(product, "1 hour", switches_now=True)
    time.pass_by(timedelta(minutes=20))
    assert refund(product, hour)
    assert now_of(product, day).starts_at == T0 + timedelta(minutes=20)
    assert now_of(product, day).expires_at == T0 + days(1) + timedelta(minutes=20)


# --- data


def test_an_addon_joins_the_pass_that_runs_and_moves_no_end(product: Product, time: Time) -> None:
    make_package(product, "2 GB", kind="data", data_cap_bytes=2 * 10**9, lifetime_s=30 * 86_400)
    make_package(product, "More", kind="data", data_cap_bytes=10**9, is_addon=True, lifetime_s=7 * 86_400)
    data = buy(product, "2 GB")
    time.pass_by(days(3))
    more = buy(product, "More")
    assert more.leader_id == data.id and (more.starts_at, more.expires_at) == (T0 + days(3), T0 + days(30))
    assert now_of(product, data) == data
    assert refund(product, more) and now_of(product, data) == data


def test_an_addon_without_a_pass_is_one_of_its_own(product: Product, time: Time) -> None:
    make_package(product, "More", kind="data", data_cap_bytes=10**9, is_addon=True, lifetime_s=7 * 86_400)
    unlimited = buy(product)
    more = buy(product, "More")
    assert more.leader_id == more.id and (more.starts_at, more.expires_at) == (T0 + days(1), T0 + days(8))
    assert unlimited.leader_id == unlimited.id
    theirs = buy(product, "More", mac=OTHER_MAC, phone=OTHER_PHONE)
    assert (theirs.starts_at, theirs.expires_at) == (T0, T0 + days(7))


def test_when_the_pass_of_an_addon_is_refunded_the_addon_keeps_its_own_time_at_most(
    product: Product, time: Time
) -> None:
    make_package(product, "2 GB", kind="data", data_cap_bytes=2 * 10**9, lifetime_s=30 * 86_400)
    make_package(product, "More", kind="data", data_cap_bytes=10**9, is_addon=True, lifetime_s=7 * 86_400)
    data, more = buy(product, "2 GB"), buy(product, "More")
    time.pass_by(days(2))
    assert refund(product, data)
    assert now_of(product, more).expires_at == T0 + days(7) and now_of(product, more).leader_id == data.id


@pytest.mark.parametrize(("used", "begins"), [(10**9 - 1, days(30)), (10**9, days(0))])
def test_a_pass_whose_data_is_used_up_holds_up_nothing(
    product: Product, time: Time, used: int, begins: timedelta
) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9, lifetime_s=30 * 86_400)
    use(product, buy(product, "1 GB"), octets=used)
    assert buy(product).starts_at == T0 + begins


def test_online_time_that_is_used_up_holds_up_nothing_and_buys_more_in_the_same_pass(
    product: Product, time: Time
) -> None:
    make_package(product, "Online hour", kind="online", online_s=3_600, lifetime_s=30 * 86_400)
    first = buy(product, "Online hour")
    use(product, first, seconds=3_600)
    again = buy(product, "Online hour")
    assert again.leader_id == first.id and again.expires_at == T0 + days(60)
    assert buy(product).starts_at == T0 + days(60), "there is online time left again"


def test_a_throttled_pass_is_never_used_up(product: Product, time: Time) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9, lifetime_s=86_400, at_cap="throttle")
    use(product, buy(product, "1 GB"), octets=2 * 10**9)
    assert buy(product).starts_at == T0 + days(1)


# --- for another number


def test_a_gift_opens_for_the_number_it_is_given_to_and_never_on_the_payers_device(
    product: Product, time: Time
) -> None:
    mine = buy(product)
    gift = buy(product, gift_to=OTHER_PHONE, receipt="SKL1ABCD23")
    assert (gift.mac, gift.starts_at, gift.leader_id) == ("", T0, gift.id)
    assert gift.username != "SKL1ABCD23" and now_of(product, mine) == mine
    another = buy(product, gift_to=OTHER_PHONE, phone=PHONE)
    assert another.leader_id == gift.id and another.expires_at == T0 + days(2)


def test_a_gift_extends_the_pass_that_its_number_has_open(product: Product, time: Time) -> None:
    theirs = buy(product, phone=OTHER_PHONE, mac=OTHER_MAC)
    gift = buy(product, gift_to=OTHER_PHONE)
    assert gift.leader_id == theirs.id and (gift.mac, gift.expires_at) == (OTHER_MAC, T0 + days(2))


@pytest.mark.parametrize(
    ("business", "begins"),
    [
        ("Mawingu Wi-Fi", "Mawingu Wi-Fi. Name: SKL1ABCD23"),
        ("Juu WIFI", "Juu Wi-Fi. Name: SKL1ABCD23"),
        ("Mlima House", "Mlima House Wi-Fi. Name: SKL1ABCD23"),
        ("Wi-Fi", "Wi-Fi Wi-Fi. Name: SKL1ABCD23"),
    ],
)
def test_a_business_that_has_wifi_in_its_name_is_not_told_to_have_it_twice(business: str, begins: str) -> None:
    told = notifications.way_in(
        business=business, name="SKL1ABCD23", password="feqpxkk4", until=T0, is_test=False, locale="en"
    )
    assert told.startswith(begins)


def test_the_way_in_of_a_gift_goes_to_its_number_and_is_shown_to_nobody_else(product: Product) -> None:
    token = paid_gift(product)
    with product.inside():
        told = write.payload_of(db.session.query(OutboxItem).one())
        opened = db.session.query(AccessGrant).one()
        assert told["to"] == "254711000002"
        assert told["text"].startswith("TEST, no real money. Mlima House Wi-Fi, paid for you. Name: ")
        assert opened.username in told["text"] and opened.password in told["text"] and opened.origin == "gift"
        password = opened.password
    status = product.status(token)
    assert status["status"] == "paid" and "credentials" not in status
    for page in (f"/pay/{token}", f"/hotspot/mlima/wait/{token}"):
        assert password not in product.client().get(page).text


def paid_gift(product: Product) -> str:
    """The token of a payment whose phone pays for another's internet."""
    with product.app.app_context(), transaction():
        token = asked_for(product, purchases.Wish(gift_msisdn=OTHER_PHONE))
    product.callback(product.pushed(token, PHONE), receipt=receipt(1))
    product.work()
    return token


def asked_for(product: Product, wish: purchases.Wish = purchases.NO_WISH) -> str:
    """The token of a payment for a day's internet that PHONE is to pay. The caller commits."""
    tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
    gateway = db.session.query(Gateway).filter_by(tenant_id=tenant.id).one()
    device = purchases.Device(mac=MAC)
    begun = purchases.open_purchase(tenant, gateway, package_of("1 day"), msisdn=PHONE, device=device, wish=wish)
    return begun.payment.token


# --- taken back


def test_refunding_the_middle_moves_up_what_follows(product: Product, time: Time) -> None:
    first, second, third = buy(product), buy(product), buy(product)
    waiting = buy(product, "1 hour")
    time.pass_by(hours(6))
    assert refund(product, second)
    assert now_of(product, first) == first
    assert (now_of(product, third).starts_at, now_of(product, third).expires_at) == (T0 + days(1), T0 + days(2))
    assert now_of(product, waiting).starts_at == T0 + days(2)


def test_refunding_the_leader_keeps_the_rest_a_pass_of_the_same_leader(product: Product, time: Time) -> None:
    first, second = buy(product), buy(product)
    time.pass_by(hours(6))
    assert refund(product, first)
    moved = now_of(product, second)
    assert (moved.leader_id, moved.starts_at, moved.expires_at) == (first.id, T0 + hours(6), T0 + hours(30))
    third = buy(product)
    assert third.leader_id == first.id and third.expires_at == T0 + hours(54)


def test_what_is_paid_again_goes_back_to_its_pass(product: Product, time: Time) -> None:
    first, second = buy(product), buy(product)
    hour = buy(product, "1 hour")
    assert refund(product, first)
    with product.app.app_context(), transaction():
        grant = db.session.get_one(AccessGrant, first.id)
        assert grant.purchase is not None
        access.grant(grant.purchase, receipt=None)
    again = now_of(product, first)
    assert (again.starts_at, again.expires_at) == (T0 + days(1), T0 + days(2))
    assert now_of(product, second).starts_at == T0 and now_of(product, hour).starts_at == T0 + days(2)


def test_refunding_what_was_used_up_moves_up_nothing_beside_what_took_its_place(product: Product, time: Time) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9, lifetime_s=86_400)
    make_package(product, "Night", lifetime_s=43_200)
    data = buy(product, "1 GB")
    use(product, data, octets=10**9)
    time.pass_by(hours(1))
    day, night, hour = buy(product), buy(product, "Night"), buy(product, "1 hour")
    assert (day.starts_at, night.starts_at, hour.starts_at) == (T0 + hours(1), T0 + hours(25), T0 + hours(37))
    time.pass_by(hours(3))
    assert refund(product, data)
    assert [now_of(product, one) for one in (day, night, hour)] == [day, night, hour]
    assert refund(product, day)
    assert (now_of(product, night).starts_at, now_of(product, hour).starts_at) == (T0 + hours(4), T0 + hours(16))


def test_what_is_paid_again_follows_its_pass_to_the_device_that_this_is_on_now(product: Product, time: Time) -> None:
    first, second = buy(product), buy(product)
    assert refund(product, first)
    with product.app.app_context(), transaction():
        assert access.move(db.session.get_one(AccessGrant, second.id), OTHER_MAC, actor="test")
    time.pass_by(hours(1))
    with product.app.app_context(), transaction():
        grant = db.session.get_one(AccessGrant, first.id)
        assert grant.purchase is not None
        access.grant(grant.purchase, receipt=None)
    again = now_of(product, first)
    assert (again.mac, again.starts_at, again.expires_at) == (OTHER_MAC, T0 + days(1), T0 + days(2))


def test_an_addon_that_is_paid_again_adds_data_and_no_time(product: Product, time: Time) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9, lifetime_s=86_400)
    make_package(product, "More", kind="data", data_cap_bytes=10**8, lifetime_s=86_400, is_addon=True)
    data = buy(product, "1 GB")
    time.pass_by(hours(1))
    more, hour = buy(product, "More"), buy(product, "1 hour")
    refund(product, more)
    with product.app.app_context(), transaction():
        grant = db.session.get_one(AccessGrant, more.id)
        assert grant.purchase is not None
        access.grant(grant.purchase, receipt=None)
    again = now_of(product, more)
    assert (again.leader_id, again.expires_at) == (data.id, T0 + days(1))
    assert now_of(product, hour) == hour


def test_an_addon_begins_no_pass_that_waits(product: Product, time: Time) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9, lifetime_s=86_400)
    make_package(product, "More", kind="data", data_cap_bytes=10**8, lifetime_s=86_400, is_addon=True)
    hour, data, more = buy(product, "1 hour"), buy(product, "1 GB"), buy(product, "More")
    assert more.leader_id == data.id and more.starts_at == data.starts_at == T0 + hours(1)
    with product.inside():
        assert not passes_at_routers.read([data.id])[data.id].is_on(T0)
    assert refund(product, hour)
    assert now_of(product, data).starts_at == now_of(product, more).starts_at == T0


def test_a_pass_that_was_extended_is_paused_whole_at_routers_too(product: Product, time: Time) -> None:
    first, second = buy(product), buy(product)
    time.pass_by(hours(25))
    buy(product, "1 hour", switches_now=True)
    with product.inside():
        paused = passes_at_routers.read([first.id])[first.id]
        assert not paused.is_on(time.at) and paused.to_come(second.id, time.at) == T0 + hours(26)
        assert paused.is_on(T0 + hours(26))


# --- other devices, routers


def test_a_pass_moves_to_another_device_with_all_that_its_number_has_waiting(product: Product, time: Time) -> None:
    first, second = buy(product), buy(product)
    hour, theirs = buy(product, "1 hour"), buy(product, "1 hour", phone=OTHER_PHONE)
    with product.app.app_context(), transaction():
        assert access.move(db.session.get_one(AccessGrant, second.id), OTHER_MAC, actor="test")
    assert {now_of(product, one).mac for one in (first, second, hour)} == {OTHER_MAC}
    assert now_of(product, theirs).mac == MAC
    with product.app.app_context(), transaction():
        assert not access.move(db.session.get_one(AccessGrant, first.id), OTHER_MAC, actor="test")


def test_a_part_that_was_refunded_leaves_no_right_on_the_device_that_its_pass_has_left(
    product: Product, time: Time
) -> None:
    gateway = site(product, kind="opennds")
    first, second = buy(product), buy(product)
    assert refund(product, first)
    with product.app.app_context(), transaction():
        assert access.move(db.session.get_one(AccessGrant, second.id), OTHER_MAC, actor="test")
    with product.inside():
        rights = agent.rights_of(db.session.get_one(Site, gateway), {MAC, OTHER_MAC}, clock.now())
        assert set(rights) == {OTHER_MAC}


def test_routers_are_told_of_the_whole_pass_and_of_nothing_else(product: Product, time: Time) -> None:
    first, second, other = buy(product), buy(product), buy(product, "1 hour", mac=OTHER_MAC)
    with product.app.app_context(), transaction():
        db.session.query(AccessGrant).update({"provision_at": None})
    with product.app.app_context(), transaction():
        access.changed([second.id])
    assert told(product) == {first.id, second.id}
    assert other.id not in told(product)


def told(product: Product) -> set[int]:
    with product.inside():
        return {one.id for one in db.session.query(AccessGrant).filter(AccessGrant.provision_at.is_not(None))}


def test_all_that_is_moved_is_told_to_routers(product: Product, time: Time) -> None:
    day, hour = buy(product), buy(product, "1 hour")
    forget(product)
    buy(product)
    assert {hour.id} < told(product) and day.id not in told(product)
    forget(product)
    buy(product, "1 hour", switches_now=True)  # which extends the hour that waits
    switched = buy(product, "1 hour", mac=OTHER_MAC)
    forget(product)
    refund(product, switched)
    assert told(product) == {switched.id}


def forget(product: Product) -> None:
    with product.app.app_context(), transaction():
        db.session.query(AccessGrant).update({"provision_at": None})


# --- at once


def test_two_purchases_of_one_device_at_one_moment_follow_each_other(either_product: Product) -> None:
    product = either_product
    together(product, *[lambda: buy(product)] * 4)
    with product.inside():
        grants = db.session.query(AccessGrant).order_by(AccessGrant.starts_at).all()
        assert len({one.leader_id for one in grants}) == 1
        for before, after in zip(grants, grants[1:], strict=False):
            assert before.expires_at == after.starts_at


def test_callbacks_of_one_device_in_one_set_make_one_pass(either_product: Product) -> None:
    """The first of a device is opened with its set, the next by the job, as if they had come one by one."""
    product = either_product
    for at in range(3):
        with product.app.app_context(), transaction():
            db.session.query(Payment).update({"live_key": None})
            token = asked_for(product)
        pushed = product.pushed(token, new_phone())
        with product.app.app_context(), transaction():  # the same phone, though it was asked a moment ago
            push = db.session.get_one(Push, pushed.push_id)
            push.phone_sealed, push.phone_hash = push.payment.phone_sealed, push.payment.phone_hash
        product.callback(pushed, receipt=receipt(at))
    with product.inside():
        fulfilment.drain()
        fulfilment.deliver_paid()
        grants = db.session.query(AccessGrant).order_by(AccessGrant.starts_at).all()
        assert len(grants) == 3 and len({one.leader_id for one in grants}) == 1
        for before, after in zip(grants, grants[1:], strict=False):
            assert before.expires_at == after.starts_at


def test_a_purchase_at_the_moment_of_a_refund_loses_and_gains_no_time(either_product: Product) -> None:
    product = either_product
    first, second = buy(product), buy(product)
    together(product, lambda: refund(product, first), lambda: buy(product))
    with product.inside():
        last = max(one.expires_at for one in db.session.query(AccessGrant).filter_by(ended_at=None))
        ended = db.session.get_one(AccessGrant, first.id).ended_at
        assert ended is not None and last - ended == days(2), second


# --- whatever is done, in whatever order


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "buy", "switch", "gift", "refund", "wait"]),
        st.sampled_from(["1 hour", "1 day"]),
        st.sampled_from([PHONE, OTHER_PHONE]),
        st.sampled_from([MAC, OTHER_MAC]),
        st.integers(0, 5),
    ),
    max_size=8,
)
SWITCHED_BEFORE_A_STRANGERS = [
    ("buy", "1 day", PHONE, MAC, 0),
    ("buy", "1 day", OTHER_PHONE, MAC, 0),
    ("buy", "1 day", OTHER_PHONE, MAC, 0),
    ("switch", "1 hour", PHONE, MAC, 0),
    ("buy", "1 day", PHONE, MAC, 0),
]


def test_no_payment_moves_an_end_nearer_and_nobody_gains_or_loses_a_second(product: Product, time: Time) -> None:
    """For every number and device: the time that is left is what was bought, less what was refunded and what ran."""
    product.begin_again()

    @given(deeds=DEEDS)
    @example(deeds=SWITCHED_BEFORE_A_STRANGERS)
    def holds(deeds: list[tuple[str, str, str, str, int]]) -> None:
        product.begin_again()
        time.at = T0
        for deed, package, phone, mac, number in deeds:
            before = rows(product)
            left = time_left(product, time.at)
            lasts = hours(1) if package == "1 hour" else days(1)
            if deed == "wait":
                time.pass_by(hours(number * 7))
                continue
            if deed == "refund":
                going = [one for one in before.values() if one.ended_at is None and one.expires_at > time.at]
                if not going:
                    continue
                chosen = going[number % len(going)]
                rest = chosen.expires_at - max(chosen.starts_at, time.at)
                refund(product, now_of_row(product, chosen.id))
                assert time_left(product, time.at) == left - rest
                continue
            other = OTHER_PHONE if phone == PHONE else PHONE
            gift_to = other if deed == "gift" else None
            made = buy(product, package, phone=phone, mac=mac, switches_now=deed == "switch", gift_to=gift_to)
            assert made.expires_at - made.starts_at == lasts
            assert time_left(product, time.at) == left + lasts
            after = rows(product)
            for one in before.values():
                assert after[one.id].expires_at >= one.expires_at
        for mates in passes(product).values():
            for one, following in zip(mates, mates[1:], strict=False):
                assert one.expires_at == following.starts_at, "a pass has no gap and no overlap"
            assert len({(one.package_id, one.phone_hash, one.mac) for one in mates}) == 1

    holds()


def rows(product: Product) -> dict[int, AccessGrant]:
    with product.inside():
        found = {one.id: one for one in db.session.query(AccessGrant)}
        db.session.expunge_all()
        return found


def now_of_row(product: Product, grant_id: int) -> Opened:
    with product.inside():
        return seen(db.session.get_one(AccessGrant, grant_id))


def time_left(product: Product, at: datetime) -> timedelta:
    going = [one for one in rows(product).values() if one.ended_at is None and one.expires_at > at]
    return sum((one.expires_at - max(one.starts_at, at) for one in going), timedelta())


def passes(product: Product) -> dict[int, list[AccessGrant]]:
    found: dict[int, list[AccessGrant]] = {}
    for one in sorted(rows(product).values(), key=lambda row: row.starts_at):
        if one.ended_at is None and one.expires_at > clock.now():
            found.setdefault(one.leader_id or 0, []).append(one)
    return found


def test_purchases_that_nobody_paid_for_open_nothing(product: Product) -> None:
    product.client().post(
        "/api/portal/mpesa/initiate",
        json={"tenant": "mlima", "packageId": product.package(), "phone": PHONE, "macAddress": MAC},
    )
    product.work()
    with product.inside():
        assert db.session.query(Purchase).count() == 1 and db.session.query(AccessGrant).count() == 0
