"""The files that a site's router takes: one to paste or upload each, made from its settings.

Each value goes into its file by the way that file quotes (`portal.hotspot.sites.quoting`), so a site may be called
anything. Who runs a file twice has what they had: what is there already is set, not added.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

from portal.hotspot.models import Site
from portal.hotspot.routers.opennds import agent, authmon
from portal.hotspot.sites import routeros
from portal.hotspot.sites.quoting import comment, html, uci
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _

# What RouterOS writes into its pages, by the names under which our portal takes it.
FROM_THE_ROUTER = ("mac", "ip", "identity", "server-name", "link-login-only", "link-orig", "error")
FROM_THE_ROUTER_CHAP = ("chap-id", "chap-challenge")


@dataclass(frozen=True)
class Tunnel:
    """Our end of the tunnel that routers bring up. endpoint: host:port on the internet; address: ours inside it."""

    endpoint: str
    public_key: str
    address: str

    @property
    def host(self) -> str:
        return self.endpoint.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> str:
        return self.endpoint.rpartition(":")[2]


@dataclass(frozen=True)
class House:
    """What a router has to know of us. public_url: without a slash at its end. tunnel: None where there is none.

    radius_address: where RADIUS is reached, an IP address or a name; empty: at our tunnel's end, else at the portal.
    meeting_hosts: servers of online visits, open before paying; `*.` before one stands for all below it.
    """

    public_url: str
    slug: str
    tunnel: Tunnel | None = None
    radius_address: str = ""
    meeting_hosts: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    def portal_url(self, site: Site) -> str:
        return f"{self.public_url}/hotspot/{self.slug}/?{urlencode({'site': site.uid})}"

    def heartbeat_url(self, site: Site) -> str:
        return f"{self.public_url}/routers/{site.token}/heartbeat"

    def agent_url(self, site: Site) -> str:
        return f"{self.public_url}/routers/{site.token}/opennds"

    @property
    def radius_server(self) -> str:
        return self.radius_address or (self.tunnel.address if self.tunnel else self.host)


def login_page(site: Site, house: House) -> str:
    """RouterOS' `login.html`: leads to the portal with all that the router knows, by a form that the browser escapes.

    It says nothing else, so that a phone on 2G has it in one packet.
    """
    told = "\n".join(f'<input type="hidden" name="{name}" value="$({name})">' for name in FROM_THE_ROUTER)
    chap = "\n".join(f'<input type="hidden" name="{name}" value="$({name})">' for name in FROM_THE_ROUTER_CHAP)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{html(site.name)}</title>
</head>
<body>
<form id="on" method="get" action="{html(house.public_url)}/hotspot/{html(house.slug)}/">
<input type="hidden" name="site" value="{html(site.uid)}">
{told}
$(if chap-id)
{chap}
$(endif)
<p><button type="submit">Wi-Fi: go on &middot; endelea</button></p>
</form>
<script>document.getElementById("on").submit()</script>
</body>
</html>
"""


def captive_api(site: Site, house: House) -> str:
    """RouterOS' `api.json`: RFC 8908 of the device that asks, whose state only the router knows."""
    address = json.dumps(house.portal_url(site))
    return (
        "{\n"
        f"\"captive\": $(if logged-in == 'yes')false$(else)true$(endif),\n"
        "$(if session-time-left-secs)\n"
        '"seconds-remaining": $(session-time-left-secs),\n'
        "$(endif)\n"
        "$(if remain-bytes-total)\n"
        '"bytes-remaining": $(remain-bytes-total),\n'
        "$(endif)\n"
        '"can-extend-session": true,\n'
        f'"user-portal-url": {address}\n'
        "}\n"
    )


def router_script(site: Site, house: House) -> str:
    """One paste for RouterOS 7: hotspot, walled garden, RADIUS or API, tunnel, pages, heartbeat."""
    return routeros.script(site, house, login_page=login_page(site, house), captive_api=captive_api(site, house))


