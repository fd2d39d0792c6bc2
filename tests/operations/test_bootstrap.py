"""The sources' one-gateway configuration: MPESA_* in the environment become the first tenant's gateway, once (G4)."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.kernel import vault
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.paths import ROOT
from portal.operations.bootstrap import adopt
from portal.tenants.models import Tenant
from tests.support.application import KEYS
from tests.support.product import Product, closed_product, opened_product

GIVEN = {
    "MPESA_CONSUMER_KEY": "the-key", "MPESA_CONSUMER_SECRET": "the-secret", "MPESA_PASSKEY": "the-passkey",
    "MPESA_SHORTCODE": "600777", "MPESA_ENVIRONMENT": "production", "MPESA_INITIATOR_NAME": "api-user",
    "MPESA_SECURITY_CREDENTIAL": "c2VjcmV0", "MPESA_CALLBACK_URL": "https://pay.example.co.ke/api/mpesa/callback",
}  # fmt: skip


@pytest.fixture
def empty_product(both_databases: str, clean_redis_url: str, tmp_path: Path) -> Iterator[Product]:
    """A product at its first start, on SQLite, then on PostgreSQL."""
    product = opened_product(both_databases, clean_redis_url, tmp_path)
    yield product
    closed_product(product)


def made(product: Product) -> list[dict[str, Any]]:
    with product.inside():
        return [
            {
                "tenant": db.session.get_one(Tenant, one.tenant_id).slug, "shortcode": one.shortcode,
                "environment": one.environment, "is_default": one.is_default, "initiator": one.initiator_name,
                "purposes": (one.for_clinic, one.for_hotspot),
                "secrets": (one.secret("consumer_key"), one.secret("consumer_secret"), one.secret("passkey"),
                            one.secret("security_credential")),
            }
            for one in db.session.query(Gateway)
        ]  # fmt: skip


def test_the_first_start_makes_tenant_and_gateway_and_the_next_makes_none(empty_product: Product) -> None:
    """coverage.md G4"""
    with empty_product.app.app_context():
        assert adopt(GIVEN) is True
        assert adopt(GIVEN | {"MPESA_SHORTCODE": "600888"}) is False, "settings live in the product from then on"
    assert made(empty_product) == [
        {
            "tenant": "main", "shortcode": "600777", "environment": "production", "is_default": True,
            "initiator": "api-user", "purposes": (True, True),
            "secrets": ("the-key", "the-secret", "the-passkey", "c2VjcmV0"),
        }
    ]  # fmt: skip
    with empty_product.inside():
        gateway = db.session.query(Gateway).one()
        assert client_factory.account_of(gateway).base_url == "https://api.safaricom.co.ke"


def test_the_other_spellings_and_the_sandbox_by_default(product: Product) -> None:
    with product.app.app_context():
        with transaction():
            db.session.query(Gateway).delete()
        given = {name: value for name, value in GIVEN.items() if name not in ("MPESA_SHORTCODE", "MPESA_ENVIRONMENT")}
        assert adopt(given | {"MPESA_BUSINESS_SHORT_CODE": " 600999 "}) is True
    (one,) = made(product)
    assert (one["tenant"], one["shortcode"], one["environment"]) == ("mlima", "600999", "sandbox"), "the first tenant's"


def test_an_environment_without_m_pesa_makes_nothing_of_it(empty_product: Product) -> None:
    with empty_product.app.app_context():
        assert adopt({}) is False and adopt({"MPESA_SHORTCODE": "600777"}) is False
    assert made(empty_product) == []


def test_what_is_incomplete_is_named_and_nothing_is_kept(empty_product: Product) -> None:
    with empty_product.app.app_context():
        with pytest.raises(Refused) as refused:
            adopt({"MPESA_CONSUMER_KEY": "k", "MPESA_SHORTCODE": "12"})
        assert set(refused.value.fields) == {"shortcode", "consumerSecret", "passkey"}
        assert db.session.query(Tenant).count() == 0


def test_webhook_key_and_meetings_belong_to_the_first_tenant(product: Product) -> None:
    with product.app.app_context():
        adopt({"MPESA_WEBHOOK_KEY": "hook-key", "VIRTUAL_MEETING_BASE_URL": "https://rooms.example"})
        first, second = db.session.query(Tenant).order_by(Tenant.id)
        assert first.webhook_key_hash == vault.digest("hook-key") and second.webhook_key_hash is None
        assert first.meeting_base_url == "https://meet.example", "what was set in the product stays"


def test_of_processes_that_start_at_once_one_makes_the_gateway(empty_product: Product) -> None:
    barrier, said = threading.Barrier(4), []

    def start() -> None:
        with empty_product.app.app_context():
            barrier.wait()
            said.append(adopt(GIVEN))
            db.session.remove()

    threads = [threading.Thread(target=start) for _n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [False, False, False, True] and len(made(empty_product)) == 1


def test_another_server_than_ours_adopts_the_environment_too(
    sqlite_url: str, clean_redis_url: str, tmp_path: Path
) -> None:
    """coverage.md G4: it ran in `portal web` only."""
    settings = {
        "PORTAL_ENV": "development", "PORTAL_SECRET_KEY": "s" * 40, "PORTAL_DATA_KEYS": KEYS, "PATH": os.environ["PATH"],
        "DATABASE_URL": sqlite_url, "REDIS_URL": clean_redis_url, "PUBLIC_URL": "http://127.0.0.1:1",
        "PORTAL_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    program = "import portal.wsgi as w; print(w.app.test_client().get('/healthz').json)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=settings | GIVEN, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0 and "ok" in done.stdout, done.stderr
    product = opened_product(sqlite_url, clean_redis_url, tmp_path)
    assert [one["shortcode"] for one in made(product)] == ["600777"]
    closed_product(product)
