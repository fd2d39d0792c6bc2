"""What routers account for: once, however often, late and out of order it comes."""

from datetime import timedelta

from portal.hotspot.models import AccessSession
from portal.kernel import clock
from portal.kernel.db import db
from tests.support.radius import Hotspots, ago

ANSWERED = "Accounting-Response"
GIB = 2**30


def test_repeated_and_late_packets_are_answered_and_counted_once(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    used = (
        "Acct-Session-Time = 120",
        "Acct-Output-Octets = 1000",
        "Acct-Output-Gigawords = 1",
        "Acct-Input-Octets = 7",
    )
    end = (
        "Acct-Session-Time = 300", "Acct-Output-Octets = 2000", "Acct-Output-Gigawords = 1", "Acct-Input-Octets = 9",
        "Acct-Terminate-Cause = User-Request",
    )  # fmt: skip
    packets = [
        ("Start", ()), ("Start", ()), ("Interim-Update", used), ("Interim-Update", used), ("Stop", end), ("Stop", end),
        ("Interim-Update", used), ("Start", ()),
    ]  # fmt: skip
    for status, more in packets:
        assert hotspots.account(sold, status, "A1", None, *more).code == ANSWERED
    (row,) = hotspots.sessions(sold)
    assert (row["bytes_in"], row["bytes_out"], row["online_s"]) == (9, 2**32 + 2000, 300)
    assert (row["end_cause"], row["stopped_at"] is None) == ("User-Request", False)
    assert (row["mac"], row["ip"], row["called_station"]) == (sold.mac, "10.5.50.23", "hs1")
    assert (row["grant_id"], row["site_id"]) == (sold.id, hotspots.kilimani.site_id)
    assert row["tenant_id"] == hotspots.kilimani.tenant_id and len(row["uid"]) == 32


def test_a_stop_without_a_start_is_kept_with_when_it_began(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.account(sold, "Stop", "B1", None, "Acct-Session-Time = 3600", "Acct-Input-Octets = 5")
    (row,) = hotspots.sessions(sold)
    assert abs((clock.now() - row["started_at"]).total_seconds() - 3600) < 10
    assert abs((clock.now() - row["stopped_at"]).total_seconds()) < 10 and row["bytes_in"] == 5


def test_packets_out_of_order_never_count_backwards(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    for octets, online in ((500, 20), (900, 40), (700, 30)):
        more = (f"Acct-Input-Octets = {octets}", f"Acct-Session-Time = {online}")
        assert hotspots.account(sold, "Interim-Update", "C1", None, *more).code == ANSWERED
    hotspots.account(sold, "Start", "C1")
    (row,) = hotspots.sessions(sold)
    assert (row["bytes_in"], row["online_s"], row["stopped_at"]) == (900, 40, None)


def test_a_packet_that_waited_says_how_long(hotspots: Hotspots) -> None:
    sold, another = hotspots.sold(), hotspots.sold()
    hotspots.account(sold, "Stop", "D1", None, "Acct-Session-Time = 60", "Acct-Delay-Time = 600")
    (row,) = hotspots.sessions(sold)
    assert abs((clock.now() - row["stopped_at"]).total_seconds() - 600) < 10
    assert abs((clock.now() - row["started_at"]).total_seconds() - 660) < 10
    hotspots.account(another, "Start", "D2", None, 'Event-Timestamp = "Jan  1 1970 00:10:00 UTC"')  # no clock
    assert abs((clock.now() - hotspots.sessions(another)[0]["started_at"]).total_seconds()) < 10


def test_a_router_that_starts_anew_has_nobody_online(hotspots: Hotspots) -> None:
    here, there = hotspots.sold(), hotspots.sold()
    hotspots.account(here, "Start", "E1", hotspots.westlands)
    hotspots.account(there, "Start", "E2", hotspots.kilimani)
    assert hotspots.account(None, "Accounting-On", "", hotspots.westlands).code == ANSWERED
    assert hotspots.sessions(here)[0]["end_cause"] == "NAS-Reboot" and hotspots.sessions(here)[0]["stopped_at"]
    assert hotspots.sessions(there)[0]["stopped_at"] is None
    hotspots.account(there, "Start", "E3", hotspots.westlands)
    assert hotspots.account(None, "Accounting-Off", "", hotspots.westlands).code == ANSWERED
    assert all(row["stopped_at"] for row in hotspots.sessions(there))


def test_who_is_online_without_a_pass_is_kept_so(hotspots: Hotspots) -> None:
    ours = hotspots.sold()
    assert hotspots.account(ours, "Start", "F1", hotspots.kisumu).code == ANSWERED  # at another tenant's router
    (row,) = hotspots.sessions(ours)
    assert (row["grant_id"], row["tenant_id"]) == (None, hotspots.kisumu.tenant_id)


def test_the_pass_is_found_by_what_we_told_the_router(hotspots: Hotspots) -> None:
    ours, theirs = hotspots.sold(), hotspots.sold(slug="bahari")
    named = type(ours)(0, "RENAMED001", "", ours.mac)
    hotspots.account(named, "Start", "G1", None, f"Class = 0x{f'g:{ours.id}'.encode().hex()}")
    assert hotspots.sessions(named)[0]["grant_id"] == ours.id
    foreign = type(ours)(0, "RENAMED002", "", "AA:BB:CC:DD:09:01")
    hotspots.account(foreign, "Start", "G2", None, f"Class = 0x{f'g:{theirs.id}'.encode().hex()}")
    assert hotspots.sessions(foreign)[0]["grant_id"] is None


def test_a_name_of_an_extension_counts_for_its_pass(hotspots: Hotspots) -> None:
    first = hotspots.sold()
    second = hotspots.sold(leader=first.id, starts=timedelta(hours=1), ends=timedelta(hours=2))
    hotspots.account(second, "Start", "H1")
    assert hotspots.sessions(second)[0]["grant_id"] == first.id


def test_a_device_that_signs_in_anew_closes_what_its_router_forgot(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.account(sold, "Start", "I1")
    hotspots.edit_session(sold, updated_at=ago(minutes=7))
    hotspots.account(sold, "Start", "I2")
    old, new = hotspots.sessions(sold)
    assert (old["end_cause"], old["stopped_at"]) == ("Replaced", old["updated_at"]) and new["stopped_at"] is None
    hotspots.account(sold, "Interim-Update", "I1", None, "Acct-Session-Time = 700")  # it was there after all
    assert hotspots.sessions(sold)[0]["stopped_at"] is None and hotspots.sessions(sold)[0]["online_s"] == 700


def test_what_was_used_before_midnight_is_not_of_today(hotspots: Hotspots) -> None:
    sold = hotspots.sold(ends=timedelta(days=3), daily_cap_bytes=GIB)
    hotspots.account(sold, "Interim-Update", "J1", None, "Acct-Input-Octets = 1000", f"Acct-Output-Octets = {GIB}")
    assert hotspots.sign_in(sold).message == "Today's data are used up. There are more after midnight."
    since_midnight = clock.nairobi(clock.now()) - clock.nairobi(clock.now()).replace(hour=0, minute=0, second=0)
    hotspots.edit_session(sold, updated_at=clock.now() - since_midnight - timedelta(minutes=2))
    assert hotspots.sign_in(sold).attributes["Mikrotik-Total-Limit"] == str(GIB)
    hotspots.account(
        sold, "Interim-Update", "J1", None, "Acct-Input-Octets = 1500", f"Acct-Output-Octets = {GIB + 500}"
    )
    assert hotspots.sessions(sold)[0]["bytes_before_today"] == GIB + 1000
    assert hotspots.sign_in(sold).attributes["Mikrotik-Total-Limit"] == str(GIB - 1000)


def test_a_walled_line_uses_nothing_up(hotspots: Hotspots) -> None:
    line = hotspots.sold(service="pppoe", data_cap_bytes=GIB)
    walled = f"Class = 0x{f'w:{line.id}'.encode().hex()}"
    hotspots.account(line, "Stop", "K1", None, walled, "Acct-Input-Gigawords = 1", "Acct-Session-Time = 9")
    (row,) = hotspots.sessions(line)
    assert (row["is_walled"], row["bytes_in"], row["grant_id"]) == (True, 2**32, line.id)
    assert hotspots.sign_in(line).attributes["Mikrotik-Total-Limit"] == str(GIB)


def test_bad_values_in_accounting_hurt_nobody(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    bad = (
        'NAS-Port-Id = "x\'); DELETE FROM access_sessions; --"', "Acct-Input-Gigawords = 4294967295",
        "Acct-Session-Time = 4294967295", 'Class = 0x673a39393939393939393939393939393939393939393939',
    )  # fmt: skip
    assert hotspots.account(sold, "Start", "L1", None, *bad, mac="not a mac").code == ANSWERED
    assert hotspots.account(sold, "Interim-Update", "L1' OR '1'='1", None, *bad[:1], mac="").code == ANSWERED
    assert hotspots.account(sold, "Stop", "L2", None, *bad).code == ANSWERED
    rows = hotspots.sessions(sold)
    assert len(rows) == 3 and {row["mac"] for row in rows} == {"", sold.mac}
    assert all(row["bytes_in"] >= 0 and row["grant_id"] == sold.id for row in rows)


def test_what_is_no_session_is_answered_too(hotspots: Hotspots) -> None:
    assert hotspots.account(hotspots.sold(), "Failed", "M1").code == ANSWERED


def test_first_traffic_is_seen_in_the_row(hotspots: Hotspots) -> None:
    sold = hotspots.sold()
    hotspots.account(sold, "Start", "N1")
    with hotspots.product.inside():
        open_one = db.session.query(AccessSession).filter_by(grant_id=sold.id, stopped_at=None).one()
        assert open_one.bytes_in + open_one.bytes_out == 0
    hotspots.account(sold, "Interim-Update", "N1", None, "Acct-Input-Octets = 1")
    assert hotspots.sessions(sold)[0]["bytes_in"] == 1
