"""Finding money: by receipt, words, phone, dates and state, newest first, a page at a time; and a day's figures."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select, union_all

from portal.gateways import messages
from portal.gateways.settings import ENVIRONMENTS
from portal.kernel import clock, personal
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.phone import normalise_msisdn
from portal.payments.models import OPEN_PUSH, PROVISIONAL, Allocation, InboxItem, Payment, Push, Transaction
from portal.payments.states import PaymentState
from portal.payments.stk.push_states import State

PAGE_ROWS = 50
PLACED_ROWS = 25  # each with its suggestions
RECENT, JUDGED = timedelta(days=30), 1_000  # what a success rate is judged by: how old, and how many
STATES = ("allocated", "partly_allocated", "unallocated", "merged", "reversed", "void")


@dataclass(frozen=True)
class Wanted:
    """What to look for; empty is everything. since, until: UTC, until excluded."""

    receipt: str = ""
    words: str = ""
    phone: str = ""
    since: datetime | None = None
    until: datetime | None = None
    state: str = ""
    provider: str = ""


def read_wanted(given: Any) -> Wanted:
    """The filters of a request: receipt, q, phone, from, to, state. Raises Refused naming the one at fault."""
    state = given.get("state", "")
    if state and state not in STATES:
        raise Refused(f"state must be one of {', '.join(STATES)}.", code="invalid_fields", fields={"state": "Unknown."})
    return Wanted(
        receipt=given.get("receipt", "").strip().upper()[:20],
        words=given.get("q", "").strip()[:60],
        phone=given.get("phone", "").strip()[:30],
        since=_day(given.get("from", ""), "from"),
        until=_day(given.get("to", ""), "to", is_last=True),
        state=state,
    )


def _day(text: str, name: str, *, is_last: bool = False) -> datetime | None:
    """An RFC 3339 time, or the beginning of a day in Nairobi; of the last day that is wanted, its end."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        at = at if at.tzinfo else at.replace(tzinfo=clock.NAIROBI)
        return (at + timedelta(days=1) if is_last and len(text) == 10 else at).astimezone(UTC)
    except (ValueError, OverflowError):  # no date at all, or one at the end of the calendar
        raise Refused(
            f"{name} must be a day such as 2026-11-21.", code="invalid_fields", fields={name: "Not a day."}
        ) from None


def _query(tenant_id: int, wanted: Wanted) -> "Select[Transaction]":
    found = select(Transaction).where(Transaction.tenant_id == tenant_id)
    if wanted.receipt:
        found = found.where(Transaction.environment.in_(ENVIRONMENTS), Transaction.receipt == wanted.receipt)
    if wanted.words:
        found = found.where(_any_of(tenant_id, wanted.words))
    if wanted.phone:
        found = found.where(Transaction.phone_hash == _hash_of(wanted.phone, tenant_id))
    if wanted.since:
        found = found.where(Transaction.occurred_at >= wanted.since)
    if wanted.until:
        found = found.where(Transaction.occurred_at < wanted.until)
    if wanted.state:
        found = found.where(_state_is(wanted.state))
    if wanted.provider:
        found = found.where(Transaction.provider == wanted.provider)
    return found


def _hash_of(phone: str, tenant_id: int) -> str:
    try:
        return personal.phone_hash(normalise_msisdn(phone), tenant_id)
    except Refused:
        return "nobody"


def _any_of(tenant_id: int, words: str) -> Any:
    """Receipt, account as typed, phone, or the reference of what it paid: each by an index of its own."""
    code = messages.normalise_account(words)
    mine = select(Transaction.id).where(Transaction.tenant_id == tenant_id)
    placed = select(Allocation.transaction_id).join(Payment).where(Payment.tenant_id == tenant_id)
    spelt = {words, words.upper(), words.lower(), code}
    return Transaction.id.in_(
        union_all(
            mine.where(Transaction.environment.in_(ENVIRONMENTS), Transaction.receipt == code),
            mine.where(Transaction.phone_hash == _hash_of(words, tenant_id)),
            mine.where(Transaction.push_id.is_(None), Transaction.account.in_(spelt)),
            mine.where(Transaction.unallocated_cents > 0, func.upper(Transaction.account) == words.upper()),
            mine.join(Push).where(Push.tenant_id == tenant_id, Push.reference == code),
            placed.where(Payment.reference == code),
            placed.where(Payment.order_id == words),
        )
    )


