"""Looking at a site's router: each thing that can be wrong, in a sentence, with what to do about it.

What we know by ourselves (heartbeat, version, clock, tunnel, settings) comes first; then the router is spoken to by its
adapter, within a few seconds, since a person waits.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from portal.hotspot.models import AccessSession, Site
from portal.hotspot.radius import coa
from portal.hotspot.routers import adapter_of
from portal.hotspot.routers.interface import Health
from portal.hotspot.sites.files import House
from portal.kernel import clock
from portal.kernel.db import assert_no_transaction, db
from portal.kernel.errors import PortalError, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.logs import logger

Surroundings = Callable[[], AbstractContextManager[object]]
ANSWER_WITHIN_S = 6
SILENT_AFTER = timedelta(minutes=3)
OLDEST_ROUTEROS = (7, 15)  # from there on it checks that replies are ours, and may be told so
WORST_CLOCK_S = 120
OK, WARN, BAD = "ok", "warn", "bad"
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. name: snake_case. state: ok, warn or bad."""

    name: str
    state: str
    sentence: Text
    what_to_do: Text = ""


@dataclass(frozen=True)
class Verdict:
    """All that was looked at, in order."""

    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        return all(one.state != BAD for one in self.findings)

    @property
    def message(self) -> Text:
        bad = sum(one.state == BAD for one in self.findings)
        if bad:
            return _("%(count)s things are to be mended.", count=bad) if bad > 1 else _("One thing is to be mended.")
        return _("The router is ready.")


def examine(site: Site, house: House, *, surroundings: Surroundings) -> Verdict:
    """Look at it now. Waits for the router at most ANSWER_WITHIN_S; no transaction may be open.

    surroundings: what a thread of its own opens, as `ports.surroundings` gives it.
    """
    assert_no_transaction("looking at a router")
    ours = [*_known(site, house)]
    db.session.expunge(site)
    return Verdict((*ours, *_asked(site, surroundings)))


def _known(site: Site, house: House) -> Iterator[Finding]:
    yield _portal(house)
    if site.kind == "voucher":
        return
    yield _heartbeat(site)
    if site.router_version and site.kind != "opennds":
        yield _version(site)
    if site.clock_skew_s is not None:
        yield _clock(site)
    if site.kind in ("radius", "routeros"):
        yield _tunnel(site, house)
    yield _login_hosts(site)


def _portal(house: House) -> Finding:
    if urlsplit(house.public_url).scheme == "https":
        return Finding("portal", OK, _("The portal has a certificate: phones show no warning."))
    return Finding(
        "portal", WARN, _("The portal's address begins with http."),
        _("Give PUBLIC_URL a name with a certificate before the first customer; phones warn of forms without one."),
    )  # fmt: skip


def _heartbeat(site: Site) -> Finding:
    if site.last_seen_at is None:
        return Finding(
            "heartbeat", WARN, _("The router has never reported."),
            _("Paste its script again, and see that it has internet. Without reports no outage is given back."),
        )  # fmt: skip
    if clock.now() - site.last_seen_at > SILENT_AFTER:
        at = f"{clock.nairobi(site.last_seen_at):%d/%m %H:%M}"
        return Finding(
            "heartbeat", BAD, _("The router has been silent since %(at)s.", at=at),
            _("See that it has power and internet; then whether its script's scheduler still runs."),
        )  # fmt: skip
    return Finding("heartbeat", OK, _("The router reported within the last three minutes."))


def _version(site: Site) -> Finding:
    read = _VERSION.match(site.router_version)
    if read and (int(read.group(1)), int(read.group(2))) >= OLDEST_ROUTEROS:
        return Finding("version", OK, _("RouterOS %(version)s.", version=site.router_version))
    return Finding(
        "version", WARN, _("RouterOS %(version)s is old.", version=site.router_version),
        _("Update it to 7.15 or newer (System, Packages): before, it does not check that answers are really ours."),
    )  # fmt: skip


def _clock(site: Site) -> Finding:
    skew_s = abs(site.clock_skew_s or 0)
    if skew_s <= WORST_CLOCK_S:
        return Finding("clock", OK, _("The router's clock is right."))
    return Finding(
        "clock", BAD, _("The router's clock is wrong by %(minutes)s minutes.", minutes=max(1, skew_s // 60)),
        _("Switch its NTP client on (System, NTP Client): certificates and ends of passes need the right time."),
    )  # fmt: skip


def _tunnel(site: Site, house: House) -> Finding:
    if house.tunnel is None:
        return Finding(
            "tunnel", WARN, _("This installation has no tunnel."),
            _("Set TUNNEL_ENDPOINT, TUNNEL_PUBLIC_KEY and TUNNEL_ADDRESS where routers stand behind carrier NAT."),
        )  # fmt: skip
    if not site.tunnel_key:
        return Finding(
            "tunnel", BAD, _("The router has not told its tunnel's key."),
            _("Paste its script, wait a minute, then put wireguard.conf into our own WireGuard."),
        )  # fmt: skip
    return Finding("tunnel", OK, _("The router told its tunnel's key."))


def _login_hosts(site: Site) -> Finding:
    if site.login_hosts:
        return Finding("login_hosts", OK, _("Codes are sent to %(hosts)s alone.", hosts=site.login_hosts))
    return Finding(
        "login_hosts", WARN, _("Codes are sent to any private address that a link names."),
        _("Enter the router's own login host or address, such as 10.5.50.1."),
    )  # fmt: skip


def _asked(site: Site, surroundings: Surroundings) -> list[Finding]:
    """What its adapter finds; that it does not end in time is a finding too."""
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="doctor")
    try:
        ordered = pool.submit(_takes_orders, site) if site.kind == "radius" and site.address else None
        health = pool.submit(_within, surroundings, site).result(timeout=ANSWER_WITHIN_S)
        orders = [ordered.result(timeout=ANSWER_WITHIN_S)] if ordered else []
    except TookTooLong:
        return [
            Finding(
                "reachable", BAD, _("The router did not answer in time."),
                _("See that it is on, and that its tunnel is up."),
            )
        ]  # fmt: skip
    except PortalError as error:
        return [Finding("adapter", WARN, str(error))]
    except Exception as error:  # whatever a router answers, the person is told
        logger.error("doctor_failed", site=site.id, error=repr(error)[:300])
        return [
            Finding("answer", BAD, _("The router's answer could not be read."), _("Is this the kind of router it is?"))
        ]
    finally:
        pool.shutdown(wait=False)
    found = orders + [Finding(one.name, OK if one.is_well else BAD, one.text, one.remedy) for one in health.findings]
    if not found:
        state = OK if health.outcome.is_done else BAD
        found = [Finding("router", state, health.outcome.text or health.outcome.code)]
    return found


def _takes_orders(site: Site) -> Finding:
    """Whether the router answers an order about a session of nobody's, in the name of the secret that we have."""
    nobody = AccessSession(username="mlango-check", session_id="00000000", ip="", mac="")
    outcome = coa.disconnect(site, nobody)
    if outcome.code in ("timed_out", "unreachable", "not_set_up"):
        return Finding(
            "coa_port", BAD, _("No answer at the port for orders (%(port)s).", port=site.coa_port),
            _("See that its tunnel is up, that /radius incoming accepts here, and that the secret is the same."),
        )  # fmt: skip
    return Finding("coa_port", OK, _("The router takes our orders, and has our secret."))


def _within(surroundings: Surroundings, site: Site) -> Health:
    with surroundings():
        return adapter_of(site).check(site)
