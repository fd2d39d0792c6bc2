"""The script that makes a MikroTik router a site of ours: one paste into its terminal, as often as one likes.

Written for RouterOS 7. Decided: what an older 7 does not know stands alone in `:do { … } on-error={…}`, so that the
rest is done; the doctor says what is missing. Decided: the router makes its tunnel's key itself and tells us the public
half with its heartbeat, so no private key ever leaves it. Decided: ports are moved into the guests' bridge by hand (the
guide has the line): a script that moves the port one is connected by locks one out.
Not opened in the walled garden, though copied scripts do so: captive.apple.com, connectivitycheck.gstatic.com and their
like. A phone that reaches them believes that it is online, and shows no portal.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from portal.hotspot.models import Site
from portal.hotspot.sites.quoting import comment, routeros

if TYPE_CHECKING:
    from portal.hotspot.sites.files import House, Tunnel

NAME = "mlango"  # of all that is ours on the router
GUESTS, GATEWAY, GUEST_NETWORK = "mlango-guests", "10.5.50.1", "10.5.50.0/24"
GUEST_POOL = "10.5.50.10-10.5.50.254"
WALLED_POOL = "10.5.52.10-10.5.55.254"
RIGHTS = "api,read,write,test,!local,!telnet,!ssh,!ftp,!reboot,!policy,!winbox,!password,!web,!sniff,!sensitive,!romon"


def script(site: Site, house: House, *, login_page: str, captive_api: str) -> str:
    """The whole script."""
    parts = [_head(site), _clock(), _guests(), _profile(site)]
    if house.tunnel is not None and _is_ip(site.address):
        parts.append(_tunnel(site, house.tunnel))
    if site.kind == "radius":
        parts.append(_radius(site, house))
    if site.kind == "routeros":
        parts.append(_api(site, house))
    if site.kind in ("radius", "routeros"):
        parts.append(_wall(site, house))
    parts += [_garden(house), _pages(login_page, captive_api), _option_114(site), _heartbeat(site, house), _tail()]
    return "\n".join(parts)


def _head(site: Site) -> str:
    return f"""# Mlango: {comment(site.name)}
# Paste the whole into the terminal of RouterOS 7 (WinBox, WebFig or ssh), or upload it and: /import routeros.rsc
# It may be run again at any time: what is there is set, not added. It holds secrets: keep it to yourself.
:put "Mlango: begin"
:do {{ /system device-mode update hotspot=yes }} on-error={{}}
"""


def _clock() -> str:
    return """# The time, without which certificates and ends of passes are wrong.
:do { /system ntp client set enabled=yes } on-error={}
:do { :if ([:len [/system ntp client servers find address="pool.ntp.org"]] = 0) do={ /system ntp client servers add address="pool.ntp.org" } } on-error={}
"""  # noqa: E501


def _set_or_add(path: str, key: str, values: str) -> str:
    """Lines that make a row exist with these values. key: what it is found by, such as `name="mlango"`."""
    return (
        f":if ([:len [{path} find {key}]] = 0) do={{ {path} add {key} {values} }}"
        f" else={{ {path} set [{path} find {key}] {values} }}"
    )


def _guests() -> str:
    return f"""# The guests' own network and hotspot, where this router has no hotspot yet. IPv6 stays off there.
:if ([:len [/ip hotspot find]] = 0) do={{
{_set_or_add("/interface bridge", f'name="{GUESTS}"', f'comment="{NAME}"')}
{_set_or_add("/ip address", f'address="{GATEWAY}/24"', f'interface="{GUESTS}" comment="{NAME}"')}
{_set_or_add("/ip pool", f'name="{GUESTS}"', f'ranges="{GUEST_POOL}"')}
{_set_or_add("/ip dhcp-server network", f'address="{GUEST_NETWORK}"', f'gateway="{GATEWAY}" dns-server="{GATEWAY}" comment="{NAME}"')}
{_set_or_add("/ip dhcp-server", f'name="{GUESTS}"', f'interface="{GUESTS}" address-pool="{GUESTS}" lease-time=1h disabled=no')}
/ip dns set allow-remote-requests=yes
{_set_or_add("/ip firewall nat", f'comment="{NAME}: guests"', f'chain=srcnat src-address="{GUEST_NETWORK}" action=masquerade')}
/ip hotspot add name="{NAME}" interface="{GUESTS}" address-pool="{GUESTS}" disabled=no
}}
"""  # noqa: E501


def _profile(site: Site) -> str:
    name = next((host for host in site.login_hosts.split() if not _is_ip(host)), "")
    use_radius = "yes" if site.kind == "radius" else "no"
    by_mac = "mac," if site.kind == "radius" else ""  # a TV that its owner added has no page to sign in on
    values = f"login-by={by_mac}http-pap,mac-cookie use-radius={use_radius}"
    if site.kind == "radius":
        values += " radius-accounting=yes radius-interim-update=received radius-mac-format=XX:XX:XX:XX:XX:XX"
        values += " mac-auth-mode=mac-as-username"
        values += " nas-port-type=wireless-802.11"
    if name:
        values += f" dns-name={routeros(name)}"
    return f"""# How guests sign in. A device that was in comes back by itself for as long as its pass runs.
{_set_or_add("/ip hotspot profile", f'name="{NAME}"', values)}
:if ([:len [/ip address find address="{GATEWAY}/24"]] > 0) do={{ /ip hotspot profile set [/ip hotspot profile find name="{NAME}"] hotspot-address="{GATEWAY}" }}
/ip hotspot set [/ip hotspot find] profile="{NAME}"
{_set_or_add("/ip hotspot user profile", f'name="{NAME}"', "shared-users=50 add-mac-cookie=yes mac-cookie-timeout=1d keepalive-timeout=2m idle-timeout=none status-autorefresh=1m")}
/ip hotspot user profile set [/ip hotspot user profile find name="default"] shared-users=50 add-mac-cookie=yes mac-cookie-timeout=1d keepalive-timeout=2m idle-timeout=none
"""  # noqa: E501


def _tunnel(site: Site, tunnel: Tunnel) -> str:
    peer = (
        f"public-key={routeros(tunnel.public_key)} endpoint-address={routeros(tunnel.host)}"
        f" endpoint-port={tunnel.port} allowed-address={routeros(_one(tunnel.address))} persistent-keepalive=25s"
    )
    return f"""# An outgoing tunnel, which carrier NAT lets through: by it we reach the router, and it us. Its key it makes itself.
