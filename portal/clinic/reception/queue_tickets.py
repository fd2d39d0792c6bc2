"""Queue numbers: given on arrival, called into a room, shown on a screen that knows no names.

waiting -> called -> seen;  waiting | called -> left, and back to waiting where that was a slip.

Decided: numbers begin at 1 every day at every desk and are taken by the unique key (desk, day, number), so that two
receptionists who give one at the same moment give two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import CursorResult

from portal.audit import chain
from portal.clinic.models import Appointment
from portal.clinic.reception.models import QueueTicket
from portal.kernel import clock, vault
from portal.kernel.db import db, new_token, new_uid, upsert_nothing
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _

WAITING, CALLED, SEEN, LEFT = "waiting", "called", "seen", "left"
BEFORE = {CALLED: (WAITING, CALLED), SEEN: (WAITING, CALLED), LEFT: (WAITING, CALLED), WAITING: (CALLED, LEFT)}
MOST_TRIES, SHOWN_CALLED, SHOWN_NEXT, LONGEST_ROOM = 20, 4, 6, 20


def today() -> date:
    """The day that numbers are of, on the clinic's clock."""
    return clock.nairobi(clock.now()).date()


def desk_of(branch_id: int | None) -> str:
    """Which queue a place has."""
    return f"branch:{branch_id}" if branch_id else ""


def give(tenant_id: int, *, visit: Appointment | None = None, branch_id: int | None = None, actor: str) -> QueueTicket:
    """A number of today's: a visit has one, whoever asks and however often. The caller commits."""
    if visit is not None:  # two who give it one wait for each other
        db.session.execute(select(Appointment.id).where(Appointment.id == visit.id).with_for_update())
    if visit is not None and (before := of_visit(visit)) is not None:
        if before.day == today():
            if before.state == LEFT:
                move(before, WAITING, actor=actor)
            return before
        before.appointment_id = None  # it came on another day, and was moved
        db.session.flush()
    desk = desk_of(visit.branch_id if visit else branch_id)
    for _attempt in range(MOST_TRIES):
        if (made := _take(tenant_id, desk, visit)) is not None:
            chain.record(tenant_id, "queue_ticket", made.id, "given", actor=actor, new=str(made.number))
            return made
    raise Conflict(_("Too many numbers are given at this moment. Try again."))


def _take(tenant_id: int, desk: str, visit: Appointment | None) -> QueueTicket | None:
    """The next number, or None where somebody else took it at this moment."""
    day = today()
    last = select(func.max(QueueTicket.number)).where(
        QueueTicket.tenant_id == tenant_id, QueueTicket.desk == desk, QueueTicket.day == day
    )
    values: dict[str, Any] = {
        "tenant_id": tenant_id, "uid": new_uid(), "token": new_token(), "desk": desk, "day": day,
        "number": (db.session.scalar(last) or 0) + 1, "appointment_id": visit.id if visit else None,
        "state": WAITING, "room": "", "created_at": clock.now(),
    }  # fmt: skip
    taken = upsert_nothing(QueueTicket, unique=["tenant_id", "desk", "day", "number"], **values)
    row_id = db.session.execute(taken.returning(QueueTicket.id)).scalar()
    return db.session.get_one(QueueTicket, row_id) if row_id is not None else None


def of_visit(visit: Appointment) -> QueueTicket | None:
    """The number that this visit has, or None."""
    mine = select(QueueTicket).where(QueueTicket.appointment_id == visit.id)
    return db.session.scalars(mine.execution_options(populate_existing=True)).one_or_none()


def get(tenant_id: int, uid: str) -> QueueTicket:
    """The tenant's number. Raises NotFound."""
    mine = select(QueueTicket).where(QueueTicket.tenant_id == tenant_id, QueueTicket.uid == uid)
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("There is no such number here."))
    return found


def by_token(tenant_id: int, token: str) -> QueueTicket:
    """The number whose page has this token in its address. Raises NotFound."""
    mine = select(QueueTicket).where(QueueTicket.tenant_id == tenant_id, QueueTicket.token == token)
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("This number is not known here."))
    return found


def move(ticket: QueueTicket, new: str, *, actor: str, **columns: Any) -> None:
    """Move it on. Raises Conflict where somebody else did. The caller commits."""
    now = clock.now()
    columns |= {"called_at": now} if new == CALLED else {}
    columns |= {"ended_at": now} if new in (SEEN, LEFT) else {"ended_at": None}
    guarded = update(QueueTicket).where(QueueTicket.id == ticket.id, QueueTicket.state.in_(BEFORE[new]))
    result: CursorResult[Any] = db.session.execute(guarded.values(state=new, **columns))  # type: ignore[assignment]
    db.session.refresh(ticket)
    if not result.rowcount:
        raise Conflict(_("Number %(number)s was called or seen by somebody else.", number=ticket.number))
    chain.record(ticket.tenant_id, "queue_ticket", ticket.id, new, actor=actor, new=str(ticket.number))


