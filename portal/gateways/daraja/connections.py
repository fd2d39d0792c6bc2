"""Connections to M-Pesa's servers, and whether a broken one carried the request."""

import os
import ssl
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

POOL = 32
BAD_ADDRESS = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)
_HANDSHAKE_FAILURES = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_UNRECOGNIZED_NAME",
    }
)  # fmt: skip
_sessions: dict[int, requests.Session] = {}


class Bearer(AuthBase):
    """As `auth` and not a header, so that no .netrc of the machine can replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def shared_session() -> requests.Session:
    """This process's connections to Daraja, kept open between calls. It takes no cookies.

    By process, because a forked worker that wrote into its parent's TLS connection would garble both.
    """
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_maxsize=POOL))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return _sessions.setdefault(os.getpid(), session)


def never_sent(error: requests.RequestException) -> bool:
    """Whether the failure is one of those that come before the request's first byte."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    causes = _causes(error)
    if isinstance(error, requests.exceptions.SSLError):
        inner = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
        return all(
            isinstance(cause, ssl.SSLCertVerificationError) or getattr(cause, "reason", None) in _HANDSHAKE_FAILURES
            for cause in inner
        )
    before = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ConnectionRefusedError,
    )
    return isinstance(error, requests.ConnectionError) and any(isinstance(cause, before) for cause in causes)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return found
