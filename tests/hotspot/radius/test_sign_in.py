"""Who is let in, with what, and what the others are told."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from portal.hotspot.access import move
from portal.hotspot.models import AccessGrant, DeviceSignIn, SignInRefusal
from portal.hotspot.passes import devices
from portal.hotspot.passes.models import PassDevice
from portal.hotspot.vouchers import batches
from portal.hotspot.vouchers.models import Voucher
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.radius import HOUR, Access, Hotspots, ago, seconds

GIB = 2**30
REJECTED = "Access-Reject"


def refused(answer, message: str) -> None:
    """Refused with this sentence, and with nothing else that a stranger could read."""
    assert (answer.code, answer.message) == (REJECTED, message)
    assert set(answer.attributes) == {"Reply-Message", "Message-Authenticator"}


def test_a_valid_code_is_let_in_with_what_it_bought(hotspots: Hotspots) -> None:
    sold = hotspots.sold(data_cap_bytes=5 * GIB, rate="2M/5M 4M/10M 2M/5M 8/8")
    answer = hotspots.sign_in(sold)
    told = dict(answer.attributes)
    assert answer.code == "Access-Accept" and 3585 <= int(told.pop("Session-Timeout")) <= 3600
    assert told.pop("Message-Authenticator").startswith("0x")
    assert bytes.fromhex(told.pop("Class")[2:]).decode() == f"g:{sold.id}"
    assert told == {
        "Mikrotik-Rate-Limit": "2M/5M 4M/10M 2M/5M 8/8",
        "Mikrotik-Total-Limit": str(GIB),
        "Mikrotik-Total-Limit-Gigawords": "1",
        "Acct-Interim-Interval": "300",
        "Idle-Timeout": "600",
        "Port-Limit": "1",
    }


def test_what_has_no_cap_and_no_rate_is_told_none(hotspots: Hotspots) -> None:
    answer = hotspots.sign_in(hotspots.sold(rate="", devices=3))
    assert set(answer.attributes) == {
        "Session-Timeout", "Acct-Interim-Interval", "Idle-Timeout", "Port-Limit", "Class", "Message-Authenticator",
    }  # fmt: skip
    assert answer.attributes["Port-Limit"] == "3"


def test_another_tenants_router_knows_nothing_of_the_code(hotspots: Hotspots) -> None:
    refused(hotspots.sign_in(hotspots.sold(), hotspots.kisumu), "Wrong code or password.")


def test_the_same_code_of_two_tenants_opens_each_its_own(hotspots: Hotspots) -> None:
    ours = hotspots.sold(username="SAMECODE01", rate="1M/1M")
    theirs = hotspots.sold(username="SAMECODE01", rate="9M/9M", slug="bahari")
    assert hotspots.sign_in(ours).attributes["Mikrotik-Rate-Limit"] == "1M/1M"
    assert hotspots.sign_in(theirs, hotspots.kisumu).attributes["Mikrotik-Rate-Limit"] == "9M/9M"
    refused(hotspots.sign_in(ours, hotspots.kisumu), "Wrong code or password.")


def test_an_expired_code_is_told_so(hotspots: Hotspots) -> None:
    expired = hotspots.sold(starts=-2 * HOUR, ends=timedelta(seconds=-2))
    refused(hotspots.sign_in(expired), "Your package has expired. Buy another one on the Wi-Fi page.")


def test_a_wrong_password_is_told_nothing_about_the_code(hotspots: Hotspots) -> None:
    good, expired = hotspots.sold(), hotspots.sold(starts=-2 * HOUR, ends=-HOUR)
    for access in (good, expired):
        refused(hotspots.sign_in(access, password="pass9999"), "Wrong code or password.")
    refused(hotspots.sign_in(good, username="NOBODY1234"), "Wrong code or password.")
    refused(hotspots.sign_in(good, password=""), "Wrong code or password.")


def test_chap_is_let_in_too(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    assert hotspots.sign_in(sold, chap=True).code == "Access-Accept"
    refused(hotspots.sign_in(sold, chap=True, password="pass9999"), "Wrong code or password.")


def test_a_code_may_be_typed_in_any_case(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    assert (
        hotspots.sign_in(sold, username=sold.username.lower(), password=sold.password.upper()).code == "Access-Accept"
    )


def test_a_second_device_waits_and_the_same_one_comes_back(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.account(sold, "Start", "D1")
    full = "Your package is in use on as many devices as it is for. Sign one of them out first."
    refused(hotspots.sign_in(sold, mac="aa:bb:cc:dd:ee:99"), full)
    assert hotspots.sign_in(sold, mac=sold.mac.lower().replace(":", "-")).code == "Access-Accept"
    hotspots.forget_holds(sold)
    hotspots.edit_session(sold, updated_at=ago(minutes=16))  # the power went: nobody ever says that it stopped
    assert hotspots.sign_in(sold, mac="aa:bb:cc:dd:ee:99").code == "Access-Accept"


def test_a_package_for_two_devices_takes_two(hotspots: Hotspots) -> None:
    sold = hotspots.sold(devices=2)
    hotspots.account(sold, "Start", "E1")
    assert hotspots.sign_in(sold, mac="aa:bb:cc:dd:ee:98").code == "Access-Accept"
    hotspots.account(sold, "Start", "E2", mac="aa:bb:cc:dd:ee:98")
    assert hotspots.sign_in(sold, mac="aa:bb:cc:dd:ee:99").code == REJECTED
    hotspots.account(sold, "Stop", "E1")
    assert hotspots.sign_in(sold, mac="aa:bb:cc:dd:ee:99").code == "Access-Accept"


@pytest.mark.parametrize("devices", [1, 3])
def test_of_devices_that_sign_in_at_the_same_instant_as_many_get_in_as_it_is_for(
    hotspots: Hotspots, devices: int
) -> None:
    """The router tells of a stay only after its answer: what was counted from stays alone let all of them in."""
    sold = hotspots.sold(devices=devices)
    macs = [f"AA:BB:CC:DD:20:{number:02X}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda mac: hotspots.sign_in(sold, mac=mac), macs))
    assert [one.code for one in answers].count("Access-Accept") == devices
    assert [one.code for one in answers].count(REJECTED) == 8 - devices
    (inside, *_others) = [mac for mac, one in zip(macs, answers, strict=True) if one.code == "Access-Accept"]
    outside = next(mac for mac, one in zip(macs, answers, strict=True) if one.code == REJECTED)
    assert hotspots.sign_in(sold, mac=inside).code == "Access-Accept", "the same one may ask again"
    hotspots.account(sold, "Start", f"H{devices}", mac=inside)
    hotspots.account(sold, "Stop", f"H{devices}", mac=inside)
    assert hotspots.sign_in(sold, mac=outside).code == "Access-Accept", "its place is free as soon as it left"


def test_a_place_of_a_device_whose_router_never_tells_of_a_stay_is_free_again(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:21:01").code == "Access-Accept"
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:21:02").code == REJECTED
    hotspots.forget_holds(sold)
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:21:02").code == "Access-Accept"


def test_what_is_left_of_the_data_is_sent_not_what_was_sold(hotspots: Hotspots) -> None:
    sold = hotspots.sold(data_cap_bytes=5 * GIB)
    hotspots.stayed(sold, octets=4 * GIB)
    answer = hotspots.sign_in(sold)
    assert answer.attributes["Mikrotik-Total-Limit"] == str(GIB)
    assert "Mikrotik-Total-Limit-Gigawords" not in answer.attributes
    hotspots.stayed(sold, octets=GIB)
    refused(hotspots.sign_in(sold), "The data of your package are used up. Buy more on the Wi-Fi page.")


def test_time_online_is_counted_over_all_stays(hotspots: Hotspots) -> None:
    sold = hotspots.sold(kind="online", online_s=600)
    hotspots.stayed(sold, online_s=250)
    assert seconds(hotspots.sign_in(sold)) == 350
    hotspots.stayed(sold, online_s=350)
    refused(hotspots.sign_in(sold), "The time of your package is used up. Buy another one on the Wi-Fi page.")


def test_a_suspension_acts_on_the_next_sign_in_and_so_does_its_end(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.change(sold, suspended_at=clock.now())
    refused(hotspots.sign_in(sold), "Your package is suspended. Ask the seller.")
    hotspots.change(sold, suspended_at=None)
    assert hotspots.sign_in(sold).code == "Access-Accept"


def test_what_was_closed_is_told_so(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.change(sold, ended_at=clock.now())
    refused(hotspots.sign_in(sold), "Your package was closed. Open the Wi-Fi page to see why, or to buy another one.")


def test_what_has_not_begun_says_when_it_does(hotspots: Hotspots) -> None:
    sold = hotspots.sold(starts=HOUR, ends=2 * HOUR)
    begins = clock.nairobi(clock.now() + HOUR)
    answer = hotspots.sign_in(sold)
    soon = {f"Your package begins on {begins - timedelta(minutes=one):%d/%m %H:%M}." for one in (0, 1)}
    assert answer.code == REJECTED and answer.message in soon


def test_an_extension_opens_the_whole_pass_by_each_of_its_names(hotspots: Hotspots) -> None:
    terms = {"kind": "mixed", "online_s": 600, "data_cap_bytes": 3 * GIB}
    first = hotspots.sold(**terms)
    hotspots.stayed(first, octets=2 * GIB, online_s=500)
    second = hotspots.sold(starts=HOUR, ends=2 * HOUR, leader=first.id, **terms)
    for access in (first, second):
        answer = hotspots.sign_in(access, mac=first.mac)
        assert seconds(answer) == 700
        assert answer.attributes["Mikrotik-Total-Limit-Gigawords"] == "1"  # 4 GiB of 6 are left
        assert answer.attributes["Mikrotik-Total-Limit"] == "0"
        assert bytes.fromhex(answer.attributes["Class"][2:]).decode() == f"g:{first.id}"


def test_added_data_changes_neither_the_speed_nor_the_end(hotspots: Hotspots) -> None:
    first = hotspots.sold(starts=-HOUR, ends=timedelta(seconds=1800), data_cap_bytes=GIB)
    terms = {"is_addon": True, "rate": "", "kind": "data", "data_cap_bytes": GIB}
    hotspots.sold(starts=-2 * HOUR, ends=timedelta(seconds=1800), leader=first.id, **terms)
    hotspots.stayed(first, octets=GIB + 500)
    answer = hotspots.sign_in(first)
    assert answer.attributes["Mikrotik-Rate-Limit"] == "2M/5M" and seconds(answer) <= 1800
    assert answer.attributes["Mikrotik-Total-Limit"] == str(GIB - 500)


def test_a_renewal_acts_on_the_next_sign_in(hotspots: Hotspots) -> None:
    first = hotspots.sold(starts=-2 * HOUR, ends=timedelta(seconds=-1))
    assert hotspots.sign_in(first).code == REJECTED
    hotspots.sold(starts=timedelta(seconds=-1), ends=2 * HOUR, leader=first.id)
    assert 7180 <= seconds(hotspots.sign_in(first)) <= 7200


@pytest.mark.parametrize("refunded", ["leader", "extension"])
def test_a_refunded_part_opens_nothing_and_the_other_names_of_its_pass_the_rest(
    hotspots: Hotspots, refunded: str
) -> None:
    """Its receipt is in the hands of who has the money back; what was not refunded is not theirs to lose either."""
    first = hotspots.sold(data_cap_bytes=GIB)
    second = hotspots.sold(starts=timedelta(0), ends=HOUR, leader=first.id, data_cap_bytes=GIB)
    gone, kept = (first, second) if refunded == "leader" else (second, first)
    hotspots.change(gone, ended_at=clock.now())
    refused(hotspots.sign_in(gone), "Your package was closed. Open the Wi-Fi page to see why, or to buy another one.")
    refused(hotspots.sign_in(one_time(hotspots, gone, gone.mac)),
            "Your package was closed. Open the Wi-Fi page to see why, or to buy another one.")  # fmt: skip
    answer = hotspots.sign_in(kept)
    assert 3580 <= seconds(answer) <= 3600 and answer.attributes["Mikrotik-Total-Limit"] == str(GIB)
    assert bytes.fromhex(answer.attributes["Class"][2:]).decode() == f"g:{first.id}"


def test_a_daily_cap_is_of_the_day_in_nairobi(hotspots: Hotspots) -> None:
    sold = hotspots.sold(ends=timedelta(days=7), data_cap_bytes=5 * GIB, daily_cap_bytes=GIB)
    since_midnight = clock.nairobi(clock.now()) - clock.nairobi(clock.now()).replace(hour=0, minute=0, second=0)
    hotspots.stayed(sold, octets=GIB, ago=since_midnight + timedelta(minutes=1))  # last evening
    assert hotspots.sign_in(sold).attributes["Mikrotik-Total-Limit"] == str(GIB)
    hotspots.stayed(sold, octets=GIB - 1000)
    assert hotspots.sign_in(sold).attributes["Mikrotik-Total-Limit"] == "1000"
    hotspots.stayed(sold, octets=1000)
    refused(hotspots.sign_in(sold), "Today's data are used up. There are more after midnight.")


def test_at_a_cap_that_throttles_it_goes_on_slowly(hotspots: Hotspots) -> None:
    terms = {"at_cap": "throttle", "throttled_rate": "256k/512k", "ends": timedelta(days=7)}
    whole, daily = hotspots.sold(data_cap_bytes=GIB, **terms), hotspots.sold(daily_cap_bytes=GIB, **terms)
    for access in (whole, daily):
        before = hotspots.sign_in(access)
        assert before.attributes["Mikrotik-Rate-Limit"] == "2M/5M"
        assert before.attributes["Mikrotik-Total-Limit"] == str(GIB)  # there it signs in anew, and is slow
        hotspots.stayed(access, octets=GIB)
        after = hotspots.sign_in(access)
        assert after.code == "Access-Accept" and after.attributes["Mikrotik-Rate-Limit"] == "256k/512k"
        assert "Mikrotik-Total-Limit" not in after.attributes
    midnight = clock.nairobi(clock.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert abs(seconds(hotspots.sign_in(daily)) - (midnight - clock.now()).total_seconds()) < 5
    assert seconds(hotspots.sign_in(whole)) > 6 * 86_400


def test_a_package_of_another_place_is_told_so(hotspots: Hotspots) -> None:
    sold = hotspots.sold(sites=(hotspots.westlands,))
    refused(hotspots.sign_in(sold, hotspots.kilimani), "Your package is not valid at this place.")
    assert hotspots.sign_in(sold, hotspots.westlands).code == "Access-Accept"


def test_a_mac_address_opens_nothing(hotspots: Hotspots) -> None:
    sold = hotspots.sold(mac="AA:BB:CC:DD:EE:09")
    for name in ("AA:BB:CC:DD:EE:09", "aa-bb-cc-dd-ee-09", "aabbccddee09"):
        for password in (name, "", sold.password):
            answer = hotspots.sign_in(sold, username=name, password=password, mac="AA:BB:CC:DD:EE:09")
            refused(answer, "Buy a package on the Wi-Fi page.")


def test_a_device_that_its_owner_added_is_let_in_by_its_mac_address(hotspots: Hotspots) -> None:
    """A TV has no page to sign in on; its router asks with its MAC address for a name, and perhaps for a password."""
    tv = "AA:BB:CC:DD:77:01"
    old, sold = hotspots.sold(starts=-2 * HOUR, ends=-HOUR, devices=2), hotspots.sold(devices=2, rate="1M/4M")
    for access in (old, sold):
        hotspots.added(access, tv)
    for name, password in ((tv, ""), (tv.lower(), tv.lower()), ("AA-BB-CC-DD-77-01", "x"), ("aabbccdd7701", "")):
        answer = hotspots.sign_in(sold, username=name, password=password, mac=tv)
        assert answer.code == "Access-Accept", name
        assert answer.attributes["Mikrotik-Rate-Limit"] == "1M/4M" and 3580 <= seconds(answer) <= 3600
        assert bytes.fromhex(answer.attributes["Class"][2:]).decode() == f"g:{sold.id}"
    assert hotspots.sign_in(sold, username=tv, chap=True, password="", mac=tv).code == "Access-Accept"
    buy = "Buy a package on the Wi-Fi page."
    refused(hotspots.sign_in(sold, username=tv, mac="AA:BB:CC:DD:77:02"), buy)
    refused(hotspots.sign_in(sold, hotspots.kisumu, username=tv, mac=tv), buy)
    hotspots.account(sold, "Start", "T1", mac="AA:BB:CC:DD:77:03")
    hotspots.account(sold, "Start", "T2", mac="AA:BB:CC:DD:77:04")
    refused(hotspots.sign_in(sold, username=tv, mac=tv),
            "Your package is in use on as many devices as it is for. Sign one of them out first.")  # fmt: skip
    hotspots.account(sold, "Stop", "T1", mac="AA:BB:CC:DD:77:03")
    hotspots.change(sold, suspended_at=clock.now())
    refused(hotspots.sign_in(sold, username=tv, mac=tv), "Your package is suspended. Ask the seller.")


@pytest.mark.parametrize("how", ["code", "moved"])
def test_a_mac_address_that_nobody_added_opens_nothing(hotspots: Hotspots, how: str) -> None:
    """A phone's own, copied: it signs in by name and password, or by the portal."""
    phone = "AA:BB:CC:DD:77:11" if how == "code" else "AA:BB:CC:DD:77:12"
    sold = hotspots.sold(mac=phone, devices=2)
    hotspots.added(sold, phone, how=how)
    refused(hotspots.sign_in(sold, username=phone, password="", mac=phone), "Buy a package on the Wi-Fi page.")


