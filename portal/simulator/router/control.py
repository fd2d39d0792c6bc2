"""The doors behind the stage: open routers, spoil them, restart them, use up what a phone has."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request

from portal.kernel.errors import Refused
from portal.simulator.api.validation import finite
from portal.simulator.router import ppp, values
from portal.simulator.router.fleet import Fleet, Router
from portal.simulator.router.machine import FAULTS, RouterSpec

MOST = 10**15
blueprint = Blueprint("router_control", __name__, url_prefix="/control/routers")


def fleet_of_app() -> Fleet:
    """The running simulator's routers."""
    fleet: Fleet = current_app.extensions["simulator"].fleet
    return fleet


@blueprint.get("")
def list_routers() -> Response:
    """All of them, with the keys of their doors."""
    return jsonify({"items": [_state(router) for router in fleet_of_app().all()]})


@blueprint.post("")
def open_router() -> tuple[Response, int]:
    """Open one, or open the one of this name anew: RouterSpec in camelCase; 201 with the ports that it got."""
    router = fleet_of_app().open([RouterSpec.of(_given())])[0]
    return jsonify(_state(router)), 201


@blueprint.get("/<name>")
def show(name: str) -> Response:
    """How it stands: phones, sessions, faults."""
    return jsonify(_state(fleet_of_app().named(name)))


@blueprint.post("/<name>")
def change(name: str) -> Response:
    """Any of `join` {mac?, phone?}, `leave` {mac}, `use` {mac, bytesIn, bytesOut}, `plugIn` {name, password, mac} (a
    line that dials in by PPPoE), `unplug` {name}, `reboot` true, `faults` {name: times (or seconds), true or false};
    answers the state.
    """
    router, given = fleet_of_app().named(name), _given()
    if unknown := set(given) - {"join", "leave", "use", "plugIn", "unplug", "reboot", "faults"}:
        raise Refused(f"Not known here: {', '.join(sorted(unknown))}.", code="invalid_control")
    hotspot = router.hotspot
    joined = None
    if "join" in given:
        wanted = given["join"] if isinstance(given["join"], dict) else {}
        joined = hotspot.join(mac=_mac(wanted) if wanted.get("mac") else "", msisdn=str(wanted.get("phone") or ""))
    if "leave" in given:
        device = hotspot.device(_mac(given["leave"]))
        if device is not None:
            hotspot.leave(device)
    if "use" in given:
        wanted = given["use"]
        hotspot.use(_mac(wanted), bytes_in=_count(wanted, "bytesIn"), bytes_out=_count(wanted, "bytesOut"))
    if "plugIn" in given:
        wanted = given["plugIn"] if isinstance(given["plugIn"], dict) else {}
        ppp.plug_in(router.machine, str(wanted.get("name", "")), str(wanted.get("password", "")), _mac(wanted))
    if "unplug" in given:
        wanted = given["unplug"]
        ppp.unplug(router.machine, str(wanted.get("name", "") if isinstance(wanted, dict) else wanted))
    if "faults" in given:
        _order_faults(router, given["faults"])
    if given.get("reboot"):
        hotspot.reboot()
    return jsonify(_state(router) | ({"joined": _device(joined)} if joined is not None else {}))


def _order_faults(router: Router, wanted: Any) -> None:
    if not isinstance(wanted, dict) or set(wanted) - set(FAULTS):
        raise Refused(f"faults is an object with any of {', '.join(FAULTS)}.", code="unknown_fault")
    store = router.machine.store
    with store.transaction():
        for name, setting in wanted.items():
            store.run("DELETE FROM router_faults WHERE router = ? AND name = ?", router.machine.name, name)
            if setting not in (None, False, 0):
                times, seconds = _times_and_seconds(name, setting)
                store.insert("router_faults", router=router.machine.name, name=name, times=times, seconds=seconds)


def _times_and_seconds(name: str, setting: Any) -> tuple[int | None, float | None]:
    """Of true (until taken away), a number (see FAULTS), or `{times, seconds}`."""
    if setting is True:
        return None, None
    given = setting if isinstance(setting, dict) else {FAULTS[name]: setting}
    times, seconds = given.get("times"), given.get("seconds")
    return (
        None if times is None else _whole(times, name),
        None if seconds is None else float(_whole(seconds, name)),
    )


def _state(router: Router) -> dict[str, Any]:
    hotspot, store = router.hotspot, router.machine.store
    ppp.look(router.machine)
    return router.public_view() | {
        "boots": router.machine.boots,
        "phones": [_device(one) for one in hotspot.devices()],
        "sessions": [
            hotspot.printed_session(one)
            | {"rate": one["rate"], "sessionId": one["session_id"]}
            | {"secondsLeft": hotspot.seconds_left(one), "bytesLeft": hotspot.bytes_left(one)}
            for one in hotspot.sessions()
        ],
        "lines": [
            ppp.printed(router.machine, one) | {"profile": one["profile"], "rate": one["rate"], "list": one["list"]}
            for one in ppp.sessions(router.machine)
        ],
        "faults": {
            row["name"]: row["times"] or row["seconds"] or True
            for row in store.all("SELECT * FROM router_faults WHERE router = ?", router.machine.name)
        },
    }


def _device(device: Any) -> dict[str, Any]:
    path = f"{request.host_url.rstrip('/')}/wifi/{device['router']}/{device['mac'].replace(':', '')}/"
    return {"mac": device["mac"], "ip": device["ip"], "phone": device["msisdn"], "url": path}


def _given() -> dict[str, Any]:
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Refused("Send a JSON object.", code="invalid_control")
    return given


def _mac(wanted: Any) -> str:
    try:
        return values.mac(str(wanted["mac"] if isinstance(wanted, dict) else wanted))
    except (values.Invalid, KeyError):
        raise Refused("mac is a MAC address such as AA:BB:CC:DD:EE:FF.", code="invalid_control") from None


def _count(wanted: Any, name: str) -> int:
    return _whole(wanted.get(name, 0), name) if isinstance(wanted, dict) else 0


def _whole(value: Any, name: str) -> int:
    try:
        number = int(finite(value))
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= MOST:
        raise Refused(f"{name}: {value!r} is no number from 0 to {MOST:,}.", code="invalid_control")
    return number
