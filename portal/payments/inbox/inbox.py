"""Callbacks, kept before they are acknowledged: in the database, or on this machine's disk while that is away.

`keep` is the hot path: one indexed look-up (remembered for half a minute), one durable insert, no ORM; those that come
at once are inserted `together`, and what is ordinary by itself (`ordinary_row`) comes there past the views. A spooled
line is as good as a row: appended, flushed to disk, and brought in by `take_in` on the same machine. Only when both
fail is the sender told so. Whether a call came from Safaricom is asked where the row is written, so that an outage
changes nothing of it.
"""

import base64
import hashlib
import ipaddress
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from portal.gateways.models import Gateway, RetiredHook
from portal.kernel import clock, personal, vault
from portal.kernel.db import db, hurry, upsert_nothing
from portal.kernel.errors import Conflict
from portal.kernel.logs import logger
from portal.kernel.states import move
from portal.payments.c2b import tokenless
from portal.payments.inbox import together
from portal.payments.inbox.spool import CannotKeep, Envelope, Spool, Unacceptable
from portal.payments.models import TO_SETTLE, InboxItem
from portal.payments.states import InboxState

BODY_LIMIT_BYTES = 64 * 1024
FROM_SAFARICOM = ("stk", "c2b", "claim", "result", "timeout")
REMEMBERED_S = 30.0
Addresses = tuple[str, ...]  # those that Safaricom calls from, or ranges of them, as the settings list them
AWAY_S = 3.0  # after the database failed to answer, callbacks go to disk at once for so long


@dataclass(frozen=True)
class HookGateway:
    """The gateway behind a hook token: all that intake needs to know of it."""

    gateway_id: int
    tenant_id: int
    is_production: bool
    is_retired: bool = False  # by two rotations: what comes there proves nothing by its address


_doors: dict[str, tuple[float, HookGateway | None]] = {}
_away_until = 0.0


def gateway_by_token(gateway_token: str) -> HookGateway | None:
    """The gateway that this token opens, or None. Remembered for half a minute."""
    known = _doors.get(gateway_token)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    row = db.session.execute(
        select(Gateway.id, Gateway.tenant_id, Gateway.environment).where(
            or_(Gateway.hook_token == gateway_token, Gateway.previous_hook_token == gateway_token)
        )
    ).one_or_none()
    found = HookGateway(row[0], row[1], row[2] == "production") if row else _retired(gateway_token)
    if found is not None:  # strangers' guesses are not worth remembering
        _doors[gateway_token] = (time.monotonic() + REMEMBERED_S, found)
    return found


def _retired(gateway_token: str) -> HookGateway | None:
    row = db.session.execute(
        select(Gateway.id, Gateway.tenant_id, Gateway.environment)
        .join(RetiredHook, RetiredHook.gateway_id == Gateway.id)
        .where(RetiredHook.token == gateway_token)
    ).one_or_none()
    return HookGateway(row[0], row[1], row[2] == "production", is_retired=True) if row else None


def _gateway_for(callback: Envelope) -> HookGateway | None:
    """The gateway that this callback is for: by its token, or for a claim by the number that it names."""
    if callback.kind != "claim":
        return gateway_by_token(callback.gateway_token)
    paid = tokenless.read(base64.b64decode(callback.body_base64))
    gateway = tokenless.gateway_of(paid) if paid is not None else None
    return HookGateway(gateway.id, gateway.tenant_id, not gateway.is_sandbox) if gateway is not None else None


def _take(callback: Envelope, hook_gateway: HookGateway, listed: Addresses) -> None:
    """Insert and commit. Raises CannotKeep where a stranger has left too many claims, and SQLAlchemyError."""
    if hook_gateway.is_retired and callback.kind == "c2b":
        callback = replace(callback, kind="claim")
    if callback.kind != "claim":
        insert(callback, hook_gateway, listed)
    elif paid := tokenless.read(base64.b64decode(callback.body_base64)):
        is_bounded = not (hook_gateway.is_production and is_listed(callback.remote_address, listed))
        address, is_real = callback.remote_address, hook_gateway.is_production
        if is_bounded and tokenless.is_too_much(hook_gateway.gateway_id, address, paid.receipt, is_production=is_real):
            logger.error("claim_refused", gateway=hook_gateway.gateway_id, address=address)
            raise CannotKeep("Too many confirmations without a token wait already.")
        insert(callback, hook_gateway, listed, receipt=paid.receipt)


