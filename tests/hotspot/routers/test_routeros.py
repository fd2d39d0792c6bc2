"""RouterOS by its API: what its menus say after each order, and what a router that does wrong comes to."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from portal.gateways import client_factory
from portal.hotspot.models import AccessSession, Site
from portal.hotspot.routers import addresses
from portal.hotspot.routers.interface import Outcome, Wanted
from portal.hotspot.routers.models import RouterState
from portal.hotspot.routers.routeros import RouterOS, connection, terms
from portal.kernel.db import db, transaction
from tests.support.product import Product
from tests.support.routeros import StubRouter, router
from tests.support.routers import PHONE, routeros_site
from tests.support.services.certificates import make_certificate

NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
WANTED = Wanted(
    grant_id=7, leader_id=7, username="UGRANT0001", password="pass1234", mac=PHONE, starts_at=NINE,
    expires_at=NINE + timedelta(hours=1), rate="2M/5M 4M/8M 1M/3M 10/10", devices=1, data_bytes=5_368_709_120,
)  # fmt: skip


@pytest.fixture
def stub() -> Iterator[StubRouter]:
    with router() as made:
        yield made


@pytest.fixture
def shop(product: Product, stub: StubRouter) -> Iterator[Site]:
    made = routeros_site(product, stub)
    with product.app.app_context():
        site = db.session.get_one(Site, made)
        db.session.expunge(site)
        yield site
        db.session.remove()


def _ensure(shop: Site, wanted: Wanted = WANTED) -> Outcome:
    return RouterOS().ensure_grants(shop, [wanted])[0]


def test_a_grant_becomes_a_user_with_its_speed_its_limits_and_its_device(shop: Site, stub: StubRouter) -> None:
    assert _ensure(shop).is_done
    user = stub.users()["UGRANT0001"]
    assert {name: user[name] for name in user if name != ".id"} == {
        "name": "UGRANT0001", "password": "pass1234", "profile": "mlango 2M/5M,4M/8M,1M/3M,10/10 x1",
        "mac-address": "AA:BB:CC:00:00:01", "limit-uptime": "3600s", "limit-bytes-total": "5368709120",
        "comment": "g:7 exp:2026-11-21T10:00:00Z", "disabled": "no",
    }  # fmt: skip
    profile = stub.menus["/ip/hotspot/user/profile"][1]
    assert profile["rate-limit"] == "2M/5M 4M/8M 1M/3M 10/10" and profile["shared-users"] == "1"


def test_told_again_it_changes_nothing_and_told_otherwise_only_that(shop: Site, stub: StubRouter) -> None:
    _ensure(shop)
    stub.users()["UGRANT0001"]["limit-uptime"] = "1h"  # as a router writes it
    stub.said.clear()
    assert _ensure(shop).code == "as_it_was" and not [one for one in stub.said if one.endswith(("/add", "/set"))]
    longer = replace(WANTED, expires_at=NINE + timedelta(hours=2))
    assert _ensure(shop, longer).code == "limits_changed"
    assert stub.users()["UGRANT0001"]["limit-uptime"] == "7200s" and len(stub.users()) == 1


def test_a_user_that_somebody_else_made_is_left_alone(shop: Site, stub: StubRouter) -> None:
    stub.menus["/ip/hotspot/user"].append(
        {".id": "*9", "name": "UGRANT0001", "password": "theirs", "comment": "my uncle"}
    )
    outcome = _ensure(shop)
    assert (outcome.is_done, outcome.is_retryable, outcome.code) == (False, False, "name_taken")
    assert RouterOS().revoke_grants(shop, [WANTED])[0].code == "not_ours"
    assert stub.users()["UGRANT0001"]["password"] == "theirs"


def test_taken_back_the_user_its_cookie_and_its_session_are_gone_and_others_stay(shop: Site, stub: StubRouter) -> None:
    _ensure(shop)
    for menu in ("/ip/hotspot/active", "/ip/hotspot/cookie"):
        stub.menus[menu] = [{".id": "*A", "user": "UGRANT0001", "mac-address": PHONE}, {".id": "*B", "user": "other"}]
    assert RouterOS().revoke_grants(shop, [WANTED])[0].is_done
    assert stub.users() == {} and stub.online() == ["other"]
    assert [row["user"] for row in stub.menus["/ip/hotspot/cookie"]] == ["other"]
    assert RouterOS().revoke_grants(shop, [WANTED])[0].code == "was_gone"


def test_a_device_is_signed_in_where_the_router_sees_it_not_where_its_browser_says(
    shop: Site, stub: StubRouter
) -> None:
    _ensure(shop)
    outcome = RouterOS().push_login(shop, WANTED, mac=PHONE, ip="10.5.50.99")
    assert outcome.code == "not_here" and outcome.is_retryable
    stub.joins(PHONE, "10.5.50.7")
    assert RouterOS().push_login(shop, WANTED, mac=PHONE, ip="10.5.50.99").is_done
    (active,) = stub.menus["/ip/hotspot/active"]
    assert (active["user"], active["address"], active["mac-address"]) == ("UGRANT0001", "10.5.50.7", PHONE)
    (listed,) = RouterOS().sessions(shop).sessions
    assert (listed.username, listed.mac, listed.ip, listed.online_s) == ("UGRANT0001", PHONE, "10.5.50.7", 0)


def test_a_kick_counts_only_when_the_session_is_gone(shop: Site, stub: StubRouter) -> None:
    stub.menus["/ip/hotspot/active"].append({".id": "*A", "user": "UGRANT0001", "mac-address": PHONE})
    stay = AccessSession(username="UGRANT0001", mac=PHONE)
    stub.fault = "keeps_sessions"
    outcome = RouterOS().kick(shop, stay)
    assert (outcome.is_done, outcome.code) == (False, "still_online")
    stub.fault = ""
    assert RouterOS().kick(shop, stay).is_done and stub.online() == []
    assert RouterOS().kick(shop, stay).is_done  # there is no such session: done too


def test_a_router_that_says_yes_and_does_nothing_is_caught_by_reading_back(shop: Site, stub: StubRouter) -> None:
    stub.fault = "liar"
    outcome = _ensure(shop)
    assert (outcome.is_done, outcome.is_retryable, outcome.code) == (False, True, "differs")
    stub.fault = ""
    _ensure(shop)
    stub.fault = "liar"
    assert _ensure(shop, replace(WANTED, password="another1")).code == "differs"
    assert RouterOS().revoke_grants(shop, [WANTED])[0].code == "differs"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("close", "broken_answer"),
        ("nonsense", "broken_answer"),
        ("fatal", "broken_answer"),
        ("trap", "refused_by_router"),
    ],
)
def test_what_a_router_does_wrong_is_an_outcome_to_be_tried_again(
    shop: Site, stub: StubRouter, fault: str, code: str
) -> None:
    stub.fault = fault
    for outcome in (_ensure(shop), RouterOS().push_login(shop, WANTED, mac=PHONE, ip="")):
        assert not outcome.is_done and outcome.is_retryable and outcome.code in (code, "not_here"), outcome


@pytest.mark.parametrize("fault", ["hang", "trickle"])
def test_a_router_that_never_finishes_is_given_up(
    shop: Site, stub: StubRouter, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.1)
    stub.fault = fault
    with pytest.raises(connection.Trouble) as caught, connection.conversation(shop, lasting_s=0.3):
        raise AssertionError("it never signed us on")
    assert caught.value.outcome.code == "timed_out"


def test_nobody_there_a_wrong_password_and_no_settings_each_say_so(shop: Site, stub: StubRouter) -> None:
    shop.api_password = "wrong"
    assert _ensure(shop).code == "sign_on_failed"
    shop.api_username = ""
    assert _ensure(shop).code == "not_set_up"
    shop.api_username, shop.api_port = "mlango", 9
    assert _ensure(shop).code == "unreachable"


def test_the_certificate_shown_first_is_pinned_and_another_gets_no_password(product: Product, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_certificate("127.0.0.1", tmp_path / f"{name}.key", tmp_path / f"{name}.pem")
    with router(certificate=(tmp_path / "one.pem", tmp_path / "one.key")) as first:
        shop_id = routeros_site(product, first, api_uses_tls=True)
        with product.inside():
            assert _ensure(_site(shop_id)).is_done
    with router(certificate=(tmp_path / "two.pem", tmp_path / "two.key")) as second, product.inside():
        shop = _site(shop_id)
        shop.api_port = second.port
        assert _ensure(shop).code == "certificate_changed" and second.said == []
        with transaction():
            connection.forget_certificate(shop_id)
        assert _ensure(shop).is_done
        assert db.session.query(RouterState).one().certificate_sha256 != ""


def _site(site_id: int) -> Site:
    site = db.session.get_one(Site, site_id)
    db.session.expunge(site)
    db.session.remove()
    return site


def test_the_check_names_what_is_wrong_and_what_to_do(shop: Site, stub: StubRouter) -> None:
    assert RouterOS().check(shop).outcome.is_done
    stub.menus["/system/resource"][0]["version"] = "6.40.9"
    stub.menus["/ip/hotspot"].clear()
    stub.menus["/system/clock"] = [{".id": "*1", "date": "1970-01-02", "time": "00:00:10", "gmt-offset": "+03:00"}]
    health = RouterOS().check(shop)
    assert not health.outcome.is_done
    assert [(one.name, one.is_well) for one in health.findings] == [
        ("connection", True), ("version", False), ("clock", False), ("hotspot", False), ("walled_garden", True),
    ]  # fmt: skip
    assert all(str(one.remedy) for one in health.findings if not one.is_well)
    shop.api_password = "wrong"
    (only,) = RouterOS().check(shop).findings
    assert not only.is_well and "user and password" in str(only.remedy)


def found(shop: Site, name: str) -> tuple[bool, str]:
    """What the check says of this."""
    (one,) = [one for one in RouterOS().check(shop).findings if one.name == name]
    assert one.is_well or str(one.remedy)
    return one.is_well, str(one.text)


def test_the_check_reads_back_what_is_open_before_paying(shop: Site, stub: StubRouter) -> None:
    assert found(shop, "walled_garden") == (True, "Before they pay, phones reach pay.mlango.test.")
    garden = stub.menus["/ip/hotspot/walled-garden"]
    garden.append({".id": "*2", "dst-host": "*.gstatic.com", "action": "allow"})
    assert found(shop, "walled_garden")[0] is False and "*.gstatic.com" in found(shop, "walled_garden")[1]
    garden.pop()
    for gone in ({"disabled": "yes"}, {"action": "deny"}, {"comment": "somebody's"}):
        kept = dict(garden[0])
        garden[0].update(gone)
        assert found(shop, "walled_garden")[0] is False, gone
        garden[0].clear()
        garden[0].update(kept)


@pytest.mark.parametrize(
    ("profile", "is_well"),
    [
        ({"radius-accounting": "yes", "radius-interim-update": "received"}, True),
        ({"radius-accounting": "yes", "radius-interim-update": "5m"}, True),
        ({"radius-accounting": "yes", "radius-interim-update": "1h"}, False),
        ({"radius-accounting": "yes", "radius-interim-update": "0s"}, False),
        ({"radius-accounting": "no", "radius-interim-update": "received"}, False),
    ],
)
def test_the_check_reads_back_how_often_stays_are_accounted_for(
    shop: Site, stub: StubRouter, profile: dict[str, str], is_well: bool
) -> None:
    assert "interim" not in {one.name for one in RouterOS().check(shop).findings}, "it asks no RADIUS"
    stub.menus["/ip/hotspot/profile"][0].update({"use-radius": "yes"} | profile)
    assert found(shop, "interim")[0] is is_well


@pytest.mark.parametrize(
    ("text", "whole"),
    [("0s", 0), ("30m", 1_800), ("1w2d3h4m5s", 788_645), ("01:02:03", 3_723), ("2d01:00:00", 176_400), ("90", 90)],
)
def test_durations_as_routeros_writes_them(text: str, whole: int) -> None:
    assert terms.seconds(text) == whole


@pytest.mark.parametrize("text", ["", "soon", "-5s", "1h 2m", "1:2"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        terms.seconds(text)


def in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = replace(client_factory.connections(), is_development=False)
    monkeypatch.setattr(client_factory, "connections", lambda: outside)


@pytest.mark.parametrize("leads_to", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.1"])  # noqa: S104
def test_a_name_that_leads_to_ourselves_is_no_router_whatever_it_was_when_it_was_entered(
    shop: Site, stub: StubRouter, monkeypatch: pytest.MonkeyPatch, leads_to: str
) -> None:
    """A tenant owns its name: it may lead to our database, our Redis or the cloud's metadata a moment later."""
    in_production(monkeypatch)
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to, stub.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_more: answer)
    shop.address = "router.evil.example"
    (outcome,) = RouterOS().ensure_grants(shop, [WANTED])
    assert (outcome.is_done, outcome.code) == (False, "unreachable") and "no router's" in outcome.text
    assert stub.connections == 0, "nothing was connected to"


def test_an_address_of_this_very_machine_is_ours(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    with product.inside():
        in_production(monkeypatch)
        assert addresses.is_ours(ip_address("127.0.0.53")) and addresses.is_ours(ip_address("::1"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(("192.0.2.1", 9))
            own = ip_address(asking.getsockname()[0])
        assert addresses.is_ours(own) and not addresses.is_ours(ip_address("192.0.2.1"))
