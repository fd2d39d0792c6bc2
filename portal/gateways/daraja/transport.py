"""The line to M-Pesa: signs on, sends, and turns every answer, or its absence, into a value or one of our errors."""

import random
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import structlog
from requests.auth import AuthBase, HTTPBasicAuth

from portal.gateways.daraja.connections import BAD_ADDRESS, Bearer, led_inside, never_sent, shared_session, timed_out
from portal.gateways.daraja.encoding import (
    Answer,
    error_code_of,
    error_message_of,
    read_json,
    redact,
    seconds_of,
    word_of,
)
from portal.gateways.daraja.error_rules import FIELDS, SPECIAL
from portal.gateways.daraja.errors import (
    THROTTLE_PAUSE_S,
    ConfigurationRefused,
    DarajaError,
    OutcomeUnknown,
    Rejected,
    SignOnFailed,
    Throttled,
    TokenRefused,
    Unreachable,
)
from portal.gateways.daraja.types import DarajaAccount
from portal.gateways.tokens import FreshToken, TokenKey, TokenStore
from portal.kernel.db import assert_no_transaction

_log = structlog.get_logger(__name__)
CONNECT_S = 5.0
READ_S = 20.0
SIGN_ON_READ_S = 10.0  # a token is a short answer
REPEATS = 3
FIRST_PAUSE_S = 0.5
MAX_ANSWER_BYTES = 4 * 1024 * 1024
KEPT_TEXT = 2048
SAFARICOMS_CODE, LONGEST_FIELD = re.compile(r"[0-9]{1,5}|[0-9]{3}(\.[0-9]{1,4}){1,3}|SFC_[A-Z0-9]{1,8}", re.ASCII), 30
TOKEN_CODES = frozenset({"404.001.03", "400.003.01", "401.002.01", "401.003.01"})
THROTTLE_CODES = frozenset({"500.003.02", "500.003.03"})
THROTTLE_WORDS = ("spike arrest", "quota violation", "system is busy")
UNSURE_4XX = frozenset({408, 409, 425, 499})  # a proxy may say these after it passed the request on
_T = TypeVar("_T")


