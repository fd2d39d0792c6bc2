"""What is written for FreeRADIUS: by whom it can be read, what its statements ask for, and what its role may do."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from portal.hotspot.radius import config, server
from portal.kernel.errors import Refused
from tests.support.product import Product
from tests.support.radius import Hotspots
from tests.support.services.freeradius import PACKAGES, READY, _two_free_ports
from tests.support.services.programs import lacking

TENANT, SITE = "%{client:shortname}", "%{client:nas_type}"
POSTGRESQL = "postgresql+psycopg://mlango:it's a \"secret\\@db.example/portal?sslmode=require"


def statements(url: str, directory: Path) -> dict[str, str]:
    """Every SQL statement of the configuration, by where it stands."""
    text = config.files(config.Settings(url), directory)["radiusd.conf"]
    found = re.findall(r'(\w+_query|query) = "([^\n]*)"\n|%\{sql:([^\n]*)\}"\n', text)
    return {f"{name or 'xlat'} {number}": query or xlat for number, (name, query, xlat) in enumerate(found)}


@pytest.mark.parametrize("url", ["sqlite:////srv/portal.db", POSTGRESQL])
def test_every_statement_says_whose_it_is(url: str, tmp_path: Path) -> None:
    """Tenant and site come from the router's address; without them one tenant's router would read another's rows."""
    asked = {
        name: query
        for name, query in statements(url, tmp_path).items()
        if "open_query" not in name and query not in ("SELECT 1", "${..accounting-on.query}")
    }
    (client,) = [name for name, query in asked.items() if "Packet-Src-IP-Address" in query]
    del asked[client]
    assert len(asked) == 11
    for name, query in asked.items():
        if query.startswith("EXECUTE"):
            assert re.match(rf"EXECUTE mlango_\w+\( *{re.escape(TENANT)}, *{re.escape(SITE)},", query), name
        else:
            assert f"tenant_id = {TENANT}" in query or f"SELECT {TENANT}," in query, name
    for name, query in statements(url, tmp_path).items():
        for prepared in query.split("PREPARE ")[1:]:
            assert "tenant_id = $1" in prepared, name


@pytest.mark.parametrize("url", ["sqlite:////srv/portal.db", POSTGRESQL])
def test_what_a_packet_says_stands_between_quotes(url: str, tmp_path: Path) -> None:
    """Escaped there by rlm_sql; numbers are attributes of whole numbers, and ours."""
    numbers = (
        "client:shortname|client:nas_type|control:Mlango-Sign-In|control:Mlango-Guess|control:Port-Limit|%{Mlango-Walled}:-false|"
        r"%{(?:Mlango-Ago|Acct-Session-Time|Acct-(?:In|Out)put-(?:Octets|Gigawords))}:-0"
    )
    for name, query in statements(url, tmp_path).items():
        outside = re.sub(r"'[^']*'", "''", query)
        assert re.sub(rf"%\{{(?:{numbers})\}}", "0", outside).count("%{") == 0, (name, outside)


def test_the_configuration_is_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "radius"
    os.umask(0o022)
    config.write(config.Settings("sqlite:////srv/portal.db"), directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in directory.iterdir()} == {"radiusd.conf", "dictionary", "reject_attrs"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())


def test_a_password_is_quoted_and_kept_out_of_what_is_logged(tmp_path: Path) -> None:
    text = config.files(config.Settings(POSTGRESQL), tmp_path)["radiusd.conf"]
    database = re.findall(r'radius_db = "(.*)"', text)
    assert "secret" not in database[0] and "sslmode=require" in database[0] and "dbname=portal" in database[0]
    assert re.findall(r'password = "(.*)"', text)[0] == r"it\\'s a \"secret\\\\"


@pytest.mark.parametrize(
    "wrong", [{"listen": ("nowhere",)}, {"networks": ("10.0.0.0/99",)}, {"port": 65535}, {"port": 0}]
)
def test_what_is_no_address_no_network_or_no_port_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused):
        config.Settings("sqlite:////srv/portal.db", **wrong)  # type: ignore[arg-type]


def test_it_listens_where_it_is_told_and_to_whom(tmp_path: Path) -> None:
    settings = config.Settings(
        "sqlite:////srv/portal.db", listen=("10.64.0.1", "127.0.0.1"), networks=("10.64.0.0/16",)
    )
    text = config.files(settings, tmp_path)["radiusd.conf"]
    assert text.count("ipaddr = 10.64.0.1\n") == 2 and text.count("ipaddr = 127.0.0.1\n") == 2
    assert "ipaddr = 10.64.0.0/16\n" in text and text.count("port = 1812\n") == text.count("port = 1813\n") == 2


@pytest.mark.parametrize("hotspots", ["postgresql"], indirect=True)
def test_the_role_reads_what_it_must_and_nothing_else(hotspots: Hotspots) -> None:
    url = hotspots.product.app.config["PORTAL"].database_url
    role = config.role_of(url, "k" * 40)
    hotspots.account(hotspots.sold(), "Start", "R1")
    allowed = [
        "SELECT * FROM radius_access",
        "SELECT secret FROM radius_sites",
        "SELECT * FROM device_holds",
        "SELECT * FROM access_sessions",
    ]
    forbidden = [
        "SELECT * FROM payments", "SELECT * FROM sites", "SELECT password FROM access_grants", "SELECT * FROM tenants",
        "SELECT password FROM radius_names", "DELETE FROM device_holds", "DELETE FROM access_sessions", "UPDATE access_grants SET password = ''",
        "UPDATE device_sign_ins SET expires_at = now()", "SELECT password FROM device_sign_ins", "CREATE TABLE x (y int)",
    ]  # fmt: skip
    with psycopg.connect(config.conninfo(make_url(role.of(url))), autocommit=True) as connection:
        for statement in allowed:
            connection.execute(statement.encode())
        for statement in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_without_the_program_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PLACES", "")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="sudo apt-get install -y freeradius freeradius-postgresql"):
        server.program()


def test_portal_radius_run_serves_until_sigterm(product: Product, tmp_path: Path) -> None:
    try:
        server.program()
    except Refused:
        lacking("FreeRADIUS", package=PACKAGES)
    portal, port = product.app.config["PORTAL"], _two_free_ports()
    environment = {
        "PATH": os.environ["PATH"], "PORTAL_ENV": "development", "PORTAL_DATA": str(tmp_path),
        "PORTAL_SECRET_KEY": portal.secret_key, "PORTAL_DATA_KEYS": portal.data_keys, "REDIS_URL": portal.redis_url,
        "DATABASE_URL": portal.database_url, "PUBLIC_URL": "http://127.0.0.1:1",
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal", "radius", "run", "--port", str(port)],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while READY not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert READY in log.read_text(), log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)
        assert not any(portal.secret_key in line for line in log.read_text().splitlines())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