:if ([:len [/interface wireguard find name="{NAME}"]] = 0) do={{ /interface wireguard add name="{NAME}" mtu=1420 comment="{NAME}" }}
{_set_or_add("/interface wireguard peers", f'interface="{NAME}"', peer)}
{_set_or_add("/ip address", f'interface="{NAME}"', f"address={routeros(_one(site.address))} network={routeros(tunnel.address)}")}
{_set_or_add("/ip route", f'comment="{NAME}"', f'dst-address={routeros(_one(tunnel.address))} gateway="{NAME}"')}
:if ([:len [/ip firewall filter find comment="{NAME}: tunnel"]] = 0) do={{
:do {{ /ip firewall filter add chain=input in-interface="{NAME}" action=accept comment="{NAME}: tunnel" place-before=0 }} on-error={{ /ip firewall filter add chain=input in-interface="{NAME}" action=accept comment="{NAME}: tunnel" }}
}}
"""  # noqa: E501


def _radius(site: Site, house: House) -> str:
    server = house.radius_server
    address = routeros(server) if _is_ip(server) else f"[:resolve {routeros(server)}]"
    values = (
        f"service=hotspot,ppp address={address} secret={routeros(site.secret)} src-address={routeros(site.address)}"
        " authentication-port=1812 accounting-port=1813 timeout=3s"
    )
    return f"""# Who may pass is asked by RADIUS, from the address by which we know this router; orders to end access come to port {site.coa_port}.
{_set_or_add("/radius", f'comment="{NAME}"', values)}
:do {{ /radius set [/radius find comment="{NAME}"] require-message-auth=yes-for-request-resp }} on-error={{}}
/radius incoming set accept=yes port={site.coa_port}
:do {{ /ppp aaa set use-radius=yes accounting=yes interim-update=5m }} on-error={{}}
"""  # noqa: E501


def _api(site: Site, house: House) -> str:
    service = "api-ssl" if site.api_uses_tls else "api"
    from_where = f" address={routeros(_one(house.tunnel.address))}" if house.tunnel is not None else ""
    user = f"name={routeros(site.api_username)}"
    # the certificate that TLS needs is made by the router itself, and pinned by us at the first check
    certificate = f"""
:if ([:len [/certificate find name="{NAME}"]] = 0) do={{ /certificate add name="{NAME}" common-name="{NAME}" days-valid=3650; /certificate sign "{NAME}"; :delay 5s }}
/ip service set api-ssl certificate="{NAME}\""""  # noqa: E501
    return f"""# Who may pass is written into the router through its API, by a user that may do that and nothing else.
{_set_or_add("/user group", f'name="{NAME}"', f"policy={RIGHTS}")}
{_set_or_add("/user", user, f'group="{NAME}" password={routeros(site.api_password)}{from_where}')}{certificate if site.api_uses_tls else ""}
/ip service set {service} disabled=no port={site.api_port}{from_where}
"""  # noqa: E501


def _garden(house: House) -> str:
    host = house.host
    by_name = f'dst-host={routeros(host)} comment="{NAME}: portal"'
    place = f"dst-address={routeros(host)}" if _is_ip(host) else f"dst-host={routeros(host)}"
    return f"""# Open before paying: our portal, and nothing that phones try in order to know whether they are online.
:if ([:len [/ip hotspot walled-garden find comment="{NAME}: portal"]] = 0) do={{ /ip hotspot walled-garden add action=allow {by_name} }} else={{ /ip hotspot walled-garden set [/ip hotspot walled-garden find comment="{NAME}: portal"] {by_name} }}
{_set_or_add("/ip hotspot walled-garden ip", f'comment="{NAME}: portal"', f"action=accept {place}")}
{_meetings(house)}"""  # noqa: E501


