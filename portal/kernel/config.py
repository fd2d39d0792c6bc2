"""Settings, read once from the environment; a start with a missing or wrong one is refused, naming each mistake.

Rooms never read this: views, commands and jobs (by `portal.kernel.ports`) hand them the values that they need.
`portal check` prints what `Config.problems` finds.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from portal.kernel.errors import Misconfigured

SOURCES_OF_SAFARICOM = (  # the portal's list and two more seen by integrators; MPESA_CALLBACK_ADDRESSES replaces it
    "196.201.214.200 196.201.214.206 196.201.214.207 196.201.214.208 196.201.213.114 196.201.213.44 "
    "196.201.212.127 196.201.212.138 196.201.212.129 196.201.212.136 196.201.212.74 196.201.212.69 "
    "196.201.212.128 196.201.212.132"
)
MIN_SECRET_LENGTH = 32
_WIREGUARD_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True)
class Config:
    """Everything the processes need to know. Times in seconds, sizes in bytes."""

    development: bool
    secret_key: str = field(repr=False)
    data_keys: str = field(repr=False)  # "2026b:<64 hex>,2026a:<64 hex>": the first encrypts, all decrypt
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    public_url: str
    data_dir: Path
    trusted_proxies: int = 0
    callback_addresses: tuple[str, ...] = ()
    smtp_url: str = field(default="", repr=False)
    mail_from: str = "Mlango <no-reply@localhost>"
    sms_username: str = ""
    sms_api_key: str = field(default="", repr=False)
    sms_base_url: str = "https://api.africastalking.com"
    sms_sender: str = ""
    sms_key: str = field(default="", repr=False)  # in the addresses that the SMS provider posts to
    metrics_token: str = field(default="", repr=False)
    tunnel_endpoint: str = ""  # host:port of our WireGuard, as routers on the internet reach it
    tunnel_public_key: str = ""
    tunnel_address: str = ""  # ours inside it
    radius_address: str = ""  # where routers reach FreeRADIUS; empty: at the tunnel's end, else at the portal
    web_threads: int = 4
    spool_limit_bytes: int = 256 * 1024 * 1024
    simulator_url: str = ""  # set by the demonstration alone

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> "Config":
        """Read `os.environ` (or `env`). Raises Misconfigured with one sentence for each mistake."""
        env = os.environ if env is None else env
        data_dir = Path(env.get("PORTAL_DATA", "var")).absolute()
        development = env.get("PORTAL_ENV", "production") == "development"
        config = cls(
            development=development,
            secret_key=env.get("PORTAL_SECRET_KEY", ""),
            data_keys=env.get("PORTAL_DATA_KEYS", ""),
            database_url=_sqlalchemy_url(env.get("DATABASE_URL", "") or f"sqlite:///{data_dir}/portal.db"),
            redis_url=env.get("REDIS_URL", ""),
            public_url=(env.get("PUBLIC_URL", "") or _origin(env.get("MPESA_CALLBACK_URL", ""))).rstrip("/"),
            data_dir=data_dir,
            trusted_proxies=_whole_number(env, "TRUSTED_PROXIES", 0),
            callback_addresses=tuple(
                env.get("MPESA_CALLBACK_ADDRESSES", SOURCES_OF_SAFARICOM).replace(",", " ").split()
            ),
            smtp_url=env.get("SMTP_URL", ""),
            mail_from=env.get("MAIL_FROM", "Mlango <no-reply@localhost>"),
            sms_username=env.get("AT_USERNAME", ""),
            sms_api_key=env.get("AT_API_KEY", ""),
            sms_base_url=env.get("AT_BASE_URL", "https://api.africastalking.com").rstrip("/"),
            sms_sender=env.get("AT_SENDER", ""),
            sms_key=env.get("AT_CALLBACK_KEY", ""),
            metrics_token=env.get("METRICS_TOKEN", ""),
            tunnel_endpoint=env.get("TUNNEL_ENDPOINT", ""),
            tunnel_public_key=env.get("TUNNEL_PUBLIC_KEY", ""),
            tunnel_address=env.get("TUNNEL_ADDRESS", ""),
            radius_address=env.get("RADIUS_ADDRESS", ""),
            web_threads=_whole_number(env, "WEB_THREADS", 4),
            simulator_url=env.get("PORTAL_DEMO_SIMULATOR", ""),
        )
        if problems := config.problems():
            raise Misconfigured(*problems)
        return config

    def problems(self) -> list[str]:
        """One sentence for each setting that is missing or wrong; empty when the product may start."""
        found = []
        if len(self.secret_key) < MIN_SECRET_LENGTH:
            found.append(f"PORTAL_SECRET_KEY must have at least {MIN_SECRET_LENGTH} characters of randomness.")
        if not self.data_keys:
            found.append("PORTAL_DATA_KEYS must hold at least one key, written id:64-hexadecimal-digits.")
        if not self.redis_url:
            found.append(
                "REDIS_URL must name a Redis server, such as redis://127.0.0.1:6379/0; `portal serve` brings its own."
            )
        address = urlsplit(self.public_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            found.append("PUBLIC_URL must be this product's own address, such as https://pay.example.co.ke.")
        elif address.scheme != "https" and not self.development:
            found.append("PUBLIC_URL must start with https:// in production; Safaricom calls no other address.")
        for one in self.callback_addresses:
            try:
                ip_network(one, strict=False)
            except ValueError:
                found.append(
                    f"MPESA_CALLBACK_ADDRESSES: {one[:40]!r} is no address and no range such as 196.201.214.0/24."
                )
        found += self._tunnel_problems()
        if self.sms_key and (len(self.sms_key) < MIN_SECRET_LENGTH or not self.sms_key.isalnum()):
            found.append(f"AT_CALLBACK_KEY must have at least {MIN_SECRET_LENGTH} letters and digits, or be left out.")
        if self.metrics_token and len(self.metrics_token) < MIN_SECRET_LENGTH:
            found.append(f"METRICS_TOKEN must have at least {MIN_SECRET_LENGTH} characters, or be left out.")
        return found

    def _tunnel_problems(self) -> list[str]:
        """What is wrong with the tunnel that routers bring up; it is there whole, or not at all."""
        if not (self.tunnel_endpoint or self.tunnel_public_key or self.tunnel_address):
            return []
        found = []
        host, _separator, port = self.tunnel_endpoint.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            found.append("TUNNEL_ENDPOINT must be written host:port, such as vpn.example.co.ke:51820.")
        if not _WIREGUARD_KEY.fullmatch(self.tunnel_public_key):
            found.append("TUNNEL_PUBLIC_KEY must be the 44 letters that `wg pubkey` prints.")
        try:
            ip_address(self.tunnel_address)
        except ValueError:
            found.append("TUNNEL_ADDRESS must be our own address inside the tunnel, such as 10.90.0.1.")
        return found

    @property
    def takes_sms_replies(self) -> bool:
        """Whether an answer by SMS finds its way back: only to a number, and where the provider may post it to us."""
        return bool(self.sms_key) and self.sms_sender.isdigit()

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")


def _sqlalchemy_url(url: str) -> str:
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _origin(url: str) -> str:
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc}" if address.netloc else ""


def _whole_number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "") or str(default)
    if not text.isdigit():
        raise Misconfigured(f"{name} must be a whole number, not {text[:20]!r}.")
    return int(text)
