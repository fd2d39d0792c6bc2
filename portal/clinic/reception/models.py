"""Queue numbers and shifts."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.clinic.models import Appointment, Branch
from portal.kernel.db import Model, TenantOwned, new_token, new_uid

_OPEN = text("closed_at IS NULL")


class QueueTicket(TenantOwned, Model, is_paged=False):
    """A number in today's queue. The screen shows the number and the room, never a name.

    desk: the place that it belongs to, so that one number is one person there: `branch:<id>`, or "" without branches.
    state: waiting, called, seen or left. token: of the page on which its holder sees how many are before them.
    """

    __tablename__ = "queue_tickets"
    __table_args__ = (
        UniqueConstraint("tenant_id", "desk", "day", "number"),
        Index("ix_queue_tickets_day", "tenant_id", "day", "state"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    token: Mapped[str] = mapped_column(String(40), unique=True, default=new_token)
    desk: Mapped[str] = mapped_column(String(30), default="")
    day: Mapped[date]
    number: Mapped[int]
    appointment_id: Mapped[int | None] = mapped_column(ForeignKey("appointments.id"), unique=True)
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    room: Mapped[str] = mapped_column(String(40), default="")
    called_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    appointment: Mapped[Appointment | None] = relationship()


class Shift(TenantOwned, Model):
    """One person's cash drawer, from what lies in it at the opening to what is counted at the close.

    The count is blind: expected_cents is written down by the close, never shown before it. number: of its day report,
    which does not change any more; only why the count differed is said afterwards, once. lines: what was taken in it,
    {channel, count, cents} each, as it was at the close; to_place: money that had no home then.
    """

    __tablename__ = "shifts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "number"),
        Index("ix_shifts_open", "tenant_id", "user_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        CheckConstraint("float_cents >= 0", name="float"),
        CheckConstraint("counted_cents >= 0", name="counted"),
        CheckConstraint("(closed_at IS NULL) = (number IS NULL)", name="numbered"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    branch_id: Mapped[int | None] = mapped_column(ForeignKey("branches.id"))
    number: Mapped[int | None]
    float_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    counted_cents: Mapped[int | None] = mapped_column(BigInteger)
    expected_cents: Mapped[int | None] = mapped_column(BigInteger)
    variance_why: Mapped[str] = mapped_column(String(200), default="")
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    to_place_count: Mapped[int] = mapped_column(default=0)
    to_place_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    closed_at: Mapped[datetime | None]
    branch: Mapped[Branch | None] = relationship()

    @property
    def variance_cents(self) -> int:
        """What was counted beyond what should have been there; below zero: missing."""
        return (self.counted_cents or 0) - (self.expected_cents or 0)


class ShiftMoney(TenantOwned, Model, is_paged=False):
    """Money that was taken by hand in a shift: once, whoever asks. tendered_cents: what was handed over for it."""

    __tablename__ = "shift_money"

    shift_id: Mapped[int] = mapped_column(ForeignKey("shifts.id"), index=True)
    transaction_id: Mapped[int] = mapped_column(ForeignKey("transactions.id"), unique=True)
    tendered_cents: Mapped[int] = mapped_column(BigInteger)