def _meetings(house: House) -> str:
    """Online visits are open too, as they are now: those of another provider before go."""
    before = f'/ip hotspot walled-garden remove [/ip hotspot walled-garden find comment="{NAME}: meetings"]\n'
    return before + "".join(
        f'/ip hotspot walled-garden add action=allow dst-host={routeros(host)} comment="{NAME}: meetings"\n'
        for host in house.meeting_hosts
    )


def _wall(site: Site, house: House) -> str:
    """Where lines (PPPoE) are let in whose time is over: a pool and a list that reach names and the portal alone.

    The rules are put before all others, the last of them first; a router without any takes them as they come.
    """
    wanted = site.expired_pool or "expired"
    rules = [
        ("refused", f"src-address-list={routeros(wanted)} action=drop"),
        ("to pay", f'src-address-list={routeros(wanted)} dst-address-list="{NAME}-portal" action=accept'),
        ("names", f"src-address-list={routeros(wanted)} protocol=udp dst-port=53 action=accept"),
    ]
    lines = []
    for what, rule in rules:
        row = f'chain=forward {rule} comment="{NAME}: lines that are over, {what}"'
        add = f"/ip firewall filter add {row}"
        found = f'[:len [/ip firewall filter find comment="{NAME}: lines that are over, {what}"]]'
        lines.append(f":if ({found} = 0) do={{ :do {{ {add} place-before=0 }} on-error={{ {add} }} }}")
    portal = f'list="{NAME}-portal" address={routeros(house.host)}'
    return f"""# Home lines (PPPoE) whose time is over are let in here, to pay and nowhere else.
{_set_or_add("/ip pool", f"name={routeros(wanted)}", f'ranges="{WALLED_POOL}"')}
{_set_or_add("/ip firewall address-list", f'comment="{NAME}: portal"', portal)}
{chr(10).join(lines)}
"""


def _pages(login_page: str, captive_api: str) -> str:
    return f"""# The pages: the router's own stay as they are in their folder, ours stand in one of their own.
:global mlangoFolder "{NAME}"
:if ([:len [/file find name="flash"]] > 0) do={{ :set mlangoFolder "flash/{NAME}" }}
/ip hotspot profile set [/ip hotspot profile find name="{NAME}"] html-directory=$mlangoFolder
:delay 2s
:global mlangoWrite do={{
:if ([:len [/file find name=$name]] = 0) do={{ :do {{ /file add name=$name contents=$text }} on-error={{ :put ("Mlango: upload this file by hand: " . $name) }} }} else={{ /file set [/file find name=$name] contents=$text }}
}}
$mlangoWrite name=($mlangoFolder . "/login.html") text={routeros(login_page)}
$mlangoWrite name=($mlangoFolder . "/api.json") text={routeros(captive_api)}
:set mlangoWrite
:set mlangoFolder
"""  # noqa: E501


def _option_114(site: Site) -> str:
    name = next((host for host in site.login_hosts.split() if not _is_ip(host)), "")
    address = f"https://{name}/api.json" if name else f"http://{GATEWAY}/api.json"
    note = (
        "It takes a certificate for this name on the router; without one phones ask as they always did."
        if name
        else "Phones heed it once the router has a name and a certificate: enter the name under login hosts."
    )
    return f"""# RFC 8910: phones are told where to ask whether they are online. {note}
{_set_or_add("/ip dhcp-server option", f'name="{NAME}-114"', f"code=114 value={routeros(chr(39) + address + chr(39))}")}
:foreach one in=[/ip dhcp-server network find comment="{NAME}"] do={{ /ip dhcp-server network set $one dhcp-option="{NAME}-114" }}
"""  # noqa: E501


def heartbeat(site: Site, house: House) -> str:
    """What the router runs each minute: one small POST that says that it is there, its version, clock and key."""
    return (
        ':local key ""; '
        f':do {{ :set key [/interface wireguard get [find name="{NAME}"] public-key] }} on-error={{}}; '
        ':local said ("version=" . [/system resource get version]'
        ' . "\\nclock=" . [/system clock get date] . " " . [/system clock get time]'
        ' . "\\noffset=" . [/system clock get gmt-offset]'
        ' . "\\nkey=" . $key); '
        f":do {{ /tool fetch url={routeros(house.heartbeat_url(site))} http-method=post http-data=$said output=none }}"
        " on-error={}"
    )


def _heartbeat(site: Site, house: House) -> str:
    values = f'interval=1m start-time=startup on-event={routeros(heartbeat(site, house))} policy=read,write,test comment="{NAME}"'  # noqa: E501
    return f"""# Each minute: here I am. By it outages are known, and their time is given back.
{_set_or_add("/system scheduler", f'name="{NAME}-heartbeat"', values)}
"""


def _tail() -> str:
    return (
        f":put \"Mlango: done. Put the guests' ports into the bridge {GUESTS}, then press Check on the site's page.\"\n"
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _one(address: str) -> str:
    """The address as a network of one."""
    return f"{address}/{ip_address(address).max_prefixlen}"
