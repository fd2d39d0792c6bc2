"""Two tenants with their routers, a real FreeRADIUS over their database, and who tries to go online."""

import hashlib
import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from portal.hotspot.models import AccessGrant, AccessSession, DeviceHold, Package, PackageSite, Site
from portal.hotspot.passes.models import PassDevice
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.product import Product
from tests.support.services.freeradius import Answer, RadiusServer

HOUR = timedelta(hours=1)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Router:
    """A NAS on an address of its own, and the secret it speaks with."""

    site_id: int
    tenant_id: int
    address: str
    secret: str


@dataclass
class Access:
    """A grant as it was sold: who knows these may go online."""

    id: int
    username: str
    password: str
    mac: str


class Hotspots:
    """`kilimani` and `westlands` belong to mlima, `kisumu` to bahari."""

    def __init__(self, product: Product, server: RadiusServer) -> None:
        self.product, self.server = product, server
        self.kilimani = self.router("mlima", "127.0.0.2", "secret-of-kilimani")
        self.westlands = self.router("mlima", "127.0.0.3", "secret of westlands")
        self.kisumu = self.router("bahari", "127.0.0.4", "secret-of-kisumu")

    def router(self, slug: str, address: str, secret: str) -> Router:
        tenant_id = self.product.tenant_id(slug)
        with self.product.app.app_context(), transaction():
            site = Site(tenant_id=tenant_id, name=f"{slug} {address}", address=address, secret=secret)
            db.session.add(site)
            db.session.flush()
            return Router(site.id, tenant_id, address, secret)

    def sold(
        self,
        *,
        slug: str = "mlima",
        starts: timedelta = timedelta(seconds=-10),
        ends: timedelta = HOUR,
        leader: int | None = None,
        sites: tuple[Router, ...] = (),
        username: str = "",
        mac: str = "",
        **package: Any,
    ) -> Access:
        """A grant of a package with these terms."""
        number = next(_numbers)
        tenant_id, now = self.product.tenant_id(slug), clock.now()
        terms = {"price_cents": 100, "duration_s": 3600, "lifetime_s": 3600, "rate": "2M/5M", **package}
        with self.product.app.app_context(), transaction():
            sold = Package(tenant_id=tenant_id, name=f"package {number}", **terms)
            db.session.add(sold)
            db.session.flush()
            for router in sites:
                db.session.add(PackageSite(tenant_id=tenant_id, package_id=sold.id, site_id=router.site_id))
            grant = AccessGrant(
                tenant_id=tenant_id, package_id=sold.id, mac=mac, username=username or f"SKL1ABC{number:03d}",
                password=f"pass{number:04d}", starts_at=now + starts, expires_at=now + ends,
            )  # fmt: skip
            db.session.add(grant)
            db.session.flush()
            grant.leader_id = leader or grant.id
            return Access(
                grant.id, grant.username, grant.password, f"AA:BB:CC:00:{number // 256:02X}:{number % 256:02X}"
            )

    def change(self, access: Access, **values: Any) -> None:
        with self.product.app.app_context(), transaction():
            grant = db.session.get_one(AccessGrant, access.id)
            for name, value in values.items():
                setattr(grant, name, value)

    def sign_in(
        self,
        access: Access,
        router: Router | None = None,
        *,
        mac: str | None = None,
        password: str | None = None,
        chap: bool = False,
        secret: str = "",
        username: str | None = None,
        service: str = "",
        is_mikrotik: bool = True,
    ) -> Answer:
        """What the router is answered. service: what it says that it serves."""
        router = router or self.kilimani
        kind = "CHAP-Password" if chap else "User-Password"
        lines = [
            f'User-Name = "{access.username if username is None else username}"',
            f'{kind} = "{access.password if password is None else password}"',
            f'Calling-Station-Id = "{access.mac if mac is None else mac}"',
            "NAS-IP-Address = 10.0.0.1",
            "Message-Authenticator = 0x00",
        ] + ([f"Service-Type = {service}"] if service else [])
        lines += ["Mikrotik-Host-IP = 10.5.50.23"] if is_mikrotik else []
        return self.server.ask("auth", lines, secret=secret or router.secret, source=router.address)

    def sign_in_mschapv2(self, username: str, password: str) -> Answer:
        """As a PPPoE router asks: RFC 2759."""
        lines = [f'User-Name = "{username}"', *mschapv2(username, password), "Message-Authenticator = 0x00"]
        return self.server.ask("auth", lines, secret=self.kilimani.secret, source=self.kilimani.address)

    def account(
        self, access: Access | None, status: str, session_id: str = "", router: Router | None = None, *more: str,
        mac: str | None = None,
    ) -> Answer:  # fmt: skip
        """One accounting packet."""
        router = router or self.kilimani
        lines = [f"Acct-Status-Type = {status}", "NAS-IP-Address = 10.0.0.1", 'NAS-Identifier = "mt1"', *more]
        if access is not None:
            lines += [
                f'User-Name = "{access.username}"', f'Acct-Session-Id = "{session_id}"', 'Called-Station-Id = "hs1"',
                f'Calling-Station-Id = "{access.mac if mac is None else mac}"', "Framed-IP-Address = 10.5.50.23",
            ]  # fmt: skip
        return self.server.ask("acct", lines, secret=router.secret, source=router.address)

    def sessions(self, access: Access) -> list[dict[str, Any]]:
        """The rows of this user name, oldest first, as plain values."""
        columns = AccessSession.__table__.columns.keys()
        with self.product.inside():
            rows = db.session.query(AccessSession).filter_by(username=access.username).order_by(AccessSession.id)
            return [{name: getattr(row, name) for name in columns} for row in rows]

    def stayed(self, access: Access, *, octets: int = 0, online_s: int = 0, ago: timedelta = timedelta(0)) -> None:
        """A stay that is over, of so much: as accounting leaves it."""
        tenant_id, at = self.kilimani.tenant_id, clock.now() - ago
        with self.product.app.app_context(), transaction():
            db.session.add(
                AccessSession(
                    tenant_id=tenant_id,
                    accounting_id=f"stay{next(_numbers)}",
                    site_id=self.kilimani.site_id,
                    grant_id=access.id,
                    username=access.username,
                    mac=access.mac,
                    started_at=at,
                    updated_at=at,
                    stopped_at=at,
                    online_s=online_s,
                    bytes_out=octets,
                )  # fmt: skip
            )

    def added(self, access: Access, mac: str, *, how: str = "added") -> None:
        """This device has a place in the pass besides the one that bought it."""
        with self.product.app.app_context(), transaction():
            grant = db.session.get_one(AccessGrant, access.id)
            db.session.add(
                PassDevice(tenant_id=grant.tenant_id, leader_id=grant.leader_id, mac=mac, name="TV", how=how)
            )

    def forget_holds(self, access: Access) -> None:
        """As time does with places that were given to devices of which no stay was told."""
        with self.product.app.app_context(), transaction():
            db.session.query(DeviceHold).filter_by(leader_id=access.id).update({"held_at": ago(seconds=11)})

    def edit_session(self, access: Access, **values: Any) -> None:
        """As time or another program would have changed the row."""
        with self.product.app.app_context(), transaction():
            for row in db.session.query(AccessSession).filter_by(username=access.username):
                for name, value in values.items():
                    setattr(row, name, value)


