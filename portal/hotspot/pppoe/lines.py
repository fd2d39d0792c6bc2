"""Lines as staff make and change them: each step in the history, with who took it."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from portal.audit import chain
from portal.gateways import messages
from portal.hotspot import access
from portal.hotspot.models import AccessGrant, AccessSession, Package, Site
from portal.hotspot.pppoe import holds, periods
from portal.hotspot.pppoe.models import LinePromise, LineState, PppoeLine
from portal.kernel import clock
from portal.kernel.db import db, owned, upsert_nothing
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.payments.booking import to_be_spent
from portal.payments.closing import close_payment
from portal.payments.models import Customer, Payment
from portal.payments.states import PaymentState
from portal.payments.stk import pushes
from portal.payments.stk.prompt_limits import AskedFrom
from portal.payments.wallets import wallets

MOST_GRACE_DAYS, LONGEST_PROMISE = 31, timedelta(days=14)
ON_AGAIN_FOR = timedelta(days=1)  # what one click undoes
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{2,39}")
LOCALES = ("en", "sw")
PAGE_ROWS = 50


@dataclass(frozen=True)
class Wanted:
    """What staff choose of a line. grace_days: how long it stays on after its time."""

    package_id: int
    site_id: int | None = None
    grace_days: int = 0
    is_renewed: bool = True
    is_prompted: bool = False
    locale: str = "en"


def by_uid(tenant_id: int, uid: str) -> PppoeLine:
    """One line. Raises NotFound."""
    found = db.session.scalars(
        select(PppoeLine).where(PppoeLine.tenant_id == tenant_id, PppoeLine.uid == (uid if uid.isprintable() else ""))
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such line here."), code="unknown_line")
    return found


def of_customers(tenant_id: int, customer_ids: list[int]) -> dict[int, list[PppoeLine]]:
    """Their lines, by customer id, oldest first."""
    found: dict[int, list[PppoeLine]] = {one: [] for one in customer_ids}
    mine = select(PppoeLine).where(PppoeLine.tenant_id == tenant_id, PppoeLine.customer_id.in_(customer_ids))
    for line in db.session.scalars(mine.order_by(PppoeLine.id)):
        found[line.customer_id].append(line)
    return found


def page(
    tenant_id: int, *, customer_id: int | None = None, before_id: int | None = None
) -> tuple[list[PppoeLine], str | None]:
    """(lines newest first, cursor of the next page or None)."""
    found = select(PppoeLine).where(PppoeLine.tenant_id == tenant_id)
    if customer_id is not None:
        found = found.where(PppoeLine.customer_id == customer_id)
    if before_id is not None:
        found = found.where(PppoeLine.id < before_id)
    rows = list(db.session.scalars(found.order_by(PppoeLine.id.desc()).limit(PAGE_ROWS + 1)))
    return rows[:PAGE_ROWS], str(rows[PAGE_ROWS - 1].id) if len(rows) > PAGE_ROWS else None


def terms_of(line: PppoeLine) -> Wanted:
    """What was chosen of it."""
    return Wanted(line.package_id, line.site_id, line.grace_days, line.is_renewed, line.is_prompted, line.locale)


def of_account(tenant_id: int, account: str) -> list[PppoeLine]:
    """The lines that are paid by this account number, however written; those that are closed left out."""
    mine = (
        select(PppoeLine)
        .join(Customer, Customer.id == PppoeLine.customer_id)
        .where(Customer.tenant_id == tenant_id, Customer.account_number == messages.normalise_account(account))
        .where(PppoeLine.state != LineState.CLOSED)
    )
    return list(db.session.scalars(mine.order_by(PppoeLine.id)))


def packages_for(tenant_id: int) -> list[Package]:
    """The packages that a line may have, cheapest first."""
    mine = select(Package).where(
        Package.tenant_id == tenant_id, Package.service == "pppoe", Package.withdrawn_at.is_(None)
    )
    return list(db.session.scalars(mine.order_by(Package.price_cents, Package.id)))


def are_sold(tenant_id: int) -> bool:
    """Whether this tenant offers lines at all."""
    mine = select(Package.id).where(
        Package.tenant_id == tenant_id, Package.service == "pppoe", Package.withdrawn_at.is_(None)
    )
    return db.session.scalar(mine.limit(1)) is not None


def package_for(tenant_id: int, uid: str) -> Package:
    """One of them. Raises NotFound."""
    for one in packages_for(tenant_id):
        if one.uid == uid:
            return one
    raise NotFound(_("There is no such PPPoE package here."), code="unknown_package")


def read_username(value: object) -> str:
    """The name that the customer's router dials in with. Raises Refused."""
    name = str(value or "").strip().lower()
    if not _NAME.fullmatch(name):
        raise Refused(_("3 to 40 small letters, digits and . _ @ -, such as otieno.home."), code="invalid_username")
    return name


