"""One conversation with a RouterOS router over its API: bounded in time and size, its errors said as outcomes.

Decided on TLS: a router's certificate is its own, signed by nobody, so it is pinned by its SHA-256 at the first contact
and refused ever after when it differs, before the password is sent; an administrator who changed it forgets the pin on
the router's page. To ask for a certificate authority would mean one for each shed with an antenna; to take any
certificate would hand the password to whoever answers. Without TLS the API is spoken to only where the site says so,
for a router at the other end of a tunnel.
"""

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import librouteros
from librouteros.exceptions import ConnectionClosed, LibRouterosError, MultiTrapError, TrapError
from sqlalchemy import select, update

from portal.hotspot.models import Site
from portal.hotspot.routers import addresses
from portal.hotspot.routers.interface import Outcome, failed, refused
from portal.hotspot.routers.models import RouterState
from portal.kernel import vault
from portal.kernel.db import assert_no_transaction, db, transaction, upsert_nothing
from portal.kernel.logs import logger

CONNECT_S, CONVERSATION_S = 5.0, 45.0
MOST_BYTES, PIECE_BYTES = 32_000_000, 65_536  # of all answers; of one read: a router may announce a word of 4 GB
Row = dict[str, Any]


class Trouble(Exception):
    """A conversation that came to nothing; what to say of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


class BoundedSocket:
    """A socket that gives up at a deadline however slowly it is answered, and after too many bytes."""

    def __init__(self, inner: socket.socket, *, lasting_s: float) -> None:
        self._inner, self._until, self._left = inner, time.monotonic() + lasting_s, MOST_BYTES

    def _hurry(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole conversation took too long")
        self._inner.settimeout(min(left, CONNECT_S * 2))

    def recv(self, size: int) -> bytes:
        self._hurry()
        got = self._inner.recv(min(size, PIECE_BYTES))
        self._left -= len(got)
        if self._left < 0:
            raise ConnectionClosed("it answers without end")
        return got

    def sendall(self, data: bytes) -> None:
        self._hurry()
        self._inner.sendall(data)

    def close(self) -> None:
        self._inner.close()


class Conversation:
    """An open API, signed on."""

    def __init__(self, api: librouteros.Api) -> None:
        self._api = api

    def call(self, path: str, **words: Any) -> list[Row]:
        """Every row that a command answers. Raises TrapError where the router refuses it."""
        return list(self._api(path, **words))

    def print(
        self, path: str, columns: tuple[str, ...] = (), *, any_of: dict[str, list[str]] | None = None
    ) -> list[Row]:
        """The rows of a menu. any_of: {column: values}, of which one must be."""
        words = [f"=.proplist={','.join(('.id', *columns))}"] if columns else []
        queries = [f"?={name}={value}" for name, values in (any_of or {}).items() for value in values]
        words += queries + ["?#|"] * (len(queries) - 1)
        return [row for row in self._api.rawCmd(f"{path}/print", *words) if ".id" in row or not columns]


def _says(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__


def _outcome_of(error: BaseException) -> Outcome:
    """What went wrong, in the reconciler's words."""
    if isinstance(error, Trouble):
        return error.outcome
    if isinstance(error, TrapError | MultiTrapError):
        return failed("refused_by_router", f"The router refused: {_says(error)}")
    if isinstance(error, TimeoutError):
        return failed("timed_out", "The router did not answer in time.")
    if isinstance(error, ssl.SSLError):
        return failed("unreachable", f"No TLS with the router: {_says(error)}")
    if isinstance(error, OSError):
        return failed("unreachable", f"The router cannot be reached: {error.strerror or _says(error)}.")
    if isinstance(error, LibRouterosError):
        return failed("broken_answer", f"The router broke off: {_says(error)}")
    logger.warning("router_answers_wrong", error=repr(error)[:300])
    return failed("broken_answer", f"The router answered what cannot be read: {_says(error)}")


@contextmanager
def conversation(site: Site, *, lasting_s: float = CONVERSATION_S) -> Iterator[Conversation]:
    """Connect and sign on. Raises Trouble, and nothing else, for whatever the network or the router does inside."""
    assert_no_transaction("Speaking to a router")
    api = None
    try:
        api = _connect(site, lasting_s)
        yield Conversation(api)
    except Trouble:
        raise
    except Exception as error:  # the wire's reader raises whatever a wrong answer makes it stumble over
        raise Trouble(_outcome_of(error)) from error
    finally:
        if api is not None:
            _close(api)


def _close(api: librouteros.Api) -> None:
    try:
        api.close()
    except Exception as error:
        logger.info("router_not_closed", error=repr(error)[:100])


def _connect(site: Site, lasting_s: float) -> librouteros.Api:
    if not site.address or not site.api_username:
        raise Trouble(refused("not_set_up", "The address or the API's user of this router is missing."))
    try:
        password = site.api_password or ""
    except vault.CannotOpen as error:
        raise Trouble(
            refused("no_password", "The API's password cannot be opened: its key is not in the ring.")
        ) from error

    def wrap(plain: socket.socket) -> Any:
        plain.settimeout(CONNECT_S)
        return BoundedSocket(_with_tls(site, plain) if site.api_uses_tls else plain, lasting_s=lasting_s)

    try:
        return librouteros.connect(
            addresses.look_up(site.address, site.api_port), site.api_username, password,
            port=site.api_port, timeout=CONNECT_S, encoding="utf-8", ssl_wrapper=wrap,
        )  # fmt: skip
    except (TrapError, MultiTrapError) as error:
        raise Trouble(failed("sign_on_failed", f"The router does not let us sign on: {_says(error)}")) from error


def _with_tls(site: Site, plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # by its pin, below
    secured = context.wrap_socket(plain)
    shown = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
    if _pinned(site, shown) != shown:
        secured.close()
        text = f"The router shows another certificate than at the first contact (SHA-256 {shown[:16]}…)."
        raise Trouble(failed("certificate_changed", text))
    return secured


def _pinned(site: Site, shown: str) -> str:
    """The certificate that this router is known by: the one it showed first."""
    known = select(RouterState.certificate_sha256).where(RouterState.site_id == site.id)
    if found := db.session.scalar(known):
        db.session.rollback()
        return found
    with transaction():
        db.session.execute(upsert_nothing(RouterState, unique=["site_id"], tenant_id=site.tenant_id, site_id=site.id))
        first = update(RouterState).where(RouterState.site_id == site.id, RouterState.certificate_sha256 == "")
        db.session.execute(first.values(certificate_sha256=shown))
        return db.session.scalar(known) or ""


def forget_certificate(site_id: int) -> None:
    """Whatever the router shows next is pinned: for who changed its certificate. The caller commits."""
    mine = update(RouterState).where(RouterState.site_id == site_id)
    db.session.execute(mine.values(certificate_sha256="", try_at=None))
