"""Google Meet: an event in a calendar of the clinic's Workspace, by a service account that acts for its owner.

Source: Google's Calendar API v3 (events.insert with conferenceDataVersion=1) and OAuth 2.0 for service accounts.
The event's id is ours and made of the request id, so an insert whose answer was lost is found again (409, then read).
"""

import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import jwt

from portal.clinic.meetings.providers import CannotMeet, Config, Made, Wish, wire
from portal.clinic.meetings.providers.wire import Refusal
from portal.kernel import clock

NAME = "Google"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # not the file's own word: it is told a signed assertion
API = "https://www.googleapis.com/calendar/v3/calendars"
SCOPE = "https://www.googleapis.com/auth/calendar.events"
ASSERTION_S = 3_600
EVENT_PREFIX = "mlango"  # an event's id is written in a-v and 0-9


def make(config: Config, wish: Wish) -> Made:
    """The event with its Meet link; None for the link while Google still prepares it."""
    event_id = EVENT_PREFIX + wish.request_id
    try:
        event = _ask(config, "POST", "", params={"conferenceDataVersion": 1, "sendUpdates": "none"}, json=_event(wish))
    except Refusal as refused:
        if refused.status != 409:
            raise
        event = _ask(config, "GET", event_id)
    return _made(config, wish, event)


def change(config: Config, wish: Wish) -> Made:
    """The event at its new time, its link as before."""
    times = {name: value for name, value in _event(wish).items() if name in ("start", "end")}
    event = _ask(config, "PATCH", wish.external_id, params={"conferenceDataVersion": 1}, json=times)
    return _made(config, wish, event)


def cancel(config: Config, external_id: str) -> None:
    """The event is deleted; one that is gone already is well."""
    try:
        _ask(config, "DELETE", external_id, params={"sendUpdates": "none"})
    except Refusal as refused:
        if refused.status not in (404, 410):
            raise


def host_url(config: Config, external_id: str, join_url: str) -> str:
    """The same link: the calendar's owner is the host wherever they are signed in."""
    return join_url


def check(config: Config) -> None:
    """Sign in and read the calendar's events, one of them."""
    _ask(config, "GET", "", params={"maxResults": 1})


def _event(wish: Wish) -> dict[str, Any]:
    ends_at = wish.starts_at + timedelta(minutes=wish.minutes)
    return {
        "id": EVENT_PREFIX + wish.request_id,
        "summary": wish.title,
        "start": {"dateTime": clock.nairobi(wish.starts_at).isoformat(), "timeZone": "Africa/Nairobi"},
        "end": {"dateTime": clock.nairobi(ends_at).isoformat(), "timeZone": "Africa/Nairobi"},
        "visibility": "private",
        "guestsCanSeeOtherGuests": False,
        "guestsCanInviteOthers": False,
        "reminders": {"useDefault": False},
        "extendedProperties": {"private": {"appointment": wish.request_id}},
        "conferenceData": {
            "createRequest": {
                "requestId": wish.request_id,
                "conferenceSolutionKey": {"type": "hangoutsMeet"},
            }
        },
    }


def _made(config: Config, wish: Wish, event: dict[str, Any]) -> Made:
    """What Google made of it. A conference that failed is asked for once more under a request id of its own."""
    event_id = str(event.get("id") or EVENT_PREFIX + wish.request_id)
    conference = event.get("conferenceData") or {}
    entries = [one for one in conference.get("entryPoints") or () if one.get("entryPointType") == "video"]
    url = entries[0].get("uri") if entries else event.get("hangoutLink")
    if url and str(url).startswith("https://"):
        return Made(event_id, str(url))
    status = ((conference.get("createRequest") or {}).get("status") or {}).get("statusCode")
    if status == "failure":
        request = {"requestId": f"{wish.request_id}-{wish.tries}", "conferenceSolutionKey": {"type": "hangoutsMeet"}}
        again = {"conferenceData": {"createRequest": request}}
        _ask(config, "PATCH", event_id, params={"conferenceDataVersion": 1}, json=again)
    return Made(event_id, None)


def _ask(config: Config, method: str, event_id: str, **options: Any) -> dict[str, Any]:
    calendar = quote(str(config.get("calendar") or "primary"), safe="")
    url = f"{API}/{calendar}/events" + (f"/{quote(event_id, safe='')}" if event_id else "")
    return wire.with_token(
        lambda anew: _bearer(config, anew=anew),
        lambda bearer: wire.call(NAME, method, url, headers={"Authorization": f"Bearer {bearer}"}, **options),
    )


def _bearer(config: Config, *, anew: bool) -> str:
    account, subject = config["credential"], str(config["subject"])

    def fetch() -> tuple[str, int]:
        now = int(time.time())
        claims = {
            "iss": account["client_email"],
            "scope": SCOPE,
            "aud": TOKEN_URL,
            "iat": now,
            "exp": now + ASSERTION_S,
            "sub": subject,
        }
        try:
            named = {"kid": account["private_key_id"]} if account.get("private_key_id") else None
            assertion = jwt.encode(claims, account["private_key"], algorithm="RS256", headers=named)
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise CannotMeet("The service account's private key cannot be read.", is_permanent=True) from error
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        answer = wire.call(NAME, "POST", TOKEN_URL, data=form)
        return str(answer.get("access_token") or ""), int(answer.get("expires_in") or 0)

    return wire.token(f"google/{account['client_email']}/{account['private_key']}/{subject}", fetch, anew=anew)