def create(customer: Customer, wanted: Wanted, *, username: str, actor: str) -> PppoeLine:
    """A new line, walled until its first period is paid. Raises Conflict for a name that is taken. The caller commits.

    username: as of `read_username`; empty: made of the account number.
    """
    now = clock.now()
    _is_theirs(customer.tenant_id, wanted)
    name = username or _free_name(customer)
    inserted = db.session.execute(
        upsert_nothing(
            AccessGrant,
            unique=["tenant_id", "username"],
            tenant_id=customer.tenant_id,
            package_id=wanted.package_id,
            origin="line",
            username=name,
            password=access.new_password(),
            starts_at=now,
            expires_at=now,
            provision_at=now,
        ).returning(AccessGrant.id)
    ).scalar()
    if inserted is None:
        raise Conflict(_("Another line or code has this user name already."), code="username_taken")
    grant = db.session.get_one(AccessGrant, inserted)
    grant.leader_id = grant.id
    line = PppoeLine(
        tenant_id=customer.tenant_id, customer_id=customer.id, grant_id=grant.id, **_columns(wanted)
    )  # fmt: skip
    db.session.add(line)
    db.session.flush()
    chain.record(line.tenant_id, "line", line.id, "added", actor=actor, new=name)
    to_be_spent(customer.id)  # what it holds already renews it at once
    return line


def _free_name(customer: Customer) -> str:
    there = select(func.count(PppoeLine.id)).where(PppoeLine.customer_id == customer.id)
    number = int(db.session.scalar(there) or 0)
    name = customer.account_number.lower()
    return f"{name}-{number + 1}" if number else name


def _columns(wanted: Wanted) -> dict[str, Any]:
    return {
        "package_id": wanted.package_id,
        "site_id": wanted.site_id,
        "grace_days": wanted.grace_days,
        "is_renewed": wanted.is_renewed,
        "is_prompted": wanted.is_prompted,
        "locale": wanted.locale,
    }


def _is_theirs(tenant_id: int, wanted: Wanted) -> None:
    package = owned(Package, tenant_id, id=wanted.package_id)
    if package.service != "pppoe":
        raise Refused(_("This package is for the hotspot. Choose one for PPPoE."), code="invalid_package")
    if wanted.site_id is not None:
        owned(Site, tenant_id, id=wanted.site_id)
    if not 0 <= wanted.grace_days <= MOST_GRACE_DAYS:
        raise Refused(_("Days of grace: 0 to %(most)s.", most=MOST_GRACE_DAYS), code="invalid_grace_days")
    if wanted.locale not in LOCALES:
        raise Refused(_("Choose one of the languages."), code="invalid_locale")


def change(line_id: int, wanted: Wanted, *, actor: str) -> PppoeLine:
    """Other terms: the package from the next period on, the rest at once. The caller commits."""
    line = periods.lock_line(line_id)
    _is_theirs(line.tenant_id, wanted)
    before = {name: getattr(line, name) for name in _columns(wanted)}
    changed = {name: value for name, value in _columns(wanted).items() if before[name] != value}
    if changed:
        for name, value in changed.items():
            setattr(line, name, value)
        if "site_id" in changed:
            line.grant.provision_at = clock.now()
        chain.record(line.tenant_id, "line", line.id, "changed", actor=actor, details=changed)
        periods.settle_state(line, actor=actor, why="")
    return line


def promise(line_id: int, until: datetime, *, actor: str) -> PppoeLine:
    """On until then though nothing is paid: once for each end of its time. The caller commits.

    Raises Conflict for a second one, Refused for a date that is past or too far.
    """
    line = periods.lock_line(line_id)
    now = clock.now()
    if line.state not in (LineState.ACTIVE, LineState.WALLED):
        raise Conflict(_("This line is suspended or closed: lift that first."))
    latest = max(now, periods.end_of_time(line)) + LONGEST_PROMISE
    if not now < until <= latest:
        raise Refused(_("A date from today to %(latest)s.", latest=f"{clock.nairobi(latest):%d/%m/%Y}"))
    insert = upsert_nothing(
        LinePromise,
        unique=["line_id", "of_end"],
        tenant_id=line.tenant_id,
        line_id=line.id,
        of_end=periods.end_of_time(line),
        until=until,
        granted_by=actor[:80],
    ).returning(LinePromise.id)
    if db.session.execute(insert).scalar() is None:
        raise Conflict(_("A promise was accepted for this period already: one for each period."))
    chain.record(line.tenant_id, "line", line.id, "promised", actor=actor, new=clock.rfc3339(until))
    periods.settle_state(line, actor=actor, why="Promise to pay.")
    return line


def put_back_on(line_id: int, *, actor: str) -> PppoeLine:
    """Undo that it was walled: on again for a day, so that there is time to look. The caller commits."""
    line = periods.lock_line(line_id)
    if line.state != LineState.WALLED:
        raise Conflict(_("This line is not walled."))
    line.held_until, line.held_why = clock.now() + ON_AGAIN_FOR, holds.BY_STAFF
    periods.settle_state(line, actor=actor, why="Undone by staff.")
    return line


