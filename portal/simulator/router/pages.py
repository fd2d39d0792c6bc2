"""The Wi-Fi as a phone meets it: networks to join, any address opened, and the router's login, status and logout.

Everything behind `/wifi/<router>/<MAC address>/` is that one phone's view of that router.
"""

import re
import sqlite3
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for

from portal.kernel import clock, phone
from portal.kernel.errors import NotFound
from portal.kernel.phone import normalise_msisdn
from portal.simulator.engine.store import Store
from portal.simulator.handset.pages import draw, phone_parts
from portal.simulator.router import hotspot_files, values
from portal.simulator.router.control import fleet_of_app
from portal.simulator.router.fleet import Router
from portal.simulator.router.hotspot import NO_CHALLENGE, Hotspot

PAGE_BYTES = (120_000, 2_400_000)  # what opening a page sends and gets
LONGEST_URL = 2_000
PARTS = ("wifi_bar", "wifi_prompt", "wifi_glass", "wifi_beside")
PROBES = {
    "connectivitycheck.gstatic.com": (204, ""),
    "captive.apple.com": (200, "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"),
    "www.msftconnecttest.com": (200, "Microsoft Connect Test"),
    "detectportal.firefox.com": (200, "success\n"),
}
SUGGESTED = ("http://example.com/", "https://www.kenya.go.ke/", "https://sw.wikipedia.org/wiki/Kenya")
blueprint = Blueprint("wifi", __name__, url_prefix="/wifi")


class Place(NamedTuple):
    """A phone at a router."""

    router: Router
    device: sqlite3.Row

    @property
    def hotspot(self) -> Hotspot:
        return self.router.hotspot

    @property
    def store(self) -> Store:
        return self.router.machine.store

    @property
    def session(self) -> sqlite3.Row | None:
        return self.hotspot.session_of(self.device["mac"])

    def url(self, endpoint: str, **values_of: Any) -> str:
        """An address of this phone's view, whole, as a router writes them."""
        return url_for(
            f"wifi.{endpoint}",
            router=self.router.spec.name,
            mac=self.device["mac"].replace(":", ""),
            _external=True,
            **values_of,
        )


def _place(router: str, mac: str) -> Place:
    found = fleet_of_app().named(router)
    found.hotspot.look()
    try:
        device = found.hotspot.device(values.mac(":".join(re.findall("..", mac))))
    except values.Invalid:
        device = None
    if device is None:
        raise NotFound("No phone with this MAC address has joined this Wi-Fi.")
    return Place(found, device)


@blueprint.get("/")
def networks() -> Response:
    """The Wi-Fi that a phone finds here, and the phones that are in one."""
    routers = [
        {"router": one, "phones": [_tile(Place(one, device)) for device in one.hotspot.devices()[-8:]]}
        for one in fleet_of_app().all()
    ]
    return Response(render_template("wifi.html", routers=routers))


@blueprint.post("/<router>/join")
def join(router: str) -> Response:
    """A phone joins; `phone`: its number, otherwise one that waits for a person to enter the PIN."""
    hotspot = fleet_of_app().named(router).hotspot
    number = request.form.get("phone", "").strip()
    device = hotspot.join(msisdn=normalise_msisdn(number) if number else "")
    return _redirect(Place(fleet_of_app().named(router), device).url("show"))


@blueprint.get("/<router>/<mac>/")
def show(router: str, mac: str) -> Response:
    """The phone: what it is asked, what it can open, and what its router knows of it."""
    return _phone(_place(router, mac), opened="")


@blueprint.get("/<router>/<mac>/live")
def live(router: str, mac: str) -> Response:
    """Its moving parts as `{name: {version, html}}`, for its script."""
    place = _place(router, mac)
    return jsonify(draw(PARTS, _shown(place, opened=request.args.get("opened", "")[:LONGEST_URL])))


