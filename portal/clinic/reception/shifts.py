"""A receptionist's shift: opened with what lies in the drawer, closed by a blind count, reported once and for all.

Decided: which money belongs to a shift is written down when it is taken, under the shift's lock, and not looked up by
person and time: somebody may sell vouchers from another drawer in the same minute, and what is being recorded while
the shift closes must be in this report or in no drawer at all.
Decided: the count cannot be changed once it is sent, since who is told that it differs could count until it does not.
Why it differs is asked afterwards, once, and no new shift is opened before it is said.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.clinic.reception.models import Shift, ShiftMoney
from portal.gateways import client_factory
from portal.kernel import clock, money
from portal.kernel.db import db, upsert_nothing
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.payments.models import Transaction
from portal.tenants.counters import take_number

PAGE_ROWS, LONGEST_WHY = 50, 200
MOST_CENTS = 10_000_000 * money.CENTS


def read_cash(value: object) -> int:
    """Cents of what was counted; nothing is possible. Raises Refused."""
    cents = money.cents(value)
    if not 0 <= cents <= MOST_CENTS:
        raise Refused(_("Count the money again: this cannot be."), code="invalid_amount")
    return cents


def of(tenant_id: int, user_id: int) -> Shift | None:
    """The shift that this person has open, or None."""
    mine = select(Shift).where(Shift.tenant_id == tenant_id, Shift.user_id == user_id, Shift.closed_at.is_(None))
    return db.session.scalars(mine).one_or_none()


def latest_of(tenant_id: int, user_id: int) -> Shift | None:
    """The last shift that this person closed, or None."""
    mine = select(Shift).where(Shift.tenant_id == tenant_id, Shift.user_id == user_id, Shift.closed_at.is_not(None))
    return db.session.scalars(mine.order_by(Shift.id.desc()).limit(1)).one_or_none()


def begin(tenant_id: int, user_id: int, *, float_cents: int, branch_id: int | None = None, actor: str) -> Shift:
    """Open a shift with what lies in the drawer; the one that is open already, where it was opened with the same.

    The caller commits. Raises Conflict where one is open with something else, or where it was never said why the last
    count differed.
    """
    before = latest_of(tenant_id, user_id)
    if before is not None and needs_why(before):
        raise Conflict(_("Say first why the count of report %(number)s differed.", number=before.number))
    insert = upsert_nothing(
        Shift, unique=["tenant_id", "user_id"], where="closed_at IS NULL",
        tenant_id=tenant_id, user_id=user_id, float_cents=float_cents, branch_id=branch_id,
    )  # fmt: skip
    new_id = db.session.execute(insert.returning(Shift.id)).scalar()
    shift = of(tenant_id, user_id)
    if shift is None or (new_id is None and shift.float_cents != float_cents):
        raise Conflict(_("Your shift is open already. Count and close it first."))
    if new_id is not None:
        chain.record(tenant_id, "shift", shift.id, "opened", actor=actor, details={"float_cents": float_cents})
    return shift


def held(tenant_id: int, user_id: int) -> Shift | None:
    """This person's open shift, or None; nobody closes it until the caller has committed what they take."""
    mine = select(Shift).where(Shift.tenant_id == tenant_id, Shift.user_id == user_id, Shift.closed_at.is_(None))
    mine = mine.with_for_update(key_share=True).execution_options(populate_existing=True)
    return db.session.scalars(mine).one_or_none()


def took(shift: Shift, taken: Transaction, *, tendered_cents: int) -> None:
    """This money was taken in this shift, which the caller holds (`held`). The caller commits."""
    put = upsert_nothing(
        ShiftMoney, unique=["transaction_id"],
        tenant_id=shift.tenant_id, shift_id=shift.id, transaction_id=taken.id, tendered_cents=tendered_cents,
    )  # fmt: skip
    db.session.execute(put)


def change_of(transactions: Iterable[Transaction]) -> dict[int, int]:
    """{transaction: the cents that were handed back for it}, where some were."""
    amounts = {one.id: one.amount_cents for one in transactions}
    found = select(ShiftMoney.transaction_id, ShiftMoney.tendered_cents)
    rows = db.session.execute(found.where(ShiftMoney.transaction_id.in_(list(amounts)))) if amounts else ()
    changes = {row.transaction_id: row.tendered_cents - amounts[row.transaction_id] for row in rows}
    return {transaction_id: cents for transaction_id, cents in changes.items() if cents > 0}


