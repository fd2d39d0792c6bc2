"""A site's settings: what each kind of router needs, every mistake by name; add, change and close a site."""

import ipaddress
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from portal.audit import chain
from portal.gateways import client_factory
from portal.gateways.settings import StaleSignin
from portal.hotspot.models import Provisioning, Site
from portal.hotspot.routers import addresses
from portal.kernel import clock
from portal.kernel.db import db, new_token
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _

KINDS = ("radius", "routeros", "opennds", "voucher")
SECRET_FIELDS = ("secret", "apiPassword")
# Where codes are sent to, and who may order the router about: a page left open must not change them.
GUARDED = ("kind", "address", "secret", "loginHosts", "apiUsername", "apiPassword", "apiTls")
API_PORT, API_PORT_TLS, COA_PORT = 8728, 8729, 3799
API_USERNAME = "mlango"
LEAST_SECRET, LONGEST_SECRET, LONGEST_NAME, LONGEST_ADDRESS = 8, 64, 60, 45
MOST_LOGIN_HOSTS = 10
_SECRET = re.compile(r"[!-~]+")  # printable ASCII without blanks: what every router and FreeRADIUS read alike
_UNQUOTED = re.compile(r"[^\"'\\$`{}%]+")
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?"
_HOST = re.compile(rf"(?=.*[a-z]){_LABEL}(\.{_LABEL})*\.?")
_USERNAME = re.compile(r"[A-Za-z0-9._@-]{1,60}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

NEEDS_ADDRESS = _("Enter the router's address in the management network, such as 10.90.0.7.")
TAKEN = _("A router with this address exists already. Each router has an address of its own in the management network.")


def read(given: Mapping[str, Any], *, kind: str) -> dict[str, Any]:
    """The known fields of a request as values. Raises Refused with every field that cannot be read.

    kind: of the site, where the request names none.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, Any] = {}
    kind = str(given.get("kind") or kind)
    readers = {
        "kind": _read_kind, "name": _read_name, "identity": _read_identity,
        "address": lambda value: _read_address(value, kind), "secret": _read_secret, "loginHosts": read_login_hosts,
        "coaPort": _read_port, "apiPort": _read_port, "apiTls": _read_flag, "apiUsername": _read_username,
        "apiPassword": _read_secret,
    }  # fmt: skip
    for name, how in readers.items():
        if given.get(name) is None:
            continue
        try:
            values[name] = how(given[name])
        except Refused as error:
            wrong[name] = error.message
    if isinstance(values.get("address"), tuple):
        values["address"], port = values["address"]
        values |= {"apiPort": port} if port and "apiPort" not in values else {}
    if wrong:
        raise Refused(_("Some settings of the site are wrong."), code="invalid_fields", fields=wrong)
    return values


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refused(_("Must be text."))
    return str(value).strip()


def _read_kind(value: object) -> str:
    if value not in KINDS:
        raise Refused(_("Must be one of radius, routeros, opennds, voucher."))
    return str(value)


def _read_name(value: object) -> str:
    name = " ".join(_text(value).split())
    if not name or len(name) > LONGEST_NAME or _CONTROL.search(name):
        raise Refused(_("Give it a name of at most 60 letters."))
    return name


def _read_identity(value: object) -> str:
    identity = _text(value)
    if len(identity) > LONGEST_NAME or _CONTROL.search(identity):
        raise Refused(_("At most 60 letters, as the router itself is called."))
    return identity


def _read_address(value: object, kind: str) -> str | tuple[str, int]:
    """An address in one spelling; of the RouterOS API also a name, and (address, port) where a port stands behind."""
    raw = _text(value).lower().rstrip(".")
    if not raw:
        return ""
    if kind != "routeros":
        return _read_ip(raw)
    host, separator, port = raw.rpartition(":")
    if separator and port.isdecimal() and (":" not in host or host.startswith("[")):
        return _read_host(host.strip("[]")), _read_port(port)
    return _read_host(raw.strip("[]"))


def _read_ip(raw: str) -> str:
    try:
        ip = ipaddress.ip_address(raw)
    except ValueError:
        raise Refused(
            _("Must be an IP address such as 10.90.0.7: packets are known by it, and carry no names.")
        ) from None
    return str(_reachable(ip))


def _reachable(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, unless it leads to ourselves or to nobody: a tenant writes it, and our orders go there."""
    ip = addresses.whole(ip)
    if addresses.is_nobodys(ip):
        raise Refused(_("No router can have this address."))
    if addresses.is_ours(ip):
        raise Refused(_("This is our own address, not the router's."))
    return ip


def _read_host(raw: str) -> str:
    try:
        ip = ipaddress.ip_address(raw)
    except ValueError:
        if len(raw) > LONGEST_ADDRESS or not _HOST.fullmatch(raw):
            raise Refused(_("Must be an IP address or a host name of at most 45 letters.")) from None
        if raw == "localhost" and not client_factory.connections().is_development:
            raise Refused(_("This is our own address, not the router's.")) from None
        return raw
    return str(_reachable(ip))


def _read_secret(value: object) -> str:
    secret = _text(value)
    if secret and not (LEAST_SECRET <= len(secret) <= LONGEST_SECRET and _SECRET.fullmatch(secret)):
        raise Refused(_("From 8 to 64 characters without blanks; or leave it empty, and we make one."))
    if secret and not _UNQUOTED.fullmatch(secret):
        raise Refused(_("Without quotes, backslashes, braces, $, % and backticks: routers read those as orders."))
    return secret


def read_login_hosts(value: object) -> str:
    """Hosts that the login form may be on, by blanks; from a list, or a text with blanks or commas. Raises Refused."""
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip())
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refused(_("Must be a list of host names."))
    hosts: list[str] = []
    for one in value:
        host = _login_host(one)
        if host and host not in hosts:
            hosts.append(host)
    if len(hosts) > MOST_LOGIN_HOSTS:
        raise Refused(_("At most 10 hosts."))
    return " ".join(hosts)


