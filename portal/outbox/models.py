"""Effects outside the database, written down in the transaction that causes them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.kernel import clock, vault
from portal.kernel.db import BigId, Model, TenantOwned, sealed
from portal.kernel.due import Due
from portal.kernel.states import Graph


class OutboxState(StrEnum):
    NEW = "new"
    DONE = "done"
    SKIPPED = "skipped"  # nothing to send it with, or too late to be of use
    DEAD = "dead"  # staff must look


OUTBOX = Graph(
    {
        OutboxState.NEW: {OutboxState.NEW, OutboxState.DONE, OutboxState.SKIPPED, OutboxState.DEAD},  # new: tried again
        OutboxState.DONE: (),
        OutboxState.SKIPPED: (),
        OutboxState.DEAD: {OutboxState.NEW},
    }
)


MESSAGE_DEAD = Due("outbox", None, ("state = 'dead'",), by=("tenant_id", "id"))
TO_CARRY = Due("outbox", "next_at", ("state = 'new'",))
NOT_REACHED = Due(  # somebody must call them
    "outbox", None, ("delivery = 'failed'", "about = 'appointment'"), by=("tenant_id", "id")
)


_LISTED = text("about <> 'access'")
_OF_VISITS = text("about = 'appointment'")
_SENT = text("provider_id <> '' AND kind = 'sms'")


class OutboxItem(TenantOwned, Model, is_paged=False):
    """One effect to bring about: `kind` says which, `key` makes it unique, `payload` is sealed JSON.

    about: what the message speaks of, such as appointment: the key's second part; about_id: which one, the third.
    cost_cents: what the provider took.
    delivery: delivered or failed, as the provider reported; failed too where it was never sent; settled: somebody saw
    to it by another way.
    """

    __tablename__ = "outbox"
    GRAPH = OUTBOX
    __table_args__ = (
        UniqueConstraint("tenant_id", "key"),
        MESSAGE_DEAD.index("ix_outbox_dead"),
        TO_CARRY.index("ix_outbox_due"),
        NOT_REACHED.index("ix_outbox_not_reached"),
        Index("ix_outbox_visit", "about_id", sqlite_where=_OF_VISITS, postgresql_where=_OF_VISITS),
        Index("ix_outbox_provider", "provider_id", sqlite_where=_SENT, postgresql_where=_SENT),  # for its reports
        # the lists of a clinic; a hotspot's messages, by far the most, are not in it
        Index("ix_outbox_listed", "tenant_id", "id", sqlite_where=_LISTED, postgresql_where=_LISTED),
    )

    kind: Mapped[str] = mapped_column(String(20))  # sms, email
    key: Mapped[str] = mapped_column(String(120))
    payload_sealed: Mapped[str] = sealed(vault.OUTBOX)
    state: Mapped[str] = mapped_column(String(10), default=OutboxState.NEW)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(default=clock.now)
    expires_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(String(300), default="")
    about: Mapped[str] = mapped_column(String(20), default="")
    about_id: Mapped[int | None] = mapped_column(BigId)
    cost_cents: Mapped[int | None]
    provider_id: Mapped[str] = mapped_column(String(100), default="")
    delivery: Mapped[str] = mapped_column(String(10), default="")
    delivered_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
