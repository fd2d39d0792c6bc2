"""What staff change in a pass that runs, and what time alone does."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from portal.audit.models import AuditEntry
from portal.hotspot import live, upkeep
from portal.hotspot.models import AccessGrant
from portal.hotspot.routers import passes
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from tests.support.product import Product
from tests.support.selling import (
    MAC,
    OTHER_MAC,
    OTHER_PHONE,
    T0,
    Opened,
    buy,
    days,
    hours,
    make_package,
    now_of,
    package_of,
    refund,
    use,
)
from tests.support.visitors import csrf_of


@pytest.fixture(autouse=True)
def stands(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time, which stands until it is changed."""
    at = [T0]
    monkeypatch.setattr(clock, "now", lambda: at[0])
    return at


def done(product: Product, opened: Opened, what: Any, *given: Any, **named: Any) -> None:
    with product.app.app_context(), transaction():
        what(db.session.get_one(AccessGrant, opened.id), *given, **named, actor="user:1")


def test_time_is_given_at_the_end_and_what_waits_makes_room(product: Product) -> None:
    first, second, hour = buy(product), buy(product), buy(product, "1 hour")
    done(product, first, live.extend, 7_200, why="outage")
    assert now_of(product, first) == first
    assert now_of(product, second).expires_at == T0 + days(2) + hours(2)
    assert now_of(product, hour).starts_at == T0 + days(2) + hours(2)
    with product.inside():
        step = db.session.query(AuditEntry).filter_by(action="access_extended").one()
        assert (step.actor, step.new, step.why) == ("user:1", "7200 s", "outage")


@pytest.mark.parametrize("seconds", [0, 59, -3_600, 31 * 86_400 + 1])
def test_time_beyond_bounds_is_not_given(product: Product, seconds: int) -> None:
    opened = buy(product)
    with pytest.raises(Refused):
        done(product, opened, live.extend, seconds, why="x")


def test_another_package_changes_speed_and_not_the_end(product: Product) -> None:
    make_package(product, "Fast", rate="10M/20M", devices=3)
    first, second = buy(product), buy(product)
    with product.inside():
        from tests.support.selling import package_of

        uid = package_of("Fast").uid
    done(product, first, live.change_package, uid, why="upgrade paid in kind")
    with product.inside():
        assert {one.package.rate for one in db.session.query(AccessGrant)} == {"10M/20M"}
    assert now_of(product, second) == second


def test_a_suspension_holds_the_whole_pass_until_it_is_lifted(product: Product) -> None:
    first, second, other = buy(product), buy(product), buy(product, mac=OTHER_MAC)
    done(product, second, live.suspend, why="abuse")
    with product.inside():
        held = {one.id for one in db.session.query(AccessGrant).filter(AccessGrant.suspended_at.is_not(None))}
    assert held == {first.id, second.id} and other.id not in held
    done(product, first, live.lift)
    with product.inside():
        assert db.session.query(AccessGrant).filter(AccessGrant.suspended_at.is_not(None)).count() == 0


def test_what_is_over_is_changed_no_more(product: Product) -> None:
    opened = buy(product)
    done(product, opened, live.end, why="asked")
    with pytest.raises(Conflict):
        done(product, opened, live.extend, 3_600, why="x")
    with product.app.app_context(), pytest.raises(NotFound):
        live.find(1, "NOBODY")


@pytest.mark.parametrize("mac", ["", "x", "AA:BB", "'; DROP TABLE access_grants"])
def test_a_pass_is_moved_to_a_mac_address_and_to_nothing_else(product: Product, mac: str) -> None:
    opened = buy(product)
    with pytest.raises(Refused):
        done(product, opened, live.move, mac)
    done(product, opened, live.move, OTHER_MAC.lower())
    assert now_of(product, opened).mac == OTHER_MAC


def test_staff_change_a_pass_on_its_page_with_a_reason(product: Product) -> None:
    opened = buy(product, receipt="SKL1ABCD23")
    brian = product.browser_of("brian")
    page = "/staff/passes/SKL1ABCD23"
    assert brian.get("/staff/vouchers/code?code=skl1abcd23").headers["Location"] == page
    for reason, ends in (("", T0 + days(1)), ("Outage", T0 + days(1) + hours(2))):
        data = {"csrf_token": csrf_of(brian, page), "what": "extend", "number": "2", "unit": "h", "reason": reason}
        assert brian.post(page, data=data).status_code == 303
        assert now_of(product, opened).expires_at == ends
    shown = brian.get(page).text
    assert "more time" in shown and "Outage" in shown and re.search(r"3 Mar 2026, 08:00", shown)
    assert product.browser_of("njeri").get(page).status_code == 403


