"""The `portal` command, as a person types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def portal(*arguments: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PORTAL_", "DATABASE_", "REDIS_", "MPESA_", "PUBLIC_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "portal", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=clean | env,
    )


@pytest.fixture
def settings(sqlite_url: str, clean_redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "PORTAL_ENV": "development", "PORTAL_SECRET_KEY": "s" * 40, "PORTAL_DATA_KEYS": "test:" + "5a" * 32,
        "DATABASE_URL": sqlite_url, "REDIS_URL": clean_redis_url, "PUBLIC_URL": "http://127.0.0.1:1", "PORTAL_DATA": str(tmp_path),
    }  # fmt: skip


def test_check_names_every_mistake_at_once() -> None:
    answer = portal("check")
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    for name in ("PORTAL_SECRET_KEY", "PORTAL_DATA_KEYS", "REDIS_URL", "PUBLIC_URL"):
        assert name in answer.stderr


def test_check_refuses_plain_http_in_production(settings: dict[str, str]) -> None:
    answer = portal("check", **(settings | {"PORTAL_ENV": "production", "PUBLIC_URL": "http://pay.example"}))
    assert answer.returncode == 1 and "https://" in answer.stderr


def test_sms_parse_needs_no_configuration_and_prints_only_json() -> None:
    text = "SKL1ABCD23 Confirmed. Ksh50.00 sent to MAWINGU NET for account ABC on 21/11/24 at 9:30 AM New M-PESA balance is Ksh1.00."
    answer = portal("sms", "parse", stdin=text)
    said = json.loads(answer.stdout)
    assert said["receipt"] == "SKL1ABCD23" and said["amount"] == 50 and said["paidTo"] == "MAWINGU NET"
    assert set(said) == {
        "kind",
        "receipt",
        "amount",
        "paidTo",
        "account",
        "date",
        "time",
        "isPaymentToBusiness",
    }


def test_a_product_is_set_up_from_nothing_and_proves_its_books(settings: dict[str, str]) -> None:
    assert portal("db", "upgrade", **settings).returncode == 0
    made = portal("tenant", "create", "upendo", "--name", "Upendo", "--clinic", **settings)
    assert made.returncode == 0, made.stderr
    assert "already" in portal("tenant", "create", "upendo", "--name", "Upendo", "--clinic", **settings).stderr
    person = portal(
        "user",
        "create",
        "a@upendo.test",
        "--name",
        "A",
        "--tenant",
        "upendo",
        "--role",
        "tenant_admin",
        "--password",
        "long enough",
        **settings,
    )
    assert person.returncode == 0, person.stderr
    assert portal("audit", "verify", **settings).returncode == 0
    ledger = portal("ledger", "check", **settings)
    assert ledger.returncode == 0 and "sums to zero" in ledger.stdout
    assert portal("keys", "rotate", **settings).returncode == 0
    assert portal("inbox", "replay", "--dead", **settings).returncode == 0
