"""FreeRADIUS' configuration for the database in use, and the PostgreSQL role that it signs in with."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import URL, make_url

from portal.hotspot.radius.sentences import SENTENCES
from portal.kernel.errors import Refused
from portal.kernel.translations import render

TEMPLATES = Path(__file__).parent / "templates"
PORT = 1812  # of authentication; accounting is the next one
CLIENT_LIFETIME_S = 15
IDLE_S = 600  # kind to phones that sleep
WALLED_S = 900  # how long a line stays in the pool of those who have to pay, where no router can be told that it paid
LIMITS = {"device": 10, "name": 20, "site": 300}  # wrong tries in ten minutes
_LIBRARIES = ("/usr/lib/freeradius", "/usr/lib64/freeradius", "/usr/local/lib")


@dataclass(frozen=True)
class Settings:
    """What the server serves. database_url: SQLAlchemy's.

    listen: addresses. networks: where routers' packets come from. reject_delay_s: how long a refusal is held back,
    which slows guessing.
    """

    database_url: str = field(repr=False)
    port: int = PORT
    listen: Sequence[str] = ("127.0.0.1",)
    networks: Sequence[str] = ("127.0.0.0/8",)
    reject_delay_s: int = 1

    def __post_init__(self) -> None:
        """Raises Refused for what is no address, no network, or no port."""
        for address in self.listen:
            _checked(ip_address, address, "an address to listen on, such as 10.64.0.1")
        for network in self.networks:
            _checked(ip_network, network, "a network that routers speak from, such as 10.64.0.0/16")
        if not 1 <= self.port <= 65534:
            raise Refused("The port must be from 1 to 65534: accounting takes the next one.")


def _checked(read: Any, text: str, what: str) -> None:
    try:
        read(text)
    except ValueError:
        raise Refused(f"{text[:60]!r} is not {what}.") from None


def write(settings: Settings, directory: Path) -> None:
    """Write the configuration to `directory`, readable by its owner alone; what is there is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name, text in files(settings, directory).items():
        unfinished = directory / f"{name}.unfinished"
        unfinished.touch(mode=0o600)
        unfinished.write_text(text)
        unfinished.replace(directory / name)


def files(settings: Settings, directory: Path) -> dict[str, str]:
    """{name: text} of the configuration, as it is read from `directory`."""
    url = make_url(settings.database_url)
    dialect, hidden = url.get_backend_name(), url._replace(password=None)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        block_start_string="[%", block_end_string="%]", variable_start_string="[[", variable_end_string="]]",
        comment_start_string="[#", comment_end_string="#]", autoescape=False, keep_trailing_newline=True,  # noqa: S701
    )  # fmt: skip
    environment.filters["query"] = lambda text: " ".join(text.split())
    values = {
        "dialect": dialect,
        "database": quoted(str(Path(str(url.database)).absolute()) if dialect == "sqlite" else conninfo(hidden)),
        "password": quoted(re.sub(r"([\\'])", r"\\\1", url.password or "")),
        "directory": quoted(str(directory.absolute())),
        "libdir": next((folder for folder in _LIBRARIES if Path(folder, "rlm_sql.so").exists()), _LIBRARIES[0]),
        "port": settings.port,
        "listen": settings.listen,
        "networks": settings.networks,
        "reject_delay_s": settings.reject_delay_s,
        "client_lifetime_s": CLIENT_LIFETIME_S,
        "idle_s": IDLE_S,
        "walled_s": WALLED_S,
        "limits": LIMITS,
        "threads": {"start": 1, "most": 4} if dialect == "sqlite" else {"start": 4, "most": 16},
        "sentences": {
            reason: {locale: said(render(sentence, locale)) for locale in ("en", "sw")}
            for reason, sentence in SENTENCES.items()
        },
    }
    return {
        "radiusd.conf": environment.get_template("radiusd.conf.jinja").render(values),
        "dictionary": (TEMPLATES / "dictionary").read_text(),
        "reject_attrs": (TEMPLATES / "reject_attrs").read_text(),
    }


def quoted(text: str) -> str:
    """As FreeRADIUS reads it between double quotes. Raises Refused for what it would take for one of its own."""
    if "${" in text or "\n" in text:
        raise Refused("FreeRADIUS takes ${ in a path or password for a setting of its own: choose another one.")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def said(text: str) -> str:
    """A sentence as the policy says it; `@` stands for what is filled in there."""
    return quoted(text).replace("%", "%%").replace("@", "%{control:Mlango-Begins}")


def conninfo(url: URL) -> str:
    """The address as libpq takes it, with a name by which its connections are told."""
    from psycopg.conninfo import make_conninfo

    values: dict[str, Any] = {
        "host": url.host, "port": url.port, "dbname": url.database, "user": url.username, "password": url.password,
        **url.query, "application_name": "mlango-radius",
    }  # fmt: skip
    return make_conninfo("", **{name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class Role:
    """The PostgreSQL role that FreeRADIUS signs in as: it reads the views, and writes accounting and refusals."""

    name: str
    password: str = field(repr=False)

    def of(self, database_url: str) -> str:
        """The same database by this role."""
        url = make_url(database_url).set(username=self.name, password=self.password)
        return url.render_as_string(hide_password=False)


def role_of(database_url: str, secret_key: str) -> Role:
    """Its name is the database's, so two products on one server do not share it; its password follows from our key."""
    name = re.sub(r"[^a-z0-9_]", "_", f"{make_url(database_url).database}_radius".lower())[:63]
    password = hmac.new(secret_key.encode(), f"radius role {name}".encode(), hashlib.sha256).hexdigest()[:48]
    return Role(name, password)


def role_sql(role: Role, database: str) -> list[str]:
    """The statements that make the role, or bring it up to date; each may be repeated."""
    reads = ", ".join(("radius_clock", "radius_sites", "radius_access", "radius_vouchers", "package_sites"))
    writes = ", ".join(("access_sessions", "sign_in_refusals", "device_holds"))
    sequences = ", ".join(
        f"{table}_id_seq" for table in ("access_sessions", "sign_in_refusals", "voucher_openings", "device_holds")
    )
    name, shown = f'"{role.name}"', database.replace('"', '""')
    is_there = f"SELECT 1 FROM pg_roles WHERE rolname = '{role.name}'"  # noqa: S608 - a name of ours, see role_of
    return [
        f"DO $$ BEGIN IF NOT EXISTS ({is_there}) THEN CREATE ROLE {name} LOGIN; END IF; END $$",
        f"ALTER ROLE {name} LOGIN PASSWORD '{role.password}'",
        f"ALTER ROLE {name} SET statement_timeout = '8s'",
        f"ALTER ROLE {name} SET lock_timeout = '5s'",
        f'GRANT CONNECT ON DATABASE "{shown}" TO {name}',
        f"GRANT USAGE ON SCHEMA public TO {name}",
        f"GRANT SELECT ON {reads} TO {name}",
        f"GRANT SELECT (tenant_id, username, pass_id) ON radius_names TO {name}",
        f"GRANT SELECT (id, tenant_id, leader_id) ON access_grants TO {name}",
        f"GRANT SELECT (tenant_id, leader_id, mac, removed_at) ON pass_devices TO {name}",
        f"GRANT SELECT, INSERT, UPDATE ON {writes} TO {name}",
        f"GRANT INSERT ON voucher_openings TO {name}",
        f"GRANT USAGE ON SEQUENCE {sequences} TO {name}",
        f"GRANT SELECT (id, tenant_id, mac, used_at, expires_at), UPDATE (used_at) ON device_sign_ins TO {name}",
    ]