def test_a_device_that_was_removed_is_let_in_no_more(hotspots: Hotspots) -> None:
    tv, sold = "AA:BB:CC:DD:77:21", hotspots.sold(devices=2)
    hotspots.added(sold, tv)
    assert hotspots.sign_in(sold, username=tv, password="", mac=tv).code == "Access-Accept"
    with hotspots.product.app.app_context(), transaction():
        db.session.query(PassDevice).filter_by(mac=tv).update({"removed_at": clock.now()})
    refused(hotspots.sign_in(sold, username=tv, password="", mac=tv), "Buy a package on the Wi-Fi page.")


@pytest.mark.parametrize(
    ("rate", "up", "down"),
    [
        ("2M/5M 4M/10M 2M/5M 8/8", "2000000", "5000000"),
        ("512k/1M", "512000", "1000000"),
        ("64000/128000", "64000", "128000"),
        ("1G/3G", "1000000000", "3000000000"),
        ("5M", "5000000", "5000000"),
        ("", None, None),
    ],
)
def test_other_makes_of_routers_are_told_speed_and_end_in_their_words(
    hotspots: Hotspots, rate: str, up: str | None, down: str | None
) -> None:
    sold = hotspots.sold(rate=rate)
    told = hotspots.sign_in(sold, is_mikrotik=False).attributes
    assert (told.get("WISPr-Bandwidth-Max-Up"), told.get("WISPr-Bandwidth-Max-Down")) == (up, down)
    with hotspots.product.inside():
        ends = clock.nairobi(db.session.get_one(AccessGrant, sold.id).expires_at)
    assert told["WISPr-Session-Terminate-Time"] == f"{ends:%Y-%m-%dT%H:%M:%S}+03:00"
    assert not [name for name in hotspots.sign_in(sold).attributes if name.startswith("WISPr")]


