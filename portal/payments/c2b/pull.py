"""M-Pesa's own list of payments, asked for: what every callback lost, found again.

A gateway that is registered for Pull is asked every quarter of an hour, from where the last pull ended, with an
overlap, to now. Each row goes the way of a payment by hand, so a row that is known already changes nothing.
Safaricom keeps 48 hours: after a longer silence the organisation's statement is what finds the rest.
Decided: `pulled_until` moves only when every row was taken; a row that fails is asked for again, for 48 hours.
Source: Safaricom's Daraja documentation, "Pull Transactions".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select

from portal.audit import chain
from portal.gateways import c2b_registration, client_factory, daraja, messages, settings
from portal.gateways.models import Gateway
from portal.kernel import clock, money, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, PortalError, Refused
from portal.kernel.logs import logger
from portal.kernel.phone import without_phone
from portal.payments import booking, completion
from portal.payments.c2b import unresolved
from portal.payments.models import Transaction, TransactionSource
from portal.payments.processing import gateway_pool
from portal.payments.processing.jobs import is_passing
from portal.payments.states import InboxState

LONGEST = timedelta(hours=48)
OVERLAP = timedelta(minutes=10)  # a payment may enter M-Pesa's list some minutes after it was made
NOT_AGAIN_WITHIN = timedelta(minutes=5)  # several schedulers ring, one pull is enough
BATCH_ROWS = 50
THREADS, PULLING_SESSION = 8, timedelta(seconds=120)
MOST_PAGES, MOST_SILENT_PAGES = 200, 3  # silent: nothing on it could be read
# Pull is said to list what customers paid, under names that nobody enumerates: only what surely is none is left out.
_NOT_PAID_IN = re.compile(
    r"b2c|b2b|business to|charge|reversal|withdraw|transfer of funds|settlement|organi[sz]ation to"
)
NAIROBI_AHEAD = timedelta(hours=3)


@dataclass(frozen=True)
class Pulled:
    """What one pull brought. new: receipts that were not known; failed: rows that could not be taken yet."""

    rows: int = 0
    new: int = 0
    failed: int = 0

    def __add__(self, other: "Pulled") -> "Pulled":
        return Pulled(self.rows + other.rows, self.new + other.new, self.failed + other.failed)


def pull_due() -> None:
    """Pull for every gateway whose turn it is, several at once. One that fails stops no other: its turn comes again.

    Who answered last time comes first: gateways that have been silent for days hold up nobody but each other.
    """
    turn = select(Gateway.id).where(
        Gateway.pull_registered_at.is_not(None),
        Gateway.archived_at.is_(None),
        Gateway.kind == "MPESA_API",
        Gateway.pulled_until.is_(None) | (Gateway.pulled_until < clock.now() - NOT_AGAIN_WITHIN),
    )
    waiting = db.session.scalars(turn.order_by(Gateway.pulled_until.desc().nulls_last(), Gateway.id)).all()
    db.session.rollback()
    begun: set[int] = set()

    def work(gateway_id: int) -> None:
        begun.add(gateway_id)
        pull(gateway_id)

    errand = gateway_pool.Errand(
        due=lambda _full: [(gateway_id, gateway_id) for gateway_id in waiting if gateway_id not in begun],
        work=work,
        put_off=_without_answer,
        most_of=lambda _gateway_id: 1,
    )
    gateway_pool.run(errand, threads=THREADS, lasting=PULLING_SESSION)


def _without_answer(gateway_id: int, error: Exception) -> None:
    if isinstance(error, daraja.DarajaError):
        logger.warning("pull_without_answer", gateway=gateway_id, error=error.message)


def register(gateway_id: int, msisdn: str, *, actor: str, public_url: str) -> None:
    """Switch Pull on for this gateway; on already is fine. msisdn: the organisation's nominated number.

    Opens its own transactions, none while it waits. Raises Refused with Daraja's reason, Conflict.
    """
    gateway = settings.require_api(db.session.get_one(Gateway, gateway_id))
    client = client_factory.client_for(gateway)
    # Nobody documents what would be sent there: that door keeps what it can read and refuses the rest.
    address = c2b_registration.addresses_of(gateway, public_url=public_url).confirmation
    db.session.remove()
    try:
        client.pull_register(nominated_msisdn=msisdn, callback_url=address)
    except daraja.DarajaError as error:
        raise Refused(error.message, code="mpesa_refused") from error
    with transaction():
        gateway = db.session.get_one(Gateway, gateway_id)
        gateway.pull_registered_at = clock.now()
        chain.record(gateway.tenant_id, "gateway", gateway.id, "pull_registered", actor=actor)


def pull_now(gateway_id: int, *, actor: str) -> Pulled:
    """`pull` for a person who asked for it, which is recorded. Raises Refused with Daraja's reason, Conflict."""
    try:
        brought = pull(gateway_id)
    except daraja.DarajaError as error:
        raise Refused(error.message, code="mpesa_refused") from error
    with transaction():
        tenant_id = db.session.get_one(Gateway, gateway_id).tenant_id
        figures = {"rows": brought.rows, "new": brought.new, "failed": brought.failed}
        chain.record(tenant_id, "gateway", gateway_id, "pulled", actor=actor, details=figures)
    return brought