def _state_is(state: str) -> Any:
    if state == "merged":
        return Transaction.merged_into_id.is_not(None)
    if state in ("reversed", "void"):
        return (Transaction.reversed_at if state == "reversed" else Transaction.voided_at).is_not(None)
    own = Transaction.merged_into_id.is_(None) & Transaction.reversed_at.is_(None) & Transaction.voided_at.is_(None)
    if state == "allocated":
        return own & (Transaction.unallocated_cents == 0)
    if state == "unallocated":
        return own & (Transaction.unallocated_cents == Transaction.amount_cents)
    return own & (Transaction.unallocated_cents > 0) & (Transaction.unallocated_cents < Transaction.amount_cents)


def page(
    tenant_id: int, wanted: Wanted, *, cursor: str = "", rows: int = PAGE_ROWS
) -> tuple[list[Transaction], str | None]:
    """(transactions newest first, cursor of the next page or None). Raises Refused for a cursor that is not ours."""
    found = _query(tenant_id, wanted)
    if cursor:
        at, row_id = _read_cursor(cursor)
        found = found.where(
            (Transaction.occurred_at < at) | ((Transaction.occurred_at == at) & (Transaction.id < row_id))
        )
    newest = found.order_by(Transaction.occurred_at.desc(), Transaction.id.desc()).limit(rows + 1)
    items = list(db.session.scalars(newest))
    if len(items) <= rows:
        return items, None
    last = items[rows - 1]
    raw = f"{last.occurred_at.isoformat()} {last.id}"
    return items[:rows], base64.urlsafe_b64encode(raw.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, int]:
    try:
        at, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().rsplit(" ", 1)
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or len(row_id) > 18:
            raise ValueError(at)
        return moment, int(row_id)
    except (ValueError, binascii.Error, UnicodeError):
        raise Refused("The cursor is not one of ours. Start from the first page.", code="invalid_cursor") from None


