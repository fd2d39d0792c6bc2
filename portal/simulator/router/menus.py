"""The menus that this router knows: which properties there are, of what kind, and what is there from the start."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Menu:
    """properties: name -> kind of value. unique: whose values name one entry. defaults: what an entry has unless told
    otherwise. taken: RouterOS' words for a second of the same name. hidden: never printed.
    """

    properties: dict[str, str]
    unique: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    defaults: dict[str, str] = field(default_factory=dict)
    taken: str = "failure: already have such entry"
    references: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()


_COMMON = {"comment": "text", "disabled": "flag"}
_ON = {"disabled": "false"}

MENUS = {
    "/ip/hotspot/user": Menu(
        {
            "name": "text", "password": "text", "profile": "text", "server": "text", "address": "address",
            "mac-address": "mac", "limit-uptime": "time", "limit-bytes-in": "bytes", "limit-bytes-out": "bytes",
            "limit-bytes-total": "bytes", "email": "text", "routes": "text", **_COMMON,
        },
        unique=("name", "server"),
        needed=("name",),
        defaults={"profile": "default", "server": "all", **_ON},
        taken="failure: already have user with this name for this server",
        references={"profile": "/ip/hotspot/user/profile"},
    ),
    "/ip/hotspot/user/profile": Menu(
        {
            "name": "text", "rate-limit": "rate", "shared-users": "number", "session-timeout": "time",
            "idle-timeout": "time", "keepalive-timeout": "time", "status-autorefresh": "time",
            "add-mac-cookie": "flag", "mac-cookie-timeout": "time", "on-login": "text", "on-logout": "text",
            "address-list": "text", "address-pool": "text", "transparent-proxy": "flag", "parent-queue": "text",
        },
        unique=("name",),
        needed=("name",),
        defaults={
            "shared-users": "1", "keepalive-timeout": "2m", "status-autorefresh": "1m", "idle-timeout": "none",
            "add-mac-cookie": "true", "mac-cookie-timeout": "3d", "transparent-proxy": "false",
        },
        taken="failure: profile with the same name already exists",
    ),
    "/ip/hotspot/profile": Menu(
        {
            "name": "text", "login-by": "text", "use-radius": "flag", "radius-accounting": "flag",
            "radius-interim-update": "text", "radius-mac-format": "text", "radius-default-domain": "text",
            "radius-location-id": "text", "radius-location-name": "text", "nas-port-type": "text",
            "hotspot-address": "address", "dns-name": "text", "html-directory": "text",
            "html-directory-override": "text", "http-cookie-lifetime": "time", "mac-auth-mode": "text",
            "mac-auth-password": "text", "ssl-certificate": "text", "trial-uptime-limit": "time",
            "trial-uptime-reset": "time", "trial-user-profile": "text",
        },
        unique=("name",),
        needed=("name",),
        defaults={"login-by": "cookie,http-chap", "use-radius": "false", "html-directory": "hotspot"},
        taken="failure: profile with the same name already exists",
    ),
    "/ip/hotspot": Menu(
        {
            "name": "text", "interface": "text", "profile": "text", "address-pool": "text",
            "addresses-per-mac": "number", "idle-timeout": "time", "keepalive-timeout": "time", "disabled": "flag",
        },
        unique=("name",),
        needed=("name", "interface"),
        defaults=_ON,
        references={"profile": "/ip/hotspot/profile"},
    ),
    "/ip/hotspot/cookie": Menu({"user": "text", "mac-address": "mac", "expires-in": "time", "mac-cookie": "flag"}),
    "/ip/hotspot/ip-binding": Menu(
        {"mac-address": "mac", "address": "text", "to-address": "text", "type": "text", "server": "text", **_COMMON},
        defaults={"type": "regular", **_ON},
    ),
    "/ip/hotspot/walled-garden": Menu(
        {
            "dst-host": "text", "dst-port": "text", "path": "text", "method": "text", "action": "text",
            "server": "text", "src-address": "text", "dst-address": "text", **_COMMON,
        },
        defaults={"action": "allow", **_ON},
    ),
    "/ip/hotspot/walled-garden/ip": Menu(
        {
            "dst-host": "text", "dst-address": "text", "dst-port": "text", "protocol": "text", "action": "text",
            "server": "text", "src-address": "text", **_COMMON,
        },
        defaults={"action": "accept", **_ON},
    ),
    "/ip/pool": Menu(
        {"name": "text", "ranges": "text", "next-pool": "text", "comment": "text"},
        unique=("name",),
        needed=("name", "ranges"),
        taken="failure: pool with the same name already exists",
    ),
    "/ppp/secret": Menu(
        {
            "name": "text", "password": "text", "service": "text", "profile": "text", "remote-address": "text",
            "local-address": "text", "caller-id": "text", "routes": "text", "limit-bytes-in": "bytes",
            "limit-bytes-out": "bytes", **_COMMON,
        },
        unique=("name",),
        needed=("name",),
        defaults={"service": "any", "profile": "default", **_ON},
        taken="failure: secret with the same name already exists",
        references={"profile": "/ppp/profile"},
    ),
    "/ppp/profile": Menu(
        {
            "name": "text", "rate-limit": "rate", "local-address": "text", "remote-address": "text",
            "session-timeout": "time", "idle-timeout": "time", "only-one": "text", "address-list": "text",
            "dns-server": "text", "on-up": "text", "on-down": "text", "comment": "text", "change-tcp-mss": "text",
        },
        unique=("name",),
        needed=("name",),
        defaults={"only-one": "default"},
        taken="failure: profile with the same name already exists",
    ),
    "/radius": Menu(
        {
            "service": "text", "address": "address", "secret": "text", "src-address": "address",
            "authentication-port": "number", "accounting-port": "number", "timeout": "time", "domain": "text",
            "called-id": "text", "realm": "text", "protocol": "text", "require-message-auth": "text", **_COMMON,
        },
        needed=("address",),
        defaults={
            "authentication-port": "1812", "accounting-port": "1813", "timeout": "1s", "protocol": "udp",
            "require-message-auth": "yes-for-request-resp", **_ON,
        },
    ),
    "/user": Menu(
        {"name": "text", "password": "text", "group": "text", "address": "text", **_COMMON},
        unique=("name",),
        needed=("name", "group"),
        defaults=_ON,
        taken="failure: user with the same name already exists",
        references={"group": "/user/group"},
        hidden=("password",),
    ),
    "/user/group": Menu(
        {"name": "text", "policy": "text", "skin": "text", "comment": "text"}, unique=("name",), needed=("name",)
    ),
    "/file": Menu({"name": "text", "contents": "text", "type": "text"}, unique=("name",), needed=("name",)),
    "/ip/service": Menu(
        {"name": "text", "port": "number", "address": "text", "certificate": "text", "disabled": "flag"}
    ),
}  # fmt: skip

# One entry each, that is changed but never added or removed.
SINGLES = {
    "/system/identity": Menu({"name": "text"}),
    "/radius/incoming": Menu({"accept": "flag", "port": "number"}),
    "/system/clock": Menu({"time-zone-name": "text", "time-zone-autodetect": "flag", "date": "text", "time": "text"}),
    "/system/ntp/client": Menu({"enabled": "flag", "servers": "text"}),
}

# Read from what happens; entries of some may be removed, which ends what they stand for.
LIVE = ("/ip/hotspot/active", "/ip/hotspot/host", "/ppp/active", "/system/resource", "/system/package")

EVERY_POLICY = (
    "local,telnet,ssh,ftp,reboot,read,write,policy,test,winbox,password,web,sniff,sensitive,api,romon,rest-api"
)
VERSION = "7.16.2 (stable)"