def suspend(line_id: int, *, why: str, actor: str) -> PppoeLine:
    """Refuse it until that is lifted, whatever is paid. The caller commits."""
    line = periods.lock_line(line_id)
    if line.state == LineState.CLOSED:
        raise Conflict(_("This line is closed."))
    if line.state != LineState.SUSPENDED:
        periods.change_state(line, LineState.SUSPENDED, actor=actor, why=why[:300])
        periods.settle_state(line, actor=actor, why="")
    return line


def lift(line_id: int, *, actor: str) -> PppoeLine:
    """Undo a suspension or a closing: it is what its time says. The caller commits."""
    line = periods.lock_line(line_id)
    if line.state in (LineState.SUSPENDED, LineState.CLOSED):
        until = periods.on_until(line)
        is_on = until is not None and until > clock.now()
        periods.change_state(
            line, LineState.ACTIVE if is_on else LineState.WALLED, actor=actor, why="Lifted."
        )  # fmt: skip
        periods.settle_state(line, actor=actor, why="")
        to_be_spent(line.customer_id)
    return line


def close(line_id: int, *, actor: str) -> PppoeLine:
    """It is no line any more; what is open to be paid is offered no longer. The caller commits."""
    found = periods.locked_with_payment(line_id)
    if found is None:
        raise Conflict(_("It was paid at this moment. Look again."))
    line, period = found
    if line.state != LineState.CLOSED:
        if period is not None:
            close_payment(period.payment, why="The line was closed.", actor=actor)
        periods.change_state(line, LineState.CLOSED, actor=actor, why="")
        periods.settle_state(line, actor=actor, why="")
    return line


def password_of(line: PppoeLine, *, actor: str) -> str:
    """Its password, once more; the look is recorded. The caller commits."""
    chain.record(line.tenant_id, "line", line.id, "password_shown", actor=actor)
    return line.grant.password


def change_password(line_id: int, *, actor: str) -> PppoeLine:
    """A new random password: who is on with the old one dials again. The caller commits."""
    line = periods.lock_line(line_id)
    line.grant.password, line.grant.provision_at = access.new_password(), clock.now()
    chain.record(line.tenant_id, "line", line.id, "password_changed", actor=actor)
    db.session.flush()
    return line


@dataclass(frozen=True)
class Usage:
    """What a line used in the latest 30 days. Bytes as the customer sees them: down is what came to them."""

    bytes_down: int
    bytes_up: int
    online_s: int
    online: AccessSession | None


def usage(line: PppoeLine) -> Usage:
    """What it used, and the session that is open now."""
    mine = (
        AccessSession.grant_id == line.grant_id,
        AccessSession.started_at > clock.now() - timedelta(days=30),
        AccessSession.is_walled.is_(False),
    )
    sums = select(
        func.coalesce(func.sum(AccessSession.bytes_out), 0),
        func.coalesce(func.sum(AccessSession.bytes_in), 0),
        func.coalesce(func.sum(AccessSession.online_s), 0),
    )
    down, up, online_s = db.session.execute(sums.where(*mine)).one()
    now_on = select(AccessSession).where(
        AccessSession.tenant_id == line.tenant_id,
        AccessSession.username == line.grant.username,
        AccessSession.stopped_at.is_(None),
    )
    latest = db.session.scalars(now_on.order_by(AccessSession.id.desc()).limit(1)).first()
    return Usage(int(down), int(up), int(online_s), latest)


def ask(line_id: int, msisdn: str, *, idempotency_key: str | None, asked_from: AskedFrom) -> Payment:
    """Ask a phone for what the line's next period costs beyond what the wallet holds. The caller commits, then sends.

    Raises Refused, Conflict and CoolDown as `pushes.request_push` does.
    """
    found = periods.locked_with_payment(line_id)
    if found is None:
        raise Conflict(_("It was paid at this moment. Look again."))
    line, period = found
    payment = periods.offer(line, period, actor="payer")
    customer = wallets.lock_customer(line.customer_id)
    if line.is_renewed and wallets.balance_cents(customer, payment.environment) > 0:
        wallets.pay(payment.id, customer.id, actor="payer")
    if payment.state == PaymentState.OPEN:
        pushes.request_push(
            payment.id, msisdn, actor="payer", idempotency_key=idempotency_key, asked_from=asked_from
        )  # fmt: skip
    return payment


def due_cents(line: PppoeLine, environment: str) -> int:
    """What is missing to renew it: the price less what was paid of it and what the wallet holds; 0: nothing."""
    period = periods.to_be_paid(line.id)
    held = wallets.balance_cents(line.customer, environment)
    return max(0, periods.missing_cents(line, period, environment) - max(0, held))
