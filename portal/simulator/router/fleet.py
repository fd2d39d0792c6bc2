"""The routers that run: opened with the simulator or later by `/control/routers`, and closed with it."""

import datetime as dt
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portal.kernel.errors import NotFound
from portal.simulator.engine.store import Store
from portal.simulator.router import heartbeat
from portal.simulator.router.api_server import ApiServer, tls_context
from portal.simulator.router.hotspot import Hotspot
from portal.simulator.router.machine import Machine, RouterSpec
from portal.simulator.router.radius import OrderServer, RadiusClient, account_job


@dataclass(slots=True)
class Router:
    """One that runs."""

    spec: RouterSpec
    hotspot: Hotspot
    api: ApiServer
    orders: OrderServer | None = None

    @property
    def machine(self) -> Machine:
        return self.hotspot.machine

    @property
    def ssid(self) -> str:
        return self.spec.ssid or self.spec.name

    @property
    def identity(self) -> str:
        return self.machine.single("/system/identity").get("name", self.spec.name)

    def public_view(self) -> dict[str, Any]:
        """What a test or a person has to know of it."""
        return {
            "name": self.spec.name,
            "ssid": self.ssid,
            "identity": self.identity,
            "address": self.spec.source_address,
            "apiPort": self.api.port,
            "apiUsername": self.spec.api_username,
            "apiPassword": self.spec.api_password,
            "apiUsesTls": self.spec.api_uses_tls,
            "coaPort": self.machine.coa_port,
            "portalUrl": self.spec.portal_url,
        }

    def close(self) -> None:
        self.api.stop()
        if self.orders is not None:
            self.orders.stop()


class Fleet:
    """All routers of a simulator, by name."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store, self._data_dir = store, data_dir
        self._lock = threading.Lock()
        self._routers: dict[str, Router] = {}

    def open(self, specs: Iterable[RouterSpec]) -> list[Router]:
        """Start each, or start it anew as it is described now."""
        return [self._open(spec) for spec in specs]

    def _open(self, spec: RouterSpec) -> Router:
        with self._lock:
            before = self._routers.pop(spec.name, None)
            if before is not None:
                before.close()
            machine = Machine(self._store, spec)
            hotspot, orders = Hotspot(machine), None
            if spec.radius_address:
                hotspot.radius = RadiusClient()
                orders = OrderServer(hotspot, host=spec.source_address, port=spec.coa_port)
                machine.coa_port = orders.port
            machine.furnish()
            if orders is not None:
                orders.start()
            tls = tls_context(*self._certificate()) if spec.api_uses_tls else None
            api = ApiServer(hotspot, host=spec.source_address, port=spec.api_port, tls=tls)
            made = Router(replace(spec, api_port=api.port), hotspot, api, orders)
            self._routers[spec.name] = made
            hotspot.look_again()
            heartbeat.begin(machine)
            return made

    def all(self) -> list[Router]:
        """In the order in which they were opened."""
        return list(self._routers.values())

    def named(self, name: str) -> Router:
        """Raises NotFound."""
        router = self._routers.get(name)
        if router is None:
            raise NotFound("No router has this name.")
        return router

    def shut(self, name: str) -> None:
        """Close one; what it remembers is kept."""
        with self._lock:
            router = self._routers.pop(name, None)
        if router is not None:
            router.close()

    def look_job(self, _store: Store, payload: dict[str, Any]) -> None:
        """What is due at a router by its clock."""
        router = self._routers.get(str(payload["router"]))
        if router is not None:
            router.hotspot.look()

    def heartbeat_job(self, _store: Store, payload: dict[str, Any]) -> None:
        """A router says that it is there."""
        router = self._routers.get(str(payload["router"]))
        if router is not None:
            heartbeat.beat(router.machine)

    def account_job(self, _store: Store, payload: dict[str, Any]) -> None:
        """What a router owes its RADIUS server."""
        router = self._routers.get(str(payload["router"]))
        if router is not None:
            account_job(router.machine, payload)

    def close(self) -> None:
        for router in self.all():
            router.close()

    def _certificate(self) -> tuple[Path, Path]:
        """The certificate and key of every router here, signed by itself, made when first needed."""
        certificate_file, key_file = self._data_dir / "router.pem", self._data_dir / "router.key"
        if not (certificate_file.exists() and key_file.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulated router")])
            now = dt.datetime.now(dt.UTC)
            certificate = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - dt.timedelta(days=1))
                .not_valid_after(now + dt.timedelta(days=3650))
                .sign(key, hashes.SHA256())
            )
            plain = serialization.NoEncryption()
            sealed = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
                handle.write(sealed)
            certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate_file, key_file
