"""Making vouchers in batches, looking at them, voiding them, letting them expire."""

from datetime import timedelta

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.hotspot import access
from portal.hotspot.models import AccessGrant, Package
from portal.hotspot.vouchers import codes
from portal.hotspot.vouchers.models import TO_EXPIRE, Voucher, VoucherBatch
from portal.hotspot.vouchers.states import REDEEMABLE, VOUCHER, VoucherState
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.states import is_one_of, move

MOST_AT_ONCE, PAGE_ROWS, EXPIRED_AT_ONCE = 1_000, 100, 500
SHELF_DAYS, LONGEST_SHELF_DAYS = 365, 1_825
SHELF = timedelta(days=SHELF_DAYS)


def read_count(value: object) -> int:
    """How many are made. Raises Refused."""
    sentence = _("A whole number from 1 to %(most)s.", most=MOST_AT_ONCE)
    if isinstance(value, bool) or not str(value)[:20].isdecimal() or not 1 <= int(str(value)[:20]) <= MOST_AT_ONCE:
        raise Refused(sentence, code="invalid_fields", fields={"count": sentence})
    return int(str(value))


def make(
    package: Package,
    count: int,
    *,
    actor: str,
    user_id: int | None = None,
    note: str = "",
    shelf_days: int = SHELF_DAYS,
) -> VoucherBatch:
    """So many codes for this package, to be redeemed within `shelf_days`. The caller commits."""
    expires_at = clock.now() + timedelta(days=min(shelf_days, LONGEST_SHELF_DAYS))
    batch = VoucherBatch(
        tenant_id=package.tenant_id, package_id=package.id, made_by_id=user_id, count=count, note=note[:80],
        expires_at=expires_at,
    )  # fmt: skip
    db.session.add(batch)
    db.session.flush()
    made: set[str] = set()
    while len(made) < count:
        made.add(codes.new_code())
    common = {"tenant_id": package.tenant_id, "batch_id": batch.id, "package_id": package.id, "expires_at": expires_at}
    db.session.add_all(Voucher(**common, code=code) for code in sorted(made))
    details = {"count": count, "package": package.id}
    chain.record(package.tenant_id, "voucher_batch", batch.id, "made", actor=actor, details=details)
    db.session.flush()
    return batch


def get_batch(tenant_id: int, uid: str) -> VoucherBatch:
    """The tenant's own batch. Raises NotFound."""
    mine = select(VoucherBatch).where(VoucherBatch.tenant_id == tenant_id, VoucherBatch.uid == uid)
    batch = db.session.scalars(mine).one_or_none()
    if batch is None:
        raise NotFound(_("There is no such batch here."))
    return batch


def vouchers_of(batch: VoucherBatch) -> list[Voucher]:
    """Its vouchers, as they are printed."""
    mine = select(Voucher).where(Voucher.batch_id == batch.id).order_by(Voucher.id)
    return list(db.session.scalars(mine))


def page_of_batches(tenant_id: int, *, before_id: int | None = None) -> tuple[list[VoucherBatch], str | None]:
    """(batches, newest first, cursor of the next page or None)."""
    found = select(VoucherBatch).where(VoucherBatch.tenant_id == tenant_id)
    if before_id is not None:
        found = found.where(VoucherBatch.id < before_id)
    rows = list(db.session.scalars(found.order_by(VoucherBatch.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None


def page(tenant_id: int, *, before_id: int | None = None) -> tuple[list[Voucher], str | None]:
    """(vouchers, newest first, cursor of the next page or None)."""
    found = select(Voucher).where(Voucher.tenant_id == tenant_id)
    if before_id is not None:
        found = found.where(Voucher.id < before_id)
    rows = list(db.session.scalars(found.order_by(Voucher.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None


def counts_of(batches: list[VoucherBatch]) -> dict[int, dict[str, int]]:
    """{batch id: {state: how many}}."""
    found: dict[int, dict[str, int]] = {batch.id: {} for batch in batches}
    grouped = select(Voucher.batch_id, Voucher.state, func.count()).where(Voucher.batch_id.in_(found))
    for batch_id, state, count in db.session.execute(grouped.group_by(Voucher.batch_id, Voucher.state)):
        if batch_id is not None:
            found[batch_id][state] = count
    return found


def get(tenant_id: int, typed: str) -> Voucher:
    """The tenant's voucher of this code, as it was typed. Raises NotFound."""
    mine = select(Voucher).where(Voucher.tenant_id == tenant_id, Voucher.code == codes.normalise(typed))
    voucher = db.session.scalars(mine.execution_options(populate_existing=True)).one_or_none()
    if voucher is None:
        raise NotFound(_("There is no such code here. Check each letter."), code="unknown_voucher")
    return voucher


def void(voucher: Voucher, *, why: str, actor: str) -> None:
    """It opens nothing any more, and what it opened ends. The caller commits. Raises Conflict where it is over."""
    while voucher.state in VOUCHER.before(VoucherState.VOID):
        if not move(voucher, VoucherState.VOID):
            db.session.refresh(voucher)
            continue
        chain.record(voucher.tenant_id, "voucher", voucher.id, "voided", actor=actor, why=why)
        opened = grant_of(voucher)
        if opened is not None:
            access.end(opened, why=why or "Its voucher was voided.", actor=actor)
        return
    raise Conflict(_("This code is void or expired already."))


def void_unsold(batch: VoucherBatch, *, why: str, actor: str) -> int:
    """Void what nobody sold or redeemed of a batch that was lost; how many. The caller commits."""
    unsold = update(Voucher).where(Voucher.batch_id == batch.id, Voucher.state == VoucherState.MADE)
    gone = db.session.execute(unsold.values(state=VoucherState.VOID).returning(Voucher.id)).all()
    chain.record(
        batch.tenant_id, "voucher_batch", batch.id, "voided", actor=actor, why=why, details={"count": len(gone)}
    )
    return len(gone)


def grant_of(voucher: Voucher) -> AccessGrant | None:
    """The access that it opened, or None."""
    return db.session.scalars(select(AccessGrant).where(AccessGrant.voucher_id == voucher.id)).one_or_none()


def expire() -> int:
    """Let those whose shelf life is over expire; how many. The caller commits, and calls again while there are more."""
    due = select(Voucher.id).where(TO_EXPIRE.is_due).order_by(Voucher.expires_at).limit(EXPIRED_AT_ONCE)
    gone = update(Voucher).where(Voucher.id.in_(due), is_one_of(Voucher.state, REDEEMABLE))
    return len(db.session.execute(gone.values(state=VoucherState.EXPIRED).returning(Voucher.id)).all())
