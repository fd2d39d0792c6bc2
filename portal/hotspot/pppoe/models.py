"""Lines, the periods they are paid for, and promises to pay."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.hotspot.models import AccessGrant, Package, Site
from portal.kernel import clock
from portal.kernel.db import Model, TenantOwned, new_uid
from portal.kernel.due import Due
from portal.kernel.states import Graph
from portal.payments.models import Customer, Payment

TO_LOOK_AT = Due("lines", "look_at", ("look_at IS NOT NULL",))


class LineState(StrEnum):
    """active: on. walled: its time is over, and it reaches nothing but where to pay. suspended: refused by staff."""

    ACTIVE = "active"
    WALLED = "walled"
    SUSPENDED = "suspended"
    CLOSED = "closed"


LINE = Graph(
    {
        LineState.ACTIVE: {LineState.WALLED, LineState.SUSPENDED, LineState.CLOSED},
        LineState.WALLED: {LineState.ACTIVE, LineState.SUSPENDED, LineState.CLOSED},
        LineState.SUSPENDED: {LineState.ACTIVE, LineState.WALLED, LineState.CLOSED},
        LineState.CLOSED: {LineState.ACTIVE, LineState.WALLED},
    }
)


class PppoeLine(TenantOwned, Model):
    """One subscription: a router at somebody's home that dials in, and until when it may.

    package: of the next period. paid_until: the end of the last period that is paid; None: never paid. grace_days: how
    long it stays on after that. held_until, held_why: on for longer, because money on its way may be theirs, or because
    staff said so (see `holds`). on_since: since when it has been on without a break. look_at: when `keeping` has
    something to do: remind, renew, wall.
    is_renewed: from the wallet, without asking. is_prompted: a day before the end their phone is asked, as they agreed.
    """

    __tablename__ = "lines"
    GRAPH = LINE
    __table_args__ = (
        CheckConstraint("state IN ('active', 'walled', 'suspended', 'closed')", name="state"),
        CheckConstraint("grace_days >= 0 AND grace_days <= 31", name="grace_days"),
        TO_LOOK_AT.index("ix_lines_to_look_at"),
    )

    uid: Mapped[str] = mapped_column(String(24), unique=True, default=new_uid)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    site_id: Mapped[int | None] = mapped_column(ForeignKey("sites.id"))
    grant_id: Mapped[int] = mapped_column(ForeignKey("access_grants.id"), unique=True)
    state: Mapped[str] = mapped_column(String(10), default=LineState.WALLED)
    paid_until: Mapped[datetime | None]
    grace_days: Mapped[int] = mapped_column(default=0)
    on_since: Mapped[datetime | None]
    held_until: Mapped[datetime | None]
    held_why: Mapped[str] = mapped_column(String(20), default="")
    is_renewed: Mapped[bool] = mapped_column(default=True)
    is_prompted: Mapped[bool] = mapped_column(default=False)
    locale: Mapped[str] = mapped_column(String(5), default="en")
    look_at: Mapped[datetime | None] = mapped_column(default=clock.now)
    customer: Mapped[Customer] = relationship()
    package: Mapped[Package] = relationship()
    site: Mapped[Site | None] = relationship()
    grant: Mapped[AccessGrant] = relationship()


RUNS = "starts_at IS NOT NULL AND withdrawn_at IS NULL"


class LinePeriod(TenantOwned, Model, is_paged=False):
    """One stretch of a line's time, and the payment that buys it. Without starts_at: not paid yet.

    withdrawn_at: its money is gone again; paid once more, it begins anew.
    """

    __tablename__ = "line_periods"
    __table_args__ = (
        Index(
            "uq_line_periods_start", "line_id", "starts_at", unique=True, sqlite_where=text(RUNS),
            postgresql_where=text(RUNS),
        ),
        Index("ix_line_periods_line", "line_id", "id"),
    )  # fmt: skip

    line_id: Mapped[int] = mapped_column(ForeignKey("lines.id"))
    package_id: Mapped[int] = mapped_column(ForeignKey("packages.id"))
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), unique=True)
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    package: Mapped[Package] = relationship()
    payment: Mapped[Payment] = relationship()


class LinePromise(TenantOwned, Model, is_paged=False):
    """A promise to pay: on until then, though nothing is paid. Once a period: of_end is the end it was given for."""

    __tablename__ = "line_promises"
    __table_args__ = (UniqueConstraint("line_id", "of_end"),)

    line_id: Mapped[int] = mapped_column(ForeignKey("lines.id"))
    of_end: Mapped[datetime]
    until: Mapped[datetime]
    granted_by: Mapped[str] = mapped_column(String(80))
