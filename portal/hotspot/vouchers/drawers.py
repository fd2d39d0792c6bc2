"""A seller's drawer: opened with what lies in it, closed by a blind count, reported once and for all."""

from collections import Counter
from typing import Any

from sqlalchemy import select, update

from portal.audit import chain
from portal.hotspot.models import Package
from portal.hotspot.vouchers.models import Drawer, DrawerReport, Voucher
from portal.kernel import clock, money
from portal.kernel.db import db, upsert_nothing
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.tenants.counters import take_number

PAGE_ROWS = 50
MOST_CENTS = 10_000_000 * money.CENTS


def read_cash(value: object) -> int:
    """Cents of what was counted; nothing is possible. Raises Refused."""
    cents = money.cents(value)
    if not 0 <= cents <= MOST_CENTS:
        raise Refused(_("Count the money again: this cannot be."), code="invalid_amount")
    return cents


def current(tenant_id: int, user_id: int) -> Drawer | None:
    """The drawer that this seller has open, or None."""
    mine = select(Drawer).where(Drawer.tenant_id == tenant_id, Drawer.user_id == user_id, Drawer.closed_at.is_(None))
    return db.session.scalars(mine).one_or_none()


def open_drawer(tenant_id: int, user_id: int, *, float_cents: int, actor: str) -> Drawer:
    """Open a drawer with what lies in it; the one that is open already, where it was opened with the same.

    The caller commits. Raises Conflict where one is open with something else.
    """
    insert = upsert_nothing(
        Drawer, unique=["tenant_id", "user_id"], where="closed_at IS NULL",
        tenant_id=tenant_id, user_id=user_id, float_cents=float_cents,
    )  # fmt: skip
    new_id = db.session.execute(insert.returning(Drawer.id)).scalar()
    drawer = current(tenant_id, user_id)
    if drawer is None or (new_id is None and drawer.float_cents != float_cents):
        raise Conflict(_("Your drawer is open already. Count and close it first."))
    if new_id is not None:
        details = {"float_cents": float_cents}
        chain.record(tenant_id, "drawer", drawer.id, "opened", actor=actor, details=details)
    return drawer


def lock(drawer: Drawer) -> None:
    """Nobody closes it meanwhile. Raises Conflict where it is closed."""
    db.session.refresh(drawer, with_for_update={"key_share": True})
    if drawer.closed_at is not None:
        raise Conflict(_("Your drawer is closed. Open it with what lies in it."))


def sold_in(drawer: Drawer) -> list[Voucher]:
    """What was sold from it and not taken back, newest first."""
    sold = select(Voucher).join(Payment, Payment.id == Voucher.payment_id)
    paid = sold.where(Voucher.drawer_id == drawer.id, Payment.state == PaymentState.PAID)
    return list(db.session.scalars(paid.order_by(Voucher.id.desc())))


def close(drawer: Drawer, *, counted_cents: int, note: str = "", actor: str) -> DrawerReport:
    """Count it and close it. Raises Conflict where it is closed already. The caller commits."""
    now = clock.now()
    mine = update(Drawer).where(Drawer.id == drawer.id, Drawer.closed_at.is_(None)).values(closed_at=now)
    if db.session.scalar(mine.returning(Drawer.id)) is None:
        raise Conflict(_("This drawer is closed already."))
    db.session.refresh(drawer)
    lines = _lines(drawer)
    sales_cents = sum(line["cents"] for line in lines)
    report = DrawerReport(
        tenant_id=drawer.tenant_id,
        number=take_number(drawer.tenant_id, "drawer", first=1),
        drawer_id=drawer.id,
        user_id=drawer.user_id,
        opened_at=drawer.created_at,
        closed_at=now,
        float_cents=drawer.float_cents,
        sales_cents=sales_cents,
        expected_cents=drawer.float_cents + sales_cents,
        counted_cents=counted_cents,
        lines=lines,
        note=note[:200],
    )
    db.session.add(report)
    db.session.flush()
    details = {"expected_cents": report.expected_cents, "counted_cents": counted_cents, "number": report.number}
    chain.record(drawer.tenant_id, "drawer", drawer.id, "closed", actor=actor, details=details)
    return report


def _lines(drawer: Drawer) -> list[dict[str, Any]]:
    """What was sold, by package and price."""
    sold = (
        select(Package.name, Payment.amount_cents)
        .join(Voucher, Voucher.package_id == Package.id)
        .join(Payment, Payment.id == Voucher.payment_id)
        .where(Voucher.drawer_id == drawer.id, Payment.state == PaymentState.PAID)
    )
    counted = Counter((name, cents) for name, cents in db.session.execute(sold))
    return [
        {"package": name, "count": count, "cents": count * cents} for (name, cents), count in sorted(counted.items())
    ]


def reports(tenant_id: int, *, before_id: int | None = None) -> tuple[list[DrawerReport], str | None]:
    """(reports, newest first, cursor of the next page or None)."""
    found = select(DrawerReport).where(DrawerReport.tenant_id == tenant_id)
    if before_id is not None:
        found = found.where(DrawerReport.id < before_id)
    rows = list(db.session.scalars(found.order_by(DrawerReport.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None


def report(tenant_id: int, number: int) -> DrawerReport:
    """The tenant's report of this number. Raises NotFound."""
    mine = select(DrawerReport).where(DrawerReport.tenant_id == tenant_id, DrawerReport.number == number)
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("There is no such report here."))
    return found


def latest_of(tenant_id: int, user_id: int) -> DrawerReport | None:
    """The last report of this seller's, or None."""
    mine = select(DrawerReport).where(DrawerReport.tenant_id == tenant_id, DrawerReport.user_id == user_id)
    return db.session.scalars(mine.order_by(DrawerReport.id.desc()).limit(1)).one_or_none()
