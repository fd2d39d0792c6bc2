"""Connections to M-Pesa's servers, and whether a broken one carried the request."""

import os
import ssl
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from socket import gaierror, socket
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.util.connection import create_connection

from portal.gateways import allowed_servers

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
_sessions: dict[tuple[int, bool], requests.Session] = {}


class Bearer(AuthBase):
    """As `auth` and not a header, so that no .netrc of the machine can replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Outward(HTTPSConnection):
    """A connection to the public internet: the very address that was checked is the one that is connected to."""

    def _new_conn(self) -> socket:
        try:
            addresses = allowed_servers.resolve(self._dns_host, self.port or 443)
        except gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except allowed_servers.Inside as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        return self._first_of(addresses)

    def _first_of(self, addresses: list[str]) -> socket:
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                return create_connection(
                    (address, self.port or 443),
                    self.timeout,
                    source_address=self.source_address,
                    socket_options=self.socket_options,
                )
            except OSError as error:
                failure = error
        kind: Callable[..., Exception] = urllib3.exceptions.NewConnectionError
        if isinstance(failure, TimeoutError):
            kind = urllib3.exceptions.ConnectTimeoutError
        raise kind(self, f"Failed to establish a new connection: {failure}") from failure


class _OutwardPool(HTTPSConnectionPool):
    ConnectionCls = Outward


class OutwardAdapter(HTTPAdapter):
    """Requests' adapter, to the public internet only. Behind a proxy of the operator's, the proxy is the wall."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"https": _OutwardPool}


def shared_session(*, is_development: bool = False) -> requests.Session:
    """This process's connections to Daraja, kept open between calls. It takes no cookies.

    They lead to https servers of the public internet only; in development also to a simulator on the loopback.
    By process, because a forked worker that wrote into its parent's TLS connection would garble both.
    """
    if known := _sessions.get((os.getpid(), is_development)):
        return known
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_maxsize=POOL) if is_development else OutwardAdapter(pool_maxsize=POOL))
    if not is_development:
        del session.adapters["http://"]
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return _sessions.setdefault((os.getpid(), is_development), session)


def led_inside(error: requests.RequestException) -> bool:
    """Whether the address was refused because it is none of the public internet."""
    return any(isinstance(cause, allowed_servers.Inside) for cause in _causes(error))


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


def timed_out(error: BaseException) -> bool:
    """Whether it comes of a server that was silent for as long as we wait."""
    silences = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
    return any(isinstance(cause, silences) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return found