def test_a_router_on_ipv6_is_known_by_its_address(hotspots: Hotspots) -> None:
    router, sold = hotspots.router("mlima", "::1", "secret-of-the-hill"), hotspots.sold(mac="AA:BB:CC:DD:66:01")
    accepted = hotspots.sign_in(sold, router)
    assert accepted.code == "Access-Accept" and "Message-Authenticator" in accepted.attributes
    more = ("Framed-IPv6-Address = fd00:5::17",)
    assert hotspots.account(sold, "Start", "V6", router, *more).code == "Accounting-Response"
    (stay,) = hotspots.sessions(sold)
    assert (stay["site_id"], stay["ip"]) == (router.site_id, "10.5.50.23")
    assert hotspots.sign_in(sold, router, secret="not-the-secret").code == ""


def test_a_wrong_secret_and_an_unknown_router_are_not_answered(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    assert hotspots.sign_in(sold, secret="not-the-secret").code == ""
    stranger = type(hotspots.kilimani)(0, 0, "127.0.0.77", hotspots.kilimani.secret)
    assert hotspots.sign_in(sold, stranger).code == ""


@pytest.mark.parametrize(
    "name", ["x' OR '1'='1", "x'; DROP TABLE access_grants; --", "%{sql:SELECT 1}", "a\\\\b", "x" * 240, "\\303\\251"]
)
def test_sql_in_the_user_name_finds_nothing(hotspots: Hotspots, name: str) -> None:
    sold = hotspots.sold()
    refused(hotspots.sign_in(sold, username=name), "Wrong code or password.")
    refused(hotspots.sign_in(sold, mac="x' OR '1'='1", username=name), "Wrong code or password.")
    assert hotspots.sign_in(sold).code == "Access-Accept"


def test_it_is_told_in_swahili_where_its_payer_reads_that(hotspots: Hotspots) -> None:
    from portal.tenants.models import Tenant

    sold = hotspots.sold(slug="bahari", starts=-2 * HOUR, ends=-HOUR)
    with hotspots.product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="bahari").one().locale = "sw"
    answer = hotspots.sign_in(sold, hotspots.kisumu)
    refused(answer, "Kifurushi chako kimeisha muda. Nunua kingine kwenye ukurasa wa Wi-Fi.")
    refused(hotspots.sign_in(sold, hotspots.kisumu, password="x"), "Nambari au nenosiri si sahihi.")
    with hotspots.product.app.app_context(), transaction():
        db.session.query(Tenant).filter_by(slug="bahari").one().locale = "en"