# --- time alone


def test_what_waits_behind_a_used_up_pass_begins(product: Product, stands: list[datetime]) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9, lifetime_s=30 * 86_400)
    data, day = buy(product, "1 GB"), buy(product)
    hour = buy(product, "1 hour", phone=OTHER_PHONE)
    assert day.starts_at == T0 + days(30)
    stands[0] = T0 + days(2)
    begin(product)
    assert now_of(product, day).starts_at == T0 + days(30), "there is data left"
    use(product, data, octets=10**9)
    begin(product)
    assert (now_of(product, day).starts_at, now_of(product, day).expires_at) == (T0 + days(2), T0 + days(3))
    assert now_of(product, hour).starts_at == T0 + days(3)
    begin(product)
    assert now_of(product, hour).starts_at == T0 + days(3)


def begin(product: Product) -> None:
    with product.inside():
        upkeep.begin_waiting()


def test_a_code_that_waits_does_not_run_out_on_the_address_that_its_device_left(
    product: Product, stands: list[datetime]
) -> None:
    day, code = buy(product), buy(product, "1 hour", phone=None)
    done(product, day, live.move, OTHER_MAC)
    stands[0] = T0 + hours(1)
    begin(product)
    assert now_of(product, code).starts_at == T0 + days(1)
    theirs = buy(product, "1 hour", phone=OTHER_PHONE, mac=OTHER_MAC)
    done(product, day, live.move, MAC)
    stands[0] = T0 + hours(2)
    begin(product)
    assert now_of(product, theirs).starts_at == T0 + hours(2), "whose number is known begins where the way is free"


def test_another_package_changes_nothing_of_added_data(product: Product) -> None:
    make_package(product, "1 GB", kind="data", data_cap_bytes=10**9)
    make_package(product, "More", kind="data", data_cap_bytes=10**8, is_addon=True)
    data, more = buy(product, "1 GB"), buy(product, "More")
    with product.inside():
        day, added = package_of("1 day"), package_of("More").id
        uid = day.uid
    done(product, data, live.change_package, uid, why="A gift.")
    with product.inside():
        assert db.session.get_one(AccessGrant, more.id).package_id == added
        left = passes.read([data.id])[data.id]
        assert left.data_cap_bytes is None, "what has no limit is not limited to what was added to it"


def test_routers_are_told_again_when_what_waited_begins(product: Product, stands: list[datetime]) -> None:
    buy(product)
    hour = buy(product, "1 hour")
    with product.app.app_context(), transaction():
        db.session.query(AccessGrant).update({"provision_at": None})
    begin(product)
    with product.inside():
        assert db.session.query(AccessGrant).filter(AccessGrant.provision_at.is_not(None)).count() == 0
    stands[0] = T0 + days(1) + timedelta(seconds=5)
    begin(product)
    with product.inside():
        told = db.session.query(AccessGrant).filter(AccessGrant.provision_at.is_not(None)).one()
        assert told.id == hour.id and told.is_waiting is False


def test_a_paused_pass_is_told_when_it_goes_on(product: Product, stands: list[datetime]) -> None:
    day = buy(product)
    hour = buy(product, "1 hour", switches_now=True)
    with product.inside():
        assert {one.id: one.is_waiting for one in db.session.query(AccessGrant)} == {day.id: True, hour.id: False}
    stands[0] = T0 + hours(1)
    begin(product)
    with product.inside():
        assert {one.is_waiting for one in db.session.query(AccessGrant)} == {False}
        assert db.session.get_one(AccessGrant, day.id).provision_at == T0 + hours(1)
    assert refund(product, hour) is False and now_of(product, day).mac == MAC


def test_a_pass_of_another_business_is_not_found_by_its_name(product: Product) -> None:
    """Names are typed: of two businesses each may have the same, and none sees the other's."""
    username = buy(product).username
    with product.inside():
        assert live.find(product.tenant_id(), username.lower()).username == username
        with pytest.raises(NotFound):
            live.find(product.tenant_id("bahari"), username)
