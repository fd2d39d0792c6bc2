"""The doctor: each thing that is wrong with a router is named, with what to do, within seconds."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pyrad import packet

from portal.hotspot.models import Site
from portal.hotspot.routers import interface
from portal.hotspot.routers.interface import Health, Outcome
from portal.hotspot.sites import doctor, settings
from portal.hotspot.sites.files import House, Tunnel
from portal.kernel import clock, ports
from portal.kernel.db import db, transaction
from tests.support.product import Product
from tests.support.sessions import site_of

HOUSE = House("https://pay.mlango.test", "mlima", Tunnel("vpn.mlango.test:51820", "B" * 43 + "=", "10.90.0.1"))
SECRET = "secret-of-the-router"


def looked_at(product: Product, uid: str, house: House = HOUSE) -> dict[str, doctor.Finding]:
    tenant_id = product.tenant_id()
    with product.inside():
        site = settings.get_by_uid(tenant_id, uid)
        verdict = doctor.examine(site, house, surroundings=ports.surroundings())
    return {one.name: one for one in verdict.findings}


def set_on(product: Product, uid: str, **values: Any) -> None:
    with product.inside(), transaction():
        db.session.query(Site).filter_by(uid=uid).update(values)


@pytest.fixture
def nas() -> Iterator[int]:
    """A router on loopback that knows no session; its port."""
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("127.0.0.1", 0))
    door.settimeout(0.2)
    is_over = threading.Event()

    def answer() -> None:
        while not is_over.is_set():
            try:
                raw, sender = door.recvfrom(4096)
            except TimeoutError:
                continue
            order = packet.CoAPacket(packet=raw, secret=SECRET.encode())
            if not order.VerifyCoARequest():
                continue  # as a router does with another secret
            reply = order.CreateReply()
            reply.code = packet.DisconnectNAK
            reply[101] = [(503).to_bytes(4, "big")]
            door.sendto(reply.ReplyPacket(), sender)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield int(door.getsockname()[1])
    is_over.set()
    thread.join(5)
    door.close()


@pytest.mark.parametrize(("secret", "state"), [(SECRET, "ok"), ("another-secret", "bad")])
def test_the_port_for_orders_answers_only_in_the_name_of_the_right_secret(
    product: Product, nas: int, secret: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.hotspot.radius import coa

    monkeypatch.setattr(coa, "TIMEOUT_S", 1 if state == "ok" else 0.2)
    uid = site_of(product, address="127.0.0.1", secret=secret, coaPort=nas)
    found = looked_at(product, uid)["coa_port"]
    assert found.state == state and bool(found.what_to_do) is (state == "bad")


def test_what_a_heartbeat_told_is_judged(product: Product) -> None:
    uid = site_of(product, kind="routeros")
    now = clock.now()
    told = {"last_seen_at": now, "router_version": "7.16.1 (stable)", "clock_skew_s": 30, "tunnel_key": "A" * 43 + "="}
    set_on(product, uid, **told)
    found = looked_at(product, uid)
    assert {found[name].state for name in ("heartbeat", "version", "clock", "tunnel", "portal")} == {"ok"}
    set_on(product, uid, last_seen_at=now - timedelta(minutes=10), router_version="7.6", clock_skew_s=-3_000, tunnel_key="")  # fmt: skip
    found = looked_at(product, uid, House("http://pay.mlango.test", "mlima"))
    states = {name: found[name].state for name in ("heartbeat", "version", "clock", "tunnel", "portal", "login_hosts")}
    assert states == {
        "heartbeat": "bad", "version": "warn", "clock": "bad", "tunnel": "warn", "portal": "warn", "login_hosts": "warn",
    }  # fmt: skip
    assert all(one.what_to_do for one in found.values() if one.state != "ok" and one.name in states)
    assert "50 minutes" in str(found["clock"].sentence)


@pytest.mark.parametrize(
    ("router", "name"),
    [("hangs", "reachable"), ("answers rubbish", "answer")],
)
def test_a_router_that_hangs_or_answers_rubbish_is_a_finding_and_holds_up_nobody(
    product: Product, monkeypatch: pytest.MonkeyPatch, router: str, name: str
) -> None:
    is_over = threading.Event()

    class Bad:
        capabilities: frozenset[str] = frozenset()

        def check(self, _site: Site) -> Health:
            if router == "hangs":
                is_over.wait(20)
                return Health(Outcome(True))
            raise ValueError("rubbish")

    interface.kinds()
    monkeypatch.setitem(interface._adapters, "routeros", Bad())
    monkeypatch.setattr(doctor, "ANSWER_WITHIN_S", 0.3)
    uid = site_of(product, kind="routeros")
    begun = time.monotonic()
    found = looked_at(product, uid)
    is_over.set()
    assert found[name].state == "bad" and time.monotonic() - begun < 10
