"""What happens to lines by themselves: renewed, reminded, asked, held, walled. Each line for itself, found by query.

Everything here is safe to run twice and at once with itself, and safe to be killed between any two lines.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from portal.audit import chain
from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.hotspot.pppoe import holds, periods, telling
from portal.hotspot.pppoe.models import TO_LOOK_AT, LinePeriod, LineState, PppoeLine
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.logs import logger
from portal.payments.models import TO_SPEND, Allocation, Customer
from portal.payments.stk import pushes
from portal.payments.wallets import wallets

ROWS = 100  # of one look
AFTER_FAILURE = timedelta(minutes=5)
LEAD = timedelta(minutes=2)  # before the end it is renewed or held, so that its router need not dial again
MOST_PERIODS = 36  # that one arrival of money renews


def keep() -> None:
    """Everything that is due now. What one line's fault stops is that line."""
    told = False
    while not queue.is_leaving():
        spenders = _due(select(Customer.id).where(TO_SPEND.is_due).order_by(Customer.spend_at))
        lines = _due(select(PppoeLine.id).where(TO_LOOK_AT.is_due).order_by(PppoeLine.look_at))
        for customer_id in spenders:
            _guarded(lambda: spend(customer_id), lambda: _later(Customer.spend_at, customer_id), of=customer_id)  # noqa: B023
        for line_id in lines:
            _guarded(lambda: look(line_id), lambda: _later(PppoeLine.look_at, line_id), of=line_id)  # noqa: B023
        told = told or bool(spenders or lines)
        if max(len(spenders), len(lines)) < ROWS:
            break
    if told:
        queue.enqueue(queue.OUTBOX)
        queue.enqueue(queue.WITHDRAW)
        queue.enqueue(queue.SEND_PUSHES)


def _due(rows: object) -> list[int]:
    found = list(db.session.scalars(rows.limit(ROWS)))  # type: ignore[attr-defined]
    db.session.rollback()
    return found


def _guarded(work: Callable[[], None], put_off: Callable[[], None], *, of: int) -> None:
    try:
        work()
    except Exception as error:
        db.session.rollback()
        logger.error("line_not_kept", row=of, error=repr(error)[:300])
        try:
            put_off()
        except Exception:
            db.session.rollback()


def _later(column: object, row_id: int) -> None:
    model = column.class_  # type: ignore[attr-defined]
    with transaction():
        db.session.execute(update(model).where(model.id == row_id).values({column: clock.now() + AFTER_FAILURE}))


def spend(customer_id: int) -> None:
    """Renew this customer's lines from the wallet, as far as it reaches; take time back where it is overdrawn."""
    with transaction():
        seen = db.session.get_one(Customer, customer_id).spend_at
    if seen is None:
        return
    while _take_back_one(customer_id):
        pass
    renewed = 0
    while renewed < MOST_PERIODS and _renew_one(customer_id):
        renewed += 1
    with transaction():
        if not renewed:
            _tell_what_is_missing(customer_id, seen)
        mark = update(Customer).where(Customer.id == customer_id, Customer.spend_at == seen)
        db.session.execute(mark.values(spend_at=None))


def _mine(customer_id: int) -> list[PppoeLine]:
    """Those that are renewed by themselves, the one whose time ends first at the front."""
    found = select(PppoeLine).where(
        PppoeLine.customer_id == customer_id, PppoeLine.is_renewed, PppoeLine.state != LineState.CLOSED
    )
    return sorted(
        db.session.scalars(found.order_by(PppoeLine.id)), key=lambda line: (line.paid_until or line.created_at, line.id)
    )


def _renew_one(customer_id: int) -> bool:
    with transaction():
        for line in _mine(customer_id):
            is_renewed = periods.renew_from_wallet(line.id, actor="renewal")
            if is_renewed:
                _tell_renewed(line)
            return is_renewed is not False  # the next line is not renewed with what was meant for this one
    return False


def _tell_renewed(line: PppoeLine) -> None:
    newest = db.session.scalar(select(func.max(LinePeriod.id)).where(LinePeriod.line_id == line.id))
    telling.renewed(line, newest or 0)


def _take_back_one(customer_id: int) -> bool:
    """Money that paid for time was taken out of the wallet again: the latest period goes, and its price comes back."""
    with transaction():
        customer = db.session.get_one(Customer, customer_id)
        owing = [
            environment for environment in ("sandbox", "production") if wallets.balance_cents(customer, environment) < 0
        ]
        mine = (
            select(LinePeriod)
            .join(LinePeriod.payment)
            .join(Allocation, Allocation.payment_id == LinePeriod.payment_id)
            .where(Allocation.customer_id == customer_id, Allocation.taken_back_at.is_(None))
            .where(LinePeriod.withdrawn_at.is_(None), LinePeriod.ends_at > clock.now())
            .order_by(LinePeriod.ends_at.desc())
        )
        for period in db.session.scalars(mine):
            if period.payment.environment in owing:
                wallets.put_back(period.payment_id, actor="renewal", customer_id=customer_id)
                return True  # what it paid for ends by `fulfilment.withdraw_unpaid`
    return False