def call(ticket: QueueTicket, *, room: str, actor: str) -> None:
    """Call it into a room; once more where it was called before. Raises Conflict where it is over, or yesterday's."""
    if ticket.day != today():
        raise Conflict(_("This number is not of today."))
    move(ticket, CALLED, room=read_room(room), actor=actor)


def read_room(given: str) -> str:
    """The room as the screen shows it."""
    return " ".join(given.replace("\0", "").split())[:LONGEST_ROOM]


def call_next(tenant_id: int, desk: str, *, room: str, actor: str, first_uid: str = "") -> QueueTicket | None:
    """Call who waits longest; None where nobody does. Two who call at once call two. The caller commits.

    first_uid: who was the first when the page was made. Called into this very room since, it was pressed twice: that
    number is given again, and nobody is called past somebody who has just got up.
    """
    shown = select(QueueTicket).where(
        QueueTicket.tenant_id == tenant_id, QueueTicket.uid == first_uid, QueueTicket.desk == desk
    )
    shown = shown.with_for_update().execution_options(populate_existing=True)
    before = db.session.scalars(shown).one_or_none() if first_uid else None
    if before is not None and before.state == CALLED and before.room == room:
        return before
    first = (
        select(QueueTicket)
        .where(
            QueueTicket.tenant_id == tenant_id,
            QueueTicket.day == today(),
            QueueTicket.state == WAITING,
            QueueTicket.desk == desk,
        )
        .order_by(QueueTicket.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    ticket = db.session.scalars(first).one_or_none()
    if ticket is not None:
        call(ticket, room=room, actor=actor)
    return ticket


def seen(visit: Appointment, *, actor: str) -> None:
    """The visit has begun, or is over: its number waits no more. The caller commits."""
    _end(visit, SEEN, actor)


def take_back(visit: Appointment, *, actor: str) -> None:
    """Who held the number is not here: it is called no more. The caller commits."""
    _end(visit, LEFT, actor)


def _end(visit: Appointment, new: str, actor: str) -> None:
    ticket = of_visit(visit)
    if ticket is not None and ticket.state in BEFORE[new]:
        move(ticket, new, actor=actor)


@dataclass(frozen=True)
class Screen:
    """What hangs on the wall: (number, room) that were called, the latest first; the numbers that come next; how many
    wait.
    """

    called: Sequence[tuple[int, str]]
    coming: Sequence[int]
    waiting: int

    @property
    def version(self) -> str:
        """Tells whether it changed."""
        return vault.digest(repr((self.called, self.coming, self.waiting)))[:12]


def screen(tenant_id: int, desk: str) -> Screen:
    """The queue of a desk, today."""
    today_here = (QueueTicket.tenant_id == tenant_id, QueueTicket.day == today(), QueueTicket.desk == desk)
    called = select(QueueTicket.number, QueueTicket.room).where(*today_here, QueueTicket.state == CALLED)
    called = called.order_by(QueueTicket.called_at.desc(), QueueTicket.id.desc()).limit(SHOWN_CALLED)
    waiting = select(QueueTicket.number).where(*today_here, QueueTicket.state == WAITING)
    numbers = list(db.session.scalars(waiting.order_by(QueueTicket.number)))
    return Screen(
        [(row.number, row.room) for row in db.session.execute(called)], numbers[:SHOWN_NEXT], len(numbers)
    )  # fmt: skip


def screen_token(tenant_id: int, desk: str) -> str:
    """The end of the screen's address: only who was given it sees how busy a clinic is."""
    return vault.lookup(f"screen/{desk}", context=f"queue/{tenant_id}")[:32]


def before(ticket: QueueTicket) -> int:
    """How many are before it."""
    ahead = select(func.count()).where(
        QueueTicket.tenant_id == ticket.tenant_id,
        QueueTicket.day == ticket.day,
        QueueTicket.state == WAITING,
        QueueTicket.desk == ticket.desk,
        QueueTicket.number < ticket.number,
    )
    return db.session.scalar(ahead) or 0


def open_ones(tenant_id: int, desk: str) -> list[QueueTicket]:
    """Who waits or was called today at this desk, in order."""
    here = select(QueueTicket).where(
        QueueTicket.tenant_id == tenant_id,
        QueueTicket.day == today(),
        QueueTicket.state.in_((WAITING, CALLED)),
        QueueTicket.desk == desk,
    )
    return list(db.session.scalars(here.order_by(QueueTicket.number)))