def pull(gateway_id: int) -> Pulled:
    """Ask M-Pesa for this gateway's payments since the last pull, and take each in.

    Opens its own transactions, none while it waits. Raises DarajaError; Conflict where Pull was never registered.
    """
    gateway = settings.require_api(db.session.get_one(Gateway, gateway_id))
    if gateway.pull_registered_at is None:
        raise Conflict("Register this gateway for Pull Transactions first.", code="pull_not_registered")
    now = clock.now()
    since = max(gateway.pulled_until - OVERLAP if gateway.pulled_until else now - LONGEST, now - LONGEST)
    client = client_factory.client_for(gateway)
    db.session.remove()
    brought = Pulled()
    for page in _pages(client, since, now):
        for start in range(0, len(page), BATCH_ROWS):
            brought += _take_batch(gateway_id, page[start : start + BATCH_ROWS], since, now)
    if not brought.failed:
        with transaction():
            db.session.get_one(Gateway, gateway_id).pulled_until = now
    if brought.rows:
        logger.info("pulled", gateway=gateway_id, rows=brought.rows, new=brought.new, failed=brought.failed)
        queue.enqueue(queue.PAID)
    return brought


def fetch_list(gateway_id: int) -> tuple[list[messages.PulledTransaction], datetime, datetime]:
    """(what M-Pesa lists of the last 48 hours, from, until), nothing of it taken in. Raises DarajaError, Conflict.

    Opens no transaction while it waits.
    """
    gateway = settings.require_api(db.session.get_one(Gateway, gateway_id))
    if gateway.pull_registered_at is None:
        raise Conflict("Register this gateway for Pull Transactions first.", code="pull_not_registered")
    client, until = client_factory.client_for(gateway), clock.now()
    since = until - LONGEST
    db.session.remove()
    rows = [row for page in _pages(client, since, until) for row in page]
    return [replace(row, occurred_at=_when(row, since, until)) for row in rows], since, until


def _pages(client: daraja.DarajaClient, since: datetime, until: datetime) -> Iterator[list[messages.PulledTransaction]]:
    """Page by page, until one is empty or brings nothing that was not there before."""
    offset, seen, silent = 0, set[str](), 0
    for _page in range(MOST_PAGES):
        rows, unreadable = client.pull_transactions(start=since, end=until, offset=offset)
        fresh = [row for row in rows if row.receipt not in seen]
        silent = 0 if fresh else silent + 1
        if not fresh and (not unreadable or silent > MOST_SILENT_PAGES):
            return
        if fresh:
            yield fresh
        seen.update(row.receipt for row in fresh)
        offset += len(rows) + unreadable
    logger.error("pull_cut_off", pages=MOST_PAGES, rows=offset)


