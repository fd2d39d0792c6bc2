"""Who is online now and who was: live, searched by name, device, phone or receipt; ended with what came of it."""

from dataclasses import asdict
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _l

from portal.hotspot.sites import settings, stays
from portal.staff.guard import actor, needs, read_id
from portal.users.permissions import WORK_HOTSPOT
from portal.web.filters import data_size
from portal.web.language import said

LONGEST_WORDS = 80
WHY = {  # RFC 2866, and ours
    "User-Request": _l("Signed out"),
    "Lost-Carrier": _l("Left the Wi-Fi"),
    "Idle-Timeout": _l("Idle too long"),
    "Session-Timeout": _l("Time over"),
    "Admin-Reset": _l("Disconnected by staff"),
    "Admin-Reboot": _l("Router restarted"),
    "NAS-Reboot": _l("Router restarted"),
    "NAS-Request": _l("Ended by the router"),
}


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/sessions", "sessions", list_sessions)
    bp.add_url_rule("/sessions/<uid>/disconnect", "session_end", disconnect, methods=["POST"])


@needs(WORK_HOTSPOT)
def list_sessions() -> ResponseReturnValue:
    """Who is online; with past=1 also who was. 204 to a poll where nothing changed."""
    version = stays.version(g.tenant.id)
    is_poll = "HX-Request" in request.headers
    if is_poll and request.args.get("v") == version:
        return "", 204
    words, site = request.args.get("q", "")[:LONGEST_WORDS], request.args.get("site", "")[:24]
    is_past, before = request.args.get("past") == "1", read_id("before")
    found, cursor = stays.page(g.tenant.id, is_online=not is_past, words=words, site_uid=site, before_id=before)
    kept: dict[str, Any] = {
        name: value for name, value in (("q", words), ("site", site), ("past", "1" if is_past else "")) if value
    }
    shown = {
        "sessions": [_row(one, kept) for one in found],
        "next_url": url_for("staff.sessions", before=cursor, **kept) if cursor else None,
        # only the first page of who is online lives: the others are of what has been
        "poll_url": None if is_past or before else url_for("staff.sessions", v=version, **kept),
        "online_count": int(version.split("-")[0]),
    }
    if is_poll:
        return render_template("staff/_sessions.html", **shown)
    sites = [{"id": one.uid, "name": one.name} for one in settings.of_tenant(g.tenant.id)]
    return render_template("staff/sessions.html", words=words, site=site, is_past=is_past, sites=sites, **shown)


def _row(one: stays.Stay, kept: dict[str, Any]) -> dict[str, Any]:
    is_online = one.ended_at is None
    return asdict(one) | {
        "size": data_size(round(one.bytes_in + one.bytes_out, -5)) or "0 MB",
        "why": "" if is_online else str(WHY.get(one.end_cause, one.end_cause)),
        "end_url": url_for("staff.session_end", uid=one.uid, **kept) if is_online else None,
    }


@needs(WORK_HOTSPOT)
def disconnect(uid: str) -> ResponseReturnValue:
    """End one stay, and say what really came of it."""
    ended = stays.disconnect(g.tenant.id, uid, actor=actor())
    flash(said(ended.sentence), {"gone": "success", "asked": "info"}.get(ended.state, "danger"))
    kept: dict[str, Any] = {name: request.args[name] for name in ("q", "site") if request.args.get(name)}
    return redirect(url_for("staff.sessions", **kept), 303)