@blueprint.get("/<router>/<mac>/open")
def open_address(router: str, mac: str) -> Response:
    """Any address, opened by this phone: the page where it may pass, otherwise the router's login page."""
    place, url = _place(router, mac), _address(request.args.get("url", ""))
    if not url:
        return _redirect(place.url("show"))
    if place.device["left_at"] is not None:
        return _phone(place, opened="", note="The Wi-Fi is off on this phone.")
    refusal = ""
    if not _may_pass(place, url):
        refusal = place.hotspot.sign_in_silently(place.device)
        if place.session is None:
            place.store.update("router_devices", place.device["id"], wanted_url=url)
            return _redirect(place.url("login", dst=url, **({"error": refusal} if refusal else {})))
    place.hotspot.use(place.device["mac"], bytes_in=PAGE_BYTES[0], bytes_out=PAGE_BYTES[1])
    host = urlsplit(url).hostname or ""
    if host in PROBES and "text/html" not in request.headers.get("Accept", ""):
        status, text = PROBES[host]
        return Response(text, status=status)
    return _phone(place, opened=url)


def _may_pass(place: Place, url: str) -> bool:
    return (
        place.session is not None
        or place.hotspot.is_bypassed(place.device["mac"])
        or _is_in_walled_garden(place, urlsplit(url).hostname or "")
    )


def _is_in_walled_garden(place: Place, host: str) -> bool:
    for menu in ("/ip/hotspot/walled-garden", "/ip/hotspot/walled-garden/ip"):
        for one in place.router.machine.entries(menu):
            pattern = str(one.get("dst-host", ""))
            is_open = one.get("action") in ("allow", "accept") and one.get("disabled") != "true"
            if is_open and pattern and re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), host):
                return True
    return False


# --- the router's own pages


@blueprint.get("/<router>/<mac>/login")
def login(router: str, mac: str) -> Response:
    """The login page; with `username` the sign-in itself, as a router takes it from a plain link."""
    place = _place(router, mac)
    if "username" in request.args:
        return _sign_in(place)
    if place.session is not None:
        return _redirect(place.url("status"))
    return _login_page(place, error=request.args.get("error", ""))


@blueprint.post("/<router>/<mac>/login")
def sign_in(router: str, mac: str) -> Response:
    """`username`, `password` (or the answer to the challenge), `dst`."""
    return _sign_in(_place(router, mac))


def _sign_in(place: Place) -> Response:
    given = request.values
    if place.device["left_at"] is not None:
        return _phone(place, opened="", note="The Wi-Fi is off on this phone.")
    username = given.get("username", "")[:200]
    proof = place.hotspot.browser_proof(place.device, given.get("password", "")[:200])
    refusal = (
        NO_CHALLENGE
        if proof is None
        else place.hotspot.sign_in(
            place.device, username, proof, login_by="http-pap" if proof.password else "http-chap"
        )
    )
    if refusal:
        return _login_page(place, error=refusal, username=username)
    return _file(place, "alogin.html")


def _login_page(place: Place, *, error: str = "", username: str = "") -> Response:
    told = {"error": error[:500], "username": username}
    if "http-chap" in place.hotspot.ways_in():
        chap_id, challenge = place.hotspot.challenge(place.device)
        told |= {"chap-id": f"\\{chap_id:03o}", "chap-challenge": "".join(f"\\{one:03o}" for one in challenge)}
    return _file(place, "login.html", **told)


@blueprint.get("/<router>/<mac>/status")
def status(router: str, mac: str) -> Response:
    """Time and data, as the router counts them."""
    place = _place(router, mac)
    return _redirect(place.url("login")) if place.session is None else _file(place, "status.html")


@blueprint.route("/<router>/<mac>/logout", methods=["GET", "POST"])
def logout(router: str, mac: str) -> Response:
    """Sign out; the router forgets to let this phone in silently."""
    place = _place(router, mac)
    session = place.session
    if session is None:
        return _redirect(place.url("login"))
    page = _file(place, "logout.html")
    place.hotspot.end(session, cause="User-Request")
    place.hotspot.drop_cookies(place.device["mac"])
    return page


