"""Zoom: a scheduled meeting of the clinic's host, by a server-to-server OAuth app.

Source: Zoom's API v2 (meetings) and its server-to-server OAuth. Zoom knows no request id: before a second try makes a
meeting, the host's upcoming ones are looked through for the topic that the first one would have.
"""

import base64
from typing import Any
from urllib.parse import quote

from portal.clinic.meetings.providers import CannotMeet, Config, Made, Wish, wire
from portal.clinic.meetings.providers.wire import Refusal

NAME = "Zoom"
TOKEN_URL = "https://zoom.us/oauth/token"
API = "https://api.zoom.us/v2"
GONE = (404, 410)
ROWS = 300  # Zoom's largest page


def make(config: Config, wish: Wish) -> Made:
    """The meeting, with a waiting room."""
    if wish.tries and (found := _made_before(config, wish)) is not None:
        return found
    host = quote(str(config["host"]), safe="@")
    settings = {
        "waiting_room": True,
        "join_before_host": False,
        "host_video": False,
        "participant_video": False,  # audio first: data costs money
        "mute_upon_entry": False,
        "approval_type": 2,
        "audio": "both",
        "auto_recording": "none",
        "meeting_authentication": False,
    }
    body = {"topic": _topic(wish), "type": 2, **_times(wish), "default_password": True, "settings": settings}
    return _made(_ask(config, "POST", f"/users/{host}/meetings", json=body))


def change(config: Config, wish: Wish) -> Made:
    """The meeting at its new time, its link as before."""
    _ask(config, "PATCH", f"/meetings/{quote(wish.external_id, safe='')}", json=_times(wish))
    return _made(_ask(config, "GET", f"/meetings/{quote(wish.external_id, safe='')}"))


def cancel(config: Config, external_id: str) -> None:
    """The meeting is deleted and nobody is mailed by Zoom; one that is gone already is well."""
    quiet = {"schedule_for_reminder": "false"}
    try:
        _ask(config, "DELETE", f"/meetings/{quote(external_id, safe='')}", params=quiet)
    except Refusal as refused:
        if refused.status not in GONE:
            raise


def host_url(config: Config, external_id: str, join_url: str) -> str:
    """Zoom's start address, which signs in as host and holds for two hours: hence asked for at each click."""
    found = _ask(config, "GET", f"/meetings/{quote(external_id, safe='')}")
    start = str(found.get("start_url") or "")
    return start if start.startswith("https://") else join_url


def check(config: Config) -> None:
    """Sign in and look at the host's meetings, one of them."""
    _ask(config, "GET", f"/users/{quote(str(config['host']), safe='@')}/meetings", params={"page_size": 1})


def _topic(wish: Wish) -> str:
    return f"{wish.title} {wish.request_id[:8]}"  # by which a try whose answer was lost is found again


def _times(wish: Wish) -> dict[str, Any]:
    return {
        "start_time": wish.starts_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timezone": "Africa/Nairobi",
        "duration": wish.minutes,
    }


def _made_before(config: Config, wish: Wish) -> Made | None:
    host = quote(str(config["host"]), safe="@")
    upcoming = _ask(config, "GET", f"/users/{host}/meetings", params={"type": "upcoming", "page_size": ROWS})
    for one in upcoming.get("meetings") or ():
        if isinstance(one, dict) and one.get("topic") == _topic(wish):
            return _made(one)
    return None


def _made(meeting: dict[str, Any]) -> Made:
    number, url = str(meeting.get("id") or ""), str(meeting.get("join_url") or "")
    if not number or not url.startswith("https://"):
        raise CannotMeet("Zoom's answer names no meeting.")
    return Made(number, url)


def _ask(config: Config, method: str, path: str, **options: Any) -> dict[str, Any]:
    return wire.with_token(
        lambda anew: _bearer(config, anew=anew),
        lambda bearer: wire.call(NAME, method, API + path, headers={"Authorization": f"Bearer {bearer}"}, **options),
    )


def _bearer(config: Config, *, anew: bool) -> str:
    account, client, secret = (str(config[name]) for name in ("account", "client", "secret"))

    def fetch() -> tuple[str, int]:
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        form = {"grant_type": "account_credentials", "account_id": account}
        answer = wire.call(NAME, "POST", TOKEN_URL, data=form, headers={"Authorization": f"Basic {basic}"})
        return str(answer.get("access_token") or ""), int(answer.get("expires_in") or 0)

    return wire.token(f"zoom/{account}/{client}/{secret}", fetch, anew=anew)
