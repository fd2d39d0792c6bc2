"""Jitsi: a room on the clinic's own server or on 8x8's, opened by a signed token that is made at each click.

Source: Jitsi's token authentication (HS256 with the server's secret) and Jitsi as a Service (RS256, `kid` and the
app's name in the path). Audio comes first, since video costs who has little data; the room has no names in it.
"""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import jwt

from portal.clinic.meetings.providers import CannotMeet, Config
from portal.kernel import clock

JAAS = "8x8.vc"
STAYS_OPEN = timedelta(minutes=15)
_OPTIONS = {
    "config.prejoinConfig.enabled": "true",
    "config.startAudioOnly": "true",
    "config.startWithVideoMuted": "true",
}


def address(config: Config, *, room: str, name: str, is_host: bool, until: datetime) -> str:
    """Where somebody goes in. room: unguessable; until: when the visit ends. Raises CannotMeet for a key that is none.

    A server that takes no tokens (no app id) gets none: then the room's name is all that guards it.
    """
    domain, app_id = str(config["domain"]), str(config.get("app_id") or "")
    path = f"{app_id}/{room}" if domain == JAAS else room
    options = urlencode(_OPTIONS, safe='"')
    if not app_id:
        return f"https://{domain}/{path}#{options}"
    return f"https://{domain}/{path}?jwt={_signed(config, room, name, is_host=is_host, until=until)}#{options}"


def _signed(config: Config, room: str, name: str, *, is_host: bool, until: datetime) -> str:
    is_jaas, app_id = config["domain"] == JAAS, str(config["app_id"])
    now = clock.now()
    person: dict[str, Any] = {"id": "host" if is_host else "guest", "name": name}
    person |= {"moderator": str(is_host).lower()} if is_jaas else {"affiliation": "owner" if is_host else "member"}
    features = dict.fromkeys(("livestreaming", "recording", "transcription", "outbound-call"), "false")
    claims = {
        "aud": "jitsi" if is_jaas else app_id,
        "iss": "chat" if is_jaas else app_id,
        "sub": app_id if is_jaas else str(config["domain"]),
        "room": room,
        "nbf": int(now.timestamp()) - 30,
        "exp": int((max(until, now) + STAYS_OPEN).timestamp()),
        "context": {"user": person, "features": features},
    }
    try:
        if is_jaas:
            named = {"kid": f"{app_id}/{config['key_id']}"}
            return jwt.encode(claims, str(config["secret"]), algorithm="RS256", headers=named)
        return jwt.encode(claims, str(config["secret"]), algorithm="HS256")
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise CannotMeet("Jitsi's key cannot be read.", is_permanent=True) from error


def check(config: Config) -> None:
    """Sign a token with what we have. The server is not asked: it has no door for that."""
    address(config, room="check", name="check", is_host=True, until=clock.now())
