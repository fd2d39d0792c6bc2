"""A real openNDS gateway: shut, led to the portal, paid, let in, and shut again at the end and at a refund."""

import html
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select
from werkzeug.serving import make_server

from portal.hotspot import access
from portal.hotspot.models import AccessGrant, AccessSession, Provisioning, Purchase, Site
from portal.hotspot.routers import connection
from portal.hotspot.routers.opennds import agent
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import Payment
from tests.support import opennds
from tests.support.clock import wait_until
from tests.support.opennds import Gateway
from tests.support.product import Product
from tests.support.routers import site

KEY = "a-key-of-the-site"
WHY_NOT = opennds.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT) and os.environ.get("CI") != "true", reason=f"no gateway: {WHY_NOT}")


class _Shop(BaseHTTPRequestHandler):
    """A web server somewhere in the internet."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the open internet")

    def log_message(self, *_args: object) -> None:
        return


@contextmanager
def _listening(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    assert not WHY_NOT, WHY_NOT
    before = Path("/etc/resolv.conf").read_bytes()
    with opennds.gateway(tmp_path) as made:
        yield made
    assert Path("/etc/resolv.conf").read_bytes() == before
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    assert made.gateway not in left and made.phone not in left


def test_a_phone_behind_a_real_gateway_pays_is_let_in_and_is_shut_out_again(served: Product, gateway: Gateway) -> None:
    product = served
    shop_id = site(product, name="Lodge", kind="opennds", secret=KEY)
    with product.inside():
        token = db.session.get_one(Site, shop_id).token
    with (
        _listening(ThreadingHTTPServer((gateway.wan, 0), _Shop)) as internet,
        _listening(_relay(product, gateway.wan)) as port,
    ):
        gateway.start(portal_port=port, path="/hotspot/mlima/", key=KEY)
        gateway.agent(agent.script(f"http://{gateway.wan}:{port}/routers/{token}/opennds", every_s=1))
        page = f"http://{gateway.wan}:{internet}/"

        def is_open() -> bool:
            return gateway.browse(page, limit_s=2)[2] == "the open internet"

        assert not is_open()
        status, leads, _body = gateway.browse(f"http://{gateway.wan}/")
        assert status == 307 and leads.startswith(f"http://{gateway.wan}:{port}/hotspot/mlima/?fas=")
        status, _leads, front = gateway.browse(leads)
        assert status == 200 and "opennds_auth" in front
        mac = next(iter(gateway.clients())).upper()

        first = _paid(product, gateway, leads)
        wait_until(is_open)
        with product.inside():
            grant = db.session.get_one(AccessGrant, first)
            assert grant.mac == mac
        wait_until(lambda: _stands(product, first) == "online")
        clock.move(grant.expires_at - clock.now())
        wait_until(lambda: not is_open())
        wait_until(lambda: _wanted(product, first) == "off")

        second = _paid(product, gateway, _led(gateway))
        wait_until(is_open)
        with product.inside(), transaction():
            assert access.end(db.session.get_one(AccessGrant, second), why="refunded", actor="test")
        wait_until(lambda: not is_open())

        wait_until(lambda: _stays(product) == {(mac, False)})
        leads = _led(gateway)
        gateway.stop_agent()
        third = _paid(product, gateway, leads)
        answered = product.client().get(f"/hotspot/mlima/go/{_token_of(product, third)}").headers["Location"]
        assert re.fullmatch(rf"http://{gateway.lan}:2050/opennds_auth/\?tok=[0-9a-f]{{64}}&redir=.*", answered)
        gateway.browse(answered)
        assert is_open(), "the browser's own way in works without the agent"


def _relay(product: Product, address: str) -> Any:
    """The product, on the address that the gateway reaches."""
    made = make_server(address, 0, product.app, threaded=True)
    made.daemon_threads = True  # type: ignore[attr-defined]
    return made


def _led(gateway: Gateway) -> str:
    """Where the phone is led once the gateway has seen it again."""
    found: list[str] = []

    def look() -> bool:
        status, leads, _body = gateway.browse(f"http://{gateway.wan}/")
        found[:] = [leads]
        return status == 307

    wait_until(look)
    return found[0]


def _paid(product: Product, gateway: Gateway, leads: str) -> int:
    """Bought by the phone on the page where it was led, paid on the simulator; the grant."""
    _status, _leads, front = gateway.browse(leads)
    form = re.search(r'<form method="post" action="/hotspot/mlima/".*?</form>', front, re.DOTALL)
    assert form, front
    fields = {
        html.unescape(name): html.unescape(value)
        for name, value in re.findall(r'<input type="hidden"[^>]*name="([^"]+)" value="([^"]*)"', form[0])
    }
    fields |= {"package": product.package("1 hour"), "phone": f"2547{secrets.randbelow(10**6):06d}01"}  # 01: pays
    status, leads, body = gateway.browse(leads.partition("?")[0], form=fields)
    assert status == 303, body
    token = urlsplit(leads).path.rsplit("/", 1)[-1]
    found: list[int] = []

    def is_granted() -> bool:
        with product.inside():
            ids = select(AccessGrant.id).join(Purchase, Purchase.id == AccessGrant.purchase_id)
            found[:] = db.session.scalars(
                ids.join(Payment, Payment.id == Purchase.payment_id).where(Payment.token == token)
            )
        return bool(found)

    product.settle_until(is_granted)
    return found[0]


def _stays(product: Product) -> set[tuple[str, bool]]:
    """(MAC, whether it is online) of every stay that was written down."""
    with product.inside():
        return {(one.mac, one.stopped_at is None) for one in db.session.query(AccessSession)}


def _stands(product: Product, grant_id: int) -> str:
    with product.inside():
        return connection.stands(db.session.get_one(AccessGrant, grant_id)).state


def _wanted(product: Product, grant_id: int) -> str:
    with product.inside():
        return db.session.query(Provisioning).filter_by(grant_id=grant_id).one().wanted


def _token_of(product: Product, grant_id: int) -> str:
    with product.inside():
        purchase = db.session.get_one(AccessGrant, grant_id).purchase
        return purchase.payment.token