def _take_batch(gateway_id: int, rows: list[messages.PulledTransaction], since: datetime, until: datetime) -> Pulled:
    """Take these rows in, each for itself: one that cannot be taken is left to staff, under its receipt."""
    new = failed = 0
    with transaction():
        gateway = db.session.get_one(Gateway, gateway_id)
        for row in rows:
            try:
                with db.session.begin_nested():
                    new += _take(gateway, row, _when(row, since, until))
            except Exception as error:
                logger.error("pulled_row_not_taken", gateway=gateway_id, error=repr(error)[:300])
                failed += not _is_left_to_staff(gateway, row, _when(row, since, until), error)
    return Pulled(len(rows), new, failed)


def _is_left_to_staff(gateway: Gateway, row: messages.PulledTransaction, at: datetime, error: Exception) -> bool:
    """Whether a person sees this row now. False: the database was at fault, and it is asked for again."""
    if is_passing(error):
        return False
    reason = str(error) if isinstance(error, PortalError) else type(error).__name__
    try:
        with db.session.begin_nested():
            why = f"From M-Pesa's list: it could not be taken. {reason}"
            unresolved.leave(gateway, _as_payment(gateway, row, at), why=why)
        return True
    except Exception as again:
        logger.error("pulled_row_not_kept", gateway=gateway.id, error=repr(again)[:300])
        return False


def _when(row: messages.PulledTransaction, since: datetime, until: datetime) -> datetime:
    """When it was paid. Safaricom ends these times in Z and may mean Nairobi's clock: the window we asked for tells."""
    at = row.occurred_at or until
    if not since <= at <= until + timedelta(seconds=1) and since <= at - NAIROBI_AHEAD <= until:
        return at - NAIROBI_AHEAD
    return at


def _take(gateway: Gateway, row: messages.PulledTransaction, occurred_at: datetime) -> bool:
    """Take one row in by the rules of a payment by hand; True for a receipt that was not known."""
    if _NOT_PAID_IN.search(row.transaction_type.lower()):
        return False  # charges, sweeps and pay-outs are the statement's
    paid = _as_payment(gateway, row, occurred_at)
    incoming = completion.incoming_by_hand("pull", paid, occurred_at)
    known = booking.by_receipt(gateway.tenant_id, gateway.environment, row.receipt)
    if known is not None and not _may_learn_its_home(known):
        _note_difference(known, row)
        booking.book(gateway, incoming)
        return False
    outcome = completion.place(gateway, paid, incoming, actor="pull")
    if outcome.state == InboxState.WAITING:
        unresolved.leave(gateway, paid, why=f"From M-Pesa's list. {outcome.why}")
    elif known is not None and row.account and not known.account:
        known.account = without_phone(row.account)[:40]
    return known is None and outcome.state == InboxState.DONE


def _as_payment(gateway: Gateway, row: messages.PulledTransaction, occurred_at: datetime) -> messages.C2bPayment:
    return messages.C2bPayment(
        transaction_type=row.transaction_type,
        receipt=row.receipt,
        amount_cents=row.amount_cents,
        occurred_at=occurred_at,
        shortcode=gateway.shortcode,
        account=row.account,
        payer=row.payer,
        first_name=row.sender if not row.sender.isdigit() else "",
    )


def _may_learn_its_home(known: Transaction) -> bool:
    """Whether it is booked without a word of what it was for, as a status answer books it."""
    return known.unallocated_cents == known.amount_cents and not known.account


def _note_difference(known: Transaction, row: messages.PulledTransaction) -> None:
    told = select(TransactionSource.id).where(
        TransactionSource.transaction_id == known.id, TransactionSource.channel == "pull"
    )
    if known.amount_cents == row.amount_cents or known.channel == "pull" or db.session.scalar(told) is not None:
        return
    why = f"M-Pesa's list states {money.format_kes(row.amount_cents)}."
    chain.record(known.tenant_id, "transaction", known.id, "amount_differs", actor="pull", why=why)
