"""`portal demo`: the whole product with demonstration data, in one process group, everything under one folder."""

import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from flask import Flask

HOST, SIMULATOR_THREADS = "127.0.0.1", 16
SETTINGS_FILE = "settings.json"
SHORT_NUMBER = "20880"  # that people answer text messages to
OURS = ("PORTAL_", "DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "MPESA_")


def run(*, port: int, simulator_port: int, data: Path) -> int:
    """Start everything, print the addresses, and end with Ctrl-C or SIGTERM. Raises Misconfigured."""
    from portal.processes.supervisor import Process, refuse_taken, supervise

    refuse_taken(HOST, port)
    refuse_taken(HOST, simulator_port, option="--simulator-port")
    from portal.demo.data import ORGANISATIONS, ROUTER, load
    from portal.kernel.db import new_token
    from portal.processes import serve
    from portal.processes.fork import run_in_fork
    from portal.processes.web_server import serve_wsgi
    from portal.simulator.app import from_environment

    data = data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    web_url, simulator_url = (serve.local_url(HOST, at) for at in (port, simulator_port))
    smtp_port, router_api_port = _free_port(), _free_port()
    token = new_token()  # by which the router is told from others when it says that it is there
    router = ROUTER | {
        "portalUrl": f"{web_url}/hotspot/mawingu/", "apiPort": router_api_port,
        "heartbeatUrl": f"{web_url}/routers/{token}/heartbeat",
    }  # fmt: skip
    redis = serve.use_data(data)
    environment = {
        "PORTAL_ENV": "development",
        "PORTAL_DATA": str(data),
        "PUBLIC_URL": web_url,
        "REDIS_URL": os.environ["REDIS_URL"],
        "PORTAL_DEMO_SIMULATOR": simulator_url,
        "AT_BASE_URL": simulator_url,  # the SMS arrive on the simulator's handsets
        "AT_USERNAME": "sandbox",
        "AT_API_KEY": "demo",
        "AT_SENDER": SHORT_NUMBER,
        "SMTP_URL": f"smtp://{HOST}:{smtp_port}",
        **_keys(data / "keys.json"),
    }
    os.environ.update(environment)
    _keep_settings(data, environment)
    if redis is not None:
        redis.wait_until_free()
    app = serve.preload()
    if (
        run_in_fork(partial(serve.prepare, app, partial(load, simulator_url, router_api_port, token)), name="prepare")
        != 0
    ):
        return 1
    serve.warm_up(app)
    simulator = Process(
        "simulator",
        run=partial(serve_wsgi, from_environment, host=HOST, port=simulator_port, threads=SIMULATOR_THREADS),
        env={
            "SIMULATOR_DATA": str(data / "simulator"),
            "SIMULATOR_URL": simulator_url,
            "SIMULATOR_SMTP_PORT": str(smtp_port),
            "SIMULATOR_SMS_CALLBACKS": f"{web_url}/sms/{environment['AT_CALLBACK_KEY']}",
            "SIMULATOR_ORGANISATIONS": json.dumps([dict(one) for one in ORGANISATIONS]),
            "SIMULATOR_ROUTERS": json.dumps([router]),
        },
        is_ready=partial(serve.answers, f"{simulator_url}/healthz"),
        needed_first=True,
    )
    return supervise(
        [*serve.redis_programs(redis), simulator, *serve.programs(app, host=HOST, port=port, sweep=_sweep)],
        on_ready=lambda: _welcome(web_url, simulator_url, data),
        log_directory=data / "log",
    )


def _sweep(app: Flask, is_over: Callable[[], bool]) -> None:
    """The scheduler, once the simulator has been asked for what only a running one can tell."""
    from portal.demo.data import meet_simulator
    from portal.processes import scheduler

    with app.app_context():
        meet_simulator(app.config["PORTAL"].simulator_url)
    scheduler.sweep_until(app, is_over)


def _free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _keys(file: Path) -> dict[str, str]:
    """The demonstration's own keys, made once; one that a later version needs is added."""
    kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    made = {
        "PORTAL_SECRET_KEY": secrets.token_hex(32),
        "PORTAL_DATA_KEYS": f"demo:{secrets.token_hex(32)}",
        "AT_CALLBACK_KEY": secrets.token_hex(20),
    }
    if made.keys() - kept.keys():
        file.touch(mode=0o600)
        file.write_text(json.dumps(made | kept))
        kept = made | kept
    return kept


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


def _welcome(web_url: str, simulator_url: str, data: Path) -> None:
    from portal.demo.data import PASSWORD, SIGN_INS

    lines = [
        "",
        "Mlango is open.",
        f"  Start here            {web_url}/",
        f"  Join the Wi-Fi        {simulator_url}/wifi/",
        f"  Buy internet          {web_url}/hotspot/mawingu/",
        f"  The clinic            {web_url}/clinic/upendo/",
        f"  Staff                 {web_url}/staff/",
        f"  Phones and simulator  {simulator_url}/",
        f"  E-mails that it sent  {simulator_url}/outbox",
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