def _login_host(text: str) -> str:
    """One host, without what people copy along: scheme, path, port."""
    raw = re.sub(r"^https?://", "", text.strip().lower()).split("/")[0].rstrip(".")
    if raw.startswith("[") and "]" in raw:
        raw = raw[1:].partition("]")[0]
    elif raw.count(":") == 1:
        raw = raw.partition(":")[0]
    if not raw:
        return ""
    try:
        ip = ipaddress.ip_address(raw)
    except ValueError:
        if len(raw) > 253 or not _HOST.fullmatch(raw):
            raise Refused(_("%(host)s is no host name and no address.", host=text.strip()[:60])) from None
        return raw
    if not ip.is_private:
        raise Refused(_("%(host)s is not a private address. Login forms are on the router itself.", host=raw))
    return str(ip)


def _read_port(value: object) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or len(text) > 5:
        raise Refused(_("Must be a port from 1 to 65535."))
    if not 1 <= int(text) <= 65_535:
        raise Refused(_("Must be a port from 1 to 65535."))
    return int(text)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(_("Must be true or false."))
    return value


def _read_username(value: object) -> str:
    username = _text(value)
    if username and not _USERNAME.fullmatch(username):
        raise Refused(_("At most 60 letters, digits, dots, hyphens and underscores."))
    return username


def new_secret() -> str:
    """A random secret of 32 letters and digits, which every router takes."""
    return secrets.token_hex(16)


def to_json(site: Site) -> dict[str, Any]:
    """The settings under the API's names; of its secrets only which are kept, under `secretsKept`."""
    kept = {"secret": site.secret, "apiPassword": site.api_password_sealed}
    return {
        "name": site.name,
        "kind": site.kind,
        "address": site.address,
        "loginHosts": site.login_hosts.split(),
        "identity": site.identity,
        "coaPort": site.coa_port,
        "apiPort": site.api_port,
        "apiTls": site.api_uses_tls,
        "apiUsername": site.api_username,
        "secretsKept": [name for name, value in kept.items() if value],
    }


def of_tenant(tenant_id: int) -> list[Site]:
    """The tenant's open sites, newest first."""
    mine = select(Site).where(Site.tenant_id == tenant_id, Site.closed_at.is_(None))
    return list(db.session.scalars(mine.order_by(Site.id.desc())))


def get_by_uid(tenant_id: int, uid: str) -> Site:
    """One of the tenant's open sites. Raises NotFound."""
    mine = select(Site).where(Site.tenant_id == tenant_id, Site.uid == uid, Site.closed_at.is_(None))
    if (site := db.session.scalars(mine).one_or_none()) is None:
        raise NotFound(_("There is no such site here."))
    return site


def create(tenant_id: int, given: Mapping[str, Any], *, actor: str, is_fresh_signin: bool = True) -> Site:
    """A new site. Raises Refused with every field at fault, and Conflict. The caller commits.

    What its kind needs of secrets and nobody gave is made. A login host outside the router's own network needs a fresh
    sign-in: codes are sent there.
    """
    values = {"kind": "radius"} | read(given, kind="radius")
    site = Site(tenant_id=tenant_id, kind=values["kind"])
    _refuse_incomplete(site, values)
    _refuse_anothers(site, values)
    if not is_fresh_signin and not _are_private(values.get("loginHosts", "")):
        raise StaleSignin(_("Sign in again before you say where codes may be sent."))
    with _unique():
        _set(site, values)
        _make_secrets(site, given_secret=str(values.get("secret") or ""))
        db.session.add(site)
        db.session.flush()
    chain.record(tenant_id, "site", site.id, "created", actor=actor, new=site.kind)
    return site