@blueprint.get("/<router>/<mac>/api.json")
def capport(router: str, mac: str) -> Response:
    """RFC 8908, from the hotspot directory's own `api.json`."""
    place = _place(router, mac)
    text = hotspot_files.render(hotspot_files.read(place.router.machine, "api.json"), _variables(place), is_json=True)
    return Response(text, mimetype="application/captive+json", headers={"Cache-Control": "private, no-store"})


def _file(place: Place, name: str, **told: str) -> Response:
    text = hotspot_files.render(hotspot_files.read(place.router.machine, name), _variables(place) | told)
    page = Response(text, mimetype="text/html", headers={"Cache-Control": "no-store"})
    page.headers["Content-Security-Policy"] = _policy(place)
    return page


def _policy(place: Place) -> str:
    """What a router sends has no policy of its own; this one lets a form lead to the portal and nowhere else."""
    portal = urlsplit(place.router.spec.portal_url)
    origin = f" {portal.scheme}://{portal.netloc}" if portal.netloc else ""
    return (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        f" connect-src 'self'; form-action 'self'{origin}; frame-ancestors 'none'; base-uri 'none'"
    )


def _variables(place: Place) -> dict[str, str]:
    """RouterOS' names. Figures of a session are absent where there is none, or none of that kind."""
    device, session = place.device, place.session
    wanted = _address(request.values.get("dst", "")) or device["wanted_url"]
    told = {
        "mac": device["mac"],
        "ip": device["ip"],
        "host-ip": device["ip"],
        "identity": place.router.identity,
        "server-name": "hotspot1",
        "server-address": "10.5.50.1:80",
        "hostname": place.hotspot.profile().get("dns-name", ""),
        "interface-name": "bridge-guests",
        "link-login": place.url("login", **({"dst": wanted} if wanted else {})),
        "link-login-only": place.url("login"),
        "link-logout": place.url("logout"),
        "link-status": place.url("status"),
        "link-orig": wanted,
        "link-redirect": place.url("open_address", url=wanted) if wanted else place.url("show"),
        "login-by": place.hotspot.profile().get("login-by", ""),
        "portal-url": place.router.spec.portal_url,
        "logged-in": "no" if session is None else "yes",
        "trial": "no",
        "blocked": "yes" if place.hotspot.is_blocked(device["mac"]) else "no",
        "plain-passwd": "yes",
        "ssl-login": "no",
    }
    return told if session is None else told | _session_variables(place.hotspot, session)


def _session_variables(hotspot: Hotspot, session: sqlite3.Row) -> dict[str, str]:
    told = {
        "username": session["username"],
        "session-id": session["session_id"],
        "uptime": values.duration(hotspot.uptime_s(session)),
        "uptime-secs": str(int(hotspot.uptime_s(session))),
        "bytes-in": str(session["bytes_in"]),
        "bytes-out": str(session["bytes_out"]),
        "bytes-in-nice": nice(session["bytes_in"]),
        "bytes-out-nice": nice(session["bytes_out"]),
    }
    if (left_s := hotspot.seconds_left(session)) is not None:
        told |= {"session-time-left": values.duration(left_s), "session-time-left-secs": str(int(left_s))}
        told |= {"session-timeout": values.duration(session["timeout_s"])}
    if (left := hotspot.bytes_left(session)) is not None:
        told |= {"remain-bytes-total": str(left), "remain-bytes-total-nice": nice(left)}
        told |= {"limit-bytes-total": str(session["most_bytes"])}
    return told


# --- the phone, as it is drawn


@blueprint.post("/<router>/<mac>/do")
def act(router: str, mac: str) -> Response:
    """The phone's and the stage's buttons: `seconds` of time, `bytes` of data, `act`: leave, join, renew, reboot."""
    place, given = _place(router, mac), request.form
    if given.get("seconds", "").isdigit():
        place.store.move_clock(min(int(given["seconds"]), 31 * 86_400))
        place.hotspot.look()
    if given.get("bytes", "").isdigit():
        place.hotspot.use(place.device["mac"], bytes_out=min(int(given["bytes"]), 1 << 40))
    chosen = given.get("act", "")
    if chosen == "leave":
        place.hotspot.leave(place.device)
    elif chosen == "join":
        place.hotspot.join(mac=place.device["mac"])
    elif chosen == "renew":
        place.hotspot.leave(place.device)
        place = Place(place.router, place.hotspot.join(msisdn=place.device["msisdn"]))
    elif chosen == "reboot":
        place.hotspot.reboot()
    return _redirect(place.url("show"))


