"""`portal demo`: the whole product with demonstration data, in one process group, everything under one folder."""

import json
import os
import secrets
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from portal.kernel.paths import ROOT
from portal.processes.embedded_redis import redis_command
from portal.processes.supervisor import Process, supervise

GRANIAN = [
    sys.executable,
    "-m",
    "granian",
    "--interface",
    "wsgi",
    "--host",
    "127.0.0.1",
    "--no-access-log",
    "--log-level",
    "warning",
]
PORTAL = [sys.executable, "-m", "portal"]


def run(*, port: int, simulator_port: int, data: Path) -> int:
    """Start everything, print the addresses, and end with Ctrl-C or SIGTERM."""
    data = data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)  # every program is of this very copy: Python takes what lies here first
    web_url, simulator_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{simulator_port}"
    redis = None if os.environ.get("REDIS_URL") else redis_command(data / "redis")
    environment = {
        "PORTAL_ENV": "development",
        "PORTAL_DATA": str(data),
        "PUBLIC_URL": web_url,
        "REDIS_URL": redis.url if redis else os.environ["REDIS_URL"],
        "PORTAL_DEMO_SIMULATOR": simulator_url,
        **_keys(data / "keys.json"),
    }
    os.environ.update(environment)
    _keep_settings(data, environment)
    _load_data(simulator_url, data)
    from portal.demo.data import ORGANISATIONS

    simulator = environment | {
        "SIMULATOR_DATA": str(data / "simulator"),
        "SIMULATOR_URL": simulator_url,
        "SIMULATOR_ORGANISATIONS": json.dumps([dict(one) for one in ORGANISATIONS]),
    }
    processes = [
        Process("simulator", [*GRANIAN, "--port", str(simulator_port), "--workers", "1", "--blocking-threads", "16",
                              "--factory", "portal.simulator.app:from_environment"], simulator,
                is_ready=lambda: _answers(f"{simulator_url}/healthz"), needed_first=True),
        Process("web", [*GRANIAN, "--port", str(port), "--workers", "1", "--blocking-threads", "4", "--backlog", "1024",
                        "--factory", "portal.app:create_app"], environment,
                is_ready=lambda: _answers(f"{web_url}/readyz")),
        Process("push", [*PORTAL, "worker", "--queues", "push"], environment),
        Process("money", [*PORTAL, "worker", "--queues", "money"], environment),
        Process("outside", [*PORTAL, "worker", "--queues", "outside"], environment),
        Process("scheduler", [*PORTAL, "scheduler"], environment),
    ]  # fmt: skip
    if redis is not None:
        processes.insert(0, Process("redis", redis.argv, is_ready=redis.answers, needed_first=True))
    return supervise(processes, on_ready=lambda: _welcome(web_url, simulator_url, data), log_directory=data / "log")


def _keys(file: Path) -> dict[str, str]:
    """The demonstration's own keys, made once."""
    if not file.exists():
        made = {
            "PORTAL_SECRET_KEY": secrets.token_hex(32),
            "PORTAL_DATA_KEYS": f"demo:{secrets.token_hex(32)}",
        }
        file.write_text(json.dumps(made))
        file.chmod(0o600)
    kept: dict[str, str] = json.loads(file.read_text())
    return kept


SETTINGS_FILE = "settings.json"
OURS = ("PORTAL_", "DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "MPESA_")


def _keep_settings(data: Path, environment: dict[str, str]) -> None:
    """What a command needs to work on this demonstration's data."""
    kept = environment | ({"DATABASE_URL": os.environ["DATABASE_URL"]} if os.environ.get("DATABASE_URL") else {})
    file = data / SETTINGS_FILE
    file.touch(mode=0o600)
    file.write_text(json.dumps(kept))


def settings_of(env: Mapping[str, str]) -> dict[str, str]:
    """The settings of the demonstration under `var` or PORTAL_DATA, where nothing else is configured; else nothing.

    One setting of ours is enough to say that this is no demonstration.
    """
    if any(name.startswith(OURS) for name in env if name != "PORTAL_DATA"):
        return {}
    try:
        kept: dict[str, str] = json.loads((Path(env.get("PORTAL_DATA", "var")) / SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return kept


def _load_data(simulator_url: str, data: Path) -> None:
    """The whole schema and the demonstration's rows, before the first program starts that reads them."""
    from portal.app import create_app
    from portal.demo.data import load
    from portal.kernel.db import db
    from portal.kernel.schema import lacking, upgrade_database

    app = create_app()
    with app.app_context():
        upgrade_database()
        if missing := lacking():
            raise SystemExit(
                f"The data in {data} are of another version of Mlango: {missing[0]} is not there. "
                "Start with another folder (--data DIR), or remove this one."
            )
        load(simulator_url)
        db.session.remove()
        db.engine.dispose()


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - our own loopback address
        return bool(response.status == 200)


def _welcome(web_url: str, simulator_url: str, data: Path) -> None:
    from portal.demo.data import PASSWORD, SIGN_INS

    lines = [
        "",
        "Mlango is open.",
        f"  Start here            {web_url}/",
        f"  Buy internet          {web_url}/hotspot/mawingu/",
        f"  The clinic            {web_url}/clinic/upendo/",
        f"  Staff                 {web_url}/staff/",
        f"  Phones and simulator  {simulator_url}/",
        "",
        f"  Sign-ins, all with the password {PASSWORD}:",
        *(f"    {email:<24}{name}" for email, name, _slug, _role in SIGN_INS),
        "",
        f"  Commands work on it  {'' if data == Path('var').absolute() else f'PORTAL_DATA={data} '}portal ledger check",
        "",
        "  Ctrl-C ends everything; the data is kept.",
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
