"""What is wrong with a RouterOS router, in words, and what to do: for the button "test the connection"."""

import re
from datetime import UTC, datetime, timedelta

from portal.hotspot.routers.interface import Finding, Outcome, done, failed
from portal.hotspot.routers.routeros.connection import Conversation, Row
from portal.hotspot.routers.routeros.terms import plain, seconds
from portal.kernel import clock
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text

OLDEST = (6, 43)  # from here on a password signs on as it is
NEEDED_POLICIES = ("api", "read", "write", "test")
CLOCK_MAY_DIFFER = timedelta(minutes=2)
GARDENS = ("/ip/hotspot/walled-garden", "/ip/hotspot/walled-garden/ip")
GARDEN_COMMENT = "mlango: portal"  # as the site's script writes it
HOTSPOT_PROFILE, MOST_INTERIM_S = "/ip/hotspot/profile", 300
# What phones try in order to know whether they are online: open, they show no portal.
DECEIVING = ("captive.apple.com", "gstatic.com", "msftconnecttest.com", "detectportal.firefox.com")
_REMEDIES: dict[str, Text] = {
    "sign_on_failed": _("Check the API's user and password on the router: /user print."),
    "certificate_changed": _(
        "If you changed the router's certificate, forget the old one here; if not, find out who did."
    ),
    "timed_out": _("Check the address, the tunnel and the firewall: /ip service print, /ip firewall filter print."),
    "unreachable": _("Check the address, the tunnel and the API's port: /ip service print."),
    "not_set_up": _("Enter the router's address and the API's user."),
}


def cannot_be_reached(outcome: Outcome) -> Finding:
    """The one thing to say where no conversation came about."""
    remedy = _REMEDIES.get(outcome.code, _("Try again; if it stays so, restart the router's API service."))
    return Finding("connection", outcome.is_done, outcome.text, remedy)


def look(talk: Conversation, findings: list[Finding]) -> Outcome:
    """Version, clock, hotspot, what is open before paying and how often it accounts, each with its remedy."""
    findings.append(Finding("connection", True, _("The router answers and lets us sign on.")))
    resource = (talk.call("/system/resource/print") or [{}])[0]
    findings.append(_version(plain(resource.get("version"))))
    findings.append(_clock(talk))
    servers = talk.call("/ip/hotspot/print")
    running = [one for one in servers if plain(one.get("disabled")) not in ("yes", "true")]
    findings.append(
        Finding(
            "hotspot",
            bool(running),
            _("A hotspot runs on this router.") if running else _("No hotspot runs on this router."),
            "" if running else _("Paste the script of this page into the router's terminal."),
        )
    )
    findings.append(_garden(talk))
    findings += _accounting(talk, {plain(one.get("profile")) for one in running})
    bad = [one for one in findings if not one.is_well]
    return done() if not bad else failed("not_well", str(bad[0].text))


def _garden(talk: Conversation) -> Finding:
    """Whether phones reach the portal before they pay, and nothing that makes them believe they are online."""
    rows = [row for menu in GARDENS for row in talk.call(f"{menu}/print") if plain(row.get("disabled")) != "yes"]
    opened = [row for row in rows if plain(row.get("action")) in ("", "allow", "accept")]
    hosts = {plain(row.get("dst-host") or row.get("dst-address")) for row in opened}
    deceiving = sorted(host for host in hosts if any(name in host for name in DECEIVING))
    if deceiving:
        text = _("The walled garden lets phones reach %(hosts)s: they take themselves for online.", hosts=deceiving[0])
        return Finding("walled_garden", False, text, _("Take these out of /ip hotspot walled-garden."))
    ours = [plain(row.get("dst-host") or row.get("dst-address")) for row in opened if _is_ours(row)]
    if not ours:
        text = _("The walled garden does not let phones reach the portal before they pay.")
        return Finding("walled_garden", False, text, _("Paste the script of this page into the router's terminal."))
    return Finding("walled_garden", True, _("Before they pay, phones reach %(host)s.", host=ours[0]))


def _is_ours(row: Row) -> bool:
    return plain(row.get("comment")) == GARDEN_COMMENT


def _accounting(talk: Conversation, names: set[str]) -> list[Finding]:
    """Where the hotspot asks RADIUS: whether it tells of each stay as often as it is asked to."""
    profiles = [row for row in talk.call(f"{HOTSPOT_PROFILE}/print") if plain(row.get("name")) in names]
    asking = [row for row in profiles if plain(row.get("use-radius")) in ("yes", "true")]
    if not asking:
        return []
    silent = [row for row in asking if plain(row.get("radius-accounting")) not in ("yes", "true")]
    every = next((plain(row.get("radius-interim-update")) for row in asking if not _is_told_often(row)), None)
    remedy = _("Paste the script of this page into the router's terminal.")
    if silent:
        return [Finding("interim", False, _("The hotspot does not account for stays to RADIUS."), remedy)]
    if every is not None:
        text = _("The hotspot tells of stays every %(every)s: caps and stale stays are noticed late.", every=every)
        return [Finding("interim", False, text, remedy)]
    return [Finding("interim", True, _("The hotspot tells of each stay as often as it is asked to."))]


def _is_told_often(row: Row) -> bool:
    """As our answer asks (`received`), or at least every five minutes by its own setting."""
    every = plain(row.get("radius-interim-update")) or "received"
    try:
        return every == "received" or 0 < seconds(every) <= MOST_INTERIM_S
    except ValueError:
        return False


def _version(version: str) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", version)
    is_well = found is not None and (int(found[1]), int(found[2])) >= OLDEST
    text = _("RouterOS %(version)s.", version=version or "?")
    return Finding(
        "version", is_well, text, "" if is_well else _("RouterOS 6.43 or later is needed: update the router.")
    )


def _clock(talk: Conversation) -> Finding:
    """Its clock decides what its logs say, and TLS; access ends by ours."""
    row = (talk.call("/system/clock/print") or [{}])[0]
    stands = _instant(plain(row.get("date")), plain(row.get("time")), plain(row.get("gmt-offset")))
    if stands is None or abs(stands - clock.now()) <= CLOCK_MAY_DIFFER:
        return Finding("clock", True, _("The router's clock is right."))
    text = _("The router's clock is wrong: it says %(at)s.", at=clock.rfc3339(stands))
    return Finding(
        "clock", False, text, _("Set its time servers: /system ntp client set enabled=yes servers=pool.ntp.org")
    )


def _instant(day: str, at: str, offset: str) -> datetime | None:
    for form in ("%Y-%m-%d %H:%M:%S", "%b/%d/%Y %H:%M:%S"):
        try:
            local = datetime.strptime(f"{day} {at}", form).replace(tzinfo=UTC)
        except ValueError:
            continue
        found = re.fullmatch(r"([+-]?)(\d\d?):(\d\d)", offset)
        shift = timedelta(hours=int(found[2]), minutes=int(found[3])) if found else timedelta(0)
        return local + shift if found and found[1] == "-" else local - shift
    return None
