"""One call of a provider's API: what it answered, or what kept it from answering, and how long its token holds."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import requests

from portal.clinic.meetings.providers import CannotMeet
from portal.kernel.db import assert_no_transaction

TIMEOUT_S = 10
_EARLY_S = 300  # a token is renewed this long before its end
_tokens: dict[str, tuple[str, float]] = {}  # by digest of the credentials; of this process


class Refusal(CannotMeet):
    """The provider answered with an error. status: HTTP's; body: what it said, {} where it was no JSON."""

    def __init__(self, message: str, *, status: int, body: dict[str, Any], is_permanent: bool) -> None:
        super().__init__(message, is_permanent=is_permanent)
        self.status, self.body = status, body


def call(provider: str, method: str, url: str, **options: Any) -> dict[str, Any]:
    """The answer's JSON, {} where it has none. Raises Refusal for an error, CannotMeet where nobody answered."""
    assert_no_transaction(provider)
    try:
        response = requests.request(method, url, timeout=TIMEOUT_S, allow_redirects=False, **options)
    except requests.RequestException as error:
        raise CannotMeet(f"{provider} cannot be reached: {type(error).__name__}.") from error
    try:
        body = response.json() if response.content else {}
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    if response.status_code >= 300:
        # of our request or our rights: the same would be refused again. 401 is a token; 408, 425 and 429 pass
        is_permanent = response.status_code in (400, 402, 403, 404, 405, 409, 410, 422)
        raise Refusal(
            f"{provider} said {response.status_code}: {said(body) or 'no reason given'}"[:250],
            status=response.status_code,
            body=body,
            is_permanent=is_permanent and "rateLimit" not in str(body) and "quota" not in str(body),
        )
    return body


def said(body: dict[str, Any]) -> str:
    """The sentence in an error as these providers write them."""
    error = body.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or "")
    parts = (error, body.get("error_description") or body.get("reason") or body.get("message"))
    return ": ".join(str(part) for part in parts if part)


def token(credentials: str, fetch: Callable[[], tuple[str, int]], *, anew: bool = False) -> str:
    """An access token for these credentials, kept for as long as it holds. fetch: a new one and its seconds."""
    key = hashlib.sha256(credentials.encode()).hexdigest()
    kept, until = _tokens.get(key, ("", 0.0))
    if anew or time.monotonic() >= until:
        kept, seconds = fetch()
        _tokens[key] = (kept, time.monotonic() + max(0, seconds - _EARLY_S))
    return kept


def with_token(bearer: Callable[[bool], str], ask: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `ask` answers with a token; with a new one, once, where the provider says that this one does not hold."""
    try:
        return ask(bearer(False))
    except Refusal as refused:
        if refused.status != 401:
            raise
    return ask(bearer(True))
