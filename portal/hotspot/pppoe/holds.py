"""Whether money may be on its way for a line: then it is not walled. Nobody who paid is cut off by our own slowness.

Looked for: a prompt of theirs that may still be answered, money that arrived and has no home yet, a pasted message and
another system's report that nobody has decided on, callbacks that nobody could read yet. Each only as far as it would
be enough, with what the wallet holds: a shilling in the wrong place holds no line.
Decided: callbacks that cannot be told apart (new, waiting or dead) hold every line of the tenant, for a day at most and
a few minutes at a time: they are few, and each may be the missing one. What anybody could have sent does not count.
Decided: a prompt counts that was asked for before the line's end or just after it: who asks for one after the other,
and cancels each, is held by the first alone.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from portal.hotspot.pppoe.models import LinePeriod, PppoeLine
from portal.kernel import clock
from portal.kernel.db import db
from portal.payments.models import (
    CALLBACK_DEAD,
    CALLBACK_WAITING,
    TO_AGREE,
    TO_CHECK,
    TO_SETTLE,
    InboxItem,
    Payment,
    Push,
    SmsSubmission,
    Transaction,
    UnverifiedReport,
)
from portal.payments.states import PaymentState, PushState
from portal.payments.wallets import accounts

PROMPT, HOMELESS, PASTED, REPORTED, UNREAD, BY_STAFF = "prompt", "homeless", "pasted", "reported", "unread", "staff"
HELD_FOR = {UNREAD: timedelta(minutes=5), PROMPT: timedelta(minutes=15)}  # then it is looked at again
LONGEST_HOLD = timedelta(hours=6)  # what a person decides on; money that comes is noticed at once
UNREAD_FOR = timedelta(days=1)
PROMPT_FOR = timedelta(days=2)  # as long as M-Pesa is asked about one
_MAY_BE_PAID = (PushState.CREATED, PushState.SENDING, PushState.AWAITING_PIN, PushState.UNCONFIRMED)


def reason(line: PppoeLine, *, missing_cents: int, environment: str, by_right_until: datetime | None) -> str | None:
    """Why the line is not to be walled now, or None. by_right_until: its end, but for what holds it.

    missing_cents: what its wallet lacks to renew it. environment: of its money, test or real.
    """
    found: tuple[tuple[str, Select[Any]], ...] = (
        (PROMPT, _prompts(line, by_right_until)),
        (PASTED, _pasted(line)),
        (REPORTED, _reports(line, environment).having(func.sum(UnverifiedReport.amount_cents) >= missing_cents)),
        (HOMELESS, _homeless(line, environment).having(func.sum(Transaction.unallocated_cents) >= missing_cents)),
        *((UNREAD, _unread(line, todo.waits)) for todo in (TO_SETTLE, CALLBACK_WAITING, CALLBACK_DEAD)),
    )
    return next((name for name, rows in found if db.session.scalar(rows.limit(1)) is not None), None)


def _open_payments(line: PppoeLine) -> ColumnElement[bool]:
    own = select(LinePeriod.payment_id).where(LinePeriod.line_id == line.id)
    return and_(Payment.id.in_(own), Payment.state == PaymentState.OPEN)


def _prompts(line: PppoeLine, by_right_until: datetime | None) -> Select[Any]:
    mine = select(Push.id).join(Payment, Payment.id == Push.payment_id).where(_open_payments(line))
    if by_right_until is not None:
        mine = mine.where(Push.created_at < by_right_until + HELD_FOR[PROMPT])
    return mine.where(Push.state.in_(_MAY_BE_PAID), Push.created_at > clock.now() - PROMPT_FOR)


def _pasted(line: PppoeLine) -> Select[Any]:
    mine = select(SmsSubmission.id).join(Payment, Payment.id == SmsSubmission.payment_id)
    return mine.where(_open_payments(line), TO_CHECK.waits)


def _reports(line: PppoeLine, environment: str) -> Select[Any]:
    return select(func.sum(UnverifiedReport.amount_cents)).where(
        UnverifiedReport.tenant_id == line.tenant_id,
        UnverifiedReport.environment == environment,
        UnverifiedReport.phone_hash == line.customer.phone_hash,
        TO_AGREE.waits,
    )


def _homeless(line: PppoeLine, environment: str) -> Select[Any]:
    """Money without a home that their phone sent, or that was sent to an account much like theirs."""
    typed = accounts.may_mean(line.customer.account_number)
    of_account = and_(Transaction.account.in_(typed), Transaction.push_id.is_(None))
    of_phone = Transaction.phone_hash == line.customer.phone_hash
    return select(func.sum(Transaction.unallocated_cents)).where(
        Transaction.tenant_id == line.tenant_id,
        Transaction.environment == environment,
        Transaction.unallocated_cents > 0,
        or_(of_account, of_phone),
    )


def _unread(line: PppoeLine, waits: ColumnElement[bool]) -> Select[Any]:
    return select(InboxItem.id).where(
        waits,
        InboxItem.tenant_id == line.tenant_id,
        InboxItem.kind == "c2b",
        InboxItem.is_foreign.is_(False),
        InboxItem.received_at > clock.now() - UNREAD_FOR,
    )
