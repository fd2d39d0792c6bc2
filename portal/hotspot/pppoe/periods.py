"""The time of a line: opened to be paid, begun when it is, and taken back when its money is gone."""

from datetime import datetime, timedelta

from sqlalchemy import func, select

from portal.audit import chain
from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.hotspot.pppoe.models import LinePeriod, LinePromise, LineState, PppoeLine
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.payments.closing import close_payment
from portal.payments.models import Payment
from portal.payments.payment import ReferenceTaken, lock_payment, new_reference, open_payment
from portal.payments.states import PaymentState
from portal.payments.wallets import wallets
from portal.tenants.models import Tenant

REFERENCE_LETTER = "L"


def lock_line(line_id: int) -> PppoeLine:
    """The line, locked until the end of the transaction. Its open payment is locked before it."""
    return db.session.scalars(
        select(PppoeLine).where(PppoeLine.id == line_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def of_payment(payment_id: int) -> LinePeriod | None:
    """The period that this payment buys, or None."""
    return db.session.scalars(select(LinePeriod).where(LinePeriod.payment_id == payment_id)).one_or_none()


def to_be_paid(line_id: int) -> LinePeriod | None:
    """The line's period that is not paid: opened for the next time, or owed again; the oldest."""
    mine = select(LinePeriod).join(Payment).where(LinePeriod.line_id == line_id, Payment.state == PaymentState.OPEN)
    return db.session.scalars(mine.order_by(LinePeriod.id).limit(1)).one_or_none()


def that_run(line_id: int, *, after: datetime) -> list[LinePeriod]:
    """The paid periods that end after this, in their order."""
    mine = select(LinePeriod).where(
        LinePeriod.line_id == line_id, LinePeriod.withdrawn_at.is_(None), LinePeriod.ends_at > after
    )
    return list(db.session.scalars(mine.order_by(LinePeriod.starts_at)))


def latest(line_id: int, *, most: int) -> list[LinePeriod]:
    """The newest periods, for a page."""
    mine = select(LinePeriod).where(LinePeriod.line_id == line_id)
    return list(db.session.scalars(mine.order_by(LinePeriod.id.desc()).limit(most)))


def locked_with_payment(line_id: int) -> tuple[PppoeLine, LinePeriod | None] | None:
    """(the line, its period to be paid), the payment locked before the line.

    None where it was paid or opened meanwhile: whoever gets it comes again.
    """
    seen = to_be_paid(line_id)
    if seen is not None:
        lock_payment(seen.payment_id)
    line = lock_line(line_id)
    now_open = to_be_paid(line_id)
    return (line, now_open) if now_open is seen else None


def offer(line: PppoeLine, period: LinePeriod | None, *, actor: str) -> Payment:
    """What is to be paid for the line's next time, at the package's price of now. The caller commits.

    line, period: of `locked_with_payment`. Raises Refused where the tenant has no gateway, or the line is closed.
    """
    if line.state == LineState.CLOSED:
        raise Refused(_("This line is closed. Ask the staff."), code="line_closed")
    if period is not None:
        payment = period.payment
        is_untouched = payment.allocated_cents == 0 and payment.paid_at is None
        is_of_now = period.package_id == line.package_id and payment.amount_cents == line.package.price_cents
        environment = client_factory.environment_of(line.tenant_id, "pppoe")
        if payment.environment == environment and (is_of_now or not is_untouched):
            return payment
        close_payment(payment, why="Offered anew at today's terms.", actor=actor)
    return _open(line, client_factory.choose(line.tenant_id, "pppoe"), actor=actor).payment


def _open(line: PppoeLine, gateway: Gateway, *, actor: str) -> LinePeriod:
    payment = None
    for _try in range(5):
        try:
            payment = open_payment(
                db.session.get_one(Tenant, line.tenant_id),
                gateway,
                environment=gateway.environment,
                purpose="pppoe",
                reference=new_reference(REFERENCE_LETTER),
                title=line.package.name,
                amount_cents=line.package.price_cents,
                actor=actor,
                phone_sealed=line.customer.phone_sealed,
                phone_hash=line.customer.phone_hash,
                customer_id=line.customer_id,
            )
            break
        except ReferenceTaken:
            continue
    if payment is None:
        raise Conflict(_("No free reference was found. Try again."))
    period = LinePeriod(
        tenant_id=line.tenant_id, line_id=line.id, package_id=line.package_id, payment_id=payment.id
    )  # fmt: skip
    db.session.add(period)
    db.session.flush()
    return period


def renew_from_wallet(line_id: int, *, actor: str) -> bool | None:
    """Pay the line's next period from the wallet, if it holds enough, and begin it; False where it does not.

    None where somebody else changed what is to be paid at this moment: look again. The wallet's debit and the period
    are one transaction, the caller's.
    """
    found = locked_with_payment(line_id)
    if found is None:
        return None
    line, period = found
    if line.state == LineState.CLOSED:
        return False
    try:
        environment = client_factory.choose(line.tenant_id, "pppoe").environment
    except Refused:
        return False
    customer = wallets.lock_customer(line.customer_id)
    held = wallets.balance_cents(customer, environment)
    due = missing_cents(line, period, environment)
    if held < due:
        return False
    payment = offer(line, period, actor=actor)
    wallets.pay(payment.id, customer.id, actor=actor)
    begin(payment)
    payment.fulfilled_at = clock.now()  # begun with its debit: nothing is left to deliver
    db.session.flush()
    return True


def missing_cents(line: PppoeLine, period: LinePeriod | None, environment: str) -> int:
    """What the line's next period costs beyond what was paid of it already, whatever the wallet holds."""
    payment = period.payment if period else None
    if payment is not None and payment.environment == environment and (payment.allocated_cents or payment.paid_at):
        return payment.due_cents
    return line.package.price_cents


def begin(payment: Payment) -> PppoeLine | None:
    """Give the line the time that this payment bought, once; None where it bought none. The caller commits.

    The caller holds the payment's lock. Paid again after its money was gone, it begins anew.
    """
    period = of_payment(payment.id)
    if period is None:
        return None
    line = lock_line(period.line_id)
    db.session.refresh(period)
    if period.starts_at is not None and period.withdrawn_at is None:
        return line
    period.starts_at = _begins_at(line)
    period.ends_at = period.starts_at + timedelta(seconds=period.package.duration_s)
    period.withdrawn_at = None
    line.paid_until = period.ends_at
    chain.record(
        line.tenant_id, "line", line.id, "renewed", actor="fulfilment", new=clock.rfc3339(period.ends_at),
        details={"payment": payment.id, "amount_cents": payment.amount_cents},
    )  # fmt: skip
    settle_state(line, actor="fulfilment", why="Paid.")
    return line


def _begins_at(line: PppoeLine) -> datetime:
    """Where its last period ended, as far as it has been on since then; what it was off before is nobody's debt."""
    now = clock.now()
    if line.paid_until is None:
        return now
    since = line.on_since or line.paid_until
    return max(line.paid_until, since if line.state == LineState.ACTIVE else now)


def withdraw(payment: Payment, *, why: str) -> PppoeLine | None:
    """Take back the time that this payment bought: its money is gone. None where it gave none. The caller commits.

    What was paid behind it moves up into its place. Time that was used up already cannot be taken back.
    """
    period = of_payment(payment.id)
    if period is None:
        return None
    line = lock_line(period.line_id)
    db.session.refresh(period)
    if period.starts_at is None or period.ends_at is None or period.withdrawn_at is not None:
        return None
    at, period.withdrawn_at = period.starts_at, clock.now()
    db.session.flush()
    if period.ends_at <= clock.now():
        return line
    behind = that_run(line.id, after=period.ends_at)
    for one in behind:
        length = timedelta(seconds=one.package.duration_s)
        one.starts_at, one.ends_at = at, at + length
        at += length
        db.session.flush()  # one after the other: two periods never begin at the same instant
    line.paid_until = _last_end(line.id)  # as it was before: days of grace and a promise count from there, once
    chain.record(
        line.tenant_id, "line", line.id, "time_taken_back", actor="fulfilment",
        new=clock.rfc3339(line.paid_until) if line.paid_until else None, why=why, details={"payment": payment.id},
    )  # fmt: skip
    db.session.flush()
    settle_state(line, actor="fulfilment", why=why)
    return line


def give_back(grant_id: int, lost: timedelta, *, since: datetime) -> bool:
    """What was paid at that time ends so much later, and what is paid behind it moves on; False where this is no
    line's access. The caller commits.
    """
    line_id = db.session.scalar(select(PppoeLine.id).where(PppoeLine.grant_id == grant_id))
    if line_id is None:
        return False
    line = lock_line(line_id)
    for one in reversed(that_run(line.id, after=since)):
        if one.starts_at and one.starts_at > since:
            one.starts_at += lost
        if one.ends_at:
            one.ends_at += lost
        db.session.flush()  # the last one first: two periods never begin at the same instant
    line.paid_until = _last_end(line.id)
    settle_state(line, actor="outages", why="An outage is given back.")
    return True


def _last_end(line_id: int) -> datetime | None:
    kept = select(func.max(LinePeriod.ends_at)).where(LinePeriod.line_id == line_id, LinePeriod.withdrawn_at.is_(None))
    return db.session.scalar(kept)


def on_until(line: PppoeLine) -> datetime | None:
    """Until when it may be on: by right, or held; whichever is last. None: not at all."""
    ends = [end for end in (by_right_until(line), line.held_until) if end]
    return max(ends, default=None)


def by_right_until(line: PppoeLine) -> datetime | None:
    """Until when it may be on though no money is on its way: what is paid, with grace; a promise. None: not at all."""
    ends = [line.paid_until + timedelta(days=line.grace_days)] if line.paid_until else []
    ends += [promised] if (promised := promised_until(line)) else []
    return max(ends, default=None)


def promised_until(line: PppoeLine) -> datetime | None:
    """The end of the promise given for this end of the line's time, or None."""
    mine = select(LinePromise.until).where(LinePromise.line_id == line.id, LinePromise.of_end == end_of_time(line))
    return db.session.scalar(mine)


def end_of_time(line: PppoeLine) -> datetime:
    """What a promise is given for: the end of the paid time; of a line that never paid, its beginning."""
    return line.paid_until or line.created_at


def settle_state(line: PppoeLine, *, actor: str, why: str, may_wall: bool = False) -> None:
    """Let the line's state and its grant follow its time. The caller commits, holding the line's lock.

    may_wall: whether it is walled where its time is over. Else `keeping` does, at once, if no money may be theirs.
    """
    now, until = clock.now(), on_until(line)
    is_over = until is None or until <= now
    state = LineState(line.state)
    wanted = state
    if state == LineState.WALLED and not is_over:
        wanted = LineState.ACTIVE
    elif state == LineState.ACTIVE and is_over and may_wall:
        wanted = LineState.WALLED
    if wanted != state and change_state(line, wanted, actor=actor, why=why) and wanted == LineState.WALLED:
        line.held_until, line.held_why = None, ""
    line.look_at = None if line.state == LineState.CLOSED else now
    _follow(line, until or now)
    db.session.flush()


def change_state(line: PppoeLine, new: LineState, *, actor: str, why: str) -> bool:
    """Move it, in the history's sight; False where somebody else did first. The caller commits."""
    old = line.state
    db.session.flush()
    if not move(line, new, on_since=clock.now() if new == LineState.ACTIVE else line.on_since):
        return False
    chain.record(line.tenant_id, "line", line.id, "moved", actor=actor, old=old, new=new, why=why)
    return True


def _follow(line: PppoeLine, until: datetime) -> None:
    """The grant says to routers what the line is; where that changes, they are to be told."""
    grant, now = line.grant, clock.now()
    running = that_run(line.id, after=now)
    package_id = running[0].package_id if running else grant.package_id
    suspended_at = (grant.suspended_at or now) if line.state == LineState.SUSPENDED else None
    ended_at = (grant.ended_at or now) if line.state == LineState.CLOSED else None
    wanted = (until, package_id, suspended_at, ended_at)
    if wanted != (grant.expires_at, grant.package_id, grant.suspended_at, grant.ended_at):
        grant.expires_at, grant.package_id, grant.suspended_at, grant.ended_at = wanted
        grant.provision_at = now