def opennds_settings(site: Site, house: House) -> str:
    """`/etc/config/opennds` of OpenWrt: our portal decides (FAS), asked and told over https (level 4, authmon)."""
    address = urlsplit(house.public_url)
    is_tls = address.scheme == "https"
    port = address.port or (443 if is_tls else 80)
    lines = [
        ("gatewayname", site.name),
        ("fasport", str(port)),
        ("faspath", f"/hotspot/{house.slug}/?{urlencode({'key': authmon.key_of(site.token), 'site': site.uid})}"),
        ("fas_secure_enabled", "4" if is_tls else "1"),
        ("faskey", site.secret),
    ]
    lines.insert(2, ("fasremoteip", house.host) if _is_ip(house.host) else ("fasremotefqdn", house.host))
    options = "\n".join(f"\toption {name} {uci(value)}" for name, value in lines)
    open_to_all = ([] if _is_ip(house.host) else [house.host]) + [
        host.removeprefix("*.") for host in house.meeting_hosts
    ]
    names = [host for host in dict.fromkeys(open_to_all) if not _is_ip(host)]  # a name opens what is below it too
    garden = "".join(f"\tlist walledgarden_fqdn_list {uci(name)}\n" for name in names)
    return (
        f"# Mlango: {comment(site.name)}. Into /etc/config/opennds, then: service opennds restart\n"
        f"config opennds\n\toption enabled '1'\n\toption gatewayinterface 'br-lan'\n{options}\n{garden}"
        "\toption checkinterval '15'\n"
        "# With the file mlango-agent of this page on the router: it lets in who paid and ends who may not stay.\n"
    )


def opennds_agent(site: Site, house: House) -> str:
    """The script on an openNDS router that asks whom to let in and whom to end."""
    return agent.script(house.agent_url(site))


def freeradius_client(site: Site, house: House) -> str:
    """A `client` of FreeRADIUS' clients.conf, for who runs a server of their own in front of ours."""
    return (
        f"# Mlango: {comment(site.name)}\n"
        f"client site_{site.uid} {{\n"
        f"\tipaddr = {site.address}\n"
        f'\tsecret = "{site.secret}"\n'
        f"\tshortname = {site.uid}\n"
        "\trequire_message_authenticator = yes\n"
        "\tnas_type = mikrotik\n"
        f"\tcoa_server = coa_{site.uid}\n"
        "}\n"
        f"home_server coa_{site.uid} {{\n"
        "\ttype = coa\n"
        f"\tipaddr = {site.address}\n"
        f"\tport = {site.coa_port}\n"
        f'\tsecret = "{site.secret}"\n'
        "}\n"
    )


def tunnel_peer(site: Site, house: House) -> str:
    """The `[Peer]` of this router for our own WireGuard. Raises Conflict before the router told its key."""
    if not site.tunnel_key:
        raise Conflict(
            _(
                "The router has not told its tunnel's key yet. It does with its first heartbeat, a minute after its "
                "script was pasted."
            ),
            code="not_yet",
        )
    return (
        f"# Mlango: {comment(site.name)}. Behind the others in /etc/wireguard/mlango.conf, then: "
        "wg syncconf mlango <(wg-quick strip mlango)\n"
        f"[Peer]\nPublicKey = {site.tunnel_key}\nAllowedIPs = {site.address}/{_whole(site.address)}\n"
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _whole(address: str) -> int:
    return ip_address(address).max_prefixlen


_MADE: Mapping[str, Callable[[Site, House], str]] = {
    "routeros.rsc": router_script,
    "login.html": login_page,
    "api.json": captive_api,
    "opennds.conf": opennds_settings,
    "mlango-agent": opennds_agent,
    "freeradius-client.conf": freeradius_client,
    "wireguard.conf": tunnel_peer,
}
_OF_KIND = {
    "radius": ("routeros.rsc", "login.html", "api.json", "freeradius-client.conf", "wireguard.conf"),
    "routeros": ("routeros.rsc", "login.html", "api.json", "wireguard.conf"),
    "opennds": ("opennds.conf", "mlango-agent"),
    "voucher": ("routeros.rsc", "login.html", "api.json"),
}


def names(site: Site) -> tuple[str, ...]:
    """The files that a router of this kind takes."""
    return tuple(name for name in _OF_KIND[site.kind] if name != "wireguard.conf" or _is_ip(site.address))


def of_name(site: Site, name: str, house: House) -> str:
    """One of them. Raises NotFound for a name that this kind has no file of, and Conflict where it cannot be yet."""
    if name not in names(site):
        raise NotFound(_("There is no such file for this kind of router."))
    return _MADE[name](site, house)
