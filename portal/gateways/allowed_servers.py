"""Which servers a gateway may be sent to: M-Pesa is outside, and an address of our own network never is.

A tenant's administrator writes the base URL, and whatever it names is told the gateway's secrets and answers into
our pages. So the form takes plain https addresses only, and the connection is made to an address that was looked up
and checked in the same breath: a name that resolves to something else a moment later changes nothing.

Decided: what is not plainly public is refused. Addresses that carry another one (mapped, compatible, NAT64, 6to4,
Teredo) are refused whole, because what is behind them is the network's to decide, not ours to unwrap.
Decided: an installation for development takes any address, because the simulator stands on its loopback.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is routed on the internet
_CARRIERS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/23"))  # 6to4; Teredo and its like
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
_RELAYS = ipaddress.IPv4Network("192.88.99.0/24")  # 6to4 again


class Inside(OSError):
    """The name leads to an address that is not on the public internet: nothing was sent."""


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is one of the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # such as fe80::1%eth0
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip not in _RELAYS
    return ip in _UNICAST and not any(ip in network for network in (*_CARRIERS, _DOCUMENTATION))


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, all of them public. Raises Inside, or socket.gaierror for a name that nobody knows."""
    found = [str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not found or not all(is_public(one) for one in found):
        raise Inside(f"{host} is not an address of the public internet.")
    return list(dict.fromkeys(found))


def is_base_url(url: str, *, is_development: bool) -> bool:
    """Whether it is empty, or the address of a server: no user, query or fragment; in production https and public."""
    if not url:
        return True
    try:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port
    except ValueError:  # such as http://[ or a port of letters
        return False
    rest = url.removeprefix(f"{address.scheme}://{address.netloc}")
    is_plain = _PLAIN_PATH.fullmatch(rest) is not None and "@" not in address.netloc and port != 0
    if address.scheme not in (("http", "https") if is_development else ("https",)) or not is_plain or not host:
        return False
    is_number = ":" in host or host.replace(".", "").isdigit()
    if not is_number:
        return _PLAIN_HOST.fullmatch(host) is not None and (is_development or "." in host)
    return is_development or is_public(host)