def _phone(place: Place, *, opened: str, note: str = "") -> Response:
    shown = _shown(place, opened=opened)
    live_from = place.url("live", opened=opened) if opened else place.url("live")
    page = Response(render_template("wifi_phone.html", **shown, parts=draw(PARTS, shown), note=note, live=live_from))
    page.headers["Content-Security-Policy"] = _policy(place)
    page.headers["Cache-Control"] = "no-store"
    return page


def _shown(place: Place, *, opened: str) -> dict[str, Any]:
    session, device, hotspot = place.session, place.device, place.hotspot
    shown = phone_parts(place.store, device["msisdn"])
    host = urlsplit(opened).hostname or "" if opened else ""
    return shown | {
        "place": place,
        "router": place.router,
        "device": device,
        "is_in_wifi": device["left_at"] is None,
        "online": None if session is None else _figures(hotspot, session),
        "passes_freely": bool(host) and session is None and _may_pass(place, opened),
        "opened": opened,
        "host": host,
        "wanted_url": device["wanted_url"],
        "suggested": SUGGESTED,
        "phone_number": phone.for_people(device["msisdn"]),
        "users": hotspot.machine.entries("/ip/hotspot/user"),
        "asks_radius": hotspot.profile().get("use-radius") == "true",
        "router_time": f"{clock.nairobi(place.store.now()):%d %b, %H:%M}",
        "back": url_for("wifi.show", router=place.router.spec.name, mac=device["mac"].replace(":", "")),
    }


def _figures(hotspot: Hotspot, session: sqlite3.Row) -> dict[str, Any]:
    up, down = values.rate_pair(session["rate"]) if session["rate"] else ("", "")
    left_s, left = hotspot.seconds_left(session), hotspot.bytes_left(session)
    return {
        "username": session["username"],
        "login_by": session["login_by"],
        "up": speed(up),
        "down": speed(down),
        "time_left": None if left_s is None else long_time(left_s),
        "time_share": None if left_s is None else round(100 * left_s / max(1, session["timeout_s"])),
        "data_left": None if left is None else nice(left),
        "data_share": None if left is None else round(100 * left / max(1, session["most_bytes"])),
        "used": nice(session["bytes_in"] + session["bytes_out"]),
        "uptime": long_time(hotspot.uptime_s(session)),
    }


def _tile(place: Place) -> dict[str, Any]:
    return {
        "url": place.url("show"),
        "mac": place.device["mac"],
        "number": phone.for_people(place.device["msisdn"]),
        "is_online": place.session is not None,
    }


def nice(count: int) -> str:
    """`1.5 GiB`, as RouterOS' `-nice` values."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit takes all")


def speed(figure: str) -> str:
    """`5 Mbps` of `5M`; empty of nothing."""
    units = {"M": "Mbps", "k": "kbps"}
    return f"{figure[:-1]} {units[figure[-1]]}" if figure[-1:] in units else f"{figure} bps" if figure else ""


def long_time(seconds: float) -> str:
    """`2 days 3 hours`, `59 min`, `40 s`: two units at most."""
    rest, parts = int(seconds), []
    for unit, one, many in ((86_400, "day", "days"), (3_600, "hour", "hours"), (60, "min", "min"), (1, "s", "s")):
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count} {one if count == 1 else many}")
    return " ".join(parts[:2]) or "0 s"


def _address(typed: str) -> str:
    """What a browser's address line would open; empty of nothing and of what is no web address."""
    typed = typed.strip()[:LONGEST_URL]
    if not typed:
        return ""
    url = typed if "://" in typed else f"http://{quote(typed, safe='/:?#[]@!$&()*+,;=%~._-')}"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where the port is no number
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.hostname else ""


def _redirect(url: str) -> Response:
    return redirect(url, 302)  # type: ignore[return-value]
