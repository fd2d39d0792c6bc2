"""Heartbeats, outages, and time given back: once, whole, to whoever was online there, and to nobody else."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.audit.models import AuditEntry
from portal.hotspot.models import AccessGrant, AccessSession, Purchase, Site
from portal.hotspot.pppoe import keeping, periods
from portal.hotspot.pppoe.models import PppoeLine
from portal.hotspot.sites import outages
from portal.hotspot.sites.models import GivenBack, Outage
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.logs import mask_text
from portal.outbox import write
from portal.outbox.models import OutboxItem
from tests.support.clock import later
from tests.support.hotspot import prompt_sent
from tests.support.lines import line_of, messages_to, standing, typed_at_the_paybill
from tests.support.product import Product
from tests.support.sessions import pass_of, site_of, stay_of

KEY, OTHER_KEY = "A" * 43 + "=", "B" * 43 + "="


def token_of(product: Product, site_uid: str) -> str:
    with product.inside():
        return db.session.query(Site.token).filter_by(uid=site_uid).scalar()  # type: ignore[no-any-return]


def beat(product: Product, site_uid: str, **told: Any) -> None:
    """One heartbeat at the door."""
    body = "\n".join(f"{name}={value}" for name, value in told.items())
    path = f"/routers/{token_of(product, site_uid)}/heartbeat"
    assert product.client().post(path, data=body, content_type="application/x-www-form-urlencoded").status_code == 204


def looked(product: Product) -> None:
    """What the scheduler and a worker do."""
    with product.inside():
        outages.notice()
    with product.inside():
        outages.give_back()


def end_of(product: Product, grant_id: int) -> Any:
    with product.inside():
        return db.session.get_one(AccessGrant, grant_id).expires_at


def out_for(product: Product, site_uid: str, minutes: float) -> None:
    """The router speaks, falls silent for so long, and speaks again; we look at all of it."""
    beat(product, site_uid)
    later(minutes * 60 / 2)
    looked(product)
    later(minutes * 60 / 2)
    beat(product, site_uid)
    looked(product)


def test_a_heartbeat_tells_version_clock_and_key_and_costs_a_flood_nothing(product: Product) -> None:
    uid = site_of(product)
    local = clock.nairobi(clock.now()) + timedelta(minutes=10)
    beat(product, uid, version="7.16.1 (stable)", clock=f"{local:%Y-%m-%d %H:%M:%S}", offset="+03:00".lstrip("+"), key=KEY)  # fmt: skip
    with product.inside():
        site = db.session.query(Site).filter_by(uid=uid).one()
        assert (site.router_version, site.tunnel_key) == ("7.16.1 (stable)", KEY)
        assert site.clock_skew_s is not None and 595 <= site.clock_skew_s <= 605
        first = site.last_seen_at
    later(5)
    beat(product, uid, version="7.17")
    with product.inside():
        assert db.session.query(Site.last_seen_at).filter_by(uid=uid).scalar() == first
    later(60)
    beat(product, uid, version="7.17", clock="oops", offset="x", key=OTHER_KEY)
    with product.inside():
        site = db.session.query(Site).filter_by(uid=uid).one()
        assert (site.router_version, site.clock_skew_s, site.tunnel_key) == ("7.17", None, KEY), "the first key stays"


@pytest.mark.parametrize("path", ["nobody", "x" * 65, "%00", "a/b/c"])
def test_a_token_of_nobody_is_answered_alike_or_has_no_door(product: Product, path: str) -> None:
    answer = product.client().post(f"/routers/{path}/heartbeat", data=b"\xff\xfe=\x00\nversion=\x00" * 50)
    assert answer.status_code == (404 if path == "a/b/c" else 204) and not (answer.status_code == 204 and answer.data)


def test_the_token_stands_in_no_log() -> None:
    assert mask_text("GET /routers/" + "ab12" * 10 + "/heartbeat") == "GET /routers/***"


def test_an_outage_is_given_back_once_audited_and_behind_it_everything_moves(product: Product) -> None:
    uid = site_of(product)
    grant_id = pass_of(product)
    behind = pass_of(product, username="SKL2ABCD23")
    other = pass_of(product, username="SKL3ABCD23")
    with product.inside(), transaction():
        waiting, stranger = db.session.get_one(AccessGrant, behind), db.session.get_one(AccessGrant, other)
        first = db.session.get_one(AccessGrant, grant_id)
        waiting.starts_at, waiting.expires_at = first.expires_at, first.expires_at + timedelta(hours=1)
        stranger.mac = "AA:BB:CC:DD:EE:99"
    stay_of(product, uid, grant_id=grant_id)
    before = [end_of(product, one) for one in (grant_id, behind, other)]
    out_for(product, uid, 60)
    for _again in range(3):
        looked(product)
    after = [end_of(product, one) for one in (grant_id, behind, other)]
    moved = [(b - a).total_seconds() for a, b in zip(before, after, strict=True)]
    assert moved[0] == moved[1] and 3_599 <= moved[0] <= 3_602 and moved[2] == 0
    with product.inside():
        rows = db.session.query(AuditEntry).filter_by(action="outage_given_back").all()
        assert [row.details["grant"] for row in rows] == [grant_id]
        assert db.session.get_one(AccessGrant, grant_id).provision_at is not None
        assert db.session.query(Outage).one().given_back_at is not None


def test_a_pass_that_ended_meanwhile_comes_back_for_what_it_lost(product: Product) -> None:
    uid, grant_id = site_of(product), pass_of(product, hours=0.5)
    stay_of(product, uid, grant_id=grant_id)
    out_for(product, uid, 120)
    left = (end_of(product, grant_id) - clock.now()).total_seconds()
    assert 29 * 60 <= left <= 31 * 60


def test_a_line_has_it_back_too_and_what_is_paid_behind_moves(product: Product) -> None:
    uid, line = site_of(product), line_of(product, price=1_000, days=30)
    typed_at_the_paybill(product, 1, 2_000, line.account)
    product.work()
    with product.inside():
        grant_id = db.session.get_one(PppoeLine, line.id).grant_id
    stay_of(product, uid, grant_id=grant_id)
    before = standing(product, line)
    out_for(product, uid, 60)
    for _again in range(2):
        looked(product)
        product.work()
        with product.app.app_context():
            keeping.keep()
    after = standing(product, line)
    assert before.paid_until is not None and after.paid_until is not None
    assert 3_599 <= (after.paid_until - before.paid_until).total_seconds() <= 3_602
    assert (after.grant_until, after.periods, after.state) == (after.paid_until, 2, "active")
    with product.inside():
        first, second = periods.that_run(line.id, after=clock.now())
        assert first.ends_at == second.starts_at and second.ends_at == after.paid_until
    (said,) = [text for text in messages_to(product, line) if "was down" in text]
    until = f"{clock.nairobi(after.paid_until):%d/%m %H:%M}"
    assert f"That time is given back: paid until {until}." in said
    with product.inside():
        outages.give_back()
    assert len([text for text in messages_to(product, line) if "was down" in text]) == 1


def test_who_was_elsewhere_had_left_or_was_closed_has_nothing_back(product: Product) -> None:
    uid, elsewhere = site_of(product), site_of(product, name="Other", address="10.90.0.8")
    grants = {name: pass_of(product, username=name) for name in ("AWAY", "LEFT", "SHUT", "LATE")}
    now = clock.now()
    stay_of(product, elsewhere, grant_id=grants["AWAY"])
    long_ago = {"started_at": now - timedelta(hours=2), "updated_at": now - timedelta(hours=1)}
    stay_of(product, uid, grant_id=grants["LEFT"], stopped_at=now - timedelta(hours=1), **long_ago)
    stay_of(product, uid, grant_id=grants["SHUT"])
    with product.inside(), transaction():
        db.session.get_one(AccessGrant, grants["SHUT"]).ended_at = now
    before = {name: end_of(product, one) for name, one in grants.items()}
    beat(product, uid)
    beat(product, elsewhere)
    later(60)
    stay_of(product, uid, grant_id=grants["LATE"], started_at=clock.now())  # after the last word of the router
    for _minute in range(30):
        later(60)
        beat(product, elsewhere)
    looked(product)
    later(600)
    beat(product, uid)
    looked(product)
    assert {name: end_of(product, one) for name, one in grants.items()} == before


def test_a_short_silence_and_our_own_absence_give_nothing_back(product: Product) -> None:
    uid, grant_id = site_of(product), pass_of(product)
    stay_of(product, uid, grant_id=grant_id)
    before = end_of(product, grant_id)
    beat(product, uid)
    later(4 * 60)
    looked(product)
    beat(product, uid)
    looked(product)
    later(3_600)  # we were away: at our first look everybody is silent, and speaks a moment later
    looked(product)
    later(30)
    beat(product, uid)
    looked(product)
    assert end_of(product, grant_id) == before


def test_a_site_without_heartbeats_has_no_outages(product: Product) -> None:
    uid, grant_id = site_of(product), pass_of(product)
    stay_of(product, uid, grant_id=grant_id)
    later(3_600)
    looked(product)
    with product.inside():
        assert db.session.query(Outage).count() == 0


def test_two_workers_give_the_time_back_once(either_product: Product) -> None:
    product = either_product
    uid, grant_id = site_of(product), pass_of(product)
    stay_of(product, uid, grant_id=grant_id)
    before = end_of(product, grant_id)
    beat(product, uid)
    later(1_800)
    with product.inside():
        outages.notice()
    later(1_800)
    beat(product, uid)
    with product.inside():
        outages.notice()

    def work() -> None:
        with product.app.app_context():
            outages.give_back()
            db.session.remove()

    threads = [threading.Thread(target=work) for _n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    moved = (end_of(product, grant_id) - before).total_seconds()
    assert 3_599 <= moved <= 3_602


def test_one_pass_that_cannot_be_extended_stops_no_other(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = site_of(product)
    bad, good = pass_of(product, username="BAD"), pass_of(product, username="GOOD")
    for one in (bad, good):
        stay_of(product, uid, grant_id=one, mac=f"AA:BB:CC:DD:EE:{one:02X}")
    with product.inside(), transaction():
        db.session.get_one(AccessGrant, good).mac = "AA:BB:CC:DD:EE:77"
    before = end_of(product, good)
    whole = outages._give_back_to

    def broken(outage_id: int, leader_id: int) -> bool:
        if leader_id == bad:
            raise RuntimeError("boom")
        return whole(outage_id, leader_id)

    monkeypatch.setattr(outages, "_give_back_to", broken)
    out_for(product, uid, 60)
    assert end_of(product, good) > before
    with product.inside():
        assert db.session.query(Outage).one().given_back_at is None, "the other is tried again"
    monkeypatch.setattr(outages, "_give_back_to", whole)
    looked(product)
    with product.inside():
        assert db.session.query(GivenBack).filter_by(leader_id=bad).one().seconds > 0


MINUTES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 24)), min_size=1, max_size=3)


@given(MINUTES)
def test_whatever_the_routers_did_each_outage_is_given_back_exactly_once(product: Product, story: Any) -> None:
    """story: minutes of talking, then minutes of silence, and so on; we look every two minutes, and twice."""

    def begun() -> tuple[Any, int, Any]:
        uid, grant_id = site_of(product), pass_of(product, hours=48)
        return uid, grant_id, stay_of(product, uid, grant_id=grant_id)

    uid, grant_id, stay = product.begin_again(begun)
    before, expected = end_of(product, grant_id), 0.0
    for talking, silent in story:
        later(60 * talking)
        beat(product, uid)
        with product.inside(), transaction():
            db.session.query(AccessSession).filter_by(uid=stay).update({"updated_at": clock.now()})
        fell_silent = clock.now()
        for _two in range(silent // 2):
            later(120)
            looked(product)
        later(60)
        beat(product, uid)
        looked(product)
        looked(product)
        gone_s = (clock.now() - fell_silent).total_seconds()
        with product.inside():
            last = db.session.query(Outage).order_by(Outage.id.desc()).first()
            if last is not None and abs((last.started_at - fell_silent).total_seconds()) < 30:
                if (last.ended_at - last.noticed_at) >= outages.NOTICED_FOR:  # type: ignore[operator]
                    expected += gone_s
                assert gone_s >= 300, "no outage of less than five minutes"
            else:
                assert gone_s < 480, "one of eight minutes is always seen twice"
    moved = (end_of(product, grant_id) - before).total_seconds()
    assert abs(moved - expected) <= 2 * len(story) + 1


def test_who_paid_is_told_once_in_their_language(product: Product) -> None:
    begun = product.client().post(
        "/api/portal/mpesa/initiate?lang=sw",
        json={"tenant": "mlima", "packageId": product.package("1 day"), "phone": "0712345678"},
    )
    product.callback(prompt_sent(product, begun.json["paymentId"]), receipt="SKL1ABCD23")  # type: ignore[index]
    product.work()
    uid = site_of(product)
    with product.inside(), transaction():
        grant_id = db.session.query(AccessGrant.id).scalar()
        db.session.query(Purchase).update({"locale": "sw"})
    stay_of(product, uid, grant_id=grant_id)
    out_for(product, uid, 60)
    looked(product)
    with product.inside():
        told = db.session.query(OutboxItem).filter(OutboxItem.key.like("sms/outage/%")).all()
        texts = [write.payload_of(one) for one in told]
    assert len(texts) == 1 and texts[0]["to"] == "254712345678"
    assert "ilikatika kuanzia" in texts[0]["text"]