def _tell_what_is_missing(customer_id: int, at: datetime) -> None:
    lines = _mine(customer_id)
    if not lines:
        return
    line, gateway = lines[0], _gateway(lines[0])
    environment = gateway.environment if gateway else "production"
    held = wallets.balance_cents(line.customer, environment)
    missing = periods.missing_cents(line, periods.to_be_paid(line.id), environment) - held
    if held > 0 and missing > 0:
        telling.not_enough(line, gateway, held_cents=held, missing_cents=missing, at=at)


def look(line_id: int) -> None:
    """Do what this line's time asks for, and say when to look again."""
    with transaction():
        line = db.session.get_one(PppoeLine, line_id)
        if line.is_renewed and _is_ending(line) and periods.renew_from_wallet(line_id, actor="renewal"):
            _tell_renewed(line)
    with transaction():
        _ask_by_prompt(line_id)
    with transaction():
        found = periods.locked_with_payment(line_id)
        if found is None:
            return
        line, period = found
        if line.look_at is None or line.look_at > clock.now():
            return
        _pass_time(line, period)


def _is_ending(line: PppoeLine) -> bool:
    return line.state == LineState.WALLED or line.paid_until is None or line.paid_until <= clock.now() + LEAD


def _pass_time(line: PppoeLine, period: LinePeriod | None) -> None:
    gateway = _gateway(line)
    environment = gateway.environment if gateway else "production"
    held = wallets.balance_cents(line.customer, environment)
    missing = max(0, periods.missing_cents(line, period, environment) - held)
    if line.state == LineState.ACTIVE:
        if missing or not line.is_renewed:
            telling.remind_due(line, gateway, missing_cents=missing)
        until = periods.on_until(line)
        if until is None or until <= clock.now() + LEAD:
            why = holds.reason(
                line, missing_cents=missing, environment=environment, by_right_until=periods.by_right_until(line)
            )
            if why is not None:
                _hold(line, why)
            elif until is None or until <= clock.now():
                periods.settle_state(line, actor="time", why="Its time is over.", may_wall=True)
                if line.state == LineState.WALLED:
                    telling.walled(line, gateway, missing_cents=missing)
    periods.settle_state(line, actor="time", why="")
    line.look_at = next_look(line)
    db.session.flush()


def _hold(line: PppoeLine, why: str) -> None:
    """On for a while longer, since money may be theirs."""
    until = periods.on_until(line) or clock.now()
    if line.held_why != why:
        chain.record(line.tenant_id, "line", line.id, "held", actor="time", new=why)
    line.held_why = why
    line.held_until = max(until, clock.now()) + holds.HELD_FOR.get(why, holds.LONGEST_HOLD)
    db.session.flush()


def next_look(line: PppoeLine) -> datetime | None:
    """When there is something to do for this line again; None: only once money comes, or staff do something."""
    now = clock.now()
    if line.state != LineState.ACTIVE:
        return None
    until = periods.on_until(line)
    turns = [one.starts_at for one in periods.that_run(line.id, after=now) if one.starts_at]
    if line.paid_until is not None:
        turns += [telling.remind_at(line.paid_until, days) for days in telling.DAYS_BEFORE]
        turns += [line.paid_until - LEAD]
    if until is not None:
        turns += [until - LEAD, until]
    return min((at for at in turns if at > now), default=None)


def _ask_by_prompt(line_id: int) -> None:
    """The day before the end, the phone of who agreed to it is asked, once."""
    line = db.session.get_one(PppoeLine, line_id)
    now = clock.now()
    if not line.is_prompted or line.state != LineState.ACTIVE or line.paid_until is None or line.paid_until <= now:
        return
    if not now - telling.TOO_LATE < telling.remind_at(line.paid_until, 1) <= now:
        return
    msisdn = personal.open_phone(line.customer.phone_sealed, line.tenant_id)
    found = periods.locked_with_payment(line_id)
    if msisdn is None or found is None:
        return
    line, period = found
    try:
        with db.session.begin_nested():
            payment = periods.offer(line, period, actor="renewal")
            key = f"line/{line.id}/{int(line.paid_until.timestamp()) if line.paid_until else 0}"
            pushes.request_push(payment.id, msisdn, actor="renewal", idempotency_key=key)
    except Refused as error:
        logger.info("line_not_prompted", line=line_id, why=str(error)[:200])


def _gateway(line: PppoeLine) -> Gateway | None:
    try:
        return client_factory.choose(line.tenant_id, "pppoe")
    except Refused:
        return None