def mschapv2(username: str, password: str) -> list[str]:
    """Challenge and response as attributes. Source: RFC 2759, 8.1 to 8.5."""
    ours, theirs = os.urandom(16), os.urandom(16)
    challenge = hashlib.sha1(theirs + ours + username.encode()).digest()[:8]  # noqa: S324 - as the RFC says
    said = subprocess.run(["smbencrypt", password], capture_output=True, text=True, check=True).stdout
    key = bytes.fromhex(re.findall(r"[0-9A-F]{32}", said)[-1]) + bytes(5)  # the NT hash
    response = b"".join(_des(key[at : at + 7], challenge) for at in (0, 7, 14))
    return [
        f"MS-CHAP-Challenge = 0x{ours.hex()}",
        f"MS-CHAP2-Response = 0x0100{theirs.hex()}{bytes(8).hex()}{response.hex()}",
    ]


def _des(key: bytes, block: bytes) -> bytes:
    bits = f"{int.from_bytes(key):056b}"
    spread = bytes(int(bits[at : at + 7] + "0", 2) for at in range(0, 56, 7))
    encryptor = Cipher(TripleDES(spread * 3), modes.ECB()).encryptor()  # noqa: S305 - one block, as it says
    return encryptor.update(block) + encryptor.finalize()


def seconds(answer: Answer) -> int:
    return int(answer.attributes["Session-Timeout"])


def ago(**time: float) -> datetime:
    return clock.now() - timedelta(**time)
