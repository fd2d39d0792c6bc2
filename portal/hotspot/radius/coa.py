"""Orders to a router about a session that runs (RFC 5176): end it, or give it another speed and end.

They go to the site's own address and port, never to an address that a packet named, signed with the site's secret; the
session is named by its user name, its id and the device's address, which RouterOS wants all three.
Decided: UDP twice, two seconds each, then it is the caller's turn to try again later: a wrong secret and a router that
is off look alike, and are no reason to hold up the next one.
"""

import ipaddress
from functools import cache
from pathlib import Path
from typing import Any

from pyrad import client as pyrad_client
from pyrad import packet
from pyrad.dictionary import Dictionary

from portal.hotspot.models import AccessSession, Site
from portal.hotspot.routers.interface import Outcome, done, failed, refused
from portal.kernel.db import assert_no_transaction

TIMEOUT_S, TRIES = 2, 2
NO_SESSION, RESOURCES = 503, 506  # Error-Cause
_CAUSES = {
    201: "residual context removed", 401: "unsupported attribute", 402: "missing attribute",
    403: "NAS identification mismatch", 404: "invalid request", 405: "unsupported service",
    501: "administratively prohibited", 504: "session context not removable", RESOURCES: "resources unavailable",
}  # fmt: skip


def disconnect(site: Site, session: AccessSession) -> Outcome:
    """End this session. `acknowledged`: the router agreed; `no_session`, which is done as well: it knows none such."""
    return _order(packet.DisconnectRequest, site, session, {})


def change(site: Site, session: AccessSession, *, rate: str, seconds_left: int) -> Outcome:
    """Give this session another speed and end, without ending it. rate: RouterOS' form; "": as it is.

    seconds_left: from now on. `no_session` is not done here: there is nothing that could run on.
    """
    values: dict[str, Any] = {"Session-Timeout": min(max(seconds_left, 1), 2**32 - 1)}
    if rate:
        values["Mikrotik-Rate-Limit"] = rate
    outcome = _order(packet.CoARequest, site, session, values)
    return refused(outcome.code, outcome.text) if outcome.code == "no_session" else outcome


def _order(code: int, site: Site, session: AccessSession, values: dict[str, Any]) -> Outcome:
    assert_no_transaction("An order to a router")
    if not site.address or not site.secret:
        return refused("not_set_up", "The site has no address or no RADIUS secret.")
    router = pyrad_client.Client(
        server=site.address, coaport=site.coa_port, secret=site.secret.encode(), dict=_dictionary()
    )
    router.timeout, router.retries = TIMEOUT_S, TRIES
    try:
        order = router.CreateCoAPacket(code=code)
        for name, value in (_names(session) | values).items():
            order[name] = value
        answer = router.SendPacket(order)
    except pyrad_client.Timeout:
        return failed("timed_out", "The router did not answer: it is off, out of reach, or has another secret or port.")
    except (OSError, packet.PacketError) as error:
        return failed("unreachable", f"The router cannot be reached: {error}.")
    finally:
        router._CloseSocket()
    return _read(answer)


def _names(session: AccessSession) -> dict[str, Any]:
    """What makes the router know which session is meant."""
    names: dict[str, Any] = {"User-Name": session.username}
    if session.session_id:
        names["Acct-Session-Id"] = session.session_id
    try:
        names["Framed-IP-Address"] = str(ipaddress.IPv4Address(session.ip))
    except ValueError:
        pass  # none was told, or one that this attribute cannot carry
    return names


def _read(answer: Any) -> Outcome:
    if answer.code in (packet.DisconnectACK, packet.CoAACK):
        return done("acknowledged")
    cause = next(iter(answer.get("Error-Cause", [])), 0)
    if cause == NO_SESSION:
        return done("no_session", "The router has no such session.")
    text = f"The router refused: {_CAUSES.get(cause, f'error cause {cause}' if cause else 'it does not say why')}."
    return failed("refused", text) if cause in (0, RESOURCES) else refused("refused", text)


@cache
def _dictionary() -> Dictionary:
    return Dictionary(str(Path(__file__).parent / "templates" / "coa_dictionary"))