@pytest.mark.parametrize(("what", "right"), [("radius_access", "SELECT"), ("device_holds", "INSERT")])
def test_a_database_that_fails_is_no_answer_so_that_the_router_asks_again(
    hotspots: Hotspots, what: str, right: str
) -> None:
    sold = hotspots.sold()
    assert hotspots.sign_in(sold).code == "Access-Accept"
    with hotspots.product.app.app_context(), transaction():
        if db.engine.dialect.name == "postgresql":
            role = f'"{db.session.scalar(text("SELECT current_database()"))}_radius"'
            take, give_back = (
                f"{word} {what} {to} {role}"
                for word, to in ((f"REVOKE {right} ON", "FROM"), (f"GRANT {right} ON", "TO"))
            )
        elif right == "INSERT":
            take, give_back = "ALTER TABLE device_holds RENAME TO away", "ALTER TABLE away RENAME TO device_holds"
        else:
            take = "DROP VIEW radius_access"
            give_back = db.session.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'radius_access'"))
        db.session.execute(text(take))
    answer = hotspots.sign_in(sold)
    with hotspots.product.app.app_context(), transaction():
        db.session.connection().exec_driver_sql(give_back)
    assert answer.code == ""
    assert hotspots.sign_in(sold).code == "Access-Accept"


