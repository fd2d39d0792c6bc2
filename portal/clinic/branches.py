"""A clinic's places: where they are, when they are open, and the days on which they are closed."""

from collections.abc import Iterable
from datetime import date

from sqlalchemy import delete, select

from portal.audit import chain
from portal.clinic import services
from portal.clinic.models import Branch, BranchHours, ClosedDay
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _

LONGEST_NAME, LONGEST_ADDRESS, MOST_SHOWN = 80, 200, 50


def of_tenant(tenant_id: int) -> list[Branch]:
    """The places that are in use, in the clinic's order."""
    mine = select(Branch).where(Branch.tenant_id == tenant_id, Branch.closed_at.is_(None))
    return list(db.session.scalars(mine.order_by(Branch.position, Branch.name, Branch.id)))


def of_uid(tenant_id: int, uid: object) -> Branch | None:
    """The tenant's branch that is in use; None where none is named. Raises NotFound."""
    if not uid:
        return None
    mine = select(Branch).where(Branch.tenant_id == tenant_id, Branch.uid == str(uid), Branch.closed_at.is_(None))
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("There is no such branch here."), code="unknown_branch")
    return found


def add(tenant_id: int, *, name: str, address: str = "", phone: str = "", actor: str) -> Branch:
    """A new place. The caller commits. Raises Refused."""
    made = Branch(tenant_id=tenant_id, name=_named(name), address=_one_line(address), phone=phone.strip()[:20])
    db.session.add(made)
    db.session.flush()
    chain.record(tenant_id, "branch", made.id, "added", actor=actor)
    return made


def change(branch: Branch, *, name: str, address: str, phone: str, actor: str) -> None:
    """Call it so, and find it there, from now on; visits that are booked keep their place. The caller commits."""
    branch.name, branch.address, branch.phone = _named(name), _one_line(address), phone.strip()[:20]
    chain.record(branch.tenant_id, "branch", branch.id, "changed", actor=actor)


def close(branch: Branch, *, actor: str) -> None:
    """Give it up: nothing is booked there any more; what is booked stays. The caller commits."""
    branch.closed_at = clock.now()
    chain.record(branch.tenant_id, "branch", branch.id, "closed", actor=actor)


def _one_line(text: str) -> str:
    shown = " ".join(text.replace("\0", "").split())
    if len(shown) > LONGEST_ADDRESS:
        raise Refused(_("At most %(count)s characters.", count=LONGEST_ADDRESS))
    return shown


def _named(text: str) -> str:
    shown = " ".join(text.replace("\0", "").split())
    if not shown:
        raise Refused(_("Enter the name."))
    if len(shown) > LONGEST_NAME:
        raise Refused(_("At most %(count)s characters.", count=LONGEST_NAME))
    return shown


def set_hours(branch: Branch, hours: Iterable[tuple[int, int, int]], *, actor: str) -> None:
    """Open in these hours: (weekday from Monday 0, first minute, last minute); none: whenever somebody works there.

    The caller commits. Raises Refused.
    """
    wanted = services.checked_hours(hours)
    db.session.execute(delete(BranchHours).where(BranchHours.branch_id == branch.id))
    db.session.add_all(
        BranchHours(tenant_id=branch.tenant_id, branch_id=branch.id, weekday=day, starts_minute=begin, ends_minute=end)
        for day, begin, end in wanted
    )
    db.session.flush()
    chain.record(branch.tenant_id, "branch", branch.id, "hours_set", actor=actor)


def week_of(branch: Branch) -> dict[int, list[tuple[int, int]]]:
    """{weekday: its opening hours}."""
    found: dict[int, list[tuple[int, int]]] = {}
    mine = select(BranchHours).where(BranchHours.branch_id == branch.id).order_by(BranchHours.starts_minute)
    for one in db.session.scalars(mine):
        found.setdefault(one.weekday, []).append((one.starts_minute, one.ends_minute))
    return found


def add_closed_days(
    tenant_id: int, branch: Branch | None, first: date, last: date, *, name: str, actor: str
) -> ClosedDay:
    """Closed from the first day to the last one. branch: None for all places. The caller commits. Raises Refused."""
    if last < first:
        raise Refused(_("The last day is not before the first."))
    made = ClosedDay(
        tenant_id=tenant_id, branch_id=branch.id if branch else None, first_day=first, last_day=last, name=name[:80]
    )
    db.session.add(made)
    db.session.flush()
    chain.record(tenant_id, "closed_day", made.id, "added", actor=actor, new=f"{first} {last}")
    return made


def open_again(tenant_id: int, closed_id: int, *, actor: str) -> None:
    """Take closed days back. The caller commits. Raises NotFound."""
    mine = select(ClosedDay).where(ClosedDay.tenant_id == tenant_id, ClosedDay.id == closed_id)
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("There are no such closed days here."))
    chain.record(tenant_id, "closed_day", found.id, "removed", actor=actor)
    db.session.delete(found)


def closed_ahead(tenant_id: int) -> list[ClosedDay]:
    """Closed days that are not over, the next ones first."""
    today = clock.nairobi(clock.now()).date()
    mine = select(ClosedDay).where(ClosedDay.tenant_id == tenant_id, ClosedDay.last_day >= today)
    return list(db.session.scalars(mine.order_by(ClosedDay.first_day).limit(MOST_SHOWN)))