def of_money(transaction_ids: Iterable[int]) -> dict[int, Shift]:
    """{transaction: the shift that it was taken in}"""
    found = select(ShiftMoney.transaction_id, Shift).join(Shift, Shift.id == ShiftMoney.shift_id)
    rows = db.session.execute(found.where(ShiftMoney.transaction_id.in_(list(transaction_ids))))
    return {row.transaction_id: row.Shift for row in rows}


def close(shift: Shift, *, counted_cents: int, actor: str) -> Shift:
    """Count it and close it: its report has a number from now on. The caller commits.

    Raises Conflict where it is closed already.
    """
    now = clock.now()
    mine = update(Shift).where(Shift.id == shift.id, Shift.closed_at.is_(None))
    number = take_number(shift.tenant_id, "shift", first=1)
    closed = db.session.scalar(mine.values(closed_at=now, number=number).returning(Shift.id))
    if closed is None:
        raise Conflict(_("This shift is closed already."))
    db.session.refresh(shift)
    shift.lines = _lines(shift)
    shift.expected_cents = shift.float_cents + sum(one["cents"] for one in shift.lines if one["channel"] == "cash")
    shift.counted_cents = counted_cents
    shift.to_place_count, shift.to_place_cents = _to_place(shift.tenant_id)
    db.session.flush()
    details = {"expected_cents": shift.expected_cents, "counted_cents": counted_cents, "number": number}
    chain.record(shift.tenant_id, "shift", shift.id, "closed", actor=actor, details=details)
    return shift


def _lines(shift: Shift) -> list[dict[str, Any]]:
    """What was taken in it and not taken back, by channel."""
    taken = (
        select(Transaction.channel, func.count(), func.sum(Transaction.amount_cents))
        .join(ShiftMoney, ShiftMoney.transaction_id == Transaction.id)
        .where(ShiftMoney.shift_id == shift.id, Transaction.voided_at.is_(None))
        .group_by(Transaction.channel)
        .order_by(Transaction.channel)
    )
    return [
        {"channel": channel, "count": count, "cents": int(cents)} for channel, count, cents in db.session.execute(taken)
    ]


def _to_place(tenant_id: int) -> tuple[int, int]:
    homeless = select(func.count(), func.coalesce(func.sum(Transaction.unallocated_cents), 0)).where(
        Transaction.tenant_id == tenant_id,
        Transaction.environment == client_factory.environment_of(tenant_id),
        Transaction.unallocated_cents > 0,
    )
    count, cents = db.session.execute(homeless).one()
    return count, int(cents)


def needs_why(shift: Shift) -> bool:
    """Whether its count differed and nobody has said why."""
    return shift.closed_at is not None and shift.variance_cents != 0 and not shift.variance_why


def say_why(shift: Shift, why: str, *, actor: str) -> None:
    """Why the count differed: said once. The caller commits. Raises Refused without a reason, Conflict for a second."""
    said = " ".join(why.replace("\0", "").split())
    if not said or len(said) > LONGEST_WHY:
        raise Refused(_("Say why, in at most %(most)s characters.", most=LONGEST_WHY), code="invalid_fields")
    mine = update(Shift).where(Shift.id == shift.id, Shift.closed_at.is_not(None), Shift.variance_why == "")
    if db.session.scalar(mine.values(variance_why=said).returning(Shift.id)) is None:
        raise Conflict(_("It was said already why this count differed."))
    db.session.refresh(shift)
    chain.record(shift.tenant_id, "shift", shift.id, "explained", actor=actor, why=said)


def reports(tenant_id: int, *, before_id: int | None = None) -> tuple[list[Shift], str | None]:
    """(closed shifts, newest first, cursor of the next page or None)."""
    found = select(Shift).where(Shift.tenant_id == tenant_id, Shift.closed_at.is_not(None))
    if before_id is not None:
        found = found.where(Shift.id < before_id)
    rows = list(db.session.scalars(found.order_by(Shift.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None


def report(tenant_id: int, number: int) -> Shift:
    """The tenant's report of this number. Raises NotFound."""
    found = db.session.scalars(select(Shift).where(Shift.tenant_id == tenant_id, Shift.number == number)).one_or_none()
    if found is None:
        raise NotFound(_("There is no such report here."))
    return found