def forget_doors() -> None:
    """Look every token up again, and for the database: after a rotation, and between tests."""
    global _away_until
    _doors.clear()
    _away_until = 0.0


def envelope(
    kind: str,
    *,
    gateway_token: str,
    body: bytes,
    remote_address: str,
    push_token: str | None = None,
    request_token: str | None = None,
) -> Envelope:
    """Wrap a callback's bytes with all that is known of it.

    push_token, request_token: what its address ends in, where that names a prompt, or a question that it answers.
    """
    return Envelope(
        kind,
        gateway_token,
        base64.b64encode(body).decode(),
        remote_address[:45],
        clock.now().isoformat(),
        push_token,
        request_token,
    )


def is_foreign(callback: Envelope, hook_gateway: HookGateway, listed: Addresses) -> bool:
    """Whether it came to a retired token, or a production gateway was called from an address that is not on the list.

    Kept all the same.
    """
    if hook_gateway.is_retired:
        return True
    if not hook_gateway.is_production or callback.kind not in FROM_SAFARICOM:
        return False
    return not is_listed(callback.remote_address, listed)


def is_listed(address: str, listed: Addresses) -> bool:
    """Whether this address is on the list of Safaricom's."""
    try:
        caller = ipaddress.ip_address(address)
    except ValueError:
        return False
    plain = getattr(caller, "ipv4_mapped", None) or caller
    return any(plain in network for network in _networks(listed))


@cache
def _networks(listed: Addresses) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(one, strict=False) for one in listed]


def insert(callback: Envelope, hook_gateway: HookGateway, listed: Addresses, *, receipt: str | None = None) -> None:
    """Insert and commit, unless the very same callback is kept already. Raises SQLAlchemyError.

    receipt: that a claim names.
    """
    row = _row_of(callback, hook_gateway, is_odd=is_foreign(callback, hook_gateway, listed), receipt=receipt)
    if row["is_foreign"]:
        logger.error("callback_from_foreign_address", address=callback.remote_address, gateway=hook_gateway.gateway_id)
    together.keep(row)


def ordinary_row(callback: Envelope, listed: Addresses) -> together.Row | None:
    """The row of a callback that nothing is odd about, as far as is known without asking; None where `keep` must look.

    For `together.keep_all`, which commits it.
    """
    remembered_until, hook_gateway = _doors.get(callback.gateway_token, (0.0, None))
    now = time.monotonic()
    if hook_gateway is None or remembered_until <= now or now < _away_until:
        return None
    if callback.kind == "claim" or is_foreign(callback, hook_gateway, listed):
        return None
    return _row_of(callback, hook_gateway, is_odd=False)


def _row_of(
    callback: Envelope, hook_gateway: HookGateway, *, is_odd: bool, receipt: str | None = None
) -> dict[str, Any]:
    content = base64.b64decode(callback.body_base64).decode("utf-8", "replace")
    named = callback.push_token or callback.request_token or ""
    digest = hashlib.sha256(f"{callback.kind}\0{hook_gateway.gateway_id}\0{named}\0{content}".encode()).hexdigest()
    return {
        "kind": callback.kind,
        "dedupe": digest,
        "tenant_id": hook_gateway.tenant_id,
        "gateway_id": hook_gateway.gateway_id,
        "push_token": callback.push_token,
        "request_token": callback.request_token,
        "body_sealed": vault.seal(content, context=vault.context(vault.TEXT, hook_gateway.tenant_id)),
        "remote_address": callback.remote_address,
        "is_foreign": is_odd,
        "receipt": receipt,
        "received_at": datetime.fromisoformat(callback.received_at),
        "next_at": clock.now(),
    }