class DarajaTransport:
    """One gateway's line. session: the process's shared one if left out; sleep: between repeats."""

    def __init__(
        self,
        account: DarajaAccount,
        tokens: TokenStore,
        *,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._account = account
        self._tokens = tokens
        self._session = session or shared_session()
        self._sleep = sleep
        self._base_url = account.base_url.rstrip("/")
        self._token_key = TokenKey(
            account.gateway_id,
            account.environment,
            self._base_url,
            account.consumer_key,
            account.consumer_secret,
        )

    def _sign_on(self) -> FreshToken:
        return self._repeat(self._sign_on_once)

    def _sign_on_once(self) -> FreshToken:
        path = "/oauth/v1/generate"
        auth = HTTPBasicAuth(self._account.consumer_key.encode(), self._account.consumer_secret.encode())
        try:
            status, headers, raw = self._exchange(
                "GET", f"{path}?grant_type=client_credentials", auth=auth, read_s=SIGN_ON_READ_S
            )
        except OutcomeUnknown as error:  # a token is no money: nothing else was sent
            raise Unreachable(error.message, path=path) from error
        body = read_json(raw)
        known = self._known(path, status, raw, body)
        if throttled := self._throttled(body, status, headers, known):
            raise throttled
        token = word_of(body, "access_token") if body and status == 200 else ""
        if token:
            return FreshToken(token, seconds_of(body.get("expires_in") if body else None))
        if status in (400, 401, 403) and (body is not None or not raw.strip()):
            raise SignOnFailed(
                f"The consumer key or secret was refused by the {self._server} server. Copy both again from "
                "the app's page on the Daraja portal, and check that they belong to this environment.",
                **known,
            )
        raise Unreachable(
            f"M-Pesa's {self._server} server gave no token (HTTP {status}). Nothing was sent. Check the "
            "base URL; if it is right, try again in some minutes.",
            **known,
        )

    def _post(self, path: str, payload: Answer, *, repeat: bool = False, read_s: float = READ_S) -> Answer:
        """The answer's JSON object. A refused token is renewed once; `repeat`: sending it again is safe."""
        for last in (False, True):
            token = self._tokens.get(self._token_key, self._sign_on)
            send = partial(self._send, path, payload, token, read_s)
            try:
                return self._repeat(send) if repeat else send()
            except TokenRefused as refused:
                self._tokens.drop(self._token_key, token)
                if last:
                    raise SignOnFailed(
                        f"The {self._server} server gave a token and then refused it. The app may lack this "
                        "product, its Go-Live may be unfinished, or sandbox and production values are mixed. "
                        "If not, write to apisupport@safaricom.co.ke with the app's id and the shortcode.",
                        path=path,
                        http_status=refused.http_status,
                        code=refused.code,
                        text=refused.text,
                        request_id=refused.request_id,
                    ) from refused
        raise AssertionError("unreachable: the second refusal raises")

    def _send(self, path: str, payload: Answer, token: str, read_s: float) -> Answer:
        status, headers, raw = self._exchange("POST", path, auth=Bearer(token), read_s=read_s, payload=payload)
        body = read_json(raw)
        if 200 <= status < 300 and body is not None and not error_code_of(body) and "fault" not in body:
            return body
        known = self._known(path, status, raw, body, token)
        raise self._error(status, headers, body, known)

    def _error(self, status: int, headers: dict[str, str], body: Answer | None, known: dict[str, Any]) -> DarajaError:
        """The error for an answer that is no plain success. Code and words together decide it."""
        code, said = known["code"], error_message_of(body).lower()
        if throttled := self._throttled(body, status, headers, known):
            return throttled
        if code in TOKEN_CODES or (status == 401 and not code.startswith("5")):
            return TokenRefused("The token was refused.", **known)
        if special := self._special(code, said, known):
            return special
        if code.startswith("4") or (not code and 400 <= status < 500 and status not in UNSURE_4XX):
            return self._rejection(status, known)
        shown = self._code_shown(code)
        return OutcomeUnknown(
            f"M-Pesa's {self._server} server gave no clear answer ({f'HTTP {status} {shown}'.strip()}). "
            "It may have acted: the result is asked for, nothing is sent again.",
            **known,
        )

    def _special(self, code: str, said: str, known: dict[str, Any]) -> DarajaError | None:
        """Answers that only their words tell apart."""
        for its_code, words, kind, message in SPECIAL:
            if words in said and its_code in ("", code):
                shortcode = self._account.business_shortcode
                return kind(message.format(server=self._server, shortcode=shortcode), **known)
        return None

    def _rejection(self, status: int, known: dict[str, Any]) -> Rejected:
        if not known["code"]:
            return Rejected(
                f"M-Pesa's {self._server} server refused the request with HTTP {status} and no reason. Check "
                "the base URL, and ask Safaricom whether their firewall lets this server's address in.",
                **known,
            )
        named = re.search(r"(?i)\binvalid ([a-z]+)", known["text"]) if known["code"] == "400.002.02" else None
        if not named or len(named.group(1)) > LONGEST_FIELD:
            return Rejected(f"M-Pesa refused the request: {self._words(known['code'], known['text'])}", **known)
        field = named.group(1)
        remedy = FIELDS.get(field, "Correct it, then send again.")
        return Rejected(f"M-Pesa refused the field {field}. {remedy}", field=field, **known)

    def _throttled(
        self, body: Answer | None, status: int, headers: dict[str, str], known: dict[str, Any]
    ) -> Throttled | None:
        said = error_message_of(body).lower()
        named = known["code"] in THROTTLE_CODES or any(word in said for word in THROTTLE_WORDS)
        if status != 429 and not named:
            return None
        asked = re.fullmatch(r"[0-9]{1,4}", headers.get("retry-after", ""))
        wait_s = int(asked.group()) if asked else THROTTLE_PAUSE_S
        return Throttled(
            f"M-Pesa's {self._server} server is busy, or our limit is reached. Nothing was done. "
            f"Wait {wait_s} seconds.",
            retry_after_s=max(wait_s, 1),
            **known,
        )

    def _exchange(
        self, method: str, path: str, *, auth: AuthBase, read_s: float, payload: Answer | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case), body. Raises Unreachable if nothing was sent, else OutcomeUnknown."""
        assert_no_transaction("A call to M-Pesa")
        bare_path = path.partition("?")[0]
        lost = OutcomeUnknown(
            f"The connection to M-Pesa's {self._server} server was lost before its answer. It may have "
            "acted: the result is asked for, nothing is sent again.",
            path=bare_path,
        )
        try:
            # A redirect is not followed: it could send a prompt twice.
            response = self._session.request(
                method,
                self._base_url + path,
                json=payload,
                auth=auth,
                timeout=(CONNECT_S, read_s),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            if isinstance(error, BAD_ADDRESS) or led_inside(error):
                raise ConfigurationRefused(
                    "The gateway's base URL is not an https address of the public internet. Correct it.",
                    path=bare_path,
                ) from error
            if never_sent(error):
                raise Unreachable(
                    f"M-Pesa's {self._server} server could not be reached. Nothing was sent. Check this "
                    "server's internet connection and the gateway's base URL, then try again.",
                    path=bare_path,
                ) from error
            raise lost from error
        try:
            with response:
                raw = b""
                for chunk in response.iter_content(16 * 1024):
                    raw += chunk
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise lost
        except requests.RequestException as error:
            raise lost from error
        return response.status_code, {name.lower(): value for name, value in response.headers.items()}, raw

    def _repeat(self, send: Callable[[], _T]) -> _T:
        """What `send` gives, repeated where the server was away or busy. Only for what is safe to repeat.

        A silence is not repeated: it cost its whole time, and somebody else waits for this thread.
        """
        for attempt in range(REPEATS):
            try:
                return send()
            except (Unreachable, Throttled, OutcomeUnknown) as error:
                if timed_out(error) or (isinstance(error, OutcomeUnknown) and error.http_status != 503):
                    raise
            self._sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(1, 1.5))  # noqa: S311 (spreads load, keeps no secret)
        return send()

    def _words(self, code: str, said: str) -> str:
        """What it said, for a page. Only Safaricom's own servers are read out: another may be anybody's, or ours."""
        if (urlsplit(self._base_url).hostname or "").endswith(".safaricom.co.ke"):
            return f"{code} {said[:200]}".strip()
        _log.warning("daraja_refused", gateway_id=self._account.gateway_id, code=code, said=said[:KEPT_TEXT])
        return f"{self._code_shown(code)} (its own words are in the log)".strip()

    @staticmethod
    def _code_shown(code: str) -> str:
        return code if SAFARICOMS_CODE.fullmatch(code) else ""

    @property
    def _server(self) -> str:
        return self._account.environment.upper()

    def _known(self, path: str, status: int, raw: bytes, body: Answer | None, token: str = "") -> dict[str, Any]:
        """What every error carries, redacted."""
        text = error_message_of(body) or raw[: 4 * KEPT_TEXT].decode("utf-8", "replace")
        request_id = word_of(body, "requestId") if body else ""
        return {
            "path": path,
            "http_status": status,
            "code": error_code_of(body),
            "text": self._redact(text, token)[:KEPT_TEXT],
            "request_id": request_id[:64],
        }

    def _redact(self, text: str, token: str = "") -> str:
        account = self._account
        keys = (account.consumer_key, account.consumer_secret, account.passkey, account.security_credential)
        for secret in (token, *keys):
            if secret and len(secret) > 3:
                text = text.replace(secret, "[hidden]")
        return redact(text)