# --- one-time sign-ins


def one_time(hotspots: Hotspots, sold: Access, mac: str, *, made: timedelta = timedelta(0)) -> Access:
    with hotspots.product.app.app_context(), transaction():
        grant = db.session.get_one(AccessGrant, sold.id)
        name = f"D{sold.username}"
        db.session.add(
            DeviceSignIn(
                tenant_id=grant.tenant_id,
                grant_id=grant.id,
                mac=mac,
                username=name,
                password="onetimepass",
                expires_at=clock.now() + timedelta(minutes=1) + made,
            )  # fmt: skip
        )
    return Access(sold.id, name, "onetimepass", mac)


def test_a_one_time_sign_in_opens_its_pass_to_its_device_once(hotspots: Hotspots) -> None:
    sold = hotspots.sold(data_cap_bytes=GIB)
    once = one_time(hotspots, sold, "AA:BB:CC:DD:01:01")
    refused(
        hotspots.sign_in(once, mac="AA:BB:CC:DD:01:02"),
        "This sign-in is for another device. Open the Wi-Fi page on this one.",
    )
    refused(hotspots.sign_in(once, mac=""), "This sign-in is for another device. Open the Wi-Fi page on this one.")
    refused(hotspots.sign_in(once, password="wrong"), "Wrong code or password.")
    answer = hotspots.sign_in(once, mac="aa-bb-cc-dd-01-01")
    assert answer.code == "Access-Accept" and answer.attributes["Mikrotik-Total-Limit"] == str(GIB)
    assert bytes.fromhex(answer.attributes["Class"][2:]).decode() == f"g:{sold.id}"
    refused(hotspots.sign_in(once), "This sign-in was used or is too old. Open the Wi-Fi page again.")
    hotspots.account(once, "Start", "O1")
    assert hotspots.sessions(once)[0]["grant_id"] == sold.id


def test_a_one_time_sign_in_of_yesterday_is_over(hotspots: Hotspots) -> None:
    once = one_time(hotspots, hotspots.sold(), "AA:BB:CC:DD:01:03", made=timedelta(minutes=-2))
    refused(hotspots.sign_in(once), "This sign-in was used or is too old. Open the Wi-Fi page again.")


def test_a_one_time_sign_in_of_another_tenant_opens_nothing(hotspots: Hotspots) -> None:
    once = one_time(hotspots, hotspots.sold(), "AA:BB:CC:DD:01:04")
    refused(hotspots.sign_in(once, hotspots.kisumu), "Wrong code or password.")


# --- wrong tries


