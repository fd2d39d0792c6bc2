"""The outer walls: which names are answered, who may read the counts, what lies open on the disk, what the door says."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.kernel.paths import ROOT
from tests.support.application import KEYS
from tests.support.daraja import receipt
from tests.support.product import Product, closed_product, opened_product

OURS = "https://pay.mlima.test"
TOKEN = "t" * 40
Made = Callable[..., Product]


@pytest.fixture
def in_production(sqlite_url: str, clean_redis_url: str, tmp_path: Path) -> Iterator[Made]:
    """The product as an operator runs it."""
    products = []

    def make(**changes: Any) -> Product:
        given = {"development": False, "public_url": OURS} | changes
        products.append(opened_product(sqlite_url, clean_redis_url, tmp_path, **given).furnish())
        return products[-1]

    yield make
    for product in products:
        closed_product(product)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "pay.mlima.test.evil.example", "evil.example:443", "127.0.0.1", "[::1]", "pay.mlima.test@x"],
)
def test_a_request_for_another_host_is_refused_in_production(in_production: Made, host: str) -> None:
    """safety.md 16"""
    client = in_production().client()
    for path in ("/", "/hotspot/mlima/", "/login", "/api/portal/packages?tenant=mlima", "/static/css/mlango.css"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code in (400, 421) and "evil" not in answer.text, path


@pytest.mark.parametrize("host", ["pay.mlima.test", "PAY.mlima.test", "pay.mlima.test:443", "pay.mlima.test:8443"])
def test_our_own_name_is_answered_through_whatever_port_the_proxy_says(in_production: Made, host: str) -> None:
    assert in_production().client().get("/hotspot/mlima/", headers={"Host": host}).status_code == 200


def test_a_load_balancer_asks_for_health_by_address(in_production: Made) -> None:
    client = in_production(metrics_token=TOKEN).client()
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = client.get(path, headers={"Host": "10.0.0.7:8000", "Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code in (200, 503), path


@pytest.mark.parametrize("proxies", [0, 1])
def test_a_forwarded_host_names_nothing_of_ours(in_production: Made, proxies: int) -> None:
    """safety.md 16: with a trusted proxy X-Forwarded-Host became `user-portal-url`."""
    product = in_production(trusted_proxies=proxies)
    _number, token = product.invoice(100)
    foreign = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Host": "evil.example"}
    for path in (f"/hotspot/mlima/api/{token}", "/hotspot/mlima/", f"/pay/{token}"):
        answer = product.client().get(path, headers=foreign, base_url=OURS)
        assert answer.status_code == 200 and "evil.example" not in answer.text + str(answer.headers), path
    captive = product.client().get(f"/hotspot/mlima/api/{token}", headers=foreign, base_url=OURS)
    assert captive.json["user-portal-url"] == f"{OURS}/hotspot/mlima/"  # type: ignore[index]


def test_in_development_the_captive_portals_address_is_the_public_one_too(product: Product) -> None:
    answer = product.client().get("/hotspot/mlima/api/nonsense", headers={"Host": "evil.example"})
    assert answer.json["user-portal-url"] == "http://127.0.0.1:1/hotspot/mlima/"  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401), ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": "Bearer é"}, 401), ({"Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)  # fmt: skip
def test_the_counts_are_behind_their_token(in_production: Made, given: dict[str, str], status: int) -> None:
    """safety.md 15: /metrics summed all tenants' sales for anybody."""
    product = in_production(metrics_token=TOKEN)
    answer = product.client().get("/metrics", headers=given, base_url=OURS)
    assert answer.status_code == status and ("mlango_pushes" in answer.text) is (status == 200)
    assert product.client().get(f"/metrics?token={TOKEN}", base_url=OURS).status_code == 401, "never in an address"


def test_without_a_token_production_has_no_metrics_and_health_stays(in_production: Made) -> None:
    client = in_production().client()
    assert client.get("/metrics", base_url=OURS).status_code == 404
    assert client.get("/healthz", base_url=OURS).status_code == 200
    assert client.get("/readyz", base_url=OURS).status_code in (200, 503)


def test_productions_front_page_names_no_tenant(in_production: Made, sqlite_url: str) -> None:
    """safety.md 17"""
    page = in_production().client().get("/", base_url=OURS)
    assert page.status_code == 200 and "/login" in page.text
    for named in ("Mlima", "mlima", "Bahari", "bahari"):
        assert named not in page.text


def test_a_demonstrations_front_page_still_shows_its_doors(product: Product) -> None:
    assert "/hotspot/mlima/" in product.client().get("/").text


def test_database_and_spool_are_nobody_elses_to_read(clean_redis_url: str, tmp_path: Path) -> None:
    """safety.md 14: the database lay 0644 in a folder 0755."""
    data = tmp_path / "var"
    program = (
        "import os, sys; from portal.cli import main\n"
        "main(['db', 'upgrade'], standalone_mode=False)\n"
        "from portal.app import create_app; from portal.payments.inbox import inbox\n"
        "app = create_app()\n"
        "letter = inbox.envelope('c2b', gateway_token='x', body=b'{}', remote_address='')\n"
        "app.extensions['spool'].append(letter)\n"
    )
    settings = {
        "PORTAL_ENV": "development", "PORTAL_SECRET_KEY": "s" * 40, "PORTAL_DATA_KEYS": KEYS,
        "REDIS_URL": clean_redis_url, "PUBLIC_URL": "http://127.0.0.1:1", "PORTAL_DATA": str(data),
        "PATH": os.environ["PATH"],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=settings, umask=0o022, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    found = {str(path.relative_to(data)): stat.S_IMODE(path.stat().st_mode) for path in data.rglob("*")}
    assert {"portal.db", "spool", "spool/callbacks.jsonl"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_meetings_link_is_whole_wherever_the_clinic_meets(product: Product) -> None:
    """coverage.md C4: without a base URL the link was relative, and went out by SMS so."""
    from portal.clinic.meetings.wanted import link
    from portal.clinic.models import Appointment

    one = Appointment(join_token="abc")
    with product.inside():
        for base, whole in (
            ("", "http://127.0.0.1:1/join/abc"),
            ("/rooms", "http://127.0.0.1:1/rooms/abc"),
            ("https://meet.example/r/", "https://meet.example/r/abc"),
        ):
            assert link(one, base_url=base, public_url="http://127.0.0.1:1") == whole


def test_what_is_sold_shows_in_the_counts_of_who_may_read_them(in_production: Made) -> None:
    product = in_production(metrics_token=TOKEN)
    _number, token = product.invoice(100)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    text = product.client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, base_url=OURS).text
    assert 'mlango_pushes{state="awaiting_pin"} 1.0' in text
