"""A real openNDS gateway with a phone behind it, in network namespaces of their own; this machine is the internet.

Names and addresses are this run's own. Nothing of this machine is touched but one interface and one route, which go when
the gateway does. The DHCP client runs a script of ours: Debian's would empty /etc/resolv.conf, which a network namespace
does not separate; and the gateway's /tmp and /etc/opennds are its own, in a mount namespace.
"""

import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = ("opennds", "ndsctl", "dnsmasq", "udhcpc", "iptables", "ip", "curl", "unshare")
READY_WITHIN_S = 40


def missing() -> str:
    """Why no gateway can be made here, or an empty text."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    lacking = [name for name in NEEDED if _program(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    name = f"mlt{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"this machine makes no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


class Gateway:
    """gateway, phone: names of the namespaces. wan: this machine's address towards the gateway; lan: the gateway's own
    towards the phone."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.tag = directory, secrets.token_hex(2)
        self.gateway, self.phone = f"mlg{self.tag}", f"mlp{self.tag}"
        number = _free_number()
        self.wan, self.wan_there = f"10.78.{number}.1", f"10.78.{number}.2"
        self.lan, self.lan_net = f"10.77.{number}.1", f"10.77.{number}.0/24"
        self._children: list[subprocess.Popen[bytes]] = []
        self._agent: subprocess.Popen[bytes]

    def up(self) -> None:
        """Both namespaces, wired: phone - gateway - this machine."""
        for name in (self.gateway, self.phone):
            _run("ip", "netns", "add", name)
        inner, outer = f"ml{self.tag}p", f"ml{self.tag}w"
        _run(
            "ip",
            "link",
            "add",
            "lan",
            "netns",
            self.gateway,
            "type",
            "veth",
            "peer",
            "name",
            inner,
            "netns",
            self.phone,
        )
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "wan", "netns", self.gateway)
        here = ("ip", "-n", self.gateway)
        _run(*here, "addr", "add", f"{self.lan}/24", "dev", "lan")
        _run(*here, "addr", "add", f"{self.wan_there}/24", "dev", "wan")
        for device in ("lan", "wan", "lo"):
            _run(*here, "link", "set", device, "up")
        _run(*here, "route", "add", "default", "via", self.wan)
        _run("ip", "addr", "add", f"{self.wan}/24", "dev", outer)
        _run("ip", "link", "set", outer, "up")
        _run("ip", "route", "add", self.lan_net, "via", self.wan_there)
        _run("ip", "netns", "exec", self.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _run("ip", "-n", self.phone, "link", "set", inner, "up")

    def start(self, *, portal_port: int, path: str, key: str, level: int = 1) -> None:
        """DHCP, then openNDS, until it answers."""
        own = self.directory / "tmp"
        etc = self.directory / "etc"
        tools = own / "bin"
        for folder in (own, etc, tools):
            folder.mkdir(exist_ok=True)
        shutil.copytree("/etc/opennds", etc, dirs_exist_ok=True)
        for name in ("iptables", "ip6tables"):
            # where the kernel refuses nf_tables' chains, the older interface works
            legacy = _program(f"{name}-legacy")
            if legacy and not (tools / name).exists():
                (tools / name).symlink_to(legacy)
        (etc / "opennds.conf").write_text(
            f"GatewayInterface lan\nGatewayAddress {self.lan}\nGatewayPort 2050\nGatewayName Lodge\n"
            f"FASRemoteIP {self.wan}\nFASPort {portal_port}\nFASPath {path}\nfaskey {key}\n"
            f"fas_secure_enabled {level}\nCheckInterval 5\nUse_outdated_mhd 1\nDebugLevel 1\n"
            "FirewallRuleSet authenticated-users {\n FirewallRule allow all\n}\n"
            "FirewallRuleSet preauthenticated-users {\n}\n"
            "FirewallRuleSet users-to-router {\n FirewallRule allow udp port 53\n FirewallRule allow udp port 67\n}\n"
        )
        lease = self.lan.rsplit(".", 1)[0]
        self._child(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--interface=lan", "--bind-interfaces",
            f"--dhcp-range={lease}.50,{lease}.99,1h", "--dhcp-leasefile=/tmp/dhcp.leases", "--no-resolv", "--no-hosts",
            "--port=0", "--user=root", "--pid-file=",
        )  # fmt: skip
        self._join()
        self._child("opennds", "-f", "-c", "/etc/opennds/opennds.conf", log="opennds.log")
        until = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < until:
            if "client_list_length" in self.inside("ndsctl json", check=False):
                return
            time.sleep(0.3)
        raise AssertionError("openNDS did not start:\n" + (self.directory / "opennds.log").read_text()[-3_000:])

    def _join(self) -> None:
        """The phone takes an address, as a phone does."""
        script = self.directory / "bound"
        script.write_text('#!/bin/sh\n[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface"\nexit 0\n')
        script.chmod(0o755)
        _run("ip", "netns", "exec", self.phone, "udhcpc", "-i", f"ml{self.tag}p", "-n", "-q", "-f", "-s", str(script))
        _run("ip", "-n", self.phone, "route", "add", "default", "via", self.lan)

    @property
    def _prefix(self) -> list[str]:
        """Into the gateway's network, with a /tmp and an /etc/opennds of its own."""
        # /tmp last: what is bound over it hides the directory itself, which may lie there
        bind = (
            f'cd / && mount --make-rprivate / && mount --bind "{self.directory}/etc" /etc/opennds'
            f' && mount --bind "{self.directory}/tmp" /tmp && export PATH="/tmp/bin:$PATH:/usr/sbin:/sbin"'
        )
        return ["ip", "netns", "exec", self.gateway, "unshare", "-m", "sh", "-c", f'{bind} && exec "$@"', "sh"]

    def _child(self, *command: str, log: str = "children.log") -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as out:
            child = subprocess.Popen([*self._prefix, *command], stdout=out, stderr=out, start_new_session=True)
        self._children.append(child)
        return child

    def inside(self, command: str, *, check: bool = True) -> str:
        """What a shell command says on the gateway."""
        return _run(*self._prefix, "sh", "-c", command, check=check)

    def agent(self, script: str) -> None:
        """The script that the site's page gives, running on the gateway."""
        file = self.directory / "tmp" / "mlango-agent"
        file.write_text(script)
        self._agent = self._child("sh", "/tmp/mlango-agent", log="agent.log")

    def stop_agent(self) -> None:
        """As if it had never been put there."""
        os.killpg(self._agent.pid, signal.SIGKILL)
        self._agent.wait(5)

    def clients(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads(self.inside("ndsctl json")).get("clients", {})
        return found

    def browse(self, url: str, *, form: dict[str, str] | None = None, limit_s: int = 4) -> tuple[int, str, str]:
        """(status, where it leads, body) of an address that the phone opens; status 0: no answer. form: posted to it."""
        said = "\n%{http_code} %{redirect_url}"
        more = [part for name, value in (form or {}).items() for part in ("--data-urlencode", f"{name}={value}")]
        done = subprocess.run(
            ["ip", "netns", "exec", self.phone, "curl", "-s", *more, "-m", str(limit_s), "-w", said, url],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        body, _, last = done.stdout.rpartition("\n")
        status, _, leads = last.partition(" ")
        return int(status or 0), leads, body

    def down(self) -> None:
        """Everything that was made is gone, whatever happened."""
        for child in reversed(self._children):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        for child in self._children:
            try:
                child.wait(8)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait(5)
        for name in (self.gateway, self.phone):
            for pid in _run("ip", "netns", "pids", name, check=False).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _run("ip", "netns", "del", name, check=False)
        _run("ip", "link", "del", f"ml{self.tag}w", check=False)


def _free_number() -> int:
    """The third number of two networks that nobody uses here."""
    used = _run("ip", "-4", "addr") + _run("ip", "-4", "route")
    for _try in range(200):
        number = secrets.randbelow(254) + 1
        if not any(str(ipaddress.ip_address(f"10.{net}.{number}.0"))[:-1] in used for net in (77, 78)):
            return number
    raise AssertionError("no free network")


@contextmanager
def gateway(directory: Path) -> Iterator[Gateway]:
    made = Gateway(directory)
    try:
        made.up()
        yield made
    finally:
        made.down()