def test_who_guesses_is_held_up_by_device_by_name_and_by_site(hotspots: Hotspots) -> None:
    router = hotspots.router("mlima", "127.0.0.9", "secret-of-guessers")
    held = "Too many wrong tries. Wait ten minutes, or sign in through the Wi-Fi page."
    sold, other = hotspots.sold(mac="AA:BB:CC:DD:02:01", devices=9), hotspots.sold()
    for _n in range(10):
        assert (
            hotspots.sign_in(sold, router, mac="AA:BB:CC:DD:02:02", password="bad").message == "Wrong code or password."
        )
    refused(hotspots.sign_in(sold, router, mac="AA:BB:CC:DD:02:02"), held)  # this device, with the right password too
    refused(hotspots.sign_in(other, router, mac="AA:BB:CC:DD:02:02"), held)
    assert hotspots.sign_in(sold, router, mac="AA:BB:CC:DD:02:03").code == "Access-Accept"
    for number in range(10):  # with a new MAC address each time
        hotspots.sign_in(sold, router, mac=f"AA:BB:CC:DD:03:{number:02X}", password="bad")
    refused(hotspots.sign_in(sold, router, mac="AA:BB:CC:DD:02:03"), held)
    assert hotspots.sign_in(sold, router, mac="AA:BB:CC:DD:02:01").code == "Access-Accept"  # who bought it
    assert hotspots.sign_in(other, router).code == "Access-Accept"
    assert hotspots.sign_in(sold, hotspots.kilimani, mac="AA:BB:CC:DD:02:03").code == "Access-Accept"
    with hotspots.product.app.app_context(), transaction():
        counted = db.session.query(SignInRefusal).filter_by(site_id=router.site_id, about="site").all()
        assert sum(one.guesses for one in counted) == 20 and {one.reason for one in counted} <= {"wrong", "throttled"}
        for one in counted:
            one.guesses = 300
    refused(hotspots.sign_in(other, router), held)  # a site where somebody tries everything: only devices it knows
    assert hotspots.sign_in(sold, router, mac="AA:BB:CC:DD:02:01").code == "Access-Accept"
    with hotspots.product.app.app_context(), transaction():  # whom its owner gave a place
        place = {"tenant_id": router.tenant_id, "leader_id": other.id, "mac": other.mac, "how": "code"}
        db.session.add(PassDevice(**place))
    assert hotspots.sign_in(other, router).code == "Access-Accept"


def test_one_device_that_is_held_back_shuts_neither_a_name_nor_the_site_for_others(hotspots: Hotspots) -> None:
    """A phone that guesses on with one address would use up what the whole site may get wrong."""
    router = hotspots.router("mlima", "127.0.0.13", "secret-of-one-guesser")
    sold = hotspots.sold()
    for _guess in range(14):  # at a name of nobody's, which no count of its own stops
        hotspots.sign_in(sold, router, username="NOBODY77", password="wrong", mac="AA:BB:CC:DD:07:01")
    with hotspots.product.inside():
        rows = db.session.query(SignInRefusal).filter_by(site_id=router.site_id)
        counted = {one.about: one.guesses for one in rows if one.guesses}
    assert counted["site"] == counted["name"] == 10 and counted["device"] >= 10


def test_what_is_refused_for_another_reason_is_no_guess(hotspots: Hotspots) -> None:
    router = hotspots.router("mlima", "127.0.0.10", "secret-of-the-patient")
    expired = hotspots.sold(starts=-2 * HOUR, ends=-HOUR)
    for _n in range(12):  # a phone's MAC cookie tries for ever
        assert hotspots.sign_in(expired, router).message.startswith("Your package has expired.")
    hotspots.sign_in(expired, router, username="AA:BB:CC:DD:04:01", mac="AA:BB:CC:DD:04:01", password="")
    with hotspots.product.inside():
        rows = db.session.query(SignInRefusal).filter_by(site_id=router.site_id).all()
        assert {(one.about, one.refusals >= 1, one.guesses, one.reason) for one in rows} == {
            ("site", True, 0, "expired"), ("device", True, 0, "expired"), ("name", True, 0, "expired"),
        }  # fmt: skip
        assert sum(one.refusals for one in rows if one.about == "site") == 12