def change(site: Site, given: Mapping[str, Any], *, actor: str, is_fresh_signin: bool) -> Site:
    """Change what is given; an empty secret keeps the old one. Raises Refused and Conflict. The caller commits.

    What leads codes or orders elsewhere needs somebody who signed in just now (`GUARDED`).
    """
    values = read(given, kind=site.kind)
    values = {name: value for name, value in values.items() if not (name in SECRET_FIELDS and value == "")}
    _refuse_incomplete(site, values)
    known = to_json(site) | {"loginHosts": site.login_hosts}
    changed = sorted(name for name, value in values.items() if name in SECRET_FIELDS or value != known[name])
    if not changed:
        return site
    if {"address", "kind"} & set(changed):
        _refuse_anothers(site, values)
    if not is_fresh_signin and set(changed) & set(GUARDED):
        raise StaleSignin(
            _("Sign in again before you change the router's address or secrets, or where codes may be sent.")
        )
    old = site.kind
    with _unique():
        _set(site, values)
        _make_secrets(site, given_secret=str(values.get("secret") or ""))
        db.session.flush()
    told = {"fields": changed}
    chain.record(site.tenant_id, "site", site.id, "changed", actor=actor, old=old, new=site.kind, details=told)
    return site


def close(site: Site, *, actor: str) -> None:
    """Close it: its router is told nothing more and nobody signs in there; what happened stays. The caller commits."""
    site.closed_at = clock.now()
    stop = update(Provisioning).where(Provisioning.site_id == site.id, Provisioning.next_at.is_not(None))
    db.session.execute(stop.values(next_at=None))
    chain.record(site.tenant_id, "site", site.id, "closed", actor=actor, old=site.kind)
    db.session.flush()


def renew_token(site: Site, *, actor: str) -> None:
    """The router was reset or replaced: a new token, and the next key that it tells is its own. The caller commits."""
    site.token, site.tunnel_key = new_token(), ""
    chain.record(site.tenant_id, "site", site.id, "token_renewed", actor=actor)
    db.session.flush()


def _refuse_incomplete(site: Site, values: Mapping[str, Any]) -> None:
    """Raise Refused naming what this kind cannot do without, and what no longer fits it."""
    wrong: dict[str, Any] = {}
    kind = values.get("kind", site.kind)
    address = values.get("address", site.address) or ""
    if not values.get("name", site.name):
        wrong["name"] = _("Give it a name of at most 60 letters.")
    if kind in ("radius", "routeros") and not address:
        wrong["address"] = NEEDS_ADDRESS
    elif kind != "routeros" and address:
        try:
            _read_ip(address)
        except Refused as error:  # the name of a RouterOS router that is to be a RADIUS one now
            wrong["address"] = error.message
    if wrong:
        raise Refused(_("Some settings of the site are wrong."), code="invalid_fields", fields=wrong)


def _refuse_anothers(site: Site, values: Mapping[str, Any]) -> None:
    """Raise Conflict for an address at which another tenant's router stands: our orders would go to that one, and the
    tunnel's settings of this site would take its place there.
    """
    address, spoken_to = values.get("address", site.address) or "", ("radius", "routeros")
    if not address or values.get("kind", site.kind) not in spoken_to:
        return
    is_simulators = _is_ip(address) and ipaddress.ip_address(address).is_loopback
    theirs = select(Site.id).where(Site.address == address, Site.tenant_id != site.tenant_id, Site.closed_at.is_(None))
    theirs = theirs.where(Site.kind.in_(spoken_to))
    if not is_simulators and db.session.scalar(theirs.limit(1)) is not None:
        raise Conflict(TAKEN, code="address_taken", fields={"address": TAKEN})


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _are_private(login_hosts: str) -> bool:
    for host in login_hosts.split():
        try:
            ipaddress.ip_address(host)  # read_login_hosts takes private ones alone
        except ValueError:
            return False
    return True


_COLUMNS = {
    "name": "name", "kind": "kind", "address": "address", "loginHosts": "login_hosts", "identity": "identity",
    "coaPort": "coa_port", "apiPort": "api_port", "apiTls": "api_uses_tls", "apiUsername": "api_username",
    "secret": "secret", "apiPassword": "api_password",
}  # fmt: skip


def _set(site: Site, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not (name in SECRET_FIELDS and value == ""):
            setattr(site, _COLUMNS[name], value)
    if values.get("apiTls") is False and "apiPort" not in values and site.api_port in (None, API_PORT_TLS):
        site.api_port = API_PORT


def _make_secrets(site: Site, *, given_secret: str) -> None:
    """What its kind needs and nobody gave. A RouterOS site's one secret, where no other is named, is its password."""
    if site.kind in ("radius", "opennds") and not site.secret:
        site.secret = new_secret()
    if site.kind == "routeros":
        site.api_username = site.api_username or API_USERNAME
        if not site.api_password_sealed:
            site.api_password = given_secret or new_secret()


@contextmanager
def _unique() -> Iterator[None]:
    """Raise Conflict where the database says that a name or an address is taken."""
    try:
        with db.session.begin_nested():
            yield
    except IntegrityError as error:
        told = str(error.orig)
        if "uq_sites_radius_address" in told or "sites.address" in told:
            raise Conflict(TAKEN, code="address_taken", fields={"address": TAKEN}) from None
        if "uq_sites_name" in told or "sites.name" in told:
            sentence = _("You have a site of this name already.")
            raise Conflict(sentence, code="name_taken", fields={"name": sentence}) from None
        raise