def by_uid(tenant_id: int, uid: str) -> Transaction:
    """One transaction. Raises NotFound."""
    found = db.session.scalars(
        select(Transaction).where(Transaction.tenant_id == tenant_id, Transaction.uid == uid)
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such payment here."))
    return found


def references_of(items: list[Transaction]) -> dict[int, str]:
    """What each of these paid, by its id: references, or the account that the payer typed."""
    ids = [item.id for item in items]
    paid: dict[int, list[str]] = {}
    rows = db.session.execute(
        select(Allocation.transaction_id, Payment.reference, Payment.order_id)
        .join(Payment)
        .where(Allocation.transaction_id.in_(ids), Allocation.taken_back_at.is_(None))
    )
    for transaction_id, reference, order_id in rows:
        paid.setdefault(transaction_id or 0, []).append(order_id or reference)
    return {item.id: ", ".join(paid.get(item.id, [])) or item.account for item in items}


def is_for_staff(environment: str) -> ColumnElement[bool]:
    """Which money staff look after: the real, always; test money only while the business is in test mode.

    environment: what the business takes now.
    """
    return Transaction.environment.in_({environment, "production"})


def to_place(
    tenant_id: int, environment: str, *, after_id: int | None = None, rows: int = PLACED_ROWS
) -> tuple[list[Transaction], int | None]:
    """(money without a home, oldest first, the id to go on after or None). environment: as for `is_for_staff`."""
    homeless = select(Transaction).where(
        Transaction.tenant_id == tenant_id, Transaction.unallocated_cents > 0, is_for_staff(environment)
    )
    if after_id is not None:
        homeless = homeless.where(Transaction.id > after_id)
    found = list(db.session.scalars(homeless.order_by(Transaction.id).limit(rows + 1)))
    return found[:rows], found[rows - 1].id if len(found) > rows else None


def is_provisional() -> ColumnElement[bool]:
    """Which money is known by a query alone (see `provisional`), spelt as its index has it."""
    return literal_column(" AND ".join(f"transactions.{one}" for one in PROVISIONAL.split(" AND ")))


def owed_again(
    tenant_id: int, *, before_id: int | None = None, rows: int = 50
) -> tuple[list[tuple[Payment, Transaction]], int | None]:
    """([(what was paid and is not any more, the money that is gone)], the id to go on before or None): the latest
    first, for staff to pursue or close.
    """
    gone = (
        select(Payment, Transaction, Allocation.id)
        .join(Allocation, Allocation.payment_id == Payment.id)
        .join(Transaction, Transaction.id == Allocation.transaction_id)
        .where(
            Payment.tenant_id == tenant_id,
            Payment.state == PaymentState.OPEN,
            Allocation.tenant_id == tenant_id,
            Allocation.taken_back_at.is_not(None),
            Transaction.reversed_at.is_not(None) | Transaction.voided_at.is_not(None),
        )
        .order_by(Allocation.id.desc())
        .limit(rows + 1)
    )
    if before_id is not None:
        gone = gone.where(Allocation.id < before_id)
    found = list(db.session.execute(gone))
    latest: dict[int, tuple[Payment, Transaction]] = {}
    for payment, money, _allocation_id in found[:rows]:
        latest.setdefault(payment.id, (payment, money))
    return list(latest.values()), found[rows - 1][2] if len(found) > rows else None


@dataclass(frozen=True)
class Figures:
    """A tenant's figures, production and test apart. success_rate: 0 to 1, or None before anything ended.

    provisional: all that is known by a query alone, and is in neither sum.
    """

    today_cents: int
    today_count: int
    month_cents: int
    month_count: int
    success_rate: float | None
    pending: int
    last_callback_at: datetime | None
    to_place_cents: int
    to_place_count: int
    provisional_cents: int
    provisional_count: int


def figures(tenant_id: int, environment: str, *, provider: str = "") -> Figures:
    """Today and this month in Nairobi's days; success of the newest JUDGED pushes of the last 30 days.

    provider: count only what came through it; empty for all money.
    """
    today = date_start(clock.nairobi(clock.now()).date())
    month = date_start(clock.nairobi(clock.now()).date().replace(day=1))
    today_cents, today_count = _sum_since(tenant_id, environment, provider, today)
    month_cents, month_count = _sum_since(tenant_id, environment, provider, month)
    states = _newest_ended(tenant_id, environment)
    ended = sum(states.values())
    homeless = select(func.count(), func.coalesce(func.sum(Transaction.unallocated_cents), 0)).where(
        Transaction.tenant_id == tenant_id,
        Transaction.unallocated_cents > 0,
        Transaction.environment == environment,
    )
    to_place_count, to_place_cents = db.session.execute(homeless).one()
    unproved = select(func.count(), func.coalesce(func.sum(Transaction.amount_cents), 0)).where(
        Transaction.tenant_id == tenant_id, is_provisional(), Transaction.environment == environment
    )
    provisional_count, provisional_cents = db.session.execute(unproved).one()
    return Figures(
        today_cents=today_cents,
        today_count=today_count,
        month_cents=month_cents,
        month_count=month_count,
        success_rate=states.get(State.SUCCEEDED, 0) / ended if ended else None,
        pending=_pending(tenant_id, environment),
        last_callback_at=db.session.scalar(
            select(func.max(InboxItem.received_at)).where(InboxItem.tenant_id == tenant_id)
        ),
        to_place_cents=int(to_place_cents),
        to_place_count=to_place_count,
        provisional_cents=int(provisional_cents),
        provisional_count=provisional_count,
    )


def _newest_ended(tenant_id: int, environment: str) -> dict[str, int]:
    """How the newest pushes ended, by state: as many as say how it goes now, however many there were before."""
    recent = (
        select(Push.state)
        .join(Payment)
        .where(
            Push.tenant_id == tenant_id,
            Payment.environment == environment,
            Push.created_at > clock.now() - RECENT,
            Push.state.in_((State.SUCCEEDED, State.DECLINED, State.CANCELLED)),
        )
        .order_by(Push.created_at.desc())
        .limit(JUDGED)
        .subquery()
    )
    by_state = select(recent.c.state, func.count()).group_by(recent.c.state)
    return {row[0]: row[1] for row in db.session.execute(by_state)}


def _pending(tenant_id: int, environment: str) -> int:
    """How many pushes of the last 30 days have no outcome yet: those at work now, and those still asked about."""
    open_now: ColumnElement[bool] = literal_column(f"stk_pushes.{OPEN_PUSH}")  # spelt as the index has it
    total = 0
    for has_none in (open_now, (Push.state == State.UNCONFIRMED) & Push.next_query_at.is_not(None)):
        waiting = select(func.count()).select_from(Push).join(Payment)
        total += (
            db.session.scalar(
                waiting.where(
                    Push.tenant_id == tenant_id,
                    Payment.environment == environment,
                    Push.created_at > clock.now() - RECENT,
                    has_none,
                )
            )
            or 0
        )
    return total


def date_start(day: date) -> datetime:
    """The instant at which a day begins in Nairobi."""
    return datetime(day.year, day.month, day.day, tzinfo=clock.NAIROBI)


def _sum_since(tenant_id: int, environment: str, provider: str, since: datetime) -> tuple[int, int]:
    total = select(func.coalesce(func.sum(Transaction.amount_cents), 0), func.count()).where(
        Transaction.tenant_id == tenant_id,
        Transaction.environment == environment,
        Transaction.merged_into_id.is_(None),
        Transaction.voided_at.is_(None),
        Transaction.reversed_at.is_(None),
        Transaction.receipt.is_not(None),  # what a query alone tells of is counted apart
        Transaction.occurred_at >= since,
    )
    if provider:
        total = total.where(Transaction.provider == provider)
    cents, count = db.session.execute(total).one()
    return int(cents), count