def test_no_password_is_written_down(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.sign_in(sold, password="SecretGuess42")
    hotspots.sign_in(sold)
    assert "SecretGuess42" not in hotspots.server.log and sold.password not in hotspots.server.log
    assert sold.username in hotspots.server.log and "password=" not in hotspots.server.log


# --- PPPoE


def test_a_line_that_is_paid_is_let_in_and_one_that_is_not_sees_the_portal_alone(hotspots: Hotspots) -> None:
    paid = hotspots.sold(service="pppoe", username="line-7@mlima")
    answer = hotspots.sign_in(paid)
    assert answer.code == "Access-Accept" and "Framed-Pool" not in answer.attributes
    assert "Idle-Timeout" not in answer.attributes and "Port-Limit" not in answer.attributes
    over = hotspots.sold(service="pppoe", username="line-8", starts=-2 * HOUR, ends=-HOUR)
    answer = hotspots.sign_in(over)
    told = {name: value for name, value in answer.attributes.items() if name not in ("Class", "Message-Authenticator")}
    assert answer.code == "Access-Accept" and told == {
        "Framed-Pool": "expired", "Mikrotik-Address-List": "expired", "Session-Timeout": "900",
        "Acct-Interim-Interval": "300",
    }  # fmt: skip
    assert bytes.fromhex(answer.attributes["Class"][2:]).decode() == f"w:{over.id}"
    hotspots.change(over, expires_at=clock.now() + HOUR)  # it pays
    assert "Framed-Pool" not in hotspots.sign_in(over).attributes
    hotspots.change(over, suspended_at=clock.now())
    assert hotspots.sign_in(over).attributes["Framed-Pool"] == "expired"
    refused(hotspots.sign_in(over, password="wrong"), "Wrong code or password.")


def test_tries_at_a_name_in_small_letters_are_counted_for_it(hotspots: Hotspots) -> None:
    router = hotspots.router("mlima", "127.0.0.12", "secret-of-the-lines")
    line = hotspots.sold(service="pppoe", username="line-10")
    hotspots.sign_in(line, router, password="wrong", mac="AA:BB:CC:DD:06:01")
    with hotspots.product.app.app_context(), transaction():
        (counted,) = db.session.query(SignInRefusal).filter_by(site_id=router.site_id, about="name")
        counted.guesses = 20
    held = "Too many wrong tries. Wait ten minutes, or sign in through the Wi-Fi page."
    refused(hotspots.sign_in(line, router), held)


def test_a_line_signs_in_by_mschapv2(hotspots: Hotspots) -> None:
    sold = hotspots.sold(service="pppoe", username="line-9")
    good = hotspots.sign_in_mschapv2(sold.username, sold.password)
    assert good.code == "Access-Accept" and "MS-CHAP2-Success" in good.attributes
    refused(hotspots.sign_in_mschapv2(sold.username, "wrong"), "Wrong code or password.")


# --- vouchers


def voucher_of(hotspots: Hotspots, *, sites: tuple[Any, ...] = (), **terms: Any) -> Access:
    """A code that nobody has used yet: name and password in one."""
    sold = hotspots.sold(sites=sites, **terms)
    with hotspots.product.app.app_context(), transaction():
        package = db.session.get_one(AccessGrant, sold.id).package
        (voucher,) = batches.vouchers_of(batches.make(package, 1, actor="test"))
        return Access(0, voucher.code, voucher.code, sold.mac)


def test_a_vouchers_code_alone_opens_it_and_starts_its_clock(hotspots: Hotspots) -> None:
    code = voucher_of(hotspots, duration_s=7200, lifetime_s=7200, rate="1M/3M")
    accepted = hotspots.sign_in(code)
    assert accepted.code == "Access-Accept", accepted
    assert (
        accepted.attributes["Mikrotik-Rate-Limit"] == "1M/3M"
        and 7190 <= int(accepted.attributes["Session-Timeout"]) <= 7200
    )
    with hotspots.product.inside():
        grant = db.session.query(AccessGrant).filter_by(username=code.username).one()
        assert (grant.origin, grant.mac, grant.leader_id) == ("voucher", code.mac, grant.id)
        assert grant.expires_at - grant.starts_at == timedelta(seconds=7200) and grant.provision_at is not None
        voucher = db.session.query(Voucher).filter_by(code=code.username).one()
        assert voucher.state == "redeemed" and voucher.redeemed_at == grant.starts_at
    assert hotspots.sign_in(code).code == "Access-Accept", "and it is its pass's name and password from now on"
    with hotspots.product.inside():
        assert db.session.query(AccessGrant).filter_by(username=code.username).count() == 1


def test_a_voucher_typed_at_a_router_waits_for_what_runs_on_that_device_as_at_the_portal(hotspots: Hotspots) -> None:
    running = hotspots.sold(mac="AA:BB:CC:DD:22:01", ends=HOUR)
    code, elsewhere = voucher_of(hotspots, duration_s=7200, lifetime_s=7200), voucher_of(hotspots)
    answer = hotspots.sign_in(code, mac="AA:BB:CC:DD:22:01")
    begins = clock.nairobi(clock.now() + HOUR)
    soon = {f"Your package begins on {begins - timedelta(minutes=one):%d/%m %H:%M}." for one in (0, 1)}
    assert answer.code == REJECTED and answer.message in soon
    with hotspots.product.inside():
        before = db.session.get_one(AccessGrant, running.id)
        waits = db.session.query(AccessGrant).filter_by(username=code.username).one()
        assert (waits.starts_at, waits.is_waiting) == (before.expires_at, True)
        lasts = waits.expires_at - waits.starts_at
        assert abs(lasts - timedelta(hours=2)) < timedelta(milliseconds=1)  # SQLite's own clock knows no less
        assert db.session.query(Voucher).filter_by(code=code.username).one().state == "redeemed"
    third = voucher_of(hotspots)
    assert hotspots.sign_in(third, mac="AA:BB:CC:DD:22:01").code == REJECTED
    with hotspots.product.inside():
        third_grant = db.session.query(AccessGrant).filter_by(username=third.username).one()
        assert third_grant.starts_at == waits.expires_at, "behind all that waits there"
    assert hotspots.sign_in(elsewhere, mac="AA:BB:CC:DD:22:02").code == "Access-Accept", "another device is free"


def test_a_voucher_typed_at_a_router_begins_at_once_behind_what_is_used_up(hotspots: Hotspots) -> None:
    by_data = hotspots.sold(mac="AA:BB:CC:DD:22:03", kind="data", data_cap_bytes=GIB)
    by_time = hotspots.sold(mac="AA:BB:CC:DD:22:04", kind="online", online_s=600)
    slow = hotspots.sold(mac="AA:BB:CC:DD:22:05", kind="data", data_cap_bytes=GIB, at_cap="throttle")
    closed = hotspots.sold(mac="AA:BB:CC:DD:22:06")
    hotspots.change(closed, ended_at=clock.now())
    hotspots.stayed(by_data, octets=GIB)
    hotspots.stayed(by_time, online_s=600)
    hotspots.stayed(slow, octets=GIB)
    for number, code in ((3, "Access-Accept"), (4, "Access-Accept"), (5, REJECTED), (6, "Access-Accept")):
        answer = hotspots.sign_in(voucher_of(hotspots), mac=f"AA:BB:CC:DD:22:{number:02X}")
        assert answer.code == code, number


def test_a_voucher_is_taken_by_chap_and_in_any_case(hotspots: Hotspots) -> None:
    by_chap, typed = voucher_of(hotspots), voucher_of(hotspots)
    assert hotspots.sign_in(by_chap, chap=True).code == "Access-Accept"
    lower = typed.username.lower()
    assert hotspots.sign_in(typed, username=lower, password=lower).code == "Access-Accept"


def test_a_voucher_is_opened_by_its_right_password_alone_at_its_own_sites_and_business(hotspots: Hotspots) -> None:
    code, elsewhere = voucher_of(hotspots), voucher_of(hotspots, sites=(hotspots.westlands,))
    assert hotspots.sign_in(code, password="wrong").code == "Access-Reject"
    assert hotspots.sign_in(code, hotspots.kisumu).code == "Access-Reject"
    assert hotspots.sign_in(elsewhere).code == "Access-Reject"
    with hotspots.product.inside():
        mine = Voucher.code.in_([code.username, elsewhere.username])
        states = {one.state for one in db.session.query(Voucher).filter(mine)}
    assert states == {"made"}
    assert hotspots.sign_in(elsewhere, hotspots.westlands).code == "Access-Accept"


@pytest.mark.parametrize("state", ["void", "expired"])
def test_a_voucher_that_is_over_opens_nothing(hotspots: Hotspots, state: str) -> None:
    code = voucher_of(hotspots)
    with hotspots.product.app.app_context(), transaction():
        db.session.query(Voucher).filter_by(code=code.username).update({"state": state})
    assert hotspots.sign_in(code).code == "Access-Reject"
    with hotspots.product.inside():
        assert db.session.query(AccessGrant).filter_by(username=code.username).count() == 0


def test_codes_are_not_found_by_trying(hotspots: Hotspots) -> None:
    router = hotspots.router("mlima", "127.0.0.11", "secret-of-the-corner")
    code = voucher_of(hotspots)
    for _n in range(10):
        hotspots.sign_in(code, router, username="QQQQQQQQ2", password="QQQQQQQQ2")
    refused(hotspots.sign_in(code, router), "Wrong code or password.")
    assert hotspots.sign_in(code, router, mac="AA:BB:CC:DD:05:01").code == "Access-Accept"


def test_a_line_that_is_over_is_not_let_in_through_the_hotspots_door(hotspots: Hotspots) -> None:
    """Nothing walls it in there: an hour's debt would be free internet at every hotspot of its provider."""
    over = hotspots.sold(service="pppoe", username="line-11", starts=-2 * HOUR, ends=-HOUR)
    refused = hotspots.sign_in(over, service="Login-User")
    assert refused.code == "Access-Reject" and "expired" in refused.attributes["Reply-Message"]
    assert hotspots.sign_in(over, service="Framed-User").attributes["Framed-Pool"] == "expired"


def test_moved_to_another_device_its_place_is_free_at_once(hotspots: Hotspots) -> None:
    sold = hotspots.sold(mac="AA:BB:CC:DD:23:01")
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:23:01").code == "Access-Accept"
    with hotspots.product.app.app_context(), transaction():
        assert move(db.session.get_one(AccessGrant, sold.id), "AA:BB:CC:DD:23:02", actor="test")
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:23:02").code == "Access-Accept"


def test_moved_while_it_is_online_its_place_is_free_at_once(hotspots: Hotspots) -> None:
    """The router tells of the old device's end only after its answer to the new one, or never."""
    sold = hotspots.sold(mac="AA:BB:CC:DD:23:11")
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:23:11").code == "Access-Accept"
    hotspots.account(sold, "Start", "MV1", mac="AA:BB:CC:DD:23:11")
    with hotspots.product.app.app_context(), transaction():
        devices.take_place(db.session.get_one(AccessGrant, sold.id), "AA:BB:CC:DD:23:12")
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:23:12").code == "Access-Accept"
    hotspots.account(sold, "Start", "MV2", mac="AA:BB:CC:DD:23:12")
    assert hotspots.sign_in(sold, mac="AA:BB:CC:DD:23:11").code == REJECTED, "and the old one's is gone"
    with hotspots.product.app.app_context(), transaction():
        devices.take_place(db.session.get_one(AccessGrant, sold.id), "AA:BB:CC:DD:23:11")
    refused = hotspots.sign_in(sold, mac="AA:BB:CC:DD:23:13")
    assert refused.code == REJECTED, "moved back, the stay that never ended takes the place again"