def set_aside(
    gateway: Gateway,
    kind: str,
    body: str,
    *,
    told_by: str,
    key: str,
    outcome: str,
    receipt: str | None = None,
) -> None:
    """Keep `body` as a callback that waits for staff, once for each `key` of a gateway. told_by: who brought it."""
    db.session.execute(
        upsert_nothing(
            InboxItem,
            unique=["dedupe"],
            kind=kind,
            dedupe=hashlib.sha256(f"{told_by}\0{gateway.id}\0{key}".encode()).hexdigest(),
            tenant_id=gateway.tenant_id,
            gateway_id=gateway.id,
            receipt=receipt,
            body_sealed=personal.seal_text(body, gateway.tenant_id),
            remote_address="",
            is_foreign=False,
            state=InboxState.WAITING,
            outcome=outcome[:300],
            received_at=clock.now(),
            next_at=clock.now(),
            attempts=0,
        )
    )


def keep(callback: Envelope, spool: Spool, listed: Addresses) -> bool:
    """Keep a callback durably; False where neither its token nor what it names is ours. Raises CannotKeep.

    True means that it may be acknowledged. While the database does not answer, one callback in AWAY_S waits for it.
    """
    if time.monotonic() < _away_until:
        return _spool(callback, spool, listed)
    try:
        with hurry():
            hook_gateway = _gateway_for(callback)
            if hook_gateway is None:
                return False
            _take(callback, hook_gateway, listed)
    except SQLAlchemyError as error:
        note_whose_fault(error)
        logger.error("inbox_away", error=type(error).__name__)
        db.session.rollback()
        return _spool(callback, spool, listed)
    return True


def note_whose_fault(error: SQLAlchemyError) -> bool:
    """Whether the database is at fault, not a row: then callbacks go to disk at once for a while."""
    global _away_until
    if isinstance(error, DataError | IntegrityError):
        return False
    _away_until = time.monotonic() + AWAY_S
    return True


def _spool(callback: Envelope, spool: Spool, listed: Addresses) -> bool:
    """Keep it on disk; but a claim only of an address that is Safaricom's, or strangers would fill the disk."""
    if callback.kind == "claim" and listed and not is_listed(callback.remote_address, listed):
        raise CannotKeep("A confirmation without a token, from an unlisted address, while the database is away.")
    spool.append(callback)
    return True


def take_in(spool: Spool, listed: Addresses) -> int:
    """Bring what this machine's disk holds into the database, for a moment; how many lines.

    What no database will ever take is set aside. Raises SQLAlchemyError where the database is away: then it stays.
    """
    return spool.take_in(partial(_take_spooled, listed=listed))


def _take_spooled(callback: Envelope, *, listed: Addresses) -> None:
    try:
        hook_gateway = _gateway_for(callback)
        if hook_gateway is None:
            logger.warning("spooled_callback_refused", why="unknown gateway token")
            return
        _take(callback, hook_gateway, listed)
    except (DataError, IntegrityError) as error:
        db.session.rollback()
        raise Unacceptable(type(error.orig).__name__) from error
    except SQLAlchemyError:
        db.session.rollback()
        raise
    except Exception as error:
        db.session.rollback()
        raise Unacceptable(repr(error)[:200]) from error


def replay(item_id: int) -> None:
    """Put a callback back to the start, whatever became of it. The caller commits, then enqueues DRAIN.

    Whoever asks for this has looked at it: that it came from an unlisted address counts no more.
    """
    item = db.session.get_one(InboxItem, item_id)
    if not item.body_sealed:
        raise Conflict(f"Callback {item_id} was settled so long ago that its body is not kept any more.")
    item.is_foreign = False
    item.attempts, item.next_at = 0, clock.now()
    if item.state != InboxState.NEW:
        move(item, InboxState.NEW)


def depth() -> int:
    """Callbacks in the database that nobody has settled yet."""
    return db.session.scalar(TO_SETTLE.count) or 0
