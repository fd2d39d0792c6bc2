"""How a clinic meets online, and the meeting behind each of its visits."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.clinic.models import Appointment
from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, sealed
from portal.kernel.due import Due

TO_MAKE = Due("meetings", "next_at", ("next_at IS NOT NULL",))


class MeetingSettings(TenantOwned, Model, is_paged=False):
    """A clinic's choice. provider and fallback: simple, jitsi, google or zoom; fallback "": none, staff are told.

    config_sealed: the provider's own settings and credentials, JSON. opens_minutes: how long before its beginning a
    visit's door opens.
    """

    __tablename__ = "meeting_settings"
    __table_args__ = (UniqueConstraint("tenant_id"),)

    provider: Mapped[str] = mapped_column(String(10), default="simple")
    fallback: Mapped[str] = mapped_column(String(10), default="simple")
    config_sealed: Mapped[str | None] = sealed(vault.TEXT)
    opens_minutes: Mapped[int] = mapped_column(default=15)
    checked_at: Mapped[datetime | None]
    check_error: Mapped[str] = mapped_column(String(300), default="")


class Meeting(TenantOwned, Model, is_paged=False):
    """The meeting behind a visit's own link, which stays the same when this one changes.

    wanted: made or cancelled; state: waiting, made, failed or cancelled. version: one more whenever what is wanted
    changed; told_version: the one that the provider has. request_id: the same on each retry. fell_back: made with the
    clinic's fallback, since its provider did not answer.
    """

    __tablename__ = "meetings"
    __table_args__ = (
        UniqueConstraint("appointment_id"),
        TO_MAKE.index("ix_meetings_due"),
        Index("ix_meetings_external", "tenant_id", "provider", "external_id"),
    )

    appointment_id: Mapped[int] = mapped_column(ForeignKey("appointments.id"))
    provider: Mapped[str] = mapped_column(String(10))
    wanted: Mapped[str] = mapped_column(String(10), default="made")
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    version: Mapped[int] = mapped_column(default=1)
    told_version: Mapped[int] = mapped_column(default=0)
    request_id: Mapped[str] = mapped_column(String(40))
    external_id: Mapped[str] = mapped_column(String(120), default="")
    join_url_sealed: Mapped[str | None] = sealed(vault.TEXT)
    fell_back: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(String(300), default="")
    appointment: Mapped[Appointment] = relationship()
