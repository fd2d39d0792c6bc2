"""The product with all its programs, its tenants and a simulated M-Pesa, on loopback ports of its own."""

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
import requests
from flask import Flask

from bench.servers import PORTAL, answers, free_port, start, stop, wait_until
from portal.app import create_app
from portal.gateways import c2b_registration, settings
from portal.hotspot import packages
from portal.kernel.config import Config
from portal.kernel.db import db, transaction
from portal.kernel.schema import upgrade_database
from portal.payments.c2b import pull
from portal.processes.embedded_redis import redis_command
from portal.tenants.models import Tenant
from portal.web import links
from tests.chaos.databases import Database, database
from tests.support.application import KEYS

PRICE_KES = 20
TEAM = ("push", "money", "outside", "scheduler")  # who may be killed; the simulator and the web may not
_DEATH = re.compile(r"^(\w+) (?:was ended by|ended with)", re.MULTILINE)


@dataclass(frozen=True)
class Shop:
    """A hotspot business: where its packages are bought and its till rings."""

    slug: str
    shortcode: str
    gateway_id: int = 0
    package: str = ""


@dataclass
class World:
    """Everything that runs. app: the product in this process, for looking at rows."""

    app: Flask
    web: str
    simulator: str
    directory: Path
    database: Database
    redis_url: str
    shops: list[Shop] = field(default_factory=list)

    def control(self, **order: object) -> None:
        """Order faults and the like from the simulator."""
        requests.post(f"{self.simulator}/control", json=order, timeout=10).raise_for_status()

    def kill(self, name: str) -> str:
        """`kill -9` one program of the supervisor's."""
        for pid in self._redis_pids() if name == "redis" else self._pids(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"{name} killed"

    def flush_redis(self) -> str:
        """Forget all jobs, tokens and counts."""
        with suppress(redis.RedisError), redis.Redis.from_url(self.redis_url, socket_timeout=2) as client:
            client.flushall()
        return "Redis emptied"

    def deaths(self) -> Counter[str]:
        """How often the supervisor saw each program end, by our hand or not."""
        return Counter(_DEATH.findall((self.directory / "supervisor.log").read_text()))

    def complaints(self) -> list[str]:
        """What the programs logged as their own mistakes."""
        logs = "\n".join(file.read_text(errors="replace") for file in (self.directory / "log").glob("*.log"))
        return [line[:400] for line in logs.splitlines() if "our_mistake" in line]

    def _redis_pids(self) -> list[int]:
        """It says so itself: Redis writes its title over its environment."""
        with suppress(redis.RedisError), redis.Redis.from_url(self.redis_url, socket_timeout=2) as client:
            return [int(client.info("server")["process_id"])]
        return []

    def _pids(self, name: str) -> list[int]:
        marks = {f"CHAOS={self.directory}".encode(), f"MLANGO_PROGRAM={name}".encode()}
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if marks <= set(environment.read_bytes().split(b"\0")):
                    found.append(int(environment.parent.name))
        return found


@contextmanager
def world(kind: str, directory: Path, *, shops: int) -> Iterator[World]:
    """The product on a fresh database of `kind`, furnished and ready. Everything ends with the block."""
    with database(kind, directory) as data:
        web_port, simulator_port = free_port(), free_port()
        web, simulator = f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{simulator_port}"
        redis_home = directory / "redis"
        environment = {
            "PORTAL_ENV": "development",
            "PORTAL_DATA": str(directory / "data"),
            "PORTAL_SECRET_KEY": "s" * 40,
            "PORTAL_DATA_KEYS": KEYS,
            "DATABASE_URL": data.url,
            "REDIS_URL": redis_command(redis_home).url,
            "PUBLIC_URL": web,
            "WEB_THREADS": "4",
        }
        app = create_app(Config.from_environment(environment))
        made = World(app, web, simulator, directory, data, environment["REDIS_URL"])
        made.shops = [Shop(f"net{number}", str(600_111 + number)) for number in range(shops)]
        _furnish(made)
        process = start(
            [sys.executable, "-m", "tests.chaos.supervisor", json.dumps(_programs(made, web_port, simulator_port))],
            environment | {"CHAOS": str(directory), "SIMULATOR_ORGANISATIONS": json.dumps(_organisations(made))},
            log=directory / "supervisor.log",
        )
        try:
            wait_until(_ready(made), of=process, what="everything")
            _open_to_mpesa(made)
            yield made
        finally:
            data.give_back()
            stop(process)
            _close(app)


def _programs(made: World, web_port: int, simulator_port: int) -> dict[str, object]:
    data = str(made.directory / "simulator")
    return {
        "redis": str(made.directory / "redis"),
        "logs": str(made.directory / "log"),
        "programs": {
            "simulator": [*PORTAL, "simulator", "--port", str(simulator_port), "--data", data],
            "web": [*PORTAL, "web", "--port", str(web_port)],
            "push": [*PORTAL, "worker", "--queues", "push"],
            "money": [*PORTAL, "worker", "--queues", "money"],
            "outside": [*PORTAL, "worker", "--queues", "outside"],
            "scheduler": [*PORTAL, "scheduler"],
        },
    }


def _ready(made: World) -> Callable[[], bool]:
    return lambda: answers(f"{made.simulator}/healthz") and answers(f"{made.web}/readyz")


def _keys(shop: Shop) -> dict[str, str]:
    return {
        "shortcode": shop.shortcode, "consumerKey": f"{shop.slug}-key", "consumerSecret": f"{shop.slug}-secret",
        "passkey": f"{shop.slug}-passkey",
    }  # fmt: skip


def _organisations(made: World) -> list[dict[str, str]]:
    return [{"name": shop.slug.upper(), "kind": "PAYBILL", **_keys(shop)} for shop in made.shops]


def _furnish(made: World) -> None:
    with made.app.app_context():
        upgrade_database()
        with transaction():
            made.shops = [_open_shop(made, shop) for shop in made.shops]
        db.session.remove()


def _open_shop(made: World, shop: Shop) -> Shop:
    tenant = Tenant(slug=shop.slug, name=shop.slug, is_hotspot=True, refuses_unknown_accounts=False)
    db.session.add(tenant)
    db.session.flush()
    given = {
        "name": "paybill", "displayName": shop.slug.upper(), "env": "sandbox", "baseUrl": made.simulator,
        "forHotspot": True, **_keys(shop),
    }  # fmt: skip
    gateway = settings.create(tenant.id, given, actor="test")
    hour = packages.Offer("1 hour", PRICE_KES * 100, 3_600, "2M/5M")
    package = packages.create(tenant.id, hour, actor="test")
    db.session.flush()
    return Shop(shop.slug, shop.shortcode, gateway.id, package.uid)


def _open_to_mpesa(made: World) -> None:
    """Payments by hand are reported, and M-Pesa's own list may be asked for."""
    from portal.gateways.models import Gateway

    with made.app.app_context():
        for shop in made.shops:
            gateway = db.session.get_one(Gateway, shop.gateway_id)
            tenant_id, uid = gateway.tenant_id, gateway.uid
            c2b_registration.register_urls(tenant_id, uid, actor="test", public_url=links.public_url())
            pull.register(shop.gateway_id, "254700000001", actor="test", public_url=links.public_url())
        db.session.remove()


def _close(app: Flask) -> None:
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    app.extensions["redis"].close()
