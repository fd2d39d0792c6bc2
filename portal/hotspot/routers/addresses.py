"""Where a router may be: a tenant writes its address, and our orders go there.

Decided: a name is looked up and its addresses are looked at each time we speak to it, and the very address that was
looked at is connected to: a name that leads to ourselves (our database, Redis, a cloud's metadata) is no router, though
it led elsewhere when it was entered. Routers stand in private networks, so those are taken.
"""

import ipaddress
import socket

from portal.gateways import client_factory

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Nowhere(OSError):
    """What a name leads to is no router's address: nothing was sent."""


def is_nobodys(ip: Address) -> bool:
    """Whether no router can have this address: clouds keep their machines' secrets at link-local ones."""
    return ip.is_unspecified or ip.is_multicast or ip.is_link_local or str(ip) == "255.255.255.255"


def is_ours(ip: Address) -> bool:
    """Whether this machine has this address itself. While developing, the simulator's routers on it are taken."""
    if client_factory.connections().is_development:
        return False
    return ip.is_loopback or _is_of_this_machine(ip)


def _is_of_this_machine(ip: Address) -> bool:
    """Asks the system which source it would take: for an address of its own, that very one. Nothing is sent."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(ip), 9))
            return ipaddress.ip_address(asking.getsockname()[0]) == ip
        except OSError:
            return False  # no way there at all


def whole(ip: Address) -> Address:
    """The address itself, where it is written as a mapped one."""
    return getattr(ip, "ipv4_mapped", None) or ip


def look_up(host: str, port: int) -> str:
    """The address to connect to. Raises Nowhere, or socket.gaierror for a name that nobody knows."""
    found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    looked_at = [whole(ipaddress.ip_address(one)) for one in found]
    if not looked_at or any(is_nobodys(one) or is_ours(one) for one in looked_at):
        raise Nowhere("this address is our own or nobody's, and no router's")
    return found[0]
